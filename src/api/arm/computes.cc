// Computes: AmlCompute clusters, each with nodes of one pool, and machines that were attached.
#include <algorithm>
#include <cmath>

#include "api/arm/attached.h"
#include "api/arm/kubernetes.h"
#include "api/arm/personal.h"
#include "api/arm/regions.h"
#include "api/arm/resource.h"
#include "base/text.h"
#include "control/control.h"
#include "model/compute.h"
#include "resources/compute_types.h"
#include "resources/per_run.h"
#include "resources/resources.h"

namespace turnout::api::arm {
namespace {

constexpr int kMaxJobsPerNode = 64;
constexpr std::string_view kJobsPerNode = "turnout.jobs_per_node";
constexpr Span kDefaultIdle = 120s;
constexpr std::size_t kMaxComputes = 10'000;

std::string compute_id(const Workspace& workspace, std::string_view name) {
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

Json scale_settings(const Compute& compute) {
    return Json::object({
        {"minNodeCount", compute.min_nodes},
        {"maxNodeCount", compute.max_nodes},
        {"nodeIdleTimeBeforeScaleDown", to_duration(compute.idle_before_scale_down)},
    });
}

Json cluster_properties(Services& services, const Compute& compute) {
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
    inner.set("scaleSettings", scale_settings(compute));
    inner.set("allocationState", steady ? "Steady" : "Resizing");
    inner.set("allocationStateTransitionTime",
              to_iso8601(std::max(census.changed, compute.modified)));
    if (services.control.has_several_pools()) {  // Azure's place for what it has no member for
        if (!inner.at("propertyBag").is_object()) inner.set("propertyBag", Json::object());
        inner["propertyBag"].set("pool", compute.pool);
    }
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
    return inner;
}

std::string_view type_of(const Compute& compute) {
    return compute.attached         ? "VirtualMachine"
           : compute.personal       ? "ComputeInstance"
           : is_kubernetes(compute) ? "Kubernetes"
                                    : "AmlCompute";
}

std::string_view provisioning_state_of(const Compute& compute, const std::string& unusable) {
    if (compute.deleting) return "Deleting";
    if (!unusable.empty()) return "Failed";
    if (compute.attached) return name_of(compute.attached->state);
    if (!compute.personal) return "Succeeded";
    using Status = PersonalInstance::Operation::Status;
    if (compute.personal->last.status == Status::InProgress)
        return compute.personal->made ? "Updating" : "Creating";
    return compute.personal->last.status == Status::Failed ? "Failed" : "Succeeded";
}

Json body_of(Services& services, const Call& call, const Workspace& workspace,
             const Compute& compute) {
    const auto& machine = compute.attached;
    const std::string location = compute.envelope.at("location").as_string(workspace.location);
    Json properties = compute.definition;
    properties.set("computeType", type_of(compute));
    properties.set("computeLocation", location);
    const std::string unusable = services.control.unusable(compute.workspace, compute.name);
    properties.set("provisioningState", provisioning_state_of(compute, unusable));
    const std::string why =
        !unusable.empty() || !compute.personal ? unusable : compute.personal->last.why;
    properties.set(
        "provisioningErrors",
        why.empty()
            ? Json()
            : Json::array({Json::object(
                  {{"error", Json::object({{"code", "ComputeUnusable"}, {"message", why}})}})}));
    properties.set("createdOn", to_iso8601(compute.created));
    properties.set("modifiedOn", to_iso8601(compute.modified));
    properties.set("isAttachedCompute", machine.has_value() || is_kubernetes(compute));
    if (machine) {
        properties.set("resourceId",
                       machine->resource_id.empty() ? Json() : Json(machine->resource_id));
        properties.set("properties", machine_properties(compute));
    } else if (is_kubernetes(compute)) {
        properties.set("properties", kubernetes_properties(services, compute));
    } else if (compute.personal) {
        properties.set("properties", personal_properties(services, call, compute));
    } else {
        properties.set("properties", cluster_properties(services, compute));
    }

    Json body = envelope(compute_id(workspace, compute.name), compute.name, "workspaces/computes",
                         std::move(properties));
    body.set("location", location);
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (compute.envelope.has(member)) body.set(member, compute.envelope.at(member));
    body.set("systemData", system_data(compute.created, compute.modified, compute.made));
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

Result<Compute> find_compute(Services& services, const Workspace& workspace,
                             const std::string& name) {
    auto found = TURNOUT_TRY(stored(services, workspace, name));
    if (found && !found->implicit) return std::move(*found);
    if (name == kContainerInstance)
        return not_found(
            "there is no compute '" + name + "': " + std::string(resources::kChosenPerRun),
            "compute");
    std::vector<std::string> names;
    for (const Compute& compute : TURNOUT_TRY(computes_of(services, workspace)))
        names.push_back(compute.name);
    return not_found("compute '" + name + "' does not exist" + did_you_mean(name, names),
                     "compute");
}

// ---- PUT

Result<void> check_compute_name(std::string_view name) {
    if (!resources::kComputeName.fits(name))
        return fail(Code::InvalidArgument, "InvalidComputeName",
                    "compute name '" + std::string(name.substr(0, 64)) + "': expected " +
                        std::string(resources::kComputeName.expected),
                    "name");
    if (name == "serverless" || name == "local")
        return fail(
            Code::InvalidArgument, "InvalidComputeName",
            "the name '" + std::string(name) + "' is taken: jobs without a compute run there",
            "name");
    return {};
}

// Of settings that the description has found good.
void read_scale_settings(const Json& settings, Compute& compute) {
    compute.min_nodes = static_cast<int>(settings.at("minNodeCount").as_int(compute.min_nodes));
    compute.max_nodes = static_cast<int>(
        settings.at("maxNodeCount").as_int(std::max(compute.max_nodes, compute.min_nodes)));
    if (const auto idle = parse_duration(settings.at("nodeIdleTimeBeforeScaleDown").as_view()))
        compute.idle_before_scale_down = *idle;
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

using Machines = std::vector<ServerInfo::Machine>;

// The machines of a pool, as far as they are known; of this one its own.
Machines machines_of(const Services& services, const Pool& pool) {
    if (pool.provider == Pool{}.provider) return {services.info.machine};
    return services.machines_of ? services.machines_of(pool) : Machines();
}

// A machine shows a little less memory than it was bought with.
constexpr double kMemoryThatIsThere = 0.9;

bool holds(const ServerInfo::Machine& machine, const VmSize& size) {
    return machine.gpus >= size.gpus && machine.cores >= size.cores &&
           machine.memory_gb >= size.memory_gb * kMemoryThatIsThere;
}

// On the server's machine, which is one, and in containers a size is a limit: what is beyond the
// machine gets what that has, so that a tutorial's size runs on a laptop. A pool of hosts has
// others to choose from, so there it is a mistake.
Result<void> check_fits(const Services& services, const VmSize& size, const std::string& name,
                        const std::string& field) {
    const auto view = services.control.pool(name);
    if (!view) return {};
    const Machines machines = machines_of(services, view->pool);
    // Nobody has looked yet; or its size is a limit there, and how many GPUs it has is not known.
    if (machines.empty() || view->pool.image == ImagePolicy::Engine) return {};
    const bool here = view->pool.provider == Pool{}.provider;
    const std::string whose = here ? "this machine" : "each machine of pool '" + name + "'";
    ServerInfo::Machine largest;
    for (const ServerInfo::Machine& one : machines)
        largest = {std::max(largest.cores, one.cores), std::max(largest.memory_gb, one.memory_gb),
                   std::max(largest.gpus, one.gpus)};
    if (size.gpus > largest.gpus)
        return fail(Code::InvalidArgument, "GpuNotAvailable",
                    "vmSize '" + size.name + "' has " + std::to_string(size.gpus) + " GPU" +
                        (size.gpus == 1 ? "" : "s") + " and " + whose + " has " +
                        (here || largest.gpus == 0 ? "" : "at most ") +
                        std::to_string(largest.gpus) +
                        (largest.gpus == 0 ? ": choose a size without a GPU"
                                           : ": choose a size with so many"),
                    field);
    if (here) return {};
    if (std::ranges::any_of(machines, [&](const auto& one) { return holds(one, size); })) return {};
    std::vector<const VmSize*> fitting;
    for (const VmSize& other : vm_sizes())
        if (std::ranges::any_of(machines, [&](const auto& one) { return holds(one, other); }))
            fitting.push_back(&other);
    std::ranges::stable_sort(fitting, [](const VmSize* a, const VmSize* b) {
        return std::pair(a->cores, a->memory_gb) > std::pair(b->cores, b->memory_gb);
    });
    constexpr std::size_t few = 4;
    std::vector<std::string> names;
    for (const VmSize* const one : fitting)
        if (names.size() < few) names.push_back(one->name);
    const auto gb = [](double number) {
        const auto tenths = static_cast<int>(std::lround(number * 10));
        return std::to_string(tenths / 10) +
               (tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10));
    };
    return fail(Code::InvalidArgument, "SizeNotAvailable",
                "vmSize '" + size.name + "' has " + std::to_string(size.cores) + " cores and " +
                    gb(size.memory_gb) + " GB, and no machine of pool '" + name +
                    "' has that: they have at most " + std::to_string(largest.cores) +
                    " cores and " + gb(largest.memory_gb) + " GB" +
                    (names.empty() ? "" : "; " + join(names, ", ") + " fit") +
                    " (`turnout compute list-sizes --location " + name + "` shows all)",
                field);
}

// `before`: what is there is not looked at again.
Result<void> read_size(const Services& services, const Json& properties, Compute& compute,
                       const std::optional<Compute>& before) {
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
    if (!before || !equal_ignoring_case(before->vm_size, wanted))
        TURNOUT_TRY(check_fits(services, *size, compute.pool, field));
    compute.vm_size = wanted;
    return {};
}

// What only the server says, taken out of what a client may have got and sent back.
void remove_what_the_server_says(Json& definition) {
    for (const std::string_view member : {"provisioningState", "provisioningErrors", "createdOn",
                                          "modifiedOn", "isAttachedCompute", "computeLocation"})
        definition.erase(member);
    Json* inner = definition.find("properties");
    if (!inner || !inner->is_object()) return;
    for (const std::string_view member :
         {"allocationState", "allocationStateTransitionTime", "errors", "currentNodeCount",
          "targetNodeCount", "nodeStateCounts"})
        inner->erase(member);
    if (Json* bag = inner->find("propertyBag"); bag && bag->is_object()) {
        bag->erase("pool");
        if (bag->members().empty()) inner->erase("propertyBag");
    }
}

// What is no machine that is attached has to be a cluster.
Result<void> check_type(const Json& definition) {
    const std::string type = definition.at("computeType").as_string();
    const std::string field = "properties.computeType";
    if (type.empty())
        return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                    "the compute has no computeType: this server runs 'AmlCompute' clusters and "
                    "'ComputeInstance's, and attaches a 'VirtualMachine' or 'Kubernetes'",
                    field);
    const resources::ComputeType* const kind = resources::find_compute_type(type);
    if (!kind) {
        std::vector<std::string> names;
        for (const resources::ComputeType& one : resources::compute_types())
            if (!one.type.empty()) names.emplace_back(one.type);
        return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                    "there is no computeType '" + type.substr(0, 64) + "'" +
                        did_you_mean(type, names) + " (`turnout compute capabilities` shows all)",
                    field);
    }
    // Azure's documents name what is attached.
    return resources::check_is_made(*kind, !definition.at("resourceId").as_string().empty());
}

// Its pool, and what is around its properties.
Result<void> read_place(const Services& services, const Workspace& workspace, const Json& body,
                        const std::optional<Compute>& before, Compute& compute) {
    const std::string was =
        before ? before->envelope.at("location").as_string(workspace.location) : std::string();
    std::string wanted = body.at("location").as_string();
    if (wanted.empty()) wanted = before ? was : workspace.location;
    const Location location =
        before && wanted == was ? Location{was, before->pool}
                                : TURNOUT_TRY(find_location(wanted, services.control.pool_names()));
    compute.pool = location.pool;
    compute.envelope = Json::object({{"location", location.name}});
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (body.at(member).is_object()) compute.envelope.set(member, body.at(member));
    TURNOUT_TRY(price_per_hour(compute));
    return {};
}

// The home of its user stays where its node is.
Result<void> check_keeps_homes(const Services& services, const Compute& compute) {
    const auto pool = services.control.pool(compute.pool);
    if (!pool || (pool->pool.image != ImagePolicy::Engine && pool->pool.provider != "kubernetes"))
        return {};
    return invalid("the nodes of pool '" + compute.pool +
                       "' are containers, where nothing stays: a compute instance needs a pool "
                       "whose machines keep its user's files",
                   "location");
}

// What can never change of one that is there.
Result<void> check_same_machine(const Compute& before, const Compute& compute) {
    const auto word = [](Tier tier) {
        return tier == Tier::LowPriority ? "LowPriority" : "Dedicated";
    };
    std::vector<std::string> differs;
    if (!equal_ignoring_case(before.vm_size, compute.vm_size))
        differs.push_back("vmSize '" + before.vm_size + "', not '" + compute.vm_size + "'");
    if (before.tier != compute.tier)
        differs.push_back(std::string("vmPriority '") + word(before.tier) + "', not '" +
                          word(compute.tier) + "'");
    if (before.pool != compute.pool)
        differs.push_back("nodes of pool '" + before.pool + "', not of '" + compute.pool + "'");
    if (!differs.empty())
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + compute.name + "' exists with " + join(differs, ", and ") +
                        "; that cannot change: ask for what it has, delete it first, or choose "
                        "another name",
                    differs[0].starts_with("vmSize")       ? "properties.properties.vmSize"
                    : differs[0].starts_with("vmPriority") ? "properties.properties.vmPriority"
                                                           : "location");
    return {};
}

// `together` gets the rows that go with it.
Result<Compute> read_compute(Services& services, const Call& call, const Workspace& workspace,
                             const std::string& name, const Json& body,
                             const std::optional<Compute>& before, std::vector<Write>& together) {
    TURNOUT_TRY(check_compute_name(name));
    if (!before && equal_ignoring_case(name, kContainerInstance))
        return fail(Code::InvalidArgument, "InvalidComputeName",
                    "the name '" + name + "' is taken: " + std::string(resources::kChosenPerRun),
                    "name");
    if (is_machine(body)) {
        Compute machine =
            TURNOUT_TRY(read_machine(services, workspace, name, body, before, together));
        TURNOUT_TRY(price_per_hour(machine));
        TURNOUT_TRY(read_jobs_per_node(machine.envelope.at("tags"), machine));
        return machine;
    }
    if (is_kubernetes(body)) {
        Compute cluster = TURNOUT_TRY(read_kubernetes(services, workspace, name, body, before));
        TURNOUT_TRY(price_per_hour(cluster));
        return cluster;
    }
    const Json& definition = body.at("properties");
    TURNOUT_TRY(check_type(definition));
    if (is_personal(body)) {
        Compute instance =
            TURNOUT_TRY(read_personal(services, call, workspace, name, body, before));
        remove_what_the_server_says(instance.definition);
        TURNOUT_TRY(read_place(services, workspace, body, before, instance));
        TURNOUT_TRY(check_keeps_homes(services, instance));
        TURNOUT_TRY(read_size(services, definition.at("properties"), instance, before));
        if (before) TURNOUT_TRY(check_same_machine(*before, instance));
        return instance;
    }
    if (before && (before->attached || before->personal || is_kubernetes(*before)))
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + name + "' exists and is " +
                        (before->attached   ? "a machine that was attached"
                         : before->personal ? "a compute instance"
                                            : "a cluster of Kubernetes that was attached") +
                        ": choose another name",
                    "properties.computeType");
    const Json& inner = definition.at("properties");
    if (!inner.is_object())
        return invalid("an AmlCompute needs 'properties' with its vmSize", "properties.properties");
    if (const Json& scale = inner.at("scaleSettings"); !scale.is_null() && !scale.is_object())
        return invalid("properties.properties.scaleSettings: expected an object, found " +
                           scale.dump().substr(0, 80),
                       "properties.properties.scaleSettings");
    TURNOUT_TRY(resources::check_rest(resources::aml_compute(), body));

    Compute compute;
    compute.workspace = workspace.id;
    compute.name = name;
    compute.definition = definition;
    remove_what_the_server_says(compute.definition);
    TURNOUT_TRY(read_place(services, workspace, body, before, compute));
    TURNOUT_TRY(read_size(services, inner, compute, before));
    if (equal_ignoring_case(inner.at("vmPriority").as_view(), "LowPriority"))
        compute.tier = Tier::LowPriority;
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
    read_scale_settings(inner.at("scaleSettings"), compute);
    TURNOUT_TRY(read_jobs_per_node(compute.envelope.at("tags"), compute));
    if (const auto pool = services.control.pool(compute.pool);
        pool && pool->pool.image == ImagePolicy::Engine && compute.jobs_per_node > 1)
        return invalid("the tag " + std::string(kJobsPerNode) +
                           " must be 1 here: the nodes of pool '" + compute.pool +
                           "' are containers, each of the image of its job",
                       "tags." + std::string(kJobsPerNode));

    if (before) {
        compute.created = before->created;
        TURNOUT_TRY(check_same_machine(*before, compute));
    }
    return compute;
}

// What a client defined, and may define again: the body of a PUT.
Json definition_of(const Compute& compute) {
    if (compute.attached) return machine_definition(compute);
    if (is_kubernetes(compute)) return kubernetes_definition(compute);
    if (compute.personal) return personal_definition(compute);
    Json properties = compute.definition;
    Json& inner = properties["properties"];
    if (!inner.is_object()) inner = Json::object();
    inner.set("vmSize", compute.vm_size);
    inner.set("vmPriority", compute.tier == Tier::LowPriority ? "LowPriority" : "Dedicated");
    inner.set("scaleSettings", scale_settings(compute));
    Json body = compute.envelope;
    body.set("properties", std::move(properties));
    return body;
}

// What a compute is to be, after what it is; with the rows that go with it.
using Wanted =
    std::function<Result<Compute>(const std::optional<Compute>& now, std::vector<Write>& together)>;

Answer save(Services& services, const Call& call, Workspace workspace, std::string name,
            Wanted wanted) {
    std::vector<Write> together;
    bool look = false, operate = false;
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    const Control::ComputeChange change =
        [&](const std::optional<Compute>& now) -> Result<Compute> {
        Compute made = TURNOUT_TRY(wanted(now, together));
        made.made = {now && !now->implicit ? now->made.created : by, by};
        // A check that is under way already is not begun again.
        look = made.attached &&
               (!now || !now->attached || now->attached->check != made.attached->check);
        operate = made.personal && (!now || !now->personal || *now->personal != *made.personal);
        return made;
    };
    TURNOUT_CO_TRY(const Put put, co_await asked<Put>([&](auto reply) {
                       services.control.change_compute(workspace.id, name, change, std::move(reply),
                                                       &together, by.user);
                   }));
    TURNOUT_CO_TRY(const Compute saved, find_compute(services, workspace, name));
    const Json body = body_of(services, call, workspace, saved);
    if (look) look_at_machine(services, saved);
    if (operate) look_at_personal(services, saved);
    http::Response response = json_response(put == Put::Created ? 201 : 200, body);
    response.headers.set("Retry-After", "1");
    if (saved.attached && saved.attached->state == AttachedMachine::State::Checking)
        say_operation(response, call, workspace, "attachCompute", name);
    if (saved.personal &&
        saved.personal->last.status == PersonalInstance::Operation::Status::InProgress)
        say_operation(response, call, workspace, "createCompute", name);
    co_return response;
}

Answer put_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    Wanted wanted = [&](const std::optional<Compute>& now, std::vector<Write>& together) {
        return read_compute(services, call, workspace, name, body, now, together);
    };
    co_return co_await save(services, call, workspace, name, std::move(wanted));
}

// A merge patch (RFC 7396) of what a PUT would say. Scale settings are found one level higher too.
Answer patch_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(Json changes, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY([[maybe_unused]] const Compute there, find_compute(services, workspace, name));
    if (Json* const properties = changes.find("properties");
        properties && properties->has("scaleSettings")) {
        Json scale = properties->at("scaleSettings");
        properties->erase("scaleSettings");
        if (Json& inner = (*properties)["properties"]; !inner.has("scaleSettings"))
            inner.merge(Json::object({{"scaleSettings", std::move(scale)}}));
    }
    Wanted wanted = [&](const std::optional<Compute>& now,
                        std::vector<Write>& together) -> Result<Compute> {
        if (!now) return not_found("compute '" + name + "' does not exist", "compute");
        Json body = definition_of(*now);
        body.merge(changes);
        return read_compute(services, call, workspace, name, body, now, together);
    };
    co_return co_await save(services, call, workspace, name, std::move(wanted));
}

// ---- the rest

Answer get_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Compute compute, find_compute(services, workspace, call.param("name")));
    const Json body = body_of(services, call, workspace, compute);
    http::Response response = json_response(200, body);
    response.headers.set("Retry-After", "1");
    co_return response;
}

Answer list_computes(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const auto computes, computes_of(services, workspace));
    std::vector<Json> bodies;
    for (const Compute& compute : computes) {
        bodies.push_back(body_of(services, call, workspace, compute));
    }
    co_return page_of(
        call, bodies.size(), [&](std::size_t i) { return computes[i].name; },
        [&](std::size_t i) { return bodies[i]; });
}

Answer delete_compute(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = call.param("name");
    TURNOUT_CO_TRY(const Compute compute, find_compute(services, workspace, name));
    const bool detach = equal_ignoring_case(call.query_value("underlyingResourceAction"), "Detach");
    const bool attached = compute.attached || is_kubernetes(compute);
    if (attached && !detach)
        co_return invalid(
            (compute.attached ? "machine '" : "the cluster of Kubernetes '") + name +
                "' was attached and is not this server's to delete: "
                "detach it (underlyingResourceAction=Detach; `turnout compute detach`)",
            "underlyingResourceAction");
    if (!attached && detach)
        co_return invalid(
            "an AmlCompute cannot be detached, only deleted: it has no machines but those the "
            "server gave it",
            "underlyingResourceAction");
    // Before it is gone: the next one of this name is nobody's yet, whatever happens in between.
    access::Scope scope{workspace.id, to_lower(name)};
    TURNOUT_CO_TRY_VOID(co_await services.authority.forget(std::move(scope)));
    TURNOUT_CO_TRY_VOID(co_await asked<void>([&](auto reply) {
        services.control.delete_compute(workspace.id, name, std::move(reply), call.principal.name);
    }));
    co_return accepted(call, workspace, "deleteCompute", name);
}

// As other machines reach it; of a machine without a network, or an agent that does not say: here.
std::string private_address(const Node& node) {
    return node.facts.address.empty() ? "127.0.0.1" : node.facts.address;
}

// Azure has no member for what a node is. Null: nothing is known yet.
Json facts_of(const Node& node) {
    const agent_protocol::Facts& facts = node.facts;
    if (facts == agent_protocol::Facts() && node.problem.empty()) return {};
    Json json = Json::object();
    const auto say = [&](const char* name, auto value) {
        if (value != decltype(value){}) json.set(name, value);
    };
    say("host", facts.host);
    say("cores", facts.cores);
    say("memoryBytes", facts.memory_bytes);
    say("cpuLimitMillicores", facts.cpu_limit_millicores);
    say("memoryLimitBytes", facts.memory_limit_bytes);
    say("freeDiskBytes", facts.free_disk_bytes);
    if (!facts.gpus.empty()) {
        Json gpus = Json::array();
        for (const agent_protocol::Gpu& gpu : facts.gpus)
            gpus.push(Json::object(
                {{"model", gpu.model.empty() ? Json() : Json(gpu.model)},
                 {"memoryBytes", gpu.memory_bytes > 0 ? Json(gpu.memory_bytes) : Json()}}));
        json.set("gpus", std::move(gpus));
    }
    if (!facts.pythons.empty())
        json.set("pythons", Json(Json::Array(facts.pythons.begin(), facts.pythons.end())));
    say("containerEngine", facts.container_engine);
    say("agentBuild", node.build);
    say("agentProtocol", node.protocol);
    say("problem", node.problem);
    return json;
}

Answer list_nodes(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    // "serverless" and container instances are not listed, but whoever knows them may look at their
    // nodes.
    TURNOUT_CO_TRY(const auto compute, stored(services, workspace, name));
    if (!compute && name != kContainerInstance) {
        TURNOUT_CO_TRY_VOID(find_compute(services, workspace, name));
    }
    const std::vector<Node> nodes = services.control.nodes_of(workspace.id, name);
    Json list = Json::array();
    for (const Node& node : nodes)
        list.push(Json::object({
            {"nodeId", node.name},
            {"privateIpAddress", private_address(node)},
            {"publicIpAddress", Json()},
            {"port", Json()},
            {"nodeState", node.state == NodeState::Provisioning ? std::string_view("preparing")
                                                                : name_of(node.state)},
            {"runId", node.job.empty() ? Json() : Json(node.job)},
            {"properties", facts_of(node)},
        }));
    co_return json_response(200, Json::object({{"nodes", std::move(list)}}));
}

Answer list_compute_keys(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Compute compute, find_compute(services, workspace, call.param("name")));
    // What opens a machine is told to nobody: who attached it has it.
    co_return json_response(200, Json::object({{"computeType", type_of(compute)}}));
}

// Of the last part of the path: start, stop, restart.
Answer set_power(Services& services, Call& call, const Workspace& workspace,
                 const std::string& name) {
    const std::string verb = to_lower(call.request.path.substr(call.request.path.rfind('/') + 1));
    const Control::ComputeChange change =
        [&](const std::optional<Compute>& now) -> Result<Compute> {
        if (!now || !now->personal)
            return not_found("compute instance '" + name + "' does not exist", "compute");
        return with_power(services, *now, verb, "User");
    };
    TURNOUT_CO_TRY_VOID(co_await asked<Put>([&](auto reply) {
        services.control.change_compute(workspace.id, name, change, std::move(reply), nullptr,
                                        call.principal.name);
    }));
    TURNOUT_CO_TRY(const Compute saved, find_compute(services, workspace, name));
    look_at_personal(services, saved);
    co_return accepted(call, workspace, verb + "Compute", name);
}

Answer power(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Compute compute, find_compute(services, workspace, call.param("name")));
    if (compute.personal) co_return co_await set_power(services, call, workspace, compute.name);
    if (compute.attached)
        co_return fail(Code::InvalidArgument, "OperationNotSupported",
                       "machine '" + compute.name +
                           "' was attached: it is turned on and off where "
                           "it stands, not by this server",
                       "compute");
    if (is_kubernetes(compute))
        co_return fail(Code::InvalidArgument, "OperationNotSupported",
                       "the pods of '" + compute.name +
                           "' come and go with its jobs: there is nothing to start or stop",
                       "compute");
    co_return fail(Code::InvalidArgument, "OperationNotSupported",
                   "cluster '" + compute.name +
                       "' starts and stops its nodes by itself, between minNodeCount and "
                       "maxNodeCount: change those instead",
                   "compute");
}

Answer list_sizes(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Location location,
                   find_location(call.param("location"), services.control.pool_names()));
    Machines machines;
    // In containers a size is a limit, and how many GPUs there are is not known.
    if (const auto view = services.control.pool(location.pool);
        view && view->pool.image != ImagePolicy::Engine)
        machines = machines_of(services, view->pool);
    Json sizes = Json::array();
    for (const VmSize& size : vm_sizes()) {
        Json one = Json::object({
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
        });
        // Azure has no member for it; nothing where the machines are not known.
        if (!machines.empty())
            one.set("fits", std::ranges::any_of(machines, [&](const auto& machine) {
                        return holds(machine, size);
                    }));
        sizes.push(std::move(one));
    }
    co_return json_response(200, Json::object({{"value", std::move(sizes)}}));
}

// The only quota there is: the slots of a pool.
Answer list_usages(Services& services, Call& call) {
    const bool several = services.control.has_several_pools();
    TURNOUT_CO_TRY(const Location location,
                   find_location(call.param("location"), services.control.pool_names()));
    TURNOUT_CO_TRY(const auto workspaces, services.assets.list_workspaces(call.param("sub"), ""));
    std::int64_t nodes = 0;
    for (const Workspace& workspace : workspaces) {
        TURNOUT_CO_TRY(
            const auto records,
            services.store.scan(Table::Node, with_prefix(workspace.id + "/", kMaxComputes)));
        nodes += static_cast<std::int64_t>(records.size());
    }
    if (several) nodes = services.control.pool(location.pool)->nodes;
    Json usage = Json::object({
        {"id", "/subscriptions/" + call.param("sub") +
                   "/providers/Microsoft.MachineLearningServices/locations/" + location.name +
                   "/usages/slots"},
        {"amlWorkspaceLocation", location.name},
        {"type", "Microsoft.MachineLearningServices/usages"},
        {"unit", "Count"},
        {"currentValue", nodes},
        {"limit", services.control.slots(location.pool)},
        {"name",
         Json::object({{"value", "slots"},
                       {"localizedValue", several ? "Slots of pool '" + location.pool + "'"
                                                  : std::string("Slots of this machine")}})},
    });
    co_return json_response(200, Json::object({{"value", Json::array({std::move(usage)})}}));
}

}  // namespace

void add_compute_routes(Router& router, Services& services) {
    const std::string location =
        "/subscriptions/{sub}/providers/" + std::string(kProvider) + "/locations/{location}";
    row(router, services, "GET", in_workspace("/computes"), Access::Run, list_computes);
    row(router, services, "GET", in_workspace("/computes/{name}"), Access::Run, get_compute);
    row(router, services, "PUT", in_workspace("/computes/{name}"), Access::User, put_compute);
    row(router, services, "PATCH", in_workspace("/computes/{name}"), Access::User, patch_compute);
    row(router, services, "DELETE", in_workspace("/computes/{name}"), Access::User, delete_compute);
    row(router, services, "POST", in_workspace("/computes/{name}/listNodes"), Access::User,
        list_nodes);
    row(router, services, "POST", in_workspace("/computes/{name}/listKeys"), Access::User,
        list_compute_keys);
    for (const std::string_view verb : {"start", "stop", "restart"})
        row(router, services, "POST", in_workspace("/computes/{name}/" + std::string(verb)),
            Access::User, power);
    row(router, services, "GET", location + "/vmSizes", Access::User, list_sizes);
    row(router, services, "GET", location + "/usages", Access::User, list_usages);
    router.add("GET", "/turnout/capabilities", Access::User,
               [](Call&) -> Task<Result<http::Response>> {
                   Json all = Json::array();
                   for (const resources::ComputeType& type : resources::compute_types())
                       all.push(resources::to_json(type));
                   co_return json_response(200, Json::object({{"value", std::move(all)}}));
               });
}

}  // namespace turnout::api::arm
