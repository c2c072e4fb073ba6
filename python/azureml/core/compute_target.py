"""Compute targets: what there is to train on."""
from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from azureml.exceptions import ComputeTargetException, ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace

COMPUTES_VERSION = "2023-08-01-preview"
# The tag that says what a compute was made as, where that is a kind of 2018 which the server has by another name.
MADE_AS = "azureml.made_as"
_POLL = 1.0


class Configuration:
    """What `provisioning_configuration` and `attach_configuration` give: the body that makes such a compute."""

    def __init__(self, kind: type, body: Dict[str, Any]) -> None:
        self._kind, self._body = kind, body


class ComputeTarget:
    """`ComputeTarget(workspace, name)` looks one up, as an object of its own class; ComputeTargetException: there is none.
    A class such as `AmlCompute(workspace, name)` refuses what is of another kind."""

    workspace: "Workspace"
    _type = ""  # `computeType` of the server
    _made_as: Optional[str] = None  # its kind of 2018, where that is another one
    _detached = False  # it is detached, not deleted

    def __new__(cls, workspace: "Workspace", name: str) -> "ComputeTarget":
        try:
            said = workspace._server.call("GET", f"{workspace._path}/computes/{name}", api=COMPUTES_VERSION)
        except ServiceException as error:
            if error.status_code != 404:
                raise ComputeTargetException(error.message, error) from None
            raise ComputeTargetException(f"ComputeTargetNotFound: Compute Target with name {name} not found in provided workspace") from None
        return cls._of(workspace, said)

    def __init__(self, workspace: "Workspace", name: str) -> None:
        pass  # __new__ did it

    @classmethod
    def _of(cls, workspace: "Workspace", said: Dict[str, Any]) -> "ComputeTarget":
        from azureml.core import compute

        kind = said["properties"]["computeType"]
        made_as = (said.get("tags") or {}).get(MADE_AS)
        chosen = compute._class_of(kind, made_as)
        if not issubclass(chosen, cls):
            if not (issubclass(cls, chosen) and cls._accepts(said)):
                raise ComputeTargetException(f"compute target '{said['name']}': expected a {cls.__name__}, found a {chosen.__name__} ({kind})")
            chosen = cls
        self: ComputeTarget = object.__new__(chosen)
        self.workspace = workspace
        self._take(said)
        return self

    @classmethod
    def _accepts(cls, said: Dict[str, Any]) -> bool:
        """Whether one that was made as something more general is one of these, too."""
        return False

    def _take(self, said: Dict[str, Any]) -> None:
        properties = said["properties"]
        self._said = said
        self.name: str = said["name"]
        self.type: str = self._made_as or properties["computeType"]
        self.location: Optional[str] = said.get("location")
        self.description: Optional[str] = properties.get("description")
        self.tags: Dict[str, str] = dict(said.get("tags") or {})
        self.provisioning_state: str = properties.get("provisioningState")
        self.provisioning_errors: Any = properties.get("provisioningErrors")
        self.created_on: Optional[str] = properties.get("createdOn")
        self.modified_on: Optional[str] = properties.get("modifiedOn")
        self.is_attached: bool = bool(properties.get("isAttachedCompute"))
        self.cluster_resource_id: Optional[str] = properties.get("resourceId")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workspace={self.workspace!r}, name={self.name}, id={self._said['id']}, type={self.type})"

    # ---- how one is had

    @staticmethod
    def list(workspace: "Workspace") -> List["ComputeTarget"]:
        """All of a workspace."""
        return [ComputeTarget._of(workspace, said)
                for said in workspace._server.pages(f"{workspace._path}/computes", api=COMPUTES_VERSION)]

    @classmethod
    def create(cls, workspace: "Workspace", name: str, provisioning_configuration: Configuration) -> "ComputeTarget":
        """Makes it; ComputeTargetException says why the server refuses. It is ready after `wait_for_completion`."""
        return ComputeTarget._put(workspace, name, provisioning_configuration)

    @classmethod
    def attach(cls, workspace: "Workspace", name: str, attach_configuration: Configuration) -> "ComputeTarget":
        """Attaches what is there already. UserErrorException: there is a compute of that name; ComputeTargetException: it
        cannot be. The project gets a NAME.runconfig for it."""
        if name in workspace.compute_targets:
            raise UserErrorException(f"compute target '{name}' is already attached or made in workspace '{workspace.name}'")
        made = ComputeTarget._put(workspace, name, attach_configuration)
        made._write_runconfig()
        return made

    @staticmethod
    def _put(workspace: "Workspace", name: str, wanted: Configuration) -> "ComputeTarget":
        body = {"location": workspace.location, **wanted._body}
        try:
            said = workspace._server.call("PUT", f"{workspace._path}/computes/{name}", body, api=COMPUTES_VERSION)
        except ServiceException as error:
            raise ComputeTargetException(f"compute target '{name}': {error.message}", error) from None
        return ComputeTarget._of(workspace, said)

    def _write_runconfig(self) -> None:
        from azureml.core.project import current_directory
        from azureml.core.runconfig import RunConfiguration

        config = RunConfiguration()
        config.target = self.name
        if self._type == "HDInsight":
            config.framework = "PySpark"
        config.save(current_directory(), self.name)

    # ---- how it stands

    def refresh_state(self) -> None:
        """Asks the server anew."""
        try:
            self._take(self.workspace._server.call("GET", f"{self.workspace._path}/computes/{self.name}", api=COMPUTES_VERSION))
        except ServiceException as error:
            raise ComputeTargetException(error.message, error) from None

    def get_status(self) -> Any:
        self.refresh_state()
        return self.provisioning_state

    def serialize(self) -> Dict[str, Any]:
        """What the server says about it."""
        return dict(self._said)

    def wait_for_completion(self, show_output: bool = False, is_delete_operation: bool = False) -> None:
        """Waits until it is ready (or gone). ComputeTargetException: it failed, with the reason."""
        if is_delete_operation:
            self._wait_until_gone(show_output)
            return
        self._wait(show_output, None)
        if show_output:
            print(f'Provisioning operation finished, operation "{self.provisioning_state}"')

    def _is_ready(self) -> bool:
        return self.provisioning_state == "Succeeded"

    def _wait(self, show_output: bool, seconds: Optional[float]) -> bool:
        """Whether it became ready in time."""
        shown, until = "", None if seconds is None else time.monotonic() + seconds
        while True:
            self.refresh_state()
            ready = self._is_ready()
            state = "Creating" if self.provisioning_state == "Succeeded" and not ready else self.provisioning_state
            if show_output:
                print("." if state == shown else ("\n" if shown else "") + state, end="", flush=True)
            shown = state
            why = self._why_not()
            over = self.provisioning_state in ("Failed", "Canceled") or why and until is None
            if ready or over or until is not None and time.monotonic() > until:
                if show_output:
                    print(flush=True)
                if over:
                    raise ComputeTargetException(f"compute target '{self.name}' is not ready: {why or self.provisioning_state}")
                return ready
            time.sleep(_POLL)

    def _why_not(self) -> str:
        """What the server says is wrong."""
        return _messages(self.provisioning_errors)

    def _wait_until_gone(self, show_output: bool = False) -> None:
        path = f"{self.workspace._path}/computes/{self.name}"
        while True:
            try:
                self.workspace._server.call("GET", path, api=COMPUTES_VERSION)
            except ServiceException as error:
                if error.status_code == 404:
                    break
                raise
            if show_output:
                print(".", end="", flush=True)
            time.sleep(_POLL / 4)
        if show_output:
            print("\nCompute target deletion finished", flush=True)

    # ---- how it goes

    def delete(self) -> None:
        """Deletes it (an attached one is detached) and waits until it is gone; what runs there is canceled."""
        action = "Detach" if self._detached else "Delete"
        try:
            self.workspace._server.call("DELETE", f"{self.workspace._path}/computes/{self.name}", api=COMPUTES_VERSION,
                                        underlyingResourceAction=action)
        except ServiceException as error:
            raise ComputeTargetException(error.message, error) from None
        self._wait_until_gone()
        self.provisioning_state = "Deleting"

    def detach(self) -> None:
        """Takes an attached one out of the workspace. ComputeTargetException: it was made here, and is deleted."""
        if not self._detached:
            raise ComputeTargetException(f"compute target '{self.name}' was made by the workspace: delete() it")
        self.delete()


def _messages(errors: Any) -> str:
    if not errors:
        return ""
    found = [str((one.get("error") or one).get("message") or one) for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    return "; ".join(found) or json.dumps(errors)


__all__ = ["ComputeTarget", "ComputeTargetException"]
