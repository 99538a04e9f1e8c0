"""Speed of the joint's geometry beside references on the same meshes in the same run.

    python -m pytest tests/benchmarks/bench_joint.py --benchmark-columns=median,stddev,rounds

The table of a group gives the ratio to its fastest member in brackets.
"""

import highdicom as hd
import nibabel
import numpy as np
import pytest
import trimesh
from scipy.spatial.distance import directed_hausdorff

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.inflation import FADE_MM, FAR_MM, STEPS, inflate
from negvol_pacs.joint.measure import measure
from negvol_pacs.joint.operators import vertex_normals
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import build_surfaces
from negvol_pacs.joint.symmetry import POINTS, SHARE, SUBSAMPLES, sample, surface_distances
from negvol_pacs.segmentation.masks import joint_masks_from_labels
from negvol_pacs.training.analytic_joints import parametric_fossa
from negvol_pacs.validation.heads import EXTENT_MM, head

SPACING_MM = 0.4
MANDIBLE, SKULL = 2, 1


@pytest.fixture(scope="module")
def masks():
    return head(dict.fromkeys(Side, parametric_fossa()), SPACING_MM)


@pytest.fixture(scope="module")
def patient(shared_data):
    image = nibabel.load(shared_data / "shapes" / "dentalseg_postsurgery_labels.nii.gz")
    labels, affine = np.asarray(image.dataobj).astype(np.uint8), np.diag([-1.0, -1, 1, 1]) @ image.affine
    bones = [hd.Volume(labels == label, affine, coordinate_system="PATIENT") for label in (MANDIBLE, SKULL)]
    return {side: joint_masks_from_labels(*bones, side, SPACING_MM) for side in Side}


@pytest.fixture(scope="module")
def spaces(masks):
    return [joint.nv for joint in measure(masks).joints.values()]


@pytest.fixture(scope="module")
def joint():
    """Surfaces of a joint and the plane of its opening."""
    analytic, up = parametric_fossa(), np.array([0, 0, 1.0])
    return build_surfaces(analytic.masks(Side.RIGHT, SPACING_MM, extent_mm=EXTENT_MM)), Plane(analytic.opening * up, up)


@pytest.mark.benchmark(group="masks of both joints to findings")
def test_analytic_head(benchmark, masks):
    benchmark.pedantic(measure, (masks,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="masks of both joints to findings")
def test_real_patient(benchmark, patient):
    benchmark.pedantic(measure, (patient,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="Hausdorff distance over the subsamples, both ways")
def test_points_to_surface(benchmark, spaces):
    def both_ways():
        random = np.random.default_rng(0)
        return [surface_distances(a, b, random).max(axis=1) for a, b in (spaces, spaces[::-1])]

    benchmark.pedantic(both_ways, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="Hausdorff distance over the subsamples, both ways")
def test_scipy_points_to_points(benchmark, spaces):
    """As many points a subsample, held against all vertices of the other surface."""
    random = np.random.default_rng(0)
    clouds = [[sample(mesh, POINTS // SHARE, random) for _ in range(SUBSAMPLES)] for mesh in spaces]

    def both_ways():
        for own, other in zip(clouds, spaces[::-1], strict=True):
            for cloud in own:
                directed_hausdorff(cloud, other.vertices)

    benchmark.pedantic(both_ways, rounds=3)


@pytest.mark.benchmark(group="inflation of one condyle")
def test_membrane(benchmark, joint):
    surfaces, opening = joint
    bone = Rays(surfaces.tb)
    benchmark.pedantic(inflate, (surfaces.mc, bone, opening), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="inflation of one condyle")
def test_trimesh_vertex_by_vertex(benchmark, joint):
    """The paper's sketch: as many steps, one ray a vertex; no membrane."""
    surfaces, opening = joint
    bone = trimesh.Trimesh(surfaces.tb.vertices, surfaces.tb.triangles, process=False)
    moving = np.flatnonzero(opening.height(surfaces.mc.vertices) > -FADE_MM)

    def walk():
        vertices = surfaces.mc.vertices.copy()
        for step in range(STEPS):
            normals = vertex_normals(vertices, surfaces.mc.triangles)
            for vertex in moving:
                start = vertices[vertex]
                hits, _, _ = bone.ray.intersects_location([start], [normals[vertex]], multiple_hits=False)
                if len(hits) and (far := np.linalg.norm(hits[0] - start)) < FAR_MM:
                    vertices[vertex] = start + far / (STEPS - step) * normals[vertex]

    benchmark.pedantic(walk, rounds=1)
