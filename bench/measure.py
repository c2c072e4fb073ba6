"""The figures of bench/run, each with what it is compared with."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import peers
import plot
import readme
import runtime
from harness import ROOT, Connection, Server, baseline, cpu_seconds, free_port, machine, median, megabytes, processes_with, pss_mib, quantile

MLFLOW = ROOT / "build" / "bench-venv" / "bin" / "mlflow"


def milliseconds(*arguments):
    return [one / 1000 for one in baseline(*arguments)]


class LogReader:
    """Long polls of a log: `next()` gives the bytes that came since the last one."""

    def __init__(self, server, url):
        place = urllib.parse.urlsplit(url)
        self.connection = Connection(f"{place.scheme}://{place.netloc}", server.cafile)
        self.path = place.path + "?" + place.query
        self.offset = 0

    def next(self):
        joint = "" if self.path.endswith("?") else "&"
        status, body = self.connection.call("GET", f"{self.path}{joint}offset={self.offset}&wait=20")
        if status not in (200, 204, 206):
            raise SystemExit(f"log: {status} {body[:200]}")
        self.offset += len(body)
        return body


def figure_submit(rounds=5, jobs=20):
    """PUT sent -> first log line read by a long poll, on a warm node."""
    server = Server().start()
    try:
        server.host_environment()
        server.cluster("warm")
        connection = server.connect()
        for number in range(3):
            server.put_job(connection, f"warmup-{number}", "echo hello", "warm")
            server.wait_job(connection, f"warmup-{number}")
        ours, acknowledged, spawns, syncs = [], [], [], []
        for round_number in range(rounds):
            spawns += milliseconds("spawn", jobs)
            syncs += milliseconds("fdatasync", jobs, server.folder / "sync")
            for number in range(jobs):
                name = f"echo-{round_number}-{number}"
                begin = time.perf_counter()
                server.put_job(connection, name, "echo hello", "warm")
                acknowledged.append((time.perf_counter() - begin) * 1000)
                reader = LogReader(server, server.log_url(connection, name))
                text = b""
                while b"hello" not in text:
                    text += reader.next()
                ours.append((time.perf_counter() - begin) * 1000)
                reader.connection.close()
                server.wait_job(connection, name)
        return {
            "name": "submit of `echo` -> first log line by a long poll, warm node", "target": "p50 <= 20 ms",
            "value": f"p50 {median(ours):.1f} ms, p90 {quantile(ours, 0.9):.1f} ms (PUT acknowledged: p50 {median(acknowledged):.1f} ms)",
            "beside": f"posix_spawn of echo to its first byte p50 {median(spawns):.2f} ms; append + fdatasync p50 {median(syncs):.2f} ms",
            "met": median(ours) <= 20, "raw": {"p50_ms": median(ours), "p90_ms": quantile(ours, 0.9), "put_p50_ms": median(acknowledged),
                                              "spawn_p50_ms": median(spawns), "fdatasync_p50_ms": median(syncs), "samples": len(ours)},
        }
    finally:
        server.remove()


def figure_log(rounds=3, seconds=8):
    """A line's time stamp, written by the job -> the same line read through the API."""
    server = Server().start()
    try:
        server.host_environment()
        server.cluster("warm")
        connection = server.connect()
        command = (f"python3 -u -c 'import time\nend = time.time() + {seconds}\n"
                   "while time.time() < end:\n    print(\"at\", time.time(), flush=True); time.sleep(0.01)\n'")
        delays = []
        for number in range(rounds):
            name = f"lines-{number}"
            server.put_job(connection, name, command, "warm")
            reader = LogReader(server, server.log_url(connection, name))
            rest, lines, quiet = b"", 0, time.time() + seconds + 30
            while lines < seconds * 60 and time.time() < quiet:
                piece = reader.next()
                now = time.time()
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line.startswith(b"at "):
                        delays.append((now - float(line.split()[1])) * 1000)
                        lines += 1
                if not piece and server.job(connection, name)["status"] in ("Completed", "Failed"):
                    break
            reader.connection.close()
            server.wait_job(connection, name)
        return {
            "name": "log line written -> readable through the API", "target": "p99 <= 200 ms",
            "value": f"p50 {median(delays):.1f} ms, p99 {quantile(delays, 0.99):.1f} ms over {len(delays):,} lines", "beside": "",
            "met": quantile(delays, 0.99) <= 200, "raw": {"p50_ms": median(delays), "p99_ms": quantile(delays, 0.99), "lines": len(delays)},
        }
    finally:
        server.remove()


def first_answer(origin, path, headers, cafile, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = Connection(origin, cafile)
            status, _ = connection.call("GET", path, headers=headers)
            connection.close()
            if status == 200:
                return
        except OSError:
            pass
        except Exception as error:  # a connection that closed half-way while the server starts
            if "Remote" not in type(error).__name__ and "BadStatus" not in type(error).__name__:
                raise
        if time.monotonic() > deadline:
            raise SystemExit(f"{origin} did not answer in {seconds} s")
        time.sleep(0.002)


def with_jobs(server, count):
    """A store with that many ended jobs."""
    server.host_environment()
    server.cluster("many", 2)
    connection = server.connect()
    for number in range(count):
        server.put_job(connection, f"many-{number:04}", "true", "many")
    for number in range(count):
        server.wait_job(connection, f"many-{number:04}", 600)
    connection.close()


def mlflow_folder(count):
    """MLflow's store with that many ended runs, made by its own client."""
    if not MLFLOW.exists():
        return None
    folder = Path(tempfile.mkdtemp(prefix="mlflow-bench-"))
    script = (f"import mlflow\nfrom mlflow.entities import RunStatus\nmlflow.set_tracking_uri('sqlite:///{folder}/store.db')\n"
              f"client = mlflow.MlflowClient()\n"
              f"for n in range({count}):\n    client.set_terminated(client.create_run('0').info.run_id)\n")
    done = subprocess.run([str(MLFLOW.parent / "python"), "-c", script], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return folder


def time_mlflow(folder):
    port = free_port()
    begin = time.perf_counter()
    process = subprocess.Popen([str(MLFLOW), "server", "--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination",
                                str(folder), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        first_answer(f"http://127.0.0.1:{port}", "/api/2.0/mlflow/experiments/get?experiment_id=0", {}, None)
        return (time.perf_counter() - begin) * 1000
    finally:
        os.killpg(process.pid, 15)  # the group that was just started
        process.wait(30)


def figure_start(rounds=7, jobs=1000):
    server = Server().start()
    folder = None
    try:
        with_jobs(server, jobs)
        folder = mlflow_folder(jobs)
        ours, theirs = [], []
        for number in range(rounds):
            server.run("down", "--all")
            server.process.wait(60)
            begin = time.perf_counter()
            server.spawn()
            first_answer(server.origin, f"{server.ws}/jobs/many-0001?api-version=2024-01-01-preview", server.headers, server.cafile)
            ours.append((time.perf_counter() - begin) * 1000)
            if folder and number < 3:
                theirs.append(time_mlflow(folder))
        return {
            "name": f"`turnout up` -> first authenticated GET, store with {jobs:,} jobs", "target": "<= 150 ms",
            "value": f"median {median(ours):.0f} ms (from exec)", "met": median(ours) <= 150,
            "beside": f"`mlflow server`, SQLite with {jobs:,} runs: median {median(theirs):,.0f} ms" if theirs else "mlflow server: not installed",
            "raw": {"median_ms": median(ours), "all_ms": ours, "mlflow_ms": theirs},
        }
    finally:
        server.remove()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def figure_memory(idle=60):
    """PSS of the processes after a minute without work, with the tutorial's job in the store."""
    server = Server().start()
    try:
        server.cluster("cpu-cluster", 1)
        work = server.folder / "seed"
        shutil.copytree(ROOT / "examples" / "seed" / "src", work / "src")
        (work / "job.yml").write_text(
            "command: python diabetes-training.py\ncode: ./src\ncompute: azureml:cpu-cluster\nexperiment_name: diabetes-training\n"
            "environment: azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest\n")
        done = server.run("job", "create", "-f", work / "job.yml", "--stream", check=False)
        if done.returncode != 0:
            raise SystemExit(f"the tutorial's job failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        time.sleep(idle)
        parts = {"server": pss_mib(server.process.pid), "agent": 0.0, "supervisor": 0.0}
        for pid, command in processes_with(str(server.data)):
            if pid == server.process.pid:
                continue
            name = "supervisor" if "supervisor" in command.split()[0] else "agent" if "agent" in command.split()[0] else None
            if name:
                parts[name] += pss_mib(pid)
        mb = {name: megabytes(mebibytes) for name, mebibytes in parts.items()}
        return {
            "name": f"memory (PSS) after {idle} s idle, the quickstart's data, server and one agent",
            "target": "server <= 40 MB; agent and supervisor <= 10 MB",
            "value": f"server {mb['server']:.1f} MB, agent {mb['agent']:.1f} MB, its supervisor {mb['supervisor']:.2f} MB",
            "beside": "", "met": mb["server"] <= 40 and 0 < mb["agent"] + mb["supervisor"] <= 10, "raw": parts,
        }
    finally:
        server.remove()


PACKAGES = ["numpy", "pandas", "scipy", "matplotlib", "scikit-learn", "mlflow-skinny<3", "requests", "pyyaml"]
IMPORTS = "import numpy, pandas, scipy.stats, matplotlib.pyplot, sklearn.ensemble, mlflow, requests, yaml"


def figure_environment(rounds=3, timeout=600):
    """A conda file with one package more than one that is there: until the training code has its imports."""
    server = Server().start()
    uv = os.environ["TURNOUT_UV"]  # the same for both
    try:
        server.cluster("warm")
        conda = server.folder / "conda.yml"
        more = ["six", "colorama", "tabulate", "wrapt"]

        def job(packages):
            conda.write_text("dependencies:\n  - pip\n  - pip:\n" + "".join(f"      - {package}\n" for package in packages))
            (server.folder / "job.yml").write_text(
                f"command: python -c \"{IMPORTS}; print('imported')\"\ncompute: azureml:warm\nexperiment_name: bench\n"
                "environment: {image: 'debian:12', conda_file: ./conda.yml}\n")
            begin = time.perf_counter()
            done = server.run("job", "create", "-f", server.folder / "job.yml", "--stream", check=False)
            if done.returncode != 0 or "imported" not in done.stdout:
                raise SystemExit(f"the job failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            return time.perf_counter() - begin

        def by_hand(packages, number):
            python = str(server.folder / f"venv-{number}" / "bin" / "python")
            surroundings = dict(os.environ)
            if cert := os.environ.get("PIP_CERT"):  # uv does not read pip's configuration
                surroundings.setdefault("SSL_CERT_FILE", cert)
            begin = time.perf_counter()
            subprocess.run([uv, "venv", "-q", str(server.folder / f"venv-{number}")], check=True, env=surroundings)
            subprocess.run([uv, "pip", "install", "-q", "--python", python, "pip", "setuptools", "wheel", *packages], check=True, env=surroundings)
            subprocess.run([python, "-c", IMPORTS], check=True)
            return time.perf_counter() - begin

        first = job(PACKAGES)
        deadline = time.monotonic() + timeout
        while any("compileall" in command for _, command in processes_with(str(server.data))):  # at idle priority
            if time.monotonic() > deadline:
                raise SystemExit("the bytecode of the first environment was not compiled in time")
            time.sleep(0.5)
        ours, theirs = [], []
        for number in range(rounds):
            packages = PACKAGES + more[: number + 1]
            if number % 2 == 0:
                ours.append(job(packages))
            theirs.append(by_hand(packages, number))
            if number % 2:
                ours.append(job(packages))
        again = job(PACKAGES)
        return {
            "name": f"one package more in a conda file of {len(PACKAGES)}: submit -> training code has its imports",
            "target": "<= 12 s",
            "value": f"median {median(ours):.1f} s (the first of its kind {first:.1f} s, unchanged {again:.1f} s)",
            "beside": f"`uv venv && uv pip install` and the imports, from the same cache: {median(theirs):.1f} s",
            "met": median(ours) <= 12, "raw": {"ours_s": ours, "uv_s": theirs, "first_s": first, "unchanged_s": again},
        }
    finally:
        server.remove()


def make_tree(folder, count, mark):
    for number in range(count):
        place = folder / f"d{number % 100:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number:05}.py").write_text(f"# {mark} {number}\n" + "x = 1\n" * 100)


def figure_snapshot(rounds=3, files=10_000):
    server = Server().start()
    daemon = None
    try:
        server.host_environment()
        server.cluster("warm")
        folder = server.folder
        port = free_port()
        (folder / "module").mkdir()
        (folder / "rsyncd.conf").write_text(
            f"pid file = {folder}/rsyncd.pid\nuse chroot = no\n[bench]\n    path = {folder}/module\n    read only = no\n    uid = {os.getuid()}\n    gid = {os.getgid()}\n")
        daemon = subprocess.Popen(["rsync", "--daemon", "--no-detach", f"--config={folder}/rsyncd.conf", f"--port={port}", "--address=127.0.0.1"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        first, again, their_first, their_again = [], [], [], []
        for number in range(rounds):
            tree = folder / f"tree-{number}"
            make_tree(tree, files, f"round {number} {time.time_ns()}")
            (folder / "job.yml").write_text(f"command: 'true'\ncode: ./tree-{number}\ncompute: azureml:warm\nexperiment_name: bench\n"
                                            "environment: azureml:host:1\n")

            def submit():
                begin = time.perf_counter()
                server.run("job", "create", "-f", folder / "job.yml", "-o", "none", check=True)
                return time.perf_counter() - begin

            def sync():
                begin = time.perf_counter()
                subprocess.run(["rsync", "-a", "--fsync", f"{tree}/", f"rsync://127.0.0.1:{port}/bench/{number}/"], check=True,
                               stdin=subprocess.DEVNULL)
                return time.perf_counter() - begin

            for ours_first in ((True, False) if number % 2 == 0 else (False, True)):
                if ours_first:
                    first.append(submit())
                    again.append(submit())
                else:
                    their_first.append(sync())
                    their_again.append(sync())
        return {
            "name": f"snapshot of {files:,} small files by the CLI, with the job's submission",
            "target": "no slower than rsync -a --fsync; unchanged <= 0.3 s",
            "value": f"first {median(first):.2f} s; unchanged again {median(again):.2f} s",
            "beside": f"rsync -a --fsync to a daemon: first {median(their_first):.2f} s; unchanged {median(their_again):.2f} s",
            "met": median(first) <= median(their_first) and median(again) <= 0.3,
            "raw": {"first_s": first, "again_s": again, "rsync_first_s": their_first, "rsync_again_s": their_again},
        }
    finally:
        if daemon:
            daemon.terminate()
            daemon.wait(10)
        server.remove()


def random_file(path, size):
    """No zeros and no repetition: nothing on the way can make it less. On the disk before it is used."""
    with open("/dev/urandom", "rb") as source, open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(source.read(1 << 20))
        file.flush()
        os.fsync(file.fileno())


def figure_input(size=2 << 30):
    """A file of 2 GB as a job's input: from `job create` to the command's first word, and again."""
    size //= runtime.Scale.share
    server = Server().start()
    try:
        server.host_environment()
        server.cluster("warm")
        connection = server.connect()
        data = server.folder / "data.bin"
        random_file(data, size)
        copies, summed = [], []
        for _ in range(2):
            begin = time.perf_counter()
            subprocess.run(["sh", "-c", f"cp {data} {server.folder}/copy && sync {server.folder}/copy"], check=True)
            copies.append(time.perf_counter() - begin)
            (server.folder / "copy").unlink()
            begin = time.perf_counter()
            subprocess.run(["sha256sum", str(data)], check=True, stdout=subprocess.DEVNULL)
            summed.append(time.perf_counter() - begin)
        (server.folder / "job.yml").write_text(
            "command: 'true'\ncompute: azureml:warm\nexperiment_name: bench\nenvironment: azureml:host:1\n"
            "inputs:\n  data:\n    type: uri_file\n    path: ./data.bin\n")
        created, inputs = [], []
        for number in range(3):
            name = f"input-{number}"
            begin = time.perf_counter()
            server.run("job", "create", "-f", server.folder / "job.yml", "-n", name, "--set", "command=test -s ${{inputs.data}}", "-o", "none", check=True)
            created.append(time.perf_counter() - begin)
            server.wait_job(connection, name)
            _, ledger = connection.call("GET", f"{server.ws}/jobs/{name}/ledger?api-version=2024-01-01-preview", headers=server.headers)
            inputs.append(json.loads(ledger)["micros"]["inputs"] / 1e6)
        return {
            "name": f"an input of {size / 1e9:.1f} GB on the server's own machine: `job create`, and the node's part of it",
            "target": "upload no slower than 2 x cp and sync; the node <= 1 s; the second job <= 1 s in all",
            "value": f"first: create {created[0]:.2f} s, node {inputs[0]:.2f} s; second: create {created[1]:.2f} s, node {inputs[1]:.2f} s",
            "beside": f"cp and sync of the same bytes {median(copies):.2f} s; sha256sum {median(summed):.2f} s",
            "met": created[0] <= 2 * median(copies) and inputs[0] <= 1 and created[1] + inputs[1] <= 1,
            "raw": {"create_s": created, "inputs_s": inputs, "cp_sync_s": copies, "sha256sum_s": summed, "bytes": size},
        }
    finally:
        server.remove()


def wrk(url, headers, seconds):
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    return int(next(line.split()[0] for line in done.stdout.splitlines() if "requests in" in line))


def figure_get(rounds=5, seconds=4):
    server = Server().start()
    nginx = None
    try:
        server.host_environment()
        server.cluster("warm")
        connection = server.connect()
        server.put_job(connection, "read-me", "echo hello", "warm")
        server.wait_job(connection, "read-me")
        path = f"{server.ws}/jobs/read-me?api-version=2024-01-01-preview"
        _, body = connection.call("GET", path, headers=server.headers)
        folder = server.folder / "nginx"
        (folder / "root").mkdir(parents=True)
        (folder / "root" / "body.json").write_bytes(body)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
                       check=True, capture_output=True)
        port = free_port()
        (folder / "nginx.conf").write_text(f"""
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/json;
    sendfile on; open_file_cache max=16 inactive=1h;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; root {folder}/root; }}
}}
""")
        nginx = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        ours, theirs = [], []
        for _ in range(rounds):
            for pid, url, headers, rates in (
                (server.process.pid, server.origin + path, {"Authorization": server.headers["Authorization"]}, ours),
                (nginx.pid, f"https://127.0.0.1:{port}/body.json", {}, theirs),
            ):
                before = cpu_seconds(pid)
                count = wrk(url, headers, seconds)
                rates.append(count / (cpu_seconds(pid) - before))
        ratio = median([a / b for a, b in zip(ours, theirs)])
        return {
            "name": f"ARM GET of a job ({len(body):,} bytes) over TLS keep-alive, per server CPU second", "target": ">= 0.5 of nginx",
            "value": f"{median(ours):,.0f} requests per CPU second = {ratio:.2f} of nginx",
            "beside": f"nginx, a static file of that size: {median(theirs):,.0f}", "met": ratio >= 0.5,
            "raw": {"ours": ours, "nginx": theirs, "ratio": ratio, "bytes": len(body)},
        }
    finally:
        if nginx:
            nginx.terminate()
            nginx.wait(10)
        server.remove()


FIGURES = {"submit": figure_submit, "log": figure_log, "start": figure_start, "memory": figure_memory, "environment": figure_environment,
           "snapshot": figure_snapshot, "input": figure_input, "get": figure_get}
SECTIONS = {"The server": FIGURES, "The runtime": runtime.FIGURES, "Others on the same work": peers.FIGURES}


def commit():
    return subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def table(known, where):
    lines = [
        f"Measured by `bench/run`. {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, Linux {where['kernel']}, "
        f"{where['filesystem']}. Client, server and what they are compared with share the machine. "
        "Rounds alternate with what stands beside them; the figures are medians.",
    ]
    for title, figures in SECTIONS.items():
        rows = [known[name] for name in figures if name in known]
        if not rows:
            continue
        lines += ["", f"## {title}", ""]
        if figures is runtime.FIGURES:
            lines += ["![no-op tasks, submission and cost](latest.svg)", ""]
        lines += ["| figure | target | measured | beside it | met | when, commit, load before |", "|---|---|---|---|---|---|"]
        for row in rows:
            met = {True: "yes", False: "**no**", None: ""}[row["met"]]
            lines.append(f"| {row['name']} | {row['target']} | {row['value']} | {row['beside']} | {met} | "
                         f"{row.get('measured', '')}, {row.get('commit', '')}, {row.get('load_before', '')} |")
    return "\n".join(lines) + "\n"


def measure(name, known):
    figure = next(figures[name] for figures in SECTIONS.values() if name in figures)
    load = round(os.getloadavg()[0], 2)
    try:
        result = figure(known) if figure is runtime.figure_cpu else figure()
    except (SystemExit, Exception) as error:  # one figure that fails leaves the others
        result = {"name": name, "target": "", "value": f"not measured: {str(error)[:300]}", "beside": "",
                  "met": None if name in peers.FIGURES else False, "raw": {}}
    return {"figure": name, **result, "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": commit(), "load_before": load}


def main():
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    every = [name for figures in SECTIONS.values() for name in figures]
    wanted = [name for name in arguments if name != "--quick"] or every
    for name in wanted:
        if name not in every:
            raise SystemExit(f"no figure '{name}'; there are {', '.join(every)}")
    if quick:
        runtime.Scale.quick()
    where = machine()
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    kept = folder / "latest.json"
    known = {}
    if kept.exists():  # some figures again: the others stay
        known = {result["figure"]: result for result in json.loads(kept.read_text())["results"]}
    for name in wanted:
        print(f"-- {name}", flush=True)
        known[name] = measure(name, known)
        print(f"   {known[name]['value']}   {known[name]['beside']}", flush=True)
        if quick:
            continue  # a glance, not a result
        results = [known[one] for one in every if one in known]
        (folder / "latest.md").write_text(table(known, where))
        (folder / "latest.svg").write_text(plot.draw(known, where))
        kept.write_text(json.dumps({"machine": where, "results": results}, indent=4) + "\n")
        if all(one in known for one in every[:len(FIGURES) + len(runtime.FIGURES)]):
            readme.main()
    print("\n" + table(known, where))


if __name__ == "__main__":
    main()
