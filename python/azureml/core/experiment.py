"""Experiments: names under which runs are kept."""
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

from azureml.exceptions import ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.run import Run
    from azureml.core.script_run import ScriptRun
    from azureml.core.workspace import Workspace

_PAGE = 200


class Experiment:
    """`Experiment(ws, "name")` is the experiment of that name; it is made if there is none."""

    def __init__(self, workspace: "Workspace", name: str, _skip_name_validation: bool = False, _id: Optional[str] = None) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_ .-]{0,254}", name):
            raise UserErrorException(f"experiment name: expected letters, digits, '_', '-', '.' or spaces, found {name!r}")
        self.workspace = workspace
        self.name = name
        self._id = _id

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    @property
    def id(self) -> str:
        if self._id is None:
            try:
                found = self.workspace._mlflow("GET", "experiments/get-by-name", experiment_name=self.name)
                self._id = found["experiment"]["experiment_id"]
            except ServiceException as error:
                if error.status_code != 404:
                    raise
                self._id = self.workspace._mlflow("POST", "experiments/create", {"name": self.name})["experiment_id"]
        return str(self._id)

    @staticmethod
    def list(workspace: "Workspace", experiment_name: Optional[str] = None) -> List["Experiment"]:
        """All experiments of a workspace, or that one if it is there."""
        found: List[Experiment] = []
        token = None
        while True:
            reply = workspace._mlflow("POST", "experiments/search", {"max_results": 1000, "page_token": token} if token else
                                      {"max_results": 1000})
            for one in reply.get("experiments", []):
                if experiment_name in (None, one["name"]):
                    found.append(Experiment(workspace, one["name"], _id=one["experiment_id"]))
            token = reply.get("next_page_token")
            if not token:
                return found

    def submit(self, config: Any, tags: Optional[Dict[str, str]] = None, **kwargs: Any) -> "ScriptRun":
        """Submits a ScriptRunConfig and returns at once. UserErrorException: it cannot run as it says."""
        from azureml.core._submit import submit

        return submit(self, config, tags or {})

    def start_logging(self, outputs: Optional[str] = None, snapshot_directory: Optional[str] = None, *args: Any,
                      display_name: Optional[str] = None, **kwargs: Any) -> "Run":
        """A run of this process: log to it, then `complete()` it. The folder is kept as its snapshot if one is named."""
        from azureml.core import _snapshot
        from azureml.core._tracking import create_run

        tags = {"azureml.target": "local", "azureml.runsource": "interactive"}
        if snapshot_directory:
            tags["azureml.snapshotId"] = _snapshot.upload(self.workspace, _snapshot.files_of(snapshot_directory))[1]
        return create_run(self, display_name, tags)

    def get_runs(self, type: Optional[str] = None, tags: Any = None, properties: Any = None,
                 include_children: bool = False) -> Iterator["Run"]:
        """The runs, the newest first."""
        from azureml.core.run import Run

        wanted = {tags: None} if isinstance(tags, str) else dict(tags or {})
        token = None
        while True:
            body: Dict[str, Any] = {"experiment_ids": [self.id], "max_results": _PAGE, "order_by": ["attributes.start_time DESC"]}
            reply = self.workspace._mlflow("POST", "runs/search", {**body, "page_token": token} if token else body)
            for one in reply.get("runs", []):
                has = {tag["key"]: tag["value"] for tag in one["data"].get("tags", [])}
                if not include_children and "mlflow.parentRunId" in has:
                    continue
                if all(name in has and value in (None, has[name]) for name, value in wanted.items()):
                    yield Run(self, one["info"]["run_id"])
            token = reply.get("next_page_token")
            if not token:
                return

    def get_portal_url(self) -> str:
        """Where the server's pages begin."""
        return f"{self.workspace._server.base}/studio"

    def get_docs_url(self) -> str:
        return self.get_portal_url()

    def tag(self, key: str, value: Optional[str] = None) -> None:
        self.workspace._mlflow("POST", "experiments/set-experiment-tag",
                               {"experiment_id": self.id, "key": key, "value": value if value is None else str(value)})

    @property
    def tags(self) -> Dict[str, str]:
        found = self.workspace._mlflow("GET", "experiments/get", experiment_id=self.id)["experiment"]
        return {one["key"]: one["value"] for one in found.get("tags", [])}

    def serialize(self) -> str:
        return json.dumps({"name": self.name, "id": self.id})
