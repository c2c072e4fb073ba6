#include "api/upkeep/removal.h"

#include <memory>
#include <set>

#include "api/arm/resource.h"
#include "api/mlflow/wire.h"
#include "api/upkeep/bases.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "model/endpoint.h"
#include "model/sweep.h"
#include "submission/reference.h"
#include "tracking/tracking.h"

namespace turnout::api::upkeep {
namespace {

constexpr Span kBusy = 20ms;

// One job, without its trials: its files, its logged models, its run and logs, then itself. A new
// job of this name must not find any of them, so the job's own row goes last.
Task<Result<void>> remove_one(Services& services, std::string wsid, std::string name,
                              const Needs& needs, Removed& removed) {
    const auto keep_of = [&needs](const BlobInfo& blob) {
        return needs.assets.hold(blob.container, blob.name);
    };
    for (const auto& [container, prefix] : {std::pair{artifact_container(wsid), artifacts_of(name)},
                                            {blobstore_container(wsid), outputs_of(name)}}) {
        TURNOUT_CO_TRY(const Blobs::Removed files,
                       co_await services.blobs.remove_all(container, prefix, keep_of));
        removed.files += files.blobs;
        removed.bytes += files.bytes;
    }
    TURNOUT_CO_TRY(const std::uint64_t log_bytes, log_bytes_of(services, wsid, name));
    removed.log_bytes += log_bytes;
    TURNOUT_CO_TRY(const auto run, services.tracking.find_run(wsid, name));
    if (run)
        for (const auto& [tag, value] : run->tags.members()) {
            if (!tag.starts_with(mlflow::kModelTag)) continue;
            // Anybody may write a tag, and a run may name a model of another's.
            const std::string id = tag.substr(mlflow::kModelTag.size());
            TURNOUT_CO_TRY(const auto model, services.tracking.find_run(wsid, id));
            if (!model || !mlflow::is_model(*model) || mlflow::source_of_model(*model) != name)
                continue;
            TURNOUT_CO_TRY_VOID(co_await services.tracking.remove_job(wsid, id));
        }
    TURNOUT_CO_TRY_VOID(co_await services.tracking.remove_job(wsid, name));
    const auto ask = [&](auto reply) { services.control.delete_job(wsid, name, std::move(reply)); };
    const Result<void> gone = co_await arm::asked<void>(ask);
    if (!gone && gone.error().code != Code::NotFound) co_return Failure(gone.error());
    ++removed.jobs;
    co_return Result<void>();
}

Result<bool> has_files(Services& services, const std::string& wsid, const std::string& name) {
    for (const auto& [container, prefix] : {std::pair{artifact_container(wsid), artifacts_of(name)},
                                            {blobstore_container(wsid), outputs_of(name)}})
        if (const auto page = TURNOUT_TRY(services.blobs.every(container + "/" + prefix, 1));
            !page.blobs.empty() && page.blobs[0].info.container == container &&
            page.blobs[0].info.name.starts_with(prefix))
            return true;
    return false;
}

// Where the store has no room it waits: half of a removal helps nobody.
Task<Result<std::uint64_t>> write(Services& services, Batch batch) {
    while (true) {
        const auto written = co_await services.store.commit(Batch(batch));
        if (written || written.error().reason != "TooManyWrites") co_return written;
        co_await services.loop.sleep(kBusy);
    }
}

std::string key_of(const JobRecord& job) {
    return job.workspace + "/" + job.name;
}
// What the mark says of which job of that name goes.
std::string mark_of(const JobRecord& job) {
    return std::to_string(job.created.micros);
}

// Answers the mark's revision; Conflict if it is not at `expect`.
Task<Result<std::uint64_t>> put_mark(Services& services, const JobRecord& job,
                                     std::uint64_t expect) {
    Batch batch;
    batch.put(Table::Removal, key_of(job), mark_of(job), expect);
    co_return co_await write(services, std::move(batch));
}
Task<Result<void>> erase_mark(Services& services, std::string key, std::uint64_t revision) {
    Batch batch;
    batch.erase(Table::Removal, std::move(key), revision);
    const auto erased = co_await write(services, std::move(batch));
    if (!erased) co_return Failure(erased.error());
    co_return Result<void>();
}

}  // namespace

Result<std::uint64_t> log_bytes_of(Services& services, std::string_view wsid,
                                   std::string_view job) {
    std::uint64_t bytes = 0;
    for (const auto& [stream, length] : TURNOUT_TRY(services.tracking.log_streams(wsid, job)))
        bytes += length;
    return bytes;
}

Task<Result<Marked>> mark_job(Services& services, std::string wsid, std::string name) {
    while (true) {
        TURNOUT_CO_TRY(const auto stored, read_job(services.store, wsid, name));
        if (!stored) co_return not_found("job '" + name + "' does not exist", "job");
        const JobRecord& job = stored->record;
        if (!is_terminal(job.status))
            co_return fail(Code::FailedPrecondition, "JobNotEnded",
                           "job '" + name + "' has not ended; cancel it first", name);
        TURNOUT_CO_TRY(const auto there, services.store.get(Table::Removal, key_of(job)));
        if (there && there->value == mark_of(job)) co_return Marked{job, 0};
        const auto written = co_await put_mark(services, job, there ? there->revision : kAbsent);
        if (written) co_return Marked{job, *written};
        if (written.error().code != Code::Conflict) co_return Failure(written.error());
    }
}

Task<Result<std::deque<Marked>>> mark_jobs(Services& services, std::vector<JobRecord> jobs) {
    constexpr std::uint64_t kToCome = UINT64_MAX;  // is that of the commit
    while (true) {
        std::deque<Marked> marked;
        Batch batch;
        for (const JobRecord& job : jobs) {
            TURNOUT_CO_TRY(auto stored, read_job(services.store, job.workspace, job.name));
            if (!stored || stored->record.created != job.created) continue;
            TURNOUT_CO_TRY(const auto there, services.store.get(Table::Removal, key_of(job)));
            const bool ours = !there || there->value != mark_of(job);
            if (ours)
                batch.put(Table::Removal, key_of(job), mark_of(job),
                          there ? there->revision : kAbsent);
            marked.push_back({std::move(stored->record), ours ? kToCome : 0});
        }
        if (batch.empty()) co_return marked;
        const auto written = co_await write(services, std::move(batch));
        if (written) {
            for (Marked& one : marked)
                if (one.revision == kToCome) one.revision = *written;
            co_return marked;
        }
        if (written.error().code != Code::Conflict) co_return Failure(written.error());
    }
}

Task<void> unmark_job(Services& services, const Marked& marked) {
    // Where that fails too its removal is gone on with at the next start.
    if (marked.revision != 0) co_await erase_mark(services, key_of(marked.job), marked.revision);
}

Task<void> see_submitted(Services& services, const JobRecord& marked) {
    // It has ended, so this changes nothing: control answers when what came before is durable.
    const auto ask = [&](auto reply) {
        services.control.cancel_job(marked.workspace, marked.name, std::move(reply));
    };
    co_await arm::asked<void>(ask);
}

// Whoever waited for it may have left: what was begun is done.
Task<Result<Removed>> remove_marked(Services& services, Marked marked, const Needs& needs) {
    const JobRecord& job = marked.job;
    const std::string key = key_of(job);
    Turns::Turn own(services.removals, key);
    co_await own;
    TURNOUT_CO_TRY(const auto stored, read_job(services.store, job.workspace, job.name));
    if (!stored || stored->record.created != job.created) {
        co_await unmark_job(services, marked);
        co_return Removed{};
    }
    if (const auto reader = needs.readers.find(key); reader != needs.readers.end()) {
        co_await unmark_job(services, marked);
        co_return fail(Code::FailedPrecondition, "JobInUse",
                       "job '" + job.name + "' stays: " + reader->second +
                           ", which has not ended, reads its outputs",
                       job.name);
    }
    TURNOUT_CO_TRY(const auto mark, services.store.get(Table::Removal, key));
    bool there = mark && mark->value == mark_of(job);
    std::uint64_t revision = there ? mark->revision : 0;
    // From now on nobody else takes it back.
    if (there && revision != marked.revision) {
        const auto taken = co_await put_mark(services, job, revision);
        if (!taken && taken.error().code != Code::Conflict) co_return Failure(taken.error());
        there = taken.has_value();
        revision = taken.value_or(0);
    }
    if (!there)
        co_return fail(Code::Unavailable, "MarkTakenBack",
                       "job '" + job.name +
                           "' stays: a prune or a delete of it failed just now, "
                           "try again",
                       job.name);
    Turn turn(services);
    Removed removed;
    // Its trials have from it what they are: they go first. A job of a trial's name may be another.
    for (std::int64_t index = 0; index < job.sweep.created; ++index) {
        const std::string name = trial_name(job.name, index);
        TURNOUT_CO_TRY(const auto trial, read_job(services.store, job.workspace, name));
        if (!trial || trial->record.child.group != job.name) continue;
        TURNOUT_CO_TRY_VOID(co_await remove_one(services, job.workspace, name, needs, removed));
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    TURNOUT_CO_TRY_VOID(co_await remove_one(services, job.workspace, job.name, needs, removed));
    // The name is free when its mark is gone (`check_name_is_free`).
    TURNOUT_CO_TRY_VOID(co_await erase_mark(services, key, revision));
    co_return removed;
}

Task<Result<Removed>> remove_job(Services& services, std::string wsid, std::string name) {
    TURNOUT_CO_TRY(const Marked marked, co_await mark_job(services, wsid, name));
    Turn turn(services);
    bool files = kind_of(marked.job.type).group;
    if (!files) {
        const auto some = has_files(services, wsid, name);
        if (!some) {
            co_await unmark_job(services, marked);
            co_return Failure(some.error());
        }
        files = *some;
    }
    Needs needs;  // of a job without files nobody needs one
    if (files) {
        co_await see_submitted(services, marked.job);
        auto found = co_await find_needs(services, turn, Whose::Living);
        if (!found) {
            co_await unmark_job(services, marked);
            co_return Failure(found.error());
        }
        needs = std::move(*found);
    }
    auto removed = co_await remove_marked(services, marked, needs);
    if (removed && services.blobs.low_on_space()) {
        TURNOUT_CO_TRY_VOID(co_await services.blobs.collect(services.clock.now()));
    }
    co_return std::move(removed);
}

Result<void> check_stays(Services& services, std::string_view wsid, std::string_view job) {
    if (job.empty()) return {};
    const std::string key = std::string(wsid) + "/" + std::string(job);
    bool marked = TURNOUT_TRY(services.store.get(Table::Removal, key)).has_value();
    // A trial goes with its sweep.
    if (const auto sweep = sweep_of(job); !marked && !sweep.empty())
        marked = TURNOUT_TRY(services.store.get(Table::Removal,
                                                std::string(wsid) + "/" + std::string(sweep)))
                     .has_value();
    if (marked)
        return fail(Code::FailedPrecondition, "JobBeingDeleted",
                    "job '" + std::string(job) + "' is being deleted, with its files",
                    std::string(job));
    return {};
}

Task<Result<void>> check_name_is_free(Services& services, std::string wsid, std::string name) {
    for (const std::string& one : {name, std::string(sweep_of(name))}) {
        if (one.empty()) continue;
        const std::string key = wsid + "/" + one;
        TURNOUT_CO_TRY(const auto mark, services.store.get(Table::Removal, key));
        if (!mark) continue;
        TURNOUT_CO_TRY(const auto job, services.store.get(Table::Job, key));
        if (job) continue;
        Turns::Turn own(services.removals, key);
        co_await own;
        TURNOUT_CO_TRY(const auto left, services.store.get(Table::Removal, key));
        TURNOUT_CO_TRY(const auto made, services.store.get(Table::Job, key));
        if (left && !made) {
            TURNOUT_CO_TRY_VOID(co_await erase_mark(services, key, left->revision));
        }
    }
    co_return check_stays(services, wsid, name);
}

Result<void> check_place_stays(Services& services, std::string_view wsid,
                               std::string_view container, std::string_view path) {
    const std::string name = std::string(path) + "/";
    if (container == blobstore_container(wsid))
        return check_stays(services, wsid, job_of_output(name));
    if (container == artifact_container(wsid))
        return check_stays(services, wsid, job_of_artifact(name));
    return {};
}

Result<void> check_place_stays(Services& services, const Workspace& workspace,
                               std::string_view uri) {
    using Form = submission::Reference::Form;
    const auto reference = TURNOUT_TRY(submission::parse_reference(uri, workspace));
    if (reference.form == Form::JobOutput)
        return check_stays(services, workspace.id, reference.job);
    if (reference.form == Form::Path) {
        const auto store =
            TURNOUT_TRY(services.assets.find_datastore(workspace.id, reference.datastore));
        if (!store) return {};
        return check_place_stays(services, workspace.id, store->at("containerName").as_view(),
                                 reference.path);
    }
    if (const auto blobs = submission::blob_of_url(uri))
        return check_place_stays(services, workspace.id, blobs->container, blobs->prefix);
    return {};
}

// ---- workspaces

namespace {

constexpr std::size_t kRowsAtOnce = 500;
constexpr Span kBetweenLooks = 200ms;
constexpr Span kBetweenTries = 30s;

Task<Result<void>> erase_rows(Services& services, Turn& turn, Table table, std::string prefix) {
    while (true) {
        TURNOUT_CO_TRY(
            const auto rows,
            services.store.scan(
                table, with_prefix(prefix, table == Table::Log ? kRowsAtOnce / 10 : kRowsAtOnce)));
        if (rows.empty()) co_return Result<void>();
        Batch batch;
        for (const Record& row : rows) batch.erase(table, row.key);
        TURNOUT_CO_TRY_VOID(co_await write(services, std::move(batch)));
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
}

// Until no compute of it is there, and with them no job that lives and no node.
Task<Result<void>> end_all_that_lives(Services& services, std::string wsid) {
    std::set<std::string> told;
    while (true) {
        TURNOUT_CO_TRY(const auto computes,
                       services.store.scan(Table::Compute, with_prefix(wsid + "/")));
        TURNOUT_CO_TRY(const auto nodes,
                       services.store.scan(Table::Node, with_prefix(wsid + "/", 1)));
        if (computes.empty() && nodes.empty()) co_return Result<void>();
        for (const Record& compute : computes) {
            if (!told.insert(compute.key).second) continue;
            const auto ask = [&](auto reply) {
                services.control.delete_compute(wsid, compute.key.substr(wsid.size() + 1),
                                                std::move(reply));
            };
            const Result<void> asked = co_await arm::asked<void>(ask);
            if (!asked && asked.error().code != Code::NotFound) co_return Failure(asked.error());
        }
        co_await services.loop.sleep(kBetweenLooks);
    }
}

// Every step may be repeated: what is gone already is passed over.
Task<Result<void>> remove_workspace(Services& services, std::string wsid) {
    Turn turn(services);
    access::Scope gone{wsid};
    TURNOUT_CO_TRY_VOID(co_await services.authority.forget(std::move(gone)));
    TURNOUT_CO_TRY_VOID(co_await end_all_that_lives(services, wsid));
    services.control.forget_workspace(wsid);
    for (const std::string& container : {blobstore_container(wsid), artifact_container(wsid)}) {
        TURNOUT_CO_TRY_VOID(co_await services.blobs.remove_all(container, ""));
    }
    for (const Table table : {Table::Blob, Table::BlobBlock})
        while (true) {
            TURNOUT_CO_TRY(const auto first,
                           services.store.scan(table, with_prefix(wsid + "-", 1)));
            if (first.empty()) break;
            const std::string container = first.front().key.substr(0, first.front().key.find('/'));
            TURNOUT_CO_TRY_VOID(co_await services.blobs.remove_all(container, ""));
        }
    TURNOUT_CO_TRY(const auto experiments, services.tracking.list_experiments(wsid));
    for (const Experiment& experiment : experiments) {
        Batch batch;
        batch.erase(Table::ExperimentById, experiment.id);
        TURNOUT_CO_TRY_VOID(co_await write(services, std::move(batch)));
    }
    for (const Table table :
         {Table::Log,          Table::Metric,   Table::RunCreated,       Table::Run,
          Table::Experiment,   Table::Ledger,   Table::JobLive,          Table::JobCreated,
          Table::JobState,     Table::Job,      Table::TaskBase,         Table::StepRun,
          Table::Registration, Table::CodeHash, Table::AssetVersion,     Table::AssetContainer,
          Table::Datastore,    Table::Secret,   Table::OnlineDeployment, Table::OnlineEndpoint}) {
        TURNOUT_CO_TRY_VOID(co_await erase_rows(services, turn, table, wsid + "/"));
    }
    TURNOUT_CO_TRY_VOID(co_await erase_rows(services, turn, Table::Removal, wsid + "/"));
    if (services.blobs.low_on_space()) {
        TURNOUT_CO_TRY_VOID(co_await services.blobs.collect(services.clock.now()));
    }
    co_return Result<void>();
}

}  // namespace

// A disk may be full, and a node may take its time.
Task<void> keep_removing(Services& services, std::string wsid) {
    while (true) {
        const Result<void> removed = co_await remove_workspace(services, wsid);
        if (removed) co_return;
        co_await services.loop.sleep(kBetweenTries);
    }
}

Result<bool> is_removed(Services& services, std::string_view wsid) {
    return !TURNOUT_TRY(services.store.get(Table::Removal, std::string(wsid) + "/")).has_value();
}

Task<Result<void>> begin_removal_of(Services& services, Workspace workspace, bool living_too) {
    const std::string prefix = workspace.id + "/";
    TURNOUT_CO_TRY(const auto jobs, services.store.scan(Table::JobLive, with_prefix(prefix, 1)));
    TURNOUT_CO_TRY(const auto computes, services.store.scan(Table::Compute, with_prefix(prefix)));
    TURNOUT_CO_TRY(const auto kept, services.store.scan(Table::Service, with_prefix(prefix, 1)));
    std::string what;
    if (!kept.empty())
        what = "service '" + kept.front().key.substr(prefix.size()) + "'";
    else if (!jobs.empty())
        what = "job '" + jobs.front().key.substr(prefix.size()) + "', which has not ended";
    for (const Record& compute : computes)
        if (const std::string name = compute.key.substr(prefix.size());
            what.empty() && name != "serverless" && shown_compute(name) == name &&
            !is_inference_compute(name))
            what = "compute '" + name + "'";
    if (!what.empty() && !living_too)
        co_return fail(Code::FailedPrecondition, "WorkspaceInUse",
                       "workspace '" + workspace.name + "' has " + what +
                           ": end that first, or delete the workspace with all in it "
                           "(permanently_delete, `turnout workspace delete --permanently-delete`)",
                       "workspace");
    std::vector<Write> rows;
    rows.push_back({Table::Removal, prefix, workspace.name, std::nullopt});
    TURNOUT_CO_TRY_VOID(co_await services.assets.delete_workspace(workspace, std::move(rows)));
    start(keep_removing(services, workspace.id), [] {});
    co_return Result<void>();
}

}  // namespace turnout::api::upkeep

namespace turnout::api {
namespace {

Task<void> resume_all(Services& services) {
    // Read before anything new is begun.
    const auto begun = services.store.scan(Table::Removal, {.limit = 100'000});
    if (!begun) co_return;
    for (const Record& row : *begun) {
        const std::size_t slash = row.key.find('/');
        const std::string wsid = row.key.substr(0, slash), name = row.key.substr(slash + 1);
        if (name.empty()) {
            start(upkeep::keep_removing(services, wsid), [] {});
            continue;
        }
        const auto job = read_job(services.store, wsid, name);
        // Another one of this name may have come since.
        const bool same = job && *job && std::to_string((*job)->record.created.micros) == row.value;
        if (same) {
            const auto removed = co_await upkeep::remove_job(services, wsid, name);
            // Then nothing of it went: an earlier life had only marked it.
            if (!removed && removed.error().reason == "JobInUse") {
                Batch batch;
                batch.erase(Table::Removal, row.key, row.revision);
                co_await services.store.commit(std::move(batch));
            }
        } else if (job) {
            Batch batch;
            batch.erase(Table::Removal, row.key, row.revision);
            co_await services.store.commit(std::move(batch));
        }
    }
    // Those of jobs that an earlier life deleted. What cannot be read now is looked at by the next.
    Turn turn(services);
    co_await upkeep::erase_unused_bases(services, turn);
}

}  // namespace

void resume_removals(Services& services) {
    start(resume_all(services), [] {});
}

}  // namespace turnout::api
