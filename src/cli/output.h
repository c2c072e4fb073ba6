// How results are shown: JSON, a table, tab-separated values or YAML.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace turnout::cli {

enum class Format { Json, Table, Tsv, Yaml, None };

Result<Format> parse_format(const std::string& text, bool terminal);

// `columns` of a table, when the command has a choice of its own; else all members that are scalars.
std::string format(const Json& value, Format format, const std::vector<std::string>& columns = {});

// "error: ..." with a hint where there is one.
std::string error_text(const Error& error);
int exit_code_of(Code code);

}  // namespace turnout::cli
