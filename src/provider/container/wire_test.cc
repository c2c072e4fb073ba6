#include "provider/container/wire.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include "base/text.h"
#include "io/posix/files.h"
#include "model/pool.h"
#include "provider/container/settings.h"

namespace turnout {
namespace {

std::string frame(int stream, std::string_view bytes) {
    std::string all;
    all += static_cast<char>(stream);
    all.append(3, '\0');
    for (int shift = 24; shift >= 0; shift -= 8)
        all += static_cast<char>(bytes.size() >> shift & 0xff);
    return all + std::string(bytes);
}

TEST(Archive, IsWhatTarReads) {
    char folder[] = "/tmp/turnout-archive-XXXXXX";
    const std::string root = mkdtemp(folder);
    Archive archive;
    archive.folder("turnout/run", 1000, 0700);
    archive.file("turnout/run/token", 1000, 0400, std::string(513, 'x'));
    archive.file("turnout/empty", 0, 0755, "");
    ASSERT_TRUE(write_file_atomically(root + "/a.tar", archive.take()));
    FILE* const pipe = popen(("tar --numeric-owner -tvf " + root + "/a.tar 2>&1; tar -xOf " + root +
                              "/a.tar turnout/run/token | wc -c")
                                 .c_str(),
                             "r");
    char text[4096] = {};
    const std::size_t size = fread(text, 1, sizeof text - 1, pipe);
    EXPECT_EQ(pclose(pipe), 0);
    const std::string said(text, size);
    EXPECT_NE(said.find("drwx------ 1000/1000"), std::string::npos) << said;
    EXPECT_NE(said.find("-r-------- 1000/1000       513"), std::string::npos) << said;
    EXPECT_NE(said.find("-rwxr-xr-x 0/0"), std::string::npos) << said;
    EXPECT_TRUE(said.ends_with("\n513\n")) << said;
    (void)remove_tree(root);
}

TEST(ExecFrames, AreReadInAnyPieces) {
    const std::string all = frame(1, "one") + frame(2, "a word") + frame(1, "") + frame(1, "two");
    for (std::size_t size = 1; size <= all.size(); ++size) {
        ExecFrames frames;
        std::string got;
        for (std::size_t at = 0; at < all.size(); at += size) {
            ASSERT_TRUE(frames.give(std::string_view(all).substr(at, size)));
            got += frames.take_output();
        }
        EXPECT_EQ(got, "onetwo") << size;
        EXPECT_EQ(frames.last_words(), "a word");
        EXPECT_TRUE(frames.whole());
    }
    ExecFrames cut;
    ASSERT_TRUE(cut.give(frame(1, "one").substr(0, 10)));
    EXPECT_FALSE(cut.whole());
}

TEST(ExecFrames, WhatIsNoFrameIsRefused) {
    ExecFrames frames;
    EXPECT_FALSE(frames.give("HTTP/1.1 200 OK"));
    ExecFrames other;
    EXPECT_FALSE(other.give(frame(7, "x")));
}

TEST(EngineProgress, SumsTheLayersAndKeepsWhatWentWrong) {
    EngineProgress progress;
    ASSERT_TRUE(progress.give("{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\r\n"));
    EXPECT_EQ(progress.words(), "Pulling fs layer");
    ASSERT_TRUE(
        progress.give("{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1000000,"
                      "\"total\":2000000},\"id\":\"a\"}\r\n{\"status\":\"Downloa"));
    ASSERT_TRUE(
        progress.give("ding\",\"progressDetail\":{\"current\":1000000,\"total\":2000000},"
                      "\"id\":\"b\"}\n"));
    EXPECT_EQ(progress.words(), to_size_words(2000000) + " of " + to_size_words(4000000));
    EXPECT_FALSE(progress.failed());
    ASSERT_TRUE(
        progress.give("{\"errorDetail\":{\"message\":\"x\"},\"error\":\"manifest for a:b "
                      "not found\"}\n"));
    EXPECT_EQ(progress.failed(), "manifest for a:b not found");
    EXPECT_FALSE(progress.give("no JSON\n"));
}

TEST(EngineProgress, OfABuildItKnowsTheStepAndTheEndOfTheLog) {
    EngineProgress progress;
    ASSERT_TRUE(progress.give("{\"stream\":\"Step 1/2 : FROM a\"}\n{\"stream\":\"\\n\"}\n"));
    EXPECT_EQ(progress.words(), "Step 1/2 : FROM a");
    // What its base's layers do is no step.
    ASSERT_TRUE(
        progress.give("{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,"
                      "\"total\":2},\"id\":\"a\"}\n"));
    EXPECT_EQ(progress.words(), "Step 1/2 : FROM a");
    ASSERT_TRUE(
        progress.give("{\"stream\":\"Step 2/2 : RUN false\\n\"}\n{\"stream\":\"said\\n\"}\n"
                      "{\"error\":\"returned a non-zero code: 1\"}\n"));
    EXPECT_EQ(progress.words(), "Step 2/2 : RUN false");
    EXPECT_EQ(progress.log(), "Step 1/2 : FROM a\nStep 2/2 : RUN false\nsaid\n");
    EXPECT_EQ(progress.failed(), "returned a non-zero code: 1");
    for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(progress.give("{\"stream\":\"0123456789\\n\"}\n"));
    EXPECT_LT(progress.log().size(), 40'000u);
    EXPECT_TRUE(progress.log().ends_with("0123456789\n"));
}

TEST(EngineProgress, AStepThatFailedFailsAgainWhateverItsCommandSays) {
    for (const char* const passing :
         {"Get \"https://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection "
          "refused",
          "toomanyrequests: You have reached your pull rate limit",
          "dial tcp: lookup registry.example on 10.0.0.1:53: no such host",
          "received unexpected HTTP status: 503 Service Unavailable"})
        EXPECT_TRUE(is_passing_failure(passing)) << passing;
    for (const char* const final :
         {"The command '/bin/sh -c pip install --default-timeout=100 nosuch' returned a non-zero "
          "code: 1",
          "dockerfile parse error line 1: unknown instruction: FORM",
          "manifest for small:9 not found: manifest unknown",
          "COPY failed: file not found in build context"})
        EXPECT_FALSE(is_passing_failure(final)) << final;
}

TEST(EngineProgress, WordsOfAProgramAreMadePlain) {
    EXPECT_EQ(plain_log("\x1b[91mred\x1b[0m\n\ta\rb\x07"), "red\n\tab");
    EXPECT_EQ(plain_log("\x1b["), "");
    EXPECT_EQ(plain_log("\xc3\xbc"), "\xc3\xbc");
}

TEST(ContainerSettings, AnImageIsSplitWhereItsTagBegins) {
    using Parts = std::pair<std::string, std::string>;
    EXPECT_EQ(split_image("debian"), (Parts{"debian", "latest"}));
    EXPECT_EQ(split_image("debian:12"), (Parts{"debian", "12"}));
    EXPECT_EQ(split_image("127.0.0.1:5000/a/b"), (Parts{"127.0.0.1:5000/a/b", "latest"}));
    EXPECT_EQ(split_image("127.0.0.1:5000/a/b:c"), (Parts{"127.0.0.1:5000/a/b", "c"}));
    EXPECT_EQ(split_image("a@sha256:00"), (Parts{"a@sha256:00", ""}));
    for (const char* good : {"debian", "127.0.0.1:5000/a/b:c", "a@sha256:00"})
        EXPECT_TRUE(fits_as_image(good)) << good;
    for (const char* bad : {"", "-a", "../containers/x", "a//b", "a b", "a?x=1", "a%2f"})
        EXPECT_FALSE(fits_as_image(bad)) << bad;
}

TEST(ContainerSettings, AreReadFromPoolsYamlAndRefusedWithTheirPlace) {
    const PoolProvider providers[] = {{"container", container_settings(), true, true}};
    const auto read = [&](std::string_view more) {
        return read_pools("pools:\n  boxes:\n    provider: container\n" + std::string(more),
                          "pools.yaml", providers);
    };
    const PoolProvider both[] = {{"local", container_settings(), true, true},
                                 {"container", container_settings(), true, true}};
    const auto pools = read_pools(
        "pools:\n  local: {settings: {image: a}}\n  boxes:\n    provider: container\n    slots: 2\n"
        "    settings: {socket: /run/podman.sock, image: 'python:3.11', pull: always, network: "
        "none, user: 2000, pids: 100, variables: {A: b}}\n",
        "pools.yaml", both);
    ASSERT_TRUE(pools) << pools.error().message;
    EXPECT_EQ(pools->back().image, ImagePolicy::Engine);
    const ContainerSettings settings = read_container_settings(pools->back().settings);
    EXPECT_EQ(settings.socket, "/run/podman.sock");
    EXPECT_EQ(settings.image, "python:3.11");
    EXPECT_EQ(settings.pull, ContainerSettings::Pull::Always);
    EXPECT_EQ(settings.network, "none");
    EXPECT_EQ(settings.user, 2000u);
    EXPECT_EQ(settings.processes, 100);
    EXPECT_EQ(settings.variables.front().second, "b");

    const auto told = [&](std::string_view text) {
        const auto found = read(text);
        return found ? std::string() : found.error().message;
    };
    EXPECT_NE(told("    slots: 1\n").find("pools.boxes: expected 'settings' with 'image'"),
              std::string::npos)
        << told("    slots: 1\n");
    const std::string all = told(
        "    slots: 1\n    image: host\n    settings: {socket: run, image: -x, pull: often, user: "
        "0, "
        "network: -n}\n");
    for (const char* part : {"pools.boxes.image: expected engine, found 'host'",
                             "pools.boxes.settings.socket: expected the absolute path",
                             "pools.boxes.settings.image: expected the name of an image",
                             "pools.boxes.settings.pull: ",
                             "pools.boxes.settings.user: expected a whole number from 1",
                             "pools.boxes.settings.network: expected none, host"})
        EXPECT_NE(all.find(part), std::string::npos) << part << "\nin\n" << all;
}

}  // namespace
}  // namespace turnout
