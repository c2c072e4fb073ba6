"""What goes wrong, and how long it stays so. Each fault does its harm and gives back what heals it,
or None when there is nothing to heal. `run` says what is under way (see survival.py)."""
import os
import signal
import time

from world import ServerEnded, kill


def bring_back(run):
    """Starts the server. On a full disk it may refuse to: it is asked again later."""
    try:
        run.world.start()
    except ServerEnded as why:
        if not run.disk_is_full and not run.disk_was_full():
            raise
        run.say(f"the server did not start on the full disk: {str(why).strip().splitlines()[-1]}")
        run.heal_later("server", 1.0, lambda: bring_back(run))
        return
    run.server_up = True
    seconds, jobs = run.world.recoveries[-1]
    if jobs >= 10_000 and seconds > 2 and not run.disk_was_full():
        run.violation("recovery", f"the server took {seconds:.2f} s to start with {jobs} jobs in the store, more than 2 s")


def end_server(run, number):
    run.server_up = False
    if not run.world.end_server(number):
        run.violation("server", f"the server did not end within 20 s of signal {number}")
    return lambda: bring_back(run)


def server_kill(run, rng):
    return end_server(run, signal.SIGKILL)


def server_term(run, rng):
    return end_server(run, signal.SIGTERM)


def some(rng, pids, most):
    pids = sorted(pids)
    return rng.sample(pids, min(len(pids), rng.randint(1, most)))


def agent_kill(run, rng):
    for pid in some(rng, run.world.processes().agents, 5):
        kill(pid, signal.SIGKILL)


def both_kill(run, rng):
    agents = some(rng, run.world.processes().agents, 20)
    heal = end_server(run, signal.SIGKILL)
    for pid in agents:
        kill(pid, signal.SIGKILL)
    return heal


def supervisor_kill(run, rng):
    for pid in some(rng, run.world.processes().supervisors, 2):
        kill(pid, signal.SIGKILL)


def node_kill(run, rng):
    found = run.world.processes()
    for pid in some(rng, found.supervisors, 2):
        agents, supervisors, tasks = found.of_node(found.supervisors[pid])
        # All at one moment: nobody may see how the others end.
        for one in agents + supervisors + tasks:
            kill(one, signal.SIGSTOP)
        for one in tasks + supervisors + agents:
            kill(one, signal.SIGKILL)


def agent_stop(run, rng):
    agents = some(rng, run.world.processes().agents, 6)
    for pid in agents:
        kill(pid, signal.SIGSTOP)
    return lambda: [kill(pid, signal.SIGCONT) for pid in agents]


def server_stop(run, rng):
    pid = run.world.process.pid
    kill(pid, signal.SIGSTOP)
    return lambda: kill(pid, signal.SIGCONT)


def link_refuse(run, rng):
    run.world.relay.say("refuse")
    return lambda: run.world.relay.say("open")


def link_hole(run, rng):
    run.world.relay.say("hole")
    reset = rng.random() < 0.5

    def heal():
        if reset:
            run.world.relay.say("reset")
        run.world.relay.say("open")
    return heal


def link_reset(run, rng):
    run.world.relay.say("reset")


def disk_full(run, rng):
    run.disk_is_full = True
    run.world.fill_disk()

    def heal():
        run.world.free_disk()
        run.disk_is_full = False
        run.disk_freed = time.monotonic()
    return heal


def clock_back(run, rng):
    run.world.clock.set(-rng.uniform(0.05, 30))
    return lambda: run.world.clock.set(0)


def clock_forward(run, rng):
    run.world.clock.set(rng.uniform(0.05, 30))
    return lambda: run.world.clock.set(0)


def term_all(run, rng):
    found = run.world.processes()
    run.server_up = False
    run.world.started.clear()
    os.kill(run.world.process.pid, signal.SIGTERM)
    for pid in found.all():
        kill(pid, signal.SIGTERM)
    return end_server(run, signal.SIGTERM)


# name: (what happens, seconds until it is healed in the short form, in the long form)
FAULTS = {
    "kill -9 server": (server_kill, (0, 2), (0, 15)),
    "SIGTERM server": (server_term, (0, 1), (0, 10)),
    "kill -9 agents": (agent_kill, None, None),
    "kill -9 server and agents": (both_kill, (0, 2), (0, 30)),
    "kill -9 supervisors": (supervisor_kill, None, None),
    "kill -9 whole nodes": (node_kill, None, None),
    "SIGSTOP agents": (agent_stop, (2, 6), (5, 75)),
    "SIGSTOP server": (server_stop, (1, 3), (2, 15)),
    "link refuses": (link_refuse, (2, 5), (3, 150)),
    "link swallows": (link_hole, (2, 5), (3, 150)),
    "link cut once": (link_reset, None, None),
    "disk full": (disk_full, (2, 4), (3, 25)),
    "server clock back": (clock_back, (3, 6), (10, 60)),
    "server clock forward": (clock_forward, (3, 6), (10, 60)),
    "SIGTERM everything": (term_all, (0, 2), (0, 5)),
}
NEED_SERVER = {"kill -9 server", "SIGTERM server", "kill -9 server and agents", "SIGSTOP server", "SIGTERM everything"}
LINK = {"link refuses", "link swallows", "link cut once"}
# After these a task may be gone by no fault of its own. Nothing else may touch one.
END_TASKS = {"kill -9 supervisors", "kill -9 whole nodes", "SIGTERM everything"}
EXCLUSIVE = [LINK, {"server clock back", "server clock forward"}, {"disk full"}, NEED_SERVER]


def schedule(rng, long_form, seconds):
    """[(second of the run, name, seconds it lasts, seed of its details)]"""
    plan, at = [], 0.0
    while True:
        names = list(FAULTS)
        rng.shuffle(names)
        for name in names:
            at += rng.uniform(1.0, 3.2) if not long_form else min(rng.expovariate(1 / 6), 20)
            if at > seconds:
                return plan
            hold = FAULTS[name][2 if long_form else 1]
            # Mostly short, now and then for as long as it may be.
            lasts = hold[0] + (hold[1] - hold[0]) * rng.random() ** 3 if hold else 0.0
            plan.append((at, name, lasts, rng.getrandbits(32)))
