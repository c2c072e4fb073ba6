#include "client/ignore.h"

#include <optional>

#include "base/text.h"

namespace turnout::client {

bool IgnoreRules::matches_set(const Token& token, char c) {
    bool found = false;
    // pairs: from, to
    for (std::size_t i = 0; i + 1 < token.set.size(); i += 2)
        found = found ||
                (static_cast<unsigned char>(c) >= static_cast<unsigned char>(token.set[i]) &&
                 static_cast<unsigned char>(c) <= static_cast<unsigned char>(token.set[i + 1]));
    return found != token.negated;
}

namespace {
// Bytes of UTF-8 continuation belong to the character before.
std::size_t character_length(std::string_view text, std::size_t at) {
    const std::size_t length = utf8_sequence(text, at);
    return length == 0 ? 1 : length;
}
}  // namespace

bool IgnoreRules::matches(const std::vector<Token>& tokens, std::string_view text) {
    // Which positions of the text can be reached after each token: linear in tokens x text.
    std::vector<char> now(text.size() + 1, 0), next(text.size() + 1, 0);
    now[0] = 1;
    for (const Token& token : tokens) {
        std::fill(next.begin(), next.end(), 0);
        bool any = false;
        const auto reach = [&](std::size_t at) {
            next[at] = 1;
            any = true;
        };
        for (std::size_t at = 0; at <= text.size(); ++at) {
            if (!now[at]) continue;
            const std::string_view rest = text.substr(at);
            switch (token.kind) {
                case Token::Character:
                    if (!rest.empty() && rest[0] == token.character) reach(at + 1);
                    break;
                case Token::AnyOne:
                    if (!rest.empty() && rest[0] != '/') reach(at + character_length(text, at));
                    break;
                case Token::Set:
                    if (!rest.empty() && matches_set(token, rest[0]))
                        reach(at + (token.negated ? character_length(text, at) : 1));
                    break;
                case Token::AnyRun:
                case Token::AnySegment: {
                    if (token.kind == Token::AnyRun) reach(at);
                    for (std::size_t k = at; k < text.size() && text[k] != '/'; ++k) reach(k + 1);
                    break;
                }
                case Token::Everything:
                    for (std::size_t k = at + 1; k <= text.size(); ++k) reach(k);
                    break;
                case Token::Prefix:
                    reach(at);
                    for (std::size_t k = at + 1; k < text.size(); ++k)
                        if (text[k] == '/') reach(k + 1);
                    break;
                case Token::Middle:
                    reach(at);
                    if (!rest.empty() && rest[0] == '/')
                        for (std::size_t k = at + 2; k <= text.size(); ++k) reach(k);
                    break;
                case Token::MaybeBeneath: reach(at); [[fallthrough]];
                case Token::Beneath:
                    if (!rest.empty() && rest[0] == '/') reach(text.size());
                    break;
            }
        }
        if (!any) return false;
        std::swap(now, next);
    }
    return now[text.size()] != 0;
}

bool IgnoreRules::matches(const Pattern& pattern, std::string_view path) {
    if (pattern.shape == Pattern::General) return matches(pattern.tokens, path);
    const std::vector<Token>& tokens = pattern.tokens;
    const auto one = [&](std::string_view segment) {
        // The two commonest without any set-up: a plain name, and `*` before one.
        std::size_t first = tokens.empty() || tokens[0].kind != Token::AnyRun ? 0 : 1;
        for (std::size_t i = first; i < tokens.size(); ++i)
            if (tokens[i].kind != Token::Character) return matches(tokens, segment);
        const std::size_t plain = tokens.size() - first;
        if (first == 0 ? segment.size() != plain : segment.size() < plain) return false;
        const std::string_view tail = segment.substr(segment.size() - plain);
        for (std::size_t i = 0; i < plain; ++i)
            if (tail[i] != tokens[first + i].character) return false;
        return true;
    };
    while (true) {
        const std::size_t slash = path.find('/');
        const bool last = slash == std::string_view::npos;
        if (last && pattern.shape == Pattern::AnyFolderOf) return false;
        if (one(path.substr(0, slash))) return true;
        if (last) return false;
        path.remove_prefix(slash + 1);
    }
}

Result<IgnoreRules::Pattern> IgnoreRules::compile(std::string_view line, const std::string& where,
                                                  bool& nothing) {
    line = trim(line);
    nothing = line.empty() || line[0] == '#' || line == "/";
    Pattern pattern;
    if (nothing) return pattern;
    if (line[0] == '!') {
        pattern.include = false;
        line.remove_prefix(1);
    }
    std::vector<std::string> segments = split(line, '/');
    for (std::size_t i = segments.size() - 1; i > 0; --i)
        if (segments[i] == "**" && segments[i - 1] == "**")
            segments.erase(segments.begin() + static_cast<std::ptrdiff_t>(i));
    if (segments.size() == 2 && segments[0] == "**" && segments[1].empty()) {
        // Everything that is not directly in the root.
        pattern.tokens = {{.kind = Token::Everything}, {.kind = Token::Beneath}};
        return pattern;
    }
    if (segments[0].empty())
        segments.erase(segments.begin());
    else if ((segments.size() == 1 || (segments.size() == 2 && segments[1].empty())) &&
             segments[0] != "**")
        segments.insert(segments.begin(), "**");
    if (segments.empty()) return invalid(where + ": '" + std::string(line) + "' is not a pattern");
    if (segments.back().empty() && segments.size() > 1) segments.back() = "**";

    bool plain_classes = true;
    const auto glob = [&](std::string_view segment, std::vector<Token>& out) -> bool {
        for (std::size_t i = 0; i < segment.size(); ++i) {
            const char c = segment[i];
            if (c == '\\') {
                if (i + 1 == segment.size()) return false;
                out.push_back({.kind = Token::Character, .character = segment[++i]});
            } else if (c == '*') {
                out.push_back({.kind = Token::AnyRun});
            } else if (c == '?') {
                out.push_back({.kind = Token::AnyOne});
            } else if (c == '[') {
                std::size_t j = i + 1;
                if (j < segment.size() && segment[j] == '!') ++j;
                if (j < segment.size() && segment[j] == ']') ++j;
                while (j < segment.size() && segment[j] != ']') ++j;
                if (j >= segment.size()) {
                    out.push_back({.kind = Token::Character, .character = '['});
                    continue;
                }
                Token token{.kind = Token::Set};
                std::size_t k = i + 1;
                if (segment[k] == '!') {
                    token.negated = true;
                    plain_classes = false;
                    ++k;
                }
                while (k < j) {
                    char from = segment[k], to = from;
                    if (k + 2 < j && segment[k + 1] == '-') {
                        to = segment[k + 2];
                        k += 3;
                    } else {
                        ++k;
                    }
                    token.set += from;
                    token.set += to;
                }
                out.push_back(std::move(token));
                i = j;
            } else {
                out.push_back({.kind = Token::Character, .character = c});
            }
        }
        return true;
    };
    const auto broken = [&] {
        return invalid(where + ": '" + std::string(line) +
                       "' ends in a backslash that escapes nothing");
    };

    const std::size_t end = segments.size() - 1;
    // `**/X` and `**/X/**`: one segment of the path.
    const bool any_segment = segments.size() == 2 && segments[0] == "**";
    const bool any_folder = segments.size() == 3 && segments[0] == "**" && segments[2] == "**";
    if ((any_segment || any_folder) && segments[1] != "**" && segments[1] != "*") {
        if (!glob(segments[1], pattern.tokens)) return broken();
        if (plain_classes) {
            pattern.shape = any_folder ? Pattern::AnyFolderOf : Pattern::AnySegmentOf;
            return pattern;
        }
        pattern.tokens.clear();
    }
    bool need_slash = false;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        const std::string& segment = segments[i];
        std::vector<Token>& out = pattern.tokens;
        if (segment == "**") {
            if (i == 0 && i == end) {
                out.push_back({.kind = Token::Everything});
            } else if (i == 0) {
                out.push_back({.kind = Token::Prefix});
                need_slash = false;
            } else if (i == end) {
                out.push_back({.kind = Token::Beneath});
            } else {
                out.push_back({.kind = Token::Middle});
                need_slash = true;
            }
            continue;
        }
        if (need_slash) out.push_back({.kind = Token::Character, .character = '/'});
        if (segment == "*")
            out.push_back({.kind = Token::AnySegment});
        else if (!glob(segment, out))
            return broken();
        if (i == end) out.push_back({.kind = Token::MaybeBeneath});
        need_slash = true;
    }
    return pattern;
}

Result<IgnoreRules> IgnoreRules::parse(std::string_view text, const std::string& name) {
    IgnoreRules rules;
    int number = 0;
    for (const std::string& line : split(text, '\n')) {
        ++number;
        bool nothing = false;
        Pattern pattern = TURNOUT_TRY(compile(line, name + ":" + std::to_string(number), nothing));
        if (nothing) continue;
        rules.has_negation_ = rules.has_negation_ || !pattern.include;
        rules.patterns_.push_back(std::move(pattern));
    }
    return rules;
}

bool IgnoreRules::excludes(std::string_view path) const {
    for (std::size_t i = patterns_.size(); i-- > 0;)
        if (matches(patterns_[i], path)) return patterns_[i].include;
    return false;
}

bool IgnoreRules::excludes_all_beneath(std::string_view folder) const {
    if (has_negation_ || patterns_.empty()) return false;
    // Every pattern that matches "folder/" matches whatever is beneath it: each ends in "/.*",
    // in "(?:/.*)?", or is ".+".
    return excludes(std::string(folder) + "/");
}

}  // namespace turnout::client
