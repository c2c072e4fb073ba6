// What the token of a run may do: what its own run needs, and nothing of other jobs. Denied unless
// it is said here. Pure; who asks brings along what the job names.
#pragma once

#include <string>
#include <string_view>

#include "access/places.h"

namespace turnout::access {

enum class RunMay {
    Nothing,
    Catalog,  // of everything of that kind in its workspace: assets, computes, datastores
    Own,      // of its own run, and of runs that it made
    Places,   // of files, where RunReach says so
};
RunMay run_may(std::string_view action);

// The containers of a workspace that hold what is of jobs.
struct WorkspaceContainers {
    std::string workspace;  // its id, with which the names of all of its containers begin
    std::string artifacts;  // of runs, below "ExperimentRun/dcid.{run}/"
    std::string blobstore;  // outputs below "azureml/{job}/", uploads below "LocalUpload/{hash}/"
    std::string fetched;    // inputs from outside, below the hash of where they are from
};

// How much of a list may be shown.
enum class Listed {
    Nothing,
    Everything,
    ThatAndBeneath,  // not neighbours whose names begin alike
    ButJobs,         // all but what lies in the folders of jobs and uploads
};

// Where a run reads and writes files.
//
//   its artifacts     all
//   what it writes    its outputs: reads and writes
//   what it reads     its code and its inputs
//   registered        what data assets and models of the workspace point at: reads
//   uploads           by their content's hash: who knows that may read, and create what is not
//   there other files       of the workspace's datastores, which are no job's: reads
//
// and nothing else: the outputs, artifacts and code of other jobs are not there for it.
struct RunReach {
    std::string job;
    WorkspaceContainers containers = {};
    Places reads = {}, writes = {};

    // `permission` is one of "rwcd": read, write, create, delete.
    bool may(std::string_view container, std::string_view name, char permission,
             const Places& registered) const;
    // What begins with `prefix`.
    Listed listed(std::string_view container, std::string_view prefix,
                  const Places& registered) const;
};

// The folder of jobs or uploads in which that name of the workspace's blobstore is: "azureml/",
// "LocalUpload/"; "" if it is in none.
std::string_view guarded_folder(std::string_view name);

// Whether a registered asset opens that place to runs: one that is not finer than a job or an
// upload would open what is of others.
bool may_be_registered(const WorkspaceContainers& containers, std::string_view container,
                       std::string_view prefix);

}  // namespace turnout::access
