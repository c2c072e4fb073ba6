"""`turnout X` is `az ml X`: verbs, flags, output and exit codes."""
import json
import re

import pytest

from conftest import eventually, on_terminal

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: {command}
environment:
  image: debian:12
compute: azureml:cpu-cluster
experiment_name: cli
display_name: from the cli
"""


@pytest.fixture
def job_file(tmp_path):
    def write(command, more=""):
        path = tmp_path / "job.yml"
        path.write_text(JOB.format(command=json.dumps(command)) + more)
        return path

    return write


@pytest.fixture
def cli(server, cluster):
    def run(*arguments, check=False, **more):
        return server.turnout(*arguments, check=check, **more)

    return run


@pytest.fixture
def screen(server, cluster):
    """What a person sees on a terminal of 80 columns: (exit code, text)."""

    def run(*arguments, typed="", **variables):
        return on_terminal(server, *arguments, typed=typed, **variables)

    return run


def as_json(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_create_prints_json_when_piped(cli, job_file):
    made = as_json(cli("job", "create", "-f", job_file("echo hi")))
    assert made["name"] and made["display_name"] == "from the cli"


def test_create_on_a_terminal_says_four_lines(screen, job_file):
    code, text = screen("job", "create", "-f", job_file("true"), "-n", "four_lines", NO_COLOR="1")
    lines = [line for line in text.splitlines() if not line.startswith(("environment", "uploaded", "unchanged"))]
    assert code == 0 and len(lines) == 4, text
    assert re.match(r"job +four_lines is [A-Z][a-z]+$", lines[0])
    assert re.match(r"waits for +\w", lines[1]) and re.match(r"page +http://127.0.0.1:", lines[2])
    assert lines[3].endswith("turnout job stream four_lines")


def test_tables_fit_a_terminal(cli, screen, job_file):
    name = as_json(cli("job", "create", "-f", job_file("true"), "--set", "display_name=" + "日本語" * 20))["name"]
    eventually("the job completes", lambda: as_json(cli("job", "show", name))["status"] == "Completed")
    code, text = screen("job", "list", NO_COLOR="1")
    assert code == 0 and "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines()), text
    row = next(line for line in text.splitlines() if line.startswith(name))
    assert re.search(r"Completed +\d+ (s|min) ", row), row
    assert "\x1b[32mCompleted" in screen("job", "list")[1]
    assert name in cli("job", "list", "--mine", "--compute", "cpu-cluster", "-o", "json").stdout
    assert cli("job", "list", "--user", "nobody", "-o", "json").stdout.strip() == "[]"
    assert re.search(r"\d\d:\d\d:\d\d UTC", screen("events", "--job", name)[1]), "times tell their zone"


def test_a_silent_job_is_told_of_on_a_terminal(screen, job_file):
    code, text = screen("job", "create", "-f", job_file("echo first; sleep 12; echo last"), "--stream")
    assert code == 0 and text.index("first") < text.index("last"), text
    assert re.search(r"Running on node-\d+, no output for 10 s \(1\d s\)", text), text


def test_stream_ends_with_zero(cli, job_file):
    done = cli("job", "create", "-f", job_file("echo streamed-line"), "--stream")
    assert done.returncode == 0, done.stderr
    assert "streamed-line" in done.stdout


@pytest.mark.parametrize("code", [1, 3, 77])
def test_stream_ends_with_the_jobs_own_code(cli, job_file, code):
    done = cli("job", "create", "-f", job_file(f"echo reason-{code} >&2; exit {code}"), "--stream")
    assert done.returncode == code
    assert f"reason-{code}" in done.stdout + done.stderr


def test_set_and_name(cli, job_file):
    made = as_json(cli("job", "create", "-f", job_file("echo hi"), "--set", "tags.team=blue", "display_name=other", "-n", "cli_named_1"))
    assert made["name"] == "cli_named_1" and made["display_name"] == "other" and made["tags"] == {"team": "blue"}


def test_show_query_and_formats(cli, job_file):
    name = as_json(cli("job", "create", "-f", job_file("echo hi")))["name"]
    assert cli("job", "show", "-n", name, "--query", "display_name", "-o", "tsv").stdout == "from the cli\n"
    assert "from the cli" in cli("job", "show", "-n", name, "-o", "yaml").stdout
    assert cli("job", "show", "-n", name, "-o", "table").stdout.count("\n") >= 2
    listed = as_json(cli("job", "list"))
    assert name in [job["name"] for job in listed]
    assert cli("job", "list", "--query", "[0].name", "-o", "tsv").stdout.strip() in [job["name"] for job in listed]


def test_the_same_job_again_is_said_to_be_none(cli, job_file):
    first = cli("job", "create", "-f", job_file("true"), "-n", "once", "--stream")
    assert "exists already" not in first.stderr
    again = cli("job", "create", "-f", job_file("true"), "-n", "once")
    assert as_json(again)["status"] == "Completed"
    assert "job 'once' exists already with this definition and is Completed: nothing was submitted" in again.stderr


def test_filters_that_can_match_nothing_are_refused(cli, job_file):
    done = cli("job", "list", "--status", "Compleeted")
    assert done.returncode == 2 and "did you mean 'Completed'" in done.stderr
    assert as_json(cli("job", "list", "--status", "completed")) is not None
    for options, words in ((["--job", "nosuch"], "job 'nosuch' does not exist"), (["-f", "--job", "nosuch"], "job 'nosuch' does not exist"), (["--compute", "nosuch"], "compute 'nosuch' does not exist")):
        done = cli("events", *options)
        assert done.returncode == 3 and words in done.stderr, options
    cli("job", "create", "-f", job_file("true"), "-n", "eventful", "--stream", check=True)
    newest = as_json(cli("events", "--job", "eventful", "-r", "1"))
    assert [event["what"] for event in newest] == ["ended"]


def test_a_name_needs_no_option(cli, job_file):
    name = as_json(cli("job", "create", "-f", job_file("true")))["name"]
    assert cli("job", "stream", name).returncode == 0
    assert as_json(cli("job", "show", name))["name"] == name
    assert as_json(cli("compute", "show", "cpu-cluster"))["name"] == "cpu-cluster"
    done = cli("job", "cancel")
    assert done.returncode == 2 and "turnout job cancel NAME" in done.stderr


def test_names_of_tags_hold_points(cli):
    cli("compute", "create", "-n", "tagged", "--type", "amlcompute", "--set", "tags.a=1", check=True)
    assert as_json(cli("compute", "update", "tagged", "--set", "tags.turnout.price_per_hour=2"))["tags"] == {"a": "1", "turnout.price_per_hour": "2"}
    cli("compute", "delete", "tagged", check=True)


def test_refusals_speak_of_what_was_written(cli, tmp_path, job_file):
    done = cli("compute", "create", "-n", "sized", "--size", "STANDARD_DS3_v3")
    assert done.returncode == 2 and done.stderr.startswith("error: --size: size 'STANDARD_DS3_v3' is not known, did you mean"), done.stderr
    done = cli("compute", "create", "-n", "sized", "--max-instances", "100000")
    assert "--max-instances: expected a whole number from 0 to 1,000, found a number '100000'" in done.stderr
    done = cli("job", "create", "-f", job_file("true"), "-n", "bad name/x")
    assert "--name: expected 1 to 255 letters, digits" in done.stderr
    done = cli("job", "create", "-f", job_file("true"), "--set", "environment=azureml:nosuch:1")
    assert done.returncode == 2 and done.stderr.startswith("error: --set environment: environment 'nosuch' does not exist"), done.stderr


def test_a_failed_process_is_quoted(cli, tmp_path):
    (tmp_path / "job.yml").write_text("""
command: 'echo from $RANK; [ $RANK = 0 ] || exit 7; sleep 20'
environment: {image: x}
compute: cpu-cluster
distribution: {type: pytorch, process_count_per_instance: 2}
""")
    done = cli("job", "create", "-f", tmp_path / "job.yml", "--stream")
    assert done.returncode == 7
    assert "user_logs/std_log_process_1.txt:\n    from 1\n" in done.stderr


def test_cancel(cli, job_file):
    name = as_json(cli("job", "create", "-f", job_file("sleep 600")))["name"]
    assert cli("job", "cancel", "-n", name).returncode == 0
    eventually("canceled", lambda: as_json(cli("job", "show", "-n", name))["status"] == "Canceled")


def test_a_folder_with_a_job_in_it(cli, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "job.yaml").write_text("command: cat hello.txt\ncode: .\nenvironment: {image: debian:12}\ncompute: azureml:cpu-cluster\n")
    (tmp_path / "train" / "hello.txt").write_text("from the folder\n")
    assert "train/job.yaml: is valid" in cli("job", "validate", "train", cwd=tmp_path).stderr
    done = cli("job", "create", tmp_path / "train/", "--stream")
    assert done.returncode == 0 and "from the folder" in done.stdout
    assert cli("job", "create", "-f", "train", cwd=tmp_path).returncode == 0
    (tmp_path / "empty").mkdir()
    done = cli("job", "create", "empty", cwd=tmp_path)
    assert done.returncode == 3 and done.stderr == "error: the folder 'empty' has no job.yml\n"
    done = cli("compute", "create", "nosuch", cwd=tmp_path)
    assert done.returncode == 3 and "`-n nosuch`" in done.stderr


@pytest.fixture
def full(cli):
    """A cluster with a job that runs and three that wait."""
    cli("compute", "create", "-n", "many", "--type", "amlcompute", "--min-instances", "0", "--max-instances", "1", check=True)
    made = []
    yield lambda count, **more: [made.append(submit(cli, **more)) or made[-1] for _ in range(count)]
    cli("job", "cancel", *made)
    cli("job", "delete", *made, "--yes")
    cli("compute", "delete", "many", check=True)


def submit(cli, command="sleep 600", experiment="many"):
    text = f"command: {command}\nenvironment: {{image: x}}\ncompute: many\nexperiment_name: {experiment}\n"
    return as_json(cli("job", "create", "-f", "-", input=text))["name"]


def test_several_jobs_at_once(cli, full):
    names = full(4)
    done = cli("job", "cancel", names[0], "-n", names[1], "no_such_job")
    assert done.returncode == 3
    assert done.stderr == "error: job 'no_such_job' does not exist\ncanceled 2 of 3 jobs\n"
    done = cli("job", "cancel", *names)
    assert done.returncode == 0 and done.stderr == "canceled 2 of 4 jobs, 2 had ended before\n"
    assert {as_json(cli("job", "show", name))["status"] for name in names} == {"Canceled"}
    assert cli("job", "archive", *names[:3]).stderr == "archived 3 of 3 jobs\n"
    assert [job["name"] for job in as_json(cli("job", "list", "--compute", "many"))] == [names[3]]
    assert cli("job", "restore", "--all", "--compute", "many", "--yes").stderr == "restored 3 of 3 jobs\n"
    assert cli("job", "delete", *names).stderr == "deleted 4 of 4 jobs\n"
    assert as_json(cli("job", "list", "--compute", "many")) == []


def test_all_with_a_filter_asks(cli, full, screen):
    kept, others = full(2, experiment="kept"), full(3, experiment="others")
    every = ["job", "cancel", "--all", "--experiment", "others"]
    done = cli(*every)
    assert done.returncode == 5 and "3 jobs (" in done.stderr and "give --yes if that is meant" in done.stderr
    code, text = screen(*every, typed="no\n")
    assert code == 130 and "would be canceled. Go on? (yes/no)" in text and "nothing was done" in text
    assert {as_json(cli("job", "show", name))["status"] for name in others} == {"Queued"}
    code, text = screen(*every, typed="yes\n")
    assert code == 0 and "canceled 3 of 3 jobs" in text
    assert "Canceled" not in {as_json(cli("job", "show", name))["status"] for name in kept}
    assert cli(*every, "--yes").stderr == "there is no such job that could be canceled\n"
    done = cli("job", "cancel", "--compute", "many")
    assert done.returncode == 2 and "turnout job cancel --all --compute" in done.stderr
    done = cli("job", "cancel", "--all", "--status", "Completed", "--yes")
    assert done.returncode == 2 and "cannot be canceled" in done.stderr
    assert cli("job", "cancel", "--all", kept[0]).returncode == 2
    assert cli("job", "cancel", "--all", "--status", "queued", "--compute", "many", "--mine", "--yes").stderr.endswith(" is Canceled\n")


def test_download(cli, job_file, tmp_path):
    name = as_json(cli("job", "create", "-f", job_file("mkdir -p outputs; echo got > outputs/x.txt")))["name"]
    assert cli("job", "stream", "-n", name).returncode == 0
    assert cli("job", "download", "-n", name, "-p", tmp_path / "down", "--all").returncode == 0
    assert [p.read_text() for p in (tmp_path / "down").rglob("x.txt")] == ["got\n"]


def test_archive_and_restore(cli, job_file):
    name = as_json(cli("job", "create", "-f", job_file("true")))["name"]
    cli("job", "stream", "-n", name)
    assert cli("job", "archive", "-n", name).returncode == 0
    assert name not in [job["name"] for job in as_json(cli("job", "list"))]
    assert cli("job", "restore", "-n", name).returncode == 0
    assert name in [job["name"] for job in as_json(cli("job", "list"))]


def test_snapshot_ignores_what_amlignore_names(cli, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "keep.txt").write_text("1")
    (tmp_path / "src" / "drop.log").write_text("1")
    (tmp_path / "src" / ".amlignore").write_text("*.log\n")
    (tmp_path / "job.yml").write_text("command: ls -A\ncode: src\nenvironment: {image: debian:12}\ncompute: azureml:cpu-cluster\nexperiment_name: cli\n")
    done = cli("job", "create", "-f", tmp_path / "job.yml", "--stream")
    assert done.returncode == 0 and "keep.txt" in done.stdout and "drop.log" not in done.stdout


def test_the_code_may_be_one_file(cli, tmp_path, job_file):
    (tmp_path / "train.py").write_text("print('one file')\n")
    done = cli("job", "create", "-f", job_file("ls && python3 train.py", "code: ./train.py\n"), "--stream")
    assert done.returncode == 0, done.stderr
    assert "train.py\none file" in done.stdout


def test_inputs_and_outputs_from_yaml(cli, tmp_path):
    (tmp_path / "in.csv").write_text("from a file\n")
    (tmp_path / "job.yml").write_text(
        "command: cat ${{inputs.data}} && echo ${{inputs.rate}} > ${{outputs.out}}/rate.txt\n"
        "inputs:\n  data: {type: uri_file, path: in.csv}\n  rate: 0.25\noutputs:\n  out: {type: uri_folder}\n"
        "environment: {image: debian:12}\ncompute: azureml:cpu-cluster\nexperiment_name: cli\n")
    made = cli("job", "create", "-f", tmp_path / "job.yml", "--stream")
    assert made.returncode == 0 and "from a file" in made.stdout


def test_compute_verbs(cli):
    made = as_json(cli("compute", "create", "-n", "by-cli", "--type", "amlcompute", "--size", "STANDARD_DS3_v2",
                       "--min-instances", "0", "--max-instances", "1"))
    assert made["name"] == "by-cli" and made["provisioning_state"] == "Succeeded"
    assert "by-cli" in [c["name"] for c in as_json(cli("compute", "list"))]
    assert as_json(cli("compute", "update", "-n", "by-cli", "--max-instances", "2"))["max_instances"] == 2
    assert as_json(cli("compute", "list-nodes", "-n", "by-cli")) == []
    assert any(size["name"].upper() == "STANDARD_DS3_V2" for size in as_json(cli("compute", "list-sizes")))
    assert cli("compute", "list-usage").returncode == 0
    assert cli("compute", "delete", "-n", "by-cli", "--yes").returncode == 0
    assert cli("compute", "show", "-n", "by-cli").returncode != 0


def test_other_nouns(cli, tmp_path):
    (tmp_path / "env.yml").write_text("name: cli-env\nversion: 1\nimage: ubuntu:22.04\n")
    assert as_json(cli("environment", "create", "-f", tmp_path / "env.yml"))["name"] == "cli-env"
    assert as_json(cli("environment", "show", "-n", "cli-env", "-v", "1"))["version"] == "1"
    assert "cli-env" in [e["name"] for e in as_json(cli("environment", "list"))]
    (tmp_path / "d.csv").write_text("1\n")
    (tmp_path / "data.yml").write_text("name: cli-data\nversion: 1\ntype: uri_file\npath: d.csv\n")
    assert as_json(cli("data", "create", "-f", tmp_path / "data.yml"))["version"] == "1"
    assert "cli-data" in [d["name"] for d in as_json(cli("data", "list"))]
    assert "workspaceblobstore" in [d["name"] for d in as_json(cli("datastore", "list"))]
    assert as_json(cli("workspace", "list"))


@pytest.mark.parametrize("text, words", [
    ("command: [a\n", ["job.yml"]),
    ("comand: echo hi\nenvironment: {image: x}\n", ["comand", "command"]),
    ("command: echo hi\ncommand: echo ho\nenvironment: {image: x}\n", ["command"]),
    ("command: echo hi\nenvironment: {image: x}\ncode: ./not-there\n", ["not-there"]),
    ("command: echo hi\nenvironment: {image: x}\nresources: {instance_count: many}\n", ["instance_count"]),
])
def test_yaml_errors_name_the_place(cli, tmp_path, text, words):
    (tmp_path / "job.yml").write_text(text)
    done = cli("job", "validate", "-f", tmp_path / "job.yml")
    assert done.returncode != 0
    for word in [*words, "job.yml"]:
        assert word in done.stdout + done.stderr


def test_validate_never_asks_the_server(server, tmp_path, job_file):
    done = server.turnout("job", "validate", "-f", job_file("echo hi"), check=False, env={"TURNOUT_DATA": str(tmp_path / "nothing-here")})
    assert done.returncode == 0, done.stderr


def test_unknown_verbs_and_flags(cli):
    for arguments in (["job", "creat"], ["jobs"], ["job", "create", "--fil", "x"], ["job", "show"]):
        done = cli(*arguments)
        assert done.returncode != 0 and done.stderr.strip()


def test_no_server_is_said_plainly(server, tmp_path):
    done = server.turnout("job", "list", check=False, env={"TURNOUT_DATA": str(tmp_path / "nothing-here")})
    assert done.returncode != 0 and "turnout up" in done.stderr


def test_exec_passes_the_exit_code(server):
    assert server.turnout("exec", "--", "sh", "-c", "test -n \"$ARM_CLOUD_METADATA_URL\" && exit 9", check=False).returncode == 9


def test_a_log_steers_no_terminal(cli, screen, job_file):
    """Colours go through; what moves the cursor, sets the title or rings is shown. A file gets the bytes."""
    command = r"printf 'plain \033[32mgreen\033[0m \033[2J\033]0;owned\007 \302\2332J 10%%\r20%%\n'"
    code, text = screen("job", "create", "-f", job_file(command), "--stream", "-n", "steering")
    assert code == 0
    line = next(line for line in text.split("\n") if "green" in line)
    assert line.endswith("plain \x1b[32mgreen\x1b[0m ^[[2J^[]0;owned^G ^?2J 10%\r20%"), repr(line)
    assert "plain \x1b[32mgreen\x1b[0m \x1b[2J\x1b]0;owned\x07 \u009b2J 10%" in cli("job", "stream", "steering").stdout
    cli("job", "update", "steering", "--set", "display_name=a\x1b[2Jb", "tags.x=\x9bz", check=True)
    for command in (["job", "show", "steering"], ["job", "list"], ["job", "show", "steering", "-o", "tsv"], ["job", "show", "steering", "-o", "yaml"], ["job", "list", "-o", "json"], ["job", "show", "no\x1b[2Jsuch"]):
        code, text = screen(*command)
        assert "\x1b[2J" not in text and "\x9b" not in text, command


def test_times_are_of_one_zone_and_tell_it(cli, screen, job_file):
    name = as_json(cli("job", "create", "-f", job_file("true")))["name"]
    assert cli("job", "stream", name).returncode == 0
    for command in (["job", "show", name], ["job", "explain", name], ["events", "--job", name], ["status"], ["compute", "show", "cpu-cluster"]):
        code, text = screen(*command, TZ="America/New_York")
        assert code == 0
        for time in re.findall(r".*(?<![:\w])\d\d:\d\d:\d\d(?![:\w]).*", text):
            assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", time), (command, time)
    assert " UTC" in screen("events", "--job", name)[1]
