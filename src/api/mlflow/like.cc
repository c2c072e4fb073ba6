#include "api/mlflow/like.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

constexpr char32_t kAnyone = U'_';
constexpr char32_t kNoUtf8 = 0x110000;  // and the byte: beyond every character

std::u32string characters_of(std::string_view text) {
    std::u32string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_sequence(text, at);
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
        char32_t character = kNoUtf8 + byte(0);
        if (length == 1) character = byte(0);
        if (length > 1) {
            character = byte(0) & (0xFFu >> (length + 1));
            for (std::size_t i = 1; i < length; ++i) character = character << 6 | (byte(i) & 0x3F);
        }
        out += character;
        at += std::max<std::size_t>(length, 1);
    }
    return out;
}

}  // namespace

LikePattern::LikePattern(std::string_view pattern) {
    std::u32string piece;
    for (const char32_t character : characters_of(pattern)) {
        if (character != U'%') {
            piece += character;
            ++least_length_;
            continue;
        }
        // An empty piece between two % says nothing.
        if (pieces_.empty() || !piece.empty()) pieces_.push_back(compile(std::move(piece)));
        piece.clear();
    }
    pieces_.push_back(compile(std::move(piece)));
}

LikePattern::Piece LikePattern::compile(std::u32string text) {
    Piece piece;
    piece.text = std::move(text);
    piece.letters = piece.text;
    std::sort(piece.letters.begin(), piece.letters.end());
    piece.letters.erase(std::unique(piece.letters.begin(), piece.letters.end()),
                        piece.letters.end());
    const std::size_t words = piece.words();
    piece.where.resize((piece.letters.size() + 1) * words);
    for (std::size_t i = 0; i < piece.text.size(); ++i) {
        const std::uint64_t bit = std::uint64_t{1} << (i % 64);
        for (std::size_t letter = 0; letter <= piece.letters.size(); ++letter)
            if (piece.text[i] == kAnyone ||
                (letter < piece.letters.size() && piece.letters[letter] == piece.text[i]))
                piece.where[letter * words + i / 64] |= bit;
    }
    return piece;
}

bool LikePattern::fits(const Piece& piece, std::u32string_view text) {
    return std::equal(
        piece.text.begin(), piece.text.end(), text.begin(),
        text.begin() + static_cast<std::ptrdiff_t>(piece.text.size()),
        [](char32_t wanted, char32_t found) { return wanted == kAnyone || wanted == found; });
}

std::size_t LikePattern::find(const Piece& piece, std::u32string_view text) {
    const std::size_t words = piece.words();
    const std::uint64_t last = std::uint64_t{1} << ((piece.text.size() - 1) % 64);
    std::vector<std::uint64_t> fitting(words);
    for (std::size_t at = 0; at < text.size(); ++at) {
        auto letter = std::lower_bound(piece.letters.begin(), piece.letters.end(), text[at]);
        if (letter != piece.letters.end() && *letter != text[at]) letter = piece.letters.end();
        const std::uint64_t* where =
            piece.where.data() + static_cast<std::size_t>(letter - piece.letters.begin()) * words;
        std::uint64_t carry = 1;
        for (std::size_t word = 0; word < words; ++word) {
            const std::uint64_t next = fitting[word] >> 63;
            fitting[word] = (fitting[word] << 1 | carry) & where[word];
            carry = next;
        }
        if (fitting[words - 1] & last) return at + 1;
    }
    return std::u32string_view::npos;
}

bool LikePattern::matches(std::string_view bytes) const {
    if (pieces_.empty()) return bytes.empty();
    if (bytes.size() < least_length_) return false;
    const std::u32string characters = characters_of(bytes);
    std::u32string_view text = characters;
    if (text.size() < least_length_) return false;
    const Piece& front = pieces_.front();
    const Piece& back = pieces_.back();
    if (pieces_.size() == 1) return text.size() == least_length_ && fits(front, text);
    if (!fits(front, text) || !fits(back, text.substr(text.size() - back.text.size())))
        return false;
    text.remove_prefix(front.text.size());
    text.remove_suffix(back.text.size());
    for (std::size_t i = 1; i + 1 < pieces_.size(); ++i) {
        const std::size_t behind = find(pieces_[i], text);
        if (behind == std::u32string_view::npos) return false;
        text.remove_prefix(behind);
    }
    return true;
}

}  // namespace turnout::api::mlflow
