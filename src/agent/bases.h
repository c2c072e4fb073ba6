// The tasks that leases have in common, as the node keeps them: those that attempts use, and those
// that the server sent last on this link (it relies on that). Internal to node_core.cc.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "base/result.h"
#include "spec/agent_protocol.h"

namespace turnout::agent {

class Bases {
public:
    struct Kept {
        Json json;
        Result<agent_protocol::TaskSpec> task;
        std::size_t users = 0;  // attempts
        std::size_t sent = 0;   // how many of the last ones sent are this one
        bool recorded = false;  // it stands in the node's journal
    };

    // Sent by the server, or read from the journal (`recorded`).
    void keep(const agent_protocol::Base& base, bool recorded = false) {
        auto [place, fresh] = kept_.try_emplace(
            base.hash, Kept{base.task, agent_protocol::task_from_json(base.task)});
        if (recorded) {
            place->second.recorded = true;
            return;
        }
        ++place->second.sent;
        sent_.push_back(base.hash);
        if (sent_.size() > agent_protocol::kBasesKept) let_go_of_oldest();
    }
    // The journal was read: while it is, a base that its attempts have left may be named again.
    void restored() {
        restoring_ = false;
        std::erase_if(kept_, [](const auto& item) { return item.second.users == 0; });
    }
    // A new link: what is not in use will be sent again.
    void new_link() {
        while (!sent_.empty()) let_go_of_oldest();
        std::erase_if(kept_, [](const auto& item) { return item.second.users == 0; });
    }
    // nullptr if the node does not have it.
    Kept* find(const std::string& hash) {
        auto found = kept_.find(hash);
        return found == kept_.end() ? nullptr : &found->second;
    }
    void use(const std::string& hash) {
        if (auto* base = find(hash)) ++base->users;
    }
    void leave(const std::string& hash) {
        if (auto* base = find(hash)) {
            --base->users;
            drop_unneeded(hash, *base);
        }
    }
    const std::map<std::string, Kept>& all() const { return kept_; }

private:
    void let_go_of_oldest() {
        std::string hash = std::move(sent_.front());
        sent_.pop_front();
        if (auto* base = find(hash)) {
            --base->sent;
            drop_unneeded(hash, *base);
        }
    }
    void drop_unneeded(const std::string& hash, const Kept& base) {
        if (!restoring_ && base.users == 0 && base.sent == 0) kept_.erase(hash);
    }

    std::map<std::string, Kept> kept_;
    std::deque<std::string> sent_;
    bool restoring_ = true;
};

}  // namespace turnout::agent
