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
    assert not one["Privileged"] and one["CapDrop"] == ["ALL"] and one["PidsLimit"] == 4096 and one["Memory"] > 0 and one["NanoCpus"] > 0, one


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


def test_a_container_for_one_job_is_refused_with_what_to_do(boxes, sdk):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="is not possible yet: create an AmlCompute whose location is a pool of containers .boxes."):
        submit(sdk, "true", compute="containerinstance")


def test_several_jobs_on_a_node_are_refused(boxes, tmp_path):
    (tmp_path / "many.yml").write_text("name: many\ntype: amlcompute\nlocation: boxes\nsize: STANDARD_DS3_v2\n"
                                       "tags: {turnout.jobs_per_node: '2'}\n")
    done = boxes.server.turnout("compute", "create", "-f", tmp_path / "many.yml", check=False)
    assert done.returncode != 0 and "are containers, each of the image of its job" in done.stderr, done.stderr
