"""The worker is killed in the middle of a real segmentation; the PACS gets one SEG and one SR."""

import os
import signal
import time
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from peers import Orthanc, wait_for
from served_node import ServedNode, condyle_centroids, serve, storescu

from negvol_pacs.anatomy import Side
from negvol_pacs.training.phantom import make_head, write_phantom

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 420


def outlined(node: ServedNode) -> int:
    """How often the networks began with the bones."""
    return sum(line["step"] == "Outlining the bones" for line in node.logged("analysis-step"))


def test_the_worker_is_killed_in_the_middle_of_segmentation(orthanc: Orthanc, tmp_path: Path) -> None:
    """The head lies oblique, flipped and cropped, so that both joints must be found in world coordinates."""
    files = write_phantom(tmp_path / "ct", degrees=(12, -9, 14), flip=(0, 2), extent_mm=(150, 170, 170))
    study = pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID
    storescu(tmp_path / "ct", orthanc.ae_title, orthanc.port)
    with serve(tmp_path / "node", orthanc, port=orthanc.node_port) as node:
        node.send(tmp_path / "ct")
        wait_for(lambda: outlined(node) == 1, PATIENCE_S, "the segmentation begins")
        worker = [line["pid"] for line in node.logged("process-started") if line["name"] == "worker"]
        os.kill(int(worker[-1]), signal.SIGKILL)
        wait_for(lambda: len(node.logged("delivery-sent")) == 2, PATIENCE_S, "SEG and SR are delivered")
        assert outlined(node) == 2
        time.sleep(3)  # longer than the quiet period and a delivery need
        assert orthanc.count(study) == {"CT": len(files), "SEG": 1, "SR": 1}
        assert len(node.logged("study-done")) == 1
    condyles = condyle_centroids(hd.seg.segread(orthanc.fetch(study, "SEG", tmp_path)))
    head = make_head(0, spacing_mm=4.0)  # the centres do not depend on the spacing
    for side in Side:
        assert condyles[side][:2] == pytest.approx(head.centres[side][:2], abs=5)
        assert -12 < condyles[side][2] - head.centres[side][2] < 3
