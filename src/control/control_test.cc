// Control: submits, turns, clusters and cancels.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

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
    JobMetaChange meta;
    meta.archived = true;
    w.control->update_job("ws", "j", meta, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "updated");
    EXPECT_TRUE(w.job("j")->meta.archived);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    w.control->update_job("ws", "nobody", meta,
                          [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "ResourceNotFound");
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

// Two clients read the same, and each changes what is its own.
TEST(ControlSubmit, ChangesThatCameTogetherAreAllThere) {
    World w;
    w.ready();
    std::vector<std::string> answers;
    const auto change = [&](const JobMetaChange& what) {
        w.control->update_job("ws", "j", what,
                              [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    };
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {
    });  // keeps the disk busy: all that follows is one turn
    change({.tags = Json::object({{"a", "1"}})});
    change({.tags = Json::object({{"b", "2"}})});
    change({.archived = true});
    change({.properties = Json::object({{"p", "1"}, {"turnout.cause", "mine"}})});
    change({.description = "words", .properties = Json::object({{"q", "1"}})});
    change({.tags = Json::object({{"a", Json()}, {"c", "3"}})});
    change({.tags = Json::object({{"nothing", Json()}})});
    w.settle();
    EXPECT_EQ(answers, (std::vector<std::string>{"updated", "updated", "updated", "updated",
                                                 "updated", "updated", "unchanged"}));
    const JobMeta meta = w.job("j")->meta;
    EXPECT_EQ(meta.tags.dump(), R"({"b":"2","c":"3"})");
    EXPECT_EQ(meta.properties.dump(), R"({"p":"1","q":"1"})");
    EXPECT_TRUE(meta.archived);
    EXPECT_EQ(meta.description, "words");

    // Who submits the same job again sends all its tags, and takes no property away.
    JobSubmission again = World::submission("j", "c");
    again.meta.tags = Json::object({{"only", "1"}});
    again.meta.properties = Json::object({{"r", "1"}, {"turnout.seed", "7"}});
    w.control->submit(again, [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    w.settle();
    EXPECT_EQ(answers.back(), "updated");
    EXPECT_EQ(w.job("j")->meta.tags.dump(), R"({"only":"1"})");
    EXPECT_EQ(w.job("j")->meta.properties.dump(), R"({"p":"1","q":"1","r":"1"})");

    Json many = Json::object();
    for (int i = 0; i < 20'000; ++i) many.set("t" + std::to_string(i), "1");
    change({.tags = many});
    w.settle();
    EXPECT_EQ(answers.back(), "TooManyKeys");
    EXPECT_EQ(w.job("j")->meta.tags.dump(), R"({"only":"1"})");
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
    w.control->delete_job("ws", "j",
                          [&](Result<void> r) { removed = World::said_ok(r); });  // not durable yet
    w.control->submit(World::submission("j", "c"),
                      [&](Result<Put> r) { submitted = World::said_put(r); });
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
    w.control->submit(World::submission("j", "d"),
                      [&](Result<Put> r) { submitted = World::said_put(r); });
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
    w.control->submit(World::submission("j", "c"),
                      [&](Result<Put> r) { answered = r.has_value(); });
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
        w.control->submit(World::submission("j" + std::to_string(i), "c"), [&, i](Result<Put> r) {
            answers.push_back(std::to_string(i) + World::said_put(r));
        });
    w.control->cancel_job("ws", "none",
                          [&](Result<void> r) { answers.push_back(World::said_ok(r)); });
    EXPECT_EQ(w.store->queued(), 1u);
    w.store->flush();
    EXPECT_EQ(answers, Lines{"0created"});
    EXPECT_EQ(w.store->queued(), 1u);  // the other four as one
    w.store->flush();
    EXPECT_EQ(answers, (Lines{"0created", "1created", "2created", "3created", "4created",
                              "ResourceNotFound"}));
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
    w.put(World::cluster("c", 0, 1));
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

TEST(ControlTurns, ReportsOfNodesShareACommitAndClientsDoNotWaitForIt) {
    World w(2);
    w.settings.commit_pause = 5ms;
    w.start();
    w.put(World::cluster("c", 0, 2));
    w.submit("a", "c");
    w.submit("b", "c");
    w.pass(1s);
    w.connect("ws/c/node-1");
    w.pass(1s);
    w.connect("ws/c/node-2");
    EXPECT_EQ(w.status("b"), JobStatus::Preparing);
    w.phase("ws/c/node-1", "a", ap::Phase::Running);  // so soon after the last commit that it waits
    w.phase("ws/c/node-2", "b", ap::Phase::Running);
    EXPECT_EQ(w.status("a"), JobStatus::Preparing);
    EXPECT_LE(*w.control->next_tick(), w.clock.boot + 5ms);
    w.pass(5ms);
    EXPECT_EQ(w.status("a"), JobStatus::Running);
    EXPECT_EQ(w.status("b"), JobStatus::Running);
    w.ends("ws/c/node-1", "a");
    EXPECT_EQ(w.status("a"), JobStatus::Running);
    EXPECT_EQ(w.submit("d", "c"), "created");  // takes along what waits
    EXPECT_EQ(w.status("a"), JobStatus::Completed);
}

TEST(ControlTurns, ATurnInWhichMuchHappensHasSeveralRowsOfEvents) {
    World w;
    w.put(World::cluster("c", 0, 1));
    constexpr std::size_t kJobs = 8000;
    for (std::size_t i = 0; i < kJobs; ++i)
        w.control->submit(World::submission("j" + std::to_string(i), "c"), [](Result<Put>) {});
    w.settle();
    const std::size_t before = w.store->scan(Table::Event, with_prefix("", 100'000))->size();
    w.control->delete_compute("ws", "c", [](Result<void>) {});
    w.settle();
    const std::vector<Record> rows = w.store->scan(Table::Event, with_prefix("", 100'000)).value();
    EXPECT_GE(rows.size(), before + 2);
    std::size_t ended = 0;
    for (const Record& row : rows) {
        EXPECT_LT(row.value.size(), std::size_t{1} << 21);
        const Json events = parse_json(row.value).value();
        for (const Json& event : events.items()) ended += event.at("what").as_view() == "ended";
    }
    EXPECT_EQ(ended, kJobs);
}

TEST(ControlTurns, AClientWaitsAMomentForThoseItSharedTheLastCommitWith) {
    World w;
    w.settings.client_pause = 2ms;
    w.start();
    w.put(World::cluster("c", 0, 1));
    w.pass(1s);
    int answered = 0;
    const auto submit = [&](std::string name) {
        w.control->submit(World::submission(std::move(name), "c"),
                          [&](Result<Put> r) { answered += r.has_value(); });
    };
    submit("a");  // is committed by itself; the others share the next one
    submit("b");
    submit("c");
    w.settle();
    EXPECT_EQ(answered, 3);
    submit("d");
    w.settle();
    EXPECT_EQ(answered, 3);
    ASSERT_TRUE(w.control->next_tick());
    EXPECT_LE(*w.control->next_tick(), w.clock.boot + 2ms);
    submit("e");
    w.settle();
    EXPECT_EQ(answered, 5);
    submit("f");
    w.pass(2ms);  // nobody else came
    EXPECT_EQ(answered, 6);
    submit("g");
    w.settle();
    EXPECT_EQ(answered, 7);
}

TEST(ControlTurns, APlanThatIsDueWaitsForTheCommitWithoutTicking) {
    World w(2);
    w.settings.commit_pause = 5ms;
    w.start();
    w.put(World::cluster("c", 0, 2, 1s));
    w.submit("a", "c");
    w.submit("b", "c");
    w.pass(1s);
    w.connect("ws/c/node-1");
    w.pass(1s);
    w.connect("ws/c/node-2");
    w.pass(1s);
    w.ends("ws/c/node-2", "b");  // node-2 is let go a second from here
    w.pass(1s - 1ms);
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    w.phase("ws/c/node-1", "a", ap::Phase::Finalizing);  // waits for the next commit
    w.clock.pass(1ms);
    w.control->tick();
    ASSERT_TRUE(w.control->next_tick());
    EXPECT_GT(*w.control->next_tick(), w.clock.boot);
    w.pass(5ms);
    EXPECT_EQ(w.status("a"), JobStatus::Finalizing);
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Leaving);
}

TEST(ControlTurns, AFailedCommitNeverHappened) {
    World w;
    w.put(World::cluster("c", 0, 1));
    EXPECT_EQ(w.submit("old", "c"), "created");
    w.said();
    std::vector<std::string> answers;
    const auto note = [&](Result<Put> r) { answers.push_back(World::said_put(r)); };
    w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    w.control->submit(World::submission("a", "c"), note);  // this one's commit fails
    w.control->submit(World::submission("b", "c"), note);  // this one was built on it
    w.control->cancel_job("ws", "old",
                          [&](Result<void> r) { answers.push_back(World::said_ok(r)); });
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

TEST(ControlTurns, ATurnThatFoundNoRoomInTheStoreIsWrittenAgain) {
    World w;
    const NodeId node = w.ready("old");
    std::vector<std::string> answers;
    const auto note = [&](Result<Put> r) { answers.push_back(World::said_put(r)); };
    for (int i = 0; i < 3; ++i) w.store->refuse_next();
    w.control->submit(World::submission("a", "c"), note);  // finds no room
    w.control->submit(World::submission("b", "c"), note);  // and gathers behind it
    w.control->agent_says(node,
                          ap::PhaseReport{World::attempt("old"), ap::Phase::Running, "", {}, {}});
    w.settle();
    EXPECT_EQ(answers, Lines{});
    EXPECT_EQ(w.said(), Lines{})
        << "nobody is disconnected, and nothing leaves that is not durable";
    EXPECT_FALSE(w.job("a"));
    ASSERT_TRUE(w.control->next_tick());
    EXPECT_EQ(*w.control->next_tick(), w.clock.boot + 10ms);
    w.pass(5ms);
    EXPECT_EQ(w.store->queued(), 0u) << "not before its time";
    w.pass(1s);
    EXPECT_EQ(answers, (Lines{"created", "created"}));
    EXPECT_TRUE(w.job("a") && w.job("b"));
    EXPECT_EQ(w.status("old"), JobStatus::Running) << "what came meanwhile is not lost";
    EXPECT_EQ(w.said(), Lines{});
    w.restart();
    EXPECT_TRUE(w.job("a") && w.job("b"));
    EXPECT_EQ(w.status("old"), JobStatus::Running);
}

TEST(ControlTurns, ATurnThatFoundNoRoomMayFailAfterAll) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.store->refuse_next();
    std::string answer = "none";
    w.control->submit(World::submission("a", "c"),
                      [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "none");
    w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    w.pass(1s);
    EXPECT_EQ(answer, "DiskFull");
    w.pass(1min);
    EXPECT_EQ(w.submit("a", "c"), "created");
}

TEST(ControlTurns, AFullDiskDoesNotMakeItSpin) {
    World w;
    w.put(World::cluster("c", 0, 1));
    for (int i = 0; i < 10; ++i)
        w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    EXPECT_EQ(w.submit("j", "c"), "DiskFull");
    EXPECT_EQ(w.store->queued(), 0u);
    Compute wanted = World::cluster("c", 1, 1);
    std::string answer;
    w.control->put_compute(wanted, [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "DiskFull");
    ASSERT_TRUE(w.control->next_tick());
    EXPECT_EQ(*w.control->next_tick(), w.clock.boot + 2s) << "longer from one failure to the next";
    w.pass(60s);  // ends: no endless loop of failing commits
}

TEST(ControlTurns, WhatNodesSayDoesNotMakeItSpinEither) {
    World w;
    const NodeId node = w.ready();
    int tries = 0;
    for (int i = 0; i < 100; ++i)
        w.store->fail_next(Error{Code::ResourceExhausted, "DiskFull", "no space left", ""});
    for (; w.clock.boot < 1h + 10min;
         w.clock.pass(1s)) {  // as the server does: a tick now and then, whatever is due
        w.control->agent_connected(node, {});
        w.control->agent_says(node, ap::EndReport{World::attempt("j"), {}});
        w.control->tick();
        tries += w.store->queued() > 0;
        w.settle();
    }
    EXPECT_GT(tries, 10);
    EXPECT_LT(tries, 30) << "each of them reads everything anew";
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
    w.store = std::make_unique<MemoryStore>(w.store->crash());
    w.control = std::make_unique<Control>(w.clock, *w.store, w.effects, w.settings);
    ASSERT_TRUE(w.control->recover());
    w.connect(node, {World::attempt("j")});
    w.ends(node, "j");
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
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
        for (const Record& record : records) nodes.push_back(*w.node(record.key));
        EXPECT_LE(nodes.size(), 2u);
        for (const Node& node : nodes) {
            if (node.state == NodeState::Provisioning)
                w.connect(node.id());
            else if (node.state == NodeState::Running)
                w.ends(node.id(), node.job);
            else if (node.state == NodeState::Leaving)
                w.gone(node.id());
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
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);  // whichever is done first
    EXPECT_EQ(w.status("e"), JobStatus::Queued);
    w.ends("ws/c/node-3", "d");
    EXPECT_EQ(w.node("ws/c/node-3")->state, NodeState::Leaving);
    w.ends("ws/c/node-2", "b");
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Running);
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
    for (const ap::Phase phase :
         {ap::Phase::Preparing, ap::Phase::Running, ap::Phase::Finalizing}) {
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
    EXPECT_EQ(w.said(),
              (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 cancel j#1 canceled"}));
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

TEST(ControlEnd, WithTooLittleMemoryMoreIsPointedOut) {
    World w;
    Compute small = World::cluster("c", 0, 1);
    small.vm_size = "STANDARD_DS3_V2";
    w.put(small);
    Compute large = World::cluster("large", 0, 1);
    large.vm_size = "STANDARD_E8S_V3";
    w.put(large);
    w.submit("j", "c");
    ap::Hello hello;
    hello.node = "ws/c/node-1";
    hello.boot_id = "boot-1";
    hello.facts.memory_bytes = std::int64_t{96} << 30;
    w.control->agent_connected(hello.node, hello);
    w.settle();
    w.ends(hello.node, "j", ap::Cause::OutOfMemory);
    EXPECT_EQ(w.job("j")->error_message,
              "it broke; the next larger size is STANDARD_DS4_V2 with 28.0 GiB; compute 'large' "
              "has nodes of STANDARD_E8S_V3 with 64.0 GiB");
    EXPECT_EQ(w.job("j")->attempts.back().ending->message, w.job("j")->error_message);
    w.submit("k", "c");
    w.ends(hello.node, "k", ap::Cause::UserCode);
    EXPECT_EQ(w.job("k")->error_message, "it broke");
}

TEST(ControlEnd, TheSizeThatTheJobAskedForCounts) {
    World w;
    JobSubmission job = World::submission("j", "serverless");
    job.definition.set("resources", Json::object({{"instanceType", "standard_a1_v2"}}));
    w.control->submit(job, [](Result<Put>) {});
    w.settle();
    const NodeId node = "ws/serverless/node-1";
    ASSERT_TRUE(w.node(node));
    w.connect(node);
    w.ends(node, "j", ap::Cause::OutOfMemory);
    EXPECT_EQ(w.job("j")->error_message,
              "it broke; the next larger size is STANDARD_A2_V2 with 4.0 GiB");
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
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 cancel a#1 canceled", "send ws/c/node-2 leave",
                               "release ws/c/node-2"}));
    EXPECT_EQ(w.submit("x", "c"), "ComputeNotFound");
    EXPECT_EQ(w.remove_compute("c"), "ok");  // again: no effect
    std::string answer;
    w.control->put_compute(World::cluster("c", 0, 1),
                           [&](Result<Put> r) { answer = World::said_put(r); });
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

// ---- tasks that jobs share ----

std::string base_of(World& w, const std::string& job) {
    return "ws/" + w.job(job)->task_base;
}
std::vector<std::string> bases(World& w) {
    std::vector<std::string> keys;
    const auto rows = w.store->scan(Table::TaskBase, with_prefix(""));
    for (const Record& row : *rows) keys.push_back(row.key);
    return keys;
}
std::string erase(World& w, std::uint64_t survey, std::vector<std::string> keys) {
    std::string answer = "no answer";
    w.control->erase_bases(survey, std::move(keys), [&](Result<std::size_t> count) {
        answer = count ? std::to_string(*count) : count.error().reason;
    });
    w.settle();
    return answer;
}

TEST(ControlBases, OneThatNoJobRefersToGoes) {
    World w;
    const NodeId node = w.ready("a");
    const std::string base = base_of(w, "a");
    EXPECT_EQ(erase(w, w.control->survey_bases(), {base}), "0") << "a job that lives needs it";
    w.ends(node, "a");
    EXPECT_EQ(w.remove("a"), "ok");
    EXPECT_EQ(erase(w, w.control->survey_bases(), {base, "ws/never"}), "2");
    EXPECT_TRUE(bases(w).empty());
    EXPECT_EQ(w.submit("b", "c"), "created");
    EXPECT_EQ(bases(w), std::vector{base}) << "the next one writes it again";
    w.restart();
    EXPECT_EQ(bases(w), std::vector{base_of(w, "b")});
}

TEST(ControlBases, WhatAJobBeganToReferToMeanwhileStays) {
    World w;
    const NodeId node = w.ready("a");
    const std::string base = base_of(w, "a");
    w.ends(node, "a");
    EXPECT_EQ(w.remove("a"), "ok");
    const std::uint64_t survey = w.control->survey_bases();
    w.submit("b", "c");  // nobody saw it when all jobs were looked at
    w.ends(node, "b");
    EXPECT_EQ(erase(w, survey, {base}), "0");
    EXPECT_EQ(bases(w), std::vector{base});
    // Also where so many others came since that control has forgotten it.
    const std::uint64_t second = w.control->survey_bases();
    w.submit("c", "c");
    w.ends(node, "c");
    for (int i = 0; i < 1100; ++i) {
        JobSubmission other = World::submission("other" + std::to_string(i), "c");
        other.task.variables = {{"SEED", std::to_string(i)}};
        w.control->submit(std::move(other), [](const auto&) {});
        w.settle();
        EXPECT_EQ(w.cancel("other" + std::to_string(i)), "ok");
    }
    EXPECT_EQ(erase(w, second, {base}), "0");
    EXPECT_EQ(erase(w, survey, {base}), "SurveyIsVoid");
    w.restart();
    EXPECT_EQ(erase(w, second + 100, {base}), "SurveyIsVoid");
}

TEST(ControlBases, AJobThatComesWithTheErasureHasItsOwn) {
    World w;
    const NodeId node = w.ready("a");
    const std::string base = base_of(w, "a");
    w.ends(node, "a");
    EXPECT_EQ(w.remove("a"), "ok");
    // In the same turn, and while the erasure is on its way to the disk.
    for (const bool under_way : {false, true}) {
        const std::string job = under_way ? "c" : "b";
        const std::uint64_t survey = w.control->survey_bases();
        w.control->put_compute(World::cluster("d", 0, 1), [](const auto&) {});  // begins a commit
        std::size_t erased = 0;
        w.control->erase_bases(survey, {base}, [&](Result<std::size_t> count) { erased = *count; });
        if (under_way) w.store->flush();  // the erasure's own commit begins
        w.control->submit(World::submission(job, "c"), [](const auto&) {});
        w.settle();
        EXPECT_EQ(erased, 1u);
        EXPECT_EQ(bases(w), std::vector{base});
        w.ends(node, job);
        EXPECT_EQ(w.status(job), JobStatus::Completed);
        EXPECT_EQ(w.remove(job), "ok");
    }
}

TEST(ControlBases, AnErasureThatFailedErasedNothing) {
    World w;
    const NodeId node = w.ready("a");
    const std::string base = base_of(w, "a");
    w.ends(node, "a");
    EXPECT_EQ(w.remove("a"), "ok");
    const std::uint64_t survey = w.control->survey_bases();
    w.store->fail_next({Code::ResourceExhausted, "DiskFull", "no space", ""});
    EXPECT_EQ(erase(w, survey, {base}), "DiskFull");
    EXPECT_EQ(bases(w), std::vector{base});
    w.pass(1min);
    EXPECT_EQ(erase(w, survey, {base}), "SurveyIsVoid") << "control has read the store anew";
    EXPECT_EQ(erase(w, w.control->survey_bases(), {base}), "1");
}

}  // namespace
}  // namespace turnout
