#include "agent/segments.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "agent/files.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

constexpr std::uint64_t kIndexEvery = 256 << 10;  // bytes of a segment
constexpr std::size_t kWindow = 64 << 10;
constexpr char kMagic[] = "TLOG";

std::string segment_path(const std::string& folder, std::uint32_t number) {
    char name[32];
    std::snprintf(name, sizeof name, "log-%08u.segment", number);
    return folder + "/" + name;
}

std::uint32_t oldest_after(const std::string& folder, std::uint32_t number) {
    std::uint32_t oldest = 0;
    DIR* entries = opendir(folder.c_str());
    if (!entries) return 0;
    while (const dirent* entry = readdir(entries)) {
        unsigned found = 0;
        if (std::sscanf(entry->d_name, "log-%8u.segment", &found) == 1 && found > number &&
            (oldest == 0 || found < oldest))
            oldest = found;
    }
    closedir(entries);
    return oldest;
}

template <class T>
T number_at(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

}  // namespace

void Segments::add(std::uint64_t serial, std::uint32_t first_segment,
                   std::uint64_t first_position) {
    auto& places = logs_[serial].places;
    if (places.empty()) places.push_back({0, first_segment, first_position});
}

void Segments::remove(std::uint64_t serial) {
    logs_.erase(serial);
    if (!logs_.empty()) return;
    file_.reset();  // a removed segment must not be kept alive by us
    open_ = 0;
}

int Segments::open_segment(std::uint32_t number) {
    if (open_ == number && file_) return file_.get();
    file_ = Fd(open(segment_path(folder_, number).c_str(), O_RDONLY | O_CLOEXEC));
    open_ = file_ ? number : 0;
    window_.clear();
    size_ = 0;
    return file_.get();
}

bool Segments::holds(std::uint64_t end) {
    if (end <= size_) return true;
    struct stat st;
    size_ = fstat(file_.get(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
    return end <= size_;
}

bool Segments::next(Place& place, Record& record) {
    for (;;) {
        int fd = open_segment(place.segment);
        if (fd >= 0) {
            if (place.position < window_at_ || place.position + 32 > window_at_ + window_.size()) {
                window_.resize(kWindow);
                ssize_t n = pread(fd, window_.data(), kWindow, static_cast<off_t>(place.position));
                window_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
                window_at_ = place.position;
            }
            const char* head = window_.data() + (place.position - window_at_);
            if (place.position + 32 <= window_at_ + window_.size() &&
                !std::memcmp(head, kMagic, 4)) {
                record.size = number_at<std::uint32_t>(head + 4);
                record.serial = number_at<std::uint64_t>(head + 8);
                record.offset = number_at<std::uint64_t>(head + 16);
                record.position = place.position + 32;
                if (holds(record.position + record.size)) {
                    ++looked_at_;
                    place.position = record.position + record.size;
                    return true;
                }
            }
        }
        // The end of this segment, for good only if there is a later one.
        window_.clear();
        std::uint32_t later = place.segment + 1;
        bool found = exists(segment_path(folder_, later));
        // Segments that nobody needed any more were removed: go on with the oldest that is there.
        if (!found && fd < 0) found = (later = oldest_after(folder_, place.segment)) != 0;
        if (!found) return false;
        place.segment = later;
        place.position = 0;
    }
}

bool Segments::take(std::uint64_t position, std::size_t size, std::string& bytes) {
    if (position >= window_at_ && position < window_at_ + window_.size()) {
        const std::size_t at = static_cast<std::size_t>(position - window_at_),
                          here = std::min(size, window_.size() - at);
        bytes.append(window_, at, here);
        position += here;
        size -= here;
    }
    if (size == 0) return true;
    const std::size_t old = bytes.size();
    bytes.resize(old + size);
    const ssize_t n = pread(file_.get(), bytes.data() + old, size, static_cast<off_t>(position));
    bytes.resize(old + static_cast<std::size_t>(std::max<ssize_t>(0, n)));
    return n == static_cast<ssize_t>(size);
}

Result<std::string> Segments::read(std::uint64_t serial, std::uint64_t offset, std::size_t length) {
    auto found = logs_.find(serial);
    if (found == logs_.end()) return not_found("the log of a task that is not known");
    auto& [places, reached] = found->second;
    auto after =
        std::upper_bound(places.begin(), places.end(), offset,
                         [](std::uint64_t wanted, const Place& p) { return wanted < p.offset; });
    Place place = after == places.begin() ? places.front() : *std::prev(after);
    if (reached && reached->offset <= offset && reached->offset >= place.offset) place = *reached;
    window_.clear();  // the file may have grown since, or its torn end may have been cut off
    size_ = 0;
    std::string bytes;
    Record record;
    while (bytes.size() < length) {
        if (!next(place, record)) {
            // The next record of this task comes behind here.
            if (!bytes.empty())
                reached = Place{offset + bytes.size(), place.segment, place.position};
            break;
        }
        if (record.serial != serial) continue;
        const Place here{record.offset, place.segment, record.position - 32};
        const Place& last = places.back();
        if (here.offset > last.offset &&
            (here.segment > last.segment || here.position >= last.position + kIndexEvery))
            places.push_back(here);
        std::uint64_t wanted = offset + bytes.size();
        if (record.offset + record.size <= wanted) continue;
        if (record.offset > wanted) break;  // a hole: never written
        const std::size_t skip = static_cast<std::size_t>(wanted - record.offset);
        if (!take(record.position + skip,
                  std::min<std::size_t>(record.size - skip, length - bytes.size()), bytes))
            break;
        reached = here;
    }
    return bytes;
}

std::uint32_t Segments::segment_of(std::uint64_t serial, std::uint64_t offset) const {
    auto found = logs_.find(serial);
    if (found == logs_.end()) return 0;
    std::uint32_t segment = 0;
    for (const auto& place : found->second.places)
        if (place.offset <= offset) segment = place.segment;
    return segment;
}

std::vector<std::string> Segments::last_lines(std::uint64_t serial, std::uint64_t length,
                                              std::size_t count) {
    std::uint64_t from = length > (32 << 10) ? length - (32 << 10) : 0;
    auto bytes = read(serial, from, static_cast<std::size_t>(length - from));
    std::vector<std::string> lines;
    if (!bytes) return lines;
    std::string_view rest = *bytes;
    if (rest.ends_with('\n')) rest.remove_suffix(1);
    while (!rest.empty() && lines.size() < count) {
        auto cut = rest.rfind('\n');
        std::string_view line = cut == std::string_view::npos ? rest : rest.substr(cut + 1);
        // A progress bar rewrites its line; what was last on it counts.
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (auto back = line.rfind('\r'); back != std::string_view::npos)
            line = line.substr(back + 1);
        lines.emplace_back(line.substr(0, 2000));
        if (cut == std::string_view::npos) break;
        rest = rest.substr(0, cut);
    }
    std::reverse(lines.begin(), lines.end());
    return lines;
}

}  // namespace turnout::agent
