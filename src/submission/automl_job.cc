#include "submission/automl_job.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "base/time.h"
#include "model/group.h"
#include "model/job_kind.h"
#include "protocol/secret_reference.h"
#include "resources/automl_names.h"
#include "resources/resources.h"
#include "submission/command_job.h"
#include "submission/refusal.h"
#include "submission/types.h"

namespace turnout::submission {
namespace {

using resources::AutoMLAlgorithm;
using resources::AutoMLMetric;
using resources::AutoMLTask;

constexpr std::string_view kNoAutoML = "InvalidAutoML";
constexpr Span kSearchTimeout = 6h, kUsualTrialTimeout = 30min;
constexpr std::string_view kAutoMLEnvironment =
    "azureml://registries/azureml/environments/automl/versions/1";

// What has a rule of its own below.
constexpr std::array<std::string_view, 3> kAutoMLRules = {
    "taskDetails.taskType", "taskDetails.primaryMetric", "queueSettings."};

struct TableSaid {
    const char* member;
    const char* input;
};
constexpr TableSaid kTables[] = {
    {"trainingData", "training"}, {"validationData", "validation"}, {"testData", "test"}};

class AutoMLReader {
public:
    AutoMLReader(const Json& properties, std::vector<Error>& problems)
        : properties_(properties), details_(properties.at("taskDetails")), problems_(problems) {}

    AutoML read(const std::string& name) {
        read_task();
        read_data();
        read_limits();
        read_training();
        read_featurization();
        if (task_ && task_->rest == "Forecasting") read_forecasting();
        read_the_rest();
        make_definitions(name);
        return std::move(automl_);
    }

private:
    void say(Failure failure) { problems_.push_back(failure.error()); }
    void expected(const std::string& place, std::string_view what, const Json& found) {
        say(not_as_expected(std::string(kNoAutoML), "taskDetails." + place, what, found));
    }
    void not_here(const std::string& place, const std::string& why) {
        say(refuse("NotImplemented", place + ": " + why, place));
    }

    void read_task() {
        const Json& said = details_.at("taskType");
        task_ = resources::find_automl_task(said.as_view());
        if (!task_) {
            const std::string why = resources::why_no_automl_task(said.as_view());
            if (!why.empty()) return not_here("taskDetails.taskType", why);
            return expected("taskType", "Classification, Regression or Forecasting", said);
        }
        const Json& metric = details_.at("primaryMetric");
        const AutoMLMetric* found = resources::find_automl_metric(
            task_->rest, metric.is_null() ? task_->usual_metric : metric.as_view());
        if (!found)
            return expected("primaryMetric",
                            "a metric of " + std::string(task_->yaml) + " (" +
                                join(resources::automl_metrics_of(task_->rest), ", ") + ")",
                            metric);
        automl_.metric = found->name;
        automl_.maximize = found->maximize;
    }

    void read_data() {
        if (details_.at("targetColumnName").as_view().empty())
            expected("targetColumnName", "the name of the column that is predicted",
                     details_.at("targetColumnName"));
        for (const TableSaid& one : kTables) {
            const Json& data = details_.at(one.member);
            if (data.is_null() && one.member != kTables[0].member) continue;
            if (!data.is_object() || data.at("uri").as_view().empty()) {
                expected(one.member, "data, with its jobInputType and uri", data);
                continue;
            }
            const std::string_view type = data.at("jobInputType").as_view();
            if (!type.empty() && type != "mltable" && type != "uri_file" && type != "uri_folder")
                expected(std::string(one.member) + ".jobInputType",
                         "mltable, uri_file or uri_folder", data.at("jobInputType"));
        }
        for (const auto& [size, data] : {std::pair("validationDataSize", "validationData"),
                                         std::pair("testDataSize", "testData")}) {
            const Json& share = details_.at(size);
            if (share.is_null()) continue;
            if (!share.is_number() || share.as_double() <= 0 || share.as_double() >= 1)
                expected(size, "a share of the rows, more than 0 and less than 1", share);
            else if (!details_.at(data).is_null())
                expected(size, "nothing beside " + std::string(data), share);
        }
        const Json& folds = details_.at("nCrossValidations");
        if (!folds.is_null()) {
            read_auto_or(folds, "nCrossValidations", 2, 50);
            for (const char* const other : {"validationData", "validationDataSize"})
                if (!details_.at(other).is_null())
                    expected("nCrossValidations", "nothing beside " + std::string(other), folds);
        }
        if (!details_.at("weightColumnName").as_view().empty())
            not_here("taskDetails.weightColumnName",
                     "weights of rows do not work yet: expected nothing, found '" +
                         details_.at("weightColumnName").as_string() + "'");
    }

    // {"mode": "Auto"} or {"mode": "Custom", "value": 5}
    void read_auto_or(const Json& said, const std::string& place, std::int64_t least,
                      std::int64_t most) {
        if (said.is_null() || equal_ignoring_case(said.at("mode").as_view(), "auto")) return;
        const Json& value = said.at("value");
        if (!value.is_int() || value.as_int() < least || value.as_int() > most)
            expected(place,
                     "mode Auto, or Custom with a whole number from " + with_commas(least) +
                         " to " + with_commas(most),
                     value.is_null() ? said : value);
    }

    Span span_of(const Json& said, const std::string& place, Span usual) {
        if (said.is_null()) return usual;
        const auto span = parse_duration(said.as_view());
        if (span && *span >= Span(1s)) return *span;
        expected(place, "a duration such as PT30M, of a second or more", said);
        return usual;
    }

    void read_limits() {
        const Json& limits = details_.at("limitSettings");
        const auto whole = [&](const char* member, std::int64_t usual, std::int64_t least,
                               std::int64_t most) {
            const Json& said = limits.at(member);
            if (said.is_null()) return usual;
            if (said.is_int() && said.as_int() >= least && said.as_int() <= most)
                return said.as_int();
            expected("limitSettings." + std::string(member),
                     "a whole number from " + with_commas(least) + " to " + with_commas(most),
                     said);
            return usual;
        };
        automl_.max_trials = whole("maxTrials", kAutoMLTrials, 1, kMostAutoMLTrials);
        automl_.max_concurrent = whole("maxConcurrentTrials", 1, 1, 1'000);
        whole("maxCoresPerTrial", -1, -1, 10'000);
        // The SDK sends them as 0 with every task.
        for (const char* const of_images : {"sweepTrials", "sweepConcurrentTrials"})
            whole(of_images, 0, 0, 0);
        automl_.timeout = span_of(limits.at("timeout"), "limitSettings.timeout", kSearchTimeout);
        trial_timeout_ =
            span_of(limits.at("trialTimeout"), "limitSettings.trialTimeout", kUsualTrialTimeout);
        if (const Json& score = limits.at("exitScore"); score.is_number())
            automl_.exit_score = score.as_double();
        automl_.early_termination = limits.at("enableEarlyTermination").as_bool(true);
    }

    std::vector<const AutoMLAlgorithm*> algorithms(const char* member) {
        std::vector<const AutoMLAlgorithm*> found;
        const Json& list = details_.at("trainingSettings").at(member);
        for (std::size_t i = 0; task_ && i < list.items().size(); ++i) {
            const Json& one = list.items()[i];
            if (const auto* known = resources::find_automl_algorithm(task_->rest, one.as_view())) {
                found.push_back(known);
                continue;
            }
            const auto names = resources::automl_algorithms_of(task_->rest);
            expected("trainingSettings." + std::string(member) + "[" + std::to_string(i) + "]",
                     "an algorithm of " + std::string(task_->yaml) + " (" + join(names, ", ") + ")",
                     one);
        }
        return found;
    }

    void read_training() {
        const Json& training = details_.at("trainingSettings");
        const std::string place = "taskDetails.trainingSettings";
        const auto allowed = algorithms("allowedTrainingAlgorithms");
        const auto blocked = algorithms("blockedTrainingAlgorithms");
        if (task_) {
            std::vector<std::string> left;
            for (const std::string& name : resources::automl_algorithms_of(task_->rest)) {
                const auto* one = resources::find_automl_algorithm(task_->rest, name);
                if ((allowed.empty() || std::ranges::find(allowed, one) != allowed.end()) &&
                    std::ranges::find(blocked, one) == blocked.end())
                    left.push_back(name);
            }
            if (left.empty() && !allowed.empty() && !allowed.front()->not_here.empty())
                not_here(place + ".allowedTrainingAlgorithms",
                         "'" + std::string(allowed.front()->rest) + "' " +
                             std::string(allowed.front()->not_here) + ": expected others");
            else if (left.empty())
                expected("trainingSettings.allowedTrainingAlgorithms",
                         "an algorithm that is not blocked",
                         training.at("allowedTrainingAlgorithms"));
            for (const std::string& name : left)
                algorithms_.push(resources::find_automl_algorithm(task_->rest, name)->rest);
        }
        const bool forecasts = task_ && task_->rest == "Forecasting";
        automl_.voting = training.at("enableVoteEnsemble").as_bool(true);
        automl_.stacking = training.at("enableStackEnsemble").as_bool(!forecasts);
        if (forecasts && automl_.stacking)
            not_here(place + ".enableStackEnsemble",
                     "forecasts are put together by a vote alone: expected false");
        if (training.at("enableDnnTraining").as_bool())
            not_here(place + ".enableDnnTraining",
                     "deep networks are not trained here: expected false");
        if (!training.at("stackEnsembleSettings").members().empty())
            not_here(place + ".stackEnsembleSettings",
                     "the stack has no settings here: expected nothing");
        const std::string_view mode = training.at("trainingMode").as_view();
        if (equal_ignoring_case(mode, "distributed"))
            not_here(place + ".trainingMode",
                     "a trial is trained on one node: expected Auto or NonDistributed");
    }

    void read_featurization() {
        const Json& said = details_.at("featurizationSettings");
        if (said.at("enableDnnFeaturization").as_bool())
            not_here("taskDetails.featurizationSettings.enableDnnFeaturization",
                     "deep networks are not trained here: expected false");
        const auto one_of = [](std::span<const std::string_view> known, std::string_view text) {
            return std::ranges::any_of(
                known, [&](std::string_view one) { return equal_ignoring_case(one, text); });
        };
        const auto list_of = [](std::span<const std::string_view> known) {
            return join(std::vector<std::string>(known.begin(), known.end()), ", ");
        };
        const auto types = resources::automl_column_types();
        for (const auto& [column, type] : said.at("columnNameAndTypes").members())
            if (!one_of(types, type.as_view()))
                expected("featurizationSettings.columnNameAndTypes." + column.substr(0, 100),
                         list_of(types), type);
        const auto steps = resources::automl_transformers();
        const Json::Array& blocked = said.at("blockedTransformers").items();
        for (std::size_t i = 0; i < blocked.size(); ++i)
            if (!one_of(steps, blocked[i].as_view()))
                expected("featurizationSettings.blockedTransformers[" + std::to_string(i) + "]",
                         list_of(steps), blocked[i]);
        for (const auto& [transformer, uses] : said.at("transformerParams").members()) {
            const std::string place =
                "featurizationSettings.transformerParams." + transformer.substr(0, 100);
            if (!equal_ignoring_case(transformer, "imputer")) {
                expected(place, "parameters of Imputer alone", uses);
                continue;
            }
            if (!uses.is_array()) expected(place, "a list of fields and parameters", uses);
            for (std::size_t i = 0; i < uses.items().size(); ++i) {
                const std::string here = place + "[" + std::to_string(i) + "]";
                const Json& use = uses.items()[i];
                if (!use.at("fields").is_array() || use.at("fields").items().empty())
                    expected(here + ".fields", "a list of columns", use.at("fields"));
                const Json& strategy = use.at("parameters").at("strategy");
                constexpr std::string_view known[] = {"mean", "median", "most_frequent", "constant",
                                                      "ffill"};
                if (!one_of(known, strategy.as_view()))
                    expected(here + ".parameters.strategy", list_of(known), strategy);
            }
        }
    }

    void read_forecasting() {
        const Json& said = details_.at("forecastingSettings");
        const std::string place = "forecastingSettings.";
        if (said.at("timeColumnName").as_view().empty())
            expected(place + "timeColumnName", "the column with the time",
                     said.at("timeColumnName"));
        read_auto_or(said.at("forecastHorizon"), place + "forecastHorizon", 1, 10'000);
        read_auto_or(said.at("seasonality"), place + "seasonality", 1, 100'000);
        read_auto_or(said.at("targetRollingWindowSize"), place + "targetRollingWindowSize", 2,
                     10'000);
        const Json& lags = said.at("targetLags");
        if (!lags.is_null() && !equal_ignoring_case(lags.at("mode").as_view(), "auto")) {
            const Json::Array& values = lags.at("values").items();
            if (values.empty() || std::ranges::any_of(values, [](const Json& lag) {
                    return !lag.is_int() || lag.as_int() < 1 || lag.as_int() > 10'000;
                }))
                expected(place + "targetLags",
                         "mode Auto, or Custom with values of whole numbers from 1", lags);
        }
        constexpr std::string_view together[] = {"", "none", "sum", "max", "min", "mean"};
        const std::string_view function = said.at("targetAggregateFunction").as_view();
        if (std::ranges::none_of(
                together, [&](std::string_view one) { return equal_ignoring_case(one, function); }))
            expected(place + "targetAggregateFunction", "sum, max, min or mean",
                     said.at("targetAggregateFunction"));
    }

    void read_the_rest() {
        const auto nothing = [&](const char* member, const std::string& why) {
            const Json& said = properties_.at(member);
            if (said.is_null() || (said.is_object() && said.members().empty()) ||
                (said.is_string() && said.as_view().empty()))
                return;
            say(refuse("NotImplemented", std::string(member) + ": " + why, member));
        };
        nothing("environmentId", "the environment of AutoML is the server's own: expected nothing");
        nothing("outputs",
                "named outputs of AutoML do not work yet: expected nothing; the best model is at "
                "azureml://jobs/NAME/outputs/artifacts/paths/outputs/mlflow-model/");
        if (agent_protocol::mentions_secrets(details_.dump()))
            say(no_secrets_here("the settings of AutoML", "taskDetails"));
    }

    // ---- the command jobs ----

    Json definition(const std::string& what, Span timeout) const {
        Json json = Json::object();
        for (const char* const member :
             {"computeId", "experimentName", "identity", "queueSettings", "environmentVariables"})
            if (const Json& said = properties_.at(member); !said.is_null()) json.set(member, said);
        Json resources = Json::object();
        for (const char* const member : {"instanceType", "shmSize"})
            if (const Json& said = properties_.at("resources").at(member); !said.is_null())
                resources.set(member, said);
        if (!resources.members().empty()) json.set("resources", std::move(resources));
        json.set("jobType", name_of(kFirstJobType));
        json.set("environmentId", kAutoMLEnvironment);
        json.set("command", "python -c \"$" + std::string(kAutoMLProgram) + "\" " + what);
        json.set(
            "limits",
            Json::object(
                {{"jobLimitsType", name_of(kFirstJobType)},
                 {"timeout",
                  "PT" +
                      std::to_string(std::max<std::int64_t>(
                          1, std::chrono::duration_cast<std::chrono::seconds>(timeout).count())) +
                      "S"}}));
        return json;
    }

    static Json folder() { return Json::object({{"jobOutputType", "uri_folder"}}); }
    static Json literal(const char* value) {
        return Json::object({{"jobInputType", "literal"}, {"value", value}});
    }
    static Json input(const std::string& uri) {
        return Json::object({{"jobInputType", "uri_folder"}, {"uri", uri}});
    }

    void make_definitions(const std::string& name) {
        // Trials tell each other what they found in a folder of the whole job.
        const std::string history =
            "azureml://datastores/workspaceblobstore/paths/azureml/" + name + "/history/";
        const Json telling = Json::object({{"jobOutputType", "uri_folder"}, {"uri", history}});
        const std::string data = "azureml://jobs/" + child_name(name, 0) + "/outputs/data";
        Json settings = details_;
        settings.set("algorithms", algorithms_);
        settings.set("metric", automl_.metric);
        settings.set("maximize", automl_.maximize);
        settings.set("job", name);

        std::string words;
        Json inputs = Json::object();
        for (const TableSaid& one : kTables) {
            const Json& said = details_.at(one.member);
            if (!said.is_object()) continue;
            const std::string type = said.at("jobInputType").as_string("mltable");
            inputs.set(one.input, Json::object({{"jobInputType", type}, {"uri", said.at("uri")}}));
            words += std::string(" --") + one.input + " \"${{inputs." + one.input + "}}\"";
        }
        inputs.set("index", literal("0"));
        automl_.setup = definition("setup" + words +
                                       " --data \"${{outputs.data}}\" --result "
                                       "\"${{outputs.history}}\"",
                                   *automl_.timeout);
        automl_.setup.set("inputs", std::move(inputs));
        automl_.setup.set("outputs", Json::object({{"data", folder()}, {"history", telling}}));
        Json variables = automl_.setup.at("environmentVariables");
        if (!variables.is_object()) variables = Json::object();
        variables.set(std::string(kAutoMLSettings), settings.dump());
        automl_.setup.set("environmentVariables", std::move(variables));

        const std::string results =
            " --result \"${{outputs.result}}\" --model \"${{outputs.model}}\"";
        const Json outputs = Json::object({{"result", telling}, {"model", folder()}});
        automl_.trial = definition(
            "trial --index ${{inputs.index}} --data \"${{inputs.data}}\" "
            "--history \"${{inputs.history}}\"" +
                results,
            trial_timeout_);
        automl_.trial.set("inputs", Json::object({{"index", literal("1")},
                                                  {"data", input(data)},
                                                  {"history", input(history)}}));
        automl_.trial.set("outputs", outputs);
        automl_.ensemble = definition(
            "ensemble --index ${{inputs.index}} --method ${{inputs.method}} --data "
            "\"${{inputs.data}}\" --history \"${{inputs.history}}\"" +
                results + " --models",
            trial_timeout_);
        automl_.ensemble.set("inputs", Json::object({{"index", literal("1")},
                                                     {"method", literal("VotingEnsemble")},
                                                     {"data", input(data)},
                                                     {"history", input(history)}}));
        automl_.ensemble.set("outputs", outputs);
    }

    const Json& properties_;
    const Json& details_;
    std::vector<Error>& problems_;
    const AutoMLTask* task_ = nullptr;
    AutoML automl_;
    Json algorithms_ = Json::array();
    Span trial_timeout_{};
};

}  // namespace

std::optional<AutoMLJob> read_automl_job(const Json& properties, const std::string& name,
                                         std::vector<Error>& problems) {
    Types types(properties, problems);
    types.of(resources::automl_job(), kAutoMLRules);
    types.texts({"computeId"});
    types.objects({"services"});
    if (!properties.at("taskDetails").is_object())
        problems.push_back(not_as_expected(std::string(kNoAutoML), "taskDetails",
                                           "an object with its taskType",
                                           properties.at("taskDetails"))
                               .error());
    if (!types.good() || !properties.at("taskDetails").is_object()) return std::nullopt;
    AutoMLJob job;
    job.meta = said_meta(properties, name);
    job.compute = properties.at("computeId").as_string();
    job.automl = AutoMLReader(properties, problems).read(name);
    types.refuse_the_rest();
    return job;
}

Error in_automl(Error error) {
    constexpr std::string_view inputs = "properties.inputs.";
    if (!error.subject.starts_with(inputs)) return error;
    const std::string_view rest = std::string_view(error.subject).substr(inputs.size());
    for (const TableSaid& one : kTables)
        if (rest == one.input || rest.starts_with(std::string(one.input) + "."))
            error.subject = "properties.taskDetails." + std::string(one.member) +
                            std::string(rest.substr(std::string_view(one.input).size()));
    return error;
}

}  // namespace turnout::submission
