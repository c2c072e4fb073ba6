#include "api/people/directory.h"

#include <algorithm>

#include "base/json.h"
#include "base/text.h"

namespace turnout::api {
namespace {

using access::Role;
using access::Scope;

constexpr std::string_view kAdminName = "admin", kOwner = "Owner", kFirstAssignment = "first-owner";
constexpr std::size_t kMostUsers = 10'000, kMostAssignments = 100'000, kMostRoles = 200;
constexpr std::size_t kLongestName = 64;

Json texts(const std::vector<std::string>& list) {
    Json json = Json::array();
    for (const std::string& text : list) json.push(text);
    return json;
}
std::vector<std::string> texts(const Json& json) {
    std::vector<std::string> list;
    for (const Json& text : json.items()) list.push_back(text.as_string());
    return list;
}

std::string row_of(const User& user) {
    Json row = Json::object({{"displayName", user.display_name},
                             {"created", user.created.micros},
                             {"createdBy", user.created_by},
                             {"disabled", user.disabled}});
    if (!user.subject.empty()) row.set("issuer", user.issuer), row.set("subject", user.subject);
    return row.dump();
}
std::string row_of(const Role& role) {
    return Json::object({{"name", role.name},
                         {"description", role.description},
                         {"actions", texts(role.actions)},
                         {"notActions", texts(role.not_actions)}})
        .dump();
}
std::string row_of(const Assignment& assignment) {
    Json row = Json::object({{"user", assignment.user},
                             {"role", assignment.role},
                             {"workspace", assignment.scope.workspace},
                             {"compute", assignment.scope.compute},
                             {"created", assignment.created.micros},
                             {"createdBy", assignment.created_by}});
    if (assignment.of_group) row.set("ofGroup", true);
    return row.dump();
}

// As they stand in paths, in commands and in other programs: no folds, no look-alikes.
Result<void> check_user_name(std::string_view name) {
    const bool fits = !name.empty() && name.size() <= kLongestName &&
                      std::ranges::all_of(name,
                                          [](char c) {
                                              return (c >= 'a' && c <= 'z') ||
                                                     (c >= '0' && c <= '9') || c == '.' ||
                                                     c == '-' || c == '_' || c == '@';
                                          }) &&
                      name.front() != '.' && name.front() != '-' && name.front() != '@';
    if (fits) return {};
    return invalid("'name' of a user is '" + std::string(name.substr(0, 80)) + "': expected 1 to " +
                       std::to_string(kLongestName) +
                       " of small letters, digits and '.', '-', '_', '@', beginning with a letter, "
                       "a digit or '_'",
                   "name");
}

template <class Map>
void write_changes(Batch& batch, const std::string& prefix, const Map& before, const Map& after) {
    for (const auto& [key, value] : after) {
        const auto old = before.find(key);
        if (std::string row = row_of(value); old == before.end() || row_of(old->second) != row)
            batch.put(Table::People, prefix + key, std::move(row));
    }
    for (const auto& [key, value] : before)
        if (!after.contains(key)) batch.erase(Table::People, prefix + key);
}

Failure last_owner() {
    return fail(
        Code::FailedPrecondition, "LastOwner",
        "then nobody would be Owner of the server any more by a person's word (groups of an "
        "identity provider do not count): make somebody else one first");
}

// A command is named only if a shell reads it as it stands: the subject is the provider's text.
std::string how_to_link(const std::string& name, std::string_view subject) {
    const bool plain =
        !subject.empty() && subject.front() != '-' && std::ranges::all_of(subject, [](char c) {
            return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                   std::string_view("._@:-").find(c) != std::string_view::npos;
        });
    if (!plain) return " ('turnout user link', with the subject that the provider shows)";
    return " with `turnout user link " + name + " --subject " + std::string(subject) + "`";
}

}  // namespace

const Role* Directory::find_role(const State& state, std::string_view name) {
    for (const Role& role : access::built_in_roles())
        if (equal_ignoring_case(role.name, name)) return &role;
    const auto found = state.roles.find(to_lower(name));
    return found == state.roles.end() ? nullptr : &found->second;
}

void Directory::derive(State& state) {
    state.grants.clear();
    for (const auto& [id, assignment] : state.assignments) {
        const auto user = state.users.find(assignment.user);
        if (user == state.users.end() || user->second.disabled) continue;
        if (const Role* role = find_role(state, assignment.role))
            state.grants[assignment.user].push_back({role, assignment.scope});
    }
}

bool Directory::has_owner(const State& state) {
    return std::ranges::any_of(state.assignments, [&](const auto& item) {
        const Assignment& assignment = item.second;
        const auto user = state.users.find(assignment.user);
        return assignment.role == kOwner && assignment.scope == Scope{} && !assignment.of_group &&
               user != state.users.end() && !user->second.disabled;
    });
}

bool Directory::loses_owner(const State& before, const State& after) {
    return has_owner(before) && !has_owner(after);
}

Result<Directory::State*> Directory::loaded() {
    if (state_) return &*state_;
    State state;
    const Result<void> all =
        each_row(store_, Table::People, {}, [&](const Record& record) -> Result<void> {
            const Json json = TURNOUT_TRY(parse_json(record.value));
            const std::string key = record.key.substr(2);
            if (record.key.starts_with("u/")) {
                state.users[key] = {key,
                                    json.at("displayName").as_string(),
                                    Instant{json.at("created").as_int()},
                                    json.at("createdBy").as_string(),
                                    json.at("disabled").as_bool(),
                                    json.at("issuer").as_string(),
                                    json.at("subject").as_string()};
            } else if (record.key.starts_with("r/")) {
                state.roles[key] = {json.at("name").as_string(), json.at("description").as_string(),
                                    texts(json.at("actions")), texts(json.at("notActions")), true};
            } else {
                state.assignments[key] = {
                    key,
                    json.at("user").as_string(),
                    json.at("role").as_string(),
                    {json.at("workspace").as_string(), json.at("compute").as_string()},
                    Instant{json.at("created").as_int()},
                    json.at("createdBy").as_string(),
                    json.at("ofGroup").as_bool()};
            }
            return {};
        });
    if (!all) return Failure(all.error());
    if (!state.users.contains(kAdminName)) {  // before the first row
        const std::string admin(kAdminName), id(kFirstAssignment);
        state.users[admin] = {admin, "", {}, "", false};
        state.assignments[id] = {id, admin, std::string(kOwner), {}, {}, ""};
    }
    state_ = std::move(state);
    derive(*state_);  // where they stay: grants point at roles
    return &*state_;
}

Task<Result<void>> Directory::commit(State next) {
    TURNOUT_CO_TRY(const auto stored, store_.scan(Table::People, with_prefix("u/", 1)));
    Batch batch;
    const State nothing;
    const State& before = stored.empty() ? nothing : *state_;
    write_changes(batch, "u/", before.users, next.users);
    write_changes(batch, "r/", before.roles, next.roles);
    write_changes(batch, "a/", before.assignments, next.assignments);
    TURNOUT_CO_TRY([[maybe_unused]] const auto revision, co_await store_.commit(std::move(batch)));
    state_ = std::move(next);
    derive(*state_);
    co_return Result<void>();
}

bool Directory::may(std::string_view user, const access::Limits& limits, std::string_view action,
                    const Scope& scope) {
    const Result<State*> state = loaded();
    if (!state) return false;
    const auto grants = (*state)->grants.find(user);
    return grants != (*state)->grants.end() && access::may(grants->second, limits, action, scope);
}

bool Directory::may_somewhere(std::string_view user, const access::Limits& limits,
                              std::string_view action) {
    const Result<State*> state = loaded();
    if (!state) return false;
    const auto grants = (*state)->grants.find(user);
    return grants != (*state)->grants.end() &&
           access::may_somewhere(grants->second, limits, action);
}

Result<std::vector<User>> Directory::users() {
    const State* state = TURNOUT_TRY(loaded());
    std::vector<User> all;
    for (const auto& [name, user] : state->users) all.push_back(user);
    return all;
}

Result<std::optional<User>> Directory::find_user(std::string_view name) {
    const State* state = TURNOUT_TRY(loaded());
    const auto found = state->users.find(name);
    if (found == state->users.end()) return std::optional<User>();
    return std::optional<User>(found->second);
}

Result<std::vector<Role>> Directory::roles() {
    const State* state = TURNOUT_TRY(loaded());
    std::vector<Role> all(access::built_in_roles().begin(), access::built_in_roles().end());
    for (const auto& [name, role] : state->roles) all.push_back(role);
    return all;
}

Result<std::vector<Assignment>> Directory::assignments() {
    const State* state = TURNOUT_TRY(loaded());
    std::vector<Assignment> all;
    for (const auto& [id, assignment] : state->assignments) all.push_back(assignment);
    std::ranges::sort(all, {}, [](const Assignment& one) {
        return std::tuple(std::string_view(one.user), one.created.micros, std::string_view(one.id));
    });
    return all;
}

Result<User> Directory::user(std::string_view name) {
    const State* state = TURNOUT_TRY(loaded());
    if (const auto found = state->users.find(name); found != state->users.end())
        return found->second;
    std::vector<std::string> names;
    for (const auto& [each, user] : state->users) names.push_back(each);
    return not_found("there is no user '" + std::string(name.substr(0, 80)) + "'" +
                         did_you_mean(name, names) + " ('turnout user list' shows all)",
                     "user");
}

Result<Role> Directory::role(std::string_view name) {
    const State* state = TURNOUT_TRY(loaded());
    if (const Role* found = find_role(*state, name)) return *found;
    std::vector<std::string> names;
    for (const Role& role : TURNOUT_TRY(roles())) names.push_back(role.name);
    return not_found("there is no role '" + std::string(name.substr(0, 80)) + "'" +
                         did_you_mean(name, names, ": there is " + join(names, ", ")),
                     "role");
}

Result<Assignment> Directory::assignment(std::string_view id) {
    const State* state = TURNOUT_TRY(loaded());
    if (const auto found = state->assignments.find(id); found != state->assignments.end())
        return found->second;
    return not_found("there is no role assignment '" + std::string(id.substr(0, 80)) +
                         "' ('turnout role list' shows all)",
                     "assignment");
}

Task<Result<User>> Directory::add_user(std::string name, std::string display_name, std::string by) {
    TURNOUT_CO_TRY_VOID(check_user_name(name));
    if (display_name.size() > 200 || !is_utf8(display_name))
        co_return invalid("'displayName' has at most 200 bytes of text", "displayName");
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    if (state->users.contains(name))
        co_return fail(Code::Conflict, "UserExists", "there is a user '" + name + "' already",
                       "name");
    if (state->users.size() >= kMostUsers)
        co_return fail(Code::ResourceExhausted, "TooManyUsers",
                       "there are " + std::to_string(kMostUsers) + " users", "name");
    State next = *state;
    const User user{name, std::move(display_name), clock_.now(), std::move(by), false};
    next.users[name] = user;
    TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    co_return user;
}

const User* Directory::find_subject(const State& state, std::string_view issuer,
                                    std::string_view subject) {
    for (const auto& [name, user] : state.users)
        if (user.subject == subject && user.issuer == issuer && !subject.empty()) return &user;
    return nullptr;
}

Task<Result<User>> Directory::admit(Admission who) {
    const auto kept_out = [](std::string_view reason, const std::string& why) {
        return fail(Code::PermissionDenied, reason, why);
    };
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    User user;
    const User* known = find_subject(*state, who.issuer, who.subject);
    if (known) {
        user = *known;
    } else {
        TURNOUT_CO_TRY_VOID(check_user_name(who.name));
        if (state->users.contains(who.name))
            co_return kept_out("UserExists", "there is a user '" + who.name +
                                                 "' already who is not this one of the identity "
                                                 "provider: an Owner of the server says who it is" +
                                                 how_to_link(who.name, who.subject));
        if (state->users.size() >= kMostUsers)
            co_return fail(Code::ResourceExhausted, "TooManyUsers",
                           "there are " + std::to_string(kMostUsers) + " users", "name");
        user = User{who.name, "", clock_.now(), "", false, who.issuer, who.subject};
    }
    if (user.disabled)
        co_return kept_out("UserDisabled", "user '" + user.name +
                                               "' is disabled: an Owner of the server can enable "
                                               "them again");
    if (is_utf8(who.display_name) && who.display_name.size() <= 200 && !who.display_name.empty())
        user.display_name = who.display_name;
    const auto is_of = [](const Assignment& one, const auto& role) {
        return one.role == role.first && one.scope == role.second;
    };
    std::vector<std::string> gone;
    std::vector<Assignment> has, made;
    for (const auto& [id, one] : state->assignments) {
        if (one.user != user.name) continue;
        if (one.of_group &&
            std::ranges::none_of(who.roles, [&](const auto& role) { return is_of(one, role); }))
            gone.push_back(id);
        else
            has.push_back(one);
    }
    for (const auto& role : who.roles) {
        if (std::ranges::any_of(has, [&](const Assignment& one) { return is_of(one, role); }) ||
            !find_role(*state, role.first) ||
            state->assignments.size() + made.size() - gone.size() >= kMostAssignments)
            continue;
        made.push_back(
            {random_.uuid(), user.name, role.first, role.second, clock_.now(), "", true});
        has.push_back(made.back());
    }
    const bool may_do = !has.empty();
    // Most logins change nothing. Of somebody who was here before it is written that they have
    // nothing any more.
    const bool changes = !known || row_of(*known) != row_of(user) || !gone.empty() || !made.empty();
    if (changes && (may_do || known)) {
        State next = *state;
        next.users[user.name] = user;
        for (const std::string& id : gone) next.assignments.erase(id);
        for (const Assignment& one : made) next.assignments[one.id] = one;
        TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    }
    if (!may_do)
        co_return kept_out("NoRole", "'" + user.name +
                                         "' has no role on this server: none of their groups at "
                                         "the identity provider gives one (oidc.yaml)");
    co_return user;
}

Task<Result<User>> Directory::link(std::string name, std::string issuer, std::string subject) {
    if (issuer.empty() || subject.empty() || subject.size() > 255 || !is_utf8(subject))
        co_return invalid("'subject' is " + shown(subject) +
                              ": expected the 'sub' that the identity provider has for them",
                          "subject");
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    TURNOUT_CO_TRY(User changed, user(name));
    if (const User* other = find_subject(*state, issuer, subject); other && other->name != name)
        co_return fail(Code::Conflict, "SubjectTaken",
                       "this subject of the identity provider is user '" + other->name + "'",
                       "subject");
    changed.issuer = std::move(issuer);
    changed.subject = std::move(subject);
    State next = *state;
    next.users[name] = changed;
    TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    co_return changed;
}

Task<Result<User>> Directory::set_disabled(std::string name, bool disabled) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    TURNOUT_CO_TRY(User changed, user(name));
    changed.disabled = disabled;
    State next = *state;
    next.users[name] = changed;
    if (loses_owner(*state, next)) co_return last_owner();
    TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    co_return changed;
}

Task<Result<void>> Directory::restore_admin() {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    State next = *state;
    const std::string admin(kAdminName);
    const bool is_owner = std::ranges::any_of(next.assignments, [&](const auto& item) {
        const Assignment& one = item.second;
        return one.user == admin && one.role == kOwner && one.scope == Scope{};
    });
    if (is_owner && !next.users.at(admin).disabled) co_return Result<void>();
    next.users.at(admin).disabled = false;
    if (!is_owner) {
        const std::string id(kFirstAssignment);
        next.assignments[id] = {id, admin, std::string(kOwner), {}, clock_.now(), ""};
    }
    co_return co_await commit(std::move(next));
}

Task<Result<Assignment>> Directory::assign(std::string user_name, std::string role_name,
                                           Scope scope, std::string by) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    TURNOUT_CO_TRY(const User of, user(user_name));
    TURNOUT_CO_TRY(const Role what, role(role_name));
    for (const auto& [id, there] : state->assignments)
        if (there.user == of.name && there.role == what.name && there.scope == scope) {
            if (!there.of_group) co_return there;
            // From now on by this person's word, whatever the groups are.
            Assignment kept = there;
            kept.of_group = false;
            kept.created_by = std::move(by);
            State next = *state;
            next.assignments[kept.id] = kept;
            TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
            co_return kept;
        }
    if (state->assignments.size() >= kMostAssignments)
        co_return fail(Code::ResourceExhausted, "TooManyAssignments",
                       "there are " + std::to_string(kMostAssignments) + " role assignments");
    State next = *state;
    const Assignment made{random_.uuid(),   of.name,      what.name,
                          std::move(scope), clock_.now(), std::move(by)};
    next.assignments[made.id] = made;
    TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    co_return made;
}

Task<Result<void>> Directory::remove_assignment(std::string id) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    TURNOUT_CO_TRY([[maybe_unused]] const Assignment gone, assignment(id));
    State next = *state;
    next.assignments.erase(id);
    if (loses_owner(*state, next)) co_return last_owner();
    co_return co_await commit(std::move(next));
}

Task<Result<void>> Directory::forget(Scope gone) {
    if (gone.workspace.empty()) co_return invalid("the server itself stays", "scope");
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    State next = *state;
    const auto count = std::erase_if(
        next.assignments, [&](const auto& item) { return gone.contains(item.second.scope); });
    if (count == 0) co_return Result<void>();
    co_return co_await commit(std::move(next));
}

Task<Result<Role>> Directory::put_role(Role wanted) {
    TURNOUT_CO_TRY_VOID(access::check_role(wanted));
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    const std::string key = to_lower(wanted.name);
    if (const auto there = state->roles.find(key); there != state->roles.end())
        wanted.name = there->second.name;  // assignments have it so
    else if (state->roles.size() >= kMostRoles)
        co_return fail(Code::ResourceExhausted, "TooManyRoles",
                       "there are " + std::to_string(kMostRoles) + " roles", "name");
    wanted.custom = true;
    State next = *state;
    next.roles[key] = wanted;
    TURNOUT_CO_TRY_VOID(co_await commit(std::move(next)));
    co_return wanted;
}

Task<Result<void>> Directory::remove_role(std::string name) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const State* state, loaded());
    TURNOUT_CO_TRY(const Role there, role(name));
    if (!there.custom)
        co_return fail(Code::FailedPrecondition, "RoleIsBuiltIn",
                       "'" + there.name + "' is a role of the server's own", "role");
    for (const auto& [id, assignment] : state->assignments)
        if (assignment.role == there.name)
            co_return fail(Code::FailedPrecondition, "RoleInUse",
                           "user '" + assignment.user + "' has the role '" + there.name +
                               "': remove that first ('turnout role list' shows all)",
                           "role");
    State next = *state;
    next.roles.erase(to_lower(there.name));
    co_return co_await commit(std::move(next));
}

}  // namespace turnout::api
