"""Landmarks of the condylar head."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import SegmentationEmpty
from negvol_pacs.joint.condyle import find_condyle
from negvol_pacs.joint.frame import Frame, make_frame
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.quality import QualityFlag


def test_a_splinter_is_a_doubtful_segmentation():
    splinter = Mesh(np.eye(4, 3), np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]))
    frame = Frame(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    with pytest.raises(SegmentationEmpty, match="too small") as raised:
        find_condyle(splinter, frame, frame.lateral(Side.LEFT))
    assert raised.value.flag is QualityFlag.SEGMENTATION_DOUBTFUL


def test_triangles_do_not_turn_the_axis():
    """Half of the head is cut into four times as many triangles: it is the same surface."""
    ball = trimesh.creation.icosphere(4)
    solid = ball.vertices * [9.0, 5.0, 6.0] @ Rotation.from_euler("z", 10, degrees=True).as_matrix().T
    finer = np.flatnonzero(ball.triangles_center[:, 0] * ball.triangles_center[:, 1] > 0)
    meshes = (solid, ball.faces), trimesh.remesh.subdivide(solid, ball.faces, finer)
    frame = make_frame(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    even, uneven = (find_condyle(Mesh(v, np.asarray(f, np.int32)), frame, np.array([1.0, 0, 0])) for v, f in meshes)
    for pole in ("medial", "lateral", "top"):
        assert getattr(uneven, pole) == pytest.approx(getattr(even, pole), abs=0.15)
