"""Plain MLflow in a user's own shell: the variables of `turnout env`, nothing else."""
import json
import math
import uuid


def test_a_run_from_the_shell(server, tmp_path):
    import mlflow

    name = f"shell-{uuid.uuid4().hex[:8]}"
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name="by hand") as run:
        mlflow.log_params({f"p{i}": i for i in range(150)})
        for step in range(10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", float("nan"))
        mlflow.set_tag("kind", "test")
        (tmp_path / "data.bin").write_bytes(b"x" * 100_000)
        mlflow.log_artifact(str(tmp_path / "data.bin"), "files")
        mlflow.log_dict({"a": 1}, "config.json")

    client = mlflow.MlflowClient()
    kept = client.get_run(run.info.run_id)
    assert kept.info.status == "FINISHED" and kept.info.run_name == "by hand"
    assert kept.data.params["p149"] == "149" and len(kept.data.params) == 150
    assert kept.data.metrics["loss"] == 0.1 and math.isnan(kept.data.metrics["odd"])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == list(range(10))
    assert sorted(f.path for f in client.list_artifacts(run.info.run_id)) == ["config.json", "files"]
    path = client.download_artifacts(run.info.run_id, "files/data.bin", str(tmp_path))
    assert open(path, "rb").read() == b"x" * 100_000
    experiment = client.get_experiment_by_name(name).experiment_id
    found = client.search_runs([experiment], "metrics.loss < 0.5 and params.p7 = '7' and tags.kind = 'test'")
    assert [r.info.run_id for r in found] == [run.info.run_id]


def test_rules_are_mlflows(server):
    import mlflow
    import pytest
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment(f"rules-{uuid.uuid4().hex[:8]}"))
    client.log_param(run.info.run_id, "lr", "0.1")
    client.log_param(run.info.run_id, "lr", "0.1")
    with pytest.raises(MlflowException) as changed:
        client.log_param(run.info.run_id, "lr", "0.2")
    assert changed.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException) as unknown:
        client.get_run("0" * 32)
    assert unknown.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException) as filtered:
        client.search_runs([run.info.experiment_id], "metrics.a > 1 or metrics.b > 1")
    assert "'or'" in str(filtered.value)
    client.delete_run(run.info.run_id)
    assert not client.search_runs([run.info.experiment_id])


# As MLflow's own server of version 3.17 answers each (asked by hand, with sqlite): status and error_code. {M} is a model
# with version 1, {R} a run, {E} its experiment.
BAD, THERE, GONE = (400, "INVALID_PARAMETER_VALUE"), (400, "RESOURCE_ALREADY_EXISTS"), (404, "RESOURCE_DOES_NOT_EXIST")
OK = (200, None)
METRICS = [{"key": f"m{i}", "value": 1.0, "timestamp": 1, "step": 0} for i in range(801)]
PAIRS = [{"key": f"p{i}", "value": "v"} for i in range(101)]
ANSWERS = [
    # batches
    ("runs/log-batch", {"run_id": "{R}", "params": PAIRS[:100], "tags": PAIRS[:100], "metrics": METRICS[:800]}, OK),
    ("runs/log-batch", {"run_id": "{R}", "params": PAIRS[:100], "tags": PAIRS[:100], "metrics": METRICS}, BAD),
    ("runs/log-batch", {"run_id": "{R}", "params": PAIRS}, BAD), ("runs/log-batch", {"run_id": "{R}", "tags": PAIRS}, BAD),
    ("runs/log-batch", {"run_id": "{R}", "params": [{"key": "twice", "value": "1"}, {"key": "twice", "value": "1"}]}, BAD),
    ("runs/log-metric", {"run_id": "{R}", "key": "m", "value": 1.0, "timestamp": -1}, BAD), ("runs/log-metric", {"run_id": "{R}", "key": "m", "value": "NaN", "timestamp": 1}, OK),
    ("runs/log-metric", {"run_id": "{R}", "key": "m", "value": "x", "timestamp": 1}, BAD), ("runs/log-metric", {"run_id": "{R}", "key": "a$b", "value": 1, "timestamp": 1}, BAD),
    # runs
    ("runs/delete-tag", {"run_id": "{R}", "key": ""}, BAD), ("runs/delete-tag", {"run_id": "{R}", "key": "nothing"}, GONE), ("runs/update", {"run_id": "{R}", "end_time": "x"}, BAD),
    ("runs/create", {"experiment_id": "{E}", "run_name": 1}, BAD), ("runs/create", {"experiment_id": "{E}", "start_time": "x"}, BAD), ("runs/create", {"experiment_id": "nobody"}, BAD),
    ("runs/create", {"experiment_id": "{E}", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}, BAD),
    ("GET metrics/get-history", {"run_id": "{R}", "metric_key": "m", "max_results": 0}, BAD), ("GET experiments/get-by-name", {"experiment_name": ""}, BAD),
    ("experiments/create", {"name": "tagged", "tags": [{"key": "k" * 251, "value": "v"}]}, BAD), ("GET experiments/get", {"experiment_id": "nobody"}, BAD), ("GET experiments/get", {"experiment_id": "12345"}, GONE),
    # searches
    ("runs/search", {"experiment_ids": []}, OK), ("runs/search", {"experiment_ids": "x"}, BAD), ("runs/search", {"experiment_ids": ["nobody"]}, BAD), ("runs/search", {"experiment_ids": ["{E}"], "order_by": "start_time"}, BAD),
    ("runs/search", {"experiment_ids": ["{E}"], "filter": "params.p0 IS NULL"}, OK), ("runs/search", {"experiment_ids": ["{E}"], "filter": "tags.p0 IS NOT NULL"}, OK),
    ("runs/search", {"experiment_ids": ["{E}"], "filter": "end_time IS NULL"}, BAD), ("runs/search", {"experiment_ids": ["{E}"], "filter": " "}, BAD), ("runs/search", {"experiment_ids": ["{E}"], "filter": "Created > 0"}, OK),
    ("runs/search", {"experiment_ids": ["{E}"], "filter": "metrics.m > 'x'"}, BAD), ("runs/search", {"experiment_ids": ["{E}"], "max_results": 50_001}, BAD),
    ("GET registered-models/search", {"order_by": "nothing"}, BAD), ("GET registered-models/search", {"order_by": "name UP"}, BAD), ("GET registered-models/search", {"order_by": "name DESC"}, OK),
    ("GET registered-models/search", {"max_results": 1001}, BAD), ("GET model-versions/search", {"order_by": "tags.t"}, BAD), ("GET model-versions/search", {"max_results": 200_001}, BAD),
    # registered models
    ("registered-models/create", {"name": "{M}"}, THERE), ("registered-models/create", {"name": 1}, BAD), ("registered-models/create", {"name": ""}, BAD), ("registered-models/create", {"name": "a/b"}, BAD),
    ("PATCH registered-models/update", {"name": "{M}", "description": 1}, BAD), ("PATCH registered-models/update", {"name": "nobody", "description": "x"}, GONE),
    ("registered-models/set-tag", {"name": "{M}", "key": "a$b", "value": "v"}, BAD), ("registered-models/set-tag", {"name": "{M}", "key": "../a", "value": "v"}, BAD), ("registered-models/set-tag", {"name": "{M}", "key": "k" * 251, "value": "v"}, BAD),
    ("registered-models/set-tag", {"name": "{M}", "key": "k"}, OK), ("registered-models/set-tag", {"name": "{M}", "key": "k", "value": "v" * 100_000}, OK), ("registered-models/set-tag", {"name": "{M}", "key": "k", "value": "v" * 100_001}, BAD),
    ("registered-models/create", {"name": "tagged", "tags": [{"key": "k" * 251, "value": "v"}]}, BAD), ("model-versions/create", {"name": "{M}", "source": "runs:/{R}/x", "tags": [{"key": "k" * 251, "value": "v"}]}, BAD),
    ("registered-models/alias", {"name": "{M}", "alias": "a" * 255, "version": "1"}, OK), ("registered-models/alias", {"name": "{M}", "alias": "a" * 256, "version": "1"}, BAD),
    *(("registered-models/alias", {"name": "{M}", "alias": alias, "version": "1"}, BAD) for alias in ("latest", "v1", "V01", "a b", "a.b", "a/b", "a:b", "a$b", " a", "a\nb", "", 1, [])),
    *(("registered-models/alias", {"name": "{M}", "alias": alias, "version": "1"}, OK) for alias in ("v", "va", "v1a", "1", "é", "a-b_C")),
    ("registered-models/alias", {"name": "{M}", "alias": "a", "version": "9"}, GONE), ("registered-models/alias", {"name": "{M}", "alias": "a", "version": "x"}, BAD),
    ("GET registered-models/alias", {"name": "{M}", "alias": "latest"}, OK), ("GET registered-models/alias", {"name": "{M}", "alias": "nothing"}, BAD), ("DELETE registered-models/alias", {"name": "{M}", "alias": "a$b"}, BAD),
    ("GET model-versions/get", {"name": "{M}", "version": "x"}, BAD), ("GET model-versions/get", {"name": "{M}", "version": "9"}, GONE),
    ("registered-models/get-latest-versions", {"name": "{M}", "stages": ["x"]}, BAD), ("registered-models/get-latest-versions", {"name": "{M}", "stages": "Staging"}, BAD), ("registered-models/get-latest-versions", {"name": "{M}", "stages": ["staging"]}, OK),
    ("model-versions/transition-stage", {"name": "{M}", "version": "1", "stage": "x"}, BAD), ("model-versions/transition-stage", {"name": "{M}", "version": "1", "stage": "Staging", "archive_existing_versions": "x"}, BAD),
    ("model-versions/create", {"name": "{M}", "source": "runs:/{R}/x", "run_id": "nobody"}, BAD), ("model-versions/create", {"name": "{M}", "source": "models:/{M}/1"}, OK), ("model-versions/create", {"name": "nobody", "source": "runs:/{R}/x"}, GONE),
]


def test_limits_and_refusals_are_those_of_mlflow(rest):
    base = f"/mlflow/v2.0{rest.ws}/api/2.0/mlflow/"
    post = lambda path, body: rest.call("POST", base + path, json=body, api=None).json()
    experiment = post("experiments/create", {"name": "limits"})["experiment_id"]
    run = post("runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    post("registered-models/create", {"name": "limits"})
    post("model-versions/create", {"name": "limits", "source": f"runs:/{run}/x", "run_id": run})
    wrong = []
    for path, body, wanted in ANSWERS:
        method, path = path.split(" ") if " " in path else ("POST", path)
        text = json.dumps(body).replace("{M}", "limits").replace("{R}", run).replace("{E}", experiment)
        more = {"params": json.loads(text)} if method == "GET" else {"json": json.loads(text)}
        said = rest.call(method, base + path, api=None, **more)
        found = (said.status_code, said.json().get("error_code"))
        if found != wanted:
            wrong.append(f"{path} {text[:200]}: {found} instead of {wanted}: {said.text[:200]}")
    assert not wrong, "\n".join(wrong)
