#include "api/upkeep/needs.h"

#include <algorithm>
#include <unordered_map>

#include "api/batch/batch.h"
#include "api/schedules/schedules.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "resources/documents.h"
#include "submission/draft.h"
#include "submission/reference.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::string_view kArtifacts = "ExperimentRun/dcid.";
constexpr std::string_view kOutputs = "azureml/";
constexpr std::size_t kNeedsPage = 200;
constexpr std::size_t kBases = 256;
constexpr int kMostAssets = 4;  // one may name another, as at submission

std::string_view first_part(std::string_view name, std::string_view behind) {
    if (!name.starts_with(behind)) return {};
    name.remove_prefix(behind.size());
    const std::size_t slash = name.find('/');
    return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

class Finder {
public:
    Finder(Services& services, Turn& turn) : services_(services), turn_(turn) {}

    Task<Result<Needs>> find(Whose whose) {
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        for (const Workspace& workspace : workspaces) {
            datastores_.clear();
            TURNOUT_CO_TRY(const auto stores, services_.assets.list_datastores(workspace.id));
            for (const auto& [name, properties] : stores)
                datastores_[name] = properties.at("containerName").as_string();
            for (const resources::DocumentKind& kind : resources::document_kinds())
                if (!kind.location.empty() || !kind.definition.empty() || !kind.context.empty()) {
                    TURNOUT_CO_TRY_VOID(co_await look_at_assets(workspace, kind));
                }
            TURNOUT_CO_TRY_VOID(look_at_schedules(workspace));
            TURNOUT_CO_TRY_VOID(look_at_batch_deployments(workspace));
        }
        TURNOUT_CO_TRY_VOID(co_await look_at_services());
        TURNOUT_CO_TRY_VOID(co_await look_at_jobs(Table::JobLive, true));
        if (whose == Whose::All) {
            TURNOUT_CO_TRY_VOID(co_await look_at_jobs(Table::JobCreated, false));
        }
        co_return std::move(needs_);
    }

private:
    Task<Result<void>> look_at_assets(const Workspace& workspace,
                                      const resources::DocumentKind& kind) {
        Range range = with_prefix(workspace.id + "/" + std::string(kind.path) + "/", kNeedsPage);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::AssetVersion, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(const Json asset, parse_json(row.value));
                const Json& properties = asset.at("properties");
                if (!kind.definition.empty()) {
                    const Json& spec = properties.at(kind.definition);
                    TURNOUT_CO_TRY_VOID(add_code(workspace, spec.at("code").as_string()));
                    TURNOUT_CO_TRY_VOID(  // of a parallel one
                        add_code(workspace, spec.at("task").at("code").as_string()));
                } else {
                    const std::vector<std::string> parts = split(row.key, '/');
                    const std::string what =
                        std::string(kind.one) + " " + parts[2] + ":" + parts.back();
                    add_source(workspace, properties.at("jobName").as_view(), what);
                    add_uri(workspace, properties.at(kind.location).as_string(), what);
                    add_uri(workspace, properties.at(kind.context).at("contextUri").as_string(),
                            what);
                }
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < kNeedsPage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    void add_source(const Workspace& workspace, std::string_view job, const std::string& asset) {
        if (job.empty()) return;
        needs_.sources.emplace(workspace.id + "/" + std::string(job), asset);
        if (const auto sweep = sweep_of(job); !sweep.empty())
            needs_.sources.emplace(workspace.id + "/" + std::string(sweep), asset);
    }

    void add_place(const Workspace& workspace, const std::string& container,
                   const std::string& path, const std::string& asset) {
        needs_.assets.add(container, path);
        // Ends with '/', for a folder of a job's outputs may be all of them.
        if (container == artifact_container(workspace.id))
            add_source(workspace, job_of_artifact(path + "/"), asset);
        if (container == blobstore_container(workspace.id))
            add_source(workspace, job_of_output(path + "/"), asset);
    }

    void add_uri(const Workspace& workspace, const std::string& uri, const std::string& asset) {
        const auto reference = submission::parse_reference(uri, workspace);
        if (!reference) return;
        if (reference->form == submission::Reference::Form::Path) {
            const auto store = datastores_.find(reference->datastore);
            if (store != datastores_.end())
                add_place(workspace, store->second, reference->path, asset);
        } else if (reference->form == submission::Reference::Form::JobOutput) {
            add_source(workspace, reference->job, asset);
        } else if (const auto blobs = submission::blob_of_url(uri)) {
            add_place(workspace, blobs->container, blobs->prefix, asset);
        }
    }

    Result<void> add_code(const Workspace& workspace, const std::string& id) {
        const auto reference = submission::parse_reference(id, workspace);
        if (!reference || reference->form != submission::Reference::Form::Asset) return {};
        const auto code = TURNOUT_TRY(
            services_.assets.resolve(workspace.id, "codes", reference->name, reference->version));
        if (!code) return {};
        if (const auto blobs = submission::blob_of_url(code->properties.at("codeUri").as_view()))
            needs_.codes.insert(blobs->container);
        return {};
    }

    // The next of its jobs is made of what a schedule says, enabled or not: nothing of that goes.
    Result<void> look_at_schedules(const Workspace& workspace) {
        for (const auto& [name, schedule] :
             TURNOUT_TRY(services_.assets.list_singles(workspace.id, kScheduleDocuments)))
            TURNOUT_TRY(add_definition(workspace, "schedule '" + name + "'",
                                       schedule.at("action").at("jobDefinition")));
        return {};
    }

    // The same of what a batch deployment says.
    Result<void> look_at_batch_deployments(const Workspace& workspace) {
        for (const auto& [name, row] :
             TURNOUT_TRY(services_.assets.list_singles(workspace.id, kBatchDeployments)))
            TURNOUT_TRY(add_code(
                workspace, row.at("properties").at("codeConfiguration").at("codeId").as_string()));
        return {};
    }

    Result<void> add_definition(const Workspace& workspace, const std::string& whose,
                                const Json& part) {
        for (const Json& item : part.items()) TURNOUT_TRY(add_definition(workspace, whose, item));
        for (const auto& [key, value] : part.members()) {
            if (!value.is_string()) {
                TURNOUT_TRY(add_definition(workspace, whose, value));
            } else if (key == "codeId" || key == "code") {
                TURNOUT_TRY(add_code(workspace, value.as_string()));
            } else if (key == "uri") {
                const std::string type = part.at("jobInputType").as_string();
                const auto place = TURNOUT_TRY(place_read(workspace, value.as_string(), type, 0));
                if (!place) continue;
                agent_protocol::TaskSpec reads;
                reads.inputs.emplace_back().blobs = *place;
                add_task(reads, workspace.id, whose);
            }
        }
        return {};
    }

    // Children are looked at with their group: the code and inputs of trials are its own, those of
    // steps are in its plan. What a step reads that lives is its own, too.
    Task<Result<void>> look_at_jobs(Table table, bool living) {
        Range range{.limit = kNeedsPage};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(table, range));
            for (const Record& row : rows) {
                const std::string wsid = row.key.substr(0, row.key.find('/'));
                const std::string name = row.key.substr(row.key.rfind('/') + 1);
                TURNOUT_CO_TRY(const auto definition,
                               services_.store.get(Table::Job, wsid + "/" + name));
                if (!definition) continue;
                TURNOUT_CO_TRY(const Json json, parse_json(definition->value));
                TURNOUT_CO_TRY(const JobRecord job, job_from_json(json));
                const bool is_step = !job.child.group.empty() && !job.derived();
                if (job.derived() || (is_step && (!living || job.task_base.empty()))) continue;
                if (!job.plan.is_null()) {
                    TURNOUT_CO_TRY_VOID(add_steps(job, living));
                }
                TURNOUT_CO_TRY_VOID(add_job(job, living));
                if (turn_.over()) {
                    TURNOUT_CO_TRY_VOID(co_await turn_.pass());
                }
            }
            if (rows.size() < kNeedsPage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    // What its steps name, whether they have run, run now or wait.
    Result<void> add_steps(const JobRecord& pipeline, bool living) {
        const auto workspace = TURNOUT_TRY(services_.assets.workspace_by_id(pipeline.workspace));
        if (!workspace) return {};
        for (const Json& step : pipeline.plan.at("steps").items()) {
            const Json& definition = step.at("definition");
            TURNOUT_TRY(add_code(*workspace, definition.at("codeId").as_string()));
            for (const auto& [name, input] : definition.at("inputs").members()) {
                const auto place = TURNOUT_TRY(place_read(*workspace, input.at("uri").as_string(),
                                                          input.at("jobInputType").as_view(), 0));
                if (!place) continue;
                agent_protocol::TaskSpec reads;
                reads.inputs.emplace_back().blobs = *place;
                add_task(reads, pipeline.workspace,
                         living ? "job '" + pipeline.name + "'" : std::string());
            }
        }
        return {};
    }

    // Where that is; nullopt: nowhere here, or it is the output of a step that is still to come.
    Result<std::optional<agent_protocol::BlobFolder>> place_read(const Workspace& workspace,
                                                                 const std::string& uri,
                                                                 std::string_view type, int depth) {
        const auto reference = submission::parse_reference(uri, workspace);
        if (uri.empty() || !reference || depth > kMostAssets) return std::nullopt;
        using Form = submission::Reference::Form;
        if (reference->form == Form::Path) {
            const auto store =
                TURNOUT_TRY(services_.assets.find_datastore(workspace.id, reference->datastore));
            if (!store) return std::nullopt;
            return agent_protocol::BlobFolder{store->at("containerName").as_string(),
                                              reference->path};
        }
        if (reference->form == Form::JobOutput)
            return agent_protocol::BlobFolder{blobstore_container(workspace.id),
                                              outputs_of(reference->job)};
        if (reference->form == Form::Asset) {
            const std::string kind = submission::asset_kind(*reference, type);
            const auto asset = TURNOUT_TRY(
                services_.assets.resolve(workspace.id, kind, reference->name, reference->version));
            if (!asset) return std::nullopt;
            return place_read(
                workspace,
                asset->properties.at(kind == "data" ? "dataUri" : "modelUri").as_string(), type,
                depth + 1);
        }
        if (auto blobs = submission::blob_of_url(uri)) return *blobs;
        return std::nullopt;
    }

    Result<void> add_job(const JobRecord& job, bool living) {
        const std::string base_key = job.workspace + "/" + job.task_base;
        auto base = bases_.find(base_key);
        if (base == bases_.end()) {
            const auto row = TURNOUT_TRY(services_.store.get(Table::TaskBase, base_key));
            if (!row) return {};
            const Json json = TURNOUT_TRY(parse_json(row->value));
            if (bases_.size() >= kBases) bases_.clear();
            base =
                bases_.emplace(base_key, TURNOUT_TRY(agent_protocol::task_from_json(json))).first;
        }
        const auto task = TURNOUT_TRY(
            agent_protocol::expand_task(base->second, job.task_own, {job.workspace, job.name, 1}));
        add_task(task, job.workspace, living ? "job '" + job.name + "'" : std::string());
        return {};
    }

    // `reader`: whose task it is, for people; "" if that has ended.
    void add_task(const agent_protocol::TaskSpec& task, const std::string& wsid,
                  const std::string& reader) {
        if (task.code) needs_.codes.insert(task.code->container);
        for (const auto& input : task.inputs) {
            if (input.fetch && !reader.empty()) needs_.fetching.insert(wsid);
            if (!input.blobs) continue;
            needs_.jobs.add(input.blobs->container, input.blobs->prefix);
            if (reader.empty()) continue;
            const std::string prefix = input.blobs->prefix + "/";  // a folder may be all of them
            std::string_view read = job_of_artifact(prefix);
            if (read.empty()) read = job_of_output(prefix);
            if (!read.empty()) needs_.readers.emplace(wsid + "/" + std::string(read), reader);
            if (const auto sweep = sweep_of(read); !sweep.empty())
                needs_.readers.emplace(wsid + "/" + std::string(sweep), reader);
        }
    }

    // Their next replica is made of what their row says, whether one runs just now or not.
    Task<Result<void>> look_at_services() {
        Range range{.limit = kNeedsPage};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::Service, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(const Json json, parse_json(row.value));
                TURNOUT_CO_TRY(const auto task, agent_protocol::task_from_json(json.at("task")));
                const std::size_t slash = row.key.find('/');
                add_task(task, row.key.substr(0, slash),
                         "service '" + row.key.substr(slash + 1) + "'");
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < kNeedsPage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    Services& services_;
    Turn& turn_;
    Needs needs_;
    std::map<std::string, std::string, std::less<>> datastores_;  // -> container
    std::unordered_map<std::string, agent_protocol::TaskSpec> bases_;
};

}  // namespace

std::string_view sweep_of(std::string_view trial) {
    const std::size_t line = trial.rfind('_');
    if (line == std::string_view::npos || line + 1 == trial.size() ||
        !std::ranges::all_of(trial.substr(line + 1), is_digit))
        return "";
    return trial.substr(0, line);
}

std::string artifacts_of(std::string_view job) {
    return std::string(kArtifacts) + std::string(job) + "/";
}
std::string outputs_of(std::string_view job) {
    return std::string(kOutputs) + std::string(job) + "/";
}
std::string_view job_of_artifact(std::string_view name) {
    return first_part(name, kArtifacts);
}
std::string_view job_of_output(std::string_view name) {
    return first_part(name, kOutputs);
}

Task<Result<Needs>> find_needs(Services& services, Turn& turn, Whose whose) {
    Finder finder(services, turn);
    auto needs = co_await finder.find(whose);
    co_return std::move(needs);
}

namespace {

// The task of a command is most often told by its own part: its inputs are there.
bool may_read_a_job(const Record& definition) {
    return definition.value.find("weep\"") != std::string::npos ||
           definition.value.find("\"azureml/") != std::string::npos ||
           definition.value.find("\"ExperimentRun/dcid.") != std::string::npos ||
           definition.value.find("azureml://jobs/") != std::string::npos ||
           definition.value.find("${{turnout.job}}") != std::string::npos;
}

Result<void> add_readers(Services& services, const Record& definition, Readers& readers) {
    if (!may_read_a_job(definition)) return {};
    const Json json = TURNOUT_TRY(parse_json(definition.value));
    const JobRecord job = TURNOUT_TRY(job_from_json(json));
    if (!job.child.group.empty()) return {};
    // Steps read each other: that is their pipeline's own affair.
    constexpr std::string_view of_jobs = "azureml://jobs/";
    for (const Json& step : job.plan.at("steps").items())
        for (const auto& [name, input] : step.at("definition").at("inputs").members()) {
            const std::string_view uri = input.at("uri").as_view();
            if (!uri.starts_with(of_jobs)) continue;
            const std::string_view rest = uri.substr(of_jobs.size());
            const std::string read(rest.substr(0, rest.find('/')));
            if (sweep_of(read) == job.name) continue;
            readers.emplace(job.workspace + "/" + read, definition.key);
            if (const auto group = sweep_of(read); !group.empty())
                readers.emplace(job.workspace + "/" + std::string(group), definition.key);
        }
    const auto task = read_task(services.store, job);
    if (!task) return {};  // deleted at this moment
    for (const auto& input : task->inputs) {
        if (!input.blobs) continue;
        const std::string prefix = input.blobs->prefix + "/";
        std::string_view read = job_of_artifact(prefix);
        if (read.empty()) read = job_of_output(prefix);
        if (read.empty()) continue;
        readers.emplace(job.workspace + "/" + std::string(read), definition.key);
        if (const auto sweep = sweep_of(read); !sweep.empty())
            readers.emplace(job.workspace + "/" + std::string(sweep), definition.key);
    }
    return {};
}

}  // namespace

Task<Result<void>> find_readers(Services& services, Turn& turn, std::optional<Instant> since,
                                Readers& readers) {
    if (!since) {
        Range range{.limit = kNeedsPage};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services.store.scan(Table::Job, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY_VOID(add_readers(services, row, readers));
            }
            if (rows.size() < kNeedsPage) co_return {};
            range.from = rows.back().key + '\0';
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    TURNOUT_CO_TRY(const auto workspaces, services.assets.list_workspaces("", ""));
    for (const Workspace& workspace : workspaces) {
        Range range = with_prefix(workspace.id + "/", kNeedsPage);
        range.to =
            workspace.id + "/" + hex16_descending(static_cast<std::uint64_t>(since->micros) - 1);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services.store.scan(Table::JobCreated, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(
                    const auto definition,
                    services.store.get(
                        Table::Job, workspace.id + "/" + row.key.substr(row.key.rfind('/') + 1)));
                if (!definition) continue;
                TURNOUT_CO_TRY_VOID(add_readers(services, *definition, readers));
            }
            if (rows.size() < kNeedsPage) break;
            range.from = rows.back().key + '\0';
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    co_return {};
}

Task<Result<std::string>> living_job(Services& services, Turn& turn, std::string wsid,
                                     std::function<bool(const Json&)> uses) {
    Range range = with_prefix(wsid + "/", kNeedsPage);
    while (true) {
        TURNOUT_CO_TRY(const auto rows, services.store.scan(Table::JobLive, range));
        for (const Record& row : rows) {
            TURNOUT_CO_TRY(const auto definition, services.store.get(Table::Job, row.key));
            if (!definition) continue;
            TURNOUT_CO_TRY(const Json json, parse_json(definition->value));
            TURNOUT_CO_TRY(const JobRecord job, job_from_json(json));
            if (job.child.group.empty() &&
                (uses(job.definition) ||
                 std::ranges::any_of(job.plan.at("steps").items(), [&](const Json& step) {
                     return uses(step.at("definition"));
                 })))
                co_return job.name;
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        if (rows.size() < kNeedsPage) co_return std::string();
        range.from = rows.back().key + '\0';
    }
}

}  // namespace turnout::api::upkeep
