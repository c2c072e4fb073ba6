"""Agents that reach their server through a relay: two of its programs, joined by a pair of pipes, as
SSH or exec in a container will join them."""
import http.client
import http.server
import os
import re
import signal
import socket
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import PLAIN_ENV, TURNOUT, client_for, eventually, log_of, wait_for

AGENT = Path(TURNOUT).with_name("turnout-agent")


def one_side(arguments, **pipes):
    return subprocess.Popen([AGENT, "relay", "--stdio", *map(str, arguments)], stderr=subprocess.PIPE, env=PLAIN_ENV, **pipes)


class Relay:
    """Both programs. `near` is the server's side, `far` the node's."""

    def __init__(self, near, far):
        there, back = os.pipe(), os.pipe()
        self.near = one_side(near, stdin=back[0], stdout=there[1])
        self.far = one_side(far, stdin=there[0], stdout=back[1])
        for end in (*there, *back):
            os.close(end)

    def end(self, kill=signal.SIGTERM):
        """Ends the node's side; what both said last, and their exit codes."""
        self.far.send_signal(kill)
        said = [side.communicate(timeout=60)[1].decode() for side in (self.far, self.near)]
        return said, (self.far.returncode, self.near.returncode)


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("relay", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)

    def ask(self, body):
        self.request("POST", "/x", body)
        return self.getresponse().read()


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class ThreadingUnix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        return super().get_request()[0], ("unix", 0)


def test_http_both_ways_between_two_programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    notebook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    behind = ThreadingUnix(str(folder / "behind"), Echo)
    for one in (notebook, behind):
        threading.Thread(target=one.serve_forever, daemon=True).start()
    relay = Relay(["--allow", f"server=unix:{folder}/behind", "--socket", f"notebook={folder}/notebook"],
                  ["--socket", f"{folder}/server", "--allow", f"notebook=127.0.0.1:{notebook.server_port}"])
    try:
        for door in ("server", "notebook"):
            eventually(f"the door {door}", (folder / door).exists, interval=0.01)
            connection = OverUnix(folder / door)
            for body in (b"a", os.urandom(9 << 20), b""):
                assert connection.ask(body) == body
            connection.close()
        # One whose stream ends before it began has left the door as it was.
        names = sorted(folder.iterdir())
        broken = one_side(["--socket", folder / "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        eventually("it waits beside", lambda: len(list(folder.iterdir())) > len(names), interval=0.01)
        broken.communicate(timeout=60)
        assert sorted(folder.iterdir()) == names
        assert OverUnix(folder / "server").ask(b"still there") == b"still there"
        said, codes = relay.end()
        assert codes == (0, 0), said
        assert said == ["", "turnout-agent relay: the relay's stream ended\n"]
        assert not (folder / "server").exists()
    finally:
        for one in (relay.far, relay.near):
            one.kill()
        for one in (notebook, behind):
            one.shutdown()
            one.server_close()


@pytest.mark.parametrize("arguments, words", [
    ([], "--stdio is missing"),
    (["--stdio", "--socket"], "unknown or incomplete option '--socket'"),
    (["--stdio", "--allow", "x=10.0.0.1:80"], "--allow: '10.0.0.1:80' is not unix:PATH or a port of this machine, as 127.0.0.1:8888"),
    (["--stdio", "--allow", "unix:/x"], "--allow: NAME= is missing"),
    (["--stdio", "--socket", "/"], "--socket: cannot listen on '/': something that is not a socket is there"),
])
def test_what_is_wrong_is_said(arguments, words):
    done = subprocess.run([AGENT, "relay", *arguments], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.endswith(f"turnout-agent relay: {words}\n"), done.stderr


def test_another_program_at_the_other_end(tmp_path):
    done = subprocess.run([AGENT, "relay", "--stdio", "--socket", tmp_path / "s"], input=b"bash: turnout-agent: not found\n",
                          capture_output=True, timeout=60)
    assert done.stderr == (b"turnout-agent relay: the relay's stream ended before the other side's hello: "
                           b"'bash: turnout-agent: not found'\n")


def test_a_job_whose_agent_comes_through_a_relay_that_is_killed(own_server, monkeypatch, tmp_path):
    from azure.ai.ml import Input, Output, command
    from azure.ai.ml.entities import Environment

    for name, value in own_server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    # Agents that the server starts connect to this socket: from now on it is the relay's door.
    door, behind = own_server.data / "agent.sock", own_server.data / "behind"
    door.rename(behind)
    arguments = ["--allow", f"server=unix:{behind}"], ["--socket", door]
    relay = Relay(*arguments)
    try:
        eventually("the relay's door", door.exists, interval=0.01)
        data = tmp_path / "data"
        data.mkdir()
        (data / "large").write_bytes(os.urandom(20 << 20))
        client = client_for(own_server)
        go = tmp_path / "go"
        job = client.create_or_update(command(
            command=f"for i in $(seq 1 80); do echo line-$i; sleep 0.1; done; until [ -e {go} ]; do sleep 0.1; done; "
                    "cp ${{inputs.data}}/large ${{outputs.out}}/",
            inputs={"data": Input(type="uri_folder", path=str(data))}, outputs={"out": Output(type="uri_folder")},
            environment=Environment(image="debian:12"), experiment_name="relay"))
        seen = tmp_path / "seen"
        with open(seen, "wb") as out:
            follower = subprocess.Popen([TURNOUT, "job", "stream", "-n", job.name], stdout=out, stderr=out,
                                        env={**PLAIN_ENV, "TURNOUT_DATA": str(own_server.data)})
        eventually("lines through the relay", lambda: "line-10\n" in seen.read_text())
        said, codes = relay.end(signal.SIGKILL)
        assert codes == (-signal.SIGKILL, 0), said
        assert client.jobs.get(job.name).status == "Running"
        relay = Relay(*arguments)
        go.touch()
        assert wait_for(client, job.name).status == "Completed"
        assert follower.wait(60) == 0, seen.read_text()
        for text in (log_of(client, job.name, tmp_path), seen.read_text()):
            assert [int(n) for n in re.findall(r"^line-(\d+)$", text, re.M)] == list(range(1, 81))
        client.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
        copies = list((tmp_path / "got").rglob("large"))
        assert len(copies) == 1 and copies[0].read_bytes() == (data / "large").read_bytes()
    finally:
        own_server.stop()  # while its agents can still hear it
        for one in (relay.far, relay.near):
            one.kill()
