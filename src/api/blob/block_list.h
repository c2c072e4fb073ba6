// The one XML document that a blob client sends: the list of blocks that make up a blob.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::api {

// <BlockList><Latest>base64</Latest><Uncommitted>base64</Uncommitted>…</BlockList>, as the ids'
// bytes. Anything else is InvalidArgument: no attributes, no entities, no DTD, no nesting.
// <Committed> is refused with a text of its own, since committed blocks are not kept apart here.
Result<std::vector<std::string>> parse_block_list(std::string_view xml);

}  // namespace turnout::api
