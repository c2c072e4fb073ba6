// Environments that are built from a Dockerfile: which image a job asks for, and what is refused.
#include "api/arm/build_context.h"

#include <gtest/gtest.h>

#include "api/test_world.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

Control::Settings with_containers() {
    Control::Settings settings = each_input_its_own_commit();
    settings.pools.push_back(engine_pool("boxes"));
    settings.pools.push_back(engine_pool("clouds", "elsewhere"));
    return settings;
}

struct Built : World {
    Built() : World(with_containers()) {
        for (const char* const pool : {"boxes", "clouds"}) {
            const Reply made = send(
                "PUT", std::string("/computes/on-") + pool,
                Json::object({{"location", pool},
                              {"properties",
                               Json::object({{"computeType", "AmlCompute"},
                                             {"properties",
                                              Json::object({{"vmSize", "STANDARD_DS2_V2"}})}})}}));
            EXPECT_LT(made.status, 300) << made.text;
        }
        file("Dockerfile", "FROM small:1");
        file("src/train.py", "print()");
    }
    void file(const std::string& name, const std::string& text) {
        put_blob(store_of_blobs, "LocalUpload/0/docker/" + name, text);
    }
    Reply environment(const std::string& name, const Json& build) {
        return send("PUT", "/environments/" + name + "/versions/1",
                    Json::object({{"properties", Json::object({{"build", build}})}}));
    }
    Json context(const std::string& dockerfile = "") {
        Json build = Json::object(
            {{"contextUri", "https://127.0.0.1:1/" + store_of_blobs + "/LocalUpload/0/docker/"}});
        if (!dockerfile.empty()) build.set("dockerfilePath", dockerfile);
        return build;
    }
    Reply job(const std::string& name, const std::string& environment = "azureml:mine:1",
              const std::string& compute = "on-boxes") {
        return send("PUT", "/jobs/" + name,
                    Json::object({{"properties", Json::object({{"jobType", "Command"},
                                                               {"command", "echo hi"},
                                                               {"environmentId", environment},
                                                               {"computeId", compute}})}}));
    }
    std::string image_of(const std::string& name) {
        const auto found = read_job(store, workspace.id, name);
        return read_task(store, (*found)->record)->environment.image;
    }

    std::string store_of_blobs = blobstore_container(workspace.id);
};

TEST(BuildContext, AJobAsksForTheImageOfTheFilesAsTheyAre) {
    Built world;
    ASSERT_LT(world.environment("mine", world.context()).status, 300);
    const Reply made = world.job("a");
    ASSERT_EQ(made.status, 201) << made.text;
    const auto image = read_built_image(world.image_of("a"));
    ASSERT_TRUE(image) << world.image_of("a");
    EXPECT_EQ(shown_name(*image), "mine:1");
    const auto found = arm::context_of_image(world.services, world.workspace.id, *image);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->container, world.store_of_blobs);
    EXPECT_EQ(found->prefix, "LocalUpload/0/docker/");
    EXPECT_EQ(found->dockerfile, "Dockerfile");
    ASSERT_EQ(world.job("b").status, 201);
    EXPECT_EQ(world.image_of("b"), world.image_of("a"));
    // The same files under another name are the same image, but for what it is called.
    ASSERT_LT(world.environment("twin", world.context("./Dockerfile")).status, 300);
    ASSERT_EQ(world.job("t", "azureml:twin@latest").status, 201);
    EXPECT_EQ(read_built_image(world.image_of("t"))->context, image->context);

    world.file("src/train.py", "print(2)");
    ASSERT_EQ(world.job("c").status, 201);
    EXPECT_NE(world.image_of("c"), world.image_of("a"));
    const auto changed = arm::context_of_image(world.services, world.workspace.id, *image);
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().message,
              "environment 'mine:1' has another build context than when it came: submit the job "
              "again");
    EXPECT_FALSE(arm::context_of_image(world.services, "nobody", *image));
}

TEST(BuildContext, WhatCannotBeBuiltIsRefused) {
    Built world;
    struct Row {
        const char* name;
        Json build;
        const char* compute;
        const char* code;
        const char* words;
    };
    const std::vector<Row> rows = {
        {"here", world.context(), "local", "BuildContextNotSupported",
         "for which pool 'local' has no container engine"},
        {"unable", world.context(), "on-clouds", "BuildContextNotSupported", "pool 'clouds'"},
        {"other", world.context("docker/Dockerfil"), "on-boxes", "DockerfileNotFound",
         "has no file 'docker/Dockerfil'"},
        {"meant", world.context("Dockerfil"), "on-boxes", "DockerfileNotFound", "Dockerfile"},
        {"outside", Json::object({{"contextUri", "https://github.com/a/b"}}), "on-boxes",
         "BuildContextNotFound", "expected a folder in this workspace's storage"},
        {"empty",
         Json::object({{"contextUri", "azureml://datastores/workspaceblobstore/paths/none/"}}),
         "on-boxes", "BuildContextNotFound", "is empty, or gone"},
    };
    for (const Row& row : rows) {
        SCOPED_TRACE(row.name);
        ASSERT_LT(world.environment(row.name, row.build).status, 300);
        const Reply reply = world.job("j", std::string("azureml:") + row.name + ":1", row.compute);
        EXPECT_EQ(reply.status, 400) << reply.text;
        EXPECT_EQ(reply.code(), row.code) << reply.text;
        EXPECT_NE(reply.message().find(row.words), std::string::npos) << reply.message();
    }
    for (const auto& [properties, words] :
         {std::pair{R"({"build": {"contextUri": "x"}, "condaFile": "name: x"})",
                    "expected build alone"},
          {R"({"image": "turnout.build/a/1@ab"})", "are built from environments with a `build`"},
          {R"({"build": {}})", "contextUri"}}) {
        const Reply reply =
            world.send("PUT", "/environments/bad/versions/1",
                       Json::object({{"properties", parse_json(properties).value()}}));
        EXPECT_EQ(reply.status, 400) << properties << reply.text;
        EXPECT_NE(reply.message().find(words), std::string::npos) << reply.message();
    }
}

}  // namespace
}  // namespace turnout::api
