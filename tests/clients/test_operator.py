"""Who runs the server: stopping it in three ways, its slots and its pools."""
import json
import signal
import sys

from conftest import eventually, on_terminal

CLIENT = """
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute
from azure.identity import DefaultAzureCredential
import os
client = MLClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["TURNOUT_RESOURCE_GROUP"], os.environ["TURNOUT_WORKSPACE"])
"""


def submit(server, command):
    text = f"command: {command}\nenvironment: {{image: x}}\ncompute: one\n"
    return json.loads(server.turnout("job", "create", "-f", "-", input=text).stdout)["name"]


def status(server, name):
    return json.loads(server.turnout("job", "show", name).stdout)["status"]


def one_runs_and_two_wait(server, command):
    server.turnout("compute", "create", "-n", "one", "--type", "amlcompute", "--max-instances", "1")
    names = [submit(server, command), submit(server, "true"), submit(server, "true")]
    eventually("the first one runs", lambda: status(server, names[0]) == "Running")
    return names


def test_drain_lets_running_jobs_end_and_keeps_the_queue(own_server, tmp_path):
    flag = tmp_path / "go"
    first, *others = one_runs_and_two_wait(own_server, f"until [ -e {flag} ]; do sleep 0.05; done")
    code, text = on_terminal(own_server, "down", "--drain", once=(f"waiting for 1 job ({first} for", signal.SIGINT))
    assert code == 130 and "the server goes on: it begins nothing new" in text, text
    assert "draining" in json.loads(own_server.turnout("status", "-o", "json").stdout)
    late = submit(own_server, "true")
    assert "the server is being stopped" in own_server.turnout("job", "explain", late, "-o", "table").stdout
    flag.touch()
    done = own_server.turnout("down", "--drain")
    assert done.stderr.endswith("the server has stopped; 3 jobs wait for the next `turnout up`\n"), done.stderr
    assert own_server.process.wait(60) == 0
    own_server.start()
    assert status(own_server, first) == "Completed"
    for name in (*others, late):
        eventually(f"{name} goes on", lambda: status(own_server, name) == "Completed")


def test_up_takes_a_drain_back(own_server):
    first, second, _ = one_runs_and_two_wait(own_server, "sleep 600")
    on_terminal(own_server, "down", "--drain", once=("waiting for 1 job", signal.SIGINT))
    assert "it goes on now, with what waits" in own_server.turnout("up", "--detach").stderr
    own_server.turnout("job", "cancel", first)
    eventually("what waited begins", lambda: status(own_server, second) == "Completed")
    done = own_server.turnout("down", "--drain", "--all", check=False)
    assert done.returncode == 2 and "--drain keeps what waits" in done.stderr


def test_down_all_asks_before_it_cancels_the_queue(own_server):
    first, second, third = one_runs_and_two_wait(own_server, "sleep 600")
    done = own_server.turnout("down", "--all", check=False)
    assert done.returncode == 5 and "2 jobs wait in the queue and would be canceled: give --yes" in done.stderr
    for answer in ("no\n", "\n", "\x04"):
        code, text = on_terminal(own_server, "down", "--all", typed=answer)
        assert code == 130 and "Cancel them? (yes/no)" in text and "nothing was done" in text, text
    assert status(own_server, second) == "Queued" and own_server.process.poll() is None
    code, text = on_terminal(own_server, "down", "--all", typed="yes\n")
    assert code == 0 and "the server has stopped" in text, text
    own_server.start()
    assert {status(own_server, name) for name in (first, second, third)} == {"Canceled"}


def test_slots_change_while_jobs_run(own_server):
    names = []
    for _ in range(3):
        names.append(json.loads(own_server.turnout("job", "create", "-f", "-", input="command: sleep 600\nenvironment: {image: x}\n").stdout)["name"])
    assert "the pool has 3 slots now" in own_server.turnout("up", "--slots", "3").stderr
    eventually("all run", lambda: all(status(own_server, name) == "Running" for name in names))
    done = own_server.turnout("up", "--slots", "1")
    assert "1 slot now, instead of 3; 3 nodes are there: those that are too many go as their jobs end" in done.stderr
    assert all(status(own_server, name) == "Running" for name in names)
    waits = json.loads(own_server.turnout("job", "create", "-f", "-", input="command: 'true'\nenvironment: {image: x}\n").stdout)["name"]
    own_server.turnout("job", "cancel", names[0], names[1])
    assert status(own_server, waits) == "Queued"
    own_server.kill()
    own_server.start()
    assert json.loads(own_server.turnout("status", "-o", "json").stdout)["slots"] == 1, "it is kept"
    own_server.turnout("job", "cancel", names[2])
    eventually("its turn has come", lambda: status(own_server, waits) == "Completed")
    done = own_server.turnout("up", "--slots", "none", check=False)
    assert done.returncode == 2 and "--slots" in done.stderr


def test_pools_of_a_file_have_slots_of_their_own_and_come_back(own_server):
    file = own_server.data / "pools.yaml"
    restarted = lambda: (own_server.turnout("down"), own_server.process.wait(60), own_server.start())
    file.write_text("pools:\n  big:\n    slotz: 1\n")
    done = own_server.turnout("pool", "check", check=False)
    assert done.returncode == 2 and "pools.yaml:3:5: pools.big.slotz: is not a key of a pool, did you mean 'slots'?" in done.stderr, done.stderr
    file.write_text("pools:\n  big:\n    slots: 1\n")
    checked = own_server.turnout("pool", "check", "-o", "json")
    assert {row["name"]: row["in_the_file"] for row in json.loads(checked.stdout)} == {"local": "as it is", "big": "new"}
    assert "provider 'local' answers: 0 nodes are there" in checked.stderr
    restarted()

    # The SDK names it as a location; what is neither a pool nor a region is refused.
    sdk = lambda code: own_server.turnout("exec", "--", sys.executable, "-W", "ignore", "-c", CLIENT + code).stdout.strip()
    assert sdk("""
c = client.compute.begin_create_or_update(AmlCompute(name="there", size="STANDARD_DS3_v2", max_instances=2, location="big")).result()
print(c.location, c.provisioning_state.rsplit(".")[-1].upper())""") == "big SUCCEEDED"
    done = own_server.turnout("compute", "create", "-n", "lost", "--type", "amlcompute", "--location", "bgi", check=False)
    assert done.returncode == 2 and "did you mean 'big'?" in done.stderr, done.stderr
    done = own_server.turnout("compute", "create", "-n", "here", "--type", "amlcompute", "--location", "westus")
    assert "location 'westus' is no pool of this server: the nodes come from pool 'local'" in done.stderr

    job = lambda compute: json.loads(own_server.turnout("job", "create", "-f", "-", input=f"command: sleep 600\nenvironment: {{image: x}}\ncompute: {compute}\n").stdout)["name"]
    first, second, other = job("there"), job("there"), job("here")
    for name in (first, other):
        eventually(f"{name} runs", lambda: status(own_server, name) == "Running")
    assert "no free slot in pool 'big': all 1 are in use" in own_server.turnout("job", "explain", second, "-o", "table").stdout
    rows = {row["name"]: row for row in json.loads(own_server.turnout("pool", "list", "-o", "json").stdout)}
    assert (rows["big"]["nodes"], rows["big"]["slots"], rows["big"]["waiting"]) == (1, 1, 1)
    assert rows["local"]["nodes"] == 1

    # It vanishes from the file: what runs goes on, what waits stays, and everybody says why.
    file.write_text("pools: {}\n")
    orphan = own_server.data / "nodes" / "aaaaaaaaaaaa_gone_node-99"  # of a server that nobody remembers
    orphan.mkdir()
    restarted()
    assert "pool 'big' is not in pools.yaml any more" in json.loads(own_server.turnout("status", "-o", "json").stdout)["missing_pools"]
    assert "pool 'big' is not in pools.yaml any more" in own_server.turnout("job", "explain", second, "-o", "table").stdout
    assert sdk("""print(client.compute.get("there").provisioning_state.rsplit(".")[-1].upper())""") == "FAILED"
    assert status(own_server, first) == "Running" and status(own_server, second) == "Queued"
    file.write_text("pools:\n  big:\n    slots: 1\n")
    restarted()
    assert "missing_pools" not in json.loads(own_server.turnout("status", "-o", "json").stdout)
    own_server.turnout("pool", "update", "big", "--slots", "2")
    eventually("the second one runs beside the first", lambda: status(own_server, second) == "Running")
    assert status(own_server, first) == "Running"
    eventually("what nobody knows is ended", lambda: not orphan.exists())
