// environment, data and model are the same but for their names; datastores and workspaces are not
// versioned.
#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

struct Kind {
    const char* word;
    const char* path;  // in the URL
    const spec::Description& (*description)();
};

const Kind& kind_of(const Context& context) {
    static const Kind kinds[] = {{"environment", "environments", spec::environment},
                                 {"data", "data", spec::data_asset},
                                 {"model", "models", spec::model_asset}};
    for (const Kind& kind : kinds)
        if (context.args().command->words[0] == kind.word) return kind;
    return kinds[0];
}

std::string container_path(client::Api& api, const Kind& kind, const std::string& name) {
    return api.in_workspace("/" + std::string(kind.path) + "/" + percent_encode(name));
}

Result<std::string> required_name(Context& context) {
    std::string name = TURNOUT_TRY(context.name());
    if (name.starts_with("azureml:")) name.erase(0, 8);
    return name;
}

// The version asked for by -v or -l, or the newest.
Result<Json> find_version(Context& context, client::Api& api, const Kind& kind,
                          const std::string& name) {
    const std::string version = context.args().get("--version");
    if (!version.empty())
        return api.get(container_path(api, kind, name) + "/versions/" + percent_encode(version));
    if (const std::string label = context.args().get("--label");
        !label.empty() && label != "latest")
        return invalid("the only label is 'latest', not '" + label + "'", "--label");
    const Json versions = TURNOUT_TRY(api.list(
        container_path(api, kind, name) + "/versions?%24orderBy=createdtime%20desc&%24top=1", 1));
    if (versions.items().empty())
        return not_found(std::string(kind.word) + " '" + name + "' has no version");
    return versions.items()[0];
}

Result<Json> create_asset(Context& context, client::Api& api, const Kind& kind, Loaded& loaded) {
    if (Result<void> prepared = prepare(context, loaded); !prepared)
        return Failure(prepared.error());
    const Json& value = loaded.document.value;
    const std::string name = loaded.document.text("/name", value.at("name"));
    std::string version = loaded.document.text("/version", value.at("version"));
    const bool chosen = version.empty();
    if (chosen) {
        const Result<Json> container = api.get(container_path(api, kind, name));
        if (!container && container.error().code != Code::NotFound) return container;
        version = container ? container->at("properties").at("nextVersion").as_string("1") : "1";
    }
    const Json rest =
        spec::to_rest(*loaded.description, loaded.document, "", {api.settings().workspace_path()});
    Result<Json> made =
        api.put(container_path(api, kind, name) + "/versions/" + percent_encode(version), rest);
    if (!made && made.error().code == Code::Conflict && !chosen)
        made.error().message +=
            " (raise `version` in the file, or leave it out for the next free one)";
    return made;
}

}  // namespace

int asset_create(Context& context) {
    const Kind& kind = kind_of(context);
    Result<Loaded> loaded = load(context, kind.word);
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> made = create_asset(context, **opened, kind, *loaded);
    if (!made) return context.fail(made.error());
    return context.show(spec::to_entity(kind.description(), *made), *made);
}

int asset_list(Context& context) {
    const Kind& kind = kind_of(context);
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Arguments& args = context.args();
    const std::string view = args.has("--archived-only")      ? "ArchivedOnly"
                             : args.has("--include-archived") ? "All"
                                                              : "ActiveOnly";
    const std::string name = args.get("--name");
    const Result<Json> items =
        name.empty()
            ? api.list(api.in_workspace("/" + std::string(kind.path) + "?listViewType=" + view))
            : api.list(container_path(api, kind, name) + "/versions?listViewType=" + view);
    if (!items) return context.fail(items.error());
    std::size_t limit = SIZE_MAX;
    if (args.has("--max-results"))
        limit = static_cast<std::size_t>(
            std::max<std::int64_t>(1, yaml_scalar(args.get("--max-results")).as_int(1)));
    Json entities = Json::array();
    for (const Json& item : items->items())
        if (entities.items().size() < limit)
            entities.push(spec::to_entity(kind.description(), item));
    return context.show(
        entities, *items,
        {"name", "version", "latest_version", "type", "path", "image", "description"});
}

int asset_show(Context& context) {
    const Kind& kind = kind_of(context);
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = required_name(context);
    if (!name) return context.fail(name.error());
    const Result<Json> version = find_version(context, **opened, kind, *name);
    if (!version) return context.fail(version.error());
    return context.show(spec::to_entity(kind.description(), *version), *version);
}

namespace {
int set_archived(Context& context, bool archived) {
    const Kind& kind = kind_of(context);
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = required_name(context);
    if (!name) return context.fail(name.error());
    std::string path = container_path(api, kind, *name);
    if (context.args().has("--version"))
        path += "/versions/" + percent_encode(context.args().get("--version"));
    Result<Json> before = api.get(path);
    if (!before) return context.fail(before.error());
    spec::set_path(*before, "properties.isArchived", archived);
    const Result<Json> after = api.put(path, *before);
    if (!after) return context.fail(after.error());
    context.note(std::string(kind.word) + " " + *name +
                 (archived ? " is archived" : " is restored"));
    return 0;
}
}  // namespace

int asset_archive(Context& context) {
    return set_archived(context, true);
}
int asset_restore(Context& context) {
    return set_archived(context, false);
}

// ---- datastores ----

int datastore_create(Context& context) {
    Result<Loaded> loaded = load(context, "datastore");
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json rest = spec::to_rest(*loaded->description, loaded->document, "",
                              {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    const Result<Json> made = api.put(
        api.in_workspace("/datastores/" + percent_encode(name) + "?skipValidation=true"), rest);
    if (!made) return context.fail(made.error());
    return context.show(spec::to_entity(spec::blob_datastore(), *made), *made);
}

int datastore_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> stores = (*opened)->list((*opened)->in_workspace("/datastores"));
    if (!stores) return context.fail(stores.error());
    Json entities = Json::array();
    for (const Json& store : stores->items())
        entities.push(spec::to_entity(spec::blob_datastore(), store));
    return context.show(entities, *stores,
                        {"name", "type", "account_name", "container_name", "is_default"});
}

int datastore_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = required_name(context);
    if (!name) return context.fail(name.error());
    const Result<Json> store =
        (*opened)->get((*opened)->in_workspace("/datastores/" + percent_encode(*name)));
    if (!store) return context.fail(store.error());
    return context.show(spec::to_entity(spec::blob_datastore(), *store), *store);
}

int datastore_delete(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = required_name(context);
    if (!name) return context.fail(name.error());
    const Result<client::Reply> reply =
        (*opened)->send("DELETE", (*opened)->in_workspace("/datastores/" + percent_encode(*name)));
    if (!reply) return context.fail(reply.error());
    context.note("datastore " + *name + " is deleted");
    return 0;
}

// ---- workspaces ----

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
    Json rest = spec::to_rest(*loaded->description, loaded->document, "",
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
    return context.show(spec::to_entity(spec::workspace(), *made), *made);
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
        entities.push(spec::to_entity(spec::workspace(), workspace));
    return context.show(entities, *workspaces,
                        {"name", "resourceGroup", "location", "display_name"});
}

int workspace_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> workspace = (*opened)->get(workspace_path(context, **opened));
    if (!workspace) return context.fail(workspace.error());
    return context.show(spec::to_entity(spec::workspace(), *workspace), *workspace);
}

int workspace_delete(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Reply> reply =
        (*opened)->send("DELETE", workspace_path(context, **opened) + "?forceToPurge=false");
    if (!reply) return context.fail(reply.error());
    if (const Result<void> done = (*opened)->finish(*reply); !done)
        return context.fail(done.error());
    context.note("workspace " + *name + " is deleted");
    return 0;
}

// ---- every kind ----

int validate(Context& context) {
    const std::string kind = context.args().command->words[0];
    if (!context.args().has("--file"))
        return context.fail({Code::InvalidArgument, "Usage", "which file? give -f FILE", "--file"});
    const Result<Loaded> loaded = load(context, kind);
    if (!loaded) return context.fail(loaded.error());
    context.note(context.args().get("--file") + ": is valid: " + loaded->description->title);
    return 0;
}

}  // namespace turnout::cli
