// The pools of a server: read from its pools.yaml, shown, checked, and changed while it runs.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "api/api.h"
#include "control/control.h"
#include "model/pool.h"
#include "provider/local/users.h"
#include "provider/provider.h"
#include "store/turns.h"

namespace turnout {

class ServerPools {
public:
    // `file`: pools.yaml. Providers are added before it is read.
    explicit ServerPools(std::string file) : file_(std::move(file)) {}
    // `one_machine`: all its pools are on it.
    // `hosts`: where its pools name their machines.
    struct Hosts {
        // For all of them; null: its pools say 'slots' themselves.
        std::function<int(const Json& settings)> slots;
        std::function<Json(const Json& settings)> describe;     // as they are known
        std::function<Task<Json>(const Json& settings)> check;  // goes there
        // One of them alone: as it will be reached, and what is left there once it is let go.
        std::function<Result<AttachedMachine>(const MachineWanted&, const std::vector<Pool>&)>
            attach;
        std::function<Task<std::string>(const Json& settings, bool used)> clear;
        // Its pools are these from now on; at the start it is told apart.
        std::function<void(std::span<const Pool> pools)> use;
    };
    void add(std::string name, const resources::Description& settings, bool one_machine,
             Provider& provider, Hosts hosts = {});
    Provider* provider(const std::string& name) const;  // null: there is none of that name

    // As the file is now; without one the default pool alone.
    Result<std::vector<Pool>> read() const;
    // Each provider is told its own: from now on it has these.
    void use(const std::vector<Pool>& pools) const;
    // InvalidArgument: its hosts carry fewer nodes than that.
    Result<void> check_slots(const Pool& pool, std::int64_t slots) const;
    // For a machine that is to be attached; `control` has the pools that may describe it.
    Result<AttachedMachine> machine_of(const MachineWanted& wanted, const Control& control) const;
    Task<Json> check_machine(AttachedMachine machine) const;
    // Those of its machines that somebody has looked at.
    std::vector<api::ServerInfo::Machine> machines_of(const Pool& pool) const;
    void clear_machine(const std::string& workspace, const std::string& compute,
                       const AttachedMachine& machine, Control& control) const;
    // What the pools that keep workspaces apart say of their users, which are the same for all;
    // nothing if there is no such pool. FailedPrecondition, with the reason, where it cannot
    // be had.
    Result<std::optional<UsersSettings>> users_of(const std::vector<Pool>& pools) const;
    // What computes are in and the file lost, in a sentence; "" if there is nothing.
    static std::string missing(const Control& control);
    // As whom jobs run on this machine, for people.
    static std::string who_runs(const Control& control);
    // `announce`: says anew how many slots there are. All that it is given outlives every call.
    void add_routes(api::Router& router, api::Services& services,
                    std::function<Result<void>()> announce);

private:
    Result<std::vector<Pool>> read(const std::string& text) const;
    Result<std::string> text_of_file() const;  // "" where there is none
    Json describe(const Control::PoolView& view) const;
    // Of that pool alone, unless `name` is "".
    Task<Result<http::Response>> check(Control& control, std::string name) const;

    // ---- while the server runs (pool_changes.cc): one change at a time ----
    void add_change_routes(api::Router& router, api::Services& services);
    Task<Result<http::Response>> add_pool(api::Services& services, api::Call& call);
    Task<Result<http::Response>> remove_pool(api::Services& services, api::Call& call);
    Task<Result<http::Response>> reload(api::Services& services);
    // Conflict or FailedPrecondition, and why: not while the server runs.
    Result<void> may_take(api::Services& services, const std::vector<Pool>& pools) const;
    Task<Result<void>> take(Control& control, std::vector<Pool> pools);
    Task<Result<void>> write(Loop& loop, std::string before, std::string after) const;
    static std::vector<Pool> in_use(const Control& control);
    // Of the pools that would become others: {name, change}.
    static Json changes(const Control& control, const std::vector<Pool>& to);

    std::string file_;
    std::function<Result<void>()> announce_;
    std::map<std::string, Isolation> apart_;  // pools that keep workspaces apart, at the start
    std::optional<UsersSettings> users_;
    Turns turns_;
    std::vector<PoolProvider> kinds_;
    std::map<std::string, Provider*> providers_;
    std::map<std::string, Hosts> hosts_;
};

}  // namespace turnout
