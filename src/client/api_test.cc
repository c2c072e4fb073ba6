#include "client/api.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/text.h"
#include "client/files.h"
#include "client/hashes.h"
#include "io/posix/http_server.h"

namespace turnout::client {
namespace {

namespace fs = std::filesystem;

// A server of a few fixed answers on the client's own loop, which remembers what it was asked.
class ApiTest : public testing::Test {
protected:
    struct Seen {
        std::string method, target, authorization, body;
    };

    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "turnout-api-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        Settings settings;
        settings.url = "http://127.0.0.1:1";
        settings.api_key = Secret("the-key");
        settings.subscription_id = "s";
        settings.resource_group = "g";
        settings.workspace_name = "w";
        // The port is known only once the loop is there: a first client lends its loop to the
        // server.
        Result<std::unique_ptr<Api>> lender = Api::open(settings);
        ASSERT_TRUE(lender) << lender.error().message;
        lender_ = std::move(*lender);
        auto listener =
            http::listen_plain(lender_->loop(), "127.0.0.1:0",
                               [this](const http::Request& request, http::BodyReader& body) {
                                   return answer(*this, request, body);
                               });
        ASSERT_TRUE(listener) << listener.error().message;
        listener_ = std::move(*listener);
        origin_ = "http://" + listener_->address();
    }
    void TearDown() override {
        listener_.reset();
        lender_.reset();
        fs::remove_all(folder_);
    }

    static Task<http::Response> answer(ApiTest& self, const http::Request& request,
                                       http::BodyReader& body) {
        Result<std::string> bytes = co_await body.all(64 << 20);
        self.seen_.push_back({request.method, request.target,
                              std::string(request.headers.get("authorization")),
                              bytes ? *bytes : ""});
        http::Response response;
        if (self.refuses_once_ && self.refused_.insert(request.method + request.target).second) {
            response.status = 503;
            response.headers.set("Retry-After", "0");
            response.body =
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>TooManyWrites"
                "</Code><Message>try again</Message></Error>";
            co_return response;
        }
        const auto found =
            self.answers_.find(request.method + " " + request.path +
                               (request.query.find("page=2") != std::string::npos ? "#2" : ""));
        const bool known =
            found != self.answers_.end() &&
            (self.unless_.empty() || request.query.find(self.unless_) == std::string::npos);
        response.status = known ? found->second.first : 201;
        if (known) response.body = found->second.second;
        co_return response;
    }

    Api& api() { return *lender_; }
    // Paths beginning with '/' go to the settings' origin, so tests give whole URLs.
    std::string url(const std::string& path) { return origin_ + path; }

    std::string folder_, origin_;
    std::unique_ptr<Api> lender_;
    std::unique_ptr<http::Listener> listener_;
    std::map<std::string, std::pair<int, std::string>> answers_;
    std::string unless_;  // queries with that have no fixed answer
    std::vector<Seen> seen_;
    bool refuses_once_ = false;  // each for want of room
    std::set<std::string> refused_;
};

TEST_F(ApiTest, ArmErrorsBecomeOurs) {
    answers_["GET /gone"] = {
        404, R"({"error":{"code":"ResourceNotFound","message":"compute 'x' does not exist"}})"};
    const Result<Json> gone = api().get(url("/gone"));
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, Code::NotFound);
    EXPECT_EQ(gone.error().reason, "ResourceNotFound");
    EXPECT_EQ(gone.error().message, "compute 'x' does not exist");
    answers_["GET /odd"] = {200, "odd"};
    EXPECT_NE(api().get(url("/odd")).error().message.find("not JSON"), std::string::npos);
    // A proxy's page is no answer of the server, whatever its status.
    const std::string page =
        "\n<!DOCTYPE html>\n<HTML lang=en><head><title>502 Bad\x1b[2J &amp; "
        "Gateway\n</title></head><body><h1>It's <b>broken</b></h1>" +
        std::string(5000, 'x') + "</body></html>";
    for (const int status : {200, 502}) {
        answers_["GET /proxy"] = {status, page};
        const Result<Json> proxy = api().get(url("/proxy"));
        ASSERT_FALSE(proxy);
        EXPECT_EQ(proxy.error().code, Code::Unavailable);
        EXPECT_EQ(
            proxy.error().message,
            "a web page came instead of the server's answer, with HTTP status " +
                std::to_string(status) +
                " (\"502 Bad [2J & Gateway\"): something else, such as a proxy, answers there");
    }
    answers_["GET /wrapped"] = {503, R"({"error":{"code":"X","message":"<html><body>no title"}})"};
    EXPECT_EQ(api().get(url("/wrapped")).error().message,
              "a web page came instead of the server's answer, with HTTP status 503: something "
              "else, such as a proxy, answers there");
    answers_["GET /full"] = {507, ""};
    EXPECT_EQ(api().get(url("/full")).error().code, Code::ResourceExhausted);
}

TEST_F(ApiTest, TheKeyGoesToOurOriginOnly) {
    answers_["GET /x"] = {200, "{}"};
    ASSERT_TRUE(api().get(url("/x")));
    EXPECT_EQ(seen_.at(0).authorization, "") << "the settings name another origin";
}

TEST_F(ApiTest, FilesGoWholeAndLargeOnesInBlocksWhereThatIsLost) {
    const std::string large(9 << 20, 'x');
    ASSERT_TRUE(write_file(folder_ + "/large", large));
    ASSERT_TRUE(write_file(folder_ + "/small", "s"));
    ASSERT_TRUE(write_file(folder_ + "/empty", ""));
    const Result<Snapshot> snapshot = take_snapshot(folder_);
    ASSERT_TRUE(snapshot);
    for (const bool lost : {false, true}) {
        seen_.clear();
        std::uint64_t told = 0;
        if (lost) answers_["PUT /c/pre%20fix/large"] = {503, "busy"};
        unless_ = lost ? "comp=block" : "";
        const Result<void> sent =
            api().upload({.url = url("/c"), .query = "sig=1", .bearer = {}}, "pre fix/",
                         snapshot->files, [&](std::uint64_t done, std::uint64_t total) {
                             told = done;
                             EXPECT_EQ(total, large.size() + 1);
                         });
        ASSERT_TRUE(sent) << sent.error().message;
        EXPECT_EQ(told, large.size() + 1);
        std::size_t whole = 0, block_bytes = 0, blocks = 0, lists = 0;
        for (const Seen& seen : seen_) {
            EXPECT_EQ(seen.method, "PUT");
            EXPECT_TRUE(seen.target.starts_with("/c/pre%20fix/")) << seen.target;
            EXPECT_NE(seen.target.find("sig=1"), std::string::npos);
            if (seen.target.find("comp=blocklist") != std::string::npos) {
                ++lists;
                EXPECT_NE(seen.body.find("<Latest>"), std::string::npos);
            } else if (seen.target.find("comp=block&") != std::string::npos) {
                ++blocks;
                block_bytes += seen.body.size();
            } else if (seen.body == large) {
                ++whole;
            }
        }
        EXPECT_EQ(whole, 1u);
        EXPECT_EQ(blocks, lost ? 3u : 0u);
        EXPECT_EQ(lists, lost ? 1u : 0u);
        EXPECT_EQ(block_bytes, lost ? large.size() : 0);
        EXPECT_EQ(seen_.size(), lost ? 7u : 3u);
    }
}

TEST_F(ApiTest, WhereTheServerHasNoRoomItIsAskedAgain) {
    refuses_once_ = true;
    const std::string large(9 << 20, 'x');
    ASSERT_TRUE(write_file(folder_ + "/large", large));
    ASSERT_TRUE(write_file(folder_ + "/small", "s"));
    const Result<Snapshot> snapshot = take_snapshot(folder_);
    ASSERT_TRUE(snapshot);
    const Result<void> sent =
        api().upload({.url = url("/c"), .query = {}, .bearer = {}}, "", snapshot->files, {});
    ASSERT_TRUE(sent) << sent.error().message;
    std::map<std::string, int> times;
    for (const Seen& seen : seen_) ++times[seen.target];
    EXPECT_EQ(times["/c/small"], 2);
    EXPECT_EQ(times["/c/large"], 1) << "in blocks then";
    EXPECT_EQ(times["/c/large?comp=blocklist"], 2);
    EXPECT_EQ(seen_.size(), 2u + 1 + 3 * 2 + 2);
    answers_["GET /x"] = {200, R"({"x": 1})"};
    const Result<Json> x = api().get(url("/x"));
    ASSERT_TRUE(x) << x.error().message;
    EXPECT_EQ(x->at("x").as_int(), 1);
}

TEST_F(ApiTest, StampsTellOfEveryChangeAndHashesAreRemembered) {
    ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    const std::string path = folder_ + "/data";
    ASSERT_TRUE(write_file(path, "one"));
    const Instant now = api().now();
    const Stamp fresh = *stamp_of(*take_snapshot(path), now),
                later = *stamp_of(*take_snapshot(path), now + 1h);
    EXPECT_FALSE(fresh.settled);
    EXPECT_TRUE(later.settled);
    EXPECT_TRUE(fresh == later);
    const std::string hash = *object_hash(path);
    EXPECT_FALSE(remembered_hash(later.text));
    remember_hash(later.text, hash);
    EXPECT_EQ(remembered_hash(later.text).value_or(""), hash);
    ASSERT_TRUE(write_file(path, "two"));
    EXPECT_FALSE(later == *stamp_of(*take_snapshot(path), now));
    for (int i = 0; i < 600; ++i)
        remember_hash(std::string(61, 'a') + std::to_string(100 + i), hash);
    EXPECT_FALSE(remembered_hash(later.text)) << "the oldest go";
    ::unsetenv("XDG_CACHE_HOME");
}

TEST_F(ApiTest, ARefusedUploadEndsIt) {
    ASSERT_TRUE(write_file(folder_ + "/a", "a"));
    answers_["PUT /c/a"] = {
        403,
        "<Error><Code>AuthorizationFailure</Code><Message>the link has expired</Message></Error>"};
    const Result<void> sent = api().upload({.url = url("/c"), .query = {}, .bearer = {}}, "",
                                           take_snapshot(folder_)->files, {});
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, Code::PermissionDenied);
    EXPECT_EQ(sent.error().message, "the link has expired");
}

TEST_F(ApiTest, ListsAndDownloadsBlobs) {
    answers_["GET /c"] = {
        200,
        "<?xml version=\"1.0\"?><EnumerationResults><Blobs><Blob><Name>p/a &amp; "
        "b.txt</Name><Properties><Content-Length>5</Content-Length>"
        "</Properties></Blob><Blob><Name>p/sub/c</Name><Properties><Content-Length>0</"
        "Content-Length></Properties></Blob></Blobs><NextMarker /></EnumerationResults>"};
    const BlobPlace place{.url = url("/c"), .query = {}, .bearer = {}};
    const Result<std::vector<RemoteFile>> files = api().list_blobs(place, "p/");
    ASSERT_TRUE(files) << files.error().message;
    ASSERT_EQ(files->size(), 2u);
    EXPECT_EQ(files->at(0).name, "p/a & b.txt");
    EXPECT_EQ(files->at(0).size, 5u);
    answers_["GET /c/p/a%20%26%20b.txt"] = {200, "hello"};
    answers_["GET /c/p/sub/c"] = {200, ""};
    const Result<void> done = api().download(place, *files, "p/", folder_ + "/to", {});
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(*read_file(folder_ + "/to/a & b.txt"), "hello");
    EXPECT_EQ(*read_file(folder_ + "/to/sub/c"), "");
}

// Whatever files are called, none of them is in another's way.
TEST_F(ApiTest, NoNameOfOursIsOneOfTheirs) {
    std::vector<RemoteFile> files;
    const auto add = [&](const std::string& name, const std::string& bytes) {
        files.push_back({"p/" + name, bytes.size()});
        answers_["GET /c/p/" + name] = {200, bytes};
    };
    for (int i = 0; i < 20; ++i) {
        const std::string name = "m" + std::to_string(i) + ".bin";
        add(name, std::string(5000, 'a'));
        for (const char* suffix : {".part", ".new", ".tmp", ".unfinished"})
            add(name + suffix, name + suffix);
    }
    for (std::size_t size = 248; size <= 255; ++size)
        add(std::string(size, 'n'), std::to_string(size));
    const std::string staging = ".turnout-download-" + std::to_string(::getpid()) + "-0";
    add(staging, "a file with the name that ours would have");
    fs::create_directories(folder_ + "/to/.turnout-download-1-0");  // what a killed download left
    std::ofstream(folder_ + "/to/.turnout-download-1-0/7") << "half";

    const Result<void> done = api().download({.url = url("/c"), .query = {}, .bearer = {}}, files,
                                             "p/", folder_ + "/to", {});
    ASSERT_TRUE(done) << done.error().message;
    std::size_t found = 0;
    for (const auto& entry : fs::directory_iterator(folder_ + "/to")) {
        ++found;
        const auto answer = answers_.find("GET /c/p/" + entry.path().filename().string());
        ASSERT_NE(answer, answers_.end()) << entry.path();
        EXPECT_EQ(*read_file(entry.path()), answer->second.second) << entry.path();
    }
    EXPECT_EQ(found, files.size());
}

TEST_F(ApiTest, AFileAndAFolderOfOneNameAreTold) {
    for (const char* name : {"a", "a/b", "c"})
        answers_[std::string("GET /c/p/") + name] = {200, name};
    const Result<void> done =
        api().download({.url = url("/c"), .query = {}, .bearer = {}},
                       {{"p/a", 1}, {"p/a/b", 3}, {"p/c", 1}}, "p/", folder_ + "/to", {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().reason, "NameTaken");
    EXPECT_EQ(done.error().subject, "a");
    EXPECT_EQ(*read_file(folder_ + "/to/a/b"), "a/b");
    EXPECT_EQ(*read_file(folder_ + "/to/c"), "c");
}

TEST_F(ApiTest, ADownloadThatEndsEarlyIsNoFile) {
    answers_["GET /c/p/a"] = {200, "half"};
    const Result<void> done = api().download({.url = url("/c"), .query = {}, .bearer = {}},
                                             {{"p/a", 8}}, "p/", folder_ + "/to", {});
    ASSERT_FALSE(done);
    EXPECT_TRUE(fs::is_empty(folder_ + "/to"));
}

TEST_F(ApiTest, NoNameFromTheServerLeadsOutOfTheFolder) {
    for (const char* name : {"p/../../evil", "p//../evil", "p/a/../../../evil", "p/./x"}) {
        const Result<void> done = api().download({.url = url("/c"), .query = {}, .bearer = {}},
                                                 {{name, 1}}, "p/", folder_ + "/to", {});
        EXPECT_FALSE(done) << name;
    }
    EXPECT_TRUE(seen_.empty()) << "refused before anything is fetched";
}

TEST(Settings, AreReadAndKeptPrivate) {
    std::string folder = (fs::temp_directory_path() / "turnout-settings-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    ASSERT_TRUE(write_file(folder + "/key", "secret\n", 0600));
    Settings settings;
    settings.url = "https://127.0.0.1:8443/";
    settings.ca_file = "ca.pem";
    settings.api_key_file = folder + "/key";
    settings.workspace_name = "w x";
    settings.subscription_id = "s";
    settings.resource_group = "g";
    ASSERT_TRUE(save_settings(settings, folder + "/client.json"));
    EXPECT_EQ(fs::status(folder + "/client.json").permissions() & fs::perms::mask,
              fs::perms::owner_read | fs::perms::owner_write);
    const Result<Settings> back = load_settings(folder);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->url, "https://127.0.0.1:8443");
    EXPECT_EQ(back->ca_file, folder + "/ca.pem") << "relative to the file";
    EXPECT_EQ(back->api_key.reveal(), "secret");
    EXPECT_EQ(back->workspace_path(),
              "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
              "workspaces/w%20x");
    const Result<Settings> none = load_settings(folder + "/absent");
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().message.find("turnout up"), std::string::npos);
    fs::remove_all(folder);
}

}  // namespace
}  // namespace turnout::client
