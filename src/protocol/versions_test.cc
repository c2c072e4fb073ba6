#include "protocol/versions.h"

#include <gtest/gtest.h>

#include "protocol/agent_protocol.h"

namespace turnout::agent_protocol {
namespace {

TEST(AgentVersions, TheNewestThatBothSpeakIsTaken) {
    EXPECT_EQ(common_version({1, 2}, {1, 2}), 2);
    EXPECT_EQ(common_version({1, 2}, {2, 3}), 2);
    EXPECT_EQ(common_version({2, 3}, {1, 2}), 2);
    EXPECT_EQ(common_version({1, 2}, {1, 1}), 1);
    EXPECT_EQ(common_version({1, 1}, {2, 3}), std::nullopt);
    EXPECT_EQ(version_of_hello({1, 2}, {1, 1}), 1);
    EXPECT_EQ(version_of_hello({1, 1}, {2, 3}), 1);
    EXPECT_EQ(version_of_hello({3, 4}, {1, 2}), 3);
}

TEST(AgentVersions, AServerThatSaysNothingSpeaksTheFirst) {
    const Speaks first{1, 1};
    for (const char* text : {"", "x", "1", "1-", "-2", "2-1", "0-2", "1-2-3", "1-2 "})
        EXPECT_EQ(parse_speaks(text), first) << text;
    EXPECT_EQ(parse_speaks("3-4"), (Speaks{3, 4}));
    EXPECT_EQ(parse_speaks(to_text(Speaks())), Speaks());
}

// Frames as the builds before wrote them, byte for byte: what is said to them, and what they say.
TEST(AgentVersions, TheWordsOfTheVersionBeforeAreWhatTheyWere) {
    const std::string first =
        R"({"type":"hello","protocol":1,"build":"0.1.0","node":"ws/c/node-1","boot_id":"b","pid":77,)"
        R"("cores":2,"memory_bytes":8589934592,"attempts":[{"workspace":"ws","job":"j","attempt":1}]})";
    auto said = decode_to_server({first, ""});
    ASSERT_TRUE(said) << said.error().message;
    const Hello& hello = std::get<Hello>(*said);
    EXPECT_EQ(hello.facts.cores, 2);
    EXPECT_EQ(hello.facts.memory_bytes, std::int64_t{8} << 30);
    EXPECT_EQ(hello.attempts.size(), 1u);
    EXPECT_EQ(encode(*said).substr(8), first);

    Hello now = hello;
    now.protocol = 2;
    now.facts.container_engine = "podman";
    const std::string second = encode(ToServer(now)).substr(8);
    EXPECT_EQ(
        second,
        R"({"type":"hello","protocol":2,"build":"0.1.0","node":"ws/c/node-1","boot_id":"b","pid":77,)"
        R"("facts":{"cores":2,"memory_bytes":8589934592,"gpus":[],"pythons":[],"container_engine":"podman"},)"
        R"("attempts":[{"workspace":"ws","job":"j","attempt":1}]})");
}

TEST(AgentVersions, OfANewerHelloOnlyWhatNoVersionChangesIsRead) {
    const auto said = decode_to_server(
        {R"({"type":"hello","protocol":9,"build":"7","node":"ws/c/n","pid":"none","facts":[],"attempts":{}})",
         ""});
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_EQ(std::get<Hello>(*said).protocol, 9);
    EXPECT_EQ(std::get<Hello>(*said).node, "ws/c/n");
}

TEST(AgentVersions, ARefusalSaysWhoSpeaksWhat) {
    EXPECT_EQ(why_refused(1, "0.1.0", {2, 3}),
              "its agent (build 0.1.0) speaks version 1 of the agent protocol and this server "
              "versions 2 to 3: it is too old to be given work, and the node needs an agent of "
              "this server's build");
    EXPECT_NE(why_refused(4, "", {1, 1}).find("this server version 1: it is too new"),
              std::string::npos);
}

}  // namespace
}  // namespace turnout::agent_protocol
