#include "io/posix/asio_loop.h"

#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace turnout {
namespace {

namespace asio = boost::asio;
using Ticks = std::chrono::steady_clock::time_point;

constexpr std::size_t pool_threads = 2;
constexpr std::size_t scratch_bytes = 256 << 10;
constexpr Span longest_delay = std::chrono::hours(24 * 365);

Span read_clock(clockid_t which) {
    timespec at{};
    TURNOUT_CHECK(clock_gettime(which, &at) == 0, std::strerror(errno));
    return Span(static_cast<std::int64_t>(at.tv_sec) * 1'000'000 + at.tv_nsec / 1'000);
}

struct SignalWatch {
    explicit SignalWatch(asio::io_context& context) : set(context) {}
    asio::signal_set set;
    std::function<void()> work;
    void arm() {
        set.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            arm();
            work();
        });
    }
};

}  // namespace

struct Watch::State {
    asio::posix::stream_descriptor descriptor;
};

struct AsioLoop::Parts {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard =
        asio::make_work_guard(context);

    // All timers share one of Asio's, set to the earliest.
    asio::steady_timer alarm{context};
    std::map<std::pair<Ticks, TimerId>, std::function<void()>> timers;
    std::unordered_map<TimerId, Ticks> due;
    TimerId last_timer = 0;
    std::optional<Ticks> alarm_at;

    std::vector<std::unique_ptr<SignalWatch>> signals;
    std::unique_ptr<char[]> scratch = std::make_unique_for_overwrite<char[]>(scratch_bytes);

    // The pool for blocking work.
    struct Job {
        std::function<void()> work;
        std::function<void()> done;
    };
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<Job> jobs;
    std::size_t idle = 0;
    bool ending = false;
    std::vector<std::thread> threads;

    void set_alarm() {
        if (timers.empty()) return;
        const Ticks earliest = timers.begin()->first.first;
        if (alarm_at && *alarm_at <= earliest) return;
        alarm_at = earliest;
        alarm.expires_at(earliest);  // cancels the wait before it
        alarm.async_wait([this](const boost::system::error_code& error) {
            if (error) return;
            ring();
        });
    }

    void ring() {
        alarm_at.reset();
        const Ticks now = std::chrono::steady_clock::now();
        while (!timers.empty() && timers.begin()->first.first <= now) {
            auto first = timers.extract(timers.begin());
            due.erase(first.key().second);
            first.mapped()();
        }
        set_alarm();
    }

    void serve_pool() {
        std::unique_lock lock(mutex);
        for (;;) {
            ++idle;
            wake.wait(lock, [this] { return ending || !jobs.empty(); });
            --idle;
            if (ending) return;
            Job job = std::move(jobs.front());
            jobs.pop_front();
            lock.unlock();
            job.work();
            job.work = nullptr;  // what it holds dies here, before the loop goes on
            asio::post(context, std::move(job.done));
            lock.lock();
        }
    }
};

Watch::Watch(std::unique_ptr<State> state) : state_(std::move(state)) {}

Watch::~Watch() {
    state_->descriptor.release();
}

void Watch::cancel() {
    boost::system::error_code ignored;
    state_->descriptor.cancel(ignored);
}

void Watch::Awaiter::await_suspend(std::coroutine_handle<> caller) {
    wait_ = std::make_shared<Wait>();
    wait_->waiter = caller;
    const auto which = write_ ? asio::posix::stream_descriptor::wait_write
                              : asio::posix::stream_descriptor::wait_read;
    state_.descriptor.async_wait(which, [wait = wait_](const boost::system::error_code& error) {
        wait->ready = !error;
        if (auto waiter = std::exchange(wait->waiter, {})) waiter.resume();
    });
}

AsioLoop::AsioLoop() : parts_(std::make_unique<Parts>()) {}

AsioLoop::~AsioLoop() {
    {
        const std::lock_guard lock(parts_->mutex);
        parts_->ending = true;
    }
    parts_->wake.notify_all();
    for (std::thread& thread : parts_->threads) thread.join();
    parts_->signals.clear();
    // What was cancelled by its owner's end is told so now, so that coroutines end and free
    // themselves.
    parts_->context.restart();
    parts_->context.poll();
}

void AsioLoop::post(std::function<void()> work) {
    asio::post(parts_->context, std::move(work));
}

Loop::TimerId AsioLoop::after(Span delay, std::function<void()> work) {
    const Span bounded = std::clamp(delay, Span(0), longest_delay);
    const Ticks at = std::chrono::steady_clock::now() + bounded;
    const TimerId id = ++parts_->last_timer;
    parts_->timers.emplace(std::pair(at, id), std::move(work));
    parts_->due.emplace(id, at);
    parts_->set_alarm();
    return id;
}

void AsioLoop::cancel(TimerId timer) {
    const auto found = parts_->due.find(timer);
    if (found == parts_->due.end()) return;
    parts_->timers.erase({found->second, timer});
    parts_->due.erase(found);
}

void AsioLoop::blocking(std::function<void()> work, std::function<void()> done) {
    const std::lock_guard lock(parts_->mutex);
    parts_->jobs.push_back({std::move(work), std::move(done)});
    if (parts_->idle < parts_->jobs.size() && parts_->threads.size() < pool_threads)
        parts_->threads.emplace_back([parts = parts_.get()] { parts->serve_pool(); });
    parts_->wake.notify_one();
}

void AsioLoop::run() {
    if (parts_->context.stopped()) parts_->context.restart();
    parts_->context.run();
}

void AsioLoop::stop() {
    parts_->context.stop();
}

void AsioLoop::run_until(const std::function<bool()>& done) {
    while (!done()) {
        if (parts_->context.stopped()) parts_->context.restart();
        parts_->context.run_one();
    }
}

void AsioLoop::on_signal(int signal, std::function<void()> work) {
    auto watched = std::make_unique<SignalWatch>(parts_->context);
    boost::system::error_code error;
    watched->set.add(signal, error);
    TURNOUT_CHECK(!error, error.message());
    watched->work = std::move(work);
    watched->arm();
    parts_->signals.push_back(std::move(watched));
}

std::unique_ptr<Watch> AsioLoop::watch(int fd) {
    auto state = std::make_unique<Watch::State>(
        Watch::State{asio::posix::stream_descriptor(parts_->context)});
    boost::system::error_code error;
    state->descriptor.assign(fd, error);
    if (error) return nullptr;
    return std::make_unique<Watch>(std::move(state));
}

std::span<char> AsioLoop::scratch() {
    return {parts_->scratch.get(), scratch_bytes};
}

Instant PosixClock::now() const {
    return {read_clock(CLOCK_REALTIME).count()};
}

Span PosixClock::since_boot() const {
    return read_clock(CLOCK_BOOTTIME);
}

namespace {

void draw(char* to, std::size_t count) {
    std::size_t have = 0;
    while (have < count) {
        const ssize_t got = getrandom(to + have, count - have, 0);
        TURNOUT_CHECK(got > 0 || errno == EINTR, std::strerror(errno));
        if (got > 0) have += static_cast<std::size_t>(got);
    }
}

}  // namespace

std::uint64_t PosixRandom::next() {
    if (left_ == 0) {
        draw(reinterpret_cast<char*>(drawn_.data()), sizeof drawn_);
        left_ = drawn_.size();
    }
    return std::exchange(drawn_[--left_], 0);
}

std::string PosixRandom::bytes(std::size_t count) {
    std::string out(count, '\0');
    draw(out.data(), count);
    return out;
}

}  // namespace turnout
