"""`turnout job validate` knows, without a server, whatever `job create` refuses of a file, but for the
short list of what only the server can know."""
import copy

import pytest
import yaml

COMMAND = {"command": "true", "environment": {"image": "python:3"}}
SWEEP = {"type": "sweep", "trial": {"command": "true ${{search_space.x}}", "environment": {"image": "python:3"}},
         "search_space": {"x": {"type": "choice", "values": [1, 2]}}, "sampling_algorithm": "random",
         "objective": {"goal": "minimize", "primary_metric": "loss"}, "limits": {"max_total_trials": 2}}
FOLDER = {"type": "uri_folder", "path": "azureml://datastores/workspaceblobstore/paths/here"}
FAR = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/other"
GONE = object()  # takes the key away

# Names of cases are what they change; a value is put at the dotted key.
BAD = {
    # the command
    "no command": {"command": GONE}, "empty command": {"command": "  "}, "NUL in the command": {"command": "echo a\0b"},
    "long command": {"command": "echo " + "x" * (256 << 10)}, "open reference": {"command": "echo ${{inputs.x"},
    "open option": {"command": "echo $[[ --x ${{inputs.x}}"}, "unknown group": {"command": "echo ${{secrets.x}}"},
    "undeclared input": {"command": "echo ${{inputs.x}}"}, "undeclared output": {"command": "echo ${{outputs.x}}"},
    "search space without a sweep": {"command": "echo ${{search_space.x}}"}, "empty reference": {"command": "echo ${{}}"},
    "parent's input": {"command": "echo ${{parent.inputs.x}}"},
    # the environment
    "no environment": {"environment": GONE}, "environment of another registry": {"environment": "azureml://registries/other/environments/x/versions/1"},
    "curated name that is not": {"environment": "azureml:AzureML-nothing-like-it@latest"},
    "curated name of a registry that is not": {"environment": "azureml://registries/azureml/environments/nothing-like-it/labels/latest"},
    "curated version that is not": {"environment": "azureml://registries/azureml/environments/sklearn-1.5/versions/100000"},
    "label that is not": {"environment": "azureml:mine@newest"}, "no version": {"environment": "azureml:mine"},
    "model as environment": {"environment": "azureml://registries/azureml/models/x/versions/1"},
    "datastore as environment": {"environment": "azureml://datastores/workspaceblobstore/paths/x"},
    "empty environment": {"environment": {}}, "unreadable conda file": {"environment": {"image": "x", "conda_file": "conda.broken.yml"}},
    "no conda file": {"environment": {"image": "x", "conda_file": "nowhere.yml"}},
    "conda file of another language": {"environment": {"image": "x", "conda_file": "conda.r.yml"}},
    "conda file with -r": {"environment": {"image": "x", "conda_file": "conda.file.yml"}},
    "Dockerfile": {"environment": {"build": {"path": "context"}}}, "environment for Windows": {"environment": {"image": "x", "os_type": "windows"}},
    # variables
    "variable with =": {"environment_variables": {"A=B": "x"}}, "variable without a name": {"environment_variables": {"": "x"}},
    "variable without a value": {"environment_variables": {"A": None}}, "variable that is a list": {"environment_variables": {"A": [1]}},
    "long variable": {"environment_variables": {"A": "x" * (128 << 10)}}, "NUL in a variable": {"environment_variables": {"A": "a\0b"}},
    "too many variables": {"environment_variables": {f"V{i}": "x" for i in range(501)}},
    "variables too long together": {"environment_variables": {f"V{i}": "x" * 100_000 for i in range(12)}},
    "variables that are a text": {"environment_variables": "x"},
    # inputs
    "input that begins with a digit": {"inputs": {"1x": "a"}}, "input name with a point": {"inputs": {"a.b": "x"}}, "input without a value": {"inputs": {"x": None}},
    "input that is a list": {"inputs": {"x": [1]}}, "input of an unknown type": {"inputs": {"x": {**FOLDER, "type": "uri_file2"}}},
    "input of an unknown mode": {"inputs": {"x": {**FOLDER, "mode": "nfs"}}}, "evaluated input": {"inputs": {"x": {**FOLDER, "mode": "eval_mount"}}},
    "input to be written": {"inputs": {"x": {**FOLDER, "mode": "rw_mount"}}}, "input without a path": {"inputs": {"x": {"type": "uri_folder"}}},
    "input with an empty path": {"inputs": {"x": {**FOLDER, "path": ""}}}, "input that is not here": {"inputs": {"x": {**FOLDER, "path": "nowhere"}}},
    "input with an unknown key": {"inputs": {"x": {**FOLDER, "pth": "x"}}}, "input outside of its store": {"inputs": {"x": {**FOLDER, "path": "azureml://datastores/workspaceblobstore/paths/../x"}}},
    "unreadable input": {"inputs": {"x": {**FOLDER, "path": "azureml://nonsense"}}}, "input of a registry": {"inputs": {"x": {**FOLDER, "path": "azureml://registries/azureml/data/x/versions/1"}}},
    "environment as input": {"inputs": {"x": {**FOLDER, "path": "azureml://registries/azureml/environments/x/versions/1"}}},
    "code as input": {"inputs": {"x": {**FOLDER, "path": "azureml://subscriptions/%s"}}},
    "input of an unknown scheme": {"inputs": {"x": {**FOLDER, "path": "gopher://host/x"}}}, "folder by https": {"inputs": {"x": {**FOLDER, "path": "https://example.com/data"}}},
    "URL with a user": {"inputs": {"x": {"type": "uri_file", "path": "https://a:b@example.com/x.csv"}}}, "URL without a host": {"inputs": {"x": {"type": "uri_file", "path": "https:///x.csv"}}},
    "URL with a port that is none": {"inputs": {"x": {"type": "uri_file", "path": "https://example.com:x/x.csv"}}},
    "input without a version": {"inputs": {"x": {**FOLDER, "path": "azureml:mine"}}}, "input of another label": {"inputs": {"x": {**FOLDER, "path": "azureml:mine@newest"}}},
    "too many inputs": {"inputs": {f"x{i}": "a" for i in range(501)}}, "long literal": {"inputs": {"x": "a" * (128 << 10)}},
    "long name of an input": {"inputs": {"x" * 256: "a"}}, "NUL in a literal": {"inputs": {"x": "a\0b"}},
    "literals too long together": {"inputs": {f"x{i}": "x" * 100_000 for i in range(12)}}, "place on the compute": {"inputs": {"x": {**FOLDER, "path_on_compute": "/x"}}},
    # outputs
    "output with a name that no asset has": {"outputs": {"x": {"name": "a b"}}}, "output with a version": {"outputs": {"x": {"version": "1"}}},
    "output that begins with a digit": {"outputs": {"1x": None}}, "output of an unknown type": {"outputs": {"x": {"type": "uri"}}},
    "output of an unknown mode": {"outputs": {"x": {"mode": "nfs"}}}, "output direct": {"outputs": {"x": {"mode": "direct"}}},
    "output into a folder here": {"outputs": {"x": {"path": "./x"}}}, "output into an asset": {"outputs": {"x": {"path": "azureml://jobs/j/outputs/o"}}},
    "output with an unknown reference": {"outputs": {"x": {"path": "azureml://datastores/workspaceblobstore/paths/${{nonsense}}"}}},
    "unreadable output": {"outputs": {"x": {"path": "azureml://datastores/"}}}, "too many outputs": {"outputs": {f"x{i}": None for i in range(501)}},
    "output that is a text": {"outputs": {"x": "folder"}}, "output with a path that is too long": {"outputs": {"x": {"path": "azureml://datastores/workspaceblobstore/paths/" + "x/" * 900}}},
    # where and how
    "no node": {"resources": {"instance_count": 0}}, "too many nodes": {"resources": {"instance_count": 1001}}, "nodes that are a text": {"resources": {"instance_count": "two"}},
    "shared memory without a number": {"resources": {"shm_size": "big"}}, "no shared memory": {"resources": {"shm_size": "0g"}}, "too much shared memory": {"resources": {"shm_size": "9999999999g"}},
    "shared memory of an unknown unit": {"resources": {"shm_size": "2t"}}, "unknown instance type": {"resources": {"instance_type": "Standard_Nothing"}},
    "unknown distribution": {"distribution": {"type": "horovod"}}, "Ray": {"distribution": {"type": "ray"}}, "no process": {"distribution": {"type": "pytorch", "process_count_per_instance": 0}},
    "too many processes": {"distribution": {"type": "pytorch", "process_count_per_instance": 257}}, "workers of PyTorch": {"distribution": {"type": "pytorch", "worker_count": 2}},
    "no worker": {"distribution": {"type": "tensorflow", "worker_count": 0}}, "fewer than none": {"distribution": {"type": "tensorflow", "parameter_server_count": -1}},
    "too many workers": {"distribution": {"type": "tensorflow", "worker_count": 200, "parameter_server_count": 100}},
    "nodes without a worker": {"resources": {"instance_count": 3}, "distribution": {"type": "tensorflow", "worker_count": 2}},
    "processes of TensorFlow": {"distribution": {"type": "tensorflow", "process_count_per_instance": 2}}, "distribution without a type": {"distribution": {"worker_count": 2}},
    "no time": {"limits": {"timeout": 0}}, "time that is a text": {"limits": {"timeout": "long"}},
    "unknown tier": {"queue_settings": {"job_tier": "gold"}}, "unknown priority": {"queue_settings": {"priority": "urgent"}}, "unknown identity": {"identity": {"type": "nobody"}},
    "compute with a blank": {"compute": "a b"}, "data as compute": {"compute": "azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/default/data/x"},
    # names and the rest
    "name with a blank": {"name": "a b"}, "long name": {"name": "x" * 256}, "name that begins with -": {"name": "-x"}, "empty name": {"name": ""},
    "unknown key": {"comand": "x"}, "unknown type": {"type": "cmmand"}, "pipeline": {"type": "pipeline"}, "parent": {"parent_job_name": "x"},
    "no folder": {"code": "nowhere"}, "code by URL": {"code": "https://example.com/x"}, "code that is data": {"code": FAR + "/data/x/versions/1"},
    "tags that are a list": {"tags": ["x"]}, "too many tags": {"tags": {f"t{i}": "x" for i in range(20_001)}},
}
BAD_SWEEPS = {
    "no trial": {"trial": GONE}, "no command": {"trial.command": GONE}, "no environment": {"trial.environment": GONE}, "empty command": {"trial.command": " "},
    "undeclared parameter": {"trial.command": "echo ${{search_space.y}}"}, "undeclared input": {"trial.command": "echo ${{inputs.y}}"}, "Dockerfile": {"trial.environment": {"build": {"path": "context"}}},
    "curated name that is not": {"trial.environment": "azureml:AzureML-nothing-like-it@latest"}, "broken conda file": {"trial.environment": {"image": "x", "conda_file": "conda.broken.yml"}},
    "variable with =": {"trial.environment_variables": {"A=B": "x"}}, "too many processes": {"trial.distribution": {"type": "mpi", "process_count_per_instance": 257}},
    "trial's shared memory": {"trial.resources": {"shm_size": "big"}}, "component": {"trial": "azureml:c:1"},
    "no search space": {"search_space": GONE}, "empty search space": {"search_space": {}}, "unknown expression": {"search_space.x": {"type": "chance"}},
    "no values": {"search_space.x": {"type": "choice", "values": []}}, "values that are lists": {"search_space.x": {"type": "choice", "values": [[1]]}}, "null among the values": {"search_space.x": {"type": "choice", "values": [None]}},
    "upside down": {"search_space.x": {"type": "uniform", "min_value": 2, "max_value": 1}}, "no upper": {"search_space.x": {"type": "randint"}}, "upper of nothing": {"search_space.x": {"type": "randint", "upper": 0}},
    "powers beyond numbers": {"search_space.x": {"type": "loguniform", "min_value": 1, "max_value": 5000}}, "no sigma": {"search_space.x": {"type": "normal", "mu": 0}}, "negative sigma": {"search_space.x": {"type": "normal", "mu": 0, "sigma": -1}},
    "step of nothing": {"search_space.x": {"type": "quniform", "min_value": 0, "max_value": 1, "q": 0}}, "name with a point": {"search_space": {"a.b": {"type": "choice", "values": [1]}}},
    "long value": {"search_space.x": {"type": "choice", "values": ["x" * (128 << 10)]}}, "NUL in a value": {"search_space.x": {"type": "choice", "values": ["a\0b"]}},
    "grid of numbers": {"sampling_algorithm": "grid", "search_space.x": {"type": "uniform", "min_value": 0, "max_value": 1}}, "bayesian": {"sampling_algorithm": "bayesian"}, "unknown sampling": {"sampling_algorithm": "best"},
    "unknown rule": {"sampling_algorithm": {"type": "random", "rule": "halton"}}, "sobol of too many": {"sampling_algorithm": {"type": "random", "rule": "sobol"}, "search_space": {f"x{i}": {"type": "uniform", "min_value": 0, "max_value": 1} for i in range(200)}},
    "seed that is a text": {"sampling_algorithm": {"type": "random", "seed": "x"}}, "base of 1": {"sampling_algorithm": {"type": "random", "logbase": 1}},
    "no objective": {"objective": GONE}, "no metric": {"objective.primary_metric": GONE}, "empty metric": {"objective.primary_metric": ""}, "unknown goal": {"objective.goal": "best"},
    "no trials": {"limits.max_total_trials": 0}, "too many trials": {"limits.max_total_trials": 1_000_001}, "none at a time": {"limits.max_concurrent_trials": 0},
    "no time": {"limits.timeout": 0}, "no time for a trial": {"limits.trial_timeout": 0},
    "unknown policy": {"early_termination": {"type": "patience"}}, "bandit without slack": {"early_termination": {"type": "bandit"}}, "bandit with both": {"early_termination": {"type": "bandit", "slack_factor": 1, "slack_amount": 1}},
    "truncation of all": {"early_termination": {"type": "truncation_selection", "truncation_percentage": 100}}, "truncation of nothing": {"early_termination": {"type": "truncation_selection"}}, "negative interval": {"early_termination": {"type": "median_stopping", "evaluation_interval": -1}},
    "local": {"compute": "local"}, "unknown priority": {"queue_settings": {"priority": "urgent"}}, "the stand-in for names": {"inputs": {"x": "${{turnout.job}}"}},
    "output for itself": {"outputs": {"x": {"name": "made"}}}, "input without a value": {"inputs": {"x": None}},
}
# Which workspace this is, is known where a server or a login is set up.
NEEDS_SETTINGS = {
    "environment of another workspace": {"environment": FAR + "/environments/x/versions/1"},
    "input of another workspace": {"inputs": {"x": {**FOLDER, "path": "azureml:" + FAR + "/data/x/versions/1"}}},
    "compute of another workspace": {"compute": FAR + "/computes/x"},
    "code of another workspace": {"code": FAR + "/codes/x/versions/1"},
}
# Only the server knows what is there, and what its machines are.
NEEDS_THE_SERVER = {
    "environment that is not there": {"environment": "azureml:nobody-made-it:1"}, "curated name without its prefix": {"environment": "azureml:nobody-made-it@latest"},
    "compute that is not there": {"compute": "azureml:nowhere"}, "data that is not there": {"inputs": {"x": {**FOLDER, "path": "azureml:nobody-made-it:1"}}},
    "latest of what is not there": {"inputs": {"x": {**FOLDER, "path": "azureml:nobody-made-it@latest"}}}, "place where nothing is": {"inputs": {"x": FOLDER}},
    "datastore that is not there": {"outputs": {"x": {"path": "azureml://datastores/nowhere/paths/x"}}}, "job that is not there": {"inputs": {"x": {**FOLDER, "path": "azureml://jobs/nobody/outputs/o"}}},
    "code that is not there": {"code": "azureml:nobody-made-it:1"}, "more nodes than slots": {"resources": {"instance_count": 900}}, "a GPU": {"resources": {"instance_type": "Standard_NC24ads_A100_v4"}},
    "a Python that cannot be had": {"environment": {"image": "x", "conda_file": "conda.python.yml"}},
}


def changed(base, changes):
    job = copy.deepcopy(base)
    for key, value in changes.items():
        here = job
        *path, last = key.split(".")
        for part in path:
            here = here[part]
        if value is GONE:
            del here[last]
        else:
            here[last] = value
    return job


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM python:3\n")
    (folder / "conda.broken.yml").write_text("dependencies: {python: 3}\n")
    (folder / "conda.r.yml").write_text("dependencies:\n  - r-base\n")
    (folder / "conda.file.yml").write_text("dependencies:\n  - pip:\n      - -r requirements.txt\n")
    (folder / "conda.python.yml").write_text("dependencies:\n  - python=3.99.1\n")
    return folder


def both(server, jobs, job):
    file = jobs / "job.yml"
    file.write_text(yaml.safe_dump(job, allow_unicode=True))
    # Somewhere without a server and without settings of one.
    offline = server.turnout("job", "validate", "-f", file, check=False, env={"TURNOUT_DATA": str(jobs / "no-server"), "XDG_CONFIG_HOME": str(jobs)})
    online = server.turnout("job", "create", "-f", file, check=False)
    return offline, online



def test_validate_refuses_whatever_create_refuses(server, jobs):
    wrong = []
    for base, cases in ((COMMAND, BAD), (SWEEP, BAD_SWEEPS)):
        assert [both(server, jobs, base)[i].returncode for i in (0, 1)] == [0, 0], "the file that all others are made from"
        for name, changes in cases.items():
            offline, online = both(server, jobs, changed(base, changes))
            if (offline.returncode == 0) != (online.returncode == 0):
                wrong.append(f"{name}: validate ends with {offline.returncode} {offline.stderr[:300]!r}, create with {online.returncode} {(online.stdout + online.stderr)[-300:]!r}")
            elif offline.returncode not in (0, 2):
                wrong.append(f"{name}: ends with {offline.returncode}: {offline.stderr[:300]!r}")
            elif offline.returncode == 2 and not ("error: " in offline.stderr and "job.yml" in offline.stderr):
                wrong.append(f"{name}: does not say where: {offline.stderr[:300]!r}")
            elif offline.returncode == 0:
                wrong.append(f"{name}: is refused by nobody")
    assert not wrong, "\n".join(wrong)


def test_only_the_server_knows_what_is_there(server, jobs):
    wrong = []
    for name, changes in NEEDS_THE_SERVER.items():
        offline, online = both(server, jobs, changed(COMMAND, changes))
        if (offline.returncode, online.returncode != 0) != (0, True):
            wrong.append(f"{name}: validate ends with {offline.returncode} {offline.stderr[:300]!r}, create with {online.returncode} {online.stderr[:300]!r}")
    assert not wrong, "\n".join(wrong)


def test_another_workspace_is_refused_where_this_one_is_known(server, jobs):
    for name, changes in NEEDS_SETTINGS.items():
        offline, online = both(server, jobs, changed(COMMAND, changes))
        known = server.turnout("job", "validate", "-f", jobs / "job.yml", check=False)
        assert [done.returncode for done in (offline, known, online)] == [0, 2, 2], (name, known.stderr, online.stderr)
        assert "job.yml" in known.stderr


def test_all_that_is_wrong_is_said_at_once_with_its_place(server, jobs):
    file = jobs / "many.yml"
    file.write_text("command: echo ${{inputs.lr}} ${{secrets.x}}\nenvironment: azureml://registries/azureml/environments/nothing/labels/latest\n"
                    "inputs:\n  lr: 1\n  data:\n    type: uri_folder\n    path: https://example.com/data\nresources:\n  instance_type: Standard_Nothing\n")
    said = server.turnout("job", "validate", "-f", file, check=False)
    assert said.returncode == 2
    for place in (":1:", ":2:", ":7:", ":9:"):
        assert f"many.yml{place}" in said.stderr, said.stderr


def test_an_environment_is_checked_like_a_job(server, jobs):
    for name, text in {"reserved": "name: AzureML-mine\nimage: x\n", "empty": "name: mine\n", "broken": "name: mine\nimage: x\nconda_file: conda.broken.yml\n"}.items():
        file = jobs / f"{name}.yml"
        file.write_text(text)
        offline = server.turnout("environment", "validate", "-f", file, check=False, env={"TURNOUT_DATA": str(jobs / "no-server"), "XDG_CONFIG_HOME": str(jobs)})
        online = server.turnout("environment", "create", "-f", file, check=False)
        assert (offline.returncode, online.returncode) == (2, 2), (name, offline.stderr, online.stderr)
        assert name + ".yml" in offline.stderr
