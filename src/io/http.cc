#include "io/http.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::http {

std::string_view Headers::get(std::string_view name) const {
    for (const auto& [key, value] : items_)
        if (equal_ignoring_case(key, name)) return value;
    return {};
}

bool Headers::has(std::string_view name) const {
    return std::any_of(items_.begin(), items_.end(),
                       [&](const auto& item) { return equal_ignoring_case(item.first, name); });
}

void Headers::set(std::string_view name, std::string value) {
    std::erase_if(items_, [&](const auto& item) { return equal_ignoring_case(item.first, name); });
    add(name, std::move(value));
}

void Headers::add(std::string_view name, std::string value) {
    if (items_.capacity() == 0) items_.reserve(8);
    items_.emplace_back(std::string(name), std::move(value));
}

Task<Result<std::string>> BodyReader::all(std::size_t limit) {
    std::string whole;
    for (;;) {
        Result<std::string> piece = co_await read();
        if (!piece) co_return Failure(std::move(piece).error());
        if (piece->empty()) co_return whole;
        if (piece->size() > limit - whole.size())
            co_return fail(Code::ResourceExhausted, "RequestEntityTooLarge",
                           "the body is larger than the " + to_size_words(limit) + " allowed here");
        if (whole.empty())
            whole = std::move(*piece);
        else
            whole += *piece;
    }
}

namespace {

Task<void> carry(std::shared_ptr<Stream> from, std::shared_ptr<Stream> to) {
    for (;;) {
        Result<std::string> bytes = co_await from->read();
        if (!bytes || bytes->empty()) break;
        Result<void> written = co_await to->write(std::move(*bytes));
        if (!written) break;
    }
    from->close();
    to->close();
}

}  // namespace

Task<void> join_streams(std::unique_ptr<Stream> one, std::unique_ptr<Stream> other) {
    // Shared by the two directions, which do not end at the same moment.
    const std::shared_ptr<Stream> a(std::move(one)), b(std::move(other));
    const Later<bool> back_ended;
    start(carry(b, a), [settle = back_ended.settle()] { settle(true); });
    co_await carry(a, b);
    co_await back_ended;
}

}  // namespace turnout::http
