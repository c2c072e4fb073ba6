// What a pool of SSH hosts says in its `settings`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/compute.h"
#include "model/pool.h"
#include "resources/describe.h"

namespace turnout {

struct SshHost {
    std::string address;  // a name or an IP address
    int port = 22;
    std::string user;
    std::string key, password_file;   // paths on the server; one of the two
    std::string host_key;             // "SHA256:…"; "": the one that it shows first is kept
    std::string jump;                 // USER@HOST:PORT through which it is reached; ""
    std::string folder = ".turnout";  // on it; relative to the home folder
    int slots = 1;                    // nodes on it
    bool attached = false;            // by itself, not a part of a pool
    std::string secret;               // who asks for what opens it by this name; "": no need

    // What tells it from others: "user@address", with its port unless that is 22.
    std::string name() const;
    bool operator==(const SshHost&) const = default;
};

// The names of `settings`, checked as a part of pools.yaml.
const resources::Description& ssh_settings();
// Of checked settings. Relative paths begin at `folder`.
std::vector<SshHost> ssh_hosts(const Json& settings, const std::string& folder);
int ssh_slots(const Json& settings);

Json to_json(const SshHost& host);
SshHost ssh_host_from_json(const Json& json);

// The machine that somebody wants to attach, with the settings of a pool of it alone. `pools`:
// where its host may be described: then jump host, Python and variables are taken from there, port
// and user where they are not said, and the way in where no secret was given. InvalidArgument: it
// cannot be one; its subject is the part of the REST document.
Result<AttachedMachine> ssh_machine(const MachineWanted& wanted, std::span<const Pool> pools);

// The machine in "USER@HOST:PORT", where user and port may be missing.
struct SshPlace {
    std::string user, address;
    int port = 0;
};
Result<SshPlace> parse_ssh_place(const std::string& text);

}  // namespace turnout
