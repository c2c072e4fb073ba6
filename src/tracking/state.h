// What Tracking keeps in memory: caches of committed rows and the queues that make the commits of
// one run, or of one stream, follow each other. Only tracking/*.cc sees this.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/lru.h"
#include "store/turns.h"
#include "tracking/run_record.h"
#include "tracking/tracking.h"

namespace turnout {

using RunRef = std::shared_ptr<const RunRecord>;  // shared: the cache and readers of it

// A change of one run that waits for its turn. May be called again after a conflict.
struct RunChange {
    std::function<Result<bool>(RunRecord& record, Batch& out)> edit;  // false: nothing to do
    std::function<void(Result<RunRef>)> done;
};

struct RunQueue {
    std::deque<RunChange> waiting;
    bool busy = false;  // a commit is in flight, or its callbacks run
    int conflicts = 0;
};

struct LogAppend {
    std::uint64_t offset = 0;
    std::string bytes;        // none where all of them are there already
    std::size_t counted = 0;  // among the bytes that wait
    std::function<void(Result<std::uint64_t>)> done;
};

// The end of one stream of one attempt.
struct LogStream {
    std::string prefix;  // of its keys
    std::string job_key;
    bool loaded = false;       // what follows is known
    bool exists = false;       // it was guessed to be new, and has rows
    std::uint64_t length = 0;  // durable
    std::string tail;          // content of the last row while it is short: it is filled up
    std::uint64_t tail_offset = 0;
    std::deque<LogAppend> waiting;
    std::uint64_t held_to = 0;  // up to there everything is durable, being written, or waits
    bool busy = false;
};

struct LogWaiter {
    LogWaiter(Later<bool>::Settle wake_, Loop& loop_) : wake(std::move(wake_)), loop(loop_) {}
    Later<bool>::Settle wake;
    Loop& loop;
    Loop::TimerId timer = 0;
    bool woken = false;
    bool over = false;  // there is nothing more to wait for
    void fire() {
        if (std::exchange(woken, true)) return;
        if (timer != 0) loop.cancel(timer);
        wake(true);
    }
};

struct Tracking::State : std::enable_shared_from_this<Tracking::State> {
    State(Store& store_, const Clock& clock_, Random& random_, Loop& loop_, std::size_t log_room_)
        : store(store_), clock(clock_), random(random_), loop(loop_), log_room(log_room_) {}

    Store& store;
    const Clock& clock;
    Random& random;
    Loop& loop;
    const std::size_t log_room;
    bool closed = false;

    // A commit that waits for room in the store's queue, if need be.
    void commit(Batch batch, Store::Done done);
    Task<Result<std::uint64_t>> commit(Batch batch);  // the same for coroutines

    FindTrial find_trial;
    std::function<void(const std::string& wsid, const std::string& run_id)> logged;

    // ---- runs (runs.cc) ----
    Lru<RunRef> runs{256};                                      // committed
    Lru<std::pair<std::uint64_t, Experiment>> experiments{64};  // with the revision of their row
    Turns experiment_turns;                                     // by workspace
    std::unordered_map<std::string, RunQueue> run_queues;

    Result<RunRef> load_run(const std::string& run_key);  // null if absent
    // The run of a trial that is not stored yet.
    Result<std::optional<RunRecord>> trial_record(const std::string& run_key);
    void change_run(const std::string& run_key, RunChange change);
    void pump_run(const std::string& run_key);
    void run_committed(const std::string& run_key, std::shared_ptr<RunRecord> draft,
                       std::vector<std::pair<RunChange, Result<bool>>> taken,
                       Result<std::uint64_t> revision);
    static Task<Result<RunRef>> changed_run(std::shared_ptr<State> state, std::string run_key,
                                            std::function<Result<bool>(RunRecord&, Batch&)> edit);
    RunRecord new_record(Run run) const;  // with what is not said filled in
    static Task<Result<Run>> insert_run(std::shared_ptr<State> state, std::string wsid, Run run);

    // ---- logs (logs.cc) ----
    Lru<std::shared_ptr<LogStream>> streams{512};  // shared: a commit in flight holds it too
    std::unordered_map<std::string, std::shared_ptr<LogStream>> busy_streams;
    std::unordered_map<std::string, std::vector<std::shared_ptr<LogWaiter>>> waiters;  // by job

    // Commits of logs in this stretch of time and in the one before it, see log_patience.
    std::int64_t log_stretch = 0;
    int log_commits = 0, log_commits_before = 0;

    std::size_t log_bytes = 0;  // came and are not answered yet
    bool logs_full = false;

    void answer(const LogAppend& append, const Result<std::uint64_t>& length);
    Span log_patience();
    std::shared_ptr<LogStream> stream_of(const std::string& prefix, const std::string& job_key);
    Result<void> load_stream(LogStream& stream);
    void pump_log(std::shared_ptr<LogStream> stream);
    void log_committed(std::shared_ptr<LogStream> stream, std::vector<LogAppend> taken,
                       std::uint64_t new_length, std::string new_tail,
                       std::uint64_t new_tail_offset, Result<std::uint64_t> revision);
    void wake(const std::string& job_key, bool over = false);
    // The attempt whose logs are shown under their plain paths; 0 if there are none.
    Result<int> current_attempt(const std::string& job_key);
    // Prefix of the rows behind an artifact path; "" if there cannot be any.
    Result<std::string> rows_of(const std::string& job_key, std::string_view path);
    Result<std::uint64_t> length_of(const std::string& prefix, const std::string& job_key);

    void close();
};

inline std::string key_of(std::string_view wsid, std::string_view name) {
    return std::string(wsid) + "/" + std::string(name);
}
std::string run_created_key(std::string_view wsid, const RunRecord& record);

}  // namespace turnout
