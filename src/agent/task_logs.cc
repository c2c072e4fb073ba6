#include "agent/task_logs.h"

#include <unistd.h>

#include "agent/launch.h"
#include "agent/ranks.h"

namespace turnout::agent {
namespace {
constexpr std::uint64_t kTrimEvery = 16 << 20;  // of a task's log: then old segments may go
constexpr std::uint64_t kLastLines = 1 << 20;   // of an acknowledged log: wanted at the end
}  // namespace

void TaskLogs::add(const SupervisedTask& task) {
    serials_[task.id].serial = task.serial;
    segments_.add(task.serial, task.first_segment, task.first_position);
}

void TaskLogs::forget(const AttemptId& id) {
    if (auto place = serials_.find(id); place != serials_.end()) {
        segments_.remove(place->second.serial);
        serials_.erase(place);
    }
    trimmed_files_.erase(id);
}

std::string TaskLogs::read(const Work& work, const std::string& stream, std::uint64_t offset,
                           std::size_t length) {
    if (stream == stream_name(work.task, kStdLog)) {
        const auto place = serials_.find(work.id);
        if (place == serials_.end()) return "";
        auto bytes = segments_.read(place->second.serial, offset, length);
        return bytes ? std::move(*bytes) : "";
    }
    const auto file =
        open_listed(process_log_path(work, stream).value_or(work.environment_log()), work.folder);
    if (!file) return "";
    std::string bytes(length, '\0');
    const ssize_t n = pread(file->get(), bytes.data(), length, static_cast<off_t>(offset));
    bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return bytes;
}

void TaskLogs::add_last_lines(const AttemptId& id, TaskExit& exit) {
    if (const auto place = serials_.find(id); place != serials_.end() && exit.exit_code != 0)
        exit.last_lines = segments_.last_lines(place->second.serial, exit.log_length, 20);
}

bool TaskLogs::worth(std::uint64_t& done, std::uint64_t offset) {
    if (offset < done + kTrimEvery) return false;
    done = offset;
    return true;
}

std::optional<std::uint32_t> TaskLogs::delivered(const Work& work, std::string_view stream,
                                                 std::uint64_t offset) {
    const auto place = serials_.find(work.id);
    if (place == serials_.end()) return std::nullopt;
    if (const auto path = process_log_path(work, stream)) {
        if (worth(trimmed_files_[work.id][*path], offset)) trim_process_log(*path, offset);
        return std::nullopt;
    }
    if (stream != stream_name(work.task, kStdLog) || !worth(place->second.trimmed, offset))
        return std::nullopt;
    return segments_.segment_of(place->second.serial,
                                offset > kLastLines ? offset - kLastLines : 0);
}

}  // namespace turnout::agent
