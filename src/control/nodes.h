// The nodes: requested, connected, lost, let go; and what is on each.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/owner.h"
#include "model/compute.h"
#include "schedule/scheduler.h"

namespace turnout::control {

struct ComputeState;
struct JobEntry;

struct Lease {
    JobEntry* job = nullptr;  // alive as long as the lease is
    int attempt = 0;
    int rank = 0;
    bool begun = false;  // as far as one knows: the node has reported of it
    Span stop_by{},
        stop_last{};  // it was told to stop, and is to have ended by then; 0 = it was not
};

struct NodeEntry {
    Node node;
    ComputeState* compute = nullptr;
    Handle handle = 0;
    std::vector<Lease> leases;  // in the order in which they were given
    bool connected = false;
    bool welcomed = false;  // since it said Hello last; before, it is given nothing
    Span last_contact{};    // since boot: of the connection, or of our own start
    Span requested{};       // from its provider, last
    Span deadline{};        // the next moment `tick` looks at it; 0 = none
    int tries = 0;
    std::string starting;  // what was told of that last, for people
    bool retires = false;  // it is given nothing more, and let go when nothing is on it
    // Bases that the agent was sent on this link, by their number, and which in the order of
    // sending.
    std::unordered_map<std::uint64_t, std::uint64_t> bases;
    std::uint64_t bases_sent = 0;

    Lease* find(const agent_protocol::AttemptId& id);
    // For people: its problem, or what it waits for where its provider has it; "": nothing.
    const std::string& what_keeps_it() const;
};

class Nodes : Owner {
public:
    explicit Nodes(Owners& all) : Owner(all) {}

    std::unordered_map<NodeId, NodeEntry> by_id;  // all that hold a slot
    std::unordered_map<Handle, NodeEntry*> by_handle;

    // ---- inputs of the nodes and their providers ----
    void connected(const NodeId& id, const agent_protocol::Hello& hello);
    void disconnected(const NodeId& id);
    // It speaks in words that nobody here knows, and is not listened to.
    void refused(const NodeId& id, const std::string& why);
    void says(const NodeId& id, const agent_protocol::ToServer& message);
    void failed(const NodeId& id, Error why);
    void gone(const NodeId& id);  // nothing of it runs: frees the slot, ends its attempts
    void lost(const NodeId& id, const std::string& why);  // the same, of one that nobody let go
    void ends(const NodeId& id, Span left);               // by itself
    void handle_is(const NodeId& id, Json handle);
    void starts(const NodeId& id, const std::string& what);
    void found(std::uint64_t number, const std::vector<FoundNode>& all);

    void provision(ComputeState& compute);
    void ask_again(const NodeId& id) { say_provision(id); }  // as it is to be now
    void release(NodeEntry& node);                           // with nothing on it
    void let_go(NodeEntry& node);                            // the scheduler knows it
    void retire(NodeEntry& node);  // released, now or with the end of its last lease
    void disconnect(const ComputeState& compute);  // those that are connected: they say Hello anew
    void expect_end(NodeEntry& node, Lease& lease, Span grace);  // it was told to stop
    void take_back_waiting();  // what they were given and have not begun
    std::vector<Node> of(const ComputeState& compute) const;  // as they are now, by name
    // Where the ranks of an attempt on these nodes find each other.
    std::string meeting_address(const ComputeState& compute,
                                const std::vector<std::string>& names) const;

    void tick();
    std::optional<Span> next_tick() const;
    void forget();
    Result<void> recover(const Json& counters);
    void say_again();  // what may have been lost
    void write(Json& counters) const;
    void write_rows(const Turn& turn, Batch& batch) const;

private:
    // What was asked of the providers last, by their name: what is there.
    struct Listing {
        std::uint64_t number = 0;  // of the question that is on its way
        Span asked{};
        bool again = false;  // when that is answered
    };

    void learn(NodeEntry& node, const agent_protocol::Hello& hello);
    NodeEntry& add(ComputeState& compute, Node from, schedule::NodeIs is);
    void say_provision(const NodeId& id);
    void say_release(const Node& node);
    Span lost_after(const NodeEntry& node) const {
        return node.node.lost_after.value_or(settings.lost_node_after);
    }
    void ask_what_is_there(const std::string& provider);
    void ask_all_what_is_there();
    void lose_leases(NodeEntry& node, const std::string& why);
    void image_refused(NodeEntry& node, const Error& why);
    static bool waits_for_image(const NodeEntry& node);
    void look_at_stops(NodeEntry& node);             // at the first of its leases' times
    void give_up(NodeEntry& node, std::string why);  // its provider is to end it, whatever is on it
    void take_back_waiting(const NodeEntry& node);
    void set_state(NodeEntry& node, NodeState state);
    void set_deadline(NodeEntry& node, Span at);
    void check(NodeEntry& node, Span now);

    std::set<std::pair<Span, NodeId>> deadlines_;
    std::map<std::string, Listing> listings_;
    std::uint64_t last_listing_ = 0;
    Span list_at_{};               // since boot; 0 = not yet
    std::uint64_t last_node_ = 0;  // nodes made so far, stored: names are never used twice
};

}  // namespace turnout::control
