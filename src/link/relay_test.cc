#include "link/relay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

namespace turnout::link {
namespace {

template <class E>
std::vector<E> only(const std::vector<Event>& events) {
    std::vector<E> found;
    for (const Event& one : events)
        if (const E* wanted = std::get_if<E>(&one)) found.push_back(*wanted);
    return found;
}

// Two relays and the streams between them.
class RelayTest : public ::testing::Test {
protected:
    void make(Limits limits_of_a = {}, Limits limits_of_b = {}) {
        a.emplace(limits_of_a, now);
        b.emplace(limits_of_b, now);
    }
    // Carries everything, both ways, until nothing comes any more.
    void settle() {
        for (bool more = true; more;) {
            more = carry(*a, *b, of_b);
            more = carry(*b, *a, of_a) || more;
        }
    }
    bool carry(Relay& from, Relay& to, std::vector<Event>& events) {
        std::string bytes;
        from.output(bytes, 1 << 20, now);
        const Result<void> got = to.receive(bytes, now);
        EXPECT_TRUE(got) << got.error().message;
        for (Event& one : to.take_events()) events.push_back(std::move(one));
        return !bytes.empty() && got;
    }
    void greet() {
        make();
        settle();
        ASSERT_EQ(only<event::Ready>(of_a).size(), 1u);
        ASSERT_EQ(only<event::Ready>(of_b).size(), 1u);
    }
    // Opens a channel from a, and says what b calls it.
    std::pair<Channel, Channel> open(std::string_view target = "x") {
        of_b.clear();
        const Channel here = a->open(target);
        settle();
        const auto opened = only<event::Opened>(of_b);
        EXPECT_EQ(opened.size(), 1u);
        EXPECT_EQ(opened[0].target, target);
        return {here, opened[0].channel};
    }
    std::string bytes_of(const std::vector<Event>& events, Channel channel) {
        std::string all;
        for (const auto& one : only<event::Bytes>(events))
            if (one.channel == channel) all += one.bytes;
        return all;
    }

    Span now = 1000s;
    std::optional<Relay> a, b;
    std::vector<Event> of_a, of_b;
};

TEST_F(RelayTest, BytesGoBothWaysAndEachDirectionEndsAlone) {
    greet();
    const auto [at_a, at_b] = open("notebook");
    a->write(at_a, "question");
    a->end(at_a);
    settle();
    EXPECT_EQ(bytes_of(of_b, at_b), "question");
    EXPECT_EQ(only<event::Ended>(of_b).size(), 1u);
    EXPECT_TRUE(only<event::Closed>(of_b).empty());
    b->consumed(at_b, 8);
    b->write(at_b, "answer");
    b->end(at_b);
    settle();
    EXPECT_EQ(bytes_of(of_a, at_a), "answer");
    EXPECT_EQ(only<event::Ended>(of_a).size(), 1u);
    EXPECT_TRUE(only<event::Closed>(of_a).empty()) << "it is still being consumed";
    EXPECT_EQ(a->channels(), 1u);
    a->consumed(at_a, 6);
    settle();
    ASSERT_EQ(only<event::Closed>(of_a).size(), 1u);
    EXPECT_EQ(only<event::Closed>(of_a)[0].reason, "");
    ASSERT_EQ(only<event::Closed>(of_b).size(), 1u);
    EXPECT_EQ(a->channels() + b->channels(), 0u);
    // The other side opens one too: the same number, another channel.
    const Channel back = b->open("server");
    settle();
    ASSERT_EQ(only<event::Opened>(of_a).size(), 1u);
    EXPECT_EQ(only<event::Opened>(of_a)[0].target, "server");
    EXPECT_NE(only<event::Opened>(of_a)[0].channel, at_a) << "never used twice";
    EXPECT_NE(back, at_b);
}

TEST_F(RelayTest, AResetSaysWhyAndDropsTheRest) {
    greet();
    const auto [at_a, at_b] = open();
    a->write(at_a, std::string(1000, 'x'));
    b->reset(at_b, "'x' is not offered here");
    settle();
    ASSERT_EQ(only<event::Closed>(of_a).size(), 1u);
    EXPECT_EQ(only<event::Closed>(of_a)[0].reason, "'x' is not offered here");
    EXPECT_TRUE(only<event::Closed>(of_b).empty()) << "who resets is not told";
    EXPECT_TRUE(bytes_of(of_b, at_b).empty());
    EXPECT_EQ(a->channels() + b->channels(), 0u);
    EXPECT_EQ(a->room(at_a), 0u);
    a->write(at_a, "");
    a->end(at_a);
    a->reset(at_a, "late");
    a->consumed(at_a, 7);
    settle();  // nothing of it is said any more
}

TEST_F(RelayTest, ASlowChannelStallsNoOther) {
    greet();
    const auto [slow_a, slow_b] = open("slow");
    const auto [quick_a, quick_b] = open("quick");
    std::size_t to_slow = 0, to_quick = 0;
    for (int round = 0; round < 200; ++round) {
        for (const auto& [channel, sum] :
             {std::pair(slow_a, &to_slow), std::pair(quick_a, &to_quick)}) {
            const std::size_t room = a->room(channel);
            a->write(channel, std::string(room, 'x'));
            *sum += room;
        }
        of_b.clear();
        settle();
        b->consumed(quick_b, bytes_of(of_b, quick_b).size());
    }
    EXPECT_EQ(to_slow, Limits().window + kMaxQueued) << "nobody takes more of it";
    EXPECT_EQ(to_quick, 200u * kMaxQueued);
    EXPECT_GT(b->bytes_promised(), Limits().largest_window) << "the quick one's window has grown";
    EXPECT_LE(b->bytes_promised(), Limits().largest_window + Limits().window);
    of_b.clear();
    b->consumed(slow_b, Limits().window);
    settle();
    EXPECT_EQ(bytes_of(of_b, slow_b).size(), kMaxQueued);
}

TEST_F(RelayTest, AllWindowsTogetherAreBounded) {
    Limits limits;
    limits.growth = 300 << 10;
    make({}, limits);
    settle();
    for (int again = 0; again < 2; ++again) {  // what they had grown by is given back
        std::vector<std::pair<Channel, Channel>> channels;
        for (int i = 0; i < 8; ++i) channels.push_back(open());
        EXPECT_EQ(b->bytes_promised(), 8 * limits.window);
        for (int round = 0; round < 50; ++round) {
            for (const auto& [at_a, at_b] : channels)
                a->write(at_a, std::string(a->room(at_a), 'x'));
            of_b.clear();
            settle();
            for (const auto& one : only<event::Bytes>(of_b))
                b->consumed(one.channel, one.bytes.size());
            ASSERT_LE(b->bytes_promised(), 8 * limits.window + limits.growth);
        }
        EXPECT_EQ(b->bytes_promised(), 8 * limits.window + limits.growth);
        for (const auto& [at_a, at_b] : channels) a->reset(at_a, "enough");
        settle();
        EXPECT_EQ(b->bytes_promised(), 0u);
    }
}

TEST_F(RelayTest, WhatIsSmallDoesNotWaitBehindWhatIsLarge) {
    greet();
    const auto [bulk_a, bulk_b] = open("bulk");
    const auto [small_a, small_b] = open("small");
    a->write(bulk_a, std::string(kMaxQueued, 'b'));
    std::string first;
    a->output(first, 1, now);  // its first frame is on its way, the rest waits
    EXPECT_EQ(first.size(), kMaxFrame);
    a->write(bulk_a, std::string(a->room(bulk_a), 'b'));
    b->write(small_b, std::string(Limits().window, 'x'));
    std::string back;
    b->output(back, 1 << 20, now);
    ASSERT_TRUE(a->receive(back, now));
    a->consumed(small_a, bytes_of(a->take_events(), small_a).size());
    a->write(small_a, "small");
    const Channel third = a->open("third");
    std::string next;
    a->output(next, 1 << 20, now);
    const auto at = [&](std::string_view text) { return next.find(text); };
    EXPECT_EQ(next[0], 3) << "a channel is opened before bytes are sent";
    EXPECT_EQ(next[kHeader + 5], 4) << "so is credit";
    EXPECT_LT(at("small"), at("bbbb"));
    a->reset(third, "not needed");
}

TEST_F(RelayTest, QuietChannelsDoNotStarveABusyOne) {
    greet();
    const auto [bulk_a, bulk_b] = open("bulk");
    std::vector<Channel> quiet;
    for (int i = 0; i < 10; ++i) quiet.push_back(open().first);
    std::string out;
    a->write(bulk_a, std::string(kMaxQueued, 'b'));
    a->output(out, 1, now);  // from now on it is one of the busy
    for (const Channel one : quiet) a->write(one, "q");
    out.clear();
    a->output(out, 1 << 20, now);
    EXPECT_LT(out.find('b'), out.rfind('q'));
}

TEST_F(RelayTest, OpensAreCountedAndComeBackWithTime) {
    Limits limits;
    limits.opens = 4;
    limits.opens_per_second = 2;
    make({}, limits);
    EXPECT_FALSE(a->may_open()) << "before the hello nobody knows";
    settle();
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(a->may_open());
        a->reset(a->open("x"), "enough");
        settle();
    }
    EXPECT_EQ(b->channels(), 0u);
    EXPECT_FALSE(a->may_open());
    EXPECT_LE(b->next_tick(), now + 501ms);
    now += 400ms;
    ASSERT_TRUE(b->tick(now));
    settle();
    EXPECT_FALSE(a->may_open());
    now += 101ms;
    ASSERT_TRUE(b->tick(now));
    settle();
    ASSERT_TRUE(a->may_open());
    a->open("x");
    EXPECT_FALSE(a->may_open());
    settle();
    now += 5s;
    ASSERT_TRUE(b->tick(now));
    settle();
    for (int i = 0; i < 4; ++i) a->open("x");
    EXPECT_FALSE(a->may_open());
}

TEST_F(RelayTest, ChannelsAreCounted) {
    Limits limits;
    limits.channels = 2;
    make({}, limits);
    settle();
    const auto first = open();
    open();
    EXPECT_FALSE(a->may_open());
    EXPECT_TRUE(b->may_open()) << "each side counts what the other one opens";
    a->reset(first.first, "enough");
    EXPECT_FALSE(a->may_open()) << "until the other side has said so too";
    settle();
    EXPECT_TRUE(a->may_open());
}

TEST_F(RelayTest, ASilentStreamIsDeadAndAQuietOneIsNot) {
    Limits limits;
    limits.silence = 9s;
    make(limits, limits);
    settle();
    for (int i = 0; i < 100; ++i) {
        now = std::min(a->next_tick(), b->next_tick());
        ASSERT_TRUE(a->tick(now));
        ASSERT_TRUE(b->tick(now));
        settle();
    }
    EXPECT_GE(now, 1000s + 100 * 3s - 3s) << "a sign of life in a third of the time";
    now += 8999ms;
    ASSERT_TRUE(a->tick(now));
    now += 1ms;
    const auto dead = a->tick(now);
    ASSERT_FALSE(dead);
    EXPECT_EQ(dead.error().reason, "RelaySilent");
    EXPECT_EQ(dead.error().code, Code::Unavailable);
}

TEST_F(RelayTest, VersionsMeetOrAreRefusedByBothSides) {
    const auto speaking = [](std::uint16_t oldest, std::uint16_t newest) {
        Limits limits;
        limits.oldest = oldest;
        limits.newest = newest;
        return limits;
    };
    make(speaking(1, 2), speaking(2, 3));
    settle();
    EXPECT_EQ(only<event::Ready>(of_a)[0].version, 2);
    EXPECT_EQ(only<event::Ready>(of_b)[0].version, 2);
    make(speaking(1, 2), speaking(3, 4));
    std::string from_a, from_b;
    a->output(from_a, 1000, now);
    b->output(from_b, 1000, now);
    const auto at_a = a->receive(from_b, now), at_b = b->receive(from_a, now);
    ASSERT_TRUE(!at_a && !at_b);
    EXPECT_EQ(at_a.error().message,
              "the relay's other side speaks version 3 to 4, this one version 1 to 2: install the "
              "same release on both");
    EXPECT_EQ(at_b.error().code, Code::FailedPrecondition);
}

TEST_F(RelayTest, WhatALoginShellSaysFirstIsSkippedOrShown) {
    make();
    std::string hello;
    b->output(hello, 1000, now);
    const std::string noise = "Welcome!\n\x1bturnout-\x1b";
    ASSERT_TRUE(a->receive(noise + hello.substr(0, 4), now));
    ASSERT_TRUE(a->receive(hello.substr(4), now));
    EXPECT_EQ(only<event::Ready>(a->take_events()).size(), 1u);

    make();
    ASSERT_TRUE(a->receive("sh: 1: turnout-agent: not found\n", now));
    EXPECT_EQ(a->stream_ended().message,
              "the relay's stream ended before the other side's hello: 'sh: 1: turnout-agent: not "
              "found'");
    Result<void> got;
    for (int i = 0; got && i < 100; ++i) got = a->receive(std::string(1000, 'y'), now);
    ASSERT_FALSE(got) << "it is bounded";
    EXPECT_TRUE(got.error().message.starts_with(
        "the relay's other side is none: 64.0 KiB came that begin with 'sh: 1:"))
        << got.error().message;
}

std::string frame(int type, int own, std::uint32_t id, const std::string& payload) {
    std::string out{static_cast<char>(type), static_cast<char>(own)};
    out += static_cast<char>(payload.size() >> 8);
    out += static_cast<char>(payload.size());
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(id >> shift);
    return out + payload;
}

std::string number(std::uint32_t value) {
    return frame(0, 0, value, "").substr(4);
}

TEST_F(RelayTest, WhatBreaksTheRulesEndsTheRelayAndSaysWhy) {
    const std::string open_1 = frame(3, 1, 1, "x");
    const std::string rules[][2] = {
        {frame(0, 0, 0, ""), "a frame of type 0, which there is not"},
        {frame(8, 0, 0, ""), "a frame of type 8, which there is not"},
        {frame(5, 2, 1, "x"), "channels of sort 2"},
        {std::string("\5\1\xff\xff\0\0\0\1", 8), "a frame of 65543 bytes, more than 65536"},
        {frame(1, 0, 0, std::string(20, 'x')), "a second hello"},
        {frame(2, 0, 0, "x"), "a wrong sign of life"},
        {frame(3, 0, 1, "x"), "opened our channel 1"},
        {frame(3, 1, 0, "x"), "opened its channel 0"},
        {frame(3, 1, 1, ""), "a name of 0 bytes"},
        {frame(3, 1, 1, std::string(129, 'x')), "a name of 129 bytes"},
        {open_1 + open_1, "opened its channel 1, which is open"},
        {open_1 + frame(3, 1, 2, "x") + frame(3, 1, 3, "x"), "opened more than 2 channels"},
        {frame(5, 1, 1, "x"), "a frame of its channel 1, not open"},
        {frame(5, 0, 1, "x"), "a frame of our channel 1, not open"},
        {frame(4, 1, 1, number(1)), "a frame of its channel 1, not open"},
        {open_1 + frame(4, 1, 1, "x"), "credit that is no number"},
        {open_1 + frame(4, 1, 1, number(0xffffffff)), "too much credit"},
        {frame(4, 0, 0, "x"), "credit that is no number"},
        {frame(4, 0, 0, number(0xffffffff)), "too much credit"},
        {open_1 + frame(5, 1, 1, ""), "a frame without bytes"},
        {open_1 + frame(5, 1, 1, std::string(101, 'x')), "sent 101 bytes where it may send 100"},
        {open_1 + frame(6, 1, 1, "x"), "an end that holds something"},
        {open_1 + frame(6, 1, 1, "") + frame(5, 1, 1, "x"), "its channel 1 after its end"},
        {open_1 + frame(6, 1, 1, "") + frame(6, 1, 1, ""), "its channel 1 after its end"},
        {open_1 + frame(7, 1, 1, ""), "closed a channel before its end, without reason"},
        {open_1 + frame(7, 1, 1, "y") + frame(7, 1, 1, "y"), "its channel 1, not open"},
        {open_1 + frame(7, 1, 1, std::string(257, 'x')), "a reason that is too long"},
    };
    Limits limits;
    limits.channels = 2;
    limits.window = 100;
    for (const auto& [bytes, words] : rules) {
        make({}, limits);
        carry(*a, *b, of_b);
        const auto got = b->receive(bytes, now);
        ASSERT_FALSE(got) << words;
        EXPECT_NE(got.error().message.find(words), std::string::npos) << got.error().message;
        EXPECT_EQ(got.error().reason, "RelayBroken");
    }
    const auto hello = [](std::uint16_t newest, std::uint16_t oldest, std::uint32_t window,
                          std::uint32_t silence) {
        return std::string(kPreamble) +
               frame(1, 0, 0,
                     number(newest << 16 | oldest) + number(window) + number(1) + number(1) +
                         number(silence) + "what a later version adds");
    };
    const std::string hellos[][2] = {
        {std::string(kPreamble) + frame(2, 0, 0, ""), "something else before its hello"},
        {std::string(kPreamble) + frame(1, 0, 0, "x"), "a hello that is too short"},
        {hello(1, 0, 1, 1000), "a hello without a version"},
        {hello(1, 2, 1, 1000), "a hello without a version"},
        {hello(1, 1, 0, 1000), "a window of 0 bytes"},
        {hello(1, 1, 1, 10), "a silence of 10 ms, not 100 ms to 1 h"},
        {hello(1, 1, 1, 10'000'000), "a silence of"},
    };
    for (const auto& [bytes, words] : hellos) {
        make();
        const auto got = b->receive(bytes, now);
        ASSERT_FALSE(got) << words;
        EXPECT_NE(got.error().message.find(words), std::string::npos) << got.error().message;
    }
    make();
    EXPECT_TRUE(b->receive(hello(1, 1, 1, 1000), now));
}

TEST_F(RelayTest, CreditIsCountedToTheByte) {
    for (const std::size_t too_many : {0, 1}) {
        Limits limits;
        limits.window = limits.largest_window = 100;
        make({}, limits);
        carry(*a, *b, of_b);
        of_b.clear();
        ASSERT_TRUE(b->receive(frame(3, 1, 1, "x") + frame(5, 1, 1, std::string(90, 'x')), now));
        b->consumed(only<event::Opened>(b->take_events())[0].channel, 60);
        std::string credit;
        b->output(credit, 1 << 20, now);
        EXPECT_TRUE(credit.ends_with(frame(4, 0, 1, number(60))));
        EXPECT_EQ(b->receive(frame(5, 1, 1, std::string(70 + too_many, 'x')), now).has_value(),
                  too_many == 0);
    }
}

TEST_F(RelayTest, WhoMakesThisSideAnswerAndDoesNotReadIsLeft) {
    Limits limits;
    limits.opens = 1'000'000;
    make({}, limits);
    carry(*a, *b, of_b);
    Result<void> got;
    int rounds = 0;
    for (; got && rounds < 100'000; ++rounds)
        got = b->receive(frame(3, 1, 1, "x") + frame(7, 1, 1, "y"), now);
    ASSERT_FALSE(got);
    EXPECT_LT(rounds, 100'000);
    EXPECT_EQ(b->channels(), 0u);
}

// ---- generated: two relays, streams chopped anywhere, and a model of what each channel carries

struct Direction {
    std::size_t written = 0, came = 0, consumed = 0;
    bool ended = false, end_came = false;
};
struct Model {
    Channel at[2] = {0, 0};  // 0: that side does not know it yet
    Direction from[2];
    bool reset[2] = {false, false};
    std::optional<std::string> closed[2];
};

class World {
public:
    explicit World(std::uint64_t seed) : random_(seed) {
        Limits limits[2];
        for (Limits& one : limits) {
            one.channels = static_cast<std::uint32_t>(1 + below(6));
            one.opens = static_cast<std::uint32_t>(1 + below(10));
            one.opens_per_second = static_cast<std::uint32_t>(1 + below(1000));
            one.window = static_cast<std::uint32_t>(1 + below(one_of(8, 5000, 100'000)));
            one.largest_window = one.window * static_cast<std::uint32_t>(1 + below(9));
            one.growth = static_cast<std::uint32_t>(below(200'000));
        }
        for (int side : {0, 1}) {
            limits_[side] = limits[side];
            relays_.emplace_back(limits[side], now_);
        }
    }

    void run(int steps) {
        for (int i = 0; i < steps && !failed(); ++i) step();
        // From now on nobody opens, and everybody ends what he has begun.
        for (auto& [name, model] : models_)
            for (int side : {0, 1})
                if (model.at[side]) end(model, side);
        int still = 0;  // what is consumed at the end of a round is said in the next
        for (int rounds = 0; rounds < 100'000 && still < 2 && !failed(); ++rounds) {
            bool moved = false;
            for (int side : {0, 1}) {
                moved = say(side, 1 << 20) || moved;
                moved = hear(1 - side, wires_[side].size()) || moved;
            }
            for (auto& [name, model] : models_)
                for (int side : {0, 1}) {
                    consume(model, side, 1 << 30);
                    if (model.at[side]) end(model, side);
                }
            still = moved ? 0 : still + 1;
        }
        for (int side : {0, 1}) EXPECT_EQ(relays_[side].channels(), 0u) << "left over at " << side;
        for (auto& [name, model] : models_) check_end(name, model);
    }
    bool failed() const { return ::testing::Test::HasFailure(); }
    std::size_t whole = 0, cut = 0, bytes = 0;

private:
    std::size_t below(std::size_t limit) { return limit ? random_() % limit : 0; }
    std::size_t one_of(std::size_t x, std::size_t y, std::size_t z) {
        return std::array{x, y, z}[below(3)];
    }
    // What that side writes from `at` on: other bytes for each channel and side.
    static std::string content(const std::string& name, int side, std::size_t at,
                               std::size_t count) {
        static const std::string pattern = [] {
            std::mt19937 random(7);
            std::string text(1 << 20, ' ');
            for (char& c : text) c = static_cast<char>(random());
            return text;
        }();
        std::string text;
        for (at += std::hash<std::string>()(name) % 1000 * 2 + side; text.size() < count;)
            text.append(pattern, (at + text.size()) % pattern.size(), count - text.size());
        return text;
    }

    void step() {
        const int side = static_cast<int>(below(2));
        Relay& relay = relays_[side];
        switch (below(9)) {
            case 0:
            case 1: say(side, 1 + below(one_of(10, 1000, 300'000))); break;
            case 2:
            case 3: hear(side, 1 + below(one_of(10, 1000, 300'000))); break;
            case 4:
                if (!relay.may_open()) {
                    now_ += Span(below(20'000));
                    EXPECT_TRUE(relays_[1 - side].tick(now_));
                    EXPECT_TRUE(relay.tick(now_));
                } else {
                    const std::string name = "channel-" + std::to_string(models_.size());
                    models_[name].at[side] = relay.open(name);
                    names_[side][models_[name].at[side]] = name;
                }
                break;
            case 5:
            case 6:
                if (auto [name, model] = any(side); model && !model->from[side].ended) {
                    Direction& out = model->from[side];
                    // Where the window is tiny each byte is a frame.
                    const std::size_t most = limits_[1 - side].window * 200ul;
                    const std::string text = content(
                        name, side, out.written,
                        std::min({relay.room(model->at[side]), below(one_of(10, 1000, 100'000)),
                                  most - std::min(most, out.written)}));
                    out.written += text.size();
                    relay.write(model->at[side], text);
                }
                break;
            case 7:
                if (auto [name, model] = any(side); model)
                    consume(*model, side, 1 + below(one_of(10, 1000, 100'000)));
                break;
            case 8:
                if (auto [name, model] = any(side); model) {
                    if (below(3) == 0) {
                        if (!model->closed[side] && below(2) == 0) {
                            relay.reset(model->at[side], "why " + name);
                            model->reset[side] = true;
                        }
                    } else {
                        end(*model, side);
                    }
                }
                break;
        }
        look();
    }
    std::pair<std::string, Model*> any(int side) {
        if (names_[side].empty()) return {"", nullptr};
        // The newer ones, mostly: the others are over.
        auto at = names_[side].end();
        for (std::size_t back = 1 + below(std::min<std::size_t>(names_[side].size(), 8)); back > 0;
             --back)
            --at;
        Model& model = models_[at->second];
        if (model.reset[side] || model.closed[side]) return {"", nullptr};
        return {at->second, &model};
    }
    void end(Model& model, int side) {
        if (model.from[side].ended || model.reset[side] || model.closed[side]) return;
        model.from[side].ended = true;
        relays_[side].end(model.at[side]);
    }
    void consume(Model& model, int side, std::size_t most) {
        Direction& in = model.from[1 - side];
        const std::size_t count = std::min(most, in.came - in.consumed);
        if (!model.at[side] || model.reset[side] || model.closed[side]) return;
        relays_[side].consumed(model.at[side], count);
        in.consumed += count;
        look();
    }
    bool say(int side, std::size_t room) {
        const std::size_t before = wires_[side].size();
        relays_[side].output(wires_[side], room, now_);
        look();
        return wires_[side].size() > before;
    }
    bool hear(int side, std::size_t count) {
        std::string& wire = wires_[1 - side];
        count = std::min(count, wire.size());
        const auto got = relays_[side].receive(std::string_view(wire).substr(0, count), now_);
        EXPECT_TRUE(got) << got.error().message;
        wire.erase(0, count);
        look();
        return count > 0;
    }

    void look() {
        for (int side : {0, 1}) {
            for (const Event& one : relays_[side].take_events())
                std::visit([&](const auto& event) { saw(side, event); }, one);
            const Limits& limits = limits_[side];
            const std::size_t channels = limits.channels + limits_[1 - side].channels;
            EXPECT_LE(relays_[side].channels(), channels);
            EXPECT_LE(relays_[side].bytes_promised(),
                      channels * (limits.window + kMaxQueued + kMaxPayload) + limits.growth);
        }
    }
    Model& of(int side, Channel channel) {
        EXPECT_TRUE(names_[side].contains(channel));
        Model& model = models_[names_[side][channel]];
        EXPECT_FALSE(model.reset[side]) << "nothing is heard of it after a reset";
        EXPECT_FALSE(model.closed[side]) << "nothing comes after the last event";
        return model;
    }
    void saw(int side, const event::Ready&) { EXPECT_TRUE(ready_.insert(side).second); }
    void saw(int side, const event::Opened& event) {
        EXPECT_TRUE(models_.contains(event.target));
        EXPECT_EQ(models_[event.target].at[side], 0u) << "opened twice";
        models_[event.target].at[side] = event.channel;
        EXPECT_TRUE(names_[side].emplace(event.channel, event.target).second);
    }
    void saw(int side, const event::Bytes& event) {
        Model& model = of(side, event.channel);
        Direction& in = model.from[1 - side];
        EXPECT_FALSE(in.end_came);
        EXPECT_LE(in.came + event.bytes.size(), in.written) << "bytes that nobody wrote";
        EXPECT_TRUE(event.bytes ==
                    content(names_[side][event.channel], 1 - side, in.came, event.bytes.size()));
        in.came += event.bytes.size();
        EXPECT_LE(in.came - in.consumed, limits_[side].largest_window)
            << "more than there is credit";
        bytes += event.bytes.size();
    }
    void saw(int side, const event::Ended& event) {
        Direction& in = of(side, event.channel).from[1 - side];
        EXPECT_FALSE(in.end_came);
        EXPECT_TRUE(in.ended);
        EXPECT_EQ(in.came, in.written);
        in.end_came = true;
    }
    void saw(int side, const event::Closed& event) {
        Model& model = of(side, event.channel);
        model.closed[side] = event.reason;
        if (event.reason.empty()) {
            EXPECT_TRUE(model.from[0].end_came && model.from[1].end_came);
        } else {
            EXPECT_TRUE(model.reset[1 - side]);
            EXPECT_EQ(event.reason, "why " + names_[side][event.channel]);
        }
    }
    void saw(int side, const event::Room& event) {
        EXPECT_GT(relays_[side].room(event.channel) + 1, 0u);
    }

    void check_end(const std::string& name, const Model& model) {
        ASSERT_TRUE(model.at[0] && model.at[1]) << name << ": one side has never heard of it";
        const bool any_reset = model.reset[0] || model.reset[1];
        (any_reset ? cut : whole) += 1;
        for (int side : {0, 1}) {
            EXPECT_EQ(model.closed[side].has_value(), !model.reset[side]) << name;
            if (any_reset) continue;
            EXPECT_EQ(model.closed[side], "") << name;
            EXPECT_EQ(model.from[side].came, model.from[side].written) << name;
        }
    }

    std::mt19937_64 random_;
    Span now_ = 5s;
    Limits limits_[2];
    std::vector<Relay> relays_;
    std::string wires_[2];  // from that side
    std::map<std::string, Model> models_;
    std::map<Channel, std::string> names_[2];
    std::set<int> ready_;
};

TEST(RelayModel, EveryByteComesOnceAndInOrder) {
    std::size_t whole = 0, cut = 0, bytes = 0;
    for (std::uint64_t seed = 1; seed <= 200 && !::testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        World world(seed);
        world.run(2000);
        whole += world.whole;
        cut += world.cut;
        bytes += world.bytes;
    }
    EXPECT_GT(whole, 1000u);
    EXPECT_GT(cut, 1000u);
    EXPECT_GT(bytes, 10'000'000u);
}

}  // namespace
}  // namespace turnout::link
