#include "agent/launch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "agent/files.h"
#include "agent/inputs.h"
#include "agent/layer.h"
#include "agent/ranks.h"
#include "base/hash.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

constexpr std::string_view kMasksVariable = "TURNOUT_MASKS";  // supervisor/mask.h
constexpr std::uint64_t kKeptForLastLines = 1 << 20;
constexpr std::size_t kLastLines = 20;
constexpr std::uint64_t kTail = 32 << 10;

// A port that nobody uses just now, for an attempt that has none from its server: an earlier one
// said them only to jobs of several nodes.
Result<Fd> bind_free_port(int& port) {
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return failed("finding a free port for", "the job's processes");
    port = ntohs(address.sin_port);
    return fd;
}

Result<Meeting> meeting_of(const TaskSpec& task) {
    Meeting meeting{task.master_address, {}};
    if (meeting.address.empty()) meeting.address = "127.0.0.1";
    const int needed = ports_needed(task);
    if (task.master_port > 0) {
        for (int i = 0; i < needed; ++i) meeting.ports.push_back(task.master_port + i);
        return meeting;
    }
    if (task.node_count > 1)
        return internal(
            "no port of the machine is free on which the job's processes could meet: the server "
            "gives those from 20000 to 29999");
    std::vector<Fd> held;  // until all are known, so that each is another
    for (int i = 0; i < needed; ++i) {
        int port = 0;
        held.push_back(TURNOUT_TRY(bind_free_port(port)));
        meeting.ports.push_back(port);
    }
    return meeting;
}

// How many processors the command may use; 0 if that is no limit here.
int limited_processors(const TaskSpec& task) {
    if (task.cpu_limit_millicores <= 0) return 0;
    const int wanted = (task.cpu_limit_millicores + 999) / 1000;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 0;
    return wanted < CPU_COUNT(&allowed) ? wanted : 0;
}

std::string end_file(const Work& work) {
    return work.folder + "/process_end";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> process_logs(const Work& work) {
    std::vector<std::pair<std::string, std::string>> logs;
    const auto ranks = ranks_here(work.task);
    for (std::size_t i = 1; i < ranks.size(); ++i)
        logs.emplace_back(log_of_rank(work.task, ranks[i]),
                          work.folder + "/process_" + std::to_string(ranks[i]) + ".log");
    return logs;
}

std::optional<std::string> process_log_path(const Work& work, std::string_view stream) {
    if (world_size(work.task) == 1) return std::nullopt;
    for (auto& [name, path] : process_logs(work))
        if (name == stream) return path;
    return std::nullopt;
}

std::string mask_words(const std::vector<Secret>& values) {
    std::string words;
    for (const Secret& value : values) words += (words.empty() ? "" : ",") + to_hex(value.reveal());
    return words;
}

Result<void> wrap_command(const AgentSettings& settings, const Work& work, StartRequest& request) {
    const TaskSpec& task = work.task;
    const auto ranks = ranks_here(task);
    const bool distributed = !task.distribution.empty() || task.node_count > 1;
    const Meeting meeting = distributed ? TURNOUT_TRY(meeting_of(task)) : Meeting{};
    const int processors = limited_processors(task);
    if (ranks.size() == 1)
        for (const auto& [name, value] : variables_of_rank(task, ranks[0], meeting)) {
            std::erase_if(request.environment,
                          [&](const std::string& item) { return item.starts_with(name + "="); });
            request.environment.push_back(name + "=" + value);
        }
    const bool overlay = has_overlay(work);
    const std::string shared = shared_inputs(settings, work);
    // By its name the supervisor knows its own launcher, which may mount: nobody else comes under
    // that name.
    const std::string& first = request.argv.front();
    const bool like_launcher =
        std::string_view(first).substr(first.rfind('/') + 1).starts_with("turnout-supervisor");
    if (ranks.size() == 1 && processors == 0 && task.shm_size_bytes <= 0 && !overlay &&
        shared.empty() && !like_launcher)
        return {};

    (void)unlink(end_file(work).c_str());
    std::vector<std::string> argv{settings.supervisor,
                                  "launch",
                                  end_file(work),
                                  std::to_string(processors),
                                  settings.processors.empty() ? "-" : settings.processors,
                                  std::to_string(task.shm_size_bytes),
                                  overlay ? work.prepared->folder : "-",
                                  overlay ? overlay_of(work) : "-",
                                  shared.empty() ? "-" : shared,
                                  std::to_string(ranks.size())};
    const auto logs = process_logs(work);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
        argv.push_back(std::to_string(ranks[i]));
        argv.push_back(i == 0 ? "-" : logs[i - 1].second);
        const auto variables = ranks.size() == 1
                                   ? std::vector<std::pair<std::string, std::string>>()
                                   : variables_of_rank(task, ranks[i], meeting);
        argv.push_back(std::to_string(variables.size()));
        for (const auto& [name, value] : variables) argv.push_back(name + "=" + value);
    }
    for (auto& word : request.argv) argv.push_back(std::move(word));
    request.argv = std::move(argv);
    if (ranks.size() > 1 && !request.masked.empty())
        request.environment.push_back(std::string(kMasksVariable) + "=" +
                                      mask_words(request.masked));
    return {};
}

void trim_process_log(const std::string& path, std::uint64_t offset) {
    if (offset <= kKeptForLastLines) return;
    Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    // Not every file system can; then the log stays until the attempt is forgotten.
    if (file)
        (void)fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                        static_cast<off_t>(offset - kKeptForLastLines));
}

void explain_exit(const Work& work, TaskExit& exit) {
    if (exit.lost || exit.exit_code == 0 || ranks_here(work.task).size() == 1) return;
    const auto text = read_file(end_file(work), 128);
    int rank = 0, code = 0, signal = 0;
    if (!text || std::sscanf(text->c_str(), "%d %d %d", &rank, &code, &signal) != 3 ||
        code != exit.exit_code)
        return;
    exit.process = rank;
    exit.signal = signal;
    const auto path = process_log_path(work, log_of_rank(work.task, rank));
    if (!path) return;  // the supervisor's: the lines are there already
    exit.last_lines.clear();
    Fd file(open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat st{};
    if (!file || fstat(file.get(), &st) != 0) return;
    const std::uint64_t size = static_cast<std::uint64_t>(st.st_size),
                        from = size > kTail ? size - kTail : 0;
    std::string tail(size - from, '\0');
    const ssize_t n = pread(file.get(), tail.data(), tail.size(), static_cast<off_t>(from));
    tail.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (tail.ends_with('\n')) tail.pop_back();
    if (tail.empty()) return;
    exit.last_lines = split(tail, '\n');
    if (exit.last_lines.size() > kLastLines)
        exit.last_lines.erase(exit.last_lines.begin(),
                              exit.last_lines.end() - static_cast<std::ptrdiff_t>(kLastLines));
}

}  // namespace turnout::agent
