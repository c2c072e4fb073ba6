#include "api/gateway/gateway.h"

#include "base/text.h"

namespace turnout::api {

namespace {

// Sent in one piece, so that it can be said again on another connection where the first one had
// ended unheard.
constexpr std::size_t kWhole = 64 << 10;
constexpr Span kAsked = 10s;
constexpr std::size_t kLongestAnswer = 4 << 20;

// What the client sends, as it comes.
class Passing final : public http::BodyReader {
public:
    Passing(http::BodyReader& from, std::size_t most) : from_(from), left_(most) {}
    Task<Result<std::string>> read() override {
        Result<std::string> piece = co_await from_.read();
        if (piece && piece->size() > left_)
            co_return fail(Code::ResourceExhausted, "BodyTooLarge", "the body is too large");
        if (piece) left_ -= piece->size();
        co_return piece;
    }

private:
    http::BodyReader& from_;
    std::size_t left_;
};

Task<void> join(std::unique_ptr<http::Stream> client, std::unique_ptr<http::Stream> program) {
    co_await http::join_streams(std::move(client), std::move(program));
}

}  // namespace

Task<Result<http::Response>> Gateway::forward(Forward forward, const http::Request& request,
                                              http::BodyReader& body) {
    http::ClientRequest ask;
    ask.method = request.method;
    ask.url = "http://" + authority_of(forward.to) + forward.target;
    ask.headers = headers_to_program(request, forward.client, forward.add);
    ask.timeout = forward.timeout;
    ask.once = forward.once;
    ask.stop = forward.stop;
    const bool has_body =
        request.content_length.value_or(0) > 0 || request.headers.has("transfer-encoding");
    if (request.content_length.value_or(0) > forward.most_body)
        co_return fail(Code::ResourceExhausted, "BodyTooLarge",
                       "the body has " + std::to_string(*request.content_length) +
                           " bytes; at most " + std::to_string(forward.most_body) + " are taken");
    if (has_body && request.content_length && *request.content_length <= kWhole) {
        TURNOUT_CO_TRY(ask.body, co_await body.all(kWhole));
    } else if (has_body) {
        ask.stream = std::make_unique<Passing>(body, forward.most_body);
        ask.length = request.content_length;
    }
    TURNOUT_CO_TRY(http::ClientResponse answer, co_await client_->send(std::move(ask)));

    http::Response response;
    response.status = answer.status;
    const bool upgraded = answer.status == 101;
    response.headers = headers_to_client(answer.headers, upgraded);
    if (upgraded) {
        if (!answer.stream || !forward.client.upgrade || !is_websocket(request))
            co_return fail(Code::Unavailable, "BadAnswer",
                           "the program changed the protocol without being asked to");
        // std::function copies
        auto held = std::make_shared<std::unique_ptr<http::Stream>>(std::move(answer.stream));
        response.upgraded = [held](std::unique_ptr<http::Stream> client) {
            return join(std::move(client), std::move(*held));
        };
        co_return response;
    }
    const std::string_view length = answer.headers.get("content-length");
    if (!length.empty())
        if (const auto number = parse_whole_number(length); number && *number >= 0)
            response.length = static_cast<std::uint64_t>(*number);
    if (request.method != "HEAD" && answer.status != 204 && answer.status != 304)
        response.stream = std::move(answer.body);
    co_return response;
}

Task<Result<Json>> Gateway::get(const Clock& clock, ReplicaAddress from, std::string target,
                                http::Headers headers) {
    const Span begun = clock.since_boot();
    http::ClientRequest ask;
    ask.url = "http://" + authority_of(from) + target;
    ask.headers = std::move(headers);
    ask.timeout = kAsked;
    TURNOUT_CO_TRY(http::ClientResponse answer, co_await client_->send(std::move(ask)));
    // A program that always says a little more has that time for all of it.
    std::string text;
    for (;;) {
        TURNOUT_CO_TRY(const std::string piece, co_await answer.body->read());
        if (piece.empty()) break;
        text += piece;
        if (text.size() > kLongestAnswer || clock.since_boot() - begun > 2 * kAsked)
            co_return fail(Code::Unavailable, "BadAnswer", "its answer is too long, or too slow");
    }
    if (answer.status != 200)
        co_return fail(Code::Unavailable, "BadAnswer",
                       "it answers with status " + std::to_string(answer.status));
    co_return parse_json(text);
}

}  // namespace turnout::api
