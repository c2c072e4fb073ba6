#include "app/credentials.h"

#include <unistd.h>

#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "app/address.h"
#include "base/json.h"
#include "base/secret.h"
#include "io/posix/files.h"
#include "io/posix/sockets.h"
#include "io/tls/certificates.h"

namespace turnout {

Result<void> ensure_admin_key(const Instance& instance, AsioLoop& loop,
                              api::InstanceAuthority& authority) {
    std::string there;
    if (::access(instance.api_key().c_str(), F_OK) == 0)
        there = TURNOUT_TRY(read_file(instance.api_key()));
    if (const std::optional<Secret> key =
            TURNOUT_TRY(loop.run(authority.ensure_admin_key(std::move(there)))))
        TURNOUT_TRY(write_file_atomically(instance.api_key(), key->reveal() + "\n", 0600));
    return {};
}

Result<ServerCertificates> prepare_certificates(const Instance& instance, const std::string& listen,
                                                const Clock& clock) {
    std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
    std::string host = host_of(listen);
    if (listen.empty())
        if (const Result<Json> kept = read_document(instance.ports()))
            host = host_of(kept->at("tls").as_string());
    if (is_everywhere(host)) {
        for (std::string& name : http::names_of_this_machine()) names.push_back(std::move(name));
    } else if (!host.empty()) {
        names.push_back(without_brackets(host));
    }
    const tls::CertificateFiles files =
        TURNOUT_TRY(tls::ensure_certificates(instance.folder, names, clock.now()));
    if (files.new_authority)
        std::fprintf(stderr,
                     "the certificate authority was not valid at this time (was a clock wrong?): "
                     "there is a new one, and whoever logged in from elsewhere does it again\n");
    ServerCertificates made;
    made.authority = TURNOUT_TRY(read_file(files.authority));
    made.fingerprint = tls::fingerprint(made.authority);
    TURNOUT_TRY(tls::write_ca_bundle(instance.ca_bundle(), made.authority));
    return made;
}

}  // namespace turnout
