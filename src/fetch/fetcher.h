// Brings inputs from outside into the server's blob store, from where nodes get them like any
// other. One download for all jobs that want the same; what was downloaded is used again as long as
// its origin says that it has not changed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "blob/blobs.h"
#include "fetch/mirror.h"
#include "fetch/source.h"
#include "io/http.h"
#include "io/loop.h"
#include "protocol/agent_protocol.h"

namespace turnout::fetch {

struct FetchSettings {
    std::string folder;  // of downloads on their way; on the disk of the blobs
    std::uint64_t limit = std::uint64_t(64) << 30;  // bytes of one input
    std::size_t files = 100'000;                    // of one folder
    Span stall = 60s;       // so long without a byte, and the connection is given up
    int tries = 8;          // in a row without one byte more
    Span first_pause = 1s;  // between tries, doubling
    Span longest_pause = 30s;
    Span fresh = 10s;      // so long its origin is not asked again whether it has changed
    Span failed = 5s;      // so long a failure holds, for those who asked a moment ago; one that
                           // may pass (Unavailable) holds for those only who have waited for it
    Span unwanted = 120s;  // nobody has asked for it for so long: it is put off
    std::vector<Mirror> mirrors;  // the first that has a copy is asked, and nothing else then
    // Made when the first download is wanted. It follows no redirections, and connects only to
    // where it is allowed.
    std::function<Result<std::unique_ptr<http::Client>>()> client;
};

struct FetchState {
    enum class Kind { Working, Ready, Failed } kind = Kind::Working;
    agent_protocol::BlobFolder place;   // Ready
    Error error{};                      // Failed: for good, or Unavailable: not in all those tries
    std::string text;                   // Working: what it does just now, for people
    std::uint64_t done = 0, total = 0;  // bytes; total 0 = not known
};

class Fetcher {
public:
    Fetcher(Loop& loop, const Clock& clock, Blobs& blobs, FetchSettings settings);
    ~Fetcher();

    // Begins it, or joins what others have begun, and tells how it stands: at once when it is over,
    // else after `patience`. Whoever wants it asks again and again, as the same `asker`.
    Task<FetchState> ask(std::string workspace, std::string asker, Source source, bool folder,
                         Span patience);

private:
    struct Core;
    std::shared_ptr<Core> core_;  // shared with downloads under way
};

}  // namespace turnout::fetch
