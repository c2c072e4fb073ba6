#include "app/server.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <cstdio>
#include <set>
#include <thread>
#include <unordered_map>

#include "api/agent/agent_routes.h"
#include "api/agent/input_routes.h"
#include "api/api.h"
#include "api/audit/audit.h"
#include "api/audit/of_call.h"
#include "api/people/people_routes.h"
#include "api/people/token_routes.h"
#include "app/instance.h"
#include "app/pools.h"
#include "app/space.h"
#include "app/version.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "catalog/default_workspace.h"
#include "control/agent_links.h"
#include "control/control.h"
#include "control/jobs.h"
#include "environment/uv.h"
#include "fetch/addresses.h"
#include "fetch/fetcher.h"
#include "io/apart.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/processes.h"
#include "io/posix/sockets.h"
#include "io/tls/certificates.h"
#include "io/tls/tls_client.h"
#include "io/tls/tls_server.h"
#include "provider/local/local_provider.h"
#include "provider/ssh/hosts.h"
#include "provider/ssh/ssh_provider.h"
#include "store/sqlite/intact.h"
#include "store/sqlite/sqlite_store.h"
#include "tracking/tracking.h"
#include "vault/machine_secrets.h"

namespace turnout {

namespace {

constexpr off_t kRoom = 1 << 20, kRoomOfFiles = kRoom / 2;
constexpr std::string_view kLinkPath = "/agent/v1/link";
constexpr std::string_view kDefaultTls = "127.0.0.1:8443";

std::string folder_of_executable() {
    char path[4096];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    const std::string text(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    return text.substr(0, text.rfind('/'));
}

std::string port_of(const std::string& address) {
    return address.substr(address.rfind(':') + 1);
}
std::string host_of(const std::string& address) {
    return address.substr(0, address.rfind(':'));
}

// The address on which every interface of the machine listens.
bool is_everywhere(const std::string& host) {
    return host == "0.0.0.0" || host == "[::]";
}

std::string without_brackets(const std::string& host) {
    return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

// Where this machine itself finds what listens there.
std::string reached_here(const std::string& address) {
    const std::string host = host_of(address);
    if (!is_everywhere(host)) return address;
    return (host == "[::]" ? "[::1]:" : "127.0.0.1:") + port_of(address);
}

// A port that was chosen once is kept, since clients know it: another program may have it now.
Failure kept_port_taken(const Error& why, const std::string& address, const std::string& option) {
    return fail(
        Code::FailedPrecondition, "PortTaken",
        why.message + ". The port " + port_of(address) +
            " is this server's since it was first started: end the program that has it, or choose "
            "another with `turnout up " +
            option + " " + host_of(address) + ":0` (clients then run `turnout env` again)",
        address);
}

// Descriptors that stay for files, the database and agents, however many connections there are.
constexpr rlim_t kOwnDescriptors = 128;

// As many descriptors as this process may have; how many connections a listener may have of them.
// Whoever opens connections and says nothing must not keep the server from its own files.
http::Limits connection_limits() {
    http::Limits limits;
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return limits;
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = std::min<rlim_t>(files.rlim_max, 65'536);
        if (setrlimit(RLIMIT_NOFILE, &files) != 0) getrlimit(RLIMIT_NOFILE, &files);
    }
    const rlim_t left = files.rlim_cur > 2 * kOwnDescriptors ? files.rlim_cur - kOwnDescriptors
                                                             : files.rlim_cur / 2;
    limits.connections = std::min<std::size_t>(limits.connections, left / 3);  // TLS, plain, agents
    return limits;
}

http::Response refused_way(const std::string& why) {
    return api::json_response(
        403, Json::object(
                 {{"error", Json::object({{"code", "AuthorizationFailed"}, {"message", why}})}}));
}

// Carries out what control asks for.
class ServerEffects : public Effects {
public:
    void send(const NodeId& node, agent_protocol::ToAgent message) override {
        links->send(node, message);
    }
    void provision(const std::string& provider, const NodeRequest& node) override {
        if (Provider* const of = pools->provider(provider)) of->provision(node);
    }
    void release(const std::string& provider, const NodeId& node, const Json& handle) override {
        if (Provider* const of = pools->provider(provider)) of->release(node, handle);
    }
    void list(const std::string& provider, std::uint64_t number) override {
        Provider* const of = pools->provider(provider);
        if (!of) return;
        of->list([this, number](Result<std::vector<FoundNode>> found) {
            if (found) nodes_found(number, *found);
        });
    }
    void clear_machine(const std::string& workspace, const std::string& compute,
                       const AttachedMachine& machine) override {
        pools->clear_machine(workspace, compute, machine, *control);
    }
    void disconnect(const NodeId& node) override { links->disconnect(node); }
    void wake(Span at) override { tick_at(at); }
    void job_ended(const std::string& workspace, const std::string& job) override {
        tracking->job_ended(workspace, job);
    }

    // A sweep's own log, in the order in which it is said. Lines that are on their way when the
    // server dies are lost; what they tell is in the trials' rows.
    void group_says(const std::string& workspace, const std::string& job, std::string_view log,
                    const std::string& text) override {
        const agent_protocol::AttemptId id{workspace, job, 1};
        const std::string stream(log);
        auto [at, first] = sweep_logs_.try_emplace(workspace + "/" + job);
        if (first) at->second = tracking->log_length(workspace, job, stream).value_or(0);
        const std::uint64_t offset = at->second;
        at->second += text.size();
        tracking->append_log({id, stream, offset, text},
                             [this, key = at->first](Result<std::uint64_t> length) {
                                 if (!length)
                                     sweep_logs_.erase(key);  // where it ends now is asked anew
                             });
    }

    AgentLinks* links = nullptr;
    ServerPools* pools = nullptr;
    Control* control = nullptr;
    std::function<void(std::uint64_t, const std::vector<FoundNode>&)> nodes_found;
    Tracking* tracking = nullptr;
    std::function<void(Span)> tick_at;

private:
    std::unordered_map<std::string, std::uint64_t>
        sweep_logs_;  // how long they are, with what is under way
};

class Server {
public:
    explicit Server(ServerOptions options) : options_(std::move(options)) {}
    Result<void> run();

private:
    Result<void> open();
    // So that a full disk does not keep a server from starting, each holds some room for the next
    // one: a part is the database's, which takes what is left of a nearly full disk for its log,
    // the other is that of the small files that are written after it.
    std::string room() const { return instance_.folder + "/room"; }
    Result<void> find_uv();
    Result<void> prepare_fetcher();
    void survey_pythons();
    Result<void> prepare_credentials();
    Result<void> prepare_workspace();
    Result<void> listen();
    Result<std::unique_ptr<http::Listener>> listen_tls_on(const std::string& address);
    Task<http::Response> handle_relayed(const http::Request& request, http::BodyReader& body);
    Result<void> open_users();
    Result<void> open_way_of(const NodeUser& user);
    Task<http::Response> handle_of_nodes(const http::Request& request, http::BodyReader& body);
    Task<http::Response> handle_of_user(std::string workspace, const http::Request& request,
                                        http::BodyReader& body);
    std::optional<api::Principal> principal_of(const http::Request& request) const;
    Result<void> announce();
    std::string login_line() const;
    void add_own_routes();
    void keep_ticking();
    void collect();
    void keep_collecting();
    void watch_disk();
    void verify_storage();
    Task<Result<http::Response>> shutdown(api::Call& call);
    Task<Result<http::Response>> drain(api::Call& call);
    Task<Result<http::Response>> resume(api::Call& call);
    Task<Result<http::Response>> set_slots(api::Call& call);
    Task<Result<http::Response>> show_slots(api::Call& call);

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
    std::unique_ptr<AgentLinks> links_;
    std::unique_ptr<LocalProvider> provider_;
    std::unique_ptr<SshProvider> ssh_;
    std::unique_ptr<ServerPools> pools_;
    std::unique_ptr<Control> control_;
    std::unique_ptr<fetch::Fetcher> fetcher_;
    std::unique_ptr<ServerSpace> space_;
    std::unique_ptr<api::Services> services_;
    api::Router router_;
    Workspace workspace_;
    std::string authority_pem_, fingerprint_;  // of the instance's certificates
    bool tick_due_ = false;
    bool collecting_ = false;
    bool announced_ = false;
    std::unique_ptr<http::Listener> unix_, relayed_, plain_, tls_;
    std::vector<std::unique_ptr<http::Listener>> of_users_;  // one for each, see NodeUser::socket
    std::set<std::string> pools_of_users_;
};

Result<void> Server::run() {
    TURNOUT_TRY(open());
    TURNOUT_TRY(prepare_fetcher());
    ::unlink(room().c_str());
    TURNOUT_TRY(prepare_credentials());
    TURNOUT_TRY(prepare_workspace());
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
    keep_collecting();
    watch_disk();
    // Jobs without secrets go on whatever became of the key.
    start(vault_->resume(), [](Result<void> done) {
        if (!done) std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
    });
    api::resume_removals(*services_);
    api::resume_attachments(*services_);
    api::keep_retention(*services_);
    space_->keep_below(options_.cache_limit);
    loop_.after(1s, [this] { verify_storage(); });
    for (const int signal : {SIGTERM, SIGINT}) loop_.on_signal(signal, [this] { loop_.stop(); });
    TURNOUT_TRY(announce());
    hold_room(room(), kRoom);
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
    hold_room(room(), kRoomOfFiles);
    SqliteOptions storage;
    storage.accept_lost_log = options_.accept_loss;
    store_ = TURNOUT_TRY(open_sqlite_store(loop_, instance_.database(), std::move(storage)));
    TURNOUT_TRY(unpack_agent(instance_));
    TURNOUT_TRY(find_uv());
    survey_pythons();
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
    local.cache_folder = instance_.cache();
    local.python = options_.python;
    local.node_token = [this](const NodeId& id) {
        api::Principal node;
        node.kind = api::Principal::Kind::Node;
        node.name = id;
        return authority_->mint(node, api::kOwnAudience, api::kAsLongAsItLives);
    };
    local.open_way = [this](const NodeUser& user) { return open_way_of(user); };
    const ProviderEvents reports{
        [this](const NodeId& id, Error why) { control_->node_failed(id, std::move(why)); },
        [this](const NodeId& id) { control_->node_gone(id); },
        [this](const NodeId& id, Json handle) { control_->node_handle(id, std::move(handle)); },
        [this](const NodeId& id, const std::string& what) { control_->node_starts(id, what); }};
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
    provider_ = std::make_unique<LocalProvider>(loop_, std::move(local), reports);
    ssh_ = std::make_unique<SshProvider>(loop_, std::move(ssh), reports);
    pools_->add("local", local_settings(), true, *provider_);
    pools_->add("ssh", ssh_settings(), false, *ssh_,
                {ssh_slots, [this](const Json& settings) { return ssh_->describe(settings); },
                 [this](const Json& settings) { return ssh_->check(settings); }, ssh_machine,
                 [this](const Json& settings, bool used) { return ssh_->clear(settings, used); }});
    effects_.tick_at = [this](Span at) {
        if (std::exchange(tick_due_, true)) return;
        loop_.after(std::max(Span{}, at - clock_.since_boot()), [this] {
            tick_due_ = false;
            control_->tick();
        });
    };
    effects_.links = links_.get();
    effects_.pools = pools_.get();
    effects_.nodes_found = [this](std::uint64_t number, const std::vector<FoundNode>& found) {
        control_->nodes_found(number, found);
    };

    Control::Settings settings;
    settings.slots = provider_->capabilities().slots;
    settings.pools = TURNOUT_TRY(pools_->read());
    std::vector<Pool> of_hosts = settings.pools;
    std::erase_if(of_hosts, [](const Pool& pool) { return pool.provider != "ssh"; });
    ssh_->set_pools(of_hosts);
    settings.run_token = [this](const agent_protocol::AttemptId& id) {
        api::Principal run;
        run.kind = api::Principal::Kind::Run;
        run.name = id.job;
        run.workspace = id.workspace;
        run.job = id.job;
        run.attempt = id.attempt;
        return authority_->mint(run, api::kOwnAudience, api::kAsLongAsItLives);
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

// What builds environments is found here, where `up` was called with its own surroundings, and left
// beside the agents' executable: they look there, in this life of the server and in the next ones.
Result<void> Server::find_uv() {
    environment::Settings settings;
    settings.uv = options_.uv;
    settings.beside = folder_of_executable();
    for (char** item = environ; *item; ++item) settings.environment.emplace_back(*item);
    if (!options_.uv.empty() && environment::find_uv(settings).empty())
        return fail(Code::InvalidArgument, "NoUv",
                    "--uv: there is no program '" + options_.uv + "'", "--uv");
    environment::remember_uv(instance_.folder + "/bin", settings);
    return {};
}

// What brings inputs in from outside. Its connections, and the authorities that they are checked
// against, come into being with the first of them.
Result<void> Server::prepare_fetcher() {
    std::vector<fetch::Allowed> allowed;
    for (const std::string& text : options_.allow_fetch)
        allowed.push_back(TURNOUT_TRY(fetch::Allowed::parse(text)));
    fetch::FetchSettings settings;
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

// Which Pythons can be had is known when a job is submitted. Programs have to run for that, which
// is for an agent's executable to do.
void Server::survey_pythons() {
    SpawnRequest request;
    request.program = instance_.agent_executable();
    request.arguments = {request.program, "--survey", instance_.cache()};
    for (char** item = environ; *item; ++item) request.environment.emplace_back(*item);
    request.directory = "/";
    loop_.blocking(
        [request] {
            const Result<ProcessId> process = spawn(request);
            while (process && is_alive(*process))
                std::this_thread::sleep_for(std::chrono::milliseconds(50));
            if (process) reap(process->pid);
        },
        [] {});
}

Result<void> Server::prepare_credentials() {
    std::string there;
    if (::access(instance_.api_key().c_str(), F_OK) == 0)
        there = TURNOUT_TRY(read_file(instance_.api_key()));
    if (const std::optional<Secret> key =
            TURNOUT_TRY(loop_.run(authority_->ensure_admin_key(std::move(there)))))
        TURNOUT_TRY(write_file_atomically(instance_.api_key(), key->reveal() + "\n", 0600));
    std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
    std::string host = host_of(options_.listen);
    if (options_.listen.empty())
        if (const Result<Json> kept = read_document(instance_.ports()))
            host = host_of(kept->at("tls").as_string());
    if (is_everywhere(host)) {
        for (std::string& name : http::names_of_this_machine()) names.push_back(std::move(name));
    } else if (!host.empty()) {
        names.push_back(without_brackets(host));
    }
    const tls::CertificateFiles files =
        TURNOUT_TRY(tls::ensure_certificates(instance_.folder, names, clock_.now()));
    if (files.new_authority)
        std::fprintf(stderr,
                     "the certificate authority was not valid at this time (was a clock wrong?): "
                     "there is a new one, and whoever logged in from elsewhere does it again\n");
    authority_pem_ = TURNOUT_TRY(read_file(files.authority));
    fingerprint_ = tls::fingerprint(authority_pem_);
    return tls::write_ca_bundle(instance_.ca_bundle(), authority_pem_);
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

Result<std::unique_ptr<http::Listener>> Server::listen_tls_on(const std::string& address) {
    return http::listen_tls(
        loop_, address, http::TlsFiles{instance_.certificate(), instance_.certificate_key()},
        [this](const http::Request& request, http::BodyReader& body) {
            return router_.handle(*services_, request, body);
        },
        limits_);
}

Result<void> Server::listen() {
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
    services_->audit = audit_.get();
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
    for_nodes.authority = authority_pem_;
    for_nodes.connect_tls = [this](const NodeId& node) {
        http::Peer peer;
        peer.address = "node " + node;
        peer.through_node = true;
        return tls_->connect_inside(std::move(peer));
    };
    api::add_agent_routes(router_, *links_, std::move(for_nodes));
    api::add_token_routes(router_, *services_, *authority_);
    api::add_people_routes(router_, *services_, *authority_);
    api::add_audit_routes(router_, *services_);
    services_->vault = vault_.get();
    api::add_secret_routes(router_, *services_, *vault_);
    add_own_routes();

    const http::Handler handler = [this](const http::Request& request, http::BodyReader& body) {
        return router_.handle(*services_, request, body);
    };
    const Json kept = TURNOUT_TRY(read_document(instance_.ports()));

    // A port that was chosen once is kept, since clients have it in their environment.
    if (!options_.listen.empty() && port_of(options_.listen) != "0") {
        tls_ = TURNOUT_TRY(listen_tls_on(options_.listen));
    } else if (const Json* address = kept.find("tls");
               address && (options_.listen.empty() ||
                           host_of(options_.listen) == host_of(address->as_string()))) {
        Result<std::unique_ptr<http::Listener>> again = listen_tls_on(address->as_string());
        if (!again && options_.listen.empty())
            return kept_port_taken(again.error(), address->as_string(), "--listen");
        tls_ = again ? std::move(*again) : TURNOUT_TRY(listen_tls_on(options_.listen));
    } else if (!options_.listen.empty()) {
        tls_ = TURNOUT_TRY(listen_tls_on(options_.listen));
    } else {
        Result<std::unique_ptr<http::Listener>> usual = listen_tls_on(std::string(kDefaultTls));
        tls_ = usual ? std::move(*usual) : TURNOUT_TRY(listen_tls_on("127.0.0.1:0"));
    }
    if (!options_.plain_listen.empty()) {
        const std::string host = host_of(options_.plain_listen);
        if (host != "localhost" && host != "[::1]" && !host.starts_with("127."))
            return invalid(
                "--plain-listen is '" + options_.plain_listen +
                    "': without TLS only a loopback address is served, such as 127.0.0.1:0",
                "--plain-listen");
        plain_ = TURNOUT_TRY(http::listen_plain(loop_, options_.plain_listen, handler, limits_));
    } else {
        const std::string address = kept.at("plain").as_string("127.0.0.1:0");
        Result<std::unique_ptr<http::Listener>> listening =
            http::listen_plain(loop_, address, handler, limits_);
        if (!listening) return kept_port_taken(listening.error(), address, "--plain-listen");
        plain_ = std::move(*listening);
    }
    unix_ = TURNOUT_TRY(http::listen_unix(
        loop_, instance_.agent_socket(),
        [this](const http::Request& request, http::BodyReader& body) {
            return handle_of_nodes(request, body);
        },
        limits_));
    // What comes from another machine is nobody of this one, though a relay has brought it here.
    relayed_ = TURNOUT_TRY(http::listen_unix(
        loop_, instance_.relayed_socket(),
        [this](const http::Request& request, http::BodyReader& body) {
            return handle_relayed(request, body);
        },
        limits_));
    TURNOUT_TRY(ssh_->open());
    TURNOUT_TRY(open_users());

    Json ports = Json::object();
    ports.set("tls", tls_->address());
    ports.set("plain", plain_->address());
    TURNOUT_TRY(write_document(instance_.ports(), ports, 0600));

    services_->info.version = version();
    services_->info.tls_origin = "https://" + reached_here(tls_->address());
    services_->info.plain_origin = "http://" + plain_->address();
    services_->info.data_folder = instance_.folder;
    const Capabilities machine = provider_->capabilities();
    services_->info.machine = {machine.cores, machine.memory_gb, machine.gpus};
    return {};
}

Task<http::Response> Server::handle_relayed(const http::Request& request, http::BodyReader& body) {
    http::Request from_there = request;
    from_there.peer.loopback = false;
    from_there.peer.address = "a host of a pool";
    http::Response response = co_await router_.handle(*services_, from_there, body);
    co_return response;
}

// Where a pool gives workspaces users of their own, or did so in an earlier life.
Result<void> Server::open_users() {
    const std::string uv = instance_.folder + "/bin/uv";
    const auto open = [&](const UsersSettings& settings) -> Result<void> {
        NodeUsers users =
            TURNOUT_TRY(NodeUsers::open(instance_.folder, settings, instance_.agent_executable(),
                                        ::access(uv.c_str(), X_OK) == 0 ? uv : std::string()));
        return provider_->use_users(std::move(users), pools_of_users_);
    };
    const std::vector<Pool> pools = TURNOUT_TRY(pools_->read());
    for (const Pool& pool : pools)
        if (pool.isolation == Isolation::WorkspaceUid) pools_of_users_.insert(pool.name);
    if (const auto wanted = TURNOUT_TRY(pools_->users_of(pools))) return open(*wanted);
    const auto earlier = NodeUsers::earlier(instance_.folder);
    if (!earlier || ::geteuid() != 0) return {};
    if (const Result<void> opened = open(*earlier); !opened)
        std::fprintf(stderr, "warning: nodes that ran as users of their own are not found: %s\n",
                     opened.error().message.c_str());
    return {};
}

// Its folder is root's, and others cannot pass it; the kernel lets that user and root connect.
Result<void> Server::open_way_of(const NodeUser& user) {
    const std::string path = user.socket();
    http::Limits limits = limits_;
    limits.connections = std::max<std::size_t>(64, limits.connections / 8);
    of_users_.push_back(TURNOUT_TRY(http::listen_unix(
        loop_, path,
        [this, workspace = user.workspace](const http::Request& request, http::BodyReader& body) {
            return handle_of_user(workspace, request, body);
        },
        limits)));
    if (::lchown(path.c_str(), 0, user.uid) != 0 || ::chmod(path.c_str(), 0660) != 0)
        return file_failure("cannot give away", path, errno);
    return {};
}

// A node of a pool whose nodes have users comes by its user's way, not by root's: it is from before
// its pool said so, and another one takes its place.
Task<http::Response> Server::handle_of_nodes(const http::Request& request, http::BodyReader& body) {
    if (!pools_of_users_.empty() && request.path == kLinkPath) {
        const std::optional<api::Principal> who = principal_of(request);
        const std::vector<std::string> parts = split(who ? who->name : std::string(), '/');
        bool wants_user = false;
        if (parts.size() == 3)
            for (const Node& node : control_->nodes_of(parts[0], parts[1]))
                wants_user |= node.name == parts[2] && pools_of_users_.contains(node.pool);
        if (wants_user)
            co_return refused_way(
                "the node's pool has isolation: workspace_uid, and this agent does not run as its "
                "workspace's user");
    }
    http::Response response = co_await router_.handle(*services_, request, body);
    co_return response;
}

// As from another machine: what its tasks call a file here is theirs, not the server's. And a token
// of another workspace's node or job was stolen.
Task<http::Response> Server::handle_of_user(std::string workspace, const http::Request& request,
                                            http::BodyReader& body) {
    if (const std::optional<api::Principal> who = principal_of(request)) {
        const std::string of = who->kind == api::Principal::Kind::Node
                                   ? who->name.substr(0, who->name.find('/'))
                               : who->kind == api::Principal::Kind::Run ? who->workspace
                                                                        : workspace;
        if (of != workspace)
            co_return refused_way("this token is of another workspace than this way to the server");
    }
    http::Request from_there = request;
    from_there.peer.loopback = false;
    from_there.peer.address = "a node of workspace " + workspace;
    http::Response response = co_await router_.handle(*services_, from_there, body);
    co_return response;
}

// Whose the token is that comes with it; nothing if there is none, or none that holds.
std::optional<api::Principal> Server::principal_of(const http::Request& request) const {
    const std::string_view token = api::bearer_of(request);
    if (token.empty()) return std::nullopt;
    auto who = authority_->check(token);
    if (!who) return std::nullopt;
    return std::move(*who);
}

Result<void> Server::announce() {
    const api::ServerInfo& info = services_->info;
    Json client = Json::object();
    const std::string identity = folder_identity(instance_.folder);
    client.set("folder_identity", identity);
    client.set("url", info.tls_origin);
    client.set("plain_url", info.plain_origin);
    client.set("ca_file", instance_.ca());
    client.set("api_key_file", instance_.api_key());
    client.set("subscription_id", workspace_.subscription);
    client.set("resource_group", workspace_.resource_group);
    client.set("workspace_name", workspace_.name);
    TURNOUT_TRY(write_document(instance_.client(), client, 0600));

    Json running = Json::object();
    running.set("pid", static_cast<std::int64_t>(getpid()));
    running.set("start_time",
                static_cast<std::int64_t>(identify(getpid()).value_or(ProcessId{}).start_ticks));
    running.set("started", to_iso8601(clock_.now()));
    running.set("url", info.tls_origin);
    running.set("plain_url", info.plain_origin);
    running.set("version", info.version);
    running.set("listen", tls_->address());
    running.set("fingerprint", fingerprint_);
    running.set("slots", control_->slots());
    if (const std::string missing = ServerPools::missing(*control_); !missing.empty())
        running.set("missing_pools", missing);
    const std::string login = login_line();
    if (!login.empty()) running.set("login", login);
    running.set("jobs", ServerPools::who_runs(*control_));
    running.set("folder_identity", identity);
    TURNOUT_TRY(write_document(instance_.running(), running, 0600));
    if (std::exchange(announced_, true)) return {};
    if (options_.ready)
        options_.ready(info.tls_origin, info.plain_origin, login, ServerPools::who_runs(*control_));
    return {};
}

// What people on other machines type to use this server.
std::string Server::login_line() const {
    std::string host = host_of(tls_->address());
    if (host == "localhost" || host == "[::1]" || host.starts_with("127.")) return {};
    if (is_everywhere(host)) {
        const std::vector<std::string> names = http::names_of_this_machine();
        if (names.empty()) return {};
        host = names.front().find(':') == std::string::npos ? names.front()
                                                            : "[" + names.front() + "]";
    }
    return "turnout login https://" + host + ":" + port_of(tls_->address()) + " --fingerprint " +
           fingerprint_;
}

void Server::collect() {
    if (std::exchange(collecting_, true)) return;
    start(blobs_->collect(clock_.now()), [this](const auto&) { collecting_ = false; });
}

// Content that no name points at any more goes, after its hold.
void Server::keep_collecting() {
    collect();
    loop_.after(std::chrono::hours(1), [this] { keep_collecting(); });
}

// On a disk that is nearly full it goes without one.
void Server::watch_disk() {
    if (blobs_->low_on_space())
        collect();
    else
        hold_room(room(), kRoom);
    loop_.after(30s, [this] { watch_disk(); });
}

// Damage that no request has met yet is found before it is copied over the last good backup.
void Server::verify_storage() {
    apart(
        loop_, [path = instance_.database()] { return verify_database(path); },
        [this](const Result<void>& found) {
            if (found || found.error().reason != "DatabaseDamaged") return;
            services_->info.fault = found.error().message;
            std::fprintf(stderr, "error: %s\n", services_->info.fault.c_str());
        });
}

void Server::keep_ticking() {
    // Level-triggered: control looks at its deadlines; an idle server wakes twice a second.
    control_->tick();
    loop_.after(500ms, [this] { keep_ticking(); });
}

Task<Result<http::Response>> Server::shutdown(api::Call& call) {
    if (call.query_value("all") == "true") {
        Later<Result<void>> stopped;
        control_->stop_everything(
            [settle = stopped.settle()](Result<void> result) { settle(std::move(result)); });
        const Result<void> result = co_await stopped;
        if (!result) co_return Failure(result.error());
    }
    // After the answer is on its way.
    loop_.after(100ms, [this] { loop_.stop(); });
    co_return api::json_response(200, Json::object({{"status", "stopping"}}));
}

Task<Result<http::Response>> Server::drain(api::Call&) {
    Later<Result<void>> begun;
    control_->drain([settle = begun.settle()](Result<void> result) { settle(std::move(result)); },
                    [this] { loop_.after(100ms, [this] { loop_.stop(); }); });
    const Result<void> result = co_await begun;
    if (!result) co_return Failure(result.error());
    co_return api::json_response(202, Json::object({{"status", "draining"}}));
}

Task<Result<http::Response>> Server::resume(api::Call&) {
    Later<Result<void>> resumed;
    control_->resume(
        [settle = resumed.settle()](Result<void> result) { settle(std::move(result)); });
    const Result<void> result = co_await resumed;
    if (!result) co_return Failure(result.error());
    co_return api::json_response(200, Json::object({{"status", "ok"}}));
}

Task<Result<http::Response>> Server::show_slots(api::Call&) {
    co_return api::json_response(
        200, Json::object({{"slots", control_->slots()},
                           {"nodes", control_->nodes()},
                           {"waiting", static_cast<std::int64_t>(control_->waiting())}}));
}

Task<Result<http::Response>> Server::set_slots(api::Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(4096));
    const std::string name = body.at("pool").as_string(std::string(kDefaultPool));
    const std::int64_t wanted = body.at("slots").as_int();
    if (wanted < 1 || wanted > kMostSlots)
        co_return invalid("'slots' is " + body.at("slots").dump() +
                              ": expected a whole number from 1 to " + with_commas(kMostSlots),
                          "slots");
    if (const auto there = control_->pool(name); there && !there->missing) {
        TURNOUT_CO_TRY_VOID(pools_->check_slots(there->pool, wanted));
    }
    const int before = control_->slots(name);
    Later<Result<void>> set;
    control_->set_slots(
        name, static_cast<int>(wanted),
        [settle = set.settle()](Result<void> result) { settle(std::move(result)); });
    const Result<void> result = co_await set;
    if (!result) co_return Failure(result.error());
    TURNOUT_CO_TRY_VOID(announce());
    co_return api::json_response(200, Json::object({{"slots", control_->slots(name)},
                                                    {"before", before},
                                                    {"nodes", control_->pool(name)->nodes}}));
}

void Server::add_own_routes() {
    pools_->add_routes(router_, *control_);
    router_.add("POST", "/turnout/drain", api::Access::User,
                [this](api::Call& call) { return drain(call); });
    router_.add("POST", "/turnout/resume", api::Access::User,
                [this](api::Call& call) { return resume(call); });
    router_.add("GET", "/turnout/slots", api::Access::User,
                [this](api::Call& call) { return show_slots(call); });
    router_.add("PUT", "/turnout/slots", api::Access::User,
                [this](api::Call& call) { return set_slots(call); });
    router_.add("POST", "/turnout/shutdown", api::Access::User,
                [this](api::Call& call) { return shutdown(call); });
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
