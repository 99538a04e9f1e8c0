"""What probabilities gain over binary masks: the same joints, once as partial volumes, once as staircases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.markdown import table
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.training.analytic_joints import AnalyticJoint, Solid
from negvol_pacs.validation.accuracy import LIMITS, joints, references
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.heads import CENTRES, head, shifted

SECTION = "Sub-voxel surfaces"
SPACING_MM = 0.4
POSES = 6
SEED = 20211109
QUANTITIES = (Quantity.NV_VOLUME, Quantity.NV_AREA, Quantity.FW, Quantity.FD, Quantity.SJS)
SURFACE = "bone surface"
SURFACE_LIMIT_MM = 0.1
NEAR_MM = 14.0  # of the joint's centre: beyond, the masks are cut
KINDS = ("probabilities", "binary")

Array = NDArray[np.float64]
Rows = Mapping[tuple[str, str], Mapping[str, float | None]]
"""Root mean square error over poses, by joint and measure, of each kind of mask; % for NV, else mm."""


def run(
    spacing_mm: float = SPACING_MM, count: int = POSES, progress: Callable[[str], None] = lambda what: None
) -> tuple[list[Check], Rows]:
    """Measure each joint in poses that put its surfaces anywhere between the voxels, from both kinds of masks."""
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, joint in joints().items():
        progress(f"{name}: probabilities and binary masks")
        truth = references(joint)
        for kind in KINDS:
            found = [_errors(joint, truth, kind, spacing_mm, pose) for pose in _poses(count)]
            for quantity in found[0]:
                rows.setdefault((name, quantity), {})[kind] = _rms([errors[quantity] for errors in found])
    limits = {quantity.label: LIMITS[quantity] for quantity in QUANTITIES} | {SURFACE: (SURFACE_LIMIT_MM, "mm")}
    checks = [
        below(
            (SECTION, name, f"{quantity}: rms error", f"{spacing_mm} mm, {count} poses"),
            of[KINDS[0]],
            *limits[quantity],
        )
        for (name, quantity), of in rows.items()
    ]
    return checks, rows


def markdown(rows: Rows) -> list[str]:
    """Return the table of both kinds of masks."""
    cells = [
        [name, quantity, *("missing" if of[kind] is None else f"{of[kind]:.3f}" for kind in KINDS), _ratio(of)]
        for (name, quantity), of in rows.items()
    ]
    header = ("subject", "measure", *KINDS, "binary / probabilities")
    return [
        "",
        "### What probabilities gain over binary masks",
        "",
        "Root mean square error over poses, % for NV and mm for all else; bone surface: distance of its vertices",
        "from the implicit surface. Binary: the same masks cut at 0.5, which is all that a mask of 0 and 1 keeps.",
        "",
        *table(header, cells),
    ]


def _ratio(of: Mapping[str, float | None]) -> str:
    fine, coarse = (of[kind] for kind in KINDS)
    return "" if fine is None or coarse is None else f"{coarse / fine:.1f}"


def _poses(count: int) -> list[tuple[Array, Array]]:
    """Draw turns of up to 15° and shifts within a voxel (in voxels)."""
    random = np.random.default_rng(SEED)
    return [
        (Rotation.from_euler("xyz", random.uniform(-15, 15, 3), degrees=True).as_matrix(), random.uniform(-0.5, 0.5, 3))
        for _ in range(count)
    ]


def _errors(
    joint: AnalyticJoint, truth: Mapping[Quantity, float], kind: str, spacing_mm: float, pose: tuple[Array, Array]
) -> dict[str, float | None]:
    turn, shift = pose[0], pose[1] * spacing_mm
    masks = head({Side.RIGHT: shifted(joint, shift)}, spacing_mm, turn=turn)[Side.RIGHT]
    found = measure({Side.RIGHT: masks if kind == KINDS[0] else binary(masks)}).joints[Side.RIGHT]
    errors: dict[str, float | None] = {}
    for quantity in QUANTITIES:
        value, true = found.measurements[quantity].value, truth[quantity]
        scale = 100 / true if LIMITS[quantity][1] == "%" else 1.0
        errors[quantity.label] = None if value is None else scale * (value - true)
    errors[SURFACE] = _surface_error(found, joint, turn, shift)
    return errors


def binary(masks: JointMasks) -> JointMasks:
    """Cut the probabilities at 0.5."""
    mc, tb = (on_grid((bone.array > 0.5).astype(np.float32), bone) for bone in (masks.mc, masks.tb))
    return replace(masks, mc=mc, tb=tb)


def _surface_error(found: JointMeasurements, joint: AnalyticJoint, turn: Array, shift: Array) -> float | None:
    """Root mean square distance of the bones' vertices from the implicit surfaces, mm."""
    if found.mc is None or found.tb is None:
        return None
    axes = turn @ np.diag([-1.0, -1.0, 1.0])
    distances = []
    for mesh, solid in ((found.mc, joint.mc), (found.tb, joint.tb)):
        points = (_vertices(mesh) - turn @ CENTRES[Side.RIGHT]) @ axes
        distances.append(_distance(solid, points[np.linalg.norm(points, axis=1) < NEAR_MM] - shift))
    return _rms(list(np.concatenate(distances)))


def _vertices(mesh: Mesh) -> Array:
    return np.asarray(mesh.vertices, dtype=np.float64)


def _distance(solid: Solid, points: Array, step_mm: float = 0.01) -> Array:
    """First-order distance to an implicit surface, mm."""
    slopes = [(solid(points + step) - solid(points - step)) / (2 * step_mm) for step in step_mm * np.eye(3)]
    return np.asarray(solid(points) / np.maximum(np.linalg.norm(slopes, axis=0), 0.1))


def _rms(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if len(known) == len(values) else None
