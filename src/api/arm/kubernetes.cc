#include "api/arm/kubernetes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/control.h"
#include "model/instance_types.h"
#include "resources/compute_types.h"
#include "resources/resources.h"

namespace turnout::api::arm {
namespace {

constexpr Span kPodStays = 120s;
// What the SDK says where nobody says anything.
constexpr std::string_view kNoNamespace = "default";

bool says_kubernetes(std::string_view type) {
    return equal_ignoring_case(type, "Kubernetes");
}

// The pool that the last part of a resource id names.
Result<Control::PoolView> pool_named(const Services& services, const Json& properties) {
    const std::string place = "properties.resourceId";
    const std::string id = properties.at("resourceId").as_string();
    const std::string last = to_lower(id.substr(id.rfind('/') + 1));
    std::vector<std::string> names;
    for (const Control::PoolView& view : services.control.pools()) {
        if (view.pool.provider != kKubernetes || view.missing) continue;
        if (view.pool.name == last) return view;
        names.push_back(view.pool.name);
    }
    if (names.empty())
        return fail(Code::InvalidArgument, "NoKubernetesPool",
                    "a Kubernetes cluster is attached by the name of a pool, and this server has "
                    "none of provider kubernetes: describe it in pools.yaml (docs/kubernetes.md)",
                    place);
    return fail(Code::InvalidArgument, "NoKubernetesPool",
                "expected a resourceId that ends with a pool of provider kubernetes (" +
                    join(names, ", ") + "), found " + turnout::shown(last) +
                    did_you_mean(last, names),
                place);
}

// As Azure says it: {nodeSelector, resources: {requests, limits}}.
Json types_in_azures_words(const Pool& pool) {
    Json all = Json::object();
    const std::string gpu = pool.settings.at("gpu_resource").as_string("nvidia.com/gpu");
    for (const auto& [name, said] : pool.settings.at("instance_types").members()) {
        Json wanted = Json::object();
        const auto set = [&](const std::string& key, const Json& value) {
            if (!value.is_null()) wanted.set(key, value.is_string() ? value : Json(value.dump()));
        };
        set("cpu", said.at("cpu"));
        set("memory", said.at("memory"));
        if (said.at("gpu").as_int() > 0) set(gpu, said.at("gpu"));
        Json type =
            Json::object({{"resources", Json::object({{"requests", wanted}, {"limits", wanted}})}});
        if (const Json& selector = said.at("node_selector"); selector.is_object()) {
            Json labels = Json::object();
            for (const auto& [key, value] : selector.members())
                labels.set(key, value.is_string() ? value : Json(value.dump()));
            type.set("nodeSelector", std::move(labels));
        }
        all.set(name, std::move(type));
    }
    return all;
}

Result<void> check_namespace(const Pool& pool, const Json& inner) {
    const std::string said = inner.at("namespace").as_string(),
                      own = pool.settings.at("namespace").as_string();
    // Where the kubeconfig says it, nobody knows it here.
    if (said.empty() || said == kNoNamespace || said == own || own.empty()) return {};
    return invalid("the pods of pool '" + pool.name + "' are in namespace '" + own + "', not in " +
                       turnout::shown(said) +
                       ": leave namespace out, or describe a pool with that one in pools.yaml",
                   "properties.properties.namespace");
}

Result<std::string> default_type(const Pool& pool, const Json& inner) {
    const std::vector<std::string> names = instance_types_of(pool);
    const std::string said = inner.at("defaultInstanceType").as_string();
    if (names.empty())
        return invalid("pool '" + pool.name +
                           "' says no instance_types, so nobody knows what its pods ask for: say "
                           "them in pools.yaml (docs/kubernetes.md)",
                       "properties.resourceId");
    if (said.empty()) return names.front();
    if (const auto found = instance_type_of(pool, said)) return *found;
    return invalid("expected an instance type of pool '" + pool.name + "' (" + join(names, ", ") +
                       "), found " + turnout::shown(said) + did_you_mean(said, names),
                   "properties.properties.defaultInstanceType");
}

}  // namespace

bool is_kubernetes(const Json& body) {
    return says_kubernetes(body.at("properties").at("computeType").as_view());
}

bool is_kubernetes(const Compute& compute) {
    return says_kubernetes(compute.definition.at("computeType").as_view());
}

Result<Compute> read_kubernetes(Services& services, const Workspace& workspace,
                                const std::string& name, const Json& body,
                                const std::optional<Compute>& before) {
    const Json& properties = body.at("properties");
    const Json& inner = properties.at("properties");
    if (!inner.is_null() && !inner.is_object())
        return invalid("properties.properties: expected an object", "properties.properties");
    TURNOUT_TRY(resources::check_is_made(*resources::find_compute_type("Kubernetes"),
                                         !properties.at("resourceId").as_string().empty()));
    TURNOUT_TRY(resources::check_rest(resources::kubernetes_compute(), body));
    const Control::PoolView view = TURNOUT_TRY(pool_named(services, properties));
    TURNOUT_TRY(check_namespace(view.pool, inner));
    // What it was told itself may be said again.
    if (const Json& types = inner.at("instanceTypes");
        types.is_object() && !types.members().empty() &&
        !types.equal_unordered(types_in_azures_words(view.pool)))
        return invalid("instance types are what pool '" + view.pool.name +
                           "' says in pools.yaml: change them there",
                       "properties.properties.instanceTypes");
    Compute compute;
    compute.workspace = workspace.id;
    compute.name = name;
    compute.pool = view.pool.name;
    compute.vm_size = TURNOUT_TRY(default_type(view.pool, inner));
    compute.min_nodes = 0;
    compute.max_nodes = kMostSlots;  // that is: as many as its pool has
    compute.idle_before_scale_down = kPodStays;
    compute.definition =
        Json::object({{"computeType", "Kubernetes"},
                      {"resourceId", properties.at("resourceId").as_string().substr(0, 1024)}});
    if (const Json& text = properties.at("description"); text.is_string())
        compute.definition.set("description", text);
    compute.envelope = Json::object({{"location", workspace.location}});
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (body.at(member).is_object()) compute.envelope.set(member, body.at(member));
    if (!before) return compute;
    if (!is_kubernetes(*before))
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + name + "' exists and is " +
                        (before->attached ? "a machine that was attached" : "a cluster") +
                        ": choose another name",
                    "properties.computeType");
    if (before->pool != compute.pool || before->vm_size != compute.vm_size)
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + name + "' exists and is pool '" + before->pool +
                        "' with instance type '" + before->vm_size + "', not pool '" +
                        compute.pool + "' with '" + compute.vm_size +
                        "': detach it first, or choose another name",
                    "properties.resourceId");
    compute.created = before->created;
    return compute;
}

Json kubernetes_properties(const Services& services, const Compute& compute) {
    Json inner = Json::object({{"defaultInstanceType", compute.vm_size}});
    if (const auto view = services.control.pool(compute.pool)) {
        if (const std::string own = view->pool.settings.at("namespace").as_string(); !own.empty())
            inner.set("namespace", own);
        inner.set("instanceTypes", types_in_azures_words(view->pool));
    }
    inner.set("propertyBag", Json::object({{"pool", compute.pool}}));
    return inner;
}

Json kubernetes_definition(const Compute& compute) {
    Json properties = compute.definition;
    properties.set("properties", Json::object({{"defaultInstanceType", compute.vm_size}}));
    Json body = compute.envelope;
    body.set("properties", std::move(properties));
    return body;
}

Result<void> check_kubernetes_type(const Services& services, const Compute& compute,
                                   const std::string& wanted) {
    if (wanted.empty() || equal_ignoring_case(wanted, compute.vm_size)) return {};
    const auto view = services.control.pool(compute.pool);
    const std::vector<std::string> names =
        view ? instance_types_of(view->pool) : std::vector<std::string>();
    const bool there = view && instance_type_of(view->pool, wanted);
    return fail(
        Code::InvalidArgument, "InstanceTypeNotThere",
        there ? "compute '" + compute.name + "' has pods of instance type '" + compute.vm_size +
                    "', not '" + wanted.substr(0, 64) + "': attach pool '" + compute.pool +
                    "' once more, under another name, with that default_instance_type"
              : "there is no instance type " + turnout::shown(wanted) + " in pool '" +
                    compute.pool + "', but " + join(names, ", ") + did_you_mean(wanted, names),
        "resources.instanceType");
}

}  // namespace turnout::api::arm
