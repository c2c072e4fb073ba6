#include "control/turns.h"

#include <algorithm>
#include <utility>

namespace turnout::control {

namespace {
constexpr Span kLongestPause = 30s;                         // after failed commits
constexpr Span kFirstRefusal = 10ms, kLongestRefusal = 1s;  // until a turn is written again
}  // namespace

Turns::Turns(const Clock& clock, Store& store, Effects& effects, const Control::Settings& settings,
             Machine& machine)
    : clock_(clock), store_(store), effects_(effects), settings_(settings), machine_(machine) {}

// When the turn that is being gathered may be committed: reports of nodes share a commit, and a
// client waits a moment for those that wrote together with it before. 0 = at once.
Span Turns::commit_from() const {
    if (gathering.refused.empty()) return commit_not_before_;
    return gathering.refused.size() < clients_before_ ? company_until_ : Span{};
}

void Turns::commit_gathered() {
    while (!in_flight_) {
        if (const Span from = commit_from();
            (gathering.changed() || machine_.completion_wanted()) && clock_.since_boot() < from) {
            effects_.wake(from);
            if (gathering.changed() || gathering.after.empty()) return;
            release(
                std::exchange(gathering.after, {}));  // they rest on nothing that is not durable
            continue;
        }
        machine_.complete_turn();
        if (gathering.after.empty() && !gathering.changed()) return;
        auto turn = std::make_shared<Turn>(std::exchange(gathering, {}));
        if (!turn->changed()) {
            release(std::move(
                turn->after));  // everything before is durable, so these may leave at once
            continue;
        }
        in_flight_ = turn;
        commit_not_before_ =
            clock_.since_boot() + (std::exchange(reports_, 0) >= 4 ? settings_.busy_commit_pause
                                                                   : settings_.commit_pause);
        write_down(turn);
    }
}

// Weak: the store may answer after this object is gone (shutdown).
void Turns::write_down(std::shared_ptr<Turn> turn) {
    Batch batch;
    machine_.write_rows(*turn, batch);
    batch.lane = Lane::Control;
    batch.give_back = [this, alive = std::weak_ptr<int>(alive_)](Batch same, CommitDone done) {
        if (!alive.lock()) return;
        const Span pause =
            std::min<Span>(kLongestRefusal, kFirstRefusal * (1 << std::min(refusals_++, 10)));
        no_room_.emplace(NoRoom{std::move(same), std::move(done), clock_.since_boot() + pause});
        effects_.wake(no_room_->again_at);
    };
    store_.commit(std::move(batch),
                  [this, turn, alive = std::weak_ptr<int>(alive_)](Result<std::uint64_t> result) {
                      if (alive.lock()) committed(turn, std::move(result));
                  });
}

// The turn that found no room in the store's queue: nothing of it happened, and nothing was built
// on it.
void Turns::write_again() {
    if (!no_room_ || clock_.since_boot() < no_room_->again_at) return;
    NoRoom again = *std::exchange(no_room_, std::nullopt);
    store_.commit(std::move(again.batch), std::move(again.done));
}

// In order even when what leaves calls back into control.
void Turns::release(std::vector<std::function<void()>> leaving) {
    for (auto& one : leaving) outgoing_.push_back(std::move(one));
    if (releasing_) return;
    releasing_ = true;
    while (!outgoing_.empty()) {
        const std::function<void()> one = std::move(outgoing_.front());
        outgoing_.pop_front();
        one();
    }
    releasing_ = false;
}

void Turns::committed(std::shared_ptr<Turn> turn, Result<std::uint64_t> result) {
    in_flight_.reset();
    refusals_ = 0;
    if (result) {
        if (std::exchange(failed_commits_, 0) > 0) rest_until_ = Span{};
        if (!turn->refused.empty()) clients_before_ = turn->refused.size();
        company_until_ = clock_.since_boot() + settings_.client_pause;
        machine_.turn_is_durable(*turn);
        release(std::move(turn->after));
        machine_.turn_is_released(*turn);
        commit_gathered();
        return;
    }
    // What was not durable never happened: refuse all who wait on it, and read what is true.
    std::vector<std::function<void(Error)>> refused = std::move(turn->refused);
    for (auto& one : gathering.refused) refused.push_back(std::move(one));
    // If that fails too, `tick` goes on with it.
    [[maybe_unused]] const Result<void> recovered = machine_.recover();
    hold_back();
    for (auto& one : refused) one(result.error());
    end();
}

// Called when recovery is over, which may take long itself: the processor is to have a rest.
void Turns::hold_back() {
    const Span pause = std::min<Span>(kLongestPause, 1s * (1 << std::min(failed_commits_++, 5)));
    rest_until_ = commit_not_before_ = clock_.since_boot() + pause;
}

bool Turns::tick() {
    const Span now = clock_.since_boot();
    if (broken) {
        if (now < rest_until_) return false;
        if (!machine_.recover()) {
            hold_back();
            return false;
        }
    }
    write_again();
    if (rest_until_ <= now) rest_until_ = Span{};
    return true;
}

std::optional<Span> Turns::next_tick(std::optional<Span> completion_at) const {
    if (broken) return rest_until_;
    std::optional<Span> next;
    const auto consider = [&](Span at) {
        if (!next || at < *next) next = at;
    };
    if (no_room_) consider(no_room_->again_at);
    if (!in_flight_ &&
        (gathering.changed() || (machine_.completion_wanted() && rest_until_ == Span{})))
        consider(commit_from());
    // While a commit is under way nothing is planned; its end does that. Nor before the next one
    // may begin.
    if (completion_at && !in_flight_)
        consider(std::max({*completion_at, rest_until_, commit_from()}));
    if (rest_until_ != Span{}) consider(rest_until_);
    return next;
}

}  // namespace turnout::control
