#include "base/text.h"
#include "cli/commands.h"
#include "cli/several.h"
#include "resources/compute_types.h"

namespace turnout::cli {

namespace {

// The dispensable ones last.
const std::vector<std::string> kComputeColumns = {
    "name",          "size", "state", "current_instances", "max_instances", "allocation_state",
    "min_instances", "tier", "type",  "provisioning_state"};

std::string compute_path(client::Api& api, const std::string& name) {
    return api.in_workspace("/computes/" + percent_encode(name));
}

Json compute_entity(const Json& rest) {
    return resources::to_entity(resources::description_of_rest("compute", rest), rest);
}

// The REST resource wants the location outside.
Result<Json> with_location(client::Api& api, Json rest) {
    if (!rest.at("location").is_null()) return rest;
    const Json workspace = TURNOUT_TRY(api.get(api.in_workspace("")));
    if (!workspace.at("location").is_null()) rest.set("location", workspace.at("location"));
    return rest;
}

Result<Json> send_and_wait(Context& context, client::Api& api, std::string method,
                           const std::string& name, const Json& rest) {
    client::Reply reply = TURNOUT_TRY(api.send(std::move(method), compute_path(api, name), &rest));
    if (context.args().has("--no-wait")) return reply.body;
    const Result<void> done = api.finish(
        reply, [&](const std::string& state) { context.status("compute " + name + ": " + state); });
    if (!done) return Failure(done.error());
    while (true) {
        Json compute = TURNOUT_TRY(api.get(compute_path(api, name)));
        const std::string state =
            compute.at("properties").at("provisioningState").as_string("Succeeded");
        if (state == "Failed" || state == "Canceled") {
            const Json& errors = compute.at("properties").at("provisioningErrors");
            std::vector<std::string> told;
            for (const Json& one : errors.items())
                told.push_back(one.at("error").at("message").as_string(one.dump()));
            return fail(Code::FailedPrecondition, "ProvisioningFailed",
                        "compute '" + name + "' is " + state + ": " + join(told, "; "));
        }
        if (state == "Succeeded") return compute;
        context.status("compute " + name + ": " + state);
        api.loop().run(api.loop().sleep(500ms));
    }
}

}  // namespace

int compute_create(Context& context) {
    Result<Loaded> loaded = load(context, "compute");
    if (!loaded) return context.fail(loaded.error());
    const bool attach = context.args().command->words.back() == "attach";
    if (const auto* type = resources::find_compute_type(loaded->description->type))
        if (const Result<void> made = resources::check_is_made(*type, attach); !made)
            return context.fail(made.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json rest = resources::to_rest(*loaded->description, loaded->document, "",
                                   {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    Result<Json> located = with_location(api, std::move(rest));
    if (!located) return context.fail(located.error());
    const Result<Json> compute = send_and_wait(context, api, "PUT", name, *located);
    if (!compute)
        return context.fail(
            resources::in_words_of(*loaded->description, loaded->document, compute.error()));
    const bool cluster = loaded->description == &resources::aml_compute();
    for (const char* key : {"ssh_settings", "ssh_public_access_enabled"})
        if (const Json& given = loaded->document.value.at(key);
            cluster && (given.is_object() || given.as_bool()))
            context.note(std::string(key) +
                         " has no effect yet: nodes have no SSH login of their own");
    const std::string pool =
        resources::at_path(*compute, "properties.properties.propertyBag.pool").as_string();
    if (const Json& given = loaded->document.value.at("location");
        cluster && !pool.empty() && !given.as_string().empty() &&
        !equal_ignoring_case(given.as_view(), pool))
        context.note("location '" + given.as_string() +
                     "' is no pool of this server: the nodes come from pool '" + pool +
                     "' (`turnout pool list` shows all)");
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
    return context.show(entities, rests, kComputeColumns);
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
    const resources::Description& description = resources::description_of_rest("compute", *before);
    YamlDocument document;
    document.file = "compute " + *name;
    document.value = compute_entity(*before);
    document.value.erase("identity");  // as it is
    const Json was =
        resources::to_rest(description, document, "", {api.settings().workspace_path()});
    std::size_t changes = 0;
    for (const resources::Field& field : description.fields) {
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
    resources::Reading reading(document, resources::no_files());
    resources::check(description, reading);
    if (Result<void> good = resources::result_of(reading); !good) return context.fail(good.error());
    // Only what changes: others may be changing the rest.
    const Json rest = was.changes_to(
        resources::to_rest(description, document, "", {api.settings().workspace_path()}));
    const Result<Json> compute = send_and_wait(context, api, "PATCH", *name, rest);
    if (!compute)
        return context.fail(resources::in_words_of(description, document, compute.error()));
    return context.show(compute_entity(*compute), *compute);
}

namespace {
int set_power(Context& context, const char* verb) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    Result<client::Reply> reply = api.send("POST", compute_path(api, *name) + "/" + verb, nullptr);
    if (!reply) return context.fail(reply.error());
    if (!context.args().has("--no-wait")) {
        const Result<void> done = api.finish(*reply, [&](const std::string&) {
            const Result<Json> now = api.get(compute_path(api, *name));
            std::string words;
            if (now) {
                const Json& inner = now->at("properties").at("properties");
                words = inner.at("state").as_string();
                for (const Json& one : inner.at("errors").items())
                    words += ": " + one.at("error").at("message").as_string();
            }
            context.status("compute " + *name + ": " + words);
        });
        if (!done) return context.fail(done.error());
    }
    const Result<Json> compute = api.get(compute_path(api, *name));
    if (!compute) return context.fail(compute.error());
    return context.show(compute_entity(*compute), *compute);
}
}  // namespace

int compute_start(Context& context) {
    return set_power(context, "start");
}
int compute_stop(Context& context) {
    return set_power(context, "stop");
}
int compute_restart(Context& context) {
    return set_power(context, "restart");
}

namespace {
int let_go(Context& context, bool detach) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::vector<std::string>> names = context.names();
    if (!names) return context.fail(names.error());
    const auto waits_for = [&](const std::string& name) {
        const Result<Json> answer = api.post(compute_path(api, name) + "/listNodes");
        std::string words;
        if (!answer) return words;
        for (const Json& node : answer->at("nodes").items()) {
            const std::string job = node.at("runId").as_string();
            words += (words.empty() ? "waits for " : ", ") + node.at("nodeId").as_string() + " (" +
                     (job.empty() ? node.at("nodeState").as_string()
                                  : "job " + job + " is being stopped") +
                     ")";
        }
        return words;
    };
    return do_to_each(
        context, api, *names,
        {.noun = "compute",
         .doing = detach ? "detaching" : "deleting",
         .done = detach ? "detached" : "deleted",
         .asked = "asked to go:",
         .detail = detach ? "what is there of this server goes" : "its nodes are leaving",
         .ask =
             [&](const std::string& name) {
                 return client::Api::Request{
                     "DELETE",
                     compute_path(api, name) +
                         "?underlyingResourceAction=" + (detach ? "Detach" : "Delete"),
                     {}};
             },
         .waits_for = waits_for});
}
}  // namespace

int compute_delete(Context& context) {
    return let_go(context, equal_ignoring_case(context.args().get("--action"), "detach"));
}
int compute_detach(Context& context) {
    return let_go(context, true);
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
            if (!value.is_null() && key != "properties")
                entity.set(resources::camel_to_snake(key), value);
        const Json& machine = node.at("properties");
        for (const auto& [key, value] : machine.members())
            entity.set(resources::camel_to_snake(key), resources::in_snake_case(value));
        // For the table; the numbers are beside it.
        if (const std::int64_t bytes = machine.at("memoryBytes").as_int(); bytes > 0)
            entity.set("memory", to_size_words(static_cast<std::uint64_t>(bytes)));
        if (const auto& gpus = machine.at("gpus").items(); !gpus.empty())
            entity.set("gpu", std::to_string(gpus.size()) + " x " +
                                  gpus.front().at("model").as_string("unknown"));
        nodes.push(std::move(entity));
    }
    return context.show(nodes, answer->at("nodes"),
                        {"node_id", "node_state", "run_id", "private_ip_address", "port", "cores",
                         "memory", "gpu", "problem"});
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
            const std::string name = key == "vCPUs" ? "v_cpus" : resources::camel_to_snake(key);
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
        {"name", "v_cpus", "memory_gb", "gpus", "family", "low_priority_capable", "fits"});
}
int compute_capabilities(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> all = (*opened)->get("/turnout/capabilities");
    if (!all) return context.fail(all.error());
    std::vector<std::string> columns = {"type"};
    for (const resources::NamedAbility& one : resources::abilities())
        columns.emplace_back(one.name);
    return context.show(resources::in_snake_case(all->at("value")), all->at("value"), columns);
}
int compute_list_usage(Context& context) {
    return list_of_location(context, "usages", {"name", "current_value", "limit", "unit"});
}

}  // namespace turnout::cli
