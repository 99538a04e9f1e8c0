"""Train and test every network of a study; a training that is done stays done when the rest is interrupted."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from negvol_pacs.errors import JointError
from negvol_pacs.segmentation.edges import signed_distance
from negvol_pacs.training.batches import draw
from negvol_pacs.training.dataset import HEAD_SPACING_MM, HEAD_VOXELS, HeadExample, JointExample
from negvol_pacs.training.evaluation.patients import Patient, TestJoint, make_patients, masks_of, negative_volume
from negvol_pacs.training.evaluation.study import Study, Unit, units
from negvol_pacs.training.learner import Learner
from negvol_pacs.training.metrics import collisions, dice, gap_dice, hausdorff, largest
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.score import logits

Row = dict[str, Any]
"""Figures of one structure of one example, with its unit, patient and structure."""
Progress = Callable[[str, float], None]
_SMOOTH = 25
_LEAST_PROBABILITY = 1e-6


def evaluate(study: Study, runs: Path, progress: Progress | None = None) -> list[Row]:
    """Train and test.

    Parameters
    ----------
    study
        What to compare.
    runs
        Folder for the figures of finished units; those of another study are made again.
    progress
        Called with what is being done and the share of all that is done.

    Returns
    -------
    list[Row]
        One row a structure and example; rows of the structure ``loss`` hold the loss over the steps.
    """
    tell = progress or (lambda _what, _share: None)
    tell("painting the patients", 0.0)
    patients = {patient.name: patient for patient in make_patients(study)}
    todo = list(units(study, list(patients)))
    rows: list[Row] = []
    for number, unit in enumerate(todo):
        tell(unit.name, number / len(todo))
        rows += _unit(study, unit, patients, runs)
    return rows


def _unit(study: Study, unit: Unit, patients: dict[str, Patient], runs: Path) -> list[Row]:
    folder = runs / unit.name
    folder.mkdir(parents=True, exist_ok=True)
    key = json.loads(json.dumps([asdict(study), asdict(unit)], default=str))
    path = folder / "rows.json"
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        return list(known["rows"])
    config = _config(study, unit, folder)
    examples = [example for name in unit.train for example in _examples(unit, patients[name])]
    learner = Learner(config, folder / "checkpoint.pt")
    losses: list[float] = []
    while learner.step < config.steps:
        losses.append(learner.learn(draw(config, examples, learner.step)))
    network = learner.network.eval()
    head: Row = {"target": unit.target, "column": unit.column, "fold": unit.fold, "size": len(unit.train)}
    tests = [(name, row) for name in unit.test for row in _test(study, unit, network, patients[name])]
    rows = [head | {"patient": name} | row for name, row in tests]
    curve = [float(np.mean(part)) for part in np.array_split(losses, max(1, min(_SMOOTH, len(losses))))]
    rows.append(head | {"patient": "", "structure": "loss", "curve": curve})
    path.write_text(json.dumps({"key": key, "rows": rows}), encoding="utf-8")
    return rows


def _config(study: Study, unit: Unit, folder: Path) -> TrainConfig:
    locate = unit.target == "localizer"
    return TrainConfig(
        "bones" if unit.target == "bones" else "localizer",
        folder,
        architecture=unit.architecture,
        loss=unit.loss,
        steps=study.localizer_steps if locate else study.steps,
        channels=study.localizer_channels if locate else study.channels,
        stride=2 if locate else 1,
        window=study.head_voxels if locate else study.window,
        spacing_mm=study.spacing_mm,
        learning_rate=study.learning_rate,
        seed=study.seed + unit.fold,
        precision=study.precision,
    )


def _examples(unit: Unit, patient: Patient) -> Sequence[JointExample | HeadExample]:
    if unit.target == "localizer":
        return patient.heads
    if unit.target == "bones":
        return [joint.example for joint in patient.joints]
    found = [(joint.example.image, joint.nv) for joint in patient.joints if joint.nv is not None]
    return [HeadExample(image, nv.astype(np.uint8)) for image, nv in found]


def _test(study: Study, unit: Unit, network: torch.nn.Module, patient: Patient) -> list[Row]:
    if unit.target == "localizer":
        return [row for head in patient.heads for row in _test_head(study, network, head)]
    rows = []
    for joint in patient.joints:
        seen = logits(network, joint.example, (study.window,) * 3).float().softmax(0).cpu().numpy()
        rows += _test_bones(study, seen, joint) if unit.target == "bones" else _test_nv(study, seen[1], joint)
    return rows


def _test_bones(study: Study, seen: NDArray[np.float32], joint: TestJoint) -> list[Row]:
    """Condyle, temporal bone, their neighbourhood, and the negative volume that inflation makes of them."""
    odds = np.clip(np.log(np.maximum(seen, _LEAST_PROBABILITY) / np.maximum(1 - seen, _LEAST_PROBABILITY)), -8, 8)
    distances = [signed_distance(part.astype(np.float32), study.spacing_mm) for part in odds[1:]]
    empty = np.zeros_like(joint.mc)
    mc, tb, nv = empty, empty, None
    with suppress(JointError):  # nothing was outlined: its Dice is 0, and there is no negative volume
        masks = masks_of(distances[0], distances[1], joint.centre, study)
        mc, tb = masks.mc.array > 0.5, masks.tb.array > 0.5
        nv = negative_volume(masks)
    rows: list[Row] = []
    for name, answer, truth, likely in (("MC", mc, joint.mc, seen[1]), ("TB", tb, joint.tb, seen[2])):
        near = truth | answer  # beyond the joint a network may well see bone
        entropy = _entropy(np.where(near | (likely < 0.5), likely, 0.0), truth)
        rows.append({"structure": name, "ce": entropy} | _overlap(answer, truth, study))
    both, outlined = (np.where(a, 1, np.where(b, 2, 0)).astype(np.uint8) for a, b in ((joint.mc, joint.tb), (mc, tb)))
    gaps = gap_dice(outlined, both)
    gap = float(np.mean(list(gaps.values()))) if gaps else None
    rows.append({"structure": "gap", "gap_dice": gap, "collisions": collisions(outlined)})
    if joint.nv is not None:
        found = {"found": nv is not None}
        rows.append({"structure": "NV"} | found | (_overlap(nv, joint.nv, study) if nv is not None else {}))
    return rows


def _test_nv(study: Study, likely: NDArray[np.float32], joint: TestJoint) -> list[Row]:
    if joint.nv is None:
        return []
    found = _overlap(likely > 0.5, joint.nv, study)
    return [{"structure": "NV", "found": bool((likely > 0.5).any()), "ce": _entropy(likely, joint.nv)} | found]


def _test_head(study: Study, network: torch.nn.Module, head: HeadExample) -> list[Row]:
    spacing = HEAD_SPACING_MM * HEAD_VOXELS / study.head_voxels
    seen = logits(network, head, (study.head_voxels,) * 3).float().softmax(0).cpu().numpy()
    answer = seen.argmax(0)
    rows = []
    for label, name in ((1, "right"), (2, "left")):
        truth = head.labels == label
        if truth.any():
            row: Row = {"structure": name, "dice": dice(answer == label, truth), "ce": _entropy(seen[label], truth)}
            if (answer == label).any():
                corners = [_box(largest(answer == label)), _box(truth)]
                row |= {"box_mm": float(np.abs(corners[0] - corners[1]).mean()) * spacing}
                row |= {"box_mse": float(((corners[0] - corners[1]) ** 2).mean())}
            rows.append(row)
    return rows


def _overlap(answer: NDArray[np.bool_], truth: NDArray[np.bool_], study: Study) -> Row:
    spacing = (study.spacing_mm,) * 3
    distances = {name: hausdorff(answer, truth, spacing, percent) for name, percent in (("hd", 100), ("hd95", 95))}
    return {"dice": dice(answer, truth)} | distances


def _entropy(likely: NDArray[np.floating[Any]], truth: NDArray[np.bool_]) -> float:
    right = np.where(truth, likely, 1 - likely)
    return float(-np.log(np.maximum(right, _LEAST_PROBABILITY)).mean())


def _box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    index = np.argwhere(mask)
    return np.concatenate([index.min(0), index.max(0)]).astype(np.float64)
