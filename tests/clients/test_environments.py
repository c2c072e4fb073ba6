"""What jobs do to their environments, and what they find there."""

import json
import re
import subprocess
import sys
import textwrap

import pytest
from conftest import eventually

WHEEL = """
import sys, zipfile
name, version, folder = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as z:
    z.writestr(f"{name}.py", f"version = '{version}'\\ndef main(): print('ran', version)\\n")
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    z.writestr(f"{info}/entry_points.txt", f"[console_scripts]\\n{name}-run = {name}:main\\n")
    z.writestr(f"{info}/RECORD", f"{name}.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/entry_points.txt,,\\n{info}/RECORD,,\\n")
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (("turnoutbase", "1.0"), ("turnoutbase", "2.0"), ("turnoutextra", "1.0")):
        subprocess.run([sys.executable, "-c", WHEEL, name, version, str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def run(module_server, tmp_path_factory):
    server, folder = module_server, tmp_path_factory.mktemp("jobs")
    server.turnout("compute", "create", "-n", "c1", "--type", "amlcompute", "--size", "STANDARD_DS3_v2", "--max-instances", "1")

    def job(command, environment):
        file = folder / "job.yml"
        file.write_text(f"type: command\ncompute: azureml:c1\ncommand: >-\n  {command}\n" + environment)
        return server.turnout("job", "create", "-f", file, "--stream", check=False, timeout=300)

    return job


def conda(wheels):
    return textwrap.dedent(f"""\
        environment:
          image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04
          conda_file:
            dependencies:
              - pip:
                  - --find-links {wheels}
                  - turnoutbase==1.0
        """)


IMAGE = "environment:\n  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04\n"


def test_conda_brings_pip_and_setuptools(run, wheels):
    done = run("""pip --version && python -c "import pkg_resources, wheel; print('all there')" """, conda(wheels))
    assert done.returncode == 0 and "all there" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("pip", ["pip", "python -m pip", "python -c 'import subprocess, sys; subprocess.check_call([sys.executable, \"-m\", \"pip\", *sys.argv[1:]])'"])
@pytest.mark.parametrize("kind", ["conda", "image"])
def test_what_a_job_installs_is_its_own(run, wheels, kind, pip):
    environment = conda(wheels) if kind == "conda" else IMAGE
    install = f"{pip} install -q --no-index --find-links {wheels}"
    done = run(f"{install} turnoutextra turnoutbase==2.0 && turnoutextra-run && python -c \"import turnoutbase; print('base', turnoutbase.version)\"", environment)
    assert done.returncode == 0 and "ran 1.0" in done.stdout and "base 2.0" in done.stdout, done.stdout + done.stderr
    # Neither the next job has it, nor this machine's Python.
    after = run("python -c 'import turnoutextra'", environment)
    assert after.returncode != 0 and "No module named 'turnoutextra'" in after.stdout, after.stdout + after.stderr
    if kind == "conda":
        same = run("python -c \"import turnoutbase; print('base', turnoutbase.version)\"", environment)
        assert "base 1.0" in same.stdout, same.stdout + same.stderr
    assert subprocess.run(["python3", "-c", "import turnoutextra"], capture_output=True).returncode != 0


def test_an_environment_of_others_survives_a_job_that_breaks_it(run, wheels):
    done = run("pip uninstall -q -y turnoutbase setuptools; rm -rf $VIRTUAL_ENV/bin/pip; python -c 'import turnoutbase'", conda(wheels))
    assert "No module named 'turnoutbase'" in done.stdout or "outside environment" in done.stdout, done.stdout + done.stderr
    after = run("""pip --version && python -c "import turnoutbase, pkg_resources; print('whole')" """, conda(wheels))
    assert after.returncode == 0 and "whole" in after.stdout, after.stdout + after.stderr


def conda_of(*lines):
    return "environment:\n  image: debian:12\n  conda_file:\n    dependencies: [" + ", ".join(lines) + "]\n"


def test_a_python_that_cannot_be_had_is_refused_when_it_is_submitted(run, module_server):
    eventually("the server knows which Pythons there are", lambda: (module_server.data / "cache" / "pythons.json").exists())
    done = run("python -V", conda_of("python=3.4.1"))
    assert done.returncode != 0 and "job " not in done.stdout
    assert "asks for Python 3.4.1, which this machine does not have" in done.stderr and "the nearest here are 3." in done.stderr, done.stderr
    # A sweep, too, before it tries one trial.
    (module_server.data.parent / "sweep.yml").write_text(
        "type: sweep\ntrial:\n  command: echo ${{search_space.n}}\n"
        + textwrap.indent(conda_of("python=3.4.1"), "  ")
        + "search_space:\n  n: {type: choice, values: [1, 2]}\nsampling_algorithm: grid\n"
        "objective: {goal: minimize, primary_metric: loss}\nlimits: {max_total_trials: 2}\n")
    done = module_server.turnout("job", "create", "-f", module_server.data.parent / "sweep.yml", check=False)
    assert done.returncode != 0 and "asks for Python 3.4.1" in done.stderr, done.stdout + done.stderr


def test_a_failure_is_told_once_with_the_resolvers_reason_first(run, module_server):
    done = run("true", conda_of("pip", "{pip: ['--no-index', 'turnout-is-not-there==1.0']}"))
    assert done.returncode != 0
    shown = done.stdout + done.stderr
    assert shown.count("Because turnout-is-not-there") == 1, shown
    assert done.stderr.rstrip().splitlines()[-1] == "error: the environment could not be built, for the reason above", shown
    name = re.search(r"^job (\S+)$", done.stderr, re.M).group(1)
    error = json.loads(module_server.turnout("job", "show", "-n", name).stdout)["properties"]["turnout.cause"]
    assert error == "environment"
    explained = json.loads(module_server.turnout("job", "explain", "-n", name, "-o", "json").stdout)["message"]
    assert explained.startswith("Because turnout-is-not-there") and explained.count("Because") == 1, explained


def test_curated_environments_are_listed_and_some_are_refused_with_the_reason(run, module_server):
    names = module_server.turnout("environment", "list", "--query", "[].name", "-o", "tsv").stdout.split()
    assert "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu" in names and "acpt-pytorch-2.8-cuda12.6" in names
    assert "foundation-model-inference" not in names
    done = run("true", "environment: azureml:AzureML-foundation-model-inference@latest\n")
    assert done.returncode != 0 and "'foundation-model-inference' cannot be had here: it is a container" in done.stderr, done.stderr


def test_a_mirror_of_pythons_is_remembered(module_server, tmp_path):
    refused = module_server.turnout("up", "--detach", "--python-mirror", tmp_path / "nothing", check=False)
    assert refused.returncode != 0 and "must be a URL" in refused.stderr
    module_server.turnout("up", "--detach", "--python-mirror", tmp_path)
    try:
        assert json.loads(module_server.turnout("status", "-o", "json").stdout)["python_mirror"] == f"file://{tmp_path}"
    finally:
        module_server.turnout("up", "--detach", "--python-mirror", "none")
    assert "python_mirror" not in json.loads(module_server.turnout("status", "-o", "json").stdout)
