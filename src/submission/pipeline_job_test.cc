#include "submission/pipeline_job.h"

#include <gtest/gtest.h>

#include <map>

#include "base/text.h"
#include "submission/job.h"

namespace turnout::submission {
namespace {

// What is registered, by the id that names it.
std::map<std::string, Json> registered() {
    const auto read = [](const char* text) { return *parse_json(text); };
    return {
        {"azureml:prep:1", read(R"({"type":"command","command":"prep ${{inputs.raw}}",
            "environment":"azureml:e:1","code":"azureml:/codes/c",
            "inputs":{"raw":{"type":"uri_folder"},
                      "rows":{"type":"integer","default":"10","min":"1","max":"100"},
                      "note":{"type":"string","optional":true}},
            "outputs":{"clean":{"type":"uri_folder","mode":"upload"}}})")},
        {"azureml:train:1", read(R"({"type":"command","command":"train",
            "environment":"azureml:e:1","environment_variables":{"A":"1","B":"2"},
            "resources":{"instance_count":2},"distribution":{"type":"pytorch","process_count_per_instance":"2"},
            "inputs":{"data":{"type":"uri_folder"},"rate":{"type":"number","enum":["0.1","0.2"]}},
            "outputs":{"model":{"type":"mlflow_model"}}})")},
        {"azureml:both:1", read(R"({"type":"pipeline",
            "inputs":{"raw":{"type":"uri_folder"},"rate":{"type":"number","default":"0.1"}},
            "outputs":{"model":{"type":"mlflow_model"}},
            "jobs":{
              "train":{"type":"command","componentId":"azureml:train:1","inputs":{
                 "data":{"value":"${{parent.jobs.prep.outputs.clean}}","job_input_type":"literal"},
                 "rate":{"value":"${{parent.inputs.rate}}","job_input_type":"literal"}},
                 "outputs":{"model":{"value":"${{parent.outputs.model}}","type":"literal"}}},
              "prep":{"type":"command","componentId":"azureml:prep:1","inputs":{
                 "raw":{"value":"${{parent.inputs.raw}}","job_input_type":"literal"}}}}})")},
        {"azureml:spark:1", read(R"({"type":"spark"})")},
    };
}

struct ReadBack {
    std::optional<PipelineJob> job;
    std::vector<Error> problems;
    const PipelineStep& step(std::size_t i) const { return job->pipeline.steps.at(i); }
};

ReadBack read_pipeline(const std::string& properties) {
    static const auto known = registered();
    ReadBack back;
    const auto json = parse_json(properties);
    EXPECT_TRUE(json) << properties;
    Workspace workspace;
    back.job = read_pipeline_job(
        *json, workspace, "p",
        [&](const std::string& id) -> Result<Json> {
            if (const auto found = known.find(id); found != known.end()) return found->second;
            return not_found("component '" + id + "' does not exist");
        },
        back.problems);
    return back;
}

std::string with_steps(const std::string& jobs, const std::string& more = "") {
    return R"({"jobType":"Pipeline","experimentName":"x",)" + more +
           R"("inputs":{"raw":{"jobInputType":"uri_folder","uri":"azureml:d:1","mode":"Download"},
              "rate":{"jobInputType":"literal","value":"0.2"},"none":null},
              "jobs":{)" +
           jobs + "}}";
}

const std::string kPrep =
    R"("prep":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"}}})";

TEST(PipelineJob, StepsBecomeCommandJobsThatNameEachOthersOutputs) {
    const ReadBack back = read_pipeline(with_steps(
        // The second is written first.
        R"("train":{"componentId":"azureml:train:1","display_name":"The training",
             "inputs":{"data":{"value":"${{parent.jobs.prep.outputs.clean}}"},
                       "rate":{"value":"${{ parent.inputs.rate }}"}},
             "outputs":{"model":{"value":"${{parent.outputs.best}}","type":"literal"}},
             "environment_variables":{"B":"two ${{parent.inputs.rate}}"},
             "limits":{"timeout":60},"computeId":"azureml:big","resources":{"instance_count":1}},)" +
            kPrep,
        R"("outputs":{"best":{"jobOutputType":"mlflow_model","mode":"Upload",
             "uri":"azureml://datastores/d/paths/best","assetName":"net","assetVersion":"3"}},
           "settings":{"force_rerun":true,"default_compute":"small","continue_on_step_failure":"True"},)"));
    ASSERT_TRUE(back.problems.empty()) << back.problems[0].message;
    ASSERT_EQ(back.job->pipeline.steps.size(), 2u);
    EXPECT_TRUE(back.job->pipeline.continue_on_step_failure);
    EXPECT_EQ(back.job->compute, "small");
    const PipelineStep &prep = back.step(0), &train = back.step(1);
    EXPECT_EQ(prep.name, "prep");
    EXPECT_EQ(prep.compute, "small");
    EXPECT_TRUE(prep.after.empty());
    EXPECT_EQ(prep.definition.at("inputs").dump(),
              R"({"raw":{"jobInputType":"uri_folder","mode":"Download","uri":"azureml:d:1"},)"
              R"("rows":{"jobInputType":"literal","value":"10"}})");
    EXPECT_EQ(prep.definition.at("codeId").as_string(), "/codes/c");
    EXPECT_EQ(prep.definition.at("outputs").dump(),
              R"({"clean":{"jobOutputType":"uri_folder","mode":"Upload"}})");
    EXPECT_EQ(train.display_name, "The training");
    EXPECT_EQ(train.compute, "big");
    EXPECT_EQ(train.after, (std::vector<std::int64_t>{0}));
    EXPECT_EQ(train.definition.at("inputs").dump(),
              R"({"data":{"jobInputType":"uri_folder","uri":"azureml://jobs/p_0/outputs/clean"},)"
              R"("rate":{"jobInputType":"literal","value":"0.2"}})");
    EXPECT_EQ(
        train.definition.at("outputs").dump(),
        R"({"model":{"jobOutputType":"mlflow_model","mode":"Upload",)"
        R"("uri":"azureml://datastores/d/paths/best","assetName":"net","assetVersion":"3"}})");
    EXPECT_TRUE(train.definition.at("forceRerun").as_bool());
    EXPECT_EQ(train.definition.at("environmentVariables").dump(), R"({"A":"1","B":"two 0.2"})");
    EXPECT_EQ(train.definition.at("limits").dump(),
              R"({"timeout":"PT60S","jobLimitsType":"Command"})");
    EXPECT_EQ(train.definition.at("resources").dump(), R"({"instanceCount":1})");
    EXPECT_EQ(train.definition.at("distribution").dump(),
              R"({"processCountPerInstance":2,"distributionType":"PyTorch"})");
    ASSERT_EQ(back.job->pipeline.outputs.size(), 1u);
    EXPECT_EQ(back.job->pipeline.outputs[0].name, "best");
    EXPECT_EQ(back.job->pipeline.outputs[0].step, 1);
    EXPECT_EQ(back.job->pipeline.outputs[0].output, "model");
    std::vector<Error> problems;
    EXPECT_TRUE(read_command_job(train.definition, "p_1", problems));
    EXPECT_TRUE(problems.empty()) << problems[0].message;
}

TEST(PipelineJob, APipelineWithinIsTakenApart) {
    const ReadBack back = read_pipeline(with_steps(
        R"("inner":{"type":"pipeline","componentId":"azureml:both:1",
             "inputs":{"raw":{"value":"${{parent.inputs.raw}}"}},
             "outputs":{"model":{"value":"${{parent.outputs.best}}"}}},
           "again":{"componentId":"azureml:train:1","inputs":{"rate":0.1,
             "data":{"value":"${{parent.jobs.inner.outputs.model}}"}}})",
        R"("outputs":{"best":{"jobOutputType":"mlflow_model"}},)"));
    ASSERT_TRUE(back.problems.empty()) << back.problems[0].message;
    ASSERT_EQ(back.job->pipeline.steps.size(), 3u);
    EXPECT_EQ(back.step(0).name, "inner.prep");
    EXPECT_EQ(back.step(1).name, "inner.train");
    EXPECT_EQ(back.step(1).after, (std::vector<std::int64_t>{0}));
    EXPECT_EQ(back.step(2).name, "again");
    EXPECT_EQ(back.step(2).definition.at("inputs").at("data").at("uri").as_string(),
              "azureml://jobs/p_1/outputs/model");
    EXPECT_EQ(back.job->pipeline.outputs[0].step, 1);
    EXPECT_EQ(back.job->places[1], "jobs.inner.component.jobs.train");
}

TEST(PipelineJob, ADefaultDatastoreHoldsTheOutputs) {
    const ReadBack back =
        read_pipeline(with_steps(kPrep, R"("settings":{"default_datastore":"azureml:mine"},)"));
    ASSERT_TRUE(back.problems.empty());
    EXPECT_EQ(back.step(0).definition.at("outputs").at("clean").at("uri").as_string(),
              "azureml://datastores/mine/paths/azureml/${{name}}/${{output_name}}");
}

TEST(PipelineJob, WhatIsWrongIsRefusedByNameAndPlace) {
    struct Case {
        std::string jobs, place, words;
        std::string more = "";
    };
    const auto train = [](const std::string& inputs) {
        return kPrep + R"(,"train":{"componentId":"azureml:train:1","inputs":{)" + inputs + "}}";
    };
    const std::vector<Case> cases = {
        {"", "jobs", "at least one step"},
        {R"("a-b":{"componentId":"azureml:prep:1"})", "jobs.a-b", "letters, digits and '_'"},
        {R"("a":{"inputs":{}})", "jobs.a.componentId", "needs a component"},
        {R"("a":{"componentId":"azureml:nope:1"})", "jobs.a.componentId", "does not exist"},
        {R"("a":{"type":"sweep"})", "jobs.a.type", "steps of type 'sweep' do not run yet"},
        {R"("a":{"componentId":"azureml:spark:1"})", "jobs.a.componentId", "of type 'spark'"},
        {R"("a":{"componentId":"azureml:prep:1"})", "jobs.a.inputs.raw", "has no value"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":"text"}})", "jobs.a.inputs.raw",
         "expected data of type uri_folder, found the literal 'text'"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"uri":"azureml:f:1",)"
         R"("job_input_type":"uri_file"}}})",
         "jobs.a.inputs.raw",
         "expected uri_folder, as its component says, found data of type "
         "uri_file"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.row}}"}}})",
         "jobs.a.inputs.raw", "no input of the pipeline, did you mean 'raw'?"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"},)"
         R"("rows":"1.5"}})",
         "jobs.a.inputs.rows", "expected a whole number"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"},)"
         R"("rows":"101"}})",
         "jobs.a.inputs.rows", "expected at most 100"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"},)"
         R"("rowz":"1"}})",
         "jobs.a.inputs.rowz", "no input 'rowz', did you mean 'rows'?"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"}},)"
         R"("outputs":{"cleen":{}}})",
         "jobs.a.outputs.cleen", "no output 'cleen', did you mean 'clean'?"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"}},)"
         R"("outputs":{"clean":{"value":"${{parent.outputs.x}}"}}})",
         "jobs.a.outputs.clean", "is no output of the pipeline"},
        {train(R"("rate":0.3,"data":{"value":"${{parent.jobs.prep.outputs.clean}}"})"),
         "jobs.train.inputs.rate", "expected one of 0.1, 0.2"},
        {train(R"("rate":0.1,"data":{"value":"${{parent.jobs.prap.outputs.clean}}"})"),
         "jobs.train.inputs.data", "there is no step 'prap', did you mean 'prep'?"},
        {train(R"("rate":0.1,"data":{"value":"${{parent.jobs.prep.outputs.clear}}"})"),
         "jobs.train.inputs.data", "has no output 'clear', did you mean 'clean'?"},
        {train(R"("rate":0.1,"data":{"value":"${{parent.jobs.prep.outputs.clean}}"}},)"
               R"("environment_variables":{"X":"${{parent.jobs.nope.outputs.x}}")"),
         "jobs.train.environment_variables.X", "only inputs take outputs of steps"},
        {train(R"("rate":0.1,"data":{"uri":"azureml://jobs/p_0/outputs/clean"})"),
         "jobs.train.inputs.data.uri", "is a step of this pipeline"},
        {train(R"("rate":0.1,"data":{"value":"${{jobs.prep.outputs.clean}}"})"),
         "jobs.train.inputs.data", "expected ${{parent.inputs.NAME}}"},
        {train(R"("rate":"x ${{parent.jobs.prep.outputs.clean}}",)"
               R"("data":{"value":"${{parent.jobs.prep.outputs.clean}}"})"),
         "jobs.train.inputs.rate", "cannot be a part of a text"},
        {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.jobs.c.outputs.clean}}"}}},)"
         R"("b":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.jobs.a.outputs.clean}}"}}},)"
         R"("c":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.jobs.b.outputs.clean}}"}}})",
         "jobs.a", "without end: a -> b -> c -> a"},
        {kPrep, "outputs.y", "no step gives it", R"("outputs":{"y":{}},)"},
        {kPrep, "settings.on_init", "does not work yet", R"("settings":{"on_init":"prep"},)"},
        {kPrep, "outputs.y", "no step gives it", R"("outputs":{"y":{"assetName":"m"}},)"},
    };
    for (const Case& one : cases) {
        const ReadBack back = read_pipeline(with_steps(one.jobs, one.more));
        ASSERT_FALSE(back.problems.empty()) << one.jobs;
        EXPECT_EQ(back.problems[0].subject, "properties." + one.place) << one.jobs;
        EXPECT_NE(back.problems[0].message.find(one.words), std::string::npos)
            << back.problems[0].message;
    }
}

TEST(PipelineJob, WithoutTheServerItIsCheckedAsFarAsItIsKnown) {
    const Json good = *parse_json(with_steps(
        R"("a":{"component":{"type":"command","_source":"YAML.JOB","command":"echo ${{inputs.x}} > ${{outputs.o}}",
             "environment":"azureml:e:1"},"inputs":{"x":1},"outputs":{"o":{}}},
           "b":{"componentId":"azureml:unknown:1",
                "inputs":{"y":{"value":"${{parent.jobs.a.outputs.o}}"}}})"));
    EXPECT_TRUE(problems_of(good, {}, "p").empty());
    const Json bad = *parse_json(with_steps(
        R"("a":{"component":{"type":"command","_source":"YAML.JOB","command":"echo ${{inputs.z}}",
             "environment":"azureml:e:1"},"inputs":{"x":1}})"));
    const auto problems = problems_of(bad, {}, "p");
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_EQ(problems[0].subject, "properties.jobs.a.component.command");
    EXPECT_TRUE(problems[0].message.starts_with("step 'a': ")) << problems[0].message;
}

}  // namespace
}  // namespace turnout::submission
