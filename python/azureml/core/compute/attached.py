"""Compute targets that are there already, and are attached."""
from __future__ import annotations

from typing import Any, Dict, Optional

from azureml.core.compute_target import ComputeTarget, Configuration
from azureml.exceptions import ComputeTargetException, UserErrorException


def _account(username: str, password: str, private_key_file: str, passphrase: str) -> Dict[str, Any]:
    if bool(password) == bool(private_key_file):
        raise UserErrorException("expected password or private_key_file, found " + ("both" if password else "neither"))
    if passphrase:
        raise UserErrorException("private_key_passphrase: expected a key without one, found a passphrase")
    if password:
        return {"username": username, "password": password}
    with open(private_key_file, encoding="utf-8") as file:
        return {"username": username, "privateKeyData": file.read()}


class RemoteCompute(ComputeTarget):
    """A Linux machine that the server reaches by SSH."""

    _type = "VirtualMachine"
    _detached = True

    def _take(self, said: Dict[str, Any]) -> None:
        super()._take(said)
        inner = said["properties"].get("properties") or {}
        self.address: Optional[str] = inner.get("address")
        self.ssh_port: int = int(inner.get("sshPort") or 22)
        self.username: Optional[str] = (inner.get("administratorAccount") or {}).get("username")

    @staticmethod
    def attach_configuration(username: str = "", address: Optional[str] = None, resource_id: Optional[str] = None, ssh_port: Any = 22,
                             password: str = "", private_key_file: str = "", private_key_passphrase: str = "") -> Configuration:
        """A machine to attach: its name or IP address, or an id whose last part that is."""
        if (address is None) == (resource_id is None):
            raise UserErrorException("expected address or resource_id, found " + ("neither" if address is None else "both"))
        properties: Dict[str, Any] = {"computeType": "VirtualMachine", "properties": {
            "sshPort": int(ssh_port), "administratorAccount": _account(username, password, private_key_file, private_key_passphrase)}}
        if address:
            properties["properties"]["address"] = address
        else:
            properties["resourceId"] = resource_id
        return Configuration(RemoteCompute, {"properties": properties})

    @staticmethod
    def attach(workspace: Any, name: str, username: Any = None, address: str = "", ssh_port: Any = 22,
               password: str = "", private_key_file: str = "", private_key_passphrase: str = "") -> ComputeTarget:
        """As of 2018. UserErrorException: there is a compute of that name; ComputeTargetException: the server refuses."""
        wanted = username if isinstance(username, Configuration) else RemoteCompute.attach_configuration(
            username, address, None, ssh_port, password, private_key_file, private_key_passphrase)
        return ComputeTarget.attach(workspace, name, wanted)


class HDInsightCompute(ComputeTarget):
    """A Spark cluster that the server reaches by SSH, where it can (`turnout compute capabilities`)."""

    _type = "HDInsight"
    _detached = True

    @staticmethod
    def attach_configuration(username: str = "", address: Optional[str] = None, resource_id: Optional[str] = None, ssh_port: Any = 22,
                             password: str = "", private_key_file: str = "", private_key_passphrase: str = "") -> Configuration:
        """A cluster to attach, by its name in the network or its IP address."""
        host = (address or "").replace("https://", "").rstrip("/")
        if not host and not resource_id:
            raise UserErrorException("address: expected the name or IP address of the cluster, found nothing")
        return Configuration(HDInsightCompute, {"properties": {"computeType": "HDInsight", "resourceId": resource_id, "properties": {
            "sshPort": int(ssh_port), "address": host,
            "administratorAccount": _account(username, password, private_key_file, private_key_passphrase)}}})

    @staticmethod
    def attach(workspace: Any, name: str, username: Any = None, address: str = "", ssh_port: Any = 22,
               password: str = "", private_key_file: str = "", private_key_passphrase: str = "") -> ComputeTarget:
        """As of 2018. UserErrorException: there is a compute of that name; ComputeTargetException: the server refuses."""
        wanted = username if isinstance(username, Configuration) else HDInsightCompute.attach_configuration(
            username, address, None, ssh_port, password, private_key_file, private_key_passphrase)
        return ComputeTarget.attach(workspace, name, wanted)


class DatabricksCompute(ComputeTarget):
    """A workspace of Databricks, where the server can (`turnout compute capabilities`)."""

    _type = "Databricks"
    _detached = True

    @staticmethod
    def attach_configuration(resource_group: Optional[str] = None, workspace_name: Optional[str] = None, resource_id: Optional[str] = None,
                             access_token: str = "") -> Configuration:
        if resource_id is None:
            resource_id = f"/resourceGroups/{resource_group}/providers/Microsoft.Databricks/workspaces/{workspace_name}"
        return Configuration(DatabricksCompute, {"properties": {"computeType": "Databricks", "resourceId": resource_id, "properties": {
            "databricksAccessToken": access_token}}})


class KubernetesCompute(ComputeTarget):
    """A Kubernetes cluster; the last part of `resource_id` is a pool of the server."""

    _type = "Kubernetes"
    _detached = True

    @staticmethod
    def attach_configuration(resource_id: Optional[str] = None, namespace: str = "default", **ignored: Any) -> Configuration:
        return Configuration(KubernetesCompute, {"properties": {"computeType": "Kubernetes", "resourceId": resource_id, "properties": {
            "namespace": namespace}}})


class AksCompute(ComputeTarget):
    """Inference on AKS, which this server refuses: models are served by online endpoints."""

    _type = "AKS"

    @staticmethod
    def provisioning_configuration(agent_count: Optional[int] = None, vm_size: Optional[str] = None, **ignored: Any) -> Configuration:
        raise ComputeTargetException("AksCompute: this server serves models by online endpoints: `turnout online-endpoint create`")

    @staticmethod
    def attach_configuration(resource_group: Optional[str] = None, cluster_name: Optional[str] = None, **ignored: Any) -> Configuration:
        raise ComputeTargetException("AksCompute: a cluster of Kubernetes is attached for training by KubernetesCompute.attach_configuration, "
                                     "and models are served by online endpoints: `turnout online-endpoint create`")
