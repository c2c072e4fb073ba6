// The server of this machine, and the environment in which the real clients find it.
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "base/hash.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/reference_pages.h"
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

// What is under way, for `down` to tell: "2 jobs (a, b)" and how many nodes.
std::string what_runs(client::Api& api) {
    std::vector<std::string> names;
    if (const Result<Json> jobs = api.list(api.in_workspace("/jobs?listViewType=All")))
        for (const Json& job : jobs->items()) {
            const std::string status = job.at("properties").at("status").as_string();
            if (status != "Completed" && status != "Failed" && status != "Canceled")
                names.push_back(job.at("name").as_string());
        }
    std::int64_t nodes = 0;
    if (const Result<Json> computes = api.list(api.in_workspace("/computes")))
        for (const Json& compute : computes->items())
            nodes += spec::at_path(compute, "properties.properties.currentNodeCount").as_int();
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
    std::size_t count = 0;
    if (const Result<Json> jobs = api.list(api.in_workspace("/jobs?listViewType=All")))
        for (const Json& job : jobs->items())
            count += job.at("properties").at("status").as_view() == "Queued" ? 1 : 0;
    return count;
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
    options.restart = args.has("--restart");
    options.accept_loss = args.has("--accept-loss");
    if (args.has("--slots")) {
        const Json slots = yaml_scalar(args.get("--slots"));
        if (!slots.is_int() || slots.as_int() < 1 || slots.as_int() > 10'000)
            return context.fail(
                {Code::InvalidArgument, "Usage", "--slots takes a number from 1", "--slots"});
        options.slots = static_cast<int>(slots.as_int());
    }
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
    std::string left;
    if (const Result<client::Api*> opened = context.api()) {
        client::Api& api = **opened;
        left = what_runs(api);
        if (all && !context.args().has("--yes"))
            if (const std::size_t waiting = waiting_jobs(api); waiting > 0) {
                const std::string jobs =
                    waiting == 1
                        ? "1 job waits in the queue and would be canceled"
                        : std::to_string(waiting) + " jobs wait in the queue and would be canceled";
                if (::isatty(0) != 1)
                    return context.fail({Code::FailedPrecondition, "WouldCancel",
                                         jobs + ": give --yes if that is meant; `turnout down` "
                                                "alone keeps them for the next `turnout up`",
                                         ""});
                std::fprintf(stderr, "%s; `turnout down` alone keeps them. Cancel them? (yes/no) ",
                             jobs.c_str());
                std::string answer;
                std::getline(std::cin, answer);
                if (trim(answer) != "yes")
                    return context.fail({Code::Canceled, "NotDone", "nothing was done", ""});
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
            if (!ready) out.set("fault", health.error().message);
            if (ready) {
                if (const std::string what = what_runs(api); !what.empty())
                    out.set("under_way", what);
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
};
Result<Presented> presented_authority(const std::string& host, const std::string& port) {
    SSL_CTX* tls = SSL_CTX_new(TLS_client_method());
    BIO* connection = tls == nullptr ? nullptr : BIO_new_ssl_connect(tls);
    if (connection == nullptr) {
        SSL_CTX_free(tls);
        return internal("TLS cannot be set up");
    }
    SSL* ssl = nullptr;
    BIO_get_ssl(connection, &ssl);
    BIO_set_conn_hostname(connection, (host + ":" + port).c_str());
    Result<Presented> result =
        fail(Code::Unavailable, "Unreachable", "no TLS server answers at " + host + ":" + port);
    if (BIO_do_connect(connection) == 1 && BIO_do_handshake(connection) == 1) {
        STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
        X509* last = chain == nullptr || sk_X509_num(chain) == 0
                         ? nullptr
                         : sk_X509_value(chain, sk_X509_num(chain) - 1);
        if (last != nullptr && X509_check_ca(last) != 0)
            result = Presented{pem_of(last), tls::fingerprint(pem_of(last))};
        else
            result = fail(Code::FailedPrecondition, "NoAuthority",
                          "the server does not present its certificate authority: copy ca.pem from "
                          "its data folder and give it with --ca-file");
    }
    BIO_free_all(connection);
    SSL_CTX_free(tls);
    return result;
}

// A line from the terminal without showing it, or from a pipe.
std::string read_secret(Context& context, const std::string& prompt) {
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
        } else {
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
    std::string key;
    if (args.has("--key-file"))
        key = TURNOUT_TRY(client::read_file(args.get("--key-file")));
    else
        key = read_secret(context, "API key: ");
    key = std::string(trim(key));
    if (key.empty())
        return invalid("no API key: give --key-file FILE, or the key on standard input");
    settings.api_key = Secret(key);

    // Tried out before anything is kept; the connector wants a file.
    if (Result<void> made = client::make_folders(folder, 0700); !made) return Failure(made.error());
    client::Settings trial = settings;
    trial.ca_file = folder + "/ca.pem.trial";
    if (Result<void> written = client::write_file(trial.ca_file, ca, 0600); !written)
        return Failure(written.error());
    Result<std::unique_ptr<client::Api>> api = client::Api::open(trial);
    Result<Json> subscriptions =
        api ? (*api)->list("/subscriptions") : Result<Json>(Failure(api.error()));
    const auto give_up = [&](const Error& error) {
        ::unlink(trial.ca_file.c_str());
        return Failure(error);
    };
    if (!subscriptions) return give_up(subscriptions.error());
    settings.subscription_id = args.get("--subscription");
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

int login(Context& context) {
    const Result<client::Settings> settings = log_in(context);
    if (!settings) return context.fail(settings.error());
    context.note("logged in to " + settings->url + ", workspace " + settings->workspace_name +
                 " (kept in " + settings->file + ")");
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

namespace {
std::string table_of(const std::vector<Option>& options) {
    if (options.empty()) return "";
    std::string table = "\n| option | meaning |\n|---|---|\n";
    for (const Option& option : options)
        table += "| `" + (option.brief.empty() ? "" : option.brief + "`, `") + option.name +
                 (option.value.empty() ? "" : " " + option.value) + "` | " + option.help +
                 (option.many ? " May be repeated." : "") + " |\n";
    return table;
}
}  // namespace

int print_reference(Context& context) {
    std::string page = spec::reference_page();
    page += "\n" + std::string(kCauses) + std::string(kCommandLine) +
            "## Options of every command\n" + table_of(common_options()) + "\n# Commands\n\n";
    for (const Command& command : context.commands()) {
        if (command.hidden) continue;
        const std::string operand = command.takes_rest        ? " -- PROGRAM …"
                                    : command.operand.empty() ? ""
                                                              : " " + command.operand;
        page += "## turnout " + join(command.words, " ") + operand + "\n\n" + command.help + "\n";
        page += table_of(command.options);
        page += "\n";
    }
    if (const std::string file = context.args().get("--file"); !file.empty()) {
        if (const Result<void> written = client::write_file(file, page); !written)
            return context.fail(written.error());
        return 0;
    }
    context.out(page);
    return 0;
}

}  // namespace turnout::cli
