"""Run configurations, in memory and as .runconfig files."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List, Optional

from azureml.core._fields import Section
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.environment import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE, DockerSection, Environment, PythonSection
from azureml.exceptions import RunConfigurationException, UserErrorException

LOCAL_RUNCONFIG_NAME = "local"
RUNCONFIG_EXTENSION = ".runconfig"
# Where they are in a project: 2018's folder, then the later one.
_FOLDERS = ("aml_config", ".azureml")
_FRAMEWORKS = ("Python", "PySpark", "TensorFlow", "CNTK", "PyTorch", "R")


class ContainerInstanceConfiguration(Section):
    """The container of a run whose target is "containerinstance". `region` is a pool of containers."""

    region: Optional[str]
    cpu_cores: int
    memory_gb: float

    FIELDS = {"region": ("region", None), "cpu_cores": ("cpuCores", 1), "memory_gb": ("memoryGb", 4)}


class HdiConfiguration(Section):
    yarn_deploy_mode: str

    FIELDS = {"yarn_deploy_mode": ("yarnDeployMode", "cluster")}


class MpiConfiguration(Section):
    process_count_per_node: int

    FIELDS = {"process_count_per_node": ("processCountPerNode", 1)}


class HistoryConfiguration(Section):
    output_collection: bool
    directories_to_watch: List[str]

    FIELDS = {"output_collection": ("outputCollection", True), "directories_to_watch": ("directoriesToWatch", list)}


class RunConfiguration(Section):
    """How and where a script runs. `target` is "local" (this machine), "containerinstance", or a compute target's name.

    `prepare_environment` and `auto_prepare_environment` are one: where it is False, a local run whose environment was
    never prepared fails instead of preparing it.
    """

    script: Optional[str]
    arguments: List[Any]
    command: Any
    target: str
    framework: str
    communicator: Optional[str]
    node_count: int
    max_run_duration_seconds: Optional[int]
    auto_prepare_environment: bool
    environment: Environment
    history: HistoryConfiguration
    mpi: MpiConfiguration
    container_instance: ContainerInstanceConfiguration
    hdi: HdiConfiguration

    FIELDS = {
        "script": ("script", None),
        "arguments": ("arguments", list),
        "command": ("command", None),
        "target": ("target", LOCAL_RUNCONFIG_NAME),
        "framework": ("framework", "Python"),
        "communicator": ("communicator", None),
        "node_count": ("nodeCount", 1),
        "max_run_duration_seconds": ("maxRunDurationSeconds", None),
        "auto_prepare_environment": ("autoPrepareEnvironment", True),
        "environment": ("environment", Environment),
        "history": ("history", HistoryConfiguration),
        "mpi": ("mpi", MpiConfiguration),
        "container_instance": ("containerInstance", ContainerInstanceConfiguration),
        "hdi": ("hdi", HdiConfiguration),
    }

    def __init__(self, script: Optional[str] = None, arguments: Optional[List[Any]] = None, framework: Optional[str] = None,
                 communicator: Optional[str] = None, conda_dependencies: Optional[CondaDependencies] = None,
                 _history_enabled: Optional[bool] = None, _path: Optional[str] = None, _name: Optional[str] = None,
                 command: Any = None) -> None:
        super().__init__()
        self._name: Optional[str] = _name
        self.script, self.command = script, command
        self.arguments = list(arguments or [])
        if framework:
            self.framework = framework
        if communicator:
            self.communicator = communicator
        if conda_dependencies:
            self.environment.python.conda_dependencies = conda_dependencies

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "target" and not isinstance(value, str) and hasattr(value, "name"):
            value = value.name  # a compute target
        if name == "framework":
            known = {one.lower(): one for one in _FRAMEWORKS}
            if str(value).lower() not in known:
                raise RunConfigurationException(f"framework: expected {', '.join(_FRAMEWORKS)}, found {value!r}")
            value = known[str(value).lower()]
        super().__setattr__(name, value)

    @property
    def prepare_environment(self) -> bool:
        """The same as `auto_prepare_environment`, by its older name."""
        return bool(self.auto_prepare_environment)

    @prepare_environment.setter
    def prepare_environment(self, value: bool) -> None:
        self.auto_prepare_environment = value

    @property
    def name(self) -> Optional[str]:
        """What its file is called."""
        return self._name

    @classmethod
    def load(cls, path: Optional[str] = None, name: Optional[str] = None, project_object: Any = None,
             run_config_name: Optional[str] = None) -> "RunConfiguration":
        """Reads NAME.runconfig of the project's aml_config (or .azureml), or the file at `path` itself.
        UserErrorException: there is no such file; RunConfigurationException: it is none."""
        if project_object is not None:
            path = project_object.project_directory
        name = run_config_name or name
        start = Path(path or os.getcwd())
        if name is None and start.is_file():
            file = start
        else:
            called = name if name and name.endswith(RUNCONFIG_EXTENSION) else f"{name or LOCAL_RUNCONFIG_NAME}{RUNCONFIG_EXTENSION}"
            places = [start / called, *(start / folder / called for folder in _FOLDERS)]
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise UserErrorException(f"run configuration '{name or LOCAL_RUNCONFIG_NAME}': expected one of the files "
                                         f"{', '.join(map(str, places))}, found none; attaching a compute target or `save` writes one")
            file = found
        import yaml

        try:
            said = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise RunConfigurationException(f"{file}: {error}") from None
        made = cls(_name=file.name[: -len(RUNCONFIG_EXTENSION)] if file.name.endswith(RUNCONFIG_EXTENSION) else file.stem)
        made._from_file(said, str(file))
        python = made.environment.python
        if python.conda_dependencies_file:
            project = file.parent.parent if file.parent.name in _FOLDERS else file.parent
            places = [project / python.conda_dependencies_file, file.parent / python.conda_dependencies_file]
            conda = next((place for place in places if place.is_file()), None)
            if conda is None:
                raise RunConfigurationException(f"{file}: environment.python.condaDependenciesFile: expected a file at {places[0]}, "
                                                "found none")
            python.conda_dependencies = CondaDependencies(str(conda))
        return made

    def save(self, path: Optional[str] = None, name: Optional[str] = None, separate_environment_yaml: bool = False) -> str:
        """Writes aml_config/NAME.runconfig in the project at `path`, with aml_config/conda_dependencies.yml beside it; the
        path of the file."""
        import yaml

        name = name or self._name or self.target
        folder = Path(path or os.getcwd())
        if folder.name not in _FOLDERS:
            folder /= _FOLDERS[0]
        folder.mkdir(parents=True, exist_ok=True)
        python = self.environment.python
        said = self._to_file()
        if python.conda_dependencies is not None:
            conda = python.conda_dependencies_file or f"{folder.name}/conda_dependencies.yml"
            there = folder.parent / conda
            if not python.conda_dependencies_file and there.is_file() and there.read_text() != python.conda_dependencies.serialize_to_string():
                conda = f"{folder.name}/{name}_conda_dependencies.yml"  # that one is another configuration's
            python.conda_dependencies.save_to_file(str(folder.parent), conda)
            said["environment"]["python"].pop("condaDependencies", None)
            said["environment"]["python"]["condaDependenciesFile"] = conda
        file = folder / f"{name}{RUNCONFIG_EXTENSION}"
        file.write_text(yaml.safe_dump(said, default_flow_style=False, sort_keys=False), encoding="utf-8")
        self._name = name
        return str(file)

    @staticmethod
    def delete(path: str, name: str) -> None:
        """Removes a run configuration from a project."""
        for folder in _FOLDERS:
            file = Path(path) / folder / f"{name}{RUNCONFIG_EXTENSION}"
            if file.is_file():
                file.unlink()
                return
        raise UserErrorException(f"run configuration '{name}' is not in {path}")


EnvironmentDefinition = Environment
PythonEnvironment = PythonSection
DockerEnvironment = DockerSection

__all__: List[str] = ["ContainerInstanceConfiguration", "DEFAULT_CPU_IMAGE", "DEFAULT_GPU_IMAGE", "DockerEnvironment",
                      "EnvironmentDefinition", "HdiConfiguration", "PythonEnvironment", "RunConfiguration"]
