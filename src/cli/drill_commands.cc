// `turnout drill …`: harm to a running job of one's own, and what came of it. What the server knew
// before (log bytes, metrics, the attempt) is compared with what it knows afterwards.
#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

constexpr std::string_view kUserLogs = "user_logs/";  // of a job's commands: one for each process
constexpr std::size_t kMostLog = 16 << 20;            // bytes that are compared, of all of them
constexpr std::size_t kMostMetrics = 50;              // whose points are compared
constexpr Span kPatience = 300s;                      // until it has resumed
constexpr Span kCatchUp = 30s;                        // until what was under way has arrived

struct Seen {
    std::string status, node;
    std::int64_t attempt = 0;
    std::map<std::string, std::string> logs;  // of that attempt: path -> bytes
    std::set<std::string> points;             // of metrics, each as text
};

std::size_t bytes_of(const std::map<std::string, std::string>& logs) {
    std::size_t bytes = 0;
    for (const auto& [path, log] : logs) bytes += log.size();
    return bytes;
}

struct Drill {
    Context& context;
    client::Api& api;
    std::string kind, name;
    std::int64_t seconds = 20;

    std::string job_path(const std::string& rest) const {
        return api.in_workspace("/jobs/" + percent_encode(name) + rest);
    }

    Result<Seen> state() const {
        const Json explained = TURNOUT_TRY(api.get(job_path("/explain")));
        Seen seen;
        seen.status = explained.at("status").as_string();
        if (!explained.at("attempts").items().empty()) {
            const Json& last = explained.at("attempts").items().back();
            seen.attempt = last.at("attempt").as_int();
            if (!last.at("nodes").items().empty())
                seen.node = last.at("nodes").items().front().as_string();
        }
        return seen;
    }
    // path -> link
    Result<Json> log_files() const {
        const Json details = TURNOUT_TRY(api.get(
            "/history/v1.0" + api.in_workspace("/runs/" + percent_encode(name) + "/details")));
        return details.at("logFiles");
    }
    Result<std::string> read_log(const std::string& url, std::size_t most) const {
        std::string log;
        while (!url.empty() && log.size() < most) {
            const auto [bytes, headers] =
                TURNOUT_TRY(api.fetch(url + (url.find('?') == std::string::npos ? "?" : "&") +
                                      "wait=0&offset=" + std::to_string(log.size())));
            if (bytes.empty()) break;
            log += bytes;
        }
        if (log.size() > most) log.resize(most);
        return log;
    }
    // The logs of the last attempt as far as the server has them.
    Result<std::map<std::string, std::string>> logs() const {
        const Json files = TURNOUT_TRY(log_files());
        std::map<std::string, std::string> urls;
        for (const auto& [path, url] : files.members())
            if (path.starts_with(kUserLogs)) urls.emplace(path, url.as_string());
        std::map<std::string, std::string> found;
        for (const auto& [path, url] : urls)
            found.emplace(path, TURNOUT_TRY(read_log(url, kMostLog / urls.size())));
        return found;
    }
    // How many of the bytes that were known are not there any more, or are others.
    Result<std::size_t> lost_of_logs(const Seen& before, std::int64_t attempt_now) const {
        const Json files = TURNOUT_TRY(log_files());
        // Until the next attempt has logged something, the last logs are still this one's.
        const std::string moved = "retries/" + std::to_string(before.attempt) + "/";
        bool has_moved = false;
        for (const auto& [path, url] : files.members())
            has_moved = has_moved || path.starts_with(moved);
        std::size_t lost = 0;
        for (const auto& [path, known] : before.logs) {
            const std::string& url =
                files.at(attempt_now != before.attempt && has_moved ? moved + path : path)
                    .as_string();
            const std::string now = TURNOUT_TRY(read_log(url, known.size()));
            const auto apart =
                std::mismatch(known.begin(), known.end(), now.begin(), now.end()).first;
            lost += static_cast<std::size_t>(known.end() - apart);
        }
        return lost;
    }
    Result<std::set<std::string>> points() const {
        const std::string mlflow = "/mlflow/v1.0" + api.in_workspace("/api/2.0/mlflow/");
        const Json run = TURNOUT_TRY(api.get(mlflow + "runs/get?run_id=" + percent_encode(name)));
        std::set<std::string> found;
        std::size_t count = 0;
        for (const Json& metric : run.at("run").at("data").at("metrics").items()) {
            if (++count > kMostMetrics) break;
            const std::string key = metric.at("key").as_string();
            const Json history =
                TURNOUT_TRY(api.get(mlflow + "metrics/get-history?run_id=" + percent_encode(name) +
                                    "&metric_key=" + percent_encode(key)));
            for (const Json& point : history.at("metrics").items())
                found.insert(key + " " + point.at("step").dump() + " " +
                             point.at("timestamp").dump() + " " + point.at("value").dump());
        }
        return found;
    }
    void rest(Span span) const { api.loop().run(api.loop().sleep(span)); }

    static bool ended(const std::string& status) {
        return status == "Completed" || status == "Failed" || status == "Canceled";
    }
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
                const bool goes_on =
                    now->status == "Running" &&
                    (begins_anew() ? now->attempt > before.attempt : held && reachable(*now));
                if ((ended(now->status) && held) || goes_on || passed > kPatience) return now;
                context.status("job " + name + " is " + now->status + " (" +
                               to_words(std::chrono::round<std::chrono::seconds>(passed)) + ")");
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
        before.logs = TURNOUT_TRY(logs());
        before.points = TURNOUT_TRY(points());
        Json order = Json::object({{"kind", kind}});
        if (!begins_anew()) order.set("seconds", seconds);
        const Instant begin = api.now();
        const Json harm = TURNOUT_TRY(api.post(job_path("/drill"), order));
        context.status("done to node " + harm.at("node").as_string() + "; waiting for job " + name +
                       " to go on");
        const Seen after = TURNOUT_TRY(wait_until_it_goes_on(before, begin));
        const Span took = api.now() - begin;

        // What was under way may come a little later.
        const std::size_t log_known = bytes_of(before.logs);
        std::size_t log_lost = log_known;
        std::set<std::string> points_lost = before.points;
        for (const Instant asked = api.now(); api.now() - asked < kCatchUp; rest(500ms)) {
            const Result<std::size_t> lost = lost_of_logs(before, after.attempt);
            const Result<std::set<std::string>> now = points();
            if (lost) log_lost = *lost;
            if (now) {
                points_lost.clear();
                std::set_difference(before.points.begin(), before.points.end(), now->begin(),
                                    now->end(), std::inserter(points_lost, points_lost.end()));
            }
            if (lost && now && log_lost == 0 && points_lost.empty()) break;
        }

        const bool same = after.attempt == before.attempt;
        const bool well = after.status == "Running" || after.status == "Finalizing" ||
                          after.status == "Completed";
        const bool as_expected =
            begins_anew() ? well && !(same && after.status == "Running") : well && same;
        // Where nothing was known, nothing could be lost: that proves nothing.
        const bool proves = log_known > 0 || !before.points.empty();
        const bool well_kept = as_expected && log_lost == 0 && points_lost.empty();
        Json verdict = Json::object({{"drill", kind},
                                     {"job", name},
                                     {"verdict", !well_kept ? "failed"
                                                 : proves   ? "passed"
                                                            : "inconclusive"},
                                     {"done", harm}});
        verdict.set(
            "lost",
            Json::object({{"log_bytes", static_cast<std::int64_t>(log_lost)},
                          {"metric_points", static_cast<std::int64_t>(points_lost.size())}}));
        verdict.set(
            "known_before",
            Json::object({{"log_bytes", static_cast<std::int64_t>(log_known)},
                          {"logs", static_cast<std::int64_t>(before.logs.size())},
                          {"metric_points", static_cast<std::int64_t>(before.points.size())}}));
        verdict.set("before", Json::object({{"status", before.status},
                                            {"attempt", before.attempt},
                                            {"node", before.node}}));
        verdict.set("after", Json::object({{"status", after.status},
                                           {"attempt", after.attempt},
                                           {"node", after.node}}));
        verdict.set("seconds", static_cast<double>(took.count() / 1000) / 1000);
        return verdict;
    }
};

std::string counted(std::int64_t count, const std::string& noun) {
    return with_commas(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string picture(const Json& verdict) {
    const Json& done = verdict.at("done");
    const Json& lost = verdict.at("lost");
    const Json& known = verdict.at("known_before");
    const Json& after = verdict.at("after");
    const std::string kind = verdict.at("drill").as_string(), node = done.at("node").as_string(),
                      status = after.at("status").as_string();
    std::string out = "drill " + kind + " of job " + verdict.at("job").as_string() + ": " +
                      verdict.at("verdict").as_string() + "\n";
    const std::string seconds = std::to_string(done.at("seconds").as_int()) + " s";
    out += "  done     ";
    if (kind == "preempt")
        out += "the job was told to leave " + node;
    else if (kind == "kill-node")
        out +=
            with_commas(done.at("processes").as_int()) + " processes of " + node + " were killed";
    else if (kind == "partition")
        out += "the link of " + node + " was cut for " + seconds;
    else
        out += "the file system of " + node + " was filled with " +
               to_size_words(static_cast<std::uint64_t>(done.at("bytes").as_int())) + " for " +
               seconds;
    out += "\n  lost     ";
    const std::int64_t bytes = lost.at("log_bytes").as_int(),
                       points = lost.at("metric_points").as_int();
    const std::int64_t logs = known.at("logs").as_int();
    const std::string all = counted(known.at("log_bytes").as_int(), "byte") + " of its " +
                            (logs > 1 ? with_commas(logs) + " logs" : "log") + " and " +
                            counted(known.at("metric_points").as_int(), "point") +
                            " of its metrics";
    if (known.at("log_bytes").as_int() == 0 && known.at("metric_points").as_int() == 0)
        out +=
            "nothing was known before, so nothing is proved: drill again once the job has logged "
            "something";
    else if (bytes == 0 && points == 0)
        out += "nothing of what was known before: " + all + " are there";
    else
        out += counted(bytes, "byte") + " of its log and " + counted(points, "point") +
               " of its metrics, of " + all;
    out += "\n  resumed  ";
    const std::int64_t attempt = after.at("attempt").as_int();
    const Span took(static_cast<std::int64_t>(verdict.at("seconds").as_double() * 1e6));
    if (attempt > verdict.at("before").at("attempt").as_int())
        out += "as attempt " + std::to_string(attempt) + " on " + after.at("node").as_string();
    else if (status == "Running" || status == "Finalizing" || status == "Completed")
        out += "the same attempt went on, on " + after.at("node").as_string();
    else
        out += "it did not";
    out += ", after " + to_words(took) + "\n  job      is " + status + "\n";
    if (verdict.at("verdict").as_view() != "failed" && (kind == "preempt" || kind == "kill-node"))
        out +=
            "  note     what the command itself had in memory is gone: an attempt begins anew, "
            "with the outputs of the last one in place\n";
    return out;
}

int drill(Context& context, const std::string& kind) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Arguments& args = context.args();
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    if (kind == "fill-disk" && !args.has("--yes"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "this really fills the file system of the job's node: say --yes",
                             "--yes"});
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    Drill drill{context, **opened, kind, *name};
    if (args.has("--seconds")) {
        const Json number = yaml_scalar(args.get("--seconds"));
        if (!number.is_int() || number.as_int() < 1)
            return context.fail(
                {Code::InvalidArgument, "Usage", "--seconds takes a number from 1", "--seconds"});
        drill.seconds = number.as_int();
    }
    const Result<Json> verdict = drill.run();
    context.end_status();
    if (!verdict) return context.fail(verdict.error());
    if (*format == Format::Table && !args.has("--query"))
        context.out(picture(*verdict));
    else if (const int shown = context.show(*verdict); shown != 0)
        return shown;
    return verdict->at("verdict").as_view() == "passed" ? 0 : 1;
}

}  // namespace

int drill_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const std::string pool = context.args().has("--pool") ? context.args().get("--pool") : "local";
    const Result<Json> drills =
        (*opened)->get("/turnout/pools/" + percent_encode(pool) + "/drills");
    if (!drills) return context.fail(drills.error());
    return context.show(drills->at("value"), drills->at("value"), {"name", "does", "by"});
}
int drill_preempt(Context& context) {
    return drill(context, "preempt");
}
int drill_kill_node(Context& context) {
    return drill(context, "kill-node");
}
int drill_partition(Context& context) {
    return drill(context, "partition");
}
int drill_fill_disk(Context& context) {
    return drill(context, "fill-disk");
}

}  // namespace turnout::cli
