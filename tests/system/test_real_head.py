"""A real head CT, too coarse by rule, measured on request: both joints are found where they are."""

from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from peers import Orthanc, wait_for
from served_node import condyle_centroids, serve

from negvol_pacs.anatomy import Side
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.reading import read_findings

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

CONDYLES = {Side.RIGHT: (194, -289, -100), Side.LEFT: (297, -288, -100)}
"""LPS mm, read off the pictures of hn_dicom."""


def test_a_coarse_head_is_measured_with_the_switch_and_every_number_flagged(
    orthanc: Orthanc, shared_data: Path, tmp_path: Path
) -> None:
    coarse = shared_data / "ct" / "hn_dicom"
    with serve(tmp_path, orthanc, port=orthanc.node_port, coarse=True) as node:
        node.send(coarse)
        wait_for(lambda: len(node.logged("delivery-sent")) == 2, 420, "SEG and SR are delivered")
        results = {path.name: path for path in (tmp_path / "state" / "outbox").rglob("*.dcm")}
    condyles = condyle_centroids(hd.seg.segread(results["seg.dcm"]))
    for side in Side:
        assert condyles[side][:2] == pytest.approx(CONDYLES[side][:2], abs=6)
        assert -20 < condyles[side][2] - CONDYLES[side][2] < 6
    findings = read_findings(pydicom.dcmread(results["sr.dcm"]))
    assert QualityFlag.COARSE_SPACING in findings.flags
