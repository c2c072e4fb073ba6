// What the server does by itself in the name of a user, by the functions that answer requests: a
// call that nobody sent.
#pragma once

#include <string>
#include <utility>

#include "api/api.h"

namespace turnout::api {

// Lives as long as the call is used.
class OwnCall {
public:
    explicit OwnCall(std::string user) {
        request.peer.loopback = true;  // from here, so what may be asked only here may be
        call.principal.kind = Principal::Kind::User;
        call.principal.name = std::move(user);
    }
    OwnCall(const OwnCall&) = delete;
    OwnCall& operator=(const OwnCall&) = delete;

    http::Request request;

private:
    class NoBody : public http::BodyReader {
    public:
        Task<Result<std::string>> read() override { co_return std::string(); }
    };
    NoBody body_;

public:
    Call call{.request = request, .body = body_};
};

}  // namespace turnout::api
