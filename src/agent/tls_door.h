// The way of a task to the server as Azure's clients go it: a loopback port whose bytes go, unread,
// over the node's connection to the server, where TLS ends. The node needs no TLS of its own, and
// no other way to the server than the one it has.
#pragma once

#include <memory>
#include <string>

#include "agent/server.h"
#include "base/secret.h"
#include "io/posix/asio_loop.h"
#include "io/posix/stream_server.h"

namespace turnout::agent {

class TlsDoor {
public:
    // `folder` is the node's: it keeps the port there, and the authorities whom tasks may trust.
    TlsDoor(AsioLoop& loop, Server& server, std::string folder, Secret token);

    // The same port in each life: tasks that outlive the agent go on talking to it.
    Result<void> listen();
    // Once in a life of the agent, when there is a connection: `system`, the machine's own bundle
    // of authorities, is what tasks trust besides.
    Task<void> learn_authority(std::string system);

    // "https://127.0.0.1:port"; "" before the authority is known.
    std::string origin() const;
    // A PEM file: the server's authority and the machine's.
    std::string bundle() const { return folder_ + "/ca-bundle.pem"; }

private:
    Task<void> serve(std::unique_ptr<http::Stream> stream);

    AsioLoop& loop_;
    Server& server_;
    std::string folder_;
    Secret token_;
    std::unique_ptr<http::StreamListener> listener_;
    bool learnt_ = false;
    bool known_ = false;
};

// The bundle of authorities that programs of this machine use: what REQUESTS_CA_BUNDLE or
// SSL_CERT_FILE names in this environment, or a system's usual one. "" if there is none.
std::string system_authorities(const std::vector<std::string>& environment);

}  // namespace turnout::agent
