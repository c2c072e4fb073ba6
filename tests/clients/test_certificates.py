"""A certificate that whoever runs the server has given: who asks for its name gets it, and it is
replaced while the server runs."""
import ssl
import socket
from urllib.parse import urlsplit

import pytest

from conftest import Server, eventually
from test_outside import certificates


@pytest.fixture
def given(tmp_path):
    """The authority's file, and a server that shows a certificate of "localhost" by it."""
    authority, pem = certificates(tmp_path, "lab", "localhost")
    server = Server(tmp_path / "d")
    server.options = ["--tls-certificate", str(pem), "--tls-key", str(pem)]
    server.start()
    yield server, authority, pem
    server.stop()


def shown(server, name):
    """The serial of what is shown to who asks for that name (None: for none)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", urlsplit(server.status["url"]).port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            from cryptography import x509

            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number


def test_a_given_certificate_is_shown_under_its_name_and_replaced_without_a_restart(given, tmp_path):
    server, authority, pem = given
    port = urlsplit(server.status["url"]).port
    first, own = shown(server, "localhost"), shown(server, None)
    assert first != own and shown(server, "127.0.0.1") == own
    # Where the system trusts it nobody compares fingerprints; elsewhere it is not trusted.
    key = server.data / "admin.key"
    for trusted in (True, False):
        surroundings = {"HOME": str(tmp_path / f"home-{trusted}"), "TURNOUT_DATA": str(tmp_path / "nowhere")}
        if trusted:
            surroundings["SSL_CERT_FILE"] = str(authority)
        done = server.turnout("login", f"https://localhost:{port}", "--key-file", key, check=False, env=surroundings)
        assert (done.returncode == 0) == trusted, done.stdout + done.stderr
        if trusted:
            listed = server.turnout("compute", "list", "-o", "json", env=surroundings)
            assert listed.stdout.strip() == "[]"
        else:
            assert "does not present" in done.stderr or "is not known here" in done.stderr

    # One that is of no use changes nothing; the next one is shown soon, and connections stay.
    good = pem.read_bytes()
    pem.write_bytes(good[: len(good) // 3])
    eventually("the bad one is refused", lambda: "is shown as it was before" in server.log.read_text(), seconds=40)
    assert shown(server, "localhost") == first
    certificates(tmp_path, "lab", "localhost")
    eventually("the new one is shown", lambda: shown(server, "localhost") != first, seconds=40)
    assert shown(server, None) == own


def test_files_that_cannot_be_used_are_named(tmp_path):
    server = Server(tmp_path / "d")
    for options, said in ((["--tls-certificate", tmp_path / "none.pem", "--tls-key", tmp_path / "none.key"], str(tmp_path / "none.pem")),
                          (["--tls-certificate", tmp_path / "none.pem"], "--tls-certificate and --tls-key go together")):
        done = server.turnout("up", "--data", server.data, "--listen", "127.0.0.1:0", *options, check=False)
        assert done.returncode != 0 and said in done.stderr, done.stdout + done.stderr
