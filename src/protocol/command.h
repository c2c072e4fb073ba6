// The command line of a task: `${{inputs.x}}`, `${{outputs.y}}` and `${{search_space.z}}` replaced
// in one pass so that a value is always one word (or one part of one) whatever is in it, and the
// decision whether a shell is needed. Pure.
//
// A value that could mean anything to a shell is never part of the shell's text: it is the value of
// a variable that the text begins with, and the place where it belongs names that variable, in the
// quotes that the place needs. So nothing of a value is ever run or expanded, even where the place
// was taken for another one.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout {

// A program is given no longer text than that (MAX_ARG_STRLEN of Linux, less its NUL).
inline constexpr std::size_t kMaxArgument = (128 << 10) - 1;
// Nor may a command become longer than that by what is put in.
inline constexpr std::size_t kMaxExpanded = 2 << 20;

struct Substitutions {
    using Values = std::map<std::string, std::string, std::less<>>;
    Values inputs, outputs, search_space;
};

struct Invocation {
    std::vector<std::string> argv;
    // What the shell of `argv` is to read, if that is too long for an argument: belongs into a
    // file, and its path behind `argv`.
    std::string script;
};

// The words themselves if no shell is needed to understand them, else `shell` with a script.
// InvalidArgument names a placeholder that has no value, or whose value cannot be put there.
Result<Invocation> invocation(std::string_view command, const Substitutions& values,
                              std::string_view shell);

}  // namespace turnout
