"""Pipelines: the real SDK's, and YAML by the command line."""
import json
import textwrap

import pytest
from conftest import eventually, wait_for

PREP = """
    $schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
    name: prep
    version: 1
    type: command
    inputs:
      raw: {type: uri_folder}
      rows: {type: integer, default: 2, min: 1, max: 9}
      note: {type: string, optional: true}
    outputs:
      clean: {type: uri_folder}
    environment: {image: "debian:12"}
    command: >-
      mkdir -p ${{outputs.clean}} && head -n ${{inputs.rows}} ${{inputs.raw}}/data.txt > ${{outputs.clean}}/clean.txt
      $[[ && echo ${{inputs.note}} >> ${{outputs.clean}}/clean.txt]] && echo prepared
"""
TRAIN = """
    $schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
    name: train
    version: 1
    type: command
    inputs:
      data: {type: uri_folder}
      rate: {type: number}
    outputs:
      model: {type: uri_folder}
    code: ./src
    environment: {image: "debian:12"}
    command: python3 train.py ${{inputs.data}} ${{inputs.rate}} ${{outputs.model}}
"""
TRAIN_PY = """
import os, sys
data, rate, model = sys.argv[1:]
rows = open(os.path.join(data, "clean.txt")).read().split()
print("training on", rows, "with", rate, "in", os.environ["AZUREML_RUN_ID"], "of", os.environ["AZUREML_ROOT_RUN_ID"])
open(os.path.join(model, "model.txt"), "w").write(f"{len(rows)} rows, rate {rate}")
"""


@pytest.fixture()
def parts(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(TRAIN_PY)
    (tmp_path / "prep.yml").write_text(textwrap.dedent(PREP))
    (tmp_path / "train.yml").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "data.txt").write_text("one\ntwo\nthree\nfour\n")
    return tmp_path


def test_dsl(ml_client, parts, capsys):
    from azure.ai.ml import Input, dsl, load_component

    prep, train = load_component(parts / "prep.yml"), load_component(parts / "train.yml")

    @dsl.pipeline(description="prepares and trains", compute="serverless")
    def prepare_and_train(raw, rate: float = 0.1):
        prepared = prep(raw=raw, rows=3)
        trained = train(data=prepared.outputs.clean, rate=rate)
        trained.display_name = "The training"
        return {"model": trained.outputs.model}

    job = prepare_and_train(raw=Input(type="uri_folder", path=str(parts / "raw")), rate=0.5)
    job.experiment_name = "pipelines"
    made = ml_client.jobs.create_or_update(job)
    ml_client.jobs.stream(made.name)
    told = capsys.readouterr().out
    assert "pipeline of 2 steps began" in told and "2 of 2 steps completed" in told, told
    done = ml_client.jobs.get(made.name)
    assert done.status == "Completed" and type(done).__name__ == "PipelineJob"
    assert set(done.jobs) == {"prepared", "trained"}

    steps = list(ml_client.jobs.list(parent_job_name=made.name))
    assert [(step.display_name, step.status) for step in steps] == [("prepared", "Completed"), ("The training", "Completed")]
    trained = ml_client.jobs.get(steps[1].name)
    assert trained.command.startswith("python3 train.py") and trained.properties["turnout.pipeline"] == made.name

    ml_client.jobs.download(made.name, output_name="model", download_path=parts / "got")
    assert (parts / "got" / "named-outputs" / "model" / "model.txt").read_text() == "3 rows, rate 0.5"
    ml_client.jobs.download(steps[1].name, download_path=parts / "log")
    log = (parts / "log" / "artifacts" / "user_logs" / "std_log.txt").read_text()
    assert f"with 0.5 in {steps[1].name} of {made.name}" in log


def test_registered_components_and_inline_commands(ml_client, cluster, parts):
    from azure.ai.ml import Input, Output, command, dsl, load_component

    ml_client.components.create_or_update(load_component(parts / "prep.yml"))
    prep = ml_client.components.get("prep", version="1")
    count = command(name="count", command="wc -w ${{inputs.data}}/clean.txt > ${{outputs.words}}/n.txt; echo $GREETING",
                    environment=prep.environment,
                    environment_variables={"GREETING": "hello"}, inputs={"data": Input(type="uri_folder")},
                    outputs={"words": Output(type="uri_folder", mode="upload")})

    @dsl.pipeline()
    def counting(raw):
        prepared = prep(raw=raw, note="a note")
        counted = count(data=prepared.outputs.clean)
        counted.compute = cluster
        return {"words": counted.outputs.words}

    job = counting(raw=Input(type="uri_folder", path=str(parts / "raw")))
    job.settings.default_compute = "serverless"
    made = ml_client.jobs.create_or_update(job, experiment_name="pipelines")
    done = wait_for(ml_client, made.name)
    assert done.status == "Completed", done.properties
    ml_client.jobs.download(made.name, output_name="words", download_path=parts / "got")
    assert (parts / "got" / "named-outputs" / "words" / "n.txt").read_text().split()[0] == "4"
    steps = list(ml_client.jobs.list(parent_job_name=made.name))
    assert [step.properties["turnout.compute"] for step in map(lambda one: ml_client.jobs.get(one.name), steps)] == ["serverless", cluster]
    ml_client.jobs.download(made.name, all=True, download_path=parts / "all")
    assert (parts / "all" / "named-outputs" / "words" / "n.txt").exists()
    assert "2 of 2 steps completed" in next((parts / "all" / "artifacts").rglob("executionlogs.txt")).read_text()


def test_nested(ml_client, parts):
    from azure.ai.ml import Input, dsl, load_component

    prep, train = load_component(parts / "prep.yml"), load_component(parts / "train.yml")

    @dsl.pipeline()
    def inner(raw: Input(type="uri_folder"), rate: float):
        prepared = prep(raw=raw)
        trained = train(data=prepared.outputs.clean, rate=rate)
        return {"model": trained.outputs.model}

    @dsl.pipeline(compute="serverless")
    def outer(raw):
        first = inner(raw=raw, rate=0.1)
        second = inner(raw=raw, rate=0.2)
        return {"one": first.outputs.model, "two": second.outputs.model}

    made = ml_client.jobs.create_or_update(outer(raw=Input(type="uri_folder", path=str(parts / "raw"))),
                                           experiment_name="pipelines")
    assert wait_for(ml_client, made.name).status == "Completed"
    names = [ml_client.jobs.get(step.name).properties["turnout.step"] for step in ml_client.jobs.list(parent_job_name=made.name)]
    assert sorted(names) == ["first.prepared", "first.trained", "second.prepared", "second.trained"]
    ml_client.jobs.download(made.name, output_name="two", download_path=parts / "got")
    assert (parts / "got" / "named-outputs" / "two" / "model.txt").read_text() == "2 rows, rate 0.2"


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_failure(ml_client, goes_on):
    from azure.ai.ml import Output, command, dsl
    from azure.ai.ml.entities import Environment

    def step(text):
        return command(command=text, environment=Environment(image="debian:12"), outputs={"out": Output(type="uri_folder")})

    def after(text):
        from azure.ai.ml import Input
        return command(command=text, environment=Environment(image="debian:12"), inputs={"data": Input(type="uri_folder")})

    @dsl.pipeline(compute="serverless", continue_on_step_failure=goes_on)
    def broken():
        bad = step("echo broken; exit 7")()
        good = step("sleep 1; echo x > ${{outputs.out}}/x")()
        needs_bad = after("ls ${{inputs.data}}")(data=bad.outputs.out)
        needs_good = after("ls ${{inputs.data}}")(data=good.outputs.out)

    made = ml_client.jobs.create_or_update(broken(), experiment_name="pipelines")
    done = wait_for(ml_client, made.name)
    assert done.status == "Failed"
    became = {ml_client.jobs.get(one.name).properties["turnout.step"]: one.status for one in ml_client.jobs.list(parent_job_name=made.name)}
    assert became["bad"] == "Failed" and became["needs_bad"] == "Canceled"
    assert became["needs_good"] == ("Completed" if goes_on else "Canceled"), became


def pipeline_yml(parts, **more):
    (parts / "pipeline.yml").write_text(textwrap.dedent("""
        $schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
        type: pipeline
        display_name: by_yaml
        experiment_name: pipelines
        inputs:
          raw: {type: uri_folder, path: ./raw}
          rate: 0.25
        outputs:
          model: {mode: upload}
        settings:
          continue_on_step_failure: false
        jobs:
          train:
            type: command
            component: ./train.yml
            inputs:
              data: ${{parent.jobs.prep.outputs.clean}}
              rate: ${{parent.inputs.rate}}
            outputs:
              model: ${{parent.outputs.model}}
          prep:
            component: ./prep.yml
            inputs:
              raw: ${{parent.inputs.raw}}
          look:
            type: command
            command: echo $WHO; cat ${{inputs.model}}/model.txt
            environment: {image: "debian:12"}
            environment_variables: {WHO: me}
            inputs:
              model: ${{parent.jobs.train.outputs.model}}
        """))
    return parts / "pipeline.yml"


def test_yaml(server, parts, ml_client):
    path = pipeline_yml(parts)
    assert "is valid" in server.turnout("job", "validate", "-f", path).stderr
    ran = server.turnout("job", "create", "-f", path, "--stream", check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 of 3 steps completed" in ran.stdout
    name = next(word for line in ran.stderr.splitlines() if line.startswith("turnout: job ") or line.startswith("job ")
                for word in line.split() if "_" in word)
    steps = json.loads(server.turnout("job", "list", "--parent-job-name", name, "-o", "json").stdout)
    assert [(step["step"], step["status"]) for step in steps] == [("prep", "Completed"), ("train", "Completed"), ("look", "Completed")]
    server.turnout("job", "download", "-n", steps[2]["name"], "-p", parts / "look")
    assert None not in list(ml_client.jobs.list()), "the SDK reads whatever the command line made"
    read = ml_client.jobs.get(name)
    assert read.type == "pipeline" and sorted(read.jobs) == ["look", "prep", "train"]
    assert ml_client.components.get("azureml_anonymous", read.jobs["look"].component.split(":")[-1].split("/")[-1]).command
    shown = json.loads(server.turnout("job", "show", "-n", name, "-o", "json").stdout)
    assert shown["type"] == "pipeline" and shown["jobs"]["look"]["command"].startswith("echo $WHO")
    log = next((parts / "look").rglob("std_log.txt")).read_text()
    assert "me" in log and "2 rows, rate 0.25" in log


def test_bad_yaml_is_refused_at_its_place(server, parts):
    path = pipeline_yml(parts)
    good = path.read_text()
    for old, new, words in [
        ("component: ./prep.yml", "component: ./nope.yml", "jobs.prep.component: expected the file of a component"),
        ("raw: ${{parent.inputs.raw}}", "rew: ${{parent.inputs.raw}}", "did you mean 'raw'"),
        ("${{parent.jobs.prep.outputs.clean}}", "${{parent.jobs.prop.outputs.clean}}", "did you mean 'prep'"),
        ("type: command\n    component: ./train.yml", "type: sweep", "steps of type 'sweep' do not run yet"),
        ("command: echo $WHO; cat ${{inputs.model}}", "command: cat ${{inputs.modle}}", "did you mean 'model'"),
        ("rate: 0.25", "rate: quick", "expected a number"),
    ]:
        assert old in good
        path.write_text(good.replace(old, new))
        said = server.turnout("job", "validate", "-f", path, check=False)
        assert said.returncode != 0 and words in said.stderr, (new, said.stderr)
        assert str(path.name) + ":" in said.stderr, said.stderr


def test_a_restart_and_a_cancel(own_server, parts):
    (parts / "chain.yml").write_text(textwrap.dedent("""
        type: pipeline
        name: chain
        jobs:
          first:
            command: sleep 4; echo 1 > ${{outputs.out}}/x
            environment: {image: "debian:12"}
            outputs: {out: {type: uri_folder}}
          then:
            command: cat ${{inputs.data}}/x; sleep 600
            environment: {image: "debian:12"}
            inputs: {data: "${{parent.jobs.first.outputs.out}}"}
        """))
    own_server.turnout("job", "create", "-f", parts / "chain.yml")

    def status(name):
        return json.loads(own_server.turnout("job", "show", "-n", name, "-o", "json").stdout)["status"]

    eventually("the first step runs", lambda: status("chain_0") == "Running")
    assert status("chain_1") == "NotStarted"
    assert "waits for step 'first' (chain_0)" in own_server.turnout("job", "explain", "-n", "chain_1").stdout
    own_server.kill()
    own_server.start()
    eventually("the second step runs", lambda: status("chain_1") == "Running")
    own_server.turnout("job", "cancel", "-n", "chain")
    eventually("it is over", lambda: status("chain") == "Canceled")
    assert (status("chain_0"), status("chain_1")) == ("Completed", "Canceled")


def test_what_was_given_before_is_not_run_again(server, parts, ml_client):
    """Code with other ends of lines is the same code; a file more in an input is named; SDK and command line agree."""
    path = pipeline_yml(parts)
    path.write_text(path.read_text().replace("rate: 0.25", "rate: 0.125"))

    def run():
        name = json.loads(server.turnout("job", "create", "-f", path, "-o", "json").stdout)["name"]
        assert wait_for(ml_client, name).status == "Completed"
        return name, {one.properties["turnout.step"]: one for one in (ml_client.jobs.get(child.name) for child in ml_client.jobs.list(parent_job_name=name))}

    first, ran = run()
    assert "azureml.isreused" not in ran["train"].properties
    (parts / "src" / "train.py").write_bytes(TRAIN_PY.replace("\n", "\r\n").encode())
    second, reused = run()
    for step in ("prep", "train", "look"):
        assert reused[step].properties["azureml.isreused"] == "true", step
    assert reused["train"].properties["azureml.reusedrunid"] == ran["train"].name
    server.turnout("job", "delete", "-n", first)
    server.turnout("job", "download", "-n", second, "--output-name", "model", "-p", parts / "model")
    assert next((parts / "model").rglob("model.txt")).read_text() == "2 rows, rate 0.125", "it outlives the job that made it"

    (parts / "raw" / "more.txt").write_text("more")
    third, changed = run()
    assert "azureml.isreused" not in changed["prep"].properties
    assert changed["train"].properties["azureml.isreused"] == "true", "what it takes is the same"
    told = json.loads(server.turnout("job", "explain-reuse", third, "--against", second, "-o", "json").stdout)["steps"]
    assert told[0]["step"] == "prep" and told[0]["differences"] == [{"part": "input", "name": "raw", "files": [{"path": "more.txt", "change": "added"}]}]
    assert "nobody" in server.turnout("job", "explain-reuse", third, "--against", "nobody", check=False).stderr

    (parts / "flaky.yml").write_text(textwrap.dedent(f"""
        type: pipeline
        jobs:
          once:
            component:
              type: command
              is_deterministic: false
              command: date +%N > ${{{{outputs.out}}}}/x; echo x >> {parts}/times
              environment: {{image: "debian:12"}}
              outputs: {{out: {{type: uri_folder}}}}
          later:
            command: ls ${{{{inputs.data}}}} && test -e {parts}/now
            environment: {{image: "debian:12"}}
            inputs: {{data: "${{{{parent.jobs.once.outputs.out}}}}"}}
        """))
    failed = json.loads(server.turnout("job", "create", "-f", parts / "flaky.yml", "-o", "json").stdout)["name"]
    assert wait_for(ml_client, failed).status == "Failed"
    (parts / "now").touch()
    resumed = server.turnout("job", "resume", failed, "--as", failed + "-again", "--stream", check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (parts / "times").read_text() == "x\n", "the step that had completed was not run again"
    assert "is Completed" in server.turnout("job", "resume", failed + "-again", check=False).stderr
