"""How well each bone is outlined, predicted without the truth.

If every voxel were bone with the network's probability p, its outline M (p > 1/2) would have
the Dice E = 2 Σ_M p / (Σ p + |M|) with the truth, to first order. To 1 - E a small condyle, which is
nearly all surface, adds as much as a badly seen one; the spread s of the outline knows no size, but
sees nothing of what lies off the outline. The condyle's doubt is their product (1 - E) s, the
temporal bone's is 1 - E. Networks are surer of themselves than they should be, and the surfaces
are moved to the grey values' edges afterwards; so the doubt is calibrated: 1 - Dice = a doubt^b.
`validation.confidence` fits a and b on painted joints from clear to hopeless, and shows on others
how well the prediction ranks them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from negvol_pacs.anatomy import Structure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.edges import slope_of
from negvol_pacs.segmentation.masks import MC_RADIUS_MM

Field = NDArray[np.float32]

REACH_MM = MC_RADIUS_MM
"""Around the centre of the condylar head: the whole of MC, and of TB what bounds the joint."""
CALIBRATION = {Structure.MC: (30.5, 1.314), Structure.TB: (65.9, 2.244)}
"""a and b for the bundled weights 0.1.0; the condyle's from `validation.confidence.draw` of the seeds 3000 to 3012."""
LIMITS = {Structure.MC: 0.93, Structure.TB: 0.90}
"""A bone whose predicted Dice is lower is doubtful."""
_LEAST = 1e-6


def predicted_dice(structure: Structure, odds: Field, radius: Field, spacing: float) -> float:
    """Predict the Dice of one bone's mask within `REACH_MM` of the condylar head.

    Parameters
    ----------
    structure
        MC or TB.
    odds
        Log-odds from the network on an isotropic grid; 0 is its outline.
    radius
        Distance of each voxel from the centre of the condylar head, mm.
    spacing
        Of the grid, mm.
    """
    near = radius < REACH_MM
    doubt = 1 - expected_dice(odds[near])
    return calibrated(structure, doubt * spread(odds, near, spacing) if structure is Structure.MC else doubt)


def expected_dice(odds: Field) -> float:
    """Dice that the network expects of its own outline; 0 where it outlines nothing."""
    probability, outline = expit(odds), odds > 0
    total = float(probability.sum(dtype=np.float64)) + int(outline.sum())
    return 2 * float(probability[outline].sum(dtype=np.float64)) / total if total else 0.0


def spread(odds: Field, near: NDArray[np.bool_], spacing: float) -> float:
    """Measure how widely the network spreads its outline, mm; infinite where there is none.

    Where the log-odds rise by g a millimetre, the outline is drawn from a logistic distribution
    with the standard deviation π / (√3 g). Root mean square over the voxels that the outline is
    less than a voxel away from.

    Parameters
    ----------
    odds
        Log-odds on an isotropic grid.
    near
        Where to look.
    spacing
        Of the grid, mm.
    """
    slope = slope_of(odds, spacing)
    steep = slope[near & (np.abs(odds) < spacing * slope)]
    return float(np.sqrt(np.mean(np.square(np.pi / np.sqrt(3) / steep, dtype=np.float64)))) if steep.size else np.inf


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
    x, y = (np.log(np.maximum(missing, _LEAST)) for missing in (np.asarray(doubts), 1 - np.asarray(true)))
    power, offset = np.polyfit(x, y, 1)
    return float(np.exp(offset)), float(power)


def doubts(dice: Mapping[Structure, float]) -> frozenset[QualityFlag]:
    """Say whether a predicted Dice is below its limit."""
    low = any(value < LIMITS[structure] for structure, value in dice.items())
    return frozenset({QualityFlag.SEGMENTATION_DOUBTFUL}) if low else frozenset()
