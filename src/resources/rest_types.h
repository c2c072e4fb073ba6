// What a client sent in JSON, held against the types that its description gives.
#pragma once

#include <string>
#include <vector>

#include "resources/describe.h"

namespace turnout::resources {

struct WrongType {
    std::string place;  // below "properties": "resources.instanceCount"
    std::string wanted;
    const Json* found;  // a part of the document
};

// The members of a REST document's "properties" that have another type than their description
// says. Absent and null is always right, what no description names is the client's own, and a
// `Special` has no type that could be told from here.
std::vector<WrongType> wrong_types(const Description& description, const Json& properties);

}  // namespace turnout::resources
