// What a machine's shell is given, and what is told of its answer. Pure.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace turnout {

// A command for whichever login shell: a POSIX shell in its place, with that script and its
// arguments.
std::string shell(std::string_view script, std::initializer_list<std::string> arguments);

std::string first_line(std::string_view text);

}  // namespace turnout
