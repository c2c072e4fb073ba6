// The kinds of jobs there are: one row each, in the table of job_kind.cc. What is done for a kind
// stands in rows of the tables of those who do it (control/job_kinds.cc, and the API's): nobody
// else asks which kind a job is of, only what such a job is or has.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "base/result.h"

namespace turnout {

// Tables have a row for each, in this order. Rows of the store that name no type are of the first.
enum class JobType { Command, Sweep, Pipeline, AutoML };
inline constexpr std::size_t kJobTypeCount = 4;
inline constexpr JobType kFirstJobType{};

struct JobKind {
    JobType type;
    std::string_view name;      // as on the wire, in `jobType`
    std::string_view noun;      // what people call such a job
    std::string_view run_type;  // what the run history calls it
    // The log that is there from the first, of a job of one process; of a group what the server
    // says of it.
    std::string_view default_log;
    // Its work is done by its children, which are jobs: it has no task, no attempt and no node of
    // its own, and its children are listed with it.
    bool group = false;
    std::string_view child = {};  // of a group: what people call one of its children
    // Of a group: a tag by which its best child is told beside the properties; "" = none.
    std::string_view best_tag = {};
    // Properties that are the server's to write, beside all of "turnout.".
    std::array<std::string_view, 4> own_properties = {};
};

extern const std::array<JobKind, kJobTypeCount> kJobKinds;

// A table with a row for each kind, `type` in it, and all of them in order: for static_assert.
template <class Table>
constexpr bool is_table_of_kinds(const Table& table) {
    if (table.size() != kJobTypeCount) return false;
    for (std::size_t i = 0; i < table.size(); ++i)
        if (table[i].type != static_cast<JobType>(i)) return false;
    return true;
}
// Its row in such a table.
template <class Table>
constexpr const auto& row_of(const Table& table, JobType type) {
    return table[static_cast<std::size_t>(type)];
}

inline const JobKind& kind_of(JobType type) {
    return row_of(kJobKinds, type);
}
// As clients write it, capitals or not; nullptr: there is no such kind.
const JobKind* find_job_kind(std::string_view name);

inline std::string_view name_of(JobType type) {
    return kind_of(type).name;
}
Result<JobType> parse_job_type(std::string_view text);  // exactly as on the wire

}  // namespace turnout
