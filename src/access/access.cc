#include "access/access.h"

#include <algorithm>

#include "access/actions.h"
#include "base/text.h"

namespace turnout::access {
namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// '*' is any text, '/' too. In one pass that goes back to the last '*' only: patterns are people's.
bool matches(std::string_view pattern, std::string_view text) {
    std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && lower(pattern[p]) == lower(text[t])) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

bool any_matches(const std::vector<std::string>& patterns, std::string_view action) {
    return std::ranges::any_of(
        patterns, [&](const std::string& pattern) { return matches(pattern, action); });
}

constexpr std::size_t kLongestName = 64;
constexpr std::size_t kMostActions = 100;

}  // namespace

bool Scope::contains(const Scope& inner) const {
    if (workspace.empty()) return true;
    if (workspace != inner.workspace) return false;
    return compute.empty() || equal_ignoring_case(compute, inner.compute);
}

bool Role::allows(std::string_view action) const {
    return any_matches(actions, action) && !any_matches(not_actions, action);
}

bool reads(std::string_view action) {
    constexpr std::string_view read = "/read";
    return action.size() > read.size() &&
           equal_ignoring_case(action.substr(action.size() - read.size()), read);
}

bool may(std::span<const Grant> grants, const Limits& limits, std::string_view action,
         const Scope& scope) {
    if (limits.read_only && !reads(action)) return false;
    if (!limits.workspace.empty() && limits.workspace != scope.workspace) return false;
    return std::ranges::any_of(grants, [&](const Grant& grant) {
        return grant.scope.contains(scope) && grant.role->allows(action);
    });
}

bool may_somewhere(std::span<const Grant> grants, const Limits& limits, std::string_view action) {
    if (limits.read_only && !reads(action)) return false;
    return std::ranges::any_of(grants, [&](const Grant& grant) {
        const bool within = limits.workspace.empty() || grant.scope.workspace.empty() ||
                            grant.scope.workspace == limits.workspace;
        return within && grant.role->allows(action);
    });
}

std::span<const Role> built_in_roles() {
    static const std::vector<Role> roles = {
        {"Owner", "Everything, with people and their roles.", {"*"}},
        {"Contributor",
         "Everything but people, their tokens, roles and quotas, the audit, and which pools there "
         "are.",
         {"*"},
         {"Microsoft.Authorization/*/write", "Microsoft.Authorization/*/delete",
          "Turnout/users/write", "Turnout/tokens/write", "Turnout/tokens/delete",
          std::string(action::kWriteQuotas), std::string(action::kReadAudit),
          std::string(action::kDescribePools)}},
        {"Reader",
         "Looks at everything but the audit, and changes nothing.",
         {"*/read"},
         {std::string(action::kReadAudit)}},
        // As in Azure, and with the workspace itself, without which no client gets anywhere.
        {"AzureML Data Scientist",
         "Everything in a workspace, but for computes, keys, secrets, drills, and the workspace "
         "itself.",
         {"Microsoft.MachineLearningServices/workspaces/read",
          "Microsoft.MachineLearningServices/workspaces/*/read",
          "Microsoft.MachineLearningServices/workspaces/*/action",
          "Microsoft.MachineLearningServices/workspaces/*/delete",
          "Microsoft.MachineLearningServices/workspaces/*/write"},
         {"Microsoft.MachineLearningServices/workspaces/computes/write",
          "Microsoft.MachineLearningServices/workspaces/computes/delete",
          "Microsoft.MachineLearningServices/workspaces/computes/listKeys/action",
          "Microsoft.MachineLearningServices/workspaces/listKeys/action",
          "Microsoft.MachineLearningServices/workspaces/secrets/write",
          "Microsoft.MachineLearningServices/workspaces/secrets/delete",
          "Microsoft.MachineLearningServices/workspaces/jobs/drill/action"}},
        {"AzureML Compute Operator",
         "Makes, changes and deletes computes.",
         {"Microsoft.MachineLearningServices/workspaces/read",
          "Microsoft.MachineLearningServices/workspaces/computes/*",
          "Microsoft.MachineLearningServices/locations/*/read", "Turnout/pools/read"}},
    };
    return roles;
}

std::span<const std::string_view> known_actions() {
    return action::kAll;
}

bool is_known(std::string_view pattern) {
    return std::ranges::any_of(known_actions(),
                               [&](std::string_view action) { return matches(pattern, action); });
}

Result<void> check_role(const Role& role) {
    if (role.name.empty() || role.name.size() > kLongestName || !is_utf8(role.name) ||
        std::ranges::any_of(role.name, [](char c) {
            return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/';
        }))
        return invalid("'name' of a role is '" + role.name.substr(0, 80) + "': expected 1 to " +
                           std::to_string(kLongestName) + " characters without '/'",
                       "name");
    for (const Role& known : built_in_roles())
        if (equal_ignoring_case(known.name, role.name))
            return fail(Code::Conflict, "RoleExists",
                        "'" + known.name + "' is a role of the server's own: give another name",
                        "name");
    if (role.actions.empty())
        return invalid("the role '" + role.name + "' has no actions: it would allow nothing",
                       "actions");
    for (const auto* list : {&role.actions, &role.not_actions}) {
        const std::string where = list == &role.actions ? "actions" : "notActions";
        if (list->size() > kMostActions)
            return invalid("a role has at most " + std::to_string(kMostActions) + " " + where,
                           where);
        for (const std::string& pattern : *list)
            if (!is_known(pattern)) {
                const std::vector<std::string> known(known_actions().begin(),
                                                     known_actions().end());
                return invalid("there is no action '" + pattern.substr(0, 120) + "'" +
                                   did_you_mean(pattern, known) +
                                   " ('turnout role actions' shows all)",
                               where);
            }
    }
    return {};
}

}  // namespace turnout::access
