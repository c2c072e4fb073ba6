#include "environment/pythons.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace turnout::environment {
namespace {

namespace fs = std::filesystem;
using agent_protocol::TaskEnvironment;

TEST(Pythons, AVersionFitsWhatIsAskedFor) {
    const auto check = [](PythonVersion version, std::string_view request, Fits expected) {
        EXPECT_EQ(fits(version, request), expected) << request;
    };
    check({3, 8, 10}, "3.8", Fits::Yes);
    check({3, 8, 10}, "3.8.10", Fits::Yes);
    check({3, 8, 10}, "3.8.1", Fits::No);
    check({3, 9, 1}, "3.8", Fits::No);
    check({3, 8}, "3.8.10", Fits::Perhaps);
    check({3, 8}, "3.8", Fits::Yes);
    check({3, 8, 10}, "3", Fits::Yes);
    check({3, 9, 2}, ">=3.8,<3.11", Fits::Yes);
    check({3, 11, 2}, ">=3.8,<3.11", Fits::No);
    check({3, 10}, ">=3.8,<3.11", Fits::Yes);
    check({3, 10}, ">3.10", Fits::Perhaps);
    check({3, 10}, "<=3.9", Fits::No);
    check({3, 9}, "<=3.9.5", Fits::Perhaps);
    check({3, 9, 6}, "<=3.9.5", Fits::No);
    check({3, 11, 4}, "~=3.8", Fits::Yes);
    check({3, 11, 4}, "~=3.10.2", Fits::No);
    check({3, 10, 1}, "~=3.10.2", Fits::No);
    check({3, 10}, "~=3.10.2", Fits::Perhaps);
    check({3, 10, 7}, "!=3.10.*", Fits::No);
    check({3, 9, 7}, "!=3.10.*,>=3", Fits::Yes);
    check({3, 9, 7}, "==3.9.*", Fits::Yes);
}

class PythonsTest : public ::testing::Test {
protected:
    std::string folder;
    Settings settings;

    void SetUp() override {
        char name[] = "/tmp/turnout-pythons-test-XXXXXX";
        folder = mkdtemp(name);
        settings.cache = folder + "/cache";
        fs::create_directories(settings.cache);
        fs::create_directories(folder + "/path");
        settings.environment = {"PATH=" + folder + "/path", "HOME=" + folder + "/home"};
    }
    void TearDown() override {
        std::system(("chmod -R u+w " + folder).c_str());
        fs::remove_all(folder);
    }
    void program(const std::string& path, const std::string& text = "#!/bin/sh\n") {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << text;
        fs::permissions(path, fs::perms::owner_all);
    }
    void write(const std::string& path, const std::string& text) {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << text;
    }
    // A uv that finds and could fetch these.
    void survey(const std::string& here, const std::string& managed) {
        program(folder + "/uv", "#!/bin/sh\necho warning: about a Python >&2\necho '[" + here +
                                    (here.empty() || managed.empty() ? "" : ",") + managed +
                                    "]'\n");
        settings.uv = folder + "/uv";
        const auto done = survey_pythons(settings);
        ASSERT_TRUE(done) << done.error().message;
    }
    static std::string entry(const std::string& version, const std::string& path,
                             const std::string& variant = "default") {
        return R"({"implementation":"cpython","version":")" + version + R"(","variant":")" +
               variant + R"(","path":)" + (path.empty() ? "null" : '"' + path + '"') + "}";
    }
    Result<void> check(const std::string& version) {
        TaskEnvironment environment;
        environment.name = "mine:1";
        environment.kind = TaskEnvironment::Kind::Venv;
        environment.python_version = version;
        return check_python(environment, settings.cache);
    }
    bool found(const PythonVersion& version, const std::string& path) {
        for (const Python& python : find_pythons(settings))
            if (python == Python{version, path}) return true;
        return false;
    }
};

TEST_F(PythonsTest, PyenvsCondasAndTheMachinesAreFoundByTheirNames) {
    program(folder + "/home/.pyenv/versions/3.7.16/bin/python");
    program(folder + "/home/.pyenv/versions/3.8.0rc1/bin/python");
    fs::create_directories(folder + "/home/.pyenv/versions/3.6.1/bin");  // without its program
    program(folder + "/home/miniconda3/bin/python");
    write(folder + "/home/miniconda3/conda-meta/python-3.10.13-h955ad1f_0.json", "{}");
    write(folder + "/home/miniconda3/conda-meta/python-dateutil-2.8.2-py310_0.json", "{}");
    program(folder + "/home/miniconda3/envs/old/bin/python");
    write(folder + "/home/miniconda3/envs/old/conda-meta/python-3.5.6-0.json", "{}");
    program(folder + "/elsewhere/bin/python");
    write(folder + "/elsewhere/conda-meta/python-3.9.1-0.json", "{}");
    write(folder + "/home/.conda/environments.txt", folder + "/elsewhere\n");
    program(folder + "/path/python3.39");
    EXPECT_TRUE(found({3, 7, 16}, folder + "/home/.pyenv/versions/3.7.16/bin/python"));
    EXPECT_TRUE(found({3, 10, 13}, folder + "/home/miniconda3/bin/python"));
    EXPECT_TRUE(found({3, 5, 6}, folder + "/home/miniconda3/envs/old/bin/python"));
    EXPECT_TRUE(found({3, 9, 1}, folder + "/elsewhere/bin/python"));
    EXPECT_TRUE(found({3, 39}, folder + "/path/python3.39"));
    for (const Python& python : find_pythons(settings)) {
        EXPECT_NE(python.version, (PythonVersion{3, 6, 1}));
        EXPECT_EQ(python.path.find("rc1"), std::string::npos) << "no release";
    }

    EXPECT_EQ(choose_python("3.10", settings), folder + "/home/miniconda3/bin/python");
    EXPECT_EQ(choose_python("3.7.16", settings),
              folder + "/home/.pyenv/versions/3.7.16/bin/python");
    EXPECT_EQ(choose_python(">=3.5,<3.8", settings),
              folder + "/home/.pyenv/versions/3.7.16/bin/python");
    EXPECT_EQ(choose_python(">=3.38", settings), "") << "the PATH has it";
    EXPECT_EQ(choose_python("3.4", settings), "");
    EXPECT_EQ(choose_python("", settings), "");
}

TEST_F(PythonsTest, WhatCannotBeHadIsRefusedWithTheNearest) {
    EXPECT_TRUE(check("3.4.1")) << "nothing is known yet";
    program(folder + "/path/python3.39");
    survey(entry("3.39.4", folder + "/path/python3.39") + "," + entry("3.36.2", folder + "/gone"),
           entry("3.38.2", "") + "," + entry("3.38.5", "") + "," + entry("3.37.1", "") + "," +
               entry("3.38.1", "", "freethreaded") + "," + entry("3.40.0a1", ""));
    EXPECT_TRUE(check(""));
    EXPECT_TRUE(check("3.39"));
    EXPECT_TRUE(check("3.39.4"));
    EXPECT_TRUE(check("3.38.5")) << "it can be fetched";
    EXPECT_TRUE(check(">=3.30"));
    const auto refused = check("3.38.1");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::InvalidArgument);
    EXPECT_EQ(refused.error().reason, "PythonNotAvailable");
    EXPECT_TRUE(refused.error().message.starts_with(
        "environment 'mine:1' asks for Python 3.38.1, which this machine does not have and which "
        "cannot be fetched: change the pin; the nearest here are 3.39.4"))
        << refused.error().message;
    EXPECT_TRUE(
        refused.error().message.ends_with(", and that can be fetched 3.38.2, 3.38.5, 3.37.1"))
        << refused.error().message;
    EXPECT_FALSE(check("3.39.5")) << "the machine's patch is known";
    EXPECT_FALSE(check("3.36.2")) << "its program is gone";
    // What came since is looked for.
    program(folder + "/home/.pyenv/versions/3.38.1/bin/python");
    EXPECT_TRUE(check("3.38.1"));
    program(folder + "/path/python3.36");
    EXPECT_TRUE(check("3.36.2")) << "nobody knows its patch";
    // Another one in the same place.
    fs::last_write_time(folder + "/path/python3.39",
                        fs::last_write_time(folder + "/path/python3.39") + std::chrono::hours(1));
    EXPECT_TRUE(check("3.39.5"));
}

TEST_F(PythonsTest, WithoutDownloadsOnlyWhatIsHereCounts) {
    program(folder + "/path/python3.39");
    survey(entry("3.39.4", folder + "/path/python3.39"), "");
    const auto refused = check("3.38.1");
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.starts_with(
        "environment 'mine:1' asks for Python 3.38.1, which this machine does not have: change the "
        "pin; the nearest here are 3.39.4"))
        << refused.error().message;
}

TEST_F(PythonsTest, AMirrorIsAFolderOrAUrlAndIsKept) {
    EXPECT_EQ(python_mirror(settings.cache), "");
    for (const char* bad : {"/no/such/folder", "ftp://host/", "file:///no/such"}) {
        const auto refused = set_python_mirror(settings.cache, bad);
        ASSERT_FALSE(refused) << bad;
        EXPECT_NE(refused.error().message.find(bad), std::string::npos);
    }
    ASSERT_TRUE(set_python_mirror(settings.cache, folder + "/path/"));
    EXPECT_EQ(python_mirror(settings.cache), "file://" + folder + "/path");
    const auto has = [&](const std::string& item) {
        const auto all = python_variables(settings);
        return std::find(all.begin(), all.end(), item) != all.end();
    };
    EXPECT_TRUE(has("UV_PYTHON_INSTALL_MIRROR=file://" + folder + "/path"));
    EXPECT_FALSE(has("UV_PYTHON_DOWNLOADS_JSON_URL=" + folder + "/path/downloads.json"));
    write(folder + "/path/downloads.json", "{}");
    EXPECT_TRUE(has("UV_PYTHON_DOWNLOADS_JSON_URL=" + folder + "/path/downloads.json"));
    ASSERT_TRUE(set_python_mirror(settings.cache, "https://mirror.example/pythons/"));
    EXPECT_TRUE(has("UV_PYTHON_INSTALL_MIRROR=https://mirror.example/pythons"));
    ASSERT_TRUE(set_python_mirror(settings.cache, "none"));
    EXPECT_EQ(python_mirror(settings.cache), "");
}

}  // namespace
}  // namespace turnout::environment
