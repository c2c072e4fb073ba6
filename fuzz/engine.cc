// What a container engine says: the frames of a program in a container, and the progress of a pull.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "provider/container/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    turnout::ExecFrames whole, pieces;
    const bool good = whole.give(all).has_value();
    std::string said;
    bool same = true;
    for (std::size_t at = 0; at < size && same; at += 3) {
        same = pieces.give(all.substr(at, 3)).has_value();
        said += pieces.take_output();
    }
    // In whatever pieces it comes, it is the same.
    if (good != same || (good && (said != whole.take_output() || whole.whole() != pieces.whole())))
        __builtin_trap();
    turnout::EngineProgress progress;
    (void)progress.give(all);
    (void)progress.words();
    (void)turnout::plain_log(progress.log());
    return 0;
}
