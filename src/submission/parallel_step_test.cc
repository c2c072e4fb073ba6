#include "submission/parallel_step.h"

#include <gtest/gtest.h>

#include "submission/batch_job.h"
#include "submission/parallel_program.h"

namespace turnout::submission {
namespace {

Json parsed(const std::string& text) {
    auto json = parse_json(text);
    EXPECT_TRUE(json) << text;
    return json ? *json : Json();
}

// Stands for the pipeline around a step: its input "n" is 7.
std::optional<std::string> seven(const std::string& text, const std::string&) {
    return text == "${{parent.inputs.n}}" ? "7" : text;
}

const std::string kSpec =
    R"({"type":"parallel","inputs":{"data":{"type":"uri_folder","mode":"direct"}},
    "outputs":{"rows":{"type":"uri_file"},"files":{"type":"uri_folder"}},
    "input_data":"${{inputs.data}}","mini_batch_size":"10KB","task":{"type":"run_function",
    "code":"azureml:/subscriptions/s/codes/c/versions/1","entry_script":"score.py",
    "environment":"azureml:e:1","program_arguments":"--to ${{outputs.files}}",
    "append_row_to":"${{outputs.rows}}"}})";

TEST(ParallelStep, BecomesACommandStep) {
    std::vector<Error> problems;
    const auto step = parallel_as_command(
        parsed(kSpec),
        parsed(
            R"({"mini_batch_size":"${{parent.inputs.n}}","error_threshold":"5","logging_level":"warn",
            "retry_settings":{"max_retries":1,"timeout":"30"},"resources":{"instance_count":2}})"),
        "jobs.a.component.", "jobs.a", seven, problems);
    ASSERT_TRUE(step) << problems.front().message;
    const std::string command = step->spec.at("command").as_string();
    EXPECT_NE(command.find("\"$AZUREML_PARALLEL_PROGRAM\" "), std::string::npos) << command;
    EXPECT_NE(command.find(R"('{"entry_script":"score.py","error_threshold":5,"max_retries":1,)"
                           R"("timeout":30,"logging_level":"WARNING","mini_batch_size":"7",)"
                           R"("folders":["${{outputs.files}}"]}' )"),
              std::string::npos)
        << command;
    EXPECT_TRUE(command.ends_with(R"("${{inputs.data}}" "${{outputs.rows}}" '' -- --to )"
                                  "${{outputs.files}}"))
        << command;
    EXPECT_EQ(step->spec.at("type").as_view(), "command");
    EXPECT_EQ(step->spec.at("environment").as_view(), "azureml:e:1");
    EXPECT_EQ(step->spec.at("inputs").at("data").at("mode").as_view(), "ReadOnlyMount");
    EXPECT_EQ(step->said.at("distribution").at("type").as_view(), "pytorch");
}

TEST(ParallelStep, TablesAndKeys) {
    Json spec = parsed(kSpec);
    spec["inputs"]["data"].set("type", "mltable");
    spec.set("partition_keys", R"(["shop","day"])");  // as the SDK writes them
    std::vector<Error> problems;
    const auto step = parallel_as_command(spec, Json::object(), "c.", "jobs.a", seven, problems);
    ASSERT_TRUE(step);
    EXPECT_NE(step->spec.at("command").as_view().find(
                  R"("tabular":true,"partition_keys":["shop","day"])"),
              std::string::npos);
    EXPECT_TRUE(step->said.at("distribution").is_null());
}

TEST(ParallelStep, WhatIsWrongIsToldAtItsPlace) {
    const struct {
        const char* said;
        const char* place;
        const char* words;
    } cases[] = {
        {R"({"mini_batch_size":"many"})", "jobs.a.mini_batch_size", "such as 10kb, found"},
        {R"({"mini_batch_size":0})", "jobs.a.mini_batch_size", "a number of files"},
        {R"({"error_threshold":-2})", "jobs.a.error_threshold", "a whole number from -1"},
        {R"({"max_concurrency_per_instance":0})", "jobs.a.max_concurrency_per_instance", "from 1"},
        {R"({"retry_settings":3})", "jobs.a.retry_settings", "a mapping with max_retries"},
        {R"({"logging_level":"LOUD"})", "jobs.a.logging_level", "DEBUG, INFO"},
        {R"({"input_data":"${{inputs.date}}"})", "jobs.a.input_data", "did you mean 'data'"},
        {R"({"input_data":"data"})", "jobs.a.input_data", "${{inputs.NAME}}"},
        {R"({"task":{"append_row_to":"${{outputs.row}}"}})", "jobs.a.task.append_row_to", "'rows'"},
        {R"({"task":{"type":"automl"}})", "jobs.a.task.type", "run_function"},
        {R"({"partition_keys":["a"]})", "jobs.a.partition_keys", "only tables have columns"},
    };
    for (const auto& one : cases) {
        std::vector<Error> problems;
        EXPECT_FALSE(parallel_as_command(parsed(kSpec), parsed(one.said), "jobs.a.component.",
                                         "jobs.a", seven, problems))
            << one.said;
        ASSERT_EQ(problems.size(), 1U) << one.said;
        EXPECT_NE(problems[0].subject.find(one.place), std::string::npos) << problems[0].subject;
        EXPECT_NE(problems[0].message.find(one.words), std::string::npos) << problems[0].message;
    }
}

TEST(ParallelStep, TheProgramIsThere) {
    EXPECT_NE(parallel_program().find("class Coordinator"), std::string_view::npos);
    EXPECT_EQ(parallel_program().find("${{"), std::string_view::npos);  // nothing is put into it
    EXPECT_LT(parallel_program().size(), 100U << 10);                   // it is one variable
}

TEST(BatchJob, ScoresByOneStep) {
    const BatchDeploymentSaid deployment{
        "moods", "words",
        parsed(R"({"model":{"assetId":"azureml:m:1"},"environmentId":"azureml:e:1",
            "codeConfiguration":{"codeId":"azureml:c:1","scoringScript":"s.py"},"miniBatchSize":5,
            "compute":"/subscriptions/s/computes/cpu","retrySettings":{"timeout":"PT1M","maxRetries":3},
            "resources":{"instanceCount":1},"outputFileName":"p.csv"})"),
        "custom_model", "words"};
    const auto job = batch_job(
        deployment, parsed(R"({"inputData":{"any":{"jobInputType":"UriFolder","uri":"azureml:d:1"}},
            "compute":{"instanceCount":3},"miniBatchSize":2,
            "outputData":{"score":{"jobOutputType":"UriFolder","uri":"azureml://datastores/d/paths/p"}}})"));
    ASSERT_TRUE(job) << job.error().message;
    EXPECT_EQ(job->at("experimentName").as_view(), "moods");
    EXPECT_EQ(job->at("settings").at("default_compute").as_view(), "/subscriptions/s/computes/cpu");
    EXPECT_EQ(job->at("outputs").at("score").at("uri").as_view(), "azureml://datastores/d/paths/p");
    const Json& step = job->at("jobs").at("batchscoring");
    EXPECT_EQ(step.at("resources").at("instance_count").as_int(), 3);
    const Json& spec = step.at("component");
    EXPECT_EQ(spec.at("mini_batch_size").as_int(), 2);
    EXPECT_EQ(spec.at("retry_settings").dump(), R"({"max_retries":3,"timeout":60})");
    EXPECT_EQ(spec.at("task").at("output_file_name").as_view(), "p.csv");
    std::vector<Error> problems;
    EXPECT_TRUE(parallel_as_command(spec, step, "c.", "jobs.batchscoring", seven, problems));
}

TEST(BatchJob, RefusesWhatCannotBe) {
    const BatchDeploymentSaid deployment{"e", "d", parsed(R"({"environmentId":"azureml:e:1"})"), "",
                                         ""};
    const struct {
        const char* request;
        const char* place;
    } cases[] = {
        {R"({})", "inputData"},
        {R"({"inputData":{"a":{"jobInputType":"Literal","value":1}}})", "inputData.a.jobInputType"},
        {R"({"inputData":{"a":{"jobInputType":"UriFolder"}}})", "inputData.a.uri"},
        {R"({"inputData":{"a":{"jobInputType":"What","uri":"x"}}})", "inputData.a.jobInputType"},
        {R"({"retrySettings":{"timeout":"soon"}})", "retrySettings.timeout"},
        {R"({"compute":3})", "compute"},
    };
    for (const auto& one : cases) {
        const auto job = batch_job(deployment, parsed(one.request));
        ASSERT_FALSE(job) << one.request;
        EXPECT_NE(job.error().subject.find(one.place), std::string::npos) << job.error().subject;
    }
}

TEST(BatchJob, RunsAComponent) {
    const BatchDeploymentSaid deployment{
        "e", "d", parsed(R"({"deploymentConfiguration":{"componentId":{"assetId":"azureml:p:1"},
            "settings":{"default_compute":"cpu","continue_on_step_failure":"True"}}})"),
        "", ""};
    const auto job =
        batch_job(deployment, parsed(R"({"inputData":{"n":{"jobInputType":"Literal","value":3},
            "d":{"jobInputType":"UriFile","uri":"azureml:d:1"}}})"));
    ASSERT_TRUE(job);
    EXPECT_EQ(job->at("componentId").as_view(), "azureml:p:1");
    EXPECT_EQ(job->at("inputs").at("n").at("value").as_view(), "3");
    EXPECT_EQ(job->at("inputs").at("d").at("jobInputType").as_view(), "uri_file");
    EXPECT_TRUE(job->at("settings").at("continue_on_step_failure").as_bool());
}

}  // namespace
}  // namespace turnout::submission
