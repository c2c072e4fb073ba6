#include "resources/compute_types.h"

#include <array>
#include <vector>

#include "base/text.h"
#include "resources/per_run.h"

namespace turnout::resources {

namespace {

constexpr Can kNo = Can::No, kYes = Can::Yes, kMaybe = Can::Maybe;

constexpr std::array<NamedAbility, 7> kAbilities{{
    {"train", &Abilities::train, "runs no training jobs"},
    {"gpu", &Abilities::gpu, "has no GPU"},
    {"sweep", &Abilities::sweep, "has no automated hyperparameter tuning"},
    {"automl", &Abilities::automl, "has no automated model selection"},
    {"pipeline", &Abilities::pipeline, "cannot be used in pipelines"},
    {"create", &Abilities::create, "is not created"},
    {"attach", &Abilities::attach, "is not attached"},
}};

// What Azure says: its documentation of compute targets. What is so here: what this build does.
// {train, gpu, sweep, automl, pipeline, create, attach}
constexpr std::array<ComputeType, 14> kTypes{{
    {.type = "",
     .word = "local",
     .schema = "",
     .title = "local computer",
     .azure = {kYes, kMaybe, kNo, kYes, kNo, kNo, kNo},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kNo, kNo},
     .not_created = "it is there already: a job with `compute: local`, or without one, runs on it",
     .not_attached =
         "it is there already: a job with `compute: local`, or without one, runs on it"},
    {.type = "",
     .word = "serverless",
     .schema = "",
     .title = "no compute named (serverless)",
     .azure = {kYes, kYes, kYes, kYes, kYes, kNo, kNo},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kNo, kNo},
     .not_created = "it is there already: a job that names no compute runs there",
     .not_attached = "it is there already: a job that names no compute runs there"},
    {.type = "AmlCompute",
     .word = "amlcompute",
     .schema = "amlCompute",
     .title = "compute cluster (Azure Batch AI in older texts)",
     .azure = {kYes, kYes, kYes, kYes, kYes, kYes, kNo},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kYes, kNo},
     .not_attached = "a cluster is made, not attached: its nodes come from the pool that its "
                     "location names"},
    {.type = "ComputeInstance",
     .word = "computeinstance",
     .schema = "computeInstance",
     .title = "compute instance",
     .azure = {kYes, kYes, kMaybe, kYes, kYes, kYes, kNo},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kYes, kNo},
     .not_attached = "a compute instance is made, not attached"},
    {.type = "VirtualMachine",
     .word = "virtualmachine",
     .schema = "vmCompute",
     .title = "remote machine (virtual machine, DSVM)",
     .azure = {kYes, kYes, kYes, kYes, kYes, kNo, kYes},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kNo, kYes},
     .not_created = "a VirtualMachine is attached, not made: expected a resourceId whose last part "
                    "is its name or IP address"},
    {.type = "Kubernetes",
     .word = "kubernetes",
     .schema = "kubernetesCompute",
     .title = "Kubernetes cluster (AKS, Arc)",
     .azure = {kYes, kYes, kYes, kYes, kYes, kNo, kYes},
     .here = {kYes, kMaybe, kYes, kYes, kYes, kNo, kYes},
     .not_created = "a cluster of Kubernetes is attached, not made: expected a resourceId whose "
                    "last part is a pool of provider kubernetes"},
    {.type = "",
     .word = "containerinstance",
     .schema = "",
     .title = "container instance (ACI), for one job",
     .azure = {kYes, kNo, kNo, kNo, kNo, kNo, kNo},
     .here = {kYes, kNo, kYes, kNo, kNo, kNo, kNo},
     .not_created = kChosenPerRun,
     .not_attached = kChosenPerRun},
    {.type = "HDInsight",
     .word = "hdinsight",
     .schema = "hdInsight",
     .title = "Spark cluster (HDInsight)",
     .azure = {kYes, kNo, kNo, kNo, kYes, kNo, kYes},
     .here = {},
     .not_created = "an HDInsight cluster cannot be created within a workspace: an existing one is "
                    "attached"},
    {.type = "SynapseSpark",
     .word = "synapsespark",
     .schema = "synapseSparkCompute",
     .title = "Spark pool (Synapse)",
     .azure = {kYes, kNo, kNo, kNo, kYes, kNo, kYes},
     .here = {},
     .not_created = "a Spark pool is made in Synapse and attached here"},
    {.type = "Databricks",
     .word = "databricks",
     .schema = "databricks",
     .title = "Databricks workspace",
     .azure = {kYes, kNo, kNo, kNo, kYes, kNo, kYes},
     .here = {},
     .not_created = "a Databricks workspace is made in Databricks and attached here"},
    {.type = "DataLakeAnalytics",
     .word = "datalakeanalytics",
     .schema = "dataLakeAnalytics",
     .title = "Data Lake Analytics",
     .azure = {kNo, kNo, kNo, kNo, kYes, kNo, kYes},
     .here = {},
     .not_created = "an account of Data Lake Analytics is attached, not made"},
    {.type = "DataFactory",
     .word = "datafactory",
     .schema = "dataFactory",
     .title = "Data Factory, which moves data",
     .azure = {kNo, kNo, kNo, kNo, kYes, kYes, kYes},
     .here = {}},
    {.type = "Batch",
     .word = "batch",
     .schema = "batch",
     .title = "Azure Batch",
     .azure = {kNo, kNo, kNo, kNo, kYes, kNo, kYes},
     .here = {},
     .not_created = "an account of Azure Batch is attached, not made"},
    {.type = "AKS",
     .word = "aks",
     .schema = "aks",
     .title = "inference compute (AKS): endpoints alone",
     .azure = {kNo, kMaybe, kNo, kNo, kNo, kYes, kYes},
     .here = {}},
}};

std::string squeezed(std::string_view text) {
    std::string out;
    for (const char c : to_lower(text))
        if (c != '_' && c != '-') out += c;
    return out;
}

std::string_view called(const ComputeType& type) {
    return type.type.empty() ? type.word : type.type;
}

// "AmlCompute or VirtualMachine"
std::string those_that(Ability ability) {
    std::vector<std::string> names;
    for (const ComputeType& type : kTypes)
        if (type.here.*ability != kNo) names.emplace_back(called(type));
    return join(names, " or ");
}

Json to_json(const Abilities& of) {
    Json out = Json::object();
    for (const NamedAbility& one : kAbilities) out.set(one.name, name_of(of.*one.ability));
    return out;
}

}  // namespace

std::string_view name_of(Can can) {
    switch (can) {
        case Can::No: return "no";
        case Can::Yes: return "yes";
        case Can::Maybe: return "maybe";
    }
    return "";
}

std::span<const NamedAbility> abilities() {
    return kAbilities;
}

std::span<const ComputeType> compute_types() {
    return kTypes;
}

const ComputeType* find_compute_type(std::string_view name) {
    std::string wanted = squeezed(name);
    if (wanted == "aci") wanted = "containerinstance";
    for (const ComputeType& type : kTypes)
        if (!wanted.empty() && (wanted == type.word || wanted == squeezed(type.type))) return &type;
    return nullptr;
}

Result<void> check_is_made(const ComputeType& type, bool attach) {
    const Ability needs = attach ? &Abilities::attach : &Abilities::create;
    if (type.here.*needs != kNo) return {};
    const std::string_view why = attach ? type.not_attached : type.not_created;
    const std::string verb = attach ? "attached" : "created";
    const std::string which = "; this server creates " + those_that(&Abilities::create) +
                              " and attaches " + those_that(&Abilities::attach);
    if (type.azure.*needs != kNo || why.empty())
        return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                    "computes of type '" + std::string(called(type)) + "' cannot be " + verb +
                        " here yet" + which,
                    "properties.computeType");
    const Ability other = attach ? &Abilities::create : &Abilities::attach;
    return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                std::string(why) + (type.here.*other == kNo && type.azure.*other != kNo
                                        ? ", which this server cannot do yet" + which
                                        : ""),
                "properties.computeType");
}

Result<void> check_can(const ComputeType& type, Ability needs, std::string_view compute,
                       std::string_view job) {
    if (type.here.*needs != kNo) return {};
    std::string_view doing;
    for (const NamedAbility& one : kAbilities)
        if (one.ability == needs) doing = one.doing;
    const bool yet = type.azure.*needs != kNo;
    return fail(Code::InvalidArgument, "CapabilityNotThere",
                "compute '" + std::string(compute) + "' (" + std::string(type.title) + ") " +
                    std::string(doing) + (yet ? " here yet" : "") + ": a " + std::string(job) +
                    " runs on " + those_that(needs),
                "properties.computeId");
}

std::string_view in_a_word(const ComputeType& type, Ability ability) {
    if (type.here.*ability != kNo) return name_of(type.here.*ability);
    return type.azure.*ability != kNo ? "not yet" : "no";
}

Json to_json(const ComputeType& type) {
    Json out = Json::object({{"type", called(type)}, {"title", type.title}});
    for (const NamedAbility& one : kAbilities) out.set(one.name, in_a_word(type, one.ability));
    out.set("azure", to_json(type.azure));
    out.set("here", to_json(type.here));
    if (!type.not_created.empty()) out.set("notCreated", type.not_created);
    if (!type.not_attached.empty()) out.set("notAttached", type.not_attached);
    return out;
}

std::string capabilities_page() {
    std::string page =
        "# What a compute can do\n\n"
        "`turnout compute capabilities` shows this table, `GET /turnout/capabilities` has it with "
        "what Azure says beside it, and it is what is enforced: a job on a compute that cannot do "
        "it is refused when it is submitted, with what can. `maybe` depends on the machine; `not "
        "yet` is what Azure ML can and Turnout refuses so far.\n\n"
        "| type | what it is | jobs | GPU | sweeps | AutoML | pipelines | created | attached |\n"
        "|---|---|---|---|---|---|---|---|---|\n";
    for (const ComputeType& type : kTypes) {
        page += "| `" + std::string(called(type)) + "` | " + std::string(type.title) + " |";
        for (const NamedAbility& one : kAbilities)
            page += " " + std::string(in_a_word(type, one.ability)) + " |";
        page += "\n";
    }
    return page + "\n";
}

}  // namespace turnout::resources
