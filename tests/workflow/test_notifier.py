"""The notifier: many signs of life, few touches, none forgotten."""

import threading
import time
from contextlib import closing

from negvol_pacs.workflow import notifier as module
from negvol_pacs.workflow.notifier import Notifier


class Jobs:
    def __init__(self, failures=0):
        self.touched, self.failures, self.enough = [], failures, threading.Event()

    def touch(self, study, quiet_s):
        if self.failures:
            self.failures -= 1
            raise OSError("the database is locked")
        self.touched.append((study, quiet_s))
        self.enough.set()


def test_a_burst_is_few_touches_and_the_last_sign_counts():
    jobs = Jobs()
    with closing(Notifier(jobs, 3.0)) as notifier:
        for _ in range(500):
            notifier.alive("1.2", "1.3")
        time.sleep(2.5 * module._GATHER_S)
        notifier.alive("1.4")
    assert set(jobs.touched) == {("1.2", 3.0), ("1.3", 3.0), ("1.4", 3.0)}
    assert len(jobs.touched) <= 7


def test_a_failure_is_tried_again(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_S", 0.1)
    jobs = Jobs(failures=2)
    with closing(Notifier(jobs, 3.0)) as notifier:
        notifier.alive("1.2")
        assert jobs.enough.wait(5)
    assert jobs.touched == [("1.2", 3.0)]


def test_what_waits_at_the_end_is_passed_on():
    jobs = Jobs()
    notifier = Notifier(jobs, 3.0)
    notifier.alive("1.2")
    notifier.close()
    assert jobs.touched == [("1.2", 3.0)]


def test_a_study_that_is_whole_need_not_fall_quiet():
    jobs = Jobs()
    with closing(Notifier(jobs, 3.0, lambda study: study == "1.3")) as notifier:
        notifier.alive("1.2", "1.3")
    assert set(jobs.touched) == {("1.2", 3.0), ("1.3", 0.0)}
