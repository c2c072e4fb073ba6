#include "api/audit/of_call.h"

#include <algorithm>
#include <array>

#include "access/access.h"
#include "access/actions.h"
#include "api/api.h"
#include "api/audit/audit.h"
#include "base/text.h"

namespace turnout::api {
namespace {

using namespace access::action;

constexpr std::size_t kLongestPath = 512, kLongestAbout = 256;
constexpr Span kUsualWindow = 1h, kShortWindow = 1min;

// Nobody needs them to be allowed: they are words of the audit.
constexpr std::string_view kExchangeTokens = "Turnout/tokens/exchange/action";

// Done by programs, many times for one thing that somebody does.
constexpr std::array kManyTimes = {kWriteRuns, kWriteExperiments, kWriteBlobs};

std::string_view action_of(const Route& route) {
    const Need need = route.need.value_or(Need{Where::Server, "Turnout/unlisted/action"});
    if (!need.action.empty()) return need.action;
    if (need.where == Where::Open && route.pattern.ends_with("/token")) return kExchangeTokens;
    if (need.where != Where::Own || route.method == "GET") return {};
    return route.method == "DELETE" ? kDeleteTokens : kWriteTokens;  // nothing else is one's own
}

// A text in which a secret could stand because somebody put it where none belongs.
std::string without_secrets(std::string_view text, std::size_t most) {
    std::string out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of("/ "), text.size());
        const std::string_view part = text.substr(0, end);
        const bool secret = part.find("tko_") != std::string_view::npos ||
                            part.find("tks_") != std::string_view::npos ||
                            part.find("eyJ") != std::string_view::npos ||
                            part.find("sig=") != std::string_view::npos ||
                            part.find("sig%3") != std::string_view::npos;
        out += secret ? "***" : part;
        if (end < text.size()) out += text[end];
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out.substr(0, most);
}

std::string_view address_of(const http::Peer& peer) {
    if (peer.through_node) return "node";
    if (peer.carrier == http::Carrier::Unix) return "unix";
    return peer.host();
}

// Of one key all is one act, done many times.
std::string key_of_act(const Call& call, std::string_view action, int status) {
    const Principal& who = call.principal;
    std::string key;
    for (const std::string_view part :
         {std::string_view(who.name), std::string_view(who.key), std::string_view(who.job),
          address_of(call.request.peer), action})
        key.append(part).push_back('\n');
    // What was refused may have said anything there, another thing each time.
    if (status < 400)
        for (const std::string_view part :
             {call.query_value("skoid"), std::string_view(call.param("container")),
              std::string_view(call.about)})
            key.append(part).push_back('\n');
    if (status >= 400) key.append(std::to_string(status)).append(call.route->pattern);
    return key;
}

// Who it is: of a signed link that was found good, for whom it was made.
Principal who_of(const Services& services, const Call& call, int status) {
    if (call.principal.kind == Principal::Kind::Nobody && status < 400)
        if (auto holder = services.authority.check_holder(call.query_value("skoid")))
            return std::move(*holder);
    return call.principal;
}

Act act_of(Services& services, const Call& call, std::string_view action, int status) {
    const Principal who = who_of(services, call, status);
    Act act;
    act.at = services.clock.now();
    if (who.kind == Principal::Kind::Run || who.kind == Principal::Kind::User) {
        const Result<Author> author = author_of(services, who);
        act.user = author ? author->user : std::string();
        act.job = who.job;
        act.token = who.key.substr(0, 12);  // as people know it
    } else if (who.kind == Principal::Kind::Node) {
        act.via = "node " + who.name;
    }
    if (call.principal.kind == Principal::Kind::Nobody && !call.query_value("sig").empty())
        act.via = "signed link";
    act.from = address_of(call.request.peer);
    act.action = action;
    act.method = call.request.method;
    act.path = without_secrets(call.request.path, kLongestPath);
    act.about = without_secrets(call.about, kLongestAbout);
    act.status = status;
    return act;
}

}  // namespace

std::optional<Act> audit_of(Services& services, const Call& call, int status) {
    if (!call.route || !services.audit) return std::nullopt;
    const std::string_view action = call.gave.empty() ? action_of(*call.route) : call.gave;
    const bool refused = status == 401 || status == 403;
    if (!refused && (action.empty() || access::reads(action))) return std::nullopt;
    const bool failed = status >= 400;
    if (failed || action == kExchangeTokens ||
        std::ranges::find(kManyTimes, action) != kManyTimes.end()) {
        const bool often = !failed && action != kExchangeTokens;
        const std::string key = key_of_act(call, action, status);
        if (!services.audit->first_of(key, often ? kUsualWindow : kShortWindow))
            return std::nullopt;
        Act act = act_of(services, call, action, status);
        services.audit->is_first(key, act);
        return act;
    }
    return act_of(services, call, action, status);
}

void record_with_change(Services& services, Call& call, int status) {
    if (std::optional<Act> act = audit_of(services, call, status))
        call.recorded.emplace(status, services.audit->add_with_change(std::move(*act)));
}

namespace {

using Answer = Task<Result<http::Response>>;

constexpr std::int64_t kMostRecords = 1000, kUsualRecords = 100;  // of one answer
constexpr std::size_t kMostLookedAt = 20'000, kLookedAtAtATime = 500;

struct Wanted {
    std::string user;
    access::Role action;  // a pattern, as in a role
    bool any_action = true;

    bool is(const Record& row) const {
        if (!user.empty() && row.value.find("\"user\":" + Json(user).dump()) == std::string::npos)
            return false;
        if (any_action) return true;
        const auto json = parse_json(row.value);
        return json && action.allows(json->at("action").as_view());
    }
};

// The number of the first record from that time on, if clocks went forward.
Result<std::uint64_t> first_since(Store& store, Instant since) {
    Range newest = with_prefix("", 1);
    newest.reverse = true;
    const auto last = TURNOUT_TRY(store.scan(Table::Audit, newest));
    const auto first = TURNOUT_TRY(store.scan(Table::Audit, with_prefix("", 1)));
    if (last.empty() || first.empty()) return std::uint64_t{0};
    std::uint64_t low = std::strtoull(first.front().key.c_str(), nullptr, 16);
    std::uint64_t high = std::strtoull(last.front().key.c_str(), nullptr, 16) + 1;
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        const auto row = TURNOUT_TRY(store.scan(Table::Audit, {hex16(middle), "", 1}));
        if (row.empty()) break;
        const auto json = parse_json(row.front().value);
        const auto at = json ? parse_iso8601(json->at("at").as_view()) : Instant{};
        if (at && *at < since)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

http::Response records(const std::vector<std::string>& rows, std::uint64_t next, bool more) {
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    response.headers.set("Cache-Control", "no-store");
    response.body = R"({"value":[)";
    for (std::size_t i = 0; i < rows.size(); ++i) response.body += (i > 0 ? "," : "") + rows[i];
    response.body +=
        R"(],"next":)" + std::to_string(next) + R"(,"more":)" + (more ? "true" : "false") + "}";
    return response;
}

Answer get_audit(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::int64_t limit, whole_number_of(call, "limit", kUsualRecords, 1));
    const auto most = static_cast<std::size_t>(std::min(limit, kMostRecords));
    Wanted wanted;
    wanted.user = call.query_value("user");
    if (const std::string action(call.query_value("action")); !action.empty()) {
        wanted.any_action = false;
        wanted.action.actions = {action.find('*') == std::string::npos ? "*" + action + "*"
                                                                       : action};
    }
    std::uint64_t from = 0;
    const bool forward = !call.query_value("after").empty() || !call.query_value("since").empty();
    if (!call.query_value("after").empty()) {
        TURNOUT_CO_TRY(const std::int64_t after, whole_number_of(call, "after", 0, 0));
        from = static_cast<std::uint64_t>(after) + 1;
    } else if (forward) {
        const Result<Instant> since = parse_iso8601(call.query_value("since"));
        if (!since)
            co_return invalid("since is '" + std::string(call.query_value("since").substr(0, 40)) +
                                  "': expected a time such as 2026-01-31T12:00:00Z",
                              "since");
        TURNOUT_CO_TRY(from, first_since(services.store, *since));
    }
    Turn turn(services, call);
    std::vector<std::string> rows;
    std::uint64_t next = from > 0 ? from - 1 : 0;
    Range range{.from = hex16(from), .to = "", .limit = kLookedAtAtATime, .reverse = !forward};
    bool full = false, end = false;
    std::size_t looked_at = 0;
    while (!full && !end && looked_at < kMostLookedAt) {
        TURNOUT_CO_TRY(const auto page, services.store.scan(Table::Audit, range));
        end = page.size() < range.limit;
        for (const Record& row : page) {
            if (rows.size() == most) {
                full = true;
                break;
            }
            const std::uint64_t number = std::strtoull(row.key.c_str(), nullptr, 16);
            next = forward ? number : std::max(next, number);
            if (wanted.is(row)) rows.push_back(row.value);
            ++looked_at;
        }
        if (!page.empty() && forward) range.from = page.back().key + '\0';
        if (!page.empty() && !forward) range.to = page.back().key;
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
    if (!forward) std::ranges::reverse(rows);
    co_return records(rows, next, forward && (full || !end));
}

Answer check_audit(Services& services, Call& call) {
    Turn turn(services, call);
    TURNOUT_CO_TRY(const Audit::Verdict verdict, co_await services.audit->check(turn));
    Json json = Json::object({{"first", static_cast<std::int64_t>(verdict.first)},
                              {"last", static_cast<std::int64_t>(verdict.last)}});
    json.set("fault", verdict.fault.empty() ? Json() : Json(verdict.fault));
    co_return json_response(200, json);
}

}  // namespace

void add_audit_routes(Router& router, Services& services) {
    router.add("GET", "/turnout/audit", Access::User,
               [&services](Call& call) { return get_audit(services, call); });
    router.add("GET", "/turnout/audit/check", Access::User,
               [&services](Call& call) { return check_audit(services, call); });
}

}  // namespace turnout::api
