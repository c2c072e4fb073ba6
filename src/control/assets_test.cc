#include "control/assets.h"

#include <gtest/gtest.h>

#include "store/memory/memory_store.h"
#include "tracking/test_world.h"

namespace turnout {
namespace {

struct World {
    ManualLoop loop;
    CountingRandom random;
    MemoryStore store{loop};
    Assets assets{store, loop, random};

    template <class T>
    T wait(Task<T> task) {
        auto outcome = begin(std::move(task));
        loop.settle();
        EXPECT_TRUE(outcome.done());
        return std::move(*outcome);
    }
    Workspace workspace(std::string name = "ws") {
        Workspace wanted;
        wanted.subscription = "S";
        wanted.resource_group = "Rg";
        wanted.name = std::move(name);
        return *wait(assets.create_workspace(wanted));
    }
    Result<bool> put(const std::string& wsid, const std::string& kind, const std::string& name,
                     const std::string& version, Json properties) {
        loop.pass(1s);
        AssetVersion asset;
        asset.name = name;
        asset.version = version;
        asset.properties = std::move(properties);
        return wait(assets.put_version(wsid, kind, asset));
    }
};

TEST(Assets, WorkspaceComesWithItsDatastores) {
    World world;
    const Workspace made = world.workspace();
    EXPECT_EQ(made.id.size(), 12u);
    const auto found = world.assets.find_workspace("s", "RG", "WS");
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->id, made.id);
    EXPECT_EQ((*found)->name, "ws");
    EXPECT_TRUE((*world.assets.workspace_by_id(made.id)).has_value());
    EXPECT_FALSE((*world.assets.find_workspace("s", "rg", "other")).has_value());
    const auto stores = *world.assets.list_datastores(made.id);
    ASSERT_EQ(stores.size(), 2u);
    EXPECT_EQ(stores[0].first, "workspaceartifactstore");
    EXPECT_FALSE(stores[0].second.at("isDefault").as_bool());
    EXPECT_TRUE(stores[1].second.at("isDefault").as_bool());

    Workspace again = made;
    const auto refused = world.wait(world.assets.create_workspace(again));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "ResourceExists");
    for (const std::string bad :
         {"", "x", "a/b", "-ab", "a b", "averyveryveryveryveryverylongnameindeed"}) {
        Workspace wanted = made;
        wanted.name = bad;
        EXPECT_FALSE(world.wait(world.assets.create_workspace(wanted))) << bad;
    }
    // What is known is what is durable: another reader of the same store sees the same.
    Assets other(world.store, world.loop, world.random);
    EXPECT_EQ((*other.find_workspace("s", "rg", "ws"))->guid, made.guid);
}

TEST(Assets, AWorkspaceThatWasNotSavedIsNotThere) {
    World world;
    world.store.fail_next({Code::ResourceExhausted, "DiskFull", "the disk is full", "", nullptr});
    Workspace wanted;
    wanted.subscription = "s";
    wanted.resource_group = "rg";
    wanted.name = "ws";
    EXPECT_FALSE(world.wait(world.assets.create_workspace(wanted)));
    EXPECT_FALSE((*world.assets.find_workspace("s", "rg", "ws")).has_value());
}

TEST(Assets, OneDatastoreIsTheDefault) {
    World world;
    const std::string ws = world.workspace().id;
    const auto is_default = [&](const std::string& name) {
        return (*world.assets.find_datastore(ws, name))->at("isDefault").as_bool();
    };
    EXPECT_TRUE(*world.wait(world.assets.put_datastore(
        ws, "mine", Json::object({{"containerName", "c"}, {"isDefault", true}}))));
    EXPECT_TRUE(is_default("mine"));
    EXPECT_FALSE(is_default("workspaceblobstore"));
    EXPECT_FALSE(*world.wait(
        world.assets.put_datastore(ws, "mine", Json::object({{"containerName", "c"}}))));
    EXPECT_TRUE(is_default("mine")) << "until another is";
    EXPECT_FALSE(world.wait(world.assets.delete_datastore(ws, "mine")));
    EXPECT_TRUE(world.wait(world.assets.put_datastore(
        ws, "workspaceblobstore", Json::object({{"containerName", "c"}, {"isDefault", true}}))));
    EXPECT_TRUE(world.wait(world.assets.delete_datastore(ws, "mine")));
    EXPECT_FALSE(world.wait(world.assets.delete_datastore(ws, "workspaceblobstore")));
    EXPECT_EQ(world.wait(world.assets.delete_datastore(ws, "mine")).error().code, Code::NotFound);
    EXPECT_FALSE(world.wait(world.assets.put_datastore(ws, "a-b", Json::object())));
}

TEST(Assets, VersionsAreCounted) {
    World world;
    const std::string ws = world.workspace().id;
    const auto container = [&] { return **world.assets.find_container(ws, "data", "d"); };
    EXPECT_FALSE((*world.assets.find_container(ws, "data", "d")).has_value());
    EXPECT_TRUE(*world.put(ws, "data", "d", "1", Json::object({{"dataUri", "a"}})));
    EXPECT_EQ(container().latest_version, "1");
    EXPECT_EQ(container().next_version, "2");
    EXPECT_TRUE(*world.put(ws, "data", "d", "7", Json::object({{"dataUri", "b"}})));
    EXPECT_EQ(container().next_version, "8");
    EXPECT_TRUE(*world.put(ws, "data", "d", "beta", Json::object({{"dataUri", "c"}})));
    EXPECT_EQ(container().latest_version, "beta");
    EXPECT_EQ(container().next_version, "8");
    EXPECT_TRUE(*world.put(ws, "data", "d", "3", Json::object({{"dataUri", "d"}})));
    EXPECT_EQ(container().next_version, "8");
    const auto versions = *world.assets.list_versions(ws, "data", "d");
    ASSERT_EQ(versions.size(), 4u);
    EXPECT_EQ(versions[0].version, "3") << "newest first";
    EXPECT_EQ(versions[3].version, "1");
    EXPECT_EQ((*world.assets.resolve(ws, "data", "d", "latest"))->version, "3");
    EXPECT_EQ((*world.assets.resolve(ws, "data", "d", "7"))->version, "7");
    EXPECT_FALSE((*world.assets.resolve(ws, "data", "d", "9")).has_value());
    EXPECT_FALSE((*world.assets.resolve(ws, "data", "none", "latest")).has_value());
    EXPECT_TRUE((*world.assets.list_versions(ws, "data", "d2")).empty());
    for (const std::string bad : {"", "a/b", "..", "a b", "-x"})
        EXPECT_FALSE(world.put(ws, "data", bad, "1", Json::object())) << bad;
    EXPECT_FALSE(world.put(ws, "data", "d", "1/2", Json::object()));
}

TEST(Assets, AVersionKeepsWhatIdentifiesIt) {
    World world;
    const std::string ws = world.workspace().id;
    const Json first =
        Json::object({{"image", "i"}, {"condaFile", "c"}, {"tags", Json::object({{"a", "1"}})}});
    EXPECT_TRUE(*world.put(ws, "environments", "e", "1", first));
    const Instant created = (*world.assets.find_version(ws, "environments", "e", "1"))->created;
    const Json same = Json::object({{"condaFile", "c"},
                                    {"image", "i"},
                                    {"build", Json()},
                                    {"isAnonymous", false},
                                    {"osType", "Linux"},
                                    {"tags", Json::object({{"b", "2"}})},
                                    {"description", "d"}});
    EXPECT_FALSE(*world.put(ws, "environments", "e", "1", same));
    const auto saved = *world.assets.find_version(ws, "environments", "e", "1");
    EXPECT_EQ(saved->properties.at("tags").at("b").as_string(), "2");
    EXPECT_EQ(saved->created, created);
    const auto refused = world.put(ws, "environments", "e", "1",
                                   Json::object({{"image", "i"}, {"condaFile", "other"}}));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "ResourceExists");
    EXPECT_EQ(refused.error().code, Code::Conflict);
    // Nothing new, nothing written.
    const std::uint64_t revision = world.store.durable().revision;
    EXPECT_FALSE(*world.put(ws, "environments", "e", "1", same));
    EXPECT_EQ(world.store.durable().revision, revision);
}

TEST(Assets, CodeIsFoundByItsHashInItsWorkspaceOnly) {
    World world;
    const std::string ws = world.workspace().id;
    const std::string other = world.workspace("other").id;
    const Json code =
        Json::object({{"codeUri", "u"}, {"properties", Json::object({{"hash_sha256", "ABC"}})}});
    EXPECT_TRUE(*world.put(ws, "codes", "guid", "1", code));
    EXPECT_EQ((*world.assets.code_by_hash(ws, "abc"))->name, "guid");
    EXPECT_FALSE((*world.assets.code_by_hash(ws, "abd")).has_value());
    EXPECT_FALSE((*world.assets.code_by_hash(other, "abc")).has_value());
    EXPECT_FALSE((*world.assets.code_by_hash(ws, "")).has_value());
}

TEST(Assets, TwoWritersDoNotLoseEachOthersVersion) {
    World world;
    const std::string ws = world.workspace().id;
    AssetVersion one, two;
    one.name = two.name = "d";
    one.version = "1";
    two.version = "2";
    auto first = begin(world.assets.put_version(ws, "data", one));
    auto second = begin(world.assets.put_version(ws, "data", two));
    world.loop.settle();
    ASSERT_TRUE(first.done() && second.done());
    EXPECT_TRUE(**first);
    EXPECT_TRUE(**second);
    EXPECT_EQ((*world.assets.find_container(ws, "data", "d"))->next_version, "3");
    EXPECT_EQ((*world.assets.list_versions(ws, "data", "d")).size(), 2u);
}

}  // namespace
}  // namespace turnout
