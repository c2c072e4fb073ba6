// What may not go: places in the blob service that registered assets point at, or that jobs read.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "access/places.h"
#include "api/api.h"
#include "protocol/agent_protocol.h"

namespace turnout::api::upkeep {

using access::Places;

struct Needs {
    Places assets;                             // of data and models, in all workspaces
    Places jobs;                               // that jobs and services read
    std::set<std::string, std::less<>> codes;  // containers of the code of those and of components
    std::set<std::string, std::less<>>
        fetching;  // workspaces in which a living job has inputs from outside
    // Ended jobs whose files a living one or a service reads, "{wsid}/{name}" -> which.
    std::map<std::string, std::string, std::less<>> readers;
    // Jobs that a registered asset was made by, "{wsid}/{name}" -> which asset.
    std::map<std::string, std::string, std::less<>> sources;
};

// "sweep" of "sweep_3": the job with which one of that name would go; "" if it is no trial's name.
std::string_view sweep_of(std::string_view trial);

// Which jobs count: those that live, or all that are there. Services count always.
enum class Whose { Living, All };
Task<Result<Needs>> find_needs(Services& services, Turn& turn, Whose whose);

// Which jobs read the files of others, ended or not: "{wsid}/{read}" -> "{wsid}/{reader}". Of a
// trial that is read also its sweep is read. Looks at every job, or at those that were created
// since then.
using Readers = std::multimap<std::string, std::string, std::less<>>;
Task<Result<void>> find_readers(Services& services, Turn& turn, std::optional<Instant> since,
                                Readers& readers);

// The name of a job of that workspace that has not ended and of whose definition `uses` says yes;
// "" if there is none. Trials are as their sweep.
Task<Result<std::string>> living_job(Services& services, Turn& turn, std::string wsid,
                                     std::function<bool(const Json& definition)> uses);

// Where the files of a job are: what its command left in outputs and logs, and its named outputs
// that have no place of their own.
std::string artifacts_of(std::string_view job);  // in the artifact container; ends with '/'
std::string outputs_of(std::string_view job);    // in the workspace's blob store; ends with '/'
// The job, when `name` is of one of these.
std::string_view job_of_artifact(std::string_view name);
std::string_view job_of_output(std::string_view name);

}  // namespace turnout::api::upkeep
