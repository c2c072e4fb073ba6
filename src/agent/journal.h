// An append-only file of lines, each with a checksum. What does not hold ends it when it is read.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/loop.h"
#include "io/posix/fd.h"

namespace turnout::agent {

class Journal {
public:
    // Opens or creates it; `lines` gets what it holds. A torn end is cut off.
    static Result<Journal> open(std::string path, std::vector<std::string>& lines);

    // In the file when this returns (it survives our death, not the machine's).
    Result<void> append(std::string_view line);
    // The same for several lines together: `add` each, then `flush`.
    void add(std::string_view line);
    Result<void> flush();
    // To the disk. Blocking; safe to call from another thread while lines are appended.
    Result<void> sync() const;
    // All lines replaced, by rename. If it fails, all is as before.
    Result<void> rewrite(const std::vector<std::string>& lines);
    std::size_t size() const { return size_; }

private:
    Journal(std::string path, Fd file, std::size_t size)
        : path_(std::move(path)), file_(std::move(file)), size_(size) {
        hold_room(0);
    }
    // Some of the disk, behind what is written, for the next lines: how tasks end must be written
    // down on a full disk, too.
    void hold_room(std::size_t more);

    std::string path_;
    Fd file_;
    std::size_t size_ = 0;
    std::size_t room_ = 0;  // how large it can become without asking the disk
    std::string added_;
};

// One line as it stands in the file, with its line break.
std::string journal_line(std::string_view line);

}  // namespace turnout::agent
