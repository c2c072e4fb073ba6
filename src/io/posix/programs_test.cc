#include "io/posix/programs.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "io/posix/test_until.h"

namespace turnout {
namespace {

SpawnRequest a_shell(std::string script) {
    SpawnRequest request;
    request.program = "/bin/sh";
    request.arguments = {"sh", "-c", std::move(script)};
    request.environment = {"PATH=/usr/bin:/bin"};
    return request;
}

TEST(RunProgram, TellsWhatItSaidAndHowItEnded) {
    AsioLoop loop;
    const auto ran =
        loop.run(run_program(loop, a_shell("cat; echo why >&2; exit 3"), "words", 30s));
    ASSERT_TRUE(ran) << ran.error().message;
    EXPECT_EQ(ran->code, 3);
    EXPECT_EQ(ran->out, "words");
    EXPECT_EQ(ran->err, "why\n");
}

TEST(RunProgram, MuchGoesInAndOutAtOnce) {
    (void)::signal(SIGPIPE, SIG_IGN);
    AsioLoop loop;
    const std::string much(5'000'000, 'x');
    const auto ran = loop.run(run_program(loop, a_shell("cat"), much, 60s));
    ASSERT_TRUE(ran) << ran.error().message;
    EXPECT_EQ(ran->out, much);
    // One that does not listen.
    const auto deaf = loop.run(run_program(loop, a_shell("exec <&-; echo done"), much, 60s));
    ASSERT_TRUE(deaf) << deaf.error().message;
    EXPECT_EQ(deaf->out, "done\n");
}

TEST(RunProgram, OneThatDoesNotEndIsKilledWithWhatItStarted) {
    AsioLoop loop;
    const auto ran = loop.run(run_program(loop, a_shell("sleep 1000 & sleep 1000"), "", 200ms));
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().reason, "Timeout");
    EXPECT_EQ(loop.run(run_program(loop, a_shell("kill -9 $$"), "", 30s))->code, 128 + 9);
}

TEST(RunProgram, OneThatIsNotThereIsAnError) {
    AsioLoop loop;
    SpawnRequest request = a_shell("");
    request.program = "/no/such/program";
    EXPECT_FALSE(loop.run(run_program(loop, std::move(request), "", 30s)));
}

Task<std::string> talk_with(AsioLoop& loop, SpawnRequest request, std::string said) {
    auto stream = co_await begin_program(loop, std::move(request));
    if (!stream) co_return "no stream: " + stream.error().message;
    const Result<void> wrote = co_await (*stream)->write(std::move(said));
    if (!wrote) co_return "not written";
    std::string all;
    for (;;) {
        const Result<std::string> piece = co_await (*stream)->read();
        if (!piece) co_return all + "|" + piece.error().message;
        if (piece->empty()) co_return all + "|";
        all += *piece;
    }
}

TEST(BeginProgram, ItIsTalkedWithAndSaysWhyItEnds) {
    AsioLoop loop;
    EXPECT_EQ(loop.run(talk_with(loop, a_shell("head -c 4"), "some words")), "some|");
    EXPECT_EQ(
        loop.run(talk_with(loop, a_shell("head -c 4; echo 'no more' >&2; exit 1"), "some words")),
        "some|no more");
}

TEST(BeginProgram, ClosingItsStreamEndsIt) {
    AsioLoop loop;
    const std::string mark = "9876" + std::to_string(::getpid());
    auto stream = loop.run(begin_program(loop, a_shell("sleep " + mark + "; true")));
    ASSERT_TRUE(stream);
    const auto runs = [&] {
        const auto seen =
            loop.run(run_program(loop, a_shell("ps ax | grep -c '[s]leep " + mark + "'"), "", 30s));
        return seen && seen->out != "0\n";
    };
    EXPECT_TRUE(run_until(loop, [&] { return true; }));
    EXPECT_TRUE(runs());
    (*stream)->close();
    EXPECT_TRUE(wait_until([&] { return !runs(); }));
}

}  // namespace
}  // namespace turnout
