// Harm on purpose: what `turnout drill` does to the node of a running job, so that one can see what
// is lost and what goes on. Who got the node knows what can be done to it, so a provider offers
// such harm by name (provider/provider.h); the server's own drills need nothing of it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/compute.h"

namespace turnout {

struct DrillKind {
    // What becomes of the node. Gone: nothing of it runs any more, and it can be had again. Silent:
    // it does nothing and says nothing for a time, then all goes on. FullDisk: nothing can be
    // written in its folder for a time.
    enum class Leaves { Gone, Silent, FullDisk } leaves = Leaves::Gone;
    std::string name;  // "kill-node"
    std::string does;  // "kills every process of the node at one moment"
    bool lasts() const { return leaves != Leaves::Gone; }
};

class Drills {
public:
    using Reply = std::function<void(Result<Json>)>;

    virtual ~Drills() = default;
    virtual std::vector<DrillKind> kinds() const = 0;
    // Does that to the node; what lasts is over by itself after so long, also if the server ends
    // meanwhile and is started again. Answers once, on the loop, with what was done in numbers
    // ({"processes": 5}) when it is done. FailedPrecondition, with the reason, if others would
    // suffer; NotFound if there is no such node; InvalidArgument for what is not offered.
    virtual void begin(const NodeId& node, std::string_view name, Span how_long, Reply reply) = 0;
};

// Refuses one that is not offered, by those that are.
Error not_offered(std::string_view name, const std::vector<DrillKind>& offered);

}  // namespace turnout
