"""Values of every kind on their way into a command: empty, with quotes, with what looks like an expression; and
commands that do harm to the node's own processes."""
import json

import pytest

from conftest import eventually

ENVIRONMENT = "environment: {image: debian:12}\n"


@pytest.fixture(scope="module")
def shop(module_server, tmp_path_factory):
    """Submits job files by the command line to a node that runs several jobs at a time."""
    module_server.turnout("compute", "create", "-n", "c1", "--type", "AmlCompute", "--size", "STANDARD_DS3_V2", "--max-instances", "1",
                          "--set", 'tags={"turnout.jobs_per_node": "4"}')
    folder = tmp_path_factory.mktemp("shop")

    class Shop:
        server = module_server
        number = 0

        def refused(self, text):
            done = self.create(text, check=False)
            assert done.returncode != 0, done.stdout
            return done.stderr

        def create(self, text, check=True):
            Shop.number += 1
            path = folder / f"{Shop.number}.yml"
            path.write_text(text + "\ncompute: azureml:c1\nexperiment_name: values\n")
            return module_server.turnout("job", "create", "-f", path, "-o", "json", check=check)

        def submit(self, text):
            return json.loads(self.create(text).stdout)["name"]

        def show(self, name):
            return json.loads(module_server.turnout("job", "show", "-n", name, "-o", "json").stdout)

        def ended(self, name, seconds=60):
            def over():
                job = self.show(name)
                return job if job["status"] in ("Completed", "Failed", "Canceled") else None

            return eventually(f"job {name} ends", over, seconds, 0.2)

        def log(self, name):
            return module_server.turnout("job", "stream", "-n", name, check=False).stdout

    return Shop()


def attempts(shop, name):
    return json.loads(shop.show(name)["properties"]["turnout.attempts"])


def test_empty_texts(shop):
    neighbour = shop.submit("command: sleep 4\n" + ENVIRONMENT)
    eventually("it runs", lambda: shop.show(neighbour)["status"] == "Running")
    names = [shop.submit(text + "\n" + ENVIRONMENT) for text in (
        'command: true ""',
        "command: test ${{inputs.none}}x = x\ninputs: {none: ''}",
        "command: env\nenvironment_variables: {NOTHING: ''}",
        'command: test "$NOTHING" = ""\nenvironment_variables: {NOTHING: ""}',
    )]
    for name in names:
        assert shop.ended(name)["status"] == "Completed", shop.log(name)
    assert "\nNOTHING=\n" in shop.log(names[2])
    assert shop.ended(neighbour)["status"] == "Completed"
    assert attempts(shop, neighbour) == 1, "a neighbour does not notice"


def test_a_command_that_ends_its_supervisor_is_given_up(shop):
    neighbour = shop.submit("command: sleep 2; echo well\n" + ENVIRONMENT)
    eventually("it runs", lambda: shop.show(neighbour)["status"] == "Running")
    culprit = shop.submit("command: kill -9 $PPID; sleep 60\n" + ENVIRONMENT)
    job = shop.ended(culprit)
    assert job["status"] == "Failed"
    assert job["properties"]["turnout.cause"] == "node_lost" and attempts(shop, culprit) == 3
    assert "supervisor" in job["error"]["message"]
    assert shop.ended(neighbour)["status"] == "Completed"
