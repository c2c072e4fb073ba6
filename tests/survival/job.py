"""What a job of the survival test does: `python3 -I -S job.py PLAN`, PLAN in JSON.

Everything it does it also writes down in a file of its own, where no fault reaches it:
`NOTES/{job}.{attempt}.{pid}`, a line each: seconds since boot, who (L leader, C child), what.
Of a job of several nodes each does this, by its rank.
A line about what was done is written after it was done, so the truth is at most one step ahead.
"""
import json
import os
import resource
import signal
import socket
import sys
import time

plan = json.loads(sys.argv[1])
attempt_id = os.environ["TURNOUT_ATTEMPT"]
_, job, attempt = attempt_id.rsplit("/", 2)
rank = int(os.environ.get("NODE_RANK", "0"))
role = "L"
notes = -1


def note(what):
    os.write(notes, f"{time.clock_gettime(time.CLOCK_BOOTTIME):.6f} {role} {what}\n".encode())


def open_notes():
    global notes
    path = f"{plan['notes']}/{job}.{attempt}.{os.getpid()}"
    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    note(f"start {os.getpid()} {attempt_id} {rank}")


def line(number):
    """Line `number` of this attempt's log: the checker makes the same text."""
    pad = (number * 7919 + plan["index"]) % plan["width"]
    return f"#{plan['index']}.{attempt}.{rank} {number} {'x' * pad}\n"


written = 0


def say(count):
    global written
    text = "".join(line(written + i) for i in range(count)).encode()
    while text:
        text = text[os.write(1, text):]
    written += count
    note(f"lines {written}")


def log_metric(step):
    """One value by MLflow's REST. Sent once: what was not answered may have arrived or not."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    address, _, path = uri.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    body = json.dumps({"run_id": os.environ["MLFLOW_RUN_ID"], "key": f"m{attempt}", "value": step * 1.5,
                       "timestamp": int(time.time() * 1000), "step": step})
    request = (f"POST /{path}/api/2.0/mlflow/runs/log-metric HTTP/1.1\r\nHost: {address}\r\n"
               f"Authorization: Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}").encode()
    deadline = time.monotonic() + 60
    while True:  # until the node's listener is there: nothing was sent before that
        try:
            link = socket.create_connection((host, int(port)), timeout=30)
            break
        except OSError:
            if time.monotonic() > deadline:
                return note(f"metric-away {step}")
            time.sleep(0.2)
    note(f"metric {step}")
    try:
        link.sendall(request)
        answer = link.recv(4096)
    except OSError:
        answer = b""
    link.close()
    status = answer.split(b" ", 2)[1].decode() if answer.count(b" ") > 1 else "none"
    note(f"metric-ok {step}" if status == "200" else f"metric-maybe {step} {status}")


def write_file(number):
    while True:
        try:
            with open(f"outputs/f{number}-{rank}.txt", "w") as out:
                out.write(f"{job} {attempt} {rank} {number}\n" * (10 + number))
            return note(f"file {number}")
        except OSError as why:  # the node's disk is full
            note(f"file-later {number} {why.errno}")
            time.sleep(0.3)


def on_term(*_):
    note("term")
    if not plan.get("ignore_term"):
        end(143)


def end(code):
    note(f"exit {code}")
    os._exit(code)


def child(session):
    """Ignores TERM and outlives the leader if nobody ends it."""
    global role
    if os.fork():
        return
    role = "C"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if session:
        os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    open_notes()
    for _ in range(600):
        time.sleep(0.25)
        note("beat")
    os._exit(0)


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, on_term)
    open_notes()
    # So that its end is known to a second, also when it waits for somebody.
    signal.signal(signal.SIGALRM, lambda *_: note("beat"))
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    found = sorted(os.listdir("outputs"))
    if found:
        note("found " + " ".join(found))
    for session in plan.get("children", []):
        child(session)
    for number in range(plan.get("files", 0)):
        write_file(number)
    fails = "exit" in plan and plan.get("exit_rank", rank) == rank
    metrics = plan.get("metrics", 0) if rank == 0 else 0
    for step in range(plan["exit_steps"] if fails and "exit_steps" in plan else plan["steps"]):
        say(plan["lines"])
        if step < metrics:
            log_metric(step)
        time.sleep(plan["gap"])
    if "signal" in plan:
        note(f"signal {plan['signal']}")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), plan["signal"])
    if "hog" in plan:
        note("hog")
        held = []
        for _ in range(plan["hog"] // 64):
            held.append(b"x" * (64 << 20))
            time.sleep(0.02)
            note("beat")
        for _ in range(20):
            time.sleep(0.25)
            note("beat")
    end(plan["exit"] if fails else 0)


try:
    main()
except Exception as why:
    note(f"trouble {why!r}")
    end(99)
