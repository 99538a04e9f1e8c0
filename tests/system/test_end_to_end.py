"""A head CT goes in by C-STORE; SEG and SR come back to a real PACS and others can read them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import requests
from peers import Orthanc, need, wait_for
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from served_node import ServedNode, condyle_centroids, serve, storescu

from negvol_pacs.anatomy import Side
from negvol_pacs.training.phantom import make_head, write_phantom

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 420


@dataclass(frozen=True)
class Delivered:
    """What came back to the PACS for one head."""

    folder: Path
    ct: list[Dataset]
    node: ServedNode
    seg: Path
    sr: Path


@pytest.fixture(scope="module")
def delivered(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    """Send a phantom to the PACS and to the node; wait until the results are in the PACS."""
    folder = tmp_path_factory.mktemp("end-to-end")
    write_phantom(folder / "ct")
    ct = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "ct").rglob("*.dcm"))]
    storescu(folder / "ct", orthanc.ae_title, orthanc.port)
    with serve(folder / "node", orthanc, port=orthanc.node_port) as node:
        node.send(folder / "ct")
        study = ct[0].StudyInstanceUID
        wait_for(lambda: orthanc.count(study) == {"CT": len(ct), "SEG": 1, "SR": 1}, PATIENCE_S, "SEG and SR arrive")
        files = {modality: orthanc.fetch(study, modality, folder) for modality in ("SEG", "SR")}
        yield Delivered(folder, ct, node, files["SEG"], files["SR"])


@pytest.mark.parametrize(("name", "sop_class"), [("seg", SegmentationStorage), ("sr", Comprehensive3DSRStorage)])
def test_results_belong_to_the_patient_and_study_of_the_input(delivered: Delivered, name: str, sop_class: str) -> None:
    ds = pydicom.dcmread(getattr(delivered, name))
    first = delivered.ct[0]
    assert ds.SOPClassUID == sop_class
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID"):
        assert ds[keyword].value == first[keyword].value, keyword
    assert ds.SeriesInstanceUID != first.SeriesInstanceUID


def test_the_segmentation_lies_on_the_images_that_it_names(delivered: Delivered) -> None:
    seg = pydicom.dcmread(delivered.seg)
    assert seg.FrameOfReferenceUID == delivered.ct[0].FrameOfReferenceUID
    named = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named <= {ds.SOPInstanceUID for ds in delivered.ct}


@pytest.mark.parametrize("name", ["seg", "sr"])
def test_dciodvfy_finds_nothing_but_the_private_scheme(delivered: Delivered, name: str) -> None:
    need("dciodvfy")
    done = subprocess.run(["dciodvfy", getattr(delivered, name)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if line.startswith(("Error", "Warning")) and "99NEGVOL" not in line] == []
    assert any(line in ("Segmentation", "Comprehensive3DSR") for line in lines)


def test_highdicom_finds_both_joints_where_they_are(delivered: Delivered) -> None:
    seg = hd.seg.segread(delivered.seg)
    assert seg.number_of_segments == 6
    head = make_head(0, spacing_mm=4.0)  # the centres do not depend on the spacing
    assert head.centres[Side.RIGHT][0] < head.centres[Side.LEFT][0]
    condyles = condyle_centroids(seg)
    for side in Side:
        # The mask reaches 20 mm down the neck, so its centroid lies below the head's centre.
        assert condyles[side][:2] == pytest.approx(head.centres[side][:2], abs=4)
        assert -12 < condyles[side][2] - head.centres[side][2] < 3


def test_highdicom_reads_the_measurements(delivered: Delivered) -> None:
    content = hd.sr.srread(delivered.sr).content
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    seg = pydicom.dcmread(delivered.seg)
    for group in groups:
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        values = {m.name.meaning: m.value for m in group.get_measurements()}
        assert values, "numbers of both sides"
        assert all(np.isfinite(value) for value in values.values())


def test_dcmqi_reads_the_segmentation(delivered: Delivered, tmp_path: Path) -> None:
    dcmqi("segimage2itkimage", "--inputDICOM", delivered.seg, "--outputDirectory", tmp_path, "-t", "nrrd")
    described = json.loads((tmp_path / "meta.json").read_text())
    assert sum(len(group) for group in described["segmentAttributes"]) == 6


def test_dcmqi_reads_the_report(delivered: Delivered, tmp_path: Path) -> None:
    dcmqi("tid1500reader", "--inputDICOM", delivered.sr, "--outputMetadata", tmp_path / "sr.json")
    read = json.loads((tmp_path / "sr.json").read_text())
    assert len(read["Measurements"]) >= 2


def dcmqi(tool: str, *arguments: object) -> None:
    path = shutil.which(tool, path=f"{Path(sys.executable).parent}:{Path('/usr/bin')}")
    assert path, f"{tool} comes with the Python package dcmqi"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_queue_shows_the_study_as_done(delivered: Delivered) -> None:
    wait_for(lambda: len(delivered.node.logged("delivery-confirmed")) == 2, 60, "both deliveries are confirmed")
    assert {entry["how"] for entry in delivered.node.logged("delivery-confirmed")} == {"commitment"}
    assert len(delivered.node.logged("delivery-sent")) == 2
    assert "2 of 2 deliveries made" in delivered.node.cli("queue", "list")
    shown = delivered.node.cli("queue", "show", delivered.ct[0].StudyInstanceUID)
    assert "measured" in shown


def test_the_same_series_from_the_pacs_gives_no_second_pair(delivered: Delivered, orthanc: Orthanc) -> None:
    """The PACS routes the whole study to the node, results included: nothing new comes of it."""
    study = delivered.ct[0].StudyInstanceUID
    session = requests.Session()
    session.trust_env = False
    found = session.post(
        f"{orthanc.url}/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}, timeout=30
    ).json()
    answer = session.post(f"{orthanc.url}/modalities/negvol/store", json=found, timeout=120)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: delivered.node.logged("study-unchanged", "own-result-ignored"), 30, "the node looks at it again")
    time.sleep(3)  # longer than quiet period and delivery need
    assert orthanc.count(study) == {"CT": len(delivered.ct), "SEG": 1, "SR": 1}


def test_a_coarse_head_is_refused_and_the_reason_is_shown(delivered: Delivered, shared_data: Path) -> None:
    coarse = shared_data / "ct" / "hn_dicom"
    study = pydicom.dcmread(coarse / "IMG_00000.dcm", stop_before_pixels=True).StudyInstanceUID
    delivered.node.send(coarse)
    wait_for(lambda: delivered.node.logged("study-refused"), 60, "the study is refused")
    (refusal,) = delivered.node.logged("study-refused")
    assert (refusal["study"], refusal["code"]) == (study, "spacing-too-coarse")
    for shown in (refusal["reason"], delivered.node.cli("queue", "show", study), delivered.node.cli("queue", "list")):
        assert "slice spacing is 3.00 mm" in shown
