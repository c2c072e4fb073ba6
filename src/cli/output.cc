#include "cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/text.h"
#include "base/time.h"
#include "resources/describe.h"
#include "yaml/yaml.h"

namespace turnout::cli {

namespace {

constexpr int kNobodyReads = 128 + 13;  // SIGPIPE

std::string cell(const Json& value) {
    if (value.is_null()) return "";
    if (value.is_string()) {
        std::string text;
        for (const char c : value.as_view()) text += c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
        return text;
    }
    return value.dump();
}

// A table is for people: "37.109058 s" is "37.1 s", and a time has no fraction of a second:
// "2026-11-22 12:56:34 UTC".
std::string readable(std::string text) {
    if (text.size() > 9 && text.ends_with(" s") && text[text.size() - 9] == '.') {
        const std::string digits =
            text.substr(0, text.size() - 9) + text.substr(text.size() - 8, 6);
        if (const std::optional<std::int64_t> micros = parse_whole_number(digits))
            return to_words(Span(*micros));
    }
    if (text.size() < 20 || text.size() > 27 || text.back() != 'Z') return text;
    constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return text;
    if (text[19] != '.' && text[19] != 'Z') return text;
    return utc_time(text);
}

bool is_scalar(const Json& value) {
    return !value.is_object() && !value.is_array();
}

std::string table_cell(const Json& value) {
    return readable(cell(value));
}

// Not of what somebody named: a metric, a run.
std::string title_of(std::string_view key) {
    std::string title;
    if (key.find_first_of(".-0123456789") != std::string_view::npos) return std::string(key);
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

constexpr std::size_t kGap = 2;      // between columns
constexpr std::size_t kNarrow = 10;  // no column is cut to less

using Rows = std::vector<std::vector<std::string>>;

// Leaves out and cuts until all columns fit: see `format`.
void fit(std::vector<std::string>& titles, Rows& rows, std::vector<std::size_t>& widths,
         std::size_t columns) {
    const auto drop = [&](std::size_t column) {
        const auto erase = [&](auto& list) {
            list.erase(list.begin() + static_cast<std::ptrdiff_t>(column));
        };
        erase(titles);
        erase(widths);
        for (auto& row : rows) erase(row);
    };
    for (std::size_t i = titles.size(); i-- > 1;)
        if (std::all_of(rows.begin(), rows.end(), [i](const auto& row) { return row[i].empty(); }))
            drop(i);
    const auto all = [&] {
        return std::accumulate(widths.begin(), widths.end(), (widths.size() - 1) * kGap);
    };
    while (all() > columns) {
        std::size_t least = widths[0];  // what it takes if all others are cut as far as they may be
        for (std::size_t i = 1; i < widths.size(); ++i)
            least += kGap + std::min(widths[i], std::max(kNarrow, width_of(titles[i])));
        if (least > columns && widths.size() > 2) {
            drop(widths.size() - 1);
            continue;
        }
        std::size_t widest = 0;
        for (std::size_t i = 1; i < widths.size(); ++i)
            if (widths[i] > std::max(kNarrow, width_of(titles[i])) &&
                (widest == 0 || widths[i] > widths[widest]))
                widest = i;
        if (widest == 0) break;  // the terminal folds what is left
        --widths[widest];
    }
    for (auto& row : rows)
        for (std::size_t i = 1; i < row.size(); ++i) row[i] = shortened(row[i], widths[i]);
}

std::string table(std::vector<std::string> titles, Rows rows, Screen screen,
                  std::size_t longest_rule = SIZE_MAX) {
    std::vector<std::size_t> widths;
    for (const std::string& title : titles) widths.push_back(width_of(title));
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], width_of(row[i]));
    if (screen.columns > 0) fit(titles, rows, widths, screen.columns);
    std::string out;
    const auto line = [&](const std::vector<std::string>& row, bool colour) {
        std::string text;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string filled =
                i + 1 < row.size() ? padded(row[i], widths[i]) + std::string(kGap, ' ') : row[i];
            text +=
                colour && i > 0 ? in_colour(row[i], filled) : filled;  // the first one is a name
        }
        while (text.ends_with(' ')) text.pop_back();
        out += text + "\n";
    };
    line(titles, false);
    std::vector<std::string> rule;
    for (const std::size_t width : widths) rule.emplace_back(std::min(width, longest_rule), '-');
    line(rule, false);
    for (const auto& row : rows) line(row, screen.colour);
    return out;
}

// A key and its value: what is longer than the screen goes on beneath itself, at a blank if it can.
std::string key_table(const Rows& rows, Screen screen) {
    if (screen.columns == 0) return table({"Key", "Value"}, rows, screen);
    std::size_t key_width = 3;
    for (const auto& row : rows) key_width = std::max(key_width, width_of(row[0]));
    key_width = std::min(key_width, screen.columns / 2);
    const std::size_t room = screen.columns - key_width - kGap;
    Rows folded;
    for (const auto& row : rows) {
        std::string key = shortened(row[0], key_width), line;
        for (const std::string& word : split(row[1], ' ')) {
            if (!line.empty() && width_of(line) + 1 + width_of(word) > room)
                folded.push_back({std::exchange(key, ""), std::exchange(line, word)});
            else
                line += (line.empty() ? "" : " ") + word;
        }
        folded.push_back({key, line});
    }
    return table({"Key", "Value"}, std::move(folded), {0, screen.colour}, room);
}

std::string as_table(const Json& value, const std::vector<std::string>& wanted, Screen screen) {
    if (is_scalar(value)) return value.is_null() ? "" : harmless(table_cell(value)) + "\n";
    if (value.is_object()) {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [key, member] : value.members()) {
            if (is_scalar(member)) {
                rows.push_back({key, harmless(table_cell(member))});
            } else {
                for (const auto& [inner, part] : member.members())
                    if (is_scalar(part))
                        rows.push_back({key + "." + inner, harmless(table_cell(part))});
            }
        }
        return key_table(rows, screen);
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
            for (const Json& part : item.items())
                line += (line.empty() ? "" : "  ") + harmless(table_cell(part));
            out += line + "\n";
        }
        return out;
    }
    std::vector<std::string> keys;
    const auto add = [&](const std::string& key) {
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    };
    for (const std::string& column : wanted)
        if (std::any_of(items.begin(), items.end(),
                        [&](const Json& item) { return !item.at(column).is_null(); }))
            add(column);
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
    return table(std::move(titles), std::move(rows), screen);
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
    const std::pair<const char*, Format> known[] = {
        {"json", Format::Json}, {"jsonc", Format::Json}, {"table", Format::Table},
        {"tsv", Format::Tsv},   {"yaml", Format::Yaml},  {"yamlc", Format::Yaml},
        {"none", Format::None}};
    for (const auto& [name, format] : known)
        if (text == name) return format;
    return invalid("--output is one of json, table, tsv, yaml, none; not '" + text + "'",
                   "--output");
}

std::string format(const Json& value, Format how, const std::vector<std::string>& columns,
                   Screen screen) {
    switch (how) {
        case Format::Json: return value.dump_pretty(2) + "\n";
        case Format::Table: return as_table(value, columns, screen);
        case Format::Tsv: return as_tsv(value);
        case Format::Yaml: return to_yaml(value);
        case Format::None: return "";
    }
    return "";
}

void print(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
        return;
    // Not exit(): other threads may run, and what is left in the buffer can go nowhere.
    if (errno == EPIPE) ::_exit(kNobodyReads);
    std::fprintf(stderr, "error: standard output cannot be written: %s\n", std::strerror(errno));
    ::_exit(1);
}

void end_if_nobody_reads() {
    pollfd out{STDOUT_FILENO, 0, 0};
    if (::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0) ::_exit(kNobodyReads);
}

std::string harmless(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
        if (byte == '\n' || byte == '\t' || byte == '\r') {
            out += ' ';
        } else if (byte < 0x20 || byte == 0x7F) {
            out += '?';
        } else if (byte == 0xC2 && next >= 0x80 &&
                   next < 0xA0) {  // the control characters above ASCII
            out += '?';
            ++i;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::string utc_time(const std::string& iso) {
    const Result<Instant> at = parse_iso8601(iso);
    if (!at) return harmless(iso);
    const std::string text = to_iso8601(*at);
    return text.substr(0, 10) + " " + text.substr(11, 8) + " UTC";
}

std::string age_words(Span span) {
    const std::int64_t seconds = std::max<std::int64_t>(0, span.count() / 1'000'000);
    if (seconds < 60) return std::to_string(seconds) + " s";
    if (seconds < 3'600) return std::to_string(seconds / 60) + " min";
    if (seconds < 2 * 86'400) return std::to_string(seconds / 3'600) + " h";
    return std::to_string(seconds / 86'400) + " d";
}

std::string harmless_lines(std::string_view text) {
    std::string out;
    for (const std::string& line : split(text, '\n'))
        out += (out.empty() ? "" : "\n") + harmless(line);
    return out;
}

std::string error_text(const Error& error) {
    return "error: " + harmless_lines(error.message) + "\n";
}

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
