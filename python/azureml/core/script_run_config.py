"""What is submitted: a script, its folder, how it runs."""
from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, List, Optional

from azureml.core.runconfig import RunConfiguration
from azureml.exceptions import UserErrorException

if TYPE_CHECKING:
    from azureml.core.environment import Environment


class ScriptRunConfig:
    """`source_directory` becomes the snapshot of the run, whole; `script` is a path in it."""

    def __init__(self, source_directory: Optional[str] = None, script: Optional[str] = None, arguments: Optional[List[Any]] = None,
                 run_config: Optional[RunConfiguration] = None, _telemetry_values: object = None, compute_target: Any = None,
                 environment: Optional["Environment"] = None, distributed_job_config: object = None,
                 max_run_duration_seconds: Optional[int] = None, command: Any = None) -> None:
        if distributed_job_config is not None:
            raise UserErrorException("distributed_job_config: expected run_config.communicator and run_config.node_count, which is how "
                                     "several nodes are asked for here")
        self.source_directory = str(source_directory or ".")
        self.run_config = copy.deepcopy(run_config) if run_config is not None else RunConfiguration()
        self.script = script if script is not None else self.run_config.script
        self.arguments = list(arguments if arguments is not None else self.run_config.arguments)
        self.command = command if command is not None else self.run_config.command
        if compute_target is not None:
            self.run_config.target = compute_target
        if environment is not None:
            self.run_config.environment = environment
        if max_run_duration_seconds is not None:
            self.run_config.max_run_duration_seconds = max_run_duration_seconds
        if self.script is None and self.command is None:
            raise UserErrorException("expected script='train.py' or command=[…], found neither")
