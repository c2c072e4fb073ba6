// For tests: a provider in this process. What a real one does is tests/clients/test_oidc.py's
// matter.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "io/signature/test_signer.h"
#include "oidc/provider.h"
#include "store/turns.h"

namespace turnout::oidc {

class TestProvider {
public:
    explicit TestProvider(const Clock& clock) : clock_(clock) { rotate("k1"); }

    // Another key in place of the one before.
    void rotate(const std::string& id) {
        key_id = id;
        signer = std::make_unique<TestSigner>(SignatureKind::Es256);
    }
    Settings settings() const {
        Settings all;
        all.issuer = issuer;
        all.client_id = "turnout";
        all.client_secret = Secret("hush");
        all.roles = {{"lab", "Reader", false, "ws"}, {"admins", "Owner", true}};
        return all;
    }
    Json claims() const {
        const std::int64_t now = clock_.now().micros / 1'000'000;
        Json all = Json::object({{"iss", issuer},
                                 {"aud", "turnout"},
                                 {"sub", subject},
                                 {"exp", now + 300},
                                 {"iat", now},
                                 {"preferred_username", user},
                                 {"name", "Ann Example"}});
        if (!nonce.empty()) all.set("nonce", nonce);
        if (groups_in_token) all.set("groups", group_list());
        return all;
    }
    std::unique_ptr<http::Client> client() { return std::make_unique<Client>(*this); }

    std::string issuer = "https://login.example";
    std::string key_id, subject = "s-1", user = "Ann", nonce;
    std::vector<std::string> groups = {"lab"};
    bool groups_in_token = true, device = true, down = false, keys_down = false;
    std::string device_error = "authorization_pending";  // "" = confirmed
    std::string code = "a-code", challenge;              // that was sent with the login
    std::unique_ptr<TestSigner> signer;
    std::map<std::string, int> asked;                       // by path
    std::vector<std::pair<std::string, std::string>> form;  // of the last request
    std::string authorization;
    Turns gate;  // whoever has its turn holds up all answers

private:
    Json group_list() const {
        Json list = Json::array();
        for (const std::string& group : groups) list.push(group);
        return list;
    }
    struct Body : http::BodyReader {
        explicit Body(std::string text) : text_(std::move(text)) {}
        Task<Result<std::string>> read() override { co_return std::exchange(text_, ""); }
        std::string text_;
    };
    struct Client : http::Client {
        explicit Client(TestProvider& of) : provider(of) {}
        Task<Result<http::ClientResponse>> send(http::ClientRequest request) override {
            Turns::Turn turn(provider.gate, "");
            co_await turn;
            co_return provider.answer(std::move(request));
        }
        TestProvider& provider;
    };
    Result<http::ClientResponse> answer(http::ClientRequest request) {
        if (down) ++asked["nobody"];
        if (down) return fail(Code::Unavailable, "Down", "nobody answers");
        TURNOUT_CHECK(request.url.starts_with(issuer), "another host: " + request.url);
        const std::string path = request.url.substr(issuer.size());
        ++asked[path];
        authorization = request.headers.get("authorization");
        if (request.method == "POST") form = parse_query(request.body).value();
        Json body = Json::object();
        int status = 200;
        if (path == "/.well-known/openid-configuration") {
            body = Json::object({{"issuer", issuer},
                                 {"authorization_endpoint", issuer + "/auth"},
                                 {"token_endpoint", issuer + "/token"},
                                 {"userinfo_endpoint", issuer + "/me"},
                                 {"jwks_uri", issuer + "/jwks"}});
            if (device) body.set("device_authorization_endpoint", issuer + "/device");
        } else if (path == "/jwks" && keys_down) {
            status = 503;
        } else if (path == "/jwks") {
            body.set("keys", Json::array({signer->jwk(key_id)}));
        } else if (path == "/me") {
            body = Json::object({{"sub", subject}, {"groups", group_list()}});
        } else if (path == "/device") {
            body = Json::object({{"device_code", "d-code"},
                                 {"user_code", "ABCD-EFGH"},
                                 {"verification_uri", issuer + "/activate"},
                                 {"expires_in", 600},
                                 {"interval", 5}});
        } else if (path == "/token") {
            const bool by_code = value_in(form, "grant_type") == "authorization_code";
            const bool good =
                by_code ? value_in(form, "code") == code &&
                              to_base64url(sha256(value_in(form, "code_verifier"))) == challenge
                        : device_error.empty() && value_in(form, "device_code") == "d-code";
            if (good) {
                body = Json::object(
                    {{"id_token", signer->token(key_id, claims())}, {"access_token", "a-token"}});
            } else {
                status = 400;
                body.set("error", by_code ? std::string("invalid_grant") : device_error);
            }
        } else {
            status = 404;
        }
        http::ClientResponse response;
        response.status = status;
        response.body = std::make_unique<Body>(body.dump());
        return response;
    }
    const Clock& clock_;
};

}  // namespace turnout::oidc
