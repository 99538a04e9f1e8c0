"""Random joints of any proportions, healthy and degenerate, from named sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.training.analytic_joints import AnalyticJoint, ellipsoid_in_fossa, parametric_fossa
from negvol_pacs.validation.heads import head, turned_condyle

Array = NDArray[np.float64]

SIZES = {
    "box": (0.0, 1.0),  # up to a half the fossa is an ellipsoid, else it has eminence and rims
    "ahead": (7.0, 12.0),
    "behind": (6.0, 10.0),
    "lateral": (9.0, 13.0),
    "medial": (9.0, 13.0),
    "depth": (4.0, 9.0),
    "steepness": (2.0, 4.0),
    "gap": (0.3, 4.0),
    "condyle_x": (6.0, 10.0),
    "condyle_y": (3.0, 5.0),
    "condyle_z": (4.0, 7.0),
    "shift_x": (-1.0, 1.0),
    "shift_y": (-1.0, 1.0),
    "angle": (-25.0, 25.0),
    "lean": (-15.0, 15.0),
    "place_x": (-5.0, 5.0),  # of a hole or a cleft
    "place_y": (-5.0, 5.0),
    "tilt": (-20.0, 20.0),  # of the head
    "roll": (-20.0, 20.0),
    "yaw": (-20.0, 20.0),
    "off_grid": (0.0, 1.0),
}
"""Least and most of each size: mm, degrees, or a share."""


class Fault(StrEnum):
    """What is wrong with a joint."""

    FLAT = "flat fossa"
    CONTACT = "bone contact"
    PERFORATED = "perforated roof"
    OPEN = "open mouth"
    NO_EMINENCE = "missing eminence"
    TINY = "tiny condyle"
    BIFID = "bifid condyle"


@dataclass(frozen=True)
class Recipe:
    """A joint in a posed head.

    Attributes
    ----------
    sizes
        A value for each of `SIZES`.
    faults
        How bad each one is, 0 to 1; healthy where there is none.
    """

    sizes: Mapping[str, float]
    faults: Mapping[Fault, float]

    @classmethod
    def draw(cls, random: np.random.Generator) -> "Recipe":
        """Draw a joint: one in eight healthy, the others with one fault or two."""
        sizes = {name: float(random.uniform(*limits)) for name, limits in SIZES.items()}
        count = int(random.choice(3, p=[0.125, 0.625, 0.25]))
        kinds = random.choice(len(Fault), count, replace=False)
        return cls(sizes, {list(Fault)[k]: float(random.random()) for k in kinds})

    @property
    def kind(self) -> str:
        """Name of the fault, or of what stands for none or several."""
        return next(iter(self.faults)).value if len(self.faults) == 1 else "several" if self.faults else "healthy"

    def joint(self) -> AnalyticJoint:
        """Return the bones as implicit functions; the closed forms of a healthy joint do not hold."""
        made = self._healthy()
        if (bad := self.faults.get(Fault.BIFID)) is not None:
            made = _cleft(made, self.sizes["place_x"], 1.0 + 3.0 * bad)
        up = np.array([0.0, 0.0, made.superior - 0.3 + 0.8 * bad]) if (bad := self.faults.get(Fault.CONTACT)) else None
        if (bad := self.faults.get(Fault.OPEN)) is not None:
            up = np.array([0.0, 4.0 + 12.0 * bad, -1.0 - 7.0 * bad])
        if (bad := self.faults.get(Fault.PERFORATED)) is not None:
            made = _hole(made, (self.sizes["place_x"], self.sizes["place_y"]), 0.4 + 4.0 * bad)
        if (bad := self.faults.get(Fault.NO_EMINENCE)) is not None:
            made = _cut(made, 8.0 * (1 - bad))
        return moved(made, np.zeros(3) if up is None else up)

    def masks(self, spacing_mm: float) -> dict[Side, JointMasks]:
        """Rasterise the joint as the right one of a turned head; its bones lie anywhere between the voxels."""
        turn = Rotation.from_euler("xyz", [self.sizes[k] for k in ("tilt", "roll", "yaw")], degrees=True).as_matrix()
        off = spacing_mm * self.sizes["off_grid"] * np.array([1.0, 0.6, 0.3])
        joint = self.joint()
        between = replace(joint, mc=lambda p: joint.mc(p - off), tb=lambda p: joint.tb(p - off))
        return head({Side.RIGHT: between}, spacing_mm, turn=turn)

    def _healthy(self) -> AnalyticJoint:
        s = dict(self.sizes)
        s["depth"] *= 0.5 - 0.45 * self.faults[Fault.FLAT] if Fault.FLAT in self.faults else 1.0
        small = 0.5 - 0.35 * self.faults[Fault.TINY] if Fault.TINY in self.faults else 1.0
        condyle = (small * s["condyle_x"], small * s["condyle_y"], small * s["condyle_z"])
        if s["box"] < 0.5:
            fossa = (s["lateral"], max(s["behind"], condyle[1] + 2), max(s["depth"], 0.3))
            height = fossa[2] - condyle[2] - s["gap"]
            made = ellipsoid_in_fossa(condyle, fossa, shift_mm=(s["shift_x"], s["shift_y"], height))
        else:
            made = parametric_fossa(
                width_mm=(s["ahead"], s["behind"]),
                sides_mm=(s["lateral"], s["medial"]),
                depth_mm=s["depth"],
                condyle_mm=condyle,
                gap_mm=s["gap"],
                steepness=s["steepness"],
            )
        return turned_condyle(made, hca=s["angle"], lean=s["lean"])


def moved(joint: AnalyticJoint, by: Array) -> AnalyticJoint:
    """Move the condyle, mm; where it would enter the temporal bone, it ends there."""
    return replace(joint, mc=lambda points: np.maximum(joint.mc(points - by), -joint.tb(points)))


def _hole(joint: AnalyticJoint, place: tuple[float, float], radius: float) -> AnalyticJoint:
    """Drill through the temporal bone from below."""
    x, y = place
    return replace(joint, tb=lambda p: np.maximum(joint.tb(p), radius - np.hypot(p[..., 0] - x, p[..., 1] - y)))


def _cleft(joint: AnalyticJoint, x: float, radius: float) -> AnalyticJoint:
    """Cut a round groove from front to back into the top of the condyle."""
    top = joint.opening + joint.depth - joint.superior
    return replace(joint, mc=lambda p: np.maximum(joint.mc(p), radius - np.hypot(p[..., 0] - x, p[..., 2] - top)))


def _cut(joint: AnalyticJoint, y: float) -> AnalyticJoint:
    """Take the temporal bone away ahead of a coronal plane."""
    return replace(joint, tb=lambda points: np.maximum(joint.tb(points), points[..., 1] - y))
