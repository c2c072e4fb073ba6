#include "control/machine_secrets.h"

#include <utility>

#include "base/json.h"

namespace turnout {

Write write_machine_secret(std::string key, const MachineSecret& secret) {
    const Json row =
        Json::object({{"key", secret.key.reveal()}, {"password", secret.password.reveal()}});
    return {Table::MachineSecret, std::move(key), row.dump()};
}

Result<std::optional<MachineSecret>> read_machine_secret(Store& store, std::string_view key) {
    const auto row = TURNOUT_TRY(store.get(Table::MachineSecret, key));
    if (!row) return std::optional<MachineSecret>();
    const Result<Json> json = parse_json(row->value);
    // Without the parser's words, which may show a part of it.
    if (!json) return internal("what opens '" + std::string(key) + "' cannot be read");
    return std::optional<MachineSecret>(MachineSecret{Secret(json->at("key").as_string()),
                                                      Secret(json->at("password").as_string())});
}

}  // namespace turnout
