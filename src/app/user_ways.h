// The ways to the server of nodes that run as a user of their workspace (`isolation:
// workspace_uid`, or `workspace_namespaces`, provider/local/users.h): a socket for each user, by
// which nobody comes as another workspace, and the refusal of such a node where it comes by root's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "app/instance.h"
#include "app/pools.h"
#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "provider/local/local_provider.h"
#include "provider/local/users.h"

namespace turnout {

// On the loop. All that it is given outlives it.
class UserWays {
public:
    // `limits`: of a listener for everybody; one of a user has a part of that.
    UserWays(AsioLoop& loop, const http::Limits& limits, const api::Router& router,
             api::Services& services)
        : loop_(loop), limits_(limits), router_(router), services_(services) {}

    // Where a pool gives workspaces users of their own, or did so in an earlier life: the provider
    // has them from now on, and calls `add` for each. Once. FailedPrecondition, with the reason,
    // where this machine cannot have such users.
    Result<void> open(const Instance& instance, const ServerPools& pools, LocalProvider& provider);
    // Listens for that user, at `NodeUser::socket()`.
    Result<void> add(const NodeUser& user);
    // What comes by root's own way: as it is, but for a node that has a user.
    Task<http::Response> handle_of_nodes(const http::Request& request, http::BodyReader& body);

private:
    Task<http::Response> handle_of_user(std::string workspace, const http::Request& request,
                                        http::BodyReader& body);
    std::optional<api::Principal> principal_of(const http::Request& request) const;

    AsioLoop& loop_;
    const http::Limits limits_;
    const api::Router& router_;
    api::Services& services_;
    std::vector<std::unique_ptr<http::Listener>> of_users_;  // one for each, see NodeUser::socket
    std::map<std::string, Isolation> pools_of_users_;
};

}  // namespace turnout
