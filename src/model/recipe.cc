#include "model/recipe.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "base/text.h"

namespace turnout {

namespace {

// What a member of the recipe is called when it is told of, and whether its members are told one by
// one.
struct Part {
    std::string_view member, called;
    bool by_member;
};
constexpr Part kParts[] = {
    {"command", "command", false},
    {"code", "code", false},
    {"environment", "environment", true},
    {"parameters", "parameter", true},
    {"inputs", "input", true},
    {"outputs", "output", true},
    {"variables", "variable", true},
    {"distribution", "distribution", true},
};

void sort_members(Json& json) {
    if (json.is_array())
        for (Json& item : json.items()) sort_members(item);
    if (!json.is_object()) return;
    for (auto& [name, member] : json.members()) sort_members(member);
    std::ranges::sort(json.members(), {}, &Json::Member::first);
}

// Without what decides nothing.
Json deciding(const Json& recipe) {
    Json json = Json::object();
    for (const Part& part : kParts) {
        const Json* member = recipe.find(part.member);
        if (!member) continue;
        Json copy = *member;
        copy.erase("at");
        if (part.member == "inputs")
            for (auto& [name, input] : copy.members()) {
                input.erase("at");
                input.erase("files");
            }
        json.set(part.member, std::move(copy));
    }
    sort_members(json);
    return json;
}

std::string text_of(const Json& value) {
    return value.is_null() ? "" : value.is_string() ? value.as_string() : value.dump();
}

std::string unique_lines(const Json& lines, const Json& others) {
    std::set<std::string> there;
    for (const Json& line : others.items()) there.insert(text_of(line));
    std::vector<std::string> alone;
    for (const Json& line : lines.items())
        if (!there.contains(text_of(line))) alone.push_back(text_of(line));
    return join(alone, "\n");
}

void compare(std::vector<RecipeDifference>& found, std::string_view part, const std::string& name,
             const Json& now, const Json& then) {
    if (now.equal_unordered(then)) return;
    if (now.is_array() || then.is_array()) {
        RecipeDifference one{std::string(part), name, unique_lines(now, then),
                             unique_lines(then, now)};
        if (one.now.empty() && one.then.empty()) {  // the same lines, in another order
            one.now = text_of(now);
            one.then = text_of(then);
        }
        found.push_back(std::move(one));
        return;
    }
    found.push_back({std::string(part), name, text_of(now), text_of(then)});
}

}  // namespace

std::string fingerprint_of(const Json& recipe) {
    return to_hex(sha256(deciding(recipe).dump()));
}

std::string unseen_input(const Json& recipe) {
    for (const auto& [name, input] : recipe.at("inputs").members())
        if (!input.has("content")) return name;
    return "";
}

std::vector<RecipeDifference> differences(const Json& now, const Json& then) {
    std::vector<RecipeDifference> found;
    const Json one = deciding(now), other = deciding(then);
    for (const Part& part : kParts) {
        const Json &here = one.at(part.member), &there = other.at(part.member);
        if (!part.by_member) {
            compare(found, part.called, "", here, there);
            continue;
        }
        for (const auto& [name, value] : here.members())
            compare(found, part.called, name, value, there.at(name));
        for (const auto& [name, value] : there.members())
            if (!here.has(name)) compare(found, part.called, name, Json(), value);
    }
    return found;
}

}  // namespace turnout
