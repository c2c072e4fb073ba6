// The rows of the table of commands (commands.cc), and what several of them take.
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"

namespace turnout::cli {

inline const Option kFile{"--file", "-f", "FILE", "YAML file; - reads standard input.", false};
inline const Option kJobFile{"--file", "-f", "FILE",
                             "YAML file, or a folder with a job.yml in it; - reads standard input.",
                             false};
inline const Option kSet{"--set", "", "KEY=VALUE",
                         "Overrides one value, such as resources.shm_size=2g.", true};
inline const Option kName{"--name", "-n", "NAME", "Name.", false};
inline const Option kNames{"--name", "-n", "NAME", "Name.", true};
inline const Option kVersion{"--version", "-v", "VERSION", "Version.", false};
inline const Option kLabel{"--label", "-l", "LABEL", "`latest`.", false};
inline const Option kNoWait{"--no-wait", "", "", "Do not wait for it to end.", false};
inline const Option kYes{"--yes", "-y", "", "Accepted for az's sake; nothing is asked.", false};
inline const Option kYesToAll{"--yes", "-y", "", "Does not ask, as --all does.", false};
inline const Option kYesToRevoke{"--yes", "-y", "",
                                 "Does not ask, if it is the one that this command uses.", false};
inline const Option kExpires{
    "--expires", "", "WHEN",
    "An age such as 30d, a day such as 2030-01-31, or never; 90d if absent.", false};
inline const Option kReadOnly{"--read-only", "", "", "It changes nothing.", false};
inline const Option kWorkspaceOnly{"--workspace-only", "", "",
                                   "It opens nothing but the workspace (of -w, or the usual one).",
                                   false};
inline const Option kOfUser{"--user", "", "NAME", "The user.", false};
inline const Option kOfEveryUser{"--default", "", "", "Every user, where nothing else is said.",
                                 false};
inline const Option kOnServer{"--server", "", "", "On the whole server.", false};
inline const Option kOnCompute{"--compute", "", "NAME", "On this compute of the workspace only.",
                               false};
inline const Option kSeconds{"--seconds", "", "N", "For how long; 20 if absent.", false};
inline const Option kMaxResults{"--max-results", "-r", "N", "At most so many.", false};
inline const Option kArchivedOnly{"--archived-only", "", "", "Only archived ones.", false};
inline const Option kIncludeArchived{"--include-archived", "", "", "Archived ones too.", false};
inline const Option kStatus{
    "--status",
    "",
    "STATUS",
    "Only those with this status.",
    false,
    {"Queued", "Preparing", "Running", "Completed", "Failed", "Canceled", "NotStarted",
     "Provisioning", "Starting", "Finalizing", "CancelRequested", "NotResponding", "Paused"}};
inline const Option kCompute{"--compute", "", "NAME", "Only those of this compute.", false};
inline const Option kUser{"--user", "", "NAME", "Only those that this user submitted.", false};
inline const Option kMine{"--mine", "", "", "Only your own.", false};
inline const Option kFilter{
    "--filter", "", "FILTER",
    "Only those that MLflow's filter finds, such as \"metrics.loss < 0.5 and "
    "params.lr = '0.1'\".",
    false};
inline const Option kExperiment{"--experiment-name", "--experiment", "NAME",
                                "Only those of this experiment.", false};

inline const std::vector<std::string> kSpaceKinds = {"jobs", "data", "inputs", "environments",
                                                     "caches"};

// Of a verb that several jobs are given to.
std::vector<Option> of_several(const std::string& all, std::vector<Option> more = {});
// Those of both; of one that is in both what either of them takes.
std::vector<Option> with(std::vector<Option> first, const std::vector<Option>& more);

std::vector<Command> rows_of_server();     // its life, and how commands reach it
std::vector<Command> rows_of_jobs();       // jobs, schedules, runs
std::vector<Command> rows_of_resources();  // computes, assets, endpoints, workspaces
std::vector<Command> rows_of_batch();      // batch endpoints and their deployments
std::vector<Command> rows_of_operating();  // what happened, pools, people, quotas, secrets

}  // namespace turnout::cli
