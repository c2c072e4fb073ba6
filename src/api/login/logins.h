// How people get in: by an identity provider (OpenID Connect, `oidc.yaml` in the data folder), with
// the browser or on a terminal, and with the browser by a link that is good once, which whoever has
// a token makes.
//
//   GET  /login[?to=PAGE]        the page that offers what there is
//   GET  /login/once?code=       the link; its page's button does POST /login/once
//   GET  /login/oidc             to the provider, which sends the browser to /oidc/callback
//   POST /logout                 ends the session
//   POST /turnout/login-links    {"path", "expires"}: such a link, for whoever asks
//   GET  /turnout/login          which ways there are: {"oidc": bool, "issuer"}
//   POST /turnout/login/device   {"handle", "userCode", "address", "completeAddress", "interval",
//                                "expiresIn"}: begins one on a terminal
//   POST /turnout/login/device/poll  {"handle", "machine"} -> {"state": "pending", "interval"}, or
//                                {"state": "done", "user", "name", "token", "expires"}
//   GET  /turnout/sessions       DELETE /turnout/sessions/{id}
//   POST /turnout/oidc/check     oidc.yaml as it is now, and what the provider answers
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "api/api.h"
#include "api/authority.h"
#include "oidc/provider.h"
#include "oidc/settings.h"

namespace turnout::api {

struct LoginSources {
    // oidc.yaml as it is now, with the client's secret; nothing if there is none.
    std::function<Task<Result<std::optional<oidc::Settings>>>()> settings = {};
    std::function<Result<std::unique_ptr<http::Client>>(const oidc::Settings&)> client = {};
};

// Logins on their way are kept in memory: a server that ends ends them, and people begin anew.
class Logins {
public:
    Logins(Services& services, InstanceAuthority& authority, LoginSources sources)
        : services_(services), authority_(authority), sources_(std::move(sources)) {}

    void add_to(Router& router);
    // The path of a link that is good once, for the admin: of the server itself, at its start.
    Result<std::string> link_for_admin();

private:
    using Answer = Task<Result<http::Response>>;
    struct Once {
        Principal who;
        std::optional<Instant> expires;  // of the key by which it was made
        std::string from;
        Span until{};
    };
    struct InBrowser {
        std::shared_ptr<oidc::Provider> provider;
        oidc::CodeLogin login;
        std::string cookie_hash;  // of the browser that began it
        std::string to;
        std::string from;
        Span until{};
    };
    struct OnTerminal {
        std::shared_ptr<oidc::Provider> provider;
        oidc::DeviceLogin login;
        Span next{};
        bool asking = false;
        std::string from;
        Span until{};
    };
    // FailedPrecondition, "NoOidc": there is no oidc.yaml. What is wrong with it is for its
    // operator alone.
    Task<Result<std::shared_ptr<oidc::Provider>>> provider();
    Task<Result<User>> admit(oidc::Identity who, std::shared_ptr<oidc::Provider> provider);
    Result<access::Scope> scope_of(const oidc::GroupRole& role);
    // The settings are still those of that provider, which was asked meanwhile.
    Task<Result<void>> check_still(std::shared_ptr<oidc::Provider> provider);
    template <class Map>
    Result<void> make_room(Map& pending, const std::string& from);
    void make_room_in_browsers(const std::string& from);
    // For the time of a login; the path of its link.
    std::string keep(Once once);
    Task<Result<http::Response>> begin_session(Call& call, NewApiKey wanted, std::string to);

    Answer show_ways(Call& call);
    Answer show_login(Call& call);
    Answer show_once(Call& call);
    Answer use_once(Call& call);
    Answer make_link(Call& call);
    Answer go_to_provider(Call& call);
    Answer come_back(Call& call);
    Answer log_out(Call& call);
    Answer begin_device(Call& call);
    Answer poll_device(Call& call);
    Answer list_sessions(Call& call);
    Answer end_session(Call& call);
    Answer check(Call& call);

    Services& services_;
    InstanceAuthority& authority_;
    const LoginSources sources_;
    std::shared_ptr<oidc::Provider> provider_;     // shared with logins that began with it
    std::map<std::string, Once> once_;             // by the hash of the code
    std::map<std::string, InBrowser> in_browser_;  // by state
    // By the hash of the handle. Those for which the provider is being asked are there, too.
    std::map<std::string, OnTerminal> on_terminal_;
};

}  // namespace turnout::api
