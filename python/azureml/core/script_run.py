"""The run of a script, as `Experiment.submit` gives it back."""
from azureml.core.run import Run


class ScriptRun(Run):
    """A run that was submitted from a folder."""
