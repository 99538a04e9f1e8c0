"""Each called AE title gives what its profile says, and deletes what it should."""

import numpy as np
import pytest
from node_process import until
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.report.uids import LABEL_MAP_STORAGE

PROFILES = """
[[profiles]]
ae_title = "NUMBERS"
results = "measurements"
[[profiles]]
ae_title = "LABELS"
results = "segmentation"
segmentation = "labelmap"
after_delivery = "delete"
"""
NUMBERS, LABELS = "1.2.826.0.1.3680043.8.498.71", "1.2.826.0.1.3680043.8.498.72"


@pytest.mark.slow
def test_results_by_called_ae_title_even_when_the_ledger_was_lost_and_deletion_after_delivery(node, pacs, make_ct):
    text = node.config.read_text().replace('name = "pacs"', 'name = "pacs"\nconfirm = "none"')
    node.config.write_text(text + PROFILES)
    pacs.start()
    node.start("receiver")
    node.send(make_ct("labels", study=LABELS), "LABELS")
    node.send(make_ct("numbers", study=NUMBERS), "NUMBERS")
    node.kill("receiver")
    for path in [*node.state.glob("ledger.db*"), *node.state.glob("workflow.db*")]:
        path.unlink()
    assert "96 images of 2 studies" in node.cli("rebuild").stdout
    node.start("receiver")
    until(node.listening)
    node.start("worker")
    until(lambda: len(pacs.stored) == 2, what="results")
    made = {ds.StudyInstanceUID: ds for ds in pacs.stored}
    assert made[NUMBERS].SOPClassUID == Comprehensive3DSRStorage
    evidence = made[NUMBERS].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(evidence) == 1, "the images, and no SEG"
    assert made[LABELS].SOPClassUID == LABEL_MAP_STORAGE
    # This PACS takes no run-length encoding, so it came without.
    assert set(np.unique(np.frombuffer(made[LABELS].PixelData, np.uint8))) == set(range(5))
    until(lambda: "study-removed" in node.log.read_text(), what="removal")
    assert not list((node.state / "outbox").rglob("seg.dcm"))
    assert "48 images removed" in node.cli("queue", "show", LABELS).stdout
    assert len(node.ledger.instances(NUMBERS)) == len(list((node.state / "inbox").rglob("*.dcm"))) == 48
