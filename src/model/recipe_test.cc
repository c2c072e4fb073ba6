#include "model/recipe.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

Json recipe(const std::string& changes = "{}") {
    Json json = *parse_json(R"({
        "command": "train ${{inputs.rate}} ${{inputs.data}}",
        "code": {"content": "c1", "at": {"container": "code-1", "prefix": "src/"}},
        "environment": {"kind": "prepared", "python": "3.11", "requirements": ["numpy==1", "torch"],
                        "variables": {"A": "1"}},
        "parameters": {"rate": "0.1"},
        "inputs": {"data": {"type": "uri_folder", "mode": "ro_mount", "content": "d1",
                            "at": {"container": "b", "prefix": "one/"}}},
        "outputs": {"model": {"type": "uri_folder", "mode": "rw_mount"}},
        "variables": {"DEBUG": "0"}})");
    json.merge(*parse_json(changes));
    return json;
}

TEST(Recipe, PlacesAndTheOrderOfMembersDecideNothing) {
    const Json elsewhere = recipe(
        R"({"code": {"at": {"prefix": "other/"}}, "inputs": {"data": {"at": "x"}}, "why": "words"})");
    EXPECT_EQ(fingerprint_of(recipe()), fingerprint_of(elsewhere));
    EXPECT_TRUE(differences(recipe(), elsewhere).empty());
    Json turned = Json::object();
    const Json whole = recipe();
    for (std::size_t i = whole.members().size(); i-- > 0;)
        turned.set(whole.members()[i].first, whole.members()[i].second);
    EXPECT_EQ(fingerprint_of(turned), fingerprint_of(recipe()));
}

TEST(Recipe, AllElseDoesAndIsTold) {
    using D = RecipeDifference;
    const std::vector<std::pair<std::string, std::vector<D>>> cases = {
        {R"({"command": "test"})",
         {D{"command", "", "test", "train ${{inputs.rate}} ${{inputs.data}}"}}},
        {R"({"parameters": {"rate": "0.2"}})", {D{"parameter", "rate", "0.2", "0.1"}}},
        {R"({"parameters": {"rate": null, "lr": "1"}})",
         {D{"parameter", "lr", "1", ""}, D{"parameter", "rate", "", "0.1"}}},
        {R"({"environment": {"requirements": ["numpy==2", "torch"]}})",
         {D{"environment", "requirements", "numpy==2", "numpy==1"}}},
        {R"({"environment": {"requirements": ["torch", "numpy==1"]}})",
         {D{"environment", "requirements", R"(["torch","numpy==1"])", R"(["numpy==1","torch"])"}}},
        {R"({"environment": {"python": "3.12"}})", {D{"environment", "python", "3.12", "3.11"}}},
        {R"({"variables": {"DEBUG": "1"}})", {D{"variable", "DEBUG", "1", "0"}}},
        {R"({"distribution": {"type": "PyTorch", "nodes": 2}})",
         {D{"distribution", "nodes", "2", ""}, D{"distribution", "type", "PyTorch", ""}}},
    };
    for (const auto& [changes, wanted] : cases) {
        const Json changed = recipe(changes);
        EXPECT_NE(fingerprint_of(changed), fingerprint_of(recipe())) << changes;
        EXPECT_EQ(differences(changed, recipe()), wanted) << changes;
    }
    EXPECT_EQ(differences(recipe(R"({"code": {"content": "c2"}})"), recipe())[0].part, "code");
    EXPECT_EQ(differences(recipe(R"({"inputs": {"data": {"content": "d2"}}})"), recipe())[0].name,
              "data");
    EXPECT_EQ(differences(recipe(R"({"code": null})"), recipe())[0].now, "");
}

TEST(Recipe, WhatNobodyCanSeeIsNamed) {
    EXPECT_EQ(unseen_input(recipe()), "");
    EXPECT_EQ(unseen_input(recipe(R"({"inputs": {"web": {"at": "https://x"}}})")), "web");
}

}  // namespace
}  // namespace turnout
