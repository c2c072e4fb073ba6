// What run history, MLflow and the studio page have in common: a job and its run, seen as a run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api.h"
#include "base/json.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "tracking/tracking.h"

namespace turnout::api {

using Answer = Task<Result<http::Response>>;

// Adds a row whose action is a coroutine function `Answer f(Services&, Call&)`.
inline void add_row(Router& router, Services& services, std::string method, std::string pattern,
                    Access access, Answer (*action)(Services&, Call&)) {
    router.add(std::move(method), std::move(pattern), access,
               [&services, action](Call& call) { return action(services, call); });
}

// The workspace that the path names; without {ws} in it the first one there is.
Result<Workspace> workspace_of_run(Services& services, const Call& call);

Result<std::optional<JobRecord>> load_job(Store& store, std::string_view wsid,
                                          std::string_view name);

// A run with or without a job.
struct RunView {
    std::optional<JobRecord> job;
    std::optional<Run> run;
    const std::string& id() const { return job ? job->name : run->id; }
};
Result<RunView> load_run_view(Services& services, std::string_view wsid,
                              std::string_view id);  // NotFound

std::string status_of(const RunView& view);         // Azure ML's
std::string mlflow_status_of(const RunView& view);  // MLflow's: a job's status has the last word
std::int64_t start_ms_of(const RunView& view);
std::int64_t end_ms_of(const RunView& view);  // 0 = not ended

// {"code","message","details"} of a job that did not end well; the code says who has to act.
Json error_of(const JobRecord& job);

// Run history's description of a run.
Json history_document(const RunView& view);

// Of a group: which child has done best until now, under Azure's names; nothing if none has.
void show_best_child(const JobRecord& job, Json& properties);
// The same as a tag, of a kind whose best child is told so (JobKind::best_tag).
void show_best_tag(const JobRecord& job, Json& tags);

// Of a step that was not run, whose outputs it was given, under Azure's names.
void show_reuse(const JobRecord& job, Json& properties);

// The log that stands for a job: its only process's, or that of the first one; of a group what the
// server says of it.
std::string_view first_log_of(const JobRecord& job);

// Where a run's artifacts are: the prefix in artifact_container(wsid), ending with "/".
std::string artifact_prefix(std::string_view run_id);

}  // namespace turnout::api
