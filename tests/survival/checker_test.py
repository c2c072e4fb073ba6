"""The checker itself: each way in which a job could be wronged is noticed."""
import unittest

import checker
import plans
from history import Fault, History, Job

DOES = {"index": 7, "kind": "plain", "cluster": "c1", "lines": 2, "width": 10, "steps": 3}


def command(text):
    return checker.attempts_of([(1, text)])[1].commands[0]


def log(*numbers):
    return "".join(plans.line(DOES, 1, 0, number) + "\n" for number in numbers)


def history_of(*faults):
    """`faults`: (kind, at, healed, nodes it struck, (job, attempt) it told to end)"""
    history = History()
    for kind, at, healed, nodes, told in faults:
        fault = Fault(kind, 60, 600)
        fault.at, fault.struck, fault.healed, fault.told = at, at + 0.1, healed, set(told)
        fault.nodes = fault.agents = {("c1", node) for node in nodes}
        history.faults.append(fault)
    return history


class Log(unittest.TestCase):
    ended = command("1.0 L start 5 w/j/1 0\n1.1 L lines 2\n1.5 L lines 4\n3.0 L exit 0\n")
    killed = command("1.0 L start 5 w/j/1 0\n1.1 L lines 2\n3.0 L lines 4\n")

    def wrong(self, command, text, whole):
        return list(checker.check_log(DOES, command, text, whole, command.last - 1.0))

    def test_as_it_was(self):
        self.assertEqual(self.wrong(self.ended, "a notice\n" + log(0, 1, 2, 3), True), [])
        for text in (log(0, 1), log(0, 1, 2, 3), log(0, 1, 2) + "#7", log(0, 1, 2, 3, 4, 5)):
            self.assertEqual(self.wrong(self.killed, text, False), [], text)
        for text in (log(0, 1, 2, 3), log(0, 1, 2, 3) + "#7", log(0, 1, 2, 3, 4, 5)):
            self.assertEqual(self.wrong(self.killed, text, True), [], text)

    def test_not_as_it_was(self):
        for text in (log(0, 1, 2), log(0, 1, 1, 2, 3), log(0, 2, 1, 3), log(1, 2, 3), "", log(0, 1, 2, 3)[:-1], log(0, 1, 2, 3, 4),
                     log(0, 1, 2, 3) + "somebody else's\n"):
            self.assertTrue(self.wrong(self.ended, text, True), text)
        for text in (log(0), log(0, 2), log(0, 1, 2, 3, 4, 5, 6)):
            self.assertTrue(self.wrong(self.killed, text, False), text)
        for text in (log(0, 1), log(0, 1, 2) + "#7"):
            self.assertTrue(self.wrong(self.killed, text, True), "its supervisor saw it end")


class Metrics(unittest.TestCase):
    notes = command("1 L start 5 w/j/1 0\n1 L metric 0\n1 L metric-ok 0\n1 L metric 1\n1 L metric-maybe 1 none\n")

    def test_each_once(self):
        for good in ([(0, 0.0)], [(0, 0.0), (1, 1.5)]):
            self.assertEqual(list(checker.check_metrics(self.notes, good)), [])
        for bad in ([], [(1, 1.5)], [(0, 0.0), (0, 0.0)], [(0, 0.5)], [(0, 0.0), (1, 1.5), (1, 1.5)], [(0, 0.0), (2, 3.0)]):
            self.assertTrue(list(checker.check_metrics(self.notes, bad)), bad)


class Story(unittest.TestCase):
    """`told`: the causes of the attempts as the server has them; each was on a node of its number."""

    def wrong(self, files, status, cause=None, code=None, told=(None,), canceled=None, faults=(), **does):
        job = Job("job", {**DOES, **does})
        facts = {}
        if cause:
            facts["turnout.cause"] = cause
        if code is not None:
            facts["turnout.exit_code"] = str(code)
        job.document = {"properties": {"status": status, "properties": facts}}
        job.told = [{"attempt": number, "nodes": [f"n{number}"], **({"cause": why} if why else {})}
                    for number, why in (one if isinstance(one, tuple) else (at, one) for at, one in enumerate(told, 1))]
        job.acked, job.seen, job.acked_cancel = 0.5, 100.0, canceled
        return list(checker.check_story(job, checker.attempts_of(files), history_of(*faults)))

    done = (1, "1.0 L start 5 w/j/1 0\n9.0 L exit 0\n")
    failed = (1, "1.0 L start 5 w/j/1 0\n9.0 L exit 3\n")
    cut = (1, "1.0 L start 5 w/j/1 0\n9.0 L lines 3\n")
    stopped = (1, "1.0 L start 5 w/j/1 0\n8.0 L term\n8.0 L exit 143\n")
    again = (2, "20.0 L start 6 w/j/2 0\n29.0 L exit 0\n")
    killed = ("kill -9 supervisors", 9.1, 9.1, ["n1"], [])
    elsewhere = ("kill -9 supervisors", 9.1, 9.1, ["n7"], [])
    cut_link = ("link refuses", 6.0, 200.0, [], [])

    def term_at(self, at, *told):
        return ("SIGTERM everything", at, at + 1, ["n1"], told)

    def test_as_it_was(self):
        self.assertEqual(self.wrong([self.done], "Completed", code=0), [])
        self.assertEqual(self.wrong([self.failed], "Failed", "user_code", 3, ["user_code"]), [])
        self.assertEqual(self.wrong([self.cut, self.again], "Completed", code=0, told=["internal", None], faults=[self.killed]), [])
        self.assertEqual(self.wrong([], "Canceled", "canceled", told=[], canceled=5.0), [])
        crash = (1, "1.0 L start 5 w/j/1 0\n9.0 L signal 11\n")
        self.assertEqual(self.wrong([crash], "Failed", "user_code", 139, ["user_code"]), [])
        # An attempt that was taken back from a node's stock has a number, and left nothing else.
        self.assertEqual(self.wrong([self.again], "Canceled", "canceled", told=[(2, "canceled")], canceled=30.0), [])

    def test_not_as_it_was(self):
        wrong = self.wrong
        self.assertTrue(wrong([self.done], "Failed", "user_code", 0, ["user_code"]), "it ended well")
        self.assertTrue(wrong([self.failed], "Failed", "user_code", 4, ["user_code"]), "another exit code")
        self.assertTrue(wrong([self.failed], "Completed", code=0), "it failed")
        self.assertTrue(wrong([self.failed], "Failed", "bad_luck", 3, ["user_code"]), "not in the list")
        self.assertTrue(wrong([self.done, self.again], "Completed", code=0, told=["internal", None]), "tried again without a reason")
        self.assertTrue(wrong([self.cut, self.again], "Completed", code=0, told=["internal", None], faults=[self.elsewhere]), "what was killed was another node")
        self.assertTrue(wrong([self.failed, self.again], "Completed", code=0, told=["user_code", None]), "the user's failure tried again")
        self.assertTrue(wrong([self.cut], "Failed", "internal", -1, ["internal"], faults=[self.killed]), "not tried again")
        self.assertTrue(wrong([self.cut], "Failed", "user_code", 137, ["user_code"], faults=[self.killed]), "the user blamed for a fault")
        self.assertTrue(wrong([self.done, (1, "1.5 L start 6 w/j/1 0\n")], "Completed", code=0), "one attempt ran twice")
        self.assertTrue(wrong([self.done, self.again], "Completed", code=0), "an attempt that nobody knows")
        self.assertTrue(wrong([self.cut, (1, "1.5 C start 7 w/j/1 0\n21.0 C beat\n"), self.again], "Completed", code=0, told=["internal", None],
                              faults=[self.killed]), "two attempts alive at once")
        self.assertTrue(wrong([self.done], "Canceled", "canceled"), "nobody had asked")
        self.assertTrue(wrong([self.cut], "Failed", "user_code", -1, ["user_code"], hog=True), "out of memory is named")

    def test_told_to_end(self):
        wrong = self.wrong
        self.assertEqual(wrong([], "Failed", "user_code", 143, ["user_code"], faults=[self.term_at(1.0, ("job", 1))]), [])
        self.assertEqual(wrong([self.stopped], "Failed", "user_code", 143, ["user_code"], faults=[self.term_at(8.0, ("job", 1))]), [])
        # The second attempt was met before it wrote anything down.
        self.assertEqual(wrong([self.cut], "Failed", "user_code", 143, ["internal", "user_code"], faults=[self.killed, self.term_at(20.0, ("job", 2))]), [])
        self.assertTrue(wrong([], "Failed", "user_code", 143, ["user_code"]), "by nobody")
        self.assertTrue(wrong([], "Failed", "user_code", 143, ["user_code"], faults=[self.term_at(1.0, ("other", 1))]), "another was")
        self.assertTrue(wrong([self.stopped], "Failed", "user_code", 143, ["user_code"]), "by nobody")
        self.assertTrue(wrong([self.failed], "Failed", "user_code", 143, ["user_code"], faults=[self.term_at(9.5, ("job", 1))]), "it had ended by itself")

    def test_never_began(self):
        thrice = ["internal"] * 3
        self.assertEqual(self.wrong([], "Failed", "internal", told=thrice, faults=[("disk full", 1.0, 50.0, [], [])]), [])
        self.assertTrue(self.wrong([], "Failed", "internal", told=thrice), "the disk was not full")
        self.assertTrue(self.wrong([], "Failed", "internal", told=thrice, faults=[("disk full", 101.0, 150.0, [], [])]), "nor then")
        self.assertTrue(self.wrong([], "Failed", "internal", told=["preempted", "internal", "internal"], faults=[("disk full", 1.0, 50.0, [], [])]), "preemption does not count")

    def test_cancel(self):
        late, longer = (1, "9.0 L start 5 w/j/1 0\n10.0 L lines 3\n"), (1, "1.0 L start 5 w/j/1 0\n90.0 L lines 3\n")
        for notes in (late, longer):
            self.assertTrue(self.wrong([notes], "Canceled", "canceled", told=["canceled"], canceled=5.0))
            self.assertEqual(self.wrong([notes], "Canceled", "canceled", told=["canceled"], canceled=5.0, faults=[self.cut_link]), [])
            self.assertTrue(self.wrong([notes], "Canceled", "canceled", told=["canceled"], canceled=5.0, faults=[("server clock back", 6.0, 200.0, [], [])]),
                            "what does not part server and node is no excuse")
            self.assertTrue(self.wrong([notes], "Canceled", "canceled", told=["canceled"], canceled=5.0, faults=[("SIGSTOP agents", 6.0, 200.0, ["n7"], [])]),
                            "nor the agent of another node")

    def test_times(self):
        forever = (1, "1.0 L start 5 w/j/1 0\n40.0 L lines 3\n")
        self.assertTrue(self.wrong([forever], "Failed", "timeout", told=["timeout"], limit=4))
        stopped = ("SIGSTOP agents", 3.0, 39.0, ["n1"], [])
        for fault in (stopped, self.cut_link):
            self.assertTrue(self.wrong([forever], "Failed", "timeout", told=["timeout"], limit=4, faults=[fault]), "it needs no agent and no server for that")
        self.assertEqual(self.wrong([forever], "Failed", "timeout", told=["timeout"], limit=4, ignore_term=True), [])
        self.assertTrue(self.wrong([self.done], "Failed", "timeout", told=["timeout"]), "it has no limit")
        child = (1, "1.5 C start 6 w/j/1 0\n30.0 C beat\n")
        self.assertTrue(self.wrong([self.done, child], "Completed", code=0), "a child outlives its command")
        hog = (1, "1.0 L start 5 w/j/1 0\n2.0 L hog\n9.0 L exit 0\n")
        self.assertTrue(self.wrong([hog], "Completed", code=0), "it was to be ended")

    def test_preempted(self):
        told = ["preempted", None]
        self.assertEqual(self.wrong([self.stopped, self.again], "Completed", code=0, told=told, cluster=plans.CHEAP), [])
        self.assertTrue(self.wrong([self.stopped, self.again], "Completed", code=0, told=told), "nobody takes from that cluster")
        self.assertTrue(self.wrong([self.cut, self.again], "Completed", code=0, told=told, cluster=plans.CHEAP), "it was not told to end")
        self.assertTrue(self.wrong([self.stopped], "Failed", "preempted", 143, ["preempted"], cluster=plans.CHEAP), "it is tried again")

    def test_what_was_safe_is_found(self):
        wrote = (1, "1.0 L start 5 w/j/1 0\n1.1 L file 0\n30.0 L lines 3\n")
        killed = ("kill -9 supervisors", 30.1, 30.1, ["n1"], [])
        finds = (2, "40.0 L start 6 w/j/2 0\n40.0 L found f0-0.txt\n49.0 L exit 0\n")
        begins = (2, "40.0 L start 6 w/j/2 0\n49.0 L exit 0\n")
        told = ["internal", None]
        self.assertEqual(self.wrong([wrote, finds], "Completed", code=0, told=told, faults=[killed]), [])
        self.assertTrue(self.wrong([wrote, begins], "Completed", code=0, told=told, faults=[killed]))
        self.assertEqual(self.wrong([wrote, begins], "Completed", code=0, told=told, faults=[killed, self.cut_link]), [])

    def test_two_nodes(self):
        def both(first, second, **more):
            return self.wrong([(1, f"1.0 L start 5 w/j/1 0\n{first}"), (1, f"1.1 L start 6 w/j/1 1\n{second}")], **{"nodes": 2, **more})

        good, bad, told_to = "9.0 L exit 0\n", "9.0 L exit 3\n", "9.1 L term\n9.1 L exit 143\n"
        self.assertEqual(both(good, good, status="Completed", code=0), [])
        self.assertEqual(both(told_to, bad, status="Failed", cause="user_code", code=3, told=["user_code"]), [])
        self.assertTrue(both(told_to, bad, status="Failed", cause="user_code", code=143, told=["user_code"]), "the one that failed is named")
        self.assertTrue(both(good, bad, status="Completed", code=0), "one failed")
        self.assertTrue(self.wrong([self.done], "Completed", code=0, nodes=2), "one never began")
        self.assertTrue(both(good, good, status="Completed", code=0, told=[None], nodes=1), "more than it asked for")
        self.assertTrue(self.wrong([self.done, (1, "1.5 L start 6 w/j/1 0\n9.0 L exit 0\n")], "Completed", code=0, nodes=2), "one rank ran twice")


if __name__ == "__main__":
    unittest.main()
