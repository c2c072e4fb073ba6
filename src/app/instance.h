// The data folder of a server: what is in it besides the database, and who makes it.
#pragma once

#include <string>

#include "api/authority.h"
#include "api/studio/pack.h"
#include "base/json.h"
#include "base/result.h"
#include "io/loop.h"
#include "vault/vault.h"

namespace turnout {

// Paths in a data folder.
struct Instance {
    std::string folder;

    std::string database() const { return folder + "/turnout.db"; }
    std::string blobs() const { return folder + "/blobs"; }
    std::string fetching() const { return folder + "/fetching"; }  // downloads on their way
    std::string nodes() const { return folder + "/nodes"; }
    std::string cache() const { return folder + "/cache"; }
    // What people keep on compute instances, by workspace and user.
    std::string homes() const { return folder + "/homes"; }
    std::string agent_executable() const { return folder + "/bin/turnout-agent"; }
    std::string agent_socket() const { return folder + "/agent.sock"; }
    // What the agents of other machines reach, by their relays.
    std::string relayed_socket() const { return folder + "/hosts.sock"; }
    std::string keys() const { return folder + "/keys.json"; }  // 0600
    // What seals the secrets of workspaces; 0600, made with the first of them.
    std::string sealing_keys() const { return folder + "/secrets.key"; }
    std::string api_key() const { return folder + "/admin.key"; }  // 0600
    std::string ca() const { return folder + "/ca.pem"; }
    std::string ca_key() const { return folder + "/ca.key"; }  // 0600
    std::string certificate() const { return folder + "/server.pem"; }
    std::string certificate_key() const { return folder + "/server.key"; }  // 0600
    std::string ca_bundle() const { return folder + "/ca-bundle.pem"; }     // ours and the system's
    std::string pools() const { return folder + "/pools.yaml"; }            // the operator's own
    std::string oidc() const { return folder + "/oidc.yaml"; }              // the operator's own
    std::string ports() const { return folder + "/ports.json"; }            // chosen once, kept
    std::string running() const { return folder + "/server.json"; }         // while a server runs
    std::string client() const { return folder + "/client.json"; }          // how the CLI finds it
    std::string room() const { return folder + "/room"; }  // held for a start on a full disk
};

// Makes the folder (mode 0700) and those in it.
Result<Instance> open_instance(const std::string& folder);
// Reads the instance's keys, or makes them on first start.
Result<api::InstanceKeys> load_keys(const Instance& instance, Random& random);
// Where a vault has its keys.
KeyFile sealing_key_file(const Instance& instance);
// Writes the agent that this executable carries, if the folder has another one.
Result<void> unpack_agent(const Instance& instance);
// The portal that this executable carries; an empty one where it was built without.
Result<api::studio::Pack> portal_pack();
// A small JSON document of the folder; null if there is none.
Result<Json> read_document(const std::string& path);
Result<void> write_document(const std::string& path, const Json& document, int mode);

}  // namespace turnout
