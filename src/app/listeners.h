// Where a server listens, and as what it takes who comes there:
//
//   tls         clients, from anywhere; its port is chosen once and kept
//   plain       clients of this machine, without TLS; the same
//
//   programs    the same two once more, for programs of users: another origin
//               (api/instances/front.h)
//
//   agent.sock  nodes of this machine
//   hosts.sock  nodes of other machines, brought by their relays
//
// The ways of nodes that have users of their own are in app/user_ways.h.
#pragma once

#include <memory>
#include <string>

#include "api/api.h"
#include "app/instance.h"
#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/tls/tls_server.h"

namespace turnout {

// As many descriptors as this process may have, from now on; how many connections a listener may
// have of them. Whoever opens connections and says nothing must not keep the server from its own
// files.
http::Limits connection_limits();

// On the loop. All that it is given outlives it.
class Listeners {
public:
    Listeners(AsioLoop& loop, const Instance& instance, const http::Limits& limits,
              const api::Router& router, api::Services& services,
              std::shared_ptr<const http::ShownCertificates> certificates,
              http::Handler of_programs)
        : loop_(loop),
          instance_(instance),
          limits_(limits),
          router_(router),
          services_(services),
          certificates_(std::move(certificates)),
          of_programs_(std::move(of_programs)) {}

    // `listen`, `plain_listen`: see ServerOptions. `of_nodes` answers what comes by agent.sock.
    // FailedPrecondition, reason "PortTaken": another program has the port that is kept.
    // InvalidArgument: without TLS only a loopback address is served.
    Result<void> open(const std::string& listen, const std::string& plain_listen,
                      http::Handler of_nodes);
    // The next start listens on the same ports.
    Result<void> keep_ports() const;

    // Once it is open.
    http::Listener& tls() const { return *tls_; }
    http::Listener& plain() const { return *plain_; }
    http::Listener& programs_tls() const { return *programs_tls_; }
    http::Listener& programs_plain() const { return *programs_plain_; }

private:
    Result<void> open_tls(const std::string& listen, const Json& kept);
    Result<void> open_plain(const std::string& plain_listen, const Json& kept);
    Result<void> open_programs(const Json& kept);
    Result<std::unique_ptr<http::Listener>> listen_tls_on(const std::string& address);
    http::Handler of_clients();
    Task<http::Response> handle_relayed(const http::Request& request, http::BodyReader& body);

    AsioLoop& loop_;
    const Instance& instance_;
    const http::Limits limits_;
    const api::Router& router_;
    api::Services& services_;
    const std::shared_ptr<const http::ShownCertificates> certificates_;
    const http::Handler of_programs_;
    std::unique_ptr<http::Listener> unix_, relayed_, plain_, tls_, programs_tls_, programs_plain_;
};

}  // namespace turnout
