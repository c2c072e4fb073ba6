#include "cli/several.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::cli {

namespace {

constexpr std::size_t kErrorsTold = 10;

struct Run {
    Context& context;
    client::Api& api;
    const std::vector<std::string>& names;
    const Verb& verb;
    std::size_t done = 0, over = 0, failed = 0;
    std::optional<Error> first = {};
    std::string detail = verb.detail;                               // of a single one
    std::vector<std::pair<std::size_t, std::string>> waiting = {};  // which, and where to ask

    bool single() const { return names.size() == 1; }
    std::string count(std::size_t number) const {
        return with_commas(static_cast<std::int64_t>(number)) + " of " +
               with_commas(static_cast<std::int64_t>(names.size())) + " " + verb.noun + "s";
    }

    void tell() {
        context.status(single()
                           ? verb.doing + " " + names[0] + (detail.empty() ? "" : ": " + detail)
                           : verb.doing + " " + count(done + over));
    }
    void fail(const Error& error) {
        if (!first) first = error;
        if (++failed <= kErrorsTold) context.fail(error);
    }

    // Without a server nothing more can be said to it.
    bool goes_on(const Result<client::Reply>& reply) const {
        return reply || reply.error().code != Code::Unavailable;
    }

    void ask_all(bool waits) {
        api.send_each(
            names.size(), [&](std::size_t i) { return verb.ask(names[i]); },
            [&](std::size_t i, const Result<client::Reply>& reply) {
                const std::string where = reply ? api.operation_of(*reply) : std::string();
                if (!reply)
                    fail(reply.error());
                else if (where.empty() && !verb.over.empty())
                    ++over;
                else if (where.empty() || !waits)
                    ++done;
                else
                    waiting.emplace_back(i, where);
                tell();
                return goes_on(reply);
            });
    }

    void wait_for_all() {
        for (bool answers = true; answers && !waiting.empty();) {
            const auto asked = std::exchange(waiting, {});
            api.send_each(
                asked.size(),
                [&](std::size_t i) { return client::Api::Request{"GET", asked[i].second, {}}; },
                [&](std::size_t i, const Result<client::Reply>& reply) {
                    const Result<bool> is_over =
                        reply ? client::Api::is_over(*reply) : Result<bool>(Failure(reply.error()));
                    if (!is_over)
                        fail(is_over.error());
                    else if (*is_over)
                        ++done;
                    else
                        waiting.push_back(asked[i]);
                    tell();
                    return answers = goes_on(reply);
                });
            if (answers && !waiting.empty() && single() && verb.waits_for &&
                context.error_terminal())
                if (std::string now = verb.waits_for(names[0]); !now.empty())
                    detail = std::move(now);
            if (answers && !waiting.empty()) api.loop().run(api.loop().sleep(200ms));
        }
    }
};

}  // namespace

int do_to_each(Context& context, client::Api& api, const std::vector<std::string>& names,
               const Verb& verb) {
    Run run{context, api, names, verb};
    const bool waits = !context.args().has("--no-wait");
    run.ask_all(waits);
    run.wait_for_all();
    context.end_status();
    if (run.failed > kErrorsTold)
        context.note("… and " + with_commas(static_cast<std::int64_t>(run.failed - kErrorsTold)) +
                     " more could not be " + verb.done);
    if (!run.single()) {
        context.note(
            (waits || verb.asked.empty() ? verb.done : verb.asked) + " " + run.count(run.done) +
            (run.over > 0
                 ? ", " + with_commas(static_cast<std::int64_t>(run.over)) + " " + verb.over
                 : ""));
    } else if (!run.first && waits) {
        context.note(verb.noun + " " + names[0] + " " +
                     (verb.result ? verb.result(names[0]) : "is " + verb.done));
    }
    return run.first ? exit_code_of(run.first->code) : 0;
}

}  // namespace turnout::cli
