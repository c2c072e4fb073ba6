// The portal as it is carried inside the executable: one image with all files of it, which
// portal/pack.mjs writes and nothing changes.
//
//   turnout-portal 1\n
//   {path}\t{media type}\t{SHA-256, hex}\t{gzip or plain}\t{bytes here}\n     one for each file
//   \n
//   the files' bytes, one after the other
//
// An empty image is a build without the portal.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout::api::studio {

struct PackedFile {
    std::string_view type;   // "text/javascript; charset=utf-8"
    std::string_view hash;   // of what it is when it is unpacked
    bool gzip = false;       // else as it is
    std::string_view bytes;  // in the image, which outlives this
};

class Pack {
public:
    Pack() = default;  // no portal
    // InvalidArgument, with the line, for what is no such image.
    static Result<Pack> parse(std::string_view image);

    bool empty() const { return files_.empty(); }
    std::size_t bytes() const { return bytes_; }
    // nullptr: there is none of that name.
    const PackedFile* find(std::string_view path) const;
    // The page that all others are in; of a pack that is not empty.
    const PackedFile& index() const;

private:
    std::map<std::string, PackedFile, std::less<>> files_;
    std::size_t bytes_ = 0;
};

}  // namespace turnout::api::studio
