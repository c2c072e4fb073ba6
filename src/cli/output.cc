#include "cli/output.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "base/time.h"
#include "spec/yaml.h"

namespace turnout::cli {

namespace {

std::string cell(const Json& value) {
    if (value.is_null()) return "";
    if (value.is_string()) {
        std::string text;
        for (const char c : value.as_view()) text += c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
        return text;
    }
    return value.dump();
}

// A table is for people: "37.109058 s" is "37.1 s", and a time goes without its fraction of a
// second: "2026-11-22 12:56:34Z".
std::string readable(std::string text) {
    if (text.size() > 9 && text.ends_with(" s") && text[text.size() - 9] == '.') {
        std::int64_t micros = 0;
        std::string digits = text.substr(0, text.size() - 9) + text.substr(text.size() - 8, 6);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), micros);
        if (error == std::errc() && end == digits.data() + digits.size()) return to_words(Span(micros));
    }
    if (text.size() < 20 || text.size() > 27 || text.back() != 'Z') return text;
    constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return text;
    if (text[19] != '.' && text[19] != 'Z') return text;
    text[10] = ' ';
    return text.substr(0, 19) + "Z";
}

bool is_scalar(const Json& value) { return !value.is_object() && !value.is_array(); }

std::string table_cell(const Json& value) { return readable(cell(value)); }

// Characters that a terminal shows, not bytes.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Nothing from a server may steer the terminal.
std::string harmless(std::string text) {
    for (char& c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    return text;
}

std::string title_of(std::string_view key) {
    std::string title;
    bool up = true;
    for (const char c : key) {
        if (c == '_') {
            up = true;
            continue;
        }
        title += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        up = false;
    }
    return title;
}

std::string table(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const std::string& title : titles) widths.push_back(width_of(title));
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    std::string out;
    const auto line = [&](const std::vector<std::string>& row) {
        std::string text;
        for (std::size_t i = 0; i < row.size(); ++i) {
            text += row[i];
            if (i + 1 < row.size()) text.append(widths[i] - width_of(row[i]) + 2, ' ');
        }
        while (text.ends_with(' ')) text.pop_back();
        out += text + "\n";
    };
    line(titles);
    std::vector<std::string> rule;
    for (const std::size_t width : widths) rule.emplace_back(width, '-');
    line(rule);
    for (const auto& row : rows) line(row);
    return out;
}

std::string as_table(const Json& value, const std::vector<std::string>& wanted) {
    if (is_scalar(value)) return value.is_null() ? "" : harmless(table_cell(value)) + "\n";
    if (value.is_object()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [key, member] : value.members()) {
            if (is_scalar(member)) {
                rows.push_back({key, harmless(table_cell(member))});
            } else {
                for (const auto& [inner, part] : member.members())
                    if (is_scalar(part)) rows.push_back({key + "." + inner, harmless(table_cell(part))});
            }
        }
        return table({"Key", "Value"}, rows);
    }
    const Json::Array& items = value.items();
    if (items.empty()) return "";
    if (!items[0].is_object()) {
        std::string out;
        for (const Json& item : items) {
            if (!item.is_array()) {
                out += harmless(table_cell(item)) + "\n";
                continue;
            }
            std::string line;
            for (const Json& part : item.items()) line += (line.empty() ? "" : "  ") + harmless(table_cell(part));
            out += line + "\n";
        }
        return out;
    }
    std::vector<std::string> keys;
    const auto add = [&](const std::string& key) {
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    };
    for (const std::string& column : wanted)
        if (std::any_of(items.begin(), items.end(), [&](const Json& item) { return !item.at(column).is_null(); })) add(column);
    if (keys.empty())
        for (const Json& item : items)
            for (const auto& [key, member] : item.members())
                if (is_scalar(member) && !member.is_null() && key != "id") add(key);
    std::vector<std::string> titles;
    for (const std::string& key : keys) titles.push_back(title_of(key));
    std::vector<std::vector<std::string>> rows;
    for (const Json& item : items) {
        std::vector<std::string> row;
        for (const std::string& key : keys) row.push_back(harmless(table_cell(item.at(key))));
        rows.push_back(std::move(row));
    }
    return table(titles, rows);
}

std::string as_tsv(const Json& value) {
    if (is_scalar(value)) return value.is_null() ? "" : cell(value) + "\n";
    const auto line = [](const Json& row) {
        std::string out;
        bool first = true;
        const auto put = [&](const Json& part) {
            if (!first) out += '\t';
            first = false;
            out += is_scalar(part) ? cell(part) : part.dump();
        };
        if (is_scalar(row)) put(row);
        for (const Json& item : row.items()) put(item);
        for (const auto& [key, member] : row.members())
            if (is_scalar(member)) put(member);
        return out + "\n";
    };
    if (value.is_object()) return line(value);
    std::string out;
    for (const Json& item : value.items()) out += line(item);
    return out;
}

}  // namespace

Result<Format> parse_format(const std::string& text, bool terminal) {
    if (text.empty()) return terminal ? Format::Table : Format::Json;
    const std::pair<const char*, Format> known[] = {{"json", Format::Json}, {"jsonc", Format::Json}, {"table", Format::Table},
                                                    {"tsv", Format::Tsv}, {"yaml", Format::Yaml}, {"yamlc", Format::Yaml}, {"none", Format::None}};
    for (const auto& [name, format] : known)
        if (text == name) return format;
    return invalid("--output is one of json, table, tsv, yaml, none; not '" + text + "'", "--output");
}

std::string format(const Json& value, Format how, const std::vector<std::string>& columns) {
    switch (how) {
        case Format::Json: return value.dump_pretty(2) + "\n";
        case Format::Table: return as_table(value, columns);
        case Format::Tsv: return as_tsv(value);
        case Format::Yaml: return to_yaml(value);
        case Format::None: return "";
    }
    return "";
}

std::string error_text(const Error& error) { return "error: " + error.message + "\n"; }

int exit_code_of(Code code) {
    switch (code) {
        case Code::InvalidArgument: return 2;
        case Code::NotFound: return 3;
        case Code::Conflict: return 4;
        case Code::FailedPrecondition: return 5;
        case Code::PermissionDenied:
        case Code::Unauthenticated: return 6;
        case Code::ResourceExhausted: return 7;
        case Code::Unavailable:
        case Code::Ambiguous: return 8;
        case Code::Canceled: return 130;
        case Code::Internal: return 70;
    }
    return 1;
}

}  // namespace turnout::cli
