"""Batch endpoints: the real SDK, and the command line."""
import json
import textwrap

import pytest
from conftest import wait_for


@pytest.fixture()
def parts(tmp_path):
    (tmp_path / "numbers").mkdir()
    for i in range(10, 22):
        (tmp_path / "numbers" / f"{i}.txt").write_text(str(i))
    return tmp_path


def cli(server, *words, **more):
    done = server.turnout(*words, **more)
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done


def rows_of(folder, name):
    found = [file for file in folder.rglob(name) if file.is_file()]
    assert found, list(folder.rglob("*"))
    return found[0].read_text().splitlines()


DRIVER = """
import os
def init():
    global factor
    folder = os.environ["AZUREML_MODEL_DIR"]
    factor = int(open(os.path.join(folder, "weights", "factor.txt")).read())
def run(mini_batch):
    with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], f"of-{os.path.basename(mini_batch[0])}"), "w") as file:
        file.write(str(len(mini_batch)))
    return [f"{os.path.basename(path)} {factor * int(open(path).read())}" for path in mini_batch]
"""


@pytest.fixture()
def deployed(server, parts):
    """A batch endpoint with a deployment of a model and a script, made by the command line."""
    (parts / "weights").mkdir()
    (parts / "weights" / "factor.txt").write_text("7")
    (parts / "code").mkdir()
    (parts / "code" / "driver.py").write_text(DRIVER)
    (parts / "endpoint.yml").write_text("name: sevens\nauth_mode: aad_token\n")
    (parts / "deployment.yml").write_text(textwrap.dedent("""
        $schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
        name: by-seven
        endpoint_name: sevens
        type: model
        model: {name: seven, path: weights}
        code_configuration: {code: code, scoring_script: driver.py}
        environment: {image: "debian:12"}
        compute: serverless
        resources: {instance_count: 1}
        settings:
          mini_batch_size: 5
          max_concurrency_per_instance: 2
          output_action: append_row
          output_file_name: sevens.csv
          retry_settings: {max_retries: 1, timeout: 60}
          error_threshold: -1
          logging_level: info
    """))
    server.turnout("batch-endpoint", "create", "-f", parts / "endpoint.yml")
    shown = cli(server, "batch-deployment", "create", "-f", parts / "deployment.yml", "--set-default", "-o", "json")
    assert shown["settings"]["mini_batch_size"] == 5 and shown["settings"]["retry_settings"] == {"max_retries": 1, "timeout": 60}
    assert shown["model"].startswith("azureml:") and shown["endpoint_name"] == "sevens"
    yield parts
    server.turnout("batch-endpoint", "delete", "sevens", "--yes", check=False)


def test_a_batch_endpoint(server, ml_client, deployed):
    from azure.ai.ml import Input

    shown = cli(server, "batch-endpoint", "show", "sevens", "-o", "json")
    assert shown["defaults"]["deployment_name"] == "by-seven" and shown["auth_mode"] == "aad_token"
    job = cli(server, "batch-endpoint", "invoke", "sevens", "--input", deployed / "numbers", "-o", "json")
    server.turnout("job", "stream", job["name"])
    server.turnout("job", "download", "-n", job["name"], "--output-name", "score", "-p", deployed / "got")
    assert rows_of(deployed / "got", "sevens.csv") == [f"{i}.txt {7 * i}" for i in range(10, 22)]
    assert rows_of(deployed / "got", "of-20.txt") == ["2"]
    # The SDK, with what is registered, and more nodes.
    endpoint = ml_client.batch_endpoints.get("sevens")
    assert endpoint.defaults.deployment_name == "by-seven"
    read = ml_client.batch_deployments.get("by-seven", "sevens")
    assert read.mini_batch_size == 5 and read.output_file_name == "sevens.csv" and read.retry_settings.timeout == 60
    from azure.ai.ml.entities import Data
    ml_client.data.create_or_update(Data(name="numbers", version="1", type="uri_folder", path=str(deployed / "numbers")))
    asked = ml_client.batch_endpoints.invoke("sevens", deployment_name="by-seven", inputs={"input": Input(type="uri_folder", path="azureml:numbers:1")})
    wait_for(ml_client, asked.name)
    assert ml_client.jobs.get(asked.name).status == "Completed"
    listed = [one.name for one in ml_client.batch_endpoints.list_jobs("sevens")]
    assert listed == [asked.name, job["name"]]
    assert [one.name for one in ml_client.batch_deployments.list_jobs("sevens", name="by-seven")] == listed
    assert [one["name"] for one in cli(server, "batch-endpoint", "list-jobs", "sevens", "-o", "json")] == listed


def test_the_sdk_makes_one(ml_client, deployed):
    from azure.ai.ml.entities._load_functions import load_batch_endpoint, load_model_batch_deployment

    endpoint = load_batch_endpoint(deployed / "endpoint.yml", params_override=[{"name": "of-the-sdk"}])
    ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
    deployment = load_model_batch_deployment(deployed / "deployment.yml", params_override=[{"endpoint_name": "of-the-sdk"}])
    ml_client.batch_deployments.begin_create_or_update(deployment).result()
    endpoint = ml_client.batch_endpoints.get("of-the-sdk")
    endpoint.defaults.deployment_name = "by-seven"
    ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
    assert ml_client.batch_endpoints.get("of-the-sdk").defaults.deployment_name == "by-seven"
    assert [one.name for one in ml_client.batch_deployments.list("of-the-sdk")] == ["by-seven"]
    assert {"sevens", "of-the-sdk"} <= {one.name for one in ml_client.batch_endpoints.list()}
    ml_client.batch_deployments.begin_delete("by-seven", "of-the-sdk").result()
    assert ml_client.batch_endpoints.get("of-the-sdk").defaults.deployment_name is None
    ml_client.batch_endpoints.begin_delete("of-the-sdk").result()
    assert "of-the-sdk" not in {one.name for one in ml_client.batch_endpoints.list()}


def test_a_pipeline_behind_an_endpoint(server, ml_client, parts):
    from azure.ai.ml import Input, dsl, load_component

    (parts / "say.yml").write_text(textwrap.dedent("""
        type: command
        name: say
        version: "1"
        inputs: {word: {type: string, default: none}}
        outputs: {out: {type: uri_folder}}
        environment: {image: "debian:12"}
        command: echo ${{inputs.word}} > ${{outputs.out}}/said.txt
    """))
    say = load_component(parts / "say.yml")

    @dsl.pipeline(name="say_it", display_name="say it")
    def say_it(word: str):
        return {"out": say(word=word).outputs.out}

    registered = ml_client.components.create_or_update(say_it(word="x").component, version="1")
    (parts / "pipeline-deployment.yml").write_text(f"""
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponentBatchDeployment.schema.json
name: says
endpoint_name: says
type: pipeline
component: azureml:{registered.name}:1
settings: {{continue_on_step_failure: false, default_compute: serverless}}
""")
    (parts / "inputs.yml").write_text("inputs:\n  word: {type: string, default: hello}\n")
    server.turnout("batch-endpoint", "create", "-n", "says")
    server.turnout("batch-deployment", "create", "-f", parts / "pipeline-deployment.yml", "--set-default")
    job = cli(server, "batch-endpoint", "invoke", "says", "-f", parts / "inputs.yml", "-o", "json")["name"]
    server.turnout("job", "stream", job)
    server.turnout("job", "download", "-n", job, "--output-name", "out", "-p", parts / "got")
    assert rows_of(parts / "got", "said.txt") == ["hello"]
    server.turnout("batch-endpoint", "delete", "says", "--yes")


def test_what_is_not_there_is_told(server, deployed):
    def refused(*words):
        return server.turnout(*words, check=False).stderr

    assert "did you mean 'sevens'" in refused("batch-endpoint", "show", "seven")
    assert "did you mean 'by-seven'" in refused("batch-deployment", "show", "by-sevn", "-e", "sevens")
    assert "the one input of a model deployment" in refused("batch-endpoint", "invoke", "sevens")
    assert "has no deployment 'other'" in refused("batch-endpoint", "invoke", "sevens", "-d", "other", "--input", deployed / "numbers")
    assert "'nothing' does not exist" in refused("batch-endpoint", "invoke", "sevens", "--input", "azureml:nothing:1")
    good = (deployed / "deployment.yml").read_text()
    for old, new, words in [
        ("scoring_script: driver.py", "scoring_script: drive.py", "drive.py"),
        ("model: {name: seven, path: weights}", "model: azureml:sven:1", "model 'sven' does not exist"),
        ("environment: {image: \"debian:12\"}\n", "\n", "expected an environment"),
        ("output_action: append_row", "output_action: append", "append_row or summary_only"),
        ("mini_batch_size: 5", "mini_batch_siz: 5", "did you mean 'mini_batch_size'"),
        ("mini_batch_size: 5", "mini_batch_size: 0", "a whole number from 1"),
    ]:
        assert old in good
        (deployed / "deployment.yml").write_text(good.replace(old, new))
        said = server.turnout("batch-deployment", "create", "-f", deployed / "deployment.yml", check=False)
        assert said.returncode != 0 and words in said.stderr, (new, said.stderr)
