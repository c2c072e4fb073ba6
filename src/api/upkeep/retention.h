// What the server removes by itself: `retention.yaml` in its data folder, read anew whenever it is
// applied or shown. What it does not name stays as it is by default: nothing that somebody made
// goes unasked, and what nodes keep for later has bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"

namespace turnout::api::upkeep {

struct Limits {
    std::optional<Span> max_age;             // unused, or over, for so long
    std::optional<std::uint64_t> max_count;  // of one workspace
    std::optional<std::uint64_t> max_size;   // bytes
};

struct Retention {
    Limits jobs;          // that have ended: max_age, max_count
    Limits logs;          // of jobs that have ended: max_age
    Limits events;        // max_age
    Limits audit;         // max_age
    Limits data;          // uploads and code that nothing names: max_age, max_size
    Limits inputs;        // kept on nodes: max_age, max_size
    Limits environments;  // likewise
    Limits caches;        // likewise
    std::string file;     // as it was named

    const Limits& of(std::string_view kind) const;
    Json to_json() const;  // {"jobs": {"max_age": "90d"}, …}; what has no limit is not there
};

// Without a text the default. `disk`: bytes, of which a size may be a share ("20%"). Errors name
// place, value and what is expected.
Result<Retention> parse_retention(const std::optional<std::string>& text, std::string file,
                                  std::uint64_t disk);
// "90d", "36h": the largest unit that says it exactly.
std::string age_text(Span age);

}  // namespace turnout::api::upkeep
