#include "api/portal/page.h"

#include <algorithm>

#include "api/history/run_view.h"
#include "api/portal/page_assets.h"
#include "base/text.h"
#include "fetch/source.h"
#include "model/automl.h"

namespace turnout::api::portal {
namespace {

constexpr std::size_t kMaxRows = 200;
constexpr std::size_t kMaxPictures = 12;
constexpr std::size_t kMaxWays = 4;  // that would start it

std::string_view tone_of(JobStatus status) {
    switch (status) {
        case JobStatus::Completed: return "good";
        case JobStatus::Failed:
        case JobStatus::NotResponding: return "bad";
        case JobStatus::Canceled:
        case JobStatus::CancelRequested: return "gone";
        case JobStatus::Running:
        case JobStatus::Finalizing: return "live";
        case JobStatus::NotStarted:
        case JobStatus::Queued:
        case JobStatus::Preparing:
        case JobStatus::Provisioning:
        case JobStatus::Starting:
        case JobStatus::Paused:
        case JobStatus::Unknown: return "wait";
    }
    return "wait";
}

std::string name_of_job(const JobRecord& job) {
    return job.meta.display_name.empty() ? job.name : job.meta.display_name;
}

std::string title_of(const JobRecord& job) {
    return std::string(name_of(job.status)) + " · " + name_of_job(job);
}

Html heading(std::string_view words) {
    return element("h2", words);
}

Html more(const std::string& words) {
    return element("p", {{"class", "more"}}, words);
}

std::string link_to(const PageData& data, const std::string& place, std::string_view path) {
    return data.base + "/" + place + "/" + percent_encode(path, "/") + data.query;
}

Html header(const PageData& data) {
    const JobRecord& job = data.job;
    Html facts;
    const auto fact = [&](std::string_view name, const std::string& value) {
        if (!value.empty()) facts += element("div", element("dt", name) + element("dd", value));
    };
    fact("Job", job.name);
    const bool of_automl = is_of_automl(job.child.role);
    fact(job.derived() ? "Trial of" : of_automl ? "Part of" : "Step of", job.child.group);
    if (!job.derived() && !of_automl) fact("Step", job.child.role);
    fact("Experiment", job.meta.experiment);
    fact("Compute", std::string(shown_compute(job.compute)));
    if (const JobAttempt* current = job.current()) {
        fact("Node", words_of(current->placement));
        if (current->number > 1) fact("Attempt", std::to_string(current->number));
    }
    fact("By", job.principal);
    fact("Submitted", utc(job.created));
    if (job.started) fact("Began", utc(*job.started));
    if (job.ended) fact("Ended", utc(*job.ended));
    fact(job.ended ? "Took" : "So far", to_words(job.ended.value_or(data.now) - job.created));
    Html out = element("h1", Html(name_of_job(job)) + " " + badge(job.status)) +
               element("dl", {{"class", "facts"}}, facts);
    if (!job.meta.description.empty())
        out += element("p", {{"class", "description"}}, job.meta.description);
    return out;
}

// What it waits for or does, or why it did not go well: whole, and before all else.
Html notice(const PageData& data) {
    const JobRecord& job = data.job;
    Html out;
    if (!is_terminal(job.status)) {
        const JobAttempt* current = job.current();
        const std::string doing = !data.waiting_for.empty() ? data.waiting_for
                                  : current                 ? current->detail
                                                            : "";
        if (!doing.empty())
            out += element("p", {{"class", "notice"}}, element("b", "Now: ") + doing);
        Html ways;
        for (std::size_t i = 0; i < std::min(data.would_start.size(), kMaxWays); ++i)
            ways += element("li", data.would_start[i]);
        if (!ways.empty())
            out += element("p", {{"class", "more"}}, "What would start it now:") +
                   element("ul", {{"class", "ways"}}, ways);
        return out;
    }
    if (job.status == JobStatus::Completed)  // of a sweep its result
        return job.error_message.empty() ? out
                                         : element("p", {{"class", "notice"}}, job.error_message);
    const JobAttempt* last = job.current();
    const agent_protocol::Ending* ending = last && last->ending ? &*last->ending : nullptr;
    Html why = job.cause == agent_protocol::Cause::None
                   ? Html()
                   : element("b", std::string(agent_protocol::name_of(job.cause)) + ": ");
    const std::string message = error_of(job).at("message").as_string();
    out += element("p", {{"class", "why"}}, why + message);
    if (ending && ending->exit_code > 0 && message.find("exit code") == std::string::npos)
        out += element("p", "exit code " + std::to_string(ending->exit_code));
    if (ending && !ending->last_lines.empty())
        out += element("pre", plain_text(join(ending->last_lines, "\n")));
    return element("div", {{"class", job.status == JobStatus::Failed ? "error" : "stopped"}}, out);
}

// Widths are attributes of SVG, not styles: the page's policy forbids inline styles.
Html timeline(const PageData& data) {
    const auto entries = ledger(data.job, data.now);
    double total = 0;
    for (const auto& [entry, span] : entries) total += static_cast<double>(span.count());
    if (total <= 0) return {};
    constexpr double width = 1000;
    Html bar, legend;
    double x = 0;
    for (const auto& [entry, span] : entries) {
        if (span.count() <= 0) continue;
        const double w = static_cast<double>(span.count()) / total * width;
        const std::string words(words_of(entry)), mark = "e-" + std::string(name_of(entry));
        bar += element("rect",
                       {{"class", mark},
                        {"x", fixed_words(x)},
                        {"y", "0"},
                        {"width", fixed_words(std::max(w, 1.0))},
                        {"height", "28"}},
                       element("title", words + ": " + to_words(span)));
        const Html dot = element(
            "svg", {{"class", "dot"}, {"viewBox", "0 0 10 10"}},
            element("rect", {{"class", mark}, {"width", "10"}, {"height", "10"}, {"rx", "2"}}));
        legend += element("li", dot + words + " " + element("b", to_words(span)));
        x += w;
    }
    return heading("Where the time went") +
           element("svg",
                   {{"class", "timeline"},
                    {"viewBox", "0 0 1000 28"},
                    {"preserveAspectRatio", "none"},
                    {"role", "img"},
                    {"aria-label", "how the job's time was spent"}},
                   bar) +
           element("ul", {{"class", "legend"}}, legend);
}

// Where there was more than one, or one that a node lost: each with its end.
Html attempts(const PageData& data) {
    const JobRecord& job = data.job;
    if (job.attempts.size() + static_cast<std::size_t>(job.folded_attempts) < 2) return {};
    Html rows = element("tr", element("th", "attempt") + element("th", "nodes") +
                                  element("th", "given to it") + element("th", "took") +
                                  element("th", "how it ended"));
    for (const JobAttempt& attempt : job.attempts) {
        std::string end = attempt.ended ? "well" : "it has not ended";
        if (attempt.ending && attempt.ending->cause != agent_protocol::Cause::None) {
            end = agent_protocol::name_of(attempt.ending->cause);
            if (!attempt.ending->message.empty() && attempt.ending->message != end)
                end += ": " + attempt.ending->message;
        }
        rows += element(
            "tr",
            element("td", std::to_string(attempt.number)) +
                element("td", words_of(attempt.placement)) + element("td", utc(attempt.leased)) +
                element("td", to_words(std::max(
                                  Span{}, attempt.ended.value_or(data.now) - attempt.leased))) +
                element("td", end));
    }
    Html out = heading("Attempts") + element("table", {{"class", "list"}}, rows);
    if (job.folded_attempts > 0)
        out += more("and " + std::to_string(job.folded_attempts) +
                    " between them that had to give way, too");
    return out;
}

Html metrics(const PageData& data) {
    if (!data.run || data.run->latest.empty()) return {};
    Html figures;
    std::size_t shown = 0;
    for (const Metric& metric : data.run->latest) {
        if (++shown > kMaxRows) break;
        const auto history =
            std::find_if(data.histories.begin(), data.histories.end(),
                         [&](const auto& entry) { return entry.first == metric.key; });
        Html figure = element(
            "figcaption", element("span", metric.key) + element("b", number_words(metric.value)));
        if (history != data.histories.end() && history->second.size() > 1)
            figure += line_chart(history->second);
        figures += element("figure", figure);
    }
    Html out = heading("Metrics") + element("div", {{"class", "charts"}}, figures);
    if (data.run->latest.size() > kMaxRows)
        out += more("and " + std::to_string(data.run->latest.size() - kMaxRows) + " more");
    return out;
}

std::string text_of(const Json& value) {
    return value.is_string() ? value.as_string() : value.dump();
}

Html table(std::string_view title, const Json& values) {
    if (values.members().empty()) return {};
    Html rows;
    std::size_t shown = 0;
    for (const auto& [key, value] : values.members()) {
        if (++shown > kMaxRows) break;
        rows += element("tr", element("th", key) + element("td", text_of(value)));
    }
    Html out = (title.empty() ? Html() : heading(title)) + element("table", rows);
    if (values.members().size() > kMaxRows)
        out += more("and " + std::to_string(values.members().size() - kMaxRows) + " more");
    return out;
}

// As the user named and gave them, and where that led to. Behind a '?' there may be a key.
Html inputs(const PageData& data) {
    const Json& given = data.job.definition.at("inputs");
    if (given.members().empty()) return {};
    Html rows =
        element("tr", element("th", "input") + element("th", "given") + element("th", "how"));
    std::size_t shown = 0;
    for (const auto& [name, input] : given.members()) {
        if (++shown > kMaxRows) break;
        const Json& literal = input.at("value");
        std::string value = !literal.is_null() ? text_of(literal) : input.at("uri").as_string();
        const auto task =
            std::ranges::find(data.task.inputs, name, &agent_protocol::TaskInput::name);
        if (task != data.task.inputs.end() && task->fetch) value = fetch::shown_url(value);
        if (literal.is_null()) value = value.substr(0, value.find('?'));
        std::string how = input.at("jobInputType").as_string();
        if (task != data.task.inputs.end() && task->type != "literal" && !task->mode.empty())
            how = task->type + ", " + task->mode;
        rows += element("tr", element("td", name) + element("td", value) + element("td", how));
    }
    return heading("Inputs") + element("table", {{"class", "list"}}, rows);
}

// What ran: the command as it was sent, the environment and what was said about it.
Html definition(const PageData& data) {
    const agent_protocol::TaskSpec& task = data.task;
    if (task.command.empty()) return {};
    Json rows = Json::object();
    if (!task.environment.name.empty()) rows.set("environment", task.environment.name);
    if (!task.environment.notices.empty()) rows.set("note", join(task.environment.notices, "\n"));
    return heading("Command") + element("pre", {{"class", "command"}}, task.command) +
           table("", rows);
}

Html details(const PageData& data) {
    Html out = definition(data) + inputs(data);
    if (!data.job.child.parameters.members().empty())
        out += table("Parameters of this trial", data.job.child.parameters);
    if (data.run) out += table("Parameters", data.run->params);
    Json tags = data.job.meta.tags.is_object() ? data.job.meta.tags : Json::object();
    if (data.run)
        for (const auto& [key, value] : data.run->tags.members())
            if (!key.starts_with("mlflow.") && !key.starts_with("turnout.")) tags.set(key, value);
    return out + table("Tags", tags) + table("Properties", data.job.meta.properties);
}

Html row_of_file(const PageData& data, const std::string& place, const std::string& path,
                 std::uint64_t size) {
    const Html name = element(
        "a",
        {{"href", link_to(data, place, path)}, {"download", is_plain_text(path) ? "" : "download"}},
        path);
    return element("tr",
                   element("td", name) + element("td", {{"class", "size"}}, to_size_words(size)));
}

Html outputs(const PageData& data) {
    Html out;
    for (const NamedOutput& output : data.outputs) {
        out += element("h3", output.name + " " + element("small", output.type));
        out += element("p", {{"class", "where"}}, output.uri);
        Html rows;
        for (const auto& [path, size] : output.files)
            rows += row_of_file(data, "output/" + percent_encode(output.name), path, size);
        if (!rows.empty())
            out += element("table", rows);
        else if (output.listed)
            out += more(is_terminal(data.job.status) ? "nothing was written to it"
                                                     : "nothing is there yet");
        if (output.more || !output.listed)
            out +=
                more("turnout job download -n " + data.job.name + " --output-name " + output.name);
    }
    return out.empty() ? out : heading("Outputs") + out;
}

Html artifacts(const PageData& data) {
    if (data.artifacts.empty()) return {};
    Html pictures, rows;
    std::size_t shown = 0;
    for (const auto& [path, size] : data.artifacts) {
        const std::string link = link_to(data, "artifact", path);
        if (!image_type(path).empty() && ++shown <= kMaxPictures)
            pictures +=
                element("a", {{"href", link}},
                        element("img", {{"loading", "lazy"}, {"alt", path}, {"src", link}}));
        rows += row_of_file(data, "artifact", path, size);
    }
    Html out = heading("Artifacts");
    if (!pictures.empty()) out += element("div", {{"class", "pictures"}}, pictures);
    out += element("table", rows);
    if (data.more_artifacts)
        out += more("and more: 'turnout job download -n " + data.job.name + "' gets them all");
    return out;
}

Html log_name(const PageData& data) {
    const std::string all = data.base + "/log" + data.query + (data.query.empty() ? "?" : "&") +
                            "path=" + percent_encode(data.log_path);
    return Html("Log") + " " + element("small", data.log_path) +
           (data.log_length > 0 ? " " + element("a", {{"href", all}}, "all of it") : Html());
}

Html head(std::string_view title, std::string_view nonce, const Html& more_of_it) {
    return "<!DOCTYPE html>\n"_html +
           element(
               "head",
               "<meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><meta name=\"robots\" content=\"noindex\"/>"_html +
                   element("title", title) + more_of_it +
                   element("style", {{"nonce", nonce}}, page_style()));
}

Html top() {
    return element("header", {{"class", "top"}}, page_logo() + element("span", "Turnout"));
}

}  // namespace

std::string utc(Instant at) {
    std::string text = to_iso8601(at).substr(0, 19);
    std::ranges::replace(text, 'T', ' ');
    return text + " UTC";
}

Html badge(JobStatus status) {
    return element("span", {{"class", "badge " + std::string(tone_of(status))}}, name_of(status));
}

Html links_to_pages(const PageData& data, std::int64_t page, std::int64_t pages,
                    const PageWords& words) {
    if (pages <= 1) return {};
    const auto to = [&](std::int64_t number, std::string_view word) {
        return element(
            "a",
            {{"href", data.base + "/plain" + data.query + (data.query.empty() ? "?" : "&") +
                          "page=" + std::to_string(number)}},
            word);
    };
    Html out;
    if (page > 1) out += to(1, words.first) + " " + to(page - 1, words.before) + " ";
    out += "page " + with_commas(page) + " of " + with_commas(pages);
    if (page < pages) out += " " + to(page + 1, words.after) + " " + to(pages, words.last);
    return element("p", {{"class", "pages"}}, out);
}

std::string_view image_type(std::string_view path) {
    const std::string name = to_lower(path);
    if (name.ends_with(".png")) return "image/png";
    if (name.ends_with(".jpg") || name.ends_with(".jpeg")) return "image/jpeg";
    if (name.ends_with(".gif")) return "image/gif";
    if (name.ends_with(".webp")) return "image/webp";
    if (name.ends_with(".svg")) return "image/svg+xml";
    return "";
}

bool is_plain_text(std::string_view path) {
    const std::string name = to_lower(path);
    for (const char* ending : {".txt", ".log", ".json", ".csv", ".yml", ".yaml", ".md", ".py"})
        if (name.ends_with(ending)) return true;
    return false;
}

std::string plain_text(std::string_view log) {
    std::string out;
    std::size_t line = 0;  // where the current line begins in `out`
    for (std::size_t at = 0; at < log.size(); ++at) {
        const char c = log[at];
        if (c == '\x1b') {
            if (at + 1 < log.size() && log[at + 1] == '[') {
                ++at;
                while (at + 1 < log.size() && !((log[at + 1] >= '@' && log[at + 1] <= '~'))) ++at;
                ++at;
            }
        } else if (c == '\r') {
            if (at + 1 < log.size() && log[at + 1] != '\n') out.resize(line);
        } else if (c == '\n') {
            out += c;
            line = out.size();
        } else if (c == '\t' || static_cast<unsigned char>(c) >= 0x20) {
            out += c;
        }
    }
    return out;
}

std::vector<std::pair<std::string, Html>> fragments(const PageData& data) {
    return {{"header", header(data)},
            {"notice", notice(data)},
            {"sweep", data.sweep   ? sweep_section(data)
                      : data.steps ? steps_section(data)
                                   : Html()},
            {"timeline", timeline(data)},
            {"attempts", attempts(data)},
            {"metrics", metrics(data)},
            {"outputs", outputs(data)},
            {"details", details(data)},
            {"artifacts", artifacts(data)}};
}

Json live_document(const PageData& data) {
    Json parts = Json::object();
    for (const auto& [id, html] : fragments(data)) parts.set(id, html.markup());
    parts.set("logname", log_name(data).markup());
    return Json::object({{"title", title_of(data.job)},
                         {"terminal", is_terminal(data.job.status)},
                         {"log", data.log_path},
                         {"fragments", std::move(parts)}});
}

std::string render_page(const PageData& data, std::string_view nonce) {
    const bool over = is_terminal(data.job.status);
    // Who has no script gets the page anew instead.
    const Html again =
        over ? Html() : "<noscript><meta http-equiv=\"refresh\" content=\"10\"/></noscript>"_html;
    Html sections;
    for (const auto& [id, html] : fragments(data))
        sections += element("section", {{"id", id}}, html);
    Html log;
    if (data.log_tail.size() < data.log_length)
        log += "… the beginning is in " + data.log_path + " …\n";
    log += plain_text(data.log_tail);
    sections += element("section", {{"class", "log"}},
                        element("h2", {{"id", "logname"}}, log_name(data)) +
                            element("pre",
                                    {{"id", "log"},
                                     {"tabindex", "0"},
                                     {"data-length", std::to_string(data.log_length)},
                                     {"data-path", data.log_path}},
                                    log));
    std::string live = data.query;
    const std::int64_t page = data.sweep ? data.sweep->page : data.steps ? data.steps->page : 1;
    if (page > 1) live += (live.empty() ? "?" : "&") + std::string("page=") + std::to_string(page);
    const Html body = element(
        "body",
        {{"data-base", data.base},
         {"data-query", data.query},
         {"data-live", live},
         {"data-terminal", over ? "yes" : ""}},
        top() + element("main", sections) + element("script", {{"nonce", nonce}}, page_script()));
    return (head(title_of(data.job), nonce, again) + body).markup() + "\n";
}

std::string render_front(std::string_view version, std::string_view nonce) {
    const Html words =
        element("h1", "Turnout " + std::string(version) + " is up") +
        element("p",
                Html("Each job has its own page: its link is printed when the job is submitted (") +
                    element("code", "studio_url") + " in the SDK), and by") +
        element("pre", {{"class", "command"}},
                Html("turnout job list\nturnout job show -n ") +
                    element("span", {{"id", "run"}}, "NAME") + " --web") +
        element("p", element("a", {{"href", "/login"}}, "Log in") + " to see the newest jobs.") +
        element("p", "To let the real clients talk to this server:") +
        element("pre", {{"class", "command"}},
                "eval \"$(turnout env)\"\nturnout config > config.json");
    return (head("Turnout", nonce, {}) +
            element("body", top() + element("main", element("section", words)) +
                                element("script", {{"nonce", nonce}}, front_script())))
               .markup() +
           "\n";
}

Html home_words(std::string_view user, const std::vector<HomeJob>& jobs) {
    Html rows;
    for (const HomeJob& job : jobs)
        rows += element("tr", element("td", element("a", {{"href", job.path}}, job.title)) +
                                  element("td", badge(job.status)) + element("td", job.by) +
                                  element("td", utc(job.created)));
    return element("h1", "Logged in as " + std::string(user)) +
           element("form", {{"method", "post"}, {"action", "/logout"}},
                   element("button", {{"type", "submit"}}, "Log out")) +
           element("h2", "Newest jobs") +
           (jobs.empty() ? element("p", "There are none that you may look at.")
                         : element("table", rows));
}

std::string render_words(std::string_view title, const Html& words, std::string_view nonce,
                         std::string_view refresh) {
    Html next;
    if (!refresh.empty())
        next = element("meta",
                       {{"http-equiv", "refresh"}, {"content", "0; url=" + std::string(refresh)}});
    return (head(title, nonce, next) +
            element("body", top() + element("main", element("section", words))))
               .markup() +
           "\n";
}

std::string render_refusal(std::string_view why) {
    return ("<!DOCTYPE html>"_html + element("title", "Turnout") +
            element("h1", "This link does not work") + element("p", why))
        .markup();
}

}  // namespace turnout::api::portal
