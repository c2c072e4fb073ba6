#include "agent/environment/prepare.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "agent/environment/again.h"
#include "agent/environment/bytecode.h"
#include "agent/environment/fetch_uv.h"
#include "agent/environment/intact.h"
#include "agent/files.h"
#include "base/json.h"
#include "base/text.h"
#include "environment/programs.h"
#include "environment/pythons.h"
#include "environment/uv.h"
#include "io/posix/files.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;

constexpr std::string_view kMark = ".turnout-complete";

Failure environment_failed(std::string message, std::string subject) {
    return fail(Code::FailedPrecondition, "EnvironmentFailed", std::move(message),
                std::move(subject));
}

// By what a program of the build failed. Where that may pass, another attempt of the job may have
// more luck: it is no fault of the environment.
Failure failed_by(const Ran& ran, const Again& again, std::string message, std::string subject) {
    if (ran.passing.empty()) return environment_failed(std::move(message), std::move(subject));
    if (again.tries() > 1) message += ", in " + std::to_string(again.tries()) + " tries";
    return fail(Code::Unavailable, "EnvironmentUnavailable", std::move(message),
                std::move(subject));
}

// Folders of a finished environment take no new files (a task's stray pip install fails there).
void close_folders(const std::string& path) {
    struct stat st;
    if (lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return;
    if (DIR* dir = opendir(path.c_str())) {
        std::vector<std::string> folders;
        while (dirent* entry = readdir(dir))
            if (entry->d_type == DT_DIR && std::strcmp(entry->d_name, ".") &&
                std::strcmp(entry->d_name, ".."))
                folders.emplace_back(path + "/" + entry->d_name);
        closedir(dir);
        for (const auto& folder : folders) close_folders(folder);
    }
    chmod(path.c_str(), 0555);
}

// What goes wrong with the machine's files is not the environment's fault.
Result<void> write_text(const std::string& path, std::string_view text) {
    if (const auto written = agent::write_file(path, text, 0644); !written)
        return internal(written.error().message);
    return {};
}

Result<std::string> venv_folder(const TaskEnvironment& environment, const Settings& settings) {
    if (environment.hash.size() < 8 ||
        environment.hash.find_first_not_of("0123456789abcdefABCDEF-_") != std::string::npos)
        return internal("environment '" + environment.name + "' has no usable hash");
    return settings.cache + "/environments/" + environment.hash;
}

// Held shared by those who use a venv, exclusively by whoever builds or removes it.
std::shared_ptr<void> use(const std::string& folder) {
    auto lock =
        std::make_shared<Fd>(open((folder + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    const int fd = lock->get();
    struct stat st;
    // What was used last goes last (see provider/local/cache.h); to the minute is enough.
    if (timespec now{}; fd >= 0 && fstat(fd, &st) == 0 &&
                        clock_gettime(CLOCK_REALTIME, &now) == 0 &&
                        now.tv_sec - st.st_mtim.tv_sec > 60)
        futimens(fd, nullptr);
    if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0) return lock;
    return nullptr;
}

// Whether what tasks change in an environment goes elsewhere: see agent/layer.h.
bool tasks_have_overlays() {
    if (geteuid() != 0) return false;
    constexpr unsigned long long kMayMount = 1ULL << 21;  // CAP_SYS_ADMIN
    bool mounts = false, overlays = false;
    std::ifstream status("/proc/self/status"), systems("/proc/filesystems");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("CapEff:"))
            mounts = (std::strtoull(line.c_str() + 7, nullptr, 16) & kMayMount) != 0;
    for (std::string line; std::getline(systems, line);)
        overlays = overlays || line.ends_with("\toverlay");
    return mounts && overlays;
}

// `anew`: for a task that begins, which is to find what was built. One that runs keeps it in any
// case.
std::optional<Prepared> complete_venv(const std::string& folder, bool anew = true) {
    auto in_use = use(folder);
    if (!in_use || access((folder + "/" + std::string(kMark)).c_str(), R_OK) != 0 ||
        access((folder + "/bin/python").c_str(), X_OK) != 0 ||
        (anew && !tasks_have_overlays() && !is_intact(folder)))
        return std::nullopt;
    return Prepared{folder + "/bin/python", folder + "/bin", folder, in_use};
}

Result<Prepared> machine_interpreter(const TaskEnvironment& environment, const Settings& settings) {
    std::string wanted = !environment.interpreter.empty() ? environment.interpreter
                         : !settings.python.empty()       ? settings.python
                                                          : "python3";
    std::string found = find_program(wanted, settings);
    if (found.empty() && !environment.interpreter.empty())
        return environment_failed("the interpreter '" + wanted + "' of environment '" +
                                      environment.name + "' does not exist on this machine",
                                  wanted);
    // A command that needs no Python runs without one.
    if (found.empty()) return Prepared{};
    return Prepared{found, found.substr(0, found.rfind('/')), "", nullptr};
}

Json definition_of(const TaskEnvironment& environment) {
    Json requirements = Json::array();
    for (const auto& line : environment.requirements) requirements.push(line);
    return Json::object({{"name", environment.name},
                         {"hash", environment.hash},
                         {"python_version", environment.python_version},
                         {"requirements", std::move(requirements)}});
}

// uv does not read pip's configuration, and a machine may reach its packages only through it. Its
// own settings come first.
void add_pip_settings(const Settings& settings, std::vector<std::string>& variables) {
    auto add = [&](const char* name, const std::string& value) {
        if (!value.empty() && variable(settings, name).empty())
            variables.push_back(std::string(name) + "=" + value);
    };
    if (variable(settings, "UV_INDEX_URL").empty())
        add("UV_DEFAULT_INDEX", pip_setting(settings, "index-url"));
    if (variable(settings, "UV_EXTRA_INDEX_URL").empty())
        add("UV_INDEX", pip_setting(settings, "extra-index-url"));
    std::string links = pip_setting(settings, "find-links");
    if (!links.starts_with('/') || access(links.c_str(), R_OK) == 0) add("UV_FIND_LINKS", links);
    add("SSL_CERT_FILE", pip_setting(settings, "cert"));
    add("UV_INSECURE_HOST", pip_setting(settings, "trusted-host"));
}

// What conda puts into every environment, pip's options for the rest, and the definition's own
// lines. A package that the definition pins itself is left to it.
struct Seeds {
    std::vector<std::string> lines;
    bool offline = false;  // the definition names its packages' place and forbids the index
};
Seeds seeds_of(const std::vector<std::string>& requirements) {
    Seeds seeds;
    std::vector<std::string> packages{"pip", "setuptools<81",
                                      "wheel"};  // pkg_resources is in setuptools until 81
    for (const auto& line : requirements) {
        if (line.starts_with("-")) {
            seeds.lines.push_back(line);
            if (line.starts_with("--no-index")) seeds.offline = true;
            continue;
        }
        const std::string name = to_lower(line.substr(0, line.find_first_of(" <>=!~;[@")));
        std::erase_if(packages, [&](const std::string& seed) {
            return seed.substr(0, seed.find('<')) == name && line.size() > name.size();
        });
    }
    seeds.lines.insert(seeds.lines.end(), packages.begin(), packages.end());
    return seeds;
}

// " (this machine has …)": what the pin could be changed to.
std::string known_pythons(const Settings& settings) {
    std::vector<std::string> known;
    for (const Python& python : find_pythons(settings)) {
        std::string version;
        for (const int number : python.version)
            version += (version.empty() ? "" : ".") + std::to_string(number);
        if (known.empty() || known.back() != version) known.push_back(std::move(version));
    }
    return known.empty() ? "" : " (this machine has " + join(known, ", ") + ")";
}

// From uv's words on what went wrong those that say why: without what it did before, and without
// the marks that it draws around them.
std::string reason_of(const std::deque<std::string>& tail) {
    std::string reason;
    bool begun = false;
    for (std::string_view line : tail) {
        bool first = false;
        for (const std::string_view mark : {"error: ", "  × ", "× "})
            if (line.starts_with(mark)) {
                first = !std::exchange(begun, true);
                line.remove_prefix(mark.size());
                break;
            }
        // Everybody's first line; the next one tells of this one.
        if (!begun || (first && line.starts_with("No solution found when resolving"))) continue;
        for (const std::string_view mark : {"  cause: ", "  ├─▶ ", "  ╰─▶ ", "  Caused by: "})
            if (line.starts_with(mark)) line.remove_prefix(mark.size());
        reason += (reason.empty() ? "" : "\n") + std::string(line);
    }
    return reason.empty() ? joined(tail) : reason;
}

// In one step, since what compiles its bytecode may be at it. A cache finishes what is interrupted
// here (provider/local/cache.cc).
void put_away(const std::string& folder) {
    const std::string going = going_from(folder);
    (void)remove_tree(going);
    (void)remove_tree(rename(folder.c_str(), going.c_str()) == 0 ? going : folder);
}

Result<void> build(const TaskEnvironment& environment, const Settings& settings,
                   const std::string& folder, const std::function<void(std::string_view)>& log,
                   const std::atomic<bool>& cancel) {
    std::string uv = find_uv(settings);
    // One that was named is meant: no other takes its place.
    if (uv.empty() && (!settings.uv.empty() || !variable(settings, "TURNOUT_UV").empty()))
        return environment_failed(
            "environment '" + environment.name + "' has to be built, but uv is not at '" +
                (settings.uv.empty() ? variable(settings, "TURNOUT_UV") : settings.uv) +
                "', where --uv or TURNOUT_UV says",
            "uv");
    if (uv.empty()) {
        uv = TURNOUT_TRY(fetch_uv(settings, log, cancel));
        [[maybe_unused]] const Result<void> known =
            survey_pythons(settings);  // else when the server starts
    }
    put_away(folder);
    std::vector<std::string> variables = python_variables(settings);
    add_pip_settings(settings, variables);
    // Links into uv's cache are quick, but what a task writes into a file must stay with the task.
    const bool overlays = tasks_have_overlays();
    variables.push_back(overlays ? "UV_LINK_MODE=hardlink" : "UV_LINK_MODE=copy");

    std::string python = !environment.python_version.empty() ? environment.python_version
                         : !settings.python.empty()          ? settings.python
                                                             : "python3";
    if (environment.python_version.empty() && python.find('/') == std::string::npos)
        if (auto found = find_program(python, settings); !found.empty()) python = found;
    if (auto found = choose_python(environment.python_version, settings); !found.empty())
        python = found;
    log("building environment " + environment.name + " (" + environment.hash.substr(0, 12) +
        ") with Python " +
        (environment.python_version.empty() ? "of this machine" : environment.python_version) +
        (python.starts_with('/') && !environment.python_version.empty() ? " of " + python : "") +
        "\n");
    Again again(settings.patience);
    const Ran made = TURNOUT_TRY(again.run({uv, "venv", "--no-project", "--python", python, folder},
                                           variables, log, cancel));
    if (made.status != 0) {
        const std::string words = reason_of(made.tail);
        if (environment.python_version.empty())
            return failed_by(
                made, again,
                words + "\nthe venv of environment '" + environment.name + "' could not be made",
                environment.name);
        if (!made.passing.empty())
            return failed_by(made, again,
                             words + "\nPython " + environment.python_version +
                                 " of environment '" + environment.name + "' could not be fetched",
                             "python=" + environment.python_version);
        return environment_failed(
            "environment '" + environment.name + "' asks for Python " + environment.python_version +
                ", which this machine does not have" + known_pythons(settings) +
                " and which could not be fetched: install it, change the pin, or name a mirror "
                "with "
                "`turnout up --python-mirror`\n" +
                words,
            "python=" + environment.python_version);
    }
    const Seeds seeds = seeds_of(environment.requirements);
    TURNOUT_TRY(write_text(folder + "/turnout-seeds.txt", join(seeds.lines, "\n") + "\n"));
    const Ran seeded =
        TURNOUT_TRY(again.run({uv, "pip", "install", "--python", folder + "/bin/python", "-r",
                               folder + "/turnout-seeds.txt"},
                              variables, log, cancel));
    if (seeded.status != 0 && !seeds.offline)
        return failed_by(seeded, again,
                         reason_of(seeded.tail) + "\npip, setuptools and wheel of environment '" +
                             environment.name + "' could not be installed",
                         environment.name);
    if (seeded.status != 0)
        log("this environment has no pip, setuptools and wheel: its definition forbids the index, "
            "and they are not where it looks\n");
    if (!environment.requirements.empty()) {
        std::string file = folder + "/turnout-requirements.txt", text;
        for (const auto& line : environment.requirements) text += line + "\n";
        log("requirements:\n" + text);
        TURNOUT_TRY(write_text(file, text));
        const Ran installed = TURNOUT_TRY(
            again.run({uv, "pip", "install", "--python", folder + "/bin/python", "-r", file},
                      variables, log, cancel));
        if (installed.status != 0)
            return failed_by(installed, again,
                             reason_of(installed.tail) + "\nthe packages of environment '" +
                                 environment.name + "' could not be installed",
                             environment.name);
    }
    // Of a definition that is another one by a package, all but that package is compiled already.
    const std::size_t adopted = adopt_bytecode(folder, std::string(kMark), overlays);
    if (adopted > 0)
        log("bytecode of " + std::to_string(adopted) +
            " modules is there from other environments\n");
    // The mark comes last; with it the folder is complete.
    TURNOUT_TRY(write_text(folder + "/" + std::string(kMark),
                           definition_of(environment).dump_pretty() + "\n"));
    close_folders(folder);
    if (overlays)
        unlink((folder + ".state").c_str());
    else if (!note_state(folder))
        return internal("writing '" + folder + ".state': " + std::strerror(errno));
    // The job need not wait for what makes later jobs' imports quicker.
    compile_later(folder, settings.environment);
    log("environment " + environment.name + " is ready\n");
    return {};
}

// Why the last build of it failed, for those that waited for that one: what is not there for one
// job is not there for the twenty beside it. Whoever comes later tries again.
std::string failure_file(const std::string& folder) {
    return folder + ".failed";
}

void leave_failure(const std::string& folder, const Error& error) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const Json text =
        Json::object({{"build", std::to_string(now.tv_sec) + "." + std::to_string(now.tv_nsec) +
                                    "." + std::to_string(getpid())},
                      {"passes", error.code == Code::Unavailable},
                      {"reason", error.reason},
                      {"message", error.message},
                      {"subject", error.subject}});
    (void)write_text(failure_file(folder), text.dump());
}

std::optional<Failure> failure_left(const std::string& text) {
    const auto left = parse_json(text);
    if (!left || !left->is_object()) return std::nullopt;
    return fail(left->at("passes").as_bool() ? Code::Unavailable : Code::FailedPrecondition,
                left->at("reason").as_string(), left->at("message").as_string(),
                left->at("subject").as_string());
}

}  // namespace

namespace {
Result<std::optional<Prepared>> look_for(const TaskEnvironment& environment,
                                         const Settings& settings, bool anew) {
    if (environment.kind == TaskEnvironment::Kind::UserManaged) {
        Prepared prepared = TURNOUT_TRY(machine_interpreter(environment, settings));
        return std::optional<Prepared>(std::move(prepared));
    }
    std::string folder = TURNOUT_TRY(venv_folder(environment, settings));
    struct stat st;
    if (stat(folder.c_str(), &st) != 0) return std::optional<Prepared>();
    return complete_venv(folder, anew);
}
}  // namespace

Result<std::optional<Prepared>> find_prepared(const TaskEnvironment& environment,
                                              const Settings& settings) {
    return look_for(environment, settings, true);
}
Result<std::optional<Prepared>> hold_prepared(const TaskEnvironment& environment,
                                              const Settings& settings) {
    return look_for(environment, settings, false);
}

Result<Prepared> prepare(const TaskEnvironment& environment, const Settings& settings,
                         const std::function<void(std::string_view)>& log,
                         const std::atomic<bool>& cancel) {
    std::optional<Prepared> ready = TURNOUT_TRY(find_prepared(environment, settings));
    if (ready) return std::move(*ready);
    std::string folder = TURNOUT_TRY(venv_folder(environment, settings));
    if (const auto made = make_directories(settings.cache + "/environments"); !made)
        return internal(made.error().message);
    // One builds, the others wait for its lock; then the mark says how it went.
    Fd lock(open((folder + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!lock) return internal("opening the lock of '" + folder + "': " + std::strerror(errno));
    const auto marked = [&] {
        return access((folder + "/" + std::string(kMark)).c_str(), R_OK) == 0;
    };
    // One that was changed can only become good by being built, which notes its state anew.
    const bool changed = marked();
    const std::string noted = read_text(folder + ".state");
    bool waited = false;
    const std::string failed_before = read_text(failure_file(folder));
    while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (cancel) return fail(Code::Canceled, "Canceled", "canceled");
        if (!changed || read_text(folder + ".state") != noted)
            if (ready = complete_venv(folder); ready) return std::move(*ready);
        if (!std::exchange(waited, true))
            log(changed ? "this environment was changed since it was built; it is built anew when "
                          "no job uses it any more\n"
                        : "another job builds this environment; waiting for it\n");
        usleep(100'000);
    }
    const bool complete = marked() && access((folder + "/bin/python").c_str(), X_OK) == 0,
               intact = tasks_have_overlays() || is_intact(folder);
    if (complete && !intact)
        log("this environment was changed since it was built; it is built anew\n");
    if (!complete || !intact) {
        if (const std::string failed = waited ? read_text(failure_file(folder)) : "";
            failed != failed_before)
            if (auto failure = failure_left(failed)) {
                log("it could not be built: " + failure->error().message + "\n");
                return std::move(*failure);
            }
        auto built = build(environment, settings, folder, log, cancel);
        if (!built) {
            put_away(folder);
            if (const Code code = built.error().code; code == Code::FailedPrecondition ||
                                                      code == Code::InvalidArgument ||
                                                      code == Code::Unavailable)
                leave_failure(folder, built.error());
            return Failure(built.error());
        }
        unlink(failure_file(folder).c_str());
    }
    flock(lock.get(), LOCK_UN);
    if (ready = complete_venv(folder); ready) return std::move(*ready);
    return internal("the environment in '" + folder + "' disappeared after it was built");
}

}  // namespace turnout::environment
