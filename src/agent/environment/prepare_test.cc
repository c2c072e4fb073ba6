// Interpreters and venvs for real, with `uv` where it is found (TURNOUT_UV or PATH).
#include "agent/environment/prepare.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/environment/fetch_uv.h"
#include "environment/definition.h"
#include "environment/uv.h"
#include "io/posix/test_until.h"

extern "C" char** environ;

namespace turnout::environment {
namespace {

namespace fs = std::filesystem;
using agent_protocol::TaskEnvironment;

class PrepareTest : public ::testing::Test {
protected:
    std::string folder;
    Settings settings;
    std::string log;
    std::atomic<bool> cancel = false;

    void SetUp() override {
        char name[] = "/tmp/turnout-environment-test-XXXXXX";
        folder = mkdtemp(name);
        settings.cache = folder;
        for (char** item = environ; *item; ++item) settings.environment.emplace_back(*item);
    }
    void TearDown() override {
        std::system(("chmod -R u+w " + folder).c_str());
        fs::remove_all(folder);
    }
    Result<Prepared> make(const TaskEnvironment& environment) {
        return prepare(
            environment, settings, [this](std::string_view text) { log += text; }, cancel);
    }
    // A wheel of one module, so that no registry is needed.
    void write_wheel(const std::string& name, const std::string& version) {
        std::ofstream(folder + "/wheel.py") << R"(import sys, zipfile
name, version, folder = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as z:
    z.writestr(f"{name}.py", f"version = '{version}'\n")
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
)";
        ASSERT_EQ(
            std::system(
                ("python3 " + folder + "/wheel.py " + name + " " + version + " " + folder).c_str()),
            0);
    }
    TaskEnvironment venv(std::vector<std::string> lines) {
        TaskEnvironment environment;
        environment.name = "test:1";
        environment.kind = TaskEnvironment::Kind::Venv;
        environment.requirements = {"--no-index", "--find-links " + folder};
        environment.requirements.insert(environment.requirements.end(), lines.begin(), lines.end());
        environment.hash = hash_of(environment);
        return environment;
    }
    bool no_uv() { return find_uv(settings).empty(); }
};

TEST_F(PrepareTest, TheMachinesInterpreter) {
    auto ready = make(user_managed("plain", ""));
    ASSERT_TRUE(ready);
    EXPECT_TRUE(fs::exists(ready->interpreter));
    settings.python = ready->interpreter;
    EXPECT_EQ(make(user_managed("plain", ""))->interpreter, ready->interpreter);
    auto missing = make(user_managed("plain", "/no/such/python"));
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().message.find("/no/such/python"), std::string::npos);
}

TEST_F(PrepareTest, ANamedUvThatIsNotThereIsSaidAndNotReplaced) {
    settings.uv = "/no/such/uv";
    auto failed = make(venv({"x"}));
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::FailedPrecondition);
    EXPECT_NE(failed.error().message.find("uv is not at '/no/such/uv'"), std::string::npos)
        << failed.error().message;
}

// A server and a node without any uv: where theirs is looked for, and how it is remembered.
class UvTest : public PrepareTest {
protected:
    std::string project, bin;
    void SetUp() override {
        PrepareTest::SetUp();
        project = folder + "/project";
        bin = folder + "/data/bin";
        fs::create_directories(project + "/build");
        fs::create_directories(bin);
        std::erase_if(settings.environment, [](const std::string& item) {
            return item.starts_with("TURNOUT_UV=") || item.starts_with("PATH=") ||
                   item.starts_with("UV_") || item.starts_with("PIP_");
        });
        settings.environment.push_back("PATH=" + folder + "/path");
        fs::create_directories(folder + "/path");
        fs::create_symlink("/usr/bin/python3", folder + "/path/python3");
        settings.beside = project + "/build";
    }
    void program(const std::string& path, const std::string& text = "#!/bin/sh\n") {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << text;
        fs::permissions(path, fs::perms::owner_all);
    }
    // An index of one wheel whose program says `says`; `digest` "" = the right one.
    void index(const std::string& says, std::string digest = "") {
        std::ofstream(folder + "/index.py") << R"py(import hashlib, os, platform, sys, zipfile
folder, says, digest = sys.argv[1:]
libc = "manylinux_2_17" if platform.libc_ver()[0] == "glibc" else "musllinux_1_1"
os.makedirs(folder + "/uv", exist_ok=True)
links = ""
for version in ("9.2.0", "9.10.1"):
    name = f"uv-{version}-py3-none-{libc}_{platform.machine()}.whl"
    with zipfile.ZipFile(f"{folder}/uv/{name}", "w") as z:
        z.writestr(f"uv-{version}.data/scripts/uv", f"#!/bin/sh\necho {says} {version}\n")
    right = hashlib.sha256(open(f"{folder}/uv/{name}", "rb").read()).hexdigest()
    links += f'<a href="{name}#sha256={digest or right}">{name}</a>\n'
open(folder + "/uv/index.html", "w").write(links)
)py";
        ASSERT_EQ(std::system(("/usr/bin/python3 " + folder + "/index.py " + folder + "/simple '" +
                               says + "' '" + digest + "'")
                                  .c_str()),
                  0);
    }
    Result<std::string> fetch() {
        settings.environment.push_back("UV_DEFAULT_INDEX=file://" + folder + "/simple");
        return fetch_uv(settings, [this](std::string_view text) { log += text; }, cancel);
    }
};

TEST_F(UvTest, FoundBesideInTheProjectAndOnThePathAndRemembered) {
    EXPECT_EQ(find_uv(settings), "");
    EXPECT_EQ(remember_uv(bin, settings), "");
    program(folder + "/path/uv");
    EXPECT_EQ(find_uv(settings), folder + "/path/uv");
    program(project + "/.venv/bin/uv");
    EXPECT_EQ(find_uv(settings), project + "/.venv/bin/uv");
    program(project + "/build/uv");
    EXPECT_EQ(find_uv(settings), project + "/build/uv");
    EXPECT_EQ(remember_uv(bin, settings), bin + "/uv");
    EXPECT_EQ(fs::read_symlink(bin + "/uv"), project + "/build/uv");
    // Its folder is not on the next start's PATH: the agents' link still leads to it.
    Settings other = settings;
    other.beside = folder + "/elsewhere";
    other.environment = {"PATH=/no/such"};
    EXPECT_EQ(find_uv(other), "");
    EXPECT_EQ(remember_uv(bin, other), bin + "/uv");
    // A link whose target went away is none.
    fs::remove(project + "/build/uv");
    EXPECT_EQ(remember_uv(bin, other), "");
    other.beside = bin;
    EXPECT_EQ(find_uv(other), "");
}

TEST_F(UvTest, TheNewestWheelOfTheIndexIsFetchedOnceAndCheckedByItsHash) {
    settings.beside = bin;
    program(bin + "/.uv.a1b2c3");  // of one that was killed
    index("fetched");
    auto fetched = fetch();
    ASSERT_TRUE(fetched) << fetched.error().message;
    EXPECT_EQ(*fetched, bin + "/uv");
    EXPECT_EQ(find_uv(settings), bin + "/uv");
    EXPECT_EQ(std::system((*fetched + " | grep -qx 'fetched 9.10.1'").c_str()), 0);
    fs::remove_all(folder + "/simple");
    EXPECT_TRUE(fetch());

    fs::remove(bin + "/uv");
    index("forged", std::string(64, 'a'));
    auto forged = fetch();
    ASSERT_FALSE(forged);
    EXPECT_NE(forged.error().message.find("SHA-256"), std::string::npos) << forged.error().message;
    EXPECT_NE(forged.error().message.find("turnout up --uv PATH"), std::string::npos);
    EXPECT_FALSE(fs::exists(bin + "/uv"));
    for (const auto& entry : fs::directory_iterator(bin))
        EXPECT_EQ(entry.path().filename(), "uv.lock") << "nothing is left of it";
}

TEST_F(PrepareTest, BuiltOnceThenReusedAndHalfBuiltOnesAreRebuilt) {
    if (no_uv()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    write_wheel("tinypackage", "1.2");
    auto environment = venv({"tinypackage==1.2.*"});
    // What a build that was killed leaves.
    fs::create_directories(folder + "/environments/" + environment.hash + "/bin");
    EXPECT_FALSE(*find_prepared(environment, settings));
    Result<Prepared> other = Prepared{};
    std::thread second(
        [&] { other = prepare(environment, settings, [](std::string_view) {}, cancel); });
    auto built = make(environment);
    second.join();
    ASSERT_TRUE(built) << built.error().message;
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_EQ(built->folder, other->folder);
    EXPECT_EQ(std::system((built->interpreter +
                           " -c 'import tinypackage; assert tinypackage.version == \"1.2\"'")
                              .c_str()),
              0);
    auto again = find_prepared(environment, settings);
    ASSERT_TRUE(again && *again);
    EXPECT_EQ((*again)->folder, built->folder);
}

// What cannot be had for one job cannot be had for those that wait for it; later ones try again.
class FailedBuildTest : public PrepareTest,
                        public ::testing::WithParamInterface<std::pair<const char*, Code>> {};
INSTANTIATE_TEST_SUITE_P(
    Kinds, FailedBuildTest,
    ::testing::Values(std::pair{"left-pad is not there", Code::FailedPrecondition},
                      std::pair{"HTTP status server error (503 Service Unavailable)",
                                Code::Unavailable}));
TEST_P(FailedBuildTest, ThoseWhoWaitForItDoNotTryItAgain) {
    const auto [words, code] = GetParam();
    settings.patience.tries = 1;
    std::ofstream(folder + "/uv") << "#!/bin/sh\necho tried >>" << folder << "/tries\nwhile [ ! -e "
                                  << folder << "/go ]; do sleep 0.01; done\necho 'error: " << words
                                  << "' >&2\nexit 1\n";
    fs::permissions(folder + "/uv", fs::perms::owner_all);
    settings.uv = folder + "/uv";
    const auto environment = venv({"left-pad"});
    std::atomic<int> waiting = 0;
    std::vector<std::thread> jobs;
    std::vector<Result<Prepared>> results(5, Prepared{});
    std::vector<std::string> logs(results.size());
    const auto job = [&](std::size_t i) {
        results[i] = prepare(
            environment, settings,
            [&, i](std::string_view text) {
                if (text.starts_with("another job builds")) ++waiting;
                logs[i] += text;
            },
            cancel);
    };
    for (std::size_t i = 0; i < results.size(); ++i) jobs.emplace_back(job, i);
    EXPECT_TRUE(wait_until([&] { return waiting == 4; }));
    std::ofstream(folder + "/go") << "";
    for (auto& each : jobs) each.join();
    for (std::size_t i = 0; i < results.size(); ++i) {
        ASSERT_FALSE(results[i]);
        EXPECT_EQ(results[i].error().code, code);
        EXPECT_NE(results[i].error().message.find(words), std::string::npos)
            << results[i].error().message;
        EXPECT_NE(logs[i].find(words), std::string::npos) << logs[i];
    }
    const auto tries = [&] {
        std::ifstream file(folder + "/tries");
        return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
    };
    EXPECT_EQ(tries(), 1);
    job(0);
    EXPECT_EQ(tries(), 2);
}

// As conda has them; what the definition pins is its own.
TEST_F(PrepareTest, PipSetuptoolsAndWheelAreThere) {
    if (no_uv()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    for (const auto& [name, version] : {std::pair<std::string, std::string>{"pip", "23.1"},
                                        {"pip", "9.9"},
                                        {"setuptools", "80.1"},
                                        {"setuptools", "82.0"},
                                        {"wheel", "0.4"},
                                        {"tinypackage", "1.2"}})
        write_wheel(name, version);
    const auto has = [&](const TaskEnvironment& environment, const std::string& text) {
        auto built = make(environment);
        ASSERT_TRUE(built) << built.error().message;
        EXPECT_EQ(std::system((built->interpreter +
                               " -c 'import pip, setuptools, wheel; assert (pip.version, "
                               "setuptools.version, wheel.version) == " +
                               text + "'")
                                  .c_str()),
                  0)
            << log;
    };
    has(venv({"tinypackage"}), R"(("23.1", "80.1", "0.4"))");
    has(venv({"pip==9.9", "setuptools>81", "tinypackage"}), R"(("9.9", "82.0", "0.4"))");
}

// Where tasks run as the owner and without overlays, one may have changed what all of them use.
TEST_F(PrepareTest, AnEnvironmentThatWasChangedIsBuiltAnew) {
    settings.uv = find_uv(settings);
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    constexpr uid_t kNobody = 65534;
    const bool root = geteuid() == 0;
    struct RootAgain {  // however this ends: the tests after it are root's
        bool root;
        ~RootAgain() { EXPECT_TRUE(!root || seteuid(0) == 0); }
    } root_again{root};
    write_wheel("tinypackage", "1.2");
    if (root) {
        // As anybody else.
        fs::copy_file(fs::canonical(settings.uv), folder + "/uv");
        settings.uv = folder + "/uv";
        settings.python = "/usr/bin/python3";
        settings.environment = {"PATH=/usr/bin:/bin", "HOME=" + folder};
        ASSERT_EQ(std::system(("chown -R 65534 " + folder).c_str()), 0);
        ASSERT_EQ(seteuid(kNobody), 0);
    }
    const auto environment = venv({"tinypackage==1.2"});
    auto built = make(environment);
    ASSERT_TRUE(built) << built.error().message;
    std::string module;
    for (const auto& entry : fs::recursive_directory_iterator(built->folder))
        if (entry.path().filename() == "tinypackage.py") module = entry.path();
    ASSERT_FALSE(module.empty());
    const std::string at = built->folder;
    built = Prepared{};
    EXPECT_TRUE(*find_prepared(environment, settings));
    const auto says = [&](const char* expected) {
        return std::system(
                   (at +
                    "/bin/python -IB -c 'import tinypackage; assert tinypackage.version == \"" +
                    expected + "\"'")
                       .c_str()) == 0;
    };
    // Compiling is no change.
    fs::permissions(fs::path(module).parent_path(), fs::perms::owner_all);
    // A shell gives its effective user up.
    EXPECT_EQ(std::system(((root ? "setpriv --reuid 65534 --clear-groups " : "") + at +
                           "/bin/python -m compileall -q " + module)
                              .c_str()),
              0);
    EXPECT_TRUE(*find_prepared(environment, settings));
    for (const bool remove : {false, true}) {
        if (remove)
            fs::remove(module);
        else
            std::ofstream(module) << "version = 'changed'\n";
        EXPECT_FALSE(*find_prepared(environment, settings));
        log.clear();
        auto again = make(environment);
        EXPECT_TRUE(again) << again.error().message;
        EXPECT_TRUE(says("1.2"));
        EXPECT_NE(log.find("was changed since it was built"), std::string::npos);
        again = Prepared{};
        fs::permissions(fs::path(module).parent_path(), fs::perms::owner_all);
    }
}

// A shim answers to every version and fails; the versions themselves are found, the newest that
// fits.
TEST_F(PrepareTest, PyenvsVersionsAreTakenNotItsShims) {
    if (no_uv()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    settings.uv = find_uv(settings);
    fs::create_directories(folder + "/pyenv/shims");
    std::ofstream(folder + "/pyenv/shims/python3.11") << "#!/bin/sh\nexit 1\n";
    fs::permissions(folder + "/pyenv/shims/python3.11", fs::perms::owner_all);
    const std::string real = make(user_managed("plain", "/usr/bin/python3"))->interpreter;
    for (const char* version : {"3.11.9", "3.11.10", "3.12.1"}) {
        fs::create_directories(folder + "/pyenv/versions/" + version + "/bin");
        fs::create_symlink(real, folder + "/pyenv/versions/" + version + "/bin/python");
    }
    std::erase_if(settings.environment, [](const std::string& item) {
        return item.starts_with("PATH=") || item.starts_with("PYENV_ROOT=");
    });
    settings.environment.push_back("PATH=" + folder + "/pyenv/shims:/usr/bin:/bin");
    settings.environment.push_back("PYENV_ROOT=" + folder + "/pyenv");
    for (const auto& [pin, taken] :
         {std::pair<std::string, std::string>{"3.11", "3.11.10"}, {"3.11.9", "3.11.9"}}) {
        auto environment = venv({});
        environment.python_version = pin;
        environment.hash = hash_of(environment);
        auto built = make(environment);
        ASSERT_TRUE(built) << built.error().message;
        EXPECT_NE(log.find("with Python " + pin + " of " + folder + "/pyenv/versions/" + taken),
                  std::string::npos)
            << log;
    }
    auto environment = venv({});
    environment.python_version = "3.11.8";
    environment.hash = hash_of(environment);
    settings.environment.push_back("UV_PYTHON_DOWNLOADS=never");
    auto absent = make(environment);
    ASSERT_FALSE(absent);
    EXPECT_NE(absent.error().message.find("3.11.9, 3.11.10, "), std::string::npos)
        << absent.error().message;
}

TEST_F(PrepareTest, FailuresAreTheResolversOwnWords) {
    if (no_uv()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    write_wheel("tinypackage", "1.2");
    auto environment = venv({"tinypackage==9.9"});
    auto failed = make(environment);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::FailedPrecondition);
    EXPECT_NE(failed.error().message.find("tinypackage==9.9"), std::string::npos)
        << failed.error().message;
    EXPECT_NE(log.find("tinypackage==9.9"), std::string::npos);
    EXPECT_FALSE(fs::exists(folder + "/environments/" + environment.hash));

    auto old = venv({});
    old.python_version = "3.2";
    auto absent = make(old);
    ASSERT_FALSE(absent);
    EXPECT_NE(absent.error().message.find("asks for Python 3.2"), std::string::npos);
}

}  // namespace
}  // namespace turnout::environment
