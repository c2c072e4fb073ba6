#include "provider/local/local_provider.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
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
#include "protocol/surroundings.h"
#include "provider/local/harm.h"
#include "provider/variables.h"
#include "yaml/yaml.h"

namespace turnout {

namespace {

using resources::Reading;

struct AgentHandle {
    ProcessId process;
    std::string boot_id;
    std::string folder, folder_identity;  // it was started on
    NodeId node;
    std::vector<int> processors;  // its own
    bool namespaces = false;      // it sees nothing but its workspace's

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
                       std::move(processors),
                       json->at("namespaces").as_bool()};
}

// What an agent gets of the server's own surroundings: what is its alone may be a secret.
std::vector<std::string> surroundings(bool (*passes)(std::string_view)) {
    std::vector<std::string> all;
    for (char** entry = environ; *entry; ++entry) {
        const std::string_view text = *entry;
        if (passes(text.substr(0, text.find('=')))) all.emplace_back(text);
    }
    return all;
}

void set_variable(std::vector<std::string>& all, const std::string& name,
                  const std::string& value) {
    std::erase_if(all, [&](const std::string& one) { return one.starts_with(name + "="); });
    all.push_back(name + "=" + value);
}

// The name of a node's folder. Workspace ids and node names have no '_' of their own.
std::string folder_name(const NodeId& id) {
    std::string name = id;
    for (char& c : name)
        if (c == '/') c = '_';
    return name;
}

std::string workspace_of(const NodeId& id) {
    return id.substr(0, id.find('/'));
}

bool exists(const std::string& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0;
}

void check_uid_range(Reading& reading, const std::string& pointer, const Json& value) {
    constexpr std::int64_t kLeast = 1000, kMost = 0x7fffffff;
    const auto& items = value.items();
    const auto fits = [&](const Json& one) {
        return one.is_int() && one.as_int() >= kLeast && one.as_int() <= kMost;
    };
    if (!value.is_array() || items.size() != 2 || !fits(items[0]) || !fits(items[1]) ||
        items[0].as_int() > items[1].as_int())
        reading.refuse(pointer,
                       "expected [FIRST, LAST], two whole numbers from 1000 to 2147483647");
}

void check_settings(Reading& reading, const std::string& pointer, const Json& value) {
    check_variables(reading, pointer, value);
    for (const Json& one : value.at("read").items())
        if (!one.as_view().starts_with("/") || one.as_view().find("..") != std::string_view::npos)
            reading.refuse(pointer_to(pointer, "read"), "expected paths from '/' on");
    const Json& folder = value.at("folder");
    if (folder.is_string() && (!folder.as_view().starts_with("/") || folder.as_view().size() > 60 ||
                               folder.as_view().find("..") != std::string_view::npos))
        reading.refuse(pointer_to(pointer, "folder"),
                       "expected a folder's path from '/' on, of at most 60 characters");
}

constexpr std::uint64_t kLeftByDrill = 1 << 20;  // of a disk that a drill fills
constexpr Span kAskedNoMore = 2min;              // then it has answered in between
constexpr const char* kShell = "/bin/sh";

}  // namespace

// Where a node is. In its folder may be anything where tasks of a user of their own run: nothing is
// read or written there but by that user.
struct LocalProvider::Paths {
    std::string folder, name;
    std::optional<NodeUser> user = {};

    std::string agent() const {
        return user ? user->agents() + "/" + name + ".json" : folder + "/agent.json";
    }
    std::string token() const {
        return user ? user->agents() + "/" + name + ".token" : folder + "/node.token";
    }
    std::string log() const { return folder + "/agent.log"; }

    // Nothing where the folder is a copy: what is written there is about the processes of another.
    std::optional<AgentHandle> handle() const {
        auto found = handle_in(agent());
        if (found && !found->folder_identity.empty() &&
            found->folder_identity != folder_identity(folder))
            return std::nullopt;
        return found;
    }
    // The supervisor holds this lock for as long as it lives, and no task outlives it.
    bool supervisor_alive() const {
        const std::string path = folder + "/supervisor.lock";
        if (user) {
            const Fd lock(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
            return lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        }
        const Result<Fd> lock = lock_file(path);
        return !lock && lock.error().reason == "Locked";
    }
    // Makes the folder and writes the token.
    Result<void> prepare(const std::string& secret) const {
        TURNOUT_TRY(make_directories(folder, 0700));
        // What the last agent held, for a start on a full disk.
        ::unlink((folder + "/room").c_str());
        TURNOUT_TRY(write_file_atomically(token(), secret, 0600));
        if (!user) return {};
        // Their parents are root's: neither can be anything else by now.
        if (::lchown(folder.c_str(), user->uid, user->gid) != 0 ||
            ::lchown(token().c_str(), ::geteuid(), user->gid) != 0 ||
            ::chmod(token().c_str(), 0640) != 0)
            return file_failure("cannot give away", folder, errno);
        return {};
    }
    // Ends all that is the node's; whether there was anything. Where it is the last of its user,
    // all that is the user's: what a task left behind without a sign of where it came from, too.
    bool end(const std::string& program) const {
        if (!user || !user->own_uid()) return kill_processes_of(folder).has_value();
        const auto nodes = list_directory(user->nodes());
        const bool last = nodes && std::ranges::all_of(*nodes, [&](const DirectoryEntry& one) {
                              return one.name == name;
                          });
        if (!last) return kill_processes_of(folder, user->uid).has_value();
        const Result<int> ended = end_all_of(program, *user);
        if (ended) return *ended > 0;
        (void)kill_processes_of(folder, user->uid);  // root's own way, where the other was hindered
        return true;
    }
    Result<void> remove() const {
        TURNOUT_TRY(remove_tree(folder));
        if (!user) return {};
        ::unlink(token().c_str());
        ::unlink(agent().c_str());
        return {};
    }
};

struct LocalProvider::Known {
    bool starting = false;
    bool leaving = false;
    bool own_user = false, namespaces = false;
    std::vector<std::string> read;  // what its pool shows it of the machine, in namespaces
    int cores = 0;
    std::string python;
    std::vector<std::string> variables;  // of its pool
    std::optional<ProcessId> silent;     // it lived when it was asked for
    Span silent_since{}, asked{};
};

LocalProvider::LocalProvider(Loop& loop, LocalProviderOptions options, ProviderEvents events)
    : loop_(loop), options_(std::move(options)), events_(std::move(events)) {
    free_all_file_systems(options_.nodes_folder);  // of a drill that its server did not outlive
    if (const auto folders = list_directory(options_.nodes_folder))
        for (const DirectoryEntry& entry : *folders)
            keep_processors({options_.nodes_folder + "/" + entry.name, entry.name});
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
                    .help = "Interpreter of its nodes; that of `turnout up --python` if absent."},
                   {.yaml = "variables",
                    .rest = "",
                    .kind = resources::Kind::TextMap,
                    .help = "Of the environment of its agents, as UV_INDEX_URL."},
                   {.yaml = "uid_range",
                    .rest = "",
                    .kind = resources::Kind::Special,
                    .help = "With `isolation: workspace_uid`: the numbers of its users.",
                    .special = {.shape = "[first, last]",
                                .check = check_uid_range,
                                .to_rest = nullptr,
                                .from_rest = nullptr}},
                   {.yaml = "folder",
                    .rest = "",
                    .kind = resources::Kind::Text,
                    .help = "With `isolation: workspace_uid`: where those users have their files."},
                   {.yaml = "read",
                    .rest = "",
                    .kind = resources::Kind::TextList,
                    .help = "With `isolation: workspace_namespaces`: paths that its nodes may read "
                            "besides."}},
        .check = check_settings};
    return settings;
}

// Of an earlier life of the server. Where neither agent nor supervisor is left, nothing runs.
void LocalProvider::keep_processors(const Paths& node) {
    const std::optional<AgentHandle> handle = node.handle();
    if (handle && !handle->node.empty() && (handle->alive() || node.supervisor_alive()))
        processors_.keep(handle->node, handle->processors);
}

Result<void> LocalProvider::use_users(NodeUsers users, std::map<std::string, Isolation> pools) {
    users_ = std::move(users);
    pools_of_users_ = std::move(pools);
    for (const NodeUser& user : users_->all()) {
        free_all_file_systems(user.nodes());
        TURNOUT_TRY(options_.open_way(user));
        ways_.insert(user.workspace);
        if (const auto folders = list_directory(user.nodes()))
            for (const DirectoryEntry& entry : *folders)
                keep_processors({user.nodes() + "/" + entry.name, entry.name, user});
    }
    return {};
}

std::vector<NodeUser> LocalProvider::users() const {
    return users_ ? users_->all() : std::vector<NodeUser>();
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
        [fills, place = place_of(id), folder = folder_of(id), outcome] {
            if (!fills) {
                const Result<int> killed =
                    kill_processes_of(folder, place.user ? place.user->own_uid() : std::nullopt);
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

LocalProvider::Paths LocalProvider::place_of(const NodeId& id) const {
    Paths shared{options_.nodes_folder + "/" + folder_name(id), folder_name(id)};
    const NodeUser* const user = users_ ? users_->find(workspace_of(id)) : nullptr;
    if (!user || exists(shared.folder)) return shared;
    Paths own{user->nodes() + "/" + shared.name, shared.name, *user};
    const auto known = nodes_.find(id);
    const bool wanted = known != nodes_.end() && known->second.own_user;
    return wanted || exists(own.folder) ? own : shared;
}

std::string LocalProvider::folder_of(const NodeId& id) const {
    return place_of(id).folder;
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
    node.variables.clear();
    for (const auto& [name, value] : request.settings.at("variables").members())
        node.variables.push_back(name + "=" +
                                 (value.is_string() ? value.as_string() : value.dump()));
    if (const auto pool = pools_of_users_.find(request.pool); pool != pools_of_users_.end()) {
        node.own_user = true;
        node.namespaces = pool->second == Isolation::WorkspaceNamespaces;
        node.read.clear();
        for (const Json& path : request.settings.at("read").items())
            node.read.push_back(path.as_string());
        if (const Result<void> had = be_had_by_user(request.id); !had) {
            nodes_.erase(request.id);
            loop_.post(
                [this, id = request.id, why = had.error(), alive = std::weak_ptr<int>(alive_)] {
                    if (alive.lock()) events_.failed(id, why);
                });
            return;
        }
        // It is from before its pool said so, and runs as root: it goes, and another one comes.
        if (!place_of(request.id).user) return release(request.id, {});
    }
    start_agent(request.id);
}

Result<void> LocalProvider::be_had_by_user(const NodeId& id) {
    const NodeUser user = TURNOUT_TRY(users_->claim(workspace_of(id)));
    if (ways_.contains(user.workspace)) return {};
    TURNOUT_TRY(options_.open_way(user));
    ways_.insert(user.workspace);
    return {};
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
        [seen, nodes = options_.nodes_folder, users = users()] {
            std::set<NodeId> alive;
            std::set<uid_t> uids;
            for (const NodeUser& user : users)
                if (const auto own = user.own_uid()) uids.insert(*own);
            const auto look = [&](const std::string& folder, const std::vector<std::string>& with,
                                  const std::string& only) -> Result<void> {
                const auto one = [&](const std::string& name) {
                    const NodeId id = node_of(name);
                    return only.empty() || workspace_of(id) == only ? id : NodeId();
                };
                for (const std::string& name : with) alive.insert(one(name));
                if (!exists(folder)) return {};
                for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(folder)))
                    seen->nodes.try_emplace(one(entry.name), FoundNode::Is::Unknown);
                return {};
            };
            // A task says what it likes of itself: of others' nodes it is not asked.
            const auto no_users = [&](pid_t pid) {
                const auto user = user_of(pid);
                return user && !uids.contains(*user) && is_of_our_namespace(pid);
            };
            seen->looked = look(nodes,
                                folders_with_processes(
                                    nodes, users.empty() ? std::function<bool(pid_t)>() : no_users),
                                "");
            for (const NodeUser& user : users)
                if (seen->looked)
                    seen->looked =
                        look(user.nodes(),
                             folders_with_processes(user.nodes(),
                                                    [&](pid_t pid) {
                                                        return user_of(pid) == user.uid &&
                                                               is_of_our_namespace(pid);
                                                    }),
                             user.workspace);
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
    const Paths paths = place_of(id);
    const std::string token = options_.node_token(id).reveal();
    const LocalProviderOptions& o = options_;
    const auto& user = paths.user;
    const std::string agent = user ? users_->agent() : o.agent;
    std::vector<std::string> argv = {
        agent,          "--server",   "unix:" + (user ? user->socket() : o.server_socket),
        "--node",       id,           "--folder",
        paths.folder,   "--cache",    user ? user->cache() : o.cache_folder,
        "--token-file", paths.token()};
    std::vector<std::string> environment =
        surroundings(user ? agent_protocol::neutral_variable : agent_protocol::allowed_variable);
    if (user) {
        set_variable(environment, "HOME", user->home());
        set_variable(environment, "UV_CACHE_DIR", user->cache() + "/uv");
        set_variable(environment, "SHELL", kShell);
        if (const auto own = user->own_uid()) {
            const std::string name = "turnout-" + std::to_string(*own);  // it has no entry
            set_variable(environment, "USER", name);
            set_variable(environment, "LOGNAME", name);
        }
    }
    // What people keep on a compute instance stays there, whatever becomes of the node.
    set_variable(environment, "TURNOUT_HOMES", user ? user->home() + "/homes" : o.homes_folder);
    for (const std::string& one : node.variables)
        set_variable(environment, one.substr(0, one.find('=')), one.substr(one.find('=') + 1));
    if (!o.uv.empty()) argv.insert(argv.end(), {"--uv", o.uv});
    if (!node.python.empty()) argv.insert(argv.end(), {"--python", node.python});
    // One that is only to leave starts nothing any more.
    const std::vector<int> processors =
                               node.leaving ? std::vector<int>() : processors_.take(id, node.cores),
                           own = processors_.own(id);
    if (!processors.empty()) argv.insert(argv.end(), {"--processors", processor_list(processors)});

    // One that is only to leave was not asked for in this life: then as any of its user's may.
    const bool namespaces =
        user && (node.namespaces || !user->own_uid() ||
                 (!node.own_user && std::ranges::any_of(pools_of_users_, [](const auto& pool) {
                     return pool.second == Isolation::WorkspaceNamespaces;
                 })));
    UserProgram program;
    if (user) {
        program = {*user, paths.folder, namespaces ? "" : paths.log(), argv, environment};
        if (namespaces) {
            std::vector<std::string> read = node.read;
            if (!o.uv.empty()) read.push_back(o.uv);
            program.arguments =
                users_->in_namespaces(*user, paths.folder, paths.log(), read, o.hidden);
            program.arguments.insert(program.arguments.end(), argv.begin(), argv.end());
        }
    }

    struct Outcome {
        Result<void> result;
        std::optional<ProcessId> lives;
        bool again = false;
        bool sees_more = false;  // than its pool lets it now
    };
    auto outcome = std::make_shared<Outcome>();  // shared with the pool's thread
    loop_.blocking(
        [id, paths, token, argv, environment, own, stuck, program, namespaces, outcome] {
            outcome->result = [&]() -> Result<void> {
                if (const auto handle = paths.handle()) {
                    reap(handle->process.pid);
                    const bool moved = !handle->folder.empty() && handle->folder != paths.folder;
                    if (handle->alive() && !moved) {
                        outcome->lives = handle->process;
                        outcome->sees_more = namespaces && !handle->namespaces;
                        // Its lock on the folder goes with it, a moment later. In namespaces the
                        // agent alone is killed, and started again there.
                        if (stuck == handle->process)
                            outcome->again =
                                send_signal(*stuck, handle->namespaces ? SIGUSR1 : SIGKILL)
                                    .has_value();
                        return {};
                    }
                    // It looks for everything where the folder was. What it has begun goes on
                    // without it.
                    if (moved && handle->alive()) (void)send_signal(handle->process, SIGKILL);
                }
                // With its first process all that was in namespaces is gone: this one is outside.
                if (namespaces && paths.supervisor_alive()) {
                    outcome->sees_more = true;
                    return {};
                }
                TURNOUT_TRY(paths.prepare(token));
                SpawnRequest request;
                request.program = argv.front();
                request.arguments = argv;
                request.environment = environment;
                request.directory = paths.folder;
                request.output = request.error = paths.log();
                const ProcessId process =
                    TURNOUT_TRY(!paths.user             ? spawn(request)
                                : paths.user->own_uid() ? start_as_user(argv.front(), program)
                                                        : start_program(program));
                Json handle = Json::object();
                handle.set("pid", static_cast<std::int64_t>(process.pid));
                handle.set("startTicks", static_cast<std::int64_t>(process.start_ticks));
                handle.set("bootId", boot_id());
                handle.set("node", id);
                Json numbers = Json::array();
                for (const int one : own) numbers.push(one);
                handle.set("processors", std::move(numbers));
                handle.set("namespaces", namespaces);
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
            if (outcome->again) outcome->lives.reset();  // it has its time anew
            if (asked.silent != outcome->lives) asked.silent_since = clock_.since_boot();
            asked.silent = outcome->lives;
            if (!outcome->result) {
                // Whatever this machine lacks now, it is tried again soon: no quota is at its end.
                Error why = outcome->result.error();
                why.code = Code::Unavailable;
                events_.failed(id, std::move(why));
            }
            if (outcome->sees_more) return release(id, {});
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
    const Paths paths = place_of(id);
    struct Seen {
        bool folder = false, agent = false, supervisor = false, removed = false;
    };
    auto seen = std::make_shared<Seen>();  // shared with the pool's thread
    loop_.blocking(
        [paths, program = users_ ? users_->agent() : "", seen, patient] {
            seen->folder = exists(paths.folder);
            const auto handle = paths.handle();
            if (handle) reap(handle->process.pid);
            seen->agent = handle && handle->alive();
            seen->supervisor = seen->folder && paths.supervisor_alive();
            if ((seen->agent || seen->supervisor) && patient) return;
            // Stopped, or stuck: nobody is asked any more. Or somebody removed what tells of them,
            // which proves nothing.
            const bool killed = paths.end(program);
            if (seen->agent) (void)send_signal(handle->process, SIGKILL);
            if (!killed && !seen->agent && !seen->supervisor)
                seen->removed = !seen->folder || paths.remove().has_value();
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
