"""Procedural cervical vertebrae and hyoid: bones near the joint that are neither condyle nor skull."""

import numpy as np

from negvol_pacs.training.solids import Array, Points, Vector, box, capsule, chain, cut, ellipsoid, sphere, union

HEIGHT = 17.0
"""Distance from one vertebra to the next, mm."""


def vertebrae(p: Points, dens: Vector, lean: float, count: int = 5) -> Array:
    """Atlas, axis and the vertebrae below.

    Parameters
    ----------
    p
        Sample points, LPS mm.
    dens
        Tip of the dens, just below and behind the basion.
    lean
        Millimetres that each vertebra lies behind the one above.
    count
        Vertebrae, the atlas included.

    Returns
    -------
    Array
        Signed distance, mm.
    """
    x, y, z = dens
    atlas = _atlas(p, (x, y, z - 6.0))
    axis = union(
        [capsule(p, (x, y, z - 4), (x, y + 1, z - 20), 4.5, 6.0), _vertebra(p, (x, y + 2, z - 25), 8.5)],
        blend=3.0,
    )
    lower = [_vertebra(p, (x, y + 2 + lean * k, z - 25 - HEIGHT * k), 6.5) for k in range(1, count - 1)]
    return union([atlas, axis, *lower])


def _atlas(p: Points, centre: Vector) -> Array:
    x, y, z = centre
    ring = np.sqrt(((p.x - x) / 21.0) ** 2 + ((p.y - y - 10.0) / 19.0) ** 2)
    arch = np.sqrt(((ring - 1) * 19.0) ** 2 + (p.z - z) ** 2).astype(np.float32) - np.float32(3.3)
    masses = [ellipsoid(p, (x + side * 18.0, y + 4.0, z - 1), (7.5, 9.0, 8.5)) for side in (-1, 1)]
    wings = [capsule(p, (x + side * 20, y + 6, z - 1), (x + side * 37, y + 9, z - 3), 4.5, 3.5) for side in (-1, 1)]
    return cut(union([arch, *masses, *wings], blend=2.0), sphere(p, (x, y, z), 5.6))


def _vertebra(p: Points, centre: Vector, half_height: float) -> Array:
    x, y, z = centre
    body = box(p, centre, (10.0, 7.5, half_height), 2.5)
    pillars = [box(p, (x + side * 20, y + 9, z), (6.0, 6.0, half_height + 1), 3.0) for side in (-1, 1)]
    laminae = [
        chain(p, [(x + side * 19, y + 12, z), (x + side * 12, y + 24, z - 2), (x, y + 30, z - 4)], [4, 2.5, 3])
        for side in (-1, 1)
    ]
    spine = capsule(p, (x, y + 29, z - 4), (x, y + 43, z - 9), 3.0, 3.5)
    transverse = [capsule(p, (x + side * 10, y + 2, z), (x + side * 24, y + 3, z - 2), 3.0, 3.0) for side in (-1, 1)]
    return union([body, *pillars, *laminae, spine, *transverse], blend=2.0)


def hyoid(p: Points, centre: Vector, width: float = 40.0) -> Array:
    """U-shaped bone open to posterior, ``centre`` its front."""
    x, y, z = centre
    half = width / 2
    path = [(x - half, y + 32, z + 5), (x - half * 0.8, y + 10, z), (x - half * 0.35, y + 1, z), (x, y, z)]
    mirrored = [(2 * x - a, b, c) for a, b, c in reversed(path[:-1])]
    return chain(p, [*path, *mirrored], [1.8, 2.2, 4.0, 4.5, 4.0, 2.2, 1.8], blend=1.0)
