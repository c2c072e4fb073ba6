// Whose the processes of a machine are: against the rule said slowly, over generated trees; and of
// real ones, that what is known of strangers hides nobody.
#include "supervisor/processes.c"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr pid_t kSelf = 2'000'000;  // no real process has such a number: none carries a marker

class ProcessesTest : public ::testing::Test {
protected:
    void SetUp() override { process_count = earlier_count = 0; }
    void TearDown() override { process_count = earlier_count = 0; }

    static void put(const std::vector<process>& all) {
        if (process_room < all.size()) {
            process_room = all.size();
            processes =
                static_cast<process*>(must(realloc(processes, process_room * sizeof *processes)));
        }
        std::copy(all.begin(), all.end(), processes);
        process_count = all.size();
    }
    // A leader, or of its session, or beneath one of those and not handed to us.
    static std::vector<int> slowly(const std::vector<process>& all,
                                   const std::vector<root>& roots) {
        std::vector<int> owners(all.size(), NOBODY);
        for (std::size_t i = 0; i < all.size(); ++i)
            for (std::size_t k = roots.size(); k-- > 0;)
                if (all[i].pid != kSelf &&
                    (all[i].pid == roots[k].pid || all[i].session == roots[k].pid))
                    owners[i] = static_cast<int>(k);
        for (std::size_t i = 0; roots.size() == 1 && i < all.size(); ++i)
            if (all[i].parent == kSelf) owners[i] = 0;
        for (bool changed = true; changed;) {
            changed = false;
            for (std::size_t i = 0; i < all.size(); ++i) {
                if (owners[i] != NOBODY || all[i].pid == kSelf || all[i].parent == kSelf) continue;
                for (std::size_t k = 0; k < all.size(); ++k)
                    if (all[k].pid == all[i].parent && owners[k] != NOBODY)
                        owners[i] = owners[k], changed = true;
            }
        }
        return owners;
    }
    static bool beneath_us(const std::vector<process>& all, pid_t pid) {
        for (std::size_t steps = 0; steps <= all.size(); ++steps) {
            if (pid == kSelf) return true;
            const auto at = std::find_if(all.begin(), all.end(),
                                         [&](const process& p) { return p.pid == pid; });
            if (at == all.end()) return false;
            pid = at->parent;
        }
        return false;
    }
};

TEST_F(ProcessesTest, OwnersOfGeneratedTrees) {
    for (unsigned seed = 1; seed <= 300; ++seed) {
        std::mt19937 random(seed);
        const auto up_to = [&](std::size_t n) { return static_cast<pid_t>(random() % (n + 1)); };
        const pid_t first = kSelf - 100;
        std::vector<process> all;
        const auto add = [&](pid_t pid, pid_t parent, pid_t session) {
            all.push_back({pid, parent, session, 1, 0, UNDECIDED, 0, 0});
        };
        add(1, 0, 1);
        add(kSelf, 1, kSelf);
        std::vector<root> roots;
        const pid_t count = 2 + up_to(80);
        for (pid_t i = 1; i < count; ++i) {
            const pid_t pid = first + (i < 100 ? i : i + 1);
            if (pid == kSelf) continue;
            if (random() % 8 == 0 && roots.size() < 5) {
                roots.push_back({pid, "ws/none/1", 0});
                add(pid, kSelf, pid);
                continue;
            }
            // Deep more often than wide; some have lost their parent, some are in a circle.
            const std::size_t among =
                random() % 3 ? all.size() - 1 : static_cast<std::size_t>(up_to(all.size() - 1));
            pid_t parent = all[among].pid;
            if (random() % 20 == 0) parent = first - 1000;
            if (random() % 40 == 0) parent = pid;
            if (random() % 10 == 0) parent = kSelf;
            add(pid, parent, random() % 4 ? all[among].session : pid);
        }
        std::sort(all.begin(), all.end(),
                  [](const process& a, const process& b) { return a.pid < b.pid; });
        if (roots.empty()) continue;
        put(all);
        find_owners(kSelf, roots.data(), roots.size(), 0);
        const std::vector<int> expected = slowly(all, roots);
        for (std::size_t i = 0; i < all.size(); ++i) {
            EXPECT_EQ(processes[i].owner, expected[i])
                << "seed " << seed << ", process " << all[i].pid;
            EXPECT_FALSE(processes[i].stranger && beneath_us(all, all[i].pid))
                << "seed " << seed << ", process " << all[i].pid;
        }
    }
}

TEST_F(ProcessesTest, ADeepTreeIsWalkedOnce) {
    std::vector<process> all{{1, 0, 1, 1, 0, UNDECIDED, 0, 0}};
    for (pid_t i = 0; i < 200'000; ++i)
        all.push_back({10 + i, i ? 9 + i : kSelf, 10, 1, 0, UNDECIDED, 0, 0});
    for (process& p : all) p.session = p.pid == 10 ? 10 : 1;
    all.push_back({kSelf, 1, kSelf, 1, 0, UNDECIDED, 0, 0});
    put(all);
    const root leader{10, "ws/none/1", 0};
    find_owners(kSelf, &leader, 1, 0);  // quadratic, this would take hours
    for (std::size_t i = 1; i + 1 < all.size(); ++i) ASSERT_EQ(processes[i].owner, 0);
    EXPECT_EQ(processes[0].owner, NOBODY);
    EXPECT_TRUE(processes[0].stranger);
}

// A chain of processes of which every third ends, so that those beneath it are handed to us; some
// have sessions of their own. Round after round they have other numbers, or the same ones.
TEST_F(ProcessesTest, OfRealProcessesEachIsFound) {
    constexpr int kLength = 12, kStay = 8;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int round = 0; round < 20; ++round) {
        int begun[2];
        ASSERT_EQ(pipe(begun), 0);
        const pid_t leader = fork();
        if (leader == 0) {
            setsid();
            for (int i = 0; i < kLength; ++i) {
                const pid_t child = fork();
                if (child < 0) _exit(1);
                if (child > 0 && i % 3 == 1) _exit(0);
                if (child > 0) pause();
                if ((i + round) % 3 == 0) setsid();
                const pid_t self = getpid();
                if (i % 3 && write(begun[1], &self, sizeof self) != sizeof self) _exit(1);
            }
            pause();
            _exit(0);
        }
        close(begun[1]);
        std::set<pid_t> said;
        for (pid_t pid = 0; said.size() < kStay && read(begun[0], &pid, sizeof pid) == sizeof pid;)
            said.insert(pid);
        ASSERT_EQ(said.size(), kStay);
        const root roots[] = {{leader, "ws/none/1", 0}};
        scan();
        find_owners(getpid(), roots, 1, 0);
        for (const pid_t pid : said) {
            const process* found = find_process(processes, process_count, pid);
            ASSERT_TRUE(found) << "process " << pid;
            EXPECT_EQ(found->owner, 0) << "process " << pid;
        }
        const process* init = find_process(processes, process_count, 1);
        ASSERT_TRUE(init);
        EXPECT_TRUE(init->stranger);
        EXPECT_GT(init->rss, 0u);
        // All of them die, whoever they were begun by: their numbers are free for others.
        for (int left = 1; left;) {
            left = 0;
            scan();
            find_owners(getpid(), roots, 1, 0);
            for (std::size_t i = 0; i < process_count; ++i)
                if (processes[i].owner == 0) left += kill(processes[i].pid, SIGKILL) == 0;
            while (waitpid(-1, nullptr, WNOHANG) > 0) {
            }
        }
        close(begun[0]);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace
