// How documents name each other, and what the shapes of all kinds ask of a part.
#include "resources/shapes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "resources/resources.h"

namespace turnout::resources {

bool is_arm_id(std::string_view text) {
    if (text.starts_with("azureml:")) text.remove_prefix(8);
    return to_lower(text.substr(0, 15)) == "/subscriptions/";
}

bool is_remote_path(std::string_view text) {
    for (const std::string_view scheme : {"azureml://", "runs:/", "https://", "http://", "wasbs://",
                                          "wasb://", "abfss://", "abfs://", "adl://"})
        if (text.starts_with(scheme)) return true;
    return false;
}

Result<AssetName> parse_asset_name(std::string_view text, bool bare_allowed) {
    const std::string whole(text);
    if (text.starts_with("azureml:")) text.remove_prefix(8);
    const std::size_t at = text.find_first_of(":@");
    AssetName name{.name = std::string(text.substr(0, at)), .version = {}, .label = {}};
    if (at != std::string_view::npos)
        (text[at] == ':' ? name.version : name.label) = std::string(text.substr(at + 1));
    const bool parts_good =
        kName.fits(name.name) && (at == std::string_view::npos || kName.fits(text.substr(at + 1)));
    if (!parts_good)
        return invalid("expected azureml:NAME:VERSION or azureml:NAME@latest, found '" + whole +
                       "'");
    if (at == std::string_view::npos && !bare_allowed)
        return invalid("expected a version: write azureml:" + name.name +
                       ":VERSION or azureml:" + name.name + "@latest, found '" + whole + "'");
    return name;
}

std::string segment_after(std::string_view id, std::string_view kind) {
    const std::vector<std::string> parts = split(id, '/');
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
        if (equal_ignoring_case(parts[i], kind)) return parts[i + 1];
    return {};
}

std::string_view without_prefix(std::string_view text) {
    if (text.starts_with("azureml:") && !text.starts_with("azureml://")) text.remove_prefix(8);
    return text;
}

std::string short_name_of(std::string_view arm_id, std::string_view kind) {
    if (!is_arm_id(arm_id)) return std::string(arm_id);
    const std::string name = segment_after(arm_id, kind);
    const std::string version = segment_after(arm_id, "versions");
    if (name.empty()) return std::string(arm_id);
    return "azureml:" + name + (version.empty() ? "" : ":" + version);
}

std::string arm_id_of(const Scope& scope, std::string_view kind, std::string_view text) {
    if (is_arm_id(text)) return std::string(without_prefix(text));
    if (is_remote_path(text)) return std::string(text);
    const Result<AssetName> name = parse_asset_name(text);
    if (!name || name->version.empty())
        return text.starts_with("azureml:") ? std::string(text) : "azureml:" + std::string(text);
    return scope.workspace_path + "/" + std::string(kind) + "/" + name->name + "/versions/" +
           name->version;
}

void check_keys(Reading& reading, const std::string& pointer, const Json& value,
                const std::vector<std::string>& known, std::string_view what) {
    for (const auto& [key, member] : value.members()) {
        if (std::find(known.begin(), known.end(), key) != known.end()) continue;
        std::string hint = did_you_mean(key, known);
        if (hint.empty()) hint = ": expected one of " + join(known, ", ");
        reading.refuse(pointer_to(pointer, key), "is not a key of " + std::string(what) + hint);
    }
}

void check_text(Reading& reading, const std::string& pointer, const TextRule& rule,
                std::string_view text, std::string_view what) {
    if (!rule.fits(text)) reading.refuse(pointer, not_by(rule, text, what));
}

void check_choice(Reading& reading, const std::string& pointer,
                  const std::vector<Choice>& choices) {
    const std::string text = reading.text(pointer);
    const Choice* choice = find_choice(choices, text);
    if (choice != nullptr && choice->refused.empty()) return;
    if (choice != nullptr) return reading.refuse(pointer, choice->refused);
    std::vector<std::string> known;
    for (const Choice& each : choices)
        if (each.refused.empty()) known.push_back(each.yaml);
    reading.refuse(pointer, "expected one of " + join(known, ", ") + ", found '" + text + "'" +
                                did_you_mean(text, known));
}

void check_reference(Reading& reading, const std::string& pointer, const std::string& kind,
                     const std::string& text) {
    if (is_arm_id(text) || text.starts_with("azureml://")) return;
    const Result<AssetName> name = parse_asset_name(text);
    if (!name)
        reading.refuse(pointer, name.error().message);
    else
        reading.references.push_back({kind, pointer, text});
}

void check_path(Reading& reading, const std::string& pointer, const Json& value,
                const std::string& kind, LocalPath::Role role, bool folder, bool file) {
    if (!reading.expect_text(pointer, value)) return;
    const std::string text = reading.text(pointer);
    if (text.empty()) return reading.refuse(pointer, "is empty: expected a path or URI");
    if (is_remote_path(text) || is_arm_id(text)) return;
    if (text.starts_with("azureml:")) return check_reference(reading, pointer, kind, text);
    reading.expect_path(pointer, text, role, folder, file);
}

}  // namespace turnout::resources
