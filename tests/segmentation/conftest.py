"""Fixtures of the segmentation room."""

import highdicom as hd
import pytest
import simple_head

from negvol_pacs.config import Pipeline
from negvol_pacs.segmentation.pipeline import Segmentation, segment
from negvol_pacs.segmentation.weights import Networks


@pytest.fixture(scope="session")
def knowing_networks() -> Networks:
    """Networks that know the head of simple shapes."""
    return simple_head.knowing_networks()


@pytest.fixture(scope="session")
def axial_head() -> hd.Volume:
    """The head of simple shapes in axial slices."""
    return simple_head.axial()


@pytest.fixture(scope="session")
def axial_segmentation(axial_head: hd.Volume, knowing_networks: Networks) -> Segmentation:
    """What the pipeline makes of it."""
    return segment(axial_head, knowing_networks, Pipeline())
