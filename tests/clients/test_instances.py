"""Compute instances: the tutorial's snippet, and JupyterLab behind the server's door."""
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import uuid
from urllib.parse import urlsplit

import pytest
import requests
from conftest import SEED, Rest, client_for, eventually, server_of_its_own, wait_for

NAME = "basic-ci-12345"


@pytest.fixture(scope="module")
def lab():
    """A server with the tutorial's instance, made by the tutorial's own script."""
    made = server_of_its_own()
    server = next(made)
    work = server.data.parent / "seed"
    shutil.copytree(SEED, work, ignore=shutil.ignore_patterns(".azureml", "downloads"))
    (work / ".azureml").mkdir()
    (work / ".azureml" / "config.json").write_text(server.turnout("config").stdout)
    done = server.turnout("exec", "--", sys.executable, "-B", "create_instance.py", cwd=work, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env().items():
            patch.setenv(name, value)
        yield server
    for _ in made:
        pass


def shown(server, name=NAME):
    return json.loads(server.turnout("compute", "show", "--name", name, "-o", "json").stdout)


@pytest.fixture
def door(lab):
    """Asks of the notebook server, through the door, as the admin."""
    return Door(lab)


class Door:
    def __init__(self, server, name=NAME):
        self.rest = Rest(server)
        entry = next(one for one in shown(server, name)["services"] if one["display_name"] == "Jupyter Lab")
        self.url = entry["endpoint_uri"].removesuffix("lab")
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))

    def ask(self, method, path, token="", **more):
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = "Bearer " + (token or self.rest.token())
        return self.rest.session.request(method, self.url + path, headers=headers, timeout=60, allow_redirects=False, **more)


class WebSocket:
    """As much of RFC 6455 as a notebook's kernel needs."""

    def __init__(self, url, headers):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}",
                 "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.socket.recv(1)
            if not piece:
                break
            head += piece
        self.status = int(head.split()[1])

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = len(data)
        head = bytes([0x81]) + (bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack(">H", size))
        self.socket.sendall(head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the stream ended"
            data += piece
        return data

    def receive(self):
        while True:
            first, second = self.exactly(2)
            size = second & 0x7F
            if size == 126:
                size = struct.unpack(">H", self.exactly(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.exactly(8))[0]
            data = self.exactly(size)
            if first & 0x0F == 1:
                return data.decode()
            assert first & 0x0F in (2, 9), f"frame {first:#x}"


def run_cell(door, code):
    """What a cell prints, run in a kernel of its own."""
    made = door.ask("POST", "api/kernels", json={"name": "python3"})
    assert made.status_code == 201, made.text
    kernel = made.json()["id"]
    try:
        channel = WebSocket(door.url + f"api/kernels/{kernel}/channels", {"Authorization": "Bearer " + door.rest.token()})
        assert channel.status == 101
        ask = uuid.uuid4().hex
        channel.send(json.dumps({
            "header": {"msg_id": ask, "username": "t", "session": ask, "msg_type": "execute_request", "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": {"code": textwrap.dedent(code), "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}}))
        printed = ""
        while True:
            message = json.loads(channel.receive())
            if message.get("parent_header", {}).get("msg_id") != ask:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                pytest.fail("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return printed
    finally:
        door.ask("DELETE", f"api/kernels/{kernel}")


def test_the_tutorials_instance(lab):
    entity = shown(lab)
    assert entity["state"] == "Running" and entity["provisioning_state"] == "Succeeded"
    assert entity["last_operation"]["operation_name"] == "Create" and entity["last_operation"]["operation_status"] == "Succeeded"
    ml_client = client_for(lab)
    instance = ml_client.compute.get(NAME)
    assert (instance.type, instance.size, instance.state) == ("computeinstance", "STANDARD_DS3_v2", "Running")
    assert {one["displayName"] for one in instance.services} == {"Jupyter", "Jupyter Lab"}
    assert [one.name for one in ml_client.compute.list()] == [NAME]
    assert "computeinstance" in lab.turnout("compute", "list").stdout


def test_jupyter_answers_through_the_door(door):
    page = door.ask("GET", "lab")
    assert page.status_code == 200 and "<title>JupyterLab</title>" in page.text
    assert door.ask("GET", "api/status").json()["kernels"] == 0
    # The files of its user.
    saved = door.ask("PUT", "api/contents/note.txt", json={"type": "file", "format": "text", "content": "kept"})
    assert saved.status_code == 201, saved.text
    assert door.ask("GET", "api/contents/note.txt").json()["content"] == "kept"
    large = os.urandom(3 << 20)
    saved = door.ask("PUT", "api/contents/large.bin", json={"type": "file", "format": "base64", "content": base64.b64encode(large).decode()})
    assert saved.status_code == 201, saved.text
    assert door.ask("GET", "files/large.bin").content == large


def test_a_cell_finds_the_workspace_and_submits_a_job(lab, door):
    printed = run_cell(door, """
        from azure.ai.ml import MLClient, command
        from azure.ai.ml.entities import Environment
        from azure.identity import DefaultAzureCredential
        ml_client = MLClient.from_config(credential=DefaultAzureCredential())
        job = ml_client.create_or_update(command(command="echo from a notebook", environment=Environment(image="debian:12")))
        here = ml_client.create_or_update(command(command="echo beside it", environment=Environment(image="debian:12"), compute="basic-ci-12345"))
        print("JOBS", job.name, here.name)
    """)
    names = printed.split("JOBS", 1)[1].split()
    ml_client = client_for(lab)
    for name in names:
        assert wait_for(ml_client, name).status == "Completed"
    assert ml_client.jobs.get(names[1]).compute == NAME
    assert ml_client.jobs.get(names[0]).creation_context.created_by == "admin"


def test_one_job_at_a_time(lab):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    ml_client = client_for(lab)
    host = Environment(image="debian:12")
    jobs = [ml_client.create_or_update(command(command="sleep 3", environment=host, compute=NAME)) for _ in range(2)]
    eventually("one runs", lambda: any(ml_client.jobs.get(job.name).status == "Running" for job in jobs))
    states = sorted(ml_client.jobs.get(job.name).status for job in jobs)
    assert states.count("Running") == 1, states
    assert shown(lab)["state"] == "JobRunning"
    for job in jobs:
        assert wait_for(ml_client, job.name).status == "Completed"


def test_who_is_not_logged_in_sees_nothing(lab, door):
    for token in (None, "nonsense"):
        reply = door.ask("GET", "api/contents", token=token)
        assert reply.status_code in (401, 429) and "kept" not in reply.text
    # A person's browser is sent to the login, and from there back.
    reply = door.ask("GET", "lab", token=None, headers={"Accept": "text/html"})
    assert reply.status_code == 303 and "/studio/instances/" in reply.headers["Location"]
    there = door.rest.session.get(reply.headers["Location"], headers={"Accept": "text/html"}, allow_redirects=False, timeout=60)
    assert there.status_code == 303 and there.headers["Location"].startswith("/login")
    channel = WebSocket(door.url + "api/kernels/x/channels", {})
    assert channel.status == 401


def test_others_are_refused(lab, door):
    lab.turnout("user", "add", "--name", "eve")
    lab.turnout("role", "assign", "--user", "eve", "--role", "AzureML Data Scientist")
    secret = lab.turnout("user", "token", "--name", "eve", "--expires", "1d").stdout.strip()
    reply = door.ask("GET", "api/contents", token=secret)
    assert reply.status_code == 403 and "assigned to you" in reply.text
    assert WebSocket(door.url + "api/kernels/x/channels", {"Authorization": "Bearer " + secret}).status == 403
    body = {"properties": {"jobType": "Command", "command": "id", "environmentId": "azureml:x:1",
                           "computeId": f"{door.rest.ws}/computes/{NAME}", "experimentName": "x"}}
    refused = door.rest.call("PUT", f"{door.rest.ws}/jobs/eves", token=secret, json=body)
    assert refused.status_code == 403 and "is assigned to 'admin'" in refused.text, refused.text


def test_what_opens_the_server_stays_in_it(lab, door):
    """What is behind the door asks for a key of its own: whoever finds the port is not in."""
    port, key = run_cell(door, """
        import os
        print(os.environ["AZUREML_SERVICE_PORT"], os.environ["JUPYTER_TOKEN"])
    """).split()
    path = urlsplit(door.url).path
    assert requests.get(f"http://127.0.0.1:{port}{path}api/contents", timeout=60).status_code == 403
    assert requests.get(f"http://127.0.0.1:{port}{path}api/contents", timeout=60, headers={"Authorization": "Bearer " + door.rest.token()}).status_code == 403
    for stored in ("job", "compute"):
        assert key not in lab.turnout(stored, "list", "-o", "json").stdout
    for path in ("../../etc/passwd", "..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/x"):
        reply = door.rest.session.send(requests.Request("GET", door.url + "files/" + path, headers={"Authorization": "Bearer " + door.rest.token()}).prepare(),
                                       allow_redirects=False, timeout=60)
        assert reply.status_code in (400, 403, 404), (path, reply.status_code)


def test_stop_start_restart(lab, door):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment
    from azure.core.exceptions import HttpResponseError

    ml_client = client_for(lab)
    door.ask("PUT", "api/contents/stays.txt", json={"type": "file", "format": "text", "content": "still here"})
    ml_client.compute.begin_stop(NAME).result()
    assert shown(lab)["state"] == "Stopped"
    assert shown(lab)["last_operation"]["operation_name"] == "Stop"
    assert door.ask("GET", "api/status").status_code == 409
    with pytest.raises(HttpResponseError, match="is stopped: start it"):
        ml_client.create_or_update(command(command="true", environment=Environment(image="debian:12"), compute=NAME))
    with pytest.raises(HttpResponseError, match="start it first"):
        ml_client.compute.begin_restart(NAME).result()
    out = lab.turnout("compute", "start", "--name", NAME, "-o", "json").stdout
    assert json.loads(out)["state"] == "Running"
    assert door.ask("GET", "api/contents/stays.txt").json()["content"] == "still here"
    started = door.ask("GET", "api/status").json()["started"]
    ml_client.compute.begin_restart(NAME).result()
    assert shown(lab)["state"] == "Running"
    assert door.ask("GET", "api/status").json()["started"] > started
    assert door.ask("GET", "api/contents/stays.txt").json()["content"] == "still here"


def test_a_server_that_is_killed(lab, door):
    started = door.ask("GET", "api/status").json()["started"]
    lab.kill()
    lab.start()
    again = Door(lab)
    answer = eventually("it is reached again", lambda: (lambda r: r if r.status_code == 200 else None)(again.ask("GET", "api/status")))
    assert answer.json()["started"] == started
    assert again.url == door.url
    assert shown(lab)["state"] == "Running"


def test_bad_ones_are_refused(lab):
    rest = Rest(lab)

    def put(name, **properties):
        return rest.call("PUT", f"{rest.ws}/computes/{name}", api="2023-08-01-preview", json={
            "location": "westus", "properties": {"computeType": "ComputeInstance", "properties": {"vmSize": "STANDARD_DS3_v2", **properties}}})

    assert "idleTimeBeforeShutdown" in put("ci-x", idleTimeBeforeShutdown="PT1M").json()["error"]["message"]
    assert "no user of this server" in put("ci-x", personalComputeInstanceSettings={"assignedUser": {"objectId": str(uuid.uuid4())}}).json()["error"]["message"]
    assert "not known" in put("ci-x", vmSize="Standard_Nope").json()["error"]["message"]
    changed = put(NAME, vmSize="Standard_DS2_v2")
    assert changed.status_code == 409 and "vmSize" in changed.json()["error"]["message"]
    wrong = lab.turnout("compute", "create", "--name", "ci-y", "--type", "computeinstance", "--set", "idle_time_before_shutdown_minutes=3", check=False)
    assert wrong.returncode != 0 and "15 to 4320" in wrong.stderr
    assert rest.call("GET", f"{rest.ws}/computes/ci-x").status_code == 404


def test_delete(lab):
    from azure.core.exceptions import ResourceNotFoundError

    ml_client = client_for(lab)
    ml_client.compute.begin_delete(NAME).result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get(NAME)
    eventually("its processes are gone", lambda: not subprocess.run(["pgrep", "-f", f"{lab.data}.*jupyter"], capture_output=True).stdout)
