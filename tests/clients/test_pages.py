"""The plain pages of jobs and sweeps, for browsers that run no script: by their links, without a token."""
import html.parser
import json
import urllib.parse

import pytest
import requests

from conftest import eventually

EVIL = "\"><x-evil on='1'>&"

SCRIPT = """import json, os, sys, urllib.request
def log(key, value, step=0):
    body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": key, "value": value, "timestamp": 1000 + step, "step": step}
    urllib.request.urlopen(urllib.request.Request(
        os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}))
"""


class Strict(html.parser.HTMLParser):
    """What the page consists of; a tag that is closed out of order fails."""
    VOID = {"meta", "img", "line", "rect", "circle", "polyline", "path"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.links, self.words = set(), [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert all(not name.startswith("on") for name, _ in attributes), attributes
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(server, name):
    shown = json.loads(server.turnout("job", "show", "-n", name, "-o", "json").stdout)
    url = shown["services"]["Studio"]["endpoint"]
    reply = requests.get(url.replace("?", "/plain?"), timeout=60)
    assert reply.status_code == 200, reply.text
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    return url, Strict(reply.text), reply.text


def fetch(url, link):
    return requests.get(urllib.parse.urljoin(url, link), timeout=60)


@pytest.fixture(scope="module")
def done(module_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "data.csv").write_text("1,2\n")
    (folder / "train.py").write_text(SCRIPT + """
for step in range(3):
    log("loss", 1.0 / (step + 1), step)
os.makedirs("outputs", exist_ok=True)
open("outputs/plot.svg", "w").write("<svg onload='alert(1)'/>")
open(sys.argv[1] + "/weights.txt", "w").write("w")
open(sys.argv[2] + "/theirs.txt", "w").write("t")
print("epoch <done>")
sys.exit(3 if sys.argv[3] != "0" else 0)
""")
    for name, code in (("page_good", "0"), ("page_bad", "3")):
        (folder / "job.yml").write_text(json.dumps({
            "type": "command", "code": str(folder), "environment": {"image": "debian:12"}, "experiment_name": "pages",
            "command": "python3 train.py ${{outputs.model}} ${{outputs.shared}} " + code + " ${{inputs.my_rate}} < ${{inputs.my_data}}",
            "inputs": {"my_data": {"type": "uri_file", "path": str(folder / "data.csv")}, "my_rate": 0.25},
            "outputs": {"model": {"type": "uri_folder"},
                        "shared": {"type": "uri_folder", "path": "azureml://datastores/workspaceblobstore/paths/of_all/"}},
            "display_name": EVIL, "description": EVIL, "tags": {EVIL: EVIL}}))
        module_server.turnout("job", "create", "-f", folder / "job.yml", "-n", name, "--stream", check=code == "0")
    return module_server


def test_a_job_has_all_on_its_page(done):
    url, page, _ = page_of(done, "page_good")
    assert "x-evil" not in page.tags and EVIL in page.text
    for words in ("Completed", "my_data", "my_rate 0.25", "loss", "epoch <done>", "Outputs", "model", "weights.txt", "UTC", "Where the time went", "Began", "Ended"):
        assert words in page.text, (words, page.text)
    weights = next(link for link in page.links if "/output/model/weights.txt" in link)
    assert fetch(url, weights).text == "w"
    assert "theirs.txt" not in page.text and "paths/of_all/" in page.text, "what others may write to is named, not listed"
    assert fetch(url, weights.replace("/model/weights.txt", "/shared/theirs.txt")).status_code == 404
    assert fetch(url, weights.replace("weights.txt", "..%2f..%2fx")).status_code == 400
    assert fetch(url, weights.replace("page_good", "page_bad")).status_code == 403
    assert fetch(url, weights.split("?")[0]).status_code == 401
    plot = fetch(url, next(link for link in page.links if "plot.svg" in link))
    assert plot.headers["Content-Disposition"].startswith("attachment") and "sandbox" in plot.headers["Content-Security-Policy"]
    log = next(link for link in page.links if "/log?" in link)
    assert fetch(url, log).text.endswith("\nepoch <done>\n")
    assert fetch(url, log.replace("std_log.txt", "other.txt")).status_code == 404


def test_an_error_is_first_and_whole(done):
    _, page, raw = page_of(done, "page_bad")
    assert "user_code: the command ended with exit code 3" in page.text
    assert raw.index("exit code 3") < raw.index("epoch &lt;done&gt;") < raw.index("<h2"), "its last lines, too"


def test_a_job_that_lives_is_followed(done, tmp_path):
    go_on = tmp_path / "go-on"
    (tmp_path / "job.yml").write_text(json.dumps({"command": f"echo first; while [ ! -e {go_on} ]; do sleep 0.1; done; echo second", "environment": {"image": "debian:12"}}))
    done.turnout("job", "create", "-f", tmp_path / "job.yml", "-n", "page_live")
    eventually("its first line is on the page", lambda: "first" in page_of(done, "page_live")[1].text)
    url, page, raw = page_of(done, "page_live")
    assert '<noscript><meta http-equiv="refresh"' in raw, "who has no script gets the page anew"
    base, query = url.split("?")
    live = requests.get(base + "/data?" + query, timeout=60).json()
    assert not live["terminal"] and live["log"] == "user_logs/std_log.txt"
    assert live["fragments"]
    for markup in live["fragments"].values():
        Strict(markup)
    go_on.touch()
    rest, offset = "", len("first\n")
    for _ in range(10):
        reply = requests.get(f"{base}/log?{query}&wait=20&offset={offset + len(rest)}&path={live['log']}", timeout=60)
        assert reply.status_code == 200
        rest += reply.text
        if "second" in rest:
            break
    assert "second" in rest
    eventually("it is over", lambda: requests.get(base + "/data?" + query, timeout=60).json()["terminal"])


def test_a_sweep_shows_its_trials(done, tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT + "log('acc', float(sys.argv[1]))\nprint('tried', sys.argv[1])\nsys.exit(sys.argv[2] == 'bad')\n")
    (tmp_path / "sweep.yml").write_text(json.dumps({
        "type": "sweep", "trial": {"code": str(tmp_path), "environment": {"image": "debian:12"}, "command": "python3 train.py ${{search_space.rate}} ${{search_space.kind}}"},
        "sampling_algorithm": "grid", "objective": {"goal": "maximize", "primary_metric": "acc"}, "limits": {"max_total_trials": 99, "max_concurrent_trials": 2},
        "search_space": {"rate": {"type": "choice", "values": [n / 100 for n in range(30)]}, "kind": {"type": "choice", "values": ["good", "bad"]}}}))
    done.turnout("job", "create", "-f", tmp_path / "sweep.yml", "-n", "page_sweep", "--stream", timeout=300)
    url, page, _ = page_of(done, "page_sweep")
    for words in ("60 trials", "completed 30", "failed 30", "Best trial (acc, the largest is the best)", "page_sweep_58", "0.29", "tried 0.29", "rate", "kind", "page 1 of 2",
                  "the best trial is page_sweep_58, acc = 0.29", "sweep of 60 trials began", "azureml-logs/hyperdrive.txt"):
        assert words in page.text, (words, page.text)
    assert "polyline" in page.tags and "circle" in page.tags, "both pictures"
    assert "user_code: the command ended with exit code 1" in page.text
    older = Strict(fetch(url, next(link for link in page.links if "page=2" in link)).text)
    assert "page_sweep_0" in older.words and "page_sweep_0" not in page.words
    trial = Strict(fetch(url, next(link for link in page.links if "/page_sweep_58?" in link).replace("?", "/plain?")).text)
    assert "Trial of page_sweep" in trial.text and "Parameters of this trial" in trial.text and "tried 0.29" in trial.text


def test_the_front_page_is_the_portal(done):
    reply = requests.get(done.status["plain_url"] + "/", timeout=60)
    assert reply.url.endswith("/studio") and "/studio/static/" in reply.text and "<noscript>" in reply.text
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
