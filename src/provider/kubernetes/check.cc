// What a pool's cluster is like: as it is known, and as it tells itself.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "provider/kubernetes/state.h"

namespace turnout {

namespace {

struct Right {
    const char* verb;
    const char* resource;
    bool everywhere, needed;
};
// What deploy/kubernetes.yaml gives.
constexpr Right kRights[] = {
    {"create", "pods", false, true},   {"get", "pods", false, true},
    {"list", "pods", false, true},     {"delete", "pods", false, true},
    {"get", "pods/exec", false, true}, {"create", "pods/exec", false, true},
    {"list", "events", false, false},  {"list", "nodes", true, false},
};

// Whether something with those labels could be put there is the scheduler's to say.
std::string words_of_type(const InstanceType& type) {
    std::vector<std::string> words;
    if (!type.cpu.empty()) words.push_back("cpu " + type.cpu);
    if (!type.memory.empty()) words.push_back("memory " + type.memory);
    if (type.gpus > 0) words.push_back(std::to_string(type.gpus) + " GPU");
    return type.name + (words.empty() ? "" : " (" + join(words, ", ") + ")");
}

}  // namespace

Json KubernetesProvider::describe(const Json& settings) const {
    State& s = *state_;
    const KubeCluster::Place where = State::where_of(Json(), settings);
    const auto found = s.clusters.find(where);
    Json one = Json::object({{"host", found == s.clusters.end() ? "kubernetes " + where.kubeconfig
                                                                : found->second->api->words()}});
    std::int64_t nodes = 0;
    for (const auto& [id, place] : s.places) nodes += place->cluster->api->place() == where;
    one.set("nodes", nodes);
    const bool trouble = found != s.clusters.end() && found->second->trouble;
    one.set("state", trouble ? "avoided" : nodes > 0 ? "connected" : "unused");
    if (trouble) one.set("message", found->second->trouble->message);
    return Json::array({std::move(one)});
}

Task<Json> KubernetesProvider::check(Json settings) {
    const std::shared_ptr<State> state = state_;
    const KubernetesSettings pool = read_kubernetes_settings(settings);
    // Of its own: the file may not be what the server works by.
    const auto api = std::make_shared<KubeCluster>(state->loop, State::where_of(Json(), settings),
                                                   state->options.environment);
    Json one = Json::object();
    const auto answer = [&one, &api](bool reachable, std::string message) {
        one.set("host", api->words());
        one.set("reachable", reachable);
        if (!message.empty()) one.set("message", std::move(message));
        return Json::array({one});
    };
    const Result<Json> version = co_await api->version();
    if (!version) co_return answer(false, version.error().message);
    std::string system = "Kubernetes " + version->at("gitVersion").as_string();
    Json rights = Json::array();
    std::vector<std::string> missing;
    bool sees_machines = false;
    for (const Right& right : kRights) {
        const Result<bool> may = co_await api->may(right.verb, right.resource, right.everywhere);
        if (!may) co_return answer(false, may.error().message);
        rights.push(Json::object({{"verb", right.verb},
                                  {"resource", right.resource},
                                  {"allowed", *may},
                                  {"needed", right.needed}}));
        if (!*may && right.needed)
            missing.push_back(std::string(right.verb) + " " + right.resource);
        if (*may && right.everywhere) sees_machines = true;
    }
    one.set("rights", std::move(rights));
    if (sees_machines) {
        const Result<std::vector<Json>> machines = co_await api->machines(pool.gpu_resource);
        if (!machines) co_return answer(false, machines.error().message);
        std::int64_t ready = 0, cores = 0, memory = 0, gpus = 0;
        for (const Json& machine : *machines) {
            ready += machine.at("ready").as_bool();
            cores = std::max(cores, machine.at("cores").as_int());
            memory = std::max(memory, machine.at("memoryBytes").as_int());
            gpus = std::max(gpus, machine.at("gpus").as_int());
        }
        const auto count = static_cast<std::int64_t>(machines->size());
        system += " with " + std::to_string(count) + (count == 1 ? " machine" : " machines") +
                  ", " + std::to_string(ready) + " ready, the largest with";
        one.set("machines", Json(*machines));
        one.set("cores", cores);
        one.set("memoryBytes", memory);
        one.set("gpus", gpus);
    } else {
        system += " (its machines may not be looked at)";
    }
    if (!pool.instance_types.empty()) {
        Json types = Json::array();
        for (const InstanceType& type : pool.instance_types) types.push(words_of_type(type));
        one.set("instanceTypes", std::move(types));
    }
    one.set("system", system);
    if (!missing.empty())
        co_return answer(false, "Kubernetes does not allow us to " + join(missing, ", ") +
                                    " in namespace " + api->name_space() +
                                    ": deploy/kubernetes.yaml has the rights that it takes");
    const Result<std::vector<PodSeen>> pods = co_await api->pods(state->instance);
    if (!pods) co_return answer(false, pods.error().message);
    one.set("nodes", static_cast<std::int64_t>(pods->size()));
    co_return answer(true, "");
}

}  // namespace turnout
