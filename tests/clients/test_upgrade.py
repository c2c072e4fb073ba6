"""`git pull && ./quickstart` on a server that runs: what quickstart calls after the build."""
import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import PLAIN_ENV, ROOT, TURNOUT, Server, eventually


@pytest.fixture
def data(tmp_path_factory):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    yield path / "data"
    subprocess.run([TURNOUT, "down", "--all", "--yes", "--data", str(path / "data")], env=PLAIN_ENV, stdin=subprocess.DEVNULL,
                   capture_output=True, timeout=60)
    shutil.rmtree(path, ignore_errors=True)


def test_another_build_takes_over_with_the_same_options_and_the_job_goes_on(data, tmp_path):
    earlier = tmp_path / "turnout"
    shutil.copy(TURNOUT, earlier)
    server = Server(data)

    def up(program, *more):
        done = subprocess.run([program, "up", "--detach", "--data", str(data), *more], env=PLAIN_ENV, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status():
        return json.loads(server.turnout("status", "-o", "json").stdout)

    up(earlier, "--slots", "3", "--fetch-limit", "7", "--listen", "127.0.0.1:0")
    before = status()
    server.turnout("compute", "create", "-n", "cc", "--type", "amlcompute", "--size", "STANDARD_DS3_v2", "--max-instances", "1")
    (tmp_path / "job.yml").write_text(
        "command: until [ -e " + str(tmp_path / "go") + " ]; do sleep 0.1; done; echo went on\n"
        "environment: {image: debian}\ncompute: azureml:cc\n")
    name = server.turnout("job", "create", "-f", tmp_path / "job.yml", "--query", "name", "-o", "tsv").stdout.strip()
    eventually("the job runs", lambda: server.turnout("job", "show", name, "--query", "status", "-o", "tsv").stdout.strip() == "Running")

    told = up(TURNOUT)  # says so, and leaves it alone
    assert "already up" in told and "another build" in told and "--restart" in told
    assert status()["pid"] == before["pid"]

    told = up(TURNOUT, "--restart")
    after = status()
    assert "restarted with this one" in told and "running jobs go on" in told
    assert after["pid"] != before["pid"] and after["url"] == before["url"]
    assert os.readlink(f"/proc/{after['pid']}/exe") == os.path.realpath(TURNOUT)
    assert json.loads((data / "server.json").read_text())["slots"] == 3
    assert "--fetch-limit\0007\0" in open(f"/proc/{after['pid']}/cmdline").read()

    assert "already up" in up(TURNOUT, "--restart"), "the same build is not restarted"
    assert status()["pid"] == after["pid"]
    (tmp_path / "go").touch()
    server.turnout("job", "stream", name)
    assert server.turnout("job", "show", name, "--query", "status", "-o", "tsv").stdout.strip() == "Completed"


def test_the_version_names_the_commit():
    """Of the source tree that it was built from; also of a tarball that git made."""
    told = subprocess.run([TURNOUT, "version"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.fullmatch(r"turnout \d+\.\d+\.\d+ \([0-9a-f]{7,40}(-dirty)?\)\n", told), told
    commit = subprocess.run(["git", "archive", "HEAD", "src/app/commit.txt"], cwd=ROOT, capture_output=True, check=True).stdout
    assert subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True).stdout.strip() in commit
