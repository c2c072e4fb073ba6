"""What each job of a run is to do: a function of the seed and the job's number."""
import json
import signal
import sys
from random import Random

# kind: how often
KINDS = {"plain": 46, "long": 14, "chatty": 5, "quiet": 3, "fail": 9, "crash": 4, "timeout": 4, "stubborn-timeout": 1,
         "cancel-waiting": 6, "cancel-running": 6, "stubborn-cancel": 1, "orphans": 4}
ON_TWO_NODES = {"plain", "long", "quiet", "fail", "cancel-waiting", "cancel-running"}  # some of them
HOG_MB = 2560  # more than the node's limit, which is that of its size
LIMIT = 4      # seconds, of the kinds with a timeout
MAIN = ("c1", "c2", "c3")
BRIEF = "brief"    # for jobs that are over at once, many at a time: nodes hold some in stock
SHARED = "shared"  # whose nodes run several jobs at a time
CHEAP = "cheap"    # of low priority: the others take its nodes
RUSH = "rush"      # what takes them, in waves
PYTHON = sys.executable


def plan(seed, index, long_form, cluster=None):
    """What the job does, as job.py takes it, and what the test does with it. Without a cluster: one
    that is always busy."""
    rng = Random(f"{seed}/{index}")
    if cluster == BRIEF:
        return {"index": index, "kind": "brief", "cluster": BRIEF, "gap": 0, "steps": 1, "lines": rng.randint(0, 2), "width": 20,
                "files": int(rng.random() < 0.05), "exit": rng.choice((0, 0, 0, 0, 0, 0, 0, rng.randint(1, 9)))}
    if cluster == RUSH:
        return {"index": index, "kind": "rush", "cluster": RUSH, "gap": 0.2, "steps": rng.randint(5, 15), "lines": 1, "width": 20}
    cluster = cluster or (SHARED if rng.random() < 0.07 else MAIN[index % len(MAIN)])
    kinds = dict(KINDS)
    if cluster == CHEAP:
        del kinds["long"]  # it would begin again and again
    elif long_form:
        kinds["long"] = 40  # most of what runs goes on through a cut of the link
    if not long_form:
        del kinds["stubborn-timeout"], kinds["stubborn-cancel"]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if cluster in MAIN:
        if long_form and index < 40:
            kind = "long"  # so that there is always something that runs through a long cut
        if index % 500 == 250 if long_form else index % 50 == 12 and index < 100:
            kind = "hog"
    seconds = rng.uniform(1, 14)
    if kind == "long":
        seconds = rng.uniform(40, 240) if long_form else rng.uniform(10, 25)
    if "cancel" in kind or "timeout" in kind:
        seconds = rng.uniform(60, 90)
    gap = rng.uniform(0.15, 0.5)
    does = {"index": index, "kind": kind, "cluster": cluster, "gap": round(gap, 3), "steps": max(1, int(seconds / gap)), "lines": rng.randint(1, 3),
            "width": rng.choice((1, 20, 80, 400)), "metrics": rng.choice((0, 0, 3, 8)), "files": rng.choice((0, 0, 0, 1, 3))}
    if kind in ON_TWO_NODES and rng.random() < (0.25 if cluster == CHEAP else 0.06):
        does |= {"nodes": 2}
    if kind == "chatty":
        does |= {"steps": 20, "gap": 0.05, "lines": 100, "width": 800}
    elif kind == "quiet":
        does |= {"lines": 0}
    elif kind == "fail":
        does |= {"exit": rng.randint(1, 125)}
        if "nodes" in does:  # one fails while the other is at work
            does |= {"exit_rank": rng.randrange(2), "exit_steps": does["steps"] // 2}
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
    if "timeout" in kind:
        does |= {"limit": LIMIT}
    return does


def command(does, notes, job_py):
    return f"exec {PYTHON} -I -S {job_py} '{json.dumps({**does, 'notes': str(notes)})}'"


def definition(does, workspace, notes, job_py):
    """The body that submits it."""
    properties = {"jobType": "Command", "command": command(does, notes, job_py), "environmentId": "azureml:host:1", "experimentName": "survival",
                  "computeId": f"{workspace}/computes/{does['cluster']}"}
    if "limit" in does:
        properties["limits"] = {"jobLimitsType": "Command", "timeout": f"PT{does['limit']}S"}
    if "nodes" in does:
        properties["resources"] = {"instanceCount": does["nodes"]}
    return {"properties": properties}


# What job.py prints as its line `number`, calls its file `number` and writes to that.

def line(does, attempt, rank, number):
    pad = (number * 7919 + does["index"]) % does["width"]
    return f"#{does['index']}.{attempt}.{rank} {number} {'x' * pad}"


def output(rank, number):
    return f"outputs/f{number}-{rank}.txt"


def content(job, attempt, rank, number):
    return f"{job} {attempt} {rank} {number}\n" * (10 + number)


TRIALS = 12  # of each sweep


def trial_plan(seed, index):
    """What each trial of a sweep does."""
    rng = Random(f"{seed}/sweep/{index}")
    return {"index": index, "kind": "trial", "cluster": MAIN[index % len(MAIN)], "gap": 0.2, "steps": rng.randint(2, 30), "lines": 2, "width": 40,
            "metrics": rng.choice((0, 2)), "files": 1}


def sweep_definition(does, workspace, notes, job_py):
    return {"properties": {
        "jobType": "Sweep", "experimentName": "survival", "computeId": f"{workspace}/computes/{does['cluster']}",
        "searchSpace": {"x": ["choice", [list(range(TRIALS))]]}, "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": TRIALS, "maxConcurrentTrials": 4},
        "objective": {"goal": "Maximize", "primaryMetric": "none"},
        "trial": {"command": command(does, notes, job_py) + " ${{search_space.x}}", "environmentId": "azureml:host:1"}}}
