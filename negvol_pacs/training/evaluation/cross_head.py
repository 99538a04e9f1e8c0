"""Train without a real head and test on it: a network shall know joints, not the heads of its training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.cohort.figures import new_figure, save
from negvol_pacs.errors import ConfigError
from negvol_pacs.segmentation.weights import load_bundle
from negvol_pacs.training.dataset import BONES_VOXELS, HEAD_VOXELS, head_example
from negvol_pacs.training.evaluation.patients import TestJoint, paint_joint
from negvol_pacs.training.evaluation.run import Row, assess_bones, assess_head
from negvol_pacs.training.evaluation.study import Study
from negvol_pacs.training.pool import HeadPlan, heads
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.regions import CoarseHead, Region, coarse_head, cut_region
from negvol_pacs.training.score import logits
from negvol_pacs.training.shapes import NAMES
from negvol_pacs.training.train import Progress, train

_TEST_SEED = 2_000_003
"""The soft tissue around the bones, and the painting, are none that a training draws."""


@dataclass(frozen=True)
class CrossHead:
    """What a network says of a real head that it was not trained on.

    Attributes
    ----------
    recipe
        Of the training.
    rows
        One a structure and example; `as_scanned` says whether the head was only moved and painted, or deformed too.
    picture
        A joint with its outlines, PNG; None for a localizer.
    """

    recipe: TrainConfig
    rows: list[Row]
    picture: Path | None


def cross_head(recipe: TrainConfig, runs: Path, examples: int = 2, progress: Progress | None = None) -> CrossHead:
    """Train by a recipe, and test on the real heads that it leaves out.

    Parameters
    ----------
    recipe
        With shapes, of which it is `without` some.
    runs
        Folder for the training and the figures; what is done is not done again.
    examples
        Painted joints of each side, or painted heads, of each left-out head and soft tissue: so many as they were
        scanned, and as many deformed.
    progress
        See `negvol_pacs.training.train`.

    Raises
    ------
    ConfigError
        If the recipe leaves out nothing.
    """
    if recipe.shapes is None or not recipe.without:
        raise ConfigError("A recipe for cross-head needs shapes, and names those that it leaves out (without = [...]).")
    folder = runs / f"{recipe.network}-without-{'-'.join(recipe.without)}"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = replace(recipe, output=bundles_without(recipe.without, runs) / recipe.network)
    path, picture = folder / "rows.json", folder / "joint.png"
    key = recipe.key() | {"examples": examples, "heads": ["as scanned", "deformed"]}
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        rows = list(known["rows"])
    else:
        train(recipe, folder, progress)
        rows = _test(recipe, load_bundle(recipe.output).module, examples, picture)
        path.write_text(json.dumps({"key": key, "rows": rows}), encoding="utf-8")
    return CrossHead(recipe, rows, picture if picture.is_file() else None)


def bundles_without(without: Sequence[str], runs: Path) -> Path:
    """Folder of the bundles that were trained without these heads."""
    return runs / f"bundles-without-{'-'.join(without)}"


def _test(recipe: TrainConfig, network: torch.nn.Module, examples: int, picture: Path) -> list[Row]:
    edge = recipe.edge or (BONES_VOXELS if recipe.network == "bones" else HEAD_VOXELS)
    grid = Study(window=recipe.window, voxels=edge, head_voxels=edge, spacing_mm=recipe.spacing_mm)
    trained_on = tuple(name for name in NAMES if name not in recipe.without)
    plan = HeadPlan(recipe.shapes, 0, recipe.seed + _TEST_SEED, without=trained_on)
    rows: list[Row] = []
    for number, (name, labels) in enumerate(heads(plan)):
        whole = recipe.network == "localizer"
        sources = [coarse_head(labels)] if whole else [cut_region(labels, side) for side in Side]
        for as_scanned in (True, False):
            rng = np.random.default_rng((recipe.seed + _TEST_SEED, number, *([1] if as_scanned else [])))
            for source in sources:
                for _ in range(examples):
                    found = _assess(
                        grid, network, source, rng, as_scanned=as_scanned, picture=None if rows else picture
                    )
                    rows += [{"patient": name, "as_scanned": as_scanned} | row for row in found]
    return rows


def _assess(
    grid: Study,
    network: torch.nn.Module,
    source: Region | CoarseHead,
    rng: np.random.Generator,
    *,
    as_scanned: bool,
    picture: Path | None,
) -> list[Row]:
    """Paint one example and test on it; none where a joint is turned out of the cube."""
    if isinstance(source, CoarseHead):
        return assess_head(grid, network, head_example(source, rng, grid.head_voxels, as_scanned=as_scanned))
    joint = paint_joint(source, rng, grid, as_scanned=as_scanned)
    if joint is None:
        return []
    seen = logits(network, joint.example, (grid.window,) * 3).float().softmax(0).cpu().numpy()
    if picture is not None:
        draw_joint(joint, seen, picture, grid.spacing_mm)
    return assess_bones(grid, seen, joint)


def draw_joint(joint: TestJoint, seen: NDArray[np.float32], path: Path, spacing_mm: float) -> None:
    """Draw a joint in three planes through the condylar head: the truth as lines, the answer as colour.

    Parameters
    ----------
    joint
        The truth.
    seen
        Probabilities of background, mandible and skull, axes z, y, x.
    path
        PNG.
    spacing_mm
        Of the voxels.
    """
    middle = np.round(joint.centre[::-1] / spacing_mm + (np.array(joint.mc.shape) - 1) / 2).astype(int)
    figure = new_figure(12, 4.4)
    for axes, axis, said in zip(figure.subplots(1, 3), (2, 1, 0), ("sagittal", "coronal", "axial"), strict=True):
        image, mc, tb = (np.take(a, middle[axis], axis) for a in (joint.example.image, joint.mc, joint.tb))
        answer = np.take(seen.argmax(0), middle[axis], axis)
        axes.imshow(image.astype(np.float32), cmap="gray", origin="upper" if axis == 0 else "lower")
        for label, truth, colour in ((1, mc, "tab:orange"), (2, tb, "tab:cyan")):
            axes.contourf(answer == label, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
            if truth.any():
                axes.contour(truth, levels=[0.5], colors=[colour], linewidths=1.2)
        axes.set(title=said, xticks=[], yticks=[])
    note = "A painted joint of the head left out. Lines: true MC and TB near the joint. Colour: the network"
    save(figure, path, note)
