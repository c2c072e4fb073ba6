// What control does for each kind of job: a row each.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "control/jobs.h"
#include "model/group.h"
#include "model/job_kind.h"

namespace turnout::control {

struct KindRow {
    JobType type;
    // In which two parts the task of such a job is kept.
    SplitTask (*split)(const agent_protocol::TaskSpec& task, std::string_view job);
    // Of a group: what it will do, by its definition; an error ends the job. Null of others.
    Result<std::unique_ptr<GroupPlan>> (*plan)(const GroupSaid& said,
                                               std::string_view name) = nullptr;
};

struct KindTable {
    std::array<KindRow, kJobTypeCount> rows;

    const KindRow& of(JobType type) const { return row_of(rows, type); }
};

extern const KindTable kKinds;

}  // namespace turnout::control
