"""What each job of a run is to do: a function of the seed and the job's number."""
import json
import signal
import sys
from random import Random

# kind: how often
KINDS = {"plain": 46, "long": 14, "chatty": 5, "quiet": 3, "fail": 9, "crash": 4, "timeout": 4, "stubborn-timeout": 1,
         "cancel-waiting": 6, "cancel-running": 6, "stubborn-cancel": 1, "orphans": 4}
HOG_MB = 2560  # more than the node's limit, which is that of its size
CLUSTERS = ("c1", "c2", "c3")
BRIEF = "brief"  # a cluster for jobs that are over at once, many at a time: nodes hold some in stock
PYTHON = sys.executable


def plan(seed, index, long_form, brief=False):
    """What the job does, as job.py takes it, and what the test does with it."""
    rng = Random(f"{seed}/{index}")
    kinds = dict(KINDS)
    if long_form:
        kinds["long"] = 40  # most of what runs goes on through a cut of the link
    else:
        del kinds["stubborn-timeout"], kinds["stubborn-cancel"]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if brief:
        return {"index": index, "kind": "brief", "gap": 0, "steps": 1, "lines": rng.randint(0, 2), "width": 20,
                "files": int(rng.random() < 0.05), "exit": rng.choice((0, 0, 0, 0, 0, 0, 0, rng.randint(1, 9)))}
    if long_form and index < 40:
        kind = "long"  # so that there is always something that runs through a long cut
    if index == (12 if not long_form else 52) or (long_form and index % 500 == 250):
        kind = "hog"
    seconds = rng.uniform(1, 14)
    if kind == "long":
        seconds = rng.uniform(40, 240) if long_form else rng.uniform(10, 25)
    if "cancel" in kind or "timeout" in kind:
        seconds = rng.uniform(60, 90)
    gap = rng.uniform(0.15, 0.5)
    does = {"index": index, "kind": kind, "gap": round(gap, 3), "steps": max(1, int(seconds / gap)), "lines": rng.randint(1, 3),
            "width": rng.choice((1, 20, 80, 400)), "metrics": rng.choice((0, 0, 3, 8)), "files": rng.choice((0, 0, 0, 1, 3))}
    if kind == "chatty":
        does |= {"steps": 20, "gap": 0.05, "lines": 100, "width": 800}
    elif kind == "quiet":
        does |= {"lines": 0}
    elif kind == "fail":
        does |= {"exit": rng.randint(1, 125)}
    elif kind == "crash":
        does |= {"signal": rng.choice((signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL)).value}
    elif kind == "hog":
        does |= {"hog": HOG_MB, "steps": 2}
    elif kind == "orphans":
        does |= {"children": [False, True]}
    elif kind.startswith("stubborn"):
        does |= {"ignore_term": True, "children": [True]}
    elif kind == "cancel-running" and rng.random() < 0.5:
        does |= {"children": [True]}
    return does


def definition(does, workspace, notes, job_py):
    """The body that submits it."""
    command = f"exec {PYTHON} -I -S {job_py} '{json.dumps({**does, 'notes': str(notes)})}'"
    properties = {"jobType": "Command", "command": command, "environmentId": "azureml:host:1", "experimentName": "survival",
                  "computeId": f"{workspace}/computes/{BRIEF if does['kind'] == 'brief' else CLUSTERS[does['index'] % len(CLUSTERS)]}"}
    if "timeout" in does["kind"]:
        properties["limits"] = {"jobLimitsType": "Command", "timeout": "PT4S"}
    return {"properties": properties}


def line(does, attempt, number):
    """What job.py prints as its line `number`."""
    pad = (number * 7919 + does["index"]) % does["width"]
    return f"#{does['index']}.{attempt} {number} {'x' * pad}"


TRIALS = 12  # of each sweep


def trial_plan(seed, index):
    """What each trial of a sweep does."""
    rng = Random(f"{seed}/sweep/{index}")
    return {"index": index, "kind": "trial", "gap": 0.2, "steps": rng.randint(2, 30), "lines": 2, "width": 40, "metrics": rng.choice((0, 2)), "files": 1}


def sweep_definition(does, workspace, notes, job_py):
    command = f"exec {PYTHON} -I -S {job_py} '{json.dumps({**does, 'notes': str(notes)})}' ${{{{search_space.x}}}}"
    return {"properties": {
        "jobType": "Sweep", "experimentName": "survival", "computeId": f"{workspace}/computes/{CLUSTERS[does['index'] % len(CLUSTERS)]}",
        "searchSpace": {"x": ["choice", [list(range(TRIALS))]]}, "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": TRIALS, "maxConcurrentTrials": 4},
        "objective": {"goal": "Maximize", "primaryMetric": "none"},
        "trial": {"command": command, "environmentId": "azureml:host:1"}}}
