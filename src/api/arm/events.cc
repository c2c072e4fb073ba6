// What happened to jobs, nodes and computes, in order; not part of Azure's API. A follower names
// the last event that it has and waits: it is woken by the commit that brings the next one, and
// nobody asks the disk meanwhile.
#include <algorithm>
#include <charconv>
#include <map>

#include "api/arm/resource.h"
#include "control/jobs.h"

namespace turnout::api::arm {
namespace {

constexpr std::int64_t kMostEvents = 1000;  // of one answer
constexpr std::size_t kMostRows = 20'000;   // that are read for one answer
constexpr std::size_t kRowsAtATime = 500;
constexpr std::int64_t kLongestWait = 60;    // seconds
constexpr std::size_t kMostFollowers = 200;  // that wait at a time; one more is answered at once
constexpr Span kGather = 20ms;               // from the first commit until the followers are woken

// Which event: its row, and its place among the events of that commit. "37.2" on the wire.
struct EventMark {
    std::uint64_t row = 0;
    std::size_t index = 0;
    auto operator<=>(const EventMark&) const = default;
    std::string text() const { return std::to_string(row) + "." + std::to_string(index); }
};

Result<EventMark> parse_mark(std::string_view text) {
    EventMark mark;
    const char* const end = text.data() + text.size();
    const auto row = std::from_chars(text.data(), end, mark.row);
    const bool pointed = row.ec == std::errc() && row.ptr != end && *row.ptr == '.';
    if (pointed) {
        const auto index = std::from_chars(row.ptr + 1, end, mark.index);
        if (index.ec == std::errc() && index.ptr == end) return mark;
    }
    return invalid("after is '" + std::string(text.substr(0, 40)) +
                       "': expected the id of an event, such as 37.2",
                   "after");
}

struct Filter {
    std::string workspace, job, compute, kind;

    // Cheap: whether one of the row's events may be meant.
    bool may_match(std::string_view row) const {
        if (job.empty() && compute.empty() && row.find("\"space\"") != std::string_view::npos)
            return true;  // what is of no workspace is of all
        for (const std::string* name : {&workspace, &job, &compute})
            if (!name->empty() && row.find(Json(*name).dump()) == std::string_view::npos)
                return false;
        return true;
    }
    bool matches(const Json& event) const {
        const std::string_view is = event.at("kind").as_view();
        const std::string_view of = event.at("workspace").as_view();
        if (of != workspace && !of.empty()) return false;
        if (!kind.empty() && is != kind) return false;
        if (!job.empty() && (is != "job" || event.at("name").as_view() != job)) return false;
        return compute.empty() || event.at("compute").as_view() == compute ||
               (is == "compute" && event.at("name").as_view() == compute);
    }
};

Result<Filter> filter_of(const Call& call, const Workspace& workspace) {
    Filter filter{workspace.id, std::string(call.query_value("job")),
                  std::string(call.query_value("compute")), std::string(call.query_value("kind"))};
    if (!filter.kind.empty() && filter.kind != "job" && filter.kind != "node" &&
        filter.kind != "compute" && filter.kind != "space")
        return invalid(
            "kind is '" + filter.kind.substr(0, 40) + "': expected job, node, compute or space",
            "kind");
    return filter;
}

struct Page {
    std::vector<Json> events;
    EventMark last;     // that was looked at: the next page begins behind it
    bool more = false;  // there is more behind `last` already
};

std::uint64_t row_of(const Record& record) {
    return std::strtoull(record.key.c_str(), nullptr, 16);
}

Json shown_event(const Json& event, const EventMark& mark) {
    Json out =
        Json::object({{"id", mark.text()}, {"at", to_iso8601(Instant{event.at("at").as_int()})}});
    for (const auto& [name, value] : event.members())
        if (name != "at" && name != "workspace") out.set(name, value);
    return out;
}

// What matches behind `after`, oldest first. Nothing is committed between the last look at the rows
// and its end: who finds no event then can wait for the next commit and miss none.
Task<Result<Page>> forward(Services& services, const Call& call, Filter filter, EventMark after,
                           std::size_t limit) {
    Turn turn(services, call);
    Page page;
    page.last = after;
    std::size_t rows = 0;
    for (std::string from = hex16(after.row);;) {
        TURNOUT_CO_TRY(const std::vector<Record> records,
                       services.store.scan(Table::Event, {from, "", kRowsAtATime}));
        for (const Record& record : records) {
            const std::uint64_t row = row_of(record);
            ++rows;
            if (!filter.may_match(record.value)) {
                if (row > after.row) page.last = {row, SIZE_MAX};
                continue;
            }
            TURNOUT_CO_TRY(const Json events, parse_json(record.value));
            for (std::size_t i = 0; i < events.items().size(); ++i) {
                const EventMark mark{row, i};
                if (mark <= after || !filter.matches(events.items()[i])) continue;
                if (page.events.size() == limit) {
                    page.more = true;
                    co_return page;
                }
                page.events.push_back(shown_event(events.items()[i], mark));
                page.last = mark;
            }
            page.last = std::max(page.last, EventMark{row, SIZE_MAX});
        }
        if (records.size() < kRowsAtATime) break;
        if (rows >= kMostRows) {
            page.more = true;
            break;
        }
        from = records.back().key + '\0';
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
    co_return page;
}

// The newest that match, oldest first.
Task<Result<Page>> newest(Services& services, const Call& call, Filter filter, std::size_t limit) {
    Turn turn(services, call);
    Page page;
    std::size_t rows = 0;
    Range range = with_prefix("", kRowsAtATime);
    range.reverse = true;
    while (page.events.size() < limit && rows < kMostRows) {
        TURNOUT_CO_TRY(const std::vector<Record> records, services.store.scan(Table::Event, range));
        for (const Record& record : records) {
            const std::uint64_t row = row_of(record);
            page.last = std::max(page.last, EventMark{row, SIZE_MAX});
            ++rows;
            if (page.events.size() == limit) break;
            if (!filter.may_match(record.value)) continue;
            TURNOUT_CO_TRY(const Json events, parse_json(record.value));
            for (std::size_t i = events.items().size(); i-- > 0 && page.events.size() < limit;)
                if (filter.matches(events.items()[i]))
                    page.events.push_back(shown_event(events.items()[i], {row, i}));
        }
        if (records.size() < kRowsAtATime) break;
        range.to = records.back().key;
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
    std::reverse(page.events.begin(), page.events.end());
    co_return page;
}

// The mark before the first event at or after `at`, if the clock was not set meanwhile; the very
// first mark if no event is older.
Result<EventMark> before(Store& store, Instant at) {
    Range newest_row = with_prefix("", 1);
    newest_row.reverse = true;
    const std::vector<Record> last = TURNOUT_TRY(store.scan(Table::Event, newest_row));
    const std::vector<Record> first = TURNOUT_TRY(store.scan(Table::Event, with_prefix("", 1)));
    if (last.empty() || first.empty()) return EventMark{};
    std::uint64_t low = row_of(first.front()), high = row_of(last.front());
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        const std::vector<Record> row =
            TURNOUT_TRY(store.scan(Table::Event, {hex16(middle), "", 1}));
        if (row.empty()) break;
        const Json events = TURNOUT_TRY(parse_json(row.front().value));
        const bool early =
            !events.items().empty() && events.items().back().at("at").as_int() < at.micros;
        if (early)
            low = std::max(middle + 1, row_of(row.front()));
        else
            high = middle;
    }
    if (low == row_of(first.front())) return EventMark{};
    return EventMark{low - 1, SIZE_MAX};
}

// Those who wait for the next commit.
class Followers : public std::enable_shared_from_this<Followers> {
public:
    explicit Followers(Loop& loop) : loop_(loop) {}

    void committed(std::uint64_t row) {
        last_ = row;
        if (waiting_.empty() || waking_) return;
        waking_ = true;
        loop_.after(kGather, [self = weak_from_this()] {
            if (const auto followers = self.lock()) followers->wake_all();
        });
    }
    // Until a row behind `seen` is there, `patience` is over, or the client has left. False: nobody
    // else can wait now.
    Task<bool> wait(std::uint64_t seen, Span patience, Stop* stop) {
        if (last_ > seen) co_return true;
        if (waiting_.size() >= kMostFollowers) co_return false;
        const Later<bool> woken;
        const std::uint64_t id = ++ids_;
        const auto give_up = [id, self = weak_from_this()] {
            if (const auto followers = self.lock()) followers->wake(id);
        };
        const Loop::TimerId timer = loop_.after(patience, give_up);
        if (stop) stop->on_stop(give_up);
        waiting_.emplace(id, Waiting{woken.settle(), timer});
        const bool waited = co_await woken;
        if (stop) stop->on_stop({});
        co_return waited;
    }

private:
    struct Waiting {
        Later<bool>::Settle settle;
        Loop::TimerId timer;
    };
    void wake(std::uint64_t id) {
        const auto found = waiting_.find(id);
        if (found == waiting_.end()) return;
        const Waiting waiting = found->second;
        waiting_.erase(found);
        loop_.cancel(waiting.timer);
        waiting.settle(true);
    }
    void wake_all() {
        waking_ = false;
        for (const auto& [id, waiting] : std::map<std::uint64_t, Waiting>(waiting_)) wake(id);
    }

    Loop& loop_;
    std::map<std::uint64_t, Waiting> waiting_;
    std::uint64_t last_ = 0, ids_ = 0;
    bool waking_ = false;
};

Answer get_events(Services& services, Call& call, std::shared_ptr<Followers> followers) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Filter filter, filter_of(call, workspace));
    TURNOUT_CO_TRY(const std::int64_t limit, whole_number_of(call, "limit", 100, 1));
    TURNOUT_CO_TRY(const std::int64_t wanted_patience, whole_number_of(call, "wait", 0, 0));
    const auto most = static_cast<std::size_t>(std::min(limit, kMostEvents));
    const Span patience = std::chrono::seconds(std::min(wanted_patience, kLongestWait));
    const std::string_view after = call.query_value("after");
    Page page;
    if (after.empty() && !filter.job.empty()) {
        // A job's own are few, and begin where it does.
        TURNOUT_CO_TRY(const auto job, read_job(services.store, workspace.id, filter.job));
        EventMark start;
        if (job) {
            TURNOUT_CO_TRY(start, before(services.store, job->record.created));
        }
        TURNOUT_CO_TRY(page, co_await forward(services, call, filter, start, most));
        // Where the clock was set, rows are not in the order of time, and it may have begun
        // earlier.
        const bool from_its_begin =
            !page.events.empty() && page.events.front().at("what").as_view() == "submitted";
        const bool can_match = filter.kind.empty() || filter.kind == "job";
        if (can_match && !from_its_begin && start > EventMark{}) {
            TURNOUT_CO_TRY(page, co_await forward(services, call, filter, EventMark{}, most));
        }
    } else if (after.empty()) {
        TURNOUT_CO_TRY(page, co_await newest(services, call, filter, most));
    } else {
        TURNOUT_CO_TRY(EventMark mark, parse_mark(after));
        const Instant until = services.clock.now() + patience;
        for (;;) {
            TURNOUT_CO_TRY(page, co_await forward(services, call, filter, mark, most));
            const Span left = until - services.clock.now();
            Stop* const stop = call.request.stop;
            if (!page.events.empty() || page.more || left <= Span{} || (stop && stop->stopped()))
                break;
            mark = page.last;
            const std::uint64_t seen = mark.row;
            if (!co_await followers->wait(seen, std::min(left, patience), stop)) break;
        }
    }
    Json value = Json::array();
    for (Json& event : page.events) value.push(std::move(event));
    co_return json_response(
        200, Json::object(
                 {{"value", std::move(value)}, {"next", page.last.text()}, {"more", page.more}}));
}

}  // namespace

void add_event_routes(Router& router, Services& services) {
    const auto followers = std::make_shared<Followers>(services.loop);
    services.control.on_events([weak = std::weak_ptr<Followers>(followers)](std::uint64_t row) {
        if (const auto there = weak.lock()) there->committed(row);
    });
    router.add("GET", in_workspace("/events"), Access::User, [&services, followers](Call& call) {
        return get_events(services, call, followers);
    });
}

}  // namespace turnout::api::arm
