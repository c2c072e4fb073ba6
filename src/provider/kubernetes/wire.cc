#include "provider/kubernetes/wire.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "model/waiting.h"
#include "provider/node_id.h"

namespace turnout {

namespace {

constexpr std::string_view kServer = "turnout.server", kNode = "turnout.node",
                           kImage = "turnout.image";
constexpr const char* kContainer = "node";
constexpr std::int64_t kAgentMebibytes = 64;  // beside the task, which has what it was promised
constexpr std::size_t kLongestSaid = 400;

// Its server's first process ends at once when it is told to; this is for what hangs.
constexpr int kGraceSeconds = 5;

// A registry's no is a no; one that is away may come back.
constexpr std::array<std::string_view, 11> kNoSuchImage = {
    "not found",       "manifest unknown",  "denied",         "unauthorized",
    "no basic auth",   "invalid reference", "does not exist", "no matching manifest",
    "repository name", "no such image",     "403 forbidden"};

// One label's value: a node's id has a '/' and may be longer than that.
std::string hash_of_node(std::string_view instance, const NodeId& node) {
    return to_hex(sha256(std::string(instance) + " " + node)).substr(0, 16);
}

const Json& container_in(const Json& status) {
    static const Json none;
    for (const Json& one : status.at("containerStatuses").items())
        if (one.at("name").as_view() == kContainer) return one;
    return none;
}

std::optional<PodSeen> read_pod(const Json& pod, std::string_view instance) {
    const Json& about = pod.at("metadata");
    if (about.at("labels").at(kServer).as_view() != instance) return std::nullopt;
    PodSeen one;
    one.name = about.at("name").as_string();
    one.node = about.at("annotations").at(kNode).as_string();
    // Others may make pods there, and what a label says is theirs to say.
    if (!fits_as_node(one.node) || one.name != pod_name(instance, one.node)) return std::nullopt;
    one.image = about.at("annotations").at(kImage).as_string();
    one.deleting = about.at("deletionTimestamp").is_string();
    if (const std::string where = pod.at("spec").at("nodeName").as_string();
        fits_as_object_name(where))
        one.where = where;
    const Json& status = pod.at("status");
    one.phase = status.at("phase").as_string();
    one.reason = status.at("reason").as_string();
    one.message = status.at("message").as_string();
    for (const Json& condition : status.at("conditions").items())
        if (condition.at("type").as_view() == "PodScheduled" &&
            condition.at("status").as_view() == "False")
            one.unscheduled = condition.at("message").as_string(
                condition.at("reason").as_string("Unschedulable"));
    for (const Json& condition : status.at("conditions").items())
        if (condition.at("type").as_view() == "DisruptionTarget" &&
            condition.at("status").as_view() == "True") {
            one.disrupted = condition.at("reason").as_string();
            one.disrupted_message = condition.at("message").as_string();
        }
    const Json& state = container_in(status).at("state");
    one.runs = state.at("running").is_object();
    if (const Json& waits = state.at("waiting"); waits.is_object()) {
        one.waiting = waits.at("reason").as_string();
        one.waits_for = waits.at("message").as_string();
    }
    if (const Json& ended = state.at("terminated"); ended.is_object()) {
        one.ended = true;
        one.ended_reason = ended.at("reason").as_string();
        one.ended_message = ended.at("message").as_string();
        one.exit_code = ended.at("exitCode").as_int();
    }
    return one;
}

bool says_one_of(std::string_view text, std::span<const std::string_view> words) {
    const std::string lower = to_lower(text);
    return std::ranges::any_of(
        words, [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

Json resources_of(const NodeRequest& request, const KubernetesSettings& settings,
                  const InstanceType* type) {
    Json wanted = Json::object();
    std::string cpu, memory;
    if (request.cores > 0) cpu = std::to_string(request.cores);
    if (request.memory_gb > 0)
        memory = std::to_string(static_cast<std::int64_t>(std::ceil(request.memory_gb * 1024)) +
                                kAgentMebibytes) +
                 "Mi";
    int gpus = request.gpus;
    if (type) {
        if (!type->cpu.empty()) cpu = type->cpu;
        if (!type->memory.empty()) memory = type->memory;
        gpus = type->gpus;
    }
    if (!cpu.empty()) wanted.set("cpu", cpu);
    if (!memory.empty()) wanted.set("memory", memory);
    if (gpus > 0) wanted.set(settings.gpu_resource, std::to_string(gpus));
    return Json::object({{"requests", wanted}, {"limits", wanted}});
}

}  // namespace

PodSeen::Is PodSeen::is() const {
    if (deleting) return Is::Ends;
    if (phase == "Succeeded" || phase == "Failed" || ended) return Is::Over;
    if (runs) return Is::Runs;
    return where.empty() ? Is::Waits : Is::Starts;
}

std::string pod_name(std::string_view instance, const NodeId& node) {
    // Somebody who looks at pods sees which cluster it is of.
    const std::vector<std::string> parts = split(node, '/');
    std::string name = "turnout-";
    for (std::size_t i = 1; i < parts.size() && i < 3; ++i)
        for (const char c : to_lower(parts[i]).substr(0, 32) + "-")
            name += is_digit(c) || (c >= 'a' && c <= 'z') ? c : '-';
    return name + hash_of_node(instance, node).substr(0, 10);
}

std::string pods_of(std::string_view instance) {
    return std::string(kServer) + "=" + std::string(instance);
}

Result<PodPage> parse_pods(std::string_view text, std::string_view instance) {
    const Result<Json> json = parse_json(text);
    const auto failed = [](std::string_view why) {
        return fail(Code::Unavailable, "NotUnderstood",
                    "the API server's list of pods is not understood: " + std::string(why));
    };
    if (!json) return failed(json.error().message);
    if (json->at("kind").as_view() != "PodList" || !json->at("metadata").is_object())
        return failed("it is no PodList");
    // An empty list may be null.
    if (const Json& items = json->at("items"); !items.is_array() && !items.is_null())
        return failed("its items are no list");
    PodPage page;
    page.more = json->at("metadata").at("continue").as_string();
    for (const Json& pod : json->at("items").items()) {
        if (!pod.is_object()) return failed("an item is no pod");
        if (auto one = read_pod(pod, instance)) page.pods.push_back(std::move(*one));
    }
    return page;
}

Json pod_document(const NodeRequest& request, const KubernetesSettings& settings,
                  std::string_view instance) {
    const InstanceType* const type = settings.find(request.size);
    Json container = Json::object(
        {{"name", kContainer},
         {"image", request.image.empty() ? settings.image : request.image},
         {"imagePullPolicy", settings.pull == KubernetesSettings::Pull::Always  ? "Always"
                             : settings.pull == KubernetesSettings::Pull::Never ? "Never"
                                                                                : "IfNotPresent"},
         // What the image itself would run is not asked.
         {"command",
          Json::array({"sh", "-c",
                       "trap 'exit 0' TERM INT; until [ -s " + std::string(kBeginInPod) +
                           " ]; do sleep 0.1 2>/dev/null || sleep 1; done; trap - TERM INT; . " +
                           std::string(kBeginInPod)})},
         {"workingDir", "/turnout"},
         {"resources", resources_of(request, settings, type)},
         {"securityContext",
          Json::object({{"allowPrivilegeEscalation", false},
                        {"privileged", false},
                        {"capabilities", Json::object({{"drop", Json::array({"ALL"})}})}})},
         {"volumeMounts",
          Json::array({Json::object({{"name", "turnout"}, {"mountPath", "/turnout"}}),
                       Json::object({{"name", "shm"}, {"mountPath", "/dev/shm"}})})}});
    const std::int64_t user = settings.user;
    Json spec = Json::object(
        {{"restartPolicy", "Never"},
         {"automountServiceAccountToken", false},
         {"enableServiceLinks", false},
         {"terminationGracePeriodSeconds", kGraceSeconds},
         {"securityContext",
          Json::object({{"runAsNonRoot", true},
                        {"runAsUser", user},
                        {"runAsGroup", user},
                        {"fsGroup", user},
                        {"seccompProfile", Json::object({{"type", "RuntimeDefault"}})}})},
         {"containers", Json::array({std::move(container)})},
         {"volumes",
          Json::array({Json::object({{"name", "turnout"}, {"emptyDir", Json::object()}}),
                       // What is in it counts as the pod's memory, which has its limit.
                       Json::object({{"name", "shm"},
                                     {"emptyDir", Json::object({{"medium", "Memory"}})}})})}});
    if (!settings.service_account.empty()) spec.set("serviceAccountName", settings.service_account);
    if (type && !type->node_selector.empty()) {
        Json selector = Json::object();
        for (const auto& [key, value] : type->node_selector) selector.set(key, value);
        spec.set("nodeSelector", std::move(selector));
    }
    if (!settings.image_pull_secrets.empty()) {
        Json secrets = Json::array();
        for (const std::string& name : settings.image_pull_secrets)
            secrets.push(Json::object({{"name", name}}));
        spec.set("imagePullSecrets", std::move(secrets));
    }
    return Json::object(
        {{"apiVersion", "v1"},
         {"kind", "Pod"},
         {"metadata",
          Json::object(
              {{"name", pod_name(instance, request.id)},
               {"labels", Json::object({{"app.kubernetes.io/managed-by", "turnout"},
                                        {std::string(kServer), std::string(instance)},
                                        {std::string(kNode), hash_of_node(instance, request.id)}})},
               {"annotations", Json::object({{std::string(kNode), request.id},
                                             {std::string(kImage), request.image}})}})},
         {"spec", std::move(spec)}});
}

std::vector<std::string> put_words(const std::string& path, std::size_t size, bool program) {
    const std::string fresh = path + ".new";
    std::string script =
        "umask 077; cd /turnout && mkdir -p bin node run home cache tmp && head -c " +
        std::to_string(size) + " >" + fresh + " && ";
    if (program) script += "chmod 755 " + fresh + " && ";
    return {"sh", "-c", script + "mv " + fresh + " " + path};
}

std::string begin_script(const NodeRequest& request, const KubernetesSettings& settings,
                         const Secret& token, bool uv) {
    std::string script =
        "umask 077\nprintf %s " + quote_for_shell(token.reveal()) + " >/turnout/node.token\n";
    const auto variable = [&](const std::string& name, const std::string& value) {
        script += "export " + name + "=" + quote_for_shell(value) + "\n";
    };
    // Who is no user of the image has a home, and a name, all the same.
    variable("HOME", "/turnout/home");
    variable("USER", "turnout");
    variable("LOGNAME", "turnout");
    variable("TMPDIR", "/turnout/tmp");
    for (const auto& [name, value] : settings.variables) variable(name, value);
    script += "cd /turnout/node\nexec " + std::string(kAgentInPod);
    const auto words = [&](std::initializer_list<std::string> all) {
        for (const std::string& word : all) script += " " + quote_for_shell(word);
    };
    words({"init", "--server", "unix:" + std::string(kSocketInPod), "--node", request.id,
           "--folder", "/turnout/node", "--cache", "/turnout/cache", "--token-file",
           "/turnout/node.token", "--image", request.image});
    if (uv) words({"--uv", std::string(kUvInPod)});
    if (!settings.python.empty()) words({"--python", settings.python});
    return script + "\n";
}

std::string plain_words(std::string_view text) {
    std::string plain = shortened(trim(text), kLongestSaid);
    for (char& c : plain)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
    return is_utf8(plain) ? plain : shown(plain);
}

Error refused_by_api(const std::string& doing, int status, std::string_view body) {
    const Result<Json> json = parse_json(body);
    std::string said = json ? json->at("message").as_string() : std::string(body);
    if (said.empty()) said = "HTTP " + std::to_string(status);
    said = plain_words(said);
    const std::string what = doing + ": Kubernetes says: " + said;
    const auto says = [&](std::string_view word) { return said.find(word) != std::string::npos; };
    if (status == 401)
        return Error(Code::FailedPrecondition, "NotLetIn",
                     doing +
                         ": Kubernetes does not accept the kubeconfig's credentials: they are "
                         "wrong, or no longer valid (" +
                         said + ")");
    if (status == 403 && says("exceeded quota"))
        return Error(Code::ResourceExhausted, "QuotaExceeded", what);
    if (status == 403 && (says("violates PodSecurity") || says("denied the request")))
        return Error(Code::InvalidArgument, "RefusedByKubernetes", what);
    if (status == 403)
        return Error(Code::FailedPrecondition, "Forbidden",
                     what + "; deploy/kubernetes.yaml has the rights that it takes");
    const Code code = status == 404                                     ? Code::NotFound
                      : status == 409                                   ? Code::Conflict
                      : status == 400 || status == 413 || status == 422 ? Code::InvalidArgument
                                                                        : Code::Unavailable;
    return Error(code, "RefusedByKubernetes", what);
}

std::string waits_in_words(const PodSeen& pod) {
    if (pod.unscheduled.empty()) return "";
    return std::string(kWaiting) + "Kubernetes: " + plain_words(pod.unscheduled) + " (pod " +
           pod.name + ")";
}

ImageTrouble image_trouble(const PodSeen& pod) {
    const std::string_view why = pod.waiting;
    if (why == "ErrImageNeverPull" || why == "InvalidImageName") return ImageTrouble::Never;
    // The image has nothing by which its pod could begin.
    if ((pod.ended_reason == "StartError" || pod.ended_reason == "ContainerCannotRun" ||
         why == "CreateContainerError" || why == "RunContainerError") &&
        (pod.ended_message + pod.waits_for).find("\"sh\"") != std::string::npos)
        return ImageTrouble::Never;
    if (why != "ErrImagePull" && why != "ImagePullBackOff" && why != "ImageInspectError" &&
        why != "RegistryUnavailable" && why != "SignatureValidationFailed")
        return ImageTrouble::None;
    return says_one_of(pod.waits_for, kNoSuchImage) ? ImageTrouble::Never : ImageTrouble::Perhaps;
}

std::string trouble_in_words(const PodSeen& pod, const std::string& image) {
    const std::string said = plain_words(pod.waits_for.empty() ? pod.ended_message : pod.waits_for);
    const std::string_view why = pod.waiting.empty() ? pod.ended_reason : pod.waiting;
    const std::string words = std::string(why) + (said.empty() ? "" : ": " + said);
    if (pod.waiting == "ErrImageNeverPull")
        return "image '" + image +
               "' is not there, and the pool's settings say `pull: never`: Kubernetes says: " +
               words;
    if (image_trouble(pod) == ImageTrouble::None) {
        if (why.empty() || why == "ContainerCreating" || why == "PodInitializing") return "";
        return "its container cannot be started: Kubernetes says: " + words;
    }
    if (said.find("\"sh\"") != std::string::npos)
        return "image '" + image +
               "' has no sh, by which a node begins in a pod: Kubernetes says: " + words;
    return "image '" + image + "' cannot be pulled: Kubernetes says: " + words;
}

std::string ended_in_words(const PodSeen& pod) {
    std::string why;
    if (pod.reason == "Evicted" || pod.disrupted == "EvictionByEvictionAPI")
        why = "Kubernetes evicted it";
    else if (pod.reason == "Preempting" || pod.reason == "Preempted" ||
             pod.disrupted == "PreemptionByScheduler")
        why = "Kubernetes gave its place to another pod";
    else if (pod.reason == "NodeLost" || pod.reason == "NodeShutdown" ||
             pod.reason == "Terminated" || pod.reason == "Shutdown" ||
             pod.disrupted == "DeletionByTaintManager" || pod.disrupted == "DeletionByPodGC")
        why = "its machine is gone or was shut down";
    else if (pod.ended_reason == "OOMKilled")
        why = "it used more memory than it may";
    else if (pod.deleting || pod.phase.empty())
        why = "somebody deleted it";
    else if (pod.ended)
        why = "its container ended with exit code " + std::to_string(pod.exit_code);
    else
        why = "it ended";
    std::vector<std::string> words;
    for (const std::string* one : {&pod.disrupted, &pod.reason, &pod.ended_reason})
        if (!one->empty() && *one != "Error" && *one != "Completed")
            words.push_back(plain_words(*one));
    if (!pod.disrupted_message.empty())
        words.push_back(plain_words(pod.disrupted_message));
    else if (!pod.message.empty())
        words.push_back(plain_words(pod.message));
    else if (!pod.ended_message.empty())
        words.push_back(plain_words(pod.ended_message));
    return "the node's pod " + pod.name + (pod.where.empty() ? std::string() : " on " + pod.where) +
           " is over: " + why + (words.empty() ? "" : " (" + join(words, ": ") + ")");
}

std::string parse_events(std::string_view text) {
    const Result<Json> json = parse_json(text);
    if (!json) return "";
    std::string newest, words;
    for (const Json& one : json->at("items").items()) {
        const std::string reason = one.at("reason").as_string();
        // What is told by the pod itself, and better.
        if (reason == "FailedScheduling" || reason == "Scheduled" || reason == "BackOff") continue;
        std::string at = one.at("lastTimestamp").as_string(one.at("eventTime").as_string());
        if (at < newest) continue;
        newest = std::move(at);
        words = plain_words(one.at("message").as_string(reason));
    }
    return words;
}

}  // namespace turnout
