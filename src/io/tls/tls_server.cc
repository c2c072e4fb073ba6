#include "io/tls/tls_server.h"

#include "io/posix/http_server.h"
#include "io/tls/tls_connection.h"

namespace turnout::http {

Result<std::unique_ptr<Listener>> listen_tls(AsioLoop& loop, std::string address, TlsFiles files,
                                             Handler handler, Limits limits) {
    auto context = TURNOUT_TRY(TlsContext::for_server(files.certificate, files.key));
    Wrap wrap = [context](AsioLoop& on, Fd socket) {
        return make_tls_connection(on, std::move(socket), context, "");
    };
    return listen_wrapped(loop, std::move(address), std::move(wrap), Carrier::Tls,
                          std::move(handler), limits);
}

}  // namespace turnout::http
