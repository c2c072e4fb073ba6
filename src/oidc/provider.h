// A provider of OpenID Connect as the server speaks with it: what it says of itself, its keys, and
// the two ways in which it tells who somebody is. What it publishes is kept as long as it says;
// keys are asked for anew when a token names another one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "base/time.h"
#include "io/http.h"
#include "io/loop.h"
#include "oidc/settings.h"
#include "oidc/token.h"
#include "store/turns.h"

namespace turnout::oidc {

// What it says of itself (OpenID Connect Discovery 1.0).
struct Metadata {
    std::string authorization, token, keys;
    std::string device, userinfo;  // "" = it has none
    bool secret_in_body = false;   // it takes the client's secret in no other way
    bool names_itself = false;     // at the end of a login in the browser (RFC 9207)
};
// InvalidArgument: it is another one's, or sends what is secret to where everybody can read it.
Result<Metadata> parse_metadata(std::string_view text, const std::string& issuer);

// How long an answer may be kept by its Cache-Control: within a minute and a day, an hour if it
// says nothing.
Span lifetime_of(const http::Headers& headers);

// Who somebody is, as the provider says.
struct Identity {
    std::string issuer, subject;  // the two that never mean somebody else
    std::string user;             // the claim that names them
    std::string display_name;
    std::vector<std::string> groups;
};
// From verified claims. Unauthenticated: a claim that is needed is missing.
Result<Identity> identity_of(const Json& claims, const Settings& settings);

// A login in the browser: what is sent with it and looked at afterwards.
struct CodeLogin {
    std::string state, nonce;
    Secret verifier;  // RFC 7636
    std::string redirect;
};

// A login on a terminal, which somebody confirms elsewhere (RFC 8628).
struct DeviceLogin {
    Secret device_code;
    std::string user_code, address;
    std::string complete_address;  // with the code in it; "" = the provider has none
    Span life{}, interval{};
};

// Whoever calls holds it until the call is over. The clock outlives it.
class Provider {
public:
    Provider(Settings settings, std::unique_ptr<http::Client> client, const Clock& clock)
        : settings_(std::move(settings)), client_(std::move(client)), clock_(clock) {}

    const Settings& settings() const { return settings_; }

    // Where the browser goes.
    Task<Result<std::string>> authorization_url(CodeLogin login);
    // What it came back with. Unauthenticated: it proves nothing.
    // `issuer`: who it says it is from, "" if it does not.
    Task<Result<Identity>> finish(CodeLogin login, std::string code, std::string issuer);

    Task<Result<DeviceLogin>> begin_device();
    // Nobody yet while it was not confirmed; `slower`: ask less often from now on.
    // PermissionDenied: it was refused, or has expired.
    Task<Result<std::optional<Identity>>> ask_device(Secret device_code, bool& slower);

    // Asks as one that has nothing yet: {authorizationEndpoint, …, keys: [{id, algorithm}]}.
    Task<Result<Json>> look();

    // So long no newer keys are asked for, whatever tokens name, and so long whoever asks is told
    // that the provider failed just now: they would wait for it one after the other.
    static constexpr Span kBetweenLooks = 5s;

private:
    struct Answer {
        int status = 0;
        http::Headers headers;
        std::string body;
    };
    struct Tokens {
        std::string id_token;
        Secret access_token;
    };
    Task<Result<Answer>> ask(http::ClientRequest request, std::string what);
    Task<Result<Metadata>> metadata();
    // `newer`: although those there are may still be kept.
    Task<Result<void>> fetch_keys(bool newer);
    Task<Result<Answer>> post(std::string url,
                              std::vector<std::pair<std::string, std::string>> form,
                              std::string what);
    Task<Result<Json>> verify(std::string id_token, std::string nonce);
    Task<Result<Identity>> identify(Tokens tokens, std::string nonce);

    const Settings settings_;
    const std::unique_ptr<http::Client> client_;
    const Clock& clock_;
    Turns turns_;  // one asks, the others have what it got
    std::optional<Metadata> metadata_;
    std::vector<ProviderKey> keys_;
    Span metadata_until_{}, keys_until_{};
    std::optional<Span> keys_asked_;
    struct Failed {
        Error error;
        Span until{};
    };
    Failure remember(std::optional<Failed>& failed, Error error) const;
    std::optional<Failed> metadata_failed_, keys_failed_;
    Task<Result<Metadata>> ask_metadata();
    Task<Result<void>> ask_keys(std::string url);
};

}  // namespace turnout::oidc
