// Where the server is and who asks: `client.json`, which the server writes into its data folder and
// `turnout login` into ~/.config/turnout.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"

namespace turnout::client {

struct Settings {
    std::string url;        // "https://127.0.0.1:8443"
    std::string plain_url;  // "http://127.0.0.1:8080": loopback only, else ""
    std::string ca_file;    // certificate of the server's own CA
    std::string api_key_file;
    Secret api_key;
    std::string subscription_id, resource_group, workspace_name;
    std::string file;             // this came from
    std::string folder_identity;  // of the data folder that this was written for
    std::string data;             // data folder, "" for a server elsewhere

    std::string workspace_path() const;  // "/subscriptions/…/workspaces/x"
    std::string group_path() const;      // "/subscriptions/…/resourceGroups/x"
};

// `--data`, else TURNOUT_DATA, else ~/.local/share/turnout (XDG_DATA_HOME).
std::string data_folder(const std::string& option);
std::string config_file();  // ~/.config/turnout/client.json (XDG_CONFIG_HOME)

// The data folder's own settings if there are some; else those of `turnout login`, unless --data
// names a folder. FailedPrecondition with the next step if there are none.
Result<Settings> load_settings(const std::string& data_option);
Result<Settings> read_settings(const std::string& file);
Result<void> save_settings(const Settings& settings, const std::string& file);  // mode 0600

}  // namespace turnout::client
