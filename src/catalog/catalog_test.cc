#include "catalog/catalog.h"

#include <gtest/gtest.h>

#include "store/memory/memory_store.h"
#include "store/test_world.h"

namespace turnout {
namespace {

struct CatalogWorld {
    ManualLoop loop;
    CountingRandom random;
    MemoryStore store{loop};
    Catalog assets{store, loop, random};

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

TEST(Catalog, WorkspaceComesWithItsDatastores) {
    CatalogWorld world;
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
    Catalog other(world.store, world.loop, world.random);
    EXPECT_EQ((*other.find_workspace("s", "rg", "ws"))->guid, made.guid);
}

TEST(Catalog, AWorkspaceThatWasNotSavedIsNotThere) {
    CatalogWorld world;
    world.store.fail_next({Code::ResourceExhausted, "DiskFull", "the disk is full", "", nullptr});
    Workspace wanted;
    wanted.subscription = "s";
    wanted.resource_group = "rg";
    wanted.name = "ws";
    EXPECT_FALSE(world.wait(world.assets.create_workspace(wanted)));
    EXPECT_FALSE((*world.assets.find_workspace("s", "rg", "ws")).has_value());
}

TEST(Catalog, OneDatastoreIsTheDefault) {
    CatalogWorld world;
    const std::string ws = world.workspace().id;
    const auto is_default = [&](const std::string& name) {
        return (*world.assets.find_datastore(ws, name))->at("isDefault").as_bool();
    };
    EXPECT_TRUE(*world.wait(world.assets.put_single(
        ws, "datastores", "mine", Json::object({{"containerName", "c"}, {"isDefault", true}}))));
    EXPECT_TRUE(is_default("mine"));
    EXPECT_FALSE(is_default("workspaceblobstore"));
    EXPECT_FALSE(*world.wait(
        world.assets.put_single(ws, "datastores", "mine", Json::object({{"containerName", "c"}}))));
    EXPECT_TRUE(is_default("mine")) << "until another is";
    EXPECT_FALSE(world.wait(world.assets.delete_single(ws, "datastores", "mine")));
    EXPECT_TRUE(world.wait(
        world.assets.put_single(ws, "datastores", "workspaceblobstore",
                                Json::object({{"containerName", "c"}, {"isDefault", true}}))));
    EXPECT_TRUE(world.wait(world.assets.delete_single(ws, "datastores", "mine")));
    EXPECT_FALSE(world.wait(world.assets.delete_single(ws, "datastores", "workspaceblobstore")));
    EXPECT_EQ(world.wait(world.assets.delete_single(ws, "datastores", "mine")).error().code,
              Code::NotFound);
    EXPECT_FALSE(world.wait(world.assets.put_single(ws, "datastores", "a-b", Json::object())));
}

TEST(Catalog, VersionsAreCounted) {
    CatalogWorld world;
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

TEST(Catalog, AVersionKeepsWhatIdentifiesIt) {
    CatalogWorld world;
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

TEST(Catalog, CodeIsFoundByItsHashInItsWorkspaceOnly) {
    CatalogWorld world;
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

TEST(Catalog, TwoWritersDoNotLoseEachOthersVersion) {
    CatalogWorld world;
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

TEST(Catalog, ManyWritersAllGetThrough) {
    CatalogWorld world;
    const Workspace ws = world.workspace();
    using Put = decltype(begin(world.assets.put_version(ws.id, "data", AssetVersion{})));
    std::vector<Put> puts;
    for (int i = 1; i <= 40; ++i) {
        AssetVersion version;
        version.name = "d";
        version.version = std::to_string(i);
        puts.push_back(begin(world.assets.put_version(ws.id, "data", version)));
    }
    auto words = begin(world.assets.update_workspace(
        "s", "rg", "WS", [](Workspace& now) { now.description = "words"; }));
    auto friendly = begin(world.assets.update_workspace("S", "Rg", "ws", [](Workspace& now) {
        now.friendly_name = "Ws";
        now.id = "stays";
    }));
    auto nobody = begin(world.assets.update_workspace("S", "Rg", "none", [](Workspace&) {}));
    world.loop.settle();
    for (const Put& put : puts) EXPECT_TRUE(put.done() && **put);
    EXPECT_EQ((*world.assets.list_versions(ws.id, "data", "d")).size(), 40u);
    EXPECT_EQ((*world.assets.find_container(ws.id, "data", "d"))->next_version, "41");
    ASSERT_TRUE(words.done() && friendly.done() && nobody.done());
    EXPECT_EQ((*nobody).error().code, Code::NotFound);
    const Workspace kept = **world.assets.find_workspace("s", "rg", "ws");
    EXPECT_EQ(kept.description + "/" + kept.friendly_name + "/" + kept.id, "words/Ws/" + ws.id);
}

// A kind that no row tells of: what the next one costs here is nothing.
TEST(Catalog, AKindOfItsOwnIsKeptLikeAllOthers) {
    CatalogWorld world;
    const std::string ws = world.workspace().id;
    EXPECT_TRUE(*world.put(ws, "recipes", "soup", "1", Json::object({{"salt", 1}})));
    EXPECT_TRUE(*world.put(ws, "recipes", "soup", "2", Json::object({{"salt", 2}})));
    EXPECT_EQ((*world.assets.resolve(ws, "recipes", "soup", "latest"))->version, "2");
    const auto changed = [&](const std::string& version, const std::string& changes) {
        const auto done =
            world.wait(world.assets.update(ws, "recipes", "soup", version, *parse_json(changes)));
        return done ? "" : done.error().message;
    };
    EXPECT_EQ(changed("1", R"({"tags": {"a": "b"}, "isArchived": true})"), "");
    EXPECT_TRUE((*world.assets.find_version(ws, "recipes", "soup", "1"))->archived);
    EXPECT_EQ(changed("1", R"({"salt": 3})"),
              "properties.salt: of recipes only description, tags and isArchived can change");
    EXPECT_EQ(changed("", R"({"tags": {"a": ["b"]}})"), "tags.a: expected a text, found [\"b\"]");
    EXPECT_EQ(changed("", R"({"description": "words", "isArchived": true})"), "");
    EXPECT_TRUE((*world.assets.find_container(ws, "recipes", "soup"))->archived);
    EXPECT_EQ(world.put(ws, "recipes", "soup", "1", Json::object({{"salt", 9}})).error().message,
              "recipes 'soup' has a version '1' with another definition, which stays as it is: "
              "choose another version");
    EXPECT_EQ(*world.wait(world.assets.delete_container(ws, "recipes", "soup")), 2u);
    EXPECT_TRUE((*world.assets.list_containers(ws, "recipes")).empty());
}

TEST(Catalog, AKindWithoutVersionsToo) {
    CatalogWorld world;
    const std::string ws = world.workspace().id, other = world.workspace("other").id;
    const auto put = [&](const std::string& name, int salt) {
        return world.wait(
            world.assets.put_single(ws, "notes", name, Json::object({{"salt", salt}})));
    };
    EXPECT_TRUE(*put("a", 1));
    EXPECT_TRUE(*put("b", 2));
    const std::int64_t created =
        (*world.assets.find_single(ws, "notes", "a"))->at("created").as_int();
    world.loop.pass(1s);
    EXPECT_FALSE(*put("a", 3));
    const Json kept = **world.assets.find_single(ws, "notes", "a");
    EXPECT_EQ(kept.at("salt").as_int(), 3);
    EXPECT_EQ(kept.at("created").as_int(), created);
    EXPECT_EQ((*world.assets.list_singles(ws, "notes")).size(), 2u);
    EXPECT_EQ((*world.assets.list_singles(ws, "datastores")).size(), 2u) << "another kind";
    EXPECT_TRUE((*world.assets.list_singles(other, "notes")).empty());
    EXPECT_EQ(put("a b", 1).error().message,
              "notes 'a b': expected 1 to 255 letters, digits, '.', '_' and '-', beginning with a "
              "letter, a digit or '_'");
    EXPECT_TRUE(world.wait(world.assets.delete_single(ws, "notes", "a")));
    EXPECT_EQ(world.wait(world.assets.delete_single(ws, "notes", "a")).error().code,
              Code::NotFound);
}

}  // namespace
}  // namespace turnout
