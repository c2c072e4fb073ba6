#include "app/server.h"

#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "access/guard.h"
#include "api/agent/agent_routes.h"
#include "api/agent/input_routes.h"
#include "api/api.h"
#include "api/arm/build_context.h"
#include "api/arm/pipeline.h"
#include "api/arm/registration.h"
#include "api/audit/audit.h"
#include "api/audit/of_call.h"
#include "api/authority.h"
#include "api/batch/batch.h"
#include "api/gateway/channels.h"
#include "api/gateway/gateway.h"
#include "api/inference/inference.h"
#include "api/instances/front.h"
#include "api/instances/keeper.h"
#include "api/login/logins.h"
#include "api/people/people_routes.h"
#include "api/people/token_routes.h"
#include "api/schedules/schedules.h"
#include "api/upkeep/stored_use.h"
#include "app/address.h"
#include "app/announcement.h"
#include "app/certificate_watch.h"
#include "app/credentials.h"
#include "app/effects.h"
#include "app/environment_tools.h"
#include "app/instance.h"
#include "app/listeners.h"
#include "app/local_check.h"
#include "app/login_sources.h"
#include "app/operator_routes.h"
#include "app/pools.h"
#include "app/space.h"
#include "app/storage_watch.h"
#include "app/time_zones.h"
#include "app/user_ways.h"
#include "app/version.h"
#include "blob/blobs.h"
#include "blob/tar.h"
#include "catalog/catalog.h"
#include "catalog/default_workspace.h"
#include "control/agent_links.h"
#include "control/control.h"
#include "control/jobs.h"
#include "fetch/addresses.h"
#include "fetch/fetcher.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/sockets.h"
#include "io/tls/tls_client.h"
#include "provider/container/container_provider.h"
#include "provider/container/settings.h"
#include "provider/kubernetes/kubernetes_provider.h"
#include "provider/kubernetes/settings.h"
#include "provider/local/local_provider.h"
#include "provider/slurm/settings.h"
#include "provider/slurm/slurm_provider.h"
#include "provider/ssh/hosts.h"
#include "provider/ssh/ssh_provider.h"
#include "store/sqlite/sqlite_store.h"
#include "tracking/tracking.h"
#include "vault/machine_secrets.h"

namespace turnout {

namespace {

class Server {
public:
    explicit Server(ServerOptions options) : options_(std::move(options)) {}
    Result<void> run();

private:
    Result<void> open();
    Result<void> prepare_fetcher();
    Result<void> prepare_workspace();
    void add_routes();
    Task<Result<std::unique_ptr<http::Stream>>> dial_replica(std::string authority);
    Result<void> listen();
    void keep_ticking();

    ServerOptions options_;
    Instance instance_;
    const http::Limits limits_ = connection_limits();
    // In the order of construction; each outlives what comes after it.
    PosixClock clock_;
    PosixRandom random_;
    AsioLoop loop_;
    ServerEffects effects_;
    std::unique_ptr<Store> store_;
    std::unique_ptr<Blobs> blobs_;
    std::unique_ptr<Tracking> tracking_;
    std::unique_ptr<Catalog> assets_;
    std::unique_ptr<Vault> vault_;
    std::unique_ptr<api::InstanceAuthority> authority_;
    std::unique_ptr<api::Audit> audit_;
    access::Guard guard_{{}};
    api::StoredUse stored_;
    api::studio::Pack portal_;
    std::unique_ptr<AgentLinks> links_;
    std::unique_ptr<LocalProvider> provider_;
    std::unique_ptr<SshProvider> ssh_;
    std::unique_ptr<ContainerProvider> containers_;
    std::unique_ptr<SlurmProvider> slurm_;
    std::unique_ptr<KubernetesProvider> kubernetes_;
    std::unique_ptr<ServerPools> pools_;
    std::unique_ptr<Control> control_;
    std::unique_ptr<fetch::Fetcher> fetcher_;
    std::unique_ptr<ServerSpace> space_;
    std::unique_ptr<api::Services> services_;
    std::unique_ptr<api::Schedules> schedules_;
    std::unique_ptr<api::Inference> inference_;
    std::unique_ptr<StorageWatch> storage_;
    std::unique_ptr<api::Channels> channels_;
    std::unique_ptr<api::Gateway> gateway_;
    std::unique_ptr<api::Front> front_;
    std::unique_ptr<OperatorRoutes> operator_routes_;
    std::unique_ptr<api::Logins> logins_;
    api::Router router_;
    Workspace workspace_;
    ServerCertificates certificates_;
    std::unique_ptr<CertificateWatch> certificate_watch_;
    std::unique_ptr<Announcement> announcement_;
    bool tick_due_ = false;
    std::unique_ptr<Listeners> listeners_;
    std::unique_ptr<UserWays> user_ways_;
};

Result<void> Server::run() {
    TURNOUT_TRY(open());
    TURNOUT_TRY(prepare_fetcher());
    ::unlink(instance_.room().c_str());
    TURNOUT_TRY(ensure_admin_key(instance_, loop_, *authority_));
    certificates_ = TURNOUT_TRY(prepare_certificates(instance_, options_.listen, clock_));
    TURNOUT_TRY(prepare_workspace());
    add_routes();
    TURNOUT_TRY(listen());
    TURNOUT_TRY(control_->recover());
    // Those that were given now are kept, as if they had been set while it ran.
    if (options_.slots > 0 && options_.slots != control_->slots())
        control_->set_slots(options_.slots, [](Result<void> set) {
            if (!set)
                std::fprintf(stderr, "error: --slots could not be kept: %s\n",
                             set.error().message.c_str());
        });
    if (const std::string missing = ServerPools::missing(*control_); !missing.empty())
        std::fprintf(stderr, "warning: %s\n", missing.c_str());
    keep_ticking();
    storage_->keep_collecting();
    storage_->watch_disk();
    // Jobs without secrets go on whatever became of the key.
    start(vault_->resume(), [](Result<void> done) {
        if (!done) std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
    });
    api::resume_removals(*services_);
    api::resume_attachments(*services_);
    api::resume_instances(*services_);
    api::keep_instances(*services_);
    inference_->resume();
    api::keep_retention(*services_);
    TURNOUT_TRY(schedules_->begin());
    TURNOUT_TRY(api::arm::register_what_is_left(*services_));
    api::keep_stored_use(*services_);
    space_->keep_below(options_.cache_limit);
    loop_.after(1s, [this] { storage_->verify(); });
    for (const int signal : {SIGTERM, SIGINT}) loop_.on_signal(signal, [this] { loop_.stop(); });
    TURNOUT_TRY(announcement_->say());
    hold_room(instance_.room(), kRoom);
    malloc_trim(0);
    loop_.run();
    // Crash-only: what was acknowledged is durable and nodes go on, so nothing needs saying
    // goodbye, and no other destructor meets a request that is still under way.
    unlink(instance_.running().c_str());
    unlink(instance_.agent_socket().c_str());
    unlink(instance_.relayed_socket().c_str());
    store_.reset();  // what is under way is recorded, and the database is one file again
    std::fflush(nullptr);
    _exit(0);
}

Result<void> Server::open() {
    instance_ = TURNOUT_TRY(open_instance(options_.data));
    if (::access(instance_.keys().c_str(), F_OK) == 0 &&
        ::access(instance_.database().c_str(), F_OK) != 0 && !options_.accept_loss)
        return fail(
            Code::FailedPrecondition, "DatabaseLost",
            "the database '" + instance_.database() +
                "' is missing, although a server has used this folder: put it back, or restore a "
                "backup (`turnout restore`); to begin with an empty one, start once with `turnout "
                "up --accept-loss`",
            instance_.database());
    hold_room(instance_.room(), kRoomOfFiles);
    SqliteOptions storage;
    storage.accept_lost_log = options_.accept_loss;
    store_ = TURNOUT_TRY(open_sqlite_store(loop_, instance_.database(), std::move(storage)));
    TURNOUT_TRY(unpack_agent(instance_));
    portal_ = TURNOUT_TRY(portal_pack());
    TURNOUT_TRY(provide_uv(instance_, options_.uv));
    survey_pythons(loop_, instance_);
    blobs_ = TURNOUT_TRY(open_blobs(*store_, clock_, random_, loop_, instance_.blobs()));
    tracking_ = std::make_unique<Tracking>(*store_, clock_, random_, loop_);
    blobs_->set_virtual(tracking_.get());
    assets_ = std::make_unique<Catalog>(*store_, clock_, random_);
    vault_ = std::make_unique<Vault>(*store_, clock_, random_, sealing_key_file(instance_));
    authority_ =
        api::make_authority(*store_, clock_, random_, TURNOUT_TRY(load_keys(instance_, random_)));
    audit_ = std::make_unique<api::Audit>(*store_, clock_, loop_, authority_->link_key());
    TURNOUT_TRY(audit_->open());
    links_ = std::make_unique<AgentLinks>(loop_, *tracking_);

    pools_ = std::make_unique<ServerPools>(instance_.pools());
    LocalProviderOptions local;
    local.agent = instance_.agent_executable();
    local.server_socket = instance_.agent_socket();
    local.nodes_folder = instance_.nodes();
    local.homes_folder = instance_.homes();
    local.cache_folder = instance_.cache();
    local.python = options_.python;
    if (!options_.tls_key.empty()) local.hidden = {options_.tls_key};
    local.node_token = [this](const NodeId& id) {
        api::Principal node;
        node.kind = api::Principal::Kind::Node;
        node.name = id;
        return authority_->mint(node, api::kOwnAudience, api::kAsLongAsItLives);
    };
    local.open_way = [this](const NodeUser& user) { return user_ways_->add(user); };
    const ProviderEvents reports{
        [this](const NodeId& id, Error why) { control_->node_failed(id, std::move(why)); },
        [this](const NodeId& id) { control_->node_gone(id); },
        [this](const NodeId& id, Json handle) { control_->node_handle(id, std::move(handle)); },
        [this](const NodeId& id, const std::string& what) { control_->node_starts(id, what); },
        [this](const NodeId& id, const std::string& why) { control_->node_lost(id, why); },
        [this](const NodeId& id, Span left) { control_->node_ends(id, left); }};
    SshProviderOptions ssh;
    ssh.agent = instance_.agent_executable();
    if (const std::string uv = instance_.folder + "/bin/uv"; ::access(uv.c_str(), X_OK) == 0)
        ssh.uv = uv;
    ssh.server_socket = instance_.relayed_socket();
    ssh.folder = instance_.folder + "/ssh";
    ssh.base = instance_.folder;
    ssh.node_token = local.node_token;
    ssh.secret = [this](const std::string& name) -> Result<MachineSecret> {
        auto secret = TURNOUT_TRY(read_machine_secret(*vault_, *store_, name));
        if (!secret)
            return fail(
                Code::FailedPrecondition, "NoSecret",
                "what opens the machine '" + name + "' is not kept any more: attach it again");
        return std::move(*secret);
    };
    // What all that are elsewhere get.
    const auto as_elsewhere = [&](auto& options, const char* folder) {
        options.agent = ssh.agent;
        options.uv = ssh.uv;
        options.server_socket = ssh.server_socket;
        options.folder = instance_.folder + folder;
        options.node_token = local.node_token;
    };
    ContainerProviderOptions containers;
    as_elsewhere(containers, "/containers");
    containers.context = [this](const std::string& workspace,
                                const BuiltImage& image) -> Result<ImageContext> {
        const api::arm::BuildContext found =
            TURNOUT_TRY(api::arm::context_of_image(*services_, workspace, image));
        return ImageContext{blob::tar_of(*blobs_, found.container, found.prefix), found.dockerfile};
    };
    SlurmProviderOptions slurm;
    as_elsewhere(slurm, "/slurm");
    for (char** one = environ; *one; ++one) slurm.environment.emplace_back(*one);
    KubernetesProviderOptions kubernetes;
    as_elsewhere(kubernetes, "/kubernetes");
    kubernetes.environment = slurm.environment;
    provider_ = std::make_unique<LocalProvider>(loop_, std::move(local), reports);
    ssh_ = std::make_unique<SshProvider>(loop_, std::move(ssh), reports);
    containers_ = std::make_unique<ContainerProvider>(loop_, std::move(containers), reports);
    slurm_ = std::make_unique<SlurmProvider>(loop_, std::move(slurm), reports);
    kubernetes_ = std::make_unique<KubernetesProvider>(loop_, std::move(kubernetes), reports);
    pools_->add("local", local_settings(), true, *provider_, {.check = [this](const Json&) {
                    return check_this_machine(loop_, instance_.agent_executable(),
                                              instance_.folder);
                }});
    pools_->add("ssh", ssh_settings(), false, *ssh_,
                {ssh_slots, [this](const Json& settings) { return ssh_->describe(settings); },
                 [this](const Json& settings) { return ssh_->check(settings); }, ssh_machine,
                 [this](const Json& settings, bool used) { return ssh_->clear(settings, used); },
                 [this](std::span<const Pool> pools) { ssh_->set_pools(pools); }});
    pools_->add(
        "container", container_settings(), true, *containers_,
        {.describe = [this](const Json& settings) { return containers_->describe(settings); },
         .check = [this](const Json& settings) { return containers_->check(settings); },
         .use = [this](std::span<const Pool> pools) { containers_->set_pools(pools); }});
    pools_->add("slurm", slurm_settings(), true, *slurm_,
                {.describe = [this](const Json& settings) { return slurm_->describe(settings); },
                 .check = [this](const Json& settings) { return slurm_->check(settings); },
                 .use = [this](std::span<const Pool> pools) { slurm_->set_pools(pools); }});
    pools_->add(
        "kubernetes", kubernetes_settings(), true, *kubernetes_,
        {.describe = [this](const Json& settings) { return kubernetes_->describe(settings); },
         .check = [this](const Json& settings) { return kubernetes_->check(settings); },
         .use = [this](std::span<const Pool> pools) { kubernetes_->set_pools(pools); }});
    effects_.tick_at = [this](Span at) {
        if (std::exchange(tick_due_, true)) return;
        loop_.after(std::max(Span{}, at - clock_.since_boot()), [this] {
            tick_due_ = false;
            control_->tick();
        });
    };
    // Control is not called from within its own turn.
    effects_.resolve_step = [this](const std::string& wsid, const std::string& job) {
        loop_.post([this, wsid, job] { api::arm::resolve_step(*services_, wsid, job); });
    };
    effects_.register_outputs = [this](const std::string& wsid, const std::string& job) {
        loop_.post([this, wsid, job] { api::arm::register_outputs(*services_, wsid, job); });
    };
    effects_.links = links_.get();
    effects_.pools = pools_.get();
    effects_.nodes_found = [this](std::uint64_t number, const std::vector<FoundNode>& found) {
        control_->nodes_found(number, found);
    };

    Control::Settings settings;
    settings.slots = provider_->capabilities().slots;
    settings.pools = TURNOUT_TRY(pools_->read());
    pools_->use(settings.pools);
    settings.run_token = [this](const agent_protocol::AttemptId& id) {
        api::Principal run;
        run.kind = api::Principal::Kind::Run;
        run.name = id.job;
        run.workspace = id.workspace;
        run.job = id.job;
        run.attempt = id.attempt;
        return authority_->mint(run, api::kOwnAudience, api::kAsLongAsItLives);
    };
    settings.service_key = [this](const agent_protocol::AttemptId& id) {
        return api::service_key(*authority_, id);
    };
    settings.secrets = [this](const std::string& workspace, const std::vector<std::string>& names)
        -> Result<std::vector<agent_protocol::SecretValue>> {
        std::vector<agent_protocol::SecretValue> all;
        for (const std::string& name : names)
            all.push_back({name, TURNOUT_TRY(vault_->reveal(workspace, name))});
        return all;
    };
    settings.port_is_free = [](int port) { return http::is_port_free(port); };
    control_ = std::make_unique<Control>(clock_, *store_, effects_, settings);
    links_->set_control(control_.get());
    effects_.control = control_.get();
    space_ = std::make_unique<ServerSpace>(loop_, instance_, packages_folder());
    space_->count_users([this] { return provider_->users(); });
    tracking_->set_trials([this](std::string_view wsid, std::string_view run) {
        return find_trial(*store_, wsid, run);
    });
    tracking_->set_observer([this](const std::string& wsid, const std::string& run) {
        control_->metrics_logged(wsid, run);
    });
    effects_.tracking = tracking_.get();
    return {};
}

// What brings inputs in from outside. Its connections, and the authorities that they are checked
// against, come into being with the first of them.
Result<void> Server::prepare_fetcher() {
    std::vector<fetch::Allowed> allowed;
    for (const std::string& text : options_.allow_fetch)
        allowed.push_back(TURNOUT_TRY(fetch::Allowed::parse(text)));
    fetch::FetchSettings settings;
    for (const std::string& text : options_.fetch_mirrors) {
        settings.mirrors.push_back(TURNOUT_TRY(fetch::Mirror::parse(text)));
        allowed.push_back(TURNOUT_TRY(fetch::Allowed::parse(settings.mirrors.back().place())));
    }
    settings.folder = instance_.fetching();
    if (options_.fetch_limit > 0) settings.limit = options_.fetch_limit;
    settings.client = [this, reach = fetch::Reach(
                                 std::move(allowed))]() -> Result<std::unique_ptr<http::Client>> {
        http::ClientOptions client;
        client.tls = TURNOUT_TRY(http::make_tls_connector(""));
        client.may_connect = [reach](const std::string& host, std::uint16_t port,
                                     std::string_view ip) { return reach.check(host, port, ip); };
        return http::make_client(loop_, std::move(client));
    };
    fetcher_ = std::make_unique<fetch::Fetcher>(loop_, clock_, *blobs_, std::move(settings));
    return {};
}

Result<void> Server::prepare_workspace() {
    if (auto there = TURNOUT_TRY(default_workspace(*assets_))) {
        workspace_ = std::move(*there);
        return {};
    }
    Workspace wanted;
    wanted.subscription = random_.uuid();
    wanted.resource_group = "turnout";
    wanted.name = "default";
    wanted.location = "westus";
    wanted.friendly_name = "default";
    workspace_ = TURNOUT_TRY(loop_.run(assets_->create_workspace(std::move(wanted))));
    return {};
}

// What requests are answered with, and the rows that answer them.
void Server::add_routes() {
    services_ = std::make_unique<api::Services>(api::Services{clock_,
                                                              random_,
                                                              loop_,
                                                              *store_,
                                                              *control_,
                                                              *blobs_,
                                                              *assets_,
                                                              *tracking_,
                                                              *authority_,
                                                              {},
                                                              {},
                                                              {},
                                                              space_.get()});
    storage_ = std::make_unique<StorageWatch>(loop_, clock_, instance_, *blobs_, services_->info);
    services_->audit = audit_.get();
    services_->guard = &guard_;
    services_->stored = &stored_;
    if (!portal_.empty()) services_->portal = &portal_;
    services_->drills = [this](const std::string& name) {
        Provider* const provider = pools_->provider(name);
        return provider ? provider->drills() : nullptr;
    };
    services_->machine_of = [this](const MachineWanted& wanted) {
        return pools_->machine_of(wanted, *control_);
    };
    services_->check_machine = [this](const AttachedMachine& machine) {
        return pools_->check_machine(machine);
    };
    services_->cut_link = [this](const NodeId& node, Span how_long) {
        links_->cut(node, how_long);
    };
    api::add_discovery_routes(router_, *services_);
    api::add_arm_routes(router_, *services_);
    api::add_blob_routes(router_, *services_);
    api::add_history_routes(router_, *services_);
    api::add_mlflow_routes(router_, *services_);
    api::add_portal_routes(router_, *services_);
    api::add_upkeep_routes(router_, *services_);
    api::add_input_routes(router_, *services_, *fetcher_);
    api::NodeServices for_nodes;
    for_nodes.authority = certificates_.authority;
    for_nodes.connect_tls = [this](const NodeId& node) {
        http::Peer peer;
        peer.address = "node " + node;
        peer.through_node = true;
        return listeners_->tls().connect_inside(std::move(peer));
    };
    api::add_agent_routes(router_, *links_, std::move(for_nodes));
    channels_ = std::make_unique<api::Channels>(loop_, random_, *links_);
    channels_->add_to(router_);
    http::ClientOptions to_replicas;
    to_replicas.dial = [this](std::string authority) { return dial_replica(std::move(authority)); };
    gateway_ = std::make_unique<api::Gateway>(http::make_client(loop_, std::move(to_replicas)));
    services_->gateway = gateway_.get();
    front_ = std::make_unique<api::Front>(*services_);
    front_->add_to(router_);
    api::add_token_routes(router_, *services_, *authority_);
    api::add_people_routes(router_, *services_, *authority_);
    logins_ =
        std::make_unique<api::Logins>(*services_, *authority_, login_sources(loop_, instance_));
    logins_->add_to(router_);
    api::add_audit_routes(router_, *services_);
    services_->vault = vault_.get();
    api::add_secret_routes(router_, *services_, *vault_);
    services_->zones = machine_time_zones();
    schedules_ = std::make_unique<api::Schedules>(*services_, services_->zones);
    api::add_schedule_routes(router_, *services_, *schedules_);
    inference_ = std::make_unique<api::Inference>(*services_, *vault_);
    services_->inference = inference_.get();
    api::add_endpoint_routes(router_, *services_);
    api::add_scoring_routes(router_, *services_);
    api::add_batch_routes(router_, *services_);
    services_->machines_of = [this](const Pool& pool) { return pools_->machines_of(pool); };
    pools_->add_routes(router_, *services_, [this] { return announcement_->say(); });
    operator_routes_ = std::make_unique<OperatorRoutes>(loop_, *control_, *pools_,
                                                        [this] { return announcement_->say(); });
    operator_routes_->add_to(router_);
}

Task<Result<std::unique_ptr<http::Stream>>> Server::dial_replica(std::string authority) {
    TURNOUT_CO_TRY(api::ReplicaAddress address, api::address_of(authority));
    co_return co_await channels_->open(std::move(address));
}

Result<void> Server::listen() {
    std::optional<http::TlsFiles> named;
    if (!options_.tls_certificate.empty()) named = {options_.tls_certificate, options_.tls_key};
    certificate_watch_ =
        std::make_unique<CertificateWatch>(loop_, clock_, instance_, options_.listen, named);
    listeners_ = std::make_unique<Listeners>(
        loop_, instance_, limits_, router_, *services_, TURNOUT_TRY(certificate_watch_->open()),
        [this](const http::Request& request, http::BodyReader& body) {
            return front_->handle(request, body);
        });
    certificate_watch_->keep_looking();
    user_ways_ = std::make_unique<UserWays>(loop_, limits_, router_, *services_);
    TURNOUT_TRY(listeners_->open(options_.listen, options_.plain_listen,
                                 [this](const http::Request& request, http::BodyReader& body) {
                                     return user_ways_->handle_of_nodes(request, body);
                                 }));
    announcement_ = std::make_unique<Announcement>(
        instance_, *services_, workspace_, listeners_->tls().address(), certificates_.fingerprint,
        options_.tls_certificate, [this] { return logins_->link_for_admin().value_or(""); },
        options_.ready);
    TURNOUT_TRY(ssh_->open());
    TURNOUT_TRY(containers_->open());
    TURNOUT_TRY(slurm_->open());
    TURNOUT_TRY(kubernetes_->open());
    TURNOUT_TRY(user_ways_->open(instance_, *pools_, *provider_));
    TURNOUT_TRY(listeners_->keep_ports());

    services_->info.version = version();
    services_->info.tls_origin = "https://" + reached_here(listeners_->tls().address());
    services_->info.plain_origin = "http://" + listeners_->plain().address();
    services_->info.programs_tls_port = port_of(listeners_->programs_tls().address());
    services_->info.programs_plain_port = port_of(listeners_->programs_plain().address());
    services_->info.data_folder = instance_.folder;
    const Capabilities machine = provider_->capabilities();
    services_->info.machine = {machine.cores, machine.memory_gb, machine.gpus};
    return {};
}

void Server::keep_ticking() {
    // Level-triggered: control looks at its deadlines; an idle server wakes twice a second.
    control_->tick();
    loop_.after(500ms, [this] { keep_ticking(); });
}

}  // namespace

Result<void> run_server(ServerOptions options) {
    // Few arenas: the idle server's memory is part of the design.
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    umask(077);  // the database's files take their mode from it
    Server server(std::move(options));
    return server.run();
}

}  // namespace turnout
