// What a pool of a Kubernetes cluster says in its `settings`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "resources/describe.h"

namespace turnout {

// What a pod asks for, in Kubernetes' own words; "" where it does not say.
struct InstanceType {
    std::string name;
    std::string cpu;     // "500m"
    std::string memory;  // "2Gi"
    int gpus = 0;
    std::vector<std::pair<std::string, std::string>> node_selector;
};

struct KubernetesSettings {
    enum class Pull { Missing, Always, Never };
    std::string kubeconfig;       // the path of a file
    std::string context;          // "": the file's current one
    std::string name_space;       // "": the context's, else "default"
    std::string service_account;  // of the pods; "": the namespace's own
    std::string image;            // of what names no other
    Pull pull = Pull::Missing;
    std::vector<std::string> image_pull_secrets;
    std::vector<InstanceType> instance_types;
    std::string gpu_resource = "nvidia.com/gpu";
    std::uint32_t user = 1000;  // uid and gid of all that runs in a pod
    std::string python;         // interpreter of jobs without an environment
    std::vector<std::pair<std::string, std::string>> variables;

    // Null: there is none of that name, which is compared without regard to case.
    const InstanceType* find(std::string_view name) const;
};

// The names of `settings`, checked as a part of pools.yaml.
const resources::Description& kubernetes_settings();
// Of checked settings.
KubernetesSettings read_kubernetes_settings(const Json& settings);

// What Kubernetes takes as the name of a thing in a path: letters in lower case, digits, '-' and
// '.'.
bool fits_as_object_name(std::string_view text);
// "2", "500m", "1.5", "2Gi": in milli-units, so that a core is 1000; nothing if it is no quantity.
std::optional<std::int64_t> parse_quantity(std::string_view text);

}  // namespace turnout
