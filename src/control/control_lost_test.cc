// Control: attempts that are lost, preempted or canceled, and nodes that do not do as they are
// told.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

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

TEST(ControlLost, ANodeThatSaysHelloAnewIsGivenNothingBeforeTheWelcome) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.said();
    // The new lease is on its way to the disk when the node calls again.
    w.control->submit(World::submission("k", "c"), [](Result<Put>) {});
    ap::Hello hello;
    hello.node = node;
    hello.boot_id = "boot-1";
    w.control->agent_connected(node, hello);
    w.settle();
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease k#1"}));
}

TEST(ControlLost, PreemptionIsNoFailure) {
    World w;
    const NodeId node = w.ready();
    for (int attempt = 1; attempt <= 6; ++attempt) w.ends(node, "j", ap::Cause::Preempted, attempt);
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
    w.ends(node, "j", ap::Cause::None, 7);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
}

TEST(ControlLost, OfManyPreemptionsTheFirstAndTheLastAreKeptAndAllCount) {
    World w;
    const NodeId node = w.ready();
    const auto sums = [&](const JobRecord& job) { return ledger(job, w.clock.now()); };
    for (int number = 1; number <= 200; ++number) {
        w.phase(node, "j", ap::Phase::Running, number);
        w.clock.pass(10s);
        w.ends(node, "j", number == 100 ? ap::Cause::NodeLost : ap::Cause::Preempted, number);
        w.clock.pass(1s);
    }
    const JobRecord job = *w.job("j");
    EXPECT_LE(job.attempts.size(), 64u);
    EXPECT_EQ(job.attempts.size() + static_cast<std::size_t>(job.folded_attempts), 201u);
    EXPECT_EQ(job.attempts[19].number, 20);
    EXPECT_EQ(job.attempts.back().number, 201);
    EXPECT_EQ(preemptions(job), 199);
    EXPECT_EQ(std::count_if(job.attempts.begin(), job.attempts.end(),
                            [](const JobAttempt& one) {
                                return one.ending && one.ending->cause == ap::Cause::NodeLost;
                            }),
              1);
    Span total{};
    for (const auto& [entry, span] : sums(job)) {
        total += span;
        if (entry == LedgerEntry::Retry || entry == LedgerEntry::Preempted) {
            EXPECT_EQ(span, entry == LedgerEntry::Retry
                                ? 11s
                                : 199 * 11s - 1s);  // the last second is the next one's
        }
    }
    EXPECT_EQ(total, w.clock.now() - job.created);
    w.restart();
    w.connect(node, {World::attempt("j", 201)});
    w.ends(node, "j", ap::Cause::None, 201);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    EXPECT_EQ(preemptions(*w.job("j")), 199);
}

TEST(ControlLost, WhatIsTakenBackBeforeItBeganIsToldAsTheAttemptThatItWas) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j", ap::Cause::NodeLost, 1);
    ap::EndReport report;
    report.id = World::attempt("j", 2);
    report.ending.cause = ap::Cause::Preempted;
    report.ending.exit_code = -1;
    w.control->agent_says(node, report);
    w.settle();
    ASSERT_EQ(w.job("j")->attempts.size(), 2u);  // it left no trace but its number
    EXPECT_EQ(w.job("j")->current()->number, 3);
    std::vector<std::string> told;
    const Result<std::vector<Record>> rows = w.store->scan(Table::Event, with_prefix(""));
    for (const Record& row : rows.value()) {
        const Json events = parse_json(row.value).value();
        for (const Json& event : events.items())
            if (event.at("kind").as_view() == "job")
                told.push_back(event.at("what").as_string() + " " +
                               std::to_string(event.at("attempt").as_int()) + " " +
                               event.at("cause").as_string());
    }
    EXPECT_EQ(told, (Lines{"submitted 0 ", "leased 1 ", "queued 1 node_lost", "leased 2 ",
                           "queued 2 preempted", "leased 3 "}));
}

// Its supervisor died as the command began, before a word of it came here: it may have run.
TEST(ControlLost, WhatWasPreparedIsNotTakenForOneThatNeverBegan) {
    World w;
    const NodeId node = w.ready();
    ap::EndReport report;
    report.id = World::attempt("j", 1);
    report.ending.cause = ap::Cause::Preempted;
    report.ending.exit_code = -1;
    report.ending.durations.snapshot = 3ms;
    w.control->agent_says(node, report);
    w.settle();
    ASSERT_EQ(w.job("j")->attempts.size(), 2u);
    EXPECT_EQ(w.job("j")->attempts.front().ending->cause, ap::Cause::Preempted);
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
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    EXPECT_EQ(w.status("j"), JobStatus::Running) << "its provider may prove that nothing runs";
    w.pass(w.settings.stop_margin + 1s);
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

TEST(ControlLost, APreemptedJobOfSeveralNodesHasItsGraceOnEachOfThemOverARestart) {
    World w;
    w.put(World::cluster("c", 2, 2));
    w.control->submit(World::gang("g", "c", 2), [](Result<Put>) {});
    const NodeId first = "ws/c/node-1", second = "ws/c/node-2";
    w.connect(first);
    w.connect(second);
    ASSERT_EQ(w.status("g"), JobStatus::Preparing);
    const bool in_order = w.job("g")->current()->nodes().front() == "node-1";
    const NodeId rank0 = in_order ? first : second, rank1 = in_order ? second : first;
    w.phase(rank0, "g", ap::Phase::Running);
    w.said();
    std::string answer;
    w.control->preempt_job("ws", "g", [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.said(), (Lines{"send " + rank0 + " cancel g#1 preempted",
                               "send " + rank1 + " cancel g#1 preempted"}));
    w.ends(rank0, "g", ap::Cause::Preempted);
    EXPECT_EQ(w.said(), Lines{"send " + rank0 + " end_ack g#1"})
        << "the other one still saves what it has";
    w.restart();
    EXPECT_TRUE(w.node(rank1)->gives_way);
    w.said();
    w.connect(rank1, {World::attempt("g")});
    EXPECT_EQ(w.said(),
              (Lines{"send " + rank1 + " welcome", "send " + rank1 + " cancel g#1 preempted"}));
    w.ends(rank1, "g", ap::Cause::Preempted);
    EXPECT_EQ(w.job("g")->attempts[0].ending->cause, ap::Cause::Preempted);
    EXPECT_FALSE(w.job("g")->attempts[0].preempting);
}

TEST(ControlLost, ANodeThatDoesNotStopAJobIsEndedByItsProvider) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.said();
    const auto pass = [&](Span span) {
        for (Span passed{}; passed < span; passed += 1s) {
            w.clock.pass(1s);
            w.control->tick();
            w.settle();
        }
    };
    pass(80s);
    EXPECT_EQ(w.status("j"), JobStatus::CancelRequested);
    w.phase(node, "j", ap::Phase::Running);  // it says something, but not that it ends
    pass(15s);
    const auto lines = w.said();
    EXPECT_NE(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    EXPECT_EQ(w.status("j"), JobStatus::CancelRequested) << "there is no proof yet";
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
}

TEST(ControlLost, ANodeThatUploadsWhatACanceledJobLeftHasTimeForIt) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.said();
    for (int i = 0; i < 20; ++i) {
        w.clock.pass(20s);
        w.phase(node, "j", ap::Phase::Finalizing);
        w.control->tick();
        w.settle();
        const auto lines = w.said();
        EXPECT_EQ(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    }
    w.ends(node, "j", ap::Cause::Canceled);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
}

TEST(ControlLost, ANodeThatDoesNotWorkIsReplacedWhenThereIsProof) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Preparing);
    w.said();
    w.control->agent_says(node, ap::Broken{"its disk is read-only"});
    w.settle();
    const auto lines = w.said();
    EXPECT_NE(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    EXPECT_EQ(w.node(node)->problem, "node node-1 does not work: its disk is read-only");
    EXPECT_EQ(w.status("j"), JobStatus::Preparing) << "there is no proof yet";
    w.control->agent_says(node, ap::Broken{"and again"});
    w.settle();
    EXPECT_EQ(w.said(), Lines{});
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
    EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    EXPECT_EQ(w.job("j")->attempts[0].ending->message,
              "node node-1 does not work: its disk is read-only");
}

TEST(ControlLost, WhatIsMissingOfAJobThatCompletedIsSaid) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    ap::EndReport report{World::attempt("j"), {}};
    report.ending.message = "the last 12 B of its log are missing";
    w.control->agent_says(node, report);
    w.settle();
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    EXPECT_EQ(w.job("j")->error_message, "the last 12 B of its log are missing");
}

TEST(ControlLost, WhyAJobWasCanceledIsTheFirstReason) {
    World w;
    const NodeId node = w.ready();
    w.cancel("j");  // a person's wish
    w.remove_compute("c");
    w.ends(node, "j", ap::Cause::Canceled);
    EXPECT_EQ(w.job("j")->error_message, "");
}

}  // namespace
}  // namespace turnout
