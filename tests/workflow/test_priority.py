"""How urgent a study is: by peer, by called AE title, by its order; the most urgent counts."""

from contextlib import closing

import pytest
from pydicom import dcmread
from test_steps import STUDY, Books
from test_workflow_orders import worklist_item

from negvol_pacs.config import Peer, Profile
from negvol_pacs.storage.orders import encode, order
from negvol_pacs.workflow.engine import ROUTINE, URGENT
from negvol_pacs.workflow.priority import LEVELS

STAT_PEER = {"peers": (Peer(ae_title="MODALITY", networks=(), priority="stat"),)}
STAT_TITLE = {"profiles": (Profile(ae_title="NEGVOL", priority="stat"),)}
OTHERS = {
    "peers": (Peer(ae_title="OTHER", networks=(), priority="stat"), Peer(ae_title="MODALITY", networks=())),
    "profiles": (Profile(ae_title="URGENT", priority="stat"),),
}


@pytest.mark.parametrize(
    ("settings", "said", "expected"),
    [
        ({}, None, ROUTINE),
        (STAT_PEER, None, URGENT),
        (STAT_TITLE, None, URGENT),
        (OTHERS, None, ROUTINE),
        ({}, "STAT", URGENT),
        ({}, "LOW", LEVELS["LOW"]),
        ({}, "AS SOON", ROUTINE),
        (STAT_PEER, "LOW", URGENT),
    ],
)
def test_the_most_urgent_counts(tmp_path, make_ct, settings, said, expected):
    with closing(Books(tmp_path / "state", **settings)) as books:
        assert books.steps.priority(STUDY) == ROUTINE
        folder = make_ct(slices=2)
        patient = dcmread(next(folder.iterdir())).PatientID
        if said is not None:
            item = worklist_item(StudyInstanceUID=STUDY, PatientID=patient)
            item.RequestedProcedurePriority = said
            books.ledger.orders.record([order("ris", encode(item), 0.0, whole=False)], 1e12)
        books.receive(folder)
        assert books.steps.priority(STUDY) == expected


def test_an_order_for_another_patient_or_an_image_that_is_gone_makes_it_routine(tmp_path, make_ct):
    with closing(Books(tmp_path / "state")) as books:
        item = worklist_item(StudyInstanceUID=STUDY, PatientID="somebody else")
        item.RequestedProcedurePriority = "STAT"
        books.ledger.orders.record([order("ris", encode(item), 0.0, whole=False)], 1e12)
        books.receive(make_ct(slices=2))
        assert books.steps.priority(STUDY) == ROUTINE
        books.inbox.discard(STUDY)
        assert books.steps.priority(STUDY) == ROUTINE
