#include "submission/command_text.h"

#include <algorithm>
#include <functional>

#include "base/text.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

// Calls `found` with the inside of every "${{ … }}".
Result<void> each_reference(std::string_view text,
                            const std::function<Result<void>(std::string_view inside)>& found) {
    for (std::size_t at = text.find("${{"); at != std::string_view::npos;
         at = text.find("${{", at)) {
        const std::size_t end = text.find("}}", at);
        if (end == std::string_view::npos)
            return refuse("InvalidReference", "the command has '${{' without '}}'", "command");
        TURNOUT_TRY(found(trim(text.substr(at + 3, end - at - 3))));
        at = end + 2;
    }
    return {};
}

// "inputs.x" -> the name, checked against what is declared.
Result<void> check_reference(std::string_view inside, const Declared& declared) {
    struct Group {
        std::string_view word;
        const std::vector<std::string>* names;
    };
    for (const Group& group :
         {Group{"inputs", &declared.inputs}, Group{"outputs", &declared.outputs},
          Group{"search_space", declared.search_space ? &*declared.search_space : nullptr}}) {
        if (!group.names || !inside.starts_with(group.word) || inside.size() <= group.word.size() ||
            inside[group.word.size()] != '.')
            continue;
        const std::vector<std::string>& names = *group.names;
        const std::string name(inside.substr(group.word.size() + 1));
        if (std::ranges::find(names, name) != names.end()) return {};
        std::string known = names.empty() ? "the job has no " + std::string(group.word)
                                          : "it has " + join(names, ", ");
        return refuse("InvalidReference",
                      "the command uses ${{" + std::string(inside) + "}}, which is not declared" +
                          did_you_mean(name, names) + " (" + known + ")",
                      "command");
    }
    if (inside == "secrets" || inside.starts_with("secrets."))
        return no_secrets_here("the command", "command");
    return refuse("InvalidReference",
                  "the command uses ${{" + std::string(inside.substr(0, 100)) +
                      "}}: only ${{inputs.NAME}} and ${{outputs.NAME}} are known",
                  "command");
}

Result<std::string> without_optional(std::string_view command, const Declared& declared) {
    std::string expanded;
    while (true) {
        const std::size_t at = command.find("$[[");
        expanded += command.substr(0, at);
        if (at == std::string_view::npos) return expanded;
        const std::size_t end = command.find("]]", at);
        if (end == std::string_view::npos)
            return refuse("InvalidReference", "the command has '$[[' without ']]'", "command");
        const std::string_view inside = command.substr(at + 3, end - at - 3);
        bool given = true;
        TURNOUT_TRY(each_reference(inside, [&](std::string_view name) -> Result<void> {
            if (!check_reference(name, declared)) given = false;
            return {};
        }));
        if (given) expanded += inside;
        command.remove_prefix(end + 2);
    }
}

}  // namespace

Result<std::string> expand_command(const std::string& command, const Declared& declared) {
    std::string expanded = TURNOUT_TRY(without_optional(command, declared));
    TURNOUT_TRY(each_reference(
        expanded, [&](std::string_view inside) { return check_reference(inside, declared); }));
    return expanded;
}

}  // namespace turnout::submission
