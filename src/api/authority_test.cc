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

class SetClock : public Clock {
public:
    Instant now() const override { return at; }
    Span since_boot() const override { return {}; }
    Instant at{1'800'000'000'000'000};
};

// Nodes and jobs go on with the tokens they were given while somebody sets the server's clock.
TEST(Authority, ATokenOutlivesAClockThatIsSetBack) {
    World world;
    SetClock clock;
    const auto authority =
        make_authority(world.store, clock, world.random, make_instance_keys(world.random));
    Principal node;
    node.kind = Principal::Kind::Node;
    node.name = "ws/c/node-1";
    const std::string token = authority->mint(node, "turnout", std::chrono::hours(1)).reveal();
    clock.at.micros -= 48 * 3'600'000'000;
    EXPECT_TRUE(authority->check(token));
    clock.at.micros += 49 * 3'600'000'000;
    EXPECT_FALSE(authority->check(token));
}

}  // namespace
}  // namespace turnout::api
