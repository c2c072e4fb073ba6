"""What takes space and how it goes: `turnout du` and `prune`, deletion, downloads of assets."""
import json
import os
import subprocess
import time

import pytest
from azure.ai.ml.entities import Data, Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from conftest import PLAIN_ENV, TURNOUT, Server, client_for, eventually, wait_for

JOB = """command: head -c 300000 /dev/urandom > outputs/big.bin; cp outputs/big.bin outputs/twin.bin; echo said
code: code
environment: {image: debian:12}
outputs:
  made: {type: uri_folder}
"""


def make_job(server, folder, text=JOB, wait=True):
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "a.py").write_text("print(1)\n")
    (folder / "job.yml").write_text(text)
    name = server.turnout("job", "create", "-f", folder / "job.yml", "-o", "tsv", "--query", "name").stdout.strip()
    if wait:
        server.turnout("job", "stream", "-n", name)
    return name


def sdk_of(server, monkeypatch):
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    return client_for(server)


def rows_of(server):
    space = json.loads(server.turnout("du", "-o", "json").stdout)
    return {row["kind"]: row for row in space["rows"]}, space


def prune(server, *arguments):
    return {row["kind"]: row for row in json.loads(server.turnout("prune", *arguments, "--yes", "-o", "json").stdout)}


def content_files(server):
    return [path for path in (server.data / "blobs").rglob("*") if path.is_file()]


def test_what_takes_space_and_how_it_goes(own_server, tmp_path, monkeypatch):
    server = own_server
    ml = sdk_of(server, monkeypatch)
    name = make_job(server, tmp_path)
    (tmp_path / "model.bin").write_bytes(os.urandom(200_000))
    ml.models.create_or_update(Model(name="m", path=str(tmp_path / "model.bin")))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "x").write_bytes(os.urandom(150_000))
    ml.data.create_or_update(Data(name="d", path=str(tmp_path / "loose"), type="uri_folder"))

    rows, space = rows_of(server)
    assert 300_000 <= rows["outputs"]["bytes"] < 302_000, "the twin's content is kept once"
    assert space["shared"]["bytes"] == 300_000
    assert rows["outputs"]["items"][0]["name"] == name and rows["outputs"]["items"][0]["bytes"] == 600_000
    assert rows["assets"]["bytes"] >= 350_000 and "uploads" not in rows
    assert rows["logs"]["bytes"] > 0 and rows["database"]["bytes"] > 0 and space["disk"]["free"] > 0
    assert sum(row["bytes"] for row in space["rows"]) == space["bytes"]
    table = server.turnout("du", "-o", "table").stdout
    assert "outputs of jobs" in table and max(map(len, table.split("\n\n")[0].splitlines()[:12])) <= 80

    # A living job needs the data asset; nothing of it, of the model, or of younger jobs goes.
    (tmp_path / "live.yml").write_text("""command: cat ${{inputs.d}}/x > /dev/null; while [ ! -e %s ]; do sleep 0.1; done
environment: {image: debian:12}
inputs: {d: {type: uri_folder, path: "azureml:d:1"}}
""" % (tmp_path / "go"))
    live = server.turnout("job", "create", "-f", tmp_path / "live.yml", "-o", "tsv", "--query", "name").stdout.strip()
    eventually("it runs", lambda: ml.jobs.get(live).status == "Running")
    assert all(row["count"] == 0 for row in prune(server, "--older-than", "30d").values()), "nothing is thirty days old"
    before = rows_of(server)[0]
    said = json.loads(server.turnout("prune", "--older-than", "0", "--dry-run", "-o", "json").stdout)
    assert {row["kind"]: row for row in said}["jobs"]["bytes"] == 300_000
    assert rows_of(server)[0]["outputs"]["bytes"] == before["outputs"]["bytes"], "a dry run removes nothing"
    # Without a terminal it does not guess.
    assert server.turnout("prune", "--older-than", "0", check=False).returncode == 5

    freed = prune(server, "--older-than", "0")
    assert freed["jobs"]["count"] == 1 and freed["jobs"]["items"] == [name] and freed["jobs"]["bytes"] >= 300_000
    assert freed["inputs"]["count"] == 0, "the running job's"
    assert server.turnout("job", "show", "-n", name, check=False).returncode == 3
    with pytest.raises((ResourceNotFoundError, HttpResponseError)) as failure:
        ml.jobs.get(name)
    assert failure.value.status_code == 404 and name in failure.value.message
    import mlflow
    with pytest.raises(mlflow.exceptions.MlflowException, match="does not exist"):
        mlflow.MlflowClient(server.env()["MLFLOW_TRACKING_URI"]).get_run(name)
    rows, _ = rows_of(server)
    assert "outputs" not in rows and "code" not in rows and rows["assets"]["bytes"] >= 350_000
    assert server.turnout("data", "delete", "-n", "d", "-v", "1", check=False).returncode == 4, "a living job uses it"
    (tmp_path / "go").touch()
    assert wait_for(ml, live).status == "Completed"
    assert prune(server, "inputs", "--older-than", "0")["inputs"]["count"] == 1
    # The asset goes, then what it pointed at.
    server.turnout("data", "delete", "-n", "d", "-v", "1")
    prune(server, "jobs", "--older-than", "0")
    assert prune(server, "data", "--older-than", "0")["data"]["bytes"] >= 150_000
    ml.models.download(name="m", version="1", download_path=str(tmp_path / "got"))
    assert len(content_files(server)) == 1, "the model's"


def test_the_retention_is_written_down_shown_and_applied(own_server, tmp_path, monkeypatch):
    server = own_server
    ml = sdk_of(server, monkeypatch)
    text = "command: echo said\nenvironment: {image: debian:12}\n"
    names = [make_job(server, tmp_path, text) for _ in range(3)]
    import mlflow
    mlflow.MlflowClient(server.env()["MLFLOW_TRACKING_URI"]).set_tag(names[0], "turnout.keep", "true")
    retention = server.data / "retention.yaml"
    retention.write_text("jobs: {max_count: 1}\nlogs:\n  max_age: soon\n")
    refused = server.turnout("prune", check=False)
    assert refused.returncode != 0 and "retention.yaml:3:3: logs.max_age is 'soon': expected" in refused.stderr
    assert "The retention is not applied" in server.turnout("du", "-o", "table").stdout
    retention.write_text("jobs: {max_count: 1}\n")
    assert "removes 1 job (" in server.turnout("du", "-o", "table").stdout
    dry = {row["kind"]: row for row in json.loads(server.turnout("prune", "--dry-run", "-o", "json").stdout)}
    assert dry["jobs"]["items"] == [names[1]], "the newest stays, and the one with the tag"
    done = {row["kind"]: row for row in json.loads(server.turnout("prune", "-o", "json").stdout)}
    assert done["jobs"]["count"] == 1 and "jobs.max_count" in done["jobs"]["why"][0]["reason"]
    assert {job.name for job in ml.jobs.list()} == {names[0], names[2]}
    assert names[1] in server.turnout("events", "--kind", "space", "-o", "table").stdout
    retention.write_text("logs: {max_age: 0}\n")
    server.turnout("prune")
    assert "the logs were removed" in server.turnout("job", "stream", "-n", names[2]).stdout


def test_a_killed_server_finishes_what_it_began(own_server, tmp_path):
    server = own_server
    make_job(server, tmp_path)
    names = [make_job(server, tmp_path, "command: mkdir outputs/d; for i in $(seq 300); do echo $i > outputs/d/$i; done\nenvironment: {image: debian:12}\n")
             for _ in range(3)]
    for delay in (0.0, 0.02, 0.05):
        pruning = subprocess.Popen([TURNOUT, "prune", "jobs", "--older-than", "0", "--yes", "--data", str(server.data)],
                                   env=PLAIN_ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(delay)
        server.kill()
        pruning.wait()
        server.start()
        # Each job is there whole, or goes: none is left half.
        for name in names:
            def whole():
                if server.turnout("job", "show", "-n", name, check=False).returncode == 3:
                    return True
                got = server.turnout("job", "download", "-n", name, "--all", "--download-path", tmp_path / "got" / name / str(delay), check=False)
                return got.returncode == 0 and len(list((tmp_path / "got" / name / str(delay)).rglob("d/*"))) == 300
            eventually(f"job {name} is whole or gone", whole)
    prune(server, "--older-than", "0")
    assert json.loads(server.turnout("job", "list", "-o", "json").stdout) == []
    rows, _ = rows_of(server)
    assert not {"outputs", "leftovers", "uploads", "logs", "held"} & rows.keys()


def test_a_cache_with_a_limit_forgets_the_longest_unused(tmp_path):
    server = Server(tmp_path / "data")
    try:
        subprocess.run([TURNOUT, "up", "--detach", "--data", str(server.data), "--listen", "127.0.0.1:0", "--cache-limit", "1kB"],
                       check=True, env=PLAIN_ENV, capture_output=True, timeout=60)
        make_job(server, tmp_path / "a")
        server.turnout("down")
        subprocess.run([TURNOUT, "up", "--detach", "--data", str(server.data), "--cache-limit", "1kB"], check=True, env=PLAIN_ENV,
                       capture_output=True, timeout=60)
        eventually("the snapshot went", lambda: not list((server.data / "cache" / "snapshots").glob("[0-9a-f]*")))
        make_job(server, tmp_path / "a")
    finally:
        server.turnout("down", "--all", "--yes", check=False)
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_on_a_full_disk_one_can_still_stop_and_tidy_up(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", disk], check=True)
    server = Server(disk / "data")

    def free():
        space = os.statvfs(disk)
        return space.f_bavail * space.f_frsize

    def fill():
        with open(disk / "filler", "ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        assert free() < 8192

    try:
        server.start()
        ml = sdk_of(server, monkeypatch)
        text = "command: head -c 20000000 /dev/urandom > outputs/big.bin\nenvironment: {image: debian:12}\n"
        first, second = (make_job(server, tmp_path / "a", text) for _ in range(2))
        live = make_job(server, tmp_path / "b", "command: sleep 600\nenvironment: {image: debian:12}\n", wait=False)
        eventually("it runs", lambda: ml.jobs.get(live).status == "Running")
        fill()
        server.turnout("job", "cancel", "-n", live)
        eventually("it is canceled", lambda: ml.jobs.get(live).status == "Canceled")
        server.turnout("job", "delete", "-n", first)
        assert free() > 15_000_000, "what is deleted on a full disk goes now"
        fill()
        assert prune(server, "jobs", "--older-than", "0")["jobs"]["count"] == 2
        assert free() > 15_000_000
        fill()
        server.turnout("down")
        server.process.wait(60)
        server.start()
        rows_of(server)
        (disk / "filler").unlink()
        assert wait_for(client_for(server), make_job(server, tmp_path / "a", text)).status == "Completed"
    finally:
        server.stop()
        subprocess.run(["umount", "-l", disk], check=False)


def test_assets_are_downloaded_and_deleted(server, ml_client, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w" * 1000)
    (tmp_path / "one.csv").write_text("a,b\n")
    ml_client.models.create_or_update(Model(name="down-model", path=str(tmp_path / "model")))
    ml_client.data.create_or_update(Data(name="down-data", path=str(tmp_path / "one.csv"), type="uri_file"))
    ml_client.models.download(name="down-model", version="1", download_path=str(tmp_path / "sdk"))
    server.turnout("model", "download", "-n", "down-model", "-v", "1", "-p", tmp_path / "cli")
    both = [sorted(str(path.relative_to(tmp_path / who)) for path in (tmp_path / who).rglob("*") if path.is_file()) for who in ("sdk", "cli")]
    assert both[0] == both[1] == ["down-model/model/weights"]
    server.turnout("data", "download", "-n", "down-data", "-p", tmp_path / "cli")
    assert (tmp_path / "cli" / "down-data" / "one.csv").read_text() == "a,b\n"
    assert server.turnout("model", "download", "-n", "nothing", check=False).returncode == 3

    ml_client.models.create_or_update(Model(name="down-model", path=str(tmp_path / "model"), version="2"))
    assert ml_client.models.get("down-model", label="latest").version == "2"
    server.turnout("model", "delete", "-n", "down-model", "-v", "2")
    assert ml_client.models.get("down-model", label="latest").version == "1"
    ml_client.models.archive("down-model")
    assert "down-model" not in [model.name for model in ml_client.models.list()]
    ml_client.models.restore("down-model")
    assert "down-model" in [model.name for model in ml_client.models.list()]
    server.turnout("model", "delete", "-n", "down-model")
    with pytest.raises(ResourceNotFoundError):
        ml_client.models.get("down-model", version="1")
    assert server.turnout("model", "delete", "-n", "down-model", check=False).returncode == 3


def test_a_workspace_is_deleted(own_server, tmp_path, monkeypatch):
    server = own_server
    from azure.ai.ml.entities import Workspace
    ml = sdk_of(server, monkeypatch)
    ml.workspaces.begin_create(Workspace(name="second", location="westus")).result()
    (tmp_path / "job.yml").write_text("command: sleep 600\nenvironment: {image: debian:12}\n")
    name = server.turnout("job", "create", "-f", tmp_path / "job.yml", "-w", "second", "-o", "tsv", "--query", "name").stdout.strip()
    with pytest.raises(HttpResponseError, match=name):
        ml.workspaces.begin_delete("second", delete_dependent_resources=False)
    refused = server.turnout("workspace", "delete", "-n", "second", check=False)
    assert refused.returncode == 4 and name in refused.stderr
    ml.workspaces.begin_delete("second", delete_dependent_resources=True, permanently_delete=True).result()
    assert "second" not in [workspace.name for workspace in ml.workspaces.list()]
    server.turnout("workspace", "create", "-n", "second")
    assert json.loads(server.turnout("job", "list", "-w", "second", "-o", "json").stdout) == []
    server.turnout("workspace", "delete", "-n", "second", "--yes")
    assert server.turnout("workspace", "show", "-n", "second", check=False).returncode == 3


def test_a_job_moves_to_another_experiment(server, ml_client, tmp_path):
    name = make_job(server, tmp_path, "command: 'true'\nenvironment: {image: debian:12}\nexperiment_name: before\n")
    server.turnout("job", "update", "-n", name, "--set", "experiment_name=after")
    job = ml_client.jobs.get(name)
    assert job.experiment_name == "after"
    import mlflow
    client = mlflow.MlflowClient(server.env()["MLFLOW_TRACKING_URI"])

    def runs_of(experiment):
        return [run.info.run_id for run in client.search_runs([client.get_experiment_by_name(experiment).experiment_id])]

    assert runs_of("after") == [name] and name not in runs_of("before")
