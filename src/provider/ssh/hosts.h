// What a pool of SSH hosts says in its `settings`, and which keys hosts have shown.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "io/posix/asio_loop.h"
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

// The machine in "USER@HOST:PORT", where user and port may be missing.
struct SshPlace {
    std::string user, address;
    int port = 0;
};
Result<SshPlace> parse_ssh_place(const std::string& text);

// The keys that hosts have shown, kept in a file: the first one of each is believed, another one is
// refused. Used on the loop; the file is written beside it.
class KnownHosts {
public:
    KnownHosts(Loop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}
    Result<void> read();
    // `wanted`: what somebody wrote down as the host's key; "": what it showed first.
    Result<void> check(const std::string& host, const std::string& wanted,
                       const std::string& shown);
    std::string of(const std::string& host) const;  // "" if it has shown none

private:
    void write();

    Loop& loop_;
    std::string path_;
    std::map<std::string, std::string> keys_;
    bool writing_ = false, changed_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // weakly held by what is written
};

}  // namespace turnout
