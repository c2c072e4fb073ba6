"""Pools of a Kubernetes cluster: a real one (tests/engines/kubernetes), the real SDK."""
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

BASE, SMALL, BARE = "turnout-test/base:1", "turnout-test/small:1", "turnout-test/bare:1"
SCRIPT = Path(__file__).with_name("kubernetes")


def engine(verb, name):
    subprocess.run([SCRIPT, verb, name], check=True, timeout=120)


@pytest.fixture(scope="module")
def kubectl():
    """`kubectl` with all rights, in the namespace of the pods: its output, or a failure."""

    def run(*words, check=True, input=None):
        done = subprocess.run([os.environ["TURNOUT_KUBECTL"], f"--kubeconfig={os.environ['TURNOUT_KUBERNETES_ADMIN']}",
                               "--namespace=turnout", *map(str, words)], capture_output=True, text=True, timeout=120, input=input)
        assert not check or done.returncode == 0, f"kubectl {words}: {done.stderr}"
        return done.stdout.strip()

    return run


class Pods:
    """A server with pools of a Kubernetes cluster, and what it has there."""

    def __init__(self, path, kubeconfig, kubectl):
        self.server, self.kubectl, self.config = Server(path / "data"), kubectl, Path(kubeconfig)
        # With the rights of a service account that may look and no more.
        self.narrow = path / "narrow.conf"
        text = self.config.read_text()
        token = kubectl("create", "token", "default", "--duration=1h")
        before, _, rest = text.partition('token: ')
        text = before + "token: " + token + rest[rest.index("}"):]
        # Names in a kubeconfig are relative to it.
        self.narrow.write_text(text.replace("pki/ca.crt", str(self.config.parent / "pki/ca.crt")))
        self.away = path / "away.conf"
        self.away.write_text(self.config.read_text().replace("pki/ca.crt", str(self.config.parent / "pki/ca.crt"))
                             .replace("https://127.0.0.1:18640", "https://127.0.0.1:9"))
        types = ("{standard_ds3_v2: {cpu: 500m, memory: 1Gi}, standard_ds1_v2: {cpu: 200m, memory: 256Mi}, "
                 "standard_f2s_v2: {cpu: 100m, memory: 128Mi, node_selector: {turnout-test/zone: b}}}")
        common = f"image: {BASE}, instance_types: {types}, variables: {{SECRET_OF_POOL: not-in-the-pod, SSL_CERT_FILE: /etc/ssl/certs/ca-certificates.crt}}"
        (self.server.data / "pools.yaml").write_text(
            "pools:\n"
            f"  aks: {{provider: kubernetes, slots: 4, settings: {{kubeconfig: {kubeconfig}, {common}}}}}\n"
            f"  narrow: {{provider: kubernetes, slots: 1, settings: {{kubeconfig: {self.narrow}, namespace: turnout, {common}}}}}\n"
            f"  away: {{provider: kubernetes, slots: 1, settings: {{kubeconfig: {self.away}, {common}}}}}\n")
        self.server.start()
        self.instance = (self.server.data / "kubernetes" / "instance").read_text().strip()

    def cluster(self, name, *more, pool="aks", size="STANDARD_DS3_v2", most=1):
        self.server.turnout("compute", "create", "--name", name, "--type", "amlcompute", "--location", pool, "--size", size,
                            "--min-instances", "0", "--max-instances", most, "--idle-time-before-scale-down", "3600", *more)
        return name

    def drop(self, name):
        self.server.turnout("compute", "delete", "--name", name, "--yes")
        eventually(f"no pod of {name} is left", lambda: not self.pods(name), 90)

    def pods(self, compute=""):
        found = json.loads(self.kubectl("get", "pods", "-l", f"turnout.server={self.instance}", "-o", "json"))["items"]
        return [one for one in found if f"/{compute}" in one["metadata"]["annotations"]["turnout.node"]]

    def names(self, compute=""):
        return sorted(one["metadata"]["uid"] for one in self.pods(compute))

    def events(self):
        return self.server.turnout("events", "-o", "json").stdout

    def end(self):
        self.server.stop()
        self.kubectl("delete", "pods", "-l", f"turnout.server={self.instance}", "--grace-period=1", check=False)


@pytest.fixture(scope="module")
def pods(kubeconfig, kubectl):
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    pods = Pods(path, kubeconfig, kubectl)
    yield pods
    if os.environ.get("TURNOUT_KEEP_LOG"):
        shutil.copy(pods.server.log, os.environ["TURNOUT_KEEP_LOG"])
    pods.end()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def cpu(pods):
    return pods.cluster("cpu")


@pytest.fixture
def sdk(pods, monkeypatch):
    for name, value in pods.server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(pods.server)


def submit(sdk, text, compute="cpu", image=BASE, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    more.setdefault("environment", Environment(image=image))
    return sdk.create_or_update(command(command=text, compute=compute, experiment_name="pods", **more))


def runs(sdk, job):
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")


def explained(pods, job):
    return pods.server.turnout("job", "explain", job.name, "-o", "json").stdout


def test_check_asks_the_cluster_and_says_what_it_found(pods):
    done = pods.server.turnout("pool", "check", "-o", "json")
    found = {one["name"]: one["hosts"][0] for one in json.loads(done.stdout) if one.get("hosts")}
    aks = found["aks"]
    assert aks["reachable"] and aks["system"].startswith("Kubernetes v1.") and "1 machine, 1 ready" in aks["system"], aks
    assert aks["cores"] > 0 and aks["memory_bytes"] > 0 and aks["machines"][0]["name"] == "node1", aks
    assert len(aks["rights"]) == 8 and all(right["allowed"] for right in aks["rights"]), aks
    # Which right is missing is said, and which file has it.
    narrow = found["narrow"]
    assert not narrow["reachable"] and "does not allow us to create pods" in narrow["message"], narrow
    assert "deploy/kubernetes.yaml" in narrow["message"], narrow
    assert not found["away"]["reachable"] and "does not answer" in found["away"]["message"], found
    assert "pool 'aks': kubernetes" in done.stderr and "works: Kubernetes v1." in done.stderr, done.stderr


def test_a_job_with_all_that_a_job_has(pods, cpu, sdk, tmp_path):
    from azure.ai.ml import Input, Output
    from mlflow import MlflowClient

    (tmp_path / "src").mkdir()
    # No pod needs a network: the metric goes by MLflow's own protocol to the agent beside the job.
    (tmp_path / "src" / "train.py").write_text(
        "import json, os, pathlib, sys, time, urllib.request\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "body = {'run_id': os.environ['MLFLOW_RUN_ID'], 'key': 'size', 'value': len(text), 'timestamp': int(time.time() * 1000), 'step': 0}\n"
        "urllib.request.urlopen(urllib.request.Request(os.environ['MLFLOW_TRACKING_URI'].rstrip('/') + '/api/2.0/mlflow/runs/log-metric',\n"
        "    json.dumps(body).encode(), {'Content-Type': 'application/json',\n"
        "    **({'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']} if 'MLFLOW_TRACKING_TOKEN' in os.environ else {})}))\n"
        "pathlib.Path(sys.argv[2], 'result').write_text(text.upper())\n"
        "print('in', os.environ['TURNOUT_NODE_FOLDER'], os.environ['FROM_IMAGE'], os.getuid(), os.environ['SECRET_OF_POOL'])\n")
    (tmp_path / "data").write_text("some words")
    job = submit(sdk, "python3 train.py ${{inputs.data}} ${{outputs.out}}", code=str(tmp_path / "src"),
                 inputs={"data": Input(type="uri_file", path=str(tmp_path / "data"))},
                 outputs={"out": Output(type="uri_folder")})
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", (explained(pods, job), log_of(sdk, job.name, tmp_path))
    assert "in /turnout/node base 1000 not-in-the-pod" in log_of(sdk, job.name, tmp_path)
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "SOME WORDS"
    assert MlflowClient(pods.server.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"size": 10.0}
    # One pod, of the size's instance type, with no right and no secret in it.
    (pod,) = pods.pods("cpu")
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}, container
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["securityContext"]["runAsUser"] == 1000
    assert "not-in-the-pod" not in json.dumps(pod)
    assert not pod["spec"].get("hostNetwork") and not container["securityContext"]["allowPrivilegeEscalation"]


def test_a_conda_environment_is_built_in_a_pod(pods, cpu, sdk, tmp_path):
    from azure.ai.ml.entities import Environment

    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [six]}]\n")
    job = submit(sdk, "python -c 'import six; print(\"six\", six.__version__)'",
                 environment=Environment(image=BASE, conda_file=str(tmp_path / "conda.yml")))
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", (explained(pods, job), log_of(sdk, job.name, tmp_path))
    assert "six 1." in log_of(sdk, job.name, tmp_path)


def test_another_image_is_another_pod(pods, cpu, sdk, tmp_path):
    before = pods.names("cpu")
    job = submit(sdk, "echo $FROM_IMAGE; test ! -e /usr/bin/python3", image=SMALL)
    assert wait_for(sdk, job.name).status == "Completed", explained(pods, job)
    assert "small" in log_of(sdk, job.name, tmp_path)
    assert pods.names("cpu") != before and len(pods.names("cpu")) == 1


def test_an_image_is_pulled_from_a_registry(pods, cpu, sdk, tmp_path):
    job = submit(sdk, "echo $FROM_IMAGE", image=f"{os.environ['TURNOUT_KUBERNETES_REGISTRY']}/pulled/small:1")
    assert wait_for(sdk, job.name).status == "Completed", explained(pods, job)
    assert "small" in log_of(sdk, job.name, tmp_path)


def test_an_image_that_is_not_there_fails_the_job_and_says_so(pods, cpu, sdk):
    image = f"{os.environ['TURNOUT_KUBERNETES_REGISTRY']}/nobody/none:7"
    job = submit(sdk, "true", image=image)
    assert wait_for(sdk, job.name, 120).status == "Failed"
    why = json.loads(pods.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout)
    assert f"image '{image}' cannot be pulled: Kubernetes says: " in json.dumps(why), why
    assert "not found" in json.dumps(why), why
    # The cluster goes on.
    assert wait_for(sdk, submit(sdk, "true").name).status == "Completed"


def test_an_image_without_a_shell_is_told(pods, cpu, sdk):
    job = submit(sdk, "true", image=BARE)
    assert wait_for(sdk, job.name, 120).status == "Failed"
    assert f"image '{BARE}' has no sh" in pods.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout


def test_a_pod_that_fits_nowhere_says_why_in_the_schedulers_words(pods, sdk):
    pods.cluster("zone", size="STANDARD_F2s_v2")
    job = submit(sdk, "echo here", compute="zone", image=SMALL)
    eventually("it says why", lambda: "waits in Kubernetes: 0/1 nodes are available" in explained(pods, job), 60)
    assert sdk.jobs.get(job.name).status == "Queued"
    # And goes on by itself when a machine has what it asks for.
    pods.kubectl("label", "node", "node1", "turnout-test/zone=b")
    try:
        assert wait_for(sdk, job.name, 120).status == "Completed", explained(pods, job)
    finally:
        pods.kubectl("label", "node", "node1", "turnout-test/zone-")
    pods.drop("zone")


def test_a_cancel_ends_what_runs_in_the_pod(pods, cpu, sdk):
    job = submit(sdk, "sleep 4711")
    runs(sdk, job)
    (pod,) = pods.pods("cpu")
    look = lambda: pods.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '", check=False)
    assert "sleep 4711" in look()
    sdk.jobs.begin_cancel(job.name)
    assert wait_for(sdk, job.name, 60).status == "Canceled"
    after = look()
    assert "turnout-agent" in after and "sleep 4711" not in after, after


def test_a_job_outlives_a_server_that_is_killed(pods, cpu, sdk, tmp_path):
    job = submit(sdk, "for i in $(seq 1 40); do echo line-$i; sleep 0.2; done")
    runs(sdk, job)
    before = pods.names("cpu")
    pods.server.kill()
    time.sleep(1)
    assert pods.names("cpu") == before
    pods.server.start()
    sdk = client_for(pods.server)
    assert wait_for(sdk, job.name).status == "Completed", explained(pods, job)
    assert pods.names("cpu") == before
    log = log_of(sdk, job.name, tmp_path)
    assert [line for line in log.split("\n") if line.startswith("line-")] == [f"line-{i}" for i in range(1, 41)]


def attempts(pods, job):
    return len(json.loads(explained(pods, job))["attempts"])


@pytest.mark.parametrize("force", [False, True])
def test_a_pod_that_somebody_deletes_is_replaced_and_its_job_begins_anew(pods, cpu, sdk, force):
    job = submit(sdk, "sleep 6; echo done")
    runs(sdk, job)
    before = pods.names("cpu")
    (pod,) = pods.pods("cpu")
    pods.kubectl("delete", "pod", pod["metadata"]["name"], *(["--force", "--grace-period=0"] if force else []))
    assert wait_for(sdk, job.name, 180).status == "Completed", explained(pods, job)
    assert attempts(pods, job) == 2 and pods.names("cpu") != before
    assert "somebody deleted it" in pods.events()


def test_an_evicted_pod_says_so_and_its_job_begins_anew(pods, cpu, sdk):
    job = submit(sdk, "sleep 6; echo done")
    runs(sdk, job)
    (pod,) = pods.pods("cpu")
    # As `kubectl drain` does, and what makes machines fewer.
    name = pod["metadata"]["name"]
    pods.kubectl("create", "--raw", f"/api/v1/namespaces/turnout/pods/{name}/eviction", "-f", "-", input=json.dumps(
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "turnout"}}))
    assert wait_for(sdk, job.name, 180).status == "Completed", explained(pods, job)
    assert attempts(pods, job) == 2
    assert "Kubernetes evicted it (EvictionByEvictionAPI" in pods.events()


def test_a_task_that_takes_more_memory_than_its_pod_has_ends_with_that_cause(pods, sdk):
    pods.cluster("small", size="STANDARD_DS1_v2")
    job = submit(sdk, "python3 -c 'x = bytearray(600 << 20); x[::4096] = x[::4096]'", compute="small", image=BASE)
    assert wait_for(sdk, job.name, 180).status == "Failed"
    assert "memory" in pods.server.turnout("job", "show", "-n", job.name, "-o", "json").stdout.lower()
    pods.drop("small")


def test_rights_that_are_missing_are_told(pods, sdk):
    pods.cluster("no", pool="narrow")
    job = submit(sdk, "true", compute="no")
    eventually("the pool says why", lambda: "deploy/kubernetes.yaml has the rights" in
               pods.server.turnout("pool", "show", "narrow", "-o", "json").stdout, 60)
    assert "deploy/kubernetes.yaml has the rights" in explained(pods, job)
    sdk.jobs.begin_cancel(job.name)
    assert wait_for(sdk, job.name, 60).status == "Canceled"


def test_credentials_that_are_no_longer_valid_are_told_and_new_ones_taken(pods, cpu, sdk):
    text = pods.config.read_text()
    before, _, rest = text.partition("token: ")
    try:
        pods.config.write_text(before + "token: no-longer" + rest[rest.index("}"):])
        pods.server.kill()  # so that it reads them anew
        pods.server.start()
        eventually("it says so", lambda: "no longer valid" in pods.server.turnout("pool", "show", "aks", "-o", "json").stdout, 90)
    finally:
        pods.config.write_text(text)
    sdk = client_for(pods.server)
    assert wait_for(sdk, submit(sdk, "true").name, 120).status == "Completed"


def test_an_api_server_that_is_away_loses_nothing(pods, cpu, sdk):
    job = submit(sdk, "sleep 12; echo done")
    runs(sdk, job)
    before = pods.names("cpu")
    engine("stop", "apiserver")
    try:
        eventually("the pool says so", lambda: "does not answer" in pods.server.turnout("pool", "show", "aks", "-o", "json").stdout, 90)
        time.sleep(5)
    finally:
        engine("start", "apiserver")
    assert wait_for(sdk, job.name, 120).status == "Completed", explained(pods, job)
    assert pods.names("cpu") == before and attempts(pods, job) == 1


def test_a_kubelet_that_is_away_for_a_while_loses_nothing(pods, cpu, sdk):
    job = submit(sdk, "sleep 8; echo done")
    runs(sdk, job)
    engine("stop", "kubelet")
    try:
        time.sleep(4)
    finally:
        engine("start", "kubelet")
    assert wait_for(sdk, job.name, 120).status == "Completed", explained(pods, job)
    assert attempts(pods, job) == 1


def test_it_is_attached_as_on_azure(pods, sdk, tmp_path):
    from azure.ai.ml.entities import JobResourceConfiguration, KubernetesCompute
    from azure.core.exceptions import HttpResponseError

    wanted = dict(name="k8s", namespace="default", properties={"defaultInstanceType": "standard_ds1_v2"},
                  resource_id="/subscriptions/s/resourceGroups/r/providers/Microsoft.ContainerService/managedClusters/aks")
    made = sdk.compute.begin_create_or_update(KubernetesCompute(**wanted)).result()
    assert made.type == "kubernetes" and made.provisioning_state == "Succeeded", made
    there = sdk.compute.get("k8s")
    assert there.properties["instanceTypes"]["standard_ds1_v2"]["resources"]["limits"] == {"cpu": "200m", "memory": "256Mi"}, there.properties
    job = submit(sdk, "echo attached $FROM_IMAGE", compute="k8s", image=SMALL,
                 resources=JobResourceConfiguration(instance_type="standard_ds1_v2"))
    assert wait_for(sdk, job.name, 120).status == "Completed", explained(pods, job)
    assert "attached small" in log_of(sdk, job.name, tmp_path)
    (pod,) = pods.pods("k8s")
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "200m", "memory": "256Mi"}
    with pytest.raises(HttpResponseError, match="once more, under another name"):
        submit(sdk, "true", compute="k8s", resources=JobResourceConfiguration(instance_type="standard_ds3_v2"))
    shown = json.loads(pods.server.turnout("compute", "show", "--name", "k8s", "-o", "json").stdout)
    assert shown["type"] == "kubernetes" and shown["pool"] == "aks" and shown["default_instance_type"] == "standard_ds1_v2", shown
    # Detached it leaves nothing there.
    sdk.compute.begin_delete("k8s", action="Detach").result()
    eventually("no pod is left", lambda: not pods.names("k8s"), 60)
    pods.server.turnout("compute", "attach", "--name", "k8s", "--type", "kubernetes", "--resource-id", "aks")
    pods.server.turnout("compute", "detach", "--name", "k8s", "--yes")


def test_nothing_is_left_when_a_cluster_is_deleted(pods, cpu, sdk):
    assert wait_for(sdk, submit(sdk, "true").name).status == "Completed"
    assert pods.names("cpu")
    pods.drop("cpu")


def test_a_server_killed_while_it_makes_pods_leaves_none_behind(pods, sdk):
    for _ in range(3):
        pods.cluster("again", size="STANDARD_DS1_v2", most=2)
        jobs = [submit(sdk, "true", compute="again", image=SMALL) for _ in range(2)]
        eventually("a pod is made", lambda: pods.names("again"), interval=0.01)
        pods.server.kill()
        pods.server.start()
        sdk = client_for(pods.server)
        assert [wait_for(sdk, job.name).status for job in jobs] == ["Completed"] * 2
        assert len(pods.names("again")) <= 2
        # And in the middle of a release.
        pods.server.turnout("compute", "delete", "--name", "again", "--yes", "--no-wait")
        time.sleep(0.3)
        pods.server.kill()
        pods.server.start()
        sdk = client_for(pods.server)
        eventually("no pod is left", lambda: not pods.names("again"), 90)
        eventually("it is gone", lambda: pods.server.turnout("compute", "show", "--name", "again", check=False).returncode, 60)


def test_figures(pods, kubectl, tmp_path):
    """What the page says: a cold and a warm pod, and a pod of Kubernetes' own beside it."""
    pods.cluster("figures", size="STANDARD_DS1_v2")

    def first_line():
        path = tmp_path / "job.yml"
        path.write_text(f"command: echo first-line\nenvironment:\n  image: {SMALL}\ncompute: azureml:figures\nexperiment_name: figures\n")
        began = time.monotonic()
        with subprocess.Popen([clients.TURNOUT, "job", "create", "-f", str(path), "--stream"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True,
                              env={**clients.PLAIN_ENV, "TURNOUT_DATA": str(pods.server.data)}) as process:
            for line in process.stdout:
                if "first-line" in line:
                    took = time.monotonic() - began
                    process.wait(60)
                    return took
        pytest.fail("the job said nothing")

    # What the engine takes by itself until a container of that image runs.
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone"}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": SMALL, "imagePullPolicy": "Never", "command": ["sh", "-c", "sleep 60"],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}]}}
    began = time.monotonic()
    kubectl("create", "-f", "-", input=json.dumps(alone))
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/alone", "--timeout=60s")
    engine_alone = time.monotonic() - began
    kubectl("delete", "pod", "alone", "--wait=true")
    cold = first_line()
    warm = sorted(first_line() for _ in range(11))
    figures = {"a pod alone, s": round(engine_alone, 2), "cold pod, s": round(cold, 2), "warm pod, ms": round(warm[len(warm) // 2] * 1000)}
    print(figures)
    Path(os.environ.get("TURNOUT_FIGURES", tmp_path / "figures.json")).write_text(json.dumps(figures))
    pods.drop("figures")
    assert cold <= engine_alone + 10, figures
