// Who of a deployment's requests is at which replica, and who waits for one that has room. Requests
// wait in the order in which they came: one is woken by a place that is given back, or by a look at
// what has become ready, never by itself.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/stop.h"
#include "base/task.h"
#include "control/control.h"
#include "io/loop.h"
#include "model/endpoint.h"

namespace turnout::api {

// What a deployment has answered since the server started.
struct RequestCounts {
    std::uint64_t requests = 0, errors = 0;  // errors: any status but 2xx
    std::map<int, std::uint64_t> by_status;
    Latencies latencies;
    std::deque<std::string> last;  // lines of its access log, oldest first
};

class Places;

// A place at a replica that is ready; given back when it is destroyed.
class Place {
public:
    Place() = default;
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) noexcept;
    ~Place() { leave(); }
    const std::string& job() const { return job_; }
    const std::string& node() const { return node_; }
    int attempt() const { return attempt_; }

private:
    friend class Places;
    Place(std::shared_ptr<Places> of, const Control::ReadyReplica& replica);
    void leave();
    std::shared_ptr<Places> of_;  // shared: a request may end after its deployment is gone
    std::string job_, node_;
    int attempt_ = 0;
};

// Of one deployment, from its first request on.
class Places : public std::enable_shared_from_this<Places> {
public:
    using Deployment = std::shared_ptr<const OnlineDeployment>;  // as it was when a request came

    Places(Loop& loop, const Clock& clock, const Control& control)
        : loop_(loop), clock_(clock), control_(control) {}

    // At the replica with the fewest requests. Waits as long as the deployment lets requests wait.
    // ResourceExhausted: too many wait, or for too long; Unavailable: no replica is ready;
    // Canceled: whoever asked has left. `avoid`: jobs of replicas that were tried.
    Task<Result<Place>> take(Deployment deployment, std::set<std::string> avoid, Stop* stop);

    int in_flight() const;
    std::size_t waiting() const { return waiting_.size(); }

    RequestCounts counts;

private:
    friend class Place;
    struct Waiting {
        Deployment deployment;
        std::set<std::string> avoid;
        Later<Result<Place>>::Settle settle;
    };
    using Ready = std::vector<Control::ReadyReplica>;

    Ready ready(const OnlineDeployment& deployment) const;
    std::optional<Place> room(const Ready& ready, const OnlineDeployment& deployment,
                              const std::set<std::string>& avoid);
    void left(const std::string& job);
    void serve();       // those who came first
    void look_again();  // while anybody waits
    void give_up(std::uint64_t id, bool left);
    Failure no_room(const Waiting& who, bool full) const;

    Loop& loop_;
    const Clock& clock_;
    const Control& control_;
    std::map<std::string, int> at_;             // requests at a replica, by its job
    std::map<std::uint64_t, Waiting> waiting_;  // by when they came
    std::uint64_t last_ = 0;
    bool looking_ = false, serving_ = false;  // that is to come
};

}  // namespace turnout::api
