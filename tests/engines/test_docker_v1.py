"""The container instance of the seed of 2018, in a real Docker engine: its snippets as they are."""
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_docker import BASE, clients, docker  # noqa: E402, F401

# Both folders have a conftest; v1 means the clients'.
sys.modules["conftest"] = clients
sys.path.insert(0, str(Path(clients.__file__).parent))
from v1 import LAYER, Typist, snippet  # noqa: E402

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1"
WAITS = "run.wait_for_completion(show_output=True)\nprint('::', run.get_status(), run.get_metrics(), run.get_file_names())"
HUNGRY = """\
print("begun", flush=True)
held = []
for _ in range(30):
    held.append(bytearray(b"x" * (100 << 20)))
print("has three gigabytes")
"""


@pytest.fixture(scope="module")
def typist(docker_socket, docker):  # noqa: F811
    path = Path(tempfile.mkdtemp(prefix="turnout-"))
    server = clients.Server(path / "data")
    # The default image cannot be pulled where these tests run: the engine has one by that name.
    docker("tag", BASE, IMAGE)
    (server.data / "pools.yaml").write_text(
        f"pools:\n  eastus:\n    provider: container\n    slots: 2\n    settings:\n      socket: {docker_socket}\n      image: {BASE}\n"
        "      network: host\n      pull: never\n      variables: {SSL_CERT_FILE: /etc/ssl/certs/ca-certificates.crt}\n")
    server.start()
    yield Typist(server, path / "work")
    server.stop()
    instance = (server.data / "containers" / "instance").read_text().strip()
    for one in docker("ps", "-aq", "--filter", f"label=turnout.server={instance}").split():
        docker("rm", "-f", one, check=False)
    for one in docker("volume", "ls", "-q", "--filter", f"label=turnout.server={instance}").split():
        docker("volume", "rm", one, check=False)
    docker("rmi", IMAGE, check=False)
    shutil.rmtree(path, ignore_errors=True)


def test_the_snippets_run_in_a_container_of_that_size(typist):
    assert LAYER.is_dir()
    printed = typist.types("9", "10", WAITS)
    assert ":: Completed {'alpha': 0.5, 'mse': [4.0, 2.0, 1.0]}" in printed and "'outputs/model.txt'" in printed, printed
    assert "+ scikit-learn==" in printed and "trained by" in printed and "is not started on this pool" not in printed, printed
    again = typist.types("9", "10", WAITS)
    assert ":: Completed" in again and "scikit-learn==" not in again, again
    assert "left []" in typist.types("print('left', ws.compute_targets())")


def test_its_memory_and_its_region_are_kept_to(typist):
    (typist.folder / "project" / "train.py").write_text(HUNGRY)
    said = typist.types("9", "10", WAITS, fails=True)
    assert "ActivityFailedException" in said and "out_of_memory" in said and "has three gigabytes" not in said, said
    said = typist.types("9", "run_config.container_instance.region = 'westeurope'", "10", fails=True)
    assert "UserErrorException: resources.properties.container_instance.region: expected a pool of containers (eastus), found 'westeurope'" in said, said
    said = typist.types("9", "run_config.environment.docker.base_image = 'microsoft/mmlspark:plus-0.9.9'", "10", WAITS, fails=True)
    assert "microsoft/mmlspark:plus-0.9.9" in said, said
    assert snippet("9").count("containerinstance") == 1
