// Who guesses, and who asks too fast. Pure: time is an argument. It keeps a bounded number: those
// not heard of for the longest time are forgotten.
//
// Guessing: tokens that this server never gave, by address and by the name that they were given
// with. After some of them whoever it was waits, longer each time; that is for what is no token
// alone, so that nobody shuts out those who share an address.
//
// Budgets: requests a second, with bursts, of each user, job or address without a token. Who is
// over theirs waits; nobody else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/lru.h"
#include "base/time.h"

namespace turnout::access {

class Guard {
public:
    struct Settings {
        int free_guesses = 10;  // before the first wait
        Span first_wait = 1s;   // twice as long after each guess more
        Span longest_wait = 15min;
        Span longest_wait_here = 30s;  // on this machine, whose programs share an address
        Span forget_after = 1h;        // without a guess
        double requests_a_second = 1'000;
        double burst = 10'000;
        std::size_t most = 10'000;  // of guesses, and again of budgets
    };
    explicit Guard(const Settings& settings)
        : settings_(settings), guesses_(settings.most), budgets_(settings.most) {}

    // ---- guessing. `here`: the address is this machine's.
    // How long whoever is there has to wait; nothing: not at all.
    Span wait(std::string_view address, std::string_view name, Span now);
    void guessed(std::string_view address, std::string_view name, bool here, Span now);

    // ---- budgets
    // One request more of that user. How long it is too early; nothing: it goes on.
    Span spend(std::string_view user, Span now);
    const Settings& settings() const { return settings_; }

private:
    struct Guesses {
        int count = 0;
        Span until{};  // it has to wait
        Span last{};
    };
    struct Budget {
        double left = 0;
        Span at{};
    };
    void guess(const std::string& key, Span longest, Span now);

    const Settings settings_;
    Lru<Guesses> guesses_;  // by "@address" and by name
    Lru<Budget> budgets_;
};

}  // namespace turnout::access
