#include "fetch/fetcher.h"

#include <gtest/gtest.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include <filesystem>
#include <map>

#include "base/text.h"
#include "fetch/addresses.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/test_until.h"
#include "store/memory/memory_store.h"

namespace turnout::fetch {
namespace {

// Bytes up to a place; then the end, an end that comes too early, or nothing more.
bool silence_is_over = false;  // what is silent ends with it

class Bytes final : public http::BodyReader {
public:
    enum class Then { End, Cut, Silence };
    Bytes(Loop& loop, std::string bytes, Then then)
        : loop_(loop), bytes_(std::move(bytes)), then_(then) {}
    Task<Result<std::string>> read() override {
        if (!bytes_.empty()) {
            std::string piece = bytes_.substr(0, 100'000);
            bytes_.erase(0, piece.size());
            co_return piece;
        }
        if (then_ == Then::Silence)
            while (!silence_is_over) co_await loop_.sleep(5ms);
        if (then_ != Then::End) co_return fail(Code::Unavailable, "Cut", "the test cuts it");
        co_return std::string();
    }

private:
    Loop& loop_;
    std::string bytes_;
    Then then_;
};

std::string content(std::size_t size) {
    std::string bytes(size, '\0');
    std::uint32_t state = 1;
    for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return bytes;
}

class FetcherTest : public testing::Test {
protected:
    struct File {
        std::string bytes, etag = "\"v1\"";
        bool ranges = true, sized = true;
    };

    FetcherTest() {
        std::string name = std::filesystem::temp_directory_path() / "turnout-fetch-XXXXXX";
        folder = ::mkdtemp(name.data());
        auto opened = open_blobs(store, clock, random, loop, folder + "/blobs");
        EXPECT_TRUE(opened);
        blobs = std::move(*opened);
        auto listening = http::listen_plain(
            loop, "127.0.0.1:0",
            [this](const http::Request& request, http::BodyReader&) { return serve(request); });
        EXPECT_TRUE(listening);
        listener = std::move(*listening);
        settings.folder = folder + "/fetching";
        settings.first_pause = 1ms;
        settings.fresh = settings.failed = Span{};
        settings.stall = 60s;
        allow = {listener->address()};
        settings.client = [this]() -> Result<std::unique_ptr<http::Client>> {
            std::vector<Allowed> allowed;
            for (const auto& text : allow) allowed.push_back(*Allowed::parse(text));
            http::ClientOptions options;
            options.may_connect = [reach = Reach(allowed)](
                                      const std::string& host, std::uint16_t port,
                                      std::string_view ip) { return reach.check(host, port, ip); };
            return http::make_client(loop, std::move(options));
        };
        restart();
    }
    ~FetcherTest() override {
        fetcher.reset();
        silence_is_over = true;
        loop.run(loop.sleep(50ms));
        silence_is_over = false;
        std::filesystem::remove_all(folder);
    }

    void restart() { fetcher = std::make_unique<Fetcher>(loop, clock, *blobs, settings); }

    // What an origin does: files with ETags, ranges, and what a test adds to that.
    Task<http::Response> serve(const http::Request& request) {
        asked.push_back(request.target + (request.headers.has("Range")
                                              ? " " + std::string(request.headers.get("Range"))
                                              : std::string()));
        if (request.headers.has("Authorization")) asked.emplace_back("a credential");
        http::Response response;
        if (const auto moved = redirects.find(request.path); moved != redirects.end()) {
            response.status = 302;
            response.headers.set("Location", moved->second);
            co_return response;
        }
        if (const auto answer = answers.find(request.target); answer != answers.end()) {
            response.body = answer->second;
            co_return response;
        }
        const auto found = files.find(request.path);
        if (found == files.end()) {
            response.status = missing;
            co_return response;
        }
        const File& file = found->second;
        response.headers.set("ETag", file.etag);
        if (!file.etag.empty() && request.headers.get("If-None-Match") == file.etag) {
            response.status = 304;
            co_return response;
        }
        std::string bytes = file.bytes;
        const std::string_view range = request.headers.get("Range");
        if (!range.empty() && file.ranges) {
            if (request.headers.has("If-Match") && request.headers.get("If-Match") != file.etag &&
                checks_match) {
                response.status = 412;
                co_return response;
            }
            const auto from =
                static_cast<std::size_t>(*parse_whole_number(range.substr(6, range.size() - 7)));
            response.status = 206;
            response.headers.set("Content-Range", "bytes " + std::to_string(from) + "-" +
                                                      std::to_string(bytes.size() - 1) + "/" +
                                                      std::to_string(bytes.size()));
            bytes.erase(0, from);
        }
        if (file.sized) response.length = bytes.size();
        auto then = Bytes::Then::End;
        if (cuts > 0) {
            --cuts;
            bytes.resize(bytes.size() / 2);
            then = how;
            if (on_cut) on_cut();
        }
        response.stream = std::make_unique<Bytes>(loop, std::move(bytes), then);
        co_return response;
    }

    std::string url(const std::string& path) const {
        return "http://" + listener->address() + path;
    }

    FetchState fetch(const std::string& address, const std::string& type = "uri_file",
                     const std::string& asker = "job/1") {
        const auto source = parse_source(address);
        EXPECT_TRUE(source) << source.error().message;
        const auto as_folder = is_folder(*source, type);
        EXPECT_TRUE(as_folder) << as_folder.error().message;
        return ask(*source, *as_folder, asker);
    }
    // Asks until it is no longer on its way, or says that; for a minute at most.
    FetchState ask(const Source& source, bool as_folder, const std::string& asker,
                   const std::string& enough = "\1") {
        const Span end = clock.since_boot() + 60s;
        while (true) {
            FetchState state = loop.run(fetcher->ask("abc", asker, source, as_folder, 20ms));
            if (state.kind != FetchState::Kind::Working) return state;
            texts.push_back(state.text);
            if (state.text.find(enough) != std::string::npos) return state;
            if (clock.since_boot() > end) {
                ADD_FAILURE() << "after a minute: " << state.text;
                return state;
            }
        }
    }
    // The bytes, or why there are none.
    std::string bytes_of(const FetchState& state) {
        if (state.kind != FetchState::Kind::Ready) return "error: " + state.error.message;
        auto read = blobs->read_all(state.place.container, state.place.prefix, 100 << 20);
        return read ? *read : read.error().message;
    }

    AsioLoop loop;
    PosixClock clock;
    PosixRandom random;
    MemoryStore store{loop};
    std::string folder;
    std::unique_ptr<Blobs> blobs;
    std::unique_ptr<http::Listener> listener;
    FetchSettings settings;
    std::unique_ptr<Fetcher> fetcher;

    std::vector<std::string> allow;
    std::map<std::string, File> files;
    std::map<std::string, std::string> redirects, answers;
    int missing = 404, cuts = 0;
    Bytes::Then how = Bytes::Then::Cut;
    bool checks_match = true;
    std::function<void()> on_cut;
    std::vector<std::string> asked, texts;
};

TEST_F(FetcherTest, AFileComesOnceAndIsAskedForAgain) {
    files["/a.csv"].bytes = "x,y\n";
    const FetchState first = fetch(url("/a.csv"));
    EXPECT_EQ(bytes_of(first), "x,y\n");
    EXPECT_EQ(first.place.container, "abc-fetched");
    EXPECT_TRUE(first.place.prefix.ends_with("/a.csv"));
    EXPECT_EQ(bytes_of(fetch(url("/a.csv"))), "x,y\n");
    files["/a.csv"] = {"new\n", "\"v2\""};
    EXPECT_EQ(bytes_of(fetch(url("/a.csv"))), "new\n");
    EXPECT_EQ(asked.size(), 3u);
}

TEST_F(FetcherTest, WhatIsFreshIsNotAskedFor) {
    settings.fresh = std::chrono::hours(1);
    restart();
    files["/a"].bytes = "x";
    for (int i = 0; i < 5; ++i) EXPECT_EQ(bytes_of(fetch(url("/a"))), "x");
    EXPECT_EQ(asked.size(), 1u);
}

TEST_F(FetcherTest, ManyWhoWantTheSameShareIt) {
    files["/a"].bytes = content(3 << 20);
    const Source source = *parse_source(url("/a"));
    int ready = 0;
    for (int i = 0; i < 20; ++i)
        start(fetcher->ask("abc", "job/" + std::to_string(i), source, false, 60s),
              [&](FetchState state) { ready += state.kind == FetchState::Kind::Ready ? 1 : 0; });
    ASSERT_TRUE(run_until_told(loop, [&] { return ready == 20; }));
    EXPECT_EQ(asked.size(), 1u);
}

TEST_F(FetcherTest, ACutConnectionGoesOnWhereItWas) {
    files["/a"].bytes = content(5'000'000);
    cuts = 3;
    EXPECT_TRUE(bytes_of(fetch(url("/a"))) == files["/a"].bytes);
    ASSERT_EQ(asked.size(), 4u);
    EXPECT_EQ(asked[0], "/a");
    EXPECT_EQ(asked[1], "/a bytes=2500000-");
    EXPECT_EQ(asked[2], "/a bytes=3750000-");
}

TEST_F(FetcherTest, ARestartedServerGoesOnToo) {
    files["/a"].bytes = content(5'000'000);
    cuts = 1;
    // The server ends while it waits for its next try.
    settings.first_pause = std::chrono::hours(1);
    const Source source = *parse_source(url("/a"));
    {
#ifdef __SANITIZE_ADDRESS__
        const __lsan::ScopedDisabler left;  // what sleeps when a server ends is left to the system
#endif
        restart();
        const FetchState state = ask(source, false, "job/1", "again");
        ASSERT_EQ(state.kind, FetchState::Kind::Working) << state.error.message;
    }
    settings.first_pause = 1ms;
    restart();
    EXPECT_TRUE(bytes_of(fetch(url("/a"))) == files["/a"].bytes);
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_EQ(asked[1], "/a bytes=2500000-");
}

TEST_F(FetcherTest, WhatChangesInBetweenIsFetchedAnew) {
    for (const bool checks :
         {true, false}) {  // a server that knows If-Match, and one that does not
        checks_match = checks;
        const std::string path = checks ? "/a" : "/b";
        files[path].bytes = content(5'000'000);
        cuts = 1;
        on_cut = [this, path] { files[path] = {std::string(4'000'000, 'n'), "\"v2\""}; };
        EXPECT_TRUE(bytes_of(fetch(url(path))) == std::string(4'000'000, 'n'));
    }
    // Without ETags there is nothing to go on with.
    checks_match = true;
    files["/c"] = {content(5'000'000), ""};
    cuts = 1;
    on_cut = [this] { files["/c"] = {std::string(4'000'000, 'n'), ""}; };
    EXPECT_TRUE(bytes_of(fetch(url("/c"))) == std::string(4'000'000, 'n'));
    // A server that does not know ranges sends all of it.
    files["/d"] = {content(5'000'000), "\"v1\"", false};
    cuts = 1;
    on_cut = nullptr;
    EXPECT_TRUE(bytes_of(fetch(url("/d"))) == files["/d"].bytes);
}

TEST_F(FetcherTest, ASilentServerIsLeftAndAskedAgain) {
    files["/a"].bytes = content(3'000'000);
    cuts = 1;
    how = Bytes::Then::Silence;
    settings.stall = 1s;  // longer than a server that is not silent ever needs
    restart();
    EXPECT_TRUE(bytes_of(fetch(url("/a"))) == files["/a"].bytes);
    cuts = 100;
    files["/b"].bytes = "ab";
    files["/b"].etag = "";
    settings.tries = 2;
    restart();
    EXPECT_EQ(bytes_of(fetch(url("/b")))
                  .find("error: '" + url("/b") +
                        "' could not be fetched, 2 times in a row: timed out while"),
              0u);
}

TEST_F(FetcherTest, WhatIsNotThereSaysSo) {
    EXPECT_EQ(bytes_of(fetch(url("/a?sig=SECRET"))),
              "error: '" + url("/a") +
                  "?…' cannot be fetched: the server there answers 404, nothing is there");
    missing = 403;
    EXPECT_EQ(bytes_of(fetch(url("/b"))),
              "error: '" + url("/b") +
                  "' cannot be fetched: the server there answers 403, it refuses access: is the "
                  "link expired, or the data not public?");
    missing = 503;
    asked.clear();
    EXPECT_EQ(bytes_of(fetch(url("/c"))),
              "error: '" + url("/c") +
                  "' could not be fetched, 8 times in a row: the server there answers 503");
    EXPECT_EQ(asked.size(), 8u);
}

// What may pass is told to those who waited for it; a job's next attempt is another matter.
TEST_F(FetcherTest, WhatMayPassHoldsForThoseWhoWaited) {
    settings.failed = std::chrono::hours(1);
    settings.tries = 2;
    restart();
    for (const bool passes : {true, false}) {
        const std::string path = passes ? "/a" : "/b";
        files.erase(path);
        missing = passes ? 503 : 404;
        asked.clear();
        EXPECT_EQ(fetch(url(path)).error.code,
                  passes ? Code::Unavailable : Code::FailedPrecondition);
        EXPECT_EQ(fetch(url(path)).kind, FetchState::Kind::Failed) << "the same attempt asks again";
        EXPECT_EQ(asked.size(), passes ? 2u : 1u);
        files[path].bytes = "there";
        const FetchState next = fetch(url(path), "uri_file", "job/2");
        EXPECT_EQ(next.kind, passes ? FetchState::Kind::Ready : FetchState::Kind::Failed);
    }
    // The same of a folder that cannot be listed.
    const std::string list = "/c?restype=container&comp=list&prefix=data%2F",
                      address = "wasb://c@" + listener->address() + "/data";
    missing = 503;
    EXPECT_EQ(fetch(address, "uri_folder").error.code, Code::Unavailable);
    answers[list] =
        "<EnumerationResults><Blobs><Blob><Name>data/x</Name><Properties><Content-Length>1</"
        "Content-Length></Properties></Blob></Blobs></EnumerationResults>";
    files["/c/data/x"].bytes = "x";
    EXPECT_EQ(fetch(address, "uri_folder", "job/2").kind, FetchState::Kind::Ready);
}

TEST_F(FetcherTest, WhatIsTooLargeIsNotTaken) {
    settings.limit = 1'000'000;
    restart();
    files["/a"].bytes = content(1'000'001);
    const std::string said = bytes_of(fetch(url("/a")));
    EXPECT_NE(said.find("--fetch-limit"), std::string::npos) << said;
    files["/b"] = {content(2'000'000), "\"v1\"", true, false};  // nobody says how much comes
    EXPECT_NE(bytes_of(fetch(url("/b"))).find("--fetch-limit"), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(folder + "/fetching"));
}

TEST_F(FetcherTest, RedirectionsAreFollowedToWhereItIsAllowed) {
    files["/a"].bytes = "x";
    redirects["/to"] = "/a";
    EXPECT_EQ(bytes_of(fetch(url("/to"))), "x");
    redirects["/local"] = "http://127.0.0.2:" + std::to_string(1) + "/";
    EXPECT_EQ(bytes_of(fetch(url("/local")))
                  .find("error: 127.0.0.2 is a loopback address, and the server fetches nothing "
                        "from there"),
              0u);
    redirects["/cloud"] = "http://169.254.169.254/metadata/instance";
    EXPECT_EQ(
        bytes_of(fetch(url("/cloud")))
            .find(
                "error: 169.254.169.254 is the address where clouds serve a machine's credentials"),
        0u);
    redirects["/file"] = "file:///etc/passwd";
    EXPECT_NE(bytes_of(fetch(url("/file"))).find("neither https nor http"), std::string::npos);
    redirects["/round"] = "/round";
    EXPECT_NE(bytes_of(fetch(url("/round"))).find("redirection in a row"), std::string::npos);
    redirects["/nowhere"] = "";
    EXPECT_NE(bytes_of(fetch(url("/nowhere"))).find("redirects to nowhere"), std::string::npos);
}

TEST_F(FetcherTest, ACopyIsAskedInsteadAlsoAfterARedirection) {
    const std::string copy = "http://" + listener->address() + "/copy";
    settings.mirrors = {*Mirror::parse("https://far.example.invalid/sets=" + copy)};
    restart();
    files["/copy/a.csv"].bytes = "of the copy";
    redirects["/moved"] = "https://far.example.invalid/sets/a.csv";
    EXPECT_EQ(bytes_of(fetch("https://far.example.invalid/sets/a.csv")), "of the copy");
    EXPECT_EQ(bytes_of(fetch("http://" + listener->address() + "/moved")), "of the copy");
}

TEST_F(FetcherTest, NothingIsFetchedFromThisMachineUnlessAllowed) {
    allow.clear();
    files["/a"].bytes = "x";
    EXPECT_EQ(bytes_of(fetch(url("/a"))).find("error: 127.0.0.1 is a loopback address"), 0u);
    EXPECT_EQ(bytes_of(fetch("http://localhost:" + listener->address().substr(10) + "/a"))
                  .find("error: localhost ("),
              0u);
    EXPECT_TRUE(asked.empty());
}

std::string listing(const std::vector<std::pair<std::string, std::string>>& blobs,
                    const std::string& next = "") {
    std::string xml = "<EnumerationResults><Blobs>";
    for (const auto& [name, bytes] : blobs)
        xml += "<Blob><Name>" + xml_escape(name) +
               "</Name><Properties><Etag>v1</Etag><Content-Length>" + std::to_string(bytes.size()) +
               "</Content-Length></Properties></Blob>";
    return xml + "</Blobs><NextMarker>" + next + "</NextMarker></EnumerationResults>";
}

TEST_F(FetcherTest, AFolderOfStorageIsWhatItsListingSays) {
    const std::string list = "/c?restype=container&comp=list&prefix=data%2F";
    answers[list] = listing({{"data/", ""}, {"data/a b.csv", "one"}}, "m1");
    answers[list + "&marker=m1"] = listing({{"data/x/y.csv", "two!"}});
    files["/c/data/a%20b.csv"].bytes = "one";
    files["/c/data/x/y.csv"].bytes = "two!";
    const std::string address = "wasb://c@" + listener->address() + "/data";
    const FetchState state = fetch(address, "uri_folder");
    ASSERT_EQ(state.kind, FetchState::Kind::Ready) << state.error.message;
    EXPECT_EQ(*blobs->read_all("abc-fetched", state.place.prefix + "a b.csv", 100), "one");
    EXPECT_EQ(*blobs->read_all("abc-fetched", state.place.prefix + "x/y.csv", 100), "two!");
    EXPECT_EQ(asked.size(), 4u);
    // Only what is new is fetched, and what is gone is removed.
    answers[list] = listing({{"data/a b.csv", "one"}, {"data/z", "three"}});
    files["/c/data/z"].bytes = "three";
    ASSERT_EQ(fetch(address, "uri_folder").kind, FetchState::Kind::Ready);
    EXPECT_EQ(asked.size(), 6u);
    EXPECT_FALSE(blobs->head("abc-fetched", state.place.prefix + "x/y.csv")->has_value());
    // A name that would leave the folder, and a folder that is empty.
    answers[list] = listing({{"data/../../x", "one"}});
    EXPECT_EQ(fetch(address, "uri_folder").kind, FetchState::Kind::Failed);
    answers[list] = listing({});
    EXPECT_EQ(bytes_of(fetch(address, "uri_folder")),
              "error: 'http://" + listener->address() + "/c/data': nothing is there");
    answers[list] = "<html>";
    EXPECT_NE(bytes_of(fetch(address, "uri_folder")).find("no listing"), std::string::npos);
}

TEST_F(FetcherTest, ItSaysHowFarItIs) {
    files["/a"].bytes = content(4'000'000);
    cuts = 1;
    how = Bytes::Then::Silence;
    const std::string where = url("/a?sig=SECRET");
    EXPECT_EQ(ask(*parse_source(where), false, "job/1", "1.9 MiB of 3.8 MiB").kind,
              FetchState::Kind::Working);
    silence_is_over = true;  // it is cut, and fetched to its end
    EXPECT_EQ(fetch(where).kind, FetchState::Kind::Ready);
    ASSERT_FALSE(texts.empty());
    for (const auto& text : texts) EXPECT_EQ(text.find("SECRET"), std::string::npos);
}

}  // namespace
}  // namespace turnout::fetch
