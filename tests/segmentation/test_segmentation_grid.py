import highdicom as hd
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.segmentation import grid

GRADIENT, OFFSET = np.array([3.0, -2.0, 5.0]), 7.0


def ramp(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> hd.Volume:
    """A volume whose grey value is a linear function of the world coordinates."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return hd.Volume((points @ GRADIENT + OFFSET).astype(np.float32), affine, coordinate_system="PATIENT")


@st.composite
def affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Any scanner: oblique, axes permuted or flipped, anisotropic, shifted."""
    angles = draw(st.tuples(*[st.floats(-40, 40)] * 3))
    order = draw(st.permutations(range(3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)))
    spacing = np.array(draw(st.tuples(*[st.floats(0.4, 2.5)] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.eye(3)[:, order] * signs * spacing
    )
    affine[:3, 3] = draw(st.tuples(*[st.floats(-100, 100)] * 3))
    return affine


@settings(max_examples=40, deadline=None)
@given(affines(), st.sampled_from((1, 3)), st.floats(0.4, 3.0))
def test_a_linear_function_of_the_world_survives_any_resampling(
    affine: NDArray[np.float64], order: int, spacing: float
) -> None:
    volume = ramp(affine, (36, 40, 38))
    middle = grid.world(volume, (17.5, 19.5, 18.5))
    target = grid.canonical_grid(middle, spacing, 6.0 * spacing)
    found = grid.resample(volume, target, order=order)
    z, y, x = grid.coordinates(target)
    expected = x * GRADIENT[0] + y * GRADIENT[1] + z * GRADIENT[2] + OFFSET
    deep = grid.inside_field(volume, target)
    assert deep.any()
    # Smoothing before a coarser grid mirrors at the border: only the middle is exact.
    core = tuple(slice(2, 4) for _ in range(3))
    np.testing.assert_allclose(found[core], expected[core], atol=0.05 + 1e-4 * np.abs(expected).max())


@settings(max_examples=30, deadline=None)
@given(affines())
def test_inside_means_the_centre_lies_in_a_voxel(affine: NDArray[np.float64]) -> None:
    volume = ramp(affine, (5, 6, 7))
    target = grid.canonical_grid(grid.world(volume, (2, 2, 2)), 1.3, 14.0)
    z, y, x = np.broadcast_arrays(*grid.coordinates(target))
    points = np.stack((x, y, z, np.ones_like(x)), axis=-1) @ np.linalg.inv(affine).T
    nearest = np.rint(points[..., :3])
    expected = ((nearest >= 0) & (nearest < (5, 6, 7))).all(axis=-1)
    assert (grid.inside_field(volume, target) == expected).mean() > 0.999


def test_outside_is_filled() -> None:
    volume = ramp(np.diag((1.0, 1.0, 1.0, 1.0)), (8, 8, 8))
    far = grid.canonical_grid((500, 0, 0), 1.0, 8.0)
    assert (grid.resample(volume, far, fill=-1000.0) == -1000.0).all()
    assert grid.crop_around(volume, far) is None


@settings(max_examples=25, deadline=None)
@given(affines(), st.floats(0.5, 6.0))
def test_block_means_stay_where_they_are(affine: NDArray[np.float64], spacing: float) -> None:
    volume = ramp(affine, (24, 25, 26))
    small = grid.shrink(volume, spacing)
    assert (np.asarray(small.spacing) <= np.maximum(spacing + 0.01, np.asarray(volume.spacing) + 1e-6)).all()
    points = grid.world(small, np.moveaxis(np.indices(small.spatial_shape), 0, -1))
    np.testing.assert_allclose(small.array, points @ GRADIENT + OFFSET, atol=0.05)


def test_shrinking_leaves_integers_alone_and_averages_them() -> None:
    array = np.arange(6**3, dtype=np.int16).reshape(6, 6, 6)
    before = array.copy()
    small = grid.shrink(hd.Volume(array, np.diag((0.5, 0.5, 0.5, 1.0)), coordinate_system="PATIENT"), 1.5)
    assert small.spatial_shape == (2, 2, 2)
    assert small.array[0, 0, 0] == np.float32(array[:3, :3, :3].mean())
    np.testing.assert_array_equal(array, before)


def test_the_canonical_grid_is_axes_z_y_x_in_lps() -> None:
    geometry = grid.canonical_grid((10.0, 20.0, 30.0), 0.4, 64.0)
    assert geometry.spatial_shape == (160, 160, 160)
    step = np.asarray(geometry.affine)[:3, :3]
    np.testing.assert_allclose(step, [[0, 0, 0.4], [0, 0.4, 0], [0.4, 0, 0]])
    np.testing.assert_allclose(grid.world(geometry, (79.5, 79.5, 79.5)), (10.0, 20.0, 30.0))
    assert float(grid.distance_from(geometry, (10.0, 20.0, 30.0)).min()) == np.float32(np.sqrt(3) * 0.2)
