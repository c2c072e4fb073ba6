#include "provider/fake/fake_provider.h"

#include <cmath>
#include <utility>

namespace turnout {

std::vector<FoundNode> FakeCloud::list() {
    std::vector<FoundNode> found;
    for (const auto& [id, number] : machines_) found.push_back({FoundNode::Is::Alive, id, {}});
    return found;
}

void FakeCloud::silence(const NodeId& node, Span how_long) {
    silent_.insert(node);
    loop_.after(how_long, [this, node] { silent_.erase(node); });
}

std::vector<DrillKind> FakeProvider::kinds() const {
    return {{DrillKind::Leaves::Gone, "kill-node", "takes the node's machine away at one moment"},
            {DrillKind::Leaves::Silent, "freeze-node",
             "lets nobody reach the node's machine for a time"}};
}

void FakeProvider::begin(const NodeId& node, std::string_view name, Span how_long, Reply reply) {
    Result<Json> done = Json::object();
    if (name != "kill-node" && name != "freeze-node")
        done = Failure(not_offered(name, kinds()));
    else if (!cloud_.has(node))
        done = not_found("there is no machine of node " + node, "node");
    else if (name == "kill-node")
        cloud_.end(node), done->set("machines", 1);
    else
        cloud_.silence(node, how_long);
    loop_.after(way(), [reply = std::move(reply), done, alive = std::weak_ptr(alive_)] {
        if (alive.lock()) reply(done);
    });
}

const FakeFaults& FakeProvider::faults() const {
    static const FakeFaults none;
    return faults_ ? *faults_ : none;
}

bool FakeProvider::chance(double probability) {
    return probability > 0 && static_cast<double>(random_.next() >> 11) * 0x1.0p-53 < probability;
}

// Short ways are as likely as long ones.
Span FakeProvider::way() {
    const double from = std::log(static_cast<double>(faults().fastest.count())),
                 to = std::log(static_cast<double>(faults().slowest.count()));
    const double at = static_cast<double>(random_.next() >> 11) * 0x1.0p-53;
    return Span(static_cast<std::int64_t>(std::exp(from + (to - from) * at)));
}

void FakeProvider::send(std::function<void()> arrives) {
    int copies = 1;
    if (chance(faults().lost_request)) {
        told_("provider request lost");
        copies = 0;
    } else if (chance(faults().twice)) {
        told_("provider request doubled");
        copies = 2;
    }
    for (int i = 0; i < copies; ++i) cloud_.loop().after(way(), arrives);
}

void FakeProvider::answer(std::function<void()> what) {
    if (chance(faults().lost_answer)) return told_("provider answer lost");
    loop_.after(way(), [what = std::move(what), alive = std::weak_ptr(alive_)] {
        if (alive.lock()) what();
    });
}

Capabilities FakeProvider::capabilities() const {
    Capabilities has;
    has.slots = 4;
    has.handles = faults().handles;
    return has;
}

void FakeProvider::provision(const NodeRequest& node) {
    // The cloud does what it was asked though the server died meanwhile; nobody hears of it then.
    send([&cloud = cloud_, id = node.id, alive = std::weak_ptr(alive_)] {
        if (const auto here = alive.lock())
            (*here)->arrive_to_provision(id);
        else if (cloud.reachable(id))
            cloud.ensure(id);
    });
}

void FakeProvider::arrive_to_provision(const NodeId& id) {
    const auto refuse = [&](Code code, const char* reason, const char* why) {
        answer([this, id, error = Error{code, reason, why, ""}] { events_.failed(id, error); });
    };
    if (!cloud_.reachable(id) || chance(faults().unavailable)) {
        told_("provisioning failed");
        return refuse(Code::Unavailable, "NoHost", "the machine does not answer");
    }
    if (chance(faults().exhausted)) {
        told_("provider has no more for now");
        return refuse(Code::ResourceExhausted, "NoRoom", "the quota is used up");
    }
    if (chance(faults().ambiguous)) {
        const bool done = chance(0.5);
        told_(done ? "provider cannot tell, and did it" : "provider cannot tell, and did nothing");
        if (done) cloud_.ensure(id);
        return refuse(Code::Ambiguous, "NoReply", "the connection was cut");
    }
    cloud_.ensure(id);
    if (faults().handles && events_.handle)
        answer([this, id] { events_.handle(id, Json("machine of " + id)); });
}

void FakeProvider::release(const NodeId& id, const Json&) {
    send([&cloud = cloud_, id, alive = std::weak_ptr(alive_)] {
        if (const auto here = alive.lock())
            (*here)->arrive_to_release(id);
        else if (cloud.reachable(id))
            cloud.end(id);
    });
}

// Tried again as long as the one who asked lives.
void FakeProvider::arrive_to_release(const NodeId& id) {
    if (!cloud_.reachable(id)) {
        cloud_.loop().after(10s, [id, alive = std::weak_ptr(alive_)] {
            if (const auto here = alive.lock()) (*here)->arrive_to_release(id);
        });
        return;
    }
    cloud_.end(id);
    answer([this, id] { events_.gone(id); });
}

void FakeProvider::list(Answer answer_to) {
    told_("provider was asked what is there");
    // One answer in any case: what is lost on the way there or back is an error after a while.
    const bool lost = chance(faults().lost_request) || chance(faults().lost_answer);
    cloud_.loop().after(way(), [lost, answer_to = std::move(answer_to),
                                alive = std::weak_ptr(alive_)] {
        const auto here = alive.lock();
        if (!here) return;
        FakeProvider& self = **here;
        Result<std::vector<FoundNode>> found = self.cloud_.list();
        std::erase_if(*found, [&](const FoundNode&) { return self.chance(self.faults().forgets); });
        if (self.faults().handles)
            for (FoundNode& one : *found) one.handle = Json("machine of " + one.id);
        if (lost) {
            self.told_("provider did not say what is there");
            found = fail(Code::Unavailable, "NoReply", "the provider does not answer");
        }
        self.loop_.after(self.way(), [found = std::move(found), answer_to, alive] {
            if (alive.lock()) answer_to(found);
        });
    });
}

}  // namespace turnout
