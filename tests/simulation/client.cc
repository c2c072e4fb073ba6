// What users do, and repeat until they have an answer.
#include <algorithm>
#include <set>

#include "control/jobs.h"
#include "model/automl.h"
#include "model/group.h"
#include "model/pipeline.h"
#include "world.h"

namespace turnout::simulation {

// Requests and replies are lost; then the same is asked again. An answer that says "later" is none.
void World::ask(std::function<void(Server&, Control::Reply<void>)> what,
                std::function<void(Result<void>)> answered) {
    struct Asking {
        std::function<void(Server&, Control::Reply<void>)> what;
        std::function<void(Result<void>)> answered;
        std::function<void()> attempt;
        int number = 0;
        bool over = false;
    };
    ++asking;
    // Shared: held by the events of every attempt until one is answered.
    auto one = std::make_shared<Asking>();
    one->what = std::move(what);
    one->answered = std::move(answered);
    one->attempt = [this, one] {
        if (one->over) return;
        const int number = ++one->number;
        const auto again = [this, one, number] {
            if (!one->over && one->number == number && one->attempt) one->attempt();
        };
        const Span patience = dice.pause(2s, 20s);
        timeline.in(patience, again, {always});
        if (!server) return;
        const auto lost = [this] {
            if (!faults.on || !dice.chance(faults.lost_message)) return false;
            ++coverage["client message lost"];
            return true;
        };
        if (lost()) return;
        timeline.in(dice.pause(1ms, 200ms),
                    [this, one, lost] {
                        if (one->over) return;
                        one->what(*server, [this, one, lost](Result<void> result) {
                            if (lost()) return;
                            if (!result && (result.error().code == Code::Unavailable ||
                                            result.error().code == Code::ResourceExhausted)) {
                                ++coverage["client was refused: " + result.error().reason];
                                return;
                            }
                            timeline.in(dice.pause(1ms, 200ms),
                                        [this, one, result] {
                                            if (one->over) return;
                                            one->over = true;
                                            --asking;
                                            one->answered(result);
                                            one->attempt = nullptr;
                                        },
                                        {always});
                        });
                    },
                    {server->life});
    };
    const auto first = one->attempt;
    first();
}

// One that looks for the best model. Dice of its own, as above.
void World::plan_automl() {
    Dice own(seed * 0x9E3779B97F4A7C15ULL + 29);
    if (many_bases || !own.chance(0.2)) return;
    const std::string name = "automl1";
    const std::string compute = computes[static_cast<std::size_t>(
        own.between(0, static_cast<std::int64_t>(computes.size()) - 1))];
    AutoML automl;
    automl.metric = "score";
    automl.max_trials = own.between(1, 8);
    automl.max_concurrent = own.between(1, 4);
    automl.compute = compute;
    automl.setup = automl.trial = automl.ensemble = Json::object({{"inputs", Json::object()}});
    if (own.chance(0.3)) automl.timeout = short_tasks ? own.pause(1s, 1min) : own.pause(1min, 1h);
    const bool bad = own.chance(0.4);
    for (std::int64_t index = 0; index < automl.max_trials + 3; ++index) {
        const std::string job = child_name(name, index);
        Script& one = checker.scripts[job];
        if (index > 0) one.after.push_back(child_name(name, 0));
        one.exit_code = bad && own.chance(0.3) ? 1 : 0;
        one.fails_in = bad && own.chance(0.1) ? static_cast<int>(own.between(1, 4)) : 0;
        one.runs = short_tasks ? own.pause(1ms, 20ms) : own.pause(1ms, 2min);
        one.lines = static_cast<int>(own.between(0, 2));
        one.task.command = "trial";
        one.task.variables = {{"AZUREML_RUN_ID", job}};
    }
    checker.scripts[name].automl = to_json(automl);
    const Span when = own.span(5s, short_tasks ? 2min : 10min);
    timeline.in(when, [=, this] { submit(name, compute, Json::object({{"jobType", "AutoML"}})); },
                {always});
    const auto all_may_end = [this, name, children = automl.max_trials + 3] {
        checker.wants_ended(name);
        for (std::int64_t index = 0; index < children; ++index)
            checker.wants_ended(child_name(name, index));
    };
    if (automl.timeout) all_may_end();
    if (!own.chance(0.3)) return;
    timeline.in(when + (short_tasks ? own.pause(1ms, 5s) : own.pause(1ms, 5min)),
                [=, this] {
                    all_may_end();
                    ask(
                        [this, name](Server& at, Control::Reply<void> reply) {
                            at.control.cancel_job(
                                kWorkspace, name, [this, name, reply](Result<void> result) {
                                    if (result && server)
                                        checker.cancel_acknowledged(server->store.durable(), name);
                                    reply(result || result.error().code != Code::NotFound
                                              ? std::move(result)
                                              : Result<void>{});
                                });
                        },
                        [](Result<void>) {});
                },
                {always});
}

void World::submit(std::string name, std::string compute, Json definition) {
    ask(
        [=, this](Server& at, Control::Reply<void> reply) {
            // Whoever deletes a job does not make it again: its attempts would have the same names.
            if (checker.may_vanish(name)) return reply(Result<void>{});
            const Script& script = checker.scripts.at(name);
            JobSubmission job;
            job.workspace = kWorkspace;
            job.name = name;
            job.definition = definition;
            job.compute = compute;
            job.instance = script.instance;
            if (mutation.instance_reused && job.instance) {
                Compute cluster;
                cluster.workspace = kWorkspace;
                cluster.name = name_of(*std::exchange(job.instance, std::nullopt));
                cluster.definition = cluster.envelope = Json::object();
                cluster.max_nodes = 1;
                at.control.put_compute(cluster, [](Result<Put>) {});
                job.compute = cluster.name;
            }
            job.task = script.task;
            if (!script.sweep.is_null()) job.type = JobType::Sweep;
            if (!script.plan.is_null()) {
                job.type = JobType::Pipeline;
                job.plan = script.plan;
                if (mutation.steps_unordered)
                    for (Json& step : job.plan["steps"].items()) step.erase("after");
            }
            if (!script.automl.is_null()) {
                job.type = JobType::AutoML;
                job.plan = script.automl;
            }
            if (mutation.gang_smaller && job.task.node_count > 1) --job.task.node_count;
            job.priority = mutation.priority_ignored ? 0 : script.priority;
            job.principal = script.principal;
            job.meta.experiment = script.experiment;
            at.control.submit(std::move(job), [this, name, reply](Result<Put> result) {
                if (result && server) checker.acknowledged(server->store.durable(), name);
                ++coverage[!result                   ? "submit: " + result.error().reason
                           : *result == Put::Created ? "submit: created"
                                                     : "submit: unchanged"];
                reply(result ? Result<void>{} : Result<void>(Failure(result.error())));
            });
        },
        [this, name](Result<void> result) {
            say("client", "submit " + name + ": " + (result ? "ok" : result.error().reason));
        });
}

void World::put(Compute compute) {
    if (settling) return;  // at the end everything is let go
    checker.wants_at_a_time(compute.name, compute.jobs_per_node);
    if (mutation.backlog_without_limit) compute.jobs_per_node += 1000;
    ask(
        [compute](Server& at, Control::Reply<void> reply) {
            at.control.put_compute(compute, [reply](Result<Put> r) {
                reply(r ? Result<void>{} : Result<void>(Failure(r.error())));
            });
        },
        [](Result<void>) {});
}

Compute World::some_cluster(const std::string& name) {
    Compute compute;
    compute.workspace = kWorkspace;
    compute.name = name;
    compute.definition = compute.envelope = Json::object();
    compute.min_nodes = dice.chance(0.2) ? 1 : 0;
    compute.max_nodes = static_cast<int>(dice.between(dice.chance(0.1) ? 0 : 1, gangs > 0    ? 5
                                                                                : many_bases ? 1
                                                                                             : 3));
    compute.idle_before_scale_down = dice.pause(1s, 120s);
    if (low_priority && dice.chance(0.5)) compute.tier = Tier::LowPriority;
    if (several_at_once && dice.chance(0.6))
        compute.jobs_per_node = static_cast<int>(dice.between(2, 4));
    if (checker.far_slots > 0 && name == kFarCompute) compute.pool = kFarPool;
    return compute;
}

// Dice of its own, as below.
std::optional<ContainerInstance> World::some_instance(const Script& script) {
    if (!instances || script.nodes > 1 || !instance_dice.chance(0.4)) return std::nullopt;
    ContainerInstance asked;
    asked.pool = kDefaultPool;
    if (checker.far_slots > 0 && instance_dice.chance(0.5)) asked.pool = kFarPool;
    asked.cores = static_cast<int>(instance_dice.between(1, 2));
    if (asked.pool == kFarPool) checker.far_instances.insert(name_of(asked));
    return asked;
}

void World::plan_job(int number, Span when) {
    std::string name = "job" + std::to_string(number);
    if (dice.chance(0.05))
        name = number <= 26 ? std::string(1, static_cast<char>('a' + number - 1))
                            : std::to_string(number);
    else if (dice.chance(0.05))
        name += std::string(static_cast<std::size_t>(dice.between(100, 200)), 'x');
    Script& script = checker.scripts[name];
    script.exit_code = dice.chance(0.2) ? static_cast<int>(dice.between(1, 100)) : 0;
    script.runs = long_tasks                                         ? dice.pause(1min, 30min)
                  : short_tasks && (many_bases || dice.chance(0.97)) ? dice.pause(1ms, 20ms)
                                                                     : dice.pause(1ms, 3min);
    script.lines = static_cast<int>(dice.between(0, short_tasks ? 2 : 12));
    script.ignores_term = dice.chance(0.2);
    if (dice.chance(0.1))
        script.fails_in = static_cast<int>(dice.between(1, 4));
    else if (dice.chance(0.02))
        script.ends_supervisor = static_cast<int>(dice.between(1, 2));
    else if (dice.chance(0.02))
        (dice.chance(0.5) ? script.unreadable : script.unreadable_end) = true;
    if (dice.chance(0.3)) script.preamble = "notice for " + name + "\n";
    if (dice.chance(gangs)) {
        script.nodes = static_cast<int>(dice.between(2, std::min(4, slots)));
        if (dice.chance(0.5))
            script.failing_rank = static_cast<int>(dice.between(0, script.nodes - 1));
    }
    if (priorities) script.priority = static_cast<int>(dice.between(-1, 2));
    if (sharers) {
        script.principal = dice.chance(0.5) ? "ana" : "ben";
        script.experiment = dice.chance(0.5) ? "one" : "two";
    }
    if (dice.chance(0.1))
        script.task.timeout = std::max<Span>(1ms, script.runs * dice.between(20, 150) / 100);
    script.task.command = name;
    script.task.node_count = script.nodes;
    script.task.variables = {{"AZUREML_RUN_ID", name}};
    if (many_bases || dice.chance(0.2))
        script.task.variables.emplace_back("SEED",
                                           std::to_string(many_bases ? number % 280 : number % 3));
    if (!script.preamble.empty())
        script.task.environment.notices.push_back(
            script.preamble.substr(0, script.preamble.size() - 1));

    const std::string compute = dice.chance(0.15)
                                    ? "serverless"
                                    : computes[static_cast<std::size_t>(dice.between(
                                          0, static_cast<std::int64_t>(computes.size()) - 1))];
    script.instance = some_instance(script);
    const Json definition = Json::object({{"command", name}});
    timeline.in(when, [=, this] { submit(name, compute, definition); }, {always});
    const auto later = [&] {
        return when +
               (short_tasks && dice.chance(0.7) ? dice.pause(1ms, 2s) : dice.pause(1ms, 3min));
    };
    if (dice.chance(short_tasks ? 0.03 : 0.2))
        timeline.in(later(), [=, this] { submit(name, compute, definition); }, {always});
    if (many_bases) return;
    if (dice.chance(short_tasks ? 0.1 : 0.3)) {
        timeline.in(
            later(),
            [this, name] {
                checker.wants_ended(name);
                ask(
                    [this, name](Server& at, Control::Reply<void> reply) {
                        at.control.cancel_job(
                            kWorkspace, name, [this, name, reply](Result<void> result) {
                                if (result && server)
                                    checker.cancel_acknowledged(server->store.durable(), name);
                                reply(std::move(result));
                            });
                    },
                    [this, name](Result<void> r) {
                        ++coverage[r ? "cancel: ok" : "cancel: " + r.error().reason];
                        say("client", "cancel " + name + ": " + (r ? "ok" : r.error().reason));
                    });
            },
            {always});
    }
    if (dice.chance(0.1)) {
        timeline.in(later(),
                    [this, name] {
                        ask(
                            [name](Server& at, Control::Reply<void> reply) {
                                at.control.preempt_job(kWorkspace, name, std::move(reply));
                            },
                            [this, name](Result<void> r) {
                                ++coverage[r ? "preempt: ok" : "preempt: " + r.error().reason];
                                say("client",
                                    "preempt " + name + ": " + (r ? "ok" : r.error().reason));
                            });
                    },
                    {always});
    }
    if (dice.chance(short_tasks ? 0.03 : 0.1)) {
        timeline.in(
            when + dice.pause(short_tasks ? 1s : 4min, 20min),
            [this, name] {
                checker.wants_deleted(name);
                ask(
                    [name](Server& at, Control::Reply<void> reply) {
                        at.control.delete_job(kWorkspace, name, std::move(reply));
                    },
                    [this](Result<void> r) {
                        ++coverage[r ? "delete job: ok" : "delete job: " + r.error().reason];
                    });
            },
            {always});
    }
}

// One command with many values of one parameter; every trial has a script of its own.
void World::plan_sweep(int number, Span when) {
    const std::string name = "sweep" + std::to_string(number);
    const int total = static_cast<int>(dice.between(1, short_tasks ? 60 : 12));
    Json values = Json::array();
    for (int i = 0; i < total; ++i) values.push(i * 10);
    Script& script = checker.scripts[name];
    script.sweep = Json::object(
        {{"jobType", "Sweep"},
         {"searchSpace", Json::object({{"n", Json::array({"choice", Json::array({values})})}})},
         {"samplingAlgorithm", Json::object({{"samplingAlgorithmType", "Grid"}})},
         {"objective", Json::object({{"goal", "minimize"}, {"primaryMetric", "loss"}})},
         {"limits", Json::object({{"maxConcurrentTrials", dice.between(1, 20)}})}});
    script.task.command = "try ${{search_space.n}}";
    script.task.variables = {{"AZUREML_RUN_ID", std::string(agent_protocol::kJobPlaceholder)}};
    if (priorities) script.priority = static_cast<int>(dice.between(-1, 2));
    script.instance = some_instance(script);
    const bool bad = dice.chance(0.1), no_environment = dice.chance(0.1);
    for (int i = 0; i < total; ++i) {
        const std::string trial = name + "_" + std::to_string(i), value = std::to_string(i * 10);
        Script& one = checker.scripts[trial];
        one.exit_code = bad || dice.chance(0.1) ? 1 : 0;
        if (no_environment) one.fails_in = 2;
        one.runs = short_tasks ? dice.pause(1ms, 20ms) : dice.pause(1ms, 2min);
        one.lines = static_cast<int>(dice.between(0, 2));
        one.priority = script.priority;
        one.instance = script.instance;
        one.task.command = script.task.command;
        one.task.parameters = {{"n", value}};
        one.task.variables = {{"AZUREML_RUN_ID", trial}, {"AZUREML_SWEEP_n", value}};
    }
    const std::string compute = computes[static_cast<std::size_t>(
        dice.between(0, static_cast<std::int64_t>(computes.size()) - 1))];
    timeline.in(when, [=, this, definition = script.sweep] { submit(name, compute, definition); },
                {always});
    if (!dice.chance(0.3)) return;
    timeline.in(when + (short_tasks ? dice.pause(1ms, 5s) : dice.pause(1ms, 5min)),
                [=, this] {
                    checker.wants_ended(name);
                    for (int i = 0; i < total; ++i)
                        checker.wants_ended(name + "_" + std::to_string(i));
                    ask(
                        [this, name](Server& at, Control::Reply<void> reply) {
                            at.control.cancel_job(
                                kWorkspace, name, [this, name, reply](Result<void> result) {
                                    if (result && server)
                                        checker.cancel_acknowledged(server->store.durable(), name);
                                    reply(std::move(result));
                                });
                        },
                        [this, name](Result<void> r) {
                            say("client", "cancel " + name + ": " + (r ? "ok" : r.error().reason));
                        });
                },
                {always});
}

// Steps with outputs that others take, on any computes. Dice of their own: worlds without a
// pipeline stay as they were.
void World::plan_pipelines() {
    Dice own(seed * 0x9E3779B97F4A7C15ULL + 23);
    if (many_bases || !own.chance(0.25)) return;
    const Span most = short_tasks ? 2min : 10min;
    for (int i = static_cast<int>(own.between(1, 2)); i > 0; --i)
        plan_pipeline(own, i, own.span(5s, most));
}

void World::plan_pipeline(Dice& own, int number, Span when) {
    const std::string name = "pipeline" + std::to_string(number);
    const auto any = [&] {
        return computes[static_cast<std::size_t>(
            own.between(0, static_cast<std::int64_t>(computes.size()) - 1))];
    };
    Pipeline pipeline;
    pipeline.continue_on_step_failure = own.chance(0.5);
    const bool bad = own.chance(0.4);
    const std::int64_t total = own.between(1, 10);
    Dice again(seed * 0x9E3779B97F4A7C15ULL + 100 + static_cast<std::uint64_t>(number));
    for (std::int64_t index = 0; index < total; ++index) {
        PipelineStep step;
        step.name = "s" + std::to_string(index);
        step.display_name = step.name;
        step.compute = any();
        step.definition = Json::object({{"command", step.name}});
        const std::string job = child_name(name, index);
        Script& one = checker.scripts[job];
        for (std::int64_t before = 0; before < index; ++before) {
            if (!own.chance(0.3)) continue;
            step.after.push_back(before);
            one.after.push_back(child_name(name, before));
        }
        one.exit_code = bad && own.chance(0.3) ? 1 : 0;
        one.fails_in = bad && own.chance(0.1) ? static_cast<int>(own.between(1, 4)) : 0;
        one.runs = short_tasks ? own.pause(1ms, 20ms) : own.pause(1ms, 2min);
        one.lines = static_cast<int>(own.between(0, 2));
        one.task.command = step.name;
        one.task.variables = {{"AZUREML_RUN_ID", job}};
        if (again.chance(0.15)) {
            one.reused = true;
            one.exit_code = one.fails_in = 0;
        }
        pipeline.steps.push_back(std::move(step));
    }
    checker.scripts[name].plan = to_json(pipeline);
    timeline.in(when,
                [=, this, compute = any()] {
                    submit(name, compute, Json::object({{"jobType", "Pipeline"}}));
                },
                {always});
    if (!own.chance(0.3)) return;
    // All of it, or a step.
    const bool step = own.chance(0.5);
    const std::string ended = step ? child_name(name, own.between(0, total - 1)) : name;
    timeline.in(when + (short_tasks ? own.pause(1ms, 5s) : own.pause(1ms, 5min)),
                [=, this] {
                    checker.wants_ended(ended);
                    if (!step)
                        for (std::int64_t index = 0; index < total; ++index)
                            checker.wants_ended(child_name(name, index));
                    ask(
                        [this, ended](Server& at, Control::Reply<void> reply) {
                            at.control.cancel_job(
                                kWorkspace, ended, [this, ended, reply](Result<void> result) {
                                    if (result && server)
                                        checker.cancel_acknowledged(server->store.durable(), ended);
                                    // It may not have been submitted yet.
                                    reply(result || result.error().code != Code::NotFound
                                              ? std::move(result)
                                              : Result<void>{});
                                });
                        },
                        [](Result<void>) {});
                },
                {always});
}

void World::set_slots(int count) {
    ask(
        [this, count](Server& at, Control::Reply<void> reply) {
            // From the moment on when it is asked for there may be more; fewer when they have gone.
            const int serial = ++slots_asked;
            slots_may_be[serial] = count;
            checker.slots_are(count);
            at.control.set_slots(
                count + (mutation.extra_slot ? 1 : 0), [this, reply, serial](Result<void> result) {
                    if (result)
                        slots_may_be.erase(slots_may_be.begin(), slots_may_be.lower_bound(serial));
                    ++coverage[result ? "slots: set" : "slots: " + result.error().reason];
                    if (!result && server) checker.slots_are(server->control.slots());
                    reply(std::move(result));
                });
        },
        [](Result<void>) {});
}

// Tasks that no job refers to any more go: found at one moment, erased some time later, when jobs
// may have come that refer to them. Dice of its own, as below.
void World::plan_tidying() {
    Dice own(seed * 0x9E3779B97F4A7C15ULL + 11);
    const Span most = short_tasks ? 2min : 30min;
    for (int i = own.chance(0.5) ? static_cast<int>(own.between(1, 12)) : 0; i > 0; --i)
        timeline.in(own.span(1s, most),
                    [this, later = own.pause(1ms, 2min)] { erase_unused_bases(later); }, {always});
}

void World::erase_unused_bases(Span later) {
    if (!server) return;
    const std::uint64_t survey = server->control.survey_bases();
    const MemoryStore::State& state = server->store.durable();
    std::set<std::string> used;
    for (const auto& [key, row] : state.tables[static_cast<std::size_t>(Table::JobCreated)]) {
        used.insert(base_mark_of(server->store, row).value());
        std::string after;
        do {
            const auto marks = base_marks_of_children(server->store, row, after);
            used.insert(marks->begin(), marks->end());
        } while (!after.empty());
    }
    std::vector<std::string> unused;
    for (const auto& [key, row] : state.tables[static_cast<std::size_t>(Table::TaskBase)])
        if (mutation.ended_jobs_unseen ||
            !used.contains(std::string(mark_of_base(key.substr(key.find('/') + 1)))))
            unused.push_back(key);
    ++coverage[unused.empty() ? "bases: all used" : "bases: some unused"];
    if (unused.empty()) return;
    timeline.in(later,
                [=, this] {
                    server->control.erase_bases(survey, unused, [this](Result<std::size_t> count) {
                        ++coverage[!count       ? "bases: " + count.error().reason
                                   : *count > 0 ? "bases: erased"
                                                : "bases: used again"];
                    });
                },
                {server->life});
}

// Who runs the server changes its slots, and has it drained. Dice of its own: worlds without it
// stay as they were.
void World::plan_operator() {
    Dice own(seed * 0x9E3779B97F4A7C15ULL + 7);
    if (many_bases) return;
    const Span most = short_tasks ? 2min : 10min;
    for (int i = own.chance(0.3) ? static_cast<int>(own.between(1, 3)) : 0; i > 0; --i)
        timeline.in(own.span(1s, most),
                    [this, count = static_cast<int>(own.between(1, slots + 2))] {
                        if (!settling) set_slots(count);
                    },
                    {always});
    if (!own.chance(0.2)) return;
    const Span from = own.span(1s, most), until = from + own.pause(1s, 10min);
    timeline.in(
        from,
        [this] {
            if (settling) return;
            ask(
                [this](Server& at, Control::Reply<void> reply) {
                    if (settling) return reply(Result<void>{});
                    at.control.drain(
                        [this, reply](Result<void> result) {
                            if (result && server) checker.draining = server->control.draining();
                            ++coverage[result ? "drain: ok" : "drain: " + result.error().reason];
                            reply(std::move(result));
                        },
                        [this] {
                            ++coverage["drained"];
                            checker.require(server->store.durable()
                                                .tables[static_cast<std::size_t>(Table::Node)]
                                                .empty(),
                                            "it is said to be drained, and there are nodes");
                            // The server ends, and somebody starts it again.
                            timeline.in(1ms, [this] { crash_server("when it is drained"); },
                                        {server->life});
                        });
                },
                [](Result<void>) {});
        },
        {always});
    timeline.in(until,
                [this] {
                    if (settling) return;
                    ask(
                        [this](Server& at, Control::Reply<void> reply) {
                            checker.draining = false;
                            at.control.resume(std::move(reply));
                        },
                        [](Result<void>) {});
                },
                {always});
}

// Services, beside the jobs: replaced, made larger and smaller, and ended. One slot is left to the
// jobs, so that they end. Dice of their own, as above.
void World::plan_services() {
    Dice& own = service_dice;
    checker.script_of_replica = [this](const Service& service) {
        Script script;
        script.runs = 1000h;
        script.lines = static_cast<int>(service_dice.between(0, 3));
        script.ignores_term = service_dice.chance(0.2);
        script.ready_after = service_dice.pause(1ms, 20s);
        if (faults.on && service_dice.chance(0.4)) {  // it does not stay up
            script.runs = service_dice.pause(1ms, 3min);
            if (service_dice.chance(0.7))
                script.exit_code = static_cast<int>(service_dice.between(1, 100));
        } else if (faults.on && service.spec.unready_limit > Span{} && service_dice.chance(0.2)) {
            script.ready_after = Span::max();
        }
        return script;
    };
    if (many_bases || gangs > 0 || slots < 2 || !own.chance(0.4)) return;
    if (speaks.newest < agent_protocol::kServicesSince) return;
    int room = slots - 1;
    for (int i = 1; i <= 2 && room > 0; ++i) {
        const std::string name = "s" + std::to_string(i);
        PlannedService& planned = services[name];
        planned.compute = computes[static_cast<std::size_t>(
            own.between(0, static_cast<std::int64_t>(computes.size()) - 1))];
        planned.surge = room > 1 ? static_cast<int>(own.between(0, 1)) : 0;
        planned.wanted = static_cast<int>(own.between(1, room - planned.surge));
        room -= planned.wanted + planned.surge;
        planned.spec.probe.interval = own.pause(500ms, 10s);
        planned.spec.probe.timeout = own.pause(50ms, 2s);
        planned.spec.probe.failures = static_cast<int>(own.between(1, 3));
        planned.spec.restart.longest = own.pause(1s, 1min);
        if (own.chance(0.5)) planned.spec.unready_limit = own.pause(30s, 3min);
        const Span most = short_tasks ? 2min : 10min;
        const auto later = [&](std::function<void()> what) {
            timeline.in(own.span(1s, most),
                        [this, what = std::move(what)] {
                            if (!settling) what();
                        },
                        {always});
        };
        timeline.in(own.pause(1s, 30s),
                    [this, name] {
                        const PlannedService& one = services.at(name);
                        put_service(name, one.wanted, one.surge);
                    },
                    {always});
        for (int n = static_cast<int>(own.between(0, 3)); n > 0; --n)
            later([this, name] {
                PlannedService& one = services.at(name);
                ++one.revision;
                put_service(name, one.wanted, one.surge);
            });
        for (int n = static_cast<int>(own.between(0, 2)); n > 0; --n)
            later([this, name, fewer = static_cast<int>(own.between(0, planned.wanted))] {
                put_service(name, fewer, services.at(name).surge);
            });
        if (own.chance(0.2)) later([this, name] { end_service(name); });
    }
}

void World::put_service(const std::string& name, int wanted, int surge) {
    ask(
        [this, name, wanted, surge](Server& at, Control::Reply<void> reply) {
            const PlannedService& planned = services.at(name);
            checker.services[name].numbers.emplace(wanted, surge);
            ServiceSubmission wish;
            wish.workspace = kWorkspace;
            wish.name = name;
            wish.compute = planned.compute;
            wish.wanted = wanted;
            wish.surge = surge;
            wish.task.command = "serve ${{service.port}} " + std::to_string(planned.revision);
            wish.task.variables = {
                {"AZUREML_RUN_ID", std::string(agent_protocol::kJobPlaceholder)}};
            wish.task.service = planned.spec;
            wish.principal = "client";
            at.control.put_service(std::move(wish), [this, name, reply](Result<Put> result) {
                if (result && server) checker.service_acknowledged(server->store.durable(), name);
                ++coverage[!result                     ? "service: " + result.error().reason
                           : *result == Put::Created   ? "service: created"
                           : *result == Put::Unchanged ? "service: unchanged"
                                                       : "service: updated"];
                reply(result ? Result<void>{} : Result<void>(Failure(result.error())));
            });
        },
        [this, name](Result<void> result) {
            say("client", "service " + name + ": " + (result ? "ok" : result.error().reason));
        });
}

void World::end_service(const std::string& name) {
    checker.services[name].may_end = true;
    ask(
        [this, name](Server& at, Control::Reply<void> reply) {
            at.control.end_service(kWorkspace, name, [this, name, reply](Result<void> result) {
                if (result && server)
                    checker.service_end_acknowledged(server->store.durable(), name);
                reply(std::move(result));
            });
        },
        [this, name](Result<void> result) {
            ++coverage[result ? "end service: ok" : "end service: " + result.error().reason];
            say("client", "end service " + name + ": " + (result ? "ok" : result.error().reason));
        });
}

void World::end_services() {
    const auto all_as_wanted = [this] {
        if (!server || asking > 0 || !server->store.at_rest()) return false;
        const MemoryStore::State& state = server->store.durable();
        for (const auto& [key, row] : state.tables[static_cast<std::size_t>(Table::JobLive)])
            if (!Checker::is_replica(key)) return false;
        for (const Control::ServiceView& view : server->control.services(kWorkspace))
            if (!view.why.empty() || view.counts.present != view.counts.wanted ||
                !checker.is_as_wanted(view.service))
                return false;
        return true;
    };
    if (!all_as_wanted()) {
        timeline.in(5s, [this] { end_services(); }, {always});
        return;
    }
    for (const Control::ServiceView& view : server->control.services(kWorkspace)) {
        ++coverage["service is as it is wanted, at the end"];
        end_service(view.service.name);
    }
    services_ended = true;
}

// Now and then one user may have only some jobs at a time, more or fewer of them later.
void World::plan_quotas() {
    Dice own(seed * 0x9E3779B97F4A7C15ULL + 29);
    if (!sharers || !own.chance(0.6)) return;
    const std::vector<int> limits = {static_cast<int>(own.between(1, 3)),
                                     static_cast<int>(own.between(1, 3)),
                                     static_cast<int>(own.between(1, 5))};
    const Span between = own.pause(1s, 5min);
    set_quotas(limits, 0, between);
}

// One after the other, so that it is known which may hold.
void World::set_quotas(const std::vector<int>& limits, std::size_t at, Span between) {
    if (at == limits.size()) return;
    const std::string user = "ana";
    if (at == 0) checker.wants_limit(user, 1 << 20);  // none
    checker.wants_limit(user, limits[at]);
    const int limit = limits[at] + (mutation.larger_quota ? 2 : 0);
    ask(
        [user, limit](Server& server_then, Control::Reply<void> reply) {
            server_then.control.change_quota(
                {QuotaOwner::Is::User, user, ""},
                [limit](const Quota&) -> Result<Quota> {
                    Quota quota;
                    quota.running = limit;
                    return quota;
                },
                std::move(reply));
        },
        [=, this](Result<void> result) {
            if (!result) return checker.violate("a quota is refused: " + result.error().message);
            ++coverage["quota: ok"];
            checker.limit_acknowledged(user);
            timeline.in(between, [=, this] { set_quotas(limits, at + 1, between); }, {always});
        });
}

void World::plan_client() {
    plan_operator();
    plan_quotas();
    plan_tidying();
    const int clusters = many_bases ? 1 : static_cast<int>(dice.between(1, 3));
    for (int i = 1; i <= clusters; ++i) {
        computes.push_back("c" + std::to_string(i));
        put(some_cluster(computes.back()));
    }
    const auto any = [this] {
        return computes[static_cast<std::size_t>(
            dice.between(0, static_cast<std::int64_t>(computes.size()) - 1))];
    };
    const Span busy = short_tasks ? dice.pause(2s, 2min) : dice.pause(30s, 10min);
    const Span start = short_tasks ? 1s : 5s;
    const auto sometime = [&] { return dice.span(start, start + busy); };

    int jobs = static_cast<int>(dice.between(1, 10));
    if (short_tasks)
        jobs = static_cast<int>(many_bases ? dice.between(300, 400)
                                           : dice.between(10, dice.chance(0.2) ? 150 : 50));
    // Some come one by one, others all at once.
    Span burst = sometime();
    for (int i = 1; i <= jobs; ++i) {
        if (dice.chance(0.05)) burst = sometime();
        plan_job(i, short_tasks && dice.chance(0.8) ? burst + dice.pause(1us, 500ms) : sometime());
    }
    for (int i = many_bases || !dice.chance(0.3) ? 0 : static_cast<int>(dice.between(1, 2)); i > 0;
         --i)
        plan_sweep(i, sometime());
    plan_pipelines();
    plan_automl();
    plan_services();
    for (int i = many_bases ? 0 : static_cast<int>(dice.between(0, 3)); i > 0; --i)
        timeline.in(sometime(), [this, name = any()] { put(some_cluster(name)); }, {always});
    if (!many_bases && dice.chance(0.2)) {
        timeline.in(sometime(),
                    [this, name = any()] {
                        for (const auto& [job, script] : checker.scripts) checker.wants_ended(job);
                        for (const auto& [service, planned] : services)
                            if (planned.compute == name) checker.services[service].may_end = true;
                        ask(
                            [name](Server& at, Control::Reply<void> reply) {
                                at.control.delete_compute(kWorkspace, name, std::move(reply));
                            },
                            [this](Result<void> r) {
                                ++coverage[r ? "delete compute: ok"
                                             : "delete compute: " + r.error().reason];
                            });
                    },
                    {always});
    }
}

}  // namespace turnout::simulation
