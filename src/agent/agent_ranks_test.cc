// Attempts of several processes and of several nodes.
#include "agent/test_agent.h"

namespace turnout::agent {
namespace {

TaskSpec& several(TaskSpec& task, int processes) {
    task.distribution = "PyTorch";
    task.processes = processes;
    return task;
}

TEST_F(AgentTest, SeveralProcessesEachWithItsLog) {
    auto id = lease(
        "echo notice $RANK $LOCAL_RANK/$WORLD_SIZE $MASTER_ADDR; for i in $(seq 2000); do echo "
        "\"$RANK line $i\"; done; echo x > /dev/stdout; echo $RANK > outputs/of-$RANK",
        [](TaskSpec& task) { several(task, 3); });
    EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_FALSE(gap);
    for (int rank = 0; rank < 3; ++rank) {
        const std::string r = std::to_string(rank);
        std::string wanted = "notice " + r + " " + r + "/3 127.0.0.1\n";
        for (int i = 1; i <= 2000; ++i) wanted += r + " line " + std::to_string(i) + "\n";
        wanted += "x\n";
        EXPECT_EQ((logs[{id, "user_logs/std_log_process_" + r + ".txt"}]), wanted);
        EXPECT_EQ(blobs["artifacts/dcid." + id.job + "/outputs/of-" + r], r + "\n");
    }
    EXPECT_FALSE((logs.contains({id, kStd})));
}

TEST_F(AgentTest, OneProcessThatFailsEndsTheOthers) {
    auto id =
        lease("if [ $RANK = 1 ]; then echo the reason; exit 7; fi; sleep 1000 & echo waits; wait",
              [](TaskSpec& task) { several(task, 3); });
    auto ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::UserCode);
    EXPECT_EQ(ending.exit_code, 7);
    EXPECT_EQ(ending.message, "process 1: the command ended with exit code 7");
    EXPECT_EQ(ending.last_lines, std::vector<std::string>{"the reason"});
    EXPECT_TRUE(processes_with("ws/" + id.job + "/1").empty());

    auto killed = lease("[ $RANK = 0 ] && kill -SEGV $$; sleep 1000",
                        [](TaskSpec& task) { several(task, 2); });
    EXPECT_EQ(end_of(killed).signal, SIGSEGV);
    EXPECT_NE(ends[killed].message.find("process 0: the command was killed by signal 11"),
              std::string::npos)
        << ends[killed].message;

    auto unknown = lease("no-such-program", [](TaskSpec& task) { several(task, 2); });
    EXPECT_EQ(end_of(unknown).exit_code, 127);
}

TEST_F(AgentTest, CancelOfSeveralProcessesLetsThemEndByThemselves) {
    auto id = lease(
        "exec python3 -uc 'import signal, sys, time\nsignal.signal(15, lambda *_: "
        "(print(\"asked\"), time.sleep(0.2), print(\"saved\"), "
        "sys.exit(0)))\nprint(\"ready\")\nwhile True: time.sleep(1)'",
        [](TaskSpec& task) { several(task, 2); });
    auto log_of = [&](int rank) {
        return logs[{id, "user_logs/std_log_process_" + std::to_string(rank) + ".txt"}];
    };
    ASSERT_TRUE(until([&] { return log_of(0) == "ready\n" && log_of(1) == "ready\n"; }));
    say(Cancel{id, Cause::Canceled, 20s});
    EXPECT_EQ(end_of(id).cause, Cause::Canceled);
    for (int rank : {0, 1}) EXPECT_EQ(log_of(rank), "ready\nasked\nsaved\n");
}

TEST_F(AgentTest, LogsOfSeveralProcessesOutliveTheAgent) {
    const std::string go = folder + "/go";
    auto id = lease(
        "echo $RANK begins; while [ ! -e " + go +
            " ]; do sleep 0.01; done; for i in $(seq 3000); do echo $RANK $i; done; exit $RANK",
        [](TaskSpec& task) { several(task, 2); });
    const std::string second = "user_logs/std_log_process_1.txt";
    ASSERT_TRUE(until([&] { return logs[{id, second}] == "1 begins\n"; }));
    kill_agent();
    std::ofstream(go) << "x";
    ASSERT_TRUE(until([&] { return processes_with("ws/" + id.job + "/1").empty(); }));
    start_agent();
    EXPECT_EQ(end_of(id).message, "process 1: the command ended with exit code 1");
    std::string wanted = "1 begins\n";
    for (int i = 1; i <= 3000; ++i) wanted += "1 " + std::to_string(i) + "\n";
    EXPECT_EQ((logs[{id, second}]), wanted);
    EXPECT_EQ(ends[id].last_lines.back(), "1 3000");
    EXPECT_FALSE(gap);
}

// Not the first node: its streams have names of their own, and the server said where to meet.
TEST_F(AgentTest, AnotherNodesRank) {
    auto id = lease(
        "echo $RANK $NODE_RANK $MASTER_ADDR:$MASTER_PORT "
        "$OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE",
        [](TaskSpec& task) {
            task.distribution = "Mpi";
            task.node_count = 2;
            task.rank = 1;
            task.master_address = "10.1.2.3";
            task.master_port = 4567;
        });
    EXPECT_EQ(end_of(id).cause, Cause::None);
    EXPECT_EQ((logs[{id, "user_logs/std_log_process_1.txt"}]), "1 1 10.1.2.3:4567 1/2\n");
    auto broken = lease("true", [](TaskSpec& task) {
        task.node_count = 2;
        task.rank = 1;
        task.environment.kind = TaskEnvironment::Kind::UserManaged;
        task.environment.hash = "x";
        task.environment.interpreter = "/nowhere/python3";
        task.environment.notices = {"a notice"};
    });
    EXPECT_EQ(end_of(broken).cause, Cause::Environment);
    EXPECT_NE((logs[{broken, "user_logs/std_log_process_1.txt"}].find("/nowhere/python3")),
              std::string::npos);
}

// Another node of the same attempt on the same machine, or one of another server that has an
// attempt of that name.
TEST_F(AgentTest, ProcessesOfAnotherNodeAreLeftAlone) {
    const std::string go = folder + "/go";
    auto id =
        lease("setsid sleep 1000 & echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done");
    const std::string marker = "ws/" + id.job + "/1";
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    std::vector<int> others;
    for (std::string second : {"TURNOUT_NODE_FOLDER=" + folder, std::string("A=b")}) {
        std::string name = "TURNOUT_ATTEMPT=" + marker, program = "/bin/sleep", time = "1000";
        char* argv[] = {program.data(), time.data(), nullptr};
        char* env[] = {name.data(), second.data(), nullptr};
        ASSERT_EQ(posix_spawn(&others.emplace_back(), program.c_str(), nullptr, nullptr, argv, env),
                  0);
    }
    EXPECT_GE(processes_with(marker).size(), 4u)
        << "the shell, what it left in a session of its own, and these";
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(id).cause, Cause::None);
    auto left = processes_with(marker);
    std::sort(left.begin(), left.end());
    std::sort(others.begin(), others.end());
    EXPECT_EQ(left, others);
    for (int other : others) {
        kill(other, SIGKILL);
        waitpid(other, nullptr, 0);
    }
}

}  // namespace
}  // namespace turnout::agent
