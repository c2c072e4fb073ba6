"""Plain MLflow in a user's own shell: the variables of `turnout env`, nothing else."""
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
