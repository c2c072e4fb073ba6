"""Pools of hosts that are reached by SSH: real sshd, the real SDK."""
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import Server, client_for, eventually, log_of, wait_for
from hosts import Hosts


@pytest.fixture(scope="module")
def hosts():
    hosts = Hosts(2)
    yield hosts
    hosts.end()


@pytest.fixture(scope="module")
def lab(hosts):
    """A server whose pool `lab` has these hosts, and whose cluster `far` is there."""
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    server = Server(path / "data")
    (server.data / "pools.yaml").write_text(hosts.pool())
    server.start()
    server.turnout("compute", "create", "--name", "far", "--type", "amlcompute", "--location", "lab", "--size",
                   "STANDARD_DS3_v2", "--min-instances", "0", "--max-instances", "2", "--idle-time-before-scale-down", "3600")
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sdk(lab, monkeypatch):
    for name, value in lab.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(lab)


def submit(sdk, text, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    more.setdefault("environment", Environment(image="debian:12"))
    return sdk.create_or_update(command(command=text, compute="far", experiment_name="ssh", **more))


def test_check_goes_there_and_says_what_it_found(lab, hosts):
    done = lab.turnout("pool", "check", "-o", "json")
    pool = next(one for one in json.loads(done.stdout) if one["name"] == "lab")
    assert [one["host"] for one in pool["hosts"]] == [host.name for host in hosts.all]
    for one in pool["hosts"]:
        assert one["reachable"] and one["host_key"].startswith("SHA256:") and one["cores"] > 0, one
        assert one["python"].startswith("3.") and one["free_bytes"] > 0 and one["system"].startswith("Linux "), one
        assert one["agent_starts"] and "container_engine" in one, one
    assert pool["slots"] == 2
    # Now that it is known what they are: a size that none of them holds is refused, with what fits.
    large = lab.turnout("compute", "create", "--name", "large", "--type", "amlcompute", "--location", "lab", "--size", "STANDARD_F72S_v2", check=False)
    assert large.returncode == 2 and "has 72 cores and 144 GB, and no machine of pool 'lab' has that" in large.stderr, large.stderr
    sizes = {row["name"]: row["fits"] for row in json.loads(lab.turnout("compute", "list-sizes", "--location", "lab", "-o", "json").stdout)}
    assert sizes["STANDARD_A1_V2"] and not sizes["STANDARD_F72S_V2"] and not sizes["STANDARD_NC6"]
    assert f"pool 'lab': {hosts.all[0].name} works: Linux " in done.stderr
    more = lab.turnout("pool", "update", "lab", "--slots", "3", check=False)
    assert more.returncode != 0 and "lab.slots: expected at most 2, which its hosts have in all, found 3" in more.stderr, more.stderr
    file = lab.data / "pools.yaml"
    before = file.read_text()
    file.write_text(before.replace("  lab:\n", "  lab:\n    slots: 3\n"))
    assert file.read_text() != before
    checked = lab.turnout("pool", "check", check=False)
    file.write_text(before)
    assert f"{file}: pools.lab.slots: expected at most 2" in checked.stdout + checked.stderr, checked


def test_a_job_with_all_that_a_job_has(lab, hosts, sdk, tmp_path):
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import Environment
    from mlflow import MlflowClient

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, os, pathlib, sys\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "mlflow.log_metric('size', len(text))\n"
        "pathlib.Path(sys.argv[2], 'result').write_text(text.upper())\n"
        "print('in', os.environ['TURNOUT_NODE_FOLDER'])\n")
    (tmp_path / "data").write_text("some words")
    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [mlflow-skinny]}]\n")
    job = submit(sdk, "python train.py ${{inputs.data}} ${{outputs.out}}", code=str(tmp_path / "src"),
                 environment=Environment(image="debian:12", conda_file=str(tmp_path / "conda.yml")),
                 inputs={"data": Input(type="uri_file", path=str(tmp_path / "data"))},
                 outputs={"out": Output(type="uri_folder")})
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", lab.turnout("job", "show", "-n", job.name).stdout
    log = log_of(sdk, job.name, tmp_path)
    assert any(f"in {host.folder}/" in log for host in hosts.all), log
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "SOME WORDS"
    assert MlflowClient(lab.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"size": 10.0}


def test_a_job_outlives_its_connection_and_its_server(lab, hosts, sdk, tmp_path):
    go = tmp_path / "go"
    job = submit(sdk, f"for i in $(seq 1 60); do echo line-$i; sleep 0.2; done; until [ -e {go} ]; do sleep 0.1; done")
    eventually("it runs", lambda: sdk.jobs.get(job.name).status == "Running")
    busy = next(host for host in hosts.all if host.processes())
    before = set(busy.nodes())
    for host in hosts.all:
        host.cut()
    lab.kill()
    for host in hosts.all:
        host.cut()
    lab.start()
    go.touch()
    assert wait_for(client_for(lab), job.name).status == "Completed"
    assert before <= set(busy.nodes())
    log = log_of(client_for(lab), job.name, tmp_path)
    assert [line for line in log.split("\n") if line.startswith("line-")] == [f"line-{i}" for i in range(1, 61)]


def test_a_job_on_several_nodes_is_refused(lab, sdk):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="a job on several nodes needs them on one machine"):
        submit(sdk, "true", instance_count=2)


def test_a_host_that_is_down_is_avoided_and_shown(lab, hosts, sdk):
    lab.turnout("compute", "create", "--name", "other", "--type", "amlcompute", "--location", "lab", "--size",
                "STANDARD_A1_v2", "--max-instances", "2")
    lab.turnout("compute", "delete", "--name", "far", "--yes")
    eventually("nothing is left", lambda: not any(host.nodes() or host.processes() for host in hosts.all))
    hosts.all[0].stop()
    try:
        from azure.ai.ml import command
        from azure.ai.ml.entities import Environment

        job = sdk.create_or_update(command(command="true", compute="other", environment=Environment(image="debian:12")))
        assert wait_for(sdk, job.name).status == "Completed"
        pool = json.loads(lab.turnout("pool", "show", "lab", "-o", "json").stdout)
        assert [one["state"] for one in pool["hosts"]] == ["avoided", "connected"], pool
        assert hosts.all[0].name.split("@")[1] in pool["hosts"][0]["message"]
    finally:
        hosts.all[0].start()


def test_a_host_that_shows_another_key_is_refused(lab, hosts):
    host = hosts.all[0]
    host.stop()
    host.new_key()
    host.start()
    done = lab.turnout("pool", "check", "-o", "json")
    pool = next(one for one in json.loads(done.stdout) if one["name"] == "lab")
    first = pool["hosts"][0]
    assert not first["reachable"]
    assert "when it was first used: if that is meant, write `host_key: SHA256:" in first["message"], first


@pytest.mark.parametrize("settings, words", [
    ("{}", "key 'hosts' is missing: expected a list of the machines"),
    ("{hosts: [vm1], key: id}", "expected a user who logs in there"),
    ("{hosts: [vm1], user: me}", "expected 'key' or 'password_file'"),
    ("{hosts: ['vm1;rm'], user: me, key: id}", "expected a host: [USER@]HOST[:PORT]"),
    ("{hosts: [vm1, vm1], user: me, key: id}", "me@vm1 is there twice"),
    ("{hosts: [vm1], user: me, key: id, folder: ../x}", "expected a folder's path of at most 60 characters, without '..'"),
])
def test_what_is_wrong_in_its_settings_is_said(own_server, settings, words):
    own_server.data.joinpath("pools.yaml").write_text(f"pools: {{lab: {{provider: ssh, settings: {settings}}}}}\n")
    done = own_server.turnout("pool", "check", check=False)
    assert done.returncode != 0 and words in done.stderr, done.stderr
