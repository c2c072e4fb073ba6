// What users do, and repeat until they have an answer.
#include <algorithm>

#include "world.h"

namespace turnout::simulation {

// Requests and replies are lost; then the same is asked again. An answer that says "later" is none.
void World::ask(std::function<void(Server&, Control::Reply<void>)> what, std::function<void(Result<void>)> answered) {
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
        timeline.in(dice.pause(1ms, 200ms), [this, one, lost] {
            if (one->over) return;
            one->what(*server, [this, one, lost](Result<void> result) {
                if (lost()) return;
                if (!result && (result.error().code == Code::Unavailable || result.error().code == Code::ResourceExhausted)) {
                    ++coverage["client was refused: " + result.error().reason];
                    return;
                }
                timeline.in(dice.pause(1ms, 200ms), [this, one, result] {
                    if (one->over) return;
                    one->over = true;
                    --asking;
                    one->answered(result);
                    one->attempt = nullptr;
                }, {always});
            });
        }, {server->life});
    };
    const auto first = one->attempt;
    first();
}

void World::submit(std::string name, std::string compute, Json definition) {
    ask([=, this](Server& at, Control::Reply<void> reply) {
        // Whoever deletes a job does not make it again: its attempts would have the same names.
        if (checker.may_vanish(name)) return reply(Result<void>{});
        JobSubmission job;
        job.workspace = kWorkspace;
        job.name = name;
        job.definition = definition;
        job.compute = compute;
        job.task.command = name;
        if (const std::string& preamble = checker.scripts.at(name).preamble; !preamble.empty())
            job.task.environment.notices.push_back(preamble.substr(0, preamble.size() - 1));
        job.principal = "client";
        at.control.submit(std::move(job), [this, name, reply](Result<Put> result) {
            if (result && server) checker.acknowledged(server->store.durable(), name);
            ++coverage[!result ? "submit: " + result.error().reason : *result == Put::Created ? "submit: created" : "submit: unchanged"];
            reply(result ? Result<void>{} : Result<void>(Failure(result.error())));
        });
    }, [this, name](Result<void> result) { say("client", "submit " + name + ": " + (result ? "ok" : result.error().reason)); });
}

void World::plan_client() {
    const int clusters = static_cast<int>(dice.between(1, 3));
    const auto cluster = [this](const std::string& name) {
        Compute compute;
        compute.workspace = kWorkspace;
        compute.name = name;
        compute.definition = compute.envelope = Json::object();
        compute.min_nodes = dice.chance(0.2) ? 1 : 0;
        compute.max_nodes = static_cast<int>(dice.between(dice.chance(0.1) ? 0 : 1, 3));
        compute.idle_before_scale_down = dice.pause(1s, 120s);
        return compute;
    };
    const auto put = [this](Compute compute) {
        if (settling) return;  // at the end everything is let go
        ask([compute](Server& at, Control::Reply<void> reply) {
            at.control.put_compute(compute, [reply](Result<Put> r) { reply(r ? Result<void>{} : Result<void>(Failure(r.error()))); });
        }, [](Result<void>) {});
    };
    for (int i = 1; i <= clusters; ++i) {
        computes.push_back("c" + std::to_string(i));
        put(cluster(computes.back()));
    }
    const Span busy = dice.pause(30s, 10min);
    const auto sometime = [&] { return dice.span(5s, busy); };
    const auto any = [this] { return computes[static_cast<std::size_t>(dice.between(0, static_cast<std::int64_t>(computes.size()) - 1))]; };

    const int jobs = static_cast<int>(dice.between(1, 10));
    for (int i = 1; i <= jobs; ++i) {
        const std::string name = "job" + std::to_string(i);
        Script& script = checker.scripts[name];
        script.exit_code = dice.chance(0.2) ? static_cast<int>(dice.between(1, 100)) : 0;
        script.runs = long_tasks ? dice.pause(1min, 30min) : dice.pause(1ms, 3min);
        script.lines = static_cast<int>(dice.between(0, 12));
        script.ignores_term = dice.chance(0.2);
        if (dice.chance(0.1)) script.fails_in = static_cast<int>(dice.between(1, 4));
        if (dice.chance(0.3)) script.preamble = "notice for " + name + "\n";
        const std::string compute = dice.chance(0.15) ? "serverless" : any();
        const Json definition = Json::object({{"command", name}});
        const Span when = sometime();
        timeline.in(when, [=, this] { submit(name, compute, definition); }, {always});
        if (dice.chance(0.2)) timeline.in(when + dice.pause(1ms, 2min), [=, this] { submit(name, compute, definition); }, {always});
        if (dice.chance(0.3)) {
            timeline.in(when + dice.pause(1ms, 3min), [this, name] {
                checker.wants_ended(name);
                ask([name](Server& at, Control::Reply<void> reply) { at.control.cancel_job(kWorkspace, name, std::move(reply)); },
                    [this, name](Result<void> r) {
                        ++coverage[r ? "cancel: ok" : "cancel: " + r.error().reason];
                        say("client", "cancel " + name + ": " + (r ? "ok" : r.error().reason));
                    });
            }, {always});
        }
        if (dice.chance(0.1)) {
            timeline.in(when + dice.pause(4min, 20min), [this, name] {
                checker.wants_deleted(name);
                ask([name](Server& at, Control::Reply<void> reply) { at.control.delete_job(kWorkspace, name, std::move(reply)); },
                    [this](Result<void> r) { ++coverage[r ? "delete job: ok" : "delete job: " + r.error().reason]; });
            }, {always});
        }
    }
    for (int i = static_cast<int>(dice.between(0, 3)); i > 0; --i)
        timeline.in(sometime(), [put, cluster, name = any()] { put(cluster(name)); }, {always});
    if (dice.chance(0.25)) {
        timeline.in(sometime(), [this, name = any()] {
            for (const auto& [job, script] : checker.scripts) checker.wants_ended(job);
            ask([name](Server& at, Control::Reply<void> reply) { at.control.delete_compute(kWorkspace, name, std::move(reply)); },
                [this](Result<void> r) { ++coverage[r ? "delete compute: ok" : "delete compute: " + r.error().reason]; });
        }, {always});
    }
}

}  // namespace turnout::simulation
