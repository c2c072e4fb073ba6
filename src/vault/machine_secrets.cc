#include "vault/machine_secrets.h"

#include <utility>

#include "base/json.h"

namespace turnout {

Result<Write> write_machine_secret(Vault& vault, std::string key, const MachineSecret& secret) {
    const Secret text(
        Json::object({{"key", secret.key.reveal()}, {"password", secret.password.reveal()}})
            .dump());
    std::string row = TURNOUT_TRY(vault.sealed_row(Table::MachineSecret, key, text));
    return Write{Table::MachineSecret, std::move(key), std::move(row)};
}

Result<std::optional<MachineSecret>> read_machine_secret(const Vault& vault, Store& store,
                                                         std::string_view key) {
    const auto row = TURNOUT_TRY(store.get(Table::MachineSecret, key));
    if (!row) return std::optional<MachineSecret>();
    const Secret text = TURNOUT_TRY(vault.open_row(Table::MachineSecret, key, row->value));
    const Result<Json> json = parse_json(text.reveal());
    // Without the parser's words, which may show a part of it.
    if (!json) return internal("what opens '" + std::string(key) + "' cannot be read");
    return std::optional<MachineSecret>(MachineSecret{Secret(json->at("key").as_string()),
                                                      Secret(json->at("password").as_string())});
}

}  // namespace turnout
