#include "api/gateway/headers.h"

#include <gtest/gtest.h>

#include "api/gateway/channels.h"

namespace turnout::api {
namespace {

http::Request request_with(std::vector<std::pair<std::string, std::string>> headers) {
    http::Request request;
    request.method = "GET";
    for (auto& [name, value] : headers) request.headers.add(std::move(name), std::move(value));
    request.peer.address = "10.0.0.9:4000";
    return request;
}
const OfClient kClient{"https://lab:8443", false};

TEST(GatewayHeaders, WhatOpensThisServerDoesNotReachAProgram) {
    const auto passed = headers_to_program(
        request_with({{"Authorization", "Bearer secret"},
                      {"cookie", "a=1; __Host-turnout-session=s; turnout-login=x ;b=2"},
                      {"Cookie", "turnout-session=t"},
                      {"Accept", "x/y"}}),
        kClient, {});
    EXPECT_FALSE(passed.has("authorization"));
    EXPECT_EQ(passed.get("cookie"), "a=1; b=2");
    EXPECT_EQ(passed.get("accept"), "x/y");
    EXPECT_FALSE(headers_to_program(request_with({{"Cookie", "turnout-session=t"}}), kClient, {})
                     .has("cookie"));
}

TEST(GatewayHeaders, WhoAsksIsSaidByTheServerAlone) {
    http::Headers add;
    add.set("Authorization", "token own");
    const auto passed = headers_to_program(request_with({{"Host", "evil"},
                                                         {"X-Forwarded-For", "1.2.3.4"},
                                                         {"X-Real-Ip", "1.2.3.4"},
                                                         {"Forwarded", "for=1.2.3.4"},
                                                         {"Authorization", "Bearer theirs"}}),
                                           kClient, add);
    EXPECT_EQ(passed.get("host"), "lab:8443");
    EXPECT_EQ(passed.get("x-forwarded-for"), "10.0.0.9");
    EXPECT_EQ(passed.get("x-forwarded-proto"), "https");
    EXPECT_FALSE(passed.has("forwarded"));
    EXPECT_FALSE(passed.has("x-real-ip"));
    EXPECT_EQ(passed.get("authorization"), "token own");
}

// What is between neighbours, and what a client lists as such: by that it could take away what we
// say, were it not said afterwards.
TEST(GatewayHeaders, HopByHopHeadersStay) {
    const auto passed =
        headers_to_program(request_with({{"Connection", "close, X-Mine , X-Forwarded-For"},
                                         {"X-Mine", "1"},
                                         {"Keep-Alive", "5"},
                                         {"Transfer-Encoding", "chunked"},
                                         {"Content-Length", "10"},
                                         {"Expect", "100-continue"},
                                         {"TE", "trailers"},
                                         {"Upgrade", "h2c"},
                                         {"HTTP2-Settings", "x"},
                                         {"Proxy-Connection", "x"}}),
                           kClient, {});
    for (const char* name :
         {"connection", "x-mine", "keep-alive", "transfer-encoding", "content-length", "expect",
          "te", "upgrade", "http2-settings", "proxy-connection"})
        EXPECT_FALSE(passed.has(name)) << name;
    EXPECT_EQ(passed.get("x-forwarded-for"), "10.0.0.9");
}

TEST(GatewayHeaders, AWebSocketIsOpenedOnlyWhereItMay) {
    const auto asking = request_with({{"Connection", "keep-alive, Upgrade"},
                                      {"Upgrade", "WebSocket"},
                                      {"Sec-WebSocket-Key", "k"}});
    EXPECT_TRUE(is_websocket(asking));
    EXPECT_FALSE(headers_to_program(asking, kClient, {}).has("upgrade"));
    const auto passed = headers_to_program(asking, {"http://h:1", true}, {});
    EXPECT_EQ(passed.get("upgrade"), "websocket");
    EXPECT_EQ(passed.get("connection"), "Upgrade");
    EXPECT_EQ(passed.get("sec-websocket-key"), "k");
    EXPECT_FALSE(is_websocket(request_with({{"Upgrade", "websocket"}})));
    EXPECT_FALSE(is_websocket(request_with({{"Connection", "Upgrade"}, {"Upgrade", "h2c"}})));
    auto posted = asking;
    posted.method = "POST";
    EXPECT_FALSE(is_websocket(posted));
}

TEST(GatewayHeaders, AProgramNeitherSetsNorEndsOurCookiesNorBindsTheHost) {
    http::Headers answer;
    answer.add("Set-Cookie", "turnout-session=; Max-Age=0");
    answer.add("Set-Cookie", " __Host-turnout-session=x");
    answer.add("Set-Cookie", "_xsrf=1; Path=/instances/x");
    answer.add("Strict-Transport-Security", "max-age=1");
    answer.add("Clear-Site-Data", "\"cookies\"");
    answer.add("Connection", "close");
    answer.add("Content-Type", "text/html");
    const auto passed = headers_to_client(answer, false);
    ASSERT_EQ(passed.all().size(), 2u);
    EXPECT_EQ(passed.get("set-cookie"), "_xsrf=1; Path=/instances/x");
    EXPECT_EQ(passed.get("content-type"), "text/html");
}

TEST(Channels, AReplicaIsNamedByTheAuthorityOfAUrl) {
    const ReplicaAddress address{"ws/c/node-1", {"ws", "name.12", 3}};
    const auto back = address_of(authority_of(address));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, address);
    for (const char* bad :
         {"", "x", ".replica:80", "zz.replica:80", "5b5d.replica:80", "127.0.0.1:80"})
        EXPECT_FALSE(address_of(bad)) << bad;
}

}  // namespace
}  // namespace turnout::api
