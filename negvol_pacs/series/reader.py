"""Pixels of a series as one volume in Hounsfield units."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from negvol_pacs.errors import UnreadablePixels
from negvol_pacs.series.frames import Frame, read_frames, text
from negvol_pacs.series.geometry import Stack, stack
from negvol_pacs.series.isolation import Decoder
from negvol_pacs.series.pixels import decode
from negvol_pacs.series.series import Series

AIR_HU = -1024
MAX_VOXELS = 1 << 31
"""Largest volume that is read: 2048 slices of 1024 × 1024, 4 GiB as int16."""

Progress = Callable[[float], None]
Pixels = npt.NDArray[np.int16] | npt.NDArray[np.float32]


def read_volume(series: Series, progress: Progress | None = None) -> hd.Volume:
    """Read a series slice by slice into one array.

    Parameters
    ----------
    series
        A series that passed the gate.
    progress
        Called with the part that is done, 0 to 1.

    Returns
    -------
    highdicom.Volume
        Array (slice, row, column) in HU: int16 where that loses nothing, else float32. Pixel
        padding is masked to -1024, or to the lowest value of the rest where that is higher.
        The affine maps to LPS mm; slices run as in highdicom (right-handed axes, an axial
        stack from the head to the feet). Peak memory is the volume and a few slices.

    Raises
    ------
    UnreadablePixels
        If the volume is too large, or an object's pixels are missing, truncated, damaged or
        not what its header says.
    SeriesRefused
        If the series is no regular stack (see :func:`negvol_pacs.series.geometry.stack`).
    """
    frames = read_frames(series)
    placed = stack(frames)
    if int(np.prod(placed.shape, dtype=np.float64)) > MAX_VOXELS:
        raise UnreadablePixels(f"{' × '.join(map(str, placed.shape))} voxels are too many to be read.")
    array = _fill(series, frames, placed, progress or (lambda done: None))
    return hd.Volume(
        array=array,
        affine=placed.affine,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        frame_of_reference_uid=text(series.first, "FrameOfReferenceUID"),
    )


class _Overflow(Exception):
    """A value does not fit into int16."""


def _fill(series: Series, frames: Sequence[Frame], placed: Stack, progress: Progress) -> Pixels:
    if all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames):
        try:
            return _read(series, frames, placed, progress, np.zeros(placed.shape, np.int16))
        except _Overflow:  # rare; the narrow array is gone before the wide one is made
            pass
    return _read(series, frames, placed, progress, np.zeros(placed.shape, np.float32))


def _read(series: Series, frames: Sequence[Frame], placed: Stack, progress: Progress, volume: Pixels) -> Pixels:
    slots = {frame: slot for slot, frame in enumerate(placed.order)}
    hole = np.iinfo(np.int16).min  # marks padding until the lowest value of the rest is known
    lowest = np.inf
    for done, (index, stored, header) in enumerate(_stored(series, frames), start=1):
        values = _rescaled(stored, frames[index], volume.dtype)
        padding = _padding(stored, header)
        inside = values if padding is None else values[~padding]
        if inside.size:
            lowest = min(lowest, float(inside.min()))
            if volume.dtype == np.int16 and (lowest <= hole or inside.max() > np.iinfo(np.int16).max):
                raise _Overflow
        if padding is not None:
            values[padding] = hole if volume.dtype == np.int16 else np.nan
        volume[slots[index]] = values
        progress(done / len(frames))
    air = max(AIR_HU, lowest) if np.isfinite(lowest) else AIR_HU
    for plane in volume:
        plane[plane == hole if volume.dtype == np.int16 else np.isnan(plane)] = air
    return volume


def _stored(series: Series, frames: Sequence[Frame]) -> Iterator[tuple[int, npt.NDArray[np.integer], Dataset]]:
    """Yield the stored values of every frame, with its index in ``frames`` and its object's header."""
    with Decoder() as decoder:
        for instance, group in groupby(range(len(frames)), key=lambda index: frames[index].instance):
            members = list(group)
            header = series.headers[instance]
            decoded = decode(series.paths[instance], header, len(members), frames[members[0]].shape, decoder)
            for index, stored in zip(members, decoded, strict=True):
                yield index, stored, header


def _rescaled(stored: npt.NDArray[np.integer], frame: Frame, dtype: np.dtype) -> npt.NDArray[np.number]:
    if dtype == np.int16:
        return stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return (stored * frame.slope + frame.intercept).astype(np.float32)


def _padding(stored: npt.NDArray[np.integer], header: Dataset) -> npt.NDArray[np.bool_] | None:
    """Mask of Pixel Padding Value (0028,0120) up to Pixel Padding Range Limit (0028,0121).

    Both are stored values (PS3.3 C.7.5.1.1.2). Writers confuse their sign, so they are taken
    as bit patterns of the pixels' own type.
    """
    value = text(header, "PixelPaddingValue")
    if not value.lstrip("-").isdecimal():
        return None
    limit = text(header, "PixelPaddingRangeLimit")
    ends = [int(value), int(limit) if limit.lstrip("-").isdecimal() else int(value)]
    low, high = sorted(int(np.int64(end).astype(stored.dtype)) for end in ends)
    return np.asarray((stored >= low) & (stored <= high))
