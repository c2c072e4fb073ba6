// Saving: ordered tables of key -> value, written in atomic batches. The seam is this narrow so
// that SQLite, PostgreSQL and the simulator's memory can stand behind it and one contract suite
// holds them together. Values are JSON documents or raw bytes; keys are text, ordered by byte.
//
// Durable means durable: `done` is called with success only when the batch survives power loss.
// Reads see committed state only and never wait for writes. Batches of one lane commit in the order
// of their commit() calls; many are grouped into one durable transaction.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "base/time.h"

namespace turnout {

// Every table there is. Who owns one alone writes it; store/README.md has the keys' forms.
enum class Table {
    Meta,            // "schema", "instance", keys' ids, "audit" …
    Workspace,       // catalog: "{sub}/{rg}/{name}" in lower case
    Datastore,       // catalog: "{wsid}/{name}"
    AssetContainer,  // catalog: "{wsid}/{kind}/{name}"
    AssetVersion,    // catalog: "{wsid}/{kind}/{name}/{version}"
    CodeHash,        // catalog: "{wsid}/{sha256}" -> name and version
    Compute,         // control: "{wsid}/{name}"
    Node,            // control: "{wsid}/{compute}/{node}"
    Job,             // control: "{wsid}/{name}": what was submitted
    JobState,    // control: "{wsid}/{name}": what became of it; absent of one that waits and was
                 // never given a node
    TaskBase,    // control: "{wsid}/{sha256}": a task that jobs share
    JobCreated,  // control: "{wsid}/{16 hex of ~created micros}/{name}": newest first -> the first
                 // 16 bytes of its task's name in TaskBase; nothing in rows of earlier builds
    JobLive,     // control: "{wsid}/{name}" of every job that has not ended -> JobFacts: recovery
    Event,       // control: "{16 hex sequence}": what changed in one commit
    Ledger,  // control: "{wsid}/compute/{name}", "{wsid}/experiment/{name}": sums over what is over
    Experiment,        // tracking: "{wsid}/{name}"
    ExperimentById,    // tracking: "{id}"
    Run,               // tracking: "{wsid}/{run id}": params, tags, latest metrics
    RunCreated,        // tracking: "{wsid}/{experiment id}/{16 hex of ~created}/{run id}"
    Metric,            // tracking: "{wsid}/{run id}/{metric}/{16 hex step}/{16 hex sequence}"
    Log,               // tracking: "{wsid}/{job}/{attempt}/{stream}/{16 hex offset}" -> raw bytes
    Blob,              // blob: "{container}/{name}" -> properties
    BlobBlock,         // blob: uncommitted blocks "{container}/{name}//{hex of the block id}"
    BlobData,          // blob: sha256 hex -> raw bytes of a small blob
    BlobUse,           // blob: "r/{sha256}/{key of the referring row}"; "h/{sha256}": its hold
    Token,             // api: "{sha256 of the token}" -> principal
    People,            // api: "u/{user}", "r/{custom role}", "a/{id of a role's assignment}"
    Removal,           // api: "{wsid}/{job}" or "{wsid}/": what is being deleted, in many commits
    Service,           // control: "{wsid}/{name}": what is wanted, its task and its live replicas
    MachineSecret,     // control: "{wsid}/{compute}": what opens a machine that was attached
    Audit,             // api: "{16 hex number}": who did what, chained (model/audit_chain.h)
    Secret,            // vault: "{wsid}/{name}": a value, sealed, and who set it when
    OnlineEndpoint,    // api: "{wsid}/{endpoint}", with its keys, sealed
    OnlineDeployment,  // api: "{wsid}/{endpoint}/{deployment}"
    StepRun,           // control: steps that were run, newest first: "{wsid}/f/{fingerprint of the
              // recipe}/{16 hex of ~created micros}/{job}", "{wsid}/s/{step}/{16 hex}/{job}"
    Registration,  // control: "{wsid}/{job}" of a completed one whose outputs are to become assets;
                   // api takes it away with the last of them
};
inline constexpr Table kLastTable = Table::Registration;
std::string_view name_of(Table table);  // its name in SQL: "job_created"

struct Record {
    std::string key;
    std::string value;
    std::uint64_t revision = 0;  // of the commit that wrote it; grows over the whole store
};

// Expectation of a write about what is there: nothing said, absent (0), or at that revision.
using Expect = std::optional<std::uint64_t>;
inline constexpr std::uint64_t kAbsent = 0;

struct Write {
    Table table;
    std::string key;
    std::optional<std::string> value;  // nullopt deletes
    Expect expect = std::nullopt;
};

// Each has room of its own in the queue for the disk: what fills one is in no other one's way.
enum class Lane { Control, Usual, Logs };
inline constexpr std::size_t kLanes = 3;

// Gets the revision once the batch is durable, or why it is not.
using CommitDone = std::function<void(Result<std::uint64_t> revision)>;

struct Batch {
    std::vector<Write> writes;
    Lane lane = Lane::Usual;
    // A batch for which its lane has no room comes back here, on the loop and as it was, with its
    // `done` uncalled: nothing happened, and the same may be committed a little later. Without this
    // `done` gets Unavailable, "TooManyWrites".
    std::function<void(Batch same, CommitDone done)> give_back;
    // It may wait so long for a batch that does not wait, and is committed with it.
    Span company{};
    // After its commit the next one may wait so long for others to share it, unless one comes that
    // has no patience. What is committed after a quiet time waits for nothing.
    Span patience{};
    void put(Table table, std::string key, std::string value, Expect expect = std::nullopt) {
        writes.push_back({table, std::move(key), std::move(value), expect});
    }
    void erase(Table table, std::string key, Expect expect = std::nullopt) {
        writes.push_back({table, std::move(key), std::nullopt, expect});
    }
    bool empty() const { return writes.empty(); }
};

// Keys k with from <= k < to (to "" = no end).
struct Range {
    std::string from;
    std::string to;
    std::size_t limit = 1000;
    bool reverse = false;
};
// All keys that begin with `prefix`.
Range with_prefix(std::string_view prefix, std::size_t limit = 1000);

// The error of a batch whose expectation about that key failed.
Failure conflict_at(Table table, std::string_view key);

// For stores: says that there is no room for it, see Batch::give_back. On the loop.
void refuse(Batch batch, CommitDone done);

std::string hex16(std::uint64_t number);             // 16 hex digits: sorts as the number does
std::string hex16_descending(std::uint64_t number);  // of ~number: sorts the other way round

class Store {
public:
    virtual ~Store() = default;
    virtual Result<std::optional<Record>> get(Table table, std::string_view key) = 0;
    virtual Result<std::vector<Record>> scan(Table table, const Range& range) = 0;

    using Done = CommitDone;
    // All writes or none. Every expectation of the batch is checked before its first write; of two
    // writes to one key the later wins. A batch without writes is a barrier in its lane. Errors:
    // Conflict (an expectation failed; subject names "table/key"), ResourceExhausted (disk full),
    // Unavailable (I/O; "TooManyWrites": no room in its lane). `done` runs on the loop, never
    // inside this call. A batch that conflicts does not disturb others of its group.
    virtual void commit(Batch batch, Done done) = 0;

    Task<Result<std::uint64_t>> commit(Batch batch);  // the same for coroutines (store.cc)
};

// Every row of the range, in pages of its limit, until `use` fails. Not one moment's state: a row
// that is written meanwhile may be seen.
Result<void> each_row(Store& store, Table table, Range range,
                      const std::function<Result<void>(const Record&)>& use);

}  // namespace turnout
