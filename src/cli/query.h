// `--query`: the usual part of JMESPath. Fields, quoted fields, [N], [-N], [*], [], slices [a:b:c],
// .*, pipes, {a: x, b: y} and [x, y] multiselects, filters [?a=='b' && …] with == != < <= > >= ! ||
// and parentheses, literals, @, and the functions length, keys, values, contains, starts_with,
// ends_with, sort, sort_by, reverse, join, to_string, to_number, max, min, sum, not_null. Anything
// else is refused by name.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout::cli {

Result<Json> query(std::string_view expression, const Json& document);

}  // namespace turnout::cli
