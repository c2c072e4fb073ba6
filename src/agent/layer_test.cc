// The venv that a job's first `python` or `pip` makes for its attempt, for real.
#include "agent/layer.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "agent/files.h"

namespace turnout::agent {
namespace {

namespace fs = std::filesystem;

class LayerTest : public ::testing::Test {
protected:
    std::string folder;
    AgentSettings settings;
    environment::Prepared machine{"/usr/bin/python3", "/usr/bin", "", nullptr};

    void SetUp() override {
        char name[] = "/tmp/turnout-layer-test-XXXXXX";
        folder = mkdtemp(name);
        settings.folder = folder + "/node";
    }
    void TearDown() override { fs::remove_all(folder); }
    int run(const std::string& programs, const std::string& command) {
        return std::system(("TURNOUT_LAYER=" + folder + "/layer PATH=" + folder +
                            "/layer/bin:" + programs + ":/usr/bin:/bin sh -ec '" + command + "'")
                               .c_str());
    }
};

TEST_F(LayerTest, IsMadeAtFirstUseAndSeesWhatIsBeneath) {
    const std::string programs = layer_programs(settings, machine);
    ASSERT_FALSE(programs.empty());
    EXPECT_EQ(layer_programs(settings, machine), programs);
    EXPECT_EQ(run(programs, "true"), 0);
    EXPECT_FALSE(fs::exists(folder + "/layer"));
    // All at once: one of them makes it, and none sees half of it.
    EXPECT_EQ(
        run(programs,
            R"sh(for i in 1 2 3 4 5; do python3 -c "import sys; assert sys.prefix.endswith(\"/layer\"), sys.prefix" & done; wait)sh"),
        0);
    EXPECT_EQ(run(programs, "test $(command -v python) = " + folder + "/layer/bin/python"), 0);
    // What is put there is found before what is beneath, by every name of it, and nowhere else.
    EXPECT_EQ(
        run(programs,
            R"sh(echo "here = 1" > $(echo $TURNOUT_LAYER/lib/python3*/site-packages)/only_here.py; for p in python python3; do $p -c "import only_here, json"; done)sh"),
        0);
    EXPECT_NE(std::system("/usr/bin/python3 -c 'import only_here' 2>/dev/null"), 0);
    int left = 0;
    for (const auto& entry : fs::directory_iterator(folder))
        left += entry.path().filename().string().starts_with("layer");
    EXPECT_EQ(left, 1);
}

// An environment of the cache whose folder cannot be overlaid.
TEST_F(LayerTest, OverAVenvItSeesThePackagesOfTheVenvOnly) {
    ASSERT_EQ(std::system(("/usr/bin/python3 -m venv --without-pip " + folder + "/venv").c_str()),
              0);
    ASSERT_EQ(std::system(("echo 'x = 1' > $(echo " + folder +
                           "/venv/lib/python3*/site-packages)/beneath.py")
                              .c_str()),
              0);
    const std::string programs = layer_programs(
        settings, {folder + "/venv/bin/python", folder + "/venv/bin", folder + "/venv", nullptr});
    EXPECT_EQ(run(programs,
                  R"sh(python -c "import beneath, sys; assert sys.prefix.endswith(\"/layer\")")sh"),
              0);
    EXPECT_EQ(
        run(programs,
            R"sh(python -c "import sys; assert not any(\"dist-packages\" in p for p in sys.path), sys.path")sh"),
        0);
}

}  // namespace
}  // namespace turnout::agent
