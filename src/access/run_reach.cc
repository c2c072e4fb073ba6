#include "access/run_reach.h"

#include <algorithm>
#include <array>

#include "access/actions.h"

namespace turnout::access {
namespace {

constexpr std::string_view kOutputsOfJobs = "azureml/", kUploads = "LocalUpload/",
                           kArtifactsOfRuns = "ExperimentRun/dcid.";
constexpr std::size_t kHash = 32;  // characters of a content's hash, at least

// {wsid}-{32 characters, or a GUID}: code that was uploaded.
bool is_code(const WorkspaceContainers& containers, std::string_view container) {
    if (!container.starts_with(containers.workspace + "-")) return false;
    const std::size_t rest = container.size() - containers.workspace.size() - 1;
    return rest == 32 || rest == 36;
}

// Beneath the hash of a content, which nobody guesses.
bool is_beneath_hash(std::string_view name) {
    return name.find('/') != std::string_view::npos && name.find('/') >= kHash;
}

std::string_view without_slash(std::string_view prefix) {
    while (prefix.ends_with('/')) prefix.remove_suffix(1);
    return prefix;
}

std::string_view folder_of(std::string_view name) {
    const std::size_t slash = name.rfind('/');
    return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

// Files that are no job's, and uploads of whom knows their name.
bool is_open(const WorkspaceContainers& containers, std::string_view container,
             std::string_view name) {
    if (container == containers.artifacts || is_code(containers, container)) return false;
    if (container == containers.fetched) return is_beneath_hash(name);
    if (container != containers.blobstore) return container.starts_with(containers.workspace + "-");
    const std::string_view guarded = guarded_folder(name);
    if (guarded == kUploads) return is_beneath_hash(name.substr(kUploads.size()));
    return guarded.empty();
}

}  // namespace

RunMay run_may(std::string_view action) {
    using namespace action;
    constexpr std::array catalog = {
        kReadWorkspace, kReadConnections, kReadDatastores,   kReadComputes,
        kReadCodes,     kWriteCodes,      kReadComponents,   kWriteComponents,
        kReadData,      kWriteData,       kReadEnvironments, kWriteEnvironments,
        kReadModels,    kWriteModels,     kReadExperiments,  kWriteExperiments,
    };
    constexpr std::array own = {kReadJobs, kReadRuns, kWriteRuns, kDeleteRuns};
    constexpr std::array places = {kReadBlobs, kWriteBlobs, kDeleteBlobs};
    const auto is_in = [&](const auto& list) {
        return std::ranges::find(list, action) != list.end();
    };
    if (is_in(catalog)) return RunMay::Catalog;
    if (is_in(own)) return RunMay::Own;
    if (is_in(places)) return RunMay::Places;
    return RunMay::Nothing;
}

std::string_view guarded_folder(std::string_view name) {
    for (const std::string_view folder : {kOutputsOfJobs, kUploads})
        if (name.starts_with(folder)) return folder;
    return {};
}

bool may_be_registered(const WorkspaceContainers& containers, std::string_view container,
                       std::string_view prefix) {
    prefix = without_slash(prefix);
    const auto finer_than = [&](std::string_view folder) {
        return prefix.size() > folder.size() && prefix.starts_with(folder);
    };
    if (container == containers.artifacts) return finer_than(kArtifactsOfRuns);
    if (container == containers.blobstore)
        return finer_than(kOutputsOfJobs) || finer_than(kUploads);
    return container == containers.fetched && !prefix.empty();
}

bool RunReach::may(std::string_view container, std::string_view name, char permission,
                   const Places& registered) const {
    const std::string mine = std::string(kArtifactsOfRuns) + job + "/";
    if (container == containers.artifacts && name.starts_with(mine)) return true;
    switch (permission) {
        case 'r':
            return reads.hold(container, name) || writes.hold(container, name) ||
                   is_open(containers, container, name) || registered.hold(container, name);
        case 'w': return writes.hold(container, name);
        case 'c':
            // Names there are made of the content's hash.
            return writes.hold(container, name) ||
                   (container == containers.blobstore && guarded_folder(name) == kUploads);
        default: return false;
    }
}

Listed RunReach::listed(std::string_view container, std::string_view prefix,
                        const Places& registered) const {
    const std::string_view path = without_slash(prefix);
    const bool folder = path.size() != prefix.size();
    const auto held = [&](std::string_view name) {
        return reads.hold(container, name) || writes.hold(container, name) ||
               registered.hold(container, name) ||
               (container == containers.artifacts &&
                (std::string(name) + "/").starts_with(std::string(kArtifactsOfRuns) + job + "/"));
    };
    if (held(path)) {
        // All of a container, or all in a folder of which all may be seen.
        const bool whole = folder || held("") || (!path.empty() && held(folder_of(path)));
        return whole ? Listed::Everything : Listed::ThatAndBeneath;
    }
    if (container == containers.blobstore) {
        if (const std::string_view guarded = guarded_folder(prefix); !guarded.empty()) {
            if (guarded != kUploads) return Listed::Nothing;
            const std::string_view rest = prefix.substr(kUploads.size());
            if (is_beneath_hash(rest)) return Listed::Everything;
            return rest.size() >= kHash ? Listed::ThatAndBeneath : Listed::Nothing;
        }
        for (const std::string_view guarded : {kOutputsOfJobs, kUploads})
            if (guarded.starts_with(prefix)) return Listed::ButJobs;
    }
    if (container == containers.fetched) {
        if (is_beneath_hash(prefix)) return Listed::Everything;
        return prefix.size() >= kHash ? Listed::ThatAndBeneath : Listed::Nothing;
    }
    return is_open(containers, container, prefix) ? Listed::Everything : Listed::Nothing;
}

}  // namespace turnout::access
