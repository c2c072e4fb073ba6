// What was tracked: `run`. Runs are MLflow's; a job's run has the job's name.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/plot.h"
#include "client/files.h"
#include "resources/describe.h"

namespace turnout::cli {

namespace {

constexpr std::int64_t kRunsShown = 25, kRunsAtOnce = 1000;
constexpr std::size_t kSparkColumns = 40, kPlotRows = 16, kMostCompared = 20;

Error run_usage(std::string message, std::string option) {
    return {Code::InvalidArgument, "Usage", std::move(message), std::move(option)};
}

std::string mlflow_path(client::Api& api, const std::string& rest) {
    return "/mlflow/v2.0" + api.in_workspace("/api/2.0/mlflow/" + rest);
}

double number_of(const Json& value) {
    if (value.is_number()) return value.as_double();
    const std::string text = value.as_string();
    if (text == "Infinity" || text == "-Infinity") return text[0] == '-' ? -INFINITY : INFINITY;
    return std::nan("");
}

std::string iso_of(const Json& milliseconds) {
    if (milliseconds.as_int() <= 0) return "";
    return to_iso8601(Instant{milliseconds.as_int() * 1000});
}

// What people ask of a run, by the words that they use.
Json run_entity(const Json& run, const std::map<std::string, std::string>& experiments) {
    const Json &info = run.at("info"), &data = run.at("data");
    const auto pairs = [](const Json& list) {
        Json all = Json::object();
        for (const Json& one : list.items()) all.set(one.at("key").as_string(), one.at("value"));
        return all;
    };
    Json entity =
        Json::object({{"name", info.at("run_id")}, {"display_name", info.at("run_name")}});
    const auto experiment = experiments.find(info.at("experiment_id").as_string());
    entity.set("experiment_name", experiment == experiments.end() ? info.at("experiment_id")
                                                                  : Json(experiment->second));
    entity.set("status", info.at("status"));
    entity.set("started", iso_of(info.at("start_time")));
    if (const std::int64_t end = info.at("end_time").as_int(); end > 0) {
        entity.set("ended", iso_of(info.at("end_time")));
        const Span took = std::chrono::milliseconds(end - info.at("start_time").as_int());
        entity.set("duration", to_words(std::chrono::round<std::chrono::seconds>(took)));
    }
    entity.set("user", info.at("user_id"));
    entity.set("metrics", pairs(data.at("metrics")));
    entity.set("params", pairs(data.at("params")));
    entity.set("tags", pairs(data.at("tags")));
    return entity;
}

using Experiments = std::map<std::string, std::string>;  // id: name

// All of the workspace, or that one.
Result<Experiments> experiments_of(client::Api& api, const std::string& name) {
    if (!name.empty()) {
        const Json found = TURNOUT_TRY(api.get(
            mlflow_path(api, "experiments/get-by-name?experiment_name=" + percent_encode(name))));
        const Json& one = found.at("experiment");
        return Experiments{{one.at("experiment_id").as_string(), one.at("name").as_string()}};
    }
    Experiments all;
    Json body = Json::object({{"max_results", kRunsAtOnce}});
    for (;;) {
        const Json page = TURNOUT_TRY(api.post(mlflow_path(api, "experiments/search"), body));
        for (const Json& one : page.at("experiments").items())
            all[one.at("experiment_id").as_string()] = one.at("name").as_string();
        if (page.at("next_page_token").as_string().empty()) return all;
        body.set("page_token", page.at("next_page_token"));
    }
}

struct RunsWanted {
    std::string experiment, filter;
    std::vector<std::string> order_by;
    std::int64_t most = kRunsShown;
};

struct RunsFound {
    Json entities = Json::array();
    bool more = false;
};

Result<RunsFound> search_runs(client::Api& api, const RunsWanted& wanted) {
    const Experiments experiments = TURNOUT_TRY(experiments_of(api, wanted.experiment));
    RunsFound found;
    if (experiments.empty()) return found;
    Json ids = Json::array(), order = Json::array();
    for (const auto& [id, name] : experiments) ids.push(id);
    for (const std::string& one : wanted.order_by) order.push(one);
    Json body = Json::object({{"experiment_ids", std::move(ids)}, {"order_by", std::move(order)}});
    if (!wanted.filter.empty()) body.set("filter", wanted.filter);
    for (;;) {
        const auto left = wanted.most - static_cast<std::int64_t>(found.entities.items().size());
        body.set("max_results", std::clamp<std::int64_t>(left, 1, kRunsAtOnce));
        const Json page = TURNOUT_TRY(api.post(mlflow_path(api, "runs/search"), body));
        for (const Json& run : page.at("runs").items())
            if (static_cast<std::int64_t>(found.entities.items().size()) < wanted.most)
                found.entities.push(run_entity(run, experiments));
        const std::string next = page.at("next_page_token").as_string();
        found.more = !next.empty();
        if (next.empty() || static_cast<std::int64_t>(found.entities.items().size()) >= wanted.most)
            return found;
        body.set("page_token", next);
    }
}

Result<Json> load_run(client::Api& api, const std::string& name) {
    const Json found =
        TURNOUT_TRY(api.get(mlflow_path(api, "runs/get?run_id=" + percent_encode(name))));
    const Json& run = found.at("run");
    const std::string experiment = run.at("info").at("experiment_id").as_string();
    Experiments names;
    if (const Result<Json> one = api.get(
            mlflow_path(api, "experiments/get?experiment_id=" + percent_encode(experiment))))
        names[experiment] = one->at("experiment").at("name").as_string();
    return run_entity(run, names);
}

Result<std::vector<Json>> load_runs(Context& context, client::Api& api, std::size_t least) {
    const std::vector<std::string> names = TURNOUT_TRY(context.names());
    if (names.size() < least || names.size() > kMostCompared)
        return Failure(run_usage("which runs? expected from " + std::to_string(least) + " to " +
                                     std::to_string(kMostCompared) + " names, found " +
                                     std::to_string(names.size()),
                                 "--name"));
    std::vector<Json> runs;
    for (const std::string& name : names) runs.push_back(TURNOUT_TRY(load_run(api, name)));
    return runs;
}

// What was logged under that name, in the order of its steps.
Result<PlotLine> history_of(Context& context, client::Api& api, const Json& run,
                            const std::string& metric) {
    PlotLine line{run.at("name").as_string(), {}};
    std::string token;
    std::vector<double> values;
    bool has_steps = false;
    std::vector<std::int64_t> steps;
    do {
        const Json page = TURNOUT_TRY(api.get(
            mlflow_path(api, "metrics/get-history?run_id=" + percent_encode(line.name) +
                                 "&metric_key=" + percent_encode(metric) +
                                 (token.empty() ? "" : "&page_token=" + percent_encode(token)))));
        for (const Json& one : page.at("metrics").items()) {
            values.push_back(number_of(one.at("value")));
            steps.push_back(one.at("step").as_int());
            has_steps = has_steps || steps.back() != 0;
        }
        token = page.at("next_page_token").as_string();
        if (!token.empty())
            context.status("reading '" + metric + "' of '" + line.name + "': " +
                           with_commas(static_cast<std::int64_t>(values.size())) + " points");
    } while (!token.empty());
    context.end_status();
    // Who gave no steps has them all at 0: there the order tells.
    for (std::size_t i = 0; i < values.size(); ++i)
        line.points.emplace_back(has_steps ? static_cast<double>(steps[i]) : static_cast<double>(i),
                                 values[i]);
    std::ranges::stable_sort(line.points, {}, &std::pair<double, double>::first);
    return line;
}

Json value_words(const Json& value) {
    return value.is_number() && !value.is_int() ? Json(number_text(value.as_double())) : value;
}

// "metrics.loss", "params.lr", "tags.x", or a member of the run.
const Json& member_of(const Json& run, const std::string& column) {
    for (const char* const group : {"metrics", "params", "tags"})
        if (column.starts_with(std::string(group) + "."))
            return run.at(group).at(column.substr(std::string_view(group).size() + 1));
    return run.at(column);
}

bool as_table(Context& context) {
    const Result<Format> format = context.output_format();
    return !context.args().has("--query") && format && *format == Format::Table;
}

// A column for each side. Rows that are the same in all say nothing, unless all are asked for.
int show_side_by_side(Context& context, const std::vector<Json>& sides,
                      const std::vector<std::string>& rows,
                      const Json& (*value_of)(const Json& side, const std::string& row), bool all,
                      const std::string& nothing) {
    Json list = Json::array();
    for (const Json& side : sides) list.push(side);
    if (!as_table(context)) return context.show(list);
    Json table = Json::array();
    for (const std::string& row : rows) {
        const std::string first = value_of(sides.front(), row).dump();
        if (!all && std::ranges::all_of(sides, [&](const Json& side) {
                return value_of(side, row).dump() == first;
            }))
            continue;
        Json line = Json::object({{"what", row}});
        for (const Json& side : sides)
            line.set(side.at("name").as_string(), value_words(value_of(side, row)));
        table.push(std::move(line));
    }
    if (table.items().empty()) {
        context.note(nothing);
        return 0;
    }
    std::vector<std::string> columns = {"what"};
    for (const Json& side : sides) columns.push_back(side.at("name").as_string());
    return context.show(table, list, columns);
}

// Each leaf of it, by its path.
void flatten(const Json& from, const std::string& path, Json& into) {
    if (from.is_object() && !from.members().empty()) {
        for (const auto& [name, value] : from.members())
            flatten(value, path.empty() ? name : path + "." + name, into);
    } else if (from.is_array() && !from.items().empty()) {
        for (std::size_t i = 0; i < from.items().size(); ++i)
            flatten(from.items()[i], path + "[" + std::to_string(i) + "]", into);
    } else {
        into.set(path, from);
    }
}

}  // namespace

int run_list(Context& context) {
    const Arguments& args = context.args();
    RunsWanted wanted{args.get("--experiment-name"), args.get("--filter"), args.all("--order-by")};
    if (args.has("--max-results")) {
        const auto most = parse_whole_number(args.get("--max-results"));
        if (!most || *most < 1)
            return context.fail(run_usage("--max-results takes a whole number from 1, not '" +
                                              args.get("--max-results") + "'",
                                          "--max-results"));
        wanted.most = *most;
    }
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    const Result<RunsFound> found = search_runs(**api, wanted);
    if (!found) return context.fail(found.error());
    if (!as_table(context)) return context.show(found->entities);
    std::vector<std::string> more;
    if (args.has("--columns")) {
        more = split(args.get("--columns"), ',');
    } else {
        std::set<std::string> metrics;
        for (const Json& run : found->entities.items())
            for (const auto& [name, value] : run.at("metrics").members())
                metrics.insert("metrics." + name);
        more.assign(metrics.begin(), metrics.end());
    }
    std::vector<std::string> columns = {"name", "status"};
    columns.insert(columns.end(), more.begin(), more.end());
    columns.insert(columns.end(), {"experiment_name", "started", "duration", "user"});
    Json rows = Json::array();
    for (const Json& run : found->entities.items()) {
        Json row = Json::object();
        for (const std::string& column : columns)
            row.set(column, value_words(member_of(run, column)));
        row.set("started", utc_time(row.at("started").as_string()));
        rows.push(std::move(row));
    }
    const int shown = context.show(rows, found->entities, columns);
    if (found->more && !args.has("--max-results"))
        context.note("the first " + std::to_string(kRunsShown) +
                     " are shown: --max-results N shows more");
    return shown;
}

int run_show(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    const Result<Json> run = load_run(**api, *name);
    if (!run) return context.fail(run.error());
    if (!context.answers_a_person()) return context.show(*run);
    std::string text =
        *name + "  " +
        in_colour(run->at("status").as_string(), harmless(run->at("status").as_string())) + "\n";
    for (const char* const member :
         {"display_name", "experiment_name", "started", "duration", "user"})
        if (const std::string value = run->at(member).as_string(); !value.empty())
            text += "  " + padded(member, 16) + " " + harmless(utc_time(value)) + "\n";
    const auto widest = [](const Json& all) {
        std::size_t width = 0;
        for (const auto& [key, value] : all.members())
            width = std::max(width, width_of(harmless(key)));
        return std::min<std::size_t>(width, 40);
    };
    if (const Json& params = run->at("params"); !params.members().empty()) {
        text += "params\n";
        for (const auto& [key, value] : params.members())
            text += "  " + padded(harmless(key), widest(params)) + "  " +
                    harmless(value.as_string()) + "\n";
    }
    if (const Json& metrics = run->at("metrics"); !metrics.members().empty()) {
        text += "metrics\n";
        for (const auto& [key, value] : metrics.members()) {
            const Result<PlotLine> line = history_of(context, **api, *run, key);
            if (!line) return context.fail(line.error());
            std::vector<double> values;
            for (const auto& [x, y] : line->points) values.push_back(y);
            text += "  " + padded(harmless(key), widest(metrics)) + "  " +
                    left_padded(number_text(number_of(value)), 10);
            if (values.size() > 1)
                text += "  " + sparkline(values, kSparkColumns) + "  " +
                        with_commas(static_cast<std::int64_t>(values.size())) + " points";
            text += "\n";
        }
        text += "`turnout run plot " + harmless(*name) + " --metric NAME` draws one\n";
    }
    context.out(text);
    return 0;
}

int run_compare(Context& context) {
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    const Result<std::vector<Json>> runs = load_runs(context, **api, 2);
    if (!runs) return context.fail(runs.error());
    std::set<std::string> logged;  // metrics before params
    for (const Json& run : *runs)
        for (const char* const group : {"params", "metrics"})
            for (const auto& [name, value] : run.at(group).members())
                logged.insert(std::string(group) + "." + name);
    std::vector<std::string> rows = {"display_name", "experiment_name", "status", "duration"};
    rows.insert(rows.end(), logged.begin(), logged.end());
    return show_side_by_side(context, *runs, rows, member_of, context.args().has("--all"),
                             "nothing that was logged differs (--all shows what is the same)");
}

int run_best(Context& context) {
    const Arguments& args = context.args();
    const std::string metric = args.get("--metric");
    if (metric.empty())
        return context.fail(run_usage("of which metric? give --metric NAME", "--metric"));
    if (metric.find('`') != std::string::npos)
        return context.fail(run_usage("--metric '" + metric + "' has a '`' in it", "--metric"));
    const std::string goal = args.get("--goal");
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    RunsWanted wanted{args.get("--experiment-name"), args.get("--filter"), {}, 1};
    const std::string parent = args.get("--sweep");
    if (parent.find('\'') != std::string::npos)
        return context.fail(run_usage("there is no sweep '" + parent + "'", "--sweep"));
    for (const std::string& part :
         {parent.empty() ? "" : "tags.mlflow.parentRunId = '" + parent + "'",
          // Its order would put runs without it first.
          "metrics.`" + metric + "` " + (goal == "maximize" ? ">= " : "<= ") +
              (goal == "maximize" ? "-1.7976931348623157e308" : "1.7976931348623157e308")})
        if (!part.empty()) wanted.filter += (wanted.filter.empty() ? "" : " and ") + part;
    wanted.order_by = {"metrics.`" + metric + "` " + (goal == "maximize" ? "DESC" : "ASC")};
    const Result<RunsFound> found = search_runs(**api, wanted);
    if (!found) return context.fail(found.error());
    if (found->entities.items().empty())
        return context.fail(
            {Code::NotFound, "ResourceNotFound",
             "no run has a metric '" + metric + "'" +
                 (parent.empty() ? std::string() : " among the trials of '" + parent + "'"),
             "--metric"});
    const Json& best = found->entities.items().front();
    if (!as_table(context)) return context.show(best);
    const std::string shown = "metrics." + metric;
    Json row = Json::object({{"name", best.at("name")},
                             {shown, value_words(best.at("metrics").at(metric))},
                             {"status", best.at("status")},
                             {"experiment_name", best.at("experiment_name")}});
    std::vector<std::string> columns = {"name", shown, "status"};
    for (const auto& [name, value] : best.at("params").members()) {
        row.set("params." + name, value);
        columns.push_back("params." + name);
    }
    columns.emplace_back("experiment_name");
    Json rows = Json::array();
    rows.push(std::move(row));
    return context.show(rows, best, columns);
}

int run_plot(Context& context) {
    const std::string metric = context.args().get("--metric");
    if (metric.empty())
        return context.fail(run_usage("of which metric? give --metric NAME", "--metric"));
    const std::string file = context.args().get("--file");
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    const Result<std::vector<Json>> runs = load_runs(context, **api, 1);
    if (!runs) return context.fail(runs.error());
    std::vector<PlotLine> lines;
    Json list = Json::array();
    for (const Json& run : *runs) {
        if (run.at("metrics").at(metric).is_null()) {
            std::vector<std::string> known;
            for (const auto& [name, value] : run.at("metrics").members()) known.push_back(name);
            return context.fail(
                {Code::NotFound, "ResourceNotFound",
                 "run '" + run.at("name").as_string() + "' has no metric '" + metric + "'" +
                     (known.empty()
                          ? std::string(": it has none")
                          : did_you_mean(metric, known, ": there is " + join(known, ", "))),
                 "--metric"});
        }
        Result<PlotLine> line = history_of(context, **api, run, metric);
        if (!line) return context.fail(line.error());
        Json points = Json::array();
        for (const auto& [x, y] : line->points) {
            Json point = Json::array();
            point.push(x);
            point.push(y);
            points.push(std::move(point));
        }
        list.push(Json::object({{"name", line->name}, {"metric", metric}, {"points", points}}));
        lines.push_back(std::move(*line));
    }
    if (!file.empty()) {
        if (const Result<void> written = client::write_file(file, plot_svg(lines, metric, "step"));
            !written)
            return context.fail(written.error());
        context.note("wrote " + file);
        return 0;
    }
    if (!as_table(context)) return context.show(list);
    const std::string picture = plot_text(lines, context.screen(), kPlotRows, "step");
    if (picture.empty()) {
        context.note("'" + metric + "' has no value that is a number");
        return 0;
    }
    context.out(harmless(metric) + "\n" + picture);
    return 0;
}

int run_diff(Context& context) {
    const Result<client::Api*> api = context.api();
    if (!api) return context.fail(api.error());
    Result<std::vector<Json>> runs = load_runs(context, **api, 2);
    if (!runs) return context.fail(runs.error());
    std::vector<Json> sides;
    std::set<std::string> rows;
    for (const Json& run : *runs) {
        const std::string name = run.at("name").as_string();
        Json all = Json::object();
        const Result<Json> job = (*api)->get((*api)->in_workspace("/jobs/" + percent_encode(name)));
        if (job) {
            Json entity = resources::to_entity(resources::description_of_rest("job", *job), *job);
            // What is another one in every job, and what came of it.
            for (const char* const own : {"id", "name", "display_name", "status", "services",
                                          "creation_context", "log_files", "tags", "properties"})
                entity.erase(own);
            if (const Json& values = resources::at_path(*job, "properties.parameters");
                !values.is_null())
                entity.set("parameters", values);
            flatten(entity, "", all);
        } else if (job.error().code != Code::NotFound) {
            return context.fail(job.error());
        }
        for (const auto& [key, value] : run.at("params").members()) all.set("params." + key, value);
        for (const auto& [key, value] : all.members()) rows.insert(key);
        Json side = Json::object({{"name", name}});
        for (const auto& [key, value] : all.members()) side.set(key, value);
        sides.push_back(std::move(side));
    }
    return show_side_by_side(
        context, sides, {rows.begin(), rows.end()},
        [](const Json& side, const std::string& row) -> const Json& { return side.at(row); }, false,
        "they were asked for with the same words");
}

}  // namespace turnout::cli
