import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from negvol_pacs.errors import ConfigError, TrainingError
from negvol_pacs.training.dataset import STEPS_A_MM, HeadExample
from negvol_pacs.training.evaluation import run as running
from negvol_pacs.training.evaluation.patients import make_patients, masks_of, negative_volume
from negvol_pacs.training.evaluation.report import write_report
from negvol_pacs.training.evaluation.run import assess_bones, assess_head, evaluate
from negvol_pacs.training.evaluation.study import QUICK, Study, load_study, units


def test_no_patient_is_tested_on_by_a_network_that_saw_him() -> None:
    patients = [f"p{n}" for n in range(7)]
    found = list(units(Study(folds=3, sizes=(1, 3, 9)), patients))
    assert all(not set(unit.train) & set(unit.test) for unit in found)
    for target in ("bones", "nv", "localizer"):
        own = [unit for unit in found if unit.target == target and unit.column == "vnet dice+ce"]
        whole = [unit for unit in own if len(unit.train) + len(unit.test) == 7]
        assert sorted(name for unit in whole for name in unit.test) == patients
    assert sorted({len(u.train) for u in found if u.target == "bones" and u.fold == 0}) == [1, 3, 4]
    assert len({unit.name for unit in found}) == len(found)


def test_only_the_last_column_gets_a_direct_network_where_that_is_wanted() -> None:
    found = list(units(Study(folds=2, direct="last", apart=False), ["p", "q"]))
    assert {unit.column for unit in found if unit.target == "nv"} == {"vnet dice+ce"}
    assert not [unit for unit in found if unit.target == "apart"]
    assert len([unit for unit in units(Study(folds=2), ["p", "q"]) if unit.target == "apart"]) == 2
    assert {unit.fold for unit in units(Study(folds=2, tested=1), ["p", "q"])} == {0}


def test_networks_of_one_bone_each_share_no_voxel() -> None:
    odds = torch.tensor([[-3.0, 2.0, 1.0, -1.0], [-3.0, -2.0, 2.0, 5.0]])

    class Says(torch.nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros(4), odds[self.number]])[None] + image

    likely = running.Joined([Says(0), Says(1)])(torch.ones(1)).softmax(1)[0]
    alone = odds.sigmoid()
    pairs = torch.stack([(1 - alone[0]) * (1 - alone[1]), alone[0] * (1 - alone[1]), alone[1] * (1 - alone[0])])
    torch.testing.assert_close(likely, pairs / pairs.sum(0))
    assert likely.argmax(0).tolist() == [0, 1, 2, 2]


def test_too_few_patients_are_an_error() -> None:
    with pytest.raises(ConfigError, match="1 patients cannot be parted into 2 folds"):
        list(units(QUICK, ["p"]))


def test_a_study_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('heads = 3\ncolumns = [["unet", "gap-ce"]]\n')
    study = load_study(path)
    assert (study.heads, list(map(tuple, study.columns))) == (3, [("unet", "gap-ce")])
    path.write_text('columns = [["resnet", "ce"]]\n')
    with pytest.raises(ConfigError, match="resnet"):
        load_study(path)


@pytest.fixture(scope="module")
def study() -> Study:
    return replace(QUICK, steps=3, localizer_steps=2)


@pytest.mark.slow
def test_the_truth_itself_scores_full_marks(study: Study) -> None:
    (patient,) = make_patients(replace(study, heads=1, head_spacing_mm=1.5, spacing_mm=1.0, voxels=64))
    fine = replace(study, spacing_mm=1.0, voxels=64)
    joint = patient.joints[0]
    bones = [bone.astype(np.float32) / STEPS_A_MM for bone in (joint.example.mandible, joint.example.skull)]
    sure = 1 / (1 + np.exp(-4 * np.stack([np.minimum(-bones[0], -bones[1]), *bones])))
    rows = {row["structure"]: row for row in assess_bones(fine, sure.astype(np.float32), joint)}
    for structure in ("MC", "TB"):
        assert rows[structure]["dice"] > 0.95
        assert rows[structure]["hd95"] <= 1.0
        assert rows[structure]["ce"] < 0.1
    assert rows["gap"]["gap_dice"] > 0.93
    if joint.nv is not None:
        assert rows["NV"]["found"]
        assert rows["NV"]["snapped_dice"] > 0.6
    masks = masks_of(bones[0], bones[1], joint.centre, fine)
    again = negative_volume(masks, joint.example.transverse)
    assert (again is None) == (joint.nv is None)


def test_sides_mixed_up_by_the_localizer_are_mended_in_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((16, 16, 32), np.uint8)
    labels[4:12, 4:12, 2:10], labels[4:12, 4:12, 22:30] = 1, 2
    mixed = labels.copy()
    mixed[4:6, 4:12, 2:10] = 2  # a slice of the right joint taken for the left one
    mixed[6, 4:12, 2:10] = 0
    answer = np.stack([mixed == label for label in range(3)]).astype(np.float32) * 8
    monkeypatch.setattr(running, "logits", lambda *_: torch.from_numpy(answer))
    head = HeadExample(np.zeros(labels.shape, np.float16), labels)
    right, left = assess_head(replace(QUICK, head_voxels=96), torch.nn.Identity(), head)
    assert right["structure"] == "right"
    assert left["dice"] < 0.95 < left["mended_dice"]
    assert right["mended_dice"] == pytest.approx(right["dice"])


@pytest.mark.slow
def test_a_tiny_study_goes_from_heads_to_report_and_is_not_done_twice(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = evaluate(study, tmp_path / "runs")
    path = tmp_path / "report" / "evaluation.md"
    files = write_report(study, rows, path)
    assert all(file.is_file() for file in files)
    text = path.read_text()
    assert "All heads are synthetic" in text
    for said in (
        "MC HD, mm",
        "TB HD95, mm",
        "NV direct Dice, %",
        "GapDice, %",
        "Collisions, voxels",
        "Box, mean error",
        "Box, error of its centre",
    ):
        line = next(line for line in text.splitlines() if line.startswith(f"| {said}"))
        assert line.count("|") >= 3
    assert "| MC Dice, % |" in text
    assert "(91.4)" in text
    assert "## One network or two (V-Net, dice+ce)" in text
    assert "**A reduced study**" in text
    kinds = {(row["target"], row["structure"]) for row in rows}
    assert {("apart", "MC"), ("bones", "MC"), ("bones", "TB"), ("bones", "gap"), ("bones", "loss")} <= kinds
    assert ("localizer", "right") in kinds
    assert json.loads(path.with_suffix(".json").read_text())["rows"]

    def never(*_arguments: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(running, "Learner", never)
    monkeypatch.setattr(running, "make_patients", never)
    assert evaluate(study, tmp_path / "runs") == rows
    (tmp_path / "runs" / "localizer-vnet-dice_ce-fold0-of1" / "rows.json").unlink()
    fewer = evaluate(replace(study, sizes=()), tmp_path / "runs", finished=True)
    assert 0 < len(fewer) < len(rows)
    with pytest.raises(TrainingError, match="is finished in"):
        evaluate(study, tmp_path / "nothing", finished=True)
    write_report(replace(study, apart=False), [row for row in fewer if row["target"] == "bones"], path)
    text = path.read_text()
    assert "trainings are finished; the others are missing here" in text
    assert "## Localisation\n\nNot done yet." in text
