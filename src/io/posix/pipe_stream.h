// Two pipes, or whatever else a program was given as its standard input and output, as one stream.
#pragma once

#include <memory>

#include "base/result.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/fd.h"

namespace turnout::http {

// Both are made non-blocking; an error if one is not open. Who uses it ignores SIGPIPE. The loop
// outlives the stream.
Result<std::unique_ptr<Stream>> make_pipe_stream(AsioLoop& loop, Fd in, Fd out);

}  // namespace turnout::http
