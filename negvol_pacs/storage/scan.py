"""A walk through a received data set, without decoding it, to see that it is whole and who it is.

PS3.5 section 7. Nothing is recursive, every length is checked against the bytes that are there,
and depth and number of elements are bounded, so that no input can exhaust stack, memory or time.
"""

import mmap
import struct
from dataclasses import dataclass, field, replace

from pydicom.datadict import dictionary_VR
from pydicom.uid import UID

from negvol_pacs.errors import MalformedObject

MAX_DEPTH = 64
MAX_ELEMENTS = 1_000_000

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
SAMPLES, FRAMES, ROWS, COLUMNS, BITS = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_WANTED = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, SAMPLES, FRAMES, ROWS, COLUMNS, BITS})

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass
class Scan:
    """What the walk found at the top level of a data set."""

    values: dict[int, bytes] = field(default_factory=dict)
    pixel_bytes: int | None = None
    """Length of native pixel data; None where there are none."""
    fragments: int = 0
    """Items of encapsulated pixel data, the basic offset table included."""


@dataclass(frozen=True)
class _Level:
    """A data set or item (of elements), or a sequence (of items), that is being walked through."""

    limit: int
    of_items: bool
    implicit: bool
    little: bool
    delimited: bool = False
    pixels: bool = False


def scan(buffer: bytes | mmap.mmap, start: int, transfer_syntax: UID) -> Scan:
    """Walk through the data set that fills ``buffer`` from ``start``.

    Raises
    ------
    MalformedObject
        If an element runs past the end of what holds it, an item or delimiter is out of place,
        a value representation does not exist, or depth or number of elements exceed the bounds.
    """
    return _Walk(buffer, transfer_syntax).through(start)


class _Walk:
    def __init__(self, buffer: bytes | mmap.mmap, transfer_syntax: UID) -> None:
        self._buffer = buffer
        self._found = Scan()
        syntax = transfer_syntax
        self._stack = [_Level(len(buffer), False, syntax.is_implicit_VR, syntax.is_little_endian)]

    def through(self, position: int) -> Scan:
        stack = self._stack
        for _ in range(MAX_ELEMENTS):
            while position == stack[-1].limit and not stack[-1].delimited:
                stack.pop()
                if not stack:
                    return self._found
            position = self._step(position, stack[-1])
            if len(stack) > 2 * MAX_DEPTH:
                raise MalformedObject(f"nested more than {MAX_DEPTH} deep")
        raise MalformedObject(f"more than {MAX_ELEMENTS} elements")

    def _step(self, position: int, level: _Level) -> int:
        """Pass one element's or item's header, and its value unless the walk goes on inside it."""
        if position + 8 > level.limit:
            raise MalformedObject(f"cut off at byte {position}")
        order = "<" if level.little else ">"
        group, element, length = struct.unpack_from(f"{order}HHL", self._buffer, position)
        tag = group << 16 | element
        position += 8
        if group == 0xFFFE:
            return self._delimiter(tag, length, position, level)
        if level.of_items:
            raise MalformedObject(f"{_name(tag)} stands where an item should")
        if level.implicit:
            return self._value(tag, None, length, position)
        vr = bytes(self._buffer[position - 4 : position - 2])
        if vr in _SHORT:
            (length,) = struct.unpack_from(f"{order}H", self._buffer, position - 2)
        elif vr in _LONG and position + 4 <= level.limit:
            (length,) = struct.unpack_from(f"{order}L", self._buffer, position)
            position += 4
        else:
            raise MalformedObject(f"{_name(tag)} has no value representation")
        return self._value(tag, vr, length, position)

    def _delimiter(self, tag: int, length: int, position: int, level: _Level) -> int:
        if tag == _ITEM and level.of_items:
            if level.pixels:
                self._found.fragments += len(self._stack) == 2  # not those of an icon image
                return _end(tag, length, position, level)
            self._stack.append(_inside(length, position, level, of_items=False))
        elif tag == (_SEQUENCE_END if level.of_items else _ITEM_END) and level.delimited:
            self._stack.pop()
        else:
            raise MalformedObject(f"{_name(tag)} is out of place")
        return position

    def _value(self, tag: int, vr: bytes | None, length: int, position: int) -> int:
        level, outermost = self._stack[-1], len(self._stack) == 1
        if length == _UNDEFINED and tag in PIXELS:
            level = replace(level, of_items=True, delimited=True, pixels=True)
            self._stack.append(level)
            return position
        if length == _UNDEFINED or vr == b"SQ" or (vr is None and _is_sequence(tag)):
            if vr not in (None, b"SQ", b"UN"):
                raise MalformedObject(f"{_name(tag)} has no length")
            self._stack.append(_inside(length, position, level, of_items=True, unknown=vr == b"UN"))
            return position
        end = _end(tag, length, position, level)
        if outermost and tag in _WANTED:
            self._found.values[tag] = bytes(self._buffer[position : min(end, position + 128)])
        elif outermost and tag in PIXELS:
            self._found.pixel_bytes = length
        return end


def _inside(length: int, position: int, level: _Level, *, of_items: bool, unknown: bool = False) -> _Level:
    # PS3.5 section 6.2.2: what is inside UN of undefined length is Implicit VR Little Endian.
    implicit, little = level.implicit or unknown, level.little or unknown
    if length == _UNDEFINED:
        return _Level(level.limit, of_items, implicit, little, delimited=True)
    return _Level(_end(_ITEM, length, position, level), of_items, implicit, little)


def _end(tag: int, length: int, position: int, level: _Level) -> int:
    if length > level.limit - position:
        missing = length - (level.limit - position)
        raise MalformedObject(f"{_name(tag)} runs {missing} bytes past the end of what holds it")
    return position + length


def _is_sequence(tag: int) -> bool:
    if tag & 0x10000:  # private: opaque without its VR
        return False
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
