// Whatever a client sends as a job's definition: it is read, or refused at the place that is wrong.
#include "submission/job.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/text.h"
#include "model/job_kind.h"
#include "resources/resources.h"

namespace turnout::submission {
namespace {

Json json(std::string_view text) {
    auto parsed = parse_json(text);
    EXPECT_TRUE(parsed) << text;
    return *parsed;
}

// Every member that is read, in one job and one sweep.
Json command_document() {
    return json(R"({
        "jobType": "Command", "displayName": "d", "experimentName": "e", "description": "w",
        "isArchived": false, "tags": {"a": "b"}, "properties": {"c": "d"},
        "command": "python a.py ${{inputs.lr}} ${{inputs.csv}} ${{outputs.model}} $[[${{inputs.x}}]]",
        "codeId": "azureml:c:1", "environmentId": "azureml:mine:1", "computeId": "cpu",
        "environmentVariables": {"A": "1"},
        "inputs": {"lr": {"jobInputType": "literal", "value": "0.1"},
                   "csv": {"jobInputType": "uri_file", "mode": "Download",
                           "uri": "azureml://datastores/workspaceblobstore/paths/a.csv"}},
        "outputs": {"model": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount",
                              "uri": "azureml://datastores/workspaceblobstore/paths/out"}},
        "resources": {"instanceCount": 2, "instanceType": "STANDARD_DS3_V2", "shmSize": "2g",
                      "locations": ["westus"], "maxInstanceCount": 3, "properties": {}},
        "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 2},
        "limits": {"jobLimitsType": "Command", "timeout": "PT1H"},
        "queueSettings": {"jobTier": "Standard", "priority": 2},
        "identity": {"identityType": "UserIdentity", "clientId": "x"},
        "services": {"lab": {"jobServiceType": "JupyterLab"}}})");
}
Json sweep_document() {
    Json sweep = command_document();
    Json trial = Json::object();
    for (const char* const member :
         {"command", "codeId", "environmentId", "environmentVariables", "distribution"}) {
        trial.set(member, sweep.at(member));
        sweep.erase(member);
    }
    sweep.set("jobType", "Sweep");
    sweep.set("trial", std::move(trial));
    const Json more = json(R"({
        "searchSpace": {"lr2": ["uniform", [0.1, 0.9]], "b": ["choice", [[1, 2]]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Random", "rule": "Sobol", "seed": 3},
        "objective": {"goal": "Maximize", "primaryMetric": "m"},
        "earlyTermination": {"policyType": "Bandit", "slackFactor": 0.1, "delayEvaluation": 1,
                             "evaluationInterval": 1},
        "limits": {"maxTotalTrials": 4, "maxConcurrentTrials": 2, "timeout": "PT1H",
                   "trialTimeout": "PT1M"}})");
    for (const auto& [name, value] : more.members()) sweep.set(name, value);
    return sweep;
}

std::vector<Error> problems(const Json& document) {
    return problems_of(document, Workspace{}, "job");
}
std::string said(const std::vector<Error>& problems) {
    std::string text;
    for (const Error& problem : problems)
        text += problem.subject + " (" + problem.reason + "): " + problem.message + "\n";
    return text;
}
// Whether a problem is said of that place, of a part of it or of what it is a part of.
bool names(const std::vector<Error>& problems, const std::string& place) {
    return std::ranges::any_of(problems, [&](const Error& problem) {
        const std::string wanted = "properties." + place;
        return problem.subject.starts_with(wanted) || wanted.starts_with(problem.subject);
    });
}

const Json* part(const Json& document, std::string_view place) {
    const Json* at = &document;
    for (const std::string& name : split(std::string(place), '.'))
        if (at) at = at->find(name);
    return at;
}
void set_part(Json& document, const std::string& place, Json value) {
    resources::set_path(document, place, std::move(value));
}

struct Described {
    std::string place;
    resources::Kind kind;
    bool needed;
};
void add_described(const resources::Description& description, std::string_view above,
                   const std::string& place, std::vector<Described>& all) {
    for (const resources::Field& field : description.fields) {
        std::string_view path = field.rest;
        if (path.empty() || field.need == resources::Need::ReadOnly || !path.starts_with(above) ||
            field.kind == resources::Kind::Special)
            continue;
        path.remove_prefix(above.size());
        const std::string here = place + std::string(path);
        bool needed = field.need == resources::Need::Required;
        // As the server takes them, whatever is asked of YAML.
        if (here == "identity.identityType") needed = false;
        if (here == "jobType" || here == "earlyTermination.slackFactor") needed = true;
        all.push_back({here, field.kind, needed});
        if (field.object) add_described(*field.object, "", here + ".", all);
    }
}
// What the descriptions say, and what they have a shape of its own for.
std::vector<Described> described(const Json& document) {
    using resources::Kind;
    std::vector<Described> all;
    const bool sweep = document.at("jobType").as_view() == "Sweep";
    add_described(sweep ? resources::sweep_job() : resources::command_job(), "properties.", "",
                  all);
    if (sweep) add_described(resources::sweep_trial(), "properties.", "trial.", all);
    const std::string trial = sweep ? "trial." : "";
    all.push_back({"computeId", Kind::Text, false});
    all.push_back({trial + "codeId", Kind::Text, false});
    all.push_back({trial + "environmentId", Kind::Text, true});
    for (const std::string name :
         {"inputs", "outputs", "services", "inputs.csv", "outputs.model", "services.lab"})
        all.push_back({name, Kind::Object, name == "inputs.csv"});
    for (const std::string name : {"inputs.csv.jobInputType", "inputs.csv.uri"})
        all.push_back({name, Kind::Text, true});
    for (const std::string name : {"inputs.csv.mode", "outputs.model.jobOutputType",
                                   "outputs.model.mode", "outputs.model.uri"})
        all.push_back({name, Kind::Text, false});
    if (sweep) {
        all.push_back({"trial", Kind::Object, true});
        all.push_back({"searchSpace", Kind::Object, true});
    }
    return all;
}

bool has_type(resources::Kind kind, const Json& value) {
    using resources::Kind;
    switch (kind) {
        case Kind::Text:
        case Kind::Choice:
        case Kind::Seconds: return value.is_string();
        case Kind::Whole: return value.is_int();
        case Kind::Number: return value.is_number();
        case Kind::Flag: return value.is_bool();
        case Kind::TextMap:
        case Kind::AnyMap:
        case Kind::Object: return value.is_object();
        case Kind::TextList: return value.is_array();
        case Kind::Special: break;
    }
    return true;
}

std::vector<Json> documents() {
    return {command_document(), sweep_document()};
}

TEST(Submission, WhatTheTestsBeginWithIsGood) {
    for (const Json& document : documents())
        EXPECT_EQ(said(problems(document)), "") << document.dump();
    // Every described member that has a value of its own is among them.
    std::size_t there = 0;
    for (const Described& each : described(command_document()))
        there += part(command_document(), each.place) != nullptr;
    EXPECT_GE(there, 35u);
}

TEST(Submission, EachMemberOfAnotherTypeIsRefusedAtItsPlace) {
    const std::vector<Json> values = {"x",
                                      5,
                                      1.5,
                                      true,
                                      Json::array(),
                                      Json::array({1}),
                                      Json::object(),
                                      json(R"({"a": ["b"]})")};
    std::size_t refused = 0;
    for (const Json& document : documents())
        for (const Described& each : described(document))
            for (const Json& value : values) {
                if (has_type(each.kind, value)) continue;
                // A mode or a priority may be said in a number or a word.
                if (each.place == "queueSettings.priority") continue;
                Json wrong = document;
                set_part(wrong, each.place, value);
                const auto found = problems(wrong);
                ASSERT_FALSE(found.empty()) << each.place << " = " << value.dump();
                EXPECT_TRUE(names(found, each.place)) << each.place << " = " << value.dump() << "\n"
                                                      << said(found);
                ++refused;
            }
    EXPECT_GT(refused, 400u);
}

TEST(Submission, NullAndAbsentAreTheSame) {
    for (const Json& document : documents())
        for (const Described& each : described(document)) {
            if (!part(document, each.place)) continue;
            Json null = document;
            set_part(null, each.place, Json());
            const auto found = problems(null);
            if (each.needed) {
                EXPECT_TRUE(names(found, each.place)) << each.place << "\n" << said(found);
            } else if (each.place != "inputs" && each.place != "outputs" &&
                       each.place != "outputs.model") {
                EXPECT_EQ(said(found), "") << each.place;
            }
            if (each.place.find("inputs.") == 0 || each.place.find("outputs.") == 0) continue;
            Json absent = document;
            const std::size_t dot = each.place.rfind('.');
            Json* above = &absent;
            if (dot != std::string::npos)
                for (const std::string& name : split(each.place.substr(0, dot), '.'))
                    above = above->find(name);
            above->erase(dot == std::string::npos ? each.place : each.place.substr(dot + 1));
            EXPECT_EQ(said(problems(absent)), said(found)) << each.place;
        }
}

TEST(Submission, WhatIsTooLongIsTakenOrRefusedAtItsPlace) {
    const std::string text(300'000, 'x');
    for (const Json& document : documents())
        for (const Described& each : described(document)) {
            Json wrong = document;
            switch (each.kind) {
                case resources::Kind::Text:
                case resources::Kind::Choice:
                case resources::Kind::Seconds: set_part(wrong, each.place, text); break;
                case resources::Kind::TextMap:
                    set_part(wrong, each.place, Json::object({{"a", text}}));
                    break;
                default: continue;
            }
            const auto found = problems(wrong);
            if (!found.empty()) {
                EXPECT_TRUE(names(found, each.place)) << each.place << "\n" << said(found);
            }
            for (const Error& problem : found)
                EXPECT_LT(problem.message.size(), 8'000u) << each.place;
        }
    for (const std::string member : {"inputs", "outputs", "environmentVariables"}) {
        Json wrong = command_document();
        Json many = Json::object();
        for (int i = 0; i < 501; ++i) many.set("n" + std::to_string(i), Json::object());
        wrong.set(member, std::move(many));
        EXPECT_TRUE(names(problems(wrong), member)) << member;
    }
}

// Any values in any places, several at a time.
TEST(Submission, DrawnDefinitionsAreRefusedAtPlacesOfTheirOwn) {
    std::mt19937 random(11);
    const auto below = [&](std::size_t most) {
        return std::uniform_int_distribution<std::size_t>(0, most - 1)(random);
    };
    const std::vector<std::string> texts = {
        "",        "x",        "azureml:", "azureml://jobs//outputs",
        "PT1H",    "-PT1H",    "${{",      "$[[${{inputs.lr}}",
        "2g",      "uri_file", "\xc3\xa4", std::string("\0", 1),
        "Command", "Sweep",    "runs:/",   std::string(70'000, 'y')};
    const std::function<Json(int)> draw = [&](int depth) -> Json {
        switch (below(depth > 2 ? 6 : 8)) {
            case 0: return {};
            case 1: return below(2) == 0;
            case 2: return static_cast<std::int64_t>(below(5)) - 1;
            case 3: return std::vector<double>{0.5, -1, 1e300, 1e19}[below(4)];
            case 4: return INT64_MAX;
            case 5: return texts[below(texts.size())];
            case 6: {
                Json list = Json::array();
                for (std::size_t i = below(4); i > 0; --i) list.push(draw(depth + 1));
                return list;
            }
            default: {
                Json object = Json::object();
                for (std::size_t i = below(4); i > 0; --i)
                    object.set(texts[below(texts.size())], draw(depth + 1));
                return object;
            }
        }
    };
    std::vector<Described> known = described(command_document());
    for (const Described& each : described(sweep_document())) known.push_back(each);
    std::size_t refused = 0;
    for (int round = 0; round < 4'000; ++round) {
        Json document = documents()[below(2)];
        const std::vector<Described> members = described(document);
        std::string told;
        for (std::size_t i = 1 + below(3); i > 0; --i) {
            const std::string& place = members[below(members.size())].place;
            const std::size_t dot = place.rfind('.');
            const Json* above =
                dot == std::string::npos ? &document : part(document, place.substr(0, dot));
            if (!above || !above->is_object()) continue;
            set_part(document, place, draw(0));
            told += " " + place;
        }
        const auto found = problems(document);
        refused += !found.empty();
        for (const Error& problem : found) {
            ASSERT_TRUE(problem.subject.starts_with("properties.")) << told << said(found);
            const std::string_view place = std::string_view(problem.subject).substr(11);
            const std::string member(place.substr(0, place.find_first_of(".[")));
            const bool own = std::ranges::any_of(known, [&](const Described& each) {
                return each.place.substr(0, each.place.find('.')) == member;
            });
            EXPECT_TRUE(own || member == "samplingAlgorithm") << told << "\n" << said(found);
        }
    }
    EXPECT_GT(refused, 2'000u);
}

TEST(Submission, ATrialsProblemsAreShownWhereTheyWereWritten) {
    Json sweep = sweep_document();
    sweep["trial"].set("resources", json(R"({"instanceCount": 0})"));
    const auto found = problems(sweep);
    ASSERT_EQ(found.size(), 1u) << said(found);
    EXPECT_EQ(found[0].subject, "properties.trial.resources.instanceCount");
    sweep["trial"].erase("resources");
    sweep["limits"].set("trialTimeout", "never");
    ASSERT_EQ(problems(sweep).size(), 1u) << said(problems(sweep));
    EXPECT_EQ(problems(sweep)[0].subject, "properties.limits.trialTimeout");
}

TEST(Submission, KindsThatDoNotRunAreRefusedByName) {
    for (const JobKind& kind : kJobKinds)
        EXPECT_EQ(*job_type_of(Json::object({{"jobType", to_lower(kind.name)}})), kind.type);
    const auto none = job_type_of(Json::object({{"jobType", "Spark"}}));
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message,
              "jobs of type 'Spark' do not run yet: this server runs jobs of type 'Command', "
              "'Sweep', 'Pipeline' and 'AutoML'");
    EXPECT_EQ(none.error().subject, "properties.jobType");
}

}  // namespace
}  // namespace turnout::submission
