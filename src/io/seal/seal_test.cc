#include "io/seal/seal.h"

#include <gtest/gtest.h>

#include <set>

#include "base/hash.h"

namespace turnout {
namespace {

class Counted : public Random {
public:
    std::uint64_t next() override { return ++last_; }
    std::string bytes(std::size_t count) override {
        return sha256(std::to_string(++last_)).substr(0, count);
    }

private:
    std::uint64_t last_ = 0;
};

class Seal : public ::testing::Test {
protected:
    Counted random;
    SealingKeys keys{{make_sealing_key(random)}};
    std::string reason(const SealingKeys& with, const std::string& sealed,
                       const std::string& about) {
        const auto opened = unseal(with, sealed, about);
        return opened ? "" : opened.error().reason;
    }
};

TEST_F(Seal, OpensWhatWasSealedAndNothingElse) {
    for (const std::string& text : {std::string(), std::string("a value"), std::string(30'000, 'x'),
                                    std::string("\0\xff\n", 3)}) {
        const std::string sealed = seal(keys.keys[0], text, "ws/a", random);
        const auto opened = unseal(keys, sealed, "ws/a");
        ASSERT_TRUE(opened) << opened.error().message;
        EXPECT_EQ(opened->reveal(), text);
        EXPECT_EQ(sealed_by(sealed), keys.keys[0].id);
        if (text.size() > 3) {
            EXPECT_EQ(sealed.find(text.substr(0, 4)), std::string::npos);
        }
        EXPECT_EQ(reason(keys, sealed, "ws/b"), "SealBroken") << "it is another one's";
    }
}

TEST_F(Seal, EveryChangedBitAndEveryCutIsNoticed) {
    const std::string sealed = seal(keys.keys[0], "a value", "ws/a", random);
    for (std::size_t i = 0; i < sealed.size() * 8; ++i) {
        std::string changed = sealed;
        changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << i % 8));
        EXPECT_FALSE(unseal(keys, changed, "ws/a")) << "bit " << i;
    }
    for (std::size_t size = 0; size < sealed.size(); ++size)
        EXPECT_FALSE(unseal(keys, sealed.substr(0, size), "ws/a")) << size;
    EXPECT_FALSE(unseal(keys, sealed + "x", "ws/a"));
}

TEST_F(Seal, AKeyThatIsNotThereIsNamedAndOneOfThatIdThatIsAnotherDoesNotOpen) {
    const std::string sealed = seal(keys.keys[0], "a value", "ws/a", random);
    SealingKeys others{{make_sealing_key(random)}};
    EXPECT_EQ(reason(others, sealed, "ws/a"), "SealingKeyMissing");
    others.keys.push_back(keys.keys[0]);
    EXPECT_EQ(reason(others, sealed, "ws/a"), "") << "any of the keys opens";
    others.keys[1].bytes = others.keys[0].bytes;
    EXPECT_EQ(reason(others, sealed, "ws/a"), "SealBroken");
}

TEST_F(Seal, NoTwoNoncesAreTheSame) {
    std::set<std::string> nonces;
    for (int i = 0; i < 1000; ++i)
        nonces.insert(seal(keys.keys[0], "the same", "ws/a", random).substr(9, 12));
    EXPECT_EQ(nonces.size(), 1000u);
}

TEST_F(Seal, KeyFiles) {
    keys.keys.push_back(make_sealing_key(random));
    const auto again = parse_sealing_keys(serialize(keys));
    ASSERT_TRUE(again);
    ASSERT_EQ(again->keys.size(), 2u);
    EXPECT_EQ(again->keys[1].id, keys.keys[1].id);
    EXPECT_EQ(again->keys[1].bytes.reveal(), keys.keys[1].bytes.reveal());
    for (const char* text : {"", "{}", "[]", R"({"keys": []})", R"({"keys": [{"id": "1"}]})",
                             R"({"keys": [{"id": "0123456789abcdef", "key": "AAAA"}]})"})
        EXPECT_FALSE(parse_sealing_keys(text)) << text;
    keys.keys[1].id = keys.keys[0].id;
    EXPECT_FALSE(parse_sealing_keys(serialize(keys))) << "two of one id";
}

}  // namespace
}  // namespace turnout
