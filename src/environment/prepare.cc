#include "environment/prepare.h"

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

#include "base/json.h"
#include "base/text.h"
#include "environment/programs.h"
#include "environment/uv.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;

constexpr std::string_view kMark = ".turnout-complete";

Failure environment_failed(std::string message, std::string subject) {
    return fail(Code::FailedPrecondition, "EnvironmentFailed", std::move(message),
                std::move(subject));
}

Result<void> make_folder(const std::string& path) {
    for (std::size_t at = 1; at <= path.size(); ++at)
        if (at == path.size() || path[at] == '/')
            if (mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) {
                struct stat st;
                if (stat(path.substr(0, at).c_str(), &st) != 0)
                    return internal("creating '" + path.substr(0, at) +
                                    "': " + std::strerror(errno));
            }
    return {};
}

void remove_beneath(int parent, const char* name) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return;
    Descriptor folder(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (folder.fd >= 0) {
        fchmod(folder.fd, 0700);
        std::vector<std::string> names;
        if (DIR* dir = fdopendir(dup(folder.fd))) {
            while (dirent* entry = readdir(dir))
                if (std::strcmp(entry->d_name, ".") && std::strcmp(entry->d_name, ".."))
                    names.emplace_back(entry->d_name);
            closedir(dir);
        }
        for (const auto& inner : names) remove_beneath(folder.fd, inner.c_str());
    }
    unlinkat(parent, name, AT_REMOVEDIR);
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

bool write_text(const std::string& path, std::string_view text) {
    Descriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd.fd < 0) return false;
    while (!text.empty()) {
        ssize_t n = write(fd.fd, text.data(), text.size());
        if (n <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

Result<std::string> venv_folder(const TaskEnvironment& environment, const Settings& settings) {
    if (environment.hash.size() < 8 ||
        environment.hash.find_first_not_of("0123456789abcdefABCDEF-_") != std::string::npos)
        return internal("environment '" + environment.name + "' has no usable hash");
    return settings.cache + "/environments/" + environment.hash;
}

// Held shared by those who use a venv, exclusively by whoever builds or removes it.
std::shared_ptr<void> use(const std::string& folder) {
    int fd = open((folder + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0)
        return std::shared_ptr<void>(new Descriptor(fd),
                                     [](void* d) { delete static_cast<Descriptor*>(d); });
    if (fd >= 0) close(fd);
    return nullptr;
}

std::optional<Prepared> complete_venv(const std::string& folder) {
    auto in_use = use(folder);
    if (!in_use || access((folder + "/" + std::string(kMark)).c_str(), R_OK) != 0 ||
        access((folder + "/bin/python").c_str(), X_OK) != 0)
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

// Compiles the packages' bytecode while nobody needs the processor. It ends with the agent.
constexpr std::string_view kCompile = R"py(
import compileall, os, sys
folder, agent = sys.argv[1], int(sys.argv[2])
os.nice(19)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
for path, folders, files in os.walk(os.path.join(folder, "lib")):
    if not any(name.endswith(".py") for name in files): continue
    os.kill(agent, 0)
    compiled = os.path.join(path, "__pycache__")
    for each in (path, compiled):
        if os.path.isdir(each): os.chmod(each, 0o755)
    compileall.compile_dir(path, 0, quiet=2)
    for each in (compiled, path):
        if os.path.isdir(each): os.chmod(each, 0o555)
)py";

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

// pyenv's shims answer to every version and then fail: its versions are looked for themselves.
void without_shims(std::vector<std::string>& variables) {
    for (auto& item : variables) {
        if (!item.starts_with("PATH=")) continue;
        std::vector<std::string> kept;
        for (auto& folder : split(item.substr(5), ':'))
            if (!folder.ends_with("/shims")) kept.push_back(std::move(folder));
        item = "PATH=" + join(kept, ":");
    }
}

std::vector<int> numbers_of(std::string_view version) {
    std::vector<int> numbers;
    for (const auto& part : split(version, '.')) {
        if (part.empty() || part.size() > 6 ||
            part.find_first_not_of("0123456789") != std::string::npos)
            return {};
        numbers.push_back(std::stoi(part));
    }
    return numbers;
}

std::vector<std::pair<std::vector<int>, std::string>> pyenv_pythons(const Settings& settings) {
    std::vector<std::pair<std::vector<int>, std::string>> found;
    std::string root = variable(settings, "PYENV_ROOT");
    if (root.empty()) root = variable(settings, "HOME") + "/.pyenv";
    if (DIR* dir = opendir((root + "/versions").c_str())) {
        while (const dirent* entry = readdir(dir))
            if (auto numbers = numbers_of(entry->d_name); !numbers.empty())
                if (std::string path = root + "/versions/" + entry->d_name + "/bin/python";
                    executable(path))
                    found.emplace_back(std::move(numbers), path);
        closedir(dir);
    }
    std::sort(found.begin(), found.end());
    return found;
}

// The newest of pyenv's that is of that version: "3.8" or exactly "3.8.10". "" if there is none.
std::string pyenv_python(const std::string& version, const Settings& settings) {
    const auto wanted = numbers_of(version);
    std::string path;
    if (wanted.size() < 2) return path;
    for (const auto& [numbers, python] : pyenv_pythons(settings))
        if (numbers.size() >= wanted.size() &&
            std::equal(wanted.begin(), wanted.end(), numbers.begin()))
            path = python;
    return path;
}

// " (here are …)": what the pin could be changed to.
std::string known_pythons(const Settings& settings) {
    std::vector<std::string> known;
    for (const auto& [numbers, path] : pyenv_pythons(settings)) {
        const std::string folder = path.substr(0, path.rfind("/bin/"));
        known.push_back(folder.substr(folder.rfind('/') + 1));
    }
    for (int minor = 6; minor < 30; ++minor)
        if (const std::string name = "3." + std::to_string(minor);
            executable("/usr/bin/python" + name))
            known.push_back(name);
    return known.empty() ? "" : " (this machine has " + join(known, ", ") + ")";
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
    if (uv.empty()) uv = TURNOUT_TRY(fetch_uv(settings, log, cancel));
    remove_beneath(AT_FDCWD, folder.c_str());
    std::vector<std::string> variables = settings.environment;
    add_pip_settings(settings, variables);
    // An interpreter that this machine has comes before one that has to be fetched.
    variables.push_back("UV_PYTHON_PREFERENCE=system");
    variables.push_back("UV_PYTHON_INSTALL_DIR=" + settings.cache + "/pythons");
    variables.push_back("UV_NO_PROGRESS=1");
    variables.push_back("NO_COLOR=1");
    // Links into uv's cache are quick, but what a task writes into a file must stay with the task.
    variables.push_back(tasks_have_overlays() ? "UV_LINK_MODE=hardlink" : "UV_LINK_MODE=copy");
    without_shims(variables);

    std::string python = !environment.python_version.empty() ? environment.python_version
                         : !settings.python.empty()          ? settings.python
                                                             : "python3";
    if (environment.python_version.empty() && python.find('/') == std::string::npos)
        if (auto found = find_program(python, settings); !found.empty()) python = found;
    if (auto found = pyenv_python(environment.python_version, settings); !found.empty())
        python = found;
    log("building environment " + environment.name + " (" + environment.hash.substr(0, 12) +
        ") with Python " +
        (environment.python_version.empty() ? "of this machine" : environment.python_version) +
        (python.starts_with('/') && !environment.python_version.empty() ? " of " + python : "") +
        "\n");
    Ran made = TURNOUT_TRY(
        run({uv, "venv", "--no-project", "--python", python, folder}, variables, log, cancel));
    if (made.canceled) return fail(Code::Canceled, "Canceled", "canceled");
    if (made.status != 0) {
        std::string words = joined(made.tail);
        if (!environment.python_version.empty())
            return environment_failed("environment '" + environment.name + "' asks for Python " +
                                          environment.python_version +
                                          ", which this machine does not have and which could not "
                                          "be fetched: install it, "
                                          "or change the pin" +
                                          known_pythons(settings) + "\n" + words,
                                      "python=" + environment.python_version);
        return environment_failed(
            "the venv of environment '" + environment.name + "' could not be made\n" + words,
            environment.name);
    }
    const Seeds seeds = seeds_of(environment.requirements);
    if (!write_text(folder + "/turnout-seeds.txt", join(seeds.lines, "\n") + "\n"))
        return internal("writing '" + folder + "': " + std::strerror(errno));
    Ran seeded = TURNOUT_TRY(run({uv, "pip", "install", "--python", folder + "/bin/python", "-r",
                                  folder + "/turnout-seeds.txt"},
                                 variables, log, cancel));
    if (seeded.canceled) return fail(Code::Canceled, "Canceled", "canceled");
    if (seeded.status != 0 && !seeds.offline)
        return environment_failed(joined(seeded.tail) +
                                      "\npip, setuptools and wheel of environment '" +
                                      environment.name + "' could not be installed",
                                  environment.name);
    if (seeded.status != 0)
        log("this environment has no pip, setuptools and wheel: its definition forbids the index, "
            "and they are not where it looks\n");
    if (!environment.requirements.empty()) {
        std::string file = folder + "/turnout-requirements.txt", text;
        for (const auto& line : environment.requirements) text += line + "\n";
        log("requirements:\n" + text);
        if (!write_text(file, text))
            return internal("writing '" + file + "': " + std::strerror(errno));
        Ran installed =
            TURNOUT_TRY(run({uv, "pip", "install", "--python", folder + "/bin/python", "-r", file},
                            variables, log, cancel));
        if (installed.canceled) return fail(Code::Canceled, "Canceled", "canceled");
        if (installed.status != 0)
            return environment_failed(joined(installed.tail) + "\nthe packages of environment '" +
                                          environment.name + "' could not be installed",
                                      environment.name);
    }
    // The mark comes last; with it the folder is complete.
    if (!write_text(folder + "/" + std::string(kMark),
                    definition_of(environment).dump_pretty() + "\n"))
        return internal("writing '" + folder + "': " + std::strerror(errno));
    close_folders(folder);
    // The job need not wait for what makes later jobs' imports quicker.
    start_detached({folder + "/bin/python", "-I", "-c", std::string(kCompile), folder,
                    std::to_string(getpid())},
                   settings.environment);
    log("environment " + environment.name + " is ready\n");
    return {};
}

}  // namespace

Result<std::optional<Prepared>> find_prepared(const TaskEnvironment& environment,
                                              const Settings& settings) {
    if (environment.kind == TaskEnvironment::Kind::UserManaged) {
        Prepared prepared = TURNOUT_TRY(machine_interpreter(environment, settings));
        return std::optional<Prepared>(std::move(prepared));
    }
    std::string folder = TURNOUT_TRY(venv_folder(environment, settings));
    struct stat st;
    if (stat(folder.c_str(), &st) != 0) return std::optional<Prepared>();
    return complete_venv(folder);
}

Result<Prepared> prepare(const TaskEnvironment& environment, const Settings& settings,
                         const std::function<void(std::string_view)>& log,
                         const std::atomic<bool>& cancel) {
    std::optional<Prepared> ready = TURNOUT_TRY(find_prepared(environment, settings));
    if (ready) return std::move(*ready);
    std::string folder = TURNOUT_TRY(venv_folder(environment, settings));
    TURNOUT_TRY(make_folder(settings.cache + "/environments"));
    // One builds, the others wait for its lock; then the mark says how it went.
    Descriptor lock(open((folder + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (lock.fd < 0)
        return internal("opening the lock of '" + folder + "': " + std::strerror(errno));
    bool waited = false;
    while (flock(lock.fd, LOCK_EX | LOCK_NB) != 0) {
        if (cancel) return fail(Code::Canceled, "Canceled", "canceled");
        if (ready = complete_venv(folder); ready) return std::move(*ready);
        if (!std::exchange(waited, true))
            log("another job builds this environment; waiting for it\n");
        usleep(100'000);
    }
    if (access((folder + "/" + std::string(kMark)).c_str(), R_OK) != 0) {
        auto built = build(environment, settings, folder, log, cancel);
        if (!built) {
            remove_beneath(AT_FDCWD, folder.c_str());
            return Failure(built.error());
        }
    }
    flock(lock.fd, LOCK_UN);
    if (ready = complete_venv(folder); ready) return std::move(*ready);
    return internal("the environment in '" + folder + "' disappeared after it was built");
}

}  // namespace turnout::environment
