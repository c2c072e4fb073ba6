#include "agent/node/attempt.h"

#include <iterator>

#include "base/text.h"

namespace turnout::agent {
namespace {
constexpr std::string_view kStageNames[] = {"snapshot", "environment", "inputs",
                                            "ready",    "starting",    "running",
                                            "outputs",  "flushing",    "ended"};
}

std::string_view name_of(Stage stage) {
    return kStageNames[static_cast<int>(stage)];
}

std::optional<Stage> parse_stage(std::string_view text) {
    for (std::size_t i = 0; i < std::size(kStageNames); ++i)
        if (kStageNames[i] == text) return static_cast<Stage>(i);
    return std::nullopt;
}

Phase phase_of(Stage stage) {
    switch (stage) {
        case Stage::Snapshot:
        case Stage::Environment:
        case Stage::Inputs:
        case Stage::Ready:
        case Stage::Starting: return Phase::Preparing;
        case Stage::Running: return Phase::Running;
        case Stage::Outputs:
        case Stage::Flushing: return Phase::Finalizing;
        case Stage::Ended: return Phase::Ended;
    }
    return Phase::Ended;
}

void book(Durations& durations, Stage stage, Span spent) {
    switch (stage) {
        case Stage::Snapshot: durations.snapshot += spent; break;
        case Stage::Environment: durations.environment += spent; break;
        case Stage::Inputs: durations.inputs += spent; break;
        case Stage::Ready:
        case Stage::Starting: durations.waiting += spent; break;
        case Stage::Running: durations.user_code += spent; break;
        case Stage::Outputs:
        case Stage::Flushing: durations.outputs += spent; break;
        case Stage::Ended: break;
    }
}

std::shared_ptr<const TaskSpec> no_task() {
    static const auto none = std::make_shared<const TaskSpec>();
    return none;
}

std::string preamble(const Attempt& attempt) {
    std::string text;
    for (const auto& notice : attempt.task->environment.notices) text += notice + "\n";
    return text;
}

std::string clean(std::string_view text, std::size_t limit) {
    std::string out;
    for (std::size_t at = 0; at < text.size() && out.size() < limit;) {
        if (std::size_t length = utf8_sequence(text, at)) {
            out += text.substr(at, length);
            at += length;
        } else {
            out += "\xef\xbf\xbd";
            ++at;
        }
    }
    return out;
}

void add_note(Ending& ending, const std::string& text) {
    std::string& message = ending.message;
    message = clean(message.empty() ? text : message + "; " + text, kMaxMessage);
}

}  // namespace turnout::agent
