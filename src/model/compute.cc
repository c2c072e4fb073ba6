#include "model/compute.h"

#include <charconv>

#include "base/hash.h"
#include "base/text.h"
#include "model/more_memory.h"
#include "model/names.h"

namespace turnout {

namespace {

constexpr Names<NodeState, 5> kNodeStates{{
    {NodeState::Provisioning, "provisioning"},
    {NodeState::Idle, "idle"},
    {NodeState::Running, "running"},
    {NodeState::Leaving, "leaving"},
    {NodeState::Unusable, "unusable"},
}};

constexpr Names<AttachedMachine::State, 3> kMachineStates{{
    {AttachedMachine::State::Checking, "Creating"},
    {AttachedMachine::State::Ready, "Succeeded"},
    {AttachedMachine::State::Failed, "Failed"},
}};

Json to_json(const AttachedMachine& machine) {
    return Json::object({{"state", name_of(machine.state)},
                         {"why", machine.why},
                         {"check", machine.check},
                         {"provider", machine.provider},
                         {"settings", machine.settings},
                         {"resourceId", machine.resource_id},
                         {"address", machine.address},
                         {"user", machine.user},
                         {"port", machine.port},
                         {"found", machine.found}});
}

Result<AttachedMachine> machine_from_json(const Json& json) {
    AttachedMachine machine;
    auto state = parse_in(kMachineStates, json.at("state").as_view(), "state of a machine");
    machine.state = TURNOUT_TRY(std::move(state));
    machine.why = json.at("why").as_string();
    machine.check = static_cast<int>(json.at("check").as_int(1));
    machine.provider = json.at("provider").as_string();
    machine.settings = json.at("settings");
    machine.resource_id = json.at("resourceId").as_string();
    machine.address = json.at("address").as_string();
    machine.user = json.at("user").as_string();
    machine.port = static_cast<int>(json.at("port").as_int());
    machine.found = json.at("found");
    return machine;
}

Json to_json(const ContainerInstance& asked) {
    return Json::object({{"pool", asked.pool},
                         {"cores", asked.cores},
                         {"memoryGb", asked.memory_gb},
                         {"image", asked.image}});
}

}  // namespace

std::string_view name_of(AttachedMachine::State state) {
    return name_in(kMachineStates, state);
}

std::string pool_of_machine(std::string_view workspace, std::string_view compute) {
    return std::string(compute) + "@" + std::string(workspace);
}

// Longer than a name that somebody may give.
std::string name_of(const ContainerInstance& asked) {
    return std::string(kContainerInstance) + "-" +
           to_hex(sha256(to_json(asked).dump())).substr(0, 16);
}

std::string_view shown_compute(std::string_view name) {
    constexpr std::size_t length = kContainerInstance.size() + 1 + 16;
    return name.size() == length && name.starts_with(kContainerInstance) ? kContainerInstance
                                                                         : name;
}

std::string words_of(const ContainerInstance& asked) {
    return std::to_string(asked.cores) + (asked.cores == 1 ? " core and " : " cores and ") +
           gigabyte_words(asked.memory_gb) + " in pool '" + asked.pool + "'";
}

std::string_view name_of(FoundNode::Is is) {
    switch (is) {
        case FoundNode::Is::Starting: return "starting";
        case FoundNode::Is::Alive: return "alive";
        case FoundNode::Is::Ending: return "ending";
        case FoundNode::Is::Unknown: return "unknown";
    }
    return "";
}

std::string_view name_of(NodeState state) {
    return name_in(kNodeStates, state);
}

Result<std::optional<double>> price_per_hour(const Compute& compute) {
    const Json& tag = compute.envelope.at("tags").at(kPriceTag);
    if (tag.is_null()) return std::optional<double>();
    const std::string text = tag.is_string() ? tag.as_string() : tag.dump();
    double price = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), price);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() ||
        !(price >= 0 && price < 1e9))
        return invalid("tag " + std::string(kPriceTag) + " is '" + text.substr(0, 40) +
                           "': expected the price of a node's hour, a number such as 0.25",
                       "tags." + std::string(kPriceTag));
    return std::optional(price);
}

namespace {

using Operation = PersonalInstance::Operation;

constexpr Names<Operation::Name, 4> kOperations{{{Operation::Name::Create, "Create"},
                                                 {Operation::Name::Start, "Start"},
                                                 {Operation::Name::Stop, "Stop"},
                                                 {Operation::Name::Restart, "Restart"}}};
constexpr Names<Operation::Status, 3> kStatuses{{{Operation::Status::InProgress, "InProgress"},
                                                 {Operation::Status::Succeeded, "Succeeded"},
                                                 {Operation::Status::Failed, "Failed"}}};

Json to_json(const PersonalInstance& instance) {
    Json json = Json::object();
    json.set("user", instance.user);
    json.set("on", instance.on);
    json.set("starts", instance.starts);
    if (instance.idle_before_shutdown != Span{})
        json.set("idleMicros", static_cast<std::int64_t>(instance.idle_before_shutdown.count()));
    json.set("operation", name_of(instance.last.name));
    json.set("status", name_of(instance.last.status));
    json.set("trigger", instance.last.trigger);
    json.set("at", instance.last.at.micros);
    if (!instance.last.why.empty()) json.set("why", instance.last.why);
    json.set("made", instance.made);
    json.set("fired", instance.fired.micros);
    if (!instance.said.empty()) {
        Json said = Json::array();
        for (const Instant at : instance.said) said.push(at.micros);
        json.set("said", std::move(said));
    }
    return json;
}

Result<PersonalInstance> instance_from_json(const Json& json) {
    PersonalInstance instance;
    instance.user = json.at("user").as_string();
    instance.on = json.at("on").as_bool();
    instance.starts = static_cast<int>(json.at("starts").as_int(1));
    instance.idle_before_shutdown = Span(json.at("idleMicros").as_int());
    auto name = parse_in(kOperations, json.at("operation").as_view(), "operation");
    instance.last.name = TURNOUT_TRY(std::move(name));
    auto status = parse_in(kStatuses, json.at("status").as_view(), "status of an operation");
    instance.last.status = TURNOUT_TRY(std::move(status));
    instance.last.trigger = json.at("trigger").as_string();
    instance.last.at = Instant{json.at("at").as_int()};
    instance.last.why = json.at("why").as_string();
    instance.made = json.at("made").as_bool();
    instance.fired = Instant{json.at("fired").as_int()};
    for (const Json& at : json.at("said").items()) instance.said.push_back({at.as_int()});
    return instance;
}

}  // namespace

std::string_view name_of(Operation::Name name) {
    return name_in(kOperations, name);
}
std::string_view name_of(Operation::Status status) {
    return name_in(kStatuses, status);
}
std::string service_of_instance(std::string_view compute) {
    return "notebooks-" + std::string(compute);
}

Json to_json(const Compute& compute) {
    Json json = Json::object();
    json.set("workspace", compute.workspace);
    json.set("name", compute.name);
    json.set("definition", compute.definition);
    json.set("envelope", compute.envelope);
    if (compute.pool != kDefaultPool) json.set("pool", compute.pool);
    json.set("vmSize", compute.vm_size);
    json.set("lowPriority", compute.tier == Tier::LowPriority);
    json.set("minNodes", compute.min_nodes);
    json.set("maxNodes", compute.max_nodes);
    json.set("idleMicros", static_cast<std::int64_t>(compute.idle_before_scale_down.count()));
    if (compute.jobs_per_node != 1) json.set("jobsPerNode", compute.jobs_per_node);
    json.set("created", compute.created.micros);
    json.set("modified", compute.modified.micros);
    put_authorship(json, compute.made);
    json.set("deleting", compute.deleting);
    json.set("implicit", compute.implicit);
    if (compute.attached) json.set("attached", to_json(*compute.attached));
    if (compute.instances) json.set("instances", to_json(*compute.instances));
    if (compute.personal) json.set("personal", to_json(*compute.personal));
    return json;
}

Result<Compute> compute_from_json(const Json& json) {
    Compute compute;
    compute.workspace = json.at("workspace").as_string();
    compute.name = json.at("name").as_string();
    if (compute.workspace.empty() || compute.name.empty())
        return internal("stored compute without workspace or name");
    compute.definition = json.at("definition");
    compute.envelope = json.at("envelope");
    if (json.has("pool")) compute.pool = json.at("pool").as_string();
    compute.vm_size = json.at("vmSize").as_string();
    compute.tier = json.at("lowPriority").as_bool() ? Tier::LowPriority : Tier::Dedicated;
    compute.min_nodes = static_cast<int>(json.at("minNodes").as_int());
    compute.max_nodes = static_cast<int>(json.at("maxNodes").as_int());
    compute.idle_before_scale_down = Span(json.at("idleMicros").as_int());
    compute.jobs_per_node = static_cast<int>(json.at("jobsPerNode").as_int(1));
    compute.created = Instant{json.at("created").as_int()};
    compute.modified = Instant{json.at("modified").as_int()};
    compute.made = authorship_of(json);
    compute.deleting = json.at("deleting").as_bool();
    compute.implicit = json.at("implicit").as_bool();
    if (json.has("attached"))
        compute.attached = TURNOUT_TRY(machine_from_json(json.at("attached")));
    if (json.has("personal"))
        compute.personal = TURNOUT_TRY(instance_from_json(json.at("personal")));
    if (const Json& asked = json.at("instances"); asked.is_object())
        compute.instances = ContainerInstance{
            asked.at("pool").as_string(), static_cast<int>(asked.at("cores").as_int()),
            asked.at("memoryGb").as_double(), asked.at("image").as_string()};
    return compute;
}

Json to_json(const Node& node) {
    Json json = Json::object();
    json.set("workspace", node.workspace);
    json.set("compute", node.compute);
    json.set("name", node.name);
    json.set("state", name_of(node.state));
    json.set("created", node.created.micros);
    json.set("stateSince", node.state_since.micros);
    if (node.ready) json.set("ready", node.ready->micros);
    if (node.paid_until) json.set("paidUntil", node.paid_until->micros);
    if (node.price) json.set("price", *node.price);
    json.set("bootId", node.boot_id);
    json.set("problem", node.problem);
    json.set("handle", node.handle);
    if (!node.image.empty()) json.set("image", node.image);
    if (node.provider != "local") json.set("provider", node.provider);
    if (node.facts != agent_protocol::Facts()) json.set("facts", to_json(node.facts));
    if (node.lost_after)
        json.set("lostAfterMicros", static_cast<std::int64_t>(node.lost_after->count()));
    return json;
}

Result<Node> node_from_json(const Json& json) {
    Node node;
    node.workspace = json.at("workspace").as_string();
    node.compute = json.at("compute").as_string();
    node.name = json.at("name").as_string();
    if (node.workspace.empty() || node.compute.empty() || node.name.empty())
        return internal("stored node without workspace, compute or name");
    auto state = parse_in(kNodeStates, json.at("state").as_view(), "node state");
    node.state = TURNOUT_TRY(std::move(state));
    node.created = Instant{json.at("created").as_int()};
    node.state_since = Instant{json.at("stateSince").as_int()};
    if (json.has("ready")) node.ready = Instant{json.at("ready").as_int()};
    if (json.has("paidUntil")) node.paid_until = Instant{json.at("paidUntil").as_int()};
    if (json.has("price")) node.price = json.at("price").as_double();
    node.boot_id = json.at("bootId").as_string();
    node.problem = json.at("problem").as_string();
    node.handle = json.at("handle");
    node.image = json.at("image").as_string();
    if (json.has("provider")) node.provider = json.at("provider").as_string();
    // Another build's may say what this one does not take: its agent says them again.
    if (json.has("facts"))
        if (auto facts = agent_protocol::facts_from_json(json.at("facts")))
            node.facts = std::move(*facts);
    if (json.has("lostAfterMicros")) node.lost_after = Span(json.at("lostAfterMicros").as_int());
    return node;
}

}  // namespace turnout
