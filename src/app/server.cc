#include "app/server.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <cstdio>
#include <thread>
#include <unordered_map>

#include "api/agent/agent_routes.h"
#include "api/api.h"
#include "app/instance.h"
#include "app/version.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/agent_links.h"
#include "control/assets.h"
#include "control/control.h"
#include "control/drills.h"
#include "control/jobs.h"
#include "environment/uv.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/http_server.h"
#include "io/posix/processes.h"
#include "io/posix/sockets.h"
#include "io/tls/certificates.h"
#include "io/tls/tls_server.h"
#include "provider/local/harm.h"
#include "provider/local/local_provider.h"
#include "store/sqlite/intact.h"
#include "store/sqlite/sqlite_store.h"
#include "tracking/tracking.h"

namespace turnout {

namespace {

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

// What the default pool has. NVIDIA's driver lists its devices in /proc.
api::ServerInfo::Pool this_machine() {
    api::ServerInfo::Pool pool;
    pool.cores = static_cast<int>(std::thread::hardware_concurrency());
    pool.slots = std::max(2, pool.cores);
    pool.memory_gb = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
    if (const auto gpus = list_directory("/proc/driver/nvidia/gpus"))
        pool.gpus = static_cast<int>(gpus->size());
    return pool;
}

// Carries out what control asks for.
class ServerEffects : public Effects {
public:
    void send(const NodeId& node, agent_protocol::ToAgent message) override {
        links->send(node, message);
    }
    void provision(const Node& node) override { provider->provision(node); }
    void release(const Node& node) override { provider->release(node); }
    void disconnect(const NodeId& node) override { links->disconnect(node); }
    void wake(Span at) override { tick_at(at); }
    void job_ended(const std::string& workspace, const std::string& job) override {
        tracking->job_ended(workspace, job);
    }

    // A sweep's own log, in the order in which it is said. Lines that are on their way when the
    // server dies are lost; what they tell is in the trials' rows.
    void sweep_says(const std::string& workspace, const std::string& job,
                    const std::string& text) override {
        const agent_protocol::AttemptId id{workspace, job, 1};
        const std::string stream(kSweepLog);
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
    Provider* provider = nullptr;
    Tracking* tracking = nullptr;
    std::function<void(Span)> tick_at;

private:
    std::unordered_map<std::string, std::uint64_t>
        sweep_logs_;  // how long they are, with what is under way
};

// The nodes of this machine, and what a person may do to them on purpose.
class ServerDrills : public Drills {
public:
    explicit ServerDrills(Loop& loop) : loop_(loop) {}

    void kill_node(const NodeId& node, Reply<int> reply) override {
        in_background<int>(
            [folder = provider->folder_of(node)] { return kill_processes_of(folder); },
            std::move(reply));
    }
    void cut_link(const NodeId& node, Span how_long) override { links->cut(node, how_long); }
    void fill_disk(const NodeId& node, Span how_long, Reply<std::uint64_t> reply) override {
        const std::string folder = provider->folder_of(node);
        in_background<std::uint64_t>(
            [folder] {
                return fill_file_system(
                    folder, kLeft, {"/", "/tmp", "/var/tmp", "/home", "/root", "/run", "/dev/shm"});
            },
            [this, folder, how_long, reply = std::move(reply)](Result<std::uint64_t> filled) {
                loop_.after(how_long, [this, folder] {
                    loop_.blocking([folder] { free_file_system(folder); }, [] {});
                });
                reply(std::move(filled));
            });
    }

    AgentLinks* links = nullptr;
    LocalProvider* provider = nullptr;

private:
    static constexpr std::uint64_t kLeft = 1 << 20;

    template <class T>
    void in_background(std::function<Result<T>()> work, Reply<T> reply) {
        auto outcome =
            std::make_shared<std::optional<Result<T>>>();  // shared with the pool's thread
        loop_.blocking([work = std::move(work), outcome] { outcome->emplace(work()); },
                       [outcome, reply = std::move(reply)] { reply(std::move(**outcome)); });
    }

    Loop& loop_;
};

class Server {
public:
    explicit Server(ServerOptions options) : options_(std::move(options)) {}
    Result<void> run();

private:
    Result<void> open();
    Result<void> find_uv();
    Result<void> prepare_credentials();
    Result<void> prepare_workspace();
    Result<void> listen();
    Result<std::unique_ptr<http::Listener>> listen_tls_on(const std::string& address);
    Result<void> announce();
    std::string login_line() const;
    void add_own_routes();
    void keep_ticking();
    void keep_collecting();
    void verify_storage();
    Task<Result<http::Response>> shutdown(api::Call& call);

    ServerOptions options_;
    Instance instance_;
    const http::Limits limits_ = connection_limits();
    // In the order of construction; each outlives what comes after it.
    PosixClock clock_;
    PosixRandom random_;
    AsioLoop loop_;
    ServerEffects effects_;
    ServerDrills drills_{loop_};
    std::unique_ptr<Store> store_;
    std::unique_ptr<Blobs> blobs_;
    std::unique_ptr<Tracking> tracking_;
    std::unique_ptr<Assets> assets_;
    std::unique_ptr<api::InstanceAuthority> authority_;
    std::unique_ptr<AgentLinks> links_;
    std::unique_ptr<LocalProvider> provider_;
    std::unique_ptr<Control> control_;
    std::unique_ptr<api::Services> services_;
    api::Router router_;
    Workspace workspace_;
    std::string fingerprint_;  // of the authority
    api::ServerInfo::Pool pool_;
    bool tick_due_ = false;
    std::unique_ptr<http::Listener> unix_, plain_, tls_;
};

Result<void> Server::run() {
    TURNOUT_TRY(open());
    TURNOUT_TRY(prepare_credentials());
    TURNOUT_TRY(prepare_workspace());
    TURNOUT_TRY(listen());
    TURNOUT_TRY(control_->recover());
    keep_ticking();
    keep_collecting();
    loop_.after(1s, [this] { verify_storage(); });
    for (const int signal : {SIGTERM, SIGINT}) loop_.on_signal(signal, [this] { loop_.stop(); });
    TURNOUT_TRY(announce());
    malloc_trim(0);
    loop_.run();
    // Crash-only: what was acknowledged is durable and nodes go on, so nothing needs saying
    // goodbye, and no other destructor meets a request that is still under way.
    unlink(instance_.running().c_str());
    unlink(instance_.agent_socket().c_str());
    store_.reset();  // what is under way is recorded, and the database is one file again
    std::fflush(nullptr);
    _exit(0);
}

Result<void> Server::open() {
    instance_ = TURNOUT_TRY(open_instance(options_.data));
    if (access(instance_.keys().c_str(), F_OK) == 0 &&
        access(instance_.database().c_str(), F_OK) != 0 && !options_.accept_loss)
        return fail(
            Code::FailedPrecondition, "DatabaseLost",
            "the database '" + instance_.database() +
                "' is missing, although a server has used this folder: put it back, or restore a "
                "backup (`turnout restore`); to begin with an empty one, start once with `turnout "
                "up --accept-loss`",
            instance_.database());
    SqliteOptions storage;
    storage.accept_lost_log = options_.accept_loss;
    store_ = TURNOUT_TRY(open_sqlite_store(loop_, instance_.database(), std::move(storage)));
    TURNOUT_TRY(unpack_agent(instance_));
    TURNOUT_TRY(find_uv());
    blobs_ = TURNOUT_TRY(open_blobs(*store_, clock_, random_, loop_, instance_.blobs()));
    tracking_ = std::make_unique<Tracking>(*store_, clock_, random_, loop_);
    blobs_->set_virtual(tracking_.get());
    assets_ = std::make_unique<Assets>(*store_, clock_, random_);
    authority_ =
        api::make_authority(*store_, clock_, random_, TURNOUT_TRY(load_keys(instance_, random_)));
    links_ = std::make_unique<AgentLinks>(loop_, *tracking_);

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
        return authority_->mint(node, "turnout", std::chrono::hours(24 * 365));
    };
    provider_ = std::make_unique<LocalProvider>(
        loop_, std::move(local),
        ProviderEvents{
            [this](const NodeId& id, Error why) { control_->node_failed(id, std::move(why)); },
            [this](const NodeId& id) { control_->node_gone(id); }});
    effects_.tick_at = [this](Span at) {
        if (std::exchange(tick_due_, true)) return;
        loop_.after(std::max(Span{}, at - clock_.since_boot()), [this] {
            tick_due_ = false;
            control_->tick();
        });
    };
    effects_.links = links_.get();
    effects_.provider = provider_.get();
    drills_.links = links_.get();
    drills_.provider = provider_.get();
    free_all_file_systems(instance_.nodes());

    pool_ = this_machine();
    if (options_.slots > 0) pool_.slots = options_.slots;
    Control::Settings settings;
    settings.slots = pool_.slots;
    settings.run_token = [this](const agent_protocol::AttemptId& id) {
        api::Principal run;
        run.kind = api::Principal::Kind::Run;
        run.name = id.job;
        run.workspace = id.workspace;
        run.job = id.job;
        run.attempt = id.attempt;
        return authority_->mint(run, "turnout", std::chrono::hours(24 * 60));
    };
    control_ = std::make_unique<Control>(clock_, *store_, effects_, settings);
    links_->set_control(control_.get());
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

Result<void> Server::prepare_credentials() {
    if (access(instance_.api_key().c_str(), F_OK) != 0) {
        const Secret key = TURNOUT_TRY(loop_.run(authority_->create_api_key("admin")));
        TURNOUT_TRY(write_file_atomically(instance_.api_key(), key.reveal() + "\n", 0600));
    }
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
    const std::string authority = TURNOUT_TRY(read_file(files.authority));
    fingerprint_ = tls::fingerprint(authority);
    return tls::write_ca_bundle(instance_.ca_bundle(), authority);
}

Result<void> Server::prepare_workspace() {
    const std::vector<Workspace> all = TURNOUT_TRY(assets_->list_workspaces("", ""));
    if (!all.empty()) {
        workspace_ = all.front();
        for (const Workspace& one : all)
            if (one.created < workspace_.created) workspace_ = one;
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
                                                              &drills_});
    api::add_discovery_routes(router_, *services_);
    api::add_arm_routes(router_, *services_);
    api::add_blob_routes(router_, *services_);
    api::add_history_routes(router_, *services_);
    api::add_mlflow_routes(router_, *services_);
    api::add_portal_routes(router_, *services_);
    api::add_agent_routes(router_, *links_);
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
    unix_ = TURNOUT_TRY(http::listen_unix(loop_, instance_.agent_socket(), handler, limits_));

    Json ports = Json::object();
    ports.set("tls", tls_->address());
    ports.set("plain", plain_->address());
    TURNOUT_TRY(write_document(instance_.ports(), ports, 0600));

    services_->info.version = version();
    services_->info.tls_origin = "https://" + reached_here(tls_->address());
    services_->info.plain_origin = "http://" + plain_->address();
    services_->info.data_folder = instance_.folder;
    services_->info.pool = pool_;
    return {};
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
    const std::string login = login_line();
    if (!login.empty()) running.set("login", login);
    running.set("folder_identity", identity);
    TURNOUT_TRY(write_document(instance_.running(), running, 0600));
    if (options_.ready) options_.ready(info.tls_origin, info.plain_origin, login);
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

// Content that no name points at any more goes, after its hold.
void Server::keep_collecting() {
    start(blobs_->collect(clock_.now()), [](const auto&) {});
    loop_.after(std::chrono::hours(1), [this] { keep_collecting(); });
}

// Damage that no request has met yet is found before it is copied over the last good backup.
void Server::verify_storage() {
    const auto found = std::make_shared<Result<void>>();  // shared with the pool's thread
    loop_.blocking([found, path = instance_.database()] { *found = verify_database(path); },
                   [this, found] {
                       if (*found || found->error().reason != "DatabaseDamaged") return;
                       services_->info.fault = found->error().message;
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

void Server::add_own_routes() {
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
