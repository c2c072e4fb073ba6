// A real agent and its supervisor against a server made of maps, over a Unix socket.
#pragma once

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

using namespace agent_protocol;
namespace fs = std::filesystem;

inline const std::string kStd(kStdLog);

inline std::string beside(const std::string& name) {
    return (fs::read_symlink("/proc/self/exe").parent_path() / name).string();
}

inline std::vector<int> processes_with(const std::string& marker) {
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

}  // namespace turnout::agent
