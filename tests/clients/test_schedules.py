"""Schedules: the real SDK's, and YAML by the command line; jobs that are submitted because it is time."""
import json
import time
from datetime import datetime, timedelta, timezone

import pytest
from conftest import client_for, eventually, log_of, wait_for

STEP = """
    $schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
    name: greet
    version: 1
    type: command
    inputs:
      word: {type: string}
    environment: {image: "debian:12"}
    command: echo hello ${{inputs.word}}
"""


@pytest.fixture()
def greeting(tmp_path):
    import textwrap
    from azure.ai.ml import dsl, load_component

    (tmp_path / "greet.yml").write_text(textwrap.dedent(STEP))
    greet = load_component(tmp_path / "greet.yml")

    @dsl.pipeline(compute="serverless")
    def greeting(word: str = "world"):
        greet(word=word)

    job = greeting(word="sky")
    job.experiment_name = "schedules"
    return job


@pytest.fixture()
def gone(ml_client):
    """Names of schedules that are removed at the end."""
    names = []
    yield names
    for name in names:
        ml_client.schedules.begin_disable(name).result()
        ml_client.schedules.begin_delete(name).result()


def jobs_of(client, name):
    return sorted(job.name for job in client.jobs.list(scheduled_job_name=name))


def test_sdk_as_the_notebook_has_it(ml_client, greeting, gone):
    from azure.ai.ml.constants import TimeZone
    from azure.ai.ml.entities import CronTrigger, JobSchedule, RecurrencePattern, RecurrenceTrigger
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    trigger = RecurrenceTrigger(frequency="day", interval=1, schedule=RecurrencePattern(hours=10, minutes=[0, 1]),
                                start_time=datetime.utcnow(), time_zone=TimeZone.UTC)
    made = ml_client.schedules.begin_create_or_update(JobSchedule(name="sdk_recurrence", trigger=trigger, create_job=greeting)).result()
    assert made.is_enabled and made.provisioning_state == "Succeeded"
    assert made.trigger.schedule.hours == [10] and made.trigger.schedule.minutes == [0, 1] and made.trigger.frequency == "day"
    assert type(made.create_job).__name__ == "PipelineJob" and made.creation_context.created_by

    cron = CronTrigger(expression="15 10 * * *", start_time=datetime.utcnow(), time_zone="Eastern Standard Time")
    made = ml_client.schedules.begin_create_or_update(JobSchedule(name="sdk_cron", trigger=cron, create_job=greeting, tags={"a": "b"},
                                                                  properties={"missed_runs": "none"})).result()
    next_run = datetime.strptime(made.properties["turnout.next_run"], "%Y-%m-%dT%H:%M:%SZ")
    assert next_run.minute == 15 and next_run.hour in (14, 15), next_run
    assert ml_client.schedules.begin_disable(name="sdk_cron").result().is_enabled is False
    got = ml_client.schedules.get(name="sdk_cron")
    assert got.name == "sdk_cron" and got.tags == {"a": "b"} and got.properties["missed_runs"] == "none"
    assert {"sdk_recurrence"} <= {s.name for s in ml_client.schedules.list()}
    assert "sdk_cron" not in {s.name for s in ml_client.schedules.list()}
    assert {"sdk_cron", "sdk_recurrence"} <= {s.name for s in ml_client.schedules.list(list_view_type="All")}
    changed = ml_client.schedules.begin_enable(name="sdk_cron").result()
    assert changed.is_enabled
    changed.trigger.expression = "10 10 * * 1"
    assert ml_client.schedules.begin_create_or_update(changed).result().trigger.expression == "10 10 * * 1"
    with pytest.raises(HttpResponseError, match="only a disabled one can be deleted"):
        ml_client.schedules.begin_delete(name="sdk_cron").result()
    for name in ("sdk_cron", "sdk_recurrence"):
        ml_client.schedules.begin_disable(name=name).result()
        ml_client.schedules.begin_delete(name=name).result()
        with pytest.raises(ResourceNotFoundError):
            ml_client.schedules.get(name=name)
    with pytest.raises(HttpResponseError, match="hour: expected 0 to 23"):
        ml_client.schedules.begin_create_or_update(
            JobSchedule(name="sdk_bad", trigger=CronTrigger(expression="0 99 * * *"), create_job=greeting)).result()


def test_sdk_trigger_runs_the_pipeline(ml_client, greeting, gone, tmp_path):
    from azure.ai.ml.entities import CronTrigger, JobSchedule

    greeting.inputs.word = "at ${{creation_context.trigger_time}}"
    ml_client.schedules.begin_create_or_update(JobSchedule(name="sdk_trigger", trigger=CronTrigger(expression="0 0 1 1 *"), create_job=greeting)).result()
    gone.append("sdk_trigger")
    result = ml_client.schedules.trigger("sdk_trigger")
    assert result.schedule_action_type == "CreateJob"
    job = wait_for(ml_client, result.job_name)
    assert job.status == "Completed" and job.properties["turnout.schedule"] == "sdk_trigger"
    step = next(iter(ml_client.jobs.list(parent_job_name=result.job_name)))
    assert f"hello at {job.properties['turnout.schedule_time']}" in log_of(ml_client, step.name, tmp_path)
    # Of a job that is there.
    again = JobSchedule(name="sdk_again", trigger=CronTrigger(expression="0 0 1 1 *"), create_job=f"azureml:{result.job_name}")
    made = ml_client.schedules.begin_create_or_update(again).result()
    gone.append("sdk_again")
    assert set(made.create_job.jobs) == {"greet"}
    other = ml_client.schedules.trigger("sdk_again")
    assert wait_for(ml_client, other.job_name).status == "Completed"
    assert jobs_of(ml_client, "sdk_again") == [other.job_name]


def test_a_time_that_comes(ml_client, greeting, gone):
    """A start some seconds from now is the first time; minutes are counted from it."""
    from azure.ai.ml.entities import JobSchedule, RecurrenceTrigger

    start = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None) + timedelta(seconds=6)
    trigger = RecurrenceTrigger(frequency="minute", interval=1, start_time=start)
    ml_client.schedules.begin_create_or_update(JobSchedule(name="soon", trigger=trigger, create_job=greeting)).result()
    gone.append("soon")
    assert jobs_of(ml_client, "soon") == [] or datetime.utcnow() >= start
    first = f"soon-{start:%Y%m%dt%H%M%Sz}"
    eventually("its time has come", lambda: first in jobs_of(ml_client, "soon"), 60)
    second = f"soon-{start + timedelta(minutes=1):%Y%m%dt%H%M%Sz}"
    eventually("a minute later", lambda: second in jobs_of(ml_client, "soon"), 100)
    ml_client.schedules.begin_disable("soon").result()
    assert jobs_of(ml_client, "soon")[:2] == [first, second]
    for name in (first, second):
        assert wait_for(ml_client, name).status == "Completed"


def test_without_a_start_it_runs_at_once_and_once_whatever_is_killed(own_server, monkeypatch, tmp_path):
    for name, value in own_server.env().items():
        monkeypatch.setenv(name, value)
    client = client_for(own_server)
    (tmp_path / "job.yml").write_text('command: "true"\nenvironment: {image: "debian:12"}\ncompute: serverless\n')
    (tmp_path / "s.yml").write_text("name: now\ntrigger: {type: recurrence, frequency: hour, interval: 1}\ncreate_job: ./job.yml\n")
    own_server.turnout("schedule", "create", "-f", tmp_path / "s.yml")
    own_server.kill()
    own_server.start()
    eventually("the job is there", lambda: len(jobs_of(client, "now")) == 1, 60)
    for _ in range(3):
        own_server.kill()
        own_server.start()
    name = jobs_of(client, "now")
    assert len(name) == 1 and wait_for(client, name[0]).status == "Completed"
    shown = json.loads(own_server.turnout("schedule", "show", "now", "-o", "json").stdout)
    assert [(run["outcome"], run["job_name"]) for run in shown["runs"]] == [("Submitted", name[0])]


def test_missed_while_no_server_ran(own_server, monkeypatch, tmp_path):
    for name, value in own_server.env().items():
        monkeypatch.setenv(name, value)
    client = client_for(own_server)
    start = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None) + timedelta(seconds=4)
    (tmp_path / "s.yml").write_text(
        f'name: late\ntrigger: {{type: recurrence, frequency: minute, interval: 1, start_time: "{start:%Y-%m-%dT%H:%M:%S}"}}\n'
        'create_job: {type: command, command: "true", environment: {image: "debian:12"}, compute: serverless}\n')
    own_server.turnout("schedule", "create", "-f", tmp_path / "s.yml")
    own_server.kill()
    time.sleep(max(0, (start + timedelta(seconds=61) - datetime.utcnow()).total_seconds()))  # the outage is what is tested
    own_server.start()
    second = f"late-{start + timedelta(minutes=1):%Y%m%dt%H%M%Sz}"
    eventually("the latest runs", lambda: second in jobs_of(client, "late"), 30)
    own_server.turnout("schedule", "disable", "late")
    assert f"late-{start:%Y%m%dt%H%M%Sz}" not in jobs_of(client, "late")
    runs = json.loads(own_server.turnout("schedule", "show", "late", "-o", "json").stdout)["runs"]
    assert runs[1]["outcome"] == "Missed" and runs[1]["times"] == 1, runs


PIPELINE = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: hello_pipeline_abc
compute: serverless
inputs:
  hello_string_top_level_input: "hello world"
jobs:
  a:
    command: echo hello ${{inputs.hello_string}}
    environment: {image: "debian:12"}
    inputs:
      hello_string: ${{parent.inputs.hello_string_top_level_input}}
  b:
    command: echo "world" >> ${{outputs.world_output}}/world.txt
    environment: {image: "debian:12"}
    outputs:
      world_output:
"""
# As in Azure's public examples (cli/schedules), but for the environments of the job.
CRON = """
$schema: https://azuremlschemas.azureedge.net/latest/schedule.schema.json
name: simple_cron_job_schedule
display_name: Simple cron job schedule
description: a simple hourly cron job schedule

trigger:
  type: cron
  expression: "0 * * * *"
  start_time: "2022-07-10T10:00:00" # optional - default will be schedule creation time
  time_zone: "Pacific Standard Time" # optional - default will be UTC

create_job: ./simple-pipeline-job.yml
"""
SETTINGS = CRON.replace("simple_cron_job_schedule", "cron_with_settings_job_schedule").replace("create_job: ./simple-pipeline-job.yml", """
create_job:
  type: pipeline
  job: ./simple-pipeline-job.yml
  settings:
    continue_on_step_failure: true
  inputs:
    hello_string_top_level_input: ${{name}}
  tags:
    schedule: cron_with_settings_schedule
""")
RECURRENCE = """
$schema: https://azuremlschemas.azureedge.net/latest/schedule.schema.json
name: simple_recurrence_job_schedule
trigger:
  type: recurrence
  frequency: day #can be minute, hour, day, week, month
  interval: 1 #every day
  schedule:
    hours: [4,5,10,11,12]
    minutes: [0,30]
  start_time: "2022-07-10T10:00:00"
  time_zone: "Pacific Standard Time"
create_job: ./simple-pipeline-job.yml
"""


def test_cli_and_the_public_examples(server, ml_client, tmp_path):
    (tmp_path / "simple-pipeline-job.yml").write_text(PIPELINE)
    for name, text in (("cron.yml", CRON), ("settings.yml", SETTINGS), ("recurrence.yml", RECURRENCE)):
        (tmp_path / name).write_text(text)
        server.turnout("schedule", "validate", "-f", tmp_path / name)
        server.turnout("schedule", "create", "--file", tmp_path / name, "--no-wait")
    listed = json.loads(server.turnout("schedule", "list", "-o", "json").stdout)
    names = ["cron_with_settings_job_schedule", "simple_cron_job_schedule", "simple_recurrence_job_schedule"]
    assert [s["name"] for s in listed if s["name"] in names] == names
    shown = json.loads(server.turnout("schedule", "show", "-n", names[1], "-o", "json").stdout)
    assert shown["trigger"]["expression"] == "0 * * * *" and shown["create_job"]["jobs"]["a"], shown
    # The SDK reads what the command line made.
    assert ml_client.schedules.get(names[0]).create_job.settings.continue_on_step_failure is True

    server.turnout("schedule", "update", "-n", names[1], "--set", "description=new description", "--set", "trigger.expression=5 * * * *", "--no-wait")
    shown = json.loads(server.turnout("schedule", "show", names[1], "-o", "json").stdout)
    assert shown["description"] == "new description" and shown["trigger"]["expression"] == "5 * * * *"
    done = server.turnout("schedule", "update", "-n", names[1], "--set", "trigger.expression=x", check=False)
    assert done.returncode != 0 and "trigger.expression" in done.stderr, done.stderr

    job = json.loads(server.turnout("schedule", "trigger", names[0], "-o", "json").stdout)["job_name"]
    done = wait_for(ml_client, job)
    assert done.status == "Completed" and done.tags == {"schedule": "cron_with_settings_schedule"}
    assert done.display_name.startswith("hello_pipeline_abc-20") and done.display_name.endswith("Z")
    said = next(step for step in ml_client.jobs.list(parent_job_name=job) if step.display_name == "a")
    assert f"hello {job}" in log_of(ml_client, said.name, tmp_path)

    for name in names:
        server.turnout("schedule", "disable", "-n", name, "--no-wait")
    assert not set(names) & {s["name"] for s in json.loads(server.turnout("schedule", "list", "-o", "json").stdout)}
    assert set(names) <= {s["name"] for s in json.loads(server.turnout("schedule", "list", "--disabled-only", "-o", "json").stdout)}
    server.turnout("schedule", "enable", "-n", names[0])
    done = server.turnout("schedule", "delete", "-n", names[0], check=False)
    assert done.returncode != 0 and "disable" in done.stderr
    server.turnout("schedule", "disable", "-n", names[0])
    for name in names:
        server.turnout("schedule", "delete", "-n", name)


def test_sweep_and_command_inline(server, ml_client, tmp_path):
    (tmp_path / "sweep.yml").write_text("""
name: tries
trigger: {type: cron, expression: "0 0 1 1 *"}
create_job:
  type: sweep
  trial:
    command: echo ${{search_space.x}}
    environment: {image: "debian:12"}
  compute: serverless
  sampling_algorithm: grid
  search_space: {x: {type: choice, values: [1, 2]}}
  objective: {goal: maximize, primary_metric: none}
""")
    server.turnout("schedule", "create", "-f", tmp_path / "sweep.yml")
    job = server.turnout("schedule", "trigger", "tries", "--query", "job_name", "-o", "tsv").stdout.strip()
    assert wait_for(ml_client, job).status in ("Completed", "Failed")
    assert ml_client.jobs.get(job).type == "sweep"
    assert len(list(ml_client.jobs.list(parent_job_name=job))) == 2
    server.turnout("schedule", "disable", "tries")
    server.turnout("schedule", "delete", "tries")


@pytest.mark.parametrize("text, place, words", [
    ('name: x\ntrigger: {type: cron, expression: "61 * * * *"}\ncreate_job: ./job.yml\n', "s.yml:2", "minute: expected 0 to 59"),
    ('name: x\ntrigger:\n  type: recurrence\n  frequency: week\n  interval: 1\n  schedule: {hours: 1, minutes: 0, week_days: [someday]}\ncreate_job: ./job.yml\n',
     "s.yml:6", "trigger.schedule.week_days: expected days of the week"),
    ('name: x\ntrigger:\n  type: cron\n  expression: "* * * * *"\n  timezone: UTC\ncreate_job: ./job.yml\n', "s.yml:5", "did you mean 'time_zone'?"),
    ('name: x\ntrigger: {type: cron, expression: "* * * * *"}\ncreate_job: ./nowhere.yml\n', "s.yml:3", "create_job: expected the file of a job"),
    ('name: x\ntrigger: {type: cron, expression: "* * * * *"}\ncreate_job:\n  job: ./job.yml\n  comand: x\n', "s.yml:5", "did you mean 'command'?"),
    ('name: x\ntrigger: {type: cron, expression: "* * * * *"}\ncreate_job: ./bad.yml\n', "bad.yml:2", "comand"),
    ('name: x\ntrigger: {type: cron, expression: "* * * * *"}\ncreate_job:\n  command: echo ${{inputs.y}}\n  environment: {image: "debian:12"}\n', "s.yml:4", "y"),
    ('name: x\ntrigger: {type: cron, expression: "* * * * *"}\ncreate_monitor: {}\n', "s.yml", "create_job"),
])
def test_what_is_wrong_is_told_with_its_place(server, tmp_path, text, place, words):
    (tmp_path / "job.yml").write_text('command: "true"\nenvironment: {image: "debian:12"}\ncompute: serverless\n')
    (tmp_path / "bad.yml").write_text('environment: {image: "debian:12"}\ncomand: "true"\n')
    (tmp_path / "s.yml").write_text(text)
    for verb in ("validate", "create"):
        done = server.turnout("schedule", verb, "-f", "s.yml", cwd=tmp_path, check=False)
        assert done.returncode != 0
        assert place in done.stderr and words in done.stderr, (verb, done.stderr)


def test_why_nothing_ran(server, ml_client, tmp_path):
    """A compute that is gone is told where one looks for the job."""
    server.turnout("compute", "create", "-n", "short-lived", "--type", "amlcompute", "--min-instances", "0", "--max-instances", "1")
    (tmp_path / "s.yml").write_text('name: orphan\ntrigger: {type: cron, expression: "0 0 1 1 *"}\n'
                                    'create_job: {command: "true", environment: {image: "debian:12"}, compute: "azureml:short-lived"}\n')
    server.turnout("schedule", "create", "-f", tmp_path / "s.yml")
    server.turnout("compute", "delete", "-n", "short-lived", "-y")
    done = server.turnout("schedule", "trigger", "orphan", check=False)
    assert done.returncode != 0 and "short-lived" in done.stderr, done.stderr
    runs = json.loads(server.turnout("schedule", "show", "orphan", "-o", "json").stdout)["runs"]
    assert runs[0]["outcome"] == "Refused" and "short-lived" in runs[0]["reason"], runs
    assert "short-lived" in server.turnout("schedule", "list", "-o", "json").stdout
    server.turnout("schedule", "disable", "orphan")
    server.turnout("schedule", "delete", "orphan")
