// How a server's first user gets in, and by what clients know the server: `admin.key` and the
// certificates of the data folder. Made at the first start, and again where they do not hold any
// more. Called at the start, before the loop runs; both write files.
#pragma once

#include <string>

#include "api/authority.h"
#include "app/instance.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/posix/asio_loop.h"

namespace turnout {

// `admin.key` holds a key that opens this server. Runs the loop until the store has it.
Result<void> ensure_admin_key(const Instance& instance, AsioLoop& loop,
                              api::InstanceAuthority& authority);

struct ServerCertificates {
    std::string authority;    // PEM
    std::string fingerprint;  // of the authority, as people compare it
};
// Certificates for what others call this machine where it listens: `listen` as it was asked for,
// "" = the port that is kept, see ServerOptions. With them the bundle for clients.
Result<ServerCertificates> prepare_certificates(const Instance& instance, const std::string& listen,
                                                const Clock& clock);

}  // namespace turnout
