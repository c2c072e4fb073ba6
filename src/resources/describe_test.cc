#include "resources/describe.h"

#include <gtest/gtest.h>

#include <map>

#include "base/text.h"
#include "resources/resources.h"

namespace turnout::resources {
namespace {

// A file system of three names.
LocalFiles test_files() {
    static const std::map<std::string, std::string> files = {
        {"/here/conda.yml", "name: x\ndependencies:\n  - python=3.11\n"},
        {"/here/docker/Dockerfile", "FROM scratch\n"},
        {"/here/envs/env.yml", "name: filed\nimage: img\nconda_file: inner.yml\n"},
        {"/here/envs/inner.yml", "dependencies: [pip]\n"},
        {"/here/titanic.csv", "a,b\n"}};
    return {.folder = "/here",
            .kind =
                [](const std::string& path) {
                    if (files.contains(path)) return PathKind::File;
                    for (const auto& [name, content] : files)
                        if (name.starts_with(path + "/")) return PathKind::Folder;
                    return path == "/here/src" ? PathKind::Folder : PathKind::Absent;
                },
            .read = [](const std::string& path) -> Result<std::string> { return files.at(path); }};
}

struct Checked {
    YamlDocument document;
    std::string problems;
    std::vector<LocalPath> local;
    std::vector<Reference> references;
    Json rest;
};

Checked check_text(std::string_view kind, std::string_view yaml) {
    Checked out;
    Result<YamlDocument> document = parse_yaml(yaml, "f.yml");
    if (!document) {
        out.problems = document.error().message;
        return out;
    }
    out.document = std::move(*document);
    Result<const Description*> description = description_for(kind, out.document);
    if (!description) {
        out.problems = description.error().message;
        return out;
    }
    const LocalFiles files = test_files();
    Reading reading(out.document, files);
    check(**description, reading);
    if (Result<void> result = result_of(reading); !result) out.problems = result.error().message;
    out.local = reading.local;
    out.references = reading.references;
    if (out.problems.empty())
        out.rest = to_rest(**description, out.document, "",
                           {.workspace_path = "/subscriptions/s/resourceGroups/g/providers/"
                                              "Microsoft.MachineLearningServices/workspaces/w"});
    return out;
}

constexpr const char* kJob =
    R"(command: python train.py --lr ${{inputs.lr}} ${{inputs.csv}} ${{outputs.model}}
code: src
environment: azureml:AzureML-sklearn@latest
compute: azureml:cpu-cluster
display_name: shown
experiment_name: exp
description: words
inputs:
  lr: 0.10
  flag: yes
  text: "5"
  csv:
    type: uri_file
    path: azureml://datastores/workspaceblobstore/paths/a.csv
    mode: ro_mount
  asset:
    path: azureml:titanic:3
outputs:
  model:
  direct:
    type: uri_folder
    mode: rw_mount
    path: azureml://datastores/workspaceblobstore/paths/out
environment_variables:
  N: 1
resources:
  instance_count: 1
  shm_size: 2g
limits:
  timeout: 900
tags: {k: v}
)";

constexpr const char* kComponent = R"($schema: https://x/latest/commandComponent.schema.json
name: train
version: 1.10
type: command
description: words
tags: {k: v}
inputs:
  data: {type: uri_folder, description: of it}
  epochs: {type: integer, default: 3, min: 1, max: 10}
  lr: {type: number, optional: true}
  how: {type: string, default: fast, enum: [fast, slow]}
  flag: {type: boolean, default: yes}
outputs:
  model: {type: mlflow_model, mode: upload}
code: src
environment: azureml:torch:3
environment_variables: {N: 1}
command: python t.py ${{inputs.data}} ${{inputs.epochs}} $[[${{inputs.lr}}]] ${{outputs.model}}
resources: {instance_count: 2}
distribution: {type: pytorch, process_count_per_instance: 2}
)";

TEST(Describe, AComponentIsSentAsAzuresClientsSendIt) {
    const Checked made = check_text("component", kComponent);
    ASSERT_EQ(made.problems, "");
    ASSERT_EQ(made.local.size(), 1u);
    EXPECT_EQ(made.local[0].role, LocalPath::Role::Code);
    Json spec = at_path(made.rest, "properties.componentSpec");
    EXPECT_EQ(spec.at("inputs").at("epochs").dump(),
              R"({"type":"integer","default":"3","min":"1","max":"10"})");
    EXPECT_EQ(spec.at("inputs").at("flag").at("default").as_view(), "True");
    EXPECT_EQ(spec.at("environment").as_view(),
              "azureml:/subscriptions/s/resourceGroups/g/providers/"
              "Microsoft.MachineLearningServices/workspaces/w/environments/torch/versions/3");
    EXPECT_EQ(spec.at("distribution").dump(),
              R"({"type":"pytorch","process_count_per_instance":2})");
    EXPECT_EQ(spec.at("is_deterministic").as_bool(), true);
    EXPECT_EQ(spec.at("tags").dump(), R"({"k":"v"})");
    EXPECT_FALSE(check_component_spec(spec)) << "its code is not uploaded yet";
    spec.set("code", "azureml:/subscriptions/s/…/codes/c/versions/1");
    EXPECT_TRUE(check_component_spec(spec)) << "what a client sends, the server takes";
    Json shown = to_entity(command_component(), made.rest);
    EXPECT_EQ(shown.at("environment").as_view(), "azureml:torch:3");
    EXPECT_EQ(shown.at("environment_variables").dump(), R"({"N":"1"})");
}

TEST(Describe, WhatIsWrongInAComponentIsNamedOnBothSides) {
    const auto with = [](std::string_view line, std::string_view instead) {
        std::string text = kComponent;
        return text.replace(text.find(line), line.size(), instead);
    };
    for (const auto& [line, instead, found] : std::vector<std::array<const char*, 3>>{
             {"default: 3", "default: 11", "inputs.epochs.default: expected at most max (10)"},
             {"default: 3", "default: x", "inputs.epochs.default: expected a whole number"},
             {"type: number", "type: numbr", "did you mean 'number'"},
             {"type: number, ", "", "inputs.lr: key 'type' is missing"},
             {"type: number, ", "min: 1, type: boolean, ", "inputs.lr.min: is for the types"},
             {"default: fast", "default: fest", "expected one of enum (fast, slow), found 'fest'"},
             {"type: mlflow_model", "type: strnig", "outputs.model.type: expected one of"},
             {"[fast, slow]", "{a: b}", "inputs.how.enum: expected a list"},
             {"optional: true", "optional: maybe", "inputs.lr.optional: expected true or false"},
             {"code: src", "code: src\nadditional_includes: [./lib]",
              "additional_includes: not there"},
             {"  how:", "  3how:", "not beginning with a digit"},
             {"${{inputs.data}}", "${{inputs.dat}}", "is not among the inputs"},
             {"{instance_count: 2}", "{instance_count: 0}", "resources.instance_count"},
             {"process_count_per_instance", "worker_count", "distribution.worker_count"}}) {
        const Checked made = check_text("component", with(line, instead));
        EXPECT_NE(made.problems.find(found), std::string::npos) << instead << ": " << made.problems;
    }
    EXPECT_NE(check_text("component", with("type: command", "type: pipeline"))
                  .problems.find("'pipeline' does not exist here yet: expected command"),
              std::string::npos);
    Json spec = at_path(check_text("component", kComponent).rest, "properties.componentSpec");
    spec.set("code", "azureml:c:1");
    spec.set("what_a_later_client_adds", 1);
    EXPECT_TRUE(check_component_spec(spec));
    // What Azure's clients send and nothing here looks at yet.
    spec.set("additional_includes", Json::array());
    spec["additional_includes"].push("./lib");
    spec["distribution"] = Json::object({{"type", "ray"}, {"port", 6379}});
    spec["properties"] = Json::object({{"n", Json::object({{"k", 1}})}});
    spec["inputs"].set("group.member", Json::object({{"type", "integer"}}));
    spec["inputs"]["group.member"].set("enum", *parse_json(R"(["1","2"])"));
    spec["outputs"].set("flag", *parse_json(R"({"type":"boolean","is_control":true})"));
    EXPECT_TRUE(check_component_spec(spec));
    // As text, whatever it looks like, and equal to the default.
    const Checked words =
        check_text("component", with("default: fast, enum: [fast, slow]",
                                     "default: yes, optional: \"yes\", enum: [yes, 0.10]"));
    EXPECT_EQ(at_path(words.rest, "properties.componentSpec.inputs.how").dump(),
              R"({"type":"string","default":"True","optional":true,"enum":["True","0.10"]})")
        << words.problems;
    spec["inputs"]["epochs"].set("default", "eleven");
    const Result<void> refused = check_component_spec(spec);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().subject, "properties.componentSpec.inputs.epochs.default");
}

TEST(Describe, AVariableWithoutAValueIsRefused) {
    const std::string text = kJob;
    const std::size_t at = text.find("  N: 1");
    EXPECT_NE(check_text("job", std::string(text).insert(at, "  LEFT_OUT:\n"))
                  .problems.find("environment_variables.LEFT_OUT: expected a text, found nothing: "
                                 "write \"\" for an empty one"),
              std::string::npos);
    EXPECT_EQ(check_text("job", std::string(text).insert(at, "  EMPTY: \"\"\n")).problems, "");
}

TEST(Describe, CommandJobToRest) {
    const Checked job = check_text("job", kJob);
    ASSERT_EQ(job.problems, "");
    ASSERT_EQ(job.local.size(), 1u);
    EXPECT_EQ(job.local[0].path, "/here/src");
    EXPECT_EQ(job.local[0].pointer, "/code");
    ASSERT_EQ(job.references.size(), 2u);
    const Json& p = job.rest.at("properties");
    EXPECT_EQ(p.at("jobType").as_view(), "Command");
    EXPECT_EQ(p.at("environmentId").as_view(), "azureml:AzureML-sklearn@latest");
    EXPECT_EQ(p.at("computeId").as_view(),
              "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
              "workspaces/w/computes/cpu-cluster");
    EXPECT_EQ(p.at("inputs").at("lr").dump(), R"({"jobInputType":"literal","value":"0.10"})")
        << "as it was written";
    EXPECT_EQ(p.at("inputs").at("flag").at("value").as_view(), "True");
    EXPECT_EQ(p.at("inputs").at("text").at("value").as_view(), "5");
    EXPECT_EQ(
        p.at("inputs").at("csv").dump(),
        R"({"jobInputType":"uri_file","uri":"azureml://datastores/workspaceblobstore/paths/a.csv","mode":"ReadOnlyMount"})");
    EXPECT_TRUE(
        p.at("inputs").at("asset").at("uri").as_view().ends_with("/data/titanic/versions/3"));
    EXPECT_EQ(p.at("outputs").at("model").dump(), R"({"jobOutputType":"uri_folder"})");
    EXPECT_EQ(p.at("outputs").at("direct").at("mode").as_view(), "ReadWriteMount");
    EXPECT_EQ(p.at("limits").dump(), R"({"jobLimitsType":"Command","timeout":"PT15M"})");
    EXPECT_EQ(p.at("environmentVariables").dump(), R"({"N":"1"})");
    EXPECT_EQ(p.at("resources").dump(), R"({"instanceCount":1,"shmSize":"2g"})");
}

TEST(Describe, DistributedJobs) {
    const auto rest = [](std::string_view more) {
        const Checked job =
            check_text("job", "command: ls\nenvironment: azureml:e:1\n" + std::string(more));
        EXPECT_EQ(job.problems, "") << more;
        return job.rest.at("properties");
    };
    EXPECT_EQ(rest("distribution: {type: pytorch, process_count_per_instance: 2}\n")
                  .at("distribution")
                  .dump(),
              R"({"distributionType":"PyTorch","processCountPerInstance":2})");
    EXPECT_EQ(rest("distribution: {type: tensorflow, worker_count: 2, parameter_server_count: 1}\n")
                  .at("distribution")
                  .dump(),
              R"({"distributionType":"TensorFlow","workerCount":2,"parameterServerCount":1})");
    EXPECT_EQ(rest("resources: {instance_count: 2}\n").at("resources").at("instanceCount").as_int(),
              2);
    EXPECT_EQ(
        rest("queue_settings: {job_tier: standard, priority: high}\n").at("queueSettings").dump(),
        R"({"jobTier":"Standard","priority":3})");
}

TEST(Describe, CommandJobRoundTrip) {
    const Checked first = check_text("job", kJob);
    ASSERT_EQ(first.problems, "");
    Json entity = to_entity(command_job(), first.rest);
    EXPECT_EQ(entity.at("compute").as_view(), "azureml:cpu-cluster");
    EXPECT_EQ(entity.at("type").as_view(), "command");
    EXPECT_EQ(entity.at("limits").at("timeout").as_int(), 900);
    EXPECT_EQ(entity.at("inputs").at("asset").at("path").as_view(), "azureml:titanic:3");
    entity.set("code", "src");
    const Checked second = check_text("job", to_yaml(entity));
    ASSERT_EQ(second.problems, "");
    EXPECT_TRUE(second.rest.equal_unordered(first.rest)) << second.rest.dump() << "\n"
                                                         << first.rest.dump();
}

TEST(Describe, ProblemsNamePlaceKeyAndWhatWasExpected) {
    EXPECT_EQ(check_text("job", "comand: x\nenvironment: azureml:e:1\n").problems,
              "f.yml:1:1: comand: is not a key of a command job, did you mean 'command'?\n"
              "f.yml:1:1: key 'command' is missing: expected the command line, with ${{inputs.x}} "
              "and ${{outputs.y}}");
    const auto with = [](std::string_view more) {
        return check_text("job", "command: ls\nenvironment: azureml:e:1\n" + std::string(more))
            .problems;
    };
    EXPECT_EQ(
        with("limits:\n  timeout: soon\n"),
        "f.yml:4:3: limits.timeout: expected a whole number of seconds from 1, found text 'soon'");
    EXPECT_EQ(with("limits: {timeout: 0}\n"),
              "f.yml:3:10: limits.timeout: expected a whole number of seconds from 1, found a "
              "number '0'");
    EXPECT_EQ(with("resources: {shm_size: lots}\n"),
              "f.yml:3:13: resources.shm_size: expected a number above 0 and one of b, k, m, g, "
              "such as 2g, found 'lots'");
    for (const char* size : {"2g", "64M", "1024", "'2'"})
        EXPECT_EQ(with("resources: {shm_size: " + std::string(size) + "}\n"), "") << size;
    EXPECT_NE(with("name: ''\n"), "");
    EXPECT_EQ(with("resources: {shm_size: ''}\n"), "") << "nothing is said";
    EXPECT_EQ(with("name: a/b\n"),
              "f.yml:3:1: name: expected 1 to 255 letters, digits, '.', '_' and '-', beginning "
              "with a letter, a digit or '_', found 'a/b'");
    EXPECT_EQ(with("resources: {instance_count: 0}\n"),
              "f.yml:3:13: resources.instance_count: expected a whole number from 1 to 1,000, "
              "found a number '0'");
    EXPECT_EQ(with("inputs:\n  a:\n    type: uri_fle\n    path: titanic.csv\n"),
              "f.yml:5:5: inputs.a.type: expected one of uri_file, uri_folder, mltable, "
              "mlflow_model, custom_model, "
              "triton_model, found 'uri_fle', did you mean 'uri_file'?");
    EXPECT_EQ(with("inputs:\n  a:\n    type: uri_file\n    path: absent.csv\n"),
              "f.yml:6:5: inputs.a.path: expected a file on this machine, but '/here/absent.csv' "
              "does not exist");
    EXPECT_EQ(with("code: nowhere\n"),
              "f.yml:3:1: code: expected a file or folder on this machine, but '/here/nowhere' "
              "does not exist");
    EXPECT_NE(with("distribution: {type: ray}\n").find("distribution.type: ray does not run"),
              std::string::npos);
    EXPECT_NE(with("distribution: {type: pytorch, worker_count: 2}\n")
                  .find("worker_count: is for tensorflow"),
              std::string::npos);
    EXPECT_NE(with("distribution: {type: mpi, process_count_per_instance: 0}\n")
                  .find("expected a whole number from 1 to 256, found a number '0'"),
              std::string::npos);
    EXPECT_NE(with("services: {v: [vs_code]}\n").find("services"), std::string::npos);
    EXPECT_EQ(
        check_text("job", "command: c\nenvironment: azureml:e:1\nservices: {v: {type: vs_code}}\n")
            .rest.at("properties")
            .at("services")
            .dump(),
        R"({"v":{"jobServiceType":"vs_code"}})");
    EXPECT_NE(
        with("compute: '< your compute name >'\n").find("f.yml:3:1: compute: expected the name"),
        std::string::npos);
    EXPECT_NE(with("outputs: {o: {path: out}}\n").find("expected a datastore path"),
              std::string::npos);
    EXPECT_EQ(check_text("job",
                         "command: ls ${{inputs.lr}}\ninputs: {lrs: 1}\nenvironment: azureml:e:1\n")
                  .problems,
              "f.yml:1:1: command: ${{inputs.lr}} is not among the inputs: lrs");
    EXPECT_NE(check_text("job", "command: ls\nenvironment: bare\n").problems.find("bare@latest"),
              std::string::npos);
    EXPECT_NE(check_text("job", "- a\n").problems.find("expected a mapping"), std::string::npos);
    EXPECT_NE(check_text("job", "").problems.find("is empty"), std::string::npos);
}

TEST(Describe, WhatTheServerRefusesIsToldInTheFilesWords) {
    const auto told = [](const Description& description, const char* yaml, std::string subject,
                         std::string message) {
        const Result<YamlDocument> document = parse_yaml(yaml, "f.yml");
        return in_words_of(
                   description, *document,
                   {Code::InvalidArgument, "X", std::move(message), std::move(subject), nullptr})
            .message;
    };
    const char* const cluster = "name: c2\ntype: amlcompute\nsize: foo\n";
    EXPECT_EQ(
        told(aml_compute(), cluster, "properties.properties.vmSize", "vmSize 'foo' is not known"),
        "f.yml:3:1: size 'foo' is not known");
    EXPECT_EQ(
        told(aml_compute(), cluster, "properties.properties.scaleSettings.maxNodeCount", "no"),
        "no")
        << "it was not written";
    EXPECT_EQ(told(aml_compute(), cluster, "properties.properties.vmPriority",
                   "exists with vmPriority 'LowPriority', not 'Dedicated'"),
              "exists with tier 'low_priority', not 'dedicated'");
    const char* const job =
        "command: ls\nenvironment: azureml:e:1\nresources:\n  instance_count: 5000\n";
    EXPECT_EQ(
        told(command_job(), job, "properties.environmentId", "environment 'e' does not exist"),
        "f.yml:2:1: environment 'e' does not exist");
    EXPECT_EQ(
        told(command_job(), job, "properties.resources.instanceCount",
             "resources.instanceCount: expected a whole number from 1 to 1,000, found 5000"),
        "f.yml:4:3: resources.instance_count: expected a whole number from 1 to 1,000, found 5000");
    EXPECT_EQ(told(command_job(), job, "", "no"), "no");
    EXPECT_EQ(told(command_job(), job, "name", "job 'x' exists"), "job 'x' exists");
}

TEST(Describe, WhatIsShownOfAJobMayBeCreatedAgain) {
    EXPECT_EQ(check_text("job",
                         "command: ls\nenvironment: azureml:e:1\nstatus: Queued\ncreated: "
                         "\"2026-11-22\"\nwaiting_for: a node\nplace_in_queue: 3\ncause: "
                         "canceled\nerror: {code: UserError}\n")
                  .problems,
              "");
}

TEST(Describe, OtherTypesAreRefusedByName) {
    EXPECT_EQ(check_text("job", "type: spark\n").problems,
              "f.yml:1:1: type: 'spark' does not run yet: expected command or sweep or pipeline or "
              "automl");
    EXPECT_NE(check_text("job", "$schema: https://x/latest/sparkJob.schema.json\n")
                  .problems.find("'sparkJob' does not run yet"),
              std::string::npos);
    EXPECT_NE(check_text("compute", "name: x\ntype: synapsespark\n")
                  .problems.find("'synapsespark' does not exist here yet"),
              std::string::npos);
    EXPECT_NE(check_text("datastore", "name: x\ntype: azure_data_lake_gen2\n")
                  .problems.find("does not work yet: expected azure_blob"),
              std::string::npos);
    EXPECT_NE(check_text("job", "$schema: https://x/latest/environment.schema.json\n")
                  .problems.find("use `turnout environment`"),
              std::string::npos);
    EXPECT_NE(check_text("compute", "name: x\ntype: amlcompte\n")
                  .problems.find("did you mean 'amlcompute'"),
              std::string::npos);
}

TEST(Describe, ComputeRoundTrip) {
    const Checked cluster = check_text(
        "compute",
        "name: c2\ntype: amlcompute\nsize: STANDARD_DS3_v2\nmin_instances: 0\nmax_instances: 2\n"
        "idle_time_before_scale_down: 120\ntier: low_priority\nlocation: westus\n");
    ASSERT_EQ(cluster.problems, "");
    EXPECT_TRUE(
        cluster.rest.at("properties")
            .equal_unordered(*parse_json(
                R"({"computeType":"AmlCompute","disableLocalAuth":true,"properties":{"vmSize":"STANDARD_DS3_v2","vmPriority":"LowPriority",
            "scaleSettings":{"minNodeCount":0,"maxNodeCount":2,"nodeIdleTimeBeforeScaleDown":"PT2M"},
            "remoteLoginPortPublicAccess":"NotSpecified","enableNodePublicIp":true,"osType":"Linux"}})")))
        << cluster.rest.dump();
    const Json entity = to_entity(aml_compute(), cluster.rest);
    EXPECT_EQ(entity.at("tier").as_view(), "low_priority");
    EXPECT_EQ(entity.at("idle_time_before_scale_down").as_int(), 120);
    EXPECT_TRUE(check_text("compute", to_yaml(entity)).rest.equal_unordered(cluster.rest));
    const Checked minimal = check_text("compute", "name: minimal-example\ntype: amlcompute\n");
    EXPECT_EQ(at_path(minimal.rest, "properties.properties.scaleSettings.maxNodeCount").as_int(),
              1);
    EXPECT_NE(
        check_text("compute", "name: c2\ntype: amlcompute\nmin_instances: 3\nmax_instances: 2\n")
            .problems.find("at most max_instances"),
        std::string::npos);
    EXPECT_EQ(at_path(check_text("compute",
                                 "name: c2\ntype: amlcompute\nidentity: {type: user_assigned, "
                                 "user_assigned_identities: [{resource_id: r}]}\n")
                          .rest,
                      "identity")
                  .dump(),
              R"({"type":"UserAssigned","userAssignedIdentities":{"r":{}}})");
}

TEST(Describe, Environments) {
    const Checked filed =
        check_text("environment", "name: e\nversion: 1.10\nimage: i\nconda_file: conda.yml\n");
    ASSERT_EQ(filed.problems, "");
    EXPECT_EQ(at_path(filed.rest, "properties.condaFile").as_view(),
              "name: x\ndependencies:\n  - python=3.11\n");
    const Checked inlined = check_text(
        "job", "command: ls\nenvironment:\n  image: i\n  conda_file:\n    dependencies: [pip]\n");
    ASSERT_EQ(inlined.problems, "");
    EXPECT_EQ(at_path(inlined.rest, "properties.environment.properties.condaFile").as_view(),
              "dependencies:\n  - pip\n");
    const Checked by_file = check_text("job", "command: ls\nenvironment: file:envs/env.yml\n");
    ASSERT_EQ(by_file.problems, "");
    EXPECT_EQ(at_path(by_file.rest, "properties.environment.properties.condaFile").as_view(),
              "dependencies: [pip]\n");
    const Checked build = check_text("environment", "name: e\nbuild: {path: docker}\n");
    ASSERT_EQ(build.problems, "");
    EXPECT_EQ(build.local.at(0).path, "/here/docker");
    EXPECT_NE(check_text("environment", "name: e\nbuild: {path: src}\n")
                  .problems.find("expected a Dockerfile"),
              std::string::npos);
    EXPECT_NE(check_text("environment", "name: e\nimage: i\nbuild: {path: docker}\n")
                  .problems.find("either image or build"),
              std::string::npos);
    EXPECT_NE(check_text("environment", "name: e\nchannels: [a]\ndependencies: [b]\n")
                  .problems.find("'conda_file'"),
              std::string::npos);
    EXPECT_NE(check_text("environment", "name: e\nversion: 1-<VERSION>\nimage: i\n")
                  .problems.find("found '1-<VERSION>'"),
              std::string::npos);
}

TEST(Describe, DataAndDatastores) {
    const Checked local = check_text("data", "name: d\ntype: uri_file\npath: titanic.csv\n");
    ASSERT_EQ(local.problems, "");
    EXPECT_EQ(local.local.at(0).path, "/here/titanic.csv");
    EXPECT_NE(check_text("data", "name: d\npath: titanic.csv\n").problems.find("expected a folder"),
              std::string::npos);
    EXPECT_EQ(
        at_path(check_text("data", "name: d\npath: wasbs://c@a.blob.core.windows.net/x\n").rest,
                "properties")
            .dump(),
        R"({"dataUri":"wasbs://c@a.blob.core.windows.net/x","dataType":"uri_folder"})");
    const Checked store = check_text("datastore",
                                     "name: s\ntype: azure_blob\naccount_name: a\ncontainer_name: "
                                     "c\ncredentials:\n  sas_token: ?sv=1&sig=x\n");
    ASSERT_EQ(store.problems, "");
    EXPECT_EQ(
        at_path(store.rest, "properties.credentials").dump(),
        R"({"credentialsType":"Sas","secrets":{"secretsType":"Sas","sasToken":"?sv=1&sig=x"}})");
    EXPECT_EQ(to_entity(blob_datastore(), store.rest).at("credentials").dump(), "{}")
        << "secrets are never shown";
}

TEST(Describe, SmallThings) {
    EXPECT_EQ(camel_to_snake("lastModifiedAt"), "last_modified_at");
    EXPECT_EQ(camel_to_snake("IPAddress"), "ip_address");
    EXPECT_EQ(find_choice({{"low_priority", "LowPriority"}}, "LowPriority")->yaml, "low_priority");
    EXPECT_TRUE(is_arm_id("azureml:/Subscriptions/x"));
    EXPECT_EQ(parse_asset_name("azureml:a@latest")->label, "latest");
    EXPECT_FALSE(parse_asset_name("azureml:a:1:2"));
    // Every field has a meaning, and every REST path is of one of the two documents' halves.
    for (const Description* description : all_descriptions())
        for (const Field& field : description->fields)
            EXPECT_FALSE(field.help.empty()) << field.yaml;
    EXPECT_NE(reference_page().find("`idle_time_before_scale_down`"), std::string::npos);
}

}  // namespace
}  // namespace turnout::resources
