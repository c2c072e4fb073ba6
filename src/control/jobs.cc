#include "control/jobs.h"

#include <algorithm>

#include "base/hash.h"
#include "base/text.h"
#include "model/recipe.h"
#include "model/sweep.h"

namespace turnout {

std::string equal_steps_prefix(std::string_view workspace, const Json& recipe) {
    return std::string(workspace) + "/f/" + fingerprint_of(recipe) + "/";
}

std::string same_step_prefix(std::string_view workspace, std::string_view step) {
    return std::string(workspace) + "/s/" + std::string(step) + "/";
}

std::vector<std::string> step_run_keys(const JobRecord& step) {
    const std::string end =
        hex16_descending(static_cast<std::uint64_t>(step.created.micros)) + "/" + step.name;
    return {equal_steps_prefix(step.workspace, step.recipe) + end,
            same_step_prefix(step.workspace, step.child.role) + end};
}

std::string_view job_of_step_run(std::string_view key) {
    return key.substr(key.rfind('/') + 1);
}

namespace ap = agent_protocol;

namespace {

std::string key_of(std::string_view wsid, std::string_view name) {
    return std::string(wsid) + "/" + std::string(name);
}

// In values only: the names of members are the format's. In place: most of a task stays as it is.
void put_placeholder(Json& json, std::string_view name) {
    if (json.is_string()) {
        std::string_view text = json.as_view();
        if (text.find(name) == std::string_view::npos) return;
        std::string out;
        for (std::size_t at; (at = text.find(name)) != std::string_view::npos;
             text.remove_prefix(at + name.size())) {
            out += text.substr(0, at);
            out += ap::kJobPlaceholder;
        }
        out += text;
        json = Json(std::move(out));
    } else if (json.is_array()) {
        for (Json& item : json.items()) put_placeholder(item, name);
    } else if (json.is_object()) {
        for (auto& [key, value] : json.members()) {
            // A word of a closed list, or a hash: a node reads these before it puts the name in.
            // What secrets are called, and the image, is read here.
            const bool fixed = key == "kind" || key == "hash" || key == "code_hash" ||
                               key == "distribution" || key == "secrets" || key == "image";
            if (!fixed) put_placeholder(value, name);
        }
    }
}

// In a value or a name, anywhere.
bool has_text(const Json& json, std::string_view text) {
    if (json.is_string()) return json.as_view().find(text) != std::string_view::npos;
    if (json.is_array())
        return std::ranges::any_of(json.items(),
                                   [&](const Json& item) { return has_text(item, text); });
    return std::ranges::any_of(json.members(), [&](const auto& member) {
        return member.first.find(text) != std::string::npos || has_text(member.second, text);
    });
}

}  // namespace

SplitTask split_task(const ap::TaskSpec& task, std::string_view job) {
    Json json = ap::to_json(task);
    SplitTask split;
    for (const std::string_view own : {"command", "inputs"}) {
        if (!json.has(own)) continue;
        split.own.set(own, json.at(own));
        json.erase(own);
    }
    json.erase("run_token");
    if (has_text(json, ap::kJobPlaceholder)) {  // somebody's own text: it is to stay as it is
        for (auto& [member, value] : json.members()) split.own.set(member, std::move(value));
        json = Json::object();
        if (const std::string& image = task.environment.image; !image.empty())
            json.set("environment", Json::object({{"image", image}}));  // it is read there
    }
    if (job.size() >= 3) put_placeholder(json, job);  // a shorter one would be found everywhere
    split.base = json.dump();
    split.hash = to_hex(sha256(split.base));
    return split;
}

SplitTask base_of_children(const ap::TaskSpec& task, std::string_view) {
    Json json = ap::to_json(task);
    json.erase("run_token");
    SplitTask split;
    split.base = json.dump();
    split.hash = to_hex(sha256(split.base));
    return split;
}

std::string_view mark_of_base(std::string_view hash) {
    return hash.substr(0, 16);
}

Result<std::string> base_mark_of(Store& store, const Record& created) {
    if (created.value.starts_with(kOwnTasks)) return created.value.substr(kOwnTasks.size());
    if (!created.value.empty()) return created.value;
    const std::optional<Record> row =
        TURNOUT_TRY(store.get(Table::Job, key_of(created.key.substr(0, created.key.find('/')),
                                                 created.key.substr(created.key.rfind('/') + 1))));
    if (!row) return std::string();
    const Json json = TURNOUT_TRY(parse_json(row->value));
    return std::string(mark_of_base(json.at("taskBase").as_view()));
}

Result<std::vector<std::string>> base_marks_of_children(Store& store, const Record& created,
                                                        std::string& after) {
    constexpr std::size_t at_once = 200;
    std::vector<std::string> marks;
    if (!created.value.starts_with(kOwnTasks)) return marks;
    const std::string group = created.key.substr(created.key.rfind('/') + 1);
    const std::string prefix = key_of(created.key.substr(0, created.key.find('/')), group) + "_";
    Range range = with_prefix(prefix, at_once);
    if (!after.empty()) range.from = after + '\0';
    const std::vector<Record> rows = TURNOUT_TRY(store.scan(Table::Job, range));
    for (const Record& row : rows) {
        const Json json = TURNOUT_TRY(parse_json(row.value));
        const JobRecord child = TURNOUT_TRY(job_from_json(json));
        if (child.child.group == group && !child.task_base.empty())
            marks.emplace_back(mark_of_base(child.task_base));
    }
    after = rows.size() < at_once ? std::string() : rows.back().key;
    return marks;
}

void join_trial(JobRecord& trial, const JobRecord& sweep) {
    trial.definition = trial_of(sweep.definition);
    if (trial.meta.display_name.empty()) trial.meta.display_name = trial.name;
    trial.meta.experiment = sweep.meta.experiment;
    trial.compute = sweep.compute;
    trial.principal = sweep.principal;
    trial.environment = sweep.environment;
    trial.notices = sweep.notices;
    trial.node_count = sweep.node_count;
    trial.ports = sweep.ports;
    trial.priority = sweep.priority;
    trial.task_base = sweep.task_base;
    Json pairs = Json::array();
    for (const auto& [name, value] : trial.child.parameters.members())
        pairs.push(Json::array({Json(name), value}));
    trial.task_own = Json::object({{"parameters", std::move(pairs)}});
}

// ---- reading ----

Result<StoredJob> join_job(Store& store, const Record& definition) {
    const Json json = TURNOUT_TRY(parse_json(definition.value));
    StoredJob stored;
    stored.record = TURNOUT_TRY(job_from_json(json));
    stored.revision = definition.revision;
    JobRecord& job = stored.record;
    const std::optional<Record> state = TURNOUT_TRY(store.get(Table::JobState, definition.key));
    if (state) {
        const Json state_document = TURNOUT_TRY(parse_json(state->value));
        static_cast<JobState&>(job) = TURNOUT_TRY(job_state_from_json(state_document));
        if (const Json* progress = state_document.find(kGroupProgress))
            job.sweep = sweep_progress_from_json(*progress);
        stored.revision = std::max(stored.revision, state->revision);
    }
    if (!job.derived()) return stored;
    const std::optional<Record> parent =
        TURNOUT_TRY(store.get(Table::Job, key_of(job.workspace, job.child.group)));
    if (!parent) return stored;  // it was deleted: what the trial did is still there
    const Json sweep_document = TURNOUT_TRY(parse_json(parent->value));
    join_trial(job, TURNOUT_TRY(job_from_json(sweep_document)));
    return stored;
}

Result<std::optional<JobRecord>> read_trial(Store& store, const JobRecord& sweep,
                                            std::string_view name) {
    const std::string job_key = key_of(sweep.workspace, name);
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, job_key));
    if (!row) return std::optional<JobRecord>();
    const Json json = TURNOUT_TRY(parse_json(row->value));
    JobRecord job = TURNOUT_TRY(job_from_json(json));
    if (job.child.group != sweep.name) return std::optional<JobRecord>();
    const std::optional<Record> state = TURNOUT_TRY(store.get(Table::JobState, job_key));
    if (state) {
        const Json document = TURNOUT_TRY(parse_json(state->value));
        static_cast<JobState&>(job) = TURNOUT_TRY(job_state_from_json(document));
    }
    if (job.derived()) join_trial(job, sweep);
    return std::optional(std::move(job));
}

Result<std::optional<StoredJob>> read_job(Store& store, std::string_view wsid,
                                          std::string_view name) {
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, key_of(wsid, name)));
    if (!row) return std::optional<StoredJob>();
    return std::optional(TURNOUT_TRY(join_job(store, *row)));
}

Result<std::optional<TrialRun>> find_trial(Store& store, std::string_view wsid,
                                           std::string_view name) {
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, key_of(wsid, name)));
    if (!row) return std::optional<TrialRun>();
    const Json json = TURNOUT_TRY(parse_json(row->value));
    JobRecord job = TURNOUT_TRY(job_from_json(json));
    if (job.child.group.empty()) return std::optional<TrialRun>();
    if (job.meta.display_name.empty()) job.meta.display_name = job.name;
    return std::optional(TrialRun{std::move(job.child.group), std::move(job.meta.display_name),
                                  std::move(job.child.parameters), job.created});
}

Result<ap::TaskSpec> read_task(Store& store, const JobRecord& job) {
    if (job.task_base.empty()) return ap::TaskSpec{};  // a step that waits for others
    const std::optional<Record> row =
        TURNOUT_TRY(store.get(Table::TaskBase, key_of(job.workspace, job.task_base)));
    if (!row) return internal("the task of job '" + job.name + "' is not in the store");
    const Json json = TURNOUT_TRY(parse_json(row->value));
    const ap::TaskSpec base = TURNOUT_TRY(ap::task_from_json(json));
    return ap::expand_task(base, job.task_own, {job.workspace, job.name, 1});
}

// ---- facts ----

Json to_json(const JobFacts& facts) {
    Json json = Json::object();
    if (facts.derived) {
        json.set("sweep", facts.group);
        json.set("index", facts.index);
        json.set("created", facts.created.micros);
        return json;
    }
    if (!facts.group.empty()) {
        json.set("group", facts.group);
        json.set("index", facts.index);
    }
    json.set("compute", facts.compute);
    if (facts.type != kFirstJobType) json.set("type", name_of(facts.type));
    if (facts.nodes != 1) json.set("nodes", facts.nodes);
    if (facts.ports != 0) json.set("ports", facts.ports);
    if (facts.priority != 0) json.set("priority", facts.priority);
    if (facts.stays) json.set("stays", true);
    if (facts.registers) json.set("registers", true);
    if (facts.lasts.count() > 0) json.set("lasts", static_cast<std::int64_t>(facts.lasts.count()));
    json.set("sharer", facts.sharer);
    json.set("created", facts.created.micros);
    if (!facts.base.empty()) json.set("base", facts.base);
    if (!facts.own.members().empty()) json.set("own", facts.own);
    return json;
}

Result<JobFacts> facts_from_json(const Json& json) {
    JobFacts facts;
    facts.derived = json.has("sweep");
    facts.group = json.at(facts.derived ? "sweep" : "group").as_string();
    facts.index = json.at("index").as_int();
    facts.created = Instant{json.at("created").as_int()};
    if (facts.derived) return facts;
    facts.compute = json.at("compute").as_string();
    if (facts.compute.empty()) return internal("stored job without compute");
    if (json.has("type")) facts.type = TURNOUT_TRY(parse_job_type(json.at("type").as_view()));
    facts.nodes = static_cast<int>(json.at("nodes").as_int(1));
    facts.ports = static_cast<int>(json.at("ports").as_int(facts.nodes > 1 ? 1 : 0));
    facts.priority = static_cast<int>(json.at("priority").as_int());
    facts.stays = json.at("stays").as_bool();
    facts.registers = json.at("registers").as_bool();
    facts.lasts = std::chrono::seconds(json.at("lasts").as_int());
    facts.sharer = json.at("sharer").as_string();
    facts.base = json.at("base").as_string();
    if (json.at("own").is_object()) facts.own = json.at("own");
    return facts;
}

JobFacts facts_of(const JobRecord& job, Span timeout) {
    JobFacts facts;
    facts.lasts = std::chrono::ceil<std::chrono::seconds>(timeout);
    facts.compute = job.compute;
    facts.type = job.type;
    facts.nodes = job.node_count;
    facts.ports = job.ports;
    facts.priority = job.priority;
    facts.sharer = job.principal + "/" + job.meta.experiment;
    facts.created = job.created;
    facts.group = job.child.group;
    facts.index = job.child.index;
    facts.derived = job.derived();
    facts.base = job.task_base;
    facts.own = job.task_own;
    for (const auto& [name, output] : job.definition.at("outputs").members())
        if (!output.at("assetName").as_view().empty()) facts.registers = true;
    return facts;
}

}  // namespace turnout
