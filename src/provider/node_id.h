// The ids of nodes that others tell.
#pragma once

#include <string_view>

namespace turnout {

// A host, or a container's label, may say anything; a node's id is WORKSPACE/COMPUTE/node-N.
bool fits_as_node(std::string_view id);

}  // namespace turnout
