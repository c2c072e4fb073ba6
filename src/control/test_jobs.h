// For tests that need a job in the store without Control.
#pragma once

#include "control/jobs.h"

namespace turnout {

inline void put_job(Batch& batch, JobRecord job, const agent_protocol::TaskSpec& task = {}) {
    SplitTask split = split_task(task, job.name);
    job.task_base = split.hash;
    job.task_own = std::move(split.own);
    const std::string key = job.workspace + "/" + job.name;
    batch.put(Table::TaskBase, job.workspace + "/" + split.hash, split.base);
    batch.put(Table::Job, key, definition_json(job).dump());
    batch.put(Table::JobState, key, state_text(job));
}

}  // namespace turnout
