// `turnout batchai`: clusters and jobs in the columns in which 2018's `az batchai` showed them.
#include <set>
#include <string>

#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

// What is not over, then the newest: as many as a person looks through.
constexpr std::size_t kMostJobs = 50;
constexpr std::string_view kLive =
    "Running,Finalizing,Preparing,Provisioning,Starting,CancelRequested,NotResponding,Queued,"
    "NotStarted";

// The clusters of the workspace, as the server has them.
Result<Json> clusters_of(client::Api& api) {
    Json clusters = Json::array();
    const Json computes = TURNOUT_TRY(api.list(api.in_workspace("/computes")));
    for (const Json& one : computes.items())
        if (equal_ignoring_case(one.at("properties").at("computeType").as_view(), "AmlCompute"))
            clusters.push(one);
    return clusters;
}

Json where_of(client::Api& api, const Json& rest) {
    return Json::object({{"name", rest.at("name")},
                         {"resource_group", api.settings().resource_group},
                         {"workspace", api.settings().workspace_name}});
}

Result<Json> jobs_of(client::Api& api, const Json& clusters) {
    const auto of = [&](const std::string& query) {
        return api.list(api.in_workspace("/jobs?listViewType=ActiveOnly" + query), kMostJobs);
    };
    std::set<std::string> known;
    for (const Json& one : clusters.items()) known.insert(one.at("name").as_string());
    Json jobs = Json::array();
    std::set<std::string> seen;
    for (const std::string& query : {"&status=" + std::string(kLive), std::string()}) {
        const Json found = TURNOUT_TRY(of(query + "&%24top=" + std::to_string(kMostJobs)));
        for (const Json& job : found.items()) {
            const std::string id = job.at("properties").at("computeId").as_string();
            const bool there = known.contains(id.substr(id.rfind('/') + 1));
            if (there && jobs.items().size() < kMostJobs &&
                seen.insert(job.at("name").as_string()).second)
                jobs.push(job);
        }
    }
    return jobs;
}

}  // namespace

int batchai_cluster_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> clusters = clusters_of(**opened);
    if (!clusters) return context.fail(clusters.error());
    Json rows = Json::array();
    for (const Json& one : clusters->items()) {
        const Json& inner = one.at("properties").at("properties");
        Json row = where_of(**opened, one);
        row.set("vm_size", inner.at("vmSize"));
        row.set("state", to_lower(inner.at("allocationState").as_view()));
        for (const std::string_view state : {"idle", "running", "preparing", "leaving", "unusable"})
            row.set(state, inner.at("nodeStateCounts").at(std::string(state) + "NodeCount"));
        rows.push(std::move(row));
    }
    return context.show(rows, *clusters,
                        {"name", "resource_group", "workspace", "vm_size", "state", "idle",
                         "running", "preparing", "leaving", "unusable"});
}

int batchai_job_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> clusters = clusters_of(**opened);
    if (!clusters) return context.fail(clusters.error());
    const Result<Json> jobs = jobs_of(**opened, *clusters);
    if (!jobs) return context.fail(jobs.error());
    Json rows = Json::array();
    for (const Json& job : jobs->items()) {
        const Json& properties = job.at("properties");
        const std::string id = properties.at("computeId").as_string();
        Json row = where_of(**opened, job);
        row.set("experiment", properties.at("experimentName"));
        row.set("cluster", id.substr(id.rfind('/') + 1));
        const std::int64_t nodes = properties.at("resources").at("instanceCount").as_int();
        row.set("nodes", nodes > 0 ? nodes : 1);
        row.set("state", to_lower(properties.at("status").as_view()));
        row.set("exit_code", properties.at("properties").at("turnout.exit_code"));
        rows.push(std::move(row));
    }
    return context.show(rows, *jobs,
                        {"name", "resource_group", "workspace", "experiment", "cluster", "nodes",
                         "state", "exit_code"});
}

}  // namespace turnout::cli
