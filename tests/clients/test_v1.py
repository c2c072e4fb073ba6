"""The snippets of the seed of 2018, character for character, by the layer of python/: what needs no engine of containers."""
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import PLAIN_ENV, ROOT, Server, client_for, eventually, processes_with
from hosts import Hosts, user
from v1 import LAYER, SNIPPETS, Typist, snippet

AFTER = """
print("::", run.id, run.get_status())
"""


@pytest.fixture(scope="module")
def typist(module_server):
    folder = Path(tempfile.mkdtemp(prefix="turnout-v1-"))
    yield Typist(module_server, folder)
    shutil.rmtree(folder, ignore_errors=True)


def run_of(printed):
    found = re.search(r"^:: (\S+) (\w+)$", printed, re.M)
    assert found, printed
    return found[1], found[2]


def test_there_are_eleven():
    numbers = sorted(int(path.name.split("_")[0]) for path in SNIPPETS.glob("*.py"))
    assert numbers == list(range(1, 12))
    assert all(ast.parse(path.read_text()).body for path in SNIPPETS.glob("*.py"))


def test_local_with_an_environment_of_the_user(typist):
    printed = typist.types("1", "2", AFTER, "print(run.get_metrics(), run.get_file_names(), run_config_user_managed.target)")
    run, status = run_of(printed)
    assert status == "Completed"
    lines = printed.splitlines()
    at = [lines.index(one) for one in (f"RunId: {run}", "Streaming user_logs/std_log.txt", f"trained by {sys.executable}", "Execution Summary")]
    assert at == sorted(at) and lines[at[0] + 1].startswith("Web View: https://"), printed
    assert "{'alpha': 0.5, 'mse': [4.0, 2.0, 1.0]}" in printed and "['outputs/model.txt', 'user_logs/std_log.txt'] local" in printed, printed
    assert not (typist.folder / "project" / "outputs").exists(), "it ran in a copy"
    # What others see of it, who know nothing of 2018.
    shown = json.loads(typist.server.turnout("run", "show", run, "-o", "json").stdout)
    assert (shown["experiment_name"], shown["status"], shown["metrics"]["mse"]) == ("seed", "FINISHED", 1.0), shown
    # The page that it names is there.
    done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", typist.env["REQUESTS_CA_BUNDLE"],
                           lines[at[0] + 1].split()[-1]], capture_output=True, text=True)
    assert done.stdout == "200"


def test_a_script_that_fails_raises_after_its_log(typist):
    (typist.folder / "project" / "broken.py").write_text("print('so far')\nraise SystemExit(3)\n")
    said = typist.types("1", snippet("2").replace("train.py", "broken.py").replace("run.wait", "print(':: ' + run.id)\nrun.wait"), fails=True)
    assert "azureml.exceptions.ActivityFailedException: Activity Failed:" in said and "the script ended with exit code 3" in said, said
    (run,) = typist.types("print(*[one.id for one in exp.get_runs() if one.get_status() == 'Failed'])").split()[-1:]
    printed = typist.types(f"run = azureml.core.Run(exp, {run!r})", "run.wait_for_completion(show_output=True, raise_on_error=False)", AFTER)
    assert "so far" in printed and "Error:\nthe script ended with exit code 3" in printed and run_of(printed) == (run, "Failed")
    for wanted, words in (("script = 'none.py'", "script: expected a file of"), ("script = '../x.py'", "script: expected a file of")):
        assert words in typist.types("1", snippet("2").replace("script = 'train.py'", wanted), fails=True)
    said = typist.types("1", "run_config_user_managed.environment.python.interpreter_path = '/nowhere/python'", "2", fails=True)
    assert "UserErrorException: environment.python.interpreter_path: expected a program of this machine, found '/nowhere/python'" in said


def test_local_with_an_environment_of_the_system(typist):
    shown = typist.types("3", "print(run_config_system_managed.save('project', 'mine'))").splitlines()[-1]
    assert shown.endswith("project/aml_config/mine.runconfig")
    conda = (typist.folder / "project" / "aml_config" / "conda_dependencies.yml").read_text()
    assert all(word in conda for word in ("python=3.", "- scikit-learn", "pip:", "- azureml-defaults")), conda
    shutil.rmtree(typist.folder / "project" / "aml_config")

    seconds = "print('seconds', run.get_tags()['azureml.environment_seconds'])"
    said = typist.types("3", "run_config_system_managed.prepare_environment = False", "4", fails=True)
    assert "the environment of this run is not prepared: expected prepare_environment=True, found False" in said, said
    first = typist.types("3", "4", AFTER, seconds)
    assert "Streaming azureml-logs/20_environment.txt" in first and "+ scikit-learn==" in first, first
    assert f"trained by {typist.folder}/cache/turnout/environments/" in first and run_of(first)[1] == "Completed", first
    again = typist.types("3", "4", AFTER, seconds)
    assert "is there already" in again and "scikit-learn==" not in again, again
    took = [float(re.search(r"^seconds (\S+)$", one, re.M)[1]) for one in (first, again)]
    assert took[1] < took[0], took
    changed = typist.types("3", "run_config_system_managed.environment.python.conda_dependencies.add_pip_package('six')", "4", AFTER)
    assert "+ six==" in changed and run_of(changed)[1] == "Completed", changed
    said = typist.types("3", "run_config_system_managed.environment.python.conda_dependencies.add_pip_package('no-such-package-at-all')", "4",
                        fails=True)
    assert "the environment could not be prepared: pip install ended with" in said and "no-such-package-at-all" in said, said


def test_a_local_run_goes_on_when_its_caller_ends_and_is_canceled(typist):
    (typist.folder / "project" / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(1000)\n")
    printed = typist.types("1", snippet("2").replace("train.py", "slow.py").replace("run.wait_for_completion(show_output=True)", ""), AFTER)
    run, _ = run_of(printed)
    eventually("it runs", lambda: "begun" in typist.types(f"print(azureml.core.Run(exp, {run!r}).get_details_with_logs())"), interval=0.5)
    printed = typist.types(f"run = azureml.core.Run(exp, {run!r})", "run.cancel()", AFTER)
    assert run_of(printed) == (run, "Canceled")
    eventually("nothing of it is left", lambda: not processes_with(run))
    assert not (typist.folder / f"azureml_runs_{os.getuid()}" / run / "work").exists()


def test_a_local_run_outlives_the_server(own_server, tmp_path):
    typist = Typist(own_server, tmp_path / "work", "import time\nfrom azureml.core import Run\nrun = Run.get_context()\nrun.log('a', 1)\n"
                    "print('begun', flush=True)\ntime.sleep(4)\nrun.log('b', 2)\nopen('outputs/model.txt', 'w').write('x')\n")
    run, _ = run_of(typist.types("1", snippet("2").replace("run.wait_for_completion(show_output=True)", ""), AFTER))
    log = tmp_path / "work" / f"azureml_runs_{os.getuid()}" / run / "logs" / "user_logs" / "std_log.txt"
    eventually("it runs", lambda: log.is_file() and "begun" in log.read_text())
    own_server.kill()
    time.sleep(5)  # the script comes to its end, or to where it wants the server
    own_server.start()
    printed = typist.types(f"run = azureml.core.Run(exp, {run!r})", "run.wait_for_completion(show_output=True)", AFTER, "print(run.get_metrics(), run.get_file_names())")
    assert run_of(printed) == (run, "Completed") and "begun" in printed, printed
    assert "{'a': 1.0, 'b': 2.0} ['outputs/model.txt', 'user_logs/std_log.txt']" in printed, printed


def test_a_batch_ai_cluster(typist, monkeypatch):
    first = typist.types("8")
    for line in ("creating a new compute target...", "Creating", "Succeeded", "BatchAI wait for completion finished",
                 "Minimum number of nodes requested have been provisioned"):
        assert line in first.splitlines(), first
    status = ast.literal_eval(first.splitlines()[-1])
    assert list(status) == ["allocationState", "allocationStateTransitionTime", "creationTime", "currentNodeCount", "errors", "nodeStateCounts",
                            "provisioningState", "provisioningStateTransitionTime", "scaleSettings", "vmPriority", "vmSize"]
    assert status["currentNodeCount"] >= 1 and status["vmSize"] == "STANDARD_D2_V2" and status["nodeStateCounts"]["idleNodeCount"] >= 1, status
    again = typist.types("8", "run_config = azureml.core.RunConfiguration()", "run_config.target = compute_target",
                         "run_config.environment.python.user_managed_dependencies = True", snippet("7"), AFTER,
                         "print(run.get_metrics(), run.get_file_names())", "model = run.register_model('seed', 'outputs/model.txt')",
                         "print(model.id, open(model.download('models')).read(), azureml.core.Model(ws, 'seed').run_id == run.id)",
                         "print(ws.compute_targets['defaultcpu'].list_nodes()[0]['nodeState'], list(ws.compute_targets))")
    assert "defaultcpu BatchAI\nfound compute target. just use it." in again and "creating" not in again, again
    assert run_of(again)[1] == "Completed" and "{'alpha': 0.5, 'mse': [4.0, 2.0, 1.0]}" in again, again
    assert "['outputs/model.txt', 'user_logs/std_log.txt']" in again and "seed:1 a model True" in again and "['defaultcpu']" in again, again
    # The same cluster for the SDK that came after.
    for name, value in typist.server.env().items():
        monkeypatch.setenv(name, value)
    sdk = client_for(typist.server)
    seen = sdk.compute.get("defaultcpu")
    assert (seen.type, seen.min_instances, seen.max_instances) == ("amlcompute", 1, 4)
    assert sdk.jobs.get(run_of(again)[0]).experiment_name == "seed"
    # The lines that the tutorial has as remarks, and a cluster of one size.
    typist.types(snippet("8").replace("#vm_priority", "vm_priority").replace('"cpu"', '"fixed"').replace("autoscale_enabled = True", "autoscale_enabled = False")
                 .replace("compute_target.wait_for_completion(show_output=True, min_node_count=None", "compute_target.wait_for_completion(min_node_count=0"))
    seen = sdk.compute.get("defaultfixed")
    assert (seen.tier, seen.min_instances, seen.max_instances) == ("low_priority", 4, 4)
    typist.types("ws.compute_targets['defaultfixed'].delete()")
    # What takes too long says so; a size that is none is refused.
    late = typist.types("8", "compute_target.wait_for_completion(True, min_node_count=4, timeout_in_minutes=0.01)")
    assert "Wait timeout has been reached" in late and 'current node count is "' in late, late
    said = typist.types("8", "ComputeTarget.create(ws, 'other', BatchAiCompute.provisioning_configuration('HUGE'))", fails=True)
    assert "ComputeTargetException: compute target 'other':" in said and "HUGE" in said, said
    gone = typist.types("8", "compute_target.delete()", "print('left', ws.compute_targets())")
    assert "left []" in gone


def test_a_machine_of_a_pool_of_hosts_is_a_dsvm():
    hosts, path = Hosts(1), Path(tempfile.mkdtemp(prefix="turnout-"))
    server = Server(path / "data")
    (server.data / "pools.yaml").write_text(hosts.pool())
    try:
        server.start()
        typist = Typist(server, path / "work")
        first = typist.types("5")
        assert "creating new.\nCreating" in first and 'Succeeded\nProvisioning operation finished, operation "Succeeded"' in first, first
        assert len(hosts.all[0].nodes()) == 1
        printed = typist.types("5", "6", "7", AFTER)
        assert "found existing: mydsvm" in printed and "creating" not in printed, printed
        assert "Base Docker image is: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:" in printed, printed
        assert "+ scikit-learn==" in printed and f"trained by {hosts.all[0].folder}" in printed and run_of(printed)[1] == "Completed", printed
        assert "is not started on this pool; the command runs on the machine itself" in printed, printed
        again = typist.types("5", "6", "7", AFTER)
        assert "scikit-learn==" not in again and run_of(again)[1] == "Completed", again
        # There is one host: a second machine does not come, and why is said.
        said = typist.types(snippet("5").replace("mydsvm", "other"), fails=True)
        assert "ComputeTargetException: compute target 'other' is not ready: no host of pool 'lab' is free" in said, said
        said = typist.types("print('types', [(one.name, one.type) for one in ws.compute_targets()])", "ws.compute_targets['other'].delete()")
        assert "types [('mydsvm', 'VirtualMachine'), ('other', 'VirtualMachine')]" in said, said
        # The last step, which the seed has in its prose.
        gone = typist.types("5", "dsvm_compute.delete()", "print('left', list(ws.compute_targets))")
        assert "left []" in gone and hosts.all[0].nodes() == [], gone
        eventually("its processes are gone", lambda: not hosts.all[0].processes())
    finally:
        server.stop()
        hosts.end()
        shutil.rmtree(path, ignore_errors=True)


def test_a_machine_is_attached_and_its_configuration_loaded(typist):
    hosts = Hosts(1)
    try:
        attach = f"""
from azureml.core.compute import RemoteCompute
from azureml.core.project import Project
project = Project.attach(ws, "remote", "project")
try:
    RemoteCompute.attach(ws, name="box", username={user()!r}, address="127.0.0.1", ssh_port={hosts.all[0].port}, private_key_file="{hosts.root}/id")
except UserErrorException as e:
    print("Caught =", e.message)
run_config = RunConfiguration.load(project_object=project, run_config_name="box")
ws.compute_targets["box"].wait_for_completion(show_output=True)
"""
        first = typist.types(attach)
        assert 'Succeeded\nProvisioning operation finished, operation "Succeeded"' in first and "Caught" not in first, first
        printed = typist.types(attach, "run_config.environment.python.user_managed_dependencies = True", "7", AFTER,
                               "print(ws.compute_targets['box'].address, ws.compute_targets['box'].type)", "ws.compute_targets['box'].detach()")
        assert "Caught = compute target 'box' is already attached or made in workspace 'default'" in printed, printed
        assert run_of(printed)[1] == "Completed" and "127.0.0.1 VirtualMachine" in printed, printed
        assert not processes_with(f"{Path.home()}/.turnout-box")
    finally:
        hosts.end()
        shutil.rmtree(typist.folder / "project" / "aml_config", ignore_errors=True)


def test_what_needs_a_pool_of_containers_or_spark_is_refused(typist):
    said = typist.types("9", "10", fails=True)
    assert "UserErrorException: compute 'containerinstance' is a container for one job, and this server has no pool of containers" in said, said
    project = "from azureml.core.project import Project\nproject = Project.attach(ws, 'hdi', 'project')"
    said = typist.types(project, "11", fails=True)
    assert "ComputeTargetException: compute target 'myhdi':" in said and "which this server cannot do yet" in said, said
    # Its second half, where there is such a file.
    loads = "\n".join(snippet("11").splitlines()[11:])
    assert "run configuration 'myhdi': expected one of the files" in typist.types(project, loads, fails=True)
    written = "config = RunConfiguration(framework='pyspark')\nconfig.target = 'myhdi'\nconfig.save(project.project_directory, 'myhdi')"
    printed = typist.types(project, written, loads, "print(run_config.target, run_config.framework, run_config.hdi.yarn_deploy_mode)")
    assert "myhdi PySpark cluster" in printed
    said = typist.types(project, loads, snippet("2").replace("run_config_user_managed", "run_config"),
                        fails=True)
    assert "framework: expected Python, TensorFlow, PyTorch or CNTK, found PySpark" in said, said
    shutil.rmtree(typist.folder / "project" / "aml_config")


def test_a_script_without_a_server_or_a_run(typist, tmp_path):
    plain = {**PLAIN_ENV, "PYTHONPATH": str(LAYER)}
    done = subprocess.run([sys.executable, "-c", "from azureml.core import Run; Run.get_context().log('mse', 1.0)"], env=plain, capture_output=True,
                          text=True)
    assert done.stdout == "Attempted to log scalar metric mse:\n1.0\n", done
    done = subprocess.run([sys.executable, "-c", "from azureml.core import Workspace; Workspace('s', 'g', 'w')"], env=plain, capture_output=True,
                          text=True)
    assert 'no server is known here: expected the variables of `eval "$(turnout env)"`' in done.stderr, done.stderr
    said = typist.types("Workspace.get('nothing')", fails=True)
    assert "WorkspaceException: workspace 'nothing': expected one in subscription" in said, said


def test_an_interactive_run_with_children_and_data(typist):
    printed = typist.types("""
import os, shutil
run = exp.start_logging(snapshot_directory="project")
run.log_list("losses", [3, 2, 1])
run.log_row("curve", x=1, y=2)
run.log_row("curve", x=2, y=4)
run.log("note", "a text")
run.tag("kind", "test")
run.upload_file("files/script.py", "script.py")
for alpha in (0.1, 0.2):
    with run.child_run() as child:
        child.log("alpha", alpha)
os.makedirs("own/deep")
shutil.copy("project/train.py", "own/deep")
run.upload_folder("all", "own")
run.complete()
run.download_file("files/script.py", "got.py")
run.download_files("all/", "got")
print(open("got.py").read() == open("script.py").read(), open("got/all/deep/train.py").read() == open("project/train.py").read())
try:
    run.download_file("none.txt")
except UserErrorException as error:
    print(error.message.split(":")[0])
print(sorted(run.get_metrics().items()))
print(sorted(one.get_metrics()["alpha"] for one in run.get_children()), [one.id for one in exp.get_runs(tags={"kind": "test"})] == [run.id])
print(run.get_file_names(), run.parent, run.get_children()[0].parent.id == run.id)
store = ws.get_default_datastore()
store.upload("project", "data", show_progress=False)
print(store.name, store.download("down", "data"), open("down/data/train.py").read() == open("project/train.py").read())
from azureml.core import Model
first = Model.register(ws, "project/train.py", "by-hand", tags={"a": "b"})
second = Model.register(ws, "project", "by-hand")
print(first.version, second.version, Model(ws, "by-hand").version, [one.id for one in Model.list(ws, tags=[["a", "b"]])], second.download("both"))
other = Workspace.create("other", exist_ok=True)
print(other.name in Workspace.list(ws.subscription_id), Workspace.get("other").location, other.compute_targets())
other.delete()
""")
    for line in ("[('curve', {'x': [1.0, 2.0], 'y': [2.0, 4.0]}), ('losses', [3.0, 2.0, 1.0]), ('note', 'a text')]", "[0.1, 0.2] True",
                 "['all/deep/train.py', 'files/script.py'] None True", "True True", "1 2 2 ['by-hand:1'] both/project", "True westus []"):
        assert line in printed.splitlines(), printed
    assert re.search(r"^file 'none.txt' is not among those of run \w+$", printed, re.M), printed
    assert re.search(r"^workspaceblobstore [1-9] True$", printed, re.M), printed


def test_the_wheel_and_its_namesake(tmp_path):
    uv = str(Path(sys.executable).parent / "uv")

    def install(*words):
        subprocess.run([uv, "pip", "install", "-q", "--target", tmp_path / "site", *words], check=True, timeout=240, env=PLAIN_ENV)

    def imports(text):
        return subprocess.run([sys.executable, "-c", text], env={**PLAIN_ENV, "PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True)

    shutil.copytree(LAYER, tmp_path / "python", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    install("--no-deps", tmp_path / "python", "azureml-mlflow")
    done = imports("import azureml.core, azureml.mlflow, azureml.core.compute; print(azureml.core.VERSION, azureml.core.__file__)")
    assert done.returncode == 0 and str(tmp_path / "site") in done.stdout or "azureml.mlflow" not in done.stderr, done
    install("--no-deps", "azureml-core==1.61.0.post4")
    install("--no-deps", "--reinstall", tmp_path / "python")
    done = imports("import azureml.core")
    assert done.returncode != 0 and "azureml-core 1.61.0.post4 and turnout-v1 are installed in the same place" in done.stderr, done


def test_the_rules_of_files(tmp_path):
    done = subprocess.run([sys.executable, "-c", f"""
import sys; sys.path.insert(0, {str(LAYER)!r})
from pathlib import Path
from azureml.core._snapshot import files_of, layer
root = Path({str(tmp_path)!r})
for name in ("a.py", "b.tmp", "keep.tmp", "data/x.csv", "deep/data/y.csv", "deep/z.py", "out/one/two.txt", "__pycache__/a.pyc"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(name)
(root / ".amlignore").write_text("# a rule each\\n*.tmp\\n!keep.tmp\\n/data\\nout/**\\n")
print(sorted(files_of(root)))
assert layer() == layer()
from azureml.core import RunConfiguration
from azureml.core.conda_dependencies import CondaDependencies
config = RunConfiguration()
for name in ("prepare_enviroment", "tarket"):
    try:
        setattr(config, name, True)
    except AttributeError as error:
        print(error)
config.environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["numpy=1.26"], pip_packages=["six==1.16.0"])
config.environment.docker.enabled = True
config.container_instance.region = "eastus"
config.save(str(root), "mine")
(root / "aml_config" / "mine.runconfig").write_text((root / "aml_config" / "mine.runconfig").read_text() + "spark: {{packages: []}}\\n")
again = RunConfiguration.load(str(root), "mine")
assert again.environment.docker.enabled and again.container_instance.region == "eastus" and again._others == {{"spark": {{"packages": []}}}}
print(list(again.environment.python.conda_dependencies.conda_packages), list(again.environment.python.conda_dependencies.pip_packages))
"""], capture_output=True, text=True, env=PLAIN_ENV)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert ast.literal_eval(lines[0]) == [".amlignore", "a.py", "deep/data/y.csv", "deep/z.py", "keep.tmp"], lines
    assert "did you mean" in lines[1] and "did you mean 'target'?" in lines[2], lines
    assert "'numpy=1.26'" in lines[3] and "['azureml-defaults', 'six==1.16.0']" in lines[3], lines


def test_nothing_of_the_layer_is_untyped_or_long():
    for path in sorted((LAYER / "azureml").rglob("*.py")):
        text = path.read_text()
        assert text.count("\n") <= 500, path
        tree = ast.parse(text)
        assert path.name == "__init__.py" or ast.get_docstring(tree), f"{path}: what is it?"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.returns is not None, f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: what does it return?"
