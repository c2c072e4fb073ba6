#include "api/arm/reuse.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "api/arm/resource.h"
#include "api/history/run_view.h"
#include "base/hash.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "model/group.h"
#include "model/recipe.h"

namespace turnout::api::arm {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskSpec;

// More files than these are not compared: such a step is run.
constexpr std::size_t kMostFiles = 10'000;
// Of code that is larger the ends of lines count.
constexpr std::uint64_t kMostText = 256 << 10;
constexpr std::size_t kMostEarlier = 100;  // of equal steps: those that failed stand among them
constexpr std::size_t kMostNearest = 20;
constexpr std::size_t kCopiesAtOnce = 32;
constexpr std::size_t kFilesKept = 100, kHashKept = 16;
constexpr std::size_t kFilesTold = 50, kStepsTold = 1'000;

struct Files {
    std::map<std::string, BlobInfo> by_path;  // beneath the folder; of one file ""
    Instant newest{};
    bool too_many = false;
};

Result<Files> files_of(Services& services, const BlobFolder& place) {
    Files files;
    const auto add = [&](BlobInfo blob, std::string path) {
        files.newest = std::max(files.newest, blob.modified);
        files.by_path.emplace(std::move(path), std::move(blob));
    };
    if (!place.prefix.empty() && !place.prefix.ends_with('/')) {
        auto blob = TURNOUT_TRY(services.blobs.head(place.container, place.prefix));
        if (blob) add(std::move(*blob), "");
        return files;
    }
    std::string marker;
    do {
        auto page = TURNOUT_TRY(
            services.blobs.list(place.container, place.prefix, "", marker, kMostFiles + 1));
        for (BlobInfo& blob : page.blobs)
            add(std::move(blob), blob.name.substr(place.prefix.size()));
        marker = std::move(page.next_marker);
        files.too_many = files.by_path.size() > kMostFiles;
    } while (!marker.empty() && !files.too_many);
    return files;
}

// Of a text, whatever the ends of its lines are.
Result<std::string> hash_as_text(Services& services, const BlobInfo& blob) {
    if (blob.size > kMostText) return blob.sha256;
    std::string text = TURNOUT_TRY(services.blobs.read_all(blob.container, blob.name, kMostText));
    if (text.find('\r') == std::string::npos || text.find('\0') != std::string::npos)
        return blob.sha256;
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] != '\r' || i + 1 >= text.size() || text[i + 1] != '\n') plain += text[i];
    return to_hex(sha256(plain));
}

std::string digest_of(const Files& files) {
    Sha256 all;
    for (const auto& [path, blob] : files.by_path) all.update(path + '\0' + blob.sha256 + '\n');
    return to_hex(all.finish());
}

Result<std::string> digest_of_code(Services& services, const Files& files) {
    const std::string raw = digest_of(files);
    if (const std::string* known = services.code_digests.find(raw)) return *known;
    Sha256 all;
    for (const auto& [path, blob] : files.by_path)
        all.update(path + '\0' + TURNOUT_TRY(hash_as_text(services, blob)) + '\n');
    std::string digest = to_hex(all.finish());
    services.code_digests.put(raw, digest);
    return digest;
}

Json place_json(const BlobFolder& place) {
    return Json::object({{"container", place.container}, {"prefix", place.prefix}});
}

std::optional<BlobFolder> place_of(const Json& json) {
    if (!json.is_object()) return std::nullopt;
    return BlobFolder{json.at("container").as_string(), json.at("prefix").as_string()};
}

Json variables_json(const std::vector<std::pair<std::string, std::string>>& variables) {
    Json json = Json::object();
    for (const auto& [name, value] : variables) json.set(name, value);
    return json;
}

Result<Json> recipe_of(Services& services, const JobRecord& step, const TaskSpec& task) {
    Json recipe = Json::object({{"command", task.command}});
    if (task.code) {
        const Files files = TURNOUT_TRY(files_of(services, *task.code));
        std::string content =
            files.too_many ? task.code_hash : TURNOUT_TRY(digest_of_code(services, files));
        recipe.set("code",
                   Json::object({{"content", std::move(content)}, {"at", place_json(*task.code)}}));
    }
    const agent_protocol::TaskEnvironment& uses = task.environment;
    Json lines = Json::array();
    for (const std::string& line : uses.requirements) lines.push(line);
    recipe.set("environment",
               Json::object({{"kind", uses.kind == agent_protocol::TaskEnvironment::Kind::Venv
                                          ? "prepared"
                                          : "user managed"},
                             {"python", uses.python_version},
                             {"interpreter", uses.interpreter},
                             {"image", uses.image},
                             {"requirements", std::move(lines)},
                             {"variables", variables_json(uses.variables)}}));
    Json parameters = Json::object(), inputs = Json::object(), outputs = Json::object();
    for (const agent_protocol::TaskInput& input : task.inputs) {
        if (input.type == "literal") {
            parameters.set(input.name, input.literal);
            continue;
        }
        Json one = Json::object({{"type", input.type}, {"mode", input.mode}});
        if (input.blobs) {
            const Files files = TURNOUT_TRY(files_of(services, *input.blobs));
            if (!files.too_many) one.set("content", digest_of(files));
            one.set("at", place_json(*input.blobs));
            // What lies there may be another tomorrow.
            if (files.by_path.size() <= kFilesKept) {
                Json kept = Json::object();
                for (const auto& [path, blob] : files.by_path)
                    kept.set(path, blob.sha256.substr(0, kHashKept));
                one.set("files", std::move(kept));
            }
        } else {
            one.set("at", input.uri);
        }
        inputs.set(input.name, std::move(one));
    }
    for (const agent_protocol::TaskOutput& output : task.outputs) {
        Json one = Json::object({{"type", output.type}, {"mode", output.mode}});
        // Where it goes by itself has the job's name in it.
        std::string path = step.definition.at("outputs").at(output.name).at("uri").as_string();
        replace_all(path, step.child.group, "…");
        if (!path.empty()) one.set("path", std::move(path));
        outputs.set(output.name, std::move(one));
    }
    recipe.set("parameters", std::move(parameters));
    recipe.set("inputs", std::move(inputs));
    recipe.set("outputs", std::move(outputs));
    if (const Json& variables = step.definition.at("environmentVariables"); variables.is_object())
        recipe.set("variables", variables);
    if (!task.distribution.empty() || task.node_count > 1)
        recipe.set("distribution", Json::object({{"type", task.distribution},
                                                 {"nodes", task.node_count},
                                                 {"processes", task.processes},
                                                 {"workers", task.worker_count},
                                                 {"servers", task.parameter_servers}}));
    return recipe;
}

// The files of an output, on their way to another name. Content lies once whatever it is called, so
// nothing is read for it.
struct Copy {
    BlobInfo from;
    std::string to;
};

// What of the outputs of `earlier` the step would have to be given; an error "NotTheSame" that says
// why they do not stand for its own.
Result<std::vector<Copy>> copies_of(Services& services, const JobRecord& earlier,
                                    const TaskSpec& task) {
    const auto not_taken = [](std::string why) {
        return fail(Code::FailedPrecondition, "NotTheSame", std::move(why));
    };
    const TaskSpec theirs = TURNOUT_TRY(read_task(services.store, earlier));
    std::vector<Copy> copies;
    for (const agent_protocol::TaskOutput& output : task.outputs) {
        const auto same =
            std::ranges::find(theirs.outputs, output.name, &agent_protocol::TaskOutput::name);
        if (same == theirs.outputs.end())
            return not_taken("it has no output '" + output.name + "'");
        Files files = TURNOUT_TRY(files_of(services, same->target));
        if (files.by_path.empty())
            return not_taken("its output '" + output.name + "' is not there any more");
        if (files.too_many)
            return not_taken("its output '" + output.name + "' has more than " +
                             with_commas(static_cast<std::int64_t>(kMostFiles)) + " files");
        if (earlier.ended && files.newest > *earlier.ended)
            return not_taken("its output '" + output.name + "' was changed after it had ended");
        if (same->target.container != output.target.container)
            return not_taken("its output '" + output.name + "' lies in another datastore");
        if (same->target.prefix == output.target.prefix) continue;
        for (auto& [path, blob] : files.by_path)
            copies.push_back({std::move(blob), output.target.prefix + path});
    }
    return copies;
}

Task<Result<void>> copy_all(Services& services, std::string owner, std::vector<Copy> copies) {
    std::size_t working = std::min(kCopiesAtOnce, copies.size());
    if (working == 0) co_return Result<void>();
    Result<void> outcome;
    Later<bool> all;
    const auto settle = all.settle();
    const auto work = [&]() -> Task<void> {
        while (!copies.empty() && outcome) {
            const Copy one = std::move(copies.back());
            copies.pop_back();
            BlobPut put{.container = one.from.container,
                        .name = one.to,
                        .content_type = one.from.content_type,
                        .metadata = one.from.metadata,
                        .owner = owner,
                        .content_md5 = {},
                        .only_if_etag = {}};
            const auto copied = co_await services.blobs.copy(std::move(put), one.from.name);
            if (!copied && outcome) outcome = Failure(copied.error());
        }
        if (--working == 0) settle(true);
    };
    for (std::size_t i = working; i > 0; --i) start(work(), [] {});
    co_await all;
    co_return outcome;
}

}  // namespace

Task<Result<Control::KnownTask>> run_or_reuse(Services& services, JobRecord step, TaskSpec task) {
    TURNOUT_CO_TRY(Json recipe, recipe_of(services, step, task));
    std::vector<std::string> candidates;
    std::string why;
    // What had completed in the pipeline that this one resumes is not run again, whatever it says.
    if (const std::string before = step.definition.at("resumes").as_string(); !before.empty()) {
        TURNOUT_CO_TRY(const auto earlier, load_job(services.store, step.workspace, before));
        if (earlier && (earlier->recipe.is_null() || differences(recipe, earlier->recipe).empty()))
            candidates.push_back(before);
    }
    if (step.definition.at("forceRerun").as_bool()) {
        why = "settings.force_rerun is true";
    } else if (!step.definition.at("isDeterministic").as_bool(true)) {
        why = "its component has is_deterministic: false";
    } else if (const std::string input = unseen_input(recipe); !input.empty()) {
        why = "nobody can see whether the content of input '" + input +
              "' is the same: it is outside of this server, or of more than " +
              with_commas(static_cast<std::int64_t>(kMostFiles)) + " files";
    } else {
        TURNOUT_CO_TRY(const auto rows,
                       services.store.scan(
                           Table::StepRun,
                           with_prefix(equal_steps_prefix(step.workspace, recipe), kMostEarlier)));
        for (const Record& row : rows) candidates.emplace_back(job_of_step_run(row.key));
    }
    Control::KnownTask known(std::move(task));
    for (const std::string& name : candidates) {
        TURNOUT_CO_TRY(const auto earlier, load_job(services.store, step.workspace, name));
        if (!earlier || name == step.name || earlier->status != JobStatus::Completed) continue;
        auto copies = copies_of(services, *earlier, known.task);
        Result<void> copied;
        if (copies)
            copied = co_await copy_all(services, step.principal, std::move(*copies));
        else
            copied = Failure(copies.error());
        if (copied) {
            known.reused_from = earlier->reused_from.empty() ? name : earlier->reused_from;
            break;
        }
        // One that is being deleted just now may lose a file on the way.
        if (copied.error().reason != "NotTheSame" && copied.error().code != Code::NotFound)
            co_return Failure(copied.error());
        if (why.empty()) why = name + " was made of the same, but " + copied.error().message;
    }
    if (!why.empty() && known.reused_from.empty()) recipe.set("why", why);
    known.recipe = std::move(recipe);
    co_return known;
}

// ---- forensics ----

namespace {

// path -> hash, as it was kept, or as the files are now that were uploaded once and for all.
Result<std::map<std::string, std::string>> hashes_of(Services& services, const Json& part,
                                                     bool code) {
    std::map<std::string, std::string> hashes;
    if (part.at("files").is_object()) {
        for (const auto& [path, hash] : part.at("files").members()) hashes[path] = hash.as_string();
        return hashes;
    }
    const auto place = place_of(part.at("at"));
    if (!place) return hashes;
    const Files files = TURNOUT_TRY(files_of(services, *place));
    for (const auto& [path, blob] : files.by_path)
        hashes[path] =
            (code ? TURNOUT_TRY(hash_as_text(services, blob)) : blob.sha256).substr(0, kHashKept);
    return hashes;
}

// In which files two parts differ.
Result<Json> files_that_differ(Services& services, const Json& now, const Json& then, bool code) {
    Json told = Json::array();
    const auto ours = TURNOUT_TRY(hashes_of(services, now, code));
    const auto theirs = TURNOUT_TRY(hashes_of(services, then, code));
    const auto tell = [&](const std::string& path, const char* change) {
        if (told.items().size() < kFilesTold)
            told.push(Json::object({{"path", path}, {"change", change}}));
    };
    for (const auto& [path, hash] : ours) {
        const auto other = theirs.find(path);
        if (other == theirs.end())
            tell(path, "added");
        else if (other->second != hash)
            tell(path, "changed");
    }
    for (const auto& [path, hash] : theirs)
        if (!ours.contains(path)) tell(path, "removed");
    return told;
}

Result<Json> differences_json(Services& services, const Json& now, const Json& then) {
    Json all = Json::array();
    for (const RecipeDifference& one : differences(now, then)) {
        Json json = Json::object({{"part", one.part}});
        if (!one.name.empty()) json.set("name", one.name);
        const bool code = one.part == "code";
        const Json& here = code ? now.at("code") : now.at("inputs").at(one.name);
        const Json& there = code ? then.at("code") : then.at("inputs").at(one.name);
        if (here.is_object() && there.is_object() && (code || one.part == "input") &&
            here.at("content") != there.at("content")) {
            json.set("files", TURNOUT_TRY(files_that_differ(services, here, there, code)));
        } else {
            if (!one.now.empty()) json.set("now", one.now);
            if (!one.then.empty()) json.set("then", one.then);
        }
        all.push(std::move(json));
    }
    return all;
}

// Among the latest that were the same to their pipelines the one that differs in the fewest things.
Result<std::optional<JobRecord>> nearest_of(Services& services, const JobRecord& step) {
    std::optional<JobRecord> nearest;
    std::size_t fewest = 0;
    const auto rows = TURNOUT_TRY(services.store.scan(
        Table::StepRun,
        with_prefix(same_step_prefix(step.workspace, step.child.role), kMostNearest)));
    for (const Record& row : rows) {
        auto other = TURNOUT_TRY(
            load_job(services.store, step.workspace, std::string(job_of_step_run(row.key))));
        if (!other || other->name == step.name || other->status != JobStatus::Completed ||
            other->created > step.created || !other->reused_from.empty())
            continue;
        const std::size_t count = differences(step.recipe, other->recipe).size();
        if (!nearest || count < fewest) {
            nearest = std::move(other);
            fewest = count;
        }
    }
    return nearest;
}

Result<Json> explain_step(Services& services, const JobRecord& step,
                          std::optional<JobRecord> against) {
    Json json = Json::object({{"name", step.name},
                              {"step", step.child.role},
                              {"status", turnout::name_of(step.status)},
                              {"reused", !step.reused_from.empty()}});
    if (!step.reused_from.empty()) json.set("from", step.reused_from);
    if (step.recipe.is_null()) {
        json.set("why", is_terminal(step.status) ? "it was not begun" : "it has not begun yet");
        return json;
    }
    if (const Json& why = step.recipe.at("why"); why.is_string()) json.set("why", why);
    const bool asked = against.has_value();
    if (!asked && (!step.reused_from.empty() || json.has("why"))) return json;
    if (!asked) against = TURNOUT_TRY(nearest_of(services, step));
    if (!against) {
        json.set("why", "no earlier step '" + step.child.role + "' has completed");
        return json;
    }
    json.set("against", against->name);
    if (against->recipe.is_null())
        json.set("why", against->name + " was not begun: there is nothing to compare with");
    else
        json.set("differences",
                 TURNOUT_TRY(differences_json(services, step.recipe, against->recipe)));
    return json;
}

// The step of that name in another pipeline.
Result<std::optional<JobRecord>> step_named(Services& services, const JobRecord& pipeline,
                                            std::string_view role) {
    const Json::Array& steps = pipeline.plan.at("steps").items();
    for (std::size_t i = 0; i < steps.size(); ++i)
        if (steps[i].at("name").as_view() == role)
            return load_job(services.store, pipeline.workspace,
                            child_name(pipeline.name, static_cast<std::int64_t>(i)));
    return std::optional<JobRecord>();
}

Result<JobRecord> that_job(Services& services, const Workspace& workspace,
                           const std::string& name) {
    auto job = TURNOUT_TRY(load_job(services.store, workspace.id, name));
    if (!job) return not_found("job '" + name + "' does not exist", "job");
    return std::move(*job);
}

Answer explain_reuse(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, that_job(services, workspace, call.param("name")));
    std::optional<JobRecord> other;
    if (const std::string name(call.query_value("against")); !name.empty()) {
        TURNOUT_CO_TRY(JobRecord found, that_job(services, workspace, name));
        other = std::move(found);
    }
    const auto is_pipeline = [](const JobRecord& one) { return one.plan.at("steps").is_array(); };
    const auto is_other_job = [&](const JobRecord& one) {
        return !is_pipeline(one) && (one.child.group.empty() || one.derived());
    };
    if (const JobRecord& one = other && is_other_job(*other) ? *other : job; is_other_job(one))
        co_return fail(Code::InvalidArgument, "NotAPipeline",
                       "expected a pipeline or a step of one, found job '" + one.name +
                           "', whose results are never used again by others",
                       one.name);
    if (other && is_pipeline(*other) != is_pipeline(job) && is_pipeline(job))
        co_return fail(Code::InvalidArgument, "NotAPipeline",
                       "against: expected a pipeline, as '" + job.name + "' is one, found step '" +
                           other->name + "'",
                       "against");
    const auto against = [&](const JobRecord& step) -> Result<std::optional<JobRecord>> {
        if (!other || !is_pipeline(*other)) return other;
        return step_named(services, *other, step.child.role);
    };
    Json steps = Json::array();
    Json body = Json::object({{"name", job.name}});
    const auto tell = [&](const JobRecord& step) -> Result<void> {
        auto than = TURNOUT_TRY(against(step));
        if (other && !than) {
            steps.push(
                Json::object({{"name", step.name},
                              {"step", step.child.role},
                              {"status", turnout::name_of(step.status)},
                              {"reused", !step.reused_from.empty()},
                              {"why", "pipeline '" + other->name + "' has no step of that name"}}));
            return {};
        }
        steps.push(TURNOUT_TRY(explain_step(services, step, std::move(than))));
        return {};
    };
    if (!is_pipeline(job)) {
        TURNOUT_CO_TRY_VOID(tell(job));
    } else {
        const auto total = static_cast<std::int64_t>(job.plan.at("steps").items().size());
        body.set("total", total);
        for (std::int64_t i = 0; i < std::min<std::int64_t>(total, kStepsTold); ++i) {
            TURNOUT_CO_TRY(const auto step,
                           load_job(services.store, workspace.id, child_name(job.name, i)));
            if (!step) continue;
            TURNOUT_CO_TRY_VOID(tell(*step));
        }
    }
    body.set("steps", std::move(steps));
    co_return json_response(200, body);
}

}  // namespace

void add_reuse_routes(Router& router, Services& services) {
    row(router, services, "GET", in_workspace("/jobs/{name}/reuse"), Access::Run, explain_reuse);
}

}  // namespace turnout::api::arm
