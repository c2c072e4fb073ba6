// What opens the machines that were attached. It is in rows of its own, in Table::MachineSecret,
// and leaves them for the provider that connects: no definition, event, answer or log has it. These
// two functions are the only ones that write and read it, so whoever seals what is kept does it
// here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/compute.h"
#include "store/store.h"

namespace turnout {

// The row of that secret, for a commit. `key`: "{wsid}/{compute}". The row goes with its compute's.
Write write_machine_secret(std::string key, const MachineSecret& secret);
// Nothing if there is no such row. Internal: it cannot be read.
Result<std::optional<MachineSecret>> read_machine_secret(Store& store, std::string_view key);

}  // namespace turnout
