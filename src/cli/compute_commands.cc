#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

const std::vector<std::string> kColumns = {"name",
                                           "type",
                                           "size",
                                           "tier",
                                           "min_instances",
                                           "max_instances",
                                           "current_instances",
                                           "allocation_state",
                                           "provisioning_state"};

std::string compute_path(client::Api& api, const std::string& name) {
    return api.in_workspace("/computes/" + percent_encode(name));
}

Json compute_entity(const Json& rest) {
    return spec::to_entity(spec::aml_compute(), rest);
}

// The REST resource wants the location outside.
Result<Json> with_location(client::Api& api, Json rest) {
    if (!rest.at("location").is_null()) return rest;
    const Json workspace = TURNOUT_TRY(api.get(api.in_workspace("")));
    if (!workspace.at("location").is_null()) rest.set("location", workspace.at("location"));
    return rest;
}

Result<Json> put_and_wait(Context& context, client::Api& api, const std::string& name,
                          const Json& rest) {
    client::Reply reply = TURNOUT_TRY(api.send("PUT", compute_path(api, name), &rest));
    if (context.args().has("--no-wait")) return reply.body;
    const Result<void> done = api.finish(
        reply, [&](const std::string& state) { context.status("compute " + name + ": " + state); });
    if (!done) return Failure(done.error());
    while (true) {
        Json compute = TURNOUT_TRY(api.get(compute_path(api, name)));
        const std::string state =
            compute.at("properties").at("provisioningState").as_string("Succeeded");
        if (state == "Failed" || state == "Canceled")
            return fail(Code::FailedPrecondition, "ProvisioningFailed",
                        "compute '" + name + "' ended as " + state + ": " +
                            compute.at("properties").at("provisioningErrors").dump());
        if (state == "Succeeded") return compute;
        context.status("compute " + name + ": " + state);
        api.loop().run(api.loop().sleep(500ms));
    }
}

}  // namespace

int compute_create(Context& context) {
    Result<Loaded> loaded = load(context, "compute");
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json rest = spec::to_rest(*loaded->description, loaded->document, "",
                              {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    Result<Json> located = with_location(api, std::move(rest));
    if (!located) return context.fail(located.error());
    const Result<Json> compute = put_and_wait(context, api, name, *located);
    if (!compute)
        return context.fail(
            spec::in_words_of(*loaded->description, loaded->document, compute.error()));
    for (const char* key : {"ssh_settings", "ssh_public_access_enabled"})
        if (const Json& given = loaded->document.value.at(key);
            given.is_object() || given.as_bool())
            context.note(std::string(key) +
                         " has no effect yet: nodes have no SSH login of their own");
    return context.show(compute_entity(*compute), *compute);
}

int compute_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> computes = (*opened)->list((*opened)->in_workspace("/computes"));
    if (!computes) return context.fail(computes.error());
    Json entities = Json::array(), rests = Json::array();
    for (const Json& compute : computes->items()) {
        Json entity = compute_entity(compute);
        if (context.args().has("--type") &&
            !equal_ignoring_case(entity.at("type").as_view(), context.args().get("--type")))
            continue;
        entities.push(std::move(entity));
        rests.push(compute);
    }
    return context.show(entities, rests, kColumns);
}

int compute_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> compute = (*opened)->get(compute_path(**opened, *name));
    if (!compute) return context.fail(compute.error());
    return context.show(compute_entity(*compute), *compute);
}

int compute_update(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> before = api.get(compute_path(api, *name));
    if (!before) return context.fail(before.error());
    YamlDocument document;
    document.file = "compute " + *name;
    document.value = compute_entity(*before);
    document.value.erase("identity");  // sent back below as it was
    std::size_t changes = 0;
    for (const spec::Field& field : spec::aml_compute().fields) {
        if (field.flag.empty() || !context.args().has(field.flag) || field.flag == "--name")
            continue;
        ++changes;
        if (Result<void> set =
                apply_set(document, field.yaml + "=" + context.args().get(field.flag));
            !set)
            return context.fail(set.error());
        document.overrides["/" + field.yaml] = field.flag;
    }
    for (const std::string& assignment : context.args().all("--set")) {
        ++changes;
        if (Result<void> set = apply_set(document, assignment); !set)
            return context.fail(set.error());
    }
    if (changes == 0)
        return context.fail({Code::InvalidArgument, "Usage",
                             "what to change? give --max-instances, --min-instances, "
                             "--idle-time-before-scale-down or --set",
                             ""});
    const spec::LocalFiles files{.folder = "/",
                                 .kind = [](const std::string&) { return spec::PathKind::Absent; },
                                 .read = {}};
    spec::Reading reading(document, files);
    spec::check(spec::aml_compute(), reading);
    if (Result<void> good = spec::result_of(reading); !good) return context.fail(good.error());
    Json rest = spec::to_rest(spec::aml_compute(), document, "", {api.settings().workspace_path()});
    rest.erase("name");
    for (const char* key : {"location", "identity"})
        if (!rest.has(key) && !before->at(key).is_null()) rest.set(key, before->at(key));
    const Result<Json> compute = put_and_wait(context, api, *name, rest);
    if (!compute)
        return context.fail(spec::in_words_of(spec::aml_compute(), document, compute.error()));
    return context.show(compute_entity(*compute), *compute);
}

int compute_delete(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Reply> reply =
        api.send("DELETE", compute_path(api, *name) + "?underlyingResourceAction=Delete");
    if (!reply) return context.fail(reply.error());
    if (context.args().has("--no-wait")) return 0;
    const Result<void> done = api.finish(*reply, [&](const std::string&) {
        context.status("compute " + *name + ": its nodes are leaving");
    });
    if (!done) return context.fail(done.error());
    context.note("compute " + *name + " is deleted");
    return 0;
}

int compute_list_nodes(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> answer = api.post(compute_path(api, *name) + "/listNodes");
    if (!answer) return context.fail(answer.error());
    Json nodes = Json::array();
    for (const Json& node : answer->at("nodes").items()) {
        Json entity = Json::object();
        for (const auto& [key, value] : node.members())
            if (!value.is_null()) entity.set(spec::camel_to_snake(key), value);
        nodes.push(std::move(entity));
    }
    return context.show(nodes, answer->at("nodes"),
                        {"node_id", "node_state", "run_id", "private_ip_address", "port"});
}

namespace {
int list_of_location(Context& context, const char* what, const std::vector<std::string>& columns) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    std::string location = context.args().get("--location");
    if (location.empty()) {
        const Result<Json> workspace = api.get(api.in_workspace(""));
        if (!workspace) return context.fail(workspace.error());
        location = workspace->at("location").as_string("westus");
    }
    const Result<Json> items =
        api.list("/subscriptions/" + percent_encode(api.settings().subscription_id) +
                 "/providers/Microsoft.MachineLearningServices/locations/" +
                 percent_encode(location) + "/" + what);
    if (!items) return context.fail(items.error());
    Json entities = Json::array();
    for (const Json& item : items->items()) {
        Json entity = Json::object();
        for (const auto& [key, value] : item.members()) {
            // "vCPUs" is one word to Azure too
            const std::string name = key == "vCPUs" ? "v_cpus" : spec::camel_to_snake(key);
            entity.set(name, key == "name" && value.is_object() ? value.at("value") : value);
        }
        entities.push(std::move(entity));
    }
    return context.show(entities, *items, columns);
}
}  // namespace

int compute_list_sizes(Context& context) {
    return list_of_location(
        context, "vmSizes",
        {"name", "v_cpus", "memory_gb", "gpus", "family", "low_priority_capable"});
}
int compute_list_usage(Context& context) {
    return list_of_location(context, "usages", {"name", "current_value", "limit", "unit"});
}

}  // namespace turnout::cli
