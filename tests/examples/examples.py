"""usage: ./test examples [PATH] [--only TEXT] [--ways unchanged,local] [--timeout SECONDS] [--keep FOLDER]

PATH is a checkout of Azure/azureml-examples. Every YAML file of `az ml` in it is validated; the
command and sweep jobs of cli/jobs run on a server of this build, in two ways. "unchanged": as they are;
the server fetches the public data that they name from a mirror on this machine (`turnout up
--fetch-mirror`), which serves files of the same form. "local": with what a machine without the internet
cannot have replaced: data by local files, and the few things that CHANGES below names. Prints the
tables, with what was replaced.

Fails if a validation crashes or hangs, or if fewer jobs complete than the goals below say (checked
when all were asked for). One job at a time: their environments are large.
"""
import argparse
import collections
import csv
import http.server
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TURNOUT = os.environ.get("TURNOUT", str(ROOT / "build" / "turnout"))
GOALS = {"unchanged": 20, "local": 33}
SCHEMA = re.compile(r"^\s*\$schema:\s*\S*/(\w+?)\.schema\.json", re.MULTILINE)
HEAVY = ("torch", "tensorflow", "deepspeed", "nebula", "spark", "dask")
# What the file describes, by the end of its schema's name, and the word of the command for it.
KINDS = [("Job", "job"), ("Component", "component"), ("OnlineEndpoint", "online-endpoint"), ("OnlineDeployment", "online-deployment"),
         ("batchEndpoint", "batch-endpoint"), ("BatchDeployment", "batch-deployment"), ("batchDeployment", "batch-deployment"),
         ("chedule", "schedule"), ("ompute", "compute"), ("omputeInstance", "compute"), ("nvironment", "environment"), ("asset", "data"), ("data", "data"), ("model", "model"),
         ("azureBlob", "datastore"), ("azureFile", "datastore"), ("azureDataLakeGen1", "datastore"), ("azureDataLakeGen2", "datastore"),
         ("orkspace", "workspace"), ("egistry", "registry"), ("onnection", "connection"), ("amlCompute", "compute")]
DATA = re.compile(r"(?:https?|wasbs?)://[^\s\"'\\\\]+")
# What the local way changes besides data: of which example, in which file of its folder, what, into
# what, and why. DATA is the folder of the local data.
MNIST = '(lambda d: ((d["x_train"], d["y_train"]), (d["x_test"], d["y_test"])))(__import__("numpy").load("DATA/mnist.npz"))'
CHANGES = [
    ("single-step/on-behalf-of/", "environment/conda.yml", "python=3.8.12", "python=3.8", "any patch of Python 3.8"),
    ("single-step/pytorch/iris/", "src/requirements.txt", "\nmlflow\n", "\nmlflow<3\n", "mlflow 2: a newer one saves no PyTorch model without an example of its input"),
    ("single-step/tensorflow/mnist/", "src/train.py", "mnist.load_data()", MNIST, "MNIST"),
    ("single-step/tensorflow/mnist-distributed/", "src/train.py", "tf.keras.datasets.mnist.load_data()", MNIST, "MNIST"),
    ("single-step/tensorflow/mnist-distributed/", "job.yml", "  python train.py", "  pip install tf-keras && TF_USE_LEGACY_KERAS=1 python train.py",
     "Keras 2: a newer one does not train with several workers"),
]


def kind_of(path, text):
    found = SCHEMA.search(text)
    if found is None:
        return None, None
    schema = found.group(1)
    for end, kind in KINDS:
        if schema.endswith(end) or schema.startswith(end):
            return schema, kind
    return schema, None


class Server:
    def __init__(self, data):
        self.data = data
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("TURNOUT_", "MLFLOW_", "AZUREML_", "IDENTITY_", "ARM_CLOUD"))}
        self.env["TURNOUT_UV"] = str(Path(sys.executable).parent / "uv")
        self.env["TURNOUT_DATA"] = str(data)

    def run(self, *words, cwd=None, timeout=120, check=False):
        done = subprocess.run([TURNOUT, *map(str, words)], cwd=cwd, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=timeout)
        if check and done.returncode != 0:
            sys.exit(f"turnout {' '.join(map(str, words))}: {done.stderr}")
        return done


def validate(server, files):
    """Rows of EXAMPLES' first table: (schema) -> accepted, refused, not there yet; and the reasons."""
    rows, reasons, broken = collections.defaultdict(collections.Counter), collections.Counter(), []
    for path in files:
        schema, kind = kind_of(path, path.read_text(errors="replace"))
        if schema is None or kind is None:
            continue
        try:
            done = server.run(kind, "validate", "-f", path, cwd=path.parent, timeout=20)
        except subprocess.TimeoutExpired:
            broken.append(f"{path}: validate hangs")
            continue
        if done.returncode not in (0, 2):
            broken.append(f"{path}: validate ends with {done.returncode}: {done.stderr.strip()[:200]}")
        absent = "is not there yet" in done.stderr
        rows[schema]["accepted" if done.returncode == 0 else "not there yet" if absent else "refused"] += 1
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["(no reason)"]
            reasons[re.sub(r"^error: \S+:\d+:\d+: ", "", lines[0])[:140]] += 1
    return rows, reasons, broken


def print_table(head, rows):
    rows = [head] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


def job_files(checkout):
    """Command and sweep jobs, those without heavy environments first. An empty
    file among the deepspeed ones is none."""
    found = []
    for path in (one for end in ("*.yml", "*.yaml") for one in (checkout / "cli" / "jobs").rglob(end)):
        text = path.read_text(errors="replace")
        schema, _ = kind_of(path, text)
        plain = schema is None and re.search(r"^command:", text, re.MULTILINE) and re.search(r"^environment:", text, re.MULTILINE)
        if schema in ("commandJob", "sweepJob") or plain:
            found.append(path)
    return sorted(found, key=lambda path: (any(word in str(path) for word in HEAVY), str(path)))


def local_data(folder):
    """Files of the same form as those that the jobs name on the internet."""
    folder.mkdir()
    chance = random.Random(1)
    with open(folder / "iris.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["sepal_length", "sepal_width", "petal_length", "petal_width", "species"])
        for species, middle in (("setosa", (5.0, 3.4, 1.5, 0.2)), ("versicolor", (5.9, 2.8, 4.3, 1.3)), ("virginica", (6.6, 3.0, 5.6, 2.0))):
            for _ in range(50):
                writer.writerow([*(f"{value + chance.gauss(0, 0.2):.1f}" for value in middle), species])
    with open(folder / "diabetes.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "target"])
        for _ in range(442):
            row = [chance.gauss(0, 0.05) for _ in range(10)]
            writer.writerow([f"{value:.5f}" for value in row] + [f"{150 + 900 * row[2] + chance.gauss(0, 30):.0f}"])
    taxi_data(folder, chance)
    made_by(f"""
import numpy as np
chance = np.random.default_rng(1)
images = lambda n: chance.integers(0, 255, (n, 28, 28), dtype=np.uint8)
labels = lambda n: chance.integers(0, 9, n, dtype=np.uint8)
np.savez({str(folder / "mnist.npz")!r}, x_train=images(6000), y_train=labels(6000), x_test=images(1000), y_test=labels(1000))
""", "numpy")
    return folder


def made_by(code, package):
    """Runs Python with a package of its own."""
    done = subprocess.run([Path(sys.executable).parent / "uv", "run", "--no-project", "--with", package, "python", "-c", code],
                          capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"local data cannot be made: {done.stderr[-500:]}")


def taxi_data(folder, chance):
    """New York's taxis as CSV and as Parquet, each with the columns that its example reads."""
    (folder / "nyctaxi").mkdir()
    with open(folder / "nyctaxi" / "yellow_tripdata_2015-01.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow("VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance pickup_longitude pickup_latitude RatecodeID "
                        "store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type fare_amount extra mta_tax tip_amount tolls_amount total_amount".split())
        for i in range(5000):
            there = [f"{-74 + chance.random() / 10:.5f}", f"{40.7 + chance.random() / 10:.5f}"]
            writer.writerow([1 + i % 2, f"2015-01-{1 + i % 28:02} 08:00:00", f"2015-01-{1 + i % 28:02} 08:{i % 60:02}:00", 1 + i % 4, f"{chance.random() * 9:.2f}",
                             *there, 1, "N", *there, 1, f"{5 + chance.random() * 20:.2f}", 0.5, 0.5, f"{chance.random() * 5:.2f}", 0, f"{10 + chance.random() * 20:.2f}"])
    (folder / "yellow").mkdir()
    made_by(f"""
import datetime, pyarrow as pa, pyarrow.parquet as pq
n = 5000
at = [datetime.datetime(2015, 1, 1 + i % 28, 8, i % 60) for i in range(n)]
numbers = lambda least: pa.array([least + i % 10 / 100 for i in range(n)])
pq.write_table(pa.table({{"vendorID": pa.array(["1"] * n), "tpepPickupDateTime": pa.array(at, pa.timestamp("us")), "tpepDropoffDateTime": pa.array(at, pa.timestamp("us")),
    "passengerCount": pa.array([1 + i % 4 for i in range(n)], pa.int32()), "tripDistance": numbers(1.0), "startLon": numbers(-74.0), "startLat": numbers(40.7), "endLon": numbers(-74.0),
    "endLat": numbers(40.7), "rateCodeId": pa.array([1] * n, pa.int32()), "storeAndFwdFlag": pa.array(["N"] * n), "paymentType": pa.array(["1"] * n), "fareAmount": numbers(9.0),
    "tipAmount": numbers(1.0), "totalAmount": numbers(12.0)}}), {str(folder / "yellow" / "part-0.parquet")!r})
""", "pyarrow")


class Mirror:
    """The public storage accounts that the examples read, as far as blob storage is needed for that:
    files, and the listing of a container."""

    def __init__(self, data):
        self.containers = {"/azuremlexamples/datasets": data, "/azureopendatastorage/nyctlc": data}
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                place = urllib.parse.urlsplit(self.path)
                status, body, etag = mirror.answer(urllib.parse.unquote(place.path), dict(urllib.parse.parse_qsl(place.query)))
                self.send_response(status)
                if etag:
                    self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.options = [word for account in ("azuremlexamples", "azureopendatastorage") for word in
                        ("--fetch-mirror", f"https://{account}.blob.core.windows.net=http://127.0.0.1:{self.server.server_address[1]}/{account}")]

    def answer(self, path, query):
        container = next((one for one in self.containers if path == one or path.startswith(one + "/")), None)
        if container is None:
            return 404, b"", None
        folder = self.containers[container]
        if query.get("comp") == "list":
            names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
            blobs = "".join(f"<Blob><Name>{name}</Name><Properties><Content-Length>{(folder / name).stat().st_size}</Content-Length></Properties></Blob>"
                            for name in names if name.startswith(query.get("prefix", "")))
            return 200, f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>".encode(), None
        file = folder / path[len(container) + 1:]
        if not file.is_file():
            return 404, b"", None
        return 200, file.read_bytes(), f'"{file.stat().st_mtime_ns:x}"'


class Local:
    """A copy of an example's folder, beside it, in which what this machine cannot have is replaced; what
    was is in `changes`, or `missing` says why it cannot be."""

    def __init__(self, path, data):
        self.folder = path.parent.with_name(path.parent.name + ".local")
        self.file = self.folder / path.name
        self.data, self.changes, self.missing = data, [], []
        shutil.copytree(path.parent, self.folder, symlinks=True)
        for file in sorted(self.folder.rglob("*")):
            if file.suffix in (".yml", ".yaml", ".py", ".ipynb") and file.is_file() and not file.is_symlink():
                if file.suffix in (".py", ".ipynb") or file == self.file:
                    self.replace_data(file)
        for of, name, old, new, why in CHANGES:
            file = self.folder / name
            if of in str(path) and file.is_file() and old in file.read_text():
                file.write_text(file.read_text().replace(old, new.replace("DATA", str(data))))
                self.changes.append(why)
        self.replace_dockerfile()

    def replace_data(self, file):
        lines = file.read_text(errors="replace").splitlines(keepends=True)
        local = [line if line.lstrip().startswith("$schema:") else DATA.sub(lambda found: self.here(found.group(0), file == self.file and line.lstrip().startswith("path:")), line)
                 for line in lines]
        if local != lines:
            file.write_text("".join(local))
            if "data" not in self.changes:
                self.changes.append("data")

    def here(self, url, needed):
        name = url.rstrip("/").rsplit("/", 1)[-1]
        local = self.data if name.startswith("datasets@") else self.data / name
        if local.exists():
            return str(local)
        if needed:
            self.missing.append(url)
        return url

    def replace_dockerfile(self):
        """A Dockerfile that takes a Python and installs a list of packages is a conda file."""
        text = self.file.read_text(errors="replace")
        found = re.search(r"^environment:\n  build:\n    path: *(\S+)\n", text, re.MULTILINE)
        docker = self.folder / found.group(1) / "Dockerfile" if found else None
        if docker is None or not docker.is_file():
            return
        lines = [line for line in docker.read_text().splitlines() if line.strip() and not line.startswith("#")]
        python = re.fullmatch(r"FROM python:(\d\.\d+)", lines[0])
        if not python or not all(line.startswith(("COPY requirements.txt", "RUN pip install -r requirements.txt", "CMD ")) for line in lines[1:]):
            return
        packages = [line.strip() for line in (docker.parent / "requirements.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]
        (self.folder / "conda.made.yml").write_text(yaml.safe_dump({"dependencies": [f"python={python.group(1)}", "pip", {"pip": packages}]}))
        self.file.write_text(text.replace(found.group(0), f"environment:\n  image: python:{python.group(1)}\n  conda_file: conda.made.yml\n"))
        self.changes.append("its Dockerfile as a conda file")

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(server, checkout, jobs, work):
    """Clusters and assets that the jobs name, as the examples' own scripts make them."""
    names = set()
    for path in jobs:
        for found in re.finditer(r"^\s*compute:\s*(?:azureml:)?([a-zA-Z][a-zA-Z0-9-]+)\s*(?:#.*)?$", path.read_text(errors="replace"), re.MULTILINE):
            names.add(found.group(1))
    for name in sorted(names - {"local", "serverless"}):
        server.run("compute", "create", "-n", name, "--type", "amlcompute", "--max-instances", "4", check=True)
    samples = checkout / "cli/assets/data/sample-data"
    for name in ("sampledata", "local-folder-example"):
        server.run("data", "create", "-n", name, "--type", "uri_folder", "--path", samples, check=True)
    # Into the place in the datastore that the jobs name: by a job that writes there.
    seed = work / "seed.yml"
    seed.write_text(yaml.safe_dump({
        "command": "cp ${{inputs.x}}/* ${{outputs.y}}/", "environment": {"image": "python:3"},
        "inputs": {"x": {"type": "uri_folder", "path": str(checkout / "cli/assets/data/example-data")}},
        "outputs": {"y": {"type": "uri_folder", "path": "azureml://datastores/workspaceblobstore/paths/example-data/"}}}))
    done = server.run("job", "create", "-f", seed, "--stream", timeout=600)
    if done.returncode != 0:
        sys.exit(f"the examples' data cannot be placed: {done.stdout[-500:]}{done.stderr[-500:]}")


def run_job(server, path, timeout):
    """(status, first line of the reason)"""
    name = f"ex_{os.getpid()}_{time.monotonic_ns()}"
    try:
        done = server.run("job", "create", "-f", path, "-n", name, cwd=path.parent, timeout=300)
    except subprocess.TimeoutExpired:
        return "refused", "job create did not answer within 300 s"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [""]
        return "refused", re.sub(r"^error: ", "", next((line for line in lines if line.startswith("error: ")), lines[-1]))[:150]
    deadline = time.monotonic() + timeout
    while True:
        shown = server.run("job", "show", "-n", name, "-o", "json")
        job = json.loads(shown.stdout) if shown.returncode == 0 else {}
        status = job.get("status", "?")
        if status in ("Completed", "Failed", "Canceled"):
            break
        if time.monotonic() > deadline:
            server.run("job", "cancel", "-n", name)
            return "too long", f"was {status} after {timeout:g} s"
        time.sleep(1)
    error = job.get("error") or {}
    message = error.get("message", "") if isinstance(error, dict) else str(error)
    return status, "" if status == "Completed" else (message.strip().splitlines() or [str(job.get("cause", ""))])[0][:150]


def main():
    parser = argparse.ArgumentParser(prog="./test examples")
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--only", default="", help="only job files whose path has this text, or one of these with commas")
    parser.add_argument("--ways", default="unchanged,local")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one job")
    parser.add_argument("--keep", type=Path, help="a data folder that stays, with its environments")
    parser.add_argument("--no-validate", action="store_true")
    parser.add_argument("--notes", type=Path)
    args = parser.parse_args()

    def note(result, name, reason=""):
        if args.notes:
            with open(args.notes, "a") as out:
                out.write(f"{result}\t{name}\t{reason}\n")
        else:
            print(f"{result}: {name} {reason}")

    if args.path is None:
        print("skipped: give the path of a checkout of github.com/Azure/azureml-examples: ./test examples PATH")
        note("passed", "public examples: skipped, no checkout was given")
        return 0
    checkout = args.path.resolve()
    if not (checkout / "cli" / "jobs").is_dir():
        note("failed", "public examples", f"{checkout} is no checkout of azureml-examples: there is no cli/jobs")
        return 1
    work = Path(tempfile.mkdtemp(prefix="examples."))
    # Jobs write beside their files (caches, notebooks): not into what was given.
    copy = work / "checkout"
    shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    server = Server((args.keep or work / "data").resolve())
    failed = False
    if not args.no_validate:
        rows, reasons, broken = validate(server, sorted(copy.rglob("*.yml")) + sorted(copy.rglob("*.yaml")))
        columns = ["accepted", "refused", "not there yet"]
        print_table(["schema", *columns], [[schema, *(rows[schema][column] for column in columns)] for schema in sorted(rows)]
                    + [["all", *(sum(row[column] for row in rows.values()) for column in columns)]])
        print_table(["files", "first reason"], [[count, reason] for reason, count in reasons.most_common()])
        note("failed" if broken else "passed", "public examples: validate", "; ".join(broken)[:500])
        failed = bool(broken)
    jobs = [path for path in job_files(copy) if any(text in str(path.relative_to(copy)) for text in args.only.split(","))]
    try:
        data = local_data(work / "local-data")
        server.run("up", "--detach", "--listen", "127.0.0.1:0", "--slots", "4", *Mirror(data).options, check=True)
        prepare(server, copy, jobs, work)
        ways = args.ways.split(",")
        results, changes = {}, {}
        for path in jobs:
            shown = path.relative_to(copy)
            local = Local(path, data)
            changes[shown] = ", ".join(local.changes)
            for way in ways:
                if not local.changes and not local.missing and (shown, ways[0]) in results:
                    results[shown, way] = results[shown, ways[0]]
                elif way == "local" and local.missing:
                    results[shown, way] = ("not run", f"no local form of {local.missing[0]}")
                else:
                    results[shown, way] = run_job(server, local.file if way == "local" else path, args.timeout)
                print(f"{shown}  {way}: {' '.join(results[shown, way])}", flush=True)
            local.remove()
        print()
        for way in ways:
            print_table(["job file", way, "reason" if way == "unchanged" else "what is local, or the reason"],
                        [[shown, results[shown, way][0], results[shown, way][1] or (changes[shown] if way == "local" else "")]
                         for shown in (path.relative_to(copy) for path in jobs)])
        for way in ways:
            completed = sum(1 for (_, of), result in results.items() if of == way and result[0] == "Completed")
            enough = args.only != "" or completed >= GOALS[way]
            goal = "no goal for a part of them" if args.only else f"the goal is {GOALS[way]}"
            print(f"{way}: {completed} of {len(jobs)} completed ({goal})")
            note("passed" if enough else "failed", f"public examples: {way}", f"{completed} of {len(jobs)} completed, {goal}")
            failed = failed or not enough
    finally:
        server.run("down", "--all")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
