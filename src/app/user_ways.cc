#include "app/user_ways.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "control/control.h"
#include "io/posix/files.h"
#include "io/posix/http_server.h"

namespace turnout {

namespace {

constexpr std::string_view kLinkPath = "/agent/v1/link";

http::Response refused_way(const std::string& why) {
    return api::json_response(
        403, Json::object(
                 {{"error", Json::object({{"code", "AuthorizationFailed"}, {"message", why}})}}));
}

}  // namespace

Result<void> UserWays::open(const Instance& instance, const ServerPools& all_pools,
                            LocalProvider& provider) {
    const std::string uv = instance.folder + "/bin/uv";
    bool namespaces = ::geteuid() != 0;
    const auto open = [&](const UsersSettings& settings) -> Result<void> {
        NodeUsers users = TURNOUT_TRY(
            NodeUsers::open(instance.folder, settings, namespaces, instance.agent_executable(),
                            ::access(uv.c_str(), X_OK) == 0 ? uv : std::string()));
        return provider.use_users(std::move(users), pools_of_users_);
    };
    const std::vector<Pool> pools = TURNOUT_TRY(all_pools.read());
    for (const Pool& pool : pools)
        if (is_apart(pool.isolation)) {
            pools_of_users_[pool.name] = pool.isolation;
            namespaces |= pool.isolation == Isolation::WorkspaceNamespaces;
        }
    if (const auto wanted = TURNOUT_TRY(all_pools.users_of(pools))) return open(*wanted);
    const auto earlier = NodeUsers::earlier(instance.folder);
    if (!earlier) return {};
    if (const Result<void> opened = open(*earlier); !opened)
        std::fprintf(stderr, "warning: nodes that ran as users of their own are not found: %s\n",
                     opened.error().message.c_str());
    return {};
}

// Its folder is root's, and others cannot pass it; the kernel lets that user and root connect.
Result<void> UserWays::add(const NodeUser& user) {
    const std::string path = user.socket();
    http::Limits limits = limits_;
    limits.connections = std::max<std::size_t>(64, limits.connections / 8);
    of_users_.push_back(TURNOUT_TRY(http::listen_unix(
        loop_, path,
        [this, workspace = user.workspace](const http::Request& request, http::BodyReader& body) {
            return handle_of_user(workspace, request, body);
        },
        limits)));
    if (::lchown(path.c_str(), ::geteuid(), user.gid) != 0 || ::chmod(path.c_str(), 0660) != 0)
        return file_failure("cannot give away", path, errno);
    return {};
}

// A node of a pool whose nodes have users comes by its user's way, not by root's: it is from before
// its pool said so, and another one takes its place.
Task<http::Response> UserWays::handle_of_nodes(const http::Request& request,
                                               http::BodyReader& body) {
    if (!pools_of_users_.empty() && request.path == kLinkPath) {
        const std::optional<api::Principal> who = principal_of(request);
        const std::vector<std::string> parts = split(who ? who->name : std::string(), '/');
        bool wants_user = false;
        if (parts.size() == 3)
            for (const Node& node : services_.control.nodes_of(parts[0], parts[1]))
                wants_user |= node.name == parts[2] && pools_of_users_.contains(node.pool);
        if (wants_user)
            co_return refused_way(
                "the node's pool keeps workspaces apart (`isolation`), and this agent does not "
                "come by its workspace's way");
    }
    http::Response response = co_await router_.handle(services_, request, body);
    co_return response;
}

// As from another machine: what its tasks call a file here is theirs, not the server's. And a token
// of another workspace's node or job was stolen.
Task<http::Response> UserWays::handle_of_user(std::string workspace, const http::Request& request,
                                              http::BodyReader& body) {
    if (const std::optional<api::Principal> who = principal_of(request)) {
        const std::string of = who->kind == api::Principal::Kind::Node
                                   ? who->name.substr(0, who->name.find('/'))
                               : who->kind == api::Principal::Kind::Run ? who->workspace
                                                                        : workspace;
        if (of != workspace)
            co_return refused_way("this token is of another workspace than this way to the server");
    }
    http::Request from_there = request;
    from_there.peer.loopback = false;
    from_there.peer.address = "a node of workspace " + workspace;
    http::Response response = co_await router_.handle(services_, from_there, body);
    co_return response;
}

// Whose the token is that comes with it; nothing if there is none, or none that holds.
std::optional<api::Principal> UserWays::principal_of(const http::Request& request) const {
    const std::string_view token = api::bearer_of(request);
    if (token.empty()) return std::nullopt;
    auto who = services_.authority.check(token);
    if (!who) return std::nullopt;
    return std::move(*who);
}

}  // namespace turnout
