// Users of the machine, one for each workspace of a pool with `isolation: workspace_uid`: what its
// agents, supervisors and tasks run as, and where all that they need lies. Root's server only. With
// `isolation: workspace_namespaces` a server that is not root has the same folders, with numbers
// from 1 and all its own, and what runs there sees nothing else (app/namespaces.h).
//
//   ROOT/bin/HASH/turnout-agent, uv      everybody may run them
//   ROOT/UID/owner.json                  whose it is: {data, workspace}; root's
//   ROOT/UID/server.sock                 the way to the server: root's, and the user's by its group
//   ROOT/UID/agents/NODE.json, .token    root's; the token may be read by the user
//   ROOT/UID/nodes/NODE/                 a node's folder, the user's
//   ROOT/UID/cache/ home/                the user's
//   ROOT/UID/inside/                     empty: what its nodes in namespaces see begins there
//
// The folder UID is made once, which is the claim of that number: no other workspace and no other
// server gets it as long as it is there. Nobody but root and the user can pass it. Within `nodes`,
// `cache` and `home` a task may have put anything in place of anything, links above all: root makes
// no path there but ROOT/UID/nodes/NODE itself, whose parents are root's own.
//
// All of it blocks, for microseconds once a workspace has its user.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "io/posix/processes.h"
#include "provider/local/cache.h"

namespace turnout {

struct UidRange {
    uid_t first = 600'000, last = 665'535;
    bool operator==(const UidRange&) const = default;
};
inline constexpr std::string_view kUsersFolder = "/var/lib/turnout/users";

struct NodeUser {
    uid_t uid = 0;
    gid_t gid = 0;
    std::string workspace;
    std::string folder;

    // Nothing where it is the server's: what runs as that is not all the workspace's.
    std::optional<uid_t> own_uid() const;
    std::string inside() const { return folder + "/inside"; }
    std::string nodes() const { return folder + "/nodes"; }
    std::string agents() const { return folder + "/agents"; }
    std::string cache() const { return folder + "/cache"; }
    std::string home() const { return folder + "/home"; }
    std::string socket() const { return folder + "/server.sock"; }
};

struct UsersSettings {
    UidRange range;
    std::string folder = std::string(kUsersFolder);
    bool operator==(const UsersSettings&) const = default;
};
// What a pool's settings say of it; of a server that is not root its data folder does.
UsersSettings users_settings(const Json& settings, const std::string& data);

class NodeUsers {
public:
    // Of the server with that data folder, which it tells from others by a file `users.json` there:
    // it goes with the folder where that is moved, and not with a copy of it. FailedPrecondition
    // where this machine cannot have such users, with the reason. `agent`, `uv` ("" = none):
    // programs that are put where those users reach them.
    // `namespaces`: their nodes have such, too; who is not root has nothing else.
    static Result<NodeUsers> open(const std::string& data, UsersSettings settings, bool namespaces,
                                  const std::string& agent, const std::string& uv);
    // Whether this machine can have such users, as far as that shows without having one.
    static Result<void> possible(const UsersSettings& settings, bool namespaces);
    // What was opened before there, if anything was: nodes may be left though no pool says so now.
    static std::optional<UsersSettings> earlier(const std::string& data);

    // The workspace's user; a new one if it has none. ResourceExhausted: the range is used up.
    Result<NodeUser> claim(const std::string& workspace);
    const NodeUser* find(std::string_view workspace) const;
    const std::vector<NodeUser>& all() const { return users_; }
    const std::string& agent() const { return agent_; }
    // What starts a program of that user in namespaces: the words before its own. `folder` is its
    // node's, `read` what it may read besides.
    std::vector<std::string> in_namespaces(const NodeUser& user, const std::string& folder,
                                           const std::string& log,
                                           const std::vector<std::string>& read,
                                           const std::vector<std::string>& hidden = {}) const;

private:
    NodeUsers() = default;
    Result<NodeUser> make(uid_t number, const std::string& workspace) const;
    Result<void> publish(const std::string& agent, const std::string& uv);
    Result<void> probe(bool namespaces) const;

    UsersSettings settings_;
    std::string data_folder_;
    std::string data_;   // which server's
    std::string agent_;  // as those users reach it
    std::vector<NodeUser> users_;
};

// What the caches of those users take, each as one: how it is arranged within is that user's, and
// root walks through it without following a link. In use while its workspace has a node.
std::vector<CachedFolder> caches_of(const std::vector<NodeUser>& users);
// Empties it unless it is in use by now; false if it is.
Result<bool> clear_cache(const NodeUser& user);

// Why that range cannot be used: "" if it can. Numbers of people and services of this machine, and
// those that they may give away (/etc/subuid), are nobody else's.
std::string why_not(const UidRange& range);

// Starts a program of that user, in a folder that only root could have replaced, with what it
// prints in `log` (a path that the user may write). See app/as_user.h.
struct UserProgram {
    NodeUser user;
    std::string directory, log;
    std::vector<std::string> arguments;    // with its path first
    std::vector<std::string> environment;  // all of it
};
Result<ProcessId> start_as_user(const std::string& agent, const UserProgram& program);
// The same as the server's own user, which prints nowhere: in namespaces it sees to that itself.
Result<ProcessId> start_program(const UserProgram& program);
// Ends all processes of that user at one moment, however they hide; how many there were.
Result<int> end_all_of(const std::string& agent, const NodeUser& user);
// The processes that run as that user, whatever they call themselves.
std::vector<ProcessId> processes_of_user(uid_t uid);

}  // namespace turnout
