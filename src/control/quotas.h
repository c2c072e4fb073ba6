// The quotas: what users and workspaces may have. How much of it is in use is known to the accounts
// that all schedulers share; here is what is allowed, by name, and stored.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/owner.h"
#include "model/quota.h"
#include "schedule/accounts.h"

namespace turnout::control {

class Quotas : Owner {
public:
    explicit Quotas(Owners& all) : Owner(all) {}

    schedule::Accounts accounts;  // outlives the schedulers

    // 0: nobody, who has no account.
    Handle of_user(std::string_view name);
    Handle of_workspace(const std::string& workspace);

    void change(QuotaOwner owner, const Control::QuotaChange& change, Control::Reply<void> reply);
    // Whether one more job may wait.
    Result<void> check_queue(const std::string& user, const std::string& workspace) const;
    // What an account's owner is called; nothing of an account that is nobody's.
    std::optional<QuotaOwner> owner_of(Handle account) const;
    Quota holds(const QuotaOwner& owner) const;
    Control::QuotaView view(const QuotaOwner& owner) const;
    std::vector<Control::QuotaView> views() const;
    void forget_workspace(const std::string& workspace);

    void forget();
    Result<void> recover();
    void write_rows(const Turn& turn, Batch& batch) const;

private:
    using Key = std::pair<QuotaOwner::Is, std::string>;
    struct Entry {
        QuotaOwner owner;
        Quota quota;
        Handle account = 0;  // none of every user, nor of who has submitted nothing
    };
    const Entry* find(const QuotaOwner& owner) const;
    Quota said_of(const QuotaOwner& owner) const;  // nothing: an empty one
    Entry& entry_of(const QuotaOwner& owner);
    Handle account_of(const QuotaOwner& owner);
    void allow(const Entry& entry);

    std::map<Key, Entry> by_owner_;  // those with a quota or an account
};

}  // namespace turnout::control
