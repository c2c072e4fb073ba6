"""Metrics, tags and files of a run: MLflow's REST and run history's, as `Run` uses them."""
from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional

from azureml.exceptions import UserErrorException

if TYPE_CHECKING:
    from azureml.core.experiment import Experiment
    from azureml.core.run import Run
    from azureml.core.workspace import Workspace

# Tags under which what MLflow has no word for is kept.
TEXT = "azureml.text."  # + name: the text of a metric that is none
ROW = "azureml.row."  # + name: the columns of rows that were logged, as JSON
ERROR = "azureml.error"  # why a local run failed
_PART = 500  # metrics in one request


def create_run(experiment: "Experiment", name: Optional[str], tags: Dict[str, str], parent: Optional[str] = None) -> "Run":
    """A run without a job: of this process, or of this machine."""
    from azureml.core.run import Run

    if parent:
        tags = {**tags, "mlflow.parentRunId": parent}
    body: Dict[str, Any] = {"experiment_id": experiment.id, "start_time": int(time.time() * 1000),
                            "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    if name:
        body["run_name"] = name
    made = experiment.workspace._mlflow("POST", "runs/create", body)
    return Run(experiment, made["run"]["info"]["run_id"])


def log_values(workspace: "Workspace", run_id: str, metrics: Iterable[Dict[str, Any]], tags: Dict[str, str]) -> None:
    """MLflow's log-batch, in as many parts as it takes."""
    all_metrics = list(metrics)
    for at in range(0, max(len(all_metrics), 1), _PART):
        body: Dict[str, Any] = {"run_id": run_id, "metrics": all_metrics[at:at + _PART]}
        if at == 0 and tags:
            body["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        workspace._mlflow("POST", "runs/log-batch", body)


def as_number(value: Any) -> Optional[float]:
    """What MLflow can keep as a metric: numbers, those of numpy too."""
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def data_of(workspace: "Workspace", run_id: str) -> Dict[str, Any]:
    """The run as MLflow has it: {info, metrics, tags}."""
    run = workspace._mlflow("GET", "runs/get", run_id=run_id)["run"]
    data = run.get("data", {})
    return {"info": run["info"], "metrics": [one["key"] for one in data.get("metrics", [])],
            "tags": {one["key"]: one["value"] for one in data.get("tags", [])}}


def history_of(workspace: "Workspace", run_id: str, key: str) -> List[float]:
    """All values of a metric, in the order of their steps."""
    found: List[Dict[str, Any]] = []
    token = None
    while True:
        reply = workspace._mlflow("GET", "metrics/get-history", run_id=run_id, metric_key=key, max_results=5000, page_token=token)
        found += reply.get("metrics", [])
        token = reply.get("next_page_token")
        if not token:
            break
    found.sort(key=lambda one: (int(one.get("step", 0)), int(one.get("timestamp", 0))))
    return [float(one["value"]) for one in found]


def metrics_of(workspace: "Workspace", run_id: str, name: Optional[str] = None) -> Dict[str, Any]:
    """As 2018 shows metrics: one value alone, several as a list, rows as lists by their columns, texts as texts."""
    data = data_of(workspace, run_id)
    out: Dict[str, Any] = {}
    columns: set[str] = set()
    for tag, value in data["tags"].items():
        if tag.startswith(TEXT):
            out[tag[len(TEXT):]] = value
        elif tag.startswith(ROW):
            row = tag[len(ROW):]
            out[row] = {}
            for column in json.loads(value):
                columns.add(f"{row}.{column}")
                if name in (None, row):
                    values = history_of(workspace, run_id, f"{row}.{column}")
                    out[row][column] = values[0] if len(values) == 1 else values
    for key in data["metrics"]:
        if key in columns or name not in (None, key):
            continue
        values = history_of(workspace, run_id, key)
        out[key] = values[0] if len(values) == 1 else values
    return {key: value for key, value in out.items() if name in (None, key)}


# ---- files

def files_of(workspace: "Workspace", run_id: str) -> List[str]:
    """The names of all artifacts."""
    names: List[str] = []
    token = None
    while True:
        reply = workspace._history("GET", f"/runs/{run_id}/artifacts", continuationToken=token)
        names += [one["path"] for one in reply["value"]]
        token = reply.get("continuationToken")
        if not token:
            return names


def upload_files(workspace: "Workspace", run_id: str, files: Dict[str, str]) -> None:
    """Keeps files as artifacts: name -> path on this machine."""
    names = list(files)
    for name in names:
        if not os.path.isfile(files[name]):
            raise UserErrorException(f"upload of '{name}': expected a file at {files[name]}, found none")
    for at in range(0, len(names), 500):
        part = names[at:at + 500]
        reply = workspace._history("POST", f"/runs/{run_id}/artifacts/batch/metadata", {"paths": [{"path": one} for one in part]})
        for one, said in reply["artifactContentInformation"].items():
            workspace._server.upload(said["contentUri"], files[one])


def link_to(workspace: "Workspace", run_id: str, name: str) -> str:
    """A link by which an artifact is read. ServiceException with status 404: there is none."""
    return str(workspace._history("GET", f"/runs/{run_id}/artifacts/contentinfo", path=name)["contentUri"])
