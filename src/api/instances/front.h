// The door to compute instances: what a person's browser asks of their notebook server, checked and
// carried there (api/gateway). Served on listeners of their own: what a user's program shows is
// another origin than the studio, so that its scripts cannot act as that.
//
//     https://HOST:PORT/instances/{workspace id}/{compute}/…
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "api/api.h"
#include "base/task.h"
#include "base/time.h"
#include "io/http.h"
#include "protocol/agent_protocol.h"

namespace turnout::api {

// "/instances/{wsid}/{compute}/": a notebook server has it as its base.
std::string path_of_instance(std::string_view wsid, std::string_view compute);
// "https://host:port": where programs of users are served for who asks here.
std::string programs_origin(const ServerInfo& info, const Call& call);

// What opens a service's replica for this server: made of the attempt, known to it and to its task.
Secret service_key(const Authority& authority, const agent_protocol::AttemptId& attempt);

// A WebSocket stays open for hours after it was admitted. So often it is asked again whether
// whoever opened it still may, and whether what it leads to is there; if not it is closed.
inline constexpr Span kOpenIsAskedAgain = 20s;

class Front {
public:
    explicit Front(Services& services) : services_(services) {}
    // A whole request of one of those listeners.
    Task<http::Response> handle(const http::Request& request, http::BodyReader& body);
    // On the studio's own listeners: /studio/instances/{wsid}/{compute} logs a browser in and sends
    // it here.
    void add_to(Router& router);

    std::size_t open_ways() const { return ways_->open.size(); }

private:
    struct Way {
        std::function<bool()> still;  // it may stay
        std::shared_ptr<http::Stream> client;
    };
    struct Ways {
        std::list<Way> open;
        bool looking = false;
    };
    class WatchedStream;

    Task<Result<http::Response>> answer(Call& call);
    // The same answer, whose stream is looked at again and again once it has one.
    void watch(http::Response& response, std::function<bool()> still);
    void look_later();
    void look();

    Services& services_;
    std::shared_ptr<Ways> ways_ = std::make_shared<Ways>();
};

}  // namespace turnout::api
