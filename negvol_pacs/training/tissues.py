"""The tissues of a synthetic head."""

from enum import IntEnum


class Tissue(IntEnum):
    """Label of one voxel of a synthetic head."""

    AIR = 0
    """Outside the head."""
    SOFT = 1
    """Skin, glands, disc, cartilage, anything near water."""
    FAT = 2
    MUSCLE = 3
    BRAIN = 4
    SKULL = 5
    """Every bone of the skull but the mandible, temporal bone and maxilla included; solid."""
    MANDIBLE = 6
    """Solid: marrow and canal included."""
    TEETH = 7
    METAL = 8
    """Fillings, crowns, plates."""
    VERTEBRA = 9
    OTHER_BONE = 10
    """Hyoid, calcified styloid ligament or thyroid cartilage."""
    AIRWAY = 11
    """Pharynx, nose, sinuses, mouth and external auditory meatus: air inside the head."""
    AIR_CELL = 12
    """Mastoid and petrous cells, inside the skull's bone."""
    HEADREST = 13
    """Foam, plastic or cloth outside the head."""


BONES = (Tissue.SKULL, Tissue.MANDIBLE, Tissue.VERTEBRA, Tissue.OTHER_BONE)
"""Bones with a cortical shell and a trabecular inside."""
