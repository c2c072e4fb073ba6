// What is begun, and when: the schedulers are asked once for all the inputs of a turn, and what
// they decide is carried out. While the server drains or stops nothing new is.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "control/owner.h"
#include "schedule/scheduler.h"

namespace turnout::control {

struct ComputeState;

class Plan : Owner {
public:
    explicit Plan(Owners& all) : Owner(all) {}

    bool wanted = false;              // something happened since they were asked
    std::optional<Span> at;           // a scheduler wants to be asked then
    std::set<ComputeState*> touched;  // computes whose queue may wait for something else now
    // The queue of that compute changed, or what it waits for.
    void changed(ComputeState& compute) {
        touched.insert(&compute);
        wanted = true;
    }

    void make();  // if one is wanted, or it is time
    void stop_everything(Control::Reply<void> reply);
    void drain(Control::Reply<void> reply, std::function<void()> empty);
    void resume(Control::Reply<void> reply);
    bool stopping() const { return stopping_; }
    bool draining() const { return draining_; }

    void forget();

private:
    bool carry_out(const schedule::Decisions& decisions);

    bool stopping_ = false;                      // nothing new is begun
    std::vector<Control::Reply<void>> stopped_;  // answered when the last node is gone
    bool draining_ = false;                      // nothing new is begun until it is resumed
    std::function<void()> drained_;              // called when the last node is gone
};

}  // namespace turnout::control
