"""`turnout verify`: probe jobs on each compute, and what they prove."""
import json

PROBES = ["snapshot", "environment", "input", "output", "metric", "log", "cancel", "restart"]


def test_each_target_is_measured(module_server):
    module_server.turnout("compute", "create", "-n", "cc", "--type", "amlcompute", "--max-instances", "1", "--idle-time-before-scale-down", "1")
    done = module_server.turnout("verify", "-o", "json", "--timeout", "120")
    rows = {row["target"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"serverless", "cc"}
    for row in rows.values():
        assert [row[probe] for probe in PROBES] == ["yes"] * len(PROBES), (row, done.stderr)
        assert row["verdict"] == "keeps what it claims" and row["restart_after"] == "kill-node"
        assert 0 < row["start_seconds"] <= row["job_seconds"] and row["cancel_seconds"] > 0 and row["restart_seconds"] > 0
    assert rows["cc"]["type"] == "AmlCompute"
    statuses = {job["display_name"]: job["status"] for job in json.loads(module_server.turnout("job", "list", "--experiment", "turnout-verify", "-o", "json").stdout)}
    assert statuses == {"verify-all": "Completed", "verify-cancel": "Canceled", "verify-restart": "Canceled"}


def test_one_that_breaks_its_claim_ends_with_1_and_says_what(module_server):
    module_server.turnout("compute", "create", "-n", "none", "--type", "amlcompute", "--max-instances", "0")
    done = module_server.turnout("verify", "--targets", "none", "-o", "json", "--timeout", "2", check=False)
    (row,) = json.loads(done.stdout)
    assert done.returncode == 1 and row["verdict"] == "breaks what it claims", done.stderr
    assert row["log"] == row["cancel"] == row["restart"] == "no"
    assert "is Queued after 2 s, and was to be Running" in row["why"]["cancel"], row
    wrong = module_server.turnout("verify", "--targets", "nonee", check=False)
    assert wrong.returncode == 3 and "did you mean 'none'?" in wrong.stderr
    assert json.loads(module_server.turnout("job", "list", "--status", "Queued", "-o", "json").stdout) == []
