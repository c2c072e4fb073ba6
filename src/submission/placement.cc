#include "submission/placement.h"

#include <array>

#include "base/text.h"
#include "resources/resources.h"
#include "resources/rules.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

// Its fields by the description of that part of a job.
Result<void> check_part(const char* part, const Json& given, const std::string& place,
                        const char* reason) {
    auto good = resources::check_rest(*resources::command_job().find(part)->object, given,
                                      "properties." + place, reason);
    if (!good && good.error().subject.ends_with(".shmSize")) good.error().reason = "InvalidShmSize";
    return good;
}

int number_of(const Json& value, std::int64_t fallback) {
    return static_cast<int>(value.as_int(fallback));
}

}  // namespace

Result<Processes> read_processes(const Json& resources, const Json& distribution) {
    Processes said;
    if (!resources.is_null())
        TURNOUT_TRY(check_part("resources", resources, "resources", "InvalidResources"));
    said.node_count = number_of(resources.at("instanceCount"), 1);
    const Json& size = resources.at("shmSize");
    if (const auto bytes =
            resources::parse_memory_size(size.is_string() ? size.as_string() : size.dump()))
        said.shm_size_bytes = *bytes;
    if (!distribution.is_object() || distribution.members().empty()) return said;
    const std::string field = "distribution";
    if (const Json& type = distribution.at("distributionType");
        type.is_null() || (type.is_string() && type.as_view().empty()))
        return not_as_expected("InvalidDistribution", field + ".distributionType",
                               "PyTorch, TensorFlow or Mpi", Json());
    TURNOUT_TRY(check_part("distribution", distribution, field,
                           equal_ignoring_case(distribution.at("distributionType").as_view(), "Ray")
                               ? "DistributionNotSupported"
                               : "InvalidDistribution"));
    for (const std::string_view known : {"PyTorch", "Mpi", "TensorFlow"})
        if (equal_ignoring_case(distribution.at("distributionType").as_view(), known))
            said.distribution = known;
    if (said.distribution != "TensorFlow") {
        said.processes = number_of(distribution.at("processCountPerInstance"), 1);
        return said;
    }
    const std::int64_t most = resources::kMostProcesses * said.node_count;
    for (const char* const count : {"workerCount", "parameterServerCount"})
        if (distribution.at(count).as_int() > most)
            return not_as_expected("InvalidDistribution", field + "." + count,
                                   "at most " + with_commas(most) + " on " +
                                       std::to_string(said.node_count) + " nodes",
                                   distribution.at(count));
    said.worker_count = number_of(distribution.at("workerCount"), said.node_count);
    said.parameter_servers = number_of(distribution.at("parameterServerCount"), 0);
    const int all = said.worker_count + said.parameter_servers;
    if (all < said.node_count)
        return refuse("InvalidDistribution",
                      std::to_string(all) +
                          " processes (workers and parameter servers) leave some of the " +
                          std::to_string(said.node_count) +
                          " nodes without any: lower instance_count or raise worker_count",
                      field + ".workerCount");
    if (all > most)
        return refuse(
            "InvalidDistribution",
            "a node runs at most " + std::to_string(resources::kMostProcesses) + " processes",
            field + ".workerCount");
    return said;
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

Result<void> check_instance_type(const std::string& wanted, const std::string& compute,
                                 const std::string& vm_size) {
    if (wanted.empty() || equal_ignoring_case(wanted, vm_size)) return {};
    return refuse("InstanceTypeNotThere",
                  "compute '" + compute + "' has nodes of size " + vm_size + ", not '" +
                      wanted.substr(0, 64) +
                      "': leave instance_type out, or choose a compute of that size",
                  "resources.instanceType");
}

Result<int> read_priority(const Json& queue_settings) {
    if (!queue_settings.is_null())
        TURNOUT_TRY(
            check_part("queue_settings", queue_settings, "queueSettings", "InvalidQueueSettings"));
    const Json& priority = queue_settings.at("priority");
    if (priority.is_null()) return 0;
    constexpr std::array<std::string_view, 3> kNames{"low", "medium", "high"};
    for (int i = 0; i < 3; ++i)
        if ((priority.is_int() && priority.as_int() == i + 1) ||
            equal_ignoring_case(priority.as_view(), kNames[static_cast<std::size_t>(i)]))
            return i - 1;
    return 0;
}

}  // namespace turnout::submission
