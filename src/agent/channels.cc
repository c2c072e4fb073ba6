#include "agent/channels.h"

#include "base/text.h"
#include "io/posix/connection.h"
#include "io/posix/sockets.h"

namespace turnout::agent {

namespace {

constexpr Span kConnect = 5s;

// Nobody answers there as long as its program is busy: the server hears that it waits in vain.
Task<void> tell_why(Server& server, Secret token, std::string channel, std::string why) {
    http::ClientRequest request;
    request.url =
        std::string(agent_protocol::kChannelPath) + channel + "?why=" + percent_encode(why);
    (void)co_await server.send(std::move(request), std::move(token));
}

}  // namespace

Task<void> open_channel(AsioLoop& loop, Server& server, Secret token, effect::OpenChannel wanted) {
    if (wanted.port == 0)
        co_return co_await tell_why(server, std::move(token), std::move(wanted.channel),
                                    std::move(wanted.why));
    const auto addresses = http::resolve({"127.0.0.1", static_cast<std::uint16_t>(wanted.port)});
    if (!addresses || addresses->empty()) co_return;
    Result<Fd> socket = co_await http::connect_socket(loop, addresses->front(), kConnect);
    if (!socket)
        co_return co_await tell_why(server, std::move(token), std::move(wanted.channel),
                                    socket.error().message);
    http::ClientRequest request;
    request.url = std::string(agent_protocol::kChannelPath) + wanted.channel;
    request.headers.set("Upgrade", std::string(agent_protocol::kChannelUpgrade));
    request.headers.set("Connection", "Upgrade");
    auto response = co_await server.send(std::move(request), std::move(token));
    if (!response || response->status != 101 || !response->stream)
        co_return;  // not wanted any more
    co_await http::join_streams(
        http::make_stream(std::make_shared<http::Connection>(loop, std::move(*socket)), "",
                          nullptr),
        std::move(response->stream));
}

}  // namespace turnout::agent
