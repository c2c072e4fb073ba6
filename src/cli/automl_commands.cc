// `turnout job leaderboard`: what an AutoML job has tried, the best first.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/text.h"
#include "cli/commands.h"
#include "resources/resources.h"

namespace turnout::cli {
namespace {

constexpr std::size_t kRunsOfPage = 1'000;
constexpr std::size_t kLongestSettings = 90;

// Every child's run, with what it has logged.
Result<Json> runs_of(client::Api& api, const std::string& name) {
    const std::string path = "/mlflow/v1.0" + api.in_workspace("/api/2.0/mlflow/runs/");
    const Json parent = TURNOUT_TRY(api.get(path + "get?run_id=" + percent_encode(name)));
    Json body = Json::object(
        {{"experiment_ids",
          Json::array({resources::at_path(parent, "run.info.experiment_id").as_string()})},
         {"filter", "tags.mlflow.parentRunId = '" + name + "'"},
         {"max_results", static_cast<std::int64_t>(kRunsOfPage)}});
    Json runs = Json::array();
    for (;;) {
        const Json page = TURNOUT_TRY(api.post(path + "search", body));
        for (const Json& run : page.at("runs").items()) runs.push(run);
        const std::string next = page.at("next_page_token").as_string();
        if (next.empty()) return runs;
        body.set("page_token", next);
    }
}

std::string in_list(const Json& pairs, std::string_view key) {
    for (const Json& pair : pairs.items())
        if (pair.at("key").as_view() == key) return pair.at("value").as_string();
    return "";
}

// What the first child has written down of the data; null if there is nothing.
Json guard_rails(client::Api& api, const std::string& name) {
    const Result<Json> found =
        api.get("/mlflow/v1.0" +
                api.in_workspace("/api/2.0/mlflow-artifacts/artifacts/" + percent_encode(name) +
                                 "_0/artifacts/outputs/guardrails.json"));
    return found ? *found : Json();
}

Json entity_of(const Json& run, const std::string& metric, const std::string& best) {
    const Json& data = run.at("data");
    const Json& info = run.at("info");
    Json entity = Json::object({{"run_id", info.at("run_id")},
                                {"algorithm", in_list(data.at("tags"), "run_algorithm")},
                                {"status", info.at("status")}});
    for (const Json& one : data.at("metrics").items()) {
        if (one.at("key").as_view() == metric) entity.set("score", one.at("value"));
        if (one.at("key").as_view() == "fit_time") entity.set("fit_seconds", one.at("value"));
    }
    if (const auto settings = parse_json(in_list(data.at("tags"), "automl_settings")))
        entity.set("settings", *settings);
    if (info.at("run_id").as_view() == best) entity.set("best", true);
    return entity;
}

std::string number_in_words(const Json& number, int digits) {
    if (!number.is_number()) return "";
    char text[48];
    std::snprintf(text, sizeof text, "%.*g", digits, number.as_double());
    return text;
}

std::string picture_of(const Json& board) {
    const std::string metric = board.at("primary_metric").as_string();
    std::vector<std::vector<std::string>> rows = {
        {"", "run", "algorithm", metric, "seconds", "settings"}};
    std::size_t place = 0;
    for (const Json& trial : board.at("trials").items()) {
        const bool scored = trial.at("score").is_number();
        std::string settings;
        for (const auto& [key, value] : trial.at("settings").members())
            settings += (settings.empty() ? "" : " ") + key + "=" +
                        (value.is_number() && !value.is_int() ? number_in_words(value, 3)
                         : value.is_string()                  ? value.as_string()
                                                              : value.dump());
        if (settings.size() > kLongestSettings)
            settings = settings.substr(0, kLongestSettings - 3) + "...";
        rows.push_back({scored ? std::to_string(++place) : "", trial.at("run_id").as_string(),
                        trial.at("algorithm").as_string(),
                        scored ? number_in_words(trial.at("score"), 6)
                               : to_lower(trial.at("status").as_view()),
                        number_in_words(trial.at("fit_seconds"), 3), harmless(settings)});
    }
    std::vector<std::size_t> widths(rows[0].size());
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
        }
        out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    const Json::Array& rails = board.at("guard_rails").items();
    if (!rails.empty()) out += "\nthe data:\n";
    for (const Json& rail : rails)
        out += "  " + rail.at("status").as_string() + ": " + rail.at("check").as_string() + ": " +
               harmless(rail.at("words").as_view()) + "\n";
    return out;
}

}  // namespace

int job_leaderboard(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> job = api.get(api.in_workspace("/jobs/" + percent_encode(*name)));
    if (!job) return context.fail(job.error());
    const Json& properties = job->at("properties");
    const Json& own = properties.at("properties");
    if (own.at("turnout.metric").is_null())
        return context.fail({Code::InvalidArgument, "NoAutoML",
                             "job '" + *name + "' is of type " +
                                 to_lower(properties.at("jobType").as_view()) +
                                 ": only AutoML jobs have a leaderboard",
                             "--name"});
    const Result<Json> runs = runs_of(api, *name);
    if (!runs) return context.fail(runs.error());
    const std::string metric = own.at("turnout.metric").as_string();
    const std::string best = own.at("best_child_run_id").as_string();
    Json trials = Json::array();
    for (const Json& run : runs->items())
        if (run.at("info").at("run_id").as_view() != *name + "_0")
            trials.push(entity_of(run, metric, best));
    const bool up = own.at("turnout.goal").as_view() != "minimize";
    std::stable_sort(trials.items().begin(), trials.items().end(),
                     [&](const Json& a, const Json& b) {
                         const Json &x = a.at("score"), &y = b.at("score");
                         if (!x.is_number() || !y.is_number())
                             return x.is_number() && !y.is_number();
                         return up ? x.as_double() > y.as_double() : x.as_double() < y.as_double();
                     });
    Json board = Json::object({{"name", *name},
                               {"primary_metric", metric},
                               {"goal", own.at("turnout.goal")},
                               {"best_child_run_id", own.at("best_child_run_id")},
                               {"trials", std::move(trials)}});
    if (Json rails = guard_rails(api, *name); rails.is_array())
        board.set("guard_rails", std::move(rails));
    return show_either(context, board, picture_of);
}

}  // namespace turnout::cli
