"""A head that is left out, painted whole, is found and scored in the patient's own coordinates."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointNotFound
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.localization import Localization
from negvol_pacs.segmentation.pipeline import Segmentation
from negvol_pacs.segmentation.weights import load_networks
from negvol_pacs.training.analytic_joints import parametric_fossa
from negvol_pacs.training.evaluation.cross_head import CrossHead
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.shapes import LABEL_MAP
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation import whole_heads as module
from negvol_pacs.validation.heads import head
from negvol_pacs.validation.whole_heads import whole_heads, whole_heads_left_out


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural head under the name of a real one."""
    folder = tmp_path_factory.mktemp("shapes")
    made = make_head(7, 1.0).labels
    bones = np.zeros(made.array.shape, np.uint8)
    bones[np.isin(made.array, (Tissue.SKULL, Tissue.AIR_CELL))] = 1
    bones[made.array == Tissue.MANDIBLE] = 2
    nib.save(nib.Nifti1Image(bones.transpose(2, 1, 0)[:, ::-1][::-1], np.eye(4)), folder / LABEL_MAP)
    return folder


@pytest.mark.slow
def test_both_joints_of_a_turned_head_are_scored(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SPACING_MM", 0.8)
    monkeypatch.setattr(module, "SCANNERS", {"thin-slice CT": module.SCANNERS["thin-slice CT"]})
    rows = whole_heads(shapes, "dentalseg", load_networks(), tmp_path, scans=1)
    assert [row["side"] for row in rows] == ["right", "left"]
    for row in rows:
        assert row["box_mm"] < 6
        assert row["centre_mm"] < 3
        assert row["MC_dice"] > 0.85
        assert row["TB_dice"] > 0.7

    def never(*_arguments):
        raise AssertionError("done again")

    monkeypatch.setattr(module, "_scans", never)
    assert whole_heads(shapes, "dentalseg", load_networks(), tmp_path, scans=1) == rows
    with pytest.raises(AssertionError, match="done again"):
        whole_heads(shapes, "dentalseg", load_networks(), tmp_path, scans=2)


@pytest.fixture
def rows(monkeypatch):
    """Rows for masks and boxes in place of what networks say."""

    def of(answer, truth, boxes=None):
        centres = {side: joint.centre for side, joint in truth.items()} if boxes is None else boxes
        monkeypatch.setattr(module, "locate", lambda *_: Localization(centres, None))
        monkeypatch.setattr(module, "segment", lambda *_: Segmentation(answer, frozenset()))
        networks = type("Networks", (), {"localizer": None})()
        return list(module._rows("CT", None, truth, networks, None))

    return of


@pytest.fixture(scope="module")
def truth():
    return head({Side.RIGHT: parametric_fossa(), Side.LEFT: parametric_fossa(gap_mm=3.0, depth_mm=7.5)}, 0.5)


def test_the_truth_itself_scores_full_marks(rows, truth):
    for row in rows(truth, truth):
        assert (row["box_mm"], row["centre_mm"]) == (0, 0)
        assert (row["MC_dice"], row["TB_dice"], row["NV_dice"], row["NV_found"]) == (1, 1, 1, True)
        assert (row["MC_hd95"], row["TB_hd95"]) == (0, 0)
        assert (row["NV_sure"], row["NV_sure_dice"]) == (True, 1)


def test_a_doubtful_volume_is_no_sure_one(rows, truth):
    doubted = {side: replace(joint, flags=frozenset({QualityFlag.SURFACES_UNCLEAR})) for side, joint in truth.items()}
    for row in rows(doubted, truth):
        assert row["NV_dice"] == 1
        assert row["NV_sure"] is False
        assert "NV_sure_dice" not in row


def test_masks_on_another_grid_are_compared_where_they_lie(rows, truth):
    """Never voxel number by voxel number: the answer's cube lies around the answer's own centre."""
    more = [[4, 0], [0, 0], [2, 1]]
    moved = {
        side: replace(joint, mc=joint.mc.pad(more, mode="EDGE"), tb=joint.tb.pad(more, mode="EDGE"))
        for side, joint in truth.items()
    }
    for row in rows(moved, truth):
        assert row["MC_dice"] == row["TB_dice"] == 1


def test_a_joint_that_is_not_found_has_no_figures(rows, truth):
    lost = {Side.RIGHT: JointNotFound("none"), Side.LEFT: truth[Side.LEFT]}
    right, left = rows(
        lost, truth, {Side.RIGHT: JointNotFound("none"), Side.LEFT: truth[Side.LEFT].centre + np.array([3, 0, 4])}
    )
    assert not {"box_mm", "MC_dice", "TB_dice", "NV_dice"} & right.keys()
    assert right["NV_found"] is False
    assert left["box_mm"] == pytest.approx(5)
    assert left["MC_dice"] == 1


def test_only_heads_that_both_networks_do_not_know_are_tested(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(module, "load_networks", lambda folder: folder.name)
    monkeypatch.setattr(
        module, "whole_heads", lambda shapes, name, networks, *_a, **_k: done.append((name, networks)) or []
    )
    crossed = [
        CrossHead(TrainConfig(network, tmp_path, shapes=tmp_path, without=without), [], None)
        for network, without in (("bones", ("vkh",)), ("localizer", ("vkh",)), ("localizer", ("dentalseg",)))
    ]
    assert whole_heads_left_out(crossed, tmp_path) == {"vkh": []}
    assert done == [("vkh", "bundles-without-vkh")]
