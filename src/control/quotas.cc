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

QuotaOwner owner_of_row(std::string_view row) {
    const std::string id(row.substr(kRows.size() + 2));
    if (row[kRows.size()] == 'w') return {Is::Workspace, id};
    return {id.empty() ? Is::EveryUser : Is::User, id};
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

const Quotas::Entry* Quotas::find(const QuotaOwner& owner) const {
    const auto found = by_owner_.find({owner.is, owner.id});
    return found == by_owner_.end() ? nullptr : &found->second;
}

Quota Quotas::said_of(const QuotaOwner& owner) const {
    const Entry* const entry = find(owner);
    return entry ? entry->quota : Quota{};
}

Quota Quotas::holds(const QuotaOwner& owner) const {
    const Quota own = said_of(owner);
    return owner.is == Is::User ? holding(own, said_of({Is::EveryUser})) : own;
}

void Quotas::allow(const Entry& entry) {
    if (entry.account == 0) return;
    const Quota quota = holds(entry.owner);
    accounts.allow(entry.account, {limit_of(quota.running), limit_of(quota.slots)},
                   words_of(entry.owner));
    owners.plan.wanted = true;
}

Handle Quotas::account_of(const QuotaOwner& owner) {
    Entry& entry = entry_of(owner);
    if (entry.account == 0) {
        entry.account = owners.new_handle();
        allow(entry);
    }
    return entry.account;
}

Handle Quotas::of_user(std::string_view name) {
    return name.empty() ? 0 : account_of({Is::User, std::string(name)});
}

Handle Quotas::of_workspace(const std::string& workspace) {
    return account_of({Is::Workspace, workspace});
}

void Quotas::change(QuotaOwner owner, const Control::QuotaChange& change,
                    Control::Reply<void> reply) {
    const Quota now = said_of(owner);
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
    for (const auto& [is, id] : {std::pair(Is::User, user), {Is::Workspace, workspace}}) {
        if (id.empty()) continue;
        const Control::QuotaView now = view({is, id});
        const auto waiting = static_cast<std::int64_t>(now.use.waiting);
        if (now.holds.queued && waiting >= *now.holds.queued)
            return over_quota(now.owner, kQueuedField, waiting, *now.holds.queued, 1);
    }
    return {};
}

std::optional<QuotaOwner> Quotas::owner_of(Handle account) const {
    for (const auto& [key, entry] : by_owner_)
        if (entry.account == account && account != 0) return entry.owner;
    return std::nullopt;
}

Control::QuotaView Quotas::view(const QuotaOwner& owner) const {
    const Entry* const entry = find(owner);
    if (!entry) return {owner, {}, holds(owner), {}};
    return {entry->owner, entry->quota, holds(owner), accounts.use(entry->account)};
}

std::vector<Control::QuotaView> Quotas::views() const {
    std::vector<Control::QuotaView> all;
    for (const auto& [key, entry] : by_owner_) all.push_back(view(entry.owner));
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
            QuotaOwner owner = owner_of_row(row.key);
            owner.shown = json.at("shown").as_string();
            Entry& entry = entry_of(owner);
            entry.quota = TURNOUT_TRY(changed({}, json));
            return {};
        }();
    });
}

void Quotas::write_rows(const Turn& turn, Batch& batch) const {
    for (const std::string& row : turn.quotas) {
        const Entry* const entry = find(owner_of_row(row));
        if (!entry || entry->quota.empty()) {
            batch.erase(Table::Meta, row);
            continue;
        }
        Json json = to_json(entry->quota);
        if (!entry->owner.shown.empty()) json.set("shown", entry->owner.shown);
        batch.put(Table::Meta, row, json.dump());
    }
}

}  // namespace turnout::control
