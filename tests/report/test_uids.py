"""UIDs depend on the input and the algorithm, and on nothing else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.uids import result_uid, tracking

ALGORITHM = Algorithm("negvol", "1.0", "ab" * 32)
UIDS = ["1.2.3", "1.2.4", "1.2.10"]


@given(st.text(min_size=1, max_size=20), st.lists(st.from_regex(r"1(\.[1-9][0-9]{0,5}){3,6}", fullmatch=True)))
def test_uid_is_valid_and_ignores_order(kind, uids):
    uid = result_uid(kind, uids, ALGORITHM)
    assert UID(uid).is_valid
    assert uid.startswith("2.25.")
    assert uid == result_uid(kind, reversed(uids), ALGORITHM)


def test_uid_changes_with_everything_that_changes_the_result():
    variants = [
        result_uid("seg", UIDS, ALGORITHM),
        result_uid("sr", UIDS, ALGORITHM),
        result_uid("seg", [*UIDS, "1.2.11"], ALGORITHM),
        result_uid("seg", ["1.2.3", "1.2.41.2.10"], ALGORITHM),
        result_uid("seg", UIDS, replace(ALGORITHM, name="other")),
        result_uid("seg", UIDS, replace(ALGORITHM, version="1.1")),
        result_uid("seg", UIDS, replace(ALGORITHM, weights_sha256="cd" * 32)),
    ]
    assert len(set(variants)) == len(variants)


def test_uid_never_changes_between_releases():
    assert result_uid("seg", UIDS, ALGORITHM) == "2.25.180852191215706455270527427364449952468"


def test_tracking_tells_sides_and_structures_apart():
    found = {tracking(side, structure, UIDS, ALGORITHM) for side in (*Side, None) for structure in Structure}
    assert len({identifier for identifier, _ in found}) == len({uid for _, uid in found}) == 9
