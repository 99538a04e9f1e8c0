"""Joints of exact solids: an ellipsoid on a leaning neck under a block with an ellipsoidal hollow."""

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.condyle import Condyle, find_condyle
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.frame import Frame, Plane, make_frame
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import from_manifold

STRAIGHT = Rotation.identity(), np.zeros(3)
HEADS = [
    (Side.LEFT, STRAIGHT),
    (Side.RIGHT, STRAIGHT),
    (Side.RIGHT, (Rotation.from_euler("xyz", [17, -12, 9], degrees=True), np.array([40.0, -25.0, 110.0]))),
]


@dataclass(frozen=True)
class SolidJoint:
    """A joint in a head that lies anyhow."""

    mc: Manifold
    tb: Manifold
    frame: Frame
    side: Side
    place: np.ndarray

    @property
    def mc_mesh(self) -> Mesh:
        return from_manifold(self.mc)

    @property
    def tb_mesh(self) -> Mesh:
        return from_manifold(self.tb)

    @property
    def condyle(self) -> Condyle:
        return find_condyle(self.mc_mesh, self.frame, self.frame.lateral(self.side))

    @property
    def fossa(self) -> Fossa:
        """Landmarks do not matter here, the axes do."""
        opening = Plane(self.place - 2 * self.frame.superior, self.frame.superior)
        return Fossa(self.frame, self.place, self.place, self.place, opening, True)


def make(side, head, *, condyle=(9.0, 4.5, 6.0), hollow=(12.0, 8.0, 8.5), turn=0.0, lean=0.0, neck=28.0):
    """Make a joint whose long axis is turned by ``turn`` and whose neck leans forward by ``lean`` degrees.

    Half axes in mm, from lateral to medial, from front to back, and vertical.
    """
    rotation, place = head
    lateral = 1.0 if side is Side.LEFT else -1.0
    radius = 3.0
    # Solids with lateral in x, posterior in y.
    stem = Manifold.cylinder(neck, radius, radius, 48).rotate((180 - lean, 0, 0))
    head_solid = Manifold.sphere(1, 96).scale(condyle).rotate((0, 0, -turn))
    block = Manifold.cube((40, 40, 24), True) - Manifold.sphere(1, 96).scale(hollow)
    solids = []
    for solid in (head_solid + stem, block.trim_by_plane((0, 0, 1), 0)):
        sided = solid if lateral > 0 else solid.mirror((1, 0, 0))
        solids.append(sided.transform(np.column_stack([rotation.as_matrix(), place])))
    frame = make_frame(rotation.apply([1.0, 0, 0]), rotation.apply([0, 0, 1.0]))
    return SolidJoint(*solids, frame, side, place)
