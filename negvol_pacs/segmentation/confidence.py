"""How well each bone is outlined, predicted without the truth.

If every voxel were bone with the network's probability p, its outline M (p > 1/2) would have
the Dice E = 2 Σ_M p / (Σ p + |M|) with the truth, to first order. But networks are surer of
themselves than they should be, most of all where streaks draw edges; there the grey values'
edges, to which the surfaces are moved afterwards, lie elsewhere than the outline. The condyle's
doubt is therefore (1 - E) s^r, where s is the way between the two (`clarity.shift`); the temporal
bone's, whose thin and cellular parts part them in clear images, too, is 1 - E. The doubt is
calibrated: 1 - Dice = a doubt^b. `validation.confidence` fits a and b on painted joints from clear
to hopeless, and shows on others how well the prediction ranks them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from negvol_pacs.anatomy import Structure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import clarity
from negvol_pacs.segmentation.masks import MC_RADIUS_MM

Field = NDArray[np.float32]

REACH_MM = MC_RADIUS_MM
"""Around the centre of the condylar head: the whole of MC, and of TB what bounds the joint."""
CALIBRATION = {Structure.MC: (24.8, 1.482), Structure.TB: (144.0, 2.416)}
SHIFT_POWER = 0.7
"""a and b, and r, for the bundled weights 0.2.0 of the bones; a and b from 53 joints of `validation.confidence.draw`:
seeds 3000 to 3012 and 5000 to 5039."""
LIMITS = {Structure.MC: 0.93, Structure.TB: 0.90}
"""A bone whose predicted Dice is lower is doubtful."""
_LEAST = 1e-6
_LEAST_SHIFT_MM = 0.1  # less is rounding


def predicted_dice(structure: Structure, bone: clarity.Traced, radius: Field) -> float:
    """Predict the Dice of one bone's mask within `REACH_MM` of the condylar head.

    Parameters
    ----------
    structure
        MC or TB.
    bone
        As found.
    radius
        Distance of each voxel from the centre of the condylar head, mm.
    """
    doubt = 1 - expected_dice(bone.odds[radius < REACH_MM])
    if structure is Structure.MC:
        doubt *= max(clarity.shift(bone, radius < clarity.REACH_MM), _LEAST_SHIFT_MM) ** SHIFT_POWER
    return calibrated(structure, doubt)


def expected_dice(odds: Field) -> float:
    """Dice that the network expects of its own outline; 0 where it outlines nothing."""
    probability, outline = expit(odds), odds > 0
    total = float(probability.sum(dtype=np.float64)) + int(outline.sum())
    return 2 * float(probability[outline].sum(dtype=np.float64)) / total if total else 0.0


def calibrated(structure: Structure, doubt: float) -> float:
    """Turn a doubt into a predicted Dice."""
    factor, power = CALIBRATION[structure]
    return float(np.clip(1 - factor * max(doubt, 0.0) ** power, 0.0, 1.0))


def uncalibrated(structure: Structure, predicted: float) -> float:
    """Return the doubt behind a predicted Dice that is neither 0 nor 1."""
    factor, power = CALIBRATION[structure]
    return float(((1 - predicted) / factor) ** (1 / power))


def fit(doubts: Sequence[float], true: Sequence[float]) -> tuple[float, float]:
    """Fit a and b of 1 - Dice = a doubt^b by least squares of the logarithms.

    Parameters
    ----------
    doubts, true
        Doubt and Dice of at least two unlike masks.
    """
    x, y = (np.log(np.maximum(lacking, _LEAST)) for lacking in (np.asarray(doubts), 1 - np.asarray(true)))
    power, offset = np.polyfit(x, y, 1)
    return float(np.exp(offset)), float(power)


def doubts(dice: Mapping[Structure, float]) -> frozenset[QualityFlag]:
    """Say whether a predicted Dice is below its limit."""
    low = any(value < LIMITS[structure] for structure, value in dice.items())
    return frozenset({QualityFlag.SEGMENTATION_DOUBTFUL}) if low else frozenset()
