"""The figures of the runtime: how fast it runs work, how much it holds, what a task costs it. Each
stands beside a bare posix_spawn loop of the same argv, measured before and after every round."""
import datetime
import json
import math
import os
import random
import subprocess
import threading
import time
import urllib.parse

from harness import ROOT, Server, baseline, median, megabytes, memory_mib, pss_mib
from relay import figure_relay

NODES = 2
SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "sh"  # as an agent chooses


class Scale:
    """How much is run; `bench/run --quick` takes a tenth of it, for whoever works on the benchmarks."""
    rounds, tasks, samples, held, growth = 5, 10_000, 300, 1_000_000, (1_000, 10_000, 100_000)
    share = 1

    @classmethod
    def quick(cls):
        cls.rounds, cls.tasks, cls.samples, cls.held, cls.growth = 2, 1_000, 60, 20_000, (500, 1_000, 2_000)
        cls.share = 10


def say(text):
    print(f"   {text}", flush=True)


def loop(count, argv, in_flight=NODES):
    return baseline("loop", count, in_flight, *argv)[0]


class Beside:
    """Rounds of ours between rounds of the loop: A B A B A. A ratio is to the mean of its neighbours."""

    def __init__(self, argv, count):
        self.argv, self.count = argv, count
        self.loops, self.ours, self.ratios = [loop(count, argv)], [], []

    def add(self, rate):
        self.loops.append(loop(self.count, self.argv))
        self.ours.append(rate)
        self.ratios.append(rate / ((self.loops[-2] + self.loops[-1]) / 2))
        say(f"round {len(self.ours)}: {rate:,.0f}/s, loop {self.loops[-2]:,.0f} and {self.loops[-1]:,.0f}/s: {self.ratios[-1]:.3f}")

    def raw(self):
        return {"rate": median(self.ours), "ratio": median(self.ratios), "rates": self.ours, "ratios": self.ratios,
                "loop": median(self.loops), "loops": self.loops, "argv": self.argv}


def per_task(before, after, count):
    """Milliseconds of CPU per task of each kind of process."""
    return {kind: (after[kind] - before.get(kind, 0)) / count * 1000 for kind in after}


def cost_text(costs):
    return ", ".join(f"{kind} {median([one[kind] for one in costs]):.3f} ms" for kind in ("server", "agent", "supervisor"))


def warm_cluster(server, name="two", nodes=NODES):
    """A cluster whose nodes have each run something."""
    server.host_environment()
    server.cluster(name, nodes)
    server.load_jobs("put", "warm-", 20 * nodes, "/bin/true", name, connections=2, wait=1)


def recorded_end(properties):
    """When the job ended, as the server has recorded it, in seconds since 1970; 0 if it has not."""
    ended = properties["properties"].get("turnout.ended")
    return datetime.datetime.fromisoformat(ended.replace("Z", "+00:00")).timestamp() if ended else 0.0


def statuses(server, prefix, count):
    """Every job of that name by the API: how many of each status, and the last recorded end in seconds since 1970."""
    connection = server.connect()
    found, last, path = {}, 0.0, f"{server.ws}/jobs?api-version=2024-01-01-preview"
    seen = 0
    while path and seen < count:
        status, body = connection.call("GET", path, headers=server.headers)
        if status != 200:
            raise SystemExit(f"list: {status} {body[:200]}")
        page = json.loads(body)
        for job in page["value"]:
            if job["name"].startswith(prefix):
                seen += 1
                properties = job["properties"]
                found[properties["status"]] = found.get(properties["status"], 0) + 1
                last = max(last, recorded_end(properties))
        link = page.get("nextLink")
        path = link and link[link.index("/subscriptions/"):]
    connection.close()
    return found, last


def wait_for_all(server, prefix, count, seconds=60):
    """Until every job of that name has ended well: the last recorded end."""
    deadline = time.monotonic() + seconds
    while True:
        found, last = statuses(server, prefix, count)
        if found == {"Completed": count}:
            return last
        if found.keys() & {"Failed", "Canceled"} or time.monotonic() > deadline:
            raise SystemExit(f"jobs of {prefix} are {found}")
        time.sleep(0.1)


# ---- many tasks

def figure_sweep(command="/bin/true", argv=("/bin/true",), share=1, key="sweep"):
    """A grid sweep on two nodes: the trials are made by the server, each a real job."""
    count = Scale.tasks // share
    side = int(count ** 0.5)
    count = side * side
    server = Server().start()
    try:
        warm_cluster(server)
        connection = server.connect()
        beside, costs = Beside(list(argv), count), []
        for number in range(Scale.rounds):
            name = f"{key}-{number}"
            before = server.cpu_by_kind()
            body = json.dumps({"properties": {
                "jobType": "Sweep", "experimentName": "bench", "displayName": name, "computeId": f"{server.ws}/computes/two",
                "searchSpace": {"x": ["choice", [list(range(side))]], "y": ["choice", [list(range(side))]]},
                "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
                "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": count, "maxConcurrentTrials": count},
                "objective": {"goal": "Maximize", "primaryMetric": "none"},
                "trial": {"command": command, "environmentId": f"{server.ws}/environments/host/versions/1"}}})
            begin = time.time()
            status, reply = connection.call("PUT", f"{server.ws}/jobs/{name}?api-version=2024-01-01-preview", body, server.headers)
            if status not in (200, 201):
                raise SystemExit(f"sweep: {status} {reply[:300]}")
            told = begin
            while True:
                properties = server.job(connection, name)
                now = time.time()
                if properties["status"] in ("Completed", "Failed", "Canceled"):
                    break
                if now - told > 10:
                    say(f"sweep {name} is {properties['status']} after {now - begin:.0f} s")
                    told = now
                time.sleep(0.1)
            took = recorded_end(properties) - begin
            costs.append(per_task(before, server.cpu_by_kind(), count))
            if properties["status"] != "Completed":
                raise SystemExit(f"sweep {name} is {properties['status']}: {json.dumps(properties.get('error'))[:300]}")
            beside.add(count / took)
        trials = check_trials(server, connection, name, count)
        raw = {**beside.raw(), "cpu_ms": costs, "count": count, "trials_checked": trials}
        return {
            "name": f"no-op tasks: grid sweep of {count:,} trials of `{command}` on {NODES} nodes",
            "target": ">= 0.85 of the loop",
            "value": f"{raw['rate']:,.0f}/s = {raw['ratio']:.2f} of the loop (CPU per trial: {cost_text(costs)})",
            "beside": f"posix_spawn loop of `{' '.join(argv)}`, {NODES} in flight: {raw['loop']:,.0f}/s", "met": raw["ratio"] >= 0.85, "raw": raw,
        }
    finally:
        server.remove()


def figure_shell():
    """The same where the command has shell syntax, so that both start a shell."""
    result = figure_sweep(command="exec /bin/true", argv=(SHELL, "-c", "exec /bin/true"), share=4, key="shell")
    return result


def figure_node():
    """The nodes alone: agents and supervisors, fed by a server that does nothing else."""
    program, count = ROOT / "build" / "bench-node", Scale.tasks // 2
    subprocess.run(["cmake", "--build", "build", "--target", "bench-node"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    beside, rounds = Beside(["/bin/true"], count), []
    for _ in range(Scale.rounds):
        done = subprocess.run([str(program), "--tasks", str(count), "--nodes", str(NODES)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench-node ended with {done.returncode}: {done.stderr[-300:]}")
        rounds.append(json.loads(done.stdout))
        beside.add(rounds[-1]["tasks_per_s"])
    raw = {**beside.raw(), "rounds": rounds}
    cost = {kind: median([one[f"{kind}_us"] for one in rounds]) / 1000 for kind in ("agent", "supervisor")}
    return {
        "name": f"no-op tasks on {NODES} nodes without a server: {count:,} `/bin/true`", "target": "",
        "value": f"{raw['rate']:,.0f}/s = {raw['ratio']:.2f} of the loop (CPU per task: agent {cost['agent']:.3f} ms, supervisor {cost['supervisor']:.3f} ms)",
        "beside": f"posix_spawn loop of `/bin/true`, {NODES} in flight: {raw['loop']:,.0f}/s", "met": None, "raw": raw,
    }


def check_trials(server, connection, sweep, count):
    """Some trials are looked at: each a job that completed, with exit code 0 and a log."""
    chosen = random.Random(count).sample(range(count), 50)
    for index in chosen:
        name = f"{sweep}_{index}"
        properties = server.job(connection, name)
        if properties["status"] != "Completed" or properties["properties"].get("turnout.exit_code") != "0":
            raise SystemExit(f"trial {name} is {properties['status']}: {json.dumps(properties.get('error'))[:200]}")
        status, text = connection.call("GET", urllib.parse.urlsplit(server.log_url(connection, name))._replace(scheme="", netloc="").geturl())
        if status != 200 or not text:
            raise SystemExit(f"trial {name} has no log: {status}")
    return len(chosen)


def figure_jobs():
    """Separate jobs by REST, submitted on 8 connections while they run."""
    count = Scale.tasks
    server = Server().start()
    try:
        warm_cluster(server)
        beside, costs, submits = Beside(["/bin/true"], count), [], []
        for number in range(Scale.rounds):
            prefix = f"jobs-{number}-"
            before = server.cpu_by_kind()
            measured = server.load_jobs("put", prefix, count, "/bin/true", "two", connections=8, wait=1)
            costs.append(per_task(before, server.cpu_by_kind(), count))
            submits.append(measured["submit_rate"])
            beside.add(count / (wait_for_all(server, prefix, count) - measured["begun"]))
        raw = {**beside.raw(), "submit_rates": submits, "cpu_ms": costs, "count": count}
        return {
            "name": f"{count:,} separate jobs by REST, 8 connections, submit to recorded exit", "target": ">= 0.6 of the loop",
            "value": f"{raw['rate']:,.0f}/s = {raw['ratio']:.2f} of the loop (submitted at {median(submits):,.0f}/s; CPU per job: {cost_text(costs)})",
            "beside": f"posix_spawn loop of `/bin/true`, {NODES} in flight: {raw['loop']:,.0f}/s", "met": raw["ratio"] >= 0.6, "raw": raw,
        }
    finally:
        server.remove()


def figure_single():
    """One job at a time on a warm node: PUT sent -> a GET says that it has ended."""
    server = Server().start()
    try:
        warm_cluster(server)
        rounds, spawns = [], baseline("once", Scale.samples, "/bin/true")
        for number in range(Scale.rounds):
            rounds.append(server.load_jobs("one", f"one-{number}-", Scale.samples, "/bin/true", "two"))
            spawns += baseline("once", Scale.samples, "/bin/true")
            say(f"round {number + 1}: {rounds[-1]['ended_ms']}")
        middle = {key: median([one["ended_ms"][key] for one in rounds]) for key in ("p50", "p90", "p99")}
        return {
            "name": "one `/bin/true` at a time, warm: submit -> exit recorded", "target": "p50 <= 10 ms",
            "value": f"p50 {middle['p50']:.1f} ms, p90 {middle['p90']:.1f} ms, p99 {middle['p99']:.1f} ms "
                     f"(PUT acknowledged: p50 {median([one['put_ms']['p50'] for one in rounds]):.2f} ms)",
            "beside": f"posix_spawn and waitpid, one at a time: p50 {median(spawns) / 1000:.2f} ms", "met": middle["p50"] <= 10,
            "raw": {**middle, "rounds": rounds, "spawn_p50_ms": median(spawns) / 1000},
        }
    finally:
        server.remove()


# ---- how much it holds

class Watch:
    """The server's memory over time, sampled in a thread."""

    def __init__(self, pid, every=2):
        self.pid, self.every, self.samples, self.stopped = pid, every, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        begin = time.monotonic()
        while not self.stopped.wait(self.every):
            self.samples.append([round(time.monotonic() - begin, 1), round(memory_mib(self.pid)[0], 1)])

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.samples


def wait_for_answer(server, path, seconds=600):
    """Seconds from now until the server says 200; it is asked on a new connection each time."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        if server.process.poll() is not None:
            raise SystemExit(f"the server ended: {(server.folder / 'server.log').read_text()[-500:]}")
        try:
            connection = server.connect()
            status, body = connection.call("GET", path, headers=server.headers)
            connection.close()
            if status == 200:
                return time.perf_counter() - begin, json.loads(body)
        except Exception as error:  # refused, or cut while the server starts
            if not isinstance(error, OSError) and "Remote" not in type(error).__name__ and "BadStatus" not in type(error).__name__:
                raise
        time.sleep(0.005)
    raise SystemExit(f"no answer in {seconds} s")


def figure_held():
    """Jobs that nothing can start: what holding them costs, and how fast they are there again."""
    count = Scale.held
    server = Server().start()
    try:
        server.host_environment()
        server.cluster("none", 0)
        watch = Watch(server.process.pid)
        before = server.cpu_by_kind()["server"]
        measured = server.load_jobs("put", "held-", count, "/bin/true", "none", connections=8)
        cpu = server.cpu_by_kind()["server"] - before
        samples = watch.stop()
        resident, most = memory_mib(server.process.pid)
        proportional = pss_mib(server.process.pid)
        say(f"{count:,} jobs held: {megabytes(resident):,.0f} MB resident, {megabytes(most):,.0f} MB at most; kill -9 and again")
        rates, chunk = measured["chunk_rates"], measured["chunk"]
        last_job = f"{server.ws}/jobs/held-{count - 1:07}?api-version=2024-01-01-preview"
        server.process.kill()
        server.process.wait()
        server.spawn()
        recovery, body = wait_for_answer(server, last_job)
        if body["properties"]["status"] != "Queued":
            raise SystemExit(f"after recovery the last job is {body['properties']['status']}")
        again, _ = memory_mib(server.process.pid)
        some = max(1, len(rates) // 100)
        first, last = median(rates[:some]), median(rates[-some:])
        disk = sum(file.stat().st_size for file in server.data.rglob("*") if file.is_file()) / (1 << 20)
        return {
            "name": f"{count:,} queued jobs held", "target": "<= 1,500 MB resident at most; last submit rate >= 0.8 of the first; recovery <= 20 s",
            "value": f"{megabytes(resident):,.0f} MB resident ({megabytes(most):,.0f} at most), recovery after kill -9 {recovery:.1f} s ({megabytes(again):,.0f} MB then); "
                     f"submitted at {measured['submit_rate']:,.0f}/s, first {some * chunk:,} {first:,.0f}/s, last {last:,.0f}/s; "
                     f"server CPU per PUT {cpu / count * 1000:.3f} ms", "beside": f"{megabytes(disk):,.0f} MB on disk",
            "met": megabytes(most) <= 1500 and last >= 0.8 * first and recovery <= 20,
            "raw": {"count": count, "resident_mib": resident, "most_mib": most, "pss_mib": proportional, "recovery_s": recovery,
                    "resident_after_recovery_mib": again, "submit_rate": measured["submit_rate"], "chunk": chunk, "chunk_rates": rates, "put_ms": measured["put_ms"],
                    "cpu_per_put_ms": cpu / count * 1000, "memory": samples, "disk_mib": disk},
        }
    finally:
        server.remove()


# ---- cost as work grows

def figure_growth():
    """The same requests with more and more ended jobs in the store. PUTs go to a cluster that starts
    nothing, so that only the store has grown."""
    server = Server().start()
    try:
        warm_cluster(server)
        server.cluster("none", 0)
        rows, ended = [], 0
        version = "api-version=2024-01-01-preview"
        for size in Scale.growth:
            say(f"{size:,} ended jobs …")
            server.load_jobs("put", "ended-", size - ended, "/bin/true", "two", connections=8, wait=1, first=ended)
            ended = size
            row = {"jobs": size}
            samples = Scale.samples
            row["submit"] = server.load_jobs("put", f"probe-{size}-", samples, "/bin/true", "none", connections=1)["put_ms"]["p50"]
            pick = random.Random(size)
            paths = server.folder / "paths"  # of many jobs, so that most were not read just before
            paths.write_text("".join(f"{server.ws}/jobs/ended-{pick.randrange(size):07}?{version}\n" for _ in range(samples)))
            row["get"] = server.load("get", paths=paths, count=samples)["ms"]["p50"]
            row["list"] = server.load("get", path=f"{server.ws}/jobs?{version}", count=samples // 3)["ms"]["p50"]
            middle = later_page(server, version)
            row["list_middle"] = server.load("get", path=middle, count=samples // 3)["ms"]["p50"] if middle else None
            waiting = f"{server.ws}/jobs/probe-{size}-{samples - 1:07}"
            explained = server.load("get", path=f"{waiting}/explain?{version}", count=samples)
            if explained["status"] != 200:
                raise SystemExit(f"explain: {explained['status']}")
            row["explain"] = explained["ms"]["p50"]
            rows.append(row)
            say(", ".join(f"{key} {value:.3f} ms" for key, value in row.items() if key != "jobs" and value is not None))
        kinds = [key for key in ("submit", "get", "list", "list_middle", "explain") if rows[0][key]]  # few jobs have no later page
        growth = {key: rows[-1][key] / rows[0][key] for key in kinds}
        worst = max(growth.values())
        logarithmic = math.log2(rows[-1]["jobs"]) / math.log2(rows[0]["jobs"])
        allowed = 1.1 * logarithmic
        shown = " · ".join(f"{row['jobs']:,}: " + ", ".join(f"{key.replace('_', ' ')} {row[key]:.2f}" for key in kinds) + " ms" for row in rows)
        return {
            "name": "cost with more ended jobs in the store (p50, one connection)", "target": f"<= x{allowed:.2f}, a tenth above logarithmic (x{logarithmic:.2f})",
            "value": shown, "beside": f"worst growth x{worst:.2f}", "met": worst <= allowed, "raw": {"rows": rows, "worst": worst, "allowed": allowed},
        }
    finally:
        server.remove()


def later_page(server, version):
    """The address of a page some pages on from the first."""
    connection = server.connect()
    path = f"{server.ws}/jobs?{version}"
    for _ in range(4):
        status, body = connection.call("GET", path, headers=server.headers)
        link = json.loads(body).get("nextLink") if status == 200 else None
        if not link:
            path = None
            break
        path = link[link.index("/subscriptions/"):]
    connection.close()
    return path


# ---- a command that says much in little pieces

def cat_of(argv):
    """CPU seconds of a `cat` that the same command writes to through a pipe."""
    writer = subprocess.Popen(argv, stdout=subprocess.PIPE)
    cat = subprocess.Popen(["cat"], stdin=writer.stdout, stdout=subprocess.DEVNULL)
    writer.stdout.close()
    _, _, used = os.wait4(cat.pid, 0)
    writer.wait()
    return used.ru_utime + used.ru_stime


def figure_lines():
    """Unbuffered lines, each a write of its own; the last one says when the command was done."""
    count = 10 * Scale.tasks
    script = f"import sys, time\nfor n in range({count}): sys.stdout.write('step %d\\n' % n)\nsys.stdout.write('end %.6f\\n' % time.time())"
    argv = ["python3", "-u", "-c", script]
    server = Server().start()
    try:
        warm_cluster(server, nodes=1)
        connection = server.connect()
        ended, costs, cats, took = [], [], [], []
        for number in range(Scale.rounds):
            name = f"lines-{number}"
            cats.append(cat_of(argv) / count * 1e6)
            before, begin = server.cpu_by_kind(), time.time()
            server.put_job(connection, name, f'python3 -u -c "{script}"', "two")
            properties = server.wait_job(connection, name, 600)
            costs.append({kind: cost * 1000 for kind, cost in per_task(before, server.cpu_by_kind(), count).items()})
            if properties["status"] != "Completed":
                raise SystemExit(f"job {name} is {properties['status']}")
            place = urllib.parse.urlsplit(server.log_url(connection, name))
            _, log = connection.call("GET", place.path + "?" + place.query, headers=server.headers)
            lines = log.decode().splitlines()
            if sum(line.startswith("step ") for line in lines) != count:
                raise SystemExit(f"job {name} has {len(lines):,} lines of {count:,}")
            said = next(float(line.split()[1]) for line in lines if line.startswith("end "))
            ended.append(recorded_end(properties) - said)
            took.append(said - begin)
            say(f"round {number + 1}: {took[-1]:.2f} s, end + {ended[-1]:.3f} s, agent {costs[-1]['agent']:.2f} us a line, cat {cats[-1]:.2f}")
        agent, late = median([one["agent"] for one in costs]), median(ended)
        return {
            "name": f"{count:,} unbuffered lines of one command", "target": "end of the command -> Completed <= 0.3 s; agent <= 2 us a line",
            "value": f"{late:.2f} s; CPU a line: " + ", ".join(f"{kind} {median([one[kind] for one in costs]):.2f} us" for kind in ("agent", "supervisor", "server")),
            "beside": f"`cat` of the same through a pipe: {median(cats):.2f} us a line", "met": late <= 0.3 and agent <= 2,
            "raw": {"late_s": ended, "cpu_us": costs, "cat_us": cats, "took_s": took, "count": count},
        }
    finally:
        server.remove()


# ---- the scheduler alone

def figure_scheduler():
    """The product's scheduler with 10,000 nodes and 1,000,000 tasks, without store and network."""
    program = ROOT / "build" / "bench_scheduler"
    subprocess.run(["cmake", "--build", "build", "--target", "bench_scheduler"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    rounds = []
    for number in range(Scale.rounds):
        done = subprocess.run([str(program)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench_scheduler ended with {done.returncode}: {done.stderr[-300:]}")
        rounds.append(json.loads(done.stdout))
        say(f"round {number + 1}: {rounds[-1]['placements_per_s']:,} placements/s")
    rate = median([one["placements_per_s"] for one in rounds])
    whole = median([one["placements_per_s_with_submission"] for one in rounds])
    events = [key for key in rounds[0] if isinstance(rounds[0][key], dict)]
    p99 = median([max(one[event]["p99_us"] for event in events) for one in rounds]) / 1000
    return {
        "name": f"simulated cluster: {rounds[0]['nodes']:,} nodes, {rounds[0]['tasks']:,} tasks, the product's scheduler on one core",
        "target": ">= 50,000 placements/s; CPU from event to placement p99 <= 1 ms",
        "value": f"{rate:,.0f} placements/s ({whole:,.0f}/s with the submissions); CPU from event to placement p99 {p99:.4f} ms",
        "beside": f"{rounds[0]['bytes_per_task']} bytes per waiting task", "met": whole >= 50_000 and p99 <= 1,
        "raw": {"placements_per_s": rate, "with_submission_per_s": whole, "p99_ms": p99, "rounds": rounds},
    }


# ---- what a task costs the server

def figure_cpu(known):
    """From the rounds of `sweep` and `jobs`; the least that was measured before is kept, since it should fall."""
    parts, raw = [], {}
    for figure, label in (("sweep", "of a sweep"), ("jobs", "by REST")):
        costs = known.get(figure, {}).get("raw", {}).get("cpu_ms")
        if costs:
            raw[figure] = {kind: median([one[kind] for one in costs]) for kind in costs[0]}
            parts.append(f"{label}: server {raw[figure]['server']:.3f} ms, with agent and supervisor {sum(raw[figure].values()):.3f} ms")
    if not parts:
        raise SystemExit("sweep and jobs were not measured")
    least = known.get("cpu", {}).get("raw", {}).get("least", {})
    beside = ", ".join(f"{figure} {least[figure]:.3f} ms" for figure in raw if figure in least)
    met = all(raw[figure]["server"] <= least[figure] * 1.05 for figure in raw if figure in least) if beside else None
    raw["least"] = {figure: min(raw[figure]["server"], least.get(figure, raw[figure]["server"])) for figure in raw}
    return {"name": "CPU per finished task", "target": "server <= 1.05 of the least so far", "value": "; ".join(parts),
            "beside": f"server, least so far: {beside}" if beside else "", "met": met, "raw": raw}


FIGURES = {"sweep": figure_sweep, "shell": figure_shell, "jobs": figure_jobs, "node": figure_node, "single": figure_single, "lines": figure_lines, "held": figure_held,
           "scheduler": figure_scheduler, "cpu": figure_cpu, "growth": figure_growth, "relay": lambda: figure_relay(Scale)}
