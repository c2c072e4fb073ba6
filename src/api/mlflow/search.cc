// runs/search and experiments/search.
#include <algorithm>
#include <cmath>
#include <set>

#include "access/actions.h"
#include "api/mlflow/filter.h"
#include "api/mlflow/wire.h"
#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

constexpr std::size_t kMaxResults = 50'000;
constexpr std::size_t kDefaultResults = 1'000;
constexpr std::size_t kPage = 200;  // runs read at a time
constexpr std::size_t kMaxOrders = 10;

enum class View { Active, Deleted, All };

Result<View> parse_view(const Json& value) {
    const std::string text = value.as_string("ACTIVE_ONLY");
    if (text == "ACTIVE_ONLY" || text.empty()) return View::Active;
    if (text == "DELETED_ONLY") return View::Deleted;
    if (text == "ALL") return View::All;
    return invalid("'" + text + "' is not a view: ACTIVE_ONLY, DELETED_ONLY or ALL", "view_type");
}

Result<std::size_t> parse_limit(const Json& body) {
    if (body.at("max_results").is_null()) return kDefaultResults;
    const auto number = to_int64(body.at("max_results"));
    if (!number || *number < 1 || *number > static_cast<std::int64_t>(kMaxResults))
        return invalid("max_results is a number from 1 to 50,000", "max_results");
    return static_cast<std::size_t>(*number);
}

Result<std::size_t> parse_offset(std::string_view token) {
    if (token.empty()) return 0;
    const auto number = to_int64(Json(token));
    if (!number || *number < 0)
        return invalid("'" + std::string(token) + "' is not a page_token of this search",
                       "page_token");
    return static_cast<std::size_t>(*number);
}

Cell text_cell(const Json& value) {
    return value.is_string() ? Cell(value.as_string()) : Cell();
}

Cell run_cell(const RunView& view, const Column& column) {
    const Run& run = *view.run;
    switch (column.entity) {
        case Entity::Metric: {
            const auto at = std::lower_bound(
                run.latest.begin(), run.latest.end(), column.name,
                [](const Metric& metric, const std::string& name) { return metric.key < name; });
            return at != run.latest.end() && at->key == column.name ? Cell(at->value) : Cell();
        }
        case Entity::Param: return text_cell(run.params.at(column.name));
        case Entity::Tag: {
            const Json& tag = run.tags.at(column.name);
            return tag.is_null() && view.job ? text_cell(view.job->meta.tags.at(column.name))
                                             : text_cell(tag);
        }
        case Entity::Attribute: break;
    }
    const std::string& name = column.name;
    if (name == "status") return mlflow_status_of(view);
    if (name == "run_id" || name == "run_uuid") return run.id;
    if (name == "run_name" || equal_ignoring_case(name, "run name")) return run.name;
    if (name == "user_id" || name == "User") return run.user;
    if (name == "experiment_id") return run.experiment_id;
    if (name == "artifact_uri") return "mlflow-artifacts:/" + run.id + "/artifacts";
    if (name == "start_time" || name == "created" || name == "Created")
        return static_cast<double>(start_ms_of(view));
    if (name == "end_time")
        return end_ms_of(view) > 0 ? Cell(static_cast<double>(end_ms_of(view))) : Cell();
    return {};
}

Result<void> check_run_column(const Column& column) {
    if (column.entity != Entity::Attribute) return {};
    const std::vector<std::string> known{"status",        "run_id",       "run_name",   "user_id",
                                         "experiment_id", "artifact_uri", "start_time", "end_time",
                                         "created",       "run_uuid",     "Run name",   "Run Name",
                                         "run name",      "User",         "Created"};
    if (std::find(known.begin(), known.end(), column.name) != known.end()) return {};
    return invalid("a run has no attribute '" + column.name + "'" +
                       did_you_mean(column.name, known) +
                       "; metrics, params and tags are written as metrics.x, params.x, tags.x",
                   "filter");
}

// Whether `a` comes before `b`; runs without a value come last either way, as in MLflow.
bool comes_before(const Cell& a, const Cell& b, bool ascending, bool& decided) {
    const auto rank = [](const Cell& cell) {
        if (std::holds_alternative<std::monostate>(cell)) return 2;
        const double* number = std::get_if<double>(&cell);
        return number && std::isnan(*number) ? 1 : 0;
    };
    decided = true;
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (rank(a) == 0) {
        if (a < b) return ascending;
        if (b < a) return !ascending;
    }
    decided = false;
    return false;
}

struct Found {
    std::vector<Cell> cells;  // of the wanted order
    std::int64_t start_ms = 0;
    std::string id;
};

struct Search {
    std::vector<Condition> conditions;
    std::vector<Order> orders;
    View view = View::Active;
    std::size_t limit = kDefaultResults;
    std::vector<std::string> experiments;
    std::optional<std::string> only_of = {};  // the job whose runs alone are shown
};

Result<Search> parse_search(const Json& body) {
    Search search;
    search.conditions = TURNOUT_TRY(parse_filter(body.at("filter").as_view()));
    for (const Condition& condition : search.conditions)
        TURNOUT_TRY(check_run_column(condition.column));
    if (!body.at("order_by").is_null() && !body.at("order_by").is_array())
        return invalid("'order_by' is a list of texts", "order_by");
    if (body.at("order_by").items().size() > kMaxOrders)
        return invalid("at most 10 columns can be ordered by", "order_by");
    for (const Json& item : body.at("order_by").items()) {
        search.orders.push_back(TURNOUT_TRY(parse_order(item.as_view())));
        TURNOUT_TRY(check_run_column(search.orders.back().column));
    }
    search.view = TURNOUT_TRY(parse_view(body.at("run_view_type")));
    search.limit = TURNOUT_TRY(parse_limit(body));
    return search;
}

Result<bool> fits(Services& services, const std::string& wsid, const Search& search,
                  RunView& view) {
    if (search.view != View::All && view.run->deleted != (search.view == View::Deleted))
        return false;
    if (search.only_of && view.run->id != *search.only_of &&
        (view.run->of_job || view.run->tags.at(kCreatorTag).as_view() != *search.only_of))
        return false;
    if (view.run->of_job) view.job = TURNOUT_TRY(load_job(services.store, wsid, view.run->id));
    return std::all_of(search.conditions.begin(), search.conditions.end(),
                       [&](const Condition& condition) {
                           return holds(condition, run_cell(view, condition.column));
                       });
}

// One experiment, newest first: the common case goes on from where the last page ended.
Answer search_newest(Services& services, const Call& call, std::string wsid, Search search,
                     std::string after) {
    Turn turn(services, call);
    Json runs = Json::array();
    std::string next = after;
    for (;;) {
        const std::size_t wanted = std::min(kPage, search.limit - runs.items().size());
        TURNOUT_CO_TRY(RunPage page,
                       services.tracking.page_runs(wsid, search.experiments[0], next, wanted));
        for (Run& run : page.runs) {
            RunView view;
            view.run = std::move(run);
            TURNOUT_CO_TRY(const bool good, fits(services, wsid, search, view));
            if (good) runs.push(run_document(view));
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        next = page.next;
        if (next.empty() || runs.items().size() >= search.limit) break;
    }
    Json body = Json::object();
    body.set("runs", std::move(runs));
    if (!next.empty()) body.set("next_page_token", next);
    co_return json_response(200, body);
}

Answer search_ordered(Services& services, const Call& call, std::string wsid, Search search,
                      std::size_t offset) {
    Turn turn(services, call);
    std::vector<Found> found;
    for (const std::string& experiment : search.experiments) {
        std::string next;
        do {
            TURNOUT_CO_TRY(RunPage page,
                           services.tracking.page_runs(wsid, experiment, next, kPage));
            for (Run& run : page.runs) {
                RunView view;
                view.run = std::move(run);
                TURNOUT_CO_TRY(const bool good, fits(services, wsid, search, view));
                if (turn.over()) {
                    TURNOUT_CO_TRY_VOID(co_await turn.pass());
                }
                if (!good) continue;
                Found item{{}, start_ms_of(view), view.run->id};
                for (const Order& order : search.orders)
                    item.cells.push_back(run_cell(view, order.column));
                found.push_back(std::move(item));
            }
            next = page.next;
        } while (!next.empty());
    }
    std::sort(found.begin(), found.end(), [&](const Found& a, const Found& b) {
        for (std::size_t i = 0; i < search.orders.size(); ++i) {
            bool decided = false;
            const bool before =
                comes_before(a.cells[i], b.cells[i], search.orders[i].ascending, decided);
            if (decided) return before;
        }
        if (a.start_ms != b.start_ms) return a.start_ms > b.start_ms;
        return a.id < b.id;
    });
    Json runs = Json::array();
    std::size_t at = std::min(offset, found.size());
    for (; at < found.size() && runs.items().size() < search.limit; ++at) {
        RunView view;
        TURNOUT_CO_TRY(view.run, services.tracking.find_run(wsid, found[at].id));
        if (!view.run) continue;
        if (view.run->of_job) {
            TURNOUT_CO_TRY(view.job, load_job(services.store, wsid, found[at].id));
        }
        runs.push(run_document(view));
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    Json body = Json::object();
    body.set("runs", std::move(runs));
    if (at < found.size()) body.set("next_page_token", std::to_string(at));
    co_return json_response(200, body);
}

Answer search_runs(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(Search search, parse_search(body));
    if (!body.at("experiment_ids").is_null() && !body.at("experiment_ids").is_array())
        co_return invalid("'experiment_ids' is a list of texts", "experiment_ids");
    TURNOUT_CO_TRY(const bool all, may_all(services, call, access::action::kReadRuns));
    if (!all) search.only_of = call.principal.job;
    std::set<std::string> named;  // each is looked at once
    Turn turn(services, call);
    for (const Json& id : body.at("experiment_ids").items()) {
        const std::string wanted = id.is_string() ? id.as_string() : id.dump();
        TURNOUT_CO_TRY(const Experiment experiment,
                       co_await experiment_of_id(services, workspace.id, wanted));
        if (named.insert(experiment.id).second) search.experiments.push_back(experiment.id);
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    if (search.experiments.empty())
        co_return json_response(200, Json::object({{"runs", Json::array()}}));
    const bool newest =
        search.orders.empty() ||
        (search.orders.size() == 1 && search.orders[0].column.entity == Entity::Attribute &&
         search.orders[0].column.name == "start_time" && !search.orders[0].ascending);
    const std::string token = body.at("page_token").as_string();
    if (newest && search.experiments.size() == 1)
        co_return co_await search_newest(services, call, workspace.id, std::move(search), token);
    TURNOUT_CO_TRY(const std::size_t offset, parse_offset(token));
    co_return co_await search_ordered(services, call, workspace.id, std::move(search), offset);
}

Cell experiment_cell(const Experiment& experiment, const Column& column) {
    if (column.entity == Entity::Tag) return text_cell(experiment.tags.at(column.name));
    if (column.name == "name") return experiment.name;
    if (column.name == "experiment_id") return experiment.id;
    return static_cast<double>(experiment.created.micros / 1000);
}

Result<void> check_experiment_column(const Column& column) {
    if (column.entity == Entity::Tag) return {};
    for (const std::string_view known :
         {"name", "experiment_id", "creation_time", "last_update_time"})
        if (column.entity == Entity::Attribute && column.name == known) return {};
    return invalid("experiments cannot be searched by '" + column.name +
                       "': name, creation_time, last_update_time and tags.x can be",
                   "filter");
}

Answer search_experiments(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(const auto conditions, parse_filter(body.at("filter").as_view()));
    for (const Condition& condition : conditions) {
        TURNOUT_CO_TRY_VOID(check_experiment_column(condition.column));
    }
    std::vector<Order> orders;
    if (body.at("order_by").items().size() > kMaxOrders)
        co_return invalid("at most 10 columns can be ordered by", "order_by");
    for (const Json& item : body.at("order_by").items()) {
        TURNOUT_CO_TRY(const Order order, parse_order(item.as_view()));
        TURNOUT_CO_TRY_VOID(check_experiment_column(order.column));
        orders.push_back(order);
    }
    if (orders.empty()) orders.push_back({{Entity::Attribute, "creation_time"}, false});
    TURNOUT_CO_TRY(const View view, parse_view(body.at("view_type")));
    TURNOUT_CO_TRY(const std::size_t limit, parse_limit(body));
    TURNOUT_CO_TRY(const std::size_t offset, parse_offset(body.at("page_token").as_view()));
    TURNOUT_CO_TRY(auto experiments, services.tracking.list_experiments(workspace.id));
    TURNOUT_CO_TRY_VOID(leave_own(services, call, workspace, experiments));
    std::vector<Experiment> all;
    std::swap(all, experiments);
    Turn turn(services, call);
    for (Experiment& experiment : all) {
        const auto fulfilled = [&](const Condition& condition) {
            return holds(condition, experiment_cell(experiment, condition.column));
        };
        if (view != View::Deleted && std::all_of(conditions.begin(), conditions.end(), fulfilled))
            experiments.push_back(std::move(experiment));
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    std::stable_sort(
        experiments.begin(), experiments.end(), [&](const Experiment& a, const Experiment& b) {
            for (const Order& order : orders) {
                bool decided = false;
                const bool before =
                    comes_before(experiment_cell(a, order.column), experiment_cell(b, order.column),
                                 order.ascending, decided);
                if (decided) return before;
            }
            return false;
        });
    Json documents = Json::array();
    std::size_t at = std::min(offset, experiments.size());
    for (; at < experiments.size() && documents.items().size() < limit; ++at)
        documents.push(experiment_document(experiments[at]));
    Json answer = Json::object();
    answer.set("experiments", std::move(documents));
    if (at < experiments.size()) answer.set("next_page_token", std::to_string(at));
    co_return json_response(200, answer);
}

}  // namespace

void add_search_rows(Router& router, Services& services) {
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/runs/search", search_runs);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/search",
                   search_experiments);
}

}  // namespace turnout::api::mlflow
