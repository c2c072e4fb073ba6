// Experiments and runs.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "tracking/state.h"

namespace turnout {
namespace {

constexpr int kTries = 8;
constexpr std::size_t kMaxWaitingChanges = 10'000;
constexpr Span kBusy = 20ms;  // then it is tried again whether the store has room
constexpr std::size_t kMaxWritesPerCommit = 4'000;

std::int64_t to_ms(Instant at) {
    return at.micros / 1000;
}

std::string run_created_prefix(std::string_view wsid, std::string_view experiment) {
    return std::string(wsid) + "/" + std::string(experiment) + "/";
}

Json to_json(std::string_view wsid, const Experiment& experiment) {
    return Json::object({{"id", experiment.id},
                         {"workspace", wsid},
                         {"name", experiment.name},
                         {"created", experiment.created.micros},
                         {"tags", experiment.tags}});
}

Result<Experiment> decode_experiment(const Record& row) {
    const Json json = TURNOUT_TRY(parse_json(row.value));
    return Experiment{json.at("id").as_string(), json.at("name").as_string(),
                      Instant{json.at("created").as_int()}, json.at("tags")};
}

Result<void> check_experiment_name(std::string_view name) {
    if (name.empty()) return invalid("an experiment needs a name", "name");
    if (const std::size_t length = count_characters(name); length > kMaxExperimentName)
        return invalid("the experiment's name has " + std::to_string(length) +
                           " characters; at most " + std::to_string(kMaxExperimentName) +
                           " are allowed",
                       "name");
    if (!is_utf8(name)) return invalid("the experiment's name is not valid UTF-8", "name");
    return {};
}

Error closing() {
    return Error{
        Code::Unavailable, "ShuttingDown", "the server is shutting down: try again", {}, nullptr};
}

Run run_of_job(std::string_view job, const Experiment& experiment, std::string_view display_name,
               std::string_view user) {
    Run run;
    run.id = job;
    run.experiment_id = experiment.id;
    run.name = display_name;
    run.user = user;
    run.status = "SCHEDULED";
    run.of_job = true;
    run.tags.set("mlflow.runName", display_name);
    run.tags.set("mlflow.user", user);
    return run;
}

Error no_run(std::string_view run_id) {
    return not_found("run '" + std::string(run_id) + "' does not exist", std::string(run_id))
        .error();
}

}  // namespace

std::string run_created_key(std::string_view wsid, std::string_view experiment_id, Instant created,
                            std::string_view run_id) {
    return run_created_prefix(wsid, experiment_id) +
           hex16_descending(static_cast<std::uint64_t>(created.micros)) + "/" + std::string(run_id);
}

std::string run_created_key(std::string_view wsid, const RunRecord& record) {
    return run_created_key(wsid, record.run.experiment_id, record.created, record.run.id);
}

// ---- life ----

Tracking::Tracking(Store& store, const Clock& clock, Random& random, Loop& loop,
                   std::size_t log_room)
    : state_(std::make_shared<State>(store, clock, random, loop, log_room)) {}

Tracking::~Tracking() {
    state_->close();
}

void Tracking::set_trials(FindTrial find) {
    state_->find_trial = std::move(find);
}
void Tracking::set_observer(std::function<void(const std::string&, const std::string&)> logged) {
    state_->logged = std::move(logged);
}

void Tracking::State::commit(Batch batch, Store::Done done) {
    batch.give_back = [state = weak_from_this()](Batch same, Store::Done waits) {
        const auto self = state.lock();
        if (!self) return waits(Failure(closing()));
        self->loop.after(kBusy,
                         [state, same = std::move(same), waits = std::move(waits)]() mutable {
                             const auto again = state.lock();
                             if (!again || again->closed) return waits(Failure(closing()));
                             again->store.commit(std::move(same), std::move(waits));
                         });
    };
    store.commit(std::move(batch), std::move(done));
}

Task<Result<std::uint64_t>> Tracking::State::commit(Batch batch) {
    Later<Result<std::uint64_t>> later;
    commit(std::move(batch),
           [settle = later.settle()](Result<std::uint64_t> result) { settle(std::move(result)); });
    co_return co_await later;
}

void Tracking::State::close() {
    const auto self = shared_from_this();  // callbacks below may let go of it
    closed = true;
    std::vector<RunChange> changes;
    for (auto& [key, queue] : run_queues) {
        for (RunChange& change : queue.waiting) changes.push_back(std::move(change));
        queue.waiting.clear();
    }
    std::vector<LogAppend> appends;
    for (auto& [key, stream] : busy_streams) {
        for (LogAppend& append : stream->waiting) appends.push_back(std::move(append));
        stream->waiting.clear();
    }
    auto waiting = std::exchange(waiters, {});
    for (RunChange& change : changes) change.done(Failure(closing()));
    for (LogAppend& append : appends) append.done(Failure(closing()));
    for (auto& [job, list] : waiting)
        for (const auto& waiter : list) waiter->fire();
}

// ---- experiments ----

Result<std::optional<Experiment>> Tracking::experiment_by_name(std::string_view wsid,
                                                               std::string_view name) {
    const std::string key = key_of(wsid, name);
    const auto row = TURNOUT_TRY(state_->store.get(Table::Experiment, key));
    if (!row) return std::optional<Experiment>();
    // Parsed anew only when its row has changed: every job of an experiment asks for it.
    if (const auto* known = state_->experiments.find(key); known && known->first == row->revision)
        return std::optional(known->second);
    Experiment experiment = TURNOUT_TRY(decode_experiment(*row));
    state_->experiments.put(key, {row->revision, experiment});
    return std::optional(std::move(experiment));
}

Result<std::optional<Experiment>> Tracking::experiment_by_id(std::string_view wsid,
                                                             std::string_view id) {
    const auto row = TURNOUT_TRY(state_->store.get(Table::ExperimentById, id));
    if (!row) return std::optional<Experiment>();
    const Json json = TURNOUT_TRY(parse_json(row->value));
    if (json.at("workspace").as_view() != wsid) return std::optional<Experiment>();
    return experiment_by_name(wsid, json.at("name").as_view());
}

Result<std::vector<Experiment>> Tracking::list_experiments(std::string_view wsid) {
    std::vector<Experiment> experiments;
    Range range = with_prefix(std::string(wsid) + "/");
    for (;;) {
        const auto rows = TURNOUT_TRY(state_->store.scan(Table::Experiment, range));
        for (const Record& row : rows) experiments.push_back(TURNOUT_TRY(decode_experiment(row)));
        if (rows.size() < range.limit) return experiments;
        range.from = rows.back().key + '\0';
    }
}

Task<Result<Experiment>> Tracking::create_experiment(std::string wsid, std::string name,
                                                     Json tags) {
    const auto state = state_;
    TURNOUT_CO_TRY_VOID(check_experiment_name(name));
    if (!tags.is_object()) tags = Json::object();
    for (int tries = 0; tries < kTries; ++tries) {
        TURNOUT_CO_TRY(const auto there, state->store.get(Table::Experiment, key_of(wsid, name)));
        if (there)
            co_return fail(Code::Conflict, "ResourceExists",
                           "experiment '" + name + "' exists already", name);
        Experiment experiment;
        experiment.id =
            std::to_string(100'000'000'000'000 + state->random.next() % 900'000'000'000'000);
        experiment.name = name;
        experiment.created = state->clock.now();
        experiment.tags = tags;
        Batch batch;
        batch.put(Table::Experiment, key_of(wsid, name), to_json(wsid, experiment).dump(), kAbsent);
        batch.put(Table::ExperimentById, experiment.id,
                  Json::object({{"workspace", wsid}, {"name", name}}).dump(), kAbsent);
        const auto written = co_await state->commit(std::move(batch));
        if (written) co_return experiment;
        if (written.error().code != Code::Conflict) co_return Failure(written.error());
    }
    co_return fail(Code::Conflict, "Busy", "experiment '" + name + "' is being changed: try again",
                   name);
}

Task<Result<Experiment>> Tracking::ensure_experiment(std::string wsid, std::string name) {
    const auto state = state_;
    const auto there = experiment_by_name(wsid, name);
    if (!there) co_return Failure(there.error());
    if (*there) co_return **there;
    auto created = co_await create_experiment(wsid, name, Json::object());
    if (created || created.error().reason != "ResourceExists") co_return created;
    TURNOUT_CO_TRY(const auto row, state->store.get(Table::Experiment, key_of(wsid, name)));
    if (!row) co_return Failure(created.error());
    co_return decode_experiment(*row);
}

Task<Result<Experiment>> Tracking::update_experiment(std::string wsid, std::string id,
                                                     std::optional<std::string> name, Json tags) {
    const auto state = state_;
    if (name) {
        TURNOUT_CO_TRY_VOID(check_experiment_name(*name));
    }
    Turns::Turn turn(state->experiment_turns, wsid);  // of them all: names move
    co_await turn;
    TURNOUT_CO_TRY(const auto by_id, state->store.get(Table::ExperimentById, id));
    TURNOUT_CO_TRY(const Json pointer, by_id ? parse_json(by_id->value) : Result<Json>(Json()));
    if (pointer.at("workspace").as_view() != wsid)
        co_return not_found("experiment '" + id + "' does not exist", id);
    const std::string old_name = pointer.at("name").as_string();
    TURNOUT_CO_TRY(const auto row, state->store.get(Table::Experiment, key_of(wsid, old_name)));
    if (!row)
        co_return internal("experiment '" + id + "' has no row of its name '" + old_name + "'");
    TURNOUT_CO_TRY(Experiment experiment, decode_experiment(*row));
    for (const auto& [key, value] : tags.members()) experiment.tags.set(key, value);
    if (experiment.tags.members().size() > kMaxKeysPerRun)
        co_return fail(Code::ResourceExhausted, "TooManyKeys",
                       "experiment '" + id + "' has too many tags", id);
    Batch batch;
    if (name && *name != old_name) {
        TURNOUT_CO_TRY(const auto taken, state->store.get(Table::Experiment, key_of(wsid, *name)));
        if (taken)
            co_return fail(Code::Conflict, "ResourceExists",
                           "experiment '" + *name + "' exists already", *name);
        experiment.name = *name;
        batch.erase(Table::Experiment, key_of(wsid, old_name), row->revision);
        batch.put(Table::ExperimentById, id,
                  Json::object({{"workspace", wsid}, {"name", *name}}).dump(), by_id->revision);
        batch.put(Table::Experiment, key_of(wsid, *name), to_json(wsid, experiment).dump(),
                  kAbsent);
    } else {
        batch.put(Table::Experiment, key_of(wsid, old_name), to_json(wsid, experiment).dump(),
                  row->revision);
    }
    TURNOUT_CO_TRY_VOID(co_await state->commit(std::move(batch)));
    co_return experiment;
}

// ---- runs: reads ----

Result<std::optional<RunRecord>> Tracking::State::trial_record(const std::string& run_key) {
    if (!find_trial) return std::optional<RunRecord>();
    const std::size_t slash = run_key.find('/');
    auto trial = TURNOUT_TRY(find_trial(std::string_view(run_key).substr(0, slash),
                                        std::string_view(run_key).substr(slash + 1)));
    if (!trial) return std::optional<RunRecord>();
    const RunRef sweep = TURNOUT_TRY(load_run(run_key.substr(0, slash + 1) + trial->sweep));
    if (!sweep) return std::optional<RunRecord>();
    RunRecord record;
    Run& run = record.run;
    run.id = run_key.substr(slash + 1);
    run.experiment_id = sweep->run.experiment_id;
    run.name = trial->display_name;
    run.user = sweep->run.user;
    run.status = "SCHEDULED";
    run.of_job = true;
    run.start_ms = to_ms(trial->created);
    run.params = trial->parameters;
    for (const auto& [name, value] : trial->parameters.members()) record.given.push_back(name);
    run.tags.set("mlflow.runName", run.name);
    run.tags.set("mlflow.user", run.user);
    run.tags.set("mlflow.parentRunId", trial->sweep);
    run.tags.set("mlflow.rootRunId", trial->sweep);
    Json given = Json::object();  // numbers as such, as Azure ML's clients expect
    for (const auto& [name, value] : trial->parameters.members()) {
        const Result<Json> number = parse_json(value.as_view());
        given.set(name, number && number->is_number() ? *number : value);
    }
    run.tags.set("hyperparameters", given.dump());
    record.created = trial->created;
    record.revision = kAbsent;
    return std::optional(std::move(record));
}

Result<RunRef> Tracking::State::load_run(const std::string& run_key) {
    if (const RunRef* hot = runs.find(run_key)) return *hot;
    const auto row = TURNOUT_TRY(store.get(Table::Run, run_key));
    RunRef record;
    if (row) {
        record = std::make_shared<const RunRecord>(TURNOUT_TRY(decode_run(*row)));
    } else {
        auto trial = TURNOUT_TRY(trial_record(run_key));
        if (!trial) return RunRef();
        record = std::make_shared<const RunRecord>(std::move(*trial));
    }
    runs.put(run_key, record);
    return record;
}

Result<std::optional<Run>> Tracking::find_run(std::string_view wsid, std::string_view run_id) {
    const RunRef record = TURNOUT_TRY(state_->load_run(key_of(wsid, run_id)));
    if (!record) return std::optional<Run>();
    return std::optional(record->run);
}

Result<RunPage> Tracking::page_runs(std::string_view wsid, std::string_view experiment_id,
                                    std::string_view after, std::size_t limit) {
    RunPage page;
    const std::string prefix = run_created_prefix(wsid, experiment_id);
    Range range = with_prefix(prefix);
    if (!after.empty()) range.from = prefix + std::string(after) + '\0';
    range.limit = limit + 1;
    const auto rows = TURNOUT_TRY(state_->store.scan(Table::RunCreated, range));
    for (std::size_t i = 0; i < rows.size() && i < limit; ++i) {
        const std::string rest = rows[i].key.substr(prefix.size());
        const std::string run_key =
            key_of(wsid, std::string_view(rest).substr(std::min<std::size_t>(17, rest.size())));
        // Past the cache: a search must not push out the runs that are being logged to.
        if (const RunRef* hot = state_->runs.find(run_key)) {
            page.runs.push_back((*hot)->run);
        } else if (const auto row = TURNOUT_TRY(state_->store.get(Table::Run, run_key))) {
            page.runs.push_back(std::move(TURNOUT_TRY(decode_run(*row)).run));
        } else if (auto trial = TURNOUT_TRY(state_->trial_record(run_key))) {
            page.runs.push_back(std::move(trial->run));
        }
        if (i + 1 == limit && rows.size() > limit) page.next = rest;
    }
    return page;
}

Result<std::vector<Run>> Tracking::list_runs(std::string_view wsid, std::string_view experiment_id,
                                             std::size_t limit) {
    return std::move(TURNOUT_TRY(page_runs(wsid, experiment_id, "", limit)).runs);
}

Result<MetricPage> Tracking::metric_page(std::string_view wsid, std::string_view run_id,
                                         std::string_view key, std::string_view after,
                                         std::size_t limit) {
    const std::string run_key = key_of(wsid, run_id);
    if (!TURNOUT_TRY(state_->load_run(run_key))) return Failure(no_run(run_id));
    const std::string prefix = metric_prefix(run_key, key);
    Range range = with_prefix(prefix);
    if (!after.empty()) range.from = prefix + std::string(after) + '\0';
    range.limit = limit + 1;
    const auto rows = TURNOUT_TRY(state_->store.scan(Table::Metric, range));
    MetricPage page;
    for (std::size_t i = 0; i < rows.size() && i < limit; ++i) {
        page.metrics.push_back(TURNOUT_TRY(decode_metric(key, rows[i])));
        if (i + 1 == limit && rows.size() > limit) page.next = rows[i].key.substr(prefix.size());
    }
    return page;
}

Result<std::vector<Metric>> Tracking::metric_history(std::string_view wsid, std::string_view run_id,
                                                     std::string_view key, std::size_t limit) {
    return std::move(TURNOUT_TRY(metric_page(wsid, run_id, key, "", limit)).metrics);
}

// ---- runs: writes ----
//
// A run's row is read, changed and written by everything that is logged to it. While one commit of
// a run is in flight, further changes of it wait and then go together into the next one: no update
// is lost, and a busy client costs one commit per round trip of the disk, not one per call.

void Tracking::State::change_run(const std::string& run_key, RunChange change) {
    if (closed) return change.done(Failure(closing()));
    RunQueue& queue = run_queues[run_key];
    if (queue.waiting.size() >= kMaxWaitingChanges)
        return change.done(
            fail(Code::ResourceExhausted, "TooManyRequests",
                 "too many writes of run '" + run_key + "' are waiting: try again later"));
    queue.waiting.push_back(std::move(change));
    pump_run(run_key);
}

void Tracking::State::pump_run(const std::string& run_key) {
    for (;;) {
        const auto found = run_queues.find(run_key);
        if (found == run_queues.end() || found->second.busy) return;
        if (found->second.waiting.empty()) {
            run_queues.erase(found);
            return;
        }
        RunQueue& queue = found->second;
        queue.busy = true;
        std::vector<std::pair<RunChange, Result<bool>>> taken;
        std::shared_ptr<RunRecord> draft;
        Batch batch;
        const Result<RunRef> base = load_run(run_key);
        bool changed = false;
        if (!base || !*base) {
            const Error error = base ? no_run(run_key.substr(run_key.find('/') + 1)) : base.error();
            for (RunChange& change : queue.waiting)
                taken.emplace_back(std::move(change), Failure(error));
            queue.waiting.clear();
        } else {
            draft = std::make_shared<RunRecord>(**base);
            while (!queue.waiting.empty() && batch.writes.size() < kMaxWritesPerCommit) {
                RunChange change = std::move(queue.waiting.front());
                queue.waiting.pop_front();
                Result<bool> edited = change.edit(*draft, batch);
                changed = changed || (edited && *edited);
                taken.emplace_back(std::move(change), std::move(edited));
            }
        }
        if (changed) {
            batch.put(Table::Run, run_key, encode(*draft), (*base)->revision);
            commit(std::move(batch),
                   [self = shared_from_this(), run_key, draft,
                    taken = std::move(taken)](Result<std::uint64_t> revision) mutable {
                       self->run_committed(run_key, std::move(draft), std::move(taken),
                                           std::move(revision));
                   });
            return;
        }
        for (auto& [change, edited] : taken)
            change.done(edited ? Result<RunRef>(*base) : Result<RunRef>(Failure(edited.error())));
        run_queues[run_key].busy = false;
    }
}

void Tracking::State::run_committed(const std::string& run_key, std::shared_ptr<RunRecord> draft,
                                    std::vector<std::pair<RunChange, Result<bool>>> taken,
                                    Result<std::uint64_t> revision) {
    RunQueue& queue = run_queues[run_key];
    RunRef record;
    if (revision) {
        draft->revision = *revision;
        record = std::move(draft);
        runs.put(run_key, record);
        queue.conflicts = 0;
    } else {
        runs.erase(run_key);
        if (revision.error().code == Code::Conflict && ++queue.conflicts < kTries && !closed) {
            for (auto at = taken.rbegin(); at != taken.rend(); ++at)
                queue.waiting.push_front(std::move(at->first));
            queue.busy = false;
            pump_run(run_key);
            return;
        }
    }
    for (auto& [change, edited] : taken) {
        if (!edited)
            change.done(Failure(edited.error()));
        else if (!revision)
            change.done(Failure(revision.error()));
        else
            change.done(record);
    }
    run_queues[run_key].busy = false;  // looked up anew: the callbacks may have moved it
    pump_run(run_key);
}

Task<Result<RunRef>> Tracking::State::changed_run(
    std::shared_ptr<State> state, std::string run_key,
    std::function<Result<bool>(RunRecord&, Batch&)> edit) {
    Later<Result<RunRef>> later;
    state->change_run(run_key, {std::move(edit), [settle = later.settle()](Result<RunRef> result) {
                                    settle(std::move(result));
                                }});
    co_return co_await later;
}

RunRecord Tracking::State::new_record(Run run) const {
    RunRecord record;
    record.created = clock.now();
    if (run.id.empty()) run.id = to_hex(random.bytes(16));
    if (run.start_ms == 0) run.start_ms = to_ms(record.created);
    if (!run.params.is_object()) run.params = Json::object();
    if (!run.tags.is_object()) run.tags = Json::object();
    record.run = std::move(run);
    return record;
}

Task<Result<Run>> Tracking::State::insert_run(std::shared_ptr<State> state, std::string wsid,
                                              Run run) {
    RunRecord record = state->new_record(std::move(run));
    Batch batch;
    batch.put(Table::Run, key_of(wsid, record.run.id), encode(record), kAbsent);
    batch.put(Table::RunCreated, run_created_key(wsid, record), "1");
    const auto revision = co_await state->commit(std::move(batch));
    if (!revision) {
        if (revision.error().code == Code::Conflict)
            co_return fail(Code::Conflict, "ResourceExists",
                           "run '" + record.run.id + "' exists already", record.run.id);
        co_return Failure(revision.error());
    }
    record.revision = *revision;
    Run made = record.run;
    state->runs.put(key_of(wsid, made.id), std::make_shared<const RunRecord>(std::move(record)));
    co_return made;
}

Task<Result<Run>> Tracking::create_run(std::string wsid, Run run) {
    TURNOUT_CO_TRY_VOID(check_run_status(run.status));
    LogBatch tags;
    for (const auto& [key, value] : run.tags.members())
        tags.tags.emplace_back(key, value.as_string());
    TURNOUT_CO_TRY_VOID(check_batch(tags));
    for (auto& [key, value] : tags.tags) run.tags.set(key, std::move(value));
    co_return co_await State::insert_run(state_, std::move(wsid), std::move(run));
}

Result<std::vector<Write>> Tracking::rows_of_job_run(std::string_view wsid, std::string_view job,
                                                     const Experiment& experiment,
                                                     std::string_view display_name,
                                                     std::string_view user) {
    if (TURNOUT_TRY(state_->load_run(key_of(wsid, job)))) return std::vector<Write>();
    const RunRecord record = state_->new_record(run_of_job(job, experiment, display_name, user));
    Batch batch;
    batch.put(Table::Run, key_of(wsid, job), encode(record));
    batch.put(Table::RunCreated, run_created_key(wsid, record), "1");
    return std::move(batch.writes);
}

Task<Result<Run>> Tracking::ensure_job_run(std::string wsid, std::string job,
                                           std::string experiment, std::string display_name,
                                           std::string user) {
    const auto state = state_;
    TURNOUT_CO_TRY(const RunRef there, state->load_run(key_of(wsid, job)));
    if (there) co_return there->run;
    TURNOUT_CO_TRY(const Experiment home, co_await ensure_experiment(wsid, experiment));
    auto made = co_await State::insert_run(state, wsid, run_of_job(job, home, display_name, user));
    if (made || made.error().code != Code::Conflict) co_return made;
    TURNOUT_CO_TRY(const RunRef other, state->load_run(key_of(wsid, job)));
    if (!other) co_return Failure(made.error());
    co_return other->run;
}

Task<Result<Run>> Tracking::edit_run(std::string wsid, std::string run_id, RunEdit edit) {
    if (edit.status) {
        TURNOUT_CO_TRY_VOID(check_run_status(*edit.status));
    }
    if (edit.name && count_characters(*edit.name) > kMaxTagValue)
        co_return invalid(
            "the run's name is too long: at most " + std::to_string(kMaxTagValue) + " characters",
            "run_name");
    const std::string run_key = key_of(wsid, run_id);
    const auto apply_edit = [edit, run_id, run_key](RunRecord& record, Batch& out) -> Result<bool> {
        for (const std::string& tag : edit.erase_tags)
            if (!record.run.tags.has(tag))
                return not_found("run '" + run_id + "' has no tag '" + tag + "'", tag);
        LogBatch set;
        std::vector<std::string> gone = edit.erase_tags;
        for (const auto& [tag, change] : edit.tags) {
            std::optional<std::string> value = change(record.run.tags.at(tag).as_view());
            if (value)
                set.tags.emplace_back(tag, std::move(*value));
            else
                gone.push_back(tag);
        }
        TURNOUT_TRY(check_batch(set));
        const bool was_deleted = record.run.deleted;
        if (edit.deleted == false) record.run.deleted = false;  // what is restored may be tagged
        if (!set.tags.empty())
            if (const Result<bool> done = apply(record, set, run_key, out); !done) {
                record.run.deleted = was_deleted;  // others share this draft
                return Failure(done.error());
            }
        for (const std::string& tag : gone) record.run.tags.erase(tag);
        if (edit.status) record.run.status = *edit.status;
        if (edit.end_ms) record.run.end_ms = *edit.end_ms;
        if (edit.deleted) record.run.deleted = *edit.deleted;
        if (edit.name && !edit.name->empty()) {
            record.run.name = *edit.name;
            record.run.tags.set("mlflow.runName", *edit.name);
        }
        return true;
    };
    TURNOUT_CO_TRY(const RunRef record, co_await State::changed_run(state_, run_key, apply_edit));
    co_return record->run;
}

Task<Result<void>> Tracking::move_run(std::string wsid, std::string run_id,
                                      std::string experiment_id) {
    const std::string run_key = key_of(wsid, run_id);
    TURNOUT_CO_TRY(const RunRef there, state_->load_run(run_key));
    if (!there || there->run.experiment_id == experiment_id) co_return {};
    const auto move = [wsid, experiment_id](RunRecord& record, Batch& batch) -> Result<bool> {
        batch.erase(Table::RunCreated, run_created_key(wsid, record));
        record.run.experiment_id = experiment_id;
        batch.put(Table::RunCreated, run_created_key(wsid, record), "1");
        return true;
    };
    TURNOUT_CO_TRY_VOID(co_await State::changed_run(state_, run_key, move));
    co_return {};
}

Task<Result<Run>> Tracking::update_run(std::string wsid, std::string run_id,
                                       std::optional<std::string> status,
                                       std::optional<std::int64_t> end_ms,
                                       std::optional<std::string> name) {
    RunEdit edit;
    edit.status = std::move(status);
    edit.end_ms = end_ms;
    edit.name = std::move(name);
    co_return co_await edit_run(std::move(wsid), std::move(run_id), std::move(edit));
}

Task<Result<void>> Tracking::log(std::string wsid, std::string run_id, LogBatch batch) {
    const auto state = state_;
    TURNOUT_CO_TRY_VOID(check_batch(batch));
    const std::string run_key = key_of(wsid, run_id);
    const auto shared =
        std::make_shared<const LogBatch>(std::move(batch));  // shared: std::function copies
    const auto edit = [shared, run_key](RunRecord& record, Batch& out) {
        return apply(record, *shared, run_key, out);
    };
    TURNOUT_CO_TRY_VOID(co_await State::changed_run(state, run_key, edit));
    if (state->logged && !shared->metrics.empty()) state->logged(wsid, run_id);
    co_return {};
}

}  // namespace turnout
