"""What must hold of a job, told from its own notes and from what the server says of it."""
from plans import line

CAUSES = {"user_code", "out_of_memory", "timeout", "canceled", "preempted", "node_lost", "environment", "input", "internal"}
TERMINAL = ("Completed", "Failed", "Canceled")
CANCEL_GRACE = 30 + 15  # what a canceled command is given, and time to notice


class Attempt:
    """One attempt as its processes told it: files `{job}.{attempt}.{pid}`."""

    def __init__(self, number):
        self.number = number
        self.leaders = 0
        self.start = self.last = self.exit_at = self.term_at = None
        self.code = None
        self.lines = []       # (since boot, lines printed by then)
        self.metrics = {}     # step -> ok, maybe, sent
        self.files = []
        self.found = []
        self.signal = None
        self.hog = False
        self.trouble = None

    def read(self, text):
        leader = False
        for row in text.splitlines():
            at, role, what, *rest = row.split(" ")
            at = float(at)
            self.last = max(self.last or at, at)
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
                self.files.append(int(rest[0]))
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


def attempts_of(files):
    """`files`: [(attempt number, text)]"""
    attempts = {}
    for number, text in files:
        attempts.setdefault(number, Attempt(number)).read(text)
    # Where nothing stands yet, a process was killed before it did anything.
    return {number: attempt for number, attempt in attempts.items() if attempt.start is not None}


def check_log(does, attempt, text, whole, sure_until=None):
    """Violations of one attempt's log. `whole`: the command ended by itself, so all of it is there.
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
    for number, (at, row) in enumerate(own):
        wanted = line(does, attempt.number, number)
        if row == wanted and at + 1 < len(rows):
            continue
        torn = at + 1 == len(rows) and wanted.startswith(row) and (not whole or attempt.term_at)
        if not torn:
            yield f"line {number} of the log is {row[:60]!r}, not {wanted[:60]!r}"
            return
        own.pop()
    printed = attempt.lines[-1][1] if attempt.lines else 0
    # TERM may have come between a print and its note.
    if whole and not printed <= len(own) <= printed + (does["lines"] if attempt.term_at else 0):
        yield f"the log has {len(own)} of {printed} lines"
    if not whole:
        sure = max((count for at, count in attempt.lines if sure_until is not None and at < sure_until), default=0)
        if len(own) < sure:
            yield f"the log has {len(own)} lines, at least {sure} were printed {attempt.last - sure_until:.1f} s before the end"
        if len(own) > printed + does["lines"]:
            yield f"the log has {len(own)} lines, at most {printed + does['lines']} were printed"


def check_metrics(attempt, values):
    """`values`: [(step, value)] that the server has of this attempt."""
    steps = [step for step, value in values]
    for step, value in values:
        if value != step * 1.5:
            yield f"metric m{attempt.number} step {step} is {value}"
    for step in set(steps):
        if steps.count(step) > 1:
            yield f"metric m{attempt.number} step {step} is there {steps.count(step)} times"
        if step not in attempt.metrics:
            yield f"metric m{attempt.number} step {step} was never logged"
    lost = [step for step, state in attempt.metrics.items() if state == "ok" and step not in steps]
    if lost:
        yield f"metric m{attempt.number} was accepted and is lost: steps {lost}"


def last_of(job, attempts):
    """The attempt that the job ended with; None if that one never began. Attempts that were taken back
    from a node's stock before they began have a number and are not counted."""
    facts = job.document["properties"]["properties"]
    ran = facts.get("turnout.cause") in (None, "user_code", "timeout", "out_of_memory") or len(attempts) >= int(facts["turnout.attempts"])
    return attempts[max(attempts)] if attempts and ran else None


def check_story(job, attempts, faults):
    """Violations of status, cause, exit code, attempts and times. `job`: see survival.Job; `faults`:
    what happened when."""
    does, status = job.does, job.document["properties"]["status"]
    facts = job.document["properties"]["properties"]
    cause, count = facts.get("turnout.cause"), int(facts["turnout.attempts"])
    last = last_of(job, attempts)

    if status == "Completed" and cause:
        yield f"Completed with cause {cause}"
    if status != "Completed" and cause not in CAUSES:
        yield f"{status} with cause {cause!r}, which is not in the closed list"
    if len(attempts) > count:
        yield f"attempts {sorted(attempts)} ran and the server knows of {count}"
    for number, attempt in attempts.items():
        if attempt.trouble:
            yield f"attempt {number} could not do its work: {attempt.trouble}"
        if attempt.leaders > 1:
            yield f"attempt {number} was started {attempt.leaders} times"
    order = sorted(attempts)
    for before, after in zip(order, order[1:]):
        if attempts[before].last >= attempts[after].start:
            yield (f"attempt {before} was alive at {attempts[before].last:.3f}, after attempt {after} "
                   f"had begun at {attempts[after].start:.3f}")

    # Attempts before the last one: only what is not the user's doing is tried again.
    for number in order:
        attempt = attempts[number]
        if last and number == last.number:
            continue
        if not faults.may_have_ended(attempt):
            how = f"exit code {attempt.code}" if attempt.exit_at else "nothing noted of its end"
            yield f"attempt {number} was followed by another ({how}), and no fault had ended it"
    if job.acked_cancel:
        for number in order:
            attempt = attempts[number]
            if faults.undisturbed(job.acked_cancel, attempt.start) > 2:
                yield f"attempt {number} began {attempt.start - job.acked_cancel:.1f} s after the cancel was acknowledged"
            if faults.undisturbed(job.acked_cancel, attempt.last) > CANCEL_GRACE:
                yield f"attempt {number} ran {attempt.last - job.acked_cancel:.1f} s after the cancel was acknowledged"
    elif status == "Canceled":
        yield "Canceled, and nobody had asked for that"

    ended_by_fault = last is not None and faults.may_have_ended(last)
    code = int(facts["turnout.exit_code"]) if "turnout.exit_code" in facts else None
    if status == "Canceled":
        return
    if last is None:
        # It never began. Then something of ours failed, as often as the limit allows; or a SIGTERM to
        # everything met its interpreter before it could write anything down.
        if cause == "user_code" and code == 143 and faults.lasted("SIGTERM everything"):
            return
        if cause not in ("internal", "node_lost") or count < 3:
            yield f"{status} ({cause}) after {count} attempts, and the last never began"
        elif not faults.lasted("disk full"):
            yield f"{status} ({cause}): {count} attempts failed before they began, and the disk was never full"
    elif cause in ("internal", "node_lost", "preempted"):
        if count < 3:
            yield f"Failed ({cause}) after {count} attempts: it is to be tried again"
        if not ended_by_fault and not faults.lasted("disk full"):
            yield f"Failed ({cause}), and no fault had ended it"
    elif last.exit_at and last.code == 0:
        if status != "Completed":
            yield f"{status} ({cause}), and the command ended with 0"
        elif code != 0:
            yield f"exit code {code} of a command that ended with 0"
    elif last.exit_at and cause != "timeout":
        if cause != "user_code" or code != last.code:
            yield f"{status} ({cause}, exit code {code}), and the command ended with {last.code}"
        if last.term_at and not ended_by_fault:
            yield "the command was told to end, by nobody"
    elif cause == "timeout":
        if "timeout" not in does["kind"]:
            yield "Failed (timeout) without a limit"
    elif last.signal:
        if cause != "user_code" or code != 128 + last.signal:
            yield f"{status} ({cause}, exit code {code}), and the command was killed by signal {last.signal}"
    elif last.hog:
        if cause != "out_of_memory":
            yield f"{status} ({cause}) of a command that used too much memory"
    elif ended_by_fault:
        yield f"{status} ({cause}, exit code {code}), and a fault had ended the command: that is not the user's"
    else:
        yield f"{status} ({cause}, exit code {code}), and the command noted no end"


def check_end(job, attempts, faults):
    """{attempt number: (whether its log has to be whole, else until when it has to be there)}"""
    facts, last = job.document["properties"]["properties"], last_of(job, attempts)
    ends = {}
    for number, attempt in attempts.items():
        whole = (bool(attempt.exit_at) and attempt is last and
                 facts.get("turnout.cause") not in ("internal", "node_lost") and not faults.may_have_ended(attempt))
        # What it printed last may have been in the pipe of a supervisor that was killed, or that could
        # not write because the disk was full.
        ends[number] = (whole, min(attempt.last, faults.disk_filled_before(attempt.last)) - 1.0)
    return ends
