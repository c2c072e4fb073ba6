#include "agent/tls_door.h"

#include "agent/files.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kMaxConnections = 256;
constexpr std::size_t kMaxAuthority = 64 << 10;
constexpr std::size_t kMaxBundle = 16 << 20;
constexpr const char* kBundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                    "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
                                    "/etc/ssl/cert.pem"};

}  // namespace

std::string system_authorities(const std::vector<std::string>& environment) {
    for (const std::string_view name : {"REQUESTS_CA_BUNDLE=", "SSL_CERT_FILE="})
        for (const auto& item : environment)
            if (item.starts_with(name) && exists(item.substr(name.size())))
                return item.substr(name.size());
    for (const char* path : kBundles)
        if (exists(path)) return path;
    return "";
}

TlsDoor::TlsDoor(AsioLoop& loop, Server& server, std::string folder, Secret token)
    : loop_(loop), server_(server), folder_(std::move(folder)), token_(std::move(token)) {}

Result<void> TlsDoor::listen() {
    const std::string file = folder_ + "/tls.address";
    known_ = exists(bundle());
    auto take = [this](std::unique_ptr<http::Stream> stream) { return serve(std::move(stream)); };
    if (auto earlier = read_file(file, 64)) {
        auto again =
            http::listen_streams(loop_, std::string(trim(*earlier)), kMaxConnections, take);
        if (again) listener_ = std::move(*again);
    }
    if (!listener_)
        listener_ = TURNOUT_TRY(http::listen_streams(loop_, "127.0.0.1:0", kMaxConnections, take));
    return write_if_changed(file, listener_->address());
}

Task<void> TlsDoor::learn_authority(std::string system) {
    if (learnt_) co_return;
    http::ClientRequest request;
    request.url = "/agent/v1/authority";
    request.timeout = 5s;  // else it is asked again on the next link
    auto response = co_await server_.ask(std::move(request), token_);
    if (!response) co_return;
    auto pem = co_await response->body->all(kMaxAuthority);
    if (!pem) co_return;
    if (!pem->ends_with('\n')) *pem += '\n';
    if (!system.empty())
        if (auto others = read_file(system, kMaxBundle)) *pem += *others;
    learnt_ = write_file(bundle(), *pem, 0644).has_value();
    known_ = known_ || learnt_;
}

std::string TlsDoor::origin() const {
    return known_ && listener_ ? "https://" + listener_->address() : "";
}

Task<void> TlsDoor::serve(std::unique_ptr<http::Stream> stream) {
    http::ClientRequest request;
    request.url = "/agent/v1/tls";
    request.headers.set("Upgrade", "turnout-tls");
    request.headers.set("Connection", "Upgrade");
    auto response = co_await server_.send(std::move(request), token_);
    // Where the server is away the client sees a connection that ended, and tries again.
    if (!response || response->status != 101 || !response->stream) co_return;
    co_await http::join_streams(std::move(stream), std::move(response->stream));
}

}  // namespace turnout::agent
