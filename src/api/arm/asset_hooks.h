// What the routes of documents (assets.cc) ask about the kind of one.
#pragma once

#include <string>

#include "api/arm/resource.h"
#include "resources/documents.h"

namespace turnout::api::arm {

// Whether a new version may be so: by its description, by the place that it points at, by what is
// particular to its kind. Brings it into the form in which it is kept.
Result<void> check_definition(Services& services, const Workspace& workspace,
                              const resources::DocumentKind& kind, const std::string& name,
                              Json& properties);

// Adds what the server says to the properties of an answer.
void complete(const Call& call, const resources::DocumentKind& kind, Json& properties);

}  // namespace turnout::api::arm
