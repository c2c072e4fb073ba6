"""Environments, data, components, datastores and computes through the SDK's own verbs."""
import json

import pytest


def test_environment_versions(ml_client, tmp_path):
    from azure.ai.ml.entities import Environment

    (tmp_path / "conda.yml").write_text("name: e\ndependencies:\n- python=3.11\n- pip:\n  - iniconfig\n")
    for version in ("1", "2"):
        made = ml_client.environments.create_or_update(Environment(
            name="mine", version=version, image="ubuntu:22.04", conda_file=str(tmp_path / "conda.yml"), description=f"number {version}"))
        assert (made.name, made.version) == ("mine", version)
    found = ml_client.environments.get("mine", version="1")
    assert found.description == "number 1" and found.conda_file["dependencies"][0] == "python=3.11"
    assert ml_client.environments.get("mine", label="latest").version == "2"
    assert {e.version for e in ml_client.environments.list("mine")} == {"1", "2"}
    assert "mine" in [e.name for e in ml_client.environments.list()]
    ml_client.environments.archive("mine", version="1")
    assert {e.version for e in ml_client.environments.list("mine")} == {"2"}
    ml_client.environments.restore("mine", version="1")
    assert {e.version for e in ml_client.environments.list("mine")} == {"1", "2"}


def test_environment_without_a_version_gets_the_next_one(ml_client):
    from azure.ai.ml.entities import Environment

    versions = [ml_client.environments.create_or_update(Environment(name="counted", image=f"ubuntu:{n}")).version for n in (20, 22)]
    assert versions == ["1", "2"]


def test_curated_environments(server):
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    registry = MLClient(DefaultAzureCredential(), registry_name="azureml")
    names = [e.name for e in registry.environments.list()]
    assert "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu" in names
    found = registry.environments.get("AzureML-sklearn-0.24-ubuntu18.04-py37-cpu", label="latest")
    assert found.version


def test_data_versions(ml_client, tmp_path):
    from azure.ai.ml.entities import Data

    (tmp_path / "f.csv").write_text("a\n")
    first = ml_client.data.create_or_update(Data(name="table", path=str(tmp_path / "f.csv"), type="uri_file", tags={"k": "v"}))
    (tmp_path / "f.csv").write_text("b\n")
    second = ml_client.data.create_or_update(Data(name="table", path=str(tmp_path / "f.csv"), type="uri_file"))
    assert (first.version, second.version) == ("1", "2")
    assert ml_client.data.get("table", label="latest").version == "2"
    assert ml_client.data.get("table", version="1").tags == {"k": "v"}
    assert {d.version for d in ml_client.data.list("table")} == {"1", "2"}
    ml_client.data.archive("table")
    assert "table" not in [d.name for d in ml_client.data.list()]
    ml_client.data.restore("table")
    assert "table" in [d.name for d in ml_client.data.list()]


def test_changed_definition_under_a_version_is_a_conflict(ml_client):
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import HttpResponseError

    place = "azureml://datastores/workspaceblobstore/paths/"
    ml_client.data.create_or_update(Data(name="fixed", version="1", path=place + "a/", type="uri_folder"))
    with pytest.raises(HttpResponseError):
        ml_client.data.create_or_update(Data(name="fixed", version="1", path=place + "b/", type="uri_folder"))
    assert ml_client.data.get("fixed", version="1").path.endswith("paths/a/")


def test_datastores(ml_client):
    names = {d.name for d in ml_client.datastores.list()}
    assert {"workspaceblobstore", "workspaceartifactstore"} <= names
    assert ml_client.datastores.get_default().name == "workspaceblobstore"


def test_blob_client_with_the_datastores_own_signature(ml_client, server):
    """Plain azure-storage-blob with the SAS that the datastore gives out."""
    from azure.storage.blob import ContainerClient

    store = ml_client.datastores.get("workspaceblobstore", include_secrets=True)
    url = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}/{store.container_name}"
    container = ContainerClient.from_container_url(url, credential=store.credentials.sas_token)
    container.upload_blob("plain/one.txt", b"0123456789", overwrite=True, metadata={"who": "test"})
    blob = container.get_blob_client("plain/one.txt")
    assert blob.download_blob().readall() == b"0123456789"
    assert blob.download_blob(offset=2, length=3).readall() == b"234"
    assert blob.get_blob_properties().metadata == {"who": "test"}
    assert [b.name for b in container.list_blobs("plain/")] == ["plain/one.txt"]
    with pytest.raises(Exception) as caught:
        container.upload_blob("plain/one.txt", b"other")
    assert getattr(caught.value, "status_code", None) == 409


def test_compute_life(ml_client):
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import ResourceNotFoundError

    made = ml_client.begin_create_or_update(AmlCompute(name="short", size="Standard_DS11_v2", max_instances=1, tags={"a": "b"})).result()
    assert made.provisioning_state == "Succeeded" and made.tags == {"a": "b"}
    made.max_instances = 2
    assert ml_client.compute.begin_update(made).result().max_instances == 2
    ml_client.compute.begin_delete("short").result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get("short")


def test_sizes_and_usage(ml_client):
    # The SDK keeps the wire's names on these objects and leaves its own attributes None.
    sizes = {size.name.upper(): vars(size) for size in ml_client.compute.list_sizes(location="westus")}
    assert sizes["STANDARD_DS3_V2"]["vCPUs"] == 4 and sizes["STANDARD_DS3_V2"]["memoryGB"] == 14
    assert isinstance(list(ml_client.compute.list_usage(location="westus")), list)


COMPONENT = """$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: train
version: 1.10
type: command
description: a step
tags: {k: v}
inputs:
  data: {type: uri_folder}
  epochs: {type: integer, default: 3, min: 1, max: 10}
  flag: {type: boolean, default: true}
  lr: {type: number, optional: true}
outputs:
  model: {type: uri_folder}
code: ./src
environment: azureml:host:1
command: python t.py --data ${{inputs.data}} --epochs ${{inputs.epochs}} $[[--lr ${{inputs.lr}}]] --out ${{outputs.model}}
"""


@pytest.fixture
def component_file(ml_client, tmp_path):
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="host", version="1", image="docker.io/library/debian:12"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "t.py").write_text("print(1)\n")
    (tmp_path / "component.yml").write_text(COMPONENT)
    return tmp_path / "component.yml"


def test_components_of_the_sdk_and_of_the_command_line_are_the_same(ml_client, server, component_file):
    from azure.ai.ml import load_component

    by_sdk = ml_client.components.create_or_update(load_component(component_file, params_override=[{"name": "by_sdk"}]))
    cli = lambda *words: json.loads(server.turnout(*words).stdout or "null")
    shown = cli("component", "create", "-f", component_file, "-n", "by_cli")
    assert (shown["version"], shown["code"]) == ("1.10", "azureml:" + by_sdk.code.split("/")[-3] + ":1"), "its code is found again"
    by_cli = ml_client.components.get("by_cli", version="1.10")
    for part in ("command", "environment", "inputs", "outputs", "description", "tags", "is_deterministic", "type"):
        assert getattr(by_cli, part) == getattr(by_sdk, part), part
    assert cli("component", "show", "by_sdk")["inputs"] == shown["inputs"]
    assert {"by_sdk", "by_cli"} <= {one["name"] for one in cli("component", "list")}

    second = ml_client.components.create_or_update(load_component(component_file, params_override=[{"name": "by_cli"}, {"version": "2"}]))
    assert second.version == "2" and ml_client.components.get("by_cli", label="latest").version == "2"
    assert {c.version for c in ml_client.components.list("by_cli")} == {"1.10", "2"}
    ml_client.components.archive("by_cli", version="2")
    assert [c["version"] for c in cli("component", "list", "-n", "by_cli")] == ["1.10"]
    cli("component", "restore", "-n", "by_cli", "-v", "2")
    assert {c.version for c in ml_client.components.list("by_cli")} == {"1.10", "2"}


def test_words_and_tags_of_assets_change_and_nothing_else_does(ml_client, server, component_file, tmp_path):
    from azure.ai.ml import load_component
    from azure.ai.ml.entities import Data

    changed = lambda *words: json.loads(server.turnout(*words).stdout)
    ml_client.components.create_or_update(load_component(component_file, params_override=[{"name": "worded"}, {"version": "5"}]))
    found = ml_client.components.get("worded", version="5")
    found.description, found.display_name, found.tags = "by the SDK", "Shown", {"n": "1"}
    saved = ml_client.components.create_or_update(found)
    assert (saved.description, saved.display_name, saved.tags) == ("by the SDK", "Shown", {"n": "1"})
    shown = changed("component", "update", "worded", "-v", "5", "--set", "description=by the command", "tags.m=2")
    assert (shown["description"], shown["tags"], shown["display_name"]) == ("by the command", {"n": "1", "m": "2"}, "Shown")
    assert ml_client.components.get("worded", version="5").description == "by the command"
    component_file.write_text(COMPONENT.replace("name: train", "name: worded").replace("1.10", "5").replace("max: 10", "max: 12"))
    assert "raise `version` in the file" in server.turnout("component", "create", component_file, check=False).stderr

    (tmp_path / "d.csv").write_text("1\n")
    ml_client.data.create_or_update(Data(name="worded", version="1", path=str(tmp_path / "d.csv"), type="uri_file", tags={"a": "1"}))
    assert changed("data", "update", "worded", "-v", "1", "--set", "tags.b=2")["tags"] == {"a": "1", "b": "2"}
    assert ml_client.data.get("worded", version="1").tags == {"a": "1", "b": "2"}
    assert changed("data", "update", "worded", "--set", "description=of all versions")["description"] == "of all versions"
    assert changed("data", "update", "worded", "-v", "1", "--set", "tags.a=null", "tags.c.d=3")["tags"] == {"b": "2", "c.d": "3"}
    for wrong in ("tags=prod", "tags=", "description=[WIP]", "tags.a={x: 1}"):
        assert server.turnout("data", "update", "worded", "-v", "1", "--set", wrong, check=False).returncode == 2, wrong
    assert "is curated" in server.turnout("environment", "update", "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", "--set", "description=x", check=False).stderr
    refused = server.turnout("data", "update", "worded", "-v", "1", "--set", "path=elsewhere", check=False)
    assert refused.returncode == 2 and "only description and tags can change" in refused.stderr


def test_a_component_is_refused_by_its_place(ml_client, server, component_file):
    from azure.ai.ml import load_component
    from azure.core.exceptions import HttpResponseError

    bad = COMPONENT.replace("default: 3", "default: 11")
    component_file.write_text(bad)
    refused = server.turnout("component", "validate", component_file, check=False)
    assert refused.returncode == 2
    assert f"{component_file}:9:27: inputs.epochs.default: expected at most max (10), found 11" in refused.stderr
    with pytest.raises(HttpResponseError, match="properties.componentSpec.inputs.epochs.default"):
        ml_client.components.create_or_update(load_component(component_file))
    component_file.write_text(COMPONENT.replace("type: command", "type: pipeline"))
    assert "'pipeline' does not exist here yet" in server.turnout("component", "create", component_file, check=False).stderr


def test_what_a_component_names_is_there_when_it_is_registered(ml_client, server, component_file):
    from azure.ai.ml import load_component
    from azure.core.exceptions import HttpResponseError

    written = COMPONENT.replace("name: train", "name: missing")
    for named, said in {
        "azureml:hosts:1": "environment 'hosts' does not exist, did you mean 'host'",
        "azureml:host:7": "environment 'host' has no version '7'; the newest is '1'",
        "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu:999": "has no version '999'",
    }.items():
        component_file.write_text(written.replace("azureml:host:1", named))
        refused = server.turnout("component", "create", component_file, check=False)
        assert refused.returncode != 0 and said in refused.stderr, refused.stderr
        assert f"{component_file}:15:1: environment" in refused.stderr, "at its place in the file"
        with pytest.raises(HttpResponseError, match="EnvironmentNotFound"):
            ml_client.components.create_or_update(load_component(component_file))
    assert "missing" not in {c.name for c in ml_client.components.list()}
    for named in ("azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest", "{image: 'debian:12'}"):
        component_file.write_text(written.replace("azureml:host:1", named))
        ml_client.components.create_or_update(load_component(component_file, params_override=[{"version": str(len(named))}]))
    assert len(list(ml_client.components.list("missing"))) == 2


def make_two_versions(ml_client, kind, name, component_file, tmp_path):
    from azure.ai.ml import load_component
    from azure.ai.ml.entities import Data, Environment, Model

    place = "azureml://datastores/workspaceblobstore/paths/"
    for version in ("1", "2"):
        made = {
            "environment": lambda: ml_client.environments.create_or_update(Environment(name=name, version=version, image="ubuntu:" + version)),
            "data": lambda: ml_client.data.create_or_update(Data(name=name, version=version, path=place + version, type="uri_file")),
            "model": lambda: ml_client.models.create_or_update(Model(name=name, version=version, path=place + version)),
            "component": lambda: ml_client.components.create_or_update(
                load_component(component_file, params_override=[{"name": name}, {"version": version}])),
        }[kind]()
        assert made.version == version


@pytest.mark.parametrize("kind", ["environment", "data", "model", "component"])
def test_a_whole_asset_is_archived_restored_and_worded(ml_client, server, component_file, tmp_path, kind):
    """By the SDK's verbs without a version, with a label, and by the command line's; each sees what the other did."""
    from azure.ai.ml.constants import ListViewType

    name = "whole_" + kind
    verbs = {"environment": ml_client.environments, "data": ml_client.data, "model": ml_client.models, "component": ml_client.components}[kind]
    cli = lambda *words: json.loads(server.turnout(kind, *words).stdout or "null")
    names = lambda view=ListViewType.ACTIVE_ONLY: {one.name for one in verbs.list(list_view_type=view)}
    versions = lambda: {one.version for one in verbs.list(name)}
    make_two_versions(ml_client, kind, name, component_file, tmp_path)
    worded = cli("update", name, "--set", "description=of all", "tags.a=1")
    assert (worded["name"], worded["description"], worded["tags"]) == (name, "of all", {"a": "1"})

    verbs.archive(name=name)
    assert name not in names() and name in names(ListViewType.ARCHIVED_ONLY) and name in names(ListViewType.ALL)
    assert name not in {one["name"] for one in cli("list")}
    kept = {one["name"]: one for one in cli("list", "--archived-only")}[name]
    assert (kept["description"], kept["tags"]) == ("of all", {"a": "1"}), "its words stay"
    assert verbs.get(name, version="1").version == "1", "jobs that name a version find it"
    verbs.restore(name=name)
    assert name in names() and name not in names(ListViewType.ARCHIVED_ONLY)
    assert {one["name"]: one for one in cli("list")}[name]["description"] == "of all"

    verbs.archive(name=name, label="latest")
    assert versions() == {"1"} and name in names()
    cli("restore", name, "-v", "2")
    assert versions() == {"1", "2"}
    cli("archive", name, "-l", "latest")
    assert versions() == {"1"}
    verbs.restore(name=name, version="2")
    assert versions() == {"1", "2"}
    cli("archive", name)
    assert name not in names() and name in {one["name"] for one in cli("list", "--include-archived")}
    cli("restore", name)
    assert name in names() and versions() == {"1", "2"}
    for verb in ("archive", "restore"):
        refused = server.turnout(kind, verb, name, "-l", "newest", check=False)
        assert refused.returncode == 2 and "the only label is 'latest'" in refused.stderr
        assert server.turnout(kind, verb, "nobody", check=False).returncode != 0

