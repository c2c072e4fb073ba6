// Issues and checks the credentials of this instance.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/access.h"
#include "api/api.h"
#include "api/people/directory.h"
#include "io/loop.h"
#include "store/store.h"

namespace turnout::api {

// The secrets of an instance. Made once, kept by app/ in a file of mode 0600 outside the database.
struct InstanceKeys {
    Secret token_key;    // signs access tokens
    Secret link_key;     // signs SAS, studio and log links
    std::string tenant;  // a GUID, `tid` of every token
};
InstanceKeys make_instance_keys(Random& random);
std::string serialize(const InstanceKeys& keys);  // the text of the key file; secret
Result<InstanceKeys> parse_instance_keys(std::string_view text);

// What is known of an API key, which itself is kept as its hash.
struct ApiKey {
    std::string id;    // made of the hash: names it in commands
    std::string name;  // what its owner calls it, unlike that user's others
    std::string user;
    Instant created{};
    std::optional<Instant> expires;
    access::Limits limits;
    std::string row;  // its key in Table::Token
    // Of a session of a browser: at which origin it was begun, and the row of the key by whose
    // link, without which it is over; "" = by none. A session's secret opens nothing as a bearer.
    std::string origin = {};
    std::string by = {};
    // Of what a login by an identity provider made, and of what was made with that: as whom the
    // provider knows whoever it was, see subject_text(); "" = of no login.
    std::string subject = {};
    bool is_session() const { return !origin.empty(); }
};
struct NewApiKey {
    std::string user;
    std::string name;
    std::optional<Instant> expires = {};
    access::Limits limits = {};
    std::string origin = {};  // makes it a session
    std::string by = {};
    std::string subject = {};
};
struct MadeApiKey {
    Secret secret;  // shown this once
    ApiKey key;
};
// The name of the key in `admin.key` of the data folder, and of those that were there earlier.
inline constexpr std::string_view kAdminKey = "admin.key";
inline constexpr std::string_view kAdmin = "admin";

class InstanceAuthority : public Authority {
public:
    virtual Directory& people() = 0;
    virtual Task<Result<MadeApiKey>> create_api_key(NewApiKey wanted) = 0;
    Task<Result<Secret>> create_api_key(std::string user);
    // All there are, the oldest first, and the same of sessions.
    virtual Result<std::vector<ApiKey>> api_keys() = 0;
    virtual Result<std::vector<ApiKey>> sessions() = 0;
    // Of a user with many the oldest is over.
    virtual Task<Result<MadeApiKey>> create_session(NewApiKey wanted) = 0;
    virtual Task<Result<void>> end_sessions(std::string user) = 0;
    // Sessions and tokens that logins of any other subject made for that user.
    virtual Task<Result<void>> end_logins_but_of(std::string user, std::string subject) = 0;
    // At once, for it and for all tokens that were made with it. `row`: see ApiKey.
    virtual Task<Result<void>> revoke_api_key(std::string row) = 0;
    // Another secret for the same; the one before is worth nothing from then on.
    virtual Task<Result<MadeApiKey>> rotate_api_key(std::string row) = 0;
    // Of `admin.key`, which holds `text`: nothing if that is a key that holds, else a new one to be
    // written there, and those that were there before are revoked.
    virtual Task<Result<std::optional<Secret>>> ensure_admin_key(std::string text) = 0;
};

// The audience of tokens that the nodes and the tasks' MLflow use: not for Azure's clients.
inline constexpr std::string_view kOwnAudience = "turnout";

// Of tokens of attempts and nodes: a job may run for years, and then still has to log. A run's
// token ends with its attempt, at which every check looks. A node's opens the link, over which one
// that is not wanted any more hears that it is to leave, and may say nothing else. Azure's clients
// want a date.
inline constexpr Span kAsLongAsItLives = std::chrono::hours(24 * 365 * 100);

// Store and clock outlive it.
std::unique_ptr<InstanceAuthority> make_authority(Store& store, const Clock& clock, Random& random,
                                                  InstanceKeys keys);

}  // namespace turnout::api
