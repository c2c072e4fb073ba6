// A node's core under virtual time, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/node_core.h"

namespace turnout::agent {

using namespace agent_protocol;

class FakeClock : public Clock {
public:
    Instant now() const override { return {time.count()}; }
    Span since_boot() const override { return time; }
    Span time = 1000s;
};

inline const AttemptId kId{"ws", "job", 1};

// One node under test, its journal, and what it asked for since the last look.
class NodeCoreTest : public ::testing::Test {
protected:
    FakeClock clock;
    std::vector<std::string> journal;
    std::unique_ptr<NodeCore> core;
    std::vector<Effect> seen;

    void SetUp() override { start("boot-1"); }

    void start(std::string boot) {
        NodeFacts facts;
        facts.node = "ws/cpu/node-1";
        facts.boot_id = std::move(boot);
        core = std::make_unique<NodeCore>(facts, clock);
        core->restore(journal);
        take();
    }
    // kill -9 and a new life: only what was recorded is left.
    void restart(std::string boot = "boot-1") {
        take();
        core.reset();
        start(std::move(boot));
    }
    void take() {
        for (auto& effect : core->take_effects()) {
            if (auto* record = std::get_if<effect::Record>(&effect))
                journal.push_back(record->line);
            seen.push_back(std::move(effect));
        }
    }
    template <class E>
    std::vector<E> all() {
        take();
        std::vector<E> found;
        for (auto& effect : seen)
            if (auto* e = std::get_if<E>(&effect)) found.push_back(*e);
        return found;
    }
    template <class M>
    std::vector<M> sent() {
        std::vector<M> found;
        for (auto& send : all<effect::Send>())
            if (auto* m = std::get_if<M>(&send.message)) found.push_back(*m);
        return found;
    }
    void clear() {
        take();
        seen.clear();
    }
    void pass(Span span) {
        Span end = clock.time + span;
        while (auto next = core->next_tick()) {
            if (*next > end) break;
            clock.time = std::max(clock.time, *next);
            core->tick();
            Span again = core->next_tick().value_or(Span::max());
            ASSERT_GT(again, clock.time) << "a tick must move the next one";
        }
        clock.time = end;
        core->tick();
    }

    void connect() {
        core->server_connected();
        core->from_server(Welcome{6h});
    }
    void ready() {
        core->supervisor_listed({});
        connect();
    }
    void lease(const AttemptId& id = kId, Span timeout = 0s) {
        TaskSpec task;
        task.command = "echo";
        task.timeout = timeout;
        task.environment.notices = {"notice"};
        core->from_server(Lease{id, to_json(task)});
    }
    void prepare(const AttemptId& id = kId) {
        core->snapshot_done(id, {});
        core->environment_done(id, {});
        core->inputs_done(id, {});
    }
    void run(const AttemptId& id = kId, Span timeout = 0s) {
        lease(id, timeout);
        prepare(id);
        core->task_started(id, clock.time);
    }
    TaskExit exit_with(int code, std::uint64_t log = 0) {
        TaskExit exit;
        exit.exit_code = code;
        exit.started = clock.time;
        exit.ended = clock.time;
        exit.log_length = log;
        return exit;
    }
    // Brings a new attempt to that point of its life.
    enum Point {
        Snapshot,
        Environment,
        Inputs,
        Starting,
        Running,
        Outputs,
        Flushing,
        Ended,
        kPoints
    };
    void bring_to(Point point) {
        ready();
        lease();
        if (point >= Environment) core->snapshot_done(kId, {});
        if (point >= Inputs) core->environment_done(kId, {});
        if (point >= Starting) core->inputs_done(kId, {});
        if (point >= Running) core->task_started(kId, clock.time);
        if (point >= Outputs) core->task_exited(kId, exit_with(0, 10));
        if (point >= Flushing) core->outputs_shipped(kId, {});
        if (point >= Ended) core->from_server(LogAck{kId, std::string(kStdLog), 10});
    }
    // What lasts so long is in the journal.
    void let_it_last() { pass(50ms); }
};

}  // namespace turnout::agent
