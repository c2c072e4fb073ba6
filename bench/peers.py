"""The same no-op tasks by other runners, where they are installed: Slurm (Debian), Ray (PyPI) and
HyperQueue if `HQ=` names its program. Each beside the posix_spawn loop, in alternation."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import ROOT, free_port, median, quantile
from runtime import NODES, Beside, Scale, say

RAY = ROOT / "build" / "bench-peers" / "bin" / "python"


class Daemons:
    """Processes of a runner and its folder; both go at the end, by what was started here."""

    def __init__(self, name):
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.processes = []
        os.chmod(self.folder, 0o755)

    def start(self, *argv, env=None):
        log = open(self.folder / f"out-{len(self.processes)}", "ab")
        self.processes.append(subprocess.Popen([str(one) for one in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               env={**os.environ, **(env or {})}, start_new_session=True))
        log.close()

    def stop(self):
        for process in reversed(self.processes):
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(10)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(true, seconds, what):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start in {seconds} s")
        time.sleep(0.05)


def result(name, beside, more=""):
    raw = beside.raw()
    return {"name": name, "target": "", "value": f"{raw['rate']:,.0f}/s = {raw['ratio']:.2f} of the loop{more}",
            "beside": f"posix_spawn loop of `/bin/true`, {NODES} in flight: {raw['loop']:,.0f}/s", "met": None, "raw": raw}


# ---- Slurm

def slurm_conf(folder, cpus):
    host = socket.gethostname()
    ports = [free_port() for _ in range(NODES + 1)]
    nodes = "\n".join(f"NodeName=n{i + 1} NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[i + 1]} CPUs={cpus} RealMemory=1000 State=UNKNOWN"
                      for i in range(NODES))
    return f"""ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,max_array_tasks=20000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MaxArraySize=20001
MaxJobCount=100000
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A private munged, slurmctld and two slurmd on loopback."""

    def __init__(self, cpus):
        self.daemons = Daemons("slurm")
        folder = self.daemons.folder
        for sub in ("munge", "state", "spool-n1", "spool-n2"):
            (folder / sub).mkdir(mode=0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.env = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "slurm.conf").write_text(slurm_conf(folder, cpus))
        self.daemons.start("munged", "-F", "-f", f"--key-file={key}", f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid",
                           f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed", "--num-threads=2")
        wait_until((folder / "munge" / "socket").exists, 20, "munged")
        self.daemons.start("slurmctld", "-D", "-f", folder / "slurm.conf", env=self.env)
        for number in range(NODES):
            self.daemons.start("slurmd", "-D", "-N", f"n{number + 1}", "-f", folder / "slurm.conf", env=self.env)
        wait_until(lambda: len(self.call("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()) == NODES, 30, "Slurm")

    def call(self, *argv, check=True):
        return subprocess.run(argv, cwd=self.daemons.folder, env={**os.environ, **self.env}, capture_output=True, text=True, check=check).stdout

    def array(self, count):
        script = self.daemons.folder / "task.sh"
        script.write_text("#!/bin/sh\nexec /bin/true\n")
        begin = time.perf_counter()
        self.call("sbatch", f"--array=0-{count - 1}", "-n1", "-o", "/dev/null", str(script))
        while self.call("squeue", "-h", "-o", "%A"):
            time.sleep(0.1)
        return count / (time.perf_counter() - begin)


def figure_slurm():
    if not shutil.which("slurmctld"):
        raise SystemExit("slurmctld is not installed (Debian: slurm-wlm munge)")
    count = min(Scale.tasks // 10, 1_000)
    # Two CPUs a node is what this machine has; 32 declared ones are kinder to it, since its slots
    # turn over about once a second.
    slurm = Slurm(32)
    try:
        slurm.array(20)
        beside, single = Beside(["/bin/true"], count), []
        for _ in range(Scale.rounds):
            beside.add(slurm.array(count))
        for _ in range(20):
            begin = time.perf_counter()
            slurm.call("srun", "-n1", "/bin/true")
            single.append((time.perf_counter() - begin) * 1000)
        version = slurm.call("sinfo", "--version").strip().replace("slurm-wlm", "Slurm")
        out = result(f"{version}: an array of {count:,} `/bin/true`, {NODES} nodes with 32 CPUs declared each", beside,
                     f"; `srun` one at a time p50 {median(single):.0f} ms, p99 {quantile(single, 0.99):.0f} ms")
        out["raw"].update({"count": count, "srun_p50_ms": median(single), "srun_ms": single})
        return out
    finally:
        slurm.daemons.stop()


# ---- Ray

RAY_SCRIPT = """
import os, sys, time, ray
count = int(sys.argv[1])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=sys.argv[2])
@ray.remote
def run():
    pid = os.posix_spawn("/bin/true", ["/bin/true"], os.environ)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
ray.get([run.remote() for _ in range(100)])
print(ray.__version__, flush=True)
for line in sys.stdin:
    begin = time.perf_counter()
    codes = ray.get([run.remote() for _ in range(count)])
    assert codes == [0] * count
    print(count / (time.perf_counter() - begin), flush=True)
"""


def figure_ray():
    if not RAY.exists():
        raise SystemExit("Ray is not installed (bench/requirements-peers.txt)")
    count = Scale.tasks
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    process = subprocess.Popen([str(RAY), "-c", RAY_SCRIPT, str(count), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, start_new_session=True, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})
    try:
        version = process.stdout.readline().strip()
        beside = Beside(["/bin/true"], count)
        for _ in range(Scale.rounds):
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit("Ray ended")
            beside.add(float(line))
        process.stdin.close()
        process.wait(60)
        return result(f"Ray {version}: {count:,} tasks that each run `/bin/true`, 2 CPUs (no log, nothing durable)", beside)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


# ---- HyperQueue

def figure_hq():
    program = os.environ.get("HQ", "")
    if not program:
        raise SystemExit("no program: HQ= names none, and no registry has one (the wheel on PyPI is without `hq`)")
    daemons = Daemons("hq")
    try:
        server = ["--server-dir", daemons.folder / "server"]
        hq = lambda *argv: subprocess.run([program, *map(str, server), *map(str, argv)], cwd=daemons.folder, check=True, capture_output=True, text=True).stdout
        daemons.start(program, *server, "server", "start", "--journal", daemons.folder / "journal")
        wait_until(lambda: (daemons.folder / "server" / "hq-current").exists(), 20, "hq server")
        for _ in range(NODES):
            daemons.start(program, *server, "worker", "start", "--cpus", "1")
        count = Scale.tasks
        hq("submit", "--wait", "--array", "1-100", "/bin/true")
        beside, single = Beside(["/bin/true"], count), []
        for _ in range(Scale.rounds):
            begin = time.perf_counter()
            hq("submit", "--wait", "--array", f"1-{count}", "/bin/true")
            beside.add(count / (time.perf_counter() - begin))
        for _ in range(20):
            begin = time.perf_counter()
            hq("submit", "--wait", "/bin/true")
            single.append((time.perf_counter() - begin) * 1000)
        out = result(f"{hq('--version').strip()}: an array of {count:,} `/bin/true`, {NODES} workers, with a journal", beside,
                     f"; `hq submit --wait` one at a time p50 {median(single):.0f} ms")
        out["raw"].update({"count": count, "submit_p50_ms": median(single)})
        return out
    finally:
        daemons.stop()


FIGURES = {"slurm": figure_slurm, "ray": figure_ray, "hq": figure_hq}
