"""The program that runs parallel steps (python/parallel/driver.py), by itself: no server is asked."""
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import ROOT

DRIVER = ROOT / "python" / "parallel" / "driver.py"

SCRIPT = """
import os, sys, time
def init():
    global seen
    seen = 0
    print("init", os.getpid(), sys.argv[1:], flush=True)
def run(mini_batch):
    rows = []
    for path in mini_batch:
        text = open(path).read().strip()
        if text == "raise": raise ValueError("bad file " + os.path.basename(path))
        if text == "skip": continue
        if text == "die": os._exit(7)
        if text == "hang": time.sleep(60)
        if text == "once" and not os.path.exists(path + ".tried"):
            open(path + ".tried", "w").close()
            raise ValueError("the first time")
        rows.append(os.path.basename(path) + ": " + text)
    return rows
def shutdown():
    print("shutdown", flush=True)
"""


@pytest.fixture
def step(tmp_path):
    """Runs the driver over files of these contents."""
    def run(contents=None, settings=None, script=SCRIPT, arguments=(), append=True, variables=None, wait=True, root=None,
            python=sys.executable):
        data, code = tmp_path / "data", tmp_path / "code"
        data.mkdir(exist_ok=True)
        code.mkdir(exist_ok=True)
        for name, text in (contents or {}).items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text)
        (code / "score.py").write_text(script)
        said = dict({"entry_script": "score.py", "mini_batch_size": "2", "max_concurrency_per_instance": 2, "timeout": 20}, **(settings or {}))
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **(variables or {})}
        process = subprocess.Popen(
            [python, str(DRIVER), json.dumps(said), str(root or data), str(tmp_path / "out.csv") if append else "", "", "--", *arguments],
            cwd=code, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not wait:
            return process
        printed = process.communicate(timeout=60)[0]
        out = tmp_path / "out.csv"
        return process.returncode, printed, out.read_text().splitlines() if out.exists() else None
    return run


FIVE = {f"{i}.txt": f"text {i}" for i in range(5)}
ALL = [f"{i}.txt: text {i}" for i in range(5)]


def test_every_file_once_in_order(step):
    code, printed, rows = step(FIVE, arguments=["--lr", "0.1"])
    assert code == 0, printed
    assert rows == ALL
    assert "3 mini-batches of 5 items, for 2 processes on each of 1 node" in printed
    assert "['--lr', '0.1']" in printed and "shutdown" in printed
    assert "done: 3 of 3 mini-batches, 5 of 5 items" in printed


def test_sizes(step):
    _, printed, rows = step(FIVE, {"mini_batch_size": "13b"})  # 6 bytes each
    assert rows == ALL and "3 mini-batches" in printed
    _, printed, _ = step(FIVE, {"mini_batch_size": None})
    assert "1 mini-batches" in printed
    code, printed, _ = step(FIVE, {"mini_batch_size": "many"})
    assert code == 1 and "mini_batch_size: expected a number of files such as 10, or a size such as 10kb, found 'many'" in printed
    assert "Traceback" not in printed


def test_what_fails_is_tried_again(step):
    code, printed, rows = step({"a": "once", "b": "fine", "c": "other"}, {"max_retries": 1})
    assert code == 0, printed
    assert rows == ["a: once", "b: fine", "c: other"]
    assert "mini-batch 1 of 2 failed, and is tried again" in printed and "the first time" in printed


def test_thresholds(step):
    bad = dict(FIVE, **{"4.txt": "raise"})
    code, printed, rows = step(bad, {"max_retries": 0})
    assert code == 0 and rows == ALL[:4], printed  # -1: none of it matters
    assert "bad file 4.txt" in printed and "done: 2 of 3 mini-batches, 4 of 5 items" in printed
    code, printed, _ = step(bad, {"max_retries": 0, "mini_batch_error_threshold": 0})
    assert code == 1 and "1 of 3 mini-batches failed, more than mini_batch_error_threshold: 0" in printed
    code, printed, _ = step(dict(FIVE, **{"4.txt": "skip", "3.txt": "skip"}), {"error_threshold": 1})
    assert code == 1 and "2 of 5 items failed, more than error_threshold: 1" in printed
    code, printed, _ = step(bad, {"max_retries": 0}, arguments=["--allowed_failed_percent", "30"])
    assert code == 1 and "more than allowed_failed_percent: 30" in printed
    code, printed, _ = step({f"{i}.txt": "raise" for i in range(5)}, {"max_retries": 0})
    assert code == 1 and "all 3 mini-batches failed" in printed


def test_processes_that_end_or_hang(step):
    code, printed, rows = step(dict(FIVE, **{"4.txt": "die"}), {"max_retries": 1})
    assert code == 0 and rows == ALL[:4], printed
    assert "the process that ran it ended with exit code 7" in printed
    code, printed, rows = step(dict(FIVE, **{"4.txt": "hang"}), {"max_retries": 0, "timeout": 1})
    assert code == 0 and rows == ALL[:4], printed
    assert "run() took longer than 1 s (retry_settings.timeout)" in printed


@pytest.mark.parametrize("script, why", [
    ("def init():\n    raise RuntimeError('no weights')\ndef run(m):\n    return m", "no weights"),
    ("x = 1", "has no function run(mini_batch)"),
    ("import os\ndef init():\n    os._exit(3)\ndef run(m):\n    return m", "ended with exit code 3 before it was ready"),
    ("def run(m):\n    return None", "run() returned NoneType: expected a list, or a pandas DataFrame"),
])
def test_scripts_that_cannot_run(step, script, why):
    code, printed, _ = step(FIVE, {"max_retries": 0}, script=script)
    assert code == 1 and why in printed, printed


def test_nothing_to_do(step, tmp_path):
    code, printed, _ = step({})
    assert code == 1 and "the input is empty" in printed
    code, printed, _ = step(FIVE, root=tmp_path / "nowhere")
    assert code == 1 and "is not there" in printed


@pytest.fixture(scope="module")
def with_pandas(tmp_path_factory):
    """A Python that has what tables need."""
    uv, folder = os.environ.get("TURNOUT_UV") or str(ROOT / ".venv" / "bin" / "uv"), tmp_path_factory.mktemp("tables")
    for words in (["venv", "--python", sys.executable, str(folder)],
                  ["pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "pandas", "pyyaml"]):
        done = subprocess.run([uv, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return str(folder / "bin" / "python")


def test_frames_and_keys(step, tmp_path, with_pandas):
    table = tmp_path / "table"
    table.mkdir()
    (table / "MLTable").write_text(
        "paths:\n  - pattern: ./*.csv\ntransformations:\n  - read_delimited:\n      delimiter: ';'\n      header: all_files_same_headers\n"
        "  - drop_columns: note\n")
    (table / "one.csv").write_text("shop;sold;note\n" + "".join(f"{'ab'[i % 2]};{i};x\n" for i in range(40)))
    (table / "two.csv").write_text("shop;sold;note\nb;100;x\n")
    frames = "def run(frame):\n    frame['twice'] = 2 * frame['sold']\n    return frame\n"
    code, printed, rows = step(settings={"tabular": True, "mini_batch_size": "100b"}, script=frames, root=table, python=with_pandas)
    assert code == 0, printed
    assert rows == [f"{'ab'[i % 2]} {i} {2 * i}" for i in range(40)] + ["b 100 200"]
    assert "of 41 items" in printed and "1 mini-batches" not in printed
    keyed = ("def run(frame, mini_batch_context):\n    key = mini_batch_context.partition_key_value\n"
             "    return [key['shop'] + '=' + str(frame['sold'].sum())] * len(frame)\n")
    code, printed, rows = step(settings={"tabular": True, "partition_keys": ["shop"]}, script=keyed, root=table, python=with_pandas)
    assert code == 0, printed
    assert sorted(set(rows)) == ["a=380", "b=500"] and len(rows) == 41
    (table / "MLTable").write_text("paths:\n  - file: ./one.csv\ntransformations:\n  - take: 3\n")
    code, printed, _ = step(settings={"tabular": True}, script=frames, root=table, python=with_pandas)
    assert code == 1 and "MLTable: the transformation 'take' does not work here" in printed


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_nodes_share_the_mini_batches(step):
    variables = {"AZUREML_NODE_COUNT": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "MLFLOW_TRACKING_TOKEN": "t"}
    slow = SCRIPT.replace("    rows = []", "    rows = []\n    time.sleep(0.3)", 1)
    many = {f"{i:02}.txt": f"text {i}" for i in range(24)}
    other = step(many, {}, slow, variables=dict(variables, NODE_RANK="1"), wait=False)
    code, printed, rows = step(many, {}, slow, variables=dict(variables, NODE_RANK="0"))
    assert code == 0, printed
    theirs = other.communicate(timeout=30)[0]
    assert other.returncode == 0, theirs
    assert rows == [f"{i:02}.txt: text {i}" for i in range(24)]
    assert "on node 0" in printed and "on node 1" in printed and "shutdown" in theirs
    # A node that goes loses only what it was doing.
    variables["MASTER_PORT"] = str(free_port())
    other = step(many, {}, slow, variables=dict(variables, NODE_RANK="1"), wait=False)
    first = step(many, {}, slow, variables=dict(variables, NODE_RANK="0"), wait=False)
    lines = []
    for line in first.stdout:
        lines.append(line)
        if "on node 1" in line:
            other.kill()
            break
    other.wait(30)
    lines.append(first.communicate(timeout=60)[0])
    assert first.returncode == 0, "".join(lines)
    other.stdout.close()
    # Who does not know the job's token gets nothing.
    variables["MASTER_PORT"] = str(free_port())
    stranger = step(many, {}, slow, variables=dict(variables, NODE_RANK="1", MLFLOW_TRACKING_TOKEN="wrong"), wait=False)
    code, printed, rows = step(many, {"join_within": 2}, slow, variables=dict(variables, NODE_RANK="0"))
    assert code == 0 and len(rows) == 24 and "on node 1" not in printed
    assert "the connection to rank 0 was lost" in stranger.communicate(timeout=30)[0] and stranger.returncode == 1
    # One that comes when all is done is told so.
    variables["MASTER_PORT"] = str(free_port())
    first = step({"a": "one"}, {}, variables=dict(variables, NODE_RANK="0"), wait=False)
    time.sleep(1)
    code, printed, _ = step({}, {}, variables=dict(variables, NODE_RANK="1"))
    assert code == 0 and "nothing is left to do" in printed, printed
    assert "done" in first.communicate(timeout=30)[0] and first.returncode == 0


class Artifacts(http.server.BaseHTTPRequestHandler):
    """As the server keeps a run's artifacts."""
    kept = {}

    def do_PUT(self):
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        if "?path=" in self.path:
            body = json.dumps({"files": [{"path": path.rsplit("/", 1)[-1], "is_dir": False} for path in self.kept]}).encode()
        else:
            body = self.kept[self.path]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_goes_on_where_an_earlier_attempt_was(step, tmp_path):
    Artifacts.kept = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Artifacts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.server_port}", "MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_RUN_ID": "job"}
    try:
        stuck = dict(FIVE, **{"4.txt": "hang"})
        first = step(stuck, variables=variables, wait=False, settings={"timeout": 60})
        until = time.monotonic() + 30
        while not Artifacts.kept and time.monotonic() < until:
            time.sleep(0.1)
        first.kill()
        first.communicate()
        code, printed, rows = step(FIVE, variables=variables)
        assert code == 0 and rows == ALL, printed
        assert "2 of 3 mini-batches were done by an earlier attempt" in printed
        assert "mini-batch 1 of 3 is done" not in printed and "mini-batch 3 of 3 is done" in printed
        # Files that the script wrote itself may be gone with the node: then all is done again.
        Artifacts.kept = {}
        folder = tmp_path / "files"
        folder.mkdir()
        (folder / "one").write_text("written by run()")
        first = step(stuck, variables=variables, wait=False, settings={"timeout": 60, "output_folder": str(folder)})
        until = time.monotonic() + 30
        while not Artifacts.kept and time.monotonic() < until:
            time.sleep(0.1)
        first.kill()
        first.communicate()
        assert [path.rsplit("/", 1)[-1] for path in Artifacts.kept] == ["void"]
        code, printed, rows = step(FIVE, variables=variables, settings={"output_folder": str(folder)})
        assert code == 0 and rows == ALL and "earlier attempt" not in printed, printed
    finally:
        server.shutdown()
        server.server_close()
