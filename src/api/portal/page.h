// The page of one job as HTML: a pure function of what is known about it. Nothing here can be
// markup but what html.h lets through.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/portal/charts.h"
#include "api/portal/html.h"
#include "base/json.h"
#include "base/time.h"
#include "blob/blobs.h"
#include "model/job.h"
#include "tracking/tracking.h"

namespace turnout::api::portal {

using Files = std::vector<std::pair<std::string, std::uint64_t>>;  // path beneath its place, size

struct NamedOutput {
    std::string name, type, uri;
    bool listed = false;  // it is the job's own place: its files may be shown
    Files files;
    bool more = false;
};

// What the page of a sweep has more; bounded, however many trials there are.
struct SweepView {
    std::string metric;
    bool maximize = true;
    std::int64_t total = 0;
    std::vector<TrialRow> rows;  // of one page, the newest trial first
    std::int64_t page = 1, pages = 1;
    std::vector<TrialRow> sample;  // of all trials: every `stride`th, by number
    std::int64_t stride = 1;
    std::optional<TrialRow> best;
    std::string best_log;  // its end
    std::string best_log_path;
};

// What the page of a pipeline has more; bounded, however many steps there are.
struct StepRow {
    std::string name, job, compute;
    JobStatus status = JobStatus::NotStarted;
    std::vector<std::string> after;  // whose outputs it takes
    std::optional<Span> took;
    std::string why;   // it failed or was canceled
    std::string link;  // to its own page
    Json score;        // as it is stored with its state
};
struct StepsView {
    std::string_view noun = "step";  // what the rows are
    std::int64_t total = 0;
    std::vector<StepRow> rows;  // of one page, in the order in which they can run
    std::int64_t page = 1, pages = 1;
};

struct PageData {
    JobRecord job;
    agent_protocol::TaskSpec task;
    std::string waiting_for;               // why it has no slot just now, "" if it has one
    std::vector<std::string> would_start;  // what would start it now
    std::optional<Run> run;
    std::vector<std::pair<std::string, std::vector<Metric>>> histories;  // by metric; may be cut
    Files artifacts;
    bool more_artifacts = false;
    std::vector<NamedOutput> outputs;
    std::optional<SweepView> sweep;
    std::optional<StepsView> steps;
    std::string log_path;          // of the log that is shown
    std::string log_tail;          // its end
    std::uint64_t log_length = 0;  // of the whole of it
    std::string base;              // "/studio/jobs/{wsid}/{job}"
    std::string query;             // "?se=…&sig=…", with which the page was asked for
    Instant now{};
};

// The parts that change while the job runs, by the id of the element they are in.
std::vector<std::pair<std::string, Html>> fragments(const PageData& data);
// {"title","terminal","log","fragments":{id: html}}: what the page's script asks for again and
// again.
Json live_document(const PageData& data);
// The whole page. The nonce is what its own style and script may run by.
std::string render_page(const PageData& data, std::string_view nonce);

// The page at the server's own address: how to get to a job's page.
std::string render_front(std::string_view version, std::string_view nonce);
// The same for somebody who is logged in: their jobs, and the way out.
struct HomeJob {
    std::string path, title, by;
    JobStatus status{};
    Instant created{};
};
Html home_words(std::string_view user, const std::vector<HomeJob>& jobs);
// A page of words. `refresh`: the page of this server that comes next, by itself.
std::string render_words(std::string_view title, const Html& words, std::string_view nonce,
                         std::string_view refresh = "");
// A page of one sentence: why a link does not work.
std::string render_refusal(std::string_view why);

// Parts of all kinds of page (page.cc, sweep_page.cc, steps.cc).
Html badge(JobStatus status);
// The links from one page of rows to the others; nothing where there is one only.
struct PageWords {
    std::string_view first, before, after, last;
};
Html links_to_pages(const PageData& data, std::int64_t page, std::int64_t pages,
                    const PageWords& words);
Html sweep_section(const PageData& data);
Html steps_section(const PageData& data);
std::string utc(Instant at);  // "2026-11-29 08:49:28 UTC"

// Whether a browser may show it as text, which never acts on the page's origin.
bool is_plain_text(std::string_view path);
// Log text without terminal control: escape sequences away, "\r" begins the line anew.
std::string plain_text(std::string_view log);
// "image/png" … of what a browser may show as a picture, else "".
std::string_view image_type(std::string_view path);

}  // namespace turnout::api::portal
