// `turnout job explain`, `job ledger`, `compute ledger`: why a job waits, and where the time went.
#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/commands.h"
#include "model/job.h"

namespace turnout::cli {

namespace {

std::string text_of(const Json& object, std::string_view member) {
    return harmless(object.at(member).as_view());
}

std::string fixed(double value, int digits) {
    char text[64];
    return std::string(
        text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "%.*f", digits, value)));
}

// "1.50 h", as a price is for hours; what is shorter would be 0.00 of them.
std::string hours_of(std::int64_t micros) {
    return Span(micros) < 1h ? to_words(Span(micros))
                             : fixed(static_cast<double>(micros) / 3.6e9, 2) + " h";
}

std::string plural(std::int64_t count, const std::string& noun) {
    return with_commas(count) + " " + noun + (count == 1 ? "" : "s");
}

// One line for each cause that took time: a bar, its share and its length.
std::string bars(const Json& micros) {
    constexpr std::int64_t width = 40;
    std::int64_t total = 0;
    for (const auto& [entry, span] : micros.members()) total += span.as_int();
    std::string out;
    for (std::size_t i = 0; i < kLedgerEntryCount; ++i) {
        const auto entry = static_cast<LedgerEntry>(i);
        const std::int64_t span = micros.at(name_of(entry)).as_int();
        if (span <= 0) continue;
        const std::int64_t filled = std::max<std::int64_t>(1, (span * width + total / 2) / total);
        out +=
            "  " + padded(std::string(words_of(entry)), 22) +
            padded(std::string(static_cast<std::size_t>(std::min(filled, width)), '#'), width + 1) +
            left_padded(fixed(100.0 * static_cast<double>(span) / static_cast<double>(total), 1),
                        6) +
            " %  " + to_words(Span(span)) + "\n";
    }
    return out + "  " + padded("all", 22) + padded("", width + 1) + left_padded("100.0", 6) +
           " %  " + to_words(Span(total)) + "\n";
}

std::string attempts_of(const Json& job) {
    if (job.at("attempts").items().empty()) return "";
    std::string out = "\nattempts\n";
    for (const Json& attempt : job.at("attempts").items()) {
        std::vector<std::string> nodes;
        for (const Json& node : attempt.at("nodes").items())
            nodes.push_back(harmless(node.as_view()));
        const bool ended = !attempt.at("ended").is_null();
        std::string line = "  " + left_padded(std::to_string(attempt.at("attempt").as_int()), 2) +
                           "  " + padded(join(nodes, ", "), 10) + "  " +
                           utc_time(text_of(attempt, "leased")) + "  " +
                           padded(to_words(Span(attempt.at("micros").as_int())), 12) + "  ";
        if (!ended)
            line += text_of(attempt, "running").empty() ? "not begun" : "runs";
        else
            line += attempt.at("cause").is_null() ? "went well" : text_of(attempt, "cause");
        if (ended && !attempt.at("cause").is_null() && attempt.at("exitCode").as_int() > 0)
            line += ", exit code " + std::to_string(attempt.at("exitCode").as_int());
        // The message of a canceled one is the cause again.
        if (!text_of(attempt, "message").empty() &&
            text_of(attempt, "message") != text_of(attempt, "cause"))
            line += ": " + text_of(attempt, "message");
        if (attempt.at("peakMemoryBytes").as_int() > 0)
            line +=
                "  (at most " +
                to_size_words(static_cast<std::uint64_t>(attempt.at("peakMemoryBytes").as_int())) +
                " of memory)";
        out += line + "\n";
    }
    if (const std::int64_t folded = job.at("foldedAttempts").as_int(); folded > 0)
        out += "  (" + plural(static_cast<std::size_t>(folded), "attempt") +
               " between them that had to give way too)\n";
    return out;
}

// Why nobody can say when it starts.
std::string why_no_estimate(std::string_view waits_for) {
    if (waits_for == "deleting") return "never: the compute is being deleted";
    if (waits_for == "closed")
        return "not before the next `turnout up`: the server is being stopped";
    if (waits_for == "no_nodes")
        return "not before the compute may have nodes: raise its max_instances";
    if (waits_for == "gang")
        return "nobody can say: several nodes have to be free at the same time";
    if (waits_for == "user_quota") return "when there is room in that quota: nobody can say when";
    if (waits_for == "backoff") return "nobody can say: the last try to start a node failed";
    if (waits_for == "node_start")
        return "nobody can say yet: no node of this compute has started so far";
    return "nobody can say yet: how long the jobs before it take is not known";
}

std::string expected_start(const Json& now) {
    const auto seconds = std::chrono::round<std::chrono::seconds>(
        Span(static_cast<std::int64_t>(now.at("expectedInSeconds").as_double() * 1e6)));
    if (seconds < 1s) return "expected within a second";
    return "expected at about " + utc_time(text_of(now, "expectedStart")) + ", in " +
           to_words(seconds);
}

std::string slots_in_use(std::int64_t used, std::int64_t all) {
    return std::to_string(used) + " of the pool's " + plural(all, "slot") +
           (used == 1 ? " is" : " are") + " in use";
}

// "busy       runs job a"; an idle one does nothing else.
std::string state_and_doing(const Json& node) {
    const std::string state = text_of(node, "state"), doing = text_of(node, "doing");
    if (doing.empty() || doing == "is " + state) return state;
    return padded(state, 9) + "  " + doing;
}

std::string picture_of_job(const Json& job) {
    const Json& now = job.at("now");
    std::string out = "job " + text_of(job, "name") + " is " + text_of(job, "status") + " on " +
                      text_of(job, "compute");
    if (!text_of(job, "cause").empty()) out += ", cause " + text_of(job, "cause");
    out += "\n";
    if (!text_of(job, "message").empty()) out += "\n  " + text_of(job, "message") + "\n";
    if (!text_of(now, "text").empty()) {
        out += "\n" + padded(now.at("placeInQueue").is_null() ? "now" : "waits", 8) +
               text_of(now, "text") + "\n";
        if (!now.at("placeInQueue").is_null())
            out += padded("place", 8) + with_commas(now.at("placeInQueue").as_int()) + " of " +
                   with_commas(
                       std::max(now.at("placeInQueue").as_int(), now.at("waitingJobs").as_int())) +
                   " in the queue\n";
        if (!text_of(now, "expectedStart").empty())
            out += padded("start", 8) + expected_start(now) + "\n";
        else if (!now.at("placeInQueue").is_null())
            out += padded("start", 8) + why_no_estimate(now.at("waitsFor").as_view()) + "\n";
    }
    if (!now.at("wouldStartNow").items().empty()) {
        out += "\nwhat would start it now\n";
        for (const Json& way : now.at("wouldStartNow").items())
            out += "  - " + harmless(way.as_view()) + "\n";
    }
    if (now.is_object()) {
        const std::int64_t slots = now.at("slots").as_int();
        out += "\nnodes of " + text_of(job, "compute") + " (" +
               std::to_string(now.at("nodes").items().size()) + " of at most " +
               std::to_string(now.at("maxNodes").as_int()) + "; " +
               slots_in_use(slots - now.at("freeSlots").as_int(), slots) +
               (now.has("pool") ? ", pool " + text_of(now, "pool") : "") + ")\n";
        for (const Json& node : now.at("nodes").items())
            out += "  " + padded(text_of(node, "node"), 10) + "  " + state_and_doing(node) + "\n";
        if (now.at("nodes").items().empty()) out += "  none\n";
    }
    return out + attempts_of(job) + "\nwhere the time went\n" + bars(job.at("micros"));
}

// Of a compute, an experiment or a sweep.
std::string picture_of_totals(const Json& totals) {
    const bool compute = totals.has("compute");
    const Json& jobs = totals.at("jobs");
    std::string out = compute               ? "compute " + text_of(totals, "compute")
                      : totals.has("sweep") ? std::string("its trials")
                                            : "experiment " + text_of(totals, "experiment");
    out += ": " + plural(jobs.at("ended").as_int(), "job") +
           " ended: " + with_commas(jobs.at("completed").as_int()) + " Completed, " +
           with_commas(jobs.at("failed").as_int()) + " Failed, " +
           with_commas(jobs.at("canceled").as_int()) + " Canceled; " +
           plural(totals.at("attempts").as_int(), "attempt") + ", " +
           plural(totals.at("preemptions").as_int(), "preemption") + "\n";
    std::string causes;
    for (const auto& [cause, count] : totals.at("causes").members())
        causes +=
            (causes.empty() ? "" : ", ") + harmless(cause) + " " + with_commas(count.as_int());
    if (!causes.empty()) out += "causes: " + causes + "\n";
    if (totals.at("totalMicros").as_int() > 0)
        out += "\ntime of these jobs\n" + bars(totals.at("micros"));
    const Json& nodes = totals.at("nodes");
    out += "\nnodes\n";
    const auto line = [&](const std::string& what, const std::string& value) {
        out += "  " + padded(what, 24) + value + "\n";
    };
    if (compute)
        line("count", std::to_string(nodes.at("live").as_int()) + " now, " +
                          with_commas(nodes.at("gone").as_int()) + " before");
    const Json& hours = compute ? nodes.at("lifeMicros") : nodes.at("usedMicros");
    std::int64_t life = 0;
    for (const auto& [tier, micros] : hours.members()) {
        life += micros.as_int();
        if (micros.as_int() > 0)
            line(compute ? tier + " node time" : "used, " + tier, hours_of(micros.as_int()));
    }
    if (compute && life > 0) {
        const auto share = [&](const std::string& what, std::string_view member) {
            const std::int64_t micros = nodes.at(member).as_int();
            line(what,
                 hours_of(micros) + "  (" +
                     fixed(100.0 * static_cast<double>(micros) / static_cast<double>(life), 1) +
                     " %)");
        };
        share("  used by jobs", "usedMicros");
        share("  starting", "startingMicros");
        share("  idle", "idleMicros");
    }
    if (!totals.at("cost").is_null()) {
        line("cost", fixed(totals.at("cost").as_double(), 4) +
                         (totals.at("pricePerHour").is_null()
                              ? ""
                              : "  (" + fixed(totals.at("pricePerHour").as_double(), 4) +
                                    " for a node's hour)"));
    } else if (compute) {
        line("cost", "unknown: tag turnout.price_per_hour says what a node's hour costs");
    }
    return out;
}

std::string picture_of_ledger(const Json& ledger) {
    std::string out = "job " + text_of(ledger, "name") + " is " + text_of(ledger, "status") +
                      "\n\n" + bars(ledger.at("micros"));
    return ledger.has("trials") ? out + "\n" + picture_of_totals(ledger.at("trials")) : out;
}

}  // namespace

int show_either(Context& context, const Json& json,
                const std::function<std::string(const Json&)>& picture) {
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    if (*format != Format::Table || context.args().has("--query")) return context.show(json);
    context.out(picture(json));
    return 0;
}

int job_explain(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> job =
        (*opened)->get((*opened)->in_workspace("/jobs/" + percent_encode(*name) + "/explain"));
    if (!job) return context.fail(job.error());
    return show_either(context, *job, picture_of_job);
}

int job_ledger(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const std::string experiment = context.args().get("--experiment");
    if (!experiment.empty()) {
        if (context.args().has("--name"))
            return context.fail({Code::InvalidArgument, "Usage", "a job or --experiment, not both",
                                 "--experiment"});
        const Result<Json> totals =
            api.get(api.in_workspace("/experiments/" + percent_encode(experiment) + "/ledger"));
        if (!totals) return context.fail(totals.error());
        return show_either(context, *totals, picture_of_totals);
    }
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> ledger =
        api.get(api.in_workspace("/jobs/" + percent_encode(*name) + "/ledger"));
    if (!ledger) return context.fail(ledger.error());
    return show_either(context, *ledger, picture_of_ledger);
}

int compute_ledger(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> totals =
        (*opened)->get((*opened)->in_workspace("/computes/" + percent_encode(*name) + "/ledger"));
    if (!totals) return context.fail(totals.error());
    return show_either(context, *totals, picture_of_totals);
}

}  // namespace turnout::cli
