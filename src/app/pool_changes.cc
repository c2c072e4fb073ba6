// Pools that change while the server runs: by a command, which changes pools.yaml, or as somebody
// changed it. The file is the truth that a start reads; control follows it.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "app/pools.h"
#include "base/task.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "model/pool_file.h"

namespace turnout {

namespace {

constexpr std::size_t kLargestPool = 256 << 10;

// A link stays one; mode and owner are what they were.
Result<void> replace_file(const std::string& file, const std::string& before,
                          const std::string& after) {
    char real[PATH_MAX];
    const std::string path = ::realpath(file.c_str(), real) ? real : file;
    struct stat is{};
    const bool there = ::stat(path.c_str(), &is) == 0;
    const std::string now = there ? TURNOUT_TRY(read_file(path)) : std::string();
    if (now != before)
        return fail(Code::Conflict, "FileChanged",
                    file + " was changed meanwhile by somebody else: try again", "pools.yaml");
    TURNOUT_TRY(write_file_atomically(path, after, there ? is.st_mode & 07777 : 0600));
    if (there && ::geteuid() == 0) (void)!::chown(path.c_str(), is.st_uid, is.st_gid);
    return {};
}

// "pool 'a' is new, pool 'b' is changed"
std::string words_of(const Json& changes) {
    std::vector<std::string> words;
    for (const Json& one : changes.items())
        words.push_back("pool '" + one.at("name").as_string() + "' is " +
                        one.at("change").as_string());
    return words.empty() ? "nothing is different" : join(words, ", ");
}

}  // namespace

std::vector<Pool> ServerPools::in_use(const Control& control) {
    std::vector<Pool> pools;
    for (Control::PoolView& view : control.pools())
        if (!view.missing && !view.attached) pools.push_back(std::move(view.pool));
    return pools;
}

Json ServerPools::changes(const Control& control, const std::vector<Pool>& to) {
    Json all = Json::array();
    const auto say = [&](const std::string& name, const char* change) {
        all.push(Json::object({{"name", name}, {"change", change}}));
    };
    const std::vector<Pool> now = in_use(control);
    for (const Pool& pool : to) {
        const auto known = std::ranges::find(now, pool.name, &Pool::name);
        if (known == now.end())
            say(pool.name, "new");
        else if (!(*known == pool))
            say(pool.name, "changed");
    }
    for (const Pool& pool : now)
        if (std::ranges::find(to, pool.name, &Pool::name) == to.end()) say(pool.name, "gone");
    return all;
}

Result<void> ServerPools::may_take(api::Services& services, const std::vector<Pool>& pools) const {
    for (const Pool& pool : in_use(services.control)) {
        if (std::ranges::find(pools, pool.name, &Pool::name) != pools.end()) continue;
        std::vector<std::string> computes;
        for (const auto& [wsid, name] : services.control.computes_of(pool.name)) {
            const auto workspace = TURNOUT_TRY(services.assets.workspace_by_id(wsid));
            computes.push_back(
                "'" + name + "'" +
                (workspace ? " of workspace '" + workspace->name + "'" : std::string()));
            if (computes.size() == 20) break;
        }
        if (!computes.empty())
            return fail(Code::Conflict, "PoolInUse",
                        "pool '" + pool.name +
                            "' cannot go while computes have their nodes there: " +
                            join(computes, ", ") + "; delete them first (`turnout compute delete`)",
                        pool.name);
    }
    // Users of their own, and the ways by which nodes that run as them come, are made at a start.
    const std::optional<UsersSettings> users = TURNOUT_TRY(users_of(pools));
    for (const Pool& pool : pools) {
        const auto before = apart_.find(pool.name);
        if (pool.isolation != (before == apart_.end() ? Isolation::SharedUid : before->second))
            return fail(Code::FailedPrecondition, "NeedsRestart",
                        file_ + ": pools." + pool.name +
                            ".isolation: " + std::string(name_of(pool.isolation)) +
                            " takes a start of the server: with that in the file `turnout down`, "
                            "then `turnout up "
                            "--detach`; running jobs go on",
                        pool.name);
    }
    if (users && users_ && *users != *users_)
        return fail(Code::FailedPrecondition, "NeedsRestart",
                    file_ +
                        ": other users for pools that keep workspaces apart take a start of the "
                        "server: `turnout down`, then `turnout up --detach`",
                    "pools.yaml");
    return {};
}

void ServerPools::use(const std::vector<Pool>& pools) const {
    for (const auto& [name, hosts] : hosts_) {
        if (!hosts.use) continue;
        std::vector<Pool> own = pools;
        std::erase_if(own, [&](const Pool& pool) { return pool.provider != name; });
        hosts.use(own);
    }
}

Task<Result<void>> ServerPools::take(Control& control, std::vector<Pool> pools) {
    const Json different = changes(control, pools);
    Later<Result<void>> taken;
    control.set_pools(
        pools, [settle = taken.settle()](Result<void> result) { settle(std::move(result)); });
    const Result<void> result = co_await taken;
    if (!result) co_return Failure(result.error());
    use(pools);
    std::fprintf(stderr, "%s was taken: %s\n", file_.c_str(), words_of(different).c_str());
    if (announce_)
        if (const Result<void> said = announce_(); !said)
            std::fprintf(stderr, "error: %s\n", said.error().message.c_str());
    co_return Result<void>();
}

Task<Result<void>> ServerPools::write(Loop& loop, std::string before, std::string after) const {
    std::function<Result<void>()> work = [file = file_, before = std::move(before),
                                          after = std::move(after)] {
        return replace_file(file, before, after);
    };
    Result<void> written = co_await apart<Result<void>>(loop, std::move(work));
    co_return written;
}

// The file first: a pool that somebody has used is found by the next start.
Task<Result<http::Response>> ServerPools::add_pool(api::Services& services, api::Call& call) {
    const std::string name = call.param("name");
    TURNOUT_CO_TRY(const Json body, co_await call.json(kLargestPool));
    if (!body.is_object())
        co_return invalid("expected what pools.yaml says of a pool: provider, slots, settings …",
                          name);
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const std::string before, text_of_file());
    TURNOUT_CO_TRY(const std::string after, with_pool(before, file_, name, body));
    const Result<std::vector<Pool>> pools = read(after);
    if (!pools) {
        Error why = pools.error();
        why.message = "nothing was written, for " + file_ + " would be wrong then:\n" + why.message;
        co_return Failure(std::move(why));
    }
    TURNOUT_CO_TRY_VOID(may_take(services, *pools));
    const Json different = changes(services.control, *pools);
    if (after != before) {
        TURNOUT_CO_TRY_VOID(co_await write(services.loop, before, after));
    }
    std::vector<Pool> taken = *pools;
    const Result<void> done = co_await take(services.control, std::move(taken));
    if (!done && after != before) {
        const Result<void> back = co_await write(services.loop, after, before);
        if (!back)
            std::fprintf(stderr, "error: pool '%s' stays in the file: %s\n", name.c_str(),
                         back.error().message.c_str());
    }
    if (!done) co_return Failure(done.error());
    const auto view = services.control.pool(name);
    if (!view) co_return internal("pool '" + name + "' is not there");
    Json answer = describe(*view);
    answer.set("changes", different);
    co_return api::json_response(after != before ? 201 : 200, answer);
}

// Control first: then nobody makes a compute there while the file is written.
Task<Result<http::Response>> ServerPools::remove_pool(api::Services& services, api::Call& call) {
    const std::string name = call.param("name");
    if (name == kDefaultPool)
        co_return invalid(
            "pool 'local' is this machine and always there: `turnout pool update "
            "local --slots 1` leaves it one node",
            name);
    Turns::Turn turn(turns_, "");
    co_await turn;
    TURNOUT_CO_TRY(const std::string before, text_of_file());
    const Result<std::string> after = without_pool(before, file_, name);
    if (!after && after.error().code == Code::NotFound) {
        std::vector<std::string> known;
        for (const Pool& pool : in_use(services.control)) known.push_back(pool.name);
        co_return not_found(
            after.error().message + did_you_mean(name, known, ": there is " + join(known, ", ")),
            name);
    }
    if (!after) co_return Failure(after.error());
    TURNOUT_CO_TRY(std::vector<Pool> pools, read(*after));
    TURNOUT_CO_TRY_VOID(may_take(services, pools));
    const Json different = changes(services.control, pools);
    std::vector<Pool> earlier = in_use(services.control);
    TURNOUT_CO_TRY_VOID(co_await take(services.control, std::move(pools)));
    const Result<void> written = co_await write(services.loop, before, *after);
    if (!written) {
        const Result<void> back = co_await take(services.control, std::move(earlier));
        if (!back)
            std::fprintf(stderr, "error: pool '%s' is back after a restart only: %s\n",
                         name.c_str(), back.error().message.c_str());
        co_return Failure(written.error());
    }
    co_return api::json_response(
        200, Json::object({{"name", name}, {"file", file_}, {"changes", different}}));
}

Task<Result<http::Response>> ServerPools::reload(api::Services& services) {
    Turns::Turn turn(turns_, "");
    co_await turn;
    Result<std::vector<Pool>> pools = read();
    Result<void> may = pools ? may_take(services, *pools) : Failure(pools.error());
    if (!may) {
        std::fprintf(stderr, "error: %s was not taken, nothing changes: %s\n", file_.c_str(),
                     may.error().message.c_str());
        co_return Failure(may.error());
    }
    const Json different = changes(services.control, *pools);
    if (!different.items().empty()) {
        TURNOUT_CO_TRY_VOID(co_await take(services.control, std::move(*pools)));
    }
    co_return api::json_response(200, Json::object({{"file", file_}, {"changes", different}}));
}

void ServerPools::add_change_routes(api::Router& router, api::Services& services) {
    router.add("PUT", "/turnout/pools/{name}", api::Access::User,
               [this, &services](api::Call& call) { return add_pool(services, call); });
    router.add("DELETE", "/turnout/pools/{name}", api::Access::User,
               [this, &services](api::Call& call) { return remove_pool(services, call); });
    router.add("POST", "/turnout/pools/reload", api::Access::User,
               [this, &services](api::Call&) { return reload(services); });
}

}  // namespace turnout
