"""Why a job waits, where the time went, what happened, and harm on purpose: through the real server
and the command line."""
import html
import json
import os
import re
import ssl
import threading
import urllib.request

import pytest

from conftest import eventually, on_terminal

JOB = """\
command: {command}
environment:
  image: debian:12
compute: azureml:{compute}
experiment_name: explained
"""
TERMINAL = ("Completed", "Failed", "Canceled")


@pytest.fixture(scope="module")
def explained(module_server):
    module_server.turnout("compute", "create", "-n", "ex", "--type", "amlcompute", "--max-instances", "1", "--set", 'tags={"turnout.price_per_hour": "3.6"}')
    return module_server


@pytest.fixture
def submit(explained, tmp_path):
    def run(name, command, compute="ex", distribution=None):
        file = tmp_path / f"{name}.yml"
        file.write_text(JOB.format(command=json.dumps(command), compute=compute) + (f"distribution: {json.dumps(distribution)}\n" if distribution else ""))
        explained.turnout("job", "create", "-f", file, "-n", name)
        return name

    return run


def as_json(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def show(server, name):
    return as_json(server.turnout("job", "show", "-n", name, check=False))


def until(server, name, *statuses, seconds=180):
    return eventually(f"job {name} is {statuses}", lambda: (job := show(server, name))["status"] in statuses and job, seconds, 0.3)


def test_explain_says_why_and_what_would_start_it(explained, submit):
    submit("ex_runs", "sleep 600")
    until(explained, "ex_runs", "Running")
    submit("ex_waits", "true")
    why = as_json(explained.turnout("job", "explain", "ex_waits", "-o", "json"))
    assert why["status"] == "Queued"
    assert why["now"]["waitsFor"] == "nodes" and why["now"]["placeInQueue"] == 1
    assert why["now"]["nodes"][0]["job"] == "ex_runs" and why["now"]["nodes"][0]["connected"]
    assert any("--max-instances 2" in way for way in why["now"]["wouldStartNow"])
    assert any("ex_runs" in way for way in why["now"]["wouldStartNow"])
    text = explained.turnout("job", "explain", "ex_waits", "-o", "table").stdout
    for word in ("waits", "what would start it now", "nodes of ex", "runs job ex_runs", "where the time went"):
        assert word in text, text
    waiting = show(explained, "ex_waits")
    assert waiting["place_in_queue"] == "1" and waiting["waiting_for"]
    # What it says is true.
    explained.turnout("compute", "update", "-n", "ex", "--max-instances", "2")
    until(explained, "ex_waits", "Completed")
    explained.turnout("compute", "update", "-n", "ex", "--max-instances", "1")
    explained.turnout("job", "cancel", "-n", "ex_runs")
    until(explained, "ex_runs", "Canceled")


def test_explain_of_an_ended_job_tells_what_happened(explained, submit):
    submit("ex_fails", "echo why; exit 7")
    until(explained, "ex_fails", "Failed")
    told = as_json(explained.turnout("job", "explain", "ex_fails", "-o", "json"))
    assert told["cause"] == "user_code" and told["attempts"][0]["exitCode"] == 7 and "now" not in told
    assert "exit code 7" in explained.turnout("job", "explain", "ex_fails", "-o", "table").stdout
    assert show(explained, "ex_fails")["cause"] == "user_code"
    done = explained.turnout("job", "explain", "nobody", check=False)
    assert done.returncode == 3 and "nobody" in done.stderr


def test_the_ledger_adds_up(explained, submit):
    submit("ex_sum", "sleep 1")
    until(explained, "ex_sum", "Completed")
    ledger = as_json(explained.turnout("job", "ledger", "ex_sum", "-o", "json"))
    assert sum(ledger["micros"].values()) == ledger["totalMicros"]
    assert ledger["micros"]["user_code"] >= 900_000
    assert "your code" in explained.turnout("job", "ledger", "ex_sum", "-o", "table").stdout

    jobs = [job["name"] for job in as_json(explained.turnout("job", "list", "--all-results")) if job["status"] in TERMINAL]
    each = [as_json(explained.turnout("job", "ledger", name, "-o", "json")) for name in jobs]
    for totals in (as_json(explained.turnout("compute", "ledger", "ex")), as_json(explained.turnout("job", "ledger", "--experiment", "explained"))):
        assert totals["jobs"]["ended"] == len(jobs)
        for entry in ledger["micros"]:
            assert totals["micros"][entry] == sum(one["micros"][entry] for one in each), entry
        assert totals["cost"] > 0
    compute = as_json(explained.turnout("compute", "ledger", "ex"))
    nodes = compute["nodes"]
    assert sum(nodes["lifeMicros"].values()) == nodes["usedMicros"] + nodes["startingMicros"] + nodes["idleMicros"]
    assert nodes["lifeMicros"]["low_priority"] == 0 and nodes["live"] + nodes["gone"] >= 1
    text = explained.turnout("compute", "ledger", "ex", "-o", "table").stdout
    for word in ("idle", "used by jobs", "cost"):
        assert word in text, text


def test_a_price_must_be_a_number(explained):
    done = explained.turnout("compute", "create", "-n", "dear", "--type", "amlcompute", "--set", 'tags={"turnout.price_per_hour": "much"}', check=False)
    assert done.returncode == 2 and "0.25" in done.stderr


def test_events_are_told_and_followed(explained, submit):
    newest = explained.turnout("events", "--kind", "compute", "-o", "table").stdout
    assert "ex" in newest and "created" in newest
    import subprocess

    from conftest import PLAIN_ENV, TURNOUT

    follower = subprocess.Popen([TURNOUT, "events", "-f", "--compute", "ex", "-r", "1", "-o", "json"], stdout=subprocess.PIPE, text=True,
                                env={**PLAIN_ENV, "TURNOUT_DATA": str(explained.data)})
    timer = threading.Timer(180, follower.kill)
    timer.start()
    try:
        assert json.loads(follower.stdout.readline())["id"]
        submit("ex_events", "exit 3")
        seen = []
        for line in follower.stdout:
            event = json.loads(line)
            if event["name"] == "ex_events":
                seen.append(event["what"])
                if event["what"] == "ended":
                    break
        assert seen[0] == "submitted" and seen[-1] == "ended" and "leased" in seen
        assert event["cause"] == "user_code" and event["exit_code"] == 3
    finally:
        timer.cancel()
        follower.kill()
        follower.wait(60)
    assert "cause user_code" in explained.turnout("events", "--job", "ex_events", "-o", "table").stdout


def test_what_nobody_reads_ends(explained):
    import subprocess

    from conftest import PLAIN_ENV, TURNOUT

    # It finds out when it has something to write, or when it has waited for a while.
    follower = subprocess.Popen([TURNOUT, "events", "-f", "-o", "json"], stdout=subprocess.PIPE, text=True,
                                env={**PLAIN_ENV, "TURNOUT_DATA": str(explained.data)})
    assert json.loads(follower.stdout.readline())["id"]
    follower.stdout.close()
    try:
        assert follower.wait(60) == 141
    finally:
        follower.kill()
    with open("/dev/full", "w") as full:
        done = subprocess.run([TURNOUT, "compute", "list"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**PLAIN_ENV, "TURNOUT_DATA": str(explained.data)})
    assert done.returncode == 1 and "No space left" in done.stderr


COUNTS = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"


@pytest.mark.parametrize("kind", ["preempt", "kill-node", "partition"])
def test_a_drill_ends_with_a_verdict(explained, submit, kind):
    name = submit("ex_drill_" + kind.replace("-", "_"), COUNTS)
    until(explained, name, "Running")
    eventually("it has logged", lambda: as_json(explained.turnout("job", "explain", name))["micros"]["user_code"] > 2_000_000)
    more = ["--seconds", "4"] if kind == "partition" else []
    done = explained.turnout("drill", kind, name, *more, "-o", "json", check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "passed" and verdict["lost"] == {"log_bytes": 0, "metric_points": 0}
    assert verdict["known_before"]["log_bytes"] > 0
    assert verdict["after"]["attempt"] == (1 if kind == "partition" else 2)
    if kind == "preempt":
        assert show(explained, name)["preemptions"] == "1"
        assert as_json(explained.turnout("compute", "ledger", "ex"))["preemptions"] >= 1
    if kind == "kill-node":
        assert as_json(explained.turnout("job", "explain", name))["attempts"][0]["cause"] == "node_lost"
    explained.turnout("job", "cancel", "-n", name)
    until(explained, name, "Canceled")


def test_a_drill_looks_at_the_log_of_each_process(explained, submit):
    name = submit("ex_drill_processes", COUNTS, distribution={"type": "mpi", "process_count_per_instance": 2})
    until(explained, name, "Running")
    eventually("it has logged", lambda: as_json(explained.turnout("job", "explain", name))["micros"]["user_code"] > 2_000_000)
    verdict = as_json(explained.turnout("drill", "preempt", name, "-o", "json", check=False, timeout=400))
    assert verdict["verdict"] == "passed" and verdict["known_before"]["logs"] == 2 and verdict["known_before"]["log_bytes"] > 0
    explained.turnout("job", "cancel", "-n", name)
    until(explained, name, "Canceled")


def test_the_drills_of_a_pool_are_those_of_the_server_and_of_its_provider(explained):
    drills = {row["name"]: row["by"] for row in as_json(explained.turnout("drill", "list", "-o", "json"))}
    assert drills == {"preempt": "server", "partition": "server", "kill-node": "provider local", "fill-disk": "provider local"}
    done = explained.turnout("drill", "list", "--pool", "far", check=False)
    assert done.returncode == 3 and "there is no pool 'far'" in done.stderr


def test_a_node_says_what_it_is(explained, submit):
    name = submit("ex_facts", "sleep 600")
    until(explained, name, "Running")
    node = next(one for one in as_json(explained.turnout("compute", "list-nodes", "ex", "-o", "json")) if one.get("run_id") == name)
    assert node["cores"] == os.cpu_count() and node["memory_bytes"] > 1 << 28 and node["free_disk_bytes"] > 0
    assert node["host"] == os.uname().nodename and node["agent_protocol"] == 4
    assert any(version.startswith("3.") for version in node["pythons"]), node
    table = explained.turnout("compute", "list-nodes", "ex", "-o", "table").stdout
    assert "Cores" in table and "Memory" in table, table
    explained.turnout("job", "cancel", "-n", name)
    until(explained, name, "Canceled")


def test_a_drill_is_refused_where_it_must_not_be(explained, submit):
    submit("ex_over", "true")
    until(explained, "ex_over", "Completed")
    done = explained.turnout("drill", "fill-disk", "ex_over", check=False)
    assert done.returncode == 2 and "--yes" in done.stderr
    done = explained.turnout("drill", "preempt", "ex_over", check=False)
    assert done.returncode == 4 and "Running" in done.stderr
    name = submit("ex_full", "sleep 600")
    until(explained, name, "Running")
    done = explained.turnout("drill", "fill-disk", name, "--yes", check=False)
    assert done.returncode == 4 and "file system" in done.stderr, done.stdout + done.stderr
    assert show(explained, name)["status"] == "Running"
    explained.turnout("job", "cancel", "-n", name)


def test_too_little_memory_names_the_next_larger_size(server, tmp_path):
    """What it used, its limit and where there is more: on every screen, in the same words."""
    (tmp_path / "job.yml").write_text("""type: command
command: python3 -c "x = bytearray(3 << 30); print(len(x))"
environment: {image: "debian:12"}
resources: {instance_type: Standard_A1_v2}
""")
    done = server.turnout("job", "create", "-f", tmp_path / "job.yml", "--name", "too_large", "--stream", check=False)
    why = re.search(r"error: (the command used [\d.]+ GiB of memory, more than its limit of 2.0 GiB; the next larger size is STANDARD_A2_V2 with 4.0 GiB(?:; compute [^\n]*)?)\n", done.stderr)
    assert done.returncode != 0 and why, done.stderr
    shown = json.loads(server.turnout("job", "show", "-n", "too_large", "-o", "json").stdout)
    assert shown["cause"] == "out_of_memory" and shown["error"]["message"] == why[1]
    assert why[1] in server.turnout("job", "explain", "-n", "too_large", "-o", "table").stdout
    assert why[1] in server.turnout("events", "--job", "too_large", "-o", "table").stdout
    page = urllib.request.urlopen(shown["services"]["Studio"]["endpoint"].replace("?", "/plain?"), context=ssl.create_default_context(cafile=server.data / "ca.pem")).read().decode()
    page = html.unescape(page)
    assert why[1] in page and page.index(why[1]) < page.index("<h2>"), "the error comes first"


def test_a_command_that_forks_without_end_is_ended_with_a_cause(server, tmp_path):
    (tmp_path / "job.yml").write_text("""type: command
command: |
  python3 - <<'E'
  import os, time
  for i in range(6000):
      if os.fork() == 0: time.sleep(600)
  time.sleep(600)
  E
environment: {image: "debian:12"}
""")
    done = server.turnout("job", "create", "-f", tmp_path / "job.yml", "--name", "forks", "--stream", check=False)
    assert done.returncode != 0 and "more processes than a job may have" in done.stderr, done.stderr
    assert json.loads(server.turnout("job", "show", "-n", "forks", "-o", "json").stdout)["cause"] == "too_many_processes"
    (tmp_path / "job.yml").write_text("type: command\ncommand: echo on\nenvironment: {image: 'debian:12'}\n")
    assert "on" in server.turnout("job", "create", "-f", tmp_path / "job.yml", "--stream").stdout


def test_what_a_cancel_and_a_deletion_wait_for_is_on_the_line(explained, submit):
    explained.turnout("compute", "create", "-n", "going", "--type", "amlcompute", "--max-instances", "1")
    slow = "trap 'sleep 6; exit 0' TERM; while :; do sleep 0.1; done"
    name = submit("canceled_slowly", slow, "going")
    until(explained, name, "Running")
    code, screen = on_terminal(explained, "job", "cancel", name)
    assert code == 0 and "canceling canceled_slowly: its processes on node-" in screen and "were asked to stop" in screen, screen
    name = submit("deleted_slowly", slow, "going")
    until(explained, name, "Running")
    code, screen = on_terminal(explained, "compute", "delete", "-n", "going", "--yes")
    assert code == 0 and "deleting going: waits for node-" in screen and "(job deleted_slowly is being stopped)" in screen, screen
