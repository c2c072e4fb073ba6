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

        def ended(self, name, seconds=120):
            def over():
                job = self.show(name)
                return job if job["status"] in ("Completed", "Failed", "Canceled") else None

            return eventually(f"job {name} ends", over, seconds, 0.2)

        def log(self, name):
            return module_server.turnout("job", "stream", "-n", name, check=False).stdout

    return Shop()


def attempts(shop, name):
    return json.loads(shop.show(name)["properties"]["turnout.attempts"])


def test_empty_texts(shop, tmp_path):
    go = tmp_path / "go"
    neighbour = shop.submit(f"command: until [ -e {go} ]; do sleep 0.1; done\n" + ENVIRONMENT)
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
    go.touch()
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


NASTY = ["two words", "a;echo INJECTED", "$HOME", "*", "it's", "", "[64, 32]", "${{inputs.same}}", "${{inputs.none}}", "a}}b", "plain", "`id`", '"', "\\", "a\nb"]


def test_swept_values_are_one_word_each(shop, tmp_path):
    code = tmp_path / "src"
    code.mkdir()
    (code / "t.py").write_text("import json, os, sys\nprint('ARGV', json.dumps([sys.argv[1:], os.environ['AZUREML_SWEEP_k']]))\n")
    name = shop.submit(f"""type: sweep
trial:
  command: python3 t.py ${{{{search_space.k}}}} "<${{{{search_space.k}}}}>" '${{{{search_space.k}}}}' ${{{{inputs.same}}}} $[[--o ${{{{search_space.k}}}}]] end | cat
  code: {code}
  environment: {{image: debian:12}}
sampling_algorithm: grid
inputs: {{same: "in put ${{{{search_space.k}}}}"}}
search_space:
  k: {{type: choice, values: {json.dumps(NASTY)}}}
objective: {{goal: maximize, primary_metric: score}}
limits: {{max_total_trials: 20, max_concurrent_trials: 4, timeout: 100}}""")
    shop.ended(name)
    for index, value in enumerate(NASTY):
        log = shop.log(f"{name}_{index}")
        line = next(line for line in log.splitlines() if line.startswith("ARGV "))
        assert json.loads(line[5:]) == [[value, f"<{value}>", value, "in put ${{search_space.k}}", "--o", value, "end"], value]
        assert "\nINJECTED" not in log


def test_long_commands_run(shop):
    words = " ".join(f"word-{n:06d}" for n in range(20_000))  # 240 kB
    name = shop.submit(f"command: for word in {words}; do last=$word; done; echo $last ${{{{inputs.x}}}} | cat\ninputs: {{x: two words}}\n" + ENVIRONMENT)
    assert shop.ended(name)["status"] == "Completed"
    assert "word-019999 two words" in shop.log(name)


@pytest.mark.parametrize("text, place, words", [
    ("command: env\nenvironment_variables: {LONG: %s}" % ("x" * 131072), "environment_variables.LONG", "128"),
    ("command: env\nenvironment_variables: {%s}" % ", ".join(f"V{n}: {'x' * 120000}" for n in range(10)), "environment_variables", "together"),
    ("command: echo ${{inputs.x}}\ninputs: {x: %s}" % ("x" * 131072), "inputs.x", "128"),
    ("command: python3 -c %s" % ("x" * 131072), "command", "word 3"),
    ("command: echo %s | cat\ninputs: {x: %s}" % ("${{inputs.x}} " * 10000, "x" * 100000), "command", "longer than 2"),
    ("command: echo $((${{inputs.x}} + 1))\ninputs: {x: 'a[$(id)]'}", "command", "calculates"),
], ids=["variable", "variables", "input", "word", "expansion", "calculation"])
def test_what_cannot_run_is_refused_with_its_place(shop, text, place, words):
    told = shop.refused(text + "\n" + ENVIRONMENT)
    assert place in told and words in told, told
    assert len(told) < 3000


def test_a_sweeps_name_leaves_room_for_its_trials(shop):
    told = shop.refused(f"type: sweep\nname: {'s' * 254}\ntrial:\n  command: echo ${{{{search_space.k}}}}\n  environment: {{image: debian:12}}\nsampling_algorithm: grid\n"
                        "search_space: {k: {type: choice, values: [1, 2]}}\nobjective: {goal: maximize, primary_metric: score}\nlimits: {max_total_trials: 2}")
    assert "254 characters" in told and "255" in told, told
