#!/usr/bin/env python3
"""usage: survival.py [--minutes N] [--seed N] [--turnout PATH] [--notes FILE] [--keep]

A real server, real agents, real jobs; and everything that can die, dies. See README.md.
Without --minutes: the short form, about 70 s. Ends with 0 if every job's history, log, metrics and
outputs are what the job itself wrote down.
"""
import argparse
import heapq
import itertools
import json
import os
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from pathlib import Path

import checker
import faults
import plans
from history import History, Job
from world import API, HERE, Client, Refused, World, kill, since_boot

# name: (nodes, more of its properties, its tags)
COMPUTES = {
    **{name: (22, {}, {}) for name in plans.MAIN}, plans.BRIEF: (4, {}, {}),
    plans.SHARED: (2, {}, {"turnout.jobs_per_node": "4"}),
    plans.CHEAP: (8, {"vmPriority": "LowPriority"}, {}),
    plans.RUSH: (6, {"idle": "PT2S"}, {}),
    "shelf": (0, {}, {}),
}
# What the others leave is the cheap cluster's, until there is a rush.
SLOTS = sum(nodes for name, (nodes, _, _) in COMPUTES.items() if name != plans.RUSH)
RUNNING, WAITING = 50, 500  # at least so many, when something happens
PATIENCE = 120              # seconds; then it happens with less
LINK_PATIENCE = 15          # with less than that a cut link is not worth more seconds: it heals
BELOW = 0.1                 # of the faults may strike so


class Run:
    def __init__(self, arguments, folder):
        self.long_form = arguments.minutes is not None
        self.seconds = arguments.minutes * 60 if self.long_form else 40.0
        self.seed = arguments.seed
        self.world = World(arguments.turnout, folder, SLOTS, 1500 if self.long_form else 600)
        self.lock = threading.Lock()
        self.jobs = {}
        self.next_index = 0
        self.submitting = False
        self.over = False
        self.history = History()
        self.violations = []
        self.heals, self.heal_order = [], itertools.count()
        self.server_up = False
        self.disk_is_full, self.disk_freed = False, -1e9
        self.begun = time.monotonic()
        self.live = set()      # jobs that run now
        self.to_look = deque()
        self.ended = 0
        self.seen = set()      # files of notes
        self.scanning = threading.Lock()
        self.pids = {}         # of what may run -> its job
        self.started_jobs = set()
        self.threads = []
        self.idle_seen = []    # connections that said nothing, each second
        self.retried = 0
        self.statuses = Counter()

    # ---- words ----

    def say(self, text):
        print(f"{time.monotonic() - self.begun:6.1f} s  {text}", flush=True)

    def violation(self, subject, text):
        with self.lock:
            self.violations.append((subject, text))
        self.say(f"VIOLATION {subject}: {text}")

    def disk_was_full(self):
        return self.disk_is_full or time.monotonic() - self.disk_freed < 10

    def counts(self):
        """(running, waiting) now."""
        with self.lock:
            waiting = sum(1 for job in self.jobs.values() if job.acked and not job.document and job.name not in self.started_jobs
                          and job.does["kind"] not in ("sweep", "trial"))
        return len(self.live), waiting

    # ---- threads ----

    def thread(self, what, *arguments):
        def guarded():
            try:
                what(*arguments)
            except Refused as why:
                self.violation("api", str(why))
            except Exception:
                self.violation("test", traceback.format_exc())
        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        self.threads.append(thread)

    def submit(self):
        client = Client(self.world)
        while not self.over:
            if self.submitting and self.counts()[1] < WAITING + 25:
                self.submit_one(client, self.next_job())
            else:
                time.sleep(0.05)

    def submit_cheap(self):
        """As many as that cluster can begin, so that its nodes are at work when they are taken."""
        client = Client(self.world)
        while not self.over:
            with self.lock:
                ready = sum(1 for job in self.jobs.values() if job.does["cluster"] == plans.CHEAP and not job.document and job.name not in self.started_jobs)
            if self.submitting and ready < 10:
                self.submit_one(client, self.next_job(plans.CHEAP))
            else:
                time.sleep(0.2)

    def next_job(self, cluster=None):
        with self.lock:
            index, self.next_index = self.next_index, self.next_index + 1
            does = plans.plan(self.seed, index, self.long_form, cluster)
            job = self.jobs[f"job-{index:05d}"] = Job(f"job-{index:05d}", does)
            return job

    def submit_bursts(self):
        """Many jobs that are over at once, now and then: nodes get more of them than they run."""
        client = Client(self.world)
        rng = random.Random(f"{self.seed}/bursts")
        while not self.over:
            time.sleep(rng.uniform(2, 8))
            if self.counts()[1] > 2 * WAITING:
                continue  # nothing ends just now
            for _ in range(rng.randint(10, 60) if self.submitting else 0):
                self.submit_one(client, self.next_job(plans.BRIEF))

    def submit_rushes(self):
        """Waves of work for a dedicated cluster that has no nodes left: it takes them from the cheap one."""
        client = Client(self.world)
        rng = random.Random(f"{self.seed}/rushes")
        while not self.over:
            time.sleep(rng.uniform(15, 40) if self.long_form else rng.uniform(8, 14))
            for _ in range(rng.randint(6, 12) if self.submitting else 0):
                self.submit_one(client, self.next_job(plans.RUSH))

    def submit_one(self, client, job):
        body = plans.definition(job.does, self.world.workspace, self.world.notes, HERE / "job.py")
        client.ask("PUT", f"{self.world.workspace}/jobs/{job.name}?{API}", body, seconds=600)
        job.acked = since_boot()
        self.world.jobs_in_store += 1
        if job.does["kind"] == "cancel-waiting":
            job.cancel_at = job.acked + random.Random(f"{self.seed}/{job.name}").uniform(0, 30)

    def submit_sweeps(self):
        """Sweeps: their trials are jobs that the server makes by itself."""
        client = Client(self.world)
        for number in range(1_000):
            if self.over or not self.submitting:
                return
            does = plans.trial_plan(self.seed, 1_000_000 + number)
            sweep = Job(f"sweep-{number:03d}", {**does, "kind": "sweep"})
            sweep.trials = [Job(f"{sweep.name}_{trial}", does) for trial in range(plans.TRIALS)]
            with self.lock:
                self.jobs |= {job.name: job for job in (sweep, *sweep.trials)}
            client.ask("PUT", f"{self.world.workspace}/jobs/{sweep.name}?{API}",
                       plans.sweep_definition(does, self.world.workspace, self.world.notes, HERE / "job.py"), seconds=600)
            sweep.acked = since_boot()
            self.world.jobs_in_store += 1 + plans.TRIALS
            for trial in sweep.trials:
                trial.acked = sweep.acked
            time.sleep(20 if self.long_form else 12)

    def cancel(self):
        client = Client(self.world)
        while not self.over:
            now = since_boot()
            due = [job for job in list(self.jobs.values()) if job.cancel_at and job.cancel_at < now and not job.acked_cancel]
            for job in due:
                self.cancel_one(client, job)
            time.sleep(0.1)

    def cancel_one(self, client, job):
        _, _, at = client.ask("POST", f"{self.world.workspace}/jobs/{job.name}/cancel?{API}", {}, seconds=600)
        job.acked_cancel = at

    def scan(self):
        """Finds the notes that are new."""
        with self.scanning:
            for entry in os.scandir(self.world.notes):
                if entry.name in self.seen:
                    continue
                self.seen.add(entry.name)
                name, attempt, pid = entry.name.rsplit(".", 2)
                job = self.jobs[name]
                job.files.append((int(attempt), Path(entry.path)))
                self.started_jobs.add(name)
                self.pids[int(pid)] = job
                if job.does["kind"] in ("cancel-running", "stubborn-cancel") and not job.cancel_at:
                    job.cancel_at = since_boot() + random.Random(f"{self.seed}/{job.name}").uniform(0, 5)

    def watch(self):
        """Follows the notes: what runs, and what may have ended."""
        while not self.over:
            self.scan()
            live = set()
            for pid, job in list(self.pids.items()):
                if kill(pid, 0):
                    live.add(job.name)
                else:
                    del self.pids[pid]
                    job.next_look = time.monotonic() + 0.3
            self.live = live
            time.sleep(0.2)

    def look(self):
        """Asks the server for what may have ended, and checks what has."""
        client = Client(self.world)
        while not self.over or self.to_look:
            job = None
            with self.lock:
                if self.to_look:
                    job = self.to_look.popleft()
            if job is None:
                time.sleep(0.1)
                continue
            try:
                self.look_at(client, job)
            except Refused as why:
                self.violation(job.name, str(why))
                job.document = job.document or {"properties": {"status": "?", "properties": {}}}
            job.queued = False

    def choose(self):
        while not self.over:
            now = time.monotonic()
            for job in list(self.jobs.values()):
                if job.document or job.queued or not job.acked or job.next_look > now:
                    continue
                if job.name in self.started_jobs or job.acked_cancel or job.trials:
                    job.looks += 1
                    job.next_look = now + min(0.5 + 0.25 * job.looks, 8)
                    job.queued = True
                    self.to_look.append(job)
            time.sleep(0.1)

    def look_at(self, client, job):
        status, text, _ = client.ask("GET", f"{self.world.workspace}/jobs/{job.name}?{API}", allowed=(404,))
        if status == 404:
            # A trial that its sweep had not made when it was canceled never comes to be.
            if job.does["kind"] == "trial" and job.acked_cancel and not job.files and self.jobs[job.name.rsplit("_", 1)[0]].document:
                with self.lock:
                    self.jobs.pop(job.name, None)
            elif job.does["kind"] != "trial":
                self.violation(job.name, "was acknowledged and is not there")
                job.document = {"properties": {"status": "?", "properties": {}}}
            return
        document = json.loads(text)
        if job.document or document["properties"]["status"] not in checker.TERMINAL:
            return
        if job.trials:
            return self.sweep_ended(job, document)
        job.seen = since_boot()
        _, text, _ = client.ask("GET", f"{self.world.workspace}/jobs/{job.name}/explain?{API}")
        self.scan()
        job.told, job.document = json.loads(text)["attempts"], document
        attempts = self.attempts(job)
        for text in self.data_violations(client, job, attempts):
            self.violation(job.name, text)
        with self.lock:
            self.ended += 1
            self.statuses[document["properties"]["status"]] += 1
            self.retried += len(job.told) > 1

    def sweep_ended(self, sweep, document):
        status = document["properties"]["status"]
        if status == "Completed" and not all(trial.files for trial in sweep.trials):
            self.violation(sweep.name, "Completed, and not every trial ran")
        if status == "Failed" or (status == "Canceled" and not sweep.acked_cancel):
            self.violation(sweep.name, f"{status}: {json.dumps(document['properties'].get('error'))}")
        sweep.document = document
        with self.lock:
            self.ended += 1
            self.statuses[status] += 1

    def attempts(self, job):
        return checker.attempts_of([(number, path.read_text()) for number, path in job.files])

    def data_violations(self, client, job, attempts):
        """Its logs, metrics and outputs, as soon as it has ended: they are complete by then."""
        ends = checker.check_end(job, attempts, self.history)
        history = f"/history/v1.0{self.world.workspace}/runs/{job.name}"
        _, text, _ = client.ask("GET", f"{history}/details")
        streams = {path: "/" + link.split("/", 3)[3] for path, link in json.loads(text)["logFiles"].items() if "user_logs/std_log" in path}
        logs = {}  # (attempt, rank) -> its text
        for stream, link in streams.items():
            _, text, _ = client.ask("GET", link)
            text = text.decode()
            first = next((row for row in text.split("\n") if row.startswith("#")), None)
            if first is None:
                continue
            _, number, rank = map(int, first[1:].split(" ")[0].split("."))
            if stream.startswith("retries/") and number != int(stream.split("/")[1]):
                yield f"{stream} is the log of attempt {number}"
            if not stream.endswith(f"std_log_process_{rank}.txt" if "nodes" in job.does else "std_log.txt"):
                yield f"{stream} is the log of rank {rank}"
            if (number, rank) in logs:
                yield f"two logs are of attempt {number}, rank {rank}"
            logs[number, rank] = text
        for number, attempt in attempts.items():
            whole, sure_until = ends[number]
            for command in attempt.all():
                log = logs.get((number, command.rank))
                if log is not None:
                    for text in checker.check_log(job.does, command, log, whole, sure_until[command.rank]):
                        yield f"attempt {number}, rank {command.rank}: {text}"
                elif any(count for at, count in command.lines if whole or at < sure_until[command.rank]):
                    yield f"the log of attempt {number}, rank {command.rank} is not kept ({command.lines[-1][1]} lines; there are {sorted(streams)})"
                if command.metrics:
                    _, text, _ = client.ask("GET", f"/mlflow/v2.0{self.world.workspace}/api/2.0/mlflow/metrics/get-history?run_id={job.name}&metric_key=m{number}")
                    yield from checker.check_metrics(command, [(m["step"], m["value"]) for m in json.loads(text).get("metrics", [])])
        last = checker.last_of(job, attempts)
        if job.document["properties"]["status"] == "Completed" and last:
            for command in last.all():
                for _, number in command.files:
                    yield from self.output_violations(client, job, history, command, number)

    def output_violations(self, client, job, history, command, number):
        path = plans.output(command.rank, number)
        status, text, _ = client.ask("GET", f"{history}/artifacts/contentinfo?path={path}", allowed=(404,))
        if status == 404:
            yield f"{path} is not there"
            return
        address = "/" + json.loads(text)["contentUri"].split("/", 3)[3]
        status, text = client.once("GET", address)
        for _ in range(600):
            if status in (200, 403, 404):
                break
            time.sleep(0.2)
            status, text = client.once("GET", address)
        if status != 200:
            yield f"{path}: HTTP status {status}"
        yield from checker.check_output(job, command, number, text.decode())

    def progress(self):
        last = 0.0
        while not self.over:
            time.sleep(1)
            if self.server_up and self.world.started.is_set():
                self.idle_seen.append(self.world.open_idle(3000 if self.long_form else 2000))
            if time.monotonic() - last >= (10 if self.long_form else 5):
                last = time.monotonic()
                running, waiting = self.counts()
                self.say(f"running {running}, waiting {waiting}, ended {self.ended} ({self.retried} after a retry), faults {len(self.history.faults)}, "
                         f"idle connections {len(self.world.idle)}, violations {len(self.violations)}")

    # ---- the run ----

    def prepare(self):
        self.world.start()
        self.server_up = True
        client = Client(self.world)
        ws = self.world.workspace
        client.ask("PUT", f"{ws}/environments/host/versions/1?{API}", {"properties": {"image": "docker.io/library/debian:12"}})
        for name, (nodes, more, tags) in COMPUTES.items():
            client.ask("PUT", f"{ws}/computes/{name}?{API}", {"location": "westus", "tags": tags, "properties": {"computeType": "AmlCompute", "properties": {
                "vmSize": "STANDARD_A1_V2", "vmPriority": more.get("vmPriority", "Dedicated"),
                "scaleSettings": {"minNodeCount": 0, "maxNodeCount": nodes, "nodeIdleTimeBeforeScaleDown": more.get("idle", "PT120S")}}}})

    def populate(self, count):
        """Jobs that have ended, so that the store is a used one."""
        numbers = queue.SimpleQueue()
        for number in range(count):
            numbers.put(number)

        def some():
            client = Client(self.world)
            while True:
                try:
                    name = f"old-{numbers.get_nowait():05d}"
                except queue.Empty:
                    return
                body = {"properties": {"jobType": "Command", "command": "true", "environmentId": "azureml:host:1", "experimentName": "old",
                                       "computeId": f"{self.world.workspace}/computes/shelf"}}
                client.ask("PUT", f"{self.world.workspace}/jobs/{name}?{API}", body)
                client.ask("POST", f"{self.world.workspace}/jobs/{name}/cancel?{API}", {})

        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.world.jobs_in_store += count

    def wait_until(self, seconds, what):
        deadline = time.monotonic() + seconds
        while not what():
            self.heal_due()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def heal_later(self, seconds, what, fault=None):
        heapq.heappush(self.heals, (time.monotonic() + seconds, next(self.heal_order), what, fault))

    def heal_now(self, kinds):
        self.heals = [(0.0 if fault and fault.kind in kinds else at, order, what, fault) for at, order, what, fault in self.heals]
        heapq.heapify(self.heals)

    def heal_due(self, all_of_them=False):
        while self.heals and (all_of_them or self.heals[0][0] <= time.monotonic()):
            _, _, what, fault = heapq.heappop(self.heals)
            what()
            if fault:
                fault.healed = since_boot()
            if all_of_them:
                time.sleep(0.2)

    def busy(self):
        running, waiting = self.counts()
        return running >= RUNNING and waiting >= WAITING

    def may_strike(self, name):
        if name in faults.NEED_SERVER and not self.server_up:
            return False
        return not any(name in group and self.history.under_way() & group for group in faults.EXCLUSIVE)

    def strike(self, name, hold, seed):
        active = self.history.under_way()
        fault = self.history.add(name, *self.counts())
        self.say(f"{name}" + (f" for {hold:.1f} s" if hold else "") + (f", while {', '.join(active)}" if active else ""))
        heal = faults.FAULTS[name][0](self, random.Random(seed), fault)
        if heal:
            self.heal_later(hold, heal, fault)
        else:
            fault.healed = since_boot()

    def strike_all(self, plan):
        """The faults at their time, by a clock that stands still while too little runs or waits."""
        begun = last = busy_at = time.monotonic()
        clock = 0.0
        put_off = []  # what cannot be together with what is under way comes as soon as it can
        while last - begun < self.seconds and (plan or put_off):
            self.heal_due()
            before, last = last, time.monotonic()
            if self.busy():
                busy_at = last
            elif faults.LINK & self.history.under_way():
                if last - busy_at > LINK_PATIENCE:
                    self.heal_now(faults.LINK)
                    busy_at = last
                time.sleep(0.05)
                continue
            elif last - busy_at < PATIENCE:
                time.sleep(0.05)
                continue
            clock += last - before
            due = next((row for row in put_off if self.may_strike(row[1])), None)
            if due:
                put_off.remove(due)
                self.strike(*due[1:])
            elif plan and plan[0][0] <= clock:
                due = plan.popleft()
                if self.may_strike(due[1]):
                    self.strike(*due[1:])
                else:
                    put_off.append(due)
            else:
                time.sleep(0.05)

    def carry_out(self):
        self.say(f"seed {self.seed}; the data is in {self.world.folder}")
        if not self.world.disk:
            self.violation("test", "no mount is allowed here, so the disk does not fill")
        if self.world.clock.trouble:
            self.violation("test", "the server's clock is not set: " + self.world.clock.trouble)
        self.prepare()
        old = 10_000 if self.long_form else 300
        self.populate(old)
        self.say(f"{old} jobs that have ended are in the store")
        self.submitting = True
        for _ in range(4):
            self.thread(self.submit)
        for what in (self.submit_cheap, self.submit_bursts, self.submit_rushes, self.submit_sweeps, self.cancel, self.watch, self.choose, self.look, self.look, self.progress):
            self.thread(what)
        if not self.wait_until(180, self.busy):
            self.violation("start", f"not {RUNNING} running and {WAITING} waiting within 180 s")
        plan = faults.schedule(random.Random(f"{self.seed}/faults"), self.long_form, self.seconds)
        self.strike_all(deque(row for row in plan if self.world.disk or row[1] != "disk full"))
        self.finish()

    def check_faults(self):
        """Whether the run was what it is meant to be."""
        below = [fault for fault in self.history.faults if fault.running < RUNNING or fault.waiting < WAITING]
        if len(below) > BELOW * len(self.history.faults):
            self.violation("test", f"{len(below)} of {len(self.history.faults)} faults struck with less than {RUNNING} running and {WAITING} waiting")
        if self.long_form:
            for kind in sorted(set(faults.FAULTS) - {fault.kind for fault in self.history.faults}):
                self.violation("test", f"'{kind}' never came")
            if "preempted" not in self.history.judged:
                self.violation("test", "no attempt was preempted")

    def finish(self):
        self.submitting = False
        self.say("no more faults: what waits is canceled, what runs may end")
        while self.heals:
            self.heal_due(all_of_them=True)
        client = Client(self.world)
        for job in list(self.jobs.values()):
            if job.acked and not job.document and not job.acked_cancel and job.does["kind"] != "trial" and (
                    job.name not in self.started_jobs or job.does["kind"] == "long"):
                self.cancel_one(client, job)
                for trial in job.trials:
                    trial.acked_cancel = job.acked_cancel
        left = lambda: [job for job in list(self.jobs.values()) if not job.document]
        if not self.wait_until(180, lambda: not left()):
            for job in left():
                _, text = client.once("GET", f"{self.world.workspace}/jobs/{job.name}?{API}")
                self.violation(job.name, f"has not ended 180 s after the last fault: {text[-1500:].decode()}")
        # What was said of a job that had ended stays so, over one more death of the server.
        faults.end_server(self, signal.SIGKILL)()
        self.over = True
        self.scan()
        for job in self.jobs.values():
            if not job.document or not job.acked:
                continue
            status, text, _ = client.ask("GET", f"{self.world.workspace}/jobs/{job.name}?{API}", allowed=(404,))
            if status == 404:
                self.violation(job.name, "was acknowledged and is not there")
                continue
            before, now = job.document["properties"], json.loads(text)["properties"]
            if before["status"] == "?":
                continue
            for member in ("status", "error"):
                if before.get(member) != now.get(member):
                    self.violation(job.name, f"had ended with {member} {before.get(member)}, now it is {now.get(member)}")
            for member in ("turnout.attempts", "turnout.cause", "turnout.exit_code"):
                if before["properties"].get(member) != now["properties"].get(member):
                    self.violation(job.name, f"had ended with {member} {before['properties'].get(member)}, now it is {now['properties'].get(member)}")
            for text in checker.check_story(job, self.attempts(job), self.history) if not job.trials else ():
                self.violation(job.name, text)
        self.check_events(client)
        self.check_faults()
        alive = self.world.processes().tasks
        if alive:
            self.violation("orphans", f"processes of jobs that have ended: {alive}")
        done = subprocess.run([self.world.turnout, "down", "--all", "--yes", "--data", str(self.world.data)], capture_output=True, text=True,
                              env=self.world.environment(), timeout=120)
        self.world.process.wait(60)
        rest = self.world.processes().all()
        if done.returncode or rest:
            self.violation("down", f"turnout down --all ended with {done.returncode} and left processes {rest}: {done.stdout}{done.stderr}")

    def check_events(self, client):
        """What was told while it happened is what became of each job."""
        told, after = {}, "0.0"
        while True:
            _, text, _ = client.ask("GET", f"{self.world.workspace}/events?{API}&after={after}&limit=1000&kind=job")
            page = json.loads(text)
            for event in page["value"]:
                told.setdefault(event["name"], []).append(event)
            if not page["more"] and not page["value"]:
                break
            after = page["next"]
        for job in self.jobs.values():
            if not job.acked or not job.document:
                continue
            events = told.get(job.name, [])
            words = [event["what"] for event in events]
            if not words or words[0] != "submitted" or words.count("submitted") != 1 or words[-1] != "ended" or words.count("ended") != 1:
                self.violation(job.name, f"its events are {words}")
            elif events[-1].get("status") != job.document["properties"]["status"]:
                self.violation(job.name, f"its last event says {events[-1].get('status')}")
        for job in random.Random(self.seed).sample(list(self.jobs.values()), min(40, len(self.jobs))):
            own, page, query = [], {"more": True}, ""
            while page["more"]:
                _, text, _ = client.ask("GET", f"{self.world.workspace}/events?{API}&job={job.name}&limit=1000{query}")
                page = json.loads(text)
                own += [event["what"] for event in page["value"]]
                query = f"&after={page['next']}"
            if own != [event["what"] for event in told.get(job.name, [])]:
                self.violation(job.name, f"asked for its events it has {own}, in the list of all {[event['what'] for event in told.get(job.name, [])]}")

    def report(self):
        kinds = {}
        for fault in self.history.faults:
            kinds.setdefault(fault.kind, []).append(((fault.healed or fault.at) - fault.at, fault.running, fault.waiting))
        print(f"\n{'fault':<28}{'times':>6}{'with 50/500':>13}{'running, least':>16}{'waiting, least':>16}{'longest s':>11}")
        for kind, rows in sorted(kinds.items()):
            full = sum(1 for _, running, waiting in rows if running >= RUNNING and waiting >= WAITING)
            print(f"{kind:<28}{len(rows):>6}{full:>13}{min(r for _, r, _ in rows):>16}{min(w for _, _, w in rows):>16}{max(h for h, _, _ in rows):>11.1f}")
        print(f"\n{'rule':<58}{'judged':>8}{'worst':>8}{'allowed':>9}")
        for rule, (times, worst, allowed) in sorted(self.history.judged.items()):
            print(f"{rule:<58}{times:>8}{worst:>8.2f}{allowed:>9}")
        idle = sorted(self.idle_seen) or [0]
        again = ", ".join(f"{count} {'without answer' if status == 0 else f'HTTP {status}'}" for status, count in sorted(self.world.again.items()))
        print(f"\nidle connections: {idle[len(idle) // 2]} in the median; requests that were sent again: {again or 'none'}")
        seconds = sorted(self.world.recoveries)
        print(f"jobs {len(self.jobs)}: " + ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items())) +
              f"; {self.retried} after a retry; attempts {sum(len(self.attempts(job)) for job in self.jobs.values())}")
        for what, some in (("on two nodes", lambda job: "nodes" in job.does), ("on nodes that jobs share", lambda job: job.does["cluster"] == plans.SHARED),
                           ("of low priority", lambda job: job.does["cluster"] == plans.CHEAP)):
            those = [job for job in self.jobs.values() if job.told and some(job)]
            print(f"{what}: {len(those)} jobs that began, {sum(len(job.told) > 1 for job in those)} after a retry, "
                  f"{sum(row.get('cause') == 'preempted' for job in those for row in job.told)} attempts preempted")
        if seconds:
            print(f"starts of the server {len(seconds)}: until it answered {seconds[len(seconds) // 2]:.2f} s median, {seconds[-1]:.2f} s longest, "
                  f"with up to {self.world.jobs_in_store} jobs in the store")
        print(f"seed {self.seed}, {(time.monotonic() - self.begun) / 60:.1f} minutes, {len(self.history.faults)} faults: "
              + (f"{len(self.violations)} VIOLATIONS" if self.violations else "no violation"), flush=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.splitlines()[0].removeprefix("usage: "))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--turnout", default=str(HERE.parents[1] / "build" / "turnout"))
    parser.add_argument("--notes", help="append `passed|failed<tab>name<tab>reason` lines for scripts/test-summary")
    parser.add_argument("--keep", action="store_true", help="keep the data although nothing was violated")
    parser.add_argument("--unshared", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.unshared:
        # A mount namespace of its own: a small disk for the data, which is gone with the last process.
        for own in (["unshare", "--mount", "--propagation", "private"], ["unshare", "--user", "--map-root-user", "--mount"]):
            if subprocess.run([*own, "true"], capture_output=True).returncode == 0:
                os.execvp(own[0], [*own, sys.executable, "-B", __file__, *sys.argv[1:], "--unshared"])
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1, 1_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    folder = Path(tempfile.mkdtemp(prefix="ts-"))  # short: a Unix socket's path may have 108 bytes
    run = Run(arguments, folder)
    try:
        run.carry_out()
    except (KeyboardInterrupt, Exception):
        run.violation("test", traceback.format_exc())
    run.over = True
    run.report()
    for subject, text in run.violations[:50]:
        print(f"  {subject}: {text}")
    run.world.stop()
    if run.violations or arguments.keep:
        print(f"kept: {run.world.keep()}")
    else:
        if run.world.disk:
            subprocess.run(["umount", "-l", run.world.data], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.notes:
        reason = f"seed {run.seed}: {run.violations[0][0]}: {run.violations[0][1]}" if run.violations else ""
        with open(arguments.notes, "a") as out:
            out.write("\t".join(["failed" if run.violations else "passed", "survival", reason[:300].replace("\n", " ")]) + "\n")
    sys.stdout.flush()
    os._exit(1 if run.violations else 0)


if __name__ == "__main__":
    main()
