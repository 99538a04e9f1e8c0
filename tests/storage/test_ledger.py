"""The ledger's promises: idempotence, generations, quiet periods, deliveries."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from negvol_pacs.errors import StorageError
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import DeliveryState, Instance, Outcome, Result, ResultKind, SeriesVerdict, State


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)
    yield ledger
    ledger.close()


def instance(number: int, study: str = "1.2.3", association: str = "a", content: str = "x") -> Instance:
    return Instance(
        sop_uid=f"{study}.1.{number}",
        series_uid=f"{study}.1",
        study_uid=study,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        path=f"{number}.dcm",
        size=10,
        sha256=content * 64,
        calling_ae="CT1",
        called_ae="NEGVOL",
        association_id=association,
        received_at=1000.0 + number,
    )


def result(kind: ResultKind, generation: int = 1, former: tuple[str, ...] = ()) -> Result:
    uid = "" if kind is ResultKind.PNG else f"2.25.{generation}{len(kind)}"
    return Result("1.2.3", generation, kind, uid, f"{generation}/{kind}", "f", former, 1000.0)


def test_an_instance_opens_the_first_generation(ledger):
    outcome, entry = ledger.record_instance(instance(1))
    assert (outcome, entry.generation) == (Outcome.NEW, 1)
    assert ledger.find_instance("1.2.3.1.1") == entry
    generation = ledger.generation("1.2.3")
    assert (generation.state, generation.instances, generation.calling_ae) == (State.RECEIVING, 1, "CT1")


def test_the_same_instance_again_changes_nothing(ledger):
    ledger.record_instance(instance(1))
    ledger.set_state("1.2.3", 1, State.DONE)
    outcome, entry = ledger.record_instance(replace(instance(1), association_id="b", path="other.dcm"))
    assert (outcome, entry.path) == (Outcome.REPEATED, "1.dcm")
    assert [g.number for g in ledger.generations("1.2.3")] == [1]


def test_other_content_under_the_same_uid_keeps_the_first(ledger):
    ledger.record_instance(instance(1))
    outcome, entry = ledger.record_instance(instance(1, content="y"))
    assert (outcome, entry.sha256) == (Outcome.CONFLICT, "x" * 64)
    assert len(ledger.instances("1.2.3")) == 1


def test_a_late_instance_opens_the_next_generation(ledger):
    ledger.record_instance(instance(1))
    ledger.set_state("1.2.3", 1, State.PROCESSING)
    assert ledger.record_instance(instance(2))[1].generation == 2
    assert [i.sop_uid for i in ledger.instances("1.2.3", 1)] == ["1.2.3.1.1"]
    assert len(ledger.instances("1.2.3", 2)) == 2
    assert [g.instances for g in ledger.generations("1.2.3")] == [1, 2]


def test_quiet_counts_from_the_last_instance_and_the_end_of_the_association(ledger, clock):
    ledger.record_instance(instance(1))
    clock.now += 31
    assert ledger.complete_if_quiet("1.2.3", 30) is None, "the association is still open"
    ledger.association_ended("a")
    clock.now += 29
    assert ledger.complete_if_quiet("1.2.3", 30) is None
    clock.now += 1
    assert ledger.complete_if_quiet("1.2.3", 30).state is State.COMPLETE
    assert ledger.complete_if_quiet("1.2.3", 30) is None, "closed once"


def test_an_association_that_never_ends_does_not_hold_a_study_for_ever(ledger, clock):
    ledger.record_instance(instance(1))
    clock.now += 299
    assert ledger.complete_if_quiet("1.2.3", 30) is None
    clock.now += 1
    assert ledger.complete_if_quiet("1.2.3", 30) is not None


def test_a_clock_that_is_set_back_holds_no_study_for_longer_than_another_quiet_period(ledger, clock):
    ledger.record_instance(instance(1))
    ledger.association_ended("a")
    clock.now -= 86400
    assert ledger.complete_if_quiet("1.2.3", 30) is None
    clock.now += 29
    assert ledger.complete_if_quiet("1.2.3", 30) is None
    clock.now += 1
    assert ledger.complete_if_quiet("1.2.3", 30) is not None


def test_a_clock_that_is_set_forward_closes_no_study_that_is_being_sent(ledger, clock):
    ledger.record_instance(instance(1))
    clock.now += 250
    assert ledger.complete_if_quiet("1.2.3", 30) is None


def test_a_restarted_receiver_ends_its_lost_associations_only(ledger, clock):
    ledger.record_instance(instance(1), node="here")
    ledger.record_instance(instance(1, study="1.2.4", association="b"), node="elsewhere")
    clock.now += 60
    ledger.end_lost_associations("here")
    clock.now += 30
    assert ledger.complete_if_quiet("1.2.3", 30) is not None
    assert ledger.complete_if_quiet("1.2.4", 30) is None


def test_an_instance_sent_again_starts_the_quiet_period_again(ledger, clock):
    ledger.record_instance(instance(1))
    ledger.association_ended("a")
    clock.now += 29
    ledger.record_instance(replace(instance(1), association_id="b"))
    clock.now += 29
    assert ledger.complete_if_quiet("1.2.3", 30) is None


def test_state_moves_only_from_what_is_expected(ledger):
    ledger.record_instance(instance(1))
    assert not ledger.set_state("1.2.3", 1, State.PROCESSING, expected=[State.COMPLETE])
    assert ledger.set_state("1.2.3", 1, State.REFUSED, code="gantry-tilt", reason="tilted", expected=[State.RECEIVING])
    entry = ledger.generations(states=[State.REFUSED])[0]
    assert (entry.code, entry.reason) == ("gantry-tilt", "tilted")
    assert not ledger.set_state("9.9", 1, State.DONE)


def test_the_newest_generations_come_last_and_are_limited(ledger, clock):
    for number in range(5):
        clock.now += 1
        ledger.record_instance(instance(1, study=f"1.2.{number}", association=str(number)))
    assert [g.study_uid for g in ledger.generations(limit=2)] == ["1.2.3", "1.2.4"]


def test_verdicts_are_replaced_not_doubled(ledger):
    verdict = SeriesVerdict("1.2.3", 1, "1.2.3.1", False, "localizer", "a scout")
    ledger.record_verdicts([verdict])
    ledger.record_verdicts([replace(verdict, measured=True, code="", reason="")])
    assert ledger.verdicts("1.2.3", 1) == [replace(verdict, measured=True, code="", reason="")]


def test_results_are_entered_once_and_planned_for_each_destination(ledger):
    made = [result(kind) for kind in ResultKind]
    ledger.record_results(made, ["PACS", "ARCHIVE"])
    ledger.record_attempt("2.25.13", "PACS", DeliveryState.SENT)
    ledger.record_results(made, ["PACS", "ARCHIVE"])
    assert sorted(r.kind for r in ledger.results("1.2.3", 1)) == ["PNG", "SEG", "SR"]
    sent = {(d.sop_uid, d.destination): (d.state, d.attempts) for d in ledger.deliveries("1.2.3")}
    assert sent == {
        ("2.25.13", "PACS"): (DeliveryState.SENT, 1),
        ("2.25.13", "ARCHIVE"): (DeliveryState.PENDING, 0),
        ("2.25.12", "PACS"): (DeliveryState.PENDING, 0),
        ("2.25.12", "ARCHIVE"): (DeliveryState.PENDING, 0),
    }
    assert ledger.is_own_result("2.25.13") and not ledger.is_own_result("") and not ledger.is_own_result("1.2.3.1.1")


def test_a_failed_delivery_can_be_tried_anew(ledger):
    ledger.record_results([result(ResultKind.SR)], ["PACS"])
    ledger.record_attempt("2.25.12", "PACS", DeliveryState.FAILED, "down", 1010.0)
    ledger.record_attempt("2.25.12", "PACS", DeliveryState.NEEDS_PERSON, "refused")
    needs = ledger.deliveries(states=[DeliveryState.NEEDS_PERSON])[0]
    assert (needs.attempts, needs.error) == (2, "refused")
    ledger.retry_delivery("2.25.12", "PACS")
    assert ledger.deliveries()[0].state is DeliveryState.PENDING


def test_former_results_are_those_of_the_latest_earlier_generation(ledger):
    ledger.record_results([result(ResultKind.SEG, 1), result(ResultKind.SR, 1)])
    ledger.record_results([result(ResultKind.SEG, 3, former=("2.25.13",)), result(ResultKind.PNG, 3)])
    assert [r.sop_uid for r in ledger.former_results("1.2.3", 3)] == ["2.25.13", "2.25.12"]
    assert [r.former for r in ledger.former_results("1.2.3", 4)] == [("2.25.13",)]
    assert ledger.former_results("1.2.3", 1) == []


def test_the_database_is_readable_by_the_service_alone(ledger, tmp_path):
    ledger.record_instance(instance(1))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), "0o600")
    connection = sqlite3.connect(tmp_path / "ledger.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_damaged_or_foreign_database_is_named(tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        Ledger(f"sqlite:///{damaged}")
    Ledger(f"sqlite:///{tmp_path}/other.db").close()
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("UPDATE negvol_schema SET version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="version 99"):
        Ledger(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(StorageError, match="cannot be opened"):
        Ledger(f"sqlite:///{damaged}/below/ledger.db")


WRITER = """
import sys
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
from test_ledger import instance
from negvol_pacs.storage.ledger import Ledger
ledger = Ledger(sys.argv[2])
for number in range(25):
    ledger.record_instance(instance(number, study="1.2." + sys.argv[3], association=sys.argv[3]))
    ledger.record_instance(replace(instance(number, study="7.7"), association_id=sys.argv[3]))
"""


def test_processes_that_start_and_write_at_once_lose_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), url]
    environment = os.environ | {"PYTHONPATH": ""}
    writers = [subprocess.Popen([*command, str(n)], env=environment) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    ledger = Ledger(url)
    assert {g.study_uid: g.instances for g in ledger.generations()} == {
        "1.2.0": 25, "1.2.1": 25, "1.2.2": 25, "1.2.3": 25, "7.7": 25,
    }  # fmt: skip
    ledger.close()
