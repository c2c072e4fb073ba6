// What is said to Slurm's programs, and what they say. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "model/compute.h"
#include "provider/slurm/settings.h"

namespace turnout {

// A pilot: a Slurm job in which the agent of one node runs.
struct Pilot {
    std::string job;           // its number
    std::string state;         // "PENDING"; "" where Slurm does not know it any more
    std::string reason;        // in Slurm's word: why it waits, or why it ended
    std::string where;         // the compute node, "" while it has none
    std::optional<Span> left;  // of its walltime; nothing: it has none, or that is not known
    NodeId node;

    enum class Phase { Waits, Runs, Ends, Over };
    Phase phase() const;
};

// The name of all pilots of a server, by which squeue finds them, and what tells their nodes.
std::string pilot_name(std::string_view instance);
std::string pilot_comment(std::string_view instance, const NodeId& node);

// The words for squeue that tell of all pilots of a server, those that ended not long ago too, and
// what it answers. What is not a pilot of that server is left out; an answer that is cut off or of
// another form is an error, since who is not in it counts as gone.
std::vector<std::string> queue_words(std::string_view instance, std::string_view user);
Result<std::vector<Pilot>> parse_queue(std::string_view text, std::string_view instance);

// "1-02:03:04", "02:03:04", "3:04" or "3"; nothing for UNLIMITED and what is no time.
std::optional<Span> parse_slurm_time(std::string_view text);

// The words for sbatch; the script comes on its standard input. `folder`: the node's.
std::vector<std::string> submit_words(const NodeRequest& request, const SlurmSettings& settings,
                                      std::string_view instance, const std::string& folder);
// `agent`, `uv` ("" if there is none): their paths on the compute nodes; `root`: ours beneath the
// shared folder.
std::string pilot_script(const NodeRequest& request, const SlurmSettings& settings,
                         const std::string& agent, const std::string& uv, const std::string& root,
                         const std::string& folder);
// "123", or "123;cluster": a job's number.
Result<std::string> parse_submitted(std::string_view text);

// What Slurm's programs complain about, without their name before each line.
std::string slurm_says(std::string_view complaint);
// sbatch said no. InvalidArgument: it always will; ResourceExhausted: not more for now; else
// Unavailable.
Error refused_by_slurm(std::string_view complaint);

// Slurm's word, and what it means.
std::string reason_in_words(std::string_view reason);
// Why a pilot waits, for people; it begins with kWaiting.
std::string waits_in_words(const Pilot& pilot);
// Whether what it waits for never comes.
bool waits_for_ever(std::string_view reason);
// Why one that is over ended, for people.
std::string ended_in_words(const Pilot& pilot);

}  // namespace turnout
