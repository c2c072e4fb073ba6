#include "agent/readiness.h"

namespace turnout::agent {

std::uint64_t Readiness::ask() {
    asked_ = true;
    return ++number_;
}

bool Readiness::answered(std::uint64_t number, std::string_view failure, Span now) {
    if (!asked_ || number != number_) return false;
    asked_ = false;
    next_ = now + probe_.interval;
    if (failure.empty()) {
        failures_ = 0;
        why_.clear();
        const bool news = !known_ || !ready_;
        known_ = ready_ = true;
        return news;
    }
    if (failures_ < probe_.failures) ++failures_;
    const bool enough = failures_ == probe_.failures;
    if (ready_ || !known_) {  // a few failures change nothing
        if (!enough) return false;
        known_ = true;
        ready_ = false;
        why_ = failure;
        return true;
    }
    if (why_ == failure) return false;
    why_ = failure;
    return true;
}

}  // namespace turnout::agent
