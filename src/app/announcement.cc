#include "app/announcement.h"

#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "app/address.h"
#include "app/pools.h"
#include "base/json.h"
#include "control/control.h"
#include "io/loop.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "io/posix/sockets.h"
#include "io/tls/certificates.h"

namespace turnout {

Result<void> Announcement::say() {
    const api::ServerInfo& info = services_.info;
    Json client = Json::object();
    const std::string identity = folder_identity(instance_.folder);
    client.set("folder_identity", identity);
    client.set("url", info.tls_origin);
    client.set("plain_url", info.plain_origin);
    client.set("ca_file", instance_.ca());
    client.set("api_key_file", instance_.api_key());
    client.set("subscription_id", workspace_.subscription);
    client.set("resource_group", workspace_.resource_group);
    client.set("workspace_name", workspace_.name);
    TURNOUT_TRY(write_document(instance_.client(), client, 0600));

    Json running = Json::object();
    running.set("pid", static_cast<std::int64_t>(getpid()));
    running.set("start_time",
                static_cast<std::int64_t>(identify(getpid()).value_or(ProcessId{}).start_ticks));
    running.set("started", to_iso8601(services_.clock.now()));
    running.set("url", info.tls_origin);
    running.set("plain_url", info.plain_origin);
    running.set("version", info.version);
    running.set("listen", listen_);
    running.set("fingerprint", fingerprint_);
    running.set("slots", services_.control.slots());
    if (const std::string missing = ServerPools::missing(services_.control); !missing.empty())
        running.set("missing_pools", missing);
    const std::string login = login_line();
    if (!login.empty()) running.set("login", login);
    running.set("jobs", ServerPools::who_runs(services_.control));
    running.set("folder_identity", identity);
    TURNOUT_TRY(write_document(instance_.running(), running, 0600));
    if (std::exchange(announced_, true)) return {};
    if (!ready_) return {};
    // Made for the person who looks, and for nobody else.
    const std::string path = ::isatty(1) == 1 ? login_path_() : std::string();
    ready_(info.tls_origin, info.plain_origin, login, ServerPools::who_runs(services_.control),
           path.empty() ? path : info.plain_origin + path);
    return {};
}

// What people on other machines type to use this server.
std::string Announcement::login_line() const {
    std::string host = host_of(listen_);
    if (is_this_machine_only(host)) return {};
    if (!certificate_.empty())
        if (const Result<std::string> pem = read_file(certificate_, 1 << 20))
            for (const std::string& name : tls::names_in(*pem))
                if (name.find('*') == std::string::npos)
                    return "turnout login https://" + name + ":" + port_of(listen_);
    if (is_everywhere(host)) {
        const std::vector<std::string> names = http::names_of_this_machine();
        if (names.empty()) return {};
        host = names.front().find(':') == std::string::npos ? names.front()
                                                            : "[" + names.front() + "]";
    }
    return "turnout login https://" + host + ":" + port_of(listen_) + " --fingerprint " +
           fingerprint_;
}

}  // namespace turnout
