// Builds with real uv from a package index on this machine that does not always answer.
#include "agent/environment/again.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "agent/environment/fetch_uv.h"
#include "agent/environment/prepare.h"
#include "base/text.h"
#include "environment/definition.h"
#include "environment/uv.h"

extern "C" char** environ;

namespace turnout::environment {
namespace {

namespace fs = std::filesystem;
using agent_protocol::TaskEnvironment;

// What is in `mode`, "HOW COUNT", happens to so many of the next requests.
constexpr std::string_view kIndex = R"py(
import fcntl, hashlib, http.server, io, os, platform, socket, sys, threading, zipfile
folder, turn = sys.argv[1], threading.Lock()
libc = "manylinux_2_17" if platform.libc_ver()[0] == "glibc" else "musllinux_1_1"
files = {}
def wheel(name, version, tag="py3-none-any", more={}):
    info, out = f"{name}-{version}.dist-info", io.BytesIO()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(f"{name}.py", f"version = '{version}'\n" + "#" * 100_000)
        z.writestr(f"{info}/METADATA", metadata)
        z.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        z.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        for path, text in more.items(): z.writestr(path, text)
    files[f"{name}-{version}-{tag}.whl"] = out.getvalue()
    files[f"{name}-{version}-{tag}.whl.metadata"] = metadata.encode()
for name in ("pip", "setuptools", "wheel", "tinypackage", "forged"): wheel(name, "1.0")
wheel("uv", "9.1", f"py3-none-{libc}_{platform.machine()}", {"uv-9.1.data/scripts/uv": "#!/bin/sh\necho it is uv\n"})
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def say(self, status, body=b"", kind="text/html", sent=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET": self.wfile.write(body[:sent])
    def close(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        name = self.path.rstrip("/").rpartition("/")[2]
        with turn, open(folder + "/mode", "r+") as mode:
            fcntl.flock(mode, fcntl.LOCK_EX)  # the test may be about to write it
            how, _, count = mode.read().partition(" ")
            happens = int(count) > 0 and (how != "cut" or name.endswith(".whl"))
            if happens:
                mode.seek(0)
                mode.write(f"{how} {int(count) - 1}  ")
        if happens:
            if how == "close": return self.close()
            if how != "cut": return self.say(int(how))
            self.say(200, files[name], sent=len(files[name]) // 2)
            return self.close()
        if name in files: return self.say(200, files[name], "application/octet-stream")
        links = ""
        for file, body in files.items():
            if file.startswith(name + "-") and file.endswith(".whl"):
                digest = "0" * 64 if name == "forged" else hashlib.sha256(body).hexdigest()
                links += f'<a href="/files/{file}#sha256={digest}" data-dist-info-metadata="true">{file}</a>\n'
        self.say(200 if links else 404, links.encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print(server.server_address[1], flush=True)
server.serve_forever()
)py";

class AgainTest : public ::testing::Test {
protected:
    std::string folder;
    Settings settings;
    std::string log;
    std::atomic<bool> cancel = false, over = false;
    std::thread server;
    std::string origin;

    void SetUp() override {
        char name[] = "/tmp/turnout-again-test-XXXXXX";
        folder = mkdtemp(name);
        for (char** item = environ; *item; ++item) settings.environment.emplace_back(*item);
        settings.uv = find_uv(settings);
        settings.cache = folder + "/cache";
        settings.patience.first = 1ms;
        std::erase_if(settings.environment, [](const std::string& item) {
            return item.starts_with("UV_") || item.starts_with("PIP_") || item.starts_with("HOME=");
        });
        // uv's own tries and its cache are not what is looked at.
        for (const std::string item :
             {"UV_HTTP_RETRIES=0", "UV_NO_CONFIG=1", "PIP_CONFIG_FILE=/dev/null",
              "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"})
            settings.environment.push_back(item);
        settings.environment.push_back("HOME=" + folder);
        settings.environment.push_back("UV_CACHE_DIR=" + folder + "/uv-cache");
        mode("200 0");
        std::promise<std::string> port;
        server = std::thread(
            [&, program = find_program("python3", settings), variables = settings.environment] {
                bool told = false;
                (void)run(
                    {program, "-c", std::string(kIndex), folder}, variables,
                    [&](std::string_view text) {
                        if (!std::exchange(told, true)) port.set_value(std::string(trim(text)));
                    },
                    over);
                if (!told) port.set_value("");
            });
        origin = "http://127.0.0.1:" + port.get_future().get();
        settings.environment.push_back("UV_DEFAULT_INDEX=" + origin + "/simple");
    }
    void TearDown() override {
        over = true;
        server.join();
        std::system(("chmod -R u+w " + folder).c_str());
        fs::remove_all(folder);
    }
    // A late request of a program that was ended may be reading it.
    void mode(const std::string& text) {
        const int file = open((folder + "/mode").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        EXPECT_TRUE(flock(file, LOCK_EX) == 0 && ftruncate(file, 0) == 0 &&
                    pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
        close(file);
    }
    Result<Prepared> build(std::vector<std::string> lines) {
        TaskEnvironment environment;
        environment.name = "test:1";
        environment.kind = TaskEnvironment::Kind::Venv;
        environment.requirements = std::move(lines);
        environment.hash = hash_of(environment);
        log.clear();
        return prepare(
            environment, settings, [this](std::string_view text) { log += text; }, cancel);
    }
    bool tried_again() const { return log.find("trying again in ") != std::string::npos; }
};

TEST_F(AgainTest, AnIndexThatDoesNotAnswerForAWhileIsAskedAgain) {
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    for (const std::string how : {"503", "close", "cut"}) {
        mode(how +
             (how == "cut" ? " 9" : " 2"));  // uv itself asks twice for each wheel that was cut
        const auto built = build({"tinypackage==1.0", "# " + how});
        ASSERT_TRUE(built) << how << ": " << built.error().message << "\n" << log;
        EXPECT_NE(log.find("(try 2 of 6): "), std::string::npos) << how << ": " << log;
        EXPECT_NE(log.find(how == "cut" ? " of 6): Failed to download `" : origin),
                  std::string::npos)
            << "it says what does not come: " << log;
        fs::remove_all(folder + "/uv-cache");
    }
}

TEST_F(AgainTest, WhatDoesNotPassInTimeIsNotTheEnvironmentsFault) {
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    settings.patience.tries = 3;
    mode("503 1000000");
    auto failed = build({"tinypackage==1.0"});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::Unavailable);
    EXPECT_NE(failed.error().message.find("503 Service Unavailable"), std::string::npos)
        << failed.error().message;
    EXPECT_NE(
        failed.error().message.find("of environment 'test:1' could not be installed, in 3 tries"),
        std::string::npos)
        << failed.error().message;
    EXPECT_NE(log.find("(try 3 of 3)"), std::string::npos) << log;
    settings.patience.tries = 1;
    failed = build({"tinypackage==1.0"});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message.find(" tries"), std::string::npos) << failed.error().message;
    // The next attempt of the job asks anew.
    mode("200 0");
    EXPECT_TRUE(build({"tinypackage==1.0"}));

    std::erase_if(settings.environment,
                  [](const std::string& item) { return item.starts_with("UV_DEFAULT_INDEX="); });
    settings.environment.push_back(
        "UV_DEFAULT_INDEX=http://127.0.0.1:1/simple");  // nobody is there
    failed = build({"tinypackage"});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::Unavailable) << failed.error().message;
}

TEST_F(AgainTest, WhatWouldBeTheSameAgainIsNotTriedAgain) {
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    for (const auto& lines : std::vector<std::vector<std::string>>{
             {"no-such-package"}, {"tinypackage==1.0", "tinypackage==2.0"}, {"forged==1.0"}}) {
        const auto failed = build(lines);
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().code, Code::FailedPrecondition) << failed.error().message;
        EXPECT_FALSE(tried_again()) << log;
    }
    mode("404 1000000");
    const auto failed = build({"tinypackage==1.0"});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::FailedPrecondition) << failed.error().message;
    EXPECT_FALSE(tried_again()) << log;
}

TEST_F(AgainTest, AJobThatIsCanceledWaitsNoLonger) {
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    settings.patience.first = settings.patience.longest = std::chrono::hours(1);
    mode("503 1000000");
    TaskEnvironment environment;
    environment.kind = TaskEnvironment::Kind::Venv;
    environment.requirements = {"tinypackage==1.0"};
    environment.hash = hash_of(environment);
    const auto stopped = prepare(
        environment, settings,
        [this](std::string_view text) {
            cancel = cancel || text.starts_with("trying again in 1 h");
        },
        cancel);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Code::Canceled);
}

TEST_F(AgainTest, APythonThatCannotBeFetchedNowIsAskedForAgain) {
    if (settings.uv.empty()) GTEST_SKIP() << "no uv: set TURNOUT_UV";
    settings.patience.tries = 2;
    for (const char* item : {"UV_PYTHON_PREFERENCE=only-managed", "PATH=/nothing"})
        settings.environment.push_back(item);
    settings.environment.push_back("UV_PYTHON_INSTALL_MIRROR=" + origin);
    for (const bool passes : {true, false}) {
        mode(passes ? "503 1000000" : "404 1000000");
        TaskEnvironment environment;
        environment.name = "test:1";
        environment.kind = TaskEnvironment::Kind::Venv;
        environment.python_version = "3.9.1";
        environment.hash = hash_of(environment);
        log.clear();
        const auto failed =
            prepare(environment, settings, [this](std::string_view text) { log += text; }, cancel);
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().code, passes ? Code::Unavailable : Code::FailedPrecondition)
            << failed.error().message;
        EXPECT_EQ(tried_again(), passes) << log;
    }
}

TEST_F(AgainTest, UvItselfIsAskedForAgain) {
    settings.uv.clear();
    settings.beside = folder + "/bin";
    fs::create_directories(settings.beside);
    const auto fetch = [&] {
        return fetch_uv(settings, [this](std::string_view text) { log += text; }, cancel);
    };
    for (const std::string how : {"503", "cut"}) {
        fs::remove(settings.beside + "/uv");
        log.clear();
        mode(how + " 1");
        const auto fetched = fetch();
        ASSERT_TRUE(fetched) << how << ": " << fetched.error().message;
        EXPECT_NE(log.find("(try 2 of 6)"), std::string::npos) << how << ": " << log;
        EXPECT_EQ(std::system((*fetched + " | grep -qx 'it is uv'").c_str()), 0);
    }
    fs::remove(settings.beside + "/uv");
    settings.patience.tries = 2;
    mode("503 1000000");
    auto failed = fetch();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::Unavailable);
    EXPECT_NE(failed.error().message.find("503"), std::string::npos) << failed.error().message;
    log.clear();
    mode("404 1000000");
    failed = fetch();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::FailedPrecondition) << failed.error().message;
    EXPECT_FALSE(tried_again()) << log;
}

// Words of uv, of git and of a package's own build; the first of each kind was seen.
TEST(PassingReason, IsToldByTheProgramsOwnWords) {
    const auto reason = [](std::deque<std::string> tail, int status = 1) {
        Ran ran;
        ran.status = status;
        ran.tail = std::move(tail);
        return passing_reason(ran);
    };
    EXPECT_EQ(reason({"Using Python 3.11", "error: Request failed after 3 retries in 6.4s",
                      "  cause: Failed to fetch: http://a/simple/x/", "  cause: tcp connect error",
                      "  cause: Connection refused (os error 111)"},
                     2),
              "Failed to fetch: http://a/simple/x/: Connection refused (os error 111)");
    EXPECT_EQ(reason({"  × Failed to download `x==1`",
                      "  ╰─▶ HTTP status server error (502 Bad Gateway) for url (http://a/x.whl)"}),
              "HTTP status server error (502 Bad Gateway) for url (http://a/x.whl)");
    EXPECT_NE(
        reason({"error: Failed to fetch",
                "  cause: HTTP status client error (429 Too Many Requests) for url (http://a)"}),
        "");
    EXPECT_NE(reason({"error: Failed to download and build `x`", "  cause: Git operation failed",
                      "   fatal: unable to access 'https://a/x.git/': Could not resolve host: a"}),
              "");
    EXPECT_NE(reason({"error: x",
                      "   fatal: unable to access 'https://a/x.git/': The requested URL returned "
                      "error: 503"}),
              "");
    EXPECT_NE(
        reason({"a line", "the list of http://a cannot be had: [Errno 111] Connection refused"},
               kPasses),
        "");
    for (const char* lasting : {"HTTP status client error (404 Not Found) for url (http://a)",
                                "HTTP status client error (410 Gone) for url (http://a)",
                                "HTTP status server error (501 Not Implemented) for url (http://a)",
                                "Hash mismatch for `timed out==1.0`"})
        EXPECT_EQ(reason({"error: Failed to fetch", std::string("  cause: ") + lasting}), "")
            << lasting;
    EXPECT_EQ(reason({"error: error sending request for url (https://a)",
                      "  cause: invalid peer certificate: UnknownIssuer"}),
              "");
    EXPECT_EQ(reason({"error: Failed to build `x`", "  cause: The build backend returned an error",
                      "      [stderr]", "      TimeoutError: timed out"}),
              "")
        << "whose setup.py may try what it likes";
    EXPECT_EQ(reason({"connection refused, says a line before"}), "");
}

}  // namespace
}  // namespace turnout::environment
