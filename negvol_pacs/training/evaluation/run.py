"""Train and test every network of a study; a training that is done stays done when the rest is interrupted."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointError, TrainingError
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.edges import signed_distance, snap
from negvol_pacs.segmentation.localization import candidates, choose
from negvol_pacs.training.batches import draw
from negvol_pacs.training.dataset import BALL_MM, HeadExample, JointExample, head_spacing
from negvol_pacs.training.evaluation.patients import (
    Patient,
    TestJoint,
    make_patients,
    masks_of,
    negative_volume,
    plan_of,
)
from negvol_pacs.training.evaluation.study import Study, Unit, units
from negvol_pacs.training.learner import Learner
from negvol_pacs.training.metrics import collisions, dice, gap_dice, hausdorff, largest, mend_sides
from negvol_pacs.training.pool import patients as names
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.score import logits

Row = dict[str, Any]
"""Figures of one structure of one example, with its unit, patient and structure."""
Progress = Callable[[str, float], None]
_SMOOTH = 25
_ROWS = "rows.json"
_LEAST_PROBABILITY = 1e-6
_DENSE_HU = 1300.0
"""About the dense bone that `normalise_voi` maps to 1."""


def evaluate(study: Study, runs: Path, progress: Progress | None = None, *, finished: bool = False) -> list[Row]:
    """Train and test.

    Parameters
    ----------
    study
        What to compare.
    runs
        Folder for the figures of finished units; those of another study are made again.
    progress
        Called with what is being done and the share of all that is done.
    finished
        Give the rows of what is finished, and train nothing.

    Returns
    -------
    list[Row]
        One row a structure and example; rows of the structure ``loss`` hold the loss over the steps, and the
        unit's core seconds.

    Raises
    ------
    TrainingError
        If only finished units are wanted, and there is none of bones.
    """
    tell = progress or (lambda _what, _share: None)

    @cache
    def patients() -> dict[str, Patient]:
        tell("painting the patients", 0.0)
        return {patient.name: patient for patient in make_patients(study)}

    todo = list(units(study, names(plan_of(study))))
    rows: list[Row] = []
    for number, unit in enumerate(todo):
        done = _finished(study, unit, runs)
        if done is None:
            done = [] if finished else _unit(study, unit, patients(), runs)
        rows += done
        tell(unit.name, (number + 1) / len(todo))
    if not any(row["target"] == "bones" for row in rows):
        raise TrainingError(f"No training of bones is finished in {runs}.")
    return rows


def _key(study: Study, unit: Unit) -> list[Any]:
    return list(json.loads(json.dumps([study.key(), asdict(unit)])))


def _finished(study: Study, unit: Unit, runs: Path) -> list[Row] | None:
    path = runs / unit.name / _ROWS
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["key"] == _key(study, unit):
        return list(known["rows"])
    return None


def _unit(study: Study, unit: Unit, patients: dict[str, Patient], runs: Path) -> list[Row]:
    folder = runs / unit.name
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(study, unit, folder)
    began = time.process_time()
    examples = [example for name in unit.train for example in _examples(unit, patients[name])]
    if not examples:  # none of the joints has a negative volume
        return []
    bones: Sequence[int | None] = (1, 2) if unit.target == "apart" else (None,)
    trained = [_train(config, examples, bone) for bone in bones]
    network = trained[0][0] if len(trained) == 1 else Joined([one for one, _ in trained])
    losses = np.sum([curve for _, curve in trained], axis=0)
    head: Row = {"target": unit.target, "column": unit.column, "fold": unit.fold, "size": len(unit.train)}
    tests = [(name, row) for name in unit.test for row in _test(study, unit, network, patients[name])]
    rows = [head | {"patient": name} | row for name, row in tests]
    curve = [float(np.mean(part)) for part in np.array_split(losses, max(1, min(_SMOOTH, len(losses))))]
    rows.append(head | {"patient": "", "structure": "loss", "curve": curve, "core_s": time.process_time() - began})
    content = {"key": _key(study, unit), "rows": rows}
    (folder / _ROWS).write_text(json.dumps(content), encoding="utf-8")
    return rows


def _train(
    config: TrainConfig, examples: Sequence[JointExample | HeadExample], bone: int | None
) -> tuple[torch.nn.Module, list[float]]:
    """Train a network, for one bone alone or for all classes; return it and its losses."""
    learner = Learner(config, config.output / "checkpoint.pt", 3 if bone is None else 2)
    losses: list[float] = []
    while learner.step < config.steps:
        batch = draw(config, examples, learner.step)
        if bone is not None:
            own = batch.target[:, bone]
            batch = replace(batch, target=torch.stack([1 - own, own], dim=1))
        losses.append(learner.learn(batch))
    return learner.network.eval(), losses


class Joined(torch.nn.Module):
    """Networks of one bone each, as one: what they say is taken as independent, but no voxel belongs to both."""

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Log-odds of mandible and skull against background, which is 0."""
        answers = [network(image) for network in self.networks]
        odds = [answer[:, 1] - answer[:, 0] for answer in answers]
        return torch.stack([torch.zeros_like(odds[0]), *odds], dim=1)


def _config(study: Study, unit: Unit, folder: Path) -> TrainConfig:
    locate = unit.target == "localizer"
    return TrainConfig(
        "bones" if unit.target in ("bones", "apart") else "localizer",
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
    if unit.target in ("bones", "apart"):
        return [joint.example for joint in patient.joints]
    found = [(joint.example.image, joint.nv) for joint in patient.joints if joint.nv is not None]
    return [HeadExample(image, nv.astype(np.uint8)) for image, nv in found]


def _test(study: Study, unit: Unit, network: torch.nn.Module, patient: Patient) -> list[Row]:
    if unit.target == "localizer":
        return [row for head in patient.heads for row in assess_head(study, network, head)]
    rows = []
    for joint in patient.joints:
        seen = logits(network, joint.example, (study.window,) * 3).float().softmax(0).cpu().numpy()
        rows += _assess_nv(study, seen[1], joint) if unit.target == "nv" else assess_bones(study, seen, joint)
    return rows


def assess_bones(study: Study, seen: NDArray[np.float32], joint: TestJoint) -> list[Row]:
    """Condyle, temporal bone, their neighbourhood, and the negative volume that inflation makes of them.

    The negative volume is scored twice: of the network's own surfaces, and of these snapped to the grey values'
    edges, as in the pipeline.

    Parameters
    ----------
    study
        Its spacing and its number of voxels.
    seen
        Probabilities of background, mandible and skull, axes z, y, x.
    joint
        The truth.
    """
    odds = np.clip(np.log(np.maximum(seen, _LEAST_PROBABILITY) / np.maximum(1 - seen, _LEAST_PROBABILITY)), -8, 8)
    distances = [signed_distance(part.astype(np.float32), study.spacing_mm) for part in odds[1:]]
    empty = np.zeros_like(joint.mc)
    mc, tb, nv = empty, empty, None
    with suppress(JointError):  # nothing was outlined: its Dice is 0, and there is no negative volume
        masks = masks_of(distances[0], distances[1], joint.centre, study)
        mc, tb = masks.mc.array > 0.5, masks.tb.array > 0.5
        nv = negative_volume(masks, joint.example.transverse)
    snapped = None if joint.nv is None else _snapped_volume(distances, joint, study)
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
        found: Row = {"found": nv is not None}
        if snapped is not None:
            found["snapped_dice"] = dice(snapped, joint.nv)
        rows.append({"structure": "NV"} | found | (_overlap(nv, joint.nv, study) if nv is not None else {}))
    return rows


def _snapped_volume(
    distances: Sequence[NDArray[np.float32]], joint: TestJoint, study: Study
) -> NDArray[np.bool_] | None:
    image = joint.example.image.astype(np.float32) * _DENSE_HU
    mc, tb = distances
    snapped = snap(image, mc, tb, study.spacing_mm), snap(image, tb, mc, study.spacing_mm)
    with suppress(JointError):
        return negative_volume(masks_of(*snapped, joint.centre, study), joint.example.transverse)
    return None


def _assess_nv(study: Study, likely: NDArray[np.float32], joint: TestJoint) -> list[Row]:
    if joint.nv is None:
        return []
    found = _overlap(likely > 0.5, joint.nv, study)
    return [{"structure": "NV", "found": bool((likely > 0.5).any()), "ce": _entropy(likely, joint.nv)} | found]


def assess_head(study: Study, network: torch.nn.Module, head: HeadExample) -> list[Row]:
    """Localisation in a painted head.

    The boxes are those of the largest region a side of the network's plain answer. Beside it: the Dice of its mended
    sides, and how far off the centre is that the pipeline takes.
    """
    spacing = head_spacing(study.head_voxels)
    ball = 4 / 3 * np.pi * (BALL_MM / spacing) ** 3
    seen = logits(network, head, (study.head_voxels,) * 3).float().softmax(0).cpu().numpy()
    answer = seen.argmax(0)
    mended = mend_sides(answer, [(1, 2)])
    taken = _taken_centres(study, seen, network, head)
    rows = []
    for label, (side, name) in enumerate(((Side.RIGHT, "right"), (Side.LEFT, "left")), start=1):
        truth = head.labels == label
        if truth.sum() > ball / 2:  # else most of the joint lies outside the field of view
            row: Row = {"structure": name, "dice": dice(answer == label, truth), "ce": _entropy(seen[label], truth)}
            row["mended_dice"] = dice(mended == label, truth)
            centre = taken[side]
            row["located"] = not isinstance(centre, JointError)
            if not isinstance(centre, JointError):
                true = np.argwhere(truth).mean(0)[::-1] * spacing
                row["located_mm"] = float(np.linalg.norm(centre - true))
            if (answer == label).any():
                corners = [_box(largest(answer == label)), _box(truth)]
                middles = [(box[:3] + box[3:]) / 2 for box in corners]
                row |= {"centre_mm": float(np.linalg.norm(middles[0] - middles[1])) * spacing}
                row |= {"box_mm": float(np.abs(corners[0] - corners[1]).mean()) * spacing}
                row |= {"box_mse": float(((corners[0] - corners[1]) ** 2).mean())}
            rows.append(row)
    return rows


def _taken_centres(
    study: Study, seen: NDArray[np.float32], network: torch.nn.Module, head: HeadExample
) -> dict[Side, NDArray[np.float64] | JointError]:
    """Centres by the pipeline's rules, which also ask the network for the mirrored head; origin at the first voxel."""
    mirror = replace(head, image=np.ascontiguousarray(head.image[..., ::-1]))
    mirrored = logits(network, mirror, (study.head_voxels,) * 3).float().softmax(0).cpu().numpy()
    heat = (seen[1:] + mirrored[:0:-1, ..., ::-1]) / 2
    spacing = head_spacing(study.head_voxels)
    geometry = grid.lps_geometry((0.0, 0.0, 0.0), (study.head_voxels,) * 3, spacing)
    return choose(candidates(heat, geometry), geometry)


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
