# What the command of each child of an AutoML job runs with `python -c`: lays the modules, which
# come as variables, into a folder as the package turnout_automl, and runs the one that is named.
import importlib
import os
import sys
import tempfile
import warnings

PREFIX = "AZUREML_AUTOML_MODULE_"
folder = tempfile.mkdtemp(prefix="automl-")
package = os.path.join(folder, "turnout_automl")
os.mkdir(package)
open(os.path.join(package, "__init__.py"), "w").close()
for variable in [name for name in os.environ if name.startswith(PREFIX)]:
    with open(
        os.path.join(package, variable[len(PREFIX) :] + ".py"), "w", encoding="utf-8"
    ) as file:
        file.write(os.environ.pop(variable))
os.environ.pop("AZUREML_AUTOML_PROGRAM", None)
sys.path.insert(0, folder)
warnings.filterwarnings("ignore")  # of libraries, about each other

from turnout_automl.tables import Refused  # noqa: E402

try:
    importlib.import_module("turnout_automl." + sys.argv[1]).main(sys.argv[2:])
except Refused as why:
    sys.exit(f"error: {why}")
