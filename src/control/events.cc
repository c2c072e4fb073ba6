// What happened, in the order in which it did: one row of Table::Event for each commit, a JSON
// array; several where so much happened at once that a row would be unwieldy. People follow it,
// nothing is decided by it.
#include "base/json_text.h"
#include "control/state.h"

namespace turnout {

namespace {

constexpr std::size_t kFullRow = 1 << 20;  // no event is added to a row of that size

// One more event of the commit that is being gathered.
class EventText : public JsonText {
public:
    EventText(std::string& out, Instant at, std::string_view kind, std::string_view workspace,
              std::string_view name, std::string_view what)
        : JsonText(out.empty() ? out : out += ',') {
        number("at", at.micros)
            .text("kind", kind)
            .text("workspace", workspace)
            .text("name", name)
            .text("what", what);
    }
    EventText& maybe(std::string_view member, std::string_view value) {
        if (!value.empty()) text(member, value);
        return *this;
    }
};

}  // namespace

std::string& Control::State::event_text() {
    std::vector<std::string>& rows = gathering.events;
    if (rows.empty() || rows.back().size() >= kFullRow) rows.emplace_back();
    return rows.back();
}

void Control::State::job_event(const JobEntry& job, std::string_view what,
                               std::string_view message) {
    EventText event(event_text(), clock.now(), "job", job.workspace(), job.name(), what);
    event.text("compute", job.compute->compute.name);
    event.text("status", name_of(job.state.status));
    if (!job.state.attempts.empty()) {
        const JobAttempt& attempt = job.state.attempts.back();
        event.number("attempt", attempt.number);
        event.text("node", attempt.nodes.front());
        if (attempt.ended && attempt.ending && !is_terminal(job.state.status) &&
            attempt.ending->cause != agent_protocol::Cause::None)
            event.text("cause", agent_protocol::name_of(attempt.ending->cause));
        if (attempt.ended && attempt.ending && attempt.ending->exit_code >= 0 && what == "ended")
            event.number("exit_code", attempt.ending->exit_code);
    }
    if (job.state.cause != agent_protocol::Cause::None)
        event.text("cause", agent_protocol::name_of(job.state.cause));
    event.maybe("message", message);
}

void Control::State::node_event(const Node& node, std::string_view what, std::string_view message) {
    EventText event(event_text(), clock.now(), "node", node.workspace, node.name, what);
    event.text("compute", node.compute);
    event.maybe("message", message);
}

void Control::State::compute_event(const Compute& compute, std::string_view what) {
    const EventText event(event_text(), clock.now(), "compute", compute.workspace, compute.name,
                          what);
}

void Control::on_events(std::function<void(std::uint64_t)> listener) {
    state_->events_listener = std::move(listener);
}

}  // namespace turnout
