"""The process behind a local run: prepares its environment, starts the script, keeps its log, metrics and outputs with the
server. `python -m azureml.core._local_runner FOLDER`, where run.json says what to do."""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from azureml.core import _snapshot, _tracking
from azureml.core._stream import BUILD_LOG, USER_LOG
from azureml.core.workspace import Workspace
from azureml.exceptions import AzureMLException, ServiceException

_LOOK = 2.0  # seconds between two looks at whether it was canceled
_GRACE = 10.0  # seconds for a script that is told to end
_PATIENCE = 3600.0  # seconds for a server that is away when the run is over


class _Failed(Exception):
    """Why the run failed, in the words that its user reads."""


class Runner:
    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.plan: Dict[str, Any] = json.loads((folder / "run.json").read_text())
        self.id: str = self.plan["run"]
        subscription, group, name = self.plan["workspace"]
        self.workspace = Workspace(subscription, group, name, _location="")
        self.sent: Dict[str, Tuple[int, float]] = {}  # of a log: its length and when that was
        self.looked = 0.0

    def run(self) -> None:
        """The whole of it. Whatever happens, the run gets an end."""
        try:
            python, more = self.prepare()
            self.status("RUNNING")
            code = self.script(python, more)
            self.surely(self.keep_files)
            if code is None:
                self.end("KILLED")
            elif code != 0:
                raise _Failed(f"the script ended with exit code {code}" if code > 0 else
                              f"the script was ended by signal {signal.Signals(-code).name}")
            else:
                self.end("FINISHED")
        except _Failed as error:
            self.fail(str(error))
        except AzureMLException as error:
            self.fail(error.message)
        except Exception as error:
            traceback.print_exc()
            self.fail(f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
            shutil.rmtree(self.folder / "data", ignore_errors=True)

    def fail(self, why: str) -> None:
        try:
            self.surely(self.keep_files)
        finally:
            self.surely(lambda: _tracking.log_values(self.workspace, self.id, [], {_tracking.ERROR: why[:5000]}))
            self.end("FAILED")

    def status(self, word: str) -> None:
        self.workspace._mlflow("POST", "runs/update", {"run_id": self.id, "status": word})

    def end(self, word: str) -> None:
        body = {"run_id": self.id, "status": word, "end_time": int(time.time() * 1000)}
        self.surely(lambda: self.workspace._mlflow("POST", "runs/update", body))

    # ---- a server that is away

    def now_or_later(self, what: Callable[[], Any]) -> Any:
        """What is done again in a moment anyway: None where the server is away."""
        try:
            return what()
        except (ServiceException, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return None

    def surely(self, what: Callable[[], Any]) -> None:
        """What has to be done: again and again where the server is away, for an hour."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                what()
                return
            except (ServiceException, OSError) as error:
                refused = isinstance(error, ServiceException) and 400 <= error.status_code < 500 and error.status_code != 429
                if refused or time.monotonic() > until:
                    raise
            time.sleep(_LOOK)

    # ---- the environment

    def prepare(self) -> Tuple[str, Dict[str, str]]:
        """The interpreter, and what it changes in the surroundings."""
        wanted = self.plan.get("environment")
        if wanted is None:
            return self.plan["interpreter"], {}
        self.status("SCHEDULED")
        began = time.monotonic()
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout" / "environments"
        root.mkdir(parents=True, exist_ok=True)
        venv = root / wanted["hash"]
        log = self.log(BUILD_LOG)
        with open(root / f"{wanted['hash']}.lock", "w") as lock, open(log, "ab", buffering=0) as out:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two runs that want the same one prepares it
            if (venv / ".ready").is_file():
                out.write(f"environment {wanted['hash'][:12]} is there already: {venv}\n".encode())
            elif not wanted["prepare"]:
                raise _Failed("the environment of this run is not prepared: expected prepare_environment=True, found False; nothing was "
                              "prepared from these conda_dependencies on this machine before")
            else:
                self.build(venv, wanted, out)
                (venv / ".ready").touch()
        took = time.monotonic() - began
        self.surely(lambda: self.send(BUILD_LOG, at_once=True))
        _tracking.log_values(self.workspace, self.id, [], {
            "azureml.environment": wanted["hash"], "azureml.environment_seconds": f"{took:.1f}"})
        path = f"{venv / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        return str(venv / "bin" / "python"), {"PATH": path, "VIRTUAL_ENV": str(venv)}

    def build(self, venv: Path, wanted: Dict[str, Any], out: Any) -> None:
        shutil.rmtree(venv, ignore_errors=True)
        out.write(f"preparing environment {wanted['hash'][:12]} at {venv}\n".encode())
        self.step([wanted["uv"], "venv", "--no-project", "--seed", "--python", _python(wanted["python"]), str(venv)], out)
        if wanted["requirements"]:
            file = self.folder / _snapshot.SETUP_FOLDER / "requirements.txt"
            file.write_text("\n".join(wanted["requirements"]) + "\n")
            self.step([wanted["uv"], "pip", "install", "--python", str(venv / "bin" / "python"), "-r", str(file)], out)

    def step(self, words: List[str], out: Any) -> None:
        """One program that is to succeed; what it says is in the build log as it says it."""
        surroundings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=surroundings, cwd=self.folder)
        while process.poll() is None:
            time.sleep(0.1)
            self.now_or_later(lambda: self.send(BUILD_LOG))
        if process.returncode != 0:
            lines = self.log(BUILD_LOG).read_text(errors="replace").strip().splitlines()
            raise _Failed(f"the environment could not be prepared: {' '.join(words[1:3])} ended with {process.returncode}\n"
                          + "\n".join(lines[-10:]))

    # ---- the script

    def script(self, python: str, more: Dict[str, str]) -> Optional[int]:
        """Its exit code; None if it was canceled."""
        surroundings = {**os.environ, **more, **self.plan["run_variables"], **self.plan["variables"]}
        root = os.environ.get("MLFLOW_TRACKING_URI", "").split("/mlflow/")[0].rstrip("/")
        if root.startswith("http"):
            surroundings["MLFLOW_TRACKING_URI"] = f"{root}/mlflow/v2.0{self.workspace._path}"
        layer = str(self.folder / _snapshot.LAYER)
        own = self.plan["variables"].get("PYTHONPATH")
        surroundings["PYTHONPATH"] = f"{layer}{os.pathsep}{own}" if own else layer
        surroundings["PYTHONUNBUFFERED"] = "1"
        words: Any = self.plan["words"]
        if self.plan["script"]:
            words = [python, *words]
        elif self.plan["shell"]:
            words = ["/bin/sh", "-c", words[0]]
        began = time.monotonic()
        with open(self.log(USER_LOG), "ab") as out:
            try:
                process = subprocess.Popen(words, cwd=self.work, env=surroundings, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                           start_new_session=True)
            except OSError as error:
                raise _Failed(f"'{words[0]}' cannot be started: {error.strerror}") from None
        while process.poll() is None:
            time.sleep(0.05)
            self.now_or_later(lambda: self.send(USER_LOG))
            if self.plan["seconds"] and time.monotonic() - began > self.plan["seconds"]:
                _end(process)
                raise _Failed(f"the script took longer than max_run_duration_seconds, {self.plan['seconds']} s, and was ended")
            if self.now_or_later(self.canceled):
                _end(process)
                return None
        return process.returncode

    def canceled(self) -> bool:
        if time.monotonic() - self.looked < _LOOK:
            return False
        self.looked = time.monotonic()
        return bool(_tracking.data_of(self.workspace, self.id)["info"]["status"] == "KILLED")

    # ---- what is kept

    def log(self, name: str) -> Path:
        path = self.folder / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def send(self, name: str, at_once: bool = False) -> None:
        """Keeps a log with the server, as long as it grows: the longer it is, the less often."""
        path = self.log(name)
        size = path.stat().st_size if path.is_file() else 0
        length, when = self.sent.get(name, (0, 0.0))
        if size == length or not at_once and time.monotonic() - when < max(2.0, size / 1e6):
            return
        self.sent[name] = (length, time.monotonic())
        _tracking.upload_files(self.workspace, self.id, {name: str(path)})
        self.sent[name] = (size, time.monotonic())

    def keep_files(self) -> None:
        """Logs, and what the script wrote to outputs/ and logs/."""
        for name in (BUILD_LOG, USER_LOG):
            self.send(name, at_once=True)
        conda = self.folder / _snapshot.SETUP_FOLDER / "conda_dependencies.yml"
        files = {f"{_snapshot.SETUP_FOLDER}/conda_dependencies.yml": str(conda)} if conda.is_file() else {}
        for top in ("outputs", "logs"):
            for path in sorted((self.work / top).rglob("*")):
                if path.is_file():
                    files[path.relative_to(self.work).as_posix()] = str(path)
        _tracking.upload_files(self.workspace, self.id, files)


def _python(wanted: str) -> str:
    """What `uv` is told: the caller's own interpreter where that is of the version, else the version, which it finds."""
    own = ".".join(map(str, sys.version_info[:3]))
    if not wanted or own == wanted or own.startswith(wanted + "."):
        return str(getattr(sys, "_base_executable", "") or sys.executable)
    return wanted


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The script and what it started: told to end, then ended."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


if __name__ == "__main__":
    Runner(Path(sys.argv[1])).run()
