// `turnout events`: what happened, one line each, and what happens next.
#include <deque>

#include "base/text.h"
#include "cli/commands.h"
#include "model/compute.h"

namespace turnout::cli {

namespace {

constexpr std::int64_t kMostEvents = 1000;  // that the server gives at a time

// "2026-11-22 13:05:09 UTC  job      quick_fox    ended      Failed on node-1, exit code 3, cause
// user_code: …"
std::string line_of(const Json& event) {
    const std::string& kind = event.at("kind").as_string();
    std::vector<std::string> facts;
    const bool of_job = kind == "job";
    std::string first =
        of_job && event.at("what").as_view() == "ended" ? event.at("status").as_string() : "";
    const std::string node = event.at("node").as_string();
    if (!node.empty()) first += (first.empty() ? "on " : " on ") + node;
    if (!of_job && !event.at("compute").as_string().empty())
        first = "of " + event.at("compute").as_string();
    if (of_job && event.at("what").as_view() == "submitted")
        first = "to " + event.at("compute").as_string();
    if (!first.empty()) facts.push_back(first);
    if (event.at("attempt").as_int() > 1)
        facts.push_back("attempt " + std::to_string(event.at("attempt").as_int()));
    if (event.at("exit_code").as_int() > 0)
        facts.push_back("exit code " + std::to_string(event.at("exit_code").as_int()));
    if (!event.at("cause").as_string().empty())
        facts.push_back("cause " + event.at("cause").as_string());
    if (!event.at("by").as_string().empty()) facts.push_back("by " + event.at("by").as_string());
    std::string line = utc_time(event.at("at").as_string()) + "  " + padded(kind, 7) + "  " +
                       padded(event.at("name").as_string(), 24) + "  " +
                       padded(event.at("what").as_string(), 10) + "  " + join(facts, ", ");
    const std::string message = event.at("message").as_string();
    if (!message.empty() && message != event.at("cause").as_string())
        line += (facts.empty() ? "" : ": ") + message;
    line = harmless(line);
    while (line.ends_with(' ')) line.pop_back();
    return line + "\n";
}

// Nothing happened to it because there is no such thing.
Result<void> check_they_exist(client::Api& api, const Arguments& args) {
    if (args.has("--job"))
        if (const Result<Json> job =
                api.get(api.in_workspace("/jobs/" + percent_encode(args.get("--job"))));
            !job)
            return Failure(job.error());
    const std::string compute = args.get("--compute");
    if (!compute.empty() && compute != "serverless" && compute != kContainerInstance)
        if (const Result<Json> found =
                api.get(api.in_workspace("/computes/" + percent_encode(compute)));
            !found)
            return Failure(found.error());
    return {};
}

std::string query_of(const Arguments& args) {
    std::string query;
    for (const char* const name : {"job", "compute", "kind"})
        if (args.has("--" + std::string(name)))
            query +=
                "&" + std::string(name) + "=" + percent_encode(args.get("--" + std::string(name)));
    return query;
}

}  // namespace

int show_events(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    client::Api& api = **opened;
    const Arguments& args = context.args();
    std::int64_t limit = args.has("--job") ? kMostEvents : 50;
    const bool limited = args.has("--max-results");
    if (limited) {
        const Json number = yaml_scalar(args.get("--max-results"));
        if (!number.is_int() || number.as_int() < 1 || number.as_int() > kMostEvents)
            return context.fail({Code::InvalidArgument, "Usage",
                                 "--max-results is '" + args.get("--max-results") +
                                     "': expected a number from 1 to " +
                                     std::to_string(kMostEvents),
                                 "--max-results"});
        limit = number.as_int();
    }
    // A job's own come from the first on: which are the newest is known when all have come.
    const bool of_job = args.has("--job");
    const bool follow = args.has("--follow");
    const bool people = *format == Format::Table;
    const std::string path = api.in_workspace(
        "/events?limit=" + std::to_string(of_job ? kMostEvents : limit) + query_of(args));
    Json all = Json::array();
    const auto tell = [&](const Json& event) {
        if (people)
            context.out(line_of(event));
        else if (follow)
            context.out(event.dump() +
                        "\n");  // one a line: whoever reads it cannot wait for the end
        else
            all.push(event);
    };
    std::deque<Json> first;  // screen
    bool first_told = false;
    std::string next;
    for (int failures = 0;;) {
        const Instant asked = api.now();
        const bool waits = follow && first_told;
        Result<Json> page =
            api.get(path + (next.empty() ? "" : "&after=" + next) + (waits ? "&wait=10" : ""));
        if (!page) {
            // A follower outlives the server.
            if (!waits || page.error().code != Code::Unavailable || ++failures > 600)
                return context.fail(page.error());
            context.status("the server does not answer; trying again");
            api.loop().run(api.loop().sleep(1s));
            continue;
        }
        failures = 0;
        const bool more = page->at("more").as_bool();
        next = page->at("next").as_string();
        if (!first_told) {
            for (const Json& event : page->at("value").items()) {
                first.push_back(event);
                if (of_job && limited && first.size() > static_cast<std::size_t>(limit))
                    first.pop_front();
            }
            if (of_job && more) continue;
            if (first.empty())
                if (const Result<void> exist = check_they_exist(api, args); !exist)
                    return context.fail(exist.error());
            for (const Json& event : first) tell(event);
            first_told = true;
            if (!follow) break;
            continue;
        }
        for (const Json& event : page->at("value").items()) tell(event);
        if (more || !page->at("value").items().empty()) continue;
        end_if_nobody_reads();
        // So many follow already that the server did not let this one wait.
        if (api.now() - asked < 1s) api.loop().run(api.loop().sleep(1s));
    }
    return people ? 0 : context.show(all);
}

}  // namespace turnout::cli
