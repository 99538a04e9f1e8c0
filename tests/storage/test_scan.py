"""The walk through a data set: what pydicom writes passes, whatever is cut, bent or made up does not hang or crash."""

import struct
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom.dsutils import encode

from negvol_pacs.errors import MalformedObject, NegvolError, ObjectMismatch
from negvol_pacs.storage import scan as tags
from negvol_pacs.storage.identify import identify, is_uid
from negvol_pacs.storage.scan import scan

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
CT = "1.2.840.10008.5.1.4.1.1.2"


def image(*, undefined: bool = False) -> Dataset:
    """Return a small image with sequences three deep, and a private one."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated, ds.NumberOfFrames = 4, 3, 1, 16, 2
    for _ in range(3):
        outer, inner = Dataset(), Dataset()
        inner.SOPInstanceUID = "9.9"
        inner.ReferencedImageSequence = Sequence([ds_of("6.6"), ds_of("7.7")])
        outer.ReferencedSeriesSequence = Sequence([inner])
        ds.ReferencedStudySequence = Sequence([outer, Dataset(), outer])
    block = ds.private_block(0x0099, "NEGVOL", create=True)
    block.add_new(1, "SQ", Sequence([ds_of("8.8")]))
    block.add_new(2, "UN", b"anything")
    for element in ds.iterall():
        if element.VR == "SQ" and undefined:
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    ds.PixelData = bytes(4 * 3 * 2 * 2)
    ds["PixelData"].VR = "OW"
    return ds


def ds_of(uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPInstanceUID = uid
    return ds


def encoded(ds: Dataset, syntax) -> bytes:
    data = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    assert data
    return data


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_whole_image_tells_who_it_is(syntax, undefined):
    data = encoded(image(undefined=undefined), syntax)
    found = scan(b"head" + data, 4, syntax)
    assert found.pixel_bytes == 48
    assert found.values[tags.SOP_INSTANCE] == b"1.2.3.4\0", "not one of a nested item"
    identity = identify(found, CT, "1.2.3.4", syntax)
    assert (identity.study_uid, identity.series_uid) == ("1.2.3", "1.2.3.1")


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("undefined", [False, True])
def test_every_cut_is_noticed(syntax, undefined):
    data = encoded(image(undefined=undefined), syntax)
    for end in range(len(data)):
        with pytest.raises(MalformedObject):
            identify(scan(data[:end], 0, syntax), CT, "1.2.3.4", syntax)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_compressed_pixels_are_passed_by_their_fragments(syntax):
    ds = image()
    ds.PixelData = encapsulate([b"frame one", b"frame two!"])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    data = encoded(ds, syntax)
    found = scan(data, 0, syntax)
    assert found.fragments == 3
    identify(found, CT, "1.2.3.4", syntax)
    for end in range(len(data) - 60, len(data)):
        with pytest.raises(MalformedObject):
            scan(data[:end], 0, syntax)


def test_icon_images_are_not_taken_for_the_pixels():
    ds, icon = image(), Dataset()
    icon.PixelData = encapsulate([b"icon"])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    ds.IconImageSequence = Sequence([icon])
    del ds.PixelData
    found = scan(encoded(ds, JPEG2000Lossless), 0, JPEG2000Lossless)
    with pytest.raises(MalformedObject, match="no compressed pixel data"):
        identify(found, CT, "1.2.3.4", JPEG2000Lossless)


def test_unknown_of_undefined_length_is_implicit_inside():
    inner = encoded(ds_of("1.2.3.4"), ImplicitVRLittleEndian)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    unknown = struct.pack("<HH2sHL", 0x0099, 0x1001, b"UN", 0, 0xFFFFFFFF) + item
    data = encoded(image(), ExplicitVRLittleEndian)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    assert scan(unknown + end + data, 0, ExplicitVRLittleEndian).pixel_bytes == 48


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"SOPClassUID": "1.2.3"}, ObjectMismatch, "SOP Class UID"),
        ({"SOPInstanceUID": "1.2.3.5"}, ObjectMismatch, "SOP Instance UID"),
        ({"Rows": 5}, MalformedObject, "pixel data of 48 bytes where the header says 60"),
        ({"NumberOfFrames": 10**9}, MalformedObject, "pixel data"),
        ({"BitsAllocated": None}, MalformedObject, "0028,0100"),
        ({"StudyInstanceUID": None}, MalformedObject, "no Study Instance UID"),
    ],
)
def test_what_contradicts_the_request_is_named(change, error, sentence):
    ds = image()
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    with pytest.raises(error, match=sentence):
        identify(scan(encoded(ds, ExplicitVRLittleEndian), 0, ExplicitVRLittleEndian), CT, "1.2.3.4", NATIVE[1])


def test_the_walk_is_bounded_in_time(monkeypatch):
    start = time.monotonic()
    with pytest.raises(MalformedObject, match="more than 1000000 elements"):
        scan(struct.pack("<HHL", 0x0009, 0x0010, 0) * 2_000_000, 0, ImplicitVRLittleEndian)
    assert time.monotonic() - start < 20


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=600), st.sampled_from(NATIVE))
@example(b"", ExplicitVRLittleEndian)
def test_any_bytes_end_in_a_result_or_a_reason(data, syntax):
    try:
        identify(scan(data, 0, syntax), CT, "1.2.3.4", syntax)
    except MalformedObject as error:
        assert str(error)


BODY = {syntax: encoded(image(undefined=True), syntax) for syntax in NATIVE}


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(NATIVE),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_mutated_images_end_in_a_result_or_a_reason(syntax, changes):
    data = bytearray(BODY[syntax])
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        identify(scan(bytes(data), 0, syntax), CT, "1.2.3.4", syntax)
    except NegvolError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.2.840", True), ("2.25." + "9" * 39, True), ("1.02.3", True), ("1" * 65, False), ("", False), ("1..2", False),
     ("1.2.", False), ("../1", False), ("1.2/3", False), ("1.2\n", False), ("１.２", False)],
)  # fmt: skip
def test_uids(text, expected):
    assert is_uid(text) is expected
