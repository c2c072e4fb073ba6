#include "api/authority.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/text.h"
#include "model/job.h"
#include "store/turns.h"

namespace turnout::api {
namespace {

constexpr std::string_view kKeyPrefix = "tko_", kSessionPrefix = "tks_";
constexpr std::size_t kMostSessions = 50;  // of one user
constexpr std::size_t kMaxToken = 4096;
constexpr std::size_t kMaxCached = 512;
constexpr std::size_t kMostKeys = 500;  // of one user
constexpr std::size_t kKeyOfLink = 16;  // characters of a key's row that its links name
constexpr Span kKeptExpired =
    std::chrono::hours(24 * 30);  // so long they are told apart from unknown ones

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

// The same in every token.
std::string object_id_of(std::string_view tenant, const Principal& principal) {
    const std::string hex =
        to_hex(sha256(std::string(tenant) + "/" + std::string(name_of_kind(principal.kind)) + "/" +
                      principal.name));
    return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
           hex.substr(16, 4) + "-" + hex.substr(20, 12);
}

class Tokens final : public InstanceAuthority {
public:
    Tokens(Store& store, const Clock& clock, Random& random, InstanceKeys keys)
        : store_(store),
          clock_(clock),
          random_(random),
          people_(store, clock, random),
          keys_(std::move(keys)) {}

    Directory& people() override { return people_; }
    bool may(const Principal& user, std::string_view action, const access::Scope& scope) override {
        return user.kind == Principal::Kind::User &&
               people_.may(user.name, limits_of(user), action, scope);
    }
    bool may_somewhere(const Principal& user, std::string_view action) override {
        return user.kind == Principal::Kind::User &&
               people_.may_somewhere(user.name, limits_of(user), action);
    }
    Task<Result<void>> forget(access::Scope gone) override {
        TURNOUT_CO_TRY_VOID(co_await people_.forget(gone));
        if (!gone.compute.empty()) co_return Result<void>();  // keys are for whole workspaces
        Turns::Turn turn(turns_, "");
        co_await turn;
        TURNOUT_CO_TRY(const std::vector<ApiKey> keys, api_keys());
        Batch batch;
        for (const ApiKey& key : keys)
            if (key.limits.workspace == gone.workspace) batch.erase(Table::Token, key.row);
        if (!batch.empty()) {
            TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
        }
        co_return Result<void>();
    }
    Result<std::optional<std::string>> user_with_object_id(std::string_view id) override {
        for (const User& user : TURNOUT_TRY(people().users())) {
            Principal principal;
            principal.kind = Principal::Kind::User;
            principal.name = user.name;
            if (equal_ignoring_case(object_id(principal), id)) return std::optional(user.name);
        }
        return std::optional<std::string>();
    }
    std::string object_id(const Principal& principal) const override {
        return object_id_of(keys_.tenant, principal);
    }

    Secret mint(const Principal& principal, std::string_view audience, Span life) override {
        const std::int64_t now = this->now();
        const std::int64_t expires =
            now + std::chrono::duration_cast<std::chrono::seconds>(life).count();
        std::string claims;  // as text: one is made for every attempt
        {
            JsonText json(claims);
            json.text("aud", audience).number("nbf", now).number("exp", expires);
            json.text("sub", principal.name).text("kind", name_of_kind(principal.kind));
            const bool is_run = principal.kind == Principal::Kind::Run;
            if (!is_run ||
                audience != kOwnAudience) {  // what the clients of Azure look for in a token
                json.text("iss", "turnout/" + keys_.tenant).number("iat", now);
                json.text("tid", keys_.tenant).text("oid", object_id_of(keys_.tenant, principal));
            }
            if (!principal.workspace.empty()) json.text("ws", principal.workspace);
            if (!principal.key.empty()) json.text("key", principal.key);
            if (principal.read_only) json.yes("ro");
            if (is_run) json.text("job", principal.job).number("attempt", principal.attempt);
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
            Verified fresh = is_key ? TURNOUT_TRY(verify_api_key(token, kKeyPrefix))
                                    : TURNOUT_TRY(verify(token));
            if (verified_.size() >= kMaxCached) verified_.clear();
            known = verified_.emplace(std::string(token), std::move(fresh)).first;
        }
        Verified& verified = known->second;
        if (is_key) {  // as long as its record is there, unchanged
            const auto record = TURNOUT_TRY(store_.get(Table::Token, verified.principal.key));
            if (!record || record->revision != verified.good_at) {
                verified_.erase(known);
                const Verified fresh = TURNOUT_TRY(verify_api_key(token, kKeyPrefix));
                TURNOUT_TRY(check_user(fresh.principal));
                return fresh.principal;
            }
            if (now() >= verified.expires) return refuse("the API key has expired");
            TURNOUT_TRY(check_user(verified.principal));
            return verified.principal;
        }
        // When it was made is not looked at: only a clock that was set back could tell that from
        // the future, and running jobs go on with what they were given.
        if (now() >= verified.expires) return refuse("the token has expired: ask for a new one");
        if (verified.principal.kind == Principal::Kind::Run) TURNOUT_TRY(check_attempt(verified));
        if (!verified.principal.key.empty()) TURNOUT_TRY(check_key(verified));
        TURNOUT_TRY(check_user(verified.principal));
        return verified.principal;
    }

    Result<Principal> check_session(std::string_view cookie, std::string_view origin) override {
        const Verified verified = TURNOUT_TRY(verify_api_key(cookie, kSessionPrefix));
        if (verified.key.origin != origin)
            return refuse("this session is of another address of the server: log in here");
        if (!verified.key.by.empty()) {
            const auto record = TURNOUT_TRY(store_.get(Table::Token, verified.key.by));
            if (!record) return refuse("the token by which this session was begun was revoked");
        }
        TURNOUT_TRY(check_user(verified.principal));
        return verified.principal;
    }

    Result<std::vector<ApiKey>> sessions() override { return rows(true); }

    Task<Result<MadeApiKey>> create_session(NewApiKey wanted) override {
        Turns::Turn turn(turns_, "");
        co_await turn;
        TURNOUT_CO_TRY(const std::vector<ApiKey> there, sessions());
        Batch batch;
        std::size_t own = 0;
        for (const ApiKey& session : there)
            if (session.user == wanted.user) ++own;
        for (const ApiKey& session : there) {  // the oldest first
            const bool over = session.expires && *session.expires <= clock_.now();
            const bool too_many = session.user == wanted.user && own >= kMostSessions;
            if (!over && !too_many) continue;
            if (session.user == wanted.user) --own;
            batch.erase(Table::Token, session.row);
        }
        co_return co_await write(std::move(wanted), std::move(batch));
    }

    Task<Result<void>> end_sessions(std::string user) override {
        return erase_rows([user = std::move(user)](const ApiKey& key) {
            return key.is_session() && key.user == user;
        });
    }

    bool was_given(std::string_view token) override {
        if (token.size() > kMaxToken) return false;
        if (!token.starts_with(kKeyPrefix)) return verify(token).has_value();
        const auto record = store_.get(Table::Token, to_hex(sha256(token)));
        return !record || *record;  // where it cannot be looked at nobody is said to guess
    }

    Task<Result<void>> end_logins_but_of(std::string user, std::string subject) override {
        return erase_rows(
            [user = std::move(user), subject = std::move(subject)](const ApiKey& key) {
                return key.user == user && !key.subject.empty() && key.subject != subject;
            });
    }

    using InstanceAuthority::create_api_key;
    Task<Result<MadeApiKey>> create_api_key(NewApiKey wanted) override {
        Turns::Turn turn(turns_, "");
        co_await turn;
        TURNOUT_CO_TRY(const std::vector<ApiKey> keys, api_keys());
        std::size_t own = 0;
        Batch batch;
        for (const ApiKey& key : keys) {
            if (key.expires && *key.expires + kKeptExpired < clock_.now()) {
                batch.erase(Table::Token, key.row);
                continue;
            }
            if (key.user != wanted.user) continue;
            if (!wanted.name.empty() && key.name == wanted.name)
                co_return fail(Code::Conflict, "TokenExists",
                               "user '" + key.user + "' has a token '" + key.name +
                                   "' already: give another name, or revoke or rotate that one",
                               "name");
            if (++own >= kMostKeys)
                co_return fail(Code::ResourceExhausted, "TooManyTokens",
                               "user '" + key.user + "' has " + std::to_string(own) +
                                   " tokens: revoke those that are not needed",
                               "name");
        }
        co_return co_await write(std::move(wanted), std::move(batch));
    }

    Result<std::vector<ApiKey>> api_keys() override { return rows(false); }

    Task<Result<void>> revoke_api_key(std::string row) override {
        Turns::Turn turn(turns_, "");
        co_await turn;
        TURNOUT_CO_TRY(const auto record, store_.get(Table::Token, row));
        if (!record) co_return no_such_key();
        Batch batch;
        batch.erase(Table::Token, row);
        TURNOUT_CO_TRY([[maybe_unused]] const auto revision,
                       co_await store_.commit(std::move(batch)));
        co_return Result<void>();
    }

    Task<Result<MadeApiKey>> rotate_api_key(std::string row) override {
        Turns::Turn turn(turns_, "");
        co_await turn;
        TURNOUT_CO_TRY(const auto record, store_.get(Table::Token, row));
        if (!record) co_return no_such_key();
        TURNOUT_CO_TRY(ApiKey key, key_of(*record));
        if (key.expires && *key.expires <= clock_.now())
            co_return fail(Code::FailedPrecondition, "TokenExpired",
                           "the token '" + key.name + "' has expired: make a new one", key.name);
        Batch batch;
        batch.erase(Table::Token, row);
        // Named: g++ 12 frees twice what is made in braces beside a co_await.
        NewApiKey same{std::move(key.user), std::move(key.name), key.expires, key.limits};
        same.subject = std::move(key.subject);
        co_return co_await write(std::move(same), std::move(batch));
    }

    Task<Result<std::optional<Secret>>> ensure_admin_key(std::string text) override {
        Turns::Turn turn(turns_, "");
        co_await turn;
        if (verify_api_key(trim(text), kKeyPrefix)) co_return std::optional<Secret>();
        TURNOUT_CO_TRY_VOID(co_await people_.restore_admin());
        TURNOUT_CO_TRY(const std::vector<ApiKey> keys, api_keys());
        Batch batch;
        for (const ApiKey& key : keys)
            if (key.user == kAdmin && key.name == kAdminKey) batch.erase(Table::Token, key.row);
        NewApiKey wanted{std::string(kAdmin), std::string(kAdminKey)};
        TURNOUT_CO_TRY(MadeApiKey made, co_await write(std::move(wanted), std::move(batch)));
        co_return std::optional<Secret>(std::move(made.secret));
    }

    std::string holder(const Principal& principal) const override {
        if (principal.kind == Principal::Kind::Run)
            return "run/" + principal.workspace + "/" + principal.job + "/" +
                   std::to_string(principal.attempt);
        return "user/" + principal.name + "/" + principal.key.substr(0, kKeyOfLink);
    }
    Result<Principal> check_holder(std::string_view holder) override {
        const std::vector<std::string> parts = split(holder, '/');
        Verified verified;
        if (parts.size() == 4 && parts[0] == "run") {
            const auto attempt = parse_whole_number(parts[3]);
            if (!attempt) return refuse("the link names nobody");
            verified.principal = {Principal::Kind::Run, parts[2], parts[1], parts[2],
                                  static_cast<int>(*attempt)};
            TURNOUT_TRY(check_attempt(verified));
            return verified.principal;
        }
        if (parts.size() != 3 || parts[0] != "user") return refuse("the link names nobody");
        if (!parts[2].empty()) {
            const auto keys = TURNOUT_TRY(store_.scan(Table::Token, with_prefix(parts[2], 1)));
            if (keys.empty() || parts[2].size() != kKeyOfLink)
                return refuse("the token with which this link was got has been revoked");
            const ApiKey key = TURNOUT_TRY(key_of(keys[0]));
            if (key.user != parts[1]) return refuse("the link names nobody");
            if (now() >= end_of(key))
                return refuse("the token with which this link was got has expired");
            if (!key.by.empty() && !TURNOUT_TRY(store_.get(Table::Token, key.by)))
                return refuse("the token with which this link was got has been revoked");
            verified.principal.key = key.row;
            verified.principal.workspace = key.limits.workspace;
            verified.principal.read_only = key.limits.read_only;
        }
        verified.principal.kind = Principal::Kind::User;
        verified.principal.name = parts[1];
        verified.principal.exchanged = true;
        TURNOUT_TRY(check_user(verified.principal));
        return verified.principal;
    }
    const Secret& link_key() const override { return keys_.link_key; }
    const std::string& tenant() const override { return keys_.tenant; }

private:
    struct Verified {
        Principal principal;
        ApiKey key = {};                                                  // of a session
        std::int64_t expires = std::numeric_limits<std::int64_t>::max();  // seconds
        std::int64_t key_expires = 0;  // the same of the API key that a token was made with
        std::uint64_t good_at =
            0;  // revision of the key's or the job's record that was looked at last
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>()(text);
        }
    };

    std::int64_t now() const { return clock_.now().micros / 1'000'000; }

    static std::int64_t end_of(const ApiKey& key) {
        return key.expires ? key.expires->micros / 1'000'000
                           : std::numeric_limits<std::int64_t>::max();
    }
    Result<std::vector<ApiKey>> rows(bool sessions) {
        std::vector<ApiKey> keys;
        const Result<void> all =
            each_row(store_, Table::Token, {}, [&](const Record& record) -> Result<void> {
                ApiKey key = TURNOUT_TRY(key_of(record));
                if (key.is_session() == sessions) keys.push_back(std::move(key));
                return {};
            });
        if (!all) return Failure(all.error());
        std::ranges::sort(keys, {}, [](const ApiKey& key) {
            return std::tuple(key.created.micros, std::string_view(key.row));
        });
        return keys;
    }

    static Failure no_such_key() {
        return not_found("this token does not exist any more", "token");
    }

    // Tokens and sessions alike.
    Task<Result<void>> erase_rows(std::function<bool(const ApiKey&)> is_over) {
        Turns::Turn turn(turns_, "");
        co_await turn;
        Batch batch;
        const Result<void> all =
            each_row(store_, Table::Token, {}, [&](const Record& record) -> Result<void> {
                const ApiKey key = TURNOUT_TRY(key_of(record));
                if (is_over(key)) batch.erase(Table::Token, key.row);
                return {};
            });
        if (!all) co_return Failure(all.error());
        if (!batch.empty()) {
            TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
        }
        co_return Result<void>();
    }

    // In the turn of all keys. `batch`: what goes with it.
    Task<Result<MadeApiKey>> write(NewApiKey wanted, Batch batch) {
        Secret secret(std::string(wanted.origin.empty() ? kKeyPrefix : kSessionPrefix) +
                      to_base64url(random_.bytes(32)));
        Json document = Json::object({{"kind", "user"},
                                      {"name", wanted.user},
                                      {"created", clock_.now().micros},
                                      {"label", wanted.name}});
        if (wanted.expires) document.set("expires", wanted.expires->micros);
        if (!wanted.limits.workspace.empty()) document.set("workspace", wanted.limits.workspace);
        if (wanted.limits.read_only) document.set("readOnly", true);
        if (!wanted.origin.empty()) document.set("origin", wanted.origin);
        if (!wanted.by.empty()) document.set("by", wanted.by);
        if (!wanted.subject.empty()) document.set("subject", wanted.subject);
        Record record{to_hex(sha256(secret.reveal())), document.dump()};
        batch.put(Table::Token, record.key, record.value, kAbsent);
        TURNOUT_CO_TRY([[maybe_unused]] const auto revision,
                       co_await store_.commit(std::move(batch)));
        TURNOUT_CO_TRY(ApiKey key, key_of(record));
        co_return MadeApiKey{std::move(secret), std::move(key)};
    }

    static Result<ApiKey> key_of(const Record& record) {
        const Json document = TURNOUT_TRY(parse_json(record.value));
        if (parse_kind(document.at("kind").as_view()) != Principal::Kind::User)
            return refuse("the API key is not a user's");
        ApiKey key;
        key.row = record.key;
        key.id = record.key.substr(0, 12);
        key.user = document.at("name").as_string();
        key.name = document.at("label").as_string();
        // Those of earlier builds have none: they all were made for this file.
        if (key.name.empty()) key.name = kAdminKey;
        key.created = Instant{document.at("created").as_int()};
        key.limits = {document.at("workspace").as_string(), document.at("readOnly").as_bool()};
        if (const Json& expires = document.at("expires"); expires.is_int())
            key.expires = Instant{expires.as_int()};
        key.origin = document.at("origin").as_string();
        key.by = document.at("by").as_string();
        key.subject = document.at("subject").as_string();
        return key;
    }

    Result<Verified> verify_api_key(std::string_view text, std::string_view prefix) {
        const bool session = prefix == kSessionPrefix;
        if (!text.starts_with(prefix) || text.size() > 128)
            return refuse(session ? "this is no session of this server"
                                  : "this is not an API key of this server");
        // Found by its hash, so how long the search takes says nothing about the key.
        const auto record = TURNOUT_TRY(store_.get(Table::Token, to_hex(sha256(text))));
        if (!record)
            return refuse(
                session ? "this session is over: log in again"
                        : "the API key is not known to this server: it may have been revoked");
        ApiKey key = TURNOUT_TRY(key_of(*record));
        if (key.is_session() != session) return refuse("this is not an API key of this server");
        Verified verified;
        verified.good_at = record->revision;
        verified.principal.kind = Principal::Kind::User;
        verified.principal.name = key.user;
        verified.principal.key = key.row;
        verified.principal.workspace = key.limits.workspace;
        verified.principal.read_only = key.limits.read_only;
        verified.principal.exchanged = verified.principal.session = session;
        verified.expires = end_of(key);
        if (now() >= verified.expires)
            return refuse(session ? "this session is over: log in again"
                                  : "the API key has expired");
        if (session) verified.key = std::move(key);
        return verified;
    }

    // Whoever is disabled has nothing that opens anything.
    Result<void> check_user(const Principal& principal) {
        if (principal.kind != Principal::Kind::User) return {};
        const auto user = TURNOUT_TRY(people_.find_user(principal.name));
        if (user && user->disabled)
            return refuse("user '" + principal.name +
                          "' is disabled: an Owner of the server can "
                          "enable them again");
        return {};
    }

    // What was made with a key is worth nothing without it.
    Result<void> check_key(Verified& verified) {
        const auto record = TURNOUT_TRY(store_.get(Table::Token, verified.principal.key));
        if (!record) return refuse("the API key that this token was made with has been revoked");
        if (record->revision != verified.good_at) {
            const ApiKey key = TURNOUT_TRY(key_of(*record));
            if (key.user != verified.principal.name)
                return refuse("the API key that this token was made with is another user's now");
            verified.key_expires = end_of(key);
            verified.good_at = record->revision;
        }
        if (now() >= verified.key_expires)
            return refuse("the API key that this token was made with has expired");
        return {};
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
        verified.principal.key = claims->at("key").as_string();
        verified.principal.read_only = claims->at("ro").as_bool();
        verified.principal.exchanged = true;
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
    Directory people_;
    const InstanceKeys keys_;
    const std::string header_ = to_base64url(R"({"alg":"HS256","typ":"JWT"})");
    std::unordered_map<std::string, Verified, Hash, std::equal_to<>>
        verified_;  // by token; what was verified once stays so
    Turns turns_;   // whoever writes keys
};

}  // namespace

Task<Result<Secret>> InstanceAuthority::create_api_key(std::string user) {
    NewApiKey wanted{std::move(user), ""};
    TURNOUT_CO_TRY(MadeApiKey made, co_await create_api_key(std::move(wanted)));
    co_return std::move(made.secret);
}

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
