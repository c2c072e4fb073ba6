// What is said to a Kubernetes API server, and what it says. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/compute.h"
#include "provider/kubernetes/settings.h"

namespace turnout {

// A pod that is a node of ours, as the API server shows it.
struct PodSeen {
    std::string name;
    NodeId node;
    std::string image;            // as it was asked for; "": the pool's
    std::string phase;            // "Pending", "Running", "Succeeded", "Failed", "Unknown"
    std::string where;            // the machine, "" while it has none
    std::string reason, message;  // of the pod: "Evicted"
    std::string disrupted;        // "EvictionByEvictionAPI": why it has to go, and the message
    std::string disrupted_message;
    std::string unscheduled;         // why it has no machine, in the scheduler's words
    std::string waiting, waits_for;  // of its container: "ImagePullBackOff", and the message
    bool runs = false;               // its container does
    bool ended = false;              // its container has, and will not run again
    std::string ended_reason, ended_message;  // "OOMKilled"
    std::int64_t exit_code = 0;
    bool deleting = false;

    enum class Is { Waits, Starts, Runs, Ends, Over };
    Is is() const;
};

// The names of a node's pod, which is the same at every try, and of what it is found by.
std::string pod_name(std::string_view instance, const NodeId& node);
std::string pods_of(std::string_view instance);  // a label selector

struct PodPage {
    std::vector<PodSeen> pods;
    std::string more;  // where the next page begins, "" where this is the last one
};
// A PodList. What is not a pod of that server is left out; an answer of another form is an error,
// since who is not in it counts as gone.
Result<PodPage> parse_pods(std::string_view text, std::string_view instance);

// The pod: it waits for a file that begins it (`begin_script`), so that nothing secret is in it.
Json pod_document(const NodeRequest& request, const KubernetesSettings& settings,
                  std::string_view instance);
// What is done in it: folders, and a file of so many bytes that come on standard input. The file
// is there as a whole or not at all.
std::vector<std::string> put_words(const std::string& path, std::size_t size, bool program);
inline constexpr std::string_view kAgentInPod = "/turnout/bin/turnout-agent";
inline constexpr std::string_view kUvInPod = "/turnout/bin/uv";
inline constexpr std::string_view kBeginInPod = "/turnout/begin";
inline constexpr std::string_view kSocketInPod = "/turnout/run/server.sock";
std::string begin_script(const NodeRequest& request, const KubernetesSettings& settings,
                         const Secret& token, bool uv);

// Text of the cluster's, fit for a message: one line, not too long.
std::string plain_words(std::string_view text);
// An answer that is no success. NotFound, Conflict: as the API says; ResourceExhausted: a quota;
// InvalidArgument: never so; FailedPrecondition: rights or credentials are missing; else
// Unavailable.
Error refused_by_api(const std::string& doing, int status, std::string_view body);

// Why it waits for a machine, for people; it begins with kWaiting. "" where nothing is known yet.
std::string waits_in_words(const PodSeen& pod);
// Whether its image cannot be had: not yet, or never as it was asked for.
enum class ImageTrouble { None, Perhaps, Never };
ImageTrouble image_trouble(const PodSeen& pod);
// What keeps its container from running, for people. "" where nothing does.
std::string trouble_in_words(const PodSeen& pod, const std::string& image);
// Why it is over, for people.
std::string ended_in_words(const PodSeen& pod);

// The newest of a pod's events that says what is done for it: "Pulling image …". An EventList.
std::string parse_events(std::string_view text);

}  // namespace turnout
