"""Data folders that are copied or moved, ports that others have, and servers that are reached from elsewhere."""
import json
import os
import shlex
import shutil
import socket
import subprocess

import pytest
from conftest import PLAIN_ENV, TURNOUT, Server, eventually

SLEEPS = "command: echo began; sleep 600\nenvironment: {image: debian:12}\n"


@pytest.fixture
def copy(tmp_path):
    server = Server(tmp_path / "copy")
    server.data.rmdir()
    yield server
    server.turnout("down", "--all", "--yes", check=False)
    server.stop()


def up(server, *arguments, code=0):
    done = subprocess.run([TURNOUT, "up", "--detach", "--data", str(server.data), *arguments], capture_output=True, text=True,
                          timeout=60, env=PLAIN_ENV, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def running_job(server, tmp_path):
    (tmp_path / "job.yml").write_text(SLEEPS)
    name = server.turnout("job", "create", "-f", tmp_path / "job.yml", "-o", "tsv", "--query", "name").stdout.strip()
    show = lambda: server.turnout("job", "show", "-n", name, "-o", "tsv", "--query", "status").stdout.strip()
    eventually("it runs", lambda: show() == "Running")
    return name, show


def agents_of(server):
    return {path.parent.name: json.loads(path.read_text()) for path in (server.data / "nodes").glob("*/agent.json")}


def alive(handle):
    try:
        stat = open(f"/proc/{handle['pid']}/stat").read().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return False
    return int(stat[19]) == handle["startTicks"] and stat[0] != "Z"


def test_a_copied_folder_does_not_touch_its_original(own_server, copy, tmp_path):
    name, status = running_job(own_server, tmp_path)
    agents = agents_of(own_server)
    assert agents and all(map(alive, agents.values()))
    shutil.copytree(own_server.data, copy.data, symlinks=True, ignore=lambda folder, names: [n for n in names if n.endswith(".sock")])

    assert json.loads(copy.turnout("status", "-o", "json", check=False).stdout)["running"] is False
    assert "no server runs" in copy.turnout("down", "--all").stderr
    refused = copy.turnout("job", "cancel", "-n", name, check=False)
    assert refused.returncode != 0 and "is a copy" in refused.stderr
    # Its own server: what it ends is not the original's.
    taken = up(copy, code=1)
    port = own_server.status["url"].rsplit(":", 1)[1]
    assert port in taken.stderr and "--listen" in taken.stderr
    up(copy, "--listen", "127.0.0.1:0", "--plain-listen", "127.0.0.1:0")
    eventually("it has its own agent", lambda: any(h not in agents.values() for h in agents_of(copy).values()))
    copy.turnout("job", "cancel", "-n", name)
    copy.turnout("down", "--all", "--yes")
    assert all(map(alive, agents.values())) and status() == "Running"
    own_server.turnout("job", "cancel", "-n", name)
    eventually("the original's job ends", lambda: status() == "Canceled")


def test_a_moved_folder_works_again(own_server, copy, tmp_path):
    name, _ = running_job(own_server, tmp_path)
    own_server.turnout("down")
    own_server.process.wait(60)
    agents = agents_of(own_server)
    os.rename(own_server.data, copy.data)
    try:
        up(copy)
        show = lambda: copy.turnout("job", "show", "-n", name, "-o", "tsv", "--query", "status").stdout.strip()
        eventually("an agent of its new place", lambda: agents_of(copy) and not set(h["pid"] for h in agents.values()) & set(
            h["pid"] for h in agents_of(copy).values()))
        copy.turnout("job", "cancel", "-n", name)
        eventually("its job can be ended", lambda: show() == "Canceled")
    finally:
        copy.turnout("down", "--all", "--yes", check=False)


def test_a_taken_port_is_named_with_a_way_out(own_server):
    own_server.turnout("down")
    own_server.process.wait(60)
    own_server.process = None
    ports = json.loads((own_server.data / "ports.json").read_text())
    for kind, option in (("tls", "--listen"), ("plain", "--plain-listen")):
        host, port = ports[kind].rsplit(":", 1)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((host, int(port)))
            other.listen()
            told = up(own_server, code=1).stderr
            assert port in told and f"turnout up {option} {host}:0" in told, told
            up(own_server, option, f"{host}:0")
        own_server.turnout("down")
    refused = up(own_server, "--plain-listen", "0.0.0.0:0", code=1).stderr
    assert "loopback" in refused
    up(own_server)
    own_server.turnout("down", "--all")


def test_a_server_for_others_says_how_they_log_in(copy, tmp_path):
    printed = up(copy, "--listen", "0.0.0.0:0").stdout
    status = json.loads(copy.turnout("status", "-o", "json").stdout)
    assert status["url"].startswith("https://127.0.0.1:") and status["listen"].startswith("0.0.0.0:")
    assert status["login"] in printed
    names = subprocess.run(["openssl", "x509", "-in", copy.data / "server.pem", "-noout", "-ext", "subjectAltName"], capture_output=True,
                           text=True, check=True).stdout
    url = shlex.split(status["login"])[2]
    assert url.rsplit(":", 1)[0].removeprefix("https://") in names and "127.0.0.1" in names
    # As that other machine: an empty home, no data folder; here the name may not be known to any resolver.
    home = {**PLAIN_ENV, "HOME": str(tmp_path / "home"), "TURNOUT_DATA": str(tmp_path / "nothing")}
    words = shlex.split(status["login"])[1:]
    words[1] = status["url"]
    turnout = lambda *words: subprocess.run([TURNOUT, *words], capture_output=True, text=True, env=home, stdin=subprocess.DEVNULL, timeout=60)
    copy.turnout("workspace", "create", "-n", "aaa")  # younger than the default one, though its name comes first
    done = turnout(*words, "--key-file", str(copy.data / "admin.key"))
    assert done.returncode == 0 and status["fingerprint"] in done.stderr, done.stderr
    seen = turnout("status", "-o", "json")
    assert seen.returncode == 0, seen.stderr
    login = json.loads(seen.stdout)["login"]
    assert login["fingerprint"] == status["fingerprint"] and login["used_by_commands"] and login["ready"]
    assert login["workspace_name"] == copy.config()["workspace_name"] == "default"
    assert turnout("job", "list").returncode == 0, "a named folder without a server does not hide the login"
