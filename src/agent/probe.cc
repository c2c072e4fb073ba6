#include "agent/probe.h"

#include "io/posix/connection.h"
#include "io/posix/http_client.h"
#include "io/posix/sockets.h"

namespace turnout::agent {

namespace {

constexpr std::size_t kMostHeader = 64 << 10;

Task<std::string> probe_tcp(AsioLoop& loop, Span timeout, int port) {
    const auto addresses = http::resolve({"127.0.0.1", static_cast<std::uint16_t>(port)});
    if (!addresses || addresses->empty()) co_return "127.0.0.1 is no address here";
    const Result<Fd> socket = co_await http::connect_socket(loop, addresses->front(), timeout);
    co_return socket ? "" : socket.error().message;
}

Task<std::string> probe_http(AsioLoop& loop, Span timeout, std::string path, int port) {
    http::ClientOptions options;
    options.origin = "http://127.0.0.1:" + std::to_string(port);
    options.connect_timeout = timeout;
    options.header_bytes = kMostHeader;
    const auto client = http::make_client(loop, options);
    http::ClientRequest request;
    request.url = path;
    request.headers.set("User-Agent", "turnout-probe");
    request.timeout = timeout;
    const auto response = co_await client->send(std::move(request));
    if (!response) co_return response.error().message;
    if (response->status >= 200 && response->status < 400) co_return "";
    co_return "GET " + path + " is answered with " + std::to_string(response->status);
}

}  // namespace

Task<std::string> probe_port(AsioLoop& loop, agent_protocol::Probe probe, int port) {
    using Kind = agent_protocol::Probe::Kind;
    switch (probe.kind) {
        case Kind::Tcp: co_return co_await probe_tcp(loop, probe.timeout, port);
        case Kind::Http:
            co_return co_await probe_http(loop, probe.timeout, std::move(probe.path), port);
    }
    co_return "its probe is of no known kind";
}

}  // namespace turnout::agent
