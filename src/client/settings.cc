#include "client/settings.h"

#include <unistd.h>

#include "base/text.h"
#include "client/files.h"
#include "io/posix/files.h"

namespace turnout::client {

std::string Settings::group_path() const {
    return "/subscriptions/" + percent_encode(subscription_id) + "/resourceGroups/" +
           percent_encode(resource_group);
}

std::string Settings::workspace_path() const {
    return group_path() + "/providers/Microsoft.MachineLearningServices/workspaces/" +
           percent_encode(workspace_name);
}

std::string data_folder(const std::string& option) {
    if (!option.empty()) return absolute_path(option);
    if (const std::string named = environment_variable("TURNOUT_DATA"); !named.empty())
        return absolute_path(named);
    if (const std::string xdg = environment_variable("XDG_DATA_HOME"); xdg.starts_with('/'))
        return xdg + "/turnout";
    return home_folder() + "/.local/share/turnout";
}

std::string config_file() {
    if (const std::string xdg = environment_variable("XDG_CONFIG_HOME"); xdg.starts_with('/'))
        return xdg + "/turnout/client.json";
    return home_folder() + "/.config/turnout/client.json";
}

Result<Settings> read_settings(const std::string& file) {
    const std::string text = TURNOUT_TRY(read_file(file));
    const Result<Json> json = parse_json(text);
    if (!json) return invalid(file + ": " + json.error().message, file);
    Settings settings;
    const auto get = [&](const char* key) { return json->at(key).as_string(); };
    const std::string folder = folder_of(file);
    const auto path = [&](const char* key) {
        const std::string value = get(key);
        return value.empty() || value.starts_with('/') ? value : folder + "/" + value;
    };
    settings.url = get("url");
    settings.plain_url = get("plain_url");
    settings.ca_file = path("ca_file");
    settings.api_key_file = path("api_key_file");
    settings.subscription_id = get("subscription_id");
    settings.resource_group = get("resource_group");
    settings.workspace_name = get("workspace_name");
    settings.folder_identity = get("folder_identity");
    settings.file = file;
    if (settings.url.empty()) return invalid(file + ": has no 'url'", file);
    while (settings.url.ends_with('/')) settings.url.pop_back();
    while (settings.plain_url.ends_with('/')) settings.plain_url.pop_back();
    if (!settings.api_key_file.empty()) {
        const std::string key = TURNOUT_TRY(read_file(settings.api_key_file));
        settings.api_key = Secret(std::string(trim(key)));
    }
    return settings;
}

Result<Settings> load_settings(const std::string& data_option) {
    const std::string data = data_folder(data_option);
    const std::string own = data + "/client.json";
    if (::access(own.c_str(), F_OK) == 0) {
        Settings settings = TURNOUT_TRY(read_settings(own));
        if (!settings.folder_identity.empty() && settings.folder_identity != folder_identity(data))
            return fail(Code::FailedPrecondition, "CopiedFolder",
                        "the data folder '" + data +
                            "' is a copy of another server's, which is not touched from here: give "
                            "it a server of its own with "
                            "`turnout up --data " +
                            data + " --listen 127.0.0.1:0 --plain-listen 127.0.0.1:0`",
                        data);
        settings.data = data;
        return settings;
    }
    if (data_option.empty() && ::access(config_file().c_str(), F_OK) == 0)
        return read_settings(config_file());
    return fail(
        Code::FailedPrecondition, "NoServer",
        "no server has run with the data folder '" + data +
            "': start one with `turnout up`, or point here to another with `turnout login URL`");
}

Result<void> save_settings(const Settings& settings, const std::string& file) {
    const Json json = Json::object({{"url", settings.url},
                                    {"plain_url", settings.plain_url},
                                    {"ca_file", settings.ca_file},
                                    {"api_key_file", settings.api_key_file},
                                    {"subscription_id", settings.subscription_id},
                                    {"resource_group", settings.resource_group},
                                    {"workspace_name", settings.workspace_name}});
    return write_file(file, json.dump_pretty() + "\n", 0600);
}

}  // namespace turnout::client
