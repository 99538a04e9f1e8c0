"""From the masks of both joints to the findings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import InflationError, JointError
from negvol_pacs.joint.clipping import negative_volume
from negvol_pacs.joint.condyle import Condyle
from negvol_pacs.joint.findings import Findings, JointMeasurements, Landmark, Measurement, Quantity, Symmetry
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.fossa import Fossa, find_fossa
from negvol_pacs.joint.frame import transverse_axis
from negvol_pacs.joint.inflation import inflate
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.spaces import measure_spaces
from negvol_pacs.joint.surface import JointSurfaces, build_surfaces, from_manifold, to_manifold
from negvol_pacs.joint.symmetry import area, compare
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.masks import JointMasks

CONTACT_MM = 0.2
LEAST_HEAD_MM = 1.0  # so much of the condyle must stand above the opening of the fossa
LINEAR = (Quantity.FW, Quantity.FD, Quantity.AJS, Quantity.SJS, Quantity.PJS)
SPATIAL = (Quantity.NV_VOLUME, Quantity.NV_AREA)
_EVERY_NUMBER = frozenset({QualityFlag.COARSE_SPACING})
"""Flags of the series that make each of its numbers doubtful."""

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")
_Flags = frozenset[QualityFlag]


def measure(joints: Mapping[Side, JointMasks | JointError], flags: _Flags = frozenset()) -> Findings:
    """Measure both joints.

    Parameters
    ----------
    joints
        Masks of each side, or why they are missing.
    flags
        What holds for the whole series.

    Returns
    -------
    Findings
        Both sides always. What cannot be measured on one side is a flag there and never
        costs the other side. Deterministic.
    """
    found = {side: joint for side, joint in joints.items() if isinstance(joint, JointMasks)}
    transverse = transverse_axis({side: joint.centre for side, joint in found.items()})
    alone = frozenset({QualityFlag.OTHER_SIDE_MISSING}) if len(found) < 2 else frozenset()
    results: dict[Side, JointMeasurements] = {}
    for side in Side:
        joint = joints.get(side)
        if isinstance(joint, JointMasks):
            results[side] = _Joint(joint, transverse, alone, flags & _EVERY_NUMBER).measure()
        else:
            reason = joint.flag if isinstance(joint, JointError) else QualityFlag.JOINT_NOT_FOUND
            results[side] = _lost(side, frozenset({reason}))
    return Findings(results, _symmetry(results, transverse, flags & _EVERY_NUMBER), flags)


@dataclass
class _Joint:
    """Measures one side step by step; a step that fails leaves its flag."""

    masks: JointMasks
    transverse: NDArray[np.float64]
    flags: _Flags
    doubt: _Flags
    numbers: dict[Quantity, Measurement] = field(default_factory=dict)
    landmarks: dict[Landmark, NDArray[np.float64]] = field(default_factory=dict)

    def measure(self) -> JointMeasurements:
        """Run all steps."""
        self.flags |= self.masks.flags
        self.landmarks[Landmark.CONDYLE_CENTRE] = np.asarray(self.masks.centre, dtype=np.float64)
        surfaces = self._try(lambda: build_surfaces(self.masks), LINEAR + SPATIAL)
        if surfaces is None:
            return self._result(None, None)
        bone = Rays(surfaces.tb)
        if self._touches(surfaces, bone):
            self.flags |= {QualityFlag.BONE_CONTACT}
        found = self._try(
            lambda: find_fossa(bone, surfaces.mc, self.masks.centre, self.transverse, self.masks.side), LINEAR + SPATIAL
        )
        if found is None:
            return self._result(surfaces, None)
        fossa, condyle = found
        self._take_fossa(fossa, condyle)
        self._try(lambda: self._take_spaces(surfaces, condyle, fossa), LINEAR[2:])
        nv = self._try(lambda: self._take_negative_volume(surfaces, bone, fossa), SPATIAL)
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
            self.numbers.setdefault(quantity, Measurement(quantity, None, flags=frozenset({reason})))
        return None

    def _touches(self, surfaces: JointSurfaces, bone: Rays) -> bool:
        return bool((bone.signed_distance(surfaces.mc.vertices) < CONTACT_MM).any())

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

    def _take_negative_volume(self, surfaces: JointSurfaces, bone: Rays, fossa: Fossa) -> Mesh:
        if QualityFlag.CONDYLE_OUTSIDE_FOSSA in self.flags:
            raise _OutsideFossa("The condyle stands outside the fossa, which then holds no joint space.")
        inflation = inflate(surfaces.mc, bone, fossa.opening)
        if not inflation.converged:
            self.doubt |= {QualityFlag.NOT_CONVERGED}
        inflated, mc, tb = (to_manifold(mesh) for mesh in (inflation.mesh, surfaces.mc, surfaces.tb))
        space = from_manifold(negative_volume(inflated, mc, tb, fossa.opening))
        if len(crossings(space)):
            raise InflationError("The negative volume crosses itself.")
        self._take(Quantity.NV_VOLUME, volume(space))
        self._take(Quantity.NV_AREA, area(space))
        return space

    def _take(self, quantity: Quantity, value: float) -> None:
        self.numbers[quantity] = Measurement(quantity, float(value), flags=self.doubt)

    def _result(self, surfaces: JointSurfaces | None, nv: Mesh | None) -> JointMeasurements:
        return JointMeasurements(
            side=self.masks.side,
            measurements={quantity: self.numbers[quantity] for quantity in LINEAR + SPATIAL},
            landmarks=self.landmarks,
            mc=surfaces.mc if surfaces else None,
            tb=surfaces.tb if surfaces else None,
            nv=nv,
            flags=self.flags,
        )


class _OutsideFossa(InflationError):
    flag = QualityFlag.CONDYLE_OUTSIDE_FOSSA


def volume(mesh: Mesh) -> float:
    """Volume inside a closed surface, mm³."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] - mesh.vertices[0] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _lost(side: Side, flags: _Flags) -> JointMeasurements:
    missing = {quantity: Measurement(quantity, None, flags=flags) for quantity in LINEAR + SPATIAL}
    return JointMeasurements(side, missing, flags=flags)


def _symmetry(joints: Mapping[Side, JointMeasurements], transverse: NDArray[np.float64], doubt: _Flags) -> Symmetry:
    right, left = joints[Side.RIGHT].nv, joints[Side.LEFT].nv
    if right is None or left is None:
        flags = frozenset({QualityFlag.OTHER_SIDE_MISSING})
        return Symmetry({q: Measurement(q, None, flags=flags) for q in (Quantity.S_LR, Quantity.H_LR)})
    found = compare(right, left, transverse)
    return Symmetry(
        {
            Quantity.S_LR: Measurement(Quantity.S_LR, found.area_ratio, flags=doubt),
            Quantity.H_LR: Measurement(Quantity.H_LR, found.hausdorff, sd=found.hausdorff_sd, flags=doubt),
        }
    )
