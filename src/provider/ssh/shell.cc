#include "provider/ssh/shell.h"

#include "base/text.h"

namespace turnout {

std::string shell(std::string_view script, std::initializer_list<std::string> arguments) {
    std::string command = "exec sh -c " + quote_for_shell(script) + " sh";
    for (const std::string& one : arguments) command += " " + quote_for_shell(one);
    return command;
}

std::string first_line(std::string_view text) {
    text = trim(text);
    return std::string(text.substr(0, text.find('\n')));
}

}  // namespace turnout
