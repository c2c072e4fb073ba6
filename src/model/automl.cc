#include "model/automl.h"

namespace turnout {

bool is_of_automl(std::string_view role) {
    return role == kAutoMLSetup || role == kAutoMLTrial || role == kAutoMLEnsemble;
}

Json to_json(const AutoML& automl) {
    Json json = Json::object({{"metric", automl.metric},
                              {"maximize", automl.maximize},
                              {"maxTrials", automl.max_trials},
                              {"maxConcurrent", automl.max_concurrent},
                              {"earlyTermination", automl.early_termination},
                              {"voting", automl.voting},
                              {"stacking", automl.stacking},
                              {"compute", automl.compute},
                              {"setup", automl.setup},
                              {"trial", automl.trial},
                              {"ensemble", automl.ensemble}});
    if (automl.timeout) json.set("timeout", automl.timeout->count());
    if (automl.exit_score) json.set("exitScore", *automl.exit_score);
    if (automl.priority != 0) json.set("priority", automl.priority);
    return json;
}

Result<AutoML> automl_from_json(const Json& json) {
    AutoML automl;
    automl.metric = json.at("metric").as_string();
    automl.maximize = json.at("maximize").as_bool(true);
    automl.max_trials = json.at("maxTrials").as_int();
    automl.max_concurrent = json.at("maxConcurrent").as_int();
    automl.early_termination = json.at("earlyTermination").as_bool();
    automl.voting = json.at("voting").as_bool();
    automl.stacking = json.at("stacking").as_bool();
    automl.compute = json.at("compute").as_string();
    automl.priority = static_cast<int>(json.at("priority").as_int());
    automl.setup = json.at("setup");
    automl.trial = json.at("trial");
    automl.ensemble = json.at("ensemble");
    if (const Json& timeout = json.at("timeout"); timeout.is_int())
        automl.timeout = Span(timeout.as_int());
    if (const Json& score = json.at("exitScore"); score.is_number())
        automl.exit_score = score.as_double();
    if (automl.metric.empty() || automl.max_trials < 1 || automl.max_concurrent < 1)
        return internal("stored AutoML job that cannot be read");
    return automl;
}

}  // namespace turnout
