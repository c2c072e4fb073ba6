// The HTTP/1.1 server. One coroutine per connection, all on the loop; see http.h for the contract.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/connection.h"

namespace turnout::http {

// `address` is "127.0.0.1:8443", "[::1]:0", "localhost:0"; port 0 picks a free one, which
// Listener::address() tells. The loop outlives the listener.
Result<std::unique_ptr<Listener>> listen_plain(AsioLoop& loop, std::string address, Handler handler,
                                               Limits limits = {});

// A socket of mode 0600 at `path`. One that no server answers on is replaced; one that is in use is
// refused. Removed when the listener is destroyed.
Result<std::unique_ptr<Listener>> listen_unix(AsioLoop& loop, std::string path, Handler handler,
                                              Limits limits = {});

// What lies between the socket and HTTP: how io/tls adds itself.
using Wrap = std::function<std::unique_ptr<Connection>(AsioLoop&, Fd)>;
Result<std::unique_ptr<Listener>> listen_wrapped(AsioLoop& loop, std::string address, Wrap wrap,
                                                 Carrier carrier, Handler handler, Limits limits);

}  // namespace turnout::http
