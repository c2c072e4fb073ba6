// The real supervisor, spoken to as the agent does.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>

#include "agent/files.h"
#include "agent/segments.h"
#include "agent/supervisor_link.h"
#include "io/posix/test_until.h"

namespace turnout::agent {
namespace {

namespace fs = std::filesystem;

class SupervisorTest : public ::testing::Test {
protected:
    std::string folder, program;
    AsioLoop loop;
    std::optional<SupervisorLink> link;
    std::optional<Segments> segments;
    std::map<AttemptId, SupervisedTask> tasks;
    std::map<AttemptId, Result<Span>> started;
    std::map<AttemptId, TaskExit> exits;
    int listings = 0, gone = 0;
    std::string gone_why;
    SupervisorLink::Patience allowed{2min, 20s};

    void SetUp() override {
        for (int number : {SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);  // as the agent does
        char name[] = "/tmp/turnout-supervisor-test-XXXXXX";
        folder = mkdtemp(name);
        program =
            (fs::read_symlink("/proc/self/exe").parent_path() / "turnout-supervisor").string();
        connect();
    }
    void TearDown() override {
        if (link && link->connected()) {
            bool done = false;
            link->quit([&] { done = true; });
            until([&] { return done; });
        }
        link.reset();
        until([n = 0]() mutable { return ++n > 3; });  // coroutines see that it is over
        remove_tree(folder);
    }
    void connect() {
        segments.emplace(folder);
        SupervisorLink::Events events;
        events.listed = [this](std::vector<SupervisedTask> listed) {
            ++listings;
            for (auto& task : listed) {
                segments->add(task.serial, task.first_segment, task.first_position);
                if (task.state.exit) exits[task.id] = *task.state.exit;
                tasks[task.id] = task;
            }
        };
        events.gone = [this](std::string why) { ++gone, gone_why = std::move(why); };
        events.started = [this](const AttemptId& id, Result<Span> result) {
            started.insert_or_assign(id, std::move(result));
        };
        events.output = [this](const SupervisedTask& task) {
            segments->add(task.serial, task.first_segment, task.first_position);
            tasks[task.id] = task;
        };
        events.exited = [this](const AttemptId& id, TaskExit exit) { exits[id] = exit; };
        listings = 0;
        link.emplace(loop, folder, program, std::move(events), allowed);
        link->begin();
        ASSERT_TRUE(until([&] { return listings > 0; }));
    }
    bool until(const std::function<bool()>& done) { return run_until(loop, done); }
    AttemptId run(const std::string& job, std::vector<std::string> argv, std::int64_t memory = 0,
                  std::string preamble = "") {
        AttemptId id{"ws", job + "-" + std::to_string(getpid()), 1};
        StartRequest request{id,
                             folder,
                             memory,
                             std::move(preamble),
                             std::move(argv),
                             {"PATH=/usr/bin:/bin", "TURNOUT_ATTEMPT=" + task_name(id),
                              "TURNOUT_NODE_FOLDER=" + folder}};
        started.erase(id);
        EXPECT_TRUE(link->start_task(request));
        EXPECT_TRUE(until([&] { return started.contains(id); }));
        return id;
    }
    std::string log_of(const AttemptId& id) {
        const auto& task = tasks[id];
        return segments->read(task.serial, 0, task.state.log_length).value_or("?");
    }
    static sockaddr_un address_in(const std::string& where) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        (where + "/supervisor.sock").copy(address.sun_path, sizeof address.sun_path - 1);
        return address;
    }
    // The other side has closed it; what it said before is dropped.
    static bool ended(int socket) {
        char bytes[256];
        ssize_t n = 0;
        while ((n = recv(socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        }
        return n == 0 || errno != EAGAIN;
    }
    pid_t supervisor_pid() {
        for (const auto& entry : fs::directory_iterator("/proc")) {
            const std::string text =
                read_file(entry.path() / "cmdline", 64 << 10).value_or("");  // it may be gone
            if (text.find("turnout-supervisor") != std::string::npos &&
                text.find(folder) != std::string::npos)
                return std::atoi(entry.path().filename().c_str());
        }
        return 0;
    }
};

// The processes that carry the marker of that attempt.
std::vector<std::string> marked_with(const std::string& attempt) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        std::string text((std::istreambuf_iterator<char>(file)), {});
        if (text.find("TURNOUT_ATTEMPT=" + attempt) != std::string::npos)
            found.push_back(entry.path());
    }
    return found;
}

// How many records a task's log has.
std::size_t records_of(const std::string& folder, std::uint64_t serial) {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder)) {
        if (!entry.path().filename().string().starts_with("log-")) continue;
        const std::string all = read_file(entry.path()).value_or("");
        for (std::size_t at = 0; at + 32 <= all.size();) {
            std::uint32_t size = 0;
            std::uint64_t owner = 0;
            std::memcpy(&size, all.data() + at + 4, 4);
            std::memcpy(&owner, all.data() + at + 8, 8);
            count += owner == serial;
            at += 32 + size;
        }
    }
    return count;
}

TEST_F(SupervisorTest, ManyShortLinesComeTogether) {
    const int lines = 20'000;
    auto id =
        run("lines", {"sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"});
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    std::string wanted;
    for (int i = 0; i < lines; ++i) wanted += std::to_string(i) + "\n";
    EXPECT_EQ(log_of(id), wanted);
    EXPECT_LT(records_of(folder, tasks[id].serial), lines / 4u);
}

TEST_F(SupervisorTest, ALogThatNobodyTakesHasALimit) {
    bool gone_now = false;
    link->quit([&] { gone_now = true; });
    ASSERT_TRUE(until([&] { return gone_now; }));
    const std::string limited = folder + "/limited";
    ASSERT_TRUE(write_file(limited, "#!/bin/sh\nexec '" + program + "' \"$1\" 1000000\n", 0700));
    program = limited;
    link.reset();
    connect();
    // It goes on to its end, and says what it says when there is room again.
    auto id = run("chatty", {"sh", "-c",
                             "head -c 3000000 /dev/zero | tr '\\0' a; touch wrote; while ! [ -e go "
                             "]; do sleep 0.02; done; echo later"});
    ASSERT_TRUE(until([&] { return exists(folder + "/wrote"); }));
    ASSERT_TRUE(until([&] { return tasks[id].state.log_length > 900'000; }));
    const std::uint64_t taken = tasks[id].state.log_length;
    EXPECT_LE(taken, 1'000'000u);
    link->trim(id, 0, taken);
    run("after", {"true"});  // messages keep their order: the supervisor knows by now
    ASSERT_TRUE(write_file(folder + "/go", ""));
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    ASSERT_TRUE(until([&] { return tasks[id].state.log_length == exits[id].log_length; }));
    // The pipe may have held some of it still when there was room again: each gap says its own
    // size.
    std::string log = log_of(id);
    std::uint64_t left_out = 0;
    const std::regex gap(
        "\nturnout: ([0-9]+) bytes of the log are left out here: the server had not taken what "
        "came before\n");
    for (std::smatch found; std::regex_search(log, found, gap);) {
        left_out += std::stoull(found[1]);
        log.erase(static_cast<std::size_t>(found.position()),
                  static_cast<std::size_t>(found.length()));
    }
    EXPECT_GE(left_out, 1'000'000u);
    EXPECT_TRUE(log == std::string(3'000'000 - left_out, 'a') + "later\n")
        << log.size() << " bytes, and " << left_out << " left out";
    // What is left out at the very end is said, too.
    auto last = run("last", {"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' b"});
    ASSERT_TRUE(until([&] { return exits.contains(last); }));
    ASSERT_TRUE(until([&] { return tasks[last].state.log_length == exits[last].log_length; }));
    EXPECT_TRUE(log_of(last).ends_with(
        " bytes of the log are left out here: the server had not taken what came before\n"));
    EXPECT_LT(exits[last].log_length, 1'001'000u);
}

TEST_F(SupervisorTest, ExitCodesSignalsAndOutput) {
    auto id = run("exit", {"sh", "-c", "echo out; echo err >&2; exit 7"}, 0, "first\n");
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 7);
    EXPECT_EQ(exits[id].log_length, 14u);
    EXPECT_EQ(log_of(id), "first\nout\nerr\n");
    EXPECT_GE(exits[id].ended, exits[id].started);
    EXPECT_GT(exits[id].peak_memory_bytes, 0);

    auto killed = run("killed", {"sh", "-c", "kill -KILL $$"});
    ASSERT_TRUE(until([&] { return exits.contains(killed); }));
    EXPECT_EQ(exits[killed].exit_code, 137);
    EXPECT_EQ(exits[killed].signal, SIGKILL);

    auto term = run("term", {"sleep", "1000"});
    link->signal(term, SIGTERM);
    ASSERT_TRUE(until([&] { return exits.contains(term); }));
    EXPECT_EQ(exits[term].signal, SIGTERM);
}

// The agent ignores some; a shell cannot undo that for what it runs.
TEST_F(SupervisorTest, TasksHaveTheDefaultSignals) {
    for (int number : {SIGHUP, SIGPIPE}) {
        auto id = run("signal" + std::to_string(number),
                      {"sh", "-c", "kill -" + std::to_string(number) + " $$; exit 3"});
        ASSERT_TRUE(until([&] { return exits.contains(id); }));
        EXPECT_EQ(exits[id].signal, number);
    }
}

// When memory is used up, the kernel takes it before whoever started it.
TEST_F(SupervisorTest, ATaskIsTheFirstToGoWhenMemoryIsUsedUp) {
    auto id = run("score", {"sh", "-c", "cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj"});
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    const int own = std::atoi(read_file("/proc/self/oom_score_adj")->c_str());
    EXPECT_EQ(log_of(id), std::to_string(std::max(own, 500)) + "\n" + std::to_string(own) + "\n");
}

// A tree that grows without end is ended, all of it, and what runs beside it goes on.
TEST_F(SupervisorTest, WhatForksWithoutEndIsEnded) {
    const pid_t unlimited = supervisor_pid();
    link.reset();
    kill(unlimited, SIGKILL);
    const std::string limited = program + " " + folder + " 1000000 200";
    ASSERT_TRUE(until([&] { return std::system(limited.c_str()) == 0; }));
    connect();
    const auto beside = run("beside", {"sh", "-c", "sleep 0.5; echo beside"});
    // Each forks as fast as it can, but the depth has an end, should the test fail.
    const auto bomb = run("bomb", {"sh", "-c",
                                   "f() { [ $1 -gt 0 ] || exec sleep 600; f $(($1 - 1)) & f $(($1 "
                                   "- 1)) & wait; }; f 11"});
    ASSERT_TRUE(until([&] { return exits.contains(bomb) && exits.contains(beside); }));
    EXPECT_TRUE(exits[bomb].too_many_processes);
    EXPECT_EQ(exits[bomb].signal, SIGKILL);
    EXPECT_TRUE(marked_with(task_name(bomb)).empty());
    EXPECT_FALSE(exits[beside].too_many_processes);
    EXPECT_EQ(log_of(beside), "beside\n");
}

TEST_F(SupervisorTest, AnIdStartsOnce) {
    std::string counter = folder + "/count";
    auto id = run("once", {"sh", "-c", "echo x >> " + counter});
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    for (int i = 0; i < 3; ++i) {
        run("once", {"sh", "-c", "echo x >> " + counter});
        if (i == 0) link->forget(id);  // not even when it is forgotten
        if (i == 1) {                  // nor by the next supervisor
            kill(supervisor_pid(), SIGKILL);
            int before = listings;
            ASSERT_TRUE(until([&] { return listings > before; }));
        }
    }
    EXPECT_EQ(*read_file(counter), "x\n");
}

TEST_F(SupervisorTest, ProgramsThatCannotRunAreNamed) {
    auto id = run("nosuch", {"no-such-program"});
    ASSERT_FALSE(started.at(id));
    EXPECT_EQ(started.at(id).error().code, Code::NotFound);
    EXPECT_NE(started.at(id).error().message.find("no-such-program"), std::string::npos);
    std::ofstream(folder + "/plain") << "x";
    auto denied = run("denied", {folder + "/plain"});
    ASSERT_FALSE(started.at(denied));
    EXPECT_EQ(started.at(denied).error().code, Code::InvalidArgument);
}

TEST_F(SupervisorTest, EmptyTextsAreTexts) {
    auto beside = run("beside", {"sleep", "1000"});
    auto id = run("empty", {"sh", "-c", "printf '<%s>' \"$#\" \"$@\" \"$A\"", "sh", "", "x", ""});
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 0);
    EXPECT_EQ(log_of(id), "<3><><x><><>");
    auto none = run("none", {""});
    ASSERT_TRUE(started.contains(none));
    EXPECT_FALSE(started.at(none).has_value());
    EXPECT_EQ(gone, 0);
    EXPECT_FALSE(exits.contains(beside)) << "a neighbour is not to notice";
}

TEST_F(SupervisorTest, NobodyListensAndNothingIsLost) {
    std::string go = folder + "/go";
    auto id = run("alone", {"sh", "-c",
                            "while [ ! -e " + go +
                                " ]; do sleep 0.01; done; i=0; while [ $i -lt 20000 ]; do echo "
                                "line $i; i=$((i+1)); done; exit 5"});
    link.reset();
    std::ofstream(go) << "x";
    tasks.clear();
    exits.clear();
    connect();
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 5);
    std::string wanted;
    for (int i = 0; i < 20000; ++i) wanted += "line " + std::to_string(i) + "\n";
    EXPECT_EQ(exits[id].log_length, wanted.size());
    const auto serial = tasks[id].serial;
    std::string log;
    while (log.size() < wanted.size()) {
        auto part = segments->read(serial, log.size(), 10'007);
        ASSERT_TRUE(part && !part->empty());
        log += *part;
    }
    EXPECT_TRUE(log == wanted);
    EXPECT_EQ(segments->last_lines(serial, wanted.size(), 2),
              (std::vector<std::string>{"line 19998", "line 19999"}));
}

TEST_F(SupervisorTest, ManyLogsInOneSegmentStayApart) {
    std::vector<AttemptId> ids;
    for (int i = 0; i < 5; ++i)
        ids.push_back(run("many" + std::to_string(i), {"sh", "-c",
                                                       "for j in 1 2 3 4 5 6 7 8 9; do echo " +
                                                           std::to_string(i) + "-$j; done"}));
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(until([&] { return exits.contains(ids[i]); }));
        std::string wanted;
        for (int j = 1; j < 10; ++j) wanted += std::to_string(i) + "-" + std::to_string(j) + "\n";
        EXPECT_EQ(log_of(ids[i]), wanted);
    }
}

TEST_F(SupervisorTest, KilledSupervisorLeavesNothingRunning) {
    auto id = run(
        "lost",
        {"sh", "-c", "setsid sleep 1000 & (trap '' TERM; sleep 1000) & echo ready; sleep 1000"});
    ASSERT_TRUE(until([&] { return tasks[id].state.log_length == 6; }));
    EXPECT_FALSE(marked_with(task_name(id)).empty());
    kill(supervisor_pid(), SIGKILL);
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(gone, 1);
    EXPECT_TRUE(exits[id].lost);
    EXPECT_EQ(log_of(id), "ready\n");
    EXPECT_TRUE(marked_with(task_name(id)).empty());
}

TEST_F(SupervisorTest, ASupervisorThatDoesNotAnswerIsEndedWithWhatItRuns) {
    link.reset();
    allowed = {1h, 400ms};
    connect();
    auto id = run("held", {"sh", "-c", "setsid sleep 1000 & echo ready; sleep 1000"});
    ASSERT_TRUE(until([&] { return tasks[id].state.log_length == 6; }));
    EXPECT_FALSE(marked_with(task_name(id)).empty());
    kill(supervisor_pid(), SIGSTOP);
    loop.run(loop.sleep(2 * allowed.urgent));
    EXPECT_EQ(gone, 0) << "nobody waits for it yet";
    link->signal(id, SIGKILL);
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_TRUE(exits[id].lost);
    EXPECT_NE(gone_why.find("did not answer"), std::string::npos) << gone_why;
    EXPECT_EQ(log_of(id), "ready\n");
    EXPECT_TRUE(marked_with(task_name(id)).empty());
}

TEST_F(SupervisorTest, ASupervisorThatWasStoppedBeforeItsAgentCameIsEndedToo) {
    auto id = run("held", {"sleep", "1000"});
    link.reset();
    kill(supervisor_pid(), SIGSTOP);
    allowed = {2s, 1s};
    connect();
    EXPECT_TRUE(exits.contains(id) && exits[id].lost);
    EXPECT_NE(gone_why.find("did not answer"), std::string::npos) << gone_why;
}

TEST_F(SupervisorTest, ABrokenJournalHidesNoProcess) {
    for (const std::string& noise :
         {std::string(), std::string(4096, '\0'), std::string(4096, '\x5a')}) {
        auto id = run("hidden" + std::to_string(noise.size()) +
                          (noise.empty() ? ""
                           : noise[0]    ? "a"
                                         : "b"),
                      {"sh", "-c", "setsid sleep 1000 & echo ready; sleep 1000"});
        ASSERT_TRUE(until([&] { return tasks[id].state.log_length == 6; }));
        EXPECT_FALSE(marked_with(task_name(id)).empty());
        ASSERT_TRUE(write_file(folder + "/exits.journal", noise));
        const int before = listings;
        kill(supervisor_pid(), SIGKILL);
        ASSERT_TRUE(until([&] { return listings > before; }));
        EXPECT_FALSE(exits.contains(id)) << "nobody knows of it any more";
        EXPECT_TRUE(marked_with(task_name(id)).empty());
        auto next = run("next" + std::to_string(listings), {"sh", "-c", "echo on"});
        ASSERT_TRUE(until([&] { return exits.contains(next); }));
        EXPECT_EQ(exits[next].exit_code, 0);
    }
}

TEST_F(SupervisorTest, ALogOfAnotherProcessHasALimitToo) {
    AttemptId id{"ws", "ranks-" + std::to_string(getpid()), 1};
    StartRequest request;
    request.id = id;
    request.cwd = folder;
    request.argv = {program,   "launch-up-to",
                    "1000000", folder + "/end",
                    "0",       "0",
                    "0",       "-",
                    "-",       "-",
                    "2",       "0",
                    "-",       "0",
                    "1",       folder + "/rank.log",
                    "0",       "sh",
                    "-c",      "head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end"};
    // What the job sets is not asked.
    request.environment = {"PATH=/usr/bin:/bin", "TURNOUT_LOG_LIMIT=1000",
                           "TURNOUT_ATTEMPT=" + task_name(id), "TURNOUT_NODE_FOLDER=" + folder};
    ASSERT_TRUE(link->start_task(request));
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 0);
    const std::string log = read_file(folder + "/rank.log", 64 << 20).value();
    EXPECT_LT(log.size(), 1'001'000u);
    const std::size_t kept = log.find('\n');
    EXPECT_EQ(
        log.substr(kept),
        "\nturnout: " + std::to_string(3'000'000 - kept + 5) +
            " bytes of the log are left out here: the server had not taken what came before\n");
}

// Who ends the machine says TERM to it: what it then kills is nobody's failure.
TEST_F(SupervisorTest, ATerminatedSupervisorsTasksAreLost) {
    auto id = run("shutdown", {"sleep", "1000"});
    kill(supervisor_pid(), SIGTERM);
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_TRUE(exits[id].lost);
}

// tail keeps what it reads until a line ends.
std::vector<std::string> holding(int megabytes) {
    return {"/bin/sh", "-c",
            "(head -c " + std::to_string(megabytes << 20) +
                " /dev/zero; echo held >&2; exec sleep 100) | tail"};
}

TEST_F(SupervisorTest, TasksHaveTheMemoryOfTheirNodeTogether) {
    const std::int64_t node = 240 << 20;
    const auto small = run("small", holding(60), node), other = run("other", holding(60), node),
               large = run("large", holding(150), node);
    ASSERT_TRUE(until([&] { return exits.contains(large); })) << "none is beyond the limit alone";
    EXPECT_TRUE(exits[large].memory_exceeded);
    EXPECT_TRUE(exits[large].together);
    EXPECT_GT(exits[large].peak_memory_bytes, 100 << 20);
    // What ended makes room: a smaller one takes it, and those that were there go on.
    // (Together they leave so much that the one beyond is by far the largest when it is looked at.)
    const auto next = run("next", holding(20), node);
    ASSERT_TRUE(until([&] { return log_of(next) == "held\n"; }));
    const auto beyond = run("beyond", holding(300), node);
    ASSERT_TRUE(until([&] { return exits.contains(beyond); }));
    EXPECT_TRUE(exits[beyond].memory_exceeded);
    EXPECT_EQ(exits.size(), 2u);
}

TEST_F(SupervisorTest, ATimeLimitIsKeptWithoutAnAgent) {
    constexpr Span limit = 2s;
    const auto limited = [&](const std::string& job, std::string command, Span grace) {
        AttemptId id{"ws", job, 1};
        StartRequest request;
        request.id = id;
        request.cwd = folder;
        request.argv = {"sh", "-c", std::move(command)};
        request.environment = {"PATH=/usr/bin:/bin", "TURNOUT_ATTEMPT=" + task_name(id),
                               "TURNOUT_NODE_FOLDER=" + folder};
        request.time_limit = limit;
        request.grace = grace;
        EXPECT_TRUE(link->start_task(request));
        EXPECT_TRUE(until([&] { return started.contains(id); }));
        return id;
    };
    const auto obeys = limited(
        "obeys", "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.01; done", 60s);
    const auto stays = limited(
        "stays", "trap '' TERM; echo ready; sleep 1000 & while :; do sleep 0.01; done", 100ms);
    const auto quick = limited("quick", "exit 3", 60s);
    for (const auto& id : {obeys, stays})
        ASSERT_TRUE(until([&] { return log_of(id).starts_with("ready\n"); }));
    link.reset();
    for (const auto& id : {obeys, stays})
        ASSERT_TRUE(until([&] { return marked_with(task_name(id)).empty(); }));
    connect();
    ASSERT_TRUE(until(
        [&] { return exits.contains(obeys) && exits.contains(stays) && exits.contains(quick); }));
    EXPECT_TRUE(exits[obeys].timed_out);
    EXPECT_EQ(exits[obeys].exit_code, 5);
    EXPECT_TRUE(log_of(obeys).ends_with("told\n")) << "the shell may tell of its `sleep` before";
    EXPECT_GE(exits[obeys].ended - exits[obeys].started, limit);
    EXPECT_TRUE(exits[stays].timed_out);
    EXPECT_EQ(exits[stays].signal, SIGKILL);
    EXPECT_GE(exits[stays].ended - exits[stays].started, limit + 100ms);
    EXPECT_FALSE(exits[quick].timed_out);
    EXPECT_EQ(exits[quick].exit_code, 3);
}

TEST_F(SupervisorTest, FenceKillsAndWordsAreKept) {
    auto id = run("fenced", {"sleep", "1000"});
    link->fence(Span(1));
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_TRUE(exits[id].fenced);
    link->fence(Span(0));
    AttemptId words{"ws", "words", 1};
    link->append(words, "never ran\n", true);
    link->append(words, "twice\n", true);
    link->append(words, "more\n", false);
    ASSERT_TRUE(until([&] { return tasks[words].state.log_length == 15; }));
    EXPECT_EQ(log_of(words), "never ran\nmore\n");
}

TEST_F(SupervisorTest, StartsBeyondTheSlotsWaitForTheirTurn) {
    link->slots(2);
    auto ask = [&](const std::string& job, const std::string& script) {
        AttemptId id{"ws", job + "-" + std::to_string(getpid()), 1};
        link->start_task({id,
                          folder,
                          0,
                          "",
                          {"sh", "-c", script},
                          {"PATH=/usr/bin:/bin", "TURNOUT_ATTEMPT=" + task_name(id)}});
        return id;
    };
    auto first = ask("first", "sleep 1000"), second = ask("second", "sleep 1000");
    auto third = ask("third", "echo third >> order"),
         fourth = ask("fourth", "echo fourth >> order");
    ASSERT_TRUE(until([&] { return started.contains(first) && started.contains(second); }));
    EXPECT_FALSE(started.contains(third));
    ask("third", "echo again >> order");  // it waits already
    link->signal(first, 0);               // runs: nothing happens to it
    link->signal(second, SIGKILL);
    ASSERT_TRUE(until([&] { return exits.contains(fourth); }));
    EXPECT_EQ(*read_file(folder + "/order"), "third\nfourth\n");
    EXPECT_TRUE(exits.contains(third));
    EXPECT_FALSE(exits.contains(first));
    EXPECT_GE(exits[fourth].started, exits[third].ended);
}

TEST_F(SupervisorTest, WhatWaitsCanBeDroppedAndAskedAgain) {
    link->slots(1);
    auto first = run("first", {"sleep", "1000"});
    for (const int number : {0, SIGTERM}) {
        AttemptId id{"ws", "dropped-" + std::to_string(number), 1};
        StartRequest request{id,
                             folder,
                             0,
                             "",
                             {"sh", "-c", "echo x >> ran" + std::to_string(number)},
                             {"PATH=/usr/bin:/bin"}};
        link->start_task(request);
        link->signal(id, number);
        ASSERT_TRUE(until([&] { return started.contains(id); }));
        ASSERT_FALSE(started.at(id));
        EXPECT_EQ(started.at(id).error().code, Code::Canceled);
        started.erase(id);
        link->start_task(request);
    }
    EXPECT_FALSE(exits.contains(first));
    link->signal(first, SIGKILL);
    for (const char* name : {"/ran0", "/ran15"})
        EXPECT_TRUE(until([&] { return read_file(folder + name).value_or("") == "x\n"; })) << name;
}

TEST_F(SupervisorTest, WhatWaitsGoesOnWithoutAnAgentAndIsListed) {
    link->slots(1);
    auto first = run("first", {"sh", "-c", "while [ ! -e go ]; do sleep 0.01; done"});
    AttemptId second{"ws", "second-" + std::to_string(getpid()), 1};
    link->start_task(
        {second, folder, 0, "", {"sh", "-c", "echo x >> ran"}, {"PATH=/usr/bin:/bin"}});
    link.reset();
    connect();
    ASSERT_TRUE(tasks.contains(second));
    EXPECT_TRUE(tasks[second].state.waiting);
    EXPECT_FALSE(tasks[first].state.waiting);
    link.reset();
    std::ofstream(folder + "/go") << "x";
    ASSERT_TRUE(until([&] { return exists(folder + "/ran"); }));
    exits.clear();
    connect();
    ASSERT_TRUE(until([&] { return exits.contains(second); }));
    EXPECT_EQ(exits[second].exit_code, 0);
    EXPECT_EQ(*read_file(folder + "/ran"), "x\n");
}

TEST_F(SupervisorTest, WhatWaitedAtAKilledSupervisorWasNeverStarted) {
    link->slots(1);
    auto first = run("first", {"sleep", "1000"});
    AttemptId second{"ws", "second-" + std::to_string(getpid()), 1};
    StartRequest request{
        second, folder, 0, "", {"sh", "-c", "echo x >> ran"}, {"PATH=/usr/bin:/bin"}};
    link->start_task(request);
    link->signal(first, 0);
    link.reset();
    tasks.clear();
    connect();
    ASSERT_TRUE(tasks[second].state.waiting);
    tasks.clear();
    int before = listings;
    kill(supervisor_pid(), SIGKILL);
    ASSERT_TRUE(until([&] { return listings > before; }));
    EXPECT_TRUE(tasks.contains(first));
    EXPECT_TRUE(exits[first].lost);
    EXPECT_FALSE(tasks.contains(second));
    EXPECT_FALSE(exists(folder + "/ran"));
    link->start_task(request);
    ASSERT_TRUE(until([&] { return exits.contains(second); }));
    EXPECT_EQ(*read_file(folder + "/ran"), "x\n");
}

TEST_F(SupervisorTest, TheFenceDropsWhatWaits) {
    link->slots(1);
    auto first = run("first", {"sleep", "1000"});
    AttemptId second{"ws", "second-" + std::to_string(getpid()), 1};
    link->start_task(
        {second, folder, 0, "", {"sh", "-c", "echo x >> ran"}, {"PATH=/usr/bin:/bin"}});
    link->fence(Span(1));
    ASSERT_TRUE(until([&] { return exits.contains(first) && started.contains(second); }));
    EXPECT_FALSE(started.at(second));
    link->fence(Span(0));
    EXPECT_FALSE(exists(folder + "/ran"));
}

TEST_F(SupervisorTest, NothingIsBegunBeyondTheFence) {
    link->fence(Span(1));
    AttemptId id{"ws", "late-" + std::to_string(getpid()), 1};
    StartRequest request{id, folder, 0, "", {"sh", "-c", "echo x >> ran"}, {"PATH=/usr/bin:/bin"}};
    link->start_task(request);
    ASSERT_TRUE(until([&] { return started.contains(id); }));
    ASSERT_FALSE(started.at(id));
    EXPECT_EQ(started.at(id).error().code, Code::Canceled);
    link->start_task(request);  // waits, and goes on when the fence is set anew
    link->fence(Span(0));
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(*read_file(folder + "/ran"), "x\n");
}

TEST_F(SupervisorTest, WordsWaitForRoomOnTheDisk) {
    auto loud = run("loud", {"sh", "-c", "head -c 100000 /dev/zero"});
    ASSERT_TRUE(until([&] { return exits.contains(loud); }));
    const pid_t supervisor = supervisor_pid();
    // Its log segment cannot grow any more, its journal can.
    const rlimit full{100'000, RLIM_INFINITY}, roomy{RLIM_INFINITY, RLIM_INFINITY};
    ASSERT_EQ(prlimit(supervisor, RLIMIT_FSIZE, &full, nullptr), 0);
    AttemptId words{"ws", "words", 1};
    link->append(words, "never ran\n", true);
    link->append(words, "twice\n", true);
    link->append(words, "more\n", false);
    ASSERT_TRUE(until([&] { return tasks.contains(words); }));
    EXPECT_EQ(tasks[words].state.log_length, 0u);
    ASSERT_EQ(prlimit(supervisor, RLIMIT_FSIZE, &roomy, nullptr), 0);
    ASSERT_TRUE(until([&] { return tasks[words].state.log_length == 15; }));
    EXPECT_EQ(log_of(words), "never ran\nmore\n");
}

TEST_F(SupervisorTest, AFullDiskKeepsNoProcessAlive) {
    auto loud = run("loud", {"sh", "-c", "head -c 100000 /dev/zero"});
    ASSERT_TRUE(until([&] { return exits.contains(loud); }));
    const pid_t supervisor = supervisor_pid();
    const rlimit full{100'000, RLIM_INFINITY}, roomy{RLIM_INFINITY, RLIM_INFINITY};
    ASSERT_EQ(prlimit(supervisor, RLIMIT_FSIZE, &full, nullptr), 0);
    auto parent = run("parent", {"sh", "-c", "setsid sleep 1000 & echo $! > child; echo the last"});
    ASSERT_TRUE(until([&] {
        const auto child = read_file(folder + "/child", 16);
        return child && !child->empty() && kill(std::atoi(child->c_str()), 0) != 0;
    }));
    EXPECT_FALSE(exits.contains(parent));  // its last line has no room yet
    ASSERT_EQ(prlimit(supervisor, RLIMIT_FSIZE, &roomy, nullptr), 0);
    ASSERT_TRUE(until([&] { return exits.contains(parent); }));
    EXPECT_EQ(log_of(parent), "the last\n");
}

TEST_F(SupervisorTest, ASerialIsNeverGivenTwice) {
    auto kept = run("kept", {"echo", "kept"}), gone_one = run("gone", {"echo", "of another"});
    ASSERT_TRUE(until([&] { return exits.contains(kept) && exits.contains(gone_one); }));
    link->forget(gone_one);
    run("nosuch", {"no-such-program"});  // with its record the other one is written, too
    for (int i = 0; i < 2; ++i) {  // the first rewrites its journal, the second has nothing else
        kill(supervisor_pid(), SIGKILL);
        int before = listings;
        ASSERT_TRUE(until([&] { return listings > before; }));
    }
    auto late = run("late", {"echo", "late"});
    ASSERT_TRUE(until([&] { return exits.contains(late); }));
    EXPECT_GT(tasks[late].serial, tasks[gone_one].serial);
    EXPECT_EQ(exits[late].log_length, 5u);
    EXPECT_EQ(log_of(late), "late\n");
}

// What cannot be the supervisor's is not waited through: a new connection begins with a list.
TEST_F(SupervisorTest, WhatCannotBeAFrameEndsTheConnection) {
    const std::string other = folder + "/other";
    ASSERT_TRUE(make_folders(other));
    Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_in(other);
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener.get(), 8), 0);
    bool listed = false;
    SupervisorLink::Events events;
    events.listed = [&](std::vector<SupervisedTask>) { listed = true; };
    events.gone = [](std::string) {};
    SupervisorLink strange(loop, other, program, std::move(events));
    strange.begin();
    using namespace std::string_view_literals;
    for (const auto said : {"\0\0\0\0"sv, "\0\0\0\7l"sv, "\1\0\0\0l"sv}) {
        Fd accepted;
        ASSERT_TRUE(until([&] {
            return bool(accepted = Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
        }));
        ASSERT_EQ(send(accepted.get(), said.data(), said.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(said.size()));
        if (said == "\1\0\0\0l"sv)
            EXPECT_TRUE(until([&] { return listed; }));
        else
            EXPECT_TRUE(until([&] { return ended(accepted.get()); }));
    }
}

// A dead agent's requests may still be unread when the next one has its list.
TEST_F(SupervisorTest, OnlyTheLastToListIsHeard) {
    link.reset();
    Fd earlier(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_in(folder);
    ASSERT_EQ(::connect(earlier.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    const timeval patience{60, 0};
    setsockopt(earlier.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ASSERT_EQ(send(earlier.get(), "\1\0\0\0L", 5, 0), 5);
    char bytes[64];
    ASSERT_EQ(recv(earlier.get(), bytes, sizeof bytes, 0), 5) << "an empty list";
    connect();
    EXPECT_EQ(recv(earlier.get(), bytes, sizeof bytes, 0), 0);
}

TEST_F(SupervisorTest, WhatKilledProcessesSaidLastIsKept) {
    const std::string script =
        "if [ $RANK = 1 ]; then echo $$ $PPID > pids; while [ ! -e go ]; do sleep 0.01; done; echo "
        "last words; touch said; fi; exec sleep 1000";
    auto id = run("ranks", {program,
                            "launch",
                            folder + "/end",
                            "0",
                            "0",
                            "0",
                            "-",
                            "-",
                            "-",
                            "2",
                            "0",
                            "-",
                            "1",
                            "RANK=0",
                            "1",
                            folder + "/log",
                            "1",
                            "RANK=1",
                            "sh",
                            "-c",
                            script});
    pid_t process = 0, launcher = 0;
    ASSERT_TRUE(until([&] {
        return std::sscanf(read_file(folder + "/pids").value_or("").c_str(), "%d %d", &process,
                           &launcher) == 2;
    }));
    kill(launcher, SIGSTOP);  // what is said from now on is in its pipe
    std::ofstream(folder + "/go") << "x";
    ASSERT_TRUE(until([&] { return exists(folder + "/said"); }));
    link->signal(id, SIGKILL);
    ASSERT_TRUE(until([&] {
        return read_file("/proc/" + std::to_string(process) + "/stat")
            .value_or(") Z")
            .contains(") Z");
    }));
    kill(launcher, SIGCONT);
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 137);
    EXPECT_EQ(read_file(folder + "/log").value_or(""), "last words\n");
    EXPECT_TRUE(read_file(folder + "/end").value_or("").ends_with(" 137 9\n"));
}

TEST_F(SupervisorTest, AFolderIsClosedToTheCommandAlone) {
    const std::string closed = folder + "/closed";
    ASSERT_TRUE(make_folders(closed) && write_file(closed + "/x", "old"));
    const auto can = run("can", {program, "can-close", closed});
    ASSERT_TRUE(until([&] { return exits.contains(can); }));
    if (exits[can].exit_code != 0) GTEST_SKIP() << "this machine allows no mounts";
    const std::string script = "cd '" + closed +
                               "' && (echo new >x || rm -f x || chmod 666 x || mount -o remount,rw "
                               ". || umount .) 2>/dev/null && exit 3; cat x";
    const auto id = run("closed", {program, "launch", folder + "/end", "0", "0", "0", "-", "-",
                                   closed, "1", "0", "-", "0", "sh", "-c", script});
    ASSERT_TRUE(until([&] { return exits.contains(id); }));
    EXPECT_EQ(exits[id].exit_code, 0);
    EXPECT_EQ(read_file(closed + "/x").value_or(""), "old");
    EXPECT_TRUE(write_file(closed + "/x", "of others"));
}

}  // namespace
}  // namespace turnout::agent
