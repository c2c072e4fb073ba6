"""Environments, data, datastores and computes through the SDK's own verbs."""
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
