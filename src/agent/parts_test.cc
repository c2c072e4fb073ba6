// The parts of the runtime, each alone: tar, files, journal, MLflow's limits.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/files.h"
#include "agent/journal.h"
#include "agent/mlflow.h"
#include "agent/segments.h"
#include "agent/server.h"
#include "agent/tar.h"
#include "agent/work.h"
#include "protocol/surroundings.h"

namespace turnout::agent {
namespace {

namespace fs = std::filesystem;

class Parts : public ::testing::Test {
protected:
    std::string folder;
    void SetUp() override {
        char name[] = "/tmp/turnout-parts-test-XXXXXX";
        folder = mkdtemp(name);
    }
    void TearDown() override { remove_tree(folder); }
};

Task<Result<void>> ended(std::size_t i, std::size_t bad) {
    if (i == bad) co_return internal("task " + std::to_string(i));
    co_return Result<void>();
}

// A job that removes its outputs while they are uploaded makes many that end before they ever wait.
TEST(InParallel, AsManyAsThereAreMayEndAtOnce) {
    std::size_t begun = 0;
    std::optional<Result<void>> result;
    std::function<Task<Result<void>>(std::size_t)> make = [&](std::size_t i) {
        ++begun;
        return ended(i, 500'000);
    };
    start(in_parallel(200'000, make, 4), [&](Result<void> all) { result = std::move(all); });
    ASSERT_TRUE(result && *result);
    EXPECT_EQ(begun, 200'000u);
    begun = 0;
    start(in_parallel(1'000'000, make, 4), [&](Result<void> all) { result = std::move(all); });
    ASSERT_TRUE(result);
    EXPECT_EQ(result->error().message, "task 500000");
    EXPECT_EQ(begun, 500'001u);
}

TEST(InParallel, NoMoreThanTheWidthRunsAndNoneIsForgotten) {
    std::vector<Later<bool>::Settle> open;
    std::size_t begun = 0;
    std::optional<Result<void>> result;
    const auto wait = [&](std::size_t) -> Task<Result<void>> {
        ++begun;
        Later<bool> later;
        open.push_back(later.settle());
        const bool fine = co_await later;
        if (!fine) co_return internal("said so");
        co_return Result<void>();
    };
    start(in_parallel(5, wait, 2), [&](Result<void> all) { result = std::move(all); });
    EXPECT_EQ(begun, 2u);
    for (std::size_t i = 0; i < 5; ++i) {
        ASSERT_LT(i, open.size());
        EXPECT_FALSE(result);
        Later<bool>::Settle settle = open[i];
        settle(true);
    }
    EXPECT_EQ(begun, 5u);
    EXPECT_TRUE(result && *result);
}

std::string tar_entry(std::string name, char type, std::string content, std::string link = "") {
    std::string block(512, '\0');
    auto put = [&](std::size_t at, const std::string& text) {
        std::memcpy(block.data() + at, text.data(), text.size());
    };
    auto octal = [](std::size_t value, int width) {
        char text[32];
        std::snprintf(text, sizeof text, "%0*zo", width, value);
        return std::string(text);
    };
    put(0, name.substr(0, 100));
    put(100, "0000755");
    put(124, octal(content.size(), 11));
    block[156] = type;
    put(157, link);
    put(257, std::string("ustar\0"
                         "00",
                         8));
    unsigned sum = 8 * ' ';
    for (std::size_t i = 0; i < 512; ++i)
        if (i < 148 || i >= 156) sum += static_cast<unsigned char>(block[i]);
    put(148, octal(sum, 6) + std::string("\0 ", 2));
    content.resize((content.size() + 511) / 512 * 512);
    return block + content;
}
const std::string kEnd(1024, '\0');

std::string pax(const std::string& key, const std::string& value) {
    std::string pair = " " + key + "=" + value + "\n";
    std::size_t length = pair.size() + 1;
    while (std::to_string(length).size() + pair.size() != length) ++length;
    return tar_entry("pax", 'x', std::to_string(length) + pair);
}

TEST_F(Parts, TarIsUnpackedFromAnyPieces) {
    std::string longest;
    for (int i = 0; i < 40; ++i) longest += "folder-" + std::to_string(i) + "/";
    std::string bytes = tar_entry("a.txt", '0', "hello") + tar_entry("sub/", '5', "") +
                        tar_entry("sub/empty", '0', "") +
                        tar_entry("././@LongLink", 'L', longest + "x" + std::string(1, '\0')) +
                        tar_entry("short", '0', "1") + pax("path", "pax/\xc3\xa9.bin") +
                        tar_entry("y", '0', std::string(5000, 'z')) + kEnd;
    for (std::size_t piece : {1ul, 100ul, 511ul, bytes.size()}) {
        std::string target = folder + "/t" + std::to_string(piece);
        ASSERT_TRUE(make_folders(target));
        Fd open_folder(open(target.c_str(), O_RDONLY | O_DIRECTORY));
        TarReader tar(open_folder.get());
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            auto fed = tar.feed(std::string_view(bytes).substr(at, piece));
            ASSERT_TRUE(fed) << fed.error().message;
        }
        EXPECT_TRUE(tar.finish());
        EXPECT_EQ(tar.files(), 4u);
        EXPECT_EQ(*read_file(target + "/a.txt"), "hello");
        EXPECT_EQ(*read_file(target + "/sub/empty"), "");
        EXPECT_EQ(*read_file(target + "/" + longest + "x"), "1");
        EXPECT_EQ(*read_file(target + "/pax/\xc3\xa9.bin"), std::string(5000, 'z'));
        EXPECT_TRUE(fs::status(target + "/a.txt").permissions() != fs::perms::none);
    }
}

TEST_F(Parts, HostileTarIsRefused) {
    fs::create_directory_symlink("/tmp", folder + "/link");
    for (const std::string& bytes :
         {tar_entry("../evil", '0', "x"), tar_entry("/evil", '0', "x"),
          tar_entry("a/../../evil", '0', "x"), tar_entry("link/turnout-evil", '0', "x"),
          tar_entry("l", '2', "", "/etc/passwd"), tar_entry("h", '1', "", "a"),
          tar_entry("dev", '3', ""), tar_entry("a\\b", '0', ""),
          tar_entry("x", '0', "1") + tar_entry("x", '0', "2"),
          pax("path", "../../evil") + tar_entry("y", '0', "x"), std::string(512, 'x'),
          tar_entry("", '0', "x")}) {
        Fd open_folder(open(folder.c_str(), O_RDONLY | O_DIRECTORY));
        TarReader tar(open_folder.get());
        EXPECT_FALSE(tar.feed(bytes + kEnd));
    }
    EXPECT_FALSE(exists("/tmp/turnout-evil"));
    Fd open_folder(open(folder.c_str(), O_RDONLY | O_DIRECTORY));
    TarReader cut(open_folder.get());
    ASSERT_TRUE(cut.feed(tar_entry("cut", '0', std::string(2000, 'a')).substr(0, 1000)));
    EXPECT_FALSE(cut.finish());
}

TEST_F(Parts, CopiesAreOwnAndWritable) {
    ASSERT_TRUE(make_folders(folder + "/a/b"));
    std::ofstream(folder + "/a/b/run.sh") << "#!/bin/sh\n";
    chmod((folder + "/a/b/run.sh").c_str(), 0555);
    fs::create_symlink("/etc/passwd", folder + "/a/link");
    ASSERT_TRUE(copy_tree(folder + "/a", folder + "/c"));
    std::ofstream(folder + "/c/b/run.sh", std::ios::app) << "more";
    EXPECT_EQ(*read_file(folder + "/a/b/run.sh"), "#!/bin/sh\n");
    EXPECT_FALSE(exists(folder + "/c/link"));
    struct stat st;
    stat((folder + "/c/b/run.sh").c_str(), &st);
    EXPECT_EQ(st.st_mode & 0777, 0755u);
    make_read_only(folder + "/a");
    remove_tree(folder + "/a");
    EXPECT_FALSE(exists(folder + "/a"));
}

TEST_F(Parts, OutputsFollowLinksOnlyInside) {
    ASSERT_TRUE(make_folders(folder + "/w/outputs/deep"));
    std::ofstream(folder + "/w/outputs/deep/f") << "1";
    std::ofstream(folder + "/w/inside") << "2";
    fs::create_symlink(folder + "/w/inside", folder + "/w/outputs/in");
    fs::create_symlink("/etc/passwd", folder + "/w/outputs/out");
    fs::create_directory_symlink("/etc", folder + "/w/outputs/etc");
    auto files = list_files(folder + "/w/outputs", folder + "/w", 100);
    std::vector<std::string> names;
    for (const auto& file : files) names.push_back(file.path);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"deep/f", "in"}));
}

TEST_F(Parts, AJournalThatCannotBeRewrittenGoesOnAsItIs) {
    const std::string path = folder + "/journal";
    std::vector<std::string> lines;
    {
        auto journal = Journal::open(path, lines);
        ASSERT_TRUE(journal && journal->append("one"));
        ASSERT_TRUE(make_folders(path + ".new"));
        journal->add("two");
        EXPECT_FALSE(journal->rewrite({"new"}));
        ASSERT_TRUE(journal->flush());
        ASSERT_TRUE(Journal::open(path, lines));
        EXPECT_EQ(std::exchange(lines, {}), (std::vector<std::string>{"one", "two"}));
        remove_tree(path + ".new");
        EXPECT_TRUE(journal->rewrite({"one", "two", "three"}));
        ASSERT_TRUE(journal->append("four"));
    }
    ASSERT_TRUE(Journal::open(path, lines));
    EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "three", "four"}));
}

// A full disk does not keep the end of a task from being written down.
TEST_F(Parts, AJournalHasRoomOnTheDisk) {
    const std::string path = folder + "/journal";
    const Fd probe(::open((folder + "/probe").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (::fallocate(probe.get(), FALLOC_FL_KEEP_SIZE, 0, 4096) != 0)
        GTEST_SKIP() << "this file system cannot hold room";
    const auto held = [&] {
        struct stat now{};
        EXPECT_EQ(::stat(path.c_str(), &now), 0);
        return now.st_blocks * 512 - now.st_size;
    };
    std::vector<std::string> lines;
    auto journal = Journal::open(path, lines);
    ASSERT_TRUE(journal);
    EXPECT_GE(held(), 64 << 10);
    EXPECT_EQ(journal->size(), 0u);
    for (int i = 0; i < 300; ++i) {
        ASSERT_TRUE(journal->append(std::string(1000, 'x')));
        EXPECT_GE(held(), 60 << 10);
    }
    ASSERT_TRUE(journal->rewrite({"one"}));
    EXPECT_GE(held(), 64 << 10);
    ASSERT_TRUE(Journal::open(path, lines));
    EXPECT_EQ(lines.back(), "one");
}

TEST_F(Parts, JournalKeepsWhatWasWhole) {
    std::string path = folder + "/j";
    std::vector<std::string> lines;
    {
        auto journal = Journal::open(path, lines);
        ASSERT_TRUE(journal);
        ASSERT_TRUE(journal->append("one"));
        ASSERT_TRUE(journal->append("two"));
    }
    std::string whole = *read_file(path);
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        std::ofstream(path, std::ios::trunc) << whole.substr(0, size);
        lines.clear();
        auto journal = Journal::open(path, lines);
        ASSERT_TRUE(journal);
        EXPECT_EQ(lines.size(), size == whole.size() ? 2u : size >= whole.size() / 2 ? 1u : 0u);
        ASSERT_TRUE(journal->append("three"));
        lines.clear();
        ASSERT_TRUE(Journal::open(path, lines));
        EXPECT_EQ(lines.back(), "three");
    }
    auto journal = Journal::open(path, lines);
    ASSERT_TRUE(journal->rewrite({"x"}));
    ASSERT_TRUE(journal->append("y"));
    lines.clear();
    ASSERT_TRUE(Journal::open(path, lines));
    EXPECT_EQ(lines, (std::vector<std::string>{"x", "y"}));
}

TEST(Mlflow, OnlyWhatTheServerSurelyTakesIsAcceptedHere) {
    auto accepts = [](std::string_view path, const char* body) {
        return can_accept(path, *parse_json(body), "r");
    };
    EXPECT_TRUE(accepts("runs/log-metric",
                        R"({"run_id":"r","key":"a/b c","value":1.5,"timestamp":3,"step":2})"));
    EXPECT_TRUE(accepts("runs/log-metric",
                        R"({"run_id":"r","run_uuid":"r","key":"k","value":NaN,"timestamp":3})"));
    EXPECT_TRUE(accepts("runs/log-parameter", R"({"run_id":"r","key":"k","value":""})"));
    EXPECT_TRUE(accepts(
        "runs/log-batch",
        R"({"run_id":"r","metrics":[{"key":"m","value":1,"timestamp":1,"step":0}],"params":[],"tags":[{"key":"t","value":"v"}]})"));
    for (auto [path, body] :
         {std::pair{"runs/log-metric", R"({"run_id":"other","key":"k","value":1,"timestamp":3})"},
          {"runs/log-metric", R"({"key":"k","value":1,"timestamp":3})"},
          {"runs/log-metric", R"({"run_id":"r","key":"","value":1,"timestamp":3})"},
          {"runs/log-metric", R"({"run_id":"r","key":"a/../b","value":1,"timestamp":3})"},
          {"runs/log-metric", R"({"run_id":"r","key":"k","value":"x","timestamp":3})"},
          {"runs/log-metric", R"({"run_id":"r","key":"k","value":1})"},
          {"runs/log-parameter", R"({"run_id":"r","key":"k","value":3})"},
          {"runs/set-tag", R"({"run_id":"r","key":"mlflow.runName","value":"x"})"},
          {"runs/log-batch", R"({"run_id":"r","metrics":{}})"},
          {"runs/log-batch", R"({"run_id":"r","metrics":[{}]})"},
          {"runs/update", R"({"run_id":"r"})"},
          {"runs/log-batch", "[]"}})
        EXPECT_FALSE(accepts(path, body)) << body;
    Json many = Json::object({{"run_id", "r"}, {"params", Json::array()}});
    for (int i = 0; i < 101; ++i)
        many["params"].push(Json::object({{"key", std::to_string(i)}, {"value", "v"}}));
    EXPECT_FALSE(can_accept("runs/log-batch", many, "r"));
}

TEST(Work, FoldersAndVariables) {
    EXPECT_NE(attempt_folder_name({"w", "job", 1}), attempt_folder_name({"w", "job", 2}));
    EXPECT_NE(attempt_folder_name({"w", "job", 1}), attempt_folder_name({"v", "job", 1}));
    for (const std::string& job : {std::string(".."), std::string("a/b"), std::string(300, 'x'),
                                   std::string("a\0b", 3), std::string(".hidden")}) {
        auto name = attempt_folder_name({"w", job, 1});
        EXPECT_EQ(name.find('/'), std::string::npos);
        EXPECT_NE(name[0], '.');
        EXPECT_LT(name.size(), 120u);
    }
    EXPECT_TRUE(agent_protocol::allowed_variable("LC_ALL"));
    EXPECT_TRUE(agent_protocol::allowed_variable("UV_INDEX_URL"));
    EXPECT_FALSE(agent_protocol::allowed_variable("AWS_SECRET_ACCESS_KEY"));
    EXPECT_FALSE(agent_protocol::allowed_variable("TURNOUT_TOKEN"));
    EXPECT_FALSE(agent_protocol::allowed_variable("LD_PRELOAD"));
    for (const char* name : {"PATH", "LANG", "LC_ALL", "TZ"})
        EXPECT_TRUE(agent_protocol::neutral_variable(name)) << name;
    for (const char* name : {"HOME", "USER", "PIP_INDEX_URL", "UV_INDEX_URL", "HTTPS_PROXY"})
        EXPECT_FALSE(agent_protocol::neutral_variable(name)) << name;
}

// One record of a log segment (supervisor/README.md).
std::string segment_record(std::uint64_t serial, std::uint64_t offset, std::string_view bytes) {
    std::string record = "TLOG";
    const auto put = [&](auto number) {
        record.append(reinterpret_cast<const char*>(&number), sizeof number);
    };
    put(static_cast<std::uint32_t>(bytes.size()));
    put(serial);
    put(offset);
    put(std::uint64_t{0});  // the checksum is the supervisor's business
    return record.append(bytes);
}

TEST(Segments, ReadingOnCostsWhatIsNew) {
    const std::string folder = ::testing::TempDir() + "segments_" + std::to_string(getpid());
    ASSERT_TRUE(make_folders(folder));
    constexpr int kLines = 100'000;
    std::string mine, written;
    std::uint64_t other = 0;
    for (int i = 0; i < kLines; ++i) {
        const std::string line = std::to_string(i) + "\n";
        written += segment_record(7, mine.size(), line);
        mine += line;
        if (i % 10 == 0) written += segment_record(8, other++, "x");
    }
    ASSERT_TRUE(write_file(folder + "/log-00000001.segment", written.substr(0, 2'000'000)));
    Segments segments(folder);
    segments.add(7, 1, 0);
    segments.add(8, 1, 0);
    std::string got;
    const auto read_on = [&] {
        for (;;) {
            const auto piece = segments.read(7, got.size(), 100);
            ASSERT_TRUE(piece);
            if (piece->empty()) break;
            got += *piece;
        }
    };
    read_on();  // to the torn record
    EXPECT_LT(got.size(), mine.size());
    std::ofstream(folder + "/log-00000001.segment", std::ios::app) << written.substr(2'000'000);
    read_on();
    EXPECT_TRUE(got == mine);
    // Each piece looks again at the record in which the one before it ended.
    EXPECT_LT(segments.looked_at(), 3u * kLines);
    // From anywhere, without reading all that is before it.
    const std::uint64_t before = segments.looked_at();
    EXPECT_EQ(*segments.read(7, 400'000, 50), mine.substr(400'000, 50));
    EXPECT_EQ(segments.read(8, 0, 100'000)->size(), other);
    EXPECT_EQ(*segments.read(7, 123'456, 50), mine.substr(123'456, 50));
    EXPECT_EQ(segments.read(7, mine.size(), 50)->size(), 0u);
    EXPECT_LT(segments.looked_at(), before + kLines * 11 / 10 + 30'000);
    remove_tree(folder);
}

}  // namespace
}  // namespace turnout::agent
