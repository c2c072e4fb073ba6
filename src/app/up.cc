#include "app/up.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "app/instance.h"
#include "app/server.h"
#include "app/version.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "client/api.h"
#include "client/settings.h"
#include "environment/pythons.h"
#include "fetch/addresses.h"
#include "fetch/mirror.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "yaml/yaml.h"

namespace turnout {

namespace {

using namespace std::chrono_literals;

struct Running {
    ProcessId process;
    std::string url, plain_url, version, listen, login, missing_pools, jobs;
    bool keeps_slots = false;  // in its database
};

// The server of that data folder, if one runs.
std::optional<Running> find_running(const Instance& instance) {
    const Result<Json> document = read_document(instance.running());
    if (!document || document->is_null()) return std::nullopt;
    // Of the folder that this is a copy of.
    if (const Json* folder = document->find("folder_identity");
        folder && folder->as_view() != folder_identity(instance.folder))
        return std::nullopt;
    Running running;
    running.process.pid = static_cast<pid_t>(document->at("pid").as_int());
    running.process.start_ticks = static_cast<std::uint64_t>(document->at("start_time").as_int());
    running.url = document->at("url").as_string();
    running.plain_url = document->at("plain_url").as_string();
    running.version = document->at("version").as_string();
    running.listen = document->at("listen").as_string();
    running.login = document->at("login").as_string();
    running.jobs = document->at("jobs").as_string();
    running.missing_pools = document->at("missing_pools").as_string();
    running.keeps_slots = document->has("slots");
    if (!is_alive(running.process)) return std::nullopt;
    return running;
}

// Whether its executable is another file than ours: a build that came after it is, whatever it
// calls itself.
bool runs_another_build(const Running& running) {
    struct stat ours{}, its{};
    return stat("/proc/self/exe", &ours) == 0 &&
           stat(("/proc/" + std::to_string(running.process.pid) + "/exe").c_str(), &its) == 0 &&
           (ours.st_dev != its.st_dev || ours.st_ino != its.st_ino);
}

// What may be fetched now is another list.
void survey(const Instance& instance) {
    environment::Settings settings;
    settings.cache = instance.cache();
    settings.beside = instance.folder + "/bin";
    for (char** entry = environ; *entry; ++entry) settings.environment.emplace_back(*entry);
    if (const Result<void> done = environment::survey_pythons(settings); !done)
        std::fprintf(stderr, "warning: %s\n", done.error().message.c_str());
}

// The options that it was started with, where others are not given.
void take_options(const Running& running, UpArguments& arguments) {
    const Result<std::string> line =
        read_file("/proc/" + std::to_string(running.process.pid) + "/cmdline");
    if (!line) return;
    const std::vector<std::string> words = split(*line, '\0');
    const auto options = [&](std::string_view name) {
        std::vector<std::string> values;
        for (std::size_t i = 0; i < words.size(); ++i) {
            if (words[i] == name && i + 1 < words.size()) values.push_back(words[i + 1]);
            if (words[i].starts_with(std::string(name) + "="))
                values.push_back(words[i].substr(name.size() + 1));
        }
        return values;
    };
    const auto option = [&](std::string_view name) {
        const std::vector<std::string> values = options(name);
        return values.empty() ? std::string() : values.front();
    };
    if (arguments.listen.empty()) arguments.listen = option("--listen");
    if (arguments.plain_listen.empty()) arguments.plain_listen = option("--plain-listen");
    if (arguments.python.empty()) arguments.python = option("--python");
    if (arguments.uv.empty()) arguments.uv = option("--uv");
    if (arguments.allow_fetch.empty()) arguments.allow_fetch = options("--allow-fetch");
    if (arguments.tls_certificate.empty()) {
        arguments.tls_certificate = option("--tls-certificate");
        arguments.tls_key = option("--tls-key");
    }
    if (arguments.fetch_mirrors.empty()) arguments.fetch_mirrors = options("--fetch-mirror");
    if (arguments.fetch_limit.empty()) arguments.fetch_limit = option("--fetch-limit");
    if (arguments.slots <= 0 && !running.keeps_slots)
        arguments.slots = static_cast<int>(yaml_scalar(option("--slots")).as_int());
    if (arguments.cache_limit == 0)
        if (const auto size = parse_size(option("--cache-limit"))) arguments.cache_limit = *size;
}

Result<void> stop(const Running& running, const Instance& instance) {
    if (Result<void> sent = send_signal(running.process, SIGTERM);
        !sent && is_alive(running.process))
        return sent;
    for (int i = 0; i < 6000 && is_alive(running.process); ++i) std::this_thread::sleep_for(10ms);
    if (!is_alive(running.process)) return {};
    return fail(Code::Unavailable, "StillRunning",
                "the server (process " + std::to_string(running.process.pid) +
                    ") does not stop; see " + instance.folder + "/server.log");
}

void print_where(const std::string& data, const std::string& url, const std::string& plain_url,
                 const std::string& login, const std::string& jobs, const std::string& browser) {
    std::printf("turnout is up: %s (and %s for this machine)\n", url.c_str(), plain_url.c_str());
    std::printf("  data      %s\n", data.c_str());
    if (!jobs.empty()) std::printf("  jobs      %s\n", jobs.c_str());
    std::printf(
        "  use it    eval \"$(turnout env --data %s)\"   or   turnout exec --data %s -- python "
        "script.py\n",
        data.c_str(), data.c_str());
    // For the person who looks: a log would show it to others.
    if (!browser.empty() && ::isatty(1) == 1)
        std::printf("  browser   %s\n            (logs one in, once, within ten minutes)\n",
                    browser.c_str());
    if (!login.empty())
        std::printf("  others    %s\n            with the key in %s/admin.key\n", login.c_str(),
                    data.c_str());
    if (::access((data + "/bin/uv").c_str(), X_OK) != 0)
        std::printf(
            "  no uv     the first environment fetches it from the package index; else: turnout up "
            "--uv PATH\n");
    std::printf("  stop it   turnout down --data %s\n", data.c_str());
    std::fflush(stdout);
}

// Of a server that runs, asked with its admin's key; "" if it gives none, such as one of an earlier
// build.
std::string new_browser_link(const std::string& data) {
    if (::isatty(1) != 1) return {};
    const Result<client::Settings> settings = client::load_settings(data);
    if (!settings) return {};
    const auto api = client::Api::open(*settings);
    const Result<Json> made =
        api ? (*api)->post("/turnout/login-links") : Result<Json>(Failure(api.error()));
    return made ? settings->plain_url + made->at("path").as_string() : std::string();
}

// One that is started in the foreground says it itself.
void warn_of(const Running& running) {
    if (!running.missing_pools.empty())
        std::fprintf(stderr, "warning: %s\n", running.missing_pools.c_str());
}

int report(const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.message.c_str());
    return 1;
}

std::string last_lines(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return "";
    std::size_t at = text->size();
    for (int lines = 0; at > 0 && lines < 10; --at)
        if ((*text)[at - 1] == '\n' && at != text->size()) ++lines;
    return text->substr(at);
}

int up_detached(const UpArguments& arguments, const Instance& instance) {
    const std::string log = instance.folder + "/server.log";
    SpawnRequest request;
    request.program = arguments.program;
    request.arguments = {"turnout", "up", "--data", instance.folder};
    const auto pass = [&](const char* flag, const std::string& value) {
        if (value.empty()) return;
        request.arguments.emplace_back(flag);
        request.arguments.push_back(value);
    };
    pass("--listen", arguments.listen);
    pass("--plain-listen", arguments.plain_listen);
    pass("--slots", arguments.slots > 0 ? std::to_string(arguments.slots) : "");
    pass("--cache-limit", arguments.cache_limit > 0 ? std::to_string(arguments.cache_limit) : "");
    pass("--python", arguments.python);
    pass("--uv", arguments.uv);
    for (const std::string& allowed : arguments.allow_fetch) pass("--allow-fetch", allowed);
    pass("--tls-certificate", arguments.tls_certificate);
    pass("--tls-key", arguments.tls_key);
    for (const std::string& mirror : arguments.fetch_mirrors) pass("--fetch-mirror", mirror);
    pass("--fetch-limit", arguments.fetch_limit);
    if (arguments.accept_loss) request.arguments.emplace_back("--accept-loss");
    for (char** entry = environ; *entry; ++entry) request.environment.emplace_back(*entry);
    request.directory = "/";
    request.output = request.error = log;
    const Result<ProcessId> process = spawn(request);
    if (!process) return report(process.error());
    for (;;) {
        if (const auto running = find_running(instance); running && running->process == *process) {
            print_where(instance.folder, running->url, running->plain_url, running->login,
                        running->jobs, new_browser_link(instance.folder));
            warn_of(*running);
            return 0;
        }
        reap(process->pid);
        if (!is_alive(*process)) {
            std::fprintf(stderr, "error: the server ended while starting; the end of %s:\n%s",
                         log.c_str(), last_lines(log).c_str());
            return 1;
        }
        std::this_thread::sleep_for(5ms);
    }
}

}  // namespace

int up(const UpArguments& arguments) {
    for (const std::string& allowed : arguments.allow_fetch)
        if (const auto read = fetch::Allowed::parse(allowed); !read) {
            std::fprintf(stderr, "error: --allow-fetch: %s\n", read.error().message.c_str());
            return 2;
        }
    for (const std::string& mirror : arguments.fetch_mirrors)
        if (const auto read = fetch::Mirror::parse(mirror); !read) {
            std::fprintf(stderr, "error: --fetch-mirror: %s\n", read.error().message.c_str());
            return 2;
        }
    const Result<Instance> instance = open_instance(arguments.data);
    if (!instance) return report(instance.error());
    if (!arguments.python_mirror.empty())
        if (const Result<void> set =
                environment::set_python_mirror(instance->cache(), arguments.python_mirror);
            !set)
            return report(set.error());
    UpArguments restarted = arguments;
    std::string earlier;
    auto running = find_running(*instance);
    if (running && arguments.restart && runs_another_build(*running)) {
        earlier = running->version;
        take_options(*running, restarted);
        if (const Result<void> stopped = stop(*running, *instance); !stopped)
            return report(stopped.error());
        running.reset();
    }
    if (running) {
        if (arguments.cache_limit > 0 || !arguments.python.empty() || !arguments.uv.empty() ||
            !arguments.allow_fetch.empty() || !arguments.fetch_limit.empty() ||
            !arguments.fetch_mirrors.empty() || !arguments.tls_certificate.empty() ||
            !arguments.plain_listen.empty() ||
            (!arguments.listen.empty() && running->listen != arguments.listen)) {
            std::fprintf(stderr,
                         "error: turnout is already up at %s, pid %d, and keeps the options that "
                         "it was started with: `turnout down` first\n",
                         running->url.c_str(), static_cast<int>(running->process.pid));
            return 1;
        }
        std::printf("turnout is already up, pid %d\n", static_cast<int>(running->process.pid));
        if (!arguments.python_mirror.empty()) survey(*instance);
        if (runs_another_build(*running))
            std::printf(
                "it runs another build, %s; `turnout up --detach --restart` starts this one, %s\n",
                running->version.c_str(), version());
        print_where(instance->folder, running->url, running->plain_url, running->login,
                    running->jobs, new_browser_link(instance->folder));
        warn_of(*running);
        return 0;
    }
    if (!earlier.empty())
        std::printf(
            "turnout ran another build, %s: it is restarted with this one, %s; running jobs go "
            "on\n",
            earlier.c_str(), version());
    if (arguments.detach) return up_detached(restarted, *instance);

    ServerOptions options;
    options.data = instance->folder;
    options.listen = restarted.listen;
    options.plain_listen = restarted.plain_listen;
    options.slots = restarted.slots;
    options.cache_limit = restarted.cache_limit;
    options.python = restarted.python;
    options.uv = restarted.uv;
    options.allow_fetch = restarted.allow_fetch;
    options.tls_certificate = restarted.tls_certificate;
    options.tls_key = restarted.tls_key;
    options.fetch_mirrors = restarted.fetch_mirrors;
    options.fetch_limit = static_cast<std::uint64_t>(yaml_scalar(restarted.fetch_limit).as_int())
                          << 30;
    options.accept_loss = arguments.accept_loss;
    options.ready = [data = instance->folder](const std::string& url, const std::string& plain_url,
                                              const std::string& login, const std::string& jobs,
                                              const std::string& browser) {
        print_where(data, url, plain_url, login, jobs, browser);
    };
    if (const Result<void> ended = run_server(std::move(options)); !ended)
        return report(ended.error());
    return 0;
}

}  // namespace turnout
