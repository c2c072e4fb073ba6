// The server's own routes, for who runs it: POST /turnout/drain, resume and shutdown, and
// GET and PUT /turnout/slots.
#pragma once

#include <functional>
#include <utility>

#include "api/api.h"
#include "app/pools.h"
#include "base/result.h"
#include "base/task.h"
#include "control/control.h"
#include "io/posix/asio_loop.h"

namespace turnout {

// On the loop. All that it is given outlives it, and it outlives every call.
class OperatorRoutes {
public:
    // `announce`: says anew how many slots there are, once others were set.
    OperatorRoutes(AsioLoop& loop, Control& control, const ServerPools& pools,
                   std::function<Result<void>()> announce)
        : loop_(loop), control_(control), pools_(pools), announce_(std::move(announce)) {}

    void add_to(api::Router& router);

private:
    Task<Result<http::Response>> shutdown(api::Call& call);
    Task<Result<http::Response>> drain(api::Call& call);
    Task<Result<http::Response>> resume(api::Call& call);
    Task<Result<http::Response>> set_slots(api::Call& call);
    Task<Result<http::Response>> show_slots(api::Call& call);

    AsioLoop& loop_;
    Control& control_;
    const ServerPools& pools_;
    const std::function<Result<void>()> announce_;
};

}  // namespace turnout
