#include <gtest/gtest.h>

#include <cmath>

#include "api/mlflow/test_server.h"
#include "api/portal/page.h"
#include "api/studio_link.h"

namespace turnout::api {
namespace {

using live::Reply;
using live::TestServer;

portal::PageData sample() {
    portal::PageData data;
    data.job.name = "job-1";
    data.job.meta.display_name = "<script>alert(1)</script>";
    data.job.meta.tags = Json::object({{"<i>", "\"><img src=x onerror=alert(1)>"}});
    data.job.status = JobStatus::Failed;
    data.job.created = Instant{1'700'000'000'000'000};
    data.job.ended = data.job.created + 90s;
    data.job.error_message = "exit <code> 1";
    data.job.cause = agent_protocol::Cause::UserCode;
    data.run = Run{};
    data.run->latest = {{"loss</svg>", 0.25, 2, 2}};
    data.run->params = Json::object({{"lr", "<0.1>"}});
    data.histories = {{"loss</svg>",
                       {{"loss</svg>", 1, 1, 1},
                        {"loss</svg>", std::nan(""), 1, 1},
                        {"loss</svg>", 0.25, 2, 2}}}};
    data.artifacts = {{"outputs/a\"b.png", 10}, {"model/weights", 2'000'000}};
    data.log_tail = "\x1b[31mred\x1b[0m </pre> 10%\r20%\rdone\n";
    data.log_length = data.log_tail.size();
    data.base = "/studio/jobs/0123456789ab/job-1";
    data.query = "?se=1&sig=a";
    data.now = data.job.created + 100s;
    return data;
}

TEST(Page, EverythingFromOutsideIsEscaped) {
    const std::string page = portal::render_page(sample(), "nonce");
    for (const char* bad : {"<script>alert", "<img src=x", "<code>", "<0.1>", "loss</svg>",
                            "</pre> 10", "a\"b.png", "\x1b", "onerror=alert(1)>"})
        EXPECT_EQ(page.find(bad), std::string::npos) << bad;
    EXPECT_NE(page.find("&lt;script&gt;alert(1)"), std::string::npos);
    EXPECT_NE(page.find("done\n"), std::string::npos);
    EXPECT_NE(page.find("/artifact/outputs/a%22b.png?se=1&amp;sig=a"), std::string::npos);
    EXPECT_EQ(page.find("http"), std::string::npos);      // loads nothing from anywhere
    EXPECT_EQ(page.find("style=\""), std::string::npos);  // its policy forbids it
}

TEST(Page, TextOfTerminalsIsPlain) {
    EXPECT_EQ(portal::plain_text("a\r\nb"), "a\nb");
    EXPECT_EQ(portal::plain_text("1%\r2%\r3%\nx"), "3%\nx");
    EXPECT_EQ(portal::plain_text("\x1b[1;32mok\x1b[0m\x07\t."), "ok\t.");
    EXPECT_EQ(portal::plain_text("end\x1b["), "end");
}

TEST(Page, ChartsSurviveAnyNumbers) {
    const auto chart = [](std::vector<double> values) {
        std::vector<Metric> points;
        for (std::size_t i = 0; i < values.size(); ++i)
            points.push_back(
                {"m", values[i], static_cast<std::int64_t>(i), static_cast<std::int64_t>(i)});
        return portal::line_chart(points);
    };
    EXPECT_EQ(chart({}), "");
    EXPECT_EQ(chart({std::nan(""), INFINITY}), "");
    for (const auto& values : {std::vector<double>{1},
                               {5, 5, 5},
                               {-1.7e308, 1.7e308},
                               {1, NAN, 3},
                               std::vector<double>(5000, 2.0)}) {
        const std::string svg = chart(values);
        EXPECT_NE(svg.find("polyline"), std::string::npos);
        EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
        EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
        EXPECT_LT(svg.size(), 10'000u);
    }
}

TEST(Portal, APageBehindASignedLink) {
    TestServer server;
    server.put_job("job-1");
    server.append("job-1", 0, "epoch 1 <done>\n");
    LogBatch batch;
    batch.metrics = {{"loss", 2, 1, 1}, {"loss", 1, 2, 2}};
    ASSERT_TRUE(server.loop.run(server.tracking.log(server.workspace.id, "job-1", batch)));
    BlobPut put;
    put.container = artifact_container(server.workspace.id);
    for (const char* name : {"plot.png", "drawing.svg", "page.html"}) {
        put.name = "ExperimentRun/dcid.job-1/outputs/" + std::string(name);
        ASSERT_TRUE(server.loop.run(server.blobs->put_bytes(put, "<b>bytes</b>")));
    }
    const std::string link = sign_studio_link(server.authority->link_key(), server.workspace.id,
                                              "job-1", server.clock.now());
    const Reply page = server.send("GET", link);
    EXPECT_EQ(page.status, 200);
    EXPECT_NE(page.body.find("epoch 1 &lt;done&gt;"), std::string::npos);
    EXPECT_NE(page.body.find("polyline"), std::string::npos);
    EXPECT_NE(page.body.find("outputs/plot.png"), std::string::npos);
    EXPECT_NE(page.headers.get("Content-Security-Policy").find("default-src 'none'"),
              std::string::npos);
    EXPECT_EQ(page.headers.get("Referrer-Policy"), "no-referrer");

    const std::string query = link.substr(link.find('?'));
    const std::string base = link.substr(0, link.find('?'));
    const Json live = server.send("GET", base + "/data" + query).json();
    EXPECT_FALSE(live.at("terminal").as_bool());
    EXPECT_NE(live.at("fragments").at("header").as_view().find("Running"), std::string::npos);
    EXPECT_EQ(server.send("GET", base + "/log" + query + "&offset=8").body, "<done>\n");
    EXPECT_EQ(
        server.send("GET", base + "/artifact/outputs/plot.png" + query).headers.get("Content-Type"),
        "image/png");
    put.name = "ExperimentRun/dcid.job-1/outputs/metrics.json";
    ASSERT_TRUE(server.loop.run(server.blobs->put_bytes(put, "<b>bytes</b>")));
    const Reply words = server.send("GET", base + "/artifact/outputs/metrics.json" + query);
    EXPECT_EQ(words.headers.get("Content-Type"), "text/plain; charset=utf-8");
    EXPECT_EQ(words.headers.get("X-Content-Type-Options"), "nosniff");
    EXPECT_NE(words.headers.get("Content-Security-Policy").find("sandbox"), std::string::npos);
    for (const char* name : {"drawing.svg", "page.html"}) {  // never runs on this origin
        const Reply file = server.send("GET", base + "/artifact/outputs/" + name + query);
        EXPECT_EQ(file.status, 200);
        EXPECT_TRUE(file.headers.get("Content-Disposition").starts_with("attachment")) << name;
        EXPECT_NE(file.headers.get("Content-Security-Policy").find("sandbox"), std::string::npos);
        EXPECT_NE(file.headers.get("Content-Type"), "text/html");
    }

    server.put_job("job-2");
    for (const char* path : {"", "/data", "/log", "/artifact/outputs/plot.png"}) {
        EXPECT_EQ(server.send("GET", base + path).status, 401) << path;
        std::string other = base + path + query;
        other.replace(other.find("job-1"), 5, "job-2");
        EXPECT_EQ(server.send("GET", other).status, 403) << path;
    }
    EXPECT_EQ(server.send("GET", base + "/artifact/..%2f..%2fx" + query).status, 400);
    EXPECT_EQ(server.send("GET", base + "/artifact/none" + query).status, 404);
}

TEST(Portal, TheAddressOfTheServerIsAPageThatTellsTheWay) {
    TestServer server;
    for (const char* path : {"/", "/studio"}) {
        const auto page = server.send("GET", path);
        EXPECT_EQ(page.status, 200) << path;
        EXPECT_NE(page.body.find("turnout job show -n NAME --web"), std::string::npos);
        EXPECT_NE(page.headers.get("Content-Security-Policy").find("default-src 'none'"),
                  std::string::npos);
    }
    EXPECT_EQ(server.send("GET", "/nothing").status, 404);
}

}  // namespace
}  // namespace turnout::api
