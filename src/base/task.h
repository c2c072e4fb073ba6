// `Task<T>`: a lazy coroutine owned by whoever awaits it. `Promise<T>`/`Awaiting`: the bridge from
// callbacks. Nothing here knows a loop: everything resumes on the thread that settles it, which in
// this program is always the loop's thread.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace turnout {

template <class T>
class Task;

namespace detail {

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {
    using Value = T;
};

struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) noexcept {
        auto next = self.promise().continuation;
        return next ? next : std::noop_coroutine();
    }
    void await_resume() noexcept {}
};

template <class T>
struct TaskPromiseBase {
    std::coroutine_handle<> continuation;
    std::suspend_always initial_suspend() noexcept { return {}; }
    FinalAwaiter final_suspend() noexcept { return {}; }
    // Our code throws nothing; what a library throws is caught in the file that includes it.
    void unhandled_exception() noexcept {
        check_failed(__FILE__, __LINE__, "no exception", "exception left a coroutine");
    }
};

template <class T>
struct TaskPromise : TaskPromiseBase<T> {
    std::optional<T> value;
    Task<T> get_return_object() noexcept;
    template <class U = T>  // so that `co_return {};` works
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() { return std::move(*value); }
};

template <>
struct TaskPromise<void> : TaskPromiseBase<void> {
    Task<void> get_return_object() noexcept;
    void return_void() noexcept {}
    void take() noexcept {}
};

}  // namespace detail

// A coroutine that starts when awaited. Destroying an unfinished Task destroys its frame and
// whatever it awaits. Parameters of coroutines are taken by value.
template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::TaskPromise<T>;
    using Coroutine = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Coroutine coroutine) : coroutine_(coroutine) {}
    Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, {})) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            if (coroutine_) coroutine_.destroy();
            coroutine_ = std::exchange(other.coroutine_, {});
        }
        return *this;
    }
    ~Task() {
        if (coroutine_) coroutine_.destroy();
    }

    struct Awaiter {
        Coroutine coroutine;
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
            coroutine.promise().continuation = caller;
            return coroutine;
        }
        T await_resume() { return coroutine.promise().take(); }
    };
    Awaiter operator co_await() && { return Awaiter{coroutine_}; }

private:
    Coroutine coroutine_;
};

namespace detail {
template <class T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
    return Task<T>(std::coroutine_handle<TaskPromise<T>>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() noexcept {
    return Task<void>(std::coroutine_handle<TaskPromise<void>>::from_promise(*this));
}

// A coroutine that runs at once and frees itself: the root under which a Task is started.
struct Root {
    struct promise_type {
        Root get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {
            check_failed(__FILE__, __LINE__, "no exception", "exception left a root task");
        }
    };
};
}  // namespace detail

// Starts `task` now; `done` is called with its value when it ends. The task lives until it ends, so
// the caller sees to it that everything it borrows does too.
template <class T, class Done>
detail::Root start(Task<T> task, Done done) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(task);
        done();
    } else {
        done(co_await std::move(task));
    }
}

// One value that arrives later. `Settle` is copyable and is called at most once; the waiting
// coroutine resumes inside that call. If every Settle is dropped uncalled the coroutine never
// resumes: a leak, so whoever holds one calls it, at shutdown too.
template <class T>
class Later {
    struct State {
        std::optional<T> value;
        std::coroutine_handle<> waiter;
    };

public:
    class Settle {
    public:
        explicit Settle(std::shared_ptr<State> state) : state_(std::move(state)) {}
        void operator()(T value) const {
            TURNOUT_CHECK(!state_->value, "settled twice");
            state_->value.emplace(std::move(value));
            if (auto waiter = std::exchange(state_->waiter, {})) waiter.resume();
        }

    private:
        std::shared_ptr<State> state_;  // shared: the awaiting frame and the callback both need it
    };

    Later() : state_(std::make_shared<State>()) {}
    Settle settle() const { return Settle(state_); }

    // Lives in the waiting frame: if that frame is destroyed first, a late settle wakes nobody.
    class Awaiter {
    public:
        explicit Awaiter(std::shared_ptr<State> state) : state_(std::move(state)) {}
        Awaiter(const Awaiter&) = delete;
        Awaiter& operator=(const Awaiter&) = delete;
        ~Awaiter() { state_->waiter = {}; }
        bool await_ready() const noexcept { return state_->value.has_value(); }
        void await_suspend(std::coroutine_handle<> caller) noexcept {
            TURNOUT_CHECK(!state_->waiter, "awaited twice");
            state_->waiter = caller;
        }
        T await_resume() { return std::move(*state_->value); }

    private:
        std::shared_ptr<State> state_;
    };
    Awaiter operator co_await() const { return Awaiter(state_); }

private:
    std::shared_ptr<State> state_;
};

}  // namespace turnout

// In a coroutine that returns Task<Result<X>>:  `TURNOUT_CO_TRY(auto value, co_await call());`
// (a plain statement pair, since g++ 12 crashes on co_await inside a statement expression)
#define TURNOUT_CO_CONCAT_(a, b) a##b
#define TURNOUT_CO_CONCAT(a, b) TURNOUT_CO_CONCAT_(a, b)
#define TURNOUT_CO_TRY(declaration, expression)                                  \
    auto TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__) = (expression);         \
    if (!TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__))                        \
        co_return ::turnout::Failure(                                            \
            std::move(TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__)).error()); \
    declaration = std::move(*TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__))
// The same for a Result<void>:  `TURNOUT_CO_TRY_VOID(co_await call());`
#define TURNOUT_CO_TRY_VOID(expression)                                  \
    auto TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__) = (expression); \
    if (!TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__))                \
    co_return ::turnout::Failure(std::move(TURNOUT_CO_CONCAT(turnout_co_result_, __LINE__)).error())
