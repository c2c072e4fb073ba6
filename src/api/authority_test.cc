#include "api/authority.h"

#include <gtest/gtest.h>

#include "api/test_world.h"
#include "base/hash.h"
#include "base/text.h"

namespace turnout::api {
namespace {

TEST(Authority, AnApiKeyHoldsAsLongAsItsRecordDoes) {
    World world;
    const std::string key = world.wait(world.authority->create_api_key("ann"))->reveal();
    const std::string row = to_hex(sha256(key));
    for (int i = 0; i < 2; ++i) {
        const auto principal = world.authority->check(key);
        ASSERT_TRUE(principal);
        EXPECT_EQ(principal->name, "ann");
        EXPECT_EQ(principal->kind, Principal::Kind::User);
    }
    Batch changed;
    changed.put(Table::Token, row, R"({"kind":"user","name":"bob"})");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(changed))));
    EXPECT_EQ(world.authority->check(key)->name, "bob");
    Batch gone;
    gone.erase(Table::Token, row);
    ASSERT_TRUE(world.wait(world.store.commit(std::move(gone))));
    for (int i = 0; i < 2; ++i) {
        const auto refused = world.authority->check(key);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::Unauthenticated);
    }
    EXPECT_FALSE(world.authority->check(key + "x"));
}

}  // namespace
}  // namespace turnout::api
