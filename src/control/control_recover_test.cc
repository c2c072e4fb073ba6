// Control: what a restart finds, and the table of every status against every input.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

TEST(ControlRecover, RebuildsEverything) {
    World w(3);
    w.put(World::cluster("c", 0, 2));
    for (const char* name : {"a", "b", "d", "e"}) {
        w.clock.pass(1s);
        w.submit(name, "c");
    }
    w.connect("ws/c/node-1");
    w.connect("ws/c/node-2");
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    w.said();
    w.restart();
    w.settle();
    Lines said = w.said();
    std::sort(said.begin(), said.end());
    EXPECT_EQ(said, (Lines{"disconnect ws/c/node-1", "disconnect ws/c/node-2",
                           "provision ws/c/node-1", "provision ws/c/node-2"}));
    EXPECT_EQ(w.status("a"), JobStatus::Running);
    w.connect("ws/c/node-1", {World::attempt("a")});
    w.connect("ws/c/node-2", {World::attempt("b")});
    w.ends("ws/c/node-2", "b");
    EXPECT_EQ(w.status("d"), JobStatus::Preparing);  // the queue kept its order
    EXPECT_EQ(w.status("e"), JobStatus::Queued);
    EXPECT_EQ(w.submit("a", "c"), "unchanged");
    w.ends("ws/c/node-1", "a");
    w.ends("ws/c/node-2", "d");
    w.ends("ws/c/node-1", "e");
    EXPECT_EQ(w.count(Table::JobLive), 0u);
    w.pass(200s);
    w.restart();
    w.settle();
    said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "release ws/c/node-1") != said.end());
}

TEST(ControlRecover, ANodeHasItsJobsInTheOrderInWhichItGotThem) {
    World w;
    const NodeId node = w.ready("first");
    ap::EndReport report;
    report.id = World::attempt("first");
    report.ending.durations.user_code = 10ms;  // so short that the next ones wait on the node
    w.control->agent_says(node, report);
    for (const char* name : {"a", "b"}) {
        w.clock.pass(1s);
        ASSERT_EQ(w.submit(name, "c"), "created");
    }
    w.clock.pass(1s);
    report.id = World::attempt("a");
    report.ending.cause = ap::Cause::Internal;
    w.control->agent_says(node, report);  // it is given again, behind b
    w.settle();
    ASSERT_EQ(w.job("a")->attempts.size(), 2u);
    for (int lives = 0; lives < 2; ++lives) {
        EXPECT_EQ(w.node(node)->job, "b");
        ASSERT_TRUE(w.control->waiting("ws", "a"));
        EXPECT_EQ(w.control->waiting("ws", "a")->what, schedule::Waiting::For::Nodes);
        w.restart();
        w.connect(node, {World::attempt("b"), World::attempt("a", 2)});
    }
}

TEST(ControlRecover, AStoreThatCannotBeReadRefusesUntilItCan) {
    struct Sick : MemoryStore {
        using MemoryStore::MemoryStore;
        Result<std::vector<Record>> scan(Table table, const Range& range) override {
            if (sick && table == Table::JobLive)
                return fail(Code::Unavailable, "Io", "the disk does not answer");
            return MemoryStore::scan(table, range);
        }
        bool sick = false;
    };
    StillClock clock;
    Written effects;
    Sick store;
    Control control(clock, store, effects, {});
    ASSERT_TRUE(control.recover());
    std::vector<std::string> answers;
    control.put_compute(World::cluster("c", 1, 1),
                        [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    while (store.queued()) store.flush();
    store.sick = true;
    store.fail_next(Error{Code::Unavailable, "Io", "the disk does not answer", ""});
    const auto note = [&](Result<Put> r) { answers.push_back(World::said_put(r)); };
    control.submit(World::submission("j", "c"), note);
    while (store.queued()) store.flush();
    control.submit(World::submission("j", "c"), note);
    control.agent_disconnected("ws/c/node-1");
    control.agent_connected("ws/c/node-1", {});
    control.node_gone("ws/c/node-1");
    EXPECT_EQ(store.queued(), 0u);
    control.tick();
    EXPECT_EQ(answers, (Lines{"created", "Io", "Io"}));
    // It knows nothing, and says so.
    EXPECT_EQ(control.waiting_for("ws", "j"), "");
    EXPECT_FALSE(control.explain("ws", "j"));
    EXPECT_TRUE(control.nodes_of("ws", "c").empty());
    EXPECT_EQ(control.live_nodes("ws", "c").count, 0);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(control.next_tick());
        ASSERT_GT(*control.next_tick(), clock.boot);
        ASSERT_LE(*control.next_tick(), clock.boot + 30s);
        clock.pass(*control.next_tick() - clock.boot);
        control.tick();
    }
    store.sick = false;
    clock.pass(*control.next_tick() - clock.boot);
    control.tick();
    while (store.queued()) store.flush();
    control.submit(World::submission("j", "c"), note);
    while (store.queued()) store.flush();
    EXPECT_EQ(answers.back(), "created");
    EXPECT_EQ(store.scan(Table::Node, with_prefix(""))->size(), 1u);
}

TEST(ControlServerless, ExistsWithoutBeingAskedFor) {
    World w;
    EXPECT_EQ(w.submit("j", "serverless"), "created");
    EXPECT_EQ(w.said(), Lines{"provision ws/serverless/node-1"});
    std::string answer;
    w.control->put_compute(World::cluster("serverless", 0, 1),
                           [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "InvalidArgument");
}

// Every status a job can be in, and every input, legal or not: never a crash, and afterwards the
// store and a control rebuilt from it agree with one another.
TEST(ControlTable, EveryStatusTakesEveryInput) {
    const auto reach = [](World& w, int status) {
        const NodeId node = "ws/c/node-1";
        w.put(World::cluster("c", 0, 1));
        w.submit("j", "c");
        if (status == 0) return;  // Queued
        w.connect(node);
        if (status == 1) return;  // Preparing, not begun
        w.phase(node, "j", ap::Phase::Preparing);
        if (status == 2) return;
        w.phase(node, "j", ap::Phase::Running);
        if (status == 3) return;
        if (status == 4) return w.phase(node, "j", ap::Phase::Finalizing);
        if (status == 5) {
            w.cancel("j");
            return;
        }
        if (status == 6) return w.ends(node, "j");
        if (status == 7) return w.ends(node, "j", ap::Cause::UserCode);
        if (status == 8) {
            w.cancel("j");
            return w.ends(node, "j", ap::Cause::Canceled);
        }
        w.disconnect(node);  // 9: Running, away
    };
    const std::vector<std::function<void(World&)>> inputs{
        [](World& w) { w.submit("j", "c"); },
        [](World& w) { w.cancel("j"); },
        [](World& w) { w.remove("j"); },
        [](World& w) { w.remove_compute("c"); },
        [](World& w) {
            w.control->put_compute(World::cluster("c", 0, 0), [](Result<Put>) {});
            w.settle();
        },
        [](World& w) { w.connect("ws/c/node-1"); },
        [](World& w) { w.connect("ws/c/node-1", {World::attempt("j")}); },
        [](World& w) { w.connect("ws/c/node-1", {}, "boot-2"); },
        [](World& w) { w.disconnect("ws/c/node-1"); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Preparing); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Running); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Finalizing); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Ended); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Running, 5); },
        [](World& w) { w.ends("ws/c/node-1", "j"); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::UserCode); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::Canceled); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::NodeLost); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::Environment); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::None, 9); },
        [](World& w) {
            w.control->node_failed("ws/c/node-1", Error{Code::Unavailable, "X", "broken", ""});
            w.settle();
        },
        [](World& w) { w.gone("ws/c/node-1"); },
        [](World& w) { w.pass(3min); },
        [](World& w) { w.pass(7h); },
        [](World& w) {
            w.control->stop_everything([](Result<void>) {});
            w.settle();
        },
        [](World& w) {
            w.store->fail_next(Error{Code::Unavailable, "Io", "the disk does not answer", ""});
        },
        [](World& w) {
            w.restart();
            w.settle();
        },
    };
    for (int status = 0; status < 10; ++status) {
        for (std::size_t first = 0; first < inputs.size(); ++first) {
            for (std::size_t second = 0; second < inputs.size(); ++second) {
                SCOPED_TRACE(std::to_string(status) + " " + std::to_string(first) + " " +
                             std::to_string(second));
                World w(1);
                reach(w, status);
                const std::optional<JobRecord> before = w.job("j");
                inputs[first](w);
                const bool deleted = !w.job("j");
                inputs[second](w);
                const std::optional<JobRecord> after = w.job("j");
                if (is_terminal(before->status) && after && !deleted) {
                    EXPECT_EQ(after->status, before->status);
                }
                if (!after) {
                    EXPECT_EQ(w.count(Table::JobLive) + w.count(Table::JobCreated), 0u);
                    continue;
                }
                EXPECT_EQ(w.count(Table::JobLive), is_terminal(after->status) ? 0u : 1u);
                EXPECT_LE(w.count(Table::Node), 1u);
                EXPECT_EQ(after->ended.has_value(), is_terminal(after->status));
                const bool live = after->current() && !after->current()->ended;
                for (std::size_t i = 0; i + 1 < after->attempts.size(); ++i)
                    EXPECT_TRUE(after->attempts[i].ended);
                EXPECT_NE(live, after->status == JobStatus::Queued || is_terminal(after->status));
                if (live) {
                    const auto node = w.node("ws/c/" + after->current()->nodes().front());
                    ASSERT_TRUE(node);
                    EXPECT_EQ(node->job, "j");
                    EXPECT_EQ(node->attempt, after->current()->number);
                    // It was told to stop the job and did not: its provider is to end it.
                    if (node->state != NodeState::Leaving ||
                        after->status != JobStatus::CancelRequested) {
                        EXPECT_EQ(node->state, NodeState::Running);
                    }
                }
                if (testing::Test::HasFailure()) return;
            }
        }
    }
}

TEST(ControlComputes, ChangesThatCameTogetherAreAllThere) {
    World w;
    w.put(World::cluster("c", 0, 1));
    std::vector<std::string> answers;
    const auto change = [&](const std::string& name, const Control::ComputeChange& what) {
        w.control->change_compute("ws", name, what,
                                  [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    };
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {});  // keeps the disk busy
    change("c", [](const std::optional<Compute>& now) {
        Compute next = *now;
        next.max_nodes = 7;
        return next;
    });
    change("c", [](const std::optional<Compute>& now) {
        Compute next = *now;
        next.idle_before_scale_down = 5s;
        return next;
    });
    change("c", [](const std::optional<Compute>& now) -> Result<Compute> {
        return now->max_nodes == 7 ? Result<Compute>(invalid("no", "no")) : Result<Compute>(*now);
    });
    change("e", [](const std::optional<Compute>& now) {
        return now ? *now : World::cluster("e", 0, 1);
    });
    change("e", [](const std::optional<Compute>& now) -> Result<Compute> {
        return now ? Result<Compute>(fail(Code::Conflict, "There", "")) : World::cluster("e", 0, 1);
    });
    w.settle();
    EXPECT_EQ(answers, (std::vector<std::string>{"updated", "updated", "InvalidArgument", "created",
                                                 "There"}));
    const auto row = w.store->get(Table::Compute, "ws/c");
    const Result<Compute> kept = compute_from_json(*parse_json((*row)->value));
    EXPECT_EQ(kept->max_nodes, 7);
    EXPECT_EQ(kept->idle_before_scale_down, 5s);
}

}  // namespace
}  // namespace turnout
