// Drives a Relay over a real stream. A channel's end on this side is a socket: one that came in at
// a door (a Unix socket of ours, which leads to a name of the other side), or one that was
// connected because the other side opened a name that is offered here. Nothing else can be reached.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/loop.h"
#include "io/posix/asio_loop.h"
#include "io/posix/sockets.h"
#include "link/relay.h"

namespace turnout::link {

// Where an offered name leads: "unix:/path", or "127.0.0.1:8888" and other loopback addresses.
Result<http::SocketAddress> parse_place(const std::string& text);
// What may be offered: letters, digits and "-._", at most kMaxTarget.
Result<void> check_target(std::string_view name);

using Offers = std::map<std::string, http::SocketAddress, std::less<>>;

// Used on the loop only; loop and clock outlive it.
class Bridge {
public:
    Bridge(AsioLoop& loop, const Clock& clock, std::unique_ptr<http::Stream> stream, Offers offers,
           Limits limits = {});
    ~Bridge();  // as stop()

    // A socket of mode 0600 at `path`, which takes the place of an older relay's once the other
    // side's hello came: a stream that leads nowhere takes no door. What connects to it is carried
    // to `target` of the other side. Where the file goes missing it is made again.
    Result<void> open_door(const std::string& path, const std::string& target);

    // Until the stream ends, and why. Called once. Then all its sockets are closed.
    Task<Error> run();
    // Ends it: run() says Canceled.
    void stop();

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout::link
