#include <algorithm>
#include <map>
#include <set>

#include "base/hash.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/several.h"
#include "client/files.h"
#include "model/job.h"

namespace turnout::cli {

bool is_group(const Json& properties) {
    const JobKind* kind = find_job_kind(properties.at("jobType").as_view());
    return kind && kind->group;
}

// Azure's clients know a step by the id of its component, so one that is written in place is kept
// as an anonymous component, as they do. What is wrong with it is told of the job, with its place.
constexpr const char* kAnonymousComponent = "azureml_anonymous";

void keep_components(client::Api& api, Json& steps) {
    for (auto& [name, step] : steps.members()) {
        if (!step.at("component").is_object()) continue;
        Json spec = step.at("component");
        // A step that is written as a command declares what it is given.
        if (spec.at("_source").as_view() == "YAML.JOB") {
            const auto declare = [&](const char* what, const char* type) {
                for (const auto& [input, value] : step.at(what).members()) {
                    const std::string said = value.at("job_input_type").as_string();
                    spec[what].set(input, Json::object({{"type", said.empty() || said == "literal"
                                                                     ? std::string(type)
                                                                     : said}}));
                }
            };
            declare("inputs", "string");
            declare("outputs", "uri_folder");
            if (const std::string id = step.at("environment").as_string(); !id.empty())
                spec.set("environment", (id.front() == '/' ? "azureml:" : "") + id);
        }
        if (spec.at("name").is_null()) spec.set("name", kAnonymousComponent);
        const Json body = Json::object(
            {{"properties",
              Json::object({{"isAnonymous", true}, {"componentSpec", std::move(spec)}})}});
        const std::string version = to_hex(sha256(body.dump())).substr(0, 32);
        const Result<Json> kept =
            api.put(api.in_workspace("/components/" + std::string(kAnonymousComponent) +
                                     "/versions/" + version),
                    body);
        if (kept) step.set("componentId", kept->at("id"));
    }
}

namespace {

// Of a table, the dispensable ones last.
const std::vector<std::string> kJobColumns = {"name",        "status",  "cause",           "age",
                                              "duration",    "compute", "experiment_name", "user",
                                              "display_name"};
const std::vector<std::string> kTrialColumns = {
    "name", "status", "cause", "best", "score", "parameters", "age", "duration", "reason"};

const std::vector<std::string> kStepColumns = {"name",    "step", "status",   "cause",
                                               "compute", "age",  "duration", "reason"};

}  // namespace

Json job_entity(const Json& rest) {
    Json entity = resources::to_entity(resources::description_of_rest("job", rest), rest);
    const Json& properties = resources::at_path(rest, "properties.properties");
    if (!rest.at("systemData").at("createdAt").is_null())
        entity.set("created", rest.at("systemData").at("createdAt"));
    if (!properties.at("turnout.waiting_for").as_string().empty())
        entity.set("waiting_for", properties.at("turnout.waiting_for"));
    for (const char* const known :
         {"cause", "reason", "preemptions", "place_in_queue", "expected_start"})
        if (!properties.at("turnout." + std::string(known)).is_null())
            entity.set(known, properties.at("turnout." + std::string(known)));
    if (!properties.at("turnout.step").is_null()) entity.set("step", properties.at("turnout.step"));
    if (!resources::at_path(rest, "properties.parameters").is_null())
        entity.set("parameters", resources::at_path(rest, "properties.parameters"));
    if (!resources::at_path(rest, "properties.error").is_null())
        entity.set("error", resources::at_path(rest, "properties.error"));
    return entity;
}

namespace {

std::string job_path(client::Api& api, const std::string& name) {
    return api.in_workspace("/jobs/" + percent_encode(name));
}

std::string studio_url(const Json& rest) {
    return resources::at_path(rest, "properties.services.Studio.endpoint").as_string();
}

// A job that was there before: nothing began, which looks the same otherwise.
void say_it_was_there(Context& context, const Json& job) {
    context.note("job '" + job.at("name").as_string() +
                 "' exists already with this definition and is " +
                 job.at("properties").at("status").as_string() + ": nothing was submitted");
}

Result<Json> create(Context& context, client::Api& api) {
    Loaded loaded = TURNOUT_TRY(load(context, "job"));
    if (Result<void> prepared = prepare(context, loaded); !prepared)
        return Failure(prepared.error());
    Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                   {api.settings().workspace_path()});
    std::string name = rest.at("name").as_string();
    rest.erase("name");
    if (name.empty()) name = made_up_name(api);
    if (resources::at_path(rest, "properties.experimentName").is_null()) {
        // As Azure's clients do: the folder one is in.
        std::string experiment;
        for (const char c : client::base_name(client::current_folder()))
            experiment += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                  (c >= '0' && c <= '9') || c == '-' || c == '_'
                              ? c
                              : '-';
        resources::set_path(rest, "properties.experimentName",
                            experiment.empty() || experiment == "-" ? "Default" : experiment);
    }
    if (resources::at_path(rest, "properties.jobs").is_object())
        keep_components(api, rest["properties"]["jobs"]);
    Result<client::Reply> reply = api.send("PUT", job_path(api, name), &rest);
    if (!reply)
        return Failure(resources::in_words_of(*loaded.description, loaded.document, reply.error()));
    if (reply->status == 200) say_it_was_there(context, reply->body);  // 201: created
    return std::move(reply->body);
}

// Opens the page in a browser where there is one.
void open_page(Context& context, const std::string& url) {
    context.note("web view: " + url);
    if (client::environment_variable("DISPLAY").empty() &&
        client::environment_variable("WAYLAND_DISPLAY").empty())
        return;
    const std::string command = "xdg-open " + quote_for_shell(url) + " >/dev/null 2>&1 &";
    if (std::system(command.c_str()) != 0) context.note("no browser could be started");
}

}  // namespace

void tell_submitted(Context& context, const Json& job) {
    const std::string name = harmless(job.at("name").as_view());
    const Json& properties = job.at("properties");
    const Json& own = properties.at("properties");
    std::string waits = own.at("turnout.waiting_for").as_string();
    if (waits.empty()) waits = own.at("turnout.detail").as_string();
    if (waits.empty()) waits = "nothing";
    if (const Json place = yaml_scalar(own.at("turnout.place_in_queue").as_view());
        place.as_int() > 1)
        waits += ", place " + with_commas(place.as_int()) + " in the queue";
    context.out("job        " + name + " is " +
                (context.screen().colour ? in_colour(properties.at("status").as_view(),
                                                     properties.at("status").as_string())
                                         : properties.at("status").as_string()) +
                "\n" + "waits for  " + harmless(waits) + "\n" + "page       " +
                harmless(studio_url(job)) + "\n" + "follow     turnout job stream " + name + "\n");
}

std::string made_up_name(client::Api& api) {
    static const char* const first[] = {"brave", "calm",   "clever", "eager",  "gentle", "happy",
                                        "keen",  "lively", "mellow", "nimble", "polite", "quiet",
                                        "rapid", "steady", "sunny",  "witty"};
    static const char* const second[] = {"arrow",  "beacon", "bridge",  "cedar",  "comet", "ember",
                                         "falcon", "harbor", "lantern", "meadow", "otter", "pebble",
                                         "river",  "signal", "summit",  "willow"};
    const std::string id = api.uuid();
    const auto digit = [&](std::size_t at) {
        return static_cast<std::size_t>(id[at] <= '9' ? id[at] - '0' : id[at] - 'a' + 10) % 16;
    };
    std::string tail;
    for (const char c : id)
        if (c != '-' && tail.size() < 10) tail += c;
    return std::string(first[digit(0)]) + "_" + second[digit(1)] + "_" + tail;
}

int job_create(Context& context) {
    const Result<client::Api*> opened = context.api();
    // What is wrong with the file is told before that no server is there.
    if (!opened) {
        const Result<Loaded> loaded = load(context, "job");
        return context.fail(loaded ? opened.error() : loaded.error());
    }
    client::Api& api = **opened;
    const Result<Json> job = create(context, api);
    if (!job) return context.fail(job.error());
    if (context.args().has("--web")) open_page(context, studio_url(*job));
    if (!context.args().has("--stream")) {
        // In the log they stand anyway.
        const std::string notices =
            resources::at_path(*job, "properties.properties").at("turnout.notices").as_string();
        if (!notices.empty()) context.note(notices);
        if (!context.answers_a_person()) return context.show(job_entity(*job), *job);
        tell_submitted(context, *job);
        return 0;
    }
    return follow_job(context, api, job->at("name").as_string());
}

namespace {

// Which jobs of a list are wanted.
struct Wanted {
    std::string status, experiment, compute, user;
    std::string view;  // of the archived ones: ActiveOnly, ArchivedOnly or All
    std::size_t limit = 50;
    bool limit_given = false;

    bool filters() const {
        return !status.empty() || !experiment.empty() || !compute.empty() || !user.empty();
    }
    bool has_status(const Json& value) const {
        return status.empty() || equal_ignoring_case(value.as_view(), status);
    }
    bool has_archived(bool archived) const {
        return view == "All" || archived == (view == "ArchivedOnly");
    }
    bool has_all_but_status(const Json& job) const {
        const Json& properties = job.at("properties");
        return (experiment.empty() || properties.at("experimentName").as_view() == experiment) &&
               (compute.empty() ||
                properties.at("properties").at("turnout.compute").as_view() == compute);
    }
    // The server looks: it need not send what is not wanted.
    std::string query() const {
        std::string text = "listViewType=" + view;
        for (const auto& [key, value] :
             {std::pair("status", &status), std::pair("experimentName", &experiment),
              std::pair("compute", &compute), std::pair("createdBy", &user)})
            if (!value->empty()) text += "&" + std::string(key) + "=" + percent_encode(*value);
        return text;
    }
};

// What was found, and whether there is more than was asked for.
struct Listed {
    Json jobs = Json::array();
    bool more = false;
    bool steps = false;       // of a pipeline
    std::int64_t all = 0;     // 0 if nobody has counted them
    std::string best, score;  // of a sweep's trials
};

// All jobs but trials, the newest first.
Result<Listed> list_jobs(client::Api& api, const Wanted& wanted) {
    const std::size_t enough = wanted.limit == SIZE_MAX ? SIZE_MAX : wanted.limit + 1;
    Listed found;
    found.jobs = TURNOUT_TRY(
        api.list(api.in_workspace("/jobs?" + wanted.query() +
                                  (enough == SIZE_MAX ? "" : "&%24top=" + std::to_string(enough))),
                 enough));
    found.more = found.jobs.items().size() > wanted.limit;
    if (found.more) found.jobs.items().resize(wanted.limit);
    return found;
}

// 0: runs, 1: is on its way, 2: waits, 3: has ended.
int rank_of(std::string_view status) {
    if (status == "Running" || status == "Finalizing") return 0;
    if (status == "Completed" || status == "Failed" || status == "Canceled") return 3;
    return status == "Queued" || status == "NotStarted" ? 2 : 1;
}

// For a person: what runs comes first, also if many that wait are newer, then what waits, then what
// is over.
Result<void> put_live_first(client::Api& api, const Wanted& wanted, Listed& found) {
    if (wanted.status.empty() && found.more) {
        Wanted placed = wanted;
        placed.status =
            "Running,Finalizing,Preparing,Provisioning,Starting,CancelRequested,NotResponding";
        const Json live =
            TURNOUT_TRY(api.list(api.in_workspace("/jobs?" + placed.query()), wanted.limit));
        std::set<std::string> known;
        for (const Json& job : found.jobs.items()) known.insert(job.at("name").as_string());
        for (const Json& job : live.items())
            if (known.insert(job.at("name").as_string()).second) found.jobs.push(job);
    }
    const auto rank = [](const Json& job) {
        return rank_of(job.at("properties").at("status").as_view());
    };
    std::stable_sort(found.jobs.items().begin(), found.jobs.items().end(),
                     [&](const Json& a, const Json& b) { return rank(a) < rank(b); });
    if (found.jobs.items().size() > wanted.limit) found.jobs.items().resize(wanted.limit);
    return {};
}

// The children of a group. The trials of a sweep, the newest first: trial 7 is the eighth that was
// made, and the history tells from any of them on.
Result<Listed> list_trials(client::Api& api, const std::string& sweep, const Wanted& wanted) {
    constexpr std::int64_t window = 1000;
    const Json parent = TURNOUT_TRY(api.get(job_path(api, sweep)));
    if (!is_group(parent.at("properties")))
        return invalid(
            "job '" + sweep + "' is no sweep, no pipeline and no AutoML job: it has no children",
            "--parent-job-name");
    const Json& own = parent.at("properties").at("properties");
    const bool steps = !own.at("turnout.steps.created").is_null();
    Listed found{.steps = steps,
                 .best = own.at("best_child_run_id").as_string(),
                 .score = own.at("score").as_string()};
    if (!steps && !wanted.has_all_but_status(parent)) return found;
    std::int64_t created = 0;  // whatever its children are called
    for (const char* const children : {"steps", "trials", "children"})
        if (const Json& count = own.at("turnout." + std::string(children) + ".created");
            !count.is_null())
            created = yaml_scalar(count.as_view()).as_int();
    if (!wanted.filters()) found.all = created;
    const std::string path =
        "/history/v1.0" + api.in_workspace("/runs/" + percent_encode(sweep) + "/children?");
    for (std::int64_t end = created; end > 0 && !found.more;) {
        const std::int64_t begin = std::max<std::int64_t>(0, end - window);
        const Json page = TURNOUT_TRY(api.get(path + "top=" + std::to_string(end - begin) +
                                              "&continuationtoken=" + std::to_string(begin)));
        const Json::Array& runs = page.at("value").items();
        for (std::size_t i = runs.size(); i-- > 0 && !found.more;) {
            // What is said here is enough to pass one over; what is shown is the job.
            const Json& run = runs[i];
            if (!wanted.has_status(run.at("status")) ||
                !wanted.has_archived(run.at("hidden").as_bool()))
                continue;
            found.more = found.jobs.items().size() == wanted.limit;
            if (!found.more)
                found.jobs.push(TURNOUT_TRY(api.get(job_path(api, run.at("runId").as_string()))));
        }
        end = begin;
    }
    // In the order in which they can run.
    if (steps) std::reverse(found.jobs.items().begin(), found.jobs.items().end());
    return found;
}

// "failed" is Failed; a status that no job can have would find nothing, without a word.
Result<std::string> read_status(const std::string& text) {
    std::vector<std::string> known;
    for (const JobStatus status :
         {JobStatus::NotStarted, JobStatus::Queued, JobStatus::Preparing, JobStatus::Provisioning,
          JobStatus::Starting, JobStatus::Running, JobStatus::Finalizing,
          JobStatus::CancelRequested, JobStatus::Completed, JobStatus::Failed, JobStatus::Canceled,
          JobStatus::NotResponding, JobStatus::Paused})
        if (known.emplace_back(name_of(status)); equal_ignoring_case(known.back(), text))
            return known.back();
    return invalid("--status: expected one of " + join(known, ", ") + ", found '" + text + "'" +
                       did_you_mean(text, known),
                   "--status");
}

Result<Wanted> wanted_jobs(const Arguments& args) {
    Wanted wanted;
    if (args.has("--status")) wanted.status = TURNOUT_TRY(read_status(args.get("--status")));
    wanted.compute = args.get("--compute");
    if (args.has("--mine") && args.has("--user"))
        return invalid("--mine or --user, not both", "--user");
    wanted.user = args.has("--mine") ? "@me" : args.get("--user");
    wanted.experiment = args.get("--experiment-name");
    wanted.view = args.has("--archived-only")      ? "ArchivedOnly"
                  : args.has("--include-archived") ? "All"
                                                   : "ActiveOnly";
    if (args.has("--all-results")) wanted.limit = SIZE_MAX;
    wanted.limit_given = args.has("--max-results");
    if (!wanted.limit_given) return wanted;
    const Json number = yaml_scalar(args.get("--max-results"));
    if (!number.is_int() || number.as_int() < 1)
        return invalid(
            "--max-results: expected a number from 1, found '" + args.get("--max-results") + "'",
            "--max-results");
    wanted.limit = static_cast<std::size_t>(number.as_int());
    return wanted;
}

// What only a table shows: how old it is, and how long it has run.
void add_times(Json& entity, const Json& job, Instant now) {
    const Json& own = job.at("properties").at("properties");
    if (const Result<Instant> created =
            parse_iso8601(job.at("systemData").at("createdAt").as_view()))
        entity.set("age", age_words(now - *created));
    if (const Result<Instant> started = parse_iso8601(own.at("turnout.started").as_view())) {
        const Result<Instant> ended = parse_iso8601(own.at("turnout.ended").as_view());
        entity.set("duration", to_words((ended ? *ended : now) - *started));
    }
    entity.set("compute", own.at("turnout.compute"));
    entity.set("user", job.at("systemData").at("createdBy"));
    if (entity.at("display_name").as_view() == job.at("name").as_view())
        entity.set("display_name", "");
}

// The latest values of these metrics (of all, for "all") as columns behind the status.
Result<void> add_metrics(client::Api& api, const std::string& name, const std::string& wanted,
                         Json& entity, std::vector<std::string>& columns) {
    const Result<Json> run =
        api.get("/mlflow/v1.0" +
                api.in_workspace("/api/2.0/mlflow/runs/get?run_id=" + percent_encode(name)));
    if (!run && run.error().code == Code::NotFound) return {};  // nothing was logged
    if (!run) return Failure(run.error());
    std::vector<std::string> names = split(wanted, ',');
    Json metrics = Json::object();
    for (const Json& metric : resources::at_path(*run, "run.data.metrics").items()) {
        const std::string key = metric.at("key").as_string();
        if (wanted != "all" && std::find(names.begin(), names.end(), key) == names.end()) continue;
        metrics.set(key, metric.at("value"));
    }
    if (wanted == "all") names.clear();
    for (const auto& [key, value] : metrics.members()) {
        entity.set("metrics." + key, value);
        if (wanted == "all") names.push_back(key);
    }
    for (std::size_t i = names.size(); i-- > 0;)
        if (const std::string column = "metrics." + names[i];
            std::find(columns.begin(), columns.end(), column) == columns.end())
            columns.insert(columns.begin() + 2, column);
    return {};
}

}  // namespace

int job_list(Context& context) {
    const Result<Wanted> wanted = wanted_jobs(context.args());
    if (!wanted) return context.fail(wanted.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const std::string parent = context.args().get("--parent-job-name");
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    if (!parent.empty() && !wanted->user.empty())
        return context.fail(
            {Code::InvalidArgument, "Usage",
             "a job's children are all of who submitted it: leave out --user and --mine",
             "--user"});
    Result<Listed> listed =
        parent.empty() ? list_jobs(api, *wanted) : list_trials(api, parent, *wanted);
    if (!listed) return context.fail(listed.error());
    const bool people =
        parent.empty() && *format == Format::Table && !context.args().has("--query");
    if (people)
        if (const Result<void> sorted = put_live_first(api, *wanted, *listed); !sorted)
            return context.fail(sorted.error());
    std::vector<std::string> columns = parent.empty()  ? kJobColumns
                                       : listed->steps ? kStepColumns
                                                       : kTrialColumns;
    Json entities = Json::array();
    for (const Json& job : listed->jobs.items()) {
        Json entity = job_entity(job);
        if (!listed->best.empty() && job.at("name").as_view() == listed->best) {
            entity.set("best", true);
            entity.set("score", listed->score);
        }
        if (context.args().has("--metrics")) {
            const Result<void> added = add_metrics(
                api, job.at("name").as_string(), context.args().get("--metrics"), entity, columns);
            if (!added) return context.fail(added.error());
        }
        if (*format == Format::Table && !context.args().has("--query"))
            add_times(entity, job, api.now());
        entities.push(std::move(entity));
    }
    const int shown = context.show(entities, listed->jobs, columns);
    // Who gave a number knows.
    if (listed->more && !wanted->limit_given)
        context.note("the newest " + std::to_string(wanted->limit) +
                     (listed->all > 0 ? " of " + with_commas(listed->all) + " are shown"
                                      : " are shown, and there are more") +
                     ": --max-results N or --all-results shows the others");
    return shown;
}

int job_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> job = (*opened)->get(job_path(**opened, *name));
    if (!job) return context.fail(job.error());
    if (context.args().has("--web")) open_page(context, studio_url(*job));
    return context.show(job_entity(*job), *job);
}

int job_stream(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    return follow_job(context, **opened, *name);
}

namespace {

// What a person is asked about: "3 jobs (a, b, c) would be canceled", "12 jobs (4 Running, 8
// Queued) …".
std::string told(const std::vector<std::string>& names,
                 const std::map<std::string, std::size_t>& statuses) {
    std::vector<std::string> parts;
    if (names.size() <= 5)
        parts = names;
    else
        for (const auto& [status, count] : statuses)
            parts.push_back(with_commas(static_cast<std::int64_t>(count)) + " " + status);
    return with_commas(static_cast<std::int64_t>(names.size())) +
           (names.size() == 1 ? " job (" : " jobs (") + join(parts, ", ") + ")";
}

// The jobs that a verb is about: those named, or with --all those that the filters leave.
Result<std::vector<std::string>> jobs_meant(Context& context, const std::string& among,
                                            const std::string& view, const std::string& done) {
    const Arguments& args = context.args();
    for (const char* const filter :
         {"--status", "--compute", "--user", "--mine", "--experiment-name"})
        if (args.has(filter) && !args.has("--all"))
            return invalid(std::string(filter) + " narrows what --all means: `turnout " +
                               join(args.command->words, " ") + " --all " + filter + "`",
                           filter);
    if (!args.has("--all")) return context.names();
    if (args.has("--name")) return invalid("names or --all, not both", "--all");
    Wanted wanted = TURNOUT_TRY(wanted_jobs(args));
    wanted.view = view;
    if (wanted.status.empty())
        wanted.status = among;
    else if (("," + among + ",").find("," + wanted.status + ",") == std::string::npos)
        return invalid("a job that is " + wanted.status + " cannot be " + done +
                           ": --status is one of " + join(split(among, ','), ", "),
                       "--status");
    client::Api& api = *TURNOUT_TRY(context.api());
    std::vector<std::string> names;
    std::map<std::string, std::size_t> statuses;
    const Result<void> listed =
        api.each(api.in_workspace("/jobs?" + wanted.query()), [&](Json& job) {
            names.push_back(job.at("name").as_string());
            ++statuses[job.at("properties").at("status").as_string()];
            context.status("looking for jobs: " +
                           with_commas(static_cast<std::int64_t>(names.size())));
            return true;
        });
    if (!listed) return Failure(listed.error());
    if (names.empty()) return names;
    TURNOUT_TRY(context.agreed(told(names, statuses) + " would be " + done, "Go on?"));
    return names;
}

int each_job(Context& context, const std::string& among, const std::string& view, Verb verb) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::vector<std::string>> names = jobs_meant(context, among, view, verb.done);
    if (!names) return context.fail(names.error());
    if (names->empty()) {
        context.note("there is no such job that could be " + verb.done);
        return 0;
    }
    verb.noun = "job";
    return do_to_each(context, **opened, *names, verb);
}

}  // namespace

int job_cancel(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Verb verb{.doing = "canceling",
              .done = "canceled",
              .over = "had ended before",
              .asked = "asked to stop:",
              .detail = "its processes are asked to stop",
              .ask = [&](const std::string& name) {
                  return client::Api::Request{"POST", job_path(api, name) + "/cancel",
                                              Json::object()};
              }};
    verb.waits_for = [&](const std::string& name) {
        const Result<Json> job = api.get(job_path(api, name));
        std::string why = job ? resources::at_path(*job, "properties.properties")
                                    .at("turnout.waiting_for")
                                    .as_string()
                              : "";
        return why.starts_with("canceling: ") ? why.substr(11) : "";
    };
    verb.result = [&](const std::string& name) {
        const Result<Json> job = api.get(job_path(api, name));
        return "is " +
               (job ? job->at("properties").at("status").as_string() : std::string("canceled"));
    };
    return each_job(context, kLiveStatuses, "All", std::move(verb));
}

namespace {
int change_job(Context& context, const Json& properties) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> job =
        (*opened)->patch(job_path(**opened, *name), Json::object({{"properties", properties}}));
    if (!job) return context.fail(job.error());
    return context.show(job_entity(*job), *job);
}
}  // namespace

namespace {
// Prints nothing, as az does.
int set_job_archived(Context& context, bool archived) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Verb verb{.doing = archived ? "archiving" : "restoring",
              .done = archived ? "archived" : "restored",
              .ask = [&, archived](const std::string& name) {
                  return client::Api::Request{
                      "PATCH", job_path(api, name),
                      Json::object({{"properties", Json::object({{"isArchived", archived}})}})};
              }};
    verb.result = [archived](const std::string&) {
        return archived ? "is archived: lists show it with --include-archived"
                        : "is in lists again";
    };
    return each_job(context, std::string(kEndedStatuses) + "," + kLiveStatuses,
                    archived ? "ActiveOnly" : "ArchivedOnly", std::move(verb));
}
}  // namespace

int job_archive(Context& context) {
    return set_job_archived(context, true);
}
int job_restore(Context& context) {
    return set_job_archived(context, false);
}

int job_update(Context& context) {
    // --set display_name=…, description=…, tags.a=…, properties.b=…
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    if (!context.args().has("--set"))
        return context.fail(
            {Code::InvalidArgument, "Usage",
             "what to change? give --set, such as --set display_name=words or --set tags.kind=test",
             "--set"});
    const Result<Json> job = (*opened)->get(job_path(**opened, *name));
    if (!job) return context.fail(job.error());
    const Json before = resources::to_entity(resources::description_of_rest("job", *job), *job);
    YamlDocument document;
    document.file = "job " + *name;
    document.value = Json::object({{"tags", before.at("tags")}});
    for (const std::string& assignment : context.args().all("--set"))
        if (Result<void> applied = apply_set(document, assignment); !applied)
            return context.fail(applied.error());
    Json properties = Json::object();
    for (const auto& [key, value] : document.value.members()) {
        const resources::Field* field = resources::command_job().find(key);
        const bool allowed = key == "display_name" || key == "experiment_name" ||
                             key == "description" || key == "tags" || key == "properties";
        if (field == nullptr || !allowed)
            return context.fail({Code::InvalidArgument, "ValidationError",
                                 "--set " + key +
                                     ": of a job only display_name, experiment_name, description, "
                                     "tags and properties can change",
                                 key});
        if (key == "tags" || key == "properties") {
            Json texts = Json::object();
            for (const auto& [inner, part] : value.members())
                texts.set(inner, document.text(pointer_to("/" + key, inner), part));
            properties.set(key, key == "tags"
                                    ? before.at("tags").changes_to(texts)
                                    : std::move(texts));  // others may be changing other tags
        } else {
            properties.set(key == "display_name"      ? "displayName"
                           : key == "experiment_name" ? "experimentName"
                                                      : key,
                           document.text("/" + key, value));
        }
    }
    return change_job(context, properties);
}

int job_delete(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    return each_job(context, kEndedStatuses, "All",
                    {.doing = "deleting", .done = "deleted", .ask = [&](const std::string& name) {
                         return client::Api::Request{"DELETE", job_path(api, name), {}};
                     }});
}

Result<std::pair<std::string, std::string>> datastore_path(const std::string& uri) {
    const std::size_t store = uri.find("datastores/");
    const std::size_t paths = uri.find("/paths/", store == std::string::npos ? 0 : store);
    if (store == std::string::npos || paths == std::string::npos)
        return internal("'" + uri + "' is not the path of a datastore");
    return std::pair(uri.substr(store + 11, paths - store - 11), uri.substr(paths + 7));
}

Result<std::size_t> fetch_folder(Context& context, client::Api& api, const std::string& store,
                                 std::string prefix, const std::string& folder,
                                 const std::string& what) {
    const client::BlobPlace place = TURNOUT_TRY(api.datastore(store));
    std::vector<client::RemoteFile> files = TURNOUT_TRY(api.list_blobs(place, prefix));
    // "out" must not take "out2/x" along.
    std::erase_if(files, [&](const client::RemoteFile& file) {
        return !prefix.empty() && !prefix.ends_with('/') && file.name != prefix &&
               file.name[prefix.size()] != '/';
    });
    if (Result<void> done = api.download(place, files, prefix, folder, context.bar(what)); !done)
        return Failure(done.error());
    context.end_status();
    return files.size();
}

namespace {

Result<void> download(Context& context, client::Api& api, const std::string& name) {
    const Arguments& args = context.args();
    const std::string folder = client::absolute_path(args.get("--download-path", "."));
    const Json job = TURNOUT_TRY(api.get(job_path(api, name)));
    const std::string status = job.at("properties").at("status").as_string();
    if (status != "Completed" && status != "Failed" && status != "Canceled")
        return fail(
            Code::FailedPrecondition, "JobNotEnded",
            "job '" + name + "' is " + status +
                ": its outputs can be downloaded when it has ended (`turnout job stream -n " +
                name + "`)");
    // A pipeline has outputs of its own; of a sweep it is the best trial that has.
    if (is_group(job.at("properties")) &&
        resources::at_path(job, "properties.properties").at("turnout.steps.total").is_null()) {
        const std::string best =
            resources::at_path(job, "properties.properties.best_child_run_id").as_string();
        if (best.empty())
            return fail(Code::FailedPrecondition, "NoBestTrial",
                        "no trial of sweep '" + name +
                            "' has completed with its metric: there is no best one to download");
        context.note("the best trial is " + best);
        return download(context, api, best);
    }
    const std::string output = args.get("--output-name");
    const bool all = args.has("--all");
    if (output.empty()) {
        const std::size_t count = TURNOUT_TRY(
            fetch_folder(context, api, "workspaceartifactstore", "ExperimentRun/dcid." + name + "/",
                         folder + "/artifacts", "downloading artifacts"));
        context.note(std::to_string(count) + " artifact" + (count == 1 ? "" : "s") + " to " +
                     folder + "/artifacts");
    }
    if (output.empty() && !all) return {};
    const Json run = TURNOUT_TRY(api.post("/history/v1.0" + api.in_workspace("/rundata"),
                                          Json::object({{"runId", name},
                                                        {"selectRunMetadata", true},
                                                        {"selectRunDefinition", true},
                                                        {"selectJobSpecification", true}})));
    const Json& outputs = run.at("runMetadata").at("outputs");
    if (!output.empty() && outputs.at(output).is_null()) {
        std::vector<std::string> known;
        for (const auto& [key, value] : outputs.members()) known.push_back(key);
        return not_found(
            "job '" + name + "' has no output '" + output + "'" + did_you_mean(output, known),
            "--output-name");
    }
    for (const auto& [key, value] : outputs.members()) {
        if (!output.empty() && key != output) continue;
        const std::string id = value.at("assetId").as_string();
        const Json resolved = TURNOUT_TRY(
            api.post("/data/v1.0" + api.in_workspace("/dataversion/batchGetResolvedUris"),
                     Json::object({{"values", Json::array({id})}})));
        const auto [store, path] =
            TURNOUT_TRY(datastore_path(resolved.at("values").at(id).at("uri").as_string()));
        const std::string checked = TURNOUT_TRY(checked_relative_path(key, "output name"));
        const std::size_t count = TURNOUT_TRY(fetch_folder(
            context, api, store, path, folder + "/named-outputs/" + checked, "downloading " + key));
        context.note(std::to_string(count) + " file" + (count == 1 ? "" : "s") + " of output '" +
                     key + "' to " + folder + "/named-outputs/" + checked);
    }
    return {};
}

}  // namespace

int job_download(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<void> done = download(context, **opened, *name);
    return done ? 0 : context.fail(done.error());
}

}  // namespace turnout::cli
