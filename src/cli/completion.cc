#include "cli/completion.h"

#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "base/text.h"
#include "cli/commands.h"
#include "resources/documents.h"

namespace turnout::cli {

namespace {

constexpr const char* kBash = R"(# turnout completion for bash: source <(turnout completion bash)
_turnout() {
    local IFS=$'\n' line current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    while read -r line; do
        case $line in
            :files) compopt -o default -o bashdefault 2>/dev/null ;;
            :folders) compopt -o filenames 2>/dev/null
                COMPREPLY+=($(compgen -d -- "$current")) ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(turnout __complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _turnout turnout
)";

constexpr const char* kZsh = R"(#compdef turnout
# turnout completion for zsh: source <(turnout completion zsh), or as _turnout in a folder of $fpath
_turnout() {
    local line paths
    local -a candidates
    for line in "${(@f)$(turnout __complete zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :*) paths=$line ;;
            *$'\t'*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            *) candidates+=("${line//:/\\:}") ;;
        esac
    done
    (( $#candidates )) && _describe turnout candidates
    case $paths in
        :files) _files ;;
        :folders) _files -/ ;;
    esac
}
if [ "$funcstack[1]" = _turnout ]; then _turnout "$@"; elif (( $+functions[compdef] )); then compdef _turnout turnout; fi
)";

constexpr const char* kFish = R"(# turnout completion for fish: turnout completion fish | source
function __turnout_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (turnout __complete fish -- $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :folders
                __fish_complete_directories "$current" ''
            case '*'
                echo $line
        end
    end
end
complete -c turnout -f -a '(__turnout_complete)'
)";

// The first sentence, or part of one, of a help text.
std::string brief_of(const std::string& help) {
    std::string text = help.substr(0, help.find('\n'));
    if (text.ends_with('.')) text.pop_back();
    return text;
}

const Option* option_named(const Command& command, std::string_view word) {
    for (const std::vector<Option>* options : {&command.options, &common_options()})
        for (const Option& option : *options)
            if (option.name == word || (!option.brief.empty() && option.brief == word))
                return &option;
    return nullptr;
}

// What stands behind an option.
void complete_value(Completion& out, const Option& option) {
    static const std::pair<const char*, const char*> kinds[] = {
        {"--compute", "compute"},         {"--job", "job"},
        {"--parent-job-name", "sweep"},   {"--experiment-name", "experiment"},
        {"--experiment", "experiment"},   {"--user", "user"},
        {"--workspace-name", "workspace"}};
    for (const std::string& value : option.values) out.words.emplace_back(value, "");
    for (const auto& [name, kind] : kinds)
        if (option.name == name) out.names_of = kind;
    if (option.name == "--name" && out.command->words.back() != "create")
        out.names_of = out.command->words[0] == "drill" ? "job" : out.command->words[0];
    if (option.value == "FOLDER") out.paths = Completion::Paths::Folders;
    if (option.value == "FILE" || option.value == "PATH" || option.name == "--path" ||
        option.name == "--conda-file")
        out.paths = Completion::Paths::Files;
}

void complete_operand(Completion& out, const Command& command, std::size_t given) {
    if (command.takes_rest) {
        out.paths = Completion::Paths::Files;
        return;
    }
    if (command.operand.empty() || (given > 0 && !command.operand.ends_with("...]"))) return;
    if (command.operand == kNameOperand || command.operand == kNamesOperand) {
        if (const Option* name = option_named(command, "--name")) complete_value(out, *name);
    } else if (command.operand == kFileOperand) {
        out.paths = Completion::Paths::Files;
    } else if (command.operand == "FOLDER") {
        out.paths = Completion::Paths::Folders;
    }
    for (const std::string& value : command.operand_values) out.words.emplace_back(value, "");
}

}  // namespace

const char* completion_script(std::string_view shell) {
    return shell == "bash" ? kBash : shell == "zsh" ? kZsh : shell == "fish" ? kFish : nullptr;
}

Completion complete(const std::vector<Command>& commands, std::vector<std::string> words) {
    for (std::size_t i = 1; i < words.size();) {
        if (words[i] != "=" || !words[i - 1].starts_with("--")) {
            ++i;
            continue;
        }
        words[i - 1] += "=" + (i + 1 < words.size() ? words[i + 1] : std::string());
        words.erase(words.begin() + static_cast<std::ptrdiff_t>(i),
                    words.begin() + static_cast<std::ptrdiff_t>(std::min(i + 2, words.size())));
    }
    if (words.empty()) words.emplace_back();
    Completion out;
    out.typed = words.back();
    words.pop_back();
    for (const Command& command : commands)
        if (!command.hidden && command.words.size() <= words.size() &&
            std::equal(command.words.begin(), command.words.end(), words.begin()) &&
            (out.command == nullptr || command.words.size() > out.command->words.size()))
            out.command = &command;
    if (out.command == nullptr) {
        std::set<std::string> known;
        for (const Command& command : commands) {
            if (command.hidden || words.size() >= command.words.size() ||
                !std::equal(words.begin(), words.end(), command.words.begin()))
                continue;
            const std::string& word = command.words[words.size()];
            if (!known.insert(word).second) continue;
            std::string means = brief_of(command.help);
            if (command.words.size() > words.size() + 1)
                for (const Group& group : command_groups())
                    if (group.word == word) means = brief_of(group.help);
            out.words.emplace_back(word, means);
        }
        return out;
    }
    const Command& command = *out.command;
    std::set<std::string> used;
    std::size_t operands = 0;
    for (std::size_t i = command.words.size(); i < words.size(); ++i) {
        if (words[i] == "--" || (command.takes_rest && !words[i].starts_with('-'))) {
            complete_operand(out, command, operands);
            return out;
        }
        if (words[i].size() < 2 || words[i][0] != '-') {
            ++operands;
            continue;
        }
        const std::size_t equals = words[i].find('=');
        const Option* option = option_named(command, std::string_view(words[i]).substr(0, equals));
        if (option == nullptr) continue;
        used.insert(option->name);
        if (option->value.empty() || equals != std::string::npos) continue;
        if (++i == words.size()) {  // its value is being typed
            complete_value(out, *option);
            return out;
        }
    }
    if (const std::size_t equals = out.typed.find('=');
        out.typed.starts_with("--") && equals != std::string::npos) {
        const Option* option = option_named(command, std::string_view(out.typed).substr(0, equals));
        out.prefix = out.typed.substr(0, equals + 1);
        out.typed.erase(0, equals + 1);
        if (option != nullptr && !option->value.empty()) complete_value(out, *option);
        return out;
    }
    if (!out.typed.starts_with('-')) {
        complete_operand(out, command, operands);
        if (!out.typed.empty() || out.paths != Completion::Paths::None || !out.names_of.empty() ||
            !out.words.empty())
            return out;
    }
    for (const std::vector<Option>* options : {&command.options, &common_options()})
        for (const Option& option : *options)
            if (option.many || !used.contains(option.name))
                out.words.emplace_back(option.name, brief_of(option.help));
    return out;
}

namespace {

constexpr long kPatienceMicros = 800'000;  // somebody waits at the prompt

void nobody_waits(int) {
    ::_exit(0);
}

// The names that the server knows, the newest first.
std::vector<std::pair<std::string, std::string>> names_there(client::Api& api,
                                                             const Completion& at) {
    const std::string& kind = at.names_of;
    std::string path;
    const auto of_job = [&](std::string_view query) {
        return api.in_workspace("/jobs?%24top=100&") + std::string(query);
    };
    const std::string verb = at.command->words.back();
    if (kind == "job" || kind == "experiment" || kind == "user")
        path = of_job(verb == "restore"  ? "listViewType=ArchivedOnly"
                      : verb == "cancel" ? "listViewType=All&status=" + std::string(kLiveStatuses)
                      : verb == "delete" || verb == "download"
                          ? "listViewType=All&status=" + std::string(kEndedStatuses)
                          : "listViewType=ActiveOnly");
    else if (kind == "sweep")
        path = of_job("listViewType=ActiveOnly&jobType=Sweep");
    else if (kind == "compute")
        path = api.in_workspace("/computes");
    else if (kind == "workspace")
        path = "/subscriptions/" + percent_encode(api.settings().subscription_id) +
               "/providers/Microsoft.MachineLearningServices/workspaces";
    else if (const auto* document = resources::kind_of_word(kind))
        path = api.in_workspace("/" + std::string(document->path));
    else
        return {};
    std::vector<std::pair<std::string, std::string>> names;
    std::set<std::string> known;
    (void)api.each(path, [&](Json& item) {
        std::string name = item.at("name").as_string(), means;
        const Json& properties = item.at("properties");
        if (kind == "experiment")
            name = properties.at("experimentName").as_string();
        else if (kind == "user")
            name = item.at("systemData").at("createdBy").as_string();
        else if (kind == "job" || kind == "sweep")
            means = properties.at("status").as_string() + ", " +
                    properties.at("experimentName").as_string();
        if (!name.empty() && known.insert(name).second)
            names.emplace_back(std::move(name), std::move(means));
        return known.size() < 100;
    });
    return names;
}

}  // namespace

int print_completion(Context& context) {
    const char* const script = completion_script(context.args().operands[0]);
    if (script == nullptr)
        return context.fail({Code::InvalidArgument, "Usage",
                             "there is a completion for bash, zsh and fish, not for '" +
                                 context.args().operands[0] + "'",
                             ""});
    context.out(script);
    return 0;
}

int complete_words(Context& context) {
    const std::vector<std::string>& given = context.args().operands;
    if (given.size() < 3 || given[1] != "--") return 2;
    const bool bash = given[0] == "bash";
    Completion at = complete(context.commands(), {given.begin() + 2, given.end()});
    if (!at.names_of.empty()) {
        // A server that does not answer at once is none: then nothing is offered.
        ::signal(SIGALRM, nobody_waits);
        itimerval patience{};
        patience.it_value.tv_usec = kPatienceMicros;
        ::setitimer(ITIMER_REAL, &patience, nullptr);
        if (const Result<client::Api*> api = context.api())
            for (auto& name : names_there(**api, at)) at.words.push_back(std::move(name));
    }
    std::string text;
    for (const auto& [word, means] : at.words) {
        if (!word.starts_with(at.typed)) continue;
        // Names come from a server: what the shell would read otherwise is not offered.
        if (harmless(word) != word ||
            (bash && quote_for_shell(word) != word && !at.names_of.empty()))
            continue;
        // Behind a '=' bash completes what follows it alone.
        text +=
            (bash ? "" : at.prefix) + word + (means.empty() ? "" : "\t" + harmless(means)) + "\n";
    }
    if (at.paths == Completion::Paths::Files) text += ":files\n";
    if (at.paths == Completion::Paths::Folders) text += ":folders\n";
    context.out(text);
    return 0;
}

}  // namespace turnout::cli
