"""Machines that are attached: real sshd, the real SDK, the command line and REST."""
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import Server, client_for, eventually, log_of, processes_with, wait_for
from hosts import Hosts, user


@pytest.fixture(scope="module")
def hosts():
    hosts = Hosts(2)
    yield hosts
    hosts.end()


@pytest.fixture(scope="module")
def server():
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    server = Server(path / "data")
    server.start()
    yield server
    for one in json.loads(server.turnout("compute", "list", "-o", "json").stdout):  # of a test that failed
        server.turnout("compute", "detach", one["name"], check=False)
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sdk(server, monkeypatch):
    for name, value in server.env().items():
        if not name.startswith("AZUREML_RUN_POLLING"):
            monkeypatch.setenv(name, value)
    return client_for(server)


def machine(hosts, name="my-vm", host="127.0.0.1", **more):
    from azure.ai.ml.entities import VirtualMachineCompute, VirtualMachineSshSettings

    settings = {"admin_username": user(), "ssh_private_key_file": str(hosts.root / "id"), "ssh_port": hosts.all[0].port}
    settings.update(more)
    return VirtualMachineCompute(
        name=name, ssh_settings=VirtualMachineSshSettings(**settings),
        resource_id=f"/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/{host}")


def seen():
    return {str(one) for one in Path.home().glob(".turnout-*vm*")}


OF_OTHERS = seen()


def folders():
    """What is there of machines that are attached: they have the home folder of who runs the tests."""
    return sorted(seen() - OF_OTHERS)


def attach(sdk, what):
    return sdk.compute.begin_create_or_update(what).result()


def detach(sdk, name):
    sdk.compute.begin_delete(name, action="Detach").wait()
    assert folders() == []
    assert not processes_with(f"{Path.home()}/.turnout-{name}")


def submit(sdk, text, compute="my-vm", **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    more.setdefault("environment", Environment(image="debian:12"))
    return sdk.create_or_update(command(command=text, compute=compute, experiment_name="attached", **more))


def test_a_job_runs_there_unchanged_and_detaching_leaves_no_trace(server, hosts, sdk, tmp_path):
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import Environment
    from azure.core.exceptions import HttpResponseError
    from mlflow import MlflowClient

    made = attach(sdk, machine(hosts))
    assert (made.type, made.provisioning_state) == ("virtualmachine", "Succeeded")
    assert made.ssh_settings.admin_username == user() and made.ssh_settings.admin_password is None
    assert [one.name for one in sdk.compute.list(compute_type="VirtualMachine")] == ["my-vm"]
    shown = server.turnout("compute", "show", "-n", "my-vm", "-o", "json").stdout
    system = json.loads(shown)["system"]
    assert system["cores"] > 0 and system["system"].startswith("Linux ") and system["python"].startswith("3."), shown
    assert system["os"] and system["hostKey"].startswith("SHA256:"), shown

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import mlflow, os, pathlib, sys\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "mlflow.log_metric('size', len(text))\n"
        "pathlib.Path(sys.argv[2], 'result').write_text(text.upper())\n"
        "print('in', os.environ['TURNOUT_NODE_FOLDER'])\n")
    (tmp_path / "data").write_text("some words")
    (tmp_path / "conda.yml").write_text("dependencies: [python>=3.9, pip, {pip: [mlflow-skinny]}]\n")
    job = submit(sdk, "python train.py ${{inputs.data}} ${{outputs.out}}", code=str(tmp_path / "src"),
                 environment=Environment(image="debian:12", conda_file=str(tmp_path / "conda.yml")),
                 inputs={"data": Input(type="uri_file", path=str(tmp_path / "data"))},
                 outputs={"out": Output(type="uri_folder")})
    done = wait_for(sdk, job.name, 240)
    assert done.status == "Completed", server.turnout("job", "show", "-n", job.name).stdout
    assert f"in {Path.home()}/.turnout-my-vm" in log_of(sdk, job.name, tmp_path)
    sdk.jobs.download(job.name, download_path=tmp_path / "got", output_name="out")
    assert next((tmp_path / "got").rglob("result")).read_text() == "SOME WORDS"
    assert MlflowClient(server.env()["MLFLOW_TRACKING_URI"]).get_run(job.name).data.metrics == {"size": 10.0}

    # The same again is the same; another machine under that name is none.
    assert attach(sdk, machine(hosts)).provisioning_state == "Succeeded"
    with pytest.raises(HttpResponseError, match="exists and is the machine") as refused:
        attach(sdk, machine(hosts, ssh_port=hosts.all[1].port))
    assert refused.value.status_code == 409
    with pytest.raises(HttpResponseError, match="is one machine that was attached"):
        submit(sdk, "true", instance_count=2)

    # Nothing tells what opens it.
    key = (hosts.root / "id").read_text()
    secret = key.splitlines()[2]
    for line in (["compute", "show", "-n", "my-vm", "-o", "json"], ["compute", "list", "-o", "json"], ["events", "-o", "json"],
                 ["pool", "list", "-o", "json"], ["job", "show", "-n", job.name, "-o", "json"]):
        assert secret not in server.turnout(*line).stdout, line
    for path in [*server.data.rglob("*.log"), *server.data.rglob("*.json")]:
        assert secret not in path.read_text(errors="replace"), path
    nodes = json.loads(server.turnout("compute", "list-nodes", "-n", "my-vm", "-o", "json").stdout)
    assert [node["node_state"] for node in nodes] == ["idle"]
    pool = next(one for one in json.loads(server.turnout("pool", "list", "-o", "json").stdout) if one.get("attached"))
    shown = json.loads(server.turnout("pool", "show", pool["name"], "-o", "json").stdout)
    assert (shown["slots"], shown["nodes"], shown["hosts"][0]["state"]) == (1, 1, "connected")

    # A job that runs is canceled by that, as a cluster's.
    running = submit(sdk, "sleep 1000")
    eventually("it runs", lambda: sdk.jobs.get(running.name).status == "Running")
    with pytest.raises(HttpResponseError, match="detach it"):
        sdk.compute.begin_delete("my-vm").wait()
    detach(sdk, "my-vm")
    assert wait_for(sdk, running.name).status == "Canceled"
    assert "my-vm" not in server.turnout("compute", "list").stdout


def test_by_the_command_line(server, hosts, tmp_path):
    (tmp_path / "vm.yml").write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/vmCompute.schema.json\n"
        "name: yaml-vm\ntype: virtualmachine\ndescription: mine\n"
        "resource_id: /subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/127.0.0.1\n"
        f"ssh_settings:\n  admin_username: {user()}\n  ssh_port: {hosts.all[0].port}\n  ssh_private_key_file: id\n")
    shutil.copy(hosts.root / "id", tmp_path / "id")
    made = json.loads(server.turnout("compute", "attach", "-f", str(tmp_path / "vm.yml"), "-o", "json").stdout)
    assert (made["type"], made["provisioning_state"]) == ("virtualmachine", "Succeeded")
    assert made["ssh_settings"] == {"admin_username": user(), "ssh_port": hosts.all[0].port}
    server.turnout("compute", "attach", "-n", "flag-vm", "--type", "virtualmachine", "--resource-id", "127.0.0.1",
                   "--admin-username", user(), "--ssh-private-key-file", str(hosts.root / "id"), "--ssh-port", str(hosts.all[1].port))
    (tmp_path / "job.yml").write_text("command: echo there\nenvironment: {image: 'debian:12'}\ncompute: azureml:yaml-vm\n")
    assert "there" in server.turnout("job", "create", "-f", str(tmp_path / "job.yml"), "--stream").stdout
    listed = json.loads(server.turnout("compute", "list", "--type", "virtualmachine", "-o", "json").stdout)
    assert [one["name"] for one in listed] == ["flag-vm", "yaml-vm"]
    updated = server.turnout("compute", "update", "-n", "flag-vm", "--description", "another", "-o", "json")
    assert json.loads(updated.stdout)["description"] == "another"
    server.turnout("compute", "detach", "yaml-vm", "--yes")
    server.turnout("compute", "delete", "flag-vm", "--action", "detach", "--yes")
    eventually("nothing is left", lambda: folders() == [])


def test_who_does_not_let_us_in_is_said_at_attach(server, hosts, sdk, tmp_path):
    from azure.core.exceptions import HttpResponseError
    from hosts import free_port, make_key

    make_key(tmp_path / "other")
    (tmp_path / "none").write_text("no key\n")
    for number, (more, words) in enumerate([
            ({"ssh_private_key_file": str(tmp_path / "other")}, "does not let"),
            ({"ssh_private_key_file": None, "admin_password": "wrong"}, "with the password that it was given"),
            ({"ssh_private_key_file": str(tmp_path / "none")}, "a private key without passphrase is expected"),
            ({"ssh_port": free_port()}, "127.0.0.1")]):
        name = f"no-vm-{number}"
        with pytest.raises(HttpResponseError, match=words):
            attach(sdk, machine(hosts, name, **more))
        got = sdk.compute.get(name)
        assert (got.provisioning_state, got.provisioning_errors) == ("Failed", "ComputeUnusable")
        with pytest.raises(HttpResponseError, match=words):
            submit(sdk, "true", name)
        detach(sdk, name)


def test_a_machine_that_shows_another_key_is_refused_until_somebody_says_so(server, hosts, sdk):
    from azure.core.exceptions import HttpResponseError

    host = hosts.all[1]
    attach(sdk, machine(hosts, "key-vm", ssh_port=host.port))
    host.stop()
    host.new_key()
    host.start()
    job = submit(sdk, "true", "key-vm")
    eventually("it is told", lambda: sdk.compute.get("key-vm").provisioning_state == "Failed")
    with pytest.raises(HttpResponseError, match="when it was first used") as refused:
        attach(sdk, machine(hosts, "key-vm", ssh_port=host.port))
    shown = str(refused.value).split("shows the key ")[1].split(",")[0]
    again = machine(hosts, "key-vm", ssh_port=host.port)
    again.tags = {"turnout.host_key": shown}
    assert attach(sdk, again).provisioning_state == "Succeeded"
    assert wait_for(sdk, job.name).status == "Completed"
    detach(sdk, "key-vm")


@pytest.mark.parametrize("host, more, words", [
    ("-oProxyCommand=touch x", {}, "expected the name or IP address of a machine"),
    ("", {}, "expected the name or IP address of a machine"),
    ("a;b", {}, "expected the name or IP address of a machine"),
    ("127.0.0.1", {"admin_username": "a b"}, "expected the name of a user"),
    ("127.0.0.1", {"admin_username": "-oProxyCommand=x"}, "expected the name of a user"),
    ("127.0.0.1", {"ssh_port": 0}, "sshPort"),
    ("127.0.0.1", {"ssh_port": 70000}, "sshPort"),
    ("127.0.0.1", {"ssh_private_key_file": None}, "expected a password or a private key"),
])
def test_what_is_no_machine_is_refused(hosts, sdk, host, more, words):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=words) as refused:
        attach(sdk, machine(hosts, "bad-vm", host, **more))
    assert refused.value.status_code == 400
