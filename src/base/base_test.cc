#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "base/hash.h"
#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "base/text.h"
#include "base/time.h"

namespace turnout {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

// ---- result.h

Result<int> half(int value) {
    if (value % 2 != 0) return invalid("odd");
    return value / 2;
}
Result<void> must_halve(int value) {
    TURNOUT_TRY(half(value));
    return {};
}
Result<int> quarter(int value) {
    TURNOUT_TRY(must_halve(value));
    return half(TURNOUT_TRY(half(value)));
}

TEST(Result, TryPassesValuesAndErrors) {
    EXPECT_EQ(quarter(12), 3);
    EXPECT_EQ(quarter(6).error().message, "odd");
    EXPECT_EQ(quarter(3).error().code, Code::InvalidArgument);
    EXPECT_EQ(http_status(not_found("x").error().code), 404);
}

TEST(Secret, Matches) {
    const Secret secret("pass");
    EXPECT_TRUE(secret.matches("pass"));
    EXPECT_FALSE(secret.matches("pas"));
    EXPECT_FALSE(secret.matches("pass\0"sv));
    EXPECT_FALSE(secret.matches("passwort"));
    EXPECT_FALSE(secret.matches(""));
    EXPECT_TRUE(Secret().matches(""));
}

// ---- task.h

Task<Result<int>> ready(int value) {
    if (value < 0) co_return invalid("negative");
    co_return value;
}
Task<Result<void>> nothing(bool good) {
    if (!good) co_return invalid("bad");
    co_return {};
}
Task<Result<int>> sum(int count) {
    int total = 0;
    for (int i = 0; i < count; ++i) {
        TURNOUT_CO_TRY(const int value, co_await ready(i));
        total += value;
    }
    co_return total;
}
Task<Result<int>> tried(int value, bool good) {
    TURNOUT_CO_TRY(const int first, co_await ready(value));
    TURNOUT_CO_TRY_VOID(co_await nothing(good));
    co_return first + 1;
}
Task<int> waits(Later<int> later) {
    co_return co_await later + 1;
}
Task<std::unique_ptr<int>> waits_deep(Later<int> later) {
    co_return std::make_unique<int>(co_await waits(std::move(later)));
}
Task<void> marks(Later<int> later, std::shared_ptr<int> mark) {
    *mark = co_await later;
}

TEST(Task, ReturnsValuesAndErrors) {
    Result<int> got = 0;
    start(sum(100), [&](Result<int> value) { got = value; });
    EXPECT_EQ(got, 4950);
    start(tried(1, true), [&](Result<int> value) { got = value; });
    EXPECT_EQ(got, 2);
    start(tried(-1, true), [&](Result<int> value) { got = value; });
    EXPECT_EQ(got.error().message, "negative");
    start(tried(1, false), [&](Result<int> value) { got = value; });
    EXPECT_EQ(got.error().message, "bad");
}

TEST(Task, IsLazyAndMayBeDropped) {
    auto mark = std::make_shared<int>(0);
    Later<int> later;
    later.settle()(7);
    {
        Task<void> task = marks(later, mark);
        EXPECT_EQ(*mark, 0);
        EXPECT_EQ(mark.use_count(), 2);
        Task<void> other = std::move(task);
        task = std::move(other);
    }
    EXPECT_EQ(*mark, 0);
    EXPECT_EQ(mark.use_count(), 1);
}

TEST(Later, SettledBeforeAwait) {
    Later<int> later;
    later.settle()(41);
    int got = 0;
    start(waits_deep(later), [&](std::unique_ptr<int> value) { got = *value; });
    EXPECT_EQ(got, 42);
}

TEST(Later, SettledAfterAwait) {
    auto mark = std::make_shared<int>(0);
    std::function<void(int)> settle;
    bool done = false;
    {
        Later<int> later;
        settle = later.settle();
        start(marks(std::move(later), mark), [&] { done = true; });
    }
    EXPECT_FALSE(done);
    settle(5);
    EXPECT_TRUE(done);
    EXPECT_EQ(*mark, 5);
    EXPECT_EQ(mark.use_count(), 1);  // the frames are gone
}

// An awaiting frame that is destroyed must not be resumed by a late settle.
struct Manual {
    struct promise_type {
        Manual get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
};
Manual drive(Task<void> task) {
    co_await std::move(task);
}

TEST(Later, SettledAfterTheWaiterWasDestroyed) {
    auto mark = std::make_shared<int>(0);
    Later<int> later;
    auto settle = later.settle();
    Manual root = drive(marks(later, mark));
    root.handle.destroy();
    EXPECT_EQ(mark.use_count(), 1);
    settle(9);
    EXPECT_EQ(*mark, 0);
}

TEST(LaterDeathTest, SettledTwice) {
    Later<int> later;
    later.settle()(1);
    EXPECT_DEATH(later.settle()(2), "settled twice");
}

// ---- text.h

TEST(Text, Basics) {
    EXPECT_EQ(to_lower("AbC-\xC3\x84"), "abc-\xC3\x84");
    EXPECT_TRUE(equal_ignoring_case("Content-TYPE", "content-type"));
    EXPECT_FALSE(equal_ignoring_case("a", "ab"));
    EXPECT_EQ(trim(" \t\r\n a b \n"), "a b");
    EXPECT_EQ(trim(" \n"), "");
    EXPECT_EQ(split("a,,b,", ','), (std::vector<std::string>{"a", "", "b", ""}));
    EXPECT_EQ(split("", ','), std::vector<std::string>{""});
    EXPECT_EQ(join(std::vector<std::string>{"a", "", "b"}, ", "), "a, , b");
}

TEST(Text, WholeNumbers) {
    EXPECT_EQ(parse_whole_number("0"), 0);
    EXPECT_EQ(parse_whole_number("-7"), -7);
    EXPECT_EQ(parse_whole_number("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
    for (const std::string_view text :
         {"", " 1", "1 ", "+1", "1.0", "1e3", "0x1", "x", "9223372036854775808"})
        EXPECT_EQ(parse_whole_number(text), std::nullopt) << text;
}

TEST(Text, ReplaceAll) {
    const auto replaced = [](std::string text, std::string_view what, std::string_view by) {
        replace_all(text, what, by);
        return text;
    };
    EXPECT_EQ(replaced("a.b.", ".", ".."), "a..b..");
    EXPECT_EQ(replaced("aaa", "aa", "b"), "ba");
    EXPECT_EQ(replaced("", "x", "y"), "");
}

TEST(Text, PercentDecode) {
    EXPECT_EQ(percent_decode("a%20b+%C3%a4%2e"), "a b+\xC3\xA4.");
    EXPECT_EQ(percent_decode("%252e"), "%2e");  // once
    for (auto bad : {"%", "%2", "a%", "%zz", "%2x", "%x2", "% 20", "%-1", "%+1", "%00", "a%00b"})
        EXPECT_FALSE(percent_decode(bad)) << bad;
}

TEST(Text, PercentEncode) {
    EXPECT_EQ(percent_encode("a/b c~\xC3\xA4\0"sv), "a%2Fb%20c~%C3%A4%00");
    EXPECT_EQ(percent_encode("a/b c", "/"), "a/b%20c");
    std::string all;
    for (int i = 1; i < 256; ++i) all += static_cast<char>(i);
    EXPECT_EQ(percent_decode(percent_encode(all)), all);
}

TEST(Text, ParseQuery) {
    using Pairs = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(parse_query("a=1&b=x%20y+z&a=2&&c&=d&e=f=g&%3D=%26"), (Pairs{{"a", "1"},
                                                                           {"b", "x y z"},
                                                                           {"a", "2"},
                                                                           {"c", ""},
                                                                           {"", "d"},
                                                                           {"e", "f=g"},
                                                                           {"=", "&"}}));
    EXPECT_EQ(parse_query(""), Pairs{});
    EXPECT_FALSE(parse_query("a=%"));
    EXPECT_FALSE(parse_query("%00=1"));
}

TEST(Text, Encodings) {
    EXPECT_EQ(to_base64(""), "");
    EXPECT_EQ(to_base64("f"), "Zg==");
    EXPECT_EQ(to_base64("fo"), "Zm8=");
    EXPECT_EQ(to_base64("foobar"), "Zm9vYmFy");
    EXPECT_EQ(to_base64("\xFB\xFF"), "+/8=");
    EXPECT_EQ(to_base64url("\xFB\xFF"), "-_8");
    EXPECT_EQ(to_hex("\x01\xAB\xFF"), "01abff");
    EXPECT_EQ(from_hex("01aBFf"), "\x01\xAB\xFF");
    for (auto bad : {"0", "0g", "0x"}) EXPECT_FALSE(from_hex(bad)) << bad;
    for (auto bad :
         {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 8", "-_8="})
        EXPECT_FALSE(from_base64(bad)) << bad;
    for (auto bad : {"Z", "Zg==", "Zh", "+/8"}) EXPECT_FALSE(from_base64url(bad)) << bad;
    std::mt19937 random(1);
    for (std::size_t size = 0; size < 100; ++size) {
        std::string bytes(size, '\0');
        for (char& c : bytes) c = static_cast<char>(random());
        EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
        EXPECT_EQ(from_base64url(to_base64url(bytes)), bytes);
        EXPECT_EQ(from_hex(to_hex(bytes)), bytes);
    }
}

TEST(Text, Utf8) {
    for (auto good : {""sv, "plain text, long"sv, "\0"sv, "\x7f"sv, "\xC2\x80"sv, "\xDF\xBF"sv,
                      "\xE0\xA0\x80"sv, "\xED\x9F\xBF"sv, "\xEE\x80\x80"sv, "\xF0\x90\x80\x80"sv,
                      "\xF4\x8F\xBF\xBF"sv})
        EXPECT_TRUE(is_utf8(good)) << to_hex(good);
    for (auto bad : {"\x80"sv, "\xC0\x80"sv, "\xC1\xBF"sv, "\xC2"sv, "\xE0\x9F\xBF"sv,
                     "\xED\xA0\x80"sv, "\xE2\x82"sv, "\xF0\x8F\xBF\xBF"sv, "\xF4\x90\x80\x80"sv,
                     "\xF5\x80\x80\x80"sv, "\xFF"sv, "12345678\xC2x"sv})
        EXPECT_FALSE(is_utf8(bad)) << to_hex(bad);
}

TEST(Text, Nearest) {
    const std::vector<std::string> names{"environment", "experiment", "compute",
                                         "code",        "inputs",     "outputs"};
    EXPECT_EQ(nearest("envrionment", names), "environment");
    EXPECT_EQ(nearest("Compute", names), "compute");
    EXPECT_EQ(nearest("cmpute", names), "compute");
    EXPECT_EQ(nearest("input", names), "inputs");
    EXPECT_EQ(nearest("output", names), "outputs");
    EXPECT_EQ(nearest("cod", names), "code");
    EXPECT_EQ(nearest("xy", names), std::nullopt);
    EXPECT_EQ(nearest("", names), std::nullopt);
    EXPECT_EQ(nearest("schedule", names), std::nullopt);
    EXPECT_EQ(nearest(std::string(100'000, 'x'), names), std::nullopt);
    EXPECT_EQ(did_you_mean("computee", names), ", did you mean 'compute'?");
    EXPECT_EQ(did_you_mean("zzz", names), "");
}

TEST(Text, CheckedRelativePath) {
    for (auto good : {"a", "a/b.txt", "...", "..a/.b/c..", "a b", "%2e%2e/%2f",
                      "\xC3\xA4/\xE4\xB8\xAD", "C:/x", "~", "-"})
        EXPECT_EQ(checked_relative_path(good, "path"), good);
    for (auto bad : {""sv,
                     "/"sv,
                     "/etc/passwd"sv,
                     "//a"sv,
                     "a//b"sv,
                     "a/"sv,
                     "."sv,
                     ".."sv,
                     "./a"sv,
                     "../a"sv,
                     "a/."sv,
                     "a/.."sv,
                     "a/../b"sv,
                     "a/./b"sv,
                     "a\\b"sv,
                     "..\\a"sv,
                     "a\0b"sv,
                     "\0"sv,
                     "a\nb"sv,
                     "a\x7f"sv,
                     "a\x1b[31m"sv,
                     "\xC2\x85"sv,
                     "\xFF"sv,
                     "\xC0\xAE\xC0\xAE/a"sv,
                     "a/\xED\xA0\x80"sv}) {
        const auto result = checked_relative_path(bad, "output path");
        ASSERT_FALSE(result) << to_hex(bad);
        EXPECT_EQ(result.error().code, Code::InvalidArgument);
        EXPECT_EQ(result.error().subject, "output path");
        for (const char c : result.error().message) EXPECT_FALSE(c >= 0 && c < ' ');
        EXPECT_TRUE(is_utf8(result.error().message));
    }
    EXPECT_TRUE(checked_relative_path(std::string(1024, 'a'), "path"));
    EXPECT_FALSE(checked_relative_path(std::string(1025, 'a'), "path"));
    EXPECT_LT(checked_relative_path(std::string(100'000, 'a'), "path").error().message.size(),
              300u);
}

TEST(Text, QuotingAndWords) {
    EXPECT_EQ(quote_for_shell("a-b/c.txt"), "a-b/c.txt");
    EXPECT_EQ(quote_for_shell(""), "''");
    EXPECT_EQ(quote_for_shell("it's $HOME"), "'it'\\''s $HOME'");
    EXPECT_EQ(quote_for_shell("~"), "'~'");
    EXPECT_EQ(xml_escape("<a b=\"c\" d='e'>&\xC3\xA4\x01\xFF\r"),
              "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\xC3\xA4\xEF\xBF\xBD\xEF\xBF\xBD&#13;");
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(-999), "-999");
    EXPECT_EQ(with_commas(12345), "12,345");
    EXPECT_EQ(with_commas(-123456), "-123,456");
    EXPECT_EQ(with_commas(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
    EXPECT_EQ(to_size_words(0), "0 B");
    EXPECT_EQ(to_size_words(1023), "1023 B");
    EXPECT_EQ(to_size_words(1024), "1.0 KiB");
    EXPECT_EQ(to_size_words(1'258'291), "1.2 MiB");
    EXPECT_EQ(to_size_words((1u << 20) - 1), "1.0 MiB");
    EXPECT_EQ(to_size_words(~0ull), "16.0 EiB");
}

// ---- time.h

TEST(Time, Iso8601) {
    EXPECT_EQ(to_iso8601({0}), "1970-01-01T00:00:00.000000Z");
    EXPECT_EQ(to_iso8601({-1}), "1969-12-31T23:59:59.999999Z");
    EXPECT_EQ(to_iso8601({1'795'339'800'123'456}), "2026-11-22T09:30:00.123456Z");
    EXPECT_EQ(parse_iso8601("2026-11-22T09:30:00.123456Z"), Instant{1'795'339'800'123'456});
    EXPECT_EQ(parse_iso8601("2026-11-22T09:30:00Z"), Instant{1'795'339'800'000'000});
    EXPECT_EQ(parse_iso8601("2026-11-22T09:30:00.1234569Z"), Instant{1'795'339'800'123'456});
    EXPECT_EQ(parse_iso8601("2026-11-22T11:00:00.5+01:30"), Instant{1'795'339'800'500'000});
    EXPECT_EQ(parse_iso8601("2026-11-22T08:30:00-01:00"), Instant{1'795'339'800'000'000});
    EXPECT_TRUE(parse_iso8601("2024-02-29T00:00:00Z"));
    EXPECT_TRUE(parse_iso8601("2000-02-29T00:00:00Z"));
    for (auto bad : {"",
                     "2026",
                     "2026-11-22",
                     "2026-11-22T09:30:00",
                     "2026-11-22 09:30:00Z",
                     "2026-11-22T09:30Z",
                     "2026-13-01T00:00:00Z",
                     "2026-00-01T00:00:00Z",
                     "2026-01-32T00:00:00Z",
                     "2026-01-00T00:00:00Z",
                     "2025-02-29T00:00:00Z",
                     "1900-02-29T00:00:00Z",
                     "2026-04-31T00:00:00Z",
                     "2026-11-22T24:00:00Z",
                     "2026-11-22T09:60:00Z",
                     "2026-11-22T09:30:60Z",
                     "2026-11-22T09:30:00.Z",
                     "2026-11-22T09:30:00Zx",
                     "2026-11-22T09:30:00+0100",
                     "2026-11-22T09:30:00+01:60",
                     "-026-11-22T09:30:00Z",
                     "+2026-11-22T09:30:00Z"})
        EXPECT_FALSE(parse_iso8601(bad)) << bad;
    std::mt19937_64 random(2);
    const std::int64_t from = parse_iso8601("0000-01-01T00:00:00Z")->micros;
    const std::int64_t to = parse_iso8601("9999-12-31T23:59:59.999999Z")->micros;
    std::uniform_int_distribution<std::int64_t> any(from, to);
    for (int i = 0; i < 20'000; ++i) {
        const Instant at{any(random)};
        ASSERT_EQ(parse_iso8601(to_iso8601(at)), at);
        const std::chrono::sys_time<Span> time{Span(at.micros)};
        const std::chrono::year_month_day date(std::chrono::floor<std::chrono::days>(time));
        char text[16];
        std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()),
                      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
        ASSERT_EQ(to_iso8601(at).substr(0, 10), text);
    }
    EXPECT_EQ(to_iso8601({std::numeric_limits<std::int64_t>::min()}),
              "-290308-12-21T19:59:05.224192Z");
}

TEST(Time, Durations) {
    const std::pair<const char*, Span> cases[] = {{"PT2M", 2min},
                                                  {"PT1H30M5S", 1h + 30min + 5s},
                                                  {"P1DT2H", 26h},
                                                  {"P1D", 24h},
                                                  {"PT0S", 0s},
                                                  {"PT0.5S", 500ms},
                                                  {"PT1.000001S", 1s + 1us},
                                                  {"P2DT3H4M5.25S", 51h + 4min + 5s + 250ms}};
    for (const auto& [text, span] : cases) {
        EXPECT_EQ(parse_duration(text), span) << text;
        EXPECT_EQ(to_duration(span), text);
    }
    EXPECT_EQ(parse_duration("P1W"), Span(168h));
    EXPECT_EQ(parse_duration("PT90M"), Span(90min));
    EXPECT_EQ(parse_duration("PT036H"), Span(36h));
    EXPECT_EQ(to_duration(-5s), "-PT5S");
    EXPECT_EQ(to_duration(Span::min()), "-P106751991DT4H54.775808S");
    EXPECT_EQ(parse_duration(to_duration(Span::max())), Span::max());
    for (auto bad : {"",
                     "P",
                     "PT",
                     "T1H",
                     "1H",
                     "P1",
                     "PT1",
                     "P1H",
                     "PT1D",
                     "P1DT",
                     "PT1M1H",
                     "PT1H1H",
                     "PTH",
                     "PT1H ",
                     "P1Y",
                     "P1M",
                     "P1Y2M3D",
                     "-PT5S",
                     "PT-5S",
                     "PT+5S",
                     "PT.5S",
                     "PT5.S",
                     "PT0.5H",
                     "PTT1S",
                     "PT1HT1S",
                     "pt1h",
                     "PT1,5S",
                     "PT9223372036854775808S",
                     "P106751992D",
                     "PT99999999999999999999999S"})
        EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Time, Words) {
    EXPECT_EQ(to_words(0s), "0 s");
    EXPECT_EQ(to_words(7us), "7 us");
    EXPECT_EQ(to_words(340ms), "340 ms");
    EXPECT_EQ(to_words(5'831us), "6 ms") << "to the nearest";
    EXPECT_EQ(to_words(999'499us), "999 ms");
    EXPECT_EQ(to_words(999'500us), "1 s");
    EXPECT_EQ(to_words(1s + 950ms), "2 s");
    EXPECT_EQ(to_words(12s + 470ms), "12.5 s");
    EXPECT_EQ(to_words(12s), "12 s");
    EXPECT_EQ(to_words(59s + 949ms), "59.9 s");
    EXPECT_EQ(to_words(59s + 999ms), "1 min");
    EXPECT_EQ(to_words(59min + 59s + 600ms), "1 h");
    EXPECT_EQ(to_words(Span::max()), "106751991 d 4 h");
    EXPECT_EQ(to_words(65s), "1 min 5 s");
    EXPECT_EQ(to_words(63min), "1 h 3 min");
    EXPECT_EQ(to_words(49h), "2 d 1 h");
    EXPECT_EQ(to_words(-2h), "-2 h");
}

// ---- hash.h

TEST(Hash, KnownAnswers) {
    const std::string abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    EXPECT_EQ(to_hex(sha256("abc")), abc);
    EXPECT_EQ(to_hex(sha256("")),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(to_hex(md5("abc")), "900150983cd24fb0d6963f7d28e17f72");
    EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    EXPECT_EQ(to_hex(hmac_sha256({}, {})),
              "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    Sha256 stream;
    stream.update("a");
    Sha256 moved = std::move(stream);
    moved.update("");
    moved.update("bc");
    EXPECT_EQ(to_hex(moved.finish()), abc);
}

// ---- json.h

std::string round_trip(std::string_view text) {
    const auto value = parse_json(text);
    return value ? value->dump() : value.error().message;
}

TEST(Json, Accepts) {
    const std::pair<std::string_view, std::string_view> cases[] = {
        {"null", "null"},
        {" [ ] ", "[]"},
        {"{}", "{}"},
        {"[[],{}]", "[[],{}]"},
        {"\t\r\n[true , false]", "[true,false]"},
        {"0", "0"},
        {"-0", "0"},
        {"-0.0", "-0.0"},
        {"1.0", "1.0"},
        {"1e2", "100.0"},
        {"1E+2", "100.0"},
        {"1e22", "1e+22"},
        {"0.1", "0.1"},
        {"5e-324", "5e-324"},
        {"1e-400", "0.0"},
        {"-1e-400", "-0.0"},
        {"1e-99999999999999999999", "0.0"},
        {"0.184467440737095516159", "0.1844674407370955"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9223372036854775808.0"},
        {"-9223372036854775809", "-9223372036854775808.0"},
        {"123456789012345678901234567890", "1.2345678901234568e+29"},
        {"1.7976931348623157e308", "1.7976931348623157e+308"},
        {R"("\u0041\n\/\\\"\b\f\r\t")", R"("A\n/\\\"\b\f\r\t")"},
        {R"("\u0000\u001f")", R"("\u0000\u001f")"},
        {R"("\ud83d\ude00")", "\"\xF0\x9F\x98\x80\""},
        {"\"\x7f\xC3\xA4\"", "\"\x7f\xC3\xA4\""},
        {"[NaN,Infinity,-Infinity]", R"(["NaN","Infinity","-Infinity"])"},
        {R"({"b":1,"a":2,"b":3})", R"({"b":3,"a":2})"},
        {R"({"":{"":0}})", R"({"":{"":0}})"},
        {R"({"a":1,"a":[2],"b":0,"a":{"c":1,"c":2}})", R"({"a":{"c":2},"b":0})"}};
    for (const auto& [text, wanted] : cases) EXPECT_EQ(round_trip(text), wanted) << text;
}

TEST(Json, Refuses) {
    for (auto bad : {""sv,
                     " "sv,
                     "["sv,
                     "]"sv,
                     "[1,]"sv,
                     "[,1]"sv,
                     "[1 2]"sv,
                     "{\"a\":1,}"sv,
                     "{a:1}"sv,
                     "{'a':1}"sv,
                     "{\"a\"}"sv,
                     "{\"a\":}"sv,
                     "{\"a\" 1}"sv,
                     "{1:2}"sv,
                     "[1}"sv,
                     "{\"a\":1]"sv,
                     "01"sv,
                     "-01"sv,
                     "+1"sv,
                     ".5"sv,
                     "1."sv,
                     "1.e1"sv,
                     "1e"sv,
                     "1e+"sv,
                     "-"sv,
                     "0x1"sv,
                     "1_000"sv,
                     "tru"sv,
                     "TRUE"sv,
                     "nul"sv,
                     "nan"sv,
                     "Inf"sv,
                     "-Inf"sv,
                     "-NaN"sv,
                     "NaN.5"sv,
                     "NaNe1"sv,
                     "Infe1"sv,
                     "Infinity.0"sv,
                     "-Infinitye5"sv,
                     "1e99999999999999999999"sv,
                     "1.0000000e315"sv,
                     "+Infinity"sv,
                     "1e400"sv,
                     "-1e400"sv,
                     "1.7976931348623159e308"sv,
                     "\""sv,
                     "\"a"sv,
                     "\"\\\""sv,
                     "\"\\x41\""sv,
                     "\"\\u12\""sv,
                     "\"\\u12G4\""sv,
                     "\"\\ud800\""sv,
                     "\"\\udc00\""sv,
                     "\"\\ud800\\u0041\""sv,
                     "\"\\ud800\\ud800\""sv,
                     "{\"\\udc00\":1}"sv,
                     "\"\n\""sv,
                     "\"\t\""sv,
                     "\"\0\""sv,
                     "\"\xFF\""sv,
                     "\"\xC0\x80\""sv,
                     "\"\xED\xA0\x80\""sv,
                     "\"\xC3\""sv,
                     "[1]x"sv,
                     "[1]]"sv,
                     "1 2"sv,
                     "{}{}"sv,
                     "[1]\0"sv,
                     "[1]\0x"sv,
                     "\0"sv,
                     "[1\0]"sv,
                     "// c\n1"sv,
                     "[1/**/]"sv,
                     "\xEF\xBB\xBF[]"sv,
                     "[\"a\",\n\"b\" \"c\"]"sv,
                     "\xA0"sv,
                     "[1,\f2]"sv,
                     "undefined"sv}) {
        const auto result = parse_json(bad);
        ASSERT_FALSE(result) << bad << " gave " << result->dump();
        EXPECT_EQ(result.error().code, Code::InvalidArgument);
        EXPECT_TRUE(result.error().message.starts_with("line ")) << result.error().message;
    }
    EXPECT_EQ(round_trip("{\"\xC3\xA4\": 1,\n \"b\": x}"), "line 2, column 7: invalid value");
    EXPECT_EQ(round_trip("[\"\xC3\xA4\", x]"), "line 1, column 7: invalid value");
    EXPECT_EQ(round_trip("[1]\n\0"sv).substr(0, 17), "line 2, column 1:");
}

TEST(Json, Depth) {
    const auto nested = [](std::size_t depth) {
        return std::string(depth, '[') + std::string(depth, ']');
    };
    EXPECT_EQ(round_trip(nested(64)), nested(64));
    EXPECT_EQ(round_trip(nested(65)).substr(0, 7), "line 1,");
    EXPECT_NE(round_trip(nested(65)).find("64"), std::string::npos);
    EXPECT_FALSE(parse_json(std::string(10'000'000, '[')));
    std::string objects;
    for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
    EXPECT_FALSE(parse_json(objects));
}

TEST(Json, HugeObjectsAndDuplicates) {
    std::string text = "{";
    constexpr int count = 200'000;
    for (int i = 0; i < count; ++i)  // each key twice
        text += (i ? ",\"k" : "\"k") + std::to_string(i % (count / 2)) + "\":" + std::to_string(i);
    const auto value = parse_json(text + "}");
    ASSERT_TRUE(value);
    ASSERT_EQ(value->members().size(), static_cast<std::size_t>(count / 2));
    for (int i = 0; i < count / 2; ++i) {
        const auto& [key, number] = value->members()[static_cast<std::size_t>(i)];
        ASSERT_EQ(key, "k" + std::to_string(i));
        ASSERT_EQ(number.as_int(), i + count / 2);
    }
    // The small and the large way agree with a plain model.
    std::mt19937 random(3);
    for (int round = 0; round < 2'000; ++round) {
        Json model = Json::object();
        std::string source = "{";
        const auto size = static_cast<unsigned>(random() % 40),
                   keys = static_cast<unsigned>(1 + random() % 30);
        for (unsigned i = 0; i < size; ++i) {
            const std::string key = std::to_string(random() % keys);
            source += (i ? ",\"" : "\"") + key + "\":" + std::to_string(i);
            model.set(key, i);
        }
        ASSERT_EQ(parse_json(source + "}"), model);
    }
}

TEST(Json, DoublesRoundTrip) {
    std::mt19937_64 random(4);
    for (int i = 0; i < 300'000; ++i) {
        const double value = std::bit_cast<double>(static_cast<std::uint64_t>(random()));
        if (!std::isfinite(value)) continue;
        const std::string text = Json(value).dump();
        const auto back = parse_json(text);
        ASSERT_TRUE(back) << text;
        ASSERT_FALSE(back->is_int()) << text;
        ASSERT_EQ(std::bit_cast<std::uint64_t>(back->as_double()),
                  std::bit_cast<std::uint64_t>(value))
            << text;
        if (i % 10 == 0) {  // seventeen digits and many, read as the C library reads them
            char digits[1200];
            std::snprintf(digits, sizeof digits, i % 20 == 0 ? "%.17g" : "%.60e", value);
            const auto read = parse_json(digits);
            ASSERT_TRUE(read) << digits;
            ASSERT_EQ(read->as_double(), value) << digits;
        }
    }
    for (std::int64_t whole : {0l, 1l, -1l, 1l << 53, std::numeric_limits<std::int64_t>::max(),
                               std::numeric_limits<std::int64_t>::min()})
        EXPECT_EQ(parse_json(Json(whole).dump()), Json(whole));
    EXPECT_EQ(Json(1.0).dump(), "1.0");
    EXPECT_EQ(Json(-0.0).dump(), "-0.0");
    EXPECT_EQ(Json(1e15).dump(), "1e+15");
    EXPECT_EQ(Json(123456.0).dump(), "123456.0");
}

TEST(Json, Readers) {
    const Json value =
        *parse_json(R"({"i":3,"d":2.5,"w":4.0,"s":"x","b":true,"n":null,"a":[1],"big":1e30})");
    EXPECT_EQ(value.at("i").as_int(), 3);
    EXPECT_EQ(value.at("i").as_double(), 3.0);
    EXPECT_EQ(value.at("w").as_int(), 4);
    EXPECT_EQ(value.at("d").as_int(-1), -1);
    EXPECT_EQ(value.at("big").as_int(-1), -1);
    EXPECT_EQ(Json(-0x1p63).as_int(), std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(Json(0x1p63).as_int(-1), -1);
    EXPECT_EQ(Json(std::nan("")).as_int(-1), -1);
    EXPECT_EQ(value.at("s").as_string(), "x");
    EXPECT_EQ(value.at("i").as_string("f"), "f");
    EXPECT_EQ(value.at("i").as_view(), "");
    EXPECT_TRUE(value.at("b").as_bool());
    EXPECT_TRUE(value.at("s").as_bool(true));
    EXPECT_TRUE(value.at("n").is_null() && value.has("n"));
    EXPECT_TRUE(value.at("absent").is_null() && !value.has("absent"));
    EXPECT_TRUE(value.at("s").at("deeper").at("still").is_null());
    EXPECT_EQ(value.at("a").items().size(), 1u);
    EXPECT_TRUE(value.at("s").items().empty() && value.at("s").members().empty());
    EXPECT_TRUE(Json(~std::uint64_t{0}).is_number() && !Json(~std::uint64_t{0}).is_int());
}

TEST(Json, Building) {
    Json value;
    value["a"]["b"] = 1;
    value["list"].push("x");
    value["list"].push(nullptr);
    value.set("a", 2);
    value["s"] = std::string("e\xFF\x01");
    EXPECT_EQ(value.dump(), "{\"a\":2,\"list\":[\"x\",null],\"s\":\"e\xEF\xBF\xBD\\u0001\"}");
    EXPECT_TRUE(value.erase("a"));
    EXPECT_FALSE(value.erase("a"));
    EXPECT_FALSE(Json("text").erase("a"));
    std::string out = "data: ";
    value.dump_to(out);
    EXPECT_TRUE(out.starts_with("data: {\"list\""));
    EXPECT_EQ(
        Json::object({{"a", Json::array({1, 2.5})}, {"e", Json::object()}, {"f", Json::array()}})
            .dump_pretty(2),
        "{\n  \"a\": [\n    1,\n    2.5\n  ],\n  \"e\": {},\n  \"f\": []\n}");
    // Reading through a value that is not const never ends the process nor changes it.
    Json text = "text";
    text.items().push_back(1);
    EXPECT_TRUE(text.items().empty() && text.members().empty());
    EXPECT_EQ(text, Json("text"));
}

TEST(JsonDeathTest, WritingIntoAnotherType) {
    Json text = "text";
    EXPECT_DEATH(text["a"] = 1, "not an object");
    EXPECT_DEATH(text.push(1), "not an array");
}

TEST(Json, Equality) {
    const Json a = *parse_json(R"({"x":[{"p":1,"q":2}],"y":null})");
    const Json b = *parse_json(R"({"y":null,"x":[{"q":2,"p":1}]})");
    EXPECT_FALSE(a == b);
    EXPECT_TRUE(a.equal_unordered(b));
    EXPECT_FALSE(a.equal_unordered(*parse_json(R"({"y":null,"x":[{"q":2,"p":3}]})")));
    EXPECT_FALSE(a.equal_unordered(*parse_json(R"({"y":null})")));
    EXPECT_FALSE(Json::array({1, 2}).equal_unordered(Json::array({2, 1})));
    EXPECT_FALSE(Json::array().equal_unordered(Json::object()));
}

TEST(Json, MergePatches) {
    // The examples of RFC 7396, appendix A.
    const char* const cases[][3] = {
        {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
        {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
        {R"({"a":"b"})", R"({"a":null})", R"({})"},
        {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
        {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
        {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
        {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
        {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
        {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
        {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
        {R"({"a":"foo"})", R"(null)", R"(null)"},
        {R"({"a":"foo"})", R"("bar")", R"("bar")"},
        {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
        {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
        {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
    };
    for (const auto& [before, changes, after] : cases) {
        Json json = *parse_json(before);
        json.merge(*parse_json(changes));
        EXPECT_EQ(json.dump(), after);
    }
    const Json before = *parse_json(R"({"a":{"x":1,"y":2},"b":[1],"c":"gone","same":{"s":1}})");
    const Json after =
        *parse_json(R"({"a":{"x":1,"y":3,"z":{}},"b":[2],"same":{"s":1},"new":"n"})");
    EXPECT_EQ(before.changes_to(after).dump(),
              R"({"a":{"y":3,"z":{}},"b":[2],"new":"n","c":null})");
    Json merged = before;
    merged.merge(before.changes_to(after));
    EXPECT_TRUE(merged.equal_unordered(after)) << merged.dump();
    EXPECT_EQ(before.changes_to(before).dump(), "{}");
}

TEST(Text, CountsCharactersAsPythonDoes) {
    EXPECT_EQ(count_characters(""), 0u);
    EXPECT_EQ(count_characters("abc"), 3u);
    EXPECT_EQ(count_characters("\u00e9\u65e5\U0001f600"), 3u);
}

TEST(Text, AnUnfinishedCharacterIsTheBeginningOfOne) {
    for (const std::string whole :
         {"\u00e9", "\u65e5", "\ud7ff", "\u0800", "\U0001f600", "\U0010ffff", "\U00010000"})
        for (std::size_t size = 1; size < whole.size(); ++size)
            for (const std::string before : {"", "x", "\xff", "\u65e5"})
                EXPECT_EQ(unfinished_utf8(before + whole.substr(0, size)), size) << whole << size;
    for (const std::string other : {"", "a", "\u65e5", "\xff", "\x80", "\xc0", "\xc1", "\xf5",
                                    "\xed\xa0", "\xe0\x80", "\xf4\x90", "\x80\x80\x80\x80"})
        EXPECT_EQ(unfinished_utf8(other), 0u) << to_hex(other);
}

}  // namespace
}  // namespace turnout
