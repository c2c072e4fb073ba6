// A task that stays up: a notebook server, a model that answers requests. Its command is not
// expected to end; while it runs its node asks it again and again whether it is ready, and the
// server replaces a replica that ends (src/model/service.h).
//
// A command that ends is never started again in its attempt: it ends the attempt like any other
// one, and the server makes a new replica, after a pause that grows. So one rule holds for all
// tasks (a command starts at most once for each attempt), every start has its own log, exit code
// and place, and a replica that fails on one node may go to another. What that costs is one
// message each way: snapshot and environment are on the node already. While the server is away
// nothing is started anew; it is the server through which a service is reached.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"

namespace turnout::agent_protocol {

// How a node finds out whether a replica is ready.
struct Probe {
    enum class Kind {
        Tcp,  // its port takes a connection
        Http  // GET of `path` at its port is answered with 200 to 399
    } kind = Kind::Tcp;
    std::string path = "/";
    Span initial_delay{};  // from the start of the command to the first one
    Span interval = 1s;    // from the end of one to the next
    Span timeout = 2s;     // of each
    int failures = 3;      // in a row: then one that was ready is not any more
};

// When its command has ended.
struct Restart {
    enum class When {
        Always,
        OnFailure  // not after exit code 0: then there is one replica less to keep
    } when = When::Always;
    Span first = 1s;  // the pause after the second failure in a row, which doubles each time; after
                      // the first one there is none
    Span longest = 5min;  // and no longer. Whoever was ready for so long has not failed before
};

struct ServiceSpec {
    // That it listens on, at 127.0.0.1. 0: one that no other task of the machine has; it is given
    // to the command in place of `kPortPlaceholder`, and as the variable `kPortVariable`.
    int port = 0;
    Probe probe;
    Restart restart;
    // A replica that runs and is not ready for so long is replaced, as one that failed. 0: never.
    Span unready_limit{};
};

inline constexpr std::string_view kPortPlaceholder = "${{service.port}}";
inline constexpr const char* kPortVariable = "AZUREML_SERVICE_PORT";

// Of an HTTP probe: what a request's first line can name.
bool is_probe_path(std::string_view path);

std::string_view name_of(Probe::Kind kind);    // "tcp" "http"
std::string_view name_of(Restart::When when);  // "always" "on_failure"

Json to_json(const ServiceSpec& service);
// Members that are not there are as above. InvalidArgument with the place and what was expected.
Result<ServiceSpec> service_from_json(const Json& json);

}  // namespace turnout::agent_protocol
