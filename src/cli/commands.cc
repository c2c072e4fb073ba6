// The table of commands. A new one is a row here and a function in one of the *_commands.cc files.
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "cli/commands.h"

namespace turnout::cli {

namespace {

const Option kFile{"--file", "-f", "FILE", "YAML file; - reads standard input.", false};
const Option kSet{"--set", "", "KEY=VALUE", "Overrides one value, such as resources.shm_size=2g.",
                  true};
const Option kName{"--name", "-n", "NAME", "Name.", false};
const Option kVersion{"--version", "-v", "VERSION", "Version.", false};
const Option kLabel{"--label", "-l", "LABEL", "`latest`.", false};
const Option kNoWait{"--no-wait", "", "", "Do not wait for it to end.", false};
const Option kYes{"--yes", "-y", "", "Accepted for az's sake; nothing is asked.", false};
const Option kSeconds{"--seconds", "", "N", "For how long; 20 if absent.", false};
const Option kMaxResults{"--max-results", "-r", "N", "At most so many.", false};
const Option kArchivedOnly{"--archived-only", "", "", "Only archived ones.", false};
const Option kIncludeArchived{"--include-archived", "", "", "Archived ones too.", false};

std::vector<Option> with(std::vector<Option> first, const std::vector<Option>& more) {
    for (const Option& option : more) {
        bool known = false;
        for (const Option& each : first) known = known || each.name == option.name;
        if (!known) first.push_back(option);
    }
    return first;
}

std::vector<Command> build_table() {
    std::vector<Command> table = {
        {{"up"},
         "Starts the server.\nIt stays in the foreground unless --detach is given.",
         {{"--listen", "", "HOST:PORT",
           "Where HTTPS is served; port 0 picks a free one and keeps it.", false},
          {"--plain-listen", "", "HOST:PORT",
           "Where this machine's own programs are served without TLS: a loopback address.", false},
          {"--detach", "-d", "", "Goes on in the background once it answers.", false},
          {"--restart", "", "",
           "A server that runs another build than this one is stopped first, and this one started "
           "with its options; running jobs go on.",
           false},
          {"--slots", "", "N",
           "Slots of the default pool: how many nodes it has room for; as many as the machine has "
           "cores, at least 2, if absent.",
           false},
          {"--python", "", "PATH", "Interpreter of the default pool.", false},
          {"--uv", "", "PATH", "The uv executable that prepares environments.", false},
          {"--accept-loss", "", "",
           "Starts although the database or its log is missing, without what was in it.", false}},
         server_up},
        {{"down"},
         "Stops the server and tells what goes on running.",
         {{"--all", "", "", "Ends running jobs and nodes too, and cancels what waits in the queue.",
           false},
          {"--yes", "-y", "", "Does not ask before waiting jobs are canceled.", false}},
         server_down},
        {{"backup"},
         "Copies what the server holds into a folder, while it runs or not: database, content, "
         "keys.\nGive the folder of an earlier backup to bring that up to date. Whoever can read a "
         "backup can act as any user of the server.",
         {},
         server_backup,
         "FOLDER"},
        {{"restore"},
         "Makes the data folder, which must be empty, from a backup that is checked first.",
         {{"--check", "", "", "Only checks the backup.", false}},
         server_restore,
         "FOLDER"},
        {{"status"}, "Tells whether the server runs, and where.", {}, server_status},
        {{"env"},
         "Prints the variables that point the real clients at the server: eval \"$(turnout env)\".",
         {},
         print_environment},
        {{"exec"},
         "Runs a program in that environment: turnout exec -- python script.py",
         {},
         exec_in_environment,
         "",
         true},
        {{"config"}, "Prints the SDK's config.json.", {}, print_config},
        {{"login"},
         "Sets up this machine for a server elsewhere.\nThe API key is read from --key-file or "
         "standard input.",
         {{"--key-file", "", "FILE", "File with the API key.", false},
          {"--ca-file", "", "FILE", "ca.pem of the server's data folder.", false},
          {"--fingerprint", "", "SHA256",
           "Trusts the server's authority if it has this fingerprint.", false}},
         login,
         "URL"},
        {{"version"}, "Prints the version.", {}, print_version},
        {{"docs"}, "Writes the reference page.", {kFile}, print_reference, "", false, true},

        {{"job", "create"},
         "Submits a job.\nWith --stream the exit code is the job's own.",
         {kFile,
          kName,
          kSet,
          {"--stream", "-s", "", "Follows its log to the end.", false},
          {"--web", "", "", "Prints the link of its page, and opens it where there is a browser.",
           false}},
         job_create},
        {{"job", "list"},
         "Lists jobs, the newest first.",
         {kMaxResults,
          {"--all-results", "", "", "All of them; 50 otherwise.", false},
          {"--status", "", "STATUS", "Only those with this status.", false},
          {"--compute", "", "NAME", "Only those of this compute.", false},
          {"--user", "", "NAME", "Only those that this user submitted.", false},
          {"--mine", "", "", "Only your own.", false},
          {"--metrics", "", "NAMES",
           "The latest values of these metrics as columns, such as loss,accuracy; `all` of them.",
           false},
          {"--experiment-name", "", "NAME", "Only those of this experiment.", false},
          {"--parent-job-name", "", "NAME", "The trials of this sweep.", false},
          kArchivedOnly,
          kIncludeArchived},
         job_list},
        {{"job", "show"},
         "Shows a job.",
         {kName,
          {"--web", "", "", "Prints the link of its page, and opens it where there is a browser.",
           false}},
         job_show},
        {{"job", "stream"},
         "Follows a job's log to the end; the exit code is the job's own. Ctrl-C detaches.",
         {kName},
         job_stream},
        {{"job", "cancel"}, "Stops a job.", {kName, kNoWait}, job_cancel},
        {{"job", "download"},
         "Downloads a job's artifacts and outputs.",
         {kName,
          {"--download-path", "-p", "FOLDER", "Where to; the current folder if absent.", false},
          {"--output-name", "", "NAME", "One named output only.", false},
          {"--all", "", "", "Artifacts and every named output.", false}},
         job_download},
        {{"job", "explain"},
         "Tells why a job waits, what would start it now, and how its time was spent.",
         {kName},
         job_explain},
        {{"job", "ledger"},
         "Shows where a job's time went: every microsecond belongs to one cause.\nWith "
         "--experiment the sums over the ended jobs of an experiment.",
         {kName,
          {"--experiment", "", "NAME",
           "Sums over its ended jobs, and the node time that they used.", false}},
         job_ledger},
        {{"job", "update"},
         "Changes display_name, description, tags or properties.",
         {kName, kSet},
         job_update},
        {{"job", "archive"}, "Hides a job from lists.", {kName}, job_archive},
        {{"job", "restore"}, "Shows an archived job in lists again.", {kName}, job_restore},
        {{"job", "delete"}, "Deletes a job.", {kName, kYes}, job_delete},
        {{"job", "validate"},
         "Checks a YAML file and the paths it names, without the server.",
         {kFile, kSet},
         validate},

        {{"events"},
         "Shows what happened to jobs, nodes and computes, and why.\nThe newest 50; with --job all "
         "of that job. With -f it goes on as things happen.",
         {{"--follow", "-f", "", "Goes on with what happens next, until Ctrl-C.", false},
          {"--job", "", "NAME", "Only of this job.", false},
          {"--compute", "", "NAME", "Only of this compute, its nodes and its jobs.", false},
          {"--kind", "", "KIND", "Only of a `job`, `node` or `compute`.", false},
          kMaxResults},
         show_events},

        {{"drill", "preempt"},
         "Takes its node away from a running job, as a dedicated cluster would.\nEnds with a "
         "verdict: what was lost, what resumed, how long it took; exit code 0 if it passed.",
         {kName},
         drill_preempt},
        {{"drill", "kill-node"},
         "Kills every process of the node of a running job at one moment.\nEnds with a verdict: "
         "what was lost, what resumed, how long it took; exit code 0 if it passed.",
         {kName},
         drill_kill_node},
        {{"drill", "partition"},
         "Cuts the link between the server and the node of a running job, and heals it.\nEnds with "
         "a verdict: what was lost, what resumed, how long it took; exit code 0 if it passed.",
         {kName, kSeconds},
         drill_partition},
        {{"drill", "fill-disk"},
         "Fills the file system of a running job's node, and frees it again.\nRefused where others "
         "would suffer. Ends with a verdict; exit code 0 if it passed.",
         {kName, kSeconds, {"--yes", "-y", "", "Needed: it really fills that file system.", false}},
         drill_fill_disk},

        {{"compute", "create"},
         "Makes a compute cluster.",
         with({kFile, kSet, kNoWait}, options_of(spec::aml_compute())),
         compute_create},
        {{"compute", "list"},
         "Lists computes.",
         {{"--type", "", "TYPE", "Only of this type.", false}},
         compute_list},
        {{"compute", "show"}, "Shows a compute.", {kName}, compute_show},
        {{"compute", "update"},
         "Changes a cluster's limits.",
         with({kName, kSet, kNoWait}, options_of(spec::aml_compute())),
         compute_update},
        {{"compute", "delete"}, "Deletes a compute.", {kName, kYes, kNoWait}, compute_delete},
        {{"compute", "ledger"},
         "Shows where a cluster's time went: its ended jobs, its nodes, what they cost.\nThe tag "
         "turnout.price_per_hour of the cluster is the price of one node.",
         {kName},
         compute_ledger},
        {{"compute", "list-nodes"}, "Lists the nodes of a cluster.", {kName}, compute_list_nodes},
        {{"compute", "list-sizes"},
         "Lists VM sizes.",
         {{"--location", "-l", "REGION", "Region.", false}},
         compute_list_sizes},
        {{"compute", "list-usage"},
         "Lists usage against limits.",
         {{"--location", "-l", "REGION", "Region.", false}},
         compute_list_usage},
        {{"compute", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
    };
    struct Asset {
        const char* word;
        const char* article;
        const spec::Description& (*description)();
    };
    for (const Asset& asset : {Asset{"environment", "an environment", spec::environment},
                               Asset{"data", "a data asset", spec::data_asset},
                               Asset{"model", "a model", spec::model_asset}}) {
        const std::string word = asset.word, article = asset.article;
        table.push_back({{word, "create"},
                         "Registers " + article + "; local paths are uploaded.",
                         with({kFile, kSet}, options_of(asset.description())),
                         asset_create});
        table.push_back({{word, "list"},
                         "Lists them; with -n the versions of one.",
                         {kName, kMaxResults, kArchivedOnly, kIncludeArchived},
                         asset_list});
        table.push_back({{word, "show"},
                         "Shows " + article + ": the newest version unless -v is given.",
                         {kName, kVersion, kLabel},
                         asset_show});
        table.push_back({{word, "archive"},
                         "Hides it, or one version, from lists.",
                         {kName, kVersion},
                         asset_archive});
        table.push_back(
            {{word, "restore"}, "Shows it in lists again.", {kName, kVersion}, asset_restore});
        table.push_back({{word, "validate"},
                         "Checks a YAML file and the paths it names, without the server.",
                         {kFile, kSet},
                         validate});
    }
    const std::vector<Command> rest = {
        {{"datastore", "create"}, "Registers a datastore.", {kFile, kName, kSet}, datastore_create},
        {{"datastore", "list"}, "Lists datastores.", {}, datastore_list},
        {{"datastore", "show"}, "Shows a datastore.", {kName}, datastore_show},
        {{"datastore", "delete"},
         "Deletes a datastore; its data stays.",
         {kName, kYes},
         datastore_delete},
        {{"datastore", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
        {{"workspace", "create"},
         "Makes a workspace.",
         with({kFile, kSet}, options_of(spec::workspace())),
         workspace_create},
        {{"workspace", "list"}, "Lists workspaces.", {}, workspace_list},
        {{"workspace", "show"}, "Shows a workspace.", {kName}, workspace_show},
        {{"workspace", "delete"}, "Deletes a workspace.", {kName, kYes}, workspace_delete},
        {{"workspace", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
    };
    table.insert(table.end(), rest.begin(), rest.end());
    // A name needs no -n, unless a file is what a command is about.
    for (Command& command : table)
        if (command.words.back() != "create" &&
            std::any_of(command.options.begin(), command.options.end(),
                        [](const Option& option) { return option.name == "--name"; }))
            command.operand = kNameOperand;
    return table;
}

}  // namespace

int run_cli(int argc, char** argv, ServerCommands hooks) {
    const std::vector<Command> table = build_table();
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
        print(help_of(table, group));
        return words.empty() ? 2 : 0;
    }
    if (arguments->help) {
        print(help_of(*arguments->command));
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
