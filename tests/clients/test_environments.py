"""What jobs do to their environments, and what they find there."""

import subprocess
import sys
import textwrap

import pytest

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
