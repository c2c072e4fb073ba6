// Server and client against each other, and the server against raw bytes.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/sockets.h"
#include "io/posix/test_until.h"

namespace turnout::http {
namespace {

// Bytes that can be checked at any offset.
class PatternBody final : public BodyReader {
public:
    PatternBody(std::uint64_t length, std::size_t piece, bool* destroyed = nullptr)
        : left_(length), piece_(piece), destroyed_(destroyed) {}
    ~PatternBody() override {
        if (destroyed_) *destroyed_ = true;
    }
    Task<Result<std::string>> read() override {
        const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece_));
        left_ -= size;
        std::string out(size, '\0');
        for (char& c : out) c = static_cast<char>('a' + at_++ % 23);
        co_return out;
    }

private:
    std::uint64_t left_;
    std::size_t piece_;
    std::uint64_t at_ = 0;
    bool* destroyed_;
};

class FailingBody final : public BodyReader {
public:
    Task<Result<std::string>> read() override {
        if (++reads_ == 1) co_return std::string("some of it");
        co_return internal("the disk is gone");
    }

private:
    int reads_ = 0;
};

long resident_kib() {
    std::ifstream statm("/proc/self/statm");
    long total = 0, resident = 0;
    statm >> total >> resident;
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

struct Site {
    AsioLoop& loop;
    int handled = 0;
    std::uint64_t uploaded = 0;
    bool upload_exact = true;
    bool stream_destroyed = false;
    bool handler_ended = false;
    Peer last_peer;
    std::optional<Later<bool>> gate;
    bool stop_seen = false;
    std::unique_ptr<Stream> kept;

    Task<Response> handle(const Request& request, BodyReader& body) {
        ++handled;
        last_peer = request.peer;
        Response response;
        response.headers.set("Content-Type", "text/plain");
        if (request.path == "/hello") {
            response.body = "hello " + request.query;
        } else if (request.path == "/echo") {
            Result<std::string> all = co_await body.all(1 << 20);
            if (!all) {
                response.status = http_status(all.error().code);
                response.body = all.error().message;
            } else {
                response.body = *all;
            }
        } else if (request.path == "/upload") {
            for (;;) {
                Result<std::string> piece = co_await body.read();
                if (!piece) {
                    upload_exact = false;
                    break;
                }
                if (piece->empty()) break;
                for (std::size_t i = 0; i < piece->size(); i += 1009)
                    upload_exact &= (*piece)[i] == static_cast<char>('a' + (uploaded + i) % 23);
                uploaded += piece->size();
            }
            response.body = std::to_string(uploaded);
        } else if (request.path == "/download") {
            const std::uint64_t size = std::stoull(request.query);
            response.stream = std::make_unique<PatternBody>(size, 100'000, &stream_destroyed);
            response.length = size;
        } else if (request.path == "/chunked") {
            const std::uint64_t size = std::stoull(request.query);
            response.stream = std::make_unique<PatternBody>(size, 70'001, &stream_destroyed);
        } else if (request.path == "/broken") {
            response.stream = std::make_unique<FailingBody>();
        } else if (request.path == "/wait") {
            co_await *gate;
            handler_ended = true;
            response.stream =
                std::make_unique<PatternBody>(100'000'000, 1 << 20, &stream_destroyed);
        } else if (request.path == "/until-left") {
            const Later<bool> left;
            request.stop->on_stop([settle = left.settle()] { settle(true); });
            co_await left;
            stop_seen = request.stop->stopped();
        } else if (request.path == "/ignore") {
            response.body = "did not look";
        } else if (request.path == "/empty") {
            EXPECT_FALSE(request.stop->stopped()) << "its peer waits for the answer";
            response.status = 204;
        } else if (request.path == "/inject") {
            response.headers.set("X-Bad", "a\r\nSet-Cookie: b");
            response.body = "x";
        } else if (request.path == "/upgrade") {
            response.status = 101;
            response.headers.set("Upgrade", "echo");
            response.upgraded = echo;
        } else {
            response.status = 404;
        }
        co_return response;
    }

    static Task<void> echo(std::unique_ptr<Stream> stream) {
        for (;;) {
            Result<std::string> bytes = co_await stream->read();
            if (!bytes || bytes->empty()) co_return;
            Result<void> written = co_await stream->write("<" + *bytes + ">");
            if (!written) co_return;
        }
    }

    Handler handler() {
        return [this](const Request& request, BodyReader& body) { return handle(request, body); };
    }
};

struct Answer {
    int status = 0;
    std::string body;
    Headers headers;
};

Task<Result<Answer>> call(Client& client, ClientRequest request) {
    TURNOUT_CO_TRY(auto response, co_await client.send(std::move(request)));
    Answer answer{response.status, {}, response.headers};
    if (response.body) {
        TURNOUT_CO_TRY(answer.body, co_await response.body->all(1 << 20));
    }
    co_return answer;
}

ClientRequest get(std::string url) {
    ClientRequest request;
    request.url = std::move(url);
    return request;
}

class HttpTest : public testing::Test {
protected:
    void SetUp() override { serve({}); }
    void serve(Limits limits) {
        listener.reset();
        auto made = listen_plain(loop, "127.0.0.1:0", site.handler(), limits);
        ASSERT_TRUE(made) << made.error().message;
        listener = std::move(*made);
        origin = "http://" + listener->address();
    }

    Answer ask(ClientRequest request) {
        auto result = loop.run(call(*client, std::move(request)));
        EXPECT_TRUE(result) << result.error().message;
        return result ? *result : Answer{};
    }

    // A connection to the listener, which need not have accepted it yet; from that address.
    Fd connect(std::uint32_t from = INADDR_LOOPBACK) {
        Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(from);
        EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
        at.sin_port = htons(parse_host_port(listener->address())->port);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
        return fd;
    }

    // Sends raw bytes and gives all that comes back until the server closes (or `enough` is there).
    std::string raw(std::string bytes, std::string enough = "\1", bool half_close = false) {
        std::string out;
        bool ended = false;
        std::thread peer([&] {
            Fd fd = connect();
            const timeval patience{60, 0};  // so it ends, whatever the server does
            for (const int direction : {SO_RCVTIMEO, SO_SNDTIMEO})
                ::setsockopt(fd.get(), SOL_SOCKET, direction, &patience, sizeof patience);
            std::size_t sent = 0;
            while (sent < bytes.size()) {
                const ssize_t n =
                    ::send(fd.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
                if (n <= 0) break;
                sent += static_cast<std::size_t>(n);
            }
            if (half_close) ::shutdown(fd.get(), SHUT_WR);
            char buffer[4096];
            while (out.find(enough) == std::string::npos) {
                const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
                EXPECT_TRUE(n >= 0 || errno != EAGAIN) << "nothing came for a minute";
                if (n <= 0) break;
                out.append(buffer, static_cast<std::size_t>(n));
            }
            fd.reset();
            loop.post([&] { ended = true; });
        });
        loop.run_until([&] { return ended; });
        peer.join();
        return out;
    }

    AsioLoop loop;
    Site site{loop};
    std::unique_ptr<Client> client = make_client(loop, {});
    std::unique_ptr<Listener> listener;
    std::string origin;
};

TEST(Sockets, APortIsFreeWhileNobodyListensOnIt) {
    for (const char* address : {"127.0.0.1:0", "0.0.0.0:0", "127.0.0.7:0"}) {
        auto listening = listen_tcp(address);
        ASSERT_TRUE(listening) << address;
        const int port = parse_host_port(listening->address)->port;
        EXPECT_FALSE(is_port_free(port)) << listening->address;
        listening->socket = Fd();
        EXPECT_TRUE(is_port_free(port)) << listening->address;
    }
}

// A browser's WebSocket is silent for hours: that its machine has lost its power is found out.
TEST(Sockets, APeerThatVanishedIsFoundOut) {
    const auto listening = listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(listening);
    const auto to = resolve(*parse_host_port(listening->address));
    ASSERT_TRUE(to);
    const auto ours = begin_connect(to->front());
    ASSERT_TRUE(ours);
    ASSERT_TRUE(wait_until([&] {
        const auto theirs = accept_one(listening->socket.get());
        if (!theirs) return false;
        for (const int socket : {ours->get(), theirs->socket.get()}) {
            int on = 0, unheard = 0;
            socklen_t size = sizeof on;
            EXPECT_EQ(::getsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, &size), 0);
            EXPECT_EQ(on, 1);
            EXPECT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard, &size), 0);
            EXPECT_EQ(unheard, 120'000);
        }
        return true;
    }));
}

// Each attempt of a job is an origin of its own, and is never asked again when it has ended.
TEST_F(HttpTest, IdleConnectionsGoThoughTheirOriginIsNotAskedAgain) {
    ClientOptions options;
    options.idle_for = 50ms;
    options.dial = [this](std::string) -> Task<Result<std::unique_ptr<Stream>>> {
        co_return listener->connect_inside({});
    };
    client = make_client(loop, options);
    for (int i = 0; i < 20; ++i)
        EXPECT_EQ(ask(get("http://origin" + std::to_string(i) + ":80/hello")).status, 200);
    EXPECT_GT(listener->connections(), 0u);
    EXPECT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
    EXPECT_EQ(ask(get("http://origin1:80/hello")).status, 200);
    EXPECT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
}

// One whose client has left: what it asked for is given up, and whoever answers hears of it.
TEST_F(HttpTest, WhatNobodyWantsAnyMoreIsNotWaitedFor) {
    struct Left : Stop {
        bool stopped() override { return false; }
        void on_stop(std::function<void()> call) override { told = std::move(call); }
        std::function<void()> told;
    } left;
    ClientRequest request = get(origin + "/until-left");
    request.stop = &left;
    std::optional<Error> error;
    start(client->send(std::move(request)), [&](Result<ClientResponse> answer) {
        if (!answer) error = answer.error();
    });
    ASSERT_TRUE(run_until_told(loop, [&] { return site.handled == 1; }));
    ASSERT_TRUE(left.told);
    left.told();
    ASSERT_TRUE(run_until_told(loop, [&] { return error && site.stop_seen; }));
    EXPECT_EQ(error->code, Code::Canceled);
    EXPECT_FALSE(left.told) << "it was taken back";
    // With an answer it is taken back too.
    request = get(origin + "/hello");
    request.stop = &left;
    EXPECT_EQ(ask(std::move(request)).status, 200);
    EXPECT_FALSE(left.told);
}

TEST_F(HttpTest, AnswersAndReusesTheConnection) {
    for (int i = 0; i < 20; ++i) {
        const Answer answer = ask(get(origin + "/hello?n=" + std::to_string(i)));
        EXPECT_EQ(answer.status, 200);
        EXPECT_EQ(answer.body, "hello n=" + std::to_string(i));
        EXPECT_EQ(answer.headers.get("content-type"), "text/plain");
        EXPECT_FALSE(answer.headers.get("Date").empty());
    }
    EXPECT_EQ(listener->connections(), 1u);
    EXPECT_TRUE(site.last_peer.loopback);
    EXPECT_EQ(site.last_peer.carrier, Carrier::Plain);
}

TEST_F(HttpTest, ManyAtOnce) {
    int done = 0;
    for (int i = 0; i < 100; ++i)
        start(call(*client, get(origin + "/hello?" + std::to_string(i))),
              [&done, i](Result<Answer> answer) {
                  ASSERT_TRUE(answer);
                  EXPECT_EQ(answer->body, "hello " + std::to_string(i));
                  ++done;
              });
    ASSERT_TRUE(run_until_told(loop, [&] { return done == 100; }));
}

TEST_F(HttpTest, UnixSocket) {
    const std::string path =
        (std::filesystem::temp_directory_path() / ("io_" + std::to_string(getpid()) + ".sock"));
    auto made = listen_unix(loop, path, site.handler());
    ASSERT_TRUE(made) << made.error().message;
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_FALSE(listen_unix(loop, path, site.handler())) << "one is already served";
    ClientOptions options;
    options.unix_socket = path;
    const auto local = make_client(loop, options);
    const auto answer = loop.run(call(*local, get("/hello?x")));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "hello x");
    EXPECT_EQ(site.last_peer.carrier, Carrier::Unix);
    EXPECT_TRUE(site.last_peer.loopback);
    made->reset();
    EXPECT_NE(::stat(path.c_str(), &info), 0) << "removed with the listener";

    // One that a dead server left is replaced.
    Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof at.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    dead.reset();
    EXPECT_TRUE(listen_unix(loop, path, site.handler()));
}

TEST_F(HttpTest, StreamsBothWaysInFlatMemory) {
    constexpr std::uint64_t size = 100'000'000;
    const long before = resident_kib();
    ClientRequest up;
    up.method = "PUT";
    up.url = origin + "/upload";
    up.stream = std::make_unique<PatternBody>(size, 100'000);
    up.length = size;
    EXPECT_EQ(ask(std::move(up)).body, std::to_string(size));
    EXPECT_TRUE(site.upload_exact);

    site.uploaded = 0;
    ClientRequest chunked;
    chunked.method = "POST";
    chunked.url = origin + "/upload";
    chunked.stream = std::make_unique<PatternBody>(size, 77'777);
    EXPECT_EQ(ask(std::move(chunked)).body, std::to_string(size));
    EXPECT_TRUE(site.upload_exact);

    for (const std::string path : {"/download?", "/chunked?"}) {
        auto response = loop.run(client->send(get(origin + path + std::to_string(size))));
        ASSERT_TRUE(response);
        EXPECT_EQ(response->headers.has("Content-Length"), path == "/download?");
        std::uint64_t got = 0;
        for (;;) {
            auto piece = loop.run(response->body->read());
            ASSERT_TRUE(piece) << piece.error().message;
            if (piece->empty()) break;
            for (std::size_t i = 0; i < piece->size(); i += 997)
                ASSERT_EQ((*piece)[i], static_cast<char>('a' + (got + i) % 23));
            got += piece->size();
        }
        EXPECT_EQ(got, size);
    }
#if !defined(__SANITIZE_ADDRESS__)
    EXPECT_LT(resident_kib() - before, 20'000);
#else
    (void)before;
#endif
    EXPECT_EQ(listener->connections(), 1u) << "all on one connection";
}

TEST_F(HttpTest, HeadAndEmptyResponses) {
    ClientRequest head = get(origin + "/hello?abc");
    head.method = "HEAD";
    const Answer answer = ask(std::move(head));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.get("Content-Length"), "9");
    EXPECT_EQ(answer.body, "");
    ClientRequest stream_head = get(origin + "/download?123456");
    stream_head.method = "HEAD";
    EXPECT_EQ(ask(std::move(stream_head)).headers.get("Content-Length"), "123456");
    const Answer empty = ask(get(origin + "/empty"));
    EXPECT_EQ(empty.status, 204);
    EXPECT_FALSE(empty.headers.has("Content-Length"));
    EXPECT_EQ(ask(get(origin + "/hello?after")).body, "hello after");
    EXPECT_EQ(listener->connections(), 1u);
}

TEST_F(HttpTest, PipelinedRequestsAreAnsweredInOrder) {
    std::string bytes;
    for (int i = 0; i < 50; ++i)
        bytes += i % 3 == 0 ? "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n" +
                                  std::to_string(10 + i)
                 : i % 3 == 1 ? "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                                "chunked\r\n\r\n1\r\nx\r\n1;a=b\r\n" +
                                    std::to_string(i % 10) + "\r\n0\r\nTrailer: t\r\n\r\n"
                              : "GET /hello?" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
    bytes += "GET /hello?last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    const std::string out = raw(bytes);
    std::size_t at = 0;
    for (int i = 0; i < 50; ++i) {
        const std::string body = i % 3 == 0   ? std::to_string(10 + i)
                                 : i % 3 == 1 ? "x" + std::to_string(i % 10)
                                              : "hello " + std::to_string(i);
        at = out.find("\r\n\r\n" + body, at);
        ASSERT_NE(at, std::string::npos) << i << "\n" << out;
        at += 4;
    }
    EXPECT_NE(out.find("hello last", at), std::string::npos);
    EXPECT_EQ(site.handled, 51);
}

TEST_F(HttpTest, RefusesMalformedInput) {
    struct Case {
        std::string bytes;
        std::string status;
    };
    const std::string host = "Host: h\r\n";
    const Case cases[] = {
        {"hello\r\n\r\n", "400"},
        {"GET\r\n\r\n", "400"},
        {"GET /hello\r\n\r\n", "400"},
        {"GET hello HTTP/1.1\r\n" + host + "\r\n", "400"},
        {"GET /he llo HTTP/1.1\r\n" + host + "\r\n", "505"},  // "llo ..." is no version
        {"GET /hello HTTP/2.0\r\n" + host + "\r\n", "505"},
        {"GET /hello HTTP/1.1\r\n\r\n", "400"},                     // no Host
        {"GET /hello HTTP/1.1\r\n" + host + host + "\r\n", "400"},  // two
        {"GET /hello HTTP/1.1\r\nHost : h\r\n\r\n", "400"},         // space
        {"GET /hello HTTP/1.1\r\n" + host + "X\x01Y: 1\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\n" + host + "X: a\x01z\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\n" + host + ": nameless\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\na", "400"},
        {"POST /echo HTTP/1.1\r\n" + host +
             "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", "501"},
        {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         "501"},
        {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
         "501"},
        {"POST /echo HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" +
             std::string(40'000, '1'),
         "400"},
        {"GET /hello HTTP/1.1\r\n" + host + "X: " + std::string(70'000, 'x') + "\r\n\r\n", "431"},
        {"GET /" + std::string(70'000, 'x') + " HTTP/1.1\r\n" + host + "\r\n", "431"},
        {std::string(70'000, 'x'), "431"},
        {"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET", "400"},
        {std::string("GET /hello HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 40), "400"},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},  // TLS to a plain port
    };
    for (const Case& one : cases) {
        const std::string out = raw(one.bytes);
        EXPECT_EQ(out.substr(0, 12), "HTTP/1.1 " + one.status)
            << one.bytes.substr(0, 200) << "\n->\n"
            << out;
        EXPECT_NE(out.find("onnection: close"), std::string::npos) << one.bytes.substr(0, 200);
    }
    // Ends in the middle: nothing to answer, nothing breaks.
    for (const char* part : {"", "G", "GET /hello HTTP/1.1\r\nHost:", "\r", "\r\n"})
        EXPECT_EQ(raw(part, "\1", true), "") << part;
    raw("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", "\1", true);
    raw("POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "\1",
        true);
    EXPECT_EQ(ask(get(origin + "/hello?still")).body, "hello still");
}

TEST_F(HttpTest, AcceptsUnusualButRightInput) {
    EXPECT_NE(raw("GET /hello?a HTTP/1.0\r\n\r\n").find("hello a"), std::string::npos);
    EXPECT_NE(
        raw("\r\nGET http://some.host/hello?b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .find("hello b"),
        std::string::npos);
    EXPECT_NE(raw("GET /hello?k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                  "GET /hello?last HTTP/1.0\r\n\r\n")
                  .find("hello last"),
              std::string::npos);
    // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    const std::string old = raw("GET /chunked?70005 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(old.size() - old.find("\r\n\r\n") - 4, 70'005u);
    EXPECT_EQ(old.find("chunked"), std::string::npos);
    EXPECT_EQ(raw("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
                  "Connection: close\r\n\r\nab")
                  .find("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
              0u);
    // Who does not read the body does not ask for it.
    const std::string out = raw(
        "POST /ignore HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    EXPECT_EQ(out.find("HTTP/1.1 200 OK"), 0u);
    EXPECT_NE(out.find("onnection: close"), std::string::npos);
}

TEST_F(HttpTest, UnreadBodies) {
    ClientRequest small;
    small.method = "POST";
    small.url = origin + "/ignore";
    small.body = std::string(500'000, 'x');
    EXPECT_EQ(ask(std::move(small)).body, "did not look");
    EXPECT_EQ(ask(get(origin + "/hello?a")).body, "hello a");
    EXPECT_EQ(listener->connections(), 1u) << "a small body is drained";
    ClientRequest large;
    large.method = "POST";
    large.url = origin + "/ignore";
    large.stream = std::make_unique<PatternBody>(50'000'000, 100'000);
    large.length = 50'000'000;
    EXPECT_EQ(ask(std::move(large)).body, "did not look");
    ClientRequest too_large;
    too_large.method = "POST";
    too_large.url = origin + "/echo";
    too_large.body = std::string(5'000'000, 'x');
    const Answer answer = ask(std::move(too_large));
    EXPECT_EQ(answer.status, http_status(Code::ResourceExhausted));
    EXPECT_EQ(ask(get(origin + "/hello?b")).body, "hello b");
}

TEST_F(HttpTest, HeaderInjectionIsHarmless) {
    const Answer answer = ask(get(origin + "/inject"));
    EXPECT_FALSE(answer.headers.has("Set-Cookie"));
    EXPECT_EQ(answer.headers.get("X-Bad"), "a  Set-Cookie: b");
}

TEST_F(HttpTest, FailingStreamIsSeenByTheClient) {
    const auto result = loop.run(call(*client, get(origin + "/broken")));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Unavailable);
}

// One limit at a time is short; where something has to come within it, long enough for that.
TEST_F(HttpTest, ASilentConnectionIsEnded) {
    Limits limits;
    limits.header_timeout = 40ms;
    serve(limits);
    EXPECT_EQ(raw(""), "");
}

TEST_F(HttpTest, AHeaderThatDoesNotEndIsRefused) {
    Limits limits;
    limits.header_timeout = 2s;
    serve(limits);
    EXPECT_EQ(raw("GET /hello HTTP/1.1\r\nHo").substr(0, 12), "HTTP/1.1 408");
}

TEST_F(HttpTest, AnIdleConnectionIsEnded) {
    Limits limits;
    limits.idle_timeout = 40ms;
    serve(limits);
    EXPECT_NE(raw("GET /hello?x HTTP/1.1\r\nHost: h\r\n\r\n").find("hello x"), std::string::npos);
}

TEST_F(HttpTest, AHandlerIsToldOfABodyThatDoesNotEnd) {
    Limits limits;
    limits.body_timeout = 2s;
    serve(limits);
    const std::string out = raw("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    EXPECT_EQ(out.substr(0, 12), "HTTP/1.1 503");
}

TEST_F(HttpTest, UpgradeEchoes) {
    ClientRequest request = get(origin + "/upgrade");
    request.headers.set("Connection", "Upgrade");
    request.headers.set("Upgrade", "echo");
    auto response = loop.run(client->send(std::move(request)));
    ASSERT_TRUE(response);
    ASSERT_EQ(response->status, 101);
    EXPECT_EQ(response->headers.get("Upgrade"), "echo");
    ASSERT_TRUE(response->stream);
    ASSERT_TRUE(loop.run(response->stream->write("abc")));
    EXPECT_EQ(*loop.run(response->stream->read()), "<abc>");
    // close() ends a pending read with Canceled.
    bool ended = false;
    start(response->stream->read(), [&ended](Result<std::string> bytes) {
        ASSERT_FALSE(bytes);
        EXPECT_EQ(bytes.error().code, Code::Canceled);
        ended = true;
    });
    response->stream->close();
    ASSERT_TRUE(run_until_told(loop, [&] { return ended; }));
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
    // Bytes that follow the request at once are the stream's.
    EXPECT_NE(
        raw("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly",
            "<early>")
            .find("\r\n\r\n<early>"),
        std::string::npos);
}

TEST_F(HttpTest, PeerLeavesWhileTheHandlerWaits) {
    site.gate.emplace();
    {
        ClientRequest request = get(origin + "/wait");
        request.timeout = 2s;
        const auto result = loop.run(client->send(std::move(request)));
        ASSERT_EQ(site.handled, 1);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().reason, "Timeout");
    }
    EXPECT_FALSE(site.handler_ended);
    site.gate->settle()(true);
    EXPECT_TRUE(site.handler_ended);
    ASSERT_TRUE(run_until_told(
        loop, [&] { return site.stream_destroyed && listener->connections() == 0; }));
}

TEST_F(HttpTest, AHandlerIsToldThatItsPeerLeft) {
    {
        const Fd peer = connect();
        const std::string_view request = "GET /until-left HTTP/1.1\r\nHost: h\r\n\r\n";
        ASSERT_EQ(::send(peer.get(), request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
        ASSERT_TRUE(run_until_told(loop, [&] { return site.handled == 1; }));
        EXPECT_FALSE(site.stop_seen);
    }
    ASSERT_TRUE(
        run_until_told(loop, [&] { return site.stop_seen && listener->connections() == 0; }));
    // One that closes its own direction only still gets the answer, only sooner.
    site.stop_seen = false;
    EXPECT_EQ(raw("GET /until-left HTTP/1.1\r\nHost: h\r\n\r\n", "\1", true).substr(0, 12),
              "HTTP/1.1 200");
}

TEST_F(HttpTest, PeerLeavesDuringTheResponse) {
    auto response = loop.run(client->send(get(origin + "/chunked?500000000")));
    ASSERT_TRUE(response);
    ASSERT_TRUE(loop.run(response->body->read()));
    response->body.reset();
    ASSERT_TRUE(run_until_told(
        loop, [&] { return site.stream_destroyed && listener->connections() == 0; }));
}

TEST_F(HttpTest, ListenerEndsWhileAHandlerWaits) {
    site.gate.emplace();
    bool failed = false;
    start(client->send(get(origin + "/wait")), [&](Result<ClientResponse> r) { failed = !r; });
    ASSERT_TRUE(run_until_told(loop, [&] { return site.handled == 1; }));
    listener.reset();
    ASSERT_TRUE(run_until_told(loop, [&] { return failed; }));
    site.gate->settle()(true);
    EXPECT_TRUE(site.handler_ended);
    EXPECT_TRUE(site.stream_destroyed);
}

TEST_F(HttpTest, CloseLetsTheCurrentResponseEnd) {
    site.gate.emplace();
    EXPECT_EQ(ask(get(origin + "/hello")).status, 200);
    int status = 0;
    std::unique_ptr<BodyReader> body;
    start(client->send(get(origin + "/wait")), [&](Result<ClientResponse> r) {
        ASSERT_TRUE(r) << r.error().message;
        status = r->status;
        body = std::move(r->body);
    });
    ASSERT_TRUE(run_until_told(loop, [&] { return site.handled == 2; }));
    listener->close();
    EXPECT_EQ(listener->connections(), 1u);
    site.gate->settle()(true);
    ASSERT_TRUE(run_until_told(loop, [&] { return status != 0; }));
    EXPECT_EQ(status, 200);
    const auto refused = loop.run(call(*client, get(origin + "/hello")));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::Unavailable);
    body.reset();
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
}

TEST_F(HttpTest, RetriesOnAFreshConnection) {
    Limits limits;
    limits.idle_timeout = 20ms;  // only after an answer
    serve(limits);
    EXPECT_EQ(ask(get(origin + "/hello?1")).body, "hello 1");
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
    EXPECT_EQ(ask(get(origin + "/hello?2")).body, "hello 2");
    // A server that restarts at its port meets a client with old connections.
    const std::string address = listener->address();
    listener.reset();
    auto again = listen_plain(loop, address, site.handler(), {});
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ((*again)->address(), address);
    EXPECT_EQ(ask(get(origin + "/hello?3")).body, "hello 3");
}

// The server dies of a request that came on a connection which was used before.
TEST_F(HttpTest, WhatWasSentOnceIsNotToldAsUnheard) {
    struct Case {
        const char* method;
        bool once, comes_back;
        Code code;
    };
    for (const Case& one : {Case{"POST", false, false, Code::Ambiguous},
                            {"GET", false, false, Code::Unavailable},
                            {"POST", true, true, Code::Ambiguous},
                            {"GET", true, true, Code::Ambiguous}}) {
        SCOPED_TRACE(std::string(one.method) + (one.once ? " once" : ""));
        serve({});
        client = make_client(loop, {});
        site.handled = 0;
        site.gate.emplace();
        ASSERT_EQ(ask(get(origin + "/hello")).status, 200);
        ClientRequest request = get(origin + "/wait");
        request.method = one.method;
        request.once = one.once;
        std::optional<Error> error;
        start(call(*client, std::move(request)), [&](Result<Answer> answer) {
            ASSERT_FALSE(answer);
            error = answer.error();
        });
        ASSERT_TRUE(run_until_told(loop, [&] { return site.handled == 2; }));
        const std::string address = listener->address();
        listener.reset();
        if (one.comes_back) {
            auto again = listen_plain(loop, address, site.handler(), {});
            ASSERT_TRUE(again) << again.error().message;
            listener = std::move(*again);
        }
        ASSERT_TRUE(run_until_told(loop, [&] { return error.has_value(); }));
        EXPECT_EQ(error->code, one.code) << error->message;
        EXPECT_EQ(site.handled, 2);
        site.gate->settle()(true);
    }
}

TEST_F(HttpTest, ConnectionLimitMakesOthersWait) {
    Limits limits;
    limits.connections = 2;
    limits.idle_timeout = 20ms;  // only after an answer
    serve(limits);
    int done = 0;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 6; ++i) {
        clients.push_back(make_client(loop, {}));
        start(call(*clients.back(), get(origin + "/hello")), [&done](Result<Answer> answer) {
            EXPECT_TRUE(answer) << answer.error().message;
            ++done;
        });
    }
    std::size_t most = 0;
    ASSERT_TRUE(run_until_told(loop, [&] {
        most = std::max(most, listener->connections());
        return done == 6;
    }));
    EXPECT_EQ(most, 2u);
}

// Connections that say nothing are as many as there may be; a client comes, and later another.
TEST_F(HttpTest, SilentConnectionsMakeRoom) {
    Limits limits;
    limits.connections = 8;
    limits.patience = 20ms;
    serve(limits);
    const auto is_open = [](const Fd& fd) {
        char byte = 0;
        return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
    };
    const std::uint32_t few = INADDR_LOOPBACK + 1, crowd = INADDR_LOOPBACK + 2;
    const Fd lonely = connect(few);
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 1; }));
    std::vector<Fd> silent;
    for (int i = 0; i < 6; ++i) silent.push_back(connect(crowd));
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 7; }));
    loop.run(loop.sleep(2 * limits.patience));  // each of them has been silent for too long
    for (int i = 0; i < 2; ++i) silent.push_back(connect(crowd));
    EXPECT_EQ(ask(get(origin + "/hello?a")).body, "hello a");
    EXPECT_TRUE(is_open(lonely)) << "it is the oldest, but its address has no other";
    EXPECT_FALSE(is_open(silent[0])) << "the oldest of those that are many";
    EXPECT_TRUE(is_open(silent.back()));
    // The one that has asked before is kept for its next request.
    silent.push_back(connect(crowd));
    const auto newcomer = make_client(loop, {});
    auto second = loop.run(call(*newcomer, get(origin + "/hello?b")));
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->body, "hello b");
    EXPECT_TRUE(is_open(lonely));
    EXPECT_EQ(ask(get(origin + "/hello?c")).body, "hello c");
}

TEST_F(HttpTest, ClientErrorsSayWhat) {
    const auto error = [&](ClientRequest request) {
        const auto result = loop.run(call(*client, std::move(request)));
        EXPECT_FALSE(result);
        return result ? Error{} : result.error();
    };
    EXPECT_EQ(error(get("ftp://x/")).code, Code::InvalidArgument);
    for (const char* more : {" HTTP/1.1", "\r\nX: y", "\x7f"})
        EXPECT_EQ(error(get("http://" + listener->address() + "/a" + more)).code,
                  Code::InvalidArgument)
            << more;
    EXPECT_EQ(error(get("https://127.0.0.1:1/")).code, Code::FailedPrecondition);
    EXPECT_EQ(error(get("http://host.invalid/")).code, Code::Unavailable);
    const std::string address = listener->address();
    listener.reset();
    const Error refused = error(get("http://" + address + "/"));
    EXPECT_EQ(refused.code, Code::Unavailable);
    EXPECT_NE(refused.message.find(address), std::string::npos);
    for (const char* bad :
         {"nonsense", "1.2.3.4", "1.2.3.4:99999", ":1", "::1:80", "[::1:80", "h:x"})
        EXPECT_FALSE(listen_plain(loop, bad, site.handler())) << bad;
}

TEST_F(HttpTest, Ipv6AndLocalhost) {
    auto six = listen_plain(loop, "[::1]:0", site.handler());
    if (!six) GTEST_SKIP() << "no IPv6 here";
    EXPECT_EQ(ask(get("http://" + (*six)->address() + "/hello?6")).body, "hello 6");
    EXPECT_TRUE(site.last_peer.loopback);
    const auto port = parse_host_port(listener->address())->port;
    EXPECT_EQ(ask(get("http://localhost:" + std::to_string(port) + "/hello?l")).body, "hello l");
}

}  // namespace
}  // namespace turnout::http
