// How much somebody may have: a user, or a workspace. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout {

// Said explicitly: no limit, whatever holds for every user.
inline constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// Each is a number, kUnlimited, or not said: then what holds for every user does; if nothing is
// said there either, there is no limit.
struct Quota {
    std::optional<std::int64_t> slots = {};    // of pools, that running jobs hold
    std::optional<std::int64_t> running = {};  // jobs
    std::optional<std::int64_t> queued = {};   // jobs that wait for a slot
    std::optional<std::int64_t> stored = {};   // bytes
    bool operator==(const Quota&) const = default;
    bool empty() const { return *this == Quota{}; }
};

struct QuotaField {
    std::string_view name;    // in documents
    std::string_view words;   // "4 of 4 running jobs"
    std::string_view option;  // of `turnout quota set`
    std::optional<std::int64_t> Quota::* value;
};
inline constexpr std::array<QuotaField, 4> kQuotaFields = {{
    {"slots", "slots", "--slots", &Quota::slots},
    {"runningJobs", "running jobs", "--running", &Quota::running},
    {"queuedJobs", "queued jobs", "--queued", &Quota::queued},
    {"storedBytes", "stored bytes", "--stored", &Quota::stored},
}};
inline constexpr const QuotaField& kQueuedField = kQuotaFields[2];
inline constexpr const QuotaField& kStoredField = kQuotaFields[3];

// Whose it is.
struct QuotaOwner {
    enum class Is { EveryUser, User, Workspace } is = Is::EveryUser;
    std::string id = {};     // a user's name, a workspace's id; "" of every user
    std::string shown = {};  // a workspace's name, for people
    bool operator==(const QuotaOwner&) const = default;
};
std::string words_of(const QuotaOwner& owner);  // "user ada", "workspace blue", "every user"
// What an Owner of the server types to change it: "turnout quota set --user ada".
std::string set_command(const QuotaOwner& owner);

// What holds for a user who has `own`, where that is for every user.
Quota holding(const Quota& own, const Quota& every_user);

// A limit is a number or "unlimited".
Json to_json(const Quota& quota);
// What a document says of it changed: null takes a limit away. Members that are no limits are left
// to the caller. InvalidArgument names the member, its value and what was expected.
Result<Quota> changed(Quota quota, const Json& document);

// The refusal of something new: `asked` more where `used` of `limit` are there. In Azure's words
// for it, QuotaExceeded.
Failure over_quota(const QuotaOwner& owner, const QuotaField& field, std::int64_t used,
                   std::int64_t limit, std::int64_t asked);

}  // namespace turnout
