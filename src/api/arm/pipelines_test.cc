// Pipelines at the API: what is looked up at submission, what a step's task becomes, and what is
// refused.
#include <gtest/gtest.h>

#include "api/arm/pipeline.h"
#include "api/data_uri.h"
#include "api/test_world.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

const char* const kPrep = R"({"type":"command","name":"prep","version":"1",
    "command":"prep ${{inputs.raw}} ${{inputs.rows}} ${{outputs.clean}}",
    "environment":"azureml:mine:1","code":"azureml:c:1",
    "inputs":{"raw":{"type":"uri_folder"},"rows":{"type":"integer","default":"10"}},
    "outputs":{"clean":{"type":"uri_folder"}}})";

class Pipelines : public ::testing::Test {
protected:
    Pipelines() {
        world.put_blob(blobstore_container(world.workspace.id), "folder/a.csv", "a");
        world.put_blob(code_container(world.workspace.id, "0123"), "src/train.py", "print()");
        put("/codes/c/versions/1",
            Json::object({{"codeUri", "http://x/blob/" +
                                          code_container(world.workspace.id, "0123") + "/src"}}));
        put("/environments/mine/versions/1", Json::object({{"image", "debian:12"}}));
        put("/components/prep/versions/1", Json::object({{"componentSpec", *parse_json(kPrep)}}));
        put("/computes/small",
            Json::object({{"computeType", "AmlCompute"},
                          {"properties", Json::object({{"vmSize", "STANDARD_DS2_V2"},
                                                       {"scaleSettings",
                                                        Json::object({{"maxNodeCount", 2}})}})}}));
    }
    void put(const std::string& path, const Json& properties) {
        const Reply reply = world.send("PUT", path, Json::object({{"properties", properties}}));
        ASSERT_EQ(reply.status, 201) << reply.text;
    }
    Reply submit(const std::string& name, const std::string& jobs, const std::string& more = "") {
        const std::string body =
            R"({"properties":{"jobType":"Pipeline","experimentName":"e",)" + more +
            R"("inputs":{"raw":{"jobInputType":"uri_folder",)"
            R"("uri":"azureml://datastores/workspaceblobstore/paths/folder"}},)"
            R"("jobs":{)" +
            jobs + "}}}";
        const auto json = parse_json(body);
        EXPECT_TRUE(json) << body;
        return world.send("PUT", "/jobs/" + name, *json);
    }
    JobRecord record(const std::string& name) {
        const auto found = read_job(world.store, world.workspace.id, name);
        EXPECT_TRUE(found && *found) << name;
        return found && *found ? (*found)->record : JobRecord{};
    }

    World world;
};

const std::string kFirst =
    R"("first":{"componentId":"azureml:prep:1","inputs":{"raw":{"value":"${{parent.inputs.raw}}"}}})";
const std::string kSecond =
    R"(,"second":{"type":"command","computeId":"small","componentId":"azureml:prep@latest",
        "inputs":{"raw":{"value":"${{parent.jobs.first.outputs.clean}}"},"rows":"3"},
        "outputs":{"clean":{"value":"${{parent.outputs.all}}","type":"literal"}}})";

TEST_F(Pipelines, StepsAreJobsThatWaitForEachOther) {
    const Reply made = submit("p", kFirst + kSecond, R"("outputs":{"all":{}},)");
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(submit("p", kFirst + kSecond, R"("outputs":{"all":{}},)").status, 200) << "again";
    EXPECT_EQ(submit("p", kFirst).status, 409) << "another one of that name";
    const JobRecord first = record("p_0"), second = record("p_1");
    EXPECT_EQ(first.child.role, "first");
    EXPECT_EQ(first.compute, "serverless");
    EXPECT_EQ(second.compute, "small");
    EXPECT_EQ(second.status, JobStatus::NotStarted);
    EXPECT_EQ(second.definition.at("inputs").at("raw").at("uri").as_string(),
              "azureml://jobs/p_0/outputs/clean");

    arm::resolve_step(world.services, world.workspace.id, "p_0");
    world.send("GET", "/jobs/p_0");  // what was asked for is committed meanwhile
    const auto task = read_task(world.store, record("p_0"));
    ASSERT_TRUE(task);
    EXPECT_EQ(task->command, "prep ${{inputs.raw}} ${{inputs.rows}} ${{outputs.clean}}");
    ASSERT_TRUE(task->code);
    std::string root;
    for (const auto& [name, value] : task->variables)
        if (name == "AZUREML_ROOT_RUN_ID") root = value;
    EXPECT_EQ(root, "p");
    EXPECT_FALSE(task->mlflow_experiment_id.empty());

    const Reply shown = world.send("GET", "/jobs/p");
    const Json& own = shown.json.at("properties").at("properties");
    EXPECT_EQ(own.at("turnout.steps.total").as_string(), "2");
    EXPECT_EQ(shown.json.at("properties").at("jobs").at("first").at("componentId").as_string(),
              "azureml:prep:1")
        << "as it was sent";
    const auto giver = giver_of(record("p"), "all");
    ASSERT_TRUE(giver);
    EXPECT_EQ(giver->job, "p_1");
    EXPECT_EQ(giver->output, "clean");
}

TEST_F(Pipelines, AStepThatWouldGiveTheSameIsGivenIt) {
    const auto resolved = [&](const std::string& step) {
        arm::resolve_step(world.services, world.workspace.id, step);
        world.send("GET", "/jobs/" + step);  // what was asked for is committed meanwhile
        world.send("GET", "/jobs/" + step);
        return record(step);
    };
    // As a node leaves it behind.
    const auto completed = [&](const std::string& step, Span ago = {}) {
        resolved(step);
        world.put_blob(blobstore_container(world.workspace.id), "azureml/" + step + "/clean/x.csv",
                       "clean");
        JobState state;
        state.status = JobStatus::Completed;
        state.ended = world.services.clock.now() - ago;
        Batch batch;
        batch.put(Table::JobState, world.workspace.id + "/" + step, state_text(state));
        world.store.commit(std::move(batch), [](Result<std::uint64_t>) {});
    };
    const auto why = [&](const std::string& step, const std::string& query = "") {
        const Reply reply = world.send("GET", "/jobs/" + step + "/reuse" + query);
        EXPECT_EQ(reply.status, 200) << reply.text;
        return reply.json.at("steps").items().empty() ? Json()
                                                      : reply.json.at("steps").items().front();
    };
    ASSERT_EQ(submit("p", kFirst).status, 201);
    EXPECT_EQ(why("p_0").at("why").as_string(), "it has not begun yet");
    completed("p_0");
    EXPECT_EQ(why("p_0").at("why").as_string(), "no earlier step 'first' has completed");

    ASSERT_EQ(submit("q", kFirst).status, 201);
    const JobRecord again = resolved("q_0");
    EXPECT_EQ(again.status, JobStatus::Completed) << again.error_message;
    EXPECT_EQ(again.reused_from, "p_0");
    const std::string text = *world.blobs->read_all(blobstore_container(world.workspace.id),
                                                    "azureml/q_0/clean/x.csv", 100);
    EXPECT_EQ(text, "clean") << "its outputs are its own";
    const Json own = world.send("GET", "/jobs/q_0").json.at("properties").at("properties");
    EXPECT_EQ(own.at("azureml.isreused").as_string(), "true");
    EXPECT_EQ(own.at("azureml.reusedrunid").as_string(), "p_0");
    EXPECT_EQ(why("q").at("from").as_string(), "p_0");

    // Ends of lines are nothing, all else is: and it is told which.
    const std::string code = code_container(world.workspace.id, "0123");
    world.put_blob(code, "src/train.py", "print()\r\n");
    ASSERT_EQ(submit("r", kFirst).status, 201);
    EXPECT_EQ(resolved("r_0").reused_from, "");
    world.put_blob(code, "src/train.py", "print()\n");
    ASSERT_EQ(submit("s", kFirst).status, 201);
    completed("s_0");
    world.put_blob(code, "src/train.py", "print()\r\n");
    ASSERT_EQ(submit("t", kFirst).status, 201);
    EXPECT_EQ(resolved("t_0").reused_from, "s_0");

    world.put_blob(blobstore_container(world.workspace.id), "folder/b.csv", "b");
    ASSERT_EQ(submit("u", kFirst).status, 201);
    EXPECT_EQ(resolved("u_0").reused_from, "");
    const Json told = why("u", "?against=s");
    EXPECT_EQ(told.at("against").as_string(), "s_0");
    ASSERT_EQ(told.at("differences").items().size(), 1u) << told.dump();
    EXPECT_EQ(told.at("differences").items()[0].dump(),
              R"({"part":"input","name":"raw","files":[{"path":"b.csv","change":"added"}]})");

    // What was changed since stands for nothing.
    completed("u_0", 1h);
    ASSERT_EQ(submit("v", kFirst).status, 201);
    EXPECT_EQ(resolved("v_0").reused_from, "");
    EXPECT_EQ(why("v").at("why").as_string(),
              "u_0 was made of the same, but its output 'clean' was changed after it had ended");
    EXPECT_EQ(world.send("GET", "/jobs/p/reuse?against=nobody").status, 404);
}

TEST_F(Pipelines, WhoSaysSoIsRunEachTime) {
    const std::string force = R"("settings":{"force_rerun":true},)";
    const std::string varies =
        R"("first":{"component":{"type":"command","command":"date","is_deterministic":false,
            "environment":"azureml:mine:1"}})";
    ASSERT_EQ(submit("p", kFirst, force).status, 201);
    ASSERT_EQ(submit("q", varies).status, 201);
    for (const auto& [step, words] :
         {std::pair("p_0", "settings.force_rerun is true"),
          std::pair("q_0", "its component has is_deterministic: false")}) {
        arm::resolve_step(world.services, world.workspace.id, step);
        world.send("GET", std::string("/jobs/") + step);
        EXPECT_EQ(record(step).recipe.at("why").as_string(), words);
        const Reply told = world.send("GET", std::string("/jobs/") + step + "/reuse");
        EXPECT_NE(told.text.find(words), std::string::npos) << told.text;
    }
    EXPECT_EQ(
        submit("again", kFirst, R"("resumes":"nobody",)").json.at("error").at("code").as_string(),
        "JobNotFound");
    EXPECT_EQ(submit("again", kFirst, R"("resumes":"p",)").json.at("error").at("code").as_string(),
              "NothingToResume");
    EXPECT_EQ(submit("again", kFirst, R"("resumes":7,)").status, 400);
}

TEST_F(Pipelines, AStepWhoseInputIsNotThereFails) {
    ASSERT_EQ(submit("q", kFirst + R"(,"second":{"componentId":"azureml:prep:1",
        "inputs":{"raw":{"value":"${{parent.jobs.first.outputs.clean}}"}}})")
                  .status,
              201);
    arm::resolve_step(world.services, world.workspace.id, "q_0");
    arm::resolve_step(world.services, world.workspace.id, "q_1");  // too early: nothing is there
    world.send("GET", "/jobs/q_1");
    const JobRecord failed = record("q_1");
    EXPECT_EQ(failed.status, JobStatus::Failed);
    EXPECT_EQ(failed.cause, agent_protocol::Cause::Input);
}

TEST_F(Pipelines, NothingIsMadeOfWhatCannotGoToItsEnd) {
    struct Case {
        std::string jobs, more, target, words;
    };
    const std::string inputs = R"("inputs":{"raw":{"value":"${{parent.inputs.raw}}"}}})";
    for (const Case& one : std::vector<Case>{
             {R"("a":{"componentId":"azureml:prap:1",)" + inputs, "",
              "properties.jobs.a.componentId",
              "component 'prap' does not exist, did you mean 'prep'?"},
             {R"("a":{"componentId":"azureml:prep:7",)" + inputs, "",
              "properties.jobs.a.componentId", "component 'prep' has no version '7'"},
             {R"("a":{"componentId":"azureml:prep:1","computeId":"smell",)" + inputs, "",
              "properties.jobs.a.computeId", "step 'a': compute 'smell' does not exist"},
             {kFirst, R"("settings":{"default_compute":"smell"},)",
              "properties.settings.default_compute", "compute 'smell' does not exist"},
             {R"("a":{"componentId":"azureml:prep:1","computeId":"containerinstance",)" + inputs,
              "", "properties.jobs.a.computeId", "cannot be used in pipelines"},
             {R"("a":{"componentId":"azureml:prep:1","environment":"azureml:mine:9",)" + inputs, "",
              "properties.jobs.a.component.environment", "environment 'mine' has no version '9'"},
             {R"("a":{"componentId":"azureml:prep:1","inputs":{"raw":{"job_input_type":"uri_folder",
                 "uri":"azureml://datastores/workspaceblobstore/paths/nowhere"}}})",
              "", "properties.jobs.a.inputs.raw.uri", "nothing is there"},
             {R"("a":{"componentId":"azureml:prep:1","resources":{"instance_count":0},)" + inputs,
              "", "properties.jobs.a.resources.instanceCount", "step 'a': resources.instanceCount"},
         }) {
        const Reply reply = submit("bad", one.jobs, one.more);
        EXPECT_EQ(reply.status, 400) << reply.text;
        EXPECT_EQ(reply.json.at("error").at("target").as_string(), one.target) << reply.text;
        EXPECT_NE(reply.text.find(one.words), std::string::npos) << reply.text;
    }
    EXPECT_EQ(world.send("GET", "/jobs/bad").status, 404);
    EXPECT_EQ(world.send("GET", "/jobs/bad_0").status, 404);
}

}  // namespace
}  // namespace turnout::api
