// A provider whose machines are imagined, and which can be as bad as real ones are: for the
// simulator, which has machines of its own behind it, and for whoever tests against a provider.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/loop.h"
#include "provider/provider.h"

namespace turnout {

// The probabilities are of each request. Those of one kind exclude each other, in this order.
struct FakeFaults {
    double lost_request = 0;  // never arrives, or
    double twice = 0;         // arrives twice, each copy after its own time
    double unavailable = 0;   // answered with Unavailable; nothing was done
    double exhausted = 0;     // with ResourceExhausted; nothing was done
    double ambiguous = 0;     // with Ambiguous; half of them were done
    double lost_answer = 0;   // what was done is not told; of a list: it fails
    double forgets = 0;       // of each node of a list: it is left out. No provider may
    Span fastest = 1ms;       // each way
    Span slowest = 1ms;
    bool handles = false;  // a handle is told of each node
};

// Where the machines are. It outlives the server, and with it requests that are on their way.
class FakeCloud {
public:
    explicit FakeCloud(Loop& loop) : loop_(loop) {}
    virtual ~FakeCloud() = default;
    Loop& loop() { return loop_; }

    virtual bool reachable(const NodeId& node) { return !silent_.contains(node); }
    virtual void ensure(const NodeId& node) { machines_.try_emplace(node, ++made_); }
    virtual void end(const NodeId& node) { machines_.erase(node); }
    virtual std::vector<FoundNode> list();
    int made() const { return made_; }
    bool has(const NodeId& node) const { return machines_.contains(node); }
    // Nobody reaches that machine for so long.
    void silence(const NodeId& node, Span how_long);

private:
    Loop& loop_;
    std::map<NodeId, int> machines_;
    std::set<NodeId> silent_;
    int made_ = 0;
};

class FakeProvider : public Provider, private Drills {
public:
    // `faults` may change at any time; null: there are none. `told`: what befell, for whoever
    // counts it.
    FakeProvider(
        Loop& loop, FakeCloud& cloud, Random& random, ProviderEvents events,
        const FakeFaults* faults = nullptr,
        std::function<void(const char* what)> told = [](const char*) {})
        : loop_(loop),
          cloud_(cloud),
          random_(random),
          events_(std::move(events)),
          faults_(faults),
          told_(std::move(told)) {}

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;
    Drills* drills() override { return this; }

private:
    std::vector<DrillKind> kinds() const override;
    void begin(const NodeId& node, std::string_view name, Span how_long, Reply reply) override;
    bool chance(double probability);
    Span way();
    const FakeFaults& faults() const;
    // At the cloud, perhaps not at all, perhaps twice; whether or not the one who asked lives then.
    void send(std::function<void()> arrives);
    void answer(std::function<void()> what);  // back here, if this still lives
    void arrive_to_provision(const NodeId& node);
    void arrive_to_release(const NodeId& node);

    Loop& loop_;
    FakeCloud& cloud_;
    Random& random_;
    ProviderEvents events_;
    const FakeFaults* faults_;
    std::function<void(const char*)> told_;
    std::shared_ptr<FakeProvider*> alive_ = std::make_shared<FakeProvider*>(this);
};

}  // namespace turnout
