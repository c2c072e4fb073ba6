"""People of one server: their tokens, their roles, and what they may do with the real clients."""
import json
import sqlite3
import subprocess
import sys

import pytest
import requests

from conftest import PLAIN_ENV, REFUSED, TURNOUT



def plain_url(server):
    return json.loads((server.data / "client.json").read_text())["plain_url"]


def get(server, path, bearer):
    return requests.get(plain_url(server) + path, headers={"Authorization": f"Bearer {bearer}"}, timeout=10)


def access_token(server, key):
    reply = requests.get(
        plain_url(server) + "/msi/token", params={"resource": "https://management.azure.com"}, headers={"X-IDENTITY-HEADER": key}, timeout=10,
    )
    return reply.json().get("access_token") if reply.status_code == 200 else None


def test_a_removed_admin_key_does_not_stay_valid(own_server):
    file = own_server.data / "admin.key"
    old = file.read_text().strip()
    derived = access_token(own_server, old)
    assert get(own_server, "/turnout/tokens", derived).status_code == 200
    file.unlink()
    own_server.kill()
    own_server.start()
    new = file.read_text().strip()
    assert new != old and file.stat().st_mode & 0o777 == 0o600
    assert get(own_server, "/turnout/tokens", old).status_code in REFUSED
    assert get(own_server, "/turnout/tokens", derived).status_code in REFUSED, "what was got by it, too"
    assert access_token(own_server, old) is None
    keys = json.loads(own_server.turnout("token", "list", "-o", "json").stdout)
    assert [(key["name"], key["user"]) for key in keys] == [("admin.key", "admin")]
    # With another start nothing changes.
    own_server.kill()
    own_server.start()
    assert file.read_text().strip() == new


def test_tokens_are_made_rotated_and_revoked_by_command(own_server):
    made = own_server.turnout("token", "create", "laptop", "--expires", "2h")
    secret = made.stdout.strip()
    assert secret.startswith("tko_") and "shown this once" in made.stderr
    assert get(own_server, "/turnout/tokens", secret).status_code == 200
    assert secret not in own_server.turnout("token", "list", "-o", "json").stdout
    database = b"".join(part.read_bytes() for part in own_server.data.glob("turnout.db*"))
    assert secret.encode() not in database
    refused = own_server.turnout("token", "create", "laptop", check=False)
    assert refused.returncode != 0 and "has a token 'laptop' already" in refused.stderr

    # Of the commands' own key the file follows.
    before = (own_server.data / "admin.key").read_text().strip()
    derived = access_token(own_server, before)
    own_server.turnout("token", "rotate", "admin.key")
    assert (own_server.data / "admin.key").read_text().strip() != before
    for gone in (before, derived):
        assert get(own_server, "/turnout/tokens", gone).status_code in REFUSED
    own_server.turnout("job", "list")

    derived = access_token(own_server, secret)
    own_server.turnout("token", "revoke", "laptop")
    for gone in (secret, derived):
        assert get(own_server, "/turnout/tokens", gone).status_code in REFUSED
    # The one that the command itself uses does not go by accident.
    asked = own_server.turnout("token", "revoke", "admin.key", check=False)
    assert asked.returncode != 0 and "turnout token rotate admin.key" in asked.stderr
    own_server.turnout("job", "list")


class Person:
    """Somebody on a machine of their own: a home, and a login with a token that the admin made."""

    def __init__(self, server, name, folder, role=None, *where):
        self.name = name
        self.home = folder / name
        self.home.mkdir()
        server.turnout("user", "add", name)
        if role:
            server.turnout("role", "assign", "--user", name, "--role", role, *where)
        key = self.home / "key"
        key.write_text(server.turnout("user", "token", name, "--expires", "1d").stdout)
        url = json.loads((server.data / "client.json").read_text())["url"]
        self.login = self("login", url, "--key-file", key, "--ca-file", server.data / "ca.pem", check=not role is None)

    def __call__(self, *arguments, check=True, timeout=120):
        env = {**PLAIN_ENV, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config"), "XDG_DATA_HOME": str(self.home / "data")}
        done = subprocess.run([TURNOUT, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env=env, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            pytest.fail(f"{self.name}: turnout {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def python(self, text, check=True):
        """What they do with the SDK, and with MLflow."""
        script = self.home / "script.py"
        script.write_text(SDK + text)
        (self.home / "config.json").write_text(self("config").stdout)
        return self("exec", "--", sys.executable, "-B", "-W", "ignore", script, check=check)


SDK = """
import pathlib, mlflow
from azure.ai.ml import MLClient, command, Input
from azure.ai.ml.entities import AmlCompute, Data, Environment
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
here = pathlib.Path(__file__).parent
ml = MLClient.from_config(DefaultAzureCredential(), path=here / "config.json")
def refused(do, *action):
    try:
        do()
    except HttpResponseError as error:
        text = str(error)
        assert error.status_code == 403 and "AuthorizationFailed" in text and "does not have authorization to perform action" in text, text
        assert all(word in text for word in action), text
    else:
        raise AssertionError(f"it was let in, where {action} was to be refused")
"""


def test_two_users_and_an_admin_share_a_server(own_server, tmp_path):
    own_server.turnout("compute", "create", "-n", "cluster", "--type", "amlcompute", "--size", "STANDARD_DS3_v2", "--max-instances", "1")
    own_server.turnout("workspace", "create", "-n", "secret")
    nobody = Person(own_server, "nobody", tmp_path)
    assert nobody.login.returncode != 0 and "does not have authorization to perform action" in nobody.login.stderr
    ann = Person(own_server, "ann", tmp_path, "AzureML Data Scientist")
    bob = Person(own_server, "bob", tmp_path, "Reader")
    assert "as ann" in ann.login.stderr
    status = json.loads(ann("status", check=False).stdout)
    assert status["login"]["user"] == "ann" and status["login"]["roles"] == ["AzureML Data Scientist on workspace default"], status

    # Ann works: assets, jobs, runs of her own; the cluster and the people are not hers.
    (ann.home / "table.csv").write_text("a,b\n1,2\n")
    done = ann.python("""
data = ml.data.create_or_update(Data(name="table", version="1", type="uri_file", path=str(here / "table.csv")))
job = ml.create_or_update(command(command="cat ${{inputs.table}}; echo made >${{outputs.out}}/file", compute="cluster", experiment_name="people",
    environment=Environment(image="docker.io/library/debian:12"), inputs={"table": Input(type="uri_file", path="azureml:table:1")},
    outputs={"out": {"type": "uri_folder"}}))
ml.jobs.stream(job.name)
assert ml.jobs.get(job.name).status == "Completed"
print("JOB", job.name)
mlflow.set_experiment("notes")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
    mlflow.log_text("text", "note.txt")
refused(lambda: ml.compute.begin_create_or_update(AmlCompute(name="more", size="STANDARD_DS3_v2", max_instances=1)).result(), "computes/write", "/workspaces/default")
refused(lambda: ml.compute.begin_delete("cluster").result(), "computes/delete")
refused(lambda: list(MLClient(DefaultAzureCredential(), ml.subscription_id, ml.resource_group_name, "secret").jobs.list()), "jobs/read", "/workspaces/secret")
assert [each.name for each in ml.workspaces.list()] == ["default"]
""")
    job = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("JOB ")][0]

    # Bob looks at all of it, with the same clients, and changes nothing.
    bob.python(f"""
job = ml.jobs.get("{job}")
assert job.creation_context.created_by == "ann", job.creation_context
ml.jobs.download("{job}", download_path=here / "all", all=True)
assert [p for p in (here / "all").rglob("file")][0].read_text() == "made\\n"
assert any("1,2" in p.read_text() for p in (here / "all").rglob("std_log.txt"))
assert ml.data.get("table", "1").creation_context is not None
client = mlflow.MlflowClient()
run = client.search_runs([client.get_experiment_by_name("notes").experiment_id])[0]
assert run.data.metrics["m"] == 1
assert mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt") == "text"
refused(lambda: ml.jobs.begin_cancel("{job}").result(), "jobs/cancel/action")
refused(lambda: ml.jobs.archive("{job}"), "jobs/write")
refused(lambda: ml.create_or_update(command(command="id", compute="cluster", environment=Environment(image="docker.io/library/debian:12"))), "write")
try:
    client.log_metric(run.info.run_id, "m", 2)
except Exception as error:
    assert "experiments/runs/write" in str(error), error
else:
    raise AssertionError("a reader logged a metric")
""")
    for command, action in (
        (("job", "delete", job, "--yes"), "jobs/delete"), (("user", "add", "eve"), "Turnout/users/write"),
        (("role", "assign", "--user", "bob", "--role", "Owner"), "roleAssignments/write"), (("pool", "update", "local", "--slots", "1"), "Turnout/pools/write"),
        (("prune", "jobs", "--yes"), "Turnout/space/prune/action")):
        refused = bob(*command, check=False)
        assert refused.returncode != 0 and action in refused.stderr and "client 'bob'" in refused.stderr, (command, refused.stderr)
    assert [each["name"] for each in json.loads(bob("job", "list", "--user", "ann", "-o", "json").stdout)] == [job]
    assert json.loads(bob("job", "list", "--mine", "-o", "json").stdout) == []
    assert [each["name"] for each in json.loads(ann("job", "list", "--mine", "-o", "json").stdout)] == [job]

    # What the admin takes back is gone at once, from programs that run, too.
    own_server.turnout("role", "remove", "--user", "bob", "--role", "Reader")
    assert "jobs/read" in bob("job", "show", job, check=False).stderr
    own_server.turnout("user", "disable", "ann")
    out = ann("job", "list", check=False)
    assert out.returncode != 0 and "user 'ann' is disabled" in out.stderr
    rows = json.loads(own_server.turnout("user", "list", "-o", "json").stdout)
    assert {row["name"]: row["state"] for row in rows} == {"admin": "enabled", "ann": "disabled", "bob": "enabled", "nobody": "enabled"}
    # It all stands after the server's end.
    own_server.kill()
    own_server.start()
    assert "is disabled" in ann("job", "list", check=False).stderr
    own_server.turnout("user", "enable", "ann")
    assert json.loads(ann("job", "show", job, "-o", "json").stdout)["status"] == "Completed"


def test_who_did_it_is_on_everything_and_in_the_audit(own_server, tmp_path):
    """Two users with the real SDK and MLflow: each sees their own name, the audit lists both, and tampering is found."""
    ann, bob = people = [Person(own_server, name, tmp_path, "Contributor") for name in ("ann", "bob")]
    for person in people:
        name = person.name
        (person.home / "table.csv").write_text("a,b\n1,2\n")
        person.python(f"""
from azure.ai.ml.entities import Model
def by(thing):
    context = thing.creation_context
    assert context.created_by == context.last_modified_by == "{name}", (type(thing), context)
    assert context.created_by_type == "User" and context.created_at, context
by(ml.data.create_or_update(Data(name="d-{name}", version="1", type="uri_file", path=str(here / "table.csv"))))
by(ml.data.get("d-{name}", "1"))
by(ml.environments.create_or_update(Environment(name="e-{name}", version="1", image="docker.io/library/debian:12")))
by(ml.models.create_or_update(Model(name="m-{name}", version="1", type="custom_model", path=str(here / "table.csv"))))
ml.compute.begin_create_or_update(AmlCompute(name="c-{name}", size="STANDARD_DS3_v2", max_instances=1)).result()
job = ml.create_or_update(command(command="sleep 600", compute="c-{name}", experiment_name="people", environment="e-{name}:1"))
by(ml.jobs.get(job.name))
mlflow.set_experiment("notes")
with mlflow.start_run() as run:
    for step in range(20):
        mlflow.log_metric("m", step, step=step)
info = mlflow.MlflowClient().get_run(run.info.run_id)
assert info.info.user_id == info.data.tags["mlflow.user"] == "{name}", info
""")
    jobs = {person.name: json.loads(person("job", "list", "--mine", "-o", "json").stdout) for person in people}
    assert all(len(found) == 1 for found in jobs.values())
    # Bob cancels what is Ann's: the events say so.
    job = jobs["ann"][0]["name"]
    bob("job", "cancel", job)
    bob("job", "cancel", jobs["bob"][0]["name"])
    events = json.loads(own_server.turnout("events", "--job", job, "-o", "json").stdout)
    told = {(event["what"], event.get("by")) for event in events}
    assert ("submitted", "ann") in told and told & {("canceling", "bob"), ("ended", "bob")}, told

    # The audit: for Owners, one record for each write, one for all metrics of a run.
    refused = ann("audit", check=False)
    assert refused.returncode != 0 and "Turnout/audit/read" in refused.stderr
    lines = own_server.turnout("audit", "--since", "1d", "-o", "json").stdout.splitlines()
    acts = [json.loads(line) for line in lines]
    for name in ("ann", "bob"):
        did = [act for act in acts if act["user"] == name]
        ends = {act["action"].split("workspaces/")[-1] for act in did}
        assert {"data/write", "environments/write", "models/write", "computes/write", "jobs/write", "experiments/runs/write"} <= ends, ends
        assert 1 <= len([act for act in did if act["action"].endswith("experiments/runs/write")]) <= 4, did
        assert all(act["from"] for act in did)
    assert any(act["user"] == "ann" and act["status"] == 403 and act["action"] == "Turnout/audit/read" for act in acts)
    assert any(act["user"] == "bob" and act["path"].endswith(f"/jobs/{job}/cancel") for act in acts)
    assert any(act.get("about", "").startswith("role Contributor for user ann on ") for act in acts)
    text = "\n".join(lines)
    assert "sig=" not in text and "tko_" not in text and "?" not in "".join(act.get("path", "") for act in acts)
    only = own_server.turnout("audit", "--since", "1d", "--user", "ann", "--action", "jobs/write", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["user"] for line in only] == ["ann"]
    assert "PUT /subscriptions" in own_server.turnout("audit", "--user", "ann", "-o", "table").stdout

    # It is whole; an export is, too; and each change is found.
    number = next(act["n"] for act in acts if act["user"] == "bob")
    export = tmp_path / "audit.jsonl"
    assert "is whole" in own_server.turnout("audit", "check").stderr
    export.write_text(text + "\n")
    assert "is whole" in own_server.turnout("audit", "check", "--file", export).stderr
    export.write_text(text.replace('"user":"bob"', '"user":"eve"', 1) + "\n")
    broken = own_server.turnout("audit", "check", "--file", export, check=False)
    assert broken.returncode != 0 and f"record {number} was changed" in broken.stderr, broken.stderr
    export.write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    broken = own_server.turnout("audit", "check", "--file", export, check=False)
    assert broken.returncode != 0 and f"record {acts[5]['n']} is missing" in broken.stderr, broken.stderr
    own_server.kill()
    own_server.start()
    assert "is whole" in own_server.turnout("audit", "check").stderr
    own_server.stop()
    database = sqlite3.connect(own_server.data / "turnout.db")
    with database:
        database.execute("DELETE FROM audit WHERE key = ?", (f"{number:016x}",))
    database.close()
    own_server.start()
    broken = own_server.turnout("audit", "check", check=False)
    assert broken.returncode != 0 and f"record {number} is missing" in broken.stderr, broken.stderr
