#include "api/inference/inference.h"

#include <algorithm>
#include <climits>

#include "api/arm/resource.h"
#include "base/hash.h"
#include "base/text.h"
#include "model/compute.h"
#include "tracking/tracking.h"
#include "vault/vault.h"

namespace turnout::api {
namespace {

constexpr Span kLook = 100ms;
constexpr int kMostFailures = 3;       // in a row, of a new task
constexpr Span kLongestStill = 30min;  // without progress, until it counts as failed
constexpr std::size_t kLinesOfFailure = 20;
constexpr std::uint64_t kLogTail = 1 << 20;
constexpr int kReplicasPerNode = 8;
constexpr Span kIdleNode = 120s;
constexpr int kMostAgain = 20;
constexpr int kSurge = 1;
constexpr std::string_view kTokenPrefix = "tke.";
constexpr std::string_view kExperiment = "online-endpoints";

std::string key_of(std::string_view wsid, std::string_view endpoint) {
    return std::string(wsid) + "/" + std::string(endpoint);
}
std::string key_of(std::string_view wsid, std::string_view endpoint, std::string_view name) {
    return key_of(wsid, endpoint) + "/" + std::string(name);
}
std::string key_of(const OnlineDeployment& deployment) {
    return key_of(deployment.workspace, deployment.endpoint, deployment.name);
}

template <class T>
Result<std::vector<T>> all_rows(Store& store, Table table, const std::string& prefix,
                                Result<T> (*read)(const Json&)) {
    std::vector<T> all;
    const Result<void> done =
        each_row(store, table, with_prefix(prefix), [&](const Record& row) -> Result<void> {
            const Json json = TURNOUT_TRY(parse_json(row.value));
            all.push_back(TURNOUT_TRY(read(json)));
            return {};
        });
    if (!done) return Failure(done.error());
    return all;
}

Result<std::vector<OnlineDeployment>> all_deployments(Store& store, const std::string& prefix) {
    return all_rows(store, Table::OnlineDeployment, prefix, deployment_of_json);
}

// The last lines of a text whose beginning may be missing.
std::string last_lines(std::string_view text, std::size_t lines) {
    while (text.ends_with('\n')) text.remove_suffix(1);
    std::size_t at = text.size();
    for (std::size_t i = 0; i < lines && at != std::string_view::npos; ++i)
        at = at == 0 ? std::string_view::npos : text.rfind('\n', at - 1);
    return std::string(at == std::string_view::npos ? text : text.substr(at + 1));
}

std::string signed_part(const OnlineEndpoint& endpoint, std::string_view expires) {
    return "endpoint token\n" + key_of(endpoint.workspace, endpoint.name) + "\n" +
           std::string(expires);
}

}  // namespace

Inference::Inference(Services& services, Vault& vault) : services_(services), vault_(vault) {}

// ---- rows

Result<std::optional<OnlineEndpoint>> Inference::endpoint(std::string_view wsid,
                                                          std::string_view name) {
    const auto row = TURNOUT_TRY(services_.store.get(Table::OnlineEndpoint, key_of(wsid, name)));
    if (!row) return std::nullopt;
    const Json json = TURNOUT_TRY(parse_json(row->value));
    return TURNOUT_TRY(endpoint_of_json(json));
}

Result<std::vector<OnlineEndpoint>> Inference::endpoints(std::string_view wsid) {
    return all_rows(services_.store, Table::OnlineEndpoint, std::string(wsid) + "/",
                    endpoint_of_json);
}

Result<std::optional<OnlineDeployment>> Inference::deployment(std::string_view wsid,
                                                              std::string_view endpoint,
                                                              std::string_view name) {
    const auto row =
        TURNOUT_TRY(services_.store.get(Table::OnlineDeployment, key_of(wsid, endpoint, name)));
    if (!row) return std::nullopt;
    const Json json = TURNOUT_TRY(parse_json(row->value));
    return TURNOUT_TRY(deployment_of_json(json));
}

Result<std::vector<OnlineDeployment>> Inference::deployments(std::string_view wsid,
                                                             std::string_view endpoint) {
    return all_deployments(services_.store, key_of(wsid, endpoint) + "/");
}

namespace {
template <class T>
Result<std::shared_ptr<const T>> known_row(
    Store& store, Table table, const std::string& key,
    Lru<std::pair<std::uint64_t, std::shared_ptr<const T>>>& known,
    Result<T> (*read)(const Json&)) {
    const auto row = TURNOUT_TRY(store.get(table, key));
    if (!row) return std::shared_ptr<const T>();
    if (const auto* there = known.find(key); there && there->first == row->revision)
        return there->second;
    const Json json = TURNOUT_TRY(parse_json(row->value));
    std::shared_ptr<const T> fresh = std::make_shared<T>(TURNOUT_TRY(read(json)));
    known.put(key, {row->revision, fresh});
    return fresh;
}
}  // namespace

Result<Inference::Known<OnlineEndpoint>> Inference::known_endpoint(std::string_view wsid,
                                                                   std::string_view name) {
    return known_row(services_.store, Table::OnlineEndpoint, key_of(wsid, name), known_endpoints_,
                     endpoint_of_json);
}

Result<Inference::Known<OnlineDeployment>> Inference::known_deployment(std::string_view wsid,
                                                                       std::string_view endpoint,
                                                                       std::string_view name) {
    return known_row(services_.store, Table::OnlineDeployment, key_of(wsid, endpoint, name),
                     known_deployments_, deployment_of_json);
}

Task<Result<bool>> Inference::change_endpoint(std::string wsid, std::string name, Author by,
                                              EndpointChange change) {
    const std::string key = key_of(wsid, name);
    Turns::Turn turn(turns_, key);
    co_await turn;
    for (int again = 0;; ++again) {
        TURNOUT_CO_TRY(const auto row, services_.store.get(Table::OnlineEndpoint, key));
        OnlineEndpoint endpoint;
        if (row) {
            TURNOUT_CO_TRY(const Json json, parse_json(row->value));
            TURNOUT_CO_TRY(endpoint, endpoint_of_json(json));
            if (endpoint.deleting)
                co_return fail(Code::Conflict, "EndpointBeingDeleted",
                               "endpoint '" + name + "' is being deleted: wait until it is gone",
                               "endpoint");
        }
        TURNOUT_CO_TRY(const auto of_it, deployments(wsid, name));
        endpoint.workspace = wsid;
        endpoint.name = name;
        TURNOUT_CO_TRY_VOID(change(endpoint, !row, of_it));
        endpoint.modified = services_.clock.now();
        endpoint.made.modified = by;
        if (!row) {
            endpoint.created = endpoint.modified;
            endpoint.made.created = by;
            const EndpointKeys fresh{new_key(), new_key()};
            TURNOUT_CO_TRY_VOID(seal(endpoint, fresh));
        }
        Batch batch;
        batch.put(Table::OnlineEndpoint, key, to_json(endpoint).dump(),
                  row ? row->revision : kAbsent);
        const auto written = co_await services_.store.commit(std::move(batch));
        if (written) co_return !row;
        // The vault seals these rows anew when its key changes.
        if (written.error().code != Code::Conflict || again == kMostAgain)
            co_return Failure(written.error());
    }
}

Task<Result<bool>> Inference::change_deployment(std::string wsid, std::string endpoint,
                                                std::string name, Author by,
                                                DeploymentChange change) {
    Turns::Turn turn(turns_, key_of(wsid, endpoint));
    co_await turn;
    const std::string key = key_of(wsid, endpoint, name);
    TURNOUT_CO_TRY(const auto over, this->endpoint(wsid, endpoint));
    if (!over || over->deleting)
        co_return not_found(
            "endpoint '" + endpoint + "' " + (over ? "is being deleted" : "does not exist"),
            "endpoint");
    TURNOUT_CO_TRY(const auto before, deployment(wsid, endpoint, name));
    OnlineDeployment now = before ? *before : OnlineDeployment{};
    if (before && before->state == OnlineDeployment::State::Deleting)
        co_return fail(Code::Conflict, "DeploymentBeingDeleted",
                       "deployment '" + name + "' is being deleted: wait until it is gone",
                       "deployment");
    now.workspace = wsid;
    now.endpoint = endpoint;
    now.name = name;
    TURNOUT_CO_TRY_VOID(change(now, !before));
    now.modified = services_.clock.now();
    now.made.modified = by;
    if (!before) {
        now.created = now.modified;
        now.made.created = by;
    }
    using State = OnlineDeployment::State;
    const bool same = before && before->task == now.task && before->instances == now.instances &&
                      before->state != State::Failed;
    if (!same) {
        now.state = now.good.is_null() ? State::Creating : State::Updating;
        now.why.clear();
        now.log_of.clear();
        now.change = before ? before->change + 1 : 1;
    }
    Batch batch;
    batch.put(Table::OnlineDeployment, key, to_json(now).dump());
    TURNOUT_CO_TRY_VOID(co_await services_.store.commit(std::move(batch)));
    watch(key);
    co_return !before;
}

Task<Result<void>> Inference::delete_deployment(std::string wsid, std::string endpoint,
                                                std::string name) {
    Turns::Turn turn(turns_, key_of(wsid, endpoint));
    co_await turn;
    TURNOUT_CO_TRY(const auto over, this->endpoint(wsid, endpoint));
    TURNOUT_CO_TRY(auto now, deployment(wsid, endpoint, name));
    if (!now) co_return not_found("deployment '" + name + "' does not exist", "deployment");
    const auto has = [&](const Traffic& traffic) {
        return std::ranges::any_of(traffic, [&](const auto& one) { return one.first == name; });
    };
    if (over && !over->deleting && (has(over->traffic) || has(over->mirror)))
        co_return fail(Code::FailedPrecondition, "DeploymentHasTraffic",
                       "deployment '" + name + "' has traffic of endpoint '" + endpoint +
                           "': give it to another one, or to none, first",
                       "deployment");
    now->state = OnlineDeployment::State::Deleting;
    Batch batch;
    const std::string key = key_of(*now);
    batch.put(Table::OnlineDeployment, key, to_json(*now).dump());
    TURNOUT_CO_TRY_VOID(co_await services_.store.commit(std::move(batch)));
    watch(key);
    co_return Result<void>();
}

Task<Result<void>> Inference::delete_endpoint(std::string wsid, std::string name) {
    const std::string key = key_of(wsid, name);
    Turns::Turn turn(turns_, key);
    co_await turn;
    TURNOUT_CO_TRY(auto now, endpoint(wsid, name));
    if (!now) co_return not_found("endpoint '" + name + "' does not exist", "endpoint");
    TURNOUT_CO_TRY(auto all, deployments(wsid, name));
    Batch batch;
    if (all.empty()) {
        batch.erase(Table::OnlineEndpoint, key);
    } else {
        now->deleting = true;
        batch.put(Table::OnlineEndpoint, key, to_json(*now).dump());
    }
    for (OnlineDeployment& one : all) {
        one.state = OnlineDeployment::State::Deleting;
        batch.put(Table::OnlineDeployment, key_of(one), to_json(one).dump());
    }
    TURNOUT_CO_TRY_VOID(co_await services_.store.commit(std::move(batch)));
    for (const OnlineDeployment& one : all) watch(key_of(one));
    co_return Result<void>();
}

// ---- keys

Secret Inference::new_key() {
    return Secret(to_base64url(services_.random.bytes(32)));
}

Result<void> Inference::seal(OnlineEndpoint& endpoint, const EndpointKeys& keys) {
    const Secret text(
        Json::object({{"primary", keys.primary.reveal()}, {"secondary", keys.secondary.reveal()}})
            .dump());
    const std::string row = TURNOUT_TRY(
        vault_.sealed_row(Table::OnlineEndpoint, key_of(endpoint.workspace, endpoint.name), text));
    endpoint.sealed = TURNOUT_TRY(parse_json(row)).at("sealed").as_string();
    return {};
}

Result<EndpointKeys> Inference::keys(const OnlineEndpoint& endpoint) {
    const std::string key = key_of(endpoint.workspace, endpoint.name);
    if (const auto* known = keys_.find(key); known && known->first == endpoint.sealed)
        return known->second;
    const Secret text = TURNOUT_TRY(vault_.open_row(
        Table::OnlineEndpoint, key, Json::object({{"sealed", endpoint.sealed}}).dump()));
    const auto json = parse_json(text.reveal());
    if (!json) return internal("the keys of endpoint '" + endpoint.name + "' cannot be read");
    EndpointKeys keys{Secret(json->at("primary").as_string()),
                      Secret(json->at("secondary").as_string())};
    if (keys.primary.empty() || keys.secondary.empty())
        return internal("endpoint '" + endpoint.name + "' has no keys");
    keys_.put(key, {endpoint.sealed, keys});
    return keys;
}

Task<Result<void>> Inference::regenerate(std::string wsid, std::string name, bool primary,
                                         Author by) {
    EndpointChange change = [this, primary, name](
                                OnlineEndpoint& now, bool fresh,
                                const std::vector<OnlineDeployment>&) -> Result<void> {
        if (fresh) return not_found("endpoint '" + name + "' does not exist", "endpoint");
        EndpointKeys all = TURNOUT_TRY(keys(now));
        (primary ? all.primary : all.secondary) = new_key();
        return seal(now, all);
    };
    TURNOUT_CO_TRY([[maybe_unused]] const bool is_new,
                   co_await change_endpoint(wsid, name, by, std::move(change)));
    co_return Result<void>();
}

Result<Secret> Inference::token(const OnlineEndpoint& endpoint, Instant expires) {
    const EndpointKeys all = TURNOUT_TRY(keys(endpoint));
    const std::string until = std::to_string(expires.micros);
    return Secret(std::string(kTokenPrefix) + until + "." +
                  to_base64url(hmac_sha256(all.primary.reveal(), signed_part(endpoint, until))));
}

Result<bool> Inference::is_token(const OnlineEndpoint& endpoint, std::string_view token) {
    if (!token.starts_with(kTokenPrefix)) return false;
    const std::string_view rest = token.substr(kTokenPrefix.size());
    const auto until = parse_whole_number(rest.substr(0, rest.find('.')));
    if (!until || *until <= services_.clock.now().micros) return false;
    return TURNOUT_TRY(this->token(endpoint, Instant{*until})).matches(token);
}

// ---- where it runs

Task<Result<std::string>> Inference::ensure_compute(std::string wsid, std::string pool,
                                                    std::string size) {
    const std::string name = inference_compute(pool, size);
    TURNOUT_CO_TRY(const auto there, services_.store.get(Table::Compute, wsid + "/" + name));
    if (there) co_return name;
    const auto view = services_.control.pool(pool);
    if (!view || view->missing)
        co_return fail(Code::FailedPrecondition, "PoolNotThere",
                       "pool '" + pool + "', where the endpoint is, is not there any more",
                       "location");
    Compute compute;
    compute.workspace = wsid;
    compute.name = name;
    compute.definition = Json::object();
    compute.envelope = Json::object();
    compute.pool = pool;
    compute.vm_size = size;
    compute.max_nodes = view->slots;
    compute.idle_before_scale_down = kIdleNode;
    compute.jobs_per_node = view->pool.image == ImagePolicy::Engine ? 1 : kReplicasPerNode;
    compute.implicit = true;
    TURNOUT_CO_TRY([[maybe_unused]] const Put put, co_await arm::asked<Put>([&](auto reply) {
                       services_.control.change_compute(
                           wsid, name,
                           [&](const std::optional<Compute>& now) -> Result<Compute> {
                               return now ? *now : compute;
                           },
                           std::move(reply));
                   }));
    co_return name;
}

// ---- what runs

std::optional<Control::ServiceView> Inference::service(const OnlineDeployment& deployment) const {
    return services_.control.service(deployment.workspace,
                                     service_of(deployment.endpoint, deployment.name));
}

Result<std::string> Inference::log(const OnlineDeployment& deployment, std::string_view stream,
                                   std::size_t lines) const {
    std::string job = deployment.log_of;
    if (const auto view = service(deployment); view && job.empty())
        for (const auto& replica : view->replicas)
            if (job.empty() || replica.replica.is >= Replica::Is::Starting) job = replica.job;
    if (job.empty()) return std::string();
    const std::uint64_t length =
        TURNOUT_TRY(services_.tracking.log_length(deployment.workspace, job, stream));
    if (length == 0) return std::string();
    const std::uint64_t from = length > kLogTail ? length - kLogTail : 0;
    const std::string text = TURNOUT_TRY(
        services_.tracking.read_log(deployment.workspace, job, stream, from, length - from));
    return last_lines(text, lines);
}

void Inference::resume() {
    const auto all = all_deployments(services_.store, "");
    if (!all) return;  // what is not watched is as its row says; the next change looks again
    for (const OnlineDeployment& one : *all)
        if (!one.settled()) watch(key_of(one));
}

void Inference::watch(const std::string& key) {
    if (!watched_.try_emplace(key).second) return;
    start(keep_watching(key), [] {});
}

Task<void> Inference::keep_watching(std::string key) {
    while (true) {
        const bool over = co_await look(key);
        if (over) break;
        co_await services_.loop.sleep(kLook);
    }
    watched_.erase(key);
    // Something may have changed after the last look.
    const auto row = services_.store.get(Table::OnlineDeployment, key);
    if (!row || !*row) co_return;
    const auto json = parse_json((*row)->value);
    if (!json) co_return;
    const auto now = deployment_of_json(*json);
    if (now && !now->settled()) watch(key);
}

Task<Result<void>> Inference::put_service(OnlineDeployment deployment, Json task, int instances) {
    ServiceSubmission wish;
    wish.workspace = deployment.workspace;
    wish.name = service_of(deployment.endpoint, deployment.name);
    wish.compute = deployment.compute;
    TURNOUT_CO_TRY(wish.task, agent_protocol::task_from_json(task));
    wish.wanted = instances;
    wish.surge = kSurge;
    wish.principal = deployment.made.modified.user;
    wish.experiment = kExperiment;
    TURNOUT_CO_TRY([[maybe_unused]] const Put put, co_await arm::asked<Put>([&](auto reply) {
                       services_.control.put_service(std::move(wish), std::move(reply));
                   }));
    co_return Result<void>();
}

Task<bool> Inference::look(std::string key) {
    using State = OnlineDeployment::State;
    const auto row = services_.store.get(Table::OnlineDeployment, key);
    if (!row) co_return false;
    if (!*row) co_return true;
    const auto json = parse_json((*row)->value);
    auto read = json ? deployment_of_json(*json) : Result<OnlineDeployment>(Failure(json.error()));
    if (!read || read->settled()) co_return true;
    const OnlineDeployment now = std::move(*read);
    if (now.state == State::Deleting) {
        const bool removed = co_await remove(now);
        co_return removed;
    }

    Watch& watch = watched_.at(key);
    if (watch.told != now.change || !service(now)) {
        const auto put = co_await put_service(now, now.task, now.instances);
        if (!put) {
            const Code code = put.error().code;
            // It is being ended, or the store has no room just now.
            if (code == Code::Conflict || code == Code::Unavailable || code == Code::Ambiguous)
                co_return false;
            const auto failed =
                co_await settle(now, State::Failed, put.error().message, std::string());
            co_return failed.has_value();
        }
        watch = {now.change, services_.clock.since_boot(), 0, INT_MAX};
    }
    const auto view = service(now);
    if (!view) co_return false;
    if (view->counts.ready > watch.ready || view->counts.old < watch.old) {
        watch.ready = std::max(watch.ready, view->counts.ready);
        watch.old = std::min(watch.old, view->counts.old);
        watch.progress = services_.clock.since_boot();
    }
    const bool as_wanted = view->counts.ready >= now.instances && view->counts.old == 0 &&
                           view->counts.present <= now.instances;
    if (as_wanted) {
        const auto done = co_await settle(now, State::Succeeded, std::string(), std::string());
        co_return done.has_value();
    }
    const bool too_long = services_.clock.since_boot() - watch.progress > kLongestStill;
    const bool ended = view->service.ending;
    if (view->service.failures < kMostFailures && !too_long && !ended) co_return false;

    OnlineDeployment failed = now;
    failed.log_of = replica_name(view->service.name, view->service.made);
    std::string why = view->service.trouble.empty() ? view->why : view->service.trouble;
    if (too_long)
        why = "no instance became ready within " + to_words(kLongestStill) + ": " + view->why;
    const auto log = this->log(failed, "user_logs/std_log.txt", kLinesOfFailure);
    if (log && !log->empty()) why += "\n" + *log;
    // What did well serves on; else nothing is left of it. Until that is written down control has
    // not been told what is wanted: what serves then is not what the row says.
    watch.told = 0;
    if (!now.good.is_null()) {
        const auto back = co_await put_service(now, now.good, now.good_instances);
        if (!back && back.error().code != Code::FailedPrecondition) co_return false;
    } else {
        const auto end = co_await arm::asked<void>([&](auto reply) {
            services_.control.end_service(now.workspace, view->service.name, std::move(reply));
        });
        if (!end && end.error().code != Code::NotFound) co_return false;
    }
    const auto done = co_await settle(now, State::Failed, std::move(why), failed.log_of);
    co_return done.has_value();
}

Task<bool> Inference::remove(OnlineDeployment deployment) {
    const std::string service_name = service_of(deployment.endpoint, deployment.name);
    if (const auto view = service(deployment)) {
        if (!view->service.ending) {
            const auto ended = co_await arm::asked<void>([&](auto reply) {
                services_.control.end_service(deployment.workspace, service_name, std::move(reply));
            });
            (void)ended;  // it is looked at again
        }
        co_return false;
    }
    const std::string of = key_of(deployment.workspace, deployment.endpoint);
    Turns::Turn turn(turns_, of);
    co_await turn;
    Batch batch;
    batch.erase(Table::OnlineDeployment, key_of(deployment));
    const auto over = endpoint(deployment.workspace, deployment.endpoint);
    const auto all = deployments(deployment.workspace, deployment.endpoint);
    if (!over || !all) co_return false;
    if (*over && (*over)->deleting && all->size() <= 1) batch.erase(Table::OnlineEndpoint, of);
    const auto erased = co_await services_.store.commit(std::move(batch));
    if (!erased) co_return false;
    places_.erase(key_of(deployment));
    co_return true;
}

Task<Result<void>> Inference::settle(OnlineDeployment deployment, OnlineDeployment::State state,
                                     std::string why, std::string log_of) {
    Turns::Turn turn(turns_, key_of(deployment.workspace, deployment.endpoint));
    co_await turn;
    TURNOUT_CO_TRY(auto now,
                   this->deployment(deployment.workspace, deployment.endpoint, deployment.name));
    if (!now || now->change != deployment.change || now->settled() ||
        now->state == OnlineDeployment::State::Deleting)
        co_return Result<void>();
    now->state = state;
    now->why = std::move(why);
    now->log_of = std::move(log_of);
    if (state == OnlineDeployment::State::Succeeded) {
        now->good = now->task;
        now->good_instances = now->instances;
    }
    Batch batch;
    batch.put(Table::OnlineDeployment, key_of(*now), to_json(*now).dump());
    TURNOUT_CO_TRY_VOID(co_await services_.store.commit(std::move(batch)));
    co_return Result<void>();
}

// ---- requests

std::shared_ptr<Places> Inference::places(const OnlineDeployment& deployment) {
    const std::string key = key_of(deployment);
    if (const auto found = places_.find(key); found != places_.end()) return found->second;
    const auto fresh = std::make_shared<Places>(services_.loop, services_.clock, services_.control);
    const auto row = services_.store.get(Table::OnlineDeployment, key);
    if (row && *row) places_.emplace(key, fresh);
    return fresh;
}

const Places* Inference::known_places(const OnlineDeployment& deployment) const {
    const auto found = places_.find(key_of(deployment));
    return found == places_.end() ? nullptr : found->second.get();
}

}  // namespace turnout::api
