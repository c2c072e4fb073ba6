// The actions there are, by their names: Azure's where Azure has one.
#pragma once

#include <array>
#include <string_view>

namespace turnout::access::action {

#define TURNOUT_IN_WORKSPACE(rest) "Microsoft.MachineLearningServices/workspaces/" rest

inline constexpr std::string_view
    kReadWorkspace = TURNOUT_IN_WORKSPACE("read"),
    kWriteWorkspace = TURNOUT_IN_WORKSPACE("write"),
    kDeleteWorkspace = TURNOUT_IN_WORKSPACE("delete"),
    kListWorkspaceKeys = TURNOUT_IN_WORKSPACE("listKeys/action"),
    kReadConnections = TURNOUT_IN_WORKSPACE("connections/read"),
    kReadDatastores = TURNOUT_IN_WORKSPACE("datastores/read"),
    kWriteDatastores = TURNOUT_IN_WORKSPACE("datastores/write"),
    kDeleteDatastores = TURNOUT_IN_WORKSPACE("datastores/delete"),
    kListDatastoreSecrets = TURNOUT_IN_WORKSPACE("datastores/listSecrets/action"),
    kReadBlobs = TURNOUT_IN_WORKSPACE("datastores/blobs/read"),
    kWriteBlobs = TURNOUT_IN_WORKSPACE("datastores/blobs/write"),
    kDeleteBlobs = TURNOUT_IN_WORKSPACE("datastores/blobs/delete"),
    kReadComputes = TURNOUT_IN_WORKSPACE("computes/read"),
    kWriteComputes = TURNOUT_IN_WORKSPACE("computes/write"),
    kDeleteComputes = TURNOUT_IN_WORKSPACE("computes/delete"),
    kListComputeKeys = TURNOUT_IN_WORKSPACE("computes/listKeys/action"),
    kReadCodes = TURNOUT_IN_WORKSPACE("codes/read"),
    kWriteCodes = TURNOUT_IN_WORKSPACE("codes/write"),
    kDeleteCodes = TURNOUT_IN_WORKSPACE("codes/delete"),
    kReadComponents = TURNOUT_IN_WORKSPACE("components/read"),
    kWriteComponents = TURNOUT_IN_WORKSPACE("components/write"),
    kDeleteComponents = TURNOUT_IN_WORKSPACE("components/delete"),
    kReadData = TURNOUT_IN_WORKSPACE("data/read"), kWriteData = TURNOUT_IN_WORKSPACE("data/write"),
    kDeleteData = TURNOUT_IN_WORKSPACE("data/delete"),
    kReadEnvironments = TURNOUT_IN_WORKSPACE("environments/read"),
    kWriteEnvironments = TURNOUT_IN_WORKSPACE("environments/write"),
    kDeleteEnvironments = TURNOUT_IN_WORKSPACE("environments/delete"),
    kReadModels = TURNOUT_IN_WORKSPACE("models/read"),
    kWriteModels = TURNOUT_IN_WORKSPACE("models/write"),
    kDeleteModels = TURNOUT_IN_WORKSPACE("models/delete"),
    kReadJobs = TURNOUT_IN_WORKSPACE("jobs/read"), kWriteJobs = TURNOUT_IN_WORKSPACE("jobs/write"),
    kDeleteJobs = TURNOUT_IN_WORKSPACE("jobs/delete"),
    kCancelJobs = TURNOUT_IN_WORKSPACE("jobs/cancel/action"),
    kDrillJobs = TURNOUT_IN_WORKSPACE("jobs/drill/action"),
    kReadSchedules = TURNOUT_IN_WORKSPACE("schedules/read"),
    kWriteSchedules = TURNOUT_IN_WORKSPACE("schedules/write"),
    kDeleteSchedules = TURNOUT_IN_WORKSPACE("schedules/delete"),
    kReadRuns = TURNOUT_IN_WORKSPACE("experiments/runs/read"),
    kWriteRuns = TURNOUT_IN_WORKSPACE("experiments/runs/write"),
    kDeleteRuns = TURNOUT_IN_WORKSPACE("experiments/runs/delete"),
    kReadExperiments = TURNOUT_IN_WORKSPACE("experiments/read"),
    kWriteExperiments = TURNOUT_IN_WORKSPACE("experiments/write"),
    kDeleteExperiments = TURNOUT_IN_WORKSPACE("experiments/delete"),
    // Of a secret nobody reads the value: its name and dates, and a job gets it by its name.
    kReadSecrets = TURNOUT_IN_WORKSPACE("secrets/read"),
    kWriteSecrets = TURNOUT_IN_WORKSPACE("secrets/write"),
    kDeleteSecrets = TURNOUT_IN_WORKSPACE("secrets/delete"),
    kUseSecrets = TURNOUT_IN_WORKSPACE("secrets/use/action"),
    kReadEvents = TURNOUT_IN_WORKSPACE("events/read"),
    kReadSizes = "Microsoft.MachineLearningServices/locations/vmSizes/read",
    kReadUsages = "Microsoft.MachineLearningServices/locations/usages/read",
    kReadAssignments = "Microsoft.Authorization/roleAssignments/read",
    kWriteAssignments = "Microsoft.Authorization/roleAssignments/write",
    kDeleteAssignments = "Microsoft.Authorization/roleAssignments/delete",
    kReadRoles = "Microsoft.Authorization/roleDefinitions/read",
    kWriteRoles = "Microsoft.Authorization/roleDefinitions/write",
    kDeleteRoles = "Microsoft.Authorization/roleDefinitions/delete",
    kReadUsers = "Turnout/users/read", kWriteUsers = "Turnout/users/write",
    kReadTokens = "Turnout/tokens/read", kWriteTokens = "Turnout/tokens/write",
    kDeleteTokens = "Turnout/tokens/delete", kReadServer = "Turnout/server/read",
    kWriteServer = "Turnout/server/write", kReadPools = "Turnout/pools/read",
    kWritePools = "Turnout/pools/write",
    // Which machines there are, and as whom jobs run there: who says that may let a job run as the
    // server's own user.
    kDescribePools = "Turnout/pools/describe/action", kPrune = "Turnout/space/prune/action",
    kReadAudit = "Turnout/audit/read", kReadQuotas = "Turnout/quotas/read",
    kWriteQuotas = "Turnout/quotas/write";

#undef TURNOUT_IN_WORKSPACE

inline constexpr std::array kAll = {
    kReadWorkspace,      kWriteWorkspace,   kDeleteWorkspace,
    kListWorkspaceKeys,  kReadConnections,  kReadDatastores,
    kWriteDatastores,    kDeleteDatastores, kListDatastoreSecrets,
    kReadBlobs,          kWriteBlobs,       kDeleteBlobs,
    kReadComputes,       kWriteComputes,    kDeleteComputes,
    kListComputeKeys,    kReadCodes,        kWriteCodes,
    kDeleteCodes,        kReadComponents,   kWriteComponents,
    kDeleteComponents,   kReadData,         kWriteData,
    kDeleteData,         kReadEnvironments, kWriteEnvironments,
    kDeleteEnvironments, kReadModels,       kWriteModels,
    kDeleteModels,       kReadJobs,         kWriteJobs,
    kDeleteJobs,         kCancelJobs,       kDrillJobs,
    kReadRuns,           kWriteRuns,        kDeleteRuns,
    kReadExperiments,    kWriteExperiments, kDeleteExperiments,
    kReadSecrets,        kWriteSecrets,     kDeleteSecrets,
    kUseSecrets,         kReadEvents,       kReadSizes,
    kReadUsages,         kReadAssignments,  kWriteAssignments,
    kDeleteAssignments,  kReadRoles,        kWriteRoles,
    kDeleteRoles,        kReadUsers,        kWriteUsers,
    kReadTokens,         kWriteTokens,      kDeleteTokens,
    kReadServer,         kWriteServer,      kReadPools,
    kWritePools,         kDescribePools,    kPrune,
    kReadAudit,          kReadQuotas,       kWriteQuotas,
    kReadSchedules,      kWriteSchedules,   kDeleteSchedules,
};

}  // namespace turnout::access::action
