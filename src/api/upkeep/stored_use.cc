#include "api/upkeep/stored_use.h"

#include <algorithm>
#include <functional>
#include <unordered_set>
#include <utility>

#include "api/api.h"
#include "api/authority.h"
#include "api/upkeep/needs.h"
#include "api/upkeep/upkeep.h"
#include "blob/blobs.h"
#include "control/control.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

constexpr std::size_t kCountPage = 500;
constexpr Span kFirstCount = 20s;

using Is = QuotaOwner::Is;

std::uint64_t sum_in(const std::map<std::string, std::uint64_t, std::less<>>& sums,
                     std::string_view key) {
    const auto found = sums.find(key);
    return found == sums.end() ? 0 : found->second;
}

bool anybody_is_limited(const Services& services) {
    return std::ranges::any_of(services.control.quotas(), [](const Control::QuotaView& view) {
        return view.quota.stored && *view.quota.stored != kUnlimited;
    });
}

// Who submitted jobs, of which many rows come one after another.
class Submitters {
public:
    explicit Submitters(Services& services) : services_(services) {}
    Result<const std::string*> of(std::string_view wsid, std::string_view job) {
        const std::string key = std::string(wsid) + "/" + std::string(job);
        if (key != last_) {
            const auto known = TURNOUT_TRY(read_job(services_.store, wsid, job));
            user_ = known ? known->record.principal : std::string();
            last_ = key;
        }
        return &user_;
    }

private:
    Services& services_;
    std::string last_, user_;
};

// Of files of builds that did not write it down: who submitted the job that they are of.
Result<std::string> owner_of(Submitters& submitters, const BlobInfo& blob,
                             const std::string& wsid) {
    if (!blob.owner.empty()) return blob.owner;
    std::string_view job;
    if (blob.container == artifact_container(wsid)) job = upkeep::job_of_artifact(blob.name);
    if (blob.container == blobstore_container(wsid)) job = upkeep::job_of_output(blob.name);
    if (job.empty()) return std::string();
    return *TURNOUT_TRY(submitters.of(wsid, job));
}

Task<void> count_and_go_on(Services& services) {
    if (anybody_is_limited(services)) {
        // Where it cannot be counted now the sums before stay, and grow.
        [[maybe_unused]] const Result<void> counted = co_await services.stored->count(services);
    }
    services.loop.after(StoredUse::kEvery,
                        [&services] { start(count_and_go_on(services), [] {}); });
}

}  // namespace

Result<void> StoredUse::check(const Services& services, const std::string& user,
                              const std::string& wsid, std::uint64_t more) const {
    for (const auto& [is, id] : {std::pair(Is::User, user), {Is::Workspace, wsid}}) {
        if (id.empty()) continue;
        const Control::QuotaView view = services.control.quota({is, id});
        const std::optional<std::int64_t> most = view.holds.stored;
        if (!most || *most == kUnlimited) continue;
        const std::uint64_t used = of(view.owner);
        const auto limit = static_cast<std::uint64_t>(*most);
        if (more <= limit - std::min(used, limit)) continue;
        return over_quota(view.owner, kStoredField, static_cast<std::int64_t>(used), *most,
                          static_cast<std::int64_t>(more));
    }
    return {};
}

void StoredUse::added(const std::string& user, const std::string& wsid, std::uint64_t bytes) {
    if (!user.empty()) users_[user] += bytes;
    if (!wsid.empty()) workspaces_[wsid] += bytes;
    if (!counting_) return;
    if (!user.empty()) more_users_[user] += bytes;
    if (!wsid.empty()) more_workspaces_[wsid] += bytes;
}

std::uint64_t StoredUse::of(const QuotaOwner& owner) const {
    return sum_in(owner.is == Is::Workspace ? workspaces_ : users_, owner.id);
}

Task<Result<void>> StoredUse::count(Services& services) {
    if (std::exchange(counting_, true)) co_return Result<void>();
    more_users_.clear();
    more_workspaces_.clear();
    // Whatever comes of it, it is over.
    struct Over {
        bool& counting;
        ~Over() { counting = false; }
    } over{counting_};
    Turn turn(services);
    Submitters submitters(services);
    Sums users, workspaces;
    std::unordered_set<std::uint64_t> of_users, of_workspaces;  // content with whose it is
    const auto add_once = [](std::unordered_set<std::uint64_t>& known, Sums& sums,
                             const std::string& to, std::string_view sha256, std::uint64_t size) {
        const std::uint64_t hash =
            std::strtoull(std::string(sha256.substr(0, 16)).c_str(), nullptr, 16);
        if (known.insert(hash ^ std::hash<std::string>()(to)).second) sums[to] += size;
    };
    std::string after;
    do {
        TURNOUT_CO_TRY(const Blobs::StoredPage page, services.blobs.every(after, kCountPage));
        for (const Blobs::Stored& blob : page.blobs) {
            const std::string wsid = workspace_of_container(blob.info.container);
            TURNOUT_CO_TRY(const std::string owner, owner_of(submitters, blob.info, wsid));
            for (const auto& [sha256, size] : blob.contents) {
                if (!owner.empty()) add_once(of_users, users, owner, sha256, size);
                if (!wsid.empty()) add_once(of_workspaces, workspaces, wsid, sha256, size);
            }
        }
        after = page.next;
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    } while (!after.empty());
    upkeep::UseLog use = [&](std::string_view wsid, std::string_view job,
                             std::uint64_t bytes) -> Result<void> {
        workspaces[std::string(wsid)] += bytes;
        if (const std::string& user = *TURNOUT_TRY(submitters.of(wsid, job)); !user.empty())
            users[user] += bytes;
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await upkeep::each_log(services, turn, std::move(use)));
    for (const auto& [user, bytes] : more_users_) users[user] += bytes;
    for (const auto& [wsid, bytes] : more_workspaces_) workspaces[wsid] += bytes;
    users_ = std::move(users);
    workspaces_ = std::move(workspaces);
    counted_ = services.clock.now();
    co_return Result<void>();
}

std::string storer_of(Services& services, const Call& call) {
    Principal who = call.principal;
    if (who.kind == Principal::Kind::Nobody)
        if (auto holder = services.authority.check_holder(call.query_value("skoid")))
            who = std::move(*holder);
    const Result<Author> author = author_of(services, who);
    return author ? author->user : std::string();
}

Task<Result<void>> check_stored(Services& services, const Call& call, std::string wsid,
                                std::uint64_t more) {
    StoredUse* const stored = services.stored;
    if (!stored || call.principal.kind == Principal::Kind::Run) co_return Result<void>();
    const std::string user = storer_of(services, call);
    const std::uint64_t asked = std::max<std::uint64_t>(1, more);
    Result<void> room = stored->check(services, user, wsid, asked);
    if (room) co_return room;
    const auto counted = stored->counted();
    if (counted && services.clock.now() - *counted < StoredUse::kFresh) co_return room;
    TURNOUT_CO_TRY_VOID(co_await stored->count(services));
    co_return stored->check(services, user, wsid, asked);
}

void keep_stored_use(Services& services) {
    services.loop.after(kFirstCount, [&services] { start(count_and_go_on(services), [] {}); });
}

}  // namespace turnout::api
