#include "api/arm/job_lookup.h"

#include <algorithm>
#include <cmath>

#include "api/arm/build_context.h"
#include "api/arm/kubernetes.h"
#include "api/arm/personal.h"
#include "api/arm/resource.h"
#include "api/job_kinds.h"
#include "base/hash.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "environment/curated.h"
#include "environment/definition.h"
#include "environment/pythons.h"
#include "model/compute.h"
#include "model/endpoint.h"
#include "model/job_kind.h"
#include "model/more_memory.h"
#include "model/walltime.h"
#include "resources/compute_types.h"
#include "submission/placement.h"
#include "submission/refusal.h"
#include "submission/registered.h"

namespace turnout::api::arm {
namespace {

using agent_protocol::TaskEnvironment;
using agent_protocol::TaskSpec;
using submission::Draft;
using submission::kServerless;
using submission::Reference;
using submission::refuse;

constexpr double kGiB = 1024.0 * 1024 * 1024;

// What an unknown environment may have been meant to be, given the workspace's own.
std::string instead_of(const std::string& name, std::vector<std::string> own) {
    std::vector<std::string> curated;
    for (const auto& each : environment::curated_environments()) curated.emplace_back(each.name);
    std::vector<std::string> all = own;
    all.insert(all.end(), curated.begin(), curated.end());
    if (const std::string meant = did_you_mean(name, all); !meant.empty()) return meant;
    constexpr std::size_t few = 5;
    if (own.size() > few) own.resize(few);
    return (own.empty() ? "" : "; there are " + join(own, ", ")) +
           std::string(
               ": register it with `turnout environment create`, or name a curated one such as "
               "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest");
}

Result<TaskEnvironment> environment_of_asset(const Lookup& lookup, const Reference& reference) {
    const auto asset = TURNOUT_TRY(lookup.services.assets.resolve(
        lookup.workspace.id, "environments", reference.name, reference.version));
    if (!asset) {
        std::vector<std::string> names;
        for (const auto& container : TURNOUT_TRY(
                 lookup.services.assets.list_containers(lookup.workspace.id, "environments")))
            if (container.name != submission::kAnonymousEnvironment)
                names.push_back(container.name);
        const bool known = std::ranges::find(names, reference.name) != names.end();
        const std::string words =
            known ? "has no version '" + reference.version + "'"
                  : "does not exist" + instead_of(reference.name, std::move(names));
        return refuse("EnvironmentNotFound", "environment '" + reference.name + "' " + words,
                      "environmentId");
    }
    const Json& properties = asset->properties;
    const bool anonymous = reference.name == submission::kAnonymousEnvironment;
    const std::string shown =
        anonymous ? "inline environment" : reference.name + ":" + asset->version;
    TaskEnvironment environment = TURNOUT_TRY(submission::environment_of(shown, properties));
    if (properties.at("build").is_object()) {
        const BuildContext context =
            TURNOUT_TRY(find_build_context(lookup.services, lookup.workspace, shown, properties));
        environment.image = name_of(BuiltImage{reference.name, asset->version, context.hash});
    }
    return environment;
}

// A name without "AzureML-" may be the workspace's own, or else a curated one's.
Result<TaskEnvironment> environment_named(const Lookup& lookup, const Reference& reference) {
    const auto own = TURNOUT_TRY(
        lookup.services.assets.find_container(lookup.workspace.id, "environments", reference.name));
    if (own ||
        (!environment::find_curated(reference.name) && environment::check_curated(reference.name)))
        return environment_of_asset(lookup, reference);
    return submission::curated(reference);
}

bool on_this_machine(const Services& services, const Compute& compute) {
    if (compute.pool.empty() || compute.pool == kDefaultPool) return true;
    const auto pool = services.control.pool(compute.pool);
    return !pool || pool->pool.provider == Pool{}.provider;
}

bool has_images(const Services& services, const Compute* compute) {
    const auto pool = services.control.pool(
        compute && !compute->pool.empty() ? compute->pool : std::string(kDefaultPool));
    return pool && pool->pool.image == ImagePolicy::Engine;
}

void limit_to(const Services& services, const VmSize& size, TaskSpec& task, bool here = true) {
    const ServerInfo::Machine machine = here ? services.info.machine : ServerInfo::Machine{};
    const double memory =
        machine.memory_gb > 0 ? std::min(size.memory_gb, machine.memory_gb) : size.memory_gb;
    const int cores = machine.cores > 0 ? std::min(size.cores, machine.cores) : size.cores;
    task.memory_limit_bytes = static_cast<std::int64_t>(memory * kGiB);
    task.cpu_limit_millicores = cores * 1000;
}

// The pool that a region means: one whose nodes are containers.
Result<Control::PoolView> pool_of_containers(const Lookup& lookup, const std::string& region) {
    const std::string place = std::string(submission::kInstancePlace) + ".region";
    std::vector<Control::PoolView> pools = lookup.services.control.pools();
    std::erase_if(pools, [](const Control::PoolView& view) {
        return view.pool.image != ImagePolicy::Engine || view.missing || view.attached;
    });
    const auto named = [&](std::string_view wanted) {
        std::string name = to_lower(wanted);
        std::erase(name, ' ');
        return std::ranges::find_if(
            pools, [&](const Control::PoolView& view) { return view.pool.name == name; });
    };
    if (pools.empty())
        return refuse("NoContainerPool",
                      "compute 'containerinstance' is a container for one job, and this server has "
                      "no pool of containers: describe one in pools.yaml (provider: container), or "
                      "choose another compute",
                      "computeId");
    std::vector<std::string> names;
    for (const Control::PoolView& view : pools) names.push_back(view.pool.name);
    if (!region.empty()) {
        if (const auto found = named(region); found != pools.end()) return *found;
        return refuse("NoContainerPool",
                      place + ": expected a pool of containers (" + join(names, ", ") +
                          "), found '" + region.substr(0, 64) + "'" + did_you_mean(region, names),
                      place);
    }
    if (pools.size() == 1) return pools.front();
    if (const auto found = named(lookup.workspace.location); found != pools.end()) return *found;
    return refuse("NoContainerPool",
                  place + ": expected one of the pools of containers (" + join(names, ", ") +
                      "), found nothing, and the workspace is in none of them",
                  place);
}

Result<void> find_instance(const Lookup& lookup, Draft& draft) {
    submission::InstanceSaid& asked = *draft.instance;
    const Control::PoolView view = TURNOUT_TRY(pool_of_containers(lookup, asked.region));
    asked.region = view.pool.name;
    draft.compute = kContainerInstance;
    const auto& machines_of = lookup.services.machines_of;
    const auto machines = machines_of ? machines_of(view.pool) : std::vector<ServerInfo::Machine>();
    const ServerInfo::Machine machine = machines.empty() ? ServerInfo::Machine{} : machines.front();
    const auto too_much = [&](const char* member, const std::string& has,
                              const std::string& found) {
        const std::string place = std::string(submission::kInstancePlace) + "." + member;
        return refuse("ContainerTooLarge",
                      place + ": expected at most " + has + ", which the machine of pool '" +
                          view.pool.name + "' has, found " + found,
                      place);
    };
    if (machine.cores > 0 && asked.cores > machine.cores)
        return too_much("cpu_cores", std::to_string(machine.cores), std::to_string(asked.cores));
    // Cut off, not rounded: what is said to be there can be asked for.
    const double memory = std::floor(machine.memory_gb * 10) / 10;
    if (memory > 0 && asked.memory_gb > memory)
        return too_much("memory_gb", gigabyte_words(memory), gigabyte_words(asked.memory_gb));
    draft.task.memory_limit_bytes = static_cast<std::int64_t>(asked.memory_gb * kGiB);
    draft.task.cpu_limit_millicores = asked.cores * 1000;
    return {};
}

// Parsed anew only when its row has changed: nearly all jobs name the same few. Null: there is
// none; valid until the next call.
Result<const Compute*> compute_row(Services& services, const std::string& key) {
    const auto record = TURNOUT_TRY(services.store.get(Table::Compute, key));
    if (!record) return nullptr;
    if (const auto* known = services.computes.find(key); known && known->first == record->revision)
        return &known->second;
    const Json document = TURNOUT_TRY(parse_json(record->value));
    services.computes.put(key, {record->revision, TURNOUT_TRY(compute_from_json(document))});
    return &services.computes.find(key)->second;
}

}  // namespace

Result<void> check_capability(const Lookup& lookup, const std::string& compute, JobType type) {
    const resources::Ability needs = kind_row(type).needs;
    const Compute* const at =
        TURNOUT_TRY(compute_row(lookup.services, lookup.workspace.id + "/" + compute));
    const resources::ComputeType* const kind =
        resources::find_compute_type(!at || at->implicit  ? compute
                                     : at->attached       ? "VirtualMachine"
                                     : at->personal       ? "ComputeInstance"
                                     : is_kubernetes(*at) ? "Kubernetes"
                                                          : "AmlCompute");
    // Of a name that is no compute only what Azure refuses, too: else `find_compute` says more.
    if (!kind || (!at && (!kind->type.empty() || kind->azure.*needs != resources::Can::No)))
        return {};
    return resources::check_can(*kind, needs, compute, kind_of(type).noun);
}

Result<void> find_code(const Lookup& lookup, Draft& draft) {
    const auto& reference = draft.code;
    if (!reference) return {};
    const auto code = TURNOUT_TRY(lookup.services.assets.resolve(
        lookup.workspace.id, "codes", reference->name, reference->version));
    if (!code)
        return refuse("CodeNotFound",
                      "code '" + reference->name + "' version '" + reference->version +
                          "' does not exist: upload it again",
                      "codeId");
    auto blobs = submission::blob_of_url(code->properties.at("codeUri").as_view());
    if (!blobs)
        return refuse(
            "CodeNotFound",
            "code '" + reference->name + "' has no place in the blob service: upload it again",
            "codeId");
    const Found found = TURNOUT_TRY(look(lookup, blobs->container, blobs->prefix));
    if (found == Found::Nothing)
        return refuse(
            "CodeNotFound",
            "the files of code '" + reference->name + "' are not there: upload them again",
            "codeId");
    if (found == Found::Folder && !blobs->prefix.empty()) blobs->prefix += "/";
    // What identifies the snapshot on a node: its content as we saw it when it was sealed, or the
    // upload itself. A hash that a client claims must not let one snapshot stand for another.
    draft.task.code_hash = !code->content.empty()
                               ? code->content
                               : to_hex(sha256(blobs->container + "/" + blobs->prefix));
    draft.task.code = std::move(*blobs);
    return {};
}

Result<void> find_environment(const Lookup& lookup, Draft& draft) {
    TaskEnvironment& environment = draft.task.environment;
    if (draft.environment) {
        auto notices = std::move(environment.notices);
        environment = TURNOUT_TRY(environment_named(lookup, *draft.environment));
        environment.notices.insert(environment.notices.end(), notices.begin(), notices.end());
    }
    const auto built = read_built_image(environment.image);
    if (draft.instance && !built) return {};  // what there is in its image its node knows
    const Compute* at =
        draft.instance
            ? nullptr
            : TURNOUT_TRY(compute_row(lookup.services, lookup.workspace.id + "/" + draft.compute));
    if (built) {
        const std::string pool = draft.instance            ? draft.instance->region
                                 : at && !at->pool.empty() ? at->pool
                                                           : std::string(kDefaultPool);
        const auto view = lookup.services.control.pool(pool);
        if (view && builds_images(view->pool)) return {};
        return submission::no_engine_for(shown_name(*built), pool);
    }
    if (!has_images(lookup.services, at)) environment::without_image(environment);
    const auto can =
        environment::check_python(environment, lookup.services.info.data_folder + "/cache");
    if (can) return {};
    // What there is elsewhere its nodes know.
    if (at && !on_this_machine(lookup.services, *at)) return {};
    return refuse(can.error(), "PythonNotAvailable", "environmentId");
}

// What is longer than any node of its pool lives could never be over.
Result<void> fits_into_walltime(const Services& services, const Compute& compute,
                                const TaskSpec& task) {
    const auto pool = services.control.pool(compute.pool);
    const auto lives = pool ? walltime_of(pool->pool) : std::nullopt;
    if (!lives || task.timeout == Span{} || task.timeout + kBeforeNodeEnds <= *lives) return {};
    return refuse("InvalidArgument",
                  "limits.timeout of " + to_words(task.timeout) +
                      " is longer than a node of pool '" + compute.pool +
                      "' lives: its walltime is " + to_words(*lives) + ", of which " +
                      to_words(kBeforeNodeEnds) +
                      " are for outputs; expected less, or a compute of another pool",
                  "limits.timeout");
}

Result<void> find_inference_compute(const Lookup& lookup, Draft& draft) {
    const Compute* found =
        TURNOUT_TRY(compute_row(lookup.services, lookup.workspace.id + "/" + draft.compute));
    if (!found) return internal("compute '" + draft.compute + "' of deployments is not there");
    const bool here = on_this_machine(lookup.services, *found);
    const VmSize* size = find_vm_size(found->vm_size);
    if (size && here && size->gpus > lookup.services.info.machine.gpus)
        return refuse("GpuNotAvailable",
                      "instance type '" + size->name +
                          "' has a GPU and this machine has none: choose a size without",
                      "instanceType");
    if (size) limit_to(lookup.services, *size, draft.task, here);
    return {};
}

Result<void> find_compute(const Lookup& lookup, Draft& draft) {
    const std::string& compute = draft.compute;
    TaskSpec& task = draft.task;
    if (is_inference_compute(compute))
        return refuse("ComputeIsForInference",
                      "compute '" + compute +
                          "' is for deployments of models alone: choose a cluster for jobs, or "
                          "leave the compute out",
                      "computeId");
    if (compute != kServerless) {
        const Compute* found =
            TURNOUT_TRY(compute_row(lookup.services, lookup.workspace.id + "/" + compute));
        if (found) {
            draft.instance.reset();  // an earlier build let somebody have that name
            if (found->deleting)
                return refuse("ComputeNotFound",
                              "compute '" + compute + "' is being deleted: choose another",
                              "computeId");
            if (found->personal && !lookup.own_service)
                TURNOUT_TRY(check_personal(*found, lookup.call.principal.name));
            const bool here = on_this_machine(lookup.services, *found);
            if (const VmSize* size = find_vm_size(found->vm_size))
                limit_to(lookup.services, *size, task, here);
            if (found->attached && task.node_count > 1)
                return refuse("NotImplemented",
                              "compute '" + compute +
                                  "' is one machine that was attached: a job "
                                  "on several nodes needs a cluster",
                              "resources.instanceCount");
            if (!here && task.node_count > 1)
                return refuse("NotImplemented",
                              "a job on several nodes needs them on one machine: those of pool '" +
                                  found->pool + "', where compute '" + compute +
                                  "' has its nodes, are on different ones",
                              "resources.instanceCount");
            TURNOUT_TRY(is_kubernetes(*found)
                            ? check_kubernetes_type(lookup.services, *found, draft.instance_type)
                            : submission::check_instance_type(draft.instance_type, compute,
                                                              found->vm_size));
            TURNOUT_TRY(fits_into_walltime(lookup.services, *found, task));
            if (const std::string why =
                    lookup.services.control.unusable(lookup.workspace.id, compute);
                !why.empty())
                return refuse("ComputeUnusable", why, "computeId");
            return submission::check_node_count(task.node_count, compute, found->max_nodes,
                                                lookup.services.control.slots(found->pool));
        }
        if (draft.instance) return find_instance(lookup, draft);
        std::vector<std::string> names;
        for (const Record& other : TURNOUT_TRY(lookup.services.store.scan(
                 Table::Compute, with_prefix(lookup.workspace.id + "/", 1000))))
            names.push_back(other.key.substr(lookup.workspace.id.size() + 1));
        std::erase(names, kServerless);
        std::string known = names.empty() ? "the workspace has none yet: create an AmlCompute, or "
                                            "leave the compute out to run on the server's machine"
                                          : "there is " + join(names, ", ");
        if (const std::string meant = did_you_mean(compute, names); !meant.empty())
            known = meant;
        else
            known = " (" + known + ")";
        return refuse("ComputeNotFound", "compute '" + compute + "' does not exist" + known,
                      "computeId");
    }
    TURNOUT_TRY(
        submission::check_node_count(task.node_count, compute, 0, lookup.services.control.slots()));
    const std::string& wanted = draft.instance_type;
    if (wanted.empty()) return {};
    const VmSize* size = find_vm_size(wanted);
    if (!size) return {};  // refused already
    if (size->gpus > lookup.services.info.machine.gpus)
        return refuse("GpuNotAvailable",
                      "instance type '" + wanted +
                          "' has a GPU and this machine has none: choose a size without",
                      "resources.instanceType");
    limit_to(lookup.services, *size, task);
    return {};
}

}  // namespace turnout::api::arm
