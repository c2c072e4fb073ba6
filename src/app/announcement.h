// Where a server is and how it is reached, said to those who look for it: in `client.json` and
// `server.json` of the data folder, and once to who started it.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "api/api.h"
#include "app/instance.h"
#include "app/server.h"
#include "base/result.h"
#include "model/workspace.h"

namespace turnout {

// On the loop. All that it is given by reference outlives it.
class Announcement {
public:
    using Ready = decltype(ServerOptions::ready);

    // `listen`: the address of the TLS listener. `fingerprint`: of the certificate authority.
    // `certificate`: the file that was given, for its names; "" = none. `login_path`: of a new link
    // that logs a browser in; "" = none can be made.
    Announcement(const Instance& instance, const api::Services& services,
                 const Workspace& workspace, std::string listen, std::string fingerprint,
                 std::string certificate, std::function<std::string()> login_path, Ready ready)
        : instance_(instance),
          services_(services),
          workspace_(workspace),
          listen_(std::move(listen)),
          fingerprint_(std::move(fingerprint)),
          certificate_(std::move(certificate)),
          login_path_(std::move(login_path)),
          ready_(std::move(ready)) {}

    // Writes both files as things are now, and the first time calls `ready`.
    Result<void> say();

private:
    std::string login_line() const;

    const Instance& instance_;
    const api::Services& services_;
    const Workspace& workspace_;
    const std::string listen_, fingerprint_, certificate_;
    const std::function<std::string()> login_path_;
    const Ready ready_;
    bool announced_ = false;
};

}  // namespace turnout
