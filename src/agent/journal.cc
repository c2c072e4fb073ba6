#include "agent/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "agent/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kMaxFile = std::size_t{1} << 30;
constexpr std::size_t kSum = 8;
constexpr std::size_t kAhead = 256 << 10;

std::string sum_of(std::string_view line) {
    return to_hex(sha256(line)).substr(0, kSum);
}

}  // namespace

std::string journal_line(std::string_view line) {
    return sum_of(line) + " " + std::string(line) + "\n";
}

Result<Journal> Journal::open(std::string path, std::vector<std::string>& lines) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!file) return failed("opening", path);
    std::string bytes = TURNOUT_TRY(read_file(path, kMaxFile));
    std::size_t at = 0;
    while (at < bytes.size()) {
        std::size_t end = bytes.find('\n', at);
        if (end == std::string::npos || end - at < kSum + 1) break;
        std::string_view line = std::string_view(bytes).substr(at + kSum + 1, end - at - kSum - 1);
        if (std::string_view(bytes).substr(at, kSum) != sum_of(line)) break;
        lines.emplace_back(line);
        at = end + 1;
    }
    if (at < bytes.size() && ftruncate(file.get(), static_cast<off_t>(at)) != 0)
        return failed("repairing", path);
    return Journal(std::move(path), std::move(file), at);
}

Result<void> Journal::append(std::string_view line) {
    add(line);
    return flush();
}

void Journal::add(std::string_view line) {
    added_ += journal_line(line);
}

Result<void> Journal::flush() {
    if (added_.empty()) return {};
    std::string bytes = std::exchange(added_, {});
    hold_room(bytes.size());
    auto written = write_all(file_.get(), bytes, path_);
    if (!written) {
        room_ = 0;
        // A torn line would hide those behind it.
        if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0)
            return failed("repairing", path_);
        return written;
    }
    size_ += bytes.size();
    return {};
}

void Journal::hold_room(std::size_t more) {
    if (size_ + more + kAhead / 4 <= room_) return;
    // Where that cannot be done the lines find room by themselves, or do not.
    if (::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, 0,
                    static_cast<off_t>(size_ + more + kAhead)) == 0)
        room_ = size_ + more + kAhead;
}

Result<void> Journal::sync() const {
    if (fdatasync(file_.get()) != 0) return failed("syncing", path_);
    return {};
}

Result<void> Journal::rewrite(const std::vector<std::string>& lines) {
    std::string bytes;
    for (const auto& line : lines) bytes += journal_line(line);
    const std::string beside = path_ + ".new";
    // The descriptor that writes it stays: after the rename nothing may fail, or what is appended
    // would go into a file without a name.
    Fd file(::open(beside.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
    if (!file) return failed("opening", beside);
    // Before the old one goes: the new one has room for the next lines, too.
    const bool room = ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0,
                                  static_cast<off_t>(bytes.size() + kAhead)) == 0;
    if (auto written = write_all(file.get(), bytes, beside); !written) {
        unlink(beside.c_str());
        return written;
    }
    if (rename(beside.c_str(), path_.c_str()) != 0) {
        const Failure failure = failed("renaming", beside);
        unlink(beside.c_str());
        return failure;
    }
    file_ = std::move(file);
    size_ = bytes.size();
    added_.clear();
    room_ = room ? size_ + kAhead : 0;
    return {};
}

}  // namespace turnout::agent
