"""Runs: what a script logs to, and what one sees of it from outside."""
from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from azureml.core import _tracking
from azureml.exceptions import ActivityFailedException, RunEnvironmentException, ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.experiment import Experiment
    from azureml.core.model import Model

_OVER = ("Completed", "Failed", "Canceled")
_CLOSING = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


class Run:
    """A run of an experiment. In a script `Run.get_context()` is the run that the script is."""

    def __init__(self, experiment: "Experiment", run_id: str, outputs: Optional[str] = None, **kwargs: Any) -> None:
        self.experiment = experiment
        self._id = run_id
        self._steps: Dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Run(Experiment: {self.experiment.name},\nId: {self._id},\nStatus: {self.status})"

    # ---- the run of this process

    @classmethod
    def get_context(cls, allow_offline: bool = True, used_for_context_manager: bool = False, **kwargs: Any) -> "Run":
        """The run that this script is. Outside of one: a run that only prints what is logged, or, without `allow_offline`,
        RunEnvironmentException."""
        run_id = os.environ.get("AZUREML_RUN_ID") or os.environ.get("MLFLOW_RUN_ID")
        names = [os.environ.get(f"AZUREML_ARM_{one}") for one in ("SUBSCRIPTION", "RESOURCEGROUP", "WORKSPACE_NAME")]
        if not run_id or not all(names) or not os.environ.get("ARM_CLOUD_METADATA_URL"):
            if allow_offline:
                return _OfflineRun()
            raise RunEnvironmentException("this script is not part of a run: expected AZUREML_RUN_ID in its environment, found none; "
                                          "submit it by Experiment.submit")
        from azureml.core.experiment import Experiment
        from azureml.core.workspace import Workspace

        workspace = Workspace(str(names[0]), str(names[1]), str(names[2]), _location="")
        name = os.environ.get("AZUREML_ARM_PROJECT_NAME") or os.environ.get("AZUREML_EXPERIMENT_NAME") or "default"
        return cls(Experiment(workspace, name, _id=os.environ.get("MLFLOW_EXPERIMENT_ID")), run_id)

    @classmethod
    def get_submitted_run(cls, **kwargs: Any) -> "Run":
        """`get_context` as it was called before."""
        return cls.get_context(**kwargs)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self.complete()
        else:
            self.fail(error_details=value)

    # ---- what a script logs

    def log(self, name: str, value: Any, description: str = "", step: Optional[int] = None) -> None:
        """A number (each call is one more value of that name), or a text."""
        number = _tracking.as_number(value)
        if number is None:
            _tracking.log_values(self._workspace, self._id, [], {_tracking.TEXT + name: str(value)})
        else:
            self._log_metrics([self._metric(name, number, step)])

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        """The numbers of a list, one after the other."""
        self._log_metrics([self._metric(name, self._number(name, one)) for one in value])

    def log_row(self, name: str, description: str = "", **kwargs: Any) -> None:
        """One row of a table: `log_row("curve", x=1, y=2)`."""
        self.log_table(name, {column: [value] for column, value in kwargs.items()})

    def log_table(self, name: str, value: Dict[str, Any], description: str = "") -> None:
        """Several rows: a list of numbers for each column."""
        columns = {column: values if isinstance(values, (list, tuple)) else [values] for column, values in value.items()}
        metrics = [self._metric(f"{name}.{column}", self._number(name, one)) for column, values in columns.items() for one in values]
        _tracking.log_values(self._workspace, self._id, metrics, {_tracking.ROW + name: json.dumps(list(columns))})

    def log_image(self, name: str, path: Optional[str] = None, plot: Any = None, description: str = "") -> None:
        """A picture: a file, or a plot of matplotlib; it is kept as a file of that name."""
        if (path is None) == (plot is None):
            raise UserErrorException("log_image: expected path=… or plot=…, found " + ("neither" if path is None else "both"))
        if plot is not None:
            import tempfile

            handle, path = tempfile.mkstemp(suffix=".png")
            os.close(handle)
            plot.savefig(path, bbox_inches="tight")
            name = name if name.endswith(".png") else name + ".png"
        self.upload_file(name, str(path))
        if plot is not None:
            os.unlink(str(path))

    def upload_file(self, name: str, path_or_stream: Any, **kwargs: Any) -> None:
        """Keeps a file of this machine with the run, under that name."""
        _tracking.upload_files(self._workspace, self._id, {name: str(path_or_stream)})

    def upload_files(self, names: List[str], paths: List[str], **kwargs: Any) -> None:
        if len(names) != len(paths):
            raise UserErrorException(f"upload_files: expected as many paths as names, found {len(names)} names and {len(paths)} paths")
        _tracking.upload_files(self._workspace, self._id, dict(zip(names, paths)))

    def upload_folder(self, name: str, path: str, **kwargs: Any) -> None:
        """Keeps all files of a folder with the run, beneath that name."""
        files = {}
        for folder, _, found in os.walk(path):
            for one in found:
                file = os.path.join(folder, one)
                files[f"{name}/{os.path.relpath(file, path)}".replace(os.sep, "/")] = file
        _tracking.upload_files(self._workspace, self._id, files)

    def tag(self, key: str, value: Any = None) -> None:
        self._workspace._mlflow("POST", "runs/set-tag", {"run_id": self._id, "key": key, "value": "" if value is None else str(value)})

    def set_tags(self, tags: Dict[str, Any]) -> None:
        for key, value in tags.items():
            self.tag(key, value)

    def child_run(self, name: Optional[str] = None, run_id: object = None, outputs: object = None) -> "Run":
        """A run beneath this one, of the same experiment."""
        return _tracking.create_run(self.experiment, name, {"azureml.runsource": "child"}, parent=self._id)

    # ---- how it stands

    @property
    def id(self) -> str:
        return self._id

    @property
    def number(self) -> int:
        """How many runs of the experiment began before this one, and one more."""
        started = [int(one.get_details_of_mlflow()["info"].get("start_time", 0)) for one in self.experiment.get_runs()]
        mine = int(self.get_details_of_mlflow()["info"].get("start_time", 0))
        return sum(1 for one in started if one < mine) + 1

    @property
    def status(self) -> str:
        """NotStarted, Queued, Preparing, Starting, Running, Finalizing, CancelRequested; Completed, Failed, Canceled."""
        return str(self._history()["status"])

    def get_status(self) -> str:
        return self.status

    @property
    def name(self) -> str:
        return str(self._history().get("displayName") or self._id)

    @property
    def type(self) -> str:
        return str(self._history().get("runType") or "")

    @property
    def parent(self) -> Optional["Run"]:
        found = self.get_tags().get("mlflow.parentRunId")
        return Run(self.experiment, found) if found else None

    def get_children(self, recursive: bool = False, **kwargs: Any) -> List["Run"]:
        found = [one for one in self.experiment.get_runs(tags={"mlflow.parentRunId": self._id}, include_children=True)]
        return found + [below for one in found for below in one.get_children(recursive=True)] if recursive else found

    def get_details(self) -> Dict[str, Any]:
        """All of it: runId, target, status, startTimeUtc, endTimeUtc, properties, logFiles, error."""
        said = self._workspace._history("GET", f"/runs/{self._id}/details")
        tags = said.get("tags") or {}
        out = {"runId": self._id, "target": said.get("target") or tags.get("azureml.target", "local"), "status": said["status"],
               "startTimeUtc": said.get("startTimeUtc"), "endTimeUtc": said.get("endTimeUtc"), "properties": said.get("properties") or {},
               "inputDatasets": [], "outputDatasets": [], "logFiles": dict(said.get("logFiles") or {}),
               "submittedBy": said.get("submittedBy")}
        snapshot = tags.get("azureml.snapshotId")
        if snapshot:
            out["properties"] = {**out["properties"], "ContentSnapshotId": snapshot}
        error = said.get("error") or ({"error": {"code": "UserError", "message": tags[_tracking.ERROR]}}
                                      if _tracking.ERROR in tags and said["status"] == "Failed" else None)
        if error:
            out["error"] = error
        return out

    def get_details_with_logs(self) -> Dict[str, Any]:
        """`get_details`, with the text of each log in place of its address."""
        from azureml.core._stream import Logs

        out = self.get_details()
        logs = Logs(self)
        out["logFiles"] = {name: logs.read(name, 0, out).decode(errors="replace") for name in logs.names(out)}
        return out

    def get_details_of_mlflow(self) -> Dict[str, Any]:
        """The run as MLflow has it: {info, metrics, tags}."""
        return _tracking.data_of(self._workspace, self._id)

    def get_metrics(self, name: Optional[str] = None, **kwargs: Any) -> Dict[str, Any]:
        """What was logged: one value alone, several as a list, a table as lists by its columns."""
        return _tracking.metrics_of(self._workspace, self._id, name)

    def get_tags(self) -> Dict[str, str]:
        return dict(self._history().get("tags") or {})

    @property
    def tags(self) -> Dict[str, str]:
        return self.get_tags()

    def get_properties(self) -> Dict[str, str]:
        return dict(self.get_details()["properties"])

    @property
    def properties(self) -> Dict[str, str]:
        return self.get_properties()

    def get_file_names(self) -> List[str]:
        """The names of all its files: logs, outputs, and what was uploaded."""
        return _tracking.files_of(self._workspace, self._id)

    def download_file(self, name: str, output_file_path: Optional[str] = None, **kwargs: Any) -> None:
        """Writes one of its files to this machine; a path that is a folder gets it under its own name."""
        target = output_file_path or os.path.basename(name)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(name))
        try:
            link = _tracking.link_to(self._workspace, self._id, name)
        except ServiceException as error:
            if error.status_code != 404:
                raise
            raise UserErrorException(f"file '{name}' is not among those of run {self._id}: {', '.join(self.get_file_names())}") from None
        if os.path.dirname(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        self._workspace._server.download_to(link, target)

    def download_files(self, prefix: Optional[str] = None, output_directory: Optional[str] = None, output_paths: Optional[List[str]] = None,
                       **kwargs: Any) -> None:
        """Writes those of its files whose names begin so, in their folders."""
        names = [one for one in self.get_file_names() if one.startswith(prefix or "")]
        if output_paths is not None and len(output_paths) != len(names):
            raise UserErrorException(f"output_paths: expected one for each of {', '.join(names)}, found {len(output_paths)}")
        for at, one in enumerate(names):
            self.download_file(one, output_paths[at] if output_paths else os.path.join(output_directory or ".", one))

    def get_portal_url(self) -> str:
        """The run's page; of a run that is no job the server has none, and its front page is what is there."""
        try:
            job = self._workspace._arm("GET", f"/jobs/{self._id}")
            return str(job["properties"]["services"]["Studio"]["endpoint"])
        except (ServiceException, KeyError, TypeError):
            return self.experiment.get_portal_url()

    def register_model(self, model_name: str, model_path: Optional[str] = None, tags: Optional[Dict[str, str]] = None,
                       properties: Optional[Dict[str, str]] = None, description: Optional[str] = None, **kwargs: Any) -> "Model":
        """Registers a file or a folder of the run, outputs/MODEL_NAME if no path is said, as the next version of a model."""
        from azureml.core.model import Model

        path = (model_path or f"outputs/{model_name}").strip("/")
        names = self.get_file_names()
        if path not in names and not any(one.startswith(path + "/") for one in names):
            raise UserErrorException(f"model_path: expected a file of run {self._id} ({', '.join(names)}), found '{path}'")
        uri = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{self._id}/{path}"
        return Model._register(self._workspace, model_name, uri, tags, properties, description, self._id)

    # ---- how it ends

    def complete(self, _set_status: bool = True) -> None:
        """Ends a run that was begun by `start_logging` or `child_run`; of a script's own run its script's end is its end."""
        self._close("Completed")

    def fail(self, error_details: Any = None, error_code: Optional[str] = None, _set_status: bool = True) -> None:
        if error_details is not None:
            self.tag(_tracking.ERROR, str(error_details)[:5000])
        self._close("Failed")

    def cancel(self) -> None:
        """Ends it: a job by the server, a run of a machine by that machine, within a few seconds."""
        try:
            self._workspace._arm("POST", f"/jobs/{self._id}/cancel")
            return
        except ServiceException as error:
            if error.status_code != 404:
                raise
        self._close("Canceled")

    def wait_for_completion(self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True) -> Dict[str, Any]:
        """Waits until it is over and returns its details; `show_output` prints its log as it is written.
        ActivityFailedException: it did not complete (unless not `raise_on_error`)."""
        from azureml.core._stream import wait

        details = wait(self, show_output)
        if details["status"] != "Completed" and raise_on_error:
            raise ActivityFailedException(error_details=json.dumps(
                details.get("error") or {"error": {"code": "UserError", "message": f"the run is {details['status']}"}}, indent=4))
        return details

    # ----

    @property
    def _workspace(self) -> Any:
        return self.experiment.workspace

    def _history(self) -> Dict[str, Any]:
        return self._workspace._history("GET", f"/runs/{self._id}")  # type: ignore[no-any-return]

    def _close(self, status: str) -> None:
        if os.environ.get("AZUREML_RUN_ID") == self._id and status != "Canceled":
            return
        if self.status in _OVER:
            return
        self._workspace._mlflow("POST", "runs/update",
                                {"run_id": self._id, "status": _CLOSING[status], "end_time": int(time.time() * 1000)})

    def _metric(self, name: str, value: float, step: Optional[int] = None) -> Dict[str, Any]:
        if step is None:
            step = self._steps.get(name, -1) + 1
        self._steps[name] = step
        return {"key": name, "value": value, "timestamp": int(time.time() * 1000), "step": step}

    def _number(self, name: str, value: Any) -> float:
        number = _tracking.as_number(value)
        if number is None:
            raise UserErrorException(f"'{name}': expected numbers, found {value!r}")
        return number

    def _log_metrics(self, metrics: List[Dict[str, Any]]) -> None:
        _tracking.log_values(self._workspace, self._id, metrics, {})


class _OfflineRun(Run):
    """What `get_context` gives where there is no run: it prints what a run would keep."""

    def __init__(self) -> None:
        super().__init__(None, f"OfflineRun_{os.getpid()}")  # type: ignore[arg-type]

    def log(self, name: str, value: Any, description: str = "", step: Optional[int] = None) -> None:
        print(f"Attempted to log scalar metric {name}:\n{value}", file=sys.stdout)

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        print(f"Attempted to log list metric {name}:\n{list(value)}")

    def log_table(self, name: str, value: Dict[str, Any], description: str = "") -> None:
        print(f"Attempted to log table metric {name}:\n{value}")

    def log_image(self, name: str, path: Optional[str] = None, plot: Any = None, description: str = "") -> None:
        print(f"Attempted to log image metric {name}")

    def tag(self, key: str, value: Any = None) -> None:
        print(f"Attempted to tag the run: {key}: {value}")

    def upload_file(self, name: str, path_or_stream: Any, **kwargs: Any) -> None:
        print(f"Attempted to upload {path_or_stream} as {name}")

    def child_run(self, name: Optional[str] = None, run_id: object = None, outputs: object = None) -> "Run":
        return self

    @property
    def status(self) -> str:
        return "Running"

    def _close(self, status: str) -> None:
        return

    def __repr__(self) -> str:
        return f"OfflineRun({self._id})"
