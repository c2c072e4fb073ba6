"""Projects of 2018: a folder that belongs to an experiment."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from azureml.exceptions import ProjectSystemException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace

_current: Optional[str] = None


def current_directory() -> str:
    """The project that was attached last in this process, or the current folder."""
    return _current or os.getcwd()


class Project:
    """`Project(directory=…)` is a folder that `attach` made a project; aml_config/project.json says of which experiment."""

    def __init__(self, directory: str = ".", auth: object = None) -> None:
        self.project_directory = os.path.abspath(directory)
        file = Path(self.project_directory) / "aml_config" / "project.json"
        if not file.is_file():
            raise ProjectSystemException(f"{self.project_directory}: expected a project, which has {file}, found none; Project.attach makes it")
        said = json.loads(file.read_text())
        from azureml.core.experiment import Experiment
        from azureml.core.workspace import Workspace

        self.workspace: "Workspace" = Workspace(said["SubscriptionId"], said["ResourceGroupName"], said["WorkspaceName"])
        self.experiment = Experiment(self.workspace, said["ExperimentName"])
        self.history = self.experiment

    @staticmethod
    def attach(workspace_object: "Workspace", experiment_name: str, directory: str = ".") -> "Project":
        """Makes a folder the project of an experiment, with a run configuration `local` in aml_config."""
        global _current
        from azureml.core.runconfig import RunConfiguration

        folder = Path(directory).resolve() / "aml_config"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "project.json").write_text(json.dumps({
            "SubscriptionId": workspace_object.subscription_id, "ResourceGroupName": workspace_object.resource_group,
            "WorkspaceName": workspace_object.name, "ExperimentName": experiment_name}, indent=4) + "\n")
        if not (folder / "local.runconfig").exists():
            RunConfiguration().save(str(folder.parent), "local")
        _current = str(folder.parent)
        return Project(_current)

    @property
    def legacy_directory_path(self) -> str:
        return self.project_directory
