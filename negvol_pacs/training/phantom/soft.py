"""Skin, fat, muscles and airways."""

from negvol_pacs.training.phantom.anatomy import Individual, JointSizes
from negvol_pacs.training.solids import Solid, box, capsule, chain, cut, ellipsoid, union


def skin(individual: Individual) -> Solid:
    """Outline of head and neck; bones near it are covered by `head.make_head`."""
    cover = individual.vault + individual.skin
    parts = [
        ellipsoid((0, 8, 45), (66 + cover, 87 + cover, 69 + cover)),
        ellipsoid((0, -42, -10), (62, 50, 70)),
        ellipsoid((0, -45, -58), (50, 46, 30)),
        capsule((0, 28, -10), (0, 42, -200), 60.0, 62.0),
        capsule((0, 60, -10), (0, 70, -200), 45.0, 50.0),
    ]
    head = union(parts, blend=22.0)
    nose = chain([(0, -91, 20), (0, -100, 4), (0, -112, -12)], [5.0, 7.0, 8.0], blend=3.0)
    wings = [ellipsoid((side * 10, -100, -15), (7, 9, 7)) for side in (-1, 1)]
    lips = [ellipsoid((0, -91, OFFSET), (24, 10, 6)) for OFFSET in (-38, -50)]
    ears = [ear(joint) for joint in individual.joints.values()]
    return union([union([head, nose, *wings, *lips], blend=8.0), *ears], blend=3.0)


def ear(joint: JointSizes) -> Solid:
    """Auricle."""
    at = joint.at
    shell = ellipsoid(at(78, 26, 4), (7, 17, 30))
    hollow = ellipsoid(at(84, 20, 4), (8, 12, 22))
    return cut(shell, [hollow, capsule(at(70, 19, -2), at(90, 15, 0), 5.0)], blend=2.0)


def muscles(individual: Individual) -> Solid:
    """Muscles of mastication, tongue, pharynx and neck."""
    parts = [
        ellipsoid((0, -45, -52), (26, 33, 20)),
        box((0, -40, -74), (24, 26, 6), 5.0),
        capsule((0, 10, -30), (0, 22, -200), 16.0, 18.0),
    ]
    for joint in individual.joints.values():
        at = joint.at
        parts += [
            chain([at(63, -36, -10), at(57, -26, -40), at(53, -18, -60)], [6.0, 9.0, 6.0], blend=4.0),
            chain([at(54, -30, -2), at(58, -30, 18), at(63, -14, 44)], [7.0, 9.0, 4.0], blend=6.0),
            capsule(at(20, -30, -8), at(46, -5, -6), 8.0, 4.5),
            chain([at(16, -26, -16), at(30, -18, -42), at(42, -14, -58)], [6.0, 7.5, 5.0], blend=3.0),
            chain([at(57, 27, -26), at(48, 10, -80), at(30, -8, -140)], [6.0, 9.0, 9.0], blend=4.0),
            chain([at(18, 52, -26), at(22, 58, -80), at(26, 62, -200)], [16.0, 22.0, 24.0], blend=8.0),
            chain([at(40, 22, -30), at(36, 26, -80), at(40, 34, -200)], [9.0, 12.0, 14.0], blend=4.0),
        ]
    return union(parts, blend=2.0)


def glands(individual: Individual) -> Solid:
    """Parotid and submandibular glands, cartilage and disc: tissue near water."""
    parts = [box((0, -33, -110), (16, 14, 22), 6.0)]
    for joint in individual.joints.values():
        at = joint.at
        parts += [ellipsoid(at(58, 6, -30), (9, 14, 24)), ellipsoid(at(30, -28, -78), (9, 14, 9))]
    return union(parts)


def pharynx(individual: Individual) -> Solid:
    """Air from the choanae to the trachea."""
    way = [(0, -30, -14), (0, -10, -16), (0, -5, -30), (0, -4, -60), (0, -8, -80), (0, -20, -105), (0, -14, -200)]
    return chain(way, [8.0, 9.0, 6.0, 6.5, 8.0, 6.5, 8.0], blend=3.0)
