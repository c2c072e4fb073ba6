"""The packages of an environment, as a conda file says them."""
from __future__ import annotations

import os
import sys
from typing import Any, Dict, Iterator, List, Optional

from azureml.exceptions import UserErrorException

CONDA_FILE_NAME = "conda_dependencies.yml"
DEFAULT_SDK_ORIGIN = "https://pypi.python.org/simple"
PYTHON_PREFIX = "python"
# What a run of 2018 needed to reach its workspace. A run has it here by itself, so that these are never installed.
BROUGHT_ALONG = ("azureml-defaults", "azureml-core", "azureml-sdk", "azureml-telemetry")


class CondaDependencies:
    """A conda file in memory: `CondaDependencies()` has what each environment has, `create` adds to that."""

    def __init__(self, conda_dependencies_file_path: Optional[str] = None, _underlying_structure: Optional[Dict[str, Any]] = None) -> None:
        if conda_dependencies_file_path:
            import yaml

            try:
                with open(conda_dependencies_file_path, encoding="utf-8") as file:
                    said = yaml.safe_load(file)
            except (OSError, yaml.YAMLError) as error:
                raise UserErrorException(f"{conda_dependencies_file_path}: expected a conda file, found {error}") from None
            _underlying_structure = said or {}
        if _underlying_structure is None:
            _underlying_structure = {
                "name": "project_environment",
                "dependencies": [f"python={sys.version_info[0]}.{sys.version_info[1]}", {"pip": ["azureml-defaults"]}]}
        if not isinstance(_underlying_structure, dict):
            raise UserErrorException(f"a conda file is a mapping with 'dependencies', found {type(_underlying_structure).__name__}")
        self._said: Dict[str, Any] = _underlying_structure
        self._said.setdefault("dependencies", [])

    @classmethod
    def create(cls, pip_indexurl: Optional[str] = None, pip_packages: Optional[List[str]] = None,
               conda_packages: Optional[List[str]] = None, python_version: Optional[str] = None,
               pin_sdk_version: bool = True) -> "CondaDependencies":
        """The usual environment (the caller's Python, azureml-defaults), and these packages."""
        made = cls()
        if python_version:
            made.set_python_version(python_version)
        if pip_indexurl:
            made.set_pip_option("--index-url " + pip_indexurl)
        for package in conda_packages or []:
            made.add_conda_package(package)
        for package in pip_packages or []:
            made.add_pip_package(package)
        return made

    # ---- what it says

    @property
    def conda_packages(self) -> Iterator[str]:
        return iter([one for one in self._said["dependencies"] if isinstance(one, str)])

    @property
    def pip_packages(self) -> Iterator[str]:
        return iter([one for one in self._pip() if not one.startswith("-")])

    @property
    def pip_options(self) -> Iterator[str]:
        return iter([one for one in self._pip() if one.startswith("-")])

    @property
    def conda_channels(self) -> Iterator[str]:
        return iter(self._said.get("channels") or [])

    @property
    def python_version(self) -> Optional[str]:
        for one in self.conda_packages:
            if _name(one) == PYTHON_PREFIX:
                return one[len(PYTHON_PREFIX):].lstrip("= ")
        return None

    # ---- what changes it

    def add_conda_package(self, conda_package: str) -> None:
        """Adds a package; one of that name is replaced."""
        self.remove_conda_package(_name(conda_package))
        at = len(self._said["dependencies"])
        if at and isinstance(self._said["dependencies"][-1], dict):
            at -= 1
        self._said["dependencies"].insert(at, conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        self._said["dependencies"] = [one for one in self._said["dependencies"]
                                      if not isinstance(one, str) or _name(one) != _name(conda_package)]

    def add_pip_package(self, pip_package: str) -> None:
        """Adds a package from PyPI; one of that name is replaced."""
        self.remove_pip_package(pip_package)
        self._pip().append(pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        lines = self._pip()
        lines[:] = [one for one in lines if one.startswith("-") or _name(one) != _name(pip_package)]

    def set_pip_option(self, pip_option: str) -> None:
        self._pip().append(pip_option)

    def add_channel(self, channel: str) -> None:
        channels = self._said.setdefault("channels", [])
        if channel not in channels:
            channels.append(channel)

    def set_python_version(self, version: str) -> None:
        self.remove_conda_package(PYTHON_PREFIX)
        self._said["dependencies"].insert(0, f"python={version}")

    # ---- as a file

    def serialize_to_string(self) -> str:
        """The conda file."""
        import yaml

        return str(yaml.safe_dump(self._said, default_flow_style=False, sort_keys=False))

    def save_to_file(self, base_directory: str, conda_file_path: Optional[str] = None) -> str:
        """Writes it, beneath the folder as aml_config/conda_dependencies.yml if nothing else is said; that path."""
        path = conda_file_path or os.path.join("aml_config", CONDA_FILE_NAME)
        whole = os.path.join(base_directory, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "w", encoding="utf-8") as file:
            file.write(self.serialize_to_string())
        return path

    save = save_to_file

    def as_dictionary(self) -> Dict[str, Any]:
        import copy

        return copy.deepcopy(self._said)

    def _pip(self) -> List[str]:
        for one in self._said["dependencies"]:
            if isinstance(one, dict) and isinstance(one.get("pip"), list):
                return one["pip"]  # type: ignore[no-any-return]
        lines: List[str] = []
        self._said["dependencies"].append({"pip": lines})
        return lines

    def _for_the_server(self) -> str:
        """The conda file without what every run has anyway."""
        import yaml

        said = self.as_dictionary()
        for one in said["dependencies"]:
            if isinstance(one, dict) and isinstance(one.get("pip"), list):
                one["pip"] = [line for line in one["pip"] if _name(line) not in BROUGHT_ALONG]
        said["dependencies"] = [one for one in said["dependencies"] if not (isinstance(one, dict) and not any(one.values()))]
        said.pop("name", None)
        return str(yaml.safe_dump(said, default_flow_style=False, sort_keys=False))


def _name(package: str) -> str:
    """"scikit-learn" of "conda-forge::scikit-learn>=0.20" and "Scikit_Learn==0.20"."""
    name = package.split("::")[-1].strip()
    for at, letter in enumerate(name):
        if letter in " <>=!~;[@":
            name = name[:at]
            break
    return name.lower().replace("_", "-")
