// Reads the supervisor's log segments (format: supervisor/README.md): the bytes of one task's log
// at any offset. Keeps a sparse index, so that hours of backlog cost little memory.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout::agent {

class Segments {
public:
    explicit Segments(std::string folder) : folder_(std::move(folder)) {}

    // A task of the supervisor and where its log begins. Known ones are left as they are.
    void add(std::uint64_t serial, std::uint32_t first_segment, std::uint64_t first_position);
    void remove(std::uint64_t serial);
    // Bytes [offset, offset + length) of that task's log; fewer if they are not there (yet).
    Result<std::string> read(std::uint64_t serial, std::uint64_t offset, std::size_t length);
    // The segment that holds `offset`: what the task still needs once all before it is shipped.
    std::uint32_t segment_of(std::uint64_t serial, std::uint64_t offset) const;
    // The last lines of a log of that length, at most `count`, cut to a sensible length.
    std::vector<std::string> last_lines(std::uint64_t serial, std::uint64_t length,
                                        std::size_t count);
    // How many records were looked at so far: what reading has cost.
    std::uint64_t looked_at() const { return looked_at_; }

private:
    struct Place {  // a record's header, and which offset of the task's log it begins with
        std::uint64_t offset = 0;
        std::uint32_t segment = 0;
        std::uint64_t position = 0;
    };
    struct Record {
        std::uint64_t serial = 0, offset = 0, position = 0;  // position of the bytes
        std::uint32_t size = 0;
    };
    struct Log {
        std::vector<Place> places;  // sorted by offset
        std::optional<Place>
            reached;  // where the last reader stopped: the next one mostly goes on there
    };
    // The record at `place`, going on to later segments at the end of one. False at the end.
    bool next(Place& place, Record& record);
    int open_segment(std::uint32_t number);
    // Whether the open segment has bytes up to there.
    bool holds(std::uint64_t end);
    // Adds bytes of the open segment; false if they are not all there.
    bool take(std::uint64_t position, std::size_t size, std::string& bytes);

    std::string folder_;
    std::map<std::uint64_t, Log> logs_;  // by serial
    Fd file_;
    std::uint32_t open_ = 0;
    std::uint64_t size_ = 0;  // of `file_`, at least
    std::string window_;      // bytes read ahead of `file_`
    std::uint64_t window_at_ = 0;
    std::uint64_t looked_at_ = 0;
};

}  // namespace turnout::agent
