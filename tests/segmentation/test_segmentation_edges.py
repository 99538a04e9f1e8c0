"""Surfaces from a doubtful network and an exact image."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from numpy.typing import NDArray

from negvol_pacs.segmentation import edges
from negvol_pacs.segmentation.enhancement import edge_voxels, enhance

SPACING = 0.4
SHAPE = (72, 72, 72)
Z, Y, X = (axis * SPACING - 14.2 for axis in np.ogrid[:72, :72, :72])
RADIUS = np.sqrt(Z**2 + Y**2 + X**2)
CONDYLE = (7.0 - RADIUS).astype(np.float32)
"""Signed distances: a ball, and 2.2 mm around it a shell whose top is a plate of 0.8 mm."""
THICKNESS = np.where(Z > 0.8 * RADIUS, 0.8, 4.0)
ROOF = np.where(Z > -2, np.minimum(RADIUS - 9.2, 9.2 + THICKNESS - RADIUS), -5.0).astype(np.float32)


def painted(noise: float) -> NDArray[np.float32]:
    """Blurred and noisy grey values, antialiased at the surfaces."""
    shares = [np.clip(0.5 + bone / SPACING, 0, 1) for bone in (CONDYLE, ROOF)]
    image = 40.0 + 1260.0 * shares[0] + 1460.0 * shares[1]
    image = ndi.gaussian_filter(image, 0.35 / SPACING)
    return (image + np.random.default_rng(1).normal(0, noise, SHAPE)).astype(np.float32)


def doubtful(bone: NDArray[np.float32], bias: float) -> NDArray[np.float32]:
    """Log-odds with a bias and a smooth error of 0.25 mm."""
    wobble = ndi.gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), 4)
    return ((bone + bias + 0.25 * wobble / wobble.std()) / 0.25).clip(-8, 8).astype(np.float32)


def misplacement(found: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Mean true distance where the found surface crosses the grid along z, mm."""
    low, high = found[:-1], found[1:]
    crossing = (np.sign(low) != np.sign(high)) & (RADIUS[:-1] < 12)
    share = low[crossing] / (low[crossing] - high[crossing])
    return float(np.abs(true[:-1][crossing] * (1 - share) + true[1:][crossing] * share).mean())


@pytest.mark.parametrize("bias", [-0.2, 0.0, 0.2])
def test_snapping_halves_the_network_s_error(bias: float) -> None:
    image = painted(noise=25.0)
    mc, tb = (edges.signed_distance(doubtful(bone, bias), SPACING) for bone in (CONDYLE, ROOF))
    snapped = edges.snap(image, mc, tb, SPACING)
    assert misplacement(snapped, CONDYLE) < 0.5 * misplacement(mc, CONDYLE)
    assert misplacement(snapped, CONDYLE) < 0.12


def test_without_an_edge_the_network_is_believed() -> None:
    mc = edges.signed_distance(doubtful(CONDYLE, 0.1), SPACING)
    flat = np.full(SHAPE, 40.0, dtype=np.float32)
    np.testing.assert_allclose(edges.snap(flat, mc, ROOF, SPACING), mc)


def test_signed_distance_is_sub_voxel() -> None:
    found = edges.signed_distance(CONDYLE / np.float32(0.3), SPACING)
    near = np.abs(CONDYLE) < 0.3
    assert np.abs(found - CONDYLE)[near].max() < 0.1
    assert np.abs(found - CONDYLE)[np.abs(CONDYLE) < 4].max() < 0.5


@pytest.mark.parametrize(("level", "expected"), [(8.0, 9.0), (-8.0, -9.0)])
def test_all_or_nothing_has_no_surface(level: float, expected: float) -> None:
    found = edges.signed_distance(np.full((8, 8, 8), level, dtype=np.float32), SPACING)
    assert (found == expected).all()


def test_enhancement_restores_a_thin_roof_that_the_network_doubts() -> None:
    image = painted(noise=25.0)
    hole = 1.6 * ndi.gaussian_filter((THICKNESS < 1).astype(np.float32), 1.5)
    odds = (ROOF - 0.55 * hole) / np.float32(0.35)
    bone, mc = edges.signed_distance(odds, SPACING), edges.signed_distance(CONDYLE, SPACING)
    heat = (1 / (1 + np.exp(-odds))).astype(np.float32)
    better = enhance(image, heat, bone, mc, SPACING)
    thin = (ROOF > 0) & (THICKNESS < 1)
    assert (bone > 0)[thin].mean() < 0.4
    assert (better > 0)[thin].mean() > 0.8
    assert (better > 0)[(ROOF < -0.8)].mean() < 0.001
    assert not ((better > 0) & (CONDYLE > 0)).any()


def test_enhancement_leaves_a_good_surface_alone() -> None:
    bone, mc = (edges.signed_distance(part / np.float32(0.3), SPACING) for part in (ROOF, CONDYLE))
    heat = (1 / (1 + np.exp(-ROOF / 0.3))).astype(np.float32)
    better = enhance(painted(noise=25.0), heat, bone, mc, SPACING)
    assert ((better > 0) & (bone <= 0)).sum() < 0.01 * (bone > 0).sum()


def test_no_heat_no_enhancement() -> None:
    bone = np.full(SHAPE, -9.0, dtype=np.float32)
    cold = np.zeros(SHAPE, dtype=np.float32)
    assert enhance(painted(0.0), cold, bone, CONDYLE, SPACING) is bone


def test_edges_lie_on_surfaces() -> None:
    found = edge_voxels(painted(noise=10.0), SPACING)
    assert np.abs(CONDYLE[found & (RADIUS < 8)]).max() < 0.8
