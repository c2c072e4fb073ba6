"""Inputs from outside: https, http and wasbs, fetched by the server from an origin that the test starts."""

import datetime
import ipaddress
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from conftest import Server, eventually, files_under

SECRET = "c2VjcmV0LXNpZ25hdHVyZQ"


def certificates(folder, name, host=None):
    """An authority, and a certificate by it of that host name, or of 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.timezone.utc)

    def issue(subject, issuer, key, signer, *extensions):
        made = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(signer, hashes.SHA256())

    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = issue(ca_name, ca_name, ca_key, ca_key, (x509.BasicConstraints(ca=True, path_length=None), True))
    leaf = issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "origin")]), ca_name, key, ca_key,
                 (x509.SubjectAlternativeName([x509.DNSName(host) if host else x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False))
    pem = serialization.Encoding.PEM
    (folder / f"{name}.ca").write_bytes(ca.public_bytes(pem))
    (folder / f"{name}.pem").write_bytes(
        leaf.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / f"{name}.ca", folder / f"{name}.pem"


class Origin:
    """Files by path; `hold` keeps a path's second half back, or cuts there, until it is told to go on."""

    def __init__(self, certificate=None):
        self.files, self.moved, self.asked, self.hold, self.sizes = {}, {}, [], {}, {}
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
                origin.asked.append((self.path, dict(self.headers)))
                if path in origin.moved:
                    return self.answer(302, b"", Location=origin.moved[path])
                if "comp=list" in query:
                    return self.answer(200, origin.listing(path, query))
                if path in origin.sizes:
                    self.send_response(200)
                    self.send_header("Content-Length", str(origin.sizes[path]))
                    self.end_headers()
                    self.close_connection = True
                    return None
                if path not in origin.files:
                    return self.answer(404, b"not here")
                data = origin.files[path]
                etag = f'"{hash(data) & 0xFFFFFF:x}"'
                if self.headers.get("If-None-Match") == etag:
                    return self.answer(304, b"", ETag=etag)
                start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(data) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                held = origin.hold.pop(path, None)
                if held:
                    half = start + (len(data) - start) // 2
                    self.wfile.write(data[start:half])
                    held.wait(60)
                    start = half
                self.wfile.write(data[start:])
                return None

            def answer(self, status, body, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def listing(self, path, query):
        prefix = unquote(next((item[7:] for item in query.split("&") if item.startswith("prefix=")), ""))
        blobs = "".join(
            f"<Blob><Name>{name[len(path) + 1:]}</Name><Properties><Etag>0x1</Etag><Content-Length>{len(data)}</Content-Length></Properties></Blob>"
            for name, data in sorted(self.files.items()) if name.startswith(f"{path}/{prefix}"))
        return f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>".encode()


def serving(origin):
    yield origin
    origin.server.shutdown()
    origin.server.server_close()


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("ca"), "trusted")


@pytest.fixture(scope="module")
def origin(trusted):
    yield from serving(Origin(trusted[1]))


@pytest.fixture(scope="module")
def plain_origin():
    yield from serving(Origin())


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    yield from serving(Origin(certificates(tmp_path_factory.mktemp("ca"), "other")[1]))


@pytest.fixture(scope="module")
def fetching_server(tmp_path_factory, origin, plain_origin, untrusted, trusted):
    server = Server(tmp_path_factory.mktemp("o") / "d")
    server.options = ["--allow-fetch", origin.address, "--allow-fetch", plain_origin.address, "--allow-fetch", untrusted.address, "--fetch-limit", "1"]
    server.surroundings = {"SSL_CERT_FILE": str(trusted[0])}
    server.start()
    server.turnout("compute", "create", "-n", "c1", "--type", "amlcompute", "--size", "STANDARD_DS3_v2", "--max-instances", "2")
    yield server
    server.stop()


@pytest.fixture
def job(fetching_server, tmp_path):
    def submit(path, kind="uri_file", command="cat ${{inputs.data}}", mode="ro_mount", wait=True):
        file = tmp_path / "job.yml"
        file.write_text(
            f"type: command\ncompute: azureml:c1\nenvironment:\n  image: debian:12\ncommand: >-\n  {command}\n"
            f"inputs:\n  data:\n    type: {kind}\n    path: {path}\n    mode: {mode}\n")
        return fetching_server.turnout("job", "create", "-f", file, *(["--stream"] if wait else ["--query", "name", "-o", "tsv"]), check=False)

    return submit


@pytest.mark.parametrize("mode", ["ro_mount", "download"])
def test_https(job, origin, mode):
    origin.files["/data/some csv.csv"] = b"x,y\n1,2\n"
    done = job(f"https://{origin.address}/data/some csv.csv", mode=mode, command="basename ${{inputs.data}} && cat ${{inputs.data}}")
    assert done.returncode == 0 and "some csv.csv\nx,y\n1,2\n" in done.stdout, done.stdout + done.stderr


def test_http_and_a_redirection_up_to_https(job, plain_origin, origin):
    origin.files["/there"] = b"from https\n"
    plain_origin.moved["/here"] = f"https://{origin.address}/there"
    done = job(f"http://{plain_origin.address}/here")
    assert done.returncode == 0 and "from https" in done.stdout, done.stdout + done.stderr


def test_the_sdk_and_an_asset(fetching_server, origin, job):
    origin.files["/asset.csv"] = b"of an asset\n"
    fetching_server.turnout("data", "create", "-n", "far", "-v", "1", "--type", "uri_file", "--path", f"https://{origin.address}/asset.csv")
    for reference in ("azureml:far:1", "azureml:far@latest"):
        done = job(reference)
        assert done.returncode == 0 and "of an asset" in done.stdout, done.stdout + done.stderr
    script = f"""
from azure.ai.ml import MLClient, command, Input
from azure.ai.ml.entities import Environment
from azure.identity import DefaultAzureCredential
ml = MLClient(DefaultAzureCredential(), {", ".join(repr(fetching_server.config()[k]) for k in ("subscription_id", "resource_group", "workspace_name"))})
job = ml.create_or_update(command(command="cat ${{{{inputs.data}}}}", compute="c1", environment=Environment(image="debian:12"),
                                  inputs={{"data": Input(type="uri_file", path="https://{origin.address}/asset.csv")}}))
ml.jobs.stream(job.name)
print(ml.jobs.get(job.name).inputs["data"].path)
"""
    import sys
    done = fetching_server.turnout("exec", "--", sys.executable, "-c", script, check=False)
    assert done.returncode == 0 and f"https://{origin.address}/asset.csv" in done.stdout, done.stdout + done.stderr


def test_a_folder_of_blob_storage(job, origin):
    origin.files.update({"/box/set/a.csv": b"A\n", "/box/set/deep er/b.csv": b"B\n", "/box/settled": b"no\n"})
    done = job(f"wasbs://box@{origin.address}/set/", kind="uri_folder", command="cd ${{inputs.data}} && find . -type f | sort && cat a.csv 'deep er/b.csv'")
    assert done.returncode == 0 and "./a.csv\n./deep er/b.csv\nA\nB\n" in done.stdout, done.stdout + done.stderr


def test_what_cannot_be_fetched_is_refused_at_submission(job):
    for path, kind, words in (
        ("abfss://box@account.dfs.core.windows.net/x", "uri_file", "not from abfss:"),
        ("https://example.com/folder/", "uri_folder", "cannot be listed"),
        ("https://user:word@example.com/x", "uri_file", "no credentials are sent"),
    ):
        done = job(path, kind)
        assert done.returncode != 0 and words in done.stderr and "word@" not in done.stderr, done.stderr


@pytest.mark.parametrize("path, words", [
    ("https://{origin}/nothing?sig={secret}", "answers 404, nothing is there"),
    ("https://{origin}/down", "from https down to http is not followed"),
    ("https://{origin}/inside", "127.0.0.1 is a loopback address, and the server fetches nothing from there"),
    ("https://{origin}/cloud", "169.254.169.254 is the address where clouds serve a machine's credentials"),
    ("http://169.254.169.254/latest", "169.254.169.254 is the address where clouds serve a machine's credentials"),
    ("http://127.0.0.1:1/x?sig={secret}", "turnout up --allow-fetch 127.0.0.1:1"),
    ("https://{origin}/huge", "the server fetches at most 1.0 GiB"),
])
def test_a_failure_is_the_inputs(job, fetching_server, origin, plain_origin, path, words):
    origin.moved.update({"/down": f"http://{plain_origin.address}/x", "/inside": "https://127.0.0.1:2/x", "/cloud": "https://169.254.169.254/x"})
    origin.sizes["/huge"] = 2 << 30
    done = job(path.format(origin=origin.address, secret=SECRET))
    said = done.stdout + done.stderr
    assert done.returncode != 0 and words in said, said
    assert SECRET not in said
    name = re.search(r"^job (\S+)$", done.stderr, re.M)[1]
    assert json.loads(fetching_server.turnout("job", "show", "-n", name, "-o", "json").stdout)["cause"] == "input"


def test_an_origin_that_is_not_trusted(job, untrusted):
    done = job(f"https://{untrusted.address}/x?sig={SECRET}")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "the certificate of '127.0.0.1' is not trusted" in said and SECRET not in said, said
    assert not untrusted.asked


def test_a_signature_is_shown_nowhere(job, fetching_server, origin):
    origin.files["/signed.csv"] = b"signed\n"
    name = job(f"https://{origin.address}/signed.csv?sv=1&sig={SECRET}", wait=False).stdout.strip()
    streamed = fetching_server.turnout("job", "stream", name)
    assert "signed" in streamed.stdout
    assert any(f"sig={SECRET}" in path for path, _ in origin.asked)  # it was sent
    shown = streamed.stdout + streamed.stderr + fetching_server.turnout("job", "explain", name).stdout + fetching_server.log.read_text()
    for file in files_under(fetching_server.data):
        if file.suffix in (".json", ".log", ".txt"):
            shown += file.read_text(errors="replace")
    assert SECRET not in shown


def test_progress_and_a_restart_in_between(job, fetching_server, origin):
    data = bytes(range(256)) * (1 << 20)  # 256 MiB: what is durable is noted every 64
    origin.files["/large"] = data
    go = origin.hold["/large"] = threading.Event()
    name = job(f"https://{origin.address}/large", command="sha256sum ${{inputs.data}} | cut -c 1-64", wait=False).stdout.strip()

    def told():
        text = fetching_server.turnout("job", "explain", name).stdout
        return text if "128.0 MiB of 256.0 MiB" in text else None

    assert "fetching https://" in eventually("explain tells how far it is", told)
    assert fetching_server.turnout("job", "show", name, "--query", "status", "-o", "tsv").stdout.strip() in ("Preparing", "Starting")
    fetching_server.kill()
    go.set()
    fetching_server.start()
    import hashlib

    assert hashlib.sha256(data).hexdigest() in fetching_server.turnout("job", "stream", name).stdout
    ranges = [headers.get("Range") for path, headers in origin.asked if path == "/large"]
    assert ranges[0] is None and int(ranges[1][6:-1]) >= 64 << 20, ranges
    # The next job takes what is there.
    before = len(origin.asked)
    assert job(f"https://{origin.address}/large", command="true").returncode == 0
    assert [headers.get("If-None-Match") is not None for _, headers in origin.asked[before:]] in ([True], [])
