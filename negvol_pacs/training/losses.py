"""Losses: cross-entropy, Dice, their sum, and cross-entropy weighted where the two bones come close."""

from typing import Literal, get_args

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

Loss = Literal["ce", "dice", "dice+ce", "gap-ce", "gap-dice+ce"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
GAP_STRENGTH, EROSION_MM, SIGMA_MM = 20.0, 1.5, 2.5
"""Xu et al. 2022: w0 with erosion, radius 3 voxels, σ 5 voxels; here of 0.5 mm."""


def gap_weights(
    first: Tensor, second: Tensor, strength: float = 4.0, sigma_mm: float = SIGMA_MM, erosion_mm: float | None = None
) -> Tensor:
    """Weight of each voxel: large in the joint space, 1 far from it.

    Xu et al. 2022: ``1 + w0 · exp(-(d1 + d2)² / (2 σ²))`` with the distances to the nearest and
    second-nearest bone.

    Parameters
    ----------
    first, second
        Signed distance to the surface of either bone, mm, positive inside, same shape.
    strength
        w0.
    sigma_mm
        σ, mm.
    erosion_mm
        The distances are those to the bones eroded by a ball of this radius, 0 inside them. None: those
        to the bones' surfaces, from either side.
    """
    if erosion_mm is None:
        distance = first.abs() + second.abs()
    else:
        distance = (erosion_mm - first).clamp_min(0) + (erosion_mm - second).clamp_min(0)
    return 1 + strength * torch.exp(-distance.square() / (2 * sigma_mm**2))


def weights_for(loss: Loss, first: Tensor, second: Tensor) -> Tensor | None:
    """Weights that a loss asks for; None for 1 everywhere."""
    if loss == "gap-ce":
        return gap_weights(first, second, GAP_STRENGTH, erosion_mm=EROSION_MM)
    return gap_weights(first, second) if loss == "gap-dice+ce" else None


class Criterion(nn.Module):
    """Soft Dice loss of the foreground classes, weighted cross-entropy, or their sum.

    Parameters
    ----------
    loss
        Which one.
    """

    def __init__(self, loss: Loss = "dice+ce") -> None:
        super().__init__()
        self.has_dice, self.has_entropy = "dice" in loss, "ce" in loss.replace("dice", "")
        self.dice = DiceLoss(include_background=False, batch=True)

    def forward(
        self, logits: Tensor, target: Tensor, weights: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        logits
            Shape (batch, classes, z, y, x).
        target
            Probability of each class, same shape: partial volumes at a surface are fractions.
        weights
            Of the cross-entropy, shape (batch, z, y, x); None for 1 everywhere.
        known
            1 where the target counts, same shape as the weights; None for everywhere.
        """
        total = logits.new_zeros(())
        if self.has_entropy:
            entropy = functional.cross_entropy(logits, target, reduction="none")
            factor = torch.ones_like(entropy) if weights is None else weights
            factor = factor if known is None else factor * known
            total = total + (entropy * factor).sum() / factor.sum().clamp_min(1e-6)
        if self.has_dice:
            seen = logits.softmax(1)
            mask = 1 if known is None else known[:, None]
            total = total + self.dice(seen * mask, target * mask)
        return total
