#include "environment/programs.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "base/text.h"

namespace turnout::environment {
namespace {

Result<Ran> shell(const std::string& text, std::string& said, const std::atomic<bool>& cancel) {
    return run(
        {"/bin/sh", "-c", text}, {"PATH=/usr/bin:/bin"},
        [&said](std::string_view part) { said += part; }, cancel);
}

TEST(Programs, TheEndIsThatOfTheProgramAndNotOfWhoHoldsItsOutput) {
    const std::atomic<bool> cancel = false;
    std::string said;
    // The shell ends; what it leaves behind goes on, and holds the pipe, as a compiler's server
    // does.
    const auto ran = shell("sleep 1000 & echo $!; exit 3", said, cancel);
    ASSERT_TRUE(ran);
    const auto left = static_cast<pid_t>(std::stol(said));
    EXPECT_EQ(::kill(left, 0), 0) << "it was waited for";
    ::kill(left, SIGKILL);
    EXPECT_EQ(ran->status, 3);
    EXPECT_EQ(ran->tail.back(), std::to_string(left));
}

TEST(Programs, OneThatIsLeftBehindAndTalksIsNotListenedTo) {
    const std::atomic<bool> cancel = false;
    std::string said;
    const auto ran = shell("setsid sh -c 'echo $$; exec yes' & sleep 0.2; exit 3", said, cancel);
    ASSERT_TRUE(ran);
    ::kill(static_cast<pid_t>(std::stol(said)), SIGKILL);
    EXPECT_EQ(ran->status, 3);
}

TEST(Programs, AllThatWasSaidIsHeardAndLongLinesAreCutInTheTailAlone) {
    const std::atomic<bool> cancel = false;
    std::string said;
    const auto ran = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last", said, cancel);
    ASSERT_TRUE(ran);
    EXPECT_EQ(ran->status, 0);
    EXPECT_EQ(said.size(), 3'000'000u + 1 + 5);
    ASSERT_EQ(ran->tail.size(), 2u);
    EXPECT_EQ(ran->tail.front().size(), std::size_t{64} << 10);
    EXPECT_EQ(ran->tail.back(), "last");
}

TEST(Programs, OneThatClosesItsOutputIsWaitedFor) {
    const std::atomic<bool> cancel = false;
    std::string said;
    const auto ran = shell("echo here; exec >&- 2>&-; sleep 0.2; exit 5", said, cancel);
    ASSERT_TRUE(ran);
    EXPECT_EQ(ran->status, 5);
    EXPECT_EQ(said, "here\n");
}

TEST(Programs, ACancelKillsTheGroup) {
    const std::atomic<bool> cancel = true;
    std::string said;
    const auto ran = shell("sleep 1000 | sleep 1000", said, cancel);
    ASSERT_TRUE(ran);
    EXPECT_TRUE(ran->canceled);
    EXPECT_EQ(ran->status, 128 + SIGKILL);
}

}  // namespace
}  // namespace turnout::environment
