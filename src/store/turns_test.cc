#include "store/turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/task.h"

namespace turnout {
namespace {

struct Writers {
    Turns turns;
    std::vector<std::string> said;
    std::vector<Later<int>> disk;

    Task<int> write(std::string key, int number, bool waits = true) {
        Turns::Turn turn(turns, key);
        co_await turn;
        said.push_back(key + std::to_string(number));
        if (waits) {
            disk.emplace_back();
            const Later<int> later = disk.back();
            co_await later;
        }
        co_return number;
    }
    void begin(const std::string& key, int number, bool waits = true) {
        start(write(key, number, waits),
              [this](int done) { said.push_back("done " + std::to_string(done)); });
    }
    std::vector<std::string> take() { return std::exchange(said, {}); }
};

TEST(Turns, ComeOneAfterTheOtherForEachKey) {
    Writers w;
    w.begin("a", 1);
    w.begin("a", 2);
    w.begin("b", 3);
    w.begin("a", 4, false);
    EXPECT_EQ(w.take(), (std::vector<std::string>{"a1", "b3"}));
    w.disk[0].settle()(0);
    EXPECT_EQ(w.take(), (std::vector<std::string>{"a2", "done 1"}));
    w.disk[2].settle()(0);
    EXPECT_EQ(w.take(), (std::vector<std::string>{"a4", "done 4", "done 2"}));
    w.disk[1].settle()(0);
    w.begin("a", 5, false);
    EXPECT_EQ(w.take(), (std::vector<std::string>{"done 3", "a5", "done 5"}));
}

// None inside the other: the stack stays as deep as it was.
TEST(Turns, ThousandsThatDoNotWaitComeInOneLoop) {
    Writers w;
    w.begin("a", 0);
    for (int i = 1; i <= 200'000; ++i) w.begin("a", i, false);
    w.take();
    w.disk[0].settle()(0);
    EXPECT_EQ(w.said.size(), 400'001u);
}

TEST(Turns, WhoWentAwayIsPassedOver) {
    auto w = std::make_unique<Writers>();
    w->begin("a", 1);
    struct Gone {  // destroyed while it waits
        Turns::Turn turn;
        explicit Gone(Turns& turns) : turn(turns, "a") {}
    };
    auto gone = std::make_unique<Gone>(w->turns);
    w->begin("a", 2, false);
    gone.reset();
    w->take();
    w->disk[0].settle()(0);
    EXPECT_EQ(w->take(), (std::vector<std::string>{"a2", "done 2", "done 1"}));
    // Turns outlive who gave them out.
    auto held = std::make_unique<Gone>(w->turns);
    w.reset();
    held.reset();
}

}  // namespace
}  // namespace turnout
