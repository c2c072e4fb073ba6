#include "api/people/quota_routes.h"

#include "access/actions.h"
#include "api/actions.h"
#include "api/arm/resource.h"
#include "api/people/people_routes.h"
#include "api/upkeep/stored_use.h"
#include "base/text.h"
#include "control/control.h"

namespace turnout::api {
namespace {

using QuotaAnswer = Task<Result<http::Response>>;
using Is = QuotaOwner::Is;

constexpr std::size_t kMaxQuotaBody = 64 << 10;

Json document_of(const Services& services, const Control::QuotaView& view) {
    Json json = Json::object();
    switch (view.owner.is) {
        case Is::EveryUser: json.set("everyUser", true); break;
        case Is::User: json.set("user", view.owner.id); break;
        case Is::Workspace: json.set("workspace", id_of(services, {view.owner.id, ""})); break;
    }
    json.set("limits", to_json(view.quota));
    if (view.owner.is == Is::EveryUser) return json;
    json.set("holds", to_json(view.holds));
    Json used = Json::object({{"slots", view.use.slots},
                              {"runningJobs", view.use.jobs},
                              {"queuedJobs", static_cast<std::int64_t>(view.use.waiting)}});
    if (services.stored && services.stored->counted())
        used.set("storedBytes", services.stored->of(view.owner));
    json.set("used", std::move(used));
    return json;
}

bool is_shown(const Services& services, const Call& call, const QuotaOwner& owner) {
    if (may(services, call, access::action::kReadQuotas, "")) return true;
    switch (owner.is) {
        case Is::EveryUser: return true;
        case Is::User: return owner.id == call.principal.name;
        case Is::Workspace: return may(services, call, access::action::kReadWorkspace, owner.id);
    }
    return false;
}

QuotaAnswer list_quotas(Services& services, Directory&, Call& call) {
    Json all = Json::array();
    for (const Control::QuotaView& view : services.control.quotas()) {
        const bool empty = view.owner.is == Is::Workspace && view.quota.empty();
        if (!empty && is_shown(services, call, view.owner)) all.push(document_of(services, view));
    }
    Json body = Json::object({{"value", std::move(all)}});
    if (services.stored && services.stored->counted())
        body.set("storedCounted", to_iso8601(*services.stored->counted()));
    co_return json_response(200, body);
}

// Whose is meant: exactly one of the three is given.
Result<QuotaOwner> owner_in(Services& services, Directory& people, const std::string& user,
                            const std::string& workspace, bool every_user, bool has_to_be) {
    if (int(!user.empty()) + int(!workspace.empty()) + int(every_user) != 1)
        return invalid("whose quota? give one of 'user', 'workspace' and 'everyUser'", "user");
    if (every_user) return QuotaOwner{};
    if (!user.empty()) {
        if (has_to_be) TURNOUT_TRY(people.user(user));
        return QuotaOwner{Is::User, user, ""};
    }
    const access::Scope scope = TURNOUT_TRY(scope_of(services, workspace));
    if (scope.workspace.empty() || !scope.compute.empty())
        return invalid(
            "'workspace' is '" + workspace.substr(0, 200) + "': expected the ARM id of a workspace",
            "workspace");
    const std::string path = id_of(services, scope);
    return QuotaOwner{Is::Workspace, scope.workspace, path.substr(path.rfind('/') + 1)};
}

QuotaAnswer put_quota(Services& services, Directory& people, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxQuotaBody));
    for (const auto& [name, value] : body.members()) {
        bool known = name == "user" || name == "workspace" || name == "everyUser";
        for (const QuotaField& field : kQuotaFields) known = known || name == field.name;
        if (!known)
            co_return invalid("'" + name.substr(0, 40) +
                                  "' is no limit: expected slots, runningJobs, queuedJobs or "
                                  "storedBytes",
                              name.substr(0, 40));
    }
    TURNOUT_CO_TRY(const QuotaOwner owner, owner_in(services, people, body.at("user").as_string(),
                                                    body.at("workspace").as_string(),
                                                    body.at("everyUser").as_bool(), true));
    call.about = "quota of " + words_of(owner);
    for (const QuotaField& field : kQuotaFields)
        if (const Json* const said = body.find(field.name))
            call.about += ", " + std::string(field.name) + " " + said->dump().substr(0, 40);
    TURNOUT_CO_TRY_VOID(co_await arm::asked<void>([&](auto reply) {
        services.control.change_quota(
            owner, [&](const Quota& now) { return changed(now, body); }, std::move(reply));
    }));
    // From now on it matters how much is stored.
    if (services.stored && body.has("storedBytes") && !services.stored->counted()) {
        TURNOUT_CO_TRY_VOID(co_await services.stored->count(services));
    }
    co_return json_response(200, document_of(services, services.control.quota(owner)));
}

QuotaAnswer remove_quota(Services& services, Directory& people, Call& call) {
    TURNOUT_CO_TRY(const QuotaOwner owner,
                   owner_in(services, people, std::string(call.query_value("user")),
                            std::string(call.query_value("workspace")),
                            call.query_value("everyUser") == "true", false));
    call.about = "quota of " + words_of(owner);
    TURNOUT_CO_TRY_VOID(co_await arm::asked<void>([&](auto reply) {
        services.control.change_quota(
            owner,
            [&](const Quota& now) -> Result<Quota> {
                if (now.empty())
                    return not_found(
                        words_of(owner) + " has no quota ('turnout quota list' shows all)",
                        "quota");
                return Quota{};
            },
            std::move(reply));
    }));
    http::Response gone;
    gone.status = 204;
    co_return gone;
}

}  // namespace

void add_quota_routes(Router& router, Services& services, Directory& people) {
    const auto add = [&](const char* method, QuotaAnswer (*action)(Services&, Directory&, Call&)) {
        router.add(
            method, "/turnout/quotas", Access::User,
            [&services, &people, action](Call& call) { return action(services, people, call); });
    };
    add("GET", list_quotas);
    add("PUT", put_quota);
    add("DELETE", remove_quota);
}

}  // namespace turnout::api
