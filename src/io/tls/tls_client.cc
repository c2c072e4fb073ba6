#include "io/tls/tls_client.h"

#include "io/tls/tls_connection.h"

namespace turnout::http {
namespace {

class Connector final : public TlsConnector {
public:
    explicit Connector(std::shared_ptr<TlsContext> context) : context_(std::move(context)) {}
    std::unique_ptr<Connection> wrap(AsioLoop& loop, Fd socket, const std::string& host) override {
        return make_tls_connection(loop, std::move(socket), context_, host);
    }

private:
    std::shared_ptr<TlsContext> context_;
};

}  // namespace

Result<std::shared_ptr<TlsConnector>> make_tls_connector(const std::string& ca_file) {
    auto context = TURNOUT_TRY(TlsContext::for_client(ca_file));
    return std::make_shared<Connector>(std::move(context));
}

}  // namespace turnout::http
