#include "submission/parallel_program.h"

namespace turnout::submission {
namespace {

// The file as it was built.
extern "C" {
extern const char turnout_parallel_begin[];
extern const char turnout_parallel_end[];
}
asm(R"(
    .pushsection .rodata
    .global turnout_parallel_begin
    .global turnout_parallel_end
turnout_parallel_begin:
    .incbin ")" TURNOUT_PARALLEL_FILE R"("
turnout_parallel_end:
    .byte 0
    .popsection
)");

}  // namespace

std::string_view parallel_program() {
    return {turnout_parallel_begin,
            static_cast<std::size_t>(turnout_parallel_end - turnout_parallel_begin)};
}

}  // namespace turnout::submission
