#include "io/tls/tls_server.h"

#include "io/posix/http_server.h"
#include "io/tls/tls_connection.h"

namespace turnout::http {

Result<std::shared_ptr<ShownCertificates>> ShownCertificates::load(TlsFiles own,
                                                                   std::optional<TlsFiles> named) {
    std::shared_ptr<ShownCertificates> out(
        new ShownCertificates(std::move(own), std::move(named)));  // shared with listeners
    TURNOUT_TRY(out->reload());
    return out;
}

Result<void> ShownCertificates::reload() {
    auto context = TURNOUT_TRY(TlsContext::for_server(own_.certificate, own_.key));
    if (named_)
        context->show_to_who_asks(
            TURNOUT_TRY(TlsContext::for_server(named_->certificate, named_->key)));
    current_ = std::move(context);
    return {};
}

Result<std::unique_ptr<Listener>> listen_tls(AsioLoop& loop, std::string address,
                                             std::shared_ptr<const ShownCertificates> certificates,
                                             Handler handler, Limits limits) {
    Wrap wrap = [certificates = std::move(certificates)](AsioLoop& on, Fd socket) {
        return make_tls_connection(on, std::move(socket), certificates->current(), "");
    };
    return listen_wrapped(loop, std::move(address), std::move(wrap), Carrier::Tls,
                          std::move(handler), limits);
}

}  // namespace turnout::http
