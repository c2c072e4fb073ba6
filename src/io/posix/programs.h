// Other programs, run for their answer or talked with, without blocking the loop. Each gets its own
// session: what it started ends with it where it has to be ended. Who uses this ignores SIGPIPE.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/task.h"
#include "base/time.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/processes.h"

namespace turnout {

struct ProgramRan {
    int code = -1;  // exit code, or 128 + the signal that ended it
    std::string out, err;
};

// Runs it to its end, with that on its standard input; `input`, `output` and `error` of the request
// say nothing. Unavailable with the reason "Timeout": it was killed after so long, or said too
// much.
Task<Result<ProgramRan>> run_program(AsioLoop& loop, SpawnRequest request, std::string input,
                                     Span timeout);

// Its standard input and output as a stream. Where it ends by itself with another exit code than 0,
// a read says so in its own last words (Unavailable, reason "Ended"). Closing the stream ends it:
// its input is over, and what goes on a few seconds later is killed.
Task<Result<std::unique_ptr<http::Stream>>> begin_program(AsioLoop& loop, SpawnRequest request);

}  // namespace turnout
