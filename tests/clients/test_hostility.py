"""What nobody's SDK would send."""
import http.client
import json
import ssl
import urllib.parse

import pytest
from conftest import files_under


def raw(rest, method, target, body=None, headers=None):
    """A request with exactly this target: no client tidies it up on the way."""
    place = urllib.parse.urlsplit(rest.origin)
    context = ssl.create_default_context(cafile=rest.env["REQUESTS_CA_BUNDLE"])
    connection = http.client.HTTPSConnection(place.hostname, place.port, context=context, timeout=60)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def auth(rest):
    return {"Authorization": "Bearer " + rest.token()}


@pytest.fixture(scope="module")
def upload(rest):
    """A signed place for a snapshot: (container path, query)."""
    reply = rest.call("POST", f"{rest.ws}/codes/hostile/versions/1/startPendingUpload", api="2023-04-01",
                      json={"pendingUploadType": "TemporaryBlobReference"})
    assert reply.status_code == 200, reply.text
    uri = reply.json()["blobReferenceForConsumption"]["credential"]["sasUri"]
    place = urllib.parse.urlsplit(uri)
    return f"{place.scheme}://{place.netloc}", place.path, place.query


def put(rest, upload, name, data=b"x", query=None):
    origin, path, good = upload
    return rest.session.put(f"{origin}{path}/{name}?{good if query is None else query}", data=data,
                            headers={"x-ms-blob-type": "BlockBlob", "x-ms-version": "2026-10-06"}, timeout=60)


def test_signed_upload_works(rest, upload):
    assert put(rest, upload, "src/a.py").status_code == 201


@pytest.mark.parametrize("name", ["../up", "a/../../up", "..%2fup", "a/%2e%2e/%2e%2e/up", "%2fetc%2fpasswd", "a%00b", "a/./b", "a//b", "%5c..%5cup"])
def test_paths_that_would_leave(rest, upload, server, name):
    origin, path, query = upload
    place = urllib.parse.urlsplit(origin)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname, place.port, timeout=60)
    try:
        connection.putrequest("PUT", f"{path}/{name}?{query}")
        connection.putheader("x-ms-blob-type", "BlockBlob")
        connection.putheader("Content-Length", "1")
        connection.endheaders(b"x")
        assert 400 <= connection.getresponse().status < 500
    finally:
        connection.close()
    assert not [p for p in files_under(server.data) if p.name == "up"]


def test_twice_encoded_path_is_a_name_or_refused(rest, upload, server):
    status = put(rest, upload, "a/%252e%252e/%252e%252e/up2").status_code
    assert status == 201 or 400 <= status < 500
    assert not [p for p in files_under(server.data.parent) if p.name == "up2"]


@pytest.mark.parametrize("change", [
    lambda q: {**q, "sig": q["sig"][::-1]},
    lambda q: {k: v for k, v in q.items() if k != "sig"},
    lambda q: {**q, "se": "2001-01-01T00:00:00Z"},
    lambda q: {**q, "se": "2099-01-01T00:00:00Z"},
    lambda q: {**q, "sp": "racwdl"},
    lambda q: {},
], ids=["wrong signature", "no signature", "expired", "prolonged", "more rights", "nothing"])
def test_changed_signature(rest, upload, change):
    query = dict(urllib.parse.parse_qsl(upload[2]))
    reply = put(rest, upload, "src/b.py", query=urllib.parse.urlencode(change(query)))
    assert reply.status_code in (401, 403)
    assert reply.headers.get("x-ms-error-code") or reply.text


def test_signature_of_another_container(rest, upload):
    reply = rest.call("POST", f"{rest.ws}/codes/other/versions/1/startPendingUpload", api="2023-04-01",
                      json={"pendingUploadType": "TemporaryBlobReference"})
    other = urllib.parse.urlsplit(reply.json()["blobReferenceForConsumption"]["credential"]["sasUri"])
    assert put(rest, (upload[0], other.path, upload[2]), "src/a.py").status_code in (401, 403)


@pytest.mark.parametrize("body", [b"", b"{", b"[1,2", b'{"properties": 5}', b'{"a":' * 3000, b"\xff\xfe", b'{"properties":{"jobType":["Command"]}}'])
def test_malformed_json(rest, body):
    reply = rest.call("PUT", f"{rest.ws}/jobs/malformed", api="2025-01-01-preview", data=body, headers={"Content-Type": "application/json"})
    assert 400 <= reply.status_code < 500 and reply.json()["error"]["message"]
    assert rest.call("GET", f"{rest.ws}/jobs/malformed", api="2024-01-01-preview").status_code == 404


def test_too_large_body(rest):
    body = json.dumps({"properties": {"jobType": "Command", "command": "x" * (40 << 20)}})
    try:
        reply = rest.call("PUT", f"{rest.ws}/jobs/large", api="2025-01-01-preview", data=body)
    except Exception:  # the server may close before it has read all: also a refusal
        pass
    else:
        assert reply.status_code in (400, 413)
    assert rest.call("GET", rest.ws).status_code == 200


@pytest.mark.parametrize("name", ["..", "a%2fb", "%00", "x" * 300, "a%20b", "-", "%0a"])
def test_odd_names_of_resources(rest, name):
    for path in (f"{rest.ws}/jobs/{name}", f"{rest.ws}/computes/{name}", f"{rest.ws}/environments/{name}/versions/1"):
        status, body = raw(rest, "PUT", path + "?api-version=2023-08-01-preview", b'{"properties":{}}',
                           {**auth(rest), "Content-Type": "application/json"})
        assert 400 <= status < 500, (path, status, body)


@pytest.mark.parametrize("lines", [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
])
def test_malformed_http(rest, lines):
    import socket

    place = urllib.parse.urlsplit(rest.env["IDENTITY_ENDPOINT"])
    with socket.create_connection((place.hostname, place.port), timeout=60) as peer:
        try:
            peer.sendall(lines)
            peer.shutdown(socket.SHUT_WR)
            answer = peer.recv(4096)
        except OSError:
            answer = b""
    assert answer == b"" or answer.split(b" ")[1][:1] == b"4" or answer.split(b" ")[1] == b"505", answer[:100]
    assert rest.call("GET", rest.ws).status_code == 200


def test_a_runs_token_reaches_only_its_workspace(rest, run, ml_client, tmp_path):
    """The token that a job holds: its own run yes, the rest of the API no, and nothing once it ended."""
    job = run("mkdir -p outputs; printf %s \"$MLFLOW_TRACKING_TOKEN\" > outputs/token.txt; env | grep -c SECRET || true")
    ml_client.jobs.download(job.name, download_path=tmp_path, all=True)
    token = next(tmp_path.rglob("token.txt")).read_text()
    if not token:
        return  # the agent's loopback listener adds it, the command never sees one
    for method, path in (("GET", f"{rest.ws}/jobs"), ("GET", rest.ws), ("PUT", f"{rest.ws}/computes/x"), ("POST", f"{rest.ws}/datastores/workspaceblobstore/listSecrets")):
        assert rest.call(method, path, token=token).status_code in (401, 403)


def test_conflicting_creates_have_one_winner(rest, cluster):
    import concurrent.futures

    def create(number):
        body = {"properties": {"dataType": "uri_folder", "dataUri": f"azureml://datastores/workspaceblobstore/paths/{number}/"}}
        return rest.call("PUT", f"{rest.ws}/data/contested/versions/1", api="2023-04-01-preview", json=body).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(create, range(8)))
    assert codes == [201] + [409] * 7


def test_nothing_secret_in_the_servers_log(rest, server):
    text = server.log.read_text()
    for secret in (rest.env["IDENTITY_HEADER"], rest.token().split(".")[2]):
        assert secret not in text
