// Deleting what is more than one row: a job with its run, logs and files; a workspace with all in
// it. What is to go is written down first (Table::Removal), so that a server which dies in the
// middle goes on with it when it starts.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "api/upkeep/needs.h"
#include "catalog/catalog.h"
#include "model/job.h"

namespace turnout::api::upkeep {

struct Removed {
    std::size_t jobs = 0, files = 0;
    std::uint64_t bytes = 0;      // of those files; content that others have too is not freed
    std::uint64_t log_bytes = 0;  // in the database
};

// Deletes an ended job, a sweep with its trials. What registered assets point at stays.
// FailedPrecondition: it has not ended, or a living job reads its files.
Task<Result<Removed>> remove_job(Services& services, std::string wsid, std::string name);
// The same of many in two steps. From the mark on nobody may begin to use it (`check_stays`), so
// what is needed is looked for after it, once `see_submitted` has answered; what is needed loses
// its mark. A job of which something has gone keeps it until all has: the next start goes on.
// Several may mark one job and remove it: the mark is whose who wrote it last.
struct Marked {
    JobRecord job;
    std::uint64_t revision = 0;  // of the mark; 0: it was there before
};
Task<Result<Marked>> mark_job(Services& services, std::string wsid, std::string name);
// In one commit; those that have been deleted meanwhile are left out.
Task<Result<std::deque<Marked>>> mark_jobs(Services& services, std::vector<JobRecord> jobs);
// Unless the mark is another's: of that job something may have gone.
Task<void> unmark_job(Services& services, const Marked& marked);
// No job is removed where another one did it meanwhile, also if a new one has that name by now.
// Unavailable "MarkTakenBack": another one had marked it, and let it stay.
Task<Result<Removed>> remove_marked(Services& services, Marked marked, const Needs& needs);
// Jobs that were submitted before the mark of that one are in the store.
Task<void> see_submitted(Services& services, const JobRecord& marked);
// FailedPrecondition if that job is marked; job "" never is.
Result<void> check_stays(Services& services, std::string_view wsid, std::string_view job);
// The same for who is to give a new job that name, and first: where all of a job has gone but the
// mark, which could not be written, that goes now.
Task<Result<void>> check_name_is_free(Services& services, std::string wsid, std::string name);
// The same of the job of which the files at that place are, or at that URI. For who is to name it
// in what he writes in this turn.
Result<void> check_place_stays(Services& services, std::string_view wsid,
                               std::string_view container, std::string_view path);
Result<void> check_place_stays(Services& services, const Workspace& workspace,
                               std::string_view uri);

// Deletes a workspace with all in it. Answers when its name is free; the rest goes on by itself.
// FailedPrecondition if it has jobs that have not ended or computes, unless `living_too`.
Task<Result<void>> begin_removal_of(Services& services, Workspace workspace, bool living_too);
// Goes on with that until it is done.
Task<void> keep_removing(Services& services, std::string wsid);
// Whether it is over.
Result<bool> is_removed(Services& services, std::string_view wsid);

// How much a job's logs have; ended or not.
Result<std::uint64_t> log_bytes_of(Services& services, std::string_view wsid, std::string_view job);

}  // namespace turnout::api::upkeep
