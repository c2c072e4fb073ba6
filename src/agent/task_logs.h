// Where the logs of this node's attempts are, and what they say: the segments that the supervisor
// writes of each command, the files of a job's other processes, and those of builds. Used on the
// loop only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/segments.h"
#include "agent/work.h"

namespace turnout::agent {

class TaskLogs {
public:
    explicit TaskLogs(const std::string& folder) : segments_(folder) {}

    // The supervisor has something of it.
    void add(const SupervisedTask& task);
    bool has(const AttemptId& id) const { return serials_.contains(id); }
    void forget(const AttemptId& id);

    // Fewer bytes if they are not there (any more). `stream` is the server's name of it.
    std::string read(const Work& work, const std::string& stream, std::uint64_t offset,
                     std::size_t length);
    // A command that failed is told with the last lines of its log.
    void add_last_lines(const AttemptId& id, TaskExit& exit);
    // The server has so much of it: the room of what nobody reads again is given back. The segment
    // that is still needed, if that is news for the supervisor.
    std::optional<std::uint32_t> delivered(const Work& work, std::string_view stream,
                                           std::uint64_t offset);

private:
    // Whether there is enough since the last time to do something about it.
    static bool worth(std::uint64_t& done, std::uint64_t offset);

    Segments segments_;
    struct Place {
        std::uint64_t serial = 0;
        std::uint64_t trimmed = 0;
    };
    std::map<AttemptId, Place> serials_;
    std::map<AttemptId, std::map<std::string, std::uint64_t>> trimmed_files_;  // by path
};

}  // namespace turnout::agent
