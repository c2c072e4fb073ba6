// `turnout drill …`: harm to a running job of one's own, and what came of it. What the server knew
// before (log bytes, metrics, the attempt) is compared with what it knows afterwards.
#include <algorithm>
#include <set>

#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

constexpr const char* kLog = "user_logs/std_log.txt";
constexpr std::size_t kMostLog = 16 << 20;   // bytes that are compared
constexpr std::size_t kMostMetrics = 50;     // whose points are compared
constexpr Span kPatience = 300s;             // until it has resumed
constexpr Span kCatchUp = 30s;               // until what was under way has arrived

struct Seen {
    std::string status, node;
    std::int64_t attempt = 0;
    std::string log;               // of that attempt
    std::set<std::string> points;  // of metrics, each as text
};

struct Drill {
    Context& context;
    client::Api& api;
    std::string kind, name;
    std::int64_t seconds = 20;

    std::string job_path(const std::string& rest) const { return api.in_workspace("/jobs/" + percent_encode(name) + rest); }

    Result<Seen> state() const {
        const Json explained = TURNOUT_TRY(api.get(job_path("/explain")));
        Seen seen;
        seen.status = explained.at("status").as_string();
        if (!explained.at("attempts").items().empty()) {
            const Json& last = explained.at("attempts").items().back();
            seen.attempt = last.at("attempt").as_int();
            if (!last.at("nodes").items().empty()) seen.node = last.at("nodes").items().front().as_string();
        }
        return seen;
    }
    // That attempt's log as far as the server has it.
    Result<std::string> log_of(std::int64_t attempt, std::int64_t current) const {
        const Json details = TURNOUT_TRY(api.get("/history/v1.0" + api.in_workspace("/runs/" + percent_encode(name) + "/details")));
        const std::string path = attempt == current ? kLog : "retries/" + std::to_string(attempt) + "/" + kLog;
        // Until the next attempt has logged something, the last log is still this one's.
        std::string url = details.at("logFiles").at(path).as_string();
        if (url.empty()) url = details.at("logFiles").at(kLog).as_string();
        std::string log;
        while (!url.empty() && log.size() < kMostLog) {
            const auto [bytes, headers] = TURNOUT_TRY(api.fetch(url + (url.find('?') == std::string::npos ? "?" : "&") + "wait=0&offset=" + std::to_string(log.size())));
            if (bytes.empty()) break;
            log += bytes;
        }
        return log;
    }
    Result<std::set<std::string>> points() const {
        const std::string mlflow = "/mlflow/v1.0" + api.in_workspace("/api/2.0/mlflow/");
        const Json run = TURNOUT_TRY(api.get(mlflow + "runs/get?run_id=" + percent_encode(name)));
        std::set<std::string> found;
        std::size_t count = 0;
        for (const Json& metric : run.at("run").at("data").at("metrics").items()) {
            if (++count > kMostMetrics) break;
            const std::string key = metric.at("key").as_string();
            const Json history = TURNOUT_TRY(api.get(mlflow + "metrics/get-history?run_id=" + percent_encode(name) + "&metric_key=" + percent_encode(key)));
            for (const Json& point : history.at("metrics").items()) found.insert(key + " " + point.at("step").dump() + " " + point.at("timestamp").dump() + " " + point.at("value").dump());
        }
        return found;
    }
    void rest(Span span) const { api.loop().run(api.loop().sleep(span)); }

    static bool ended(const std::string& status) { return status == "Completed" || status == "Failed" || status == "Canceled"; }
    bool begins_anew() const { return kind == "preempt" || kind == "kill-node"; }

    // Until the job goes on, or has ended. The state then.
    Result<Seen> wait_until_it_goes_on(const Seen& before, Instant begin) const {
        for (;;) {
            Result<Seen> now = state();
            const Span passed = api.now() - begin;
            // On a full disk the server may refuse for a while.
            if (!now && passed > kPatience) return now;
            if (now) {
                const bool held = begins_anew() || passed >= std::chrono::seconds(seconds);
                const bool goes_on = now->status == "Running" && (begins_anew() ? now->attempt > before.attempt : held && reachable(*now));
                if ((ended(now->status) && held) || goes_on || passed > kPatience) return now;
                context.status("job " + name + " is " + now->status + " (" + to_words(std::chrono::round<std::chrono::seconds>(passed)) + ")");
            }
            rest(200ms);
        }
    }
    bool reachable(const Seen& job) const {
        const Result<Json> explained = api.get(job_path("/explain"));
        if (!explained) return false;
        for (const Json& node : explained->at("now").at("nodes").items())
            if (node.at("node").as_view() == job.node) return node.at("connected").as_bool();
        return false;
    }

    Result<Json> run() {
        Seen before = TURNOUT_TRY(state());
        before.log = TURNOUT_TRY(log_of(before.attempt, before.attempt));
        before.points = TURNOUT_TRY(points());
        Json order = Json::object({{"kind", kind}});
        if (!begins_anew()) order.set("seconds", seconds);
        const Instant begin = api.now();
        const Json harm = TURNOUT_TRY(api.post(job_path("/drill"), order));
        context.status("done to node " + harm.at("node").as_string() + "; waiting for job " + name + " to go on");
        const Seen after = TURNOUT_TRY(wait_until_it_goes_on(before, begin));
        const Span took = api.now() - begin;

        // What was under way may come a little later.
        std::size_t log_lost = before.log.size();
        std::set<std::string> points_lost = before.points;
        for (const Instant asked = api.now(); api.now() - asked < kCatchUp; rest(500ms)) {
            const Result<std::string> log = log_of(before.attempt, after.attempt);
            const Result<std::set<std::string>> now = points();
            if (log) {
                const auto apart = std::mismatch(before.log.begin(), before.log.end(), log->begin(), log->end()).first;
                log_lost = static_cast<std::size_t>(before.log.end() - apart);
            }
            if (now) {
                points_lost.clear();
                std::set_difference(before.points.begin(), before.points.end(), now->begin(), now->end(), std::inserter(points_lost, points_lost.end()));
            }
            if (log && now && log_lost == 0 && points_lost.empty()) break;
        }

        const bool same = after.attempt == before.attempt;
        const bool well = after.status == "Running" || after.status == "Finalizing" || after.status == "Completed";
        const bool as_expected = begins_anew() ? well && !(same && after.status == "Running") : well && same;
        const bool passed = as_expected && log_lost == 0 && points_lost.empty();
        Json verdict = Json::object({{"drill", kind}, {"job", name}, {"verdict", passed ? "passed" : "failed"}, {"done", harm}});
        verdict.set("lost", Json::object({{"log_bytes", static_cast<std::int64_t>(log_lost)}, {"metric_points", static_cast<std::int64_t>(points_lost.size())}}));
        verdict.set("known_before", Json::object({{"log_bytes", static_cast<std::int64_t>(before.log.size())}, {"metric_points", static_cast<std::int64_t>(before.points.size())}}));
        verdict.set("before", Json::object({{"status", before.status}, {"attempt", before.attempt}, {"node", before.node}}));
        verdict.set("after", Json::object({{"status", after.status}, {"attempt", after.attempt}, {"node", after.node}}));
        verdict.set("seconds", static_cast<double>(took.count() / 1000) / 1000);
        return verdict;
    }
};

std::string counted(std::int64_t count, const std::string& noun) { return with_commas(count) + " " + noun + (count == 1 ? "" : "s"); }

std::string picture(const Json& verdict) {
    const Json& done = verdict.at("done");
    const Json& lost = verdict.at("lost");
    const Json& known = verdict.at("known_before");
    const Json& after = verdict.at("after");
    const std::string kind = verdict.at("drill").as_string(), node = done.at("node").as_string(), status = after.at("status").as_string();
    std::string out = "drill " + kind + " of job " + verdict.at("job").as_string() + ": " + verdict.at("verdict").as_string() + "\n";
    const std::string seconds = std::to_string(done.at("seconds").as_int()) + " s";
    out += "  done     ";
    if (kind == "preempt") out += "the job was told to leave " + node;
    else if (kind == "kill-node") out += with_commas(done.at("processes").as_int()) + " processes of " + node + " were killed";
    else if (kind == "partition") out += "the link of " + node + " was cut for " + seconds;
    else out += "the file system of " + node + " was filled with " + to_size_words(static_cast<std::uint64_t>(done.at("bytes").as_int())) + " for " + seconds;
    out += "\n  lost     ";
    const std::int64_t bytes = lost.at("log_bytes").as_int(), points = lost.at("metric_points").as_int();
    const std::string all = counted(known.at("log_bytes").as_int(), "byte") + " of its log and " + counted(known.at("metric_points").as_int(), "point") + " of its metrics";
    if (bytes == 0 && points == 0) out += "nothing of what was known before: " + all + " are there";
    else out += counted(bytes, "byte") + " of its log and " + counted(points, "point") + " of its metrics, of " + all;
    out += "\n  resumed  ";
    const std::int64_t attempt = after.at("attempt").as_int();
    const Span took(static_cast<std::int64_t>(verdict.at("seconds").as_double() * 1e6));
    if (attempt > verdict.at("before").at("attempt").as_int()) out += "as attempt " + std::to_string(attempt) + " on " + after.at("node").as_string();
    else if (status == "Running" || status == "Finalizing" || status == "Completed") out += "the same attempt went on, on " + after.at("node").as_string();
    else out += "it did not";
    out += ", after " + to_words(took) + "\n  job      is " + status + "\n";
    if (verdict.at("verdict").as_view() == "passed" && (kind == "preempt" || kind == "kill-node"))
        out += "  note     what the command itself had in memory is gone: an attempt begins anew, with the outputs of the last one in place\n";
    return out;
}

int drill(Context& context, const std::string& kind) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Arguments& args = context.args();
    const std::string name = args.operands.empty() ? args.get("--name") : args.operands.front();
    if (name.empty()) return context.fail({Code::InvalidArgument, "Usage", "which job? give its name", "--name"});
    if (kind == "fill-disk" && !args.has("--yes"))
        return context.fail({Code::InvalidArgument, "Usage", "this really fills the file system of the job's node: say --yes", "--yes"});
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    Drill drill{context, **opened, kind, name};
    if (args.has("--seconds")) {
        const Json number = yaml_scalar(args.get("--seconds"));
        if (!number.is_int() || number.as_int() < 1) return context.fail({Code::InvalidArgument, "Usage", "--seconds takes a number from 1", "--seconds"});
        drill.seconds = number.as_int();
    }
    const Result<Json> verdict = drill.run();
    context.end_status();
    if (!verdict) return context.fail(verdict.error());
    if (*format == Format::Table && !args.has("--query")) context.out(picture(*verdict));
    else if (const int shown = context.show(*verdict); shown != 0) return shown;
    return verdict->at("verdict").as_view() == "passed" ? 0 : 1;
}

}  // namespace

int drill_preempt(Context& context) { return drill(context, "preempt"); }
int drill_kill_node(Context& context) { return drill(context, "kill-node"); }
int drill_partition(Context& context) { return drill(context, "partition"); }
int drill_fill_disk(Context& context) { return drill(context, "fill-disk"); }

}  // namespace turnout::cli
