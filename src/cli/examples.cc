// What `--help` and the pages show of each command and of each group, besides what its row says. A
// test reads every line as it would be typed.
#include <algorithm>
#include <map>

#include "base/text.h"
#include "cli/commands.h"
#include "resources/documents.h"

namespace turnout::cli {

namespace {
// Of a kind that needs no examples of its own.
Group of_documents(const resources::DocumentKind& kind) {
    const std::string word(kind.word), command = "turnout " + word;
    return {word,
            std::string(kind.about),
            {command + " create " + word + ".yml", command + " show " + std::string(kind.sample)}};
}

std::vector<Group> with_documents(std::vector<Group> groups) {
    for (const resources::DocumentKind& kind : resources::document_kinds())
        if (!kind.about.empty())
            groups.insert(std::ranges::find(groups, "datastore", &Group::word), of_documents(kind));
    return groups;
}
}  // namespace

const std::vector<Group>& command_groups() {
    static const std::vector<Group> groups = with_documents({
        {"job",
         "Jobs and sweeps: what is to run, what runs, and what became of it.",
         {"turnout job create job.yml --stream", "turnout job list --mine --status Running",
          "turnout job cancel --all --experiment trial-runs"}},
        {"drill",
         "Harm on purpose: whether a job comes through what a cluster may do to it.",
         {"turnout drill preempt NAME"}},
        {"compute",
         "Clusters: how many nodes there may be, and of which size.",
         {"turnout compute create -n cpu-cluster --type amlcompute --size STANDARD_DS3_v2 "
          "--max-instances 4",
          "turnout compute list-nodes cpu-cluster"}},
        {"pool",
         "Pools: where clusters get their nodes from.",
         {"turnout pool add big --provider local --slots 4", "turnout pool list",
          "turnout compute create -n cpu-cluster --location big"}},
        {"user",
         "Users: who is let in.",
         {"turnout user add ann", "turnout user token ann --expires 30d",
          "turnout user disable ann"}},
        {"role",
         "Roles: what users may do, and where.",
         {"turnout role assign --user ann --role 'AzureML Data Scientist'",
          "turnout role list --user ann"}},
        {"run",
         "Runs: what jobs and MLflow's clients logged.",
         {"turnout run list --experiment digits --order-by 'metrics.loss ASC'",
          "turnout run best --metric accuracy --goal maximize",
          "turnout run plot brave_comet_4 calm_otter_9 --metric loss"}},
        {"quota",
         "Quotas: how much users and workspaces may have.",
         {"turnout quota set --default --running 20 --stored 200GB",
          "turnout quota set --user ann --running 50", "turnout quota list"}},
        {"secret",
         "Secrets: what jobs get by name, and nobody reads.",
         {"turnout secret set hf-token --value-file token.txt", "turnout secret list"}},
        {"schedule",
         "Schedules: jobs that are submitted at certain times.",
         {"turnout schedule create schedule.yml", "turnout schedule list",
          "turnout schedule trigger nightly"}},
        {"session",
         "Sessions: browsers that are logged in.",
         {"turnout login --browser", "turnout session list"}},
        {"oidc", "OpenID Connect: people log in by an identity provider.", {"turnout oidc check"}},
        {"token",
         "Tokens: what programs and other machines show in place of a password.",
         {"turnout token create -n laptop --expires 30d", "turnout token revoke laptop"}},
        {"environment",
         "Environments: the packages that a job finds.",
         {"turnout environment create environment.yml", "turnout environment list"}},
        {"data",
         "Data assets: named and versioned inputs.",
         {"turnout data create -n rides -v 1 --type uri_file --path rides.csv",
          "turnout data list -n rides"}},
        {"model",
         "Models: named and versioned results.",
         {"turnout model create -n credit -v 1 --path model", "turnout model show credit"}},
        {"datastore", "Datastores: where data is kept.", {"turnout datastore list"}},
        {"workspace",
         "Workspaces: each has its own jobs, computes and assets.",
         {"turnout workspace create -n second", "turnout job list -w second"}},
    });
    return groups;
}

std::vector<std::string> examples_of(const std::vector<std::string>& words) {
    static const std::map<std::string, std::vector<std::string>> examples = {
        {"up",
         {"turnout up --detach", "turnout up --detach --listen 0.0.0.0:8443",
          "turnout up --slots 8"}},
        {"du", {"turnout du", "turnout du environments"}},
        {"prune",
         {"turnout prune --dry-run", "turnout prune jobs --older-than 90d",
          "turnout prune caches --older-than 0 --yes"}},
        {"down", {"turnout down", "turnout down --drain", "turnout down --all --yes"}},
        {"backup", {"turnout backup /backups/turnout"}},
        {"restore",
         {"turnout restore /backups/turnout --check",
          "turnout restore /backups/turnout --data /srv/turnout"}},
        {"status", {"turnout status", "turnout status --query slots"}},
        {"env", {"eval \"$(turnout env)\""}},
        {"exec", {"turnout exec -- python train_remotely.py"}},
        {"config", {"turnout config > config.json"}},
        {"login",
         {"turnout login https://gpu-box:8443",
          "turnout login https://gpu-box:8443 --fingerprint 3A:7F:… --key-file admin.key",
          "turnout login --browser"}},
        {"schedule create",
         {"turnout schedule create schedule.yml",
          "turnout schedule create schedule.yml --set trigger.time_zone=Europe/Berlin"}},
        {"schedule list", {"turnout schedule list", "turnout schedule list --include-disabled"}},
        {"schedule show", {"turnout schedule show nightly --query runs -o table"}},
        {"schedule update",
         {"turnout schedule update -n nightly --set trigger.expression='0 6 * * MON'"}},
        {"schedule enable", {"turnout schedule enable nightly"}},
        {"schedule disable", {"turnout schedule disable nightly"}},
        {"schedule trigger", {"turnout schedule trigger nightly"}},
        {"schedule delete", {"turnout schedule delete nightly"}},
        {"schedule validate", {"turnout schedule validate schedule.yml"}},
        {"version", {"turnout version"}},
        {"completion",
         {"source <(turnout completion bash)", "source <(turnout completion zsh)",
          "turnout completion fish | source"}},
        {"events",
         {"turnout events", "turnout events --job NAME",
          "turnout events -f --compute cpu-cluster"}},
        {"audit",
         {"turnout audit", "turnout audit --since 7d --user ann",
          "turnout audit --since 2026-01-01 -o json > audit.jsonl"}},
        {"audit check", {"turnout audit check", "turnout audit check --file audit.jsonl"}},

        {"job create",
         {"turnout job create job.yml", "turnout job create examples/hello --stream",
          "turnout job create -f job.yml -n run-7 --set inputs.lr=0.1 resources.instance_count=2"}},
        {"job list",
         {"turnout job list", "turnout job list --mine --status Running",
          "turnout job list --experiment cifar --metrics loss,accuracy"}},
        {"job show", {"turnout job show NAME", "turnout job show NAME --query status -o tsv"}},
        {"job stream", {"turnout job stream NAME"}},
        {"job cancel",
         {"turnout job cancel NAME", "turnout job cancel FIRST SECOND",
          "turnout job cancel --all --mine --status Queued"}},
        {"job download",
         {"turnout job download NAME", "turnout job download NAME --output-name model -p results"}},
        {"job explain", {"turnout job explain NAME"}},
        {"job ledger", {"turnout job ledger NAME", "turnout job ledger --experiment cifar"}},
        {"job update", {"turnout job update NAME --set tags.kind=baseline"}},
        {"job archive",
         {"turnout job archive NAME", "turnout job archive --all --experiment trial-runs --yes"}},
        {"job restore", {"turnout job restore NAME"}},
        {"job delete",
         {"turnout job delete FIRST SECOND", "turnout job delete --all --status Failed"}},
        {"job validate", {"turnout job validate job.yml", "turnout job validate examples/hello"}},

        {"verify", {"turnout verify", "turnout verify --targets cpu-cluster serverless -o json"}},

        {"drill list", {"turnout drill list -o table"}},
        {"drill preempt", {"turnout drill preempt NAME"}},
        {"drill kill-node", {"turnout drill kill-node NAME"}},
        {"drill partition", {"turnout drill partition NAME --seconds 60"}},
        {"drill fill-disk", {"turnout drill fill-disk NAME --yes"}},

        {"compute create",
         {"turnout compute create -n cpu-cluster --type amlcompute --size STANDARD_DS3_v2 "
          "--max-instances 4",
          "turnout compute create compute.yml"}},
        {"compute list", {"turnout compute list"}},
        {"compute show", {"turnout compute show cpu-cluster"}},
        {"compute update", {"turnout compute update cpu-cluster --max-instances 8"}},
        {"compute attach",
         {"turnout compute attach -n gpu1 --resource-id 10.0.0.7 --admin-username ml "
          "--ssh-private-key-file ~/.ssh/id_ed25519",
          "turnout compute attach -f vm.yml"}},
        {"compute detach", {"turnout compute detach gpu1"}},
        {"compute delete",
         {"turnout compute delete cpu-cluster", "turnout compute delete first second --no-wait"}},
        {"compute ledger", {"turnout compute ledger cpu-cluster"}},
        {"compute list-nodes", {"turnout compute list-nodes cpu-cluster"}},
        {"compute list-sizes",
         {"turnout compute list-sizes", "turnout compute list-sizes --location lab",
          "turnout compute list-sizes --query '[?gpus > `0`].name'"}},
        {"compute capabilities",
         {"turnout compute capabilities", "turnout compute capabilities -o yaml"}},
        {"compute list-usage", {"turnout compute list-usage"}},
        {"compute validate", {"turnout compute validate compute.yml"}},
        {"pool list", {"turnout pool list"}},
        {"pool show", {"turnout pool show local"}},
        {"pool add",
         {"turnout pool add night --slots 2",
          "turnout pool add lab --provider ssh --set settings.user=ml "
          "settings.key=/home/me/.ssh/id_ed25519 'settings.hosts=[gpu1, gpu2]'"}},
        {"pool remove", {"turnout pool remove night"}},
        {"pool reload", {"turnout pool reload"}},
        {"pool check", {"turnout pool check", "turnout pool check lab"}},
        {"pool update", {"turnout pool update local --slots 4"}},
        {"user add", {"turnout user add ann --display-name 'Ann Example'"}},
        {"user list", {"turnout user list"}},
        {"user show", {"turnout user show ann"}},
        {"user disable", {"turnout user disable ann"}},
        {"user enable", {"turnout user enable ann"}},
        {"user token",
         {"turnout user token ann --expires 30d",
          "turnout user token ann --token-name dashboard --read-only --workspace-only"}},
        {"user role", {"turnout user role ann"}},
        {"user link", {"turnout user link ann --subject 8f3c2a"}},
        {"session list", {"turnout session list"}},
        {"session remove", {"turnout session remove 3f09a1b2c3d4"}},
        {"oidc check", {"turnout oidc check"}},
        {"role assign",
         {"turnout role assign --user ann --role 'AzureML Data Scientist'",
          "turnout role assign --user ann --role Reader --server",
          "turnout role assign --user ann --role Contributor --compute cpu-cluster"}},
        {"role list", {"turnout role list", "turnout role list --user ann"}},
        {"role remove", {"turnout role remove --user ann --role Reader --server"}},
        {"role definitions", {"turnout role definitions"}},
        {"role actions", {"turnout role actions"}},
        {"role create",
         {"turnout role create canceler --action '*/read' --action '*/jobs/cancel/action'"}},
        {"role delete", {"turnout role delete canceler"}},
        {"secret set",
         {"turnout secret set hf-token --value-file token.txt",
          "printf %s \"$TOKEN\" | turnout secret set hf-token"}},
        {"run list",
         {"turnout run list --experiment digits",
          "turnout run list --filter 'metrics.loss < 0.5' --columns metrics.loss,params.lr"}},
        {"run show", {"turnout run show brave_comet_4"}},
        {"run compare", {"turnout run compare brave_comet_4 calm_otter_9"}},
        {"run best",
         {"turnout run best --metric loss --experiment digits",
          "turnout run best --metric accuracy --goal maximize --sweep lively_cedar_7"}},
        {"run plot",
         {"turnout run plot brave_comet_4 --metric loss",
          "turnout run plot brave_comet_4 calm_otter_9 --metric loss --file loss.svg"}},
        {"run diff", {"turnout run diff brave_comet_4 calm_otter_9"}},
        {"quota set",
         {"turnout quota set --user ann --running 4 --slots 8",
          "turnout quota set --default --queued 5000"}},
        {"quota list", {"turnout quota list"}},
        {"quota show", {"turnout quota show --user ann"}},
        {"quota remove", {"turnout quota remove --user ann"}},
        {"secret list", {"turnout secret list"}},
        {"secret show", {"turnout secret show hf-token"}},
        {"secret remove", {"turnout secret remove hf-token"}},
        {"secret rotate-key", {"turnout secret rotate-key"}},
        {"token list", {"turnout token list"}},
        {"token create",
         {"turnout token create -n laptop --expires 30d",
          "turnout token create pipeline --expires never --query token -o tsv"}},
        {"token rotate", {"turnout token rotate admin.key", "turnout token rotate laptop"}},
        {"token revoke", {"turnout token revoke laptop"}},

        {"environment create",
         {"turnout environment create environment.yml",
          "turnout environment create -n torch -v 1 --conda-file conda.yml --image ubuntu:22.04"}},
        {"data create",
         {"turnout data create -n rides -v 1 --type uri_file --path rides.csv",
          "turnout data create data.yml"}},
        {"model create",
         {"turnout model create -n credit -v 1 --path model", "turnout model create model.yml"}},

        {"datastore create", {"turnout datastore create datastore.yml"}},
        {"datastore list", {"turnout datastore list"}},
        {"datastore show", {"turnout datastore show workspaceblobstore"}},
        {"datastore delete", {"turnout datastore delete old-store --yes"}},
        {"datastore validate", {"turnout datastore validate datastore.yml"}},
        {"workspace create", {"turnout workspace create -n second"}},
        {"workspace list", {"turnout workspace list"}},
        {"workspace show", {"turnout workspace show -n second"}},
        {"workspace delete", {"turnout workspace delete second --yes"}},
        {"workspace validate", {"turnout workspace validate workspace.yml"}},
    };
    if (const auto found = examples.find(join(words, " ")); found != examples.end())
        return found->second;
    // What every kind of document has alike.
    const resources::DocumentKind* const kind = resources::kind_of_word(words[0]);
    if (kind == nullptr || words.size() < 2) return {};
    const std::string sample(kind->sample);
    const std::string command = "turnout " + join(words, " ");
    if (words[1] == "list") return {command, command + " -n " + sample};
    if (words[1] == "update") return {command + " " + sample + " -v 1 --set tags.kind=baseline"};
    if (words[1] == "create")
        return {command + " " + words[0] + ".yml",
                command + " " + words[0] + ".yml --set version=2"};
    if (words[1] == "validate") return {command + " " + words[0] + ".yml"};
    return {command + " " + sample, command + " " + sample + " -v 1"};
}

}  // namespace turnout::cli
