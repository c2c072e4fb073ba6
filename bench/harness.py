"""A server of this build for the benchmarks, its API over keep-alive connections, and the numbers
that the kernel keeps about processes. Standard library only."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TURNOUT = ROOT / "build" / "turnout"
LOAD = ROOT / "build" / "bench-load"
BASELINE = ROOT / "build" / "bench-baseline"
TICKS = os.sysconf("SC_CLK_TCK")
os.environ["TURNOUT_UV"] = str(ROOT / "build" / "bench-venv" / "bin" / "uv")


def median(values):
    return statistics.median(values)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def baseline(*arguments):
    """The numbers that bench/baseline.c prints."""
    done = subprocess.run([str(BASELINE), *map(str, arguments)], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def megabytes(mebibytes):
    """As the targets are told: 10^6 bytes."""
    return mebibytes * (1 << 20) / 1e6


def pss_mib(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def memory_mib(pid):
    """Resident now, and the most it ever was."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


def processes_with(text):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append((int(entry.name), command))
    return found


class Connection:
    """One keep-alive connection; every call gives (status, body)."""

    def __init__(self, origin, cafile=None):
        place = urllib.parse.urlsplit(origin)
        if place.scheme == "https":
            self.http = http.client.HTTPSConnection(place.hostname, place.port, timeout=120,
                                                    context=ssl.create_default_context(cafile=cafile))
        else:
            self.http = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        self.http.connect()
        self.http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method, path, body=None, headers=None):
        self.http.request(method, path, body=body, headers=headers or {})
        reply = self.http.getresponse()
        return reply.status, reply.read()

    def close(self):
        self.http.close()


class Server:
    def __init__(self, folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="turnout-bench-"))
        self.data = self.folder / "data"
        self.process = None

    def run(self, *arguments, check=True, cwd=None, quiet=True):
        done = subprocess.run([str(TURNOUT), *map(str, arguments)], cwd=cwd, text=True, capture_output=quiet,
                              stdin=subprocess.DEVNULL, env={**os.environ, "TURNOUT_DATA": str(self.data)})
        if check and done.returncode != 0:
            raise SystemExit(f"turnout {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def spawn(self):
        log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen([str(TURNOUT), "up", "--data", str(self.data), "--listen", "127.0.0.1:0"],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def start(self):
        self.spawn()
        deadline = time.monotonic() + 60
        while self.run("status", check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("turnout up failed: " + (self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.02)
        self.learn()
        return self

    def learn(self):
        script = f'eval "$("{TURNOUT}" env --data "{self.data}")" && env -0'
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
        self.env = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
        self.origin = self.env["ARM_CLOUD_METADATA_URL"].split("/metadata/")[0]
        self.plain = json.loads((self.data / "client.json").read_text())["plain_url"]
        self.cafile = self.env["REQUESTS_CA_BUNDLE"]
        config = json.loads(self.run("config").stdout)
        self.ws = (f"/subscriptions/{config['subscription_id']}/resourceGroups/{config['resource_group']}"
                   f"/providers/Microsoft.MachineLearningServices/workspaces/{config['workspace_name']}")
        place = urllib.parse.urlsplit(self.env["IDENTITY_ENDPOINT"])
        tokens = Connection(f"{place.scheme}://{place.netloc}", self.cafile)
        _, body = tokens.call("GET", place.path + "?api-version=2019-08-01&resource=" + urllib.parse.quote(self.origin, safe=""),
                              headers={"X-IDENTITY-HEADER": self.env["IDENTITY_HEADER"], "Metadata": "true"})
        tokens.close()
        self.token = json.loads(body)["access_token"]
        self.headers = {"Authorization": "Bearer " + self.token, "Content-Type": "application/json"}

    def connect(self):
        return Connection(self.origin, self.cafile)

    def cluster(self, name, nodes=1):
        self.run("compute", "create", "-n", name, "--type", "amlcompute", "--size", "STANDARD_DS3_v2",
                 "--min-instances", nodes, "--max-instances", nodes)

    def job_body(self, name, command, compute):
        return json.dumps({"properties": {
            "jobType": "Command", "command": command, "experimentName": "bench", "displayName": name,
            "environmentId": f"{self.ws}/environments/host/versions/1", "computeId": f"{self.ws}/computes/{compute}"}})

    def put_job(self, connection, name, command, compute):
        body = self.job_body(name, command, compute)
        status, reply = connection.call("PUT", f"{self.ws}/jobs/{name}?api-version=2025-01-01-preview", body, self.headers)
        if status not in (200, 201):
            raise SystemExit(f"job {name}: {status} {reply[:300]}")

    def host_environment(self):
        """An environment that is this machine: nothing to prepare."""
        connection = self.connect()
        body = json.dumps({"properties": {"image": "debian:12", "osType": "Linux"}})
        status, reply = connection.call("PUT", f"{self.ws}/environments/host/versions/1?api-version=2023-04-01-preview", body, self.headers)
        connection.close()
        if status not in (200, 201):
            raise SystemExit(f"environment: {status} {reply[:300]}")

    def job(self, connection, name):
        status, reply = connection.call("GET", f"{self.ws}/jobs/{name}?api-version=2024-01-01-preview", headers=self.headers)
        if status != 200:
            raise SystemExit(f"job {name}: {status} {reply[:300]}")
        return json.loads(reply)["properties"]

    def wait_job(self, connection, name, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            properties = self.job(connection, name)
            if properties["status"] in ("Completed", "Failed", "Canceled"):
                return properties
            if time.monotonic() > deadline:
                raise SystemExit(f"job {name} is {properties['status']} after {seconds} s")
            time.sleep(0.02)

    def log_url(self, connection, name, seconds=30):
        """The signed URL of the job's log, as jobs.stream gets it."""
        deadline = time.monotonic() + seconds
        while True:
            status, reply = connection.call("GET", f"/history/v1.0{self.ws}/runs/{name}/details?api-version=v1.0", headers=self.headers)
            url = json.loads(reply).get("logFiles", {}).get("user_logs/std_log.txt") if status == 200 else None
            if url:
                return url
            if time.monotonic() > deadline:
                raise SystemExit(f"job {name} has no log")

    def load(self, what, **values):
        """bench/load.cc against the plain listener; its progress goes to the terminal."""
        arguments = [f"{key}={value}" for key, value in {"origin": self.plain, **values}.items()]
        done = subprocess.run([str(LOAD), what, *arguments], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "TURNOUT_LOAD_TOKEN": self.token})
        if done.returncode != 0:
            raise SystemExit(f"load {what} failed: {done.stdout[-500:]}")
        return json.loads(done.stdout)

    def load_jobs(self, what, prefix, count, command, compute, **values):
        """Jobs `{prefix}0000000` … by the load client."""
        body = self.folder / "body.json"
        body.write_text(self.job_body("@NAME@", command, compute))
        return self.load(what, path=f"{self.ws}/jobs/", version="2025-01-01-preview", body=body, prefix=prefix, count=count, **values)

    def cpu_by_kind(self):
        """CPU seconds so far of the server, of all agents and of all supervisors; not of the tasks."""
        used = {"server": cpu_seconds(self.process.pid), "agent": 0.0, "supervisor": 0.0}
        for pid, command in processes_with(str(self.data)):
            program = Path(command.split()[0]).name
            kind = "supervisor" if "supervisor" in program else "agent" if "agent" in program else None
            if kind and pid != self.process.pid:
                used[kind] += cpu_seconds(pid)
        return used

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.run("down", "--all", check=False)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, _ in processes_with(str(self.data)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    filesystem = subprocess.run(["stat", "-f", "-c", "%T", tempfile.gettempdir()], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory, 1), "kernel": os.uname().release,
            "filesystem": filesystem, "load_before": [round(x, 2) for x in os.getloadavg()]}
