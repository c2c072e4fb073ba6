// How much is stored for whom: files, each content once for each of them, and logs. Looked at anew
// every few minutes, and only while somebody has a limit: what is added meanwhile is counted as it
// comes, what goes is counted with the next look, which a refusal asks for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/task.h"
#include "base/time.h"
#include "model/quota.h"

namespace turnout::api {

struct Call;
struct Services;

class StoredUse {
public:
    static constexpr Span kEvery = 5min;
    static constexpr Span kFresh = 10s;  // a refusal looks anew at what is older

    // Whether so many bytes more may be stored for that user ("" = nobody known) there.
    Result<void> check(const Services& services, const std::string& user, const std::string& wsid,
                       std::uint64_t more) const;
    void added(const std::string& user, const std::string& wsid, std::uint64_t bytes);
    std::uint64_t of(const QuotaOwner& owner) const;
    std::optional<Instant> counted() const { return counted_; }  // nothing: not since the start

    // Looks at all that is stored. One at a time: a second call during the first does nothing.
    Task<Result<void>> count(Services& services);

private:
    using Sums = std::map<std::string, std::uint64_t, std::less<>>;
    Sums users_, workspaces_;
    Sums more_users_, more_workspaces_;  // since that was begun
    std::optional<Instant> counted_;
    bool counting_ = false;
};

// Whoever stores by this call, for whom it counts; "" = nobody known.
std::string storer_of(Services& services, const Call& call);
// Refused if that much more is over a quota of whoever stores or of the workspace. What a job
// writes by its own token is taken in any case, since it would be lost, and counts.
Task<Result<void>> check_stored(Services& services, const Call& call, std::string wsid,
                                std::uint64_t more);
// Counts every kEvery while somebody has a limit, from some seconds after the start on.
void keep_stored_use(Services& services);

}  // namespace turnout::api
