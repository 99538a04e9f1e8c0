"""Landmarks of the condylar head."""

import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import SegmentationEmpty
from negvol_pacs.joint.condyle import find_condyle
from negvol_pacs.joint.frame import Frame
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.quality import QualityFlag


def test_a_splinter_is_a_doubtful_segmentation():
    splinter = Mesh(np.eye(4, 3), np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]))
    frame = Frame(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    with pytest.raises(SegmentationEmpty, match="too small") as raised:
        find_condyle(splinter, frame, frame.lateral(Side.LEFT))
    assert raised.value.flag is QualityFlag.SEGMENTATION_DOUBTFUL
