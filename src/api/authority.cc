#include "api/authority.h"

#include <functional>
#include <unordered_map>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/text.h"
#include "model/job.h"

namespace turnout::api {
namespace {

constexpr std::string_view kKeyPrefix = "tko_";
constexpr std::size_t kMaxToken = 4096;
constexpr std::size_t kMaxCached = 512;

std::string_view name_of_kind(Principal::Kind kind) {
    switch (kind) {
        case Principal::Kind::Nobody: return "nobody";
        case Principal::Kind::User: return "user";
        case Principal::Kind::Run: return "run";
        case Principal::Kind::Node: return "node";
    }
    return "nobody";
}

Principal::Kind parse_kind(std::string_view text) {
    if (text == "user") return Principal::Kind::User;
    if (text == "run") return Principal::Kind::Run;
    if (text == "node") return Principal::Kind::Node;
    return Principal::Kind::Nobody;
}

Failure refuse(std::string message) {
    return fail(Code::Unauthenticated, "InvalidAuthenticationToken", std::move(message));
}

// `oid` of a principal: a GUID made of its name, the same in every token.
std::string object_id(std::string_view tenant, const Principal& principal) {
    const std::string hex =
        to_hex(sha256(std::string(tenant) + "/" + std::string(name_of_kind(principal.kind)) + "/" +
                      principal.name));
    return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
           hex.substr(16, 4) + "-" + hex.substr(20, 12);
}

class Tokens final : public InstanceAuthority {
public:
    Tokens(Store& store, const Clock& clock, Random& random, InstanceKeys keys)
        : store_(store), clock_(clock), random_(random), keys_(std::move(keys)) {}

    Secret mint(const Principal& principal, std::string_view audience, Span life) override {
        const std::int64_t now = clock_.now().micros / 1'000'000;
        const std::int64_t expires =
            now + std::chrono::duration_cast<std::chrono::seconds>(life).count();
        std::string claims;  // as text: one is made for every attempt
        {
            JsonText json(claims);
            json.text("aud", audience).number("nbf", now).number("exp", expires);
            json.text("sub", principal.name).text("kind", name_of_kind(principal.kind));
            if (principal.kind == Principal::Kind::Run) {
                json.text("ws", principal.workspace)
                    .text("job", principal.job)
                    .number("attempt", principal.attempt);
            } else {  // what the clients of Azure look for in a token
                json.text("iss", "turnout/" + keys_.tenant).number("iat", now);
                json.text("tid", keys_.tenant).text("oid", object_id(keys_.tenant, principal));
                if (!principal.workspace.empty()) json.text("ws", principal.workspace);
            }
        }
        const std::string signed_part = header_ + "." + to_base64url(claims);
        return Secret(signed_part + "." +
                      to_base64url(hmac_sha256(keys_.token_key.reveal(), signed_part)));
    }

    Result<Principal> check(std::string_view token) override {
        if (token.size() > kMaxToken) return refuse("the token is too long");
        const bool is_key = token.starts_with(kKeyPrefix);
        auto known = verified_.find(token);
        if (known == verified_.end()) {
            Verified fresh =
                is_key ? TURNOUT_TRY(verify_api_key(token)) : TURNOUT_TRY(verify(token));
            if (verified_.size() >= kMaxCached) verified_.clear();
            known = verified_.emplace(std::string(token), std::move(fresh)).first;
        }
        Verified& verified = known->second;
        if (is_key) {  // as long as its record is there, unchanged
            const auto record = TURNOUT_TRY(store_.get(Table::Token, verified.record));
            if (record && record->revision == verified.good_at) return verified.principal;
            verified_.erase(known);
            return check_api_key(token);
        }
        // When it was made is not looked at: only a clock that was set back could tell that from
        // the future, and running jobs go on with what they were given.
        const std::int64_t now = clock_.now().micros / 1'000'000;
        if (now >= verified.expires) return refuse("the token has expired: ask for a new one");
        if (verified.principal.kind == Principal::Kind::Run) TURNOUT_TRY(check_attempt(verified));
        return verified.principal;
    }

    Result<Principal> check_api_key(std::string_view key) override {
        return std::move(TURNOUT_TRY(verify_api_key(key)).principal);
    }

    Task<Result<Secret>> create_api_key(std::string user) override {
        std::string key = std::string(kKeyPrefix) + to_base64url(random_.bytes(32));
        const Json document =
            Json::object({{"kind", "user"}, {"name", user}, {"created", clock_.now().micros}});
        Batch batch;
        batch.put(Table::Token, to_hex(sha256(key)), document.dump(), kAbsent);
        TURNOUT_CO_TRY([[maybe_unused]] const auto revision,
                       co_await store_.commit(std::move(batch)));
        co_return Secret(std::move(key));
    }

    const Secret& link_key() const override { return keys_.link_key; }
    const std::string& tenant() const override { return keys_.tenant; }

private:
    struct Verified {
        Principal principal;
        std::int64_t expires = 0;
        std::string record;  // of an API key: where it is kept
        std::uint64_t good_at =
            0;  // revision of the key's or the job's record that was looked at last
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>()(text);
        }
    };

    Result<Verified> verify_api_key(std::string_view key) {
        if (!key.starts_with(kKeyPrefix) || key.size() > 128)
            return refuse("this is not an API key of this server");
        Verified verified;
        // Found by its hash, so how long the search takes says nothing about the key.
        verified.record = to_hex(sha256(key));
        auto record = TURNOUT_TRY(store_.get(Table::Token, verified.record));
        if (!record) return refuse("the API key is not known to this server");
        const Json document = TURNOUT_TRY(parse_json(record->value));
        verified.good_at = record->revision;
        verified.principal.kind = parse_kind(document.at("kind").as_view());
        verified.principal.name = document.at("name").as_string();
        if (verified.principal.kind != Principal::Kind::User)
            return refuse("the API key is not a user's");
        return verified;
    }

    Result<Verified> verify(std::string_view token) const {
        const std::size_t first = token.find('.');
        const std::size_t last = token.rfind('.');
        if (first == std::string_view::npos || first == last)
            return refuse("the bearer is neither a token nor an API key of this server");
        // The algorithm is pinned: the only header that is accepted is the one that is written.
        if (token.substr(0, first) != header_)
            return refuse("the token was not issued by this server");
        const auto signature = from_base64url(token.substr(last + 1));
        const Secret expected(hmac_sha256(keys_.token_key.reveal(), token.substr(0, last)));
        if (!signature || !expected.matches(*signature))
            return refuse("the token was not issued by this server");
        const auto payload = from_base64url(token.substr(first + 1, last - first - 1));
        if (!payload) return refuse("the token cannot be read");
        const auto claims = parse_json(*payload);
        if (!claims) return refuse("the token cannot be read");
        Verified verified;
        verified.principal.kind = parse_kind(claims->at("kind").as_view());
        verified.principal.name = claims->at("sub").as_string();
        verified.principal.workspace = claims->at("ws").as_string();
        verified.principal.job = claims->at("job").as_string();
        verified.principal.attempt = static_cast<int>(claims->at("attempt").as_int());
        verified.expires = claims->at("exp").as_int();
        if (verified.principal.kind == Principal::Kind::Nobody)
            return refuse("the token cannot be read");
        return verified;
    }

    // A run's token is worth something only as long as its attempt is the current one of its job.
    Result<void> check_attempt(Verified& verified) {
        const Principal& run = verified.principal;
        auto record = TURNOUT_TRY(store_.get(Table::JobState, run.workspace + "/" + run.job));
        if (!record) return refuse("the job of this token does not exist any more");
        if (record->revision == verified.good_at) return {};
        const Json document = TURNOUT_TRY(parse_json(record->value));
        const JobState job = TURNOUT_TRY(job_state_from_json(document));
        const JobAttempt* current = job.current();
        if (is_terminal(job.status)) return refuse("the job of this token has ended");
        if (!current || current->number != run.attempt)
            return refuse("the attempt of this token is not the current one");
        verified.good_at = record->revision;
        return {};
    }

    Store& store_;
    const Clock& clock_;
    Random& random_;
    const InstanceKeys keys_;
    const std::string header_ = to_base64url(R"({"alg":"HS256","typ":"JWT"})");
    std::unordered_map<std::string, Verified, Hash, std::equal_to<>>
        verified_;  // by token; what was verified once stays so
};

}  // namespace

InstanceKeys make_instance_keys(Random& random) {
    return {Secret(random.bytes(32)), Secret(random.bytes(32)), random.uuid()};
}

std::string serialize(const InstanceKeys& keys) {
    return Json::object({
                            {"version", 1},
                            {"tokenKey", to_base64(keys.token_key.reveal())},
                            {"linkKey", to_base64(keys.link_key.reveal())},
                            {"tenant", keys.tenant},
                        })
               .dump_pretty() +
           "\n";
}

Result<InstanceKeys> parse_instance_keys(std::string_view text) {
    const Json document = TURNOUT_TRY(parse_json(text));
    const auto token_key = from_base64(document.at("tokenKey").as_view());
    const auto link_key = from_base64(document.at("linkKey").as_view());
    const std::string tenant = document.at("tenant").as_string();
    if (!token_key || !link_key || token_key->size() < 32 || link_key->size() < 32 ||
        tenant.empty())
        return fail(Code::FailedPrecondition, "BadKeyFile",
                    "the key file is damaged: restore it from a backup of the data folder",
                    "keys.json");
    return InstanceKeys{Secret(*token_key), Secret(*link_key), tenant};
}

std::unique_ptr<InstanceAuthority> make_authority(Store& store, const Clock& clock, Random& random,
                                                  InstanceKeys keys) {
    return std::make_unique<Tokens>(store, clock, random, std::move(keys));
}

}  // namespace turnout::api
