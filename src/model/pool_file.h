// A pools.yaml, changed as a person would change it: the lines that are there stay as they are, in
// their order, with their comments. What cannot be done so is refused, and nothing is guessed: the
// new text is read again and must say what was meant.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout {

// With that pool behind the others. `pool` is what stands beneath its name, as the file spells it.
// The same text if it says that already; Conflict: it says another thing of a pool of that name.
// InvalidArgument, with its place: it is no file of pools, or is written in a way that this does
// not change (all pools on one line).
Result<std::string> with_pool(std::string_view text, const std::string& file,
                              const std::string& name, const Json& pool);

// Without that pool: its lines go, with the comments among and behind them that are further in than
// its name. What stands above it stays. NotFound: it is not there.
Result<std::string> without_pool(std::string_view text, const std::string& file,
                                 const std::string& name);

}  // namespace turnout
