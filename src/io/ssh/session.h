// A connection to another machine by SSH, on the loop: libssh in its non-blocking mode over a
// socket of ours. Nothing of libssh is seen outside of session.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"

namespace turnout::ssh {

struct Target {
    std::string host;  // a name or an address
    std::uint16_t port = 22;
    std::string user;
    Secret key;       // the text of a private key without passphrase; "": none
    Secret password;  // is tried where there is no key
    // Decides by its fingerprint ("SHA256:…") whether this is the machine that it should be, before
    // anything is told to it.
    std::function<Result<void>(const std::string& fingerprint)> is_known;
};

struct Ran {
    int code = -1;  // -1: a signal ended it
    std::string out, err;
};

// What another machine said, for people: no control characters, and not without end.
std::string fit_for_message(std::string_view said);

// Used on the loop only, which outlives it. Errors: Unavailable (it does not answer, or the
// connection was lost), PermissionDenied (it does not let us in), InvalidArgument (a key that is
// none), and what `is_known` says.
class Session {
public:
    // `through`: a machine that is connected to and can reach that one; null: it is reached
    // directly.
    static Task<Result<std::shared_ptr<Session>>> open(AsioLoop& loop, Target target,
                                                       std::shared_ptr<Session> through,
                                                       Span timeout);
    ~Session();  // as close()

    // A command for the login shell: its end, or Unavailable if it takes longer. Of each output at
    // most 1 MiB is kept.
    Task<Result<Ran>> run(std::string command, std::string input, Span timeout);
    // Its standard input and output. What it says besides is in the error of a read that fails.
    Task<Result<std::unique_ptr<http::Stream>>> begin(std::string command, Span timeout);
    // A connection that the other machine makes for us.
    Task<Result<std::unique_ptr<http::Stream>>> connect_from_there(std::string host,
                                                                   std::uint16_t port,
                                                                   Span timeout);

    bool is_open() const;
    // Everything pending ends with Unavailable.
    void close();

private:
    struct State;
    class Channel;
    class ChannelStream;
    explicit Session(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout::ssh
