"""The examples of a study: painted joints with their negative volumes, and painted heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointError
from negvol_pacs.joint.measure import measure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import JointMasks, clip_to_joint, head_centre, probability
from negvol_pacs.training.dataset import STEPS_A_MM, HeadExample, JointExample, head_example, joint_example
from negvol_pacs.training.evaluation.study import Study
from negvol_pacs.training.pool import HeadPlan, heads
from negvol_pacs.training.regions import Region, coarse_head, cut_region

_NEAR_MM = 12.0


@dataclass(frozen=True)
class TestJoint:
    """A painted joint.

    Attributes
    ----------
    example
        Image and true bones.
    mc, tb
        True masks, clipped to the joint by the rule of `segmentation.masks`.
    nv
        Voxels whose centres lie in the negative volume of the true masks; None where they have none.
    centre
        Of the condylar head, mm from the cube's centre, LPS.
    """

    __test__ = False

    example: JointExample
    mc: NDArray[np.bool_]
    tb: NDArray[np.bool_]
    nv: NDArray[np.bool_] | None
    centre: NDArray[np.float64]


@dataclass(frozen=True)
class Patient:
    """Examples of one patient."""

    name: str
    joints: tuple[TestJoint, ...]
    heads: tuple[HeadExample, ...]


def make_patients(study: Study) -> list[Patient]:
    """Paint the examples of every patient; each depends on the study's seed and its own place alone."""
    found: dict[str, Patient] = {}
    for number, (name, labels) in enumerate(heads(plan_of(study))):
        rng = np.random.default_rng((study.seed, 11, number))
        regions = [cut_region(labels, side) for side in Side]
        joints = [
            joint for k in range(study.examples) if (joint := paint_joint(regions[k % 2], rng, study)) is not None
        ]
        coarse = coarse_head(labels, 1.0 if study.head_voxels > 100 else 2.0)
        whole = [head_example(coarse, rng, study.head_voxels) for _ in range(study.examples)]
        former = found.get(name, Patient(name, (), ()))
        found[name] = Patient(name, (*former.joints, *joints), (*former.heads, *whole))
    return list(found.values())


def plan_of(study: Study) -> HeadPlan:
    """Heads of a study."""
    return HeadPlan(study.shapes, study.heads, study.seed, study.head_spacing_mm)


def geometry_of(study: Study) -> hd.VolumeGeometry:
    """Grid of the examples, the cube's centre at the origin."""
    return grid.canonical_grid((0.0, 0.0, 0.0), study.spacing_mm, study.voxels * study.spacing_mm)


def masks_of(
    mandible: NDArray[np.float32], skull: NDArray[np.float32], centre: NDArray[np.float64], study: Study
) -> JointMasks:
    """Masks of a joint from signed distances, mm.

    Raises
    ------
    JointError
        If there is no condyle or no temporal bone.
    """
    geometry = geometry_of(study)
    mc, tb = clip_to_joint(probability(mandible), probability(skull), geometry, centre)
    return JointMasks(Side.RIGHT, grid.on_grid(mc, geometry), grid.on_grid(tb, geometry), centre)


def negative_volume(masks: JointMasks, transverse: Sequence[float]) -> NDArray[np.bool_] | None:
    """Voxels whose centres lie in the negative volume by inflation; None where it cannot be built.

    Parameters
    ----------
    masks
        Of a right joint.
    transverse
        The head's axis from right to left, LPS unit vector: the other joint, which would tell it, is not there.
    """
    mesh = measure({Side.RIGHT: masks}, transverse=np.asarray(transverse)).joints[Side.RIGHT].nv
    return None if mesh is None else voxels_inside(mesh, masks.mc)


def paint_joint(
    region: Region, rng: np.random.Generator, study: Study, *, as_scanned: bool = False
) -> TestJoint | None:
    """Paint a joint, deformed or as it is; None where it is turned out of the cube."""
    example = joint_example(region, rng, study.voxels, study.spacing_mm, as_scanned=as_scanned)
    mandible, skull = (bone.astype(np.float32) / STEPS_A_MM for bone in (example.mandible, example.skull))
    try:
        centre = _centre(mandible, study)
        masks = masks_of(mandible, skull, centre, study)
    except JointError:
        return None
    nv = negative_volume(masks, example.transverse)
    return TestJoint(example, masks.mc.array > 0.5, masks.tb.array > 0.5, nv, centre)


def _centre(mandible: NDArray[np.float32], study: Study) -> NDArray[np.float64]:
    geometry = geometry_of(study)
    near = grid.distance_from(geometry, (0.0, 0.0, 0.0)) < _NEAR_MM
    return head_centre(grid.on_grid((mandible > 0) & near, geometry))


def voxels_inside(mesh: Mesh, volume: hd.VolumeGeometry | hd.Volume) -> NDArray[np.bool_]:
    """Tell which voxels of an axis-aligned grid have their centre in a closed mesh."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(mesh.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(mesh.triangles.astype(np.uint32)),
    )
    z, y, x = grid.coordinates(volume)
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)
    return np.asarray(scene.compute_occupancy(o3d.core.Tensor.from_numpy(points), nsamples=3).numpy() > 0)
