"""The portal in a real browser (Debian's Chromium, driven by Playwright), against a server of this build with real
jobs: what its screens show, do and refuse, what they cost, and that none of them breaks its own rules."""
import gzip
import json
import os
import re
import shutil
import urllib.parse
from pathlib import Path

import playwright.sync_api as playwright
import pytest
import requests

from conftest import ROOT, eventually

METRICS = """import json, os, sys, time, urllib.request
def log(key, value, step=0):
    body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": key, "value": value, "timestamp": 1000 + step, "step": step}
    urllib.request.urlopen(urllib.request.Request(
        os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}))
"""
# Prints a line whenever somebody appends a number to its file, so that a test says when.
TALK = """import os, sys, time
at = 0
while True:
    words = open(sys.argv[1]).read().split() if os.path.exists(sys.argv[1]) else []
    for word in words[at:]:
        if word == "end": sys.exit(0)
        for i in range(int(word)): print(f"line {i} of {at}", flush=i % 100 == 99)
        sys.stdout.flush()
        at += 1
    time.sleep(0.02)
"""
SCREENS = ["", "jobs", "jobs/new", "compute", "compute?new=1", "compute/cpu", "targets", "assets/data", "assets/models", "assets/models/weights",
           "assets/environments", "assets/components", "assets/datastores", "endpoints", "schedules", "activity", "activity?tab=audit", "people",
           "people?tab=roles", "people?tab=tokens", "people?tab=quotas", "settings", "compare?jobs=good,bad",
           "jobs/{ws}/good", "jobs/{ws}/good?tab=log", "jobs/{ws}/good?tab=metrics", "jobs/{ws}/good?tab=outputs", "jobs/{ws}/good?tab=definition",
           "jobs/{ws}/good?tab=events", "jobs/{ws}/bad", "jobs/{ws}/sweep", "jobs/{ws}/pipe"]


@pytest.fixture(scope="module")
def filled(module_server, tmp_path_factory):
    """A server on which one job of each kind has ended."""
    server, folder = module_server, tmp_path_factory.mktemp("portal")
    server.turnout("up", "--detach", "--slots", "6")  # so that no job waits for a node that is idle elsewhere
    server.turnout("compute", "create", "-n", "cpu", "--type", "AmlCompute", "--size", "STANDARD_A1_V2", "--max-instances", "2", "-o", "none")
    (folder / "train.py").write_text(METRICS + """
rate = float(sys.argv[1])
for step in range(30): log("loss", rate / (step + 1), step)
log("odd", float("nan")); log("odd", float("inf"), 1); log("odd", 1e300, 2)
os.makedirs("outputs", exist_ok=True)
open("outputs/report.json", "w").write('{"loss": %g}' % rate)
open("outputs/evil.html", "w").write("<script>document.title = 'evil'</script>")
for i in range(1000): print("\\r%d%%" % (i // 10), end="")
print("\\n\\x1b[31mred\\x1b[0m <img src=x onerror=\\"document.title='evil'\\"> \\x1b]8;;http://evil.example\\x07click\\x1b]8;;\\x07")
""")
    common = {"environment": {"image": "debian:12"}, "compute": "azureml:cpu", "experiment_name": "portal"}
    jobs = {
        "good": {"type": "command", "code": str(folder), "command": "python3 train.py ${{inputs.rate}}", "inputs": {"rate": 0.5}, "tags": {"team": "vision"}, **common},
        "bad": {"type": "command", "command": "echo reading; echo no such column; exit 3", **common},
        "sweep": {"type": "sweep", "trial": {"code": str(folder), "command": "python3 train.py ${{search_space.rate}}", "environment": {"image": "debian:12"}},
                  "compute": "azureml:cpu", "experiment_name": "portal", "sampling_algorithm": "random", "search_space": {"rate": {"type": "uniform", "min_value": 0.1, "max_value": 1}},
                  "objective": {"goal": "minimize", "primary_metric": "loss"}, "limits": {"max_total_trials": 4, "max_concurrent_trials": 2}},
        "pipe": {"type": "pipeline", "experiment_name": "portal", "settings": {"default_compute": "azureml:cpu"}, "jobs": {
            "first": {"command": "echo 1 > ${{outputs.out}}/x", "environment": {"image": "debian:12"}, "outputs": {"out": {"type": "uri_folder"}}},
            "second": {"command": "cat ${{inputs.in}}/x", "environment": {"image": "debian:12"}, "inputs": {"in": "${{parent.jobs.first.outputs.out}}"}}}},
    }
    for name, job in jobs.items():
        file = folder / f"{name}.yml"
        file.write_text(json.dumps(job))
        server.turnout("job", "create", "-f", file, "-n", name, "-o", "none")
    for name in jobs:
        server.turnout("job", "stream", name, check=False)
    server.turnout("model", "create", "-n", "weights", "-v", "1", "--path", "azureml://jobs/good/outputs/artifacts/paths/outputs/", "--type", "custom_model", "-o", "none")
    server.portal_folder = folder
    server.ws = re.search(r"/studio/jobs/([^/]+)/", link_of(server, "good"))[1]
    return server


def link_of(server, job):
    return json.loads(server.turnout("job", "show", "-n", job, "-o", "json").stdout)["services"]["Studio"]["endpoint"]


def talker(server, name, wait=True):
    """A job that prints as many lines as are appended to the file that comes back."""
    file = server.portal_folder / f"{name}.say"
    (server.portal_folder / "talk").mkdir(exist_ok=True)
    (server.portal_folder / "talk" / "talk.py").write_text(TALK)
    job = server.portal_folder / f"{name}.yml"
    job.write_text(json.dumps({"type": "command", "code": str(server.portal_folder / "talk"), "command": f"python3 talk.py {file}", "environment": {"image": "debian:12"},
                               "compute": "azureml:cpu", "experiment_name": "portal"}))
    server.turnout("job", "create", "-f", job, "-n", name, "-o", "none")
    def say(word):
        with open(file, "a") as out:
            out.write(f"{word}\n")
    return say


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    if not path:
        pytest.fail("the tests of the portal need Debian's chromium: scripts/install-deps test")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Browser:
    """A browser that is watched: what it says of errors, and where it asks."""

    def __init__(self, chromium, server, width=1440, colours="light", **options):
        self.server, self.base = server, server.status["plain_url"]
        self.context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=colours, **options)
        self.problems, self.bytes = [], {}
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        # What was answered with an error is told below, with its address.
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" and "Failed to load resource" not in message.text else None)
        self.page.on("response", lambda reply: self.problems.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.problems.append("asks " + request.url) if not request.url.startswith((self.base, "data:", "blob:")) else None)
        self.page.on("requestfinished", self._finished)

    def _finished(self, request):
        sizes = request.sizes()
        self.bytes[request.url] = self.bytes.get(request.url, 0) + sizes["responseBodySize"]

    def log_in(self):
        self.page.goto(self.server.turnout("login", "--browser").stdout.strip())
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Workspace").wait_for()
        return self

    def open(self, path):
        self.page.goto(f"{self.base}/studio/{path}")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and os.environ.get("TURNOUT_PORTAL_SHOTS"):
            self.page.screenshot(path=os.environ["TURNOUT_PORTAL_SHOTS"] + "/failed.png")
        self.context.close()
        if kind is None:
            assert not self.problems, self.problems


@pytest.fixture
def inside(chromium, filled):
    with Browser(chromium, filled) as browser:
        yield browser.log_in()
        if os.environ.get("TURNOUT_PORTAL_SHOTS"):
            browser.page.screenshot(path=os.environ["TURNOUT_PORTAL_SHOTS"] + "/last.png")


def test_a_link_opens_one_job_and_follows_it_to_its_end(chromium, filled):
    say = talker(filled, "linked")
    with Browser(chromium, filled) as browser:
        page, link = browser.page, link_of(filled, "linked")
        page.goto(link)
        page.locator("h1 .status", has_text="Running").wait_for()
        say(3)
        page.get_by_text("line 2 of 0").wait_for()
        assert page.get_by_role("button", name="Cancel").count() == 0, "a link only reads"
        page.get_by_role("link", name="Log in to act").wait_for()
        say("end")
        page.locator("h1 .status", has_text="Completed").wait_for()
        page.reload()
        page.locator("h1 .status", has_text="Completed").wait_for()
        for part in ("document", "lines", "series?key=x"):
            at = urllib.parse.urljoin(link, f"/studio/jobs/{filled.ws}/good/{part}")
            assert requests.get(at + ("&" if "?" in at else "?") + link.split("?")[1], timeout=60).status_code == 403
        assert requests.post(link.replace("?", "/document?"), timeout=60).status_code == 405
    # Without a link, and with another one's: the server says why, as a page.
    assert requests.get(link.split("?")[0], timeout=60).status_code == 401
    refused = requests.get(link[:-4] + "AAAA", timeout=60)
    assert refused.status_code == 403 and "not signed for this page" in refused.text


def test_every_screen_in_light_and_dark_wide_and_narrow(chromium, filled):
    axe = next(iter(sorted((Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "turnout-portal").glob("modules-*/node_modules/axe-core/axe.min.js"))), None)
    assert axe, "scripts/portal-build keeps the portal's packages, axe-core among them"
    shots = os.environ.get("TURNOUT_PORTAL_SHOTS")
    found, script = [], axe.read_text()
    for colours, width in (("light", 1440), ("dark", 360)):
        with Browser(chromium, filled, width, colours, bypass_csp=True) as browser:
            browser.log_in().page.evaluate(script)
            for screen in SCREENS:
                page = browser.page  # by the portal's own way from one screen to the next, which loads it once
                page.evaluate("(path) => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }", f"/studio/{screen.format(ws=filled.ws)}")
                page.locator("h1").first.wait_for()
                page.wait_for_function("!document.querySelector('[aria-busy=true]')")
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                if wide > 0:
                    found.append(f"{screen} at {width}: {wide} px too wide")
                rules = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations.filter((rule) => ['serious', 'critical'].includes(rule.impact)).map((rule) => rule.id + ': ' + rule.nodes[0].html.slice(0, 160) + ' ' + rule.nodes[0].failureSummary.slice(0, 200)))")
                found += [f"{screen} in {colours}: {rule}" for rule in rules]
                if shots:
                    page.screenshot(path=f"{shots}/{re.sub('[^a-z]+', '-', screen) or 'home'}-{colours}-{width}.png")
    assert not found, "\n".join(found)


def test_the_list_of_jobs_filters_by_its_address(chromium, inside, filled):
    page = inside.open("jobs")
    page.get_by_role("link", name="good", exact=True).wait_for()
    page.get_by_role("button", name=re.compile("^Failed")).click()
    page.get_by_role("link", name="good", exact=True).wait_for(state="detached")
    assert page.get_by_role("link", name="bad", exact=True).count() == 1 and "status=Failed" in page.url
    assert "user_code" in page.get_by_role("row", name="bad").inner_text()
    address = page.url
    page.get_by_role("link", name="bad", exact=True).click()
    page.get_by_text("user_code: the command ended with exit code 3").wait_for()
    page.go_back()
    page.get_by_role("link", name="bad", exact=True).wait_for()
    assert page.url == address
    with Browser(chromium, filled) as other:
        other.log_in()
        other.page.goto(address)
        other.page.get_by_role("link", name="bad", exact=True).wait_for()
        assert other.page.get_by_role("button", name=re.compile("^Failed")).get_attribute("aria-pressed") == "true"
    page.get_by_role("searchbox", name="Part of a name").fill("no such job")
    page.get_by_text("No job is like that").wait_for()
    # Rows are short, and a new job is there by itself.
    rows = requests.get(f"{filled.status['url']}/subscriptions/{filled.config()['subscription_id']}/resourceGroups/turnout/providers/Microsoft.MachineLearningServices/workspaces/default/jobRows",
                        params={"api-version": "2024-10-01"}, headers={"Authorization": "Bearer " + (filled.data / "admin.key").read_text().strip()}, verify=str(filled.data / "ca-bundle.pem"), timeout=60)
    assert all(len(json.dumps(row)) <= 500 for row in rows.json()["value"]), rows.text
    inside.open("jobs")
    page.get_by_role("link", name="good", exact=True).wait_for()
    say = talker(filled, "by_itself")
    page.get_by_role("row", name="by_itself").locator(".Running").wait_for()
    say("end")
    page.get_by_role("row", name="by_itself").locator(".Completed").wait_for()


def test_a_log_is_followed_until_somebody_reads(inside, filled):
    say = talker(filled, "spoken")
    page = inside.open(f"jobs/{filled.ws}/spoken?tab=log")
    page.locator("h1 .status", has_text="Running").wait_for()
    say(300)
    page.get_by_text("line 299 of 0").wait_for()
    box = page.get_by_role("log")
    box.hover()
    page.mouse.wheel(0, -1500)
    page.get_by_role("button", name="To the end").wait_for()
    eventually("the lines stand", lambda: page.locator(".log-line").count() > 10)
    page.wait_for_timeout(300)
    first = "() => { const box = document.querySelector('.log-lines'), top = box.getBoundingClientRect().top; const line = [...box.querySelectorAll('.log-line')].find((one) => one.getBoundingClientRect().bottom > top); return line.dataset.line + ' at ' + Math.round(line.getBoundingClientRect().top - top); }"
    before = page.evaluate(first)
    say(10_000)
    page.get_by_role("button", name=re.compile(r"10,0\d\d new lines")).wait_for()
    assert page.evaluate(first) == before, "what is read stays where it is"
    page.get_by_role("button", name=re.compile("new lines")).click()
    page.get_by_text("line 9999 of 1").wait_for()
    assert page.locator(".log-line").count() <= 400
    say("end")
    page.locator("h1 .status", has_text="Completed").wait_for()


def test_a_large_log_costs_what_is_seen_of_it(inside, filled):
    job = filled.portal_folder / "large.yml"
    program = "import sys; sys.stdout.write(''.join(f'{i:07d} ' + 'x' * 190 + (' needle' if i % 5000 == 77 else '') + chr(10) for i in range(1, 150001)))"
    job.write_text(json.dumps({"type": "command", "command": f'python3 -c "{program}"', "environment": {"image": "debian:12"}, "compute": "azureml:cpu", "experiment_name": "portal"}))
    filled.turnout("job", "create", "-f", job, "-n", "large", "--stream", timeout=240)
    inside.bytes.clear()
    page = inside.open(f"jobs/{filled.ws}/large?tab=log")
    page.get_by_text("0150000 x").wait_for()
    sent = sum(size for url, size in inside.bytes.items() if "/lines" in url)
    assert sent <= 1_200_000, sent
    page.get_by_text(re.compile("150,00[01] lines, 28")).wait_for()
    inside.open(f"jobs/{filled.ws}/large?tab=log&line=75002")
    page.get_by_text("0075001 x").wait_for()
    page.locator('.log-line.chosen[data-line="75002"]').wait_for()
    page.get_by_role("searchbox", name="Find in this log").fill("Needle")
    page.get_by_text("of 30", exact=False).wait_for()
    assert page.get_by_role("status").filter(has_text="1 of 30").count() == 1
    page.get_by_role("button", name="Next match").click()
    page.get_by_text("0005077 x").wait_for()
    page.get_by_role("button", name="Only these").click()
    eventually("only what matches is shown", lambda: page.locator(".log-line").count() == page.locator(".log-line mark").count() > 8)
    assert page.locator(".log-line", has_text="0005077 x").count() == 1 and page.locator(".log-line", has_text="0005078 x").count() == 0


def test_what_a_job_wrote_acts_on_nothing(inside, filled):
    page = inside.open(f"jobs/{filled.ws}/good?tab=log")
    line = page.locator(".log-line", has_text="red <img")
    line.wait_for()
    assert line.locator(".ansi-1").inner_text() == "red" and "click" in line.inner_text() and page.locator(".log img, .log a[href*=evil]").count() == 0
    assert page.locator(".log-line", has_text="99%").inner_text().endswith("99%"), "a thousand times \\r are one line"
    assert page.locator(".log-line").count() <= 5
    page.get_by_role("tab", name=re.compile("Outputs")).click()
    page.get_by_role("button", name="report.json").click()
    page.get_by_text('{"loss": 0.5}').wait_for()
    assert page.get_by_role("button", name="evil.html").count() == 0, "HTML is saved, never shown here"
    served = requests.get(link_of(filled, "good").replace("?", "/artifact/outputs/evil.html?"), timeout=60)
    assert served.headers["Content-Disposition"].startswith("attachment") and "sandbox" in served.headers["Content-Security-Policy"]
    assert page.title().endswith("Turnout")


def test_metrics_trials_steps_and_what_differs(inside, filled):
    page = inside.open(f"jobs/{filled.ws}/good?tab=metrics")
    page.locator("figure", has_text="loss").locator("canvas").wait_for()
    page.get_by_text("2 not numbers").wait_for()
    page.get_by_role("slider").fill("0.9")
    page.get_by_text("Smooth 0.90").wait_for()
    inside.open(f"jobs/{filled.ws}/sweep")
    page.get_by_text("Best trial:").wait_for()
    assert page.locator("canvas").count() == 2 and page.get_by_role("row").count() == 5
    inside.open(f"jobs/{filled.ws}/pipe")
    page.locator(".node", has_text="second").click()
    page.locator("h1", has_text="second").or_(page.locator("h1", has_text="pipe_1")).first.wait_for()
    inside.open("compare?jobs=good,bad")
    page.get_by_role("row", name=re.compile("^cause")).wait_for()
    assert page.get_by_role("row", name=re.compile("^compute")).count() == 0, "what is the same is not shown"
    page.get_by_role("button", name="Only differences").click()
    page.get_by_role("row", name=re.compile("^compute")).wait_for()


def test_a_cluster_by_its_form_and_what_is_not_made_here(inside, filled):
    page = inside.open("compute")
    page.get_by_role("button", name="New", exact=True).click()
    form = page.get_by_role("dialog")
    form.get_by_text("What this server does not make or attach").click()
    refused = {row["title"]: row.get("notCreated") or row.get("notAttached") for row in capabilities(filled) if "yes" not in (row["create"], row["attach"]) and row["type"] not in ("local", "serverless")}
    assert len(refused) > 3
    for title, why in refused.items():
        form.get_by_text(title, exact=True).wait_for()
        assert not why or why in form.inner_text(), why
    form.get_by_label("1. Name").fill("cpu")
    form.get_by_role("button", name="Create").click()
    form.get_by_text("there is a compute 'cpu' already").wait_for()
    form.get_by_label("1. Name").fill("by-form")
    form.get_by_label("Size", exact=True).select_option("STANDARD_DS3_V2")
    form.get_by_label("Tier").select_option("LowPriority")
    form.get_by_role("button", name="Create").click()
    page.locator("h1", has_text="by-form").wait_for()
    made = json.loads(filled.turnout("compute", "show", "-n", "by-form", "-o", "json").stdout)
    assert (made["size"].upper(), made["tier"], made["max_instances"], made["min_instances"], made["idle_time_before_scale_down"]) == ("STANDARD_DS3_V2", "low_priority", 2, 0, 120), made
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("dialog").get_by_label("Most nodes").fill("3")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_text("0 to 3").wait_for()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_label(re.compile("to confirm")).fill("by-form")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="by-form").wait_for(state="detached")
    # What the server says stands at its field, and a secret stays nowhere.
    inside.open("compute?new=1")
    form.get_by_text("remote machine").click()
    form.get_by_label("1. Name").fill("far")
    form.get_by_label("Address").fill("127.0.0.1")
    form.get_by_label("Port of SSH").fill("1")
    form.get_by_label("User", exact=True).fill("nobody")
    form.get_by_text("Password", exact=True).click()
    form.get_by_text("brute force").wait_for()
    form.get_by_role("textbox", name="Password").fill("s3cret-word")
    form.get_by_role("button", name="Attach").click()
    page.locator("h1", has_text="far").wait_for()
    page.locator("h1 .status", has_text="Failed").wait_for()
    assert "s3cret-word" not in page.content() + page.url + page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    filled.turnout("compute", "detach", "-n", "far", "--yes", "-o", "none")


def capabilities(server):
    return json.loads(server.turnout("compute", "capabilities", "-o", "json").stdout)


def test_a_job_from_the_form_again_elsewhere_canceled_and_registered(inside, filled):
    page = inside.open("jobs/new")
    code = filled.portal_folder / "form"
    code.mkdir(exist_ok=True)
    (code / "say.py").write_text("print('said by code that a browser has brought')")
    page.get_by_label("Target").select_option("cpu")
    page.get_by_label("Command").fill("python3 say.py")
    page.locator("input[type=file]").set_input_files(str(code))
    page.get_by_label("Name", exact=True).fill("by_form")
    page.get_by_role("button", name="Submit").click()
    page.locator("h1 .status", has_text="Completed").wait_for()
    page.get_by_text("said by code that a browser has brought").wait_for()
    # Again on another target: nothing but that differs.
    page.get_by_role("link", name="Run again on").click()
    page.get_by_label("Target").select_option("")
    assert page.get_by_label("Command").input_value() == "python3 say.py"
    page.get_by_label("Name", exact=True).fill("by_form_2")
    page.get_by_role("button", name="Submit").click()
    page.locator("h1 .status", has_text="Completed").wait_for()
    one, two = (json.loads(filled.turnout("job", "show", "-n", name, "-o", "json").stdout) for name in ("by_form", "by_form_2"))
    assert one["compute"].endswith("cpu") and not (two.get("compute") or "").endswith("cpu")
    assert all(one[key] == two[key] for key in ("command", "code", "environment", "experiment_name")), (one, two)
    # What is wrong is the server's to say.
    inside.open("jobs/new")
    page.get_by_label("Command").fill("echo ${{inputs.none}}")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("alert").filter(has_text="inputs.none").wait_for()
    inside.problems = [one for one in inside.problems if not one.startswith("400 ")]
    say = talker(filled, "stopped")
    inside.open(f"jobs/{filled.ws}/stopped")
    page.locator("h1 .status", has_text="Running").wait_for()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    page.locator("h1 .status", has_text=re.compile("^Canceled")).wait_for()
    say("end")
    inside.open(f"jobs/{filled.ws}/good")
    page.get_by_role("link", name="Register model").click()
    page.get_by_role("dialog").get_by_label("Name").fill("from-portal")
    page.get_by_role("dialog").get_by_role("button", name="Register").click()
    page.get_by_role("link", name="good").wait_for()
    assert json.loads(filled.turnout("model", "show", "-n", "from-portal", "-o", "json").stdout)["name"] == "from-portal"


def test_a_server_that_was_killed_is_found_again(chromium, own_server, tmp_path):
    with Browser(chromium, own_server) as browser:
        page = browser.log_in().open("jobs")
        page.get_by_text("No job was submitted yet").wait_for()
        own_server.options = ["--plain-listen", own_server.status["plain_url"].removeprefix("http://")]
        own_server.kill()
        page.get_by_text("The server does not answer").wait_for()
        assert page.get_by_role("heading", name="Jobs").count() == 1, "what was there stays"
        own_server.start()
        page.get_by_text("The server does not answer").wait_for(state="detached")
        (tmp_path / "job.yml").write_text('{"command": "echo here", "environment": {"image": "debian:12"}}')
        own_server.turnout("job", "create", "-f", tmp_path / "job.yml", "-n", "afterwards", "-o", "none")
        page.get_by_role("row", name="afterwards").wait_for()
        browser.problems.clear()  # a browser says of each request that found nobody


def test_the_session_is_a_door_and_the_files_are_small(chromium, filled):
    base = filled.status["plain_url"]
    with Browser(chromium, filled) as browser:
        page = browser.open("jobs?q=x")
        page.get_by_role("heading", name="Log in to Turnout").wait_for()
        page.get_by_label("Link or token").fill("tko_nobody_has_this_one_at_all_really")
        page.get_by_role("button", name="Log in").click()
        page.locator(".problem").wait_for()
        page.get_by_label("Link or token").fill(filled.turnout("login", "--browser").stdout.strip())
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("No job is like that").wait_for()
        assert page.url.endswith("jobs?q=x"), "it goes on where it was"
        assert "tko_" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        page.get_by_role("button", name=re.compile("Account of")).click()
        page.get_by_role("menuitem", name="Log out").click()
        page.get_by_role("heading", name="Log in to Turnout").wait_for()
        browser.problems = [one for one in browser.problems if "401" not in one]
    shell = requests.get(base + "/studio", timeout=60)
    policy = shell.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy and shell.headers["X-Content-Type-Options"] == "nosniff"
    assert requests.get(base + "/", timeout=60, allow_redirects=False).headers["Location"] == "/studio"
    # The budget, in bytes as they travel.
    pack = (ROOT / "build" / "portal.pack").read_bytes()
    head = pack[: pack.index(b"\n\n")].decode().split("\n")[1:]
    sizes = {name: int(size) for name, _, _, _, size in (line.split("\t") for line in head)}
    script = {name: size for name, size in sizes.items() if name.endswith(".js")}
    first = re.findall(r'(?:src|href)="/studio/([^"]+)"', shell.text)
    served = {name: requests.get(f"{base}/studio/{name}", timeout=60, headers={"Accept-Encoding": "gzip"}) for name in sizes if name != "index.html"}
    assert all(reply.status_code == 200 and "immutable" in reply.headers["Cache-Control"] and requests.get(reply.url, timeout=60, headers={"If-None-Match": reply.headers["ETag"]}).status_code == 304 for reply in served.values())
    assert sum(sizes[name] for name in first if name.endswith(".js")) <= 230_000, (first, sizes)
    assert sum(size for name, size in sizes.items() if name.endswith(".css")) <= 30_000, sizes
    assert max(script.values()) <= 200_000 and sum(sizes.values()) <= 900_000, sizes
    together = sum(size for name, size in script.items() if re.match(r"static/(index|kit|Frame|Jobs|Job|jobs|bytes|Metrics|Events)-", name))
    assert together <= 330_000, together
    assert len(gzip.compress(shell.content)) < 1500
