// Work that blocks, done on the loop's pool of threads, so that the loop goes on. What `work` holds
// may be destroyed on either thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "io/loop.h"

namespace turnout {

// `then(work())`, on the loop.
template <class Work, class Then>
void apart(Loop& loop, Work work, Then then) {
    using Value = std::invoke_result_t<Work&>;
    const auto value = std::make_shared<std::optional<Value>>();  // shared with the pool's thread
    loop.blocking([value, work = std::move(work)]() mutable { value->emplace(work()); },
                  [value, then = std::move(then)]() mutable { then(std::move(**value)); });
}

// What `work` returned, awaited. Give it a named function: g++ 12 destroys a lambda with captures
// twice when it is written inside the co_await.
template <class Value>
Task<Value> apart(Loop& loop, std::function<Value()> work) {
    Later<Value> value;
    apart(loop, std::move(work),
          [settle = value.settle()](Value result) { settle(std::move(result)); });
    co_return co_await value;
}

inline Task<void> apart(Loop& loop, std::function<void()> work) {
    Later<bool> over;
    loop.blocking(std::move(work), [settle = over.settle()] { settle(true); });
    co_await over;
}

}  // namespace turnout
