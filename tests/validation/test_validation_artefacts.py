"""Each artefact is where and as strong as it is said to be."""

import highdicom as hd
import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.grid import coordinates, on_grid
from negvol_pacs.training.phantom import Head
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation import artefacts
from negvol_pacs.validation.artefacts import Scene

CENTRES = {Side.RIGHT: np.array([-50.0, 0, 0]), Side.LEFT: np.array([50.0, 0, 0])}
SPACING_MM = 2.0


@pytest.fixture(scope="module")
def scene() -> Scene:
    """An elliptic head of muscle with two bars of bone and a crown far below."""
    affine = np.eye(4)
    affine[:3, :3] = SPACING_MM * np.eye(3)[:, ::-1]
    affine[:3, 3] = (-85, -95, -60)
    grid = hd.VolumeGeometry(affine, (50, 95, 85), coordinate_system="PATIENT")
    z, y, x = np.broadcast_arrays(*coordinates(grid))
    labels = np.where((x / 75) ** 2 + (y / 88) ** 2 < 1, Tissue.MUSCLE, Tissue.AIR).astype(np.uint8)
    labels[(abs(abs(x) - 50) < 12) & (abs(y) < 12)] = Tissue.SKULL
    labels[(abs(x - 30) < 4) & (abs(y + 50) < 4) & (abs(z + 50) < 4)] = Tissue.METAL
    head = Head(on_grid(labels, grid), CENTRES, Individual.draw(np.random.default_rng(0)))
    return Scene(head, 3, artefacts._painted(head.labels, 3))


def near(scene: Scene, at: tuple[float, float, float], reach: float = 12.0) -> np.ndarray:
    z, y, x = coordinates(scene.head.labels)
    return (abs(x - at[0]) < reach) & (abs(y - at[1]) < reach) & (abs(z - at[2]) < reach)


def test_noise_is_one_unit_everywhere(scene: Scene) -> None:
    pattern = artefacts.noise(scene)
    for at in ((0, 0, 0), (-50, 0, 0), (70, 70, 30)):
        assert pattern[near(scene, at)].std() == pytest.approx(1, rel=0.1)


def test_low_dose_starves_the_longest_paths(scene: Scene) -> None:
    pattern = artefacts.low_dose(scene)
    joint, rim, outside = (pattern[near(scene, at)] for at in ((-50, 0, 0), (0, 75, 0), (0, 0, -55)))
    assert joint.std() > 1.1 * rim.std() > 0
    assert not outside[:5].any()


def test_low_dose_streaks_run_between_thick_bones() -> None:
    y, x = np.mgrid[-45:45, -45:45]
    slice_hu = np.where(np.hypot(x, y) < 42, 0.0, -1000.0).astype(np.float32)
    slice_hu[(abs(abs(x) - 25) < 8) & (abs(y) < 6)] = 3000
    noise = artefacts._ray_noise(slice_hu, SPACING_MM, np.random.default_rng(0))[41:50, 32:58]
    along, across = ((np.diff(noise, axis=axis) ** 2).mean() for axis in (1, 0))
    assert across > 2 * along


def test_streaks_are_in_the_slices_of_the_metal(scene: Scene) -> None:
    crowns, screw = artefacts.crown_streaks(scene), artefacts.screw_streaks(scene)
    joint, crown = near(scene, (-50, 0, 0)), near(scene, (30, -50, -50))
    assert crowns[crown].std() > 20 * crowns[joint].std()
    assert screw[joint].std() > 20 * screw[crown].std()
    assert 0.05 < screw[joint].std() < 2


def test_grey_values_and_cupping(scene: Scene) -> None:
    stored = scene.spoiled(artefacts.grey_values(scene), 1.0).array
    assert stored == pytest.approx(np.clip(0.5 * scene.clean + 600, -1024, 3071), abs=0.1)
    pattern = artefacts.cupping(scene)
    assert pattern[near(scene, (0, 0, 0))].mean() < pattern[near(scene, (-60, 0, 0))].mean() - 0.4
    assert not pattern[scene.head.labels.array == Tissue.AIR].any()


def test_no_severity_no_change(scene: Scene) -> None:
    clean = np.clip(scene.clean, -1024, 3071)
    assert (scene.spoiled(artefacts.cupping(scene), 0.0).array == clean).all()


def test_thick_slices_lie_where_the_thin_ones_were(scene):
    fine = scene.head.labels.spacing
    thick = artefacts.thick_slices(scene)(3 * fine[0])
    assert thick.spacing == pytest.approx((3 * fine[0], *fine[1:]))
    assert (thick.array[4] == scene.clean[12:15].mean(axis=0)).all()
    place = scene.head.labels.map_indices_to_reference(np.array([[13, 5, 6]]))
    assert thick.map_indices_to_reference(np.array([[4, 5, 6]])) == pytest.approx(place)
