// `validate` of every kind: the checks of the description, and the server's own.
#include "base/text.h"
#include "cli/commands.h"
#include "submission/job.h"

namespace turnout::cli {

// What the server would refuse of it, as far as that can be known here: by the server's own rules,
// with stand-ins for what would be uploaded first.
Result<void> check_as_server_does(const Context& context, Loaded& loaded) {
    const std::string& kind = loaded.description->kind;
    if (kind != "job" && kind != "environment" && kind != "component") return {};
    Workspace workspace;  // what is not known may be any
    if (const Result<client::Settings> settings = context.settings()) {
        workspace.subscription = settings->subscription_id;
        workspace.resource_group = settings->resource_group;
        workspace.name = settings->workspace_name;
    }
    Json& value = loaded.document.value;
    for (const resources::LocalPath& local : loaded.local)
        *part_at(value, local.pointer) =
            Json(local.role == resources::LocalPath::Role::Code
                     ? "azureml:code:1"
                     : "azureml://datastores/workspaceblobstore/paths/upload");
    Workspace named = workspace;
    for (std::string* const part : {&named.subscription, &named.resource_group, &named.name})
        if (part->empty()) *part = "-";
    const Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                         {turnout::workspace_path(named)});
    const std::string name = loaded.document.text("/name", value.at("name"));
    std::vector<Error> problems;
    if (kind == "job")
        problems =
            submission::problems_of(rest.at("properties"), workspace, name.empty() ? "job" : name);
    else if (const Result<void> good =
                 kind == "component" ? submission::check_component(rest.at("properties"))
                                     : submission::check_environment(name, rest.at("properties"));
             !good)
        problems.push_back(good.error());
    std::string text;
    for (const Error& problem : problems) {
        const std::string said =
            resources::in_words_of(*loaded.description, loaded.document, problem).message;
        const bool placed = said.starts_with(loaded.document.file + ":") || said.starts_with("--");
        text += (text.empty() ? "" : "\n") + (placed ? said : loaded.document.file + ": " + said);
    }
    if (text.empty()) return {};
    return fail(Code::InvalidArgument, "ValidationError", std::move(text),
                problems.front().subject);
}

int validate(Context& context) {
    const std::string kind = context.args().command->words[0];
    if (!context.args().has("--file"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "which file? give it: `turnout " + kind + " validate FILE`",
                             "--file"});
    Result<Loaded> loaded = load(context, kind);
    if (!loaded) return context.fail(loaded.error());
    if (const Result<void> good = check_as_server_does(context, *loaded); !good)
        return context.fail(good.error());
    context.note(loaded->document.file + ": is valid: " + loaded->description->title);
    return 0;
}

}  // namespace turnout::cli
