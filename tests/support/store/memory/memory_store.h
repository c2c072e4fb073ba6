// A store in memory, for tests and for the simulator. It has no threads and no clock: what is
// queued becomes durable exactly when it is told so, which makes "the durable prefix" of a run an
// argument of that run.
//
//   commit() ──► queued ──persist(n)──► durable, readable ──deliver()──► `done` called
//                   │                        │
//                   └── crash() loses these  └── crash() keeps these, called or not
//
// Reads see durable batches only, like those of any other store.
#pragma once

#include <array>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "io/loop.h"
#include "store/store.h"

namespace turnout {

class MemoryStore : public Store {
public:
    static constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

    // What survives: hand it to the next store to go on after a crash.
    struct State {
        std::array<std::map<std::string, Record, std::less<>>,
                   static_cast<std::size_t>(kLastTable) + 1>
            tables;
        std::uint64_t revision = 0;
    };

    // By hand: nothing is durable before flush() or persist().
    MemoryStore() = default;
    explicit MemoryStore(State durable) : state_(std::move(durable)) {}
    // Durable at once: each batch, and its `done`, in a turn of `loop` of its own. The loop runs no
    // posted work after this store was destroyed, or the work finds nothing to do.
    explicit MemoryStore(Loop& loop) : loop_(&loop) {}
    MemoryStore(Loop& loop, State durable) : state_(std::move(durable)), loop_(&loop) {}

    Result<std::optional<Record>> get(Table table, std::string_view key) override;
    Result<std::vector<Record>> scan(Table table, const Range& range) override;
    void commit(Batch batch, Done done) override;
    using Store::commit;

    // The next n queued batches (of those queued now) become durable as one group; then their
    // `done`s are called in order. Returns how many there were.
    std::size_t flush(std::size_t n = kAll);
    // The two halves of flush, for a crash in between: durable, but nobody was told.
    std::size_t persist(std::size_t n = kAll);
    void deliver();

    // Power loss: queued batches are gone, no `done` is ever called again, not even for batches
    // that were persisted but not delivered. Gives the durable state; the store itself is left
    // empty.
    State crash();

    // The next batch that would become durable fails with this instead, and changes nothing. Said
    // several times, that many batches fail.
    void fail_next(Error error) { failures_.push_back(std::move(error)); }
    // The same for the next one that writes a row of that table.
    void fail_next(Table table, Error error) { failures_of_.emplace(table, std::move(error)); }

    // The next batch that is committed finds no room: it is given back in its turn.
    void refuse_next() { ++refusals_; }

    std::size_t queued() const { return queue_.size(); }
    const State& durable() const { return state_; }
    // For a world in which the last batch turns out not to have been durable.
    void replace_durable(State state) { state_ = std::move(state); }

private:
    struct Waiting {
        Batch batch;
        Done done;
        bool refused = false;
    };
    Result<std::uint64_t> apply(Batch batch);

    State state_;
    Loop* loop_ = nullptr;
    std::deque<Waiting> queue_;
    std::deque<std::function<void()>> settled_;
    std::size_t refusals_ = 0;
    std::deque<Error> failures_;
    std::map<Table, Error> failures_of_;
    // Posted work holds a weak copy: it must not touch a store that is gone.
    std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace turnout
