"""Whether grey values are Hounsfield units, and the straight line to them where they are not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu, threshold_otsu

AIR_HU, SOFT_TISSUE_HU = -1000.0, 40.0
_BINS = 256
_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Calibration:
    """Straight line from grey values to Hounsfield units.

    Attributes
    ----------
    slope, intercept
        HU = slope · grey + intercept.
    hounsfield
        True when the grey values are Hounsfield units already (slope 1, intercept 0).
    """

    slope: float = 1.0
    intercept: float = 0.0
    hounsfield: bool = True

    def hu(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hounsfield units, roughly, of grey values."""
        return np.asarray(grey * self.slope + self.intercept, dtype=np.float32)

    def grey(self, hu: float) -> float:
        """Grey value of so many Hounsfield units."""
        return (hu - self.intercept) / self.slope


def estimate(grey: NDArray[Any]) -> Calibration:
    """Find out what the grey values of a head mean.

    Two landmarks of the histogram decide: air (outside, sinuses, airway) and the peak of
    soft tissue. Where both lie where Hounsfield units put them, the values are taken as
    they are; else a straight line brings them to -1000 and +40 (shifted cone-beam values,
    8-bit pictures).

    Parameters
    ----------
    grey
        The whole volume or a coarse copy of it, any shape.

    Returns
    -------
    Calibration
        ``hounsfield`` is False when the line had to be fitted.
    """
    values = grey.ravel()[:: max(1, grey.size // _SAMPLES)].astype(np.float32)
    low, high = (float(value) for value in np.percentile(values, (0.1, 99.5)))
    if not high > low:
        return Calibration(hounsfield=False)
    values = np.clip(values, low, high)
    if _is_hounsfield(low, *_landmarks(values, threshold_otsu(values, nbins=_BINS), high)):
        return Calibration()
    # Where the window is narrow, two classes would part bone from all else.
    try:
        dark, bright = threshold_multiotsu(values, 3, nbins=_BINS)
    except ValueError:  # Fewer than three grey values.
        return Calibration(hounsfield=False)
    air, soft = _landmarks(values, dark, bright)
    slope = (SOFT_TISSUE_HU - AIR_HU) / (soft - air)
    return Calibration(slope, AIR_HU - slope * air, hounsfield=False)


def _landmarks(values: NDArray[np.float32], dark: float, bright: float) -> tuple[float, float]:
    """Grey values of air (median of the dark class) and of soft tissue (peak of the next)."""
    return float(np.median(values[values <= dark])), _mode(values[(values > dark) & (values <= bright)])


def _mode(values: NDArray[np.float32]) -> float:
    """Highest peak of the smoothed histogram."""
    counts, edges = np.histogram(values, bins=_BINS)
    peak = int(ndi.gaussian_filter1d(counts.astype(np.float64), 2.0).argmax())
    return float(edges[peak] + edges[peak + 1]) / 2


def _is_hounsfield(low: float, air: float, soft: float) -> bool:
    """Whether air and soft tissue lie where Hounsfield units put them.

    A field of view inside the head may hold no air; then soft tissue is the dark
    class.
    """
    if low > -300:
        return low < 0 and abs(air - SOFT_TISSUE_HU) < 80
    return abs(air - AIR_HU) < 120 and abs(soft - SOFT_TISSUE_HU) < 180
