"""Words of anatomy that every room uses."""

from enum import StrEnum


class Side(StrEnum):
    """Side of the **patient**; in LPS millimetres the right side has the smaller x."""

    RIGHT = "right"
    LEFT = "left"

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return Side.LEFT if self is Side.RIGHT else Side.RIGHT


class Structure(StrEnum):
    """What is segmented at each joint."""

    MC = "mandibular condyle"
    TB = "temporal bone"
    NV = "negative volume"
