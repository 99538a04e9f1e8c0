"""What is drawn over a plane: surfaces, measurements, letters, scale."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from negvol_pacs.anatomy import Structure
from negvol_pacs.joint.findings import JointMeasurements, Landmark, Quantity
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.report.palette import INK, MEASURE, rgb
from negvol_pacs.report.planes import AXIAL, CORONAL, SAGITTAL, Plane, inside, outline
from negvol_pacs.report.wording import UNITS, number

_FILL = {Structure.MC: 0.16, Structure.TB: 0.12, Structure.NV: 0.32}
_FILL_PIXELS = 312
_SCALE_MM = 10
_STROKE = [withStroke(linewidth=2.2, foreground="black")]

_SPACES = {
    SAGITTAL: {
        Quantity.AJS: (Landmark.CONDYLE_ANTERIOR, Landmark.FOSSA_ANTERIOR),
        Quantity.SJS: (Landmark.CONDYLE_TOP, Landmark.ROOF),
        Quantity.PJS: (Landmark.CONDYLE_POSTERIOR, Landmark.FOSSA_POSTERIOR),
    },
    CORONAL: {
        Quantity.MJS: (Landmark.CONDYLE_MEDIAL, Landmark.FOSSA_MEDIAL),
        Quantity.CJS: (Landmark.CONDYLE_CENTRAL, Landmark.FOSSA_CENTRAL),
        Quantity.LJS: (Landmark.CONDYLE_LATERAL, Landmark.FOSSA_LATERAL),
    },
    AXIAL: {},
}
_ANGLES = {
    SAGITTAL: (Quantity.SRA, Landmark.NECK_UPPER, Landmark.NECK_LOWER),
    AXIAL: (Quantity.HCA, Landmark.MEDIAL_POLE, Landmark.LATERAL_POLE),
}
_ANGLE_LABEL_MM = {SAGITTAL: (9.5, -2.0), AXIAL: (0.0, -12.0)}
_LABEL_MM = 11.0


def draw_surface(  # noqa: PLR0917
    axes: Axes, mesh: Mesh, structure: Structure, plane: Plane, centre: NDArray[np.float64], size_mm: float
) -> None:
    """Draw a mesh's outline in a plane and, when it is closed, tint its inside."""
    half = size_mm / 2
    filled = inside(mesh, plane, centre, size_mm, _FILL_PIXELS)
    if filled is not None:
        tint = np.zeros((*filled.shape, 4), dtype=np.float32)
        tint[..., :3] = rgb(structure)
        tint[..., 3] = filled * _FILL[structure]
        axes.imshow(tint, extent=(-half, half, -half, half))
    segments = outline(mesh, plane, centre)
    axes.add_collection(LineCollection(list(segments), colors=[rgb(structure)], linewidths=1.3, capstyle="round"))


def draw_measurements(axes: Axes, joint: JointMeasurements, plane: Plane, centre: NDArray[np.float64]) -> None:
    """Draw the lengths and angles that belong to a plane, projected onto it, with their values."""
    points = {key: plane.project(point, centre)[0] for key, point in joint.landmarks.items()}
    if plane is SAGITTAL and {Landmark.EMINENCE, Landmark.POSTGLENOID} <= points.keys():
        _draw_fossa(axes, joint, points)
    if plane in _ANGLES:
        _draw_angle(axes, joint, plane, points)
    middle = points.get(Landmark.CONDYLE_CENTRE, np.zeros(2))
    for quantity, (bone, roof) in _SPACES[plane].items():
        if {bone, roof} <= points.keys():
            _line(axes, points[bone], points[roof])
            outward = (points[roof] - middle) / max(float(np.linalg.norm(points[roof] - middle)), 1e-6)
            _label(axes, joint, quantity, points[roof], points[roof] + _LABEL_MM * outward)
    if plane is SAGITTAL:
        for key in (Landmark.EMINENCE, Landmark.POSTGLENOID, Landmark.ROOF, Landmark.CONDYLE_TOP):
            if key in points:
                axes.plot(*points[key], "o", ms=3.2, color=MEASURE, mec="black", mew=0.6)


def _draw_angle(
    axes: Axes, joint: JointMeasurements, plane: Plane, points: dict[Landmark, NDArray[np.float64]]
) -> None:
    """Draw the line whose direction an angle measures, where there is one."""
    quantity, *ends = _ANGLES[plane]
    measurement = joint.measurements.get(quantity)
    if measurement is None or measurement.value is None or not points.keys() >= set(ends):
        return
    start, end = (points[key] for key in ends)
    _line(axes, start, end, dashed=True)
    middle = (start + end) / 2
    _label(axes, joint, quantity, middle, middle + _ANGLE_LABEL_MM[plane])


def _draw_fossa(axes: Axes, joint: JointMeasurements, points: dict[Landmark, NDArray[np.float64]]) -> None:
    eminence, postglenoid = points[Landmark.EMINENCE], points[Landmark.POSTGLENOID]
    _line(axes, eminence, postglenoid, dashed=True)
    along = postglenoid - eminence
    _label(axes, joint, Quantity.FW, postglenoid, postglenoid + np.array([3.5, -5.0]))
    if Landmark.ROOF in points and np.any(along):
        roof = points[Landmark.ROOF]
        foot = eminence + along * np.dot(roof - eminence, along) / np.dot(along, along)
        _line(axes, roof, foot, dashed=True)
        _label(axes, joint, Quantity.FD, foot, foot + np.array([-4.0, -7.0]))


def _line(axes: Axes, start: NDArray[np.float64], end: NDArray[np.float64], dashed: bool = False) -> None:
    axes.plot(
        *zip(start, end, strict=True),
        color=MEASURE,
        lw=1.1 if dashed else 1.9,
        ls=(0, (4, 2)) if dashed else "-",
        path_effects=[withStroke(linewidth=2.6, foreground="black", alpha=0.6)],
    )


def _label(
    axes: Axes, joint: JointMeasurements, quantity: Quantity, point: NDArray[np.float64], place: NDArray[np.float64]
) -> None:
    """Write a value next to what it measures, with a leader to it."""
    degrees = UNITS["deg"] if quantity.unit == "deg" else ""
    text = f"{quantity.label} {number(joint.measurements.get(quantity))}{degrees}"
    leader = {"arrowstyle": "-", "color": MEASURE, "lw": 0.6, "alpha": 0.8, "shrinkB": 1}
    axes.annotate(
        text,
        (point[0], point[1]),
        (place[0], place[1]),
        color=MEASURE,
        size=10,
        ha="center",
        va="center",
        path_effects=_STROKE,
        arrowprops=leader,
    )


def draw_letters(axes: Axes, letters: str) -> None:
    """Name the directions at the left, right, top and bottom edge."""
    places = (
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for letter, (x, y, ha, va) in zip(letters, places, strict=True):
        axes.text(
            x,
            y,
            letter,
            ha=ha,
            va=va,
            color=INK,
            size=13,
            weight="bold",
            transform=axes.transAxes,
            path_effects=_STROKE,
        )


def draw_scale_bar(axes: Axes) -> None:
    """Draw a bar of 10 mm at the lower right."""
    right, bottom = axes.get_xlim()[1] - 3, axes.get_ylim()[0] + 2.6
    axes.plot(
        [right - _SCALE_MM, right], [bottom, bottom], color=INK, lw=2.5, solid_capstyle="butt", path_effects=_STROKE
    )
    axes.text(
        right - _SCALE_MM / 2,
        bottom + 0.7,
        f"{_SCALE_MM} mm",
        color=INK,
        size=9,
        ha="center",
        va="bottom",
        path_effects=_STROKE,
    )
