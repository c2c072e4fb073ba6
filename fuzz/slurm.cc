// What Slurm's programs say.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "provider/slurm/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    if (const auto pilots = turnout::parse_queue(all, "abc"))
        for (const turnout::Pilot& pilot : *pilots) {
            // It goes to scancel as a word of its own, and to people.
            if (pilot.job.empty() || !turnout::is_digit(pilot.job.front())) __builtin_trap();
            if (pilot.left && pilot.left->count() < 0) __builtin_trap();
            (void)turnout::waits_in_words(pilot);
            (void)turnout::ended_in_words(pilot);
            (void)turnout::waits_for_ever(pilot.reason);
        }
    if (const auto job = turnout::parse_submitted(all); job && !turnout::is_digit(job->front()))
        __builtin_trap();
    if (!turnout::is_utf8(turnout::refused_by_slurm(all).message)) __builtin_trap();
    return 0;
}
