"""AutoML, as the real SDK and `az ml`'s YAML say it."""
import json
import math
import random
import re

import pytest
from conftest import PLAIN_ENV, client_for, eventually, wait_for

TERMINAL = ("Completed", "Failed", "Canceled")


def rows_of(count, seed=1):
    """Two classes by two numbers and a color, with what data has: holes, an id, a constant."""
    dice = random.Random(seed)
    rows = ["id,a,b,color,same,label,price"]
    for i in range(count):
        a, b, color = dice.gauss(0, 1), dice.gauss(0, 1), dice.choice(["red", "green", "blue"])
        label = "yes" if a + b * b + (color == "red") + dice.gauss(0, 0.3) > 1 else "no"
        price = 100 + 20 * a - 5 * b + (10 if color == "red" else 0) + dice.gauss(0, 2)
        rows.append(f"row{i},{'' if i % 17 == 0 else round(a, 3)},{b:.3f},{color},1,{label},{price:.2f}")
    return "\n".join(rows) + "\n"


def table(tmp_path, text, name="table"):
    """An MLTable folder, as the public examples have it."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "data.csv").write_text(text)
    (folder / "MLTable").write_text("paths:\n  - file: ./data.csv\ntransformations:\n  - read_delimited:\n"
                                    "      delimiter: ','\n      encoding: 'ascii'\n      header: all_files_same_headers\n")
    return folder


@pytest.fixture(scope="module")
def ml(module_server):
    """The client of this file's own server, which is killed in the middle."""
    import os

    before = dict(os.environ)
    os.environ.update({k: v for k, v in module_server.env().items() if not k.startswith("AZUREML_RUN_POLLING")})
    module_server.turnout("compute", "create", "--name", "cpu-cluster", "--type", "amlcompute", "--min-instances", "0", "--max-instances", "2")
    yield client_for(module_server)
    os.environ.clear()
    os.environ.update(before)


def leaderboard(server, name):
    return json.loads(server.turnout("job", "leaderboard", "-n", name, "-o", "json").stdout)


def artifacts_of(server, name, folder):
    server.turnout("job", "download", "-n", name, "-p", str(folder))
    return folder / "artifacts"


def test_classification_goes_on_after_a_kill_and_its_model_is_served(module_server, ml, tmp_path):
    from azure.ai.ml import Input, automl
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    job = automl.classification(
        compute="cpu-cluster", experiment_name="automl", target_column_name="label", primary_metric="AUC_weighted",
        training_data=Input(type="mltable", path=str(table(tmp_path, rows_of(300)))), n_cross_validations=3, tags={"mine": "1"})
    job.set_limits(max_trials=3, max_concurrent_trials=2, timeout_minutes=60, trial_timeout_minutes=30)
    job.set_training(allowed_training_algorithms=["LightGBM", "logistic_regression", "DecisionTree"], enable_stack_ensemble=False)
    job.set_featurization(mode="custom", column_name_and_types={"price": "Ignore"})
    name = ml.jobs.create_or_update(job).name
    eventually("a trial runs", lambda: any(c.status == "Running" for c in ml.jobs.list(parent_job_name=name) if c.name != name + "_0"), 300)
    module_server.kill()
    module_server.start()
    done = wait_for(ml, name, 600)
    assert done.status == "Completed", module_server.turnout("job", "show", "-n", name).stdout
    assert type(done).__name__ == "ClassificationJob" and done.limits.max_trials == 3 and done.tags["mine"] == "1"

    board = leaderboard(module_server, name)
    trials = board["trials"]
    assert {t["algorithm"] for t in trials} == {"LightGBM", "LogisticRegression", "DecisionTree", "VotingEnsemble"}
    assert [t["score"] for t in trials] == sorted((t["score"] for t in trials), reverse=True) and trials[0]["score"] > 0.9
    best = board["best_child_run_id"]
    assert best == done.tags["automl_best_child_run_id"] == done.properties["best_child_run_id"]
    assert best in [t["run_id"] for t in trials if t["score"] == trials[0]["score"]], "an ensemble may be as good as its best part"
    said = " ".join(rail["check"] + ": " + rail["words"] for rail in board["guard_rails"])
    assert "'same' (all its values are the same)" in said and "'id' (nearly every row" in said and "lacks values" in said
    # Two at a time, as the limits say, and each started once.
    children = list(ml.jobs.list(parent_job_name=name))
    assert len(children) == 5 and {c.status for c in children} == {"Completed"}
    assert all(ml.jobs.get(c.name).properties["turnout.attempts"] == "1" for c in children), "a kill of the server restarts nothing"

    import mlflow.tracking
    run = mlflow.tracking.MlflowClient().get_run(name)
    assert run.data.tags["automl_best_child_run_id"] == best
    logged = mlflow.tracking.MlflowClient().get_run(best).data.metrics
    assert {"accuracy", "norm_macro_recall", "precision_score_weighted", "average_precision_score_weighted", "log_loss"} <= set(logged)
    outputs = artifacts_of(module_server, best, tmp_path / "got") / "outputs"
    charts = {p.name for p in (outputs / "charts").iterdir()}
    assert {"confusion_matrix.png", "roc.png", "precision_recall.png", "calibration.png", "roc.json"} <= charts
    matrix = json.loads((outputs / "charts" / "confusion_matrix.json").read_text())
    assert sum(map(sum, matrix["matrix"])) == 300, "each row was held back once"
    first = [c["column"] for c in json.loads((outputs / "feature_importance.json").read_text())]
    assert first[0] in ("a", "b") and "price" not in first

    # The best model is registered from where Azure has it, and served without more.
    model = ml.models.create_or_update(Model(name="best", type="mlflow_model", path=f"azureml://jobs/{best}/outputs/artifacts/outputs/mlflow-model/"))
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="automl", auth_mode="key")).result()
    ml.online_deployments.begin_create_or_update(
        ManagedOnlineDeployment(name="blue", endpoint_name="automl", model=f"azureml:{model.name}:{model.version}", instance_count=1)).result()
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"input_data": {"columns": ["a", "b", "color"], "data": [[3.0, 1.0, "red"], [-3.0, 0.0, "blue"]]}}))
    answer = json.loads(ml.online_endpoints.invoke("automl", request_file=str(request), deployment_name="blue"))
    assert answer == ["yes", "no"]
    ml.online_endpoints.begin_delete("automl").result()


def test_regression_by_yaml_with_the_code_that_trains_it(module_server, ml, tmp_path):
    text = rows_of(200)
    (tmp_path / "table.csv").write_text(text)
    (tmp_path / "test.csv").write_text(rows_of(60, seed=2))
    (tmp_path / "automl.yml").write_text("""
$schema: https://azuremlsdk2.blob.core.windows.net/preview/0.0.1/autoMLJob.schema.json
type: automl
task: regression
primary_metric: r2_score
target_column_name: price
compute: azureml:cpu-cluster
experiment_name: automl
training_data: {type: uri_file, path: table.csv}
test_data: {type: uri_file, path: test.csv}
validation_data_size: 0.3
limits: {max_trials: 5, max_concurrent_trials: 2, exit_score: 0.5}
training:
  allowed_training_algorithms: [elastic_net]
""")
    assert "is valid" in module_server.turnout("job", "validate", "-f", str(tmp_path / "automl.yml")).stderr
    name = json.loads(module_server.turnout("job", "create", "-f", str(tmp_path / "automl.yml"), "-o", "json").stdout)["name"]
    done = wait_for(ml, name, 600)
    assert done.status == "Completed" and done.test_data and done.validation_data_size == 0.3
    assert "exit score" in module_server.turnout("job", "stream", "-n", name).stdout
    board = leaderboard(module_server, name)
    best = board["trials"][0]
    assert best["algorithm"] == "ElasticNet" and best["score"] > 0.9 and "Ensemble" not in str(board["trials"])
    import mlflow.tracking
    logged = mlflow.tracking.MlflowClient().get_run(best["run_id"]).data.metrics
    assert logged["test_r2_score"] > 0.9
    assert {"normalized_root_mean_squared_error", "spearman_correlation", "normalized_mean_absolute_error"} <= set(logged)
    outputs = artifacts_of(module_server, name, tmp_path / "got") / "outputs"
    assert {"predicted_true.png", "residuals.png"} <= {p.name for p in (outputs / "charts").iterdir()}

    # The generated script trains the same kind of model by itself, in the environment of the trials.
    code = tmp_path / "code"
    code.mkdir()
    (code / "script.py").write_text((outputs / "generated_code" / "script.py").read_text())
    (code / "table.csv").write_text(text)
    (tmp_path / "again.yml").write_text("command: python script.py table.csv\ncode: ./code\ncompute: azureml:cpu-cluster\n"
                                        "environment: azureml://registries/azureml/environments/automl/versions/1\n")
    told = module_server.turnout("job", "create", "-f", str(tmp_path / "again.yml"), "--stream").stdout
    assert float(re.search(r"R2 of a fifth that was held back: ([-0-9.]+)", told)[1]) > 0.9, told


def test_forecasts_with_intervals(module_server, ml, tmp_path):
    from azure.ai.ml import Input, automl

    rows = ["day,shop,sales"]
    for shop, level in (("north", 50), ("south", 80)):
        for day in range(84):
            sales = level + 10 * math.sin(2 * math.pi * day / 7) + day * 0.1
            rows.append(f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},{shop},{sales:.2f}")
    job = automl.forecasting(
        compute="cpu-cluster", experiment_name="automl", target_column_name="sales", primary_metric="NormalizedRootMeanSquaredError",
        training_data=Input(type="mltable", path=str(table(tmp_path, "\n".join(rows) + "\n"))), n_cross_validations=2)
    job.set_forecast_settings(time_column_name="day", forecast_horizon=7, time_series_id_column_names=["shop"], frequency="D", target_lags=[1, 7])
    job.set_limits(max_trials=2, max_concurrent_trials=2)
    job.set_training(allowed_training_algorithms=["ElasticNet", "SeasonalNaive"], enable_vote_ensemble=False)
    done = wait_for(ml, ml.jobs.create_or_update(job).name, 600)
    assert done.status == "Completed" and type(done).__name__ == "ForecastingJob"
    assert done.forecasting_settings.forecast_horizon == 7 and done.forecasting_settings.target_lags == [1, 7]
    board = leaderboard(module_server, done.name)
    assert board["goal"] == "minimize" and [t["score"] for t in board["trials"]] == sorted(t["score"] for t in board["trials"])
    assert board["trials"][0]["score"] < 0.1
    outputs = artifacts_of(module_server, done.name, tmp_path / "got") / "outputs"
    drawn = json.loads((outputs / "charts" / "forecast.json").read_text())
    assert len(drawn["predicted"]) == 7 and all(low <= value <= high for low, value, high in zip(drawn["low"], drawn["predicted"], drawn["high"]))
    assert "flavors" in (outputs / "mlflow-model" / "MLmodel").read_text()


def test_who_cancels_it_cancels_its_children(module_server, ml, tmp_path):
    from azure.ai.ml import Input, automl

    job = automl.regression(compute="cpu-cluster", target_column_name="price", experiment_name="automl", n_cross_validations=3,
                            training_data=Input(type="mltable", path=str(table(tmp_path, rows_of(150)))))
    job.set_limits(max_trials=50, max_concurrent_trials=2)
    name = ml.jobs.create_or_update(job).name
    eventually("trials run", lambda: [c for c in ml.jobs.list(parent_job_name=name) if c.status == "Running" and c.name != name + "_0"], 300)
    ml.jobs.begin_cancel(name).result()
    assert wait_for(ml, name, 600).status == "Canceled"
    assert {c.status for c in ml.jobs.list(parent_job_name=name)} <= {"Completed", "Canceled"}


def test_what_cannot_be_is_refused_with_its_place(module_server, ml, tmp_path):
    (tmp_path / "t.csv").write_text(rows_of(50))
    base = {"type": "automl", "task": "classification", "target_column_name": "label", "training_data": {"type": "uri_file", "path": "t.csv"}}
    for change, words in (
            ({"task": "image_classification"}, "task: AutoML of images and of text does not run here"),
            ({"primary_metric": "r2_score"}, "primary_metric: expected a metric of classification (AUC_weighted"),
            ({"training": {"allowed_training_algorithms": ["light_gmb"]}}, "did you mean 'light_gbm'?"),
            ({"limits": {"max_trials": 0}}, "limits.max_trials"),
            ({"n_cross_validations": "many"}, "n_cross_validations: expected auto or a whole number from 2 to 50"),
            ({"forecasting": {"time_column_name": "a"}}, "task: forecasting"),
            ({"weight_column_name": "a"}, "weights of rows do not work yet"),
            ({"training_data": {"type": "uri_file", "path": "none.csv"}}, "none.csv"),
            ({"featurization": {"mode": "custom", "transformer_params": {"imputer": [{"fields": ["a"], "parameters": {"strategy": "guess"}}]}}}, "most_frequent")):
        (tmp_path / "a.yml").write_text(json.dumps({**base, **change}))
        told = module_server.turnout("job", "validate", "-f", str(tmp_path / "a.yml"), check=False)
        assert told.returncode == 2 and words in told.stderr, (change, told.stderr)
    # What only the data tells is said by the one that looks at it, and the job says it on.
    (tmp_path / "a.yml").write_text(json.dumps({**base, "target_column_name": "lable"}))
    told = module_server.turnout("job", "create", "-f", str(tmp_path / "a.yml"), "--stream", check=False)
    assert told.returncode != 0 and "did you mean 'label'?" in told.stdout + told.stderr
