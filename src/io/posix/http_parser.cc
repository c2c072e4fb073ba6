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

std::string_view view(BoostView text) { return {text.data(), text.size()}; }

Failure bad(std::string message) {
    return fail(Code::InvalidArgument, "BadRequest", std::move(message));
}

// Chunk headers and trailers: what one may be long.
constexpr std::size_t chunk_header_limit = 16 << 10;

template <bool is_request>
class Parser final : public beast::basic_parser<is_request> {
public:
    Parser(MessageHead& head, std::string& decoded) : head_(head), decoded_(decoded) {}

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
        if (this->is_header_done()) return;  // a trailer: nobody here wants one
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
    std::size_t on_body_impl(BoostView body, BoostError& error) override {
        decoded_.append(body.data(), body.size());
        error = {};
        return body.size();
    }
    void on_chunk_header_impl(std::uint64_t, BoostView, BoostError& error) override { error = {}; }
    std::size_t on_chunk_body_impl(std::uint64_t, BoostView body, BoostError& error) override {
        decoded_.append(body.data(), body.size());
        error = {};
        return body.size();
    }
    void on_finish_impl(BoostError& error) override { error = {}; }

    MessageHead& head_;
    std::string& decoded_;
};

// Feeds bytes until the header is done (`whole` false) or the bytes or the message end.
template <bool is_request>
Result<std::size_t> feed(Parser<is_request>& parser, std::string_view bytes, bool whole) {
    std::size_t used = 0;
    while (used < bytes.size() && !parser.is_done() && (whole || !parser.is_header_done())) {
        BoostError error;
        const std::size_t count = parser.put(
            boost::asio::const_buffer(bytes.data() + used, bytes.size() - used), error);
        used += count;
        if (error == beast::error::need_more) break;
        if (error == beast::error::header_limit || error == beast::error::buffer_overflow)
            return fail(Code::ResourceExhausted, "HeaderTooLarge",
                        "the header is larger than this server takes");
        if (error == beast::error::bad_version)
            return fail(Code::InvalidArgument, "VersionNotSupported",
                        "only HTTP/1.1 and HTTP/1.0 are spoken here");
        if (error) return bad("malformed HTTP: " + to_lower(error.message()));
    }
    return used;
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
    decoded_.clear();
    started_ = false;
    empty_lines_ = 0;
    left_ = 0;
    body_ = Body::Head;
    const auto set_up = [this](auto& parser) {
        parser.emplace(head_, decoded_);
        parser->header_limit(static_cast<std::uint32_t>(
            std::min<std::size_t>(header_limit_, std::numeric_limits<std::uint32_t>::max())));
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
        decoded_ = {};
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
    const auto parse = [this](auto& parser) -> Result<bool> {
        // Empty lines before a message are allowed, but not without end.
        while (!started_ && unused().starts_with("\r\n")) {
            offset_ += 2;
            if (++empty_lines_ > 8) return bad("malformed HTTP: empty lines instead of a message");
        }
        if (empty()) {
            used(0);
            return false;
        }
        if (!started_ && unused()[0] == '\r' && unused().size() == 1) return false;
        const std::size_t count = TURNOUT_TRY(feed(parser, unused(), false));
        started_ = true;
        used(count);
        if (!parser.is_header_done()) {
            if (pending_.size() - offset_ > header_limit_)
                return fail(Code::ResourceExhausted, "HeaderTooLarge",
                            "the header is larger than this server takes");
            return false;
        }
        TURNOUT_TRY(check(parser, head_));
        head_.keep_alive = parser.keep_alive();
        head_.chunked = parser.chunked();
        if (parser.content_length()) head_.content_length = *parser.content_length();
        const bool bodyless = role_ == Role::Response && (head_.status / 100 == 1 ||
                                                          head_.status == 204 || head_.status == 304);
        if (bodyless) {
            body_ = Body::Done;
        } else if (head_.chunked) {
            body_ = Body::Chunked;
            parser.eager(true);
        } else if (head_.content_length) {
            left_ = *head_.content_length;
            body_ = left_ > 0 ? Body::Length : Body::Done;
        } else {
            body_ = role_ == Role::Request ? Body::Done : Body::UntilEnd;
            if (body_ == Body::UntilEnd) head_.keep_alive = false;
        }
        return true;
    };
    return role_ == Role::Request ? parse(*parsers_->request) : parse(*parsers_->response);
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
    // Before its end a chunked body has at least "0\r\n\r\n" to come. Beast, given "0\r\n" and then
    // one byte more, fails an assertion: any peer could end the process.
    if (pending_.size() - offset_ < 5) return std::nullopt;
    const auto parse = [this](auto& parser) -> Result<std::optional<std::string>> {
        decoded_.clear();
        used(TURNOUT_TRY(feed(parser, unused(), true)));
        if (parser.is_done()) body_ = Body::Done;
        if (!decoded_.empty()) return std::exchange(decoded_, {});
        if (body_ == Body::Done) return std::string();
        if (pending_.size() - offset_ > chunk_header_limit)
            return bad("malformed HTTP: a chunk header without end");
        return std::nullopt;
    };
    return role_ == Role::Request ? parse(*parsers_->request) : parse(*parsers_->response);
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
    return known == beast::status::unknown ? std::string_view() : view(beast::obsolete_reason(known));
}

}  // namespace turnout::http
