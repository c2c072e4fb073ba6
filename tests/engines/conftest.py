"""Where the engine is that `./test engines` started."""
import os

import pytest


@pytest.fixture(scope="session")
def docker_socket():
    socket = os.environ.get("TURNOUT_DOCKER_SOCKET")
    if not socket:
        pytest.fail("TURNOUT_DOCKER_SOCKET is not set: `./test engines docker` starts a Docker engine")
    return socket
