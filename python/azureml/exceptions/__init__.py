"""The exceptions of azureml.core. Each has `message`, which is what `str()` gives."""
from __future__ import annotations

from typing import Any, Optional


class AzureMLException(Exception):
    """The base of all others."""

    def __init__(self, exception_message: str = "", inner_exception: Optional[BaseException] = None, **_: object) -> None:
        super().__init__(exception_message)
        self.message = exception_message
        self.inner_exception = inner_exception


class UserErrorException(AzureMLException):
    """What was asked for cannot be; the message says what was expected."""


class WorkspaceException(UserErrorException):
    """A workspace that is not there, or not unambiguous."""


class ProjectSystemException(UserErrorException):
    """A folder that is no project, or no server that is known."""


class RunConfigurationException(UserErrorException):
    """A run configuration that cannot be read or does not fit together."""


class SnapshotException(UserErrorException):
    """A folder that cannot be taken as the snapshot of a run."""


class AuthenticationException(UserErrorException):
    """The server does not know who asks."""


class ComputeTargetException(AzureMLException):
    """A compute target that is not there, or that cannot be made."""


class ModelNotFoundException(AzureMLException):
    """A model that is not registered, or that a run does not have."""


class RunEnvironmentException(AzureMLException):
    """The script is not part of a run."""


class ExperimentExecutionException(AzureMLException):
    """A run could not be submitted."""


class ActivityFailedException(AzureMLException):
    """A run ended as Failed or Canceled. `error_details` is what the server says about it."""

    def __init__(self, error_details: object = None, **more: Any) -> None:
        super().__init__(f"Activity Failed:\n{error_details}", **more)
        self.error_details = error_details


class ServiceException(AzureMLException):
    """What the server refused: `status_code` of HTTP, and its own code in `error_code`."""

    def __init__(self, message: str, status_code: int = 0, error_code: str = "") -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error_code = error_code


__all__ = [name for name in dir() if name.endswith("Exception")]
