"""Runs of this machine: what `target = "local"` means.

`submit` takes the snapshot, makes the run and starts a process of its own that sees to the rest (`_local_runner`), so that
the run goes on when the caller ends.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from azureml.core import _snapshot
from azureml.core._tracking import create_run
from azureml.core.datastore import DataReference
from azureml.core.script_run import ScriptRun
from azureml.exceptions import UserErrorException

if TYPE_CHECKING:
    from azureml.core.experiment import Experiment
    from azureml.core.script_run_config import ScriptRunConfig


def folder_of(run_id: str) -> Path:
    """Where a local run has its files: `work` is its copy of the project, `logs` what it prints."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"azureml_runs_{user}" / run_id


def submit(experiment: "Experiment", config: "ScriptRunConfig", files: Dict[str, Path], tags: Dict[str, str]) -> ScriptRun:
    """Starts it. UserErrorException: this machine cannot run it as it says."""
    from azureml.core._submit import environment_of, register, words_of

    workspace, wanted = experiment.workspace, config.run_config
    if wanted.environment.docker.enabled:
        raise UserErrorException("environment.docker.enabled: expected False where the target is 'local', found True: a local run has no "
                                 "container here; a pool of containers on the server has (target 'containerinstance')")
    if wanted.node_count != 1:
        raise UserErrorException(f"node_count: expected 1 where the target is 'local', found {wanted.node_count}")
    python = wanted.environment.python
    plan: Dict[str, Any] = {
        "workspace": [workspace.subscription_id, workspace.resource_group, workspace.name],
        "experiment": experiment.name,
        "variables": {name: str(value) for name, value in wanted.environment.environment_variables.items()},
        "seconds": wanted.max_run_duration_seconds,
        "interpreter": python.interpreter_path,
    }
    if python.user_managed_dependencies:
        if python.interpreter_path == "python":
            plan["interpreter"] = sys.executable
        elif not shutil.which(python.interpreter_path):
            raise UserErrorException("environment.python.interpreter_path: expected a program of this machine, found "
                                     f"'{python.interpreter_path}'")
    else:
        resolved = register(workspace, wanted)["properties"].get("resolved")
        if resolved is None:
            raise UserErrorException("environment.python.conda_dependencies: expected packages that the server can translate, found "
                                     "none, or the server is of an older version")
        plan["environment"] = {**resolved, "prepare": bool(wanted.auto_prepare_environment), "uv": _uv()}
    snapshot = _snapshot.upload(workspace, files)[1]
    run = create_run(experiment, config.script or "command", {
        **tags, "azureml.target": "local", "azureml.runsource": "experiment", "azureml.snapshotId": snapshot,
        "mlflow.source.name": str(config.script or config.command), "mlflow.source.type": "LOCAL"})
    folder = folder_of(run.id)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    owner = folder.parent.lstat().st_uid  # the folder above is everybody's
    if owner != os.getuid():
        raise UserErrorException(f"{folder.parent}: expected a folder of user {os.getuid()}, found one of user {owner}")
    work = folder / "work"
    work.mkdir(parents=True)
    for name, path in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, work / name)
    (work / "outputs").mkdir(exist_ok=True)
    (work / "logs").mkdir(exist_ok=True)
    (folder / _snapshot.SETUP_FOLDER).mkdir()
    (folder / _snapshot.LAYER).write_bytes(_snapshot.layer())
    if "environment" in plan:
        (folder / _snapshot.SETUP_FOLDER / "conda_dependencies.yml").write_text(python.conda_dependencies.serialize_to_string())
    words = words_of(config)
    plan["words"] = [str(_downloaded(word, folder)) if isinstance(word, DataReference) else str(word) for word in words]
    plan["script"] = config.script is not None
    plan["shell"] = isinstance(config.command, str) and config.script is None
    plan["run"] = run.id
    plan["run_variables"] = environment_of(workspace, experiment, run.id)
    (folder / "run.json").write_text(json.dumps(plan, indent=1))
    # Its own copy of azureml.core: the interpreter's may change while the run goes on.
    with open(folder / "runner.log", "wb") as log:
        subprocess.Popen([sys.executable, "-m", "azureml.core._local_runner", str(folder)], cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                         stderr=log, start_new_session=True, env={**os.environ, "PYTHONPATH": str(folder / _snapshot.LAYER)})
    return ScriptRun(experiment, run.id)


def _uv() -> str:
    """The program that prepares environments, which is a package beside this one."""
    named = os.environ.get("TURNOUT_UV")
    if named:
        return named
    try:
        import uv  # type: ignore[import-not-found, unused-ignore]

        return str(uv.find_uv_bin())
    except Exception:
        found = shutil.which("uv")
        if found:
            return found
    raise UserErrorException("a system-managed environment is prepared by `uv`: expected it on PATH or as a package, found neither; "
                             "`pip install uv` brings it")


def _downloaded(reference: DataReference, folder: Path) -> Path:
    target = folder / "data" / reference.data_reference_name
    reference.datastore.download(str(target), reference.path_on_datastore)
    return target / reference.path_on_datastore


__all__: List[str] = ["folder_of", "submit"]
