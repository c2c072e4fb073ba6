#include "api/gateway/channels.h"

#include "base/text.h"

namespace turnout::api {

namespace ap = agent_protocol;

namespace {

constexpr Span kWait = 10s;  // for a node to bring it
constexpr std::size_t kMostWhy = 1000;
constexpr std::string_view kSuffix = ".replica:80";

}  // namespace

std::string authority_of(const ReplicaAddress& address) {
    const Json parts = Json::array(
        {address.node, address.attempt.workspace, address.attempt.job, address.attempt.attempt});
    return to_hex(parts.dump()) + std::string(kSuffix);
}

Result<ReplicaAddress> address_of(std::string_view authority) {
    const auto bad = [] { return invalid("it names no replica", "authority"); };
    if (!authority.ends_with(kSuffix)) return bad();
    authority.remove_suffix(kSuffix.size());
    const auto text = from_hex(authority);
    if (!text) return bad();
    const auto parts = parse_json(*text);
    if (!parts || !parts->is_array() || parts->items().size() != 4) return bad();
    ReplicaAddress address;
    const auto& items = parts->items();
    address.node = items[0].as_string();
    address.attempt.workspace = items[1].as_string();
    address.attempt.job = items[2].as_string();
    address.attempt.attempt = static_cast<int>(items[3].as_int());
    return address;
}

Task<Result<std::unique_ptr<http::Stream>>> Channels::open(ReplicaAddress to) {
    const int version = links_.version_of(to.node);
    if (version == 0)
        co_return fail(Code::Unavailable, "NodeAway", "its node is not connected to the server");
    if (version < ap::kReachSince)
        co_return fail(Code::Unavailable, "OldAgent",
                       "the agent of its node is of an earlier build, which cannot be asked for "
                       "connections: restart it");
    const std::string channel = random_.uuid();
    const Later<Opened> opened;
    Wanted& wanted = wanted_[channel];
    wanted.node = to.node;
    wanted.settle = std::make_unique<Later<Opened>::Settle>(opened.settle());
    wanted.timer = loop_.after(kWait, [this, channel] {
        settle(channel, fail(Code::Unavailable, "Timeout",
                             "its node did not bring a connection within " +
                                 std::to_string(kWait / 1s) + " s"));
    });
    links_.send(to.node, ap::Reach{std::move(to.attempt), channel});
    co_return co_await opened;
}

void Channels::settle(const std::string& channel, Opened opened) {
    const auto found = wanted_.find(channel);
    if (found == wanted_.end()) return;
    const Wanted wanted = std::move(found->second);
    wanted_.erase(found);
    loop_.cancel(wanted.timer);
    (*wanted.settle)(std::move(opened));
}

Task<Result<http::Response>> Channels::take(Call& call) {
    const std::string channel = call.param("channel");
    const auto found = wanted_.find(channel);
    // Another node's too: what it knows of that name it cannot have been told.
    if (found == wanted_.end() || found->second.node != call.principal.name)
        co_return not_found("channel '" + channel + "' is not wanted (any more)", channel);
    if (!equal_ignoring_case(call.request.headers.get("upgrade"), ap::kChannelUpgrade)) {
        const std::string why(call.query_value("why").substr(0, kMostWhy));
        settle(channel, fail(Code::Unavailable, "NotReached",
                             why.empty() ? "its node cannot reach its port" : why));
        co_return http::Response{};
    }
    http::Response response;
    response.status = 101;
    response.headers.set("Upgrade", std::string(ap::kChannelUpgrade));
    response.headers.set("Connection", "Upgrade");
    response.upgraded = [this, channel](std::unique_ptr<http::Stream> stream) -> Task<void> {
        settle(channel, std::move(stream));
        co_return;
    };
    co_return response;
}

void Channels::add_to(Router& router) {
    router.add("GET", std::string(ap::kChannelPath) + "{channel}", Access::Node,
               [this](Call& call) { return take(call); });
}

}  // namespace turnout::api
