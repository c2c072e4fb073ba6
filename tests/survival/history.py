"""What a run knows of each job, and what went wrong when: what the checker judges by."""
import faults
from world import since_boot

NEVER = float("inf")


class Job:
    def __init__(self, name, does):
        self.name, self.does = name, does
        self.acked = None         # since boot, when the server said it has it
        self.cancel_at = None     # when it will be asked to cancel it
        self.acked_cancel = None
        self.trials = []          # of a sweep: their jobs
        self.files = []           # its notes: (attempt number, path)
        self.document = None      # when it had ended
        self.told = []            # what the server then said of each attempt, the latest last
        self.seen = None          # since boot, when that was
        self.queued = False       # to be looked at
        self.next_look = 0.0
        self.looks = 0


class Fault:
    """One thing that went wrong."""

    def __init__(self, kind, running, waiting):
        self.kind, self.at, self.healed = kind, since_boot(), None
        self.running, self.waiting = running, waiting  # jobs, when it struck
        self.struck = NEVER  # since boot, when all that was to be killed was
        self.nodes = set()   # (cluster, node) whose tasks it ended
        self.agents = set()  # (cluster, node) whose agents it struck
        self.told = set()    # (job, attempt) whose processes it told to end


class History:
    def __init__(self):
        self.faults = []
        self.judged = {}  # rule -> [how often it had something to judge, the worst, what is allowed]

    def add(self, kind, running, waiting):
        self.faults.append(Fault(kind, running, waiting))
        return self.faults[-1]

    def under_way(self):
        return {fault.kind for fault in self.faults if fault.healed is None}

    def holds(self, rule, value, allowed):
        """Whether that much is allowed; remembers that the rule was asked."""
        known = self.judged.setdefault(rule, [0, 0.0, allowed])
        known[0] += 1
        known[1] = max(known[1], value)
        return value <= allowed

    def took(self, nodes, begin, end):
        """Whether a fault ended the tasks of one of those nodes while an attempt of that time lived
        there, or had just ended: its supervisor may have had no time to write that down, and cannot
        while the disk is full."""
        until = end + 3
        for fault in self.faults:
            if fault.kind == "disk full" and fault.at < until and (fault.healed or NEVER) > end:
                until = max(until, (fault.healed or NEVER) + 3)
        return any(fault.nodes & nodes and begin < fault.struck and fault.at < until for fault in self.faults)

    def told_to_end(self, job, number):
        return any((job, number) in fault.told for fault in self.faults)

    def disk_was_full(self, begin, end):
        return any(fault.kind == "disk full" and fault.at < end and (fault.healed or NEVER) > begin for fault in self.faults)

    def disk_filled_before(self, at):
        """When the disk became full that was full then, or just before; else `at`."""
        return min((fault.at for fault in self.faults if fault.kind == "disk full" and fault.at <= at <= (fault.healed or at) + 2), default=at)

    def undisturbed(self, begin, end, kinds, nodes):
        """Seconds of that time in which no fault of those kinds lasted, or was being got over, that
        concerned those nodes."""
        at, total = begin, 0.0
        for fault in sorted(self.faults, key=lambda fault: fault.at):
            if fault.kind in kinds and (fault.kind not in faults.OF_AGENTS or fault.agents & nodes):
                total += max(0.0, min(fault.at, end) - at)
                # An agent waits as long between attempts to connect as it has been trying, at most 5 s.
                over = NEVER if fault.healed is None else fault.healed + min(5.0, fault.healed - fault.at) + 1
                at = max(at, over)
        return total + max(0.0, end - at)
