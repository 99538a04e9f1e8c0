"""From the masks of both joints to the findings."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import ThreadpoolController

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.errors import InflationError, JointError
from negvol_pacs.joint.angles import horizontal_condylar_angle, posterior_border, sagittal_ramus_angle
from negvol_pacs.joint.bones import articulating_area, measure_head
from negvol_pacs.joint.clipping import above, negative_volume
from negvol_pacs.joint.condyle import Condyle
from negvol_pacs.joint.coronal import measure_coronal_spaces
from negvol_pacs.joint.findings import Findings, JointMeasurements, Landmark, Measurement, Quantity, Symmetry
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.fossa import Fossa, find_fossa
from negvol_pacs.joint.frame import transverse_axis
from negvol_pacs.joint.inflation import inflate
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.midsagittal import MidsagittalPlane, find_midsagittal_plane
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.spaces import measure_spaces
from negvol_pacs.joint.sphere import sphere_volume
from negvol_pacs.joint.surface import JointSurfaces, build_surfaces, from_manifold, to_manifold
from negvol_pacs.joint.symmetry import area, compare
from negvol_pacs.joint.widths import WidthMap, map_widths
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.masks import JointMasks

CONTACT_MM = 0.2
LEAST_HEAD_MM = 1.0  # so much of the condyle must stand above the opening of the fossa
FOSSA = (Quantity.FW, Quantity.FD)
SAGITTAL = (Quantity.AJS, Quantity.SJS, Quantity.PJS)
CORONAL = (Quantity.MJS, Quantity.CJS, Quantity.LJS)
ANGLES = (Quantity.HCA, Quantity.SRA)
WIDTHS = {
    Quantity.JSW_P05: 5,
    Quantity.JSW_P25: 25,
    Quantity.JSW_P50: 50,
    Quantity.JSW_P75: 75,
    Quantity.JSW_P95: 95,
}
SPATIAL = (Quantity.NV_VOLUME, Quantity.NV_AREA, Quantity.FOSSA_AREA, *WIDTHS)
HEAD = (Quantity.HEAD_VOLUME, Quantity.HEAD_AREA)
SPHERE = (Quantity.SPHERE,)
PREDICTED = {Structure.MC: Quantity.MC_DICE, Structure.TB: Quantity.TB_DICE}
SIDED = FOSSA + SAGITTAL + CORONAL + ANGLES + SPATIAL + HEAD + SPHERE
BILATERAL = (Quantity.S_LR, Quantity.H_LR, Quantity.H95_LR, Quantity.D_LR, Quantity.W_LR, Quantity.AXIS)
_EVERY_NUMBER = frozenset({QualityFlag.COARSE_SPACING})
"""Flags of the series that make each of its numbers doubtful."""

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")
_Flags = frozenset[QualityFlag]


def measure(
    joints: Mapping[Side, JointMasks | JointError],
    flags: _Flags = frozenset(),
    transverse: NDArray[np.float64] | None = None,
) -> Findings:
    """Measure both joints.

    Parameters
    ----------
    joints
        Masks of each side, or why they are missing.
    flags
        What holds for the whole series.
    transverse
        Axis of the head from right to left, LPS unit vector, where one joint is alone and the head's pose is known
        otherwise; None: from the skull or both condyles.

    Returns
    -------
    Findings
        Both sides always. What cannot be measured on one side is a flag there and never
        costs the other side. Deterministic.
    """
    with _blas().limit(limits=1, user_api="blas"):  # its idle threads spin on the core that the other side needs
        return _measure(joints, flags, transverse)


_blas = cache(ThreadpoolController)


def _measure(
    joints: Mapping[Side, JointMasks | JointError], flags: _Flags, known: NDArray[np.float64] | None
) -> Findings:
    masks = {side: joint for side, joint in joints.items() if isinstance(joint, JointMasks)}
    alone = frozenset({QualityFlag.OTHER_SIDE_MISSING}) if len(masks) < 2 else frozenset()
    with ThreadPoolExecutor(len(Side)) as pool:  # scipy lets them run at once
        made = pool.map(lambda joint: _Joint(joint, alone, flags & _EVERY_NUMBER), masks.values())
        found = dict(zip(masks, made, strict=True))
        skull = _midsagittal_plane(found)
        centres = {side: joint.centre for side, joint in masks.items()}
        guess = transverse_axis(centres) if known is None else known
        transverse = skull.plane.normal if skull else guess
        sides = pool.map(lambda side: _one(side, found.get(side), joints.get(side), transverse), Side)
        results = dict(zip(Side, sides, strict=True))
    doubt = flags & _EVERY_NUMBER
    compared = _symmetry(results, transverse, doubt) | {Quantity.AXIS: _axis(skull, alone, doubt)}
    return Findings(results, Symmetry(compared), flags, skull)


def _axis(skull: MidsagittalPlane | None, alone: _Flags, doubt: _Flags) -> Measurement:
    if skull is None:
        return Measurement(Quantity.AXIS, None, flags=alone or frozenset({QualityFlag.SKULL_UNLIKE}))
    return Measurement(Quantity.AXIS, skull.uncertainty_deg, flags=doubt)


def _midsagittal_plane(joints: "Mapping[Side, _Joint]") -> MidsagittalPlane | None:
    """Find the skull's plane of symmetry where both temporal bones are there and alike."""
    right, left = joints.get(Side.RIGHT), joints.get(Side.LEFT)
    if right is None or left is None or right.bone is None or left.surfaces is None:
        return None
    centres = {side: joint.masks.centre for side, joint in joints.items()}
    try:
        pair = centres[Side.RIGHT], centres[Side.LEFT]
        return find_midsagittal_plane(right.bone, left.surfaces.tb, pair, transverse_axis(centres))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        _log.warning("no mid-sagittal plane", reason=str(error))
        return None


@dataclass
class _Joint:
    """Measures one side step by step; a step that fails leaves its flag."""

    masks: JointMasks
    flags: _Flags
    doubt: _Flags
    numbers: dict[Quantity, Measurement] = field(default_factory=dict)
    landmarks: dict[Landmark, NDArray[np.float64]] = field(default_factory=dict)
    widths: WidthMap | None = None
    surfaces: JointSurfaces | None = field(init=False)
    bone: Rays | None = field(init=False)

    def __post_init__(self) -> None:
        self.flags |= self.masks.flags
        self.landmarks[Landmark.CONDYLE_CENTRE] = np.asarray(self.masks.centre, dtype=np.float64)
        for structure, dice in self.masks.dice.items():
            self._take(PREDICTED[structure], dice)
        self.surfaces = self._try(lambda: build_surfaces(self.masks), SIDED)
        self.bone = Rays(self.surfaces.tb) if self.surfaces else None

    def measure(self, transverse: NDArray[np.float64]) -> JointMeasurements:
        """Run all steps in a head with this axis from right to left."""
        surfaces, bone = self.surfaces, self.bone
        if surfaces is None or bone is None:
            return self._result(None, None)
        found = self._try(lambda: find_fossa(bone, surfaces.mc, self.masks.centre, transverse, self.masks.side), SIDED)
        if found is None:
            return self._result(surfaces, None)
        fossa, condyle = found
        if self._touches(surfaces, bone, fossa):
            self.flags |= {QualityFlag.BONE_CONTACT}
        self._take_fossa(fossa, condyle)
        self._try(lambda: self._take_spaces(surfaces, condyle, fossa), SAGITTAL)
        self._try(lambda: self._take_coronal_spaces(surfaces, condyle, fossa), CORONAL)
        self._try(lambda: self._take_angles(surfaces, condyle, fossa), ANGLES)
        self._try(lambda: self._take_head(surfaces, fossa), HEAD)
        nv = self._try(lambda: self._take_negative_volume(surfaces, bone, fossa), SPATIAL)
        self._try(lambda: self._take_sphere(surfaces, fossa), SPHERE)
        return self._result(surfaces, nv)

    def _try(self, step: Callable[[], _Result], quantities: tuple[Quantity, ...]) -> _Result | None:
        """Run a step; where it fails, its quantities are missing and say why."""
        try:
            return step()
        except JointError as error:
            reason = error.flag
            _log.warning("joint step failed", side=self.masks.side.value, code=error.code, reason=str(error))
        except (ArithmeticError, LookupError, RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            reason = QualityFlag.COMPUTATION_FAILED
            _log.error("joint step failed", side=self.masks.side.value, exc_info=error)
        for quantity in quantities:
            self._miss(quantity, reason)
        return None

    def _touches(self, surfaces: JointSurfaces, bone: Rays, fossa: Fossa) -> bool:
        inside = surfaces.mc.vertices[
            fossa.opening.height(surfaces.mc.vertices) > 0
        ]  # what touches the neck is no joint
        index = surfaces.bone.map_reference_to_indices(inside, round_output=False)
        near = inside[ndimage.map_coordinates(surfaces.bone.array, index.T, order=1) > 0]
        return bool((np.linalg.norm(bone.nearest(near) - near, axis=1) < CONTACT_MM).any())

    def _take_fossa(self, fossa: Fossa, condyle: Condyle) -> None:
        if not fossa.postglenoid_is_lip:  # all that follows rests on its landmarks
            self.doubt |= {QualityFlag.FOSSA_NOT_FOUND}
        self._take(Quantity.FW, fossa.width)
        self._take(Quantity.FD, fossa.depth)
        self.landmarks |= {
            Landmark.MEDIAL_POLE: condyle.medial,
            Landmark.LATERAL_POLE: condyle.lateral,
            Landmark.EMINENCE: fossa.eminence,
            Landmark.POSTGLENOID: fossa.postglenoid,
            Landmark.ROOF: fossa.roof,
        }
        ahead = (condyle.top - fossa.eminence) @ fossa.frame.anterior
        above = fossa.opening.height(condyle.top)
        if ahead > 0 or above < LEAST_HEAD_MM:
            self.flags |= {QualityFlag.CONDYLE_OUTSIDE_FOSSA}
            self.doubt |= {QualityFlag.CONDYLE_OUTSIDE_FOSSA}

    def _take_spaces(self, surfaces: JointSurfaces, condyle: Condyle, fossa: Fossa) -> None:
        spaces = measure_spaces(surfaces.mc, surfaces.tb, condyle, fossa)
        self._take(Quantity.AJS, spaces.anterior.width)
        self._take(Quantity.SJS, spaces.superior.width)
        self._take(Quantity.PJS, spaces.posterior.width)
        self.landmarks |= {
            Landmark.CONDYLE_TOP: spaces.superior.condyle,
            Landmark.CONDYLE_ANTERIOR: spaces.anterior.condyle,
            Landmark.FOSSA_ANTERIOR: spaces.anterior.fossa,
            Landmark.CONDYLE_POSTERIOR: spaces.posterior.condyle,
            Landmark.FOSSA_POSTERIOR: spaces.posterior.fossa,
        }

    def _take_coronal_spaces(self, surfaces: JointSurfaces, condyle: Condyle, fossa: Fossa) -> None:
        spaces = measure_coronal_spaces(surfaces.mc, surfaces.tb, condyle, fossa)
        self._take(Quantity.MJS, spaces.medial.width)
        self._take(Quantity.CJS, spaces.central.width)
        self._take(Quantity.LJS, spaces.lateral.width)
        self.landmarks |= {
            Landmark.CONDYLE_MEDIAL: spaces.medial.condyle,
            Landmark.FOSSA_MEDIAL: spaces.medial.fossa,
            Landmark.CONDYLE_CENTRAL: spaces.central.condyle,
            Landmark.FOSSA_CENTRAL: spaces.central.fossa,
            Landmark.CONDYLE_LATERAL: spaces.lateral.condyle,
            Landmark.FOSSA_LATERAL: spaces.lateral.fossa,
        }

    def _take_angles(self, surfaces: JointSurfaces, condyle: Condyle, fossa: Fossa) -> None:
        frame = fossa.frame
        if condyle.has_axis:
            self._take(Quantity.HCA, horizontal_condylar_angle(condyle, frame, frame.lateral(self.masks.side)))
        else:
            self._miss(Quantity.HCA, QualityFlag.CONDYLE_ROUND)
        border = posterior_border(surfaces.mc, condyle, frame)
        if border is None:
            self._miss(Quantity.SRA, QualityFlag.NECK_TOO_SHORT)
            return
        self._take(Quantity.SRA, sagittal_ramus_angle(border, frame))
        self.landmarks |= {Landmark.NECK_UPPER: border.upper, Landmark.NECK_LOWER: border.lower}

    def _take_negative_volume(self, surfaces: JointSurfaces, bone: Rays, fossa: Fossa) -> Mesh:
        if QualityFlag.CONDYLE_OUTSIDE_FOSSA in self.flags:
            raise _OutsideFossa("The condyle stands outside the fossa, which then holds no joint space.")
        inflation = inflate(surfaces.mc, bone, fossa.opening)
        if not inflation.converged:
            self.doubt |= {QualityFlag.NOT_CONVERGED}
        inflated = above(to_manifold(inflation.mesh), fossa.opening)
        if inflated.is_empty():
            raise InflationError("The inflated condyle does not reach above the opening.")
        near = surfaces.tb_solid(inflated)
        solid = negative_volume(inflated, surfaces.mc_solid, near, fossa.opening)
        space = from_manifold(solid)
        if len(crossings(space)):
            raise InflationError("The negative volume crosses itself.")
        self._take(Quantity.NV_VOLUME, volume(space))
        self._take(Quantity.NV_AREA, area(space))
        self._take(Quantity.FOSSA_AREA, articulating_area(solid, near))
        self._take_widths(map_widths(surfaces.mc, inflation, fossa.opening))
        return space

    def _take_widths(self, widths: WidthMap | None) -> None:
        self.widths = widths
        for quantity, percent in WIDTHS.items():
            if widths is None:
                self._miss(quantity, QualityFlag.CONDYLE_OUTSIDE_FOSSA)
            else:
                self._take(quantity, widths.percentile(percent))

    def _take_head(self, surfaces: JointSurfaces, fossa: Fossa) -> None:
        head = measure_head(surfaces.mc_solid, fossa.frame)
        if head is None:
            for quantity in HEAD:
                self._miss(quantity, QualityFlag.NECK_TOO_SHORT)
            return
        self._take(Quantity.HEAD_VOLUME, head.volume)
        self._take(Quantity.HEAD_AREA, head.area)

    def _take_sphere(self, surfaces: JointSurfaces, fossa: Fossa) -> None:
        if QualityFlag.CONDYLE_OUTSIDE_FOSSA in self.flags:
            raise _OutsideFossa("The condyle stands outside the fossa.")
        self._take(Quantity.SPHERE, sphere_volume(surfaces.head, surfaces.bone, fossa))

    def _miss(self, quantity: Quantity, reason: QualityFlag) -> None:
        self.numbers.setdefault(quantity, Measurement(quantity, None, flags=frozenset({reason})))

    def _take(self, quantity: Quantity, value: float) -> None:
        self.numbers[quantity] = Measurement(quantity, float(value), flags=self.doubt)

    def _result(self, surfaces: JointSurfaces | None, nv: Mesh | None) -> JointMeasurements:
        return JointMeasurements(
            side=self.masks.side,
            measurements={q: self.numbers[q] for q in (*SIDED, *(PREDICTED[bone] for bone in self.masks.dice))},
            landmarks=self.landmarks,
            mc=surfaces.mc if surfaces else None,
            tb=surfaces.tb if surfaces else None,
            nv=nv,
            widths=self.widths,
            flags=self.flags,
        )


class _OutsideFossa(InflationError):
    flag = QualityFlag.CONDYLE_OUTSIDE_FOSSA


def volume(mesh: Mesh) -> float:
    """Volume inside a closed surface, mm³."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] - mesh.vertices[0] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _one(
    side: Side, joint: _Joint | None, reason: JointMasks | JointError | None, transverse: NDArray[np.float64]
) -> JointMeasurements:
    if joint is not None:
        return joint.measure(transverse)
    flags = frozenset({reason.flag if isinstance(reason, JointError) else QualityFlag.JOINT_NOT_FOUND})
    missing = {quantity: Measurement(quantity, None, flags=flags) for quantity in SIDED}
    return JointMeasurements(side, missing, flags=flags)


def _symmetry(
    joints: Mapping[Side, JointMeasurements], transverse: NDArray[np.float64], doubt: _Flags
) -> dict[Quantity, Measurement]:
    right, left = joints[Side.RIGHT].nv, joints[Side.LEFT].nv
    if right is None or left is None:
        flags = frozenset({QualityFlag.OTHER_SIDE_MISSING})
        return {q: Measurement(q, None, flags=flags) for q in BILATERAL}
    found = compare(right, left, transverse)
    values: dict[Quantity, tuple[float, float | None]] = {
        Quantity.S_LR: (found.area_ratio, None),
        Quantity.H_LR: found.hausdorff,
        Quantity.H95_LR: found.hausdorff_95,
        Quantity.D_LR: found.mean_distance,
        Quantity.W_LR: (found.wasserstein, None),
    }
    return {q: Measurement(q, value, sd, doubt) for q, (value, sd) in values.items()}
