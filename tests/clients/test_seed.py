"""The tutorial, end to end: its cluster, its training script, its own code."""
import os
import runpy

import pytest

from conftest import eventually


@pytest.fixture(scope="module")
def trained(ml_client, cluster, folder):
    """The second snippet has run: (the scope of the script, what stream printed)."""
    import contextlib
    import io

    before = os.getcwd()
    os.chdir(folder / "seed")
    try:
        scope = runpy.run_path("train_with_cluster.py")
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            scope["ml_client"].jobs.stream(scope["returned_job"].name)
    finally:
        os.chdir(before)
    return scope, text.getvalue()


def test_cluster(ml_client, cluster):
    found = ml_client.compute.get(cluster)
    assert found.provisioning_state == "Succeeded"
    assert (found.type, found.size.upper(), found.location) == ("amlcompute", "STANDARD_DS3_V2", "westus")
    assert (found.min_instances, found.max_instances, found.idle_time_before_scale_down) == (0, 2, 120)
    assert found.tier.lower() in ("low_priority", "lowpriority")
    assert cluster in [c.name for c in ml_client.compute.list()]


def test_job_is_what_was_asked_for(trained):
    scope, _ = trained
    job = scope["returned_job"]
    assert job.display_name == "train-with-cluster" and job.experiment_name == "diabetes-training"
    assert job.compute == "cpu-cluster"
    assert scope["aml_url"].startswith("http")


def test_stream_shows_the_training(trained):
    scope, text = trained
    assert "data: 331 patients to train on, 111 to test on" in text
    assert "trees 200" in text and "Execution Summary" in text
    assert scope["ml_client"].jobs.get(scope["returned_job"].name).status == "Completed"


def test_an_old_python_is_named_once(trained, ml_client):
    scope, text = trained
    log = text
    assert "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu" in log, "the job says what its curated environment became"


def test_metrics_params_and_tags(trained):
    import mlflow

    scope, _ = trained
    client = mlflow.MlflowClient()
    run = client.get_run(scope["returned_job"].name)
    assert run.info.status == "FINISHED"
    assert run.data.params["n_estimators"] == "200" and run.data.params["patients"] == "442"
    assert 0.2 < run.data.metrics["r2"] < 0.7
    assert run.data.tags["model"] == "outputs/diabetes-model.joblib"
    history = client.get_metric_history(run.info.run_id, "test_mse")
    assert [point.step for point in history] == list(range(20, 201, 20))
    experiment = client.get_experiment_by_name("diabetes-training")
    assert run.info.experiment_id == experiment.experiment_id


def test_artifacts(trained, tmp_path):
    scope, _ = trained
    scope["ml_client"].jobs.download(scope["returned_job"].name, download_path=tmp_path, all=True)
    files = {path.name: path for path in tmp_path.rglob("*") if path.is_file()}
    assert files["diabetes.png"].read_bytes().startswith(b"\x89PNG")
    assert files["diabetes-model.joblib"].stat().st_size > 10_000
    assert "trees 200" in files["std_log.txt"].read_text()


def test_second_submission_uploads_nothing(trained, ml_client, folder, rest):
    """The snapshot did not change: the SDK finds it by its hash, and the environment is ready."""
    before = rest.call("GET", rest.ws + "/codes", api="2023-04-01").json()["value"]
    work = os.getcwd()
    os.chdir(folder / "seed")
    try:
        scope = runpy.run_path("train_with_cluster.py")
        ml_client.jobs.stream(scope["returned_job"].name)
    finally:
        os.chdir(work)
    first, second = trained[0]["returned_job"].name, scope["returned_job"].name
    assert ml_client.jobs.get(first).code == ml_client.jobs.get(second).code
    assert rest.call("GET", rest.ws + "/codes", api="2023-04-01").json()["value"] == before


def test_studio_page_opens_without_a_token(trained, rest):
    scope, _ = trained
    url = scope["aml_url"]
    # On this machine by http, so that no browser asks about a certificate; under another name as asked.
    assert url.startswith(rest.env["IDENTITY_ENDPOINT"].removesuffix("/msi/token") + "/studio/jobs/"), url
    reply = rest.session.get(url, timeout=60)
    assert reply.status_code == 200 and "text/html" in reply.headers["content-type"]
    # What the portal then asks for with the same link, and what a browser without scripts gets.
    for part in ("document", "plain"):
        shown = rest.session.get(url.replace("?", f"/{part}?"), timeout=60).text
        for text in ("train-with-cluster", "Completed", "r2", "diabetes.png"):
            assert text in shown, (part, text)
    broken = url.replace("sig=", "sig=A") if "sig=" in url else url[:-1]
    assert rest.session.get(broken, timeout=60).status_code in (401, 403, 404)


def test_nodes_tell_the_truth(trained, ml_client, cluster, rest):
    nodes = list(ml_client.compute.list_nodes(cluster))
    assert 1 <= len(nodes) <= 2
    shown = rest.call("GET", f"{rest.ws}/computes/{cluster}", api="2023-08-01-preview").json()["properties"]["properties"]
    counts = shown["nodeStateCounts"]
    assert sum(counts.values()) == len(nodes)
    assert shown["allocationState"] in ("Steady", "Resizing")
    assert shown["currentNodeCount"] == len(nodes)


def test_idle_nodes_leave(ml_client, cluster):
    from azure.ai.ml.entities import AmlCompute

    ml_client.begin_create_or_update(AmlCompute(
        name=cluster, size="STANDARD_DS3_v2", location="westus", min_instances=0, max_instances=2,
        idle_time_before_scale_down=1, tier="low_priority",
    )).result()
    eventually("idle nodes have left", lambda: not list(ml_client.compute.list_nodes(cluster)))
    ml_client.begin_create_or_update(AmlCompute(
        name=cluster, size="STANDARD_DS3_v2", location="westus", min_instances=0, max_instances=2,
        idle_time_before_scale_down=120, tier="low_priority",
    )).result()
