"""Sweeps, as the real SDK makes them."""
import json
import re
import time

import pytest
from conftest import client_for, eventually, wait_for

# Logs a metric as `mlflow.log_metric` would, without needing mlflow on the machine.
LOG = """import json, os, sys, urllib.request
def log(value, step=0, key="acc"):
    body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": key, "value": value, "timestamp": 1000 + step, "step": step}
    urllib.request.urlopen(urllib.request.Request(
        os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}))
"""


def sweep_of(tmp_path, script, text="python3 train.py --lr ${{inputs.lr}} --kind ${{inputs.kind}}", *, space=None, algorithm="grid",
             goal="Maximize", outputs=None, policy=None, **limits):
    from azure.ai.ml import Output, command
    from azure.ai.ml.entities import Environment
    from azure.ai.ml.sweep import Choice

    code = tmp_path / "code"
    code.mkdir(exist_ok=True)
    (code / "train.py").write_text(LOG + script)
    base = command(command=text, code=str(code), environment=Environment(image="debian:12"), inputs={"lr": 0.1, "kind": "a"},
                   outputs={name: Output(type="uri_folder") for name in outputs or []}, experiment_name="sweeps")
    sweep = base(**(space or {"lr": Choice([0.1, 0.5, 0.9]), "kind": Choice(["a", "b"])})).sweep(
        sampling_algorithm=algorithm, primary_metric="acc", goal=goal, early_termination_policy=policy)
    sweep.experiment_name = "sweeps"
    sweep.set_limits(**limits)
    return sweep


TRAIN = """
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
log(float(args["--lr"]) + (0.01 if args["--kind"] == "b" else 0))
print("lr", args["--lr"], "kind", args["--kind"], "env", os.environ["AZUREML_SWEEP_kind"], os.environ["AZUREML_RUN_ID"], os.environ["AZUREML_ROOT_RUN_ID"])
os.makedirs("outputs", exist_ok=True)
open("outputs/model.txt", "w").write(args["--lr"] + args["--kind"])
"""


def test_grid(ml_client, tmp_path, capsys):
    sweep = ml_client.create_or_update(sweep_of(tmp_path, TRAIN, max_total_trials=100, max_concurrent_trials=3))
    assert sweep.status in ("Queued", "Running")
    ml_client.jobs.stream(sweep.name)
    told = capsys.readouterr().out
    assert "sweep of 6 trials began" in told and f"{sweep.name}_3 Completed, acc = 0.51, lr: 0.5, kind: b" in told
    done = ml_client.jobs.get(sweep.name)
    assert done.status == "Completed" and type(done).__name__ == "SweepJob"
    best = done.properties["best_child_run_id"]
    assert best == sweep.name + "_5" and float(done.properties["score"]) == 0.91
    assert done.search_space["kind"].values == ["a", "b"] and done.objective.goal == "maximize"

    children = list(ml_client.jobs.list(parent_job_name=sweep.name))
    assert [child.name for child in children] == [f"{sweep.name}_{n}" for n in range(6)]
    assert {child.status for child in children} == {"Completed"}
    assert sweep.name + "_0" not in [job.name for job in ml_client.jobs.list()]

    trial = ml_client.jobs.get(best)
    assert trial.status == "Completed" and trial.type == "command"
    ml_client.jobs.download(best, download_path=str(tmp_path / "trial"), all=True)
    log = next((tmp_path / "trial").rglob("std_log.txt")).read_text()
    assert f"lr 0.9 kind b env b {best} {sweep.name}" in log

    # The best trial's files, through the sweep.
    ml_client.jobs.download(sweep.name, download_path=str(tmp_path / "sweep"))
    assert next((tmp_path / "sweep").rglob("model.txt")).read_text() == "0.9b"


def test_named_outputs_of_the_best_trial(ml_client, tmp_path):
    script = """
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
log(float(args["--lr"]))
os.makedirs(args["--out"], exist_ok=True)
open(args["--out"] + "/model.txt", "w").write(args["--lr"])
"""
    from azure.ai.ml import Input, command
    from azure.ai.ml.entities import Environment
    from azure.ai.ml.sweep import Choice

    sweep = sweep_of(tmp_path, script, "python3 train.py --lr ${{inputs.lr}} --out ${{outputs.model}}", goal="Minimize",
                     space={"lr": Choice([0.5, 0.25, 1.0])}, outputs=["model"], max_total_trials=3)
    done = wait_for(ml_client, ml_client.create_or_update(sweep).name)
    assert done.status == "Completed" and done.properties["best_child_run_id"].endswith("_1")
    ml_client.jobs.download(done.name, download_path=str(tmp_path / "got"), output_name="model")
    assert next((tmp_path / "got").rglob("model.txt")).read_text() == "0.25"
    after = command(command="cat ${{inputs.model}}/model.txt", environment=Environment(image="debian:12"), experiment_name="sweeps",
                    inputs={"model": Input(type="uri_folder", path=f"azureml://jobs/{done.name}/outputs/model")})
    after = wait_for(ml_client, ml_client.create_or_update(after).name)
    assert after.status == "Completed"
    ml_client.jobs.download(after.name, download_path=str(tmp_path / "after"))
    assert "0.25" in next((tmp_path / "after").rglob("std_log.txt")).read_text()


def test_mlflow_finds_the_trials(ml_client, tmp_path):
    import mlflow

    done = wait_for(ml_client, ml_client.create_or_update(sweep_of(tmp_path, TRAIN, max_total_trials=4)).name)
    assert done.status == "Completed"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("sweeps").experiment_id
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{done.name}'", order_by=["metrics.acc DESC"])
    assert len(runs) == 4 and runs[0].info.run_id == done.properties["best_child_run_id"]
    assert runs[0].data.params == {"lr": "0.5", "kind": "b"}
    assert json.loads(runs[0].data.tags["hyperparameters"]) == {"lr": 0.5, "kind": "b"}
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_script_that_logs_its_own_parameters(ml_client, tmp_path):
    # As autologging does: the same parameter in another spelling.
    script = TRAIN + """
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "params": [{"key": "lr", "value": repr(float(args["--lr"])) + "0"}]}
urllib.request.urlopen(urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-batch", json.dumps(body).encode(),
                       {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}))
"""
    done = wait_for(ml_client, ml_client.create_or_update(sweep_of(tmp_path, script, max_total_trials=1)).name)
    assert done.status == "Completed", done.properties


@pytest.mark.parametrize("rule", ["random", "sobol"])
def test_random_is_repeated_by_its_seed(ml_client, tmp_path, rule):
    from azure.ai.ml.sweep import Choice, LogUniform, RandomSamplingAlgorithm

    def parameters(seed):
        sweep = sweep_of(tmp_path, TRAIN, space={"lr": LogUniform(-6, -1), "kind": Choice(["a", "b", "c"])},
                         algorithm=RandomSamplingAlgorithm(rule=rule, seed=seed), max_total_trials=4)
        done = wait_for(ml_client, ml_client.create_or_update(sweep).name)
        assert done.status == "Completed"
        return [ml_client.jobs.get(f"{done.name}_{n}").parameters for n in range(4)]

    first = parameters(17)
    assert first == parameters(17) and first != parameters(18)
    assert len({each["lr"] for each in first}) == 4
    assert all(0.0024 < float(each["lr"]) < 0.37 for each in first)


def test_early_termination(ml_client, tmp_path):
    from azure.ai.ml.sweep import BanditPolicy, Choice

    script = """
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
import time
bad = float(args["--lr"]) < 0.5
for step in range(240 if bad else 60):
    log(float(args["--lr"]), step)
    time.sleep(0.5 if bad else 0.01)
"""
    sweep = sweep_of(tmp_path, script, space={"lr": Choice([0.9, 0.1]), "kind": Choice(["a"])},
                     policy=BanditPolicy(slack_amount=0.2, evaluation_interval=1, delay_evaluation=2), max_total_trials=2, max_concurrent_trials=1)
    done = wait_for(ml_client, ml_client.create_or_update(sweep).name)
    assert done.status == "Completed" and done.properties["best_child_run_id"].endswith("_0")
    assert done.properties["turnout.trials.stopped_early"] == "1"
    assert ml_client.jobs.get(done.name + "_1").status == "Canceled"


def test_cancel(ml_client, server, tmp_path):
    name = ml_client.create_or_update(sweep_of(tmp_path, "import time\ntime.sleep(600)\n", max_total_trials=6, max_concurrent_trials=4)).name
    eventually("a trial runs", lambda: ml_client.jobs.get(name + "_0").status == "Running")
    done = server.turnout("drill", "preempt", name, check=False)
    assert done.returncode != 0 and "is a sweep" in done.stderr
    ml_client.jobs.begin_cancel(name).result()
    assert wait_for(ml_client, name).status == "Canceled"
    assert {child.status for child in ml_client.jobs.list(parent_job_name=name)} == {"Canceled"}


def test_when_all_trials_fail(ml_client, tmp_path):
    name = ml_client.create_or_update(sweep_of(tmp_path, "sys.exit(3)\n", max_total_trials=3)).name
    done = wait_for(ml_client, name)
    assert done.status == "Failed" and "best_child_run_id" not in done.properties
    with pytest.raises(Exception, match="no trial completed: 3 failed"):
        ml_client.jobs.stream(name)


def test_an_environment_that_cannot_be_had_is_tried_a_few_times(server, ml_client, tmp_path):
    (tmp_path / "sweep.yml").write_text("""type: sweep
trial:
  command: echo trial ${{search_space.n}}
  environment:
    image: debian:12
    conda_file: {dependencies: [pip, {pip: ["--no-index", "turnout-is-not-there==1.0"]}]}
sampling_algorithm: grid
search_space:
  n: {type: choice, values: [%s]}
objective: {goal: minimize, primary_metric: loss}
limits: {max_total_trials: 100, max_concurrent_trials: 100}
experiment_name: sweeps
""" % ", ".join(map(str, range(100))))
    done = server.turnout("job", "create", "-f", tmp_path / "sweep.yml", "--stream", check=False, timeout=300)
    assert done.returncode != 0, done.stdout
    name = re.search(r"^job (\S+)$", done.stderr, re.M).group(1)
    sweep = ml_client.jobs.get(name)
    assert sweep.status == "Failed" and sweep.properties["turnout.cause"] == "environment"
    assert int(sweep.properties["turnout.trials.created"]) < 40 and int(sweep.properties["turnout.trials.failed"]) < 10
    assert "failed in the environment that all of them have" in done.stderr and "turnout-is-not-there" in done.stderr
    explained = json.loads(server.turnout("job", "explain", "-n", name, "-o", "json").stdout)
    assert "turnout-is-not-there" in explained["message"], explained


def test_what_can_never_run_is_refused(ml_client, tmp_path):
    from azure.ai.ml.sweep import Uniform

    with pytest.raises(Exception, match="grid sampling takes choices only, found uniform"):
        ml_client.create_or_update(sweep_of(tmp_path, TRAIN, space={"lr": Uniform(0, 1), "kind": "a"}, max_total_trials=3))
    with pytest.raises(Exception, match="Bayesian sampling does not run here"):
        ml_client.create_or_update(sweep_of(tmp_path, TRAIN, algorithm="bayesian", max_total_trials=3))
    with pytest.raises(Exception, match="does not exist"):
        sweep = sweep_of(tmp_path, TRAIN, max_total_trials=3)
        sweep.compute = "no-such-cluster"
        ml_client.create_or_update(sweep)


YAML = """$schema: https://azuremlschemas.azureedge.net/latest/sweepJob.schema.json
type: sweep
trial:
  command: echo trial ${{search_space.n}}
  environment: {image: "debian:12"}
sampling_algorithm: grid
search_space:
  n: {type: choice, values: [1, 2, 3]}
objective: {goal: minimize, primary_metric: loss}
limits: {max_total_trials: 3, max_concurrent_trials: 1, timeout: 600}
experiment_name: sweeps
"""


def test_the_command_line(server, tmp_path):
    (tmp_path / "sweep.yml").write_text(YAML)
    done = server.turnout("job", "create", "-f", tmp_path / "sweep.yml", "--stream")
    assert "3 of 3 trials ended: 3 completed" in done.stdout, done.stdout + done.stderr
    name = re.search(r"(\w+)_2 Completed", done.stdout)[1]
    shown = json.loads(server.turnout("job", "show", "-n", name, "-o", "json").stdout)
    trials = json.loads(server.turnout("job", "list", "--parent-job-name", name, "-o", "json").stdout)
    assert [(each["name"], each["parameters"]["n"]) for each in trials] == [(f"{name}_{n}", str(n + 1)) for n in (2, 1, 0)]
    # They are jobs as in any other list, and go through the same filters.
    assert {"display_name", "status", "type", "experiment_name", "created"} <= set(trials[0]) and trials[0]["status"] == "Completed"
    def listed(*options):
        done = server.turnout("job", "list", "--parent-job-name", name, *options, "-o", "json")
        return [each["name"] for each in json.loads(done.stdout)]

    assert listed("--status", "failed") == [] and listed("--experiment-name", "other") == [] and listed("--archived-only") == []
    assert listed("--status", "completed", "-r", "2") == [f"{name}_2", f"{name}_1"]
    server.turnout("job", "archive", "-n", f"{name}_1")
    assert listed() == [f"{name}_2", f"{name}_0"] and listed("--archived-only") == [f"{name}_1"] and len(listed("--include-archived")) == 3
    done = server.turnout("job", "list", "--parent-job-name", f"{name}_0", check=False)
    assert done.returncode == 2 and "no sweep" in done.stderr
    assert server.turnout("job", "list", "--parent-job-name", "nobody", check=False).returncode == 3
    assert server.turnout("job", "download", "-n", name, check=False).returncode != 0, "no trial logged the metric"
    assert shown["type"] == "sweep" and shown["search_space"]["n"]["values"] == [1, 2, 3] and shown["status"] == "Completed"


def test_a_metric_of_another_name_is_told_at_the_first_trial(server, ml_client, tmp_path, capsys):
    """The script logs 'Acc', the sweep was told to look for 'acc'."""
    script = 'log(0.5, key="Acc")\nlog(1.5, key="loss")\nimport time\nwhile sys.argv[-1] != "0.1" and not os.path.exists(sys.argv[1]): time.sleep(0.1)\n'
    from azure.ai.ml.sweep import Choice

    go_on = tmp_path / "go-on"
    name = ml_client.create_or_update(sweep_of(tmp_path, script, f"python3 train.py {go_on} ${{{{inputs.lr}}}}", space={"lr": Choice([0.1, 0.2, 0.3])},
                                               max_total_trials=3, max_concurrent_trials=1)).name
    told = f"{name}_0 completed without the primary metric 'acc': it logged 'Acc', 'loss'; did you mean 'Acc'?"
    eventually("it is noticed while the others run", lambda: told in server.turnout("job", "explain", "-n", name).stdout)
    assert told in server.turnout("job", "show", "-n", name).stdout
    warned = [event for event in json.loads(server.turnout("events", "--job", name, "-o", "json").stdout) if event["what"] == "warning"]
    assert [event["message"] for event in warned] == [told]
    go_on.touch()
    ml_client.jobs.stream(name)
    assert capsys.readouterr().out.count(told) == 2, "once in its log, and once more in its end"
    done = ml_client.jobs.get(name)
    assert done.status == "Completed" and done.properties["turnout.trials.without_metric"] == "3"
    assert done.properties["turnout.reason"] == f"3 of 3 trials ended: 3 completed (3 without 'acc'); there is no best trial: {told}"


def test_delete_takes_the_trials_along(server, tmp_path):
    (tmp_path / "sweep.yml").write_text(YAML)
    server.turnout("job", "create", "-f", tmp_path / "sweep.yml", "--set", "name=gone", "--stream")
    server.turnout("job", "delete", "-n", "gone", "-y")
    assert server.turnout("job", "show", "-n", "gone_0", check=False).returncode != 0
    server.turnout("job", "create", "-f", tmp_path / "sweep.yml", "--set", "name=gone", "--stream")


def test_kill_9_half_way(own_server, monkeypatch, tmp_path):
    for name, value in own_server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    client = client_for(own_server)
    from azure.ai.ml.sweep import Choice

    script = """
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
import time
with open("%s/" + args["--lr"], "a") as note:
    note.write("began\\n")
time.sleep(0.2)
log(float(args["--lr"]))
""" % tmp_path
    sweep = sweep_of(tmp_path, script, space={"lr": Choice(list(range(40))), "kind": Choice(["a"])}, max_total_trials=40, max_concurrent_trials=4)
    name = client.create_or_update(sweep).name
    for round in range(3):
        ended = int(client.jobs.get(name).properties["turnout.trials.completed"])
        eventually("it goes on", lambda: int(client.jobs.get(name).properties["turnout.trials.completed"]) > min(ended + 2, 38))
        own_server.kill()
        time.sleep(0.5)
        own_server.start()
    done = wait_for(client, name)
    assert done.status == "Completed"
    assert done.properties["turnout.trials.completed"] == "40" and done.properties["best_child_run_id"] == name + "_39"
    assert [(tmp_path / str(n)).read_text() for n in range(40)] == ["began\n"] * 40, "each trial once"
    assert len(list(client.jobs.list(parent_job_name=name))) == 40
