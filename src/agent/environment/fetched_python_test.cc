// A Python that this machine does not have, fetched for an environment.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/environment/prepare.h"
#include "environment/definition.h"
#include "environment/pythons.h"
#include "environment/uv.h"

extern "C" char** environ;

namespace turnout::environment {
namespace {

namespace fs = std::filesystem;
using agent_protocol::TaskEnvironment;

// An archive as python-build-standalone has them, of this machine's Python; with its list.
constexpr std::string_view kMakeMirror = R"py(
import hashlib, json, os, platform, sys, sysconfig, tarfile
folder, forged = sys.argv[1], len(sys.argv) > 2
minor, version = "%d.%d" % sys.version_info[:2], "%d.%d.%d" % sys.version_info[:3]
name = f"20990101/cpython-{version}+20990101-{platform.machine()}-unknown-linux-gnu-install_only_stripped.tar.gz"
left_out = {"test", "__pycache__", "idlelib", "lib2to3", "tkinter", "site-packages", "dist-packages", "ensurepip", "sitecustomize.py", "EXTERNALLY-MANAGED"}
def keep(info):
    return None if left_out & set(info.name.split("/")) or "/config-" in info.name else info
os.makedirs(folder + "/20990101", exist_ok=True)
with tarfile.open(f"{folder}/{name}", "w:gz", compresslevel=1) as out:
    out.add(os.path.realpath(sys.executable), f"python/bin/python{minor}")
    for each in ("python3", "python"):
        link = tarfile.TarInfo("python/bin/" + each)
        link.type, link.linkname = tarfile.SYMTYPE, f"python{minor}"
        out.addfile(link)
    out.add(sysconfig.get_path("stdlib"), f"python/lib/python{minor}", filter=keep)
digest = hashlib.sha256(open(f"{folder}/{name}", "rb").read()).hexdigest()
major, second, patch = sys.version_info[:3]
with open(folder + "/downloads.json", "w") as out:
    json.dump({f"cpython-{version}-linux-{platform.machine()}-gnu": {
        "name": "cpython", "arch": {"family": platform.machine(), "variant": None}, "os": "linux", "libc": "gnu", "major": major, "minor": second,
        "patch": patch, "prerelease": "", "variant": None, "build": "20990101", "sha256": "0" * 64 if forged else digest,
        "url": "https://github.com/astral-sh/python-build-standalone/releases/download/" + name}}, out)
print(version)
)py";

class FetchedPython : public ::testing::Test {
protected:
    std::string folder;
    Settings settings;

    void SetUp() override {
        char name[] = "/tmp/turnout-fetched-test-XXXXXX";
        folder = mkdtemp(name);
        settings.cache = folder + "/cache";
        settings.environment = {"PATH=" + folder + "/path", "HOME=" + folder + "/home"};
        fs::create_directories(settings.cache);
        fs::create_directories(folder + "/path");
    }
    void TearDown() override {
        std::system(("chmod -R u+w " + folder).c_str());
        fs::remove_all(folder);
    }
    Result<void> check(const std::string& version) {
        TaskEnvironment pinned;
        pinned.name = "mine:1";
        pinned.kind = TaskEnvironment::Kind::Venv;
        pinned.python_version = version;
        return check_python(pinned, settings.cache);
    }
};

// The whole way, without a network: uv lists it, the pin is accepted, it is fetched, checked and
// kept.
TEST_F(FetchedPython, IsCheckedByItsHash) {
    for (char** item = environ; *item; ++item)
        if (std::string_view(*item).starts_with("TURNOUT_UV="))
            settings.environment.emplace_back(*item);
    settings.uv = find_uv(settings);
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    if (access("/usr/bin/python3", X_OK) != 0) GTEST_SKIP() << "no Python to make a mirror of";
    std::ofstream(folder + "/make.py") << kMakeMirror;
    const auto make_mirror = [&](const std::string& forged) {
        ASSERT_EQ(std::system(("/usr/bin/python3 " + folder + "/make.py " + folder + "/mirror " +
                               forged + " >" + folder + "/version")
                                  .c_str()),
                  0);
    };
    make_mirror("");
    std::string version;
    std::ifstream(folder + "/version") >> version;
    ASSERT_TRUE(set_python_mirror(settings.cache, folder + "/mirror"));
    const auto known = survey_pythons(settings);
    ASSERT_TRUE(known) << known.error().message;
    EXPECT_TRUE(check(version));
    const auto refused = check("3.2.9");
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.ends_with("that can be fetched " + version))
        << refused.error().message;

    TaskEnvironment environment;
    environment.name = "mine:1";
    environment.kind = TaskEnvironment::Kind::Venv;
    environment.python_version = version;
    environment.requirements = {"--no-index"};
    environment.hash = hash_of(environment);
    std::string log;
    const std::atomic<bool> cancel = false;
    auto built =
        prepare(environment, settings, [&](std::string_view text) { log += text; }, cancel);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_EQ(std::system((built->interpreter +
                           " -I -c 'import json, sys; assert sys.base_prefix.startswith(\"" +
                           settings.cache + "/pythons/\"), sys.base_prefix'")
                              .c_str()),
              0)
        << log;

    // Another file under the same name is not taken, and the reason is told.
    fs::rename(settings.cache + "/pythons",
               folder + "/away");  // in one step: what compiles bytecode may be at it still
    built = Prepared{};
    make_mirror("forged");
    environment.requirements.push_back("# another one");
    environment.hash = hash_of(environment);
    log.clear();
    const auto forged =
        prepare(environment, settings, [&](std::string_view text) { log += text; }, cancel);
    ASSERT_FALSE(forged);
    EXPECT_EQ(forged.error().code, Code::FailedPrecondition);
    EXPECT_NE(forged.error().message.find("turnout up --python-mirror"), std::string::npos)
        << forged.error().message;
    EXPECT_NE(forged.error().message.find(std::string(64, '0')), std::string::npos)
        << forged.error().message << log;
    EXPECT_FALSE(fs::exists(settings.cache + "/environments/" + environment.hash));
}

}  // namespace
}  // namespace turnout::environment
