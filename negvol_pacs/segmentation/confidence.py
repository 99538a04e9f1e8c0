"""How well each bone is outlined, predicted without the truth.

If every voxel were bone with the network's probability p, its outline M (p > 1/2) would have
the Dice 2 Σ_M p / (Σ p + |M|) with the truth, to first order. Networks are surer of themselves
than they should be, and the surfaces are moved to the grey values' edges afterwards; so this
expected Dice E is calibrated: 1 - Dice = a (1 - E)^b. `validation.confidence` fits a and b on
painted joints from clear to hopeless, and shows on others how well the prediction ranks them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from negvol_pacs.anatomy import Structure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.masks import MC_RADIUS_MM

Field = NDArray[np.float32]

REACH_MM = MC_RADIUS_MM
"""Around the centre of the condylar head: the whole of MC, and of TB what bounds the joint."""
CALIBRATION = {Structure.MC: (17.0, 1.785), Structure.TB: (65.9, 2.244)}
"""a and b, for the bundled weights 0.1.0."""
LIMITS = {Structure.MC: 0.93, Structure.TB: 0.90}
"""A bone whose predicted Dice is lower is doubtful."""
_LEAST = 1e-6


def predicted_dice(structure: Structure, odds: Field, radius: Field) -> float:
    """Predict the Dice of one bone's mask within `REACH_MM` of the condylar head.

    Parameters
    ----------
    structure
        MC or TB.
    odds
        Log-odds from the network; 0 is its outline.
    radius
        Distance of each voxel from the centre of the condylar head, mm.
    """
    return calibrated(structure, expected_dice(odds[radius < REACH_MM]))


def expected_dice(odds: Field) -> float:
    """Dice that the network expects of its own outline; 0 where it outlines nothing."""
    probability, outline = expit(odds), odds > 0
    total = float(probability.sum(dtype=np.float64)) + int(outline.sum())
    return 2 * float(probability[outline].sum(dtype=np.float64)) / total if total else 0.0


def calibrated(structure: Structure, expected: float) -> float:
    """Turn an expected Dice into a predicted one."""
    factor, power = CALIBRATION[structure]
    return float(np.clip(1 - factor * max(1 - expected, 0.0) ** power, 0.0, 1.0))


def uncalibrated(structure: Structure, predicted: float) -> float:
    """Return the expected Dice behind a predicted one that is neither 0 nor 1."""
    factor, power = CALIBRATION[structure]
    return float(1 - ((1 - predicted) / factor) ** (1 / power))


def fit(expected: Sequence[float], true: Sequence[float]) -> tuple[float, float]:
    """Fit a and b of 1 - Dice = a (1 - E)^b by least squares of the logarithms.

    Parameters
    ----------
    expected, true
        Dice of at least two unlike masks.
    """
    x, y = (np.log(np.maximum(1 - np.asarray(dice), _LEAST)) for dice in (expected, true))
    power, offset = np.polyfit(x, y, 1)
    return float(np.exp(offset)), float(power)


def doubts(dice: Mapping[Structure, float]) -> frozenset[QualityFlag]:
    """Say whether a predicted Dice is below its limit."""
    low = any(value < LIMITS[structure] for structure, value in dice.items())
    return frozenset({QualityFlag.SEGMENTATION_DOUBTFUL}) if low else frozenset()
