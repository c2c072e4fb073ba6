// SQL's LIKE: % is any text, _ is any one character. Its time grows with the length of the text,
// never with the number of ways in which a pattern might fit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace turnout::api::mlflow {

class LikePattern {
public:
    LikePattern() = default;
    explicit LikePattern(std::string_view pattern);
    bool matches(std::string_view text) const;

private:
    // What stands between two %. It is looked for with one bit for each of its characters: bit i is
    // set while the last i + 1 characters of the text fit its first i + 1.
    struct Piece {
        std::u32string text;
        std::u32string letters;            // that occur in it, sorted
        std::vector<std::uint64_t> where;  // for each letter, and then for all others: its bits
        std::size_t words() const { return (text.size() + 63) / 64; }
    };
    static Piece compile(std::u32string text);
    static bool fits(const Piece& piece, std::u32string_view text);
    // Behind its first place in the text, or npos.
    static std::size_t find(const Piece& piece, std::u32string_view text);

    std::vector<Piece> pieces_;     // one more than there are %
    std::size_t least_length_ = 0;  // of a text that matches
};

}  // namespace turnout::api::mlflow
