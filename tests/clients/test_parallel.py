"""Parallel steps of pipelines: the real SDK, and YAML by the command line."""
import json
import textwrap

import pytest
from conftest import wait_for

SCORE = """
import argparse, os, sys
def init():
    global factor
    parser = argparse.ArgumentParser()
    parser.add_argument("--factor", type=int, default=1)
    factor = parser.parse_known_args()[0].factor
def run(mini_batch):
    rows = []
    for path in mini_batch:
        number = int(open(path).read())
        rows.append(f"{os.path.basename(path)} {factor * number} {os.environ.get('WHO', '')}")
    return rows
"""
PIPELINE = """
    type: pipeline
    jobs:
      make:
        command: for i in $(seq 10 21); do echo $i > ${{outputs.numbers}}/$i.txt; done
        environment: {image: "debian:12"}
        outputs: {numbers: {type: uri_folder}}
      score:
        type: parallel
        inputs:
          data: {type: uri_folder, path: "${{parent.jobs.make.outputs.numbers}}", mode: ro_mount}
          factor: 3
        outputs:
          rows: {type: uri_file, path: "azureml://datastores/${{default_datastore}}/paths/${{name}}/rows.csv"}
        input_data: ${{inputs.data}}
        mini_batch_size: "5"
        max_concurrency_per_instance: 2
        mini_batch_error_threshold: 0
        logging_level: DEBUG
        retry_settings: {max_retries: 1, timeout: 60}
        environment_variables: {WHO: me}
        task:
          type: run_function
          code: ./src
          entry_script: score.py
          environment: {image: "debian:12"}
          program_arguments: >-
            --factor ${{inputs.factor}}
          append_row_to: ${{outputs.rows}}
"""
ROWS = [f"{i}.txt {3 * i} me" for i in range(10, 22)]


@pytest.fixture()
def parts(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "score.py").write_text(SCORE)
    (tmp_path / "pipeline.yml").write_text(textwrap.dedent(PIPELINE))
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


def test_a_parallel_step(server, ml_client, parts):
    server.turnout("job", "validate", "-f", parts / "pipeline.yml")
    name = cli(server, "job", "create", "-f", parts / "pipeline.yml", "-o", "json")["name"]
    server.turnout("job", "stream", name)
    assert ml_client.jobs.get(name).jobs["score"].type == "parallel"
    shown = cli(server, "job", "show", name, "-o", "json")["jobs"]["score"]
    assert shown["type"] == "parallel" and shown["task"]["entry_script"] == "score.py" and shown["mini_batch_size"] == "5"
    server.turnout("job", "download", "-n", name + "_1", "--all", "-p", parts / "got")
    assert rows_of(parts / "got", "rows*") == ROWS
    log = next((parts / "got").rglob("std_log.txt")).read_text()
    assert "3 mini-batches of 12 items, for 2 processes on each of 1 node" in log
    again = cli(server, "job", "create", "-f", parts / "pipeline.yml", "-o", "json")["name"]
    server.turnout("job", "stream", again)
    assert "turnout.reused_from" in cli(server, "job", "show", again + "_1", "-o", "json")["properties"]


def test_the_sdk_on_two_nodes(ml_client, parts):
    from azure.ai.ml import Input, Output, dsl
    from azure.ai.ml.parallel import RunFunction, parallel_run_function

    score = parallel_run_function(
        name="score", inputs={"data": Input(type="uri_folder"), "factor": Input(type="integer", default=3)},
        outputs={"rows": Output(type="uri_file")}, input_data="${{inputs.data}}", instance_count=2, mini_batch_size="1",
        max_concurrency_per_instance=1, environment_variables={"WHO": "me"},
        task=RunFunction(code=str(parts / "src"), entry_script="score.py", environment=bare(ml_client),
                         program_arguments="--factor ${{inputs.factor}}", append_row_to="${{outputs.rows}}"))

    @dsl.pipeline(compute="serverless")
    def all_of_it(data):
        return {"rows": score(data=data).outputs.rows}

    job = ml_client.jobs.create_or_update(all_of_it(Input(type="uri_folder", path=str(parts / "numbers"))), experiment_name="parallel")
    wait_for(ml_client, job.name)
    assert ml_client.jobs.get(job.name).status == "Completed"
    ml_client.jobs.download(job.name, download_path=parts / "got", output_name="rows")
    assert rows_of(parts / "got", "*rows*") == ROWS


def bare(ml_client):
    from azure.ai.ml.entities import Environment
    return ml_client.environments.create_or_update(Environment(name="bare", version="1", image="debian:12"))


def test_what_is_wrong_is_told_at_its_place(server, parts):
    path = parts / "pipeline.yml"
    good = path.read_text()
    for old, new, words in [
        ("input_data: ${{inputs.data}}", "input_data: ${{inputs.date}}", "did you mean 'data'"),
        ("append_row_to: ${{outputs.rows}}", "append_row_to: ${{outputs.row}}", "did you mean 'rows'"),
        ('mini_batch_size: "5"', "mini_batch_size: many", "a number of files such as 10, or a size such as 10kb"),
        ("mini_batch_error_threshold: 0", "mini_batch_error_threshold: -2", "a whole number from -1"),
        ("mini_batch_error_threshold: 0", "partition_keys: [a]", "only tables have columns here"),
        ("entry_script: score.py", "entry_scrip: score.py", "did you mean 'entry_script'"),
        ("type: run_function", "type: model", "expected run_function"),
        ("logging_level: DEBUG", "logging_level: LOUD", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("input_data: ${{inputs.data}}\n", "\n", "key 'input_data' is missing"),
    ]:
        assert old in good
        path.write_text(good.replace(old, new))
        said = server.turnout("job", "validate", "-f", path, check=False)
        assert said.returncode != 0 and words in said.stderr, (new, said.stderr)
