// The command line of a task: `${{inputs.x}}` and `${{outputs.y}}` replaced so that a value is
// always one word (or one part of one) whatever is in it, and the decision whether a shell is
// needed. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::agent {

struct Substitutions {
    std::map<std::string, std::string, std::less<>> inputs;
    std::map<std::string, std::string, std::less<>> outputs;
};

// Aware of the shell's quotes at each place: outside quotes a value is quoted if it needs it, inside
// "…" and '…' it is escaped as they ask. InvalidArgument names a placeholder that has no value.
Result<std::string> substitute(std::string_view command, const Substitutions& values);

// The same for text that no shell reads (an environment variable): plain replacement.
Result<std::string> substitute_plain(std::string_view text, const Substitutions& values);

// What to execute: the words themselves if no shell is needed to understand them, else
// {shell, "-c", command}.
std::vector<std::string> to_argv(std::string_view command, std::string_view shell);

}  // namespace turnout::agent
