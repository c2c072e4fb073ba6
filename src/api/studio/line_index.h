// Where the lines of a log are: for each block of it how many lines end before that block, so that
// any line is found with one look at one block. Built as far as the log is when somebody asks, and
// carried on from there; pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace turnout::api::studio {

class LineIndex {
public:
    static constexpr std::uint64_t kBlock = 64 << 10;

    // The next bytes of the log.
    void add(std::string_view bytes);
    std::uint64_t length() const { return length_; }
    // That have ended, and one that has begun behind them.
    std::uint64_t lines() const { return ended_ + (open_ ? 1 : 0); }

    struct Place {
        std::uint64_t byte = 0;  // of a block
        std::uint64_t line = 0;  // how many lines have ended before it
    };
    // The last block that begins before line `line` (from 0) does, or with it.
    Place before_line(std::uint64_t line) const;
    // The block that holds this byte.
    Place before_byte(std::uint64_t byte) const;

private:
    std::uint64_t length_ = 0, ended_ = 0;
    bool open_ = false;  // the last byte ends no line
    std::vector<std::uint64_t> ended_before_;
};

}  // namespace turnout::api::studio
