#include "catalog/rows.h"

#include <algorithm>
#include <iterator>

namespace turnout::catalog {
namespace {
constexpr std::size_t kScanPage = 1000;
constexpr std::size_t kMaxListed = 200'000;
}  // namespace

Result<std::vector<Record>> scan_all(Store& store, Table table, const std::string& prefix) {
    std::vector<Record> all;
    Range range = with_prefix(prefix, kScanPage);
    while (all.size() < kMaxListed) {
        auto page = TURNOUT_TRY(store.scan(table, range));
        const std::size_t count = page.size();
        std::ranges::move(page, std::back_inserter(all));
        if (count < kScanPage) break;
        range.from = all.back().key + '\0';
    }
    return all;
}

}  // namespace turnout::catalog
