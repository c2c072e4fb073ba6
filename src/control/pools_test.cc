// Pools: each has its slots and its scheduler, may vanish from the settings and come back, and its
// provider is asked what is there.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

Pool pool(std::string name, int slots, std::optional<Span> lost_after = {}) {
    Pool out;
    out.name = std::move(name);
    out.provider = "far";
    out.slots = slots;
    out.lost_node_after = lost_after;
    return out;
}

// Two slots on the default pool, and a pool "big".
struct Pools : World {
    explicit Pools(Pool big = pool("big", 3)) : World(2) { use({std::move(big)}); }
    void use(std::vector<Pool> pools) {
        settings.pools = std::move(pools);
        restart();
        settle();
    }
    static Compute in_pool(std::string name, std::string where, int max) {
        Compute compute = cluster(std::move(name), 0, max);
        compute.pool = std::move(where);
        return compute;
    }
    int nodes_in(const std::string& name) const { return control->pool(name)->nodes; }
    std::string why(const std::string& job) const { return control->waiting_for("ws", job); }
    void set_slots(const std::string& name, int slots) {
        std::string answer = "no answer";
        control->set_slots(name, slots, [&](Result<void> r) { answer = said_ok(r); });
        settle();
        EXPECT_EQ(answer, "ok");
    }
    // The provider answers what it was asked last.
    void found(std::vector<FoundNode> nodes, const std::string& provider = "far") {
        control->nodes_found(effects.listed.at(provider), nodes);
        settle();
    }
    void ask_what_is_there() {
        effects.listed.clear();
        for (int i = 0; i < 200 && !effects.listed.contains("far"); ++i) pass(1s);
        EXPECT_TRUE(effects.listed.contains("far"));
        said();
    }
    FoundNode alive(NodeId id) { return {FoundNode::Is::Alive, std::move(id), {}}; }
};

std::string describe(World& w, std::vector<Pool> pools) {
    std::string answer = "no answer";
    w.control->set_pools(std::move(pools), [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    return answer;
}

TEST(ControlPools, EachHasItsOwnSlots) {
    Pools w;
    w.put(World::cluster("here", 0, 9));
    w.put(Pools::in_pool("there", "big", 9));
    for (int i = 0; i < 5; ++i) {
        w.submit("a" + std::to_string(i), "here");
        w.submit("b" + std::to_string(i), "there");
    }
    EXPECT_EQ(w.nodes_in("local"), 2);
    EXPECT_EQ(w.nodes_in("big"), 3);
    EXPECT_EQ(w.control->slots(), 2);
    EXPECT_EQ(w.control->slots("big"), 3);
    EXPECT_EQ(w.control->slots("none"), 0);
    for (const NodeId id : {"ws/here/node-1", "ws/here/node-3", "ws/there/node-2",
                            "ws/there/node-4", "ws/there/node-5"})
        w.connect(id);
    EXPECT_EQ(w.why("a4"), "no free slot in pool 'local': all 2 are in use; 2 jobs ahead");
    EXPECT_EQ(w.why("b4"), "no free slot in pool 'big': all 3 are in use; 1 job ahead");
    const auto explained = w.control->explain("ws", "b4");
    ASSERT_TRUE(explained);
    EXPECT_EQ(explained->pool, "big");
    EXPECT_EQ(explained->slots, 3);
    EXPECT_NE(explained->would_start.back().find("`turnout pool update -n big --slots 5`"),
              std::string::npos)
        << explained->would_start.back();
    // More there are of no use here.
    w.set_slots("big", 5);
    EXPECT_EQ(w.nodes_in("big"), 5);
    EXPECT_EQ(w.nodes_in("local"), 2);
    EXPECT_EQ(w.effects.requested.at("ws/there/node-2").pool, "big");
    EXPECT_EQ(w.effects.requested.at("ws/here/node-1").pool, "local");
    // And a low-priority cluster gives way to those of its own pool only.
    std::string answer;
    w.control->set_slots("none", 1, [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_NE(answer, "ok");
}

TEST(ControlPools, ALoneDefaultPoolIsSpokenOfAsBefore) {
    World w(1);
    w.put(World::cluster("c", 0, 2));
    w.submit("a", "c");
    w.submit("b", "c");
    w.connect("ws/c/node-1");
    EXPECT_EQ(w.control->waiting_for("ws", "b"), "no free slot in the pool: all 1 are in use");
    EXPECT_EQ(w.control->explain("ws", "b")->pool, "");
    EXPECT_EQ(w.store->get(Table::Meta, "control").value()->value, R"({"nodes":1})");
}

TEST(ControlPools, TheSlotsThatWereSetLastAreRight) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 9));
    w.set_slots("big", 5);
    w.restart();
    EXPECT_EQ(w.control->slots("big"), 5) << "kept";
    w.use({pool("big", 4)});
    EXPECT_EQ(w.control->slots("big"), 4) << "the file was changed after it";
    w.use({});
    EXPECT_TRUE(w.control->pool("big")->missing);
    w.use({pool("big", 3)});
    EXPECT_EQ(w.control->slots("big"), 3) << "what was set before is over";
}

TEST(ControlPools, SlotsOfTheDefaultPoolThatTheFileTookBackDoNotReturn) {
    Pools w(pool("local", 4));
    w.set_slots("local", 2);
    w.restart();
    EXPECT_EQ(w.control->slots(), 2);
    for (const int slots : {6, 4}) {
        w.use({pool("local", slots)});
        w.settle();
        EXPECT_EQ(w.control->slots(), slots);
    }
}

TEST(ControlPools, NodesStayTheirProvidersWhenThePoolGetsAnother) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    Pool other = pool("big", 3);
    other.provider = "other";
    w.use({other});
    w.pass(w.settings.list_first + 1s);
    ASSERT_TRUE(w.effects.listed.contains("far")) << "it still has a node";
    w.found({}, "other");
    EXPECT_TRUE(w.node("ws/there/node-1")) << "the new one knows nothing of it";
    w.gone("ws/there/node-1");
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
    w.control->node_failed("ws/there/node-2", Error{Code::Unavailable, "NoHost", "down", ""});
    w.settle();
    EXPECT_EQ(w.effects.released_by, "other");
}

TEST(ControlPools, SeveralThatFailAtOnceAreOneRefusal) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 3));
    for (const char* job : {"a", "b", "c"}) w.submit(job, "there");
    for (int i = 1; i <= 3; ++i)
        w.control->node_failed("ws/there/node-" + std::to_string(i),
                               Error{Code::ResourceExhausted, "Quota", "used up", ""});
    for (int i = 1; i <= 3; ++i) w.gone("ws/there/node-" + std::to_string(i));
    EXPECT_EQ(w.nodes_in("big"), 0);
    w.pass(w.settings.exhausted_pause + 1s);
    EXPECT_EQ(w.nodes_in("big"), 3) << "asked again after the first pause";
    EXPECT_EQ(w.control->pool("big")->trouble, "") << "for now nobody says no";
}

TEST(ControlPools, WhenNoMoreCanBeHadThoseThatAreThereGoOn) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 2));
    w.submit("a", "there");
    w.submit("b", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    w.control->node_failed("ws/there/node-2",
                           Error{Code::InvalidArgument, "NoSize", "not any more", ""});
    w.gone("ws/there/node-2");
    EXPECT_EQ(w.control->unusable("ws", "there"), "") << "its first node works";
    w.ends("ws/there/node-1", "a");
    EXPECT_EQ(w.status("b"), JobStatus::Preparing) << "on the node that is there";
}

// Each question is answered by Ambiguous again: nobody runs in circles.
TEST(ControlPools, WhatStaysUncertainIsAskedForAgainWithPauses) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.said();
    const auto cut = Error{Code::Ambiguous, "NoReply", "the connection was cut", ""};
    int asked = 0;
    std::vector<std::string> told;
    for (int second = 0; second < 60; ++second) {
        w.control->node_failed("ws/there/node-1", cut);
        w.settle();
        w.pass(1s);
        if (w.effects.listed.contains("far")) {
            w.found({});
            w.effects.listed.clear();
            ++asked;
        }
        for (const std::string& line : w.said()) told.push_back(line);
    }
    EXPECT_GE(std::ranges::count(told, "provision ws/there/node-1"), 3);
    EXPECT_LE(std::ranges::count(told, "provision ws/there/node-1"), 10);
    EXPECT_GE(asked, 3);
}

TEST(ControlPools, OneThatVanishesLosesNothing) {
    Pools w;
    w.put(World::cluster("here", 0, 1));
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.submit("b", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    w.use({});
    EXPECT_TRUE(w.control->pool("big")->missing);
    EXPECT_EQ(w.control->pool("big")->pool.provider, "far") << "it was written down";
    EXPECT_EQ(w.control->slots("big"), 0);
    EXPECT_NE(w.why("b").find("pool 'big' is not in pools.yaml any more"), std::string::npos)
        << w.why("b");
    EXPECT_NE(w.control->unusable("ws", "there").find("pool 'big'"), std::string::npos);
    EXPECT_EQ(w.control->unusable("ws", "here"), "");
    // What runs goes on to its end; what waits stays.
    w.connect("ws/there/node-1", {World::attempt("a")});
    w.ends("ws/there/node-1", "a");
    EXPECT_EQ(w.status("a"), JobStatus::Completed);
    EXPECT_EQ(w.status("b"), JobStatus::Queued);
    EXPECT_EQ(w.effects.released_by, "far") << "its provider is asked to end the idle node";
    w.gone("ws/there/node-1");
    w.submit("c", "here");
    w.connect("ws/here/node-2");
    EXPECT_EQ(w.status("c"), JobStatus::Preparing) << "others are not disturbed";
    w.use({pool("big", 1)});
    EXPECT_EQ(w.control->unusable("ws", "there"), "");
    w.settle();
    EXPECT_EQ(w.nodes_in("big"), 1);
    w.connect("ws/there/node-3");
    EXPECT_EQ(w.status("b"), JobStatus::Preparing);
}

TEST(ControlPools, AComputeOfAMissingOneCanBeDeletedAndIsForgotten) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.use({});
    EXPECT_EQ(w.remove_compute("there"), "ok");
    w.gone("ws/there/node-1");
    EXPECT_EQ(w.status("a"), JobStatus::Canceled);
    EXPECT_EQ(w.count(Table::Compute), 0u);
    EXPECT_FALSE(w.control->pool("big")) << "at once";
    w.restart();
    EXPECT_FALSE(w.control->pool("big"));
}

TEST(ControlPools, AComputeKeepsItsPool) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.put(World::cluster("there", 0, 2));
    EXPECT_EQ(w.control->pool("big")->computes, 1);
    EXPECT_EQ(w.control->pool("local")->computes, 0);
    w.restart();
    EXPECT_EQ(w.control->pool("big")->computes, 1);
}

TEST(ControlPools, EachHasItsLostNodeTimeAndANodeKeepsWhatItWasTold) {
    Pools w(pool("big", 1, 10min));
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    Span told{};
    w.effects.sent = [&](const ap::ToAgent& message) {
        if (const auto* welcome = std::get_if<ap::Welcome>(&message))
            told = welcome->lost_node_after;
    };
    w.connect("ws/there/node-1");
    EXPECT_EQ(told, 10min);
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    w.use({pool("big", 1, 1min)});
    w.connect("ws/there/node-1", {World::attempt("a")});
    EXPECT_EQ(told, 10min) << "it may not hear of another one";
    w.disconnect("ws/there/node-1");
    w.pass(5min);
    EXPECT_NE(w.node("ws/there/node-1")->state, NodeState::Leaving);
    w.pass(7min);
    EXPECT_EQ(w.node("ws/there/node-1")->state, NodeState::Leaving);
}

// ---- described anew while the server runs

TEST(ControlPools, OneThatIsAddedIsThereAtOnce) {
    World w(1);
    w.put(World::cluster("here", 0, 2));
    w.submit("a", "here");
    w.submit("b", "here");
    w.connect("ws/here/node-1");
    EXPECT_EQ(w.control->waiting_for("ws", "b"), "no free slot in the pool: all 1 are in use");
    EXPECT_EQ(describe(w, {pool("big", 1)}), "ok");
    EXPECT_EQ(w.control->pool_names(), (std::vector<std::string>{"big", "local"}));
    EXPECT_EQ(w.control->waiting_for("ws", "b"), "no free slot in pool 'local': all 1 are in use")
        << "now that there are several it has a name";
    w.put(Pools::in_pool("there", "big", 9));
    w.submit("c", "there");
    EXPECT_EQ(w.effects.requested.at("ws/there/node-2").pool, "big");
    w.connect("ws/there/node-2");
    EXPECT_EQ(w.status("c"), JobStatus::Preparing);
}

TEST(ControlPools, OneWithComputesStaysWhoeverTakesItAway) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    std::string why;
    w.control->set_pools({pool("other", 1)}, [&](Result<void> r) { why = r.error().message; });
    w.settle();
    EXPECT_EQ(why, "pool 'big' has the nodes of compute there: delete what is in it first");
    EXPECT_FALSE(w.control->pool("other")) << "all or nothing";
    EXPECT_EQ(w.control->slots("big"), 3);
    w.remove_compute("there");
    EXPECT_EQ(describe(w, {pool("other", 1)}), "ok");
    EXPECT_FALSE(w.control->pool("big"));
    EXPECT_EQ(w.control->slots("other"), 1);
    EXPECT_TRUE(w.control->pool("local")) << "always there";
}

TEST(ControlPools, WhatWasDescribedLastOutlivesAFailedCommit) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    EXPECT_EQ(describe(w, {pool("big", 5), pool("more", 2)}), "ok");
    w.store->fail_next(Error{Code::Internal, "Disk", "broken", ""});
    w.submit("a", "there");
    w.pass(1min);
    EXPECT_EQ(w.control->slots("big"), 5);
    EXPECT_EQ(w.control->slots("more"), 2);
}

TEST(ControlPools, SlotsThatWereSetStayUntilTheDescriptionSaysOthers) {
    Pools w;
    w.set_slots("big", 5);
    Pool dearer = pool("big", 3);
    dearer.price.dedicated = 2;
    EXPECT_EQ(describe(w, {dearer}), "ok");
    EXPECT_EQ(w.control->slots("big"), 5) << "it says of slots what it said before";
    dearer.slots = 4;
    EXPECT_EQ(describe(w, {dearer}), "ok");
    EXPECT_EQ(w.control->slots("big"), 4);
    w.settings.pools = {dearer};
    w.restart();
    EXPECT_EQ(w.control->slots("big"), 4);
}

TEST(ControlPools, OtherSettingsHoldForNodesThatAreAskedForFromThenOn) {
    Pools w(pool("big", 2, 10min));
    w.put(Pools::in_pool("there", "big", 2));
    w.submit("a", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    Pool other = pool("big", 2, 1min);
    other.settings = Json::object({{"hosts", "more"}});
    EXPECT_EQ(describe(w, {other}), "ok");
    EXPECT_EQ(w.status("a"), JobStatus::Running);
    w.submit("b", "there");
    EXPECT_EQ(w.effects.requested.at("ws/there/node-2").settings.at("hosts").as_string(), "more");
    EXPECT_EQ(w.node("ws/there/node-1")->lost_after, Span(10min)) << "as it was told";
    EXPECT_EQ(w.node("ws/there/node-2")->lost_after, Span(1min));
}

TEST(ControlPools, WhatCouldNotBeHadIsAskedForAgainWhenItsPoolSaysSomethingElse) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.control->node_failed("ws/there/node-1",
                           Error{Code::InvalidArgument, "NoHost", "no host lets us in", ""});
    w.gone("ws/there/node-1");
    EXPECT_NE(w.control->unusable("ws", "there"), "");
    EXPECT_EQ(describe(w, {pool("big", 3)}), "ok");
    EXPECT_NE(w.control->unusable("ws", "there"), "") << "nothing is different";
    Pool other = pool("big", 3);
    other.settings = Json::object({{"user", "ml"}});
    EXPECT_EQ(describe(w, {other}), "ok");
    EXPECT_EQ(w.control->unusable("ws", "there"), "");
    EXPECT_EQ(w.nodes_in("big"), 1);
}

TEST(ControlPools, AMissingOneComesBackWithoutARestart) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.set_slots("big", 5);
    w.submit("a", "there");
    w.gone("ws/there/node-1");
    w.use({});
    EXPECT_TRUE(w.control->pool("big")->missing);
    EXPECT_EQ(describe(w, {pool("other", 1)}), "ok") << "it was missing before";
    EXPECT_TRUE(w.control->pool("big")->missing);
    EXPECT_EQ(describe(w, {pool("big", 3)}), "ok");
    EXPECT_EQ(w.control->slots("big"), 5) << "as they were set; the description is what it was";
    EXPECT_EQ(w.control->unusable("ws", "there"), "");
    EXPECT_EQ(w.nodes_in("big"), 1);
}

TEST(ControlPools, APriceHoldsFromThenOn) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    Pool priced = pool("big", 3);
    priced.price.dedicated = 2;
    EXPECT_EQ(describe(w, {priced}), "ok");
    w.clock.pass(30min);
    EXPECT_NEAR(w.control->live_nodes("ws", "there").cost, 1.0, 1e-6);
    EXPECT_EQ(w.control->live_nodes("ws", "there").price, 2.0);
}

// ---- what a failure's code asks for

TEST(ControlPools, OneThatHasNoMoreWaitsWithAllItsComputes) {
    Pools w;
    for (const char* name : {"one", "two"}) w.put(Pools::in_pool(name, "big", 1));
    w.put(World::cluster("here", 0, 1));
    w.submit("a", "one");
    w.control->node_failed("ws/one/node-1",
                           Error{Code::ResourceExhausted, "Quota", "the quota is used up", ""});
    w.gone("ws/one/node-1");
    w.submit("b", "two");
    w.submit("c", "here");
    EXPECT_EQ(w.nodes_in("big"), 0) << "nobody asks there for now";
    EXPECT_EQ(w.nodes_in("local"), 1);
    EXPECT_EQ(w.control->pool("big")->trouble, "the quota is used up");
    for (const char* job : {"a", "b"})
        EXPECT_NE(w.why(job).find("pool 'big' has no more nodes for now: the quota is used up"),
                  std::string::npos)
            << w.why(job);
    w.pass(w.settings.exhausted_pause + 1s);
    EXPECT_EQ(w.nodes_in("big"), 2);
    w.connect("ws/one/node-3");
    w.connect("ws/two/node-3");
    w.connect("ws/one/node-4");
    w.connect("ws/two/node-4");
    EXPECT_EQ(w.control->pool("big")->trouble, "");
    EXPECT_EQ(w.status("a"), JobStatus::Preparing);
}

// Its settings promise eight slots, and it gives six nodes at most.
TEST(ControlPools, GangsDoNotHoldWhatTheOtherLacksWhereThereIsNoMore) {
    Pools w(pool("big", 8));
    constexpr std::size_t kMost = 6;
    std::set<NodeId> given;
    w.effects.also = [&](const std::string& line) {
        if (line.starts_with("provision ")) given.insert(line.substr(10));
    };
    for (const char* name : {"one", "two"}) {
        w.put(Pools::in_pool(name, "big", 4));
        w.control->submit(World::gang(name, name, 4), [](Result<Put>) {});
        w.settle();
    }
    std::set<NodeId> up;
    const auto provider = [&] {
        for (const std::string& line : w.said())
            if (line.starts_with("release ") && given.erase(line.substr(8))) {
                up.erase(line.substr(8));
                w.gone(line.substr(8));
            }
        std::vector<NodeId> asked(given.begin(), given.end());
        std::ranges::stable_sort(asked, {}, [](const NodeId& id) {  // each gang gets its part
            return (std::stoi(id.substr(id.rfind('-') + 1)) - 1) % 4;
        });
        for (const NodeId& id : asked) {
            if (up.contains(id)) continue;
            if (up.size() < kMost) {
                up.insert(id);
                w.connect(id);
            } else {
                w.control->node_failed(id, Error{Code::ResourceExhausted, "Quota", "used up", ""});
                w.settle();
            }
        }
    };
    for (int i = 0; i < 60; ++i) {
        provider();
        w.pass(1s);
    }
    const bool one = w.status("one") == JobStatus::Preparing;
    const bool two = w.status("two") == JobStatus::Preparing;
    EXPECT_TRUE(one != two) << "one runs, and the other waits for it: " << w.why("one") << " | "
                            << w.why("two");
}

TEST(ControlPools, AComputeThatCannotBeHadIsUnusableUntilItIsChanged) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 1));
    w.submit("a", "there");
    w.control->node_failed("ws/there/node-1",
                           Error{Code::InvalidArgument, "NoSize", "no machine has 900 cores", ""});
    w.gone("ws/there/node-1");
    w.pass(1h);
    EXPECT_EQ(w.nodes_in("big"), 0) << "it is not tried again by itself";
    EXPECT_NE(w.why("a").find("no machine has 900 cores"), std::string::npos) << w.why("a");
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
    w.put(Pools::in_pool("there", "big", 2));
    EXPECT_EQ(w.nodes_in("big"), 1);
    EXPECT_EQ(w.control->unusable("ws", "there"), "");
}

TEST(ControlPools, WhatMayHaveHappenedIsLookedAtFirst) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 2));
    w.submit("a", "there");
    w.submit("b", "there");
    w.said();
    w.clock.pass(1s);
    const auto cut = Error{Code::Ambiguous, "NoReply", "the connection was cut", ""};
    w.control->node_failed("ws/there/node-1", cut);
    w.settle();
    const std::uint64_t last = w.effects.listed.at("far");
    w.control->node_failed("ws/there/node-2", cut);
    w.settle();
    EXPECT_EQ(w.effects.listed.at("far"), last) << "one answer tells of both";
    EXPECT_EQ(w.nodes_in("big"), 2) << "neither is given up";
    EXPECT_EQ(w.said(), std::vector<std::string>{}) << "nor asked for again before that";
    w.found({w.alive("ws/there/node-1")});
    EXPECT_EQ(w.said(), std::vector<std::string>{"provision ws/there/node-2"});
}

// ---- what is there

TEST(ControlPools, WhatIsKnownAndNotThereIsGone) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 2));
    w.put(World::cluster("here", 0, 1));
    w.submit("a", "there");
    w.submit("b", "there");
    w.submit("c", "here");
    for (const NodeId id : {"ws/there/node-1", "ws/there/node-2", "ws/here/node-3"}) w.connect(id);
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    w.phase("ws/there/node-2", "b", ap::Phase::Running);
    w.disconnect("ws/there/node-1");
    w.ask_what_is_there();
    w.found({});
    EXPECT_FALSE(w.node("ws/there/node-1")) << "proof";
    const auto said = w.said();
    EXPECT_TRUE(std::ranges::count(said, "release ws/there/node-1"))
        << "what its provider keeps of it goes too";
    EXPECT_EQ(w.job("a")->attempts.front().ending->cause, ap::Cause::NodeLost);
    EXPECT_TRUE(w.node("ws/there/node-2")) << "it is connected, whatever its provider says";
    EXPECT_TRUE(w.node("ws/here/node-3")) << "of another provider";
}

TEST(ControlPools, WhatCameWhileTheProviderLookedIsNotGone) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 3));
    w.submit("a", "there");
    w.connect("ws/there/node-1");
    w.phase("ws/there/node-1", "a", ap::Phase::Running);
    w.disconnect("ws/there/node-1");
    w.ask_what_is_there();
    w.clock.pass(1s);
    w.connect("ws/there/node-1", {World::attempt("a")});
    w.clock.pass(1s);
    w.disconnect("ws/there/node-1");
    w.submit("b", "there");  // another one is asked for meanwhile
    w.found({});
    EXPECT_TRUE(w.node("ws/there/node-1"));
    EXPECT_EQ(w.nodes_in("big"), 2);
    // An answer to what was asked before the last time counts for nothing.
    const std::uint64_t before = w.effects.listed.at("far");
    w.disconnect("ws/there/node-1");
    w.ask_what_is_there();
    w.control->nodes_found(before, {});
    w.settle();
    EXPECT_TRUE(w.node("ws/there/node-1"));
}

TEST(ControlPools, WhatIsThereAndUnknownIsReleased) {
    Pools w;
    w.pass(w.settings.list_first + 1s);
    EXPECT_EQ(w.effects.listed.size(), 2u) << "both providers, soon after the start";
    w.said();
    w.found({w.alive("ws/gone/node-7"), {FoundNode::Is::Starting, "ws/gone/node-8", Json("h")}});
    EXPECT_EQ(w.said(),
              (std::vector<std::string>{"release ws/gone/node-7", "release ws/gone/node-8"}));
    EXPECT_EQ(w.effects.released_by, "far");
}

TEST(ControlPools, AHandleIsStoredAndGivenBack) {
    Pools w;
    w.put(Pools::in_pool("there", "big", 2));
    w.submit("a", "there");
    w.control->node_handle("ws/there/node-1", Json("pod-7"));
    EXPECT_GT(w.store->queued(), 0u);
    w.settle();
    EXPECT_EQ(w.node("ws/there/node-1")->handle.as_string(), "pod-7");
    w.restart();
    w.settle();
    EXPECT_EQ(w.effects.requested.at("ws/there/node-1").handle.as_string(), "pod-7");
    // One whose telling was lost is read from the list.
    w.submit("b", "there");
    const NodeId second = "ws/there/node-2";
    w.ask_what_is_there();
    w.found({w.alive("ws/there/node-1"), {FoundNode::Is::Alive, second, Json("pod-8")}});
    EXPECT_EQ(w.node(second)->handle.as_string(), "pod-8");
}

}  // namespace
}  // namespace turnout
