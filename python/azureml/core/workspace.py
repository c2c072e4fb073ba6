"""Workspaces."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from azureml.core._server import ARM_VERSION, Server
from azureml.exceptions import ServiceException, UserErrorException, WorkspaceException

if TYPE_CHECKING:
    from azureml.core.compute_target import ComputeTarget
    from azureml.core.datastore import Datastore
    from azureml.core.experiment import Experiment
    from azureml.core.model import Model

# Where a config.json is looked for in each folder: 2018's place, then the later ones.
_PLACES = ("aml_config/config.json", ".azureml/config.json", "config.json")


class ComputeTargets(Dict[str, "ComputeTarget"]):
    """The compute targets by their names. In 2018 `compute_targets` was a method that gave a list of targets, later a
    dictionary: both ways of using it work, as `ws.compute_targets()` and `ws.compute_targets["cpu"]`."""

    def __call__(self) -> List["ComputeTarget"]:
        return list(self.values())


class Workspace:
    """A workspace of the server. `Workspace(subscription_id, resource_group, workspace_name)` looks it up;
    WorkspaceException if it is not there."""

    def __init__(self, subscription_id: str, resource_group: str, workspace_name: str, auth: object = None,
                 _location: Optional[str] = None, _server: Optional[Server] = None) -> None:
        self._server = _server or Server.from_environment()
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.name = workspace_name
        self._location = _location
        if _location is None:
            try:
                self._location = self._arm("GET", "")["location"]
            except ServiceException as error:
                raise WorkspaceException(error.message, error) from None

    def __repr__(self) -> str:
        return (f"Workspace.create(name='{self.name}', subscription_id='{self.subscription_id}', "
                f"resource_group='{self.resource_group}')")

    # ---- how one is had

    @classmethod
    def get(cls, name: str, auth: object = None, subscription_id: Optional[str] = None,
            resource_group: Optional[str] = None) -> "Workspace":
        """A workspace that is there. WorkspaceException: there is none of that name, or several."""
        server = Server.from_environment()
        subscription_id = subscription_id or _subscription(server)
        if resource_group:
            return cls(subscription_id, resource_group, name, _server=server)
        found = [one for one in cls.list(subscription_id).get(name, [])]
        if len(found) != 1:
            groups = ", ".join(one.resource_group for one in found)
            raise WorkspaceException(
                f"workspace '{name}': expected one in subscription {subscription_id}, found "
                + (f"those of the resource groups {groups}: say which by resource_group" if found else "none"))
        return found[0]

    @classmethod
    def list(cls, subscription_id: str, auth: object = None, resource_group: Optional[str] = None) -> Dict[str, List["Workspace"]]:
        """The workspaces by their names; of one name there may be several, in different resource groups."""
        server = Server.from_environment()
        base = f"/subscriptions/{subscription_id}" + (f"/resourceGroups/{resource_group}" if resource_group else "")
        found: Dict[str, List[Workspace]] = {}
        for one in server.pages(f"{base}/providers/Microsoft.MachineLearningServices/workspaces"):
            group = one["id"].split("/")[4]
            found.setdefault(one["name"], []).append(
                cls(subscription_id, group, one["name"], _location=one["location"], _server=server))
        return found

    @classmethod
    def create(cls, name: str, auth: object = None, subscription_id: Optional[str] = None, resource_group: Optional[str] = None,
               location: Optional[str] = None, create_resource_group: bool = True, exist_ok: bool = False,
               friendly_name: Optional[str] = None, tags: Optional[Dict[str, str]] = None, show_output: bool = True,
               **ignored: object) -> "Workspace":
        """Makes a workspace. WorkspaceException: it is there (and not `exist_ok`), or the server refuses. What Azure has
        beside a workspace (storage_account, key_vault, app_insights, …) is the server's own here."""
        server = Server.from_environment()
        subscription_id = subscription_id or _subscription(server)
        resource_group = resource_group or os.environ.get("TURNOUT_RESOURCE_GROUP") or "turnout"
        path = _path(subscription_id, resource_group, name)
        try:
            found = server.call("GET", path, api=ARM_VERSION)
            if not exist_ok:
                raise WorkspaceException(f"workspace '{name}' is there already in resource group '{resource_group}': expected "
                                         "another name, or exist_ok=True")
            return cls(subscription_id, resource_group, name, _location=found["location"], _server=server)
        except ServiceException as error:
            if error.status_code != 404:
                raise WorkspaceException(error.message, error) from None
        try:
            made = server.call("PUT", path, {"location": location or "westus", "tags": tags or {},
                                             "properties": {"friendlyName": friendly_name or name}}, api=ARM_VERSION)
        except ServiceException as error:
            raise WorkspaceException(error.message, error) from None
        return cls(subscription_id, resource_group, name, _location=made["location"], _server=server)

    @classmethod
    def from_config(cls, path: Optional[str] = None, auth: object = None, _logger: object = None,
                    _file_name: Optional[str] = None) -> "Workspace":
        """The workspace that a config.json names, which `write_config` or `turnout config` wrote. It is looked for in the
        folder, beneath it in aml_config and .azureml, and then in each folder above."""
        start = Path(path or os.getcwd()).resolve()
        if start.is_file():
            found: Optional[Path] = start
        else:
            names = [str(Path(place).with_name(_file_name)) for place in _PLACES] if _file_name else list(_PLACES)
            found = next((folder / name for folder in (start, *start.parents) for name in names if (folder / name).is_file()), None)
        if found is None:
            raise UserErrorException(
                f"no config.json: expected one in {start} or above ({', '.join(_PLACES)}), found none; `turnout config > config.json` "
                "writes it")
        print(f"Found the config file in: {found}")
        said = json.loads(found.read_text())
        missing = [name for name in ("subscription_id", "resource_group", "workspace_name") if name not in said]
        if missing:
            raise UserErrorException(f"{found}: expected {', '.join(missing)}, found {', '.join(said) or 'nothing'}")
        return cls(said["subscription_id"], said["resource_group"], said["workspace_name"])

    def write_config(self, path: Optional[str] = None, file_name: Optional[str] = None) -> None:
        """Writes aml_config/config.json, which `from_config` finds."""
        file = Path(path or os.getcwd()) / "aml_config" / (file_name or "config.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"subscription_id": self.subscription_id, "resource_group": self.resource_group,
                                    "workspace_name": self.name}, indent=4) + "\n")
        print(f"Wrote the config file config.json to: {file}")

    # ---- what is in it

    @property
    def location(self) -> str:
        return str(self._location)

    @property
    def compute_targets(self) -> ComputeTargets:
        """What is there to train on, as a dictionary that can be called."""
        from azureml.core.compute_target import ComputeTarget

        return ComputeTargets({target.name: target for target in ComputeTarget.list(self)})

    @property
    def experiments(self) -> Dict[str, "Experiment"]:
        from azureml.core.experiment import Experiment

        return {one.name: one for one in Experiment.list(self)}

    @property
    def models(self) -> Dict[str, "Model"]:
        """The newest version of each registered model."""
        from azureml.core.model import Model

        return {one.name: one for one in Model.list(self, latest=True)}

    @property
    def datastores(self) -> Dict[str, "Datastore"]:
        from azureml.core.datastore import Datastore

        return {one["name"]: Datastore(self, one["name"]) for one in self._server.pages(self._path + "/datastores")}

    def get_default_datastore(self) -> "Datastore":
        from azureml.core.datastore import Datastore

        found = next(iter(self._server.pages(self._path + "/datastores", isDefault="true")))
        return Datastore(self, found["name"])

    def get_details(self) -> Dict[str, Any]:
        """What the server says about it."""
        said = self._arm("GET", "")
        return {**said.get("properties", {}), **{name: said.get(name) for name in ("id", "name", "location", "type", "tags")}}

    def delete(self, delete_dependent_resources: bool = False, no_wait: bool = False) -> None:
        """Deletes it with all that is in it."""
        self._arm("DELETE", "")

    # ---- for the modules beside this one

    @property
    def _path(self) -> str:
        return _path(self.subscription_id, self.resource_group, self.name)

    def _arm(self, method: str, path: str, body: Any = None, /, **query: Any) -> Any:
        return self._server.call(method, self._path + path, body, api=ARM_VERSION, **query)

    def _history(self, method: str, path: str, body: Any = None, /, **query: Any) -> Any:
        return self._server.call(method, "/history/v1.0" + self._path + path, body, **query)

    def _mlflow(self, method: str, path: str, body: Any = None, /, **query: Any) -> Any:
        return self._server.call(method, f"/mlflow/v2.0{self._path}/api/2.0/mlflow/{path}", body, **query)


def _path(subscription: str, group: str, name: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{name}"


def _subscription(server: Server) -> str:
    usual = os.environ.get("TURNOUT_SUBSCRIPTION") or os.environ.get("AZURE_SUBSCRIPTION_ID")
    return usual or str(next(iter(server.pages("/subscriptions", api="2022-12-01")))["subscriptionId"])
