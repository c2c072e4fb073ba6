"""The server dies at bad moments; nothing that was acknowledged is lost."""
import re
import time

from conftest import client_for, eventually, log_of, wait_for


def submit(server, client, text, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    return client.create_or_update(command(command=text, environment=Environment(image="debian:12"), experiment_name="recovery", **more))


def in_env(server, monkeypatch):
    for name, value in server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(server)


def test_kill_9_while_a_job_runs(own_server, monkeypatch, tmp_path):
    client = in_env(own_server, monkeypatch)
    job = submit(own_server, client, "for i in $(seq 1 60); do echo line-$i; sleep 0.1; done; mkdir -p outputs; echo done > outputs/end.txt")
    eventually("status Running", lambda: client.jobs.get(job.name).status == "Running")
    before = own_server.env()
    own_server.kill()
    time.sleep(1)  # the job goes on without a server: this is the time that is tested
    own_server.start()
    assert own_server.env() == before, "clients go on with what they were told"
    assert wait_for(client, job.name).status == "Completed"
    lines = re.findall(r"^line-(\d+)$", log_of(client, job.name, tmp_path), re.M)
    assert [int(n) for n in lines] == list(range(1, 61))


def test_kill_9_and_the_job_ends_meanwhile(own_server, monkeypatch, tmp_path):
    client = in_env(own_server, monkeypatch)
    go, over = tmp_path / "go", tmp_path / "over"
    job = submit(own_server, client, f"echo first; until [ -e {go} ]; do sleep 0.1; done; echo last; touch {over}; exit 5")
    eventually("status Running", lambda: client.jobs.get(job.name).status == "Running")
    own_server.kill()
    go.touch()
    eventually("the command ends while nobody listens", over.exists)
    own_server.start()
    assert wait_for(client, job.name).status == "Failed"
    log = log_of(client, job.name, tmp_path)
    assert log.count("first") == 1 and log.count("last") == 1


def test_kill_9_with_jobs_in_the_queue(own_server, monkeypatch):
    client = in_env(own_server, monkeypatch)
    jobs = [submit(own_server, client, f"sleep 0.5; echo {n}") for n in range(6)]
    own_server.kill()
    own_server.start()
    assert [wait_for(client, job.name).status for job in jobs] == ["Completed"] * 6


def test_everything_acknowledged_is_there_after_kill_9(own_server, monkeypatch):
    from azure.ai.ml.entities import AmlCompute, Data, Environment

    client = in_env(own_server, monkeypatch)
    client.begin_create_or_update(AmlCompute(name="kept", size="STANDARD_DS3_v2", max_instances=1)).result()
    client.environments.create_or_update(Environment(name="kept", version="1", image="ubuntu:22.04"))
    client.data.create_or_update(Data(name="kept", version="1", path="azureml://datastores/workspaceblobstore/paths/x/", type="uri_folder"))
    own_server.kill()
    own_server.start()
    assert client.compute.get("kept").max_instances == 1
    assert client.environments.get("kept", version="1").image == "ubuntu:22.04"
    assert client.data.get("kept", version="1").path.endswith("paths/x/")


def test_port_is_kept_over_a_restart(own_server):
    before = own_server.env()["ARM_CLOUD_METADATA_URL"]
    own_server.turnout("down")
    own_server.process.wait(60)
    own_server.start()
    assert own_server.env()["ARM_CLOUD_METADATA_URL"] == before


def test_down_says_what_goes_on(own_server, monkeypatch, tmp_path):
    client = in_env(own_server, monkeypatch)
    go = tmp_path / "go"
    job = submit(own_server, client, f"until [ -e {go} ]; do sleep 0.1; done; echo done")
    eventually("status Running", lambda: client.jobs.get(job.name).status == "Running")
    told = own_server.turnout("down")
    assert job.name in told.stdout + told.stderr
    go.touch()
    own_server.process.wait(60)
    own_server.start()
    assert wait_for(client, job.name).status == "Completed"
