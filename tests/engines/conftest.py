"""The clients' fixtures, for tests on real engines. What `./test engines` starts is found by variables."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))


@pytest.fixture(scope="session")
def docker_socket():
    socket = os.environ.get("TURNOUT_DOCKER_SOCKET")
    if not socket:
        pytest.fail("TURNOUT_DOCKER_SOCKET is not set: `./test engines docker` starts a Docker engine")
    return socket
