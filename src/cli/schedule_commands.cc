// Schedules: a trigger, and the job that it submits. The job is a document of its own, in a file,
// in the schedule's file or on the server; what is wrong with it is told where it was written.
#include <algorithm>
#include <optional>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"
#include "model/timetable.h"

namespace turnout::cli {

namespace {

constexpr std::string_view kDefinition = "properties.action.jobDefinition";

// A schedule's file, and the job that it names.
struct ScheduleLoaded {
    Loaded schedule;
    Trigger trigger;
    std::optional<Loaded> job;      // of a file, or written in place
    std::string source;             // the job on the server whose definition it takes; "" = none
    Json changes = Json::object();  // what differs from that one, in REST's words
};

std::string schedule_path(const client::Api& api, const std::string& name) {
    return api.in_workspace("/schedules/" + percent_encode(name));
}

// "schedule.week_days" below "/trigger": its pointer.
std::string pointer_below(const std::string& pointer, const std::string& dotted_path) {
    std::string result = pointer;
    for (const std::string& part : split(dotted_path, '.'))
        if (!part.empty()) result = pointer_to(result, part);
    return result;
}

Failure refuse_in(const YamlDocument& document, const std::string& pointer,
                  const std::string& message) {
    return fail(Code::InvalidArgument, "ValidationError",
                resources::at_its_place(document.place(pointer), dotted(pointer), message),
                dotted(pointer));
}

// The part of a document, as if it had been written alone.
YamlDocument part_of(const YamlDocument& document, const std::string& pointer) {
    YamlDocument part;
    part.file = document.file;
    part.value = *part_at(document.value, pointer);
    const auto take = [&](const auto& from, auto& into) {
        for (const auto& [key, value] : from)
            if (key.starts_with(pointer + "/")) into.emplace(key.substr(pointer.size()), value);
    };
    take(document.marks, part.marks);
    take(document.written, part.written);
    take(document.overrides, part.overrides);
    return part;
}

// What is said beside `job` takes the place of what the job says; mappings are merged.
void lay_over(const YamlDocument& from, const std::string& pointer, const Json& value,
              YamlDocument& into, const std::string& at) {
    Json* const there = part_at(into.value, at);
    if (value.is_object() && there != nullptr && there->is_object()) {
        for (const auto& [key, inner] : value.members()) {
            const std::string below = pointer_to(at, key);
            if (part_at(into.value, below) == nullptr) there->set(key, Json());
            lay_over(from, pointer_to(pointer, key), inner, into, below);
        }
        return;
    }
    if (there == nullptr) return;
    *there = value;
    const auto forget = [&](auto& map) {
        std::erase_if(map, [&](const auto& item) {
            return item.first == at || item.first.starts_with(at + "/");
        });
    };
    forget(into.marks);
    forget(into.written);
    forget(into.overrides);
    for (const auto& [key, text] : from.written)
        if (key == pointer || key.starts_with(pointer + "/"))
            into.written.emplace(at + key.substr(pointer.size()), text);
    into.overrides.emplace(at, from.place(pointer));
}

// What is known only when its time comes, in an input.
void stand_in(Json& document) {
    Json* const inputs = document.find("inputs");
    if (inputs == nullptr) return;
    for (auto& [name, input] : inputs->members()) {
        Json* const value = input.is_object() ? input.find("value") : &input;
        if (value == nullptr || !value->is_string()) continue;
        std::string text = value->as_string();
        for (const char* const known : {"${{name}}", "${{creation_context.trigger_time}}"})
            replace_all(text, known, "known-then");
        *value = Json(std::move(text));
    }
}

// What may differ from a job of the server, whose other parts are not looked at here.
Result<Json> changes_from(const YamlDocument& document, const Json& create_job) {
    constexpr std::pair<std::string_view, std::string_view> kTexts[] = {
        {"display_name", "displayName"},
        {"description", "description"},
        {"experiment_name", "experimentName"}};
    Json changes = Json::object();
    for (const auto& [key, value] : create_job.members()) {
        const std::string here = pointer_to("/create_job", key);
        if (key == "job" || key == "type") continue;
        const auto text =
            std::ranges::find(kTexts, key, [](const auto& pair) { return pair.first; });
        if (text != std::end(kTexts)) {
            if (value.is_object() || value.is_array())
                return refuse_in(document, here, resources::expected("a text", value));
            changes.set(text->second, document.text(here, value));
        } else if ((key == "tags" || key == "inputs") && value.is_object()) {
            Json part = Json::object();
            for (const auto& [name, inner] : value.members()) {
                const std::string place = pointer_to(here, name);
                if (inner.is_object() || inner.is_array())
                    return refuse_in(document, place,
                                     resources::expected("a number, text or flag: other inputs of "
                                                         "a job that is there stay as they are",
                                                         inner));
                const std::string said = document.text(place, inner);
                part.set(name, key == "tags"
                                   ? Json(said)
                                   : Json::object({{"jobInputType", "literal"}, {"value", said}}));
            }
            changes.set(key, std::move(part));
        } else {
            return refuse_in(document, here,
                             "of a job that is there only display_name, description, "
                             "experiment_name, tags and inputs can differ");
        }
    }
    return changes;
}

Result<Loaded> load_job_file(const YamlDocument& schedule, const std::string& pointer,
                             const std::string& path, const std::string& folder) {
    std::string file = path.starts_with("file:") ? path.substr(5) : path;
    const std::string absolute =
        file.starts_with("/") ? file : client::absolute_path(folder + "/" + file);
    auto text = client::read_file(absolute);
    if (!text)
        return refuse_in(schedule, pointer,
                         "expected the file of a job, or 'azureml:NAME' of one that is there: " +
                             text.error().message);
    while (file.starts_with("./")) file.erase(0, 2);
    Loaded job;
    job.document = TURNOUT_TRY(parse_yaml(*text, file));
    return job;
}

Result<ScheduleLoaded> load_schedule(Context& context) {
    ScheduleLoaded loaded{.schedule = TURNOUT_TRY(load(context, "schedule"))};
    const YamlDocument& document = loaded.schedule.document;
    auto trigger = trigger_of_yaml(document.value.at("trigger"));
    if (!trigger)
        return refuse_in(document, pointer_below("/trigger", trigger.error().subject),
                         trigger.error().message);
    loaded.trigger = std::move(*trigger);
    const Json& create_job = document.value.at("create_job");
    const std::string file = context.args().get("--file");
    const std::string folder = file.empty() || file == "-"
                                   ? client::current_folder()
                                   : client::folder_of(client::absolute_path(file));
    const bool is_text = create_job.is_string();
    const Json& named = is_text ? create_job : create_job.at("job");
    const std::string pointer = is_text ? "/create_job" : "/create_job/job";
    std::string job_folder = folder;
    if (named.is_null() && !is_text) {
        loaded.job.emplace().document = part_of(document, "/create_job");
    } else if (!named.is_string()) {
        return refuse_in(document, pointer,
                         resources::expected("a file, or 'azureml:NAME'", named));
    } else if (named.as_view().starts_with("azureml:") || resources::is_arm_id(named.as_view())) {
        loaded.source = named.as_string();
        if (!is_text) loaded.changes = TURNOUT_TRY(changes_from(document, create_job));
        return loaded;
    } else {
        loaded.job = TURNOUT_TRY(load_job_file(document, pointer, named.as_string(), folder));
        const std::string path = named.as_string();
        job_folder = client::folder_of(
            path.starts_with("/") ? path : client::absolute_path(folder + "/" + path));
        for (const auto& [key, value] : create_job.members()) {
            if (key == "job") continue;
            YamlDocument& into = loaded.job->document;
            if (!into.value.is_object()) break;
            if (!into.value.has(key)) into.value.set(key, Json());
            lay_over(document, pointer_to("/create_job", key), value, into, pointer_to("", key));
        }
    }
    loaded.job = TURNOUT_TRY(checked(std::move(loaded.job->document), "job", job_folder));
    return loaded;
}

// What the server refuses, where it was written.
Error in_words_of(const ScheduleLoaded& loaded, Error error) {
    const YamlDocument& document = loaded.schedule.document;
    if (error.subject.starts_with("properties.trigger")) {
        const std::string key = resources::camel_to_snake(error.subject.substr(
            std::min(error.subject.size(), std::string_view("properties.trigger.").size())));
        const std::string pointer = pointer_below("/trigger", key);
        error.message =
            resources::at_its_place(document.place(pointer), dotted(pointer), error.message);
        return error;
    }
    if (error.subject.starts_with(kDefinition)) {
        if (!loaded.job) {
            error.message =
                resources::at_its_place(document.place("/create_job"), "create_job", error.message);
            return error;
        }
        error.subject = "properties" + error.subject.substr(kDefinition.size());
        return resources::in_words_of(*loaded.job->description, loaded.job->document,
                                      std::move(error));
    }
    return resources::in_words_of(*loaded.schedule.description, document, std::move(error));
}

Json schedule_entity(const Json& rest) {
    Json entity = resources::to_entity(resources::schedule(), rest);
    if (const auto trigger = trigger_of_rest(resources::at_path(rest, "properties.trigger")))
        entity.set("trigger", trigger_to_yaml(*trigger));
    Json runs = Json::array();
    for (const Json& run : entity.at("runs").items()) {
        Json one = Json::object();
        for (const auto& [key, value] : run.members())
            one.set(resources::camel_to_snake(key), value);
        runs.push(std::move(one));
    }
    entity.set("runs", std::move(runs));
    return entity;
}

// A line of a table: what a person asks first.
Json schedule_row(const Json& rest) {
    const Json& properties = rest.at("properties");
    const Json& own = properties.at("properties");
    Json row = schedule_entity(rest);
    for (const auto& [column, member] : {std::pair{"state", "turnout.state"},
                                         {"next_run", "turnout.next_run"},
                                         {"last_run", "turnout.last_run"},
                                         {"last_job", "turnout.last_job"},
                                         {"refused", "turnout.last_refusal"},
                                         {"when", "turnout.trigger"}})
        if (!own.at(member).is_null()) row.set(column, own.at(member));
    return row;
}

struct ScheduleServer {
    Context& context;
    client::Api& api;
    std::string name;
    std::string path() const { return schedule_path(api, name); }
};

int with_schedule(Context& context, Result<int> (*verb)(const ScheduleServer& at)) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<int> done = verb({context, **opened, *name});
    return done ? *done : context.fail(done.error());
}

Result<int> show_it(const ScheduleServer& at) {
    const Json rest = TURNOUT_TRY(at.api.get(at.path()));
    return at.context.show(schedule_entity(rest), rest);
}

Result<int> set_enabled(const ScheduleServer& at, bool enabled) {
    Json rest = TURNOUT_TRY(at.api.get(at.path()));
    rest["properties"].set("isEnabled", enabled);
    rest = TURNOUT_TRY(at.api.put(at.path(), rest));
    const std::string next =
        resources::at_path(rest, "properties.properties").at("turnout.next_run").as_string();
    at.context.note("schedule " + at.name +
                    (enabled ? " is enabled" + (next.empty() ? "" : ", and runs next at " + next)
                             : " is disabled"));
    return 0;
}

Result<int> delete_it(const ScheduleServer& at) {
    TURNOUT_TRY(at.api.send("DELETE", at.path()));
    at.context.note("schedule " + at.name + " is deleted; its jobs stay");
    return 0;
}

Result<int> trigger_it(const ScheduleServer& at) {
    const Json done = TURNOUT_TRY(at.api.post(at.path() + "/trigger"));
    const Json shown = Json::object({{"job_name", done.at("submissionId")},
                                     {"schedule_action_type", done.at("scheduleActionType")}});
    return at.context.show(shown, done);
}

Result<int> update_it(const ScheduleServer& at) {
    if (!at.context.args().has("--set"))
        return fail(Code::InvalidArgument, "Usage",
                    "what to change? give --set, such as --set trigger.expression='0 6 * * *' or "
                    "--set tags.team=blue",
                    "--set");
    Json rest = TURNOUT_TRY(at.api.get(at.path()));
    const Json entity = schedule_entity(rest);
    YamlDocument document;
    document.file = "schedule " + at.name;
    document.value = Json::object();
    for (const char* const key :
         {"display_name", "description", "tags", "properties", "trigger", "is_enabled"})
        if (!entity.at(key).is_null()) document.value.set(key, entity.at(key));
    const std::vector<std::string> known = {"display_name", "description", "tags",
                                            "properties",   "trigger",     "is_enabled"};
    for (const std::string& assignment : at.context.args().all("--set"))
        TURNOUT_TRY(apply_set(document, assignment));
    for (const auto& [key, value] : document.value.members())
        if (std::ranges::find(known, key) == known.end())
            return refuse_in(document, pointer_to("", key),
                             "cannot be changed by --set" +
                                 did_you_mean(key, known,
                                              ": only " + join(known, ", ") +
                                                  " can; another job needs the file: `turnout "
                                                  "schedule create -f`"));
    const auto trigger = trigger_of_yaml(document.value.at("trigger"));
    if (!trigger)
        return refuse_in(document, pointer_below("/trigger", trigger.error().subject),
                         trigger.error().message);
    Json& properties = rest["properties"];
    for (const auto& [key, member] : {std::pair{"display_name", "displayName"},
                                      {"description", "description"},
                                      {"tags", "tags"},
                                      {"properties", "properties"},
                                      {"is_enabled", "isEnabled"}}) {
        Json value = document.value.at(key);
        if (value.is_null()) continue;  // it was not said, and is not now
        for (auto& [name, text] : value.members())
            if (!text.is_string() && !text.is_null())
                text = Json(document.text(pointer_to(pointer_to("", key), name), text));
        properties.set(member, std::move(value));
    }
    properties.set("trigger", trigger_to_rest(*trigger));
    rest = TURNOUT_TRY(at.api.put(at.path(), rest));
    return at.context.show(schedule_entity(rest), rest);
}

}  // namespace

int schedule_create(Context& context) {
    Result<ScheduleLoaded> loaded = load_schedule(context);
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const resources::Scope scope{api.settings().workspace_path()};
    Json definition = Json::object();
    if (loaded->job) {
        if (const Result<void> prepared = prepare(context, *loaded->job); !prepared)
            return context.fail(prepared.error());
        Json job = resources::to_rest(*loaded->job->description, loaded->job->document, "", scope);
        definition = job.at("properties");
        if (definition.at("jobs").is_object()) keep_components(api, definition["jobs"]);
    } else {
        definition = loaded->changes;
        definition.set("sourceJobId", loaded->source);
    }
    Json rest =
        resources::to_rest(*loaded->schedule.description, loaded->schedule.document, "", scope);
    const std::string name =
        loaded->schedule.document.text("/name", loaded->schedule.document.value.at("name"));
    rest.erase("name");
    Json& properties = rest["properties"];
    properties.set("trigger", trigger_to_rest(loaded->trigger));
    properties.set("action", Json::object({{"actionType", "CreateJob"},
                                           {"jobDefinition", std::move(definition)}}));
    const Result<Json> made = api.put(schedule_path(api, name), rest);
    if (!made) return context.fail(in_words_of(*loaded, made.error()));
    return context.show(schedule_entity(*made), *made);
}

int schedule_validate(Context& context) {
    if (!context.args().has("--file"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "which file? give it: `turnout schedule validate FILE`", "--file"});
    Result<ScheduleLoaded> loaded = load_schedule(context);
    if (!loaded) return context.fail(loaded.error());
    if (loaded->job) {
        stand_in(loaded->job->document.value);
        if (const Result<void> good = check_as_server_does(context, *loaded->job); !good)
            return context.fail(good.error());
    }
    context.note(loaded->schedule.document.file + ": is valid: a schedule, " +
                 words_of(loaded->trigger));
    return 0;
}

int schedule_list(Context& context) {
    const Arguments& args = context.args();
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const std::string view = args.has("--disabled-only")      ? "DisabledOnly"
                             : args.has("--include-disabled") ? "All"
                                                              : "EnabledOnly";
    std::size_t limit = SIZE_MAX;
    if (args.has("--max-results"))
        limit = static_cast<std::size_t>(
            std::max<std::int64_t>(1, yaml_scalar(args.get("--max-results")).as_int(1)));
    const Result<Json> found =
        (*opened)->list((*opened)->in_workspace("/schedules?listViewType=" + view), limit);
    if (!found) return context.fail(found.error());
    Json rows = Json::array();
    for (const Json& one : found->items())
        if (rows.items().size() < limit) rows.push(schedule_row(one));
    return context.show(rows, *found,
                        {"name", "state", "when", "next_run", "last_run", "last_job", "refused"});
}

int schedule_show(Context& context) {
    return with_schedule(context, show_it);
}
int schedule_enable(Context& context) {
    return with_schedule(context, [](const ScheduleServer& at) { return set_enabled(at, true); });
}
int schedule_disable(Context& context) {
    return with_schedule(context, [](const ScheduleServer& at) { return set_enabled(at, false); });
}
int schedule_delete(Context& context) {
    return with_schedule(context, delete_it);
}
int schedule_trigger(Context& context) {
    return with_schedule(context, trigger_it);
}
int schedule_update(Context& context) {
    return with_schedule(context, update_it);
}

}  // namespace turnout::cli
