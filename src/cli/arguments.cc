#include "cli/arguments.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"

namespace turnout::cli {

namespace {

const Option* find_option(const Command& command, std::string_view text) {
    for (const std::vector<Option>* options : {&command.options, &common_options()})
        for (const Option& option : *options)
            if (option.name == text || (!option.brief.empty() && option.brief == text))
                return &option;
    return nullptr;
}

std::string words_of(const Command& command) {
    return join(command.words, " ");
}

// Where a word that stands alone was probably meant to go.
std::string option_for(const Command& command, const std::string& word) {
    const bool file = word.ends_with(".yml") || word.ends_with(".yaml");
    if (file && find_option(command, "--file") != nullptr)
        return "files go after an option: `-f " + word + "`";
    if (find_option(command, "--name") != nullptr)
        return "names go after an option: `-n " + word + "`";
    return "values go after an option, see `turnout " + words_of(command) + " --help`";
}

}  // namespace

std::string Arguments::get(const std::string& name, std::string fallback) const {
    const auto found = values.find(name);
    return found == values.end() || found->second.empty() ? std::move(fallback)
                                                          : found->second.back();
}

std::vector<std::string> Arguments::all(const std::string& name) const {
    const auto found = values.find(name);
    return found == values.end() ? std::vector<std::string>() : found->second;
}

const std::vector<Option>& common_options() {
    static const std::vector<Option> options = {
        {"--data", "", "FOLDER",
         "The server's data folder; TURNOUT_DATA if absent, else ~/.local/share/turnout.", false},
        {"--workspace-name", "-w", "NAME", "Workspace.", false},
        {"--resource-group", "-g", "NAME", "Resource group.", false},
        {"--subscription", "", "ID", "Subscription.", false},
        {"--output",
         "-o",
         "FORMAT",
         "json, table, tsv, yaml or none; a table on a terminal, else JSON.",
         false,
         {"json", "table", "tsv", "yaml", "none"}},
        {"--query", "", "JMESPATH", "What to show, such as status or [0].name.", false},
        {"--help", "-h", "", "This text.", false}};
    return options;
}

// Nouns of `az ml` that have no command here yet.
constexpr std::string_view kNotYet[] = {"connection",
                                        "registry",
                                        "serverless-endpoint",
                                        "feature-set",
                                        "feature-store",
                                        "feature-store-entity",
                                        "marketplace-subscription",
                                        "workspace-hub",
                                        "capability-host",
                                        "flow",
                                        "run"};

Result<Arguments> parse_arguments(const std::vector<Command>& commands,
                                  const std::vector<std::string>& arguments) {
    Arguments out;
    const auto usage = [](std::string message) {
        return fail(Code::InvalidArgument, "Usage", std::move(message));
    };
    // The longest row of words that the arguments begin with.
    std::size_t used = 0;
    for (const Command& command : commands)
        if (command.words.size() > used && command.words.size() <= arguments.size() &&
            std::equal(command.words.begin(), command.words.end(), arguments.begin())) {
            out.command = &command;
            used = command.words.size();
        }
    if (out.command == nullptr) {
        out.help = std::any_of(arguments.begin(), arguments.end(), [](const std::string& a) {
            return a == "-h" || a == "--help" || a == "help";
        });
        if (out.help || arguments.empty()) {
            out.operands = arguments;
            out.help = true;
            return out;
        }
        std::set<std::string> groups, verbs;
        for (const Command& command : commands) {
            if (command.hidden) continue;
            groups.insert(command.words[0]);
            if (command.words.size() > 1 && command.words[0] == arguments[0])
                verbs.insert(command.words[1]);
        }
        if (!verbs.empty()) {
            const std::vector<std::string> known(verbs.begin(), verbs.end());
            if (arguments.size() == 1)
                return usage("`turnout " + arguments[0] + "` needs one of: " + join(known, ", "));
            return usage("`turnout " + arguments[0] + "` has no '" + arguments[1] + "'" +
                         did_you_mean(arguments[1], known, ".") + " It has: " + join(known, ", "));
        }
        if (std::find(std::begin(kNotYet), std::end(kNotYet), arguments[0]) != std::end(kNotYet))
            return usage("`turnout " + arguments[0] +
                         "` is not there yet: the command of `az ml` is known, this server does "
                         "not have what it is about.");
        // A verb without its noun.
        std::vector<std::string> nouns;
        for (const Command& command : commands)
            if (!command.hidden && command.words.size() > 1 && command.words[1] == arguments[0])
                nouns.push_back("`turnout " + words_of(command) + "`");
        if (!nouns.empty())
            return usage("'" + arguments[0] + "' is of something: " + join(nouns, ", "));
        const std::vector<std::string> known(groups.begin(), groups.end());
        return usage("there is no command '" + arguments[0] + "'" +
                     did_you_mean(arguments[0], known, ".") + " See `turnout --help`.");
    }
    const Command& command = *out.command;
    for (std::size_t i = used; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (argument == "--") {
            out.operands.insert(out.operands.end(),
                                arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                arguments.end());
            break;
        }
        if (argument.size() < 2 || argument[0] != '-') {
            if (command.takes_rest) {
                out.operands.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i),
                                    arguments.end());
                break;
            }
            out.operands.push_back(argument);
            continue;
        }
        const std::size_t equals =
            argument.starts_with("--") ? argument.find('=') : std::string::npos;
        const std::string name = argument.substr(0, equals);
        const Option* option = find_option(command, name);
        if (option == nullptr) {
            std::vector<std::string> known;
            for (const std::vector<Option>* options : {&command.options, &common_options()})
                for (const Option& each : *options) known.push_back(each.name);
            return usage("`turnout " + words_of(command) + "` has no option '" + name + "'" +
                         did_you_mean(name, known, ".") + " See `turnout " + words_of(command) +
                         " --help`.");
        }
        std::string value = "true";
        if (!option->value.empty()) {
            if (equals != std::string::npos)
                value = argument.substr(equals + 1);
            else if (i + 1 < arguments.size())
                value = arguments[++i];
            else
                return usage("option '" + name + "' needs a value: " + option->value);
        } else if (equals != std::string::npos) {
            return usage("option '" + name + "' takes no value");
        }
        std::vector<std::string>& values = out.values[option->name];
        if (!option->many) values.clear();
        values.push_back(std::move(value));
        // `--set a=1 b=2`, as az takes it; `--targets a b` where a word means nothing else.
        if (option->many)
            while (i + 1 < arguments.size() && !arguments[i + 1].starts_with('-') &&
                   (arguments[i + 1].find('=') != std::string::npos ||
                    (command.operand.empty() && equals == std::string::npos)))
                values.push_back(arguments[++i]);
    }
    out.help = out.has("--help");
    if (out.help) return out;
    if (!command.takes_rest) {
        if (command.operand.empty() && !out.operands.empty())
            return usage("`turnout " + words_of(command) + "` takes no '" + out.operands[0] +
                         "': " + option_for(command, out.operands[0]));
        if (command.operand == kNamesOperand) {
            if (!out.operands.empty()) {
                std::vector<std::string>& names = out.values["--name"];
                for (std::string& operand : std::exchange(out.operands, {}))
                    names.push_back(std::move(operand));
            }
        } else if (command.operand == kNameOperand || command.operand == kFileOperand) {
            const bool file = command.operand == kFileOperand;
            const std::string option = file ? "--file" : "--name";
            const std::size_t given = out.operands.size() + (out.has(option) ? 1 : 0);
            if (given > 1)
                return usage(
                    "`turnout " + words_of(command) + "` takes one " + (file ? "file" : "name") +
                    ", found '" + join(out.operands, "', '") + "'" +
                    (out.has(option) ? (file ? " and -f " : " and -n ") + out.get(option) : ""));
            if (!out.operands.empty()) out.values[option] = std::exchange(out.operands, {});
        } else if (!command.operand.empty() && !command.operand.ends_with("...]") &&
                   out.operands.size() != 1 &&
                   !(command.operand.starts_with('[') && out.operands.empty())) {
            return usage("`turnout " + words_of(command) + "` takes one " + command.operand);
        }
    } else if (out.operands.empty()) {
        return usage("`turnout " + words_of(command) + "` takes a program: turnout " +
                     words_of(command) + " -- PROGRAM ARGUMENTS");
    }
    return out;
}

namespace {

constexpr std::size_t kLeftOfOptions = 38, kLeftOfCommands = 28, kNarrowLeft = 4;

// `left`, and the text beside it: folded at blanks, where there is a screen. Where that is too
// narrow for two columns the text goes beneath.
std::string beside(std::string left, std::size_t width, const std::string& text,
                   std::size_t columns) {
    const bool beneath = columns > 0 && columns < width + 40;
    const std::size_t indent = beneath ? kNarrowLeft + 4 : width;
    if (beneath)
        left += "\n" + std::string(indent, ' ');
    else
        left.resize(std::max(left.size() + 2, width), ' ');
    std::string out = std::move(left);
    std::size_t at = beneath ? indent : out.size();
    bool first = true;
    for (const std::string& word : split(text, ' ')) {
        if (!first && columns > 0 && at + 1 + word.size() > columns) {
            out += "\n" + std::string(indent, ' ');
            at = indent;
        } else if (!first) {
            out += ' ';
            ++at;
        }
        out += word;
        at += word.size();
        first = false;
    }
    return out + "\n";
}

std::string folded(const std::string& text, std::size_t columns) {
    std::string out;
    for (const std::string& line : split(text, '\n')) out += beside("", 0, line, columns).substr(2);
    return out;
}

std::string lines_of(const std::vector<Option>& options, std::size_t columns) {
    std::string out;
    for (const Option& option : options) {
        // A second long name stands beneath the first.
        const bool second = option.brief.size() > 2;
        out += beside("  " + (option.brief.empty() || second ? "    " : option.brief + ", ") +
                          option.name + (option.value.empty() ? "" : " " + option.value),
                      kLeftOfOptions,
                      option.help + (option.many ? " May be repeated." : "") +
                          (second ? " Also " + option.brief + "." : ""),
                      columns);
    }
    return out;
}

std::string lines_of(const std::vector<std::string>& examples) {
    if (examples.empty()) return "";
    std::string out = examples.size() == 1 ? "\nexample:\n" : "\nexamples:\n";
    for (const std::string& example : examples) out += "  " + example + "\n";
    return out;
}

}  // namespace

std::string help_of(const Command& command, std::size_t columns) {
    std::string out = "usage: turnout " + words_of(command);
    if (!command.options.empty()) out += " [options]";
    if (!command.operand.empty()) out += " " + command.operand;
    if (command.takes_rest) out += " -- PROGRAM [ARGUMENTS]";
    out += "\n\n" + folded(command.help, columns) + lines_of(command.examples);
    if (!command.options.empty()) out += "\noptions:\n" + lines_of(command.options, columns);
    return out + "\noptions of every command:\n" + lines_of(common_options(), columns);
}

std::string help_of(const std::vector<Command>& commands, const std::vector<Group>& groups,
                    const std::string& group, std::size_t columns) {
    std::string out = group.empty() ? "usage: turnout COMMAND [options]\n"
                                    : "usage: turnout " + group + " VERB [options]\n";
    std::vector<std::string> examples = {"turnout up --detach",
                                         "turnout job create job.yml --stream", "turnout job list"};
    for (const Group& one : groups)
        if (one.word == group) {
            out += "\n" + folded(one.help, columns);
            examples = one.examples;
        }
    std::string last = "\n";
    for (const Command& command : commands) {
        if (command.hidden || (!group.empty() && command.words[0] != group)) continue;
        if (command.words.size() == 1 ? last != "" : command.words[0] != last) out += "\n";
        last = command.words.size() == 1 ? "" : command.words[0];
        out += beside("  " + words_of(command), kLeftOfCommands,
                      command.help.substr(0, command.help.find('\n')), columns);
    }
    return out + lines_of(examples) + "\n`turnout " +
           (group.empty() ? "COMMAND" : group + " VERB") + " --help` tells " +
           (group.empty() ? "its options" : "the options of one") + ".\n";
}

}  // namespace turnout::cli
