from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from negvol_pacs.errors import ConfigError, TrainingError
from negvol_pacs.training.evaluation import cross_head as crossing
from negvol_pacs.training.evaluation.cross_head import CrossHead, cross_head
from negvol_pacs.training.evaluation.cross_head_report import cross_head_section
from negvol_pacs.training.evaluation.report import write_report
from negvol_pacs.training.evaluation.study import QUICK
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.pool import HeadPlan, patients
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.shapes import LABEL_MAP, MESHES, shape_names
from negvol_pacs.training.tissues import Tissue


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label map that is named as the real one."""
    folder = tmp_path_factory.mktemp("shapes")
    head = make_head(7, 2.0).labels
    bones = np.zeros(head.array.shape, np.uint8)
    bones[(head.array == Tissue.SKULL) | (head.array == Tissue.AIR_CELL)] = 1
    bones[head.array == Tissue.MANDIBLE] = 2
    ras = np.diag([2.0, 2.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(bones.transpose(2, 1, 0)[:, ::-1][::-1], ras), folder / LABEL_MAP)
    return folder


def recipe(shapes: Path, runs: Path, **fields: object) -> TrainConfig:
    tiny: dict[str, object] = {
        "network": "bones", "shapes": shapes, "without": ("dentalseg",), "heads": 1, "head_spacing_mm": 2.0, "steps": 2,
        "channels": (4, 4, 8), "window": 40, "edge": 48, "spacing_mm": 1.2, "pool": 2, "per_step": 0.0, "painters": 0,
        "held_out": 1, "precision": "fp32", "tensorboard": False,
    }  # fmt: skip
    return TrainConfig(output=runs, **(tiny | fields))  # type: ignore[arg-type]


def test_real_heads_are_left_out_by_name(tmp_path: Path) -> None:
    for name in (LABEL_MAP, *MESHES.values()):
        (tmp_path / name).touch()
    assert shape_names(tmp_path) == ["dentalseg", "vkh"]
    assert shape_names(tmp_path, ("vkh",)) == ["dentalseg"]
    assert patients(HeadPlan(tmp_path, 2, 5, without=("dentalseg",))) == ["vkh", "procedural 5", "procedural 6"]
    with pytest.raises(TrainingError, match="No shape is called skeleton"):
        shape_names(tmp_path, ("skeleton",))


def test_a_recipe_that_leaves_out_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves out"):
        cross_head(recipe(tmp_path, tmp_path, without=()), tmp_path)


@pytest.mark.slow
def test_the_head_left_out_is_the_one_tested_on(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    found = [
        cross_head(recipe(shapes, runs), runs, examples=1),
        cross_head(
            recipe(shapes, runs, network="localizer", window=32, edge=32, stride=2, channels=(4, 4, 8)),
            runs,
            examples=1,
        ),
    ]
    assert {row["patient"] for cross in found for row in cross.rows} == {"dentalseg"}
    assert {row["structure"] for row in found[0].rows} >= {"MC", "TB", "gap"}
    assert [
        sum(row["as_scanned"] is kind and row["structure"] == "MC" for row in found[0].rows) for kind in (True, False)
    ] == [4, 4]
    assert {row["structure"] for row in found[1].rows} <= {"right", "left"}
    trained_on = (runs / "bones-without-dentalseg" / "bones" / "sources.json").read_text()
    assert "procedural" in trained_on
    assert '["dentalseg' not in trained_on
    assert found[0].picture is not None

    def never(*_arguments: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(crossing, "train", never)
    assert cross_head(recipe(shapes, runs), runs, examples=1).rows == found[0].rows
    bones = {"target": "bones", "column": "vnet dice+ce", "fold": 0, "size": 1, "patient": "p"}
    rows = [bones | {"structure": "MC", "dice": 0.5}, bones | {"structure": "loss", "curve": [1.0], "core_s": 90.0}]
    local = bones | {"target": "localizer", "structure": "right", "dice": 0.5}
    path = tmp_path / "evaluation.md"
    assert tmp_path / "evaluation-without-dentalseg.png" in write_report(QUICK, [*rows, local], path, found)
    section = path.read_text().split("## Cross-head")[1]
    assert "| bones, left out: | dentalseg as scanned | dentalseg deformed |" in section
    assert "| trained on | vkh, 1 procedural |" in section
    assert "| steps, window | 2, 40³, 1.2 mm |" in section
    assert "| localizer, left out: | dentalseg as scanned | dentalseg deformed |" in section
    assert "Not done: bones without vkh, localizer without vkh." in section
    assert "evaluation-without-dentalseg.png" in section
    assert "Whole heads" not in section


def test_whole_heads_are_told_apart_by_head_and_scanner(tmp_path: Path) -> None:
    scans = [
        {"scanner": "CT", "side": "right", "box_mm": 2.0, "MC_dice": 0.98, "NV_found": True, "NV_dice": 0.9},
        {"scanner": "CT", "side": "left", "box_mm": 4.0, "MC_dice": 0.96, "NV_found": False},
        {"scanner": "any", "side": "right"},  # no joint was found
    ]
    crossed = CrossHead(recipe(tmp_path, tmp_path), [{"structure": "MC", "as_scanned": True, "dice": 0.9}], None)
    lines, pictures = cross_head_section([crossed], tmp_path / "evaluation.md", {"dentalseg": scans})
    assert not pictures
    head = next(line for line in lines if line.startswith("| left out:"))
    assert head == "| left out: | dentalseg, CT | dentalseg, any |"
    cells = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines if line.startswith("| ")
    }
    assert cells["joints"] == ["2", "1"]
    assert cells["Box of the localizer, error of its centre, mm (goal 3)"] == ["3.0 ± 1.0", "missing"]
    assert cells["MC Dice, % (goal 93)"][-2:] == ["97.0 ± 1.0", "missing"]
    assert cells["NV found, %"][-2:] == ["50 ± 50", "missing"]
    assert cells["NV Dice, % (goal 85)"][-2:] == ["90.0 ± 0.0", "missing"]
