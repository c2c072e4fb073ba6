"""`turnout backup` and `restore`; and what a server says whose database is not whole."""
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import PLAIN_ENV, TURNOUT, Server, eventually

JOB = """command: head -c 300000 /dev/zero | tr '\\0' a > outputs/big.bin; echo small > outputs/small.txt; echo said
environment: {image: debian:12}
"""


def run_job(server, folder, text=JOB):
    folder.mkdir(exist_ok=True)
    (folder / "job.yml").write_text(text)
    name = server.turnout("job", "create", "-f", folder / "job.yml", "-o", "tsv", "--query", "name").stdout.strip()
    server.turnout("job", "stream", "-n", name)
    return name


def fails_to_start(server, *arguments):
    done = subprocess.run([TURNOUT, "up", "--data", str(server.data), *arguments], capture_output=True, text=True, timeout=60,
                          env=PLAIN_ENV, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stdout
    return done.stderr


@pytest.fixture
def restored(tmp_path):
    server = Server(tmp_path / "restored")
    server.data.rmdir()
    yield server
    server.stop()


def test_a_backup_is_restored_beside_its_original(own_server, restored, tmp_path):
    name = run_job(own_server, tmp_path / "job")
    backup = tmp_path / "backup"
    first = json.loads(own_server.turnout("backup", backup, "-o", "json").stdout)
    assert first["contents"] == 1 and first["copied_bytes"] == 300000
    run_job(own_server, tmp_path / "job", "command: echo later\nenvironment: {image: debian:12}\n")
    second = json.loads(own_server.turnout("backup", backup, "-o", "json").stdout)
    assert second["contents"] == 1 and second["copied_bytes"] == 0, "content is copied once"
    assert (backup.stat().st_mode & 0o077) == 0

    own_server.turnout("restore", backup, "--check")
    restored.turnout("restore", backup)
    assert restored.turnout("restore", backup, check=False).returncode == 4, "the folder is not empty"
    restored.start()
    jobs = json.loads(restored.turnout("job", "list", "-o", "json").stdout)
    assert {job["status"] for job in jobs} == {"Completed"} and len(jobs) == 2
    restored.turnout("job", "download", "-n", name, "--all", "--download-path", tmp_path / "got")
    big = next((tmp_path / "got").rglob("big.bin"))
    assert big.read_bytes() == b"a" * 300000
    assert "said" in next((tmp_path / "got").rglob("std_log.txt")).read_text()
    # Both go on, each for itself.
    run_job(own_server, tmp_path / "job")
    run_job(restored, tmp_path / "job")


def test_a_damaged_backup_is_refused(own_server, tmp_path):
    run_job(own_server, tmp_path / "job")
    backup = tmp_path / "backup"
    own_server.turnout("backup", backup)
    content = next((backup / "blobs").rglob("?" * 64))
    whole = content.read_bytes()
    content.write_bytes(b"b" + whole[1:])
    done = own_server.turnout("restore", backup, "--data", tmp_path / "never", check=False)
    assert done.returncode != 0 and str(content) in done.stderr
    assert not (tmp_path / "never" / "turnout.db").exists()
    content.write_bytes(whole)
    own_server.turnout("restore", backup, "--check")
    with open(backup / "turnout.db", "r+b") as database:
        database.seek(5000)
        database.write(b"noise")
    done = own_server.turnout("restore", backup, "--check", check=False)
    assert done.returncode != 0 and "turnout.db" in done.stderr
    # Something else in the folder is not overwritten.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    done = own_server.turnout("backup", tmp_path / "mine", check=False)
    assert done.returncode != 0 and "something else" in done.stderr
    done = own_server.turnout("backup", own_server.data / "backup", check=False)
    assert done.returncode == 2


def test_a_lost_log_or_database_is_noticed(own_server, tmp_path):
    run_job(own_server, tmp_path / "job")
    own_server.kill()
    database = own_server.data / "turnout.db"
    log = Path(f"{database}-wal")
    assert log.stat().st_size > 0
    log.rename(tmp_path / "wal")
    said = fails_to_start(own_server)
    assert str(log) in said and "restore" in said and "--accept-loss" in said
    (tmp_path / "wal").rename(log)
    own_server.start()
    assert len(json.loads(own_server.turnout("job", "list", "-o", "json").stdout)) == 1

    own_server.turnout("down")
    own_server.process.wait(60)
    assert log.stat().st_size == 0, "after a clean end the file alone is the database"
    database.rename(tmp_path / "db")
    assert str(database) in fails_to_start(own_server)
    (tmp_path / "db").rename(database)
    own_server.start()
    assert len(json.loads(own_server.turnout("job", "list", "-o", "json").stdout)) == 1


def test_damaged_pages_are_told(own_server, tmp_path):
    run_job(own_server, tmp_path / "job")
    own_server.turnout("down", "--all")
    own_server.process.wait(60)
    database = own_server.data / "turnout.db"
    # The pages of a table that no start reads.
    import sqlite3
    with sqlite3.connect(database) as db:
        pages = [row[0] for row in db.execute("SELECT rootpage FROM sqlite_schema WHERE name IN ('blob_data', 'log')")]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with open(database, "r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(os.urandom(size))
    own_server.start()

    def told():
        status = json.loads(own_server.turnout("status", "-o", "json", check=False).stdout)
        return status if not status["ready"] else None

    status = eventually("the damage is found", told)
    assert "damaged" in status["fault"] and "restore" in status["fault"]
