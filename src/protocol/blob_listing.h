// The answer of Azure's "List Blobs", in XML: of our own server as its nodes read it, and of
// others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::protocol {

struct ListedBlob {
    std::string name;
    std::string etag;
    std::uint64_t size = 0;
};

struct BlobListing {
    std::vector<ListedBlob> blobs;  // in its order
    std::string next_marker;        // "" = the end
};

// InvalidArgument if it is no listing, or is not whole.
Result<BlobListing> parse_blob_listing(std::string_view xml);

// The text of the first element of that name, with its entities resolved; "" if there is none.
std::string xml_text(std::string_view xml, std::string_view element);

}  // namespace turnout::protocol
