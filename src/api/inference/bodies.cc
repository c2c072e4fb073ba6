#include "api/inference/bodies.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::size_t kPiece = 256 << 10;

Failure too_large(std::size_t limit) {
    return fail(Code::ResourceExhausted, "RequestEntityTooLarge",
                "the body is larger than the " + to_size_words(limit) + " allowed here");
}

}  // namespace

bool Bodies::One::take(std::size_t upto) {
    if (upto <= taken) return true;
    const std::size_t more = upto - taken;
    if (more > of->most - of->now) return false;
    of->now += more;
    taken = upto;
    return true;
}

Task<Result<Bodies::Body>> Bodies::read(http::BodyReader& from, std::optional<std::uint64_t> length,
                                        std::size_t limit) {
    const auto full = [this] {
        return fail(Code::ResourceExhausted, "TooManyRequests",
                    "the requests that are answered just now have " + to_size_words(held_->now) +
                        ", and there is no room for more");
    };
    if (length.value_or(0) > limit) co_return too_large(limit);
    const auto body = std::make_shared<One>(held_);
    if (!body->take(static_cast<std::size_t>(length.value_or(0)))) co_return full();
    body->text.reserve(body->taken);
    while (true) {
        TURNOUT_CO_TRY(const std::string piece, co_await from.read());
        if (piece.empty()) break;
        if (piece.size() > limit - body->text.size()) co_return too_large(limit);
        if (!body->take(body->text.size() + piece.size())) co_return full();
        body->text += piece;
    }
    co_return Body(body, &body->text);
}

Task<Result<std::string>> HeldBody::read() {
    std::string piece = body_->substr(at_, kPiece);
    at_ += piece.size();
    co_return piece;
}

}  // namespace turnout::api
