// The rows of Table::Blob and Table::BlobBlock.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blob/blobs.h"
#include "blob/content.h"

namespace turnout::blob {

struct BlobRow {
    BlobInfo info;
    std::vector<Part> parts;  // never empty; more than one for what was uploaded in blocks
};

std::string blob_key(std::string_view container, std::string_view name);
std::string to_text(const BlobRow& row);
// Container and name come from the key.
Result<BlobRow> row_from(const Record& record);

struct BlockRow {
    Part part;
    Instant put{};
};
// All blocks of a blob begin with "{container}/{name}//": no name has an empty part.
std::string blocks_of(std::string_view container, std::string_view name);
std::string block_key(std::string_view container, std::string_view name, std::string_view block_id);
std::string to_text(const BlockRow& row);
Result<BlockRow> block_from(const Record& record);

}  // namespace turnout::blob
