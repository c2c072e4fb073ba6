"""Data Science Virtual Machines that the workspace makes."""
from __future__ import annotations

from typing import Any, Dict, Optional

from azureml.core.compute.amlcompute import AmlCompute, _cluster
from azureml.core.compute_target import MADE_AS, ComputeTarget, Configuration
from azureml.exceptions import ComputeTargetException, ServiceException


class DsvmCompute(AmlCompute):
    """One machine for a workspace. The server takes a host of a pool for it and keeps that until it is deleted: for later
    clients it is a cluster of exactly one node."""

    _made_as = "VirtualMachine"
    _word = "DSVM"

    @staticmethod
    def provisioning_configuration(vm_size: str = "Standard_DS3_v2", ssh_port: Optional[int] = None,  # type: ignore[override]
                                   location: Optional[str] = None, tags: Optional[Dict[str, str]] = None,
                                   description: Optional[str] = None) -> Configuration:
        """A machine to make. `location` is the pool that it comes from; without it the server's one pool of hosts by SSH, and
        where it has none or several that of the workspace."""
        if ssh_port is not None:
            raise ComputeTargetException(f"ssh_port: expected None, found {ssh_port}: how a host is reached stands in the server's pool")
        made = _cluster(DsvmCompute, vm_size, "dedicated", 1, 1, None, location, tags, description)
        made._body["tags"][MADE_AS] = "DSVM"
        return made

    @classmethod
    def create(cls, workspace: Any, name: str, provisioning_configuration: Configuration) -> ComputeTarget:
        """Takes a host for it; `wait_for_completion` waits until it is up."""
        body = dict(provisioning_configuration._body)
        if "location" not in body:
            body["location"] = _pool_of_hosts(workspace) or workspace.location
        return ComputeTarget._put(workspace, name, Configuration(DsvmCompute, body))

    def wait_for_completion(self, show_output: bool = False, is_delete_operation: bool = False) -> None:  # type: ignore[override]
        """Waits until it is up. ComputeTargetException: there is no host for it, with what the server says."""
        self._wanted = 1
        ComputeTarget.wait_for_completion(self, show_output, is_delete_operation)

    def _why_not(self) -> str:
        from azureml.core.compute_target import _messages

        return super()._why_not() or _messages(self.status.errors)


def _pool_of_hosts(workspace: Any) -> Optional[str]:
    try:
        pools = workspace._server.call("GET", "/turnout/pools")["value"]
    except ServiceException:  # who may not see them
        return None
    found = [one["name"] for one in pools if one.get("provider") == "ssh" and not one.get("attached")]
    return str(found[0]) if len(found) == 1 else None
