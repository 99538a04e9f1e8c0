"""Broken objects: each is refused with a reason, leaves nothing behind, and the node goes on."""

import struct
import time

import pytest
from network_node import ct_slice
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from raw_peer import STUDY, associated, fragment, leftovers, raw_data_set, send_raw, store_command

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")


def test_a_truncated_object_is_refused(node):
    data = raw_data_set(ct_slice())
    for end in (len(data) - 1, len(data) - 5000, 400, 10):
        status, comment = send_raw(node, data[:end])
        assert status == 0xC000, comment
        assert comment
    assert leftovers(node) == [] and node.answers_echo()


def test_an_object_cut_at_an_element_is_refused(node):
    ds = ct_slice()
    del ds.PixelData
    assert send_raw(node, raw_data_set(ds)) == (0xC000, "no pixel data")


def test_a_corrupt_pixel_length_is_refused(node):
    data = raw_data_set(ct_slice())
    at = data.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    longer = data[:at] + struct.pack("<L", 64 * 64 * 2 + 2) + data[at + 4 :]
    assert send_raw(node, longer) == (0xC000, "(7FE0,0010) runs 2 bytes past the end of what holds it")
    shorter = data[:at] + struct.pack("<L", 100) + data[at + 4 : at + 104]
    assert send_raw(node, shorter) == (0xC000, "pixel data of 100 bytes where the header says 8192")
    assert leftovers(node) == [] and node.answers_echo()


def test_an_object_other_than_the_request_says_is_refused(node):
    data = raw_data_set(ct_slice())
    status, comment = send_raw(node, data, sop_uid="1.2.3.4")
    assert (status, comment) == (0xA900, "the data set's SOP Instance UID is not the request's")
    ds = ct_slice()
    ds.SOPClassUID = EnhancedCTImageStorage
    status, comment = send_raw(node, raw_data_set(ds))
    assert (status, comment) == (0xA900, "the data set's SOP Class UID is not the request's")
    assert leftovers(node) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"])
def test_an_object_without_its_uids_is_refused(node, keyword):
    ds = ct_slice()
    delattr(ds, keyword)
    status, comment = send_raw(node, raw_data_set(ds))
    assert status == 0xC000 and comment.startswith("no S")


@pytest.mark.parametrize("uid", ["../../../../tmp/x", "/etc/passwd", "..", "1.2.3/../../4", "1.2.3\n4", "."])
def test_uids_that_are_paths_lead_nowhere(node, uid, tmp_path):
    before = {path for path in tmp_path.rglob("*") if path.is_dir()}
    assert send_raw(node, raw_data_set(ct_slice()), sop_uid=uid)[0] == 0xC000
    good = raw_data_set(ct_slice())
    for original in (f"{STUDY}.2\0", f"{STUDY}\0"):
        bad = good.replace(original.encode(), uid.encode().ljust(len(original), b"\0")[: len(original)])
        assert send_raw(node, bad)[0] == 0xC000
    assert leftovers(node) == []
    assert {path for path in tmp_path.rglob("*") if path.is_dir()} == before
    assert node.answers_echo()


def test_what_is_no_data_set_is_refused(node):
    for data in (b"\x89PNG\r\n\x1a\n" * 100, b"\0" * 4096, b"MZ" * 2000, b"\xff" * 4096):
        assert send_raw(node, data)[0] == 0xC000
    assert node.answers_echo()


@pytest.mark.parametrize("defined", [True, False])
def test_deep_nesting_is_refused(node, defined):
    inner = b""
    for _ in range(5000 if not defined else 300):
        if defined:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
        else:
            inner += struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
            inner += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert send_raw(node, inner) == (0xC000, "nested more than 64 deep")
    assert node.answers_echo()


def test_a_full_disk_is_told_and_recovers_by_itself(node):
    assoc = node.associate((CTImageStorage, ExplicitVRLittleEndian))
    free, node.inbox._min_free_bytes = node.inbox._min_free_bytes, 1 << 62
    answer = assoc.send_c_store(ct_slice())
    assert answer.Status == 0xA700
    refused = node.associate((CTImageStorage, ExplicitVRLittleEndian))
    primitive = refused.acceptor.primitive
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 1)
    assert node.answers_echo()
    assert leftovers(node) == []
    node.inbox._min_free_bytes = free
    assert assoc.send_c_store(ct_slice()).Status == 0x0000
    assoc.release()


def test_a_sender_that_dies_in_the_middle_leaves_nothing(node):
    with associated(node) as connection:
        connection.sendall(store_command() + fragment(b"\x08\0\x05\0CS", command=False, last=False))
        time.sleep(0.2)
        assert len(leftovers(node)) == 1
    node.wait_until_idle()
    assert leftovers(node) == []
    assert node.answers_echo()


def test_implicit_data_under_an_explicit_syntax_is_refused(node):
    ds = ct_slice()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    status, comment = send_raw(node, encode(ds, True, True))
    assert status == 0xC000 and "no value representation" in comment
