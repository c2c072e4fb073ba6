"""What a hostile job tries, as the job of test_isolation.py. It prints {what: what it got, or null}."""
import ctypes
import json
import os
import signal
import socket
import subprocess

at = json.loads(os.environ["TARGETS"])
libc = ctypes.CDLL(None, use_errno=True)


def read(path):
    with open(path, "rb") as file:
        return len(file.read(64)) > 0


def write(path):
    with open(path, "ab"):
        return True


def connect(path):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.settimeout(2)
        try:  # a supervisor closes at once what it does not want
            return peer.recv(1) != b""
        except TimeoutError:
            return True


def may_signal(pid):
    os.kill(pid, 0)
    return True


def trace(pid):
    if libc.ptrace(0x4206, pid, 0, 0) != 0:  # PTRACE_SEIZE: it does not stop
        raise OSError(ctypes.get_errno(), "ptrace")
    libc.ptrace(17, pid, 0, 0)
    return True


def own_namespaces():
    """In those of one's own one has every right, and what only root asks of the kernel."""
    if libc.unshare(0x10000000 | 0x00020000) != 0:  # CLONE_NEWUSER, CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")


def in_child(what):
    """Rights that are had there are not ours afterwards."""
    child = os.fork()
    if child == 0:
        try:
            what()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


tries = {"list the data folder": lambda: set(os.listdir(at["data"])) - {"workspaces"} != set()}  # in namespaces its own lies there
for name in ("admin.key", "keys.json", "ca.key", "server.key", "secrets.key", "turnout.db", "users.json", "pools.yaml"):
    tries["read " + name] = lambda name=name: read(f"{at['data']}/{name}")
tries |= {
    "read another workspace's job": lambda: read(at["secret"]),
    "read another workspace's node token": lambda: read(at["token"]),
    "list another workspace's nodes": lambda: os.listdir(at["nodes"]) != [],
    "write into another workspace's cache": lambda: write(at["cache"] + "/planted"),
    "write into the programs of all": lambda: write(at["program"]),
    "take another user's number": lambda: in_child(lambda: os.mkdir(at["users"] + "/999999")),
    "connect to another workspace's supervisor": lambda: connect(at["supervisor_socket"]),
    "connect to another workspace's way to the server": lambda: connect(at["way"]),
    "connect to the agents' socket of root": lambda: connect(at["data"] + "/agent.sock"),
    "become root": lambda: in_child(lambda: os.setuid(0)),
    "become another workspace's user": lambda: in_child(lambda: os.setresuid(*[at["uid"]] * 3)),
    "take another group": lambda: in_child(lambda: os.setgroups([at["uid"]])),
    "have every right in namespaces of its own": lambda: in_child(own_namespaces),
    "root's memory": lambda: read_memory(at["server"]),
    "gain rights by a setuid program": lambda: "\nNoNewPrivs:\t0" in open("/proc/self/status").read(),
}


def read_memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        first = int(maps.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(first)
        return len(memory.read(16)) == 16


for who in ("server", "agent", "supervisor", "task"):
    tries[f"signal the {who}"] = lambda who=who: may_signal(at[who])
    tries[f"read the environment of the {who}"] = lambda who=who: read(f"/proc/{at[who]}/environ")
    tries[f"see the files of the {who}"] = lambda who=who: os.listdir(f"/proc/{at[who]}/fd") != []
tries["trace another workspace's task"] = lambda: trace(at["task"])

got = {}
for what, how in tries.items():
    try:
        got[what] = bool(how()) or None
    except (OSError, PermissionError):
        got[what] = None
print("GOT " + json.dumps(got), flush=True)
print("SEES " + json.dumps(sorted(os.environ)), flush=True)

# What root touches later: links where it writes, reads and removes.
node = os.environ["TURNOUT_NODE_FOLDER"]
os.makedirs("outputs", exist_ok=True)
for name, target in (("agent.json", "planted-json"), ("node.token", "planted-token"), ("drill.ballast", "planted-ballast"),
                     ("agent.log.new", "planted-log")):
    try:
        os.symlink(f"{at['data']}/{name}", f"{node}/{target}")
        os.symlink(f"{at['data']}/{target}", f"{node}/{name}")
    except FileExistsError:
        pass
os.symlink(at["data"] + "/admin.key", "outputs/key")
os.symlink(at["data"], "outputs/all")
os.symlink(at["data"], f"{node}/removed-by-root")

# Nobody's child, of a session of its own, with nothing that tells where it comes from.
subprocess.Popen(["setsid", "-f", "/bin/sh", "-c", "trap '' TERM HUP; cd /; while :; do sleep 1000; done"], env={}, close_fds=True,
                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
