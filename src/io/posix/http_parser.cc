// Beast's parser gives false warnings of this kind when it is built with sanitizers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "io/posix/http_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <limits>

#include "base/text.h"

namespace turnout::http {
namespace {

namespace beast = boost::beast::http;
using BoostError = boost::beast::error_code;
using BoostView = boost::beast::string_view;

std::string_view view(BoostView text) {
    return {text.data(), text.size()};
}

Failure bad(std::string message) {
    return fail(Code::InvalidArgument, "BadRequest", std::move(message));
}

// How long the line before a chunk and all trailers may be.
constexpr std::size_t chunk_line_limit = 4 << 10;
constexpr std::size_t trailers_limit = 16 << 10;

template <bool is_request>
class Parser final : public beast::basic_parser<is_request> {
public:
    explicit Parser(MessageHead& head) : head_(head) {}

    int version = 11;
    int hosts = 0;
    int lengths = 0;
    int encodings = 0;
    bool plainly_chunked = false;
    bool odd_length = false;

private:
    void on_request_impl(beast::verb, BoostView method, BoostView target, int http_version,
                         BoostError& error) override {
        head_.method = view(method);
        head_.target = view(target);
        version = http_version;
        error = {};
    }
    void on_response_impl(int code, BoostView, int http_version, BoostError& error) override {
        head_.status = code;
        version = http_version;
        error = {};
    }
    void on_field_impl(beast::field name, BoostView text, BoostView value,
                       BoostError& error) override {
        error = {};
        if (name == beast::field::content_length) {
            ++lengths;
            odd_length = !std::all_of(value.begin(), value.end(),
                                      [](char c) { return c >= '0' && c <= '9'; });
        } else if (name == beast::field::transfer_encoding) {
            ++encodings;
            plainly_chunked = equal_ignoring_case(view(value), "chunked");
        } else if (name == beast::field::host) {
            ++hosts;
        } else if (name == beast::field::expect) {
            head_.expects_continue = equal_ignoring_case(view(value), "100-continue");
        }
        head_.headers.add(view(text), std::string(view(value)));
    }
    void on_header_impl(BoostError& error) override { error = {}; }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, BoostError& error) override {
        error = {};
    }
    std::size_t on_body_impl(BoostView body, BoostError&) override { return body.size(); }
    void on_chunk_header_impl(std::uint64_t, BoostView, BoostError&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, BoostView body, BoostError&) override {
        return body.size();
    }
    void on_finish_impl(BoostError& error) override { error = {}; }

    MessageHead& head_;
};

// A whole header.
template <bool is_request>
Result<void> parse(Parser<is_request>& parser, std::string_view bytes) {
    while (!bytes.empty() && !parser.is_header_done()) {
        BoostError error;
        bytes.remove_prefix(
            parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), error));
        if (error == beast::error::need_more) break;
        if (error == beast::error::bad_version)
            return fail(Code::InvalidArgument, "VersionNotSupported",
                        "only HTTP/1.1 and HTTP/1.0 are spoken here");
        if (error) return bad("malformed HTTP: " + to_lower(error.message()));
    }
    if (!parser.is_header_done() || !bytes.empty())
        return bad("malformed HTTP: a header without end");
    return {};
}

// The size at the start of a chunk's first line; what follows a ';' is for nobody here.
std::optional<std::uint64_t> chunk_size(std::string_view line) {
    std::uint64_t size = 0;
    std::size_t digits = 0;
    for (; digits < line.size(); ++digits) {
        const char c = line[digits];
        int value = 0;
        if (c >= '0' && c <= '9')
            value = c - '0';
        else if (c >= 'a' && c <= 'f')
            value = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            value = c - 'A' + 10;
        else
            break;
        if (digits == 15) return std::nullopt;  // 2^60 bytes and more
        size = size * 16 + static_cast<std::uint64_t>(value);
    }
    if (digits == 0) return std::nullopt;
    const std::string_view rest = trim(line.substr(digits));
    if (!rest.empty() && rest[0] != ';') return std::nullopt;
    return size;
}

bool is_plain(std::string_view line) {
    return std::all_of(line.begin(), line.end(),
                       [](char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\t'; });
}

// What Beast lets pass and would let two parties disagree, or that we do not speak.
template <bool is_request>
Result<void> check(const Parser<is_request>& parser, const MessageHead& head) {
    if (parser.version != 11 && parser.version != 10)
        return fail(Code::InvalidArgument, "VersionNotSupported",
                    "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (parser.lengths > 1 || parser.odd_length)
        return bad("malformed HTTP: one plain Content-Length at most");
    if (parser.encodings > 0) {
        if (parser.lengths > 0)
            return bad("malformed HTTP: both Content-Length and Transfer-Encoding");
        if (parser.encodings > 1) return bad("malformed HTTP: more than one Transfer-Encoding");
        if (!parser.plainly_chunked)
            return fail(Code::InvalidArgument, "NotImplemented",
                        "the only transfer encoding spoken here is 'chunked'");
        if (parser.version == 10)
            return bad("malformed HTTP: Transfer-Encoding in an HTTP/1.0 message");
    }
    if constexpr (is_request) {
        if (parser.hosts > 1 || (parser.hosts == 0 && parser.version == 11))
            return bad("malformed HTTP: exactly one Host header is needed");
        if (head.target.empty() || (head.target[0] != '/' && head.target != "*" &&
                                    head.target.find("://") == std::string::npos))
            return bad("malformed HTTP: the target must start with '/'");
    }
    return {};
}

}  // namespace

struct MessageReader::Parsers {
    std::optional<Parser<true>> request;
    std::optional<Parser<false>> response;
};

MessageReader::MessageReader(Role role, std::size_t header_limit)
    : role_(role), header_limit_(header_limit), parsers_(std::make_unique<Parsers>()) {
    begin();
}
MessageReader::~MessageReader() = default;

void MessageReader::begin() {
    head_ = {};
    started_ = false;
    scanned_ = 0;
    empty_lines_ = 0;
    left_ = 0;
    broken_.reset();
    body_ = Body::Head;
    const auto set_up = [this](auto& parser) {
        parser.emplace(head_);
        parser->header_limit(std::numeric_limits<std::uint32_t>::max());  // ours comes before
        parser->body_limit(boost::none);
        parser->eager(false);
    };
    if (role_ == Role::Request)
        set_up(parsers_->request);
    else
        set_up(parsers_->response);
    if (empty() && pending_.capacity() > 4096) {  // an idle connection holds no buffer
        pending_ = {};
        offset_ = 0;
    }
}

void MessageReader::give(std::string_view bytes) {
    if (offset_ > 0) {
        pending_.erase(0, offset_);
        offset_ = 0;
    }
    pending_ += bytes;
}

void MessageReader::used(std::size_t count) {
    offset_ += count;
    if (count > 0) started_ = true;
    if (offset_ == pending_.size()) {
        pending_.clear();
        offset_ = 0;
    }
}

Result<bool> MessageReader::parse_head() {
    const auto read = [this](auto& parser) -> Result<bool> {
        // Empty lines before a message are allowed, but not without end.
        while (!started_ && unused().starts_with("\r\n")) {
            offset_ += 2;
            if (++empty_lines_ > 8) return bad("malformed HTTP: empty lines instead of a message");
        }
        if (empty()) {
            used(0);
            return false;
        }
        const std::string_view bytes = unused();
        if (bytes == "\r") return false;
        started_ = true;
        const auto first = static_cast<unsigned char>(bytes[0]);
        if (first <= 0x20 || first >= 0x7f) return bad("malformed HTTP: this is another protocol");
        // Parsed when it is whole, so that the outcome cannot depend on how the bytes arrived.
        const std::size_t end = bytes.find("\r\n\r\n", scanned_ < 3 ? 0 : scanned_ - 3);
        scanned_ = bytes.size();
        if (std::min(end, bytes.size()) > header_limit_)
            return fail(
                Code::ResourceExhausted, "HeaderTooLarge",
                "the header is larger than the " + to_size_words(header_limit_) + " taken here");
        if (end == std::string_view::npos) return false;
        TURNOUT_TRY(parse(parser, bytes.substr(0, end + 4)));
        TURNOUT_TRY(check(parser, head_));
        used(end + 4);
        head_.keep_alive = parser.keep_alive();
        head_.http_1_0 = parser.version == 10;
        head_.chunked = parser.chunked();
        if (parser.content_length()) head_.content_length = *parser.content_length();
        const bool bodyless =
            role_ == Role::Response &&
            (head_.status / 100 == 1 || head_.status == 204 || head_.status == 304);
        if (bodyless) {
            body_ = Body::Done;
        } else if (head_.chunked) {
            body_ = Body::Chunked;
            chunk_ = Chunk::Size;
        } else if (head_.content_length) {
            left_ = *head_.content_length;
            body_ = left_ > 0 ? Body::Length : Body::Done;
        } else {
            body_ = role_ == Role::Request ? Body::Done : Body::UntilEnd;
            if (body_ == Body::UntilEnd) head_.keep_alive = false;
        }
        return true;
    };
    return role_ == Role::Request ? read(*parsers_->request) : read(*parsers_->response);
}

void MessageReader::expect_no_body() {
    body_ = Body::Done;
    left_ = 0;
}

Result<std::optional<std::string>> MessageReader::take_body() {
    switch (body_) {
        case Body::Head: return internal("a body was asked for before its header");
        case Body::Done: return std::string();
        case Body::Length:
        case Body::UntilEnd: {
            if (empty()) return std::nullopt;
            std::size_t count = pending_.size() - offset_;
            if (body_ == Body::Length && count > left_) count = static_cast<std::size_t>(left_);
            std::string piece;
            if (offset_ == 0 && count == pending_.size())
                piece = std::exchange(pending_, {});
            else
                piece = pending_.substr(offset_, count);
            if (!pending_.empty()) used(count);
            if (body_ == Body::Length && (left_ -= count) == 0) body_ = Body::Done;
            return piece;
        }
        case Body::Chunked: break;
    }
    if (broken_) return Failure(*broken_);
    std::string piece;
    Result<void> decoded = decode_chunks(piece);
    if (!piece.empty()) {
        if (!decoded) broken_ = decoded.error();  // told after what came before it
        return piece;
    }
    if (!decoded) return Failure(std::move(decoded).error());
    if (body_ == Body::Done) return std::string();
    return std::nullopt;
}

// Own code: Beast's decoder of chunks asserts on input that arrives in small pieces.
Result<void> MessageReader::decode_chunks(std::string& out) {
    while (body_ != Body::Done && !empty()) {
        const std::string_view bytes = unused();
        if (chunk_ == Chunk::Data) {
            const auto count =
                static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
            out += bytes.substr(0, count);
            used(count);
            left_ -= count;
            if (left_ == 0) chunk_ = Chunk::DataEnd;
            continue;
        }
        if (chunk_ == Chunk::DataEnd) {
            if (bytes.size() < 2) return {};
            if (!bytes.starts_with("\r\n"))
                return bad("malformed HTTP: a chunk longer than its size");
            used(2);
            chunk_ = Chunk::Size;
            continue;
        }
        const std::size_t limit =
            chunk_ == Chunk::Size ? chunk_line_limit : trailers_limit - trailers_;
        const std::size_t end = bytes.find("\r\n");
        if (std::min(end, bytes.size()) > limit)
            return bad("malformed HTTP: a chunk line without end");
        if (end == std::string_view::npos) return {};
        const std::string_view line = bytes.substr(0, end);
        if (!is_plain(line)) return bad("malformed HTTP: control characters in a chunk line");
        if (chunk_ == Chunk::Trailer) {
            trailers_ += line.size();
            if (line.empty()) body_ = Body::Done;
        } else {
            const std::optional<std::uint64_t> size = chunk_size(line);
            if (!size) return bad("malformed HTTP: a chunk without a size");
            left_ = *size;
            chunk_ = left_ > 0 ? Chunk::Data : Chunk::Trailer;
            trailers_ = 0;
        }
        used(end + 2);
    }
    return {};
}

Result<void> MessageReader::end_of_stream() {
    if (body_ == Body::UntilEnd) {
        body_ = Body::Done;
        return {};
    }
    return fail(Code::Unavailable, "PartialMessage",
                "the connection ended in the middle of a message");
}

std::string MessageReader::take_rest() {
    std::string rest(unused());
    pending_.clear();
    offset_ = 0;
    return rest;
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
    const auto harmless = [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; };
    const std::size_t at = out.size();
    out += name;
    out += ": ";
    out += value;
    for (std::size_t i = at; i < out.size(); ++i)
        if (!harmless(static_cast<unsigned char>(out[i]))) out[i] = ' ';
    out += "\r\n";
}

std::string_view reason_phrase(int status) {
    const auto known = beast::int_to_status(static_cast<unsigned>(status));
    return known == beast::status::unknown ? std::string_view()
                                           : view(beast::obsolete_reason(known));
}

}  // namespace turnout::http
