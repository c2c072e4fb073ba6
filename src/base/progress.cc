#include "base/progress.h"

#include <cmath>

#include "base/text.h"

namespace turnout {
namespace {

constexpr Span kWindow = 5s;
constexpr Span kClosest = 200ms;  // of two samples, so that few are kept

}  // namespace

void Progress::note(Span now, std::uint64_t done) {
    if (!samples_.empty() && done < samples_.back().second) samples_.clear();  // it began anew
    if (samples_.size() > 1 && now - samples_[samples_.size() - 2].first < kClosest)
        samples_.pop_back();
    samples_.emplace_back(now, done);
    while (samples_.size() > 2 && now - samples_[1].first > kWindow) samples_.pop_front();
}

double Progress::bytes_per_second() const {
    if (samples_.size() < 2) return 0;
    const auto& [from, before] = samples_.front();
    const auto& [to, after] = samples_.back();
    if (to - from < kClosest) return 0;
    return static_cast<double>(after - before) * 1e6 / static_cast<double>((to - from).count());
}

std::string Progress::words(std::uint64_t total) const {
    const std::uint64_t done = samples_.empty() ? 0 : samples_.back().second;
    if (done == 0 && total == 0) return {};
    std::string text = to_size_words(done);
    if (total > 0) text += " of " + to_size_words(total);
    const double rate = bytes_per_second();
    if (rate < 1) return text;
    text += ", " + to_size_words(static_cast<std::uint64_t>(rate)) + "/s";
    if (total > done)
        text += ", " +
                to_words(std::chrono::seconds(static_cast<std::int64_t>(
                    std::ceil(static_cast<double>(total - done) / rate)))) +
                " left";
    return text;
}

}  // namespace turnout
