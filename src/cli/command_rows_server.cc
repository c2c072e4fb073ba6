// The server's own commands.
#include "cli/command_rows.h"

namespace turnout::cli {

std::vector<Command> rows_of_server() {
    return {
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
    };
}

}  // namespace turnout::cli
