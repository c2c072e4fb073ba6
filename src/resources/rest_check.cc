// A description reads a REST document: the same rules as for YAML, in REST's words and places.
#include <algorithm>

#include "base/text.h"
#include "base/time.h"
#include "resources/describe.h"

namespace turnout::resources {
namespace {

bool is_scalar_of_rest(const Json& value) {
    return value.is_string() || value.is_number() || value.is_bool();
}

std::string whole_words(const Field& field) {
    std::string out = "a whole number";
    if (field.least > INT64_MIN) out += " from " + with_commas(field.least);
    if (field.most < INT64_MAX) out += " to " + with_commas(field.most);
    return out;
}

void check_duration(const Field& field, const Json& value, RestFindings& findings) {
    const auto span =
        value.is_string() ? parse_duration(value.as_view()) : Result<Span>(invalid("no text"));
    const std::int64_t least = std::max<std::int64_t>(0, field.least);
    if (span && *span >= std::chrono::seconds(least) &&
        (field.most == INT64_MAX || *span <= std::chrono::seconds(field.most)))
        return;
    std::string what = "a duration such as PT120S";
    if (field.least > 0) what += ", at least " + to_duration(std::chrono::seconds(least));
    if (field.most < INT64_MAX)
        what += ", at most " + to_duration(std::chrono::seconds(field.most));
    findings.not_as_expected(field.rest, what, value);
}

void check_choice_of_rest(const Field& field, const Json& value, RestFindings& findings) {
    if (value.is_string() && value.as_view().empty()) return;  // nothing is said
    std::vector<std::string> known;
    for (const Choice& choice : field.choices) {
        const bool said = value.is_string() && equal_ignoring_case(value.as_view(), choice.rest);
        if (said && choice.refused.empty()) return;
        if (said) return findings.refuse(field.rest, choice.refused);
        if (choice.refused.empty() && std::ranges::find(known, choice.rest) == known.end())
            known.push_back(choice.rest);
    }
    findings.not_as_expected(field.rest, (known.size() == 1 ? "" : "one of ") + join(known, ", "),
                             value);
}

void collect(const Description& description, const Json& rest, RestFindings& findings);

void check_value_of_rest(const Field& field, const Json& value, RestFindings& findings) {
    const auto expect = [&](bool good, std::string_view what) {
        if (!good) findings.not_as_expected(field.rest, what, value);
        return good;
    };
    switch (field.kind) {
        case Kind::Text:
            if (expect(is_scalar_of_rest(value), "a text") && field.rule != nullptr &&
                value.as_view() != "")
                expect(field.rule->fits(value.is_string() ? value.as_string() : value.dump()),
                       field.rule->expected);
            return;
        case Kind::Whole:
            expect(value.is_int() && value.as_int() >= field.least && value.as_int() <= field.most,
                   whole_words(field));
            return;
        case Kind::Number: expect(value.is_number(), "a number"); return;
        case Kind::Flag: expect(value.is_bool(), "true or false"); return;
        case Kind::Choice: check_choice_of_rest(field, value, findings); return;
        case Kind::Seconds: check_duration(field, value, findings); return;
        case Kind::AnyMap: expect(value.is_object(), "an object"); return;
        case Kind::TextMap:
            if (!expect(value.is_object(), "an object of texts")) return;
            for (const auto& [key, member] : value.members())
                if (!member.is_null() && !is_scalar_of_rest(member))
                    findings.not_as_expected(field.rest + "." + key, "a text", member);
            return;
        case Kind::TextList:
            if (!expect(value.is_array(), "a list of texts")) return;
            for (std::size_t i = 0; i < value.items().size(); ++i)
                if (!is_scalar_of_rest(value.items()[i]))
                    findings.not_as_expected(field.rest + "[" + std::to_string(i) + "]", "a text",
                                             value.items()[i]);
            return;
        case Kind::Object: {
            if (!expect(value.is_object(), "an object")) return;
            RestFindings inner = findings.beneath(field.rest);
            collect(*field.object, value, inner);
            std::ranges::move(inner.errors, std::back_inserter(findings.errors));
            return;
        }
        case Kind::Special: return;
    }
}

// "conda_file" -> "condaFile"
std::string snake_to_camel(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '_' && i + 1 < text.size())
            out += static_cast<char>(text[++i] - 'a' + 'A');
        else
            out += text[i];
    }
    return out;
}

// Those that are shaped differently say no place: it is the same word.
std::string place_in_rest(const Field& field) {
    return field.rest.empty() ? "properties." + snake_to_camel(field.yaml) : field.rest;
}

std::string last_of(const std::string& place) {
    return place.substr(place.rfind('.') + 1);
}

// What fields must be to each other is said in the words of YAML, of an entity.
void check_between(const Description& description, const Json& rest, RestFindings& findings) {
    if (description.check == nullptr) return;
    const LocalFiles none{.folder = "/",
                          .kind = [](const std::string&) { return PathKind::Other; },
                          .read = [](const std::string&) -> Result<std::string> {
                              return invalid("a REST document names no file of this machine");
                          }};
    YamlDocument document;
    document.value = to_entity(description, rest);
    Reading reading(document, none);
    const Json entity = document.value;
    description.check(reading, "", entity);
    for (Problem& problem : reading.problems) {
        const Field* field = description.find(problem.key);
        for (const Field& each : description.fields)
            if (each.yaml.find('_') != std::string::npos)
                replace_all(problem.message, each.yaml, last_of(place_in_rest(each)));
        findings.refuse(field == nullptr ? findings.whole() : place_in_rest(*field),
                        problem.message);
    }
}

void collect(const Description& description, const Json& rest, RestFindings& findings) {
    for (const Field& field : description.fields) {
        if (field.need == Need::ReadOnly) continue;
        if (field.kind == Kind::Special && field.special.check_rest != nullptr)
            field.special.check_rest(rest, findings);
        if (field.kind == Kind::Special || field.rest.empty()) continue;
        if (const Json& value = at_path(rest, field.rest); !value.is_null())
            check_value_of_rest(field, value, findings);
    }
    if (findings.errors.empty()) check_between(description, rest, findings);
}

}  // namespace

std::string RestFindings::whole() const {
    return under_.empty() ? "properties" : "";
}

std::string RestFindings::at(std::string_view place) const {
    if (under_.empty() || place.empty()) return under_ + std::string(place);
    return under_ + "." + std::string(place);
}

RestFindings RestFindings::beneath(std::string_view place) const {
    return RestFindings(at(place));
}

void RestFindings::refuse(std::string_view place, const std::string& message) {
    const std::string where = at(place);
    std::string_view shown = where;
    if (shown.starts_with("properties.")) shown.remove_prefix(11);
    if (shown == "properties") shown = "";
    errors.push_back({Code::InvalidArgument, "",
                      (shown.empty() ? "" : std::string(shown) + ": ") + message, where, nullptr});
}

void RestFindings::not_as_expected(std::string_view place, std::string_view what,
                                   const Json& found) {
    std::string text = found.is_null() ? "nothing" : found.dump();
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    refuse(place, "expected " + std::string(what) + ", found " + text);
}

Result<void> check_rest(const Description& description, const Json& rest, const std::string& under,
                        const std::string& reason) {
    RestFindings findings(under);
    if (!rest.is_object())
        findings.not_as_expected("", "an object", rest);
    else
        collect(description, rest, findings);
    if (findings.errors.empty()) return {};
    Error& first = findings.errors.front();
    first.reason = reason;
    return Failure(std::move(first));
}

}  // namespace turnout::resources
