#include "provider/local/local_provider.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "provider/local/harm.h"

namespace turnout {

namespace {

struct AgentHandle {
    ProcessId process;
    std::string boot_id;
    std::string folder, folder_identity;  // it was started on
    NodeId node;
    std::vector<int> processors;  // its own

    bool alive() const {
        return process.pid > 0 && boot_id == turnout::boot_id() && is_alive(process);
    }
};

std::optional<AgentHandle> handle_in(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return std::nullopt;
    const Result<Json> json = parse_json(*text);
    if (!json) return std::nullopt;
    std::vector<int> processors;
    for (const Json& one : json->at("processors").items())
        processors.push_back(static_cast<int>(one.as_int(-1)));
    return AgentHandle{{static_cast<pid_t>(json->at("pid").as_int()),
                        static_cast<std::uint64_t>(json->at("startTicks").as_int())},
                       json->at("bootId").as_string(),
                       json->at("folder").as_string(),
                       json->at("folderIdentity").as_string(),
                       json->at("node").as_string(),
                       std::move(processors)};
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
    std::string room() const { return folder + "/room"; }
};

constexpr std::uint64_t kLeftByDrill = 1 << 20;  // of a disk that a drill fills
constexpr Span kAskedNoMore = 2min;              // then it has answered in between

}  // namespace

struct LocalProvider::Known {
    bool starting = false;
    bool leaving = false;
    int cores = 0;
    std::string python;
    std::optional<ProcessId> silent;  // it lived when it was asked for
    Span silent_since{}, asked{};
};

LocalProvider::LocalProvider(Loop& loop, LocalProviderOptions options, ProviderEvents events)
    : loop_(loop), options_(std::move(options)), events_(std::move(events)) {
    free_all_file_systems(options_.nodes_folder);  // of a drill that its server did not outlive
    find_nodes();
}

LocalProvider::~LocalProvider() = default;

const resources::Description& local_settings() {
    static const resources::Description settings = {
        .kind = "settings",
        .type = "",
        .title = "a pool of this machine",
        .help = "",
        .fields = {{.yaml = "python",
                    .rest = "",
                    .kind = resources::Kind::Text,
                    .help = "Interpreter of its nodes; that of `turnout up --python` if absent."}}};
    return settings;
}

// Of an earlier life of the server. Where neither agent nor supervisor is left, nothing runs.
void LocalProvider::find_nodes() {
    const Result<std::vector<DirectoryEntry>> folders = list_directory(options_.nodes_folder);
    if (!folders) return;
    for (const DirectoryEntry& entry : *folders) {
        const std::string folder = options_.nodes_folder + "/" + entry.name;
        const std::optional<AgentHandle> handle = read_handle(folder);
        if (handle && !handle->node.empty() && (handle->alive() || supervisor_alive(folder)))
            processors_.keep(handle->node, handle->processors);
    }
}

std::vector<DrillKind> LocalProvider::kinds() const {
    return {{DrillKind::Leaves::Gone, "kill-node",
             "kills every process of the node at one moment: agent, supervisor, tasks"},
            {DrillKind::Leaves::FullDisk, "fill-disk",
             "fills the file system of the node's folder for a time, where nobody else writes"}};
}

void LocalProvider::begin(const NodeId& id, std::string_view name, Span how_long, Reply reply) {
    const bool fills = name == "fill-disk";
    if (!fills && name != "kill-node")
        return loop_.post(
            [reply = std::move(reply), why = not_offered(name, kinds())] { reply(Failure(why)); });
    auto outcome = std::make_shared<Result<Json>>(Json::object());  // shared with the pool's thread
    loop_.blocking(
        [fills, folder = folder_of(id), outcome] {
            if (!fills) {
                const Result<int> killed = kill_processes_of(folder);
                if (killed)
                    (*outcome)->set("processes", *killed);
                else
                    *outcome = Failure(killed.error());
                return;
            }
            const Result<std::uint64_t> filled =
                fill_file_system(folder, kLeftByDrill,
                                 {"/", "/tmp", "/var/tmp", "/home", "/root", "/run", "/dev/shm"});
            if (filled)
                (*outcome)->set("bytes", *filled);
            else
                *outcome = Failure(filled.error());
        },
        [this, fills, folder = folder_of(id), how_long, outcome, reply = std::move(reply),
         alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            if (fills)
                loop_.after(how_long, [this, folder, alive] {
                    if (alive.lock()) loop_.blocking([folder] { free_file_system(folder); }, [] {});
                });
            reply(std::move(*outcome));
        });
}

std::string LocalProvider::folder_of(const NodeId& id) const {
    std::string name = id;
    for (char& c : name)
        if (c == '/') c = '_';  // workspace ids and node names have no '_' of their own
    return options_.nodes_folder + "/" + name;
}

// The way back; "" for what is no node's folder.
static NodeId node_of(std::string name) {
    for (char& c : name)
        if (c == '_') c = '/';
    return std::ranges::count(name, '/') == 2 ? name : "";
}

void LocalProvider::provision(const NodeRequest& request) {
    Known& node = nodes_[request.id];
    if (node.leaving) return;
    node.cores = request.cores;
    node.python = request.settings.at("python").as_string(options_.python);
    start_agent(request.id);
}

// NVIDIA's driver lists its devices in /proc.
Capabilities LocalProvider::capabilities() const {
    Capabilities has;
    has.cores = static_cast<int>(std::thread::hardware_concurrency());
    has.slots = std::max(2, has.cores);
    has.memory_gb = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                    static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
    if (const auto gpus = list_directory("/proc/driver/nvidia/gpus"))
        has.gpus = static_cast<int>(gpus->size());
    return has;
}

// A folder may hold what a task left to tell, so its node is there as long as it is; and where
// somebody removed the folder, as long as a process of it lives.
void LocalProvider::list(Answer answer) {
    const auto on_their_way = [this](std::map<NodeId, FoundNode::Is>& found) {
        for (const auto& [id, node] : nodes_)
            if (node.leaving)
                found[id] = FoundNode::Is::Ending;
            else if (node.starting)
                found.try_emplace(id, FoundNode::Is::Starting);
    };
    struct Seen {
        Result<void> looked;
        std::map<NodeId, FoundNode::Is> nodes;
    };
    auto seen = std::make_shared<Seen>();  // shared with the pool's thread
    on_their_way(seen->nodes);
    loop_.blocking(
        [seen, nodes = options_.nodes_folder] {
            std::set<NodeId> alive;
            for (const std::string& folder : folders_with_processes(nodes))
                alive.insert(node_of(folder));
            if (access(nodes.c_str(), F_OK) == 0) {
                const Result<std::vector<DirectoryEntry>> folders = list_directory(nodes);
                if (!folders) {
                    seen->looked = Failure(folders.error());
                    return;
                }
                for (const DirectoryEntry& entry : *folders)
                    seen->nodes.try_emplace(node_of(entry.name), FoundNode::Is::Unknown);
            }
            for (const NodeId& id : alive) seen->nodes[id] = FoundNode::Is::Alive;
            seen->nodes.erase("");
        },
        [this, seen, on_their_way, answer = std::move(answer), alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            if (!seen->looked) return answer(Failure(seen->looked.error()));
            on_their_way(seen->nodes);
            std::vector<FoundNode> found;
            for (const auto& [id, is] : seen->nodes) found.push_back({is, id, {}});
            answer(std::move(found));
        });
}

void LocalProvider::start_agent(const NodeId& id) {
    Known& node = nodes_[id];
    if (std::exchange(node.starting, true)) return;
    const Span now = clock_.since_boot();
    if (now - std::exchange(node.asked, now) > kAskedNoMore) node.silent.reset();
    const std::optional<ProcessId> stuck =
        now - node.silent_since >= options_.silent_agent ? node.silent : std::nullopt;
    const Paths paths{folder_of(id)};
    const std::string token = options_.node_token(id).reveal();
    const LocalProviderOptions& o = options_;
    std::vector<std::string> argv = {o.agent,        "--server",   "unix:" + o.server_socket,
                                     "--node",       id,           "--folder",
                                     paths.folder,   "--cache",    o.cache_folder,
                                     "--token-file", paths.token()};
    if (!o.uv.empty()) argv.insert(argv.end(), {"--uv", o.uv});
    if (!node.python.empty()) argv.insert(argv.end(), {"--python", node.python});
    // One that is only to leave starts nothing any more.
    const std::vector<int> processors =
                               node.leaving ? std::vector<int>() : processors_.take(id, node.cores),
                           own = processors_.own(id);
    if (!processors.empty()) argv.insert(argv.end(), {"--processors", processor_list(processors)});

    struct Outcome {
        Result<void> result;
        std::optional<ProcessId> lives;
        bool again = false;
    };
    auto outcome = std::make_shared<Outcome>();  // shared with the pool's thread
    loop_.blocking(
        [id, paths, token, argv, own, stuck, outcome] {
            outcome->result = [&]() -> Result<void> {
                if (const auto handle = read_handle(paths.folder)) {
                    reap(handle->process.pid);
                    const bool moved = !handle->folder.empty() && handle->folder != paths.folder;
                    if (handle->alive() && !moved) {
                        outcome->lives = handle->process;
                        // Its lock on the folder goes with it, a moment later.
                        outcome->again = stuck == handle->process && send_signal(*stuck, SIGKILL);
                        return {};
                    }
                    // It looks for everything where the folder was. What it has begun goes on
                    // without it.
                    if (moved && handle->alive()) (void)send_signal(handle->process, SIGKILL);
                }
                TURNOUT_TRY(make_directories(paths.folder, 0700));
                // What the last agent held, for a start on a full disk.
                ::unlink(paths.room().c_str());
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
                handle.set("node", id);
                Json numbers = Json::array();
                for (const int one : own) numbers.push(one);
                handle.set("processors", std::move(numbers));
                handle.set("folder", paths.folder);
                handle.set("folderIdentity", folder_identity(paths.folder));
                // If this is lost, the next agent finds the first one's lock on the folder and
                // ends.
                return write_file_atomically(paths.agent(), handle.dump() + "\n", 0600);
            }();
        },
        [this, id, outcome, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            Known& asked = nodes_[id];
            asked.starting = outcome->again;
            if (asked.silent != outcome->lives) asked.silent_since = clock_.since_boot();
            asked.silent = outcome->lives;
            if (!outcome->result) {
                // Whatever this machine lacks now, it is tried again soon: no quota is at its end.
                Error why = outcome->result.error();
                why.code = Code::Unavailable;
                events_.failed(id, std::move(why));
            }
            if (outcome->again)
                loop_.after(100ms, [this, id, alive] {
                    if (!alive.lock()) return;
                    nodes_[id].starting = false;
                    if (!nodes_[id].leaving) start_agent(id);
                });
        });
}

void LocalProvider::release(const NodeId& id, const Json&) {
    if (std::exchange(nodes_[id].leaving, true)) return;
    watch_leaving(id, clock_.since_boot(), 0);
}

// The agent was told to leave. Where it is dead already, a new one is started on the same folder:
// it is told to leave too, and ends what its predecessor left behind.
void LocalProvider::watch_leaving(const NodeId& id, Span since, int round) {
    const auto again = [this, id, alive = std::weak_ptr<int>(alive_)](Span from, int next) {
        loop_.after(next < 4 ? Span(50ms) : Span(250ms), [this, id, from, next, alive] {
            if (alive.lock()) watch_leaving(id, from, next);
        });
    };
    if (nodes_[id].starting)
        return again(since, round);  // what is about to be started would be missed
    const bool patient = clock_.since_boot() - since < options_.leaving;
    const std::string folder = folder_of(id);
    struct Seen {
        bool folder = false, agent = false, supervisor = false, removed = false;
    };
    auto seen = std::make_shared<Seen>();  // shared with the pool's thread
    loop_.blocking(
        [folder, seen, patient] {
            seen->folder = access(folder.c_str(), F_OK) == 0;
            const auto handle = read_handle(folder);
            if (handle) reap(handle->process.pid);
            seen->agent = handle && handle->alive();
            seen->supervisor = seen->folder && supervisor_alive(folder);
            if ((seen->agent || seen->supervisor) && patient) return;
            // Stopped, or stuck: nobody is asked any more. Or somebody removed what tells of them,
            // which proves nothing.
            const bool killed = kill_processes_of(folder).has_value();
            if (seen->agent) (void)send_signal(handle->process, SIGKILL);
            if (!killed && !seen->agent && !seen->supervisor)
                seen->removed = !seen->folder || remove_tree(folder).has_value();
        },
        [this, id, since, seen, patient, round, again, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            if (seen->removed) {
                nodes_.erase(id);
                processors_.give_back(id);
                events_.gone(id);
                return;
            }
            if (seen->folder && !seen->agent && seen->supervisor) start_agent(id);
            again(patient ? since : clock_.since_boot(), patient ? round + 1 : 0);
        });
}

}  // namespace turnout
