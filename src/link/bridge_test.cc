// Two bridges and a stream between them, with real sockets at both ends.
#include "link/bridge.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>

#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/pipe_stream.h"
#include "io/posix/stream_server.h"
#include "io/posix/test_until.h"

namespace turnout::link {
namespace {

Task<http::Response> answer(const http::Request& request, http::BodyReader& body) {
    http::Response response;
    const auto text = co_await body.all(64 << 20);
    response.body = request.path + " " + (text ? *text : text.error().message);
    co_return response;
}

Task<Result<std::string>> ask(std::shared_ptr<http::Client> client, std::string path,
                              std::string text) {
    http::ClientRequest request;
    request.method = "POST";
    request.url = path;
    request.body = std::move(text);
    TURNOUT_CO_TRY(auto response, co_await client->send(std::move(request)));
    co_return co_await response.body->all(64 << 20);
}

class BridgeTest : public ::testing::Test {
protected:
    void SetUp() override {
        signal(SIGPIPE, SIG_IGN);
        char name[] = "/tmp/turnout-bridge-test-XXXXXX";
        folder = mkdtemp(name);
        auto listening = http::listen_unix(loop, folder + "/behind", answer);
        ASSERT_TRUE(listening);
        behind = std::move(*listening);
    }
    void TearDown() override {
        one.reset();
        other.reset();
        behind.reset();
        ASSERT_TRUE(run_until_told(loop, [this] { return ended == begun; }));
        loop.run(loop.sleep(5ms));
        std::filesystem::remove_all(folder);
    }
    Offers offering(const std::string& name, const std::string& place) {
        const auto parsed = parse_place(place);
        EXPECT_TRUE(parsed) << parsed.error().message;
        return {{name, *parsed}};
    }
    std::unique_ptr<Bridge> run(std::unique_ptr<http::Stream> stream, Offers offers,
                                Limits limits = {}) {
        auto bridge =
            std::make_unique<Bridge>(loop, clock, std::move(stream), std::move(offers), limits);
        ++begun;
        start(bridge->run(), [this](Error why) {
            ++ended;
            last = why;
        });
        return bridge;
    }
    // By a pair of pipes, as a program has them, or by one socket.
    void connect(Offers of_one, Offers of_other, bool pipes = true, Limits limits = {}) {
        if (pipes) {
            int there[2], back[2];
            ASSERT_EQ(pipe2(there, O_CLOEXEC), 0);
            ASSERT_EQ(pipe2(back, O_CLOEXEC), 0);
            one = run(*http::make_pipe_stream(loop, Fd(back[0]), Fd(there[1])), of_one, limits);
            other = run(*http::make_pipe_stream(loop, Fd(there[0]), Fd(back[1])), of_other, limits);
        } else {
            auto [near, far] = *http::socket_pair();
            const auto stream = [this](Fd socket) {
                return http::make_stream(
                    std::make_shared<http::Connection>(loop, std::move(socket)), "", nullptr);
            };
            one = run(stream(std::move(near)), of_one, limits);
            other = run(stream(std::move(far)), of_other, limits);
        }
    }
    ino_t file_of(const std::string& door) {
        struct stat there{};
        return ::stat((folder + "/" + door).c_str(), &there) == 0 ? there.st_ino : 0;
    }
    // A door that is at its path.
    void open(Bridge& bridge, const std::string& door, const std::string& target) {
        const ino_t before = file_of(door);
        const auto opened = bridge.open_door(folder + "/" + door, target);
        ASSERT_TRUE(opened) << opened.error().message;
        ASSERT_TRUE(run_until_told(loop, [&] { return file_of(door) != before; }));
    }
    std::set<std::string> files() {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder))
            names.insert(entry.path().filename());
        return names;
    }
    std::shared_ptr<http::Client> client(const std::string& door) {
        return http::make_client(loop, {.unix_socket = folder + "/" + door, .origin = "http://x"});
    }
    // A plain connection to a door, or to any other Unix socket.
    std::shared_ptr<http::Connection> knock(const std::string& path) {
        auto socket =
            loop.run(http::connect_socket(loop, *http::unix_address(folder + "/" + path), 60s));
        EXPECT_TRUE(socket) << socket.error().message;
        return std::make_shared<http::Connection>(loop, std::move(*socket));
    }
    // What comes next, if that is within a minute.
    Result<std::string_view> read(http::Connection& connection) {
        std::optional<Result<std::string_view>> piece;
        start(connection.read(), [&](Result<std::string_view> got) { piece = std::move(got); });
        if (!run_until_told(loop, [&] { return piece.has_value(); })) {
            ADD_FAILURE() << "nothing comes";
            connection.abort();
            loop.run_until([&] { return piece.has_value(); });
        }
        return *piece;
    }
    std::string read_all(http::Connection& connection) {
        std::string all;
        for (;;) {
            const auto piece = read(connection);
            if (!piece) return all + "(" + piece.error().reason + ")";
            if (piece->empty()) return all;
            all += *piece;
        }
    }

    AsioLoop loop;
    PosixClock clock;
    std::string folder;
    std::unique_ptr<http::Listener> behind;
    std::unique_ptr<Bridge> one, other;
    int begun = 0, ended = 0;
    Error last;
};

TEST_F(BridgeTest, HttpGoesBothWaysOverPipesAndOverASocket) {
    auto tcp = http::listen_plain(loop, "127.0.0.1:0", answer);
    ASSERT_TRUE(tcp);
    const std::string large(5 << 20, 'x');
    for (const bool pipes : {true, false}) {
        connect(offering("server", "unix:" + folder + "/behind"),
                offering("notebook", (*tcp)->address()), pipes);
        open(*other, "server", "server");
        open(*one, "notebook", "notebook");
        const auto to_server = client("server"), to_notebook = client("notebook");
        for (const std::string& text : {std::string("a"), large, std::string()}) {
            const auto there = loop.run(ask(to_server, "/to-server", text));
            ASSERT_TRUE(there) << there.error().message;
            EXPECT_TRUE(*there == "/to-server " + text);
            const auto back = loop.run(ask(to_notebook, "/to-notebook", text));
            ASSERT_TRUE(back) << back.error().message;
            EXPECT_TRUE(*back == "/to-notebook " + text);
        }
        struct stat door{};
        ASSERT_EQ(stat((folder + "/server").c_str(), &door), 0);
        EXPECT_EQ(door.st_mode & 0777, 0600u);
    }
}

TEST_F(BridgeTest, ManyAtOnceAndOneThatNobodyReads) {
    connect(offering("server", "unix:" + folder + "/behind"), {});
    open(*other, "server", "server");
    // It asks for much, again and again, and reads none of it: its answers fill all there is.
    auto stuck = knock("server");
    const std::string body(1 << 20, 's');
    std::string requests;
    for (int i = 0; i < 20; ++i)
        requests +=
            "POST /stuck HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\n\r\n" + body;
    bool written = false;
    start(stuck->write(requests), [&](Result<void>) { written = true; });
    int answered = 0;
    const std::string large(300'000, 'x');
    for (int i = 0; i < 100; ++i)
        start(ask(client("server"), "/" + std::to_string(i), large), [&, i](const auto& got) {
            EXPECT_TRUE(got && *got == "/" + std::to_string(i) + " " + large);
            ++answered;
        });
    ASSERT_TRUE(run_until_told(loop, [&] { return answered == 100; }));
    EXPECT_FALSE(written) << "else nothing was stuck";
    stuck->abort();
    ASSERT_TRUE(run_until_told(loop, [&] { return written; }));
}

TEST_F(BridgeTest, EachDirectionEndsAlone) {
    auto bound = http::listen_unix_socket(folder + "/echo");
    ASSERT_TRUE(bound);
    // Says what it got, once it has got all.
    const auto echo =
        http::listen_connections(loop, std::move(*bound), 10,
                                 [](std::shared_ptr<http::Connection> connection) -> Task<void> {
                                     std::string all;
                                     for (;;) {
                                         const auto piece = co_await connection->read();
                                         if (!piece || piece->empty()) break;
                                         all += *piece;
                                     }
                                     (void)co_await connection->write("got ", all);
                                 });
    connect(offering("echo", "unix:" + folder + "/echo"), {});
    open(*other, "door", "echo");
    for (const std::string& text :
         {std::string("half"), std::string(1 << 20, 'y'), std::string()}) {
        const auto connection = knock("door");
        start(connection->write(text), [&](Result<void> done) {
            EXPECT_TRUE(done);
            connection->finish_writing();
        });
        EXPECT_TRUE(read_all(*connection) == "got " + text);
    }
}

TEST_F(BridgeTest, OnlyWhatIsOfferedCanBeReached) {
    connect(offering("server", "unix:" + folder + "/behind"), {});
    open(*other, "secret", "secret");
    open(*one, "server", "server");  // the other side offers nothing
    for (const char* door : {"secret", "server"}) {
        const auto connection = knock(door);
        const std::string said = read_all(*connection);
        EXPECT_TRUE(said == "" || said == "(ConnectionLost)") << door << ": " << said;
    }
    // What is offered and does not answer ends the connection, not the relay.
    connect(offering("server", "unix:" + folder + "/nobody"), {});
    open(*other, "server", "server");
    EXPECT_FALSE(loop.run(ask(client("server"), "/", "x")));
    EXPECT_EQ(begun - ended, 2) << last.message;
    EXPECT_FALSE(other->open_door(folder + "/x", "no/name"));
    EXPECT_FALSE(other->open_door(folder, "server")) << "a folder is there";
    for (const char* place : {"", "unix:", "8888", "127.0.0.1:0", "10.0.0.1:80", "example.org:80",
                              "[::2]:80", "http://127.0.0.1:80"})
        EXPECT_FALSE(parse_place(place)) << place;
    for (const char* place :
         {"unix:/x", "127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "localhost:80"})
        EXPECT_TRUE(parse_place(place)) << place;
}

TEST_F(BridgeTest, TheEndOfTheStreamEndsWhatItCarries) {
    connect(offering("server", "unix:" + folder + "/behind"), {});
    open(*other, "server", "server");
    const auto connection = knock("server");
    ASSERT_TRUE(
        loop.run(connection->write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")));
    loop.run(loop.sleep(1ms));
    one->stop();
    const std::string said = read_all(*connection);
    EXPECT_TRUE(said == "" || said == "(ConnectionLost)") << said;
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 2; }));
    EXPECT_EQ(last.message, "the relay's stream ended");
    EXPECT_FALSE(std::filesystem::exists(folder + "/server"));
}

TEST_F(BridgeTest, TheNewestDoorIsMeant) {
    const Offers server = offering("server", "unix:" + folder + "/behind");
    connect(server, {});
    open(*other, "server", "server");
    // The stream before it may be dead, and nobody knows yet.
    auto older = std::move(other), older_far = std::move(one);
    connect(server, {});
    open(*other, "server", "server");
    older.reset();
    older_far.reset();
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 2; }));
    const auto said = loop.run(ask(client("server"), "/", "still there"));
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_EQ(*said, "/ still there");
}

TEST_F(BridgeTest, AStreamThatLeadsNowhereTakesNoDoor) {
    connect(offering("server", "unix:" + folder + "/behind"), {});
    open(*other, "server", "server");
    const ino_t before = file_of("server");
    int words[2], unread[2];
    ASSERT_EQ(pipe2(words, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(unread, O_CLOEXEC), 0);
    auto broken = run(*http::make_pipe_stream(loop, Fd(words[0]), Fd(unread[1])), {});
    ASSERT_TRUE(broken->open_door(folder + "/server", "server"));
    EXPECT_EQ(files().size(), 3u) << "it waits beside";
    EXPECT_EQ(file_of("server"), before);
    close(words[1]);
    close(unread[0]);
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 1; }));
    EXPECT_EQ(files(), (std::set<std::string>{"behind", "server"}));
    const auto said = loop.run(ask(client("server"), "/", "still there"));
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_EQ(*said, "/ still there");
}

TEST_F(BridgeTest, ADoorWhoseFileIsGoneIsMadeAgain) {
    Limits limits;
    limits.silence = 10s;  // it looks three times as often
    connect(offering("server", "unix:" + folder + "/behind"), {}, true, limits);
    open(*other, "server", "server");
    std::filesystem::remove(folder + "/server");
    ASSERT_TRUE(run_until_told(loop, [this] { return file_of("server") != 0; }));
    EXPECT_EQ(files(), (std::set<std::string>{"behind", "server"}));
    const auto said = loop.run(ask(client("server"), "/", "again"));
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_EQ(*said, "/ again");
    other.reset();
    EXPECT_EQ(file_of("server"), 0u);
}

TEST_F(BridgeTest, WhatTakesThePlaceOfADoorIsNotReplaced) {
    connect({}, {});
    ASSERT_TRUE(one->open_door(folder + "/server", "server"));
    ASSERT_EQ(file_of("server"), 0u) << "the loop has not run: the other's hello is not read";
    std::ofstream(folder + "/server") << "somebody's";
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 2; }));
    EXPECT_EQ(files(), (std::set<std::string>{"behind", "server"}));
    EXPECT_EQ(std::filesystem::file_size(folder + "/server"), 10u);
}

TEST_F(BridgeTest, TheLongestPathIsADoor) {
    constexpr std::size_t kLongest = 107;
    connect(offering("server", "unix:" + folder + "/behind"), {});
    for (const std::string name : {"s", "server", "some-longer-name"}) {
        const std::string between(kLongest - folder.size() - name.size() - 2, 'd');
        std::filesystem::create_directory(folder + "/" + between);
        open(*other, between + "/" + name, "server");
        EXPECT_TRUE(loop.run(ask(client(between + "/" + name), "/", "x")));
        const std::string longer = folder + "/" + between + "/" + name + "x";
        const auto refused = other->open_door(longer, "server");
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message,
                  "the socket path '" + longer + "' must have 1 to 107 bytes");
    }
}

TEST_F(BridgeTest, AResetIsNoEnd) {
    auto bound = http::listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(bound);
    const std::string address = bound->address;
    std::string got, why;
    const auto server =
        http::listen_connections(loop, std::move(*bound), 10,
                                 [&](std::shared_ptr<http::Connection> connection) -> Task<void> {
                                     for (;;) {
                                         const auto piece = co_await connection->read();
                                         if (!piece || piece->empty()) {
                                             why = piece ? "the end" : piece.error().reason;
                                             co_return;
                                         }
                                         got += *piece;
                                     }
                                 });
    connect(offering("notebook", address), {});
    open(*other, "notebook", "notebook");
    const auto connection = knock("notebook");
    ASSERT_TRUE(loop.run(connection->write("half")));
    ASSERT_TRUE(run_until_told(loop, [&] { return got == "half"; }));
    other->stop();
    ASSERT_TRUE(run_until_told(loop, [&] { return !why.empty(); }));
    EXPECT_EQ(why, "ConnectionLost");
}

// Bytes that nobody reads take the memory of their window, however small their frames are.
TEST_F(BridgeTest, SmallFramesAreHeldTogether) {
    constexpr std::uint32_t kWindow = 512 << 10;
    const auto nobody_accepts = http::listen_unix_socket(folder + "/sink");
    ASSERT_TRUE(nobody_accepts);
    auto [near, far] = *http::socket_pair();
    Limits limits;
    limits.window = kWindow;
    one = run(
        http::make_stream(std::make_shared<http::Connection>(loop, std::move(near)), "", nullptr),
        offering("sink", "unix:" + folder + "/sink"), limits);
    http::Connection peer(loop, std::move(far));
    Relay relay({}, Span(0));
    while (!relay.may_open()) {
        const auto hello = read(peer);
        ASSERT_TRUE(hello && relay.receive(*hello, Span(0)));
    }
    relay.open("sink");
    std::string out;
    relay.output(out, 1000, Span(0));
    ASSERT_TRUE(loop.run(peer.write(out)));
    const std::string frame("\x05\x01\x00\x01\x00\x00\x00\x01x", kHeader + 1);
    std::string frames;
    for (std::uint32_t i = 0; i < kWindow; ++i) frames += frame;
    const auto used = [] {
        const struct mallinfo2 now = mallinfo2();
        return now.uordblks + now.hblkhd;
    };
    const std::size_t before = used();
    ASSERT_TRUE(loop.run(peer.write(frames)));
    EXPECT_LT(used(), before + 8 * kWindow);
    EXPECT_EQ(ended, 0) << last.message;
}

TEST_F(BridgeTest, ASilentStreamEndsItAndSaysSo) {
    Limits limits;
    limits.silence = 200ms;
    auto [near, far] = *http::socket_pair();
    one = run(
        http::make_stream(std::make_shared<http::Connection>(loop, std::move(near)), "", nullptr),
        {}, limits);
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 1; }));
    EXPECT_EQ(last.reason, "RelaySilent");
}

TEST_F(BridgeTest, ItShowsThatItIsAlive) {
    auto [near, far] = *http::socket_pair();
    one = run(
        http::make_stream(std::make_shared<http::Connection>(loop, std::move(near)), "", nullptr),
        {});
    // This side says that it takes 100 ms of silence for the end.
    Limits limits;
    limits.silence = 100ms;
    Relay relay(limits, Span(0));
    std::string hello;
    relay.output(hello, 1000, Span(0));
    http::Connection peer(loop, std::move(far));
    ASSERT_TRUE(loop.run(peer.write(hello)));
    const std::size_t greeting = hello.size();
    std::size_t came = 0;
    while (came < greeting + 3 * kHeader) {
        const auto bytes = read(peer);
        ASSERT_TRUE(bytes && !bytes->empty());
        came += bytes->size();
        ASSERT_TRUE(relay.receive(*bytes, Span(0)));
    }
    EXPECT_EQ((came - greeting) % kHeader, 0u) << "nothing but that, three times or more";
}

TEST_F(BridgeTest, WhatDoesNotEvenBeginIsToldApart) {
    const auto none = http::make_pipe_stream(loop, Fd(), Fd());
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message, "there is no stream: Bad file descriptor");
    int words[2], unread[2];
    ASSERT_EQ(pipe2(words, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(unread, O_CLOEXEC), 0);
    ASSERT_EQ(write(words[1], "sh: no such program\n", 20), 20);
    close(words[1]);
    close(unread[0]);
    one = run(*http::make_pipe_stream(loop, Fd(words[0]), Fd(unread[1])), {});
    ASSERT_TRUE(run_until_told(loop, [this] { return ended == 1; }));
    EXPECT_EQ(last.message,
              "the relay's stream ended before the other side's hello: 'sh: no such program'");
}

}  // namespace
}  // namespace turnout::link
