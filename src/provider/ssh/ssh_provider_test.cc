// What the contract of all providers does not ask: hosts that are down, doors that are shut, keys
// that change, ways that lead through another host.
#include "provider/ssh/ssh_provider.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/posix/test_until.h"
#include "io/ssh/session.h"
#include "provider/ssh/hosts.h"
#include "provider/ssh/test_hosts.h"

namespace turnout {
namespace {

class SshHosts : public ::testing::Test {
protected:
    TestHosts hosts{2};
    AsioLoop loop;
    std::unique_ptr<SshProvider> provider;
    std::map<NodeId, Error> failed;
    std::vector<std::string> said;
    std::vector<NodeId> gone;
    std::map<std::string, MachineSecret> secrets;

    // The first host as a machine that was attached: with a folder of its own beneath that host's.
    Json attached() {
        secrets["ws/vm"].key = Secret(read_file(hosts.key()).value());
        MachineWanted wanted;
        wanted.host = "127.0.0.1";
        wanted.port = hosts.port(0);
        wanted.user = TestHosts::user();
        wanted.folder = "vm-1";
        wanted.secret = "ws/vm";
        Pool lab;
        lab.provider = "ssh";
        lab.settings = hosts.settings(1);
        const auto machine = ssh_machine(wanted, std::span(&lab, 1));
        EXPECT_TRUE(machine) << machine.error().message;
        return machine->settings;
    }
    std::string folder_of_attached() { return hosts.folder(0) + "-vm-1"; }
    std::string clear(const Json& settings, bool used) {
        std::optional<std::string> left;
        start(keep(provider->clear(settings, used), left), [] {});
        EXPECT_TRUE(run_until(loop, [&] { return left.has_value(); }));
        return left.value_or("nothing was said");
    }
    static Task<void> keep(Task<std::string> task, std::optional<std::string>& into) {
        into = co_await std::move(task);
    }

    void SetUp() override { begin(); }
    void begin() {
        provider.reset();
        SshProviderOptions options;
        options.agent = agent_beside();
        options.server_socket = hosts.root() + "/server.sock";
        options.folder = hosts.root() + "/own";
        options.node_token = [](const NodeId&) { return Secret("secret"); };
        options.leaving = Span{};
        options.clearing = 200ms;
        options.secret = [this](const std::string& name) -> Result<MachineSecret> {
            const auto found = secrets.find(name);
            if (found == secrets.end()) return not_found("there is no secret", name);
            return found->second;
        };
        provider = std::make_unique<SshProvider>(
            loop, std::move(options),
            ProviderEvents{
                [this](const NodeId& id, Error why) {
                    failed.insert_or_assign(id, std::move(why));
                },
                [this](const NodeId& id) { gone.push_back(id); }, [](const NodeId&, Json) {},
                [this](const NodeId&, std::string what) { said.push_back(std::move(what)); }});
        ASSERT_TRUE(provider->open());
    }
    void provision(const NodeId& id, Json settings) {
        NodeRequest request;
        request.id = id;
        request.pool = "lab";
        request.settings = std::move(settings);
        provider->provision(request);
    }
    Error failure_of(const NodeId& id) {
        EXPECT_TRUE(run_until(loop, [&] { return failed.contains(id); }));
        return failed.contains(id) ? failed.at(id) : Error(Code::Internal, "", "");
    }
    bool runs_on(const NodeId& id, int host) {
        return run_until(loop, [&] { return hosts.host_of(id) == host; });
    }
};

// The nodes of all servers beneath that folder of which a process lives.
std::vector<std::string> folders_with_processes_in(const std::string& folder) {
    std::vector<std::string> all;
    if (const auto servers = list_directory(folder))
        for (const DirectoryEntry& server : *servers)
            for (std::string& node : folders_with_processes(folder + "/" + server.name + "/nodes"))
                all.push_back(std::move(node));
    return all;
}

const NodeId kOne = "0123456789ab/cpu/node-1", kTwo = "0123456789ab/cpu/node-2";

TEST_F(SshHosts, TheNextOneIsTakenWhereOneIsDownAndNobodyIsAskedTwice) {
    hosts.end(0);
    provision(kOne, hosts.settings(1));
    ASSERT_TRUE(runs_on(kOne, 1));
    provision(kTwo, hosts.settings(1));
    const Error why = failure_of(kTwo);
    EXPECT_EQ(why.code, Code::ResourceExhausted);
    EXPECT_NE(
        why.message.find("pool 'lab' has no host for another node: 1 of 2 have their nodes; "),
        std::string::npos)
        << why.message;
    EXPECT_NE(why.message.find("127.0.0.1:" + std::to_string(hosts.port(0))), std::string::npos)
        << why.message;
    const Json known = provider->describe(hosts.settings(1));
    EXPECT_EQ(known.items()[0].at("state").as_string(), "avoided");
    EXPECT_EQ(known.items()[1].at("nodes").as_int(), 1);
}

TEST_F(SshHosts, WhoIsNotLetInSaysSoAndIsNotTriedAgain) {
    ASSERT_TRUE(write_file_atomically(hosts.root() + "/id.pub", "", 0600));
    provision(kOne, hosts.settings(1));
    const Error why = failure_of(kOne);
    EXPECT_EQ(why.code, Code::InvalidArgument);
    EXPECT_NE(why.message.find("does not let '" + TestHosts::user() + "' in with the key"),
              std::string::npos)
        << why.message;
}

TEST_F(SshHosts, AKeyThatIsNoneIsSaid) {
    ASSERT_TRUE(write_file_atomically(hosts.root() + "/none", "no key\n", 0600));
    Json settings = hosts.settings(1);
    settings.set("key", hosts.root() + "/none");
    provision(kOne, settings);
    EXPECT_NE(failure_of(kOne).message.find("a private key without passphrase is expected"),
              std::string::npos);
    settings.set("key", hosts.root() + "/absent");
    provision(kTwo, settings);
    const Error why = failure_of(kTwo);
    EXPECT_NE(why.message.find(hosts.root() + "/absent"), std::string::npos) << why.message;
    EXPECT_EQ(why.code, Code::ResourceExhausted) << "it may come back";
}

TEST_F(SshHosts, WhileItConnectsAgainNobodyIsSaidToBeGone) {
    Json settings = hosts.settings(1);
    settings.find("hosts")->items().pop_back();
    provision(kOne, settings);
    ASSERT_TRUE(run_until(
        loop, [&] { return !said.empty() && said.back().starts_with("its agent was started"); }));
    hosts.end(0);
    hosts.begin(0);
    int asked = 0, answered = 0;
    bool alive = false, missing = false;
    const auto answer = [&](Result<std::vector<FoundNode>> found) {
        ++answered;
        ASSERT_TRUE(found);
        missing = missing || found->size() != 1;
        alive = alive || (found->size() == 1 && found->front().is == FoundNode::Is::Alive);
    };
    // Some of them ask between the connection and what is then looked at. Few at a time: a slow
    // machine answers in its own time.
    EXPECT_TRUE(run_until(loop, [&] {
        if (!alive && !missing && asked - answered < 4) {
            ++asked;
            provider->list(answer);
        }
        return (alive || missing) && asked == answered;
    }));
    EXPECT_FALSE(missing);
}

TEST_F(SshHosts, WhatAHandleSaysOfAHostDoesNotOutdoItsPool) {
    Pool pool;
    pool.name = "lab";
    pool.settings = hosts.settings(1);
    provider->set_pools(std::span(&pool, 1));
    provider->release(kOne, Json::object({{"host", Json::object({{"address", "127.0.0.1"},
                                                                 {"port", hosts.port(0)},
                                                                 {"user", TestHosts::user()},
                                                                 {"folder", hosts.folder(0)},
                                                                 {"key", "/absent"}})}}));
    EXPECT_TRUE(run_until(loop, [&] { return gone == std::vector<NodeId>{kOne}; }));
}

TEST_F(SshHosts, AHostThatShowsAnotherKeyIsRefusedAfterARestartToo) {
    Json settings = hosts.settings(1);
    settings.find("hosts")->items().pop_back();
    provision(kOne, settings);
    ASSERT_TRUE(runs_on(kOne, 0));
    provider->release(kOne, Json());
    ASSERT_TRUE(run_until(loop, [&] { return !gone.empty(); }));
    EXPECT_EQ(hosts.host_of(kOne), -1);
    hosts.change_key(0);
    begin();
    provision(kTwo, settings);
    const Error why = failure_of(kTwo);
    EXPECT_EQ(why.code, Code::InvalidArgument);
    EXPECT_NE(why.message.find("when it was first used"), std::string::npos) << why.message;
}

TEST_F(SshHosts, AHostIsReachedThroughAnother) {
    Json settings = hosts.settings(1);
    settings.find("hosts")->items().erase(settings.find("hosts")->items().begin());
    settings.set("jump", "127.0.0.1:" + std::to_string(hosts.port(0)));
    provision(kOne, settings);
    EXPECT_TRUE(runs_on(kOne, 1));
    EXPECT_TRUE(failed.empty());
}

TEST_F(SshHosts, WhatIsOnAHostThatDoesNotAnswerIsNotSaidToBeGone) {
    Json settings = hosts.settings(1);
    provision(kOne, settings);
    ASSERT_TRUE(run_until(loop, [&] { return hosts.host_of(kOne) >= 0; }));
    hosts.end(hosts.host_of(kOne));
    begin();
    std::optional<std::vector<FoundNode>> found;
    provider->list([&](Result<std::vector<FoundNode>> answer) { found = std::move(*answer); });
    ASSERT_TRUE(run_until(loop, [&] { return found.has_value(); }));
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().id, kOne);
    EXPECT_EQ(found->front().is, FoundNode::Is::Unknown);
}

TEST_F(SshHosts, AHostListsNoNodesOfOthersAndNothingThatIsNone) {
    Pool pool;
    pool.name = "lab";
    pool.settings = hosts.settings(1);
    provider->set_pools(std::span(&pool, 1));
    provision(kOne, pool.settings);
    ASSERT_TRUE(runs_on(kOne, 0));
    const std::string instance = read_file(hosts.root() + "/own/instance").value();
    const std::string there = hosts.folder(1) + "/" + std::string(trim(instance)) + "/nodes/";
    for (const char* name : {"0123456789ab_cpu_node-1", "0123456789ab_cpu_node-7",
                             "0123456789ab_cpu_other-1", "0123456789ab_cpu_node-", "a b_c_node-1"})
        ASSERT_TRUE(make_directories(there + name, 0700));
    std::map<NodeId, FoundNode> found;
    bool answered = false;
    provider->list([&](Result<std::vector<FoundNode>> answer) {
        for (FoundNode& one : *answer) found.emplace(one.id, one);
        answered = true;
    });
    ASSERT_TRUE(run_until(loop, [&] { return answered; }));
    EXPECT_EQ(found.size(), 2u);
    EXPECT_TRUE(found.contains("0123456789ab/cpu/node-7"));
    ASSERT_TRUE(found.contains(kOne));
    EXPECT_EQ(found.at(kOne).handle.at("host").at("port").as_int(), hosts.port(0));
}

TEST_F(SshHosts, AnAgentHasTheVariablesOfItsPool) {
    Json settings = hosts.settings(1);
    settings.set("variables",
                 Json::object({{"INDEX", "https://me:pass word@a/\n"}, {"PATH", "/bin"}}));
    provision(kOne, settings);
    ASSERT_TRUE(run_until(loop, [&] {
        const std::string place = hosts.place_of(kOne);
        return !place.empty() && read_file(place + "/agent.json").has_value();
    }));
    const std::string place = hosts.place_of(kOne);
    EXPECT_EQ(read_file(place + "/node.token").value(), "secret");
    const Json agent = parse_json(read_file(place + "/agent.json").value()).value();
    const auto variables = split(
        read_file("/proc/" + std::to_string(agent.at("pid").as_int()) + "/environ").value(), '\0');
    const auto count = [&](std::string_view begin) {
        return std::ranges::count_if(
            variables, [&](const std::string& one) { return one.starts_with(begin); });
    };
    EXPECT_EQ(count("INDEX=https://me:pass word@a/\n"), 1);
    EXPECT_EQ(count("PATH="), 1);
    EXPECT_EQ(count("PATH=/bin"), 1);
}

TEST_F(SshHosts, WhatIsOnlyCheckedChangesNothing) {
    Json settings = hosts.settings(1);
    settings.find("hosts")->items().pop_back();
    provision(kOne, settings);
    ASSERT_TRUE(runs_on(kOne, 0));
    Json other = settings;
    other.set("key", hosts.root() + "/absent");
    const Json checked = loop.run(provider->check(other));
    EXPECT_FALSE(checked.items()[0].at("reachable").as_bool()) << checked.dump();
    EXPECT_EQ(provider->describe(settings).items()[0].at("state").as_string(), "connected");
}

TEST_F(SshHosts, AMachineThatIsLetGoHasNothingOfOursAndMayHaveAnotherKey) {
    const Json settings = attached();
    const Json checked = loop.run(provider->check(settings)).items()[0];
    EXPECT_TRUE(checked.at("reachable").as_bool()) << checked.dump();
    EXPECT_FALSE(checked.at("os").as_string().empty());
    provision(kOne, settings);
    const std::string place = folder_of_attached();
    ASSERT_TRUE(run_until(loop, [&] { return !folders_with_processes_in(place).empty(); }));
    EXPECT_EQ(clear(settings, true), "");
    EXPECT_TRUE(folders_with_processes_in(place).empty());
    EXPECT_NE(::access(place.c_str(), F_OK), 0) << place;
    EXPECT_FALSE(read_file(hosts.root() + "/own/nodes/0123456789ab_cpu_node-1.json"));
    hosts.change_key(0);
    EXPECT_TRUE(loop.run(provider->check(settings)).items()[0].at("reachable").as_bool());
}

TEST_F(SshHosts, ANodeThatLeavesAMachineIsGoneWithTheRest) {
    const Json settings = attached();
    provision(kOne, settings);
    ASSERT_TRUE(
        run_until(loop, [&] { return !folders_with_processes_in(folder_of_attached()).empty(); }));
    provider->release(kOne, Json());
    EXPECT_EQ(clear(settings, true), "");
    EXPECT_TRUE(run_until(loop, [&] { return gone == std::vector<NodeId>{kOne}; }));
}

TEST_F(SshHosts, AMachineThatIsAwayIsLetGoAllTheSame) {
    const Json settings = attached();
    hosts.end(0);
    EXPECT_EQ(clear(settings, false), "") << "it was never there";
    const std::string left = clear(settings, true);
    EXPECT_NE(left.find("the folder '" + folder_of_attached() + "' may be left on "),
              std::string::npos)
        << left;
}

TEST_F(SshHosts, WhatOpensAMachineIsInNoMessage) {
    const Json settings = attached();
    const auto message = [&] {
        const Json checked = loop.run(provider->check(settings)).items()[0];
        EXPECT_FALSE(checked.at("reachable").as_bool());
        return checked.at("message").as_string();
    };
    secrets["ws/vm"].key = Secret("no key at all");
    const std::string none = message();
    EXPECT_NE(none.find("a private key without passphrase is expected"), std::string::npos) << none;
    EXPECT_EQ(none.find("no key at all"), std::string::npos) << none;
    secrets["ws/vm"] = {Secret(), Secret("a password")};
    const std::string refused = message();
    EXPECT_NE(refused.find("with the password that it was given"), std::string::npos) << refused;
    EXPECT_EQ(refused.find("a password"), std::string::npos) << refused;
    secrets.clear();
    EXPECT_EQ(message(), "there is no secret");
}

TEST(SshMachine, IsReadFromWhatAClientSays) {
    const auto pool = parse_json(R"({"user": "ml", "key": "id", "python": "/opt/python",
        "hosts": [{"address": "gpu1", "port": 2222, "jump": "door"}, "other@gpu2"]})");
    Pool lab;
    lab.provider = "ssh";
    lab.settings = *pool;
    const std::span<const Pool> pools(&lab, 1);
    MachineWanted wanted;
    wanted.host = "10.0.0.7";
    wanted.user = "me";
    wanted.folder = "vm-1";
    wanted.secret = "ws/vm";
    const auto plain = ssh_machine(wanted, pools);
    ASSERT_TRUE(plain) << plain.error().message;
    EXPECT_EQ(plain->port, 22);
    const SshHost host = ssh_hosts(plain->settings, "/data").at(0);
    EXPECT_EQ(host.name(), "me@10.0.0.7");
    EXPECT_EQ(host.folder, ".turnout-vm-1");
    EXPECT_EQ(host.secret, "ws/vm");
    EXPECT_TRUE(host.key.empty() && host.jump.empty());
    // One that a pool describes.
    wanted.host = "gpu1";
    wanted.port = 22;
    wanted.user = wanted.secret = "";
    const auto known = ssh_machine(wanted, pools);
    ASSERT_TRUE(known) << known.error().message;
    EXPECT_EQ(known->port, 2222);
    EXPECT_EQ(known->user, "ml");
    EXPECT_EQ(known->settings.at("python").as_string(), "/opt/python");
    const SshHost described = ssh_hosts(known->settings, "/data").at(0);
    EXPECT_EQ(described.key, "/data/id");
    EXPECT_EQ(described.jump, "door");
    // With what somebody gave, the pool's way in is not used.
    wanted.user = "me";
    EXPECT_FALSE(ssh_machine(wanted, pools)) << "the key is that of another user";
    wanted.secret = "ws/vm";
    const auto own = ssh_machine(wanted, pools);
    ASSERT_TRUE(own);
    EXPECT_TRUE(ssh_hosts(own->settings, "/data").at(0).key.empty());
}

TEST(SshMachine, WhatIsNoneIsRefused) {
    MachineWanted good;
    good.host = "gpu1";
    good.user = "ml";
    good.secret = "ws/vm";
    ASSERT_TRUE(ssh_machine(good, {}));
    for (const char* host : {"", "-oProxyCommand=x", "a b", "$(x)", "gpu1;rm", "gpu1:22", "..%2f",
                             "a\nb", "me@gpu1", "[::1]"}) {
        MachineWanted bad = good;
        bad.host = host;
        const auto refused = ssh_machine(bad, {});
        ASSERT_FALSE(refused) << host;
        EXPECT_EQ(refused.error().subject, "properties.resourceId") << host;
    }
    for (const char* user : {"-l", "a b", "root;x", "$(x)", "a@b", "a\nb"}) {
        MachineWanted bad = good;
        bad.user = user;
        EXPECT_FALSE(ssh_machine(bad, {})) << user;
    }
    for (const int port : {-1, 70000}) {
        MachineWanted bad = good;
        bad.port = port;
        EXPECT_FALSE(ssh_machine(bad, {})) << port;
    }
    for (const char* key : {"MD5:x", "SHA256", "x"}) {
        MachineWanted bad = good;
        bad.host_key = key;
        EXPECT_FALSE(ssh_machine(bad, {})) << key;
    }
    for (const bool user : {true, false}) {
        MachineWanted bad = good;
        (user ? bad.user : bad.secret) = "";
        EXPECT_FALSE(ssh_machine(bad, {}));
    }
    good.host = "fe80::1";
    EXPECT_TRUE(ssh_machine(good, {}));
}

TEST(SshSession, WhatAMachineSaysIsFitForAMessage) {
    EXPECT_EQ(ssh::fit_for_message(" a\x1b[2J\nb\xc2\x9b\xff\xc3\xa9\n"), "a?[2J?b??\xc3\xa9");
    EXPECT_LT(ssh::fit_for_message(std::string(100'000, 'x')).size(), 500u);
}

TEST(SshSession, BytesOfAllKindsAndSizesGoThereAndBack) {
    TestHosts hosts(1);
    AsioLoop loop;
    ssh::Target target;
    target.host = "127.0.0.1";
    target.port = static_cast<std::uint16_t>(hosts.port(0));
    target.user = TestHosts::user();
    target.key = Secret(read_file(hosts.key()).value());
    target.is_known = [](const std::string&) -> Result<void> { return {}; };
    const auto session = loop.run(ssh::Session::open(loop, std::move(target), nullptr, 10s));
    ASSERT_TRUE(session) << session.error().message;
    std::string large(700'000, '\0');
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 + i / 251);
    const auto echoed = loop.run((*session)->run("cat; echo words >&2; exit 7", large, 20s));
    ASSERT_TRUE(echoed) << echoed.error().message;
    EXPECT_EQ(echoed->out, large);
    EXPECT_EQ(echoed->err, "words\n");
    EXPECT_EQ(echoed->code, 7);
    const auto early = loop.run((*session)->run("exit 3", std::string(9 << 20, 'x'), 20s));
    ASSERT_TRUE(early) << early.error().message;
    EXPECT_EQ(early->code, 3);
    const auto killed = loop.run((*session)->run("kill -9 $$", "", 20s));
    ASSERT_TRUE(killed) << killed.error().message;
    EXPECT_EQ(killed->code, -1);
    const auto late = loop.run((*session)->run("sleep 10", "", 50ms));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().reason, "Timeout");
    hosts.end(0);
    const auto lost = loop.run((*session)->run("true", "", 20s));
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code, Code::Unavailable);
}

TEST(SshSettings, WhatNamesAHostIsReadAndNothingElse) {
    const auto place = parse_ssh_place("me@[::1]:2222");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->user, "me");
    EXPECT_EQ(place->address, "::1");
    EXPECT_EQ(place->port, 2222);
    EXPECT_EQ(parse_ssh_place("gpu1")->port, 0);
    for (const char* text : {"", "a b", "-oProxyCommand=x", "me@", "@host", "host:port", "$(x)",
                             "me;x@host", "host\n"})
        EXPECT_FALSE(parse_ssh_place(text)) << text;
}

}  // namespace
}  // namespace turnout
