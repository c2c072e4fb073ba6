#include "app/effects.h"

namespace turnout {

void ServerEffects::send(const NodeId& node, agent_protocol::ToAgent message) {
    links->send(node, message);
}

void ServerEffects::provision(const std::string& provider, const NodeRequest& node) {
    if (Provider* const of = pools->provider(provider)) of->provision(node);
}

void ServerEffects::release(const std::string& provider, const NodeId& node, const Json& handle) {
    if (Provider* const of = pools->provider(provider)) of->release(node, handle);
}

void ServerEffects::list(const std::string& provider, std::uint64_t number) {
    Provider* const of = pools->provider(provider);
    if (!of) return;
    of->list([this, number](Result<std::vector<FoundNode>> found) {
        if (found) nodes_found(number, *found);
    });
}

void ServerEffects::clear_machine(const std::string& workspace, const std::string& compute,
                                  const AttachedMachine& machine) {
    pools->clear_machine(workspace, compute, machine, *control);
}

void ServerEffects::disconnect(const NodeId& node) {
    links->disconnect(node);
}

void ServerEffects::wake(Span at) {
    tick_at(at);
}

void ServerEffects::job_ended(const std::string& workspace, const std::string& job) {
    tracking->job_ended(workspace, job);
}

void ServerEffects::resolve(const std::string& workspace, const std::string& job) {
    resolve_step(workspace, job);
}

void ServerEffects::to_register(const std::string& workspace, const std::string& job) {
    register_outputs(workspace, job);
}

void ServerEffects::group_says(const std::string& workspace, const std::string& job,
                               std::string_view log, const std::string& text) {
    const agent_protocol::AttemptId id{workspace, job, 1};
    const std::string stream(log);
    auto [at, first] = sweep_logs_.try_emplace(workspace + "/" + job);
    if (first) at->second = tracking->log_length(workspace, job, stream).value_or(0);
    const std::uint64_t offset = at->second;
    at->second += text.size();
    tracking->append_log({id, stream, offset, text},
                         [this, key = at->first](Result<std::uint64_t> length) {
                             if (!length)
                                 sweep_logs_.erase(key);  // where it ends now is asked anew
                         });
}

}  // namespace turnout
