#include <algorithm>
#include <cmath>

#include "api/mlflow/test_server.h"
#include "api/studio/line_index.h"
#include "api/studio/pack.h"
#include "api/studio/series.h"
#include "api/studio_link.h"
#include "base/text.h"

namespace turnout::api::studio {
namespace {

using live::TestServer;

constexpr std::string_view kImage =
    "turnout-portal 1\n"
    "index.html\ttext/html; charset=utf-8\tabc\tplain\t26\n"
    "static/a-1.js\ttext/javascript\t0123456789abcdef0123456789abcdef01\tgzip\t4\n"
    "\n"
    "<p nonce=\"__NONCE__\"></p>\nGZIP";

TEST(PortalPack, ItsFilesAreFound) {
    const auto pack = Pack::parse(kImage);
    ASSERT_TRUE(pack) << pack.error().message;
    EXPECT_EQ(pack->index().bytes, "<p nonce=\"__NONCE__\"></p>\n");
    const PackedFile* const file = pack->find("static/a-1.js");
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->gzip);
    EXPECT_EQ(file->bytes, "GZIP");
    EXPECT_FALSE(pack->find("static/b.js"));
    const auto none = Pack::parse("");
    ASSERT_TRUE(none);
    EXPECT_TRUE(none->empty());
}

TEST(PortalPack, WhatIsNoneIsRefusedWithItsLine) {
    const std::string whole(kImage);
    for (const auto& [what, why] : std::vector<std::pair<std::string, std::string>>{
             {whole.substr(0, 40), "an empty line"},
             {"turnout-portal 2\n\n", "expected 'turnout-portal 1'"},
             {whole.substr(0, whole.size() - 1), "no more than 3 bytes"},
             {whole + "x", "1 bytes belong to no file"},
             {"turnout-portal 1\na\tb\n\n", "line 2: expected five parts"},
             {"turnout-portal 1\na\tb\tc\tzip\t0\n\n", "expected 'gzip' or 'plain'"},
             {"turnout-portal 1\na\tb\tc\tgzip\t0\n\n", "expected index.html"}}) {
        const auto pack = Pack::parse(what);
        ASSERT_FALSE(pack) << what;
        EXPECT_NE(pack.error().message.find(why), std::string::npos) << pack.error().message;
    }
}

TEST(LineIndexTest, EachLineIsInTheBlockThatIsNamed) {
    std::string log;
    std::vector<std::size_t> begins = {0};
    for (int i = 0; i < 20'000; ++i) {
        log += "line " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 23), '.') +
               (i == 7'000 ? std::string(200'000, 'x') : "") + "\n";
        begins.push_back(log.size());
    }
    log += "the last one";
    LineIndex index;
    for (std::size_t at = 0; at < log.size(); at += 10'007)
        index.add(std::string_view(log).substr(at, 10'007));
    EXPECT_EQ(index.length(), log.size());
    EXPECT_EQ(index.lines(), 20'001u);
    std::uint64_t ended = 0;  // before the block of the line before
    std::size_t counted = 0;
    for (std::size_t line = 0; line < begins.size(); ++line) {
        const LineIndex::Place place = index.before_line(line);
        ASSERT_LE(place.byte, begins[line]) << line;
        for (; counted < place.byte; ++counted) ended += log[counted] == '\n' ? 1 : 0;
        ASSERT_EQ(ended, place.line);
        // No more than one block is read for it, but for the line in which the block begins.
        if (line < 7'000) {
            ASSERT_LE(begins[line] - place.byte, LineIndex::kBlock) << line;
        }
    }
    EXPECT_EQ(index.before_byte(LineIndex::kBlock + 5).byte, LineIndex::kBlock);
    EXPECT_EQ(LineIndex().before_line(5).byte, 0u);
    EXPECT_EQ(LineIndex().lines(), 0u);
}

TEST(CourseTest, NoPeakIsLostAndWhatIsNoNumberIsCounted) {
    std::vector<Metric> points;
    for (int i = 0; i < 100'000; ++i) points.push_back({"m", std::sin(i / 1000.0), 1000 + i, i});
    points[54'321].value = 99;
    points[11].value = std::nan("");
    points[12].value = HUGE_VAL;
    const Json course = course_of(points, {}, 500);
    EXPECT_EQ(course.at("points").as_int(), 100'000);
    EXPECT_EQ(course.at("notNumbers").as_int(), 2);
    EXPECT_EQ(course.at("step").items().size(), 500u);
    double most = 0;
    for (const Json& value : course.at("max").items()) most = std::max(most, value.as_double());
    EXPECT_EQ(most, 99);
    // Near enough there are no buckets: each point is as it was logged.
    const Json near = course_of(points, {54'300, 54'400}, 500);
    EXPECT_EQ(near.at("last").items().size(), 101u);
    EXPECT_TRUE(near.at("max").is_null());
    EXPECT_EQ(near.at("last").items()[21].as_double(), 99);
    EXPECT_EQ(course_of({}, {}, 500).at("shown").as_int(), 0);
}

struct Page {
    explicit Page(TestServer& server, const std::string& name) {
        link = sign_studio_link(server.authority->link_key(), server.workspace.id, name,
                                server.clock.now());
    }
    std::string at(const std::string& part, const std::string& query = "") const {
        const std::size_t mark = link.find('?');
        return link.substr(0, mark) + "/" + part + link.substr(mark) +
               (query.empty() ? "" : "&" + query);
    }
    std::string link;
};

TEST(Studio, ALinkOpensOneJobAndAddsNothingToItself) {
    TestServer server;
    server.put_job("one");
    server.put_job("two");
    const Page page(server, "one");
    const auto document = server.send("GET", page.at("document"));
    ASSERT_EQ(document.status, 200) << document.body;
    EXPECT_EQ(document.json().at("reader").as_view(), "link");
    EXPECT_EQ(document.json().at("job").at("name").as_view(), "one");
    EXPECT_EQ(document.body.find("sig="), std::string::npos) << "no link that holds longer";
    for (const char* const part : {"document", "lines", "search", "series"}) {
        std::string other = page.at(part, "q=x&key=m");
        replace_all(other, "/one", "/two");
        EXPECT_EQ(server.send("GET", other).status, 403) << part;
        EXPECT_EQ(server.send("GET", other.substr(0, other.find('?'))).status, 401) << part;
        EXPECT_EQ(server.send("POST", page.at(part)).status, 405) << part;
    }
    const auto own = server.send("GET", "/studio/jobs/" + server.workspace.id + "/one/document", "",
                                 server.user);
    EXPECT_EQ(own.json().at("reader").as_view(), "session");
}

TEST(Studio, ALogByLinesAndASearchInIt) {
    TestServer server;
    server.put_job("one");
    std::string text;
    for (int i = 1; i <= 3'000; ++i)
        text += "line " + std::to_string(i) + (i % 100 == 0 ? " Needle" : "") + "\n";
    text += "half";
    server.append("one", 0, text);
    const Page page(server, "one");
    const Json tail = server.send("GET", page.at("lines", "tail=2")).json();
    EXPECT_EQ(tail.at("total").as_int(), 3'001);
    EXPECT_EQ(tail.at("first").as_int(), 3'000);
    EXPECT_EQ(tail.at("lines").items().back().as_view(), "half");
    const Json middle = server.send("GET", page.at("lines", "line=1500&count=3")).json();
    ASSERT_EQ(middle.at("lines").items().size(), 3u);
    EXPECT_EQ(middle.at("lines").items()[0].as_view(), "line 1500 Needle");
    EXPECT_TRUE(
        server.send("GET", page.at("lines", "line=9000")).json().at("lines").items().empty());
    EXPECT_EQ(server.send("GET", page.at("lines", "line=none")).status, 400);
    const Json found = server.send("GET", page.at("search", "q=needle&limit=20")).json();
    ASSERT_EQ(found.at("matches").items().size(), 20u);
    EXPECT_EQ(found.at("matches").items()[1].at("line").as_int(), 200);
    const Json rest =
        server
            .send("GET",
                  page.at("search", "q=needle&after=" + std::to_string(found.at("next").as_int())))
            .json();
    EXPECT_EQ(rest.at("matches").items().size(), 10u);
    EXPECT_TRUE(rest.at("next").is_null());
    EXPECT_TRUE(server.send("GET", page.at("search", "q=needle&case=true"))
                    .json()
                    .at("matches")
                    .items()
                    .empty());
    EXPECT_EQ(server.send("GET", page.at("search")).status, 400);
}

TEST(Studio, ThePortalIsServedWhereItIsCarried) {
    TestServer server;
    server.put_job("one");
    const Page page(server, "one");
    EXPECT_EQ(server.send("GET", "/studio/compute").status, 404) << "a build without it";
    EXPECT_NE(server.send("GET", page.link).body.find("<h1>"), std::string::npos);
    const Pack pack = *Pack::parse(kImage);
    server.services.portal = &pack;
    for (const std::string& path : {std::string("/studio"), std::string("/studio/jobs"),
                                    std::string("/studio/jobs/new"), page.link}) {
        const auto shell = server.send("GET", path);
        EXPECT_EQ(shell.status, 200) << path;
        const std::string policy(shell.headers.get("Content-Security-Policy"));
        const std::size_t nonce = policy.find("'nonce-") + 7;
        EXPECT_EQ(
            shell.body,
            "<p nonce=\"" + policy.substr(nonce, policy.find('\'', nonce) - nonce) + "\"></p>\n");
        EXPECT_EQ(policy.find("unsafe"), std::string::npos);
        EXPECT_NE(policy.find("frame-ancestors 'none'"), std::string::npos);
        EXPECT_EQ(shell.headers.get("X-Content-Type-Options"), "nosniff");
        EXPECT_EQ(shell.headers.get("Cache-Control"), "no-store");
    }
    std::string broken = page.link;
    broken.back() = broken.back() == 'A' ? 'B' : 'A';
    EXPECT_EQ(server.send("GET", broken).status, 403) << "told as it was";
    EXPECT_NE(server.send("GET", page.at("plain")).body.find("<h1>"), std::string::npos);
    const auto file = server.send("GET", "/studio/static/a-1.js");
    EXPECT_EQ(file.status, 200);
    EXPECT_EQ(file.headers.get("Content-Encoding"), "gzip");
    EXPECT_NE(file.headers.get("Cache-Control").find("immutable"), std::string::npos);
    const std::string tag(file.headers.get("ETag"));
    EXPECT_EQ(server.send("GET", "/studio/static/a-1.js", "", "", {{"If-None-Match", tag}}).status,
              304);
    EXPECT_EQ(
        server.send("GET", "/studio/static/a-1.js", "", "", {{"Accept-Encoding", "br"}}).status,
        406);
    EXPECT_EQ(server
                  .send("GET", "/studio/static/a-1.js", "", "",
                        {{"Accept-Encoding", "gzip;q=0, identity"}})
                  .status,
              406);
    EXPECT_EQ(server.send("GET", "/studio/static/..%2findex.html").status, 400);
    EXPECT_EQ(server.send("GET", "/studio/static/none.js").status, 404);
}

}  // namespace
}  // namespace turnout::api::studio
