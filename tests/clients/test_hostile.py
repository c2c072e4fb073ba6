"""Attacks: forged credentials, tokens of jobs, smuggled requests, bombs, files that lead elsewhere.
Each test holds a door shut that was tried; jobs are sent by hand, without the SDK."""
import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import re
import resource
import shutil
import socket
import stat
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest
import requests

from conftest import REFUSED, TERMINAL, Rest, Server, eventually, files_under, processes_with

HOST = b"Host: 127.0.0.1\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
BLOCK = {"x-ms-blob-type": "BlockBlob"}


def plain(rest):
    return urllib.parse.urlsplit(rest.env["IDENTITY_ENDPOINT"])


def exchange(rest, data):
    """Sends the bytes, and that there are no more; the statuses of what comes back until the end."""
    place = plain(rest)
    received = b""
    with socket.create_connection((place.hostname, place.port), timeout=60) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while piece := peer.recv(65536):
            received += piece
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", received)], received


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


# ---- forged credentials ----

def guarded(ws):
    return [("GET", ws), ("GET", f"{ws}/jobs"), ("PUT", f"{ws}/jobs/x"), ("POST", f"{ws}/listKeys"), ("GET", f"{ws}/datastores"),
            ("POST", f"{ws}/datastores/workspaceblobstore/listSecrets"), ("PUT", f"{ws}/computes/x"), ("DELETE", f"{ws}/computes/x"),
            ("POST", f"{ws}/codes/x/versions/1/startPendingUpload"), ("GET", f"/mlflow/v2.0{ws}/api/2.0/mlflow/runs/get?run_id=x"),
            ("POST", "/api/2.0/mlflow/runs/search"), ("GET", f"/history/v1.0{ws}/experiments/e/runs/x"),
            ("GET", "/blob/azureml-x?restype=container&comp=list"), ("PUT", "/blob/azureml-x/y"), ("GET", "/turnout/blobs/azureml-x/tar"),
            ("GET", "/logs/x/y/user_logs/std_log.txt"), ("GET", "/studio/jobs/x/y"), ("GET", "/agent/v1/link"), ("POST", "/turnout/shutdown")]


def test_forged_tokens_open_nothing(rest):
    good = rest.token()
    head, body, signature = good.split(".")
    signed = f"{head}.{body}"
    none = b64({"alg": "none", "typ": "JWT"})
    longer = b64({**claims_of(good), "exp": 9_999_999_999})
    forged = {
        "alg none": f"{none}.{body}.", "alg none, signed": f"{none}.{body}.{signature}", "changed claims": f"{head}.{longer}.{signature}",
        "kind node": f"{head}.{b64({**claims_of(good), 'kind': 'node'})}.{signature}", "no signature": f"{signed}.",
        "short signature": f"{signed}.{signature[:-4]}", "turned signature": f"{signed}.{signature[::-1]}",
        "empty key": f"{signed}.{b64(hmac.new(b'', signed.encode(), hashlib.sha256).digest())}",
        "another base64": f"{signed}.{signature}=", "four parts": good + ".x", "a key": "tko_" + "A" * 43,
        "longer key": rest.env["IDENTITY_HEADER"] + "x", "two parts": "a.b", "very long": "a." * 5000,
    }
    for name, token in forged.items():
        for method, path in guarded(rest.ws)[:3]:
            assert rest.call(method, path, token=token).status_code in REFUSED, (name, path)
    for method, path in guarded(rest.ws):
        for token in (None, forged["alg none"]):
            reply = rest.call(method, path, token=token)
            assert reply.status_code in REFUSED, (method, path, reply.status_code)
            assert reply.status_code == 429 or reply.headers["WWW-Authenticate"] == "Bearer"
    assert rest.call("GET", "/agent/v1/link").status_code == 403  # a user is no node
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".replace(signature[-1], "")
    assert all(rest.call("GET", rest.ws, token=f"{signed}.{signature[:-1]}{c}").status_code in REFUSED for c in last[::8])


def test_tokens_are_given_for_the_key_only(rest):
    endpoint = rest.env["IDENTITY_ENDPOINT"]
    for headers in ({}, {"Metadata": "true"}, {"X-IDENTITY-HEADER": ""}, {"X-IDENTITY-HEADER": "x"}, {"secret": "tko_x"},
                    {"X-IDENTITY-HEADER": rest.token()}, {"Authorization": "Bearer " + rest.token()}):
        assert rest.session.get(endpoint, params={"resource": rest.origin}, headers=headers, timeout=60).status_code in REFUSED, headers
        assert rest.session.post(endpoint, data={"resource": rest.origin}, headers=headers, timeout=60).status_code in REFUSED, headers


# ---- HTTP ----

POST = b"POST /msi/token HTTP/1.1\r\n" + HOST
SMUGGLED = {
    "CL and TE": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd",
    "list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "+4": POST + b"Content-Length: +4\r\n\r\nabcd", "0x4": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "overflow": POST + b"Content-Length: 18446744073709551616\r\n\r\nabcd",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "name with space": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"GET /health HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "bare CR": b"GET /health HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "fold at once": b"GET /health HTTP/1.1\r\n " + HOST + b"\r\n", "NUL": b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "chunk size -1": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "chunk size overflow": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk line with LF": POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    "long extension": POST + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 10_000 + b"\r\nabc\r\n0\r\n\r\n",
    "longer chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "large header": b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_is_smuggled(rest, name):
    """What two parties could read differently is refused, and nothing that follows is answered."""
    codes, received = exchange(rest, SMUGGLED[name] + HEALTH)
    assert len(codes) <= 1 and all(400 <= code < 500 or code == 501 for code in codes), (codes, received[:200])
    assert b'"status":"ok"' not in received.replace(b" ", b"")


def test_pipelining_and_odd_but_valid_messages(rest):
    assert exchange(rest, HEALTH * 50)[0] == [200] * 50
    chunked = POST + b'Transfer-Encoding: Chunked\r\n\r\n3;a="b"\r\nabc\r\n0;x\r\nTrailer: y\r\n\r\n'
    assert exchange(rest, chunked + HEALTH)[0] == [401, 200]
    assert exchange(rest, POST + b"Content-Length: 3\r\n\r\nabc" + HEALTH)[0] == [401, 200]


def test_headers_of_the_client_do_not_shape_the_reply(rest):
    for host in (b'a"b', b"evil.com/x", b"a@b", b"127.0.0.1:1#", b"x" * 300):
        _, received = exchange(rest, b"GET /metadata/endpoints HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert host not in received, host
    _, received = exchange(rest, b"GET /health HTTP/1.1\r\n" + HOST + b"x-ms-client-request-id: a%0d%0aX-Evil: 1 \x85\r\n\r\n")
    assert b"\nX-Evil" not in received


def test_idle_and_unfinished_connections_leave_room(rest):
    place = plain(rest)
    peers = [socket.create_connection((place.hostname, place.port), timeout=60) for _ in range(400)]
    try:
        for peer in peers[:200]:
            peer.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000)
        assert rest.call("GET", rest.ws).status_code == 200
    finally:
        for peer in peers:
            peer.close()


def test_connections_do_not_take_the_servers_own_descriptors():
    """Started by a shell that allows few open files: as usual on a laptop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.fail(f"this machine's hard limit of open files is {hard}")
    folder = Path(tempfile.mkdtemp(prefix="turnout-"))
    server = Server(folder / "data")
    peers = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            server.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        place = urllib.parse.urlsplit(server.status["plain_url"])
        peers = [socket.create_connection((place.hostname, place.port), timeout=60) for _ in range(300)]
        rest = Rest(server)
        assert rest.call("GET", rest.ws).status_code == 200
        assert submit(rest, "few-files", "true") == 201
        assert ended(rest, "few-files")["status"] == "Completed"
    finally:
        for peer in peers:
            peer.close()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


# ---- signed links ----

@pytest.fixture(scope="module")
def link(rest):
    reply = rest.call("POST", f"{rest.ws}/codes/hostile2/versions/1/startPendingUpload", api="2023-04-01",
                      json={"pendingUploadType": "TemporaryBlobReference"})
    place = urllib.parse.urlsplit(reply.json()["blobReferenceForConsumption"]["credential"]["sasUri"])
    return f"{place.scheme}://{place.netloc}", place.path, place.query


def blob(link, method, name, query=None, **more):
    # http.client, which leaves the target as it is.
    place = urllib.parse.urlsplit(link[0])
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    headers = {**(BLOCK if method == "PUT" else {}), **more.pop("headers", {})}
    try:
        connection.request(method, f"{link[1]}{'/' + name if name else ''}?{link[2] if query is None else query}", headers=headers, **more)
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.headers
    finally:
        connection.close()


def test_every_part_of_a_link_is_signed_and_counts_once(link):
    fields = dict(urllib.parse.parse_qsl(link[2]))
    assert blob(link, "PUT", "a", body=b"x")[0] == 201
    changed = [{**fields, name: value} for name, value in (
        ("sv", "2000-01-01"), ("sr", "b"), ("sp", fields["sp"] + "x"), ("si", fields["si"].split("/")[0] + "x/"), ("si", "azureml-x/"),
        ("se", fields["se"] + "Z"), ("sig", ""), ("sp", fields["sp"] + "\n" + fields["se"]))]
    changed += [{k: v for k, v in fields.items() if k != name} for name in fields]
    for query in [urllib.parse.urlencode(one) for one in changed] + [link[2] + "&sp=racwdl", link[2] + "&sig=x", link[2] + "&si=azureml-x%2F"]:
        status, body, _ = blob(link, "PUT", "b", query, body=b"x")
        assert status in REFUSED or (status == 403 and b"<Code>" in body), query
    assert blob((link[0], "/blob/azureml-x", link[2]), "PUT", "b", body=b"x")[0] in (403, 404)
    assert blob((link[0], link[1] + "x", link[2]), "PUT", "b", body=b"x")[0] in (403, 404)
    assert blob(link, "GET", "b")[0] == 404


@pytest.mark.parametrize("name", ["..", "%2e%2e/x", ".%2e%2fx", "a/%2e%2e/%2e%2e/x", "..%5cx", "%5c..%5cx", "a%00b", "a%0d%0ab", "%2fetc%2fpasswd",
                                  "%c0%ae%c0%ae/x", "%ff", "%u002e", "a//b", "a/./b", "x" * 1100, "a/" * 100 + "a", "%c2%85"])
def test_names_that_are_no_paths(link, name):
    assert 400 <= blob(link, "PUT", name, body=b"x")[0] < 500


@pytest.mark.parametrize("name", ["%252e%252e/%252e%252e/x", "%ef%bc%8e%ef%bc%8e/x", "...", "~root", "%3cscript%3e", "con", "a%3fb"])
def test_odd_names_are_only_names(link, name):
    assert blob(link, "PUT", name, body=b"odd")[0] == 201
    assert blob(link, "GET", name)[:2] == (200, b"odd")


def test_ranges(link):
    data = bytes(range(256)) * 1200
    blob(link, "PUT", "r", body=data)
    size = len(data)
    for text, piece in {"0-0": data[:1], f"{size - 1}-": data[-1:], "-5": data[-5:], "-18446744073709551615": data,
                        "0-18446744073709551615": data, f"5-{size * 2}": data[5:]}.items():
        status, body, _ = blob(link, "GET", "r", headers={"Range": "bytes=" + text})
        assert (status, body) == (206, piece), text
    for text in (f"{size}-", "18446744073709551615-", "-0"):
        assert blob(link, "GET", "r", headers={"Range": "bytes=" + text})[0] == 416, text
    for text in ("5-2", "--1", "0-1,3-4", "a-b", "-", "0-99999999999999999999999"):  # not understood: the whole
        status, body, _ = blob(link, "GET", "r", headers={"Range": "bytes=" + text})
        assert (status, body) == (200, data), text


def test_what_was_uploaded_does_not_act_in_a_browser(link):
    blob(link, "PUT", "page.html", body=b"<script>alert(1)</script>", headers={"x-ms-blob-content-type": "text/html"})
    _, _, headers = blob(link, "GET", "page.html")
    assert headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in headers["Content-Security-Policy"]


def test_half_an_upload_is_none(rest, link):
    place = plain(rest)
    with socket.create_connection((place.hostname, place.port), timeout=60) as peer:
        peer.sendall(f"PUT {link[1]}/half?{link[2]} HTTP/1.1\r\nHost: a\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 100\r\n\r\nabc".encode())
        peer.shutdown(socket.SHUT_WR)
        peer.recv(4096)
    assert blob(link, "GET", "half")[0] == 404
    assert blob(link, "PUT", "wrong", body=b"x", headers={"Content-MD5": base64.b64encode(bytes(16)).decode()})[0] == 400
    assert blob(link, "GET", "wrong")[0] == 404


@pytest.mark.parametrize("xml", [b"", b"<BlockList>" * 10_000, b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><BlockList><Latest>&e;</Latest></BlockList>',
                                 b"<BlockList>" + b"<Latest>AAAA</Latest>" * 60_000 + b"</BlockList>"], ids=["empty", "deep", "entity", "many"])
def test_hostile_block_lists(link, xml):
    assert blob(link, "PUT", "list", "comp=blocklist&" + link[2], body=xml)[0] == 400


# ---- bodies ----

def test_bombs(rest):
    for body in (b'{"properties":' + b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"x":1' + b"0" * 50_000 + b"}",
                 b'{"x":1e999999999}', b'{"x":"\\ud800"}', b"\xff\xfe{\x00}\x00"):
        reply = rest.call("PUT", f"{rest.ws}/jobs/bomb", api="2025-01-01-preview", data=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400 and reply.json()["error"]["message"], body[:30]
    laughs = 'a: &a ["x","x","x","x","x","x","x","x","x"]\n'
    for number in range(12):
        laughs += f"{chr(98 + number)}: &{chr(98 + number)} [{','.join(['*' + chr(97 + number)] * 9)}]\n"
    for text in (laughs, "[" * 50_000, "{a: " * 20_000):
        reply = rest.call("PUT", f"{rest.ws}/environments/bomb/versions/1", json={"properties": {"condaFile": text, "image": "x"}})
        assert reply.status_code == 400, text[:20]
    for text in ("params.x = '" + "((" * 10_000, " and ".join(["params.x = '1'"] * 20_000)):
        assert rest.call("POST", "/api/2.0/mlflow/runs/search", api="", json={"experiment_ids": ["0"], "filter": text}).status_code == 400


PARTS = {
    "input name": {"inputs": {"../x": {"jobInputType": "literal", "value": "1"}}}, "output name": {"outputs": {"../../x": {"jobOutputType": "uri_folder"}}},
    "output path": {"outputs": {"o": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/../../x/"}}},
    "output file": {"outputs": {"o": {"jobOutputType": "uri_folder", "uri": "file:///etc/"}}},
    "input file": {"inputs": {"i": {"jobInputType": "uri_file", "uri": "file:///etc/shadow", "mode": "Download"}}},
    "input path": {"inputs": {"i": {"jobInputType": "uri_file", "uri": "azureml://datastores/workspaceblobstore/paths/../../../etc/passwd"}}},
    "input url": {"inputs": {"i": {"jobInputType": "uri_file", "uri": "ftp://169.254.169.254/latest"}}},
    "variable": {"environmentVariables": {"A=B": "x"}}, "NUL": {"command": "a\0b"}, "compute": {"computeId": "../../x"}, "environment": {"environmentId": "../../etc"},
    "timeout": {"limits": {"jobLimitsType": "Command", "timeout": "-PT1H"}}, "nodes": {"resources": {"instanceCount": -1}},
}


@pytest.mark.parametrize("part", PARTS)
def test_hostile_parts_of_a_job(rest, part):
    environment(rest)
    body = {"properties": {"jobType": "Command", "command": "true", "environmentId": f"{rest.ws}/environments/hostile/versions/1", **PARTS[part]}}
    reply = rest.call("PUT", f"{rest.ws}/jobs/hostile-part", api="2025-01-01-preview", json=body)
    assert reply.status_code == 400 and reply.json()["error"]["message"], reply.text
    assert rest.call("GET", f"{rest.ws}/jobs/hostile-part").status_code == 404


# ---- a hostile job ----

def environment(rest):
    reply = rest.call("PUT", f"{rest.ws}/environments/hostile/versions/1", api="2023-04-01-preview", json={"properties": {"image": "docker.io/library/debian:12"}})
    assert reply.status_code in (200, 201, 409), reply.text


def submit(rest, name, text, **more):
    environment(rest)
    body = {"properties": {"jobType": "Command", "command": text, "experimentName": "hostile", "environmentId": f"{rest.ws}/environments/hostile/versions/1", **more}}
    return rest.call("PUT", f"{rest.ws}/jobs/{name}", api="2025-01-01-preview", json=body).status_code


def ended(rest, name):
    def over():
        found = rest.call("GET", f"{rest.ws}/jobs/{name}").json()["properties"]
        return found if found["status"] in TERMINAL else None

    return eventually(f"job {name} ends", over)


EVIL = "<script>alert('evil')</script>"
HOSTILE = r"""
printf '%%s\n%%s\n' "$MLFLOW_TRACKING_TOKEN" "$MLFLOW_TRACKING_URI" > '%(folder)s/%(name)s.new'
env | cut -d= -f1 | sort > outputs/names.txt
ln -s /etc/passwd outputs/passwd; ln -s /etc outputs/etc; ln -s '%(data)s/admin.key' outputs/key; ln -s /dev/zero outputs/zero; ln -s loop outputs/loop
mkdir outputs/d; ln -s ../../../../../../../../../../etc/hostname outputs/d/up; mkfifo outputs/pipe; ln -s '%(data)s' logs/data
printf evil > 'outputs/<img src=x onerror=alert(1)>.txt'; printf x > "$(printf 'outputs/a\nb')"; echo good > outputs/good.txt
echo '</pre>'"<script>alert('evil')</script>"
mv '%(folder)s/%(name)s.new' '%(folder)s/%(name)s'
for i in $(seq 600); do [ -e '%(folder)s/go' ] && break; sleep 0.1; done
"""


class Captive:
    """Two jobs that run until they are let go; the first one is hostile."""

    def __init__(self, rest, server, folder):
        self.rest, self.folder = rest, folder
        self.names = ["hostile-a", "hostile-b"]
        for name in self.names:
            text = HOSTILE % {"folder": folder, "name": name, "data": server.data}
            assert submit(rest, name, text, displayName=EVIL, description=EVIL, tags={EVIL: EVIL}) == 201
        self.tokens = []
        for name in self.names:
            eventually(f"{name} runs", (folder / name).exists)
            token, self.uri = (folder / name).read_text().split("\n")[:2]
            self.tokens.append(token)
            if name == self.names[0]:
                self.gate = self.uri
        self.workspace = claims_of(self.tokens[0])["ws"]

    def call(self, method, path, **more):
        return self.rest.call(method, path, token=self.tokens[0], api="2024-10-01-preview" if path.startswith("/subscriptions") else "", **more)

    def end(self):
        (self.folder / "go").touch()
        return [ended(self.rest, name) for name in self.names]


@pytest.fixture(scope="module")
def captive(rest, server):
    folder = Path(tempfile.mkdtemp(prefix="turnout-"))
    yield Captive(rest, server, folder)
    (folder / "go").touch()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_jobs_token_does_not_reach_the_users_api(rest, captive):
    ws, (_, other) = rest.ws, captive.names
    for method, path in (("PUT", f"{ws}/computes/evil"), ("PUT", f"{ws}/jobs/evil"), ("POST", f"{ws}/jobs/{other}/cancel"), ("DELETE", f"{ws}/jobs/{other}"),
                         ("GET", f"{ws}/events"), ("POST", f"{ws}/listKeys"), ("POST", f"{ws}/datastores/workspaceblobstore/listSecrets"),
                         ("PUT", f"{ws}/datastores/evil"), ("POST", "/turnout/shutdown"), ("GET", "/agent/v1/link"),
                         ("GET", f"/studio/jobs/{captive.workspace}/{other}"), ("PATCH", f"/history/v1.0{ws}/experiments/hostile/runs/{other}")):
        assert captive.call(method, path, json={}).status_code == 403, (method, path)
    # It may have its own token for another audience, which is no more than it was.
    reply = rest.session.get(rest.env["IDENTITY_ENDPOINT"], params={"resource": "x"}, headers={"X-IDENTITY-HEADER": captive.tokens[0]}, timeout=60)
    assert claims_of(reply.json()["access_token"])["job"] == captive.names[0]
    assert rest.call("PUT", f"{ws}/jobs/evil", token=reply.json()["access_token"], json={}).status_code == 403


def test_a_jobs_token_stays_in_its_workspace(rest, captive):
    foreign = rest.ws.rsplit("/", 1)[0] + "/hostile-other"
    assert rest.call("PUT", foreign, json={"location": "westus", "properties": {}}).status_code in (200, 201)
    wsid = rest.call("POST", f"{foreign}/codes/x/versions/1/startPendingUpload", api="2023-04-01", json={}).json()["blobReferenceForConsumption"]["blobUri"].split("/blob/")[1].split("-")[0]
    for path in (foreign, f"/mlflow/v2.0{foreign}/api/2.0/mlflow/runs/get?run_id=x", f"/history/v1.0{foreign}/experiments/e/runs/{captive.names[0]}",
                 f"/blob/azureml-{wsid}?restype=container&comp=list", f"/turnout/blobs/azureml-blobstore-{wsid}/tar?prefix="):
        assert captive.call("GET", path).status_code == 403, path


def test_a_jobs_token_learns_nothing_of_other_jobs(rest, captive):
    own, other = captive.names
    mlflow, history = f"/mlflow/v2.0{rest.ws}/api/2.0/mlflow", f"/history/v1.0{rest.ws}"
    artifacts, store = f"/blob/azureml-{captive.workspace}", f"/blob/azureml-blobstore-{captive.workspace}"
    listed = "restype=container&comp=list"
    assert rest.call("PUT", f"{artifacts}/ExperimentRun/dcid.{other}/outputs/secret.txt", data=b"secret", headers=BLOCK).status_code == 201
    assert rest.call("PUT", f"{store}/azureml/{other}/out/secret.txt", data=b"secret", headers=BLOCK).status_code == 201
    for run in (other, "no-such-run"):  # nor whether there is one
        for path in (f"{rest.ws}/jobs/{run}", f"{rest.ws}/jobs/{run}/explain", f"{rest.ws}/jobs/{run}/ledger", f"/logs/{captive.workspace}/{run}/user_logs/std_log.txt",
                     f"{history}/experiments/hostile/runs/{run}/details", f"{history}/runs/{run}", f"{history}/runs/{run}/metrics", f"{history}/runs/{run}/children",
                     f"{history}/runs/{run}/artifacts", f"{history}/runs/{run}/artifacts/contentinfo?path=outputs/secret.txt",
                     f"{mlflow}/runs/get?run_id={run}", f"{mlflow}/metrics/get-history?run_id={run}&metric_key=a", f"{mlflow}/artifacts/list?run_id={run}",
                     f"/mlflow/v2.0{rest.ws}/api/2.0/mlflow-artifacts/artifacts/{run}/artifacts/outputs/secret.txt",
                     f"{artifacts}/ExperimentRun/dcid.{run}/outputs/secret.txt", f"{artifacts}?{listed}&prefix=ExperimentRun/dcid.{run}/", f"{store}/azureml/{run}/out/secret.txt",
                     f"{store}?{listed}&prefix=azureml/{run}/", f"/turnout/blobs/azureml-{captive.workspace}/tar?prefix=ExperimentRun/dcid.{run}"):
            reply = captive.call("GET", path)
            assert reply.status_code == 403 and b"secret.txt" not in reply.content, (path, reply.text)
    for path in (f"{artifacts}?{listed}&prefix=", f"{store}?{listed}&prefix=azureml/", f"{store}?{listed}&prefix=LocalUpload/", f"{rest.ws}/events",
                 f"{rest.ws}/experiments/hostile/ledger"):
        assert captive.call("GET", path).status_code == 403, path
    assert other not in captive.call("GET", f"{store}?{listed}&prefix=").text
    assert [one["name"] for one in captive.call("GET", f"{rest.ws}/jobs").json()["value"]] == [own]
    experiment = captive.call("GET", f"{mlflow}/experiments/get-by-name?experiment_name=hostile").json()["experiment"]["experiment_id"]
    runs = captive.call("POST", f"{mlflow}/runs/search", json={"experiment_ids": [experiment]}).json()["runs"]
    assert [run["info"]["run_id"] for run in runs] == [own]
    for method, path, body in (("POST", f"{mlflow}/experiments/set-experiment-tag", {"experiment_id": experiment, "key": "evil", "value": "1"}),
                               ("POST", f"{history}/rundata", {"runId": other}), ("POST", f"{history}/runs/{other}/artifacts/batch/metadata", {"paths": [{"path": "x"}]}),
                               ("PUT", f"{rest.ws}/models/stolen/versions/1", {"properties": {"modelType": "custom_model", "modelUri": f"azureml://jobs/{other}/outputs/artifacts"}}),
                               ("PUT", f"{rest.ws}/data/stolen/versions/1", {"properties": {"dataType": "uri_folder", "dataUri": "azureml://datastores/workspaceblobstore/paths/"}}),
                               ("POST", f"/data/v1.0{rest.ws}/dataversion/batchGetResolvedUris", {"values": [f"azureml://jobs/{other}/outputs/artifacts"]})):
        assert captive.call(method, path, json=body).status_code == 403, path
    # Its own links are the run itself.
    details = captive.call("GET", f"{history}/runs/{own}/details").json()["logFiles"]
    link = details["user_logs/std_log.txt"]
    assert rest.session.get(link, timeout=20).status_code == 200
    assert rest.session.get(link.replace(own, other), timeout=20).status_code == 403
    storage = captive.call("GET", f"/datastore/v1.0{rest.ws}/datastores/workspaceartifactstore").json()["azureStorageSection"]
    assert rest.session.get(f"{rest.origin}{artifacts}/ExperimentRun/dcid.{other}/outputs/secret.txt?{storage['sasToken']}", timeout=20).status_code == 403


def test_a_jobs_token_writes_only_to_its_own_run(rest, captive):
    own, other = captive.names
    mlflow = f"/mlflow/v2.0{rest.ws}/api/2.0/mlflow"
    metric = {"key": "evil", "value": 1, "timestamp": 1, "step": 0}
    for path, body in (("runs/set-tag", {"key": "evil", "value": "1"}), ("runs/log-metric", metric), ("runs/update", {"status": "FAILED"}), ("runs/delete", {})):
        assert captive.call("POST", f"{mlflow}/{path}", json={"run_id": other, **body}).status_code == 403, path
    assert captive.call("POST", f"{mlflow}/runs/log-metric", json={"run_id": own, **metric}).status_code == 200
    artifacts, store = f"/blob/azureml-{captive.workspace}", f"/blob/azureml-blobstore-{captive.workspace}"
    for path in (f"{artifacts}/ExperimentRun/dcid.{other}/outputs/x", f"{artifacts}/ExperimentRun/dcid.{own}x/x", f"{artifacts}/ExperimentRun/dcid.{own}/user_logs/std_log.txt",
                 f"{store}/azureml/{other}/out/x", f"{store}/x", f"{store}/x?comp=block&blockid=YQ%3D%3D"):
        assert captive.call("PUT", path, data=b"evil", headers=BLOCK).status_code == 403, path
        assert captive.call("DELETE", path.split("?")[0]).status_code == 403, path
    # Where assets are uploaded it adds, and changes nothing.
    upload = f"{store}/LocalUpload/{other}-upload/x"
    assert captive.call("PUT", upload, data=b"first", headers=BLOCK).status_code == 201
    assert captive.call("PUT", upload, data=b"evil", headers=BLOCK).status_code == 409
    assert captive.call("DELETE", upload).status_code == 403
    assert rest.call("GET", upload).content == b"first"
    assert captive.call("GET", upload).status_code == 403  # but by the hash of its content
    hashed = f"{store}/LocalUpload/{'0' * 32}/x"
    assert captive.call("PUT", hashed, data=b"own", headers=BLOCK).status_code == 201
    assert captive.call("GET", hashed).content == b"own"
    history = f"/history/v1.0{rest.ws}/experiments/hostile/runs"
    assert captive.call("POST", f"{history}/{other}/artifacts/batch/metadata", json={"paths": [{"path": "x"}]}).status_code == 403
    assert captive.call("POST", f"{history}/{own}/artifacts/batch/metadata", json={"paths": [{"path": f"../dcid.{other}/x"}]}).status_code == 400


def test_the_nodes_listener_knows_the_runs_token_only(rest, captive):
    gate = urllib.parse.urlsplit(captive.gate)
    origin = f"{gate.scheme}://{gate.netloc}"
    session = requests.Session()
    session.trust_env = False
    path = f"/api/2.0/mlflow/runs/get?run_id={captive.names[0]}"
    for header in (None, "Bearer x", "Bearer " + rest.token(), "Bearer " + rest.env["IDENTITY_HEADER"], "Basic eDp5"):
        headers = {"Authorization": header} if header else {}
        assert session.get(captive.gate + path, headers=headers, timeout=60).status_code == 401, header
    good = {"Authorization": "Bearer " + captive.tokens[0]}
    assert session.get(captive.gate + path, headers=good, timeout=60).status_code == 200
    assert session.get(origin + "/msi/token", headers=good, timeout=60).status_code == 401, "it has a header of its own"
    for elsewhere in ("/", "/turnout/shutdown", "/agent/v1/link", "/health", rest.ws):
        assert session.get(origin + elsewhere, headers=good, timeout=60).status_code == 404, elsewhere
    for target in (gate.path + "/../" * 12 + "health", gate.path + "%2f..%2f..%2fhealth"):
        connection = http.client.HTTPConnection(gate.hostname, gate.port, timeout=60)
        connection.request("GET", target, headers=good)
        assert connection.getresponse().status in (400, 404), target
        connection.close()


def test_no_secret_is_where_it_does_not_belong(rest, server, captive):
    key = rest.env["IDENTITY_HEADER"]
    keys = json.loads((server.data / "keys.json").read_text())
    for secret, home in ((key, "admin.key"), (keys["tokenKey"], "keys.json"), (keys["linkKey"], "keys.json")):
        found = [str(path.relative_to(server.data)) for path in files_under(server.data)
                 if not path.is_symlink() and path.stat().st_size < 64 << 20 and secret.encode() in path.read_bytes()]
        assert found == [home]
    for secret in (key, rest.token(), *captive.tokens):
        assert processes_with(secret) == []
    document = json.dumps(rest.call("GET", f"{rest.ws}/jobs/{captive.names[0]}").json())
    for secret in (key, captive.tokens[0], keys["linkKey"], keys["tokenKey"]):
        assert secret not in document and secret not in server.log.read_text()


def test_modes_in_the_data_folder(server, captive):
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    for path in server.data.iterdir():
        if path.name == "ca-bundle.pem":  # public, and read by every client
            continue
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    for path in (server.data / "nodes").glob("*/*"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_conflicting_writes(rest):
    def put(number):
        return submit(rest, f"contested-{number % 2}", f"echo {number if number % 2 else 0}")

    environment(rest)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(put, range(16)))
    assert sorted(codes[0::2]) == [200] * 7 + [201]  # the same job
    assert sorted(codes[1::2]) == [201] + [409] * 7  # eight different ones
    run = "contested-0"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: rest.call("POST", "/api/2.0/mlflow/runs/set-tag", api="", json={"run_id": run, "key": f"k{n}", "value": "v"}).status_code, range(16)))
    assert done == [200] * 16
    tags = rest.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run}", api="").json()["run"]["data"]["tags"]
    assert {f"k{n}" for n in range(16)} <= {tag["key"] for tag in tags}


def test_what_a_hostile_job_left(rest, captive):
    """The last one: it lets the jobs end."""
    first = captive.end()[0]
    name = captive.names[0]
    assert first["status"] == "Completed", first
    assert captive.call("GET", rest.ws).status_code == 401  # the token ended with the job
    listed = rest.call("GET", f"/history/v1.0{rest.ws}/experiments/hostile/runs/{name}/artifacts", api="").json()["value"]
    assert {item["path"] for item in listed} == {"outputs/<img src=x onerror=alert(1)>.txt", "outputs/good.txt", "outputs/names.txt", "system_logs/not_uploaded.txt",
                                               "user_logs/std_log.txt"}

    page_url = first["services"]["Studio"]["endpoint"]
    page = rest.session.get(page_url.replace("?", "/plain?"), timeout=60)
    assert page.status_code == 200
    for evil in ("<script>alert", "</pre><script", "<img src=x"):
        assert evil not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["X-Content-Type-Options"] == "nosniff"
    base, query = page_url.split("?")
    other = base.rsplit("/", 1)[0] + "/" + captive.names[1]
    for wrong in (base, base + "?se=9999999999&" + query.split("&", 1)[1], f"{other}?{query}", f"{base}?{query}&sig=x"):
        assert rest.session.get(wrong, timeout=60).status_code in (401, 403), wrong
    names = rest.session.get(f"{base}/artifact/outputs/names.txt?{query}", timeout=60)
    assert names.headers["Content-Type"].startswith("text/plain") and names.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in names.headers["Content-Security-Policy"]
    assert not {"TURNOUT_DATA", "TURNOUT_UV"} & set(names.text.split())
    log = rest.session.get(f"{base}/log?{query}", timeout=60)
    assert log.headers["Content-Type"].startswith("text/plain") and log.headers["X-Content-Type-Options"] == "nosniff"
    # What could not be uploaded is told; where it led was not read.
    told = rest.session.get(f"{base}/artifact/system_logs/not_uploaded.txt?{query}", timeout=60).text.split("\n")
    assert {"work/outputs/" + name for name in ("passwd", "etc", "key", "zero", "loop", "d/up", "a?b")} | {"work/logs/data"} <= set(told)


def test_a_job_mounts_nothing_and_its_clean_up_removes_nothing_else(run, tmp_path, ml_client):
    """Also root: in a namespace of his own anybody may mount, and there it stays."""
    from conftest import log_of

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years of work")
    mount = f"mkdir -p m && mount --bind {tmp_path}/mine m && ls m"
    for text in (f"{mount} || echo refused", f"unshare -rm sh -c '{mount}' || echo refused", f"sh -c '{mount}' || echo refused"):
        # With a limit of shared memory the launcher itself mounts before the command.
        for resources in ({}, {"shm_size": "64m"}):
            job = run(f"cd outputs; {text}; mkdir -p x; mount -t tmpfs none x || echo no-tmpfs", **resources)
            assert job.status == "Completed"
            log = log_of(ml_client, job.name, tmp_path / f"{job.name}")
            assert "no-tmpfs" in log, text
            if not text.startswith("unshare"):
                assert "refused" in log and "thesis" not in log.split(), (text, log)
    assert (tmp_path / "mine" / "thesis").read_text() == "years of work"
