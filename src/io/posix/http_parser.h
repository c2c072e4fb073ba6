// HTTP/1.1 messages out of bytes, without any I/O: Beast's parser for the header, plus the refusals
// that keep two parties from disagreeing about where a message ends. Used by the server and the
// client.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/http.h"

namespace turnout::http {

enum class Role { Request, Response };  // what is read

struct MessageHead {
    std::string method;  // requests
    std::string target;
    int status = 0;  // responses
    Headers headers;
    bool keep_alive = true;
    bool http_1_0 = false;
    bool chunked = false;
    bool expects_continue = false;
    std::optional<std::uint64_t> content_length;
};

// Reads one message after another from bytes that are given to it. An error's `reason` is
// "BadRequest" (400), "HeaderTooLarge" (431), "VersionNotSupported" (505), "NotImplemented" (501)
// or "PartialMessage"; after an error nothing more can be read.
class MessageReader {
public:
    MessageReader(Role role, std::size_t header_limit);
    ~MessageReader();
    MessageReader(const MessageReader&) = delete;
    MessageReader& operator=(const MessageReader&) = delete;

    // Starts the next message; bytes given before and not used stay.
    void begin();
    void give(std::string_view bytes);
    bool empty() const { return offset_ == pending_.size(); }  // nothing given is left unused
    bool started() const { return started_; }                  // a byte of this message was used

    // True when the header is complete; false asks for more bytes.
    Result<bool> parse_head();
    MessageHead& head() { return head_; }
    // After the header of a response that has no body whatever it says (to a HEAD).
    void expect_no_body();

    // A piece; "" is the end of the message; nothing asks for more bytes.
    Result<std::optional<std::string>> take_body();
    // The connection ended while take_body asked for more: fine if that is how the body ends.
    Result<void> end_of_stream();
    bool done() const { return body_ == Body::Done; }
    std::uint64_t left() const { return left_; }  // of a body with Content-Length

    // What was given and belongs to no message: the first bytes after an upgrade.
    std::string take_rest();

private:
    enum class Body { Head, Length, Chunked, UntilEnd, Done };
    struct Parsers;
    Result<void> decode_chunks(std::string& out);

    void used(std::size_t count);
    std::string_view unused() const { return std::string_view(pending_).substr(offset_); }

    Role role_;
    std::size_t header_limit_;
    std::unique_ptr<Parsers> parsers_;
    MessageHead head_;
    std::string pending_;
    std::size_t offset_ = 0;
    bool started_ = false;
    int empty_lines_ = 0;      // before it
    std::size_t scanned_ = 0;  // of the header, for its end
    Body body_ = Body::Head;
    std::uint64_t left_ = 0;  // of the body, or of a chunk
    enum class Chunk { Size, Data, DataEnd, Trailer } chunk_ = Chunk::Size;
    std::size_t trailers_ = 0;  // bytes of them
    std::optional<Error> broken_;
};

// For writing: "Name: value\r\n" with control characters of the value made harmless.
void append_header(std::string& out, std::string_view name, std::string_view value);
std::string_view reason_phrase(int status);

}  // namespace turnout::http
