#include "agent/facts.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include "base/text.h"
#include "base/time.h"
#include "environment/programs.h"
#include "environment/pythons.h"
#include "io/posix/fd.h"
#include "io/posix/files.h"

namespace turnout::agent {

using agent_protocol::Facts;
using agent_protocol::Gpu;

namespace {

constexpr auto kLongestLook = std::chrono::seconds(5);  // of a program that is asked
constexpr std::size_t kMostGpus = 64, kMostPythons = 50;

std::int64_t number_of(std::string_view text) {
    text = trim(text);
    std::int64_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    return read.ec == std::errc() ? number : -1;  // "max" and what is not there: none
}

// The least of what is said of us and of whom we are part of; 0 = nobody says anything.
void lower(std::int64_t& limit, std::int64_t to) {
    if (to > 0 && (limit == 0 || to < limit)) limit = to;
}

// Limits of control groups, of version 2 and of the first, in bytes and in thousandths of a core.
void find_limits(const FactSources& sources, std::int64_t& memory, std::int64_t& millicores) {
    const auto cpu = [&](std::int64_t quota, std::int64_t period) {
        if (quota > 0 && period > 0)
            lower(millicores, std::max<std::int64_t>(1, quota * 1000 / period));
    };
    for (const std::string& line :
         split(environment::read_text(sources.proc + "/self/cgroup"), '\n')) {
        const std::vector<std::string> parts = split(line, ':');
        if (parts.size() < 3) continue;
        std::string base = sources.cgroups;
        if (!parts[1].empty()) base += "/" + parts[1];
        for (std::string path = parts[2];; path = path.substr(0, path.rfind('/'))) {
            if (path == "/") path.clear();
            const std::string group = base + path;
            lower(memory, number_of(environment::read_text(group + "/memory.max")));
            const std::vector<std::string> max =
                split(trim(environment::read_text(group + "/cpu.max")), ' ');
            if (max.size() == 2) cpu(number_of(max[0]), number_of(max[1]));
            const std::int64_t first =
                number_of(environment::read_text(group + "/memory.limit_in_bytes"));
            if (first < (std::int64_t{1} << 60)) lower(memory, first);  // beyond that it is "none"
            cpu(number_of(environment::read_text(group + "/cpu.cfs_quota_us")),
                number_of(environment::read_text(group + "/cpu.cfs_period_us")));
            if (path.empty() || path.find('/') == std::string::npos) break;
        }
    }
}

// The first that is no loopback, of IPv4 before IPv6.
std::string find_address() {
    ifaddrs* all = nullptr;
    if (getifaddrs(&all) != 0) return "";
    std::string found;
    for (const int family : {AF_INET, AF_INET6})
        for (const ifaddrs* one = all; one != nullptr && found.empty(); one = one->ifa_next) {
            if (!one->ifa_addr || one->ifa_addr->sa_family != family ||
                (one->ifa_flags & IFF_LOOPBACK) != 0 || (one->ifa_flags & IFF_UP) == 0)
                continue;
            char text[INET6_ADDRSTRLEN];
            const void* const bytes =
                family == AF_INET
                    ? static_cast<const void*>(
                          &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr)
                    : &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
            // One of this link alone is no address for others.
            if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(static_cast<const in6_addr*>(bytes)))
                continue;
            if (inet_ntop(family, bytes, text, sizeof text)) found = text;
        }
    freeifaddrs(all);
    return found;
}

bool answers(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return false;
    path.copy(address.sun_path, path.size());
    // One whose queue is full does not answer.
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return socket &&
           connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// nvidia-smi may hang where the driver does.
std::vector<Gpu> ask_for_gpus(const environment::Settings& settings) {
    const std::string program = environment::find_program("nvidia-smi", settings);
    if (program.empty()) return {};
    std::atomic<bool> cancel = false;
    std::mutex mutex;
    std::condition_variable over;
    bool done = false;
    std::thread watch([&] {
        std::unique_lock lock(mutex);
        if (!over.wait_for(lock, kLongestLook, [&] { return done; })) cancel = true;
    });
    std::string told;
    const Result<environment::Ran> ran = environment::run(
        {program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"},
        settings.environment,
        [&](std::string_view text) {
            if (told.size() < (64 << 10)) told += text;
        },
        cancel);
    {
        const std::lock_guard lock(mutex);
        done = true;
    }
    over.notify_all();
    watch.join();
    std::vector<Gpu> gpus;
    if (!ran || ran->status != 0) return gpus;
    for (const std::string& line : split(told, '\n')) {
        const std::size_t comma = line.rfind(',');
        if (comma == std::string::npos || gpus.size() >= kMostGpus) continue;
        const std::int64_t mebibytes = number_of(line.substr(comma + 1));
        gpus.push_back({std::string(trim(line.substr(0, comma))).substr(0, 255),
                        mebibytes > 0 ? mebibytes << 20 : 0});
    }
    return gpus;
}

}  // namespace

// Docker has a daemon, which has to be there and let us in; Podman has none.
std::string find_engine(const environment::Settings& settings, const FactSources& sources) {
    if (!environment::find_program("docker", settings).empty()) {
        const std::string host = environment::variable(settings, "DOCKER_HOST");
        if (host.empty() ? answers(sources.docker_socket)
                         : !host.starts_with("unix://") || answers(host.substr(7)))
            return "docker";
    }
    return environment::find_program("podman", settings).empty() ? "" : "podman";
}

std::vector<Gpu> find_gpus(const environment::Settings& settings, const FactSources& sources) {
    const auto devices = list_directory(sources.proc + "/driver/nvidia/gpus");
    if (!devices || devices->empty()) return {};
    std::vector<Gpu> gpus;
    for (const DirectoryEntry& device : *devices) {
        if (gpus.size() >= kMostGpus) break;
        Gpu gpu;
        for (const std::string& line :
             split(environment::read_text(sources.proc + "/driver/nvidia/gpus/" + device.name +
                                          "/information"),
                   '\n'))
            if (line.starts_with("Model:"))
                gpu.model = std::string(trim(line.substr(6))).substr(0, 255);
        gpus.push_back(std::move(gpu));
    }
    // What the driver's program says is taken if it sees as many: it may be confined to some.
    std::vector<Gpu> told = ask_for_gpus(settings);
    return told.size() == gpus.size() ? told : gpus;
}

std::int64_t kernel_kills(const FactSources& sources) {
    constexpr std::string_view kCount = "oom_kill ";
    for (const char* const file : {"/memory.events", "/memory/memory.oom_control"})
        for (const std::string& line : split(environment::read_text(sources.cgroups + file), '\n'))
            if (line.starts_with(kCount))
                return std::max<std::int64_t>(0, number_of(line.substr(kCount.size())));
    return 0;
}

Facts find_facts(const environment::Settings& settings, const std::string& folder,
                 const FactSources& sources) {
    Facts facts;
    char name[256] = {};
    if (gethostname(name, sizeof name - 1) == 0) facts.host = name;
    facts.address = find_address();
    facts.cores = static_cast<int>(std::max(0L, sysconf(_SC_NPROCESSORS_ONLN)));
    facts.memory_bytes = static_cast<std::int64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES))) *
                         std::max(0L, sysconf(_SC_PAGE_SIZE));
    std::int64_t memory = 0, millicores = 0;
    find_limits(sources, memory, millicores);
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0)
        lower(millicores, std::int64_t{1000} * CPU_COUNT(&usable));
    if (memory < facts.memory_bytes) facts.memory_limit_bytes = memory;
    if (millicores < std::int64_t{1000} * facts.cores)
        facts.cpu_limit_millicores = static_cast<int>(millicores);
    std::vector<environment::PythonVersion> versions;
    for (environment::Python& one : environment::find_pythons(settings))
        versions.push_back(std::move(one.version));
    std::ranges::sort(versions, std::greater());
    versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
    for (const environment::PythonVersion& version : versions) {
        if (facts.pythons.size() >= kMostPythons) break;
        std::string text;
        for (const int number : version) text += (text.empty() ? "" : ".") + std::to_string(number);
        facts.pythons.push_back(std::move(text));
    }
    facts.container_engine = find_engine(settings, sources);
    struct statvfs space{};
    if (statvfs(folder.c_str(), &space) == 0)
        facts.free_disk_bytes = static_cast<std::int64_t>(space.f_bavail * space.f_frsize);
    return facts;
}

}  // namespace turnout::agent
