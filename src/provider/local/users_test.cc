// Users of their own for workspaces: real users of this machine, so these tests run as root.
#include "provider/local/users.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <set>

#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/test_until.h"
#include "provider/local/local_provider.h"

namespace turnout {
namespace {

class NodeUsersTest : public ::testing::Test {
protected:
    // Others can pass it.
    std::string root = [] {
        char path[] = "/var/tmp/turnout-users-XXXXXX";
        return std::string(mkdtemp(path));
    }();
    UsersSettings settings{range(), root + "/users"};
    std::string agent = [] {
        char path[4096];
        const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
        const std::string own(path, static_cast<std::size_t>(size));
        return own.substr(0, own.rfind('/')) + "/turnout-agent";
    }();

    // Of this process alone.
    static UidRange range() {
        const uid_t first = 1'000'000 + static_cast<uid_t>(getpid() % 100'000) * 8;
        return {first, first + 2};
    }
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
        ASSERT_EQ(chmod(root.c_str(), 0711), 0);
        for (const char* data : {"/data", "/other"})
            ASSERT_TRUE(make_directories(root + data, 0700));
    }
    void TearDown() override {
        for (uid_t uid = settings.range.first; uid <= settings.range.last; ++uid)
            for (const ProcessId& one : processes_of_user(uid)) (void)send_signal(one, SIGKILL);
        EXPECT_TRUE(remove_tree(root));
    }
    bool namespaces = false;
    Result<NodeUsers> open(const char* data = "/data") {
        return NodeUsers::open(root + data, settings, namespaces, agent, "");
    }
    // What a shell of that user prints.
    std::string shell(const NodeUser& user, const std::string& command,
                      std::vector<std::string> environment = {}) {
        const std::string log = user.home() + "/log";
        UserProgram program{
            user, user.folder, log, {"/bin/sh", "-c", command}, std::move(environment)};
        if (namespaces) {
            program.arguments = open()->in_namespaces(user, user.home(), log, {root + "/shown"});
            program.arguments.insert(program.arguments.end(), {"/bin/sh", "-c", command});
            program.directory = user.home();
            program.log.clear();
        }
        const auto begun = start_as_user(agent_of(), program);
        EXPECT_TRUE(begun) << begun.error().message;
        if (begun) {
            EXPECT_TRUE(wait_until([&] { return !is_alive(*begun); }));
        }
        if (begun) reap(begun->pid);
        const std::string said = read_file(log).value_or("nothing");
        unlink(log.c_str());
        return said;
    }
    std::string agent_of() { return open().value().agent(); }
    static mode_t mode_of(const std::string& path) {
        struct stat st{};
        return ::lstat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
    }
};

TEST_F(NodeUsersTest, AWorkspaceHasItsUserForGoodAndNobodyElseGetsIt) {
    auto users = open();
    ASSERT_TRUE(users) << users.error().message;
    const NodeUser a = users->claim("a").value(), b = users->claim("b").value();
    EXPECT_EQ(a.uid, settings.range.first);
    EXPECT_NE(a.uid, b.uid);
    EXPECT_EQ(users->claim("a").value().uid, a.uid);
    auto again = open();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->claim("b").value().uid, b.uid);
    // Another server of this machine, with a workspace of that very name.
    auto other = open("/other");
    ASSERT_TRUE(other);
    const NodeUser c = other->claim("a").value();
    EXPECT_EQ(std::set<uid_t>({a.uid, b.uid, c.uid}).size(), 3u);
    const auto none = other->claim("d");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::ResourceExhausted);
    EXPECT_EQ(NodeUsers::earlier(root + "/data"), settings);
}

TEST_F(NodeUsersTest, ACopyOfADataFolderIsAnotherServerAndAMovedOneTheSame) {
    auto users = open();
    ASSERT_TRUE(users);
    const uid_t a = users->claim("a").value().uid;
    ASSERT_TRUE(write_file_atomically(root + "/other/users.json",
                                      read_file(root + "/data/users.json").value()));
    EXPECT_NE(open("/other").value().claim("a").value().uid, a);
    ASSERT_EQ(rename((root + "/data").c_str(), (root + "/moved").c_str()), 0);
    EXPECT_EQ(open("/moved").value().claim("a").value().uid, a);
}

TEST_F(NodeUsersTest, AnotherFolderIsRefusedAsLongAsANodeIsInTheOneBefore) {
    const NodeUser a = open().value().claim("a").value();
    ASSERT_TRUE(make_directories(a.nodes() + "/a_cpu_node-1", 0700));
    const UsersSettings before = settings;
    settings.folder = root + "/elsewhere";
    const auto refused = open();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(a.nodes() + "/a_cpu_node-1"), std::string::npos)
        << refused.error().message;
    EXPECT_EQ(NodeUsers::earlier(root + "/data"), before) << "nothing changed";
    EXPECT_TRUE(open("/other")) << "another server has no node there";
    ASSERT_TRUE(remove_tree(a.nodes() + "/a_cpu_node-1"));
    EXPECT_TRUE(open());
}

TEST_F(NodeUsersTest, WhatCannotBeHadIsRefusedWithTheReason) {
    const auto why = [&] {
        const auto opened = open();
        return opened ? std::string() : opened.error().message;
    };
    settings.range = {0, 10};
    EXPECT_NE(why().find("is the user '"), std::string::npos) << why();
    settings.range = range();
    ASSERT_EQ(chmod(root.c_str(), 0700), 0);
    EXPECT_NE(why().find("other users cannot pass '" + root + "'"), std::string::npos) << why();
    ASSERT_EQ(chmod(root.c_str(), 0777), 0);
    EXPECT_NE(why().find("can be changed by others than root"), std::string::npos) << why();
    ASSERT_EQ(chmod(root.c_str(), 0711), 0);
    EXPECT_EQ(why(), "");
}

TEST_F(NodeUsersTest, ItsProgramsHaveNothingOfRootAndReachNothingOfOthers) {
    auto users = open();
    ASSERT_TRUE(users);
    const NodeUser a = users->claim("a").value(), b = users->claim("b").value();
    const std::string said = shell(
        a, "id -u; id -G; umask; env | grep -v PWD=; grep -E 'NoNewPrivs|CapEff' /proc/self/status",
        {"ONE=1"});
    const std::string number = std::to_string(a.uid);
    EXPECT_EQ(said, number + "\n" + number + "\n0077\nONE=1\n" +
                        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
    for (const std::string& path : {root + "/data", root + "/data/users.json", b.home(), b.cache(),
                                    b.nodes(), b.agents(), a.folder + "/owner.json", a.folder})
        EXPECT_NE(shell(a, "{ cat '" + path + "' || ls '" + path +
                               "/'; } >/dev/null 2>&1 && echo reached")
                      .substr(0, 7),
                  "reached")
            << path;
    EXPECT_EQ(shell(a, "cd '" + a.home() + "' && echo x > y && cat y"), "x\n");
    EXPECT_EQ(shell(a, "touch '" + a.nodes() + "/x' '" + a.agents() + "/x' '" + users->agent() +
                           "' 2>/dev/null || echo no"),
              "no\n");
}

TEST_F(NodeUsersTest, ALogIsNotFollowedToWhereALinkLeads) {
    auto users = open();
    ASSERT_TRUE(users);
    const NodeUser a = users->claim("a").value();
    ASSERT_EQ(symlink((root + "/data/elsewhere").c_str(), (a.home() + "/log").c_str()), 0);
    const auto begun = start_as_user(
        users->agent(), {a, "/", a.home() + "/log", {"/bin/sh", "-c", "echo said"}, {}});
    ASSERT_TRUE(begun);
    ASSERT_TRUE(wait_until([&] { return !is_alive(*begun); }));
    EXPECT_EQ(reap(begun->pid)->code, 125);
    EXPECT_NE(access((root + "/data/elsewhere").c_str(), F_OK), 0);
}

TEST_F(NodeUsersTest, AllOfOneUserEndHoweverTheyHideAndNobodyElse) {
    auto users = open();
    ASSERT_TRUE(users);
    const NodeUser a = users->claim("a").value(), b = users->claim("b").value();
    // Nobody's child, of a session of its own, without a sign of where it came from.
    for (const NodeUser& user : {a, b})
        (void)shell(user,
                    "env -i setsid -f /bin/sh -c 'cd /; while :; do sleep 1000; done' "
                    "</dev/null >/dev/null 2>&1");
    for (const NodeUser& user : {a, b})
        ASSERT_TRUE(wait_until([&] { return !processes_of_user(user.uid).empty(); }));
    EXPECT_GE(end_all_of(users->agent(), a).value_or(0), 1);
    ASSERT_TRUE(wait_until([&] { return processes_of_user(a.uid).empty(); }));
    EXPECT_FALSE(processes_of_user(b.uid).empty());
    EXPECT_EQ(end_all_of(users->agent(), a).value_or(-1), 0);
}

TEST_F(NodeUsersTest, ACacheIsCountedAndEmptiedAndNoLinkInItIsFollowed) {
    auto users = open();
    ASSERT_TRUE(users);
    const NodeUser a = users->claim("a").value();
    const std::string mine = root + "/data/mine";
    ASSERT_TRUE(make_directories(mine, 0700));
    ASSERT_TRUE(write_file_atomically(mine + "/big", std::string(3 << 20, 'x')));
    (void)shell(a, "ln -s '" + mine + "' '" + a.cache() +
                       "/environments'; head -c 1000000 /dev/zero >'" + a.cache() + "/own'");
    ASSERT_TRUE(make_directories(a.nodes() + "/n", 0700));
    auto found = caches_of(users->all());
    ASSERT_EQ(found.size(), 1u);
    EXPECT_TRUE(found[0].in_use);
    EXPECT_GE(found[0].bytes, 1'000'000u);
    EXPECT_LT(found[0].bytes, 3u << 20);
    EXPECT_EQ(clear_cache(a).value(), false);
    ASSERT_TRUE(remove_tree(a.nodes() + "/n"));
    EXPECT_EQ(clear_cache(a).value(), true);
    EXPECT_TRUE(list_directory(a.cache())->empty());
    EXPECT_EQ(mode_of(a.cache()), 0700u);
    EXPECT_EQ(access((mine + "/big").c_str(), F_OK), 0);
    EXPECT_EQ(shell(a, "touch '" + a.cache() + "/again' && echo yes"), "yes\n");
}

TEST_F(NodeUsersTest, InNamespacesOneSeesWhatIsOnesOwnAndChangesNothingElse) {
    namespaces = true;
    auto users = open();
    ASSERT_TRUE(users) << users.error().message;
    const NodeUser a = users->claim("a").value(), b = users->claim("b").value();
    ASSERT_TRUE(make_directories(root + "/shown", 0755));
    ASSERT_TRUE(write_file_atomically(root + "/shown/file", "shown\n", 0644));
    EXPECT_EQ(shell(a, "cat '" + root + "/shown/file'; find /home /root /run '" + root +
                           "/data' '" + b.folder + "' -mindepth 1 2>/dev/null | wc -l"),
              "shown\n0\n");
    EXPECT_EQ(
        shell(a, "for f in '" + root + "/shown/file' '" + a.agents() +
                     "/x' /etc/x /usr/x /x; do touch $f 2>/dev/null && echo $f; done; touch '" +
                     a.cache() + "/x' '" + a.home() + "/x' /tmp/x /dev/shm/x && echo own"),
        "own\n");
    EXPECT_EQ(shell(a,
                    "set -- /proc/[0-9]*; echo $#; grep -c '^Cap...:.*[1-9a-f]' /proc/self/status; "
                    "grep NoNewPrivs /proc/self/status"),
              "2\n0\nNoNewPrivs:\t1\n");  // the first process and the shell
    // Nor by namespaces within: there are none.
    EXPECT_EQ(shell(a, "unshare -Ur true 2>/dev/null || echo none"), "none\n");
}

TEST_F(NodeUsersTest, WhereThereAreNoNamespacesItIsSaid) {
    namespaces = true;
    agent = "/bin/false";
    const auto users = open();
    ASSERT_FALSE(users);
    EXPECT_EQ(users.error().code, Code::FailedPrecondition);
    EXPECT_EQ(users.error().message,
              "isolation: workspace_namespaces: this machine does not let the server start a "
              "program in namespaces of its own (status 1): allow user namespaces, or write "
              "another `isolation`");
    EXPECT_NE(access((settings.folder + "/probe").c_str(), F_OK), 0);
}

// The provider, whose agent is the real one: no server answers it.
class NodesOfUsers : public NodeUsersTest {
protected:
    AsioLoop loop;
    std::set<uid_t> ways;
    int gone = 0;
    std::unique_ptr<LocalProvider> provider;

    void begin(Isolation level) {
        namespaces = level == Isolation::WorkspaceNamespaces;
        LocalProviderOptions options;
        options.agent = agent;
        options.server_socket = root + "/data/agent.sock";
        options.nodes_folder = root + "/data/nodes";
        options.cache_folder = root + "/data/cache";
        options.node_token = [](const NodeId&) { return Secret("token"); };
        options.leaving = 100ms;
        options.silent_agent = 300ms;
        options.open_way = [&](const NodeUser& user) -> Result<void> {
            ways.insert(user.uid);
            return {};
        };
        provider = std::make_unique<LocalProvider>(
            loop, options,
            ProviderEvents{[](const NodeId&, Error why) { ADD_FAILURE() << why.message; },
                           [&](const NodeId&) { ++gone; }});
        ASSERT_TRUE(provider->use_users(open().value(), {{"apart", level}}));
    }
    static NodeRequest request(const std::string& id) {
        NodeRequest request;
        request.id = id;
        request.pool = "apart";
        request.settings = Json::object({{"variables", Json::object({{"UV_INDEX_URL", "x"}})}});
        return request;
    }
    // Those of that program which run as the user, and hang under that process.
    std::vector<ProcessId> programs(const NodeUser& user, std::string_view name, pid_t parent = 0) {
        std::vector<ProcessId> found;
        for (const ProcessSeen& one : list_processes())
            if (user_of(one.id.pid) == user.uid && program_of(one.id.pid).starts_with(name) &&
                (parent == 0 || one.parent == parent))
                found.push_back(one.id);
        return found;
    }
    bool runs(const NodeUser& user) {
        return run_until(loop, [&] { return !programs(user, "turnout-supervisor").empty(); });
    }
};

class NodesOfUsersAtEachLevel : public NodesOfUsers,
                                public ::testing::WithParamInterface<Isolation> {};

TEST_P(NodesOfUsersAtEachLevel, ANodeRunsAsItsUserAndIsGoneWithWhatItLeft) {
    begin(GetParam());
    const NodeRequest request = this->request("ws/cpu/node-1");
    provider->provision(request);
    const auto user = open().value().claim("ws");
    ASSERT_TRUE(user);
    EXPECT_EQ(ways, std::set<uid_t>{user->uid});
    const std::string folder = user->nodes() + "/ws_cpu_node-1";
    EXPECT_EQ(provider->folder_of(request.id), folder);
    // Agent and supervisor.
    ASSERT_TRUE(run_until(loop, [&] {
        return access((folder + "/supervisor.sock").c_str(), F_OK) == 0 &&
               processes_of_user(user->uid).size() >= 2;
    }));
    EXPECT_EQ(mode_of(user->agents() + "/ws_cpu_node-1.token"), 0640u);
    EXPECT_EQ(mode_of(user->agents() + "/ws_cpu_node-1.json"), 0600u);
    std::optional<std::vector<FoundNode>> found;
    provider->list([&](Result<std::vector<FoundNode>> answer) { found = answer.value(); });
    ASSERT_TRUE(run_until(loop, [&] { return found.has_value(); }));
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().id, request.id);
    EXPECT_EQ(found->front().is, FoundNode::Is::Alive);
    // A daemon of a task, and a link where root will remove: it must not be followed.
    const std::string mine = root + "/data/mine";
    ASSERT_TRUE(make_directories(mine, 0700));
    namespaces = false;  // as one that got out
    (void)shell(*user, "env -i setsid -f sleep 1000 </dev/null >/dev/null 2>&1; ln -s '" + mine +
                           "' '" + folder + "/link'; rm -f '" + folder + "/agent.log'; ln -s '" +
                           mine + "/log' '" + folder + "/agent.log'");
    provider->release(request.id, {});
    ASSERT_TRUE(run_until(loop, [&] { return gone > 0; }));
    EXPECT_TRUE(processes_of_user(user->uid).empty());
    EXPECT_NE(access(folder.c_str(), F_OK), 0);
    EXPECT_EQ(access(mine.c_str(), F_OK), 0);
    EXPECT_TRUE(list_directory(user->agents())->empty());
}
INSTANTIATE_TEST_SUITE_P(Levels, NodesOfUsersAtEachLevel,
                         ::testing::Values(Isolation::WorkspaceUid,
                                           Isolation::WorkspaceNamespaces));

TEST_F(NodesOfUsers, AStuckAgentInNamespacesIsReplacedAloneAndWhoKillsTheOuterOneKillsAll) {
    begin(Isolation::WorkspaceNamespaces);
    const NodeRequest request = this->request("ws/cpu/node-1");
    provider->provision(request);
    const NodeUser user = open()->claim("ws").value();
    ASSERT_TRUE(runs(user));
    const ProcessId supervisor = programs(user, "turnout-supervisor").front();
    const Json handle =
        parse_json(read_file(user.agents() + "/ws_cpu_node-1.json").value()).value();
    const auto outer = static_cast<pid_t>(handle.at("pid").as_int());
    const ProcessId inner = programs(user, "turnout-agent", outer).at(0),
                    agent_there = programs(user, "turnout-agent", inner.pid).at(0);
    ASSERT_TRUE(send_signal(agent_there, SIGSTOP));
    ASSERT_TRUE(run_until(loop, [&] {
        provider->provision(request);
        return !is_alive(agent_there);
    }));
    ASSERT_TRUE(
        run_until(loop, [&] { return programs(user, "turnout-agent", inner.pid).size() == 1; }));
    EXPECT_TRUE(is_alive(supervisor));
    EXPECT_TRUE(is_alive(inner));
    ASSERT_EQ(kill(outer, SIGKILL), 0);
    EXPECT_TRUE(run_until(loop, [&] { return processes_of_user(user.uid).empty(); }));
}

TEST_F(NodesOfUsers, ANodeThatSeesMoreThanItsPoolLetsItNowGoes) {
    begin(Isolation::WorkspaceUid);
    provider->provision(request("ws/cpu/node-1"));
    const NodeUser user = open()->claim("ws").value();
    ASSERT_TRUE(runs(user));
    begin(Isolation::WorkspaceNamespaces);
    provider->provision(request("ws/cpu/node-1"));
    EXPECT_TRUE(run_until(loop, [&] { return gone == 1; }));
    EXPECT_TRUE(processes_of_user(user.uid).empty());
    provider->provision(request("ws/cpu/node-1"));
    EXPECT_TRUE(runs(user));
}

}  // namespace
}  // namespace turnout
