// Two clients change one registered model at the same time, through different doors: each has what
// it was told.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "api/test_world.h"

namespace turnout::api {
namespace {

// What of the model a door writes as a whole, or a part of: two that write the same, one of them as
// a whole, follow one another, and nothing can be said of the first.
enum class Part { None, ModelWords, VersionWords };

struct Model {
    World& world;
    std::string name;

    std::unique_ptr<World::Sent> arm(std::string method, const std::string& path,
                                     Json properties) const {
        const Json body = Json::object({{"properties", std::move(properties)}});
        return world.begin_raw(std::move(method), world.arm_path("/models/" + name + path),
                               body.dump(), world.user);
    }
    std::unique_ptr<World::Sent> mlflow(std::string method, const std::string& path,
                                        Json body) const {
        body.set("name", name);
        return world.begin_raw(std::move(method), world.mlflow_path(path), body.dump(), world.user);
    }
    AssetContainer container() const {
        return **world.assets.find_container(world.workspace.id, "models", name);
    }
    Json properties(const std::string& version = "1") const {
        const auto found = *world.assets.find_version(world.workspace.id, "models", name, version);
        return found ? found->properties : Json();
    }
    std::string place(const std::string& folder) const {
        return "azureml://datastores/workspaceblobstore/paths/" + folder + "/";
    }
};

struct Door {
    std::string name;
    Part part;
    bool whole;
    std::function<std::unique_ptr<World::Sent>(const Model&)> send;
    std::function<bool(const Model&, const Reply&)> holds;  // once it was answered 2xx
};

Json tag(const std::string& key) {
    return Json::object({{"tags", Json::object({{key, "1"}})}});
}
bool has_tag(const Json& properties, const std::string& key) {
    return properties.at("tags").at(key).as_view() == "1";
}

const std::vector<Door>& doors() {
    static const std::vector<Door> all = {
        {"PATCH model", Part::ModelWords, false,
         [](const Model& m) { return m.arm("PATCH", "", tag("patch")); },
         [](const Model& m, const Reply&) { return has_tag(m.container().properties, "patch"); }},
        {"PUT model", Part::ModelWords, true,
         [](const Model& m) { return m.arm("PUT", "", tag("put")); },
         [](const Model& m, const Reply&) { return has_tag(m.container().properties, "put"); }},
        {"PATCH version", Part::VersionWords, false,
         [](const Model& m) { return m.arm("PATCH", "/versions/1", tag("patch")); },
         [](const Model& m, const Reply&) { return has_tag(m.properties(), "patch"); }},
        {"PUT version", Part::VersionWords, true,
         [](const Model& m) {
             Json again = tag("put");
             again.set("modelUri", m.place("one"));
             again.set("modelType", "custom_model");
             return m.arm("PUT", "/versions/1", again);
         },
         [](const Model& m, const Reply&) { return has_tag(m.properties(), "put"); }},
        {"PUT another version", Part::None, false,
         [](const Model& m) {
             return m.arm(
                 "PUT", "/versions/2",
                 Json::object({{"modelUri", m.place("two")}, {"modelType", "custom_model"}}));
         },
         [](const Model& m, const Reply&) {
             return m.properties("2").at("modelUri").as_view().find("/two") !=
                    std::string_view::npos;
         }},
        {"set-tag of the model", Part::ModelWords, false,
         [](const Model& m) {
             return m.mlflow("POST", "registered-models/set-tag",
                             Json::object({{"key", "set"}, {"value", "1"}}));
         },
         [](const Model& m, const Reply&) { return has_tag(m.container().properties, "set"); }},
        {"update of the model", Part::ModelWords, false,
         [](const Model& m) {
             return m.mlflow("PATCH", "registered-models/update",
                             Json::object({{"description", "new"}}));
         },
         [](const Model& m, const Reply&) {
             return m.container().properties.at("description").as_view() == "new";
         }},
        {"alias", Part::None, false,
         [](const Model& m) {
             return m.mlflow("POST", "registered-models/alias",
                             Json::object({{"alias", "best"}, {"version", "1"}}));
         },
         [](const Model& m, const Reply&) {
             return m.container().properties.at("mlflowAliases").at("best").as_view() == "1";
         }},
        {"set-tag of the version", Part::VersionWords, false,
         [](const Model& m) {
             return m.mlflow("POST", "model-versions/set-tag",
                             Json::object({{"version", "1"}, {"key", "set"}, {"value", "1"}}));
         },
         [](const Model& m, const Reply&) { return has_tag(m.properties(), "set"); }},
        {"stage", Part::None, false,
         [](const Model& m) {
             return m.mlflow("POST", "model-versions/transition-stage",
                             Json::object({{"version", "1"}, {"stage", "Production"}}));
         },
         [](const Model& m, const Reply&) {
             return m.properties().at("properties").at("mlflow.stage").as_view() == "Production";
         }},
        {"create version", Part::None, false,
         [](const Model& m) {
             return m.mlflow("POST", "model-versions/create",
                             Json::object({{"source", m.place("three")}}));
         },
         [](const Model& m, const Reply& reply) {
             const std::string number = reply.json.at("model_version").at("version").as_string();
             return m.properties(number).at("modelUri").as_view().find("/three") !=
                    std::string_view::npos;
         }},
    };
    return all;
}

TEST(Writes, TwoDoorsToOneModelBothHaveWhatTheyWereTold) {
    World world;
    int number = 0;
    for (const Door& first : doors())
        for (const Door& second : doors())
            for (int steps = 0; steps < 6; ++steps) {
                if (first.part == second.part && (first.whole || second.whole)) continue;
                const Model model{world, "m" + std::to_string(++number)};
                Json one =
                    Json::object({{"modelUri", model.place("one")}, {"modelType", "custom_model"}});
                const auto made = model.arm("PUT", "/versions/1", one);
                world.wait(made->outcome);
                ASSERT_EQ(made->reply().status, 201) << made->reply().text;
                world.loop.pass(1s);

                const auto one_sent = first.send(model);
                for (int i = 0; i < steps; ++i) world.loop.step();
                const auto two_sent = second.send(model);
                world.wait(one_sent->outcome);
                world.wait(two_sent->outcome);
                const std::string what =
                    first.name + ", " + std::to_string(steps) + " steps, " + second.name;
                for (const auto& [door, sent] :
                     {std::pair(&first, one_sent.get()), std::pair(&second, two_sent.get())}) {
                    const Reply reply = sent->reply();
                    // Only one of two that make the same version can have it.
                    if (reply.status == 409 && door->name == "PUT another version") continue;
                    EXPECT_EQ(reply.status / 100, 2) << what << ": " << reply.text;
                    EXPECT_TRUE(door->holds(model, reply))
                        << what << ": that of " << door->name << " is lost";
                }
                // One of the newest is the latest.
                const auto versions =
                    *world.assets.list_versions(world.workspace.id, "models", model.name);
                const auto latest =
                    *world.assets.resolve(world.workspace.id, "models", model.name, "latest");
                ASSERT_TRUE(latest) << what;
                EXPECT_EQ(latest->created, versions.front().created) << what;
            }
}

// What only MLflow writes of a model stays when the SDK sends the model back as it knows it.
TEST(Writes, WhatTheSdkDoesNotKnowOfAModelStays) {
    World world;
    const Model model{world, "m"};
    const auto put = [&](Json more) {
        Json body = std::move(more);
        body.set("modelUri", model.place("one"));
        body.set("modelType", "custom_model");
        const auto sent = model.arm("PUT", "/versions/1", body);
        world.wait(sent->outcome);
        return sent->reply();
    };
    ASSERT_EQ(put(Json::object()).status, 201);
    for (const char* door : {"alias", "stage"})
        for (const Door& one : doors())
            if (one.name == door) world.wait(one.send(model)->outcome);
    // As it was read before.
    ASSERT_EQ(put(Json::object({{"isArchived", false},
                                {"properties", Json::object({{"mlflow.stage", "None"}})}}))
                  .status,
              200);
    world.wait(model.arm("PUT", "", tag("put"))->outcome);
    EXPECT_EQ(model.properties().at("properties").at("mlflow.stage").as_view(), "Production");
    EXPECT_EQ(model.container().properties.at("mlflowAliases").at("best").as_view(), "1");
    // With the version its alias goes: the next version of that number is another one.
    for (const Door& one : doors())
        if (one.name == "PUT another version") world.wait(one.send(model)->outcome);
    world.send("DELETE", "/models/m/versions/1");
    ASSERT_EQ(put(Json::object()).status, 201);
    EXPECT_FALSE(model.container().properties.at("mlflowAliases").has("best"));
}

}  // namespace
}  // namespace turnout::api
