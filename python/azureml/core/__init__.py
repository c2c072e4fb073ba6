"""azureml.core as it was in 2018, for a Turnout server."""
from __future__ import annotations

__path__ = __import__("pkgutil").extend_path(__path__, __name__)


def _refuse_the_real_one() -> None:
    """Both have files of the same names: a mixture of the two would be neither."""
    import os
    from importlib import metadata

    try:
        other = metadata.distribution("azureml-core")
    except Exception:
        return
    theirs = os.path.realpath(str(other.locate_file("azureml/core")))
    if theirs == os.path.dirname(os.path.realpath(__file__)):
        raise ImportError(
            f"azureml-core {other.version} and turnout-v1 are installed in the same place and have files of the same names: "
            "`pip uninstall azureml-core turnout-v1`, then install the one that you want")


_refuse_the_real_one()

VERSION = "0.1.0"

from azureml.core.compute_target import ComputeTarget  # noqa: E402
from azureml.core.datastore import Datastore  # noqa: E402
from azureml.core.environment import Environment  # noqa: E402
from azureml.core.experiment import Experiment  # noqa: E402
from azureml.core.model import Model  # noqa: E402
from azureml.core.run import Run  # noqa: E402
from azureml.core.runconfig import RunConfiguration  # noqa: E402
from azureml.core.script_run import ScriptRun  # noqa: E402
from azureml.core.script_run_config import ScriptRunConfig  # noqa: E402
from azureml.core.workspace import Workspace  # noqa: E402

__all__ = ["ComputeTarget", "Datastore", "Environment", "Experiment", "Model", "Run", "RunConfiguration",
           "ScriptRun", "ScriptRunConfig", "VERSION", "Workspace"]
