#include "submission/pipeline_reader.h"

#include <algorithm>
#include <array>
#include <functional>

#include "base/text.h"
#include "resources/describe.h"
#include "submission/draft.h"
#include "submission/parallel_step.h"
#include "submission/registered.h"
#include "submission/types.h"

namespace turnout::submission {

namespace {

// What Azure has besides, and does not run here.
constexpr std::array<std::string_view, 10> kOtherSteps = {
    "sweep",   "automl",   "spark",        "import",     "data_transfer",
    "if_else", "do_while", "parallel_for", "finetuning", "distributed_job"};

// Of all steps together: what is bound may be bound again, so that little says much.
constexpr std::size_t kMostBytes = 64 << 20;

// A step's name is a word of bindings, and of the names that nested steps have.
bool is_step_name(std::string_view name) {
    return !name.empty() && name.size() <= 200 && !(name.front() >= '0' && name.front() <= '9') &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_';
           });
}

// Whether the component says that the same inputs may give other outputs.
bool is_off(const Json& spec) {
    return !yaml_scalar(literal_text(first_of(spec, {"is_deterministic", "isDeterministic"})))
                .as_bool(true);
}

}  // namespace

void PipelineReader::read_command(PipelineAround& around, const Node& node, const Json& spec) {
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
    if (const std::string code = bare_id(spec.at("code")); !code.empty())
        definition.set("codeId", code);
    const Json& environment = first_of(node.said, {"environment", "environmentId"});
    const Json& used = environment.is_null() ? spec.at("environment") : environment;
    if (used.is_object())  // registered before a job is sent
        definition.set("environmentId", "azureml:" + std::string(kAnonymousEnvironment) + ":1");
    else if (!used.is_null())
        definition.set("environmentId", bare_id(used));
    if (!around.deterministic || is_off(spec)) definition.set("isDeterministic", false);
    if (force_rerun_) definition.set("forceRerun", true);
    definition.set("inputs", std::move(ports.inputs));
    definition.set("outputs", std::move(ports.outputs));
    auto compute = filled(&around, bare_id(first_of(node.said, {"computeId", "compute"})),
                          node.place + ".computeId");
    if (compute && compute->empty()) compute = bare_id(spec.at("compute"));
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

void PipelineReader::read_parallel(PipelineAround& around, const Node& node, const Json& spec) {
    const auto step = parallel_as_command(
        spec, node.said, node.of_spec, node.place,
        [&](const std::string& text, const std::string& place) {
            return filled(&around, text, place);
        },
        problems_);
    if (step) read_command(around, {node.name, step->said, node.place, node.of_spec}, step->spec);
}

// A pipeline within the pipeline: its steps are taken among the others.
void PipelineReader::read_nested(PipelineAround& around, const Node& node, const Json& spec) {
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
    PipelineAround inner;
    inner.prefix = around.prefix + node.name + ".";
    inner.place = node.of_spec;
    inner.depth = around.depth + 1;
    const std::size_t before = problems_.size();
    const std::string compute =
        filled(&around, bare_id(first_of(node.said, {"computeId", "compute"})),
               node.place + ".computeId")
            .value_or("");
    inner.compute = compute.empty() ? around.compute : compute;
    inner.deterministic = around.deterministic && !is_off(spec);
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
        OutputTarget target{declared.at("type").as_string("uri_folder"),
                            rest_mode(declared.at("mode").as_view()), ""};
        if (const auto outer =
                target_of(around, node, name, node.said.at("outputs").at(name), nullptr)) {
            if (!outer->mode.empty()) target.mode = outer->mode;
            target.uri = outer->uri;
            target.asset = outer->asset;
            target.version = outer->version;
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
        OutputGiver giver{.known = false, .step = 0, .output = "", .type = ""};
        if (const auto found = inner.gives.find(name); found != inner.gives.end())
            giver = found->second;
        given[name] = giver;
        [[maybe_unused]] const auto outer =
            target_of(around, node, name, node.said.at("outputs").at(name), &giver);
    }
}

void PipelineReader::read_step(PipelineAround& around, const Node& node) {
    const Json& said = node.said;
    std::string type = to_lower(said.at("type").as_view());
    for (const std::string_view other : kOtherSteps)
        if (type == other)
            return say(refuse("StepTypeNotSupported",
                              node.place + ".type: steps of type '" + type +
                                  "' do not run yet: expected command, parallel or pipeline",
                              node.place + ".type"));
    Json spec = said.at("component");
    std::string id = bare_id(said.at("componentId"));
    if (id.empty() && spec.is_string()) id = bare_id(spec);
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
    if (kind == "parallel" || kind == "parallelcomponent") return read_parallel(around, node, spec);
    if (kind == "pipeline") return read_nested(around, node, spec);
    say(refuse("StepTypeNotSupported",
               node.place + ": its component is of type '" + kind +
                   "', which does not run yet: expected command, parallel or pipeline",
               node.place + ".componentId"));
}

// ---- the order

namespace {

void each_text(const Json& part, const std::function<void(std::string_view)>& look) {
    if (part.is_string()) return look(part.as_view());
    for (const Json& item : part.items()) each_text(item, look);
    for (const auto& [name, member] : part.members()) each_text(member, look);
}

}  // namespace

// By whose outputs a step takes, and as they are written where that does not matter.
std::optional<std::vector<std::size_t>> PipelineReader::order_of(const PipelineAround& around,
                                                                 const Json& jobs) {
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

void PipelineReader::read_steps(PipelineAround& around, const Json& jobs) {
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

}  // namespace turnout::submission
