// The real loop, clock and random numbers. Asio itself is included by asio_loop.cc alone.
#pragma once

#include <array>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "io/loop.h"

namespace turnout {

// Readiness of one file descriptor (socket, pipe, pidfd, ...), which it does not own: destroy the
// watch before the descriptor is closed. Made by AsioLoop::watch, used on the loop only.
class Watch {
    struct Wait {
        std::coroutine_handle<> waiter;
        bool ready = false;
    };

public:
    struct State;
    explicit Watch(std::unique_ptr<State> state);
    ~Watch();  // like cancel()

    class [[nodiscard]] Awaiter {
    public:
        Awaiter(State& state, bool write) : state_(state), write_(write) {}
        Awaiter(const Awaiter&) = delete;
        Awaiter& operator=(const Awaiter&) = delete;
        ~Awaiter() {
            if (wait_) wait_->waiter = {};
        }
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> caller);
        bool await_resume() const noexcept { return wait_->ready; }

    private:
        State& state_;
        bool write_;
        // Shared with the pending operation, which outlives a frame destroyed while it waits.
        std::shared_ptr<Wait> wait_;
    };

    // `bool ready = co_await watch.readable();` false means cancelled.
    Awaiter readable() { return Awaiter(*state_, false); }
    Awaiter writable() { return Awaiter(*state_, true); }
    void cancel();

private:
    std::unique_ptr<State> state_;
};

class AsioLoop final : public Loop {
public:
    AsioLoop();
    ~AsioLoop() override;
    AsioLoop(const AsioLoop&) = delete;
    AsioLoop& operator=(const AsioLoop&) = delete;

    void post(std::function<void()> work) override;
    TimerId after(Span delay, std::function<void()> work) override;
    void cancel(TimerId timer) override;
    void blocking(std::function<void()> work, std::function<void()> done) override;

    // Until stop(), which may be called from any thread.
    void run();
    void stop();
    // Until `done()` holds; it is asked after every piece of work.
    void run_until(const std::function<bool()>& done);
    // Runs the task to its end: what a command line does.
    template <class T>
    T run(Task<T> task) {
        if constexpr (std::is_void_v<T>) {
            bool ended = false;
            start(std::move(task), [&ended] { ended = true; });
            run_until([&ended] { return ended; });
        } else {
            std::optional<T> value;
            start(std::move(task), [&value](T result) { value.emplace(std::move(result)); });
            run_until([&value] { return value.has_value(); });
            return std::move(*value);
        }
    }

    // `work` runs on the loop each time the signal arrives, until the loop is destroyed.
    void on_signal(int signal, std::function<void()> work);

    // Null if the kernel cannot watch this descriptor (a regular file).
    std::unique_ptr<Watch> watch(int fd);

    // Memory that anyone on the loop may use until he next suspends (256 KiB).
    std::span<char> scratch();

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

class PosixClock final : public Clock {
public:
    Instant now() const override;
    Span since_boot() const override;
};

// Used on one thread.
class PosixRandom final : public Random {
public:
    std::uint64_t next() override;
    std::string bytes(std::size_t count) override;  // straight from the kernel: none is kept here

private:
    std::array<std::uint64_t, 64> drawn_{};  // for next(): one system call for many numbers
    std::size_t left_ = 0;
};

}  // namespace turnout
