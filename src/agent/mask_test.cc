// What a log must not show: against the rule said slowly, over generated values, texts and cuts;
// and the forms in which programs write a value.
#include "supervisor/mask.c"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/text.h"

namespace {

struct Free {
    void operator()(mask* m) const { free_mask(m); }
};
using Mask = std::unique_ptr<mask, Free>;

Mask mask_for(const std::vector<std::string>& values) {
    std::string words;
    for (const std::string& value : values)
        words += (words.empty() ? "" : ",") + turnout::to_hex(value);
    return Mask(mask_of(words.c_str()));
}

std::string told(mask* m, const std::vector<std::string>& pieces) {
    buffer out = {};
    for (const std::string& piece : pieces) mask_bytes(m, piece.data(), piece.size(), 0, &out);
    mask_bytes(m, nullptr, 0, 1, &out);
    std::string text(reinterpret_cast<const char*>(out.data), out.size);
    free(out.data);
    return text;
}
std::string told(const std::vector<std::string>& values, const std::string& text) {
    const Mask m = mask_for(values);
    return m ? told(m.get(), {text}) : text;
}

// All that any pattern covers, at once: where one begins and nothing before reaches, there is
// "***".
std::string slowly(const mask& m, const std::string& text) {
    std::string out;
    std::size_t until = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        std::size_t longest = 0;
        for (std::size_t i = 0; i < m.count; ++i) {
            const std::string_view pattern(reinterpret_cast<const char*>(m.patterns[i].bytes),
                                           m.patterns[i].size);
            if (std::string_view(text).substr(at).starts_with(pattern))
                longest = std::max(longest, pattern.size());
        }
        if (longest > 0) {
            if (until <= at) out += "***";
            until = std::max(until, at + longest);
        }
        if (at >= until) out += text[at];
    }
    return out;
}

TEST(Mask, ForAllValuesTextsAndCutsItTellsWhatTheSlowRuleTells) {
    std::mt19937_64 random(4711);
    const auto any = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    const auto letters = [&](std::size_t count, std::size_t kinds) {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text += static_cast<char>('a' + any(kinds));
        return text;
    };
    int masked = 0;
    for (int round = 0; round < 3000; ++round) {
        // Few letters: values that begin and end alike, and overlap themselves and each other.
        const std::size_t kinds = 1 + any(3);
        std::vector<std::string> values;
        for (std::size_t i = 0, n = 1 + any(3); i < n; ++i)
            values.push_back(letters(8 + any(6), kinds));
        std::string text;
        for (std::size_t i = 0, n = any(8); i < n; ++i) {
            const std::string& value = values[any(values.size())];
            switch (any(4)) {
                case 0: text += letters(any(12), kinds + 1); break;
                case 1: text += value; break;
                case 2: text += value.substr(0, any(value.size())); break;
                default: text += value.substr(any(value.size())); break;
            }
        }
        const Mask m = mask_for(values);
        const std::string expected = slowly(*m, text);
        masked += expected != text;
        std::vector<std::string> pieces;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t size = 1 + any(any(2) == 0 ? 3 : text.size());
            pieces.push_back(text.substr(at, size));
            at += pieces.back().size();
        }
        ASSERT_EQ(told(m.get(), pieces), expected) << "round " << round << ": " << text;
    }
    EXPECT_GT(masked, 1000);
}

TEST(Mask, NothingOfAValueIsToldBeforeItsEnd) {
    const std::string value = "0123456789abcdef";
    for (std::size_t cut = 0; cut <= value.size(); ++cut) {
        const Mask m = mask_for({value});
        buffer out = {};
        const std::string first = "x" + value.substr(0, cut);
        mask_bytes(m.get(), first.data(), first.size(), 0, &out);
        const std::string so_far(reinterpret_cast<const char*>(out.data), out.size);
        EXPECT_EQ(so_far, cut == value.size() ? "x***" : "x");
        free(out.data);
    }
    // What turns out to be none is told as it was.
    EXPECT_EQ(told(mask_for({value}).get(), {"0123456789abcde", "X", "012"}),
              "0123456789abcdeX012");
}

TEST(Mask, TheFormsInWhichProgramsWriteAValue) {
    const std::string value = "s3cr3t+/ t0k3n&?ä";
    EXPECT_EQ(told({value}, "a " + value + " b"), "a *** b");
    EXPECT_EQ(told({value}, turnout::to_base64(value) + "\n").find(turnout::to_base64(value)),
              std::string::npos);
    EXPECT_EQ(told({value}, "q=" + turnout::percent_encode(value) + "&x"), "q=***&x");
    // As a part of a longer text that is encoded, such as "user:password".
    for (const std::string before : {"", "u", "us", "use", "user:"})
        for (const std::string after : {"", "\n", "xy"}) {
            const std::string encoded = turnout::to_base64(before + value + after);
            const std::string out = told({value}, encoded);
            EXPECT_NE(out.find("***"), std::string::npos) << before << after;
            // Of its edges one or two bytes are told together with what is around it.
            EXPECT_LT(out.size(), turnout::to_base64(before + after).size() + 12) << out;
        }
}

TEST(Mask, ValuesOfSeveralLinesAreHiddenLineByLine) {
    const std::string key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\n  indented line  \nshort\n";
    EXPECT_EQ(told({key}, key), "***");
    EXPECT_EQ(told({key}, "> MIIEpAIBAAKCAQEA7\r\n> indented line\n> short\n"),
              "> ***\r\n> ***\n> short\n");
    EXPECT_EQ(told({"a value and its line break\n"}, "[a value and its line break]"), "[***]");
}

TEST(Mask, ShortValuesAndWhatIsNoHexAreLeftOut) {
    EXPECT_EQ(mask_for({"1234567"}), nullptr);
    EXPECT_EQ(mask_for({}), nullptr);
    EXPECT_EQ(Mask(mask_of("zz,6,,")), nullptr);
    EXPECT_EQ(told({"short", "a longer value"}, "short, a longer value"), "short, ***");
    std::string binary("\0\1\2\3\xff\xfe\0\7", 8);
    EXPECT_EQ(told({binary}, "<" + binary + ">"), "<***>");
}

}  // namespace
