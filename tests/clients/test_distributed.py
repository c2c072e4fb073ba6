"""Jobs on several nodes and of several processes, as the SDK sends them."""
import json
import os
import re
import signal
from pathlib import Path

import pytest

from conftest import Rest, client_for, eventually, log_of, processes_with, wait_for

# Every process sends its number to the first one and gets back the sum of all: what
# torch.distributed does, without torch.
ALL_REDUCE = '''
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print("variables", *(f"{n}={os.environ.get(n)}" for n in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "AZUREML_NODE_COUNT")))
if rank == 0:
    server = socket.create_server(place)
    others = [server.accept()[0] for _ in range(size - 1)]
    total = 1 + sum(int(other.recv(64)) for other in others)
    for other in others:
        other.sendall(str(total).encode())
else:
    for _ in range(600):
        try:
            link = socket.create_connection(place, 60)
            break
        except OSError:
            time.sleep(0.05)
    link.sendall(str(rank + 1).encode())
    total = int(link.recv(64))
print(f"sum={total}")
os.makedirs("outputs", exist_ok=True)
open(f"outputs/rank-{rank}.txt", "w").write(str(total))
open("outputs/shared.txt", "w").write(str(rank))
'''


def code(folder, text):
    folder = Path(folder) / "src"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(text)
    return str(folder)


def logs_of(ml_client, name, folder):
    """user_logs as the SDK downloads them: name of the file -> text."""
    target = Path(folder) / f"job-{name}"
    ml_client.jobs.download(name, download_path=target)
    return {path.name: path.read_text() for path in target.rglob("user_logs/*")}, target


def variables(text):
    return dict(item.split("=", 1) for item in re.search(r"^variables (.*)$", text, re.M)[1].split())


def test_pytorch_on_two_nodes(run, ml_client, tmp_path):
    from azure.ai.ml import PyTorchDistribution

    job = run("python train.py", code=code(tmp_path, ALL_REDUCE), instance_count=2,
              distribution=PyTorchDistribution(process_count_per_instance=2))
    logs, target = logs_of(ml_client, job.name, tmp_path)
    assert job.status == "Completed", logs
    assert sorted(logs) == [f"std_log_process_{rank}.txt" for rank in range(4)]
    for rank in range(4):
        text = logs[f"std_log_process_{rank}.txt"]
        assert "sum=10\n" in text
        assert variables(text) == {"RANK": str(rank), "LOCAL_RANK": str(rank % 2), "NODE_RANK": str(rank // 2), "WORLD_SIZE": "4",
                                   "LOCAL_WORLD_SIZE": "2", "AZUREML_NODE_COUNT": "2"}
    found = {path.name: path.read_text() for path in target.rglob("outputs/*.txt")}
    assert {name: text for name, text in found.items() if name != "shared.txt"} == {f"rank-{rank}.txt": "10" for rank in range(4)}
    assert found["shared.txt"] in ("0", "1"), "the first node's file stays"
    again = ml_client.jobs.get(job.name)
    assert again.resources.instance_count == 2 and again.distribution.process_count_per_instance == 2


def test_stream_shows_the_first_process(run, ml_client, capsys):
    job = run("echo I-am-$RANK; sleep 1", wait=False, instance_count=2, distribution={"type": "pytorch", "process_count_per_instance": 1})
    ml_client.jobs.stream(job.name)
    text = capsys.readouterr().out
    assert "I-am-0" in text and "I-am-1" not in text


def test_tensorflow(run, ml_client, tmp_path):
    from azure.ai.ml import TensorFlowDistribution

    job = run("echo $TF_CONFIG", instance_count=2, distribution=TensorFlowDistribution(worker_count=2, parameter_server_count=1))
    logs, _ = logs_of(ml_client, job.name, tmp_path)
    assert job.status == "Completed", logs
    configs = [json.loads(logs[f"std_log_process_{rank}.txt"].splitlines()[-1]) for rank in range(3)]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}, {"type": "ps", "index": 0}]
    assert all(config["cluster"] == configs[0]["cluster"] for config in configs)
    places = configs[0]["cluster"]["worker"] + configs[0]["cluster"]["ps"]
    assert len(set(places)) == 3 and all(re.fullmatch(r"[^:]+:\d+", place) for place in places)


def test_mpi(run, ml_client, tmp_path):
    from azure.ai.ml import MpiDistribution

    job = run("echo $OMPI_COMM_WORLD_RANK $OMPI_COMM_WORLD_SIZE $OMPI_COMM_WORLD_LOCAL_RANK $AZ_BATCH_MASTER_NODE", instance_count=1,
              distribution=MpiDistribution(process_count_per_instance=3))
    logs, _ = logs_of(ml_client, job.name, tmp_path)
    assert job.status == "Completed", logs
    for rank in range(3):
        assert re.fullmatch(rf"{rank} 3 {rank} 127\.0\.0\.1:\d+", logs[f"std_log_process_{rank}.txt"].splitlines()[-1])


@pytest.mark.parametrize("bad", [1, 2])
def test_one_process_that_fails_ends_the_job(run, ml_client, rest, tmp_path, bad):
    mark = f"mark-{os.getpid()}-{bad}"
    job = run(f"if [ $RANK = {bad} ]; then sleep 1; echo the-reason; exit 9; fi; exec -a {mark} sleep 5000", instance_count=2,
              distribution={"type": "pytorch", "process_count_per_instance": 2})
    assert job.status == "Failed"
    eventually("no process of the job is left", lambda: not processes_with(mark))
    details = rest.call("GET", f"/history/v1.0{rest.ws}/runs/{job.name}/details", api="v1.0").json()
    error = json.dumps(details["error"])
    assert f"process {bad}" in error and "exit code 9" in error and "the-reason" in error


def test_cancel(run, ml_client):
    mark = f"mark-{os.getpid()}-cancel"
    job = run(f"exec -a {mark} sleep 5000", wait=False, instance_count=2, distribution={"type": "pytorch", "process_count_per_instance": 2})
    eventually("all processes run", lambda: len(processes_with(mark)) >= 4)
    ml_client.jobs.begin_cancel(job.name).result()
    assert wait_for(ml_client, job.name).status == "Canceled"
    eventually("no process of the job is left", lambda: not processes_with(mark))


def test_what_cannot_run_is_refused(run):
    from azure.core.exceptions import HttpResponseError

    for more, words in [({"instance_count": 3}, "has at most 2"),
                        ({"distribution": {"type": "ray"}}, "ray does not run"),
                        ({"instance_type": "STANDARD_NC6"}, "has nodes of size"),
                        ({"shm_size": "much"}, 'such as 2g')]:
        with pytest.raises(HttpResponseError) as caught:
            run("true", wait=False, **more)
        assert words in str(caught.value)


def test_priority(ml_client, host, cluster, tmp_path):
    from azure.ai.ml import command
    from azure.ai.ml.entities import QueueSettings

    blockers = [ml_client.create_or_update(command(command="sleep 600", environment=host, compute=cluster, experiment_name="tests")) for _ in range(2)]
    jobs = {}
    try:
        eventually("both nodes are taken", lambda: all(ml_client.jobs.get(job.name).status == "Running" for job in blockers))
        for priority in ("low", "medium", "high"):
            job = command(command="echo began $(date +%s%N); sleep 0.3", environment=host, compute=cluster, experiment_name="tests")
            job.queue_settings = QueueSettings(job_tier="Standard", priority=priority)
            jobs[priority] = ml_client.create_or_update(job)
        ml_client.jobs.begin_cancel(blockers[0].name).result()
        ended = {priority: wait_for(ml_client, job.name) for priority, job in jobs.items()}
        assert {job.status for job in ended.values()} == {"Completed"}
        assert ml_client.jobs.get(jobs["high"].name).queue_settings.priority == "high"
        began = {priority: int(re.search(r"^began (\d+)$", log_of(ml_client, job.name, tmp_path), re.M)[1]) for priority, job in jobs.items()}
        assert began["high"] < began["medium"] < began["low"], began
    finally:
        for job in [*blockers, *jobs.values()]:
            ml_client.jobs.begin_cancel(job.name)
        for job in [*blockers, *jobs.values()]:
            wait_for(ml_client, job.name)


def test_nodes_that_several_jobs_share(own_server, monkeypatch):
    from azure.ai.ml import command
    from azure.ai.ml.entities import AmlCompute, Environment
    from azure.core.exceptions import HttpResponseError

    for name, value in own_server.env().items():
        monkeypatch.setenv(name, value)
    client = client_for(own_server)
    with pytest.raises(HttpResponseError) as caught:
        client.begin_create_or_update(AmlCompute(name="shared", size="STANDARD_DS3_v2", max_instances=1, tags={"turnout.jobs_per_node": "many"})).result()
    assert "from 1 to 64" in str(caught.value)
    made = client.begin_create_or_update(AmlCompute(name="shared", size="STANDARD_DS3_v2", max_instances=1, tags={"turnout.jobs_per_node": "3"})).result()
    assert made.tags["turnout.jobs_per_node"] == "3"
    jobs = [client.create_or_update(command(command="sleep 600", environment=Environment(image="debian:12"), compute="shared", experiment_name="t")) for _ in range(3)]
    eventually("all three run on the one node", lambda: [client.jobs.get(job.name).status for job in jobs] == ["Running"] * 3)
    for job in jobs:
        client.jobs.begin_cancel(job.name).result()
    for job in jobs:
        assert wait_for(client, job.name).status == "Canceled"


RESUMED = '''
import os, time
step = int(open("outputs/step").read()) if os.path.exists("outputs/step") else 0
print(f"begins at {step}", flush=True)
os.makedirs("outputs", exist_ok=True)
rank = os.environ["RANK"]
while step < 10 or not os.path.exists("GO"):
    step += 1
    if rank == "0":
        open("outputs/step.new", "w").write(str(step))
        os.replace("outputs/step.new", "outputs/step")
    time.sleep(0.5)
'''


def test_a_gang_goes_on_after_a_node_was_killed(own_server, monkeypatch, tmp_path):
    from azure.ai.ml import command
    from azure.ai.ml.entities import AmlCompute, Environment

    for name, value in own_server.env().items():
        monkeypatch.setenv(name, value)
    client = client_for(own_server)
    client.begin_create_or_update(AmlCompute(name="pair", size="STANDARD_DS3_v2", max_instances=2)).result()
    go = tmp_path / "go"
    job = client.create_or_update(command(command="python train.py", code=code(tmp_path, RESUMED.replace("GO", str(go))), environment=Environment(image="debian:12"),
                                          compute="pair", instance_count=2, distribution={"type": "pytorch", "process_count_per_instance": 1}, experiment_name="t"))
    eventually("status Running", lambda: client.jobs.get(job.name).status == "Running")
    rest = Rest(own_server)
    kept = f"/history/v1.0{rest.ws}/runs/{job.name}/artifacts/contentinfo?path=outputs/step"
    eventually("its step is kept while it runs", lambda: rest.call("GET", kept, api="v1.0").status_code == 200)

    # A node dies with all that it has: agent, supervisor, and so the command.
    agents = [pid for pid in processes_with(str(own_server.data)) if b"--node\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(agents) == 2
    words = Path(f"/proc/{agents[1]}/cmdline").read_bytes().split(b"\0")
    folder = words[words.index(b"--folder") + 1].decode()
    for pid in processes_with(folder):
        os.kill(pid, signal.SIGKILL)
    go.touch()

    ended = wait_for(client, job.name)
    target = tmp_path / "download"
    client.jobs.download(job.name, download_path=target, all=True)
    logs = {str(path.relative_to(target)): path.read_text() for path in target.rglob("std_log_process_*.txt")}
    assert ended.status == "Completed", (ended.properties, logs)
    first = [text for name, text in logs.items() if name.endswith("user_logs/std_log_process_0.txt") and "retries" not in name]
    assert first, logs
    begun = int(re.search(r"begins at (\d+)", first[0])[1])
    assert begun > 0, f"the second attempt goes on where the first one was: {logs}"
