"""From a series to its objects: what changed the numbers is said in them and makes them others."""

from datetime import datetime

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Config
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.document import read_report
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.segmentation.pipeline import Segmentation
from negvol_pacs.segmentation.weights import load_networks
from negvol_pacs.series.selection import Selection, read_headers
from negvol_pacs.workflow import pipeline

NOW = datetime(2026, 3, 4, 5, 6, 7)


def ball(centre, inner, outer):
    """A shell in a cube of 24 mm: a condyle, or a bone around it."""
    axis = np.arange(48) * 0.5 - 11.75
    radius = np.linalg.norm(np.meshgrid(axis, axis, axis, indexing="ij"), axis=0)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = centre - 11.75
    inside = np.clip(0.5 + np.minimum(radius - inner, outer - radius), 0, 1)
    return hd.Volume(inside.astype(np.float32), affine, "PATIENT")


@pytest.fixture
def process(make_ct, tmp_path, monkeypatch):
    """Run the pipeline with balls for the bones, one of them segmented with these flags."""
    (series,) = read_headers(sorted(make_ct().iterdir()))
    networks = load_networks()
    monkeypatch.setattr(pipeline, "draw_joints", lambda _volume, _findings, path, _title: path.write_bytes(b"png"))

    def run(*flags):
        def segment(volume, *_):
            joints = {}
            for side, x, own in ((Side.RIGHT, -8.0, flags), (Side.LEFT, 8.0, ())):
                centre = np.asarray(volume.center_position) + np.array([x, 0, 0])
                mc, tb = ball(centre, -9, 4), ball(centre, 5, 7)
                joints[side] = JointMasks(side, mc, tb, centre, flags=frozenset(own))
            return Segmentation(joints, frozenset())

        monkeypatch.setattr(pipeline, "segment", segment)
        selection, folder = Selection(series, frozenset(), {}), tmp_path / "-".join(["results", *flags])
        return pipeline.process_series(selection, networks, Config(), folder, NOW)

    return run


def test_smaller_windows_are_said_in_the_report_and_make_it_another_one(process):
    usual, short = process(), process(QualityFlag.SMALLER_WINDOWS)
    assert short.sr_uid != usual.sr_uid
    assert short.seg_uid != usual.seg_uid
    before, report = (read_report(dcmread(result.sr)) for result in (usual, short))
    assert report.algorithm.version == f"{before.algorithm.version}+windows"
    flags = {side: joint.flags for side, joint in report.findings.joints.items()}
    assert QualityFlag.SMALLER_WINDOWS in flags[Side.RIGHT]
    assert QualityFlag.SMALLER_WINDOWS not in flags[Side.LEFT]
