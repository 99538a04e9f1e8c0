"""Objects that unpack, nest or claim too much, crash a decoder or are two things at once.

Threats 9 to 11, 16, 17 and 19.
"""

import contextlib
import os
import shutil
import struct
import subprocess
import sys

import pytest
from ct_objects import voxels, write_ct
from hostile_pacs import report
from network_node import RunningNode, ct_slice
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian
from raw_peer import CT, associated, association_request, raw_data_set, read_pdu, send_raw

from negvol_pacs.errors import ForeignReport, UnreadablePixels
from negvol_pacs.network import dicomweb, offer
from negvol_pacs.network.retriever import Wanted
from negvol_pacs.report import collection
from negvol_pacs.series import isolation, reader, selection
from negvol_pacs.series.isolation import Decoder, DecoderFailed
from negvol_pacs.storage import identify, scan
from negvol_pacs.storage.inbox import Inbox, Incoming


@pytest.mark.threat(9)
def test_deflated_objects_are_not_taken(switch, tmp_path):
    syntaxes = (*offer.TRANSFER_SYNTAXES, DeflatedExplicitVRLittleEndian)
    switch.off(offer, "TRANSFER_SYNTAXES", syntaxes)
    node = RunningNode(tmp_path)
    assoc = node.associate((CTImageStorage, DeflatedExplicitVRLittleEndian))
    assert assoc.is_established == switch.is_off
    assoc.abort()
    node.close()


@pytest.mark.threat(9)
def test_deflated_files_are_not_inflated(switch, tmp_path):
    inflated = []
    (path,) = write_ct(tmp_path, voxels((1, 64, 64)))
    ds = selection.dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    read = selection.dcmread
    selection_reads = lambda *a, **k: inflated.append(1) or read(*a, **k)  # noqa: E731
    switch.off(selection, "DeflatedExplicitVRLittleEndian", "")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selection, "dcmread", selection_reads)
        selection.read_headers([path], lambda *_: None)
    assert bool(inflated) == switch.is_off


@pytest.mark.threat(9)
def test_deflated_reports_are_not_inflated(switch, tmp_path):
    ds = report("1.2.3")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    switch.off(collection, "DeflatedExplicitVRLittleEndian", "")
    with pytest.raises(ForeignReport) as refused:
        collection.read_file(tmp_path / "sr.dcm")
    assert str(refused.value).startswith("deflated") != switch.is_off


@pytest.mark.threat(10)
def test_deep_nesting_is_refused(switch, node):
    switch.off(scan, "MAX_DEPTH", 10**6)
    nest = b""
    for _ in range(300):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(nest)) + nest
        nest = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
    data = raw_data_set(ct_slice())
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    status, comment = send_raw(node, data[:at] + nest + data[at:])
    assert (status, comment) == ((0, "") if switch.is_off else (0xC000, "nested more than 64 deep"))


@pytest.mark.threat(11)
def test_pixels_that_are_not_there_are_not_believed(switch, node):
    """65535 × 65535 pixels of 16 bits in 99999999 frames overflow every counter of 32 and 64 bits."""
    switch.off(identify, "_check_pixels", lambda *_: None)
    ds = ct_slice()
    ds.Rows = ds.Columns = 65535
    ds.NumberOfFrames = "99999999"
    status, _ = send_raw(node, raw_data_set(ds))
    assert (status == 0) == switch.is_off


@pytest.mark.threat(11)
def test_a_volume_beyond_the_budget_is_not_allocated(switch, tmp_path, monkeypatch):
    class Allocated(Exception):
        pass

    def fill(*_):
        raise Allocated

    monkeypatch.setattr(reader, "_fill", fill)
    monkeypatch.setattr(reader, "MAX_VOXELS", 300)
    switch.off(reader, "MAX_VOXELS", 1 << 60)
    (series,) = selection.read_headers(write_ct(tmp_path, voxels((12, 6, 5))))
    with pytest.raises(Allocated if switch.is_off else UnreadablePixels):
        reader.read_volume(series)


@pytest.fixture
def crashing(tmp_path):
    """A JPEG on which GDCM 3.2 aborts."""
    if not shutil.which("dcmcjpeg"):
        pytest.skip("dcmtk is not installed")
    (path,) = write_ct(tmp_path, voxels((1, 33, 31)))
    subprocess.run(["dcmcjpeg", "+e1", path, path], check=True)
    path.write_bytes(path.read_bytes().replace(b"\xff\xc4\x00\x1f", b"\x3c\xc4\x00\x1f"))
    return path


HERE = "import sys; from pydicom.pixels.utils import iter_pixels; list(iter_pixels({path!r}, decoding_plugin='gdcm'))"
ISOLATED = """
import sys
from negvol_pacs.series.isolation import Decoder, DecoderFailed
with Decoder() as decoder:
    try:
        list(decoder.frames({path!r}, "gdcm"))
    except DecoderFailed:
        sys.exit(7)
"""


@pytest.mark.threat(11)
def test_a_decoder_that_crashes_takes_no_other_process_along(switch, crashing):
    """The switch is the process: without one of its own the decoder ends the worker."""
    script = (HERE if switch.is_off else ISOLATED).format(path=str(crashing))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert done.returncode == (-6 if switch.is_off else 7)


@pytest.mark.threat(11)
def test_a_decoder_that_wants_too_much_memory_does_not_get_it(switch, tmp_path, monkeypatch):
    child = "import negvol_pacs.series.isolation as i; i._MEMORY_BYTES={limit}; i.main()"
    started = subprocess.Popen
    limit = 16 << 30 if switch.is_off else 64 << 20
    monkeypatch.setattr(
        isolation.subprocess, "Popen", lambda _c, **k: started([sys.executable, "-c", child.format(limit=limit)], **k)
    )
    (path,) = write_ct(tmp_path, voxels((1, 2048, 2048)))
    decoded = False
    with Decoder() as decoder, contextlib.suppress(DecoderFailed, OSError):
        decoded = len(list(decoder.frames(path, ""))) == 1
    assert decoded == switch.is_off


@pytest.mark.threat(16)
def test_a_full_disk_is_answered_with_out_of_resources(switch, node):
    node.inbox._min_free_bytes = 1 << 62
    switch.off(Inbox, "require_space", lambda _self: None)
    assert len(node.files) == 0
    with node.connect() as connection:
        connection.sendall(association_request(CT))
        let_in = read_pdu(connection)[:1] == b"\x02"
    assert let_in == switch.is_off


@pytest.mark.threat(17)
def test_what_is_acknowledged_is_on_the_disk(switch, node, monkeypatch):
    """A power cut leaves what was synced: the file's content, and its name in its folder."""
    synced = set()
    fsync = os.fsync
    sync = (lambda _fd: None) if switch.is_off else (lambda fd: fsync(fd) or synced.add(os.fstat(fd).st_ino))
    monkeypatch.setattr(os, "fsync", sync)
    assert send_raw(node, raw_data_set(ct_slice()))[0] == 0
    (path,) = [path for path in node.files if path.suffix == ".dcm"]
    folders = [path.parent, path.parent.parent, path.parent.parent.parent]
    survives = path.stat().st_ino in synced and all(folder.stat().st_ino in synced for folder in folders)
    assert survives != switch.is_off


@pytest.mark.threat(19)
def test_what_is_stored_is_no_program(switch, node):
    """CVE-2019-11687: the preamble of a file may be the head of an executable."""
    head = Incoming._head
    switch.off(Incoming, "_head", lambda self: b"MZ\x90\0" + head(self)[4:])
    assert send_raw(node, raw_data_set(ct_slice()))[0] == 0
    (path,) = [path for path in node.files if path.suffix == ".dcm"]
    assert (path.read_bytes()[:128] != bytes(128)) == switch.is_off


@pytest.mark.threat(19)
@pytest.mark.filterwarnings("ignore")
def test_what_a_server_sends_is_no_program(switch, tmp_path, monkeypatch):
    sent = report("1.2.3")
    sent.preamble = b"MZ\x90\0" + bytes(124)

    class Client:
        def iter_series(self, *_):
            yield sent

    switch.off(type(sent), "__setattr__", _all_but_preambles(type(sent).__setattr__))
    monkeypatch.setattr(dicomweb, "client", lambda _destination: Client())
    monkeypatch.setattr(dicomweb, "_series", lambda *_: [("1.2", "1.2.1")])
    (path,) = dicomweb.fetch(None, Wanted(1), tmp_path)
    assert (path.read_bytes()[:2] == b"MZ") == switch.is_off


def _all_but_preambles(assign):
    return lambda self, name, value: None if name == "preamble" else assign(self, name, value)


def test_the_node_goes_on_after_all_that(node):
    with associated(node):
        pass
    assert node.answers_echo()
