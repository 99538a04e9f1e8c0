"""Errors of the measurements on analytic joints, by spacing."""

from collections.abc import Callable, Mapping, Sequence

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.training.analytic_joints import AnalyticJoint, ellipsoid_in_fossa, parametric_fossa, sphere_in_cup
from negvol_pacs.validation.check import Check, against
from negvol_pacs.validation.heads import EXTENT_MM, turned_condyle
from negvol_pacs.validation.outlines import joint_spaces
from negvol_pacs.validation.quadrature import space

SECTION = "Accuracy"
SPACINGS_MM = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
LIMITED_MM = 0.4  # coarser grids show how the errors grow
QUICK_MM = (0.4,)
LIMITS = {
    Quantity.NV_VOLUME: (1.5, "%"),
    Quantity.NV_AREA: (1.5, "%"),
    Quantity.FW: (0.3, "mm"),
    Quantity.FD: (0.3, "mm"),
    **dict.fromkeys((Quantity.AJS, Quantity.SJS, Quantity.PJS, Quantity.MJS, Quantity.CJS, Quantity.LJS), (0.2, "mm")),
    Quantity.HCA: (1.0, "deg"),
    Quantity.SRA: (1.0, "deg"),
}
HCA_DEG, LEAN_DEG = 15.0, 8.0

References = Mapping[Quantity, float]


def joints() -> dict[str, AnalyticJoint]:
    """Return the joints with known numbers."""
    return {
        "sphere in cup": sphere_in_cup(),
        "ellipsoid in fossa": ellipsoid_in_fossa(),
        "parametric fossa": parametric_fossa(),
    }


def references(joint: AnalyticJoint) -> dict[Quantity, float]:
    """Return what a joint with an upright condyle measures: closed forms, outlines and quadrature."""
    volume, area = space(joint)
    return {
        Quantity.NV_VOLUME: volume,
        Quantity.NV_AREA: area,
        Quantity.FW: joint.width,
        Quantity.FD: joint.depth,
        Quantity.SJS: joint.superior,
        Quantity.SRA: 90.0,
        **joint_spaces(joint),
    }


def run(spacings: Sequence[float] = SPACINGS_MM, progress: Callable[[str], None] = lambda what: None) -> list[Check]:
    """Measure each joint at each spacing (mm) and compare with its references."""
    cases: list[tuple[str, AnalyticJoint, References]] = [
        (name, joint, references(joint)) for name, joint in joints().items()
    ]
    wide = parametric_fossa(gap_mm=3.5)
    turned = {Quantity.HCA: HCA_DEG, Quantity.FW: wide.width, Quantity.FD: wide.depth}
    cases.append(("turned condyle", turned_condyle(wide, hca=HCA_DEG), turned))
    cases.append(("leaning neck", turned_condyle(wide, lean=LEAN_DEG), {Quantity.SRA: 90 - LEAN_DEG}))
    checks = []
    for name, joint, truth in cases:
        for spacing in spacings:
            progress(f"{name}, {spacing} mm")
            checks += compare(name, joint, truth, spacing)
    return checks


def compare(name: str, joint: AnalyticJoint, truth: References, spacing_mm: float) -> list[Check]:
    """Measure one joint on one grid and compare with its references."""
    found = measure({Side.RIGHT: joint.masks(Side.RIGHT, spacing_mm, extent_mm=EXTENT_MM)}).joints[Side.RIGHT]
    checks = []
    for quantity, reference in truth.items():
        place = (SECTION, name, quantity.label, f"{spacing_mm} mm")
        checks.append(against(place, found.measurements[quantity].value, reference, *_limit(quantity, spacing_mm)))
    return checks


def _limit(quantity: Quantity, spacing_mm: float) -> tuple[float | None, str]:
    """Return the limit: for the negative volume it shrinks with the spacing, which is what convergence means."""
    limit, unit = LIMITS[quantity]
    if spacing_mm > LIMITED_MM:
        return None, unit
    return (limit * spacing_mm / LIMITED_MM if unit == "%" else limit), unit
