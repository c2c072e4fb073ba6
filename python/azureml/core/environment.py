"""Where a script runs: its Python, its packages, its image."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from azureml.core._fields import Section
from azureml.core.conda_dependencies import CondaDependencies
from azureml.exceptions import UserErrorException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:20251130.v1"
ASSETS_VERSION = "2023-04-01-preview"


class PythonSection(Section):
    """`user_managed_dependencies`: whoever runs the script has its packages; `interpreter_path` is then the Python. Else an
    environment is prepared from `conda_dependencies`."""

    user_managed_dependencies: bool
    interpreter_path: str
    conda_dependencies_file: Optional[str]
    conda_dependencies: CondaDependencies
    base_conda_environment: Optional[str]

    FIELDS = {
        "user_managed_dependencies": ("userManagedDependencies", False),
        "interpreter_path": ("interpreterPath", "python"),
        "conda_dependencies_file": ("condaDependenciesFile", None),
        "conda_dependencies": ("condaDependencies", CondaDependencies),
        "base_conda_environment": ("baseCondaEnvironment", None),
    }

    def _to_file(self) -> Dict[str, Any]:
        out = super()._to_file()
        dependencies = out.pop("condaDependencies")
        if not out["condaDependenciesFile"] and dependencies is not None:
            out["condaDependencies"] = dependencies.as_dictionary()
        return out

    def _from_file(self, said: Any, place: str) -> None:
        inline = said.pop("condaDependencies", None) if isinstance(said, dict) else None
        super()._from_file(said, place)
        if inline is not None:
            self.conda_dependencies = CondaDependencies(_underlying_structure=inline)


class DockerSection(Section):
    """The container of a run, where its target has containers; elsewhere the image changes nothing, and the log says so."""

    enabled: bool
    base_image: Optional[str]
    arguments: List[str]
    shared_volumes: bool
    gpu_support: bool
    shm_size: Optional[str]
    base_dockerfile: Optional[str]

    FIELDS = {
        "enabled": ("enabled", False),
        "base_image": ("baseImage", DEFAULT_CPU_IMAGE),
        "arguments": ("arguments", list),
        "shared_volumes": ("sharedVolumes", True),
        "gpu_support": ("gpuSupport", False),
        "shm_size": ("shmSize", None),
        "base_dockerfile": ("baseDockerfile", None),
    }


class Environment(Section):
    """An environment; with a name it can be registered in a workspace."""

    name: Optional[str]
    version: Optional[str]
    environment_variables: Dict[str, str]
    python: PythonSection
    docker: DockerSection

    FIELDS = {
        "name": ("name", None),
        "version": ("version", None),
        "environment_variables": ("environmentVariables", dict),
        "python": ("python", PythonSection),
        "docker": ("docker", DockerSection),
    }

    def __init__(self, name: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__()
        self.name = name
        for member, value in kwargs.items():
            setattr(self, member, value)

    @classmethod
    def from_conda_specification(cls, name: str, file_path: str) -> "Environment":
        made = cls(name)
        made.python.conda_dependencies = CondaDependencies(file_path)
        return made

    @classmethod
    def from_pip_requirements(cls, name: str, file_path: str) -> "Environment":
        made = cls(name)
        with open(file_path, encoding="utf-8") as file:
            for line in file:
                line = line.split("#")[0].strip()
                if line:
                    made.python.conda_dependencies.add_pip_package(line)
        return made

    @classmethod
    def get(cls, workspace: "Workspace", name: str, version: Optional[str] = None) -> "Environment":
        """One that is registered in the workspace."""
        import yaml

        from azureml.exceptions import ServiceException

        try:
            if version is None:
                version = workspace._arm("GET", f"/environments/{name}")["properties"]["latestVersion"]
            said = workspace._arm("GET", f"/environments/{name}/versions/{version}")["properties"]
        except ServiceException as error:
            raise UserErrorException(error.message, error) from None
        made = cls(name)
        made.version = version
        made.docker.base_image = said.get("image")
        if said.get("condaFile"):
            made.python.conda_dependencies = CondaDependencies(_underlying_structure=yaml.safe_load(said["condaFile"]))
        else:
            made.python.user_managed_dependencies = True
        return made

    def register(self, workspace: "Workspace") -> "Environment":
        """Keeps it in the workspace under its name, as a new version where it has changed."""
        from azureml.exceptions import ServiceException

        if not self.name:
            raise UserErrorException("an environment is registered by its name: expected Environment(name=…), found none")
        version = self.version
        if version is None:
            try:
                version = workspace._arm("GET", f"/environments/{self.name}")["properties"]["nextVersion"]
            except ServiceException as error:
                if error.status_code != 404:
                    raise
                version = "1"
        self._put(workspace, self.name, version, False)
        self.version = version
        return self

    def _definition(self) -> Dict[str, Any]:
        """The members of an environment of the server."""
        if self.docker.base_dockerfile:
            raise UserErrorException("environment.docker.base_dockerfile: expected an image in base_image, found a Dockerfile; an "
                                     "environment with `build` is made by `turnout environment create`")
        said: Dict[str, Any] = {"image": self.docker.base_image or DEFAULT_CPU_IMAGE}
        if not self.python.user_managed_dependencies:
            said["condaFile"] = self.python.conda_dependencies._for_the_server()
        return said

    def _put(self, workspace: "Workspace", name: str, version: str, anonymous: bool) -> Dict[str, Any]:
        body = {"properties": {**self._definition(), "isAnonymous": anonymous}}
        path = f"{workspace._path}/environments/{name}/versions/{version}"
        return workspace._server.call("PUT", path, body, api=ASSETS_VERSION)  # type: ignore[no-any-return]
