// What the rows of api/arm have in common: ids, envelopes, pages, long-running operations.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "control/control.h"

namespace turnout::api::arm {

using Answer = Task<Result<http::Response>>;

inline constexpr std::string_view kProvider = "Microsoft.MachineLearningServices";
inline constexpr std::size_t kPageSize = 100;

// The workspace in the path; NotFound with the nearest name.
Result<Workspace> workspace_of(Services& services, const Call& call);

// "127.0.0.1:8443" of the TLS listener as this client reaches it, and the origin with it.
std::string tls_host(const Services& services, const Call& call);

// Who made it and who changed it last. What an earlier build made was the admin's: there was no
// other user. Beside Azure's members "createdByJob" and "lastModifiedByJob" name the job by whose
// token it was done, where it was one.
Json system_data(Instant created, Instant modified, const Authorship& made);

// {id, name, type, properties, systemData}
Json envelope(const std::string& id, std::string_view name, std::string_view type, Json properties);

// The name in the path, without the "azureml:" that the SDK leaves in some.
std::string asset_name(const Call& call, std::string_view parameter);

// One page of `items`, in their order, with a nextLink if there are more. `key` gives each a text
// that grows in this order: the token of a page is the last key it showed.
http::Response page_of(const Call& call, std::size_t count,
                       const std::function<std::string(std::size_t)>& key,
                       const std::function<Json(std::size_t)>& item);

// $top or count or max results of the query, at most a page.
std::size_t page_size(const Call& call);
// The absolute URL of this very request with another $skip token.
std::string next_link(const Call& call, std::string_view token);

enum class ListView { ActiveOnly, ArchivedOnly, All };
Result<ListView> list_view(const Call& call);
bool shown(ListView view, bool archived);

// 202 with Azure-AsyncOperation, Location and Retry-After: the status is derived from the resource
// when it is asked for. `kind`: "attachCompute", "deleteCompute", "cancelJob", "deleteJob".
http::Response accepted(const Call& call, const Workspace& workspace, std::string_view kind,
                        std::string_view name);

// The same of what is answered with the resource: Azure-AsyncOperation and Retry-After.
void say_operation(http::Response& response, const Call& call, const Workspace& workspace,
                   std::string_view kind, std::string_view name);

// Awaits one of control's replies.
template <class T, class Ask>
Task<Result<T>> asked(Ask ask) {
    Later<Result<T>> later;
    ask([settle = later.settle()](Result<T> result) { settle(std::move(result)); });
    co_return co_await later;
}

// The rows, one file each.
void add_workspace_routes(Router& router, Services& services);
void add_datastore_routes(Router& router, Services& services);
void add_compute_routes(Router& router, Services& services);
void add_asset_routes(Router& router, Services& services);
void add_registry_routes(Router& router, Services& services);
void add_job_routes(Router& router, Services& services);
void add_operation_routes(Router& router, Services& services);
void add_event_routes(Router& router, Services& services);
void add_explain_routes(Router& router, Services& services);
void add_drill_routes(Router& router, Services& services);

// Adds a row whose action is a coroutine function `Answer f(Services&, Call&)`.
inline void row(Router& router, Services& services, std::string method, std::string pattern,
                Access access, Answer (*action)(Services&, Call&)) {
    router.add(std::move(method), std::move(pattern), access,
               [&services, action](Call& call) { return action(services, call); });
}
inline std::string in_workspace(std::string_view rest) {
    return std::string(kWorkspacePattern) + std::string(rest);
}

}  // namespace turnout::api::arm
