"""Losses: Dice and cross-entropy, weighted where the two bones come close."""

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional


def gap_weights(first: Tensor, second: Tensor, strength: float = 4.0, sigma_mm: float = 2.5) -> Tensor:
    """Weight of each voxel: large in the joint space, 1 far from it.

    Xu et al. 2022: ``1 + w0 · exp(-(d1 + d2)² / (2 σ²))`` with the distances to the nearest and
    second-nearest bone; σ is 5 voxels of 0.5 mm.

    Parameters
    ----------
    first, second
        Distance to the surface of either bone, mm, any sign, same shape.
    strength
        w0.
    sigma_mm
        σ, mm.
    """
    return 1 + strength * torch.exp(-(first.abs() + second.abs()).square() / (2 * sigma_mm**2))


class DiceCrossEntropy(nn.Module):
    """Sum of the soft Dice loss of the foreground classes and the weighted cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(include_background=False, softmax=True, batch=True)

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        logits
            Shape (batch, classes, z, y, x).
        target
            Probability of each class, same shape: partial volumes at a surface are fractions.
        weights
            Shape (batch, z, y, x); None for 1 everywhere.
        """
        entropy = functional.cross_entropy(logits, target, reduction="none")
        mean = entropy.mean() if weights is None else (entropy * weights).sum() / weights.sum()
        dice: Tensor = self.dice(logits, target)
        return dice + mean
