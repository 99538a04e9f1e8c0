"""Where the condyle's outline leaks over the joint space into the temporal bone.

Where the bones are blurred into each other, the network may call a part of the tympanic
plate or of the fossa's roof condyle. Between the two there is a dark valley all the same:
the bones flood the image from their sure insides, brightest voxels first (watershed), and
what the temporal bone reaches before the condyle is given back to it (as Xu 2022 does for
swapped classes).
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage.segmentation import watershed

from negvol_pacs.segmentation.calibration import SOFT_TISSUE_HU

_CORE_MM = 1.6
_SURE = 2.0
_DOUBTED = 4.0
_LARGEST_SHARE = 0.1
_NOISE_MM = 0.3
_FIELD_MM = 21.0

Field = NDArray[np.float32]


def give_back(image: Field, mc: Field, tb: Field, spacing: float) -> tuple[Field, Field]:
    """Give the temporal bone what the condyle has of it, and the joint space what it has of that.

    Parameters
    ----------
    image
        Grey values, roughly HU, on an isotropic grid with the condylar head in its middle.
    mc, tb
        Log-odds of the bones on that grid.
    spacing
        Of the grid, mm.

    Returns
    -------
    tuple
        MC and TB; unchanged where nothing has leaked.
    """
    box = tuple(_middle(count, _FIELD_MM / spacing) for count in mc.shape)
    leak = np.zeros(mc.shape, dtype=np.bool_)
    leak[box] = _leak(image[box], mc[box], tb[box], spacing)
    if not leak.any():
        return mc, tb
    dense = image > (SOFT_TISSUE_HU + float(np.median(image[box][tb[box] > _SURE]))) / 2
    # What is no bone at all belongs to the joint space.
    return np.where(leak, np.minimum(tb, -np.abs(mc)), mc), np.where(leak & dense, mc, tb)


def _leak(image: Field, mc: Field, tb: Field, spacing: float) -> NDArray[np.bool_]:
    condyle, temporal = mc > 0, tb > 0
    deep = ndi.distance_transform_edt(condyle) * spacing > _CORE_MM
    pieces, count = ndi.label(deep & (mc > _SURE))
    if not count:
        return np.zeros_like(condyle)
    core = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    markers = np.where(core, 1, np.where(temporal & (tb > _SURE), 2, 0))
    relief = -ndi.gaussian_filter(image, _NOISE_MM / spacing)
    flooded, count = ndi.label((watershed(relief, markers, mask=condyle | temporal) == 2) & condyle)
    # Where the bones touch, the flood may run round a whole condyle: no leak is so large or so sure.
    sizes = np.bincount(flooded.ravel(), minlength=count + 1)
    doubt = ndi.median(mc, flooded, np.arange(count + 1)) < _DOUBTED
    leaked = doubt & (sizes < _LARGEST_SHARE * condyle.sum())
    leaked[0] = False
    return np.asarray(leaked[flooded])


def _middle(count: int, reach: float) -> slice:
    return slice(max(0, int(count / 2 - reach)), int(count / 2 + reach) + 1)
