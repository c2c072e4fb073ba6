"""Online endpoints with the real SDK and the command line: a model goes from a job to an answer, is replaced without a
failed request, fails with its last lines, and is there again after the server was killed."""
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import REFUSED, ROOT, eventually

EXAMPLE = ROOT / "examples" / "endpoints"
BARE = {"name": "bare", "dependencies": ["python=3.11", {"pip": ["pip"]}]}
ECHO = """
import json, os, time
def init():
    print("begins as", os.environ.get("VERSION"))
def run(raw):
    asked = json.loads(raw)
    time.sleep(asked.get("sleep", 0))
    while "until" in asked and not os.path.exists(asked["until"]):
        time.sleep(0.05)
    if "fail" in asked:
        raise ValueError("as it was asked to")
    return {"version": os.environ.get("VERSION"), "asked": asked}
"""
FAILING = """
def init():
    print("about to look for what is not there")
    raise RuntimeError("no weights here")
def run(raw):
    return None
"""


def cli(server, *words, **more):
    done = server.turnout(*words, **more)
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done


class Asked:
    """An endpoint as a program elsewhere sees it: an address and a key."""

    def __init__(self, server, name):
        self.uri = cli(server, "online-endpoint", "show", name, "-o", "json")["scoring_uri"]
        keys = cli(server, "online-endpoint", "get-credentials", name, "-o", "json")
        self.key = keys.get("primaryKey") or keys.get("accessToken")
        self.context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])

    def __call__(self, body=None, key=None, timeout=60, **headers):
        request = urllib.request.Request(self.uri, json.dumps(body or {}).encode(), {
            "Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()}})
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self.context) as answer:
                return answer.status, json.loads(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else text, error.headers


def ended_while_asked(server, endpoint, file, count, ask, *words):
    """The statuses of so many requests that wait for a file, while what serves them is told to end."""
    def in_flight():
        all = cli(server, "online-deployment", "list", "-e", endpoint, "-o", "json")
        return sum(one["requests"]["in_flight"] for one in all)

    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, str(file)) for _ in range(count)]
        try:
            eventually("all are sent", lambda: in_flight() == count)
            server.turnout(*words, "--yes", "--no-wait")
            time.sleep(2)  # an instance that knows of nothing to answer is gone before
        finally:
            file.touch()
        return [one.result()[0] for one in asked]


def deployment_file(folder, endpoint, name, script=ECHO, version="1", **more):
    """A deployment with a script of its own, that needs nothing but the server of scripts."""
    code = folder / f"{name}-{version}"
    code.mkdir(exist_ok=True)
    (code / "score.py").write_text(script)
    file = folder / f"{name}-{version}.yml"
    file.write_text(json.dumps({
        "name": name, "endpoint_name": endpoint, "code_configuration": {"code": str(code), "scoring_script": "score.py"},
        "environment": {"image": "debian:12", "conda_file": BARE}, "environment_variables": {"VERSION": version},
        "instance_count": 1, **more}))
    return file


@pytest.fixture
def endpoint(server, request):
    """One of its own, which goes with the test."""
    name = "e-" + "".join(c for c in request.node.name if c.isalnum())[:24].lower()
    cli(server, "online-endpoint", "create", "-n", name, "-o", "json")
    yield name
    server.turnout("online-endpoint", "delete", name, "--yes", check=False)


def test_a_model_goes_from_job_to_registry_to_answer(server, ml_client):
    """By the SDK, as the tutorial of managed endpoints does it."""
    from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    name = cli(server, "job", "create", "-f", EXAMPLE / "train.yml", "-o", "json")["name"]
    assert server.turnout("job", "stream", name).returncode == 0
    model = ml_client.models.create_or_update(Model(name="weights-sdk", path=f"azureml://jobs/{name}/outputs/model", type="custom_model"))

    made = ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="sdk-weights", auth_mode="key", description="weights", tags={"a": "b"})).result()
    assert made.provisioning_state == "Succeeded" and made.scoring_uri.endswith("/sdk-weights/score")
    blue = ManagedOnlineDeployment(
        name="blue", endpoint_name="sdk-weights", model=model, instance_type="Standard_DS3_v2", instance_count=1,
        code_configuration=CodeConfiguration(code=str(EXAMPLE / "score"), scoring_script="score.py"),
        environment=Environment(conda_file=str(EXAMPLE / "conda.yml"), image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"))
    began = time.monotonic()
    done = ml_client.online_deployments.begin_create_or_update(blue).result()
    print(f"deployed in {time.monotonic() - began:.1f} s")
    assert done.provisioning_state == "Succeeded" and done.instance_count == 1
    # Without traffic it answers only who names it.
    with pytest.raises(HttpResponseError) as refused:
        ml_client.online_endpoints.invoke("sdk-weights", request_file=EXAMPLE / "request.json")
    assert refused.value.status_code == 404
    made.traffic = {"blue": 100}
    assert ml_client.online_endpoints.begin_create_or_update(made).result().traffic == {"blue": 100}
    assert json.loads(ml_client.online_endpoints.invoke("sdk-weights", request_file=EXAMPLE / "request.json")) == [80.2, 69.4]
    assert json.loads(ml_client.online_endpoints.invoke("sdk-weights", request_file=EXAMPLE / "request.json", deployment_name="blue")) == [80.2, 69.4]
    keys = ml_client.online_endpoints.get_keys("sdk-weights")
    assert len(keys.primary_key) >= 43 and keys.primary_key != keys.secondary_key
    ml_client.online_endpoints.begin_regenerate_keys("sdk-weights", key_type="secondary").result()
    again = ml_client.online_endpoints.get_keys("sdk-weights")
    assert again.primary_key == keys.primary_key and again.secondary_key != keys.secondary_key
    assert "the model is loaded" in ml_client.online_deployments.get_logs("blue", "sdk-weights", lines=100)
    assert [one.name for one in ml_client.online_endpoints.list() if one.name.startswith("sdk-")] == ["sdk-weights"]
    assert [one.name for one in ml_client.online_deployments.list("sdk-weights")] == ["blue"]
    shown = ml_client.online_deployments.get("blue", "sdk-weights")
    assert shown.model.endswith("/models/weights-sdk/versions/1") and shown.code_configuration.scoring_script == "score.py"
    # Nobody finds the key in what the server writes.
    for log in (server.log, *Path(server.data).rglob("*.log")):
        assert keys.primary_key.encode() not in log.read_bytes()
    ml_client.online_endpoints.begin_delete("sdk-weights").result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.online_endpoints.get("sdk-weights")


def test_blue_and_green_share_what_is_asked(server, endpoint, tmp_path):
    for name in ("blue", "green"):
        made = cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, name, version=name), "-o", "json",
                   *(["--all-traffic"] if name == "blue" else []))
        assert made["provisioning_state"] == "Succeeded" and made["ready_instances"] == 1
    ask = Asked(server, endpoint)
    status, answer, headers = ask({"x": 1})
    assert (status, answer) == (200, {"version": "blue", "asked": {"x": 1}})
    assert headers["azureml-model-deployment"] == "blue" and headers["x-request-id"] and headers["x-ms-request-id"]
    assert ask(azureml_model_deployment="green")[1]["version"] == "green"
    assert ask(azureml_model_deployment="red")[0] == 404
    assert ask(key="wrong")[0] in REFUSED
    assert ask({"fail": 1})[0] == 424 and ask({"fail": 1})[2]["ms-azureml-model-error-statuscode"] == "500"

    cli(server, "online-endpoint", "update", endpoint, "--traffic", "blue=70 green=30")
    counts = {"blue": 0, "green": 0}
    for _ in range(200):
        counts[ask()[1]["version"]] += 1
    assert 30 <= counts["green"] <= 95, counts
    # A mirror gets copies that nobody hears of.
    cli(server, "online-endpoint", "update", endpoint, "--traffic", "blue=100", "--mirror-traffic", "green=50")
    before = cli(server, "online-deployment", "show", "green", "-e", endpoint, "-o", "json")["requests"]["requests"]
    assert {ask()[1]["version"] for _ in range(40)} == {"blue"}
    eventually("the mirror got some", lambda: cli(server, "online-deployment", "show", "green", "-e", endpoint, "-o", "json")["requests"]["requests"] > before)

    for words, why in ((["--traffic", "blue=60 green=60"], "add up to 100"), (["--traffic", "bleu=100"], "did you mean 'blue'"),
                       (["--traffic", "blue=a"], "expected DEPLOYMENT=PERCENT")):
        refused = server.turnout("online-endpoint", "update", endpoint, *words, check=False)
        assert refused.returncode != 0 and why in refused.stderr, refused.stderr
    refused = server.turnout("online-deployment", "delete", "blue", "-e", endpoint, "--yes", check=False)
    assert refused.returncode != 0 and "has traffic" in refused.stderr
    file = tmp_path / "endpoint.yml"
    file.write_text(json.dumps({"name": endpoint, "auth_mode": "key", "description": "from a file"}))
    made = cli(server, "online-endpoint", "update", "-f", file, "--traffic", "blue=90 green=10", "-o", "json")
    assert made["traffic"] == {"blue": 90, "green": 10} and made["description"] == "from a file"
    requests = cli(server, "online-deployment", "show", "blue", "-e", endpoint, "-o", "json")["requests"]
    assert requests["requests"] > 100 and requests["errors"] == 2 and requests["p50_ms"] <= requests["p99_ms"]
    assert " 424 " in server.turnout("online-deployment", "get-logs", "blue", "-e", endpoint, "-c", "access-log", "-l", "500").stdout
    cli(server, "online-endpoint", "update", endpoint, "--traffic", "green=100", "--set", "mirror_traffic={}")
    server.turnout("online-deployment", "delete", "blue", "-e", endpoint, "--yes")
    assert [one["name"] for one in cli(server, "online-deployment", "list", "-e", endpoint, "-o", "json")] == ["green"]
    assert ask()[1]["version"] == "green"


def test_a_failing_init_is_told_and_what_served_serves_on(server, endpoint, tmp_path):
    failed = server.turnout("online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "bad", FAILING), check=False)
    assert failed.returncode != 0 and "no weights here" in failed.stderr, failed.stderr
    shown = cli(server, "online-deployment", "show", "bad", "-e", endpoint, "-o", "json")
    assert shown["provisioning_state"] == "Failed" and "no weights here" in shown["failure"]
    eventually("nothing of it is left", lambda: not cli(server, "online-deployment", "show", "bad", "-e", endpoint, "-o", "json").get("replicas"))
    assert "about to look" in server.turnout("online-deployment", "get-logs", "bad", "-e", endpoint).stdout

    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "blue"), "--all-traffic", "-o", "json")
    ask = Asked(server, endpoint)
    failed = server.turnout("online-deployment", "update", "-f", deployment_file(tmp_path, endpoint, "blue", FAILING, version="2"), check=False)
    assert failed.returncode != 0 and "no weights here" in failed.stderr
    for _ in range(20):
        status, answer, _ = ask()
        assert (status, answer["version"]) == (200, "1")
    made = cli(server, "online-deployment", "update", "-f", deployment_file(tmp_path, endpoint, "blue", version="3"), "-o", "json")
    assert made["provisioning_state"] == "Succeeded" and ask()[1]["version"] == "3"


def test_an_update_under_load_fails_nobody(server, endpoint, tmp_path):
    more = {"instance_count": 2, "request_settings": {"max_concurrent_requests_per_instance": 4, "max_queue_wait_ms": 20000, "request_timeout_ms": 20000}}
    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "blue", version="1", **more), "--all-traffic", "-o", "json")
    ask = Asked(server, endpoint)
    over, answers, lock = threading.Event(), [], threading.Lock()

    def load():
        while not over.is_set():
            try:
                status, answer, _ = ask({"sleep": 0.005})
                said = (status, answer.get("version") if isinstance(answer, dict) else answer)
            except OSError as error:
                said = (0, str(error))
            with lock:
                answers.append(said)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(load) for _ in range(4)]
        eventually("it is asked", lambda: len(answers) > 50)
        try:
            cli(server, "online-deployment", "update", "-f", deployment_file(tmp_path, endpoint, "blue", version="2", **more), "-o", "json")
            after = len(answers)
            eventually("it is asked on", lambda: len(answers) > after + 50)
        finally:
            over.set()
        for worker in workers:
            worker.result()
    bad = [one for one in answers if one[0] != 200]
    print(f"{len(answers)} requests, {len(bad)} failed")
    assert not bad, bad[:10]
    assert answers[0][1] == "1" and {version for _, version in answers[-20:]} == {"2"}
    # What was sent to an instance that ends is answered, also what waits there for its turn.
    statuses = ended_while_asked(server, endpoint, tmp_path / "go", 8, lambda until: ask({"until": until}),
                                 "online-endpoint", "delete", endpoint)
    assert statuses == [200] * 8


def test_a_replica_gets_no_more_than_it_may(server, endpoint, tmp_path):
    settings = {"max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 200, "request_timeout_ms": 2000}
    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "blue", request_settings=settings), "--all-traffic", "-o", "json")
    ask = Asked(server, endpoint)
    assert ask({"sleep": 3})[0] == 408
    eventually("it answers again", lambda: ask()[0] == 200)
    with ThreadPoolExecutor(12) as pool:
        statuses = [one[0] for one in pool.map(lambda _: ask({"sleep": 0.5}), range(12))]
    assert statuses.count(429) >= 6 and statuses.count(200) >= 1 and set(statuses) <= {200, 429}, statuses


def test_an_mlflow_model_needs_no_script(server, ml_client, endpoint, tmp_path):
    from azure.ai.ml.entities import ManagedOnlineDeployment, Model, OnlineRequestSettings

    model = tmp_path / "doubler"
    (model / "code").mkdir(parents=True)
    (model / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: doubler\n    code: code\n    env: {conda: conda.yaml}\n    python_version: 3.11.7\n"
        "model_uuid: 0123456789abcdef0123456789abcdef\nutc_time_created: '2026-11-30 20:00:00'\n")
    (model / "conda.yaml").write_text("dependencies:\n- python=3.11.7\n- pip:\n  - mlflow-skinny==3.17.2\n  - pandas\n")
    (model / "code" / "doubler.py").write_text(
        "import os, time\nclass Doubler:\n    def predict(self, data, params=None):\n        while 'until' in data and not os.path.exists(data['until'][0]):\n            time.sleep(0.05)\n        return data.sum(axis=1, numeric_only=True) * 2\ndef _load_pyfunc(path):\n    return Doubler()\n")
    registered = ml_client.models.create_or_update(Model(name="doubler", path=str(model), type="mlflow_model"))
    done = ml_client.online_deployments.begin_create_or_update(
        ManagedOnlineDeployment(name="flow", endpoint_name=endpoint, model=registered, instance_count=1,
                                request_settings=OnlineRequestSettings(request_timeout_ms=30000, max_concurrent_requests_per_instance=2))).result()
    assert done.provisioning_state == "Succeeded"
    ask = Asked(server, endpoint)
    flow = {"azureml_model_deployment": "flow"}
    assert ask({"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}}, **flow)[:2] == (200, [6, 14])
    assert ask({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, **flow)[:2] == (200, {"predictions": [6]})
    status, answer, headers = ask({"nothing": 1}, **flow)
    assert status == 424 and headers["ms-azureml-model-error-statuscode"] == "400" and "input_data" in answer["message"]
    for odd in ({"dataframe_split": [1, 2]}, {"input_data": {"data": 1}}, [1]):
        status, answer, headers = ask(odd, **flow)
        assert status == 424 and headers["ms-azureml-model-error-statuscode"] == "400" and answer["message"], (odd, status, answer)
    # What is sent in chunks, as by whoever reads it from a stream.
    chunks = iter([b'{"input_data": {"columns": ["a", "b"], ', b'"data": [[1, 2]]}}'])
    request = urllib.request.Request(ask.uri, chunks, {
        "Authorization": f"Bearer {ask.key}", "Content-Type": "application/json", "azureml-model-deployment": "flow"})
    with urllib.request.urlopen(request, timeout=60, context=ask.context) as answer:
        assert request.get_header("Transfer-encoding") == "chunked" and json.loads(answer.read()) == [6]
    statuses = ended_while_asked(server, endpoint, tmp_path / "go", 2, lambda until: ask(
        {"input_data": {"columns": ["a", "until"], "data": [[1, until]]}}, **flow), "online-deployment", "delete", "flow", "-e", endpoint)
    assert statuses == [200] * 2


def test_tokens_open_what_they_are_for(server, tmp_path):
    for mode in ("aml_token", "aad_token"):
        name = mode.replace("_", "-")
        cli(server, "online-endpoint", "create", "-n", name, "--auth-mode", mode, "-o", "json")
    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, "aml-token", "blue"), "--all-traffic", "-o", "json")
    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, "aad-token", "blue"), "--all-traffic", "-o", "json")
    request = tmp_path / "request.json"
    request.write_text('{"x": 1}')
    for name in ("aml-token", "aad-token"):
        assert json.loads(server.turnout("online-endpoint", "invoke", name, "-r", request).stdout)["asked"] == {"x": 1}
    token = cli(server, "online-endpoint", "get-credentials", "aml-token", "-o", "json")["accessToken"]
    ask = Asked(server, "aml-token")
    assert ask()[0] == 200 and ask(key="tke.1.x")[0] in REFUSED
    ask.uri = ask.uri.replace("aml-token", "aad-token")
    assert ask(key=token)[0] in REFUSED
    for name in ("aml-token", "aad-token"):
        server.turnout("online-endpoint", "delete", name, "--yes")


def test_a_killed_server_serves_again(server, endpoint, tmp_path):
    cli(server, "online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "blue"), "--all-traffic", "-o", "json")
    ask = Asked(server, endpoint)
    replicas = cli(server, "online-deployment", "show", "blue", "-e", endpoint, "-o", "json")["replicas"]
    server.kill()
    server.start()
    began = time.monotonic()

    def answers():
        try:
            return ask()[0] == 200
        except OSError:
            return False

    eventually("it answers again", answers, seconds=30)
    print(f"it answered {time.monotonic() - began:.1f} s after the server was there")
    now = cli(server, "online-deployment", "show", "blue", "-e", endpoint, "-o", "json")
    assert now["replicas"] == replicas and now["provisioning_state"] == "Succeeded"  # the very same process
    # A replica that dies is replaced.
    for pid in Path("/proc").iterdir():
        if not pid.name.isdigit():
            continue
        try:
            if f"AZUREML_RUN_ID={replicas[0]['name']}".encode() in (pid / "environ").read_bytes().split(b"\0"):
                os.kill(int(pid.name), 9)
        except OSError:
            pass
    eventually("another one answers", lambda: answers() and cli(
        server, "online-deployment", "show", "blue", "-e", endpoint, "-o", "json")["replicas"][0]["name"] != replicas[0]["name"], seconds=60)


def test_what_is_wrong_in_a_file_is_said_with_its_place(server, endpoint, tmp_path):
    for more, why in (({"scale_settings": {"type": "target_utilization"}}, "scale_settings.type"),
                      ({"instance_type": "Standard_DS3"}, "instance_type"), ({"model": "azureml:nothing:1"}, "model 'nothing' does not exist"),
                      ({"data_collector": {}}, "data_collector"), ({"instance_count": 0}, "instance_count"),
                      ({"code_configuration": {"code": str(tmp_path), "scoring_script": "none.py"}}, "none.py"),
                      ({"request_settings": {"request_timeout_ms": 200000}}, "request_settings: expected a duration")):
        refused = server.turnout("online-deployment", "create", "-f", deployment_file(tmp_path, endpoint, "odd", **more), check=False)
        assert refused.returncode != 0 and why in refused.stderr, (more, refused.stderr)
    assert cli(server, "online-deployment", "list", "-e", endpoint, "-o", "json") == []
    refused = server.turnout("job", "create", "--set", "command=true", "--set", "environment={image: 'debian:12'}", "--set",
                             "compute=online.local.standard_ds3_v2", check=False)
    assert refused.returncode != 0, refused.stdout
