// The server: where the concrete classes meet.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace turnout {

struct ServerOptions {
    std::string data;  // folder; made if absent
    std::string
        listen;  // "HOST:PORT" for HTTPS; "" = the kept port, else 127.0.0.1:8443 or a free one
    std::string
        plain_listen;  // the same for http, on loopback only; "" = the kept port, else a free one
    // Files in PEM, shown to who asks for one of the certificate's names; "" = none.
    std::string tls_certificate, tls_key;
    int slots = 0;                  // of the default pool; 0 = max(2, cores)
    std::uint64_t cache_limit = 0;  // bytes of what nodes keep; 0 = none
    std::string python;             // the pool's interpreter, "" = python3 of PATH
    std::string uv;  // "" = TURNOUT_UV, beside the executable, the project's .venv, PATH, the one
                     // used before
    std::vector<std::string>
        allow_fetch;  // "HOST[:PORT]": from where inputs may be fetched besides the public internet
    std::vector<std::string> fetch_mirrors;  // "ADDRESS=COPY": from where they are fetched instead
    std::uint64_t fetch_limit = 0;           // bytes of one of them; 0 = the usual
    bool accept_loss = false;                // starts although a part of the database is lost
    // Once it answers. `login` is what people elsewhere type; "" if nobody elsewhere can reach it.
    // `jobs`: as whom they run on this machine. `browser`: a link that logs a browser in, once;
    // "" = none.
    std::function<void(const std::string& url, const std::string& plain_url,
                       const std::string& login, const std::string& jobs,
                       const std::string& browser)>
        ready;
};

// Runs until SIGTERM, SIGINT or POST /turnout/shutdown. An error if it could not start.
Result<void> run_server(ServerOptions options);

}  // namespace turnout
