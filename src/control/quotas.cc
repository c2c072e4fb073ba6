#include "control/quotas.h"

#include <algorithm>

#include "control/owners.h"

namespace turnout::control {

namespace {

using Is = QuotaOwner::Is;

constexpr std::string_view kRows = "quota/";  // in Table::Meta: "quota/{u|w}/{id}", "quota/u/"

std::string row_of_quota(const QuotaOwner& owner) {
    return std::string(kRows) + (owner.is == Is::Workspace ? "w/" : "u/") + owner.id;
}

std::optional<int> limit_of(const std::optional<std::int64_t>& said) {
    if (!said || *said == kUnlimited) return std::nullopt;
    return static_cast<int>(*said);
}

}  // namespace

Quotas::Entry& Quotas::entry_of(const QuotaOwner& owner) {
    Entry& entry = by_owner_[{owner.is, owner.id}];
    if (entry.owner != owner && (entry.owner.id.empty() || !owner.shown.empty()))
        entry.owner = owner;
    return entry;
}

Quota Quotas::holds(const QuotaOwner& owner) const {
    const auto quota_of = [this](Is is, const std::string& id) {
        const auto found = by_owner_.find({is, id});
        return found == by_owner_.end() ? Quota{} : found->second.quota;
    };
    const Quota own = quota_of(owner.is, owner.id);
    return owner.is == Is::User ? holding(own, quota_of(Is::EveryUser, "")) : own;
}

void Quotas::allow(const Entry& entry) {
    if (entry.account == 0) return;
    const Quota quota = holds(entry.owner);
    accounts.allow(entry.account, {limit_of(quota.running), limit_of(quota.slots)},
                   words_of(entry.owner));
    owners.plan.wanted = true;
}

Handle Quotas::of_user(std::string_view name) {
    if (name.empty()) return 0;
    Entry& entry = entry_of({Is::User, std::string(name)});
    if (entry.account == 0) {
        entry.account = owners.new_handle();
        allow(entry);
    }
    return entry.account;
}

Handle Quotas::of_workspace(const std::string& workspace) {
    Entry& entry = entry_of({Is::Workspace, workspace});
    if (entry.account == 0) {
        entry.account = owners.new_handle();
        allow(entry);
    }
    return entry.account;
}

void Quotas::change(QuotaOwner owner, const Control::QuotaChange& change,
                    Control::Reply<void> reply) {
    const auto found = by_owner_.find({owner.is, owner.id});
    const Quota now = found == by_owner_.end() ? Quota{} : found->second.quota;
    Result<Quota> next = change(now);
    if (!next) return turns.reply<void>(std::move(reply), Failure(next.error()));
    if (*next != now) {
        Entry& entry = entry_of(owner);
        entry.quota = *next;
        turns.gathering.quotas.insert(row_of_quota(owner));
        for (auto& [key, each] : by_owner_)
            if (&each == &entry || owner.is == Is::EveryUser) allow(each);
        for (auto& [key, compute] : owners.computes.by_key) owners.plan.touched.insert(&compute);
        if (entry.quota.empty() && entry.account == 0) by_owner_.erase({owner.is, owner.id});
    }
    turns.reply<void>(std::move(reply), Result<void>{});
}

Result<void> Quotas::check_queue(const std::string& user, const std::string& workspace) const {
    const QuotaField& field = kQuotaFields[2];
    for (const auto& [is, id] :
         {std::pair(Is::User, std::string_view(user)), {Is::Workspace, workspace}}) {
        if (id.empty()) continue;
        const auto found = by_owner_.find({is, std::string(id)});
        QuotaOwner owner{is, std::string(id)};
        std::int64_t used = 0;
        if (found != by_owner_.end()) {
            owner = found->second.owner;
            used = static_cast<std::int64_t>(accounts.use(found->second.account).waiting);
        }
        const Quota quota = holds(owner);
        if (quota.queued && used >= *quota.queued)
            return over_quota(owner, field, used, *quota.queued, 1);
    }
    return {};
}

std::optional<QuotaOwner> Quotas::owner_of(Handle account) const {
    for (const auto& [key, entry] : by_owner_)
        if (entry.account == account && account != 0) return entry.owner;
    return std::nullopt;
}

std::vector<Control::QuotaView> Quotas::views() const {
    std::vector<Control::QuotaView> all;
    for (const auto& [key, entry] : by_owner_) {
        Control::QuotaView view;
        view.owner = entry.owner;
        view.quota = entry.quota;
        view.holds = holds(entry.owner);
        if (entry.account != 0) view.use = accounts.use(entry.account);
        all.push_back(std::move(view));
    }
    return all;
}

void Quotas::forget_workspace(const std::string& workspace) {
    const auto found = by_owner_.find({Is::Workspace, workspace});
    if (found == by_owner_.end() || found->second.quota.empty()) return;
    found->second.quota = {};
    turns.gathering.quotas.insert(row_of_quota(found->second.owner));
    allow(found->second);
}

void Quotas::forget() {
    by_owner_.clear();
    accounts.clear();
}

Result<void> Quotas::recover() {
    return each_row(store, Table::Meta, with_prefix(kRows), [this](const Record& row) {
        return [&]() -> Result<void> {
            const Json json = TURNOUT_TRY(parse_json(row.value));
            const std::string id = row.key.substr(kRows.size() + 2);
            const bool workspace = row.key[kRows.size()] == 'w';
            const Is is = workspace ? Is::Workspace : id.empty() ? Is::EveryUser : Is::User;
            Entry& entry = entry_of({is, id, json.at("shown").as_string()});
            entry.quota = TURNOUT_TRY(changed({}, json));
            return {};
        }();
    });
}

void Quotas::write_rows(const Turn& turn, Batch& batch) const {
    for (const std::string& row : turn.quotas) {
        const std::string id = row.substr(kRows.size() + 2);
        const bool workspace = row[kRows.size()] == 'w';
        const Is is = workspace ? Is::Workspace : id.empty() ? Is::EveryUser : Is::User;
        const auto found = by_owner_.find({is, id});
        if (found == by_owner_.end() || found->second.quota.empty()) {
            batch.erase(Table::Meta, row);
            continue;
        }
        Json json = to_json(found->second.quota);
        if (!found->second.owner.shown.empty()) json.set("shown", found->second.owner.shown);
        batch.put(Table::Meta, row, json.dump());
    }
}

}  // namespace turnout::control
