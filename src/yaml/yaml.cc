#include "yaml/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "base/text.h"

namespace turnout {

namespace {

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), text) != words.end();
}

bool all_in(std::string_view text, std::string_view characters) {
    return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

std::optional<Json> whole_number(std::string_view text) {
    std::string_view digits = text;
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    int base = 10;
    std::string_view alphabet = "0123456789";
    if (digits.starts_with("0x")) {
        base = 16, alphabet = "0123456789abcdefABCDEF";
        digits.remove_prefix(2);
    } else if (digits.starts_with("0o")) {
        base = 8, alphabet = "01234567";
        digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
        return std::nullopt;  // octal to YAML 1.1, decimal to 1.2: text
    }
    if (!all_in(digits, alphabet)) return std::nullopt;
    const std::string signed_digits = (negative ? "-" : "") + std::string(digits);
    std::int64_t value = 0;
    const char* end = signed_digits.data() + signed_digits.size();
    const auto read = std::from_chars(signed_digits.data(), end, value, base);
    if (read.ec == std::errc() && read.ptr == end) return Json(value);
    if (base != 10) return std::nullopt;
    double large = 0;
    std::from_chars(signed_digits.data(), end, large);
    return std::isfinite(large) && large != 0 ? std::optional<Json>(large) : std::nullopt;
}

std::optional<Json> fraction(std::string_view text) {
    std::string_view rest = text;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    if (one_of(rest, {".inf", ".Inf", ".INF"}))
        return Json(negative ? -std::numeric_limits<double>::infinity()
                             : std::numeric_limits<double>::infinity());
    if (one_of(text, {".nan", ".NaN", ".NAN"}))
        return Json(std::numeric_limits<double>::quiet_NaN());
    // digits [. digits] [e[+-]digits], with a digit somewhere before the exponent
    const std::size_t e = rest.find_first_of("eE");
    const std::string_view mantissa = rest.substr(0, e);
    const std::size_t point = mantissa.find('.');
    if (point == std::string_view::npos && e == std::string_view::npos) return std::nullopt;
    const std::string_view before = mantissa.substr(0, point);
    const std::string_view after =
        point == std::string_view::npos ? std::string_view() : mantissa.substr(point + 1);
    const std::string_view digits = "0123456789";
    if (before.empty() && after.empty()) return std::nullopt;
    if (!before.empty() && !all_in(before, digits)) return std::nullopt;
    if (!after.empty() && !all_in(after, digits)) return std::nullopt;
    if (e != std::string_view::npos) {
        std::string_view power = rest.substr(e + 1);
        if (power.starts_with('-') || power.starts_with('+')) power.remove_prefix(1);
        if (!all_in(power, digits)) return std::nullopt;
    }
    const std::string signed_text = (negative ? "-" : "") + std::string(rest);
    double value = 0;
    const auto read =
        std::from_chars(signed_text.data(), signed_text.data() + signed_text.size(), value);
    if (read.ec != std::errc()) return std::nullopt;
    return Json(value);
}

Failure failure_at(const std::string& file, YamlMark mark, std::string message,
                   std::string subject = {}) {
    return fail(Code::InvalidArgument, "InvalidYaml",
                file + ":" + std::to_string(mark.line) + ":" + std::to_string(mark.column) + ": " +
                    std::move(message),
                std::move(subject));
}

YamlMark to_mark(const YAML::Mark& mark) {
    return {mark.line + 1, mark.column + 1};
}

// Stops yaml-cpp from inside its events; never leaves this file.
struct Refusal {
    YamlMark mark;
    std::string message;
};

// Moves the entries of `map` beneath `from` (and `from` itself) to beneath `to`.
template <class Value>
void copy_beneath(std::map<std::string, Value>& map, const std::string& from,
                  const std::string& to) {
    std::vector<std::pair<std::string, Value>> found;
    for (auto it = map.lower_bound(from); it != map.end() && it->first.starts_with(from); ++it)
        if (it->first.size() == from.size() || it->first[from.size()] == '/')
            found.emplace_back(to + it->first.substr(from.size()), it->second);
    for (auto& [pointer, value] : found) map.insert_or_assign(std::move(pointer), std::move(value));
}

template <class Value>
void erase_beneath(std::map<std::string, Value>& map, const std::string& from) {
    for (auto it = map.lower_bound(from); it != map.end() && it->first.starts_with(from);) {
        if (it->first.size() == from.size() || it->first[from.size()] == '/')
            it = map.erase(it);
        else
            ++it;
    }
}

std::size_t count_nodes(const Json& value) {
    std::size_t count = 1;
    for (const auto& [key, member] : value.members()) count += count_nodes(member);
    for (const Json& item : value.items()) count += count_nodes(item);
    return count;
}

std::size_t depth_of(const Json& value) {
    std::size_t deepest = 0;
    for (const auto& [key, member] : value.members()) deepest = std::max(deepest, depth_of(member));
    for (const Json& item : value.items()) deepest = std::max(deepest, depth_of(item));
    return deepest + 1;
}

class Builder : public YAML::EventHandler {
public:
    Builder(YamlDocument& document, YamlLimits limits) : document_(document), limits_(limits) {}

    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        if (wants_key()) {
            take_key(to_mark(mark), "null", true);
            return;
        }
        add(to_mark(mark), Json(), anchor);
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        const YamlMark here = to_mark(mark);
        const auto found = anchors_.find(anchor);
        if (found == anchors_.end())
            throw Refusal{here, "this alias is inside the value that it names: it would never end"};
        const Anchored& anchored = found->second;
        if (wants_key()) throw Refusal{here, "a key must be text, not an alias"};
        count(here, anchored.nodes);
        if (open_.size() + anchored.depth > limits_.depth)
            throw Refusal{here, "nested deeper than " + std::to_string(limits_.depth) + " levels"};
        const std::string pointer = next_pointer();
        for (const auto& [beneath, text] : anchored.written)
            document_.written.insert_or_assign(pointer + beneath, text);
        place_value(here, anchored.value);
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        const YamlMark here = to_mark(mark);
        if (wants_key()) {
            take_key(here, value, tag == "?" || tag.empty());
            return;
        }
        add(here, typed(here, tag, value), anchor);
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        begin(to_mark(mark), tag, "seq", anchor, false);
    }
    void OnSequenceEnd() override { end(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        begin(to_mark(mark), tag, "map", anchor, true);
    }
    void OnMapEnd() override {
        merge();
        end();
    }

private:
    struct Open {
        bool is_map = false;
        Json value{};
        std::string pointer{};
        YamlMark mark{};
        YAML::anchor_t anchor = 0;
        bool has_key = false;
        std::string key{};
        bool key_is_merge = false;
        YamlMark key_mark{};
        std::map<std::string, int> lines{};  // of the keys
        std::optional<Json> merged{};
    };
    struct Anchored {
        Json value;
        std::map<std::string, std::string> written;  // pointers relative to it
        std::size_t nodes = 1;
        std::size_t depth = 1;
    };

    static constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

    bool wants_key() const {
        return !open_.empty() && open_.back().is_map && !open_.back().has_key;
    }

    std::string next_pointer() const {
        if (open_.empty()) return "";
        const Open& top = open_.back();
        return top.is_map ? pointer_to(top.pointer, top.key_is_merge ? "<<" : top.key)
                          : pointer_to(top.pointer, top.value.items().size());
    }

    void count(YamlMark here, std::size_t more) {
        nodes_ += more;
        if (nodes_ > limits_.nodes)
            throw Refusal{here, "holds more than " +
                                    with_commas(static_cast<std::int64_t>(limits_.nodes)) +
                                    " values once its aliases are expanded"};
    }

    void take_key(YamlMark here, const std::string& key, bool plain) {
        Open& top = open_.back();
        if (key.empty()) throw Refusal{here, "a key is missing before ':'"};
        const auto [before, fresh] = top.lines.emplace(key, here.line);
        if (!fresh)
            throw Refusal{here, "key '" + key + "' is given twice: first in line " +
                                    std::to_string(before->second) + ", again in line " +
                                    std::to_string(here.line)};
        top.has_key = true;
        top.key = key;
        top.key_mark = here;
        top.key_is_merge = plain && key == "<<";
    }

    Json typed(YamlMark here, const std::string& tag, const std::string& value) {
        if (tag == "!") return Json(value);
        if (tag == "?" || tag.empty()) {
            Json scalar = yaml_scalar(value);
            if (!scalar.is_string()) document_.written.insert_or_assign(next_pointer(), value);
            return scalar;
        }
        if (tag == std::string(kTagPrefix) + "str") return Json(value);
        if (!tag.starts_with(kTagPrefix) || !one_of(std::string_view(tag).substr(kTagPrefix.size()),
                                                    {"int", "float", "bool", "null"}))
            throw Refusal{here,
                          "the tag '" + tag + "' is not supported: write a plain or quoted value"};
        Json scalar = yaml_scalar(value);
        if (scalar.is_string())
            throw Refusal{here, "'" + value + "' is not a value of the tag '" + tag + "'"};
        return scalar;
    }

    void begin(YamlMark here, const std::string& tag, std::string_view expected,
               YAML::anchor_t anchor, bool is_map) {
        if (wants_key()) throw Refusal{here, "a key must be text, not a mapping or list"};
        if (!tag.empty() && tag != "?" && tag != "!" &&
            tag != std::string(kTagPrefix) + std::string(expected))
            throw Refusal{here, "the tag '" + tag + "' is not supported"};
        if (open_.size() >= limits_.depth)
            throw Refusal{here, "nested deeper than " + std::to_string(limits_.depth) + " levels"};
        count(here, 1);
        Open open;
        open.is_map = is_map;
        open.value = is_map ? Json::object() : Json::array();
        open.pointer = next_pointer();
        open.mark = here;
        open.anchor = anchor;
        open_.push_back(std::move(open));
    }

    void end() {
        Open done = std::move(open_.back());
        open_.pop_back();
        remember(done.anchor, done.pointer, done.value);
        place_value(done.mark, std::move(done.value));
    }

    void add(YamlMark here, Json value, YAML::anchor_t anchor) {
        count(here, 1);
        remember(anchor, next_pointer(), value);
        place_value(here, std::move(value));
    }

    void remember(YAML::anchor_t anchor, const std::string& pointer, const Json& value) {
        if (anchor == 0) return;
        Anchored anchored{
            .value = value, .written = {}, .nodes = count_nodes(value), .depth = depth_of(value)};
        std::map<std::string, std::string>& written = document_.written;
        for (auto it = written.lower_bound(pointer);
             it != written.end() && it->first.starts_with(pointer); ++it)
            if (it->first.size() == pointer.size() || it->first[pointer.size()] == '/')
                anchored.written.emplace(it->first.substr(pointer.size()), it->second);
        anchors_.insert_or_assign(anchor, std::move(anchored));
    }

    void place_value(YamlMark here, Json value) {
        if (open_.empty()) {
            document_.value = std::move(value);
            document_.marks.insert_or_assign("", here);
            return;
        }
        Open& top = open_.back();
        if (!top.is_map) {
            document_.marks.insert_or_assign(pointer_to(top.pointer, top.value.items().size()),
                                             here);
            top.value.push(std::move(value));
            return;
        }
        top.has_key = false;
        if (top.key_is_merge) {
            document_.marks.insert_or_assign(pointer_to(top.pointer, "<<"), top.key_mark);
            top.merged = std::move(value);
            return;
        }
        document_.marks.insert_or_assign(pointer_to(top.pointer, top.key), top.key_mark);
        top.value.members().emplace_back(top.key, std::move(value));
    }

    // Members of `<<` that the mapping does not have itself.
    void merge() {
        Open& top = open_.back();
        if (!top.merged) return;
        const std::string from = pointer_to(top.pointer, "<<");
        const YamlMark mark = document_.marks[from];
        const auto take = [&](const Json& source, const std::string& pointer) {
            if (!source.is_object())
                throw Refusal{mark, "'<<' takes a mapping or a list of mappings"};
            for (const auto& [key, member] : source.members()) {
                if (top.value.has(key)) continue;
                const std::string to = pointer_to(top.pointer, key);
                document_.marks.insert_or_assign(to, mark);
                copy_beneath(document_.marks, pointer_to(pointer, key), to);
                copy_beneath(document_.written, pointer_to(pointer, key), to);
                top.value.members().emplace_back(key, member);
            }
        };
        if (top.merged->is_array()) {
            const Json::Array& items = std::as_const(*top.merged).items();
            for (std::size_t i = 0; i < items.size(); ++i) take(items[i], pointer_to(from, i));
        } else {
            take(*top.merged, from);
        }
        erase_beneath(document_.marks, from);
        erase_beneath(document_.written, from);
    }

    YamlDocument& document_;
    YamlLimits limits_;
    std::vector<Open> open_;
    std::map<YAML::anchor_t, Anchored> anchors_;
    std::size_t nodes_ = 0;
};

}  // namespace

std::string pointer_to(std::string_view parent, std::string_view key) {
    std::string out(parent);
    out += '/';
    for (const char c : key) {
        if (c == '~')
            out += "~0";
        else if (c == '/')
            out += "~1";
        else
            out += c;
    }
    return out;
}

std::string pointer_to(std::string_view parent, std::size_t index) {
    return std::string(parent) + "/" + std::to_string(index);
}

std::string parent_of(std::string_view pointer) {
    const std::size_t slash = pointer.rfind('/');
    return slash == std::string_view::npos ? std::string() : std::string(pointer.substr(0, slash));
}

namespace {
std::vector<std::string> parts_of(std::string_view pointer) {
    std::vector<std::string> parts;
    if (pointer.empty()) return parts;
    for (std::string& part : split(pointer.substr(1), '/')) {
        std::string plain;
        for (std::size_t i = 0; i < part.size(); ++i) {
            if (part[i] == '~' && i + 1 < part.size())
                plain += part[++i] == '1' ? '/' : '~';
            else
                plain += part[i];
        }
        parts.push_back(std::move(plain));
    }
    return parts;
}
}  // namespace

std::string dotted(std::string_view pointer) {
    std::string out;
    for (const std::string& part : parts_of(pointer)) {
        if (all_in(part, "0123456789")) {
            out += "[" + part + "]";
        } else {
            if (!out.empty()) out += '.';
            out += part;
        }
    }
    return out;
}

const Json* part_at(const Json& root, std::string_view pointer) {
    const Json* here = &root;
    for (const std::string& part : parts_of(pointer)) {
        if (here->is_array()) {
            std::size_t index = 0;
            const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
            if (read.ec != std::errc() || index >= here->items().size()) return nullptr;
            here = &here->items()[index];
        } else if (const Json* member = here->find(part)) {
            here = member;
        } else {
            return nullptr;
        }
    }
    return here;
}

Json* part_at(Json& root, std::string_view pointer) {
    return const_cast<Json*>(part_at(std::as_const(root), pointer));
}

YamlMark YamlDocument::mark(std::string_view pointer) const {
    std::string here(pointer);
    while (true) {
        if (const auto found = marks.find(here); found != marks.end()) return found->second;
        if (here.empty()) return {};
        here = parent_of(here);
    }
}

std::string YamlDocument::place(std::string_view pointer) const {
    for (std::string here(pointer);; here = parent_of(here)) {
        if (const auto found = overrides.find(here); found != overrides.end()) return found->second;
        if (marks.contains(here) || here.empty()) break;
    }
    const YamlMark at = mark(pointer);
    if (at.line == 0) return file;
    return file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

std::string YamlDocument::text(std::string_view pointer, const Json& scalar) const {
    if (scalar.is_string()) return scalar.as_string();
    if (scalar.is_null() || scalar.is_object() || scalar.is_array()) return {};
    if (const auto found = written.find(std::string(pointer)); found != written.end())
        return found->second;
    return scalar.dump();
}

Json yaml_scalar(std::string_view text) {
    if (text.empty() || one_of(text, {"~", "null", "Null", "NULL"})) return {};
    if (one_of(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
    if (one_of(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}))
        return false;
    if (std::optional<Json> number = whole_number(text)) return *number;
    if (std::optional<Json> number = fraction(text)) return *number;
    return Json(text);
}

Result<YamlDocument> parse_yaml(std::string_view text, std::string file, YamlLimits limits) {
    YamlDocument document;
    document.file = std::move(file);
    if (text.size() > limits.bytes)
        return fail(Code::InvalidArgument, "InvalidYaml",
                    document.file + ": is larger than " + to_size_words(limits.bytes));
    if (!is_utf8(text))
        return fail(Code::InvalidArgument, "InvalidYaml",
                    document.file + ": is not UTF-8 text: save it as UTF-8");
    if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
        return fail(Code::InvalidArgument, "InvalidYaml",
                    document.file + ": holds a NUL character");
    try {
        std::istringstream stream{std::string(text)};
        YAML::Parser parser(stream);
        Builder builder(document, limits);
        if (!parser.HandleNextDocument(builder)) return document;  // empty: null
        YamlDocument second;
        Builder after(second, limits);
        if (parser.HandleNextDocument(after))
            return failure_at(document.file, second.mark(""),
                              "a second document begins here: put each into its own file");
        return document;
    } catch (const Refusal& refusal) {
        return failure_at(document.file, refusal.mark, refusal.message);
    } catch (const YAML::Exception& error) {
        std::string why = error.msg;
        if (!why.empty() && why[0] >= 'A' && why[0] <= 'Z')
            why[0] = static_cast<char>(why[0] - 'A' + 'a');
        return failure_at(document.file, to_mark(error.mark), "not valid YAML: " + why);
    } catch (const std::exception& error) {
        return failure_at(document.file, {1, 1}, std::string("not valid YAML: ") + error.what());
    }
}

namespace {

// Readers of YAML 1.1, such as PyYAML, take these for booleans, times and numbers to the base 60.
bool means_more_in_yaml_1_1(std::string_view text) {
    for (const char* word : {"y", "n", "yes", "no", "on", "off"})
        if (equal_ignoring_case(text, word)) return true;
    return text[0] >= '0' && text[0] <= '9' && text.find_first_of("-:") != std::string_view::npos &&
           text.find_first_not_of("0123456789-:.,TtZz+ _") == std::string_view::npos;
}

bool plain_is_safe(std::string_view text) {
    if (text.empty() || means_more_in_yaml_1_1(text) || !yaml_scalar(text).is_string())
        return false;
    if (text.front() == ' ' || text.back() == ' ') return false;
    if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(text.front()) != std::string_view::npos)
        return false;
    if (text == "<<" || text == "---" || text == "...") return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const unsigned char c = static_cast<unsigned char>(text[i]);
        if (c < 0x20 || c >= 0x7F) return false;
        if (c == ':' && (i + 1 == text.size() || text[i + 1] == ' ')) return false;
        if (c == '#' && i > 0 && text[i - 1] == ' ') return false;
    }
    return true;
}

// Lines without trailing blanks or control characters can be a literal block.
bool block_is_safe(std::string_view text) {
    if (text.find('\n') == std::string_view::npos || text.front() == ' ' || text.front() == '\n')
        return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const unsigned char c = static_cast<unsigned char>(text[i]);
        if ((c < 0x20 && c != '\n') || c == 0x7F) return false;
        if (c == '\n' && i > 0 && text[i - 1] == ' ') return false;
        // yaml-cpp takes U+0085 and U+2028/9 for line breaks
        if (c == 0xC2 || c == 0xE2) return false;
    }
    return text.back() != '\n' || (text.size() > 1 && text[text.size() - 2] != '\n');
}

void write_scalar(std::string& out, const Json& value, int depth) {
    if (!value.is_string()) {
        const std::string text = value.dump();
        if (text == "\"NaN\"")
            out += ".nan";
        else if (text == "\"Infinity\"")
            out += ".inf";
        else if (text == "\"-Infinity\"")
            out += "-.inf";
        else
            out += text;
        return;
    }
    const std::string_view text = value.as_view();
    if (plain_is_safe(text)) {
        out += text;
    } else if (!text.empty() && depth >= 0 && block_is_safe(text)) {
        out += text.back() == '\n' ? "|" : "|-";
        std::string_view rest = text.back() == '\n' ? text.substr(0, text.size() - 1) : text;
        for (const std::string& line : split(rest, '\n')) {
            out += '\n';
            if (!line.empty())
                out.append(static_cast<std::size_t>(depth * 2 + 2), ' ').append(line);
        }
    } else {
        out += value.dump();  // a JSON string is a double-quoted YAML scalar
    }
}

void write_yaml(std::string& out, const Json& value, int depth) {
    const std::string indent(static_cast<std::size_t>(depth * 2), ' ');
    const auto nested = [](const Json& part) {
        return (part.is_object() && !part.members().empty()) ||
               (part.is_array() && !part.items().empty());
    };
    if (value.is_object() && !value.members().empty()) {
        for (const auto& [key, member] : value.members()) {
            out += indent;
            write_scalar(out, Json(key), -1);
            out += ':';
            if (nested(member)) {
                out += '\n';
                write_yaml(out, member, depth + 1);
            } else {
                out += ' ';
                write_scalar(out, member, depth);
                out += '\n';
            }
        }
    } else if (value.is_array() && !value.items().empty()) {
        for (const Json& item : value.items()) {
            if (nested(item)) {
                std::string inner;
                write_yaml(inner, item, depth + 1);
                out += indent + "- " + inner.substr(indent.size() + 2);
            } else {
                out += indent + "- ";
                write_scalar(out, item, depth);
                out += '\n';
            }
        }
    } else {
        out += indent;
        write_scalar(out, value, depth);
        out += '\n';
    }
}

}  // namespace

std::string to_yaml(const Json& value) {
    std::string out;
    write_yaml(out, value, 0);
    return out;
}

}  // namespace turnout
