#include "provider/slurm/wire.h"

#include <gtest/gtest.h>

#include "model/pool.h"
#include "model/waiting.h"

namespace turnout {
namespace {

constexpr const char* kNode = "0123456789ab/cpu/node-1";

std::string line_of(const std::string& state, const std::string& reason,
                    const std::string& left = "9:59") {
    return "12|" + state + "|" + left + "|n1|turnout abc " + kNode + "|" + reason + "|.\n";
}

TEST(SlurmQueue, TellsOfOurPilotsAndLeavesOutAllOthers) {
    const auto pilots = parse_queue(
        "3|PENDING|UNLIMITED||turnout abc 0123456789ab/cpu/node-3|Resources|.\n"
        "1|RUNNING|9:59|n1|turnout abc 0123456789ab/cpu/node-1|None|.\n"
        "4|RUNNING|9:59|n1|turnout other 0123456789ab/cpu/node-1|None|.\n"
        "5|RUNNING|9:59|n1|turnout abc ../../etc|None|.\n"
        "12_[1-9]|RUNNING|9:59|n1|(null)|None|.\n",
        "abc");
    ASSERT_TRUE(pilots) << pilots.error().message;
    ASSERT_EQ(pilots->size(), 2u);
    EXPECT_EQ((*pilots)[0].job, "3");
    EXPECT_EQ((*pilots)[0].phase(), Pilot::Phase::Waits);
    EXPECT_EQ((*pilots)[0].reason, "Resources");
    EXPECT_FALSE((*pilots)[0].left);
    EXPECT_EQ((*pilots)[1].node, kNode);
    EXPECT_EQ((*pilots)[1].where, "n1");
    EXPECT_EQ((*pilots)[1].left, Span(599s));
    EXPECT_TRUE(parse_queue("", "abc")->empty());
}

// Who is not in it counts as gone: half an answer is none.
TEST(SlurmQueue, AnAnswerThatIsCutOffIsNone) {
    const std::string whole = line_of("RUNNING", "None") + line_of("PENDING", "Priority");
    for (std::size_t size = 1; size < whole.size(); ++size) {
        const auto part = parse_queue(std::string_view(whole).substr(0, size), "abc");
        const bool at_line = size == line_of("RUNNING", "None").size();
        EXPECT_EQ(part.has_value(), at_line) << size;
    }
    EXPECT_FALSE(parse_queue("slurm_load_jobs error: Unable to contact slurm controller\n", "abc"));
    EXPECT_FALSE(
        parse_queue("x|RUNNING|9:59|n1|turnout abc 0123456789ab/cpu/node-1|None|.\n", "abc"));
}

TEST(SlurmQueue, AReasonMayBeASentence) {
    const auto pilots = parse_queue(
        line_of("PENDING", "Nodes required for job are DOWN, DRAINED|or reserved"), "abc");
    ASSERT_TRUE(pilots);
    EXPECT_EQ(pilots->front().reason, "Nodes required for job are DOWN, DRAINED|or reserved");
}

TEST(SlurmQueue, StatesSayWhatMayRun) {
    const auto phase = [](const std::string& state) {
        Pilot pilot;
        pilot.state = state;
        return pilot.phase();
    };
    EXPECT_EQ(phase("CONFIGURING"), Pilot::Phase::Waits);
    EXPECT_EQ(phase("SUSPENDED"), Pilot::Phase::Runs);
    EXPECT_EQ(phase("COMPLETING"), Pilot::Phase::Ends);
    EXPECT_EQ(phase("SOMETHING_NEW"), Pilot::Phase::Ends) << "what nobody knows is there still";
    for (const char* over : {"", "TIMEOUT", "NODE_FAIL", "CANCELLED", "FAILED", "PREEMPTED"})
        EXPECT_EQ(phase(over), Pilot::Phase::Over) << over;
}

TEST(SlurmTime, IsReadInAllItsForms) {
    EXPECT_EQ(parse_slurm_time("0:07"), Span(7s));
    EXPECT_EQ(parse_slurm_time("02:03:04"), Span(2h + 3min + 4s));
    EXPECT_EQ(parse_slurm_time("1-02:03:04"), Span(26h + 3min + 4s));
    for (const char* none :
         {"UNLIMITED", "INVALID", "NOT_SET", "", "1-", "-1", "1:2:3:4", "9999999999"})
        EXPECT_FALSE(parse_slurm_time(none)) << none;
}

TEST(SlurmSubmit, SaysWhatThePoolAndTheSizeSay) {
    NodeRequest request;
    request.id = kNode;
    request.cores = 4;
    request.memory_gb = 14;
    SlurmSettings settings;
    settings.partition = "gpu";
    settings.account = "lab";
    settings.gres = "gpu:a100:2";
    settings.walltime = 90s;
    const std::vector<std::string> words = submit_words(request, settings, "abc", "/shared/n/1");
    for (const char* word :
         {"--parsable", "--no-requeue", "--partition=gpu", "--account=lab", "--gres=gpu:a100:2",
          "--cpus-per-task=4", "--mem=14336M", "--time=1:30", "--job-name=turnout-abc",
          "--comment=turnout abc 0123456789ab/cpu/node-1", "--chdir=/shared/n/1"})
        EXPECT_EQ(std::ranges::count(words, word), 1) << word;
    for (const std::string& word : words) {
        EXPECT_FALSE(word.starts_with("--qos")) << word;
        EXPECT_EQ(word.find("constraint"), std::string::npos) << word;
    }
    request.gpus = 2;
    settings.gres.clear();
    EXPECT_EQ(std::ranges::count(submit_words(request, settings, "abc", "/f"), "--gres=gpu:2"), 1);
    settings.python = "/opt/it's/python3";
    const std::string script =
        pilot_script(request, settings, "/shared/bin/turnout-agent", "", "/shared", "/shared/n/1");
    EXPECT_TRUE(script.starts_with("#!/bin/sh\nexec /shared/bin/turnout-agent pilot")) << script;
    EXPECT_NE(script.find("'/opt/it'\\''s/python3'"), std::string::npos) << script;
    EXPECT_EQ(script.find("--uv"), std::string::npos);
}

TEST(SlurmSubmit, ItsAnswerIsANumber) {
    EXPECT_EQ(parse_submitted("123\n"), "123");
    EXPECT_EQ(parse_submitted("123;cluster\n"), "123");
    EXPECT_FALSE(parse_submitted(""));
    EXPECT_FALSE(parse_submitted("Submitted batch job 1"));
}

TEST(SlurmSays, RefusalsAreToldByWhetherTheyLast) {
    const Error partition = refused_by_slurm(
        "sbatch: error: invalid partition specified: nope\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n");
    EXPECT_EQ(partition.code, Code::InvalidArgument);
    EXPECT_EQ(partition.message,
              "Slurm says: invalid partition specified: nope; Invalid partition name specified");
    EXPECT_EQ(refused_by_slurm("sbatch: error: Batch job submission failed: Invalid account or "
                               "account/partition combination specified\n")
                  .code,
              Code::InvalidArgument);
    EXPECT_EQ(refused_by_slurm("sbatch: error: Memory specification can not be satisfied\n").code,
              Code::InvalidArgument);
    EXPECT_EQ(refused_by_slurm("sbatch: error: Batch job submission failed: Job violates "
                               "accounting/QOS policy (job submit limit, user's size and/or time "
                               "limits)\n")
                  .code,
              Code::ResourceExhausted);
    EXPECT_EQ(refused_by_slurm("sbatch: error: Batch job submission failed: Socket timed out on "
                               "send/recv operation\n")
                  .code,
              Code::Unavailable);
    EXPECT_EQ(refused_by_slurm("").code, Code::Unavailable);
}

TEST(SlurmSays, WhyItWaitsAndWhyItEnded) {
    Pilot pilot;
    pilot.job = "12";
    pilot.state = "PENDING";
    pilot.reason = "Resources";
    EXPECT_EQ(waits_in_words(pilot), "waits in Slurm: Resources (no node has room), job 12");
    EXPECT_TRUE(waits_in_words(pilot).starts_with(kWaiting));
    for (const char* never : {"PartitionTimeLimit", "InvalidAccount", "QOSMaxCpuPerJobLimit",
                              "AssocMaxWallDurationPerJobLimit",
                              "Job's account not known, so it can't use this partition"})
        EXPECT_TRUE(waits_for_ever(never)) << never;
    for (const char* later : {"Resources", "Priority", "QOSMaxJobsPerUserLimit", "None", "",
                              "ReqNodeNotAvail, UnavailableNodes:n1", "JobHeldAdmin"})
        EXPECT_FALSE(waits_for_ever(later)) << later;
    pilot.state = "TIMEOUT";
    pilot.where = "n1";
    EXPECT_EQ(ended_in_words(pilot),
              "the node's pilot, Slurm job 12 on n1, is over: its walltime was over (TIMEOUT)");
}

// ---- settings ----

Result<std::vector<Pool>> read(const std::string& settings) {
    const PoolProvider slurm{"slurm", slurm_settings(), true, false};
    return read_pools(
        "pools:\n  hpc:\n    provider: slurm\n    slots: 2\n    settings: " + settings,
        "pools.yaml", std::span(&slurm, 1));
}

TEST(SlurmSettingsRead, WhatIsSaidIsRead) {
    const auto pools = read(
        "{folder: /shared/me/, partition: 'gpu,cpu', walltime: 3600, "
        "constraint: 'a100&(ib|opa)', gres: 'gpu:a100:2', variables: {A: b}}");
    ASSERT_TRUE(pools) << pools.error().message;
    const SlurmSettings settings = read_slurm_settings(pools->back().settings);
    EXPECT_EQ(settings.folder, "/shared/me");
    EXPECT_EQ(settings.partition, "gpu,cpu");
    EXPECT_EQ(settings.walltime, Span(1h));
    EXPECT_EQ(settings.constraint, "a100&(ib|opa)");
    EXPECT_EQ(settings.variables.front().second, "b");
}

TEST(SlurmSettingsRead, WhatCouldBeAnOptionOrAnotherPathIsRefused) {
    EXPECT_FALSE(read("{}"));
    for (const char* wrong :
         {"partition: --wrap=x", "account: 'a b'", "qos: 'x;y'", "constraint: '$(id)'",
          "gres: \"gpu'\"", "config: slurm.conf", "config: '/etc/%j'", "walltime: 10"}) {
        const auto pools = read("{folder: /shared, " + std::string(wrong) + "}");
        ASSERT_FALSE(pools) << wrong;
        const std::string name = std::string(wrong).substr(0, std::string(wrong).find(':'));
        EXPECT_NE(pools.error().message.find("settings." + name), std::string::npos)
            << pools.error().message;
    }
    for (const char* wrong : {"shared", "/a/../b", "/sha red", "/%u",
                              "/a-folder-whose-name-is-longer-than-a-socket-can-be-long"})
        EXPECT_FALSE(read("{folder: '" + std::string(wrong) + "'}")) << wrong;
}

}  // namespace
}  // namespace turnout
