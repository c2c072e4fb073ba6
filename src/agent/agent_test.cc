// An attempt on a real node: from its lease to its end, whatever is killed meanwhile.
#include "agent/test_agent.h"

namespace turnout::agent {
namespace {

TEST_F(AgentTest, EchoRunsAndItsOutputsArrive) {
    const std::string go = folder + "/go";
    auto id = lease("echo hello; while [ ! -e " + go + " ]; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return !phases[id].empty() && phases[id].back() == Phase::Running; }));
    EXPECT_TRUE(until([&] { return log(id) == "hello\n"; })) << log(id);
    std::ofstream(go) << "x";
    auto ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::None) << ending.message;
    EXPECT_EQ(log(id), "hello\n");

    auto second = lease(
        "mkdir -p outputs/deep && echo model > 'outputs/deep/a b.txt' && echo l > logs/l && echo d "
        "> ${{outputs.data}}/d && echo \"$AZURE_ML_INPUT_x $SECRET_OF_SERVER-\" ${{inputs.x}}",
        [](TaskSpec& task) {
            task.outputs.push_back({"data", "uri_folder", "rw_mount", {"store", "target/"}});
            TaskInput input;
            input.name = "x";
            input.type = "literal";
            input.literal = "a;b";
            task.inputs.push_back(input);
            task.environment.notices = {"a notice"};
        });
    EXPECT_EQ(end_of(second).cause, Cause::None) << log(second);
    EXPECT_EQ(log(second), "a notice\na;b - a;b\n");
    EXPECT_EQ(blobs["artifacts/dcid." + second.job + "/outputs/deep/a b.txt"], "model\n");
    EXPECT_EQ(blobs["artifacts/dcid." + second.job + "/logs/l"], "l\n");
    EXPECT_EQ(blobs["store/target/d"], "d\n");
    EXPECT_TRUE(until([&] { return files_of_attempts() == 0; }))
        << "acknowledged attempts are deleted";
}

TEST_F(AgentTest, InputsAndSnapshot) {
    blobs["data/in/a.txt"] = "A";
    blobs["data/in/sub/b.txt"] = "B";
    blobs["data/inner.txt"] = "not mine";
    blobs["data/one.csv"] = "1,2";
    std::ofstream(folder + "/local file.txt") << "local";
    auto id = lease(
        "cat ${{inputs.dir}}/a.txt ${{inputs.dir}}/sub/b.txt ${{inputs.file}} ${{inputs.local}} && "
        "ls ${{inputs.dir}} && touch ${{inputs.copy}}/new",
        [&](TaskSpec& task) {
            TaskInput input;
            input.name = "dir";
            input.type = "uri_folder";
            input.mode = "ro_mount";
            input.blobs = BlobFolder{"data", "in/"};
            task.inputs.push_back(input);
            input.name = "copy";
            input.mode = "download";
            task.inputs.push_back(input);
            input.name = "file";
            input.type = "uri_file";
            input.blobs = BlobFolder{"data", "one.csv"};
            task.inputs.push_back(input);
            input.name = "local";
            input.mode = "direct";
            input.blobs.reset();
            input.local_path = folder + "/local file.txt";
            task.inputs.push_back(input);
        });
    EXPECT_EQ(end_of(id).cause, Cause::None) << log(id);
    EXPECT_EQ(log(id), "AB1,2locala.txt\nsub\n");

    auto missing = lease("true", [](TaskSpec& task) {
        TaskInput input;
        input.name = "gone";
        input.type = "uri_file";
        input.mode = "download";
        input.blobs = BlobFolder{"data", "nothing"};
        task.inputs.push_back(input);
    });
    auto ending = end_of(missing);
    EXPECT_EQ(ending.cause, Cause::Input);
    EXPECT_NE(ending.message.find("'gone'"), std::string::npos);

    auto placeholder = lease("echo ${{inputs.nope}}");
    EXPECT_EQ(end_of(placeholder).cause, Cause::Input);
    EXPECT_NE(log(placeholder).find("'nope'"), std::string::npos);
}

// A file's header and its content, of a tar archive.
std::string tar_entry(const std::string& name, const std::string& content, char type = '0') {
    std::string head(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) {
        head.replace(at, text.size(), text);
    };
    const auto octal = [](std::size_t value) {
        char text[13];
        std::snprintf(text, sizeof text, "%011zo", value);
        return std::string(text);
    };
    put(0, name.substr(0, 100));
    put(100, "0000644");
    put(124, octal(content.size()));
    head[156] = type;
    put(257, std::string("ustar\0"
                         "00",
                         8));
    put(148, "        ");
    std::size_t sum = 0;
    for (const char c : head) sum += static_cast<unsigned char>(c);
    put(148, octal(sum).substr(5) + '\0');
    std::string all =
        (name.size() > 100 ? tar_entry("long", name, 'L') : std::string()) + head + content;
    all.resize((all.size() + 511) / 512 * 512);
    return all;
}

TEST_F(AgentTest, ABadCodeTreeIsTheJobsFault) {
    std::string deep;
    for (int i = 0; i < 300; ++i) deep += "d/";
    const std::map<std::string, std::string> trees{
        {"long", tar_entry(std::string(300, 'n'), "x")},
        {"deep", tar_entry(deep + "x", "x")},
        {"file-and-folder", tar_entry("a", "x") + tar_entry("a/b", "x")},
        {"folder-and-file", tar_entry("a/b", "x") + tar_entry("a", "x")},
        {"twice", tar_entry("a", "x") + tar_entry("a", "x")},
        {"link", tar_entry("a", "", '2')},
    };
    for (const auto& [name, tree] : trees) {
        tars["/turnout/blobs/code/tar?prefix=" + name] = tree + std::string(1024, '\0');
        const auto id = lease("true", [&](TaskSpec& task) {
            task.code = BlobFolder{"code", name};
            task.code_hash = "hash-" + name;
        });
        const Ending ending = end_of(id);
        EXPECT_EQ(ending.cause, Cause::Input) << name << ": " << ending.message;
        EXPECT_NE(ending.message.find("the code snapshot could not be "), std::string::npos)
            << ending.message;
    }
}

TEST_F(AgentTest, WhatWasNotUploadedIsSaidAtTheEnd) {
    auto id = lease("mkdir -p outputs && ln -s /etc outputs/elsewhere && echo x > outputs/kept");
    const Ending ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::None);
    EXPECT_EQ(
        ending.message,
        "1 output was not uploaded: 'work/outputs/elsewhere' (why: system_logs/not_uploaded.txt)");
}

TEST_F(AgentTest, FailuresTellExitCodeAndLastLines) {
    auto id = lease("for i in $(seq 30); do echo line $i; done; exit 3");
    auto ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::UserCode);
    EXPECT_EQ(ending.exit_code, 3);
    ASSERT_EQ(ending.last_lines.size(), 20u);
    EXPECT_EQ(ending.last_lines.back(), "line 30");

    auto unknown = lease("no-such-program --x");
    EXPECT_EQ(end_of(unknown).cause, Cause::UserCode);
    EXPECT_EQ(ends[unknown].exit_code, 127);
    EXPECT_NE(log(unknown).find("no-such-program"), std::string::npos);

    auto killed = lease("kill -SEGV $$");
    EXPECT_EQ(end_of(killed).signal, SIGSEGV);
    EXPECT_EQ(ends[killed].exit_code, 139);
}

TEST_F(AgentTest, CancelKillsATreeThatIgnoresTerm) {
    auto id = lease(
        "trap '' TERM; (trap '' TERM; setsid sleep 1000 & sleep 1000 & wait) & echo ready; while "
        ":; do sleep 1; done");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    std::string name = "ws/" + id.job + "/1";
    EXPECT_TRUE(until([&] { return processes_with(name).size() >= 3; }));
    say(Cancel{id, Cause::Canceled, 200ms});
    EXPECT_EQ(end_of(id).cause, Cause::Canceled);
    EXPECT_TRUE(processes_with(name).empty());
}

TEST_F(AgentTest, BackgroundChildrenEndWithTheCommand) {
    auto id = lease("setsid sh -c 'sleep 1000; echo late' & echo done");
    EXPECT_EQ(end_of(id).cause, Cause::None);
    EXPECT_EQ(log(id), "done\n");
    EXPECT_TRUE(processes_with("ws/" + id.job + "/1").empty());
}

TEST_F(AgentTest, KilledAgentLosesNothing) {
    std::string go = folder + "/go";
    auto id = lease("for i in $(seq 1000); do echo line $i; done; while [ ! -e " + go +
                    " ]; do sleep 0.01; done; for i in $(seq 1001 2000); do echo line $i; done");
    ASSERT_TRUE(until([&] { return log(id).find("line 10\n") != std::string::npos; }));
    kill_agent();
    std::ofstream(go) << "x";
    std::string marker = "ws/" + id.job + "/1";
    ASSERT_TRUE(until([&] { return processes_with(marker).empty(); }))
        << "the task ends without the agent";
    start_agent();
    auto ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::None) << ending.message;
    std::string wanted;
    for (int i = 1; i <= 2000; ++i) wanted += "line " + std::to_string(i) + "\n";
    EXPECT_EQ(log(id), wanted);
    EXPECT_FALSE(gap);
}

TEST_F(AgentTest, KilledAgainAndAgainAJobRunsOnce) {
    std::string ran = folder + "/ran";
    auto id = lease("echo x >> " + ran + "; sleep 0.5; echo end");
    // A lease that never arrived is said again by the server, after every Hello.
    TaskSpec task;
    task.command = "echo x >> " + ran + "; sleep 0.5; echo end";
    task.run_token = Secret("run-token");
    repeated = Lease{id, to_json(task)};
    for (int i = 0; i < 6; ++i) {
        loop.run(loop.sleep(Span(1000 * (3 + 17 * i))));
        kill_agent();
        start_agent();
    }
    EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(log(id), "end\n");
    EXPECT_EQ(*read_file(ran), "x\n");
}

TEST_F(AgentTest, KilledSupervisorTakesItsTasksAndSaysSo) {
    auto id = lease("setsid sleep 1000 & echo ready; sleep 1000");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    kill_supervisor();
    EXPECT_EQ(end_of(id).cause, Cause::NodeLost);
    EXPECT_TRUE(processes_with("ws/" + id.job + "/1").empty());
    EXPECT_EQ(log(id), "ready\n");
    auto next = lease("echo again");
    EXPECT_EQ(end_of(next).cause, Cause::None);
}

TEST_F(AgentTest, ANodeWhoseFolderIsRemovedEndsWithAllThatRunsThere) {
    auto id = lease("setsid sleep 1000 & echo ready; sleep 1000");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    remove_tree(folder + "/node");
    int status = 0;
    ASSERT_TRUE(until([&] { return waitpid(agent, &status, WNOHANG) == agent; }));
    agent = 0;
    EXPECT_EQ(WEXITSTATUS(status), 70);
    EXPECT_TRUE(processes_with("ws/" + id.job + "/1").empty());
    ASSERT_TRUE(until([&] { return !link; })) << "or the next one's lease is told to this one";
    // The next one begins anew.
    start_agent();
    auto next = lease("echo again");
    EXPECT_EQ(end_of(next).cause, Cause::None);
}

TEST_F(AgentTest, AnAttemptSeesNothingOfTheOneBefore) {
    const std::string look = "find .. -mindepth 1 | sort | tr '\\n' ' '";
    const std::string empty = "../tmp ../work ../work/logs ../work/outputs ";
    // What each of them leaves is in the way of giving its folder to the next.
    for (const char* leave :
         {"true", "echo x > file", "echo x > outputs/x", "echo x > logs/x", "echo x > $TMPDIR/x",
          "echo x > ../x", "mkdir outputs/deep", "rmdir outputs", "chmod 500 .",
          "ln -s /etc logs/link", "echo x > y; rm y"}) {
        auto id = lease(look + "; " + leave);
        EXPECT_EQ(end_of(id).cause, Cause::None) << leave;
        EXPECT_EQ(log(id), empty) << "after " << leave;
        EXPECT_EQ(blobs["artifacts/dcid." + id.job + "/outputs/x"],
                  std::string_view(leave) == "echo x > outputs/x" ? "x\n" : "");
    }
    auto last = lease(look);
    EXPECT_EQ(end_of(last).cause, Cause::None);
    EXPECT_EQ(log(last), empty);
    kill_agent();
    start_agent();
    EXPECT_TRUE(until([&] { return hellos > 1 && fs::is_empty(folder + "/node/attempts"); }))
        << "a new life removes what nobody needs";
}

// One that runs until it is told, and some behind it that the supervisor holds.
TEST_F(AgentTest, WhatWaitsAtTheSupervisorOutlivesTheAgent) {
    const std::string go = folder + "/go", ran = folder + "/ran";
    auto first = lease("echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return log(first) == "ready\n"; }));
    std::vector<AttemptId> more;
    std::string wanted;
    for (int i = 0; i < 12; ++i) {
        more.push_back(lease("echo " + std::to_string(i) + " >> " + ran));
        wanted += std::to_string(i) + "\n";
    }
    ASSERT_TRUE(until([&] { return phases[more.back()].size() == 1; }));
    kill_agent();
    start_agent();
    ASSERT_TRUE(until([&] { return hellos >= 2; }));
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(first).cause, Cause::None);
    for (const auto& id : more) EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(*read_file(ran), wanted) << "in the order of the leases, each once";
}

TEST_F(AgentTest, ItSaysHelloInWordsThatTheServerSpeaks) {
    ASSERT_TRUE(until([&] { return hellos >= 1; }));
    EXPECT_EQ(hello.protocol, 1) << "the server of before says nothing of versions";
    EXPECT_GT(hello.facts.cores, 0);
    EXPECT_GT(hello.facts.memory_bytes, 0);
    EXPECT_EQ(hello.facts.free_disk_bytes, 0) << "which that one has no word for";
    speaks = "1-2";  // and is replaced
    link->close();
    ASSERT_TRUE(until([&] { return hellos >= 2; }));
    EXPECT_EQ(hello.protocol, 2);
    EXPECT_GT(hello.facts.free_disk_bytes, 0);
    EXPECT_FALSE(hello.facts.host.empty());
    speaks = to_text(Speaks{2, kVersion + 1});  // by the next one
    link->close();
    ASSERT_TRUE(until([&] { return hellos >= 3; }));
    EXPECT_EQ(hello.protocol, kVersion);
    const AttemptId id = lease("echo done");
    EXPECT_EQ(end_of(id).cause, Cause::None);
}

TEST_F(AgentTest, WhatWaitedAtAKilledSupervisorRunsAfterwards) {
    const std::string ran = folder + "/ran";
    auto first = lease("echo ready; sleep 1000");
    ASSERT_TRUE(until([&] { return log(first) == "ready\n"; }));
    std::vector<AttemptId> more;
    for (int i = 0; i < 12; ++i) more.push_back(lease("echo x >> " + ran));
    ASSERT_TRUE(until([&] { return phases[more.back()].size() == 1; }));
    kill_supervisor();
    EXPECT_EQ(end_of(first).cause, Cause::NodeLost);
    for (const auto& id : more) EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(read_file(ran)->size(), 2 * more.size());
}

TEST_F(AgentTest, WhatWaitsCanBeRevokedAndCanceled) {
    const std::string go = folder + "/go", ran = folder + "/ran";
    auto first = lease("echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return log(first) == "ready\n"; }));
    auto revoked = lease("echo revoked >> " + ran), canceled = lease("echo canceled >> " + ran),
         last = lease("echo last >> " + ran);
    for (int i = 0; i < 12; ++i) lease("true");
    auto behind = lease("echo behind >> " + ran);  // the agent still has it
    ASSERT_TRUE(until([&] { return phases[behind].size() == 1; }));
    for (const auto& id : {first, revoked, behind}) say(Cancel{id, Cause::Preempted, 30s, true});
    say(Cancel{canceled, Cause::Canceled, 30s});
    EXPECT_EQ(end_of(revoked).cause, Cause::Preempted);
    EXPECT_EQ(ends[revoked].exit_code, -1);
    EXPECT_EQ(end_of(behind).cause, Cause::Preempted);
    EXPECT_EQ(end_of(canceled).cause, Cause::Canceled);
    EXPECT_FALSE(ends.contains(first));
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(first).cause, Cause::None);
    EXPECT_EQ(end_of(last).cause, Cause::None);
    EXPECT_EQ(*read_file(ran), "last\n");
}

TEST_F(AgentTest, TimeLimitAndMemoryLimit) {
    auto id = lease("sleep 1000", [](TaskSpec& task) { task.timeout = 300ms; });
    auto ending = end_of(id);
    EXPECT_EQ(ending.cause, Cause::Timeout);
    auto greedy = lease("python3 -c 'x = bytearray(300_000_000); import time; time.sleep(1000)'",
                        [](TaskSpec& task) { task.memory_limit_bytes = 100 << 20; });
    EXPECT_EQ(end_of(greedy).cause, Cause::OutOfMemory) << ends[greedy].message;
}

TEST_F(AgentTest, MlflowAppendsAreKeptWhileTheServerIsAwayAndShippedInOrderOnce) {
    mlflow_away = true;
    std::string go = folder + "/go";
    auto id = lease("echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    auto http_client = http::make_client(
        loop, {.origin = "http://" + *read_file(folder + "/node/mlflow.address")});
    auto post = [&](std::string path, std::string body, std::string token) {
        http::ClientRequest request;
        request.method = "POST";
        request.url = "/mlflow/v1.0/x/api/2.0/mlflow/" + path;
        request.headers.set("Authorization", "Bearer " + token);
        request.body = std::move(body);
        auto response = loop.run(http_client->send(std::move(request)));
        return response ? response->status : 0;
    };
    EXPECT_EQ(post("runs/log-metric", "{}", "wrong"), 401);
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(post("runs/log-metric",
                       R"({"run_id":")" + id.job + R"(","key":"m","value":)" + std::to_string(i) +
                           R"(,"timestamp":1,"step":0})",
                       "run-token"),
                  200);
    kill_agent();
    start_agent();
    ASSERT_TRUE(until([&] { return hellos >= 2; }));
    EXPECT_EQ(
        post("runs/log-batch",
             R"({"run_id":")" + id.job + R"(","params":[{"key":"p","value":"1"}]})", "run-token"),
        200);
    EXPECT_TRUE(appends.empty());
    std::ofstream(go) << "x";
    mlflow_away = false;
    EXPECT_EQ(end_of(id).cause, Cause::None);
    ASSERT_EQ(appends.size(), 6u);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(appends[i].first, "1:" + std::to_string(i + 1));
    EXPECT_NE(appends[4].second.find("\"value\":4"), std::string::npos);
}

TEST_F(AgentTest, AnAppendThatFoundNoRoomTakesNoNumber) {
    const std::string go = folder + "/go";
    auto id = lease("echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    auto post = [&](int value) {
        http::ClientRequest request;
        request.method = "POST";
        request.url = "/mlflow/v1.0/x/api/2.0/mlflow/runs/log-metric";
        request.headers.set("Authorization", "Bearer run-token");
        request.body = R"({"run_id":")" + id.job + R"(","key":"m","value":)" +
                       std::to_string(value) + R"(,"timestamp":1,"step":0})";
        auto gate = http::make_client(
            loop, {.origin = "http://" + *read_file(folder + "/node/mlflow.address")});
        auto response = loop.run(gate->send(std::move(request)));
        return response ? response->status : 0;
    };
    const rlimit full{10, RLIM_INFINITY}, roomy{RLIM_INFINITY, RLIM_INFINITY};
    ASSERT_EQ(prlimit(agent, RLIMIT_FSIZE, &full, nullptr), 0);
    EXPECT_EQ(post(1), 500);
    ASSERT_EQ(prlimit(agent, RLIMIT_FSIZE, &roomy, nullptr), 0);
    kill_agent();
    start_agent();
    ASSERT_TRUE(until([&] { return hellos >= 2; }));
    EXPECT_EQ(post(2), 200);
    EXPECT_EQ(post(3), 200);
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(id).cause, Cause::None);
    ASSERT_EQ(appends.size(), 2u);
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(appends[i].first, "1:" + std::to_string(i + 1));
        EXPECT_NE(appends[i].second.find("\"value\":" + std::to_string(i + 2)), std::string::npos);
    }
}

TEST_F(AgentTest, LimitsOfProcessorsAndSharedMemory) {
    auto id = lease("nproc; df -B1 --output=size /dev/shm | tail -1 | tr -d ' '; exit 3",
                    [](TaskSpec& task) {
                        task.cpu_limit_millicores = 1000;
                        task.shm_size_bytes = 8 << 20;
                    });
    EXPECT_EQ(end_of(id).exit_code, 3);
    const std::string text = log(id);
    // Where the machine allows no mount of its own, the job is told so.
    EXPECT_TRUE(text == "1\n8388608\n" || text.starts_with("turnout: shm_size is not set")) << text;
}

TEST_F(AgentTest, AnotherAttemptBeginsWithWhatTheEarlierWrote) {
    const std::string prefix = "artifacts/dcid.prefilled/";
    blobs[prefix + "outputs/steps/state"] = "7";
    blobs[prefix + "outputs/same"] = "same";
    blobs[prefix + "user_logs/std_log.txt"] = "no output";
    blobs["store/target/checkpoint"] = "c";
    blobs["store/one"] = "f";
    auto id = lease(
        "cat outputs/steps/state ${{outputs.data}}/checkpoint ${{outputs.file}}; ls; echo -n 8 > "
        "outputs/steps/state; echo -n new > ${{outputs.data}}/new",
        [](TaskSpec& task) {
            task.artifacts = {"artifacts", "dcid.prefilled"};
            task.prefill_outputs = true;
            task.outputs.push_back({"data", "uri_folder", "rw_mount", {"store", "target/"}});
            task.outputs.push_back({"file", "uri_file", "rw_mount", {"store", "one"}});
        });
    puts.clear();
    EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(log(id), "7cflogs\noutputs\n");
    EXPECT_EQ(blobs[prefix + "outputs/steps/state"], "8");
    EXPECT_EQ(puts,
              (std::multiset<std::string>{prefix + "outputs/steps/state", "store/target/new"}))
        << "what did not change is not sent again";
}

// Of several nodes each has what the earlier attempt wrote: it is no node's own, in no life of the
// agent.
TEST_F(AgentTest, WhatAnEarlierAttemptWroteIsNotSentAgainByAnAgentThatWasKilled) {
    const std::string prefix = "artifacts/dcid.prefilled/", go = folder + "/go";
    blobs[prefix + "outputs/of-another"] = "1";
    auto id = lease(
        "echo ready; echo -n mine > outputs/mine; while [ ! -e " + go + " ]; do sleep 0.01; done",
        [](TaskSpec& task) {
            task.artifacts = {"artifacts", "dcid.prefilled"};
            task.prefill_outputs = true;
        });
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    kill_agent();
    puts.clear();
    start_agent();
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(puts, (std::multiset<std::string>{prefix + "outputs/mine"}));
}

// What is under way for a forgotten attempt does not reach the next one by way of its folder.
TEST_F(AgentTest, AFolderIsNotUsedAgainWhileItIsWrittenTo) {
    blobs["artifacts/earlier/outputs/state"] = "7";
    blobs_held = true;
    auto canceled = lease("true", [](TaskSpec& task) {
        task.artifacts = {"artifacts", "earlier"};
        task.prefill_outputs = true;
    });
    ASSERT_TRUE(until([&] { return blobs_asked == 1; }));
    say(Cancel{canceled, Cause::Canceled, 1s});
    EXPECT_EQ(end_of(canceled).cause, Cause::Canceled);
    const std::string go = folder + "/go";
    auto next = lease("echo ready; while [ ! -e " + go + " ]; do sleep 0.01; done; ls outputs");
    ASSERT_TRUE(until([&] { return log(next) == "ready\n"; }));
    blobs_held = false;
    // The canceled one's folder goes when its download is over.
    EXPECT_TRUE(until(
        [&] { return std::distance(fs::directory_iterator(folder + "/node/attempts"), {}) == 1; }));
    std::ofstream(go) << "x";
    EXPECT_EQ(end_of(next).cause, Cause::None);
    EXPECT_EQ(log(next), "ready\n");
}

TEST_F(AgentTest, OfSeveralNodesTheLowestRanksFileStays) {
    const std::string outputs = "artifacts/gang/outputs/";
    auto id = lease(
        "for name in of-first of-last of-earlier of-nobody mine; do echo -n 1 > outputs/$name; "
        "done",
        [](TaskSpec& task) {
            task.artifacts = {"artifacts", "gang"};
            task.node_count = 3;
            task.rank = 1;
            task.master_port = 4567;
        });
    for (const char* name : {"of-first", "of-last", "of-earlier", "of-nobody"})
        blobs[outputs + name] = "there";
    writers[outputs + "of-first"] = "ws/" + id.job + "/1/0";
    writers[outputs + "of-last"] = "ws/" + id.job + "/1/2";
    writers[outputs + "of-earlier"] = "ws/" + id.job + "/0/0";
    EXPECT_EQ(end_of(id).cause, Cause::None) << ends[id].message;
    EXPECT_EQ(blobs[outputs + "of-first"], "there");
    for (const char* name : {"of-last", "of-earlier", "of-nobody", "mine"}) {
        EXPECT_EQ(blobs[outputs + name], "1") << name;
        EXPECT_EQ(writers[outputs + name], "ws/" + id.job + "/1/1") << name;
    }
}

TEST_F(AgentTest, LeaveEndsTheNode) {
    auto id = lease("echo ready; sleep 1000");
    ASSERT_TRUE(until([&] { return log(id) == "ready\n"; }));
    say(Leave{});
    EXPECT_TRUE(until([&] { return waitpid(agent, nullptr, WNOHANG) == agent; }));
    agent = 0;
    EXPECT_TRUE(processes_with("ws/" + id.job + "/1").empty());
    EXPECT_FALSE(exists(folder + "/node/attempts"));
}

}  // namespace
}  // namespace turnout::agent
