"""Colours of the structures, the same in the SEG and in the pictures."""

from negvol_pacs.anatomy import Structure

COLOURS = {
    Structure.MC: (255, 176, 72),
    Structure.TB: (120, 165, 255),
    Structure.NV: (45, 225, 190),
}
"""sRGB, 0 to 255."""

BACKGROUND = (12, 14, 18)

PAGE = "#0c0e12"
INK = "#e9edf3"
DIM = "#98a2b3"
WARNING = "#ffd166"
MEASURE = "#fff27a"


def rgb(structure: Structure) -> tuple[float, float, float]:
    """Colour of a structure for matplotlib, 0 to 1."""
    red, green, blue = (channel / 255 for channel in COLOURS[structure])
    return red, green, blue
