#include <gtest/gtest.h>

#include <cmath>
#include <set>

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

// Reads it as a browser that forgives nothing: every tag and attribute is one of ours, in double
// quotes, and closed in order. "" or what is wrong.
std::string fault_of(std::string_view page) {
    static const std::set<std::string, std::less<>> void_tags = {
        "meta", "img", "line", "rect", "circle", "polyline", "path"};
    static const std::set<std::string, std::less<>> tags = {
        "html",    "head", "title", "style", "script", "noscript", "body",      "header", "main",
        "section", "span", "h1",    "h2",    "h3",     "dl",       "div",       "dt",     "dd",
        "p",       "b",    "pre",   "code",  "svg",    "text",     "ul",        "li",     "table",
        "tr",      "th",   "td",    "a",     "small",  "figure",   "figcaption"};
    static const std::set<std::string, std::less<>> attributes = {"charset",
                                                                  "name",
                                                                  "content",
                                                                  "nonce",
                                                                  "class",
                                                                  "id",
                                                                  "data-base",
                                                                  "data-query",
                                                                  "data-live",
                                                                  "data-terminal",
                                                                  "data-length",
                                                                  "data-path",
                                                                  "tabindex",
                                                                  "viewBox",
                                                                  "preserveAspectRatio",
                                                                  "role",
                                                                  "aria-label",
                                                                  "aria-hidden",
                                                                  "x",
                                                                  "y",
                                                                  "x1",
                                                                  "x2",
                                                                  "y1",
                                                                  "y2",
                                                                  "cx",
                                                                  "cy",
                                                                  "r",
                                                                  "rx",
                                                                  "width",
                                                                  "height",
                                                                  "points",
                                                                  "href",
                                                                  "src",
                                                                  "alt",
                                                                  "loading",
                                                                  "download",
                                                                  "d",
                                                                  "fill",
                                                                  "stroke",
                                                                  "stroke-width",
                                                                  "stroke-linecap",
                                                                  "http-equiv"};
    std::vector<std::string> open;
    std::size_t at = page.find('\n') + 1;
    const auto wrong = [&](const std::string& what) {
        return what + " at: " + std::string(page.substr(at, 120));
    };
    while ((at = page.find('<', at)) != std::string_view::npos) {
        const bool ends = page.substr(at + 1, 1) == "/";
        std::size_t p = at + 1 + ends;
        std::string tag;
        while (p < page.size() &&
               ((page[p] >= 'a' && page[p] <= 'z') || (page[p] >= '0' && page[p] <= '9')))
            tag += page[p++];
        if (!tags.contains(tag) && !void_tags.contains(tag)) return wrong("tag '" + tag + "'");
        if (ends) {
            if (open.empty() || open.back() != tag) return wrong("closes '" + tag + "'");
            open.pop_back();
            if (page.substr(p, 1) != ">") return wrong("end of '" + tag + "'");
            at = p;
            continue;
        }
        while (page.substr(p, 1) == " ") {
            std::string name;
            for (++p; p < page.size() && page[p] != '='; ++p) name += page[p];
            if (!attributes.contains(name) || page.substr(p, 2) != "=\"")
                return wrong("attribute '" + name + "'");
            p = page.find('"', p + 2);
            if (p == std::string_view::npos) return wrong("attribute without end");
            ++p;
        }
        const bool closed = page.substr(p, 2) == "/>";
        if (!closed && page.substr(p, 1) != ">") return wrong("tag without end");
        if (closed != void_tags.contains(tag) && !(tag != "img" && !closed))
            return wrong("form of '" + tag + "'");
        if (!closed) open.push_back(tag);
        at = tag == "style" || tag == "script" ? page.find("</" + tag, p) : p;
    }
    return open.empty() ? "" : "'" + open.back() + "' is not closed";
}

// Everything that can come from a user, from what runs, or from a link.
portal::PageData hostile(const std::string& evil) {
    portal::PageData data = sample();
    JobRecord& job = data.job;
    job.meta.display_name = job.meta.description = job.meta.experiment = job.compute =
        job.principal = job.child.group = job.error_message = evil;
    job.meta.tags = job.meta.properties = job.child.parameters = Json::object({{evil, evil}});
    job.definition = Json::object(
        {{"inputs",
          Json::object({{evil, Json::object({{"uri", evil}, {"jobInputType", evil}})}})}});
    JobAttempt attempt;
    attempt.placement = OnNodes{{evil}};
    attempt.detail = evil;
    attempt.leased = job.created;
    attempt.ending = agent_protocol::Ending{};
    attempt.ending->cause = agent_protocol::Cause::UserCode;
    attempt.ending->message = evil;
    attempt.ending->exit_code = 3;
    attempt.ending->last_lines = {evil};
    job.attempts = {attempt, attempt};
    data.task.command = data.task.environment.name = evil;
    data.task.environment.notices = {evil};
    data.waiting_for = evil;
    data.would_start = {evil};
    data.run->latest = {{evil, 1, 1, 1}};
    data.run->params = data.run->tags = Json::object({{evil, evil}});
    data.histories = {{evil, {{evil, 1, 1, 1}, {evil, 2, 2, 2}}}};
    data.artifacts = {{evil + ".png", 1}, {evil, 2}};
    data.outputs = {{evil, evil, evil, true, {{evil, 3}}, true}};
    data.log_path = data.log_tail = evil;
    data.log_length = 1'000;
    data.query = "?se=" + percent_encode(evil);
    portal::SweepView sweep;
    sweep.metric = sweep.best_log = sweep.best_log_path = evil;
    sweep.total = 100;
    sweep.pages = 3;
    sweep.page = 2;
    for (int i = 0; i < 5; ++i) {
        portal::TrialRow row;
        row.index = i;
        row.name = row.why = evil;
        row.link = "/studio/jobs/w/t?se=" + percent_encode(evil);  // the server's own
        row.status = i == 4 ? JobStatus::Failed : JobStatus::Completed;
        if (i < 4) row.score = i * 0.25;
        row.parameters = {{evil, evil + std::to_string(i)}, {"lr", std::to_string(i)}};
        sweep.rows.push_back(row);
    }
    sweep.sample = sweep.rows;
    sweep.best = sweep.rows[3];
    data.sweep = sweep;
    return data;
}

TEST(Page, WhatIsHostileStaysText) {
    for (const std::string evil :
         {"\"><img src=x onerror=alert(1)>", "' onclick='x", "</script><script>alert(1)</script>",
          "<!--", "]]>", "&lt;b&gt;&#60;", "\x01\x7f\xff\xc3", "javascript:alert(1)",
          "</style></title></pre></section>", "${{x}}", ""})
        for (const JobStatus status :
             {JobStatus::Failed, JobStatus::Running, JobStatus::Completed, JobStatus::Canceled}) {
            portal::PageData data = hostile(evil);
            data.job.status = status;
            const std::string page = portal::render_page(data, "nonce");
            EXPECT_EQ(fault_of(page), "") << evil;
            EXPECT_TRUE(is_utf8(page));
            for (const char* place : {"href=\"javascript:", "src=\"javascript:"})
                EXPECT_EQ(page.find(place), std::string::npos) << evil;
            const Json live = portal::live_document(data);
            EXPECT_FALSE(live.at("fragments").members().empty());
            for (const auto& [id, markup] : live.at("fragments").members())
                EXPECT_EQ(fault_of("\n" + markup.as_string()), "") << id << ": " << evil;
        }
    EXPECT_EQ(fault_of(portal::render_front("<1>", "nonce")), "");
    EXPECT_EQ(portal::render_refusal("<b>").find("<b>"), std::string::npos);
    EXPECT_NE(fault_of("\n<b onclick=\"x\">a</b>"), "") << "it does find what is foreign";
    EXPECT_NE(fault_of("\n<b>a"), "");
    EXPECT_NE(fault_of("\n<b><i></i></b>"), "");
}

TEST(Page, AnErrorStandsFirstAndWhole) {
    portal::PageData data = sample();
    data.job.error_message = std::string(5'000, 'e') + "end";
    const std::string page = portal::render_page(data, "nonce");
    const std::size_t error = page.find("<b>user_code: </b>" + data.job.error_message);
    ASSERT_NE(error, std::string::npos);
    EXPECT_LT(error, page.find("<h2"));
    EXPECT_EQ(page.find("http-equiv"), std::string::npos)
        << "it is over: nothing is to be asked for again";
    data.job.status = JobStatus::Running;
    data.job.ended.reset();
    EXPECT_NE(portal::render_page(data, "nonce").find("<noscript><meta http-equiv=\"refresh\""),
              std::string::npos);
}

TEST(Page, TimesAreOfOneZone) {
    const std::string page = portal::render_page(sample(), "nonce");
    EXPECT_NE(page.find("2023-11-14 22:13:20 UTC"), std::string::npos);
    EXPECT_NE(page.find("2023-11-14 22:14:50 UTC"), std::string::npos);
}

TEST(Page, InputsHaveTheNamesThatTheUserGave) {
    portal::PageData data = sample();
    data.job.definition = *parse_json(
        R"({"inputs":{"my data":{"jobInputType":"uri_folder","uri":"https://store/x.csv?sig=secret"},"rate":{"jobInputType":"literal","value":"0.1"}}})");
    data.task.inputs = {{"my data", "uri_folder", "ro_mount", "", {}, {}, ""}};
    const std::string page = portal::render_page(data, "nonce");
    EXPECT_NE(
        page.find("<td>my data</td><td>https://store/x.csv</td><td>uri_folder, ro_mount</td>"),
        std::string::npos);
    EXPECT_NE(page.find("<td>rate</td><td>0.1</td>"), std::string::npos);
    EXPECT_EQ(page.find("secret"), std::string::npos);
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
        return portal::line_chart(points).markup();
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

TEST(Portal, ASweepOfTenThousandTrialsIsAPageLikeAnother) {
    TestServer server;
    JobRecord sweep;
    sweep.workspace = server.workspace.id;
    sweep.name = "s";
    sweep.type = JobType::Sweep;
    sweep.status = JobStatus::Running;
    sweep.definition = *parse_json(
        R"({"jobType":"Sweep","searchSpace":{"lr":["loguniform",[-6,0]],"opt":["choice",[["sgd","adam"]]]},
        "samplingAlgorithm":{"samplingAlgorithmType":"Random","seed":7},"objective":{"goal":"maximize","primaryMetric":"acc"},
        "limits":{"maxTotalTrials":12000},"trial":{"command":"train","environmentId":"e"}})");
    sweep.sweep = {
        .created = 10'000, .completed = 9'000, .failed = 1'000, .best = 4'321, .best_score = 0.99};
    server.save(sweep);
    Json standing = *parse_json(state_text(sweep));
    standing.set("sweep", to_json(sweep.sweep));
    Batch batch;
    batch.put(Table::JobState, server.workspace.id + "/s", standing.dump());
    for (std::int64_t i = 0; i < 10'000; ++i) {
        JobState state;
        state.status = i % 10 == 9 ? JobStatus::Failed : JobStatus::Completed;
        if (state.status == JobStatus::Failed)
            state.error_message = "the command ended with exit code 1";
        Json row = *parse_json(state_text(state));
        if (state.status == JobStatus::Completed)
            row.set("score", i == 4'321 ? 0.99 : static_cast<double>(i % 97) / 100);
        batch.put(Table::JobState, server.workspace.id + "/s_" + std::to_string(i), row.dump());
    }
    ASSERT_TRUE(server.loop.run(server.store.commit(std::move(batch))));
    const std::string link = sign_studio_link(server.authority->link_key(), server.workspace.id,
                                              "s", server.clock.now());
    const Reply first = server.send("GET", link);
    ASSERT_EQ(first.status, 200) << first.body;
    EXPECT_LT(first.body.size(), 250'000u);
    EXPECT_EQ(fault_of(first.body), "");
    for (const char* shown : {"12,000 trials", "s_9999", "s_9950", "page 1 of 200",
                              "every 34th trial, and the best", ">s_4321<", "0.99", "to come"})
        EXPECT_NE(first.body.find(shown), std::string::npos) << shown;
    EXPECT_EQ(first.body.find("s_9949<"), std::string::npos);
    const Reply last = server.send("GET", link + "&page=200");
    EXPECT_NE(last.body.find(">s_49<"), std::string::npos);
    EXPECT_NE(last.body.find(">s_0<"), std::string::npos);
    EXPECT_EQ(server.send("GET", link + "&page=7000").status, 200);
    EXPECT_EQ(server.send("GET", link + "&page=x").status, 200);
    // A trial's link is as good as the sweep's, for as long and for that trial.
    const std::size_t at = first.body.find("/studio/jobs/" + server.workspace.id + "/s_9999?");
    ASSERT_NE(at, std::string::npos);
    std::string trial = first.body.substr(at, first.body.find('"', at) - at);
    replace_all(trial, "&amp;", "&");
    EXPECT_EQ(trial.substr(trial.find("se="), 13), link.substr(link.find("se="), 13));
    EXPECT_EQ(server.send("GET", trial).status, 404) << "allowed; this test made no such job";
    std::string other = trial;
    replace_all(other, "s_9999", "s_9998");
    EXPECT_EQ(server.send("GET", other).status, 403);
    const Json live =
        server.send("GET", link.substr(0, link.find('?')) + "/data" + link.substr(link.find('?')))
            .json();
    EXPECT_EQ(live.at("log").as_view(), "azureml-logs/hyperdrive.txt");
    EXPECT_LT(live.dump().size(), 250'000u);
}

TEST(Portal, TheAddressOfTheServerIsAPageThatTellsTheWay) {
    TestServer server;
    // The last one is what MLflow's clients print, before '#'.
    for (const std::string& path : {std::string("/"), std::string("/studio"),
                                    "/mlflow/v1.0/subscriptions/s/resourceGroups/r/providers/"
                                    "Microsoft.MachineLearningServices/workspaces/" +
                                        server.workspace.name + "/"}) {
        const auto page = server.send("GET", path);
        EXPECT_EQ(page.status, 200) << path;
        EXPECT_NE(page.body.find("turnout job show -n <span id=\"run\">NAME</span> --web"),
                  std::string::npos);
        EXPECT_NE(page.headers.get("Content-Security-Policy").find("default-src 'none'"),
                  std::string::npos);
    }
    EXPECT_EQ(server.send("GET", "/nothing").status, 404);
}

}  // namespace
}  // namespace turnout::api
