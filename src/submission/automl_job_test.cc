#include "submission/automl_job.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace turnout::submission {
namespace {

Json automl_said() {
    return *parse_json(R"({"jobType":"AutoML","computeId":"c","properties":{},"outputs":{},
        "taskDetails":{"taskType":"Classification","targetColumnName":"y","primaryMetric":"AUCWeighted",
          "trainingData":{"uri":"azureml://datastores/workspaceblobstore/paths/x/","jobInputType":"mltable"},
          "nCrossValidations":{"mode":"Custom","value":5},
          "limitSettings":{"maxTrials":5,"maxConcurrentTrials":2,"timeout":"PT10H","trialTimeout":"PT20M",
             "enableEarlyTermination":true,"exitScore":0.9,"sweepTrials":0,"sweepConcurrentTrials":0},
          "trainingSettings":{"enableOnnxCompatibleModels":true,"blockedTrainingAlgorithms":["LogisticRegression"]},
          "logVerbosity":"Info"}})");
}

TEST(AutoMLJob, TheSearchAndItsChildrenFollowFromTheDefinition) {
    std::vector<Error> problems;
    const auto job = read_automl_job(automl_said(), "a", problems);
    ASSERT_TRUE(job && problems.empty()) << (problems.empty() ? "" : problems[0].message);
    const AutoML& automl = job->automl;
    EXPECT_EQ(automl.metric, "AUC_weighted");
    EXPECT_TRUE(automl.maximize && automl.voting && automl.stacking && automl.early_termination);
    EXPECT_EQ(automl.max_trials, 5);
    EXPECT_EQ(automl.max_concurrent, 2);
    EXPECT_EQ(automl.timeout, 10h);
    EXPECT_EQ(automl.exit_score, 0.9);
    EXPECT_EQ(automl.setup.at("inputs").at("training").at("jobInputType").as_view(), "mltable");
    EXPECT_EQ(automl.trial.at("limits").at("timeout").as_view(), "PT1200S");
    EXPECT_EQ(automl.trial.at("inputs").at("data").at("uri").as_view(),
              "azureml://jobs/a_0/outputs/data");
    const auto settings = parse_json(
        automl.setup.at("environmentVariables").at(std::string(kAutoMLSettings)).as_view());
    ASSERT_TRUE(settings);
    const std::string algorithms = settings->at("algorithms").dump();
    EXPECT_NE(algorithms.find("LightGBM"), std::string::npos);
    EXPECT_EQ(algorithms.find("LogisticRegression"), std::string::npos) << "blocked";
    const auto again = automl_from_json(*parse_json(to_json(automl).dump()));
    ASSERT_TRUE(again);
    EXPECT_EQ(to_json(*again).dump(), to_json(automl).dump());
}

TEST(AutoMLJob, WhatIsWrongIsNamedWithItsPlaceAndWhatWasExpected) {
    struct Bad {
        const char *change, *place, *words;
    };
    const Bad all[] = {
        {R"({"taskType":"ImageClassification"})", "taskDetails.taskType", "images and of text"},
        {R"({"taskType":"Classify"})", "taskDetails.taskType", "Classification, Regression or"},
        {R"({"primaryMetric":"R2Score"})", "taskDetails.primaryMetric",
         "expected a metric of classification (AUC_weighted, accuracy"},
        {R"({"targetColumnName":""})", "taskDetails.targetColumnName", "the column"},
        {R"({"trainingData":null})", "taskDetails.trainingData", "jobInputType and uri"},
        {R"({"validationDataSize":1.5})", "taskDetails.validationDataSize", "less than 1"},
        {R"({"validationData":{"uri":"azureml://x","jobInputType":"mltable"}})",
         "taskDetails.nCrossValidations", "nothing beside validationData"},
        {R"({"nCrossValidations":{"mode":"Custom","value":1}})", "taskDetails.nCrossValidations",
         "from 2 to 50, found 1"},
        {R"({"weightColumnName":"w"})", "taskDetails.weightColumnName", "found 'w'"},
        {R"({"limitSettings":{"maxTrials":0}})", "taskDetails.limitSettings.maxTrials",
         "from 1 to 10,000, found 0"},
        {R"({"limitSettings":{"timeout":"soon"}})", "taskDetails.limitSettings.timeout",
         "a duration"},
        {R"({"trainingSettings":{"allowedTrainingAlgorithms":["LightGMB"]}})",
         "taskDetails.trainingSettings.allowedTrainingAlgorithms[0]", "light_gbm"},
        {R"({"trainingSettings":{"enableDnnTraining":true}})",
         "taskDetails.trainingSettings.enableDnnTraining", "expected false"},
        {R"({"featurizationSettings":{"columnNameAndTypes":{"a":"Number"}}})",
         "taskDetails.featurizationSettings.columnNameAndTypes.a", "Numeric, Categorical"},
        {R"({"featurizationSettings":{"blockedTransformers":["Magic"]}})",
         "taskDetails.featurizationSettings.blockedTransformers[0]", "found \"Magic\""},
        {R"({"featurizationSettings":{"transformerParams":{"Imputer":[{"fields":["a"],"parameters":{"strategy":"guess"}}]}}})",
         "taskDetails.featurizationSettings.transformerParams.Imputer[0].parameters.strategy",
         "most_frequent"},
        {R"({"taskType":"Forecasting","primaryMetric":"R2Score"})",
         "taskDetails.forecastingSettings.timeColumnName", "the column with the time"},
        {R"({"taskType":"Forecasting","primaryMetric":"R2Score","trainingSettings":{"allowedTrainingAlgorithms":["TCNForecaster"]},"forecastingSettings":{"timeColumnName":"t"}})",
         "taskDetails.trainingSettings.allowedTrainingAlgorithms", "deep network"},
    };
    for (const Bad& bad : all) {
        Json said = automl_said();
        const Json change = *parse_json(bad.change);
        for (const auto& [member, value] : change.members()) said["taskDetails"].set(member, value);
        std::vector<Error> problems;
        read_automl_job(said, "a", problems);
        ASSERT_FALSE(problems.empty()) << bad.change;
        bool found = false;
        std::string told;
        for (const Error& problem : problems) {
            told += problem.subject + ": " + problem.message + "\n";
            found = found || (problem.subject == std::string("properties.") + bad.place &&
                              problem.message.find(bad.words) != std::string::npos);
        }
        EXPECT_TRUE(found) << bad.change << "\n" << told;
    }
}

}  // namespace
}  // namespace turnout::submission
