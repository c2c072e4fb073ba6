// What opens the machines that were attached. It is in rows of its own, Table::MachineSecret,
// sealed as the secrets of workspaces are, and leaves them for the provider that connects: no
// definition, event, answer or log has it. These two functions are the only ones that write and
// read it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/compute.h"
#include "store/store.h"
#include "vault/vault.h"

namespace turnout {

// The row of that secret, for a commit. `key`: "{wsid}/{compute}". The row goes with its compute's.
// Errors are those of Vault::sealed_row.
Result<Write> write_machine_secret(Vault& vault, std::string key, const MachineSecret& secret);
// Nothing if there is no such row. Internal: it cannot be read. Else as Vault::open_row.
Result<std::optional<MachineSecret>> read_machine_secret(const Vault& vault, Store& store,
                                                         std::string_view key);

}  // namespace turnout
