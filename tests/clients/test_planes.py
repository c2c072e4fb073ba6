"""What azureml-fsspec, mltable and azureml-mlflow ask for, as those packages send it (recorded from azureml-fsspec
1.4.0, mltable 1.6.3, azureml-dataprep-rslex 2.26.0 and azureml-mlflow 1.62.0), and the model registry by the real
MLflow client."""
import sys
import uuid

import pytest

from conftest import eventually, log_of


@pytest.fixture(scope="module")
def table(ml_client, tmp_path_factory):
    from azure.ai.ml.entities import Data

    folder = tmp_path_factory.mktemp("table")
    (folder / "t.csv").write_text("a,b\n1,2\n")
    return ml_client.data.create_or_update(Data(name="plane-table", version="1", path=str(folder / "t.csv"), type="uri_file"))


def test_the_engine_of_fsspec_reads_a_datastore(rest, table):
    found = rest.call("GET", f"/datastore/v1.0{rest.ws}/datastores/workspaceblobstore", api=None).json()
    assert found["dataStoreType"] == "AzureBlob"
    storage = found["azureStorageSection"]
    # Its engine makes this URL; all before the '@' is a user's name, which nobody looks at.
    host = f"{storage['accountName']}.blob.{storage['endpoint']}".split("@")[1]
    base, link = f"{storage['protocol']}://{host}/{storage['containerName']}", storage["sasToken"]
    path = table.path.split("/paths/")[1]
    get = lambda url, **more: rest.session.get(url, timeout=60, **more)
    assert path.split("/")[0] + "/" in get(f"{base}?restype=container&comp=list&prefix=&maxresults=5000&delimiter=%2F&include=metadata&{link}").text
    assert rest.session.head(f"{base}/{path}?{link}", timeout=60).headers["Content-Length"] == "8"
    part = get(f"{base}/{path}?{link}", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.text) == (206, "1,2\n")
    put = rest.session.put(f"{base}/up/t.csv?{link}", data=b"x", headers={"x-ms-blob-type": "BlockBlob"}, timeout=60)
    assert put.status_code == 201
    assert get(f"{base}/{path}?{link[:-6]}").status_code == 403
    assert get(f"{base}/{path}").status_code == 404  # without a link it is no path of this server
    assert rest.call("GET", f"/datastore/v1.0{rest.ws}/datastores/nothing", api=None).status_code == 404


def test_the_engine_of_fsspec_is_the_run_inside_of_a_job(run, rest, table, ml_client, tmp_path):
    there = tmp_path / "said"
    job = run(f'echo "$IDENTITY_HEADER" > {there}.new; mv {there}.new {there}; sleep 600', wait=False)
    eventually("the job says its token", there.exists)
    token = there.read_text().strip()
    storage = rest.call("GET", f"/datastore/v1.0{rest.ws}/datastores/workspaceblobstore", token, api=None).json()["azureStorageSection"]
    base = f"{rest.origin}/{storage['containerName']}"
    path, link = table.path.split("/paths/")[1], storage["sasToken"]
    assert rest.session.get(f"{base}/{path}?{link}", timeout=60).status_code == 200
    put = lambda where: rest.session.put(f"{base}/{where}?{link}", data=b"x", headers={"x-ms-blob-type": "BlockBlob"}, timeout=60).status_code
    assert (put(path), put("data/of/others.csv")) == (409, 403)  # among assets it only adds
    ml_client.jobs.begin_cancel(job.name).wait()
    eventually("the link ends with the run", lambda: rest.session.get(f"{base}/{path}?{link}", timeout=60).status_code == 401)


def test_mltable_finds_a_data_asset(rest, table):
    found = rest.call("GET", f"/data/v1.0{rest.ws}/dataversion/plane-table/versions/1", api="1.5.0").json()
    assert found["isV2"] is True
    assert (found["dataVersion"]["dataType"], found["dataVersion"]["dataUri"], found["dataVersion"]["versionId"]) == ("UriFile", table.path, "1")
    assert rest.call("GET", f"/data/v1.0{rest.ws}/dataversion/plane-table/versions/9", api="1.5.0").status_code == 404


def test_artifacts_of_azureml_mlflow(rest):
    """Its artifact repository takes URIs of its own form, and goes to run history."""
    agent = {"headers": {"User-Agent": "mlflow-python-client/3.15.0 azureml-mlflow/1.62.0.post6"}, "api": None}
    base = f"/mlflow/v2.0{rest.ws}/api/2.0/mlflow"
    experiment = rest.call("POST", f"{base}/experiments/create", json={"name": f"plane-{uuid.uuid4().hex[:8]}"}, **agent).json()["experiment_id"]
    run = rest.call("POST", f"{base}/runs/create", json={"experiment_id": experiment, "start_time": 1}, **agent).json()["run"]["info"]
    host = rest.origin.split("://")[1]
    assert run["artifact_uri"] == f"azureml://{host}/mlflow/v2.0{rest.ws}/experiments/_/runs/{run['run_id']}/artifacts"
    plain = rest.call("GET", f"{base}/runs/get?run_id={run['run_id']}", api=None).json()["run"]["info"]
    assert plain["artifact_uri"] == f"mlflow-artifacts:/{run['run_id']}/artifacts"
    history = f"/history/v1.0{rest.ws}/experiments/_/runs/{run['run_id']}/artifacts"
    made = rest.call("POST", f"{history}/batch/metadata", json={"paths": [{"path": "d/a.txt"}]}, api=None).json()
    link = made["artifactContentInformation"]["d/a.txt"]["contentUri"]
    assert rest.session.put(link, data=b"A", headers={"x-ms-blob-type": "BlockBlob"}, timeout=60).status_code == 201
    assert [one["path"] for one in rest.call("GET", history, api=None).json()["value"]] == ["d/a.txt"]
    content = rest.call("GET", f"{history}/contentinfo?path=d/a.txt", api=None).json()["contentUri"]
    assert rest.session.get(content, timeout=60).content == b"A"
    assert content.startswith("https://") and ".blob.store.turnout/" in content  # it takes no other


def test_with_azureml_mlflow_installed_plain_mlflow_stays_plain(rest, run, ml_client, tmp_path):
    """It signs whatever MLflow asks for. By a plain address, as inside of a job, it is not its own store that asks."""
    ask = f"""
import json, os, urllib.request
url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/get?run_id=" + os.environ["MLFLOW_RUN_ID"]
headers = {{"User-Agent": "mlflow-python-client/2.17.2 azureml-mlflow/1.62.0", "Authorization": "Bearer " + os.environ.get("MLFLOW_TRACKING_TOKEN", "")}}
print("IT IS", json.load(urllib.request.urlopen(urllib.request.Request(url, headers=headers)))["run"]["info"]["artifact_uri"])
"""
    (tmp_path / "ask.py").write_text(ask)
    job = run(f"{sys.executable} -B ask.py", code=str(tmp_path))
    log = log_of(ml_client, job.name, tmp_path / "log")
    assert f"IT IS mlflow-artifacts:/{job.name}/artifacts" in log, log


def test_the_model_registry(server, ml_client, tmp_path):
    import mlflow
    from azure.ai.ml.entities import Model
    from mlflow.exceptions import MlflowException

    name = f"registry-{uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    (tmp_path / "model" / "weights.txt").write_text("w")
    with mlflow.start_run(experiment_id=client.create_experiment(name)) as run:
        mlflow.log_artifacts(str(tmp_path / "model"), "model")
    client.create_registered_model(name, tags={"a": "b"}, description="of a test")
    with pytest.raises(MlflowException) as twice:
        client.create_registered_model(name)
    assert twice.value.error_code == "RESOURCE_ALREADY_EXISTS"
    first = client.create_model_version(name, f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, tags={"k": "v"})
    second = mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    assert (first.version, second.version, first.run_id, first.status, first.tags) == ("1", "2", run.info.run_id, "READY", {"k": "v"})
    got = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/2", dst_path=str(tmp_path))
    assert (tmp_path / got / "weights.txt").read_text() == "w" if not got.startswith("/") else open(f"{got}/weights.txt").read() == "w"

    client.set_registered_model_alias(name, "champion", "1")
    assert client.get_model_version_by_alias(name, "champion").version == "1"
    assert client.get_model_version(name, "1").aliases == ["champion"]
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    assert [client.get_model_version(name, v).current_stage for v in "12"] == ["Archived", "Production"]
    assert [v.version for v in client.get_latest_versions(name, ["Production"])] == ["2"]
    client.set_model_version_tag(name, "2", "t", "x")
    client.delete_model_version_tag(name, "1", "k")
    client.update_model_version(name, "2", "described")
    assert client.get_model_version(name, "2").tags == {"t": "x"} and client.get_model_version(name, "1").tags == {}
    assert client.get_model_version(name, "2").description == "described"
    assert [m.name for m in client.search_registered_models(f"name LIKE '{name[:12]}%'")] == [name]
    assert sorted(v.version for v in client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")) == ["1", "2"]
    assert client.get_registered_model(name).description == "of a test" and client.get_registered_model(name).tags == {"a": "b"}

    # The workspace's models are the same ones.
    asset = ml_client.models.get(name, "1")
    assert asset.type == "mlflow_model" and asset.path.rstrip("/").endswith(f"dcid.{run.info.run_id}/model")
    ml_client.models.create_or_update(Model(name=name, path=str(tmp_path / "model"), type="mlflow_model"))
    assert client.get_model_version(name, "3").source
    other = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/3", dst_path=str(tmp_path / "third"))
    assert open(f"{other}/weights.txt").read() == "w"

    for source in ("/etc", "file:///etc", "s3://bucket/x", "runs:/0123456789/x", ""):
        with pytest.raises(MlflowException):
            client.create_model_version(name, source)
    client.delete_model_version(name, "1")
    with pytest.raises(MlflowException) as gone:
        client.get_model_version(name, "1")
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    client.delete_registered_model(name)
    with pytest.raises(MlflowException):
        client.get_registered_model(name)
