"""One individual's sizes: what differs from seed to seed.

The head frame has its origin midway between the centres of the condylar heads; x to
left, y to posterior, z to superior, millimetres.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side


@dataclass(frozen=True)
class JointSizes:
    """One temporomandibular joint in its own frame: u lateral, v posterior, w superior.

    Attributes
    ----------
    side
        Of the patient.
    centre
        Centre of the condylar head when the teeth meet, head frame.
    angle
        Horizontal condylar angle, degrees: the medial pole lies behind the lateral one.
    half_width, half_depth, half_height
        Of the condylar head along u, v, w.
    superior, anterior, posterior
        Joint spaces.
    fossa_depth
        From the line eminence to postglenoid process up to the roof.
    eminence, postglenoid
        Distance in v of their lowest points before and behind the centre.
    roof
        Thickness of the fossa's roof.
    """

    side: Side
    centre: tuple[float, float, float]
    angle: float
    half_width: float
    half_depth: float
    half_height: float
    superior: float
    anterior: float
    posterior: float
    fossa_depth: float
    eminence: float
    postglenoid: float
    roof: float

    @property
    def out(self) -> int:
        """Sign of x towards the outside."""
        return -1 if self.side is Side.RIGHT else 1

    @property
    def axes(self) -> NDArray[np.float64]:
        """Rows u, v, w in the head frame."""
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        return np.array([[self.out * c, -s, 0], [self.out * s, c, 0], [0, 0, 1.0]])

    @property
    def apex(self) -> float:
        """Height w of the roof's highest point."""
        return self.half_height + self.superior

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Return a point given for the left side, relative to the middle of the head."""
        return self.out * x, y, z


@dataclass(frozen=True)
class Individual:
    """Sizes of one head.

    Attributes
    ----------
    scale
        Of the whole head along x, y, z.
    joints
        Both joints; no two are alike.
    opening
        Rotation of the mandible, degrees, 0 with closed teeth.
    glide
        Way of the condyle along the eminence, mm.
    missing_teeth
        Numbers of upper (0 to 13) and lower (14 to 27) teeth that are not there.
    crowns
        Numbers of teeth with metal.
    aeration
        Threshold of the mastoid cells: the lower, the more air.
    vault
        Thickness of the calvaria, mm.
    skin
        Thickness over the bones, mm.
    """

    scale: tuple[float, float, float]
    joints: Mapping[Side, JointSizes]
    opening: float
    glide: float
    missing_teeth: frozenset[int]
    crowns: frozenset[int]
    aeration: float
    vault: float
    skin: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, open_mouth: bool = False) -> "Individual":
        """Draw a head."""
        x, y, z = rng.uniform(0.95, 1.06, 3)
        common = _joint(rng, Side.RIGHT)
        return cls(
            scale=(float(x), float(y), float(z)),
            joints={side: _variant(rng, common, side) for side in Side},
            opening=float(rng.uniform(2, 22)) * open_mouth,
            glide=float(rng.uniform(1, 9)) * open_mouth,
            missing_teeth=frozenset(rng.choice(28, int(rng.integers(0, 6)), replace=False).tolist()),
            crowns=frozenset(rng.choice(28, int(rng.integers(0, 5)), replace=False).tolist()),
            aeration=float(rng.uniform(-0.1, 0.6)),
            vault=float(rng.uniform(5.0, 8.0)),
            skin=float(rng.uniform(4.0, 7.0)),
        )


def _joint(rng: np.random.Generator, side: Side) -> dict[str, float]:
    return {
        "x": rng.uniform(49, 53),
        "angle": rng.uniform(8, 22),
        "half_width": rng.uniform(8.6, 10.4),
        "half_depth": rng.uniform(3.9, 4.9),
        "half_height": rng.uniform(4.6, 5.6),
        "superior": rng.uniform(2.1, 2.9),
        "anterior": rng.uniform(2.0, 2.8),
        "posterior": rng.uniform(2.0, 2.8),
        "fossa_depth": rng.uniform(6.8, 8.2),
        "eminence": rng.uniform(8.6, 10.4),
        "postglenoid": rng.uniform(7.0, 8.2),
        "roof": rng.uniform(0.8, 1.8),
    }


def _variant(rng: np.random.Generator, common: Mapping[str, float], side: Side) -> JointSizes:
    """One side: the individual's joint, each size varied by some percent."""
    own = {name: float(value * rng.normal(1, 0.03)) for name, value in common.items()}
    out = -1 if side is Side.RIGHT else 1
    x, y, z = rng.normal((out * own.pop("x"), 0, 0), (0.5, 0.7, 0.7)).tolist()
    return JointSizes(side=side, centre=(x, y, z), **own)
