"""Pools of containers: a real Docker engine (tests/engines/docker), the real SDK."""
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
Server, client_for, eventually, log_of, wait_for = (
    clients.Server, clients.client_for, clients.eventually, clients.log_of, clients.wait_for)

BASE, SMALL = "turnout-test/base:1", "turnout-test/small:1"


@pytest.fixture(scope="module")
def docker(docker_socket):
    """`docker` on that engine: its output, or a failure."""

    def run(*words, check=True):
        done = subprocess.run(["docker", "-H", f"unix://{docker_socket}", *words], capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"docker {words}: {done.stderr}"
        return done.stdout.strip()

    return run


class Boxes:
    """A server with a pool of containers, and what it has on the engine."""

    def __init__(self, path, socket, docker, settings=""):
        self.server, self.docker = Server(path / "data"), docker
        (self.server.data / "pools.yaml").write_text(
            f"pools:\n  boxes:\n    provider: container\n    slots: 3\n    settings:\n      socket: {socket}\n      image: {BASE}\n"
            f"      network: host\n      variables: {{SSL_CERT_FILE: /etc/ssl/certs/ca-certificates.crt}}\n{settings}")
        self.server.start()
        self.instance = (self.server.data / "containers" / "instance").read_text().strip()

    def cluster(self, name, *more, size="STANDARD_DS3_v2", most=1):
        self.server.turnout("compute", "create", "--name", name, "--type", "amlcompute", "--location", "boxes", "--size", size,
                            "--min-instances", "0", "--max-instances", most, "--idle-time-before-scale-down", "3600", *more)
        return name

    def containers(self, running=True):
        return self.docker("ps", "-q" if running else "-aq", "--filter", f"label=turnout.server={self.instance}").split()

    def inspect(self):
        return [json.loads(self.docker("inspect", one))[0] for one in self.containers()]

    def end(self):
        self.server.stop()
        for one in self.containers(running=False):
            self.docker("rm", "-f", one, check=False)
        for one in self.docker("volume", "ls", "-q", "--filter", f"label=turnout.server={self.instance}").split():
            self.docker("volume", "rm", one, check=False)


@pytest.fixture(scope="module")
def boxes(docker_socket, docker):
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    boxes = Boxes(path, docker_socket, docker)
    yield boxes
    if os.environ.get("TURNOUT_KEEP_LOG"):
        shutil.copy(boxes.server.log, os.environ["TURNOUT_KEEP_LOG"])
    boxes.end()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def cpu(boxes):
    return boxes.cluster("cpu")


@pytest.fixture
def sdk(boxes, monkeypatch):
    for name, value in boxes.server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(boxes.server)


def submit(sdk, text, compute="cpu", image=BASE, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    more.setdefault("environment", Environment(image=image))
    return sdk.create_or_update(command(command=text, compute=compute, experiment_name="boxes", **more))


def test_check_asks_the_engine_and_says_what_it_found(boxes):
    done = boxes.server.turnout("pool", "check", "-o", "json")
    pool = next(one for one in json.loads(done.stdout) if one["name"] == "boxes")
    assert pool["image"] == "engine" and pool["slots"] == 3, pool
    engine = pool["hosts"][0]
    assert engine["reachable"] and engine["system"].startswith("Docker ") and engine["cores"] > 0, engine
    assert engine["image"] == {"name": BASE, "there": True} and set(engine["limits"]) >= {"memory", "cpu"}, engine
    assert "pool 'boxes': unix://" in done.stderr and "it keeps the limits of memory, cpu" in done.stderr, done.stderr


def test_a_job_with_all_that_a_job_has(boxes, cpu, sdk, tmp_path):
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import Environment
    from mlflow import MlflowClient

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, os, pathlib, sys\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "mlflow.log_metric('size', len(text))\n"
        "pathlib.Path(sys.argv[2], 'result').write_text(text.upper())\n"
        "print('in', os.environ['TURNOUT_NODE_FOLDER'], os.environ['FROM_IMAGE'], os.getuid())\n")
    (tmp_path / "data").write_text("some words")
    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [mlflow-skinny]}]\n")
    job = submit(sdk, "python train.py ${{inputs.data}} ${{outputs.out}}", code=str(tmp_path / "src"),
                 environment=Environment(image=BASE, conda_file=str(tmp_path / "conda.yml")),
                 inputs={"data": Input(type="uri_file", path=str(tmp_path / "data"))},
                 outputs={"out": Output(type="uri_folder")})
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", boxes.server.turnout("job", "show", "-n", job.name).stdout
    assert "in /turnout/node base 1000" in log_of(sdk, job.name, tmp_path)
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "SOME WORDS"
    assert MlflowClient(boxes.server.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"size": 10.0}


def test_a_container_has_no_rights_and_keeps_its_limits(boxes, cpu, sdk, tmp_path):
    job = submit(sdk, "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; id -u; ls -ld /turnout/bin/turnout-agent; "
                      "echo x > /turnout/bin/x || echo kept")
    assert wait_for(sdk, job.name).status == "Completed"
    log = log_of(sdk, job.name, tmp_path)
    assert "CapEff:\t0000000000000000" in log and "CapBnd:\t0000000000000000" in log and "NoNewPrivs:\t1" in log, log
    assert "\n1000\n" in log and "kept" in log, log
    one = boxes.inspect()[0]["HostConfig"]
    assert not one["Privileged"] and one["CapDrop"] == ["ALL"] and one["PidsLimit"] == 8192 and one["Memory"] > 0 and one["NanoCpus"] > 0, one


def test_each_job_has_the_image_of_its_environment(boxes, cpu, sdk, tmp_path):
    other = submit(sdk, "ls /bin; echo small is $SMALL", image=SMALL)
    back = submit(sdk, "echo from image $FROM_IMAGE; python3 -c 'print(6*7)'")
    assert wait_for(sdk, other.name).status == "Completed", boxes.server.turnout("job", "show", "-n", other.name).stdout
    log = log_of(sdk, other.name, tmp_path)
    assert "small is yes" in log and "busybox" in log and "is not started on this pool" not in log, log
    assert wait_for(sdk, back.name).status == "Completed"
    log = log_of(sdk, back.name, tmp_path)
    assert "from image base" in log and "42" in log, log
    assert len(boxes.containers(running=False)) == 1


def test_an_image_is_pulled_and_one_that_is_not_there_ends_the_job(boxes, cpu, sdk, docker, tmp_path):
    registry = os.environ["TURNOUT_DOCKER_REGISTRY"]
    image = f"{registry}/pulled/small:1"
    docker("rmi", image, check=False)
    job = submit(sdk, "echo small is $SMALL", image=image)
    assert wait_for(sdk, job.name).status == "Completed"
    assert "small is yes" in log_of(sdk, job.name, tmp_path)
    events = boxes.server.turnout("events", "-o", "json").stdout
    assert f"pulling image {image}" in events, events[-3000:]
    lost = submit(sdk, "echo never", image=f"{registry}/pulled/absent:1")
    after = submit(sdk, "echo after")
    done = wait_for(sdk, lost.name)
    assert done.status == "Failed"
    shown = boxes.server.turnout("job", "show", "-n", lost.name, "-o", "json").stdout
    assert "absent" in shown and "the engine says" in shown, shown
    assert done.properties["turnout.cause"] == "environment", done.properties
    assert wait_for(sdk, after.name).status == "Completed"


def test_a_cancel_ends_what_runs(boxes, cpu, sdk):
    job = submit(sdk, "sleep 600")
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    sdk.jobs.begin_cancel(job.name)
    assert wait_for(sdk, job.name, 60).status == "Canceled"
    assert "sleep 600" not in boxes.docker("top", boxes.containers()[0])


def test_memory_that_is_used_up_is_named(boxes, sdk):
    boxes.cluster("tiny", size="Standard_A1_v2")
    job = submit(sdk, "python3 -c \"x = []\nwhile True: x.append(bytearray(64 << 20))\"", compute="tiny")
    assert wait_for(sdk, job.name).status == "Failed"
    shown = json.loads(boxes.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout)
    text = json.dumps(shown)
    assert "out_of_memory" in text, text
    assert wait_for(sdk, submit(sdk, "true", compute="tiny").name).status == "Completed"
    boxes.server.turnout("compute", "delete", "--name", "tiny", "--yes")


def test_a_job_outlives_a_server_that_is_killed(boxes, cpu, sdk, tmp_path):
    job = submit(sdk, "for i in $(seq 1 40); do echo line-$i; sleep 0.2; done")
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    before = boxes.containers()
    boxes.server.kill()
    time.sleep(1)
    assert boxes.containers() == before
    boxes.server.start()
    sdk = client_for(boxes.server)
    assert wait_for(sdk, job.name).status == "Completed"
    assert boxes.containers() == before
    log = log_of(sdk, job.name, tmp_path)
    assert [line for line in log.split("\n") if line.startswith("line-")] == [f"line-{i}" for i in range(1, 41)]


def test_a_container_that_is_removed_is_replaced_and_its_job_begins_anew(boxes, cpu, sdk):
    job = submit(sdk, "sleep 5")
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    boxes.docker("rm", "-f", boxes.containers()[0])
    assert wait_for(sdk, job.name, 400).status == "Completed"


def test_an_engine_that_is_started_anew_has_its_containers_again(boxes, cpu, sdk):
    job = submit(sdk, "sleep 20")
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    before = boxes.containers()
    script = Path(__file__).with_name("docker")
    subprocess.run([script, "stop"], check=True, timeout=60)
    eventually("the pool says that its engine is away", lambda: "does not answer" in boxes.server.turnout("pool", "check").stderr)
    subprocess.run([script, "start"], check=True, timeout=60)
    assert wait_for(sdk, job.name, 300).status == "Completed"
    assert boxes.containers() == before


def test_nothing_is_left_when_a_cluster_is_deleted(boxes, cpu, sdk):
    assert wait_for(sdk, submit(sdk, "true").name).status == "Completed"
    assert boxes.containers()
    boxes.server.turnout("compute", "delete", "--name", "cpu", "--yes")
    eventually("no container is left", lambda: not boxes.containers(running=False), 60)


def test_a_server_killed_while_it_starts_a_container_leaves_none_behind(boxes, sdk):
    boxes.cluster("again", most=3)
    jobs = [submit(sdk, "true", compute="again", image=image) for image in (BASE, SMALL, BASE)]
    eventually("a container is made", lambda: boxes.containers(running=False))
    boxes.server.kill()
    boxes.server.start()
    sdk = client_for(boxes.server)
    assert [wait_for(sdk, job.name).status for job in jobs] == ["Completed"] * 3
    boxes.server.turnout("compute", "delete", "--name", "again", "--yes")
    eventually("no container is left", lambda: not boxes.containers(running=False), 90)


def instances(boxes):
    """The containers that are made for one job, running or not: node by id."""
    lines = boxes.docker("ps", "-a", "--filter", f"label=turnout.server={boxes.instance}", "--format",
                         '{{.ID}} {{.Label "turnout.node"}}').splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if "/containerinstance-" in line}


def alone(sdk, text, *, compute="containerinstance", **more):
    """A job in a container of its own; what is not said of it has its default."""
    from azure.ai.ml.entities import JobResourceConfiguration

    wish = {key: more.pop(key) for key in ("region", "cpu_cores", "memory_gb") if key in more}
    return submit(sdk, text, compute=compute, resources=JobResourceConfiguration(properties={"container_instance": wish}), **more)


def test_a_container_is_made_for_one_job_and_goes_with_it(boxes, sdk, tmp_path):
    from azure.ai.ml import Output
    from azure.ai.ml.entities import Environment
    from mlflow import MlflowClient

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, os, pathlib, sys, time\n"
        "for name in ('memory/memory.limit_in_bytes', 'cpu/cpu.cfs_quota_us', 'memory.max', 'cpu.max'):\n"
        "    path = pathlib.Path('/sys/fs/cgroup', name)\n"
        "    if path.exists(): print(path.name, path.read_text().strip())\n"
        "print('in', os.environ['FROM_IMAGE'], sys.executable, sys.version_info[:2])\n"
        "mlflow.log_metric('loss', 0.25)\n"
        "pathlib.Path(sys.argv[1], 'result').write_text('there')\n"
        "time.sleep(2)\n")
    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [mlflow-skinny]}]\n")
    job = alone(sdk, "python train.py ${{outputs.out}}", region="Boxes", cpu_cores=1, memory_gb=1, code=str(tmp_path / "src"),
                environment=Environment(image=BASE, conda_file=str(tmp_path / "conda.yml")), outputs={"out": Output(type="uri_folder")})
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running", 240)
    (container,) = instances(boxes)
    limits = json.loads(boxes.docker("inspect", container))[0]["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"] == (1 << 30) + (64 << 20) and limits["NanoCpus"] == 1_000_000_000, limits
    listed = boxes.server.turnout("compute", "list", "-o", "json").stdout
    assert "containerinstance" not in listed, listed
    explained = boxes.server.turnout("job", "explain", "-n", job.name).stdout
    assert "containerinstance-" not in explained and "containerinstance" in explained, explained
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", boxes.server.turnout("job", "show", "-n", job.name).stdout
    assert done.compute == "containerinstance" and done.properties["turnout.container"] == "1 core and 1 GB in pool 'boxes'", done
    log = log_of(sdk, job.name, tmp_path)
    assert str((1 << 30) + (64 << 20)) in log and ("cfs_quota_us 100000" in log or "cpu.max 100000 100000" in log), log
    assert "in base" in log, log
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "there"
    assert MlflowClient(boxes.server.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"loss": 0.25}
    eventually("its container is gone", lambda: not instances(boxes))
    events = boxes.server.turnout("events", "--compute", "containerinstance").stdout
    assert '"compute": "containerinstance"' in events and '"gone"' in events and "containerinstance-" not in events, events
    ledger = json.loads(boxes.server.turnout("compute", "ledger", "-n", "containerinstance", "-o", "json").stdout)
    assert ledger["jobs"]["completed"] == 1 and ledger["nodes"]["gone"] == 1, ledger


def test_one_without_an_image_has_that_of_its_pool(boxes, sdk, tmp_path):
    from azure.ai.ml.entities import Environment

    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [six]}]\n")
    job = alone(sdk, "python -c 'import six, os; print(\"six in\", os.environ[\"FROM_IMAGE\"])'",
                environment=Environment(image=BASE, conda_file=str(tmp_path / "conda.yml")))
    (tmp_path / "job.yml").write_text("command: python -c 'import six, os; print(\"six in\", os.environ[\"FROM_IMAGE\"])'\n"
                                      f"environment: {{conda_file: {tmp_path}/conda.yml}}\ncompute: azureml:containerinstance\n")
    other = boxes.server.turnout("job", "create", "-f", tmp_path / "job.yml", "--query", "name", "-o", "tsv").stdout.strip()
    for name in (job.name, other):
        assert wait_for(sdk, name, 240).status == "Completed", boxes.server.turnout("job", "show", "-n", name).stdout
        assert "six in base" in log_of(sdk, name, tmp_path / name)
    eventually("nothing is left", lambda: not instances(boxes))


def test_many_of_them_wait_for_the_slots_of_their_pool(boxes, sdk):
    jobs = [alone(sdk, "sleep 1", image=SMALL, memory_gb=1) for _ in range(7)]
    waiting = boxes.server.turnout("job", "explain", "-n", jobs[-1].name).stdout
    most = 0
    while any(sdk.jobs.get(job.name).status not in ("Completed", "Failed", "Canceled") for job in jobs):
        most = max(most, len(instances(boxes)))
    done = [sdk.jobs.get(job.name) for job in jobs]
    assert [job.status for job in done] == ["Completed"] * 7
    assert 1 <= most <= 3, f"{most} containers at a time, and there are 3 slots"
    assert len({job.properties["turnout.node"] for job in done}) == 7, "a container was used twice"
    assert "pool 'boxes'" in waiting, waiting
    eventually("nothing is left", lambda: not instances(boxes))


def test_each_trial_of_a_sweep_has_a_container_of_its_own(boxes, tmp_path):
    (tmp_path / "sweep.yml").write_text(
        "type: sweep\ncompute: azureml:ContainerInstance\nsampling_algorithm: grid\n"
        "search_space: {x: {type: choice, values: [1, 2, 3]}}\nobjective: {goal: minimize, primary_metric: loss}\n"
        f"limits: {{max_concurrent_trials: 2}}\ntrial:\n  command: echo ${{{{search_space.x}}}}\n  environment: {{image: '{SMALL}'}}\n"
        "  resources: {properties: {container_instance: {memory_gb: 0.5}}}\n")
    name = boxes.server.turnout("job", "create", "-f", tmp_path / "sweep.yml", "--query", "name", "-o", "tsv").stdout.strip()
    shown = lambda of: json.loads(boxes.server.turnout("job", "show", "-n", of, "-o", "json").stdout)
    eventually("the trials have ended", lambda: shown(name)["status"] in ("Completed", "Failed"), 120)
    trials = [shown(f"{name}_{i}") for i in range(3)]
    assert [one["status"] for one in trials] == ["Completed"] * 3, trials
    assert len({one["properties"]["turnout.node"] for one in trials}) == 3
    assert {one["compute"] for one in trials} == {"azureml:containerinstance"} or {one["compute"] for one in trials} == {"containerinstance"}, trials
    eventually("nothing is left", lambda: not instances(boxes))


def test_a_cancel_takes_the_container_with_it(boxes, sdk):
    job = alone(sdk, "sleep 600", image=SMALL)
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    sdk.jobs.begin_cancel(job.name)
    assert wait_for(sdk, job.name, 60).status == "Canceled"
    eventually("its container is gone", lambda: not instances(boxes))
    # One that is canceled before its container is there leaves none either.
    early = alone(sdk, "sleep 600", image=SMALL)
    sdk.jobs.begin_cancel(early.name)
    assert wait_for(sdk, early.name, 60).status == "Canceled"
    eventually("its container is gone", lambda: not instances(boxes))


def test_memory_that_its_container_does_not_have_is_named(boxes, sdk):
    job = alone(sdk, "python3 -c \"x = []\nwhile True: x.append(bytearray(64 << 20))\"", memory_gb=0.5)
    assert wait_for(sdk, job.name).status == "Failed"
    shown = boxes.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout
    assert "out_of_memory" in shown and "its container had 0.5 GB: ask for more" in shown, shown


def test_a_server_that_is_killed_leaves_no_container_of_an_ended_job(boxes, sdk, tmp_path):
    job = alone(sdk, "for i in $(seq 1 40); do echo line-$i; sleep 0.1; done", image=SMALL)
    short = alone(sdk, "sleep 1", image=SMALL, cpu_cores=2)
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    before = set(instances(boxes))
    boxes.server.kill()  # the short one ends meanwhile
    time.sleep(2)
    assert set(instances(boxes)) >= before
    boxes.server.start()
    sdk = client_for(boxes.server)
    assert [wait_for(sdk, one.name).status for one in (job, short)] == ["Completed"] * 2
    log = log_of(sdk, job.name, tmp_path)
    assert [line for line in log.split("\n") if line.startswith("line-")] == [f"line-{i}" for i in range(1, 41)]
    eventually("nothing is left", lambda: not instances(boxes))
    # And one that is killed while a container is being made, or let go.
    for moment in (0.0, 0.2, 0.6, 1.2):
        one = alone(sdk, "true", image=SMALL)
        time.sleep(moment)
        boxes.server.kill()
        boxes.server.start()
        sdk = client_for(boxes.server)
        assert wait_for(sdk, one.name).status == "Completed"
    eventually("nothing is left", lambda: not instances(boxes))


def test_what_a_container_instance_cannot_be_is_refused(boxes, sdk, tmp_path):
    from azure.core.exceptions import HttpResponseError

    for wish, words in (
            ({"region": "eastus"}, r"container_instance.region: expected a pool of containers \(boxes\), found 'eastus'"),
            ({"cpu_cores": 0}, r"container_instance.cpu_cores: expected a whole number of cores, at least 1, found 0"),
            ({"cpu_cores": "two"}, r"container_instance.cpu_cores: expected a whole number"),
            ({"cpu_cores": 5000}, r"container_instance.cpu_cores: expected at most \d+, which the machine of pool 'boxes' has, found 5000"),
            ({"memory_gb": 50000}, r"container_instance.memory_gb: expected at most [\d.]+ GB, which the machine of pool 'boxes' has")):
        with pytest.raises(HttpResponseError, match=words):
            alone(sdk, "true", **wish)
    for verb in ("create", "attach"):
        (tmp_path / "aci.yml").write_text("name: mine\ntype: containerinstance\n")
        done = boxes.server.turnout("compute", verb, "-f", tmp_path / "aci.yml", check=False)
        assert done.returncode != 0 and "is chosen per run" in done.stderr, done.stderr


def test_an_image_that_cannot_be_had_ends_all_that_want_it(boxes, sdk):
    image = f"{os.environ['TURNOUT_DOCKER_REGISTRY']}/pulled/absent:1"
    jobs = [alone(sdk, "true", image=image) for _ in range(3)]
    for job in jobs:
        done = wait_for(sdk, job.name)
        assert done.status == "Failed" and done.properties["turnout.cause"] == "environment", done
    eventually("nothing is left", lambda: not instances(boxes))


def test_a_registry_that_is_away_for_a_moment_is_asked_again(boxes, sdk, docker):
    """Its place is taken by nobody, and then by a registry's relay."""
    import socket
    import threading

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = alone(sdk, "echo small is $SMALL", image=f"127.0.0.1:{port}/pulled/small:1")
    eventually("it is told", lambda: "tried again in" in boxes.server.turnout("events", "--compute", "containerinstance").stdout)
    host, there = os.environ["TURNOUT_DOCKER_REGISTRY"].split(":")
    listener = socket.create_server(("127.0.0.1", port))

    def carry(source, target):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(there)))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        assert wait_for(sdk, job.name, 120).status == "Completed"
    finally:
        listener.close()


def test_several_jobs_on_a_node_are_refused(boxes, tmp_path):
    (tmp_path / "many.yml").write_text("name: many\ntype: amlcompute\nlocation: boxes\nsize: STANDARD_DS3_v2\n"
                                       "tags: {turnout.jobs_per_node: '2'}\n")
    done = boxes.server.turnout("compute", "create", "-f", tmp_path / "many.yml", check=False)
    assert done.returncode != 0 and "are containers, each of the image of its job" in done.stderr, done.stderr


DOCKERFILE = f"""FROM {BASE}
COPY tool.py /opt/tool.py
RUN echo built at build time > /opt/said && id -u > /opt/builder
ENV FROM_DOCKERFILE=yes
"""


@pytest.fixture
def context(tmp_path):
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "docker" / "tool.py").write_text("print('the tool of the image')\n")
    return tmp_path / "docker"


@pytest.fixture(scope="module")
def builder(boxes):
    return boxes.cluster("builder")


def built(boxes):
    return boxes.docker("image", "ls", "-q", "--filter", f"label=turnout.server={boxes.instance}").split()


def test_an_environment_is_built_from_its_dockerfile_once(boxes, builder, sdk, context, tmp_path):
    from azure.ai.ml.entities import BuildContext, Environment

    text = "python3 /opt/tool.py; cat /opt/said; echo $FROM_DOCKERFILE; id -u"
    registered = sdk.environments.create_or_update(Environment(name="from-dockerfile", build=BuildContext(path=str(context))))
    before = set(built(boxes))
    first = submit(sdk, text, builder, environment=f"{registered.name}:{registered.version}")
    assert wait_for(sdk, first.name, 240).status == "Completed", boxes.server.turnout("job", "show", "-n", first.name).stdout
    log = log_of(sdk, first.name, tmp_path)
    assert "the tool of the image\nbuilt at build time\nyes\n1000\n" in log, log
    made = set(built(boxes)) - before
    assert len(made) == 1
    events = boxes.server.turnout("events", "--compute", builder).stdout
    assert f"building image of environment {registered.name}:{registered.version}" in events, events
    # The same files again, in the job itself: what was built is there.
    again = submit(sdk, text, builder, environment=Environment(build=BuildContext(path=str(context))))
    assert wait_for(sdk, again.name, 240).status == "Completed"
    assert set(built(boxes)) - before == made
    # Another file, another image.
    (context / "tool.py").write_text("print('another tool')\n")
    other = submit(sdk, text, builder, environment=Environment(build=BuildContext(path=str(context))))
    assert wait_for(sdk, other.name, 240).status == "Completed"
    assert "another tool" in log_of(sdk, other.name, tmp_path)
    assert len(set(built(boxes)) - before) == 2


def test_a_dockerfile_by_the_command_line_and_in_a_container_of_its_own(boxes, context, tmp_path):
    (context / "Dockerfile").rename(context / "image.dockerfile")
    (tmp_path / "job.yml").write_text(
        "command: python3 /opt/tool.py\ncompute: containerinstance\n"
        "environment: {build: {path: docker, dockerfile_path: image.dockerfile}}\n"
        "resources: {properties: {container_instance: {memory_gb: 1}}}\n")
    done = boxes.server.turnout("job", "create", "-f", str(tmp_path / "job.yml"), "--stream", timeout=240)
    assert "the tool of the image" in done.stdout, done.stdout + done.stderr


def test_a_dockerfile_that_fails_ends_the_job_with_what_its_step_said(boxes, builder, sdk, context):
    from azure.ai.ml.entities import BuildContext, Environment

    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo a word of the step; exit 7\n")
    job = submit(sdk, "true", builder, environment=Environment(build=BuildContext(path=str(context))))
    assert wait_for(sdk, job.name, 240).status == "Failed"
    shown = boxes.server.turnout("job", "show", "-n", job.name).stdout
    assert "cannot be built" in shown and "returned a non-zero code: 7" in shown and "a word of the step" in shown, shown
    assert json.loads(boxes.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout)["cause"] == "environment", shown
    (context / "Dockerfile").write_text("FORM x\n")
    job = submit(sdk, "true", builder, environment=Environment(build=BuildContext(path=str(context))))
    assert wait_for(sdk, job.name, 240).status == "Failed"
    assert "FORM" in boxes.server.turnout("job", "show", "-n", job.name).stdout


def test_where_no_engine_is_a_dockerfile_is_refused_before_anything_waits(boxes, context, tmp_path):
    (tmp_path / "job.yml").write_text("command: 'true'\nenvironment: {build: {path: docker}}\n")
    done = boxes.server.turnout("job", "create", "-f", str(tmp_path / "job.yml"), check=False)
    assert done.returncode != 0 and "has no container engine" in done.stderr, done.stderr
