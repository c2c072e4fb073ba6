// What a running command has: its arguments, the server, and where to write.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "client/api.h"
#include "resources/resources.h"

namespace turnout::cli {

class Context {
public:
    Context(Arguments arguments, const ServerCommands& hooks, const std::vector<Command>& commands);

    const Arguments& args() const { return args_; }
    const ServerCommands& hooks() const { return hooks_; }
    const std::vector<Command>& commands() const { return commands_; }

    // Opened when first asked for, with -g, -w and --subscription in place of the defaults.
    Result<client::Api*> api();
    Result<client::Settings> settings() const;
    // What the command is about: -n NAME, or the name alone.
    Result<std::string> name() const;
    // The same of a command that takes several; each once.
    Result<std::vector<std::string>> names() const;
    // Asks on a terminal whether that is meant, unless --yes was given, which it takes elsewhere.
    // `would`: "3 jobs would be canceled"; `instead`: what else could be done, or "".
    Result<void> agreed(const std::string& would, const std::string& question,
                        const std::string& instead = "");

    // Prints an entity (or a list of them) after --query, in the format asked for. `rest` is the
    // same as the server sent it: a query that finds nothing in the one is tried on the other, so
    // that `properties.status` works as well as `status`.
    int show(const Json& entity, const Json& rest = {},
             const std::vector<std::string>& columns = {});
    // Nobody asked for a format or a part, and a person reads: an answer may be in words.
    bool answers_a_person() const {
        return terminal_ && !args_.has("--output") && !args_.has("--query");
    }
    // Shows rows that were made for a table.
    void show_table(const Json& rows, const std::vector<std::string>& columns) {
        out(format(rows, Format::Table, columns, screen_));
    }
    Screen screen() const { return screen_; }
    // The format asked for: on a terminal, unless -o says otherwise, what people read.
    Result<Format> output_format() const;
    int fail(const Error& error);
    void out(std::string_view text);
    void note(std::string_view text);  // a line on stderr

    // One line on stderr that is replaced on a terminal; elsewhere each new text is a line.
    void status(const std::string& text);
    void end_status();
    client::Progress bar(const std::string& what);  // for a transfer

    bool quiet() const { return !error_terminal_; }
    bool error_terminal() const { return error_terminal_; }
    bool terminal() const { return terminal_; }

private:
    void show_text(const std::string& text);

    Arguments args_;
    const ServerCommands& hooks_;
    const std::vector<Command>& commands_;
    std::unique_ptr<client::Api> api_;
    bool terminal_ = false, error_terminal_ = false;
    Screen screen_, error_screen_;
    std::string last_status_;
};

// A YAML file after flags and --set, checked.
struct Loaded {
    YamlDocument document;
    const resources::Description* description = nullptr;
    std::vector<resources::LocalPath> local;
    std::vector<resources::Reference> references;
    std::vector<std::string> inline_environments, inline_models;
};
// `required_file`: without -f it is refused, unless flags of the description were given.
Result<Loaded> load(Context& context, std::string_view kind);
// The same of a document that was read already; relative paths in it begin in `folder`.
Result<Loaded> checked(YamlDocument document, std::string_view kind, const std::string& folder);

// "a.b[0].c=VALUE" put into the document; VALUE is YAML.
Result<void> apply_set(YamlDocument& document, const std::string& assignment);

// The flags that a kind's description gives, as options.
std::vector<Option> options_of(const resources::Description& description);

// Uploads what the document names, resolves labels and defines inline environments; afterwards it
// can be turned into REST.
Result<void> prepare(Context& context, Loaded& loaded);

}  // namespace turnout::cli
