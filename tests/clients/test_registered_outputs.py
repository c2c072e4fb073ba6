"""Outputs that become assets: `name` and `version` of an output, in YAML and by the SDK."""
import json
import textwrap
import time

from conftest import eventually, wait_for


def shown(server, *words, **more):
    return json.loads(server.turnout(*words, "-o", "json", **more).stdout)


def test_by_the_sdk(ml_client, cluster):
    from azure.ai.ml import Output, command, dsl
    from azure.ai.ml.entities import Environment

    def step(text, **outputs):
        return command(command=text, environment=Environment(image="debian:12"), compute=cluster, outputs=outputs)

    def run(job):
        made = ml_client.jobs.create_or_update(job, experiment_name="registers")
        assert wait_for(ml_client, made.name).status == "Completed"
        return made.name

    table = Output(type="uri_folder", name="sdk-table", description="of a job")
    first = run(step("echo 1 > ${{outputs.table}}/x.csv", table=table))
    eventually("it is data", lambda: [one.version for one in ml_client.data.list("sdk-table")] == ["1"])
    data = ml_client.data.get("sdk-table", label="latest")
    assert data.type == "uri_folder" and data.path.rstrip("/").endswith(f"/paths/azureml/{first}/table") and data.description == "of a job"
    assert data.properties["turnout.job"] == first
    run(step("echo 2 > ${{outputs.table}}/x.csv", table=table))
    eventually("the next version", lambda: [one.version for one in ml_client.data.list("sdk-table")] == ["2", "1"])

    @dsl.pipeline(compute=cluster)
    def train():
        made = step("echo model > ${{outputs.net}}/model.txt", net=Output(type="custom_model"))()
        made.outputs.net.name = "sdk-net"
        made.outputs.net.version = "7"

    name = run(train())
    eventually("it is a model", lambda: [one.version for one in ml_client.models.list("sdk-net")] == ["7"])
    model = ml_client.models.get("sdk-net", "7")
    assert model.type == "custom_model" and model.job_name == name + "_0"


def test_by_yaml_across_a_crash(own_server, tmp_path):
    def job(more, command="echo 1 > ${{outputs.table}}/x"):
        (tmp_path / "job.yml").write_text(textwrap.dedent(f"""
            command: {command}
            environment: {{image: "debian:12"}}
            outputs:
              table: {{type: uri_folder, {more}}}
            """))
        return tmp_path / "job.yml"

    def became(name):
        own = shown(own_server, "job", "show", "-n", name)["properties"]
        return {key: value for key, value in own.items() if "registered" in key}

    own_server.turnout("job", "create", "-f", job("name: weather, version: 3"), "-n", "one", "--stream")
    eventually("it says so", lambda: became("one") == {"turnout.registered.table": "data weather:3"})
    assert shown(own_server, "data", "show", "-n", "weather", "-v", "3")["path"].rstrip("/").endswith("/azureml/one/table")
    refused = own_server.turnout("job", "create", "-f", job("name: weather, version: 3"), "-n", "two", check=False)
    assert refused.returncode != 0 and "job.yml:5" in refused.stderr and "is there already" in refused.stderr, refused.stderr
    for more, words in [("name: a b", "letters, digits"), ("version: 3", "expected a name")]:
        refused = own_server.turnout("job", "create", "-f", job(more), check=False)
        assert refused.returncode != 0 and words in refused.stderr, refused.stderr
    # Killed at the moment of the end, again and again: each is registered, once.
    for i in range(6):
        own_server.turnout("job", "create", "-f", job("name: often", "sleep 0.3; echo 1 > ${{outputs.table}}/x"), "-n", f"often-{i}")
    for pause in (0.25, 0.3, 0.35):
        time.sleep(pause)
        own_server.kill()
        own_server.start()
    for i in range(6):
        eventually("it has ended", lambda i=i: shown(own_server, "job", "show", "-n", f"often-{i}")["status"] == "Completed")
        eventually("it is registered", lambda i=i: f"turnout.registered.table" in became(f"often-{i}"))
    versions = shown(own_server, "data", "list", "-n", "often")
    assert sorted(one["properties"]["turnout.job"] for one in versions) == [f"often-{i}" for i in range(6)], versions
    # A failed one is not, and a sweep says what to do.
    own_server.turnout("job", "create", "-f", job("name: never", "exit 3"), "-n", "bad", "--stream", check=False)
    assert own_server.turnout("data", "show", "-n", "never", check=False).returncode != 0
