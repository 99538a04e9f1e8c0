"""The correction loop: learn from corrected cases, and say when correcting no longer pays (Xu et al. 2022)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.bundle import INFERENCE, METADATA, read_json
from negvol_pacs.segmentation.networks import ARCHITECTURES, architecture
from negvol_pacs.segmentation.shipped import WEIGHTS, models_folder
from negvol_pacs.segmentation.weights import Bundle, load_bundle
from negvol_pacs.training.cases.case import Dataset
from negvol_pacs.training.cases.examples import plain_example, real_joints
from negvol_pacs.training.dataset import JointExample
from negvol_pacs.training.metrics import collisions, gap_dice
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.score import answer
from negvol_pacs.training.train import Progress, train

ENOUGH_GAP_DICE, ENOUGH_COLLISIONS = 0.96, 200.0
"""What the paper ends with: GapDice above 96 %, |E| near 200."""
_GAIN = 0.05
ROUNDS = "rounds.json"
FIELDS: dict[str, Any] = {"learning_rate": 3e-4, "steps": 400}
"""What a fine-tuning takes where nothing else is said."""


@dataclass(frozen=True)
class Agreement:
    """How a network's answers to outlined joints look.

    Attributes
    ----------
    joints
        How many.
    collisions
        |E|, voxels within 2 voxels of the other bone, mean over the joints.
    gap_dice
        Dice of both bones where they are near each other, mean over joints; None where nowhere.
    """

    joints: int
    collisions: float
    gap_dice: float | None


@dataclass(frozen=True)
class Round:
    """One turn of the loop.

    Attributes
    ----------
    new, cases
        Cases that the weights before had not seen, and all that were trained on.
    before
        The weights before, on the new cases (on all where none is new): a measure on data that they had not seen.
    after
        The weights after, on all cases, which they have seen.
    weights
        SHA-256 of the weights after.
    """

    new: tuple[str, ...]
    cases: tuple[str, ...]
    before: Agreement
    after: Agreement
    weights: str


def recipe_of(bundle: Path) -> dict[str, Any]:
    """Fields of `TrainConfig` that a bundle's network settles.

    Raises
    ------
    TrainingError
        If its network is none that a recipe can name.
    """
    inference = read_json(bundle / INFERENCE)
    arguments = dict(inference["network_def"])
    kind = arguments.pop("_target_")
    channels = arguments.get("channels") or arguments.get("filters") or ()
    stride = int(arguments.get("stride", 1))
    for name in ARCHITECTURES:
        if (kind, arguments) == architecture(name, channels, stride if name == "vnet" else 1):
            shape = {"architecture": name, "channels": tuple(channels), "stride": stride}
            return shape | {"window": int(inference["window"][0]), "spacing_mm": float(inference["spacing_mm"])}
    raise TrainingError(f"{bundle}: a network of this kind cannot be fine-tuned.")


def finetune(config: TrainConfig, runs: Path, progress: Progress | None = None) -> tuple[Round, str]:
    """Go through one turn of the loop.

    Parameters
    ----------
    config
        With ``dataset``; starts from ``start``, by default the bundle that came with the package.
    runs
        As for `negvol_pacs.training.train.train`.
    progress
        Called after each step.

    Returns
    -------
    Round
        What was found; it is also appended to rounds.json in the dataset.
    str
        Whether to go on correcting, and why.

    Raises
    ------
    TrainingError
        If there are no cases, or the training fails.
    """
    if config.dataset is None:
        raise TrainingError("Fine-tuning needs a dataset of outlined cases (--dataset).")
    dataset, start = Dataset(config.dataset), config.start or models_folder() / config.network
    former, names = rounds(config.dataset), dataset.names()
    new = [name for name in names if not any(name in turn.cases for turn in former)]
    before = agreement(load_bundle(start), _joints(dataset, new or names, config))
    train(replace(config, start=start), runs, progress)
    after = agreement(load_bundle(config.output), _joints(dataset, names, config))
    made = str(read_json(config.output / METADATA)["sha256"][WEIGHTS])
    turn = Round(tuple(new), tuple(names), before, after, made)
    content = [asdict(item) for item in (*former, turn)]
    (config.dataset / ROUNDS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return turn, advice([*former, turn])


def rounds(dataset: Path) -> list[Round]:
    """Read the turns of the loop so far."""
    path = dataset / ROUNDS
    if not path.is_file():
        return []
    return [
        Round(
            tuple(item["new"]),
            tuple(item["cases"]),
            Agreement(**item["before"]),
            Agreement(**item["after"]),
            item["weights"],
        )
        for item in json.loads(path.read_text(encoding="utf-8"))
    ]


def advice(turns: Sequence[Round]) -> str:
    """Say whether to go on correcting: by what weights made of cases that they had not seen."""
    unseen = [turn.before for turn in turns if turn.new and turn.before.gap_dice is not None]
    if not unseen:
        return "Go on: no case was new, so nothing is known of unseen ones."
    last = unseen[-1]
    if last.gap_dice is not None and last.gap_dice >= ENOUGH_GAP_DICE and last.collisions <= ENOUGH_COLLISIONS:
        return f"Stop: unseen cases reach GapDice {last.gap_dice:.3f} with |E| {last.collisions:.0f}."
    if len(unseen) > 1:
        former = unseen[-2]
        error, was = 1 - (last.gap_dice or 0.0), 1 - (former.gap_dice or 0.0)
        if error > (1 - _GAIN) * was and last.collisions > (1 - _GAIN) * former.collisions:
            return "Stop, or correct other kinds of cases: neither |E| nor GapDice of unseen cases got better."
    return (
        f"Go on: unseen cases have GapDice {last.gap_dice:.3f} (enough: {ENOUGH_GAP_DICE}) "
        f"and |E| {last.collisions:.0f} (enough: {ENOUGH_COLLISIONS:.0f})."
    )


def agreement(bundle: Bundle, joints: Iterator[JointExample]) -> Agreement:
    """Compare a network's answers with outlined joints, where the outlines say what is there."""
    sizes, scores = [], []
    for joint in joints:
        known = np.ones(joint.mandible.shape, np.bool_) if joint.known is None else joint.known
        truth = np.where(known, np.where(joint.mandible > 0, 1, np.where(joint.skull > 0, 2, 0)), 0)
        seen = answer(bundle.module, joint, bundle.window) * known
        sizes.append(collisions(seen))
        if found := gap_dice(seen, truth):
            scores.append(float(np.mean(list(found.values()))))
    return Agreement(len(sizes), float(np.mean(sizes)) if sizes else 0.0, float(np.mean(scores)) if scores else None)


def _joints(dataset: Dataset, names: Sequence[str], config: TrainConfig) -> Iterator[JointExample]:
    voxels = config.edge or round(64.0 / config.spacing_mm)
    for name in names:
        for joint in real_joints(dataset.read(name), config.spacing_mm):
            yield plain_example(joint, voxels, config.spacing_mm)
