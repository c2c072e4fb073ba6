// An AutoML job. REST has a task's settings in `taskDetails`; YAML has them beside the job's own.
#include <string>
#include <vector>

#include "base/text.h"
#include "base/time.h"
#include "resources/automl_names.h"
#include "resources/fields.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

const std::vector<Choice>& data_types() {
    static const std::vector<Choice> types = {
        {"mltable", "mltable"}, {"uri_file", "uri_file"}, {"uri_folder", "uri_folder"}};
    return types;
}

constexpr const char* kData[] = {"training_data", "validation_data", "test_data"};
constexpr const char* kDataRest[] = {"trainingData", "validationData", "testData"};

// One input, as a command job has many: `type`, `path` and, without effect, `mode`.
template <int N>
Special data_shape() {
    return {
        .shape = "mapping: `type` (`mltable`, `uri_file` or `uri_folder`), `path`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value,
                           {"type", "path", "mode", "description", "datastore", "path_on_compute"},
                           kData[N]);
                std::string type = "mltable";
                if (!value.at("type").is_null()) {
                    check_choice(reading, pointer_to(pointer, "type"), data_types());
                    if (const Choice* choice =
                            find_choice(data_types(), reading.text(pointer_to(pointer, "type"))))
                        type = choice->yaml;
                }
                if (value.at("path").is_null())
                    return reading.refuse(pointer,
                                          "key 'path' is missing: expected a path, URI or "
                                          "azureml:NAME:VERSION");
                check_path(reading, pointer_to(pointer, "path"), value.at("path"), "data",
                           LocalPath::Role::Input, type != "uri_file", type == "uri_file");
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                const Choice* type = find_choice(data_types(), value.at("type").as_view());
                Json data = Json::object({{"jobInputType", type ? type->rest : "mltable"}});
                data.set("uri",
                         arm_id_of(scope, "data",
                                   document.text(pointer_to(pointer, "path"), value.at("path"))));
                set_path(rest, std::string("properties.taskDetails.") + kDataRest[N],
                         std::move(data));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& data = at_path(rest, std::string("properties.taskDetails.") + kDataRest[N]);
            if (!data.is_object()) return {};
            return Json::object({{"type", data.at("jobInputType")},
                                 {"path", short_name_of(data.at("uri").as_view(), "data")}});
        }};
}

// "auto", or a whole number: {mode, value} in REST.
enum class AutoOr { Folds, Horizon, Window, Seasonality };
constexpr const char* kAutoOrRest[] = {"nCrossValidations", "forecastHorizon",
                                       "targetRollingWindowSize", "seasonality"};
constexpr std::int64_t kAutoOrLeast[] = {2, 1, 2, 1};
constexpr std::int64_t kAutoOrMost[] = {50, 10'000, 10'000, 100'000};

bool is_auto(const Json& value) {
    return equal_ignoring_case(value.as_view(), "auto");
}

template <AutoOr WHICH>
Special auto_or_whole() {
    constexpr auto N = static_cast<std::size_t>(WHICH);
    return {.shape = "`auto` or a whole number",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (is_auto(value)) return;
                    const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
                    if (!number.is_int() || number.as_int() < kAutoOrLeast[N] ||
                        number.as_int() > kAutoOrMost[N])
                        reading.refuse(pointer, expected("auto or a whole number from " +
                                                             with_commas(kAutoOrLeast[N]) + " to " +
                                                             with_commas(kAutoOrMost[N]),
                                                         value));
                },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                   Json& rest) {
                    const std::string at =
                        std::string(WHICH == AutoOr::Folds ? "properties.taskDetails." : "") +
                        kAutoOrRest[N];
                    const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
                    set_path(rest, at,
                             is_auto(value)
                                 ? Json::object({{"mode", "Auto"}})
                                 : Json::object({{"mode", "Custom"}, {"value", number}}));
                },
            .from_rest = [](const Json& rest) -> Json {
                const std::string at =
                    std::string(WHICH == AutoOr::Folds ? "properties.taskDetails." : "") +
                    kAutoOrRest[N];
                const Json& said = at_path(rest, at);
                if (!said.is_object()) return {};
                return equal_ignoring_case(said.at("mode").as_view(), "auto") ? Json("auto")
                                                                              : said.at("value");
            }};
}

// "auto", a whole number, or a list of them: {mode, values} in REST.
Special lags_shape() {
    return {.shape = "`auto`, a whole number or a list of them",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (is_auto(value)) return;
                    const Json list = value.is_array() ? value : Json::array({value});
                    for (const Json& one : list.items())
                        if (!one.is_int() || one.as_int() < 1 || one.as_int() > 10'000)
                            return reading.refuse(
                                pointer, expected("auto, a whole number from 1 or a list of such "
                                                  "numbers",
                                                  one));
                },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                   Json& rest) {
                    rest.set(
                        "targetLags",
                        is_auto(value)
                            ? Json::object({{"mode", "Auto"}})
                            : Json::object(
                                  {{"mode", "Custom"},
                                   {"values", value.is_array() ? value : Json::array({value})}}));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& said = rest.at("targetLags");
                if (!said.is_object()) return {};
                return equal_ignoring_case(said.at("mode").as_view(), "auto") ? Json("auto")
                                                                              : said.at("values");
            }};
}

// Whole minutes: an ISO duration in REST.
constexpr const char* kMinutes[] = {"timeout", "trialTimeout"};

template <int N>
Special minutes_shape() {
    return {.shape = "whole number of minutes",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
                    if (!number.is_int() || number.as_int() < 1 || number.as_int() > 525'600)
                        reading.refuse(pointer, expected("a whole number of minutes from 1 to "
                                                         "525,600",
                                                         value));
                },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                   Json& rest) {
                    const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
                    rest.set(kMinutes[N], "PT" + number.dump() + "M");
                },
            .from_rest = [](const Json& rest) -> Json {
                const auto span = parse_duration(rest.at(kMinutes[N]).as_view());
                if (!span) return {};
                return std::chrono::duration_cast<std::chrono::minutes>(*span).count();
            }};
}

// The names of algorithms, as YAML and REST spell them.
constexpr const char* kLists[] = {"allowedTrainingAlgorithms", "blockedTrainingAlgorithms"};

template <int N>
Special algorithms_shape() {
    return {.shape = "list of texts",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_list(pointer, value)) return;
                    for (std::size_t i = 0; i < value.items().size(); ++i)
                        reading.expect_text(pointer_to(pointer, i), value.items()[i]);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    Json list = Json::array();
                    for (std::size_t i = 0; i < value.items().size(); ++i) {
                        const std::string text =
                            document.text(pointer_to(pointer, i), value.items()[i]);
                        const AutoMLAlgorithm* found = nullptr;
                        for (const AutoMLTask& task : automl_tasks())
                            if (!found) found = find_automl_algorithm(task.rest, text);
                        list.push(found ? Json(found->rest) : Json(text));
                    }
                    rest.set(kLists[N], std::move(list));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& said = rest.at(kLists[N]);
                if (!said.is_array()) return {};
                Json list = Json::array();
                for (const Json& one : said.items()) {
                    const AutoMLAlgorithm* found = nullptr;
                    for (const AutoMLTask& task : automl_tasks())
                        if (!found) found = find_automl_algorithm(task.rest, one.as_view());
                    list.push(found ? Json(found->yaml) : one);
                }
                return list;
            }};
}

const Description& automl_limits() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "limits",
        .help = "",
        .fields = {
            between(1,
                    field("max_trials", "maxTrials", Kind::Whole,
                          "Most trials, without ensembles; 1000 if absent."),
                    10'000),
            between(1,
                    field("max_concurrent_trials", "maxConcurrentTrials", Kind::Whole,
                          "Most trials at one time; 1 if absent."),
                    1'000),
            special("timeout_minutes", minutes_shape<0>(),
                    "Longest time of the job; then the search ends with what was found. 360 if "
                    "absent."),
            special("trial_timeout_minutes", minutes_shape<1>(),
                    "Longest run time of one trial; 30 if absent."),
            field("exit_score", "exitScore", Kind::Number,
                  "A score of the primary metric that is good enough: then the search ends."),
            field("enable_early_termination", "enableEarlyTermination", Kind::Flag,
                  "Whether the search ends when, after 20 trials, 10 in a row are no better; true "
                  "if absent."),
            between(-1, field("max_cores_per_trial", "maxCoresPerTrial", Kind::Whole,
                              "Cores that a trial uses; all that it has if absent, or -1.")),
            between(1, field("max_nodes", "maxNodes", Kind::Whole,
                             "Kept and shown: how many trials run at a time says "
                             "max_concurrent_trials."))}};
    return description;
}

const Description& automl_resources() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "resources",
        .help = "",
        .fields = {
            text("instance_type", "instanceType",
                 "VM size; on a cluster it must be the size of its nodes."),
            between(1, field("instance_count", "instanceCount", Kind::Whole,
                             "Kept and shown: a trial runs on one node, and how many run at a "
                             "time says limits.max_concurrent_trials.")),
            ruled(kMemorySize, text("shm_size", "shmSize", "Size of /dev/shm, such as `2g`."))}};
    return description;
}

const Description& automl_featurization() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "featurization",
        .help = "",
        .fields = {
            choice("mode", "mode", {{"auto", "auto"}, {"off", "off"}, {"custom", "custom"}},
                   "`auto` if absent; `off`: columns are taken as they are, and have to be "
                   "numbers; `custom`: auto, but for what the other keys say."),
            field("blocked_transformers", "blockedTransformers", Kind::TextList,
                  "Steps that are left out, such as TfIdf or OneHotEncoder."),
            field("column_name_and_types", "columnNameAndTypes", Kind::TextMap,
                  "Columns and what they are: Numeric, Categorical, DateTime, Text, Ignore."),
            field("transformer_params", "transformerParams", Kind::AnyMap,
                  "`imputer`: a list of `fields` and `parameters` (`strategy`: mean, median, "
                  "most_frequent, constant with `fill_value`, ffill)."),
            text("dataset_language", "datasetLanguage", "Kept and shown."),
            field("enable_dnn_featurization", "enableDnnFeaturization", Kind::Flag,
                  "false: there are no deep networks here.")}};
    return description;
}

const Description& automl_training() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "training",
        .help = "",
        .fields = {
            special("allowed_training_algorithms", algorithms_shape<0>(),
                    "The algorithms that are tried; all if absent."),
            special("blocked_training_algorithms", algorithms_shape<1>(),
                    "Algorithms that are not tried."),
            field("enable_vote_ensemble", "enableVoteEnsemble", Kind::Flag,
                  "Whether the best models are put together by a vote; true if absent."),
            field("enable_stack_ensemble", "enableStackEnsemble", Kind::Flag,
                  "Whether a model is trained on the predictions of the best; true if absent, but "
                  "for forecasts."),
            field("enable_model_explainability", "enableModelExplainability", Kind::Flag,
                  "Whether trials tell how much each column matters; true if absent."),
            field("enable_onnx_compatible_models", "enableOnnxCompatibleModels", Kind::Flag,
                  "Kept and shown: models are MLflow models."),
            field("enable_dnn_training", "enableDnnTraining", Kind::Flag,
                  "false: there are no deep networks here."),
            field("ensemble_model_download_timeout", "ensembleModelDownloadTimeout", Kind::Seconds,
                  "Kept and shown."),
            refused("stack_ensemble_settings", "Settings of the stack.",
                    "the stack has no settings here: a linear model is trained on all "
                    "predictions")}};
    return description;
}

const Description& automl_forecasting() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "forecasting",
        .help = "",
        .fields = {
            text("time_column_name", "timeColumnName", "the column with the time", Need::Required),
            special("forecast_horizon", auto_or_whole<AutoOr::Horizon>(),
                    "How many steps of time are forecast; 1 if absent."),
            field("time_series_id_column_names", "timeSeriesIdColumnNames", Kind::TextList,
                  "The columns that tell series from each other; one series if absent."),
            text("frequency", "frequency",
                 "The step of time, as pandas writes it, such as D or W-THU; found out if absent."),
            special("target_lags", lags_shape(), "Which values before are looked at."),
            special("target_rolling_window_size", auto_or_whole<AutoOr::Window>(),
                    "Over how many values before means are taken."),
            special("seasonality", auto_or_whole<AutoOr::Seasonality>(),
                    "After how many steps it repeats; found out if absent."),
            text("country_or_region_for_holidays", "countryOrRegionForHolidays",
                 "Kept and shown: there is no calendar of holidays here."),
            between(1, field("cv_step_size", "cvStepSize", Kind::Whole,
                             "Steps between the folds; the horizon if absent.")),
            text("target_aggregate_function", "targetAggregateFunction",
                 "How rows within one step are put together: sum, max, min or mean."),
            text("short_series_handling_config", "shortSeriesHandlingConfig",
                 "What becomes of series that are too short: auto or drop leave them out of the "
                 "training."),
            text("feature_lags", "featureLags", "Kept and shown."),
            text("use_stl", "useStl", "Kept and shown."),
            field("features_unknown_at_forecast_time", "featuresUnknownAtForecastTime",
                  Kind::TextList, "Columns that are not known in advance: they are left out.")}};
    return description;
}

std::vector<Choice> tasks() {
    std::vector<Choice> all;
    for (const AutoMLTask& task : automl_tasks())
        all.push_back({std::string(task.yaml), std::string(task.rest)});
    for (const char* const elsewhere :
         {"image_classification", "image_classification_multilabel", "image_instance_segmentation",
          "image_object_detection", "text_classification", "text_classification_multilabel",
          "text_ner"})
        all.push_back({elsewhere, elsewhere, why_no_automl_task(elsewhere)});
    return all;
}

std::vector<Choice> metrics() {
    std::vector<Choice> all;
    for (const AutoMLTask& task : automl_tasks())
        for (const std::string& name : automl_metrics_of(task.rest))
            if (!find_choice(all, name))
                all.push_back({name, std::string(find_automl_metric(task.rest, name)->rest)});
    return all;
}

void check_names_in(Reading& reading, const std::string& pointer, const Json& list,
                    std::string_view task) {
    for (std::size_t i = 0; i < list.items().size(); ++i) {
        const std::string here = pointer_to(pointer, i);
        const std::string text = reading.text(here);
        if (text.empty() || find_automl_algorithm(task, text)) continue;
        const std::vector<std::string> known = automl_algorithms_of(task);
        reading.refuse(here, "expected an algorithm of " + to_lower(task) + " (" +
                                 join(known, ", ") + "), found '" + text + "'" +
                                 did_you_mean(text, known));
    }
}

void check_automl_job(Reading& reading, const std::string& pointer, const Json& value) {
    const AutoMLTask* task = find_automl_task(value.at("task").as_view());
    if (!task) return;
    const std::string metric = value.at("primary_metric").as_string();
    if (!metric.empty() && find_choice(metrics(), metric) &&
        !find_automl_metric(task->rest, metric))
        reading.refuse(pointer_to(pointer, "primary_metric"),
                       "expected a metric of " + std::string(task->yaml) + " (" +
                           join(automl_metrics_of(task->rest), ", ") + "), found '" + metric + "'");
    const std::string training = pointer_to(pointer, "training");
    for (const char* const list : {"allowed_training_algorithms", "blocked_training_algorithms"})
        check_names_in(reading, pointer_to(training, list), value.at("training").at(list),
                       task->rest);
    const bool forecasts = task->rest == "Forecasting";
    if (forecasts && value.at("forecasting").is_null())
        reading.refuse(pointer, "key 'forecasting' is missing: expected its time_column_name");
    if (!forecasts && !value.at("forecasting").is_null())
        reading.refuse(pointer_to(pointer, "forecasting"),
                       "is for forecasting: expected it with `task: forecasting` alone");
}

}  // namespace

const Description& automl_job() {
    static const Description description = {
        .kind = "job",
        .type = "automl",
        .schema = "autoMLJob",
        .title = "an AutoML job",
        .help =
            "`turnout job create -f automl.yml`: looks for the model that predicts a column of a "
            "table best. The data is prepared by NAME_0; each trial is a job of its own, NAME_1, "
            "NAME_2 …; ensembles of the best come last. See [AutoML](automl.md).",
        .fields = with_what_is_shown(
            {ruled(kName, text("name", "name", "Unique name; made up if absent.", Need::Optional,
                               "--name")),
             text("display_name", "properties.displayName", "Name for people."),
             choice("type", "properties.jobType", {{"automl", "AutoML"}}, "`automl`",
                    Need::Required),
             shown("status", "properties.status", "Where the job is: Running, Completed …",
                   Kind::Text),
             text("experiment_name", "properties.experimentName",
                  "Experiment; the folder's name if absent."),
             text("description", "properties.description", "Text for people."),
             choice("task", "properties.taskDetails.taskType", tasks(), "what is looked for",
                    Need::Required),
             text("target_column_name", "properties.taskDetails.targetColumnName",
                  "the column that is predicted", Need::Required),
             choice("primary_metric", "properties.taskDetails.primaryMetric", metrics(),
                    "By which models are compared; AUC_weighted for classification, "
                    "normalized_root_mean_squared_error for the others if absent."),
             special("training_data", data_shape<0>(), "the table to learn from", Need::Required),
             special("validation_data", data_shape<1>(),
                     "A table by which models are compared, in place of cross validation."),
             special("test_data", data_shape<2>(),
                     "A table by which every model is measured at last; it decides nothing."),
             field("validation_data_size", "properties.taskDetails.validationDataSize",
                   Kind::Number, "A share of the training data in place of validation_data."),
             field("test_data_size", "properties.taskDetails.testDataSize", Kind::Number,
                   "A share of the training data in place of test_data."),
             special("n_cross_validations", auto_or_whole<AutoOr::Folds>(),
                     "How many folds; `auto` chooses by the number of rows."),
             field("cv_split_column_names", "properties.taskDetails.cvSplitColumnNames",
                   Kind::TextList, "Columns of 1 (training) and 0 (validation), a fold each."),
             refused("weight_column_name", "A column of weights.",
                     "weights of rows do not work yet: expected nothing"),
             text("positive_label", "properties.taskDetails.positiveLabel",
                  "The class that charts of two classes are about."),
             choice("log_verbosity", "properties.taskDetails.logVerbosity",
                    {{"not_set", "NotSet"},
                     {"debug", "Debug"},
                     {"info", "Info"},
                     {"warning", "Warning"},
                     {"error", "Error"},
                     {"critical", "Critical"}},
                    "Kept and shown."),
             object("limits", "properties.taskDetails.limitSettings", automl_limits(),
                    "How many trials, how long."),
             object("training", "properties.taskDetails.trainingSettings", automl_training(),
                    "What is tried."),
             object("featurization", "properties.taskDetails.featurizationSettings",
                    automl_featurization(), "How columns become numbers."),
             object("forecasting", "properties.taskDetails.forecastingSettings",
                    automl_forecasting(), "Of `task: forecasting`."),
             special("compute", compute_shape(), "Where it runs; `serverless` if absent."),
             object("resources", "properties.resources", automl_resources(),
                    "What each trial asks for."),
             object("identity", "properties.identity", job_identity(), "Identity."),
             object("queue_settings", "properties.queueSettings", queue_settings(),
                    "Its place in the queue."),
             field("environment_variables", "properties.environmentVariables", Kind::TextMap,
                   "Environment variables of all trials."),
             refused("environment", "An environment.",
                     "the environment of AutoML is the server's own: expected nothing"),
             refused("outputs", "Named outputs.",
                     "named outputs of AutoML do not work yet: the best model is at "
                     "azureml://jobs/NAME/outputs/artifacts/paths/outputs/mlflow-model/"),
             special("services", services_shape(), "Links to the job's page when shown."),
             field("tags", "properties.tags", Kind::TextMap,
                   "Tags. `automl_best_child_run_id` when shown."),
             field("properties", "properties.properties", Kind::TextMap,
                   "Properties; they are only ever added to. `best_child_run_id` and `score` when "
                   "shown."),
             special("creation_context", creation_context_shape(), "Who made it, when.",
                     Need::ReadOnly),
             special("id", resource_id_shape(true), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)}),
        .constants = {{"properties.jobType", "AutoML"}},
        .check = check_automl_job};
    return description;
}

}  // namespace turnout::resources
