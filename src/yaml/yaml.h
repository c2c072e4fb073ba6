// YAML as the rest of the program sees it: a Json value, and where each part of it was written, so
// that an error names file, line and column. The library (yaml-cpp) is in yaml.cc and nowhere else.
//
// Typing of plain scalars: `null ~` and empty are null; `true false yes no on off` in the three
// usual spellings are booleans, as `az ml` reads them (YAML 1.1); decimal and 0x/0o whole numbers
// and decimal fractions are numbers (YAML 1.2). All else, and everything quoted, is text: dates,
// `010`, `1_000` and `12:30` are not numbers. What was written is kept beside a value that is not
// text (`written`), so that `version: 1.10` can be read as the text "1.10".
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout {

struct YamlMark {
    int line = 0;  // from 1; 0 = not from the file
    int column = 0;
    bool operator==(const YamlMark&) const = default;
};

// Parts are named by pointers: "" is the whole, "/inputs/lr" a member, "/a/0" an item; '~' and '/'
// in a key are written ~0 and ~1.
std::string pointer_to(std::string_view parent, std::string_view key);
std::string pointer_to(std::string_view parent, std::size_t index);
std::string parent_of(std::string_view pointer);
// "inputs.lr", "a[0]": for people.
std::string dotted(std::string_view pointer);
// The part, or null if there is none.
const Json* part_at(const Json& root, std::string_view pointer);
Json* part_at(Json& root, std::string_view pointer);

struct YamlDocument {
    std::string file;  // as the user named it
    Json value;
    std::map<std::string, YamlMark> marks;         // of a member: where its key begins
    std::map<std::string, std::string> written;    // plain scalars that were not read as text
    std::map<std::string, std::string> overrides;  // parts that came from elsewhere: "--set a.b=1"

    // The mark of the part, or of the nearest part around it.
    YamlMark mark(std::string_view pointer) const;
    // "job.yml:3:5", or the override it came from.
    std::string place(std::string_view pointer) const;
    // The text of a scalar as it was written; "" for a mapping, list or null.
    std::string text(std::string_view pointer, const Json& value) const;
};

struct YamlLimits {
    std::size_t bytes = 4 << 20;
    std::size_t nodes = 100'000;  // after aliases are expanded
    std::size_t depth = 60;
};

// One document. Duplicate keys, unknown tags, a second document, recursive or exploding aliases are
// refused; `<<` merges are resolved. Every error begins with "file:line:column: ".
Result<YamlDocument> parse_yaml(std::string_view text, std::string file, YamlLimits limits = {});

// One scalar by the rules above: the value of `--set a.b=VALUE`.
Json yaml_scalar(std::string_view text);

// Block style; parse_yaml gives back an equal value.
std::string to_yaml(const Json& value);

}  // namespace turnout
