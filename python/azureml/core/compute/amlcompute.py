"""Clusters, and their name of 2018: Batch AI."""
from __future__ import annotations

from typing import Any, Dict, List, Optional

from azureml.core.compute_target import COMPUTES_VERSION, MADE_AS, ComputeTarget, Configuration, _messages
from azureml.exceptions import ComputeTargetException

_COUNTS = ("idleNodeCount", "leavingNodeCount", "preparingNodeCount", "runningNodeCount", "unusableNodeCount")


class AmlComputeStatus:
    """How a cluster stands: its nodes by what they do, and whether it is growing or shrinking."""

    def __init__(self, said: Dict[str, Any]) -> None:
        properties = said["properties"]
        inner = properties.get("properties") or {}
        self._nodes = {name: int((inner.get("nodeStateCounts") or {}).get(name, 0)) for name in _COUNTS}
        self.allocation_state: Optional[str] = inner.get("allocationState")
        self.allocation_state_transition_time: Optional[str] = inner.get("allocationStateTransitionTime")
        self.creation_time: Optional[str] = properties.get("createdOn")
        self.current_node_count: int = int(inner.get("currentNodeCount") or 0)
        self.target_node_count: int = int(inner.get("targetNodeCount") or 0)
        self.errors: Any = inner.get("errors")
        self.provisioning_state: Optional[str] = properties.get("provisioningState")
        self.provisioning_state_transition_time: Optional[str] = None
        scale = inner.get("scaleSettings") or {}
        self.scale_settings: Dict[str, Any] = {
            "minNodeCount": scale.get("minNodeCount"), "maxNodeCount": scale.get("maxNodeCount"),
            "nodeIdleTimeBeforeScaleDown": scale.get("nodeIdleTimeBeforeScaleDown")}
        self.vm_priority: str = str(inner.get("vmPriority") or "Dedicated").lower()
        self.vm_size: Optional[str] = inner.get("vmSize")

    def serialize(self) -> Dict[str, Any]:
        """As a dictionary, by the names of the REST of 2018."""
        return {
            "allocationState": self.allocation_state,
            "allocationStateTransitionTime": self.allocation_state_transition_time,
            "creationTime": self.creation_time,
            "currentNodeCount": self.current_node_count,
            "errors": self.errors,
            "nodeStateCounts": dict(self._nodes),
            "provisioningState": self.provisioning_state,
            "provisioningStateTransitionTime": self.provisioning_state_transition_time,
            "scaleSettings": self.scale_settings,
            "vmPriority": self.vm_priority,
            "vmSize": self.vm_size,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.serialize()})"


class AmlCompute(ComputeTarget):
    """A cluster whose nodes come and go with what is to be done."""

    _type = "AmlCompute"
    _word = "AmlCompute"  # in what it prints

    @staticmethod
    def provisioning_configuration(vm_size: str = "", vm_priority: str = "dedicated", min_nodes: int = 0, max_nodes: Optional[int] = None,
                                   idle_seconds_before_scaledown: Optional[int] = None, location: Optional[str] = None,
                                   tags: Optional[Dict[str, str]] = None, description: Optional[str] = None, **ignored: Any) -> Configuration:
        """A cluster to make. `location` is the pool that its nodes come from; without it that of the workspace."""
        return _cluster(AmlCompute, vm_size, vm_priority, min_nodes, 4 if max_nodes is None else max_nodes, idle_seconds_before_scaledown,
                        location, tags, description)

    def _take(self, said: Dict[str, Any]) -> None:
        super()._take(said)
        self.status = AmlComputeStatus(said)
        self.vm_size = self.status.vm_size
        self.vm_priority = self.status.vm_priority
        self.scale_settings = self.status.scale_settings
        self._at_least = int(self.scale_settings["minNodeCount"] or 0)

    def get_status(self) -> AmlComputeStatus:
        self.refresh_state()
        return self.status

    def _is_ready(self) -> bool:
        return super()._is_ready() and self.status.current_node_count >= self._wanted

    _wanted = 0

    def wait_for_completion(self, show_output: bool = False, min_node_count: Optional[int] = None,  # type: ignore[override]
                            timeout_in_minutes: float = 25, is_delete_operation: bool = False) -> None:
        """Waits until so many nodes are up; without a number until those of its own minimum are. Where that takes longer
        than the timeout it says so and returns."""
        if is_delete_operation:
            self._wait_until_gone(show_output)
            return
        self._wanted = self._at_least if min_node_count is None else min_node_count
        most = int(self.scale_settings["maxNodeCount"] or 0)
        if self._wanted > most:
            raise ComputeTargetException(f"min_node_count: expected at most {most}, which is the maximum of cluster '{self.name}', found "
                                         f"{self._wanted}")
        there = self._wait(show_output, timeout_in_minutes * 60)
        if not show_output:
            return
        print(f"{self._word} wait for completion finished")
        if there:
            print("Minimum number of nodes requested have been provisioned")
        else:
            why = _messages(self.status.errors)
            print("Wait timeout has been reached\n"
                  f'Current provisioning state of {self._word} is "{self.provisioning_state}" and current node count is '
                  f'"{self.status.current_node_count}"' + (f"\n{why}" if why else ""))

    def list_nodes(self) -> List[Dict[str, Any]]:
        """Its nodes: {nodeId, nodeState, runId, …}."""
        said = self.workspace._server.call("POST", f"{self.workspace._path}/computes/{self.name}/listNodes", api=COMPUTES_VERSION)
        return list(said.get("nodes", []))

    def update(self, min_nodes: Optional[int] = None, max_nodes: Optional[int] = None, idle_seconds_before_scaledown: Optional[int] = None) -> None:
        """Changes how large it may be."""
        body: Dict[str, Any] = {name: self._said[name] for name in ("location", "tags") if name in self._said}
        inner = self._said["properties"]["properties"]
        scale = dict(inner["scaleSettings"])
        if min_nodes is not None:
            scale["minNodeCount"] = min_nodes
        if max_nodes is not None:
            scale["maxNodeCount"] = max_nodes
        if idle_seconds_before_scaledown is not None:
            scale["nodeIdleTimeBeforeScaleDown"] = f"PT{idle_seconds_before_scaledown}S"
        body["properties"] = {"computeType": "AmlCompute", "properties": {
            "vmSize": inner["vmSize"], "vmPriority": inner["vmPriority"], "scaleSettings": scale}}
        self._take(ComputeTarget._put(self.workspace, self.name, Configuration(type(self), body))._said)


class BatchAiCompute(AmlCompute):
    """A cluster as of 2018. For the server and for later clients it is an AmlCompute."""

    _made_as = "BatchAI"
    _word = "BatchAI"

    @staticmethod
    def provisioning_configuration(vm_size: str = "STANDARD_NC6", vm_priority: str = "dedicated",  # type: ignore[override]
                                   autoscale_enabled: bool = False, cluster_min_nodes: Optional[int] = None,
                                   cluster_max_nodes: Optional[int] = None, location: Optional[str] = None,
                                   tags: Optional[Dict[str, str]] = None, description: Optional[str] = None) -> Configuration:
        """A cluster to make. Without `autoscale_enabled` it has one size: `cluster_max_nodes`, else `cluster_min_nodes`, else
        one node."""
        most = cluster_max_nodes if cluster_max_nodes is not None else max(cluster_min_nodes or 1, 1)
        least = (cluster_min_nodes or 0) if autoscale_enabled else most
        return _cluster(BatchAiCompute, vm_size, vm_priority, least, most, None, location, tags, description)

    @classmethod
    def _accepts(cls, said: Dict[str, Any]) -> bool:
        return MADE_AS not in (said.get("tags") or {})

    @staticmethod
    def attach(workspace: Any, name: str, resource_id: str) -> ComputeTarget:  # type: ignore[override]
        """Refused: there is no cluster of Azure's here."""
        raise ComputeTargetException(f"compute target '{name}': expected a cluster that create() makes, found {resource_id}, a cluster of "
                                     "Azure's Batch AI, which this server cannot reach")


def _cluster(kind: type, vm_size: str, vm_priority: str, least: int, most: int, idle: Optional[int], location: Optional[str],
             tags: Optional[Dict[str, str]], description: Optional[str]) -> Configuration:
    priorities = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
    priority = priorities.get(str(vm_priority or "dedicated").lower().replace("_", ""))
    if priority is None:
        raise ComputeTargetException(f"vm_priority: expected 'dedicated' or 'lowpriority', found {vm_priority!r}")
    if not vm_size:
        raise ComputeTargetException("vm_size: expected the name of a size, such as STANDARD_D2_V2, found nothing")
    if least > most:
        raise ComputeTargetException(f"the minimum of nodes: expected at most {most}, which is the maximum, found {least}")
    scale: Dict[str, Any] = {"minNodeCount": least, "maxNodeCount": most}
    if idle is not None:
        scale["nodeIdleTimeBeforeScaleDown"] = f"PT{int(idle)}S"
    body: Dict[str, Any] = {"tags": dict(tags or {}), "properties": {"computeType": "AmlCompute", "properties": {
        "vmSize": vm_size, "vmPriority": priority, "scaleSettings": scale}}}
    if location:
        body["location"] = location
    if description:
        body["properties"]["description"] = description
    made_as = getattr(kind, "_made_as", None)
    if made_as:
        body["tags"][MADE_AS] = made_as
    return Configuration(kind, body)
