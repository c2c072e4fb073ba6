"""Data Science Virtual Machines that the workspace makes."""
from __future__ import annotations

import time
from typing import Any, Dict, Optional

from azureml.core.compute.amlcompute import AmlCompute, _cluster
from azureml.core.compute_target import MADE_AS, ComputeTarget, Configuration
from azureml.exceptions import ComputeTargetException, ServiceException

_PATIENCE = 5.0  # seconds until a pool that gives no host counts as one that has none


class DsvmCompute(AmlCompute):
    """One machine for a workspace. The server takes a host of a pool for it and keeps that until it is deleted: for later
    clients it is a cluster of exactly one node."""

    _made_as = "VirtualMachine"
    _word = "DSVM"
    _idle_since = 0.0

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
        self._wanted, self._idle_since = 1, 0.0
        ComputeTarget.wait_for_completion(self, show_output, is_delete_operation)

    def _why_not(self) -> str:
        from azureml.core.compute_target import _messages

        known = super()._why_not() or _messages(self.status.errors)
        inner = self._said["properties"]["properties"]
        if known or self.status.current_node_count or self.status._nodes["preparingNodeCount"]:
            self._idle_since = 0.0
            return known
        # Nobody is on the way: the pool has no host for it.
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since < _PATIENCE:
            return ""
        pool = (inner.get("propertyBag") or {}).get("pool") or self.location
        return f"no host of pool '{pool}' is free (`turnout pool show {pool}`); delete() this one, or wait_for_completion() again"


def _pool_of_hosts(workspace: Any) -> Optional[str]:
    try:
        pools = workspace._server.call("GET", "/turnout/pools")["value"]
    except ServiceException:  # who may not see them
        return None
    found = [one["name"] for one in pools if one.get("provider") == "ssh" and not one.get("attached")]
    return str(found[0]) if len(found) == 1 else None
