#include "access/guard.h"

#include <algorithm>

namespace turnout::access {

namespace {

constexpr std::size_t kLongestKey = 100;

std::string key_of_address(std::string_view address) {
    return "@" + std::string(address.substr(0, kLongestKey));
}

std::string key_of_name(std::string_view name) {
    return "=" + std::string(name.substr(0, kLongestKey));
}

}  // namespace

Span Guard::wait(std::string_view address, std::string_view name, Span now) {
    Span until{};
    if (const Guesses* const there = guesses_.find(key_of_address(address))) until = there->until;
    if (!name.empty())
        if (const Guesses* const of_name = guesses_.find(key_of_name(name)))
            until = std::max(until, of_name->until);
    return std::max(Span{}, until - now);
}

void Guard::guess(const std::string& key, Span longest, Span now) {
    Guesses* known = guesses_.find(key);
    if (!known || now - known->last > settings_.forget_after) {
        guesses_.put(key, {});
        known = guesses_.find(key);
    }
    known->last = now;
    const int beyond = ++known->count - settings_.free_guesses;
    if (beyond < 0) return;
    known->until = now + std::min(longest, settings_.first_wait * (1 << std::min(beyond, 20)));
}

void Guard::guessed(std::string_view address, std::string_view name, bool here, Span now) {
    const Span longest = here ? settings_.longest_wait_here : settings_.longest_wait;
    guess(key_of_address(address), longest, now);
    if (!name.empty()) guess(key_of_name(name), longest, now);
}

Span Guard::spend(std::string_view user, Span now) {
    const std::string key(user.substr(0, kLongestKey));
    Budget* budget = budgets_.find(key);
    if (!budget) {
        budgets_.put(key, {settings_.burst, now});
        budget = budgets_.find(key);
    }
    const double seconds = static_cast<double>((now - budget->at).count()) / 1e6;
    budget->left = std::min(settings_.burst, budget->left + seconds * settings_.requests_a_second);
    budget->at = now;
    if (budget->left >= 1) {
        budget->left -= 1;
        return {};
    }
    const double missing = (1 - budget->left) / settings_.requests_a_second;
    return std::max<Span>(1us, Span(static_cast<std::int64_t>(missing * 1e6)));
}

}  // namespace turnout::access
