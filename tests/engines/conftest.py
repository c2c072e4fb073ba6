"""Where the engines are that `./test engines` started."""
import os

import pytest


@pytest.fixture(scope="session")
def docker_socket():
    socket = os.environ.get("TURNOUT_DOCKER_SOCKET")
    if not socket:
        pytest.fail("TURNOUT_DOCKER_SOCKET is not set: `./test engines docker` starts a Docker engine")
    return socket


@pytest.fixture(scope="session")
def kubeconfig():
    config = os.environ.get("TURNOUT_KUBECONFIG")
    if not config:
        pytest.fail("TURNOUT_KUBECONFIG is not set: `./test engines kubernetes` starts a Kubernetes")
    return config


@pytest.fixture(scope="session")
def slurm_conf():
    config = os.environ.get("TURNOUT_SLURM_CONF")
    if not config:
        pytest.fail("TURNOUT_SLURM_CONF is not set: `./test engines slurm` starts a Slurm")
    return config
