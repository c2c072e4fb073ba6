// Which nodes there are on all machines that may have some.
#include <algorithm>
#include <string_view>
#include <utility>

#include "provider/node_id.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

constexpr std::size_t kMostListed = 300;  // nodes of one host

}  // namespace

Task<void> SshProvider::State::look_for(std::shared_ptr<State> self, MachinePtr machine,
                                        std::shared_ptr<std::map<NodeId, FoundNode>> found) {
    // Nobody may be left out of whom something may run.
    const auto add = [&](const NodeId& id, FoundNode::Is is) {
        (*found)[id] = {is, id, self->handle_of(id, *machine)};
    };
    const std::set<NodeId> before = machine->nodes;
    bool looked = false;
    if (self->clock.since_boot() >= machine->avoided_until) {
        const Result<void> there = co_await connected(self, machine);
        if (self->over) co_return;
        if (there && !machine->has_root) {
            looked = machine->looked = true;
        } else if (there) {
            const Result<Json> facts = co_await look(self, machine);
            if (self->over) co_return;
            if (facts) {
                looked = true;
                std::size_t listed = 0;
                for (const Json& one : facts->at("nodes").items()) {
                    const NodeId id = one.at("id").as_string();
                    if (!fits_as_node(id) || self->is_elsewhere(id, *machine)) continue;
                    // Its own are never too many.
                    if (!machine->nodes.contains(id) && ++listed > kMostListed) continue;
                    add(id,
                        one.at("alive").as_bool() ? FoundNode::Is::Alive : FoundNode::Is::Unknown);
                }
            }
        }
        if (machine->nodes.empty() && !machine->relaying && machine->running == 0 &&
            !machine->connecting && machine->session)
            machine->session->close();
    }
    if (!looked)
        for (const NodeId& id : before) add(id, FoundNode::Is::Unknown);
    for (const NodeId& id : machine->nodes)
        if (self->leaving.contains(id))
            add(id, FoundNode::Is::Ending);
        else if (self->starting.contains(id) && !found->contains(id))
            add(id, FoundNode::Is::Starting);
}

Task<void> SshProvider::State::list_all(std::shared_ptr<State> self, Answer answer) {
    const auto found = std::make_shared<std::map<NodeId, FoundNode>>();
    std::vector<MachinePtr> asked;
    for (const auto& [name, machine] : self->machines)
        if (!machine->abandoned && (!machine->nodes.empty() || !machine->looked))
            asked.push_back(machine);
    const auto left = std::make_shared<std::size_t>(asked.size());
    Later<bool> all;
    if (!asked.empty()) {
        for (const MachinePtr& machine : asked)
            start(look_for(self, machine, found), [left, settle = all.settle()] {
                if (--*left == 0) settle(true);
            });
        (void)co_await all;
    } else {
        co_await self->loop.sleep(Span(0));
    }
    if (self->over) co_return;
    std::vector<FoundNode> nodes;
    for (auto& [id, one] : *found) nodes.push_back(std::move(one));
    answer(std::move(nodes));
}

void SshProvider::list(Answer answer) {
    state_->loop.post([state = state_, answer = std::move(answer)] {
        if (!state->over) start(State::list_all(state, answer), [] {});
    });
}

}  // namespace turnout
