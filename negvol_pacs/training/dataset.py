"""Painted examples: a deformed, painted joint or head with what the network shall say of it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.intensity import AIR, normalise_head, normalise_voi
from negvol_pacs.training import variety as rare
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.fields import smooth_field, tensor_generator
from negvol_pacs.training.motion import head_pose, jaw_pose, mesh, sample, wobble
from negvol_pacs.training.paint import paint
from negvol_pacs.training.regions import DEPTH_MM, CoarseHead, Condyle, Region
from negvol_pacs.training.tissues import Tissue

BONES_SPACING_MM = 0.5
BONES_VOXELS = 136
HEAD_SPACING_MM = 1.6
HEAD_VOXELS = 160
BALL_MM = 15.0
"""The localizer marks this far around the centre of a condylar head."""
STEPS_A_MM = 16.0
"""Signed distances are stored as int8, so many steps a millimetre."""


@dataclass(frozen=True)
class JointExample:
    """A painted VOI of a right joint (or a mirrored left one), axes z, y, x.

    Attributes
    ----------
    image
        Normalised, float16.
    mandible, skull
        Signed distance from the surface, int8, ``STEPS_A_MM``, positive inside.
    known
        Where the distances can be relied on; None for everywhere.
    transverse
        The head's axis from right to left, LPS unit vector.
    """

    image: NDArray[np.float16]
    mandible: NDArray[np.int8]
    skull: NDArray[np.int8]
    known: NDArray[np.bool_] | None = None
    transverse: tuple[float, float, float] = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class HeadExample:
    """A painted head: image (normalised, float16) and labels (uint8: 1 right, 2 left joint)."""

    image: NDArray[np.float16]
    labels: NDArray[np.uint8]


def joint_example(
    region: Region,
    rng: np.random.Generator,
    voxels: int = BONES_VOXELS,
    spacing_mm: float = BONES_SPACING_MM,
    *,
    variety: float = 0.0,
    other: Region | Condyle | None = None,
    as_scanned: bool = False,
) -> JointExample:
    """Deform, move and paint a joint.

    Parameters
    ----------
    region
        Surroundings of a joint.
    rng
        Source of everything random.
    voxels, spacing_mm
        Edge and spacing of the result.
    variety
        See `negvol_pacs.training.variety`.
    other
        Somebody else's joint, whose condyle is mixed into this one; None for the own condyle.
    as_scanned
        Turned, shifted and painted only: own size and shape, the jaw where it is.
    """
    chance = rare.Chance(rng, variety)
    spacing = float(rng.uniform(0.8, 1.1)) * spacing_mm
    count = round(voxels * spacing_mm / spacing)
    shape = (count, count, count)
    seen = mesh(shape, spacing)
    pose = head_pose(rng, (12, 12, 18), (5, 5, 5), own_size=as_scanned)
    points = pose(seen)
    if not as_scanned:
        points += wobble(shape, spacing, rng, rng.uniform(0.2, 1.8), rng.uniform(0.0, 0.5))
    child = chance(rare.CHILD)
    if child:
        points /= rare.child_size(rng)
    middle = [(n - 1) / 2 for n in region.tissues.shape]

    def look(volume: Tensor, at: Tensor, nearest: bool = False) -> Tensor:
        return sample(volume, at, region.spacing, middle, nearest)

    generator = tensor_generator(rng)

    def roughness(most: float) -> Tensor | float:
        if as_scanned:
            return 0.0
        return smooth_field(shape, (spacing,) * 3, rng.uniform(3, 10), generator) * rng.uniform(0, most)

    jaw = points if as_scanned else jaw_pose(rng)(points)
    mandible = look(region.mandible, jaw)
    if other is not None:
        centre = [(n - 1) / 2 for n in other.mandible.shape]
        mandible = rare.mixed_condyle(mandible, sample(other.mandible, jaw, other.spacing, centre), jaw, rng)
    mandible = mandible.add_(roughness(0.6))
    skull = look(region.skull, points).add_(roughness(0.25))
    if chance(rare.WORN_CONDYLE):
        mandible = rare.worn_condyle(mandible, jaw, seen, rng)
    if chance(rare.WORN_FOSSA):
        skull = rare.worn_fossa(skull, jaw, seen, rng)
    # Cartilage keeps the bones apart, in most people.
    gap = rng.uniform(0.3, 1.5) if not as_scanned and rng.random() < 0.85 else 0.0
    mandible = torch.minimum(mandible, -(skull + gap))
    labels = compose(look(region.tissues, points, nearest=True).to(torch.uint8), mandible, skull)
    _add_findings(labels, mandible, jaw, seen, chance)
    patient = Appearance.draw(rng).of_a_child() if child else None
    image = torch.from_numpy(paint(labels.numpy(), (spacing,) * 3, rng, patient))
    bones = [mandible.clamp_(-DEPTH_MM, DEPTH_MM), skull.clamp_(-DEPTH_MM, DEPTH_MM)]
    known = None
    if chance(rare.CONE_BEAM_FIELD):
        hidden = rare.outside_joint_field(seen, rng)
        image[hidden] = image.min()
        known = ~hidden
    size = (voxels, voxels, voxels)
    stack = torch.stack([image, *bones] if known is None else [image, *bones, known.float()])[None]
    image, mandible, skull, *rest = functional.interpolate(stack, size=size, mode="trilinear", align_corners=False)[0]
    steps = [(distance * STEPS_A_MM).round().to(torch.int8).numpy() for distance in (mandible, skull)]
    inside = None if known is None else rest[0].numpy() > 0.99
    # Beyond its border a scan is of air, or nothing was saved, and the pipeline tells it apart.
    saved = inside if inside is not None and rng.random() < 0.5 else None
    z, y, x = pose.direction((0.0, 0.0, 1.0))
    normal = normalise_voi(image.numpy(), saved).astype(np.float16)
    return JointExample(normal, steps[0], steps[1], inside, (x, y, z))


def _add_findings(labels: Tensor, mandible: Tensor, at: Tensor, seen: Tensor, chance: rare.Chance) -> None:
    if chance(rare.CYST):
        rare.cyst(labels, mandible, at, seen, chance.rng)
    if chance(rare.PLATE):
        rare.plate(labels, mandible, seen, chance.rng)
    if chance(rare.HEAD_SUPPORT):
        rare.head_support(labels, seen, chance.rng)


def compose(tissues: Tensor, mandible: Tensor, skull: Tensor) -> Tensor:
    """Tissues with the bones put where their signed distances are positive."""
    old = (tissues == Tissue.SKULL) | (tissues == Tissue.AIR_CELL)
    result = torch.where(old & (skull <= 0), torch.tensor(Tissue.SOFT, dtype=torch.uint8), tissues)
    result[(skull > 0) & (result != Tissue.AIR_CELL)] = Tissue.SKULL
    result[mandible > 0] = Tissue.MANDIBLE
    return result


def head_spacing(voxels: int) -> float:
    """Spacing, mm, of a head's grid of so many voxels along each edge: it is always the same cube."""
    return HEAD_SPACING_MM * HEAD_VOXELS / voxels


def head_example(
    head: CoarseHead,
    rng: np.random.Generator,
    voxels: int = HEAD_VOXELS,
    variety: float = 0.0,
    *,
    as_scanned: bool = False,
) -> HeadExample:
    """Deform, move and paint a whole head.

    Parameters
    ----------
    head
        A head.
    rng
        Source of everything random.
    voxels
        Edge of the result; its spacing is near ``HEAD_SPACING_MM``.
    variety
        See `negvol_pacs.training.variety`.
    as_scanned
        See `joint_example`.
    """
    chance = rare.Chance(rng, variety)
    spacing = head_spacing(voxels) * float(rng.uniform(0.9, 1.12))
    shape = (voxels, voxels, voxels)
    right, left = (head.centres[side] for side in (Side.RIGHT, Side.LEFT))
    middle = (right + left) / 2
    points = head_pose(rng, (15, 12, 25), (40, 25, 20), own_size=as_scanned)(mesh(shape, spacing))
    if not as_scanned:
        points += wobble(shape, spacing, rng, rng.uniform(0.5, 4.0), rng.uniform(0.0, 1.5))
    child = chance(rare.CHILD)
    if child:
        points /= rare.child_size(rng)
    jaw = points if as_scanned else jaw_pose(rng)(points)
    mandible = sample(head.mandible, jaw, head.spacing, middle.tolist())
    tissues = sample(head.tissues, points, head.spacing, middle.tolist(), nearest=True).to(torch.uint8)
    below = points[0] / head.spacing + float(middle[0]) < 0
    shoulders = rng.random() < 0.4
    if shoulders:
        tissues = torch.where(below, _torso(points, spacing, rng), tissues)
    if chance(rare.LOST_TEETH):
        rare.lose_teeth(tissues, points, rng)
    if not (tissues == Tissue.HEADREST).any() and chance(rare.HEADREST):
        rare.headrest(tissues, points, rng)
    tissues[mandible > 0.5] = Tissue.MANDIBLE
    labels = torch.zeros(shape, dtype=torch.uint8)
    for number, centre in ((1, right), (2, left)):
        offset = torch.from_numpy(((centre - middle) * head.spacing).astype(np.float32)).view(3, 1, 1, 1)
        labels[(jaw - offset).square().sum(0) < BALL_MM**2] = number
    hidden = _outside_field(points, head, middle, rng, open_below=shoulders)
    if chance(rare.CONE_BEAM_FIELD):
        side = (right, left)[int(rng.integers(2))]
        joint = torch.from_numpy(((side - middle) * head.spacing).astype(np.float32))
        hidden |= rare.outside_head_field(points, joint, rng)
    patient = Appearance.draw(rng).of_a_child() if child else None
    image = paint(tissues.numpy(), (spacing,) * 3, rng, patient)
    normal = torch.from_numpy(normalise_head(np.where(hidden.numpy(), image.min(), image)))
    if rng.random() < 0.5:
        normal, hidden = normal.flip(-1), hidden.flip(-1)
        labels = torch.tensor([0, 2, 1], dtype=torch.uint8)[labels.flip(-1).int()]
    labels[hidden] = 0
    return HeadExample(normal.clamp_(min=AIR).half().numpy(), labels.numpy())


def _torso(points: Tensor, spacing: float, rng: np.random.Generator) -> Tensor:
    """Neck and shoulders below a head, with a spine and other bones that are no jaw."""
    depth = (-60.0 - points[0]).clamp(min=0)
    flare = torch.sigmoid((depth - rng.uniform(20, 60)) / rng.uniform(5, 15))
    across = 60 + rng.uniform(80, 170) * flare
    along = 65 + rng.uniform(10, 60) * flare
    back = rng.uniform(10, 40)
    body = (points[2] / across).square() + ((points[1] - back) / along).square()
    generator = tensor_generator(rng)
    lumps = smooth_field(body.shape, (spacing,) * 3, rng.uniform(12, 30), generator)
    result = torch.full(body.shape, int(Tissue.AIR), dtype=torch.uint8)
    result[body < 1] = Tissue.FAT
    result[body < rng.uniform(0.7, 0.95)] = Tissue.MUSCLE
    result[(body < 0.8) & (lumps > rng.uniform(1.0, 1.8))] = Tissue.OTHER_BONE
    spine = (points[2].square() + (points[1] - back - 10).square()).sqrt()
    disc = torch.remainder(points[0], 18.0) < 4.0
    result[(spine < rng.uniform(9, 14)) & ~disc] = Tissue.VERTEBRA
    windpipe = points[2].square() + (points[1] - back + 25).square()
    result[windpipe < rng.uniform(5, 10) ** 2] = Tissue.AIRWAY
    return result


def _outside_field(
    points: Tensor, head: CoarseHead, middle: NDArray[np.float64], rng: np.random.Generator, open_below: bool
) -> Tensor:
    """Beyond the source's border, and beyond a randomly cropped field of view; shoulders go on below."""
    hidden = torch.zeros(points.shape[1:], dtype=torch.bool)
    index = [points[axis] / head.spacing + float(place) for axis, place in enumerate(middle)]
    for axis, count in enumerate(head.tissues.shape):
        low, high = rng.uniform(0, 0.2, 2) * (rng.random(2) < 0.3) * count
        if not (open_below and axis == 0):
            hidden |= index[axis] < float(low)
        hidden |= index[axis] > count - 1 - float(high)
    if open_below:
        hidden &= index[0] >= 0
    return hidden
