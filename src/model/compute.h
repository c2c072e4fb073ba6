// Computes and their nodes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "model/author.h"
#include "model/pool.h"
#include "protocol/facts.h"

namespace turnout {

// "{wsid}/{compute}/{node}", also the key in the store.
using NodeId = std::string;

enum class Tier { Dedicated, LowPriority };

// A machine that somebody attached: the only node of its compute is there.
struct AttachedMachine {
    enum class State { Checking, Ready, Failed } state = State::Checking;
    std::string why;            // it failed
    int check = 1;              // the number of the check that is under way, or was the last one
    std::string provider;       // who reaches it
    Json settings;              // of a pool of that machine alone; its provider reads them
    std::string resource_id;    // as it was attached: who says the same again means the same
    std::string address, user;  // of it, for people
    int port = 0;
    Json found;  // what the last good check saw: system, cores …; null: none was
    bool operator==(const AttachedMachine&) const = default;
};
std::string_view name_of(AttachedMachine::State state);  // as Azure says it: "Creating"

// What opens it. Where it is kept: vault/machine_secrets.h.
struct MachineSecret {
    Secret key;       // the text of a private key without passphrase; "": none
    Secret password;  // where there is no key
    bool empty() const { return key.empty() && password.empty(); }
};

// What a client says of a machine that is to be attached, for the provider that will reach it.
struct MachineWanted {
    std::string host;      // a name or an address, or a machine's name in a pool
    int port = 0;          // 0: not said
    std::string user;      // "": not said
    std::string folder;    // of its own, there
    std::string secret;    // the key of its row in Table::MachineSecret; "": nothing was given
    std::string host_key;  // "SHA256:…", "": the one that it shows first
};

// A container that is made for one job and goes with it (`compute: containerinstance`): what the
// job asked for. There is no compute that anybody made: jobs of a workspace that ask for the same
// share one, which is there as long as they are, and each of its nodes is given to one job alone.
struct ContainerInstance {
    std::string pool;  // where
    int cores = 1;
    double memory_gb = 4;
    std::string image;  // "": that of the pool
    bool operator==(const ContainerInstance&) const = default;
};
// What a job names that asks for one, and what it shows; no compute has that name.
inline constexpr std::string_view kContainerInstance = "containerinstance";
// The name of the compute of such jobs: nobody can give it to their own.
std::string name_of(const ContainerInstance& asked);
// A job's or a node's compute as people know it.
std::string_view shown_compute(std::string_view name);
// "2 cores and 4 GB in pool 'boxes'"
std::string words_of(const ContainerInstance& asked);

// A compute instance: one node for one person, on which a notebook server stays up
// (model/service.h) as long as it is on. Jobs run there one at a time beside it.
struct PersonalInstance {
    std::string user;             // whose it is: nobody else has a place there
    bool on = true;               // as it is wanted
    int starts = 1;               // each is a new revision of its service
    Span idle_before_shutdown{};  // 0: it stays on

    // What was done with it last, in Azure's words.
    struct Operation {
        enum class Name { Create, Start, Stop, Restart } name = Name::Create;
        enum class Status { InProgress, Succeeded, Failed } status = Status::InProgress;
        std::string trigger = "User";  // User, Schedule, IdleShutdown
        Instant at{};
        std::string why;  // it failed
        bool operator==(const Operation&) const = default;
    } last;
    bool made = false;  // it was ready once
    // Of its schedules what was due until then was done, or left.
    Instant fired{};
    // When each of its schedules was said first: it begins then, where it says no start. In their
    // order; of rows of earlier builds there is none.
    std::vector<Instant> said;
    bool operator==(const PersonalInstance&) const = default;
};
std::string_view name_of(PersonalInstance::Operation::Name name);      // "Create" …
std::string_view name_of(PersonalInstance::Operation::Status status);  // "InProgress" …
// The service that stays up on it.
std::string service_of_instance(std::string_view compute);

// An AmlCompute cluster, or a machine that was attached. What a client sent is kept in
// `definition`, and what control needs of it is beside it.
struct Compute {
    std::string workspace;  // id
    std::string name;
    Json definition;                 // "properties" of the PUT, as sent, read-only members removed
    Json envelope;                   // location, tags, identity, sku … of the PUT
    std::string pool{kDefaultPool};  // its nodes are had there; never changes
    std::string vm_size;
    Tier tier = Tier::Dedicated;
    int min_nodes = 0;
    int max_nodes = 1;
    Span idle_before_scale_down = 120s;
    int jobs_per_node = 1;  // that run at a time on each node
    Instant created{};
    Instant modified{};
    Authorship made;
    bool deleting = false;
    bool implicit = false;  // "serverless" and the next: exists without being asked for, not listed
    std::optional<ContainerInstance> instances = {};  // its nodes are such ones
    std::optional<AttachedMachine> attached = {};     // it has a pool of its own then
    std::optional<PersonalInstance> personal = {};
};
// The pool of a machine that is attached as that compute. No pool of pools.yaml has such a name.
std::string pool_of_machine(std::string_view workspace, std::string_view compute);

// Azure's node states are spelled in lower case on the wire: idle running preparing unusable
// leaving preempted. Provisioning is ours, shown as "preparing". The row of a node says Idle for
// one that is ready; whether it runs something follows from the jobs' rows.
enum class NodeState { Provisioning, Idle, Running, Leaving, Unusable };
std::string_view name_of(NodeState state);

struct Node {
    std::string workspace;
    std::string compute;
    std::string name;  // "node-1": unique in the workspace's life
    NodeState state = NodeState::Provisioning;
    Instant created{};
    Instant state_since{};
    std::optional<Instant> ready;       // its agent's first word
    std::optional<Instant> paid_until;  // its cost until then is in the totals; nothing: none is
    // Of its hour since then, 0 if it had none; nothing in rows of earlier builds: today's.
    std::optional<double> price;
    std::string job;         // live only: the job whose attempt it has, "" if none
    int attempt = 0;         // live only
    int attempts = 0;        // live only: that it has, those that wait there too
    int backlog = 0;         // live only: attempts that wait there for their turn
    bool connected = false;  // live only
    bool gives_way = false;  // live only: its job was told to leave it to another
    std::string boot_id;
    std::string problem;             // why it is unusable
    agent_protocol::Facts facts;     // as its agent said last
    std::string build;               // live only: of its agent
    int protocol = 0;                // live only: the version that it speaks, 0 = it said nothing
    std::string pool;                // live only: of its compute
    std::string provider = "local";  // who got it, whatever its pool says now
    Json handle;                     // the provider's own, opaque (pid, folder …)
    std::string image;               // that it is to have; "" = its pool's, or none
    // Without contact for so long it ends what it runs, as it was told when it was asked for;
    // nothing in rows of earlier builds: the server's own time.
    std::optional<Span> lost_after;

    Instant unpaid_from() const { return std::max(created, paid_until.value_or(created)); }
    NodeId id() const { return workspace + "/" + compute + "/" + name; }
};

// What a provider has to know to get a node, or to get it again.
struct NodeRequest {
    NodeId id;
    std::string pool;
    Json settings;     // of that pool; its provider's own
    std::string size;  // a VM's name, "" if its compute has none
    int cores = 0;     // of that size; 0: it is not known
    double memory_gb = 0;
    bool exact = false;  // with less than that it is no use
    int gpus = 0;
    Tier tier = Tier::Dedicated;
    std::string image;  // "": that of the pool, or none where its nodes have no image
    Json handle;        // what its provider told of it before; null: nothing
};

// The reason of an error of a provider: the image cannot be had. The engine or the registry says
// no, or two pulls failed.
inline constexpr std::string_view kImageNotThere = "ImageNotThere";

// How a provider begins what it says while an image comes to a node: that may take longer than a
// node has time to start, and is no sign that it does not. How far it is follows behind ": ".
inline constexpr std::string_view kPulling = "pulling image ";

// A node as its provider sees it.
struct FoundNode {
    enum class Is { Starting, Alive, Ending, Unknown } is = Is::Unknown;
    NodeId id;
    Json handle;
};
std::string_view name_of(FoundNode::Is is);

// What an hour of one node costs, from the compute's tag of this name; nothing if it has none. The
// unit is the user's own.
inline constexpr std::string_view kPriceTag = "turnout.price_per_hour";
Result<std::optional<double>> price_per_hour(const Compute& compute);

Json to_json(const Compute& compute);
Result<Compute> compute_from_json(const Json& json);
Json to_json(const Node& node);
Result<Node> node_from_json(const Json& json);

// ---- VM sizes: Azure's names, what they promise (model/vm_sizes.cc) ----
struct VmSize {
    std::string name;  // "STANDARD_DS3_v2"
    std::string family;
    int cores = 0;
    int gpus = 0;
    double memory_gb = 0;
    std::int64_t resource_disk_mb = 0;
    bool premium_io = false;
};
const std::vector<VmSize>& vm_sizes();
const VmSize* find_vm_size(std::string_view name);  // without regard to case

}  // namespace turnout
