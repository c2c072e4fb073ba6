// The command line: rows that say what a command takes, and what was given.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::cli {

struct Option {
    std::string name;   // "--max-instances"
    std::string brief;  // "-n", or ""
    std::string value;  // what it takes, for the help: "NAME"; "" = a flag
    std::string help;
    bool many = false;                     // may be repeated; all values count
    std::vector<std::string> values = {};  // that it takes, if they are few
};

class Context;

inline constexpr const char* kNameOperand = "[NAME]";  // the same as --name
inline constexpr const char* kNamesOperand =
    "[NAME...]";                                       // the same as --name, which may be repeated
inline constexpr const char* kFileOperand = "[FILE]";  // the same as --file

struct Command {
    std::vector<std::string> words;  // {"job", "create"}
    std::string help;
    std::vector<Option> options;
    int (*run)(Context& context) = nullptr;
    std::string operand =
        {};  // "URL": one positional argument; "[KIND...]": any number; kNameOperand and the like:
             // another way to give an option; "" = none
    bool takes_rest =
        false;  // everything after `--`, or from the first operand, is a program and its arguments
    bool hidden = false;
    std::vector<std::string> examples = {};
    std::vector<std::string> operand_values = {};
};

// Commands that begin with the same word.
struct Group {
    std::string word, help;
    std::vector<std::string> examples;
};

struct Arguments {
    const Command* command = nullptr;
    std::map<std::string, std::vector<std::string>> values;  // by "--name"; a flag has "true"
    std::vector<std::string> operands;
    bool help = false;

    bool has(const std::string& name) const { return values.contains(name); }
    std::string get(const std::string& name,
                    std::string fallback = {}) const;  // the last one given
    std::vector<std::string> all(const std::string& name) const;
};

// Options that every command takes.
const std::vector<Option>& common_options();

// InvalidArgument with the nearest command or option.
Result<Arguments> parse_arguments(const std::vector<Command>& commands,
                                  const std::vector<std::string>& arguments);

// `columns` of the screen, 0 = lines are not folded.
std::string help_of(const Command& command, std::size_t columns = 0);
std::string help_of(const std::vector<Command>& commands, const std::vector<Group>& groups,
                    const std::string& group, std::size_t columns = 0);  // "" = all

}  // namespace turnout::cli
