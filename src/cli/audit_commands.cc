// `turnout audit`: who did what to what from where, with which answer; and whether that record is
// whole.
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"
#include "model/audit_chain.h"

namespace turnout::cli {

namespace {

constexpr std::int64_t kMostAudit = 1000;  // that the server gives at a time

// "2026-11-22 13:05:09 UTC  ann  200  Microsoft…/jobs/write  PUT /subscriptions/…  from 10.0.0.7"
std::string line_of_act(const Json& act) {
    std::string who = act.at("user").as_string();
    if (who.empty()) who = act.at("via").as_string();
    if (who.empty()) who = "-";
    const std::string& job = act.at("job").as_string();
    if (!job.empty()) who += " (job " + job + ")";
    std::string action = act.at("action").as_string();
    constexpr std::string_view azure = "Microsoft.MachineLearningServices/";
    if (action.starts_with(azure)) action.erase(0, azure.size());
    std::vector<std::string> facts;
    const std::string& path = act.at("path").as_string();
    if (!path.empty()) facts.push_back(act.at("method").as_string() + " " + path);
    for (const auto& [member, before] :
         {std::pair{"about", ""}, std::pair{"from", "from "}, std::pair{"token", "token "}})
        if (!act.at(member).as_string().empty())
            facts.push_back(before + act.at(member).as_string());
    if (act.at("times").as_int(1) > 1)
        facts.push_back(std::to_string(act.at("times").as_int()) + " times more");
    const std::string status =
        act.at("status").is_int() ? std::to_string(act.at("status").as_int()) : "-";
    return harmless(utc_time(act.at("at").as_string()) + "  " + padded(who, 16) + "  " + status +
                    "  " + padded(action, 36) + "  " + join(facts, ", ")) +
           "\n";
}

// A time, or how long ago.
Result<std::string> begin_of(const client::Api& api, const std::string& text) {
    if (const auto age = parse_age(text)) return to_iso8601(api.now() - *age);
    for (const std::string& time : {text, text + "T00:00:00Z"})
        if (const auto at = parse_iso8601(time)) return to_iso8601(*at);
    return fail(Code::InvalidArgument, "Usage",
                "--since is '" + text + "': expected an age such as 2h or 7d, or a time such as " +
                    "2026-01-31 or 2026-01-31T12:00:00Z",
                "--since");
}

// What an exported file says of itself.
Result<Json> check_file(const std::string& path) {
    const std::string text = TURNOUT_TRY(client::read_file(path));
    std::uint64_t first = 0;
    std::string fault;
    std::optional<AuditCheck> chain;
    for (const std::string& line : split(text, '\n')) {
        if (line.empty()) continue;
        const std::uint64_t number = number_of_audit_row(line);
        if (!chain) {
            first = number;
            chain.emplace(AuditCheck::of_export(line));
        }
        fault = number == 0 ? "the line after record " + std::to_string(chain->end().number) +
                                  " is no record"
                            : chain->next(number, line);
        if (!fault.empty()) break;
    }
    return Json::object({{"first", static_cast<std::int64_t>(first)},
                         {"last", static_cast<std::int64_t>(chain ? chain->end().number : 0)},
                         {"fault", fault.empty() ? Json() : Json(fault)}});
}

}  // namespace

int show_audit(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    client::Api& api = **opened;
    const Arguments& args = context.args();
    std::int64_t left = 50;
    const bool limited = args.has("--max-results");
    if (limited) {
        const Json number = yaml_scalar(args.get("--max-results"));
        if (!number.is_int() || number.as_int() < 1)
            return context.fail({Code::InvalidArgument, "Usage",
                                 "--max-results is '" + args.get("--max-results") +
                                     "': expected a number from 1 on",
                                 "--max-results"});
        left = number.as_int();
    }
    std::string filter;
    for (const char* const name : {"user", "action"})
        if (args.has("--" + std::string(name)))
            filter +=
                "&" + std::string(name) + "=" + percent_encode(args.get("--" + std::string(name)));
    std::string begin;
    if (args.has("--since")) {
        const Result<std::string> since = begin_of(api, args.get("--since"));
        if (!since) return context.fail(since.error());
        begin = "&since=" + percent_encode(*since);
    }
    const bool follow = args.has("--follow");
    const bool all = !begin.empty() && !limited;  // from then on: as many as there are
    const bool all_of_it = !args.has("--query");
    const bool people = *format == Format::Table && all_of_it;
    const bool lines = people || (*format == Format::Json && all_of_it);  // as they are kept
    Json rows = Json::array();
    bool told = false;
    for (int failures = 0;;) {
        const std::int64_t most = all || told ? kMostAudit : std::min(left, kMostAudit);
        Result<Json> page =
            api.get("/turnout/audit?limit=" + std::to_string(most) + filter + begin);
        if (!page) {
            if (!told || !follow || page.error().code != Code::Unavailable || ++failures > 600)
                return context.fail(page.error());
            context.status("the server does not answer; trying again");
            api.loop().run(api.loop().sleep(1s));
            continue;
        }
        failures = 0;
        for (const Json& act : page->at("value").items()) {
            --left;
            if (lines)
                context.out(people ? line_of_act(act) : act.dump() + "\n");
            else
                rows.push(act);
        }
        // Without a begin the newest came, at once; what follows them comes with the next.
        const bool more = page->at("more").as_bool();
        begin = "&after=" + std::to_string(page->at("next").as_int());
        if (more && (all || told || left > 0)) continue;
        told = true;
        if (!follow) break;
        end_if_nobody_reads();
        api.loop().run(api.loop().sleep(1s));
    }
    return lines ? 0 : context.show(rows);
}

int check_audit(Context& context) {
    const Arguments& args = context.args();
    Result<Json> verdict = Json();
    if (args.has("--file")) {
        verdict = check_file(args.get("--file"));
    } else {
        const Result<client::Api*> opened = context.api();
        if (!opened) return context.fail(opened.error());
        verdict = (*opened)->get("/turnout/audit/check");
    }
    if (!verdict) return context.fail(verdict.error());
    const std::int64_t first = verdict->at("first").as_int(), last = verdict->at("last").as_int();
    if (const std::string fault = verdict->at("fault").as_string(); !fault.empty())
        return context.fail(
            {Code::FailedPrecondition, "AuditBroken", "the audit is not whole: " + fault, "audit"});
    context.note(last < first || last == 0
                     ? "the audit is whole: there is no record yet"
                     : "the audit is whole: records " + std::to_string(first) + " to " +
                           std::to_string(last));
    if (args.has("--output") || args.has("--query")) return context.show(*verdict);
    return 0;
}

}  // namespace turnout::cli
