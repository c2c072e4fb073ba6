#include "provider/slurm/wire.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "model/waiting.h"
#include "provider/node_id.h"

namespace turnout {

namespace {

constexpr std::size_t kColumns = 6;

bool is_number(std::string_view text) {
    return !text.empty() && text.size() <= 19 && std::ranges::all_of(text, is_digit);
}

// Slurm's word for a reason, and what it means where that word alone does not say it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kReasons = {{
    {"Resources", "no node has room"},
    {"Priority", "others come first"},
    {"BeginTime", "its time to begin has not come"},
    {"JobHeldAdmin", "an administrator holds it"},
    {"JobHeldUser", "somebody holds it: `scontrol release`"},
    {"Licenses", "a license is in use"},
    {"Reservation", "its reservation has not begun"},
    {"PartitionDown", "the partition is down"},
    {"PartitionInactive", "the partition is inactive"},
    {"NodeDown", "a node that it needs is down"},
    {"ReqNodeNotAvail", "a node that it needs is not available"},
    {"QOSMaxJobsPerUserLimit", "the QOS gives this user no more jobs at a time"},
    {"AssocMaxJobsLimit", "the account has as many jobs as it may"},
    {"None", "Slurm has not looked at it yet"},
    {"PartitionConfig", "it asks for more than the partition's nodes have"},
    {"PartitionTimeLimit", "its walltime is longer than the partition allows"},
    {"PartitionNodeLimit", "the partition gives no such number of nodes"},
}};

// Reasons that go by only if somebody changes the pool or the cluster. Words that are at the end of
// a reason hold for all that end so: QOSMaxCpuPerJobLimit.
constexpr std::array<std::string_view, 12> kForEver = {
    "PartitionConfig",      "PartitionTimeLimit",       "PartitionNodeLimit",
    "AccountNotAllowed",    "InvalidAccount",           "InvalidQOS",
    "QOSNotAllowed",        "BadConstraints",           "QOSTimeLimit",
    "AssociationTimeLimit", "DependencyNeverSatisfied", "Job's account not known"};
constexpr std::array<std::string_view, 3> kForEverAtEnd = {"PerJobLimit", "WallDurationPerJobLimit",
                                                           "MinutesPerJobLimit"};

// What sbatch says where it will always say so.
constexpr std::array<std::string_view, 20> kRefusals = {"invalid account",
                                                        "invalid partition",
                                                        "invalid qos",
                                                        "configuration is not available",
                                                        "invalid feature",
                                                        "invalid generic resource",
                                                        "requested time limit is invalid",
                                                        "invalid --",
                                                        "permitted to use this partition",
                                                        "more processors requested than permitted",
                                                        "node count specification invalid",
                                                        "access/permission denied",
                                                        "invalid user id",
                                                        "invalid wckey",
                                                        "invalid license",
                                                        "unrecognized option",
                                                        "memory specification can not be satisfied",
                                                        "cpu count specification invalid",
                                                        "invalid number of tasks",
                                                        "unable to open file"};

}  // namespace

Pilot::Phase Pilot::phase() const {
    for (const std::string_view word : {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD",
                                        "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
        if (state == word) return Phase::Waits;
    for (const std::string_view word : {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"})
        if (state == word) return Phase::Runs;
    for (const std::string_view word :
         {"", "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
          "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"})
        if (state == word) return Phase::Over;
    return Phase::Ends;  // COMPLETING, STAGE_OUT, and what a later Slurm calls something else
}

std::string pilot_name(std::string_view instance) {
    return "turnout-" + std::string(instance);
}

std::string pilot_comment(std::string_view instance, const NodeId& node) {
    return "turnout " + std::string(instance) + " " + node;
}

std::vector<std::string> queue_words(std::string_view instance, std::string_view user) {
    // The line's last word says that the line is whole.
    return {"--noheader", "--states=all", "--name=" + pilot_name(instance),
            "--user=" + std::string(user), "--format=%i|%T|%L|%N|%k|%r|."};
}

std::optional<Span> parse_slurm_time(std::string_view text) {
    std::int64_t days = 0;
    if (const std::size_t dash = text.find('-'); dash != std::string_view::npos) {
        if (!is_number(text.substr(0, dash)) || dash > 6) return std::nullopt;
        days = *parse_whole_number(text.substr(0, dash));
        text.remove_prefix(dash + 1);
    }
    const std::vector<std::string> parts = split(text, ':');
    if (parts.size() > 3) return std::nullopt;
    std::int64_t seconds = 0;
    for (const std::string& part : parts) {
        if (!is_number(part) || part.size() > 9) return std::nullopt;
        seconds = seconds * 60 + *parse_whole_number(part);
    }
    return std::chrono::seconds(seconds + days * 86400);
}

Result<std::vector<Pilot>> parse_queue(std::string_view text, std::string_view instance) {
    std::vector<Pilot> pilots;
    const std::string prefix = pilot_comment(instance, "");
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view line = trim(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (line.empty()) continue;
        if (end == std::string_view::npos || !line.ends_with("|."))
            return fail(Code::Unavailable, "NotUnderstood",
                        "squeue's answer is not whole: " + shown(line));
        const std::vector<std::string> parts = split(line.substr(0, line.size() - 2), '|');
        if (parts.size() < kColumns)
            return fail(Code::Unavailable, "NotUnderstood",
                        "squeue's answer is not understood: " + shown(line));
        Pilot one;
        one.job = parts[0];
        one.state = parts[1];
        one.left = parse_slurm_time(parts[2]);
        one.where = parts[3];
        // A reason may be a sentence with anything in it.
        one.reason = join(std::span(parts).subspan(kColumns - 1), "|");
        if (!parts[4].starts_with(prefix)) continue;
        one.node = parts[4].substr(prefix.size());
        if (!fits_as_node(one.node)) continue;
        if (!is_number(one.job))
            return fail(Code::Unavailable, "NotUnderstood",
                        "squeue tells of a job that has no number: " + shown(line));
        pilots.push_back(std::move(one));
    }
    return pilots;
}

std::vector<std::string> submit_words(const NodeRequest& request, const SlurmSettings& settings,
                                      std::string_view instance, const std::string& folder) {
    std::vector<std::string> words = {"--parsable",
                                      "--no-requeue",
                                      "--nodes=1",
                                      "--ntasks=1",
                                      "--export=ALL",  // that is: what we give to sbatch
                                      "--open-mode=append",
                                      "--job-name=" + pilot_name(instance),
                                      "--comment=" + pilot_comment(instance, request.id),
                                      "--chdir=" + folder,
                                      "--output=" + folder + "/pilot.log"};
    const auto option = [&](std::string_view name, const std::string& value) {
        if (!value.empty()) words.push_back("--" + std::string(name) + "=" + value);
    };
    option("partition", settings.partition);
    option("account", settings.account);
    option("qos", settings.qos);
    option("constraint", settings.constraint);
    option("gres", settings.gres.empty() && request.gpus > 0 ? "gpu:" + std::to_string(request.gpus)
                                                             : settings.gres);
    if (request.cores > 0) option("cpus-per-task", std::to_string(request.cores));
    if (request.memory_gb > 0)
        option(
            "mem",
            std::to_string(static_cast<std::int64_t>(std::ceil(request.memory_gb * 1024))) + "M");
    if (settings.walltime > Span{}) {
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(settings.walltime).count();
        option("time", std::to_string(seconds / 60) + ":" + (seconds % 60 < 10 ? "0" : "") +
                           std::to_string(seconds % 60));
    }
    return words;
}

std::string pilot_script(const NodeRequest& request, const SlurmSettings& settings,
                         const std::string& agent, const std::string& uv, const std::string& root,
                         const std::string& folder) {
    std::string script = "#!/bin/sh\nexec " + quote_for_shell(agent) + " pilot";
    const auto option = [&](std::string_view name, const std::string& value) {
        if (!value.empty()) script += " --" + std::string(name) + " " + quote_for_shell(value);
    };
    option("node", request.id);
    option("folder", folder);
    option("cache", root + "/cache");
    option("uv", uv);
    option("python", settings.python);
    return script + "\n";
}

Result<std::string> parse_submitted(std::string_view text) {
    const std::string_view line = trim(text);
    const std::string_view number = line.substr(0, line.find(';'));
    if (!is_number(number))
        return fail(Code::Unavailable, "NotUnderstood",
                    "sbatch did not say the number of its job but " + shown(line));
    return std::string(number);
}

std::string slurm_says(std::string_view complaint) {
    std::vector<std::string> said;
    for (const std::string& line : split(complaint, '\n')) {
        std::string_view words = trim(line);
        for (const std::string_view before : {"sbatch:", "squeue:", "scancel:", "srun:", "sinfo:",
                                              "scontrol:", "slurm_load_jobs", "error:", "fatal:"})
            if (words.starts_with(before)) words = trim(words.substr(before.size()));
        if (words.starts_with("error:")) words = trim(words.substr(6));
        if (words.starts_with("Batch job submission failed:")) words = trim(words.substr(28));
        if (!words.empty() && (said.empty() || said.back() != words)) said.emplace_back(words);
    }
    const std::string all = join(said, "; ");
    std::string plain = shortened(all, 500);
    for (char& c : plain)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
    return is_utf8(plain) ? plain : shown(plain);
}

Error refused_by_slurm(std::string_view complaint) {
    const std::string said = slurm_says(complaint), lower = to_lower(said);
    const std::string message =
        "Slurm says: " + (said.empty() ? std::string("nothing, but no job was made") : said);
    const auto says = [&](std::string_view word) { return lower.find(word) != std::string::npos; };
    if (std::ranges::any_of(kRefusals, says))
        return Error(Code::InvalidArgument, "RefusedBySlurm", message);
    // MaxSubmitJobs, a full queue: others have to end first.
    if (says("violates accounting/qos policy") || says("maximum number of jobs") ||
        says("submit limit"))
        return Error(Code::ResourceExhausted, "RefusedBySlurm", message);
    return Error(Code::Unavailable, "RefusedBySlurm", message);
}

std::string reason_in_words(std::string_view reason) {
    std::string words = reason.empty() ? "None" : shortened(reason, 200);
    for (const auto& [word, means] : kReasons)
        if (reason == word) words += " (" + std::string(means) + ")";
    return words;
}

std::string waits_in_words(const Pilot& pilot) {
    std::string words = std::string(kWaiting) + "Slurm: ";
    if (pilot.state == "CONFIGURING")
        return words + "its compute node " + pilot.where + " is made ready";
    return words + reason_in_words(pilot.reason) + ", job " + pilot.job;
}

bool waits_for_ever(std::string_view reason) {
    return std::ranges::any_of(kForEver,
                               [&](std::string_view one) { return reason.starts_with(one); }) ||
           std::ranges::any_of(kForEverAtEnd,
                               [&](std::string_view one) { return reason.ends_with(one); });
}

std::string ended_in_words(const Pilot& pilot) {
    std::string why;
    if (pilot.state == "TIMEOUT")
        why = "its walltime was over";
    else if (pilot.state == "NODE_FAIL" || pilot.state == "BOOT_FAIL")
        why = "its compute node failed";
    else if (pilot.state == "CANCELLED")
        why = "somebody canceled it";
    else if (pilot.state == "PREEMPTED")
        why = "Slurm gave its node to another job";
    else if (pilot.state == "OUT_OF_MEMORY")
        why = "it used more memory than it had asked for";
    else if (pilot.state == "DEADLINE")
        why = "its deadline has passed";
    else if (pilot.state.empty())
        why = "Slurm does not know it any more";
    else
        why = "it ended";
    return "the node's pilot, Slurm job " + pilot.job +
           (pilot.where.empty() ? std::string() : " on " + pilot.where) + ", is over: " + why +
           (pilot.state.empty() ? "" : " (" + pilot.state + ")");
}

}  // namespace turnout
