// Who did what to what from where, with which answer: rows of Table::Audit, each chained to the one
// before (model/audit_chain.h). Nothing is decided by them. Who writes is answered when its record
// is durable; where the same is done again and again, one record stands for many.
//
// A row of Table::Meta, "audit", has both ends of the chain and is sealed with a key that is not in
// the database: whoever has only the database cannot cut it or write it anew unnoticed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "base/time.h"
#include "io/loop.h"
#include "model/audit_chain.h"
#include "store/store.h"
#include "store/turns.h"

namespace turnout::api {

class Turn;

class Audit {
public:
    // All outlive it. `key` seals the ends.
    Audit(Store& store, const Clock& clock, Loop& loop, const Secret& key);
    ~Audit();
    Audit(const Audit&) = delete;
    Audit& operator=(const Audit&) = delete;

    // Reads where the chain ends. Before all else; errors are the store's.
    Result<void> open();

    // Durable when this ends. Unavailable: it is not, and will be as soon as the store takes it.
    // ResourceExhausted: too many are waiting for that, and it never will.
    Task<Result<void>> add(Act act);
    // The same for what is about to be committed, so that both share that commit and its answer
    // waits for the disk once. What then does not happen after all has a record of its own.
    Later<Result<void>> add_with_change(Act act);

    // Is this the first of its `key` since `window` ago, which is to be recorded? Otherwise it is
    // only counted: when the window is over one record more, made of `again`, tells how many came.
    bool first_of(const std::string& key, Span window);
    void is_first(const std::string& key, Act again);  // what was recorded for it

    struct Verdict {
        std::uint64_t first = 0, last = 0;  // numbers; last < first: there is none
        std::string fault;                  // the first one that was found; "" = none
    };
    Task<Result<Verdict>> check(Turn& turn);

    // Removes what is older; the newest stays. With `only_count` it only says what would go.
    struct Removed {
        std::size_t count = 0;
        std::uint64_t bytes = 0;
    };
    Task<Result<Removed>> cut(Turn& turn, Instant before, bool only_count);

private:
    struct Waiting {
        Act act;
        std::optional<Later<Result<void>>::Settle> settle;
        bool with_change = false;
    };
    struct Counted {
        Span until{};  // since boot
        std::int64_t more = 0;
        Act act;
    };
    struct Ends {
        AuditMark before;  // of the first row that is there
        AuditMark last;
    };
    std::string fault_at_the_end(const AuditMark& end, const Ends& ends, bool stored) const;
    Task<void> write_all();
    void begin_writing();
    void tell_counts();
    void watch_counts();
    std::string text_of(const Ends& ends) const;
    // Nothing if there is no such row; `sealed` says whether it is as this server wrote it.
    Result<std::optional<Ends>> stored_ends(bool& sealed) const;

    Store& store_;
    const Clock& clock_;
    Loop& loop_;
    const Secret& key_;
    Ends ends_;  // durable
    std::deque<Waiting> waiting_;
    std::unordered_map<std::string, Counted> counted_;
    Turns turns_;  // whoever writes rows
    bool writing_ = false, watching_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace turnout::api
