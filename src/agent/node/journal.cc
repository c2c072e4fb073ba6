#include "agent/node/state.h"

#include <algorithm>
#include <utility>

namespace turnout::agent {
namespace {
// A message of the protocol, and what the node adds to it: members, each with a comma before it.
template <class Message>
std::string line_of(const Message& message, std::string_view more = "") {
    return "{\"message\":" + encode(message).substr(8) + std::string(more) + "}";
}
}  // namespace

std::string NodeCore::State::lease_line(const AttemptId& id, const Attempt& attempt) const {
    return line_of(ToAgent(Lease{id, attempt.task_json, attempt.base}),
                   ",\"boot_id\":" + Json(attempt.boot_id).dump());
}

std::string NodeCore::State::base_line(const std::string& hash, const Bases::Kept& base) const {
    return line_of(ToAgent(Base{hash, base.json}));
}

std::string NodeCore::State::stage_line(const AttemptId& id, const Attempt& attempt) const {
    PhaseReport report{id, phase_of(attempt.stage), "", Span{}, attempt.durations};
    return line_of(ToServer(report),
                   ",\"stage\":\"" + std::string(name_of(attempt.stage)) +
                       "\",\"since\":" + std::to_string(attempt.since.count()) +
                       ",\"running_since\":" + std::to_string(attempt.running_since.count()));
}

std::string NodeCore::State::stop_line(const AttemptId& id, const Stop& stop) const {
    return line_of(ToAgent(Cancel{id, stop.cause, stop.grace}),
                   ",\"asked\":" + std::to_string(stop.asked.count()));
}

std::string NodeCore::State::ending_line(const AttemptId& id, const Attempt& attempt) const {
    return line_of(ToServer(EndReport{id, attempt.ending}),
                   ",\"stage\":\"" + std::string(name_of(attempt.stage)) +
                       "\",\"since\":" + std::to_string(attempt.since.count()) +
                       ",\"words\":" + Json(attempt.last_words).dump());
}

std::string NodeCore::State::end_ack_line(const AttemptId& id, bool final) const {
    return line_of(ToAgent(EndAck{id}), final ? ",\"final\":true" : ",\"final\":false");
}

std::string NodeCore::State::contact_line() const {
    return Json::object({{"contact", contact.count()},
                         {"lost_after", lost_after.count()},
                         {"max_running", max_running},
                         {"boot_id", facts.boot_id}})
        .dump();
}

void NodeCore::State::restore_line(const Json& line, bool& rebooted) {
    if (const Json* at = line.find("contact")) {
        contact = Span(at->as_int());
        lost_after = Span(line.at("lost_after").as_int());
        max_running = std::max(1, static_cast<int>(line.at("max_running").as_int(max_running)));
        rebooted = line.at("boot_id").as_view() != facts.boot_id;
        return;
    }
    const Json& message = line.at("message");
    FrameReader::Frame frame{message.dump(), ""};
    if (auto to_agent = decode_to_agent(frame)) {
        if (auto* lease = std::get_if<Lease>(&*to_agent)) {
            Attempt attempt;
            attempt.boot_id = line.at("boot_id").as_string();
            attempt.since = now();
            if (auto task = task_of(*lease))
                attempt.task = std::make_shared<const TaskSpec>(std::move(*task));
            attempt.task_json = std::move(lease->task);
            attempt.base = std::move(lease->base);
            bases.use(attempt.base);
            attempts.add(lease->id, std::move(attempt));
        } else if (auto* base = std::get_if<Base>(&*to_agent)) {
            bases.keep(*base, true);
        } else if (auto* cancel = std::get_if<Cancel>(&*to_agent)) {
            if (auto* attempt = attempts.find(cancel->id))
                attempt->stop = Stop{cancel->cause, Span(line.at("asked").as_int()), cancel->grace,
                                     false, std::nullopt};
        } else if (auto* ack = std::get_if<EndAck>(&*to_agent)) {
            auto* attempt = attempts.find(ack->id);
            if (attempt && !line.at("final").as_bool()) {
                attempt->discard = true;
            } else {
                bury(ack->id);
            }
        }
        return;
    }
    auto to_server = decode_to_server(frame);
    if (!to_server) return;
    auto stage = parse_stage(line.at("stage").as_view());
    if (!stage) return;
    if (auto* report = std::get_if<PhaseReport>(&*to_server)) {
        if (auto* attempt = attempts.find(report->id)) {
            attempts.move_to(*attempt, *stage);
            attempt->since = Span(line.at("since").as_int());
            attempt->running_since = Span(line.at("running_since").as_int());
            attempt->durations = report->durations;
        }
    } else if (auto* end = std::get_if<EndReport>(&*to_server)) {
        if (auto* attempt = attempts.find(end->id)) {
            attempts.move_to(*attempt, *stage);
            attempt->since = Span(line.at("since").as_int());
            attempt->durations = end->ending.durations;
            attempt->ending = std::move(end->ending);
            attempt->last_words = line.at("words").as_string();
        }
    }
}

void NodeCore::restore(const std::vector<std::string>& lines) {
    State& s = *state_;
    bool rebooted = false;
    for (const auto& text : lines)
        if (auto line = parse_json(text)) s.restore_line(*line, rebooted);
    s.bases.restored();
    Span now = s.now();
    for (auto& [id, attempt] : s.attempts) {
        attempt.rebooted = attempt.boot_id != s.facts.boot_id;
        // Times of another boot mean nothing here.
        if (attempt.rebooted || attempt.since > now) attempt.since = now;
        if (attempt.rebooted || attempt.running_since > now) attempt.running_since = now;
        if (attempt.stage == Stage::Running && attempt.task->service)
            attempt.readiness.emplace(attempt.task->service->probe, attempt.running_since, false);
        if (attempt.stop && (attempt.rebooted || attempt.stop->asked > now))
            attempt.stop->asked = now;
        // A discarded one must not survive only because the record of the wish was the last line.
        if (attempt.discard && !attempt.stop)
            attempt.stop = Stop{Cause::NodeLost, now, Span::zero(), false, std::nullopt};
    }
    // Its ending was to be the next line: the node did not understand the task, or it was canceled
    // before it came.
    for (const AttemptId& id : attempts()) {
        Attempt& attempt = *s.attempts.find(id);
        if (attempt.task == no_task() && attempt.stage < Stage::Starting)
            s.fail(id, attempt, Cause::Internal, "the node does not understand this task", -1);
    }
    // The machine restarted, and with it went what was not yet on the disk: perhaps the record that
    // a command had begun, or the end of its log. So nothing leased before it goes on, and nothing
    // that was not all delivered counts as done.
    for (const AttemptId& id : attempts()) {
        Attempt& attempt = *s.attempts.find(id);
        if (attempt.rebooted && attempt.discard) {
            s.forget(id);
            continue;
        }
        if (!attempt.rebooted || attempt.stage == Stage::Ended) continue;
        if (attempt.stage >= Stage::Outputs && attempt.ending.cause != Cause::None) continue;
        attempt.ending = Ending{};
        attempt.ending.cause = Cause::NodeLost;
        attempt.ending.exit_code = -1;
        attempt.ending.message = "the machine restarted before the job was done";
        if (attempt.stage == Stage::Flushing)
            s.record(s.ending_line(id, attempt));
        else
            s.end_without_outputs(id, attempt);
    }
    if (rebooted || s.contact > now) s.contact = now;
    s.attempts.touch_all();
    if (!s.attempts.empty()) s.record_contact();
    s.pump();
}

std::vector<std::string> NodeCore::snapshot() const {
    const State& s = *state_;
    std::vector<std::string> lines;
    lines.push_back(s.contact_line());
    for (const auto& id : s.buried.in_order()) lines.push_back(s.end_ack_line(id, true));
    for (const auto& [hash, base] : s.bases.all())
        if (base.recorded) lines.push_back(s.base_line(hash, base));
    std::vector<std::pair<std::uint64_t, const std::pair<const AttemptId, Attempt>*>> order;
    for (const auto& item : s.attempts) order.emplace_back(item.second.order, &item);
    std::sort(order.begin(), order.end());
    for (const auto& [number, item] : order) {
        const auto& [id, attempt] = *item;
        lines.push_back(s.lease_line(id, attempt));
        if (attempt.stop) lines.push_back(s.stop_line(id, *attempt.stop));
        if (attempt.stage >= Stage::Outputs)
            lines.push_back(s.ending_line(id, attempt));
        else
            lines.push_back(s.stage_line(id, attempt));
        if (attempt.discard) lines.push_back(s.end_ack_line(id, false));
    }
    return lines;
}

}  // namespace turnout::agent
