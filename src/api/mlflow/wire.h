// MLflow's REST shapes: what its protobuf JSON looks like, in and out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/history/run_view.h"
#include "api/run_reach.h"
#include "base/json.h"
#include "tracking/tracking.h"

namespace turnout::api::mlflow {

// Names of the tags in which we keep what MLflow has tables for.
inline constexpr std::string_view kDatasetTag = "turnout.dataset.";  // + digest: an input dataset
inline constexpr std::string_view kModelTag = "turnout.model.";      // + model id: an output model

// A logged model is kept like a run, on a shelf of its experiment of its own: it too has a status,
// params, tags and artifacts.
inline constexpr std::string_view kModelShelf = ".m";  // behind the experiment's id

// {"error_code","message"} with the HTTP status of MLflow's own server.
http::Response error_response(const Error& error);
Failure not_implemented(std::string message);

using MlflowAction = std::function<Answer(Services&, Call&)>;
// Adds a row under every prefix at which MLflow is served; errors leave in MLflow's shape.
void add_mlflow_row(Router& router, Services& services, std::string_view method,
                    std::string_view path, MlflowAction action, Access access = Access::Run);

// int64 as number or text; nullopt if it is neither.
std::optional<std::int64_t> to_int64(const Json& value);
// A double as number or text ("NaN", "Infinity", "-Infinity", "0.5").
std::optional<double> to_double(const Json& value);

// [{"key","value"}] as pairs.
Result<std::vector<std::pair<std::string, std::string>>> parse_pairs(const Json& list,
                                                                     std::string_view what);
Result<Metric> parse_metric(const Json& json);

Json experiment_document(const Experiment& experiment);
Json metric_document(const Metric& metric);
Json run_info(const RunView& view);
Json run_document(const RunView& view);

// A text of a body, "" if it is not said; what is no text is refused as MLflow's server does.
Result<std::string> text_of(const Json& body, const std::string& field);

// "run_id", or its old name "run_uuid", of a body or of the query.
Result<std::string> run_id_of(const Json& body);
Result<std::string> run_id_of(const Call& call);

bool is_model(const Run& run);
// The run that made that model; "" if none did.
std::string source_of_model(const Run& model);
// Where the files of a logged model are: "{run or model}/artifacts[/name]".
std::string folder_of_model(const Run& run);
// A run or a logged model, whoever asks.
Result<RunView> item_of_id(Services& services, const Workspace& workspace, std::string_view id);
// The run, for reading and for writing; of a job its own and those it created.
Result<RunView> readable_run(Services& services, const Call& call, const Workspace& workspace,
                             std::string_view run_id);
Result<RunView> writable_run(Services& services, Call& call, const Workspace& workspace,
                             std::string_view run_id);
// PermissionDenied of a job that did not make that model and to which no registered one opens it.
Result<void> check_reads_model(Services& services, const Call& call, const Run& model);

// The experiment of an id; MLflow's "0" is the one named "Default", made when it is first asked
// for.
Task<Result<Experiment>> experiment_of_id(Services& services, std::string wsid, std::string id);

// A job is shown those that it made and that of its run; by their names it finds all others, too.
Result<void> leave_own(Services& services, const Call& call, const Workspace& workspace,
                       std::vector<Experiment>& experiments);

void add_experiment_rows(Router& router, Services& services);  // experiments.cc
void add_run_rows(Router& router, Services& services);         // runs.cc
void add_search_rows(Router& router, Services& services);      // search.cc
void add_model_rows(Router& router, Services& services);       // models.cc
void add_artifact_rows(Router& router, Services& services);    // artifacts.cc
void add_registry_rows(Router& router, Services& services);    // registry.cc

}  // namespace turnout::api::mlflow
