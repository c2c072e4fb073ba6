#include "model/quota.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {

namespace {

constexpr std::string_view kWordUnlimited = "unlimited";
constexpr std::int64_t kMostJobs = 1'000'000'000;  // of any limit but that of bytes

std::string number_of(const QuotaField& field, std::int64_t number) {
    if (field.value != &Quota::stored) return std::to_string(number);
    return to_size_words(static_cast<std::uint64_t>(std::max<std::int64_t>(0, number)));
}

}  // namespace

std::string words_of(const QuotaOwner& owner) {
    switch (owner.is) {
        case QuotaOwner::Is::EveryUser: return "every user";
        case QuotaOwner::Is::User: return "user " + owner.id;
        case QuotaOwner::Is::Workspace:
            return "workspace " + (owner.shown.empty() ? owner.id : owner.shown);
    }
    return "";
}

std::string set_command(const QuotaOwner& owner) {
    return "turnout quota set " + (owner.is == QuotaOwner::Is::Workspace ? "-w " + owner.shown
                                   : owner.is == QuotaOwner::Is::User    ? "--user " + owner.id
                                                                      : std::string("--default"));
}

Quota holding(const Quota& own, const Quota& every_user) {
    Quota holds = own;
    for (const QuotaField& field : kQuotaFields)
        if (!(holds.*field.value)) holds.*field.value = every_user.*field.value;
    return holds;
}

Json to_json(const Quota& quota) {
    Json json = Json::object();
    for (const QuotaField& field : kQuotaFields)
        if (const auto& value = quota.*field.value)
            json.set(field.name, *value == kUnlimited ? Json(kWordUnlimited) : Json(*value));
    return json;
}

Result<Quota> changed(Quota quota, const Json& document) {
    for (const QuotaField& field : kQuotaFields) {
        const Json* const said = document.find(field.name);
        if (!said) continue;
        const std::int64_t most = field.value == &Quota::stored ? kUnlimited - 1 : kMostJobs;
        if (said->is_null())
            (quota.*field.value).reset();
        else if (said->is_string() && said->as_view() == kWordUnlimited)
            quota.*field.value = kUnlimited;
        else if (said->is_int() && said->as_int() >= 0 && said->as_int() <= most)
            quota.*field.value = said->as_int();
        else
            return invalid("'" + std::string(field.name) + "' is " + said->dump().substr(0, 40) +
                               ": expected a whole number from 0 to " + std::to_string(most) +
                               ", \"unlimited\", or null for no limit of its own",
                           std::string(field.name));
    }
    return quota;
}

Failure over_quota(const QuotaOwner& owner, const QuotaField& field, std::int64_t used,
                   std::int64_t limit, std::int64_t asked) {
    const bool bytes = field.value == &Quota::stored;
    return fail(
        Code::FailedPrecondition, "QuotaExceeded",
        words_of(owner) + " has " + number_of(field, used) + " of " + number_of(field, limit) +
            (bytes ? " stored" : " " + std::string(field.words)) +
            (bytes && asked <= 1 ? ", and this would add to it: "
                                 : ", and this asks for " + number_of(field, asked) + " more: ") +
            (bytes ? "remove what is not needed" : "wait until some have begun") +
            ", or ask an Owner of the server for a larger quota (`" + set_command(owner) + " " +
            std::string(field.option) + " N`)",
        std::string(field.name));
}

}  // namespace turnout
