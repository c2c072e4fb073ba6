// The world of control's tests: a store whose durable prefix the test decides, a clock that stands
// still, and effects that are only written down.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/control.h"
#include "control/jobs.h"
#include "store/memory/memory_store.h"

namespace turnout::control_test {

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

inline std::string text(const ap::AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
inline std::string text(const ap::ToAgent& message) {
    struct {
        std::string operator()(const ap::Welcome&) { return "welcome"; }
        std::string operator()(const ap::Base& m) { return "base " + m.hash; }
        std::string operator()(const ap::Lease& m) { return "lease " + text(m.id); }
        std::string operator()(const ap::Cancel& m) {
            return "cancel " + text(m.id) + " " + std::string(name_of(m.cause));
        }
        std::string operator()(const ap::LogAck& m) { return "log_ack " + text(m.id); }
        std::string operator()(const ap::EndAck& m) { return "end_ack " + text(m.id); }
        std::string operator()(const ap::Leave&) { return "leave"; }
        std::string operator()(const ap::Ping&) { return "ping"; }
        std::string operator()(const ap::Reach& m) { return "reach " + text(m.id); }
    } say;
    return std::visit(say, message);
}

class Written : public Effects {
public:
    void send(const NodeId& node, ap::ToAgent message) override {
        if (sent) sent(message);
        // A base is part of the lease that follows it.
        if (!std::holds_alternative<ap::Base>(message)) say("send " + node + " " + text(message));
    }
    void provision(const std::string&, const NodeRequest& node) override {
        requested[node.id] = node;
        say("provision " + node.id);
    }
    void release(const std::string& provider, const NodeId& node, const Json&) override {
        released_by = provider;
        say("release " + node);
    }
    void list(const std::string& provider, std::uint64_t number) override {
        listed[provider] = number;
    }
    void disconnect(const NodeId& node) override { say("disconnect " + node); }
    void group_says(const std::string&, const std::string&, std::string_view,
                    const std::string& text) override {
        sweep_log += text;
    }
    void say(std::string line) {
        lines.push_back(line);
        if (also) also(line);
    }
    std::vector<std::string> lines;
    std::string sweep_log;
    std::map<NodeId, NodeRequest> requested;      // as it was asked for last
    std::string released_by;                      // the last one
    std::map<std::string, std::uint64_t> listed;  // by provider: the last number
    std::function<void(const std::string&)> also;
    std::function<void(const ap::ToAgent&)> sent;
};

struct World {
    explicit World(int slots = 2) {
        settings.slots = slots;
        settings.commit_pause = settings.busy_commit_pause = settings.client_pause =
            Span{};  // each input is its own commit
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
    static JobSubmission gang(std::string name, std::string compute, int nodes) {
        JobSubmission job = submission(std::move(name), std::move(compute));
        job.task.node_count = nodes;
        return job;
    }
    std::string submit(std::string name, std::string compute) {
        std::string answer = "no answer";
        control->submit(submission(std::move(name), std::move(compute)),
                        [&](Result<Put> r) { answer = said_put(r); });
        settle();
        return answer;
    }
    // noinline: g++ 12 takes the value of an inlined Result for uninitialized.
    [[gnu::noinline]] static std::string said_put(const Result<Put>& r) {
        if (!r) return r.error().reason;
        return *r == Put::Created ? "created" : *r == Put::Updated ? "updated" : "unchanged";
    }
    [[gnu::noinline]] static std::string said_ok(const Result<void>& r) {
        return r ? "ok" : r.error().reason;
    }
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
        control->delete_compute("ws", std::move(name),
                                [&](Result<void> r) { answer = said_ok(r); });
        settle();
        return answer;
    }
    void connect(const NodeId& node, std::vector<ap::AttemptId> attempts = {},
                 std::string boot = "boot-1") {
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
    static ap::AttemptId attempt(std::string job, int number = 1) {
        return {"ws", std::move(job), number};
    }
    void phase(const NodeId& node, std::string job, ap::Phase phase, int number = 1) {
        control->agent_says(node,
                            ap::PhaseReport{attempt(std::move(job), number), phase, "", {}, {}});
        settle();
    }
    void ends(const NodeId& node, std::string job, ap::Cause cause = ap::Cause::None,
              int number = 1) {
        ap::EndReport report;
        report.id = attempt(std::move(job), number);
        report.ending.cause = cause;
        report.ending.exit_code = cause == ap::Cause::None ? 0 : 1;
        report.ending.durations.user_code =
            1min;  // so long that nothing is put behind it on its node
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
        const auto stored = read_job(*store, "ws", name);
        if (!stored || !*stored) return std::nullopt;
        return (*stored)->record;
    }
    JobStatus status(const std::string& name) {
        const auto found = job(name);
        EXPECT_TRUE(found) << name;
        return found ? found->status : JobStatus::Unknown;
    }
    std::optional<Node> node(const NodeId& id) {
        const auto record = store->get(Table::Node, id);
        if (!record || !*record) return std::nullopt;
        const Node stored = node_from_json(*parse_json((*record)->value)).value();
        // What runs on it is not stored.
        for (const Node& live : control->nodes_of(stored.workspace, stored.compute))
            if (live.id() == id) return live;
        return stored;
    }
    std::size_t count(Table table) { return store->scan(table, with_prefix(""))->size(); }

    StillClock clock;
    Written effects;
    Control::Settings settings;
    std::unique_ptr<MemoryStore> store;
    std::unique_ptr<Control> control;
};

using Lines = std::vector<std::string>;

}  // namespace turnout::control_test
