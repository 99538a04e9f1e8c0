"""Colours of the structures, the same in the SEG and in the pictures."""

from negvol_pacs.anatomy import Structure

COLOURS = {
    Structure.MC: (255, 176, 72),
    Structure.TB: (120, 165, 255),
    Structure.NV: (45, 225, 190),
}
"""sRGB, 0 to 255."""
