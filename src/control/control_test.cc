// Control over a store whose durable prefix the test decides, with a clock that stands still and
// effects that are only written down.
#include "control/control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "store/memory/memory_store.h"

namespace turnout {
namespace {

namespace ap = agent_protocol;

class StillClock : public Clock {
public:
    Instant now() const override { return wall; }
    Span since_boot() const override { return boot; }
    void pass(Span span) {
        wall = wall + span;
        boot += span;
    }
    Instant wall{1'000'000'000'000'000};
    Span boot{1h};
};

std::string text(const ap::AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
std::string text(const ap::ToAgent& message) {
    struct {
        std::string operator()(const ap::Welcome&) { return "welcome"; }
        std::string operator()(const ap::Lease& m) { return "lease " + text(m.id); }
        std::string operator()(const ap::Cancel& m) { return "cancel " + text(m.id) + " " + std::string(name_of(m.cause)); }
        std::string operator()(const ap::LogAck& m) { return "log_ack " + text(m.id); }
        std::string operator()(const ap::EndAck& m) { return "end_ack " + text(m.id); }
        std::string operator()(const ap::Leave&) { return "leave"; }
        std::string operator()(const ap::Ping&) { return "ping"; }
    } say;
    return std::visit(say, message);
}

class Written : public Effects {
public:
    void send(const NodeId& node, ap::ToAgent message) override { say("send " + node + " " + text(message)); }
    void provision(const Node& node) override { say("provision " + node.id()); }
    void release(const Node& node) override { say("release " + node.id()); }
    void disconnect(const NodeId& node) override { say("disconnect " + node); }
    void say(std::string line) {
        lines.push_back(line);
        if (also) also(line);
    }
    std::vector<std::string> lines;
    std::function<void(const std::string&)> also;
};

struct World {
    explicit World(int slots = 2) {
        settings.slots = slots;
        start();
    }
    void start(MemoryStore::State state = {}) {
        control.reset();
        store = std::make_unique<MemoryStore>(std::move(state));
        control = std::make_unique<Control>(clock, *store, effects, settings);
        EXPECT_TRUE(control->recover());
    }
    void restart() { start(store->crash()); }
    // Everything that is under way becomes durable, and what follows from it.
    void settle() {
        for (int i = 0; i < 1000 && store->queued() > 0; ++i) store->flush();
        ASSERT_EQ(store->queued(), 0u) << "control never comes to rest";
    }
    std::vector<std::string> said() { return std::exchange(effects.lines, {}); }
    // Time passes in steps of control's own choosing.
    void pass(Span span) {
        const Span until = clock.boot + span;
        for (int i = 0; i < 100'000; ++i) {
            const std::optional<Span> next = control->next_tick();
            if (!next || *next > until) break;
            if (*next > clock.boot) clock.pass(*next - clock.boot);
            control->tick();
            settle();
            ASSERT_LT(i, 99'999) << "ticks without end";
        }
        clock.pass(until - clock.boot);
    }

    static Compute cluster(std::string name, int min, int max, Span idle = 120s) {
        Compute compute;
        compute.workspace = "ws";
        compute.name = std::move(name);
        compute.definition = Json::object();
        compute.envelope = Json::object();
        compute.min_nodes = min;
        compute.max_nodes = max;
        compute.idle_before_scale_down = idle;
        return compute;
    }
    void put(Compute compute) {
        bool answered = false;
        control->put_compute(std::move(compute), [&](Result<Put> r) { answered = r.has_value(); });
        settle();
        EXPECT_TRUE(answered);
    }
    static JobSubmission submission(std::string name, std::string compute) {
        JobSubmission job;
        job.workspace = "ws";
        job.name = std::move(name);
        job.definition = Json::object({{"command", "echo " + job.name}});
        job.compute = std::move(compute);
        job.task.command = "echo";
        job.principal = "me";
        return job;
    }
    std::string submit(std::string name, std::string compute) {
        std::string answer = "no answer";
        control->submit(submission(std::move(name), std::move(compute)), [&](Result<Put> r) { answer = said_put(r); });
        settle();
        return answer;
    }
    // noinline: g++ 12 takes the value of an inlined Result for uninitialized.
    [[gnu::noinline]] static std::string said_put(const Result<Put>& r) {
        if (!r) return r.error().reason;
        return *r == Put::Created ? "created" : *r == Put::Updated ? "updated" : "unchanged";
    }
    [[gnu::noinline]] static std::string said_ok(const Result<void>& r) { return r ? "ok" : r.error().reason; }
    std::string cancel(std::string name) {
        std::string answer = "no answer";
        control->cancel_job("ws", std::move(name), [&](Result<void> r) { answer = said_ok(r); });
        settle();
        return answer;
    }
    std::string remove(std::string name) {
        std::string answer = "no answer";
        control->delete_job("ws", std::move(name), [&](Result<void> r) { answer = said_ok(r); });
        settle();
        return answer;
    }
    std::string remove_compute(std::string name) {
        std::string answer = "no answer";
        control->delete_compute("ws", std::move(name), [&](Result<void> r) { answer = said_ok(r); });
        settle();
        return answer;
    }
    void connect(const NodeId& node, std::vector<ap::AttemptId> attempts = {}, std::string boot = "boot-1") {
        ap::Hello hello;
        hello.node = node;
        hello.boot_id = std::move(boot);
        hello.attempts = std::move(attempts);
        control->agent_connected(node, hello);
        settle();
    }
    void disconnect(const NodeId& node) {
        control->agent_disconnected(node);
        settle();
    }
    static ap::AttemptId attempt(std::string job, int number = 1) { return {"ws", std::move(job), number}; }
    void phase(const NodeId& node, std::string job, ap::Phase phase, int number = 1) {
        control->agent_says(node, ap::PhaseReport{attempt(std::move(job), number), phase, "", {}, {}});
        settle();
    }
    void ends(const NodeId& node, std::string job, ap::Cause cause = ap::Cause::None, int number = 1) {
        ap::EndReport report;
        report.id = attempt(std::move(job), number);
        report.ending.cause = cause;
        report.ending.exit_code = cause == ap::Cause::None ? 0 : 1;
        report.ending.message = cause == ap::Cause::None ? "" : "it broke";
        control->agent_says(node, report);
        settle();
    }
    void gone(const NodeId& node) {
        control->node_gone(node);
        settle();
    }
    // Cluster "c" with one connected idle node.
    NodeId ready(std::string job = "j") {
        put(cluster("c", 0, 1));
        submit(std::move(job), "c");
        connect("ws/c/node-1");
        said();
        return "ws/c/node-1";
    }

    std::optional<JobRecord> job(const std::string& name) {
        const auto record = store->get(Table::Job, "ws/" + name);
        if (!record || !*record) return std::nullopt;
        return job_from_json(*parse_json((*record)->value)).value();
    }
    JobStatus status(const std::string& name) {
        const auto found = job(name);
        EXPECT_TRUE(found) << name;
        return found ? found->status : JobStatus::Unknown;
    }
    std::optional<Node> node(const NodeId& id) {
        const auto record = store->get(Table::Node, id);
        if (!record || !*record) return std::nullopt;
        return node_from_json(*parse_json((*record)->value)).value();
    }
    std::size_t count(Table table) { return store->scan(table, with_prefix(""))->size(); }

    StillClock clock;
    Written effects;
    Control::Settings settings;
    std::unique_ptr<MemoryStore> store;
    std::unique_ptr<Control> control;
};

using Lines = std::vector<std::string>;

TEST(ControlSubmit, OneDefinitionPerName) {
    World w;
    w.put(World::cluster("c", 0, 0));
    EXPECT_EQ(w.submit("j", "c"), "created");
    EXPECT_EQ(w.submit("j", "c"), "unchanged");

    JobSubmission renamed = World::submission("j", "c");
    renamed.meta.display_name = "nicer";
    std::string answer;
    w.control->submit(renamed, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "updated");
    EXPECT_EQ(w.job("j")->meta.display_name, "nicer");

    JobSubmission other = World::submission("j", "c");
    other.definition.set("command", "rm");
    w.control->submit(other, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "Conflict");

    // The order of members is no difference.
    JobSubmission wide = World::submission("k", "c");
    wide.definition = Json::object({{"a", 1}, {"b", 2}});
    w.control->submit(wide, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "created");
    wide.definition = Json::object({{"b", 2}, {"a", 1}});
    w.control->submit(wide, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "unchanged");

    EXPECT_EQ(w.submit("l", "nowhere"), "ComputeNotFound");
    EXPECT_FALSE(w.job("l"));
    EXPECT_EQ(w.count(Table::JobCreated), 2u);
}

TEST(ControlSubmit, EndedJobsAnswerFromTheStore) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    ASSERT_EQ(w.status("j"), JobStatus::Completed);
    EXPECT_EQ(w.submit("j", "c"), "unchanged");
    EXPECT_EQ(w.cancel("j"), "ok");
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    std::string answer;
    JobMeta meta;
    meta.archived = true;
    w.control->update_job("ws", "j", meta, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "updated");
    EXPECT_TRUE(w.job("j")->meta.archived);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    w.control->update_job("ws", "nobody", meta, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "ResourceNotFound");
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST(ControlSubmit, DeletedJobsLeaveNothing) {
    World w;
    const NodeId node = w.ready();
    EXPECT_EQ(w.remove("j"), "JobNotEnded");
    w.ends(node, "j");
    EXPECT_EQ(w.remove("j"), "ok");
    EXPECT_EQ(w.remove("j"), "ResourceNotFound");
    EXPECT_EQ(w.count(Table::Job) + w.count(Table::JobCreated) + w.count(Table::JobLive), 0u);
}

TEST(ControlSubmit, ANameIsFreeOnceItsDeletionIsUnderWay) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.clock.pass(1s);
    std::string removed, submitted;
    w.control->delete_job("ws", "j", [&](Result<void> r) { removed = World::said_ok(r); });  // not durable yet
    w.control->submit(World::submission("j", "c"), [&](Result<Put> r) { submitted = World::said_put(r); });
    w.settle();
    EXPECT_EQ(removed, "ok");
    EXPECT_EQ(submitted, "created");
    ASSERT_TRUE(w.job("j"));
    EXPECT_EQ(w.count(Table::JobCreated), 1u);  // it is listed once

    // The same within one turn, and deleted once more.
    w.cancel("j");
    w.ends(node, "j", ap::Cause::Canceled);
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {});  // keeps the disk busy
    w.control->delete_job("ws", "j", [](Result<void>) {});
    w.clock.pass(1s);
    w.control->submit(World::submission("j", "d"), [&](Result<Put> r) { submitted = World::said_put(r); });
    w.control->cancel_job("ws", "j", [](Result<void>) {});
    w.control->delete_job("ws", "j", [&](Result<void> r) { removed = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(submitted, "created");
    EXPECT_EQ(removed, "ok");
    EXPECT_EQ(w.count(Table::Job) + w.count(Table::JobCreated) + w.count(Table::JobLive), 0u);
}

TEST(ControlTurns, NothingLeavesBeforeItsCommit) {
    World w;
    w.put(World::cluster("c", 0, 1));
    bool answered = false;
    w.control->submit(World::submission("j", "c"), [&](Result<Put> r) { answered = r.has_value(); });
    EXPECT_FALSE(answered);
    EXPECT_EQ(w.said(), Lines{});
    EXPECT_FALSE(w.job("j"));
    w.store->persist();  // durable, but control does not know
    EXPECT_FALSE(answered);
    EXPECT_EQ(w.said(), Lines{});
    w.store->deliver();
    EXPECT_TRUE(answered);
    EXPECT_EQ(w.said(), Lines{"provision ws/c/node-1"});
}

TEST(ControlTurns, TurnsGatherWhileOneIsUnderWay) {
    World w;
    w.put(World::cluster("c", 0, 0));
    std::vector<std::string> answers;
    for (int i = 0; i < 5; ++i)
        w.control->submit(World::submission("j" + std::to_string(i), "c"),
                          [&, i](Result<Put> r) { answers.push_back(std::to_string(i) + World::said_put(r)); });
    w.control->cancel_job("ws", "none", [&](Result<void> r) { answers.push_back(World::said_ok(r)); });
    EXPECT_EQ(w.store->queued(), 1u);
    w.store->flush();
    EXPECT_EQ(answers, Lines{"0created"});
    EXPECT_EQ(w.store->queued(), 1u);  // the other four as one
    w.store->flush();
    EXPECT_EQ(answers, (Lines{"0created", "1created", "2created", "3created", "4created", "ResourceNotFound"}));
    EXPECT_EQ(w.store->queued(), 0u);
}

TEST(ControlTurns, ANewJobAndItsOtherRowsAreThereTogetherOrNotAtAll) {
    World w;
    w.put(World::cluster("c", 0, 0));
    const auto submit = [&] {
        JobSubmission job = World::submission("j", "c");
        job.together.push_back({Table::Run, "ws/j", "a run"});
        w.control->submit(std::move(job), [](Result<Put>) {});
    };
    const auto there = [&](Table table) { return w.store->get(table, "ws/j")->has_value(); };
    submit();
    EXPECT_EQ(w.store->queued(), 1u);
    w.restart();  // before it was durable
    EXPECT_FALSE(there(Table::Job) || there(Table::Run));
    submit();
    w.store->flush(1);
    EXPECT_TRUE(there(Table::Job) && there(Table::Run));
    Batch batch;
    batch.erase(Table::Run, "ws/j");
    w.store->commit(std::move(batch), [](auto) {});
    w.settle();
    submit();  // not a new one
    w.settle();
    EXPECT_FALSE(there(Table::Run));
}

TEST(ControlTurns, AWaitingJobKnowsItsPlace) {
    World w;
    w.put(World::cluster("c", 0, 0));
    for (const std::string name : {"a", "b", "c", "d"}) w.submit(name, "c");
    const auto place = [&](const std::string& name) {
        const std::string text = w.control->waiting_for("ws", name);
        const std::size_t at = text.find("; ");
        return at == std::string::npos ? "" : text.substr(at + 2);
    };
    EXPECT_EQ(place("a"), "");
    EXPECT_EQ(place("b"), "1 job ahead");
    EXPECT_EQ(place("d"), "3 jobs ahead");
    w.cancel("b");
    EXPECT_EQ(place("d"), "2 jobs ahead");
    w.cancel("a");
    EXPECT_EQ(place("c"), "");
    EXPECT_EQ(place("d"), "1 job ahead");
}

TEST(ControlTurns, AFailedCommitNeverHappened) {
    World w;
    w.put(World::cluster("c", 0, 1));
    EXPECT_EQ(w.submit("old", "c"), "created");
    w.said();
    std::vector<std::string> answers;
    const auto note = [&](Result<Put> r) { answers.push_back(World::said_put(r)); };
    w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    w.control->submit(World::submission("a", "c"), note);   // this one's commit fails
    w.control->submit(World::submission("b", "c"), note);   // this one was built on it
    w.control->cancel_job("ws", "old", [&](Result<void> r) { answers.push_back(World::said_ok(r)); });
    w.settle();
    EXPECT_EQ(answers, (Lines{"DiskFull", "DiskFull", "DiskFull"}));
    EXPECT_FALSE(w.job("a"));
    EXPECT_FALSE(w.job("b"));
    EXPECT_EQ(w.status("old"), JobStatus::Queued);
    // Whoever is connected says Hello again.
    EXPECT_EQ(w.said(), (Lines{"provision ws/c/node-1", "disconnect ws/c/node-1"}));
    EXPECT_EQ(w.submit("a", "c"), "created");
    w.connect("ws/c/node-1");
    w.pass(1s);
    EXPECT_EQ(w.status("old"), JobStatus::Preparing);
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
}

TEST(ControlTurns, AFullDiskDoesNotMakeItSpin) {
    World w;
    w.put(World::cluster("c", 0, 1));
    for (int i = 0; i < 10; ++i) w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    EXPECT_EQ(w.submit("j", "c"), "DiskFull");
    EXPECT_EQ(w.store->queued(), 0u);
    Compute wanted = World::cluster("c", 1, 1);
    std::string answer;
    w.control->put_compute(wanted, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "DiskFull");
    ASSERT_TRUE(w.control->next_tick());
    EXPECT_EQ(*w.control->next_tick(), w.clock.boot + 1s);
    w.pass(60s);  // ends: no endless loop of failing commits
}

TEST(ControlScale, NodesComeAndGoWithTheWork) {
    World w(4);
    w.put(World::cluster("c", 0, 2, 100s));
    EXPECT_EQ(w.said(), Lines{});
    w.submit("a", "c");
    w.submit("b", "c");
    w.submit("d", "c");
    EXPECT_EQ(w.said(), (Lines{"provision ws/c/node-1", "provision ws/c/node-2"}));
    w.connect("ws/c/node-2");
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-2 welcome", "send ws/c/node-2 lease a#1"}));
    w.connect("ws/c/node-1");
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease b#1"}));
    w.ends("ws/c/node-1", "b");
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 end_ack b#1", "send ws/c/node-1 lease d#1"}));
    w.ends("ws/c/node-2", "a");
    EXPECT_EQ(w.said(), Lines{"send ws/c/node-2 end_ack a#1"});
    w.pass(99s);
    EXPECT_EQ(w.said(), Lines{});
    w.pass(2s);
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-2 leave", "release ws/c/node-2"}));
    w.pass(31s);
    EXPECT_EQ(w.said(), Lines{"release ws/c/node-2"});  // until it is gone
    w.gone("ws/c/node-2");
    EXPECT_FALSE(w.node("ws/c/node-2"));
    w.pass(300s);
    EXPECT_EQ(w.said(), Lines{});  // the other one works
    w.ends("ws/c/node-1", "d");
    w.pass(101s);
    w.gone("ws/c/node-1");
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.submit("e", "c");
    w.said();
    EXPECT_TRUE(w.node("ws/c/node-3"));  // names are never used twice
}

TEST(ControlScale, TheIdleTimeMayBecomeShorter) {
    World w;
    const NodeId node = w.ready();
    w.put(World::cluster("c", 0, 1, 3600s));
    w.ends(node, "j");
    w.pass(10s);
    w.said();
    w.put(World::cluster("c", 0, 1, 20s));
    w.pass(11s);
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 leave", "release ws/c/node-1"}));
}

TEST(ControlScale, MinimumNodesStayAndComeBack) {
    World w(4);
    w.put(World::cluster("c", 2, 3, 10s));
    EXPECT_EQ(w.said(), (Lines{"provision ws/c/node-1", "provision ws/c/node-2"}));
    w.connect("ws/c/node-1");
    w.connect("ws/c/node-2");
    w.pass(1h);
    EXPECT_EQ(w.count(Table::Node), 2u);
    w.gone("ws/c/node-1");
    EXPECT_TRUE(w.node("ws/c/node-3"));
    w.connect("ws/c/node-3");
    w.put(World::cluster("c", 0, 3, 10s));
    w.pass(11s);
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Leaving);
    EXPECT_EQ(w.node("ws/c/node-3")->state, NodeState::Leaving);
}

TEST(ControlScale, MinimumNodesWaitForASlot) {
    World w(1);
    w.put(World::cluster("a", 0, 1, 10s));
    w.submit("j", "a");
    w.put(World::cluster("b", 1, 1));
    EXPECT_EQ(w.count(Table::Node), 1u);
    w.connect("ws/a/node-1");
    w.ends("ws/a/node-1", "j");
    // b lacks a slot, so a's idle node goes at once.
    EXPECT_EQ(w.node("ws/a/node-1")->state, NodeState::Leaving);
    w.gone("ws/a/node-1");
    EXPECT_TRUE(w.node("ws/b/node-2"));
}

TEST(ControlScale, ASlotIsPromisedOnce) {
    World w(2);
    w.put(World::cluster("a", 0, 4));
    w.put(World::cluster("b", 0, 4));
    for (int i = 0; i < 4; ++i) {
        w.submit("a" + std::to_string(i), "a");
        w.submit("b" + std::to_string(i), "b");
        EXPECT_LE(w.count(Table::Node), 2u);
    }
    EXPECT_EQ(w.count(Table::Node), 2u);
    for (int round = 0; round < 40 && w.count(Table::JobLive) > 0; ++round) {
        std::vector<Node> nodes;
        const std::vector<Record> records = w.store->scan(Table::Node, with_prefix("")).value();
        for (const Record& record : records)
            nodes.push_back(*node_from_json(*parse_json(record.value)));
        EXPECT_LE(nodes.size(), 2u);
        for (const Node& node : nodes) {
            if (node.state == NodeState::Provisioning) w.connect(node.id());
            else if (node.state == NodeState::Running) w.ends(node.id(), node.job);
            else if (node.state == NodeState::Leaving) w.gone(node.id());
        }
    }
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST(ControlScale, IdleNodesGiveWayToAWaitingCluster) {
    World w(2);
    w.put(World::cluster("a", 0, 2, 1h));
    w.submit("a1", "a");
    w.submit("a2", "a");
    w.connect("ws/a/node-1");
    w.connect("ws/a/node-2");
    w.ends("ws/a/node-1", "a1");
    w.ends("ws/a/node-2", "a2");
    EXPECT_EQ(w.node("ws/a/node-1")->state, NodeState::Idle);
    w.put(World::cluster("b", 0, 1));
    w.submit("b1", "b");
    EXPECT_EQ(w.node("ws/a/node-1")->state, NodeState::Leaving);
    EXPECT_EQ(w.node("ws/a/node-2")->state, NodeState::Idle);  // one is enough
    EXPECT_NE(w.control->waiting_for("ws", "b1").find("no free slot"), std::string::npos);
    w.gone("ws/a/node-1");
    EXPECT_TRUE(w.node("ws/b/node-3"));
}

TEST(ControlScale, TheMaximumMayBecomeSmaller) {
    World w(3);
    w.put(World::cluster("c", 0, 3, 1h));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    for (const char* node : {"ws/c/node-1", "ws/c/node-2", "ws/c/node-3"}) w.connect(node);
    w.submit("e", "c");
    w.put(World::cluster("c", 0, 1, 1h));
    w.ends("ws/c/node-1", "a");
    EXPECT_EQ(w.status("e"), JobStatus::Queued);  // two are still at work
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    w.ends("ws/c/node-2", "b");
    w.ends("ws/c/node-3", "d");
    EXPECT_EQ(w.status("e"), JobStatus::Preparing);
}

TEST(ControlCancel, InEveryPhase) {
    {
        World w;
        w.put(World::cluster("c", 0, 0));
        w.submit("j", "c");
        EXPECT_EQ(w.cancel("j"), "ok");
        EXPECT_EQ(w.status("j"), JobStatus::Canceled);
        EXPECT_EQ(w.cancel("j"), "ok");
        EXPECT_EQ(w.cancel("nobody"), "ResourceNotFound");
        EXPECT_EQ(w.count(Table::JobLive), 0u);
    }
    for (const ap::Phase phase : {ap::Phase::Preparing, ap::Phase::Running, ap::Phase::Finalizing}) {
        World w;
        const NodeId node = w.ready();
        w.phase(node, "j", phase);
        EXPECT_EQ(w.cancel("j"), "ok");
        EXPECT_EQ(w.said(), Lines{"send ws/c/node-1 cancel j#1 canceled"});
        EXPECT_EQ(w.cancel("j"), "ok");
        EXPECT_EQ(w.status("j"), JobStatus::CancelRequested);
        w.phase(node, "j", ap::Phase::Finalizing);  // the stopping itself changes no status
        EXPECT_EQ(w.status("j"), JobStatus::CancelRequested);
        w.ends(node, "j", phase == ap::Phase::Running ? ap::Cause::UserCode : ap::Cause::Canceled);
        EXPECT_EQ(w.status("j"), JobStatus::Canceled);
        EXPECT_EQ(w.node(node)->state, NodeState::Idle);
        w.ends(node, "j");  // repeated by the agent: acknowledged, changes nothing
        EXPECT_EQ(w.status("j"), JobStatus::Canceled);
    }
}

TEST(ControlCancel, WhileTheNodeIsAway) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    w.cancel("j");
    w.said();
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 cancel j#1 canceled"}));
    w.ends(node, "j", ap::Cause::Canceled);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
}

TEST(ControlCancel, BeforeTheLeaseArrived) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);  // the lease was lost with the link
    w.cancel("j");
    EXPECT_EQ(w.status("j"), JobStatus::CancelRequested);
    w.connect(node);  // the node knows nothing of it
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
    EXPECT_EQ(w.node(node)->state, NodeState::Idle);
}

TEST(ControlCancel, AJobThatWasFasterIsCompleted) {
    World w;
    const NodeId node = w.ready();
    w.cancel("j");
    w.ends(node, "j");
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
}

TEST(ControlDelete, AComputeWithWork) {
    World w(3);
    w.put(World::cluster("c", 0, 2));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    w.connect("ws/c/node-1");  // has a; node-2 still starts
    w.said();
    EXPECT_EQ(w.remove_compute("c"), "ok");
    EXPECT_EQ(w.status("a"), JobStatus::CancelRequested);
    EXPECT_EQ(w.status("b"), JobStatus::Canceled);
    EXPECT_EQ(w.job("b")->error_message, "compute 'c' was deleted");
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 cancel a#1 canceled", "send ws/c/node-2 leave", "release ws/c/node-2"}));
    EXPECT_EQ(w.submit("x", "c"), "ComputeNotFound");
    EXPECT_EQ(w.remove_compute("c"), "ok");  // again: no effect
    std::string answer;
    w.control->put_compute(World::cluster("c", 0, 1), [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "ComputeBeingDeleted");
    w.gone("ws/c/node-2");
    w.ends("ws/c/node-1", "a", ap::Cause::Canceled);
    EXPECT_EQ(w.count(Table::Compute), 1u);
    w.restart();
    w.settle();
    w.gone("ws/c/node-1");
    EXPECT_EQ(w.count(Table::Compute), 0u);
    EXPECT_EQ(w.remove_compute("c"), "ResourceNotFound");
    EXPECT_EQ(w.remove_compute("never"), "ResourceNotFound");
}

TEST(ControlNodes, ProvisioningBacksOff) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    Span waited{};
    for (int i = 1; i <= 8; ++i) {
        const NodeId id = "ws/c/node-" + std::to_string(i);
        ASSERT_TRUE(w.node(id)) << id;
        w.control->node_failed(id, Error{Code::Unavailable, "NoHost", "the host is down", ""});
        w.settle();
        EXPECT_EQ(w.node(id)->state, NodeState::Leaving);
        EXPECT_NE(w.control->waiting_for("ws", "j").find("the host is down"), std::string::npos)
            << w.control->waiting_for("ws", "j");
        w.gone(id);
        EXPECT_EQ(w.count(Table::Node), 0u);
        EXPECT_NE(w.control->waiting_for("ws", "j").find("tried again"), std::string::npos);
        const Span before = w.clock.boot;
        while (w.count(Table::Node) == 0) {
            ASSERT_TRUE(w.control->next_tick());
            w.pass(std::max<Span>(1us, *w.control->next_tick() - w.clock.boot));
        }
        const Span pause = w.clock.boot - before;
        EXPECT_GE(pause, waited);
        EXPECT_LE(pause, 64s);
        waited = pause;
    }
    EXPECT_EQ(waited, 64s);
    w.connect("ws/c/node-9");
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
}

TEST(ControlNodes, AnAgentThatNeverConnects) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    w.said();
    w.pass(w.settings.provision_timeout - 1s);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Provisioning);
    w.pass(2s);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    w.gone("ws/c/node-1");
    w.pass(10s);
    EXPECT_TRUE(w.node("ws/c/node-2"));
}

TEST(ControlNodes, ALateFailureHurtsNobody) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    const Error late{Code::Unavailable, "NoHost", "a second request for it failed", ""};
    w.control->node_failed(node, late);
    w.control->node_failed("ws/c/node-77", late);
    w.settle();
    EXPECT_EQ(w.node(node)->state, NodeState::Idle);
    w.submit("k", "c");
    w.disconnect(node);
    w.control->node_failed(node, late);  // it holds an attempt: kept, and tried again
    w.settle();
    EXPECT_EQ(w.node(node)->state, NodeState::Running);
    w.said();
    w.pass(10s);
    const Lines said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "provision ws/c/node-1") != said.end());
}

TEST(ControlNodes, LeavingIsRepeatedEvenIfTheAgentComesBack) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.pass(121s);
    ASSERT_EQ(w.node(node)->state, NodeState::Leaving);
    w.disconnect(node);
    w.connect(node);
    w.said();
    w.pass(31s);
    const Lines said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "release ws/c/node-1") != said.end());
}

TEST(ControlNodes, OrphansAreSentAway) {
    World w;
    w.connect("ws/c/node-5", {World::attempt("j")});
    EXPECT_EQ(w.said(), Lines{"send ws/c/node-5 leave"});
    w.ends("ws/c/node-5", "j");
    w.phase("ws/c/node-5", "j", ap::Phase::Running);
    w.disconnect("ws/c/node-5");
    w.gone("ws/c/node-5");
    EXPECT_EQ(w.said(), Lines{});
}

TEST(ControlNodes, NothingIsSaidOfANodeThatHasGoneMeanwhile) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {});  // the disk is busy
    w.clock.pass(2s);
    w.control->tick();           // asks for the node, after that
    w.control->node_gone(node);  // in the same turn
    w.said();
    w.settle();
    EXPECT_EQ(w.said(), Lines{"provision ws/c/node-2"});
}

TEST(ControlReconnect, TheLeaseIsSaidAgain) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.connect(node);  // it never got the lease
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#1"}));
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    EXPECT_NE(w.control->waiting_for("ws", "j"), "");
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#1"}));
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    EXPECT_EQ(w.job("j")->attempts.size(), 1u);
}

TEST(ControlReconnect, WhatTheNodeLostIsTriedAgain) {
    // Begun, and the node does not know it any more; or the node was restarted before it began.
    for (const bool begun : {true, false}) {
        World w;
        const NodeId node = w.ready();
        if (begun) w.phase(node, "j", ap::Phase::Preparing);
        w.disconnect(node);
        w.said();
        w.connect(node, {}, begun ? "boot-1" : "boot-2");
        EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#2"}));
        EXPECT_EQ(w.job("j")->attempts.size(), 2u);
        EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    }
}

TEST(ControlReconnect, ALeaseThatIsOutdatedWhenItsCommitIsDoneDoesNotLeave) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("a", "c");
    w.connect("ws/c/node-1");
    w.submit("b", "c");
    w.said();
    ap::EndReport report;
    report.id = World::attempt("a");
    w.control->agent_says("ws/c/node-1", report);  // b is leased in this turn
    ap::Hello hello;
    hello.boot_id = "boot-2";  // and the node restarts before the turn is durable
    w.control->agent_disconnected("ws/c/node-1");
    w.control->agent_connected("ws/c/node-1", hello);
    w.settle();
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 end_ack a#1", "send ws/c/node-1 welcome", "send ws/c/node-1 lease b#2"}));
}

TEST(ControlReconnect, ForeignAttemptsAreStopped) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.connect(node, {World::attempt("j"), World::attempt("j", 7), World::attempt("ghost")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 cancel j#7 node_lost",
                               "send ws/c/node-1 cancel ghost#1 node_lost", "send ws/c/node-1 lease j#1"}));
    w.ends(node, "ghost", ap::Cause::NodeLost);
    EXPECT_EQ(w.said(), Lines{"send ws/c/node-1 end_ack ghost#1"});
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
}

TEST(ControlLost, ThreeAttemptsThenFailed) {
    World w;
    NodeId node = w.ready();
    for (int attempt = 1; attempt <= 3; ++attempt) {
        w.phase(node, "j", ap::Phase::Running, attempt);
        if (attempt == 1) {
            w.ends(node, "j", ap::Cause::Internal, attempt);  // the node itself is fine
        } else {
            w.gone(node);
            if (attempt == 3) break;
            node = "ws/c/node-2";
            w.connect(node);
        }
        EXPECT_EQ(w.status("j"), JobStatus::Preparing) << attempt;
    }
    EXPECT_EQ(w.status("j"), JobStatus::Failed);
    const JobRecord job = *w.job("j");
    EXPECT_EQ(job.attempts.size(), 3u);
    EXPECT_EQ(job.cause, ap::Cause::NodeLost);
    EXPECT_NE(job.error_message.find("3 attempts"), std::string::npos);
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST(ControlLost, PreemptionIsNoFailure) {
    World w;
    const NodeId node = w.ready();
    for (int attempt = 1; attempt <= 6; ++attempt) w.ends(node, "j", ap::Cause::Preempted, attempt);
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
    w.ends(node, "j", ap::Cause::None, 7);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
}

TEST(ControlLost, NoReplacementBeforeTheFencingTimeIsOver) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    w.pass(w.settings.lost_node_after + w.settings.lost_node_margin - 1s);
    EXPECT_EQ(w.job("j")->attempts.size(), 1u);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    w.restart();  // its own start counts as a renewal
    w.settle();
    w.pass(w.settings.lost_node_after);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    w.pass(w.settings.lost_node_margin + 61s);
    EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    // The old node comes back: what it still knows is stopped, and it goes.
    w.said();
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 leave"}));
    w.ends(node, "j");
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
}

TEST(ControlLost, ACanceledJobOnALostNodeIsCanceled) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
    EXPECT_EQ(w.count(Table::Node), 0u);
}

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
    EXPECT_EQ(said, (Lines{"disconnect ws/c/node-1", "disconnect ws/c/node-2", "provision ws/c/node-1",
                           "provision ws/c/node-2"}));
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

TEST(ControlRecover, AStoreThatCannotBeReadRefusesUntilItCan) {
    struct Sick : MemoryStore {
        using MemoryStore::MemoryStore;
        Result<std::vector<Record>> scan(Table table, const Range& range) override {
            if (sick && table == Table::JobLive) return fail(Code::Unavailable, "Io", "the disk does not answer");
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
    control.put_compute(World::cluster("c", 1, 1), [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
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
    store.sick = false;
    clock.pass(1s);
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
    w.control->put_compute(World::cluster("serverless", 0, 1), [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "InvalidArgument");
}

TEST(ControlExplain, SaysWhyAJobWaits) {
    World w(1);
    w.put(World::cluster("c", 0, 0));
    w.submit("z", "c");
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "the compute allows no nodes (max_instances is 0)");
    w.put(World::cluster("c", 0, 1));
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "a node is starting");
    w.connect("ws/c/node-1");
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "the node prepares the job");
    w.control->agent_says("ws/c/node-1", ap::PhaseReport{World::attempt("z"), ap::Phase::Preparing, "unpacking", {}, {}});
    w.settle();
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "unpacking");
    w.submit("y", "c");
    w.submit("x", "c");
    EXPECT_EQ(w.control->waiting_for("ws", "x"), "all 1 nodes of the compute are in use; 1 job ahead");
    w.put(World::cluster("d", 0, 1));
    w.submit("v", "d");
    EXPECT_EQ(w.control->waiting_for("ws", "v"), "no free slot in the pool: all 1 are in use");
    w.phase("ws/c/node-1", "z", ap::Phase::Running);
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "");
    EXPECT_EQ(w.control->waiting_for("ws", "nobody"), "");
    w.ends("ws/c/node-1", "z");
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "");
}

TEST(ControlLedger, AddsUpThroughRetries) {
    World w;
    NodeId node = w.ready();
    w.clock.pass(3s);
    w.phase(node, "j", ap::Phase::Preparing);
    w.clock.pass(4s);
    w.phase(node, "j", ap::Phase::Running);
    w.clock.pass(5s);
    w.ends(node, "j", ap::Cause::Internal);
    w.clock.pass(2s);
    w.phase(node, "j", ap::Phase::Running, 2);
    w.clock.wall = w.clock.wall - 1h;  // somebody sets the clock
    w.phase(node, "j", ap::Phase::Finalizing, 2);
    w.ends(node, "j", ap::Cause::None, 2);
    const JobRecord job = *w.job("j");
    Span sum{};
    for (const auto& [entry, span] : ledger(job, w.clock.now())) {
        EXPECT_GE(span, Span{}) << name_of(entry);
        sum += span;
    }
    ASSERT_TRUE(job.ended);
    EXPECT_EQ(sum, *job.ended - job.created);
    EXPECT_GE(*job.ended, job.created);
}

TEST(ControlStop, EverythingEndsAndNothingBegins) {
    World w(3);
    w.put(World::cluster("c", 1, 2));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    w.connect("ws/c/node-1");
    std::string answer = "no answer";
    w.control->stop_everything([&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(w.status("a"), JobStatus::CancelRequested);
    EXPECT_EQ(w.status("d"), JobStatus::Canceled);
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Leaving);
    w.gone("ws/c/node-2");
    w.ends("ws/c/node-1", "a", ap::Cause::Canceled);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    EXPECT_EQ(answer, "no answer");
    w.gone("ws/c/node-1");
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.pass(300s);
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.restart();
    w.settle();
    EXPECT_EQ(w.count(Table::Node), 1u);  // the next start goes on
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
        [](World& w) { w.control->put_compute(World::cluster("c", 0, 0), [](Result<Put>) {}); w.settle(); },
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
        [](World& w) { w.control->node_failed("ws/c/node-1", Error{Code::Unavailable, "X", "broken", ""}); w.settle(); },
        [](World& w) { w.gone("ws/c/node-1"); },
        [](World& w) { w.pass(3min); },
        [](World& w) { w.pass(7h); },
        [](World& w) { w.control->stop_everything([](Result<void>) {}); w.settle(); },
        [](World& w) { w.store->fail_next(Error{Code::Unavailable, "Io", "the disk does not answer", ""}); },
        [](World& w) { w.restart(); w.settle(); },
    };
    for (int status = 0; status < 10; ++status) {
        for (std::size_t first = 0; first < inputs.size(); ++first) {
            for (std::size_t second = 0; second < inputs.size(); ++second) {
                SCOPED_TRACE(std::to_string(status) + " " + std::to_string(first) + " " + std::to_string(second));
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
                for (std::size_t i = 0; i + 1 < after->attempts.size(); ++i) EXPECT_TRUE(after->attempts[i].ended);
                EXPECT_NE(live, after->status == JobStatus::Queued || is_terminal(after->status));
                if (live) {
                    const auto node = w.node("ws/c/" + after->current()->node);
                    ASSERT_TRUE(node);
                    EXPECT_EQ(node->job, "j");
                    EXPECT_EQ(node->attempt, after->current()->number);
                    EXPECT_EQ(node->state, NodeState::Running);
                }
                if (testing::Test::HasFailure()) return;
            }
        }
    }
}

}  // namespace
}  // namespace turnout
