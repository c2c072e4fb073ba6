// turnout-agent: one per node. It carries the supervisor inside itself.
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "agent/agent.h"
#include "agent/files.h"
#include "app/as_user.h"
#include "app/init.h"
#include "app/namespaces.h"
#include "app/on_host.h"
#include "app/pilot.h"
#include "app/relay.h"
#include "base/hash.h"
#include "base/text.h"
#include "environment/pythons.h"
#include "protocol/surroundings.h"

extern "C" {
extern const char turnout_supervisor_begin[];
extern const char turnout_supervisor_end[];
extern char** environ;
}

namespace {

using namespace turnout;

constexpr char kUsage[] =
    "usage: turnout-agent --server unix:PATH --node WORKSPACE/COMPUTE/NODE --folder DIR --cache "
    "DIR\n"
    "                     --token-file FILE [--uv PATH] [--python PATH] [--processors LIST]\n"
    "                     [--image NAME] [--also VARIABLE,…]\n"
    "       turnout-agent --survey CACHE      notes which Pythons there are, for the server\n"
    "       turnout-agent relay --help        carries connections over standard input and output\n"
    "       turnout-agent host --help         for a server that comes from outside\n"
    "       turnout-agent pilot --help        the same agent, as the program of a batch job\n"
    "       turnout-agent init OPTION…        the same agent, as the first process of a container\n"
    "The agent of one node of a Turnout server. It is started by the server.\n";

int complain(const std::string& text) {
    std::fprintf(stderr, "turnout-agent: %s\n", text.c_str());
    return 2;
}

// The executable beside which tools may lie.
std::string own_folder() {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    std::string text(path, n > 0 ? static_cast<std::size_t>(n) : 0);
    return text.substr(0, text.rfind('/'));
}

// A running supervisor keeps its file open for execution: one with other bytes gets another name.
Result<std::string> write_supervisor(const std::string& folder) {
    std::string_view bytes(
        turnout_supervisor_begin,
        static_cast<std::size_t>(turnout_supervisor_end - turnout_supervisor_begin));
    std::string path = folder + "/turnout-supervisor-" + to_hex(sha256(bytes)).substr(0, 8);
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && static_cast<std::size_t>(st.st_size) == bytes.size())
        return path;
    TURNOUT_TRY(agent::make_folders(folder));
    TURNOUT_TRY(agent::write_file(path, bytes, 0700));
    return path;
}

// `all_of_it`: in a container, where it is the image's, and what its pool says. `also`: more names,
// with commas.
std::vector<std::string> own_environment(bool all_of_it = false, const std::string& also = "") {
    const std::vector<std::string> more = split(also, ',');
    std::vector<std::string> all;
    for (char** item = environ; *item; ++item) {
        const std::string_view text = *item, name = text.substr(0, text.find('='));
        if (all_of_it || agent_protocol::allowed_variable(name) ||
            std::ranges::find(more, name) != more.end())
            all.emplace_back(text);
    }
    return all;
}

int survey(const char* cache) {
    environment::Settings settings;
    settings.cache = cache;
    settings.beside = own_folder();
    settings.environment = own_environment();
    const Result<void> done = environment::survey_pythons(settings);
    return done ? 0 : (complain(done.error().message), 1);
}

}  // namespace

int main(int argc, char** argv) {
    // One heap: a second arena per thread would double what an idle agent holds.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 256 << 10);
    if (argc == 3 && std::string_view(argv[1]) == "--survey") return survey(argv[2]);
    if (argc >= 2 && std::string_view(argv[1]) == "as-user") return run_as_user(argc - 2, argv + 2);
    if (argc >= 2 && std::string_view(argv[1]) == "namespaces")
        return run_in_namespaces(argc - 2, argv + 2);
    if (argc >= 2 && std::string_view(argv[1]) == "relay") return run_relay(argc - 2, argv + 2);
    if (argc >= 2 && std::string_view(argv[1]) == "init") return run_init(argc - 2, argv + 2);
    if (argc >= 2 && std::string_view(argv[1]) == "pilot") return run_pilot(argc - 2, argv + 2);
    if (argc >= 2 && std::string_view(argv[1]) == "host") return run_on_host(argc - 2, argv + 2);
    std::map<std::string, std::string, std::less<>> options;
    for (int i = 1; i < argc; ++i) {
        std::string_view name = argv[i];
        if (name == "--help") return std::fputs(kUsage, stdout), 0;
        if (name == "--version") return std::puts("turnout-agent " TURNOUT_VERSION), 0;
        bool known = false;
        for (const char* option : {"--server", "--node", "--folder", "--cache", "--token-file",
                                   "--uv", "--python", "--processors", "--image", "--also"})
            known = known || name == option;
        if (!known || i + 1 == argc)
            return std::fputs(kUsage, stderr),
                   complain("unknown or incomplete option '" + std::string(name) + "'");
        options[std::string(name)] = argv[++i];
    }
    for (const char* needed : {"--server", "--node", "--folder", "--cache", "--token-file"})
        if (options[needed].empty())
            return std::fputs(kUsage, stderr), complain(std::string(needed) + " is missing");

    agent::AgentSettings settings;
    std::string server = options["--server"];
    if (!server.starts_with("unix:"))
        return complain("--server must be unix:PATH, not '" + server + "'");
    settings.server_socket = server.substr(5);
    settings.node = options["--node"];
    settings.folder = options["--folder"];
    settings.cache = options["--cache"];
    settings.uv = options["--uv"];
    settings.python = options["--python"];
    settings.processors = options["--processors"];
    settings.beside = own_folder();
    settings.build = TURNOUT_VERSION;
    for (std::string* path :
         {&settings.server_socket, &settings.folder, &settings.cache, &settings.uv}) {
        if (path->empty() || path->starts_with('/')) continue;
        char here[4096];
        if (!getcwd(here, sizeof here)) return complain("the current folder has no name");
        *path = std::string(here) + "/" + *path;
    }
    auto token = agent::read_file(options["--token-file"], 64 << 10);
    if (!token) return complain(token.error().message);
    settings.token = Secret(std::string(trim(*token)));
    if (const auto image = options.find("--image"); image != options.end())
        settings.image = image->second;
    settings.environment = own_environment(settings.image.has_value(), options["--also"]);

    // The agent goes on when the terminal or the server that started it is gone.
    setsid();
    umask(077);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit is an error like a full disk
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = std::min<rlim_t>(files.rlim_max, 65536);
        setrlimit(RLIMIT_NOFILE, &files);
    }
    auto supervisor = write_supervisor(settings.folder);
    if (!supervisor) return complain(supervisor.error().message);
    settings.supervisor = *supervisor;

    AsioLoop loop;
    agent::Agent agent(loop, std::move(settings), [] {
        // Everything is on disk or gone; threads of the pool need not be waited for.
        _exit(0);
    });
    // Its tasks go on without it, as after kill -9: starting again is recovery. Who keeps it
    // running (init.h) takes 0 for the end of the node.
    loop.on_signal(SIGTERM, [] { _exit(128 + SIGTERM); });
    loop.on_signal(SIGINT, [] { _exit(128 + SIGINT); });
    if (auto begun = agent.begin(); !begun) return complain(begun.error().message), 1;
    loop.run();
    return 0;
}
