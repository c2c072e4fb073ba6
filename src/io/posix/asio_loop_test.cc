#include "io/posix/asio_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <set>
#include <thread>

#include "io/apart.h"
#include "io/posix/fd.h"
#include "io/posix/test_until.h"

namespace turnout {
namespace {

Task<int> later_number(AsioLoop& loop) {
    co_await loop.sleep(1ms);
    co_return 7;
}

TEST(AsioLoop, RunsATaskToItsEnd) {
    AsioLoop loop;
    EXPECT_EQ(loop.run(later_number(loop)), 7);
    loop.run(loop.sleep(Span(0)));
}

TEST(AsioLoop, TimersRingInOrderAndCanBeCancelled) {
    AsioLoop loop;
    std::string rung;
    const auto cancelled = loop.after(2ms, [&] { rung += 'x'; });
    loop.after(1ms, [&] {
        rung += 'a';
        loop.after(2ms, [&] { rung += 'c'; });
        loop.after(Span(0), [&] { rung += 'b'; });
        loop.cancel(cancelled);
    });
    loop.after(Span::max(), [&] { rung += 'n'; });
    ASSERT_TRUE(run_until_told(loop, [&] { return rung.size() == 3; }));
    EXPECT_EQ(rung, "abc");
    loop.cancel(cancelled);
    loop.cancel(12345);
}

TEST(AsioLoop, BlockingWorkRunsElsewhereAndReportsHere) {
    AsioLoop loop;
    const auto here = std::this_thread::get_id();
    std::set<std::thread::id> where;
    std::mutex mutex;
    int done = 0;
    for (int i = 0; i < 200; ++i)
        loop.blocking(
            [&] {
                const std::lock_guard lock(mutex);
                where.insert(std::this_thread::get_id());
            },
            [&] {
                EXPECT_EQ(std::this_thread::get_id(), here);
                ++done;
            });
    ASSERT_TRUE(run_until_told(loop, [&] { return done == 200; }));
    EXPECT_LE(where.size(), 2u);
    EXPECT_FALSE(where.contains(here));
}

TEST(AsioLoop, PostFromAnotherThreadWakesTheLoop) {
    AsioLoop loop;
    bool woken = false;
    std::thread other([&] {
        loop.post([&] {
            woken = true;
            loop.stop();
        });
    });
    loop.after(60s, [&] { loop.stop(); });
    loop.run();
    other.join();
    EXPECT_TRUE(woken);
}

TEST(AsioLoop, SignalsArriveOnTheLoop) {
    AsioLoop loop;
    int seen = 0;
    loop.on_signal(SIGUSR1, [&] {
        if (++seen < 3) ::kill(::getpid(), SIGUSR1);
    });
    ::kill(::getpid(), SIGUSR1);
    ASSERT_TRUE(run_until_told(loop, [&] { return seen == 3; }));
}

Task<int> wait_for(Watch& watch) {
    const bool ready = co_await watch.readable();
    co_return ready ? 1 : 0;
}

TEST(AsioLoop, WhatIsDoneApartComesBackWithItsValue) {
    AsioLoop loop;
    const auto here = std::this_thread::get_id();
    std::function<Result<std::thread::id>()> look = []() -> Result<std::thread::id> {
        return std::this_thread::get_id();
    };
    const auto there = loop.run(apart(loop, look));
    ASSERT_TRUE(there);
    EXPECT_NE(*there, here);
    std::function<Result<std::thread::id>()> refuse = []() -> Result<std::thread::id> {
        return invalid("no");
    };
    EXPECT_FALSE(loop.run(apart(loop, refuse)));
    bool done = false;
    std::function<void()> note = [&done] { done = true; };
    loop.run(apart(loop, note));
    EXPECT_TRUE(done);
    std::string told;
    apart(
        loop, [] { return std::string("seven"); },
        [&](std::string value) {
            EXPECT_EQ(std::this_thread::get_id(), here);
            told = std::move(value);
        });
    EXPECT_EQ(told, "");
    ASSERT_TRUE(run_until_told(loop, [&] { return !told.empty(); }));
    EXPECT_EQ(told, "seven");
}

TEST(AsioLoop, WatchesADescriptor) {
    AsioLoop loop;
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd read_end(ends[0]), write_end(ends[1]);
    auto watch = loop.watch(read_end.get());
    ASSERT_TRUE(watch);
    loop.after(1ms, [&] { EXPECT_EQ(::write(write_end.get(), "x", 1), 1); });
    EXPECT_EQ(loop.run(wait_for(*watch)), 1);
    EXPECT_EQ(loop.run(wait_for(*watch)), 1) << "still readable";
    char byte;
    ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
    loop.after(1ms, [&] { watch->cancel(); });
    EXPECT_EQ(loop.run(wait_for(*watch)), 0);
    // Destroying it ends the wait too, later.
    int outcome = -1;
    start(wait_for(*watch), [&](int value) { outcome = value; });
    watch.reset();
    EXPECT_EQ(outcome, -1);
    ASSERT_TRUE(run_until_told(loop, [&] { return outcome == 0; }));
}

TEST(AsioLoop, DestroyedWhileACoroutineWaits) {
    auto loop = std::make_unique<AsioLoop>();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd read_end(ends[0]), write_end(ends[1]);
    auto watch = loop->watch(read_end.get());
    int outcome = -1;
    start(wait_for(*watch), [&](int value) { outcome = value; });
    watch.reset();
    loop.reset();
    EXPECT_EQ(outcome, 0) << "told before the loop is gone";
}

TEST(Clock, Advances) {
    const PosixClock clock;
    const Span before = clock.since_boot();
    EXPECT_GT(clock.now().micros, 1'700'000'000'000'000);
    EXPECT_GE(clock.since_boot(), before);
}

TEST(Random, IsRandom) {
    PosixRandom random;
    EXPECT_EQ(random.bytes(1000).size(), 1000u);
    EXPECT_NE(random.bytes(16), random.bytes(16));
    EXPECT_NE(random.next(), random.next());
    EXPECT_NE(random.uuid(), random.uuid());
}

}  // namespace
}  // namespace turnout
