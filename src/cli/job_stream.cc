// Following a job: its log on stdout as it is written, what it waits for on stderr.
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <optional>

#include "base/text.h"
#include "base/told.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

// What is followed: a group's own words, a job's log, or that of the first of its processes.
constexpr const char* kLogs[] = {"azureml-logs/hyperdrive.txt", "logs/azureml/executionlogs.txt",
                                 "logs/azureml/azureml_automl.log",
                                 "user_logs/std_log_process_0.txt", "user_logs/std_log.txt"};
constexpr const char* kBuildLog = "azureml-logs/20_environment.txt";

bool has_ended(std::string_view status) {
    return status == "Completed" || status == "Failed" || status == "Canceled";
}

// Of one job, whose own log and build have said why; a sweep's end sums up.
bool is_build_failure(const Json& properties) {
    return !is_group(properties) &&
           properties.at("properties").at("turnout.cause").as_view() == "environment";
}

constexpr Span kSilence = 10s;  // after so long without a word of the log its job is told of again

// "Queued: no free slot (12 s)", "Running on node-1, no output for 35 s (2 min 10 s)": what it
// does, where, and for how long; while it runs, since it began to.
std::string state_of(const Json& job, Instant now, Span silent) {
    const Json& properties = job.at("properties");
    const Json& own = properties.at("properties");
    const auto seconds = [](Span span) {
        return to_words(std::chrono::floor<std::chrono::seconds>(std::max(span, Span{})));
    };
    std::string text = properties.at("status").as_string();
    const bool runs = text == "Running";
    if (const std::string node = own.at("turnout.node").as_string(); !node.empty())
        text += " on " + node;
    std::string why = own.at("turnout.waiting_for").as_string();
    if (why.empty() && !runs) why = own.at("turnout.detail").as_string();
    if (!why.empty()) text += ": " + why;
    if (silent >= kSilence) text += ", no output for " + seconds(silent);
    const std::string_view began = runs && !own.at("turnout.started").is_null()
                                       ? own.at("turnout.started").as_view()
                                       : job.at("systemData").at("createdAt").as_view();
    const Result<Instant> since = parse_iso8601(began);
    return since ? text + " (" + seconds(now - *since) + ")" : text;
}

bool is_pipeline(const Json& job) {
    return !job.at("properties").at("properties").at("turnout.steps.total").is_null();
}

constexpr std::size_t kStepsTold = 200;

// "prep 12 s", of a step that runs; "" of others.
std::string running_step(const Json& run, Instant now) {
    const std::string_view status = run.at("status").as_view();
    if (status != "Running" && status != "Finalizing" && status != "Preparing") return "";
    const Result<Instant> since = parse_iso8601(run.at("startTimeUtc").as_view());
    std::string text = harmless(run.at("displayName").as_view());
    if (status != "Running") return text + " " + to_lower(status);
    if (since)
        text += " " +
                to_words(std::chrono::floor<std::chrono::seconds>(std::max(now - *since, Span{})));
    return text;
}

// Its steps, a line each: what became of them, and how long they took.
std::string steps_in_lines(const Json& runs) {
    std::size_t widest = 0;
    for (const Json& run : runs.items())
        widest = std::max(widest, harmless(run.at("displayName").as_view()).size());
    std::string text;
    for (const Json& run : runs.items()) {
        std::string name = harmless(run.at("displayName").as_view());
        name.resize(std::max(name.size(), std::min<std::size_t>(widest, 40)), ' ');
        text += "\n  " + name + "  " + run.at("status").as_string();
        const Result<Instant> began = parse_iso8601(run.at("startTimeUtc").as_view());
        const Result<Instant> ended = parse_iso8601(run.at("endTimeUtc").as_view());
        if (began && ended) text += "  " + to_words(*ended - *began);
        text += "  " + run.at("runId").as_string();
        if (const Json& from = run.at("properties").at("azureml.reusedrunid"); from.is_string())
            text += "  not run: as " + from.as_string();
    }
    return text;
}

// What a log's link needs behind it.
std::string with_offset(const std::string& url, std::uint64_t offset, int wait) {
    return url + (url.find('?') == std::string::npos ? "?" : "&") +
           "offset=" + std::to_string(offset) + "&wait=" + std::to_string(wait);
}

struct Follower {
    Context& context;
    client::Api& api;
    std::string name;
    std::string job_path, details_path;
    std::uint64_t offset = 0, build_offset = 0;
    bool ends_line = true;
    std::string told = {},
                log_told = {};  // the end of what was shown of the build's log, and of the job's
    bool only_new =
        false;  // of a job whose environment failed, the log repeats what the build's has said
    std::optional<Instant> last_word = {};        // when the log said something last
    TerminalText log_text = {}, build_text = {};  // of the log on a terminal; a file gets its bytes
    std::string events_path = {}, event = {};     // the last one that was seen

    // One line tells of the job until its log begins, and again when that is silent for long.
    void tell(const Json& job) {
        const Span silent = last_word ? api.now() - *last_word : Span{};
        if (is_pipeline(job)) {
            if (ends_line && context.error_terminal()) tell_steps(job);
            return;
        }
        if (!last_word || (ends_line && silent >= kSilence))
            context.status(state_of(job, api.now(), silent));
    }
    Result<Json> steps() {
        Json page = TURNOUT_TRY(api.get(
            "/history/v1.0" + api.in_workspace("/runs/" + percent_encode(name) +
                                               "/children?top=" + std::to_string(kStepsTold))));
        return page.at("value");
    }
    // Which steps run, and for how long.
    void tell_steps(const Json& job) {
        std::string running;
        if (const Result<Json> runs = steps())
            for (const Json& run : runs->items())
                if (const std::string one = running_step(run, api.now()); !one.empty())
                    running += (running.empty() ? " | " : ", ") + one;
        context.status(state_of(job, api.now(), Span{}) + running);
    }
    // How long to wait at a log: its next line comes at once anyway, but the line that tells of a
    // silent job is one of seconds.
    int patience(bool logging) const { return logging && !context.error_terminal() ? 10 : 1; }

    static void remember(std::string& shown, const std::string& bytes) {
        constexpr std::size_t kEnough = 64 << 10;
        shown += bytes;
        if (shown.size() > 2 * kEnough) shown.erase(0, shown.size() - kEnough);
    }

    // Until something happens to the job, a second at most.
    void wait_for_news() {
        const Instant asked = api.now();
        const bool first = event.empty();
        const Result<Json> page = api.get(events_path + (first ? "" : "&wait=1&after=" + event));
        if (page) event = page->at("next").as_string();
        // So many wait already that the server did not let this one.
        if (!page || (!first && page->at("value").items().empty() && api.now() - asked < 500ms))
            api.loop().run(api.loop().sleep(500ms));
    }

    void end_log() {
        if (context.terminal()) context.out(log_text.end());
        if (context.error_terminal()) std::fputs(build_text.end().c_str(), stderr);
        if (!ends_line) context.out("\n");
    }

    void write(const std::string& bytes) {
        if (bytes.empty()) return;
        remember(log_told, bytes);
        context.end_status();
        context.out(context.terminal() ? log_text.show(bytes) : bytes);
        last_word = api.now();
        ends_line = bytes.back() == '\n';
    }

    // Prints what is new; tells whether the log is complete.
    Result<bool> pump(const std::string& url, std::uint64_t& at, int wait, bool to_stderr) {
        auto [bytes, headers] = TURNOUT_TRY(api.fetch(with_offset(url, at, wait)));
        at += bytes.size();
        if (to_stderr) {
            context.end_status();
            // Of a build that failed the job's log may have told the end already.
            std::string fresh = not_told(bytes, log_told);
            if (bytes.ends_with('\n') && !fresh.empty()) fresh += '\n';
            const std::string text = context.error_terminal() ? build_text.show(fresh) : fresh;
            std::fwrite(text.data(), 1, text.size(), stderr);
            remember(told, bytes);
        } else if (only_new) {
            if (const std::string rest = not_told(bytes, told); !rest.empty()) write(rest + "\n");
        } else {
            write(bytes);
        }
        return headers.get("x-turnout-log-complete") == "true" &&
               yaml_scalar(headers.get("x-turnout-log-length")).as_int() <=
                   static_cast<std::int64_t>(at);
    }

    Result<Json> run() {
        int failures = 0;
        std::string shown;
        while (true) {
            Result<Json> job = api.get(job_path);
            if (!job) {
                // The server may be restarting: the job goes on meanwhile.
                if (job.error().code != Code::Unavailable || ++failures > 60) return job;
                context.status("the server does not answer; trying again");
                api.loop().run(api.loop().sleep(1s));
                continue;
            }
            failures = 0;
            const std::string status = job->at("properties").at("status").as_string();
            if (status != shown && status != "Running" && !has_ended(status) &&
                !context.error_terminal())
                context.note(name + ": " + state_of(*job, api.now(), Span{}));
            shown = status;
            const bool logging = status == "Running" || status == "Finalizing" ||
                                 status == "CancelRequested" || has_ended(status);
            if (!has_ended(status)) tell(*job);
            const Result<Json> details = api.get(details_path);
            if (!details) {
                if (has_ended(status)) return job;
                api.loop().run(api.loop().sleep(1s));
                continue;
            }
            const Json& files = details->at("logFiles");
            // A failed build is explained by its log.
            if (const std::string build = files.at(kBuildLog).as_string();
                !build.empty() && status == "Preparing") {
                const Result<bool> pumped = pump(build, build_offset, 1, true);
                if (!pumped && pumped.error().code == Code::Unavailable) continue;
                // The job's own log has nothing until then but why a build failed, which this one
                // tells.
                if (pumped) {
                    if (*pumped) api.loop().run(api.loop().sleep(50ms));
                    continue;
                }
            }
            std::string url;
            for (const char* log : kLogs)
                if (url.empty()) url = files.at(log).as_string();
            if (url.empty()) {
                if (has_ended(status)) return job;
                wait_for_news();
                continue;
            }
            if (has_ended(status)) {
                // All of it is there now.
                only_new = is_build_failure(job->at("properties"));
                for (bool complete = false; !complete;) {
                    const std::uint64_t before = offset;
                    const Result<bool> pumped = pump(url, offset, 0, false);
                    complete = !pumped || *pumped || offset == before;
                }
                return job;
            }
            // Waiting at the log itself is the quickest way to its next line.
            const Result<bool> pumped = pump(url, offset, patience(logging), false);
            if (!pumped) api.loop().run(api.loop().sleep(500ms));
        }
    }
};

// Which of a job's processes failed: "node-2: process 3: …", or with one process on each node
// "node-2: …", whose place among the nodes is the process's number. 0 if it is not told.
std::int64_t failed_process(const Json& properties) {
    const std::string& message = properties.at("error").at("message").as_string();
    const std::string node = message.substr(0, message.find(": "));
    const std::vector<std::string> nodes =
        split(properties.at("properties").at("turnout.node").as_view(), ',');
    for (const std::string& part : split(message, ':'))
        if (const std::string_view words = trim(part); words.starts_with("process "))
            return parse_whole_number(words.substr(8)).value_or(0);
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (trim(nodes[i]) == node) return static_cast<std::int64_t>(i);
    return 0;
}

// The last words of a process whose log is not the one on the screen.
std::string last_words(const Json& properties) {
    const std::int64_t process = failed_process(properties);
    if (process <= 0) return "";
    for (const Json& detail : properties.at("error").at("details").items()) {
        if (detail.at("code").as_view() != "LastLines") continue;
        std::string out = "user_logs/std_log_process_" + std::to_string(process) + ".txt:";
        for (const std::string& line : split(detail.at("message").as_view(), '\n'))
            out += "\n    " + harmless(line);
        return out;
    }
    return "";
}

}  // namespace

int follow_job(Context& context, client::Api& api, const std::string& name) {
    Follower follower{
        context,
        api,
        name,
        api.in_workspace("/jobs/" + percent_encode(name)),
        "/history/v1.0" + api.in_workspace("/runs/" + percent_encode(name) + "/details"),
        0,
        0,
        true};
    follower.events_path = api.in_workspace("/events?limit=1000&job=" + percent_encode(name));
    const Result<Json> first = api.get(follower.job_path);
    if (!first) return context.fail(first.error());
    context.note("job " + name);
    if (const std::string page =
            resources::at_path(*first, "properties.services.Studio.endpoint").as_string();
        !page.empty())
        context.note("web view: " + page);
    // Ctrl-C leaves the job alone.
    api.loop().on_signal(SIGINT, [&context, name] {
        context.end_status();
        std::fprintf(stderr,
                     "\ndetached: job %s goes on. Follow it again with `turnout job stream -n %s`, "
                     "stop it with `turnout job cancel -n %s`\n",
                     name.c_str(), name.c_str(), name.c_str());
        ::_exit(130);
    });
    const Result<Json> job = follower.run();
    if (!job) return context.fail(job.error());
    context.end_status();
    follower.end_log();
    if (is_pipeline(*job))
        if (const Result<Json> steps = follower.steps(); steps && !steps->items().empty())
            context.note("its steps:" + steps_in_lines(*steps));
    const Json& properties = job->at("properties");
    const std::string status = properties.at("status").as_string();
    const Json& own = properties.at("properties");
    std::string line = "job " + name + " " + status;
    if (const std::string reason = own.at("turnout.reason").as_string(); !reason.empty())
        line += ": " + harmless(reason);
    std::string times;
    for (const auto& [key, value] : own.members())
        if (key.starts_with("turnout.ledger.") && value.as_view() != "0.000000 s") {
            const Json seconds = yaml_scalar(value.as_view().substr(0, value.as_view().find(' ')));
            const Span span(static_cast<std::int64_t>(seconds.as_double() * 1e6));
            times += (times.empty() ? "" : ", ") + key.substr(15) + " " + to_words(span);
        }
    if (!times.empty()) line += " (" + times + ")";
    context.note(line);
    if (status == "Completed") return 0;
    if (const std::string why = properties.at("error").at("message").as_string(); !why.empty()) {
        // The log of a build that failed, and the job's, may have said so already.
        const std::string rest = is_build_failure(properties)
                                     ? not_told(why, follower.told + "\n" + follower.log_told)
                                     : why;
        context.note("error: " + (rest.empty()
                                      ? "the environment could not be built, for the reason above"
                                      : rest));
    }
    if (const std::string last = last_words(properties); !last.empty()) context.note(last);
    const Json code = yaml_scalar(own.at("turnout.exit_code").as_string());
    const std::int64_t exit_code = code.is_int() ? code.as_int() : 1;
    return exit_code >= 1 && exit_code <= 255 ? static_cast<int>(exit_code) : 1;
}

}  // namespace turnout::cli
