#include <gtest/gtest.h>

#include "base/text.h"
#include "blob/blobs.h"

namespace turnout {
namespace {

const Instant kNow{1'700'000'000'000'000};
const std::string kKey = "0123456789abcdef";
const SasGrant kGrant{"box", "Local Upload/ä&=%/x", "rl", kNow + 1h};

auto parsed(std::string_view query) {
    return *parse_query(query);
}

TEST(Sas, ComesBackAsItWasGranted) {
    const auto grant = verify_sas(kKey, parsed(sign_sas(kKey, kGrant)), kNow);
    ASSERT_TRUE(grant) << grant.error().message;
    EXPECT_EQ(grant->container, kGrant.container);
    EXPECT_EQ(grant->prefix, kGrant.prefix);
    EXPECT_EQ(grant->permissions, kGrant.permissions);
    EXPECT_EQ(grant->expires, kGrant.expires);
    EXPECT_TRUE(
        verify_sas(kKey, parsed("comp=block&" + sign_sas(kKey, kGrant) + "&blockid=x"), kNow));
}

TEST(Sas, ExpiredForeignOrTamperedIsRefused) {
    const auto pairs = parsed(sign_sas(kKey, kGrant));
    EXPECT_TRUE(verify_sas(kKey, pairs, kNow + 1h - 1us));
    EXPECT_FALSE(verify_sas(kKey, pairs, kNow + 1h));
    EXPECT_FALSE(verify_sas("another key", pairs, kNow));
    EXPECT_FALSE(verify_sas(kKey, {}, kNow));
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        auto changed = pairs;
        changed[i].second += "w";
        EXPECT_FALSE(verify_sas(kKey, changed, kNow)) << pairs[i].first;
        auto without = pairs;
        without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(verify_sas(kKey, without, kNow)) << pairs[i].first;
        auto twice = pairs;
        twice.push_back({pairs[i].first, "other"});
        EXPECT_FALSE(verify_sas(kKey, twice, kNow)) << pairs[i].first;
    }
    auto longer = pairs;
    for (auto& [name, value] : longer)
        if (name == "se") value = to_iso8601(kNow + 48h);
    EXPECT_FALSE(verify_sas(kKey, longer, kNow));
    // A line break must not move text from one field into the next.
    SasGrant tricky = kGrant;
    tricky.permissions = "r\n2030-01-01T00:00:00.000000Z";
    EXPECT_FALSE(verify_sas(kKey, parsed(sign_sas(kKey, tricky)), kNow));
}

TEST(Sas, ForWhomItIsIsSigned) {
    SasGrant grant = kGrant;
    grant.holder = "user/ann/0123";
    grant.action = "a/read";
    const auto pairs = parsed(sign_sas(kKey, grant));
    const auto back = verify_sas(kKey, pairs, kNow);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->holder, grant.holder);
    EXPECT_EQ(back->action, grant.action);
    for (const std::string name : {"skoid", "scid"}) {
        auto changed = pairs, without = pairs, added = parsed(sign_sas(kKey, kGrant));
        for (auto& [key, value] : changed)
            if (key == name) value = "user/bob/";
        std::erase_if(without, [&](const auto& pair) { return pair.first == name; });
        added.emplace_back(name, "");
        for (const auto& wrong : {changed, without, added})
            EXPECT_FALSE(verify_sas(kKey, wrong, kNow)) << name;
    }
    auto nobody = pairs;
    std::erase_if(nobody, [](const auto& pair) {
        return pair.first.starts_with("sk") || pair.first == "scid";
    });
    EXPECT_FALSE(verify_sas(kKey, nobody, kNow));
    EXPECT_TRUE(verify_sas(kKey, parsed(sign_sas(kKey, kGrant)), kNow));
}

TEST(Sas, AllowsItsPrefixOnly) {
    const SasGrant grant{"box", "a/b", "rw", kNow};
    EXPECT_TRUE(allows(grant, "box", "a/b", 'r'));
    EXPECT_TRUE(allows(grant, "box", "a/b/c", 'w'));
    EXPECT_FALSE(allows(grant, "box", "a/bc", 'r'));
    EXPECT_FALSE(allows(grant, "box", "a", 'r'));
    EXPECT_FALSE(allows(grant, "box", "a/b", 'd'));
    EXPECT_FALSE(allows(grant, "bo", "a/b", 'r'));
    EXPECT_TRUE(allows({"box", "", "l", kNow}, "box", "anything", 'l'));
    EXPECT_TRUE(allows({"box", "a/", "l", kNow}, "box", "a/x", 'l'));
}

}  // namespace
}  // namespace turnout
