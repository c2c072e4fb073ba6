// What Docker's API speaks besides JSON documents: archives of files that go into a container, the
// frames of what runs in it, and the progress of a pull. Pure: bytes in, values out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout {

// A ustar archive of folders and files, all held in memory.
class Archive {
public:
    // Paths are relative, without links.
    void folder(std::string_view path, std::uint32_t owner, unsigned mode);
    void file(std::string_view path, std::uint32_t owner, unsigned mode, std::string_view bytes);
    // With the two empty blocks at its end; nothing more can be added.
    std::string take();

private:
    void head(std::string_view path, std::uint32_t owner, unsigned mode, std::uint64_t size,
              char type);
    std::string bytes_;
};

// What a program without a terminal says, as the engine tells it: frames of a header of 8 bytes
// (which stream, three zeros, the length with the high byte first) and that many bytes.
class ExecFrames {
public:
    // InvalidArgument: those are no frames.
    Result<void> give(std::string_view bytes);
    std::string take_output();  // since the last call
    // The end of what it said on its error output, for people.
    const std::string& last_words() const { return error_; }
    // The stream may end here: no frame is cut.
    bool whole() const { return header_.empty() && left_ == 0; }

private:
    std::string header_, output_, error_;
    std::uint32_t left_ = 0;
    int stream_ = 0;
};

// Whether a build that failed so may go well another time: what could not be reached may be reached
// later, a step that failed fails again, whatever words its command has.
bool is_passing_failure(std::string_view why);

// A program's words for a page: without what colours them or moves a cursor.
std::string plain_log(std::string_view text);

// The lines of JSON that an engine says while it pulls or builds an image.
class EngineProgress {
public:
    // InvalidArgument: the engine speaks something else. What the engine says that went wrong is
    // kept: `failed`.
    Result<void> give(std::string_view bytes);
    const std::optional<std::string>& failed() const { return failed_; }
    // "12 MB of 50 MB", or what it does if no sizes are told; of a build its step.
    std::string words() const;
    // The end of what the steps of a build said.
    const std::string& log() const { return log_; }

private:
    Result<void> line(std::string_view text);
    struct Layer {
        std::int64_t done = 0, all = 0;
    };
    std::string partial_;
    std::map<std::string, Layer> layers_;
    std::string status_, log_;
    bool builds_ = false;
    std::optional<std::string> failed_;
};

}  // namespace turnout
