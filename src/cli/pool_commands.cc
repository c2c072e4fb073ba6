// Where nodes come from: the pools of the server.
#include "base/text.h"
#include "cli/commands.h"
#include "cli/context.h"
#include "model/pool.h"
#include "yaml/yaml.h"

namespace turnout::cli {

namespace {

// What was found on a host, in one line.
std::string host_line(const Json& host) {
    std::string line = host.at("host").as_string();
    if (!host.at("reachable").as_bool()) return line + ": " + host.at("message").as_string();
    const auto gb = [&](const char* name) {
        return to_size_words(static_cast<std::uint64_t>(host.at(name).as_int()));
    };
    line += " works: " + host.at("system").as_string();
    if (host.has("cores"))
        line += ", " + std::to_string(host.at("cores").as_int()) + " cores, " + gb("memoryBytes") +
                " memory";
    if (const std::int64_t gpus = host.at("gpus").as_int(); gpus > 0)
        line += ", " + std::to_string(gpus) + (gpus == 1 ? " GPU" : " GPUs");
    if (host.has("python") || host.has("hostKey")) {
        const std::string python = host.at("python").as_string();
        line += python.empty() ? ", no Python" : ", Python " + python;
    }
    if (host.has("containerEngine")) {
        const std::string engine = host.at("containerEngine").as_string();
        line += engine.empty() ? ", no container engine" : ", " + engine;
    }
    if (host.has("freeBytes")) line += ", " + gb("freeBytes") + " free";
    if (host.has("cgroup")) line += ", control groups " + host.at("cgroup").as_string();
    if (host.has("limits")) {
        std::vector<std::string> limits;
        for (const Json& one : host.at("limits").items()) limits.push_back(one.as_string());
        line += limits.empty() ? ", it can keep no limits"
                               : ", it keeps the limits of " + join(limits, ", ");
    }
    if (const Json& image = host.at("image"); image.is_object())
        line += ", image " + image.at("name").as_string() +
                (image.at("there").as_bool() ? " is there"
                 : image.has("message")      ? ": " + image.at("message").as_string()
                                             : " will be pulled");
    if (host.has("hostKey")) line += "; its key is " + host.at("hostKey").as_string();
    return line;
}

// What became of pools other than that one, a line each.
void tell_changes(Context& context, const Json& changes, const std::string& but = "") {
    for (const Json& one : changes.items())
        if (one.at("name").as_string() != but)
            context.note("pool '" + one.at("name").as_string() + "' is " +
                         one.at("change").as_string());
}

std::string pool_path(const std::string& name) {
    return "/turnout/pools/" + percent_encode(name);
}

}  // namespace

int pool_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> pools = (*opened)->get("/turnout/pools");
    if (!pools) return context.fail(pools.error());
    const std::string file = pools->at("file").as_string();
    if (pools->has("fault"))
        context.note("warning: " + file + " has faults, so it cannot be taken and the next start " +
                     "will refuse it: " + pools->at("fault").as_string());
    else if (!pools->at("changes").items().empty())
        context.note(file +
                     " was changed: `turnout pool check` tells how, `turnout pool reload` "
                     "takes it");
    return context.show(resources::in_snake_case(pools->at("value")), pools->at("value"),
                        {"name", "provider", "slots", "nodes", "waiting", "computes", "state"});
}

int pool_show(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> pool = (*opened)->get(pool_path(*name));
    if (!pool) return context.fail(pool.error());
    return context.show(resources::in_snake_case(*pool), *pool);
}

int pool_check(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const std::string name =
        context.args().has("--name") ? context.args().get("--name") : std::string();
    context.status("going to the machines");
    const Result<Json> checked = (*opened)->post(
        "/turnout/pools/check" + (name.empty() ? "" : "?pool=" + percent_encode(name)));
    if (!checked) return context.fail(checked.error());
    const std::string file = checked->at("file").as_string();
    context.note(checked->at("found").as_bool()
                     ? file + " is as it should be"
                     : "there is no " + file + ": the one pool is 'local', this machine");
    for (const Json& provider : checked->at("providers").items()) {
        const std::int64_t nodes = provider.at("nodes").as_int();
        context.note("provider '" + provider.at("name").as_string() + "' " +
                     (provider.has("fault")
                          ? "does not answer: " + provider.at("fault").as_string()
                          : "answers: " + std::to_string(nodes) +
                                (nodes == 1 ? " node is" : " nodes are") + " there"));
    }
    for (const Json& pool : checked->at("pools").items())
        for (const Json& host : pool.at("hosts").items())
            context.note("pool '" + pool.at("name").as_string() + "': " + host_line(host));
    return context.show(resources::in_snake_case(checked->at("pools")), *checked,
                        {"name", "provider", "slots", "image", "isolation", "in_the_file"});
}

int pool_add(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    YamlDocument document;
    document.file = "the command line";
    document.value = Json::object();
    for (const char* const option : {"--provider", "--slots"})
        if (context.args().has(option))
            document.value.set(option + 2, yaml_scalar(context.args().get(option)));
    for (const std::string& assignment : context.args().all("--set"))
        if (Result<void> set = apply_set(document, assignment); !set)
            return context.fail(set.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<client::Reply> added = (*opened)->send("PUT", pool_path(*name), &document.value);
    if (!added) return context.fail(added.error());
    Json pool = added->body;
    if (added->status == 200)
        context.note("pool '" + *name + "' was there already, as it is said here");
    tell_changes(context, pool.at("changes"), *name);
    pool.erase("changes");
    return context.show(resources::in_snake_case(pool), pool);
}

int pool_remove(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<client::Reply> removed = (*opened)->send("DELETE", pool_path(*name));
    if (!removed) return context.fail(removed.error());
    context.note("pool '" + *name + "' is gone, from " + removed->body.at("file").as_string() +
                 " too");
    tell_changes(context, removed->body.at("changes"), *name);
    return 0;
}

int pool_reload(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> taken = (*opened)->post("/turnout/pools/reload");
    if (!taken) return context.fail(taken.error());
    const Json& changes = taken->at("changes");
    if (changes.items().empty()) context.note("nothing is different");
    return context.show(resources::in_snake_case(changes), *taken, {"name", "change"});
}

int pool_update(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Json slots = yaml_scalar(context.args().get("--slots"));
    if (!slots.is_int() || slots.as_int() < 1 || slots.as_int() > kMostSlots)
        return context.fail(
            {Code::InvalidArgument, "Usage",
             "what to change? --slots takes a whole number from 1 to " + with_commas(kMostSlots),
             "--slots"});
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> set =
        api.put("/turnout/slots", Json::object({{"pool", *name}, {"slots", slots}}));
    if (!set) return context.fail(set.error());
    const Result<Json> pool = api.get(pool_path(*name));
    if (!pool) return context.fail(pool.error());
    if (const std::int64_t nodes = pool->at("nodes").as_int(); nodes > slots.as_int())
        context.note(std::to_string(nodes) +
                     " nodes are there: those that are too many go as their jobs end");
    return context.show(resources::in_snake_case(*pool), *pool);
}

}  // namespace turnout::cli
