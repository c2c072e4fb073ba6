"""Who a job is, and what it reaches: a pool with `isolation: workspace_uid`, a job that tries all it can, and what must work all
the same. docs/security.md has the table. Root's tests: CI is root."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
from pathlib import Path

import pytest

from conftest import PLAIN_ENV, ROOT, TURNOUT, Server, eventually
from test_environments import WHEEL

HOSTILE = Path(__file__).parent / "hostile_job.py"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="users of their own are root's to give")

# What the same job gets where all run as root, the server's user. Each of them is null with workspace_uid.
GOT_AS_ROOT = {
    "list the data folder", "read admin.key", "read keys.json", "read ca.key", "read server.key", "read secrets.key", "read turnout.db",
    "read pools.yaml",
    "read another workspace's job", "read another workspace's node token", "list another workspace's nodes",
    "write into another workspace's cache", "connect to another workspace's supervisor", "connect to the agents' socket of root",
    "become root", "become another workspace's user", "take another group", "root's memory", "gain rights by a setuid program",
    "have every right in namespaces of its own",
    "trace another workspace's task", *(f"{what} {who}" for who in ("server", "agent", "supervisor", "task")
                                        for what in ("signal the", "read the environment of the", "see the files of the"))}


def folders_in(root):
    """What each workspace has of a server: {workspace: folder}."""
    owners = [*Path(root, "users").glob("*/owner.json"), *Path(root, "data/workspaces").glob("*/owner.json")]
    return {json.loads(owner.read_text())["workspace"]: owner.parent for owner in owners}


def users_in(root):
    """The users of a server: {workspace: uid}."""
    return {workspace: folder.joinpath("home").stat().st_uid for workspace, folder in folders_in(root).items()}


def processes_of(uid):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "status").read_text() if entry.name.isdigit() else ""
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in status and "\nState:\tZ" not in status:
            found.append(int(entry.name))
    return found


class World:
    """A server with users for two workspaces, `default` and `second`, and a cluster in each."""

    def __init__(self, isolation, user=None):
        self.isolation = isolation
        # Others pass it, so not where pytest has its folders.
        self.root = Path(tempfile.mkdtemp(prefix="turnout-iso-", dir="/var/tmp"))
        self.root.chmod(0o711)
        self.server = Server(self.root / "data")
        self.server.user = user
        first = 2_000_000 + os.getpid() % 100_000 * 8
        self.wheels = self.root / "wheels"
        self.wheels.mkdir()
        subprocess.run([sys_python(), "-c", WHEEL, "turnoutbase", "1.0", str(self.wheels)], check=True)
        self.server.data.joinpath("pools.yaml").write_text(textwrap.dedent(f"""\
            pools:
              local:
                slots: 6
                isolation: {isolation}
                settings:
                  uid_range: [{first}, {first + 3}]
                  folder: {self.root}/users
                  variables: {{PIP_FIND_LINKS: {self.wheels}}}
                  read: [{self.wheels}, {self.root}/letters, /nowhere/else]
            """))
        if user:
            self.root.joinpath("home").mkdir()
            for path in (self.server.data, self.root / "home"):
                os.chown(path, user, user)
        self.server.surroundings = {**({"HOME": str(self.root / "home")} if user else {}), "SECRET_OF_THE_SHELL": "x", "PIP_TIMEOUT": "77", "HTTPS_PROXY": "http://127.0.0.1:9"}
        self.server.start()

    def furnish(self):
        self.server.turnout("workspace", "create", "-n", "second")
        self.server.turnout("secret", "set", "planted", "--value-file", "-", input="what another job may have")  # makes secrets.key
        for workspace in ("default", "second"):
            self.server.turnout("compute", "create", "-n", "cpu", "-w", workspace, "--type", "amlcompute", "--size", "STANDARD_DS1_v2",
                                "--max-instances", "2", "--idle-time-before-scale-down", "600")

    def job(self, text, workspace="default", code=None, wait=True):
        folder = Path(tempfile.mkdtemp(dir=self.root))
        folder.joinpath("job.yml").write_text(textwrap.dedent(text))
        if code:
            shutil.copytree(code, folder / "src")
        created = self.server.turnout("job", "create", "-f", folder / "job.yml", "-w", workspace, "-o", "json")
        name = json.loads(created.stdout)["name"]
        if wait:
            status = eventually(f"{name} ends", lambda: self.over(name, workspace), 240)
            assert status == "Completed", self.log(name, workspace) + self.explain(name, workspace)
        return name

    def status(self, name, workspace="default"):
        return json.loads(self.server.turnout("job", "show", "-n", name, "-w", workspace, "-o", "json").stdout)["status"]

    def over(self, name, workspace="default"):
        status = self.status(name, workspace)
        return status if status in ("Completed", "Failed", "Canceled") else None

    def explain(self, name, workspace="default"):
        return self.server.turnout("job", "explain", name, "-w", workspace, check=False).stdout

    def log(self, name, workspace="default"):
        return self.server.turnout("job", "stream", "-n", name, "-w", workspace, check=False).stdout

    def download(self, name, workspace="default"):
        target = Path(tempfile.mkdtemp(dir=self.root))
        self.server.turnout("job", "download", "-n", name, "-w", workspace, "--all", "-p", target)
        return target

    def close(self):
        self.server.stop()
        for uid in users_in(self.root).values():
            for pid in processes_of(uid):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)


def sys_python():
    import sys

    return sys.executable


def world_with(isolation, user=None):
    world = World(isolation, user)
    try:
        world.furnish()
        yield world
    finally:
        world.close()


@pytest.fixture(scope="module", params=["workspace_uid", "workspace_namespaces", "without root"])
def world(request):
    if request.param == "without root":
        yield from world_with("workspace_namespaces", 3_000_000 + os.getpid() % 100_000)
    else:
        yield from world_with(request.param)


@pytest.fixture
def open_world():
    yield from world_with("shared_uid")


def attack(world):
    """A job of `second` has a secret; a job of `default` tries everything."""
    victim = world.job("command: echo hidden >secret; echo begun; sleep 1000\nenvironment: {image: x}\ncompute: cpu\n", "second", wait=False)
    eventually("it has begun", lambda: "begun" in os_log(world, victim), 60)
    secret = next(path for path in world.root.rglob("secret"))
    node = secret.parents[3]
    assert node.parent.name == "nodes", node

    def look():
        pids = {"server": world.server.process.pid}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if os.readlink(f"/proc/{pid}/cwd") == str(node):
                    pids["agent" if b"--node" in words else "supervisor"] = pid
                if words[0].endswith(b"sleep") and words[1] == b"1000" and os.readlink(f"/proc/{pid}/cwd") == str(secret.parent):
                    pids["task"] = pid
            except OSError:
                pass
        return pids if len(pids) == 4 else None

    pids = eventually("its processes are there", look)
    user = node.parents[1]
    own = user.name.isdigit()
    targets = {
        "data": str(world.server.data), "secret": str(secret), "nodes": str(node.parent), "users": str(user.parent if own else world.root / "users"),
        "cache": str(user / "cache"), "supervisor_socket": str(node / "supervisor.sock"), "way": str(user / "server.sock"),
        "token": str(user / "agents" / (node.name + ".token") if own else node / "node.token"),
        "uid": user.joinpath("home").stat().st_uid if own else 65534,
        "program": str(next(iter(user.parent.glob("bin/*/turnout-agent")), world.root / "none/agent")), **pids}
    folder = Path(tempfile.mkdtemp(dir=world.root))
    shutil.copy(HOSTILE, folder)
    job = f"command: python3 hostile_job.py\ncode: src\nenvironment: {{image: x}}\ncompute: cpu\nenvironment_variables:\n  TARGETS: '{json.dumps(targets)}'\n"
    name = world.job(job, code=folder)
    log = world.log(name)
    said = {word: json.loads(line.removeprefix(word)) for line in log.splitlines() for word in ("GOT ", "SEES ") if line.startswith(word)}
    return victim, name, said["GOT "], said["SEES "]


def os_log(world, name):
    return "begun" if world.status(name, "second") == "Running" and any(world.root.rglob("secret")) else ""


def test_a_hostile_job_gets_nothing_of_others(world):
    admin_key = world.server.data.joinpath("admin.key").read_text().strip()
    victim, name, got, sees = attack(world)
    if world.server.user:  # it is that user already, as all are
        assert got.pop("become another workspace's user")
    if world.isolation == "workspace_uid":  # as the kernel gives them to everybody
        assert got.pop("have every right in namespaces of its own")
    assert not [what for what in got if got[what]], got
    assert GOT_AS_ROOT - {"become another workspace's user", "have every right in namespaces of its own"} <= set(got)
    # The surroundings of the server's shell are not the job's; what the pool says, is.
    assert not {"SECRET_OF_THE_SHELL", "PIP_TIMEOUT", "HTTPS_PROXY"} & set(sees), sees
    assert "PIP_FIND_LINKS" in sees

    uids, folders = users_in(world.root), folders_in(world.root)
    assert len(folders) == 2 and len(set(uids.values())) == (1 if world.server.user else 2)
    # Its outputs led to root's files: the agent, which is the same user, could not read them either.
    assert admin_key not in "".join(path.read_text(errors="replace") for path in world.download(name).rglob("*") if path.is_file())
    # The daemon is found with nothing to tell where it came from, while the node stays.
    daemons = lambda: [pid for uid in uids.values() for pid in processes_of(uid) if b"trap ''" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    eventually("its daemon is ended", lambda: not daemons(), 60)
    # The victim has noticed nothing, and goes with its node, as does all that is the user's; root followed no link.
    assert world.status(victim, "second") == "Running"
    before = sorted(path.name for path in world.server.data.iterdir())
    world.server.turnout("job", "cancel", "-n", victim, "-w", "second")
    for workspace in ("default", "second"):
        world.server.turnout("compute", "delete", "-n", "cpu", "-w", workspace, "--yes")
    for workspace, uid in uids.items():
        eventually("nothing of that user runs", lambda: not set(processes_of(uid)) - {world.server.process.pid}, 60)
        eventually("its nodes are gone", lambda: not os.listdir(folders[workspace] / "nodes"), 60)
    taken = world.server.turnout("du", "environments", "-o", "json").stdout
    assert all((f"all (workspace {workspace})" if world.server.user else f"all of user {uid} (workspace {workspace})") in taken
               for workspace, uid in uids.items()), taken
    gone = set(before) - {path.name for path in world.server.data.iterdir()}
    assert not {one for one in gone if not one.startswith(("turnout.db", "ballast"))}, gone
    assert not [path for path in world.server.data.iterdir() if path.name.startswith("planted")]
    for workspace in ("default", "second"):
        world.server.turnout("compute", "create", "-n", "cpu", "-w", workspace, "--type", "amlcompute", "--size", "STANDARD_DS1_v2",
                             "--max-instances", "2")


def test_where_all_run_as_root_it_gets_what_the_page_says(open_world):
    _, _, got, sees = attack(open_world)
    assert {what for what in got if got[what]} == GOT_AS_ROOT, got
    # What the server's shell keeps for itself reaches nobody; proxies and indexes do, as programs need them.
    assert "SECRET_OF_THE_SHELL" not in sees and {"PIP_TIMEOUT", "HTTPS_PROXY"} <= set(sees), sees


def test_what_jobs_need_works_for_a_user_of_its_own(world):
    world.root.joinpath("letters").mkdir(exist_ok=True)
    for name in "ab":
        world.root.joinpath("letters", name + ".txt").write_text(name * 100_000)
    name = world.job(f"""\
        command: >-
          id -u; python -c "import turnoutbase; print('base', turnoutbase.version)";
          wc -c < ${{{{inputs.letters}}}}/b.txt; mkdir -p outputs; echo model >outputs/model; echo out >${{{{outputs.made}}}}/out.txt;
          python -c "import json, os, urllib.request as u;
          u.urlopen(u.Request(os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/runs/log-metric', method='POST',
          data=json.dumps(dict(run_id=os.environ['MLFLOW_RUN_ID'], key='loss', value=0.5, timestamp=1)).encode(),
          headers={{'Content-Type': 'application/json', 'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']}})).read(); print('told', 200)";
          cat /proc/self/oom_score_adj
        environment:
          image: x
          conda_file: {{dependencies: [pip, {{pip: ["--find-links {world.wheels}", "turnoutbase==1.0"]}}]}}
        inputs:
          letters: {{type: uri_folder, path: {world.root}/letters}}
        outputs:
          made: {{type: uri_folder}}
        compute: cpu
        """)
    log = world.log(name)
    assert {str(uid) for uid in users_in(world.root).values()} & set(log.splitlines()), log
    assert "base 1.0" in log and "100000" in log and "500" in log.split(), log
    files = {path.name: path.read_text() for path in world.download(name).rglob("*") if path.is_file()}
    assert files["model"] == "model\n" and files["out.txt"] == "out\n"
    assert "told 200" in log, log  # its metric reached the node, which sends it on

    # Several processes on two nodes of that user.
    ring = "command: python3 ring.py\ncode: src\nenvironment: {image: x}\ncompute: cpu\nresources: {instance_count: 2}\n" \
           "distribution: {type: pytorch, process_count_per_instance: 2}\n"
    world.job(ring, code=ROOT / "examples/distributed/src")

    # A sweep, whose trials tell their loss.
    world.job("""\
        type: sweep
        trial:
          command: >-
            python3 -c "import json, os, urllib.request as u;
            u.urlopen(u.Request(os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/runs/log-metric', method='POST',
            data=json.dumps(dict(run_id=os.environ['MLFLOW_RUN_ID'], key='loss', value=${{search_space.x}}, timestamp=1)).encode(),
            headers={'Content-Type': 'application/json', 'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']})).read()"
          environment: {image: x}
        compute: cpu
        sampling_algorithm: grid
        search_space: {x: {type: choice, values: [1, 2]}}
        objective: {goal: minimize, primary_metric: loss}
        limits: {max_total_trials: 2, max_concurrent_trials: 2}
        """)


def test_its_job_goes_on_while_the_server_is_killed_and_started(world):
    name = world.job("command: echo begun; sleep 5; echo ended; mkdir -p outputs; echo x >outputs/late\nenvironment: {image: x}\ncompute: cpu\n", wait=False)
    eventually("it runs", lambda: world.status(name) == "Running", 60)
    world.server.kill()
    world.server.start()
    assert eventually("it ends", lambda: world.over(name), 120) == "Completed"
    assert [word for word in world.log(name).split() if word in ("begun", "ended")] == ["begun", "ended"]
    shown = json.loads(world.server.turnout("pool", "show", "local", "-o", "json").stdout)
    assert shown["isolation"] == world.isolation and shown["settings"]["variables"] == {"PIP_FIND_LINKS": "***"}, shown
    rows = {row["name"]: row for row in json.loads(world.server.turnout("pool", "check", "-o", "json").stdout)}
    assert rows["local"]["isolation"] == world.isolation


def test_where_it_cannot_be_had_it_is_refused_with_the_reason(own_server):
    file = own_server.data / "pools.yaml"
    check = lambda: own_server.turnout("pool", "check", check=False)
    far = "  far: {provider: ssh, isolation: workspace_uid, settings: {user: x, key: /x, hosts: [h]}}\n"
    for text, why in ((far, "is for pools of this machine"),
                      ("  local: {isolation: workspace_uid, settings: {uid_range: [5, 3]}}\n", "expected [FIRST, LAST]"),
                      (f"  local: {{isolation: workspace_uid, settings: {{folder: {own_server.data.parent}/users}}}}\n", "other users cannot pass"),
                      ("  local: {isolation: workspace_uid, settings: {uid_range: [65530, 65540]}}\n", "is the user 'nobody'")):
        file.write_text("pools:\n" + text)
        done = check()
        assert done.returncode in (2, 4) and why in done.stderr, done.stderr
    # Not root: it does not start, and says why.
    folder = Path(tempfile.mkdtemp(prefix="turnout-", dir="/var/tmp"))
    try:
        folder.joinpath("pools.yaml").write_text("pools: {local: {isolation: workspace_uid}}\n")
        os.chown(folder, 65534, 65534)
        done = subprocess.run([TURNOUT, "up", "--data", str(folder), "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=60,
                              user=65534, group=65534, extra_groups=[], env={**PLAIN_ENV, "HOME": str(folder)}, cwd="/")
        assert done.returncode == 1 and "only a server that runs as root" in done.stderr, done.stderr
    finally:
        shutil.rmtree(folder)


def test_a_pool_that_becomes_isolated_runs_nothing_as_root_any_more(open_world):
    world = open_world
    first = world.job("command: id -u\nenvironment: {image: x}\ncompute: cpu\n")
    assert "0" in world.log(first).splitlines()
    world.server.kill()  # its node stays, as root
    file = world.server.data / "pools.yaml"
    file.write_text(file.read_text().replace("shared_uid", "workspace_uid"))
    world.server.start()
    second = world.job("command: id -u\nenvironment: {image: x}\ncompute: cpu\n")
    assert {str(uid) for uid in users_in(world.root).values()} & set(world.log(second).splitlines())
