"""A job's contract: what its command sees, how it ends, and what is left of it."""
import json
import re
import uuid

import pytest

from conftest import eventually, log_of, processes_with, status_of, wait_for


def test_working_folder_is_the_snapshot(run, ml_client, tmp_path):
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "main.py").write_text("import pathlib; print(pathlib.Path('deep/file.txt').read_text())\n")
    (tmp_path / "src" / "deep" / "file.txt").write_text("from the snapshot")
    job = run("python main.py", code=str(tmp_path / "src"))
    assert job.status == "Completed"
    assert "from the snapshot" in log_of(ml_client, job.name, tmp_path)


def test_environment_variables(run, ml_client, tmp_path):
    job = run("env", environment_variables={"GREETING": "hello $HOME 'and' \"more\"", "EMPTY": ""})
    log = log_of(ml_client, job.name, tmp_path)
    assert "GREETING=hello $HOME 'and' \"more\"\n" in log and "EMPTY=\n" in log
    found = dict(line.split("=", 1) for line in log.splitlines() if "=" in line)
    assert found["AZUREML_RUN_ID"] == job.name
    assert found["AZUREML_ARM_WORKSPACE_NAME"] == ml_client.workspace_name
    assert found["AZUREML_ARM_SUBSCRIPTION"] == ml_client.subscription_id
    assert found["AZUREML_ARM_RESOURCEGROUP"] == ml_client.resource_group_name
    assert found["PYTHONUNBUFFERED"] == "1" and found["MLFLOW_RUN_ID"] == job.name


def test_literals_are_quoted_for_the_shell(run, ml_client, tmp_path):
    hostile = "a b; echo INJECTED $(echo TOO) 'x' \"y\""
    job = run("printf '<%s>\\n' ${{inputs.text}} ${{inputs.number}} ${{inputs.flag}}",
              inputs={"text": hostile, "number": 0.5, "flag": True})
    log = log_of(ml_client, job.name, tmp_path)
    assert f"<{hostile}>" in log and "<0.5>" in log
    assert "INJECTED" not in log.replace(hostile, "") and "TOO\n" not in log.replace(hostile, "")


def test_stream_prints_the_log_and_ends(run, ml_client, capsys):
    job = run("for i in 1 2 3 4 5; do echo line-$i; sleep 0.4; done", wait=False)
    ml_client.jobs.stream(job.name)
    text = capsys.readouterr().out
    assert [int(n) for n in re.findall(r"line-(\d)", text)] == [1, 2, 3, 4, 5]


def test_failing_command(run, ml_client):
    from azure.ai.ml.exceptions import JobException

    job = run("for i in 1 2; do sleep 0.5; done; echo before; echo the-reason >&2; exit 3", wait=False)
    with pytest.raises(JobException) as caught:
        ml_client.jobs.stream(job.name)
    assert "3" in str(caught.value) and "the-reason" in str(caught.value)
    assert status_of(ml_client, job.name) == "Failed"


def test_failed_details_name_code_and_exit(run, rest):
    job = run("echo last-words; exit 7")
    details = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details", api="v1.0").json()
    assert details["status"] == "Failed"
    assert details["error"]["error"]["code"]
    assert "7" in details["error"]["error"]["message"] and "last-words" in json.dumps(details["error"])


def test_signal_is_told(run, rest):
    job = run("kill -SEGV $$")
    details = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details", api="v1.0").json()
    assert job.status == "Failed" and ("139" in json.dumps(details["error"]) or "SEGV" in json.dumps(details["error"]) or "signal 11" in json.dumps(details["error"]))


def test_cancel_ends_the_whole_tree(run, ml_client):
    mark = str(uuid.uuid4())
    job = run(f"bash -c 'exec -a mark-{mark}-child sleep 5000' & "
              f"setsid bash -c 'exec -a mark-{mark}-session sleep 5000' & "
              f"exec -a mark-{mark}-main sleep 5000", wait=False)
    eventually("all three processes run", lambda: len([p for p in processes_with(f"mark-{mark}")]) >= 3)
    eventually("status Running", lambda: status_of(ml_client, job.name) == "Running")
    ml_client.jobs.begin_cancel(job.name).result()
    assert wait_for(ml_client, job.name).status == "Canceled"
    eventually("no process of the job is left", lambda: not processes_with(f"mark-{mark}"))


def test_cancel_of_a_stubborn_process(run, ml_client):
    mark = str(uuid.uuid4())
    job = run(f"trap '' TERM; echo {mark}; while true; do sleep 0.2; done", wait=False)
    eventually("status Running", lambda: status_of(ml_client, job.name) == "Running")
    ml_client.jobs.begin_cancel(job.name).result()
    assert wait_for(ml_client, job.name, 90).status == "Canceled"


def test_cancel_while_queued(run, ml_client):
    blockers = [run("sleep 600", wait=False) for _ in range(2)]
    try:
        queued = run("echo never", wait=False)
        assert status_of(ml_client, queued.name) in ("Queued", "NotStarted", "Preparing")
        ml_client.jobs.begin_cancel(queued.name).result()
        assert wait_for(ml_client, queued.name, 20).status == "Canceled"
    finally:
        for job in blockers:
            ml_client.jobs.begin_cancel(job.name)
        for job in blockers:
            wait_for(ml_client, job.name)


def test_why_it_waits_is_told(run, ml_client):
    blockers = [run("sleep 600", wait=False) for _ in range(2)]
    try:
        queued = run("true", wait=False)
        waiting = eventually("a reason", lambda: [v for k, v in (ml_client.jobs.get(queued.name).properties or {}).items()
                                                  if "wait" in k.lower() and v], 20)
        assert any(blockers[0].name in text or "node" in text or "slot" in text for text in waiting), waiting
    finally:
        for job in [*blockers, queued]:
            ml_client.jobs.begin_cancel(job.name)
        for job in [*blockers, queued]:
            wait_for(ml_client, job.name)


def test_timeout(ml_client, host, cluster, rest):
    from azure.ai.ml import command

    job = command(command="sleep 600", environment=host, compute=cluster, experiment_name="tests")
    job.set_limits(timeout=2)
    job = ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name).status == "Failed"
    details = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details", api="v1.0").json()
    assert "time" in json.dumps(details["error"]).lower()


def test_outputs_and_logs_are_uploaded(run, ml_client, tmp_path):
    job = run("mkdir -p outputs/a logs && echo one > outputs/a/1.txt && echo two > logs/2.txt && head -c 3000000 /dev/zero > outputs/big")
    assert job.status == "Completed"
    ml_client.jobs.download(job.name, download_path=tmp_path, all=True)
    files = {p.name: p for p in tmp_path.rglob("*") if p.is_file()}
    assert files["1.txt"].read_text() == "one\n" and files["2.txt"].read_text() == "two\n"
    assert files["big"].stat().st_size == 3_000_000


def test_outputs_of_a_failed_job_are_kept(run, ml_client, tmp_path):
    job = run("mkdir -p outputs && echo kept > outputs/k.txt; exit 1")
    assert job.status == "Failed"
    ml_client.jobs.download(job.name, download_path=tmp_path)
    assert any(p.read_text() == "kept\n" for p in tmp_path.rglob("k.txt"))


def test_mlflow_in_a_job_needs_nothing_set_up(ml_client, cluster, tmp_path):
    import mlflow
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    (tmp_path / "log.py").write_text(
        "import mlflow\n"
        "for step in range(5):\n    mlflow.log_metric('loss', 1.0 / (step + 1), step=step)\n"
        "mlflow.log_param('lr', 0.1)\nmlflow.set_tag('kind', 'test')\n"
        "open('note.txt', 'w').write('an artifact')\nmlflow.log_artifact('note.txt', 'notes')\n"
    )
    (tmp_path / "conda.yml").write_text("name: with-mlflow\ndependencies:\n- python\n- pip\n- pip:\n  - mlflow-skinny==3.17.2\n")
    job = ml_client.create_or_update(command(
        command="python log.py", code=str(tmp_path), compute=cluster, experiment_name="tracked",
        environment=Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04", conda_file=str(tmp_path / "conda.yml")),
    ))
    assert wait_for(ml_client, job.name, 300).status == "Completed", log_of(ml_client, job.name, tmp_path)
    client = mlflow.MlflowClient()
    run = client.get_run(job.name)
    assert run.data.params == {"lr": "0.1"} and run.data.tags["kind"] == "test"
    assert [round(m.value, 3) for m in client.get_metric_history(job.name, "loss")] == [1.0, 0.5, 0.333, 0.25, 0.2]
    ml_client.jobs.download(job.name, download_path=tmp_path / "down", all=True)
    assert [p.read_text() for p in (tmp_path / "down").rglob("note.txt")] == ["an artifact"]
    assert job.name in [r.info.run_id for r in client.search_runs([run.info.experiment_id])]


def test_conda_environment_is_built_once(ml_client, cluster, tmp_path):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    conda = tmp_path / "conda.yml"
    conda.write_text("name: small\nchannels: [conda-forge]\ndependencies:\n- python\n- pip\n- pip:\n  - iniconfig==2.0.0\n")

    def submit():
        job = ml_client.create_or_update(command(
            command="python -c 'import iniconfig, sys; print(\"prefix\", sys.prefix)'", compute=cluster, experiment_name="tests",
            environment=Environment(image="mcr.microsoft.com/azureml/base", conda_file=str(conda))))
        ended = wait_for(ml_client, job.name, 300)
        assert ended.status == "Completed"
        return re.search(r"prefix (\S+)", log_of(ml_client, job.name, tmp_path))[1]

    assert submit() == submit()


def test_impossible_pin_fails_with_its_name(ml_client, cluster, tmp_path, rest):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    conda = tmp_path / "conda.yml"
    conda.write_text("dependencies:\n- python\n- pip\n- pip:\n  - iniconfig==99.0.0\n")
    job = ml_client.create_or_update(command(
        command="true", compute=cluster, experiment_name="tests",
        environment=Environment(image="mcr.microsoft.com/azureml/base", conda_file=str(conda))))
    assert wait_for(ml_client, job.name, 300).status == "Failed"
    details = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details", api="v1.0").json()
    assert "iniconfig" in json.dumps(details["error"])


def test_tags_properties_and_names(run, ml_client):
    job = run("true", tags={"team": "red"}, display_name="the display name", description="what it is for")
    assert job.tags["team"] == "red" and job.display_name == "the display name" and job.description == "what it is for"
    job.tags["stage"] = "two"
    job.display_name = "renamed"
    ml_client.jobs.create_or_update(job)
    again = ml_client.jobs.get(job.name)
    assert again.tags == {"team": "red", "stage": "two"} and again.display_name == "renamed"


def test_archive_and_restore(run, ml_client):
    from azure.ai.ml.constants import ListViewType

    job = run("true")
    ml_client.jobs.archive(job.name)
    assert job.name not in [j.name for j in ml_client.jobs.list()]
    assert job.name in [j.name for j in ml_client.jobs.list(list_view_type=ListViewType.ARCHIVED_ONLY)]
    ml_client.jobs.restore(job.name)
    assert job.name in [j.name for j in ml_client.jobs.list()]


def test_same_definition_again_changes_nothing(run, rest):
    job = run("echo once")
    body = {"properties": rest.call("GET", f"{rest.ws}/jobs/{job.name}", api="2024-01-01-preview").json()["properties"]}
    assert rest.call("PUT", f"{rest.ws}/jobs/{job.name}", api="2025-01-01-preview", json=body).status_code == 200
    other = json.loads(json.dumps(body))
    other["properties"]["command"] = "echo twice"
    reply = rest.call("PUT", f"{rest.ws}/jobs/{job.name}", api="2025-01-01-preview", json=other)
    assert reply.status_code == 409 and reply.json()["error"]["message"]
    assert rest.call("GET", f"{rest.ws}/jobs/{job.name}", api="2024-01-01-preview").json()["properties"]["command"] == "echo once"


def test_local_compute_runs_on_the_server(ml_client, host, cluster):
    from azure.ai.ml import command

    job = ml_client.create_or_update(command(command="echo here", environment=host, compute="local", experiment_name="tests"))
    assert job.compute == "local"
    assert wait_for(ml_client, job.name).status == "Completed"


def test_without_compute_it_is_serverless(ml_client, host, cluster):
    from azure.ai.ml import command

    job = ml_client.create_or_update(command(command="echo here", environment=host, experiment_name="tests"))
    assert wait_for(ml_client, job.name).status == "Completed"


# ---- refused at submission, with the reason and the nearest thing that exists ----


def refused(ml_client, job):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        ml_client.jobs.create_or_update(job)
    assert 400 <= caught.value.status_code < 500
    return str(caught.value)


def test_unknown_compute(ml_client, host, cluster):
    from azure.ai.ml import command

    text = refused(ml_client, command(command="true", environment=host, compute="cpu-clusta", experiment_name="tests"))
    assert "cpu-clusta" in text and "cpu-cluster" in text


def test_unknown_environment(ml_client, cluster):
    from azure.ai.ml import command

    text = refused(ml_client, command(command="true", environment="AzureML-sklearn-0.25-ubuntu18.04-py37-cpu@latest", compute=cluster, experiment_name="tests"))
    assert "AzureML-sklearn-0.25" in text and "AzureML-sklearn-0.24" in text


def test_input_that_does_not_exist(ml_client, host, cluster):
    from azure.ai.ml import Input, command

    job = command(command="cat ${{inputs.x}}", environment=host, compute=cluster, experiment_name="tests",
                  inputs={"x": Input(type="uri_file", path="azureml://datastores/workspaceblobstore/paths/no/such/file.csv")})
    assert "no/such/file.csv" in refused(ml_client, job)


def test_reference_to_an_absent_input(rest, host, cluster):
    body = {"properties": {"jobType": "Command", "command": "echo ${{inputs.missing}}", "computeId": f"{rest.ws}/computes/{cluster}",
                           "environmentId": "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest"}}
    reply = rest.call("PUT", f"{rest.ws}/jobs/absent-input", api="2025-01-01-preview", json=body)
    assert reply.status_code == 400 and "missing" in reply.json()["error"]["message"]


@pytest.mark.parametrize("change, word", [
    ({"resources": {"instanceCount": 99}}, "instance"),
    ({"distribution": {"distributionType": "Ray"}}, "distribution"),
    ({"jobType": "Sweep"}, "searchSpace"),
    ({"jobType": "AutoML"}, "taskDetails"),
    ({"jobType": "Spark"}, "Spark"),
    ({"jobType": "Nonsense"}, "Nonsense"),
    ({"command": ""}, "command"),
    ({"codeId": "/nowhere/codes/x/versions/1"}, "code"),
])
def test_what_does_not_run_is_refused(rest, cluster, change, word):
    properties = {"jobType": "Command", "command": "true", "computeId": f"{rest.ws}/computes/{cluster}",
                  "environmentId": "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest", **change}
    reply = rest.call("PUT", f"{rest.ws}/jobs/refused-{word.lower()}", api="2025-01-01-preview", json={"properties": properties})
    assert 400 <= reply.status_code < 500, reply.text
    assert word.lower() in reply.json()["error"]["message"].lower()
    assert rest.call("GET", f"{rest.ws}/jobs/refused-{word.lower()}", api="2024-01-01-preview").status_code == 404


def test_unknown_size(ml_client):
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        ml_client.begin_create_or_update(AmlCompute(name="odd", size="STANDARD_DS3_v9", max_instances=1)).result()
    assert "STANDARD_DS3_v9" in str(caught.value) and "STANDARD_DS3_v2".lower() in str(caught.value).lower()


def test_gpu_size_without_a_gpu(ml_client):
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        ml_client.begin_create_or_update(AmlCompute(name="gpu", size="Standard_NC6s_v3", max_instances=1)).result()
    assert "gpu" in str(caught.value).lower()
    assert "gpu" not in [c.name for c in ml_client.compute.list()]


@pytest.mark.parametrize("kind", ["DataFactory", "VirtualMachine", "Kubernetes", "Databricks", "HDInsight", "Nonsense"])
def test_other_compute_types_are_refused(rest, kind):
    reply = rest.call("PUT", f"{rest.ws}/computes/other-one", api="2023-08-01-preview",
                      json={"location": "westus", "properties": {"computeType": kind, "properties": {"vmSize": "STANDARD_DS3_v2"}}})
    assert 400 <= reply.status_code < 500 and kind in reply.json()["error"]["message"]
    assert rest.call("GET", f"{rest.ws}/computes/other-one", api="2023-08-01-preview").status_code == 404


def test_unknown_location(ml_client):
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        ml_client.begin_create_or_update(AmlCompute(name="far", size="STANDARD_DS3_v2", location="westuss", max_instances=1)).result()
    assert "westuss" in str(caught.value) and "westus" in str(caught.value)


HALVES = r"""
import sys, time
w = sys.stdout.buffer
def say(*pieces):
    for piece in pieces:
        w.write(piece); w.flush(); time.sleep(0.2)
snow = "\\u2603".encode()
say(b"start\\n" + snow[:2]); time.sleep(2); say(snow[2:], b"\\n", b"bad \\xff\\xfe caf\\xe9 end\\n")
say(*[bytes([b]) for b in "\\u65e5\\u672c".encode()], b"\\x00\\x1b[31m\\n", "\\u640d".encode() * 100_000, b"\\xe9")
"""


def test_any_byte_may_be_printed(ml_client, run, rest, tmp_path, capsys):
    """The SDK decodes what it gets as UTF-8, at each poll; what is stored is exact."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "halves.py").write_text(HALVES.replace("\\\\", "\\"))
    job = run("python3 halves.py", code=str(tmp_path / "src"), wait=False)
    ml_client.jobs.stream(job.name)
    said = capsys.readouterr().out
    for text in ("\u2603\n", "bad ?? caf? end", "\u65e5\u672c"):
        assert text in said, said.replace("\u640d", "")
    from conftest import log_of
    ml_client.jobs.download(job.name, download_path=tmp_path / "got")
    stored = next((tmp_path / "got").rglob("std_log.txt")).read_bytes()
    assert "\u2603".encode() + b"\nbad \xff\xfe caf\xe9 end\n" in stored and stored.endswith("\u640d".encode() + b"\xe9")
    # A range reads the same wherever it begins, and offsets are those of the stored bytes.
    url = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details").json()["logFiles"]["user_logs/std_log.txt"]
    whole = rest.session.get(url).content
    assert len(whole) == len(stored)
    for begin in (0, 7, 8, 9, 30, len(whole) - 5):
        part = rest.session.get(url, headers={"Range": f"bytes={begin}-{begin + 40}"}).content
        assert part == whole[begin:begin + 41]
