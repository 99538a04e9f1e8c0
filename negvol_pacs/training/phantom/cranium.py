"""Vault, skull base and face."""

import numpy as np

from negvol_pacs.training.phantom.anatomy import Individual, JointSizes
from negvol_pacs.training.phantom.temporal import (
    articular,
    cartilaginous_meatus,
    external_meatus,
    fossa_space,
    inner_ear,
    middle_ear,
    petromastoid,
    squama_and_arch,
    tympanic,
)
from negvol_pacs.training.solids import Solid, above, box, capsule, chain, common, cut, ellipsoid, union


def brain(individual: Individual) -> Solid:
    """Everything inside the cranial cavity."""
    cerebrum = ellipsoid((0, 8, 45), (66, 87, 69))
    parts = [
        common(cerebrum, above(26.0), blend=10.0),
        ellipsoid((0, 52, 10), (55, 37, 33)),
        ellipsoid((0, 45, 32), (55, 42, 22)),
        capsule((0, 18, 22), (0, 30, -20), 12.0, 9.0),
        capsule((0, 30, -20), (0, 34, -140), 7.5, 6.0),
    ]
    for joint in individual.joints.values():
        # The floor of the middle cranial fossa lies just above the roof of the joint.
        floor = joint.centre[2] + joint.apex + joint.roof
        parts.append(box(joint.at(38.5, -6, floor + 22), (24.5, 31, 22), 15.0))
    whole = union(parts, blend=8.0)
    walls: list[Solid] = []
    for joint in individual.joints.values():
        walls += [petromastoid(joint), _sphenoid_ridge(joint)]
    return cut(whole, [*walls, _clivus(), _frontal_crest()], blend=3.0)


def skull(individual: Individual) -> Solid:
    """Cranium and upper face without the teeth, the cranial cavity still filled; see `brain`."""
    inside = brain(individual)
    joints = list(individual.joints.values())
    parts = [_calvaria(individual), _base(inside), _clivus(), _frontal_crest(), _occiput(), _face()]
    for joint in joints:
        parts += [squama_and_arch(joint), petromastoid(joint), articular(joint), _sphenoid_ridge(joint), _cheek(joint)]
    body = cut(union(parts, blend=2.5), [fossa_space(joint) for joint in joints], blend=0.4)
    body = cut(body, [cavity for joint in joints for cavity in _holes(joint)], blend=1.0)
    thin = [tympanic(joint) for joint in joints] + [plate for joint in joints for plate in _thin_plates(joint)]
    body = union([body, *thin, *_nasal_plates()], blend=0.8)
    ears = (external_meatus, cartilaginous_meatus, middle_ear, inner_ear)
    drills = [hole(joint) for joint in joints for hole in ears]
    keep_out = [fossa_space(joint) for joint in joints]
    return cut(body, [*drills, *keep_out, _foramen_magnum()])


def nose_and_sinuses(individual: Individual) -> Solid:
    """Air of the nasal cavity and the paranasal sinuses."""
    parts = [_nasal_cavity(), _sphenoid_sinus(), _frontal_sinus()]
    parts += [sinus for joint in individual.joints.values() for sinus in (_maxillary_sinus(joint), _ethmoid(joint))]
    return union(parts)


def orbit(joint: JointSizes) -> Solid:
    """Cone with the eyeball, its muscles and fat."""
    return capsule(joint.at(33, -70, 19), joint.at(16, -34, 18), 17.5, 4.0)


def eyeball(joint: JointSizes) -> Solid:
    """Globe."""
    return ellipsoid(joint.at(32, -71, 19), (12, 12, 12))


def _calvaria(individual: Individual) -> Solid:
    """Shell of the vault, thinner at the temples, down to the level of the base."""
    thick = individual.vault

    outer = ellipsoid((0, 8, 45), (66 + thick * 0.75, 87 + thick, 69 + thick))
    inner = ellipsoid((0, 8, 45), (66, 87, 69))
    shell = Solid(outer.low, outer.high, lambda p: np.maximum(outer.distance(p), -inner.distance(p) - np.float32(0.5)))
    return common(shell, above(4.0), blend=2.0)


def _base(inside: Solid) -> Solid:
    """Floor of the cranial fossae: 3 mm under the brain, up to where the vault begins."""
    return common(common(inside.grown(3.2), above(36.0, sign=-1), blend=8.0), above(-28.0))


def _occiput() -> Solid:
    """Thick bone around the foramen magnum, with the occipital condyles."""
    parts = [ellipsoid((side * 17, 22, -17), (6.5, 11, 6.5)) for side in (-1, 1)]
    parts += [ellipsoid((0, 90, 2), (12, 7, 9)), capsule((0, 60, -23), (0, 88, 0), 4.0, 6.0)]
    return union(parts)


def _clivus() -> Solid:
    body = box((0, -17, 8), (13, 13, 12), 6.0)
    slope = chain([(0, -6, 14), (0, 3, 2), (0, 11, -13)], [8.0, 7.0, 5.0], blend=2.0)
    dorsum = box((0, -5, 21), (8, 2, 6), 1.5)
    return union([body, slope, dorsum], blend=3.0)


def _foramen_magnum() -> Solid:
    return capsule((0, 30, -14), (0, 33, -60), 14.5, 14.5)


def _frontal_crest() -> Solid:
    return capsule((0, -78, 30), (0, -55, 22), 3.0, 2.0)


def _sphenoid_ridge(joint: JointSizes) -> Solid:
    """Lesser wing, between anterior and middle cranial fossa."""
    at = joint.at
    return chain([at(9, -22, 24), at(28, -36, 27), at(50, -42, 30)], [3.0, 2.5, 3.5], blend=1.0)


def _holes(joint: JointSizes) -> list[Solid]:
    """Orbit, maxillary sinus and their like, cut out of the solid face."""
    return [
        orbit(joint),
        _maxillary_sinus(joint),
        _ethmoid(joint),
        _nasal_cavity(),
        _sphenoid_sinus(),
        _frontal_sinus(),
        capsule(joint.at(26, -12, 10), joint.at(26, -10, -4), 2.4, 2.4),
    ]


def _face() -> Solid:
    """Block of maxillae, ethmoid, nasal bones and frontal brow from which cavities are cut."""
    arch = [(31, -38), (29, -52), (23, -66), (13, -77), (0, -81)]
    path = [(x, y, -31.0) for x, y in arch] + [(-x, y, -31.0) for x, y in arch[-2::-1]]
    parts = [
        box((0, -54, -12), (37, 24, 17), 12.0),
        chain(path, [6.0] * len(path)),
        chain([(a, b + 1, c - 8) for a, b, c in path], [5.6] * len(path)),
        box((0, -58, -27), (24, 20, 3.0), 2.5),
        box((0, -52, 18), (17, 26, 15), 8.0),
        chain([(0, -78, 28), (0, -86, 18), (0, -94, 8)], [6.0, 5.0, 2.5], blend=2.0),
        capsule((0, -79, -24), (0, -85, -26), 3.0, 1.5),
    ]
    for side in (-1, 1):
        parts += [
            capsule((side * 33, -66, 19), (side * 16, -34, 18), 20.5, 6.0),
            chain([(side * 8, -84, 36), (side * 30, -80, 40), (side * 50, -66, 34)], [6.0, 5.0, 5.0], blend=2.0),
            chain([(side * 9, -90, 10), (side * 14, -82, -6), (side * 16, -78, -22)], [3.0, 4.0, 5.0], blend=2.0),
        ]
    return union(parts, blend=4.0)


def _cheek(joint: JointSizes) -> Solid:
    """Zygomatic bone with its frontal process."""
    at = joint.at
    body = [at(37, -70, -6), at(48, -67, -8), at(57, -56, -6), at(62, -45, -3)]
    frontal = [at(53, -61, -4), at(53, -63, 16), at(51, -66, 33)]
    wing = box(at(49, -52, 20), (1.8, 12, 14), 1.5)
    malar = ellipsoid(at(49, -67, -7), (10, 6, 9))
    return union([chain(body, [6.0, 6.5, 5.5, 4.0]), malar, chain(frontal, [5.5, 4.2, 5.0]), wing], blend=5.0)


def _thin_plates(joint: JointSizes) -> list[Solid]:
    """Pterygoid process, lateral wall of the orbit, wall between nose and orbit."""
    at = joint.at
    return [
        box(at(17, -27, -17), (1.3, 6, 17), 1.0),
        box(at(11, -27, -15), (1.1, 5, 15), 1.0),
        box(at(14, -31, -14), (4.5, 2.5, 17), 2.0),
        capsule(at(26, -26, 6), at(40, -34, 20), 3.0, 3.0),
        box(at(13.2, -54, 17), (0.8, 20, 13), 0.6),
    ]


def _nasal_plates() -> list[Solid]:
    """Septum, turbinates and the cells' walls of the ethmoid."""
    parts = [box((1.0, -58, -6), (0.9, 27, 20), 0.6)]
    for side in (-1, 1):
        parts += [
            chain([(side * 9, -72, -16), (side * 8, -42, -16)], [2.3, 2.3]),
            chain([(side * 8, -66, -3), (side * 7.5, -42, -4)], [1.7, 1.7]),
            *(box((side * 7.5, y, 18), (6, 0.6, 9), 0.4) for y in (-72, -63, -54, -45, -36)),
        ]
    return parts


def _nasal_cavity() -> Solid:
    lower = common(box((0, -56, -9), (13.5, 31, 15.5), 6.0), above(-24.0))
    return union([lower, box((0, -54, 6), (6.5, 24, 9), 4.0), capsule((0, -88, -14), (0, -78, -10), 8.0)], blend=3.0)


def _sphenoid_sinus() -> Solid:
    return box((1.5, -20, 7), (9, 9, 7.5), 4.0)


def _frontal_sinus() -> Solid:
    return union([ellipsoid((8, -80, 38), (7, 2.4, 6)), ellipsoid((-7, -80, 37), (6, 2.3, 5))])


def _ethmoid(joint: JointSizes) -> Solid:
    return box(joint.at(7.5, -53, 17), (5.2, 20, 8.5), 2.0)


def _maxillary_sinus(joint: JointSizes) -> Solid:
    at = joint.at
    lower = common(ellipsoid(at(27, -53, -11), (11.5, 17, 17)), above(-2.0, sign=-1), blend=4.0)
    return union([lower, capsule(at(33, -56, -8), at(41, -58, -7), 6.0, 4.0)], blend=3.0)
