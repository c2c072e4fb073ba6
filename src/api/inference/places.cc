#include "api/inference/places.h"

#include <algorithm>
#include <utility>

namespace turnout::api {
namespace {

constexpr Span kLookAgain = 20ms;
constexpr std::size_t kMostWaiting = 1000;  // of one deployment

Failure client_left() {
    return fail(Code::Canceled, "ClientLeft", "whoever asked has left");
}

}  // namespace

Place::Place(std::shared_ptr<Places> of, const Control::ReadyReplica& replica)
    : of_(std::move(of)), job_(replica.job), node_(replica.node), attempt_(replica.attempt) {
    ++of_->at_[job_];
}

Place& Place::operator=(Place&& other) noexcept {
    if (this == &other) return *this;
    leave();
    of_ = std::move(other.of_);
    job_ = std::move(other.job_);
    node_ = std::move(other.node_);
    attempt_ = other.attempt_;
    return *this;
}

void Place::leave() {
    if (const auto of = std::exchange(of_, nullptr)) of->left(job_);
}

int Places::in_flight() const {
    int all = 0;
    for (const auto& [job, count] : at_) all += count;
    return all;
}

Places::Ready Places::ready(const OnlineDeployment& deployment) const {
    return control_.ready_replicas(deployment.workspace,
                                   service_of(deployment.endpoint, deployment.name));
}

std::optional<Place> Places::room(const Ready& ready, const OnlineDeployment& deployment,
                                  const std::set<std::string>& avoid) {
    const Control::ReadyReplica* best = nullptr;
    int least = deployment.requests.concurrency;
    for (const Control::ReadyReplica& replica : ready) {
        const std::string job(replica.job);
        if (avoid.contains(job)) continue;
        const auto at = at_.find(job);
        const int busy = at == at_.end() ? 0 : at->second;
        if (busy >= least) continue;
        best = &replica;
        least = busy;
    }
    if (!best) return std::nullopt;
    return Place(shared_from_this(), *best);
}

Failure Places::no_room(const Waiting& who, bool full) const {
    const OnlineDeployment& deployment = *who.deployment;
    const auto ready = std::ranges::count_if(this->ready(deployment), [&](const auto& replica) {
        return !who.avoid.contains(std::string(replica.job));
    });
    if (ready > 0 || full)
        return fail(Code::ResourceExhausted, "TooManyRequests",
                    "deployment '" + deployment.name + "' has " + std::to_string(ready) +
                        " ready instances with " + std::to_string(deployment.requests.concurrency) +
                        " requests each, and no room for more");
    const auto view =
        control_.service(deployment.workspace, service_of(deployment.endpoint, deployment.name));
    return fail(Code::Unavailable, "NoReadyInstance",
                "deployment '" + deployment.name + "' has no instance that is ready" +
                    (view && !view->why.empty() ? ": " + view->why : ""));
}

Task<Result<Place>> Places::take(Deployment deployment, std::set<std::string> avoid, Stop* stop) {
    const auto self = shared_from_this();
    const RequestSettings& limits = deployment->requests;
    const Ready now = ready(*deployment);
    if (waiting_.empty())
        if (auto place = room(now, *deployment, avoid)) co_return std::move(*place);
    const auto replicas = std::max<std::size_t>(now.size(), std::max(deployment->instances, 0));
    const std::size_t most =
        std::min(kMostWaiting, replicas * 2 * static_cast<std::size_t>(limits.concurrency));
    const Later<Result<Place>> settled;
    Waiting who{deployment, std::move(avoid), settled.settle()};
    if (waiting_.size() >= most) co_return no_room(who, true);
    if (limits.queue <= Span{}) co_return no_room(who, false);
    if (stop && stop->stopped()) co_return client_left();

    const std::uint64_t id = ++last_;
    waiting_.emplace(id, std::move(who));
    const std::weak_ptr<Places> weak = self;
    const Loop::TimerId timer = loop_.after(limits.queue, [weak, id] {
        if (const auto places = weak.lock()) places->give_up(id, false);
    });
    if (stop)
        stop->on_stop([weak, id] {
            if (const auto places = weak.lock()) places->give_up(id, true);
        });
    look_again();
    Result<Place> place = co_await settled;
    loop_.cancel(timer);
    if (stop) stop->on_stop({});
    co_return place;
}

void Places::give_up(std::uint64_t id, bool left) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return;
    const Waiting who = std::move(waiting_.extract(found).mapped());
    who.settle(left ? client_left() : no_room(who, false));
}

void Places::left(const std::string& job) {
    if (const auto at = at_.find(job); at != at_.end() && --at->second <= 0) at_.erase(at);
    if (waiting_.empty() || std::exchange(serving_, true)) return;
    // Not from within whoever gives it back.
    loop_.post([weak = weak_from_this()] {
        if (const auto places = weak.lock()) places->serve();
    });
}

void Places::serve() {
    serving_ = false;
    std::vector<std::pair<Waiting, Place>> served;
    for (auto next = waiting_.begin(); next != waiting_.end();) {
        const Waiting& who = next->second;
        auto place = room(ready(*who.deployment), *who.deployment, who.avoid);
        if (place) {
            const auto over = next++;
            served.emplace_back(std::move(waiting_.extract(over).mapped()), std::move(*place));
        } else if (who.avoid.empty()) {
            break;  // nor is there room for those behind
        } else {
            ++next;
        }
    }
    for (auto& [who, place] : served) who.settle(std::move(place));
}

void Places::look_again() {
    if (waiting_.empty() || std::exchange(looking_, true)) return;
    loop_.after(kLookAgain, [weak = weak_from_this()] {
        const auto places = weak.lock();
        if (!places) return;
        places->looking_ = false;
        places->serve();
        places->look_again();
    });
}

}  // namespace turnout::api
