#include "model/author.h"

namespace turnout {
namespace {

Json author_json(const Author& author) {
    if (author.job.empty()) return author.user;
    return Json::object({{"user", author.user}, {"job", author.job}});
}

Author author_from(const Json& json) {
    if (json.is_object()) return {json.at("user").as_string(), json.at("job").as_string()};
    return {json.as_string()};
}

}  // namespace

void put_authorship(Json& row, const Authorship& made) {
    if (made.created != Author{}) row.set("createdBy", author_json(made.created));
    if (made.modified != Author{} && made.modified != made.created)
        row.set("modifiedBy", author_json(made.modified));
}

Authorship authorship_of(const Json& row) {
    Authorship made;
    made.created = author_from(row.at("createdBy"));
    made.modified = row.has("modifiedBy") ? author_from(row.at("modifiedBy")) : made.created;
    return made;
}

}  // namespace turnout
