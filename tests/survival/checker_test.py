"""The checker itself: each way in which a job could be wronged is noticed."""
import unittest

import checker
import plans
from survival import Faults, Job

DOES = {"index": 7, "kind": "plain", "lines": 2, "width": 10, "steps": 3}


def attempt(text, number=1):
    return checker.attempts_of([(number, text)])[number]


def log(*numbers):
    return "".join(plans.line(DOES, 1, number) + "\n" for number in numbers)


class Log(unittest.TestCase):
    ended = attempt("1.0 L start 5 w/j/1\n1.1 L lines 2\n1.5 L lines 4\n3.0 L exit 0\n")
    killed = attempt("1.0 L start 5 w/j/1\n1.1 L lines 2\n3.0 L lines 4\n")

    def wrong(self, attempt, text, whole):
        return list(checker.check_log(DOES, attempt, text, whole, attempt.last - 1.0))

    def test_as_it_was(self):
        self.assertEqual(self.wrong(self.ended, "a notice\n" + log(0, 1, 2, 3), True), [])
        for text in (log(0, 1), log(0, 1, 2, 3), log(0, 1, 2) + "#7", log(0, 1, 2, 3, 4, 5)):
            self.assertEqual(self.wrong(self.killed, text, False), [], text)

    def test_not_as_it_was(self):
        for text in (log(0, 1, 2), log(0, 1, 1, 2, 3), log(0, 2, 1, 3), log(1, 2, 3), "", log(0, 1, 2, 3)[:-1], log(0, 1, 2, 3, 4),
                     log(0, 1, 2, 3) + "somebody else's\n"):
            self.assertTrue(self.wrong(self.ended, text, True), text)
        for text in (log(0), log(0, 2), log(0, 1, 2, 3, 4, 5, 6)):
            self.assertTrue(self.wrong(self.killed, text, False), text)


class Metrics(unittest.TestCase):
    notes = attempt("1 L start 5 w/j/1\n1 L metric 0\n1 L metric-ok 0\n1 L metric 1\n1 L metric-maybe 1 none\n")

    def test_each_once(self):
        for good in ([(0, 0.0)], [(0, 0.0), (1, 1.5)]):
            self.assertEqual(list(checker.check_metrics(self.notes, good)), [])
        for bad in ([], [(1, 1.5)], [(0, 0.0), (0, 0.0)], [(0, 0.5)], [(0, 0.0), (1, 1.5), (1, 1.5)], [(0, 0.0), (2, 3.0)]):
            self.assertTrue(list(checker.check_metrics(self.notes, bad)), bad)


class Story(unittest.TestCase):
    def wrong(self, files, status, cause=None, code=None, count=1, canceled=None, fault=None, **does):
        job = Job("job", {**DOES, **does})
        facts = {"turnout.attempts": str(count)}
        if cause:
            facts["turnout.cause"] = cause
        if code is not None:
            facts["turnout.exit_code"] = str(code)
        job.document = {"properties": {"status": status, "properties": facts}}
        job.acked_cancel = canceled
        faults = Faults()
        if fault:
            faults.rows.append([*fault, fault[1], 0, 0])
        return list(checker.check_story(job, checker.attempts_of(files), faults))

    done = (1, "1.0 L start 5 w/j/1\n9.0 L exit 0\n")
    failed = (1, "1.0 L start 5 w/j/1\n9.0 L exit 3\n")
    cut = (1, "1.0 L start 5 w/j/1\n9.0 L lines 3\n")
    again = (2, "20.0 L start 6 w/j/2\n29.0 L exit 0\n")
    killed = ("kill -9 supervisors", 9.1)

    def test_as_it_was(self):
        self.assertEqual(self.wrong([self.done], "Completed", code=0), [])
        self.assertEqual(self.wrong([self.failed], "Failed", "user_code", 3), [])
        self.assertEqual(self.wrong([self.cut, self.again], "Completed", code=0, count=2, fault=self.killed), [])
        self.assertEqual(self.wrong([], "Canceled", "canceled", count=0, canceled=5.0), [])
        crash = (1, "1.0 L start 5 w/j/1\n9.0 L signal 11\n")
        self.assertEqual(self.wrong([crash], "Failed", "user_code", 139), [])

    def test_not_as_it_was(self):
        wrong = self.wrong
        self.assertTrue(wrong([self.done], "Failed", "user_code", 0), "it ended well")
        self.assertTrue(wrong([self.failed], "Failed", "user_code", 4), "another exit code")
        self.assertTrue(wrong([self.failed], "Completed", code=0), "it failed")
        self.assertTrue(wrong([self.failed], "Failed", "bad_luck", 3), "not in the list")
        self.assertTrue(wrong([self.done, self.again], "Completed", code=0, count=2), "tried again without a reason")
        self.assertTrue(wrong([self.failed, self.again], "Completed", code=0, count=2), "the user's failure tried again")
        self.assertTrue(wrong([self.cut], "Failed", "internal", -1, fault=self.killed), "not tried again")
        self.assertTrue(wrong([self.cut], "Failed", "user_code", 137, fault=self.killed), "the user blamed for a fault")
        self.assertTrue(wrong([self.done, (1, "1.5 L start 6 w/j/1\n")], "Completed", code=0), "one attempt ran twice")
        self.assertTrue(wrong([self.done, self.again], "Completed", code=0, count=1), "an attempt that nobody knows")
        self.assertTrue(wrong([self.cut, (1, "1.5 C start 7 w/j/1\n21.0 C beat\n"), self.again], "Completed", code=0, count=2, fault=self.killed),
                        "two attempts alive at once")
        self.assertTrue(wrong([self.done], "Canceled", "canceled"), "nobody had asked")
        self.assertTrue(wrong([self.again], "Canceled", "canceled", count=2, canceled=5.0), "began after the cancel")
        self.assertTrue(wrong([(1, "1.0 L start 5 w/j/1\n90.0 L lines 3\n")], "Canceled", "canceled", canceled=5.0), "ran on after the cancel")
        self.assertTrue(wrong([self.cut], "Failed", "user_code", -1, hog=True), "out of memory is named")


if __name__ == "__main__":
    unittest.main()
