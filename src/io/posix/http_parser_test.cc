#include "io/posix/http_parser.h"

#include <gtest/gtest.h>

namespace turnout::http {
namespace {

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

// Beast ends the process with an assertion when the last chunk arrives as "0\r\n" and one byte more.
TEST(MessageReader, LastChunkInSinglePieces) {
    for (std::string_view chunks : {"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "1\r\nx\r\n1\r\ny\r\n0\r\nTrailer: t\r\n\r\n"}) {
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
    reader.give("PUT /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_TRUE(reader.parse_head().value());
    EXPECT_EQ(reader.take_body().value(), "hello");
    reader.begin();
    const auto complete = reader.parse_head();
    ASSERT_TRUE(complete.has_value()) << complete.error().message;
    EXPECT_EQ(reader.head().target, "/two");
}

}  // namespace
}  // namespace turnout::http
