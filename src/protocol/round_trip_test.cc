// Every message with drawn values in every member: what is written is what is read.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "protocol/descriptions.h"

namespace turnout::agent_protocol {
namespace {

// Fills what a description names, with values that its reader takes.
class Draw {
public:
    static constexpr bool kReads = false;
    explicit Draw(std::mt19937_64& random) : random_(random) {}
    int members = 0;

    std::string some(std::size_t limit = 40) {
        static const std::string_view pieces[] = {"a",  "\"", "\\", "\n",
                                                  "\t", "é",  "漢", std::string_view("\0", 1),
                                                  "{}", "/",  " ",  "x9"};
        std::string text;
        for (std::size_t count = random_() % 12; count > 0; --count) {
            const std::string_view piece = pieces[random_() % std::size(pieces)];
            if (text.size() + piece.size() <= limit) text += piece;
        }
        return text;
    }
    void text(std::string_view name, std::string& into, Member is = {}) {
        ++members;
        into = name == "stream" ? "logs/x" + std::to_string(random_() % 100) : some(is.limit);
        if (is.required && into.empty()) into = "1";
        if (name == "path") into = "/x" + std::to_string(random_() % 100);
        if (name == "channel") into = "x-" + std::to_string(random_() % 100);
        // At its limit, now and then.
        if (name != "stream" && name != "path" && name != "channel" && is.limit < 3000 &&
            random_() % 8 == 0)
            into = std::string(is.limit, 'x');
    }
    void optional_text(std::string_view, std::optional<std::string>& into) {
        ++members;
        if (random_() % 2 == 0) into = some();
    }
    void secret(std::string_view, Secret& into) {
        ++members;
        into = Secret(some());
    }
    template <class Int>
    void number(std::string_view name, Int& into, Member = {}) {
        ++members;
        into = static_cast<Int>(
            random_() & static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()));
        if (name == "offset") into = static_cast<Int>(random_() >> 2);
        if (name == "protocol") into = static_cast<Int>(1 + random_() % kVersion);
        if (name == "rank") into = 0;
        if (name == "port") into = static_cast<Int>(random_() % 65536);
        if (name == "failures") into = static_cast<Int>(into / 2 + 1);
        if (name == "master_port") into = static_cast<Int>(random_() % 65536);
        if (name == "node_count" || name == "processes") into = static_cast<Int>(into / 2 + 1);
        if (name == "exit_code" || name == "signal" || name == "pid")
            into = static_cast<Int>(static_cast<std::int64_t>(into) - (1 << 30));
    }
    void yes_no(std::string_view, bool& into, Member = {}) {
        ++members;
        into = random_() % 2 == 0;
    }
    void span(std::string_view name, Span& into) {
        ++members;
        into = Span(static_cast<std::int64_t>(random_() >> 1));
        // A service's, which are bounded: all are below the one that is not less than another.
        if (name == "initial_delay" || name == "interval" || name == "timeout" || name == "first")
            into = 50ms + into % Span(23h);
        if (name == "longest") into = 24h;
    }
    void choice(std::string_view, Phase& into, Member = {}) {
        ++members;
        into = static_cast<Phase>(random_() % 5);
    }
    void choice(std::string_view, Cause& into, Member = {}) {
        ++members;
        into = static_cast<Cause>(random_() % 11);
    }
    void choice(std::string_view, Probe::Kind& into, Member = {}) {
        ++members;
        into = static_cast<Probe::Kind>(random_() % 2);
    }
    void choice(std::string_view, Restart::When& into, Member = {}) {
        ++members;
        into = static_cast<Restart::When>(random_() % 2);
    }
    void choice(std::string_view, TaskEnvironment::Kind& into, Member = {}) {
        ++members;
        into = static_cast<TaskEnvironment::Kind>(random_() % 2);
    }
    void texts(std::string_view, std::vector<std::string>& into, Member = {}) {
        ++members;
        for (std::size_t count = random_() % 4; count > 0; --count) into.push_back(some());
    }
    void pairs(std::string_view, Pairs& into) {
        ++members;
        for (std::size_t count = random_() % 4; count > 0; --count)
            into.emplace_back(some(), some());
    }
    void json(std::string_view, Json& into) {
        ++members;
        into = Json::object({{"command", some()}, {"list", Json::array({1, some(), Json()})}});
    }
    void tail(std::string& into) {
        ++members;
        into = some() + std::string("\0\xff", 2);
    }
    template <class T>
    void object(std::string_view, T& into, Member = {}) {
        ++members;
        describe_inside(into);
    }
    template <class T>
    void optional_object(std::string_view, std::optional<T>& into) {
        ++members;
        if (random_() % 2 == 0) describe_inside(into.emplace());
    }
    template <class T>
    void objects(std::string_view, std::vector<T>& into, Member = {}) {
        ++members;
        for (std::size_t count = random_() % 4; count > 0; --count)
            describe_inside(into.emplace_back());
    }
    void check(bool, std::string_view, std::string_view) {}

private:
    template <class T>
    void describe_inside(T& value) {
        Draw inner(random_);
        describe(inner, value);
    }
    std::mt19937_64& random_;
};

// How many members a struct has: with how many values it can be made.
struct Anything {
    template <class T>
    operator T() const;
};
template <class T, class... Values>
constexpr int members_of() {
    if constexpr (requires { T{Values()..., Anything()}; })
        return members_of<T, Values..., Anything>();
    else
        return static_cast<int>(sizeof...(Values));
}

// All of them: one that its description forgets would never leave.
template <class T>
void is_described() {
    std::mt19937_64 random(1);
    Draw draw(random);
    T value;
    if constexpr (std::is_same_v<T, Hello>) {
        do {
            value = {};
            draw.members = 0;
            describe(draw, value);
        } while (value.protocol != kVersion);
    } else {
        describe(draw, value);
    }
    EXPECT_EQ(draw.members, members_of<T>()) << kCalled<T> << " " << kType<T>;
}

template <class... Messages>
void are_described(std::type_identity<std::variant<Messages...>>) {
    (is_described<Messages>(), ...);
}

TEST(AgentProtocolDescriptions, NoMemberIsForgotten) {
    are_described(std::type_identity<ToServer>());
    are_described(std::type_identity<ToAgent>());
    is_described<AttemptId>();
    is_described<Facts>();
    is_described<Gpu>();
    is_described<Durations>();
    is_described<Ending>();
    is_described<BlobFolder>();
    is_described<TaskInput>();
    is_described<TaskOutput>();
    is_described<TaskEnvironment>();
    is_described<Probe>();
    is_described<Restart>();
    is_described<ServiceSpec>();
    is_described<TaskSpec>();
}

FrameReader::Frame only_frame(const std::string& bytes) {
    FrameReader reader;
    reader.feed(bytes);
    auto frame = reader.next();
    EXPECT_TRUE(frame && *frame);
    return frame && *frame ? **frame : FrameReader::Frame{};
}

// What a reader made of it is compared member by member, by writing it again: with what a tree of
// its members says, which has nothing in common with how it was read.
template <class Variant, class Decode, class T>
void comes_back(std::mt19937_64& random, Decode decode, std::type_identity<T>) {
    for (int i = 0; i < 200; ++i) {
        T message;
        Draw draw(random);
        describe(draw, message);
        const std::string bytes = encode(Variant(message));
        const auto back = decode(only_frame(bytes));
        ASSERT_TRUE(back) << back.error().message << " in " << bytes;
        ASSERT_TRUE(std::holds_alternative<T>(*back)) << bytes;
        TreeOut sent, arrived;
        Writer<TreeOut>::write(sent, message);
        Writer<TreeOut>::write(arrived, std::get<T>(*back));
        ASSERT_EQ(std::move(sent).take(), std::move(arrived).take()) << bytes;
        ASSERT_EQ(encode(*back), bytes);
        if constexpr (std::is_same_v<T, LogChunk>) {
            ASSERT_EQ(std::get<T>(*back).bytes, message.bytes);
        }
    }
}

template <class Decode, class... Messages>
void all_come_back(Decode decode, std::type_identity<std::variant<Messages...>>) {
    std::mt19937_64 random(20);
    (comes_back<std::variant<Messages...>>(random, decode, std::type_identity<Messages>()), ...);
}

TEST(AgentProtocolDescriptions, EveryMessageComesBackWithWhatWasDrawn) {
    all_come_back(decode_to_server, std::type_identity<ToServer>());
    all_come_back(decode_to_agent, std::type_identity<ToAgent>());
}

TEST(AgentProtocolDescriptions, ATaskComesBackWithWhatWasDrawn) {
    std::mt19937_64 random(21);
    for (int i = 0; i < 500; ++i) {
        TaskSpec task;
        Draw draw(random);
        describe(draw, task);
        const Json json = to_json(task);
        const auto back = task_from_json(json);
        ASSERT_TRUE(back) << back.error().message << " in " << json.dump();
        ASSERT_EQ(to_json(*back), json);
        // Text and tree are two writers of the same description.
        std::string text;
        TextOut(text).whole([&](TextOut& out) { Writer<TextOut>::write(out, task); });
        ASSERT_EQ(text, json.dump());
    }
}

// Wherever a text stands in a task, the job's name is put in; and nowhere else.
TEST(AgentProtocolDescriptions, TheJobsNameIsPutIntoEveryText) {
    std::mt19937_64 random(22);
    TaskSpec task;
    do {
        task = {};
        Draw draw(random);
        describe(draw, task);
    } while (task.inputs.empty() || task.outputs.empty() || !task.code);
    const auto mark = [](std::string& text) { text = std::string(kJobPlaceholder) + "!"; };
    Texts texts(mark);
    describe(texts, task);
    task.run_token = Secret(std::string(kJobPlaceholder));
    const auto expanded = expand_task(task, Json::object(), {"ws", "j9", 1});
    ASSERT_TRUE(expanded) << expanded.error().message;
    const std::string told = to_json(*expanded).dump();
    EXPECT_EQ(expanded->run_token.reveal(), kJobPlaceholder);
    std::size_t left = 0;
    for (std::size_t at = told.find(kJobPlaceholder); at != std::string::npos;
         at = told.find(kJobPlaceholder, at + 1))
        ++left;
    EXPECT_EQ(left, 1u) << told;  // the token
    EXPECT_NE(told.find("j9!"), std::string::npos);
}

}  // namespace
}  // namespace turnout::agent_protocol
