#include "provider/local/users.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"

namespace turnout {
namespace {

constexpr mode_t kPassable = 0711, kUsersOnly = 0710;

Failure refuse(const std::string& why) {
    return fail(Code::FailedPrecondition, "NoUsers", "isolation: " + why, "isolation");
}

std::optional<uid_t> number_of(std::string_view text) {
    uid_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || text.empty())
        return std::nullopt;
    return number;
}

// A folder of the server's user with that mode and group, made if it is not there.
Result<void> own_folder(const std::string& path, mode_t mode, uid_t user, gid_t group) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return file_failure("cannot make the folder", path, errno);
    const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder) return file_failure("cannot open the folder", path, errno);
    if (::fchown(folder.get(), user, group) != 0 || ::fchmod(folder.get(), mode) != 0)
        return file_failure("cannot give away the folder", path, errno);
    return {};
}

// What is wrong with the way to `path`; "" if nothing. Those users must be able to pass it, and
// nobody but root may put something else in its place.
std::string fault_on_the_way(const std::string& path) {
    for (std::size_t at = 1; at <= path.size(); ++at) {
        if (at != path.size() && path[at] != '/') continue;
        struct stat st{};
        const std::string part = path.substr(0, at);
        if (::stat(part.c_str(), &st) != 0) return {};  // what is missing is made
        if ((st.st_mode & S_IXOTH) == 0) return "other users cannot pass '" + part + "'";
        const bool all_may_write = (st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0;
        if (st.st_uid != 0 || all_may_write)
            return "'" + part + "' can be changed by others than root";
    }
    return {};
}

// Of a server that is not root.
std::string users_in(const std::string& data) {
    return data + "/workspaces";
}

struct Identity {
    std::string id, data, folder;
    UidRange range;
};
std::string identity_file(const std::string& data) {
    return data + "/users.json";
}
std::optional<Identity> read_identity(const std::string& data) {
    const Result<std::string> text = read_file(identity_file(data), 64 << 10);
    const Result<Json> json = text ? parse_json(*text) : Result<Json>(Json());
    if (!json || json->at("id").as_string().empty()) return std::nullopt;
    return Identity{json->at("id").as_string(),
                    json->at("data").as_string(),
                    json->at("folder").as_string(),
                    {static_cast<uid_t>(json->at("first").as_int()),
                     static_cast<uid_t>(json->at("last").as_int())}};
}

// The folders of a server's users: {number, workspace}.
Result<std::vector<std::pair<uid_t, std::string>>> claims_of(const std::string& server,
                                                             const std::string& folder) {
    std::vector<std::pair<uid_t, std::string>> found;
    for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(folder))) {
        const auto uid = number_of(entry.name);
        if (!uid || *uid == 0) continue;
        const Result<std::string> text =
            read_file(folder + "/" + entry.name + "/owner.json", 64 << 10);
        const Result<Json> owner = text ? parse_json(*text) : Result<Json>(Json());
        if (owner && owner->at("data").as_string() == server)
            found.emplace_back(*uid, owner->at("workspace").as_string());
    }
    return found;
}

// A node of that server that is left there; "" if there is none.
std::string node_left_in(const std::string& folder, const std::string& server) {
    const auto claims = claims_of(server, folder);
    if (!claims) return {};
    for (const auto& [uid, workspace] : *claims) {
        const std::string place = folder + "/" + std::to_string(uid) + "/nodes";
        const auto nodes = list_directory(place);
        if (nodes && !nodes->empty()) return place + "/" + nodes->front().name;
    }
    return {};
}

// Which server that data folder is, for as long as it is there.
Result<std::string> identity_of(const std::string& data, const UsersSettings& settings) {
    Identity now{{}, data, settings.folder, settings.range};
    if (const auto before = read_identity(data)) {
        const bool copied = before->data != data &&
                            read_identity(before->data).value_or(Identity{}).id == before->id;
        if (!copied) now.id = before->id;
        // What runs there would not be found, and what it does be begun a second time.
        if (!copied && !before->folder.empty() && before->folder != settings.folder)
            if (const std::string node = node_left_in(before->folder, before->id); !node.empty())
                return refuse("the pool's `folder` was '" + before->folder +
                              "', where a node is still ('" + node +
                              "'): write that until no cluster has a node, then '" +
                              settings.folder + "'");
    }
    if (now.id.empty()) {
        const std::string bytes = TURNOUT_TRY(read_file("/proc/sys/kernel/random/uuid", 64));
        now.id = std::string(trim(bytes));
    }
    const Json json = Json::object({{"id", now.id},
                                    {"data", now.data},
                                    {"folder", now.folder},
                                    {"first", static_cast<std::int64_t>(now.range.first)},
                                    {"last", static_cast<std::int64_t>(now.range.last)}});
    TURNOUT_TRY(write_file_atomically(identity_file(data), json.dump() + "\n", 0600));
    return now.id;
}

// From the moment when it is a user's it can be stopped by all that is: it has 10 s.
int status_of(const ProcessId& process) {
    for (int waited = 0;; ++waited) {
        int status = -1;
        const pid_t ended = ::waitpid(process.pid, &status, WNOHANG);
        if (ended == process.pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
        if (ended < 0 && errno != EINTR) return 128;
        if (waited == 2000) (void)send_signal(process, SIGKILL);
        (void)::poll(nullptr, 0, 5);
    }
}

// What the kernel was told that leaves none to who is not root; "" if nothing that shows. Whether
// they can be had is tried at the start.
std::string no_namespaces() {
    const struct {
        const char *file, *none;
    } settings[] = {{"/proc/sys/user/max_user_namespaces", "0"},
                    {"/proc/sys/kernel/unprivileged_userns_clone", "0"},
                    {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"}};
    for (const auto& [file, none] : settings)
        if (const Result<std::string> text = read_file(file, 64); text && trim(*text) == none)
            return std::string("this machine gives no user namespaces: ") + file + " is " + none;
    return {};
}

// What a program of that user wrote there, who may have put anything in its place.
std::string written_by_user(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat st{};
    if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
    char text[2048];
    const ssize_t size = ::read(file.get(), text, sizeof text);
    return std::string(trim(std::string_view(text, size > 0 ? static_cast<std::size_t>(size) : 0)));
}

}  // namespace

std::string why_not(const UidRange& range) {
    const auto numbers = [&](uid_t uid) { return uid >= range.first && uid <= range.last; };
    ::setpwent();
    std::string found;
    for (const passwd* one; found.empty() && (one = ::getpwent());)
        if (numbers(one->pw_uid))
            found = std::to_string(one->pw_uid) + " of it is the user '" + one->pw_name + "'";
    ::endpwent();
    if (!found.empty()) return found;
    for (const char* file : {"/etc/subuid", "/etc/subgid"}) {
        const Result<std::string> text = read_file(file, 1 << 20);
        if (!text) continue;
        for (const std::string& line : split(*text, '\n')) {
            const std::vector<std::string> parts = split(line, ':');
            if (parts.size() != 3) continue;
            const auto first = number_of(trim(parts[1])), count = number_of(trim(parts[2]));
            if (first && count && *count > 0 && *first <= range.last &&
                *first + (*count - 1) >= range.first)
                return "a part of it is '" + parts[0] + "' to give away (" + file + ")";
        }
    }
    return {};
}

std::optional<uid_t> NodeUser::own_uid() const {
    return uid == ::geteuid() ? std::nullopt : std::optional(uid);
}

UsersSettings users_settings(const Json& settings, const std::string& data) {
    if (::geteuid() != 0) return {{1, 65'535}, users_in(data)};
    UsersSettings out;
    const auto& range = settings.at("uid_range").items();
    if (range.size() == 2)
        out.range = {static_cast<uid_t>(range[0].as_int()), static_cast<uid_t>(range[1].as_int())};
    out.folder = settings.at("folder").as_string(std::string(kUsersFolder));
    while (out.folder.size() > 1 && out.folder.ends_with('/')) out.folder.pop_back();
    return out;
}

std::optional<UsersSettings> NodeUsers::earlier(const std::string& data) {
    const auto before = read_identity(data);
    if (!before || before->folder.empty()) return std::nullopt;
    // Of a server that was not root they are in its data folder, wherever that was.
    const bool in_data = before->folder == users_in(before->data);
    if (in_data == (::geteuid() == 0)) return std::nullopt;
    return UsersSettings{before->range, in_data ? users_in(data) : before->folder};
}

Result<void> NodeUsers::possible(const UsersSettings& settings, bool namespaces) {
    if (::geteuid() != 0 && namespaces) {
        const std::string why = no_namespaces();
        if (!why.empty()) return refuse("workspace_namespaces: " + why);
        return {};
    }
    if (::geteuid() != 0)
        return refuse(
            "workspace_uid: only a server that runs as root can give workspaces users of their "
            "own: start it as root, or write `isolation: workspace_namespaces`");
    if (const std::string why = why_not(settings.range); !why.empty())
        return refuse("uid_range from " + std::to_string(settings.range.first) + " to " +
                      std::to_string(settings.range.last) + " cannot be used: " + why);
    const std::string parent = settings.folder.substr(0, settings.folder.rfind('/'));
    if (const std::string fault = fault_on_the_way(parent); !fault.empty())
        return refuse(fault + ", on the way to '" + settings.folder +
                      "': name another `folder` in the pool's settings");
    return {};
}

Result<NodeUsers> NodeUsers::open(const std::string& data, UsersSettings settings, bool namespaces,
                                  const std::string& agent, const std::string& uv) {
    TURNOUT_TRY(possible(settings, namespaces));
    NodeUsers users;
    users.data_folder_ = data;
    users.settings_ = std::move(settings);
    const std::string& root = users.settings_.folder;
    if (const std::size_t slash = root.rfind('/'); slash > 0)
        TURNOUT_TRY(make_directories(root.substr(0, slash), 0755));
    TURNOUT_TRY(own_folder(root, kPassable, ::geteuid(), ::getegid()));
    users.data_ = TURNOUT_TRY(identity_of(data, users.settings_));
    TURNOUT_TRY(users.publish(agent, uv));
    TURNOUT_TRY(users.probe(namespaces));
    const auto claims = TURNOUT_TRY(claims_of(users.data_, root));
    for (const auto& [uid, workspace] : claims)  // what an interrupted claim left is completed
        users.users_.push_back(TURNOUT_TRY(users.make(uid, workspace)));
    return users;
}

// Where others may run them, and nobody but root change them; by their content, since one of an
// earlier build may still run.
Result<void> NodeUsers::publish(const std::string& agent, const std::string& uv) {
    const std::string bytes = TURNOUT_TRY(read_file(agent));
    const std::string bin = settings_.folder + "/bin",
                      place = bin + "/" + to_hex(sha256(bytes)).substr(0, 12);
    TURNOUT_TRY(own_folder(bin, 0755, ::geteuid(), ::getegid()));
    TURNOUT_TRY(own_folder(place, 0755, ::geteuid(), ::getegid()));
    agent_ = place + "/turnout-agent";
    struct stat here{}, there{};
    if (::stat(agent_.c_str(), &there) != 0 ||
        static_cast<std::size_t>(there.st_size) != bytes.size())
        TURNOUT_TRY(write_file_atomically(agent_, bytes, 0755));
    const std::string copy = place + "/uv";
    if (uv.empty() || ::stat(uv.c_str(), &here) != 0) return {};
    if (::stat(copy.c_str(), &there) == 0 && there.st_size == here.st_size &&
        there.st_mtim.tv_sec >= here.st_mtim.tv_sec)
        return {};
    return write_file_atomically(copy, TURNOUT_TRY(read_file(uv)), 0755);
}

// That a user of the range can be had here and reaches its programs is tried, not supposed: root of
// a container may be without the right to be somebody else, and the kernel be told to give nobody
// namespaces.
Result<void> NodeUsers::probe(bool namespaces) const {
    const bool root = ::geteuid() == 0;
    NodeUser user;
    user.uid = root ? settings_.range.last : ::geteuid();
    user.gid = root ? user.uid : ::getegid();
    user.folder = settings_.folder + "/probe-" + std::to_string(::getpid());
    UserProgram program{user, "/", "", {agent_, "--version"}, {}};
    std::string log;
    if (namespaces) {
        TURNOUT_TRY(remove_tree(user.folder));  // of one that was cut off
        for (const std::string& folder : {user.folder, user.inside(), user.cache(), user.home()})
            TURNOUT_TRY(own_folder(folder, 0700, user.uid, user.gid));
        log = user.home() + "/log";
        std::vector<std::string> words = in_namespaces(user, user.home(), log, {});
        words.insert(words.end(), program.arguments.begin(), program.arguments.end());
        program.arguments = std::move(words);
        program.directory = user.home();
    }
    const Result<ProcessId> begun = root ? start_as_user(agent_, program) : start_program(program);
    if (!begun) return refuse(begun.error().message);
    const int status = status_of(*begun);
    const std::string said = log.empty() ? "" : written_by_user(log);
    if (namespaces) TURNOUT_TRY(remove_tree(user.folder));
    if (status == 0) return {};
    if (namespaces)
        return refuse(
            "workspace_namespaces: this machine does not let the server start a program "
            "in namespaces of its own (" +
            (said.empty() ? "status " + std::to_string(status) : said) +
            "): allow user namespaces, or write another `isolation`");
    return refuse("workspace_uid: this machine does not let root start '" + agent_ + "' as user " +
                  std::to_string(user.uid));
}

std::vector<std::string> NodeUsers::in_namespaces(const NodeUser& user, const std::string& folder,
                                                  const std::string& log,
                                                  const std::vector<std::string>& read,
                                                  const std::vector<std::string>& hidden) const {
    std::vector<std::string> words = {agent_, "namespaces", "--log", log, "--root", user.inside()};
    for (const std::string& path : {data_folder_, settings_.folder})
        words.insert(words.end(), {"--hide", path});
    for (const std::string& path : hidden) words.insert(words.end(), {"--hide", path});
    for (const std::string& path : {settings_.folder + "/bin", user.folder})
        words.insert(words.end(), {"--read", path});
    for (const std::string& path : read) words.insert(words.end(), {"--read", path});
    for (const std::string& path : {folder, user.cache(), user.home()})
        words.insert(words.end(), {"--write", path});
    words.emplace_back("--");
    return words;
}

Result<NodeUser> NodeUsers::make(uid_t number, const std::string& workspace) const {
    const uid_t owner = ::geteuid();
    const bool root = owner == 0;
    const NodeUser user{root ? number : owner, root ? number : ::getegid(), workspace,
                        settings_.folder + "/" + std::to_string(number)};
    TURNOUT_TRY(own_folder(user.agents(), kUsersOnly, owner, user.gid));
    TURNOUT_TRY(own_folder(user.nodes(), kUsersOnly, owner, user.gid));
    TURNOUT_TRY(own_folder(user.inside(), kUsersOnly, owner, user.gid));
    TURNOUT_TRY(own_folder(user.cache(), 0700, user.uid, user.gid));
    TURNOUT_TRY(own_folder(user.home(), 0700, user.uid, user.gid));
    TURNOUT_TRY(own_folder(user.folder, kUsersOnly, owner, user.gid));  // last: it may be used
    return user;
}

Result<NodeUser> NodeUsers::claim(const std::string& workspace) {
    if (const NodeUser* known = find(workspace)) return *known;
    for (uid_t uid = settings_.range.first;; ++uid) {
        const std::string folder = settings_.folder + "/" + std::to_string(uid);
        if (::mkdir(folder.c_str(), 0700) == 0) {
            // Whoever runs under that number without us would be one with the workspace.
            if (::geteuid() == 0 && !processes_of_user(uid).empty()) {
                ::rmdir(folder.c_str());
            } else {
                const Json owner = Json::object({{"data", data_}, {"workspace", workspace}});
                TURNOUT_TRY(
                    write_file_atomically(folder + "/owner.json", owner.dump() + "\n", 0600));
                users_.push_back(TURNOUT_TRY(make(uid, workspace)));
                return users_.back();
            }
        } else if (errno != EEXIST) {
            return file_failure("cannot make the folder", folder, errno);
        }
        if (uid == settings_.range.last)
            return fail(Code::ResourceExhausted, "NoUid",
                        "the numbers of `uid_range` from " + std::to_string(settings_.range.first) +
                            " to " + std::to_string(settings_.range.last) +
                            " are used up: each workspace has one (" + settings_.folder + ")",
                        "uid_range");
    }
}

std::vector<CachedFolder> caches_of(const std::vector<NodeUser>& users) {
    std::vector<CachedFolder> found;
    for (const NodeUser& user : users) {
        CachedFolder one;
        one.kind = "environments";
        one.path = user.cache();
        one.label = (user.own_uid() ? "all of user " + std::to_string(user.uid) + " (" : "all (") +
                    "workspace " + user.workspace + ")";
        one.bytes = one.frees = space_of(user.cache());
        struct stat st{};  // it changes as nodes come and go
        if (::stat(user.nodes().c_str(), &st) == 0)
            one.used_micros = std::int64_t{st.st_mtim.tv_sec} * 1'000'000;
        const auto nodes = list_directory(user.nodes());
        one.in_use = !nodes || !nodes->empty();
        found.push_back(std::move(one));
    }
    return found;
}

// Out of its place first: a node that comes meanwhile finds an empty one.
Result<bool> clear_cache(const NodeUser& user) {
    const auto nodes = list_directory(user.nodes());
    if (!nodes || !nodes->empty()) return false;
    const std::string going = user.folder + "/going";
    TURNOUT_TRY(remove_tree(going));
    if (::rename(user.cache().c_str(), going.c_str()) != 0)
        return file_failure("cannot remove", user.cache(), errno);
    TURNOUT_TRY(own_folder(user.cache(), 0700, user.uid, user.gid));
    TURNOUT_TRY(remove_tree(going));
    return true;
}

const NodeUser* NodeUsers::find(std::string_view workspace) const {
    const auto found = std::ranges::find(users_, workspace, &NodeUser::workspace);
    return found == users_.end() ? nullptr : &*found;
}

Result<ProcessId> start_program(const UserProgram& program) {
    SpawnRequest request;
    request.program = program.arguments.front();
    request.arguments = program.arguments;
    request.environment = program.environment;
    request.directory = program.directory;
    return spawn(request);
}

Result<ProcessId> start_as_user(const std::string& agent, const UserProgram& program) {
    SpawnRequest request;
    request.program = agent;
    request.arguments = {agent, "as-user", std::to_string(program.user.uid), program.log};
    request.arguments.insert(request.arguments.end(), program.arguments.begin(),
                             program.arguments.end());
    request.environment = program.environment;
    request.directory = program.directory;
    return spawn(request);
}

Result<int> end_all_of(const std::string& agent, const NodeUser& user) {
    TURNOUT_CHECK(user.uid != 0, "never root's");
    const auto found = static_cast<int>(processes_of_user(user.uid).size());
    if (found == 0) return 0;
    SpawnRequest request;
    request.program = agent;
    request.arguments = {agent, "as-user", std::to_string(user.uid), "end-all"};
    const ProcessId ending = TURNOUT_TRY(spawn(request));
    if (status_of(ending) != 0)
        return internal("the processes of user " + std::to_string(user.uid) + " cannot be ended");
    return found;
}

std::vector<ProcessId> processes_of_user(uid_t uid) {
    std::vector<ProcessId> found;
    for (const ProcessSeen& one : list_processes())
        if (user_of(one.id.pid) == uid) found.push_back(one.id);
    return found;
}

}  // namespace turnout
