// How people log in by a provider of OpenID Connect: `oidc.yaml` in the data folder. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

namespace turnout::oidc {

// What members of a group get.
struct GroupRole {
    std::string group;  // "*" = everybody who logs in
    std::string role;
    bool server = false;              // on the server; else on that workspace
    std::string workspace = {};       // by its name
    std::string resource_group = {};  // "" = whichever has it
    std::string place = {};           // "oidc.yaml:9:5", for messages
    // Wherever it stands: a comment above it changes nothing.
    bool operator==(const GroupRole& other) const;
};

struct Settings {
    std::string file;
    std::string issuer;  // as the provider says it: compared by the letter
    std::string client_id;
    std::string client_secret_file;  // "" = a public client; relative to the data folder
    Secret client_secret;            // what is in it
    std::string ca_file;             // PEM; "" = the system's authorities
    // As browsers reach the server, where that is not as they say: "https://turnout.example".
    std::string url;
    std::vector<std::string> scopes = {"openid", "profile", "email"};
    std::string user_claim = "preferred_username";
    std::string name_claim = "name";
    std::string groups_claim = "groups";
    Span session = 12h;     // how long a browser stays logged in
    Span token = 30 * 24h;  // and how long what `turnout login` gets is good
    std::vector<GroupRole> roles;

    bool same_as(const Settings& other) const;
};

// Errors name place, value and what is expected.
Result<Settings> parse_settings(std::string_view text, std::string file);

// A URL that credentials may be sent to: https, or http to this very machine.
bool is_safe_url(std::string_view url);

// The same of one that the provider of that issuer names, which may have a query. http only if the
// issuer is of this machine itself: another's documents lead nowhere here.
bool is_safe_endpoint(std::string_view url, std::string_view issuer);

// As a browser says it: scheme and host in small letters, no path, no port that goes without
// saying.
bool is_origin(std::string_view url);

}  // namespace turnout::oidc
