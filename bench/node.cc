// How many short commands nodes run a second: real agents and supervisors, fed over the Unix socket
// by a server that lives in this program.
//
//     bench-node [--tasks 4000] [--nodes 1] [--slots 1] [--ahead 32] [--command /bin/true]
//
// One line of JSON: tasks a second, and the processor time of agents and supervisors for each task.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

#include "agent/files.h"
#include "io/posix/asio_loop.h"
#include "io/posix/http_server.h"
#include "protocol/agent_protocol.h"

extern "C" char** environ;

namespace turnout {
namespace {

using namespace agent_protocol;
namespace fs = std::filesystem;

struct Options {
    int tasks = 4000;
    int nodes = 1;
    int slots = 1;
    int ahead = 32;
    std::string command = "/bin/true";
};

double seconds() {
    timespec at{};
    clock_gettime(CLOCK_MONOTONIC, &at);
    return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) / 1e9;
}

// Of all threads of a process so far, in microseconds.
double processor_time(int pid) {
    double total = 0;
    std::error_code ignored;
    for (const auto& thread :
         fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", ignored)) {
        std::ifstream file(thread.path() / "schedstat");
        double nanoseconds = 0;
        file >> nanoseconds;
        total += nanoseconds / 1000;
    }
    return total;
}

std::vector<int> processes_of(const std::string& program, const std::string& folder) {
    std::vector<int> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "cmdline", std::ios::binary);
        std::string text((std::istreambuf_iterator<char>(file)), {});
        const std::string first = text.substr(0, text.find('\0'));
        if (first.find(program) != std::string::npos && text.find(folder) != std::string::npos)
            found.push_back(std::atoi(entry.path().filename().c_str()));
    }
    return found;
}

class Bench {
public:
    explicit Bench(Options options) : options_(std::move(options)) {}

    int run() {
        char name[] = "/tmp/turnout-bench-node-XXXXXX";
        folder_ = mkdtemp(name);
        std::ofstream(folder_ + "/token") << "node-token\n";
        auto listening =
            http::listen_unix(loop_, folder_ + "/server.sock",
                              [this](const http::Request& request, http::BodyReader& body) {
                                  return handle(request, body);
                              });
        if (!listening) {
            std::cerr << listening.error().message << "\n";
            return 1;
        }
        listener_ = std::move(*listening);
        nodes_.resize(static_cast<std::size_t>(options_.nodes));
        for (int i = 0; i < options_.nodes; ++i) start_agent(i);
        // Some tasks first: caches, the supervisor's start.
        feed(200);
        const double agents = time_of("turnout-agent"), supervisors = time_of("turnout-supervisor");
        const double begin = seconds();
        feed(options_.tasks);
        const double rate = options_.tasks / (seconds() - begin);
        const double agent_us = (time_of("turnout-agent") - agents) / options_.tasks;
        const double supervisor_us = (time_of("turnout-supervisor") - supervisors) / options_.tasks;
        for (auto& node : nodes_) say(node, Leave{});
        for (auto& node : nodes_)
            loop_.run_until([&] { return waitpid(node.pid, nullptr, WNOHANG) != 0 || !poke(); });
        for (auto& node : nodes_)  // whoever serves a link writes into its node
            loop_.run_until([&] { return !node.link; });
        listener_.reset();
        agent::remove_tree(folder_);
        std::printf(
            "{\"command\": \"%s\", \"tasks\": %d, \"nodes\": %d, \"slots\": %d, \"ahead\": %d, "
            "\"tasks_per_s\": %.0f, "
            "\"agent_us\": %.1f, \"supervisor_us\": %.1f, \"failed\": %d}\n",
            options_.command.c_str(), options_.tasks, options_.nodes, options_.slots,
            options_.ahead, rate, agent_us, supervisor_us, failed_);
        return failed_ == 0 ? 0 : 1;
    }

private:
    struct Node {
        pid_t pid = 0;
        std::string name;
        std::shared_ptr<http::Stream> link;  // shared with the coroutine that serves it
        std::string outbox;
        bool writing = false;
        int leased = 0;  // and not ended
    };

    // So that run_until looks again though nothing arrives.
    bool poke() {
        loop_.after(5ms, [] {});
        return true;
    }

    void start_agent(int number) {
        Node& node = nodes_[static_cast<std::size_t>(number)];
        node.name = "ws/cpu/node-" + std::to_string(number);
        const std::string program =
            (fs::read_symlink("/proc/self/exe").parent_path() / "turnout-agent").string();
        std::vector<std::string> args{program,
                                      "--server",
                                      "unix:" + folder_ + "/server.sock",
                                      "--node",
                                      node.name,
                                      "--folder",
                                      folder_ + "/node-" + std::to_string(number),
                                      "--cache",
                                      folder_ + "/cache",
                                      "--token-file",
                                      folder_ + "/token"};
        std::vector<char*> argv;
        for (auto& arg : args) argv.push_back(arg.data());
        argv.push_back(nullptr);
        if (posix_spawn(&node.pid, program.c_str(), nullptr, nullptr, argv.data(), environ) != 0)
            std::abort();
    }

    double time_of(const std::string& program) {
        double total = 0;
        for (int pid : processes_of(program, folder_)) total += processor_time(pid);
        return total;
    }

    void feed(int tasks) {
        left_ = wanted_ = tasks;
        for (auto& node : nodes_) lease_more(node);
        loop_.run_until([this] { return wanted_ == 0; });
    }

    void lease_more(Node& node) {
        if (!node.link) return;
        while (left_ > 0 && node.leased < options_.slots + options_.ahead) {
            --left_;
            ++node.leased;
            const std::string job = "sweep_happy_engine_" + std::to_string(++number_);
            say(node,
                Lease{{"11111111-2222-3333-4444-555555555555", job, 1},
                      Json::object({{"parameters",
                                     Json::array({Json::array({"x", std::to_string(number_)})})},
                                    {"run_token", "token-" + job + std::string(40, 't')}}),
                      "base"});
        }
    }

    void say(Node& node, const ToAgent& message) {
        if (!node.link) return;
        node.outbox += encode(message);
        if (!std::exchange(node.writing, true))
            loop_.post([this, &node] { start(write_out(node), [] {}); });
    }

    static Task<void> write_out(Node& node) {
        auto stream = node.link;
        while (stream && !node.outbox.empty())
            if (!co_await stream->write(std::exchange(node.outbox, {}))) break;
        node.writing = false;
    }

    Task<http::Response> handle(const http::Request& request, http::BodyReader&) {
        http::Response response;
        response.status = 404;
        if (request.path != "/agent/v1/link") co_return response;
        response.status = 101;
        response.headers.set("Upgrade", "turnout-agent");
        response.headers.set("Connection", "Upgrade");
        response.upgraded = [this](std::unique_ptr<http::Stream> stream) {
            return serve(std::shared_ptr<http::Stream>(std::move(stream)));
        };
        co_return response;
    }

    Task<void> serve(std::shared_ptr<http::Stream> stream) {
        FrameReader frames;
        Node* node = nullptr;
        for (;;) {
            auto bytes = co_await stream->read();
            if (!bytes || bytes->empty()) break;
            frames.feed(*bytes);
            for (auto frame = frames.next(); frame && *frame; frame = frames.next()) {
                auto message = decode_to_server(**frame);
                if (!message) continue;
                if (auto* hello = std::get_if<Hello>(&*message)) {
                    for (auto& known : nodes_)
                        if (known.name == hello->node) node = &known;
                    node->link = stream;
                    TaskSpec task;
                    task.command = options_.command;
                    task.artifacts = {"azureml", "ExperimentRun/dcid.${{turnout.job}}"};
                    task.mlflow_path = "mlflow/v2.0/subscriptions/x/resourceGroups/y";
                    task.mlflow_experiment_id = "1";
                    for (int i = 0; i < 10; ++i)
                        task.variables.emplace_back("AZUREML_VARIABLE_" + std::to_string(i),
                                                    "${{turnout.job}}");
                    say(*node, Welcome{6h, options_.slots});
                    say(*node, Base{"base", to_json(task)});
                    lease_more(*node);
                } else if (auto* chunk = std::get_if<LogChunk>(&*message)) {
                    say(*node,
                        LogAck{chunk->id, chunk->stream, chunk->offset + chunk->bytes.size()});
                } else if (auto* end = std::get_if<EndReport>(&*message)) {
                    if (end->ending.cause != Cause::None && ++failed_ == 1)
                        std::cerr << end->ending.message << "\n";
                    say(*node, EndAck{end->id});
                    --node->leased;
                    --wanted_;
                    lease_more(*node);
                }
            }
        }
        if (node) node->link.reset();
    }

    Options options_;
    std::string folder_;
    AsioLoop loop_;
    std::unique_ptr<http::Listener> listener_;
    std::vector<Node> nodes_;
    int left_ = 0, wanted_ = 0, number_ = 0, failed_ = 0;
};

}  // namespace
}  // namespace turnout

int main(int argc, char** argv) {
    turnout::Options options;
    std::map<std::string, int*> numbers{{"--tasks", &options.tasks},
                                        {"--nodes", &options.nodes},
                                        {"--slots", &options.slots},
                                        {"--ahead", &options.ahead}};
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        const auto number = numbers.find(name);
        if (i + 1 < argc && number != numbers.end()) {
            *number->second = std::atoi(argv[i + 1]);
        } else if (i + 1 < argc && name == "--command") {
            options.command = argv[i + 1];
        } else {
            std::cerr << "usage: bench-node [--tasks N] [--nodes N] [--slots N] [--ahead N] "
                         "[--command PROGRAM]\n";
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    return turnout::Bench(options).run();
}
