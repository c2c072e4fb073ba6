// Which action each route needs, and where: the one table. A test finds exactly one row for every
// route, and walks all routes as every role and as nobody.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "access/access.h"
#include "base/result.h"

namespace turnout::api {

struct Call;
struct Principal;
struct Route;
struct Services;

// Where the action is needed by whom the route asks for.
enum class Where {
    Open,       // nobody is asked
    Node,       // a node, and nobody else
    Own,        // what is of whoever asks: a user needs no role for it
    Somewhere,  // in at least one place; the handler shows only what is of such places
    Server,
    Workspace,  // the one in the path; of MLflow's short paths, the one that is meant
    Compute,    // {name} of that workspace
    Handler,    // said in the body: the handler asks
};

struct Need {
    Where where;
    std::string_view action;
    // The parameter that names the run or job it is about; "" if none does: what is of runs is then
    // the handler's to ask (api/run_reach.h).
    std::string_view run = "";
};

// Nothing of a route that is in no row.
std::optional<Need> need_of(std::string_view method, std::string_view pattern);
// What the credential itself says.
access::Limits limits_of(const Principal& principal);

// Does whoever asks, a user, have what the route needs? PermissionDenied in Azure's words.
Result<void> permit(Services& services, const Call& call, const Route& route);
// For handlers: the same of an action and a workspace (its id; "" = the server).
Result<void> permit(const Services& services, const Call& call, std::string_view action,
                    const std::string& wsid, const std::string& compute = {});
bool may(const Services& services, const Call& call, std::string_view action,
         const std::string& wsid);

}  // namespace turnout::api
