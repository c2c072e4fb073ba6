// Uploads and code that nothing names, and files whose job is gone.
#include <algorithm>
#include <set>
#include <unordered_map>

#include "api/upkeep/pruning.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "submission/reference.h"
#include "tracking/tracking.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::size_t kMaxUnits = 2'000;  // that one request removes
constexpr Span kUploadLife = 24h;  // younger uploads do not go for their size: one may be under way

class LooseData {
public:
    explicit LooseData(Round& round)
        : round_(round),
          services_(round.services),
          turn_(round.turn),
          dry_run_(round.dry_run),
          pace_(round.pace) {}

    Task<Result<Row>> data(Rule rule) {
        Row row{.kind = "data"};
        if (!rule.any()) co_return row;
        const Instant began = services_.clock.now();
        TURNOUT_CO_TRY(const Needs needs, co_await find_needs(services_, turn_, Whose::All));
        std::vector<Unit> units;
        TURNOUT_CO_TRY_VOID(co_await find_units(needs, rule, units));
        choose(units, rule);
        Doomed doomed;
        for (const Unit& unit : units) {
            doomed.add(unit.contents);
            row.add(unit.label, unit.why);
        }
        if (dry_run_) {
            TURNOUT_CO_TRY(row.bytes, co_await doomed.frees(services_.blobs, turn_));
            TURNOUT_CO_TRY(const std::uint64_t held, co_await held_bytes());
            row.bytes += held;
            co_return row;
        }
        TURNOUT_CO_TRY_VOID(co_await find_codes());
        // What was submitted while all that was being looked at.
        TURNOUT_CO_TRY(const auto newer, co_await used_since(began));
        for (const Unit& unit : units) {
            if (newer.contains(unit.container + "/") ||
                newer.contains(unit.container + "/" + unit.prefix))
                continue;
            TURNOUT_CO_TRY_VOID(co_await remove(unit));
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (pace_) co_await pace_->rest();
        }
        TURNOUT_CO_TRY(row.bytes, co_await round_.free(doomed));
        round_.tell("", row);
        co_return row;
    }

private:
    // What goes as one.
    struct Unit {
        std::string container, prefix;  // of all its names; "" = the container
        std::string label, why;
        Contents contents;
        std::uint64_t bytes = 0;
        Instant used{};
        bool needed = false;
    };

    // The oldest of what is too much in all, and what is too old by itself.
    void choose(std::vector<Unit>& units, const Rule& rule) {
        std::sort(units.begin(), units.end(),
                  [](const Unit& a, const Unit& b) { return a.used < b.used; });
        std::uint64_t left = 0;
        for (const Unit& unit : units) left += unit.bytes;
        const Instant latest = services_.clock.now() - kUploadLife;
        for (Unit& unit : units) {
            if (rule.before && unit.used < *rule.before)
                unit.why = rule.why_age;
            else if (rule.max_size && left > *rule.max_size && unit.used < latest)
                unit.why = rule.why_size;
            else
                continue;
            left -= unit.bytes;
        }
        std::erase_if(units, [](const Unit& unit) { return unit.why.empty(); });
        if (!dry_run_ && units.size() > kMaxUnits) {
            units.resize(kMaxUnits);
            round_.more = true;
        }
    }

    Task<Result<void>> find_codes() {
        Range range{.limit = kPrunePage};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::AssetVersion, range));
            for (const Record& row : rows) {
                const std::vector<std::string> parts = split(row.key, '/');
                if (parts.size() != 4 || parts[1] != "codes") continue;
                TURNOUT_CO_TRY(const Json code, parse_json(row.value));
                if (const auto blobs =
                        submission::blob_of_url(code.at("properties").at("codeUri").as_view()))
                    codes_[blobs->container] = {parts[2], parts[3]};
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < kPrunePage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    Task<Result<void>> find_units(const Needs& needs, const Rule& rule, std::vector<Unit>& units) {
        Unit unit;
        const auto end = [&] {
            if (unit.bytes > 0 && !unit.needed &&
                (rule.max_size || (rule.before && unit.used < *rule.before)))
                units.push_back(std::move(unit));
            unit = {};
        };
        std::string after;
        do {
            TURNOUT_CO_TRY(const Blobs::StoredPage page, services_.blobs.every(after, kPrunePage));
            for (const Blobs::Stored& blob : page.blobs) {
                TURNOUT_CO_TRY(Unit of, unit_of(blob.info));
                if (of.container != unit.container || of.prefix != unit.prefix) {
                    end();
                    unit = std::move(of);
                }
                if (unit.container.empty()) continue;
                unit.used = std::max(unit.used, blob.info.modified);
                unit.needed = unit.needed ||
                              needs.assets.hold(blob.info.container, blob.info.name) ||
                              needs.jobs.hold(blob.info.container, blob.info.name) ||
                              needs.codes.contains(blob.info.container) ||
                              is_fetched_for_a_living_job(needs, blob.info.container);
                if (unit.needed) {
                    unit.contents = {};
                    continue;
                }
                unit.bytes += std::max<std::uint64_t>(blob.info.size, 1);
                unit.contents.insert(unit.contents.end(), blob.contents.begin(),
                                     blob.contents.end());
            }
            after = page.next;
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            // What is too much in all is known when all was looked at.
            round_.more = !dry_run_ && !rule.max_size && units.size() >= kMaxUnits;
        } while (!after.empty() && !round_.more);
        if (!round_.more) end();  // else it may not be whole
        co_return {};
    }

    static bool is_fetched_for_a_living_job(const Needs& needs, const std::string& container) {
        const std::string wsid = workspace_of_container(container);
        return container == fetched_container(wsid) && needs.fetching.contains(wsid);
    }

    // Without container: nothing that could go.
    Result<Unit> unit_of(const BlobInfo& blob) {
        Unit unit;
        const std::string wsid = workspace_of_container(blob.container);
        if (is_code_container(blob.container, wsid)) {
            unit.container = blob.container;
            unit.label = "code " + blob.container.substr(wsid.size() + 1, 12);
        } else if (blob.container == blobstore_container(wsid) && blob.name.starts_with(kUploads)) {
            unit.container = blob.container;
            unit.prefix = blob.name.substr(0, blob.name.find('/', kUploads.size()) + 1);
            unit.label = "upload " + blob.name.substr(kUploads.size(), 12);
            if (unit.prefix.empty()) return Unit{};
        } else if (blob.container == fetched_container(wsid)) {
            unit.container = blob.container;
            unit.prefix = blob.name.substr(0, blob.name.find('/'));
            unit.label = "fetched " + unit.prefix.substr(0, 12);
        } else if (blob.container == artifact_container(wsid) &&
                   !job_of_artifact(blob.name).empty()) {
            const std::string job(job_of_artifact(blob.name));
            if (TURNOUT_TRY(services_.store.get(Table::Job, wsid + "/" + job)) ||
                TURNOUT_TRY(services_.tracking.find_run(wsid, job)))
                return Unit{};
            unit.container = blob.container;
            unit.prefix = artifacts_of(job);
            unit.label = "files of job " + job;
        }
        return unit;
    }

    // The same of the steps of a pipeline, whether they have their tasks or not.
    Result<void> add_used_by_steps(const Workspace& workspace, const JobRecord& job,
                                   std::set<std::string>& used) {
        for (const Json& step : job.plan.at("steps").items()) {
            const Json& definition = step.at("definition");
            const auto code =
                submission::parse_reference(definition.at("codeId").as_view(), workspace);
            if (code && code->form == submission::Reference::Form::Asset)
                if (const auto asset = TURNOUT_TRY(
                        services_.assets.resolve(workspace.id, "codes", code->name, code->version)))
                    if (const auto blobs =
                            submission::blob_of_url(asset->properties.at("codeUri").as_view()))
                        used.insert(blobs->container + "/");
            for (const auto& [name, input] : definition.at("inputs").members()) {
                const auto data = submission::parse_reference(input.at("uri").as_view(), workspace);
                if (!data || data->form != submission::Reference::Form::Path ||
                    !data->path.starts_with(kUploads))
                    continue;
                const auto store =
                    TURNOUT_TRY(services_.assets.find_datastore(workspace.id, data->datastore));
                if (store)
                    used.insert(store->at("containerName").as_string() + "/" +
                                data->path.substr(0, data->path.find('/', kUploads.size()) + 1));
            }
        }
        return {};
    }

    // "container/" of codes and "container/prefix/" of uploads that jobs which came since then
    // read.
    Task<Result<std::set<std::string>>> used_since(Instant began) {
        std::set<std::string> used;
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        for (const Workspace& workspace : workspaces) {
            Range range = with_prefix(workspace.id + "/", kPrunePage);
            range.to =
                workspace.id + "/" + hex16_descending(static_cast<std::uint64_t>(began.micros) - 1);
            while (true) {
                TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::JobCreated, range));
                for (const Record& created : rows) {
                    TURNOUT_CO_TRY(const auto job,
                                   read_job(services_.store, workspace.id,
                                            created.key.substr(created.key.rfind('/') + 1)));
                    if (!job) continue;
                    TURNOUT_CO_TRY_VOID(add_used_by_steps(workspace, job->record, used));
                    TURNOUT_CO_TRY(const auto task, read_task(services_.store, job->record));
                    if (task.code) used.insert(task.code->container + "/");
                    for (const auto& input : task.inputs)
                        if (input.blobs && input.blobs->prefix.starts_with(kUploads))
                            used.insert(input.blobs->container + "/" +
                                        input.blobs->prefix.substr(
                                            0, input.blobs->prefix.find('/', kUploads.size()) + 1));
                }
                if (rows.size() < kPrunePage) break;
                range.from = rows.back().key + '\0';
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
        }
        co_return used;
    }

    Task<Result<void>> remove(const Unit& unit) {
        // First what leads there, so that no job begins with what is on its way out.
        if (const auto code = codes_.find(unit.container); code != codes_.end()) {
            const Result<void> gone = co_await services_.assets.delete_version(
                workspace_of_container(unit.container), "codes", code->second.first,
                code->second.second);
            if (!gone && gone.error().code != Code::NotFound) co_return Failure(gone.error());
        }
        TURNOUT_CO_TRY([[maybe_unused]] const auto gone,
                       co_await services_.blobs.remove_all(unit.container, unit.prefix));
        co_return Result<void>();
    }

    Task<Result<std::uint64_t>> held_bytes() {
        std::uint64_t bytes = 0;
        Range range = with_prefix("h/", kPrunePage);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::BlobUse, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(const std::size_t uses,
                               services_.blobs.references(std::string_view(row.key).substr(2), 1));
                if (row.value.size() > 17 && uses == 0)
                    bytes += std::strtoull(row.value.c_str() + 17, nullptr, 10);
            }
            if (rows.size() < kPrunePage) co_return bytes;
            range.from = rows.back().key + '\0';
            TURNOUT_CO_TRY_VOID(co_await turn_.pass());
        }
    }

    Round& round_;
    Services& services_;
    Turn& turn_;
    const bool dry_run_;
    Pace* const pace_;
    std::unordered_map<std::string, std::pair<std::string, std::string>>
        codes_;  // container -> name, version
};

}  // namespace

Task<Result<Row>> prune_data(Round& round, Rule rule) {
    LooseData data(round);
    co_return co_await data.data(std::move(rule));
}

}  // namespace turnout::api::upkeep
