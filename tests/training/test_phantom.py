import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from scipy.spatial import cKDTree

from negvol_pacs.anatomy import Side
from negvol_pacs.training.ct_series import labels_from_nifti
from negvol_pacs.training.mastoid import fill_mastoids
from negvol_pacs.training.phantom import make_head, write_phantom
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.training.phantom.jaw import condyle_centre
from negvol_pacs.training.tissues import Tissue

BOX = ((-85.0, -45.0, -35.0), (85.0, 45.0, 30.0))
"""Both joints and what lies around them."""


@pytest.fixture(scope="module")
def head():
    return make_head(3, 1.0, *BOX)


def near(head, side, tissues, radius=30.0):
    """LPS points of some tissues around a joint."""
    points = head.labels.map_indices_to_reference(np.argwhere(np.isin(head.labels.array, tissues)))
    return points[np.linalg.norm(points - head.centres[side], axis=1) < radius]


def test_grid_is_canonical_and_spans_the_box(head):
    assert head.labels.array.dtype == np.uint8
    assert head.labels.spatial_shape == (65, 90, 170)
    np.testing.assert_allclose(head.labels.affine, [[0, 0, 1, -85], [0, 1, 0, -45], [1, 0, 0, -35], [0, 0, 0, 1]])


def test_same_seed_same_head_and_another_seed_another(head):
    again, other = make_head(3, 1.0, *BOX), make_head(4, 1.0, *BOX)
    np.testing.assert_array_equal(again.labels.array, head.labels.array)
    assert (other.labels.array != head.labels.array).mean() > 0.02


def test_right_is_right(head):
    assert head.centres[Side.RIGHT][0] < -40
    assert head.centres[Side.LEFT][0] > 40


@pytest.mark.parametrize("side", Side)
def test_condyle_lies_around_its_centre(head, side):
    centre, joint = head.centres[side], head.individual.joints[side]
    condyle = near(head, side, [Tissue.MANDIBLE], 12.0)
    upper = condyle[condyle[:, 2] > centre[2] - 2]
    size = np.ptp(upper, axis=0) + 1
    assert 2 * joint.half_width * 0.85 < size[0] < 2 * joint.half_width * 1.15 + 1
    assert 7 < size[1] < 15
    np.testing.assert_allclose(upper.mean(0)[:2], centre[:2], atol=2.0)


@pytest.mark.parametrize("side", Side)
def test_medial_pole_lies_behind_the_lateral_one(head, side):
    condyle = near(head, side, [Tissue.MANDIBLE], 11.0) - head.centres[side]
    condyle = condyle[condyle[:, 2] > -1]
    out = -1 if side is Side.RIGHT else 1
    lateral, medial = condyle[condyle[:, 0] * out > 5], condyle[condyle[:, 0] * out < -5]
    assert medial[:, 1].mean() > lateral[:, 1].mean() + 1


@pytest.mark.parametrize("side", Side)
def test_fossa_encloses_the_condyle_with_a_joint_space(head, side):
    centre, joint = head.centres[side], head.individual.joints[side]
    skull = near(head, side, [Tissue.SKULL])
    column = skull[np.linalg.norm(skull[:, :2] - centre[:2], axis=1) < 2]
    roof = column[column[:, 2] > centre[2]][:, 2].min() - centre[2]
    assert roof == pytest.approx(joint.apex, abs=1.5)
    mandible = near(head, side, [Tissue.MANDIBLE], 15.0)
    gaps, _ = cKDTree(skull).query(mandible)
    assert gaps.min() > 1.0
    sagittal = skull[np.abs(skull[:, 0] - centre[0]) < 2] - centre
    front, behind = sagittal[(sagittal[:, 1] < -6)], sagittal[(sagittal[:, 1] > 5) & (sagittal[:, 1] < 10)]
    assert front[:, 2].min() < roof - 4
    assert behind[:, 2].min() < roof - 4


@pytest.mark.parametrize("side", Side)
def test_roof_of_the_fossa_has_no_hole(head, side):
    """Between brain and joint there is bone in every column over the condyle."""
    x, y, z = head.labels.map_reference_to_indices(head.centres[side][None])[0][::-1].round().astype(int)
    columns = head.labels.array[z:, y - 4 : y + 5, x - 7 : x + 8]
    assert (columns == Tissue.SKULL).any(axis=0).all()
    assert (columns[-1] == Tissue.BRAIN).all()


@pytest.mark.parametrize("side", Side)
def test_meatus_is_air_behind_the_joint(head, side):
    air = near(head, side, [Tissue.AIRWAY], 24.0) - head.centres[side]
    assert len(air) > 100
    assert air[:, 1].min() > 4
    cells = near(head, side, [Tissue.AIR_CELL], 60.0)
    assert (cells[:, 1] > head.centres[side][1] + 10).all()


def test_open_mouth_moves_the_mandible_only():
    closed = make_head(3, 2.0)
    opened = make_head(3, 2.0, open_mouth=True)
    assert opened.individual.opening > 1
    assert closed.individual.opening == 0
    for side in Side:
        shift = opened.centres[side] - closed.centres[side]
        assert shift[1] < -0.5
        assert shift[2] < 0
    chin = [np.argwhere(head.labels.array == Tissue.MANDIBLE)[:, 0].mean() * 2 for head in (closed, opened)]
    assert chin[1] < chin[0] - 0.5
    skulls = [head.labels.array == Tissue.SKULL for head in (closed, opened)]
    assert (skulls[0] != skulls[1]).mean() < 0.002


def test_whole_head_has_every_part():
    labels = make_head(5, 2.0).labels
    present = np.bincount(labels.array.ravel(), minlength=len(Tissue)) * 8
    for tissue in set(Tissue) - {Tissue.METAL, Tissue.HEADREST}:
        assert present[tissue] > 300, tissue.name
    assert 0.7e6 < present[Tissue.BRAIN] < 2.0e6
    assert 3e4 < present[Tissue.MANDIBLE] < 1.2e5
    teeth = labels.map_indices_to_reference(np.argwhere(labels.array == Tissue.TEETH))
    spine = labels.map_indices_to_reference(np.argwhere(labels.array == Tissue.VERTEBRA))
    assert teeth[:, 1].max() < 0 < spine[:, 1].min()


def test_no_two_individuals_or_sides_are_alike():
    one, other = (Individual.draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert one != other
    assert one.joints[Side.LEFT].half_width != one.joints[Side.RIGHT].half_width
    for individual in (one, other):
        for side in Side:
            np.testing.assert_allclose(condyle_centre(individual, side), individual.joints[side].centre)


def read(paths):
    return hd.get_volume_from_series([pydicom.dcmread(path) for path in paths])


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A NIfTI head of few voxels, brighter on the patient's right."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (40, 44, 48)), indexing="ij")
    hu = np.full(z.shape, -1000, np.int16)
    hu[(z - 20) ** 2 + (y - 22) ** 2 + (x - 24) ** 2 < 17**2] = 40
    hu[(z - 20) ** 2 + (y - 22) ** 2 + (x - 34) ** 2 < 16] = 1200
    path = tmp_path_factory.mktemp("nifti") / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


def bright(volume):
    return volume.map_indices_to_reference(np.argwhere(volume.array > 800)).mean(0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"degrees": (10, -7, 15)},
        {"flip": (0, 2)},
        {"degrees": (0, 0, 160), "flip": (1,), "spacing_mm": 1.5},
        {"extent_mm": (40, 30, 40), "slice_mm": 1.0},
        {"enhanced": True},
    ],
)
def test_converted_image_stays_where_it_is(tmp_path, image, options):
    paths = write_phantom(tmp_path, from_volume=image, **options)
    volume = hd.imread(paths[0]).get_volume() if options.get("enhanced") else read(paths)
    np.testing.assert_allclose(bright(volume), (-34, -22, 40), atol=1.0)
    if "spacing_mm" in options:
        np.testing.assert_allclose(volume.spacing, (1.5, 1.5, 1.5))


def test_one_source_at_a_time(tmp_path, image):
    with pytest.raises(ValueError, match="not both"):
        write_phantom(tmp_path, from_volume=image, from_labels=image)


@pytest.mark.slow
def test_procedural_series_shows_the_condyles(tmp_path):
    paths = write_phantom(tmp_path, 3, spacing_mm=1.5, degrees=(5, 5, 170), flip=(2,))
    volume = read(paths)
    centres = make_head(3, 1.5).centres
    again = write_phantom(tmp_path / "again", 3, spacing_mm=1.5, degrees=(5, 5, 170), flip=(2,))
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    for centre in centres.values():
        i, j, k = volume.map_reference_to_indices(centre[None])[0].round().astype(int)
        assert volume.array[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].mean() > 250


@pytest.mark.slow
def test_real_bones_become_a_series(tmp_path, shared_data):
    source = shared_data / "shapes" / "dentalseg_postsurgery_labels.nii.gz"
    labels = nibabel.load(source)
    small = nibabel.Nifti1Image(
        np.asarray(labels.dataobj)[::3, ::3, ::3].astype(np.uint8), labels.affine @ np.diag([3, 3, 3, 1])
    )
    nibabel.save(small, tmp_path / "small.nii.gz")
    volume = read(write_phantom(tmp_path / "ct", from_labels=tmp_path / "small.nii.gz"))
    mandible = np.argwhere(np.asarray(small.dataobj) == 2)
    points = nibabel.affines.apply_affine(small.affine, mandible) * [-1, -1, 1]
    index = volume.map_reference_to_indices(points).round().astype(int)
    assert np.median(volume.array[tuple(index.T)]) > 300
    bones = labels_from_nifti(tmp_path / "small.nii.gz")  # its mastoids are hollow
    hollow = bones.map_indices_to_reference(np.argwhere(fill_mastoids(bones).array != bones.array))
    assert len(hollow) > 1000
    index = volume.map_reference_to_indices(hollow).round().astype(int)
    assert (volume.array[tuple(index.T)] > 250).mean() > 0.2
