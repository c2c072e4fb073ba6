// What every provider keeps, whatever is behind it. A new one is a row at the end: a world in which
// it runs, and can lose its server.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/json.h"
#include "base/text.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "io/posix/test_until.h"
#include "provider/container/container_provider.h"
#include "provider/fake/fake_provider.h"
#include "provider/kubernetes/kubernetes_provider.h"
#include "provider/local/harm.h"
#include "provider/local/local_provider.h"
#include "provider/slurm/slurm_provider.h"
#include "provider/ssh/ssh_provider.h"
#include "provider/ssh/test_hosts.h"

namespace turnout {
namespace {

// Real time in real seconds for what has real processes, and the same loop for what has not: a fake
// answers within a millisecond.
class ProviderWorld {
public:
    virtual ~ProviderWorld() = default;
    virtual std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) = 0;
    // How many machines, or agents, that node has now.
    virtual int running(const NodeId& node) = 0;
    // Its machine goes, behind everybody's back, with all that was on it.
    virtual void destroy(const NodeId& node) = 0;
    virtual Json settings() { return Json::object(); }  // of its pool
    // It is there, and does nothing: asked where a drill is offered that leaves it so.
    virtual bool silent(const NodeId&) { return false; }
};

class FakeWorld : public ProviderWorld {
public:
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        if (!cloud_) cloud_ = std::make_unique<FakeCloud>(loop);
        return std::make_unique<FakeProvider>(loop, *cloud_, random_, std::move(events), &faults);
    }
    int running(const NodeId& node) override {
        return static_cast<int>(std::ranges::count(cloud_->list(), node, &FoundNode::id));
    }
    void destroy(const NodeId& node) override { cloud_->end(node); }
    bool silent(const NodeId& node) override {
        return cloud_->has(node) && !cloud_->reachable(node);
    }
    FakeFaults faults;

private:
    PosixRandom random_;
    std::unique_ptr<FakeCloud> cloud_;
};

class FakeWorldWithHandles : public FakeWorld {
public:
    FakeWorldWithHandles() { faults.handles = true; }
};

// Whose requests and answers take each its own time.
class SlowFakeWorld : public FakeWorld {
public:
    SlowFakeWorld() { faults.slowest = 20ms; }
};

// An agent is a program that sleeps under its name, in the folder of its node.
class LocalWorld : public ProviderWorld {
public:
    LocalWorld() {
        char path[] = "/tmp/turnout-contract-XXXXXX";
        root_ = mkdtemp(path);
        EXPECT_TRUE(write_file_atomically(root_ + "/turnout-agent",
                                          read_file("/bin/sleep", 64 << 20).value(), 0700));
        EXPECT_TRUE(write_file_atomically(
            root_ + "/agent", "#!/bin/sh\nexec " + root_ + "/turnout-agent 1000\n", 0700));
    }
    ~LocalWorld() override {
        if (const auto nodes = list_directory(root_ + "/nodes"))
            for (const DirectoryEntry& node : *nodes)
                (void)kill_processes_of(root_ + "/nodes/" + node.name);
        (void)remove_tree(root_);
    }
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        LocalProviderOptions options;
        options.agent = root_ + "/agent";
        options.nodes_folder = root_ + "/nodes";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = 100ms;
        return std::make_unique<LocalProvider>(loop, std::move(options), std::move(events));
    }
    int running(const NodeId& node) override {
        int count = 0;
        for (const ProcessSeen& one : list_processes())
            if (program_of(one.id.pid) == "turnout-agent" && works_in(one.id.pid, folder(node)))
                ++count;
        return count;
    }
    void destroy(const NodeId& node) override {
        (void)kill_processes_of(folder(node));
        (void)remove_tree(folder(node));
    }
    void lose_folder(const NodeId& node) { (void)remove_tree(folder(node)); }

private:
    std::string folder(std::string node) const {
        std::ranges::replace(node, '/', '_');
        return root_ + "/nodes/" + node;
    }
    std::string root_;
};

// Two hosts, which are real `sshd` processes, with room for two nodes each.
class SshWorld : public ProviderWorld {
public:
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        SshProviderOptions options;
        options.agent = agent_beside();
        options.server_socket = hosts_.root() + "/server.sock";  // where nobody listens
        options.folder = hosts_.root() + "/own";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = Span{};
        auto provider = std::make_unique<SshProvider>(loop, std::move(options), std::move(events));
        EXPECT_TRUE(provider->open());
        Pool pool;
        pool.provider = "ssh";
        pool.settings = settings();
        provider->set_pools(std::span(&pool, 1));
        return provider;
    }
    int running(const NodeId& node) override {
        const std::string folder = hosts_.place_of(node);
        int count = 0;
        for (const ProcessSeen& one : list_processes())
            if (program_of(one.id.pid) == "turnout-agent" && works_in(one.id.pid, folder)) ++count;
        return count;
    }
    void destroy(const NodeId& node) override {
        const std::string folder = hosts_.place_of(node);
        (void)kill_processes_of(folder);
        (void)remove_tree(folder);
    }
    Json settings() override { return hosts_.settings(2); }

private:
    TestHosts hosts_{2};
};

// Containers of a real engine, which `tests/engines/docker up` starts: see there. Each world has
// containers of its own.
class ContainerWorld : public ProviderWorld {
public:
    ContainerWorld() {
        char path[] = "/tmp/turnout-containers-XXXXXX";
        root_ = mkdtemp(path);
    }
    ~ContainerWorld() override {
        const std::string instance(trim(read_file(root_ + "/own/instance").value_or("")));
        if (!instance.empty()) {
            (void)docker("ps -aq --filter label=turnout.server=" + instance + " | xargs -r " +
                         command() + " rm -f");
            (void)docker("volume ls -q --filter label=turnout.server=" + instance + " | xargs -r " +
                         command() + " volume rm");
        }
        (void)remove_tree(root_);
    }
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        ContainerProviderOptions options;
        options.agent = agent_beside();
        options.server_socket = root_ + "/server.sock";  // where nobody listens
        options.folder = root_ + "/own";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = Span{};
        auto provider =
            std::make_unique<ContainerProvider>(loop, std::move(options), std::move(events));
        EXPECT_TRUE(provider->open());
        Pool pool;
        pool.provider = "container";
        pool.settings = settings();
        provider->set_pools(std::span(&pool, 1));
        return provider;
    }
    int running(const NodeId& node) override {
        return static_cast<int>(
            std::ranges::count(docker("ps -q --filter label=turnout.node=" + node), '\n'));
    }
    void destroy(const NodeId& node) override {
        (void)docker("ps -aq --filter label=turnout.node=" + node + " | xargs -r " + command() +
                     " rm -f");
    }
    Json settings() override {
        return Json::object({{"socket", std::getenv("TURNOUT_DOCKER_SOCKET")},
                             {"image", "turnout-test/small:1"},
                             {"pull", "never"},
                             {"network", "none"}});
    }

private:
    static std::string command() {
        return std::string("docker -H unix://") + std::getenv("TURNOUT_DOCKER_SOCKET");
    }
    static std::string docker(const std::string& words) {
        std::string said;
        FILE* const pipe = popen((command() + " " + words).c_str(), "r");
        char piece[4096];
        while (const std::size_t got = fread(piece, 1, sizeof piece, pipe)) said.append(piece, got);
        pclose(pipe);
        return said;
    }
    std::string root_;
};

// Pilots of a real Slurm, which `tests/engines/slurm up` starts: see there. Each world has pilots
// of its own.
class SlurmWorld : public ProviderWorld {
public:
    SlurmWorld() {
        char path[] = "/tmp/turnout-pilots-XXXXXX";
        root_ = mkdtemp(path);
    }
    ~SlurmWorld() override {
        if (const std::string name = pilots(); !name.empty()) {
            (void)slurm("scancel --name=" + name);
            (void)wait_until([&] { return slurm("squeue -h --name=" + name).empty(); });
        }
        (void)remove_tree(root_);
    }
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        SlurmProviderOptions options;
        options.agent = agent_beside();
        options.server_socket = root_ + "/server.sock";  // where nobody listens
        options.folder = root_ + "/own";
        for (char** one = environ; *one; ++one) options.environment.emplace_back(*one);
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = Span{};
        options.fenced = 100ms;
        auto provider =
            std::make_unique<SlurmProvider>(loop, std::move(options), std::move(events));
        EXPECT_TRUE(provider->open());
        Pool pool;
        pool.provider = "slurm";
        pool.settings = settings();
        provider->set_pools(std::span(&pool, 1));
        return provider;
    }
    int running(const NodeId& node) override {
        int count = 0;
        for (const std::string& line :
             split(slurm("squeue -h -t R -o %k --name=" + pilots()), '\n'))
            count += line.ends_with(" " + node);
        return count;
    }
    void destroy(const NodeId& node) override {
        for (const std::string& line :
             split(slurm("squeue -h -o '%i %k' --name=" + pilots()), '\n'))
            if (line.ends_with(" " + node))
                (void)slurm("scancel " + line.substr(0, line.find(' ')));
    }
    Json settings() override {
        return Json::object({{"config", std::getenv("TURNOUT_SLURM_CONF")},
                             {"folder", std::getenv("TURNOUT_SLURM_FOLDER")},
                             {"walltime", 600}});
    }

private:
    std::string pilots() const {
        const std::string instance(trim(read_file(root_ + "/own/instance").value_or("")));
        return instance.empty() ? "" : "turnout-" + instance;
    }
    static std::string slurm(const std::string& words) {
        std::string said;
        FILE* const pipe = popen(
            (std::string("SLURM_CONF=") + std::getenv("TURNOUT_SLURM_CONF") + " " + words).c_str(),
            "r");
        char piece[4096];
        while (const std::size_t got = fread(piece, 1, sizeof piece, pipe)) said.append(piece, got);
        pclose(pipe);
        return said;
    }
    std::string root_;
};

// Pods of a real Kubernetes, which `tests/engines/kubernetes up` starts: see there. Each world has
// pods of its own.
class KubernetesWorld : public ProviderWorld {
public:
    KubernetesWorld() {
        char path[] = "/tmp/turnout-pods-XXXXXX";
        root_ = mkdtemp(path);
    }
    ~KubernetesWorld() override {
        if (const std::string own = selector(); !own.empty())
            (void)kubectl("delete pods --force --grace-period=0 -l " + own);
        (void)remove_tree(root_);
    }
    std::unique_ptr<Provider> begin(AsioLoop& loop, ProviderEvents events) override {
        KubernetesProviderOptions options;
        options.agent = agent_beside();
        options.server_socket = root_ + "/server.sock";  // where nobody listens
        options.folder = root_ + "/own";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = Span{};
        options.fenced = 100ms;
        auto provider =
            std::make_unique<KubernetesProvider>(loop, std::move(options), std::move(events));
        EXPECT_TRUE(provider->open());
        Pool pool;
        pool.provider = "kubernetes";
        pool.settings = settings();
        provider->set_pools(std::span(&pool, 1));
        return provider;
    }
    int running(const NodeId& node) override {
        int count = 0;
        for (const std::string& line : pods())
            count += line.starts_with("Running  ") && line.ends_with(" " + node);
        return count;
    }
    void destroy(const NodeId& node) override {
        for (const std::string& line : pods())
            if (line.ends_with(" " + node))
                (void)kubectl("delete pod --force --grace-period=0 " +
                              split(line.substr(0, line.size() - node.size() - 1), ' ').back());
    }
    Json settings() override {
        return Json::object(
            {{"kubeconfig", std::getenv("TURNOUT_KUBECONFIG")},
             {"image", "turnout-test/small:1"},
             {"pull", "never"},
             {"instance_types",
              Json::object(
                  {{"standard_ds3_v2", Json::object({{"cpu", "100m"}, {"memory", "128Mi"}})}})}});
    }

private:
    std::string selector() const {
        const std::string instance(trim(read_file(root_ + "/own/instance").value_or("")));
        return instance.empty() ? "" : "turnout.server=" + instance;
    }
    // "PHASE DELETED NAME NODE" of each.
    std::vector<std::string> pods() const {
        return split(kubectl("get pods -l " + selector() +
                             " -o jsonpath='{range .items[*]}{.status.phase} "
                             "{.metadata.deletionTimestamp} {.metadata.name} "
                             "{.metadata.annotations.turnout\\.node}{\"\\n\"}{end}'"),
                     '\n');
    }
    static std::string kubectl(const std::string& words) {
        std::string said;
        FILE* const pipe = popen((std::string(std::getenv("TURNOUT_KUBECTL")) +
                                  " --kubeconfig=" + std::getenv("TURNOUT_KUBERNETES_ADMIN") +
                                  " --namespace=turnout " + words + " 2>/dev/null")
                                     .c_str(),
                                 "r");
        char piece[4096];
        while (const std::size_t got = fread(piece, 1, sizeof piece, pipe)) said.append(piece, got);
        pclose(pipe);
        return said;
    }
    std::string root_;
};

using MakeWorld = std::unique_ptr<ProviderWorld> (*)();
template <class World>
std::unique_ptr<ProviderWorld> make() {
    return std::make_unique<World>();
}

class ProviderContract : public ::testing::TestWithParam<std::pair<const char*, MakeWorld>> {
protected:
    // After the loop, whose threads may be starting something still, goes what ends all of it.
    std::unique_ptr<ProviderWorld> world = GetParam().second();
    AsioLoop loop;
    std::unique_ptr<Provider> provider;
    std::vector<std::string> events;
    std::map<NodeId, Json> handles;
    bool calling = false;

    void SetUp() override { begin(); }
    void TearDown() override { provider.reset(); }
    // The server is started, or started anew: nothing is kept but what it stored.
    void begin() {
        provider.reset();
        const auto say = [this](std::string what, const NodeId& id) {
            EXPECT_FALSE(calling) << "inside a call";
            events.push_back(what + " " + id);
        };
        provider = world->begin(
            loop, {[say](const NodeId& id, Error why) { say("failed " + why.message, id); },
                   [say](const NodeId& id) { say("gone", id); },
                   [say, this](const NodeId& id, Json handle) {
                       say("handle", id);
                       handles[id] = std::move(handle);
                   }});
    }
    bool until(const std::function<bool()>& done) { return run_until(loop, done); }
    void provision(const NodeId& id) {
        NodeRequest request;
        request.id = id;
        request.pool = "local";
        request.size = "STANDARD_DS3_v2";
        request.cores = 1;
        request.settings = world->settings();
        if (const auto told = handles.find(id); told != handles.end())
            request.handle = told->second;
        calling = true;
        provider->provision(request);
        calling = false;
    }
    void release(const NodeId& id) {
        const auto told = handles.find(id);
        calling = true;
        provider->release(id, told == handles.end() ? Json() : told->second);
        calling = false;
    }
    std::vector<FoundNode> list() {
        std::optional<Result<std::vector<FoundNode>>> answer;
        calling = true;
        provider->list([&](Result<std::vector<FoundNode>> found) {
            EXPECT_FALSE(calling) << "inside a call";
            EXPECT_FALSE(answer) << "answered twice";
            answer = std::move(found);
        });
        calling = false;
        EXPECT_TRUE(until([&] { return answer.has_value(); }));
        EXPECT_TRUE(*answer) << answer->error().message;
        return *answer ? **answer : std::vector<FoundNode>();
    }
    std::set<NodeId> there() {
        std::set<NodeId> ids;
        for (const FoundNode& one : list())
            EXPECT_TRUE(ids.insert(one.id).second) << one.id << " is listed twice";
        return ids;
    }
    // What began before it was ended is listed until its start is through.
    bool becomes(const std::set<NodeId>& ids) {
        return wait_until([&] { return there() == ids; });
    }
    bool has(const std::string& event) { return std::ranges::count(events, event) > 0; }
    void runs(const NodeId& id) {
        ASSERT_TRUE(until([&] { return world->running(id) > 0; })) << id;
    }
};

const NodeId kFirst = "0123456789ab/cpu/node-1", kSecond = "0123456789ab/cpu/node-2",
             kOther = "ba9876543210/cpu-large/node-3";

TEST_P(ProviderContract, NothingIsThereAtFirst) {
    EXPECT_EQ(there(), std::set<NodeId>());
    EXPECT_TRUE(events.empty());
}

TEST_P(ProviderContract, WhatIsAskedForRunsAndIsListed) {
    for (const NodeId& id : {kFirst, kSecond, kOther}) provision(id);
    for (const NodeId& id : {kFirst, kSecond, kOther}) runs(id);
    EXPECT_EQ(there(), (std::set<NodeId>{kFirst, kSecond, kOther}));
    for (const FoundNode& one : list())
        EXPECT_TRUE(one.is == FoundNode::Is::Alive || one.is == FoundNode::Is::Starting)
            << one.id << " is " << name_of(one.is);
    EXPECT_FALSE(has("gone " + kFirst));
}

TEST_P(ProviderContract, AskingAgainMakesNoSecondOne) {
    for (int i = 0; i < 5; ++i) provision(kFirst);
    runs(kFirst);
    provision(kFirst);
    EXPECT_EQ(there(), std::set<NodeId>{kFirst});
    begin();
    provision(kFirst);
    EXPECT_EQ(there(), std::set<NodeId>{kFirst});
    EXPECT_EQ(world->running(kFirst), 1);
}

TEST_P(ProviderContract, WhatIsReleasedIsGoneAndThatIsProof) {
    provision(kFirst);
    provision(kSecond);
    runs(kFirst);
    runs(kSecond);
    release(kFirst);
    ASSERT_TRUE(until([&] { return has("gone " + kFirst); }));
    EXPECT_EQ(world->running(kFirst), 0);
    EXPECT_EQ(there(), std::set<NodeId>{kSecond});
    EXPECT_FALSE(has("gone " + kSecond));
}

TEST_P(ProviderContract, WhatNeverWasIsGoneWhenItIsReleased) {
    release(kOther);
    EXPECT_TRUE(until([&] { return has("gone " + kOther); }));
    EXPECT_EQ(there(), std::set<NodeId>());
}

TEST_P(ProviderContract, ReleasingAgainIsAnsweredAgain) {
    provision(kFirst);
    runs(kFirst);
    release(kFirst);
    release(kFirst);
    ASSERT_TRUE(until([&] { return has("gone " + kFirst); }));
    events.clear();
    release(kFirst);
    EXPECT_TRUE(until([&] { return has("gone " + kFirst); }));
}

TEST_P(ProviderContract, ALaterServerFindsWhatIsThereAndReleasesIt) {
    provision(kFirst);
    provision(kOther);
    runs(kFirst);
    runs(kOther);
    begin();
    EXPECT_EQ(there(), (std::set<NodeId>{kFirst, kOther}));
    release(kOther);
    ASSERT_TRUE(until([&] { return has("gone " + kOther); }));
    EXPECT_EQ(world->running(kOther), 0);
    EXPECT_EQ(world->running(kFirst), 1);
}

TEST_P(ProviderContract, WhatWentBehindItsBackIsNotListedAndCanBeHadAgain) {
    provision(kFirst);
    provision(kSecond);
    runs(kFirst);
    runs(kSecond);
    world->destroy(kFirst);
    ASSERT_TRUE(until([&] { return world->running(kFirst) == 0; }));
    ASSERT_TRUE(becomes({kSecond}));
    provision(kFirst);
    runs(kFirst);
    EXPECT_EQ(there(), (std::set<NodeId>{kFirst, kSecond}));
}

TEST_P(ProviderContract, AHandleIsToldOfEachNodeWhereThereAreHandles) {
    provision(kFirst);
    runs(kFirst);
    const bool handle = provider->capabilities().handles;
    if (handle) {
        ASSERT_TRUE(until([&] { return handles.contains(kFirst); }));
    }
    for (const FoundNode& one : list()) EXPECT_EQ(!one.handle.is_null(), handle);
    begin();
    release(kFirst);  // with what was stored of it
    EXPECT_TRUE(until([&] { return has("gone " + kFirst); }));
    EXPECT_EQ(handles.contains(kFirst), handle);
}

// Each drill that is offered does to that node, and to no other, what it says.
TEST_P(ProviderContract, ADrillDoesWhatItSays) {
    Drills* const drills = provider->drills();
    if (drills == nullptr) return;
    provision(kSecond);
    runs(kSecond);
    const auto drill = [&](const NodeId& id, const std::string& name, Span how_long) {
        std::optional<Result<Json>> answer;
        calling = true;
        drills->begin(id, name, how_long, [&](Result<Json> done) {
            EXPECT_FALSE(calling) << "inside a call";
            EXPECT_FALSE(answer) << "answered twice";
            answer = std::move(done);
        });
        calling = false;
        EXPECT_TRUE(until([&] { return answer.has_value(); })) << name;
        return answer.value_or(internal("no answer"));
    };
    ASSERT_FALSE(drills->kinds().empty());
    for (const DrillKind& kind : drills->kinds()) {
        SCOPED_TRACE(kind.name);
        EXPECT_FALSE(kind.does.empty());
        provision(kFirst);
        runs(kFirst);
        const Result<Json> done = drill(kFirst, kind.name, 300ms);
        switch (kind.leaves) {
            case DrillKind::Leaves::Gone:
                ASSERT_TRUE(done) << done.error().message;
                EXPECT_TRUE(until([&] { return world->running(kFirst) == 0; }));
                EXPECT_EQ(drill(kOther, kind.name, 1s).error().code, Code::NotFound);
                provision(kFirst);
                runs(kFirst);
                break;
            case DrillKind::Leaves::Silent:
                ASSERT_TRUE(done) << done.error().message;
                EXPECT_TRUE(world->silent(kFirst));
                EXPECT_TRUE(until([&] { return !world->silent(kFirst); })) << "it stays so";
                EXPECT_EQ(world->running(kFirst), 1);
                break;
            case DrillKind::Leaves::FullDisk:
                // The test's folder is where others write too.
                ASSERT_FALSE(done);
                EXPECT_EQ(done.error().code, Code::FailedPrecondition) << done.error().message;
                EXPECT_EQ(world->running(kFirst), 1);
                break;
        }
        EXPECT_EQ(world->running(kSecond), 1);
    }
    const Result<Json> other = drill(kFirst, "flood", 1s);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Code::InvalidArgument);
    for (const DrillKind& kind : drills->kinds())
        EXPECT_NE(other.error().message.find(kind.name), std::string::npos);
    EXPECT_EQ(world->running(kFirst), 1);
}

INSTANTIATE_TEST_SUITE_P(All, ProviderContract,
                         ::testing::Values(std::pair{"fake", &make<FakeWorld>},
                                           std::pair{"fake_handles", &make<FakeWorldWithHandles>},
                                           std::pair{"fake_slow", &make<SlowFakeWorld>},
                                           std::pair{"local", &make<LocalWorld>},
                                           std::pair{"ssh", &make<SshWorld>}),
                         [](const auto& row) { return std::string(row.param.first); });

// With a real engine, as `./test engines` has them: there it is a failure if none ran.
std::vector<std::pair<const char*, MakeWorld>> engines() {
    std::vector<std::pair<const char*, MakeWorld>> all;
    if (std::getenv("TURNOUT_DOCKER_SOCKET")) all.emplace_back("docker", &make<ContainerWorld>);
    if (std::getenv("TURNOUT_SLURM_CONF")) all.emplace_back("slurm", &make<SlurmWorld>);
    if (std::getenv("TURNOUT_KUBECONFIG")) all.emplace_back("kubernetes", &make<KubernetesWorld>);
    return all;
}
INSTANTIATE_TEST_SUITE_P(Engines, ProviderContract, ::testing::ValuesIn(engines()),
                         [](const auto& row) { return std::string(row.param.first); });

// ---- the local provider alone

TEST(LocalList, AFolderThatIsGoneDoesNotHideWhatRuns) {
    LocalWorld world;
    AsioLoop loop;
    const auto provider = world.begin(loop, {[](const NodeId&, Error) {}, [](const NodeId&) {}});
    NodeRequest request;
    request.id = kFirst;
    provider->provision(request);
    std::vector<FoundNode> found;
    std::function<void()> look = [&] {
        if (world.running(kFirst) == 0) return void(loop.after(5ms, look));
        world.lose_folder(kFirst);
        provider->list([&](Result<std::vector<FoundNode>> answer) {
            if (answer) found = *answer;
            loop.stop();
        });
    };
    loop.after(Span{}, look);
    loop.after(20s, [&] { loop.stop(); });
    loop.run();
    world.destroy(kFirst);
    ASSERT_EQ(found.size(), 1u) << "its process lives";
    EXPECT_EQ(found.front().id, kFirst);
    EXPECT_EQ(found.front().is, FoundNode::Is::Alive);
}

}  // namespace
}  // namespace turnout
