// Carries out what control asks for: says it to agents, to the providers of pools, to tracking.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "app/pools.h"
#include "control/agent_links.h"
#include "control/control.h"
#include "provider/provider.h"
#include "tracking/tracking.h"

namespace turnout {

// On the loop. Control is made with it, so what it reaches is set afterwards, before control is
// asked for anything; all of that is called until the loop ends.
class ServerEffects : public Effects {
public:
    void send(const NodeId& node, agent_protocol::ToAgent message) override;
    void provision(const std::string& provider, const NodeRequest& node) override;
    void release(const std::string& provider, const NodeId& node, const Json& handle) override;
    void list(const std::string& provider, std::uint64_t number) override;
    void clear_machine(const std::string& workspace, const std::string& compute,
                       const AttachedMachine& machine) override;
    void disconnect(const NodeId& node) override;
    void wake(Span at) override;
    void job_ended(const std::string& workspace, const std::string& job) override;
    // A sweep's own log, in the order in which it is said. Lines that are on their way when the
    // server dies are lost; what they tell is in the trials' rows.
    void group_says(const std::string& workspace, const std::string& job, std::string_view log,
                    const std::string& text) override;

    void resolve(const std::string& workspace, const std::string& job) override;
    void to_register(const std::string& workspace, const std::string& job) override;

    AgentLinks* links = nullptr;
    ServerPools* pools = nullptr;
    Control* control = nullptr;
    std::function<void(std::uint64_t, const std::vector<FoundNode>&)> nodes_found;
    Tracking* tracking = nullptr;
    std::function<void(Span)> tick_at;
    std::function<void(const std::string& workspace, const std::string& job)> resolve_step;
    std::function<void(const std::string& workspace, const std::string& job)> register_outputs;

private:
    std::unordered_map<std::string, std::uint64_t>
        sweep_logs_;  // how long they are, with what is under way
};

}  // namespace turnout
