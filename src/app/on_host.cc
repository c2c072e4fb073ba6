#include "app/on_host.h"

#include <signal.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/facts.h"
#include "base/json.h"
#include "base/text.h"
#include "environment/pythons.h"
#include "environment/uv.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "provider/local/harm.h"

namespace turnout {
namespace {

constexpr char kHostUsage[] =
    "usage: turnout-agent host look ROOT              what this machine is, and which nodes are "
    "there\n"
    "       turnout-agent host start ROOT NODE [--uv PATH] [--python PATH]    with its token on "
    "standard input,\n"
    "           and after it NAME=VALUE of its environment, a NUL before each\n"
    "       turnout-agent host end ROOT NODE SECONDS  ends the node, after so long by force\n";

constexpr std::size_t kLongestInput = 1 << 20;
constexpr auto kLook = std::chrono::milliseconds(50);
constexpr int kLocked = 200;  // looks: then somebody holds the lock for good

std::string folder_of(const std::string& root, std::string node) {
    std::ranges::replace(node, '/', '_');
    return root + "/nodes/" + node;
}
// The way back; "" for what is no node's folder.
std::string node_of(std::string name) {
    std::ranges::replace(name, '_', '/');
    return std::ranges::count(name, '/') == 2 ? name : "";
}
Result<void> check_node(const std::string& node) {
    const bool fits = std::ranges::all_of(node, [](char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
               c == '.' || c == '/';
    });
    const bool dots = node.find("..") != std::string::npos;
    if (fits && !dots && std::ranges::count(node, '/') == 2 && node.size() <= 200) return {};
    return invalid(shown(node) + " is not the name of a node: WORKSPACE/COMPUTE/NODE is expected");
}

// One at a time changes what is there.
Result<Fd> lock_root(const std::string& root) {
    TURNOUT_TRY(make_directories(root, 0700));
    for (int i = 0;; ++i) {
        Result<Fd> lock = lock_file(root + "/lock");
        if (lock || lock.error().reason != "Locked" || i == kLocked) return lock;
        std::this_thread::sleep_for(kLook);
    }
}

// The agent that was started on that folder, if it lives.
std::optional<ProcessId> agent_of(const std::string& folder) {
    const Result<std::string> text = read_file(folder + "/agent.json", 64 << 10);
    const Result<Json> json = text ? parse_json(*text) : Json();
    if (!json || json->at("bootId").as_string() != boot_id()) return std::nullopt;
    const ProcessId process{static_cast<pid_t>(json->at("pid").as_int()),
                            static_cast<std::uint64_t>(json->at("startTicks").as_int())};
    return process.pid > 0 && is_alive(process) ? std::optional(process) : std::nullopt;
}

bool supervised(const std::string& folder) {
    const Result<Fd> lock = lock_file(folder + "/supervisor.lock");
    return !lock && lock.error().reason == "Locked";
}

std::string own_executable() {
    char path[4096];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    return std::string(path, size > 0 ? static_cast<std::size_t>(size) : 0);
}

std::vector<std::string> own_variables() {
    std::vector<std::string> all;
    for (char** one = environ; *one; ++one) all.emplace_back(*one);
    return all;
}

std::vector<std::string> with_variables(std::vector<std::string> all,
                                        const std::vector<std::string>& more) {
    for (const std::string& one : more) {
        const std::string name = one.substr(0, one.find('=')) + "=";
        std::erase_if(all, [&](const std::string& other) { return other.starts_with(name); });
        all.push_back(one);
    }
    return all;
}

std::string newest_python() {
    environment::Settings settings;
    settings.environment = own_variables();
    environment::PythonVersion newest;
    for (const environment::Python& one : environment::find_pythons(settings))
        newest = std::max(newest, one.version);
    std::vector<std::string> numbers;
    for (const int number : newest) numbers.push_back(std::to_string(number));
    return join(numbers, ".");
}

// "Debian GNU/Linux 12 (bookworm)"; "" where nothing says it.
std::string distribution() {
    constexpr std::string_view name = "PRETTY_NAME=";
    const Result<std::string> text = read_file("/etc/os-release", 64 << 10);
    for (const std::string& line : split(text.value_or(""), '\n')) {
        if (!line.starts_with(name)) continue;
        std::string value(trim(std::string_view(line).substr(name.size())));
        std::erase(value, '"');
        return value.substr(0, 100);
    }
    return "";
}

Result<Json> look(const std::string& root) {
    utsname system{};
    uname(&system);
    Json found =
        Json::object({{"bootId", boot_id()},
                      {"system", std::string(system.sysname) + " " + system.release},
                      {"machine", std::string(system.machine)},
                      {"cores", static_cast<std::int64_t>(std::thread::hardware_concurrency())},
                      {"memoryBytes", static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
                                          static_cast<std::int64_t>(sysconf(_SC_PAGE_SIZE))}});
    if (const auto gpus = list_directory("/proc/driver/nvidia/gpus"))
        found.set("gpus", static_cast<std::int64_t>(gpus->size()));
    if (std::string os = distribution(); !os.empty()) found.set("os", std::move(os));
    found.set("python", newest_python());
    environment::Settings settings;
    settings.environment = own_variables();
    const std::string own = own_executable();
    settings.beside = own.substr(0, own.rfind('/'));
    found.set("uv", environment::find_uv(settings));
    found.set("containerEngine", agent::find_engine(settings));
    if (const Result<std::uint64_t> free = free_space(root))
        found.set("freeBytes", static_cast<std::int64_t>(*free));

    const std::string nodes = root + "/nodes";
    std::map<std::string, bool> there;  // id, whether something of it lives
    if (access(nodes.c_str(), F_OK) == 0)
        for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(nodes)))
            there.emplace(node_of(entry.name), false);
    for (const std::string& name : folders_with_processes(nodes)) there[node_of(name)] = true;
    there.erase("");
    Json list = Json::array();
    for (const auto& [id, alive] : there) list.push(Json::object({{"id", id}, {"alive", alive}}));
    found.set("nodes", std::move(list));
    return found;
}

Result<Json> start_node(const std::string& root, const std::string& node,
                        const std::vector<std::string>& more) {
    TURNOUT_TRY(check_node(node));
    std::string input;
    char piece[4096];
    for (ssize_t got; (got = ::read(STDIN_FILENO, piece, sizeof piece)) > 0;) {
        input.append(piece, static_cast<std::size_t>(got));
        if (input.size() > kLongestInput)
            return invalid("the token and the variables are too long");
    }
    std::vector<std::string> variables = split(input, '\0');
    const std::string token = variables.front();
    variables.erase(variables.begin());
    for (const std::string& one : variables)
        if (one.find('=') == std::string::npos) return invalid("a variable has no '='");
    if (token.empty()) return invalid("there is no token on standard input");
    const Fd lock = TURNOUT_TRY(lock_root(root));
    const std::string folder = folder_of(root, node);
    Json answer = Json::object({{"folder", folder}, {"bootId", boot_id()}});
    if (const auto lives = agent_of(folder)) {
        answer.set("pid", static_cast<std::int64_t>(lives->pid));
        answer.set("began", false);
        return answer;
    }
    TURNOUT_TRY(make_directories(folder, 0700));
    ::unlink((folder + "/room").c_str());  // what the last agent held, for a start on a full disk
    TURNOUT_TRY(write_file_atomically(folder + "/node.token", token, 0600));
    SpawnRequest request;
    request.program = own_executable();
    request.arguments = {request.program,
                         "--server",
                         "unix:" + root + "/server.sock",
                         "--node",
                         node,
                         "--folder",
                         folder,
                         "--cache",
                         root + "/cache",
                         "--token-file",
                         folder + "/node.token"};
    request.arguments.insert(request.arguments.end(), more.begin(), more.end());
    request.environment = with_variables(own_variables(), variables);
    request.directory = folder;
    request.output = request.error = folder + "/agent.log";
    const ProcessId process = TURNOUT_TRY(spawn(request));
    const Json agent = Json::object({{"pid", static_cast<std::int64_t>(process.pid)},
                                     {"startTicks", static_cast<std::int64_t>(process.start_ticks)},
                                     {"bootId", boot_id()},
                                     {"node", node}});
    // If this is lost, the next agent finds the first one's lock on the folder and ends.
    TURNOUT_TRY(write_file_atomically(folder + "/agent.json", agent.dump() + "\n", 0600));
    answer.set("pid", static_cast<std::int64_t>(process.pid));
    answer.set("began", true);
    return answer;
}

// Its agent was told to leave by the server. What has not left in time is killed; so is at once
// what an agent that is dead left behind.
Result<Json> end_node(const std::string& root, const std::string& node, int seconds) {
    TURNOUT_TRY(check_node(node));
    const std::string folder = folder_of(root, node);
    for (int i = 0; i < seconds * 20 && agent_of(folder); ++i) std::this_thread::sleep_for(kLook);
    const Fd lock = TURNOUT_TRY(lock_root(root));
    for (int i = 0; i < 100; ++i) {
        const std::optional<ProcessId> agent = agent_of(folder);
        const bool killed = kill_processes_of(folder).has_value();
        if (agent) (void)send_signal(*agent, SIGKILL);
        if (!killed && !agent && !supervised(folder)) {
            TURNOUT_TRY(remove_tree(folder));
            return Json::object({{"gone", true}});
        }
        std::this_thread::sleep_for(kLook);
    }
    return fail(Code::Unavailable, "StillThere", "what runs on it cannot be ended");
}

int answer(const Result<Json>& said) {
    if (said) return std::puts(said->dump().c_str()), 0;
    std::fprintf(stderr, "%s\n", said.error().message.c_str());
    return 1;
}

}  // namespace

int run_on_host(int count, char** arguments) {
    const std::vector<std::string> all(arguments, arguments + count);
    if (count == 1 && all[0] == "--help") return std::fputs(kHostUsage, stdout), 0;
    if (count >= 2 && !all[1].starts_with('/'))
        return std::fprintf(stderr, "turnout-agent host: ROOT is not an absolute path\n"), 2;
    if (count == 2 && all[0] == "look") return answer(look(all[1]));
    if (count >= 3 && all[0] == "start")
        return answer(start_node(all[1], all[2], {all.begin() + 3, all.end()}));
    if (count == 4 && all[0] == "end")
        return answer(end_node(all[1], all[2], std::clamp(std::atoi(all[3].c_str()), 0, 600)));
    std::fputs(kHostUsage, stderr);
    return 2;
}

}  // namespace turnout
