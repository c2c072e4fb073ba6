#include "model/sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "base/text.h"
#include "model/early_termination.h"

namespace turnout {
namespace {

Json json(std::string_view text) {
    const auto parsed = parse_json(text);
    EXPECT_TRUE(parsed) << text;
    return parsed ? *parsed : Json();
}

// What azure-ai-ml 1.35.2 sends for command(…)(lr=LogUniform(-6, -1), bs=Choice([16,
// 32])).sweep(…).
constexpr const char* kFromSdk = R"({"isArchived":false,"searchSpace":{"lr":["loguniform",[-6,-1]],
"bs":["choice",[[16,32]]]},"samplingAlgorithm":{"rule":"sobol","seed":7,"samplingAlgorithmType":"Random",
"logbase":"e"},"limits":{"maxConcurrentTrials":10,"maxTotalTrials":20,"timeout":"PT2H",
"trialTimeout":"PT1M40S","jobLimitsType":"Sweep"},"earlyTermination":{"delayEvaluation":10,
"evaluationInterval":1,"slackFactor":0.15,"policyType":"Bandit"},"properties":{},"computeId":"c",
"objective":{"goal":"maximize","primaryMetric":"acc"},"trial":{"environmentId":"azureml:e:1",
"command":"python t.py --lr ${{search_space.lr}} --bs ${{search_space.bs}} $[[--e ${{inputs.e}}]]",
"environmentVariables":{"A":"1"},"resources":{"instanceCount":1,"properties":{}}},"tags":{},
"inputs":{"e":{"jobInputType":"literal"},"d":{"uri":"azureml://datastores/workspaceblobstore/paths/x.csv",
"jobInputType":"uri_file"}},"outputs":{"m":{"jobOutputType":"uri_folder"}},"jobType":"Sweep",
"resources":{"instanceCount":1,"properties":{}}})";

// The same with a choice of mappings, and nothing that could be left out.
constexpr const char* kNested = R"({"searchSpace":{"lr":["qlognormal",[0,1,1]],"bs":["choice",[[
{"a":1,"lr":["uniform",[1,2]],"n":["choice",[["x","y"]]]},{"a":2,"c":"z"}]]]},
"samplingAlgorithm":{"samplingAlgorithmType":"Random"},"limits":{"jobLimitsType":"Sweep"},
"earlyTermination":{"delayEvaluation":0,"evaluationInterval":1,"truncationPercentage":20,
"policyType":"TruncationSelection"},"objective":{"goal":"minimize","primaryMetric":"acc"},
"trial":{"command":"c","environmentId":"e"},"queueSettings":{"jobTier":"Standard","priority":3},
"jobType":"Sweep","resources":{"instanceCount":1,"properties":{}}})";

Json with_space(std::string_view space,
                std::string_view sampling = R"({"samplingAlgorithmType":"Random","seed":1})") {
    Json properties = json(kNested);
    properties.set("searchSpace", json(space));
    properties.set("samplingAlgorithm", json(sampling));
    return properties;
}

Sweep sweep_of(const Json& properties, std::string_view name = "s") {
    const auto sweep = parse_sweep(properties, name);
    EXPECT_TRUE(sweep) << (sweep ? "" : sweep.error().message);
    return sweep ? *sweep : Sweep{};
}

constexpr const char* kGrid = R"({"samplingAlgorithmType":"Grid"})";

TEST(Sweep, WhatTheSdkSends) {
    const Sweep sweep = sweep_of(json(kFromSdk));
    ASSERT_EQ(sweep.space.size(), 2u);
    EXPECT_EQ(sweep.space[0].second.type, SearchExpression::Type::LogUniform);
    EXPECT_EQ(sweep.sampling.kind, Sampling::Kind::Sobol);
    EXPECT_EQ(sweep.sampling.seed, 7);
    EXPECT_TRUE(sweep.objective.maximize);
    EXPECT_EQ(sweep.limits.max_total_trials, 20);
    EXPECT_EQ(sweep.limits.max_concurrent_trials, 10);
    EXPECT_EQ(*sweep.limits.timeout, 2h);
    EXPECT_EQ(*sweep.limits.trial_timeout, 100s);
    EXPECT_EQ(sweep.policy.kind, EarlyTerminationPolicy::Kind::Bandit);
    EXPECT_EQ(sweep.policy.slack_factor, 0.15);
    EXPECT_EQ(sweep.policy.delay_evaluation, 10);
    EXPECT_TRUE(check_search_space_references(json(kFromSdk)));
}

TEST(Sweep, TheTrialIsACommandJob) {
    const Json trial = trial_of(json(kFromSdk));
    EXPECT_EQ(trial.at("jobType").as_view(), "Command");
    EXPECT_EQ(trial.at("environmentId").as_view(), "azureml:e:1");
    EXPECT_EQ(trial.at("computeId").as_view(), "c");
    EXPECT_TRUE(trial.at("inputs").has("d"));
    EXPECT_EQ(trial.at("limits").at("timeout").as_view(), "PT1M40S");
    EXPECT_EQ(trial.at("resources").at("instanceCount").as_int(), 1);
    EXPECT_FALSE(trial.has("searchSpace"));
}

TEST(Sweep, WhatIsLeftOut) {
    const Sweep sweep = sweep_of(json(kNested));
    EXPECT_EQ(sweep.limits.max_total_trials, kDefaultTrials);
    EXPECT_EQ(sweep.limits.max_concurrent_trials, kDefaultTrials);
    EXPECT_FALSE(sweep.limits.timeout);
    EXPECT_FALSE(sweep.sampling.seed_given);
    EXPECT_EQ(sweep.sampling.seed, sweep_of(json(kNested)).sampling.seed);
    EXPECT_NE(sweep.sampling.seed, sweep_of(json(kNested), "t").sampling.seed);
}

TEST(Sweep, RefusalsSayWhereWhatAndWhy) {
    struct Case {
        const char* member;
        const char* value;
        const char* subject;
        const char* message;
    };
    for (
        const Case& each : {
            Case{"searchSpace", R"({"lr":["unifrom",[0,1]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: 'unifrom' is not a distribution, did you mean 'uniform'?"},
            Case{"searchSpace", R"({"lr":["uniform",[0]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: uniform takes min_value, max_value, found [0]"},
            Case{"searchSpace", R"({"lr":["uniform",[2,1]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: expected min_value to be at most max_value, found 2 and 1"},
            Case{"searchSpace", R"({"lr":["normal",[0,"1"]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: sigma: expected a number, found \"1\""},
            Case{"searchSpace", R"({"lr":["qnormal",[0,1,0]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: q: expected more than 0, found 0"},
            Case{"searchSpace", R"({"lr":["randint",[0]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: upper: expected a whole number of at least 1, found 0"},
            Case{"searchSpace", R"({"lr":["choice",[[]]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: a choice needs at least one value"},
            Case{"searchSpace", R"({"lr":["choice",[[1,null]]]})", "properties.searchSpace.lr[1]",
                 "searchSpace.lr[1]: expected text, a number, a boolean or a mapping of "
                 "parameters, found nothing"},
            Case{
                "searchSpace", R"({"lr":0.1})", "properties.searchSpace.lr",
                R"(searchSpace.lr: expected an expression such as ["uniform",[0.1,1]] or ["choice",[[1,2]]], found 0.1)"},
            Case{"searchSpace", R"({"l-r":["uniform",[0,1]]})", "properties.searchSpace",
                 "searchSpace: expected names of letters, digits and '_', found 'l-r'"},
            Case{"searchSpace", "{}", "properties.searchSpace",
                 "searchSpace: expected at least one parameter with its expression, found {}"},
            Case{"searchSpace", R"({"lr":["loguniform",[1,800]]})", "properties.searchSpace.lr",
                 "searchSpace.lr: its values are powers, and 2.718281828459045^800.0 is too large: "
                 "give the logarithms"},
            Case{"samplingAlgorithm", R"({"samplingAlgorithmType":"Bayesian"})",
                 "properties.samplingAlgorithm",
                 "samplingAlgorithm: Bayesian sampling does not run here: use Random, with rule "
                 "sobol for an even cover of the search space, and early termination"},
            Case{"samplingAlgorithm", R"({"samplingAlgorithmType":"Gird"})",
                 "properties.samplingAlgorithm.samplingAlgorithmType",
                 "samplingAlgorithm.samplingAlgorithmType: 'Gird' is not a sampling algorithm, did "
                 "you mean 'Grid'?"},
            Case{"samplingAlgorithm", kGrid, "properties.searchSpace.lr",
                 "searchSpace.lr: grid sampling takes choices only, found qlognormal: give a "
                 "choice of values, or use random sampling"},
            Case{"samplingAlgorithm", R"({"samplingAlgorithmType":"Random","seed":1.5})",
                 "properties.samplingAlgorithm.seed", ""},
            Case{"samplingAlgorithm", R"({"samplingAlgorithmType":"Random","logbase":-2})",
                 "properties.samplingAlgorithm.logbase",
                 "samplingAlgorithm.logbase: expected a positive number other than 1, or e, found "
                 "-2"},
            Case{"objective", R"({"goal":"maximise","primaryMetric":"a"})",
                 "properties.objective.goal",
                 "objective.goal: expected maximize or minimize, found \"maximise\", did you mean "
                 "'maximize'?"},
            Case{"objective", R"({"goal":"maximize"})", "properties.objective.primaryMetric",
                 "objective.primaryMetric: is missing: expected the name of a metric that the "
                 "trials log"},
            Case{"limits", R"({"maxTotalTrials":0})", "properties.limits.maxTotalTrials",
                 "limits.maxTotalTrials: expected a whole number from 1 to 1,000,000, found 0"},
            Case{"limits", R"({"maxConcurrentTrials":"2"})",
                 "properties.limits.maxConcurrentTrials",
                 "limits.maxConcurrentTrials: expected a whole number from 1 to 1,000,000, found "
                 "\"2\""},
            Case{"limits", R"({"timeout":"1h"})", "properties.limits.timeout",
                 "limits.timeout: expected a duration longer than nothing, such as PT1H, found "
                 "\"1h\""},
            Case{"earlyTermination", R"({"policyType":"Bandit"})", "properties.earlyTermination",
                 "earlyTermination: a bandit policy needs slackFactor or slackAmount, larger than "
                 "0"},
            Case{"earlyTermination", R"({"policyType":"Median"})",
                 "properties.earlyTermination.policyType", ""},
            Case{"earlyTermination",
                 R"({"policyType":"TruncationSelection","truncationPercentage":100})",
                 "properties.earlyTermination.truncationPercentage",
                 "earlyTermination.truncationPercentage: expected a whole number from 1 to 99, "
                 "found 100"},
        }) {
        Json properties = json(kNested);
        properties.set(each.member, json(each.value));
        const auto sweep = parse_sweep(properties, "s");
        ASSERT_FALSE(sweep) << each.value;
        EXPECT_EQ(sweep.error().code, Code::InvalidArgument);
        EXPECT_EQ(sweep.error().subject, each.subject);
        const std::string_view wanted = each.message;
        EXPECT_EQ(sweep.error().message,
                  wanted.empty() ? std::string_view(sweep.error().message) : wanted);
    }
    Json properties = json(kFromSdk);
    properties["trial"].set("command", "x ${{search_space.lrr}}");
    const auto checked = check_search_space_references(properties);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().message,
              "trial.command: uses ${{search_space.lrr}}, which is not in the search space, did "
              "you mean 'lr'? (it has lr, bs)");
}

// ---- sampling

TEST(SweepSampling, AGridIsTheProductInOrder) {
    const Sweep sweep = sweep_of(
        with_space(R"({"a":["choice",[[1,2.5,"x y"]]],"b":["choice",[[true,false]]]})", kGrid));
    EXPECT_EQ(sweep.limits.max_total_trials, 6);
    std::vector<std::string> seen;
    for (std::int64_t i = 0; i < 6; ++i) {
        const Parameters parameters = trial_parameters(sweep, i);
        ASSERT_EQ(parameters.size(), 2u);
        EXPECT_EQ(parameters[0].first, "a");
        seen.push_back(parameters[0].second + "," + parameters[1].second);
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"1,True", "1,False", "2.5,True", "2.5,False",
                                              "x y,True", "x y,False"}));
}

TEST(SweepSampling, AGridGoesThroughChoicesWithinChoices) {
    const Sweep sweep = sweep_of(with_space(
        R"({"m":["choice",[[{"kind":"svm","c":["choice",[[1,2]]]},{"kind":"tree"},7]]],"s":["choice",[[0,1]]]})",
        kGrid));
    EXPECT_EQ(sweep.limits.max_total_trials, 8);
    std::set<std::string> seen;
    for (std::int64_t i = 0; i < 8; ++i) {
        const Parameters parameters = trial_parameters(sweep, i);
        seen.insert(parameters[0].second + " " + parameters[1].second);
    }
    EXPECT_EQ(seen.size(), 8u);
    EXPECT_TRUE(seen.contains(R"({"kind":"svm","c":2} 1)"));
    EXPECT_TRUE(seen.contains(R"({"kind":"tree"} 0)"));
    EXPECT_TRUE(seen.contains("7 1"));
}

TEST(SweepSampling, AGridMayBeLargeButNotEndless) {
    std::string values;
    for (int i = 0; i < 1001; ++i) values += (i ? "," : "") + std::to_string(i);
    const std::string space =
        R"({"a":["choice",[[)" + values + R"(]]],"b":["choice",[[)" + values + "]]]}";
    Json properties = with_space(space, kGrid);
    EXPECT_FALSE(parse_sweep(properties, "s")) << "1,002,001 combinations";
    properties.set("limits", json(R"({"maxTotalTrials":100000})"));
    const Sweep sweep = sweep_of(properties);
    EXPECT_EQ(sweep.limits.max_total_trials, 100'000);
    EXPECT_EQ(trial_parameters(sweep, 99'999), (Parameters{{"a", "99"}, {"b", "900"}}));
}

// Draws many values of one expression and hands them to `check`.
std::vector<double> drawn(std::string_view expression, std::string_view sampling,
                          int count = 4096) {
    const Sweep sweep = sweep_of(with_space(R"({"x":)" + std::string(expression) + "}", sampling));
    std::vector<double> values;
    for (int i = 0; i < count; ++i)
        values.push_back(std::stod(trial_parameters(sweep, i)[0].second));
    return values;
}
double mean(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}
double deviation(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += (value - mean(values)) * (value - mean(values));
    return std::sqrt(sum / static_cast<double>(values.size()));
}

TEST(SweepSampling, EveryDistribution) {
    for (const std::string_view sampling :
         {R"({"samplingAlgorithmType":"Random","seed":3})",
          R"({"samplingAlgorithmType":"Random","rule":"sobol","seed":3})"}) {
        const auto uniform = drawn(R"(["uniform",[2,4]])", sampling);
        EXPECT_NEAR(mean(uniform), 3, 0.05);
        EXPECT_NEAR(deviation(uniform), 2 / std::sqrt(12.0), 0.03);
        EXPECT_GE(std::ranges::min(uniform), 2);
        EXPECT_LE(std::ranges::max(uniform), 4);
        const auto normal = drawn(R"(["normal",[10,3]])", sampling);
        EXPECT_NEAR(mean(normal), 10, 0.2);
        EXPECT_NEAR(deviation(normal), 3, 0.15);
        const auto loguniform = drawn(R"(["loguniform",[-6,-1]])", sampling);
        EXPECT_GE(std::ranges::min(loguniform), std::exp(-6.0));
        EXPECT_LE(std::ranges::max(loguniform), std::exp(-1.0));
        std::vector<double> logs;
        for (const double value : loguniform) logs.push_back(std::log(value));
        EXPECT_NEAR(mean(logs), -3.5, 0.1);
        logs.clear();
        for (const double value : drawn(R"(["lognormal",[1,0.5]])", sampling))
            logs.push_back(std::log(value));
        EXPECT_NEAR(mean(logs), 1, 0.05);
        EXPECT_NEAR(deviation(logs), 0.5, 0.03);
        for (const double value : drawn(R"(["quniform",[16,128,16]])", sampling))
            EXPECT_EQ(std::fmod(value, 16), 0);
        for (const double value : drawn(R"(["qnormal",[0,5,0.5]])", sampling))
            EXPECT_EQ(std::fmod(value, 0.5), 0);
        for (const double value : drawn(R"(["qloguniform",[0,5,2]])", sampling))
            EXPECT_EQ(std::fmod(value, 2), 0);
        for (const double value : drawn(R"(["qlognormal",[1,1,3]])", sampling))
            EXPECT_EQ(std::fmod(value, 3), 0);
        std::map<double, int> counts;
        for (const double value : drawn(R"(["randint",[4]])", sampling)) ++counts[value];
        EXPECT_EQ(counts.size(), 4u);
        for (const auto& [value, count] : counts) EXPECT_NEAR(count, 1024, 120) << value;
        counts.clear();
        for (const double value : drawn(R"(["choice",[[0.5,1,7]]])", sampling)) ++counts[value];
        EXPECT_EQ(counts.size(), 3u);
        for (const auto& [value, count] : counts) EXPECT_NEAR(count, 1365, 150) << value;
    }
    const auto decimal = drawn(R"(["loguniform",[-3,0]])",
                               R"({"samplingAlgorithmType":"Random","seed":3,"logbase":10})");
    EXPECT_GE(std::ranges::min(decimal), 0.001);
    EXPECT_LT(std::ranges::min(decimal), 0.002);
}

TEST(SweepSampling, TextsReadBackAsTheSameNumbers) {
    const Sweep sweep = sweep_of(with_space(
        R"({"u":["uniform",[0,1]],"q":["quniform",[16,128,16]],"h":["quniform",[0,1,0.25]],"r":["randint",[9]]})"));
    bool saw_whole = false;
    for (std::int64_t i = 0; i < 100; ++i) {
        const Parameters parameters = trial_parameters(sweep, i);
        EXPECT_EQ(Json(std::stod(parameters[0].second)).dump(), parameters[0].second);
        EXPECT_EQ(parameters[1].second.find_first_not_of("0123456789"), std::string::npos)
            << "argparse's type=int takes it";
        saw_whole = saw_whole || parameters[2].second == "1.0";
        EXPECT_EQ(parameters[3].second.size(), 1u);
    }
    EXPECT_TRUE(saw_whole) << "a multiple of 0.25 is a float, also where it is whole";
}

TEST(SweepSampling, ATrialDependsOnDefinitionSeedAndIndexAlone) {
    const char* space =
        R"({"a":["uniform",[0,1]],"b":["normal",[0,1]],"c":["choice",[["x",{"y":["uniform",[0,1]]}]]]})";
    const Sweep first = sweep_of(with_space(space));
    const Sweep again = sweep_of(with_space(space), "another name");
    const Sweep other =
        sweep_of(with_space(space, R"({"samplingAlgorithmType":"Random","seed":2})"));
    std::set<std::string> values;
    for (std::int64_t i = 999; i >= 0; --i) {  // in any order
        EXPECT_EQ(trial_parameters(first, i), trial_parameters(again, i));
        EXPECT_NE(trial_parameters(first, i), trial_parameters(other, i));
        values.insert(trial_parameters(first, i)[0].second);
    }
    EXPECT_EQ(values.size(), 1000u);
}

TEST(SweepSampling, RandomChoicesAreDrawnOnceEach) {
    for (const int first : {1, 2, 3, 7, 50}) {
        std::string values;
        for (int i = 0; i < first; ++i) values += (i > 0 ? "," : "") + std::to_string(i);
        const std::string space = R"({"a":["choice",[[)" + values +
                                  R"(]]],"b":["choice",[["x",{"y":["choice",[[1,2]]]},"z"]]]})";
        const Sweep sweep = sweep_of(with_space(space));
        const std::int64_t cells = first * 4;
        EXPECT_EQ(sweep.limits.max_total_trials, cells) << "there are no more";
        std::set<Parameters> seen;
        std::vector<std::string> order;
        for (std::int64_t i = 0; i < cells; ++i) {
            seen.insert(trial_parameters(sweep, i));
            order.push_back(trial_parameters(sweep, i)[0].second);
        }
        EXPECT_EQ(static_cast<std::int64_t>(seen.size()), cells);
        if (first == 50) {
            EXPECT_FALSE(std::is_sorted(order.begin(), order.end())) << "in no order";
        }
    }
}

TEST(SweepSampling, SobolIsJoeAndKuos) {
    // By scipy.stats.qmc.Sobol(d=129, scramble=False, bits=32).
    const std::map<std::uint32_t, std::vector<std::uint32_t>> known = {
        {2, {3221225472, 1073741824, 1073741824, 3221225472, 3221225472, 1073741824, 1073741824}},
        {5, {3758096384, 3758096384, 536870912, 1610612736, 2684354560, 536870912, 2684354560}},
        {100, {1778384896, 1107296256, 3321888768, 2046820352, 2785017856, 1979711488, 1107296256}},
        {1023, {4194304, 3233808384, 2629828608, 2654994432, 171966464, 3007315968, 4232052736}}};
    for (const auto& [index, bits] : known)
        for (std::size_t i = 0; const int dimension : {0, 1, 2, 7, 63, 127, 128})
            EXPECT_EQ(sobol_bits(index, dimension), bits[i++]) << index << " " << dimension;
}

TEST(SweepSampling, ScrambledSobolStillCoversEvenly) {
    // 2^k points: exactly one in each of 2^k equal parts, in every dimension. Random points would
    // not.
    std::string space;
    for (int d = 0; d < 20; ++d)
        space += (d ? ",\"p" : "{\"p") + std::to_string(d) + R"(":["uniform",[0,256]])";
    const std::string rule = R"({"samplingAlgorithmType":"Random","rule":"sobol","seed":)";
    const Sweep sweep = sweep_of(with_space(space + "}", rule + "5}"));
    std::vector<std::set<int>> parts(20);
    for (std::int64_t i = 0; i < 256; ++i)
        for (std::size_t d = 0; d < 20; ++d)
            parts[d].insert(static_cast<int>(std::stod(trial_parameters(sweep, i)[d].second)));
    for (const auto& each : parts) EXPECT_EQ(each.size(), 256u);
    EXPECT_NE(trial_parameters(sweep, 0),
              trial_parameters(sweep_of(with_space(space + "}", rule + "6}")), 0));
    std::string wide;
    for (int d = 0; d <= kSobolDimensions; ++d)
        wide += (d ? ",\"p" : "{\"p") + std::to_string(d) + R"(":["uniform",[0,1]])";
    EXPECT_FALSE(parse_sweep(with_space(wide + "}", rule + "6}"), "s"));
}

// ---- the life of a sweep

Sweep sweep_with(std::int64_t total, std::int64_t concurrent) {
    Json properties = json(kNested);
    properties.set("limits",
                   Json::object({{"maxTotalTrials", total}, {"maxConcurrentTrials", concurrent}}));
    return sweep_of(properties);
}

TEST(SweepLife, TrialsAreCreatedInBatchesWithinTheLimits) {
    const Sweep sweep = sweep_with(100, 10);
    SweepProgress progress;
    EXPECT_EQ(trials_to_create(sweep, progress, 0, 4), 4) << "no more than the nodes can use";
    EXPECT_EQ(trials_to_create(sweep, progress, 0, 64), 10) << "no more than may be live";
    progress.created = 8;
    EXPECT_EQ(trials_to_create(sweep, progress, 3, 64), 2);
    EXPECT_EQ(trials_to_create(sweep, progress, 3, 4), 0) << "enough are waiting";
    EXPECT_EQ(trials_to_create(sweep, progress, 2, 4), 2);
    progress = {.created = 98, .completed = 95};
    EXPECT_EQ(trials_to_create(sweep, progress, 0, 64), 2) << "the last ones";
    progress.cancel_requested = true;
    EXPECT_EQ(trials_to_create(sweep, progress, 0, 64), 0);
}

// Runs a sweep in the order of a made-up cluster; `ends` says how each trial ends.
using Cause = agent_protocol::Cause;
SweepProgress run(
    const Sweep& sweep, const std::function<JobStatus(std::int64_t)>& ends,
    const std::function<Cause(std::int64_t)>& cause = [](std::int64_t) { return Cause::UserCode; },
    const std::function<bool(std::int64_t)>& began = [](std::int64_t) { return true; }) {
    SweepProgress progress;
    std::vector<std::int64_t> live;
    for (int step = 0; step < 100'000 && !sweep_end(sweep, progress, "s"); ++step) {
        const auto waiting = static_cast<std::int64_t>(live.size()) / 2;
        const std::int64_t first = progress.created;
        progress.created += trials_to_create(sweep, progress, waiting, 8);
        for (std::int64_t i = first; i < progress.created; ++i) live.push_back(i);
        EXPECT_LE(progress.live(), sweep.limits.max_concurrent_trials);
        EXPECT_FALSE(live.empty()) << "nothing lives and nothing is created";
        if (live.empty()) break;
        const std::int64_t index = live[static_cast<std::size_t>(step) % live.size()];
        std::erase(live, index);
        trial_ended(sweep, progress,
                    {.name = "s_" + std::to_string(index),
                     .index = index,
                     .status = ends(index),
                     .score = 100.0 - static_cast<double>(index % 7),
                     .began = began(index),
                     .cause = cause(index),
                     .message = "why"});
        progress = sweep_progress_from_json(to_json(progress));  // as after a restart
    }
    return progress;
}

TEST(SweepLife, EndsAsAzureDoes) {
    const Sweep sweep = sweep_with(100, 10);
    const SweepProgress some =
        run(sweep, [](std::int64_t i) { return i % 3 ? JobStatus::Failed : JobStatus::Completed; });
    EXPECT_EQ(some.ended(), 100);
    EXPECT_EQ(sweep_end(sweep, some, "s")->status, JobStatus::Completed);
    EXPECT_EQ(some.best, 6) << "the least value; of those with it that completed the first";
    EXPECT_EQ(some.best_score, 94);

    const SweepProgress none = run(sweep, [](std::int64_t) { return JobStatus::Failed; });
    EXPECT_EQ(sweep_end(sweep, none, "s")->status, JobStatus::Failed);
    EXPECT_GE(none.failed, kInitialFailures);
    EXPECT_LT(none.created, 30) << "gave up";
    EXPECT_EQ(none.best, -1);

    const SweepProgress late = run(
        sweep, [](std::int64_t i) { return i == 9 ? JobStatus::Completed : JobStatus::Failed; });
    EXPECT_EQ(late.ended(), 100) << "a trial that was running completed: it goes on";
    EXPECT_EQ(sweep_end(sweep, late, "s")->status, JobStatus::Completed);

    const SweepProgress canceled = run(sweep, [](std::int64_t) { return JobStatus::Canceled; });
    EXPECT_EQ(sweep_end(sweep, canceled, "s")->status, JobStatus::Canceled);

    EXPECT_EQ(sweep_end(sweep, none, "s")->cause, Cause::UserCode);
    const SweepProgress memory = run(
        sweep, [](std::int64_t) { return JobStatus::Failed; },
        [](std::int64_t) { return Cause::OutOfMemory; });
    EXPECT_EQ(sweep_end(sweep, memory, "s")->cause, Cause::OutOfMemory)
        << "what all of them failed by";

    SweepProgress stopping{.created = 5, .completed = 3, .timed_out = true};
    EXPECT_FALSE(sweep_end(sweep, stopping, "s")) << "two still run";
    stopping.canceled = 2;
    EXPECT_EQ(sweep_end(sweep, stopping, "s")->status, JobStatus::Canceled);
    EXPECT_EQ(trial_name("parent", 0), "parent_0");
}

TEST(SweepLife, AnEnvironmentThatFailsIsTriedAFewTimes) {
    const Sweep sweep = sweep_with(100, 10);
    const auto failed = [](std::int64_t) { return JobStatus::Failed; };
    const auto never = [](std::int64_t) { return false; };
    const SweepProgress all =
        run(sweep, failed, [](std::int64_t) { return Cause::Environment; }, never);
    EXPECT_LT(all.created, 15);
    EXPECT_TRUE(environment_fails(all));
    const GroupEnd end = *sweep_end(sweep, all, "s");
    EXPECT_EQ(end.status, JobStatus::Failed);
    EXPECT_EQ(end.cause, Cause::Environment);
    EXPECT_TRUE(
        end.message.starts_with("no trial completed: " + std::to_string(all.failed) +
                                " failed in the environment that all of them have; the other "))
        << end.message;
    EXPECT_TRUE(end.message.ends_with(": why")) << end.message;

    SweepProgress progress{
        .created = 3, .failed = 3, .failed_by = Cause::Environment, .first_failure = "s_0: why"};
    EXPECT_TRUE(gives_up(progress));
    EXPECT_EQ(trials_to_create(sweep, progress, 0, 64), 0);
    progress.began = true;
    EXPECT_FALSE(gives_up(progress)) << "another node has it";
    progress = {
        .created = 3, .failed = 3, .failed_by = Cause::UserCode, .first_failure = "s_0: why"};
    EXPECT_FALSE(gives_up(progress));
    const SweepProgress mixed = run(
        sweep, failed, [](std::int64_t i) { return i == 1 ? Cause::Input : Cause::Environment; },
        never);
    EXPECT_GE(mixed.failed, kInitialFailures);
    EXPECT_EQ(sweep_end(sweep, mixed, "s")->cause, Cause::UserCode);
    std::string wide(2'000, 'x');
    for (std::size_t i = 0; i + 1 < wide.size(); i += 2) wide.replace(i, 2, "é");
    SweepProgress told{.created = 1};
    trial_ended(
        sweep, told,
        {.name = "s_0", .status = JobStatus::Failed, .cause = Cause::Input, .message = wide});
    EXPECT_LT(told.first_failure.size(), 800u);
    EXPECT_TRUE(is_utf8(told.first_failure));
}

// ---- early termination

constexpr Objective kMaximize{.primary_metric = "acc", .maximize = true};
constexpr Objective kMinimize{.primary_metric = "loss", .maximize = false};
using Kind = EarlyTerminationPolicy::Kind;

TEST(EarlyTermination, BanditOfTheDocumentation) {
    // "run X has 0.8 … the best of Y is compared with 0.8: Y + Y * 0.2 < 0.8 is canceled"
    EarlyTermination policy({.kind = Kind::Bandit, .slack_factor = 0.2}, kMaximize);
    EXPECT_FALSE(policy.observe(0, 0.8));
    EXPECT_FALSE(policy.observe(1, 0.67));
    EXPECT_TRUE(policy.observe(2, 0.66));
    EarlyTermination amount({.kind = Kind::Bandit, .slack_amount = 0.2}, kMinimize);
    EXPECT_FALSE(amount.observe(0, 0.5));
    EXPECT_FALSE(amount.observe(1, 0.7));
    EXPECT_TRUE(amount.observe(2, 0.71));
    EarlyTermination negative({.kind = Kind::Bandit, .slack_factor = 0.1}, kMaximize);
    EXPECT_FALSE(negative.observe(0, -1));
    EXPECT_FALSE(negative.observe(1, -1.05));
    EXPECT_TRUE(negative.observe(2, -2));
}

TEST(EarlyTermination, IntervalsAreComparedWithTheSameIntervals) {
    EarlyTermination policy({.kind = Kind::Bandit,
                             .evaluation_interval = 2,
                             .delay_evaluation = 3,
                             .slack_factor = 0.1},
                            kMaximize);
    for (const double value : {0.1, 0.2, 0.3, 0.4, 0.9}) EXPECT_FALSE(policy.observe(0, value));
    EXPECT_FALSE(policy.observe(1, 0.01)) << "interval 1 of 2";
    EXPECT_FALSE(policy.observe(1, 0.01)) << "before the delay";
    EXPECT_FALSE(policy.observe(1, 0.39)) << "no multiple of 2";
    EXPECT_FALSE(policy.observe(1, 0.01))
        << "its best, 0.39, is near 0.4; that 0.9 came later does not count";
    for (const double value : {0.3, 0.3, 0.3}) EXPECT_FALSE(policy.observe(2, value));
    EXPECT_TRUE(policy.observe(2, 0.3));
    // A trial that was good early and then ended still sets the mark.
    EarlyTermination early({.kind = Kind::Bandit, .slack_factor = 0.1}, kMaximize);
    EXPECT_FALSE(early.observe(0, 0.9));
    EXPECT_FALSE(early.observe(1, 0.85));
    EXPECT_FALSE(early.observe(1, 0.1)) << "its 0.85 still holds";
    EXPECT_TRUE(early.observe(2, 0.2));
}

// The rules as they are written down, over whole histories.
bool stops_by_the_book(const EarlyTerminationPolicy& policy, const Objective& objective,
                       const std::map<std::int64_t, std::vector<double>>& histories,
                       std::int64_t trial) {
    const std::size_t n = histories.at(trial).size();
    if (static_cast<std::int64_t>(n) < policy.delay_evaluation ||
        static_cast<std::int64_t>(n) % policy.evaluation_interval)
        return false;
    const auto best_of = [&](const std::vector<double>& values) {
        const auto end = values.begin() + static_cast<std::ptrdiff_t>(std::min(n, values.size()));
        return objective.maximize ? *std::max_element(values.begin(), end)
                                  : *std::min_element(values.begin(), end);
    };
    const double own = best_of(histories.at(trial));
    std::vector<double> averages;
    double best = own;
    std::int64_t peers = 0, better = 0;
    for (const auto& [other, values] : histories) {
        if (objective.better(best_of(values), best)) best = best_of(values);
        if (values.size() < n) continue;
        averages.push_back(
            std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n), 0.0) /
            static_cast<double>(n));
        ++peers;
        if (other != trial && objective.better(best_of(values), own)) ++better;
    }
    if (policy.kind == Kind::Bandit)
        return objective.maximize ? own + std::abs(own) * policy.slack_factor < best
                                  : own > best + std::abs(best) * policy.slack_factor;
    if (policy.kind == Kind::TruncationSelection)
        return peers - 1 - better < peers * policy.truncation_percentage / 100;
    std::ranges::sort(averages);
    const std::size_t half = averages.size() / 2;
    return objective.better(
        averages.size() % 2 ? averages[half] : (averages[half - 1] + averages[half]) / 2, own);
}

TEST(EarlyTermination, EveryPolicyDecidesByTheBook) {
    std::uint64_t state = 1;
    const auto random = [&] {
        return state = state * 6364136223846793005 + 1442695040888963407, (state >> 33) % 100'000;
    };
    for (const Objective& objective : {kMaximize, kMinimize}) {
        for (const EarlyTerminationPolicy& rules :
             {EarlyTerminationPolicy{
                  .kind = Kind::Bandit, .evaluation_interval = 2, .slack_factor = 0.2},
              EarlyTerminationPolicy{
                  .kind = Kind::MedianStopping, .evaluation_interval = 1, .delay_evaluation = 3},
              EarlyTerminationPolicy{.kind = Kind::TruncationSelection,
                                     .evaluation_interval = 3,
                                     .truncation_percentage = 30}}) {
            EarlyTermination policy(rules, objective);
            std::map<std::int64_t, std::vector<double>> histories;
            int stopped = 0;
            for (int step = 0; step < 3000; ++step) {
                const auto trial = static_cast<std::int64_t>(random() % 60);
                // Sums of eighths are exact, so that both ways of adding agree.
                const double value = static_cast<double>(random()) / 8;
                histories[trial].push_back(value);
                const bool stops = policy.observe(trial, value);
                ASSERT_EQ(stops, stops_by_the_book(rules, objective, histories, trial)) << step;
                stopped += stops;
            }
            EXPECT_GT(stopped, 10);
        }
    }
}

TEST(EarlyTermination, WhatIsNoNumberIsAnIntervalAllTheSame) {
    EarlyTermination policy({.kind = Kind::MedianStopping}, kMinimize);
    EXPECT_FALSE(policy.observe(0, std::nan("")));
    EXPECT_FALSE(policy.best_of(0));
    EXPECT_FALSE(policy.observe(0, std::numeric_limits<double>::infinity()));
    EXPECT_FALSE(policy.observe(0, 3));
    EXPECT_EQ(policy.best_of(0), 3.0);
}

}  // namespace
}  // namespace turnout
