#include "agent/ranks.h"

#include <algorithm>

#include "agent/node_core.h"
#include "base/json.h"

namespace turnout::agent {

namespace {
bool is_tensorflow(const TaskSpec& task) {
    return task.distribution == "TensorFlow";
}
}  // namespace

int world_size(const TaskSpec& task) {
    const int size = is_tensorflow(task) ? task.worker_count + task.parameter_servers
                                         : task.node_count * task.processes;
    return std::max(1, size);
}

std::vector<int> ranks_here(const TaskSpec& task) {
    std::vector<int> ranks;
    if (is_tensorflow(task)) {
        for (int rank = task.rank; rank < world_size(task); rank += std::max(1, task.node_count))
            ranks.push_back(rank);
    } else {
        for (int i = 0; i < std::max(1, task.processes); ++i)
            ranks.push_back(task.rank * std::max(1, task.processes) + i);
    }
    if (ranks.empty()) ranks.push_back(task.rank);
    return ranks;
}

std::string log_of_rank(const TaskSpec& task, int rank) {
    if (world_size(task) == 1) return std::string(kStdLog);
    return "user_logs/std_log_process_" + std::to_string(rank) + ".txt";
}

std::string stream_name(const TaskSpec& task, std::string_view local) {
    if (local == kStdLog) {
        if (world_size(task) == 1) return std::string(local);
        return log_of_rank(task, ranks_here(task).front());
    }
    if (local == kEnvironmentLog && task.rank > 0)
        return "azureml-logs/20_environment_" + std::to_string(task.rank) + ".txt";
    return std::string(local);
}

std::vector<std::pair<std::string, std::string>> variables_of_rank(const TaskSpec& task, int rank,
                                                                   const Meeting& meeting) {
    std::vector<std::pair<std::string, std::string>> variables;
    const auto set = [&](const char* name, std::string value) {
        variables.emplace_back(name, std::move(value));
    };
    set("AZUREML_NODE_COUNT", std::to_string(task.node_count));
    if (task.distribution.empty() && task.node_count == 1) return variables;
    const std::vector<int> here = ranks_here(task);
    const auto local = std::to_string(std::find(here.begin(), here.end(), rank) - here.begin());
    const std::string port = std::to_string(meeting.ports.empty() ? 0 : meeting.ports[0]);
    set("NODE_RANK", std::to_string(task.rank));
    set("MASTER_ADDR", meeting.address);
    set("MASTER_PORT", port);
    if (is_tensorflow(task)) {
        Json workers = Json::array(), servers = Json::array();
        for (int each = 0; each < world_size(task); ++each) {
            const auto at = static_cast<std::size_t>(each) + 1;
            std::string place = meeting.address + ":" +
                                std::to_string(at < meeting.ports.size() ? meeting.ports[at] : 0);
            (each < task.worker_count ? workers : servers).push(std::move(place));
        }
        Json cluster = Json::object({{"worker", std::move(workers)}});
        if (task.parameter_servers > 0) cluster.set("ps", std::move(servers));
        const bool worker = rank < task.worker_count;
        set("TF_CONFIG",
            Json::object(
                {{"cluster", std::move(cluster)},
                 {"task", Json::object({{"type", worker ? "worker" : "ps"},
                                        {"index", worker ? rank : rank - task.worker_count}})},
                 {"environment", "cloud"}})
                .dump());
        return variables;
    }
    const std::string size = std::to_string(world_size(task)),
                      local_size = std::to_string(here.size());
    if (task.distribution == "Mpi") {
        set("OMPI_COMM_WORLD_RANK", std::to_string(rank));
        set("OMPI_COMM_WORLD_SIZE", size);
        set("OMPI_COMM_WORLD_LOCAL_RANK", local);
        set("OMPI_COMM_WORLD_LOCAL_SIZE", local_size);
        set("OMPI_COMM_WORLD_NODE_RANK", local);
        set("OMPI_UNIVERSE_SIZE", size);
        set("AZ_BATCH_MASTER_NODE", meeting.address + ":" + port);
        set("AZ_BATCHAI_MPI_MASTER_NODE", meeting.address);
    }
    set("RANK", std::to_string(rank));
    set("LOCAL_RANK", local);
    set("WORLD_SIZE", size);
    set("LOCAL_WORLD_SIZE", local_size);
    return variables;
}

}  // namespace turnout::agent
