"""Waiting for a run, and its log as it is written."""
from __future__ import annotations

import codecs
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from azureml.core import _tracking
from azureml.exceptions import ExperimentExecutionException, ServiceException

if TYPE_CHECKING:
    from azureml.core.run import Run

_OVER = ("Completed", "Failed", "Canceled")
BUILD_LOG, USER_LOG = "azureml-logs/20_environment.txt", "user_logs/std_log.txt"


class Logs:
    """Where the bytes of a run's logs are: a job's with the server, a local run's on this machine or with the server."""

    def __init__(self, run: "Run") -> None:
        from azureml.core._local import folder_of

        self._run = run
        self._here: Path = folder_of(run.id) / "logs"

    def names(self, details: Dict[str, Any]) -> List[str]:
        found = set(details["logFiles"])
        if self._here.is_dir():
            found |= {one.relative_to(self._here).as_posix() for one in self._here.rglob("*.txt")}
        elif not found:
            found |= {one for one in self._run.get_file_names() if one in (BUILD_LOG, USER_LOG)}
        return sorted(found)

    def read(self, name: str, offset: int, details: Dict[str, Any]) -> bytes:
        """What stands there from a byte on."""
        server = self._run._workspace._server
        file = self._here / name
        if file.is_file():
            with open(file, "rb") as opened:
                opened.seek(offset)
                return opened.read()
        try:
            link = details["logFiles"].get(name) or _tracking.link_to(self._run._workspace, self._run.id, name)
            return server.download(link, offset)  # type: ignore[no-any-return]
        except ServiceException as error:
            if error.status_code != 404:
                raise
            return b""


def wait(run: "Run", show_output: bool) -> Dict[str, Any]:
    """Until it is over: its details then. Prints what 2018's client printed."""
    try:
        return _wait(run, show_output)
    except KeyboardInterrupt:
        raise ExperimentExecutionException(f"The output streaming for the run interrupted, but the run {run.id} is still executing on its "
                                           "compute target: cancel() of it ends it") from None


def _wait(run: "Run", show_output: bool) -> Dict[str, Any]:
    if show_output:
        web = run.get_portal_url()
        print(f"RunId: {run.id}\nWeb View: {web}", flush=True)
    shown: Dict[str, int] = {}
    decoders: Dict[str, Any] = {}
    last = ""
    logs = Logs(run)
    pause = 0.2
    while True:
        details = run.get_details()
        over = details["status"] in _OVER
        new = False
        for name in (BUILD_LOG, USER_LOG) if show_output else ():
            if name not in logs.names(details):
                continue
            part = logs.read(name, shown.get(name, 0), details)
            if not part:
                continue
            new = True
            shown[name] = shown.get(name, 0) + len(part)
            if last != name:
                print(f"\nStreaming {name}\n{'=' * (len(name) + 10)}\n")
                last = name
            decoder = decoders.setdefault(name, codecs.getincrementaldecoder("utf-8")("replace"))
            print(decoder.decode(part), end="", flush=True)
        if over:
            break
        pause = 0.2 if new else min(pause * 1.5, 2.0)
        time.sleep(pause)
    if show_output:
        print(f"\nExecution Summary\n=================\nRunId: {run.id}\nWeb View: {web}", flush=True)
        if "error" in details:
            print(f"\nError:\n{details['error'].get('error', {}).get('message', '')}", flush=True)
        print(flush=True)
    return details
