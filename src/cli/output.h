// How results are shown: JSON, a table, tab-separated values or YAML.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "cli/screen.h"

namespace turnout::cli {

enum class Format { Json, Table, Tsv, Yaml, None };

Result<Format> parse_format(const std::string& text, bool terminal);

// `columns` of a table, when the command has a choice of its own, the dispensable ones last; else
// all members that are scalars. On a screen a table fits: columns with nothing in them are left
// out, wide ones are cut but for the first, and the last ones go where that is not enough.
std::string format(const Json& value, Format format, const std::vector<std::string>& columns = {},
                   Screen screen = {});

// Writes to standard output, at once. If nobody reads it any more (`turnout job list | head`), the
// command is over: the process ends with 141, as a shell reports of the programs that SIGPIPE ends.
// What cannot be written otherwise (a full disk) is told, and the process ends with 1.
void print(std::string_view text);
// The same end for a command that waits and has nothing to write: only if nobody reads any more.
void end_if_nobody_reads();

// Nothing from a server may steer the terminal: one line, without control characters.
std::string harmless(std::string_view text);
// The same of each line.
std::string harmless_lines(std::string_view text);
// An ISO 8601 time as every screen, page and log tells it: "2026-11-22 12:56:34 UTC"; else the text
// itself.
std::string utc_time(const std::string& iso);
// "12 s", "3 min", "5 h", "2 d": how old something is, to the nearest below.
std::string age_words(Span span);

// "error: ..." with a hint where there is one.
std::string error_text(const Error& error);
int exit_code_of(Code code);

}  // namespace turnout::cli
