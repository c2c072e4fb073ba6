#include "submission/pipeline_reader.h"

#include <algorithm>

#include "base/text.h"
#include "resources/describe.h"
#include "submission/types.h"

namespace turnout::submission {

namespace {

constexpr std::size_t kMaxProblems = 100;
// Of one text in which bindings were filled in: what is bound may be bound again, so that little
// says much.
constexpr std::size_t kLongestText = 256 << 10;

}  // namespace

std::string bare_id(const Json& id) {
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

bool PipelineReader::is_enough() const {
    return problems_.size() > kMaxProblems;
}
std::optional<StepValue> PipelineReader::bound(const PipelineAround* around,
                                               const std::string& inside,
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
std::optional<std::string> PipelineReader::filled(const PipelineAround* around,
                                                  const std::string& text,
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

std::optional<StepValue> PipelineReader::value_of(const PipelineAround* around, const Json& said,
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

std::optional<StepValue> PipelineReader::taken(const PipelineAround* around,
                                               const std::string& what, const Json& declared,
                                               const Json& said, const std::string& place) {
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

void PipelineReader::refuse_unknown(const std::string& what, const std::string& name,
                                    const Json& declared, const std::string& place) {
    if (is_enough()) return;
    const std::vector<std::string> known = names_of(declared);
    say(refuse("UnknownName",
               place + ": its component has no " + what + " '" + name.substr(0, 64) + "'" +
                   (known.empty() ? std::string(": it has none") : did_you_mean(name, known)),
               place));
}

}  // namespace turnout::submission
