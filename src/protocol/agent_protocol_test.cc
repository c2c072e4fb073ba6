#include "protocol/agent_protocol.h"

#include <gtest/gtest.h>

namespace turnout::agent_protocol {
namespace {

const AttemptId kId{"ws-1", "brave_engine_1", 2};

FrameReader::Frame frame_of(const std::string& bytes) {
    FrameReader reader;
    reader.feed(bytes);
    auto frame = reader.next();
    EXPECT_TRUE(frame && *frame);
    return frame && *frame ? **frame : FrameReader::Frame{};
}

template <class T>
T through_server(const T& message) {
    auto decoded = decode_to_server(frame_of(encode(ToServer(message))));
    EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().message);
    return decoded && std::holds_alternative<T>(*decoded) ? std::get<T>(*decoded) : T{};
}

template <class T>
T through_agent(const T& message) {
    auto decoded = decode_to_agent(frame_of(encode(ToAgent(message))));
    EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().message);
    return decoded && std::holds_alternative<T>(*decoded) ? std::get<T>(*decoded) : T{};
}

TEST(AgentProtocol, MessagesToTheServerComeBackWhole) {
    Hello hello;
    hello.build = "0.1.0";
    hello.node = "ws-1/cpu-cluster/node-1";
    hello.boot_id = "b";
    hello.pid = 77;
    hello.facts.cores = 2;
    hello.facts.memory_bytes = std::int64_t{8} << 30;
    hello.facts.gpus = {{"Tesla V100", std::int64_t{16} << 30}};
    hello.facts.pythons = {"3.11.2", "3.10"};
    hello.attempts = {kId, {"ws-1", "other", 1}};
    auto hello_back = through_server(hello);
    EXPECT_EQ(hello_back.node, hello.node);
    EXPECT_EQ(hello_back.pid, 77);
    EXPECT_EQ(hello_back.facts, hello.facts);
    EXPECT_EQ(hello_back.attempts, hello.attempts);

    PhaseReport report{kId, Phase::Running, "x", 5s, {}};
    report.durations.environment = 7ms;
    auto report_back = through_server(report);
    EXPECT_EQ(report_back.id, kId);
    EXPECT_EQ(report_back.phase, Phase::Running);
    EXPECT_EQ(report_back.running_for, 5s);
    EXPECT_EQ(report_back.durations.environment, 7ms);

    EndReport end;
    end.id = kId;
    end.ending.cause = Cause::UserCode;
    end.ending.exit_code = 137;
    end.ending.signal = 9;
    end.ending.message = "killed";
    end.ending.last_lines = {"a", "b \xc3\xa9"};
    end.ending.peak_memory_bytes = 1234567;
    end.ending.durations.user_code = 9s;
    auto end_back = through_server(end);
    EXPECT_EQ(end_back.ending.cause, Cause::UserCode);
    EXPECT_EQ(end_back.ending.exit_code, 137);
    EXPECT_EQ(end_back.ending.signal, 9);
    EXPECT_EQ(end_back.ending.last_lines, end.ending.last_lines);
    EXPECT_EQ(end_back.ending.durations.user_code, 9s);

    LogChunk chunk{kId, "user_logs/std_log.txt", 5'000'000'000ULL, std::string("\0\xff\n", 3)};
    auto chunk_back = through_server(chunk);
    EXPECT_EQ(chunk_back.bytes, chunk.bytes);
    EXPECT_EQ(chunk_back.offset, chunk.offset);
    EXPECT_EQ(through_server(Pong{4}).sequence, 4);
    EXPECT_EQ(through_server(Broken{"it does not start"}).why, "it does not start");
}

TEST(AgentProtocol, MessagesToTheAgentComeBackWhole) {
    EXPECT_EQ(through_agent(Welcome{6h}).lost_node_after, 6h);
    EXPECT_EQ(through_agent(Welcome{6h}).max_running, 0);
    EXPECT_EQ(through_agent(Welcome{6h, 3}).max_running, 3);
    auto cancel = through_agent(Cancel{kId, Cause::Preempted, 5s});
    EXPECT_EQ(cancel.cause, Cause::Preempted);
    EXPECT_EQ(cancel.grace, 5s);
    EXPECT_FALSE(cancel.only_if_waiting);
    EXPECT_TRUE(through_agent(Cancel{kId, Cause::Preempted, 5s, true}).only_if_waiting);
    auto base = through_agent(Base{"abc", Json::object({{"command", "true"}})});
    EXPECT_EQ(base.hash, "abc");
    EXPECT_EQ(base.task.at("command").as_string(), "true");
    EXPECT_EQ(through_agent(Lease{kId, Json::object()}).base, "");
    EXPECT_EQ(through_agent(Lease{kId, Json::object(), "abc"}).base, "abc");
    EXPECT_EQ(through_agent(LogAck{kId, "user_logs/std_log.txt", 9}).offset, 9u);
    EXPECT_EQ(through_agent(EndAck{kId}).id, kId);
    EXPECT_EQ(through_agent(Ping{3}).sequence, 3);
    const auto reach = through_agent(Reach{kId, "a-1"});
    EXPECT_EQ(reach.id, kId);
    EXPECT_EQ(reach.channel, "a-1");
    for (const char* bad : {"", "a/b", "..", "a b", "é"})
        EXPECT_FALSE(decode_to_agent({encode(ToAgent(Reach{kId, bad})).substr(8), ""})) << bad;
    through_agent(Leave{});
}

TEST(AgentProtocol, TaskComesBackWhole) {
    TaskSpec task;
    task.command = "python train.py --x ${{inputs.x}}";
    task.code = BlobFolder{"ws-1-guid", "code"};
    task.code_hash = "abc";
    task.environment.kind = TaskEnvironment::Kind::Venv;
    task.environment.python_version = "3.11";
    task.environment.requirements = {"scikit-learn==1.5.*"};
    task.environment.notices = {"a notice"};
    task.environment.variables = {{"A", "1"}, {"A", "2"}};
    TaskInput input;
    input.name = "x";
    input.type = "uri_file";
    input.mode = "ro_mount";
    input.local_path = "";
    input.fetch = true;
    task.inputs.push_back(input);
    task.outputs.push_back({"y", "uri_folder", "rw_mount", {"c", "p/"}});
    task.timeout = 90s;
    task.memory_limit_bytes = 1 << 30;
    task.run_token = Secret("token");
    task.mlflow_path = "mlflow/v1.0/x";
    task.parameters = {{"rate", "0.1"}};
    task.distribution = "TensorFlow";
    task.node_count = 3;
    task.rank = 2;
    task.processes = 4;
    task.worker_count = 5;
    task.parameter_servers = 6;
    task.master_address = "127.0.0.1";
    task.master_port = 6105;
    task.shm_size_bytes = std::int64_t{2} << 30;
    task.prefill_outputs = true;
    auto lease = through_agent(Lease{kId, to_json(task)});
    auto back = task_from_json(lease.task);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(to_json(*back), to_json(task));
    EXPECT_EQ(back->run_token.reveal(), "token");
    EXPECT_EQ(back->inputs.at(0).local_path, "");
    EXPECT_FALSE(back->inputs.at(0).blobs);
    EXPECT_EQ(back->environment.variables.size(), 2u);
    EXPECT_FALSE(task_from_json(to_json(TaskSpec{}))->code);
}

TEST(AgentProtocol, AnOwnTaskReplacesMembersOfItsBase) {
    TaskSpec base;
    base.command =
        "python t.py --name ${{turnout.job}} --a ${{search_space.a}} --b ${{ search_space.b }} "
        "${{inputs.x}}";
    base.variables = {{"AZUREML_RUN_ID", "${{turnout.job}}"}, {"B", "kept"}};
    base.artifacts = {"store", "ExperimentRun/dcid.${{turnout.job}}"};
    base.outputs.push_back(
        {"model", "uri_folder", "rw_mount", {"c", "out/${{turnout.job}}/model/"}});
    base.timeout = 90s;
    const Json own = Json::object(
        {{"parameters",
          Json::array({Json::array({"a", "1e-3"}), Json::array({"b", "${{search_space.a}} $x"})})},
         {"run_token", "secret"},
         {"prefill_outputs", true}});
    const auto task = expand_task(base, own, kId);
    ASSERT_TRUE(task) << task.error().message;
    EXPECT_EQ(task->command,
              "python t.py --name brave_engine_1 --a ${{search_space.a}} --b ${{ search_space.b }} "
              "${{inputs.x}}");
    EXPECT_EQ(task->variables[0].second, "brave_engine_1");
    EXPECT_EQ(task->variables[1].second, "kept");
    EXPECT_EQ(task->artifacts.prefix, "ExperimentRun/dcid.brave_engine_1");
    EXPECT_EQ(task->outputs.at(0).target.prefix, "out/brave_engine_1/model/");
    EXPECT_EQ(task->timeout, 90s);
    EXPECT_EQ(task->run_token.reveal(), "secret");
    EXPECT_TRUE(task->prefill_outputs);

    // A list replaces the whole list; a member that is not there stays.
    const auto other = expand_task(
        base, Json::object({{"variables", Json::array({Json::array({"C", "c"})})}}), kId);
    ASSERT_TRUE(other);
    ASSERT_EQ(other->variables.size(), 1u);
    EXPECT_EQ(other->variables[0].first, "C");
    // Without parameters nothing is put in: whoever expands the command refuses the expression.
    EXPECT_NE(other->command.find("${{search_space.a}}"), std::string::npos);
    EXPECT_EQ(other->outputs.size(), 1u);
    EXPECT_FALSE(expand_task(base, Json::object({{"timeout", -1}}), kId));
}

TEST(AgentProtocol, FramesAreCutFromAnyPieces) {
    std::string bytes;
    for (int i = 0; i < 2000; ++i)
        bytes += encode(ToServer(LogChunk{kId, "a/b", std::uint64_t(i), std::string(i % 97, 'x')}));
    for (std::size_t piece : {1ul, 7ul, 4096ul, bytes.size()}) {
        FrameReader reader;
        int seen = 0;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            reader.feed(std::string_view(bytes).substr(at, piece));
            for (;;) {
                auto frame = reader.next();
                ASSERT_TRUE(frame);
                if (!*frame) break;
                auto message = decode_to_server(**frame);
                ASSERT_TRUE(message);
                EXPECT_EQ(std::get<LogChunk>(*message).offset, std::uint64_t(seen));
                EXPECT_EQ(std::get<LogChunk>(*message).bytes.size(), std::size_t(seen % 97));
                ++seen;
            }
        }
        EXPECT_EQ(seen, 2000);
    }
}

TEST(AgentProtocol, HostileInputIsRefused) {
    FrameReader reader;
    reader.feed(std::string("\xff\xff\xff\xff\0\0\0\0", 8));
    EXPECT_FALSE(reader.next());
    FrameReader tail;
    tail.feed(std::string("\0\0\0\2\0\x11\0\0", 8));
    EXPECT_FALSE(tail.next());

    for (
        const char* json :
        {"", "[]", "1", "{}", R"({"type":7})", R"({"type":"nonsense"})", R"({"type":"phase"})",
         R"({"type":"phase","id":{"workspace":"w","job":"j","attempt":1},"phase":"flying"})",
         R"({"type":"phase","id":{"workspace":"w","job":"j","attempt":99999999999},"phase":"running"})",
         R"({"type":"phase","id":{"workspace":"w","job":"j","attempt":-1},"phase":"running"})",
         R"({"type":"end","id":{"workspace":"","job":"j","attempt":1},"ending":{}})",
         R"({"type":"end","id":{"workspace":"w","job":"j","attempt":1},"ending":{"cause":"x"}})",
         R"({"type":"end","id":{"workspace":"w","job":"j","attempt":1},"ending":[]})",
         R"({"type":"log","id":{"workspace":"w","job":"j","attempt":1},"stream":"../x","offset":0})",
         R"({"type":"log","id":{"workspace":"w","job":"j","attempt":1},"stream":"/x","offset":0})",
         R"({"type":"log","id":{"workspace":"w","job":"j","attempt":1},"stream":"x","offset":-1})",
         R"({"type":"log","id":{"workspace":"w","job":"j","attempt":1},"stream":"x","offset":9223372036854775807})",
         R"({"type":"hello","attempts":{}})", R"({"type":"hello","attempts":[3]})"})
        EXPECT_FALSE(decode_to_server({json, ""})) << json;
    for (const char* json :
         {R"({"type":"welcome","lost_node_after":-1})", R"({"type":"lease"})",
          R"({"type":"welcome","max_running":-1})", R"({"type":"base","hash":"","task":{}})",
          R"({"type":"base","hash":"x","task":[]})",
          R"({"type":"cancel","id":{"workspace":"w","job":"j","attempt":1},"only_if_waiting":1})",
          R"({"type":"lease","id":{"workspace":"w","job":"j","attempt":1},"task":[]})",
          R"({"type":"cancel","id":{"workspace":"w","job":"j","attempt":1},"cause":"whim"})",
          R"({"type":"ping","sequence":"x"})"})
        EXPECT_FALSE(decode_to_agent({json, ""})) << json;
    for (const char* json :
         {"[]", R"({"command":7})", R"({"inputs":[{}]})", R"({"inputs":{}})", R"({"timeout":-5})",
          R"({"environment":{"kind":"docker"}})", R"({"variables":[["a"]]})",
          R"({"cpu_limit_millicores":99999999999})", R"({"code":"x"})", R"({"node_count":0})",
          R"({"node_count":2,"rank":2})", R"({"processes":0})", R"({"master_port":70000})",
          R"({"parameters":[["a",1]]})"})
        EXPECT_FALSE(task_from_json(*parse_json(json))) << json;
}

TEST(AgentProtocol, UnknownMembersAreIgnoredAndNamesRoundTrip) {
    EXPECT_TRUE(decode_to_agent({R"({"type":"leave","new":{"x":1}})", ""}));
    for (auto phase : {Phase::Preparing, Phase::Running, Phase::Finalizing, Phase::Ended})
        EXPECT_EQ(parse_phase(name_of(phase)), phase);
    for (int i = 0; i <= static_cast<int>(Cause::Internal); ++i)
        EXPECT_EQ(parse_cause(name_of(static_cast<Cause>(i))), static_cast<Cause>(i));
}

TEST(AgentProtocol, OfAnUnreadableMessageOneKnowsWhomItIsAbout) {
    const auto look = [](std::string json) { return look_at_unreadable({std::move(json), ""}); };
    const std::string lease =
        R"({"type":"lease","id":{"workspace":"ws","job":"j","attempt":2},"task":7})";
    EXPECT_FALSE(decode_to_agent({lease, ""}));
    EXPECT_EQ(look(lease).type, "lease");
    EXPECT_EQ(look(lease).id, (AttemptId{"ws", "j", 2}));
    EXPECT_FALSE(look(R"({"type":"lease","id":{"workspace":"ws","job":"","attempt":2}})").id);
    for (const char* other : {"", "7", "[]", "{}", R"({"id":7})"}) EXPECT_FALSE(look(other).id);
    // The longest name that a server gives is read.
    Lease longest{
        {std::string(kMaxIdText, 'w'), std::string(kMaxIdText, 'j'), 1}, Json::object(), ""};
    FrameReader reader;
    reader.feed(encode(ToAgent(longest)));
    EXPECT_TRUE(decode_to_agent(**reader.next()));
}

TEST(AgentProtocol, TheSizeOfAFrameIsKnownToWhoSendsIt) {
    LogChunk chunk{{"ws", "j", 1}, "user_logs/std_log.txt", 0, std::string(kMaxTail, 'x')};
    EXPECT_TRUE(fits(encode(ToServer(chunk))));
    chunk.bytes += 'x';
    EXPECT_FALSE(fits(encode(ToServer(chunk))));
    EXPECT_FALSE(fits(encode(ToAgent(
        Lease{{"ws", "j", 1}, Json::object({{"command", std::string(kMaxJson, 'x')}}), ""}))));
}

}  // namespace
}  // namespace turnout::agent_protocol
