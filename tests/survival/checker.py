"""What must hold of a job, told from its own notes and from what the server says of it."""
import faults
from plans import CHEAP, content, line, output

CAUSES = {"user_code", "out_of_memory", "too_many_processes", "timeout", "canceled", "preempted", "node_lost", "environment", "input", "internal"}
TRIED_AGAIN = {"internal", "node_lost"}  # and preempted, which does not count
TERMINAL = ("Completed", "Failed", "Canceled")
MOST_ATTEMPTS = 3
GRACE = 30              # what a command is given between TERM and KILL
# Seconds in which nothing that hinders it was wrong.
CANCEL_STARTS = 2       # from the acknowledgement of a cancel until nothing of the job begins
CANCEL_ENDS = GRACE + 15
LIMIT_ENDS = 5          # from a time limit until TERM
OUTLIVES = 5            # what a command leaves behind
SHIPPED = 10 + 5        # from a file in outputs/ until it is safe


class Command:
    """The command of one node: files `{job}.{attempt}.{pid}` of its leader and of its children."""

    def __init__(self, number, rank):
        self.number, self.rank = number, rank
        self.leaders = 0
        self.start = self.last = self.exit_at = self.term_at = None
        self.leader_last = self.child_last = None
        self.code = None
        self.lines = []       # (since boot, lines printed by then)
        self.metrics = {}     # step -> ok, maybe, sent
        self.files = []       # (since boot, number)
        self.found = []       # in outputs/ when it began
        self.signal = None
        self.hog = False
        self.trouble = None

    def read(self, text):
        for row in text.splitlines():
            at, role, what, *rest = row.split(" ")
            at = float(at)
            self.last = max(self.last or at, at)
            if role == "L":
                self.leader_last = max(self.leader_last or at, at)
            else:
                self.child_last = max(self.child_last or at, at)
            if role == "L" and what == "start":
                self.leaders += 1
                self.start = at if self.start is None else min(self.start, at)
            elif what == "lines":
                self.lines.append((at, int(rest[0])))
            elif what == "metric":
                self.metrics.setdefault(int(rest[0]), "sent")
            elif what == "metric-ok":
                self.metrics[int(rest[0])] = "ok"
            elif what == "metric-maybe":
                self.metrics[int(rest[0])] = "maybe"
            elif what == "file":
                self.files.append((at, int(rest[0])))
            elif what == "found":
                self.found = rest
            elif what == "term" and self.term_at is None:
                self.term_at = at
            elif what == "exit":
                self.exit_at, self.code = at, int(rest[0])
            elif what == "signal":
                self.signal = int(rest[0])
            elif what == "hog":
                self.hog = True
            elif what == "trouble":
                self.trouble = " ".join(rest)

    def own_end(self):
        """The exit code of an end that was its own doing; None if that is not known."""
        if self.exit_at is None:
            return 128 + self.signal if self.signal else None
        return None if self.term_at else self.code


class Attempt:
    """One attempt: a command on each of its nodes."""

    def __init__(self, number):
        self.number = number
        self.commands = {}  # rank -> Command

    def all(self):
        return self.commands.values()

    @property
    def start(self):
        return min(command.start for command in self.all())

    @property
    def last(self):
        return max(command.last for command in self.all())


def attempts_of(files):
    """`files`: [(attempt number, text)]. The first row of each says who writes it: `at role start pid id rank`."""
    attempts = {}
    for number, text in files:
        first = text.partition("\n")[0].split(" ")
        # Where nothing stands yet, a process was killed before it did anything.
        if first[2:3] != ["start"]:
            continue
        rank = int(first[5])
        attempts.setdefault(number, Attempt(number)).commands.setdefault(rank, Command(number, rank)).read(text)
    return attempts


def check_log(does, command, text, whole, sure_until=None):
    """Violations of one command's log. `whole`: its supervisor saw it end, so all of it is there.
    Else what it printed until `sure_until`, in seconds since boot."""
    rows = text.split("\n")
    own, others = [], []
    for at, row in enumerate(rows):
        if row.startswith("#"):
            own.append((at, row))
        elif own and row and not row.startswith("turnout:"):
            others.append(row)
    if others:
        yield f"the log has {len(others)} lines that the command did not print, first {others[0][:100]!r}"
    # One that was stopped may have printed more than it noted, and half a line.
    stopped = not command.exit_at or command.term_at
    for number, (at, row) in enumerate(own):
        wanted = line(does, command.number, command.rank, number)
        if row == wanted and at + 1 < len(rows):
            continue
        torn = at + 1 == len(rows) and wanted.startswith(row) and (not whole or stopped)
        if not torn:
            yield f"line {number} of the log is {row[:60]!r}, not {wanted[:60]!r}"
            return
        own.pop()
    printed = command.lines[-1][1] if command.lines else 0
    if whole and len(own) < printed:
        yield f"the log has {len(own)} of {printed} lines"
    most = printed if whole and not stopped else printed + does["lines"]
    if len(own) > most:
        yield f"the log has {len(own)} lines, at most {most} were printed"
    if not whole:
        sure = max((count for at, count in command.lines if sure_until is not None and at < sure_until), default=0)
        if len(own) < sure:
            yield f"the log has {len(own)} lines, at least {sure} were printed {command.last - sure_until:.1f} s before the end"


def check_metrics(command, values):
    """`values`: [(step, value)] that the server has of this attempt."""
    steps = [step for step, value in values]
    for step, value in values:
        if value != step * 1.5:
            yield f"metric m{command.number} step {step} is {value}"
    for step in set(steps):
        if steps.count(step) > 1:
            yield f"metric m{command.number} step {step} is there {steps.count(step)} times"
        if step not in command.metrics:
            yield f"metric m{command.number} step {step} was never logged"
    lost = [step for step, state in command.metrics.items() if state == "ok" and step not in steps]
    if lost:
        yield f"metric m{command.number} was accepted and is lost: steps {lost}"


def check_output(job, command, number, text):
    if text != content(job.name, command.number, command.rank, number):
        yield f"{output(command.rank, number)} is not what the job wrote ({text[:60]!r})"


def nodes_of(job, number):
    """{(cluster, node)} of that attempt."""
    return {(job.does["cluster"], node) for row in job.told if row["attempt"] == number for node in row["nodes"]}


def taken(job, attempt, history):
    """Whether a fault ended it: one that struck a node of its own while it lived."""
    return history.took(nodes_of(job, attempt.number), attempt.start, attempt.last)


def last_of(job, attempts):
    """The attempt that the job ended with; None if that one never began."""
    return attempts.get(job.told[-1]["attempt"]) if job.told else None


def check_story(job, attempts, history):
    """Violations of status, cause, exit code, attempts and times. `job`: see history.Job."""
    status = job.document["properties"]["status"]
    cause = job.document["properties"]["properties"].get("turnout.cause")
    if status == "Completed" and cause:
        yield f"Completed with cause {cause}"
    if status != "Completed" and cause not in CAUSES:
        yield f"{status} with cause {cause!r}, which is not in the closed list"
    yield from check_attempts(job, attempts, history)
    yield from check_times(job, attempts, history)
    if status != "Canceled":
        yield from check_ending(job, attempts, history)
    elif not job.acked_cancel:
        yield "Canceled, and nobody had asked for that"


def check_attempts(job, attempts, history):
    told = {row["attempt"]: row.get("cause") for row in job.told}
    for number, attempt in attempts.items():
        if number not in told:
            yield f"attempt {number} ran, and the server knows of {sorted(told)}"
        if len(attempt.commands) > job.does.get("nodes", 1):
            yield f"attempt {number} ran on {len(attempt.commands)} nodes"
        for command in attempt.all():
            of = f"attempt {number}" + (f", rank {command.rank}," if "nodes" in job.does else "")
            if command.trouble:
                yield f"{of} could not do its work: {command.trouble}"
            if command.leaders > 1:
                yield f"{of} was started {command.leaders} times"
    order = sorted(attempts)
    for before, after in zip(order, order[1:]):
        if attempts[before].last >= attempts[after].start:
            yield (f"attempt {before} was alive at {attempts[before].last:.3f}, after attempt {after} "
                   f"had begun at {attempts[after].start:.3f}")
    # Only what is not the user's doing is tried again.
    for number in order:
        attempt, why = attempts[number], told.get(number)
        if why == "preempted":
            history.holds("preempted", 0, 0)
            if job.does["cluster"] != CHEAP:
                yield f"attempt {number} was preempted on a cluster that nobody takes from"
            elif not any(command.term_at for command in attempt.all()) and not taken(job, attempt, history):
                yield f"attempt {number} was preempted, and nobody had told it to end"
        elif why in TRIED_AGAIN:
            if not taken(job, attempt, history):
                yield f"attempt {number} ended by {why}, and no fault had ended it"
        elif number in told and number != job.told[-1]["attempt"]:
            yield f"attempt {number} was followed by another, and had ended by {why}"
    yield from check_found(job, attempts, history)


def check_found(job, attempts, history):
    """An attempt finds what earlier ones had written, once that was safe."""
    for number, attempt in attempts.items():
        safe = {output(command.rank, file) for earlier in attempts.values() if earlier.number < number for command in earlier.all()
                for at, file in command.files
                if history.undisturbed(at, command.leader_last, faults.PART | faults.HINDER, nodes_of(job, earlier.number)) > SHIPPED}
        for command in attempt.all() if safe else ():
            missing = safe - {f"outputs/{name}" for name in command.found}
            if not history.holds("an earlier attempt's files that the next did not find", len(missing), 0):
                yield f"attempt {number} began without {sorted(missing)}, which an earlier one had written"


def check_times(job, attempts, history):
    """What was to end did so in time. Time limits and what a command leaves behind are the supervisor's:
    there no fault is an excuse, since one that strikes it ends its commands."""
    limit = job.does.get("limit")
    if limit and job.does.get("ignore_term"):
        limit += GRACE
    for number, attempt in attempts.items():
        nodes = nodes_of(job, number)
        if job.acked_cancel:
            after = history.undisturbed(job.acked_cancel, attempt.start, faults.PART, nodes)
            if not history.holds("s from cancel to the last start", after, CANCEL_STARTS):
                yield f"attempt {number} began {attempt.start - job.acked_cancel:.1f} s after the cancel was acknowledged"
            after = history.undisturbed(job.acked_cancel, attempt.last, faults.PART, nodes)
            if not history.holds("s from cancel to the end", after, CANCEL_ENDS):
                yield f"attempt {number} ran {attempt.last - job.acked_cancel:.1f} s after the cancel was acknowledged"
        for command in attempt.all():
            if limit:
                over = command.leader_last - command.start - limit
                if not history.holds("s beyond a time limit", over, LIMIT_ENDS):
                    yield f"attempt {number} ran {command.leader_last - command.start:.1f} s, with a limit of {limit} s"
            if command.child_last:
                ended = command.exit_at or command.leader_last
                over = command.child_last - ended
                if not history.holds("s that a child outlived its command", over, OUTLIVES):
                    yield f"attempt {number}: a process outlived its command by {command.child_last - ended:.1f} s"


def check_ending(job, attempts, history):
    """Status, cause and exit code of a job that nobody canceled are those of its last attempt."""
    does, properties = job.does, job.document["properties"]
    status, facts = properties["status"], properties["properties"]
    cause = facts.get("turnout.cause")
    code = int(facts["turnout.exit_code"]) if "turnout.exit_code" in facts else None
    says = f"{status} ({cause}, exit code {code})"
    last = last_of(job, attempts)
    if cause == "preempted":
        yield f"{says}: it is to be tried again"
    elif cause in TRIED_AGAIN:
        failures = sum(row.get("cause") in TRIED_AGAIN for row in job.told)
        if failures < MOST_ATTEMPTS:
            yield f"{says} after {failures} attempts that failed: it is to be tried again"
        if last is None and not history.disk_was_full(job.acked, job.seen):
            yield f"{says}: the last attempt failed before it began, and the disk was not full"
        return
    # A SIGTERM to everything may meet a command at any moment, also before it wrote anything down.
    told_to_end = bool(job.told) and history.told_to_end(job.name, job.told[-1]["attempt"])
    if told_to_end and cause == "user_code" and code == 143 and (last is None or any(command.own_end() is None for command in last.all())):
        return
    if last is None:
        yield f"{says}, and the last attempt never began"
        return
    own = [command.own_end() for command in last.all()]
    if own == [0] * does.get("nodes", 1):
        if any(command.hog for command in last.all()):
            yield f"{says} of a command that used too much memory and was left alone"
        elif status != "Completed" or code != 0:
            yield f"{says}, and the command ended with 0"
    elif cause == "timeout":
        if "limit" not in does:
            yield f"{says} without a limit"
    elif any(command.hog for command in last.all()):
        if cause != "out_of_memory":
            yield f"{says} of a command that used too much memory"
    elif any(own):
        if cause != "user_code" or code not in own:
            yield f"{says}, and the command ended with {own}"
    elif taken(job, last, history):
        yield f"{says}, and a fault had ended the command: that is not the user's"
    elif any(command.term_at for command in last.all()):
        yield f"{says}: the command was told to end, by nobody"
    else:
        yield f"{says}, and the command noted no end"


def check_end(job, attempts, history):
    """{attempt number: (whether its logs have to be whole, {rank: until when they have to be there})}"""
    causes = {row["attempt"]: row.get("cause") for row in job.told}
    ends = {}
    for number, attempt in attempts.items():
        whole = causes.get(number, "internal") not in TRIED_AGAIN and not taken(job, attempt, history)
        # What it printed last may have been in the pipe of a supervisor that was killed, or that could
        # not write because the disk was full.
        ends[number] = whole, {command.rank: min(command.last, history.disk_filled_before(command.last)) - 1.0 for command in attempt.all()}
    return ends
