// The table of commands. A new one is a row here and a function in one of the *_commands.cc files.
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "cli/commands.h"
#include "resources/documents.h"

namespace turnout::cli {

namespace {

const Option kFile{"--file", "-f", "FILE", "YAML file; - reads standard input.", false};
const Option kJobFile{"--file", "-f", "FILE",
                      "YAML file, or a folder with a job.yml in it; - reads standard input.",
                      false};
const Option kSet{"--set", "", "KEY=VALUE", "Overrides one value, such as resources.shm_size=2g.",
                  true};
const Option kName{"--name", "-n", "NAME", "Name.", false};
const Option kNames{"--name", "-n", "NAME", "Name.", true};
const Option kVersion{"--version", "-v", "VERSION", "Version.", false};
const Option kLabel{"--label", "-l", "LABEL", "`latest`.", false};
const Option kNoWait{"--no-wait", "", "", "Do not wait for it to end.", false};
const Option kYes{"--yes", "-y", "", "Accepted for az's sake; nothing is asked.", false};
const Option kYesToAll{"--yes", "-y", "", "Does not ask, as --all does.", false};
const Option kYesToRevoke{"--yes", "-y", "",
                          "Does not ask, if it is the one that this command uses.", false};
const Option kExpires{"--expires", "", "WHEN",
                      "An age such as 30d, a day such as 2030-01-31, or never; 90d if absent.",
                      false};
const Option kReadOnly{"--read-only", "", "", "It changes nothing.", false};
const Option kWorkspaceOnly{"--workspace-only", "", "",
                            "It opens nothing but the workspace (of -w, or the usual one).", false};
const Option kOfUser{"--user", "", "NAME", "The user.", false};
const Option kOfEveryUser{"--default", "", "", "Every user, where nothing else is said.", false};
const Option kOnServer{"--server", "", "", "On the whole server.", false};
const Option kOnCompute{"--compute", "", "NAME", "On this compute of the workspace only.", false};
const Option kSeconds{"--seconds", "", "N", "For how long; 20 if absent.", false};
const Option kMaxResults{"--max-results", "-r", "N", "At most so many.", false};
const Option kArchivedOnly{"--archived-only", "", "", "Only archived ones.", false};
const Option kIncludeArchived{"--include-archived", "", "", "Archived ones too.", false};
const Option kStatus{
    "--status",
    "",
    "STATUS",
    "Only those with this status.",
    false,
    {"Queued", "Preparing", "Running", "Completed", "Failed", "Canceled", "NotStarted",
     "Provisioning", "Starting", "Finalizing", "CancelRequested", "NotResponding", "Paused"}};
const Option kCompute{"--compute", "", "NAME", "Only those of this compute.", false};
const Option kUser{"--user", "", "NAME", "Only those that this user submitted.", false};
const Option kMine{"--mine", "", "", "Only your own.", false};
const Option kFilter{"--filter", "", "FILTER",
                     "Only those that MLflow's filter finds, such as \"metrics.loss < 0.5 and "
                     "params.lr = '0.1'\".",
                     false};
const Option kExperiment{"--experiment-name", "--experiment", "NAME",
                         "Only those of this experiment.", false};

const std::vector<std::string> kSpaceKinds = {"jobs", "data", "inputs", "environments", "caches"};

// Of a verb that several jobs are given to.
std::vector<Option> of_several(const std::string& all, std::vector<Option> more = {}) {
    std::vector<Option> options = {kNames,      {"--all", "", "", all + " It asks first.", false},
                                   kStatus,     kCompute,
                                   kUser,       kMine,
                                   kExperiment, kYesToAll};
    options.insert(options.end(), more.begin(), more.end());
    return options;
}

std::vector<Option> with(std::vector<Option> first, const std::vector<Option>& more) {
    for (const Option& option : more) {
        const auto known = std::ranges::find(first, option.name, &Option::name);
        if (known == first.end()) {
            first.push_back(option);
            continue;
        }
        // What either of them takes.
        for (const std::string& value : option.values)
            if (!known->values.empty()) known->values.push_back(value);
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
           "Slots of the default pool: how many nodes it has room for. Kept; at first as many as "
           "the machine has cores, at least 2. A server that runs takes it too: more at once, "
           "fewer as jobs end.",
           false},
          {"--python", "", "PATH", "Interpreter of the default pool.", false},
          {"--uv", "", "PATH", "The uv executable that prepares environments.", false},
          {"--tls-certificate", "", "FILE",
           "A certificate, with its chain, in PEM: shown to who asks for one of its names; under "
           "all others the server shows its own. With --tls-key. Read again when it changes.",
           false},
          {"--tls-key", "", "FILE", "The key of --tls-certificate, in PEM.", false},
          {"--allow-fetch", "", "HOST[:PORT]",
           "Inputs may be fetched from there, too, although it is no public address or another "
           "port than 80 and 443: a name, an address or a network such as 10.0.0.0/8.",
           true},
          {"--fetch-mirror", "", "ADDRESS=COPY",
           "What lies beneath that address is fetched beneath the copy's instead, whatever address "
           "that has: for machines without the internet.",
           true},
          {"--fetch-limit", "", "GB",
           "Size of the largest input that is fetched from outside; 64 if absent.", false},
          {"--cache-limit", "", "SIZE",
           "How much the nodes may keep for later jobs (code, inputs, environments), such as 20GB; "
           "what was not used for longest goes first. What retention.yaml says if absent.",
           false},
          {"--python-mirror", "", "PLACE",
           "URL or folder from which Pythons that this machine does not have are fetched, now and "
           "from then on; 'none' takes it back.",
           false},
          {"--accept-loss", "", "",
           "Starts although the database or its log is missing, without what was in it.", false}},
         server_up},
        {{"down"},
         "Stops the server and tells what goes on running.",
         {{"--drain", "", "",
           "Begins nothing new and stops when what runs has ended; what waits stays in the queue.",
           false},
          {"--all", "", "", "Ends running jobs and nodes too, and cancels what waits in the queue.",
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
        {{"du"},
         "Shows what takes how much space on the server, and for how long it was not used.\nWith a "
         "kind the largest of that kind: turnout du jobs, turnout du environments.",
         {},
         show_space,
         "[KIND...]",
         false,
         false,
         {},
         kSpaceKinds},
        {{"prune"},
         "Removes what was not used for long, and says what became free.\nAlone it does what the "
         "server does by itself every hour: what retention.yaml in its data folder says. With "
         "kinds "
         "or an age it removes these; kinds: jobs (ended ones, with their outputs, logs and runs), "
         "data (uploads and code that nothing names), inputs, environments and caches (what nodes "
         "keep). Never what is registered, jobs it was made from, jobs with the tag turnout.keep, "
         "or what a job that stays needs.",
         {{"--older-than", "", "AGE",
           "Only what was not used for so long, such as 12h, 30d or 0; 30d if kinds are named.",
           false},
          {"--dry-run", "", "", "Only says what would go.", false},
          {"--yes", "-y", "", "Does not ask.", false}},
         prune,
         "[KIND...]",
         false,
         false,
         {},
         kSpaceKinds},
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
         "Sets up this machine for a server elsewhere.\nThe token is read from --key-file or "
         "standard input. A person on a terminal gets one where the server has an identity "
         "provider: by a code, which they enter in a browser.",
         {{"--key-file", "", "FILE", "File with the token; - is standard input.", false},
          {"--use-device-code", "", "",
           "Gets a token from the server's identity provider, also where no terminal is.", false},
          {"--browser", "", "",
           "Makes a link that logs a browser in, once, at the server in use: without URL.", false},
          {"--ca-file", "", "FILE", "ca.pem of the server's data folder.", false},
          {"--fingerprint", "", "SHA256",
           "Trusts the server's authority if it has this fingerprint.", false}},
         login,
         "[URL]"},
        {{"version"}, "Prints the version.", {}, print_version},
        {{"completion"},
         "Prints the script that completes words at the shell's prompt: commands, options, and "
         "names of jobs and computes.",
         {},
         print_completion,
         "SHELL",
         false,
         false,
         {},
         {"bash", "zsh", "fish"}},
        {{"docs"},
         "Writes the reference page.",
         {kFile, {"--man", "", "", "The manual page instead.", false}},
         print_reference,
         "",
         false,
         true},
        {{"__complete"}, "What the completion scripts ask.", {}, complete_words, "", true, true},

        {{"job", "create"},
         "Submits a job.\nWith --stream the exit code is the job's own.",
         {kJobFile,
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
          kStatus,
          kCompute,
          kUser,
          kMine,
          {"--metrics", "", "NAMES",
           "The latest values of these metrics as columns, such as loss,accuracy; `all` of them.",
           false},
          kExperiment,
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
        {{"job", "cancel"},
         "Stops jobs: those named, or with --all every one that the filters leave.",
         of_several("Every job that has not ended.", {kNoWait}),
         job_cancel},
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
         "Changes display_name, experiment_name, description, tags or properties.",
         {kName, kSet},
         job_update},
        {{"job", "archive"},
         "Hides jobs from lists.",
         of_several("Every job that lists show."),
         job_archive},
        {{"job", "restore"},
         "Shows archived jobs in lists again.",
         of_several("Every archived job."),
         job_restore},
        {{"job", "delete"},
         "Deletes jobs that have ended, with their logs and artifacts.",
         of_several("Every job that has ended."),
         job_delete},
        {{"job", "validate"},
         "Checks a YAML file and the paths it names, without the server.",
         {kJobFile, kSet},
         validate},

        {{"events"},
         "Shows what happened to jobs, nodes and computes, and why.\nThe newest 50; with --job all "
         "of that job. With -f it goes on as things happen.",
         {{"--follow", "-f", "", "Goes on with what happens next, until Ctrl-C.", false},
          {"--job", "", "NAME", "Only of this job.", false},
          {"--compute", "", "NAME", "Only of this compute, its nodes and its jobs.", false},
          {"--kind",
           "",
           "KIND",
           "Only of a `job`, `node`, `compute`, or what was removed to give `space` back.",
           false,
           {"job", "node", "compute", "space"}},
          kMaxResults},
         show_events},

        {{"audit"},
         "Shows who did what to what from where, and how it was answered.\nThe newest 50; with "
         "--since all from then on. With -f it goes on as things are done; with -o json each "
         "record is one line, as it is kept, which `turnout audit check --file` takes.",
         {{"--since", "", "TIME",
           "Only from then on: an age such as 2h or 7d, or a time such as 2026-01-31.", false},
          {"--user", "", "NAME", "Only of this user.", false},
          {"--action", "", "ACTION",
           "Only of this action, of which a part will do, such as jobs/write; `*` is any text.",
           false},
          {"--follow", "-f", "", "Goes on with what is done next, until Ctrl-C.", false},
          kMaxResults},
         show_audit},
        {{"audit", "check"},
         "Checks that no record of the audit was changed, removed or put elsewhere, and says "
         "which.",
         {{"--file", "", "FILE", "A file that `turnout audit -o json` wrote, without the server.",
           false}},
         check_audit},

        {{"verify"},
         "Runs probe jobs on each compute, and says whether it does what it claims.\nEach has "
         "code, "
         "an environment, an input, an output, a metric and a log that are held against what came "
         "of it; one is canceled, and one has its node taken away and begins again. Ends with 1 if "
         "a "
         "compute breaks what it claims.",
         {{"--targets", "", "NAME", "Only this compute, or `serverless`; all if absent.", true},
          {"--environment", "", "ENVIRONMENT",
           "Of the probe jobs, as a job's YAML says it; the machine's own Python if absent.",
           false},
          {"--timeout", "", "SECONDS", "For each wait; 300 if absent.", false}},
         verify},
        {{"drill", "list"},
         "Lists the drills that a pool's nodes can have, and who does them.",
         {{"--pool", "", "NAME", "The pool; `local` if absent.", false}},
         drill_list},
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
         "Makes a compute cluster or a compute instance.",
         with(with({kFile, kSet, kNoWait}, options_of(resources::aml_compute())),
              options_of(resources::compute_instance())),
         compute_create},
        {{"compute", "attach"},
         "Attaches a machine that SSH reaches, and waits until it is known to work; or a cluster "
         "of Kubernetes, by the name of a pool.",
         with(with({kFile, kSet, kNoWait}, options_of(resources::virtual_machine())),
              options_of(resources::kubernetes_compute())),
         compute_create},
        {{"compute", "list"},
         "Lists computes.",
         {{"--type",
           "",
           "TYPE",
           "Only of this type.",
           false,
           {"amlcompute", "computeinstance", "virtualmachine", "kubernetes"}}},
         compute_list},
        {{"compute", "show"}, "Shows a compute.", {kName}, compute_show},
        {{"compute", "update"},
         "Changes a cluster's limits.",
         with({kName, kSet, kNoWait}, options_of(resources::aml_compute())),
         compute_update},
        {{"compute", "start"}, "Starts a compute instance.", {kName, kNoWait}, compute_start},
        {{"compute", "stop"},
         "Stops a compute instance: its node goes, the files of its user stay.",
         {kName, kNoWait},
         compute_stop},
        {{"compute", "restart"}, "Restarts a compute instance.", {kName, kNoWait}, compute_restart},
        {{"compute", "delete"},
         "Deletes computes; their jobs are canceled.",
         {kNames,
          kYes,
          kNoWait,
          {"--action",
           "",
           "ACTION",
           "`detach` as `compute detach` does; `delete` if absent.",
           false,
           {"delete", "detach"}}},
         compute_delete},
        {{"compute", "detach"},
         "Lets machines go that were attached; their jobs are canceled, and nothing is left there.",
         {kNames, kYes, kNoWait},
         compute_detach},
        {{"compute", "ledger"},
         "Shows where a cluster's time went: its ended jobs, its nodes, what they cost.\nThe tag "
         "turnout.price_per_hour of the cluster is the price of one node.",
         {kName},
         compute_ledger},
        {{"compute", "list-nodes"}, "Lists the nodes of a cluster.", {kName}, compute_list_nodes},
        {{"compute", "list-sizes"},
         "Lists VM sizes, and which of them a machine of the pool holds, as far as that is known.",
         {{"--location", "-l", "POOL", "A pool, or a region, which means this machine.", false}},
         compute_list_sizes},
        {{"compute", "capabilities"},
         "Shows what each type of compute can do: jobs, GPUs, sweeps, AutoML, pipelines; whether "
         "it is created or attached.",
         {},
         compute_capabilities},
        {{"compute", "list-usage"},
         "Lists usage against limits.",
         {{"--location", "-l", "REGION", "Region.", false}},
         compute_list_usage},
        {{"compute", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},

        {{"pool", "list"},
         "Lists the pools of the server: where computes get their nodes from.",
         {},
         pool_list},
        {{"pool", "show"}, "Shows a pool, and the computes that are in it.", {kName}, pool_show},
        {{"pool", "add"},
         "Adds a pool to pools.yaml in the server's data folder, and to the server that runs.\nThe "
         "lines that are there stay as they are. Where the file was changed by hand meanwhile, "
         "that "
         "is taken too.",
         {kName,
          {"--provider", "", "PROVIDER",
           "How its nodes are had: local (this machine), ssh, container, kubernetes, slurm; local "
           "if absent.",
           false},
          {"--slots", "", "N", "How many nodes it has room for.", false},
          {"--set", "", "KEY=VALUE",
           "One more key of pools.yaml, such as settings.hosts=[gpu1,gpu2] or lost_node_time=3600.",
           true}},
         pool_add},
        {{"pool", "remove"},
         "Takes a pool away, from pools.yaml too.\nRefused while computes are in it. Comments "
         "above "
         "it stay.",
         {kName},
         pool_remove},
        {{"pool", "reload"},
         "Takes pools.yaml as it is now, without a restart.\nA file with a mistake changes "
         "nothing. "
         "Nodes that are there keep what they were told.",
         {},
         pool_reload},
        {{"pool", "check"},
         "Checks pools.yaml in the server's data folder as it is now, goes to the machines of its "
         "pools, or of one, and asks the providers.\nSays what `turnout pool reload` would change.",
         {kName},
         pool_check},
        {{"pool", "update"},
         "Changes how many nodes a pool has room for, at once and kept.",
         {kName, {"--slots", "", "N", "Slots: more at once, fewer as jobs end.", false}},
         pool_update},
        {{"user", "add"},
         "Adds a user, who may do nothing until they have a role.",
         {kName, {"--display-name", "", "TEXT", "What people call them.", false}},
         user_add},
        {{"user", "list"}, "Lists users.", {}, user_list},
        {{"user", "show"}, "Shows a user with their roles.", {kName}, user_show},
        {{"user", "disable"},
         "Nothing that a user has opens anything any more, at once; jobs they submitted go on.",
         {kName},
         user_disable},
        {{"user", "enable"}, "Takes that back.", {kName}, user_enable},
        {{"user", "token"},
         "Makes a token for a user, for their `turnout login`, and prints it this once.",
         {kName,
          {"--token-name", "", "NAME", "What they call it; login if absent.", false},
          kExpires,
          kReadOnly,
          kWorkspaceOnly},
         user_token},
        {{"user", "role"}, "Lists the roles that a user has.", {kName}, user_role},
        {{"user", "link"},
         "Says whom the server's identity provider knows a user as: they log in by it from then "
         "on.",
         {kName,
          {"--subject", "", "SUB", "The provider's name for them: its claim 'sub'.", false},
          {"--issuer", "", "URL", "The provider; that of the server's oidc.yaml if absent.",
           false}},
         user_link},
        {{"session", "list"},
         "Lists browsers that are logged in: one's own, an Owner's all.",
         {},
         session_list},
        {{"session", "remove"},
         "Logs a browser out, at once.",
         {{"--id", "", "ID", "As `turnout session list` shows it.", false}},
         session_remove,
         "[ID]"},
        {{"oidc", "check"},
         "Checks oidc.yaml in the server's data folder as it is now, and asks the identity "
         "provider.",
         {},
         oidc_check},
        {{"role", "assign"},
         "Gives a user a role on the workspace, on the server or on a compute.",
         {kOfUser,
          {"--role", "", "ROLE",
           "Owner, Contributor, Reader, AzureML Data Scientist, AzureML Compute Operator, or one "
           "of your own.",
           false},
          kOnServer,
          kOnCompute},
         role_assign},
        {{"role", "list"}, "Lists who has which role where.", {kOfUser}, role_list},
        {{"role", "remove"},
         "Takes a role back: by its id, or by user, role and place.",
         {{"--id", "", "ID", "As `turnout role list` shows it.", false},
          kOfUser,
          {"--role", "", "ROLE", "The role.", false},
          kOnServer,
          kOnCompute},
         role_remove},
        {{"role", "definitions"}, "Lists the roles there are.", {}, role_definitions},
        {{"role", "actions"}, "Lists the actions that roles consist of.", {}, role_actions},
        {{"role", "create"},
         "Makes a role of your own, or changes it.",
         {kName,
          {"--description", "", "TEXT", "What it is for.", false},
          {"--action", "", "ACTION", "What it allows, such as '*/read' or '*/jobs/*'.", true},
          {"--not-action", "", "ACTION", "What it does not, of those.", true}},
         role_create},
        {{"role", "delete"}, "Deletes a role of your own that nobody has.", {kName}, role_delete},
        {{"run", "list"},
         "Lists runs with what they logged, the newest first.\nA job's run has the job's name; "
         "runs "
         "that MLflow made are here, too.",
         {kExperiment,
          kFilter,
          {"--order-by", "", "WHAT",
           "Such as 'metrics.loss ASC', 'params.lr' or 'start_time DESC'.", true},
          {"--columns", "", "LIST",
           "Shows these: metrics.NAME, params.NAME, tags.NAME, with a ',' between them; all "
           "metrics "
           "if absent.",
           false},
          kMaxResults},
         run_list},
        {{"run", "show"},
         "Shows a run: its params, and each metric with how it went.",
         {kName},
         run_show},
        {{"run", "compare"},
         "Shows runs side by side: what they logged differently.",
         {kNames, {"--all", "", "", "What is the same in all, too.", false}},
         run_compare},
        {{"run", "best"},
         "Finds the run whose metric is lowest, or highest.",
         {{"--metric", "", "NAME", "The metric.", false},
          {"--goal",
           "",
           "GOAL",
           "Which is best; minimize if absent.",
           false,
           {"minimize", "maximize"}},
          {"--sweep", "", "NAME", "Only among the trials of this sweep.", false},
          kExperiment,
          kFilter},
         run_best},
        {{"run", "plot"},
         "Draws how a metric went, of one run or of several.",
         {kNames,
          {"--metric", "", "NAME", "The metric.", false},
          {"--file", "-f", "FILE", "Writes SVG into this file instead.", false}},
         run_plot},
        {{"run", "diff"},
         "Shows what differs in what runs were asked for: code, environment, inputs, params.",
         {kNames},
         run_diff},

        {{"quota", "set"},
         "Says how much a user, every user (--default) or a workspace (-w) may have.",
         {kOfUser,
          kOfEveryUser,
          {"--slots", "", "N", "Of pools, that their running jobs hold.", false},
          {"--running", "", "N", "Running jobs.", false},
          {"--queued", "", "N", "Jobs that wait for a slot: more are refused.", false},
          {"--stored", "", "SIZE",
           "Files and logs, such as 50GB: uploads, assets and jobs beyond are refused.", false}},
         quota_set},
        {{"quota", "list"}, "Lists quotas, and how much of them is in use.", {}, quota_list},
        {{"quota", "show"},
         "Shows the quota of a user, of every user (--default) or of a workspace (-w).",
         {kOfUser, kOfEveryUser},
         quota_show},
        {{"quota", "remove"},
         "Takes the quota of a user, of every user (--default) or of a workspace (-w) away.",
         {kOfUser, kOfEveryUser},
         quota_remove},
        {{"secret", "set"},
         "Keeps a secret for jobs, or changes it. Nobody can read it again.",
         {kName,
          {"--value-file", "", "FILE",
           "File with the value; - or nothing reads standard input, a terminal's without showing "
           "it. The line break after a single line is left out.",
           false}},
         secret_set},
        {{"secret", "list"}, "Lists secrets: names and dates.", {}, secret_list},
        {{"secret", "show"},
         "Shows a secret's name and dates; never its value.",
         {kName},
         secret_show},
        {{"secret", "remove"}, "Removes a secret.", {kName}, secret_remove},
        {{"secret", "rotate-key"},
         "Seals all secrets of the server by another key. It may be interrupted at any time.",
         {},
         secret_rotate_key},
        {{"schedule", "create"},
         "Makes a schedule, or changes it: submits a job at the times of its trigger.",
         {kFile, kName, kSet, kNoWait},
         schedule_create},
        {{"schedule", "list"},
         "Lists schedules: when each runs next, and what became of the last time.",
         {{"--disabled-only", "", "", "Only those that are disabled.", false},
          {"--include-disabled", "", "", "Those that are disabled, too.", false},
          kMaxResults},
         schedule_list},
        {{"schedule", "show"},
         "Shows a schedule, with the jobs that it submitted and what kept it from others.",
         {kName},
         schedule_show},
        {{"schedule", "update"},
         "Changes words, tags, trigger or whether it is enabled.",
         {kName, kSet, kNoWait},
         schedule_update},
        {{"schedule", "enable"},
         "Lets it run again, from now on: what passed meanwhile is not made up for.",
         {kName, kNoWait},
         schedule_enable},
        {{"schedule", "disable"},
         "Keeps it from running; its jobs go on.",
         {kName, kNoWait},
         schedule_disable},
        {{"schedule", "trigger"},
         "Submits its job now, whatever its trigger says, and prints the job's name.",
         {kName},
         schedule_trigger},
        {{"schedule", "delete"},
         "Deletes a schedule that is disabled; its jobs stay.",
         {kName, kYes, kNoWait},
         schedule_delete},
        {{"schedule", "validate"},
         "Checks a YAML file and the job that it names, without the server.",
         {kFile, kSet},
         schedule_validate},
        {{"token", "list"}, "Lists tokens; of none the secret.", {}, token_list},
        {{"token", "create"},
         "Makes a token for a program or another machine, and prints it this once.",
         {kName, kExpires, kReadOnly, kWorkspaceOnly, kOfUser},
         token_create},
        {{"token", "rotate"},
         "Puts another token in the place of one, which is worth nothing from then on.\nIf "
         "commands "
         "here use that one (its name is admin.key, where the server is), they use the new one.",
         {kName},
         token_rotate},
        {{"token", "revoke"},
         "Makes a token worthless at once, with all that was got by it.",
         {kName, kYesToRevoke},
         token_revoke},
    };
    for (const resources::DocumentKind& kind : resources::document_kinds()) {
        if (kind.description == nullptr) continue;
        const bool versioned = kind.keys == resources::DocumentKind::Keys::Versioned;
        const std::string word(kind.word), article = kind.with_article();
        const auto add = [&](const char* verb, std::string help, std::vector<Option> options,
                             int (*run)(Context&)) {
            table.push_back({{word, verb}, std::move(help), std::move(options), run});
        };
        add("create", "Registers " + article + (versioned ? "; local paths are uploaded." : "."),
            versioned ? with({kFile, kSet}, options_of(kind.description()))
                      : std::vector<Option>{kFile, kName, kSet},
            asset_create);
        if (!versioned) {
            add("list", "Lists " + std::string(kind.one) + "s.", {}, asset_list);
            add("show", "Shows " + article + ".", {kName}, asset_show);
            add("delete", "Deletes " + article + "; its data stays.", {kName, kYes}, asset_delete);
            add("validate", "Checks a YAML file, without the server.", {kFile, kSet}, validate);
            continue;
        }
        add("list", "Lists them; with -n the versions of one.",
            {kName, kMaxResults, kArchivedOnly, kIncludeArchived}, asset_list);
        add("show", "Shows " + article + ": the newest version unless -v is given.",
            {kName, kVersion, kLabel}, asset_show);
        add("update", "Changes description or tags, of one version (-v, -l) or of all of it.",
            {kName, kVersion, kLabel, kSet}, asset_update);
        add("archive", "Hides it, or one version, from lists.", {kName, kVersion, kLabel},
            asset_archive);
        add("restore", "Shows it in lists again.", {kName, kVersion, kLabel}, asset_restore);
        add("delete",
            "Deletes one version, or all of it; refused while a job that has not ended uses "
            "it.\nIts files go with `turnout prune data`, if nothing else names them.",
            {kName, kVersion, kYes}, asset_delete);
        if (!kind.location.empty())
            add("download", "Downloads its files: the newest version unless -v is given.",
                {kName,
                 kVersion,
                 kLabel,
                 {"--download-path", "-p", "FOLDER", "Where to; the current folder if absent.",
                  false}},
                asset_download);
        add("validate", "Checks a YAML file and the paths it names, without the server.",
            {kFile, kSet}, validate);
    }
    const Option on_endpoint{"--endpoint-name", "-e", "NAME", "Its endpoint.", false};
    const std::vector<Command> rest = {
        {{"online-endpoint", "create"},
         "Makes an online endpoint, or changes it to what the file says.",
         with({kFile, kSet}, options_of(resources::online_endpoint())),
         online_endpoint_create},
        {{"online-endpoint", "update"},
         "Changes an online endpoint: above all which deployment gets which share of requests.",
         {kFile,
          kName,
          {"--traffic", "", "SHARES", "Such as \"blue=90 green=10\".", true},
          {"--mirror-traffic", "", "SHARES", "Such as \"green=10\".", true},
          kSet},
         online_endpoint_update},
        {{"online-endpoint", "list"}, "Lists online endpoints.", {}, online_endpoint_list},
        {{"online-endpoint", "show"}, "Shows an online endpoint.", {kName}, online_endpoint_show},
        {{"online-endpoint", "invoke"},
         "Asks an endpoint, and prints what the model answers.",
         {kName,
          {"--request-file", "-r", "FILE", "What is sent; - reads standard input.", false},
          {"--deployment-name", "-d", "NAME", "This deployment, whatever its traffic is.", false}},
         online_endpoint_invoke},
        {{"online-endpoint", "get-credentials"},
         "Prints the keys of an endpoint, or a token for it.",
         {kName},
         online_endpoint_credentials},
        {{"online-endpoint", "regenerate-keys"},
         "Puts another key in the place of one, which opens nothing from then on.",
         {kName,
          {"--key-type",
           "",
           "TYPE",
           "primary (if absent) or secondary.",
           false,
           {"primary", "secondary"}}},
         online_endpoint_regenerate},
        {{"online-endpoint", "delete"},
         "Deletes an endpoint with its deployments.",
         {kName, kYes, kNoWait},
         online_endpoint_delete},
        {{"online-endpoint", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
        {{"online-deployment", "create"},
         "Deploys a model to an endpoint, and waits until it answers; local paths are uploaded.",
         with({kFile,
               kSet,
               {"--all-traffic", "", "", "It gets all requests as soon as it is ready.", false},
               kNoWait},
              options_of(resources::online_deployment())),
         online_deployment_create},
        {{"online-deployment", "update"},
         "Changes a deployment: by a file, or by --set. It serves on while that is under way.",
         {kFile, kName, on_endpoint, kSet, kNoWait},
         online_deployment_update},
        {{"online-deployment", "list"},
         "Lists the deployments of an endpoint.",
         {on_endpoint},
         online_deployment_list},
        {{"online-deployment", "show"},
         "Shows a deployment, with its instances and what it answered.",
         {kName, on_endpoint},
         online_deployment_show},
        {{"online-deployment", "get-logs"},
         "Prints the last lines of the log of an instance.",
         {kName,
          on_endpoint,
          {"--lines", "-l", "N", "So many; 500 if absent.", false},
          {"--container",
           "-c",
           "WHICH",
           "inference-server (if absent), storage-initializer (how its environment was prepared), "
           "access-log (requests since the server started).",
           false,
           {"inference-server", "storage-initializer", "access-log"}}},
         online_deployment_logs},
        {{"online-deployment", "delete"},
         "Deletes a deployment, which has no traffic any more.",
         {kName, on_endpoint, kYes, kNoWait},
         online_deployment_delete},
        {{"online-deployment", "validate"},
         "Checks a YAML file and the paths it names, without the server.",
         {kFile, kSet},
         validate},
        {{"workspace", "create"},
         "Makes a workspace.",
         with({kFile, kSet}, options_of(resources::workspace())),
         workspace_create},
        {{"workspace", "list"}, "Lists workspaces.", {}, workspace_list},
        {{"workspace", "show"}, "Shows a workspace.", {kName}, workspace_show},
        {{"workspace", "delete"},
         "Deletes a workspace with all in it, for good: jobs, assets, data, clusters.",
         {kName,
          {"--permanently-delete", "-p", "",
           "Cancels jobs that have not ended and deletes its clusters too; refused otherwise.",
           false},
          {"--all-resources", "", "", "Accepted for az's sake: storage belongs to the workspace.",
           false},
          kYes,
          kNoWait},
         workspace_delete},
        {{"workspace", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
    };
    table.insert(table.end(), rest.begin(), rest.end());
    for (Command& command : table) command.examples = examples_of(command.words);
    // What a command is about needs no option: a file, or a name.
    for (Command& command : table)
        for (const Option& option : command.options) {
            if (option.name == "--file" &&
                (command.words.back() == "create" || command.words.back() == "attach" ||
                 command.words.back() == "validate"))
                command.operand = kFileOperand;
            if (option.name == "--name" && command.operand.empty())
                command.operand = option.many ? kNamesOperand : kNameOperand;
        }
    return table;
}

}  // namespace

const std::vector<Command>& command_table() {
    static const std::vector<Command> table = build_table();
    return table;
}

int run_cli(int argc, char** argv, ServerCommands hooks) {
    const std::vector<Command>& table = command_table();
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
        print(help_of(table, command_groups(), group, screen_of(1).columns));
        return words.empty() ? 2 : 0;
    }
    if (arguments->help) {
        print(help_of(*arguments->command, screen_of(1).columns));
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
