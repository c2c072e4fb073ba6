"""Azure's clients inside of a job: the run is who asks, and what it may do ends with it."""
import json
import sys
import time

import pytest

from conftest import REFUSED, eventually, log_of, status_of, wait_for

# An environment with the SDK: the tests' own.
PYTHON = sys.executable

INSIDE = '''
import json, os, sys, pathlib
from azure.ai.ml import MLClient, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Data, Model
from azure.identity import DefaultAzureCredential

client = MLClient(DefaultAzureCredential(), os.environ["AZUREML_ARM_SUBSCRIPTION"],
                  os.environ["AZUREML_ARM_RESOURCEGROUP"], os.environ["AZUREML_ARM_WORKSPACE_NAME"])
found = MLClient.from_config(DefaultAzureCredential())
assert (found.workspace_name, found.resource_group_name) == (client.workspace_name, client.resource_group_name)
me = client.jobs.get(os.environ["AZUREML_RUN_ID"])
assert me.status == "Running", me.status
assert me.studio_url.startswith(sys.argv[1]), me.studio_url
assert me.name in [job.name for job in client.jobs.list()]
assert sys.argv[2] in [compute.name for compute in client.compute.list()]
data = client.data.get("inside-data", "1")
pathlib.Path("model").mkdir()
pathlib.Path("model/weights.txt").write_text(me.name)
model = client.models.create_or_update(Model(name="inside-" + me.name, path="model", type=AssetTypes.CUSTOM_MODEL))
pathlib.Path("got").mkdir()
client.models.download(model.name, version=model.version, download_path="got")
assert [p.read_text() for p in pathlib.Path("got").rglob("weights.txt")] == [me.name]
again = client.data.create_or_update(Data(name="from-" + me.name, path="model/weights.txt", type=AssetTypes.URI_FILE))
print("RESULT", json.dumps({"data": data.path, "model": model.version, "again": again.path}))
'''


@pytest.fixture
def data(ml_client, tmp_path):
    from azure.ai.ml.entities import Data

    (tmp_path / "d.txt").write_text("of the workspace")
    ml_client.data.create_or_update(Data(name="inside-data", version="1", path=str(tmp_path / "d.txt"), type="uri_file"))


@pytest.mark.parametrize("identity", [None, "managed", "aml_token"])
def test_a_job_uses_the_workspace(run, ml_client, rest, cluster, data, tmp_path, identity):
    from azure.ai.ml import AmlTokenConfiguration, ManagedIdentityConfiguration

    (tmp_path / "inside.py").write_text(INSIDE)
    kinds = {"managed": ManagedIdentityConfiguration, "aml_token": AmlTokenConfiguration}
    more = {} if identity is None else {"identity": kinds[identity]()}
    job = run(f"{PYTHON} -B inside.py {rest.env['MLFLOW_TRACKING_URI']}/ {cluster}", code=str(tmp_path), **more)
    log = log_of(ml_client, job.name, tmp_path / "log")
    assert job.status == "Completed", log
    result = json.loads(log.split("RESULT ")[1].splitlines()[0])
    model = ml_client.models.get(f"inside-{job.name}", result["model"])
    ml_client.models.download(model.name, version=model.version, download_path=str(tmp_path / "model"))
    assert [p.read_text() for p in (tmp_path / "model").rglob("weights.txt")] == [job.name]


def test_it_acts_for_its_user_only_where_it_was_told_to(run, ml_client, cluster, tmp_path):
    """AzureMLOnBehalfOfCredential, as in the public example: the job submits another one."""
    from azure.ai.ml import UserIdentityConfiguration

    (tmp_path / "submit.py").write_text('''
import os
from azure.ai.ml import MLClient, command
from azure.ai.ml.entities import Environment
from azure.ai.ml.identity import AzureMLOnBehalfOfCredential
from azure.identity import DefaultAzureCredential

assert os.environ.get("AZUREML_OBO_ENABLED") == ("True" if os.environ.get("OBO_ENDPOINT") else None)
credential = AzureMLOnBehalfOfCredential() if "OBO_ENDPOINT" in os.environ else DefaultAzureCredential()
client = MLClient(credential, os.environ["AZUREML_ARM_SUBSCRIPTION"], os.environ["AZUREML_ARM_RESOURCEGROUP"],
                  os.environ["AZUREML_ARM_WORKSPACE_NAME"])
job = client.jobs.create_or_update(command(command="echo child", environment=Environment(image="docker.io/library/debian:12"),
                                           compute=os.environ["CLUSTER"], display_name="child", name=os.environ["CHILD"]))
print(job.name)
''')
    variables = {"CLUSTER": cluster}
    for identity, child in ((UserIdentityConfiguration(), "with"), (None, "without")):
        name = f"child-{child}-{time.time_ns()}"
        job = run(f"{PYTHON} -B submit.py", code=str(tmp_path), identity=identity, environment_variables={**variables, "CHILD": name})
        log = log_of(ml_client, job.name, tmp_path / child)
        if identity:
            assert job.status == "Completed", log
            made = wait_for(ml_client, name)
            assert made.status == "Completed" and made.creation_context.created_by == job.creation_context.created_by
        else:
            assert job.status == "Failed" and "user_identity" in log
            assert name not in [one.name for one in ml_client.jobs.list()]


def test_what_a_run_may_ends_with_it(run, ml_client, rest, tmp_path):
    there = tmp_path / "said"
    job = run(f'echo "$IDENTITY_ENDPOINT $IDENTITY_HEADER $ARM_CLOUD_METADATA_URL $REQUESTS_CA_BUNDLE" > {there}.new; mv {there}.new {there}; sleep 600', wait=False)
    eventually("the job says where it gets tokens", there.exists)
    endpoint, header, metadata, bundle = there.read_text().split()
    assert header != rest.env["IDENTITY_HEADER"], "it is the run's, not the user's key"
    reply = rest.session.get(endpoint, params={"resource": "https://management.azure.com"}, headers={"X-IDENTITY-HEADER": header}, timeout=60)
    token = reply.json()["access_token"]
    assert reply.json()["resource"] == "https://management.azure.com"
    assert rest.session.get(endpoint, params={"resource": "x"}, headers={"X-IDENTITY-HEADER": header + "x"}, timeout=60).status_code in REFUSED
    assert rest.session.get(endpoint, params={"resource": "x"}, timeout=60).status_code == 401
    # Through the node, trusting what the job trusts; and as the run itself.
    inside = metadata.split("/metadata/")[0]
    assert inside != rest.origin
    through = rest.session.get(inside + rest.ws + "/jobs?api-version=2024-01-01", headers={"Authorization": "Bearer " + token}, verify=bundle, timeout=60)
    assert through.status_code == 200 and job.name in [one["name"] for one in through.json()["value"]]
    assert rest.call("GET", f"{rest.ws}/jobs/{job.name}", token).status_code == 200
    # Not a user's things.
    for method, path in (("PUT", f"/jobs/other-{job.name}"), ("POST", f"/jobs/{job.name}/cancel"), ("DELETE", f"/jobs/{job.name}"),
                         ("PUT", "/computes/more"), ("DELETE", "/computes/cpu-cluster"), ("PATCH", ""), ("DELETE", ""),
                         ("POST", "/datastores/workspaceblobstore/listSecrets"), ("PUT", "/datastores/workspaceblobstore"), ("POST", "/listKeys")):
        assert rest.call(method, rest.ws + path, token, json={}).status_code == 403, (method, path)
    # What is there already is not written over.
    place = "/store.blob.store.turnout/" + ml_client.datastores.get_default().container_name
    fresh = f"{place}/LocalUpload/{job.name}/a.txt"
    put = {"headers": {"x-ms-blob-type": "BlockBlob"}, "api": None}
    assert rest.call("PUT", fresh, token, data=b"1", **put).status_code == 201
    assert rest.call("PUT", fresh, token, data=b"2", **put).status_code == 409
    assert rest.call("PUT", f"{place}/data/of/others.csv", token, data=b"2", **put).status_code == 403
    assert rest.call("DELETE", fresh, token, api=None).status_code == 403
    ml_client.jobs.begin_cancel(job.name).wait()
    eventually("it has ended", lambda: status_of(ml_client, job.name) == "Canceled")
    assert rest.call("GET", f"{rest.ws}/jobs/{job.name}", token).status_code in REFUSED
    ask = lambda: rest.session.get(endpoint, params={"resource": "x"}, headers={"X-IDENTITY-HEADER": header}, timeout=60).status_code
    eventually("its node forgets it", lambda: ask() == 401)


HOSTILE = """
import os, sys
import mlflow
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

other, me = sys.argv[1], os.environ["AZUREML_RUN_ID"]
client, tracking = MLClient.from_config(DefaultAzureCredential()), mlflow.MlflowClient()
experiment = tracking.get_run(me).info.experiment_id
mlflow.log_metric("mine", 1)
with mlflow.start_run(nested=True) as child:
    mlflow.log_metric("loss", 2)
    mlflow.log_text("c", "c.txt")
assert mlflow.artifacts.load_text(child.info.artifact_uri + "/c.txt") == "c"
assert sorted(run.info.run_id for run in tracking.search_runs([experiment])) == sorted([me, child.info.run_id])
assert [job.name for job in client.jobs.list()] == [me]
store = client.datastores.get("workspaceartifactstore")
blobs = ContainerClient(f"https://{store.account_name}.blob.{store.endpoint}", store.container_name, credential=DefaultAzureCredential())
assert any(name.endswith("std_log.txt") for name in blobs.list_blob_names(name_starts_with=f"ExperimentRun/dcid.{me}/"))
learnt = []
for what in (lambda: client.jobs.get(other), lambda: client.jobs.download(other, download_path="stolen", all=True), lambda: client.jobs.stream(other),
             lambda: client.jobs.begin_cancel(other), lambda: client.jobs.archive(other), lambda: tracking.get_run(other),
             lambda: tracking.log_metric(other, "evil", 1), lambda: tracking.set_tag(other, "evil", "1"), lambda: tracking.log_text(other, "evil", "evil.txt"),
             lambda: tracking.list_artifacts(other), lambda: tracking.download_artifacts(other, "outputs/secret.txt", "."),
             lambda: tracking.get_metric_history(other, "a"), lambda: tracking.delete_run(other), lambda: tracking.set_terminated(other),
             lambda: tracking.set_experiment_tag(experiment, "evil", "1"), lambda: mlflow.register_model(f"runs:/{other}/outputs", "stolen"),
             lambda: list(blobs.list_blob_names(name_starts_with=f"ExperimentRun/dcid.{other}/"))):
    try:
        learnt.append(what())
    except Exception as error:
        print("REFUSED", type(error).__name__)
assert not learnt, learnt
print("LEARNT NOTHING")
"""


def test_a_hostile_job_learns_nothing_of_another_one(run, ml_client, tmp_path):
    """By the real clients; what it may do with its own run goes on."""
    other = run("mkdir -p outputs; echo secret > outputs/secret.txt; echo secret")
    assert other.status == "Completed"
    (tmp_path / "hostile.py").write_text(HOSTILE)
    job = run(f"{PYTHON} -B hostile.py {other.name}", code=str(tmp_path))
    log = log_of(ml_client, job.name, tmp_path / "log")
    assert job.status == "Completed" and "LEARNT NOTHING" in log, log
    assert "evil" not in str(ml_client.jobs.get(other.name).tags)
