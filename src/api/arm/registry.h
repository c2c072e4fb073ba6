// Curated environments as ARM shows them, in the registry and in every workspace.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "environment/curated.h"

namespace turnout::api::arm {

// `id`: of the container; `type`: of it, such as "workspaces/environments".
Json curated_container_body(const environment::Curated& curated, const std::string& id,
                            std::string_view type);
Json curated_version_body(const environment::Curated& curated, int version, const std::string& id,
                          std::string_view type);

}  // namespace turnout::api::arm
