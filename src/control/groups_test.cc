// Groups that are no sweeps: a chain of two steps, whose second one has its task only when the
// first has ended. It exists in this file alone; what it needs of control is there for all plans.
#include "control/groups.h"

#include "control/job_kinds.h"
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

// Both steps are jobs from the beginning, so that people see what is to come.
class Chain : public GroupPlan {
public:
    explicit Chain(const Json& definition) : definition_(definition) {}

    GroupLimits limits() const override {
        GroupLimits limits{2, 2, {}};
        if (definition_.has("timeout")) limits.timeout = Span(1min);
        return limits;
    }
    GroupNext next(const Look&) override {
        GroupNext next;
        if (!stopped_ && created_ == 0)
            for (; created_ < 2; ++created_) {
                NextChild::Own own;
                own.role = created_ == 0 ? "prepare" : "train";
                own.definition = Json::object({{"command", own.role}});
                next.make.push_back({created_, std::move(own)});
            }
        if (ended_[0] == JobStatus::Queued)
            next.resolve.push_back(0);
        else if (goes_on() && ended_[1] == JobStatus::Queued)
            next.resolve.push_back(1);
        if (ended_[0] != JobStatus::Queued && ended_[1] != JobStatus::Queued)
            next.end = GroupEnd{stopped_                            ? JobStatus::Canceled
                                : ended_[1] == JobStatus::Completed ? JobStatus::Completed
                                                                    : JobStatus::Failed,
                                stopped_                            ? ap::Cause::Canceled
                                : ended_[1] == JobStatus::Completed ? ap::Cause::None
                                                                    : ap::Cause::UserCode,
                                "prepare " + std::string(name_of(ended_[0])) + ", train " +
                                    std::string(name_of(ended_[1]))};
        return next;
    }
    std::string gives_up_waiting() const override {
        const bool failed = ended_[0] == JobStatus::Failed || ended_[0] == JobStatus::Canceled;
        return failed && !goes_on() ? "the step before it did not complete" : "";
    }
    Parameters parameters(std::int64_t) const override { return {}; }
    bool child_began(std::int64_t) override { return false; }
    ChildOutcome child_ended(const ChildEnd& end) override {
        ended_.at(static_cast<std::size_t>(end.index)) = end.status;
        return {};
    }
    void stop(Stop) override { stopped_ = true; }
    bool stopped() const override { return stopped_; }
    std::int64_t created() const override { return created_; }
    Json progress() const override {
        Json ended = Json::array();
        for (const JobStatus status : ended_) ended.push(name_of(status));
        return Json::object({{"created", created_}, {"ended", ended}, {"stopped", stopped_}});
    }
    Result<void> recover(const Json& progress) override {
        created_ = progress.at("created").as_int();
        stopped_ = progress.at("stopped").as_bool();
        for (std::size_t i = 0; i < progress.at("ended").items().size(); ++i)
            ended_.at(i) = TURNOUT_TRY(parse_job_status(progress.at("ended").items()[i].as_view()));
        return {};
    }
    std::string standing() const override { return "a chain"; }

private:
    // After the first, whatever became of it where the definition says so.
    bool goes_on() const {
        return ended_[0] == JobStatus::Completed ||
               (ended_[0] == JobStatus::Failed && definition_.at("continueOnFailure").as_bool());
    }

    const Json definition_;
    std::int64_t created_ = 0;
    std::array<JobStatus, 2> ended_{JobStatus::Queued, JobStatus::Queued};  // Queued: it has not
    bool stopped_ = false;
};

Result<std::unique_ptr<GroupPlan>> chain_plan(const GroupSaid& said, std::string_view name) {
    if (!said.definition.has("chain")) return control::kKinds.rows[1].plan(said, name);
    return std::unique_ptr<GroupPlan>(std::make_unique<Chain>(said.definition));
}

// It stands in the row of sweeps, which it passes on to.
const control::KindTable kWithChains = [] {
    control::KindTable table = control::kKinds;
    table.rows[1].plan = chain_plan;
    return table;
}();

class Resolving : public Written {
public:
    void resolve(const std::string&, const std::string& job) override { asked.push_back(job); }
    std::vector<std::string> asked;
};

struct ChainWorld {
    ChainWorld() {
        settings.commit_pause = settings.busy_commit_pause = settings.client_pause = Span{};
        settings.kinds = &kWithChains;
        start({});
        control->put_compute(World::cluster("c", 1, 1), [](Result<Put>) {});
        settle();
        control->agent_connected(node, hello());
        settle();
    }
    void start(MemoryStore::State state) {
        control.reset();
        effects.asked.clear();
        store = std::make_unique<MemoryStore>(std::move(state));
        control = std::make_unique<Control>(clock, *store, effects, settings);
        ASSERT_TRUE(control->recover());
    }
    // All that was not durable is lost, and the node says what it has.
    void crash() {
        start(store->crash());
        control->agent_connected(node, hello());
    }
    void settle() {
        for (int i = 0; i < 1000 && store->queued() > 0; ++i) store->flush();
        ASSERT_EQ(store->queued(), 0u);
    }
    ap::Hello hello() {
        ap::Hello said;
        said.node = node;
        said.boot_id = "boot-1";
        for (const auto& [id, attempt] : on_node) said.attempts.push_back(attempt);
        return said;
    }
    static JobSubmission chain(Json definition = Json::object()) {
        JobSubmission job = World::submission("g", "c");
        job.type = control::kKinds.rows[1].type;
        job.definition = std::move(definition);
        job.definition.set("chain", true);
        job.task.mlflow_experiment_id = "7";
        return job;
    }
    std::optional<JobRecord> job(const std::string& name) {
        const auto stored = read_job(*store, "ws", name);
        if (!stored || !*stored) return std::nullopt;
        return (*stored)->record;
    }
    JobStatus status(const std::string& name) {
        const auto found = job(name);
        return found ? found->status : JobStatus::Unknown;
    }
    std::string resolve(const std::string& name, const Control::TaskOf& task_of) {
        std::string answer = "no answer";
        control->resolve_job("ws", name, task_of,
                             [&](Result<Put> r) { answer = World::said_put(r); });
        settle();
        return answer;
    }
    // The word of the first step is what the second is made of.
    Result<ap::TaskSpec> task_of(const JobRecord& record) {
        ap::TaskSpec task;
        task.command = record.child.role;
        if (record.child.role == "train") {
            const auto before = job("g_0");
            if (!before || before->status != JobStatus::Completed)
                return internal("asked before the first step has completed");
            if (before->reused_from.empty())
                task.command += " --after " + before->attempts.back().nodes().front();
        }
        ++resolved[record.name];
        return task;
    }
    // One thing that the world does by itself; false: there is nothing.
    bool step() {
        if (store->queued() > 0) {
            store->flush();
            return true;
        }
        if (!effects.asked.empty()) {
            const std::string name = effects.asked.front();
            effects.asked.erase(effects.asked.begin());
            control->resolve_job(
                "ws", name, [&](const JobRecord& r) { return task_of(r); }, [](Result<Put>) {});
            return true;
        }
        for (const std::string name : {"g_0", "g_1"}) {
            const auto child = job(name);
            if (!child || !child->placed()) continue;
            const ap::AttemptId id{"ws", name, child->attempts.back().number};
            if (on_node.emplace(name, id).second) {
                control->agent_says(node, ap::PhaseReport{id, ap::Phase::Running, "", {}, {}});
                ++started[name];
            } else {
                ap::EndReport report;
                report.id = id;
                report.ending.durations.user_code = 1min;
                control->agent_says(node, report);
                if (store->queued() > 0) store->flush();
                if (is_terminal(status(name))) on_node.erase(name);
            }
            return true;
        }
        return false;
    }

    StillClock clock;
    Resolving effects;
    Control::Settings settings;
    std::unique_ptr<MemoryStore> store;
    std::unique_ptr<Control> control;
    const NodeId node = "ws/c/node-1";
    std::map<std::string, ap::AttemptId> on_node;
    std::map<std::string, int> started, resolved;
};

TEST(Groups, AChildWaitsForItsTaskUntilItsParentHasWordOfIt) {
    ChainWorld w;
    w.control->submit(ChainWorld::chain(), [](Result<Put>) {});
    w.settle();
    EXPECT_EQ(w.status("g"), JobStatus::Running);
    EXPECT_EQ(w.status("g_0"), JobStatus::NotStarted);
    EXPECT_EQ(w.status("g_1"), JobStatus::NotStarted);
    EXPECT_EQ(w.control->waiting_for("ws", "g_1"), "waits for what comes before it in g");
    EXPECT_FALSE(w.control->waiting("ws", "g_1"));
    ASSERT_EQ(w.effects.asked, (std::vector<std::string>{"g_0"}));
    const auto child = w.job("g_1");
    ASSERT_TRUE(child);
    EXPECT_EQ(child->child.group, "g");
    EXPECT_EQ(child->child.role, "train");
    EXPECT_EQ(child->child.index, 1);
    EXPECT_EQ(child->definition.dump(), R"({"command":"train"})");
    EXPECT_EQ(child->principal, "me");
    EXPECT_EQ(child->compute, "c");
    EXPECT_EQ(child->task_base, "");

    const auto task = [&](const JobRecord& record) { return w.task_of(record); };
    EXPECT_EQ(w.resolve("g_0", task), "updated");
    EXPECT_EQ(w.resolve("g_0", task), "unchanged") << "it has it";
    EXPECT_EQ(w.resolve("nobody", task), "ResourceNotFound");
    EXPECT_EQ(w.status("g_0"), JobStatus::Preparing);
    EXPECT_EQ(w.status("g_1"), JobStatus::NotStarted);
    while (w.step()) {
    }
    EXPECT_EQ(w.status("g"), JobStatus::Completed);
    EXPECT_EQ(w.job("g")->error_message, "prepare Completed, train Completed");
    const auto ran = read_task(*w.store, *w.job("g_1"));
    ASSERT_TRUE(ran);
    EXPECT_EQ(ran->command, "train --after node-1");
    EXPECT_EQ(w.store->scan(Table::JobCreated, with_prefix(""))->size(), 1u)
        << "children are listed with their group";
    EXPECT_TRUE(*find_trial(*w.store, "ws", "g_1")) << "its run has a parent";
}

TEST(Groups, AServerThatEndsAtAnyStepGoesOnWithTheChain) {
    int steps = 0;
    for (int crash_after = 0; crash_after <= std::max(steps, 1); ++crash_after) {
        ChainWorld w;
        w.control->submit(ChainWorld::chain(), [](Result<Put>) {});
        w.store->flush();  // submitted; nothing else of it need be durable
        for (int done = 0; done < 200; ++done) {
            if (done == crash_after) w.crash();
            if (!w.step() && done >= crash_after) break;
            if (crash_after == 0) ++steps;
        }
        ASSERT_EQ(w.status("g"), JobStatus::Completed) << "after a crash at " << crash_after;
        EXPECT_EQ(w.job("g_0")->attempts.size(), 1u) << crash_after;
        EXPECT_EQ(w.job("g_1")->attempts.size(), 1u) << crash_after;
        EXPECT_EQ(w.started["g_0"], 1) << crash_after;
        EXPECT_EQ(w.started["g_1"], 1) << crash_after;
        EXPECT_GE(w.job("g_1")->attempts[0].leased, *w.job("g_0")->ended) << crash_after;
    }
    EXPECT_GT(steps, 10);
}

TEST(Groups, WhatComesAfterAFailureIsNotBegunUnlessItIsToBe) {
    for (const bool goes_on : {false, true}) {
        ChainWorld w;
        Json definition = Json::object();
        definition.set("continueOnFailure", goes_on);
        w.control->submit(ChainWorld::chain(definition), [](Result<Put>) {});
        w.settle();
        // Its task cannot be made: that ends it.
        EXPECT_EQ(w.resolve("g_0",
                            [](const JobRecord&) -> Result<ap::TaskSpec> {
                                return invalid("input 'data' has no such path", "inputs.data");
                            }),
                  "updated");
        EXPECT_EQ(w.status("g_0"), JobStatus::Failed);
        EXPECT_EQ(w.job("g_0")->cause, ap::Cause::Input);
        EXPECT_EQ(w.job("g_0")->error_message, "input 'data' has no such path");
        if (!goes_on) {
            EXPECT_EQ(w.status("g_1"), JobStatus::Canceled);
            EXPECT_EQ(w.job("g_1")->error_message, "the step before it did not complete");
            EXPECT_EQ(w.status("g"), JobStatus::Failed);
            continue;
        }
        EXPECT_EQ(w.status("g_1"), JobStatus::NotStarted);
        ASSERT_EQ(w.effects.asked.back(), "g_1");
        EXPECT_EQ(w.resolve("g_1",
                            [](const JobRecord&) -> Result<ap::TaskSpec> {
                                ap::TaskSpec task;
                                task.command = "train";
                                return task;
                            }),
                  "updated");
        w.effects.asked.clear();
        while (w.step()) {
        }
        EXPECT_EQ(w.status("g"), JobStatus::Completed);
    }
}

TEST(Groups, AChildWhoseOutputsAreThereIsOverWithoutANode) {
    for (const bool crashes : {false, true}) {
        ChainWorld w;
        w.control->submit(ChainWorld::chain(), [](Result<Put>) {});
        w.settle();
        const Json recipe = Json::object({{"command", "prepare"}});
        EXPECT_EQ(w.resolve("g_0",
                            [&](const JobRecord& r) -> Result<Control::KnownTask> {
                                Control::KnownTask known(*w.task_of(r));
                                known.recipe = recipe;
                                known.reused_from = "f_0";
                                return known;
                            }),
                  "updated");
        const auto first = w.job("g_0");
        EXPECT_EQ(first->status, JobStatus::Completed);
        EXPECT_EQ(first->reused_from, "f_0");
        EXPECT_EQ(first->recipe, recipe);
        EXPECT_TRUE(first->attempts.empty());
        EXPECT_TRUE(read_task(*w.store, *first)) << "where its outputs are";
        EXPECT_EQ(w.store->scan(Table::JobLive, with_prefix("ws/g_0"))->size(), 0u);
        const auto rows =
            w.store->scan(Table::StepRun, with_prefix(equal_steps_prefix("ws", recipe)));
        ASSERT_EQ(rows->size(), 1u);
        EXPECT_EQ(job_of_step_run(rows->front().key), "g_0");
        EXPECT_EQ(
            w.store->scan(Table::StepRun, with_prefix(same_step_prefix("ws", "prepare")))->size(),
            1u);
        if (crashes) w.crash();
        while (w.step()) {
        }
        EXPECT_EQ(w.status("g"), JobStatus::Completed);
        EXPECT_EQ(w.started["g_0"], 0);
        EXPECT_EQ(w.started["g_1"], 1);
        EXPECT_EQ(w.job("g_0")->reused_from, "f_0");

        w.control->delete_job("ws", "g_0", [](Result<void>) {});
        w.settle();
        EXPECT_EQ(w.store->scan(Table::StepRun, with_prefix(""))->size(), 0u);
    }
}

TEST(Groups, WhoCancelsAGroupCancelsChildrenThatWaitForTheirTask) {
    for (const bool by_time : {false, true}) {
        ChainWorld w;
        Json definition = Json::object();
        if (by_time) definition.set("timeout", true);
        w.control->submit(ChainWorld::chain(definition), [](Result<Put>) {});
        w.settle();
        ASSERT_EQ(w.status("g_1"), JobStatus::NotStarted);
        w.crash();  // the limit of time goes on
        w.settle();
        if (by_time) {
            w.clock.pass(1min);
            w.control->tick();
        } else {
            w.control->cancel_job("ws", "g", [](Result<void>) {});
        }
        w.settle();
        for (const char* child : {"g_0", "g_1"}) EXPECT_EQ(w.status(child), JobStatus::Canceled);
        EXPECT_EQ(w.status("g"), JobStatus::Canceled);
        EXPECT_EQ(w.resolve("g_1", [&](const JobRecord& r) { return w.task_of(r); }), "unchanged")
            << "it is too late";
        EXPECT_EQ(w.resolved["g_1"], 0);
    }
}

TEST(Groups, TheNamesOfChildrenAreTaken) {
    ChainWorld w;
    w.control->submit(ChainWorld::chain(), [](Result<Put>) {});
    w.settle();
    Error why;
    w.control->submit(World::submission("g_1", "c"), [&](Result<Put> r) { why = r.error(); });
    w.settle();
    EXPECT_EQ(why.reason, "Conflict") << "it is there";
}

TEST(Groups, StoredRowsOfEarlierBuildsAreRead) {
    // A trial, as it was stored before there were other groups, and as it still is.
    const Json row =
        *parse_json(R"({"workspace":"ws","name":"s_3","created":5,"sweep":"s","index":3,)"
                    R"("parameters":{"lr":"0.1"}})");
    const auto trial = job_from_json(row);
    ASSERT_TRUE(trial);
    EXPECT_EQ(trial->child.group, "s");
    EXPECT_EQ(trial->child.role, kTrial);
    EXPECT_EQ(trial->child.index, 3);
    EXPECT_TRUE(trial->derived());
    JobRecord named = *trial;
    named.meta.display_name = named.name;
    EXPECT_EQ(definition_json(named).dump(), row.dump());
    JobRecord sweep;
    sweep.workspace = "ws";
    sweep.name = "s";
    sweep.definition = Json::object({{"trial", Json::object({{"command", "train"}})}});
    JobRecord joined = named;
    join_trial(joined, sweep);
    EXPECT_EQ(definition_json(joined).dump(), row.dump()) << "also when its tags change";

    const Json live = *parse_json(R"({"sweep":"s","index":3,"created":5})");
    const auto facts = facts_from_json(live);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->group, "s");
    EXPECT_TRUE(facts->derived);
    EXPECT_EQ(to_json(*facts).dump(), live.dump());

    const Json alone = *parse_json(
        R"({"compute":"c","sharer":"me/x","created":5,"base":"ab","own":{"command":"echo"}})");
    const auto plain = facts_from_json(alone);
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->group, "");
    EXPECT_EQ(plain->type, kFirstJobType);
    EXPECT_EQ(to_json(*plain).dump(), alone.dump());
}

}  // namespace
}  // namespace turnout
