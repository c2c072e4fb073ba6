"""Pools that come, change and go while the server runs; and what each type of compute can do."""
import json
import os
import threading
import urllib.error
import urllib.request

import pytest
from conftest import eventually
from hosts import Hosts, user
from test_people import Person

FILE = """\
# Our machines.
pools:
  local: {slots: 2}   # this one

  # for long ones
  night:
    slots: 1
    lost_node_time: 3600
# ask ml-ops before you change this
"""


def rows(server, *arguments):
    return {row["name"]: row for row in json.loads(server.turnout(*arguments, "-o", "json").stdout)}


def pools(server):
    return rows(server, "pool", "list")


def job(server, compute, command="'true'"):
    text = f"command: {command}\nenvironment: {{image: x}}\ncompute: {compute}\n"
    return json.loads(server.turnout("job", "create", "-f", "-", input=text).stdout)["name"]


def status(server, name):
    return json.loads(server.turnout("job", "show", name).stdout)["status"]


def pid(server):
    return json.loads(server.turnout("status", "-o", "json").stdout)["pid"]


def test_one_is_added_used_and_removed_without_a_restart(own_server):
    file = own_server.data / "pools.yaml"
    before = pid(own_server)
    file.write_text(FILE)
    assert own_server.turnout("pool", "reload").stderr == ""
    own_server.turnout("compute", "create", "-n", "here", "--type", "amlcompute", "--location", "night")
    runs = job(own_server, "here", "sleep 600")
    eventually("it runs", lambda: status(own_server, runs) == "Running")

    added = own_server.turnout("pool", "add", "extra", "--slots", "2", "--set", "price_per_hour.dedicated=0.5", "-o", "json")
    assert json.loads(added.stdout)["slots"] == 2 and json.loads(added.stdout)["state"] == "ready"
    assert file.read_text() == FILE + "  extra:\n    slots: 2\n    price_per_hour:\n      dedicated: 0.5\n"
    # The same again is fine, another one is not.
    again = own_server.turnout("pool", "add", "extra", "--slots", "2", "--set", "price_per_hour.dedicated=0.5")
    assert "was there already" in again.stderr
    other = own_server.turnout("pool", "add", "extra", "--slots", "3", check=False)
    assert other.returncode == 4 and f"{file}:10:3: pools.extra: the pool is there already and is another one" in other.stderr, other.stderr

    own_server.turnout("compute", "create", "-n", "there", "--type", "amlcompute", "--location", "extra", "--max-instances", "2")
    done = job(own_server, "there", "echo $((6*7))")
    eventually("a job has run there", lambda: status(own_server, done) == "Completed")
    assert pools(own_server)["extra"]["computes"] == 1

    refused = own_server.turnout("pool", "remove", "extra", check=False)
    assert refused.returncode == 4 and "pool 'extra' cannot go while computes have their nodes there: 'there' of workspace 'default'" in refused.stderr, refused.stderr
    assert "extra" in file.read_text() and "extra" in pools(own_server)
    own_server.turnout("compute", "delete", "there")
    eventually("the compute is gone", lambda: pools(own_server)["extra"]["computes"] == 0)
    assert "is gone" in own_server.turnout("pool", "remove", "extra").stderr
    assert file.read_text() == FILE
    assert set(pools(own_server)) == {"local", "night"}
    gone = own_server.turnout("pool", "remove", "extra", check=False)
    assert gone.returncode == 3 and "there is local, night" in gone.stderr, gone.stderr
    refused = own_server.turnout("pool", "remove", "local", check=False)
    assert refused.returncode == 2 and "always there" in refused.stderr

    assert pid(own_server) == before and status(own_server, runs) == "Running"
    actions = [json.loads(line) for line in own_server.turnout("audit", "-o", "json").stdout.splitlines()]
    told = [(one["method"], one["status"]) for one in actions if one["action"] == "Turnout/pools/describe/action"]
    # What was refused in the same way within a minute has one record.
    assert told == [("PUT", 201), ("PUT", 200), ("PUT", 409), ("DELETE", 200), ("DELETE", 404), ("DELETE", 400)], told


def test_a_file_with_a_mistake_changes_nothing_and_is_told(own_server):
    file = own_server.data / "pools.yaml"
    file.write_text(FILE)
    own_server.turnout("pool", "reload")
    own_server.turnout("compute", "create", "-n", "here", "--type", "amlcompute", "--location", "night")
    was = pools(own_server)
    file.write_text(FILE.replace("lost_node_time", "lost_nod_time").replace("slots: 1", "slots: 7"))
    place = f"{file}:8:5: pools.night.lost_nod_time: is not a key of a pool, did you mean 'lost_node_time'?"
    for command in ("reload", "check"):
        done = own_server.turnout("pool", command, check=False)
        assert done.returncode == 2 and place in done.stderr, done.stderr
    assert place in own_server.turnout("pool", "list").stderr
    assert place in own_server.log.read_text() and "nothing changes" in own_server.log.read_text()
    added = own_server.turnout("pool", "add", "extra", "--slots", "1", check=False)
    assert added.returncode == 2 and place in added.stderr and "nothing was written" in added.stderr, added.stderr
    assert pools(own_server) == was and "extra" not in file.read_text()

    # What is right is told before it is taken.
    file.write_text(FILE.replace("slots: 1", "slots: 7") + "  late: {slots: 1}\n")
    checked = rows(own_server, "pool", "check")
    assert {name: row["in_the_file"] for name, row in checked.items()} == {"local": "as it is", "night": "changed", "late": "new"}
    assert "`turnout pool reload` takes it" in own_server.turnout("pool", "list").stderr
    changes = rows(own_server, "pool", "reload")
    assert {name: row["change"] for name, row in changes.items()} == {"night": "changed", "late": "new"}
    assert pools(own_server)["night"]["slots"] == 7
    assert own_server.turnout("pool", "reload").stderr == "nothing is different\n"

    # One that computes are in does not go by the file either, and with it nothing else.
    file.write_text("pools:\n  other: {slots: 1}\n")
    refused = own_server.turnout("pool", "reload", check=False)
    assert refused.returncode == 4 and "pool 'night' cannot go while computes have their nodes there: 'here'" in refused.stderr
    assert set(pools(own_server)) == {"local", "night", "late"}
    # At a start it has to: its computes wait for it, and a reload brings it back.
    own_server.kill()
    own_server.start()
    assert pools(own_server)["night"]["state"] == "missing" and pools(own_server)["other"]["state"] == "ready"
    file.write_text(FILE)
    own_server.turnout("pool", "reload")
    assert pools(own_server)["night"]["state"] == "ready" and "missing_pools" not in json.loads(own_server.turnout("status", "-o", "json").stdout)
    done = job(own_server, "here")
    eventually("it runs again", lambda: status(own_server, done) == "Completed")


@pytest.mark.parametrize("arguments, told", [
    (("big", "--provider", "shh"), "pools.big.provider: expected local"),
    (("big", "--slots", "0"), "pools.big.slots: expected a whole number from 1 to 10,000"),
    (("big",), "pools.big: expected 'slots'"),
    (("big", "--slots", "1", "--set", "settings.pyton=/x"), "pools.big.settings.pyton: "),
    (("big", "--slots", "1", "--set", "isolation=workspace_uid"), "workspace_uid"),
    (("Big", "--slots", "1"), "pools.Big: expected a pool's name"),
    (("lab", "--provider", "ssh"), "pools.lab: expected 'settings' with 'hosts'"),
])
def test_what_is_wrong_with_a_new_one_names_file_line_and_key(module_server, arguments, told):
    file = module_server.data / "pools.yaml"
    done = module_server.turnout("pool", "add", *arguments, check=False)
    assert done.returncode in (2, 4) and told in done.stderr and str(file) in done.stderr, done.stderr
    assert not file.exists() and set(pools(module_server)) == {"local"}


def test_many_at_once_and_a_server_that_dies_leave_a_whole_file(own_server):
    # A link stays one, and its file keeps its mode.
    real = own_server.data.parent / "kept.yaml"
    real.write_text("# kept elsewhere\n")
    real.chmod(0o640)
    file = own_server.data / "pools.yaml"
    file.symlink_to(real)
    names = [f"p{number}" for number in range(6)]
    threads = [threading.Thread(target=own_server.turnout, args=("pool", "add", name, "--slots", "1")) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(pools(own_server)) == {"local", *names}
    assert file.is_symlink() and real.stat().st_mode & 0o777 == 0o640 and real.read_text().startswith("# kept elsewhere\n")
    own_server.turnout("pool", "remove", "p3")
    own_server.turnout("pool", "update", "p1", "--slots", "4")
    own_server.kill()
    own_server.start()
    now = pools(own_server)
    assert set(now) == {"local", *names} - {"p3"} and now["p1"]["slots"] == 4
    assert not list(own_server.data.glob("*.tmp*"))
    # The file says another number now: that is newer.
    own_server.turnout("pool", "remove", "p1")
    own_server.turnout("pool", "add", "p1", "--slots", "2")
    assert pools(own_server)["p1"]["slots"] == 2


def test_what_was_answered_outlives_a_server_that_is_killed_at_any_moment(own_server):
    file = own_server.data / "pools.yaml"
    file.write_text(FILE)
    own_server.turnout("pool", "reload")
    there = {"local", "night"}
    for life in range(4):
        answered, begun = set(), set()

        def keep_adding():
            for number in range(40):
                name = f"p{life}-{number}"
                begun.add(name)
                if own_server.turnout("pool", "add", name, "--slots", "1", check=False).returncode != 0:
                    return
                answered.add(name)

        adding = threading.Thread(target=keep_adding)
        adding.start()
        eventually("some were added", lambda: len(answered) > life, interval=0.003)
        own_server.kill()
        adding.join()
        assert file.read_text().startswith(FILE)
        own_server.start()
        now = set(pools(own_server))
        assert there | answered <= now <= there | begun, (there | answered) - now
        there = now


def test_check_goes_to_this_machine_too(module_server):
    (local,) = json.loads(module_server.turnout("pool", "check", "local", "-o", "json").stdout)
    (here,) = local["hosts"]
    assert here["reachable"] and here["agent_starts"] and here["cores"] == os.cpu_count(), here
    assert here["memory_bytes"] > 1 << 28 and here["free_bytes"] > 0 and here["python"].startswith("3."), here
    assert "container_engine" in here and here["system"].startswith("Linux ")
    assert "pool 'local': this machine works: Linux " in module_server.turnout("pool", "check").stderr
    done = module_server.turnout("pool", "check", "lokal", check=False)
    assert done.returncode == 3 and "did you mean 'local'?" in done.stderr


def test_machines_by_ssh_are_added_verified_and_removed_while_the_server_runs(own_server):
    hosts = Hosts(2)
    try:
        places = lambda some: "settings.hosts=[" + ", ".join(f"{{address: 127.0.0.1, port: {host.port}, folder: {host.folder}}}" for host in some) + "]"
        settings = (f"settings.user={user()}", f"settings.key={hosts.root}/id")
        added = own_server.turnout("pool", "add", "lab", "--provider", "ssh", "--set", *settings, places(hosts.all[:1]), "-o", "json")
        assert json.loads(added.stdout)["slots"] == 1
        (lab,) = json.loads(own_server.turnout("pool", "check", "lab", "-o", "json").stdout)
        assert lab["in_the_file"] == "as it is" and lab["hosts"][0]["reachable"] and lab["hosts"][0]["agent_starts"], lab
        own_server.turnout("compute", "create", "-n", "far", "--type", "amlcompute", "--location", "lab", "--size", "STANDARD_A1_v2", "--max-instances", "2")
        done = own_server.turnout("verify", "--targets", "far", "-o", "json")
        (row,) = json.loads(done.stdout)
        assert row["verdict"] == "keeps what it claims" and row["restart_after"] == "preempt", (row, done.stderr)

        # A host more, by the file: a job that waits for it gets it.
        first, second = job(own_server, "far", "sleep 600"), job(own_server, "far", "sleep 600")
        eventually("one runs", lambda: "Running" in (status(own_server, first), status(own_server, second)))
        eventually("the other one waits for a slot",
               lambda: any("all 1 are in use" in own_server.turnout("job", "explain", one, "-o", "table").stdout for one in (first, second)))
        file = own_server.data / "pools.yaml"
        one = f"        - address: 127.0.0.1\n          port: {hosts.all[0].port}\n          folder: {hosts.all[0].folder}\n"
        assert one in file.read_text(), file.read_text()
        file.write_text(file.read_text().replace(one, one + one.replace(str(hosts.all[0].port), str(hosts.all[1].port)).replace(str(hosts.all[0].folder), str(hosts.all[1].folder))))
        own_server.turnout("pool", "reload")
        eventually("both run", lambda: status(own_server, first) == status(own_server, second) == "Running")
        assert all(host.nodes() for host in hosts.all)

        own_server.turnout("job", "cancel", first, second)
        own_server.turnout("compute", "delete", "far")
        eventually("the compute is gone", lambda: pools(own_server)["lab"]["computes"] == 0)
        own_server.turnout("pool", "remove", "lab")
        assert set(pools(own_server)) == {"local"}
    finally:
        hosts.end()


def test_what_describes_pools_is_for_owners(own_server, tmp_path):
    ann = Person(own_server, "ann", tmp_path, "Contributor", "--server")
    ann("pool", "reload")
    ann("pool", "update", "local", "--slots", "3")
    for arguments in (("add", "mine", "--slots", "1"), ("remove", "mine")):
        done = ann("pool", *arguments, check=False)
        assert done.returncode == 6 and "Turnout/pools/describe/action" in done.stderr, done.stderr
    assert not (own_server.data / "pools.yaml").exists()


# ---- what each type of compute can do

def test_the_matrix_is_shown_and_is_what_is_enforced(module_server):
    table = {row["type"]: row for row in json.loads(module_server.turnout("compute", "capabilities", "-o", "json").stdout)}
    seed = {  # the document that Turnout was begun with: GPU, tuning, model selection, pipelines
        "local": "maybe no yes no", "VirtualMachine": "yes yes yes yes", "AmlCompute": "yes yes yes yes",
        "containerinstance": "no no no no", "HDInsight": "no no no yes"}
    for name, said in seed.items():
        azure = table[name]["azure"]
        assert " ".join(azure[one] for one in ("gpu", "sweep", "automl", "pipeline")) == said, name
    assert table["AKS"]["azure"]["train"] == "no" and table["Databricks"]["azure"]["attach"] == "yes"
    assert (table["AmlCompute"]["create"], table["AmlCompute"]["attach"], table["AmlCompute"]["automl"]) == ("yes", "no", "yes")
    shown = module_server.turnout("compute", "capabilities", "-o", "table").stdout
    assert all(name in shown for name in table)

    refused = lambda *arguments, **more: module_server.turnout(*arguments, check=False, **more)
    done = refused("compute", "create", "-f", "-", input="name: vm\ntype: virtualmachine\nresource_id: 10.0.0.1\n")
    assert done.returncode == 2 and "attached, not made" in done.stderr, done.stderr
    done = refused("compute", "attach", "-f", "-", input="name: cc\ntype: amlcompute\n")
    assert done.returncode == 2 and "made, not attached" in done.stderr, done.stderr
    done = refused("compute", "create", "-n", "hd", "--type", "hdinsight")
    assert done.returncode == 2 and "'hdinsight' does not exist here yet" in done.stderr, done.stderr

    sweep = """\
type: sweep
trial:
  command: echo ${{search_space.x}}
  environment: {image: x}
search_space: {x: {type: choice, values: [1]}}
sampling_algorithm: random
objective: {primary_metric: m, goal: maximize}
limits: {max_total_trials: 1}
compute: containerinstance
"""
    done = refused("job", "create", "-f", "-", input=sweep)
    # Ours have sweeps, which Azure's have not; this server has no pool for them.
    assert table["containerinstance"]["sweep"] == "yes" and done.returncode == 2 and "pool of containers" in done.stderr, done.stderr


def test_types_are_refused_by_rest_with_the_reason(module_server):
    url = json.loads(module_server.turnout("status", "-o", "json").stdout)["plain_url"]
    key = (module_server.data / "admin.key").read_text().strip()
    config = module_server.config()
    path = f"/subscriptions/{config['subscription_id']}/resourceGroups/{config['resource_group']}/providers/Microsoft.MachineLearningServices/workspaces/{config['workspace_name']}/computes/x1"

    def put(kind, resource=None, **inner):
        body = {"location": "westus", "properties": {"computeType": kind, "resourceId": resource, "properties": inner}}
        request = urllib.request.Request(f"{url}{path}?api-version=2023-08-01-preview", json.dumps(body).encode(), method="PUT",
                                         headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=60)
        said = json.loads(error.value.read())["error"]
        assert error.value.code == 400 and said["code"] == "ComputeTypeNotSupported", said
        return said["message"]

    assert "HDInsight cluster cannot be created within a workspace" in put("HDInsight")
    assert "'HDInsight' cannot be attached here yet" in put("HDInsight", "/x/hdi", address="a.azurehdinsight.net")
    assert "made in Databricks and attached" in put("Databricks")
    assert "made, not attached" in put("AmlCompute", "/x/clusters/one", vmSize="STANDARD_DS3_v2")
    assert "'DataFactory' cannot be created here yet; this server creates AmlCompute or ComputeInstance and attaches VirtualMachine" in put("DataFactory")
    assert "neither created nor attached" in put("containerinstance", "/x/aci")
    assert "did you mean 'Kubernetes'?" in put("Kubernets")
