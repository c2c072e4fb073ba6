// A task in two parts.
#include "control/jobs.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

namespace ap = agent_protocol;

// As the server keeps it and a node puts it together.
Result<ap::TaskSpec> there_and_back(const ap::TaskSpec& task, const std::string& job) {
    const SplitTask split = split_task(task, job);
    const Json json = TURNOUT_TRY(parse_json(split.base));
    return ap::expand_task(TURNOUT_TRY(ap::task_from_json(json)), split.own, {"ws", job, 1});
}

TEST(SplitTask, WhateverTheJobIsCalled) {
    ap::TaskSpec task;
    task.command = "python train.py --name x";
    task.code = ap::BlobFolder{"code", "snapshot/1"};
    task.code_hash = std::string(64, 'a');
    task.environment.name = "curated:1";
    task.environment.hash = std::string(64, 'e');
    task.environment.kind = ap::TaskEnvironment::Kind::Venv;
    task.environment.python_version = "3.11";
    task.environment.requirements = {"numpy==1.0"};
    task.environment.notices = {"a notice"};
    task.environment.image = "turnout/pytorch-job:1";
    task.variables = {{"AZUREML_RUN_ID", "x"}, {"kind", "of magic"}};
    task.artifacts = {"azureml", "ExperimentRun/dcid.x/"};
    task.outputs.push_back({"model", "uri_folder", "rw_mount", {"blob", "azureml/x/model/"}});
    task.distribution = "PyTorch";
    task.node_count = 2;
    for (const ap::TaskEnvironment::Kind kind :
         {ap::TaskEnvironment::Kind::Venv, ap::TaskEnvironment::Kind::UserManaged}) {
        task.environment.kind = kind;
        std::vector<std::string> names{"PyTorch", "venv",    "managed",     "user_managed",
                                       "job",     "turnout", "turnout.job", "${{turnout.job}}"};
        for (char c = 'a'; c <= 'z'; ++c) names.push_back(std::string(1, c));
        for (char c = '0'; c <= '9'; ++c) names.push_back(std::string(1, c));
        names.push_back("-");
        names.push_back("_");
        names.push_back(std::string(255, 'a'));
        for (const std::string& name : names) {
            const Result<ap::TaskSpec> back = there_and_back(task, name);
            ASSERT_TRUE(back) << name << ": " << back.error().message;
            EXPECT_EQ(ap::to_json(*back).dump(), ap::to_json(task).dump()) << name;
        }
    }
}

// Jobs of one base have one image, and the server finds it there.
TEST(SplitTask, TheImageIsInTheBaseAsItIs) {
    for (const char* command : {"true", "echo ${{turnout.job}}"}) {
        ap::TaskSpec task;
        task.command = command;
        task.environment.image = "small:1";
        const Result<Json> base = parse_json(split_task(task, "small").base);
        ASSERT_TRUE(base);
        EXPECT_EQ(base->at("environment").at("image").as_view(), "small:1") << command;
    }
}

TEST(SplitTask, JobsThatDifferInTheirNameShareABase) {
    ap::TaskSpec one, other;
    one.variables = {{"AZUREML_RUN_ID", "first"}};
    other.variables = {{"AZUREML_RUN_ID", "second"}};
    EXPECT_EQ(split_task(one, "first").hash, split_task(other, "second").hash);
    EXPECT_NE(split_task(one, "first").hash, split_task(one, "second").hash);
}

}  // namespace
}  // namespace turnout
