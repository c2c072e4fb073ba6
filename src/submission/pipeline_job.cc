#include "submission/pipeline_job.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "model/group.h"
#include "resources/describe.h"
#include "submission/draft.h"
#include "submission/pipeline_values.h"
#include "submission/refusal.h"
#include "submission/registered.h"
#include "submission/types.h"
#include "yaml/yaml.h"

namespace turnout::submission {
namespace {

using Problems = std::vector<Error>;
using ValueKind = StepValue::Kind;

// What Azure has besides, and does not run here.
constexpr std::array<std::string_view, 11> kOtherSteps = {
    "sweep",   "parallel", "automl",       "spark",      "import",         "data_transfer",
    "if_else", "do_while", "parallel_for", "finetuning", "distributed_job"};

constexpr std::size_t kMaxProblems = 100;
// Of one text in which bindings were filled in, and of all steps together: what is bound may be
// bound again, so that little says much.
constexpr std::size_t kLongestText = 256 << 10;
constexpr std::size_t kMostBytes = 64 << 20;

// A step's name is a word of bindings, and of the names that nested steps have.
bool is_step_name(std::string_view name) {
    return !name.empty() && name.size() <= 200 && !(name.front() >= '0' && name.front() <= '9') &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_';
           });
}

// "azureml:/subscriptions/…" is an id with a word before it.
std::string bare(const Json& id) {
    std::string text = id.as_string();
    constexpr std::string_view word = "azureml:";
    if (text.starts_with(word) && text.size() > word.size() && text[word.size()] == '/' &&
        !text.starts_with("azureml://"))
        text.erase(0, word.size());
    return text;
}

std::vector<std::string> names_of(const Json& members) {
    std::vector<std::string> names;
    for (const auto& [name, member] : members.members()) names.push_back(name);
    return names;
}

// Where an output of a step goes that is one of what is around it.
struct Target {
    std::string type, mode, uri;
};
// Who gives an output: of a step, or of a pipeline within the pipeline.
struct Giver {
    bool known = true;
    std::int64_t step = 0;
    std::string output, type;
};

// A pipeline, or one within it.
struct Around {
    std::string prefix;  // of the names of its steps: "prepare."
    std::string place;   // of its definition: "" or "jobs.prepare.component."
    std::map<std::string, StepValue> inputs;
    std::map<std::string, Target> outputs;
    std::map<std::string, std::map<std::string, Giver>> given;  // by step and output
    std::set<std::string> unknown;       // steps whose component could not be asked for
    std::map<std::string, Giver> gives;  // by its own outputs
    std::string compute;
    std::size_t depth = 0;
};

class Reader {
public:
    Reader(const Workspace& workspace, std::string name, std::string experiment,
           std::string datastore, const ComponentOf& component_of, Problems& problems)
        : workspace_(workspace),
          name_(std::move(name)),
          experiment_(std::move(experiment)),
          datastore_(std::move(datastore)),
          component_of_(component_of),
          problems_(problems) {}

    void read_steps(Around& around, const Json& jobs);
    std::optional<StepValue> value_of(const Around* around, const Json& said,
                                      const std::string& place);
    // What a declared input has; nothing: that was refused.
    std::optional<StepValue> taken(const Around* around, const std::string& what,
                                   const Json& declared, const Json& said,
                                   const std::string& place);
    void refuse_unknown(const std::string& what, const std::string& name, const Json& declared,
                        const std::string& place);
    void read_targets(Around& around, const Json& outputs, const std::string& place);

    Pipeline pipeline;
    std::vector<std::string> places;

private:
    struct Node {
        const std::string& name;
        const Json& said;
        std::string place;    // "jobs.train"
        std::string of_spec;  // place of its component: "jobs.train.component."
    };
    struct Ports {
        Json inputs = Json::object(), outputs = Json::object();
        std::set<std::int64_t> after;
        std::map<std::string, Giver> gives;
    };

    void say(const Failure& failure) { problems_.push_back(failure.error()); }
    template <class T>
    bool good(const Result<T>& result) {
        if (!result) problems_.push_back(result.error());
        return static_cast<bool>(result);
    }
    std::optional<std::vector<std::size_t>> order_of(const Around& around, const Json& jobs);
    void read_step(Around& around, const Node& node);
    void read_command(Around& around, const Node& node, const Json& spec);
    void read_nested(Around& around, const Node& node, const Json& spec);
    Ports read_ports_of(Around& around, const Node& node, const Json& spec);
    void read_input(Around& around, const Node& node, const std::string& name, const Json& declared,
                    Ports& ports);
    void read_output(Around& around, const Node& node, const std::string& name,
                     const Json& declared, Ports& ports);
    std::optional<Target> target_of(Around& around, const Node& node, const std::string& name,
                                    const Json& said, const Giver* giver);
    std::optional<StepValue> bound(const Around* around, const std::string& inside,
                                   const std::string& place);
    std::optional<std::string> filled(const Around* around, const std::string& text,
                                      const std::string& place);
    std::string child(std::int64_t step) const { return child_name(name_, step); }

    const Workspace& workspace_;
    const std::string name_, experiment_, datastore_;
    const ComponentOf& component_of_;
    Problems& problems_;
    bool is_enough() const { return problems_.size() > kMaxProblems; }
    std::size_t nested_ = 0;  // pipelines within it so far
    std::size_t bytes_ = 0;   // of its steps so far
};

// ---- what "${{…}}" stands for

std::optional<StepValue> Reader::bound(const Around* around, const std::string& inside,
                                       const std::string& place) {
    if (is_enough()) return std::nullopt;
    const std::string shown = "${{" + inside.substr(0, 120) + "}}";
    if (!around) {
        say(refuse("InvalidReference",
                   place + ": expected a value, found " + shown +
                       ": a pipeline's own inputs are bound to nothing",
                   place));
        return std::nullopt;
    }
    constexpr std::string_view of_inputs = "parent.inputs.", of_jobs = "parent.jobs.";
    if (inside.starts_with(of_inputs)) {
        const std::string name = inside.substr(of_inputs.size());
        if (const auto found = around->inputs.find(name); found != around->inputs.end())
            return found->second;
        std::vector<std::string> known;
        for (const auto& [other, value] : around->inputs) known.push_back(other);
        say(refuse("InvalidReference",
                   place + ": " + shown + " is no input of the pipeline" +
                       (known.empty() ? ", which has none" : did_you_mean(name, known)),
                   place));
        return std::nullopt;
    }
    if (inside.starts_with(of_jobs)) {
        const std::vector<std::string> words = split(inside.substr(of_jobs.size()), '.');
        if (words.size() == 3 && words[1] == "outputs") {
            const std::string &step = words[0], &output = words[2];
            if (around->unknown.contains(step)) return StepValue{.kind = ValueKind::Unknown};
            const auto gives = around->given.find(step);
            if (gives == around->given.end()) {
                // Of an input this was looked at with the order, and the step was refused itself.
                if (problems_.empty())
                    say(refuse("InvalidReference",
                               place + ": " + shown +
                                   " is the output of no step before this one: "
                                   "only inputs take outputs of steps",
                               place));
                return std::nullopt;
            }
            if (const auto found = gives->second.find(output); found != gives->second.end()) {
                if (!found->second.known) return StepValue{.kind = ValueKind::Unknown};
                return StepValue{.kind = ValueKind::Output,
                                 .type = found->second.type,
                                 .step = found->second.step,
                                 .output = found->second.output};
            }
            std::vector<std::string> known;
            for (const auto& [other, giver] : gives->second) known.push_back(other);
            say(refuse("InvalidReference",
                       place + ": step '" + step + "' has no output '" + output + "'" +
                           (known.empty() ? ": it has none" : did_you_mean(output, known)),
                       place));
            return std::nullopt;
        }
    }
    say(refuse("InvalidReference",
               place +
                   ": expected ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}, "
                   "found " +
                   shown,
               place));
    return std::nullopt;
}

// A text in which literals take the places of their bindings.
std::optional<std::string> Reader::filled(const Around* around, const std::string& text,
                                          const std::string& place) {
    const auto bindings = bindings_in(text);
    if (!bindings) {
        say(refuse("InvalidReference", place + ": " + bindings.error().message, place));
        return std::nullopt;
    }
    std::string out;
    std::size_t at = 0;
    for (const Binding& binding : *bindings) {
        out += text.substr(at, binding.begin - at);
        at = binding.end;
        if (!binding.inside.starts_with("parent.")) {  // ${{name}} of an output's path
            out += text.substr(binding.begin, binding.end - binding.begin);
            continue;
        }
        const auto value = bound(around, binding.inside, place);
        if (!value) return std::nullopt;
        if (value->kind == ValueKind::Unknown) continue;
        if (value->kind != ValueKind::Literal) {
            say(refuse(
                "InvalidReference",
                place + ": ${{" + binding.inside + "}} is data, which cannot be a part of a text",
                place));
            return std::nullopt;
        }
        out += value->literal;
        if (out.size() > kLongestText) break;
    }
    out += text.substr(at);
    if (bindings->empty() || out.size() <= kLongestText) return out;
    say(refuse("TextTooLong",
               place + ": with what is bound in it this text is longer than " +
                   to_size_words(kLongestText),
               place));
    return std::nullopt;
}

std::optional<StepValue> Reader::value_of(const Around* around, const Json& said,
                                          const std::string& place) {
    if (said.is_null()) return StepValue{};
    if (said.is_array()) {
        say(not_as_expected("InvalidInput", place, "a value or data", said));
        return std::nullopt;
    }
    const bool data = said.is_object() && !said.at("uri").is_null();
    const std::string mode = said.is_object() ? rest_mode(said.at("mode").as_view()) : "";
    if (data) {
        StepValue value{.kind = ValueKind::Data, .mode = mode};
        value.type = to_lower(first_of(said, {"jobInputType", "job_input_type", "type"}).as_view());
        if (value.type.empty()) value.type = "uri_folder";
        const auto uri = filled(around, said.at("uri").as_string(), place + ".uri");
        if (!uri) return std::nullopt;
        if (uri->starts_with("azureml://jobs/" + name_ + "_")) {
            say(refuse("InvalidReference",
                       place + ".uri: '" + uri->substr(0, 120) +
                           "' is a step of this pipeline: expected "
                           "${{parent.jobs.STEP.outputs.NAME}}",
                       place + ".uri"));
            return std::nullopt;
        }
        value.uri = *uri;
        return value;
    }
    const Json& literal = said.is_object() ? said.at("value") : said;
    if (literal.is_null()) return StepValue{};
    if (literal.is_object() || literal.is_array()) {
        say(not_as_expected("InvalidInput", place, "a text, a number, a boolean or data", literal));
        return std::nullopt;
    }
    const std::string text = literal_text(literal);
    const auto bindings = bindings_in(text);
    if (bindings && bindings->size() == 1 &&
        trim(text.substr(0, bindings->front().begin)).empty() &&
        trim(text.substr(bindings->front().end)).empty()) {
        auto value = bound(around, bindings->front().inside, place);
        if (value && !mode.empty()) value->mode = mode;
        return value;
    }
    const auto whole = filled(around, text, place);
    if (!whole) return std::nullopt;
    return StepValue{.kind = ValueKind::Literal, .literal = *whole};
}

std::optional<StepValue> Reader::taken(const Around* around, const std::string& what,
                                       const Json& declared, const Json& said,
                                       const std::string& place) {
    auto value = value_of(around, said, place);
    if (!value) return std::nullopt;
    if (value->kind == ValueKind::Absent) {
        if (const Json& usual = declared.at("default"); !usual.is_null())
            value = StepValue{.kind = ValueKind::Literal, .literal = literal_text(usual)};
        else if (!yaml_scalar(literal_text(declared.at("optional"))).as_bool()) {
            say(refuse("MissingInput",
                       place + ": " + what +
                           " has no value: its component says neither a default "
                           "nor that it is optional",
                       place));
            return std::nullopt;
        }
    }
    if (!good(check_value(place + ": " + what, declared, *value, place))) return std::nullopt;
    return value;
}

void Reader::refuse_unknown(const std::string& what, const std::string& name, const Json& declared,
                            const std::string& place) {
    if (is_enough()) return;
    const std::vector<std::string> known = names_of(declared);
    say(refuse("UnknownName",
               place + ": its component has no " + what + " '" + name.substr(0, 64) + "'" +
                   (known.empty() ? std::string(": it has none") : did_you_mean(name, known)),
               place));
}

// ---- inputs and outputs of a step

void Reader::read_input(Around& around, const Node& node, const std::string& name,
                        const Json& declared, Ports& ports) {
    const std::string place = node.place + ".inputs." + name;
    const auto value = taken(&around, "input '" + name + "' of step '" + node.name + "'", declared,
                             node.said.at("inputs").at(name), place);
    if (!value) return;
    switch (value->kind) {
        case ValueKind::Absent:
        case ValueKind::Unknown: return;
        case ValueKind::Literal:
            ports.inputs.set(
                name, Json::object({{"jobInputType", "literal"}, {"value", value->literal}}));
            return;
        case ValueKind::Data:
        case ValueKind::Output: break;
    }
    std::string type = declared.at("type").as_string();
    if (type.empty() || type == "path") type = value->type;
    Json input = Json::object({{"jobInputType", type}});
    std::string mode = value->mode;
    if (mode.empty()) mode = rest_mode(declared.at("mode").as_view());
    if (!mode.empty()) input.set("mode", mode);
    if (value->kind == ValueKind::Output) {
        input.set("uri", "azureml://jobs/" + child(value->step) + "/outputs/" + value->output);
        ports.after.insert(value->step);
    } else {
        input.set("uri", value->uri);
    }
    ports.inputs.set(name, std::move(input));
}

// Of an output that the definition says something of.
std::optional<Target> Reader::target_of(Around& around, const Node& node, const std::string& name,
                                        const Json& said, const Giver* giver) {
    const std::string place = node.place + ".outputs." + name;
    for (const char* const member : {"assetName", "asset_name", "name", "version", "assetVersion"})
        if (!said.at(member).is_null()) {
            say(refuse("OutputRegistrationNotSupported",
                       place + "." + member + ": output '" + name +
                           "' cannot be registered as an asset by the job yet: leave its name and "
                           "version out, and create the asset from azureml://jobs/JOB/outputs/" +
                           name,
                       place + "." + member));
            return std::nullopt;
        }
    Target target;
    target.mode = rest_mode(said.at("mode").as_view());
    target.type = first_of(said, {"jobOutputType", "job_output_type"}).as_string();
    if (const Json& uri = first_of(said, {"uri", "path"}); !uri.is_null()) {
        const auto text = filled(&around, uri.as_string(), place + ".uri");
        if (!text) return std::nullopt;
        target.uri = *text;
    }
    const Json& binding = said.is_object() ? said.at("value") : said;
    if (binding.is_null() || binding.as_view().empty()) return target;
    const auto bindings = bindings_in(binding.as_view());
    constexpr std::string_view of_outputs = "parent.outputs.";
    if (!bindings || bindings->size() != 1 || !bindings->front().inside.starts_with(of_outputs)) {
        say(refuse("InvalidReference",
                   place + ": expected ${{parent.outputs.NAME}}, found '" +
                       binding.as_string().substr(0, 120) + "'",
                   place));
        return std::nullopt;
    }
    const std::string outer = bindings->front().inside.substr(of_outputs.size());
    const auto found = around.outputs.find(outer);
    if (found == around.outputs.end()) {
        std::vector<std::string> known;
        for (const auto& [other, of] : around.outputs) known.push_back(other);
        say(refuse("InvalidReference",
                   place + ": ${{parent.outputs." + outer + "}} is no output of the pipeline" +
                       (known.empty() ? ", which has none" : did_you_mean(outer, known)),
                   place));
        return std::nullopt;
    }
    if (giver && !around.gives.emplace(outer, *giver).second) {
        say(refuse("InvalidReference",
                   place + ": output '" + outer + "' of the pipeline is given by another step, too",
                   place));
        return std::nullopt;
    }
    if (target.mode.empty()) target.mode = found->second.mode;
    if (target.uri.empty()) target.uri = found->second.uri;
    return target;
}

void Reader::read_output(Around& around, const Node& node, const std::string& name,
                         const Json& declared, Ports& ports) {
    Giver giver;
    giver.step = static_cast<std::int64_t>(pipeline.steps.size());
    giver.output = name;
    giver.type = declared.at("type").as_string("uri_folder");
    if (giver.type == "path" || giver.type.empty()) giver.type = "uri_folder";
    const Json& said = node.said.at("outputs").at(name);
    if (declared.is_null())  // it is declared by what is said of it
        giver.type = first_of(said, {"jobOutputType", "job_output_type"}).as_string("uri_folder");
    if (is_literal_type(giver.type)) {
        say(refuse("OutputTypeNotSupported",
                   node.place + ".outputs." + name + ": an output of type " + giver.type +
                       " does not work yet: outputs are files and folders",
                   node.place + ".outputs." + name));
        return;
    }
    const auto target = target_of(around, node, name, said, &giver);
    if (!target) return;
    Json output = Json::object({{"jobOutputType", giver.type}});
    std::string mode = target->mode;
    if (mode.empty()) mode = rest_mode(declared.at("mode").as_view());
    if (mode == "ReadOnlyMount") mode = "ReadWriteMount";  // "mount", of an output
    if (!mode.empty()) output.set("mode", mode);
    std::string uri = target->uri;
    if (uri.empty() && !datastore_.empty())
        uri = "azureml://datastores/" + datastore_ + "/paths/azureml/${{name}}/${{output_name}}";
    replace_all(uri, "${{default_datastore}}",
                datastore_.empty() ? std::string("workspaceblobstore") : datastore_);
    if (!uri.empty()) output.set("uri", uri);
    ports.outputs.set(name, std::move(output));
    ports.gives.emplace(name, std::move(giver));
}

// A step that is written as a command job declares its inputs by giving them.
bool declares_by_giving(const Json& spec) {
    return spec.at("_source").as_view() == "YAML.JOB";
}

// What such a step says of an input, as a component would.
Json declared_by(const std::optional<StepValue>& value) {
    if (!value) return {};
    switch (value->kind) {
        case ValueKind::Literal: return Json::object({{"type", "string"}});
        case ValueKind::Data:
        case ValueKind::Output: return Json::object({{"type", value->type}});
        case ValueKind::Absent: return Json::object({{"type", "string"}, {"optional", true}});
        case ValueKind::Unknown: break;
    }
    return {};
}

Reader::Ports Reader::read_ports_of(Around& around, const Node& node, const Json& spec) {
    Ports ports;
    const bool own = declares_by_giving(spec);
    for (const auto& [name, declared] : spec.at("inputs").members())
        read_input(around, node, name, declared, ports);
    for (const auto& [name, said] : node.said.at("inputs").members()) {
        if (spec.at("inputs").has(name)) continue;
        const std::string place = node.place + ".inputs." + name;
        if (!own) {
            refuse_unknown("input", name, spec.at("inputs"), place);
            continue;
        }
        const std::size_t before = problems_.size();
        const Json declared = declared_by(value_of(&around, said, place));
        if (problems_.size() == before && !declared.is_null())
            read_input(around, node, name, declared, ports);
    }
    for (const auto& [name, declared] : spec.at("outputs").members())
        read_output(around, node, name, declared, ports);
    for (const auto& [name, said] : node.said.at("outputs").members()) {
        if (spec.at("outputs").has(name)) continue;
        if (own)
            read_output(around, node, name, Json(), ports);
        else
            refuse_unknown("output", name, spec.at("outputs"), node.place + ".outputs." + name);
    }
    return ports;
}

// ---- a step

void Reader::read_command(Around& around, const Node& node, const Json& spec) {
    if (pipeline.steps.size() >= kMaxSteps) {
        if (pipeline.steps.size() == kMaxSteps)
            say(refuse("TooManySteps",
                       "jobs: expected at most " +
                           with_commas(static_cast<std::int64_t>(kMaxSteps)) + " steps, found more",
                       "jobs"));
        return;
    }
    Ports ports = read_ports_of(around, node, spec);
    PipelineStep step;
    step.name = around.prefix + node.name;
    const auto shown =
        filled(&around, first_of(node.said, {"display_name", "displayName"}).as_string(),
               node.place + ".display_name");
    step.display_name = shown && !shown->empty() ? *shown : step.name;
    step.after.assign(ports.after.begin(), ports.after.end());
    Json definition = step_settings(spec, node.said, node.of_spec, node.place,
                                    [&](const std::string& text, const std::string& place) {
                                        return filled(&around, text, place);
                                    });
    definition.set("jobType", name_of(kFirstJobType));
    definition.set("displayName", step.display_name);
    definition.set("experimentName", experiment_);
    definition.set("command", spec.at("command").as_string());
    if (const std::string code = bare(spec.at("code")); !code.empty())
        definition.set("codeId", code);
    const Json& environment = first_of(node.said, {"environment", "environmentId"});
    const Json& used = environment.is_null() ? spec.at("environment") : environment;
    if (used.is_object())  // registered before a job is sent
        definition.set("environmentId", "azureml:" + std::string(kAnonymousEnvironment) + ":1");
    else if (!used.is_null())
        definition.set("environmentId", bare(used));
    definition.set("inputs", std::move(ports.inputs));
    definition.set("outputs", std::move(ports.outputs));
    auto compute = filled(&around, bare(first_of(node.said, {"computeId", "compute"})),
                          node.place + ".computeId");
    if (compute && compute->empty()) compute = bare(spec.at("compute"));
    if (compute && compute->empty()) compute = around.compute;
    const auto named = compute_named(compute.value_or(""), workspace_);
    if (!named)
        problems_.push_back(in_step(named.error(), node.place, step.name));
    else if (step.compute = *named; *named != kServerless)
        definition.set("computeId", *named);
    step.definition = std::move(definition);
    bytes_ += step.definition.dump().size();
    if (bytes_ > kMostBytes)
        return say(refuse("PipelineTooLarge",
                          "jobs: its steps are more than " + to_size_words(kMostBytes) +
                              " of definitions together",
                          "jobs"));
    around.given[node.name] = std::move(ports.gives);
    pipeline.steps.push_back(std::move(step));
    places.push_back(node.place);
}

// A pipeline within the pipeline: its steps are taken among the others.
void Reader::read_nested(Around& around, const Node& node, const Json& spec) {
    if (around.depth + 1 >= kMaxDepth)
        return say(refuse("TooDeep",
                          node.place + ": pipelines lie within pipelines at most " +
                              std::to_string(kMaxDepth) + " deep",
                          node.place));
    if (++nested_ > kMaxSteps)
        return say(refuse("TooManySteps",
                          node.place + ": there are more than " +
                              with_commas(static_cast<std::int64_t>(kMaxSteps)) +
                              " pipelines within this one",
                          node.place));
    Around inner;
    inner.prefix = around.prefix + node.name + ".";
    inner.place = node.of_spec;
    inner.depth = around.depth + 1;
    const std::size_t before = problems_.size();
    const std::string compute = filled(&around, bare(first_of(node.said, {"computeId", "compute"})),
                                       node.place + ".computeId")
                                    .value_or("");
    inner.compute = compute.empty() ? around.compute : compute;
    for (const auto& [name, declared] : spec.at("inputs").members()) {
        const auto value =
            taken(&around, "input '" + name + "' of step '" + node.name + "'", declared,
                  node.said.at("inputs").at(name), node.place + ".inputs." + name);
        if (!value) continue;
        StepValue& own = inner.inputs[name] = *value;
        if (own.mode.empty()) own.mode = rest_mode(declared.at("mode").as_view());
    }
    for (const auto& [name, said] : node.said.at("inputs").members())
        if (!spec.at("inputs").has(name))
            refuse_unknown("input", name, spec.at("inputs"), node.place + ".inputs." + name);
    for (const auto& [name, declared] : spec.at("outputs").members()) {
        Target target{declared.at("type").as_string("uri_folder"),
                      rest_mode(declared.at("mode").as_view()), ""};
        if (const auto outer =
                target_of(around, node, name, node.said.at("outputs").at(name), nullptr)) {
            if (!outer->mode.empty()) target.mode = outer->mode;
            target.uri = outer->uri;
        }
        inner.outputs[name] = std::move(target);
    }
    for (const auto& [name, said] : node.said.at("outputs").members())
        if (!spec.at("outputs").has(name))
            refuse_unknown("output", name, spec.at("outputs"), node.place + ".outputs." + name);
    if (problems_.size() != before) return;
    read_steps(inner, spec.at("jobs"));
    if (problems_.size() != before) return;
    auto& given = around.given[node.name];
    for (const auto& [name, target] : inner.outputs) {
        Giver giver{.known = false, .step = 0, .output = "", .type = ""};
        if (const auto found = inner.gives.find(name); found != inner.gives.end())
            giver = found->second;
        given[name] = giver;
        [[maybe_unused]] const auto outer =
            target_of(around, node, name, node.said.at("outputs").at(name), &giver);
    }
}

void Reader::read_step(Around& around, const Node& node) {
    const Json& said = node.said;
    std::string type = to_lower(said.at("type").as_view());
    for (const std::string_view other : kOtherSteps)
        if (type == other)
            return say(refuse("StepTypeNotSupported",
                              node.place + ".type: steps of type '" + type +
                                  "' do not run yet: expected command or pipeline",
                              node.place + ".type"));
    Json spec = said.at("component");
    std::string id = bare(said.at("componentId"));
    if (id.empty() && spec.is_string()) id = bare(spec);
    if (!spec.is_object()) {
        if (id.empty())
            return say(refuse("MissingComponent",
                              node.place + ": step '" + node.name +
                                  "' needs a component: its id, or its definition",
                              node.place + ".componentId"));
        auto found = component_of_(id);
        if (!found) {
            Error why = found.error();
            why.subject = "properties." + node.place + ".componentId";
            why.message = node.place + ".componentId: " + why.message;
            if (why.code == Code::NotFound) why.code = Code::InvalidArgument;
            problems_.push_back(std::move(why));
            return;
        }
        if (found->is_null()) {
            around.unknown.insert(node.name);
            return;
        }
        spec = std::move(*found);
    } else if (!good(check_inline_component(spec, node.place + ".component"))) {
        return;
    }
    const std::string kind = to_lower(spec.at("type").as_string("command"));
    if (kind == "command" || kind == "commandcomponent") return read_command(around, node, spec);
    if (kind == "pipeline") return read_nested(around, node, spec);
    say(refuse("StepTypeNotSupported",
               node.place + ": its component is of type '" + kind +
                   "', which does not run yet: expected command or pipeline",
               node.place + ".componentId"));
}

// ---- the order

void each_text(const Json& part, const std::function<void(std::string_view)>& look) {
    if (part.is_string()) return look(part.as_view());
    for (const Json& item : part.items()) each_text(item, look);
    for (const auto& [name, member] : part.members()) each_text(member, look);
}

// By whose outputs a step takes, and as they are written where that does not matter.
std::optional<std::vector<std::size_t>> Reader::order_of(const Around& around, const Json& jobs) {
    const Json::Object& members = jobs.members();
    std::map<std::string_view, std::size_t> index;
    for (const auto& [name, node] : members) index.emplace(name, index.size());
    std::vector<std::set<std::size_t>> before(members.size());
    std::vector<std::vector<std::size_t>> after(members.size());
    bool known = true;
    constexpr std::string_view of_jobs = "parent.jobs.";
    const std::vector<std::string> names = names_of(jobs);
    for (std::size_t i = 0; i < members.size() && !is_enough(); ++i)
        for (const auto& [input, value] : members[i].second.at("inputs").members())
            each_text(value, [&, &input = input](std::string_view text) {
                const auto bindings = bindings_in(text);
                if (!bindings) return;  // refused with the value
                for (const Binding& binding : *bindings) {
                    if (!binding.inside.starts_with(of_jobs)) continue;
                    const std::string rest = binding.inside.substr(of_jobs.size());
                    const std::string step = rest.substr(0, rest.find('.'));
                    const auto found = index.find(step);
                    if (found != index.end()) {
                        if (before[i].insert(found->second).second)
                            after[found->second].push_back(i);
                        continue;
                    }
                    known = false;
                    if (is_enough()) return;
                    const std::string place =
                        around.place + "jobs." + members[i].first + ".inputs." + input;
                    say(refuse("InvalidReference",
                               place + ": there is no step '" + step.substr(0, 64) + "'" +
                                   did_you_mean(step, names),
                               place));
                }
            });
    if (!known) return std::nullopt;
    std::vector<std::size_t> order, left(members.size());
    std::set<std::size_t> ready;
    for (std::size_t i = 0; i < members.size(); ++i)
        if ((left[i] = before[i].size()) == 0) ready.insert(i);
    while (!ready.empty()) {
        const std::size_t next = *ready.begin();
        ready.erase(ready.begin());
        order.push_back(next);
        for (const std::size_t other : after[next])
            if (--left[other] == 0) ready.insert(other);
    }
    if (order.size() == members.size()) return order;
    // Back from any that is left one comes round again.
    std::size_t at = 0;
    while (left[at] == 0) ++at;
    std::vector<std::size_t> way;
    while (std::ranges::find(way, at) == way.end()) {
        way.push_back(at);
        at = *std::ranges::find_if(before[at], [&](std::size_t one) { return left[one] > 0; });
    }
    way.erase(way.begin(), std::ranges::find(way, at));
    std::string circle = members[at].first;
    for (std::size_t i = way.size(); i-- > 0;) circle += " -> " + members[way[i]].first;
    say(refuse("CyclicPipeline",
               around.place + "jobs: these steps wait for each other without end: " + circle,
               around.place + "jobs." + members[at].first));
    return std::nullopt;
}

void Reader::read_steps(Around& around, const Json& jobs) {
    const std::string place = around.place + "jobs";
    if (!jobs.is_object() || jobs.members().empty())
        return say(not_as_expected("MissingSteps", place, "at least one step, by its name", jobs));
    if (jobs.members().size() > kMaxSteps)
        return say(refuse("TooManySteps",
                          place + ": expected at most " +
                              with_commas(static_cast<std::int64_t>(kMaxSteps)) + " steps, found " +
                              with_commas(static_cast<std::int64_t>(jobs.members().size())),
                          place));
    for (const auto& [name, node] : jobs.members()) {
        if (!is_step_name(name))
            say(refuse("InvalidName",
                       place +
                           ": a step's name is of letters, digits and '_' and does not begin "
                           "with a digit, found '" +
                           name.substr(0, 64) + "'",
                       place + "." + name.substr(0, 64)));
        else if (!node.is_object())
            say(not_as_expected("InvalidStep", place + "." + name, "a mapping", node));
        else
            for (const char* const member : {"inputs", "outputs"})
                if (const Json& part = node.at(member); !part.is_null() && !part.is_object())
                    say(not_as_expected("InvalidStep", place + "." + name + "." + member,
                                        "a mapping", part));
    }
    if (!problems_.empty()) return;
    const auto order = order_of(around, jobs);
    if (!order) return;
    for (const std::size_t index : *order) {
        const auto& [name, node] = jobs.members()[index];
        const std::string at = place + "." + name;
        read_step(around, {name, node, at, at + ".component."});
        // Components may name each other: what is wrong in one is wrong as often as it is named.
        if (is_enough()) return;
    }
    if (!problems_.empty() || !around.unknown.empty()) return;
    for (const auto& [name, target] : around.outputs)
        if (!around.gives.contains(name))
            say(refuse("InvalidOutput",
                       around.place + "outputs." + name +
                           ": no step gives it: expected a step with an output that is "
                           "${{parent.outputs." +
                           name + "}}",
                       around.place + "outputs." + name));
}

void Reader::read_targets(Around& around, const Json& outputs, const std::string& place) {
    for (const auto& [name, said] : outputs.members()) {
        const std::string at = place + "outputs." + name;
        for (const char* const member : {"assetName", "assetVersion"})
            if (!said.at(member).is_null())
                say(refuse("OutputRegistrationNotSupported",
                           at + "." + member + ": output '" + name +
                               "' cannot be registered as an asset by the job yet: leave its name "
                               "and version out, and create the asset from "
                               "azureml://jobs/JOB/outputs/" +
                               name,
                           at + "." + member));
        Target target{first_of(said, {"jobOutputType", "type"}).as_string("uri_folder"),
                      rest_mode(said.at("mode").as_view()), ""};
        const auto uri = filled(&around, first_of(said, {"uri", "path"}).as_string(), at + ".uri");
        if (uri) target.uri = *uri;
        if (const auto own = around.outputs.find(name);
            own != around.outputs.end() && target.mode.empty())
            target.mode = own->second.mode;  // as its component says
        around.outputs[name] = std::move(target);
    }
}

}  // namespace

std::optional<PipelineJob> read_pipeline_job(const Json& properties, const Workspace& workspace,
                                             const std::string& name,
                                             const ComponentOf& component_of, Problems& problems) {
    Types types(properties, problems);
    types.texts({"computeId", "componentId", "displayName", "description", "experimentName"});
    types.objects({"inputs", "outputs", "jobs"});
    const Json& settings = properties.at("settings");
    if (!settings.is_null() && !settings.is_object())
        problems.push_back(
            not_as_expected("InvalidSettings", "settings", "a mapping", settings).error());
    if (!types.good() || !problems.empty()) return std::nullopt;
    for (const char* const hook : {"on_init", "on_finalize"})
        if (!settings.at(hook).is_null())
            problems.push_back(refuse("NotImplemented",
                                      "settings." + std::string(hook) +
                                          ": a step before or after all others does not work yet: "
                                          "leave it out, or give it an input or an output",
                                      "settings." + std::string(hook))
                                   .error());
    PipelineJob job;
    job.meta = said_meta(properties, name);
    job.compute = bare(first_of(settings, {"default_compute", "defaultCompute"}));
    if (job.compute.empty()) job.compute = properties.at("computeId").as_string();
    job.pipeline.continue_on_step_failure =
        yaml_scalar(
            literal_text(first_of(settings, {"continue_on_step_failure", "continueOnStepFailure"})))
            .as_bool();
    std::string datastore = bare(first_of(settings, {"default_datastore", "defaultDatastore"}));
    if (datastore.find('/') != std::string::npos) datastore.erase(0, datastore.rfind('/') + 1);
    if (datastore.starts_with("azureml:")) datastore.erase(0, 8);

    Reader reader(workspace, name, *job.meta.experiment, datastore, component_of, problems);
    Around around;
    around.compute = job.compute;
    // The whole may be a component, too.
    Json spec;
    if (const std::string id = bare(properties.at("componentId")); !id.empty()) {
        auto found = component_of(id);
        if (!found) {
            problems.push_back(refuse(found.error(), "ComponentNotFound", "componentId").error());
            return std::nullopt;
        }
        spec = std::move(*found);
        if (!spec.is_null() && to_lower(spec.at("type").as_view()) != "pipeline") {
            problems.push_back(refuse("ComponentNotSupported",
                                      "componentId: expected a component of type pipeline, found " +
                                          spec.at("type").as_string("none"),
                                      "componentId")
                                   .error());
            return std::nullopt;
        }
    }
    const Json& inputs = properties.at("inputs");
    for (const auto& [input, said] : inputs.members())
        if (!spec.at("inputs").has(input)) {
            if (spec.is_object())
                reader.refuse_unknown("input", input, spec.at("inputs"), "inputs." + input);
            else if (auto value = reader.value_of(nullptr, said, "inputs." + input))
                around.inputs[input] = std::move(*value);
        }
    for (const auto& [input, declared] : spec.at("inputs").members())
        if (auto value = reader.taken(nullptr, "input '" + input + "'", declared, inputs.at(input),
                                      "inputs." + input))
            around.inputs[input] = std::move(*value);
    if (spec.is_object()) reader.read_targets(around, spec.at("outputs"), "component.");
    reader.read_targets(around, properties.at("outputs"), "");
    if (spec.is_object()) around.place = "component.";
    const bool whole = spec.is_null() && !properties.at("componentId").as_view().empty();
    if (!whole)  // else nobody is there who knows it
        reader.read_steps(around, spec.is_object() ? spec.at("jobs") : properties.at("jobs"));
    reader.pipeline.continue_on_step_failure = job.pipeline.continue_on_step_failure;
    job.pipeline = std::move(reader.pipeline);
    job.places = std::move(reader.places);
    for (const auto& [output, giver] : around.gives)
        if (giver.known) job.pipeline.outputs.push_back({output, giver.step, giver.output});
    return job;
}

Error in_step(Error error, const std::string& place, const std::string& step) {
    constexpr std::string_view before = "properties.";
    if (!error.subject.starts_with(before)) return error;
    std::string at = error.subject.substr(before.size());
    if (at.starts_with("command") || at.starts_with("codeId"))
        at = "component." + at;
    else if (at.starts_with("environmentId"))
        at = "component.environment";
    error.subject = std::string(before) + place + "." + at;
    error.message = "step '" + step + "': " + error.message;
    return error;
}

}  // namespace turnout::submission
