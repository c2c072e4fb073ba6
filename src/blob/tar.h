// All blobs beneath a prefix as one tar stream (ustar, with pax headers where a name or a size does
// not fit): how a node gets a snapshot in one request.
#pragma once

#include <memory>
#include <string>

#include "blob/blobs.h"

namespace turnout::blob {

// Names are relative to `prefix` (taken as a folder, with or without its "/"). Files are 0755,
// since blobs have no modes and snapshots contain scripts. Ends with an error, that is without the
// two empty blocks that end an archive, if a blob changes meanwhile. `blobs` outlives it.
std::unique_ptr<http::BodyReader> tar_of(Blobs& blobs, std::string container, std::string prefix);

}  // namespace turnout::blob
