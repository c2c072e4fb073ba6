// Workspaces, by their path above all else.
#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {
// -n names it for `workspace` commands, -w works as well.
std::string workspace_path(Context& context, client::Api& api) {
    client::Settings settings = api.settings();
    if (context.args().has("--name")) settings.workspace_name = context.args().get("--name");
    return settings.workspace_path();
}
}  // namespace

int workspace_create(Context& context) {
    Result<Loaded> loaded = load(context, "workspace");
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json rest = resources::to_rest(*loaded->description, loaded->document, "",
                                   {api.settings().workspace_path()});
    client::Settings settings = api.settings();
    settings.workspace_name = rest.at("name").as_string();
    rest.erase("name");
    if (!rest.has("properties")) rest.set("properties", Json::object());
    if (!rest.has("location")) {
        const Result<Json> other = api.get(api.in_workspace(""));
        rest.set("location", other && !other->at("location").is_null() ? other->at("location")
                                                                       : Json("westus"));
    }
    const Result<client::Reply> reply = api.send("PUT", settings.workspace_path(), &rest);
    if (!reply) return context.fail(reply.error());
    if (const Result<void> done = api.finish(*reply); !done) return context.fail(done.error());
    const Result<Json> made = api.get(settings.workspace_path());
    if (!made) return context.fail(made.error());
    return context.show(resources::to_entity(resources::workspace(), *made), *made);
}

int workspace_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const std::string provider = "/providers/Microsoft.MachineLearningServices/workspaces";
    const Result<Json> workspaces = api.list(
        context.args().has("--resource-group")
            ? api.settings().group_path() + provider
            : "/subscriptions/" + percent_encode(api.settings().subscription_id) + provider);
    if (!workspaces) return context.fail(workspaces.error());
    Json entities = Json::array();
    for (const Json& workspace : workspaces->items())
        entities.push(resources::to_entity(resources::workspace(), workspace));
    return context.show(entities, *workspaces,
                        {"name", "resourceGroup", "location", "display_name"});
}

int workspace_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> workspace = (*opened)->get(workspace_path(context, **opened));
    if (!workspace) return context.fail(workspace.error());
    return context.show(resources::to_entity(resources::workspace(), *workspace), *workspace);
}

int workspace_delete(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Reply> reply = (*opened)->send(
        "DELETE", workspace_path(context, **opened) + "?forceToPurge=" +
                      (context.args().has("--permanently-delete") ? "true" : "false"));
    if (!reply) return context.fail(reply.error());
    if (context.args().has("--no-wait")) return 0;
    if (const Result<void> done = (*opened)->finish(*reply); !done)
        return context.fail(done.error());
    context.note("workspace " + *name + " is deleted");
    return 0;
}

}  // namespace turnout::cli
