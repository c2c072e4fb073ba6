// The table of commands: its rows are in command_rows_*.cc, what they call in the *_commands.cc.
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "cli/command_rows.h"

namespace turnout::cli {

std::vector<Option> of_several(const std::string& all, std::vector<Option> more) {
    std::vector<Option> options = {kNames,      {"--all", "", "", all + " It asks first.", false},
                                   kStatus,     kCompute,
                                   kUser,       kMine,
                                   kExperiment, kYesToAll};
    options.insert(options.end(), more.begin(), more.end());
    return options;
}

std::vector<Option> with(std::vector<Option> first, const std::vector<Option>& more) {
    for (const Option& option : more) {
        const auto known = std::ranges::find(first, option.name, &Option::name);
        if (known == first.end()) {
            first.push_back(option);
            continue;
        }
        // What either of them takes.
        for (const std::string& value : option.values)
            if (!known->values.empty()) known->values.push_back(value);
    }
    return first;
}

namespace {

std::vector<Command> build_table() {
    std::vector<Command> table;
    for (const auto& part :
         {rows_of_server(), rows_of_jobs(), rows_of_resources(), rows_of_operating()})
        table.insert(table.end(), part.begin(), part.end());
    for (Command& command : table) command.examples = examples_of(command.words);
    // What a command is about needs no option: a file, or a name.
    for (Command& command : table)
        for (const Option& option : command.options) {
            if (option.name == "--file" &&
                (command.words.back() == "create" || command.words.back() == "attach" ||
                 command.words.back() == "validate"))
                command.operand = kFileOperand;
            if (option.name == "--name" && command.operand.empty())
                command.operand = option.many ? kNamesOperand : kNameOperand;
        }
    return table;
}

}  // namespace

const std::vector<Command>& command_table() {
    static const std::vector<Command> table = build_table();
    return table;
}

int run_cli(int argc, char** argv, ServerCommands hooks) {
    const std::vector<Command>& table = command_table();
    std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    if (words.size() == 1 && words[0] == "--version") words = {"version"};
    const Result<Arguments> arguments = parse_arguments(table, words);
    if (!arguments) {
        std::fputs(error_text(arguments.error()).c_str(), stderr);
        return exit_code_of(arguments.error().code);
    }
    if (arguments->command == nullptr) {
        const std::string group = arguments->operands.empty() || arguments->operands[0][0] == '-' ||
                                          arguments->operands[0] == "help"
                                      ? ""
                                      : arguments->operands[0];
        print(help_of(table, command_groups(), group, screen_of(1).columns));
        return words.empty() ? 2 : 0;
    }
    if (arguments->help) {
        print(help_of(*arguments->command, screen_of(1).columns));
        return 0;
    }
    // What a closed pipe does is up to the write: it ends a command (`print`), but never the
    // server.
    if (arguments->command->run != server_up && arguments->command->run != exec_in_environment)
        ::signal(SIGPIPE, SIG_IGN);
    Context context(*arguments, hooks, table);
    return arguments->command->run(context);
}

}  // namespace turnout::cli
