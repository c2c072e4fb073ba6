"""Secrets of a workspace: set by command, used by the real SDK and YAML, told by nobody."""
import base64
import hashlib
import json
import os
import urllib.parse

import yaml

from conftest import eventually, log_of, status_of

PLANTED = "planted:secret/91b7 &+"


def set_secret(server, name, value, **more):
    return server.turnout("secret", "set", name, "--value-file", "-", "-o", "json", input=value, **more)


def files_with(folder, *texts):
    """The files beneath that folder that hold one of those."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                with open(os.path.join(path, name), "rb") as file:
                    content = file.read()
            except OSError:
                continue  # a socket, or gone
            if any(text in content for text in texts):
                found.append(os.path.join(path, name))
    return found


def test_a_job_of_the_sdk_has_its_secret_and_its_log_does_not(server, ml_client, run, folder):
    told = set_secret(server, "sdk-token", PLANTED + "\n")
    assert json.loads(told.stdout)["reference"] == "${{secrets.sdk-token}}"
    job = run(
        "echo \"<$TOKEN> <$HEADER>\"; printf %s \"$TOKEN\" | base64; printf %s \"$TOKEN\" | sha256sum >outputs/hash; "
        "cp \"$TOKEN_FILE\" /dev/stdout; stat -c %a \"$TOKEN_FILE\"; printf %s \"${#TOKEN}\" >outputs/length; "
        "python3 -c 'import os, urllib.parse as u; print(u.quote(os.environ[\"TOKEN\"], safe=\"\"))'",
        environment_variables={"TOKEN": "${{secrets.sdk-token}}", "HEADER": "Bearer ${{secrets.sdk-token}}",
                               "TOKEN_FILE": "${{secrets.sdk-token:file}}"})
    assert job.status == "Completed", job
    text = log_of(ml_client, job.name, folder)
    for form in (PLANTED, base64.b64encode(PLANTED.encode()).decode().rstrip("="), urllib.parse.quote(PLANTED, safe="")):
        assert form not in text, text
    assert "<***> <Bearer ***>\n***" in text and "400\n" in text and text.endswith("***\n"), text
    outputs = {path.name: path.read_text() for path in (folder / f"log-{job.name}").rglob("outputs/*")}
    assert outputs["hash"].split()[0] == hashlib.sha256(PLANTED.encode()).hexdigest()
    assert outputs["length"] == str(len(PLANTED))
    assert ml_client.jobs.get(job.name).environment_variables["TOKEN"] == "${{secrets.sdk-token}}"
    for words in (("job", "show", job.name), ("job", "explain", job.name), ("events",), ("secret", "list"), ("secret", "show", "sdk-token")):
        assert PLANTED not in server.turnout(*words, "-o", "json").stdout
    # Nothing of it is anywhere in the data folder: not in the database, not with the nodes.
    assert files_with(server.data, PLANTED.encode(), base64.b64encode(PLANTED.encode())) == []
    assert (server.data / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_yaml_names_it_too_and_what_is_wrong_is_refused(server, cluster, tmp_path):
    set_secret(server, "yaml-token", "a value for yaml")
    job = {"command": "echo \"$TOKEN\"; exit 7", "environment": {"image": "debian:12"}, "compute": f"azureml:{cluster}",
           "environment_variables": {"TOKEN": "${{secrets.yaml-token}}"}}

    def create(check=False, **changes):
        (tmp_path / "job.yml").write_text(yaml.safe_dump({**job, **changes}))
        return server.turnout("job", "create", "-f", str(tmp_path / "job.yml"), "--stream", check=check, timeout=180)

    done = create()
    assert done.returncode == 7 and "a value for yaml" not in done.stdout + done.stderr and "***" in done.stdout, done
    unknown = create(environment_variables={"TOKEN": "${{secrets.yaml-tokne}}"})
    assert unknown.returncode != 0 and "'yaml-token'" in unknown.stderr
    for changes in ({"command": "echo ${{secrets.yaml-token}}"}, {"inputs": {"x": "${{secrets.yaml-token}}"}}):
        refused = create(**changes)
        assert refused.returncode != 0 and "environment_variables" in refused.stderr, refused.stderr
    server.turnout("secret", "remove", "yaml-token")
    gone = create()
    assert gone.returncode != 0 and "no secret 'yaml-token'" in gone.stderr
    short = server.turnout("secret", "set", "short", input="1234")
    assert "is not hidden" in short.stderr


def test_every_trial_of_a_sweep_gets_it(server, ml_client, cluster, host):
    from azure.ai.ml import command
    from azure.ai.ml.sweep import Choice

    set_secret(server, "sweep-token", "a value for the trials")
    one = command(command="test \"$TOKEN\" = 'a value for the trials' && echo ${{inputs.x}}", inputs={"x": 1.0}, environment=host,
                  compute=cluster, environment_variables={"TOKEN": "${{secrets.sweep-token}}"})
    sweep = one(x=Choice([1, 2])).sweep(sampling_algorithm="grid", primary_metric="m", goal="Minimize")
    sweep.compute = cluster
    sweep.set_limits(max_total_trials=2, max_concurrent_trials=2)
    made = ml_client.create_or_update(sweep)
    eventually("the sweep ends", lambda: status_of(ml_client, made.name) in ("Completed", "Failed", "Canceled"), 180)
    trials = json.loads(server.turnout("job", "list", "--parent-job-name", made.name, "-o", "json").stdout)
    assert [trial["status"] for trial in trials] == ["Completed", "Completed"], trials


def test_the_key_is_rotated_and_its_absence_is_told(own_server):
    server = own_server
    key = server.data / "secrets.key"
    assert not key.exists()
    set_secret(server, "a", PLANTED)
    first = key.read_text()
    assert json.loads(server.turnout("secret", "rotate-key", "-o", "json").stdout)["secrets"] == 1
    second = key.read_text()
    assert json.loads(second)["keys"][1] == json.loads(first)["keys"][0]
    key.unlink()
    lost = server.turnout("secret", "set", "b", input="another", check=False)
    assert lost.returncode != 0 and str(key) in lost.stderr and not key.exists()
    server.kill()
    server.start()  # it starts all the same
    key.write_text(second)
    set_secret(server, "b", "another")
    names = [row["name"] for row in json.loads(server.turnout("secret", "list", "-o", "json").stdout)]
    assert names == ["a", "b"]
    database = b"".join(part.read_bytes() for part in server.data.glob("turnout.db*"))
    assert PLANTED.encode() not in database
