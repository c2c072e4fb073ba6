#include "api/portal/page.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "api/history/run_view.h"
#include "api/portal/page_assets.h"
#include "base/text.h"

namespace turnout::api::portal {
namespace {

constexpr std::size_t kChartPoints = 400;
constexpr std::size_t kMaxRows = 200;

std::string text(std::string_view value) {
    return xml_escape(value);
}

std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
    std::array<char, 40> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                   std::chars_format::general, 6)
                         .ptr;
    return {digits.data(), end};
}

std::string fixed(double value) {
    std::array<char, 48> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                   std::chars_format::fixed, 1)
                         .ptr;
    return {digits.data(), end};
}

std::string link(const PageData& data, std::string_view path) {
    return text(data.base + "/artifact/" + percent_encode(path, "/") + data.query);
}

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

std::string_view title_of(agent_protocol::Cause cause) {
    if (cause == agent_protocol::Cause::UserCode) return "your code:";
    if (cause == agent_protocol::Cause::None || cause == agent_protocol::Cause::Canceled) return "";
    return agent_protocol::name_of(cause);
}

std::string name_of_job(const JobRecord& job) {
    return job.meta.display_name.empty() ? job.name : job.meta.display_name;
}

std::string header(const PageData& data) {
    const JobRecord& job = data.job;
    const std::string_view status = name_of(job.status);
    std::string out = "<h1>" + text(name_of_job(job)) + " <span class=\"badge " +
                      std::string(tone_of(job.status)) + "\">" + std::string(status) +
                      "</span></h1><dl class=\"facts\">";
    const auto fact = [&](std::string_view name, const std::string& value) {
        if (!value.empty())
            out += "<div><dt>" + std::string(name) + "</dt><dd>" + text(value) + "</dd></div>";
    };
    fact("Job", job.name);
    fact("Experiment", job.meta.experiment);
    fact("Compute", job.compute);
    if (const JobAttempt* current = job.current()) {
        fact("Node", join(current->nodes, ", "));
        if (current->number > 1) fact("Attempt", std::to_string(current->number));
    }
    std::string submitted = to_iso8601(job.created).substr(0, 19);
    std::replace(submitted.begin(), submitted.end(), 'T', ' ');
    fact("Submitted", submitted + " UTC");
    fact(job.ended ? "Took" : "So far", to_words(job.ended.value_or(data.now) - job.created));
    out += "</dl>";
    if (!job.meta.description.empty())
        out += "<p class=\"description\">" + text(job.meta.description) + "</p>";
    return out;
}

std::string notice(const PageData& data) {
    const JobRecord& job = data.job;
    std::string out;
    if (!is_terminal(job.status)) {
        const JobAttempt* current = job.current();
        const std::string doing = !data.waiting_for.empty() ? data.waiting_for
                                  : current                 ? current->detail
                                                            : "";
        if (!doing.empty()) out += "<p class=\"notice\"><b>Now:</b> " + text(doing) + "</p>";
        return out;
    }
    if (job.status == JobStatus::Completed) return out;
    const JobAttempt* last = job.current();
    const agent_protocol::Ending* ending = last && last->ending ? &*last->ending : nullptr;
    out += "<div class=\"error\"><p class=\"why\"><b>" + std::string(title_of(job.cause)) +
           "</b> " + text(error_of(job).at("message").as_view()) + "</p>";
    if (ending && ending->exit_code > 0)
        out += "<p>exit code " + std::to_string(ending->exit_code) + "</p>";
    if (ending && !ending->last_lines.empty())
        out += "<pre>" + text(plain_text(join(ending->last_lines, "\n"))) + "</pre>";
    return out + "</div>";
}

// Widths are attributes of SVG, not styles: the page's policy forbids inline styles.
std::string timeline(const PageData& data) {
    const auto entries = ledger(data.job, data.now);
    double total = 0;
    for (const auto& [entry, span] : entries) total += static_cast<double>(span.count());
    if (total <= 0) return "";
    constexpr double width = 1000;
    std::string bar =
        "<svg class=\"timeline\" viewBox=\"0 0 1000 28\" preserveAspectRatio=\"none\" role=\"img\" "
        "aria-label=\"how the job's time was spent\">";
    std::string legend = "<ul class=\"legend\">";
    double x = 0;
    for (const auto& [entry, span] : entries) {
        if (span.count() <= 0) continue;
        const double w = static_cast<double>(span.count()) / total * width;
        const std::string words = std::string(words_of(entry)) + ": " + to_words(span);
        const std::string mark = "e-" + std::string(name_of(entry));
        bar += "<rect class=\"" + mark + "\" x=\"" + fixed(x) + "\" y=\"0\" width=\"" +
               fixed(std::max(w, 1.0)) + "\" height=\"28\"><title>" + words + "</title></rect>";
        legend += "<li><svg class=\"dot\" viewBox=\"0 0 10 10\"><rect class=\"" + mark +
                  "\" width=\"10\" height=\"10\" rx=\"2\"/></svg>" + std::string(words_of(entry)) +
                  " <b>" + to_words(span) + "</b></li>";
        x += w;
    }
    return "<h2>Where the time went</h2>" + bar + "</svg>" + legend + "</ul>";
}

std::string metrics(const PageData& data) {
    if (!data.run || data.run->latest.empty()) return "";
    std::string out = "<h2>Metrics</h2><div class=\"charts\">";
    std::size_t shown = 0;
    for (const Metric& metric : data.run->latest) {
        if (++shown > kMaxRows) break;
        const auto history =
            std::find_if(data.histories.begin(), data.histories.end(),
                         [&](const auto& entry) { return entry.first == metric.key; });
        out += "<figure><figcaption><span>" + text(metric.key) + "</span><b>" +
               number(metric.value) + "</b></figcaption>";
        if (history != data.histories.end() && history->second.size() > 1)
            out += line_chart(history->second);
        out += "</figure>";
    }
    out += "</div>";
    if (data.run->latest.size() > kMaxRows)
        out += "<p class=\"more\">and " + std::to_string(data.run->latest.size() - kMaxRows) +
               " more</p>";
    return out;
}

std::string table(std::string_view title, const Json& values) {
    if (values.members().empty()) return "";
    std::string out = (title.empty() ? "" : "<h2>" + std::string(title) + "</h2>") + "<table>";
    std::size_t shown = 0;
    for (const auto& [key, value] : values.members()) {
        if (++shown > kMaxRows) break;
        out += "<tr><th>" + text(key) + "</th><td>" +
               text(value.is_string() ? value.as_view() : std::string_view(value.dump())) +
               "</td></tr>";
    }
    return out + "</table>";
}

// What ran: the command as it was sent, the values it got, the environment and what was said about
// it.
std::string definition(const PageData& data) {
    const agent_protocol::TaskSpec& task = data.task;
    if (task.command.empty()) return "";
    std::string out = "<h2>Command</h2><pre class=\"command\">" + text(task.command) + "</pre>";
    Json rows = Json::object();
    if (!task.environment.name.empty()) rows.set("environment", task.environment.name);
    if (!task.environment.notices.empty()) rows.set("note", join(task.environment.notices, "\n"));
    for (const agent_protocol::TaskInput& input : task.inputs) {
        std::string given = !input.literal.empty() ? input.literal
                            : input.local_path     ? *input.local_path
                            : input.blobs ? input.blobs->container + "/" + input.blobs->prefix
                                          : input.uri;
        if (input.literal.empty())
            given = given.substr(0, given.find('?'));  // behind it there may be a key
        rows.set("input " + input.name, given);
    }
    return out + table("", rows);
}

std::string details(const PageData& data) {
    std::string out = definition(data);
    if (data.run) out += table("Parameters", data.run->params);
    Json tags = data.job.meta.tags.is_object() ? data.job.meta.tags : Json::object();
    if (data.run)
        for (const auto& [key, value] : data.run->tags.members())
            if (!key.starts_with("mlflow.") && !key.starts_with("turnout.")) tags.set(key, value);
    return out + table("Tags", tags) + table("Properties", data.job.meta.properties);
}

std::string artifacts(const PageData& data) {
    if (data.artifacts.empty()) return "";
    std::string pictures;
    std::string rows;
    for (const auto& [path, size] : data.artifacts) {
        if (!image_type(path).empty() && std::count(pictures.begin(), pictures.end(), '\n') < 12)
            pictures += "<a href=\"" + link(data, path) + "\"><img loading=\"lazy\" alt=\"" +
                        text(path) + "\" src=\"" + link(data, path) + "\"></a>\n";
        rows += "<tr><td><a href=\"" + link(data, path) + "\"" +
                (is_plain_text(path) ? "" : " download") + ">" + text(path) +
                "</a></td><td class=\"size\">" + to_size_words(size) + "</td></tr>";
    }
    std::string out = "<h2>Artifacts</h2>";
    if (!pictures.empty()) out += "<div class=\"pictures\">" + pictures + "</div>";
    out += "<table>" + rows + "</table>";
    if (data.more_artifacts)
        out += "<p class=\"more\">and more: 'turnout job download -n " + text(data.job.name) +
               "' gets them all</p>";
    return out;
}

}  // namespace

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

std::string line_chart(const std::vector<Metric>& all) {
    constexpr double left = 4, right = 316, top = 16, bottom = 92;
    std::vector<const Metric*> points;
    const std::size_t stride = all.size() / kChartPoints + 1;
    for (std::size_t i = 0; i < all.size(); ++i)
        if ((i % stride == 0 || i + 1 == all.size()) && std::isfinite(all[i].value))
            points.push_back(&all[i]);
    if (points.empty()) return "";
    const bool by_step = points.front()->step != points.back()->step;
    const auto x_of = [&](const Metric& point) {
        return static_cast<double>(by_step ? point.step : point.timestamp_ms);
    };
    double low = points[0]->value, high = low;
    for (const Metric* point : points) {
        low = std::min(low, point->value);
        high = std::max(high, point->value);
    }
    const double from = x_of(*points.front()), to = x_of(*points.back());
    const auto x_at = [&](const Metric& point) {
        return to > from ? left + (x_of(point) - from) / (to - from) * (right - left)
                         : (left + right) / 2;
    };
    const auto y_at = [&](double value) {
        return high > low ? bottom - (value / 2 - low / 2) / (high / 2 - low / 2) * (bottom - top)
                          : (top + bottom) / 2;
    };
    std::string line;
    for (const Metric* point : points)
        line += fixed(x_at(*point)) + "," + fixed(y_at(point->value)) + " ";
    std::string out =
        "<svg class=\"chart\" viewBox=\"0 0 320 112\" role=\"img\"><line class=\"grid\" x1=\"4\" "
        "x2=\"316\" y1=\"16\" y2=\"16\"/><line class=\"grid\" x1=\"4\" x2=\"316\" y1=\"92\" "
        "y2=\"92\"/>";
    out += "<polyline class=\"line\" points=\"" + line + "\"/>";
    out += "<circle class=\"end\" r=\"2.5\" cx=\"" + fixed(x_at(*points.back())) + "\" cy=\"" +
           fixed(y_at(points.back()->value)) + "\"/>";
    out += "<text x=\"4\" y=\"12\">" + number(high) + "</text><text x=\"4\" y=\"105\">" +
           number(low) + "</text>";
    const std::string range = by_step
                                  ? "step " + number(from) + " – " + number(to)
                                  : to_words(Span(static_cast<std::int64_t>((to - from) * 1000)));
    return out + "<text class=\"range\" x=\"316\" y=\"105\">" + range + "</text></svg>";
}

std::vector<std::pair<std::string, std::string>> fragments(const PageData& data) {
    return {{"header", header(data)},   {"notice", notice(data)},   {"timeline", timeline(data)},
            {"metrics", metrics(data)}, {"details", details(data)}, {"artifacts", artifacts(data)}};
}

Json live_document(const PageData& data) {
    Json parts = Json::object();
    for (auto& [id, html] : fragments(data)) parts.set(id, std::move(html));
    return Json::object(
        {{"title", std::string(name_of(data.job.status)) + " · " + name_of_job(data.job)},
         {"terminal", is_terminal(data.job.status)},
         {"fragments", std::move(parts)}});
}

std::string render_page(const PageData& data, std::string_view nonce) {
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" "
        "content=\"noindex\"><title>";
    out += text(std::string(name_of(data.job.status)) + " · " + name_of_job(data.job)) +
           "</title><style nonce=\"" + std::string(nonce) + "\">";
    out += kPageStyle;
    out += "</style></head><body data-base=\"" + text(data.base) + "\" data-query=\"" +
           text(data.query) + "\"" + (is_terminal(data.job.status) ? " data-terminal" : "") + ">";
    out +=
        "<header class=\"top\">" + std::string(kPageLogo) + "<span>Turnout</span></header><main>";
    for (const auto& [id, html] : fragments(data))
        out += "<section id=\"" + id + "\">" + html + "</section>";
    out += "<section class=\"log\"><h2>Log</h2><pre id=\"log\" tabindex=\"0\" data-length=\"" +
           std::to_string(data.log_length) + "\">";
    if (data.log_tail.size() < data.log_length)
        out += "… the beginning is in " + std::string(first_log_of(data.job)) + " …\n";
    out += text(plain_text(data.log_tail)) + "</pre></section></main><script nonce=\"" +
           std::string(nonce) + "\">";
    out += kPageScript;
    out += "</script></body></html>\n";
    return out;
}

std::string render_front(std::string_view version, std::string_view nonce) {
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><title>Turnout</title><style nonce=\"" +
        std::string(nonce) + "\">";
    out += kPageStyle;
    out += "</style></head><body><header class=\"top\">" + std::string(kPageLogo) +
           "<span>Turnout</span></header><main><section><h1>Turnout " + text(version) +
           " is up</h1>";
    out +=
        "<p>Each job has its own page: its link is printed when the job is submitted "
        "(<code>studio_url</code> in the SDK), and by</p>";
    out +=
        "<pre class=\"command\">turnout job list\nturnout job show -n NAME --web</pre><p>To let "
        "the real clients talk to this server:</p>";
    out +=
        "<pre class=\"command\">eval \"$(turnout env)\"\nturnout config &gt; "
        "config.json</pre></section></main></body></html>\n";
    return out;
}

}  // namespace turnout::api::portal
