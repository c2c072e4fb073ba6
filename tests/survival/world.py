"""The world of a survival run: a real server on a folder of its own, its processes, the cable between
it and its agents, its disk and its clock; and a client of its API that goes on asking."""
import http.client
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
API = "api-version=2024-10-01-preview"


def since_boot():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def kill(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


class Processes:
    """What runs of this world now, from /proc: nothing that anybody says is believed."""

    def __init__(self, data, notes):
        self.agents = {}       # pid -> node id
        self.supervisors = {}  # pid -> node folder
        self.starting = []     # tasks that have their supervisor's command line still
        self.tasks = {}        # pid -> attempt id
        data, notes = str(data).encode(), str(notes).encode()
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            words = read(f"/proc/{entry.name}/cmdline").split(b"\0")
            pid = int(entry.name)
            if len(words) < 2:
                continue
            # One that surveys the machine's Pythons is nobody's agent.
            if words[0].endswith(b"turnout-agent") and words[0].startswith(data) and b"--node" in words:
                self.agents[pid] = words[words.index(b"--node") + 1].decode()
            elif b"turnout-supervisor" in words[0] and words[1].startswith(data):
                self.supervisors[pid] = words[1].decode()
            elif notes in b" ".join(words) and b"\"notes\"" in b" ".join(words):
                for item in read(f"/proc/{entry.name}/environ").split(b"\0"):
                    if item.startswith(b"TURNOUT_ATTEMPT="):
                        self.tasks[pid] = item[16:].decode()

        for pid in self.supervisors:
            fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            if fields and int(fields[1]) in self.supervisors:
                self.starting.append(pid)
        for pid in self.starting:
            del self.supervisors[pid]

    def all(self):
        return [*self.tasks, *self.supervisors, *self.agents]

    def of_node(self, folder):
        """(agents, supervisors, tasks) of the node with that folder."""
        agents = [pid for pid, node in self.agents.items() if node.replace("/", "_") == Path(folder).name]
        supervisors = [pid for pid, at in self.supervisors.items() if at == folder]
        tasks = [pid for pid in self.tasks if read(f"/proc/{pid}/environ").find(folder.encode() + b"/") >= 0]
        return agents, supervisors, tasks


class Relay:
    """The cable. The server's own socket is renamed, and the relay listens where it was."""

    def __init__(self, data):
        self.path, self.behind = data / "agent.sock", data / "link.sock"
        self.lock = threading.Lock()
        self.process = subprocess.Popen([sys.executable, "-I", "-S", HERE / "relay.py", self.path, self.behind],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.mode = "open"

    def say(self, word):
        with self.lock:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
            self.process.stdout.readline()
            if word != "reset":
                self.mode = word

    def unplug(self):
        """Before a server starts, which refuses a socket that somebody serves."""
        self.path.unlink(missing_ok=True)

    def plug(self):
        """After a server has made its socket."""
        self.path.rename(self.behind)
        self.say(self.mode)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Clock:
    """The server's wall clock, by a library that is loaded into it: the machine's own is left alone."""

    def __init__(self, folder):
        self.path, self.library = folder / "clock", folder / "clock_shim.so"
        self.path.write_bytes(bytes(8))
        built = subprocess.run(["g++", "-x", "c", "-O1", "-shared", "-fPIC", "-o", self.library, HERE / "clock_shim.c"], capture_output=True, text=True)
        self.trouble = built.stderr if built.returncode else ""
        with open(self.path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 8)
        self.hours = 0.0

    def environment(self):
        return {} if self.trouble else {"LD_PRELOAD": str(self.library), "TURNOUT_TEST_CLOCK": str(self.path)}

    def set(self, hours):
        self.hours = hours
        self.shared[:8] = struct.pack("=q", int(hours * 3.6e9))


class World:
    def __init__(self, turnout, folder, slots, disk_mb):
        self.turnout, self.folder, self.slots = turnout, folder, slots
        self.data, self.notes = folder / "d", folder / "notes"
        self.data.mkdir()
        self.notes.mkdir()
        self.log = folder / "server.log"
        self.clock = Clock(folder)
        # A disk of its own, which can be full; this process has a mount namespace of its own.
        self.disk = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m,mode=0700", "tmpfs", self.data],
                                   capture_output=True).returncode == 0
        self.relay = None
        self.process = None
        self.port = 0
        self.started = threading.Event()  # a server answers
        self.again = Counter()  # status of an answer after which was asked again: 0 if there was none
        self.recoveries = []    # seconds from start to the first answer
        self.jobs_in_store = 0
        self.idle = []

    # ---- the server ----

    def environment(self):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "MLFLOW_", "AZUREML_", "IDENTITY_"))}
        return {**plain, **self.clock.environment()}

    def start(self):
        """Seconds until it answered; None if its first answer was another than 200."""
        if self.relay:
            self.relay.unplug()
        begun = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.turnout, "up", "--data", str(self.data), "--listen", "127.0.0.1:0", "--slots", str(self.slots)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(), start_new_session=True)
        while True:
            if self.process.poll() is not None:
                raise ServerEnded(f"turnout up ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            found = json.loads(read(self.data / "server.json") or b"{}")
            if found.get("pid") == self.process.pid:
                break
            if time.monotonic() - begun > 60:
                raise ServerEnded("turnout up was not ready after 60 s: " + self.log.read_text()[-2000:])
            time.sleep(0.005)
        self.port = int(found["plain_url"].rsplit(":", 1)[1].rstrip("/"))
        self.key = read(self.data / "admin.key").decode().strip()
        if not self.relay:
            client = json.loads(read(self.data / "client.json"))
            self.workspace = (f"/subscriptions/{client['subscription_id']}/resourceGroups/{client['resource_group']}"
                              f"/providers/Microsoft.MachineLearningServices/workspaces/{client['workspace_name']}")
            self.tls = found["url"].rsplit(":", 1)[1].rstrip("/")
            self.relay = Relay(self.data)
        self.relay.plug()
        status, _ = Client(self).once("GET", f"{self.workspace}/jobs?{API}&$top=1")
        seconds = time.monotonic() - begun if status == 200 else None
        if seconds:
            self.recoveries.append(seconds)
        self.started.set()
        return seconds

    def end_server(self, number):
        self.started.clear()
        pid = self.process.pid
        kill(pid, number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            kill(pid, signal.SIGKILL)
            self.process.wait(10)
            return False
        return True

    def processes(self):
        return Processes(self.data, self.notes)

    # ---- its disk ----

    def fill_disk(self):
        filler = os.open(self.data / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
        at, piece = 0, 8 << 20
        while piece >= 4096:
            try:
                os.posix_fallocate(filler, at, piece)
                at += piece
            except OSError:
                piece //= 2
        os.close(filler)

    def free_disk(self):
        (self.data / "filler").unlink(missing_ok=True)

    # ---- connections that say nothing ----

    def open_idle(self, count):
        """Up to that many in all: to the TLS listener, the plain one and the agents' socket."""
        alive = []
        for link in self.idle:
            try:
                link.recv(1)
                link.close()
            except BlockingIOError:
                alive.append(link)
            except OSError:
                link.close()
        self.idle = alive
        for number in range(count - len(alive)):
            try:
                if number % 3 == 2:
                    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    link.settimeout(2)
                    link.connect(str(self.relay.behind))
                else:
                    link = socket.create_connection(("127.0.0.1", int(self.tls) if number % 3 else self.port), timeout=2)
                link.setblocking(False)
                self.idle.append(link)
            except OSError:
                break
        return len(self.idle)

    def close_idle(self):
        for link in self.idle:
            link.close()
        self.idle = []

    # ---- the end ----

    def stop(self):
        for pid in ([self.process.pid] if self.process and self.process.poll() is None else []) + self.processes().all():
            kill(pid, signal.SIGCONT)
            kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(10)
        if self.relay:
            self.relay.stop()

    def keep(self):
        """What a violation is looked into with, beyond the life of this mount namespace."""
        if self.disk:
            self.free_disk()
            shutil.copytree(self.data, self.folder / "data", symlinks=True,
                            ignore=lambda at, names: [n for n in names if Path(at, n).is_socket()], dirs_exist_ok=True)
        return self.folder


class ServerEnded(Exception):
    pass


class Refused(Exception):
    """An answer that no fault explains."""

    def __init__(self, method, path, status, body):
        super().__init__(f"{method} {path.split('?')[0].rsplit('workspaces/', 1)[-1]}: HTTP {status} {body[:300]!r}")
        self.status = status


class Client:
    """One connection; one thread."""

    def __init__(self, world):
        self.world = world
        self.link = None

    def once(self, method, path, body=None, headers=None):
        """(status, bytes), or (0, b"") if nobody knows what became of it."""
        try:
            if not self.link:
                self.link = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=30)
            self.link.request(method, path, body=None if body is None else json.dumps(body),
                              headers={"Authorization": f"Bearer {self.world.key}", "Content-Type": "application/json", **(headers or {})})
            answer = self.link.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            if self.link:
                self.link.close()
            self.link = None
            return 0, b""

    def ask(self, method, path, body=None, seconds=120, allowed=()):
        """Asks until it is answered; (status, document, since boot when it was answered)."""
        deadline = time.monotonic() + seconds
        while True:
            status, text = self.once(method, path, body)
            at = since_boot()
            if 200 <= status < 300 or status in allowed:
                return status, text, at
            if status not in (0, 408, 429, 500, 503, 507):
                raise Refused(method, path, status, text)
            if time.monotonic() > deadline:
                raise Refused(method, path, status, text)
            self.world.again[status] += 1
            time.sleep(0.1)
            self.world.started.wait(60)
