#include "agent/azure.h"

#include "agent/files.h"
#include "base/json.h"
#include "base/text.h"

namespace turnout::agent {

std::vector<std::pair<std::string, std::string>> azure_variables(
    const agent_protocol::TaskSpec& task, const Doors& doors) {
    std::vector<std::pair<std::string, std::string>> variables;
    if (task.run_token.empty() || doors.plain.empty()) return variables;
    const std::string tokens = doors.plain + "/msi/token", token = task.run_token.reveal();
    const auto set = [&](std::string name, std::string value) {
        variables.emplace_back(std::move(name), std::move(value));
    };
    set("IDENTITY_ENDPOINT", tokens);
    set("IDENTITY_HEADER", token);
    set("MSI_ENDPOINT", tokens);  // the same for older clients
    set("MSI_SECRET", token);
    set("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential");
    for (const auto& [name, value] : task.variables)
        if (name == agent_protocol::kOnBehalf && value == "True")
            set("OBO_ENDPOINT", tokens + "/" + token);
    if (doors.tls.empty()) return variables;
    set("ARM_CLOUD_METADATA_URL", doors.tls + "/metadata/endpoints?api-version=2019-05-01");
    set("AZUREML_CURRENT_CLOUD", "Turnout");
    set("REGISTRY_DISCOVERY_ENDPOINT_URL", doors.tls + "/");
    if (doors.authorities.empty()) return variables;
    for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"})
        set(name, doors.authorities);
    return variables;
}

void write_workspace_config(const std::string& node_folder, const agent_protocol::TaskSpec& task) {
    // ".../subscriptions/S/resourceGroups/R/providers/P/workspaces/W"
    const auto parts = split(task.mlflow_path, '/');
    const auto after = [&](std::string_view name) -> std::string {
        for (std::size_t i = 0; i + 1 < parts.size(); ++i)
            if (equal_ignoring_case(parts[i], name)) return std::string(parts[i + 1]);
        return "";
    };
    const std::string path = node_folder + "/config.json";
    if (after("workspaces").empty() || exists(path)) return;
    const Json config = Json::object({{"subscription_id", after("subscriptions")},
                                      {"resource_group", after("resourceGroups")},
                                      {"workspace_name", after("workspaces")}});
    (void)write_file(path, config.dump_pretty() + "\n", 0644);
}

}  // namespace turnout::agent
