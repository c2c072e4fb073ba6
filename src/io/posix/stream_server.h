// A listening socket whose connections are plain byte streams: for what is passed on unread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/connection.h"
#include "io/posix/sockets.h"

namespace turnout::http {

class StreamListener {
public:
    virtual ~StreamListener() = default;      // stops accepting; connections go on
    virtual std::string address() const = 0;  // with the real port
};

// `serve` is called on the loop for each connection, which ends with its task. Where there are
// `most` at a time, new ones wait. The loop outlives the listener.
std::unique_ptr<StreamListener> listen_connections(
    AsioLoop& loop, Listening bound, std::size_t most,
    std::function<Task<void>(std::shared_ptr<Connection>)> serve);

// The same on an address of TCP.
Result<std::unique_ptr<StreamListener>> listen_streams(
    AsioLoop& loop, const std::string& address, std::size_t most,
    std::function<Task<void>(std::unique_ptr<Stream>)> serve);

}  // namespace turnout::http
