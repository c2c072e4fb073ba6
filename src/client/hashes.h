// Fingerprints of large files, remembered as long as nothing touches them: what a job names again
// is not read again.
#pragma once

#include <optional>
#include <string>

#include "base/time.h"
#include "client/snapshot.h"

namespace turnout::client {

struct Stamp {
    std::string text;      // another one when any of the files has changed
    bool settled = false;  // none was written so recently that a change might not show
    bool operator==(const Stamp& other) const { return text == other.text; }
};
Result<Stamp> stamp_of(const Snapshot& snapshot, Instant now);

std::optional<std::string> remembered_hash(const std::string& stamp);
// For next time; if it cannot be kept, it is found again.
void remember_hash(const std::string& stamp, const std::string& hash);

}  // namespace turnout::client
