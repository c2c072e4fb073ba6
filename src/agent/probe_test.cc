// Probes with the real loop and sockets.
#include "agent/probe.h"

#include <gtest/gtest.h>

#include "io/posix/http_server.h"
#include "io/posix/sockets.h"

namespace turnout::agent {
namespace {

using agent_protocol::Probe;

struct ProbeTest : testing::Test {
    AsioLoop loop;
    std::string asked;  // the last target, and who asked
    int status = 200;
    std::unique_ptr<http::Listener> listener;

    int listen() {
        auto made = http::listen_plain(
            loop, "127.0.0.1:0",
            [this](const http::Request& request, http::BodyReader&) { return answer(request); });
        listener = std::move(*made);
        return port_of(listener->address());
    }
    Task<http::Response> answer(const http::Request& request) {
        asked =
            request.method + " " + request.target + " " + std::string(request.headers.get("host"));
        http::Response response;
        response.status = status;
        if (status == 302) response.headers.set("Location", "http://127.0.0.1:1/");
        response.body = std::string(1 << 20, 'x');
        co_return response;
    }
    static int port_of(const std::string& address) {
        return std::stoi(address.substr(address.rfind(':') + 1));
    }
    std::string ask(Probe::Kind kind, int port, std::string path = "/ready?x=1") {
        Probe probe;
        probe.kind = kind;
        probe.path = std::move(path);
        probe.timeout = 60s;
        return loop.run(probe_port(loop, probe, port));
    }
};

TEST_F(ProbeTest, AnHttpProbeWantsAGoodStatus) {
    const int port = listen();
    EXPECT_EQ(ask(Probe::Kind::Http, port), "");
    EXPECT_EQ(asked, "GET /ready?x=1 127.0.0.1:" + std::to_string(port));
    status = 302;
    EXPECT_EQ(ask(Probe::Kind::Http, port), "") << "and does not go where it is sent";
    status = 503;
    EXPECT_EQ(ask(Probe::Kind::Http, port), "GET /ready?x=1 is answered with 503");
}

TEST_F(ProbeTest, WhereNobodyListensItSaysSo) {
    const int port = listen();
    listener.reset();
    for (const auto kind : {Probe::Kind::Tcp, Probe::Kind::Http})
        EXPECT_NE(ask(kind, port).find("127.0.0.1:" + std::to_string(port)), std::string::npos)
            << ask(kind, port);
}

TEST_F(ProbeTest, ATcpProbeWantsAConnectionOnly) {
    auto silent = http::listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(silent);
    const int port = port_of(silent->address);
    EXPECT_EQ(ask(Probe::Kind::Tcp, port), "");
    Probe probe;
    probe.kind = Probe::Kind::Http;
    probe.timeout = 50ms;
    EXPECT_NE(loop.run(probe_port(loop, probe, port)), "") << "it takes it and never answers";
}

}  // namespace
}  // namespace turnout::agent
