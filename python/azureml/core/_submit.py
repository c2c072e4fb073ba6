"""Submission: a ScriptRunConfig becomes a job of the server, or a run of this machine."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
import uuid
from typing import TYPE_CHECKING, Any, Dict, List

from azureml.core import _snapshot
from azureml.core.datastore import DataReference
from azureml.core.runconfig import RunConfiguration
from azureml.core.script_run import ScriptRun
from azureml.core.script_run_config import ScriptRunConfig
from azureml.exceptions import ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.experiment import Experiment
    from azureml.core.workspace import Workspace

JOBS_VERSION = "2025-01-01-preview"
CONTAINER_INSTANCE = "containerinstance"
ANONYMOUS = "v1-anonymous"  # environments that nobody gave a name


def submit(experiment: "Experiment", config: Any, tags: Dict[str, str]) -> ScriptRun:
    """As `Experiment.submit` says."""
    if not isinstance(config, ScriptRunConfig):
        raise UserErrorException(f"expected a ScriptRunConfig, found {type(config).__name__}")
    check(config)
    files = _snapshot.files_of(config.source_directory)
    if config.script is not None and config.script.replace(os.sep, "/") not in files:
        raise UserErrorException(f"script: expected a file of {os.path.abspath(config.source_directory)}, found '{config.script}'")
    try:
        if config.run_config.target == "local":
            from azureml.core import _local

            return _local.submit(experiment, config, files, tags)
        return _submit_job(experiment, config, files, tags)
    except ServiceException as error:
        if error.status_code in (400, 404, 409):
            raise UserErrorException(error.message, error) from None
        raise


def check(config: ScriptRunConfig) -> None:
    """Refuses what no target here can do."""
    wanted = config.run_config
    if wanted.framework in ("PySpark", "R"):
        raise UserErrorException(f"framework: expected Python, TensorFlow, PyTorch or CNTK, found {wanted.framework}: this server has no "
                                 "compute target that runs it yet")
    if wanted.communicator not in (None, "None", "Mpi", "OpenMpi", "IntelMpi"):
        raise UserErrorException(f"communicator: expected 'Mpi' or None, found {wanted.communicator!r}")


def register(workspace: "Workspace", config: RunConfiguration) -> Dict[str, Any]:
    """Keeps the environment with the server, as its own name or without one: what the server says of it."""
    environment = config.environment
    if environment.name and environment.version:
        return workspace._arm("GET", f"/environments/{environment.name}/versions/{environment.version}")  # type: ignore[no-any-return]
    said = json.dumps(environment._definition(), sort_keys=True)
    return environment._put(workspace, ANONYMOUS, hashlib.sha256(said.encode()).hexdigest()[:32], True)


def words_of(config: ScriptRunConfig) -> List[Any]:
    """The command, without its interpreter: words, some of them DataReferences."""
    if config.script is not None:
        return [config.script, *config.arguments]
    return config.command if isinstance(config.command, list) else [config.command]


def environment_of(workspace: "Workspace", experiment: "Experiment", run_id: str) -> Dict[str, str]:
    """What a script finds its run by, as a node of the server sets it."""
    return {
        "AZUREML_RUN_ID": run_id,
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": workspace.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_ARM_PROJECT_NAME": experiment.name,
        "AZUREML_EXPERIMENT_ID": experiment.id,
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_ID": experiment.id,
    }


def _submit_job(experiment: "Experiment", config: ScriptRunConfig, files: Dict[str, Any], tags: Dict[str, str]) -> ScriptRun:
    workspace, wanted = experiment.workspace, config.run_config
    if not wanted.auto_prepare_environment and not wanted.environment.python.user_managed_dependencies:
        raise UserErrorException(f"auto_prepare_environment: expected True, found False: '{wanted.target}' prepares what is not there, and "
                                 "cannot be told not to; only the target 'local' can")
    code, snapshot = _snapshot.upload(workspace, files, {_snapshot.LAYER: _snapshot.layer()})
    environment = register(workspace, wanted)
    inputs: Dict[str, Any] = {}
    command = _shell_command(config, inputs)
    variables = {name: str(value) for name, value in wanted.environment.environment_variables.items()}
    variables["PYTHONPATH"] = _snapshot.LAYER + (f":{variables['PYTHONPATH']}" if variables.get("PYTHONPATH") else "")
    resources: Dict[str, Any] = {"instanceCount": int(wanted.node_count)}
    if wanted.environment.docker.shm_size:
        resources["shmSize"] = wanted.environment.docker.shm_size
    if wanted.target == CONTAINER_INSTANCE:
        container = wanted.container_instance
        said = {"region": container.region, "cpu_cores": container.cpu_cores, "memory_gb": container.memory_gb}
        resources["properties"] = {"container_instance": {name: value for name, value in said.items() if value is not None}}
    properties: Dict[str, Any] = {
        "jobType": "Command", "command": command, "codeId": code, "environmentId": environment["id"],
        "computeId": f"{workspace._path}/computes/{wanted.target}", "experimentName": experiment.name,
        "environmentVariables": variables, "resources": resources,
        "tags": {**tags, "azureml.snapshotId": snapshot}, "inputs": inputs, "outputs": {},
    }
    if wanted.max_run_duration_seconds:
        properties["limits"] = {"jobLimitsType": "Command", "timeout": f"PT{int(wanted.max_run_duration_seconds)}S"}
    if wanted.communicator not in (None, "None"):
        properties["distribution"] = {"distributionType": "Mpi", "processCountPerInstance": int(wanted.mpi.process_count_per_node)}
    # As 2018's clients formed the ids of runs.
    run_id = f"{re.sub('[^A-Za-z0-9_-]', '-', experiment.name)[:60]}_{int(time.time())}_{uuid.uuid4().hex[:8]}"
    workspace._server.call("PUT", f"{workspace._path}/jobs/{run_id}", {"properties": properties}, api=JOBS_VERSION)
    return ScriptRun(experiment, run_id)


def _shell_command(config: ScriptRunConfig, inputs: Dict[str, Any]) -> str:
    parts = []
    if config.script is not None:
        python = config.run_config.environment.python
        parts.append(shlex.quote(python.interpreter_path if python.user_managed_dependencies else "python"))
    elif isinstance(config.command, str):
        return config.command
    for word in words_of(config):
        if isinstance(word, DataReference):
            inputs[word.data_reference_name] = word._input()
            parts.append("${{inputs.%s}}" % word.data_reference_name)
        else:
            parts.append(shlex.quote(str(word)))
    return " ".join(parts)
