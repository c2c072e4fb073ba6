#include "agent/ranks.h"

#include <gtest/gtest.h>

#include <map>

#include "agent/node_core.h"
#include "base/json.h"

namespace turnout::agent {
namespace {

TaskSpec task_of(std::string distribution, int nodes, int rank, int processes) {
    TaskSpec task;
    task.distribution = std::move(distribution);
    task.node_count = nodes;
    task.rank = rank;
    task.processes = processes;
    return task;
}

std::map<std::string, std::string> variables(const TaskSpec& task, int rank,
                                             const Meeting& meeting) {
    const auto list = variables_of_rank(task, rank, meeting);
    return {list.begin(), list.end()};
}

TEST(Ranks, OneProcessHasThePlainLog) {
    const TaskSpec task = task_of("", 1, 0, 1);
    EXPECT_EQ(world_size(task), 1);
    EXPECT_EQ(ranks_here(task), std::vector{0});
    EXPECT_EQ(stream_name(task, kStdLog), "user_logs/std_log.txt");
    EXPECT_EQ(stream_name(task, kEnvironmentLog), "azureml-logs/20_environment.txt");
    EXPECT_EQ(variables(task, 0, {}),
              (std::map<std::string, std::string>{{"AZUREML_NODE_COUNT", "1"}}));
    EXPECT_EQ(stream_name(task_of("PyTorch", 1, 0, 1), kStdLog), "user_logs/std_log.txt");
}

TEST(Ranks, PyTorchHasARowOnEachNode) {
    const TaskSpec task = task_of("PyTorch", 3, 2, 2);
    EXPECT_EQ(world_size(task), 6);
    EXPECT_EQ(ranks_here(task), (std::vector{4, 5}));
    EXPECT_EQ(log_of_rank(task, 5), "user_logs/std_log_process_5.txt");
    EXPECT_EQ(stream_name(task, kStdLog), "user_logs/std_log_process_4.txt");
    EXPECT_EQ(stream_name(task, kEnvironmentLog), "azureml-logs/20_environment_2.txt");
    EXPECT_EQ(stream_name(task, "user_logs/std_log_process_5.txt"),
              "user_logs/std_log_process_5.txt");
    auto found = variables(task, 5, {"10.0.0.4", {6105}});
    EXPECT_EQ(found["RANK"], "5");
    EXPECT_EQ(found["LOCAL_RANK"], "1");
    EXPECT_EQ(found["WORLD_SIZE"], "6");
    EXPECT_EQ(found["LOCAL_WORLD_SIZE"], "2");
    EXPECT_EQ(found["NODE_RANK"], "2");
    EXPECT_EQ(found["MASTER_ADDR"], "10.0.0.4");
    EXPECT_EQ(found["MASTER_PORT"], "6105");
    EXPECT_EQ(found["AZUREML_NODE_COUNT"], "3");
    EXPECT_FALSE(found.contains("OMPI_COMM_WORLD_RANK") || found.contains("TF_CONFIG"));
}

TEST(Ranks, MpiHasOpenMpisVariables) {
    auto found = variables(task_of("Mpi", 2, 1, 2), 3, {"10.0.0.4", {6105}});
    EXPECT_EQ(found["OMPI_COMM_WORLD_RANK"], "3");
    EXPECT_EQ(found["OMPI_COMM_WORLD_SIZE"], "4");
    EXPECT_EQ(found["OMPI_COMM_WORLD_LOCAL_RANK"], "1");
    EXPECT_EQ(found["OMPI_COMM_WORLD_LOCAL_SIZE"], "2");
    EXPECT_EQ(found["AZ_BATCH_MASTER_NODE"], "10.0.0.4:6105");
    EXPECT_EQ(found["AZ_BATCHAI_MPI_MASTER_NODE"], "10.0.0.4");
}

TEST(Ranks, TensorFlowDealsWorkersAndServersToTheNodes) {
    TaskSpec task = task_of("TensorFlow", 2, 0, 1);
    task.worker_count = 3;
    task.parameter_servers = 2;
    EXPECT_EQ(world_size(task), 5);
    EXPECT_EQ(ranks_here(task), (std::vector{0, 2, 4}));
    task.rank = 1;
    EXPECT_EQ(ranks_here(task), (std::vector{1, 3}));
    EXPECT_EQ(stream_name(task, kStdLog), "user_logs/std_log_process_1.txt");
    EXPECT_EQ(ports_needed(task), 6);
    const Meeting meeting{"h", {1, 2, 3, 4, 5, 6}};
    const Json config = parse_json(variables(task, 3, meeting)["TF_CONFIG"]).value();
    EXPECT_EQ(config.at("cluster").dump(), R"({"worker":["h:2","h:3","h:4"],"ps":["h:5","h:6"]})");
    EXPECT_EQ(config.at("task").dump(), R"({"type":"ps","index":0})");
    EXPECT_EQ(parse_json(variables(task, 1, meeting)["TF_CONFIG"]).value().at("task").dump(),
              R"({"type":"worker","index":1})");
}

// Without a distribution the command runs once on each node.
TEST(Ranks, SeveralNodesWithoutADistribution) {
    const TaskSpec task = task_of("", 2, 1, 1);
    EXPECT_EQ(ranks_here(task), std::vector{1});
    EXPECT_EQ(stream_name(task, kStdLog), "user_logs/std_log_process_1.txt");
    EXPECT_EQ(variables(task, 1, {"h", {1}})["NODE_RANK"], "1");
}

}  // namespace
}  // namespace turnout::agent
