// What the shell may offer at the cursor, from the rows of the table of commands.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/arguments.h"

namespace turnout::cli {

struct Completion {
    enum class Paths { None, Files, Folders };
    std::vector<std::pair<std::string, std::string>> words;  // and what they mean, or ""
    Paths paths = Paths::None;
    std::string names_of;  // "job", "compute", …: the server knows them; "" = none are wanted here
    std::string prefix;  // of the word that is being typed, before what is completed: "--compute="
    std::string typed;   // the rest of it
    const Command* command = nullptr;
};

// `words` are those behind `turnout`, the last one is being typed and may be empty. `=` as a word
// of its own, as bash splits, belongs to its neighbours.
Completion complete(const std::vector<Command>& commands, std::vector<std::string> words);

// For `source <(…)`; asks `turnout __complete`. nullptr: there is none for that shell.
const char* completion_script(std::string_view shell);

}  // namespace turnout::cli
