// Backups of a data folder: a folder that holds a consistent copy of the database, the content that
// it refers to, and the server's keys. Made while the server runs, or without it.
//
//   backup.json          last: what it is, from when, of which database by its hash
//   turnout.db           one file, without a log
//   blobs/ab/{sha256}    large content; what an earlier backup put there is not copied again
//   keys.json, ca.pem …  the small files of the data folder
#pragma once

#include <string>

#include "base/result.h"
#include "cli/cli.h"

namespace turnout {

using cli::BackupReport;
using cli::Saying;  // what is being done, for people: "content 12 of 40, 1.2 GB"

// Copies what the server of `data` holds into `folder`, which is made (mode 0700), or holds an
// earlier backup of the same server. New content is hashed on its way. Until it is finished an
// earlier backup there stays usable. Errors: "NotABackup" (the folder has something else in it),
// "ContentDamaged", "DatabaseDamaged", "DatabaseLogLost", "DiskFull".
Result<BackupReport> back_up(const std::string& data, const std::string& folder, const Saying& say);

// Makes the data folder `data`, which must be empty or absent, from a backup, after everything in
// it was checked: the database page by page, each content against its hash. `checked_only`: only
// that.
Result<BackupReport> restore(const std::string& folder, const std::string& data, bool checked_only,
                             const Saying& say);

}  // namespace turnout
