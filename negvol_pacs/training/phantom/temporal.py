"""Temporal bone of one side: fossa, eminence, arch, meatus, mastoid, petrous pyramid, styloid."""

from negvol_pacs.training.phantom.anatomy import JointSizes
from negvol_pacs.training.solids import Solid, capsule, chain, cut, ellipsoid, union


def articular(joint: JointSizes) -> Solid:
    """Fossa with its walls and the eminence, before `fossa_space` is cut out."""
    m, top = joint.half_width, joint.apex
    low = top - joint.fossa_depth
    front, back = -joint.eminence, joint.postglenoid
    parts = [
        ellipsoid((-1, -2, top + 0.8), (m + 9, 19, 4.4)),
        chain(
            [(-m - 3, front, low + 4.6), (0, front, low + 4.6), (m + 3, front - 1, low + 5.4)],
            [3.8, 4.6, 5.0],
            blend=1.0,
        ),
        chain(
            [(-5, back + 0.6, top), (-5, back, low + 3.4), (m - 2, back, low + 2.2), (m - 1, back + 1, top)],
            [3.0, 1.9, 2.2, 3.2],
            blend=1.5,
        ),
        capsule((-m - 4, -7, low + 4), (-m - 3, 7, low + 3), 2.6),
        capsule((m + 4, -9, low + 6), (m + 3, 8, low + 6), 2.2),
    ]
    return union(parts, blend=3.0).placed(joint.centre, joint.axes)


def fossa_space(joint: JointSizes) -> Solid:
    """Room for condyle and disc under the roof, open downwards."""
    m, a, top = joint.half_width, joint.half_depth, joint.apex
    middle = (joint.posterior - joint.anterior) / 2
    radius = a + (joint.anterior + joint.posterior) / 2
    parts = [
        ellipsoid((0, middle, 0), (m + 3.2, radius + 0.6, top)),
        ellipsoid((0, middle, -7), (m + 5, radius + 0.2, top + 1.0)),
    ]
    return union(parts, blend=2.0).placed(joint.centre, joint.axes)


def squama_and_arch(joint: JointSizes) -> Solid:
    """Zygomatic process with both roots; the squama itself belongs to the vault."""
    at = joint.at
    upper = [at(63, 14, 11), at(64, -4, 8), at(66.5, -16, 5), at(67, -32, 2), at(62, -47, -2)]
    lower = [at(62, -8, 5), at(66.5, -17, 1.5), at(66.5, -32, -2), at(61, -46, -6)]
    return union([chain(upper, [3.0, 3.2, 2.2, 2.1, 3.4]), chain(lower, [3.2, 1.9, 1.9, 3.2])], blend=3.0)


def petromastoid(joint: JointSizes) -> Solid:
    """Mastoid, petrous pyramid, tympanic plate and styloid process."""
    at = joint.at
    mastoid = [
        ellipsoid(at(58, 30, -4), (9.5, 14, 17)),
        capsule(at(57, 27, -10), at(54, 25, -24), 8.0, 4.0),
        ellipsoid(at(60, 34, 10), (8, 18, 14)),
        capsule(at(54, 34, -2), at(46, 46, -8), 10.0, 7.0),
    ]
    petrous = [
        chain([at(54, 24, 6), at(38, 17, 5), at(24, 9, 4), at(12, 2, 4)], [11.0, 9.5, 8.0, 5.5], blend=3.0),
        capsule(at(45, 20, 12), at(22, 8, 9), 5.0, 4.0),
    ]
    return union([*mastoid, *petrous], blend=4.0)


def tympanic(joint: JointSizes) -> Solid:
    """Bony wall of the meatus; its front is the thin plate behind the joint."""
    meatus = external_meatus(joint)
    return union([meatus.grown(1.8), _styloid(joint)], blend=1.5)


def _styloid(joint: JointSizes) -> Solid:
    at = joint.at
    return chain([at(45, 17, -6), at(43, 14, -16), at(38, 6, -38)], [2.6, 1.5, 0.8])


def external_meatus(joint: JointSizes) -> Solid:
    """Bony part of the meatus, from the drum outwards."""
    at = joint.at
    return chain([at(46.5, 17.5, 0.5), at(54, 16.5, 0), at(66, 18, -1)], [3.6, 3.2, 4.2], blend=1.0)


def cartilaginous_meatus(joint: JointSizes) -> Solid:
    """Outer part of the meatus, through soft tissue to the skin."""
    at = joint.at
    return chain([at(63, 18, -1), at(70, 19, -3), at(84, 17, 0)], [4.2, 3.6, 4.5], blend=1.0)


def middle_ear(joint: JointSizes) -> Solid:
    """Tympanic cavity, epitympanum, antrum and internal meatus."""
    at = joint.at
    cavity = ellipsoid(at(40.5, 18, 2.5), (2.5, 4.6, 7))
    antrum = capsule(at(41, 20, 8), at(49, 28, 8), 2.2, 4.2)
    return union([cavity, antrum], blend=1.0)


def inner_ear(joint: JointSizes) -> Solid:
    """Fluid spaces: vestibule, cochlea, one canal, internal auditory meatus, carotid canal."""
    at = joint.at
    parts = [
        ellipsoid(at(34, 17, 5), (2.0, 2.6, 2.6)),
        ellipsoid(at(31, 11, 4.5), (2.4, 2.4, 2.0)),
        capsule(at(29, 16, 6), at(16, 17, 6), 2.0, 3.0),
        chain([at(36, 19, 9), at(37, 23, 11), at(35, 25, 7)], [0.6, 0.6, 0.6]),
        chain([at(30, 10, -12), at(29, 9, -3), at(20, 4, 0), at(12, -2, 4)], [2.8, 2.8, 2.7, 2.7]),
    ]
    return union(parts)


def mastoid_cells(joint: JointSizes) -> Solid:
    """Where air cells may lie: inside mastoid and squamous root, off the surface."""
    at = joint.at
    body = [
        ellipsoid(at(57, 30, -3), (8, 12.5, 15)),
        capsule(at(56, 27, -8), at(54, 25, -22), 6.5, 3.0),
        ellipsoid(at(57, 34, 9), (6.5, 14, 9)),
        capsule(at(48, 24, 8), at(36, 16, 10), 4.5, 3.0),
    ]
    return cut(union(body, blend=3.0), [external_meatus(joint).grown(1.5), fossa_space(joint).grown(2.0)])
