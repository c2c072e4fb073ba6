"""Many writers of one thing at a time: whatever was answered with success is there afterwards."""
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import eventually

WRITERS = 24


def together(work):
    """work(i) of each writer at the same time; all of them."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(work, range(WRITERS)))


def names(prefix):
    return {f"{prefix}{i}" for i in range(WRITERS)}


@pytest.fixture(scope="module")
def job(rest, server):
    name = f"written-{uuid.uuid4().hex[:8]}"
    server.turnout("compute", "create", "--name", "written", "--type", "amlcompute", "--size", "STANDARD_DS1_v2", "--max-instances", "1", "--set", "tags.first=1", check=False)
    server.turnout("job", "create", "-f", "-", "--name", name, input="command: 'true'\nenvironment: {image: here}\ntags: {first: '1'}\n")
    return name


def test_tags_of_a_job(rest, job):
    history = f"/history/v1.0{rest.ws}/experiments/Default/runs/{job}"

    def write(i):
        if i % 2:
            return rest.call("PATCH", f"{rest.ws}/jobs/{job}", json={"properties": {"tags": {f"t{i}": "1"}, "properties": {f"p{i}": "1"}}}).status_code
        return rest.call("PATCH", history, json={"tags": {f"t{i}": "1"}, "properties": {f"p{i}": "1"}}).status_code

    assert together(write) == [200] * WRITERS
    shown = rest.call("GET", f"{rest.ws}/jobs/{job}").json()["properties"]
    assert names("t") | {"first"} <= set(shown["tags"])
    assert names("p") <= set(shown["properties"])


def test_by_the_command_line(server, job):
    job = f"{job}-cli"
    server.turnout("job", "create", "-f", "-", "--name", job, input="command: 'true'\nenvironment: {image: here}\n")
    with ThreadPoolExecutor(8) as pool:
        assert all(done.returncode == 0 for done in pool.map(lambda i: server.turnout("job", "update", "--name", job, "--set", f"tags.c{i}=1"), range(8)))
    shown = server.turnout("job", "show", "--name", job, "-o", "json").stdout
    assert all(f'"c{i}"' in shown for i in range(8))
    server.turnout("job", "update", "--name", job, "--set", "tags={\"only\": \"1\"}")
    assert '"c1"' not in server.turnout("job", "show", "--name", job, "-o", "json").stdout


def test_what_is_the_servers_is_written_at_no_door(rest, job):
    history = f"/history/v1.0{rest.ws}/experiments/Default/runs/{job}"
    own = {"turnout.cause": "mine", "turnout.new": "mine", "theirs": "mine"}
    assert rest.call("PATCH", history, json={"properties": own}).status_code == 200
    assert rest.call("PATCH", f"{rest.ws}/jobs/{job}", json={"properties": {"properties": own}}).status_code == 200
    shown = rest.call("GET", f"{rest.ws}/jobs/{job}").json()["properties"]["properties"]
    assert shown["theirs"] == "mine" and "turnout.new" not in shown and shown.get("turnout.cause") != "mine"


def test_tags_of_a_run_and_of_an_experiment(server):
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.create_experiment(f"writers-{uuid.uuid4().hex[:8]}")
    run = client.create_run(experiment).info.run_id

    def write(i):
        client.set_tag(run, f"t{i}", "1")
        client.log_param(run, f"t{i}", "1")
        client.set_experiment_tag(experiment, f"t{i}", "1")

    together(write)
    kept = client.get_run(run).data
    assert names("t") <= set(kept.tags) and names("t") <= set(kept.params)
    assert names("t") <= set(client.get_experiment(experiment).tags)


def test_a_registered_model(server):
    import mlflow

    client = mlflow.MlflowClient()
    name = f"writers-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    run = client.create_run("0").info.run_id
    client.log_text(run, "weights", "model/weights.txt")

    def write(i):
        version = client.create_model_version(name, f"runs:/{run}/model", run_id=run).version
        client.set_registered_model_tag(name, f"t{i}", "1")
        client.set_registered_model_alias(name, f"a{i}", version)
        client.set_model_version_tag(name, "1", f"t{i}", "1")
        return int(version)

    assert sorted(together(write)) == list(range(1, WRITERS + 1))
    kept = client.get_registered_model(name)
    assert names("t") <= set(kept.tags) and names("a") <= set(kept.aliases)
    assert names("t") <= set(client.get_model_version(name, "1").tags)
    assert client.update_registered_model(name, "words").description == "words"


def test_versions_of_an_asset(rest):
    name = f"writers-{uuid.uuid4().hex[:8]}"

    def write(i):
        return rest.call("PUT", f"{rest.ws}/data/{name}/versions/{i + 1}",
                         json={"properties": {"dataType": "uri_file", "dataUri": f"azureml://datastores/workspaceblobstore/paths/{i}"}}).status_code

    assert together(write) == [201] * WRITERS
    assert len(rest.call("GET", f"{rest.ws}/data/{name}/versions").json()["value"]) == WRITERS
    assert rest.call("GET", f"{rest.ws}/data/{name}").json()["properties"]["nextVersion"] == str(WRITERS + 1)


def test_settings_of_a_cluster(rest, job):
    path = f"{rest.ws}/computes/written"

    def write(i):
        if i == 0:
            return rest.call("PATCH", path, json={"properties": {"properties": {"scaleSettings": {"maxNodeCount": 3}}}}).status_code
        if i == 1:
            return rest.call("PATCH", path, json={"properties": {"properties": {"scaleSettings": {"nodeIdleTimeBeforeScaleDown": "PT77S"}}}}).status_code
        return rest.call("PATCH", path, json={"tags": {f"t{i}": "1"}}).status_code

    assert together(write) == [200] * WRITERS
    shown = rest.call("GET", path).json()
    scale = shown["properties"]["properties"]["scaleSettings"]
    assert scale["maxNodeCount"] == 3 and scale["nodeIdleTimeBeforeScaleDown"] == "PT1M17S"
    assert {f"t{i}" for i in range(2, WRITERS)} | {"first"} <= set(shown["tags"])


def test_settings_of_a_workspace(rest):
    assert all(status == 200 for status in together(
        lambda i: rest.call("PATCH", rest.ws, json={"properties": {"description": f"d{i}"}} if i % 2 else {"properties": {"friendlyName": f"f{i}"}}).status_code))
    shown = rest.call("GET", rest.ws).json()["properties"]
    assert shown["description"].startswith("d") and shown["friendlyName"].startswith("f")
