"""Pixels of one object, frame by frame; sizes are checked before anything is decoded.

Transfer syntaxes: uncompressed, JPEG Lossless, JPEG-LS, JPEG 2000, RLE. Not read: deflated
(it inflates without bound), JPEG Baseline (8 bits), JPEG Extended (its 12 bits fail in every
free decoder) and the video syntaxes.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom import uid as syntax
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels

from negvol_pacs.errors import MALFORMED, UnreadablePixels
from negvol_pacs.series.frames import text
from negvol_pacs.series.isolation import Decoder

NATIVE = frozenset({syntax.ImplicitVRLittleEndian, syntax.ExplicitVRLittleEndian, syntax.ExplicitVRBigEndian})
DECODERS = {
    syntax.JPEGLossless: "gdcm",
    syntax.JPEGLosslessSV1: "gdcm",
    syntax.JPEGLSLossless: "pyjpegls",
    syntax.JPEGLSNearLossless: "pyjpegls",
    syntax.JPEG2000Lossless: "pylibjpeg",
    syntax.JPEG2000: "pylibjpeg",
    syntax.RLELossless: "pydicom",
}
"""One named decoder a syntax, so that the same input gives the same pixels everywhere."""


def check_header(header: Dataset) -> None:
    """Refuse what cannot be decoded, as far as the header tells.

    Raises
    ------
    UnreadablePixels
        For an unknown transfer syntax, colour, or an impossible description of the samples.
    """
    uid = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    if not isinstance(uid, str) or (uid not in NATIVE and uid not in DECODERS):  # several values are a list
        name = uid.name if isinstance(uid, syntax.UID) else "not stated"
        raise UnreadablePixels(
            f"The transfer syntax ({name}) cannot be read: send the images uncompressed, or as JPEG Lossless, "
            "JPEG-LS, JPEG 2000 or RLE."
        )
    if text(header, "SamplesPerPixel") != "1" or not text(header, "PhotometricInterpretation").startswith("MONOCHROME"):
        raise UnreadablePixels("The images are in colour, not in grey values.")
    allocated, stored, high = (text(header, key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    sensible = allocated in ("8", "16", "32") and stored.isdecimal() and 1 <= int(stored) <= int(allocated)
    if not sensible or high != str(int(stored) - 1) or text(header, "PixelRepresentation") not in ("0", "1"):
        raise UnreadablePixels(
            f"The samples are described wrongly: {allocated or 'no'} bits allocated, {stored or 'no'} stored, "
            f"high bit {high or 'missing'}."
        )


def decode(
    path: Path, header: Dataset, frames: int, shape: tuple[int, int], decoder: Decoder
) -> Iterator[npt.NDArray[np.integer]]:
    """Yield the stored values of every frame of an object, in the order of the file.

    Parameters
    ----------
    path, header
        The file and its data set without pixels.
    frames, shape
        What the object must hold: number of frames; rows and columns.
    decoder
        For compressed pixels, whose decoders can crash.

    Raises
    ------
    UnreadablePixels
        If the pixel data is absent, has not the length that the header says, or is damaged.
    """
    check_header(header)
    uid = header.file_meta.TransferSyntaxUID
    name = f"Image {text(header, 'InstanceNumber') or text(header, 'SOPInstanceUID')}"
    try:
        _check_length(path, header, frames, shape, name)
        plugin = DECODERS.get(uid, "")
        isolated = plugin not in ("", "pydicom")
        decoded = decoder.frames(path, plugin) if isolated else iter_pixels(path, raw=True, decoding_plugin=plugin)
        for _, pixels in zip(range(frames), decoded, strict=True):
            if pixels.shape != shape:
                raise UnreadablePixels(f"{name}: the file changed while it was read.")
            yield pixels
    except MALFORMED as error:
        raise UnreadablePixels(f"{name}: the pixel data is damaged ({error}).") from error


def _check_length(path: Path, header: Dataset, frames: int, shape: tuple[int, int], name: str) -> None:
    with path.open("rb") as file:
        dcmread(file, stop_before_pixels=True, specific_tags=["Rows"])
        big_endian = header.file_meta.TransferSyntaxUID == syntax.ExplicitVRBigEndian
        length = _open_pixel_data(file, header.file_meta.TransferSyntaxUID, ">" if big_endian else "<", name)
        remaining = path.stat().st_size - file.tell()
        expected = frames * shape[0] * shape[1] * int(header.BitsAllocated) // 8
        if header.file_meta.TransferSyntaxUID in NATIVE:
            if length not in (expected, expected + expected % 2):
                raise UnreadablePixels(
                    f"{name}: the pixel data has {length} bytes where {shape[0]} × {shape[1]} pixels "
                    f"in {frames} frame(s) need {expected}."
                )
            if remaining < expected:
                raise UnreadablePixels(f"{name}: the file is truncated, {expected - remaining} bytes are missing.")
        else:
            if length != 0xFFFFFFFF:
                raise UnreadablePixels(f"{name}: compressed pixel data is not encapsulated (PS3.5 A.4).")
            start = file.tell()
            _check_items(file, path.stat().st_size, name)
            file.seek(start)
            _check_frames(file, header, frames, shape, name)


def _open_pixel_data(file: BinaryIO, uid: syntax.UID, endian: str, name: str) -> int:
    """Step over the tag of Pixel Data (7FE0,0010) and return its length field."""
    head = file.read(8)
    if len(head) < 8 or struct.unpack(endian + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise UnreadablePixels(f"{name}: there is no pixel data.")
    field = head[4:] if uid.is_implicit_VR else file.read(4)
    return int(struct.unpack(endian + "L", field)[0])


def _check_items(file: BinaryIO, size: int, name: str) -> None:
    """Walk the fragments to the sequence delimiter (PS3.5 A.4): a decoder may fill a cut one with grey."""
    while True:
        head = file.read(8)
        group, element, length = struct.unpack("<HHL", head) if len(head) == 8 else (0, 0, 0)
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if (group, element) != (0xFFFE, 0xE000) or length > size - file.tell():
            raise UnreadablePixels(f"{name}: the file is truncated or its compressed fragments are damaged.")
        file.seek(length, 1)


def _check_frames(file: BinaryIO, header: Dataset, frames: int, shape: tuple[int, int], name: str) -> None:
    """Compare what each compressed frame says of itself with the header, without decoding it."""
    rle = header.file_meta.TransferSyntaxUID == syntax.RLELossless
    raw = shape[0] * shape[1] * int(header.BitsAllocated) // 8
    found = 0
    for found, frame in enumerate(generate_frames(file, number_of_frames=frames), start=1):
        if found > frames:
            break
        # RLE has no sizes of its own; at worst one control byte for 128 literal bytes (PS3.5 G.3)
        fits = len(frame) <= 1088 + raw + raw // 64 if rle else _declares(frame, shape, int(header.BitsAllocated))
        if not fits:
            raise UnreadablePixels(
                f"{name}: the compressed picture has not the {shape[0]} × {shape[1]} pixels it says."
            )
    if found != frames:
        raise UnreadablePixels(f"{name}: {found} compressed frames where the header says {frames}.")


def _declares(frame: bytes, shape: tuple[int, int], most_bits: int) -> bool:
    size = codestream_size(frame)
    return size is not None and size[:3] == (*shape, 1) and 2 <= size[3] <= min(most_bits, 16)


def codestream_size(data: bytes) -> tuple[int, int, int, int] | None:
    """Rows, columns, components and bits that a JPEG, JPEG-LS or JPEG 2000 codestream declares.

    JPEG family: the frame header SOFn (ITU-T T.81 B.2.2) or SOF55 (T.87 C.2.2); JPEG 2000: the
    SIZ marker segment, which follows SOC (T.800 A.5.1). None where there is none.
    """
    siz = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if siz >= 0 and len(data) >= siz + 43:
        width, height, left, top = struct.unpack_from(">4L", data, siz + 8)
        components, depth = struct.unpack_from(">HB", data, siz + 40)
        return height - top, width - left, components, (depth & 0x7F) + 1
    position = 2
    while data[:2] == b"\xff\xd8" and position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            return rows, columns, components, bits
        position += 1 if marker == 0xFF else 2 + length
    return None
