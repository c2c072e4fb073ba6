#include "api/upkeep/bases.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "api/arm/resource.h"
#include "control/jobs.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::size_t kJobsAtOnce = 500;
constexpr std::size_t kBasesAtOnce = 50;     // they are some kilobytes each
constexpr std::size_t kErasedAtOnce = 1000;  // in one commit

}  // namespace

Task<Result<BasesGone>> erase_unused_bases(Services& services, Turn& turn) {
    const std::uint64_t survey = services.control.survey_bases();
    std::unordered_set<std::string> used;  // "{wsid}/{mark}"
    Range jobs{.limit = kJobsAtOnce};
    while (true) {
        TURNOUT_CO_TRY(const auto rows, services.store.scan(Table::JobCreated, jobs));
        for (const Record& row : rows) {
            TURNOUT_CO_TRY(const std::string mark, base_mark_of(services.store, row));
            const std::string workspace = row.key.substr(0, row.key.find('/') + 1);
            used.insert(workspace + mark);
            std::string after;
            do {
                TURNOUT_CO_TRY(const auto marks,
                               base_marks_of_children(services.store, row, after));
                for (const std::string& child : marks) used.insert(workspace + child);
                if (turn.over()) {
                    TURNOUT_CO_TRY_VOID(co_await turn.pass());
                }
            } while (!after.empty());
        }
        if (rows.size() < kJobsAtOnce) break;
        jobs.from = rows.back().key + '\0';
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
    BasesGone gone;
    std::vector<std::string> unused;
    std::uint64_t bytes = 0;
    Range bases{.limit = kBasesAtOnce};
    for (bool more = true; more;) {
        TURNOUT_CO_TRY(const auto rows, services.store.scan(Table::TaskBase, bases));
        more = rows.size() == kBasesAtOnce;
        for (const Record& row : rows) {
            const std::size_t slash = row.key.find('/');
            if (used.contains(row.key.substr(0, slash + 1) +
                              std::string(mark_of_base(row.key.substr(slash + 1)))))
                continue;
            bytes += row.value.size();
            unused.push_back(row.key);
        }
        if (more) bases.from = rows.back().key + '\0';
        if (!unused.empty() && (!more || unused.size() >= kErasedAtOnce)) {
            const auto ask = [&](auto reply) {
                services.control.erase_bases(survey, std::exchange(unused, {}), std::move(reply));
            };
            TURNOUT_CO_TRY(const std::size_t count, co_await arm::asked<std::size_t>(ask));
            gone.count += count;
            gone.bytes += std::exchange(bytes, 0);
        }
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    }
    co_return gone;
}

}  // namespace turnout::api::upkeep
