#include "model/service.h"

#include <algorithm>

namespace turnout {

namespace ap = agent_protocol;

namespace {

constexpr std::size_t kMaxTrouble = 1000;  // bytes

std::string several_replicas(int count) {
    return std::to_string(count) + (count == 1 ? " replica" : " replicas");
}

bool serves_perhaps(const Replica& replica) {
    return replica.is == Replica::Is::Ready || replica.is == Replica::Is::Unknown;
}

void keep_trouble(Service& service, std::string_view trouble) {
    service.trouble = std::string(trouble.substr(0, kMaxTrouble));
}

}  // namespace

Json to_json(const Service& service) {
    Json json = Json::object({{"workspace", service.workspace},
                              {"name", service.name},
                              {"revision", service.revision},
                              {"wanted", service.wanted},
                              {"surge", service.surge},
                              {"service", ap::to_json(service.spec)},
                              {"made", service.made}});
    if (service.ending) json.set("ending", true);
    if (service.failures > 0) json.set("failures", service.failures);
    if (service.done > 0) json.set("done", service.done);
    if (!service.trouble.empty()) json.set("trouble", service.trouble);
    return json;
}

Result<Service> service_of_json(const Json& json) {
    Service service;
    service.workspace = json.at("workspace").as_string();
    service.name = json.at("name").as_string();
    if (service.workspace.empty() || service.name.empty())
        return internal("stored service without a name");
    service.revision = json.at("revision").as_int(1);
    service.wanted = static_cast<int>(json.at("wanted").as_int());
    service.surge = static_cast<int>(json.at("surge").as_int());
    service.spec = TURNOUT_TRY(ap::service_from_json(json.at("service")));
    service.made = json.at("made").as_int();
    service.ending = json.at("ending").as_bool();
    service.failures = static_cast<int>(json.at("failures").as_int());
    service.done = static_cast<int>(json.at("done").as_int());
    service.trouble = json.at("trouble").as_string();
    return service;
}

std::string replica_name(std::string_view service, std::int64_t number) {
    return std::string(service) + "." + std::to_string(number);
}

std::string_view name_of(Replica::Is is) {
    switch (is) {
        case Replica::Is::Ending: return "ending";
        case Replica::Is::Waiting: return "waiting";
        case Replica::Is::Starting: return "starting";
        case Replica::Is::Unready: return "unready";
        case Replica::Is::Unknown: return "unknown";
        case Replica::Is::Ready: return "ready";
        case Replica::Is::Stopping: return "stopping";
    }
    return "";
}

std::string_view words_of(ServicePlan::Stop::Why why) {
    switch (why) {
        case ServicePlan::Stop::Why::Ending: return "its service was ended";
        case ServicePlan::Stop::Why::TooMany: return "its service wants fewer replicas";
        case ServicePlan::Stop::Why::Replaced: return "a new revision replaces it";
        case ServicePlan::Stop::Why::Unfit:
            return "a new revision replaces it, and it was not ready";
        case ServicePlan::Stop::Why::Unready: return "it was not ready for too long";
    }
    return "";
}

ServicePlan plan_service(const Service& service, const std::vector<Replica>& replicas, Span now) {
    using Why = ServicePlan::Stop::Why;
    ServicePlan plan;
    const auto look_at = [&](Span at) {
        if (!plan.look_at || at < *plan.look_at) plan.look_at = at;
    };
    std::vector<const Replica*> current, old;
    for (const Replica& replica : replicas) {
        if (!replica.alive()) continue;
        (replica.revision == service.revision ? current : old).push_back(&replica);
    }
    if (service.ending) {
        for (const auto* all : {&old, &current})
            for (const Replica* one : *all)
                if (one->is != Replica::Is::Ending) plan.stop.push_back({one->number, Why::Ending});
        plan.over = replicas.empty();
        return plan;
    }

    if (const Span limit = service.spec.unready_limit; limit > Span{})
        std::erase_if(current, [&](const Replica* one) {
            if (one->is != Replica::Is::Unready) return false;
            if (now < one->since + limit) {
                look_at(one->since + limit);
                return false;
            }
            plan.stop.push_back({one->number, Why::Unready});
            return true;
        });
    if (!plan.stop.empty()) return plan;  // what else is to be done follows from their failure

    // Too many of the newest: the least fit go, of equals those that came last.
    const auto target = static_cast<std::size_t>(service.target());
    std::sort(current.begin(), current.end(), [](const Replica* a, const Replica* b) {
        return a->is != b->is ? a->is < b->is : a->number > b->number;
    });
    while (current.size() > target) {
        if (current.front()->is != Replica::Is::Ending)
            plan.stop.push_back({current.front()->number, Why::TooMany});
        current.erase(current.begin());
    }

    const auto ready =
        static_cast<std::size_t>(std::count_if(current.begin(), current.end(), [](const auto* one) {
            return one->is == Replica::Is::Ready;
        }));
    // Of the old ones those that serve nobody go, and as many as the newest has ready.
    std::erase_if(old, [&](const Replica* one) {
        if (serves_perhaps(*one)) return false;
        if (one->is != Replica::Is::Ending) plan.stop.push_back({one->number, Why::Unfit});
        return true;
    });
    std::sort(old.begin(), old.end(), [](const Replica* a, const Replica* b) {
        return a->is != b->is ? a->is < b->is : a->number < b->number;
    });
    const auto stop_old = [&] {
        plan.stop.push_back({old.front()->number, target == 0 ? Why::TooMany : Why::Replaced});
        old.erase(old.begin());
    };
    while (old.size() > target - ready) stop_old();

    const std::size_t missing = target - current.size();
    if (missing == 0) return plan;
    if (now < service.not_before) {
        look_at(service.not_before);
        return plan;
    }
    const std::size_t most = target + static_cast<std::size_t>(std::max(0, service.surge));
    const std::size_t room = most - std::min(most, replicas.size());
    plan.start = static_cast<int>(std::min(missing, room));
    // No room, and nobody who makes some or is about to be ready: one that serves has to go first.
    const bool stopping = std::any_of(replicas.begin(), replicas.end(), [](const Replica& one) {
        return !one.alive() || one.is == Replica::Is::Ending;
    });
    if (room == 0 && plan.stop.empty() && !stopping && ready == current.size() && !old.empty())
        stop_old();
    return plan;
}

Span pause_after(const ap::Restart& restart, int failures) {
    if (failures < 2) return Span{};
    Span pause = restart.first;
    for (int i = 2; i < failures && pause < restart.longest; ++i) pause *= 2;
    return std::min(pause, restart.longest);
}

void replica_failed(Service& service, std::int64_t number, std::string_view trouble, Span now) {
    keep_trouble(service, trouble);
    // Several at a time are one failure: while all wait for the next start anyway, and at one
    // instant those that were there before the first of them failed.
    if (now < service.not_before) return;
    if (service.failed_at == now && number <= service.failed_made) return;
    service.failed_at = now;
    service.failed_made = service.made;
    ++service.failures;
    service.not_before = now + pause_after(service.spec.restart, service.failures);
}

void replica_gone(Service& service, const ReplicaEnd& end, Span now) {
    if (end.told || end.revision != service.revision) return;
    if (end.ready_for && *end.ready_for >= service.spec.restart.longest) {
        service.failures = 0;
        service.not_before = Span{};
    }
    switch (end.cause) {
        case ap::Cause::Preempted:
        case ap::Cause::Canceled: return;
        case ap::Cause::None:
            if (service.spec.restart.when == ap::Restart::When::OnFailure) {
                ++service.done;
                return;
            }
            return replica_failed(service, end.number, "its command ended with exit code 0", now);
        case ap::Cause::UserCode:
        case ap::Cause::OutOfMemory:
        case ap::Cause::TooManyProcesses:
        case ap::Cause::Timeout:
        case ap::Cause::NodeLost:
        case ap::Cause::Environment:
        case ap::Cause::Input:
        case ap::Cause::Internal: return replica_failed(service, end.number, end.message, now);
    }
}

namespace {
void forget_failures(Service& service) {
    service.failures = 0;
    service.done = 0;
    service.not_before = Span{};
    service.failed_at.reset();
}
}  // namespace

void want_replicas(Service& service, int wanted) {
    service.wanted = wanted;
    forget_failures(service);
}

void want_revision(Service& service, const ap::ServiceSpec& spec) {
    ++service.revision;
    service.spec = spec;
    service.trouble.clear();
    forget_failures(service);
}

ReplicaCounts count_replicas(const Service& service, const std::vector<Replica>& replicas) {
    ReplicaCounts counts;
    counts.wanted = service.target();
    for (const Replica& one : replicas) {
        ++counts.present;
        if (one.revision != service.revision)
            ++counts.old;
        else if (one.is == Replica::Is::Ready)
            ++counts.ready;
    }
    return counts;
}

std::string why_not_ready(const Service& service, const std::vector<Replica>& replicas, Span now) {
    const ReplicaCounts counts = count_replicas(service, replicas);
    if (service.ending)
        return counts.present == 0 ? ""
                                   : "it was ended: " + several_replicas(counts.present) +
                                         " must stop before it is over";
    if (counts.ready == counts.wanted && counts.present == counts.wanted) return "";
    std::string text = std::to_string(counts.ready) + " of " + std::to_string(counts.wanted) +
                       " wanted replicas are ready";
    const auto count = [&](bool old, Replica::Is is) {
        return std::count_if(replicas.begin(), replicas.end(), [&](const Replica& one) {
            return one.is == is && (one.revision != service.revision) == old;
        });
    };
    const auto say = [&](std::int64_t number, std::string_view words) {
        if (number > 0) text += "; " + std::to_string(number) + " " + std::string(words);
    };
    say(count(false, Replica::Is::Waiting), "waiting for a node");
    say(count(false, Replica::Is::Starting), "being prepared on a node");
    say(count(false, Replica::Is::Unready), "running, and not ready yet");
    say(count(false, Replica::Is::Unknown), "on a node that cannot be heard");
    say(count(false, Replica::Is::Ending), "whose command has just ended");
    say(count(false, Replica::Is::Stopping) + count(true, Replica::Is::Stopping), "being stopped");
    const auto old = counts.old - static_cast<int>(count(true, Replica::Is::Stopping));
    say(old, old == 1 ? "of an earlier revision serves until then"
                      : "of earlier revisions serve until then");
    if (service.done > 0) say(service.done, "ended by itself with exit code 0");
    if (service.failures > 0) {
        text += "; " + std::to_string(service.failures) +
                (service.failures == 1 ? " failure: " : " failures in a row, the last one: ") +
                service.trouble;
        if (now < service.not_before)
            text += "; the next one is started in " + to_words(service.not_before - now);
    }
    return text;
}

}  // namespace turnout
