// Giving space back: POST /turnout/prune. Not part of Azure's API.
// Body: {"kinds": ["jobs", "data", "inputs", "environments", "caches"], "older_than_seconds": N,
// "dry_run": bool}; no kinds are all. With "retention": true instead of kinds and age it does what
// the server does by itself every hour. A request takes jobs for a limited time only: `more` in the
// answer says that it is to be sent again.
#include <algorithm>
#include <array>

#include "api/arm/resource.h"
#include "api/upkeep/bases.h"
#include "api/upkeep/pruning.h"
#include "api/upkeep/retention.h"
#include "api/upkeep/upkeep.h"
#include "control/space.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::array<std::string_view, 5> kPruned = {"jobs", "data", "inputs", "environments",
                                                     "caches"};
// In that order: what goes with a job is not looked at by itself.
constexpr std::array<std::string_view, 8> kOfRetention = {
    "jobs", "logs", "events", "audit", "data", "inputs", "environments", "caches"};
constexpr std::int64_t kOldest = std::int64_t{50} * 365 * 86'400;  // seconds
constexpr Span kFirstRound = 10min, kBetweenRounds = 1h;

Task<Result<Retention>> read_retention(Services& services) {
    Space::RetentionFile file{"retention.yaml", std::nullopt, 0};
    if (services.space) {
        const auto ask = [&](auto reply) { services.space->read_retention(std::move(reply)); };
        TURNOUT_CO_TRY(file, co_await arm::asked<Space::RetentionFile>(ask));
    }
    co_return parse_retention(file.text, std::move(file.path), file.disk);
}
Task<Result<Row>> prune_kind(Round& round, std::string kind, Rule rule) {
    if (kind == "jobs") co_return co_await prune_jobs(round, std::move(rule));
    if (kind == "logs") co_return co_await prune_logs(round, std::move(rule));
    if (kind == "events") co_return co_await prune_events(round, std::move(rule));
    if (kind == "audit") co_return co_await prune_audit(round, std::move(rule));
    if (kind == "data") co_return co_await prune_data(round, std::move(rule));
    co_return co_await prune_nodes(round, std::move(kind), std::move(rule));
}

arm::Answer prune(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    const bool dry_run = body.at("dry_run").as_bool();
    call.about = body.dump();
    std::vector<std::pair<std::string, Rule>> rules;
    if (body.at("retention").as_bool()) {
        if (body.has("kinds") || body.has("older_than_seconds"))
            co_return invalid("retention stands for itself: without kinds and older_than_seconds",
                              "retention");
        TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
        for (const std::string_view kind : kOfRetention)
            rules.emplace_back(kind, rule_of(kind, retention, services.clock.now()));
        std::erase_if(rules, [](const auto& rule) { return !rule.second.any(); });
    } else {
        const Json& age = body.at("older_than_seconds");
        if (!age.is_int() || age.as_int() < 0)
            co_return invalid("older_than_seconds is " + age.dump().substr(0, 40) +
                                  ": expected a whole number from 0 on",
                              "older_than_seconds");
        const std::int64_t seconds = std::min<std::int64_t>(age.as_int(), kOldest);
        const Rule rule = by_hand(services.clock.now() - std::chrono::seconds(seconds), seconds);
        for (const Json& kind : body.at("kinds").items()) {
            if (std::ranges::find(kPruned, kind.as_view()) == kPruned.end())
                co_return invalid("'" + kind.as_string().substr(0, 40) +
                                      "' cannot be pruned: expected jobs, data, inputs, "
                                      "environments or caches",
                                  "kinds");
            rules.emplace_back(kind.as_string(), rule);
        }
        if (rules.empty())
            for (const std::string_view kind : kPruned) rules.emplace_back(kind, rule);
    }
    Turn turn(services, call);
    Round round = new_round(services, turn, dry_run);
    Json rows = Json::array();
    for (auto& [kind, rule] : rules) {
        TURNOUT_CO_TRY(const Row row, co_await prune_kind(round, kind, rule));
        rows.push(row.to_json());
        if (round.more) break;
    }
    co_return json_response(
        200, Json::object({{"rows", std::move(rows)}, {"dry_run", dry_run}, {"more", round.more}}));
}

Task<Result<void>> apply_retention(Services& services) {
    TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
    Turn turn(services);
    Pace pace(services);
    for (const std::string_view kind : kOfRetention)
        for (bool more = true; more;) {
            Round round = new_round(services, turn, false, &pace);
            Rule rule = rule_of(kind, retention, services.clock.now());
            TURNOUT_CO_TRY_VOID(co_await prune_kind(round, std::string(kind), std::move(rule)));
            more = round.more;
            co_await pace.rest();
        }
    // Also of jobs that were deleted one by one.
    const auto gone = co_await erase_unused_bases(services, turn);
    if (!gone && gone.error().reason != "SurveyIsVoid") co_return Failure(gone.error());
    co_return Result<void>();
}

// Once, after that time, and then again and again. `said`: why it was not applied the last time.
void apply_later(Services& services, Span delay, std::string said);

Task<void> apply_and_go_on(Services& services, std::string said) {
    const Result<void> applied = co_await apply_retention(services);
    const std::string why = applied ? "" : applied.error().message;
    if (!why.empty() && why != said)
        std::fprintf(stderr, "error: the retention is not applied: %s\n", why.c_str());
    apply_later(services, kBetweenRounds, why);
}

void apply_later(Services& services, Span delay, std::string said) {
    services.loop.after(delay, [&services, said = std::move(said)] {
        start(apply_and_go_on(services, said), [] {});
    });
}

}  // namespace

Task<Result<Json>> next_of_retention(Services& services) {
    TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
    Turn turn(services);
    Round round = new_round(services, turn, true);
    Json next = Json::array();
    for (const std::string_view kind : kOfRetention) {
        Rule rule = rule_of(kind, retention, services.clock.now());
        TURNOUT_CO_TRY(const Row row,
                       co_await prune_kind(round, std::string(kind), std::move(rule)));
        if (row.count > 0) next.push(row.to_json());
    }
    co_return Json::object(
        {{"file", retention.file}, {"limits", retention.to_json()}, {"next", std::move(next)}});
}

void add_prune_routes(Router& router, Services& services) {
    arm::row(router, services, "POST", "/turnout/prune", Access::User, prune);
}

}  // namespace turnout::api::upkeep

namespace turnout::api {
void keep_retention(Services& services) {
    upkeep::apply_later(services, upkeep::kFirstRound, "");
}

void add_upkeep_routes(Router& router, Services& services) {
    upkeep::add_space_routes(router, services);
    upkeep::add_prune_routes(router, services);
}
}  // namespace turnout::api
