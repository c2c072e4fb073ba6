#include "agent/node/bases.h"

#include <utility>

namespace turnout::agent {

void Bases::keep(const agent_protocol::Base& base, bool recorded) {
    auto [place, fresh] =
        kept_.try_emplace(base.hash, Kept{base.task, agent_protocol::task_from_json(base.task)});
    if (recorded) {
        place->second.recorded = true;
        return;
    }
    ++place->second.sent;
    sent_.push_back(base.hash);
    if (sent_.size() > agent_protocol::kBasesKept) let_go_of_oldest();
}

void Bases::restored() {
    restoring_ = false;
    std::erase_if(kept_, [](const auto& item) { return item.second.users == 0; });
}

void Bases::new_link() {
    while (!sent_.empty()) let_go_of_oldest();
    std::erase_if(kept_, [](const auto& item) { return item.second.users == 0; });
}

Bases::Kept* Bases::find(const std::string& hash) {
    auto found = kept_.find(hash);
    return found == kept_.end() ? nullptr : &found->second;
}

void Bases::use(const std::string& hash) {
    if (auto* base = find(hash)) ++base->users;
}

void Bases::leave(const std::string& hash) {
    if (auto* base = find(hash)) {
        --base->users;
        drop_unneeded(hash, *base);
    }
}

void Bases::let_go_of_oldest() {
    std::string hash = std::move(sent_.front());
    sent_.pop_front();
    if (auto* base = find(hash)) {
        --base->sent;
        drop_unneeded(hash, *base);
    }
}

void Bases::drop_unneeded(const std::string& hash, const Kept& base) {
    if (!restoring_ && base.users == 0 && base.sent == 0) kept_.erase(hash);
}

}  // namespace turnout::agent
