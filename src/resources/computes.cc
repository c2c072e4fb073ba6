// Computes, described.
#include <algorithm>

#include "resources/fields.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {

namespace {

void check_cluster(Reading& reading, const std::string& pointer, const Json& value) {
    const Json& least = value.at("min_instances");
    const Json& most = value.at("max_instances");
    if (least.is_int() && most.is_int() && least.as_int() > most.as_int())
        reading.refuse(
            pointer_to(pointer, "min_instances"),
            "expected at most max_instances (" + most.dump() + "), found " + least.dump());
}

void finish_cluster(const Json&, Json& rest) {
    Json& settings = rest["properties"]["properties"];
    if (!settings.has("vmSize")) settings.set("vmSize", "STANDARD_DS3_v2");
    Json& scale = settings["scaleSettings"];
    if (!scale.has("minNodeCount")) scale.set("minNodeCount", 0);
    if (!scale.has("maxNodeCount"))
        scale.set("maxNodeCount", std::max<std::int64_t>(1, scale.at("minNodeCount").as_int()));
    if (!scale.has("nodeIdleTimeBeforeScaleDown")) scale.set("nodeIdleTimeBeforeScaleDown", "PT2M");
    if (!settings.has("remoteLoginPortPublicAccess"))
        settings.set("remoteLoginPortPublicAccess", "NotSpecified");
    if (!settings.has("enableNodePublicIp")) settings.set("enableNodePublicIp", true);
    if (settings.at("vmPriority").as_view() == "Dedicated") settings.erase("vmPriority");
}

void finish_cluster_entity(const Json& rest, Json& entity) {
    if (!entity.has("tier") && at_path(rest, "properties.computeType").as_view() == "AmlCompute")
        entity.set("tier", "dedicated");
}

}  // namespace

const Description& aml_compute() {
    static const Description description = {
        .kind = "compute",
        .type = "amlcompute",
        .schema = "amlCompute",
        .title = "a compute cluster (amlcompute)",
        .help =
            "`turnout compute create -f cluster.yml`: nodes that come and go with the jobs. Other "
            "compute types "
            "are refused by name.",
        .fields =
            {ruled(kComputeName,
                   text("name", "name", "the cluster's name", Need::Required, "--name")),
             choice("type", "properties.computeType", {{"amlcompute", "AmlCompute"}},
                    "`amlcompute`", Need::Required, "--type"),
             text("location", "location",
                  "The pool that its nodes come from (`turnout pool list`); a region of Azure that "
                  "is no pool means this machine, as none does.",
                  Need::Optional, "--location"),
             text("size", "properties.properties.vmSize",
                  "VM size: the limits of a node; STANDARD_DS3_v2 if absent.", Need::Optional,
                  "--size"),
             choice("tier", "properties.properties.vmPriority",
                    {{"dedicated", "Dedicated"}, {"low_priority", "LowPriority"}},
                    "`low_priority` nodes give way when a dedicated cluster needs their slots: the "
                    "job is asked to end, goes back into the queue, and starts again.",
                    Need::Optional, "--tier"),
             between(0,
                     field("min_instances", "properties.properties.scaleSettings.minNodeCount",
                           Kind::Whole, "Nodes that stay; 0 if absent.", "--min-instances"),
                     kMostNodes),
             between(0,
                     field("max_instances", "properties.properties.scaleSettings.maxNodeCount",
                           Kind::Whole, "Most nodes; 1 if absent.", "--max-instances"),
                     kMostNodes),
             between(0,
                     field("idle_time_before_scale_down",
                           "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown",
                           Kind::Seconds, "How long an idle node stays; 120 if absent.",
                           "--idle-time-before-scale-down"),
                     kLongestIdleSeconds),
             text("description", "properties.description", "Text for people.", Need::Optional,
                  "--description"),
             field("tags", "tags", Kind::TextMap,
                   "Tags. `turnout.jobs_per_node: \"4\"` lets each node run so many jobs at a "
                   "time, 1 if absent; "
                   "`turnout.price_per_hour` is what an hour of a node costs: ledgers then tell a "
                   "cost."),
             special("identity", compute_identity_shape(),
                     "Kept and shown; nodes have no Azure identity."),
             special("ssh_public_access_enabled", ssh_access_shape(),
                     "Accepted, and has no effect yet: nodes have no SSH login of their own."),
             special("ssh_settings", ssh_settings_shape(),
                     "Accepted, and has no effect yet: nodes have no SSH login of their own."),
             refused("network_settings", "Virtual network.",
                     "nodes are in the network of the machines they run on: remove the key"),
             field("enable_node_public_ip", "properties.properties.enableNodePublicIp", Kind::Flag,
                   "Kept and shown."),
             refused("resource_id", "Resource to attach.",
                     "a cluster is made, not attached: remove the key"),
             shown("provisioning_state", "properties.provisioningState", "Provisioning state.",
                   Kind::Text),
             shown("provisioning_errors", "properties.provisioningErrors", "Provisioning errors."),
             shown("allocation_state", "properties.properties.allocationState",
                   "Resizing or Steady.", Kind::Text),
             shown("current_instances", "properties.properties.currentNodeCount",
                   "Nodes there are.", Kind::Whole),
             shown("target_instances", "properties.properties.targetNodeCount",
                   "Nodes there should be.", Kind::Whole),
             shown("node_states", "properties.properties.nodeStateCounts", "Nodes by state."),
             shown("errors", "properties.properties.errors", "Why nodes could not come."),
             shown("pool", "properties.properties.propertyBag.pool",
                   "The pool that its nodes come from, where there are several.", Kind::Text),
             shown("created_on", "properties.createdOn", "When it was made.", Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.computeType", "AmlCompute"},
                      {"properties.disableLocalAuth", true},
                      {"properties.properties.osType", "Linux"}},
        .check = check_cluster,
        .finish_rest = finish_cluster,
        .finish_entity = finish_cluster_entity};
    return description;
}

namespace {

const Description& machine_ssh_settings() {
    static const Description description = {
        .kind = "compute",
        .type = "virtualmachine",
        .title = "ssh_settings of a virtualmachine",
        .help = "",
        .fields = {
            text("admin_username", "administratorAccount.username", "Who logs in there.",
                 Need::Optional, "--admin-username"),
            special("admin_password", machine_password_shape(),
                    "Their password, where there is no key. It is never shown.", Need::Optional,
                    "--admin-password"),
            special("ssh_private_key_file", machine_key_shape(),
                    "File of their private key, without passphrase. Its content is sent and never "
                    "shown.",
                    Need::Optional, "--ssh-private-key-file"),
            between(1,
                    field("ssh_port", "sshPort", Kind::Whole, "Of its SSH; 22 if absent.",
                          "--ssh-port"),
                    65535)}};
    return description;
}

void check_machine(Reading& reading, const std::string& pointer, const Json& value) {
    const Json& settings = value.at("ssh_settings");
    if (settings.has("admin_password") && settings.has("ssh_private_key_file"))
        reading.refuse(pointer_to(pointer, "ssh_settings"),
                       "expected either admin_password or ssh_private_key_file, found both");
}

}  // namespace

const Description& virtual_machine() {
    static const Description description = {
        .kind = "compute",
        .type = "virtualmachine",
        .schema = "vmCompute",
        .title = "a machine that is attached (virtualmachine)",
        .help =
            "`turnout compute attach -f vm.yml`: one machine that SSH reaches, with one node "
            "([ssh.md](ssh.md)). `turnout compute detach` lets it go.",
        .fields =
            {ruled(kComputeName,
                   text("name", "name", "the compute's name", Need::Required, "--name")),
             choice("type", "properties.computeType", {{"virtualmachine", "VirtualMachine"}},
                    "`virtualmachine`", Need::Required, "--type"),
             text("resource_id", "properties.resourceId",
                  "What ends with the machine's name or IP address, or its name in an SSH pool of "
                  "pools.yaml: `/…/virtualMachines/gpu1`, or only `gpu1`.",
                  Need::Required, "--resource-id"),
             object("ssh_settings", "properties.properties", machine_ssh_settings(),
                    "How it is reached."),
             text("description", "properties.description", "Text for people.", Need::Optional,
                  "--description"),
             field("tags", "tags", Kind::TextMap,
                   "Tags. `turnout.host_key` is the fingerprint that the machine has to show, "
                   "`turnout.jobs_per_node` and `turnout.price_per_hour` are as a cluster's."),
             text("location", "location", "Kept as the workspace's: a machine is where it is."),
             shown("address", "properties.properties.address", "The machine.", Kind::Text),
             shown("system", "properties.properties.propertyBag.system",
                   "What was found there when it was attached."),
             shown("provisioning_state", "properties.provisioningState", "Provisioning state.",
                   Kind::Text),
             shown("provisioning_errors", "properties.provisioningErrors", "Provisioning errors."),
             shown("pool", "properties.properties.propertyBag.pool",
                   "The pool that is this machine alone.", Kind::Text),
             shown("created_on", "properties.createdOn", "When it was attached.", Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.computeType", "VirtualMachine"}},
        .check = check_machine};
    return description;
}

const Description& kubernetes_compute() {
    static const Description description = {
        .kind = "compute",
        .type = "kubernetes",
        .schema = "kubernetesCompute",
        .title = "a cluster of Kubernetes that is attached (kubernetes)",
        .help =
            "`turnout compute attach -f cluster.yml`: its nodes are pods "
            "([kubernetes.md](kubernetes.md)). `turnout compute detach` lets it go.",
        .fields =
            {ruled(kComputeName,
                   text("name", "name", "the compute's name", Need::Required, "--name")),
             choice("type", "properties.computeType", {{"kubernetes", "Kubernetes"}},
                    "`kubernetes`", Need::Required, "--type"),
             text("resource_id", "properties.resourceId",
                  "What ends with the name of a pool of provider kubernetes: "
                  "`/…/managedClusters/aks`, or only `aks`.",
                  Need::Required, "--resource-id"),
             text("namespace", "properties.properties.namespace",
                  "That of the pool; it has to be the same, or left out.", Need::Optional,
                  "--namespace"),
             text("default_instance_type", "properties.properties.defaultInstanceType",
                  "What its pods ask for, by its name in the pool; the first one if absent.",
                  Need::Optional, "--default-instance-type"),
             text("description", "properties.description", "Text for people.", Need::Optional,
                  "--description"),
             field("tags", "tags", Kind::TextMap,
                   "Tags. `turnout.price_per_hour` is as a cluster's."),
             text("location", "location", "Kept as the workspace's: a cluster is where it is."),
             shown("instance_types", "properties.properties.instanceTypes",
                   "Those of the pool: `nodeSelector` and `resources` of a pod."),
             shown("provisioning_state", "properties.provisioningState", "Provisioning state.",
                   Kind::Text),
             shown("provisioning_errors", "properties.provisioningErrors", "Provisioning errors."),
             shown("pool", "properties.properties.propertyBag.pool", "The pool.", Kind::Text),
             shown("created_on", "properties.createdOn", "When it was attached.", Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.computeType", "Kubernetes"}}};
    return description;
}

namespace {

const Description& assigned_user() {
    static const Description description = {
        .kind = "compute",
        .type = "computeinstance",
        .title = "create_on_behalf_of of a computeinstance",
        .help = "",
        .fields = {text("user_tenant_id", "tenantId", "The tenant of this server.", Need::Optional),
                   text("user_object_id", "objectId",
                        "Their object id (`turnout user list -o json`).", Need::Optional)}};
    return description;
}

void finish_instance_entity(const Json&, Json& entity) {
    for (const char* key : {"last_operation", "services", "os_image_metadata"})
        if (Json* const said = entity.find(key)) *said = in_snake_case(*said);
}

void finish_instance(const Json&, Json& rest) {
    Json& settings = rest["properties"]["properties"];
    if (!settings.has("vmSize")) settings.set("vmSize", "STANDARD_DS3_v2");
}

}  // namespace

const Description& compute_instance() {
    static const Description description = {
        .kind = "compute",
        .type = "computeinstance",
        .schema = "computeInstance",
        .title = "a compute instance (computeinstance)",
        .help =
            "`turnout compute create -f instance.yml`: JupyterLab for one person, on a node of "
            "its own ([instances.md](instances.md)). `turnout compute start`, `stop` and "
            "`restart` turn it on and off.",
        .fields =
            {ruled(kComputeName,
                   text("name", "name", "the instance's name", Need::Required, "--name")),
             choice("type", "properties.computeType", {{"computeinstance", "ComputeInstance"}},
                    "`computeinstance`", Need::Required, "--type"),
             text(
                 "location", "location",
                 "The pool that its node comes from (`turnout pool list`); this machine if absent.",
                 Need::Optional, "--location"),
             text("size", "properties.properties.vmSize",
                  "VM size: the limits of its node; STANDARD_DS3_v2 if absent.", Need::Optional,
                  "--size"),
             text("description", "properties.description", "Text for people.", Need::Optional,
                  "--description"),
             field("tags", "tags", Kind::TextMap,
                   "Tags. `turnout.price_per_hour` is as a cluster's."),
             object("create_on_behalf_of",
                    "properties.properties.personalComputeInstanceSettings."
                    "assignedUser",
                    assigned_user(),
                    "Whose it is to be, where that is somebody else than who makes it; who makes "
                    "it has to be an Owner."),
             text("idle_time_before_shutdown", "properties.properties.idleTimeBeforeShutdown",
                  "How long it may be idle before it is stopped, as `PT60M`; it stays on if "
                  "absent."),
             special("idle_time_before_shutdown_minutes", idle_minutes_shape(),
                     "The same in minutes: 15 to 4320."),
             special("identity", compute_identity_shape(),
                     "Kept and shown; nodes have no Azure identity."),
             special("schedules", start_stop_shape(),
                     "When it is started and stopped: `compute_start_stop`, a list of `action` "
                     "(`start`, `stop`), `state` (`enabled`, `disabled`) and a `trigger` as that "
                     "of a schedule."),
             shown("next_scheduled_action", "properties.properties.nextScheduledAction",
                   "What its schedules do next, and when."),
             refused("setup_scripts", "Scripts at creation and start.",
                     "scripts at creation and start are not run here yet: remove the key"),
             refused("custom_applications", "Containers beside JupyterLab.",
                     "applications beside JupyterLab are not run here yet: remove the key"),
             refused("network_settings", "Virtual network.",
                     "nodes are in the network of the machines they run on: remove the key"),
             special("ssh_public_access_enabled", instance_ssh_access_shape(),
                     "Accepted, and has no effect: nodes have no SSH login of their own."),
             special("ssh_settings", ssh_settings_shape(),
                     "Accepted, and has no effect: nodes have no SSH login of their own."),
             field("enable_node_public_ip", "properties.properties.enableNodePublicIp", Kind::Flag,
                   "Kept and shown."),
             field("enable_sso", "properties.properties.enableSSO", Kind::Flag, "Kept and shown."),
             field("enable_root_access", "properties.properties.enableRootAccess", Kind::Flag,
                   "Kept and shown; programs run as the pool says."),
             field("enable_os_patching", "properties.properties.enableOSPatching", Kind::Flag,
                   "Kept and shown."),
             field("release_quota_on_stop", "properties.properties.releaseQuotaOnStop", Kind::Flag,
                   "Kept and shown; a stopped one holds no slot."),
             refused("resource_id", "Resource to attach.",
                     "a compute instance is made, not attached: remove the key"),
             shown("state", "properties.properties.state", "Running, Stopped, …", Kind::Text),
             shown("last_operation", "properties.properties.lastOperation",
                   "What was done with it last, and by what."),
             shown("services", "properties.properties.applications", "Where it is reached."),
             shown("assigned_user",
                   "properties.properties.personalComputeInstanceSettings.assignedUser.userName",
                   "Whose it is.", Kind::Text),
             shown("os_image_metadata", "properties.properties.osImageMetadata",
                   "The version of what runs there."),
             shown("provisioning_state", "properties.provisioningState", "Provisioning state.",
                   Kind::Text),
             shown("provisioning_errors", "properties.provisioningErrors", "Provisioning errors."),
             shown("errors", "properties.properties.errors", "Why it is not as it is wanted."),
             shown("created_on", "properties.createdOn", "When it was made.", Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.computeType", "ComputeInstance"},
                      {"properties.disableLocalAuth", true}},
        .finish_rest = finish_instance,
        .finish_entity = finish_instance_entity};
    return description;
}

}  // namespace turnout::resources
