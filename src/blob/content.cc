#include "blob/content.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/fd.h"

namespace turnout::blob {
namespace {

Failure file_failure(std::string_view what, int error) {
    std::string message = std::string(what) + ": " + std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return fail(Code::ResourceExhausted, "DiskFull",
                    std::move(message) + "; free some space on the data folder's disk");
    return fail(Code::Unavailable, "StorageError", std::move(message));
}

Result<void> sync_folder(const std::string& folder) {
    const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return file_failure("cannot open '" + folder + "'", errno);
    if (::fsync(fd.get()) != 0) return file_failure("cannot sync '" + folder + "'", errno);
    return {};
}

// An open file, read in pieces on the threads for blocking work.
struct Source {
    Fd fd;

    Result<std::string> read(const std::string& path, std::uint64_t offset, std::size_t length) {
        if (!fd) fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) {
            if (errno == ENOENT) return internal("content file '" + path + "' is missing");
            return file_failure("cannot open '" + path + "'", errno);
        }
        std::string bytes(length, '\0');
        std::size_t filled = 0;
        while (filled < length) {
            const ssize_t got = ::pread(fd.get(), bytes.data() + filled, length - filled,
                                        static_cast<off_t>(offset + filled));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return file_failure("cannot read '" + path + "'", errno);
            if (got == 0) return internal("content file '" + path + "' is shorter than it was");
            filled += static_cast<std::size_t>(got);
        }
        return bytes;
    }
};

std::string reference_key(std::string_view sha256, std::string_view referrer) {
    return "r/" + std::string(sha256) + "/" + std::string(referrer);
}

std::string held_since(Instant now, std::uint64_t size) {
    return hex16(static_cast<std::uint64_t>(now.micros)) + " " + std::to_string(size);
}

}  // namespace

// A file that is being written on the threads for blocking work, one piece at a time. Shared with
// the piece under way, since the coroutine that feeds it may be dropped meanwhile.
struct Sink {
    static constexpr std::uint64_t kPushed = 8 << 20, kBehind = 64 << 20;
    std::string path;
    Fd fd;
    Sha256 hash;
    std::string piece;
    std::uint64_t size = 0;  // of an adopted one
    std::uint64_t written = 0, pushed = 0;
    Result<void> result;

    explicit Sink(std::string file) : path(std::move(file)) {}
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    ~Sink() {
        if (!path.empty()) ::unlink(path.c_str());
    }

    void write() {
        if (!fd) fd = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!fd) {
            result = file_failure("cannot create '" + path + "'", errno);
            return;
        }
        hash.update(piece);
        std::string_view rest = piece;
        while (!rest.empty()) {
            const ssize_t wrote = ::write(fd.get(), rest.data(), rest.size());
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote < 0) {
                result = file_failure("cannot write '" + path + "'", errno);
                return;
            }
            rest.remove_prefix(static_cast<std::size_t>(wrote));
            written += static_cast<std::uint64_t>(wrote);
        }
        if (written - pushed < kPushed) return;
        // The disk begins now, and is never far behind: whoever sends sees how fast it really is,
        // instead of waiting at the end. A file system that cannot does without.
        (void)::sync_file_range(fd.get(), static_cast<off_t>(pushed),
                                static_cast<off_t>(written - pushed), SYNC_FILE_RANGE_WRITE);
        if (pushed > kBehind)
            (void)::sync_file_range(
                fd.get(), 0, static_cast<off_t>(pushed - kBehind),
                SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        pushed = written;
    }

    // A file that somebody else has written; a small one is read whole.
    void adopt() {
        fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        std::string bytes(kPiece, '\0');
        while (fd) {
            const ssize_t got = ::read(fd.get(), bytes.data(), bytes.size());
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) break;
            if (got == 0) return;
            const std::string_view some(bytes.data(), static_cast<std::size_t>(got));
            hash.update(some);
            size += some.size();
            if (size <= kSmall) piece += some;
        }
        result = file_failure("cannot read '" + path + "'", errno);
    }

    // Durable under its name, whatever happens next.
    void publish(const std::string& folder, const std::string& target) {
        if (::fdatasync(fd.get()) != 0) {
            result = file_failure("cannot sync '" + path + "'", errno);
            return;
        }
        const std::string parent = target.substr(0, target.rfind('/'));
        if (::mkdir(parent.c_str(), 0700) == 0) {
            result = sync_folder(folder);
            if (!result) return;
        } else if (errno != EEXIST) {
            result = file_failure("cannot create '" + parent + "'", errno);
            return;
        }
        if (::rename(path.c_str(), target.c_str()) != 0) {
            result = file_failure("cannot rename to '" + target + "'", errno);
            return;
        }
        path.clear();
        result = sync_folder(parent);
    }
};

Pin::Pin(std::shared_ptr<Counts> counts, std::string sha256)
    : counts_(std::move(counts)), sha256_(std::move(sha256)) {
    ++(*counts_)[sha256_];
}

Pin& Pin::operator=(Pin&& other) noexcept {
    if (this != &other) {
        release();
        counts_ = std::move(other.counts_);
        sha256_ = std::move(other.sha256_);
    }
    return *this;
}

void Pin::release() {
    if (!counts_) return;
    const auto found = counts_->find(sha256_);
    if (--found->second == 0) counts_->erase(found);
    counts_.reset();
}

// Reads parts one after another. Small ones are gathered up to one piece, so that a blob of many
// small blocks costs few writes.
class PartsReader final : public http::BodyReader {
public:
    PartsReader(Contents& contents, std::vector<Part> parts, std::uint64_t offset,
                std::uint64_t length)
        : contents_(contents), parts_(std::move(parts)), offset_(offset), left_(length) {
        // Files are opened when their turn comes: until then what is being sent stays.
        for (const Part& part : parts_)
            if (!part.small()) pins_.emplace_back(contents.pins_, part.sha256);
    }

    Task<Result<std::string>> read() override {
        std::string gathered;
        while (left_ > 0 && gathered.size() < kPiece) {
            skip_to_part();
            if (at_ == parts_.size()) co_return internal("content is shorter than its blob");
            const Part& part = parts_[at_];
            std::uint64_t count = std::min(left_, part.size - offset_);
            if (part.small()) {
                auto bytes = contents_.small_bytes(part);
                if (!bytes) co_return Failure(std::move(bytes).error());
                gathered.append(*bytes, offset_, count);
            } else {
                if (!gathered.empty()) break;
                count = std::min<std::uint64_t>(count, kPiece);
                if (!source_) source_ = std::make_shared<Source>();
                struct Shared {
                    Result<std::string> bytes;
                };
                auto shared = std::make_shared<Shared>();
                std::function<void()> work = [shared, source = source_,
                                              path = contents_.file_of(part.sha256),
                                              offset = offset_, count] {
                    shared->bytes = source->read(path, offset, static_cast<std::size_t>(count));
                };
                co_await apart(contents_.loop_, std::move(work));
                if (!shared->bytes) co_return Failure(std::move(shared->bytes).error());
                gathered = std::move(*shared->bytes);
            }
            offset_ += count;
            left_ -= count;
        }
        co_return gathered;
    }

private:
    void skip_to_part() {
        while (at_ < parts_.size() && offset_ >= parts_[at_].size) {
            offset_ -= parts_[at_].size;
            ++at_;
            source_.reset();
        }
    }

    Contents& contents_;
    const std::vector<Part> parts_;
    std::vector<Pin> pins_;
    std::size_t at_ = 0;
    std::uint64_t offset_;  // in the part `at_`
    std::uint64_t left_;
    std::shared_ptr<Source> source_;
};

Result<void> Contents::open() {
    const std::string temporary = folder_ + "/tmp";
    for (const std::string& folder : {folder_, temporary})
        if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
            return file_failure("cannot create '" + folder + "'", errno);
    DIR* entries = ::opendir(temporary.c_str());
    if (!entries) return file_failure("cannot read '" + temporary + "'", errno);
    while (const dirent* entry = ::readdir(entries))
        if (entry->d_name[0] != '.') ::unlink((temporary + "/" + entry->d_name).c_str());
    ::closedir(entries);
    return {};
}

std::string Contents::file_of(std::string_view sha256) const {
    return folder_ + "/" + std::string(sha256.substr(0, 2)) + "/" + std::string(sha256);
}

Received Contents::of_bytes(std::string bytes) {
    Received content;
    content.part = {to_hex(sha256(bytes)), bytes.size()};
    content.bytes = std::move(bytes);
    content.pin = Pin(pins_, content.part.sha256);
    return content;
}

Received Contents::of_part(const Part& part) {
    return {part, "", Pin(pins_, part.sha256)};
}

Task<Result<Received>> Contents::receive(http::BodyReader& body) {
    std::string bytes;
    while (true) {
        auto piece = co_await body.read();
        if (!piece) co_return Failure(std::move(piece).error());
        if (piece->empty()) co_return of_bytes(std::move(bytes));
        if (bytes.empty())
            bytes = std::move(*piece);
        else
            bytes += *piece;
        if (bytes.size() > kSmall) break;
    }
    auto large = co_await receive_large(body, std::move(bytes));
    co_return std::move(large);
}

Task<Result<Received>> Contents::receive_large(http::BodyReader& body, std::string head) {
    auto sink = std::make_shared<Sink>(folder_ + "/tmp/" + std::to_string(++last_temporary_));
    std::uint64_t size = head.size();
    std::string next = std::move(head);
    bool ended = false;
    // While one piece is being written the next is being received: two pieces of memory, no more.
    std::optional<Later<bool>> writing;
    while (true) {
        while (!ended && next.size() < kPiece) {
            auto piece = co_await body.read();
            if (!piece) {
                if (writing) co_await *writing;
                co_return Failure(std::move(piece).error());
            }
            ended = piece->empty();
            size += piece->size();
            if (next.empty())
                next = std::move(*piece);
            else
                next += *piece;
        }
        if (writing) co_await *writing;
        writing.reset();
        if (!sink->result) co_return Failure(sink->result.error());
        if (next.empty()) break;
        sink->piece = std::exchange(next, {});
        writing.emplace();
        loop_.blocking([sink] { sink->write(); }, [settle = writing->settle()] { settle(true); });
    }
    auto kept = co_await keep(std::move(sink), size);
    co_return std::move(kept);
}

Task<Result<Received>> Contents::receive_file(std::string path) {
    auto sink = std::make_shared<Sink>(std::move(path));
    std::function<void()> work = [sink] { sink->adopt(); };
    co_await apart(loop_, std::move(work));
    if (!sink->result) co_return Failure(sink->result.error());
    if (sink->size <= kSmall) co_return of_bytes(std::move(sink->piece));
    const std::uint64_t size = sink->size;
    auto kept = co_await keep(std::move(sink), size);
    co_return std::move(kept);
}

Task<Result<Received>> Contents::keep(std::shared_ptr<Sink> sink, std::uint64_t size) {
    Received content;
    content.part = {to_hex(sink->hash.finish()), size};
    content.pin = Pin(pins_, content.part.sha256);
    while (true) {  // never while the same content is being deleted
        const auto found = collecting_.find(content.part.sha256);
        if (found == collecting_.end()) break;
        Later<bool> collected;
        found->second.push_back(collected.settle());
        co_await collected;
    }
    const auto known = referred(content.part.sha256);
    if (!known) co_return Failure(known.error());
    if (!*known) {
        std::function<void()> work = [sink, folder = folder_,
                                      target = file_of(content.part.sha256)] {
            sink->publish(folder, target);
        };
        co_await apart(loop_, std::move(work));
        if (!sink->result) co_return Failure(sink->result.error());
    } else {
        std::function<void()> work = [doomed = std::move(sink)]() mutable { doomed.reset(); };
        co_await apart(loop_, std::move(work));
    }
    co_return content;
}

Result<bool> Contents::referred(std::string_view sha256) {
    const auto found =
        TURNOUT_TRY(store_.scan(Table::BlobUse, with_prefix("r/" + std::string(sha256) + "/", 1)));
    return !found.empty();
}

Result<void> Contents::refer(Batch& batch, const Received& content, std::string_view referrer) {
    const Part& part = content.part;
    // Content that something refers to is there. Otherwise it may be there, held for a while, but
    // writing it again is cheaper than knowing.
    if (part.small() && content.bytes.size() == part.size && !TURNOUT_TRY(referred(part.sha256)))
        batch.put(Table::BlobData, part.sha256, content.bytes);
    batch.put(Table::BlobUse, reference_key(part.sha256, referrer), "");
    return {};
}

void Contents::release(Batch& batch, const Part& part, std::string_view referrer, Instant now) {
    batch.erase(Table::BlobUse, reference_key(part.sha256, referrer));
    batch.put(Table::BlobUse, "h/" + part.sha256, held_since(now, part.size));
}

std::unique_ptr<http::BodyReader> Contents::read(std::vector<Part> parts, std::uint64_t offset,
                                                 std::uint64_t length) {
    return std::make_unique<PartsReader>(*this, std::move(parts), offset, length);
}

Result<std::string> Contents::small_bytes(const Part& part) {
    if (part.size == 0) return std::string();
    auto record = TURNOUT_TRY(store_.get(Table::BlobData, part.sha256));
    if (!record || record->value.size() != part.size)
        return internal("content " + part.sha256 + " is missing from the store");
    return std::move(record->value);
}

Result<std::string> Contents::read_now(const std::vector<Part>& parts) {
    std::string bytes;
    for (const Part& part : parts) {
        if (part.small()) {
            bytes += TURNOUT_TRY(small_bytes(part));
        } else {
            Source source;
            bytes += TURNOUT_TRY(
                source.read(file_of(part.sha256), 0, static_cast<std::size_t>(part.size)));
        }
    }
    return bytes;
}

std::string Contents::identity(const std::vector<Part>& parts) {
    if (parts.size() == 1) return parts.front().sha256;
    std::string text = "parts\n";
    for (const Part& part : parts) text += part.sha256 + " " + std::to_string(part.size) + "\n";
    return to_hex(sha256(text));
}

Task<Result<Contents::Collected>> Contents::collect(Instant now, Span hold) {
    // One after another: what became free while an earlier one was under way is this one's.
    Turns::Turn turn(sweeps_, "");
    co_await turn;
    Collected collected;
    TURNOUT_CO_TRY_VOID(co_await hold_orphans(now));
    Range range = with_prefix("h/", 256);
    while (true) {
        TURNOUT_CO_TRY(const std::vector<Record> held, store_.scan(Table::BlobUse, range));
        if (held.empty()) co_return collected;
        for (const Record& record : held) {
            TURNOUT_CO_TRY(const std::uint64_t bytes, co_await collect_one(record, now - hold));
            if (bytes == 0) continue;
            ++collected.contents;
            collected.bytes += bytes;
        }
        range.from = held.back().key + '\0';
        std::function<void()> nothing = [] {};
        co_await apart(loop_, std::move(nothing));  // others have a turn
    }
}

Task<Result<void>> Contents::collect_now(std::vector<Part> parts) {
    for (const Part& part : parts) {
        TURNOUT_CO_TRY(const auto held, store_.get(Table::BlobUse, "h/" + part.sha256));
        if (!held) continue;
        TURNOUT_CO_TRY([[maybe_unused]] const std::uint64_t bytes,
                       co_await collect_one(*held, Instant{INT64_MAX}));
    }
    co_return {};
}

Result<std::size_t> Contents::references(std::string_view sha256, std::size_t limit) {
    return TURNOUT_TRY(
               store_.scan(Table::BlobUse, with_prefix("r/" + std::string(sha256) + "/", limit)))
        .size();
}

bool Contents::low_on_space() const {
    if (low_) return low_();
    struct statvfs space{};
    if (::statvfs(folder_.c_str(), &space) != 0) return false;
    const std::uint64_t free = std::uint64_t{space.f_bavail} * space.f_frsize;
    return free < std::min(kLowSpace, std::uint64_t{space.f_blocks} * space.f_frsize / 20);
}

// Deletes that content if nothing refers to it and it was held since before `before`. Returns its
// size if it was deleted.
Task<Result<std::uint64_t>> Contents::collect_one(Record held, Instant before) {
    const std::string sha256 = held.key.substr(2);
    const std::size_t space = held.value.find(' ');
    if (space != 16 || held.value.substr(0, 16) > hex16(static_cast<std::uint64_t>(before.micros)))
        co_return 0;
    if (pins_->contains(sha256)) co_return 0;       // the next sweep looks again
    if (collecting_.contains(sha256)) co_return 0;  // somebody does
    std::uint64_t size = 0;
    for (const char digit : std::string_view(held.value).substr(space + 1))
        size = size * 10 + static_cast<std::uint64_t>(digit - '0');
    TURNOUT_CO_TRY(const bool in_use, referred(sha256));

    Batch batch;
    batch.erase(Table::BlobUse, held.key, held.revision);
    if (in_use) {
        // Forget the old hold; a Conflict means that there is a new one, which is as well.
        auto committed = co_await store_.commit(std::move(batch));
        if (!committed && committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
        co_return 0;
    }
    collecting_.try_emplace(sha256);
    if (size <= kSmall) {
        batch.erase(Table::BlobData, sha256);
    } else {
        std::function<void()> work = [path = file_of(sha256)] { ::unlink(path.c_str()); };
        co_await apart(loop_, std::move(work));
    }
    auto committed = co_await store_.commit(std::move(batch));
    const auto waiting = std::move(collecting_.extract(sha256).mapped());
    for (const auto& settle : waiting) settle(true);
    if (!committed && committed.error().code == Code::Conflict) co_return 0;
    if (!committed) co_return Failure(std::move(committed).error());
    co_return std::max<std::uint64_t>(size, 1);
}

// Files whose batch never came (a crash in between) get a hold like any other.
Task<Result<void>> Contents::hold_orphans(Instant now) {
    struct Found {
        std::vector<std::pair<std::string, std::uint64_t>> files;
    };
    for (int i = 0; i < 256; ++i) {
        const std::string folder = folder_ + "/" + to_hex(std::string(1, static_cast<char>(i)));
        auto found = std::make_shared<Found>();
        std::function<void()> work = [found, folder] {
            DIR* entries = ::opendir(folder.c_str());
            if (!entries) return;
            while (const dirent* entry = ::readdir(entries)) {
                struct stat file{};
                const std::string name = entry->d_name;
                if (name.size() == 64 && ::stat((folder + "/" + name).c_str(), &file) == 0)
                    found->files.emplace_back(name, static_cast<std::uint64_t>(file.st_size));
            }
            ::closedir(entries);
        };
        co_await apart(loop_, std::move(work));
        Batch batch;
        for (const auto& [sha256, size] : found->files) {
            if (pins_->contains(sha256)) continue;
            TURNOUT_CO_TRY(const bool in_use, referred(sha256));
            if (in_use) continue;
            TURNOUT_CO_TRY(const auto held, store_.get(Table::BlobUse, "h/" + sha256));
            if (!held) batch.put(Table::BlobUse, "h/" + sha256, held_since(now, size), kAbsent);
        }
        if (batch.empty()) continue;
        auto committed = co_await store_.commit(std::move(batch));
        if (!committed && committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
    }
    co_return {};
}

}  // namespace turnout::blob
