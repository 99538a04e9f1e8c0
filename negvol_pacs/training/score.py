"""Figures of a network on held-out synthetic examples."""

from collections.abc import Iterable

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from negvol_pacs.training.dataset import STEPS_A_MM, HeadExample, JointExample
from negvol_pacs.training.metrics import dice, largest

_NEAR_MM = 4.0
_FOUND_MM = 15.0
"""A joint counts as found when its largest region is centred nearer to the truth than this."""


def score(
    network: nn.Module, held_out: Iterable[JointExample | HeadExample], window: int, spacing_mm: float
) -> dict[str, float]:
    """Mean figures over examples.

    Parameters
    ----------
    network
        In evaluation mode.
    held_out
        Joints: Dice of MC and TB, and of both within 4 mm of either bone's surface in the
        joint space. Heads: how many joints are found, and the error of their centres.
    window
        Voxels along each edge that the network sees.
    spacing_mm
        Of the examples.
    """
    found: dict[str, list[float]] = {}
    for example in held_out:
        seen = answer(network, example, (window,) * 3)
        figures = _joint(seen, example) if isinstance(example, JointExample) else _head(seen, example, spacing_mm)
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def answer(network: nn.Module, example: JointExample | HeadExample, window: tuple[int, int, int]) -> NDArray[np.int64]:
    """Likeliest class of each voxel of an example."""
    return np.asarray(logits(network, example, window).argmax(0).cpu().numpy())


@torch.inference_mode()
def logits(network: nn.Module, example: JointExample | HeadExample, window: tuple[int, int, int]) -> Tensor:
    """Logits of an example, shape (classes, z, y, x): of a joint by windows, of a head at once."""
    image = torch.from_numpy(example.image.astype(np.float32))[None, None].to(next(network.parameters()).device)
    if isinstance(example, HeadExample):
        return network(image)[0]  # type: ignore[no-any-return]
    return sliding_window_inference(image, window, 1, network, overlap=0.5, mode="gaussian")[0]  # type: ignore[no-any-return]


def _joint(answer: NDArray[np.int64], example: JointExample) -> dict[str, float]:
    mandible, skull = example.mandible > 0, example.skull > 0
    near = STEPS_A_MM * _NEAR_MM
    space = (np.abs(example.mandible.astype(int)) < near) & (np.abs(example.skull.astype(int)) < near)
    figures = {"Dice of the mandible": dice(answer == 1, mandible), "Dice of the skull": dice(answer == 2, skull)}
    if space.any():
        figures["Dice of both bones, less than 4 mm from both"] = dice((answer > 0) & space, (mandible | skull) & space)
    return figures


def _head(answer: NDArray[np.int64], example: HeadExample, spacing_mm: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    errors, hits, false = [], [], []
    for label in (1, 2):
        true, got = example.labels == label, answer == label
        if true.sum() < 500:  # most of the joint lies outside the field of view
            false.append(float(got.sum() > 500))
            continue
        centre = np.argwhere(true).mean(0)
        offset = np.argwhere(largest(got)).mean(0) - centre if got.any() else np.full(3, np.inf)
        error = float(np.linalg.norm(offset)) * spacing_mm
        hits.append(float(error < _FOUND_MM))
        if error < _FOUND_MM:
            errors.append(error)
    if hits:
        figures["Share of joints found"] = float(np.mean(hits))
    if errors:
        figures["Error of the centre, mm"] = float(np.mean(errors))
    if false:
        figures["Share of absent joints reported"] = float(np.mean(false))
    return figures
