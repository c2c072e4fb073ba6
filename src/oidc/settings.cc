#include "oidc/settings.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/quantities.h"
#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout::oidc {
namespace {

constexpr Span kShortest = 5min, kLongestSession = 30 * 24h, kLongestTokenLife = 366 * 24h;
constexpr std::size_t kMostRoles = 1000, kLongestText = 1000;

struct TextKey {
    std::string_view name;
    std::string Settings::* value;
    std::string_view expected;
};
constexpr TextKey kTexts[] = {
    {"issuer", &Settings::issuer,
     "the provider's address, such as https://login.example.org/realms/lab"},
    {"client_id", &Settings::client_id, "the name that the provider has for this server"},
    {"client_secret_file", &Settings::client_secret_file, "a file in the data folder"},
    {"ca_file", &Settings::ca_file, "a PEM file with the provider's authority"},
    {"url", &Settings::url, "this server's address for browsers, such as https://gpu.example:8443"},
    {"user_claim", &Settings::user_claim, "a claim's name, such as preferred_username"},
    {"name_claim", &Settings::name_claim, "a claim's name, such as name"},
    {"groups_claim", &Settings::groups_claim, "a claim's name, such as groups"},
};
constexpr std::string_view kAllKeys =
    "issuer, client_id, client_secret_file, ca_file, url, scopes, user_claim, name_claim, "
    "groups_claim, session, token, roles";

bool has_controls(std::string_view text) {
    return std::ranges::any_of(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

class SettingsReader {
public:
    explicit SettingsReader(const YamlDocument& document) : document_(document) {}

    Result<void> read(Settings& settings) const {
        if (!document_.value.is_object())
            return bad("", "", "a mapping of " + std::string(kAllKeys));
        for (const auto& [name, value] : document_.value.members()) {
            const std::string pointer = pointer_to("", name);
            const auto text = std::ranges::find(kTexts, name, &TextKey::name);
            if (text != std::end(kTexts)) {
                settings.*(text->value) = TURNOUT_TRY(text_at(pointer, value, text->expected));
            } else if (name == "scopes") {
                settings.scopes = TURNOUT_TRY(scopes(pointer, value));
            } else if (name == "session") {
                settings.session = TURNOUT_TRY(age(pointer, value, kLongestSession));
            } else if (name == "token") {
                settings.token = TURNOUT_TRY(age(pointer, value, kLongestTokenLife));
            } else if (name == "roles") {
                settings.roles = TURNOUT_TRY(roles(pointer, value));
            } else if (name == "client_secret") {
                return bad(pointer, "…",
                           "'client_secret_file', the name of a file that only the server's user "
                           "can read: the secret itself does not belong here");
            } else {
                return bad(pointer, name, "one of " + std::string(kAllKeys));
            }
        }
        for (const char* needed : {"issuer", "client_id", "roles"})
            if (!document_.value.has(needed))
                return invalid(document_.place("") + ": '" + needed + "' is missing", needed);
        for (const char* name : {"issuer", "url"})
            if (const Json& value = document_.value.at(name);
                value.is_string() && !is_safe_url(value.as_view()))
                return bad(pointer_to("", name), value.as_string(),
                           "an address that begins with https:// (http:// only for this machine "
                           "itself) and has no query");
        while (settings.url.ends_with('/')) settings.url.pop_back();
        if (!settings.url.empty() && !is_origin(settings.url))
            return bad(pointer_to("", "url"), settings.url,
                       "an address as browsers say it: in small letters, without a path and "
                       "without ':443', such as https://gpu.example or https://gpu.example:8443");
        return {};
    }

private:
    Result<std::string> text_at(const std::string& pointer, const Json& value,
                                std::string_view expected) const {
        const std::string text = document_.text(pointer, value);
        if (text.empty() || text.size() > kLongestText || has_controls(text))
            return bad(pointer, said(pointer, value), std::string(expected));
        return text;
    }
    Result<Span> age(const std::string& pointer, const Json& value, Span most) const {
        const auto parsed = parse_age(trim(document_.text(pointer, value)));
        if (!parsed || *parsed < kShortest || *parsed > most)
            return bad(pointer, said(pointer, value),
                       "an age such as 12h or 30d, from 5m to " +
                           std::to_string(most / std::chrono::hours(24)) + "d");
        return *parsed;
    }
    Result<std::vector<std::string>> scopes(const std::string& pointer, const Json& value) const {
        std::vector<std::string> all;
        bool openid = false;
        for (std::size_t i = 0; i < value.items().size(); ++i) {
            const std::string at = pointer_to(pointer, i);
            all.push_back(TURNOUT_TRY(text_at(at, value.items()[i], "a scope, such as profile")));
            if (all.back().find(' ') != std::string::npos)
                return bad(at, all.back(), "one scope for each item");
            openid = openid || all.back() == "openid";
        }
        if (!openid) return bad(pointer, said(pointer, value), "a list of scopes with 'openid'");
        return all;
    }
    Result<std::vector<GroupRole>> roles(const std::string& pointer, const Json& value) const {
        std::vector<GroupRole> all;
        if (!value.is_array() || value.items().empty() || value.items().size() > kMostRoles)
            return bad(pointer, said(pointer, value),
                       "a list of items such as {group: lab, role: Reader, workspace: default}; "
                       "whoever is in none of the groups is kept out");
        for (std::size_t i = 0; i < value.items().size(); ++i)
            all.push_back(TURNOUT_TRY(role(pointer_to(pointer, i), value.items()[i])));
        return all;
    }
    Result<GroupRole> role(const std::string& pointer, const Json& item) const {
        GroupRole role;
        role.place = document_.place(pointer);
        if (!item.is_object())
            return bad(pointer, said(pointer, item),
                       "a mapping such as {group: lab, role: Reader, workspace: default}");
        for (const auto& [name, value] : item.members()) {
            const std::string at = pointer_to(pointer, name);
            if (name == "group") {
                role.group =
                    TURNOUT_TRY(text_at(at, value, "a group's name, or '*' for everybody"));
            } else if (name == "role") {
                role.role = TURNOUT_TRY(text_at(at, value, "a role's name, such as Reader"));
            } else if (name == "workspace") {
                role.workspace = TURNOUT_TRY(text_at(at, value, "a workspace's name"));
            } else if (name == "resource_group") {
                role.resource_group = TURNOUT_TRY(text_at(at, value, "a resource group's name"));
            } else if (name == "server" && value.is_bool()) {
                role.server = value.as_bool();
            } else {
                return bad(at, name == "server" ? said(at, value) : name,
                           name == "server"
                               ? "true, for a role on the whole server"
                               : "one of group, role, workspace, resource_group, server");
            }
        }
        if (role.group.empty() || role.role.empty())
            return bad(pointer, "", "'group' and 'role', and where: 'workspace', or server: true");
        if (role.server == !role.workspace.empty() ||
            (role.workspace.empty() && !role.resource_group.empty()))
            return bad(pointer, "",
                       "one place: 'workspace' (and its 'resource_group' if several have one of "
                       "that name), or server: true");
        return role;
    }

    std::string said(const std::string& pointer, const Json& value) const {
        std::string text = document_.text(pointer, value);
        if (text.empty()) text = value.dump();
        return text.substr(0, 80);
    }
    Failure bad(const std::string& pointer, const std::string& value,
                const std::string& expected) const {
        std::string what = "it is no mapping";
        if (!pointer.empty())
            what = dotted(pointer) + (value.empty() ? " is not complete" : " is '" + value + "'");
        return invalid(document_.place(pointer) + ": " + what + ": expected " + expected,
                       dotted(pointer));
    }

    const YamlDocument& document_;
};

}  // namespace

bool is_safe_endpoint(std::string_view url, std::string_view issuer) {
    return is_safe_url(url.substr(0, url.find('?'))) && !has_controls(url) &&
           url.find_first_of("# ") == std::string_view::npos &&
           (url.starts_with("https://") || issuer.starts_with("http://"));
}

bool is_origin(std::string_view url) {
    if (!is_safe_url(url)) return false;
    const bool tls = url.starts_with("https://");
    const std::string_view host = url.substr(tls ? 8 : 7);
    const std::size_t colon = host.find(':', host.starts_with('[') ? host.find(']') : 0);
    if (colon != std::string_view::npos) {
        const std::string_view port = host.substr(colon + 1);
        if (port.empty() || port.front() == '0' || port == (tls ? "443" : "80") ||
            !std::ranges::all_of(port, is_digit))
            return false;
    }
    return to_lower(url) == url && host.find('/') == std::string_view::npos;
}

bool GroupRole::operator==(const GroupRole& other) const {
    const auto said = [](const GroupRole& one) {
        return std::tie(one.group, one.role, one.server, one.workspace, one.resource_group);
    };
    return said(*this) == said(other);
}

bool Settings::same_as(const Settings& other) const {
    for (const TextKey& text : kTexts)
        if (this->*(text.value) != other.*(text.value)) return false;
    return client_secret.matches(other.client_secret.reveal()) && scopes == other.scopes &&
           session == other.session && token == other.token && roles == other.roles;
}

bool is_safe_url(std::string_view url) {
    const bool tls = url.starts_with("https://");
    if (!tls && !url.starts_with("http://")) return false;
    const std::string_view rest = url.substr(tls ? 8 : 7);
    const std::string_view authority = rest.substr(0, rest.find('/'));
    if (authority.empty() || url.find_first_of("?#@\\ ") != std::string_view::npos ||
        has_controls(url))
        return false;
    if (tls) return true;
    std::string_view host = authority;
    if (host.starts_with('[')) return host.starts_with("[::1]");
    host = host.substr(0, host.find(':'));
    return equal_ignoring_case(host, "localhost") ||
           (host.starts_with("127.") &&
            std::ranges::all_of(host, [](char c) { return is_digit(c) || c == '.'; }));
}

Result<Settings> parse_settings(std::string_view text, std::string file) {
    Settings settings;
    settings.file = file;
    const YamlDocument document = TURNOUT_TRY(parse_yaml(text, std::move(file)));
    TURNOUT_TRY(SettingsReader(document).read(settings));
    return settings;
}

}  // namespace turnout::oidc
