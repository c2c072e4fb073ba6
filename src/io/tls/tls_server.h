// The HTTP server over TLS. See io/posix/http_server.h.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "io/http.h"
#include "io/posix/asio_loop.h"

namespace turnout::http {

class TlsContext;

// What listeners show: a certificate of their own and perhaps another one, which who asks for one
// of its names gets (SNI). Both may be replaced while they listen.
class ShownCertificates {
public:
    // The files are read now. FailedPrecondition names the one that cannot be used.
    static Result<std::shared_ptr<ShownCertificates>> load(TlsFiles own,
                                                           std::optional<TlsFiles> named = {});
    // Reads the files again: who connects from then on gets what they say. An error changes
    // nothing.
    Result<void> reload();
    const std::shared_ptr<TlsContext>& current() const { return current_; }

private:
    ShownCertificates(TlsFiles own, std::optional<TlsFiles> named)
        : own_(std::move(own)), named_(std::move(named)) {}

    const TlsFiles own_;
    const std::optional<TlsFiles> named_;
    std::shared_ptr<TlsContext> current_;
};

// TLS 1.2 and 1.3.
Result<std::unique_ptr<Listener>> listen_tls(AsioLoop& loop, std::string address,
                                             std::shared_ptr<const ShownCertificates> certificates,
                                             Handler handler, Limits limits = {});

}  // namespace turnout::http
