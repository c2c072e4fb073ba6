#include "blob/record.h"

#include "base/json.h"
#include "base/text.h"

namespace turnout::blob {

std::string blob_key(std::string_view container, std::string_view name) {
    std::string key;
    key.reserve(container.size() + 1 + name.size());
    return key.append(container).append("/").append(name);
}

std::string to_text(const BlobRow& row) {
    Json json = Json::object({{"size", row.info.size},
                              {"sha256", row.info.sha256},
                              {"etag", row.info.etag},
                              {"type", row.info.content_type},
                              {"created", row.info.created.micros},
                              {"modified", row.info.modified.micros}});
    if (!row.info.owner.empty()) json.set("owner", row.info.owner);
    if (!row.info.metadata.empty()) {
        Json metadata = Json::object();
        for (const auto& [name, value] : row.info.metadata) metadata.set(name, value);
        json.set("metadata", std::move(metadata));
    }
    if (row.parts.size() != 1 || row.parts.front().sha256 != row.info.sha256) {
        Json parts = Json::array();
        for (const Part& part : row.parts) parts.push(Json::array({part.sha256, part.size}));
        json.set("parts", std::move(parts));
    }
    return json.dump();
}

Result<BlobRow> row_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    const std::size_t slash = record.key.find('/');
    if (slash == std::string::npos || !json.is_object())
        return internal("the row of blob '" + record.key + "' is damaged");
    BlobRow row;
    BlobInfo& info = row.info;
    info.container = record.key.substr(0, slash);
    info.name = record.key.substr(slash + 1);
    info.size = static_cast<std::uint64_t>(json.at("size").as_int());
    info.sha256 = json.at("sha256").as_string();
    info.etag = json.at("etag").as_string();
    info.content_type = json.at("type").as_string();
    info.owner = json.at("owner").as_string();
    info.created = {json.at("created").as_int()};
    info.modified = {json.at("modified").as_int()};
    for (const auto& [name, value] : json.at("metadata").members())
        info.metadata.emplace_back(name, value.as_string());
    if (const Json* parts = json.find("parts")) {
        for (const Json& part : parts->items()) {
            if (part.items().size() != 2)
                return internal("the row of blob '" + record.key + "' is damaged");
            row.parts.push_back({part.items()[0].as_string(),
                                 static_cast<std::uint64_t>(part.items()[1].as_int())});
        }
    } else {
        row.parts.push_back({info.sha256, info.size});
    }
    return row;
}

std::string blocks_of(std::string_view container, std::string_view name) {
    return blob_key(container, name) + "//";
}
std::string block_key(std::string_view container, std::string_view name,
                      std::string_view block_id) {
    return blocks_of(container, name) + to_hex(block_id);
}

std::string to_text(const BlockRow& row) {
    return Json::array({row.part.sha256, row.part.size, row.put.micros}).dump();
}

Result<BlockRow> block_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    if (json.items().size() != 3)
        return internal("the row of block '" + record.key + "' is damaged");
    return BlockRow{
        {json.items()[0].as_string(), static_cast<std::uint64_t>(json.items()[1].as_int())},
        {json.items()[2].as_int()}};
}

}  // namespace turnout::blob
