// Nodes whose processes do not answer, or whose folder somebody removed. The processes are real: a
// program that sleeps, under the names that agent and supervisor have.
#include "provider/local/local_provider.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>
#include <set>

#include "base/json.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "io/posix/test_until.h"
#include "provider/local/harm.h"

namespace turnout {
namespace {

class LocalProviderTest : public ::testing::Test {
protected:
    std::string root = [] {
        char path[] = "/tmp/turnout-provider-XXXXXX";
        return std::string(mkdtemp(path));
    }();
    std::string folder = root + "/nodes/ws_cpu_node-1";
    std::vector<ProcessId> started;

    void SetUp() override {
        ASSERT_TRUE(make_directories(folder, 0700));
        const std::string sleep = read_file("/bin/sleep", 64 << 20).value();
        for (const char* name : {"/turnout-agent", "/turnout-supervisor-0123", "/editor"})
            ASSERT_TRUE(write_file_atomically(root + name, sleep, 0700));
    }
    void TearDown() override {
        for (const ProcessId& process : started) {
            (void)send_signal(process, SIGKILL);
            EXPECT_TRUE(dies(process));
            reap(process.pid);
        }
        (void)remove_tree(root);
    }
    ProcessId begin(const std::string& program, const std::string& directory,
                    std::vector<std::string> environment = {}) {
        SpawnRequest request;
        request.program = root + "/" + program;
        request.arguments = {request.program, "1000"};
        request.environment = std::move(environment);
        request.directory = directory;
        started.push_back(spawn(request).value());
        // Within exec there is a moment in which its surroundings cannot be read.
        const std::string proc = "/proc/" + std::to_string(started.back().pid);
        EXPECT_TRUE(wait_until([&] {
            return !is_alive(started.back()) ||
                   (program_of(started.back().pid) == program &&
                    (request.environment.empty() ||
                     !read_file(proc + "/environ", 1 << 20).value_or("").empty()));
        }));
        return started.back();
    }
    // As the provider would have started it.
    ProcessId begin_agent() { return begin_agent(folder); }
    ProcessId begin_agent(const std::string& directory) {
        const ProcessId agent = begin("turnout-agent", directory);
        const Json handle =
            Json::object({{"pid", static_cast<std::int64_t>(agent.pid)},
                          {"startTicks", static_cast<std::int64_t>(agent.start_ticks)},
                          {"bootId", boot_id()},
                          {"folder", folder},
                          {"folderIdentity", folder_identity(folder)}});
        EXPECT_TRUE(write_file_atomically(folder + "/agent.json", handle.dump(), 0600));
        return agent;
    }
    std::vector<std::string> mark(const std::string& of) {
        return {"TURNOUT_NODE_FOLDER=" + of, "TURNOUT_ATTEMPT=ws/job/1"};
    }
    // A process that was killed takes a moment to end.
    bool dies(const ProcessId& process) {
        const Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
        pollfd ended{fd.get(), POLLIN, 0};
        return !is_alive(process) || ::poll(&ended, 1, 60'000) == 1;
    }

    NodeRequest node() {
        NodeRequest out;
        out.id = "ws/cpu/node-1";
        out.pool = "local";
        return out;
    }
    // What becomes of the node.
    std::string released() {
        AsioLoop loop;
        std::string became = "nothing";
        LocalProvider provider(loop, options(),
                               {[&](const NodeId&, Error) { became = "failed"; },
                                [&](const NodeId&) { became = "gone"; }});
        EXPECT_EQ(provider.folder_of(node().id), folder);
        provider.release(node().id, {});
        EXPECT_TRUE(run_until(loop, [&] { return became == "gone"; }));
        return became;
    }
    LocalProviderOptions options() {
        LocalProviderOptions options;
        options.agent = "/bin/true";  // what is started anew in this test ends at once
        options.nodes_folder = root + "/nodes";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = options.silent_agent = 300ms;
        return options;
    }
};

TEST_F(LocalProviderTest, OnlyTheNodesOwnProcessesAreEnded) {
    const ProcessId agent = begin("turnout-agent", folder),
                    supervisor = begin("turnout-supervisor-0123", folder);
    const ProcessId left_behind = begin("editor", "/", mark(folder));
    const ProcessId helper =
        begin("editor", "/", {"TURNOUT_NODE_FOLDER=" + folder, "TURNOUT_HELPER=environment"});
    const ProcessId shell =
        begin("editor", folder, {"PWD=" + folder, "TURNOUT_NODE_FOLDER=" + folder});
    const ProcessId other_task = begin("editor", "/", mark(root + "/nodes/other"));
    ASSERT_TRUE(make_directories(root + "/other", 0700));
    const ProcessId other = begin("turnout-agent", root + "/other");
    EXPECT_TRUE(kill_processes_of(folder));
    for (const ProcessId& gone : {agent, supervisor, left_behind, helper}) EXPECT_TRUE(dies(gone));
    for (const ProcessId& stays : {shell, other_task, other}) EXPECT_TRUE(is_alive(stays));
    EXPECT_FALSE(kill_processes_of(folder)) << "nothing of it is left";
}

// In namespaces of one's own any folder has any path.
TEST_F(LocalProviderTest, WhatAProcessInOtherNamespacesSaysOfItselfIsNotTaken) {
    SpawnRequest request;
    request.program = "/usr/bin/unshare";
    request.arguments = {"unshare", "-pf", "--kill-child", root + "/turnout-agent", "1000"};
    request.environment = mark(folder);
    request.directory = folder;
    const ProcessId outer = spawn(request).value();
    started.push_back(outer);
    std::optional<ProcessId> inner;
    const auto look = [&] {
        for (const ProcessSeen& one : list_processes())
            if (one.parent == outer.pid && program_of(one.id.pid) == "turnout-agent")
                inner = one.id;
        return inner || !is_alive(outer);
    };
    ASSERT_TRUE(wait_until(look));
    if (!inner) GTEST_SKIP() << "this machine gives no process namespaces";
    EXPECT_TRUE(is_of_our_namespace(outer.pid));
    EXPECT_FALSE(is_of_our_namespace(inner->pid));
    const Result<int> killed = kill_processes_of(folder);
    EXPECT_TRUE(killed) << "the outer one is marked";
    started.pop_back();
    EXPECT_TRUE(dies(*inner));
    // Without the outer one nobody says that it is the node's.
    request.environment.clear();
    request.directory = "/";
    request.arguments[3] = "/bin/sh";
    request.arguments[4] = "-c";
    request.arguments.push_back("cd '" + folder + "' && exec '" + root + "/turnout-agent' 1000");
    started.push_back(spawn(request).value());
    inner.reset();
    ASSERT_TRUE(wait_until([&] {
        for (const ProcessSeen& one : list_processes())
            if (one.parent == started.back().pid && program_of(one.id.pid) == "turnout-agent")
                inner = one.id;
        return inner.has_value();
    }));
    EXPECT_FALSE(kill_processes_of(folder));
    EXPECT_TRUE(folders_with_processes(root + "/nodes", is_of_our_namespace).empty());
    EXPECT_TRUE(is_alive(*inner));
}

TEST_F(LocalProviderTest, AFolderThatTookTheNodesPathHasNotItsProcesses) {
    const ProcessId agent = begin("turnout-agent", folder);
    ASSERT_EQ(rename(folder.c_str(), (root + "/moved").c_str()), 0);
    ASSERT_TRUE(make_directories(folder, 0700));
    EXPECT_FALSE(kill_processes_of(folder));
    EXPECT_TRUE(is_alive(agent));
    EXPECT_TRUE(kill_processes_of(root + "/moved"));
    EXPECT_TRUE(dies(agent));
}

TEST_F(LocalProviderTest, WhatIsStoppedIsEndedWhenTheNodeIsToLeave) {
    const ProcessId agent = begin_agent(), supervisor = begin("turnout-supervisor-0123", folder),
                    task = begin("editor", "/", mark(folder));
    for (const ProcessId& one : {agent, supervisor}) ASSERT_TRUE(send_signal(one, SIGSTOP));
    EXPECT_EQ(released(), "gone");
    for (const ProcessId& one : {agent, supervisor, task}) EXPECT_TRUE(dies(one));
    EXPECT_EQ(access(folder.c_str(), F_OK), -1);
}

TEST_F(LocalProviderTest, AFolderThatSomebodyRemovedIsNoProof) {
    const ProcessId agent = begin_agent(), supervisor = begin("turnout-supervisor-0123", folder),
                    task = begin("editor", "/", mark(folder));
    ASSERT_TRUE(remove_tree(folder));
    EXPECT_EQ(released(), "gone");
    for (const ProcessId& one : {agent, supervisor, task}) EXPECT_TRUE(dies(one));
}

TEST_F(LocalProviderTest, AFolderThatSomebodyEmptiedIsNoProof) {
    const ProcessId supervisor = begin("turnout-supervisor-0123", folder);
    EXPECT_EQ(released(), "gone");
    EXPECT_TRUE(dies(supervisor));
}

TEST_F(LocalProviderTest, AnAgentThatLivesAndIsAskedForWithoutEndIsReplaced) {
    const ProcessId agent = begin_agent();
    ASSERT_TRUE(send_signal(agent, SIGSTOP));
    AsioLoop loop;
    LocalProvider provider(loop, options(), {[](const NodeId&, Error) {}, [](const NodeId&) {}});
    const std::string handle = folder + "/agent.json", before = read_file(handle).value();
    Loop::TimerId next = 0;
    std::function<void()> ask = [&] {
        provider.provision(node());
        next = loop.after(50ms, ask);
    };
    ask();
    EXPECT_TRUE(run_until(loop, [&] { return read_file(handle).value_or(before) != before; }))
        << "another one was started";
    loop.cancel(next);  // the loop's end would ring it
    EXPECT_TRUE(dies(agent));
}

// Agents that begin one program with one processor, as the real one does, and become it.
class ProcessorsOfNodes : public LocalProviderTest {
protected:
    AsioLoop loop;
    std::optional<LocalProvider> provider;
    std::set<NodeId> gone;

    void SetUp() override {
        LocalProviderTest::SetUp();
        const std::string supervisor =
            path_of("/proc/self/exe").substr(0, path_of("/proc/self/exe").rfind('/')) +
            "/turnout-supervisor";
        ASSERT_TRUE(write_file_atomically(
            root + "/agent",
            "#!/bin/sh\nlist=-\nwhile [ $# -gt 1 ]; do [ \"$1\" = --processors ] && list=$2; [ "
            "\"$1\" = --node ] && node=$2; shift; done\n"
            "[ $node != ws/cpu/whole-1 ] || count=0\n"
            "exec " +
                supervisor + " launch end ${count:-1} $list 0 - - - 1 0 - 0 sleep 1000\n",
            0700));
        begin_server();
    }
    void TearDown() override {
        provider.reset();
        const std::vector<DirectoryEntry> nodes = list_directory(root + "/nodes").value();
        for (const DirectoryEntry& entry : nodes)
            if (const ProcessId agent = agent_in(root + "/nodes/" + entry.name); agent.pid > 0)
                started.push_back(agent);
        LocalProviderTest::TearDown();
    }
    static std::string path_of(const char* link) {
        char path[4096];
        const ssize_t size = readlink(link, path, sizeof path);
        return {path, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    }
    static ProcessId agent_in(const std::string& where) {
        const Result<std::string> text = read_file(where + "/agent.json");
        if (!text) return {};
        const Json json = parse_json(*text).value();
        return {static_cast<pid_t>(json.at("pid").as_int()),
                static_cast<std::uint64_t>(json.at("startTicks").as_int())};
    }
    void begin_server() {
        provider.reset();
        LocalProviderOptions with = options();
        with.agent = root + "/agent";
        provider.emplace(loop, std::move(with),
                         ProviderEvents{[](const NodeId&, Error) {},
                                        [this](const NodeId& id) { gone.insert(id); }});
    }
    static NodeRequest one(const std::string& name, int cores = 1) {
        NodeRequest out;
        out.id = "ws/cpu/" + name;
        out.pool = "local";
        out.cores = cores;
        return out;
    }
    bool until(const std::function<bool()>& done) { return run_until(loop, done); }
    // What its command may use, as /proc says.
    std::string begin_node(const NodeRequest& node) {
        provider->provision(node);
        std::string allowed;
        EXPECT_TRUE(until([&] {
            const std::string proc =
                "/proc/" + std::to_string(agent_in(provider->folder_of(node.id)).pid);
            if (read_file(proc + "/comm").value_or("") != "sleep\n") return false;
            const std::string status = read_file(proc + "/status").value_or("");
            const auto at = status.find("Cpus_allowed_list:\t");
            allowed = status.substr(at + 19, status.find('\n', at) - at - 19);
            return true;
        }));
        return allowed;
    }
};

TEST_F(ProcessorsOfNodes, AreDifferentOnesThoughTheirNumbersCollide) {
    const std::vector<int> usable = usable_processors();
    const int count = static_cast<int>(usable.size());
    if (count < 2) GTEST_SKIP() << "one processor cannot be divided";
    std::set<std::string> taken;
    std::vector<std::string> names;
    for (int i = 0; i < std::min(count, 4); ++i) {
        names.push_back("node-" + std::to_string(1 + i * count));  // all the same, modulo that
        EXPECT_TRUE(taken.insert(begin_node(one(names.back()))).second)
            << "two nodes have the same processor";
    }
    for (const std::string& each : taken)
        EXPECT_EQ(each.find_first_not_of("0123456789"), std::string::npos) << each;
    // A later server finds who has what. What a node gives back is the next one's.
    begin_server();
    std::string freed = begin_node(one(names[1]));
    EXPECT_TRUE(taken.contains(freed)) << "it goes on as it was";
    provider->release(one(names[1]).id, {});
    ASSERT_TRUE(until([&] { return gone.contains(one(names[1]).id); }));
    if (count <= 4) {
        EXPECT_EQ(begin_node(one("other-1")), freed);
    }
    // A command without a limit has them all.
    const std::string all = begin_node(one("whole-1"));
    EXPECT_GT(all.size(), freed.size());
}

TEST_F(ProcessorsOfNodes, AreThoseThatTheServerMayUse) {
    cpu_set_t before, few;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&few);
    const int last = usable_processors().back();
    CPU_SET(static_cast<std::size_t>(last), &few);
    ASSERT_EQ(sched_setaffinity(0, sizeof few, &few), 0);
    begin_server();
    EXPECT_EQ(begin_node(one("node-1")), std::to_string(last));
    EXPECT_EQ(begin_node(one("node-2", 4)), std::to_string(last)) << "there is no other";
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

// A stuck agent was ended, and another one is about to be started in its place, when the node is
// let go.
TEST_F(LocalProviderTest, NothingOfANodeIsStartedAfterItIsGone) {
    const ProcessId agent = begin_agent();
    ASSERT_TRUE(send_signal(agent, SIGSTOP));
    LocalProviderOptions with = options();
    with.agent = root + "/agent";  // lives until it is ended
    ASSERT_TRUE(write_file_atomically(
        with.agent, "#!/bin/sh\ntouch " + root + "/started\nexec " + root + "/turnout-agent 1000\n",
        0700));
    {
        AsioLoop loop;
        int gone = 0;
        LocalProvider provider(loop, with,
                               {[](const NodeId&, Error) {}, [&](const NodeId&) { ++gone; }});
        std::function<void()> ask = [&] {
            if (!is_alive(agent)) return provider.release(node().id, {});
            provider.provision(node());
            loop.after(1ms, ask);
        };
        ask();
        ASSERT_TRUE(run_until(loop, [&] { return gone > 0; }));
        // Timers ring in their order: that of the start, which was 100 ms ahead, is behind this.
        loop.run(loop.sleep(150ms));
        std::optional<std::size_t> nodes;
        provider.list([&](Result<std::vector<FoundNode>> found) { nodes = found.value().size(); });
        ASSERT_TRUE(run_until(loop, [&] { return nodes.has_value(); }));
        EXPECT_EQ(nodes, 0u) << "nothing is on its way, and nothing there";
        EXPECT_EQ(gone, 1);
    }  // what a thread of the loop was doing is done
    EXPECT_FALSE(kill_processes_of(folder)) << "an agent that nobody wants";
    EXPECT_EQ(access(folder.c_str(), F_OK), -1);
    EXPECT_EQ(access((root + "/started").c_str(), F_OK), -1);
}

// What the machine lacks just now is no quota that a pool has used up.
TEST_F(LocalProviderTest, WhatTheMachineLacksForAMomentIsTriedAgainSoon) {
    AsioLoop loop;
    std::optional<Error> why;
    LocalProvider provider(
        loop, options(),
        {[&](const NodeId&, Error error) { why = std::move(error); }, [](const NodeId&) {}});
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{3, before.rlim_max};
    loop.after(Span{}, [&] {
        ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
        provider.provision(node());
    });
    const bool told = run_until(loop, [&] { return why.has_value(); });
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_TRUE(told);
    ASSERT_TRUE(why);
    EXPECT_EQ(why->code, Code::Unavailable) << why->message;
}

TEST_F(LocalProviderTest, AnAgentThatLivesIsNotReplacedWhenItIsAskedForOnce) {
    // It works elsewhere: so the list tells when it is no longer looked for.
    const ProcessId agent = begin_agent(root);
    const std::string before = read_file(folder + "/agent.json").value();
    {
        AsioLoop loop;
        LocalProvider provider(loop, options(),
                               {[](const NodeId&, Error) {}, [](const NodeId&) {}});
        provider.provision(node());
        std::optional<FoundNode::Is> is;
        std::function<void()> ask = [&] {
            provider.list([&](Result<std::vector<FoundNode>> found) {
                is = found.value().at(0).is;
                if (is == FoundNode::Is::Starting) ask();
            });
        };
        ask();
        EXPECT_TRUE(run_until(loop, [&] { return is == FoundNode::Is::Unknown; }));
        // Timers ring in their order: one that it began for the agent's silence is behind this.
        loop.run(loop.sleep(options().silent_agent + 150ms));
    }  // what a thread of the loop was doing is done
    EXPECT_EQ(read_file(folder + "/agent.json").value(), before);
    // Nothing else has ended it, and is only not seen yet.
    ASSERT_TRUE(send_signal(agent, SIGTERM));
    int status = 0;
    ASSERT_EQ(waitpid(agent.pid, &status, 0), agent.pid);
    EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

}  // namespace
}  // namespace turnout
