// In the order in which it happened: one row of Table::Event for each commit, a JSON array; several
// where so much happened at once that a row would be unwieldy.
#include "control/events.h"

#include <algorithm>
#include <cstdlib>

#include "base/json_text.h"
#include "base/text.h"
#include "control/live_jobs.h"

namespace turnout::control {

namespace {

constexpr std::uint64_t kEventsKept = 200'000;  // rows
constexpr std::size_t kFullRow = 1 << 20;       // no event is added to a row of that size

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

struct Where {
    EventText& event;
    void operator()(const OnNodes& on) { event.text("node", on.names.front()); }
    void operator()(const OnEngine& on) { event.text("engine", on.engine); }
};

}  // namespace

std::string& Events::text() {
    std::vector<std::string>& rows = turns.gathering.events;
    if (rows.empty() || rows.back().size() >= kFullRow) rows.emplace_back();
    return rows.back();
}

void Events::of_job(const JobEntry& job, std::string_view what, std::string_view message) {
    EventText event(text(), clock.now(), "job", job.workspace(), job.name(), what);
    event.text("compute", shown_compute(job.compute->compute.name));
    event.text("status", name_of(job.state.status));
    if (!job.state.attempts.empty()) {
        const JobAttempt& attempt = job.state.attempts.back();
        event.number("attempt", attempt.number);
        std::visit(Where{event}, attempt.placement);
        if (attempt.ended && attempt.ending && !is_terminal(job.state.status) &&
            attempt.ending->cause != agent_protocol::Cause::None)
            event.text("cause", agent_protocol::name_of(attempt.ending->cause));
        if (attempt.ended && attempt.ending && attempt.ending->exit_code >= 0 && what == "ended")
            event.number("exit_code", attempt.ending->exit_code);
    }
    if (job.state.cause != agent_protocol::Cause::None)
        event.text("cause", agent_protocol::name_of(job.state.cause));
    event.maybe("message", message).maybe("by", by_);
}

void Events::of_node(const Node& node, std::string_view what, std::string_view message) {
    EventText event(text(), clock.now(), "node", node.workspace, node.name, what);
    event.text("compute", shown_compute(node.compute));
    event.maybe("message", message).maybe("by", by_);
}

void Events::of_compute(const Compute& compute, std::string_view what, std::string_view message) {
    if (compute.instances) return;  // it is nobody's
    EventText(text(), clock.now(), "compute", compute.workspace, compute.name, what)
        .maybe("message", message)
        .maybe("by", by_);
}

void Events::of_space(std::string_view workspace, std::string_view kind, std::string_view message) {
    EventText event(text(), clock.now(), "space", workspace, kind, "removed");
    event.text("message", message);
}

Result<void> Events::recover() {
    Range newest = with_prefix("", 1);
    newest.reverse = true;
    const std::vector<Record> last_row = TURNOUT_TRY(store.scan(Table::Event, newest));
    if (!last_row.empty())
        last_ = std::max<std::uint64_t>(last_,
                                        std::strtoull(last_row.front().key.c_str(), nullptr, 16));
    return {};
}

void Events::write_rows(Turn& turn, Batch& batch) {
    for (const std::string& events : turn.events) {
        turn.event_row = ++last_;
        batch.put(Table::Event, hex16(last_), "[" + events + "]");
        if (last_ > kEventsKept) batch.erase(Table::Event, hex16(last_ - kEventsKept));
    }
}

void Events::turn_is_released(const Turn& turn) {
    if (turn.event_row != 0 && listener) listener(turn.event_row);
}

}  // namespace turnout::control
