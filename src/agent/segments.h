// Reads the supervisor's log segments (format: supervisor/README.md): the bytes of one task's log
// at any offset. Keeps a sparse index, so that hours of backlog cost little memory.
#pragma once

#include <cstdint>
#include <map>
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
    std::vector<std::string> last_lines(std::uint64_t serial, std::uint64_t length, std::size_t count);

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
    // The record at `place`, going on to later segments at the end of one. False at the end.
    bool next(Place& place, Record& record);
    int open_segment(std::uint32_t number);

    std::string folder_;
    std::map<std::uint64_t, std::vector<Place>> places_;  // by serial; sorted by offset
    Fd file_;
    std::uint32_t open_ = 0;
    std::string window_;  // bytes read ahead of `file_`, for headers
    std::uint64_t window_at_ = 0;
};

}  // namespace turnout::agent
