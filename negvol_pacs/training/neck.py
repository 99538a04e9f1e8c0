"""Procedural cervical vertebrae and hyoid: bones near the joint that are neither condyle nor skull."""

from negvol_pacs.training.solids import Solid, Vector, box, capsule, chain, cut, ellipsoid, sphere, union

HEIGHT = 17.0
"""Distance from one vertebra to the next, mm."""


def vertebrae(dens: Vector, lean: float, count: int = 5) -> Solid:
    """Atlas, axis and the vertebrae below.

    Parameters
    ----------
    dens
        Tip of the dens, just below and behind the basion, LPS mm.
    lean
        Millimetres that each vertebra lies behind the one above.
    count
        Vertebrae, the atlas included.
    """
    x, y, z = dens
    tooth = capsule((x, y, z - 4), (x, y + 1, z - 20), 4.5, 6.0)
    axis = union([tooth, _vertebra((x, y + 2, z - 25), 8.5)], blend=3.0)
    lower = [_vertebra((x, y + 2 + lean * k, z - 25 - HEIGHT * k), 6.5) for k in range(1, count - 1)]
    return union([_atlas((x, y, z - 6.0)), axis, *lower])


def _atlas(centre: Vector) -> Solid:
    x, y, z = centre
    front = [(-18, 2), (-9, -6), (0, -8.5), (9, -6), (18, 2)]
    back = [(-20, 8), (-17, 20), (-8, 29), (0, 32), (8, 29), (17, 20), (20, 8)]
    arches = [chain([(x + a, y + b, z) for a, b in path], [3.0] * len(path), 1.0) for path in (front, back)]
    masses = [ellipsoid((x + side * 18.0, y + 4.0, z - 1), (7.5, 9.0, 8.5)) for side in (-1, 1)]
    wings = [capsule((x + side * 20, y + 6, z - 1), (x + side * 37, y + 9, z - 3), 4.5, 3.5) for side in (-1, 1)]
    return cut(union([*arches, *masses, *wings], blend=2.0), [sphere((x, y, z), 5.6)])


def _vertebra(centre: Vector, half_height: float) -> Solid:
    x, y, z = centre
    parts = [box(centre, (10.0, 7.5, half_height), 2.5), capsule((x, y + 29, z - 4), (x, y + 43, z - 9), 3.0, 3.5)]
    for side in (-1, 1):
        lamina = [(x + side * 19, y + 12, z), (x + side * 12, y + 24, z - 2), (x, y + 30, z - 4)]
        parts += [
            box((x + side * 20, y + 9, z), (6.0, 6.0, half_height + 1), 3.0),
            chain(lamina, [4, 2.5, 3]),
            capsule((x + side * 10, y + 2, z), (x + side * 24, y + 3, z - 2), 3.0, 3.0),
        ]
    return union(parts, blend=2.0)


def hyoid(centre: Vector, width: float = 40.0) -> Solid:
    """U-shaped bone open to posterior, ``centre`` its front."""
    x, y, z = centre
    half = width / 2
    path = [(x - half, y + 32, z + 5), (x - half * 0.8, y + 10, z), (x - half * 0.35, y + 1, z), (x, y, z)]
    mirrored = [(2 * x - a, b, c) for a, b, c in reversed(path[:-1])]
    return chain([*path, *mirrored], [1.8, 2.2, 4.0, 4.5, 4.0, 2.2, 1.8], blend=1.0)
