"""A server of this build on a folder and ports of its own, and the real SDK pointed at it by the
variables that `turnout env` prints."""
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

# The SDK reads these when it is imported: its polling would grow to a minute.
os.environ["AZUREML_RUN_POLLING_INTERVAL_MIN"] = "1"
os.environ["AZUREML_RUN_POLLING_INTERVAL_MAX"] = "2"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["AZUREML_LOG_LEVEL"] = "ERROR"

import pytest

ROOT = Path(__file__).resolve().parents[2]
TURNOUT = os.environ.get("TURNOUT", str(ROOT / "build" / "turnout"))
SEED = ROOT / "examples" / "seed"
# The environment before `turnout env` changes this process's: what servers and commands start with.
PLAIN_ENV = {name: value for name, value in os.environ.items()
             if not name.startswith(("TURNOUT_", "MLFLOW_RUN", "MLFLOW_TRACKING", "MLFLOW_EXPERIMENT", "IDENTITY_", "ARM_CLOUD"))}
PLAIN_ENV["TURNOUT_UV"] = str(Path(sys.executable).parent / "uv")


# What a token that opens nothing is answered; the second after many that this server never gave.
REFUSED = (401, 429)


def files_under(folder):
    """Of a folder that a server works in: what vanishes meanwhile is not there."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path) / name
            if file.is_file():
                yield file


def eventually(what, condition, seconds=120.0, interval=0.1):
    """The first true value of condition(), or a failure that names what did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(interval)


def processes_with(text):
    """Process ids whose command line holds the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


class Server:
    """`turnout up` on one data folder; may be killed and started again."""

    def __init__(self, data):
        self.data = Path(data)
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data.with_suffix(".log")
        self.process = None
        self.status = {}
        self.options = []  # more of `turnout up`
        self.surroundings = {}  # more of its environment
        self.user = None  # the number of who runs it; ours

    def turnout(self, *arguments, check=True, timeout=240, cwd=None, env=None, input=None):
        done = subprocess.run(
            [TURNOUT, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=cwd,
            env={**PLAIN_ENV, "TURNOUT_DATA": str(self.data), **(env or {})},
            input=input, stdin=subprocess.DEVNULL if input is None else None,
        )
        if check and done.returncode != 0:
            pytest.fail(f"turnout {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [TURNOUT, "up", "--data", str(self.data), "--listen", "127.0.0.1:0", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**PLAIN_ENV, **self.surroundings}, start_new_session=True,
                **({"user": self.user, "group": self.user, "extra_groups": [], "cwd": "/"} if self.user else {}),
            )

        def ready():
            if self.process.poll() is not None:
                pytest.fail(f"turnout up ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            done = self.turnout("status", "-o", "json", check=False)
            if done.returncode != 0:
                return None
            status = json.loads(done.stdout)
            return status if status.get("pid") == self.process.pid else None

        self.status = eventually("the server is ready", ready)
        return self

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def env(self):
        """What `eval "$(turnout env)"` sets in a shell."""
        script = f'eval "$("{TURNOUT}" env --data "{self.data}")" && env -0'
        plain = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        done = subprocess.run(["bash", "-c", script], capture_output=True, env=plain, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        found = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
        return {name: value for name, value in found.items() if plain.get(name) != value and name not in ("_", "SHLVL", "PWD")}

    def config(self):
        return json.loads(self.turnout("config").stdout)

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.turnout("down", "--all", "--yes", check=False)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        # Agents and supervisors of this folder only: its name is unique to this test.
        for pid in processes_with(str(self.data)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def on_terminal(server, *arguments, typed="", once=None, **variables):
    """What a person sees of a command on a terminal of 80 columns: (exit code, text). `once`: a text,
    and the signal that the command gets when that is on the screen."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [TURNOUT, *map(str, arguments)]
    environment = {**PLAIN_ENV, "TURNOUT_DATA": str(server.data), "TERM": "xterm", "TZ": "UTC0", **variables}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    os.write(leader, typed.encode())
    text = b""
    deadline = time.monotonic() + 120
    try:
        while True:
            if not select.select([leader], [], [], max(0, deadline - time.monotonic()))[0]:
                pytest.fail(f"turnout {' '.join(map(str, arguments))} does not end; it shows:\n{text.decode(errors='replace')}")
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
            if once and once[0].encode() in text:
                process.send_signal(once[1])
                once = None
        assert not once, f"{once[0]!r} never came:\n{text.decode(errors='replace')}"
        return process.wait(timeout=60), text.decode().replace("\r\n", "\n")
    finally:
        os.close(leader)
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def folder():
    # Short, because a Unix socket's path may have 108 bytes.
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(folder):
    server = Server(folder / "data").start()
    # Everything below (the SDK, mlflow, azure-storage-blob) reads its configuration from here.
    os.environ.update({k: v for k, v in server.env().items() if not k.startswith("AZUREML_RUN_POLLING")})
    yield server
    if os.environ.get("TURNOUT_KEEP_LOG"):
        shutil.copy(server.log, os.environ["TURNOUT_KEEP_LOG"])
    server.stop()


def server_of_its_own():
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    server = Server(path / "data").start()
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own_server():
    """A server for one test, which may kill it."""
    yield from server_of_its_own()


@pytest.fixture(scope="module")
def module_server():
    """A server for the tests of one file."""
    yield from server_of_its_own()


def client_for(server):
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    config = server.config()
    return MLClient(DefaultAzureCredential(), config["subscription_id"], config["resource_group"], config["workspace_name"])


@pytest.fixture(scope="session")
def ml_client(server):
    return client_for(server)


@pytest.fixture(scope="session")
def cluster(server, ml_client, folder):
    """The tutorial's cluster, made by the tutorial's own script in a process of its own."""
    work = folder / "seed"
    if not work.exists():
        shutil.copytree(SEED, work, ignore=shutil.ignore_patterns(".azureml", "downloads"))
        (work / ".azureml").mkdir()
        (work / ".azureml" / "config.json").write_text(server.turnout("config").stdout)
    done = server.turnout("exec", "--", sys.executable, "-B", "create_cluster.py", cwd=work, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return "cpu-cluster"


@pytest.fixture(scope="session")
def host():
    """An environment that is this machine: nothing to prepare."""
    from azure.ai.ml.entities import Environment

    return Environment(image="docker.io/library/debian:12", description="the machine's own interpreter")


@pytest.fixture
def run(ml_client, cluster, host):
    """Submits a command, waits for its end, gives back the job."""

    def submit(text, wait=True, seconds=240, **more):
        from azure.ai.ml import command

        more.setdefault("environment", host)
        more.setdefault("compute", cluster)
        more.setdefault("experiment_name", "tests")
        job = ml_client.create_or_update(command(command=text, **more))
        return wait_for(ml_client, job.name, seconds) if wait else job

    return submit


TERMINAL = ("Completed", "Failed", "Canceled")


def wait_for(ml_client, name, seconds=240):
    def over():
        job = ml_client.jobs.get(name)
        return job if job.status in TERMINAL else None

    return eventually(f"job {name} ends", over, seconds, 0.2)


def status_of(ml_client, name):
    return ml_client.jobs.get(name).status


class Rest:
    """The same API by hand, for what the SDK would not send."""

    def __init__(self, server):
        import requests

        self.server = server
        self.env = server.env()
        self.origin = self.env["ARM_CLOUD_METADATA_URL"].split("/metadata/")[0]
        config = server.config()
        self.ws = (
            f"/subscriptions/{config['subscription_id']}/resourceGroups/{config['resource_group']}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{config['workspace_name']}"
        )
        self.session = requests.Session()
        self.session.verify = self.env["REQUESTS_CA_BUNDLE"]
        self.session.trust_env = False

    def token(self, resource=None):
        reply = self.session.get(
            self.env["IDENTITY_ENDPOINT"], params={"api-version": "2019-08-01", "resource": resource or self.origin},
            headers={"X-IDENTITY-HEADER": self.env["IDENTITY_HEADER"], "Metadata": "true"}, timeout=60,
        )
        assert reply.status_code == 200, reply.text
        return reply.json()["access_token"]

    def call(self, method, path, token="", api="2024-10-01-preview", **more):
        """`token` "" = a good one, None = none."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = "Bearer " + (token or self.token())
        joint = "&" if "?" in path else "?"
        url = self.origin + path + (f"{joint}api-version={api}" if api else "")
        return self.session.request(method, url, headers=headers, timeout=60, **more)


@pytest.fixture(scope="session")
def rest(server):
    return Rest(server)


def log_of(ml_client, name, folder):
    """user_logs/std_log.txt as the SDK's download delivers it."""
    target = Path(folder) / f"log-{name}"
    ml_client.jobs.download(name, download_path=target)
    found = list(target.rglob("std_log.txt"))
    assert found, f"no std_log.txt among {[str(p) for p in target.rglob('*')]}"
    return found[0].read_text()
