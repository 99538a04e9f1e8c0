"""Joints of real cases, ready to be turned, bent and cut into examples."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.intensity import normalise_voi
from negvol_pacs.segmentation.masks import MC_RADIUS_MM, surface_distance
from negvol_pacs.training.cases.case import MANDIBLE, SKULL, Case
from negvol_pacs.training.dataset import BONES_SPACING_MM, STEPS_A_MM, JointExample
from negvol_pacs.training.motion import head_pose, mesh, sample, wobble
from negvol_pacs.training.regions import DEPTH_MM

EXTENT_MM = 84.0
_EDGE_MM = 1.0


@dataclass(frozen=True)
class RealJoint:
    """A cube around a right joint of a case, or around a left one in the mirror.

    Attributes
    ----------
    grey
        Grey values, float32, axes z, y, x; the condylar head's centre is the cube's.
    mandible, skull
        Signed distance from the surface, int8, `STEPS_A_MM`, positive inside.
    known
        uint8: 1 where the outlines say what is there. SEGs of this product outline the joint
        alone; farther away a bone without a label may be mandible or skull.
    spacing
        Millimetres.
    """

    grey: Tensor
    mandible: Tensor
    skull: Tensor
    known: Tensor
    spacing: float


def real_joints(case: Case, spacing: float = BONES_SPACING_MM, extent: float = EXTENT_MM) -> Iterator[RealJoint]:
    """Cut out the joints that a case outlines.

    Parameters
    ----------
    case
        A case.
    spacing, extent
        Of the cube, mm.
    """
    for side, centre in case.centres.items():
        geometry = grid.canonical_grid(centre, spacing, extent)
        step = -1 if side is Side.LEFT else 1
        inside = grid.inside_field(case.image, geometry)
        distances = []
        for kind in (MANDIBLE, SKULL):
            distance = surface_distance(grid.on_grid(case.labels.array == kind, case.labels), geometry)
            distances.append(np.clip(distance, -DEPTH_MM, DEPTH_MM))
        known = inside
        if case.scope == "joint":
            # Up to a slope of the ball that both bones were clipped to; beyond it only what has a label is known.
            near = grid.distance_from(geometry, centre) < MC_RADIUS_MM - _EDGE_MM
            known = inside & (near | (distances[1] > 0))
        grey = grid.resample(case.image, geometry, fill=float(np.median(case.image.array[::4, ::4, ::4])))
        mandible, skull = (_mirrored(np.round(part * STEPS_A_MM).astype(np.int8), step) for part in distances)
        yield RealJoint(_mirrored(grey, step), mandible, skull, _mirrored(known.astype(np.uint8), step), spacing)


def real_example(joint: RealJoint, rng: np.random.Generator, voxels: int, spacing: float) -> JointExample:
    """Turn, bend, scale and cut out a joint.

    Parameters
    ----------
    joint
        A joint.
    rng
        Source of everything random.
    voxels, spacing
        Of the result.
    """
    shape = (voxels,) * 3
    points = head_pose(rng, (12, 12, 15), (4, 4, 4))(mesh(shape, spacing))
    points += wobble(shape, spacing, rng, rng.uniform(0.0, 1.2), rng.uniform(0.0, 0.3))
    return _seen(joint, points)


def plain_example(joint: RealJoint, voxels: int, spacing: float) -> JointExample:
    """Cut out a joint as it is."""
    return _seen(joint, mesh((voxels,) * 3, spacing))


def _seen(joint: RealJoint, points: Tensor) -> JointExample:
    middle = [(n - 1) / 2 for n in joint.grey.shape]

    def look(volume: Tensor, nearest: bool = False) -> Tensor:
        return sample(volume, points, joint.spacing, middle, nearest)

    known = look(joint.known, nearest=True).numpy() > 0
    mandible, skull = (look(bone).round().to(torch.int8).numpy() for bone in (joint.mandible, joint.skull))
    image = look(joint.grey).numpy()
    return JointExample(normalise_voi(image).astype(np.float16), mandible, skull, known)


def _mirrored(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", step: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[:, :, ::step]))
