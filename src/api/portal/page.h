// The page of one job as HTML: a pure function of what is known about it. Everything that came from
// outside is escaped here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/time.h"
#include "blob/blobs.h"
#include "model/job.h"
#include "tracking/tracking.h"

namespace turnout::api::portal {

struct PageData {
    JobRecord job;
    agent_protocol::TaskSpec task;
    std::string waiting_for;  // why it has no slot just now, "" if it has one
    std::optional<Run> run;
    std::vector<std::pair<std::string, std::vector<Metric>>> histories;  // by metric; may be cut
    std::vector<std::pair<std::string, std::uint64_t>> artifacts;  // path beneath the run, size
    bool more_artifacts = false;
    std::string log_tail;          // the end of first_log_of(job)
    std::uint64_t log_length = 0;  // of the whole of it
    std::string base;              // "/studio/jobs/{wsid}/{job}"
    std::string query;             // "?se=…&sig=…", with which the page was asked for
    Instant now{};
};

// The parts that change while the job runs, by the id of the element they are in.
std::vector<std::pair<std::string, std::string>> fragments(const PageData& data);
// {"title","terminal","fragments":{id: html}}: what the page's script asks for again and again.
Json live_document(const PageData& data);
// The whole page. The nonce is what its own style and script may run by.
std::string render_page(const PageData& data, std::string_view nonce);

// The page at the server's own address: how to get to a job's page.
std::string render_front(std::string_view version, std::string_view nonce);

// Whether a browser may show it as text, which never acts on the page's origin.
bool is_plain_text(std::string_view path);

// A metric's course as SVG.
std::string line_chart(const std::vector<Metric>& points);
// Log text without terminal control: escape sequences away, "\r" begins the line anew.
std::string plain_text(std::string_view log);
// "image/png" … of what a browser may show as a picture, else "".
std::string_view image_type(std::string_view path);

}  // namespace turnout::api::portal
