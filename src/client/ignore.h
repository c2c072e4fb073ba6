// `.amlignore` and `.gitignore` as Azure's SDK reads them, so that the CLI and the SDK take the
// same files into a snapshot: only the file in the root folder counts, `.amlignore` wins over
// `.gitignore`, each path is matched on its own, and the last pattern that matches decides.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::client {

class IgnoreRules {
public:
    IgnoreRules() = default;
    // `name` is for error messages. A pattern that ends in a lone backslash is refused.
    static Result<IgnoreRules> parse(std::string_view text, const std::string& name);

    bool empty() const { return patterns_.empty(); }
    // `path` is relative to the root, with '/'.
    bool excludes(std::string_view path) const;
    // Nothing beneath this folder can be included: it need not be visited.
    bool excludes_all_beneath(std::string_view folder) const;

private:
    struct Token {
        enum Kind : std::uint8_t {
            Character,    // this one
            AnyOne,       // [^/]
            AnyRun,       // [^/]*
            AnySegment,   // [^/]+
            Set,          // one of, or none of (which may be '/')
            Everything,   // .+
            Prefix,       // (?:.+/)?
            Middle,       // (?:/.+)?
            Beneath,      // /.*
            MaybeBeneath  // (?:/.*)?
        } kind;
        char character = 0;
        bool negated = false;
        std::string set{};  // characters, and ranges as pairs, see matches_set
    };
    struct Pattern {
        bool include = true;
        std::vector<Token> tokens;
        // For the usual patterns, `name`, `*.ext` and `name/`, which match any one segment of the
        // path: then `tokens` holds the segment alone.
        enum Shape : std::uint8_t { General, AnySegmentOf, AnyFolderOf } shape = General;
    };

    static Result<Pattern> compile(std::string_view line, const std::string& where, bool& nothing);
    static bool matches_set(const Token& token, char c);
    static bool matches(const std::vector<Token>& tokens, std::string_view text);
    static bool matches(const Pattern& pattern, std::string_view path);

    std::vector<Pattern> patterns_;
    bool has_negation_ = false;
};

}  // namespace turnout::client
