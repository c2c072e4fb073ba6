"""The seed of 2018 for tests: its snippets, and how they are typed."""
import os
import subprocess
import sys
from pathlib import Path

from conftest import PLAIN_ENV, ROOT, TURNOUT

SNIPPETS = Path(__file__).parent / "seed_snippets_v1"
LAYER = ROOT / "python"
TRAIN = """\
import os, sys
from azureml.core import Run

run = Run.get_context(allow_offline=False)
print("trained by", sys.executable)
for value in (4.0, 2.0, 1.0):
    run.log("mse", value)
run.log("alpha", 0.5)
with open("outputs/model.txt", "w") as file:
    file.write("a model")
"""
# What the seed takes for granted, some of it from blocks before.
GRANTED = """\
import azureml.core
from azureml.core import Experiment, ScriptRunConfig, Workspace
from azureml.core.runconfig import RunConfiguration
from azureml.exceptions import UserErrorException

ws = Workspace.from_config()
exp = experiment = Experiment(ws, "seed")
script_folder = "project"
"""


def snippet(name):
    """The text of one, by the beginning of its file's name."""
    (found,) = SNIPPETS.glob(f"{name}_*.py")
    return found.read_text()


class Typist:
    """A folder with a project and a config.json, in which scripts are run as a user of the server runs them."""

    def __init__(self, server, folder, train=TRAIN):
        self.server, self.folder = server, folder
        (folder / "project").mkdir(parents=True)
        (folder / "project" / "train.py").write_text(train)
        (folder / "config.json").write_text(server.turnout("config").stdout)
        self.env = {**PLAIN_ENV, **server.env(), "PYTHONPATH": str(LAYER), "XDG_CACHE_HOME": str(folder / "cache"),
                    "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
                    "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def types(self, *parts, fails=False, timeout=240):
        """What a script of these parts prints: snippets by their numbers, or code."""
        text = GRANTED + "\n".join(snippet(part) if part.isdigit() else part for part in parts)
        (self.folder / "script.py").write_text(text)
        done = subprocess.run([sys.executable, "script.py"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout)
        assert (done.returncode != 0) == fails, f"{done.stdout}\n{done.stderr}"
        return done.stderr if fails else done.stdout
