// What takes space: GET /turnout/space. Not part of Azure's API.
//
// Content is kept once, however many names it has: it counts for the first of the rows below that
// has a name of it. `items` are the largest of a row, with all that they name.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "api/arm/resource.h"
#include "api/upkeep/needs.h"
#include "api/upkeep/upkeep.h"
#include "blob/blobs.h"
#include "control/space.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::size_t kSpacePage = 500;
constexpr std::size_t kItems = 20;  // of a row

// In the order of the rows, and of who a content counts for.
enum Kind { Assets, Code, Jobs, Uploads, Fetched, Leftovers, Files, kKinds };
struct Words {
    std::string_view kind, what, prune;
};
constexpr std::array<Words, kKinds> kWords = {{
    {"assets", "registered data and models", ""},
    {"code", "code of jobs", "data"},
    {"outputs", "outputs of jobs", "jobs"},
    {"uploads", "uploads not registered", "data"},
    {"fetched", "inputs from elsewhere", "data"},
    {"leftovers", "files of deleted jobs", "data"},
    {"files", "other files in datastores", ""},
}};

struct Item {
    std::string name;
    std::uint64_t bytes = 0;
    Instant used{};
};

// A row; its items come one after another.
class Sum {
public:
    void add(std::string_view item, std::uint64_t of_item, Instant used) {
        if (current_.name != item) end_item();
        if (current_.name.empty()) {
            current_.name = item;
            ++count;
        }
        current_.bytes += of_item;
        current_.used = std::max(current_.used, used);
    }
    std::vector<Item>& largest() {
        end_item();
        return largest_;
    }
    std::uint64_t bytes = 0;
    std::size_t count = 0;
    Instant oldest{};

private:
    void end_item() {
        if (current_.name.empty()) return;
        if (oldest.micros == 0 || current_.used < oldest) oldest = current_.used;
        largest_.push_back(std::exchange(current_, {}));
        std::push_heap(largest_.begin(), largest_.end(), smaller_last);
        if (largest_.size() <= kItems) return;
        std::pop_heap(largest_.begin(), largest_.end(), smaller_last);
        largest_.pop_back();
    }
    static bool smaller_last(const Item& a, const Item& b) { return a.bytes > b.bytes; }

    Item current_;
    std::vector<Item> largest_;
};

Json row_of(std::string_view kind, std::string_view what, std::string_view prune,
            std::uint64_t bytes, std::size_t count, Instant oldest, std::vector<Item> items) {
    Json row = Json::object({{"kind", kind}, {"what", what}, {"bytes", bytes}, {"count", count}});
    if (oldest.micros != 0) row.set("oldest_use", to_iso8601(oldest));
    if (!prune.empty()) row.set("prune", prune);
    std::sort(items.begin(), items.end(),
              [](const Item& a, const Item& b) { return a.bytes > b.bytes; });
    Json list = Json::array();
    for (const Item& item : items) {
        Json one = Json::object({{"name", item.name}, {"bytes", item.bytes}});
        if (item.used.micros != 0) one.set("used", to_iso8601(item.used));
        list.push(std::move(one));
    }
    row.set("items", std::move(list));
    return row;
}

// The first part of a name beneath `folder`, with it.
std::string unit_of(std::string_view name, std::string_view folder) {
    const std::size_t slash = name.find('/', folder.size());
    return std::string(name.substr(0, slash));
}

struct Unit {
    Kind kind;
    std::string item;
};

class Survey {
public:
    Survey(Services& services, Turn& turn, Needs needs)
        : services_(services), turn_(turn), needs_(std::move(needs)) {}

    Task<Result<void>> look() {
        std::string after;
        do {
            TURNOUT_CO_TRY(const Blobs::StoredPage page, services_.blobs.every(after, kSpacePage));
            for (const Blobs::Stored& blob : page.blobs) {
                TURNOUT_CO_TRY(const Unit unit, unit_of_blob(blob.info));
                sums_[unit.kind].add(unit.item, blob.info.size, blob.info.modified);
                for (const auto& [sha256, size] : blob.contents) {
                    const auto [known, is_new] = contents_.try_emplace(
                        std::strtoull(sha256.substr(0, 16).c_str(), nullptr, 16), unit.kind, size);
                    if (is_new) continue;
                    known->second.first = std::min(known->second.first, unit.kind);
                    ++shared_names_;
                    shared_bytes_ += size;
                }
            }
            after = page.next;
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
        } while (!after.empty());
        for (const auto& [hash, content] : contents_) {
            sums_[content.first].bytes += content.second;
            if (content.second <= kSmallContent) small_bytes_ += content.second;
        }
        contents_.clear();
        TURNOUT_CO_TRY_VOID(co_await look_at_held());
        TURNOUT_CO_TRY_VOID(co_await look_at_bases());
        co_return co_await each_log(
            services_, turn_,
            [this](std::string_view, std::string_view job, std::uint64_t bytes) -> Result<void> {
                logs_.add(job, bytes, {});
                logs_.bytes += bytes;
                return {};
            });
    }

    // All that are in the database already are taken off it.
    Json answer(const std::optional<MachineSpace>& machine) {
        Json rows = Json::array();
        const auto add = [&](Json row) {
            total_ += static_cast<std::uint64_t>(row.at("bytes").as_int());
            if (row.at("bytes").as_int() > 0 || row.at("count").as_int() > 0)
                rows.push(std::move(row));
        };
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
            Sum& sum = sums_[kind];
            std::vector<Item> items = sum.largest();
            add(row_of(kWords[kind].kind, kWords[kind].what, kWords[kind].prune, sum.bytes,
                       sum.count, sum.oldest, std::move(items)));
        }
        std::vector<Item> items = logs_.largest();
        add(row_of("logs", "logs of jobs", "jobs", logs_.bytes, logs_.count, {}, std::move(items)));
        add(row_of("tasks", "tasks that jobs share", "jobs", tasks_.bytes, tasks_.count, {}, {}));
        add(row_of("held", "deleted, and held for a day", "data", held_.bytes, held_.count,
                   held_.oldest, {}));
        Json answer = Json::object();
        if (machine) {
            constexpr std::array<std::array<std::string_view, 3>, 5> kinds = {
                {{"inputs", "inputs kept on nodes", "inputs"},
                 {"code", "code kept on nodes", "caches"},
                 {"environments", "environments", "environments"},
                 {"pythons", "Pythons of environments", "caches"},
                 {"unfinished", "unfinished downloads and builds", "caches"}}};
            for (const auto& [kind, what, prune] : kinds) {
                Sum sum;
                for (const KeptThing& thing : machine->cache) {
                    if (thing.kind != kind) continue;
                    sum.bytes += thing.bytes;
                    sum.add(thing.name == thing.label ? thing.name : thing.label, thing.bytes,
                            thing.used);
                }
                std::vector<Item> largest = sum.largest();
                add(row_of(kind == "code" ? "code_on_nodes" : kind, what, prune, sum.bytes,
                           sum.count, sum.oldest, std::move(largest)));
            }
            add(row_of("running", "folders of running jobs", "", machine->running, 0, {}, {}));
            const std::uint64_t counted = logs_.bytes + tasks_.bytes + small_bytes_;
            add(row_of("database", "database, but for what is above", "",
                       machine->database - std::min(machine->database, counted), 0, {}, {}));
            add(row_of("database_copies", "copies of the database", "", machine->database_copies, 0,
                       {}, {}));
            add(row_of("reserve", "reserve for a full disk", "", machine->reserve, 0, {}, {}));
            answer.set("packages", Json::object({{"folder", machine->packages_folder},
                                                 {"bytes", machine->packages}}));
            answer.set("disk",
                       Json::object({{"bytes", machine->disk}, {"free", machine->disk_free}}));
        }
        answer.set("rows", std::move(rows));
        answer.set("bytes", total_);
        answer.set("shared", Json::object({{"names", shared_names_}, {"bytes", shared_bytes_}}));
        answer.set("data_folder", services_.info.data_folder);
        return answer;
    }

private:
    static constexpr std::uint64_t kSmallContent = 64 << 10;  // in the database

    Result<Unit> unit_of_blob(const BlobInfo& blob) {
        const std::string wsid = workspace_of_container(blob.container);
        if (needs_.assets.hold(blob.container, blob.name)) return Unit{Assets, folder_of(blob)};
        if (blob.container == artifact_container(wsid) ||
            blob.container == blobstore_container(wsid)) {
            const bool artifact = blob.container == artifact_container(wsid);
            const std::string_view job =
                artifact ? job_of_artifact(blob.name) : job_of_output(blob.name);
            if (!job.empty()) {
                const std::string key = wsid + "/" + std::string(job);
                if (key != last_job_) {
                    last_job_ = key;
                    last_job_is_there_ = TURNOUT_TRY(services_.store.get(Table::Job, key)) ||
                                         TURNOUT_TRY(services_.store.get(Table::Run, key));
                }
                if (last_job_is_there_) return Unit{Jobs, std::string(job)};
                if (artifact) return Unit{Leftovers, std::string(job)};
            }
            if (blob.name.starts_with(kUploads)) return Unit{Uploads, unit_of(blob.name, kUploads)};
            return Unit{Files, unit_of(blob.name, "")};
        }
        if (blob.container == fetched_container(wsid)) return Unit{Fetched, unit_of(blob.name, "")};
        if (is_code_container(blob.container, wsid))
            return Unit{Code, blob.container.substr(wsid.size() + 1)};
        return Unit{Files, blob.container};
    }

    static std::string folder_of(const BlobInfo& blob) {
        if (blob.name.starts_with(kUploads))
            return unit_of(blob.name, unit_of(blob.name, kUploads) + "/");
        return unit_of(blob.name, "");
    }

    Task<Result<void>> look_at_held() {
        Range range = with_prefix("h/", kSpacePage);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::BlobUse, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(const std::size_t uses,
                               services_.blobs.references(std::string_view(row.key).substr(2), 1));
                if (uses > 0 || row.value.size() < 18) continue;
                ++held_.count;
                held_.bytes += std::strtoull(row.value.c_str() + 17, nullptr, 10);
                if (held_.oldest.micros == 0)
                    held_.oldest.micros =
                        std::strtoll(row.value.substr(0, 16).c_str(), nullptr, 16);
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < kSpacePage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    Task<Result<void>> look_at_bases() {
        Range range{.limit = kSpacePage / 10};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::TaskBase, range));
            for (const Record& row : rows) {
                ++tasks_.count;
                tasks_.bytes += row.value.size();
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < range.limit) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    Services& services_;
    Turn& turn_;
    const Needs needs_;
    std::array<Sum, kKinds> sums_;
    Sum logs_, tasks_, held_;
    // By the first 64 bits of the hash, which tell a billion contents apart.
    std::unordered_map<std::uint64_t, std::pair<Kind, std::uint64_t>> contents_;
    std::size_t shared_names_ = 0;
    std::uint64_t shared_bytes_ = 0, small_bytes_ = 0, total_ = 0;
    std::string last_job_;
    bool last_job_is_there_ = false;
};

arm::Answer show_space(Services& services, Call& call) {
    Turn turn(services, call);
    TURNOUT_CO_TRY(Needs needs, co_await find_needs(services, turn, Whose::Living));
    Survey survey(services, turn, std::move(needs));
    TURNOUT_CO_TRY_VOID(co_await survey.look());
    std::optional<MachineSpace> machine;
    if (services.space) {
        const auto ask = [&](auto reply) { services.space->measure(std::move(reply)); };
        TURNOUT_CO_TRY(machine, co_await arm::asked<MachineSpace>(ask));
    }
    Json answer = survey.answer(machine);
    auto retention = co_await next_of_retention(services);
    // One that cannot be read is no reason to say nothing of the space.
    if (!retention) answer.set("retention", Json::object({{"error", retention.error().message}}));
    if (retention) answer.set("retention", std::move(*retention));
    co_return json_response(200, answer);
}

}  // namespace

bool is_code_container(std::string_view container, std::string_view wsid) {
    return !wsid.empty() && container.size() == wsid.size() + 1 + 32 &&
           container.starts_with(wsid) && container[wsid.size()] == '-';
}

// From stream to stream: the last row of each says how long it is.
Task<Result<void>> each_log(Services& services, Turn& turn, UseLog use) {
    constexpr std::size_t kOffset = 16;
    Range next{.limit = 1};
    while (true) {
        TURNOUT_CO_TRY(const auto first, services.store.scan(Table::Log, next));
        if (first.empty()) co_return {};
        const std::string& key = first.front().key;
        if (key.size() <= kOffset)
            co_return internal("the row '" + key + "' of the log table cannot be read");
        Range last = with_prefix(key.substr(0, key.size() - kOffset), 1);
        last.reverse = true;
        TURNOUT_CO_TRY(const auto end, services.store.scan(Table::Log, last));
        if (!end.empty()) {
            const std::string& end_key = end.front().key;
            const std::uint64_t bytes =
                std::strtoull(end_key.substr(end_key.size() - kOffset).c_str(), nullptr, 16) +
                end.front().value.size();
            const std::string_view all(key);
            const std::size_t job = all.find('/') + 1;
            TURNOUT_CO_TRY_VOID(
                use(all.substr(0, job - 1), all.substr(job, all.find('/', job) - job), bytes));
        }
        next.from = last.to;
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
}

void add_space_routes(Router& router, Services& services) {
    arm::row(router, services, "GET", "/turnout/space", Access::User, show_space);
}

}  // namespace turnout::api::upkeep
