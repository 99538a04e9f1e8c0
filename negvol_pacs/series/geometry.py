"""Check that the planes form one regular stack, and say where it lies.

Tolerances, so that positions rounded to two decimals pass and nothing visible does not:

- orientation: direction cosines equal within 0.001 (0.06°);
- pixel spacing: equal within 0.02 %;
- same position: less than 0.01 mm apart;
- distance between neighbours: within 5 % of the spacing, at least 0.02 mm;
- tilt: the line through the slices within 0.2° of their normal (so much comes from rounded
  cosines; the line then counts as the normal);
- every slice: within 0.04 mm along and 0.03 mm across of its place on the even grid, so that
  the volume's affine gives every header's position within 0.05 mm.

Gantry/Detector Tilt (0018,1120) is "not intended for mathematical computations" and stays on
images whose tilt was corrected, so the positions alone decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from negvol_pacs.errors import (
    DuplicatePosition,
    GantryTilt,
    MissingSlice,
    MixedOrientation,
    MixedPixelSpacing,
    UnevenSpacing,
)
from negvol_pacs.series.frames import Frame

Array = npt.NDArray[np.float64]

COSINE_TOLERANCE = 1e-3
SPACING_TOLERANCE = 2e-4
SAME_POSITION_MM = 0.01
TILT_DEG = 0.2
ALONG_MM = 0.04
ACROSS_MM = 0.03


@dataclass(frozen=True)
class Stack:
    """A regular stack of planes.

    Attributes
    ----------
    order
        Index of the frame in each slice.
    affine
        Matrix (4, 4) from (slice, row, column) to LPS mm; right-handed like highdicom's, so
        an axial stack runs from the head to the feet.
    shape
        Slices, rows, columns.
    spacing
        Millimetres between slices, rows, columns.
    thickness
        Largest Slice Thickness (0018,0050) in mm; 0 where it is not said.
    """

    order: tuple[int, ...]
    affine: Array
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    thickness: float

    @property
    def extent_lps(self) -> tuple[float, float, float]:
        """Millimetres covered along x, y and z of LPS, outer edges of the voxels included."""
        extent = np.abs(self.affine[:3, :3]) @ np.array(self.shape, dtype=float)
        return float(extent[0]), float(extent[1]), float(extent[2])


def stack(frames: Sequence[Frame]) -> Stack:
    """Sort the planes along their normal and check that they are evenly stacked.

    Raises
    ------
    MixedOrientation, MixedPixelSpacing, DuplicatePosition, GantryTilt, MissingSlice, UnevenSpacing
        The first defect that is found, with its numbers.
    """
    _same_orientation(frames)
    _same_pixels(frames)
    row, column = _axes(frames[0].orientation)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ np.cross(column, row), kind="stable")
    placed = _Placed([frames[index] for index in order], positions[order], np.cross(column, row))
    _no_duplicates(placed)
    placed = _not_tilted(placed)
    _not_shifted(placed)
    _evenly_spaced(placed)
    normal = placed.normal
    row = _unit(row - normal * (row @ normal))
    column = np.cross(row, normal)

    spacing = placed.extent / (len(frames) - 1) if len(frames) > 1 else frames[0].thickness or 1.0
    between_rows, between_columns = frames[0].spacing
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([normal * spacing, column * between_rows, row * between_columns])
    affine[:3, 3] = placed.positions[0]
    return Stack(
        tuple(int(index) for index in order),
        affine,
        (len(frames), *frames[0].shape),
        (spacing, between_rows, between_columns),
        max(frame.thickness for frame in frames),
    )


@dataclass(frozen=True)
class _Placed:
    """Frames in the order of their positions along the normal."""

    frames: Sequence[Frame]
    positions: Array
    normal: Array

    @property
    def along(self) -> Array:
        return np.asarray(self.positions @ self.normal, dtype=np.float64)

    @property
    def extent(self) -> float:
        return float(self.along[-1] - self.along[0])

    @property
    def steps(self) -> Array:
        return np.diff(self.along)

    def where(self, index: int) -> str:
        """Position as a person reads it on the workstation: along the axis nearest to the normal."""
        axis = int(np.argmax(np.abs(self.normal)))
        return f"{'xyz'[axis]} = {self.positions[index][axis]:.2f} mm"

    def number(self, slot: float, total: int) -> int:
        """Count a slot from 1 in the direction in which the images are numbered."""
        first, last = self.frames[0].label, self.frames[-1].label
        backwards = first is not None and last is not None and first > last
        return total - int(slot) if backwards else int(slot) + 1


def _axes(orientation: tuple[float, ...]) -> tuple[Array, Array]:
    """Exactly perpendicular unit vectors from rounded direction cosines."""
    row, column = _unit(np.array(orientation[:3])), np.array(orientation[3:])
    return row, _unit(column - row * (row @ column))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float64)


def _same_orientation(frames: Sequence[Frame]) -> None:
    cosines = np.array([frame.orientation for frame in frames])
    differing = int(np.count_nonzero(np.abs(cosines - cosines[0]).max(axis=1) > COSINE_TOLERANCE))
    if differing:
        raise MixedOrientation(
            f"{differing} of {len(frames)} slices are oriented differently from the first: "
            "the series holds more than one stack."
        )


def _same_pixels(frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames:
        if frame.shape != first.shape:
            raise MixedPixelSpacing(
                f"The slices differ in matrix: {first.shape[0]} × {first.shape[1]} and "
                f"{frame.shape[0]} × {frame.shape[1]} pixels."
            )
        if not np.allclose(frame.spacing, first.spacing, rtol=SPACING_TOLERANCE, atol=0):
            raise MixedPixelSpacing(
                f"The slices differ in pixel spacing: {first.spacing[0]:g} × {first.spacing[1]:g} mm and "
                f"{frame.spacing[0]:g} × {frame.spacing[1]:g} mm."
            )


def _no_duplicates(placed: _Placed) -> None:
    twice = np.flatnonzero(placed.steps < SAME_POSITION_MM)
    if twice.size:
        count = f"{twice.size} positions hold" if twice.size > 1 else "One position holds"
        raise DuplicatePosition(
            f"{count} more than one slice, the first at {placed.where(int(twice[0]))}: "
            "the series mixes reconstructions or phases, or a slice was stored twice."
        )


def _not_tilted(placed: _Placed) -> _Placed:
    """Refuse a sheared stack; take up a drift that is too small to be one."""
    line = placed.positions[-1] - placed.positions[0]
    drift = float(np.linalg.norm(line - placed.normal * placed.extent))
    if drift <= ACROSS_MM:
        return placed
    angle = float(np.degrees(np.arctan2(drift, placed.extent)))
    if angle > TILT_DEG:
        raise GantryTilt(
            f"The slices are stacked {angle:.1f}° away from their normal (gantry tilt): "
            "send a reconstruction without tilt."
        )
    return replace(placed, normal=_unit(line))


def _not_shifted(placed: _Placed) -> None:
    offsets = placed.positions - placed.positions[0]
    across = np.linalg.norm(offsets - np.outer(offsets @ placed.normal, placed.normal), axis=1)
    worst = int(np.argmax(across))
    if across[worst] > ACROSS_MM:
        raise UnevenSpacing(f"The slice at {placed.where(worst)} is shifted sideways by {across[worst]:.2f} mm.")


def _evenly_spaced(placed: _Placed) -> None:
    steps = placed.steps
    if not steps.size:
        return
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    tolerance = max(0.02, 0.05 * step)
    slots = np.maximum(np.rint(steps / step), 1)
    gaps = np.flatnonzero(slots > 1)
    on_grid = np.all(np.abs(steps - slots * step) <= slots * tolerance)
    if gaps.size and on_grid and gaps.size <= max(3, steps.size // 4):
        raise MissingSlice(_gap_sentence(placed, gaps, slots, step))
    grid = placed.along[0] + np.arange(steps.size + 1) * placed.extent / steps.size
    off = float(np.abs(placed.along - grid).max())
    if gaps.size or not on_grid or off > ALONG_MM:
        odd = int(np.argmax(np.abs(steps - step)))
        raise UnevenSpacing(
            f"The distance between slices varies from {steps.min():.2f} to {steps.max():.2f} mm; it is "
            f"{steps[odd]:.2f} mm between {placed.where(odd)} and {placed.where(odd + 1)}, {step:.2f} mm elsewhere."
        )


def _gap_sentence(placed: _Placed, gaps: npt.NDArray[np.intp], slots: Array, step: float) -> str:
    total = int(slots.sum()) + 1
    before = np.concatenate([[0], np.cumsum(slots)])
    gap = int(gaps[0])
    numbers = sorted(placed.number(before[gap] + 1 + lost, total) for lost in range(int(slots[gap]) - 1))
    which = f"Slice {numbers[0]}" if len(numbers) == 1 else f"Slices {numbers[0]} to {numbers[-1]}"
    verb = "is" if len(numbers) == 1 else "are"
    more = total - len(placed.frames) - len(numbers)
    others = f"; {more} more elsewhere" if more else ""
    return (
        f"{which} of {total} {verb} missing between {placed.where(gap)} and {placed.where(gap + 1)} "
        f"(slices every {step:.2f} mm){others}."
    )
