// Secrets on a real node: they reach the command, and nothing else.
#include "agent/test_agent.h"

namespace turnout::agent {
namespace {

// What stands in a file of the node, or in the arguments of a process.
std::string all_files_beneath(const std::string& folder) {
    std::string all;
    std::error_code gone;
    for (fs::recursive_directory_iterator at(folder, gone), end; at != end; at.increment(gone))
        if (at->is_regular_file(gone))
            if (const auto text = read_file(at->path().string())) all += *text;
    return all;
}
std::string all_arguments() {
    std::string all;
    std::error_code gone;
    for (fs::directory_iterator at("/proc", gone), end; at != end; at.increment(gone)) {
        std::ifstream file(at->path() / "cmdline", std::ios::binary);
        all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
}

void with_secret(TaskSpec& task) {
    task.variables = {{"TOKEN", "${{secrets.hf}}"},
                      {"HEADER", "Bearer ${{secrets.hf}}!"},
                      {"TOKEN_FILE", "${{secrets.hf:file}}"}};
    task.secrets = {"hf"};
}

TEST_F(AgentTest, ASecretReachesTheCommandAndNothingElse) {
    const std::string planted = "planted-secret-" + std::to_string(getpid());
    const std::string go = folder + "/go";
    auto id = lease(
        "echo \"<$TOKEN> $HEADER\"; for i in 1 2 3; do printf '%s' \"${TOKEN:0:9}\"; sleep 0.02; "
        "printf '%s' \"${TOKEN:9}\"; done; printf '%s' \"$TOKEN\" | base64; "
        "stat -c %a \"$TOKEN_FILE\"; cmp \"$TOKEN_FILE\" <(printf %s \"$TOKEN\") && echo same; "
        "printf '%s' \"$TOKEN\" | sha256sum > outputs/hash; echo \"$TOKEN_FILE\" > outputs/file; "
        "while [ ! -e " +
            go + " ]; do sleep 0.01; done; echo \"end $TOKEN\"; exit 3",
        with_secret, {{"hf", Secret(planted)}});
    ASSERT_TRUE(until([&] { return log(id).find("same\n") != std::string::npos; })) << log(id);
    EXPECT_EQ(all_arguments().find(planted), std::string::npos);
    kill_agent();  // the supervisor goes on hiding it
    start_agent();
    std::ofstream(go) << "x";
    const Ending ending = end_of(id);
    EXPECT_EQ(ending.exit_code, 3);
    EXPECT_EQ(log(id).find("planted"), std::string::npos) << log(id);
    EXPECT_TRUE(log(id).starts_with("<***> Bearer ***!\n*********")) << log(id);
    EXPECT_NE(log(id).find("\n400\nsame\nend ***\n"), std::string::npos) << log(id);
    ASSERT_FALSE(ending.last_lines.empty());
    EXPECT_EQ(ending.last_lines.back(), "end ***");
    const std::string blob = "artifacts/dcid." + id.job + "/outputs/";
    EXPECT_EQ(blobs[blob + "hash"].substr(0, 64), to_hex(sha256(planted)));
    EXPECT_FALSE(exists(std::string(trim(blobs[blob + "file"]))));
    EXPECT_EQ(all_files_beneath(folder).find(planted), std::string::npos);
}

TEST_F(AgentTest, EachOfSeveralProcessesHidesItsSecret) {
    const std::string planted = "planted-secret-" + std::to_string(getpid());
    // The end of one ends the others: it waits for them.
    auto id = lease(
        "echo \"$RANK <$TOKEN>\"; env | grep -c TURNOUT_MASKS; [ $RANK = 0 ] && touch said && exit "
        "0; "
        "until [ -e said ]; do sleep 0.02; done; exit 4",
        [](TaskSpec& task) {
            task.distribution = "PyTorch";
            task.processes = 2;
            with_secret(task);
        },
        {{"hf", Secret(planted)}});
    EXPECT_EQ(end_of(id).exit_code, 4);
    for (const std::string rank : {"0", "1"})
        EXPECT_EQ((logs[{id, "user_logs/std_log_process_" + rank + ".txt"}]), rank + " <***>\n0\n");
    EXPECT_EQ(ends[id].last_lines.front(), "1 <***>");
    EXPECT_EQ(all_files_beneath(folder).find(planted), std::string::npos);
}

}  // namespace
}  // namespace turnout::agent
