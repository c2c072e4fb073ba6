// How the provider begins and ends; its verbs are in sources of their own, see state.h.
#include "provider/ssh/ssh_provider.h"

#include <unistd.h>

#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "provider/ssh/state.h"

namespace turnout {

SshProvider::SshProvider(AsioLoop& loop, SshProviderOptions options, ProviderEvents events)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(events))) {}

SshProvider::~SshProvider() {
    state_->over = true;
    for (const auto& [name, machine] : state_->machines) {
        if (machine->bridge) machine->bridge->stop();
        if (machine->session) machine->session->close();
    }
}

Result<void> SshProvider::open() {
    State& s = *state_;
    TURNOUT_TRY(make_directories(s.options.folder + "/nodes", 0700));
    TURNOUT_TRY(s.keys.read());
    const std::string name_file = s.options.folder + "/instance";
    if (access(name_file.c_str(), F_OK) != 0) {
        PosixRandom random;
        TURNOUT_TRY(write_file_atomically(name_file, to_hex(random.bytes(6)) + "\n", 0600));
    }
    const std::string name = TURNOUT_TRY(read_file(name_file));
    s.instance = std::string(trim(name));
    s.offers["server"] = TURNOUT_TRY(http::unix_address(s.options.server_socket));
    for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(s.options.folder + "/nodes"))) {
        if (!entry.name.ends_with(".json")) continue;  // of a write that was cut off
        const std::string text = TURNOUT_TRY(read_file(s.options.folder + "/nodes/" + entry.name));
        const Json record = TURNOUT_TRY(parse_json(text));
        if (const NodeId id = record.at("node").as_string(); !id.empty())
            s.place(id, s.machine_once_of(ssh_host_from_json(record.at("host"))));
    }
    for (const auto& [key, machine] : s.machines) s.keep_relay(machine);
    return {};
}

void SshProvider::set_pools(std::span<const Pool> pools) {
    State& s = *state_;
    for (const Pool& pool : pools)
        for (const SshHost& host : ssh_hosts(pool.settings, s.options.base)) s.machine_of(host);
}

Capabilities SshProvider::capabilities() const {
    Capabilities can;
    can.handles = true;
    return can;
}

}  // namespace turnout
