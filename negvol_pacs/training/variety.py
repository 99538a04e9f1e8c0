"""What few patients have, for synthetic examples: worn condyles, another's condyle, children, cropped fields.

Training draws it; evaluation and validation paint without. Points are millimetres with components (z, y, x),
z to superior, y to posterior, x to left, of a right joint or of a left one in the mirror.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from negvol_pacs.training.tissues import Tissue

OTHER_CONDYLE, WORN_CONDYLE, WORN_FOSSA, CHILD = 0.35, 0.3, 0.15, 0.1
CYST, PLATE, HEAD_SUPPORT, CONE_BEAM_FIELD, LOST_TEETH = 0.1, 0.05, 0.15, 0.2, 0.3
"""Share of the examples that have it, where the variety is 1."""
HEADREST = 0.5
"""The same, of the heads that have none."""

_HEAD_MM = 13.0
"""The condylar head lies so far around its centre; the coronoid process, as high, does not."""
_MIXED_MM = 18.0


@dataclass(frozen=True)
class Chance:
    """Tells whether an example has something rare; where the variety is 0 nothing is drawn.

    Attributes
    ----------
    rng
        Source of everything random.
    variety
        Factor of every share.
    """

    rng: np.random.Generator
    variety: float

    def __call__(self, share: float) -> bool:
        """Draw: true in such a share of all cases."""
        return self.variety > 0 and bool(self.rng.random() < self.variety * share)


def child_size(rng: np.random.Generator) -> Tensor:
    """Size of a child's head against an adult's along (z, y, x): the face is the last to grow, in height most."""
    return torch.from_numpy(rng.uniform((0.72, 0.8, 0.84), (0.9, 0.94, 0.96)).astype(np.float32)).view(3, 1, 1, 1)


def mixed_condyle(own: Tensor, other: Tensor, at: Tensor, rng: np.random.Generator) -> Tensor:
    """Mix the condylar heads of two people.

    A weighted mean of signed distances aligned at the head's centre, the linear shape model of Leventon et al.
    (CVPR 2000); towards the ramus it is the own mandible alone.

    Parameters
    ----------
    own, other
        Signed distances, mm, positive inside.
    at
        Millimetres from the centre of the condylar head, shape (3, ...).
    rng
        Source of everything random.
    """
    share = torch.exp(-(at.square().sum(0) / _MIXED_MM**2).square()) * float(rng.uniform(0.2, 1.0))
    return torch.lerp(own, other, share)


def worn_condyle(mandible: Tensor, at: Tensor, points: Tensor, rng: np.random.Generator) -> Tensor:
    """Wear a condylar head: flattened, eroded in pits, with an osteophyte at its anterior lip, or several of these.

    Parameters
    ----------
    mandible
        Signed distance, mm, positive inside.
    at
        Millimetres from the centre of the condylar head in the source, shape (3, ...).
    points
        Millimetres in the picture.
    rng
        Source of everything random.
    """
    head = at.square().sum(0) < (_HEAD_MM + 3) ** 2
    top = _surface(mandible, points) & (at.square().sum(0) < _HEAD_MM**2) & (at[0] > 0)
    if not bool(top.any()):
        return mandible
    if rng.random() < 0.5:
        angles = np.radians(rng.uniform((-50, -20), (30, 20)))  # forward rather than backward: where it is loaded
        normal = torch.tensor([np.cos(angles[0]), np.sin(angles[0]), np.sin(angles[1])], dtype=torch.float32)
        height = torch.tensordot(normal / normal.norm(), points, dims=1)
        cut = float(height[top].max()) - float(rng.uniform(0.6, 2.2))
        mandible = torch.where(head, torch.minimum(mandible, cut - height), mandible)
    if rng.random() < 0.5:
        mandible = _pitted(mandible, top, points, rng, (1.0, 2.6))
    if rng.random() < 0.4:
        rim = points[1] < float(torch.quantile(points[1][top], 0.15))
        lip = _ball(_pick(top & rim, points, rng), float(rng.uniform(0.8, 1.8)), points, wide=2.5)
        mandible = torch.maximum(mandible, lip)
    return mandible


def worn_fossa(skull: Tensor, at: Tensor, points: Tensor, rng: np.random.Generator) -> Tensor:
    """Erode roof and eminence in pits; where the roof is thin they perforate it. See `worn_condyle`."""
    near = _surface(skull, points) & (at.square().sum(0) < (_HEAD_MM + 2) ** 2) & (at[0] > 0)
    return _pitted(skull, near, points, rng, (0.6, 1.8)) if bool(near.any()) else skull


def cyst(labels: Tensor, mandible: Tensor, at: Tensor, points: Tensor, rng: np.random.Generator) -> None:
    """Paint a subchondral cyst, in place: soft inside, but of the bone."""
    deep = (mandible > 1.5) & (at.square().sum(0) < _HEAD_MM**2) & (at[0] > 0)
    if bool(deep.any()):
        hollow = _ball(_pick(deep, points, rng), float(rng.uniform(1.0, 2.5)), points) > 0
        labels[hollow & (mandible > 0.7)] = Tissue.SOFT


def plate(labels: Tensor, mandible: Tensor, points: Tensor, rng: np.random.Generator) -> None:
    """Screw a miniplate to the lateral face of neck and ramus, in place."""
    step = 2 * max(1, round(2.0 / float(points[2, 0, 0, 1] - points[2, 0, 0, 0])) // 2)
    lateral = mandible.roll(-step, 2) > mandible.roll(step, 2)  # the bone is medial
    z, y = rng.uniform((-26, -6), (-14, 6))
    strip = ((points[0] - z).abs() < rng.uniform(8, 13)) & ((points[1] - y).abs() < 2.5)
    labels[strip & lateral & (mandible <= 0) & (mandible > -rng.uniform(1.0, 1.6))] = Tissue.METAL


def head_support(labels: Tensor, points: Tensor, rng: np.random.Generator) -> None:
    """Put a pad or strap beside the head, in place, as cone-beam scanners have."""
    inner, thick = -rng.uniform(22, 34), rng.uniform(2, 12)
    labels[(labels == Tissue.AIR) & (points[2] < inner) & (points[2] > inner - thick)] = Tissue.HEADREST


def headrest(tissues: Tensor, points: Tensor, rng: np.random.Generator) -> None:
    """Put a cradle behind a head that has none, in place; points from midway between the condyles."""
    inner, thick = rng.uniform(100, 140), rng.uniform(2, 14)
    radius = torch.hypot(points[1] + 35, points[2])
    ring = (radius > inner) & (radius < inner + thick) & (points[1] > 20)
    tissues[ring & (tissues == Tissue.AIR)] = Tissue.HEADREST


def lose_teeth(tissues: Tensor, points: Tensor, rng: np.random.Generator) -> None:
    """Draw teeth, in place: one in five has none left, and the mouth's soft tissue fills the gap."""
    teeth = (tissues == Tissue.TEETH) | (tissues == Tissue.METAL)
    if not bool(teeth.any()):
        return
    gone = torch.zeros_like(teeth)
    for _ in range(0 if rng.random() < 0.2 else int(rng.integers(1, 12))):
        centre = _pick(teeth, points, rng)
        gone |= torch.hypot(points[1] - centre[1], points[2] - centre[2]) < rng.uniform(3, 5)
    tissues[teeth & gone if bool(gone.any()) else teeth] = Tissue.SOFT


def outside_joint_field(points: Tensor, rng: np.random.Generator) -> Tensor:
    """Where a cone-beam scan (8 to 16 cm wide) whose border is near the joint shows nothing.

    Returns
    -------
    Tensor
        bool, shape of one component of ``points``, millimetres from the joint.
    """
    radius, reach, angle = rng.uniform(40, 80), rng.uniform(6, 32), rng.uniform(0, 2 * np.pi)
    away = radius - reach
    hidden = torch.hypot(points[1] + away * np.sin(angle), points[2] + away * np.cos(angle)) > radius
    if rng.random() < 0.4:
        hidden |= points[0] > rng.uniform(10, 30)
    return hidden


def outside_head_field(points: Tensor, joint: Tensor, rng: np.random.Generator) -> Tensor:
    """Where a cone-beam scan of one joint, of both, or of the jaws shows nothing.

    Parameters
    ----------
    points
        Millimetres from midway between the condyles, shape (3, ...).
    joint
        Centre of one condyle.
    rng
        Source of everything random.

    Returns
    -------
    Tensor
        bool, shape of one component of ``points``.
    """
    middles = (joint, torch.zeros(3), torch.tensor([-35.0, -45.0, 0.0]))
    centre = middles[int(rng.integers(3))] + torch.from_numpy(rng.uniform(-8, 8, 3).astype(np.float32))
    z, y, x = points - centre.view(3, 1, 1, 1)
    hidden = torch.hypot(y, x) > rng.uniform(40, 80)
    hidden |= z.abs() > rng.uniform(25, 80)
    return hidden


def _surface(bone: Tensor, points: Tensor) -> Tensor:
    return bone.abs() < 0.6 * (points[2, 0, 0, 1] - points[2, 0, 0, 0]).abs()


def _pick(mask: Tensor, points: Tensor, rng: np.random.Generator) -> Tensor:
    place = torch.nonzero(mask)[int(rng.integers(int(mask.sum())))]
    return points[:, place[0], place[1], place[2]]


def _ball(centre: Tensor, radius: float, points: Tensor, wide: float = 1.0) -> Tensor:
    """Signed distance, positive inside; ``wide`` times as long from side to side."""
    offset = (points - centre.view(3, 1, 1, 1)) / torch.tensor([1.0, 1.0, wide]).view(3, 1, 1, 1)
    distance: Tensor = offset.square().sum(0).sqrt()
    return radius - distance


def _pitted(
    bone: Tensor, where: Tensor, points: Tensor, rng: np.random.Generator, radii: tuple[float, float]
) -> Tensor:
    for _ in range(int(rng.integers(1, 5))):
        bone = torch.minimum(bone, -_ball(_pick(where, points, rng), float(rng.uniform(*radii)), points))
    return bone
