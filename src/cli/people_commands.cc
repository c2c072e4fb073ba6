// Who may do what on the server: users, their roles, and what roles are made of.
#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

std::string user_path(const std::string& name) {
    return "/turnout/users/" + percent_encode(name);
}

// The scope that the options mean, as the server takes it.
std::string scope_of(Context& context, const client::Api& api) {
    const Arguments& args = context.args();
    if (args.has("--server")) return "/";
    const std::string workspace = api.settings().workspace_path();
    return args.has("--compute") ? workspace + "/computes/" + args.get("--compute") : workspace;
}

Result<void> check_scope(const Arguments& args) {
    if (args.has("--server") && (args.has("--compute") || args.has("--workspace-name")))
        return fail(Code::InvalidArgument, "Usage",
                    "--server is all of it: give it, or a workspace or compute", "--server");
    return {};
}

Json assignment_rows(const Json& list, const std::string& user) {
    Json rows = Json::array();
    for (const Json& one : list.items()) {
        if (!user.empty() && one.at("user").as_view() != user) continue;
        Json row = resources::in_snake_case(one);
        row.set("on", words_of_scope(one.at("scope").as_string()));
        rows.push(std::move(row));
    }
    return rows;
}

int set_disabled(Context& context, bool disabled) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> user =
        (*opened)->patch(user_path(*name), Json::object({{"disabled", disabled}}));
    if (!user) return context.fail(user.error());
    if (disabled)
        context.note("no token of user '" + *name +
                     "' opens anything any more; jobs that they submitted go on");
    return context.show(resources::in_snake_case(*user), *user);
}

int list_assignments(Context& context, const std::string& user) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> list = (*opened)->get("/turnout/assignments");
    if (!list) return context.fail(list.error());
    return context.show(assignment_rows(list->at("value"), user), list->at("value"),
                        {"user", "role", "on", "created_by", "id"});
}

Json texts(const std::vector<std::string>& list) {
    Json json = Json::array();
    for (const std::string& text : list) json.push(text);
    return json;
}

}  // namespace

std::string words_of_scope(const std::string& scope) {
    if (scope == "/") return "server";
    const std::vector<std::string> parts = split(scope, '/');
    if (parts.size() > 10) return "compute " + parts[10] + " of workspace " + parts[8];
    return parts.size() > 8 ? "workspace " + parts[8] : scope;
}

void tell_who(client::Api& api, Json& out) {
    const Result<Json> me = api.get("/turnout/me");
    if (!me) return;
    out.set("user", me->at("name"));
    Json roles = Json::array();
    for (const Json& one : me->at("roles").items())
        roles.push(one.at("role").as_string() + " on " +
                   words_of_scope(one.at("scope").as_string()));
    out.set("roles", std::move(roles));
}

int user_add(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    Json body = Json::object({{"name", *name}});
    if (context.args().has("--display-name"))
        body.set("displayName", context.args().get("--display-name"));
    const Result<Json> user = (*opened)->post("/turnout/users", body);
    if (!user) return context.fail(user.error());
    context.note("user '" + *name + "' may do nothing yet: `turnout role assign --user " + *name +
                 " --role ROLE`, and `turnout user token " + *name + "` for their login");
    return context.show(resources::in_snake_case(*user), *user);
}

int user_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> users = (*opened)->get("/turnout/users");
    if (!users) return context.fail(users.error());
    return context.show(resources::in_snake_case(users->at("value")), users->at("value"),
                        {"name", "display_name", "state", "created", "created_by"});
}

int user_show(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> user = (*opened)->get(user_path(*name));
    if (!user) return context.fail(user.error());
    Json shown = resources::in_snake_case(*user);
    shown.set("roles", assignment_rows(user->at("roles"), ""));
    return context.show(shown, *user);
}

int user_disable(Context& context) {
    return set_disabled(context, true);
}

int user_enable(Context& context) {
    return set_disabled(context, false);
}

int user_role(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    return list_assignments(context, *name);
}

int role_list(Context& context) {
    return list_assignments(context, context.args().get("--user"));
}

int role_assign(Context& context) {
    const Arguments& args = context.args();
    for (const char* option : {"--user", "--role"})
        if (!args.has(option))
            return context.fail({Code::InvalidArgument, "Usage",
                                 std::string("who gets which role? ") + option + " is missing",
                                 option});
    if (const Result<void> fits = check_scope(args); !fits) return context.fail(fits.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> made =
        api.post("/turnout/assignments", Json::object({{"user", args.get("--user")},
                                                       {"role", args.get("--role")},
                                                       {"scope", scope_of(context, api)}}));
    if (!made) return context.fail(made.error());
    Json row = resources::in_snake_case(*made);
    row.set("on", words_of_scope(made->at("scope").as_string()));
    return context.show(row, *made);
}

int role_remove(Context& context) {
    const Arguments& args = context.args();
    if (const Result<void> fits = check_scope(args); !fits) return context.fail(fits.error());
    std::string id = args.operands.empty() ? args.get("--id") : args.operands[0];
    if (id.empty() && !(args.has("--user") && args.has("--role")))
        return context.fail({Code::InvalidArgument, "Usage",
                             "which one? give its id (`turnout role list` shows it), or --user and "
                             "--role, and where",
                             "--user"});
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    if (id.empty()) {
        const Result<Json> list = api.get("/turnout/assignments");
        if (!list) return context.fail(list.error());
        const std::string scope = scope_of(context, api);
        for (const Json& one : list->at("value").items())
            if (one.at("user").as_view() == args.get("--user") &&
                equal_ignoring_case(one.at("role").as_view(), args.get("--role")) &&
                equal_ignoring_case(one.at("scope").as_view(), scope))
                id = one.at("id").as_string();
        if (id.empty())
            return context.fail({Code::NotFound, "ResourceNotFound",
                                 "user '" + args.get("--user") + "' has no role '" +
                                     args.get("--role") + "' on " + words_of_scope(scope) +
                                     " (`turnout role list` shows all)",
                                 "--role"});
    }
    const Result<client::Reply> gone =
        api.send("DELETE", "/turnout/assignments/" + percent_encode(id));
    if (!gone) return context.fail(gone.error());
    context.note("the role is taken back: from now on");
    return 0;
}

int role_definitions(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> roles = (*opened)->get("/turnout/roles");
    if (!roles) return context.fail(roles.error());
    return context.show(resources::in_snake_case(roles->at("value")), roles->at("value"),
                        {"name", "type", "description"});
}

int role_actions(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> roles = (*opened)->get("/turnout/roles");
    if (!roles) return context.fail(roles.error());
    Json rows = Json::array();
    for (const Json& action : roles->at("actions").items())
        rows.push(Json::object({{"action", action}}));
    return context.show(rows, rows, {"action"});
}

int role_create(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Arguments& args = context.args();
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> role =
        (*opened)->put("/turnout/roles/" + percent_encode(*name),
                       Json::object({{"description", args.get("--description")},
                                     {"actions", texts(args.all("--action"))},
                                     {"notActions", texts(args.all("--not-action"))}}));
    if (!role) return context.fail(role.error());
    return context.show(resources::in_snake_case(*role), *role);
}

int role_delete(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<client::Reply> gone =
        (*opened)->send("DELETE", "/turnout/roles/" + percent_encode(*name));
    if (!gone) return context.fail(gone.error());
    return 0;
}

}  // namespace turnout::cli
