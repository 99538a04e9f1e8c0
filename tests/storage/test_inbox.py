"""Durability and order of the inbox; names on disk; the outbox and durable writing."""

import errno
import os
import stat
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from negvol_pacs.errors import DiskFull, MalformedObject, ObjectMismatch, StorageError
from negvol_pacs.storage import durable
from negvol_pacs.storage.inbox import Inbox, Origin
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.records import Outcome

ORIGIN = Origin("a", "CT1", "NEGVOL", "node")
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def inbox(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield Inbox(tmp_path / "inbox", ledger, 0)
    ledger.close()


def data_set(sop_uid: str = "1.2.3.4", name: str = "DOE^JANE", study: str = "1.2.3") -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT, sop_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientName = study, f"{study}.1", name
    ds.PatientID = "4711"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated = 4, 4, 1, 8
    ds.PixelData = bytes(16)
    ds["PixelData"].VR = "OB"
    return encode(ds, False, True)


def receive(inbox: Inbox, data: bytes | None = None, sop_uid: str = "1.2.3.4"):
    incoming = inbox.receive(ORIGIN, CT, sop_uid, ExplicitVRLittleEndian)
    incoming.write(memoryview(data or data_set(sop_uid)))
    return incoming


def files(inbox: Inbox) -> list[Path]:
    return [path for path in inbox._root.rglob("*") if path.is_file()]


def test_an_object_is_durable_before_its_row(inbox, monkeypatch):
    done: list[str] = []
    fsync, replace, record = os.fsync, Path.replace, inbox.ledger.record_instance

    def watch(name, function):
        def watched(*arguments):
            of_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            done.append("fsync folder" if of_folder else name)
            return function(*arguments)

        return watched

    monkeypatch.setattr(os, "fsync", watch("fsync", fsync))
    monkeypatch.setattr(Path, "replace", watch("rename", replace))
    monkeypatch.setattr(inbox.ledger, "record_instance", watch("row", record))
    inbox.commit(receive(inbox))
    assert [step for step in done if step != "fsync folder"] == ["fsync", "rename", "row"]
    assert done[-3:] == ["rename", "fsync folder", "row"]
    assert done.count("fsync folder") == 4, "objects, study and series folders are new, and the file's name"


def test_an_object_is_a_part_10_file_without_the_senders_preamble(inbox):
    outcome, instance = inbox.commit(receive(inbox))
    assert outcome is Outcome.NEW
    path = inbox.path(instance)
    assert path.read_bytes()[:132] == b"\0" * 128 + b"DICM"
    ds = dcmread(path)
    assert (ds.SOPInstanceUID, ds.file_meta.SourceApplicationEntityTitle) == ("1.2.3.4", "CT1")
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert inbox.paths("1.2.3", 1) == [path] and inbox.paths("1.2.3", 0) == []


def test_no_name_on_disk_comes_from_a_peer(inbox):
    _, instance = inbox.commit(receive(inbox))
    assert "1.2.3" not in instance.path and set(instance.path) <= set("objects/0123456789abcdef-.dcm")


@pytest.mark.parametrize("uid", ["../x", "a/b", "", "1.2.3/..", "1" * 65])
def test_a_uid_that_is_none_is_never_written(inbox, uid):
    incoming = inbox.receive(ORIGIN, CT, uid, ExplicitVRLittleEndian)
    incoming.write(data_set())
    with pytest.raises(MalformedObject):
        inbox.commit(incoming)
    incoming.abandon()
    assert files(inbox) == []


def test_a_symbolic_link_in_the_way_leads_nowhere(inbox, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (inbox._root / "objects").symlink_to(elsewhere)
    incoming = receive(inbox)
    with pytest.raises(StorageError, match="out of the inbox"):
        inbox.commit(incoming)
    incoming.abandon()
    assert list(elsewhere.iterdir()) == []


def test_two_contents_under_one_uid_at_the_same_moment_keep_one(inbox, monkeypatch):
    first, second = receive(inbox), receive(inbox, data_set(name="ROE^JIM"))
    monkeypatch.setattr(inbox.ledger, "find_instance", lambda _uid: None)  # neither sees the other
    outcomes = [inbox.commit(incoming)[0] for incoming in (first, second)]
    assert outcomes == [Outcome.NEW, Outcome.CONFLICT]
    assert len(files(inbox)) == 1
    assert dcmread(inbox.paths("1.2.3")[0]).PatientName == "DOE^JANE"


def test_another_object_than_announced_is_refused(inbox):
    incoming = receive(inbox, data_set("1.2.3.5"))
    with pytest.raises(ObjectMismatch):
        inbox.commit(incoming)
    incoming.abandon()
    assert files(inbox) == []


def test_the_watermark(inbox):
    inbox._min_free_bytes = 1 << 62
    with pytest.raises(DiskFull):
        inbox.require_space()
    incoming = receive(inbox)
    assert incoming.size == len(data_set())
    with pytest.raises(DiskFull):
        inbox.commit(incoming)
    assert files(inbox) == []


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageError)])
def test_an_error_of_the_disk_is_a_failure_and_nothing_is_entered(inbox, monkeypatch, number, error):
    incoming = receive(inbox)

    def broken(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(error) as caught:
        inbox.commit(incoming)
    assert type(caught.value) is error
    incoming.abandon()
    assert inbox.ledger.find_instance("1.2.3.4") is None
    assert files(inbox) == []


def test_a_really_full_disk(inbox):
    incoming = receive(inbox)
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    os.dup2(os.open("/dev/full", os.O_RDWR), incoming._file.fileno())
    with pytest.raises(DiskFull):
        inbox.commit(incoming)
    incoming.abandon()


def test_what_a_former_life_left_is_swept(inbox):
    lost, stored = receive(inbox, sop_uid="1.2.3.9"), receive(inbox)
    inbox.commit(stored)
    assert len(files(inbox)) == 2
    lost._file.close()
    inbox.recover("node")
    assert [path.suffix for path in files(inbox)] == [".dcm"]


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "new" / "folder" / "result.dcm"
    with durable.replacing(path) as temporary:
        temporary.write_bytes(b"first")
        assert not path.exists()
    with pytest.raises(RuntimeError), durable.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.dcm"]


def test_outbox_folders_are_hashes_and_half_written_results_are_swept(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    folder = outbox.folder("../../etc", 2)
    assert folder.is_relative_to(tmp_path / "outbox") and ".." not in folder.parts and folder.name == "2"
    with outbox.replacing(folder / "seg.dcm") as temporary:
        temporary.write_bytes(b"x")
    assert outbox.path(outbox.relative(folder / "seg.dcm")).read_bytes() == b"x"
    (folder / ".abc-sr.dcm.part").write_bytes(b"half")
    assert outbox.sweep() == 1
    assert [entry.name for entry in folder.iterdir()] == ["seg.dcm"]
