"""Quotas of users and workspaces, and lock-out on guessing, through the real command line and the SDK."""
import json

import pytest

from conftest import eventually
from test_people import Person, get, plain_url

JOB = """\
command: {command}
environment:
  image: debian:12
compute: azureml:shared
experiment_name: quotas
"""


@pytest.fixture
def people(own_server, tmp_path):
    own_server.turnout("compute", "create", "-n", "shared", "--type", "amlcompute", "--size", "STANDARD_DS3_v2", "--max-instances", "2")
    ada = Person(own_server, "ada", tmp_path, "AzureML Data Scientist")
    bob = Person(own_server, "bob", tmp_path, "AzureML Data Scientist")
    return own_server, ada, bob


def submit(person, name, command="sleep 600", check=True):
    file = person.home / f"{name}.yml"
    file.write_text(JOB.format(command=json.dumps(command)))
    return person("job", "create", "-f", file, "-n", name, check=check)


def status(person, name):
    return json.loads(person("job", "show", "-n", name, "-o", "json").stdout)["status"]


def until(person, name, *statuses):
    return eventually(f"job {name} is {statuses}", lambda: status(person, name) in statuses, 120, 0.3)


def rows(person):
    return json.loads(person("quota", "list", "-o", "json").stdout)


def of(server, user):
    return next(row for row in rows(server.turnout) if row.get("user") == user)


def test_who_has_all_they_may_waits_and_others_go_past(people):
    server, ada, bob = people
    server.turnout("quota", "set", "--user", "ada", "--running", "1", "--queued", "2")
    submit(ada, "a1")
    until(ada, "a1", "Running")
    submit(ada, "a2")
    why = json.loads(ada("job", "explain", "a2", "-o", "json").stdout)["now"]
    assert why["text"] == "waits for your quota: 1 of 1 running jobs of user ada", why
    assert why["waitsFor"] == "user_quota", why
    # Bob's job came later, and goes past.
    submit(bob, "b1")
    until(bob, "b1", "Running")
    assert status(ada, "a2") == "Queued"

    submit(ada, "a3")
    refused = submit(ada, "a4", check=False)
    assert refused.returncode != 0 and "user ada has 2 of 2 queued jobs" in refused.stderr and "turnout quota set --user ada --queued" in refused.stderr, refused.stderr
    # The SDK says the same.
    ada.python("""
from azure.core.exceptions import HttpResponseError
try:
    ml.create_or_update(command(command="true", compute="shared", environment=Environment(image="docker.io/library/debian:12")))
except HttpResponseError as error:
    assert error.status_code == 409 and "QuotaExceeded" in str(error) and "2 of 2 queued jobs" in str(error), error
else:
    raise AssertionError("it was let in")
""")
    used = of(server, "ada")["used"]
    assert (used["running_jobs"], used["queued_jobs"], used["slots"]) == (1, 2, 1), used
    table = server.turnout("quota", "list", "-o", "table").stdout
    assert "user ada" in table and "1 / 1" in table and "2 / 2" in table, table

    # It holds over a restart, and starts when there is room again.
    server.kill()
    server.start()
    assert of(server, "ada")["used"]["queued_jobs"] == 2
    assert status(ada, "a2") == "Queued"
    ada("job", "cancel", "-n", "a1")
    until(ada, "a2", "Running")
    # And at once when there may be more.
    bob("job", "cancel", "-n", "b1")
    until(bob, "b1", "Canceled")
    assert status(ada, "a3") == "Queued"
    server.turnout("quota", "set", "--user", "ada", "--running", "2")
    until(ada, "a3", "Running")

    # They see their own, and change none.
    assert [row.get("user") for row in rows(ada) if "user" in row] == ["ada"]
    denied = ada("quota", "set", "--user", "ada", "--running", "100", check=False)
    assert denied.returncode != 0 and "does not have authorization to perform action 'Turnout/quotas/write'" in denied.stderr
    server.turnout("quota", "remove", "--user", "ada")
    assert "running_jobs" not in of(server, "ada")["holds"]
    for name in ("a2", "a3"):
        ada("job", "cancel", "-n", name)


def test_a_sweep_is_not_refused_and_its_trials_wait(people):
    server, ada, _ = people
    server.turnout("quota", "set", "--default", "--running", "1", "--queued", "1")
    file = ada.home / "sweep.yml"
    file.write_text("""\
type: sweep
trial:
  command: sleep 0.2 && echo ${{search_space.n}}
  environment: {image: debian:12}
inputs: {}
search_space:
  n: {type: choice, values: [1, 2, 3, 4, 5, 6]}
sampling_algorithm: grid
objective: {goal: minimize, primary_metric: loss}
limits: {max_total_trials: 6, max_concurrent_trials: 4}
compute: azureml:shared
experiment_name: quotas
""")
    ada("job", "create", "-f", file, "-n", "wide")
    most = 0

    def over():
        nonlocal most
        most = max(most, of(server, "ada")["used"]["running_jobs"])
        return status(ada, "wide") in ("Completed", "Failed", "Canceled")

    eventually("the sweep has ended", over, 240, 0.1)
    assert status(ada, "wide") == "Completed"
    assert most == 1


def test_what_is_stored_is_refused_beyond_the_quota(people):
    server, ada, bob = people
    (ada.home / "table.csv").write_bytes(b"x" * 700_000)
    (ada.home / "more.csv").write_bytes(b"y" * 700_000)
    server.turnout("quota", "set", "--user", "ada", "--stored", "1MB")
    ada("data", "create", "-n", "table", "-v", "1", "--type", "uri_file", "--path", ada.home / "table.csv")
    refused = ada("data", "create", "-n", "more", "-v", "1", "--type", "uri_file", "--path", ada.home / "more.csv", check=False)
    assert refused.returncode != 0 and "user ada has" in refused.stderr and "stored" in refused.stderr and "--stored" in refused.stderr, refused.stderr
    ada.python("""
from azure.core.exceptions import HttpResponseError
from azure.ai.ml.exceptions import MlException
try:
    ml.data.create_or_update(Data(name="more", version="1", type="uri_file", path=str(here / "more.csv")))
except (HttpResponseError, MlException) as error:
    assert "QuotaExceeded" in str(error) or "stored" in str(error), error
else:
    raise AssertionError("it was let in")
""")
    assert 700_000 <= of(server, "ada")["used"]["stored_bytes"] < 1_000_000
    (bob.home / "more.csv").write_bytes(b"y" * 700_000)
    bob("data", "create", "-n", "more", "-v", "1", "--type", "uri_file", "--path", bob.home / "more.csv")
    server.turnout("quota", "set", "--user", "ada", "--stored", "3MB")
    ada("data", "create", "-n", "more", "-v", "2", "--type", "uri_file", "--path", ada.home / "more.csv")


def test_who_guesses_is_locked_out_and_who_has_a_good_token_here_goes_on(people):
    server, ada, bob = people
    token = server.turnout("user", "token", "ada", "--token-name", "guarded").stdout.strip()
    for i in range(12):
        last = get(server, "/turnout/me", f"tko_guess{i}")
    assert last.status_code == 429 and last.json()["error"]["code"] == "TooManyRequests" and int(last.headers["Retry-After"]) >= 1, last.text
    assert get(server, "/turnout/me", token).status_code == 200
    bob("job", "list")
