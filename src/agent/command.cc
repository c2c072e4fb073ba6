#include "agent/command.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace turnout::agent {
namespace {

enum class Quote { None, Single, Double, Backtick, Parentheses };

// One placeholder at `at`: its value and where the text goes on. No value if there is none.
struct Found {
    std::string value;
    std::size_t end = 0;
};

Result<Found> placeholder(std::string_view text, std::size_t at, const Substitutions& values) {
    std::size_t close = text.find("}}", at);
    if (close == std::string_view::npos)
        return invalid("the command has '${{' without '}}'", "command");
    std::string_view inner = trim(text.substr(at + 3, close - at - 3));
    std::string shown = "${{" + std::string(inner) + "}}";
    auto dot = inner.find('.');
    std::string_view kind = inner.substr(0, dot);
    std::string_view name = dot == std::string_view::npos ? std::string_view() : inner.substr(dot + 1);
    const auto* map = kind == "inputs" ? &values.inputs : kind == "outputs" ? &values.outputs : nullptr;
    if (!map || name.empty())
        return invalid("the command has " + shown + "; only ${{inputs.NAME}} and ${{outputs.NAME}} can be used there",
                       std::string(inner));
    auto found = map->find(name);
    if (found == map->end()) {
        std::vector<std::string> names;
        for (const auto& [known, value] : *map) names.push_back(known);
        return invalid("the command uses " + shown + ", but the job has no " +
                           (kind == "inputs" ? "input" : "output") + " '" + std::string(name) + "'" +
                           did_you_mean(name, names),
                       std::string(name));
    }
    return Found{found->second, close + 2};
}

std::string escaped(std::string_view value, std::string_view special) {
    std::string out;
    for (char c : value) {
        if (special.find(c) != std::string_view::npos) out += '\\';
        out += c;
    }
    return out;
}

std::string in_context(const std::string& value, const std::vector<Quote>& stack) {
    std::string text;
    switch (stack.back()) {
        case Quote::Single:
            for (char c : value) text += c == '\'' ? "'\\''" : std::string(1, c);
            break;
        case Quote::Double: text = escaped(value, "\\\"$`"); break;
        default: text = quote_for_shell(value); break;
    }
    // Each `…` around it takes one layer of backslashes off.
    for (Quote quote : stack)
        if (quote == Quote::Backtick) text = escaped(text, "\\$`");
    return text;
}

// Words that only a shell understands.
constexpr std::array kBuiltins = {".",     ":",     "[[",    "alias", "bg",     "break", "case",  "cd",
                                  "command", "continue", "declare", "eval",  "exec",  "exit",  "export",
                                  "fg",    "for",   "function", "hash", "if",    "jobs",  "let",   "local",
                                  "popd",  "pushd", "read",  "readonly", "return", "select", "set", "shift",
                                  "shopt", "source", "time", "times", "trap", "type",  "typeset", "ulimit",
                                  "umask", "unalias", "unset", "until", "wait", "while", "{",    "!"};

// The words, or nothing if a shell has to read them.
std::vector<std::string> plain_words(std::string_view command) {
    std::vector<std::string> words;
    std::string word;
    bool begun = false;
    for (std::size_t i = 0; i < command.size(); ++i) {
        char c = command[i];
        if (c == ' ' || c == '\t') {
            if (begun) words.push_back(std::exchange(word, {}));
            begun = false;
        } else if (c == '\'' || c == '"') {
            std::size_t end = command.find(c, i + 1);
            if (end == std::string_view::npos) return {};
            std::string_view inside = command.substr(i + 1, end - i - 1);
            if (c == '"' && inside.find_first_of("$`\\!") != std::string_view::npos) return {};
            word += inside;
            begun = true;
            i = end;
        } else if (std::string_view("|&;<>()$`\\*?[]\n\r").find(c) != std::string_view::npos ||
                   (!begun && (c == '#' || c == '~')) || (c == '~' && (word.ends_with('=') || word.ends_with(':'))) ||
                   c == '{' || c == '}' || c == '!') {
            return {};
        } else {
            if (c == '=' && words.empty()) return {};
            word += c;
            begun = true;
        }
    }
    if (begun) words.push_back(word);
    if (words.empty() || words[0].empty() ||
        std::find(kBuiltins.begin(), kBuiltins.end(), words[0]) != kBuiltins.end())
        return {};
    return words;
}

}  // namespace

Result<std::string> substitute(std::string_view command, const Substitutions& values) {
    std::string out;
    std::vector<Quote> stack{Quote::None};
    for (std::size_t i = 0; i < command.size();) {
        if (command.substr(i).starts_with("${{")) {
            Found found = TURNOUT_TRY(placeholder(command, i, values));
            out += in_context(found.value, stack);
            i = found.end;
            continue;
        }
        char c = command[i];
        Quote at = stack.back();
        if (c == '\\' && at != Quote::Single && i + 1 < command.size() && !command.substr(i + 1).starts_with("${{")) {
            out += command.substr(i, 2);
            i += 2;
            continue;
        }
        if (at == Quote::Single) {
            if (c == '\'') stack.pop_back();
        } else if (c == '\'' && at != Quote::Double) {
            stack.push_back(Quote::Single);
        } else if (c == '"') {
            if (at == Quote::Double)
                stack.pop_back();
            else
                stack.push_back(Quote::Double);
        } else if (c == '`') {
            if (auto open = std::find(stack.rbegin(), stack.rend(), Quote::Backtick); open != stack.rend())
                stack.erase(std::prev(open.base()), stack.end());
            else
                stack.push_back(Quote::Backtick);
        } else if (c == '(' && (at != Quote::Double || out.ends_with('$'))) {
            stack.push_back(Quote::Parentheses);
        } else if (c == ')' && at == Quote::Parentheses) {
            stack.pop_back();
        }
        out += c;
        ++i;
    }
    return out;
}

Result<std::string> substitute_plain(std::string_view text, const Substitutions& values) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        if (text.substr(i).starts_with("${{")) {
            Found found = TURNOUT_TRY(placeholder(text, i, values));
            out += found.value;
            i = found.end;
        } else {
            out += text[i++];
        }
    }
    return out;
}

std::vector<std::string> to_argv(std::string_view command, std::string_view shell) {
    auto words = plain_words(trim(command));
    if (!words.empty()) return words;
    return {std::string(shell), "-c", std::string(command)};
}

}  // namespace turnout::agent
