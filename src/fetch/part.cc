#include "fetch/part.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "base/json.h"
#include "io/apart.h"
#include "io/posix/fd.h"
#include "io/posix/files.h"

namespace turnout::fetch {
namespace {

constexpr std::uint64_t kSyncEvery = 64 << 20;

}  // namespace

// Touched by one thread at a time: whoever asks waits for the answer.
struct Part::State {
    Loop& loop;
    std::string path;
    Fd file{};
    std::string etag{};
    std::uint64_t size = 0;
    std::uint64_t durable = 0;

    std::string facts() const { return path + ".json"; }

    Result<void> open() {
        file = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!file) return file_failure("cannot open", path, errno);
        struct stat st{};
        if (::fstat(file.get(), &st) != 0) return file_failure("cannot look at", path, errno);
        const auto text = read_file(facts(), 64 << 10);
        const auto json = text ? parse_json(*text) : Result<Json>(Json());
        if (json && json->is_object()) {
            etag = json->at("etag").as_string();
            durable = static_cast<std::uint64_t>(json->at("durable").as_int());
        }
        if (etag.empty() || durable > static_cast<std::uint64_t>(st.st_size)) durable = 0;
        // What was written later may be missing after a power cut.
        return cut(durable);
    }
    Result<void> cut(std::uint64_t to) {
        if (::ftruncate(file.get(), static_cast<off_t>(to)) != 0 ||
            ::lseek(file.get(), static_cast<off_t>(to), SEEK_SET) < 0)
            return file_failure("cannot cut", path, errno);
        size = durable = to;
        return {};
    }
    Result<void> note() {
        return write_file_atomically(
            facts(),
            Json::object({{"etag", etag}, {"durable", static_cast<std::int64_t>(durable)}}).dump(),
            0600);
    }
    Result<void> begin(std::string version) {
        TURNOUT_TRY(cut(0));
        etag = std::move(version);
        // What was known of it goes; what it is now is written down with the first bytes that last.
        if (::unlink(facts().c_str()) != 0)
            return errno == ENOENT ? Result<void>() : file_failure("cannot remove", facts(), errno);
        return sync_directory(path.substr(0, path.rfind('/')));
    }
    Result<void> append(const std::string& bytes) {
        TURNOUT_TRY(write_all(file.get(), bytes, path));
        size += bytes.size();
        return size - durable >= kSyncEvery ? sync() : Result<void>();
    }
    Result<void> sync() {
        if (size == durable) return {};
        if (::fdatasync(file.get()) != 0) return file_failure("cannot sync", path, errno);
        durable = size;
        return note();
    }
};

Part::Part(std::unique_ptr<State> state) : state_(std::move(state)) {}
Part::~Part() = default;

const std::string& Part::path() const {
    return state_->path;
}
std::uint64_t Part::size() const {
    return state_->size;
}
const std::string& Part::etag() const {
    return state_->etag;
}

Task<Result<std::shared_ptr<Part>>> Part::open(Loop& loop, std::string path) {
    auto part = std::make_shared<Part>(
        std::make_unique<State>(State{.loop = loop, .path = std::move(path)}));
    std::function<Result<void>()> work = [part] { return part->state_->open(); };
    TURNOUT_CO_TRY_VOID(co_await apart(loop, std::move(work)));
    co_return part;
}

Task<Result<void>> Part::begin(std::shared_ptr<Part> part, std::string etag) {
    std::function<Result<void>()> work = [part, etag = std::move(etag)] {
        return part->state_->begin(etag);
    };
    co_return co_await apart(part->state_->loop, std::move(work));
}

Task<Result<void>> Part::append(std::shared_ptr<Part> part, std::string bytes) {
    std::function<Result<void>()> work = [part, bytes = std::move(bytes)] {
        return part->state_->append(bytes);
    };
    co_return co_await apart(part->state_->loop, std::move(work));
}

Task<Result<void>> Part::sync(std::shared_ptr<Part> part) {
    std::function<Result<void>()> work = [part] { return part->state_->sync(); };
    co_return co_await apart(part->state_->loop, std::move(work));
}

Task<void> Part::remove(std::shared_ptr<Part> part) {
    std::function<Result<void>()> work = [part] {
        (void)::unlink(part->state_->path.c_str());
        (void)::unlink(part->state_->facts().c_str());
        return Result<void>();
    };
    (void)co_await apart(part->state_->loop, std::move(work));
}

}  // namespace turnout::fetch
