"""The store SCP with real sockets: dcmtk's storescu and pynetdicom's SCU."""

import hashlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from network_node import RunningNode, ct_slice, write_series
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SegmentationStorage,
)
from structlog.testing import capture_logs

from negvol_pacs.storage.records import Instance, Result, ResultKind, State

needs_dcmtk = pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")


def dcmtk(program: str, node: RunningNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    host, port = node.address
    command = [program, "-aet", "TESTER", "-aec", "NEGVOL", *arguments[:-1], host, str(port), arguments[-1]]
    return subprocess.run([c for c in command if c], capture_output=True, text=True, timeout=60, check=False)


def send(node: RunningNode, ds, syntax=ExplicitVRLittleEndian) -> int:
    assoc = node.associate((ds.file_meta.MediaStorageSOPClassUID, syntax))
    assert assoc.is_established
    status = assoc.send_c_store(ds)
    assoc.release()
    return status.Status


@needs_dcmtk
def test_a_series_from_storescu_is_kept_bit_for_bit(node, tmp_path):
    sent = write_series(tmp_path / "series", 12)
    done = dcmtk("storescu", node, "--scan-directories", str(tmp_path / "series"))
    assert done.returncode == 0, done.stderr
    instances = node.ledger.instances("1.2.826.0.1.3680043.9.1")
    assert len(instances) == len(node.arrivals) == 12
    originals = {dcmread(path).SOPInstanceUID: dcmread(path) for path in sent}
    for instance in instances:
        stored = dcmread(node.inbox.path(instance))
        assert stored == originals[instance.sop_uid]
        assert stored.preamble == b"\0" * 128
        assert stored.file_meta.SourceApplicationEntityTitle == "TESTER"
        assert (instance.calling_ae, instance.called_ae, instance.generation) == ("TESTER", "NEGVOL", 1)
        content = node.inbox.path(instance).read_bytes()[-instance.size :]
        assert hashlib.sha256(content).hexdigest() == instance.sha256
    node.wait_until_idle()
    assert [end.studies for end in node.ends] == [frozenset({"1.2.826.0.1.3680043.9.1"})]


@needs_dcmtk
def test_echoscu_is_answered(node):
    done = subprocess.run(
        ["echoscu", "-aet", "TESTER", "-aec", "NEGVOL", node.address[0], str(node.address[1])], check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_syntaxes_arrive_as_sent(node, syntax):
    ds = ct_slice()
    if syntax != ExplicitVRLittleEndian:
        original = ct_slice()
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(original.PixelData, "<i2").astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
    assert send(node, ds, syntax) == 0x0000
    stored = dcmread(node.inbox.path(node.ledger.find_instance(ds.SOPInstanceUID)))
    assert stored.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(stored.pixel_array, ct_slice().pixel_array)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_syntaxes_arrive_as_sent(node, syntax):
    ds = ct_slice()
    ds.compress(syntax, generate_instance_uid=False)
    assert send(node, ds, syntax) == 0x0000
    stored = dcmread(node.inbox.path(node.ledger.find_instance(ds.SOPInstanceUID)))
    assert stored.PixelData == ds.PixelData
    np.testing.assert_array_equal(stored.pixel_array, ct_slice().pixel_array)


def test_deflated_and_other_sop_classes_are_not_negotiated(node):
    assoc = node.associate(
        (CTImageStorage, DeflatedExplicitVRLittleEndian),
        (MRImageStorage, ExplicitVRLittleEndian),
        (CTImageStorage, ExplicitVRLittleEndian),
    )
    assert [c.abstract_syntax for c in assoc.accepted_contexts] == [CTImageStorage]
    assert {(c.abstract_syntax, c.result) for c in assoc.rejected_contexts} == {
        (CTImageStorage, 4),
        (MRImageStorage, 3),
    }
    assoc.release()


def test_the_same_instance_again_is_one_instance(node):
    assert [send(node, ct_slice()) for _ in range(3)] == [0, 0, 0]
    assert [arrival.is_new for arrival in node.arrivals] == [True, False, False]
    assert len([path for path in node.files if path.suffix == ".dcm"]) == 1
    assert [g.number for g in node.ledger.generations()] == [1]


def test_other_content_under_the_same_uid_keeps_the_first_and_warns(node):
    first, second = ct_slice(), ct_slice()
    second.PatientName = "ROE^RICHARD"
    assert send(node, first) == 0x0000
    with capture_logs() as logs:
        assert send(node, second) == 0xB000
    assert "instance-conflict" in [entry["event"] for entry in logs]
    assert "ROE" not in str(logs)
    stored = dcmread(node.inbox.path(node.ledger.find_instance(first.SOPInstanceUID)))
    assert stored.PatientName == "DOE^JANE"
    assert len([path for path in node.files if path.suffix == ".dcm"]) == 1


def test_a_file_that_was_lost_is_stored_again(node):
    send(node, ct_slice())
    path = node.inbox.path(node.ledger.find_instance(ct_slice().SOPInstanceUID))
    path.unlink()
    assert send(node, ct_slice()) == 0x0000
    assert dcmread(path).PixelData == ct_slice().PixelData


def test_a_late_instance_opens_the_next_generation(node):
    send(node, ct_slice(1))
    study = ct_slice().StudyInstanceUID
    node.ledger.set_state(study, 1, State.DONE)
    send(node, ct_slice(2))
    assert [arrival.generation for arrival in node.arrivals] == [1, 2]
    assert len(node.inbox.paths(study, 1)) == 1 and len(node.inbox.paths(study)) == 2


def test_own_results_routed_back_are_ignored_and_others_refused(node):
    ds = ct_slice()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1234"
    assert send(node, ds) == 0x0122
    node.ledger.record_results([Result("1.2", 1, ResultKind.SEG, "2.25.1234", "x/seg.dcm", "f", (), 0.0)])
    assert send(node, ds) == 0x0000
    assert node.arrivals == [] and node.ledger.instances(ds.StudyInstanceUID) == []
    assert [path for path in node.files if path.suffix in {".dcm", ".part"}] == []


def test_a_callback_that_raises_does_not_undo_the_reception(tmp_path):
    node = RunningNode(tmp_path)
    node.listener._on_received = lambda _arrival: 1 / 0
    assert send(node, ct_slice()) == 0x0000
    assert node.ledger.find_instance(ct_slice().SOPInstanceUID) is not None
    assert node.answers_echo()
    node.close()


def test_an_error_in_the_ledger_is_a_failure_status_and_not_the_end(node, monkeypatch):
    def broken(_instance: Instance, _node: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(node.ledger, "record_instance", broken)
    assert send(node, ct_slice(1)) == 0x0110
    monkeypatch.undo()
    assert send(node, ct_slice(1)) == 0x0000
    assert node.answers_echo()


def test_stop_waits_for_open_associations_then_aborts_them_and_sees_their_end(tmp_path, monkeypatch):
    node = RunningNode(tmp_path)
    ended = node.ledger.association_ended
    monkeypatch.setattr(node.ledger, "association_ended", lambda name: (time.sleep(0.2), ended(name)))
    assoc = node.associate((CTImageStorage, ExplicitVRLittleEndian))
    assert assoc.send_c_store(ct_slice()).Status == 0x0000
    server = node.listener._server
    node.listener.stop(0.2)
    assert server.connections == 0
    assert len(node.ends) == 1, "and the ledger may be closed"
    assert not assoc.is_established
    node.close()


def test_importing_the_receiver_brings_neither_torch_nor_the_engine():
    code = "import sys, negvol_pacs.network.listener, negvol_pacs.network.sender; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "dbos", "monai", "open3d", "highdicom"} & set(loaded)
