// Reads a tar stream (ustar, with GNU and pax long names) into a folder. Only files and folders;
// links, devices and names that would leave the folder are refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout::agent {

class TarReader {
public:
    explicit TarReader(int folder) : folder_(folder) {}  // borrowed, open as long as this lives
    // The next bytes of the stream, any size.
    Result<void> feed(std::string_view bytes);
    // At the end of the stream: an error if it was cut short.
    Result<void> finish() const;
    std::uint64_t files() const { return files_; }
    std::uint64_t bytes() const { return bytes_; }

private:
    Result<void> header(std::string_view block);
    Result<void> meta_done();

    enum class In { Header, File, Meta, Skip } in_ = In::Header;
    int folder_;
    std::string block_;       // a header not yet complete
    std::uint64_t left_ = 0;  // bytes of the current entry
    std::uint64_t padding_ = 0;
    Fd file_;
    std::string meta_;  // content of a long-name or pax entry
    char meta_type_ = 0;
    std::string next_name_;  // from such an entry
    std::uint64_t next_size_ = 0;
    bool has_next_size_ = false;
    bool ended_ = false;
    std::uint64_t files_ = 0, bytes_ = 0;
};

}  // namespace turnout::agent
