// One request of a client, carried to a replica of a service, and its answer back.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/gateway/channels.h"
#include "api/gateway/headers.h"
#include "base/result.h"
#include "base/task.h"
#include "base/time.h"
#include "io/http.h"
#include "io/loop.h"

namespace turnout::api {

struct Forward {
    ReplicaAddress to;
    std::string target;  // path and query as the replica sees it, not decoded
    OfClient client;
    http::Headers add;    // set on the request in place of what the client said
    Span timeout = 100s;  // until the answer begins, and between two pieces of it
    std::size_t most_body = std::size_t{4} << 30;  // of the request; more is ResourceExhausted
    bool once = false;                             // it is never sent again (http::ClientRequest)
    Stop* stop = nullptr;  // the client has left: the answer is not waited for (Canceled)
};

class Gateway {
public:
    // `client` reaches replicas by authority_of(): made by app/, over Channels::open.
    explicit Gateway(std::unique_ptr<http::Client> client) : client_(std::move(client)) {}

    // The answer, whatever its status. Unavailable: the replica cannot be reached, and did not hear
    // of it, or it was to be asked again without harm; Ambiguous: it may have heard; both with
    // reason "Timeout" where it took too long. `request`
    // and `body` live until it is over; what is still to come of the answer does not need them.
    Task<Result<http::Response>> forward(Forward forward, const http::Request& request,
                                         http::BodyReader& body);

    // What the server itself wants to know of a replica: a GET that is answered with JSON and 200,
    // whole within some seconds.
    Task<Result<Json>> get(const Clock& clock, ReplicaAddress from, std::string target,
                           http::Headers headers);

private:
    std::unique_ptr<http::Client> client_;
};

}  // namespace turnout::api
