#include <algorithm>

#include "api/data_uri.h"
#include "api/portal/parts.h"
#include "blob/blobs.h"

namespace turnout::api::portal {
namespace {

constexpr std::size_t kMaxOutputs = 50;
constexpr std::size_t kMaxOutputFiles = 100;  // of one

// Its files, if it is the job's own place: another one may hold what is of others.
Result<NamedOutput> named_output(Services& services, const Workspace& workspace,
                                 const JobRecord& job, const agent_protocol::TaskOutput& output) {
    NamedOutput named{.name = output.name, .type = output.type};
    if (const auto uri = TURNOUT_TRY(uri_of_output(services, workspace, job.name, output.name)))
        named.uri = uri->uri;
    named.listed = is_own_place(job, output.target);
    if (!named.listed) return named;
    const BlobList list = TURNOUT_TRY(services.blobs.list(
        output.target.container, output.target.prefix, "", "", kMaxOutputFiles));
    for (const BlobInfo& blob : list.blobs) {
        std::string path = blob.name.substr(output.target.prefix.size());
        named.files.emplace_back(path.empty() ? output.name : std::move(path),
                                 blob.size);  // a file is its own place
    }
    named.more = !list.next_marker.empty();
    return named;
}

}  // namespace

bool is_own_place(const JobRecord& job, const agent_protocol::BlobFolder& place) {
    return place.container == blobstore_container(job.workspace) &&
           place.prefix.starts_with("azureml/" + job.name + "/");
}

Result<void> show_outputs(Services& services, const Call&, PageData& page) {
    const auto workspace = TURNOUT_TRY(services.assets.workspace_by_id(page.job.workspace));
    if (!workspace) return {};
    for (const auto& output : page.task.outputs)
        if (page.outputs.size() < kMaxOutputs)
            page.outputs.push_back(
                TURNOUT_TRY(named_output(services, *workspace, page.job, output)));
    return {};
}

// Whole lines from the end of a log.
Result<std::string> end_of_log(Services& services, const std::string& wsid, const std::string& job,
                               const std::string& path, std::uint64_t length, std::uint64_t limit) {
    if (length == 0) return std::string();
    const std::uint64_t from = length - std::min(length, limit);
    std::string tail = TURNOUT_TRY(services.tracking.read_log(wsid, job, path, from, limit));
    if (from > 0)
        if (const std::size_t line = tail.find('\n'); line != std::string::npos)
            tail.erase(0, line + 1);
    return tail;
}

}  // namespace turnout::api::portal
