// Logs of jobs: rows "{wsid}/{job}/{6 digits of attempt}/{stream, encoded}/{16 hex offset}" whose
// values follow each other without gaps. A short last row is filled up before a new one begins, so
// that a job that prints a line now and then does not make a row of each.
#include <charconv>
#include <utility>

#include "base/text.h"
#include "tracking/state.h"

namespace turnout {
namespace {

constexpr std::size_t kFillRow = 4 << 10;    // a row below it is rewritten with what follows
constexpr std::size_t kMaxRow = 64 << 10;    // so that a small range reads little
constexpr std::size_t kMaxCommit = 1 << 20;  // bytes of one commit
constexpr std::size_t kAppendCost = 256;     // of a chunk besides its bytes
constexpr std::size_t kRowsPerScan = 16;
constexpr std::size_t kMaxListed = 10'000;
constexpr Span kStretch = 16ms;
constexpr int kManyCommits = 8;  // in a stretch: then they wait for each other
constexpr Span kPatience = 16ms;
constexpr std::string_view kArtifacts = "ExperimentRun/dcid.";
constexpr std::string_view kRetries = "retries/";
constexpr std::string_view kOwnLog = "user_logs/std_log.txt";
constexpr std::string_view kRemovedLog = "[turnout] the logs were removed: ";

std::string six(int number) {
    std::string text = std::to_string(number);
    return text.size() < 6 ? std::string(6 - text.size(), '0') + text : text;
}

std::optional<int> to_attempt(std::string_view text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 1) return std::nullopt;
    return number;
}

std::string rows_prefix(const std::string& job_key, int attempt, std::string_view stream) {
    return job_key + "/" + six(attempt) + "/" + percent_encode(stream) + "/";
}

// Of a row's key: where its bytes begin.
std::uint64_t offset_of(std::string_view key) {
    std::uint64_t offset = 0;
    if (key.size() >= 16)
        std::from_chars(key.data() + key.size() - 16, key.data() + key.size(), offset, 16);
    return offset;
}

Result<std::optional<Record>> last_row(Store& store, const std::string& prefix) {
    Range range = with_prefix(prefix, 1);
    range.reverse = true;
    auto rows = TURNOUT_TRY(store.scan(Table::Log, range));
    if (rows.empty()) return std::optional<Record>();
    return std::optional(std::move(rows.front()));
}

// "{job}" and the path beneath it of a name in the artifact container.
std::optional<std::pair<std::string, std::string>> job_and_path(std::string_view name) {
    if (!name.starts_with(kArtifacts)) return std::nullopt;
    name.remove_prefix(kArtifacts.size());
    const std::size_t slash = name.find('/');
    if (slash == std::string_view::npos || slash == 0) return std::nullopt;
    return std::pair(std::string(name.substr(0, slash)), std::string(name.substr(slash + 1)));
}

BlobInfo log_blob(std::string_view container, std::string name, std::uint64_t length, Instant now) {
    BlobInfo info;
    info.container = container;
    info.name = std::move(name);
    info.size = length;
    info.etag = std::to_string(length);
    info.content_type = "text/plain; charset=utf-8";
    info.created = info.modified = now;
    return info;
}

// The workspace whose artifact container this is (see artifact_container).
std::optional<std::string> workspace_of_artifacts(std::string_view container) {
    constexpr std::string_view begin = "azureml-";
    if (!container.starts_with(begin)) return std::nullopt;
    container.remove_prefix(begin.size());
    if (container.empty() || container.find('-') != std::string_view::npos) return std::nullopt;
    return std::string(container);
}

}  // namespace

// ---- writing ----

std::shared_ptr<LogStream> Tracking::State::stream_of(const std::string& prefix,
                                                      const std::string& job_key) {
    if (const auto busy = busy_streams.find(prefix); busy != busy_streams.end())
        return busy->second;
    if (const auto* idle = streams.find(prefix)) return *idle;
    auto stream = std::make_shared<LogStream>();
    stream->prefix = prefix;
    stream->job_key = job_key;
    streams.put(prefix, stream);
    return stream;
}

Result<void> Tracking::State::load_stream(LogStream& stream) {
    if (stream.loaded) return {};
    if (auto row = TURNOUT_TRY(last_row(store, stream.prefix))) {
        stream.tail_offset = offset_of(row->key);
        stream.length = stream.tail_offset + row->value.size();
        stream.tail = row->value.size() < kFillRow ? std::move(row->value) : std::string();
    }
    stream.loaded = true;
    return {};
}

void Tracking::append_log(agent_protocol::LogChunk chunk,
                          std::function<void(Result<std::uint64_t>)> done) {
    if (state_->closed)
        return done(fail(Code::Unavailable, "ShuttingDown", "the server is shutting down"));
    if (const auto path = checked_relative_path(chunk.stream, "log stream"); !path)
        return done(Failure(path.error()));
    if (chunk.id.attempt < 1 || chunk.id.attempt > 999'999)
        return done(invalid("attempt " + std::to_string(chunk.id.attempt) +
                            " of a log chunk is out of range"));
    for (const std::string& name : {chunk.id.workspace, chunk.id.job})
        if (name.empty() || name.find('/') != std::string::npos)
            return done(invalid("'" + name + "' is not the name of a job or workspace"));
    if (chunk.bytes.size() > agent_protocol::kMaxTail ||
        chunk.offset + chunk.bytes.size() < chunk.offset)
        return done(invalid("a log chunk is larger than " +
                            std::to_string(agent_protocol::kMaxTail) + " bytes"));
    const std::string job_key = key_of(chunk.id.workspace, chunk.id.job);
    const auto stream =
        state_->stream_of(rows_prefix(job_key, chunk.id.attempt, chunk.stream), job_key);
    // Sent again because the disk is slow: it is not kept twice.
    const std::uint64_t end = chunk.offset + chunk.bytes.size();
    if (end <= stream->held_to) chunk.bytes.clear();
    const std::size_t counted = chunk.bytes.size() + kAppendCost;
    if (state_->log_bytes > 0 && state_->log_bytes + counted > 2 * state_->log_room)
        return done(fail(Code::ResourceExhausted, "TooManyRequests",
                         "too much waits to be written to the logs of jobs: send it again later"));
    if (chunk.offset <= stream->held_to) stream->held_to = std::max(stream->held_to, end);
    state_->log_bytes += counted;
    if (state_->log_bytes > state_->log_room) state_->logs_full = true;
    stream->waiting.push_back({chunk.offset, std::move(chunk.bytes), counted, std::move(done)});
    state_->busy_streams[stream->prefix] = stream;
    state_->pump_log(stream);
}

void Tracking::State::answer(const LogAppend& append, const Result<std::uint64_t>& length) {
    log_bytes -= append.counted;
    if (log_bytes <= log_room / 2) logs_full = false;
    append.done(length);
}

bool Tracking::logs_full() const {
    return state_->logs_full;
}
std::size_t Tracking::waiting_log_bytes() const {
    return state_->log_bytes;
}

// A line that somebody waits for is durable at once; where many short tasks end, what they said
// goes to the disk together.
Span Tracking::State::log_patience() {
    const std::int64_t stretch = clock.since_boot() / kStretch;
    if (stretch != log_stretch) {
        log_commits_before = stretch == log_stretch + 1 ? log_commits : 0;
        log_commits = 0;
        log_stretch = stretch;
    }
    ++log_commits;
    return std::max(log_commits, log_commits_before) >= kManyCommits ? kPatience : Span{};
}

// One commit of a stream at a time: chunks that arrive meanwhile go together into the next one, so
// a failed commit can never leave a gap behind it.
void Tracking::State::pump_log(std::shared_ptr<LogStream> stream) {
    while (!stream->busy) {
        if (stream->waiting.empty()) {
            busy_streams.erase(stream->prefix);
            streams.put(stream->prefix, stream);
            return;
        }
        stream->busy = true;
        // A stream that begins is most likely new: the commit itself finds out if it is not, which
        // costs less than a look beforehand.
        const LogAppend& first = stream->waiting.front();
        const bool guess =
            !stream->loaded && !stream->exists && first.offset == 0 && !first.bytes.empty();
        const Result<void> loaded = guess ? Result<void>{} : load_stream(*stream);
        std::vector<LogAppend> taken;
        std::string fresh;
        while (!stream->waiting.empty() && (!loaded || fresh.size() < kMaxCommit)) {
            LogAppend append = std::move(stream->waiting.front());
            stream->waiting.pop_front();
            const std::uint64_t end = stream->length + fresh.size();
            const std::uint64_t append_end = append.offset + append.bytes.size();
            if (!append.bytes.empty() && append.offset <= end && append_end > end)
                fresh += append.bytes.substr(end - append.offset);
            if (!guess) append.bytes.clear();
            taken.push_back(std::move(append));
        }
        if (loaded && !fresh.empty()) {
            Batch batch;
            batch.lane = Lane::Logs;
            batch.patience = log_patience();
            const std::uint64_t new_length = stream->length + fresh.size();
            std::uint64_t at = stream->length;
            if (!stream->tail.empty()) {
                at = stream->tail_offset;
                fresh.insert(0, stream->tail);
            }
            std::string last;
            for (std::size_t from = 0; from < fresh.size(); from += kMaxRow) {
                last = fresh.substr(from, kMaxRow);
                batch.put(Table::Log, stream->prefix + hex16(at + from), last,
                          guess && from == 0 ? Expect(kAbsent) : std::nullopt);
            }
            const std::uint64_t last_offset = new_length - last.size();
            if (last.size() >= kFillRow) last.clear();
            commit(std::move(batch),
                   [self = shared_from_this(), stream, taken = std::move(taken), new_length,
                    last = std::move(last), last_offset](Result<std::uint64_t> revision) mutable {
                       self->log_committed(std::move(stream), std::move(taken), new_length,
                                           std::move(last), last_offset, std::move(revision));
                   });
            return;
        }
        const std::uint64_t length = stream->length;
        stream->held_to = loaded ? std::max(stream->held_to, length) : 0;
        for (const LogAppend& append : taken)
            answer(append, loaded ? Result<std::uint64_t>(length)
                                  : Result<std::uint64_t>(Failure(loaded.error())));
        stream->busy = false;
    }
}

void Tracking::State::log_committed(std::shared_ptr<LogStream> stream, std::vector<LogAppend> taken,
                                    std::uint64_t new_length, std::string new_tail,
                                    std::uint64_t new_tail_offset, Result<std::uint64_t> revision) {
    if (!revision && revision.error().code == Code::Conflict && !closed) {
        stream->exists = true;  // the only expectation there is: it was not new
        for (auto append = taken.rbegin(); append != taken.rend(); ++append)
            stream->waiting.push_front(std::move(*append));
        stream->busy = false;
        return pump_log(std::move(stream));
    }
    if (revision) {
        stream->loaded = true;
        stream->length = new_length;
        stream->tail = std::move(new_tail);
        stream->tail_offset = new_tail_offset;
        stream->held_to = std::max(stream->held_to, new_length);
    } else {
        stream->loaded = false;  // it may have happened: look again
        stream->length = stream->held_to = 0;
        stream->tail.clear();
    }
    for (const LogAppend& append : taken)
        answer(append, revision ? Result<std::uint64_t>(new_length)
                                : Result<std::uint64_t>(Failure(revision.error())));
    if (revision) wake(stream->job_key);
    stream->busy = false;
    pump_log(std::move(stream));
}

Task<Result<std::uint64_t>> Tracking::replace_logs(std::string wsid, std::string job,
                                                   std::string line) {
    const auto state = state_;
    const std::string job_key = key_of(wsid, job), prefix = job_key + "/";
    const std::string instead = rows_prefix(job_key, 1, kOwnLog) + hex16(0);
    std::uint64_t bytes = 0;
    Range range = with_prefix(prefix, 100);
    for (bool more = true; more;) {
        TURNOUT_CO_TRY(const auto rows, state->store.scan(Table::Log, range));
        more = rows.size() == range.limit;
        Batch batch;
        batch.lane = Lane::Logs;
        for (const Record& row : rows) {
            if (row.key == instead && row.value.starts_with(kRemovedLog)) continue;
            bytes += row.value.size();
            if (row.key != instead) batch.erase(Table::Log, row.key);
        }
        // With the last of them: a server that dies before goes on with it.
        if (!more && bytes > 0)
            batch.put(Table::Log, instead, std::string(kRemovedLog) + line + "\n");
        if (!rows.empty()) range.from = rows.back().key + '\0';
        if (batch.empty()) continue;
        TURNOUT_CO_TRY_VOID(co_await state->store.commit(std::move(batch)));
    }
    if (bytes > 0)
        state->streams.erase_if(
            [&](const std::shared_ptr<LogStream>& stream) { return stream->job_key == job_key; });
    co_return bytes;
}

Task<Result<void>> Tracking::remove_job(std::string wsid, std::string job) {
    const auto state = state_;
    const std::string job_key = key_of(wsid, job);
    TURNOUT_CO_TRY(const RunRef run, state->load_run(job_key));
    for (const Table table : {Table::Log, Table::Metric}) {
        for (;;) {
            TURNOUT_CO_TRY(const auto rows,
                           state->store.scan(table, with_prefix(job_key + "/",
                                                                table == Table::Log ? 100 : 1000)));
            if (rows.empty()) break;
            Batch batch;
            for (const Record& row : rows) batch.erase(table, row.key);
            TURNOUT_CO_TRY_VOID(co_await state->commit(std::move(batch)));
        }
    }
    if (run) {
        Batch batch;
        batch.erase(Table::Run, job_key);
        batch.erase(Table::RunCreated, run_created_key(wsid, *run));
        TURNOUT_CO_TRY_VOID(co_await state->commit(std::move(batch)));
    }
    state->runs.erase(job_key);
    state->streams.erase_if(
        [&](const std::shared_ptr<LogStream>& stream) { return stream->job_key == job_key; });
    co_return {};
}

// ---- reading ----

Result<int> Tracking::State::current_attempt(const std::string& job_key) {
    const std::string prefix = job_key + "/";
    const auto row = TURNOUT_TRY(last_row(store, prefix));
    if (!row) return 0;
    return to_attempt(std::string_view(row->key).substr(prefix.size(), 6)).value_or(0);
}

Result<std::string> Tracking::State::rows_of(const std::string& job_key, std::string_view path) {
    const int current = TURNOUT_TRY(current_attempt(job_key));
    if (current == 0 || path.empty()) return std::string();
    if (path.starts_with(kRetries)) {
        const std::string_view rest = path.substr(kRetries.size());
        const std::size_t slash = rest.find('/');
        if (slash != std::string_view::npos)
            if (const auto attempt = to_attempt(rest.substr(0, slash));
                attempt && *attempt < current)
                return rows_prefix(job_key, *attempt, rest.substr(slash + 1));
    }
    return rows_prefix(job_key, current, path);
}

Result<std::uint64_t> Tracking::State::length_of(const std::string& prefix,
                                                 const std::string& job_key) {
    if (prefix.empty()) return 0;
    if (const auto busy = busy_streams.find(prefix);
        busy != busy_streams.end() && busy->second->loaded)
        return busy->second->length;
    if (const auto* idle = streams.find(prefix); idle && (*idle)->loaded) return (*idle)->length;
    LogStream stream;
    stream.prefix = prefix;
    stream.job_key = job_key;
    TURNOUT_TRY(load_stream(stream));
    return stream.length;
}

Result<std::uint64_t> Tracking::log_length(std::string_view wsid, std::string_view job,
                                           std::string_view path) {
    const std::string job_key = key_of(wsid, job);
    return state_->length_of(TURNOUT_TRY(state_->rows_of(job_key, path)), job_key);
}

Result<std::vector<std::pair<std::string, std::uint64_t>>> Tracking::log_streams(
    std::string_view wsid, std::string_view job) {
    const std::string job_key = key_of(wsid, job);
    const std::string prefix = job_key + "/";
    const int current = TURNOUT_TRY(state_->current_attempt(job_key));
    std::vector<std::pair<std::string, std::uint64_t>> streams, retries;
    Range range = with_prefix(prefix, 1);
    while (streams.size() + retries.size() < kMaxListed) {
        const auto rows = TURNOUT_TRY(state_->store.scan(Table::Log, range));
        if (rows.empty()) break;
        const std::string_view key = rows.front().key;
        if (key.size() < prefix.size() + 7 + 17)
            return internal("the row '" + std::string(key) + "' of the log table cannot be read");
        const std::string stream_prefix(key.substr(0, key.size() - 16));
        const std::string_view encoded =
            key.substr(prefix.size() + 7, key.size() - prefix.size() - 7 - 17);
        const int attempt = to_attempt(key.substr(prefix.size(), 6)).value_or(0);
        std::string path = TURNOUT_TRY(percent_decode(encoded));
        const std::uint64_t length = TURNOUT_TRY(state_->length_of(stream_prefix, job_key));
        if (attempt == current)
            streams.emplace_back(std::move(path), length);
        else
            retries.emplace_back(std::string(kRetries) + std::to_string(attempt) + "/" + path,
                                 length);
        range.from = with_prefix(stream_prefix).to;
    }
    streams.insert(streams.end(), retries.begin(), retries.end());
    return streams;
}

Result<std::string> Tracking::read_log(std::string_view wsid, std::string_view job,
                                       std::string_view path, std::uint64_t offset,
                                       std::uint64_t limit) {
    const std::string job_key = key_of(wsid, job);
    const std::string prefix = TURNOUT_TRY(state_->rows_of(job_key, path));
    const std::uint64_t length = TURNOUT_TRY(state_->length_of(prefix, job_key));
    if (length == 0)
        return not_found("job '" + std::string(job) + "' has no log '" + std::string(path) + "'",
                         std::string(path));
    std::string bytes;
    if (offset >= length || limit == 0) return bytes;
    limit = std::min(limit, length - offset);
    // The row with the first byte, then on from there.
    Range range = with_prefix(prefix, 1);
    const std::string end = range.to;
    range.to = prefix + hex16(offset + 1);
    range.reverse = true;
    auto rows = TURNOUT_TRY(state_->store.scan(Table::Log, range));
    range.reverse = false;
    range.limit = kRowsPerScan;
    range.to = end;
    while (!rows.empty() && bytes.size() < limit) {
        for (const Record& row : rows) {
            const std::uint64_t at = offset + bytes.size();
            const std::uint64_t begin = offset_of(row.key);
            if (begin > at || begin + row.value.size() <= at || bytes.size() >= limit) continue;
            bytes.append(row.value, at - begin, limit - bytes.size());
        }
        if (bytes.size() >= limit) break;
        range.from = rows.back().key + '\0';
        rows = TURNOUT_TRY(state_->store.scan(Table::Log, range));
    }
    return bytes;
}

void Tracking::State::wake(const std::string& job_key, bool over) {
    const auto found = waiters.find(job_key);
    if (found == waiters.end()) return;
    const auto list = std::move(found->second);
    waiters.erase(found);
    for (const auto& waiter : list) {
        waiter->over = over;
        waiter->fire();
    }
}

void Tracking::job_ended(std::string_view wsid, std::string_view job) {
    state_->wake(key_of(wsid, job), true);
}

Task<Result<std::uint64_t>> Tracking::wait_log(std::string wsid, std::string job, std::string path,
                                               std::uint64_t offset, Span patience, Stop* stop) {
    const auto state = state_;
    const std::string job_key = key_of(wsid, job);
    const Span deadline = state->clock.since_boot() + patience;
    for (bool over = false;;) {
        if (state->closed)
            co_return fail(Code::Unavailable, "ShuttingDown",
                           "the server is shutting down: try again");
        TURNOUT_CO_TRY(const std::string prefix, state->rows_of(job_key, path));
        TURNOUT_CO_TRY(const std::uint64_t length, state->length_of(prefix, job_key));
        const Span left = deadline - state->clock.since_boot();
        if (over || length > offset || left <= Span(0) || (stop && stop->stopped()))
            co_return length;
        Later<bool> woken;
        const auto waiter = std::make_shared<LogWaiter>(woken.settle(), state->loop);
        const auto give_up = [state, waiter, job_key] {
            if (const auto list = state->waiters.find(job_key); list != state->waiters.end()) {
                std::erase(list->second, waiter);
                if (list->second.empty()) state->waiters.erase(list);
            }
            waiter->fire();
        };
        waiter->timer = state->loop.after(left, [waiter, give_up] {
            waiter->timer = 0;
            give_up();
        });
        if (stop) stop->on_stop(give_up);
        state->waiters[job_key].push_back(waiter);
        co_await woken;
        if (stop) stop->on_stop({});
        over = waiter->over;
    }
}

// ---- as blobs ----

Result<std::vector<BlobInfo>> Tracking::list(std::string_view container, std::string_view prefix) {
    std::vector<BlobInfo> blobs;
    const auto wsid = workspace_of_artifacts(container);
    if (!wsid) return blobs;
    const Instant now = state_->clock.now();
    const auto add_job = [&](const std::string& job) -> Result<void> {
        for (auto& [path, length] : TURNOUT_TRY(log_streams(*wsid, job))) {
            std::string name = std::string(kArtifacts) + job + "/" + path;
            if (name.starts_with(prefix))
                blobs.push_back(log_blob(container, std::move(name), length, now));
        }
        return {};
    };
    if (const auto named = job_and_path(prefix)) {
        TURNOUT_TRY(add_job(named->first));
        return blobs;
    }
    // Of every job whose name fits: seek from job to job.
    if (!prefix.starts_with(kArtifacts) && !kArtifacts.starts_with(prefix)) return blobs;
    const std::string_view job_prefix =
        prefix.size() > kArtifacts.size() ? prefix.substr(kArtifacts.size()) : std::string_view();
    const std::string workspace_prefix = *wsid + "/";
    Range range = with_prefix(workspace_prefix + std::string(job_prefix), 1);
    while (blobs.size() < kMaxListed) {
        const auto rows = TURNOUT_TRY(state_->store.scan(Table::Log, range));
        if (rows.empty()) break;
        const std::string rest = rows.front().key.substr(workspace_prefix.size());
        const std::string job = rest.substr(0, rest.find('/'));
        TURNOUT_TRY(add_job(job));
        range.from = with_prefix(workspace_prefix + job + "/").to;
    }
    return blobs;
}

Result<std::optional<BlobInfo>> Tracking::head(std::string_view container, std::string_view name) {
    const auto wsid = workspace_of_artifacts(container);
    const auto where = job_and_path(name);
    if (!wsid || !where) return std::optional<BlobInfo>();
    const std::uint64_t length = TURNOUT_TRY(log_length(*wsid, where->first, where->second));
    if (length == 0) return std::optional<BlobInfo>();
    return std::optional(log_blob(container, std::string(name), length, state_->clock.now()));
}

Result<std::string> Tracking::read(std::string_view container, std::string_view name,
                                   std::uint64_t offset, std::uint64_t length) {
    const auto wsid = workspace_of_artifacts(container);
    const auto where = job_and_path(name);
    if (!wsid || !where)
        return not_found("blob '" + std::string(name) + "' does not exist", std::string(name));
    return read_log(*wsid, where->first, where->second, offset, length);
}

}  // namespace turnout
