#include "protocol/command.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::string_view kOpen = "${{";
constexpr std::size_t kMaxNesting = 200;  // quotes, substitutions and groups in each other

// One placeholder: its value, and where the text goes on.
struct Found {
    const std::string* value = nullptr;
    std::string_view shown;
    std::size_t end = 0;
};

Result<Found> placeholder(std::string_view text, std::size_t at, const Substitutions& values) {
    const std::size_t close = text.find("}}", at);
    if (close == std::string_view::npos)
        return invalid("the command has '${{' without '}}'", "command");
    const std::string_view inner = trim(text.substr(at + kOpen.size(), close - at - kOpen.size()));
    const std::string shown = "${{" + std::string(inner.substr(0, 300)) + "}}";
    const auto dot = inner.find('.');
    const std::string_view kind = inner.substr(0, dot);
    const std::string_view name =
        dot == std::string_view::npos ? std::string_view() : inner.substr(dot + 1);
    const auto* map = kind == "inputs"         ? &values.inputs
                      : kind == "outputs"      ? &values.outputs
                      : kind == "search_space" ? &values.search_space
                                               : nullptr;
    if (!map || name.empty() || (kind == "search_space" && map->empty()))
        return invalid("the command has " + shown +
                           "; only ${{inputs.NAME}} and ${{outputs.NAME}} can be used there",
                       std::string(inner));
    const auto found = map->find(name);
    if (found == map->end()) {
        std::vector<std::string> names;
        for (const auto& [known, value] : *map) names.push_back(known);
        return invalid("the command uses " + shown + ", but the job has no " +
                           (kind == "inputs"    ? "input"
                            : kind == "outputs" ? "output"
                                                : "parameter") +
                           " '" + std::string(name) + "'" + did_you_mean(name, names),
                       std::string(name));
    }
    return Found{&found->second, text.substr(at, close + 2 - at), close + 2};
}

// Looks at every placeholder before anything is put in.
Result<void> check_size(std::string_view command, const Substitutions& values) {
    std::size_t size = command.size();
    for (std::size_t at = command.find(kOpen); at != std::string_view::npos;
         at = command.find(kOpen, at)) {
        const Found found = TURNOUT_TRY(placeholder(command, at, values));
        size += found.value->size();
        at = found.end;
        if (size > kMaxExpanded)
            return invalid("the command becomes longer than " + to_size_words(kMaxExpanded) +
                               " when its values are put in (" +
                               std::string(found.shown.substr(0, 300)) + " has " +
                               to_size_words(found.value->size()) +
                               "): hand over large data as a file",
                           "command");
    }
    return {};
}

// Words that a shell takes for its own; as the first word of a command the rest of them too.
constexpr std::array kReserved = {"case", "do",   "done",     "elif",  "else",  "esac",
                                  "fi",   "for",  "function", "if",    "in",    "select",
                                  "then", "time", "until",    "while", "coproc"};
constexpr std::array kBuiltins = {
    ".",       ":",        "[[",       "alias",  "bg",     "break",   "case",   "cd",
    "command", "continue", "declare",  "eval",   "exec",   "exit",    "export", "fg",
    "for",     "function", "hash",     "if",     "jobs",   "let",     "local",  "popd",
    "pushd",   "read",     "readonly", "return", "select", "set",     "shift",  "shopt",
    "source",  "time",     "times",    "trap",   "type",   "typeset", "ulimit", "umask",
    "unalias", "unset",    "until",    "wait",   "while",  "{",       "!"};

template <class Words>
bool is_among(const Words& words, std::string_view text) {
    return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

// Means the same to a shell wherever it stands: numbers, names, paths.
bool is_plain(std::string_view value) {
    if (value.empty() || value.find("..") != std::string_view::npos || is_among(kReserved, value))
        return false;
    return std::all_of(value.begin(), value.end(), [](char c) {
        return is_letter(c) || is_digit(c) ||
               std::string_view("./:-+@%").find(c) != std::string_view::npos;
    });
}

std::string in_single_quotes(std::string_view value) {
    std::string text = "'";
    for (const char c : value)
        if (c == '\'')
            text += "'\\''";
        else
            text += c;
    return text += '\'';
}

// Rewrites a command for a shell, following its quotes as far as it needs to know in which it is.
class Script {
public:
    Script(std::string_view command, const Substitutions& values)
        : text_(command), values_(values) {}

    Result<std::string> text() {
        while (at_ < text_.size()) {
            TURNOUT_TRY(step());
            if (levels_.size() > kMaxNesting)
                return invalid(
                    "the command has more than " + std::to_string(kMaxNesting) +
                        " quotes, groups and substitutions in each other: put it into a file",
                    "command");
        }
        return definitions_ + out_;
    }

private:
    enum class In {
        Command,
        Backtick,
        Parentheses,
        Case,   // where commands stand
        Brace,  // ${…} outside of double quotes
        Double,
        DoubleBrace,
        Here,  // where only $, ` and \ mean something
        Single,
        Ansi,
        Comment,
        RawHere,
        Arithmetic
    };
    struct Level {
        In in = In::Command;
        std::string delimiter;  // of a here-document
        bool strips_tabs = false;
        std::size_t begin = 0;  // of its lines in out_
        // Of a ${…}: where the index behind its name ends, and whether a calculation follows.
        std::size_t index_end = 0;
        bool calculates = false;
        std::size_t brackets = 0;  // open ones of an array's index, where commands stand
    };

    In top() const { return levels_.back().in; }
    bool in_command() const { return top() <= In::Case; }
    bool unquoted() const { return top() <= In::Brace; }
    bool in_backtick() const {
        return std::any_of(levels_.begin(), levels_.end(),
                           [](const Level& level) { return level.in == In::Backtick; });
    }
    bool next_is(std::string_view what) const { return text_.substr(at_).starts_with(what); }
    void push(In in) { levels_.push_back({in, "", false, 0}); }
    void pop() {
        if (levels_.size() > 1) levels_.pop_back();
    }
    void copy(std::size_t count) {
        out_ += text_.substr(at_, count);
        at_ = std::min(at_ + count, text_.size());
    }
    bool at_word_begin() const {
        return at_ == 0 ||
               std::string_view(" \t\n;&|()`").find(text_[at_ - 1]) != std::string_view::npos;
    }
    bool at_command_begin() const {
        std::size_t end = at_;
        while (end > 0 && is_blank(text_[end - 1])) --end;
        if (end == 0 ||
            std::string_view(";&|\n(){!`").find(text_[end - 1]) != std::string_view::npos)
            return true;
        std::size_t begin = end;
        while (begin > 0 && is_letter(text_[begin - 1])) --begin;
        const std::string_view word = text_.substr(begin, end - begin);
        return end < at_ &&
               is_among(std::array{"do", "then", "else", "elif", "if", "while", "until", "time"},
                        word);
    }

    Result<void> step() {
        if ((top() == In::Here || top() == In::RawHere) && at_ > 0 && text_[at_ - 1] == '\n' &&
            TURNOUT_TRY(end_of_here()))
            return {};
        if (next_is(kOpen)) return put_value();
        const char c = text_[at_];
        switch (top()) {
            case In::RawHere: copy(1); return {};
            case In::Single:
                if (c == '\'') pop();
                copy(1);
                return {};
            case In::Comment:
                if (c == '\n' || (c == '`' && in_backtick()))
                    pop();
                else
                    copy(1);
                return {};
            default: break;
        }
        if (c == '\\') {
            if (!text_.substr(at_ + 1).starts_with(kOpen)) {
                copy(2);
            } else {  // it would change what stands for the value
                if (!unquoted()) out_ += "\\\\";
                ++at_;
            }
        } else if (top() == In::Ansi) {
            if (c == '\'') pop();
            copy(1);
        } else if (c == '$') {
            dollar();
        } else if (c == '`') {
            const auto open =
                std::find_if(levels_.rbegin(), levels_.rend(),
                             [](const Level& level) { return level.in == In::Backtick; });
            if (open != levels_.rend())
                levels_.erase(std::prev(open.base()), levels_.end());
            else
                push(In::Backtick);
            copy(1);
        } else if (c == '"') {
            if (top() == In::Double)
                pop();
            else if (top() != In::Here)
                push(In::Double);
            copy(1);
        } else if (c == '}' && (top() == In::Brace || top() == In::DoubleBrace)) {
            pop();
            copy(1);
        } else if (c == '\'' && unquoted()) {
            push(In::Single);
            copy(1);
        } else if (top() == In::Arithmetic && (c == '(' || c == ')')) {
            if (c == '(')
                push(In::Arithmetic);
            else
                pop();
            copy(1);
        } else if (in_command()) {
            in_command(c);
        } else {
            copy(1);
        }
        return {};
    }

    void dollar() {
        if (text_.substr(at_ + 1).starts_with(
                kOpen)) {  // it stands before a value, not before our name for it
            out_ += "\\$";
            ++at_;
        } else if (next_is("$'") && unquoted()) {
            push(In::Ansi);
            copy(2);
        } else if (next_is("$((")) {
            push(In::Arithmetic);
            push(In::Arithmetic);
            copy(3);
        } else if (next_is("$(")) {
            push(In::Parentheses);
            copy(2);
        } else if (next_is("${")) {
            push(unquoted() ? In::Brace : In::DoubleBrace);
            copy(2);
            look_at_brace(levels_.back());
        } else {
            copy(1);
        }
    }

    void in_command(char c) {
        std::size_t& brackets =
            levels_.back().brackets;  // of an index; in it may be blanks and other ones
        if (c == '[' && (brackets > 0 || begins_index()))
            ++brackets;
        else if (c == ']' && brackets > 0)
            --brackets;
        else if (std::string_view("\n;&|()").find(c) != std::string_view::npos)
            brackets = 0;
        if (c == '(') {
            const bool arithmetic = next_is("((") && at_command_begin();
            for (int i = arithmetic ? 2 : 1; i > 0; --i)
                push(arithmetic ? In::Arithmetic : In::Parentheses);
            copy(arithmetic ? 2 : 1);
        } else if (c == ')') {
            if (top() == In::Parentheses) pop();
            copy(1);
        } else if (c == '#' && at_word_begin()) {
            push(In::Comment);
            copy(1);
        } else if (next_is("<<<")) {
            copy(3);
        } else if (next_is("<<")) {
            here();
        } else if (c == '\n') {
            copy(1);
            for (; !heres_.empty(); heres_.pop_back()) {  // the first one is read first
                heres_.back().begin = out_.size();
                levels_.push_back(std::move(heres_.back()));
            }
        } else if (is_letter(c) && at_word_begin()) {
            const std::size_t begin = at_;
            const bool first = at_command_begin();
            std::size_t end = at_;
            while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
            const std::string_view word = text_.substr(begin, end - begin);
            if (word == "case" && first)
                push(In::Case);
            else if (word == "esac" && top() == In::Case)
                pop();
            copy(end - begin);
        } else {
            copy(1);
        }
    }

    // "<<WORD": its lines begin behind the end of this one.
    void here() {
        copy(2);
        Level level{In::Here, "", false, 0};
        if (at_ < text_.size() && text_[at_] == '-') {
            level.strips_tabs = true;
            copy(1);
        }
        while (at_ < text_.size() && is_blank(text_[at_])) copy(1);
        while (at_ < text_.size() &&
               std::string_view(" \t\n;&|()<>").find(text_[at_]) == std::string_view::npos) {
            const char c = text_[at_];
            if (c == '\'' || c == '"') {
                level.in = In::RawHere;
                const std::size_t close = std::min(text_.find(c, at_ + 1), text_.size());
                level.delimiter += text_.substr(at_ + 1, close - at_ - 1);
                copy(close + 1 - at_);
            } else if (c == '\\') {
                level.in = In::RawHere;
                level.delimiter += text_.substr(at_ + 1, 1);
                copy(2);
            } else {
                level.delimiter += c;
                copy(1);
            }
        }
        heres_.push_back(std::move(level));
    }

    // Whether the line that begins here is the last one of the here-document.
    Result<bool> end_of_here() {
        const Level& level = levels_.back();
        const auto is_last = [&](std::string_view line) {
            while (level.strips_tabs && line.starts_with('\t')) line.remove_prefix(1);
            return line == level.delimiter;
        };
        const std::string_view line = text_.substr(at_, text_.find('\n', at_) - at_);
        if (!is_last(line)) return false;
        if (level.in == In::RawHere)  // the values are part of its text
            for (const std::string& one : split(std::string_view(out_).substr(level.begin), '\n'))
                if (is_last(one))
                    return invalid("a value in the command has a line '" + level.delimiter +
                                       "', which ends the text <<'" + level.delimiter +
                                       "' that it stands in: choose another word there",
                                   "command");
        pop();
        copy(line.size());
        return true;
    }

    Result<void> put_value() {
        const Found found = TURNOUT_TRY(placeholder(text_, at_, values_));
        const std::string& value = *found.value;
        at_ = found.end;
        if (top() == In::RawHere) {
            out_ += value;
            return {};
        }
        // "2" before '>' would be the number of a file.
        const bool number_of_file = in_command() && at_ < text_.size() &&
                                    (text_[at_] == '<' || text_[at_] == '>') &&
                                    std::all_of(value.begin(), value.end(), is_digit);
        if (is_plain(value) && !number_of_file &&
            top() != In::Here) {  // a line of it could end that
            out_ += value;
            return {};
        }
        if (is_calculated(found))
            return invalid("the command uses " + std::string(found.shown.substr(0, 300)) +
                               " where the shell calculates, and would run what is in it: '" +
                               value.substr(0, 100) + "' is no number",
                           "command");
        const std::string use = "${" + variable_of(value) + "}";
        switch (top()) {
            case In::Single: out_ += "'\"" + use + "\"'"; break;
            case In::Ansi: out_ += "'\"" + use + "\"$'"; break;
            case In::Comment: break;
            case In::Double:
            case In::DoubleBrace:
            case In::Here: out_ += use; break;
            default: out_ += "\"" + use + "\""; break;
        }
        return {};
    }

    // Whether the place is one whose text the shell looks at again, as a calculation: (( )), the
    // index of an array, a part of a variable by its position.
    bool is_calculated(const Found& found) const {
        const std::size_t place = found.end - found.shown.size();
        for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
            if (level->in == In::Arithmetic) return true;
            if (level->in == In::Here || level->in == In::Comment) return false;
            if (level->in <= In::Case) return level->brackets > 0;
            if (place < level->index_end || level->calculates) return true;
        }
        return false;
    }

    // What a ${ that ends at at_ does with the text up to its }. Said once, not for each value in
    // it.
    void look_at_brace(Level& level) {
        std::size_t at = at_;
        while (at < text_.size() && (text_[at] == '#' || text_[at] == '!')) ++at;
        while (at < text_.size() && (is_letter(text_[at]) || is_digit(text_[at]) ||
                                     text_[at] == '@' || text_[at] == '*'))
            ++at;
        if (at < text_.size() && text_[at] == '[') {
            if (next_bracket_ < at) next_bracket_ = std::min(text_.find(']', at), text_.size());
            level.index_end = next_bracket_;
            at = std::min(next_bracket_ + 1, text_.size());
        }
        level.calculates = text_.substr(at).starts_with(':') &&
                           (at + 1 == text_.size() ||
                            std::string_view("-=?+").find(text_[at + 1]) == std::string_view::npos);
    }

    // Whether a [ here begins the index of an array that gets a value: name[….
    bool begins_index() const {
        std::size_t begin = at_;
        while (begin > 0 && (is_letter(text_[begin - 1]) || is_digit(text_[begin - 1]))) --begin;
        return begin < at_ &&
               (begin == 0 ||
                std::string_view(" \t\n;&|()`").find(text_[begin - 1]) != std::string_view::npos);
    }

    const std::string& variable_of(const std::string& value) {
        std::string& name = variables_[&value];
        if (name.empty()) {
            name = "TURNOUT_VALUE_" + std::to_string(variables_.size());
            definitions_ += name + "=" + in_single_quotes(value) + "; ";
        }
        return name;
    }

    std::string_view text_;
    const Substitutions& values_;
    std::size_t at_ = 0;
    std::string out_, definitions_;
    std::size_t next_bracket_ = 0;  // the first ] from some place on
    std::vector<Level> levels_{Level{}};
    std::vector<Level> heres_;  // begun in this line
    std::map<const std::string*, std::string> variables_;
};

// The words, or nothing if a shell has to read them.
Result<std::optional<std::vector<std::string>>> plain_words(std::string_view command,
                                                            const Substitutions& values) {
    using Words = std::optional<std::vector<std::string>>;
    std::vector<std::string> words;
    std::string word;
    bool begun = false;
    char quote = 0;
    for (std::size_t i = 0; i < command.size();) {
        const char c = command[i];
        if (command.substr(i).starts_with(kOpen)) {
            const Found found = TURNOUT_TRY(placeholder(command, i, values));
            word += *found.value;
            begun = true;
            i = found.end;
            continue;
        }
        ++i;
        if (quote) {
            if (c == quote)
                quote = 0;
            else if (quote == '"' && std::string_view("$`\\!").find(c) != std::string_view::npos)
                return Words();
            else
                word += c;
        } else if (is_blank(c)) {
            if (begun) words.push_back(std::exchange(word, {}));
            begun = false;
        } else if (c == '\'' || c == '"') {
            quote = c;
            begun = true;
        } else if (std::string_view("|&;<>()$`\\*?[]\n\r{}!").find(c) != std::string_view::npos ||
                   (!begun && (c == '#' || c == '~')) ||
                   (c == '~' && (word.ends_with('=') || word.ends_with(':'))) ||
                   (c == '=' && words.empty())) {
            return Words();
        } else {
            word += c;
            begun = true;
        }
    }
    if (quote) return Words();
    if (begun) words.push_back(word);
    if (words.empty() || words[0].empty() || is_among(kBuiltins, words[0])) return Words();
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i].size() <= kMaxArgument) continue;
        // A shell's own commands may read what no program can be given.
        if (is_among(std::array{"echo", "printf", "test", "[", "true", "false"}, words[0]))
            return Words();
        return invalid(
            "word " + std::to_string(i + 1) + " of the command has " +
                to_size_words(words[i].size()) +
                ": a program can be given at most 128 KiB at a time; hand it over as a file",
            "command");
    }
    return Words(std::move(words));
}

}  // namespace

Result<Invocation> invocation(std::string_view command, const Substitutions& values,
                              std::string_view shell) {
    TURNOUT_TRY(check_size(command, values));
    Invocation made;
    if (auto words = TURNOUT_TRY(plain_words(trim(command), values))) {
        made.argv = std::move(*words);
        return made;
    }
    std::string script = TURNOUT_TRY(Script(command, values).text());
    made.argv = {std::string(shell)};
    if (script.size() > kMaxArgument) {
        made.script = std::move(script);
    } else {
        made.argv.emplace_back("-c");
        made.argv.push_back(std::move(script));
    }
    return made;
}

}  // namespace turnout
