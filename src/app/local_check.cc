#include "app/local_check.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/text.h"
#include "environment/programs.h"
#include "io/apart.h"

namespace turnout {

namespace {

constexpr Span kLongestLook = 30s;
constexpr std::size_t kMostSaid = 1 << 20;

Result<Json> ask(const std::string& agent, const std::string& folder,
                 const std::atomic<bool>& cancel) {
    std::vector<std::string> variables;
    for (char** one = environ; *one; ++one) variables.emplace_back(*one);
    std::string said;
    const environment::Ran ran = TURNOUT_TRY(environment::run(
        {agent, "host", "look", folder}, variables,
        [&](std::string_view text) {
            if (said.size() < kMostSaid) said += text;
        },
        cancel));
    if (ran.canceled)
        return fail(Code::Unavailable, "Timeout",
                    "the agent did not answer within " + to_words(kLongestLook));
    const std::string_view line = trim(said);
    Result<Json> found = parse_json(line.substr(line.rfind('\n') + 1));
    if (ran.status != 0 || !found)
        return fail(Code::Unavailable, "AgentFailed",
                    "the agent does not start (exit code " + std::to_string(ran.status) +
                        "): " + std::string(line.substr(0, 200)));
    return found;
}

}  // namespace

Task<Json> check_this_machine(Loop& loop, std::string agent, std::string folder) {
    const auto cancel = std::make_shared<std::atomic<bool>>(false);  // shared with the timer
    loop.after(kLongestLook, [cancel] { *cancel = true; });
    std::function<Result<Json>()> work = [agent = std::move(agent), folder = std::move(folder),
                                          cancel] { return ask(agent, folder, *cancel); };
    const Result<Json> facts = co_await apart<Result<Json>>(loop, std::move(work));
    Json one = Json::object({{"host", "this machine"}, {"reachable", facts.has_value()}});
    if (facts) {
        one.set("agentStarts", true);  // it is what looked
        for (const char* name : {"system", "os", "cores", "memoryBytes", "gpus", "python",
                                 "containerEngine", "freeBytes", "uv"})
            if (facts->has(name)) one.set(name, facts->at(name));
    } else {
        one.set("message", facts.error().message);
    }
    co_return Json::array({std::move(one)});
}

}  // namespace turnout
