"""`compute: containerinstance`, without an engine: what is refused, by whom, and in which words. tests/engines has the rest."""
import json

import pytest
from azure.ai.ml import command
from azure.ai.ml.entities import AmlCompute, Environment, JobResourceConfiguration
from azure.core.exceptions import HttpResponseError

from conftest import client_for, eventually

POOL = "  {}:\n    provider: container\n    slots: 2\n    settings: {{image: 'python:3.11', socket: /nowhere/docker.sock}}\n"


@pytest.fixture(scope="module")
def boxes(module_server):
    """A server with two such pools, whose engines are not there."""
    module_server.stop()
    (module_server.data / "pools.yaml").write_text("pools:\n" + "".join(POOL.format(name) for name in ("boxes", "eastus")))
    return module_server.start()


@pytest.fixture
def sdk(boxes, monkeypatch):
    for name, value in boxes.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(boxes)


def alone(sdk, compute="containerinstance", more=None, **wish):
    job = command(command="true", environment=Environment(image="small:1"), compute=compute, experiment_name="alone",
                  resources=JobResourceConfiguration(properties={"container_instance": wish, **(more or {})}))
    return sdk.create_or_update(job)


def test_without_a_pool_of_containers_it_is_refused(ml_client):
    with pytest.raises(HttpResponseError, match="this server has no pool of containers: describe one in pools.yaml"):
        alone(ml_client)


def test_the_sdk_says_where_and_how_large(boxes, sdk):
    job = alone(sdk, "azureml:ContainerInstance", region="East US", cpu_cores=2, memory_gb=1.5)
    assert job.compute == "containerinstance", job.compute
    assert job.properties["turnout.container"] == "2 cores and 1.5 GB in pool 'eastus'", job.properties
    again = sdk.jobs.get(job.name)
    assert again.compute == "containerinstance" and again.resources.properties["container_instance"]["cpu_cores"] == 2
    usual = alone(sdk, region="boxes")
    assert usual.properties["turnout.container"] == "1 core and 4 GB in pool 'boxes'"
    assert [one.name for one in sdk.compute.list()] == []
    assert boxes.turnout("compute", "list", "-o", "tsv").stdout.strip() == ""
    pools = {one["name"]: one for one in json.loads(boxes.turnout("pool", "list", "-o", "json").stdout)}
    assert pools["boxes"]["computes"] == 0 and pools["boxes"]["waiting"] == 1, pools
    explained = boxes.turnout("job", "explain", "-n", usual.name).stdout
    assert "/nowhere/docker.sock" in explained and "containerinstance-" not in explained, explained
    listed = json.loads(boxes.turnout("job", "list", "--compute", "containerinstance", "-o", "json").stdout)
    assert {one["name"] for one in listed} == {job.name, usual.name}
    for one in (job, usual):
        sdk.jobs.begin_cancel(one.name)
        assert sdk.jobs.get(one.name).status == "Canceled"
    assert "containerinstance-" not in boxes.turnout("events").stdout


@pytest.mark.parametrize("wish, words", [
    ({}, r"container_instance.region: expected one of the pools of containers \(boxes, eastus\), found nothing"),
    ({"region": "westeurope"}, r"expected a pool of containers \(boxes, eastus\), found 'westeurope'"),
    ({"region": "local"}, r"expected a pool of containers \(boxes, eastus\), found 'local'"),
    ({"region": "boxes", "cpu_cores": 0}, r"container_instance.cpu_cores: expected a whole number of cores, at least 1, found 0"),
    ({"region": "boxes", "cpu_cores": "two"}, r"cpu_cores: expected a whole number of cores, at least 1, found \"two\""),
    ({"region": "boxes", "memory_gb": -1}, r"container_instance.memory_gb: expected a number of gigabytes, at least 0.1, found -1"),
    ({"region": "boxes", "memory": 1}, r"container_instance.memory: there is no such member \(expected region, cpu_cores or memory_gb\)"),
])
def test_what_cannot_be_is_refused_with_its_place(sdk, wish, words):
    with pytest.raises(HttpResponseError, match=words):
        alone(sdk, **wish)


def test_yaml_is_checked_without_a_server_too(boxes, tmp_path):
    text = ("command: 'true'\nenvironment: {image: 'small:1'}\ncompute: containerinstance\n"
            "resources: {properties: {container_instance: {region: boxes, cpu_cores: %s}}}\n")
    (tmp_path / "bad.yml").write_text(text % "none")
    done = boxes.turnout("job", "validate", "-f", tmp_path / "bad.yml", check=False)
    assert done.returncode != 0 and "cpu_cores: expected a whole number of cores, at least 1" in done.stderr, done.stderr
    (tmp_path / "good.yml").write_text(text % "2")
    boxes.turnout("job", "validate", "-f", tmp_path / "good.yml")
    name = boxes.turnout("job", "create", "-f", tmp_path / "good.yml", "--query", "name", "-o", "tsv").stdout.strip()
    shown = json.loads(boxes.turnout("job", "show", "-n", name, "-o", "json").stdout)
    assert shown["properties"]["turnout.container"] == "2 cores and 4 GB in pool 'boxes'", shown
    boxes.turnout("job", "cancel", "-n", name)


def test_nobody_creates_or_attaches_one(boxes, sdk, tmp_path):
    with pytest.raises(HttpResponseError, match="the name 'containerinstance' is taken: a container instance is neither created nor"):
        sdk.compute.begin_create_or_update(AmlCompute(name="containerinstance", size="STANDARD_DS3_v2")).result()
    (tmp_path / "aci.yml").write_text("name: mine\ntype: containerinstance\n")
    for verb in ("create", "attach"):
        done = boxes.turnout("compute", verb, "-f", tmp_path / "aci.yml", check=False)
        assert done.returncode != 0 and "it is chosen per run" in done.stderr, done.stderr
        done = boxes.turnout("compute", verb, "--name", "mine", "--type", "containerinstance", check=False)
        assert done.returncode != 0 and "it is chosen per run" in done.stderr, done.stderr


def test_a_workspace_goes_although_a_container_is_on_its_way(boxes, tmp_path):
    boxes.turnout("workspace", "create", "--name", "short-lived")
    (tmp_path / "job.yml").write_text("command: 'true'\nenvironment: {image: 'small:1'}\ncompute: containerinstance\n"
                                      "resources: {properties: {container_instance: {region: boxes}}}\n")
    there = ("--workspace-name", "short-lived")
    name = boxes.turnout("job", "create", "-f", tmp_path / "job.yml", "--query", "name", "-o", "tsv", *there).stdout.strip()
    boxes.turnout("job", "cancel", "-n", name, *there)
    boxes.turnout("workspace", "delete", "--name", "short-lived", "--yes")
    eventually("it is gone", lambda: "short-lived" not in boxes.turnout("workspace", "list").stdout)
