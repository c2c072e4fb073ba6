#include "io/posix/http_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace turnout::http {
namespace {

// All that a reader makes of `bytes` when they arrive in pieces of `piece`, as text: what must not
// depend on how the network cuts them.
std::string read_all(Role role, std::string_view bytes, std::size_t piece) {
    MessageReader reader(role, 8192);
    std::string out;
    bool in_body = false;
    bool failed = false;
    const auto step = [&]() -> bool {  // false: more bytes are needed, or it is over
        if (!in_body) {
            const auto complete = reader.parse_head();
            if (!complete) {
                out += "!" + complete.error().reason;
                failed = true;
                return false;
            }
            if (!*complete) return false;
            const MessageHead& head = reader.head();
            out += head.method + " " + head.target + " " + std::to_string(head.status);
            for (const auto& [name, value] : head.headers.all()) out += "|" + name + ":" + value;
            out += head.keep_alive ? "|keep{" : "|close{";
            in_body = true;
        }
        const auto body = reader.take_body();
        if (!body) {
            out += "!" + body.error().reason;
            failed = true;
            return false;
        }
        if (!*body) return false;
        out += **body;
        if ((*body)->empty()) {
            out += "}\n";
            in_body = false;
            reader.begin();
        }
        return true;
    };
    while (!bytes.empty()) {
        reader.give(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        while (step()) {
        }
        if (failed) return out;
    }
    return out;
}

const std::string request_samples[] = {
    "GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n "
    "world\r\n0\r\nT: 1\r\n\r\nGET /n HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "GET /w HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
};
const std::string response_samples[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
    "chunked\r\n\r\na\r\n0123456789\r\n"
    "0\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\nHTTP/1.1 404 \r\nContent-Length: "
    "0\r\n\r\n",
};

TEST(MessageReader, ReadsWhatWasSent) {
    EXPECT_EQ(read_all(Role::Request, request_samples[1], 10'000),
              "PUT /x 0|Host:h|Content-Length:5|keep{hello}\nGET / 0|Host:h|keep{}\n");
    EXPECT_EQ(read_all(Role::Request, request_samples[2], 10'000),
              "POST /c 0|Host:h|Transfer-Encoding:chunked|keep{hello world}\nGET /n 0|close{}\n");
    EXPECT_EQ(read_all(Role::Response, response_samples[1], 10'000),
              "  100|keep{}\n  200|Transfer-Encoding:chunked|keep{0123456789}\n");
    EXPECT_EQ(read_all(Role::Response, response_samples[2], 10'000), "  200|close{until the end");
    EXPECT_EQ(read_all(Role::Response, response_samples[3], 10'000),
              "  304|Content-Length:10|keep{}\n  404|Content-Length:0|keep{}\n");
}

// Random damage to good messages: no crash, and the same outcome however the bytes are cut. The
// sanitizer build makes this the fuzz test of the parser.
TEST(MessageReader, OutcomeDoesNotDependOnHowBytesArrive) {
    std::mt19937_64 random(20261122);
    const std::string inserts[] = {"\r\n",
                                   "\r",
                                   "\n",
                                   "0\r\n\r\n",
                                   " ",
                                   ":",
                                   ",",
                                   "Content-Length: 3\r\n",
                                   "Transfer-Encoding: chunked\r\n",
                                   "ffffffffffffffff\r\n",
                                   std::string(1, '\0'),
                                   "\x80",
                                   "HTTP/1.1",
                                   "Host: h\r\n"};
    const auto pick = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    for (int round = 0; round < 20'000; ++round) {
        const bool request = round % 2 == 0;
        std::string bytes = request ? request_samples[pick(std::size(request_samples))]
                                    : response_samples[pick(std::size(response_samples))];
        for (std::size_t damage = pick(4); damage > 0; --damage) {
            const std::size_t at = pick(bytes.size());
            switch (pick(4)) {
                case 0: bytes[at] = static_cast<char>(random()); break;
                case 1: bytes.insert(at, inserts[pick(std::size(inserts))]); break;
                case 2: bytes.erase(at, 1 + pick(8)); break;
                case 3: bytes.insert(at, bytes.substr(pick(bytes.size()), pick(40))); break;
            }
            if (bytes.empty()) bytes = "x";
        }
        const Role role = request ? Role::Request : Role::Response;
        const std::string whole = read_all(role, bytes, bytes.size());
        ASSERT_EQ(whole, read_all(role, bytes, 1)) << bytes;
        ASSERT_EQ(whole, read_all(role, bytes, 1 + pick(30))) << bytes;
    }
}

// The whole body of a message of which the header was read, given one byte after the other.
std::string body_byte_by_byte(MessageReader& reader, std::string_view bytes) {
    std::string body;
    for (char byte : bytes) {
        reader.give(std::string_view(&byte, 1));
        for (;;) {
            auto piece = reader.take_body();
            EXPECT_TRUE(piece.has_value());
            if (!piece || !*piece || (*piece)->empty()) break;
            body += **piece;
        }
    }
    return body;
}

// Beast ends the process with an assertion when the last chunk arrives as "0\r\n" and one byte
// more.
TEST(MessageReader, LastChunkInSinglePieces) {
    for (std::string_view chunks :
         {"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "1\r\nx\r\n1\r\ny\r\n0\r\nTrailer: t\r\n\r\n"}) {
        MessageReader reader(Role::Request, 4096);
        reader.give("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        ASSERT_TRUE(reader.parse_head().value());
        const std::string body = body_byte_by_byte(reader, chunks);
        EXPECT_TRUE(reader.done()) << chunks;
        EXPECT_EQ(body, chunks[0] == '0' ? "" : chunks[0] == '5' ? "hello" : "xy");
    }
}

TEST(MessageReader, EmptyLinesBeforeTheNextMessage) {
    MessageReader reader(Role::Request, 4096);
    reader.give(
        "PUT /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\r\nGET /two "
        "HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_TRUE(reader.parse_head().value());
    EXPECT_EQ(reader.take_body().value(), "hello");
    reader.begin();
    const auto complete = reader.parse_head();
    ASSERT_TRUE(complete.has_value()) << complete.error().message;
    EXPECT_EQ(reader.head().target, "/two");
}

TEST(MessageReader, HeaderLimit) {
    for (const std::size_t piece : {1, 100, 100'000}) {
        EXPECT_EQ(read_all(Role::Request,
                           "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(9000, 'x'), piece),
                  "!HeaderTooLarge");
        EXPECT_EQ(read_all(Role::Request, std::string(9000, 'G'), piece), "!HeaderTooLarge");
    }
    const std::string fits =
        "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(8000, 'x') + "\r\n\r\n";
    EXPECT_EQ(read_all(Role::Request, fits + fits, 1000).find('!'), std::string::npos);
}

TEST(MessageReader, HeadersAreMadeHarmless) {
    std::string out;
    append_header(out, "X\r\nY", "a\r\nb\0c");
    EXPECT_EQ(out, "X  Y: a  b\r\n");
    EXPECT_EQ(reason_phrase(404), "Not Found");
    EXPECT_EQ(reason_phrase(799), "");
}

}  // namespace
}  // namespace turnout::http
