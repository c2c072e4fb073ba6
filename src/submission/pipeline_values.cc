#include "submission/pipeline_values.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "submission/refusal.h"
#include "yaml/yaml.h"

namespace turnout::submission {
namespace {

// The literal as that type has it; null if it is none.
Json as_type(std::string_view type, const std::string& literal) {
    if (type == "string") return literal;
    const Json read = yaml_scalar(literal);
    if (type == "integer") return read.is_int() ? read : Json();
    if (type == "number") return read.is_number() ? read : Json();
    return read.is_bool() ? read : Json();
}

std::string_view words_of_type(std::string_view type) {
    return type == "integer"  ? "a whole number"
           : type == "number" ? "a number"
           : type == "string" ? "a text"
                              : "true or false";
}

// As clients write a limit: a number, or its text.
Json limit(const Json& said) {
    return said.is_string() ? yaml_scalar(said.as_view()) : said;
}

bool is_file(std::string_view type) {
    return type == "uri_file";
}
bool is_folder(std::string_view type) {
    return type == "uri_folder" || type == "mltable";
}

Result<void> check_literal_value(const std::string& what, const Json& declared,
                                 const StepValue& value, const std::string& place) {
    const std::string type = declared.at("type").as_string();
    const std::string found = "found '" + value.literal.substr(0, 80) + "'";
    const Json typed = as_type(type, value.literal);
    if (typed.is_null())
        return refuse("InputTypeMismatch",
                      what + ": expected " + std::string(words_of_type(type)) +
                          ", as its component says, " + found,
                      place);
    if (typed.is_number()) {
        const Json least = limit(declared.at("min")), most = limit(declared.at("max"));
        if (least.is_number() && typed.as_double() < least.as_double())
            return refuse("InputOutOfRange",
                          what + ": expected at least " + least.dump() + ", " + found, place);
        if (most.is_number() && typed.as_double() > most.as_double())
            return refuse("InputOutOfRange",
                          what + ": expected at most " + most.dump() + ", " + found, place);
    }
    if (declared.at("enum").items().empty()) return {};
    std::vector<std::string> known;
    for (const Json& choice : declared.at("enum").items())
        known.push_back(choice.is_string() ? choice.as_string() : choice.dump());
    if (std::ranges::any_of(known, [&](const std::string& choice) {
            return choice == value.literal || as_type(type, choice) == typed;
        }))
        return {};
    return refuse("InputOutOfRange",
                  what + ": expected one of " + join(known, ", ") + ", " + found +
                      did_you_mean(value.literal, known),
                  place);
}

}  // namespace

Result<std::vector<Binding>> bindings_in(std::string_view text) {
    std::vector<Binding> found;
    for (std::size_t at = text.find("${{"); at != std::string_view::npos;
         at = text.find("${{", found.back().end)) {
        const std::size_t end = text.find("}}", at);
        if (end == std::string_view::npos)
            return invalid("'" + std::string(text.substr(at, 80)) + "' has '${{' without '}}'");
        found.push_back({at, end + 2, std::string(trim(text.substr(at + 3, end - at - 3)))});
    }
    return found;
}

std::string rest_mode(std::string_view said) {
    std::string squeezed;
    for (const char c : to_lower(said))
        if (c != '_' && c != '-') squeezed += c;
    constexpr std::array<std::pair<std::string_view, std::string_view>, 12> known{{
        {"romount", "ReadOnlyMount"},
        {"readonlymount", "ReadOnlyMount"},
        {"mount", "ReadOnlyMount"},
        {"rwmount", "ReadWriteMount"},
        {"readwritemount", "ReadWriteMount"},
        {"download", "Download"},
        {"upload", "Upload"},
        {"direct", "Direct"},
        {"evalmount", "EvalMount"},
        {"evaldownload", "EvalDownload"},
        {"hdfs", "Hdfs"},
        {"link", "Link"},
    }};
    for (const auto& [word, rest] : known)
        if (squeezed == word) return std::string(rest);
    return std::string(said);
}

Result<void> check_value(const std::string& what, const Json& declared, const StepValue& value,
                         const std::string& place) {
    const std::string type = declared.at("type").as_string();
    switch (value.kind) {
        case StepValue::Kind::Absent:
        case StepValue::Kind::Unknown: return {};
        case StepValue::Kind::Literal:
            if (is_literal_type(type)) return check_literal_value(what, declared, value, place);
            return refuse("InputTypeMismatch",
                          what + ": expected data of type " + type + ", found the literal '" +
                              value.literal.substr(0, 80) + "'",
                          place);
        case StepValue::Kind::Data:
        case StepValue::Kind::Output: break;
    }
    const std::string found = value.kind == StepValue::Kind::Data
                                  ? "data of type " + value.type
                                  : "an output of type " + value.type;
    if (is_literal_type(type))
        return refuse("InputTypeMismatch",
                      what + ": expected " + std::string(words_of_type(type)) +
                          ", as its component says, found " + found,
                      place);
    if ((is_file(type) && is_folder(value.type)) || (is_folder(type) && is_file(value.type)))
        return refuse("InputTypeMismatch",
                      what + ": expected " + type + ", as its component says, found " + found,
                      place);
    return {};
}

}  // namespace turnout::submission
