#include "store/sqlite/sqlite_store.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/posix/fd.h"
#include "store/sqlite/database.h"
#include "store/sqlite/intact.h"
#include "store/sqlite/migrations.h"
#include "store/sqlite/row_cache.h"

namespace turnout {
namespace {

using namespace sqlite;

// Bounds of what waits in a lane, and of what one group takes of it. A group is also bounded by
// what arrived during one fsync.
constexpr std::size_t kMaxQueuedBytes = 64 << 20;
constexpr std::size_t kMaxGroupBatches = 4096;
constexpr std::size_t kMaxGroupBytes = 8 << 20;
constexpr std::size_t kMaxValueBytes = 64 << 20;

// The WAL is preallocated, because overwriting costs half of what appending costs. It is copied
// into the database when the writer has nothing to do and at the latest when it has grown big.
constexpr std::uint64_t kWalBytes = 4 << 20;
constexpr int kIdleCheckpointFrames = 256;
constexpr int kMaxWalFrames = 4000;

// Pages that are given back to the disk in one go, and the rest that others have in between.
constexpr int kPagesGivenBack = 256;
constexpr auto kBetweenGivingBack = std::chrono::milliseconds(20);
// What is made anew when an earlier build's file is opened: in well under a second.
constexpr std::uint64_t kMadeAnew = 64 << 20;

// Revisions are handed out from memory; the file only knows up to where, so that a commit does not
// write a counter. A restart goes on behind the reserved ones: they grow, with gaps.
constexpr std::uint64_t kRevisionsReserved = 1 << 20;

constexpr std::size_t kTables = static_cast<std::size_t>(kLastTable) + 1;

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

Failure file_failure(const std::string& what, int error) {
    const std::string message = what + ": " + std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT)
        return fail(Code::ResourceExhausted, "DiskFull", message);
    return fail(Code::Unavailable, "StorageError", message);
}

Result<Fd> lock_folder(const std::string& path) {
    const std::string name = path + ".lock";
    Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (file.get() < 0) return file_failure("cannot open '" + name + "'", errno);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return file_failure("cannot lock '" + name + "'", errno);
        return fail(Code::FailedPrecondition, "DataFolderInUse",
                    "the data folder '" + folder_of(path) +
                        "' is in use by another turnout; stop it with 'turnout down' or choose "
                        "another folder",
                    folder_of(path));
    }
    return file;
}

// The space that the ballast file holds for bad times. Used by the writer's thread only.
class Ballast {
public:
    Ballast(std::string file, std::uint64_t bytes, std::function<std::uint64_t()> free_space)
        : file_(std::move(file)), bytes_(bytes), free_space_(std::move(free_space)) {
        if (free_space_) return;
        free_space_ = [folder = folder_of(file_)] {
            struct statvfs space{};
            if (::statvfs(folder.c_str(), &space) != 0) return std::uint64_t{0};
            return static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
        };
    }

    bool held() const { return bytes_ == 0 || held_; }

    // Allocates it if it is there already or if that leaves room for others.
    void take() {
        if (held()) return;
        struct stat there{};
        if (::stat(file_.c_str(), &there) == 0 &&
            static_cast<std::uint64_t>(there.st_blocks) * 512 >= bytes_) {
            held_ = true;
            return;
        }
        if (free_space_() < 4 * bytes_) return;
        Fd file(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (file.get() < 0) return;
        if (::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes_)) == 0)
            held_ = true;
        else
            ::unlink(file_.c_str());
    }

    void drop() {
        if (bytes_ == 0) return;
        ::unlink(file_.c_str());
        held_ = false;
    }

private:
    std::string file_;
    std::uint64_t bytes_;
    std::function<std::uint64_t()> free_space_;
    bool held_ = false;
};

// The room that the ballast gave is for what people and nodes decide. Logs wait where they are.
bool adds_to_logs(const Batch& batch) {
    return std::any_of(batch.writes.begin(), batch.writes.end(),
                       [](const Write& write) { return write.table == Table::Log && write.value; });
}

struct Waiting {
    Batch batch;
    Store::Done done;
    std::size_t bytes = 0;
};

struct Settled {
    Store::Done done;
    Result<std::uint64_t> result;
};

// Statements of the writer for one table, prepared at first use.
struct WriteStatements {
    Statement revision;
    Statement put;
    Statement erase;
};
struct ReadStatements {
    Statement get;
    // [reverse][with an end]
    std::array<std::array<Statement, 2>, 2> scan;
};

class Writer {
    using Clock = std::chrono::steady_clock;

public:
    Writer(Loop& loop, Database db, Ballast ballast, std::uint64_t reserved, RowCache& cache,
           const SqliteOptions& options)
        : loop_(loop),
          cache_(cache),
          room_bytes_(options.room_bytes),
          idle_(options.idle),
          db_(std::move(db)),
          ballast_(std::move(ballast)),
          revision_(reserved),
          reserved_(reserved) {
        sqlite3_wal_hook(
            db_.get(),
            [](void* self, sqlite3*, const char*, int frames) {
                static_cast<Writer*>(self)->wal_frames_ = frames;
                return SQLITE_OK;
            },
            this);
        ballast_.take();
        thread_ = std::thread([this] { run(); });
    }
    ~Writer() {
        {
            std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_one();
        thread_.join();
        close_cleanly(db_.get());
    }

    void add(Batch batch, Store::Done done) {
        std::size_t bytes = 0;
        for (const Write& write : batch.writes) {
            const std::size_t size = write.key.size() + (write.value ? write.value->size() : 0);
            if (size > kMaxValueBytes)
                return loop_.post([done = std::move(done), size] {
                    done(fail(Code::ResourceExhausted, "ValueTooLarge",
                              "a value of " + std::to_string(size) +
                                  " bytes is too large for the store"));
                });
            bytes += size + 64;
        }
        bool news = false, refused = false;
        const Clock::time_point due = Clock::now() + batch.company;
        {
            std::lock_guard lock(mutex_);
            Queue& queue = queues_[static_cast<std::size_t>(batch.lane)];
            refused = queue.bytes + bytes > kMaxQueuedBytes && !queue.waiting.empty();
            if (!refused) {
                news = waiting_ == 0 || batch.patience < patience_ || due < due_;
                due_ = waiting_ == 0 ? due : std::min(due_, due);
                patience_ = waiting_ == 0 ? batch.patience : std::min(patience_, batch.patience);
                ++waiting_;
                queue.bytes += bytes;
                queue.waiting.push_back({std::move(batch), std::move(done), bytes});
            }
        }
        if (refused)
            loop_.post([batch = std::move(batch), done = std::move(done)]() mutable {
                refuse(std::move(batch), std::move(done));
            });
        else if (news)
            wake_.notify_one();
    }

private:
    struct Queue {
        std::deque<Waiting> waiting;
        std::size_t bytes = 0;
    };

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            if (waiting_ == 0) {
                if (stopping_) return;
                const bool full = wal_frames_ >= kIdleCheckpointFrames;
                if (!full && !may_give_back_) {
                    wake_.wait(lock);
                } else if (wake_.wait_for(lock, giving_back_ ? kBetweenGivingBack : idle_) ==
                               std::cv_status::timeout &&
                           waiting_ == 0) {
                    lock.unlock();
                    if (full)
                        checkpoint();
                    else
                        give_back();
                    lock.lock();
                }
                continue;
            }
            if (!stopping_ && Clock::now() < due_) {
                wake_.wait_until(lock, due_);
                continue;
            }
            std::vector<Waiting> group = take_group();
            lock.unlock();
            Span rest{};
            for (const Waiting& one : group) rest = std::max(rest, one.batch.patience);
            commit_group(std::move(group));
            if (wal_frames_ >= kMaxWalFrames) checkpoint();
            lock.lock();
            if (rest > Span{})
                wake_.wait_for(lock, rest, [this] {
                    return stopping_ || (waiting_ > 0 && patience_ == Span{});
                });
        }
    }

    // Of each lane its share, so that none waits until another is empty.
    std::vector<Waiting> take_group() {
        std::vector<Waiting> group;
        for (Queue& queue : queues_) {
            std::size_t count = 0, bytes = 0;
            while (!queue.waiting.empty() && count < kMaxGroupBatches &&
                   (count == 0 || bytes + queue.waiting.front().bytes <= kMaxGroupBytes)) {
                bytes += queue.waiting.front().bytes;
                ++count;
                group.push_back(std::move(queue.waiting.front()));
                queue.waiting.pop_front();
            }
            queue.bytes -= bytes;
        }
        waiting_ -= group.size();
        patience_ = Span{};
        due_ = {};  // those that are left have waited already
        return group;
    }

    void commit_group(std::vector<Waiting> group) {
        const bool low_on_space = !has_space();
        std::vector<Settled> settled;
        settled.reserve(group.size());
        std::vector<std::pair<Table, std::string>> cached;
        for (const Waiting& next : group)
            for (const Write& write : next.batch.writes) {
                if (!write.value) may_give_back_ = true;
                if (RowCache::keeps(write.table) || write.table == RowCache::kMostlyEmpty)
                    cached.emplace_back(write.table, write.key);
            }
        Result<void> all = execute_cached(begin_, "BEGIN IMMEDIATE");
        std::uint64_t reserved = reserved_;
        if (all && revision_ + group.size() > reserved_) {
            reserved = revision_ + group.size() + kRevisionsReserved;
            all = execute(db_.get(),
                          "UPDATE store_revision SET reserved=" + std::to_string(reserved));
        }
        for (Waiting& next : group) {
            Result<std::uint64_t> result = 0;
            if (all && low_on_space && (next.bytes > kLowSpaceBatch || adds_to_logs(next.batch))) {
                result = fail(Code::ResourceExhausted, "DiskFull",
                              "the disk of the data folder is full: only small changes are "
                              "recorded until there is space");
            } else if (all) {
                result = apply(next.batch, all);
            }
            settled.push_back({std::move(next.done), std::move(result)});
        }
        cache_.begin_commit(std::move(cached));
        if (all) all = execute_cached(commit_, "COMMIT");
        cache_.end_commit();
        if (all) {
            reserved_ = reserved;
        } else {
            if (!sqlite3_get_autocommit(db_.get()))
                sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
            if (all.error().code == Code::ResourceExhausted) {
                ballast_.drop();
            }
            // What was refused for its own reason keeps that reason.
            for (Settled& one : settled)
                if (one.result) one.result = Failure(all.error());
        }
        loop_.post([settled = std::move(settled)]() mutable {
            for (Settled& one : settled) one.done(std::move(one.result));
        });
    }

    // Expectations first, then the writes. A failure of the database, as against one of the batch,
    // goes to `all`: then the whole group is rolled back.
    Result<std::uint64_t> apply(const Batch& batch, Result<void>& all) {
        for (const Write& write : batch.writes) {
            if (!write.expect) continue;
            const Result<std::uint64_t> revision = revision_of(write.table, write.key);
            if (!revision) {
                all = Failure(revision.error());
                return 0;
            }
            if (*revision != *write.expect) return conflict_at(write.table, write.key);
        }
        const std::uint64_t revision = ++revision_;
        for (const Write& write : batch.writes) {
            all = apply(write, revision);
            if (!all) return 0;
        }
        return revision;
    }

    Result<std::uint64_t> revision_of(Table table, std::string_view key) {
        Statement& cached = statements_[static_cast<std::size_t>(table)].revision;
        TURNOUT_TRY(ready(cached, table, "SELECT revision FROM ", " WHERE key=?1"));
        bind_text(cached.get(), 1, key);
        const int status = sqlite3_step(cached.get());
        const std::uint64_t revision =
            status == SQLITE_ROW ? static_cast<std::uint64_t>(sqlite3_column_int64(cached.get(), 0))
                                 : kAbsent;
        sqlite3_reset(cached.get());
        if (status != SQLITE_ROW && status != SQLITE_DONE)
            return failure_of(db_.get(), status, "reading from the database");
        return revision;
    }

    Result<void> apply(const Write& write, std::uint64_t revision) {
        WriteStatements& cached = statements_[static_cast<std::size_t>(write.table)];
        Statement& statement = write.value ? cached.put : cached.erase;
        if (write.value) {
            TURNOUT_TRY(ready(statement, write.table, "INSERT INTO ",
                              " VALUES(?1,?2,?3) ON CONFLICT(key) DO UPDATE SET "
                              "value=excluded.value, revision=excluded.revision"));
            bind_blob(statement.get(), 2, *write.value);
            sqlite3_bind_int64(statement.get(), 3, static_cast<std::int64_t>(revision));
        } else {
            TURNOUT_TRY(ready(statement, write.table, "DELETE FROM ", " WHERE key=?1"));
        }
        bind_text(statement.get(), 1, write.key);
        const int status = sqlite3_step(statement.get());
        sqlite3_reset(statement.get());
        if (status != SQLITE_DONE) return failure_of(db_.get(), status, "writing to the database");
        return {};
    }

    Result<void> ready(Statement& cached, Table table, std::string_view before,
                       std::string_view after) {
        if (cached) return {};
        cached = TURNOUT_TRY(prepare(
            db_.get(), std::string(before) + std::string(name_of(table)) + std::string(after)));
        return {};
    }

    Result<void> execute_cached(Statement& cached, std::string_view sql) {
        if (!cached) cached = TURNOUT_TRY(prepare(db_.get(), sql));
        const int status = sqlite3_step(cached.get());
        sqlite3_reset(cached.get());
        if (status != SQLITE_DONE)
            return failure_of(db_.get(), status, "committing to the database");
        return {};
    }

    bool has_space() {
        if (ballast_.held()) return true;
        ballast_.take();
        return ballast_.held();
    }

    // Gives a few of the file's free pages back, if there are many. The rest follows when there is
    // nothing to do again; what fails is tried again after the next erasure.
    void give_back() {
        const auto free = number(free_, "PRAGMA freelist_count"),
                   all = number(all_, "PRAGMA page_count"),
                   size = number(size_, "PRAGMA page_size");
        giving_back_ = may_give_back_ = false;
        if (!free || !all || !size) return;
        const std::int64_t room =
            static_cast<std::int64_t>(room_bytes_) / std::max<std::int64_t>(*size, 1);
        if (*free - kPagesGivenBack < room + (*all - *free) / 8) return;
        giving_back_ = may_give_back_ =
            execute(db_.get(), "PRAGMA incremental_vacuum(" + std::to_string(kPagesGivenBack) + ")")
                .has_value() &&
            number(all_, "PRAGMA page_count") < all;  // else this file cannot
        if (!giving_back_) return;
        wal_frames_ = std::max(wal_frames_, kIdleCheckpointFrames);  // the file itself is cut then
    }

    std::optional<std::int64_t> number(Statement& cached, std::string_view sql) {
        if (!cached) {
            auto made = prepare(db_.get(), sql);
            if (!made) return std::nullopt;
            cached = std::move(*made);
        }
        std::optional<std::int64_t> value;
        if (sqlite3_step(cached.get()) == SQLITE_ROW) value = sqlite3_column_int64(cached.get(), 0);
        sqlite3_reset(cached.get());
        return value;
    }

    // Copies the WAL into the database, as far as readers allow; the next commit then reuses the
    // WAL from its beginning. An error here loses nothing: the WAL stays.
    void checkpoint() {
        int frames = 0, copied = 0;
        sqlite3_wal_checkpoint_v2(db_.get(), "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
        wal_frames_ = 0;  // the hook tells the true number at the next commit
    }

    Loop& loop_;
    RowCache& cache_;
    const std::uint64_t room_bytes_;
    const std::chrono::milliseconds idle_;
    Database db_;
    Ballast ballast_;
    std::uint64_t revision_;
    std::uint64_t reserved_;
    int wal_frames_ = 0;
    std::array<WriteStatements, kTables> statements_;
    Statement begin_, commit_, free_, all_, size_;
    bool may_give_back_ = true;  // something was erased, perhaps by an earlier life
    bool giving_back_ = false;   // there was more than one megabyte

    std::mutex mutex_;
    std::condition_variable wake_;
    std::array<Queue, kLanes> queues_;  // under mutex_
    std::size_t waiting_ = 0;           // under mutex_: batches in them all
    Span patience_{};                   // under mutex_: the least of theirs, unless there are none
    Clock::time_point due_;             // under mutex_: so long they wait for company
    bool stopping_ = false;             // under mutex_
    std::thread thread_;
};

class SqliteStore final : public Store {
public:
    SqliteStore(Loop& loop, Fd lock, Database reader, std::unique_ptr<RowCache> cache,
                std::unique_ptr<Writer> writer)
        : loop_(loop),
          lock_(std::move(lock)),
          reader_(std::move(reader)),
          cache_(std::move(cache)),
          writer_(std::move(writer)) {}
    ~SqliteStore() override { end_reading(); }

    Result<std::optional<Record>> get(Table table, std::string_view key) override {
        RowCache::Moment moment = 0;
        if (table == RowCache::kMostlyEmpty) {
            if (cache_->is_empty(moment)) return std::optional<Record>();
            if (TURNOUT_TRY(scan(table, {.limit = 1})).empty()) {
                cache_->keep_empty(moment);
                return std::optional<Record>();
            }
        }
        if (!RowCache::keeps(table)) return read(table, key);
        if (auto known = cache_->find(table, key, moment)) return std::move(*known);
        Result<std::optional<Record>> record = read(table, key);
        // Whoever guesses tokens fills nothing with what is not there.
        if (record && (*record || table != Table::Token)) cache_->keep(table, key, *record, moment);
        return record;
    }

    Result<std::optional<Record>> read(Table table, std::string_view key) {
        Statement& cached = statements_[static_cast<std::size_t>(table)].get;
        if (!cached)
            cached = TURNOUT_TRY(prepare(
                reader_.get(),
                "SELECT value, revision FROM " + std::string(name_of(table)) + " WHERE key=?1"));
        TURNOUT_TRY(begin_reading());
        bind_text(cached.get(), 1, key);
        const int status = sqlite3_step(cached.get());
        std::optional<Record> record;
        if (status == SQLITE_ROW)
            record.emplace(
                Record{std::string(key), std::string(column(cached.get(), 0)),
                       static_cast<std::uint64_t>(sqlite3_column_int64(cached.get(), 1))});
        sqlite3_reset(cached.get());
        if (status != SQLITE_ROW && status != SQLITE_DONE)
            return failure_of(reader_.get(), status, "reading from the database");
        return record;
    }

    Result<std::vector<Record>> scan(Table table, const Range& range) override {
        std::vector<Record> records;
        if (range.limit == 0 || (!range.to.empty() && range.to <= range.from)) return records;
        Statement& cached =
            statements_[static_cast<std::size_t>(table)].scan[range.reverse][!range.to.empty()];
        if (!cached)
            cached = TURNOUT_TRY(prepare(
                reader_.get(), "SELECT key, value, revision FROM " + std::string(name_of(table)) +
                                   " WHERE key>=?1" + (range.to.empty() ? "" : " AND key<?3") +
                                   " ORDER BY key" + (range.reverse ? " DESC" : "") + " LIMIT ?2"));
        TURNOUT_TRY(begin_reading());
        sqlite3_stmt* statement = cached.get();
        bind_text(statement, 1, range.from);
        constexpr std::size_t most = std::numeric_limits<std::int64_t>::max();
        sqlite3_bind_int64(statement, 2, static_cast<std::int64_t>(std::min(range.limit, most)));
        if (!range.to.empty()) bind_text(statement, 3, range.to);
        int status = SQLITE_ROW;
        while ((status = sqlite3_step(statement)) == SQLITE_ROW)
            records.push_back({std::string(column(statement, 0)), std::string(column(statement, 1)),
                               static_cast<std::uint64_t>(sqlite3_column_int64(statement, 2))});
        sqlite3_reset(statement);
        if (status != SQLITE_DONE)
            return failure_of(reader_.get(), status, "reading from the database");
        return records;
    }

    void commit(Batch batch, Done done) override {
        writer_->add(std::move(batch), std::move(done));
    }

private:
    // What is read in one turn of the loop shares a transaction, until a commit comes between: its
    // locks and the pages it has read are paid for once. It ends with the turn, so that it is in
    // nobody's way when the WAL is to begin anew.
    Result<void> begin_reading() {
        const RowCache::Moment now = cache_->moment();
        if (reading_ && now == read_at_) return {};
        end_reading();
        if (!begin_) begin_ = TURNOUT_TRY(prepare(reader_.get(), "BEGIN"));
        if (!end_) end_ = TURNOUT_TRY(prepare(reader_.get(), "COMMIT"));
        const int status = sqlite3_step(begin_.get());
        sqlite3_reset(begin_.get());
        if (status != SQLITE_DONE)
            return failure_of(reader_.get(), status, "reading from the database");
        reading_ = true;
        read_at_ = now;
        if (std::exchange(ending_, true)) return {};
        loop_.post([this, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.lock()) return;
            ending_ = false;
            end_reading();
        });
        return {};
    }
    void end_reading() {
        if (!std::exchange(reading_, false)) return;
        sqlite3_step(end_.get());
        sqlite3_reset(end_.get());
        if (!sqlite3_get_autocommit(reader_.get()))
            sqlite3_exec(reader_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    }

    Loop& loop_;
    Fd lock_;
    Database reader_;
    Statement begin_, end_;
    bool reading_ = false;                                   // in a transaction
    bool ending_ = false;                                    // its end is posted
    RowCache::Moment read_at_ = 0;                           // before it began
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // shared with what is posted
    std::array<ReadStatements, kTables> statements_;
    std::unique_ptr<RowCache> cache_;
    std::unique_ptr<Writer> writer_;  // ends before the reader and the cache do
};

// Grows the WAL to kWalBytes of zeros: frames that are not valid, hence ignored by recovery.
// Opening and closing this file is harmless (SQLite's locks are on the other two).
void preallocate_wal(const std::string& path) {
    Fd file(::open((path + "-wal").c_str(), O_WRONLY | O_CLOEXEC));
    struct stat there{};
    if (file.get() < 0 || ::fstat(file.get(), &there) != 0) return;
    const std::string zeros(256 << 10, '\0');
    auto at = static_cast<std::uint64_t>(there.st_size);
    while (at < kWalBytes) {
        const std::size_t size = std::min<std::uint64_t>(zeros.size(), kWalBytes - at);
        const ssize_t wrote = ::pwrite(file.get(), zeros.data(), size, static_cast<off_t>(at));
        if (wrote <= 0) return;  // it is only an optimisation
        at += static_cast<std::uint64_t>(wrote);
    }
    ::fdatasync(file.get());
}

Result<std::uint64_t> reserve_revisions(sqlite3* db) {
    Statement query = TURNOUT_TRY(prepare(db, "SELECT reserved FROM store_revision"));
    const int status = sqlite3_step(query.get());
    if (status != SQLITE_ROW && status != SQLITE_DONE)
        return failure_of(db, status, "reading from the database");
    if (status == SQLITE_ROW)
        return static_cast<std::uint64_t>(sqlite3_column_int64(query.get(), 0));
    query.reset();
    TURNOUT_TRY(execute(db, "INSERT INTO store_revision VALUES(1)"));
    return 1;
}

std::optional<std::int64_t> number_of(sqlite3* db, std::string_view pragma) {
    const auto query = prepare(db, pragma);
    if (!query || sqlite3_step(query->get()) != SQLITE_ROW) return std::nullopt;
    return sqlite3_column_int64(query->get(), 0);
}

// A new file can give back what is free in it. Said to one that can it would be a write, for which
// a full disk has no room.
void let_it_shrink(sqlite3* db) {
    if (number_of(db, "PRAGMA auto_vacuum") == 0)
        sqlite3_exec(db, "PRAGMA auto_vacuum=INCREMENTAL", nullptr, nullptr, nullptr);
}

// So that an earlier build's can too. It goes on as it is where that fails.
void make_anew(sqlite3* db) {
    const auto all = number_of(db, "PRAGMA page_count"),
               free = number_of(db, "PRAGMA freelist_count"),
               size = number_of(db, "PRAGMA page_size");
    if (number_of(db, "PRAGMA auto_vacuum") == 0 && all && free && size &&
        static_cast<std::uint64_t>((*all - *free) * *size) <= kMadeAnew)
        sqlite3_exec(db, "VACUUM", nullptr, nullptr, nullptr);
}

void sync_folder(const std::string& path) {
    const Fd folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() >= 0) ::fsync(folder.get());
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(Loop& loop, const std::string& path,
                                                 SqliteOptions options) {
    // Without a count of its memory SQLite takes no lock for each allocation. Refused, without
    // harm, once SQLite is in use.
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    const bool real_files = options.vfs.empty();
    Fd lock;
    if (real_files) lock = TURNOUT_TRY(lock_folder(path));
    const bool log_is_there = TURNOUT_TRY(has_log(path, options.vfs));

    Database writer =
        TURNOUT_TRY(open_database(path, options.vfs, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    let_it_shrink(writer.get());
    TURNOUT_TRY(
        execute(writer.get(),
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
                "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-1024;"
                "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF"));
    if (options.max_pages > 0)
        TURNOUT_TRY(
            execute(writer.get(), "PRAGMA max_page_count=" + std::to_string(options.max_pages)));
    if (!options.accept_lost_log) TURNOUT_TRY(check_log(writer.get(), path, log_is_there));
    TURNOUT_TRY(migrate(writer.get(), real_files ? path : ""));
    if (real_files) make_anew(writer.get());
    TURNOUT_TRY(mark_in_use(writer.get()));
    const std::uint64_t reserved = TURNOUT_TRY(reserve_revisions(writer.get()));
    if (real_files) {
        preallocate_wal(path);
        sync_folder(path);
    }

    Database reader = TURNOUT_TRY(open_database(path, options.vfs, SQLITE_OPEN_READWRITE));
    // Not mapped into memory: SQLite would unmap and map the file anew after every commit.
    TURNOUT_TRY(execute(reader.get(),
                        "PRAGMA query_only=ON; PRAGMA cache_size=-1024;"
                        "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF"));

    Ballast ballast(folder_of(path) + "/ballast", real_files ? options.ballast_bytes : 0,
                    options.free_space);
    auto cache = std::make_unique<RowCache>();
    auto thread = std::make_unique<Writer>(loop, std::move(writer), std::move(ballast), reserved,
                                           *cache, options);
    return std::make_unique<SqliteStore>(loop, std::move(lock), std::move(reader), std::move(cache),
                                         std::move(thread));
}

}  // namespace turnout
