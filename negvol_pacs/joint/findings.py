"""What the report says: measurements with their landmarks and flags."""

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.quality import QualityFlag

if TYPE_CHECKING:  # who only reads a report needs no geometry, whose libraries take seconds to load
    from negvol_pacs.joint.midsagittal import MidsagittalPlane
    from negvol_pacs.joint.widths import WidthMap


class Quantity(Enum):
    """A measured quantity: short name and UCUM unit."""

    FW = ("FW", "mm")
    FD = ("FD", "mm")
    AJS = ("AJS", "mm")
    SJS = ("SJS", "mm")
    PJS = ("PJS", "mm")
    MJS = ("MJS", "mm")
    CJS = ("CJS", "mm")
    LJS = ("LJS", "mm")
    HCA = ("HCA", "deg")
    SRA = ("SRA", "deg")
    NV_VOLUME = ("NV volume", "mm3")
    NV_AREA = ("NV area", "mm2")
    JSW_P05 = ("JSW 5 %", "mm")
    JSW_P25 = ("JSW 25 %", "mm")
    JSW_P50 = ("JSW 50 %", "mm")
    JSW_P75 = ("JSW 75 %", "mm")
    JSW_P95 = ("JSW 95 %", "mm")
    HEAD_VOLUME = ("Head volume", "mm3")
    HEAD_AREA = ("Head area", "mm2")
    FOSSA_AREA = ("Fossa area", "mm2")
    SPHERE = ("Sphere volume", "mm3")
    MC_DICE = ("MC Dice", "{ratio}")
    TB_DICE = ("TB Dice", "{ratio}")
    S_LR = ("S_LR", "{ratio}")
    H_LR = ("H_LR", "mm")
    H95_LR = ("H95_LR", "mm")
    D_LR = ("D_LR", "mm")
    W_LR = ("W_LR", "mm")
    AXIS = ("Axis", "deg")

    def __init__(self, label: str, unit: str) -> None:
        self.label = label
        self.unit = unit


class Landmark(StrEnum):
    """A point in LPS mm that a measurement rests on."""

    CONDYLE_CENTRE = "Centre of the condylar head"
    CONDYLE_TOP = "Highest point of the condyle"
    CONDYLE_ANTERIOR = "Anterior point of the condyle"
    CONDYLE_POSTERIOR = "Posterior point of the condyle"
    MEDIAL_POLE = "Medial pole of the condyle"
    LATERAL_POLE = "Lateral pole of the condyle"
    EMINENCE = "Lowest point of the articular eminence"
    POSTGLENOID = "Lowest point of the postglenoid process"
    ROOF = "Highest point of the fossa's roof"
    FOSSA_ANTERIOR = "Point of the fossa opposite the anterior point of the condyle"
    FOSSA_POSTERIOR = "Point of the fossa opposite the posterior point of the condyle"
    CONDYLE_MEDIAL = "Medial sixth of the condyle's upper outline"
    CONDYLE_CENTRAL = "Middle of the condyle's upper outline"
    CONDYLE_LATERAL = "Lateral sixth of the condyle's upper outline"
    FOSSA_MEDIAL = "Point of the fossa opposite the condyle's medial sixth"
    FOSSA_CENTRAL = "Point of the fossa opposite the condyle's middle"
    FOSSA_LATERAL = "Point of the fossa opposite the condyle's lateral sixth"
    NECK_UPPER = "Upper end of the condylar neck's posterior border"
    NECK_LOWER = "Lower end of the condylar neck's posterior border"


@dataclass(frozen=True)
class Measurement:
    """One number, or the reason why there is none.

    Attributes
    ----------
    quantity
        What is measured; its unit is ``quantity.unit``.
    value
        None when it could not be measured; then ``flags`` says why.
    sd
        Standard deviation in the same unit, where the method gives one.
    flags
        Why the number is missing or doubtful.

    Raises
    ------
    ValueError
        If the value is missing or not finite and no flag says why.
    """

    quantity: Quantity
    value: float | None
    sd: float | None = None
    flags: frozenset[QualityFlag] = frozenset()

    def __post_init__(self) -> None:
        if self.value is None and not self.flags:
            raise ValueError(f"{self.quantity.label} is missing without a quality flag")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError(f"{self.quantity.label} is not a finite number")


@dataclass(frozen=True)
class JointMeasurements:
    """Everything measured on one side.

    Attributes
    ----------
    side
        Side of the patient.
    measurements
        One entry a quantity of this side, also when missing; the predicted Dice only of
        bones that were segmented.
    landmarks
        LPS mm, shape (3,) each; only those found.
    mc, tb, nv
        Surfaces in LPS mm; None where they could not be built.
    widths
        Width of the joint space over the condyle; None where there is no negative volume.
    flags
        What holds for the whole joint.
    """

    side: Side
    measurements: dict[Quantity, Measurement]
    landmarks: dict[Landmark, NDArray[np.float64]] = field(default_factory=dict)
    mc: Mesh | None = None
    tb: Mesh | None = None
    nv: Mesh | None = None
    widths: "WidthMap | None" = None
    flags: frozenset[QualityFlag] = frozenset()


@dataclass(frozen=True)
class Symmetry:
    """Left against right: S_LR, H_LR (Belikova et al. 2021, section "Symmetry") and other distances."""

    measurements: dict[Quantity, Measurement]


@dataclass(frozen=True)
class Findings:
    """What the structured report says.

    Attributes
    ----------
    joints
        Both sides, always; a lost side has flags instead of numbers.
    symmetry
        Left against right.
    flags
        What holds for the whole series.
    midsagittal
        Plane of the skull's symmetry, in which left and right are compared; None where it was
        not found and the line through the condyles stands for its normal.
    """

    joints: dict[Side, JointMeasurements]
    symmetry: Symmetry
    flags: frozenset[QualityFlag] = frozenset()
    midsagittal: "MidsagittalPlane | None" = None

    def numbers(self, side: Side | None) -> dict[Quantity, Measurement]:
        """Return the measurements of a side, or of both sides together for None, with all that is held against each.

        A flag of the series holds for every number, one of a joint for the joint's numbers and
        for the symmetry, which rests on both joints.
        """
        if side is None:
            own = self.symmetry.measurements
            common = self.flags.union(*(joint.flags for joint in self.joints.values()))
        else:
            own, common = self.joints[side].measurements, self.flags | self.joints[side].flags
        return {quantity: replace(m, flags=m.flags | common) for quantity, m in own.items()}
