"""Runs a parallel step on a node: an entry script's init() in several processes, and its run() for
each mini-batch of the input, until none is left.

    python driver.py SETTINGS INPUT APPEND_TO MODEL -- ARGUMENTS OF THE SCRIPT

SETTINGS is JSON (docs/batch.md names its members as a step has them), INPUT the data, APPEND_TO
where the rows go that run() returns ("" = nowhere) and MODEL what is scored ("" = nothing). Where
there are several nodes, rank 0 hands out the mini-batches of all of them over one connection for
each process. Needs the standard library alone, pandas only for tables. Python 3.7 and later.
"""
import glob
import hashlib
import hmac
import importlib.util
import json
import logging
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import urllib.request

LARGE_MODEL = 1 << 30  # bytes: a larger one is not copied
JOIN_WITHIN = 600  # seconds in which the ranks find each other: environments are prepared apart
SAVE_EVERY = 2  # seconds
PROGRESS = "logs/azureml/mini_batches"  # among the job's artifacts


class Refused(Exception):
    """What the user can mend: told without a traceback."""


def say(text):
    print("parallel: " + text, flush=True)


# ---- what there is to do


def size_of(text, unit_needed=False):
    """'10' -> (10, False), '1kb' -> (1024, True): a number, and whether it is of bytes."""
    found = re.fullmatch(r"\s*([0-9]+)\s*([kmg]?b)?\s*", str(text).lower())
    if not found or int(found[1]) == 0:
        raise Refused(f"mini_batch_size: expected a number of files such as 10, or a size such as 10kb, found '{text}'")
    scale = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}.get(found[2], 1)
    return int(found[1]) * scale, bool(found[2])


def files_below(root):
    """Names of the files of an input beneath it, in one order everywhere; of one file ''."""
    if os.path.isfile(root):
        return [""]
    names = []
    for at, folders, files in os.walk(root):
        folders.sort()
        names += [os.path.relpath(os.path.join(at, file), root) for file in files]
    return sorted(names)


def path_of(root, name):
    return os.path.join(root, name) if name else root


def batches_of_files(root, size):
    names = files_below(root)
    most, is_bytes = size_of(size or "10")
    batches, held = [], 0
    for name in names:
        weight = os.path.getsize(path_of(root, name)) if is_bytes else 1
        if not batches or held + weight > most:
            batches.append([])
            held = 0
        batches[-1].append(name)
        held += weight
    return [{"files": files, "items": len(files)} for files in batches]


class Tables:
    """An MLTable, or a folder of CSV and Parquet files, as frames."""

    def __init__(self, root):
        try:
            import pandas
        except ImportError:
            raise Refused("the input is tabular: the environment of the step needs the package pandas")
        self.pandas = pandas
        self.root = root
        self.last = (None, None)
        self.keep = self.drop = None
        self.read = self.by_name
        definition = os.path.join(root, "MLTable")
        if os.path.isdir(root) and os.path.isfile(definition):
            self.files = self.load(definition)
        else:
            self.files = files_below(root)
        self.files = [name for name in self.files if os.path.basename(name) != "MLTable"]

    def load(self, definition):
        try:
            import yaml
        except ImportError:
            raise Refused("the input has an MLTable file: the environment of the step needs the package pyyaml (mltable brings it)")
        with open(definition, encoding="utf-8") as file:
            said = yaml.safe_load(file) or {}
        names = []
        for entry in said.get("paths") or []:
            kind, where = next(iter(entry.items()))
            if kind not in ("file", "pattern", "folder") or "://" in str(where) or os.path.isabs(str(where)):
                raise Refused(f"MLTable: expected a file, pattern or folder beside it in 'paths', found {kind}: {where}")
            where = os.path.normpath(os.path.join(self.root, str(where)))
            found = glob.glob(where, recursive=True) if kind == "pattern" else [where]
            for one in sorted(found):
                names += [os.path.relpath(path_of(one, name), self.root) for name in files_below(one)]
        for step in said.get("transformations") or []:
            name, how = next(iter(step.items())) if isinstance(step, dict) else (step, None)
            self.transform(name, how or {})
        return list(dict.fromkeys(names))

    def transform(self, name, how):
        pandas = self.pandas
        if name == "read_delimited":
            header = None if how.get("header") == "no_header" else 0
            options = {"sep": how.get("delimiter", ","), "encoding": how.get("encoding", "utf8"), "header": header}
            if how.get("infer_column_types") is False:
                options["dtype"] = str

            def read(path):
                frame = pandas.read_csv(path, **options)
                if header is None:
                    frame.columns = [f"Column{i + 1}" for i in range(frame.shape[1])]
                return frame
            self.read = read
        elif name == "read_parquet":
            self.read = pandas.read_parquet
        elif name == "read_json_lines":
            self.read = lambda path: pandas.read_json(path, lines=True)
        elif name in ("keep_columns", "drop_columns"):
            columns = how if isinstance(how, list) else how.get("columns", how) if isinstance(how, dict) else [how]
            columns = [columns] if isinstance(columns, str) else list(columns)
            if name == "keep_columns":
                self.keep = columns
            else:
                self.drop = columns
        else:
            raise Refused(f"MLTable: the transformation '{name}' does not work here: expected read_delimited, read_parquet, "
                          "read_json_lines, keep_columns or drop_columns")

    def by_name(self, path):
        lower = path.lower()
        if lower.endswith(".parquet"):
            return self.pandas.read_parquet(path)
        if lower.endswith((".jsonl", ".ndjson")):
            return self.pandas.read_json(path, lines=True)
        return self.pandas.read_csv(path, sep="\t" if lower.endswith(".tsv") else ",")

    def frame(self, name):
        if self.last[0] != name:
            frame = self.read(path_of(self.root, name))
            if self.keep:
                frame = frame[self.keep]
            if self.drop:
                frame = frame.drop(columns=self.drop)
            self.last = (name, frame)
        return self.last[1]

    def whole(self):
        if self.last[0] != "*":
            frames = [self.frame(name) for name in self.files]
            self.last = ("*", self.pandas.concat(frames, ignore_index=True))
        return self.last[1]

    def select(self, task):
        if "keys" not in task:
            return self.frame(task["file"]).iloc[task["from"]:task["to"]].reset_index(drop=True)
        frame = self.whole()
        for key, value in task["keys"].items():
            frame = frame[frame[key].astype(str) == value]
        return frame.reset_index(drop=True)

    def batches(self, size, keys):
        if keys:
            frame = self.whole()
            missing = [key for key in keys if key not in frame.columns]
            if missing:
                raise Refused(f"partition_keys: the input has no column '{missing[0]}': it has {', '.join(map(str, frame.columns))}")
            texts = frame[keys].astype(str)
            return [{"keys": dict(zip(keys, value if isinstance(value, tuple) else (value,))), "items": int(count)}
                    for value, count in texts.groupby(keys, sort=True).size().items()]
        most, _ = size_of(size or "1mb")
        batches = []
        for name in self.files:
            rows = len(self.frame(name))
            weight = max(1, os.path.getsize(path_of(self.root, name)))
            step = max(1, rows * most // weight)
            batches += [{"file": name, "from": at, "to": min(rows, at + step), "items": min(rows, at + step) - at}
                        for at in range(0, rows, step)]
        return batches


def plan(settings, root):
    if not os.path.exists(root):
        raise Refused(f"the input '{root}' is not there")
    if settings.get("tabular"):
        batches = Tables(root).batches(settings.get("mini_batch_size"), settings.get("partition_keys"))
    else:
        batches = batches_of_files(root, settings.get("mini_batch_size"))
    if not batches:
        raise Refused("the input is empty: there is nothing to do")
    for index, batch in enumerate(batches):
        batch["index"] = index
        batch["key"] = hashlib.sha256(json.dumps(
            {name: value for name, value in batch.items() if name != "index"}, sort_keys=True).encode()).hexdigest()[:32]
    return batches


# ---- a process that runs the script


class Context:
    """The second argument of a run() that has two."""

    def __init__(self, task):
        self.minibatch_index = task["index"]
        self.partition_key_value = task.get("keys")


def rows_of(result):
    """What run() returned, as lines, and how many."""
    if result is None or isinstance(result, (str, bytes)):
        raise TypeError(f"run() returned {type(result).__name__}: expected a list, or a pandas DataFrame")
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        return result.to_csv(sep=" ", header=False, index=False), len(result)
    lines = [str(item) for item in result]
    return "".join(line + "\n" for line in lines), len(lines)


def mlflow_script(model):
    """init() and run() of an MLflow model that has no script of its own."""
    import mlflow.pyfunc
    import pandas
    loaded = mlflow.pyfunc.load_model(model)
    schema = loaded.metadata.get_input_schema()

    def run(files):
        rows = []
        for path in files:
            lower = path.lower()
            if lower.endswith((".csv", ".tsv")):
                frame = pandas.read_csv(path, sep="\t" if lower.endswith(".tsv") else ",")
            elif lower.endswith(".parquet"):
                frame = pandas.read_parquet(path)
            elif lower.endswith((".json", ".jsonl")):
                frame = pandas.read_json(path, lines=lower.endswith("l"))
            else:
                raise Refused(f"'{os.path.basename(path)}': an MLflow model without a script reads .csv, .tsv, .parquet, .json and "
                              ".jsonl: give the deployment a scoring script")
            if schema is not None and not schema.is_tensor_spec():
                from mlflow.utils.proto_json_utils import cast_df_types_according_to_schema
                frame = cast_df_types_according_to_schema(frame, schema)
            predicted = loaded.predict(frame)
            if hasattr(predicted, "to_dict") and hasattr(predicted, "columns"):
                predicted = predicted.iloc[:, 0] if predicted.shape[1] == 1 else predicted.to_dict(orient="records")
            values = list(predicted.tolist() if hasattr(predicted, "tolist") else predicted)
            rows.append(pandas.DataFrame({"row": range(len(values)), "prediction": values, "file": os.path.basename(path)}))
        return [line for frame in rows for line in frame.to_csv(header=False, index=False).splitlines()]
    return run


def load_script(path):
    if not os.path.isfile(path):
        raise Refused(f"entry_script: '{path}' is not in the code")
    sys.path[:0] = [os.path.dirname(os.path.abspath(path)), os.getcwd()]
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        raise Refused(f"entry_script: '{path}' has no function run(mini_batch)")
    return module


def takes_context(run):
    import inspect
    try:
        return "mini_batch_context" in inspect.signature(run).parameters
    except (TypeError, ValueError):
        return False


def end_with(parent):
    """Whoever began this process may be killed at any time, while run() is busy."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def work(settings, root, arguments, reads, writes):
    """A process: init() once, run() for each task that comes, shutdown() at the end."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    tasks, answers = os.fdopen(reads, "r"), os.fdopen(writes, "w")

    def answer(**what):
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    script = settings.get("entry_script") or ""
    level = str(settings.get("logging_level") or "INFO").upper()
    logging.basicConfig(level=getattr(logging, level, logging.INFO))
    sys.argv = [script or "mlflow"] + arguments
    shutdown = None
    try:
        if script:
            module = load_script(script)
            if callable(getattr(module, "init", None)):
                module.init()
            run, shutdown = module.run, getattr(module, "shutdown", None)
        else:
            run = mlflow_script(settings["model_path"])
        tables = Tables(root) if settings.get("tabular") else None
    except Refused as why:
        return answer(broken=str(why))
    except BaseException:
        return answer(broken="init() failed:\n" + traceback.format_exc())
    with_context = takes_context(run)
    answer(ready=True)
    for line in tasks:
        task = json.loads(line)
        try:
            given = tables.select(task) if tables else [path_of(root, name) for name in task["files"]]
            text, count = rows_of(run(given, Context(task)) if with_context else run(given))
            answer(rows=text if settings.get("append") else "", count=count)
        except Exception as why:
            answer(failed=str(why) if isinstance(why, Refused) else traceback.format_exc())
    if callable(shutdown):
        shutdown()


class Worker:
    """One such process, as its driver sees it. It is begun again when it ended."""

    def __init__(self, program, configuration, timeout):
        self.program, self.configuration, self.timeout = program, configuration, timeout
        self.process = None

    def begin(self):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        words = json.dumps(dict(self.configuration, reads=theirs_in, writes=theirs_out))
        self.process = subprocess.Popen(self.program + ["--process", words], stdin=subprocess.DEVNULL,
                                        pass_fds=(theirs_in, theirs_out), env=dict(os.environ, PYTHONUNBUFFERED="1"))
        os.close(theirs_in)
        os.close(theirs_out)
        self.reads, self.writes, self.held = ours_in, ours_out, b""
        said = self.answer(None)
        if said is None:
            raise Refused(f"init(): the process ended with {self.end()} before it was ready")
        if "broken" in said:
            self.end()
            raise Refused(said["broken"])

    def answer(self, within):
        """What it says next; None: it ended. TimeoutError after so many seconds."""
        until = None if within is None else time.monotonic() + within
        while b"\n" not in self.held:
            left = None if until is None else max(0, until - time.monotonic())
            if not select.select([self.reads], [], [], left)[0]:
                raise TimeoutError()
            part = os.read(self.reads, 1 << 16)
            if not part:
                return None
            self.held += part
        line, _, self.held = self.held.partition(b"\n")
        return json.loads(line)

    def do(self, task):
        if self.process is None:
            self.begin()
        try:
            self.write(task)
            said = self.answer(self.timeout)
        except TimeoutError:
            self.end(kill=True)
            return {"failed": f"run() took longer than {self.timeout:g} s (retry_settings.timeout): its process was ended"}
        except OSError:
            said = None
        return said if said is not None else {"failed": f"the process that ran it ended with {self.end()}"}

    def write(self, task):
        data = json.dumps(task).encode() + b"\n"
        while data:
            data = data[os.write(self.writes, data):]

    def end(self, kill=False):
        if self.process is None:
            return 0
        os.close(self.writes)
        if kill:
            self.process.kill()
        code = self.process.wait()
        os.close(self.reads)
        self.process = None
        return f"signal {-code}" if code < 0 else f"exit code {code}"


# ---- who hands out the work


class Progress:
    """What was done, kept among the job's artifacts: when the job is begun again because a node was
    lost, it goes on from there. Nothing is kept once the script has written files of its own, which
    may not have left the node with it."""

    def __init__(self, folders, append_to):
        self.folders, self.append_to = [folder for folder in folders if folder], os.path.abspath(append_to) if append_to else ""
        self.uri, self.token = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_TRACKING_TOKEN", "")
        self.run = os.environ.get("MLFLOW_RUN_ID") or os.environ.get("AZUREML_RUN_ID", "")
        self.on = bool(append_to and self.run and self.token and self.uri.startswith("http"))
        self.waiting, self.lock, self.number = [], threading.Lock(), 0
        self.name = f"{int(time.time() * 1000):x}"

    def ask(self, method, path, data=None):
        request = urllib.request.Request(self.uri.rstrip("/") + "/api/2.0/mlflow-artifacts/artifacts" + path, data=data, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read()

    def at(self, path):
        return "/" + urllib.parse.quote(f"{self.run}/artifacts/{path}")

    def earlier(self):
        """key -> (rows, count) of what an earlier attempt has done."""
        if not self.on:
            return {}
        done = {}
        try:
            where = urllib.parse.quote(f"{self.run}/artifacts/{PROGRESS}", safe="")
            files = json.loads(self.ask("GET", "?path=" + where)).get("files") or []
            names = [one["path"].rsplit("/", 1)[-1] for one in files]
            if "void" in names:
                self.on = False
                return {}
            for name in sorted(names):
                for line in self.ask("GET", self.at(f"{PROGRESS}/{name}")).decode().splitlines():
                    one = json.loads(line)
                    done[one["key"]] = (one["rows"], one["count"])
        except Exception as why:  # then all is done again
            say(f"what an earlier attempt has done cannot be read, and is done again: {why}")
            return {}
        return done

    def wrote_files(self):
        for folder in self.folders:
            for at, _, files in os.walk(folder):
                if any(os.path.abspath(os.path.join(at, file)) != self.append_to for file in files):
                    return True
        return False

    def add(self, task, rows, count):
        with self.lock:
            if self.on:
                self.waiting.append(json.dumps({"key": task["key"], "rows": rows, "count": count}))

    def save(self):
        with self.lock:
            lines, self.waiting = self.waiting, []
        if not lines or not self.on:
            return
        try:
            if self.wrote_files():
                self.on = False
                self.ask("PUT", self.at(f"{PROGRESS}/void"), b"")
                return
            self.number += 1
            self.ask("PUT", self.at(f"{PROGRESS}/{self.name}-{self.number:06d}.jsonl"), ("\n".join(lines) + "\n").encode())
        except Exception as why:
            say(f"progress cannot be kept: {why}")
            self.on = False

    def keep_saving(self):
        while True:
            time.sleep(SAVE_EVERY)
            self.save()


class Coordinator:
    def __init__(self, settings, batches, progress):
        self.settings, self.progress = settings, progress
        self.all = len(batches)
        self.items = sum(batch["items"] for batch in batches)
        self.retries = int(settings.get("max_retries", 2))
        self.changed = threading.Condition()
        self.rows = {}  # of what is done, by index
        self.running, self.failed, self.failed_items, self.why = {}, 0, 0, ""
        earlier = progress.earlier()
        self.waiting = []
        for batch in batches:
            if batch["key"] in earlier:
                self.rows[batch["index"]] = earlier[batch["key"]][0]
                self.failed_items += max(0, batch["items"] - earlier[batch["key"]][1])
            else:
                self.waiting.append(dict(batch, tries=0))
        if self.rows:
            say(f"{len(self.rows)} of {self.all} mini-batches were done by an earlier attempt: the rest is done now")

    def next(self):
        """The next task; None: nothing is left, or all was given up."""
        with self.changed:
            while not self.why:
                if self.waiting:
                    task = self.waiting.pop(0)
                    self.running[task["index"]] = task
                    return task
                if not self.running:
                    return None
                self.changed.wait()
            return None

    def give_back(self, task):
        """Whoever had it is gone, which is not the task's fault."""
        with self.changed:
            if self.running.pop(task["index"], None):
                self.waiting.insert(0, task)
                self.changed.notify_all()

    def give_up(self, why):
        with self.changed:
            self.why = self.why or why
            self.changed.notify_all()

    def finish(self, task, said, seconds, where):
        name = f"mini-batch {task['index'] + 1} of {self.all}"
        with self.changed:
            if self.running.pop(task["index"], None) is None:
                return
            if "failed" in said:
                task["tries"] += 1
                again = task["tries"] <= self.retries
                say(f"{name} failed{where}{', and is tried again' if again else ''}: {said['failed'].rstrip()}")
                if again:
                    self.waiting.append(task)
                else:
                    self.failed += 1
                    self.failed_items += task["items"]
            else:
                self.rows[task["index"]] = said["rows"]
                self.failed_items += max(0, task["items"] - said["count"])
                self.progress.add(task, said["rows"], said["count"])
                say(f"{name} is done{where}: {task['items']} items in {seconds:.1f} s")
            self.judge()
            self.changed.notify_all()

    def judge(self):
        for found, member, what in ((self.failed_items, "error_threshold", f"of {self.items} items failed"),
                                    (self.failed, "mini_batch_error_threshold", f"of {self.all} mini-batches failed")):
            most = int(self.settings.get(member, -1))
            if 0 <= most < found and not self.why:
                self.why = f"{found} {what}, more than {member}: {most}"
        share = self.settings.get("allowed_failed_percent")
        if share is not None and self.failed * 100 > float(share) * self.all and not self.why:
            self.why = f"{self.failed} of {self.all} mini-batches failed, more than allowed_failed_percent: {share}"

    def outcome(self):
        if not self.why and self.failed == self.all:
            self.why = f"all {self.all} mini-batches failed"
        return self.why


class Door:
    """Where the other ranks ask for tasks."""

    def __init__(self, coordinator, address, port, key):
        self.coordinator, self.key = coordinator, key
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((address, port))
        except OSError:  # an address that is not this machine's own, behind which it is reached
            self.socket.bind(("", port))
        self.socket.listen(256)
        self.open, self.changed = 0, threading.Condition()
        self.missing = {}  # rank -> how many of its processes have not come yet
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            other, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(other,), daemon=True).start()

    def serve(self, other):
        task, rank = None, None
        with self.changed:
            self.open += 1
        try:
            with other, other.makefile("rw") as lines:
                hello = json.loads(lines.readline(4096) or "{}")
                if not hmac.compare_digest(str(hello.get("key", "")), self.key):
                    return
                with self.changed:
                    self.missing[hello["rank"]] = self.missing.get(hello["rank"], hello["processes"]) - 1
                rank = hello["rank"]
                while True:
                    task = self.coordinator.next()
                    lines.write(json.dumps({"task": task, "why": self.coordinator.why}) + "\n")
                    lines.flush()
                    if task is None:
                        return
                    line = lines.readline()
                    if not line:
                        return
                    said = json.loads(line)
                    if "broken" in said:
                        return self.coordinator.give_up(said["broken"])
                    self.coordinator.finish(task, said, said.get("seconds", 0), f" on node {rank}")
                    task = None
        except (OSError, ValueError):
            pass
        finally:
            if task is not None:
                self.coordinator.give_back(task)
            with self.changed:
                if task is not None:
                    self.missing[rank] = 0  # the node is gone, and more of it may not come
                self.open -= 1
                self.changed.notify_all()

    def wait_until_all_left(self, nodes, within):
        """A node that comes late is told that nothing is left."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.missing) >= nodes - 1 and not any(self.missing.values()) and self.open == 0, within)


def slot_here(coordinator, worker, where):
    try:
        while True:
            task = coordinator.next()
            if task is None:
                return
            began = time.monotonic()
            said = worker.do(task)
            coordinator.finish(task, said, time.monotonic() - began, where)
    except Refused as why:
        coordinator.give_up(str(why))
    except Exception:
        coordinator.give_up(traceback.format_exc())
    finally:
        worker.end(kill=bool(coordinator.why))


def slot_elsewhere(address, port, key, rank, processes, worker, outcomes):
    """A process of another node than rank 0's."""
    until = time.monotonic() + JOIN_WITHIN
    while True:
        try:
            connection = socket.create_connection((address, port), 10)
            connection.settimeout(None)
            break
        except OSError as why:
            if time.monotonic() > until:
                return outcomes.append(f"rank 0 is not reached at {address}:{port}: {why}")
            time.sleep(0.5)
    lines = connection.makefile("rw")
    killed = True
    try:
        lines.write(json.dumps({"key": key, "rank": rank, "processes": processes}) + "\n")
        while True:
            lines.flush()
            line = lines.readline()
            if not line:
                return outcomes.append("the connection to rank 0 was lost")
            told = json.loads(line)
            if told["task"] is None:
                killed = bool(told["why"])
                return outcomes.append(told["why"])
            began = time.monotonic()
            try:
                said = worker.do(told["task"])
            except Refused as why:
                said = {"broken": str(why)}
            lines.write(json.dumps(dict(said, seconds=time.monotonic() - began)) + "\n")
            if "broken" in said:
                lines.flush()
                return outcomes.append(said["broken"])
    except (OSError, ValueError) as why:
        outcomes.append(f"the connection to rank 0 was lost: {why}")
    finally:
        worker.end(killed)
        connection.close()


# ---- the whole


def lay_out_model(model, name, mlflow):
    """AZUREML_MODEL_DIR is a folder in which the model has its own file's or folder's name."""
    if not model:
        return ""
    model = os.path.abspath(model)
    folder = tempfile.mkdtemp(prefix="azureml-model-")
    place = os.path.join(folder, name or os.path.basename(model))
    files = [os.path.join(at, file) for at, _, names in os.walk(model) for file in names] or [model]
    if sum(os.path.getsize(file) for file in files) > LARGE_MODEL:
        os.symlink(model, place)
    elif os.path.isdir(model):  # a copy, since who looks for files does not follow links
        shutil.copytree(model, place, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(model, place)
    os.environ["AZUREML_MODEL_DIR"] = folder
    return place


def processes_here(settings):
    said = settings.get("max_concurrency_per_instance")
    return int(said) if said else max(1, len(os.sched_getaffinity(0)))


def percent_in(arguments):
    """Azure reads two of its own arguments among those of the script."""
    found = {}
    for name in ("allowed_failed_percent", "allowed_failed_count"):
        for at, word in enumerate(arguments):
            if word == "--" + name and at + 1 < len(arguments):
                found[name] = arguments[at + 1]
            elif word.startswith("--" + name + "="):
                found[name] = word.split("=", 1)[1]
    return found


def drive(program, settings, root, append_to, model, arguments):
    rank, nodes = int(os.environ.get("NODE_RANK") or 0), int(os.environ.get("AZUREML_NODE_COUNT") or 1)
    own = percent_in(arguments)
    if "allowed_failed_percent" in own:
        settings.setdefault("allowed_failed_percent", own["allowed_failed_percent"])
    if "allowed_failed_count" in own:
        settings.setdefault("mini_batch_error_threshold", own["allowed_failed_count"])
    settings["append"] = bool(append_to)
    settings["model_path"] = lay_out_model(model, settings.get("model_name"), not settings.get("entry_script"))
    folder = settings.get("output_folder") or ""
    if folder:
        os.makedirs(folder, exist_ok=True)
        os.environ["AZUREML_BI_OUTPUT_PATH"] = os.path.abspath(folder)
    if append_to and os.path.isdir(append_to):
        append_to = os.path.join(append_to, settings.get("output_file_name") or "parallel_run_step.txt")
    configuration = {"settings": settings, "root": os.path.abspath(root), "arguments": arguments}
    workers = [Worker(program, configuration, float(settings.get("timeout", 60))) for _ in range(processes_here(settings))]
    address, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT") or 0)
    key = hashlib.sha256(os.environ.get("MLFLOW_TRACKING_TOKEN", "").encode()).hexdigest()
    if rank > 0:
        outcomes = []
        threads = [threading.Thread(target=slot_elsewhere, args=(address, port, key, rank, len(workers), worker, outcomes)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        why = next((one for one in outcomes if one), "")
        if why:
            raise Refused(why)
        return say("nothing is left to do")
    progress = Progress([folder] + list(settings.get("folders") or []), append_to)
    coordinator = Coordinator(settings, plan(settings, root), progress)
    say(f"{coordinator.all} mini-batches of {coordinator.items} items, for {len(workers)} processes on each of {nodes} "
        f"{'node' if nodes == 1 else 'nodes'}")
    door = Door(coordinator, address, port, key) if nodes > 1 else None
    threading.Thread(target=progress.keep_saving, daemon=True).start()
    threads = [threading.Thread(target=slot_here, args=(coordinator, worker, " on node 0" if door else "")) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if door:
        door.wait_until_all_left(nodes, 10 if coordinator.why else settings.get("join_within", JOIN_WITHIN))
    why = coordinator.outcome()
    if why:
        raise Refused(why)
    if append_to:
        os.makedirs(os.path.dirname(os.path.abspath(append_to)), exist_ok=True)
        with open(append_to, "w", encoding="utf-8") as file:
            for index in sorted(coordinator.rows):
                file.write(coordinator.rows[index])
    say(f"done: {coordinator.all - coordinator.failed} of {coordinator.all} mini-batches, "
        f"{coordinator.items - coordinator.failed_items} of {coordinator.items} items")


def main(program, words):
    if words[:1] == ["--process"]:
        said = json.loads(words[1])
        return work(said["settings"], said["root"], said["arguments"], said["reads"], said["writes"])
    split = words.index("--")
    settings, root, append_to, model = words[:split]
    try:
        drive(program, json.loads(settings), root, append_to, model, words[split + 1:])
    except Refused as why:
        print(f"parallel: {why}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    # The program has no file of its own where it came in a variable.
    TEXT = os.environ.get("AZUREML_PARALLEL_PROGRAM")
    main([sys.executable, "-c", TEXT] if "__file__" not in globals() and TEXT else [sys.executable, __file__], sys.argv[1:])
