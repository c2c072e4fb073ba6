#include "provider/local/local_provider.h"

#include <signal.h>
#include <unistd.h>

#include <optional>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"

namespace turnout {

namespace {

struct AgentHandle {
    ProcessId process;
    std::string boot_id;
    std::string folder, folder_identity;  // it was started on

    bool alive() const {
        return process.pid > 0 && boot_id == turnout::boot_id() && is_alive(process);
    }
};

std::optional<AgentHandle> handle_in(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return std::nullopt;
    const Result<Json> json = parse_json(*text);
    if (!json) return std::nullopt;
    return AgentHandle{{static_cast<pid_t>(json->at("pid").as_int()),
                        static_cast<std::uint64_t>(json->at("startTicks").as_int())},
                       json->at("bootId").as_string(),
                       json->at("folder").as_string(),
                       json->at("folderIdentity").as_string()};
}

// Nothing where the folder is a copy: what is written there is about the processes of another one.
std::optional<AgentHandle> read_handle(const std::string& folder) {
    auto handle = handle_in(folder + "/agent.json");
    if (handle && !handle->folder_identity.empty() &&
        handle->folder_identity != folder_identity(folder))
        return std::nullopt;
    return handle;
}

// The supervisor holds this lock for as long as it lives, and no task outlives it.
bool supervisor_alive(const std::string& folder) {
    const Result<Fd> lock = lock_file(folder + "/supervisor.lock");
    return !lock && lock.error().reason == "Locked";
}

std::vector<std::string> own_environment() {
    std::vector<std::string> all;
    for (char** entry = environ; *entry; ++entry) all.emplace_back(*entry);
    return all;
}

struct Paths {
    std::string folder;
    std::string agent() const { return folder + "/agent.json"; }
    std::string token() const { return folder + "/node.token"; }
    std::string log() const { return folder + "/agent.log"; }
};

constexpr int kLeavingRounds = 80;  // of 250 ms, before an agent that does not leave is killed

}  // namespace

struct LocalProvider::Known {
    bool starting = false;
    bool leaving = false;
};

LocalProvider::LocalProvider(Loop& loop, LocalProviderOptions options, ProviderEvents events)
    : loop_(loop), options_(std::move(options)), events_(std::move(events)) {}

LocalProvider::~LocalProvider() = default;

std::string LocalProvider::folder_of(const NodeId& id) const {
    std::string name = id;
    for (char& c : name)
        if (c == '/') c = '_';  // workspace ids and node names have no '_' of their own
    return options_.nodes_folder + "/" + name;
}

void LocalProvider::provision(const Node& node) {
    const NodeId id = node.id();
    if (nodes_[id].leaving) return;
    start_agent(id);
}

void LocalProvider::start_agent(const NodeId& id) {
    if (std::exchange(nodes_[id].starting, true)) return;
    const Paths paths{folder_of(id)};
    const std::string token = options_.node_token(id).reveal();
    const LocalProviderOptions& o = options_;
    std::vector<std::string> argv = {o.agent,        "--server",   "unix:" + o.server_socket,
                                     "--node",       id,           "--folder",
                                     paths.folder,   "--cache",    o.cache_folder,
                                     "--token-file", paths.token()};
    if (!o.uv.empty()) argv.insert(argv.end(), {"--uv", o.uv});
    if (!o.python.empty()) argv.insert(argv.end(), {"--python", o.python});

    auto outcome = std::make_shared<Result<void>>();  // shared with the pool's thread
    loop_.blocking(
        [paths, token, argv, outcome] {
            *outcome = [&]() -> Result<void> {
                if (const auto handle = read_handle(paths.folder)) {
                    reap(handle->process.pid);
                    const bool moved = !handle->folder.empty() && handle->folder != paths.folder;
                    if (handle->alive() && !moved) return {};
                    // It looks for everything where the folder was. What it has begun goes on
                    // without it.
                    if (moved && handle->alive()) (void)send_signal(handle->process, SIGKILL);
                }
                TURNOUT_TRY(make_directories(paths.folder, 0700));
                TURNOUT_TRY(write_file_atomically(paths.token(), token, 0600));
                SpawnRequest request;
                request.program = argv.front();
                request.arguments = argv;
                request.environment = own_environment();
                request.directory = paths.folder;
                request.output = request.error = paths.log();
                const ProcessId process = TURNOUT_TRY(spawn(request));
                Json handle = Json::object();
                handle.set("pid", static_cast<std::int64_t>(process.pid));
                handle.set("startTicks", static_cast<std::int64_t>(process.start_ticks));
                handle.set("bootId", boot_id());
                handle.set("folder", paths.folder);
                handle.set("folderIdentity", folder_identity(paths.folder));
                // If this is lost, the next agent finds the first one's lock on the folder and
                // ends.
                return write_file_atomically(paths.agent(), handle.dump() + "\n", 0600);
            }();
        },
        [this, id, outcome, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            nodes_[id].starting = false;
            if (!*outcome) events_.failed(id, outcome->error());
        });
}

void LocalProvider::release(const Node& node) {
    const NodeId id = node.id();
    if (std::exchange(nodes_[id].leaving, true)) return;
    watch_leaving(id, 0);
}

// The agent was told to leave. Where it is dead already, a new one is started on the same folder:
// it is told to leave too, and ends what its predecessor left behind.
void LocalProvider::watch_leaving(const NodeId& id, int round) {
    const std::string folder = folder_of(id);
    struct Seen {
        bool folder = false, agent = false, supervisor = false, removed = false;
    };
    auto seen = std::make_shared<Seen>();  // shared with the pool's thread
    loop_.blocking(
        [folder, seen, round] {
            const Paths paths{folder};
            seen->folder = access(folder.c_str(), F_OK) == 0;
            if (!seen->folder) return;
            const auto handle = read_handle(folder);
            if (handle) reap(handle->process.pid);
            seen->agent = handle && handle->alive();
            seen->supervisor = supervisor_alive(folder);
            if (seen->agent && round == kLeavingRounds)
                if (!send_signal(handle->process, SIGKILL)) seen->agent = false;
            if (!seen->agent && !seen->supervisor) seen->removed = remove_tree(folder).has_value();
        },
        [this, id, seen, round, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            if (!seen->folder || seen->removed) {
                nodes_.erase(id);
                events_.gone(id);
                return;
            }
            if (!seen->agent && seen->supervisor) start_agent(id);
            const int next = round >= kLeavingRounds ? 0 : round + 1;
            loop_.after(round < 4 ? Span(50ms) : Span(250ms), [this, id, next, alive] {
                if (alive.lock()) watch_leaving(id, next);
            });
        });
}

}  // namespace turnout
