#include "api/people/people_routes.h"

#include "access/actions.h"
#include "api/actions.h"
#include "api/authority.h"
#include "api/people/quota_routes.h"
#include "base/text.h"
#include "catalog/catalog.h"

namespace turnout::api {
namespace {

using Answer = Task<Result<http::Response>>;

constexpr std::size_t kMaxBody = 64 << 10;

Json document_of(const User& user) {
    Json json = Json::object({{"name", user.name}});
    if (!user.display_name.empty()) json.set("displayName", user.display_name);
    json.set("state", user.disabled ? "disabled" : "enabled");
    if (user.created.micros > 0) json.set("created", to_iso8601(user.created));
    if (!user.created_by.empty()) json.set("createdBy", user.created_by);
    if (!user.subject.empty()) json.set("issuer", user.issuer), json.set("subject", user.subject);
    return json;
}

Json list_of(const std::vector<std::string>& texts) {
    Json json = Json::array();
    for (const std::string& text : texts) json.push(text);
    return json;
}

Json document_of(const access::Role& role) {
    return Json::object({{"name", role.name},
                         {"description", role.description},
                         {"type", role.custom ? "custom" : "built-in"},
                         {"actions", list_of(role.actions)},
                         {"notActions", list_of(role.not_actions)}});
}

Json document_of(const Services& services, const Assignment& one) {
    Json json = Json::object({{"id", one.id},
                              {"user", one.user},
                              {"role", one.role},
                              {"scope", id_of(services, one.scope)}});
    if (one.created.micros > 0) json.set("created", to_iso8601(one.created));
    if (!one.created_by.empty()) json.set("createdBy", one.created_by);
    if (one.of_group) json.set("ofGroup", true);
    return json;
}

Json all_of(Json list) {
    return Json::object({{"value", std::move(list)}});
}

Result<std::string> text_in(const Json& body, std::string_view name) {
    const Json& value = body.at(name);
    if (!value.is_string() || value.as_view().empty())
        return invalid("the body has no text '" + std::string(name) + "'", std::string(name));
    return value.as_string();
}

Answer show_me(Services& services, InstanceAuthority& authority, Call& call) {
    Directory& people = authority.people();
    TURNOUT_CO_TRY(const auto user, people.find_user(call.principal.name));
    Json json = user ? document_of(*user) : Json::object({{"name", call.principal.name}});
    Json roles = Json::array();
    TURNOUT_CO_TRY(const auto assignments, people.assignments());
    for (const Assignment& one : assignments)
        if (one.user == call.principal.name)
            roles.push(Json::object({{"role", one.role}, {"scope", id_of(services, one.scope)}}));
    json.set("roles", std::move(roles));
    TURNOUT_CO_TRY(const auto keys, authority.api_keys());
    for (const ApiKey& key : keys)
        if (key.row == call.principal.key) json.set("token", key.name);
    co_return json_response(200, json);
}

Answer list_users(Directory& people, Call&) {
    TURNOUT_CO_TRY(const auto users, people.users());
    Json all = Json::array();
    for (const User& user : users) all.push(document_of(user));
    co_return json_response(200, all_of(std::move(all)));
}

Answer add_user(Directory& people, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    TURNOUT_CO_TRY(std::string name, text_in(body, "name"));
    call.about = "user " + name;
    TURNOUT_CO_TRY(const User user,
                   co_await people.add_user(std::move(name), body.at("displayName").as_string(),
                                            call.principal.name));
    co_return json_response(201, document_of(user));
}

Answer show_user(Services& services, Directory& people, Call& call) {
    TURNOUT_CO_TRY(const User user, people.user(call.param("name")));
    TURNOUT_CO_TRY(const auto assignments, people.assignments());
    Json json = document_of(user), roles = Json::array();
    for (const Assignment& one : assignments)
        if (one.user == user.name) roles.push(document_of(services, one));
    json.set("roles", std::move(roles));
    co_return json_response(200, json);
}

Answer change_user(InstanceAuthority& authority, Call& call) {
    Directory& people = authority.people();
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    if (!body.at("disabled").is_bool())
        co_return invalid("'disabled' is " + body.at("disabled").dump().substr(0, 40) +
                              ": expected true or false",
                          "disabled");
    call.about = body.at("disabled").as_bool() ? "disabled" : "enabled";
    TURNOUT_CO_TRY(const User user,
                   co_await people.set_disabled(call.param("name"), body.at("disabled").as_bool()));
    // They do not come back with the user, as keys do.
    if (user.disabled) {
        TURNOUT_CO_TRY_VOID(co_await authority.end_sessions(user.name));
    }
    co_return json_response(200, document_of(user));
}

// From then on whoever that is at the provider is this user: it takes who may give roles.
Answer link_user(InstanceAuthority& authority, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    TURNOUT_CO_TRY(std::string issuer, text_in(body, "issuer"));
    TURNOUT_CO_TRY(std::string subject, text_in(body, "subject"));
    call.about = "subject " + subject + " of " + issuer;
    TURNOUT_CO_TRY(const User user, co_await authority.people().link(
                                        call.param("name"), std::move(issuer), std::move(subject)));
    // Whoever it was until now is so no more. Also when it is said again: the first time may have
    // come no further than to here.
    TURNOUT_CO_TRY_VOID(co_await authority.end_logins_but_of(user.name, subject_text(user)));
    co_return json_response(200, document_of(user));
}

Answer list_roles(Directory& people, Call&) {
    TURNOUT_CO_TRY(const auto roles, people.roles());
    Json all = Json::array(), actions = Json::array();
    for (const access::Role& role : roles) all.push(document_of(role));
    for (const std::string_view action : access::known_actions()) actions.push(action);
    Json body = all_of(std::move(all));
    body.set("actions", std::move(actions));
    co_return json_response(200, body);
}

Result<std::vector<std::string>> patterns_in(const Json& body, std::string_view name) {
    const Json& list = body.at(name);
    std::vector<std::string> patterns;
    if (list.is_null()) return patterns;
    if (!list.is_array())
        return invalid("'" + std::string(name) + "' is not a list of actions", std::string(name));
    for (const Json& item : list.items()) {
        if (!item.is_string())
            return invalid("an entry of '" + std::string(name) + "' is " +
                               item.dump().substr(0, 40) + ": expected the name of an action",
                           std::string(name));
        patterns.push_back(item.as_string());
    }
    return patterns;
}

Answer put_role(Services& services, Directory& people, Call& call) {
    // Who may say what a role allows may have all of it, so that takes who may give roles.
    TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kWriteAssignments, ""));
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    access::Role role;
    role.name = call.param("name");
    role.description = body.at("description").as_string().substr(0, 400);
    TURNOUT_CO_TRY(role.actions, patterns_in(body, "actions"));
    TURNOUT_CO_TRY(role.not_actions, patterns_in(body, "notActions"));
    TURNOUT_CO_TRY(const access::Role kept, co_await people.put_role(std::move(role)));
    co_return json_response(200, document_of(kept));
}

Answer remove_role(Directory& people, Call& call) {
    TURNOUT_CO_TRY_VOID(co_await people.remove_role(call.param("name")));
    http::Response gone;
    gone.status = 204;
    co_return gone;
}

Answer list_assignments(Services& services, Directory& people, Call& call) {
    TURNOUT_CO_TRY(const auto assignments, people.assignments());
    Json all = Json::array();
    for (const Assignment& one : assignments)
        if (one.user == call.principal.name ||
            services.authority.may(call.principal, access::action::kReadAssignments, one.scope))
            all.push(document_of(services, one));
    co_return json_response(200, all_of(std::move(all)));
}

Answer assign(Services& services, Directory& people, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    TURNOUT_CO_TRY(std::string user, text_in(body, "user"));
    TURNOUT_CO_TRY(std::string role, text_in(body, "role"));
    TURNOUT_CO_TRY(const std::string id, text_in(body, "scope"));
    call.about = "role " + role + " for user " + user + " on " + id;
    const Result<access::Scope> scope = scope_of(services, id);
    // Whether it is there is for those who may know.
    TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kWriteAssignments,
                               scope ? scope->workspace : "", scope ? scope->compute : ""));
    if (!scope) co_return Failure(scope.error());
    TURNOUT_CO_TRY(const Assignment made, co_await people.assign(std::move(user), std::move(role),
                                                                 *scope, call.principal.name));
    co_return json_response(201, document_of(services, made));
}

Answer remove_assignment(Services& services, Directory& people, Call& call) {
    const Result<Assignment> there = people.assignment(call.param("id"));
    if (there)
        call.about = "role " + there->role + " of user " + there->user + " on " +
                     id_of(services, there->scope);
    TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kDeleteAssignments,
                               there ? there->scope.workspace : "",
                               there ? there->scope.compute : ""));
    if (!there) co_return Failure(there.error());
    TURNOUT_CO_TRY_VOID(co_await people.remove_assignment(there->id));
    http::Response gone;
    gone.status = 204;
    co_return gone;
}

}  // namespace

Result<access::Scope> scope_of(Services& services, std::string_view id) {
    if (id == "/") return access::Scope{};
    // "", subscriptions, S, resourceGroups, G, providers, P, workspaces, W[, computes, C]
    const std::vector<std::string> parts = split(id, '/');
    const bool fits =
        (parts.size() == 9 || parts.size() == 11) && parts[0].empty() &&
        equal_ignoring_case(parts[1], "subscriptions") &&
        equal_ignoring_case(parts[3], "resourceGroups") &&
        equal_ignoring_case(parts[6], "Microsoft.MachineLearningServices") &&
        equal_ignoring_case(parts[7], "workspaces") &&
        (parts.size() == 9 || (equal_ignoring_case(parts[9], "computes") && !parts[10].empty()));
    if (!fits)
        return invalid("'scope' is '" + std::string(id.substr(0, 200)) +
                           "': expected '/' for the server, or the ARM id of a workspace or of a "
                           "compute",
                       "scope");
    const auto found = TURNOUT_TRY(services.assets.find_workspace(parts[2], parts[4], parts[8]));
    if (!found)
        return not_found("workspace '" + parts[8] + "' of the scope does not exist", "scope");
    return access::Scope{found->id, parts.size() == 11 ? to_lower(parts[10]) : std::string()};
}

std::string id_of(const Services& services, const access::Scope& scope) {
    if (scope.workspace.empty()) return "/";
    std::string id = "/workspaces/" + scope.workspace;  // of one that is gone
    if (const auto all = services.assets.list_workspaces("", ""))
        for (const Workspace& workspace : *all)
            if (workspace.id == scope.workspace) id = workspace_path(workspace);
    return scope.compute.empty() ? id : id + "/computes/" + scope.compute;
}

void add_people_routes(Router& router, Services& services, InstanceAuthority& authority) {
    Directory& people = authority.people();
    const auto add = [&](const char* method, const char* pattern,
                         Answer (*action)(Directory&, Call&)) {
        router.add(method, pattern, Access::User,
                   [&people, action](Call& call) { return action(people, call); });
    };
    const auto add_with = [&](const char* method, const char* pattern,
                              Answer (*action)(Services&, Directory&, Call&)) {
        router.add(method, pattern, Access::User, [&services, &people, action](Call& call) {
            return action(services, people, call);
        });
    };
    router.add("GET", "/turnout/me", Access::User,
               [&services, &authority](Call& call) { return show_me(services, authority, call); });
    add("GET", "/turnout/users", list_users);
    add("POST", "/turnout/users", add_user);
    add_with("GET", "/turnout/users/{name}", show_user);
    router.add("PATCH", "/turnout/users/{name}", Access::User,
               [&authority](Call& call) { return change_user(authority, call); });
    router.add("PUT", "/turnout/users/{name}/subject", Access::User,
               [&authority](Call& call) { return link_user(authority, call); });
    add("GET", "/turnout/roles", list_roles);
    add_with("PUT", "/turnout/roles/{name}", put_role);
    add("DELETE", "/turnout/roles/{name}", remove_role);
    add_with("GET", "/turnout/assignments", list_assignments);
    add_with("POST", "/turnout/assignments", assign);
    add_with("DELETE", "/turnout/assignments/{id}", remove_assignment);
    add_quota_routes(router, services, people);
}

}  // namespace turnout::api
