#include "vault/vault.h"

#include <algorithm>

#include "base/json.h"
#include "base/text.h"
#include "protocol/secret_reference.h"

namespace turnout {
namespace {

namespace ap = agent_protocol;

constexpr std::size_t kMostSecrets = 1000;  // of a workspace
constexpr std::size_t kRowsAtOnce = 100;
constexpr int kMostAgain = 100;
constexpr std::size_t kKeysKept = 2;  // the current one, and the one before

std::string key_of(std::string_view wsid, std::string_view name) {
    return std::string(wsid) + "/" + std::string(name);
}

constexpr Table kSealedTables[] = {Table::Secret, Table::MachineSecret, Table::OnlineEndpoint};

// Whose a sealed value is: its row.
std::string about(Table table, std::string_view key) {
    return std::string(name_of(table)) + "/" + std::string(key);
}

SecretInfo info_of(const Record& row, const Json& json) {
    return {row.key.substr(row.key.find('/') + 1), Instant{json.at("created").as_int()},
            Instant{json.at("changed").as_int()}, json.at("createdBy").as_string(),
            json.at("changedBy").as_string()};
}

Failure unreadable() {
    return internal("a secret's row cannot be read");  // not with its words
}

Result<std::string> sealed_in(std::string_view row) {
    const Result<Json> json = parse_json(row);
    if (!json) return unreadable();
    if (auto sealed = from_base64(json->at("sealed").as_view())) return std::move(*sealed);
    return unreadable();
}

// Builds before the vault's kept what opens a machine as it is.
bool is_plain(Table table, std::string_view row) {
    if (table != Table::MachineSecret) return false;
    const Result<Json> json = parse_json(row);
    return json && json->is_object() && json->at("sealed").is_null();
}

}  // namespace

Result<std::optional<SealingKeys>> Vault::keys() const {
    const std::optional<std::string> text = TURNOUT_TRY(file_.read());
    if (!text) return std::nullopt;
    auto parsed = parse_sealing_keys(*text);
    if (!parsed)
        return fail(Code::FailedPrecondition, "SealingKeyUnreadable",
                    "the file of the keys that seal this server's secrets, " + file_.path +
                        ", is damaged: put it back from a backup",
                    file_.path);
    return std::move(*parsed);
}

Failure Vault::lost() const {
    return fail(Code::FailedPrecondition, "SealingKeyMissing",
                "the key that seals this server's secrets is missing: put " + file_.path +
                    " back from a backup; without it they are lost, and are to be removed and set "
                    "anew",
                file_.path);
}

// The first secret makes the key.
Result<SealingKeys> Vault::keys_or_new() {
    auto all = TURNOUT_TRY(keys());
    if (all) return std::move(*all);
    if (TURNOUT_TRY(anything_sealed())) return lost();
    SealingKeys made;
    made.keys.push_back(make_sealing_key(random_));
    TURNOUT_TRY(file_.write(serialize(made)));
    return made;
}

Result<bool> Vault::anything_sealed() const {
    for (const Table table : {Table::Secret, Table::OnlineEndpoint})
        if (!TURNOUT_TRY(store_.scan(table, with_prefix("", 1))).empty()) return true;
    bool sealed = false;
    TURNOUT_TRY(each_row(store_, Table::MachineSecret, with_prefix(""),
                         [&](const Record& row) -> Result<void> {
                             sealed = sealed || !is_plain(Table::MachineSecret, row.value);
                             return {};
                         }));
    return sealed;
}

Result<Secret> Vault::open(const SealingKeys& keys, Table table, std::string_view key,
                           std::string_view row) const {
    const std::string sealed = TURNOUT_TRY(sealed_in(row));
    auto opened = unseal(keys, sealed, about(table, key));
    if (opened) return opened;
    Error error = opened.error();
    const std::string name(key.substr(key.find('/') + 1));
    error.message = (table == Table::Secret ? "the secret '" + name + "' does not open"
                     : table == Table::OnlineEndpoint
                         ? "the row of the keys of endpoint '" + name + "' does not open"
                         : "what opens the machine '" + name + "' does not open itself") +
                    " with the key in " + file_.path + ": " + error.message;
    error.subject = file_.path;
    return Failure(std::move(error));
}

Result<std::string> Vault::sealed_row(Table table, std::string_view key, const Secret& text) {
    const SealingKeys all = TURNOUT_TRY(keys_or_new());
    return Json::object({{"sealed", to_base64(seal(all.keys.front(), text.reveal(),
                                                   about(table, key), random_))}})
        .dump();
}

Result<Secret> Vault::open_row(Table table, std::string_view key, std::string_view row) const {
    if (is_plain(table, row)) return Secret(std::string(row));
    const auto all = TURNOUT_TRY(keys());
    if (!all) return lost();
    return open(*all, table, key, row);
}

Task<Result<bool>> Vault::set(std::string wsid, std::string name, Secret value, std::string by) {
    if (!ap::is_secret_name(name))
        co_return invalid("'" + name.substr(0, 80) +
                              "' cannot be the name of a secret: 1 to 127 of letters, digits, '-' "
                              "and '_', beginning with a letter or a digit",
                          "name");
    if (value.empty() || value.reveal().size() > ap::kMaxSecretValue)
        co_return invalid("the value of a secret has 1 to " + std::to_string(ap::kMaxSecretValue) +
                              " bytes, this one " + std::to_string(value.reveal().size()),
                          "properties.value");
    Turns::Turn turn(turns_, "");
    co_await turn;
    const std::string key = key_of(wsid, name);
    TURNOUT_CO_TRY(const auto before, store_.get(Table::Secret, key));
    TURNOUT_CO_TRY(const SealingKeys all, keys_or_new());
    Json json = Json::object();
    const std::int64_t now = clock_.now().micros;
    json.set("created", now);
    json.set("createdBy", by);
    if (before) {
        TURNOUT_CO_TRY(const Json old, parse_json(before->value));
        json.set("created", old.at("created"));
        json.set("createdBy", old.at("createdBy"));
    } else {
        TURNOUT_CO_TRY(const auto there,
                       store_.scan(Table::Secret, with_prefix(wsid + "/", kMostSecrets)));
        if (there.size() >= kMostSecrets)
            co_return fail(Code::ResourceExhausted, "TooManySecrets",
                           "the workspace has " + std::to_string(kMostSecrets) + " secrets",
                           "name");
    }
    json.set("changed", now);
    json.set("changedBy", by);
    json.set("sealed",
             to_base64(seal(all.keys.front(), value.reveal(), about(Table::Secret, key), random_)));
    Batch batch;
    batch.put(Table::Secret, key, json.dump());
    TURNOUT_CO_TRY([[maybe_unused]] const auto revision, co_await store_.commit(std::move(batch)));
    co_return !before;
}

Task<Result<void>> Vault::remove(std::string wsid, std::string name) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY([[maybe_unused]] const SecretInfo there, info(wsid, name));
    Batch batch;
    batch.erase(Table::Secret, key_of(wsid, name));
    TURNOUT_CO_TRY([[maybe_unused]] const auto revision, co_await store_.commit(std::move(batch)));
    co_return Result<void>();
}

Result<SecretInfo> Vault::info(std::string_view wsid, std::string_view name) const {
    const auto row = TURNOUT_TRY(store_.get(Table::Secret, key_of(wsid, name)));
    if (row) return info_of(*row, TURNOUT_TRY(parse_json(row->value)));
    std::vector<std::string> names;
    for (const SecretInfo& one : TURNOUT_TRY(list(wsid))) names.push_back(one.name);
    return not_found("the workspace has no secret '" + std::string(name.substr(0, 130)) + "'" +
                         did_you_mean(name, names) +
                         " ('turnout secret list' shows all, 'turnout secret set' makes one)",
                     "secret");
}

Result<std::vector<SecretInfo>> Vault::list(std::string_view wsid) const {
    std::vector<SecretInfo> all;
    const Result<void> read =
        each_row(store_, Table::Secret, with_prefix(std::string(wsid) + "/"),
                 [&](const Record& row) -> Result<void> {
                     all.push_back(info_of(row, TURNOUT_TRY(parse_json(row.value))));
                     return {};
                 });
    if (!read) return Failure(read.error());
    return all;
}

Result<Secret> Vault::reveal(std::string_view wsid, std::string_view name) const {
    const std::string key = key_of(wsid, name);
    const auto row = TURNOUT_TRY(store_.get(Table::Secret, key));
    if (!row) return Failure(info(wsid, name).error());
    return open_row(Table::Secret, key, row->value);
}

// The row by the first of the keys; "" if it is so.
Result<std::string> Vault::resealed(const SealingKeys& all, Table table, const Record& row) {
    Json json = Json::object();
    Secret text(row.value);  // a plain row is sealed as it is
    if (!is_plain(table, row.value)) {
        if (sealed_by(TURNOUT_TRY(sealed_in(row.value))) == all.keys.front().id) return "";
        text = TURNOUT_TRY(open(all, table, row.key, row.value));
        json = TURNOUT_TRY(parse_json(row.value));
    }
    json.set("sealed",
             to_base64(seal(all.keys.front(), text.reveal(), about(table, row.key), random_)));
    return json.dump();
}

// All rows by the first of the keys. What does not open stays as it is, and the first of those is
// told.
Task<Result<std::size_t>> Vault::seal_all(SealingKeys all) {
    std::size_t sealed_now = 0;
    std::optional<Error> wrong;
    for (const Table table : kSealedTables) {
        int again = 0;
        for (std::string from;;) {
            TURNOUT_CO_TRY(const auto rows, store_.scan(table, {from, "", kRowsAtOnce}));
            if (rows.empty()) break;
            Batch batch;
            for (const Record& row : rows) {
                Result<std::string> value = resealed(all, table, row);
                if (!value && !wrong) wrong = value.error();
                if (value && !value->empty())
                    batch.put(table, row.key, std::move(*value), row.revision);
            }
            if (!batch.empty()) {
                const auto committed = co_await store_.commit(std::move(batch));
                // Rows of machines are others' to write: what changed meanwhile is looked at anew.
                if (!committed && committed.error().code == Code::Conflict && ++again < kMostAgain)
                    continue;
                if (!committed) co_return Failure(committed.error());
            }
            sealed_now += rows.size();
            from = rows.back().key + '\0';
        }
    }
    if (wrong) co_return Failure(std::move(*wrong));
    if (all.keys.size() > kKeysKept) {
        all.keys.resize(kKeysKept);
        TURNOUT_CO_TRY_VOID(file_.write(serialize(all)));
    }
    co_return sealed_now;
}

Task<Result<std::size_t>> Vault::rotate() {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const auto before, keys());
    TURNOUT_CO_TRY(const bool sealed, anything_sealed());
    if (!before && sealed) co_return lost();
    // Where rotations failed half-way again and again: what is left of them first.
    if (before && before->keys.size() >= kMostSealingKeys) co_return co_await seal_all(*before);
    SealingKeys all;
    all.keys.push_back(make_sealing_key(random_));
    if (before) all.keys.insert(all.keys.end(), before->keys.begin(), before->keys.end());
    TURNOUT_CO_TRY_VOID(file_.write(serialize(all)));
    co_return co_await seal_all(std::move(all));
}

Task<Result<void>> Vault::resume() {
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(auto all, keys());
    if (!all) {
        TURNOUT_CO_TRY(const auto secrets, store_.scan(Table::Secret, with_prefix("", 1)));
        TURNOUT_CO_TRY(const auto machines, store_.scan(Table::MachineSecret, with_prefix("", 1)));
        TURNOUT_CO_TRY(const auto endpoints,
                       store_.scan(Table::OnlineEndpoint, with_prefix("", 1)));
        if (secrets.empty() && machines.empty() && endpoints.empty()) co_return Result<void>();
        TURNOUT_CO_TRY(all, keys_or_new());
    }
    TURNOUT_CO_TRY([[maybe_unused]] const std::size_t count, co_await seal_all(*all));
    co_return Result<void>();
}

}  // namespace turnout
