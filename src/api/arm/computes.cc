// Computes: AmlCompute clusters on the default pool.
#include <algorithm>

#include "api/arm/regions.h"
#include "api/arm/resource.h"
#include "base/text.h"
#include "model/compute.h"

namespace turnout::api::arm {
namespace {

constexpr int kMaxNodes = 1000;
constexpr int kMaxJobsPerNode = 64;
constexpr std::string_view kJobsPerNode = "turnout.jobs_per_node";
constexpr Span kDefaultIdle = 120s;
constexpr Span kLongestIdle = std::chrono::hours(24 * 7);
constexpr std::size_t kMaxComputes = 10'000;

std::string id_of(const Workspace& workspace, std::string_view name) {
    return workspace_path(workspace) + "/computes/" + std::string(name);
}

struct Census {
    int preempted = 0;  // of those that run: they give way
    int idle = 0, running = 0, preparing = 0, unusable = 0, leaving = 0;
    int current() const { return idle + running + unusable + leaving; }
    int staying() const { return idle + running + unusable + preparing; }
    Instant changed{};
    Json errors = Json::array();
};

Census count(const std::vector<Node>& nodes) {
    Census census;
    for (const Node& node : nodes) {
        if (node.gives_way) ++census.preempted;
        census.changed = std::max(census.changed, node.state_since);
        switch (node.state) {
            case NodeState::Provisioning: ++census.preparing; break;
            case NodeState::Idle: ++census.idle; break;
            case NodeState::Running: ++census.running; break;
            case NodeState::Leaving: ++census.leaving; break;
            case NodeState::Unusable:
                ++census.unusable;
                census.errors.push(Json::object(
                    {{"error",
                      Json::object({{"code", "NodeUnusable"},
                                    {"message", "node '" + node.name + "': " + node.problem}})}}));
                break;
        }
    }
    return census;
}

Result<Json> body_of(Services& services, const Workspace& workspace, const Compute& compute) {
    const Census census = count(services.control.nodes_of(compute.workspace, compute.name));
    const int target = compute.deleting
                           ? 0
                           : std::clamp(census.staying(), compute.min_nodes,
                                        std::max(compute.min_nodes, compute.max_nodes));
    const bool steady = census.preparing == 0 && census.leaving == 0 &&
                        census.current() == target && !compute.deleting;

    Json inner = compute.definition.at("properties").is_object()
                     ? compute.definition.at("properties")
                     : Json::object();
    inner.set("vmSize", compute.vm_size);
    inner.set("vmPriority", compute.tier == Tier::LowPriority ? "LowPriority" : "Dedicated");
    inner.set("osType", "Linux");
    inner.set("scaleSettings",
              Json::object({
                  {"minNodeCount", compute.min_nodes},
                  {"maxNodeCount", compute.max_nodes},
                  {"nodeIdleTimeBeforeScaleDown", to_duration(compute.idle_before_scale_down)},
              }));
    inner.set("allocationState", steady ? "Steady" : "Resizing");
    inner.set("allocationStateTransitionTime",
              to_iso8601(std::max(census.changed, compute.modified)));
    inner.set("errors", census.errors.items().empty() ? Json() : census.errors);
    inner.set("currentNodeCount", census.current());
    inner.set("targetNodeCount", target);
    inner.set("nodeStateCounts", Json::object({
                                     {"idleNodeCount", census.idle},
                                     {"runningNodeCount", census.running},
                                     {"preparingNodeCount", census.preparing},
                                     {"unusableNodeCount", census.unusable},
                                     {"leavingNodeCount", census.leaving},
                                     {"preemptedNodeCount", census.preempted},
                                 }));

    const std::string location = compute.envelope.at("location").as_string(workspace.location);
    Json properties = compute.definition;
    properties.set("computeType", "AmlCompute");
    properties.set("computeLocation", location);
    properties.set("provisioningState", compute.deleting ? "Deleting" : "Succeeded");
    properties.set("provisioningErrors", Json());
    properties.set("createdOn", to_iso8601(compute.created));
    properties.set("modifiedOn", to_iso8601(compute.modified));
    properties.set("isAttachedCompute", false);
    properties.set("properties", std::move(inner));

    Json body = envelope(id_of(workspace, compute.name), compute.name, "workspaces/computes",
                         std::move(properties));
    body.set("location", location);
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (compute.envelope.has(member)) body.set(member, compute.envelope.at(member));
    body.set("systemData", system_data(compute.created, compute.modified));
    return body;
}

Result<std::vector<Compute>> computes_of(Services& services, const Workspace& workspace) {
    std::vector<Compute> computes;
    for (const Record& record : TURNOUT_TRY(
             services.store.scan(Table::Compute, with_prefix(workspace.id + "/", kMaxComputes)))) {
        const Json document = TURNOUT_TRY(parse_json(record.value));
        Compute compute = TURNOUT_TRY(compute_from_json(document));
        if (!compute.implicit) computes.push_back(std::move(compute));
    }
    return computes;
}

Result<std::optional<Compute>> stored(Services& services, const Workspace& workspace,
                                      const std::string& name) {
    auto record = TURNOUT_TRY(services.store.get(Table::Compute, workspace.id + "/" + name));
    if (!record) return std::nullopt;
    const Json document = TURNOUT_TRY(parse_json(record->value));
    return TURNOUT_TRY(compute_from_json(document));
}

Result<Compute> find(Services& services, const Workspace& workspace, const std::string& name) {
    auto found = TURNOUT_TRY(stored(services, workspace, name));
    if (found && !found->implicit) return std::move(*found);
    std::vector<std::string> names;
    for (const Compute& compute : TURNOUT_TRY(computes_of(services, workspace)))
        names.push_back(compute.name);
    return not_found("compute '" + name + "' does not exist" + did_you_mean(name, names),
                     "compute");
}

// ---- PUT

Result<void> check_name(std::string_view name) {
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    const bool fits = name.size() >= 2 && name.size() <= 32 && letter(name.front()) &&
                      name.back() != '-' && std::ranges::all_of(name, [&](char c) {
                          return letter(c) || (c >= '0' && c <= '9') || c == '-';
                      });
    if (!fits)
        return fail(Code::InvalidArgument, "InvalidComputeName",
                    "compute name '" + std::string(name.substr(0, 64)) +
                        "': expected 2 to 32 letters, digits and '-', beginning with a letter and "
                        "not ending with '-'",
                    "name");
    if (name == "serverless" || name == "local")
        return fail(
            Code::InvalidArgument, "InvalidComputeName",
            "the name '" + std::string(name) + "' is taken: jobs without a compute run there",
            "name");
    return {};
}

Result<int> node_count(const Json& settings, std::string_view field, int fallback) {
    const Json& value = settings.at(field);
    if (value.is_null()) return fallback;
    if (!value.is_int())
        return invalid(std::string(field) + " must be a whole number",
                       "properties.properties.scaleSettings." + std::string(field));
    if (value.as_int() < 0 || value.as_int() > kMaxNodes)
        return invalid(std::string(field) + " must be between 0 and " + std::to_string(kMaxNodes) +
                           ", not " + std::to_string(value.as_int()),
                       "properties.properties.scaleSettings." + std::string(field));
    return static_cast<int>(value.as_int());
}

Result<void> read_scale_settings(const Json& settings, Compute& compute) {
    if (!settings.is_null() && !settings.is_object())
        return invalid("scaleSettings must be an object", "properties.properties.scaleSettings");
    compute.min_nodes = TURNOUT_TRY(node_count(settings, "minNodeCount", compute.min_nodes));
    compute.max_nodes = TURNOUT_TRY(
        node_count(settings, "maxNodeCount", std::max(compute.max_nodes, compute.min_nodes)));
    if (compute.min_nodes > compute.max_nodes)
        return invalid("minNodeCount (" + std::to_string(compute.min_nodes) +
                           ") is larger than maxNodeCount (" + std::to_string(compute.max_nodes) +
                           ")",
                       "properties.properties.scaleSettings.minNodeCount");
    const Json& idle = settings.at("nodeIdleTimeBeforeScaleDown");
    if (!idle.is_null()) {
        const std::string field = "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown";
        const auto span = parse_duration(idle.as_view());
        if (!span)
            return invalid("nodeIdleTimeBeforeScaleDown must be a duration such as PT120S, not '" +
                               idle.as_string(idle.dump()) + "'",
                           field);
        if (*span < 0s || *span > kLongestIdle)
            return invalid("nodeIdleTimeBeforeScaleDown must be between PT0S and P7D", field);
        compute.idle_before_scale_down = *span;
    }
    return {};
}

// Azure has no member for this: a tag of the compute says how many small jobs share a node.
Result<void> read_jobs_per_node(const Json& tags, Compute& compute) {
    compute.jobs_per_node = 1;
    const Json& tag = tags.at(kJobsPerNode);
    if (tag.is_null()) return {};
    const std::string text = tag.is_int() ? tag.dump() : tag.as_string();
    const std::optional<std::int64_t> number = parse_whole_number(text);
    if (!number || *number < 1 || *number > kMaxJobsPerNode)
        return invalid("the tag " + std::string(kJobsPerNode) + " must be a number from 1 to " +
                           std::to_string(kMaxJobsPerNode) + ", not '" + text.substr(0, 40) + "'",
                       "tags." + std::string(kJobsPerNode));
    compute.jobs_per_node = static_cast<int>(*number);
    return {};
}

Result<void> read_size(const Services& services, const Json& properties, Compute& compute) {
    const std::string wanted = properties.at("vmSize").as_string();
    const std::string field = "properties.properties.vmSize";
    if (wanted.empty())
        return invalid("an AmlCompute needs a vmSize such as 'STANDARD_DS3_v2'", field);
    const VmSize* size = find_vm_size(wanted);
    if (!size) {
        std::vector<std::string> names;
        for (const VmSize& other : vm_sizes()) names.push_back(other.name);
        std::string upper;
        for (const char c : wanted) upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
        return fail(Code::InvalidArgument, "InvalidVmSize",
                    "vmSize '" + wanted.substr(0, 64) + "' is not known" +
                        did_you_mean(upper, names) + " ('turnout compute list-sizes' shows all)",
                    field);
    }
    if (size->gpus > services.info.pool.gpus)
        return fail(Code::InvalidArgument, "GpuNotAvailable",
                    "vmSize '" + wanted + "' has " + std::to_string(size->gpus) + " GPU" +
                        (size->gpus == 1 ? "" : "s") + " and this machine has " +
                        std::to_string(services.info.pool.gpus) + ": choose a size without a GPU",
                    field);
    compute.vm_size = wanted;
    return {};
}

// What only the server says, taken out of what a client may have got and sent back.
void remove_read_only(Json& definition) {
    for (const std::string_view member : {"provisioningState", "provisioningErrors", "createdOn",
                                          "modifiedOn", "isAttachedCompute", "computeLocation"})
        definition.erase(member);
    Json* inner = definition.find("properties");
    if (!inner || !inner->is_object()) return;
    for (const std::string_view member :
         {"allocationState", "allocationStateTransitionTime", "errors", "currentNodeCount",
          "targetNodeCount", "nodeStateCounts"})
        inner->erase(member);
}

Result<Compute> read_compute(const Services& services, const Workspace& workspace,
                             const std::string& name, const Json& body,
                             const std::optional<Compute>& before) {
    TURNOUT_TRY(check_name(name));
    const Json& definition = body.at("properties");
    const std::string type = definition.at("computeType").as_string();
    if (!equal_ignoring_case(type, "AmlCompute"))
        return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                    type.empty()
                        ? "the compute has no computeType: this server runs 'AmlCompute' clusters"
                        : "computes of type '" + type.substr(0, 64) +
                              "' do not run yet: this server runs 'AmlCompute' clusters, and jobs "
                              "without a compute on this machine",
                    "properties.computeType");
    const Json& inner = definition.at("properties");
    if (!inner.is_object())
        return invalid("an AmlCompute needs 'properties' with its vmSize", "properties.properties");

    Compute compute;
    compute.workspace = workspace.id;
    compute.name = name;
    compute.definition = definition;
    remove_read_only(compute.definition);
    std::string location = TURNOUT_TRY(checked_location(body.at("location").as_view()));
    if (location.empty())
        location = before ? before->envelope.at("location").as_string(workspace.location)
                          : workspace.location;
    compute.envelope = Json::object({{"location", location}});
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (body.at(member).is_object()) compute.envelope.set(member, body.at(member));

    TURNOUT_TRY(price_per_hour(compute));
    TURNOUT_TRY(read_size(services, inner, compute));
    const std::string priority = inner.at("vmPriority").as_string("Dedicated");
    if (equal_ignoring_case(priority, "LowPriority")) {
        compute.tier = Tier::LowPriority;
    } else if (!equal_ignoring_case(priority, "Dedicated")) {
        return invalid(
            "vmPriority is Dedicated or LowPriority, not '" + priority.substr(0, 40) + "'",
            "properties.properties.vmPriority");
    }
    if (const std::string os = inner.at("osType").as_string("Linux");
        !equal_ignoring_case(os, "Linux"))
        return invalid("nodes run Linux, not '" + os.substr(0, 40) + "'",
                       "properties.properties.osType");
    // SSH login has no effect yet: what is shown says so. The credentials are write-only.
    if (Json* kept = compute.definition.find("properties")) {
        kept->erase("userAccountCredentials");
        if (equal_ignoring_case(inner.at("remoteLoginPortPublicAccess").as_view(), "Enabled"))
            kept->set("remoteLoginPortPublicAccess", "Disabled");
    }
    compute.min_nodes = 0;
    compute.max_nodes = 1;
    compute.idle_before_scale_down = kDefaultIdle;
    TURNOUT_TRY(read_scale_settings(inner.at("scaleSettings"), compute));
    TURNOUT_TRY(read_jobs_per_node(compute.envelope.at("tags"), compute));

    if (before) {
        compute.created = before->created;
        const auto word = [](Tier tier) {
            return tier == Tier::LowPriority ? "LowPriority" : "Dedicated";
        };
        std::vector<std::string> differs;
        if (!equal_ignoring_case(before->vm_size, compute.vm_size))
            differs.push_back("vmSize '" + before->vm_size + "', not '" + compute.vm_size + "'");
        if (before->tier != compute.tier)
            differs.push_back(std::string("vmPriority '") + word(before->tier) + "', not '" +
                              word(compute.tier) + "'");
        if (!differs.empty())
            return fail(Code::Conflict, "ComputeUpdateNotSupported",
                        "compute '" + name + "' exists with " + join(differs, ", and ") +
                            "; that cannot change: ask for what it has, delete it first, or choose "
                            "another name",
                        std::string("properties.properties.") +
                            (differs[0].starts_with("vmSize") ? "vmSize" : "vmPriority"));
    }
    return compute;
}

Answer save(Services& services, Workspace workspace, Compute compute) {
    const Instant now = services.clock.now();
    const std::string name = compute.name;
    if (compute.created == Instant{}) compute.created = now;
    compute.modified = now;
    TURNOUT_CO_TRY(const Put put, co_await asked<Put>([&](auto reply) {
                       services.control.put_compute(std::move(compute), std::move(reply));
                   }));
    TURNOUT_CO_TRY(const Compute saved, find(services, workspace, name));
    TURNOUT_CO_TRY(const Json body, body_of(services, workspace, saved));
    http::Response response = json_response(put == Put::Created ? 201 : 200, body);
    response.headers.set("Retry-After", "1");
    co_return response;
}

Failure being_deleted(const std::string& name) {
    return fail(Code::Conflict, "ComputeBeingDeleted",
                "compute '" + name + "' is being deleted: try again when it is gone", "compute");
}

Answer put_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY(const auto before, stored(services, workspace, name));
    if (before && before->deleting) co_return being_deleted(name);
    TURNOUT_CO_TRY(Compute compute, read_compute(services, workspace, name, body, before));
    co_return co_await save(services, workspace, std::move(compute));
}

// Only what may change: the scale settings and the tags.
Answer patch_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(Compute compute, find(services, workspace, call.param("name")));
    if (compute.deleting) co_return being_deleted(compute.name);
    const Json& scale = body.at("properties").at("properties").at("scaleSettings").is_object()
                            ? body.at("properties").at("properties").at("scaleSettings")
                            : body.at("properties").at("scaleSettings");
    TURNOUT_CO_TRY_VOID(read_scale_settings(scale, compute));
    if (body.at("tags").is_object()) compute.envelope.set("tags", body.at("tags"));
    TURNOUT_CO_TRY([[maybe_unused]] const auto price, price_per_hour(compute));
    TURNOUT_CO_TRY_VOID(read_jobs_per_node(compute.envelope.at("tags"), compute));
    co_return co_await save(services, workspace, std::move(compute));
}

// ---- the rest

Answer get_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Compute compute, find(services, workspace, call.param("name")));
    TURNOUT_CO_TRY(const Json body, body_of(services, workspace, compute));
    http::Response response = json_response(200, body);
    response.headers.set("Retry-After", "1");
    co_return response;
}

Answer list_computes(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const auto computes, computes_of(services, workspace));
    std::vector<Json> bodies;
    for (const Compute& compute : computes) {
        TURNOUT_CO_TRY(Json body, body_of(services, workspace, compute));
        bodies.push_back(std::move(body));
    }
    co_return page_of(
        call, bodies.size(), [&](std::size_t i) { return computes[i].name; },
        [&](std::size_t i) { return bodies[i]; });
}

Answer delete_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = call.param("name");
    TURNOUT_CO_TRY([[maybe_unused]] const Compute compute, find(services, workspace, name));
    if (equal_ignoring_case(call.query_value("underlyingResourceAction"), "Detach"))
        co_return invalid(
            "an AmlCompute cannot be detached, only deleted: it has no machines but those the "
            "server gave it",
            "underlyingResourceAction");
    TURNOUT_CO_TRY_VOID(co_await asked<void>([&](auto reply) {
        services.control.delete_compute(workspace.id, name, std::move(reply));
    }));
    co_return accepted(call, workspace, "deleteCompute", name);
}

Answer list_nodes(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    // "serverless" is not listed, but whoever knows it may look at its nodes.
    TURNOUT_CO_TRY(auto compute, stored(services, workspace, call.param("name")));
    if (!compute) {
        TURNOUT_CO_TRY(compute, find(services, workspace, call.param("name")));
    }
    const std::vector<Node> nodes = services.control.nodes_of(compute->workspace, compute->name);
    Json list = Json::array();
    for (const Node& node : nodes)
        list.push(Json::object({
            {"nodeId", node.name},
            {"privateIpAddress", "127.0.0.1"},
            {"publicIpAddress", Json()},
            {"port", Json()},
            {"nodeState", node.state == NodeState::Provisioning ? std::string_view("preparing")
                                                                : name_of(node.state)},
            {"runId", node.job.empty() ? Json() : Json(node.job)},
        }));
    co_return json_response(200, Json::object({{"nodes", std::move(list)}}));
}

Answer list_keys(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY([[maybe_unused]] const Compute compute,
                   find(services, workspace, call.param("name")));
    co_return json_response(200, Json::object({{"computeType", "AmlCompute"}}));
}

Answer refuse_power(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Compute compute, find(services, workspace, call.param("name")));
    co_return fail(Code::InvalidArgument, "OperationNotSupported",
                   "cluster '" + compute.name +
                       "' starts and stops its nodes by itself, between minNodeCount and "
                       "maxNodeCount: change those instead",
                   "compute");
}

Answer list_sizes(Services&, Call& call) {
    TURNOUT_CO_TRY([[maybe_unused]] const std::string location,
                   checked_location(call.param("location")));
    Json sizes = Json::array();
    for (const VmSize& size : vm_sizes())
        sizes.push(Json::object({
            {"name", size.name},
            {"family", size.family},
            {"vCPUs", size.cores},
            {"gpus", size.gpus},
            {"osVhdSizeMB", 1'047'552},
            {"maxResourceVolumeMB", size.resource_disk_mb},
            {"memoryGB", size.memory_gb},
            {"lowPriorityCapable", true},
            {"premiumIO", size.premium_io},
            {"supportedComputeTypes", Json::array({"AmlCompute"})},
        }));
    co_return json_response(200, Json::object({{"value", std::move(sizes)}}));
}

// The only quota there is: the slots of the default pool.
Answer list_usages(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string location, checked_location(call.param("location")));
    TURNOUT_CO_TRY(const auto workspaces, services.assets.list_workspaces(call.param("sub"), ""));
    std::int64_t nodes = 0;
    for (const Workspace& workspace : workspaces) {
        TURNOUT_CO_TRY(
            const auto records,
            services.store.scan(Table::Node, with_prefix(workspace.id + "/", kMaxComputes)));
        nodes += static_cast<std::int64_t>(records.size());
    }
    Json usage = Json::object({
        {"id", "/subscriptions/" + call.param("sub") +
                   "/providers/Microsoft.MachineLearningServices/locations/" + location +
                   "/usages/slots"},
        {"amlWorkspaceLocation", location},
        {"type", "Microsoft.MachineLearningServices/usages"},
        {"unit", "Count"},
        {"currentValue", nodes},
        {"limit", services.info.pool.slots},
        {"name", Json::object({{"value", "slots"}, {"localizedValue", "Slots of this machine"}})},
    });
    co_return json_response(200, Json::object({{"value", Json::array({std::move(usage)})}}));
}

}  // namespace

void add_compute_routes(Router& router, Services& services) {
    const std::string location =
        "/subscriptions/{sub}/providers/" + std::string(kProvider) + "/locations/{location}";
    row(router, services, "GET", in_workspace("/computes"), Access::User, list_computes);
    row(router, services, "GET", in_workspace("/computes/{name}"), Access::User, get_compute);
    row(router, services, "PUT", in_workspace("/computes/{name}"), Access::User, put_compute);
    row(router, services, "PATCH", in_workspace("/computes/{name}"), Access::User, patch_compute);
    row(router, services, "DELETE", in_workspace("/computes/{name}"), Access::User, delete_compute);
    row(router, services, "POST", in_workspace("/computes/{name}/listNodes"), Access::User,
        list_nodes);
    row(router, services, "POST", in_workspace("/computes/{name}/listKeys"), Access::User,
        list_keys);
    for (const std::string_view verb : {"start", "stop", "restart"})
        row(router, services, "POST", in_workspace("/computes/{name}/" + std::string(verb)),
            Access::User, refuse_power);
    row(router, services, "GET", location + "/vmSizes", Access::User, list_sizes);
    row(router, services, "GET", location + "/usages", Access::User, list_usages);
}

}  // namespace turnout::api::arm
