#include "api/arm/job_placement.h"

#include <array>
#include <charconv>

#include "api/arm/resource.h"
#include "base/text.h"

namespace turnout::api::arm {
namespace {

using agent_protocol::TaskSpec;

constexpr std::int64_t kMostNodes = 1000;
constexpr std::int64_t kMostProcesses = 256;  // on one node

Failure refuse(std::string reason, std::string message, std::string field) {
    return fail(Code::InvalidArgument, std::move(reason), std::move(message),
                "properties." + std::move(field));
}

// `reason`: what is invalid, when it is refused.
Result<int> whole(const Json& value, std::int64_t fallback, std::int64_t least, std::int64_t most,
                  const std::string& field, const char* reason = "InvalidDistribution") {
    if (value.is_null()) return static_cast<int>(fallback);
    if (!value.is_int() || value.as_int() < least || value.as_int() > most)
        return not_as_expected(
            reason, field, "a whole number from " + with_commas(least) + " to " + with_commas(most),
            value);
    return static_cast<int>(value.as_int());
}

// "2g": a number and one of b, k, m, g, as docker takes it.
Result<std::int64_t> read_size(const Json& value, const std::string& field) {
    const std::string text = value.as_string();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string unit =
        to_lower(std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)));
    constexpr std::string_view kUnits = "bkmg";
    const std::size_t place = unit.empty() ? 0 : kUnits.find(unit);
    if (!value.is_string() || error != std::errc() || number <= 0 || unit.size() > 1 ||
        place == std::string_view::npos || number > (std::int64_t{1} << 50) >> (10 * place))
        return not_as_expected("InvalidShmSize", field,
                               "a number above 0 and one of b, k, m, g, such as \"2g\"", value);
    return number << (10 * place);
}

}  // namespace

Result<void> read_processes(const Json& resources, const Json& distribution, TaskSpec& task) {
    task.node_count = TURNOUT_TRY(whole(resources.at("instanceCount"), 1, 1, kMostNodes,
                                        "resources.instanceCount", "InvalidResources"));
    if (const Json& size = resources.at("shmSize"); !size.is_null() && !size.as_view().empty())
        task.shm_size_bytes = TURNOUT_TRY(read_size(size, "resources.shmSize"));
    if (!distribution.is_object() || distribution.members().empty()) return {};
    const std::string field = "distribution";
    const std::string type = distribution.at("distributionType").as_string();
    for (const std::string_view known : {"PyTorch", "Mpi", "TensorFlow"})
        if (equal_ignoring_case(type, known)) task.distribution = known;
    if (equal_ignoring_case(type, "Ray"))
        return refuse("DistributionNotSupported",
                      "distribution Ray does not run: nothing here starts a Ray cluster. Start Ray "
                      "in the command, with PyTorch or Mpi for the variables of the nodes",
                      field + ".distributionType");
    if (task.distribution.empty())
        return not_as_expected("InvalidDistribution", field + ".distributionType",
                               "PyTorch, TensorFlow or Mpi", distribution.at("distributionType"));
    if (task.distribution != "TensorFlow") {
        task.processes = TURNOUT_TRY(whole(distribution.at("processCountPerInstance"), 1, 1,
                                           kMostProcesses, field + ".processCountPerInstance"));
        return {};
    }
    const std::int64_t most = kMostProcesses * task.node_count;
    task.worker_count = TURNOUT_TRY(
        whole(distribution.at("workerCount"), task.node_count, 1, most, field + ".workerCount"));
    task.parameter_servers = TURNOUT_TRY(whole(distribution.at("parameterServerCount"), 0, 0, most,
                                               field + ".parameterServerCount"));
    const int all = task.worker_count + task.parameter_servers;
    if (all < task.node_count)
        return refuse("InvalidDistribution",
                      std::to_string(all) +
                          " processes (workers and parameter servers) leave some of the " +
                          std::to_string(task.node_count) +
                          " nodes without any: lower instance_count or raise worker_count",
                      field + ".workerCount");
    if (all > most)
        return refuse("InvalidDistribution",
                      "a node runs at most " + std::to_string(kMostProcesses) + " processes",
                      field + ".workerCount");
    return {};
}

Result<void> check_node_count(int wanted, const std::string& compute, int most, int slots) {
    if (wanted == 1) return {};
    const std::string asks = "the job asks for " + std::to_string(wanted) + " nodes, ";
    if (compute != "serverless" && wanted > most)
        return refuse("TooManyNodes",
                      asks + "compute '" + compute + "' has at most " + std::to_string(most) +
                          ": raise its max_instances or lower instance_count",
                      "resources.instanceCount");
    if (wanted > slots)
        return refuse(
            "TooManyNodes",
            asks + "this server has room for " + std::to_string(slots) +
                " at a time: start it with more (`turnout down`, then `turnout up --slots " +
                std::to_string(wanted) + "`) or lower instance_count",
            "resources.instanceCount");
    return {};
}

Result<void> check_instance_type(const Json& resources, const std::string& compute,
                                 const std::string& vm_size) {
    const std::string wanted = resources.at("instanceType").as_string();
    if (wanted.empty() || equal_ignoring_case(wanted, vm_size)) return {};
    return refuse("InstanceTypeNotThere",
                  "compute '" + compute + "' has nodes of size " + vm_size + ", not '" +
                      wanted.substr(0, 64) +
                      "': leave instance_type out, or choose a compute of that size",
                  "resources.instanceType");
}

Result<int> read_priority(const Json& queue_settings) {
    const Json& tier = queue_settings.at("jobTier");
    if (!tier.is_null()) {
        bool known = tier.as_view().empty();
        for (const std::string_view each : {"Null", "Spot", "Basic", "Standard", "Premium"})
            known = known || equal_ignoring_case(tier.as_view(), each);
        if (!known)
            return not_as_expected("InvalidQueueSettings", "queueSettings.jobTier",
                                   "Spot, Basic, Standard or Premium", tier);
    }
    const Json& priority = queue_settings.at("priority");
    if (priority.is_null()) return 0;
    constexpr std::array<std::string_view, 3> kNames{"low", "medium", "high"};
    for (int i = 0; i < 3; ++i)
        if ((priority.is_int() && priority.as_int() == i + 1) ||
            equal_ignoring_case(priority.as_view(), kNames[static_cast<std::size_t>(i)]))
            return i - 1;
    return not_as_expected("InvalidQueueSettings", "queueSettings.priority",
                           "1 (low), 2 (medium) or 3 (high)", priority);
}

}  // namespace turnout::api::arm
