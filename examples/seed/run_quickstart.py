"""Runs the tutorial's three snippets as they are and shows what comes of them. ./quickstart calls it:

    turnout exec -- python examples/seed/run_quickstart.py DOWNLOAD_FOLDER
"""
import logging
import os
import runpy
import sys
import threading
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)  # the SDK's remarks about its own experimental classes

here = Path(__file__).resolve().parent
begin = time.monotonic()
bold = "\033[1m{}\033[0m" if sys.stdout.isatty() else "{}"


def say(text):
    print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)


def title(text):
    print("\n" + bold.format(text), flush=True)


def word(value):
    """The wire's spelling of the SDK's enumerators."""
    return str(getattr(value, "value", value))


def watch(job_name, over):
    """Says each change of the job's status, and what it waits for, while the log streams."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    client = MLClient.from_config(credential=DefaultAzureCredential())
    last, since, last_doing = "submitted", time.monotonic(), ""
    while True:
        ended = over.is_set()
        job = client.jobs.get(job_name)
        status = word(job.status)
        if status != last:
            say(f"{last} -> {bold.format(status)}   after {time.monotonic() - since:.1f} s")
            last, since = status, time.monotonic()
        known = job.properties or {}
        doing = known.get("turnout.waiting_for") or known.get("turnout.detail") or ""
        if doing and doing != last_doing and status in ("Queued", "Preparing"):
            say(f"  {doing}")
        last_doing = doing
        if ended:
            return
        over.wait(0.5)


def show_instance(ml_client):
    """The tutorial's compute instance: JupyterLab for whoever types this. It is stopped again, for
    as long as it is on it holds one of the machine's slots; one that was there is left as it is."""
    before = {one.name: one for one in ml_client.compute.list()}
    say("the packages of JupyterLab come once")
    name = runpy.run_path(str(here / "create_instance.py"))["ci_basic_name"]
    instance = ml_client.compute.get(name)
    say(f"compute instance {bold.format(name)}: {word(instance.state)}, {instance.size}")
    if name in before:
        return
    for service in instance.services:
        print(f"    {service['displayName']:<12} {service['endpointUri']}")
    ml_client.compute.begin_stop(name).result()
    say(f"stopped again: turnout compute start {name} brings it back, and its address")


def main():
    downloads = Path(sys.argv[1] if len(sys.argv) > 1 else "downloads").resolve()
    os.chdir(here)  # the snippet says code="./src"

    title("examples/seed/create_cluster.py")
    scope = runpy.run_path(str(here / "create_cluster.py"))
    ml_client = scope["ml_client"]
    cluster = ml_client.compute.get(scope["cluster_basic"].name)
    say(
        f"cluster {bold.format(cluster.name)}: {word(cluster.provisioning_state)}, {cluster.size}, {cluster.tier}, "
        f"{cluster.min_instances} to {cluster.max_instances} nodes"
    )

    title("examples/seed/train_with_cluster.py")
    scope = runpy.run_path(str(here / "train_with_cluster.py"))
    job = scope["returned_job"]
    say(f"job {bold.format(job.name)} submitted to {job.compute}")

    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(job.name, over), daemon=True)
    watcher.start()
    failure = None
    try:
        ml_client.jobs.stream(job.name)
    except Exception as error:  # JobException and transport errors alike: shown below
        failure = error
    over.set()
    watcher.join(30)
    job = ml_client.jobs.get(job.name)

    title(f"job {job.name}: {word(job.status)}")
    for name, value in (job.properties or {}).items():
        if name.startswith("turnout.ledger."):  # each moment since the submission, booked to one cause
            print(f"    {name.removeprefix('turnout.ledger.'):<14} {float(value.split()[0]):8.3f} s")
    if failure is not None or word(job.status) != "Completed":
        print(failure or f"the job ended as {word(job.status)}", file=sys.stderr)
        return 1

    import mlflow

    run = mlflow.MlflowClient().get_run(job.name)
    title("metrics")
    for name, value in sorted(run.data.metrics.items()):
        print(f"    {name:<18} {value:.4g}")

    title("artifacts")
    target = downloads / job.name
    with open(os.devnull, "w") as nowhere:
        kept, sys.stdout = sys.stdout, nowhere
        try:
            ml_client.jobs.download(job.name, download_path=target, all=True)
        finally:
            sys.stdout = kept
    for path in sorted(p for p in target.rglob("*") if p.is_file()):
        print(f"    {path.stat().st_size:>9,} bytes  {path}")

    title("examples/seed/create_instance.py")
    show_instance(ml_client)

    title("studio")
    print(f"    {job.studio_url}")
    return 0


sys.exit(main())
