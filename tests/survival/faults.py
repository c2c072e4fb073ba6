"""What goes wrong, and how long it stays so. Each fault does its harm, notes in `fault` whom it struck
(history.Fault), and gives back what heals it, or None when there is nothing to heal. `run` says what
is under way (see survival.py)."""
import os
import signal
import time
from pathlib import Path

from world import ServerEnded, kill, since_boot


def bring_back(run):
    """Starts the server. On a full disk it may refuse to: it is asked again later."""
    try:
        seconds = run.world.start()
    except ServerEnded as why:
        if not run.disk_is_full and not run.disk_was_full():
            raise
        run.say(f"the server did not start on the full disk: {str(why).strip().splitlines()[-1]}")
        run.heal_later(1.0, lambda: bring_back(run))
        return
    run.server_up = True
    jobs = run.world.jobs_in_store
    if seconds and jobs >= 10_000 and seconds > 2 and not run.disk_was_full():
        run.violation("recovery", f"the server took {seconds:.2f} s to start with {jobs} jobs in the store, more than 2 s")


def end_server(run, number):
    run.server_up = False
    if not run.world.end_server(number):
        run.violation("server", f"the server did not end within 20 s of signal {number}")
    return lambda: bring_back(run)


def server_kill(run, rng, fault):
    return end_server(run, signal.SIGKILL)


def server_term(run, rng, fault):
    return end_server(run, signal.SIGTERM)


def some(rng, pids, most):
    pids = sorted(pids)
    return rng.sample(pids, min(len(pids), rng.randint(1, most)))


def some_agents(run, rng, fault, most):
    found = run.world.processes().agents
    chosen = some(rng, found, most)
    fault.agents |= {tuple(found[pid].split("/")[-2:]) for pid in chosen}
    return chosen


def agent_kill(run, rng, fault):
    for pid in some_agents(run, rng, fault, 5):
        kill(pid, signal.SIGKILL)


def both_kill(run, rng, fault):
    agents = some_agents(run, rng, fault, 20)
    heal = end_server(run, signal.SIGKILL)
    for pid in agents:
        kill(pid, signal.SIGKILL)
    return heal


def hold(run, fault, supervisors):
    """Stops those supervisors, so that none of their tasks begins or ends unseen, and notes whose they
    are. The processes then."""
    for pid in supervisors:
        kill(pid, signal.SIGSTOP)
    found = run.world.processes()
    for _ in range(20):
        if not found.starting:
            break
        time.sleep(0.01)
        found = run.world.processes()
    fault.nodes |= {node_of(found.supervisors[pid]) for pid in supervisors if pid in found.supervisors}
    return found


def node_of(folder):
    """(cluster, node) of a node's folder."""
    return tuple(Path(folder).name.rsplit("_", 2)[1:])


def supervisor_kill(run, rng, fault):
    chosen = some(rng, run.world.processes().supervisors, 2)
    hold(run, fault, chosen)
    for pid in chosen:
        kill(pid, signal.SIGKILL)
    fault.struck = since_boot()


def node_kill(run, rng, fault):
    chosen = some(rng, run.world.processes().supervisors, 2)
    found = hold(run, fault, chosen)
    for pid in chosen:
        if pid not in found.supervisors:
            continue
        agents, supervisors, tasks = found.of_node(found.supervisors[pid])
        # All at one moment: nobody may see how the others end.
        for one in agents + supervisors + tasks:
            kill(one, signal.SIGSTOP)
        for one in tasks + supervisors + agents:
            kill(one, signal.SIGKILL)
    fault.struck = since_boot()


def agent_stop(run, rng, fault):
    agents = some_agents(run, rng, fault, 6)
    for pid in agents:
        kill(pid, signal.SIGSTOP)
    return lambda: [kill(pid, signal.SIGCONT) for pid in agents]


def server_stop(run, rng, fault):
    pid = run.world.process.pid
    kill(pid, signal.SIGSTOP)
    return lambda: kill(pid, signal.SIGCONT)


def link_refuse(run, rng, fault):
    run.world.relay.say("refuse")
    return lambda: run.world.relay.say("open")


def link_hole(run, rng, fault):
    run.world.relay.say("hole")
    reset = rng.random() < 0.5

    def heal():
        if reset:
            run.world.relay.say("reset")
        run.world.relay.say("open")
    return heal


def link_reset(run, rng, fault):
    run.world.relay.say("reset")


def disk_full(run, rng, fault):
    run.disk_is_full = True
    run.world.fill_disk()

    def heal():
        run.world.free_disk()
        run.disk_is_full = False
        run.disk_freed = time.monotonic()
    return heal


def clock_back(run, rng, fault):
    run.world.clock.set(-rng.uniform(0.05, 30))
    return lambda: run.world.clock.set(0)


def clock_forward(run, rng, fault):
    run.world.clock.set(rng.uniform(0.05, 30))
    return lambda: run.world.clock.set(0)


def term_all(run, rng, fault):
    found = hold(run, fault, list(run.world.processes().supervisors))
    fault.nodes |= {node_of(folder) for folder in found.supervisors.values()}  # also of one that began meanwhile
    for attempt in found.tasks.values():
        _, job, number = attempt.rsplit("/", 2)
        fault.told.add((job, int(number)))
    run.server_up = False
    run.world.started.clear()
    os.kill(run.world.process.pid, signal.SIGTERM)
    everything = found.all()
    rng.shuffle(everything)
    for pid in everything:
        kill(pid, signal.SIGTERM)
        kill(pid, signal.SIGCONT)
    fault.struck = since_boot()
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
OF_AGENTS = {"kill -9 agents", "SIGSTOP agents"}  # these concern a few nodes, the others all
# Meanwhile server and nodes do not hear each other.
PART = LINK | NEED_SERVER | OF_AGENTS
# Meanwhile a node may do less than it should: its agent is away, or nobody is there to start it again,
# or nothing can be written.
HINDER = NEED_SERVER | OF_AGENTS | {"disk full"}
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
            # Mostly short, now and then for as long as it may be. While the link is cut nothing begins, and
            # too little runs soon: of those the long ones are rarer.
            lasts = hold[0] + (hold[1] - hold[0]) * rng.random() ** (8 if name in LINK else 3) if hold else 0.0
            plan.append((at, name, lasts, rng.getrandbits(32)))
