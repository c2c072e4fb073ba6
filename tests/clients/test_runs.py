"""`turnout run`: what jobs and MLflow's own client logged, in a terminal."""
import json
import os
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as xml

import pytest

from conftest import on_terminal

LOGS = textwrap.dedent("""\
    import math, mlflow
    mlflow.set_experiment("curves")
    for rate in (0.1, 0.01):
        with mlflow.start_run(run_name=f"rate {rate}"):
            mlflow.log_params({"rate": rate, "layers": 3})
            for step in range(50):
                mlflow.log_metric("loss", math.exp(-rate * step), step=step)
            mlflow.log_metric("odd/name and more", 1.5)
            print(mlflow.active_run().info.run_id)
    with mlflow.start_run(run_name="broken"):
        mlflow.log_metric("loss", float("nan"))
        print(mlflow.active_run().info.run_id)
""")


@pytest.fixture(scope="module")
def runs(module_server):
    done = subprocess.run([sys.executable, "-c", LOGS], env={**os.environ, **module_server.env()}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^[0-9a-f-]{32,36}$", done.stdout, re.M)
    assert len(names) == 3, done.stdout
    return names


def rows(server, *arguments):
    return json.loads(server.turnout("run", *arguments, "-o", "json").stdout)


def test_runs_are_listed_with_what_they_logged(module_server, runs):
    fast, slow, broken = runs
    listed = rows(module_server, "list", "--experiment", "curves")
    assert [one["name"] for one in listed] == [broken, slow, fast]
    assert listed[2]["params"] == {"rate": "0.1", "layers": "3"} and listed[2]["metrics"]["odd/name and more"] == 1.5
    table = module_server.turnout("run", "list", "--experiment", "curves", "-o", "table").stdout.splitlines()
    assert table[0].split()[:2] == ["Name", "Status"] or table[0].lower().startswith("name"), table[0]
    assert "metrics.loss" in table[0].lower() and "0.0074466" in "".join(table), table
    chosen = rows(module_server, "list", "--filter", "params.rate = '0.01'", "--order-by", "metrics.loss ASC")
    assert [one["name"] for one in chosen] == [slow]
    refused = module_server.turnout("run", "list", "--filter", "metrics.loss <", check=False)
    assert refused.returncode == 2 and "expected a number" in refused.stderr, refused.stderr
    refused = module_server.turnout("run", "list", "--experiment", "curve", check=False)
    assert refused.returncode == 3 and "curve" in refused.stderr, refused.stderr


def test_the_best_is_found_and_no_number_is_none(module_server, runs):
    fast, slow, _ = runs
    assert rows(module_server, "best", "--metric", "loss")["name"] == fast
    assert rows(module_server, "best", "--metric", "loss", "--goal", "maximize", "--experiment", "curves")["name"] == slow
    for arguments, code, why in ((["--metric", "los"], 3, "no run has a metric 'los'"), ([], 2, "which metric"),
                                 (["--metric", "loss", "--sweep", "nothing"], 3, "among the trials of 'nothing'")):
        done = module_server.turnout("run", "best", *arguments, check=False)
        assert done.returncode == code and why in done.stderr, done.stderr


def test_a_run_and_several_are_drawn(module_server, runs, tmp_path):
    fast, slow, broken = runs
    _, screen = on_terminal(module_server, "run", "show", fast)
    assert "█" in screen and "50 points" in screen and "0.0074466" in screen and "layers" in screen, screen
    _, screen = on_terminal(module_server, "run", "plot", fast, "--metric", "loss")
    lines = screen.replace("\r", "").splitlines()
    assert lines[0] == "loss" and lines[1].strip().startswith("1 ┤") and lines[-1].strip().startswith("0 ") and "49 step" in lines[-1], screen
    assert all(len(line) <= 80 for line in lines), screen
    file = tmp_path / "loss.svg"
    module_server.turnout("run", "plot", fast, slow, "--metric", "loss", "--file", file)
    page = xml.parse(file).getroot()
    paths = [one for one in page if one.get("stroke-width") == "2"]
    assert len(paths) == 2 and all(one.get("d").count("L") == 49 for one in paths)
    texts = [one.text for one in page if one.tag.endswith("text")]
    assert fast in texts and slow in texts and "step" in texts
    points = rows(module_server, "plot", slow, "--metric", "loss")[0]["points"]
    assert len(points) == 50 and points[0] == [0, 1] and points[49][0] == 49
    done = module_server.turnout("run", "plot", broken, "--metric", "loss", "-o", "table")
    assert done.stdout == "" and "no value that is a number" in done.stderr
    done = module_server.turnout("run", "plot", fast, "--metric", "lss", check=False)
    assert done.returncode == 3 and "loss" in done.stderr, done.stderr


def test_runs_stand_side_by_side(module_server, runs, tmp_path):
    fast, slow, _ = runs
    table = module_server.turnout("run", "compare", fast, slow, "-o", "table").stdout
    assert "params.rate" in table and "0.01" in table and "params.layers" not in table, table
    assert "params.layers" in module_server.turnout("run", "compare", fast, slow, "--all", "-o", "table").stdout
    done = module_server.turnout("run", "compare", fast, check=False)
    assert done.returncode == 2 and "from 2 to 20 names, found 1" in done.stderr, done.stderr

    for name, rate in (("job-a", 1), ("job-b", 2)):
        file = tmp_path / f"{name}.yml"
        file.write_text(f"name: {name}\ncommand: echo ${{{{inputs.rate}}}}\nenvironment: {{image: x}}\ninputs: {{rate: {rate}}}\n")
        module_server.turnout("job", "create", "-f", file, "--stream")
    table = module_server.turnout("run", "diff", "job-a", "job-b", "-o", "table").stdout.splitlines()
    assert [line.split() for line in table if line.startswith("inputs.rate")] == [["inputs.rate", "1", "2"]], table
    assert not [line for line in table if line.startswith(("command", "name", "environment"))], table
    file.write_text("name: job-c\ncommand: echo ${{inputs.rate}}\nenvironment: {image: x}\ninputs: {rate: 2}\n")
    module_server.turnout("job", "create", "-f", file)
    assert "the same words" in module_server.turnout("run", "diff", "job-b", "job-c", "-o", "table").stderr
