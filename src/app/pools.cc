#include "app/pools.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/task.h"
#include "base/text.h"
#include "io/posix/files.h"

namespace turnout {

namespace {

Json prices_of(const Pool& pool) {
    Json prices;
    const auto say = [&](const char* tier, const std::optional<double>& price) {
        if (!price) return;
        if (prices.is_null()) prices = Json::object();
        prices.set(tier, *price);
    };
    say("dedicated", pool.price.dedicated);
    say("lowPriority", pool.price.low_priority);
    return prices;
}

}  // namespace

void ServerPools::add(std::string name, const resources::Description& settings, bool one_machine,
                      Provider& provider, Hosts hosts) {
    if (hosts.check) hosts_[name] = std::move(hosts);
    kinds_.push_back({name, settings, one_machine, provider.capabilities().images});
    providers_[std::move(name)] = &provider;
}

Provider* ServerPools::provider(const std::string& name) const {
    const auto found = providers_.find(name);
    return found == providers_.end() ? nullptr : found->second;
}

Result<std::string> ServerPools::text_of_file() const {
    if (::access(file_.c_str(), F_OK) != 0) return std::string();
    return read_file(file_);
}

Result<std::vector<Pool>> ServerPools::read() const {
    return read(TURNOUT_TRY(text_of_file()));
}

Result<std::vector<Pool>> ServerPools::read(const std::string& text) const {
    std::vector<Pool> pools = TURNOUT_TRY(read_pools(text, file_, kinds_));
    for (Pool& pool : pools) {
        const auto hosts = hosts_.find(pool.provider);
        if (hosts == hosts_.end() || !hosts->second.slots) continue;
        const int slots = hosts->second.slots(pool.settings);
        if (slots == 0)
            return invalid(
                file_ + ": pools." + pool.name + ": expected 'settings', which name its hosts",
                pool.name);
        if (!pool.slots) pool.slots = slots;
        if (const auto fits = check_slots(pool, *pool.slots); !fits)
            return invalid(file_ + ": pools." + fits.error().message, pool.name);
    }
    (void)TURNOUT_TRY(users_of(pools));
    return pools;
}

Result<void> ServerPools::check_slots(const Pool& pool, std::int64_t slots) const {
    const auto hosts = hosts_.find(pool.provider);
    if (hosts == hosts_.end() || !hosts->second.slots) return {};
    const int most = hosts->second.slots(pool.settings);
    if (slots <= most) return {};
    return invalid(pool.name + ".slots: expected at most " + std::to_string(most) +
                       ", which its hosts have in all, found " + std::to_string(slots) +
                       ": say more 'slots' of a host, or name another host",
                   "slots");
}

Result<AttachedMachine> ServerPools::machine_of(const MachineWanted& wanted,
                                                const Control& control) const {
    std::vector<Pool> pools;
    for (Control::PoolView& view : control.pools())
        if (!view.missing && !view.attached) pools.push_back(std::move(view.pool));
    for (const auto& [name, hosts] : hosts_)
        if (hosts.attach) return hosts.attach(wanted, pools);
    return internal("no provider reaches machines");
}

Task<Json> ServerPools::check_machine(AttachedMachine machine) const {
    const auto hosts = hosts_.find(machine.provider);
    if (hosts == hosts_.end()) co_return Json::object({{"reachable", false}});
    Json found = co_await hosts->second.check(machine.settings);
    co_return found.items().empty() ? Json::object({{"reachable", false}}) : found.items().front();
}

std::vector<api::ServerInfo::Machine> ServerPools::machines_of(const Pool& pool) const {
    std::vector<api::ServerInfo::Machine> machines;
    const auto hosts = hosts_.find(pool.provider);
    if (hosts == hosts_.end() || !hosts->second.describe) return machines;
    const Json described = hosts->second.describe(pool.settings);
    for (const Json& one : described.items())
        if (one.at("cores").is_int())
            machines.push_back({static_cast<int>(one.at("cores").as_int()),
                                static_cast<double>(one.at("memoryBytes").as_int()) / (1 << 30),
                                static_cast<int>(one.at("gpus").as_int())});
    return machines;
}

void ServerPools::clear_machine(const std::string& workspace, const std::string& compute,
                                const AttachedMachine& machine, Control& control) const {
    struct Clearing {
        static Task<void> run(std::function<Task<std::string>(const Json&, bool)> clear,
                              std::string workspace, std::string compute, AttachedMachine machine,
                              Control& control) {
            std::string left;
            if (clear) left = co_await clear(machine.settings, machine.found.is_object());
            control.machine_cleared(workspace, compute, left);
        }
    };
    const auto hosts = hosts_.find(machine.provider);
    start(Clearing::run(hosts == hosts_.end() ? nullptr : hosts->second.clear, workspace, compute,
                        machine, control),
          [] {});
}

Result<std::optional<UsersSettings>> ServerPools::users_of(const std::vector<Pool>& pools) const {
    std::optional<UsersSettings> users;
    for (const Pool& pool : pools) {
        if (pool.isolation != Isolation::WorkspaceUid) continue;
        const std::string place = file_ + ": pools." + pool.name + ".";
        if (pool.provider != "local")
            return invalid(place +
                               "isolation: workspace_uid is for pools of this machine "
                               "(`provider: local`): on others the nodes run as the user who "
                               "logs in there",
                           pool.name);
        const UsersSettings own = users_settings(pool.settings);
        if (users && *users != own)
            return invalid(place +
                               "settings: `uid_range` and `folder` have to be the same in all "
                               "pools with `isolation: workspace_uid`",
                           pool.name);
        users = own;
        if (Result<void> possible = NodeUsers::possible(own); !possible) {
            Error why = possible.error();
            why.message = place + why.message;
            return Failure(std::move(why));
        }
    }
    return users;
}

std::string ServerPools::missing(const Control& control) {
    std::vector<std::string> lost;
    for (const Control::PoolView& view : control.pools())
        if (view.missing)
            lost.push_back("pool '" + view.pool.name + "' is not in pools.yaml any more: its " +
                           std::to_string(view.computes) +
                           (view.computes == 1 ? " compute gets" : " computes get") +
                           " no nodes until it is back or they are deleted" +
                           (view.nodes > 0 ? "; what runs on its " + std::to_string(view.nodes) +
                                                 (view.nodes == 1 ? " node" : " nodes") + " goes on"
                                           : ""));
    return join(lost, "; ");
}

std::string ServerPools::who_runs(const Control& control) {
    std::vector<std::string> apart, together;
    for (const Control::PoolView& view : control.pools())
        if (view.pool.provider == "local" && !view.missing)
            (view.pool.isolation == Isolation::WorkspaceUid ? apart : together)
                .push_back(view.pool.name);
    const std::string own = "each workspace's run as a user of its own (docs/security.md)";
    const std::string shared = std::string("run on this machine as this user") +
                               (::geteuid() == 0 ? " (root)" : "") +
                               ": one trust domain, they can read what it can";
    if (apart.empty()) return shared;
    if (together.empty()) return own;
    return own + " in pool " + join(apart, ", ") + "; those of pool " + join(together, ", ") + " " +
           shared;
}

Json ServerPools::describe(const Control::PoolView& view) const {
    Json json = Json::object({{"name", view.pool.name},
                              {"provider", view.pool.provider},
                              {"slots", view.missing ? Json() : Json(view.slots)},
                              {"nodes", view.nodes},
                              {"waiting", static_cast<std::int64_t>(view.waiting)},
                              {"computes", view.computes},
                              {"state", view.missing            ? "missing"
                                        : !view.trouble.empty() ? "exhausted"
                                                                : "ready"}});
    if (view.missing)
        json.set("message", "it is not in " + file_ + " any more: its computes get no nodes");
    else if (!view.trouble.empty())
        json.set("message", view.trouble);
    if (view.attached) json.set("attached", true);
    if (view.pool.lost_node_after)
        json.set("lostNodeTime", view.pool.lost_node_after->count() / 1'000'000);
    json.set("image", name_of(view.pool.image));
    json.set("isolation", name_of(view.pool.isolation));
    if (const Json prices = prices_of(view.pool); !prices.is_null())
        json.set("pricePerHour", prices);
    if (Json settings = view.pool.settings; !settings.members().empty()) {
        // Passwords of proxies and indexes: for nodes, not for everybody who may see pools.
        if (Json* const variables = settings.find("variables"); variables && variables->is_object())
            for (auto& [name, value] : variables->members()) value = Json("***");
        json.set("settings", std::move(settings));
    }
    if (const auto hosts = hosts_.find(view.pool.provider);
        hosts != hosts_.end() && hosts->second.describe)
        json.set("hosts", hosts->second.describe(view.pool.settings));
    return json;
}

Task<Result<http::Response>> ServerPools::check(Control& control, std::string only) const {
    TURNOUT_CO_TRY(const std::vector<Pool> pools, read());
    Json body = Json::object({{"file", file_}, {"found", ::access(file_.c_str(), F_OK) == 0}});
    std::map<std::string, std::string> change;
    const Json all = changes(control, pools);
    for (const Json& one : all.items())
        change[one.at("name").as_string()] = one.at("change").as_string();
    Json list = Json::array();
    std::set<std::string> used;
    for (const Pool& pool : pools) {
        if (!only.empty() && pool.name != only) continue;
        used.insert(pool.provider);
        const auto now = control.pool(pool.name);
        const bool there = now && !now->missing;
        Json one = Json::object(
            {{"name", pool.name},
             {"provider", pool.provider},
             {"slots", there && now->pool.slots == pool.slots
                           ? now->slots
                           : pool.slots.value_or(provider(pool.provider)->capabilities().slots)},
             {"image", name_of(pool.image)},
             {"isolation", name_of(pool.isolation)},
             {"pricePerHour", prices_of(pool)},
             {"inTheFile", change.contains(pool.name) ? change[pool.name] : "as it is"}});
        if (const auto hosts = hosts_.find(pool.provider);
            hosts != hosts_.end() && hosts->second.check) {
            Json found = co_await hosts->second.check(pool.settings);
            one.set("hosts", std::move(found));
        }
        list.push(std::move(one));
    }
    for (const Control::PoolView& view : control.pools())
        if (!view.attached && (only.empty() || view.pool.name == only) &&
            std::ranges::find(pools, view.pool.name, &Pool::name) == pools.end())
            list.push(Json::object(
                {{"name", view.pool.name},
                 {"provider", view.pool.provider},
                 {"inTheFile", view.computes == 0
                                   ? std::string("gone")
                                   : "missing: " + std::to_string(view.computes) +
                                         (view.computes == 1 ? " compute is" : " computes are") +
                                         " in it"}}));
    if (!only.empty() && list.items().empty()) {
        std::vector<std::string> known;
        for (const Pool& pool : pools) known.push_back(pool.name);
        co_return not_found("there is no pool '" + only.substr(0, 64) + "'" +
                                did_you_mean(only, known, ": there is " + join(known, ", ")),
                            "pool");
    }
    body.set("pools", std::move(list));
    Json answers = Json::array();
    for (const std::string& name : used) {
        Provider* const one = provider(name);
        const Capabilities can = one->capabilities();
        Json answer = Json::object({{"name", name},
                                    {"images", can.images},
                                    {"cores", can.cores},
                                    {"memoryGb", can.memory_gb},
                                    {"gpus", can.gpus}});
        Later<Result<std::vector<FoundNode>>> listed;
        one->list([settle = listed.settle()](Result<std::vector<FoundNode>> found) {
            settle(std::move(found));
        });
        const Result<std::vector<FoundNode>> found = co_await listed;
        if (found)
            answer.set("nodes", static_cast<std::int64_t>(found->size()));
        else
            answer.set("fault", found.error().message);
        answers.push(std::move(answer));
    }
    body.set("providers", std::move(answers));
    co_return api::json_response(200, body);
}

void ServerPools::add_routes(api::Router& router, api::Services& services,
                             std::function<Result<void>()> announce) {
    Control& control = services.control;
    announce_ = std::move(announce);
    for (const Control::PoolView& view : control.pools())
        isolation_[view.pool.name] = view.pool.isolation;
    if (auto users = users_of(in_use(control))) users_ = std::move(*users);
    add_change_routes(router, services);
    router.add("GET", "/turnout/pools", api::Access::User,
               [this, &control](api::Call&) -> Task<Result<http::Response>> {
                   Json all = Json::array();
                   for (const Control::PoolView& view : control.pools()) all.push(describe(view));
                   Json body = Json::object({{"value", std::move(all)}, {"file", file_}});
                   if (const auto pools = read())
                       body.set("changes", changes(control, *pools));
                   else
                       body.set("fault", pools.error().message);
                   co_return api::json_response(200, body);
               });
    router.add("GET", "/turnout/pools/{name}", api::Access::User,
               [this, &control](api::Call& call) -> Task<Result<http::Response>> {
                   const std::string& name = call.param("name");
                   std::vector<std::string> known;
                   for (const Control::PoolView& view : control.pools()) {
                       if (view.pool.name == name)
                           co_return api::json_response(200, describe(view));
                       known.push_back(view.pool.name);
                   }
                   co_return not_found(
                       "there is no pool '" + name.substr(0, 64) + "'" +
                           did_you_mean(name, known, ": there is " + join(known, ", ")),
                       "pool");
               });
    // What harm can be done there on purpose: by the server itself, and by the pool's provider.
    router.add(
        "GET", "/turnout/pools/{name}/drills", api::Access::User,
        [this, &control](api::Call& call) -> Task<Result<http::Response>> {
            const std::string& name = call.param("name");
            const auto pool = control.pool(name);
            if (!pool) co_return not_found("there is no pool '" + name.substr(0, 64) + "'", "pool");
            Json all = Json::array();
            const auto say = [&](const DrillKind& kind, const std::string& by) {
                all.push(Json::object({{"name", kind.name}, {"does", kind.does}, {"by", by}}));
            };
            for (const DrillKind& kind : api::server_drills()) say(kind, "server");
            Provider* const of = provider(pool->pool.provider);
            if (Drills* const drills = of ? of->drills() : nullptr)
                for (const DrillKind& kind : drills->kinds())
                    say(kind, "provider " + pool->pool.provider);
            co_return api::json_response(200, Json::object({{"value", std::move(all)}}));
        });
    router.add("POST", "/turnout/pools/check", api::Access::User,
               [this, &control](api::Call& call) {
                   return check(control, std::string(call.query_value("pool")));
               });
}

}  // namespace turnout
