"""The engine with real processes: killed, restarted, and everything still done once."""

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from node_process import until

from negvol_pacs.errors import AlreadyRunning
from negvol_pacs.workflow import process
from negvol_pacs.workflow.engine import MAX_RECOVERY_ATTEMPTS, Jobs, migrate, study_key

SCRIPT = Path(__file__).with_name("engine_process.py")


class Worker:
    """Starts, kills and watches the worker of one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.process: subprocess.Popen[bytes] | None = None
        self.behave()
        migrate(state)

    def behave(self, **behaviour: object) -> None:
        (self.state / "behaviour.json").write_text(json.dumps(behaviour))

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SCRIPT), str(self.state)], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def lines(self) -> list[str]:
        log = self.state / "log.txt"
        return log.read_text().splitlines() if log.exists() else []

    def wait_for(self, line: str, count: int = 1, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while self.lines().count(line) < count:
            assert time.monotonic() < deadline, f"{line!r} did not come {count} times: {self.lines()}"
            time.sleep(0.1)


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path)
    yield worker
    worker.kill()


@pytest.fixture
def jobs(worker):
    with closing(Jobs(worker.state)) as jobs:
        yield jobs


def test_signs_of_life_are_dispatched_once_when_quiet(worker, jobs):
    worker.start()
    worker.wait_for("ready")
    for _ in range(5):
        jobs.touch("1.2", 1.5)
        last = time.monotonic()
        time.sleep(0.5)
    assert "close 1.2" not in worker.lines()
    worker.wait_for("send 1.2.sr")
    assert time.monotonic() - last >= 1.5
    worker.wait_for("send 1.2.seg")
    assert sorted(worker.lines()[1:]) == sorted(
        ["close 1.2", "select 1.2 1", "begin 1.2", "end 1.2", "send 1.2.seg", "send 1.2.sr"]
    )


def test_what_would_wait_for_ever_since_the_clock_was_set_back_is_done_at_once(worker, jobs):
    jobs.touch("1.2", 86400)
    jobs.touch("1.3", 1800)
    worker.start()
    worker.wait_for("send 1.2.sr")
    assert "close 1.3" not in worker.lines()


def test_killed_in_analysis_only_the_analysis_is_done_again(worker, jobs):
    worker.behave(analyse_s=30)
    worker.start()
    jobs.touch("1.2", 0)
    worker.wait_for("begin 1.2")
    worker.kill()
    worker.behave()
    worker.start()
    worker.wait_for("send 1.2.sr")
    worker.wait_for("send 1.2.seg")
    lines = worker.lines()
    assert [lines.count(line) for line in ("close 1.2", "select 1.2 1", "begin 1.2", "end 1.2")] == [1, 1, 2, 1]
    assert lines.count("send 1.2.sr") == lines.count("send 1.2.seg") == 1


def test_a_waiting_delivery_survives_a_restart(worker, jobs):
    worker.behave(tries=1)
    worker.start()
    jobs.touch("1.2", 0)
    worker.wait_for("send 1.2.sr")
    worker.wait_for("send 1.2.seg")
    time.sleep(0.5)  # let the step be recorded
    worker.kill()
    worker.start()
    worker.wait_for("send 1.2.sr", 2)
    worker.wait_for("send 1.2.seg", 2)
    assert worker.lines().count("begin 1.2") == 1


def test_a_destination_that_is_stuck_holds_no_other_up(worker, jobs):
    worker.behave(stuck=["slow"])
    for number in range(20):
        jobs.retry_delivery("1.2", f"to-slow-{number}", "slow")
    jobs.retry_delivery("1.2", "to-pacs", "pacs")
    worker.start()
    worker.wait_for("send to-pacs")
    begun = sum(line.startswith("send to-slow") for line in worker.lines())
    assert begun <= 4
    worker.behave()
    worker.wait_for("send to-slow-19")


def test_what_an_earlier_release_handed_in_is_delivered(worker, jobs):
    """Its deliveries, to whatever destination, waited on one queue."""
    options = {"workflow_name": "delivery", "queue_name": "delivery", "app_version": "1", "priority": 10}
    worker.behave(tries=1)
    for delay in ({}, {"delay_seconds": 1.0}):
        jobs._client.enqueue(options | delay, "1.2", f"result-{len(delay)}", "pacs", 1)
    worker.start()
    for number in (0, 1):
        worker.wait_for(f"send result-{number}", 2)


def test_debounce_survives_while_no_worker_runs(worker, jobs):
    jobs.touch("1.2", 0.5)
    worker.start()
    worker.wait_for("send 1.2.sr")


def test_a_defect_is_lost_and_a_person_can_retry(worker, jobs):
    worker.behave(fail=True)
    worker.start()
    jobs.touch("1.2", 0)
    worker.wait_for("lost study 1.2 1 a defect")
    time.sleep(0.5)
    assert worker.lines().count("lost study 1.2 1 a defect") == 1
    worker.behave()
    jobs.retry_study("1.2", 1)
    worker.wait_for("send 1.2.sr")
    assert worker.lines().count("select 1.2 1") == 2


def test_refused_study_ends_without_analysis(worker, jobs):
    worker.start()
    jobs.touch("refused", 0)
    worker.wait_for("select refused 1")
    jobs.touch("1.2", 0)
    worker.wait_for("send 1.2.sr")
    assert "begin refused" not in worker.lines()


def test_stat_goes_before_what_waited_longer(worker, jobs):
    worker.behave(hold=True)
    worker.start()
    for study in ("first", "routine", "stat"):
        jobs.touch(study, 0)
        ids = [study_key(study, 1)]
        until(lambda ids=ids: jobs._client.list_workflows(workflow_ids=ids), what=study)
    worker.wait_for("begin first")
    worker.behave()
    worker.wait_for("begin routine")
    worker.wait_for("begin stat")
    begun = [line for line in worker.lines() if line.startswith("begin")]
    assert begun == ["begin first", "begin stat", "begin routine"]


def test_cancel_stops_before_the_next_step(worker, jobs):
    worker.behave(analyse_s=3)
    worker.start()
    jobs.touch("1.2", 0)
    worker.wait_for("begin 1.2")
    assert jobs.cancel("study/1.2/") == 1
    worker.wait_for("end 1.2")
    time.sleep(2)
    assert not [line for line in worker.lines() if line.startswith("send")]
    worker.behave()
    jobs.retry_study("1.2", 1)
    worker.wait_for("send 1.2.sr")


@pytest.mark.slow
def test_a_study_that_takes_the_worker_down_again_and_again_is_given_up(worker, jobs):
    worker.behave(die=True)
    jobs.touch("1.2", 0)
    for attempt in range(1 + MAX_RECOVERY_ATTEMPTS):
        worker.start()
        worker.wait_for("begin 1.2", attempt + 1)
        worker.process.wait(timeout=20)
    worker.start()
    worker.wait_for(f"lost study 1.2 1 the worker ended {1 + MAX_RECOVERY_ATTEMPTS} times while it ran")
    assert worker.lines().count("begin 1.2") == 1 + MAX_RECOVERY_ATTEMPTS


def test_only_one_process_holds_a_lock(tmp_path):
    with process.exclusive(tmp_path / "x.lock"), pytest.raises(AlreadyRunning), process.exclusive(tmp_path / "x.lock"):
        pass
    with process.exclusive(tmp_path / "x.lock"):
        pass
