"""One picture of both joints for people: three planes, a 3D view, the numbers."""

from pathlib import Path
from textwrap import fill

import highdicom as hd
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import Findings, JointMeasurements, Landmark
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.caption import draw_caption, draw_header
from negvol_pacs.report.overlay import draw_letters, draw_measurements, draw_scale_bar, draw_surface
from negvol_pacs.report.palette import DIM, INK, PAGE, rgb
from negvol_pacs.report.planes import AXIAL, CORONAL, SAGITTAL, Plane, reslice
from negvol_pacs.report.render import lateral_camera, render_joint
from negvol_pacs.report.wording import sentences

_WIDTH_IN, _HEIGHT_IN, _DPI = 16.0, 10.85, 110
_PANEL_IN, _GAP_IN, _LEFT_IN, _TOP_IN = 3.78, 0.06, 0.56, 0.82
_SIZE_MM = 52.0
_PIXELS = 416
_BONE_WINDOW = (-600.0, 1600.0)
_UP_MM = {AXIAL: 0.0, CORONAL: 4.0, SAGITTAL: 4.0}


def draw_joints(volume: hd.Volume, findings: Findings, path: Path, title: str) -> None:
    """Draw both joints into a PNG.

    The planes go through the centre of each condylar head, along the axes of the patient
    (LPS) whatever the scanner's, in radiological convention. Lengths and angles are projected
    onto the picture that is nearest to their plane.

    Parameters
    ----------
    volume
        HU of the source images, of any orientation.
    findings
        What the report says, with surfaces and landmarks.
    path
        PNG file to write.
    title
        Heading; the caller decides whether it names the patient.
    """
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, facecolor=PAGE)
    FigureCanvasAgg(figure)
    draw_header(figure, title, [_heading(column) for column in range(4)])
    for row, side in enumerate((Side.RIGHT, Side.LEFT)):
        _draw_row(figure, row, volume, findings.joints[side], findings.flags)
    draw_caption(figure.add_axes((0, 0, 1, (_HEIGHT_IN - _TOP_IN - 2 * _PANEL_IN - 0.15) / _HEIGHT_IN)), findings)
    figure.savefig(path, format="png", metadata={"Software": None})


def _heading(column: int) -> tuple[float, float, str]:
    names = (AXIAL.name, CORONAL.name, SAGITTAL.name, "From the side, temporal bone cut open")
    x, y, width, height = _place(0, column)
    return x + width / 2, y + height + 0.006, names[column]


def _place(row: int, column: int, columns: int = 1) -> tuple[float, float, float, float]:
    """Position of a panel in fractions of the figure."""
    left = _LEFT_IN + column * (_PANEL_IN + _GAP_IN)
    bottom = _HEIGHT_IN - _TOP_IN - (row + 1) * _PANEL_IN - row * _GAP_IN
    width = columns * _PANEL_IN + (columns - 1) * _GAP_IN
    return left / _WIDTH_IN, bottom / _HEIGHT_IN, width / _WIDTH_IN, _PANEL_IN / _HEIGHT_IN


def _draw_row(
    figure: Figure, row: int, volume: hd.Volume, joint: JointMeasurements, flags: frozenset[QualityFlag]
) -> None:
    x, y, _, height = _place(row, 0)
    figure.text(
        x / 2,
        y + height / 2,
        joint.side.upper(),
        rotation=90,
        color=INK,
        size=17,
        weight="bold",
        ha="center",
        va="center",
    )
    centre = _centre(joint)
    if centre is None:
        _draw_reason(figure.add_axes(_place(row, 0, columns=4)), joint)
        return
    window = _window(volume, centre, flags | joint.flags)
    for column, plane in enumerate((AXIAL, CORONAL, SAGITTAL)):
        _draw_plane(figure.add_axes(_place(row, column)), volume, joint, plane, centre, window)
    _draw_render(figure.add_axes(_place(row, 3)), joint, centre)


def _centre(joint: JointMeasurements) -> NDArray[np.float64] | None:
    """Centre of the condylar head, or of what there is instead; None for a lost joint."""
    if Landmark.CONDYLE_CENTRE in joint.landmarks:
        return np.asarray(joint.landmarks[Landmark.CONDYLE_CENTRE], dtype=np.float64)
    for mesh in (joint.mc, joint.nv, joint.tb):
        if mesh is not None:
            return np.asarray(mesh.vertices.mean(axis=0), dtype=np.float64)
    return None


def _meshes(joint: JointMeasurements) -> dict[Structure, Mesh]:
    found = {Structure.TB: joint.tb, Structure.NV: joint.nv, Structure.MC: joint.mc}
    return {structure: mesh for structure, mesh in found.items() if mesh is not None and len(mesh.triangles)}


def _window(volume: hd.Volume, centre: NDArray[np.float64], flags: frozenset[QualityFlag]) -> tuple[float, float]:
    """Grey values shown black and white: bone, or the spread where values are not HU."""
    if QualityFlag.NOT_HOUNSFIELD not in flags:
        return _BONE_WINDOW
    image = np.stack([reslice(volume, plane, centre, _SIZE_MM, 104) for plane in (AXIAL, CORONAL, SAGITTAL)])
    known = image[np.isfinite(image)]
    if not known.size:
        return _BONE_WINDOW
    low, high = np.percentile(known, (2, 99.5))
    return float(low), float(max(high, low + 1))


def _draw_plane(  # noqa: PLR0917
    axes: Axes,
    volume: hd.Volume,
    joint: JointMeasurements,
    plane: Plane,
    centre: NDArray[np.float64],
    window: tuple[float, float],
) -> None:
    middle = centre + np.array([0, 0, _UP_MM[plane]])
    half = _SIZE_MM / 2
    axes.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], facecolor="black")
    image = reslice(volume, plane, middle, _SIZE_MM, _PIXELS)
    axes.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], extent=(-half, half, -half, half))
    for structure, mesh in _meshes(joint).items():
        draw_surface(axes, mesh, structure, plane, middle, _SIZE_MM)
    draw_measurements(axes, joint, plane, middle)
    draw_letters(axes, plane.letters)
    draw_scale_bar(axes)
    _frame(axes)


def _draw_render(axes: Axes, joint: JointMeasurements, centre: NDArray[np.float64]) -> None:
    size = _SIZE_MM * 1.1
    image = render_joint(_meshes(joint), centre + np.array([0, 0, 3.0]), joint.side, size, _PIXELS)
    axes.set(xticks=[], yticks=[])
    axes.imshow(image, extent=(-size / 2, size / 2, -size / 2, size / 2))
    camera = lateral_camera(joint.side)
    corner = np.array([-size / 2 + 6.5, -size / 2 + 5.5])
    medial = (1.0, "L") if joint.side is Side.RIGHT else (-1.0, "R")
    for direction, letter in (((0, -1.0, 0), "A"), ((0, 0, 1.0), "S"), ((medial[0], 0, 0), medial[1])):
        tip = 4 * np.array([np.dot(direction, camera.right), np.dot(direction, camera.up)])
        axes.annotate("", _xy(corner + tip), _xy(corner), arrowprops={"arrowstyle": "-", "color": DIM, "lw": 1.2})
        axes.text(*_xy(corner + 1.45 * tip), letter, color=DIM, size=9, ha="center", va="center")
    if joint.nv is None:
        text = fill(f"No negative volume: {sentences(joint.flags) or 'not measured'}", 44)
        axes.text(
            0.5,
            0.96,
            text,
            color=rgb(Structure.NV),
            size=10,
            ha="center",
            va="top",
            transform=axes.transAxes,
            wrap=True,
        )
    _frame(axes)


def _xy(point: NDArray[np.float64]) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _draw_reason(axes: Axes, joint: JointMeasurements) -> None:
    axes.set(xticks=[], yticks=[], facecolor="black")
    reason = sentences(joint.flags) or "Not measured"
    axes.text(
        0.5,
        0.55,
        f"{joint.side.capitalize()} joint not shown",
        color=INK,
        size=18,
        ha="center",
        transform=axes.transAxes,
    )
    axes.text(0.5, 0.45, reason, color=DIM, size=14, ha="center", va="top", transform=axes.transAxes, wrap=True)
    _frame(axes)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set(color="#2b313b", linewidth=0.8)
