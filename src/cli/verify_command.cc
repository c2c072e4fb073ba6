// `turnout verify`: whether each compute does what it claims, by jobs that really run there. One
// has all that a job has and is held against what came of it; one is canceled; the node of a third
// is taken away from it, and it has to begin again.
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"
#include "io/posix/files.h"
#include "resources/compute_types.h"

namespace turnout::cli {

namespace {

constexpr Span kUsualPatience = 5min;
constexpr std::string_view kMetric = "probe";

// What is measured of a target, in the order of the table.
constexpr std::array<std::string_view, 8> kProbes = {
    "snapshot", "environment", "input", "output", "metric", "log", "cancel", "restart"};

// Standard library alone: no environment has to be built for it.
constexpr const char* kProbe = R"(import json, os, sys, time, urllib.request
import beside
source, target = sys.argv[1:3]
word = open(source).read().strip()
with open(os.path.join(target, "answer.txt"), "w") as file:
    file.write(word[::-1])
print("input", word)
print("snapshot", beside.WORD)
print("variable", os.environ.get("TURNOUT_PROBE"), flush=True)
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "probe", "value": 42.5, "timestamp": int(time.time() * 1000), "step": 1}
request = urllib.request.Request(
    os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(),
    {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]})
urllib.request.urlopen(request, timeout=60).read()
)";

bool ended(const std::string& status) {
    return status == "Completed" || status == "Failed" || status == "Canceled";
}

struct Verify {
    Context& context;
    client::Api& api;
    std::string folder, word, environment;
    Span patience = kUsualPatience;

    std::string path_of(const std::string& job, const std::string& rest = "") const {
        return api.in_workspace("/jobs/" + percent_encode(job) + rest);
    }
    void rest() const { api.loop().run(api.loop().sleep(100ms)); }

    // Submits what stands in that YAML, beside the probe's files.
    Result<std::string> submit(const std::string& target, const std::string& what,
                               const std::string& yaml) const {
        Loaded job;
        std::string text = yaml + "environment: " + environment +
                           "\nexperiment_name: turnout-verify\ndisplay_name: verify-" + what + "\n";
        if (target != "serverless") text += "compute: azureml:" + target + "\n";
        job.document = TURNOUT_TRY(parse_yaml(text, "the probe"));
        job.description = TURNOUT_TRY(resources::description_for("job", job.document));
        const resources::LocalFiles files = client::local_files(folder);
        resources::Reading reading(job.document, files);
        resources::check(*job.description, reading);
        TURNOUT_TRY(resources::result_of(reading));
        job.local = std::move(reading.local);
        job.references = std::move(reading.references);
        job.inline_environments = std::move(reading.inline_environments);
        TURNOUT_TRY(prepare(context, job));
        const Json body = resources::to_rest(*job.description, job.document, "",
                                             {api.settings().workspace_path()});
        const std::string name = "verify-" + what + "-" + api.uuid().substr(0, 13);
        TURNOUT_TRY(api.put(path_of(name), body));
        return name;
    }

    Result<Json> job(const std::string& name) const { return api.get(path_of(name)); }
    static std::string status_of(const Json& job) {
        return job.at("properties").at("status").as_string();
    }
    // Until `over` says so of the job; an error if that takes too long.
    template <class Over>
    Result<Json> wait(const std::string& name, const std::string& what, Over over) const {
        const Instant begin = api.now();
        for (;;) {
            Json now = TURNOUT_TRY(job(name));
            const std::string status = status_of(now);
            if (over(now, status)) return now;
            const Span passed = api.now() - begin;
            if (passed > patience) {
                // Nobody waits for it any more: it is to hold no node.
                (void)api.post(path_of(name, "/cancel"));
                return fail(Code::Unavailable, "Timeout",
                            "job " + name + " is " + status + " after " + to_words(passed) +
                                ", and was to be " + what);
            }
            context.status("job " + name + " is " + status + ", for " +
                           to_words(std::chrono::round<std::chrono::seconds>(passed)));
            rest();
        }
    }

    Result<std::string> log_of(const std::string& name) const {
        const Json details = TURNOUT_TRY(api.get(
            "/history/v1.0" + api.in_workspace("/runs/" + percent_encode(name) + "/details")));
        std::string log;
        for (const auto& [path, url] : details.at("logFiles").members()) {
            if (!path.starts_with("user_logs/")) continue;
            const std::string at = url.as_string();
            auto [bytes, headers] = TURNOUT_TRY(api.fetch(
                at + (at.find('?') == std::string::npos ? "?" : "&") + "wait=0&offset=0"));
            log += bytes;
        }
        return log;
    }

    Result<bool> has_metric(const std::string& name) const {
        const Json run = TURNOUT_TRY(api.get("/mlflow/v1.0" + api.in_workspace("/api/2.0/mlflow/") +
                                             "runs/get?run_id=" + percent_encode(name)));
        for (const Json& metric : run.at("run").at("data").at("metrics").items())
            if (metric.at("key").as_view() == kMetric)
                return metric.at("value").as_double() == 42.5;
        return false;
    }

    // An output without a path of its own is at the job's.
    Result<std::string> answer_of(const std::string& name) const {
        const std::string into = folder + "/" + name;
        TURNOUT_TRY(fetch_folder(context, api, "workspaceblobstore", "azureml/" + name + "/answer/",
                                 into, "fetching the output"));
        return client::read_file(into + "/answer.txt");
    }

    // ---- the probes: each puts what it found into `found`, and why it did not into `why` ----
    Result<void> all_that_a_job_has(const std::string& target, Json& found, Json& why) {
        const Instant begin = api.now();
        const std::string name =
            TURNOUT_TRY(submit(target, "all",
                               "code: ./probe\n"
                               "command: python3 probe.py ${{inputs.word}} ${{outputs.answer}}\n"
                               "inputs: {word: {type: uri_file, path: ./word.txt}}\n"
                               "outputs: {answer: {type: uri_folder}}\n"
                               "environment_variables: {TURNOUT_PROBE: " +
                                   word + "}\n"));
        found.set("job", name);
        std::optional<Span> first;
        const Json job =
            TURNOUT_TRY(wait(name, "over", [&](const Json&, const std::string& status) {
                if (!first && (status == "Running" || status == "Finalizing" || ended(status)))
                    first = api.now() - begin;
                return ended(status);
            }));
        found.set("start_seconds", seconds_of(first.value_or(Span{})));
        found.set("job_seconds", seconds_of(api.now() - begin));
        const std::string log = log_of(name).value_or("");
        const auto say = [&](const char* probe, bool good, const std::string& otherwise) {
            found.set(probe, good ? "yes" : "no");
            if (!good) why.set(probe, otherwise);
        };
        const std::string status = status_of(job);
        const std::string cause =
            resources::at_path(job, "properties.error.message").as_string(status);
        say("log", !log.empty(), "the job's log is empty (" + cause + ")");
        say("snapshot", log.find("snapshot " + word) != std::string::npos,
            "its code did not run as it was submitted: " + cause);
        say("environment", log.find("variable " + word) != std::string::npos,
            "its environment was not what it said: " + cause);
        say("input", log.find("input " + word) != std::string::npos,
            "it did not read its input: " + cause);
        const Result<std::string> answer = answer_of(name);
        say("output", answer && *answer == std::string(word.rbegin(), word.rend()),
            answer ? "its output has other bytes" : answer.error().message);
        const Result<bool> metric = has_metric(name);
        say("metric", metric && *metric,
            metric ? "the metric that it logged is not there" : metric.error().message);
        return {};
    }

    Result<std::string> one_that_runs(const std::string& target, const std::string& what) {
        const std::string name =
            TURNOUT_TRY(submit(target, what, "command: echo it begins; sleep 600\n"));
        const Json job = TURNOUT_TRY(wait(name, "Running", [](const Json&, const std::string& now) {
            return now == "Running" || ended(now);
        }));
        if (status_of(job) != "Running")
            return fail(Code::FailedPrecondition, "NotRunning",
                        "job " + name + " is " + status_of(job) + ": " +
                            resources::at_path(job, "properties.error.message").as_string());
        return name;
    }

    Result<void> stop(const std::string& name) {
        TURNOUT_TRY(api.post(path_of(name, "/cancel")));
        const Json job = TURNOUT_TRY(
            wait(name, "Canceled", [](const Json&, const std::string& now) { return ended(now); }));
        if (status_of(job) == "Canceled") return {};
        return fail(Code::Internal, "NotCanceled", "job " + name + " is " + status_of(job));
    }

    Result<void> canceled(const std::string& target, Json& found) {
        const std::string name = TURNOUT_TRY(one_that_runs(target, "cancel"));
        const Instant begin = api.now();
        TURNOUT_TRY(stop(name));
        found.set("cancel", "yes");
        found.set("cancel_seconds", seconds_of(api.now() - begin));
        return {};
    }

    // The worst that the target's provider offers.
    Result<void> restarted(const std::string& target, const std::string& pool, Json& found) {
        std::string harm = "preempt";
        if (const Result<Json> drills =
                api.get("/turnout/pools/" + percent_encode(pool) + "/drills"))
            for (const Json& one : drills->at("value").items())
                if (one.at("name").as_view() == "kill-node") harm = "kill-node";
        const std::string name = TURNOUT_TRY(one_that_runs(target, "restart"));
        const Instant begin = api.now();
        TURNOUT_TRY(api.post(path_of(name, "/drill"), Json::object({{"kind", harm}})));
        const Json job =
            TURNOUT_TRY(wait(name, "Running again", [](const Json& one, const std::string& now) {
                const Json attempts = yaml_scalar(resources::at_path(one, "properties.properties")
                                                      .at("turnout.attempts")
                                                      .as_view());
                return ended(now) || (now == "Running" && attempts.as_int() > 1);
            }));
        const Span took = api.now() - begin;
        if (status_of(job) != "Running")
            return fail(Code::Internal, "NotBegunAgain",
                        "after " + harm + " job " + name + " is " + status_of(job));
        found.set("restart", "yes");
        found.set("restart_after", harm);
        found.set("restart_seconds", seconds_of(took));
        return stop(name);
    }

    static Json seconds_of(Span span) {
        return Json(static_cast<double>(span.count() / 1000) / 1000);
    }

    Json measure(const std::string& target, const Json& compute) {
        const std::string kind =
            compute.is_null() ? target : compute.at("properties").at("computeType").as_string();
        Json found = Json::object({{"target", target}, {"type", kind}});
        for (const std::string_view probe : kProbes) found.set(probe, "no");
        Json why = Json::object();
        std::string pool = resources::at_path(compute, "properties.properties.propertyBag.pool")
                               .as_string("local");
        const auto note = [&](const char* probe, const Result<void>& result) {
            if (!result) why.set(probe, result.error().message);
        };
        note("job", all_that_a_job_has(target, found, why));
        note("cancel", canceled(target, found));
        note("restart", restarted(target, pool, found));
        const bool good = std::ranges::all_of(
            kProbes, [&](std::string_view probe) { return found.at(probe).as_view() == "yes"; });
        found.set("verdict", good ? "keeps what it claims" : "breaks what it claims");
        if (!good) found.set("why", std::move(why));
        return found;
    }
};

// Removed with the probe's files, whatever becomes of them.
struct Scratch {
    std::string path;
    ~Scratch() {
        if (!path.empty()) (void)remove_tree(path);
    }
};

Result<std::string> write_probe(const std::string& word) {
    char name[] = "/tmp/turnout-verify-XXXXXX";
    if (!::mkdtemp(name))
        return fail(Code::Internal, "FileError", "no folder can be made beneath /tmp");
    const std::string folder = name;
    TURNOUT_TRY(client::write_file(folder + "/probe/probe.py", kProbe));
    TURNOUT_TRY(client::write_file(folder + "/probe/beside.py", "WORD = \"" + word + "\"\n"));
    TURNOUT_TRY(client::write_file(folder + "/word.txt", word + "\n"));
    return folder;
}

}  // namespace

int verify(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> computes = api.list(api.in_workspace("/computes"));
    if (!computes) return context.fail(computes.error());
    std::vector<std::string> wanted = context.args().all("--targets"), known = {"serverless"};
    for (const Json& one : computes->items()) known.push_back(one.at("name").as_string());
    if (wanted.empty()) wanted = known;
    for (const std::string& name : wanted)
        if (std::ranges::find(known, name) == known.end())
            return context.fail({Code::NotFound, "ComputeNotFound",
                                 "compute '" + name + "' does not exist" +
                                     did_you_mean(name, known, ": there is " + join(known, ", ")),
                                 "--targets"});
    Verify verify{context, api, "", "probe-" + api.uuid().substr(0, 8), "", kUsualPatience};
    verify.environment = context.args().has("--environment")
                             ? context.args().get("--environment")
                             : std::string("{image: \"debian:12\"}");
    if (context.args().has("--timeout")) {
        const Json seconds = yaml_scalar(context.args().get("--timeout"));
        if (!seconds.is_int() || seconds.as_int() < 1)
            return context.fail(
                {Code::InvalidArgument, "Usage", "--timeout takes seconds, from 1", "--timeout"});
        verify.patience = std::chrono::seconds(seconds.as_int());
    }
    const Result<std::string> folder = write_probe(verify.word);
    if (!folder) return context.fail(folder.error());
    const Scratch scratch{*folder};
    verify.folder = *folder;

    Json rows = Json::array();
    bool all_good = true;
    for (const std::string& name : wanted) {
        Json compute;
        for (const Json& one : computes->items())
            if (one.at("name").as_view() == name) compute = one;
        context.status("target " + name);
        Json row = verify.measure(name, compute);
        context.end_status();
        for (const auto& [probe, why] : row.at("why").members())
            context.note(name + ": " + probe + ": " + why.as_string());
        all_good = all_good && !row.has("why");
        rows.push(std::move(row));
    }
    std::vector<std::string> columns = {"target", "type"};
    for (const std::string_view probe : kProbes) columns.emplace_back(probe);
    columns.insert(columns.end(), {"start_seconds", "restart_after", "restart_seconds"});
    if (const int shown = context.show(rows, rows, columns); shown != 0) return shown;
    return all_good ? 0 : 1;
}

}  // namespace turnout::cli
