"""Getting in: workspaces, tokens, and what is open to everybody."""
import json
import subprocess

import pytest

from conftest import REFUSED, TURNOUT, files_under


def test_status_tells_pid_urls_and_folder(server):
    status = json.loads(server.turnout("status", "-o", "json").stdout)
    assert status["pid"] == server.process.pid
    text = json.dumps(status)
    assert "https://127.0.0.1:" in text and "http://127.0.0.1:" in text and str(server.data) in text


def test_env_keeps_other_https_working(server):
    bundle = server.env()["REQUESTS_CA_BUNDLE"]
    with open(bundle) as file:
        count = file.read().count("BEGIN CERTIFICATE")
    assert count > 1, "the CA bundle must hold the system's own authorities too"


def test_secret_files_are_private(server):
    loose = [str(p) for p in files_under(server.data) if any(w in p.name for w in ("key", "token"))
             and p.stat().st_mode & 0o077 and server.data / "cache" not in p.parents]  # where packages have such names
    assert not loose
    assert server.data.stat().st_mode & 0o077 == 0


def test_workspace(ml_client, server):
    workspace = ml_client.workspaces.get(ml_client.workspace_name)
    assert workspace.name == server.config()["workspace_name"]
    assert workspace.name in [w.name for w in ml_client.workspaces.list()]


def test_other_workspace_is_apart(server, ml_client):
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Data
    from azure.identity import DefaultAzureCredential

    server.turnout("workspace", "create", "-n", "second")
    config = server.config()
    second = MLClient(DefaultAzureCredential(), config["subscription_id"], config["resource_group"], "second")
    assert second.datastores.get_default().name == "workspaceblobstore"
    ml_client.data.create_or_update(Data(name="only-here", version="1", path="azureml://datastores/workspaceblobstore/paths/x/"))
    assert "only-here" not in [d.name for d in second.data.list()]


def test_without_a_token_401(rest):
    reply = rest.call("GET", rest.ws, token=None)
    assert reply.status_code == 401 and reply.json()["error"]["message"]
    assert "www-authenticate" in {name.lower() for name in reply.headers}


@pytest.mark.parametrize("token", ["nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImF1ZCI6Im1lIn0.", "a.b.c"])
def test_with_a_wrong_token_401(rest, token):
    assert rest.call("GET", rest.ws, token=token).status_code in REFUSED


def test_changed_token_401(rest):
    head, body, signature = rest.token().split(".")
    assert rest.call("GET", rest.ws, token=f"{head}.{body}.{signature[::-1]}").status_code in REFUSED
    assert rest.call("GET", rest.ws, token=f"{head}.{body}.").status_code in REFUSED


def test_token_has_the_audience_asked_for(rest):
    import base64

    body = rest.token("https://ml.azure.example").split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["aud"] == "https://ml.azure.example"


def test_token_endpoint_wants_its_key(rest):
    reply = rest.session.get(rest.env["IDENTITY_ENDPOINT"], params={"api-version": "2019-08-01", "resource": rest.origin},
                             headers={"X-IDENTITY-HEADER": "wrong"}, timeout=60)
    assert reply.status_code in (400, 403, *REFUSED)


def test_metadata_is_open(rest):
    reply = rest.call("GET", "/metadata/endpoints", token=None, api="2019-05-01")
    document = reply.json()[0] if isinstance(reply.json(), list) else reply.json()
    assert document["resourceManager"] == rest.origin


def test_api_version_is_asked_for(rest):
    assert rest.call("GET", rest.ws, api=None).status_code == 400
    assert rest.call("GET", rest.ws, api="yesterday").status_code == 400
    assert rest.call("GET", rest.ws, api="2031-01-01").status_code == 200


def test_unknown_things_are_404_in_arm_shape(rest):
    for path in ("/workspaces/none", "/computes/none", "/jobs/none", "/environments/none", "/data/none/versions/1", "/datastores/none"):
        base = rest.ws.rsplit("/workspaces/", 1)[0] if path.startswith("/workspaces") else rest.ws
        reply = rest.call("GET", base + path)
        assert reply.status_code == 404, path
        assert reply.json()["error"]["code"] and reply.json()["error"]["message"]


def test_a_page_is_linked_by_the_way_that_its_client_came(server, rest, tmp_path):
    """Who asks this machine under its own address opens pages by http, without a certificate; who comes
    through a tunnel or a proxy, by the address that was asked for."""
    (tmp_path / "job.yml").write_text("command: true\nenvironment: {image: 'debian:12'}\n")
    server.turnout("job", "create", "-f", tmp_path / "job.yml", "-n", "paged")
    page = json.loads(server.turnout("job", "show", "-n", "paged", "-o", "json").stdout)["services"]["Studio"]["endpoint"]
    assert page.startswith(server.status["plain_url"] + "/studio/jobs/")
    assert rest.session.get(page, timeout=60).status_code == 200
    token = {"Authorization": "Bearer " + rest.token()}
    def link(host):
        reply = rest.session.get(rest.origin + rest.ws + "/jobs/paged?api-version=2024-10-01", headers={**token, "Host": host}, timeout=60)
        return reply.json()["properties"]["services"]["Studio"]["endpoint"]

    assert link("gpu.lab.example:8443").startswith("https://gpu.lab.example:8443/studio/")
    assert link("localhost:1").startswith("https://localhost:1/studio/")
    assert link(rest.origin.removeprefix("https://")) == page


def test_a_second_up_on_the_same_folder_starts_nothing(server):
    done = subprocess.run([TURNOUT, "up", "--data", str(server.data), "--listen", "127.0.0.1:0"], capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert str(server.process.pid) in done.stdout + done.stderr
    assert json.loads(server.turnout("status", "-o", "json").stdout)["pid"] == server.process.pid
