"""What Image Type (0008,0008) says about the origin of the pixels.

Refused by default: value 3 LOCALIZER; value 1 DERIVED; value 2 SECONDARY; and, whatever
values 1 and 2 say, planes computed from other planes (MPR, MIP, volume rendering, ...), which
vendors name in value 3 or later (PS3.3 C.7.6.1.1.2, C.8.2.1.1.1, C.8.16.1).

Two exceptions, because cone-beam machines and their export programs write DERIVED or SECONDARY
on plain axial volumes, a cone-beam volume being computed from projection images:

- X-Ray 3D Craniofacial objects may be DERIVED;
- with ``measure_derived`` in the configuration, a stack whose value 3 is AXIAL or VOLUME is
  measured although it is DERIVED or SECONDARY. Reformats stay refused.
"""

import re
from collections.abc import Sequence

from negvol_pacs.errors import DerivedSeries, LocalizerSeries
from negvol_pacs.series.frames import Frame

_LOCALIZER = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM"})
_PLAIN = frozenset({"AXIAL", "VOLUME"})
_REFORMAT = re.compile(
    r"\b(MPR|CPR|CURVED|REFORMATTED|RESAMPLED|MIP|MINIP|MAXIP|MAX_IP|MIN_IP|MAXIMUM|MINIMUM|MEAN|AVERAGE|"
    r"SUBTRACTION|ADDITION|PROJECTION|PROJECTION IMAGE|VR|VRT|SSD|3D|SCREEN SAVE|SCREENSHOT)\b"
)


def check_image_type(frames: Sequence[Frame], craniofacial: bool, measure_derived: bool) -> None:
    """Refuse localizers and pictures computed from other pictures.

    Raises
    ------
    LocalizerSeries, DerivedSeries
        With the Image Type that was found and the number of images that have it.
    """
    total = len(frames)
    localizers = [frame.image_type for frame in frames if _LOCALIZER & set(frame.image_type[2:])]
    if localizers:
        raise LocalizerSeries(
            f"{len(localizers)} of {total} images are localizers (Image Type {_shown(localizers[0])}), "
            "not slices of a scan."
        )
    reformats = [frame.image_type for frame in frames if _REFORMAT.search(_shown(frame.image_type[2:]))]
    if reformats:
        raise DerivedSeries(
            f"{len(reformats)} of {total} images are reformatted (Image Type {_shown(reformats[0])}): "
            "send the axial reconstruction of the scanner."
        )
    derived = [frame.image_type for frame in frames if not _acceptable(frame.image_type, craniofacial, measure_derived)]
    if derived:
        raise DerivedSeries(
            f"{len(derived)} of {total} images are derived or secondary (Image Type {_shown(derived[0])}): "
            "send the original reconstruction of the scanner, or set series.measure_derived for cone-beam exports."
        )


def _acceptable(image_type: tuple[str, ...], craniofacial: bool, measure_derived: bool) -> bool:
    if measure_derived and _PLAIN & set(image_type[2:3]):
        return True
    origin, exam = (*image_type, "", "")[:2]
    return exam == "PRIMARY" and (origin == "ORIGINAL" or (origin == "DERIVED" and craniofacial))


def _shown(image_type: tuple[str, ...]) -> str:
    return "\\".join(image_type)
