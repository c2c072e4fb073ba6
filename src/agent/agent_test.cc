// The real agent and supervisor against a server made of maps, over a Unix socket.
#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "agent/files.h"
#include "agent/node_core.h"
#include "base/hash.h"
#include "base/text.h"
#include "io/posix/asio_loop.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/sockets.h"
#include "io/posix/test_until.h"
#include "protocol/agent_protocol.h"

extern "C" char** environ;

namespace turnout::agent {
namespace {

using namespace agent_protocol;
namespace fs = std::filesystem;

const std::string kStd(kStdLog);

std::string beside(const std::string& name) {
    return (fs::read_symlink("/proc/self/exe").parent_path() / name).string();
}

std::vector<int> processes_with(const std::string& marker) {
    std::vector<int> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        int pid = std::atoi(entry.path().filename().c_str());
        if (pid <= 0) continue;
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        std::string text((std::istreambuf_iterator<char>(file)), {});
        if (("\0" + text).find("TURNOUT_ATTEMPT=" + marker) != std::string::npos)
            found.push_back(pid);
    }
    return found;
}

class AgentTest : public ::testing::Test {
protected:
    std::string folder;
    AsioLoop loop;
    std::unique_ptr<http::Listener> listener;
    std::unique_ptr<http::Client> client;
    pid_t agent = 0;

    // What the server knows.
    std::shared_ptr<http::Stream> link;  // shared with the coroutine that serves it
    std::string outbox;
    bool writing = false;
    int hellos = 0;
    Hello hello;         // the last one
    std::string speaks;  // what the server says that it does
    std::map<std::pair<AttemptId, std::string>, std::string> logs;
    bool gap = false;
    std::map<AttemptId, Ending> ends;
    std::map<AttemptId, std::vector<Phase>> phases;
    std::map<std::string, std::string> blobs;    // "container/name"
    std::map<std::string, std::string> writers;  // of them, as they said
    std::multiset<std::string> puts;
    std::map<std::string, std::string> tars;
    std::vector<std::pair<std::string, std::string>> appends;  // sequence, body
    bool mlflow_away = false;
    bool blobs_held = false;  // who asks for one waits
    int blobs_asked = 0;
    std::optional<Lease> repeated;  // said after every Hello

    void SetUp() override {
        char name[] = "/tmp/turnout-agent-test-XXXXXX";
        folder = mkdtemp(name);
        std::ofstream(folder + "/token") << "node-token\n";
        auto listening =
            http::listen_unix(loop, folder + "/server.sock",
                              [this](const http::Request& request, http::BodyReader& body) {
                                  return handle(request, body);
                              });
        ASSERT_TRUE(listening) << listening.error().message;
        listener = std::move(*listening);
        start_agent();
    }
    void TearDown() override {
        if (agent > 0) {
            say(Leave{});
            until([&] { return agent == 0 || waitpid(agent, nullptr, WNOHANG) == agent; });
        }
        if (link) link->close();
        until([&] { return !link; });
        listener.reset();
        until([n = 0]() mutable { return ++n > 3; });  // coroutines see that it is over
        remove_tree(folder);
    }

    void start_agent() {
        std::string program = beside("turnout-agent");
        std::vector<std::string> args{
            program,          "--server",       "unix:" + folder + "/server.sock",
            "--node",         "ws/cpu/node-1",  "--folder",
            folder + "/node", "--cache",        folder + "/cache",
            "--token-file",   folder + "/token"};
        std::vector<char*> argv;
        for (auto& arg : args) argv.push_back(arg.data());
        argv.push_back(nullptr);
        ASSERT_EQ(posix_spawn(&agent, program.c_str(), nullptr, nullptr, argv.data(), environ), 0);
    }
    void kill_agent() {
        kill(agent, SIGKILL);
        waitpid(agent, nullptr, 0);
        agent = 0;
    }
    // Folders without content may stay, for others.
    int files_of_attempts() {
        int count = 0;
        std::error_code gone;  // the agent may be removing what is looked at
        for (fs::recursive_directory_iterator at(folder + "/node/attempts", gone), end; at != end;
             at.increment(gone))
            count += !at->is_directory(gone);
        return count;
    }
    void kill_supervisor() {
        int supervisor = 0;
        for (const auto& entry : fs::directory_iterator("/proc")) {
            std::ifstream file(entry.path() / "cmdline", std::ios::binary);
            std::string text((std::istreambuf_iterator<char>(file)), {});
            if (text.find("turnout-supervisor") != std::string::npos &&
                text.find(folder + "/node") != std::string::npos)
                supervisor = std::atoi(entry.path().filename().c_str());
        }
        ASSERT_GT(supervisor, 0);
        kill(supervisor, SIGKILL);
    }
    bool until(const std::function<bool()>& done) { return run_until(loop, done); }

    // ---- the server ----

    Task<http::Response> handle(const http::Request& request, http::BodyReader& body) {
        http::Response response;
        std::string path = *percent_decode(request.path);
        if (path == "/agent/v1/link") {
            if (request.headers.get("Authorization") != "Bearer node-token") {
                response.status = 401;
                co_return response;
            }
            response.status = 101;
            response.headers.set("Upgrade", "turnout-agent");
            response.headers.set("Connection", "Upgrade");
            if (!speaks.empty()) response.headers.set(kVersionsHeader, speaks);
            response.upgraded = [this](std::unique_ptr<http::Stream> stream) {
                return serve(std::shared_ptr<http::Stream>(std::move(stream)));
            };
            co_return response;
        }
        if (request.headers.get("Authorization") != "Bearer run-token") {
            response.status = 401;
            co_return response;
        }
        if (path.starts_with("/blob/") && request.method == "PUT") {
            auto bytes = co_await body.all(64 << 20);
            const std::string name = path.substr(6);
            const bool there = blobs.contains(name);
            if ((request.headers.get("If-None-Match") == "*" && there) ||
                (request.headers.has("If-Match") &&
                 request.headers.get("If-Match") != "\"" + blobs[name] + "\"")) {
                response.status = there ? 409 : 412;
                co_return response;
            }
            puts.insert(name);
            if (bytes) blobs[name] = *bytes;
            writers[name] = request.headers.get("x-ms-meta-turnout_writer");
            response.status = 201;
        } else if (path.starts_with("/blob/") && request.method == "HEAD") {
            if (!blobs.contains(path.substr(6))) {
                response.status = 404;
                co_return response;
            }
            response.headers.set("ETag", "\"" + blobs[path.substr(6)] + "\"");
            if (const std::string& writer = writers[path.substr(6)]; !writer.empty())
                response.headers.set("x-ms-meta-turnout_writer", writer);
        } else if (path.starts_with("/blob/") &&
                   request.query.find("comp=list") != std::string::npos) {
            response.body = "<?xml version=\"1.0\"?><EnumerationResults><Blobs>";
            std::string container = path.substr(6) + "/";
            for (auto& [name, bytes] : blobs)
                if (name.starts_with(container))
                    response.body += "<Blob><Name>" + name.substr(container.size()) +
                                     "</Name><Properties><Content-Length>" +
                                     std::to_string(bytes.size()) +
                                     "</Content-Length><Etag>e</Etag></Properties></Blob>";
            response.body += "</Blobs><NextMarker/></EnumerationResults>";
        } else if (path.starts_with("/blob/")) {
            ++blobs_asked;
            while (blobs_held) co_await loop.sleep(5ms);
            response.body = blobs[path.substr(6)];
        } else if (path.starts_with("/turnout/blobs/")) {
            response.body = tars[path + "?" + request.query];
        } else if (path.find("/api/2.0/mlflow/") != std::string::npos) {
            auto text = co_await body.all(4 << 20);
            if (mlflow_away) {
                response.status = 503;
            } else if (request.headers.has("x-turnout-sequence")) {
                appends.emplace_back(request.headers.get("x-turnout-sequence"), text ? *text : "");
                response.body = "{}";
            } else {
                response.body = R"({"passed":"on"})";
            }
        } else {
            response.status = 404;
        }
        co_return response;
    }

    Task<void> serve(std::shared_ptr<http::Stream> stream) {
        link = stream;
        outbox.clear();
        FrameReader frames;
        for (;;) {
            auto bytes = co_await stream->read();
            if (!bytes || bytes->empty()) break;
            frames.feed(*bytes);
            for (auto frame = frames.next(); frame && *frame; frame = frames.next())
                if (auto message = decode_to_server(**frame)) take(*message);
        }
        if (link == stream) link.reset();
    }
    Task<void> write_out() {
        auto stream = link;
        while (stream && !outbox.empty())
            if (!co_await stream->write(std::exchange(outbox, {}))) break;
        writing = false;
    }
    void say(const ToAgent& message) {
        if (!link) return;
        outbox += encode(message);
        if (!std::exchange(writing, true)) start(write_out(), [] {});
    }
    void take(const ToServer& message) {
        if (const auto* said = std::get_if<Hello>(&message)) {
            hello = *said;
            ++hellos;
            say(Welcome{6h});
            if (repeated) say(*repeated);
        } else if (auto* chunk = std::get_if<LogChunk>(&message)) {
            std::string& log = logs[{chunk->id, chunk->stream}];
            if (chunk->offset > log.size())
                gap = true;
            else if (chunk->offset + chunk->bytes.size() > log.size())
                log.append(chunk->bytes.substr(log.size() - chunk->offset));
            say(LogAck{chunk->id, chunk->stream, log.size()});
        } else if (auto* phase = std::get_if<PhaseReport>(&message)) {
            auto& list = phases[phase->id];
            if (list.empty() || list.back() != phase->phase) list.push_back(phase->phase);
        } else if (auto* end = std::get_if<EndReport>(&message)) {
            ends[end->id] = end->ending;
            say(EndAck{end->id});
        }
    }

    AttemptId lease(std::string command, std::function<void(TaskSpec&)> change = {},
                    std::vector<SecretValue> secrets = {}) {
        static int number = 0;
        AttemptId id{"ws", "job" + std::to_string(getpid()) + "-" + std::to_string(++number), 1};
        TaskSpec task;
        task.command = std::move(command);
        task.run_token = Secret("run-token");
        task.artifacts = {"artifacts", "dcid." + id.job};
        task.mlflow_path = "mlflow/v1.0/x";
        if (change) change(task);
        EXPECT_TRUE(until([&] { return link && hellos > 0; }));
        say(Lease{id, to_json(task), "", std::move(secrets)});
        return id;
    }
    Ending end_of(const AttemptId& id) {
        EXPECT_TRUE(until([&] { return ends.contains(id); })) << "log so far: " << logs[{id, kStd}];
        return ends[id];
    }
    std::string log(const AttemptId& id) { return logs[{id, kStd}]; }
};

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

// What stands in a file of the node, or in the arguments of a process.
std::string all_files_beneath(const std::string& folder) {
    std::string all;
    std::error_code gone;
    for (fs::recursive_directory_iterator at(folder, gone), end; at != end; at.increment(gone))
        if (at->is_regular_file(gone))
            if (const auto text = read_file(at->path().string())) all += *text;
    return all;
}
std::string all_arguments() {
    std::string all;
    std::error_code gone;
    for (fs::directory_iterator at("/proc", gone), end; at != end; at.increment(gone)) {
        std::ifstream file(at->path() / "cmdline", std::ios::binary);
        all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
}

void with_secret(TaskSpec& task) {
    task.variables = {{"TOKEN", "${{secrets.hf}}"},
                      {"HEADER", "Bearer ${{secrets.hf}}!"},
                      {"TOKEN_FILE", "${{secrets.hf:file}}"}};
    task.secrets = {"hf"};
}

TEST_F(AgentTest, ASecretReachesTheCommandAndNothingElse) {
    const std::string planted = "planted-secret-" + std::to_string(getpid());
    const std::string go = folder + "/go";
    auto id = lease(
        "echo \"<$TOKEN> $HEADER\"; for i in 1 2 3; do printf '%s' \"${TOKEN:0:9}\"; sleep 0.02; "
        "printf '%s' \"${TOKEN:9}\"; done; printf '%s' \"$TOKEN\" | base64; "
        "stat -c %a \"$TOKEN_FILE\"; cmp \"$TOKEN_FILE\" <(printf %s \"$TOKEN\") && echo same; "
        "printf '%s' \"$TOKEN\" | sha256sum > outputs/hash; echo \"$TOKEN_FILE\" > outputs/file; "
        "while [ ! -e " +
            go + " ]; do sleep 0.01; done; echo \"end $TOKEN\"; exit 3",
        with_secret, {{"hf", Secret(planted)}});
    ASSERT_TRUE(until([&] { return log(id).find("same\n") != std::string::npos; })) << log(id);
    EXPECT_EQ(all_arguments().find(planted), std::string::npos);
    kill_agent();  // the supervisor goes on hiding it
    start_agent();
    std::ofstream(go) << "x";
    const Ending ending = end_of(id);
    EXPECT_EQ(ending.exit_code, 3);
    EXPECT_EQ(log(id).find("planted"), std::string::npos) << log(id);
    EXPECT_TRUE(log(id).starts_with("<***> Bearer ***!\n*********")) << log(id);
    EXPECT_NE(log(id).find("\n400\nsame\nend ***\n"), std::string::npos) << log(id);
    ASSERT_FALSE(ending.last_lines.empty());
    EXPECT_EQ(ending.last_lines.back(), "end ***");
    const std::string blob = "artifacts/dcid." + id.job + "/outputs/";
    EXPECT_EQ(blobs[blob + "hash"].substr(0, 64), to_hex(sha256(planted)));
    EXPECT_FALSE(exists(std::string(trim(blobs[blob + "file"]))));
    EXPECT_EQ(all_files_beneath(folder).find(planted), std::string::npos);
}

TEST_F(AgentTest, EachOfSeveralProcessesHidesItsSecret) {
    const std::string planted = "planted-secret-" + std::to_string(getpid());
    // The end of one ends the others: it waits for them.
    auto id = lease(
        "echo \"$RANK <$TOKEN>\"; env | grep -c TURNOUT_MASKS; [ $RANK = 0 ] && touch said && exit "
        "0; "
        "until [ -e said ]; do sleep 0.02; done; exit 4",
        [](TaskSpec& task) {
            several(task, 2);
            with_secret(task);
        },
        {{"hf", Secret(planted)}});
    EXPECT_EQ(end_of(id).exit_code, 4);
    for (const std::string rank : {"0", "1"})
        EXPECT_EQ((logs[{id, "user_logs/std_log_process_" + rank + ".txt"}]), rank + " <***>\n0\n");
    EXPECT_EQ(ends[id].last_lines.front(), "1 <***>");
    EXPECT_EQ(all_files_beneath(folder).find(planted), std::string::npos);
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

// A real server, which is ready when it answers, and whose end is the end of its attempt: the next
// replica begins anew.
TEST_F(AgentTest, AServiceBecomesReadyAndAnotherReplicaTakesItsPlace) {
    TaskSpec task;
    task.command =
        "python3 -c 'import time; time.sleep(0.3)'; exec python3 -m http.server --bind 127.0.0.1 "
        "${{service.port}}";
    task.run_token = Secret("run-token");
    task.artifacts = {"artifacts", "dcid.service"};
    task.service.emplace();
    task.service->probe = {Probe::Kind::Http, "/", 0s, 50ms, 60s, 3};
    ASSERT_TRUE(until([&] { return link && hellos > 0; }));
    const auto is_ready = [&](const AttemptId& id) {
        return !phases[id].empty() && phases[id].back() == Phase::Ready;
    };
    // One that is ready, or has tried five ports: each was free a moment ago, and is anybody's.
    auto replica = [&, number = 0]() mutable {
        AttemptId id;
        for (int tries = 0; tries < 5; ++tries) {
            id = {"ws", "service" + std::to_string(getpid()) + "." + std::to_string(++number), 1};
            const int port = http::parse_host_port(http::listen_tcp("127.0.0.1:0")->address)->port;
            say(Base{"service", to_json(task)});
            say(Lease{id, Json::object({{"master_port", port}}), "service"});
            if (!until([&] { return is_ready(id) || ends.contains(id); }) || is_ready(id)) break;
        }
        return id;
    };
    const AttemptId first = replica();
    ASSERT_TRUE(is_ready(first)) << log(first);
    EXPECT_TRUE(std::ranges::count(phases[first], Phase::Running)) << "before it listened";
    kill_agent();
    phases.clear();
    start_agent();
    ASSERT_TRUE(until([&] { return is_ready(first); })) << "it was ready all the time";
    EXPECT_EQ(phases[first], std::vector<Phase>{Phase::Ready});

    for (const int pid : processes_with("ws/" + first.job + "/1")) kill(pid, SIGKILL);
    EXPECT_EQ(end_of(first).cause, Cause::UserCode);
    EXPECT_EQ(end_of(first).signal, SIGKILL) << end_of(first).message;
    const AttemptId second = replica();
    ASSERT_TRUE(is_ready(second)) << log(second);
    say(Cancel{second, Cause::Canceled, 30s});
    EXPECT_EQ(end_of(second).cause, Cause::Canceled);
}

}  // namespace
}  // namespace turnout::agent
