"""Who asks. All of these are the token that `turnout env` or `turnout exec` hands out; they exist so that scripts that name
one run unchanged."""
from __future__ import annotations

from typing import Any, Dict

from azureml.core._server import Server


class AbstractAuthentication:
    """Takes what its namesake took and needs none of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def get_authentication_header(self) -> Dict[str, str]:
        """The header of a request to the server's REST."""
        return {"Authorization": "Bearer " + Server.from_environment().token()}


class InteractiveLoginAuthentication(AbstractAuthentication):
    """`turnout login` is how one logs in."""


class AzureCliAuthentication(AbstractAuthentication):
    """As InteractiveLoginAuthentication."""


class MsiAuthentication(AbstractAuthentication):
    """The identity of this machine, or of this run."""
