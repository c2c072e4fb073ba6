#include <gtest/gtest.h>

#include "resources/resources.h"

namespace turnout::resources {
namespace {

struct CheckedSweep {
    std::string problems;
    std::vector<LocalPath> local;
    std::vector<Reference> references;
    Json rest;
};

// A machine on which only the folder /here/src is.
CheckedSweep check_text(std::string_view yaml) {
    CheckedSweep out;
    auto document = parse_yaml(yaml, "f.yml");
    if (!document) return {.problems = document.error().message};
    const auto description = description_for("job", *document);
    if (!description) return {.problems = description.error().message};
    const LocalFiles files = {
        .folder = "/here",
        .kind =
            [](const std::string& path) {
                return path == "/here/src" ? PathKind::Folder : PathKind::Absent;
            },
        .read = [](const std::string&) -> Result<std::string> { return std::string(); }};
    Reading reading(*document, files);
    check(**description, reading);
    if (const auto result = result_of(reading); !result) out.problems = result.error().message;
    out.local = reading.local;
    out.references = reading.references;
    if (out.problems.empty())
        out.rest = to_rest(
            **description, *document, "",
            {.workspace_path = "/subscriptions/s/resourceGroups/g/providers/M/workspaces/w"});
    return out;
}

constexpr const char* kEverything =
    R"($schema: https://azuremlschemas.azureedge.net/latest/sweepJob.schema.json
type: sweep
trial:
  command: python t.py ${{inputs.a}} ${{search_space.choice}} ${{search_space.lognormal}}
  environment: azureml:e:1
  environment_variables: {K: "1"}
  resources:
    instance_count: 1
inputs:
  a: 5
compute: azureml:cpu
sampling_algorithm:
  type: random
  seed: 123
  rule: sobol
  logbase: 10
search_space:
  choice: {type: choice, values: [1, 2.5, "x", {kind: svm, c: {type: uniform, min_value: 0.5, max_value: 2}}]}
  uniform: {type: uniform, min_value: 0.1, max_value: 1}
  quniform: {type: quniform, min_value: 1, max_value: 10, q: 2}
  loguniform: {type: loguniform, min_value: -6, max_value: -1}
  qloguniform: {type: qloguniform, min_value: 0, max_value: 3, q: 1}
  normal: {type: normal, mu: 0.5, sigma: 1}
  qnormal: {type: qnormal, mu: 0, sigma: 3, q: 0.5}
  lognormal: {type: lognormal, mu: 0, sigma: 1}
  qlognormal: {type: qlognormal, mu: 1, sigma: 1, q: 1}
  randint: {type: randint, upper: 10}
objective:
  goal: maximize
  primary_metric: acc
early_termination:
  type: bandit
  slack_factor: 0.15
  evaluation_interval: 1
  delay_evaluation: 10
limits:
  max_total_trials: 20
  max_concurrent_trials: 10
  timeout: 7200
  trial_timeout: 600
queue_settings:
  job_tier: standard
  priority: high
display_name: d
experiment_name: e
description: words
tags: {k: v}
)";

// What azure-ai-ml 1.35.2 sends for the same file, but for members that are empty or say nothing,
// and ids, which it completes with a look-up.
constexpr const char* kAsTheSdk = R"({"jobType":"Sweep","displayName":"d","description":"words",
"experimentName":"e","searchSpace":{"choice":["choice",[[1,2.5,"x",{"kind":"svm","c":["uniform",[0.5,2]]}]]],
"uniform":["uniform",[0.1,1]],"quniform":["quniform",[1,10,2]],"loguniform":["loguniform",[-6,-1]],
"qloguniform":["qloguniform",[0,3,1]],"normal":["normal",[0.5,1]],"qnormal":["qnormal",[0,3,0.5]],
"lognormal":["lognormal",[0,1]],"qlognormal":["qlognormal",[1,1,1]],"randint":["randint",[10]]},
"samplingAlgorithm":{"rule":"sobol","seed":123,"samplingAlgorithmType":"Random","logbase":10},
"limits":{"maxConcurrentTrials":10,"maxTotalTrials":20,"timeout":"PT2H","trialTimeout":"PT10M","jobLimitsType":"Sweep"},
"earlyTermination":{"delayEvaluation":10,"evaluationInterval":1,"slackFactor":0.15,"policyType":"Bandit"},
"computeId":"/subscriptions/s/resourceGroups/g/providers/M/workspaces/w/computes/cpu","objective":{"goal":"maximize","primaryMetric":"acc"},
"trial":{"environmentId":"/subscriptions/s/resourceGroups/g/providers/M/workspaces/w/environments/e/versions/1",
"command":"python t.py ${{inputs.a}} ${{search_space.choice}} ${{search_space.lognormal}}",
"environmentVariables":{"K":"1"},"resources":{"instanceCount":1}},"tags":{"k":"v"},
"inputs":{"a":{"value":"5","jobInputType":"literal"}},"queueSettings":{"jobTier":"Standard","priority":3}})";

TEST(SweepShapes, RestIsWhatTheSdkSends) {
    const CheckedSweep sweep = check_text(kEverything);
    ASSERT_EQ(sweep.problems, "");
    EXPECT_TRUE(sweep.rest.at("properties").equal_unordered(*parse_json(kAsTheSdk)))
        << sweep.rest.dump();
    ASSERT_EQ(sweep.references.size(), 1u);
    EXPECT_EQ(sweep.references[0].pointer, "/trial/environment");
}

TEST(SweepShapes, RoundTrip) {
    const CheckedSweep first = check_text(kEverything);
    ASSERT_EQ(first.problems, "");
    const Description& description = description_of_rest("job", first.rest);
    EXPECT_EQ(&description, &sweep_job());
    const Json entity = to_entity(description, first.rest);
    EXPECT_EQ(entity.at("type").as_view(), "sweep");
    EXPECT_EQ(entity.at("trial").at("environment").as_view(), "azureml:e:1");
    EXPECT_EQ(entity.at("limits").at("trial_timeout").as_int(), 600);
    const CheckedSweep second = check_text(to_yaml(entity));
    ASSERT_EQ(second.problems, "") << to_yaml(entity);
    EXPECT_TRUE(second.rest.equal_unordered(first.rest)) << second.rest.dump() << "\n"
                                                         << first.rest.dump();
}

constexpr const char* kSmall = R"(type: sweep
trial:
  code: src
  command: ls ${{search_space.lr}}
  environment: azureml:e@latest
search_space:
  lr: {type: uniform, min_value: 0.1, max_value: 1}
objective: {goal: minimize, primary_metric: loss}
)";

TEST(SweepShapes, TheTrialsFolderIsUploaded) {
    const CheckedSweep sweep = check_text(kSmall);
    ASSERT_EQ(sweep.problems, "");
    ASSERT_EQ(sweep.local.size(), 1u);
    EXPECT_EQ(sweep.local[0].pointer, "/trial/code");
    EXPECT_EQ(check_text(std::string(kSmall) + "sampling_algorithm: random\n")
                  .rest.at("properties")
                  .at("samplingAlgorithm")
                  .dump(),
              R"({"samplingAlgorithmType":"Random"})");
}

TEST(SweepShapes, ProblemsNamePlaceKeyAndWhatWasExpected) {
    const auto with = [](std::string_view more) {
        return check_text(std::string(kSmall) + std::string(more)).problems;
    };
    const auto space = [](std::string text) {
        std::string yaml = kSmall;
        yaml.replace(yaml.find("{type: uniform, min_value: 0.1, max_value: 1}"), 45, text);
        return check_text(yaml).problems;
    };
    EXPECT_EQ(with("sampling_algorithm: grid\n"),
              "f.yml:7:3: search_space.lr: grid sampling takes choices only, found uniform: give a "
              "choice of values, or use random sampling");
    EXPECT_EQ(with("sampling_algorithm: bayesian\n"),
              "f.yml:9:1: sampling_algorithm: Bayesian sampling does not run here: use random, "
              "with rule sobol for an even cover of the search space");
    EXPECT_EQ(
        with("sampling_algorithm: {type: grid, seed: 1}\n"),
        "f.yml:9:34: sampling_algorithm.seed: is not a key of grid sampling: expected one of type\n"
        "f.yml:7:3: search_space.lr: grid sampling takes choices only, found uniform: give a "
        "choice of values, or use random sampling");
    EXPECT_EQ(with("early_termination: {type: bandit}\n"),
              "f.yml:9:1: early_termination: expected slack_factor or slack_amount, larger than 0, "
              "found neither");
    EXPECT_EQ(with("early_termination: {type: median_stopping, slack_factor: 0.1}\n"),
              "f.yml:9:44: early_termination.slack_factor: belongs to the policy bandit, found "
              "'median_stopping'");
    EXPECT_EQ(
        with("early_termination: {type: bandit, slack_factor: -1}\n"),
        "f.yml:9:35: early_termination.slack_factor: expected a number larger than 0, found -1");
    EXPECT_EQ(with("early_termination: {type: bandit, slack_factor: 1, slack_amount: 1}\n"),
              "f.yml:9:52: early_termination.slack_amount: expected either slack_factor or "
              "slack_amount, found both");
    EXPECT_EQ(with("early_termination: {type: bandit, slack_factor: 0, slack_amount: 1}\n"), "")
        << "as the SDK sends it";
    EXPECT_EQ(with("early_termination: {type: truncation_selection}\n"),
              "f.yml:9:1: early_termination: key 'truncation_percentage' is missing: expected a "
              "whole number from 1 to 99");
    EXPECT_EQ(with("early_termination: {type: truncation_selection, truncation_percentage: 100}\n"),
              "f.yml:9:49: early_termination.truncation_percentage: expected a whole number from 1 "
              "to 99, found a number '100'");
    EXPECT_EQ(with("limits: {trial_timeout: 0}\n"),
              "f.yml:9:10: limits.trial_timeout: expected a whole number of seconds from 1, found "
              "a number '0'");
    EXPECT_EQ(with("limits: {max_total_trials: 0}\n"),
              "f.yml:9:10: limits.max_total_trials: expected 1 to 1,000,000, found 0");
    EXPECT_EQ(with("compute: local\n"),
              "f.yml:9:1: compute: a sweep does not run on 'local': leave the key out to use this "
              "server's machine");
    EXPECT_EQ(space("{type: unifrom, min_value: 1, max_value: 2}"),
              "f.yml:7:8: search_space.lr.type: expected one of choice, uniform, quniform, "
              "loguniform, qloguniform, normal, "
              "qnormal, lognormal, qlognormal, randint, found 'unifrom', did you mean 'uniform'?");
    EXPECT_EQ(space("{type: uniform, min_value: 1}"),
              "f.yml:7:3: search_space.lr: key 'max_value' is missing: uniform takes min_value, "
              "max_value");
    EXPECT_EQ(space("{type: uniform, min: 1, min_value: 1, max_value: 2}"),
              "f.yml:7:23: search_space.lr.min: is not a key of uniform: expected one of type, "
              "min_value, max_value");
    EXPECT_EQ(space("{type: uniform, min_value: 3, max_value: 2}"),
              "f.yml:7:23: search_space.lr.min_value: expected at most max_value (2), found 3");
    EXPECT_EQ(space("{type: normal, mu: low, sigma: 1}"),
              "f.yml:7:22: search_space.lr.mu: expected a number, found text 'low'");
    EXPECT_EQ(space("{type: randint, upper: 0}"),
              "f.yml:7:23: search_space.lr.upper: expected a whole number from 1, found 0");
    EXPECT_EQ(space("{type: loguniform, min_value: 1, max_value: 1000}"),
              "f.yml:7:40: search_space.lr.max_value: expected an exponent (the values are powers "
              "of 2.718281828459045), found 1000, whose power is too large");
    EXPECT_EQ(space("{type: choice, values: []}"),
              "f.yml:7:22: search_space.lr.values: is empty: expected at least one value");
    EXPECT_EQ(space("{type: uniform, min_value: 1e-3, max_value: 1}"), "") << "as people write it";
    EXPECT_EQ(space("5"),
              "f.yml:7:3: search_space.lr: expected an expression such as {type: uniform, "
              "min_value: 0.1, max_value: 1}, found a number '5'");
    std::string yaml = kSmall;
    yaml.replace(yaml.find("search_space.lr"), 15, "search_space.rl");
    EXPECT_EQ(check_text(yaml).problems,
              "f.yml:4:3: trial.command: ${{search_space.rl}} is not among the search_space: lr");
    EXPECT_EQ(check_text("type: sweep\ntrial: ./train.yml\nsearch_space: {a: {type: randint, "
                         "upper: 2}}\nobjective: {goal: minimize, primary_metric: m}\n")
                  .problems,
              "f.yml:2:1: trial: a component as trial does not run yet: give command, code and "
              "environment, found './train.yml'");
    EXPECT_EQ(check_text("type: sweep\n").problems,
              "f.yml:1:1: key 'trial' is missing: expected the command that is tried\n"
              "f.yml:1:1: key 'search_space' is missing: expected the parameters, each with its "
              "expression\n"
              "f.yml:1:1: key 'objective' is missing: expected which trial is best");
}

}  // namespace
}  // namespace turnout::resources
