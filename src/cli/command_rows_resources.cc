// What jobs use, and what is made of them.
#include "cli/command_rows.h"
#include "resources/documents.h"

namespace turnout::cli {

namespace {

std::vector<Command> rows_of_computes() {
    return {
        {{"compute", "create"},
         "Makes a compute cluster or a compute instance.",
         with(with({kFile, kSet, kNoWait}, options_of(resources::aml_compute())),
              options_of(resources::compute_instance())),
         compute_create},
        {{"compute", "attach"},
         "Attaches a machine that SSH reaches, and waits until it is known to work; or a cluster "
         "of Kubernetes, by the name of a pool.",
         with(with({kFile, kSet, kNoWait}, options_of(resources::virtual_machine())),
              options_of(resources::kubernetes_compute())),
         compute_create},
        {{"compute", "list"},
         "Lists computes.",
         {{"--type",
           "",
           "TYPE",
           "Only of this type.",
           false,
           {"amlcompute", "computeinstance", "virtualmachine", "kubernetes"}}},
         compute_list},
        {{"compute", "show"}, "Shows a compute.", {kName}, compute_show},
        {{"compute", "update"},
         "Changes a cluster's limits.",
         with({kName, kSet, kNoWait}, options_of(resources::aml_compute())),
         compute_update},
        {{"compute", "start"}, "Starts a compute instance.", {kName, kNoWait}, compute_start},
        {{"compute", "stop"},
         "Stops a compute instance: its node goes, the files of its user stay.",
         {kName, kNoWait},
         compute_stop},
        {{"compute", "restart"}, "Restarts a compute instance.", {kName, kNoWait}, compute_restart},
        {{"compute", "delete"},
         "Deletes computes; their jobs are canceled.",
         {kNames,
          kYes,
          kNoWait,
          {"--action",
           "",
           "ACTION",
           "`detach` as `compute detach` does; `delete` if absent.",
           false,
           {"delete", "detach"}}},
         compute_delete},
        {{"compute", "detach"},
         "Lets machines go that were attached; their jobs are canceled, and nothing is left there.",
         {kNames, kYes, kNoWait},
         compute_detach},
        {{"compute", "ledger"},
         "Shows where a cluster's time went: its ended jobs, its nodes, what they cost.\nThe tag "
         "turnout.price_per_hour of the cluster is the price of one node.",
         {kName},
         compute_ledger},
        {{"compute", "list-nodes"}, "Lists the nodes of a cluster.", {kName}, compute_list_nodes},
        {{"compute", "list-sizes"},
         "Lists VM sizes, and which of them a machine of the pool holds, as far as that is known.",
         {{"--location", "-l", "POOL", "A pool, or a region, which means this machine.", false}},
         compute_list_sizes},
        {{"compute", "capabilities"},
         "Shows what each type of compute can do: jobs, GPUs, sweeps, AutoML, pipelines; whether "
         "it is created or attached.",
         {},
         compute_capabilities},
        {{"compute", "list-usage"},
         "Lists usage against limits.",
         {{"--location", "-l", "REGION", "Region.", false}},
         compute_list_usage},
        {{"batchai", "cluster", "list"},
         "Lists clusters with their nodes by what they do, in the columns of `az batchai`.",
         {},
         batchai_cluster_list},
        {{"batchai", "job", "list"},
         "Lists jobs on clusters, those that are not over first, in the columns of `az batchai`.",
         {},
         batchai_job_list},
        {{"compute", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
    };
}

// Of each kind of document the same.
std::vector<Command> rows_of_documents() {
    std::vector<Command> table;
    for (const resources::DocumentKind& kind : resources::document_kinds()) {
        if (kind.description == nullptr) continue;
        const bool versioned = kind.keys == resources::DocumentKind::Keys::Versioned;
        const std::string word(kind.word), article = kind.with_article();
        const auto add = [&](const char* verb, std::string help, std::vector<Option> options,
                             int (*run)(Context&)) {
            table.push_back({{word, verb}, std::move(help), std::move(options), run});
        };
        add("create", "Registers " + article + (versioned ? "; local paths are uploaded." : "."),
            versioned ? with({kFile, kSet}, options_of(kind.description()))
                      : std::vector<Option>{kFile, kName, kSet},
            asset_create);
        if (!versioned) {
            add("list", "Lists " + std::string(kind.one) + "s.", {}, asset_list);
            add("show", "Shows " + article + ".", {kName}, asset_show);
            add("delete", "Deletes " + article + "; its data stays.", {kName, kYes}, asset_delete);
            add("validate", "Checks a YAML file, without the server.", {kFile, kSet}, validate);
            continue;
        }
        add("list", "Lists them; with -n the versions of one.",
            {kName, kMaxResults, kArchivedOnly, kIncludeArchived}, asset_list);
        add("show", "Shows " + article + ": the newest version unless -v is given.",
            {kName, kVersion, kLabel}, asset_show);
        add("update", "Changes description or tags, of one version (-v, -l) or of all of it.",
            {kName, kVersion, kLabel, kSet}, asset_update);
        add("archive", "Hides it, or one version, from lists.", {kName, kVersion, kLabel},
            asset_archive);
        add("restore", "Shows it in lists again.", {kName, kVersion, kLabel}, asset_restore);
        add("delete",
            "Deletes one version, or all of it; refused while a job that has not ended uses "
            "it.\nIts files go with `turnout prune data`, if nothing else names them.",
            {kName, kVersion, kYes}, asset_delete);
        if (!kind.location.empty())
            add("download", "Downloads its files: the newest version unless -v is given.",
                {kName,
                 kVersion,
                 kLabel,
                 {"--download-path", "-p", "FOLDER", "Where to; the current folder if absent.",
                  false}},
                asset_download);
        add("validate", "Checks a YAML file and the paths it names, without the server.",
            {kFile, kSet}, validate);
    }
    return table;
}

std::vector<Command> rows_of_endpoints() {
    const Option on_endpoint{"--endpoint-name", "-e", "NAME", "Its endpoint.", false};
    return {
        {{"online-endpoint", "create"},
         "Makes an online endpoint, or changes it to what the file says.",
         with({kFile, kSet}, options_of(resources::online_endpoint())),
         online_endpoint_create},
        {{"online-endpoint", "update"},
         "Changes an online endpoint: above all which deployment gets which share of requests.",
         {kFile,
          kName,
          {"--traffic", "", "SHARES", "Such as \"blue=90 green=10\".", true},
          {"--mirror-traffic", "", "SHARES", "Such as \"green=10\".", true},
          kSet},
         online_endpoint_update},
        {{"online-endpoint", "list"}, "Lists online endpoints.", {}, online_endpoint_list},
        {{"online-endpoint", "show"}, "Shows an online endpoint.", {kName}, online_endpoint_show},
        {{"online-endpoint", "invoke"},
         "Asks an endpoint, and prints what the model answers.",
         {kName,
          {"--request-file", "-r", "FILE", "What is sent; - reads standard input.", false},
          {"--deployment-name", "-d", "NAME", "This deployment, whatever its traffic is.", false}},
         online_endpoint_invoke},
        {{"online-endpoint", "get-credentials"},
         "Prints the keys of an endpoint, or a token for it.",
         {kName},
         online_endpoint_credentials},
        {{"online-endpoint", "regenerate-keys"},
         "Puts another key in the place of one, which opens nothing from then on.",
         {kName,
          {"--key-type",
           "",
           "TYPE",
           "primary (if absent) or secondary.",
           false,
           {"primary", "secondary"}}},
         online_endpoint_regenerate},
        {{"online-endpoint", "delete"},
         "Deletes an endpoint with its deployments.",
         {kName, kYes, kNoWait},
         online_endpoint_delete},
        {{"online-endpoint", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
        {{"online-deployment", "create"},
         "Deploys a model to an endpoint, and waits until it answers; local paths are uploaded.",
         with({kFile,
               kSet,
               {"--all-traffic", "", "", "It gets all requests as soon as it is ready.", false},
               kNoWait},
              options_of(resources::online_deployment())),
         online_deployment_create},
        {{"online-deployment", "update"},
         "Changes a deployment: by a file, or by --set. It serves on while that is under way.",
         {kFile, kName, on_endpoint, kSet, kNoWait},
         online_deployment_update},
        {{"online-deployment", "list"},
         "Lists the deployments of an endpoint.",
         {on_endpoint},
         online_deployment_list},
        {{"online-deployment", "show"},
         "Shows a deployment, with its instances and what it answered.",
         {kName, on_endpoint},
         online_deployment_show},
        {{"online-deployment", "get-logs"},
         "Prints the last lines of the log of an instance.",
         {kName,
          on_endpoint,
          {"--lines", "-l", "N", "So many; 500 if absent.", false},
          {"--container",
           "-c",
           "WHICH",
           "inference-server (if absent), storage-initializer (how its environment was prepared), "
           "access-log (requests since the server started).",
           false,
           {"inference-server", "storage-initializer", "access-log"}}},
         online_deployment_logs},
        {{"online-deployment", "delete"},
         "Deletes a deployment, which has no traffic any more.",
         {kName, on_endpoint, kYes, kNoWait},
         online_deployment_delete},
        {{"online-deployment", "validate"},
         "Checks a YAML file and the paths it names, without the server.",
         {kFile, kSet},
         validate},
    };
}

std::vector<Command> rows_of_workspaces() {
    return {
        {{"workspace", "create"},
         "Makes a workspace.",
         with({kFile, kSet}, options_of(resources::workspace())),
         workspace_create},
        {{"workspace", "list"}, "Lists workspaces.", {}, workspace_list},
        {{"workspace", "show"}, "Shows a workspace.", {kName}, workspace_show},
        {{"workspace", "delete"},
         "Deletes a workspace with all in it, for good: jobs, assets, data, clusters.",
         {kName,
          {"--permanently-delete", "-p", "",
           "Cancels jobs that have not ended and deletes its clusters too; refused otherwise.",
           false},
          {"--all-resources", "", "", "Accepted for az's sake: storage belongs to the workspace.",
           false},
          kYes,
          kNoWait},
         workspace_delete},
        {{"workspace", "validate"},
         "Checks a YAML file, without the server.",
         {kFile, kSet},
         validate},
    };
}

}  // namespace

std::vector<Command> rows_of_resources() {
    std::vector<Command> table;
    for (const auto& part : {rows_of_computes(), rows_of_documents(), rows_of_endpoints(),
                             rows_of_batch(), rows_of_workspaces()})
        table.insert(table.end(), part.begin(), part.end());
    return table;
}

}  // namespace turnout::cli
