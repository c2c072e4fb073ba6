#include "io/tls/tls_client.h"

#include "io/tls/tls_connection.h"

namespace turnout::http {
namespace {

class Connector final : public TlsConnector {
public:
    explicit Connector(std::shared_ptr<TlsContext> context, std::string server_name = "")
        : context_(std::move(context)), server_name_(std::move(server_name)) {}
    std::unique_ptr<Connection> wrap(AsioLoop& loop, Fd socket, const std::string& host) override {
        return make_tls_connection(loop, std::move(socket), context_,
                                   server_name_.empty() ? host : server_name_);
    }

private:
    std::shared_ptr<TlsContext> context_;
    std::string server_name_;
};

}  // namespace

Result<std::shared_ptr<TlsConnector>> make_tls_connector(const std::string& ca_file) {
    auto context = TURNOUT_TRY(TlsContext::for_client(ca_file));
    return std::make_shared<Connector>(std::move(context));
}

Result<std::shared_ptr<TlsConnector>> make_tls_connector(const TlsClient& client) {
    auto context =
        TURNOUT_TRY(TlsContext::for_client_of(client.authorities, client.certificate, client.key));
    return std::make_shared<Connector>(std::move(context), client.server_name);
}

}  // namespace turnout::http
