// The server of this machine, and the environment in which the real clients find it.
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/hash.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"
#include "io/posix/files.h"
#include "io/tls/certificates.h"

namespace turnout::cli {

namespace {

struct Running {
    pid_t pid = 0;
    std::int64_t start_time = 0;
    Json document;
};

// Field 22 of /proc/PID/stat: with it a pid that another process has now is not taken for ours.
std::int64_t start_time_of(pid_t pid) {
    const Result<std::string> stat = client::read_file("/proc/" + std::to_string(pid) + "/stat");
    if (!stat) return -1;
    const std::size_t name_end = stat->rfind(')');  // the name may hold anything
    if (name_end == std::string::npos) return -1;
    const std::vector<std::string> fields =
        split(std::string_view(*stat).substr(name_end + 2), ' ');
    if (fields.size() < 20 || fields[0] == "Z") return -1;
    return yaml_scalar(fields[19]).as_int(-1);
}

std::optional<Running> find_running(const std::string& data) {
    const Result<std::string> text = client::read_file(data + "/server.json");
    if (!text) return std::nullopt;
    const Result<Json> json = parse_json(*text);
    if (!json) return std::nullopt;
    // Of the folder that this is a copy of.
    if (const Json* folder = json->find("folder_identity");
        folder && folder->as_view() != folder_identity(data))
        return std::nullopt;
    Running running{static_cast<pid_t>(json->at("pid").as_int()), json->at("start_time").as_int(),
                    *json};
    if (running.pid <= 1 || start_time_of(running.pid) != running.start_time) return std::nullopt;
    return running;
}

bool is_alive(const Running& running) {
    return start_time_of(running.pid) == running.start_time;
}

constexpr const char* kOnNodes =
    "Preparing,Provisioning,Starting,Running,Finalizing,CancelRequested,NotResponding";

// What is under way, for `down` to tell: "2 jobs (a, b)" and how many nodes.
std::string what_runs(client::Api& api) {
    std::vector<std::string> names;
    (void)api.each(api.in_workspace("/jobs?listViewType=All&status=Queued,NotStarted," +
                                    std::string(kOnNodes)),
                   [&](Json& job) {
                       names.push_back(job.at("name").as_string());
                       return true;
                   });
    std::int64_t nodes = 0;
    if (const Result<Json> computes = api.list(api.in_workspace("/computes")))
        for (const Json& compute : computes->items())
            nodes += resources::at_path(compute, "properties.properties.currentNodeCount").as_int();
    std::string text;
    if (!names.empty()) {
        std::vector<std::string> shown(
            names.begin(),
            names.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(5, names.size())));
        text = std::to_string(names.size()) + (names.size() == 1 ? " job (" : " jobs (") +
               join(shown, ", ") + (names.size() > 5 ? ", …)" : ")");
    }
    if (nodes > 0)
        text += (text.empty() ? "" : " and ") + std::to_string(nodes) +
                (nodes == 1 ? " node" : " nodes");
    return text;
}

std::size_t waiting_jobs(client::Api& api) {
    if (const Result<Json> pool = api.get("/turnout/slots"); pool && pool->has("waiting"))
        return static_cast<std::size_t>(pool->at("waiting").as_int());
    std::size_t count = 0;  // a server of an earlier build
    (void)api.each(api.in_workspace("/jobs?listViewType=All&status=Queued"),
                   [&](Json&) { return ++count; });
    return count;
}

}  // namespace

namespace {

// What `up` means to a server that runs already: another number of slots, and that it is to work.
Result<void> tell_running(Context& context, const UpOptions& options) {
    client::Api& api = *TURNOUT_TRY(context.api());
    if (options.slots > 0) {
        const Result<Json> answer =
            api.put("/turnout/slots", Json::object({{"slots", options.slots}}));
        if (!answer && options.restart && answer.error().code == Code::NotFound)
            return {};  // an older build: the new one takes them
        const Json set = TURNOUT_TRY(answer);
        const std::int64_t slots = set.at("slots").as_int(), before = set.at("before").as_int(),
                           nodes = set.at("nodes").as_int();
        std::string text =
            "the pool has " + std::to_string(slots) + (slots == 1 ? " slot" : " slots") +
            (slots == before ? ", as before" : " now, instead of " + std::to_string(before));
        if (nodes > slots)
            text += "; " + std::to_string(nodes) +
                    " nodes are there: those that are too many go as their jobs end";
        context.note(text);
    }
    const Result<Json> health = api.get("/health");
    if (!health || !health->at("draining").as_bool()) return {};
    TURNOUT_TRY(api.post("/turnout/resume"));
    context.note(
        "the server was about to stop when its running jobs have ended: it goes on now, with what "
        "waits");
    return {};
}

// "2 jobs (a for 12 min, b)": what `down --drain` waits for.
Result<std::string> what_ends(client::Api& api) {
    std::vector<std::string> jobs;
    TURNOUT_TRY(api.each(api.in_workspace("/jobs?listViewType=All&status=" + std::string(kOnNodes)),
                         [&](Json& job) {
                             std::string text = harmless(job.at("name").as_view());
                             if (const Result<Instant> since =
                                     parse_iso8601(resources::at_path(job, "properties.properties")
                                                       .at("turnout.started")
                                                       .as_view()))
                                 text += " for " + age_words(api.now() - *since);
                             jobs.push_back(std::move(text));
                             return true;
                         }));
    if (jobs.empty()) return std::string();
    const std::size_t shown = std::min<std::size_t>(jobs.size(), 5);
    return std::to_string(jobs.size()) + (jobs.size() == 1 ? " job (" : " jobs (") +
           join(std::vector<std::string>(jobs.begin(),
                                         jobs.begin() + static_cast<std::ptrdiff_t>(shown)),
                ", ") +
           (jobs.size() > shown ? ", …)" : ")");
}

// Lets what runs end, and waits for that; the server goes on with it if this is interrupted.
int drain(Context& context, const Running& running) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    if (const Result<Json> begun = api.post("/turnout/drain"); !begun)
        return context.fail(begun.error());
    context.note(
        "nothing new is begun; the server stops when what runs has ended, and keeps what waits "
        "(`turnout up` takes that back)");
    api.loop().on_signal(SIGINT, [&context] {
        context.end_status();
        std::fputs(
            "\nthe server goes on: it begins nothing new, and stops by itself when its running "
            "jobs have ended.\n"
            "`turnout status` tells how far it is, `turnout up` takes it back, `turnout down` "
            "stops it now\n",
            stderr);
        ::_exit(130);
    });
    std::string before, waits;
    while (is_alive(running)) {
        if (const std::size_t count = waiting_jobs(api); count > 0)
            waits = with_commas(static_cast<std::int64_t>(count)) +
                    (count == 1 ? " job waits" : " jobs wait");
        const Result<std::string> left = what_ends(api);
        const std::string text = !left           ? "waiting for the server to stop"
                                 : left->empty() ? "waiting for the last nodes to go"
                                                 : "waiting for " + *left;
        context.status(text);
        // Without a terminal a line when something ended, not one for every minute of what runs.
        if (const std::string what = text.substr(0, text.find('('));
            context.quiet() && what != before)
            context.note(text), before = what;
        for (int i = 0; i < 10 && is_alive(running); ++i) api.loop().run(api.loop().sleep(100ms));
        if (const Result<Json> health = api.get("/health");
            health && !health->at("draining").as_bool())
            return context.fail({Code::Canceled, "Resumed",
                                 "`turnout up` has taken it back: the server goes on", ""});
    }
    context.end_status();
    context.note("the server has stopped" +
                 (waits.empty() ? "" : "; " + waits + " for the next `turnout up`"));
    return 0;
}

}  // namespace

int server_up(Context& context) {
    if (!context.hooks().up)
        return context.fail(
            {Code::FailedPrecondition, "NoServer", "this executable has no server in it", ""});
    const Arguments& args = context.args();
    UpOptions options;
    options.data = client::data_folder(args.get("--data"));
    options.listen = args.get("--listen");
    options.plain_listen = args.get("--plain-listen");
    options.detach = args.has("--detach");
    options.python = args.get("--python");
    options.uv = args.get("--uv");
    options.allow_fetch = args.all("--allow-fetch");
    options.fetch_mirrors = args.all("--fetch-mirror");
    options.fetch_limit = args.get("--fetch-limit");
    options.python_mirror = args.get("--python-mirror");
    options.restart = args.has("--restart");
    options.accept_loss = args.has("--accept-loss");
    if (args.has("--tls-certificate") != args.has("--tls-key"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "--tls-certificate and --tls-key go together", "--tls-key"});
    if (args.has("--tls-certificate")) {
        options.tls_certificate = std::filesystem::absolute(args.get("--tls-certificate"));
        options.tls_key = std::filesystem::absolute(args.get("--tls-key"));
    }
    if (args.has("--fetch-limit")) {
        const Json limit = yaml_scalar(options.fetch_limit);
        if (!limit.is_int() || limit.as_int() < 1 || limit.as_int() > 1'000'000)
            return context.fail({Code::InvalidArgument, "Usage",
                                 "--fetch-limit takes a number of gigabytes from 1",
                                 "--fetch-limit"});
    }
    if (args.has("--cache-limit")) {
        const Result<std::uint64_t> limit = parse_size(args.get("--cache-limit"));
        if (!limit) return context.fail(limit.error());
        options.cache_limit = *limit;
    }
    if (args.has("--slots")) {
        const Json slots = yaml_scalar(args.get("--slots"));
        if (!slots.is_int() || slots.as_int() < 1 || slots.as_int() > 10'000)
            return context.fail(
                {Code::InvalidArgument, "Usage", "--slots takes a number from 1", "--slots"});
        options.slots = static_cast<int>(slots.as_int());
    }
    const std::optional<Running> running = find_running(options.data);
    if (running)
        if (const Result<void> told = tell_running(context, options); !told)
            return context.fail(told.error());
    return context.hooks().up(options);
}

int server_down(Context& context) {
    const std::string data = client::data_folder(context.args().get("--data"));
    const std::optional<Running> running = find_running(data);
    if (!running) {
        context.note("no server runs with the data folder " + data);
        return 0;
    }
    const bool all = context.args().has("--all");
    if (all && context.args().has("--drain"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "--drain keeps what waits and --all cancels it: give one of them",
                             "--drain"});
    if (context.args().has("--drain")) return drain(context, *running);
    std::string left;
    if (const Result<client::Api*> opened = context.api()) {
        client::Api& api = **opened;
        left = what_runs(api);
        if (all && !context.args().has("--yes"))
            if (const std::size_t waiting = waiting_jobs(api); waiting > 0) {
                const std::string jobs = waiting == 1
                                             ? "1 job waits in the queue and would be canceled"
                                             : with_commas(static_cast<std::int64_t>(waiting)) +
                                                   " jobs wait in the queue and would be canceled";
                if (const Result<void> agreed =
                        context.agreed(jobs, "Cancel them?",
                                       "`turnout down` alone keeps them for the next `turnout up`");
                    !agreed)
                    return context.fail(agreed.error());
            }
        if (all) {
            context.status("ending " + (left.empty() ? "everything" : left));
            const Json nothing = Json::object();
            const Result<client::Reply> reply =
                api.send("POST", "/turnout/shutdown?all=true", &nothing);
            if (!reply) return context.fail(reply.error());
        }
    } else if (all) {
        return context.fail(opened.error());
    }
    if (!all && ::kill(running->pid, SIGTERM) != 0 && errno != ESRCH)
        return context.fail(
            {Code::PermissionDenied, "NotPermitted",
             "cannot stop process " + std::to_string(running->pid) + ": " + std::strerror(errno),
             ""});
    for (int i = 0; i < 600 && is_alive(*running); ++i) {
        if (i % 10 == 0)
            context.status("waiting for the server (process " + std::to_string(running->pid) +
                           ") to stop");
        ::usleep(100'000);
    }
    context.end_status();
    if (is_alive(*running))
        return context.fail({Code::Unavailable, "StillRunning",
                             "the server (process " + std::to_string(running->pid) +
                                 ") does not stop; see " + data + "/server.log",
                             ""});
    context.note("the server has stopped");
    if (!left.empty() && all)
        context.note(left + " ended with it");
    else if (!left.empty())
        context.note(
            "without it " + left +
            (left.starts_with("1 ") && left.find(" and ") == std::string::npos ? " goes" : " go") +
            " on, to be taken up again by the next `turnout up`; `turnout down --all` ends "
            "everything");
    return 0;
}

int server_status(Context& context) {
    const std::string data = client::data_folder(context.args().get("--data"));
    const std::optional<Running> running = find_running(data);
    Json out = Json::object({{"running", running.has_value()}, {"data_folder", data}});
    if (const std::string uv = data + "/bin/uv"; ::access(uv.c_str(), X_OK) == 0) {
        char* path = ::realpath(uv.c_str(), nullptr);
        out.set("uv", path ? path : uv);
        std::free(path);
    } else {
        out.set("uv",
                "none yet: the first environment fetches it from the package index; else `turnout "
                "up --uv PATH`");
    }
    if (const Result<std::string> mirror = read_file(data + "/cache/python-mirror"); mirror)
        out.set("python_mirror", trim(*mirror));
    if (running) {
        out.set("pid", static_cast<std::int64_t>(running->pid));
        for (const auto& [key, value] : running->document.members())
            if (key != "pid" && key != "start_time" && key != "folder_identity")
                out.set(key, value);
        bool ready = false;
        if (const Result<client::Api*> opened = context.api()) {
            client::Api& api = **opened;
            const Result<Json> health = api.get("/health");
            ready = health.has_value();
            if (ready && health->at("draining").as_bool())
                out.set("draining",
                        "begins nothing new, and stops when its running jobs have ended");
            if (!ready) out.set("fault", health.error().message);
            if (ready) {
                if (const std::string what = what_runs(api); !what.empty())
                    out.set("under_way", what);
                tell_who(api, out);
                for (const auto& [key, value] :
                     {std::pair<const char*, std::string>{"subscription_id",
                                                          api.settings().subscription_id},
                      {"resource_group", api.settings().resource_group},
                      {"workspace_name", api.settings().workspace_name}})
                    out.set(key, value);
            }
        }
        out.set("ready", ready);
    }
    bool answers = running.has_value();
    // A server elsewhere that `turnout login` has set up.
    if (const Result<client::Settings> login = client::read_settings(client::config_file());
        login && !context.args().has("--data")) {
        Json there = Json::object({{"url", login->url},
                                   {"workspace_name", login->workspace_name},
                                   {"kept_in", login->file}});
        if (const Result<std::string> pem = client::read_file(login->ca_file))
            there.set("fingerprint", tls::fingerprint(*pem));
        const Result<client::Settings> used = context.settings();
        const bool in_use = used && used->file == login->file;
        there.set("used_by_commands", in_use);
        if (in_use) {
            const Result<client::Api*> opened = context.api();
            const Result<Json> health =
                opened ? (*opened)->get("/health") : Result<Json>(Failure(opened.error()));
            there.set("ready", health.has_value());
            if (health) tell_who(**opened, there);
            if (!health) there.set("fault", health.error().message);
            answers = health.has_value();
        }
        out.set("login", std::move(there));
    }
    const int shown = context.show(out);
    return shown != 0 ? shown : answers ? 0 : 3;
}

std::vector<std::pair<std::string, std::string>> environment_of(const client::Settings& settings) {
    const std::string folder =
        settings.data.empty() ? client::folder_of(settings.file) : settings.data;
    const std::string bundle = folder + "/ca-bundle.pem";
    const std::string& plain = settings.plain_url.empty() ? settings.url : settings.plain_url;
    const std::string key = settings.api_key.reveal();
    std::vector<std::pair<std::string, std::string>> out = {
        {"ARM_CLOUD_METADATA_URL", settings.url + "/metadata/endpoints?api-version=2019-05-01"},
        {"AZUREML_CURRENT_CLOUD", "Turnout"},
        {"REGISTRY_DISCOVERY_ENDPOINT_URL", settings.url + "/"},
        {"REQUESTS_CA_BUNDLE", bundle},
        {"CURL_CA_BUNDLE", bundle},
        {"SSL_CERT_FILE", bundle},
        {"IDENTITY_ENDPOINT", plain + "/msi/token"},
        {"IDENTITY_HEADER", key},
        {"AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"},
        {"AZUREML_RUN_POLLING_INTERVAL_MAX", "3"},
        {"MLFLOW_TRACKING_URI", plain},
        {"MLFLOW_TRACKING_TOKEN", key},
        {"MLFLOW_DISABLE_TELEMETRY", "true"},
        {"AZURE_SUBSCRIPTION_ID", settings.subscription_id},
        {"TURNOUT_URL", settings.url},
        {"TURNOUT_SUBSCRIPTION", settings.subscription_id},
        {"TURNOUT_RESOURCE_GROUP", settings.resource_group},
        {"TURNOUT_WORKSPACE", settings.workspace_name}};
    if (!settings.data.empty()) out.emplace_back("TURNOUT_DATA", settings.data);
    return out;
}

int print_environment(Context& context) {
    const Result<client::Settings> settings = context.settings();
    if (!settings) return context.fail(settings.error());
    std::string text;
    for (const auto& [name, value] : environment_of(*settings))
        text += "export " + name + "=" + quote_for_shell(value) + "\n";
    context.out(text);
    return 0;
}

int exec_in_environment(Context& context) {
    const Result<client::Settings> settings = context.settings();
    if (!settings) return context.fail(settings.error());
    for (const auto& [name, value] : environment_of(*settings))
        ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<std::string> words = context.args().operands;
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    const int why = errno;
    std::fprintf(stderr, "error: cannot run '%s': %s\n", argv[0], std::strerror(why));
    return why == ENOENT ? 127 : 126;  // as shells do
}

int print_config(Context& context) {
    const Result<client::Settings> settings = context.settings();
    if (!settings) return context.fail(settings.error());
    context.out(Json::object({{"subscription_id", settings->subscription_id},
                              {"resource_group", settings->resource_group},
                              {"workspace_name", settings->workspace_name}})
                    .dump_pretty() +
                "\n");
    return 0;
}

namespace {

std::string pem_of(X509* certificate) {
    BIO* memory = BIO_new(BIO_s_mem());
    std::string out;
    if (memory != nullptr && PEM_write_bio_X509(memory, certificate) == 1) {
        char* data = nullptr;
        const long size = BIO_get_mem_data(memory, &data);
        out.assign(data, static_cast<std::size_t>(size));
    }
    BIO_free(memory);
    return out;
}

// The authority at the end of the chain that the server presents, unverified: the person compares
// its fingerprint.
struct Presented {
    std::string pem, fingerprint;
    bool known = false;  // the system trusts it for that host, so nobody has to
};
Result<Presented> presented_authority(const std::string& host, const std::string& port) {
    SSL_CTX* tls = SSL_CTX_new(TLS_client_method());
    if (tls != nullptr) SSL_CTX_set_default_verify_paths(tls);
    BIO* connection = tls == nullptr ? nullptr : BIO_new_ssl_connect(tls);
    if (connection == nullptr) {
        SSL_CTX_free(tls);
        return internal("TLS cannot be set up");
    }
    SSL* ssl = nullptr;
    BIO_get_ssl(connection, &ssl);
    BIO_set_conn_hostname(connection, (host + ":" + port).c_str());
    const std::string bare =
        host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), bare.c_str()) != 1) {
        SSL_set1_host(ssl, host.c_str());
        SSL_set_tlsext_host_name(ssl, host.c_str());
    }
    Result<Presented> result =
        fail(Code::Unavailable, "Unreachable", "no TLS server answers at " + host + ":" + port);
    if (BIO_do_connect(connection) == 1 && BIO_do_handshake(connection) == 1) {
        STACK_OF(X509)* verified = SSL_get0_verified_chain(ssl);
        const bool known = SSL_get_verify_result(ssl) == X509_V_OK && sk_X509_num(verified) > 0;
        STACK_OF(X509)* chain = known ? verified : SSL_get_peer_cert_chain(ssl);
        X509* last = chain == nullptr || sk_X509_num(chain) == 0
                         ? nullptr
                         : sk_X509_value(chain, sk_X509_num(chain) - 1);
        if (last != nullptr && X509_check_ca(last) != 0)
            result = Presented{pem_of(last), tls::fingerprint(pem_of(last)), known};
        else
            result = fail(Code::FailedPrecondition, "NoAuthority",
                          "the server does not present its certificate authority: copy ca.pem from "
                          "its data folder and give it with --ca-file");
    }
    BIO_free_all(connection);
    SSL_CTX_free(tls);
    return result;
}

// The person confirms it in a browser, wherever that is, at the server's identity provider, with
// whom the server alone speaks: it keeps the client's secret, and looks itself at what is signed.
Result<std::string> token_by_device(Context& context, client::Api& api) {
    const Json begun = TURNOUT_TRY(api.post("/turnout/login/device"));
    const std::string code = harmless(begun.at("userCode").as_view());
    const std::string whole = harmless(begun.at("completeAddress").as_view());
    context.note("to log in, open\n  " + harmless(begun.at("address").as_view()) +
                 "\nin a browser, on any machine, and enter the code\n  " + code);
    if (!whole.empty()) context.note("or open, and compare the code:\n  " + whole);
    std::array<char, 256> name{};
    ::gethostname(name.data(), name.size() - 1);
    const Json asked =
        Json::object({{"handle", begun.at("handle")}, {"machine", std::string(name.data())}});
    const auto interval_in = [](const Json& answer, std::int64_t otherwise) {
        return std::clamp<std::int64_t>(answer.at("interval").as_int(otherwise), 1, 60);
    };
    std::int64_t interval = interval_in(begun, 5);
    const std::int64_t life = begun.at("expiresIn").as_int();
    for (std::int64_t waited = 0; waited < life; waited += interval) {
        context.status("waiting for you to confirm it there (" + std::to_string(life - waited) +
                       " s left)");
        std::this_thread::sleep_for(std::chrono::seconds(interval));
        const Result<Json> answer = api.post("/turnout/login/device/poll", asked);
        // Nor does it end with a connection that broke before the answer came.
        if (!answer &&
            (answer.error().code == Code::Unavailable || answer.error().code == Code::Ambiguous))
            continue;
        if (!answer || answer->at("state").as_view() == "done") context.end_status();
        if (!answer) return Failure(answer.error());
        if (answer->at("state").as_view() == "done") return answer->at("token").as_string();
        interval = interval_in(*answer, interval);
    }
    context.end_status();
    return fail(Code::PermissionDenied, "LoginExpired",
                "nobody confirmed it in time: log in again");
}

// Given, or by the server's identity provider, or typed.
Result<std::string> token_for_login(Context& context, const client::Settings& trial) {
    const Arguments& args = context.args();
    const std::string file = args.get("--key-file");
    if (args.has("--use-device-code") && !file.empty())
        return invalid("--use-device-code gets a token, so there is none to give with --key-file");
    if (file.empty() && (args.has("--use-device-code") || ::isatty(0) == 1)) {
        const std::unique_ptr<client::Api> api = TURNOUT_TRY(client::Api::open(trial));
        const Result<Json> ways = api->get("/turnout/login");
        // A server of an earlier build does not know the question.
        const bool oidc = ways && ways->at("oidc").as_bool();
        if (!ways && ways.error().code != Code::NotFound) return Failure(ways.error());
        if (oidc || args.has("--use-device-code")) return token_by_device(context, *api);
    }
    const std::string key(trim(file.empty() || file == "-" ? read_hidden_line(context, "token: ")
                                                           : TURNOUT_TRY(client::read_file(file))));
    if (key.empty())
        return invalid("no token: give --key-file FILE, or the token on standard input");
    return key;
}

Result<client::Settings> log_in(Context& context) {
    const Arguments& args = context.args();
    client::Settings settings;
    settings.url = args.operands[0];
    while (settings.url.ends_with('/')) settings.url.pop_back();
    if (!settings.url.starts_with("https://"))
        return invalid("the URL of a server begins with https://, found '" + settings.url + "'");
    const std::string authority = settings.url.substr(8);
    const std::size_t colon = authority.rfind(':');
    const std::string host = authority.substr(
        0, colon == std::string::npos || authority.ends_with(']') ? std::string::npos : colon);
    const std::string port = colon == std::string::npos || authority.ends_with(']')
                                 ? "443"
                                 : authority.substr(colon + 1);
    settings.file = client::config_file();
    const std::string folder = client::folder_of(settings.file);

    std::string ca;
    if (args.has("--ca-file")) {
        ca = TURNOUT_TRY(client::read_file(args.get("--ca-file")));
    } else {
        const Presented presented = TURNOUT_TRY(presented_authority(host, port));
        if (args.has("--fingerprint")) {
            if (!equal_ignoring_case(args.get("--fingerprint"), presented.fingerprint))
                return fail(Code::PermissionDenied, "WrongFingerprint",
                            "the server's authority has the fingerprint " + presented.fingerprint +
                                ", not the one given: nothing was sent to it");
        } else if (!presented.known) {
            if (::isatty(0) != 1)
                return fail(
                    Code::FailedPrecondition, "NotTrusted",
                    "the server's authority is not known here: give --ca-file, or --fingerprint " +
                        presented.fingerprint +
                        " after comparing it with `turnout status` over there");
            context.note("the authority of " + settings.url + " has the SHA-256 fingerprint\n  " +
                         presented.fingerprint);
            std::fprintf(stderr, "is it the right one? (yes/no) ");
            std::string answer;
            std::getline(std::cin, answer);
            if (trim(answer) != "yes") return fail(Code::Canceled, "NotTrusted", "not logged in");
        }
        ca = presented.pem;
    }
    settings.ca_file = folder + "/ca.pem";
    settings.api_key_file = folder + "/api.key";
    // Tried out before anything is kept; the connector wants a file.
    if (Result<void> made = client::make_folders(folder, 0700); !made) return Failure(made.error());
    client::Settings trial = settings;
    trial.ca_file = folder + "/ca.pem.trial";
    if (Result<void> written = client::write_file(trial.ca_file, ca, 0600); !written)
        return Failure(written.error());
    const Result<std::string> got = token_for_login(context, trial);
    if (!got) {
        ::unlink(trial.ca_file.c_str());
        return Failure(got.error());
    }
    const std::string& key = *got;
    settings.api_key = trial.api_key = Secret(key);
    Result<std::unique_ptr<client::Api>> api = client::Api::open(trial);
    Result<Json> subscriptions =
        api ? (*api)->list("/subscriptions") : Result<Json>(Failure(api.error()));
    const auto give_up = [&](const Error& error) {
        ::unlink(trial.ca_file.c_str());
        return Failure(error);
    };
    if (!subscriptions) return give_up(subscriptions.error());
    // Where nothing is said the server says which is meant.
    const bool any = !args.has("--subscription") && !args.has("--resource-group") &&
                     !args.has("--workspace-name");
    const Result<Json> meant =
        any ? (*api)->get("/turnout/workspace") : Result<Json>(Json::object());
    if (!meant && meant.error().code != Code::NotFound) return give_up(meant.error());
    const auto place = split(meant ? meant->at("id").as_string() : std::string(),
                             '/');  // "", subscriptions, S, resourceGroups, G, …
    settings.subscription_id = place.size() > 4 ? place[2] : args.get("--subscription");
    if (settings.subscription_id.empty() && !subscriptions->items().empty())
        settings.subscription_id = subscriptions->items()[0].at("subscriptionId").as_string();
    const Result<Json> workspaces =
        (*api)->list("/subscriptions/" + percent_encode(settings.subscription_id) +
                     "/providers/Microsoft.MachineLearningServices/workspaces");
    if (!workspaces) return give_up(workspaces.error());
    const std::string wanted = args.get("--workspace-name");
    for (const Json& workspace : workspaces->items()) {
        if (!wanted.empty() && !equal_ignoring_case(workspace.at("name").as_view(), wanted))
            continue;
        const std::vector<std::string> parts = split(workspace.at("id").as_view(), '/');
        if (args.has("--resource-group") && parts.size() > 4 &&
            !equal_ignoring_case(parts[4], args.get("--resource-group")))
            continue;
        if (place.size() > 4 &&
            !equal_ignoring_case(workspace.at("id").as_view(), meant->at("id").as_view()))
            continue;
        if (parts.size() > 4) settings.resource_group = parts[4];
        settings.workspace_name = workspace.at("name").as_string();
        break;
    }
    if (settings.workspace_name.empty())
        return give_up(
            {Code::NotFound, "ResourceNotFound",
             wanted.empty()
                 ? "the server has no workspace: make one with `turnout workspace create`"
                 : "the server has no workspace '" + wanted + "'",
             wanted});
    ::unlink(trial.ca_file.c_str());
    if (Result<void> done = client::write_file(settings.ca_file, ca, 0644); !done)
        return Failure(done.error());
    if (Result<void> done = client::write_file(settings.api_key_file, key + "\n", 0600); !done)
        return Failure(done.error());
    if (Result<void> done = tls::write_ca_bundle(folder + "/ca-bundle.pem", ca); !done)
        return Failure(done.error());
    if (Result<void> done = client::save_settings(settings, settings.file); !done)
        return Failure(done.error());
    return settings;
}

}  // namespace

std::string read_hidden_line(Context& context, const std::string& prompt) {
    termios before{};
    const bool terminal = ::isatty(0) == 1 && ::tcgetattr(0, &before) == 0;
    if (terminal) {
        std::fprintf(stderr, "%s", prompt.c_str());
        termios silent = before;
        silent.c_lflag &= static_cast<tcflag_t>(~ECHO);
        ::tcsetattr(0, TCSANOW, &silent);
    }
    std::string line;
    std::getline(std::cin, line);
    if (terminal) {
        ::tcsetattr(0, TCSANOW, &before);
        context.note("");
    }
    return std::string(trim(line));
}

namespace {

// A link that logs a browser in, once, as whoever this command is.
int log_browser_in(Context& context) {
    if (!context.args().operands.empty())
        return context.fail({Code::InvalidArgument, "Usage",
                             "--browser is for the server that commands here use: without a URL",
                             "--browser"});
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> made = api.post("/turnout/login-links");
    if (!made) return context.fail(made.error());
    const client::Settings& settings = api.settings();
    // On this machine without TLS: no certificate has to be trusted.
    const std::string& origin = settings.plain_url.empty() ? settings.url : settings.plain_url;
    context.note("open this in a browser within ten minutes; it logs it in once:");
    context.out(origin + made->at("path").as_string() + "\n");
    return 0;
}

}  // namespace

int login(Context& context) {
    if (context.args().has("--browser")) return log_browser_in(context);
    if (context.args().operands.empty())
        return context.fail({Code::InvalidArgument, "Usage",
                             "which server? `turnout login https://HOST:PORT`, or --browser to log "
                             "a browser in",
                             "URL"});
    const Result<client::Settings> settings = log_in(context);
    if (!settings) return context.fail(settings.error());
    Json who = Json::object();
    if (const auto api = client::Api::open(*settings)) tell_who(**api, who);
    context.note("logged in to " + settings->url +
                 (who.has("user") ? " as " + who.at("user").as_string() : "") + ", workspace " +
                 settings->workspace_name + " (kept in " + settings->file + ")");
    if (const Result<std::string> pem = client::read_file(settings->ca_file))
        context.note("its authority has the fingerprint " + tls::fingerprint(*pem));
    if (const Result<client::Settings> used = client::load_settings(context.args().get("--data"));
        used && used->file != settings->file)
        context.note("commands of this shell still go to " + used->url + ", whose data folder is " +
                     used->data +
                     (!client::environment_variable("TURNOUT_DATA").empty()
                          ? ": `unset TURNOUT_DATA` to use the login"
                          : ": it comes before a login"));
    return 0;
}

int print_version(Context& context) {
    context.out("turnout " + context.hooks().version + "\n");
    return 0;
}

}  // namespace turnout::cli
