#include "io/posix/processes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "io/posix/files.h"
#include "io/posix/test_until.h"

namespace turnout {
namespace {

class ProcessesTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "io-proc-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root = name;
    }
    void TearDown() override { EXPECT_TRUE(remove_tree(root)); }

    // Waits without reaping: the process is a zombie then.
    static void wait_until_ended(pid_t pid) {
        siginfo_t info{};
        ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
    }
    SpawnRequest shell(std::string script) const {
        SpawnRequest request;
        request.program = "/bin/sh";
        request.arguments = {"sh", "-c", std::move(script)};
        request.environment = {"PATH=/usr/bin:/bin"};
        request.directory = root;
        request.output = root + "/out";
        request.error = root + "/out";
        return request;
    }
    std::string root;
};

TEST_F(ProcessesTest, RunsWithItsOwnSurroundings) {
    SpawnRequest request = shell(
        "pwd; echo \"$COLOUR\"; echo oops >&2; cat; cut -d' ' -f6 /proc/$$/stat; echo $$; exit 3");
    request.environment.push_back("COLOUR=green blue");
    ASSERT_TRUE(write_file_atomically(root + "/in", "input\n"));
    request.input = root + "/in";
    const auto process = spawn(request);
    ASSERT_TRUE(process) << process.error().message;
    wait_until_ended(process->pid);
    EXPECT_FALSE(is_alive(*process)) << "a zombie is dead";
    const auto ended = reap(process->pid);
    ASSERT_TRUE(ended);
    EXPECT_EQ(ended->code, 3);
    EXPECT_EQ(ended->signal, 0);
    const std::string pid = std::to_string(process->pid);
    EXPECT_EQ(*read_file(root + "/out"),
              root + "\ngreen blue\noops\ninput\n" + pid + "\n" + pid + "\n");
    EXPECT_FALSE(reap(process->pid));
}

TEST_F(ProcessesTest, InheritsNoDescriptor) {
    const Fd stray(::open("/dev/null", O_RDONLY));  // not close-on-exec, as a library may do
    SpawnRequest request;
    request.program = "/bin/ls";
    request.arguments = {"ls", "/proc/self/fd"};
    request.output = root + "/out";
    const auto process = spawn(request);
    ASSERT_TRUE(process);
    wait_until_ended(process->pid);
    EXPECT_EQ(reap(process->pid)->code, 0);
    EXPECT_EQ(*read_file(root + "/out"), "0\n1\n2\n3\n") << "3 is what ls itself reads";
}

TEST_F(ProcessesTest, KnowsAProcessAgain) {
    const auto process = spawn(shell("exec sleep 100"));
    ASSERT_TRUE(process);
    EXPECT_TRUE(is_alive(*process));
    EXPECT_EQ(identify(process->pid), *process);
    ProcessId other = *process;
    other.start_ticks += 1;
    EXPECT_FALSE(is_alive(other)) << "the pid came again";
    EXPECT_EQ(send_signal(other, SIGKILL).error().code, Code::NotFound);
    EXPECT_TRUE(is_alive(*process));
    ASSERT_TRUE(send_signal(*process, SIGKILL));
    wait_until_ended(process->pid);
    const auto ended = reap(process->pid);
    ASSERT_TRUE(ended);
    EXPECT_EQ(ended->signal, SIGKILL);
    EXPECT_EQ(ended->code, 137);
    EXPECT_EQ(send_signal(*process, SIGKILL).error().code, Code::NotFound);
    EXPECT_FALSE(is_alive({0, 0}));
    EXPECT_TRUE(is_alive(*identify(::getpid())));
}

TEST_F(ProcessesTest, EndsAGroup) {
    const auto process = spawn(shell("sleep 100 & sleep 100 & echo ready; wait"));
    ASSERT_TRUE(process);
    EXPECT_TRUE(wait_until([&] { return *read_file(root + "/out") == "ready\n"; }));
    ASSERT_TRUE(send_signal_to_group(process->pid, SIGKILL));
    wait_until_ended(process->pid);
    EXPECT_TRUE(reap(process->pid));
}

TEST_F(ProcessesTest, PassesDescriptors) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const Fd read_end(ends[0]);
    Fd write_end(ends[1]);
    SpawnRequest request = shell("echo through >&5");
    request.descriptors = {{5, write_end.get()}};
    const auto process = spawn(request);
    ASSERT_TRUE(process);
    write_end.reset();
    char text[32];
    const ssize_t got = ::read(read_end.get(), text, sizeof text);
    EXPECT_EQ(std::string(text, static_cast<std::size_t>(std::max<ssize_t>(got, 0))), "through\n");
    wait_until_ended(process->pid);
    EXPECT_EQ(reap(process->pid)->code, 0);
}

TEST_F(ProcessesTest, SaysWhyItCannotStart) {
    SpawnRequest request;
    request.program = root + "/missing";
    const auto missing = spawn(request);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::FailedPrecondition);
    EXPECT_NE(missing.error().message.find("missing"), std::string::npos);
    request.program = "/bin/true";
    request.directory = root + "/nowhere";
    EXPECT_NE(spawn(request).error().message.find("nowhere"), std::string::npos);
}

TEST(Boot, HasAnId) {
    EXPECT_EQ(boot_id().size(), 36u);
}

}  // namespace
}  // namespace turnout
