#include "resources/describe.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "base/time.h"
#include "resources/resources.h"

namespace turnout::resources {

namespace {

std::string_view type_word(const Json& value) {
    if (value.is_null()) return "nothing";
    if (value.is_bool()) return "a boolean";
    if (value.is_number()) return "a number";
    if (value.is_string()) return "text";
    if (value.is_array()) return "a list";
    return "a mapping";
}

std::string squeezed(std::string_view text) {
    std::string out;
    for (const char c : to_lower(text))
        if (c != '_' && c != '-' && c != ' ') out += c;
    return out;
}

bool is_scalar(const Json& value) {
    return value.is_string() || value.is_number() || value.is_bool();
}

// A whole number, also from quoted text ("2"), as Azure's own reader takes it.
std::optional<std::int64_t> whole_of(const Json& value) {
    const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
    if (number.is_int()) return number.as_int();
    if (number.is_number() && number.as_double() == static_cast<double>(number.as_int()))
        return number.as_int();
    return std::nullopt;
}

std::optional<bool> flag_of(const Json& value) {
    const Json flag = value.is_string() ? yaml_scalar(value.as_view()) : value;
    if (flag.is_bool()) return flag.as_bool();
    return std::nullopt;
}

std::string choices_text(const std::vector<Choice>& choices) {
    std::string out;
    for (const Choice& choice : choices) {
        if (!choice.refused.empty()) continue;
        if (!out.empty()) out += ", ";
        out += choice.yaml;
    }
    return out;
}

// "a whole number of seconds from 1", "a whole number from 0 to 1,000".
std::string range_words(const Field& field) {
    std::string out = field.kind == Kind::Seconds ? "a whole number of seconds" : "a whole number";
    if (field.least > INT64_MIN) out += " from " + with_commas(field.least);
    if (field.most < INT64_MAX) out += " to " + with_commas(field.most);
    return out;
}

void check_number(const Field& field, Reading& reading, const std::string& pointer,
                  const Json& value) {
    const std::int64_t least =
        field.kind == Kind::Seconds ? std::max<std::int64_t>(0, field.least) : field.least;
    if (const auto number = whole_of(value); !number || *number < least || *number > field.most)
        reading.refuse(pointer, expected(range_words(field), value));
}

void check_field(const Field& field, Reading& reading, const std::string& pointer,
                 const Json& value) {
    if (field.need == Need::ReadOnly || value.is_null()) return;  // the server's to say
    if (!field.refused.empty()) {
        reading.refuse(pointer, field.refused);
        return;
    }
    switch (field.kind) {
        case Kind::Text:
            if (!reading.expect_text(pointer, value) || field.rule == nullptr) return;
            if (const std::string text = reading.text(pointer); !field.rule->fits(text))
                reading.refuse(pointer, not_by(*field.rule, text));
            return;
        case Kind::Whole:
        case Kind::Seconds: check_number(field, reading, pointer, value); return;
        case Kind::Number: reading.expect_number(pointer, value); return;
        case Kind::Flag: reading.expect_flag(pointer, value); return;
        case Kind::Choice: {
            if (!reading.expect_text(pointer, value)) return;
            const std::string text = reading.text(pointer);
            const Choice* choice = find_choice(field.choices, text);
            if (choice == nullptr) {
                std::vector<std::string> known;
                for (const Choice& each : field.choices) known.push_back(each.yaml);
                reading.refuse(pointer, "expected one of " + choices_text(field.choices) +
                                            ", found '" + text + "'" + did_you_mean(text, known));
            } else if (!choice->refused.empty()) {
                reading.refuse(pointer, choice->refused);
            }
            return;
        }
        case Kind::TextMap:
        case Kind::AnyMap:
            if (!reading.expect_mapping(pointer, value)) return;
            if (field.kind == Kind::TextMap)
                for (const auto& [key, member] : value.members()) {
                    if (!member.is_null()) reading.expect_text(pointer_to(pointer, key), member);
                    // A tag without a value is no tag, but a command would miss its variable.
                    else if (field.yaml == "environment_variables")
                        reading.refuse(
                            pointer_to(pointer, key),
                            "expected a text, found nothing: write \"\" for an empty one");
                }
            return;
        case Kind::TextList:
            if (is_scalar(value)) return;  // one item
            if (!reading.expect_list(pointer, value)) return;
            for (std::size_t i = 0; i < value.items().size(); ++i)
                reading.expect_text(pointer_to(pointer, i), value.items()[i]);
            return;
        case Kind::Object: check(*field.object, reading, pointer); return;
        case Kind::Special: field.special.check(reading, pointer, value); return;
    }
}

Json texts_of(const YamlDocument& document, const std::string& pointer, const Json& value) {
    Json out = Json::object();
    for (const auto& [key, member] : value.members())
        out.set(key,
                member.is_null() ? Json() : Json(document.text(pointer_to(pointer, key), member)));
    return out;
}

void field_to_rest(const Field& field, const YamlDocument& document, const std::string& pointer,
                   const Json& value, const Scope& scope, Json& rest) {
    if (field.need == Need::ReadOnly || value.is_null()) return;
    const auto set = [&](Json converted) { set_path(rest, field.rest, std::move(converted)); };
    switch (field.kind) {
        case Kind::Text: set(document.text(pointer, value)); return;
        case Kind::Whole: set(whole_of(value).value_or(0)); return;
        case Kind::Number: set(value.is_string() ? yaml_scalar(value.as_view()) : value); return;
        case Kind::Flag: set(flag_of(value).value_or(false)); return;
        case Kind::Seconds:
            set(to_duration(std::chrono::seconds(whole_of(value).value_or(0))));
            return;
        case Kind::Choice: {
            const Choice* choice = find_choice(field.choices, document.text(pointer, value));
            if (choice != nullptr) set(choice->rest);
            return;
        }
        case Kind::TextMap: set(texts_of(document, pointer, value)); return;
        case Kind::AnyMap: set(value); return;
        case Kind::TextList: {
            Json list = Json::array();
            if (is_scalar(value)) list.push(document.text(pointer, value));
            for (std::size_t i = 0; i < value.items().size(); ++i)
                list.push(document.text(pointer_to(pointer, i), value.items()[i]));
            set(std::move(list));
            return;
        }
        case Kind::Object: {
            Json inner = to_rest(*field.object, document, pointer, scope);
            if (field.rest.empty())
                for (auto& [key, member] : inner.members()) rest.set(key, std::move(member));
            else
                set(std::move(inner));
            return;
        }
        case Kind::Special: field.special.to_rest(document, pointer, value, scope, rest); return;
    }
}

Json field_from_rest(const Field& field, const Json& rest) {
    if (field.kind == Kind::Special && field.special.from_rest != nullptr)
        return field.special.from_rest(rest);
    const Json& value = at_path(rest, field.rest);
    if (value.is_null()) return {};
    switch (field.kind) {
        case Kind::Choice:
            for (const Choice& choice : field.choices)
                if (equal_ignoring_case(choice.rest, value.as_view())) return choice.yaml;
            return value;
        case Kind::Seconds:
            if (const Result<Span> span = parse_duration(value.as_view()))
                return std::chrono::duration_cast<std::chrono::seconds>(*span).count();
            return value;
        case Kind::Object: return to_entity(*field.object, value);
        default: return value;
    }
}

}  // namespace

std::string LocalFiles::resolve(std::string_view path) const {
    if (path.starts_with("file://"))
        path.remove_prefix(7);
    else if (path.starts_with("file:"))
        path.remove_prefix(5);
    while (path.starts_with("./")) path.remove_prefix(2);
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (path.starts_with('/')) return std::string(path);
    if (path.empty() || path == ".") return folder;
    return (folder == "/" ? "" : folder) + "/" + std::string(path);
}

void Reading::refuse(const std::string& pointer, std::string message) {
    problems.push_back({document.place(pointer), dotted(pointer), std::move(message)});
}

std::string expected(std::string_view what, const Json& found) {
    std::string out = "expected " + std::string(what) + ", found " + std::string(type_word(found));
    if (is_scalar(found)) {
        std::string text = found.is_string() ? found.as_string() : found.dump();
        if (text.size() > 60) text = text.substr(0, 57) + "...";
        out += " '" + text + "'";
    }
    return out;
}

std::string not_by(const TextRule& rule, std::string_view found, std::string_view what) {
    return "expected " + (what.empty() ? "" : std::string(what) + ": ") +
           std::string(rule.expected) + ", found '" + std::string(found.substr(0, 64)) + "'";
}

bool Reading::expect_text(const std::string& pointer, const Json& value) {
    if (is_scalar(value)) return true;
    refuse(pointer, expected("text", value));
    return false;
}
bool Reading::expect_whole(const std::string& pointer, const Json& value) {
    if (whole_of(value)) return true;
    refuse(pointer, expected("a whole number", value));
    return false;
}
bool Reading::expect_number(const std::string& pointer, const Json& value) {
    if (value.is_number() || (value.is_string() && yaml_scalar(value.as_view()).is_number()))
        return true;
    refuse(pointer, expected("a number", value));
    return false;
}
bool Reading::expect_flag(const std::string& pointer, const Json& value) {
    if (flag_of(value)) return true;
    refuse(pointer, expected("true or false", value));
    return false;
}
bool Reading::expect_mapping(const std::string& pointer, const Json& value) {
    if (value.is_object()) return true;
    refuse(pointer, expected("a mapping", value));
    return false;
}
bool Reading::expect_list(const std::string& pointer, const Json& value) {
    if (value.is_array()) return true;
    refuse(pointer, expected("a list", value));
    return false;
}

void Reading::expect_path(const std::string& pointer, const std::string& path, LocalPath::Role role,
                          bool folder_allowed, bool file_allowed) {
    const std::string resolved = files.resolve(path);
    const PathKind kind = files.kind(resolved);
    const std::string wanted = folder_allowed && file_allowed ? "a file or folder"
                               : folder_allowed               ? "a folder"
                                                              : "a file";
    if (kind == PathKind::Absent)
        return refuse(pointer, "expected " + wanted + " on this machine, but '" + resolved +
                                   "' does not exist");
    if (kind == PathKind::Folder && !folder_allowed)
        return refuse(pointer, "expected a file, but '" + resolved + "' is a folder");
    if (kind == PathKind::File && !file_allowed)
        return refuse(pointer, "expected a folder, but '" + resolved + "' is a file");
    if (kind == PathKind::Other)
        return refuse(pointer, "expected " + wanted + ", but '" + resolved + "' is neither");
    local.push_back({role, pointer, resolved});
}

std::string Reading::text(const std::string& pointer) const {
    const Json* value = part_at(std::as_const(document.value), pointer);
    return value == nullptr ? std::string() : document.text(pointer, *value);
}

const Field* Description::find(std::string_view yaml) const {
    for (const Field& field : fields)
        if (field.yaml == yaml) return &field;
    return nullptr;
}

void check(const Description& description, Reading& reading, const std::string& pointer) {
    const Json* found = part_at(std::as_const(reading.document.value), pointer);
    const Json value = found == nullptr ? Json() : *found;  // a copy: checks may replace parts
    if (value.is_null() && pointer.empty()) {
        reading.refuse(pointer, "is empty: expected the keys of " + description.title);
        return;
    }
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [key, member] : value.members()) {
        if (key == "$schema") continue;
        const std::string here = pointer_to(pointer, key);
        const Field* field = description.find(key);
        if (field == nullptr) {
            std::vector<std::string> known;
            for (const Field& each : description.fields)
                if (each.need != Need::ReadOnly) known.push_back(each.yaml);
            std::string hint = did_you_mean(key, known);
            if (hint.empty()) hint = ": expected one of " + join(known, ", ");
            reading.refuse(here, "is not a key of " + description.title + hint);
            continue;
        }
        check_field(*field, reading, here, member);
    }
    for (const Field& field : description.fields)
        if (field.need == Need::Required && value.at(field.yaml).is_null())
            reading.refuse(pointer,
                           (value.has(field.yaml) ? "key '" + field.yaml + "' has no value"
                                                  : "key '" + field.yaml + "' is missing") +
                               ": expected " + field.help);
    if (description.check != nullptr) description.check(reading, pointer, value);
}

namespace {
// "--set inputs.lr" and "--min-instances" say it already.
bool names_key(std::string_view place, std::string_view key) {
    if (key.empty()) return true;
    for (const std::string_view start : {"--set ", "--"})
        if (place.starts_with(start)) {
            place.remove_prefix(start.size());
            return std::ranges::equal(
                place, key, [](char a, char b) { return a == b || (a == '-' && b == '_'); });
        }
    return false;
}
}  // namespace

std::string at_its_place(const std::string& place, const std::string& key,
                         const std::string& message) {
    return place + ": " + (names_key(place, key) ? "" : key + ": ") + message;
}

Result<void> result_of(const Reading& reading) {
    if (reading.problems.empty()) return {};
    std::string text;
    for (const Problem& problem : reading.problems) {
        if (!text.empty()) text += '\n';
        text += at_its_place(problem.place, problem.key, problem.message);
    }
    return fail(Code::InvalidArgument, "ValidationError", std::move(text),
                reading.problems.front().key);
}

namespace {
std::string_view last_part(std::string_view path) {
    return path.substr(path.rfind('.') + 1);
}

// The key that stands for "properties.environmentId": a field says so, or the names are alike.
std::string pointer_of(const Description& description, const YamlDocument& document,
                       std::string_view rest) {
    for (const Field& field : description.fields)
        if (!field.rest.empty() && field.rest == rest && document.value.has(field.yaml))
            return pointer_to("", field.yaml);
    if (!rest.starts_with("properties.")) return "";
    std::string pointer;
    const Json* here = &document.value;
    for (const std::string& part : split(rest.substr(11), '.')) {
        const std::string snake = camel_to_snake(part);
        const Json* inner = nullptr;
        // Of inputs, outputs and the distribution.
        const std::string other = part == "uri"            ? "path"
                                  : part == "assetName"    ? "name"
                                  : part.ends_with("Type") ? "type"
                                                           : part;
        for (const std::string& key :
             {part, snake, snake.ends_with("_id") ? snake.substr(0, snake.size() - 3) : snake,
              other}) {
            if (inner != nullptr || (inner = here->find(key)) == nullptr) continue;
            pointer = pointer_to(pointer, key);
        }
        // A step may be written as a command job: the parts of its component are its own.
        if (inner == nullptr && part == "component") continue;
        if (inner == nullptr) break;
        here = inner;
    }
    return pointer;
}
}  // namespace

Error in_words_of(const Description& description, const YamlDocument& document, Error error) {
    const std::string pointer = pointer_of(description, document, error.subject);
    const auto in_words = [&](std::string& message) {
        for (const Field& field : description.fields) {
            const std::string_view leaf = last_part(field.rest);
            if (camel_to_snake(leaf) == leaf || message.find(leaf) == std::string::npos) continue;
            replace_all(message, leaf, field.yaml);
            for (const Choice& choice : field.choices)
                replace_all(message, "'" + choice.rest + "'", "'" + choice.yaml + "'");
        }
    };
    if (pointer.empty()) {  // what the file leaves out has no place, but words
        if (std::ranges::any_of(description.fields, [&](const Field& field) {
                return !field.rest.empty() && field.rest == error.subject;
            }))
            in_words(error.message);
        return error;
    }
    // "limits.timeout: expected …" names its part itself.
    std::string_view part = error.subject;
    if (part.starts_with("properties.")) part.remove_prefix(11);
    if (error.message.starts_with(std::string(part) + ": "))
        error.message.erase(0, part.size() + 2);
    in_words(error.message);
    // "environment 'x' does not exist" needs no "environment: " before it.
    const std::string key = dotted(pointer);
    error.message = at_its_place(document.place(pointer),
                                 error.message.starts_with(key + " ") ? "" : key, error.message);
    return error;
}

Json to_rest(const Description& description, const YamlDocument& document,
             const std::string& pointer, const Scope& scope) {
    Json rest = Json::object();
    for (const auto& [path, constant] : description.constants) set_path(rest, path, constant);
    const Json* value = part_at(document.value, pointer);
    if (value == nullptr) return rest;
    for (const Field& field : description.fields)
        if (const Json* member = value->find(field.yaml))
            field_to_rest(field, document, pointer_to(pointer, field.yaml), *member, scope, rest);
    if (description.finish_rest != nullptr) description.finish_rest(*value, rest);
    return rest;
}

Json to_entity(const Description& description, const Json& rest) {
    Json entity = Json::object();
    for (const Field& field : description.fields) {
        Json value = field_from_rest(field, rest);
        if (!value.is_null()) entity.set(field.yaml, std::move(value));
    }
    if (description.finish_entity != nullptr) description.finish_entity(rest, entity);
    return entity;
}

const Json& at_path(const Json& document, std::string_view dotted_path) {
    static const Json null;
    if (dotted_path.empty()) return null;
    const Json* here = &document;
    while (true) {
        const std::size_t dot = dotted_path.find('.');
        here = &here->at(dotted_path.substr(0, dot));
        if (dot == std::string_view::npos) return *here;
        dotted_path.remove_prefix(dot + 1);
    }
}

void set_path(Json& document, std::string_view dotted_path, Json value) {
    Json* here = &document;
    while (true) {
        const std::size_t dot = dotted_path.find('.');
        Json& next = (*here)[dotted_path.substr(0, dot)];
        if (dot == std::string_view::npos) {
            next = std::move(value);
            return;
        }
        if (!next.is_object()) next = Json::object();
        here = &next;
        dotted_path.remove_prefix(dot + 1);
    }
}

const Choice* find_choice(const std::vector<Choice>& choices, std::string_view text) {
    for (const Choice& choice : choices)
        if (squeezed(choice.yaml) == squeezed(text)) return &choice;
    for (const Choice& choice : choices)
        if (!choice.rest.empty() && squeezed(choice.rest) == squeezed(text)) return &choice;
    return nullptr;
}

Json in_snake_case(const Json& from) {
    if (from.is_array()) {
        Json all = Json::array();
        for (const Json& one : from.items()) all.push(in_snake_case(one));
        return all;
    }
    if (!from.is_object()) return from;
    Json out = Json::object();
    for (const auto& [key, value] : from.members())
        if (!value.is_null())
            out.set(camel_to_snake(key), key == "settings" ? value : in_snake_case(value));
    return out;
}

const LocalFiles& no_files() {
    static const LocalFiles none{.folder = "/",
                                 .kind = [](const std::string&) { return PathKind::Absent; },
                                 .read = [](const std::string& path) -> Result<std::string> {
                                     return not_found("'" + path + "': no file is read here");
                                 }};
    return none;
}

std::string camel_to_snake(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c >= 'A' && c <= 'Z') {
            const bool after_lower = i > 0 && !(text[i - 1] >= 'A' && text[i - 1] <= 'Z');
            const bool before_lower =
                i > 0 && i + 1 < text.size() && text[i + 1] >= 'a' && text[i + 1] <= 'z';
            if (i > 0 && out.back() != '_' && (after_lower || before_lower)) out += '_';
            out += static_cast<char>(c - 'A' + 'a');
        } else {
            out += c;
        }
    }
    return out;
}

namespace {

std::string kind_words(const Field& field) {
    switch (field.kind) {
        case Kind::Text: return "text";
        case Kind::Whole: return "whole number";
        case Kind::Number: return "number";
        case Kind::Flag: return "true or false";
        case Kind::Choice: {
            std::string out;
            for (const Choice& choice : field.choices)
                out += (out.empty() ? "`" : ", `") + choice.yaml + "`" +
                       (choice.refused.empty() ? "" : " (not yet)");
            return out;
        }
        case Kind::Seconds: return "whole number of seconds";
        case Kind::TextMap: return "mapping of texts";
        case Kind::AnyMap: return "mapping";
        case Kind::TextList: return "list of texts";
        case Kind::Object: return "mapping, below";
        case Kind::Special: return field.special.shape;
    }
    return "";
}

void write_table(std::string& out, const Description& description, const std::string& prefix) {
    for (const Field& field : description.fields) {
        const std::string need = field.need == Need::Required   ? "required"
                                 : field.need == Need::ReadOnly ? "read-only"
                                                                : "";
        out += "| `" + prefix + field.yaml + "` | " + kind_words(field) + " | " + need + " | " +
               (field.flag.empty() ? "" : "`" + field.flag + "`") + " | " +
               (field.rest.empty() || !prefix.empty() ? "" : "`" + field.rest + "`") + " | " +
               field.help +
               (field.refused.empty() ? "" : " Not accepted yet: " + field.refused + ".") + " |\n";
        if (field.object != nullptr) write_table(out, *field.object, prefix + field.yaml + ".");
    }
}

}  // namespace

std::string reference_page() {
    std::string out =
        "# Reference of the YAML files\n\nWritten by `turnout docs` from the descriptions in "
        "`src/resources/resources.cc`; do not edit.\nUnknown keys are refused. Relative paths "
        "begin at "
        "the "
        "folder of the YAML file.\n";
    for (const Description* description : all_descriptions()) {
        out += "\n## " + description->title + "\n\n" + description->help +
               "\n\n| key | value | need | flag | REST | meaning |\n|---|---|---|---|---|---|\n";
        write_table(out, *description, "");
    }
    return out;
}

}  // namespace turnout::resources
