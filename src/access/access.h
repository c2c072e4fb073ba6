// Who may do what where: a pure decision over roles and their assignments. No I/O; whoever asks
// brings them along.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::access {

// Where something is done, or where a role holds. What holds on the server holds in all its
// workspaces, and what holds in a workspace on all its computes.
struct Scope {
    std::string workspace = {};  // its id; "" = the whole server
    std::string compute = {};    // of that workspace; "" = all of it

    bool contains(const Scope& inner) const;
    bool operator==(const Scope&) const = default;
};

// Actions are Azure's words, such as Microsoft.MachineLearningServices/workspaces/jobs/write, and
// compare without regard to case. In a role each may have '*' for any text.
struct Role {
    std::string name;
    std::string description = {};
    std::vector<std::string> actions = {};
    std::vector<std::string> not_actions = {};  // taken from them again
    bool custom = false;

    bool allows(std::string_view action) const;
};

// A role that somebody has on a scope.
struct Grant {
    const Role* role;
    Scope scope;
};

// What a credential says of its bearer's rights: never more than they have.
struct Limits {
    std::string workspace = {};  // only in this one; "" = everywhere
    bool read_only = false;
    bool none() const { return workspace.empty() && !read_only; }
};

// Denied unless a grant allows it.
bool may(std::span<const Grant> grants, const Limits& limits, std::string_view action,
         const Scope& scope);
// The same of at least one place: what is listed is then asked for one by one.
bool may_somewhere(std::span<const Grant> grants, const Limits& limits, std::string_view action);

// Does the action only read?
bool reads(std::string_view action);

// Owner, Contributor, Reader, AzureML Data Scientist, AzureML Compute Operator.
std::span<const Role> built_in_roles();
// The actions that there are, for custom roles and for those who read them.
std::span<const std::string_view> known_actions();
// The pattern names at least one of them.
bool is_known(std::string_view pattern);
// A custom role as it was written: its name is free and every action is known.
Result<void> check_role(const Role& role);

}  // namespace turnout::access
