"""A condyle, a roof over it, and behind it a plate that the network calls condyle."""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from negvol_pacs.segmentation.leaks import give_back

SPACING = 0.4
Z, Y, X = (axis * SPACING - 14.2 for axis in np.ogrid[:72, :72, :72])
RADIUS = np.sqrt(Z**2 + Y**2 + X**2)
HEAD = 7.0 - RADIUS
PLATE = np.minimum(1.0 - np.abs(RADIUS - 9.6), Y - np.abs(Z) / 2)
ROOF = np.maximum(np.minimum(3.0 - np.abs(RADIUS - 12.0), np.abs(Z) - 2 + 0 * Y), PLATE)
NEAR = (np.abs(Z) < 1.6) & (np.abs(X) < 4) & (Y > 0)
LEAK = (PLATE > 0) & NEAR


def odds(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(distance / 0.25, -8, 8).astype(np.float32)


def picture() -> NDArray[np.float32]:
    """Grey values: marrow in a cortex, and a joint space that blur has half filled."""
    head = np.where(HEAD > 1.2, 350.0, 1300.0)
    image = np.where(HEAD > 0, head, np.where(ROOF > 0, 1500.0, 40.0))
    blurred = ndi.gaussian_filter(image, 0.5 / SPACING)
    return (blurred + np.random.default_rng(0).normal(0, 25, image.shape)).astype(np.float32)


def test_a_leak_is_given_back() -> None:
    """Condyle, joint space and plate are one for the network; the image parts them."""
    bridge = np.where(LEAK | (NEAR & (RADIUS > 6) & (RADIUS < 9.6)), 0.5, -2.0)
    mc, tb = odds(np.maximum(HEAD, bridge)), odds(np.where(LEAK, -2.0, ROOF))
    tb = np.where(mc > 0, -8, tb).astype(np.float32)
    condyle, temporal = give_back(picture(), mc, tb, SPACING)
    assert (condyle > 0)[HEAD > 0.4].all()
    assert (condyle > 0)[LEAK & (PLATE > 0.3)].mean() < 0.05
    assert (temporal > 0)[LEAK & (PLATE > 0.3)].mean() > 0.9
    assert (temporal > 0)[(HEAD < -0.5) & (PLATE < -0.6) & (RADIUS < 9)].mean() < 0.01


def test_a_sound_outline_is_left_alone() -> None:
    mc, tb = odds(HEAD), odds(ROOF)
    condyle, temporal = give_back(picture(), mc, tb, SPACING)
    np.testing.assert_array_equal(condyle, mc)
    np.testing.assert_array_equal(temporal, tb)


def test_without_a_sure_condyle_nothing_is_moved() -> None:
    mc, tb = odds(0.4 - RADIUS), odds(ROOF)
    condyle, _ = give_back(picture(), mc, tb, SPACING)
    np.testing.assert_array_equal(condyle, mc)


def test_touching_bones_do_not_cost_the_condyle() -> None:
    """Over a bright contact the flood from the roof could run round the cortex."""
    contact = (np.hypot(X, Y) < 1.2) & (Z > 0) & (RADIUS < 10)
    image = np.where(contact, 1500.0, picture()).astype(np.float32)
    mc, tb = odds(HEAD), odds(np.where(contact & (RADIUS > 7), 0.5, ROOF))
    condyle, _ = give_back(image, mc, tb, SPACING)
    assert ((mc > 0) & (condyle <= 0)).sum() < 0.01 * (mc > 0).sum()
