"""The kinds of compute targets."""
from __future__ import annotations

from typing import Dict, Optional, Type

from azureml.core.compute.amlcompute import AmlCompute, BatchAiCompute
from azureml.core.compute.attached import AksCompute, DatabricksCompute, HDInsightCompute, KubernetesCompute, RemoteCompute
from azureml.core.compute.dsvm import DsvmCompute
from azureml.core.compute_target import ComputeTarget

_BY_TYPE: Dict[str, Type[ComputeTarget]] = {
    one._type: one for one in (AmlCompute, RemoteCompute, HDInsightCompute, DatabricksCompute, KubernetesCompute, AksCompute)}
_BY_NAME_OF_2018: Dict[str, Type[ComputeTarget]] = {str(one._made_as): one for one in (BatchAiCompute,)}
_BY_NAME_OF_2018["DSVM"] = DsvmCompute


def _class_of(kind: str, made_as: Optional[str]) -> Type[ComputeTarget]:
    """The class of a compute of the server, by its type and its tag."""
    found = _BY_TYPE.get(kind, ComputeTarget)
    return _BY_NAME_OF_2018.get(made_as or "", found) if found is AmlCompute else found


__all__ = ["AksCompute", "AmlCompute", "BatchAiCompute", "ComputeTarget", "DatabricksCompute", "DsvmCompute", "HDInsightCompute",
           "KubernetesCompute", "RemoteCompute"]
