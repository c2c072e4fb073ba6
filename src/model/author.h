// Who made something, and who changed it last. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace turnout {

// A user, and the job by whose token it was done, if not by their own.
struct Author {
    std::string user = {};  // "" = not known
    std::string job = {};
    bool operator==(const Author&) const = default;
};

// The default of functions that take one: g++ 12 frees twice what is made in braces beside a
// co_await.
inline const Author kNobodyKnown;

struct Authorship {
    Author created, modified;
    bool operator==(const Authorship&) const = default;
};

// As members of a row: "createdBy" and "modifiedBy", a text, or {"user", "job"}. Rows of builds
// that did not know it have none: they are read as nobody's.
void put_authorship(Json& row, const Authorship& made);
Authorship authorship_of(const Json& row);

}  // namespace turnout
