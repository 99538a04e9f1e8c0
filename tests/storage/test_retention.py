"""What is delivered and confirmed goes, in order; nothing else ever does; what a crash leaves is collected."""

import threading
from contextlib import closing

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from test_inbox import CT, data_set

from negvol_pacs.config import Config, Profile
from negvol_pacs.config import Retention as Rules
from negvol_pacs.storage.inbox import Inbox, Origin
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind, State
from negvol_pacs.storage.retention import Retention
from negvol_pacs.storage.turns import Turns

DAY = 86400.0


class Store:
    """Inbox, outbox and ledger with a clock that is set by hand; free space as the test says."""

    def __init__(self, folder):
        self.folder, self.now, self.told = folder, 0.0, []
        self.open()

    def open(self):
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db", lambda: self.now)
        self.inbox = Inbox(self.folder / "inbox", self.ledger, 0)
        self.outbox = Outbox(self.folder / "outbox")

    def close(self):
        self.ledger.close()

    def receive(self, study, number=1, called="NEGVOL"):
        uid = f"{study}.2.{number}"
        incoming = self.inbox.receive(Origin("a", "CT1", called, "node"), CT, uid, ExplicitVRLittleEndian)
        incoming.write(data_set(uid, study=study))
        try:
            return self.inbox.commit(incoming)
        finally:
            incoming.abandon()

    def finish(self, study, state=State.DONE, destinations=("pacs",), confirmed=("pacs",), generation=1):
        folder = self.outbox.folder(study, generation)
        folder.mkdir(parents=True)
        entries = []
        for kind, uid, name in ((ResultKind.SEG, f"{study}.91", "seg.dcm"), (ResultKind.SR, f"{study}.92", "sr.dcm")):
            (folder / name).write_bytes(b"x")
            entries.append(Result(study, generation, kind, uid, self.outbox.relative(folder / name), "f", (), 0.0))
        (folder / "widths.npz").write_bytes(b"x")
        self.ledger.record_results(entries if state is State.DONE else [], destinations)
        self.ledger.set_state(study, generation, state)
        for entry in entries:
            for name in confirmed:
                self.ledger.commitments.confirm(entry.sop_uid, name)

    def retention(self, *profiles, **rules):
        return Retention(
            self.inbox,
            self.outbox,
            Config(retention=Rules(**{"low_free_bytes": 0, **rules}), profiles=profiles),
            lambda *told: self.told.append(told),
            lambda: self.now,
        )

    def files(self, room="inbox"):
        return sorted(path.name for path in (self.folder / room).rglob("*") if path.is_file())

    def holds(self, study):
        return bool(self.ledger.instances(study))


def finished(store, study, at=0.0, **how):
    """A study that was received and ended at a moment."""
    store.now = at
    store.receive(study)
    store.finish(study, **how)
    return study


@pytest.fixture
def store(tmp_path):
    with closing(Store(tmp_path)) as store:
        yield store


def test_after_its_age_images_and_seg_go_and_the_report_stays(store):
    study = finished(store, "1.2")
    retention = store.retention(keep_days=30)
    store.now = 30 * DAY - 1
    assert not retention.turn() and store.holds(study)
    store.now = 30 * DAY
    assert retention.turn()
    assert not store.holds(study)
    assert (store.files(), store.files("outbox")) == ([], ["sr.dcm"])
    removal = store.ledger.removals.find(study)
    assert (removal.instances, removal.removed_at, removal.reason) == (1, store.now, "after 30 days")
    assert not retention.turn()
    assert store.told == [(study, "4711", "after 30 days")]


@pytest.mark.parametrize(
    "how",
    [
        {"confirmed": ()},
        {"destinations": ("pacs", "other")},
        {"destinations": ()},
        {"state": State.FAILED},
        {"state": State.PROCESSING},
        {"state": State.COMPLETE},
        {"state": State.RECEIVING},
        {"state": State.REFUSED},
        {"state": State.CANCELLED},
    ],
    ids=str,
)
def test_what_is_not_delivered_and_confirmed_everywhere_is_never_removed(store, how):
    study = finished(store, "1.2", **how)
    store.now = 1e6 * DAY
    assert not store.retention(keep_days=0, low_free_bytes=1 << 62).turn()
    assert store.holds(study)
    assert len(store.files()) == 1 and len(store.files("outbox")) == 3


@pytest.mark.parametrize("state", [DeliveryState.FAILED, DeliveryState.SENT, DeliveryState.NEEDS_PERSON])
def test_one_result_that_still_waits_keeps_the_study(store, state):
    study = finished(store, "1.2", confirmed=())
    store.ledger.commitments.confirm(f"{study}.91", "pacs")
    store.ledger.record_attempt(f"{study}.92", "pacs", state)
    assert not store.retention(keep_days=0).turn()
    store.ledger.commitments.confirm(f"{study}.92", "pacs")
    assert store.retention(keep_days=0).turn()


def test_late_images_keep_what_was_delivered_before(store):
    study = finished(store, "1.2")
    store.receive(study, 2)
    assert not store.retention(keep_days=0).turn()
    store.finish(study, generation=2)
    assert store.retention(keep_days=0).turn() and store.files() == []


def test_refused_studies_have_a_time_of_their_own(store):
    study = finished(store, "1.2", state=State.REFUSED)
    store.now = 10 * DAY
    assert not store.retention(keep_days=1, low_free_bytes=1 << 62).turn()
    assert store.retention(keep_refused_days=10).turn()
    assert not store.holds(study)


def test_below_the_low_watermark_the_oldest_goes_first_until_there_is_room(store, monkeypatch):
    young, old, undelivered = (
        finished(store, "1.3", at=2.0),
        finished(store, "1.2", at=1.0),
        finished(store, "1.1", at=0.0, confirmed=()),
    )
    monkeypatch.setattr(Inbox, "free_bytes", property(lambda inbox: 3 - len(inbox.ledger.paths())))
    retention = store.retention(low_free_bytes=1)
    assert retention.turn()
    assert (store.holds(young), store.holds(old), store.holds(undelivered)) == (True, False, True)
    assert not retention.turn(), "there is room again"
    assert store.retention(low_free_bytes=1 << 62).turn()
    assert not store.retention(low_free_bytes=1 << 62).turn() and store.holds(undelivered)


def test_a_profile_may_want_all_deleted_after_delivery(store):
    profile = Profile(ae_title="BRIEF", after_delivery="delete")
    kept, gone = finished(store, "1.2"), "1.3"
    store.receive(gone, called="BRIEF")
    store.finish(gone, confirmed=())
    retention = store.retention(profile)
    assert not retention.turn()
    for number in (91, 92):
        store.ledger.commitments.confirm(f"{gone}.{number}", "pacs")
    assert retention.turn() and not retention.turn()
    assert (store.holds(kept), store.holds(gone)) == (True, False)
    assert not store.outbox.folder(gone, 1).exists() and store.outbox.folder(kept, 1).exists()


def test_a_late_image_to_another_ae_title_keeps_what_was_to_be_deleted(store):
    study = "1.3"
    store.receive(study, called="BRIEF")
    store.finish(study)
    retention = store.retention(Profile(ae_title="BRIEF", after_delivery="delete"))
    (settled,) = store.ledger.removals.settled()
    assert retention._is_to_be_deleted(settled)
    store.now = 1.0
    store.receive(study, 2, called="NEGVOL")
    store.finish(study, generation=2)
    assert not retention.turn() and store.holds(study)


def test_a_study_that_is_sent_again_after_its_removal_is_received_anew(store):
    study = finished(store, "1.2")
    assert store.retention(keep_days=0).turn()
    outcome, entry = store.receive(study)
    assert (outcome, entry.generation) == ("new", 2)
    assert store.inbox.path(entry).is_file()


def test_nobody_removes_a_study_while_an_object_of_it_is_stored_nor_stores_while_it_is_removed():
    turns, order = Turns(), []
    with turns.adding("1.2"), turns.adding("1.2"):
        with turns.removing("1.2") as free:
            assert not free
        with turns.removing("1.3") as free:
            assert free
    with turns.removing("1.2") as free:
        assert free

        def add():
            with turns.adding("1.2"):
                order.append("added")

        thread = threading.Thread(target=add)
        thread.start()
        thread.join(0.1)
        order.append("removed")
    thread.join(10)
    assert order == ["removed", "added"]


def test_whole_files_that_the_ledger_does_not_know_are_entered_at_the_next_start(store):
    _, entry = store.receive("1.2")
    store.close()
    for path in store.folder.glob("ledger.db*"):
        path.unlink()
    store.open()
    store.inbox.recover("node")
    (found,) = store.ledger.instances("1.2")
    same = ("sop_uid", "series_uid", "path", "size", "sha256", "transfer_syntax", "calling_ae", "called_ae")
    assert [getattr(found, key) for key in same] == [getattr(entry, key) for key in same]
    assert store.ledger.complete_if_quiet("1.2", 0) is not None, "its association has ended"
    assert store.receive("1.2")[0] == "repeated"


@pytest.mark.parametrize("damage", [lambda data: data[:-8], lambda data: data.replace(b"JANE", b"JOHN"), lambda _: b""])
def test_a_file_that_is_not_what_its_name_says_is_put_aside(store, damage):
    _, entry = store.receive("1.2")
    path = store.inbox.path(entry)
    path.write_bytes(damage(path.read_bytes()))
    store.close()
    for file in store.folder.glob("ledger.db*"):
        file.unlink()
    store.open()
    store.inbox.recover("node")
    assert store.ledger.paths() == set()
    assert [path.parent.name for path in store.folder.rglob("*.dcm")] == ["quarantine"]


def test_killed_between_ledger_and_disk_a_removal_is_finished_at_the_next_start(store, monkeypatch):
    study = finished(store, "1.2")
    monkeypatch.setattr(Inbox, "discard", lambda *_: None)
    store.now = 1e12  # the files are older than that
    assert store.retention(keep_days=0).turn()
    assert len(store.files()) == 1
    store.inbox.recover("node")
    assert store.files() == [] and not store.holds(study)
