#include "model/pool_file.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout {

namespace {

constexpr std::string_view kPools = "/pools";

struct File {
    YamlDocument document;
    std::vector<std::string> lines;  // each with its end, if it has one

    const Json& pools() const { return document.value.at("pools"); }
    YamlMark mark_of(std::string_view pool) const {
        const auto found = document.marks.find(pointer_to(kPools, pool));
        return found == document.marks.end() ? YamlMark() : found->second;
    }
    Failure by_hand(std::string_view pointer) const {
        return fail(Code::InvalidArgument, "FileNotChanged",
                    document.place(pointer) +
                        ": the file is written in a way that commands do not change: expected "
                        "'pools:' on a line of its own and each pool on lines beneath it; change "
                        "it by hand, then `turnout pool reload`",
                    "pools");
    }
};

Result<File> read_lines(std::string_view text, const std::string& file) {
    File out;
    out.document = TURNOUT_TRY(parse_yaml(text, file, {.bytes = 1 << 20}));
    const Json& whole = out.document.value;
    const Json& pools = whole.at("pools");
    if ((!whole.is_null() && !whole.is_object()) || (!pools.is_null() && !pools.is_object()))
        return out.by_hand(whole.is_object() ? kPools : "");
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        out.lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return out;
}

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line;
    return text;
}

std::size_t indent_of(std::string_view line) {
    return std::min(line.find_first_not_of(' '), line.size());
}

bool is_comment_or_blank(std::string_view line) {
    const std::string_view said = trim(line);
    return said.empty() || said.front() == '#';
}

// What the new text says, but for an empty mapping, which is as good as nothing.
Result<std::string> checked(const File& file, std::string text, Json expected) {
    const auto now = parse_yaml(text, file.document.file, {.bytes = 1 << 20});
    if (!now) return file.by_hand(kPools);
    Json said = now->value;
    for (Json* const one : {&said, &expected})
        if (one->at("pools").members().empty()) *one = Json();
    if (said != expected) return file.by_hand(kPools);
    return text;
}

}  // namespace

Result<std::string> with_pool(std::string_view text, const std::string& file,
                              const std::string& name, const Json& pool) {
    File now = TURNOUT_TRY(read_lines(text, file));
    if (now.pools().has(name)) {
        if (now.pools().at(name) == pool) return std::string(text);
        return fail(Code::Conflict, "PoolExists",
                    now.document.place(pointer_to(kPools, name)) + ": pools." + name +
                        ": the pool is there already and is another one: choose another name, "
                        "`turnout pool remove` it first, or change the file and `turnout pool "
                        "reload`",
                    name);
    }
    Json expected = now.document.value.is_null() ? Json::object() : now.document.value;
    if (expected.at("pools").is_null()) expected.set("pools", Json::object());
    expected["pools"].set(name, pool);

    std::size_t indent = 2;
    if (const auto& there = now.pools().members(); !there.empty()) {
        const YamlMark first = now.mark_of(there.front().first);
        if (first.line == 0 || first.line == now.document.mark(kPools).line)
            return now.by_hand(kPools);
        indent = static_cast<std::size_t>(first.column - 1);
    } else if (const YamlMark at = now.document.mark(kPools); now.document.value.has("pools")) {
        // "pools: {}" and "pools: ~" say nothing yet.
        std::string& line = now.lines.at(static_cast<std::size_t>(at.line - 1));
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos) return now.by_hand(kPools);
        const std::string rest = line.substr(colon + 1);
        const std::size_t comment = rest.find(" #");
        const std::string_view said = trim(std::string_view(rest).substr(0, comment));
        if (!said.empty() && said != "{}" && said != "~" && said != "null")
            return now.by_hand(kPools);
        if (!said.empty())
            line = line.substr(0, colon + 1) +
                   rest.substr(std::min(rest.find(said) + said.size(), rest.size()));
    }

    std::vector<std::string> added;
    if (!now.document.value.has("pools")) added.emplace_back("pools:\n");
    const std::string block = to_yaml(Json::object({{name, pool}}));
    for (const std::string& line : split(trim(block), '\n'))
        added.push_back((line.empty() ? "" : std::string(indent, ' ') + line) + "\n");
    // Behind the last line that says something, comments too, and before the mark of an end.
    std::size_t at = now.lines.size();
    while (at > 0 && trim(now.lines[at - 1]).empty()) --at;
    if (at > 0 && now.lines[at - 1].starts_with("...")) --at;
    if (at > 0 && !now.lines[at - 1].ends_with('\n')) now.lines[at - 1] += '\n';
    now.lines.insert(now.lines.begin() + static_cast<std::ptrdiff_t>(at), added.begin(),
                     added.end());
    return checked(now, joined(now.lines), std::move(expected));
}

Result<std::string> without_pool(std::string_view text, const std::string& file,
                                 const std::string& name) {
    File now = TURNOUT_TRY(read_lines(text, file));
    if (!now.pools().has(name))
        return not_found(file + " has no pool '" + name.substr(0, 64) + "'", name);
    Json expected = now.document.value;
    expected["pools"].erase(name);
    const YamlMark begins = now.mark_of(name);
    if (begins.line == 0 || begins.line == now.document.mark(kPools).line)
        return now.by_hand(kPools);
    auto first = static_cast<std::size_t>(begins.line - 1), end = now.lines.size();
    for (const auto& [other, value] : now.pools().members()) {
        const auto line = static_cast<std::size_t>(std::max(1, now.mark_of(other).line) - 1);
        if (line == first && other != name) return now.by_hand(pointer_to(kPools, name));
        if (line > first) end = std::min(end, line);
    }
    if (end == now.lines.size())
        for (std::size_t i = first; i < end; ++i)
            if (now.lines[i].starts_with("...")) end = i;
    // Comments that are no further in than its name are about what follows.
    const auto indent = static_cast<std::size_t>(begins.column - 1);
    while (end > first + 1 && is_comment_or_blank(now.lines[end - 1]) &&
           (trim(now.lines[end - 1]).empty() || indent_of(now.lines[end - 1]) <= indent))
        --end;
    now.lines.erase(now.lines.begin() + static_cast<std::ptrdiff_t>(first),
                    now.lines.begin() + static_cast<std::ptrdiff_t>(end));
    return checked(now, joined(now.lines), std::move(expected));
}

}  // namespace turnout
