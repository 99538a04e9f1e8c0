"""Whatever bytes are wrong, the answer is a refusal or a volume, and never another exception."""

import logging
import warnings

import pytest
from ct_objects import headers, multiframe, voxels, write_ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import SeriesRefused
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.selection import read_headers, select_series

RULES = SeriesRules(min_slices=3)
places = st.floats(0, 1, exclude_max=True)
edits = st.one_of(
    st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=4)),
    st.tuples(
        st.just("set"), places, st.sampled_from([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"UN\0\0", b"SQ\0\0"])
    ),
    st.tuples(st.just("insert"), places, st.binary(max_size=8)),
    st.tuples(st.just("cut"), places, st.binary(max_size=8)),
)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corruption")
    single = write_ct(folder, voxels((4, 12, 10)))
    multi = folder / "multi.dcm"
    multiframe(headers(4), stored=voxels((4, 12, 10))).save_as(multi, enforce_file_format=True)
    return {"single": single, "multi": [multi]}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["single", "multi"]), st.lists(edits, min_size=1, max_size=6))
def test_damaged_files_are_refused_or_read(series, tmp_path, caplog, kind, changes):
    *whole, victim = series[kind]
    data = bytearray(victim.read_bytes())
    for what, place, content in changes:
        at = 132 + int(place * (len(data) - 132))
        end = at if what == "insert" else at + len(content)
        data[at:end] = b"" if what == "cut" else content
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(data)
    caplog.set_level(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on what is damaged
        found = read_headers([*whole, damaged], lambda path, reason: None)
        try:
            volume = read_volume(select_series(found, RULES).series)
        except SeriesRefused as refusal:
            assert str(refusal)
        else:
            assert volume.spatial_shape[0] >= 3
