"""The steps on a real ledger, inbox and outbox: what each outcome leaves in the books."""

import errno
import sqlite3
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from negvol_pacs.config import Config, Delivery, Destination, Limits, Node, Profile
from negvol_pacs.errors import DatabaseDamaged, DiskFull, NoHead, StorageError
from negvol_pacs.storage.database import is_full
from negvol_pacs.storage.inbox import Origin
from negvol_pacs.storage.performed import Step, StepState
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind, State
from negvol_pacs.workflow import layout, pipeline
from negvol_pacs.workflow.delivery import Deliveries
from negvol_pacs.workflow.engine import Lost
from negvol_pacs.workflow.steps import Steps
from negvol_pacs.workflow.worker import _end_if_unusable

STUDY = "1.2.826.0.1.3680043.8.498.7"
RESULT = "2.25.1"


class Books:
    """Steps with their ledger, inbox and outbox in one folder."""

    def __init__(self, state, **config):
        self.config = Config(node=Node(state=state), limits=Limits(min_free_bytes=0), **config)
        self.ledger = layout.open_ledger(state)
        self.inbox = layout.open_inbox(self.config, self.ledger)
        self.outbox = layout.open_outbox(state)
        networks = SimpleNamespace(sha256="ab" * 32)
        self.steps = Steps(self.config, self.ledger, self.inbox, self.outbox, networks)

    def receive(self, folder):
        for path in sorted(folder.iterdir()):
            header = dcmread(path, stop_before_pixels=True)
            body = path.read_bytes()[144 + header.file_meta.FileMetaInformationGroupLength :]
            origin = Origin("association", "MODALITY", "NEGVOL", "NEGVOL")
            syntax = header.file_meta.TransferSyntaxUID
            incoming = self.inbox.receive(origin, header.SOPClassUID, header.SOPInstanceUID, syntax)
            incoming.write(body)
            self.inbox.commit(incoming)
        self.ledger.association_ended("association")

    def result(self, destination="pacs"):
        """A finished generation with one result that waits for delivery."""
        entry = Result(STUDY, 1, ResultKind.SR, RESULT, "x/1/sr.dcm", "f", (), 0.0)
        self.ledger.record_results([entry], [destination])

    def delivery(self):
        return self.ledger.deliveries()[0]

    def generation(self, number=1):
        return self.ledger.generation(STUDY, number)

    def close(self):
        self.ledger.close()


@pytest.fixture
def books(tmp_path):
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 0})) as books:
        yield books


def refuse(*_, **__):
    raise NoHead("There is no head in these images.")


def test_a_destination_that_is_not_configured_needs_a_person(books):
    books.result("gone")
    assert books.steps.deliver(STUDY, RESULT, "gone") is None
    assert books.delivery().state is DeliveryState.NEEDS_PERSON
    assert "no destination gone" in books.delivery().error


def test_an_unreachable_destination_is_tried_again_until_time_is_up(tmp_path):
    nobody = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    rules = Delivery(first_retry_s=1, longest_retry_s=3, give_up_after_s=9)
    with closing(Books(tmp_path, destinations=(nobody,), delivery=rules)) as books:
        books.result()
        path = books.outbox.path("x/1/sr.dcm")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\0" * 128 + b"DICM")
        books.ledger.record_attempt(RESULT, "pacs", DeliveryState.FAILED)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("negvol_pacs.workflow.delivery.send", unreachable)
            delays = [books.steps.deliver(STUDY, RESULT, "pacs") for _ in range(4)]
        assert delays == [2, 3, 3, None]
        assert books.delivery().state is DeliveryState.NEEDS_PERSON


def unreachable(*_):
    from negvol_pacs.errors import PeerUnreachable

    raise PeerUnreachable("pacs cannot be reached")


@given(st.floats(0.1, 100), st.floats(0.1, 1000), st.floats(0.1, 1e5))
def test_delays_grow_to_the_longest_and_end(first, longest, give_up):
    rules = Delivery(first_retry_s=first, longest_retry_s=longest, give_up_after_s=give_up)
    deliveries = Deliveries(Config(delivery=rules), None, None)
    total, attempts, former = 0.0, 0, 0.0
    while (delay := deliveries.delay(attempts + 1)) is not None and attempts < 50:
        assert former <= delay <= longest
        total, attempts, former = total + delay, attempts + 1, delay
    assert total <= give_up * 1.0001


def test_images_that_come_late_supersede_a_waiting_generation(books, make_ct):
    books.receive(make_ct("early"))
    assert books.steps.close(STUDY) == ([1], None)
    books.receive(make_ct("late", first=48, slices=2))
    assert books.steps.close(STUDY) == ([1, 2], None)
    assert books.steps.select(STUDY, 1) is False
    assert (books.generation(1).state, books.generation(1).code) == (State.CANCELLED, "superseded")
    assert books.steps.select(STUDY, 2) is True
    assert books.generation(2).state is State.PROCESSING


def test_close_looks_again_while_images_still_come(tmp_path, make_ct):
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 60})) as books:
        books.receive(make_ct())
        assert books.steps.close(STUDY) == ([], 60)


def test_what_its_modality_says_is_all_need_not_fall_quiet(tmp_path, make_ct):
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 3600})) as books:
        books.receive(make_ct(slices=2))
        assert books.steps.close(STUDY)[0] == []
        images = tuple(entry.sop_uid for entry in books.ledger.instances(STUDY))
        books.ledger.performed.enter(Step("1.2.3", STUDY, StepState.COMPLETED, images, "MODALITY", 0.0))
        assert books.steps.close(STUDY) == ([1], None)


def test_what_turns_out_to_be_no_head_is_refused_series_by_series(books, make_ct, monkeypatch):
    books.receive(make_ct("one"))
    books.receive(make_ct("two", spacing=0.9))
    books.steps.close(STUDY)
    assert books.steps.select(STUDY, 1)
    monkeypatch.setattr(pipeline, "process_series", refuse)
    assert books.steps.analyse(STUDY, 1) == []
    assert books.generation().state is State.REFUSED
    verdicts = books.ledger.verdicts(STUDY, 1)
    assert [(verdict.measured, verdict.code) for verdict in verdicts] == [(False, "no-head")] * 2


def test_analysis_repeated_after_a_crash_hands_on_the_same_deliveries_without_measuring(tmp_path, make_ct, monkeypatch):
    nobody = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    measured = []

    def process(selection, networks, config, folder, now, *, progress, former, prior, profile):
        measured.append(selection)
        folder.mkdir(parents=True)
        for name in ("sr.dcm", "joints.png"):
            (folder / name).write_bytes(b"x")
        return pipeline.Result(
            None, folder / "sr.dcm", folder / "joints.png", folder / "n.json", folder / "w.npz", "", RESULT, None
        )

    monkeypatch.setattr(pipeline, "process_series", process)
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 0}, destinations=(nobody,))) as books:
        books.receive(make_ct())
        books.steps.close(STUDY)
        books.steps.select(STUDY, 1)
        assert books.steps.analyse(STUDY, 1) == [(RESULT, "pacs")]
        assert books.steps.analyse(STUDY, 1) == [(RESULT, "pacs")]
        assert books.generation().state is State.DONE
        assert len(measured) == 1


def test_a_lost_study_needs_a_person_and_a_finished_one_does_not(books, make_ct):
    books.receive(make_ct())
    books.steps.close(STUDY)
    lost = Lost("study/x/1", "study", (STUDY, 1), "it crashed")
    books.steps.give_up(lost)
    assert (books.generation().state, books.generation().reason) == (State.FAILED, "it crashed")
    books.ledger.set_state(STUDY, 1, State.DONE)
    books.steps.give_up(lost)
    assert books.generation().state is State.DONE


def test_a_lost_delivery_needs_a_person_and_one_that_arrived_does_not(books):
    books.result()
    lost = Lost("delivery/x", "delivery", (STUDY, RESULT, "pacs", 1), "it crashed")
    books.steps.give_up(lost)
    assert books.delivery().state is DeliveryState.NEEDS_PERSON
    books.ledger.commitments.confirm(RESULT, "pacs")
    books.steps.give_up(replace(lost, reason="again"))
    assert books.delivery().state is DeliveryState.CONFIRMED


def test_each_series_that_the_gate_refuses_has_its_reason(books, make_ct):
    books.receive(make_ct("coarse", spacing=3.0))
    books.receive(make_ct("short", slices=5))
    books.steps.close(STUDY)
    assert books.steps.select(STUDY, 1) is False
    assert (books.generation().state, books.generation().code) == (State.REFUSED, "no-suitable-series")
    codes = {verdict.code for verdict in books.ledger.verdicts(STUDY, 1)}
    assert codes == {"spacing-too-coarse", "too-few-slices"}


def test_the_next_best_series_is_measured_when_the_best_is_no_head(books, make_ct, monkeypatch):
    books.receive(make_ct("one"))
    books.receive(make_ct("two", spacing=0.9))
    books.steps.close(STUDY)
    books.steps.select(STUDY, 1)
    measured = []

    def process(selection, networks, config, folder, now, *, progress, former, prior, profile):
        measured.append(selection.series)
        if len(measured) == 1:
            refuse()
        folder.mkdir(parents=True)
        return pipeline.Result(
            None, folder / "sr.dcm", folder / "joints.png", folder / "n.json", folder / "w.npz", "", RESULT, None
        )

    monkeypatch.setattr(pipeline, "process_series", process)
    assert books.steps.analyse(STUDY, 1) == []  # no destination
    assert books.generation().state is State.DONE
    verdicts = {verdict.series_uid: verdict.code for verdict in books.ledger.verdicts(STUDY, 1)}
    assert [verdicts[series.series_instance_uid] for series in measured] == ["no-head", ""]
    assert {result.kind for result in books.ledger.results(STUDY)} == {ResultKind.SR, ResultKind.PNG}


def test_each_called_ae_title_has_its_profile_and_what_retention_removed_is_made_again(tmp_path, make_ct, monkeypatch):
    seen = []

    def process(selection, networks, config, folder, now, *, progress, former, prior, profile):
        seen.append((profile, [header.SOPInstanceUID for header in former]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sr.dcm").write_bytes(b"x")
        return pipeline.Result(
            None, folder / "sr.dcm", folder / "joints.png", folder / "n.json", folder / "w.npz", "", RESULT, None
        )

    monkeypatch.setattr(pipeline, "process_series", process)
    wanted = Profile(ae_title="NEGVOL", results="measurements")
    profiles = (Profile(ae_title="OTHER", results="segmentation"), wanted)
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 0}, profiles=profiles)) as books:
        books.receive(make_ct())
        books.steps.close(STUDY)
        books.steps.select(STUDY, 1)
        books.steps.analyse(STUDY, 1)
        (picture,) = [entry for entry in books.ledger.results(STUDY) if entry.kind is ResultKind.PNG]
        assert not books.outbox.path(picture.path).exists(), "as after its removal"
        books.receive(make_ct("late", slices=2, first=48))
        books.steps.close(STUDY)
        books.steps.select(STUDY, 2)
        books.outbox.discard(STUDY, ())
        books.steps.analyse(STUDY, 2)
        assert seen == [(wanted, []), (wanted, [])]
        assert books.generation(2).state is State.DONE


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (DiskFull("less than the watermark"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (StorageError("damaged"), False),
    ],
)
def test_a_full_disk_is_recognised_below_other_errors(error, full):
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = error
    assert is_full(error) is is_full(wrapped) is full


@pytest.mark.parametrize(
    ("error", "exits"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), [70]),
        (DatabaseDamaged("ledger.db is damaged"), [65]),
        (OSError(errno.ENOSPC, "No space left on device"), [74]),
        (ValueError("of this study alone"), []),
    ],
)
def test_the_worker_ends_where_only_a_fresh_one_can_go_on(monkeypatch, error, exits):
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    _end_if_unusable(error)
    assert ended == exits
