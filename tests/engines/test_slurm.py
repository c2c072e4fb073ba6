"""Pools of a Slurm cluster: a real Slurm (tests/engines/slurm), the real SDK."""
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

# The clients' conftest is not this folder's.
_spec = importlib.util.spec_from_file_location("clients", Path(__file__).resolve().parents[1] / "clients" / "conftest.py")
clients = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clients)
Server, client_for, eventually, log_of, wait_for, processes_with = (
    clients.Server, clients.client_for, clients.eventually, clients.log_of, clients.wait_for, clients.processes_with)

# Of this run alone.
LONG, SILENT = 100000 + os.getpid(), 900000 + os.getpid()
SCRIPT = Path(__file__).with_name("slurm")
# Where environments are built from: what the server's own machine goes by.
PASSED = {name: value for name, value in os.environ.items()
          if name.lower() in ("https_proxy", "http_proxy", "no_proxy", "ssl_cert_file", "uv_index_url", "uv_default_index",
                              "pip_index_url", "uv_native_tls")}


@pytest.fixture(scope="module")
def slurm(slurm_conf):
    """One of Slurm's programs: its output, or a failure."""

    def run(*words, check=True):
        done = subprocess.run(words, capture_output=True, text=True, timeout=400, env={**os.environ, "SLURM_CONF": slurm_conf})
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    return run


def engine(verb, name):
    subprocess.run([SCRIPT, verb, name], check=True, timeout=60)


class Pilots:
    """A server with pools of a Slurm cluster, and what it has there."""

    def __init__(self, path, conf, folder, slurm):
        self.server, self.slurm, self.folder = Server(path / "data"), slurm, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        variables = "{" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in PASSED.items()) + "}"
        common = f"config: {conf}, folder: {folder}, variables: {variables}"
        (self.server.data / "pools.yaml").write_text(
            "pools:\n"
            f"  hpc: {{provider: slurm, slots: 2, settings: {{partition: p, walltime: 3600, {common}}}}}\n"
            f"  short: {{provider: slurm, slots: 2, settings: {{partition: short, walltime: 120, {common}}}}}\n"
            f"  closed: {{provider: slurm, slots: 1, settings: {{partition: members, account: nobody, {common}}}}}\n"
            f"  absent: {{provider: slurm, slots: 1, settings: {{partition: nowhere, {common}}}}}\n"
            f"  narrow: {{provider: slurm, slots: 3, settings: {{partition: one, {common}}}}}\n")
        self.server.start()
        self.name = "turnout-" + (self.server.data / "slurm" / "instance").read_text().strip()

    def cluster(self, name, *more, pool="hpc", size="STANDARD_DS3_v2", most=2, idle=3600):
        self.server.turnout("compute", "create", "--name", name, "--type", "amlcompute", "--location", pool, "--size", size,
                            "--min-instances", "0", "--max-instances", most, "--idle-time-before-scale-down", idle, *more)
        return name

    def drop(self, name):
        self.server.turnout("compute", "delete", "--name", name, "--yes")
        eventually(f"no pilot of {name} is left", lambda: not self.queue(name), 90)

    def queue(self, compute="", states="PENDING,CONFIGURING,RUNNING,COMPLETING"):
        lines = self.slurm("squeue", "-h", f"--name={self.name}", f"--states={states}", "-o", "%i|%T|%N|%k").split("\n")
        return [line.split("|") for line in lines if line and f"/{compute}" in line]

    def node_folders(self):
        return sorted(self.folder.glob(f"{self.name}/n/*"))

    def end(self):
        self.server.stop()
        self.slurm("scancel", f"--name={self.name}", check=False)


@pytest.fixture(scope="module")
def pilots(slurm_conf, slurm):
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    pilots = Pilots(path, slurm_conf, os.environ["TURNOUT_SLURM_FOLDER"], slurm)
    yield pilots
    if os.environ.get("TURNOUT_KEEP_LOG"):
        shutil.copy(pilots.server.log, os.environ["TURNOUT_KEEP_LOG"])
    pilots.end()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def cpu(pilots):
    return pilots.cluster("cpu")


@pytest.fixture
def sdk(pilots, monkeypatch):
    for name, value in pilots.server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(pilots.server)


def submit(sdk, text, compute="cpu", timeout=None, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    more.setdefault("environment", Environment(image="docker.io/library/debian:12"))
    job = command(command=text, compute=compute, experiment_name="pilots", **more)
    if timeout:
        job.set_limits(timeout=timeout)
    return sdk.create_or_update(job)


def shown(pilots, job):
    return json.loads(pilots.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout)


def runs(sdk, job):
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")


def test_check_asks_slurm_and_says_what_it_found(pilots):
    done = pilots.server.turnout("pool", "check", "-o", "json")
    found = {one["name"]: one["hosts"][0] for one in json.loads(done.stdout) if one.get("hosts")}
    assert found["hpc"]["reachable"], found
    assert "22.05" in found["hpc"]["system"] and "2 nodes" in found["hpc"]["system"], found
    assert "p (up, at most infinite)" in found["hpc"]["system"] and "to start at" in found["hpc"]["submits"], found
    assert found["hpc"]["cores"] == 4 and found["hpc"]["free_bytes"] > 0, found
    assert "at most 5:00" in found["short"]["system"], found
    assert not found["absent"]["reachable"] and "nowhere" in found["absent"]["message"], found
    assert "pool 'hpc': slurm" in done.stderr and "works" in done.stderr, done.stderr


def test_a_job_with_all_that_a_job_has(pilots, cpu, sdk, tmp_path):
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import Environment
    from mlflow import MlflowClient

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, os, pathlib, sys\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "mlflow.log_metric('size', len(text))\n"
        "pathlib.Path(sys.argv[2], 'result').write_text(text.upper())\n"
        "print('in', os.environ['TURNOUT_NODE_FOLDER'])\n")
    (tmp_path / "data").write_text("some words")
    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [mlflow-skinny]}]\n")
    job = submit(sdk, "python train.py ${{inputs.data}} ${{outputs.out}}", code=str(tmp_path / "src"),
                 environment=Environment(image="docker.io/library/debian:12", conda_file=str(tmp_path / "conda.yml")),
                 inputs={"data": Input(type="uri_file", path=str(tmp_path / "data"))},
                 outputs={"out": Output(type="uri_folder")})
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", shown(pilots, job)
    assert f"in {pilots.folder}/{pilots.name}/n/" in log_of(sdk, job.name, tmp_path)
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "SOME WORDS"
    assert MlflowClient(pilots.server.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"size": 10.0}
    # Of the size's cores and memory, on one node, and nobody but the user sees its token.
    job_id = pilots.queue("cpu")[0][0]
    told = pilots.slurm("scontrol", "-o", "show", "job", job_id)
    assert "CPUs/Task=4" in told and "MinMemoryNode=14G" in told and "Requeue=0" in told and "TimeLimit=01:00:00" in told, told
    assert pilots.node_folders()[0].stat().st_mode & 0o077 == 0


def test_two_nodes_at_once(pilots, cpu, sdk, tmp_path):
    jobs = [submit(sdk, "sleep 15; echo job $SLURM_JOB_ID on $SLURMD_NODENAME") for _ in range(2)]
    eventually("both run", lambda: all(sdk.jobs.get(job.name).status == "Running" for job in jobs))
    assert sorted(one[2] for one in pilots.queue("cpu")) == ["n1", "n2"]
    assert [wait_for(sdk, job.name).status for job in jobs] == ["Completed"] * 2
    said = {line for job in jobs for line in log_of(sdk, job.name, tmp_path).split("\n") if line.startswith("job ")}
    assert said == {f"job {one[0]} on {one[2]}" for one in pilots.queue("cpu")}, said


def test_what_waits_says_why_in_slurms_words(pilots, sdk):
    pilots.cluster("tight", pool="narrow", most=1)
    job = submit(sdk, "echo got it", compute="tight")
    try:
        if len(pilots.queue("cpu")) < 2:
            pytest.fail("the nodes are to be in use")
        eventually("its pilot waits", lambda: pilots.queue("tight") and pilots.queue("tight")[0][1] == "PENDING", 30)
        words = ("waits in Slurm: Resources (no node has room)", "waits in Slurm: Priority (others come first)")
        eventually("events say why", lambda: any(one in pilots.server.turnout("events", "-o", "json").stdout for one in words), 60)
        explained = pilots.server.turnout("job", "explain", job.name).stdout
        assert any(one in explained for one in words), explained
        assert any(one in pilots.server.turnout("compute", "list-nodes", "--name", "tight", "-o", "json").stdout for one in words)
    finally:
        sdk.jobs.begin_cancel(job.name)
        pilots.drop("tight")


def test_a_cancel_ends_what_runs(pilots, cpu, sdk):
    job = submit(sdk, f"sleep {LONG}")
    runs(sdk, job)
    sdk.jobs.begin_cancel(job.name)
    assert wait_for(sdk, job.name, 60).status == "Canceled"
    assert not processes_with(f"sleep\x00{LONG}")


def test_a_job_outlives_a_server_that_is_killed(pilots, cpu, sdk, tmp_path):
    job = submit(sdk, "for i in $(seq 1 40); do echo line-$i; sleep 0.2; done")
    runs(sdk, job)
    before = pilots.queue("cpu")
    pilots.server.kill()
    time.sleep(1)
    assert pilots.queue("cpu") == before
    pilots.server.start()
    sdk = client_for(pilots.server)
    assert wait_for(sdk, job.name).status == "Completed"
    assert pilots.queue("cpu") == before
    log = log_of(sdk, job.name, tmp_path)
    assert [line for line in log.split("\n") if line.startswith("line-")] == [f"line-{i}" for i in range(1, 41)]


def test_a_pilot_that_somebody_cancels_is_replaced_and_its_job_begins_anew(pilots, cpu, sdk):
    job = submit(sdk, "sleep 5; echo $SLURMD_NODENAME")
    runs(sdk, job)
    node = shown(pilots, job)["properties"].get("turnout.node", "")
    for one in pilots.queue("cpu"):
        pilots.slurm("scancel", one[0])
    began = time.monotonic()
    eventually("it is retried", lambda: "somebody canceled it" in json.dumps(
        pilots.server.turnout("events", "-o", "json").stdout), 60)
    assert wait_for(sdk, job.name, 120).status == "Completed", (node, time.monotonic() - began)


def test_a_node_whose_slurmd_is_gone_has_its_job_elsewhere(pilots, cpu, sdk, slurm):
    # Both nodes are taken: one of the two is on n1.
    jobs = [submit(sdk, f"if [ $SLURMD_NODENAME = n1 ]; then sleep {SILENT}; else sleep 8; fi; echo on $SLURMD_NODENAME") for _ in range(2)]
    eventually("one runs on n1", lambda: processes_with(f"sleep\x00{SILENT}"), 120)
    try:
        engine("stop", "n1")
        assert [wait_for(sdk, job.name, 180).status for job in jobs] == ["Completed"] * 2, [shown(pilots, job) for job in jobs]
        # What Slurm could not end has ended itself.
        eventually("nothing runs on n1", lambda: not processes_with(f"sleep\x00{SILENT}"), 30)
        assert "its compute node failed" in pilots.server.turnout("events", "-o", "json").stdout
    finally:
        engine("start", "n1")
    eventually("n1 is back", lambda: "n1" in slurm("sinfo", "-h", "-p", "p", "-N", "-t", "idle,mix,alloc", "-o", "%N"), 60)


def test_a_slurmctld_that_is_away_loses_nothing(pilots, cpu, sdk):
    job = submit(sdk, "sleep 12; echo done")
    runs(sdk, job)
    before = [one for one in pilots.queue("cpu") if one[1] == "RUNNING"]
    engine("stop", "ctld")
    try:
        eventually("the pool says so", lambda: "Slurm does not answer" in pilots.server.turnout("pool", "show", "hpc", "-o", "json").stdout, 90)
        time.sleep(5)
    finally:
        engine("start", "ctld")
    assert wait_for(sdk, job.name, 120).status == "Completed"
    eventually("its pilot is there", lambda: all(one in pilots.queue("cpu") for one in before), 30)
    assert sdk.jobs.get(job.name).properties["turnout.attempts"] == "1"


def test_refusals_of_slurm_reach_the_cluster(pilots, sdk):
    for pool, why in (("absent", "nvalid partition"), ("closed", "account")):
        pilots.cluster(pool + "-c", pool=pool, most=1)
        job = submit(sdk, "true", compute=pool + "-c")
        eventually(f"{pool} says why", lambda: why in pilots.server.turnout("compute", "show", "--name", pool + "-c", "-o", "json").stdout, 60)
        sdk.jobs.begin_cancel(job.name)
        assert wait_for(sdk, job.name, 60).status == "Canceled"
        pilots.drop(pool + "-c")


def test_a_size_that_no_node_has_is_refused_in_slurms_words(pilots, sdk):
    pilots.cluster("huge", pool="narrow", size="Standard_D64_v3", most=1)
    job = submit(sdk, "true", compute="huge")
    eventually("it says why", lambda: "PartitionConfig (it asks for more than" in
               pilots.server.turnout("compute", "show", "--name", "huge", "-o", "json").stdout, 60)
    sdk.jobs.begin_cancel(job.name)
    pilots.drop("huge")


def test_what_is_longer_than_a_pilot_lives_is_refused(pilots, cpu, sdk):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="limits.timeout of 2 h is longer than a node of pool 'hpc' lives: its walltime is 1 h"):
        submit(sdk, "true", timeout=7200)


def test_nothing_is_left_when_a_cluster_is_deleted(pilots, cpu, sdk):
    assert wait_for(sdk, submit(sdk, "true").name).status == "Completed"
    assert pilots.queue("cpu") and pilots.node_folders()
    pilots.drop("cpu")
    eventually("no folder is left", lambda: not pilots.node_folders(), 30)


def test_a_pilot_ends_at_its_walltime_and_its_job_is_retried(pilots, sdk):
    pilots.cluster("brief", pool="short", most=1)
    first = submit(sdk, "sleep 8", compute="brief")
    assert wait_for(sdk, first.name, 60).status == "Completed"
    pilot = pilots.queue("brief")[0][0]
    # With a minute for its outputs that does not fit into what is left of two: it gets a pilot of its own.
    fits = submit(sdk, "echo $SLURM_JOB_ID", compute="brief", timeout=60)
    assert wait_for(sdk, fits.name, 120).status == "Completed"
    assert pilots.queue("brief")[0][0] != pilot
    # What nobody knows the time of is cut off, tells why, and begins anew.
    endless = submit(sdk, f"sleep {LONG}", compute="brief")
    runs(sdk, endless)
    eventually("its pilot is over", lambda: "its walltime was over (TIMEOUT)" in pilots.server.turnout("events", "-o", "json").stdout, 240)
    eventually("it is retried", lambda: len(json.loads(
        pilots.server.turnout("job", "explain", endless.name, "-o", "json").stdout)["attempts"]) == 2, 60)
    sdk.jobs.begin_cancel(endless.name)
    assert wait_for(sdk, endless.name, 60).status == "Canceled"
    pilots.drop("brief")


def test_a_server_killed_while_it_submits_leaves_none_behind(pilots, sdk):
    for _ in range(3):
        pilots.cluster("again")
        jobs = [submit(sdk, "true", compute="again") for _ in range(2)]
        # Between sbatch and its answer, or shortly before or after.
        eventually("a pilot is submitted", lambda: pilots.queue("again") or processes_with("sbatch\x00--parsable"), interval=0.002)
        pilots.server.kill()
        pilots.server.start()
        sdk = client_for(pilots.server)
        assert [wait_for(sdk, job.name).status for job in jobs] == ["Completed"] * 2
        assert len(pilots.queue("again")) <= 2, pilots.queue("again")
        # And in the middle of a release.
        pilots.server.turnout("compute", "delete", "--name", "again", "--yes", "--no-wait")
        time.sleep(0.3)
        pilots.server.kill()
        pilots.server.start()
        sdk = client_for(pilots.server)
        eventually("no pilot is left", lambda: not pilots.queue("again"), 90)


def first_line(pilots, path, compute):
    """Seconds from the call of `turnout job create` to the job's first line on the terminal."""
    path.write_text(f"command: echo first-line\nenvironment:\n  image: debian:12\ncompute: azureml:{compute}\nexperiment_name: figures\n")
    began = time.monotonic()
    command = [clients.TURNOUT, "job", "create", "-f", str(path), "--stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env={**clients.PLAIN_ENV, "TURNOUT_DATA": str(pilots.server.data)}) as process:
        for line in process.stdout:
            if "first-line" in line:
                took = time.monotonic() - began
                process.wait(60)
                return took
    pytest.fail("the job said nothing")


def test_figures(pilots, slurm, tmp_path):
    """What the page says: a cold and a warm pilot, and many short jobs beside an array of Slurm's own."""
    pilots.cluster("figures")
    script = tmp_path / "batch.sh"
    script.write_text(f"#!/bin/sh\ndate +%s.%N > {tmp_path}/batch.time\n")
    began = time.time()
    slurm("sbatch", "--wait", "--cpus-per-task=4", "--mem=14G", "--output=/dev/null", str(script))
    engine_alone = float((tmp_path / "batch.time").read_text()) - began
    cold = first_line(pilots, tmp_path / "job.yml", "figures")
    warm = sorted(first_line(pilots, tmp_path / "job.yml", "figures") for _ in range(11))

    # Both nodes are there, for both.
    count = 200
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    sleepers = [first_line(pilots, tmp_path / "job.yml", "figures") for _ in range(2)]
    sweep = tmp_path / "sweep.yml"
    sweep.write_text(
        "type: sweep\ntrial:\n  command: /bin/true ${{search_space.n}}\n  environment:\n    image: debian:12\n"
        f"search_space:\n  n:\n    type: choice\n    values: [{', '.join(map(str, range(count)))}]\n"
        "sampling_algorithm: grid\nobjective:\n  goal: maximize\n  primary_metric: x\n"
        f"limits:\n  max_total_trials: {count}\n  max_concurrent_trials: {count}\ncompute: azureml:figures\nexperiment_name: figures\n")
    began = time.monotonic()
    said = pilots.server.turnout("job", "create", "-f", sweep, "--stream", check=False).stdout
    ours = time.monotonic() - began
    assert f"{count} completed" in said, said[-2000:]
    pilots.drop("figures")
    script.write_text("#!/bin/sh\n/bin/true\n")
    began = time.monotonic()
    slurm("sbatch", "--wait", f"--array=1-{count}", "--cpus-per-task=4", "--mem=14G", "--output=/dev/null", str(script))
    theirs = time.monotonic() - began
    figures = {"sbatch alone, s": round(engine_alone, 2), "cold pilot, s": round(cold, 2),
               "warm pilot, ms": round(warm[len(warm) // 2] * 1000), f"{count} trials, s": round(ours, 2),
               f"sbatch --array of {count}, s": round(theirs, 2), "ratio": round(theirs / ours, 1), "beside": sleepers}
    print(figures)
    Path(os.environ.get("TURNOUT_FIGURES", tmp_path / "figures.json")).write_text(json.dumps(figures))
    assert theirs >= 5 * ours, figures
    assert cold <= engine_alone + 5, figures
