// The people of a server, their roles and where they have them: rows of Table::People, kept in
// memory too, since every request asks.
//
// As long as nobody was added, there is the admin alone, who is Owner of the server: a data folder
// of a build before people needs no step.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/access.h"
#include "base/task.h"
#include "io/loop.h"
#include "store/store.h"
#include "store/turns.h"

namespace turnout::api {

struct User {
    std::string name;
    std::string display_name;
    Instant created{};
    std::string created_by;
    bool disabled = false;
    // Who logs in by a provider of OpenID Connect: as whom it knows them. "" = nobody of such.
    std::string issuer = {}, subject = {};
};

// Who that is at its provider, as one text.
inline std::string subject_text(const User& user) {
    return user.issuer + " " + user.subject;
}

struct Assignment {
    std::string id;
    std::string user;
    std::string role;
    access::Scope scope;
    Instant created{};
    std::string created_by;
    bool of_group = false;  // by a group of the provider: looked at anew at each login
};

// Somebody whom a provider of OpenID Connect has told who they are.
struct Admission {
    std::string issuer, subject;
    std::string name;  // of the user, if it is the first time
    std::string display_name;
    std::vector<std::pair<std::string, access::Scope>> roles;  // of their groups
};

// The only writer of its table. Store and clock outlive it.
class Directory {
public:
    Directory(Store& store, const Clock& clock, Random& random)
        : store_(store), clock_(clock), random_(random) {}

    // Of a user that does not exist, or is disabled: denied.
    bool may(std::string_view user, const access::Limits& limits, std::string_view action,
             const access::Scope& scope);
    bool may_somewhere(std::string_view user, const access::Limits& limits,
                       std::string_view action);

    Result<std::vector<User>> users();
    Result<std::optional<User>> find_user(std::string_view name);
    Result<std::vector<access::Role>> roles();  // the server's own first
    Result<std::vector<Assignment>> assignments();
    // NotFound with the nearest name.
    Result<User> user(std::string_view name);
    Result<access::Role> role(std::string_view name);
    Result<Assignment> assignment(std::string_view id);

    Task<Result<User>> add_user(std::string name, std::string display_name, std::string by);
    // The user whom that subject of that provider is, made if it is the first time, with the roles
    // of their groups and no longer those of groups that they have left. PermissionDenied: they
    // have no role anywhere, are disabled, or the name is somebody else's.
    Task<Result<User>> admit(Admission who);
    // From now on that subject is this user, whose name and roles stay. Conflict: it is another's.
    Task<Result<User>> link(std::string name, std::string issuer, std::string subject);
    Task<Result<User>> set_disabled(std::string name, bool disabled);
    // The admin is enabled, and Owner of the server: for whoever owns the data folder, so that
    // nobody is shut out for good when the last Owner has no token any more.
    Task<Result<void>> restore_admin();
    // The same again is no second one.
    Task<Result<Assignment>> assign(std::string user, std::string role, access::Scope scope,
                                    std::string by);
    Task<Result<void>> remove_assignment(std::string id);
    // Whoever has a role on that workspace, or on that compute alone, has it no more: it is gone,
    // and the next one of its name is another.
    Task<Result<void>> forget(access::Scope gone);
    Task<Result<access::Role>> put_role(access::Role role);
    Task<Result<void>> remove_role(std::string name);

private:
    struct State {
        std::map<std::string, User, std::less<>> users;
        std::map<std::string, access::Role, std::less<>> roles;      // custom ones, in lower case
        std::map<std::string, Assignment, std::less<>> assignments;  // by id
        // What a request looks at: the grants of each user who is not disabled.
        std::map<std::string, std::vector<access::Grant>, std::less<>> grants;
    };
    Result<State*> loaded();
    static const User* find_subject(const State& state, std::string_view issuer,
                                    std::string_view subject);
    static const access::Role* find_role(const State& state, std::string_view name);
    static void derive(State& state);
    // An Owner by a person's word: groups may be gone at the next login.
    static bool has_owner(const State& state);
    static bool loses_owner(const State& before, const State& after);
    // Writes what differs between the two, then the second is what holds.
    Task<Result<void>> commit(State next);

    Store& store_;
    const Clock& clock_;
    Random& random_;
    std::optional<State> state_;
    Turns turns_;
};

}  // namespace turnout::api
