// The HTTP server over TLS. See io/posix/http_server.h.
#pragma once

#include <memory>
#include <string>

#include "io/http.h"
#include "io/posix/asio_loop.h"

namespace turnout::http {

// The files are read now. TLS 1.2 and 1.3.
Result<std::unique_ptr<Listener>> listen_tls(AsioLoop& loop, std::string address, TlsFiles files,
                                             Handler handler, Limits limits = {});

}  // namespace turnout::http
