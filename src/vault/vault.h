// The secrets of workspaces: rows of Table::Secret, sealed (io/seal/seal.h) by a key that lies in a
// file beside the database, so that a copy of the database alone tells none. So are the rows of
// Table::MachineSecret, which machine_secrets.h writes; `resume` seals those of earlier builds.
//
// The key is made with the first secret. It is read anew each time, so that a file that is missing,
// or another one, is noticed at once and named. While `rotate` is under way the file has both keys;
// whenever it is interrupted, every row opens, and `resume` goes on at the next start. The key
// before stays in the file until the next rotation: a backup copies the database first.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "base/task.h"
#include "base/time.h"
#include "io/loop.h"
#include "io/seal/seal.h"
#include "store/store.h"
#include "store/turns.h"

namespace turnout {

// Where the keys are; app/ makes it of real files.
struct KeyFile {
    std::string path;                                          // for people
    std::function<Result<std::optional<std::string>>()> read;  // nothing: there is none
    std::function<Result<void>(const std::string&)> write;     // all or nothing, durable, mode 0600
};

// What may be told of one.
struct SecretInfo {
    std::string name;
    Instant created{}, changed{};
    std::string created_by, changed_by;
};

// The only writer of Table::Secret. Store, clock and random outlive it.
class Vault {
public:
    Vault(Store& store, const Clock& clock, Random& random, KeyFile file)
        : store_(store), clock_(clock), random_(random), file_(std::move(file)) {}

    // Whether it is a new one. InvalidArgument: such a name, or a value of that length, cannot be
    // one.
    Task<Result<bool>> set(std::string wsid, std::string name, Secret value, std::string by);
    // NotFound with the nearest name.
    Task<Result<void>> remove(std::string wsid, std::string name);
    Result<SecretInfo> info(std::string_view wsid, std::string_view name) const;
    Result<std::vector<SecretInfo>> list(std::string_view wsid) const;  // by name

    // The value. NotFound; FailedPrecondition, Internal: the key is not there, or not the one.
    Result<Secret> reveal(std::string_view wsid, std::string_view name) const;

    // The value of a row that another one writes, soon, and what was sealed in it.
    Result<std::string> sealed_row(Table table, std::string_view key, const Secret& text);
    Result<Secret> open_row(Table table, std::string_view key, std::string_view row) const;

    // Another key: how many secrets it seals now.
    Task<Result<std::size_t>> rotate();
    // What an earlier rotation left; nothing otherwise.
    Task<Result<void>> resume();

private:
    Result<std::optional<SealingKeys>> keys() const;
    Result<SealingKeys> keys_or_new();
    Result<bool> anything_sealed() const;
    Result<std::string> resealed(const SealingKeys& keys, Table table, const Record& row);
    Task<Result<std::size_t>> seal_all(SealingKeys keys);
    Failure lost() const;
    Result<Secret> open(const SealingKeys& keys, Table table, std::string_view key,
                        std::string_view row) const;

    Store& store_;
    const Clock& clock_;
    Random& random_;
    KeyFile file_;
    Turns turns_;
};

}  // namespace turnout
